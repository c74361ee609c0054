"""Alpaca's market data over REST: bars, trades, quotes, and the latest of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from regimeflow.errors import Refused
from regimeflow.model.market import Quote, Trade
from regimeflow.model.timeframe import NS_PER_DAY
from regimeflow.sandbox.alpaca.messages import Json, bar, length_of, market, ns_of, written
from regimeflow.sandbox.exchange import Exchange

#: Most rows of a page, whatever was asked for.
_ROWS = 1_000
_PRICES = ("open", "high", "low", "close", "volume")
Route = tuple[str, str, str, Callable[[Json], Any]]


class Data:
    """Market data of an exchange as Alpaca answers for them.

    Args:
        exchange: whose data they are.

    Attributes:
        routes: as of `Interface`.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        stocks, crypto = "/v2/stocks", "/v1beta3/crypto/us"
        pages = {"bars": self._bars, "trades": self._trades, "quotes": self._quotes}
        latest = {
            "bars": self._latest_bars,
            "trades": self._latest_trades,
            "quotes": self._latest_quotes,
        }
        self.routes: list[Route] = [
            *(("GET", f"{stocks}/{name}", "history", do) for name, do in pages.items()),
            *(("GET", f"{crypto}/{name}", "history", do) for name, do in pages.items()),
            *(("GET", f"{stocks}/{name}/latest", "history", do) for name, do in latest.items()),
            *(("GET", f"{crypto}/latest/{name}", "history", do) for name, do in latest.items()),
        ]

    # ------------------------------------------------------------ pages

    def _bars(self, asked: Json) -> Json:
        length = length_of(asked["query"]["timeframe"])
        if length % self.exchange.timeframe:
            raise Refused(f"invalid timeframe: {asked['query']['timeframe']}", code="bad_request")

        def rows(symbol: str, start: int, end: int) -> list[Json]:
            return [bar(row, length) for row in self._rows(symbol, length, start, end)]

        return self._page("bars", rows, asked["query"])

    def _trades(self, asked: Json) -> Json:
        return self._page("trades", lambda *of: list(map(_row, self._told(*of))), asked["query"])

    def _quotes(self, asked: Json) -> Json:
        def rows(symbol: str, start: int, end: int) -> list[Json]:
            told = self._told(symbol, start, end)
            return [_row(self.exchange.quote_at(trade)) for trade in told]

        return self._page("quotes", rows, asked["query"])

    def _told(self, symbol: str, start: int, end: int) -> Iterator[Trade]:
        return (trade for trade in self.exchange.traded(symbol) if start <= trade.ts <= end)

    def _page(self, kind: str, rows_of: Callable[[str, int, int], list[Json]], query: Json) -> Json:
        """Return a page of rows; without times those of this day, up to now."""
        now = self.exchange.time()
        start = ns_of(query["start"]) if "start" in query else now - now % NS_PER_DAY
        end = ns_of(query["end"]) if "end" in query else now
        found: dict[str, list[Json]] = {}
        offset, left = int(query.get("page_token") or 0), min(int(query.get("limit", 1_000)), _ROWS)
        total = 0
        for symbol in query["symbols"].split(","):
            rows = rows_of(symbol, start, end)
            total += len(rows)
            found[symbol] = rows[offset : offset + left]
        token = str(offset + left) if offset + left < total else None
        return {kind: found, "next_page_token": token}

    def _rows(self, symbol: str, length: int, start: int, end: int) -> list[tuple[float, ...]]:
        """Return close times, prices and volumes, those of the forming bar included."""
        exchange = self.exchange
        told = exchange.past(symbol, exchange.timeframe, start, end + length)
        columns = (told.times, told.open, told.high, told.low, told.close, told.volume)
        rows: list[tuple[float, ...]] = list(zip(*columns, strict=True))
        forming = exchange.forming(symbol)
        if forming is not None and forming.ts - exchange.timeframe <= end:
            rows.append((forming.ts, *(getattr(forming, n) for n in _PRICES)))
        if length == exchange.timeframe:
            return rows
        made: dict[int, tuple[float, ...]] = {}
        for ts, o, h, l, c, v in rows:  # noqa: E741
            close = -(-int(ts) // length) * length
            if not start <= close - length <= end:
                continue  # it opened before, or opens after
            _, first, high, low, _, volume = made.get(close, (close, o, h, l, c, 0.0))
            made[close] = (close, first, max(high, h), min(low, l), c, volume + v)
        return list(made.values())

    # ------------------------------------------------------------ the latest

    def _latest_bars(self, asked: Json) -> Json:
        exchange = self.exchange
        found = {}
        for symbol in asked["query"]["symbols"].split(","):
            rows = self._rows(symbol, exchange.timeframe, 0, exchange.time())
            if rows:
                found[symbol] = bar(rows[-1], exchange.timeframe)
        return {"bars": found}

    def _latest_trades(self, asked: Json) -> Json:
        return {"trades": {said.symbol: _row(said) for said in self._latest(asked)}}

    def _latest_quotes(self, asked: Json) -> Json:
        told = (self.exchange.quote_at(trade) for trade in self._latest(asked))
        return {"quotes": {said.symbol: _row(said) for said in told}}

    def _latest(self, asked: Json) -> Iterator[Trade]:
        for symbol in asked["query"]["symbols"].split(","):
            yield self.exchange.latest(symbol)


def _row(said: Trade | Quote) -> Json:
    """Return market data as a list has them: without their kind and symbol."""
    told = {name: value for name, value in market(said).items() if name not in ("T", "S")}
    return told | {"t": written(said.ts)}
