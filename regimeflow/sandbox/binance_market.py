"""Binance's public market data beyond candles: order books, trades of others, tickers."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from regimeflow.model.market import Quote, Trade
from regimeflow.model.timeframe import NS_PER_DAY
from regimeflow.sandbox.exchange import Exchange
from regimeflow.sandbox.spot import Candles, encode, ms, plain

#: Levels of a book on either side, one tick apart, and what each of them has.
_LEVELS, _SIZE = 20, "100.00000000"
_NOTHING = "0.00000000"
Levels = list[list[str]]


class PublicMarket:
    """What everybody may know of an exchange's market.

    The books are made up around the last price: a tick to either side is the first level.

    Args:
        exchange: whose market it is.
        candles: of the same.
        ids: symbol -> Binance's name of it.
    """

    def __init__(self, exchange: Exchange, candles: Candles, ids: Mapping[str, str]) -> None:
        self._exchange = exchange
        self._candles = candles
        self._ids = ids
        self._change = dict.fromkeys(ids, 1)
        self._told = {symbol: self._book(symbol) for symbol in ids}

    # ------------------------------------------------------------ books

    def _book(self, symbol: str) -> tuple[Levels, Levels]:
        price, tick = self._exchange.prices[symbol], Decimal(str(self._exchange.rules[symbol].tick))
        steps = [tick * step for step in range(1, _LEVELS + 1)]
        bids = [[plain(price - step), _SIZE] for step in steps if price > step]
        return bids, [[plain(price + step), _SIZE] for step in steps]

    def depth(self, symbol: str, limit: int) -> Any:
        """Return a book, and the number of its newest change."""
        bids, asks = self._told[symbol]
        return {
            "lastUpdateId": self._change[symbol],
            "bids": bids[:limit],
            "asks": asks[:limit],
        }

    def change(self, quote: Quote) -> str:
        """Let a book change with a quote; return the change as it is streamed."""
        symbol = quote.symbol
        before, after = self._told[symbol], self._book(symbol)
        self._told[symbol] = after
        self._change[symbol] += 1
        number = self._change[symbol]
        moved = [_moved(*sides) for sides in zip(before, after, strict=True)]
        return encode(
            {"e": "depthUpdate", "E": ms(quote.ts), "s": self._ids[symbol], "U": number,
             "u": number, "b": moved[0], "a": moved[1]}
        )  # fmt: skip

    def best(self, symbol: str) -> dict[str, Any]:
        """Return the best bid and ask."""
        bids, asks = self._told[symbol]
        return {
            "symbol": self._ids[symbol], "bidPrice": bids[0][0], "bidQty": bids[0][1],
            "askPrice": asks[0][0], "askQty": asks[0][1],
        }  # fmt: skip

    # ------------------------------------------------------------ trades

    def trades(self, symbol: str, asked: Mapping[str, str]) -> list[Trade]:
        """Return trades of others as a request asks for them, the newest where it names no time."""
        since, until = int(asked.get("startTime", 0)), int(asked.get("endTime", 2**62))
        first = int(asked.get("fromId", 0))
        found = [
            trade
            for trade in self._exchange.traded(symbol)
            if since <= ms(trade.ts) <= until and int(trade.id) >= first
        ]
        limit = min(int(asked.get("limit", 500)), 1_000)
        return found[:limit] if since or first else found[-limit:]

    # ------------------------------------------------------------ tickers

    def day(self, symbol: str) -> dict[str, Any]:
        """Return open, high, low, close, volume and value of the last day, as numbers in text."""
        now = self._exchange.time()
        rows = [r for r in self._candles.rows[symbol] if r[0] > now - NS_PER_DAY]
        rows.append(self._candles.forming(symbol))
        price = self._exchange.prices[symbol]
        values = {
            "o": rows[0][1],
            "h": max(price, *(row[2] for row in rows)),
            "l": min(price, *(row[3] for row in rows)),
            "c": price,
            "v": sum(row[5] for row in rows),
            "q": sum(row[4] * row[5] for row in rows),
        }
        return {name: plain(value) for name, value in values.items()}

    def mini_ticker(self, symbol: str) -> str:
        """Return the ticker that is streamed, without bid and ask."""
        event = {"e": "24hrMiniTicker", "E": ms(self._exchange.time()), "s": self._ids[symbol]}
        return encode({**event, **self.day(symbol)})


def _moved(before: Levels, after: Levels) -> Levels:
    """Return the levels that are new, and those that are gone with nothing in them."""
    kept = {price for price, _ in after}
    return after + [[price, _NOTHING] for price, _ in before if price not in kept]
