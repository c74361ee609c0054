"""Market data of the sandbox's TWS: contracts, history and streams."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.sandbox import tws_messages as say
from regimeflow.sandbox.exchange import Exchange
from regimeflow.sandbox.tws_client import Client
from regimeflow.sandbox.tws_client import number as text_of
from regimeflow.venues.port import Said

#: A contract that two exchanges have: its symbol alone is not enough.
_TWIN = "TWIN"
_BARS = {
    "1 secs": 1, "5 secs": 5, "10 secs": 10, "15 secs": 15, "30 secs": 30, "1 min": 60,
    "2 mins": 120, "3 mins": 180, "5 mins": 300, "10 mins": 600, "15 mins": 900, "20 mins": 1200,
    "30 mins": 1800, "1 hour": 3600, "2 hours": 7200, "4 hours": 14400, "8 hours": 28800,
    "1 day": 86400,
}  # fmt: skip
#: What is told tick by tick -> its kind in the messages.
_EACH = {"Last": 1, "AllLast": 2, "BidAsk": 3, "MidPoint": 4}
_SPANS = {"S": 1, "D": 86_400, "W": 7 * 86_400, "M": 30 * 86_400, "Y": 365 * 86_400}


class Market:
    """What clients ask of the market, and are told of it.

    Args:
        exchange: whose market it is.
        contracts: symbol -> TWS's contract.
        out: says something to a client, or does to it what the script says.
    """

    def __init__(
        self,
        exchange: Exchange,
        contracts: Mapping[str, say.Contract],
        out: Callable[[Client, Said, list[bytes]], None],
    ) -> None:
        self.exchange = exchange
        self._contracts = contracts
        self._out = out
        self._count = 0
        self._bar_told: dict[str, int] = {}

    # ------------------------------------------------------------ questions

    def symbol_of(self, asked: list[str]) -> str | None:
        """Return the symbol of a contract that is asked for."""
        for symbol, contract in self._contracts.items():
            if contract.fits(asked):
                return symbol
        return None

    def details(self, client: Client, fields: list[str]) -> None:
        """Tell the contracts that fit."""
        number, asked = int(fields[2]), fields[3:15]
        version = client.version
        found = [s for s, contract in self._contracts.items() if contract.fits(asked)]
        for symbol in found:
            rules = self.exchange.rules[symbol]
            contract = self._contracts[symbol]
            exchange = asked[7] or contract.exchange
            client.write(say.details(number, contract, rules, exchange, "SANDBOX", version))
        if asked[1] == _TWIN:
            for i, primary in enumerate(("NYSE", "LSE")):
                twin = say.Contract.of(_TWIN, i + 1)
                if asked[8] in ("", primary):
                    client.write(
                        say.details(number, twin, say.rules(_TWIN), "SMART", primary, version)
                    )
            found = [_TWIN]
        if found:
            client.write(say.frame([52, 1, number]))
        else:
            text = "No security definition has been found for the request"
            client.write(say.error(number, 200, text, version))

    def head(self, client: Client, fields: list[str]) -> None:
        """Tell when the data of a contract begin."""
        number, symbol = int(fields[1]), self.symbol_of(fields[2:14])
        exchange = self.exchange
        told = exchange.past(symbol, exchange.timeframe, 0, exchange.time()) if symbol else None
        first = told.times if told is not None else []
        at = (first[0] if first else self.exchange.time()) - self.exchange.timeframe
        client.write(say.frame([88, number, at // 10**9]))

    def history(self, client: Client, fields: list[str]) -> None:
        """Tell bars of the past, and keep them up to date where that is asked for."""
        number, symbol = int(fields[1]), self.symbol_of(fields[2:14])
        keeps, exchange = fields[21] == "1", self.exchange
        length = _BARS.get(fields[16], 0) * 10**9
        if symbol is None or length != exchange.timeframe:
            code, text = (200, "No security definition has been found for the request")
            if symbol is not None:
                code, text = (162, "Historical Market Data Service error message:no such bars")
            client.write(say.error(number, code, text, client.version))
            return
        now = exchange.time()
        end = till(fields[15]) if fields[15] else now
        count, unit = fields[17].split(" ")
        told = exchange.past(symbol, length, end - int(count) * _SPANS[unit] * 10**9, end)
        rows = list(
            zip(told.times, told.open, told.high, told.low, told.close, told.volume, strict=True)
        )
        forming = exchange.forming(symbol)
        if forming is not None and end >= now:
            f = forming
            rows.append((f.ts, f.open, f.high, f.low, f.close, f.volume))
        flat: list[Any] = []
        for at, *prices, volume in rows:
            flat += [(at - length) // 10**9, *map(text_of, prices), text_of(volume), "0.0", 1]
        client.write(say.frame([17, number, "", "", len(rows), *flat]))
        if keeps:
            client.bars[number] = (symbol, False)

    def real_time_bars(self, client: Client, fields: list[str]) -> None:
        """Begin a stream of bars of five seconds."""
        number, symbol = int(fields[2]), self.symbol_of(fields[3:15])
        if symbol is not None and self.exchange.timeframe == 5 * 10**9:
            client.bars[number] = (symbol, True)
        else:
            text = "Invalid Real-time Query:no such bars"
            client.write(say.error(number, 420, text, client.version))

    def ticks(self, client: Client, fields: list[str]) -> None:
        """Begin a stream of trades and quotes."""
        number, symbol = int(fields[2]), self.symbol_of(fields[3:15])
        if symbol is None:
            text = "No security definition has been found for the request"
            client.write(say.error(number, 200, text, client.version))
            return
        client.write(say.frame([58, 1, number, 1]))
        client.ticks[number] = symbol

    def each_tick(self, client: Client, fields: list[str]) -> None:
        """Begin a stream of trades, of quotes or of their middles, each by itself."""
        number, symbol = int(fields[1]), self.symbol_of(fields[2:14])
        kind = _EACH.get(fields[14])
        if symbol is None or kind is None:
            code, text = (200, "No security definition has been found for the request")
            if symbol is not None:
                code, text = (10189, f"Failed to request tick-by-tick data: no {fields[14]!r}")
            client.write(say.error(number, code, text, client.version))
            return
        client.each[number] = (symbol, kind)

    def end_each_tick(self, client: Client, fields: list[str]) -> None:
        """End such a stream."""
        client.each.pop(int(fields[1]), None)

    def end_ticks(self, client: Client, fields: list[str]) -> None:
        """End such a stream."""
        client.ticks.pop(int(fields[2]), None)

    def end_bars(self, client: Client, fields: list[str]) -> None:
        """End a stream of bars."""
        client.bars.pop(int(fields[2]), None)

    # ------------------------------------------------------------ streams

    def messages(self, client: Client, said: Said) -> list[bytes]:
        """Return how news of the market is said to a client; nothing where it did not ask."""
        numbers = [n for n, symbol in client.ticks.items() if symbol == getattr(said, "symbol", "")]
        each = [
            (number, kind)
            for number, (symbol, kind) in client.each.items()
            if symbol == getattr(said, "symbol", "")
        ]
        if isinstance(said, Trade):
            told = [_trade(n, said, self._volume()) for n in numbers]
            return [b"".join([*told, *(_each_trade(n, k, said) for n, k in each)])]
        if isinstance(said, Quote):
            told = [_quote(n, said) for n in numbers]
            return [b"".join([*told, *(_each_quote(n, k, said) for n, k in each)])]
        return []

    def _volume(self) -> str:
        self._count += 1
        return str(self._count)

    def bars_move(self, client: Client, said: Trade) -> None:
        """Tell those who keep bars up to date what the bar is now, and the last one when closed."""
        for number, (symbol, real_time) in client.bars.items():
            if symbol != said.symbol:
                continue
            forming = self.exchange.forming(symbol)
            if real_time:
                self._real_time_bar(client, number, symbol)
            elif forming is not None:
                self._out(client, forming, [_bar_update(number, forming)])

    def _real_time_bar(self, client: Client, number: int, symbol: str) -> None:
        exchange = self.exchange
        told = exchange.past(symbol, exchange.timeframe, 0, exchange.time())
        if not told.times or told.times[-1] <= self._bar_told.get(f"{client.id}-{number}", 0):
            return
        at = self._bar_told[f"{client.id}-{number}"] = told.times[-1]
        last = [told.open[-1], told.high[-1], told.low[-1], told.close[-1], told.volume[-1]]
        opens = (at - exchange.timeframe) // 10**9
        message = say.frame([50, 3, number, opens, *map(text_of, last), "0.0", 1])
        o, h, l, c, v = last  # noqa: E741
        bar = Bar(at, 0, symbol, o, h, l, c, v, exchange.timeframe)
        self._out(client, bar, [message])


def _trade(number: int, trade: Trade, volume: str) -> bytes:
    parts = (text_of(trade.price), text_of(trade.size), str(trade.ts // 10**6), volume)
    text = ";".join((*parts, parts[0], "true"))
    last = say.frame([1, 6, number, 4, parts[0], parts[1], 0])
    return last + say.frame([46, 6, number, 48, text])


def _quote(number: int, quote: Quote) -> bytes:
    bid = [1, 6, number, 1, text_of(quote.bid), text_of(quote.bid_size), 0]
    ask = [1, 6, number, 2, text_of(quote.ask), text_of(quote.ask_size), 0]
    return say.frame(bid) + say.frame(ask)


def _each_trade(number: int, kind: int, trade: Trade) -> bytes:
    if kind not in (1, 2):
        return b""
    price, size = text_of(trade.price), text_of(trade.size)
    return say.frame([99, number, kind, trade.ts // 10**9, price, size, 0, "SANDBOX", ""])


def _each_quote(number: int, kind: int, quote: Quote) -> bytes:
    told: dict[int, list[Any]] = {
        3: [text_of(quote.bid), text_of(quote.ask), text_of(quote.bid_size),
            text_of(quote.ask_size), 0],
        4: [text_of((quote.bid + quote.ask) / 2)],
    }  # fmt: skip
    at = quote.ts // 10**9
    return say.frame([99, number, kind, at, *told[kind]]) if kind in told else b""


def _bar_update(number: int, bar: Bar) -> bytes:
    prices = map(text_of, (bar.open, bar.close, bar.high, bar.low))
    opens = (bar.ts - bar.timeframe) // 10**9
    return say.frame([90, number, 1, opens, *prices, "0.0", text_of(bar.volume)])


def till(text: str) -> int:
    """Return a time that a request tells, UTC nanoseconds; 0 without one."""
    if not text:
        return 0
    at = dt.datetime.strptime(text, "%Y%m%d-%H:%M:%S").replace(tzinfo=dt.UTC)
    return int(at.timestamp()) * 10**9
