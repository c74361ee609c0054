"""Market data of Alpaca: its history, and what it streams."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from regimeflow.errors import Refused, VenueError
from regimeflow.model.market import Bar, History
from regimeflow.venues.alpaca import wire
from regimeflow.venues.alpaca.asking import Asking, time_of
from regimeflow.venues.alpaca.assets import Assets
from regimeflow.venues.alpaca.clients import Clients
from regimeflow.venues.alpaca.coarse import Coarse
from regimeflow.venues.alpaca.endpoints import Endpoints
from regimeflow.venues.alpaca.outcomes import QUESTION
from regimeflow.venues.alpaca.streams import Listener
from regimeflow.venues.port import Refreshed, Said

#: Bars of one answer.
BARS = 10_000
_ENDLESS = "Alpaca's pages of bars do not end"
#: Reads a message and says what it means.
Translate = Callable[[Callable[[], Said | None], Any], None]


class Past:
    """Historical bars.

    Args:
        asking: asks.
        assets: what is traded.
        at: where, and from which feed.
        crypto: whether it is crypto; stocks else.
    """

    def __init__(self, asking: Asking, assets: Assets, at: Endpoints, *, crypto: bool) -> None:
        self._asking, self._assets, self._at, self._crypto = asking, assets, at, crypto

    def bars(self, symbol: str, timeframe: int, start: int, end: int) -> History:
        """Return the closed bars of one series that close after ``start`` and up to ``end``."""
        terms, until = self._terms(symbol, timeframe, start, end)
        rows: list[tuple[int, wire.BarRow]] = []
        token: str | None = None
        while True:
            more, following = self._rows(terms, timeframe, token)
            rows += more
            if following is None:
                break
            if following == token or not more:
                raise VenueError(_ENDLESS)
            token = following
        return _history(symbol, timeframe, start, until, rows)

    def piece(self, symbol: str, timeframe: int, start: int, end: int) -> tuple[History, int]:
        """Return the first bars of those, as many as Alpaca gives at once, and up to when."""
        terms, until = self._terms(symbol, timeframe, start, end)
        rows, following = self._rows(terms, timeframe)
        reached = max((ts for ts, _ in rows), default=start) if following else end
        if reached <= start:
            raise VenueError(_ENDLESS)
        return _history(symbol, timeframe, start, until, rows), min(reached, end)

    def _terms(
        self, symbol: str, timeframe: int, start: int, end: int
    ) -> tuple[dict[str, Any], int]:
        """Return what is asked for, and until when bars are over."""
        length = wire.bar_length(timeframe, local=self._at.local)
        if not length:
            raise Refused(wire.no_bars(timeframe), code="bad_timeframe")
        self._assets.of(symbol)
        # What Alpaca gives last may still be forming.
        end = min(end, self._asking.time())
        terms: dict[str, Any] = {
            "symbols": symbol,
            "timeframe": length,
            "start": wire.written(max(0, start - timeframe)),
            "end": wire.written(max(0, end)),
            "limit": BARS,
        }
        if not self._crypto:
            terms |= {"feed": self._at.feed, "adjustment": "raw"}
        return terms, end

    def _rows(
        self, terms: dict[str, Any], timeframe: int, token: str | None = None
    ) -> tuple[list[tuple[int, wire.BarRow]], str | None]:
        """Return the bars of one answer by their close times, and the token of the next one."""
        path = "/crypto/us/bars" if self._crypto else "/stocks/bars"
        page = self._page(path, {**terms, "page_token": token} if token else terms)
        found = (page.bars or {}).get(terms["symbols"], [])
        rows = [(time_of(row.t) + timeframe, row) for row in found]
        return rows, page.next_page_token or None

    def _page(self, path: str, terms: dict[str, Any]) -> wire.BarPage:
        asking = self._asking
        return asking.ask(
            QUESTION, lambda: asking.client("data").get(path, dict(terms)), wire.BarPage
        )


class Market:
    """One subscription to market data.

    Args:
        symbols: what of.
        timeframe: of bars, nanoseconds; 0 for trades and quotes.
        unit: of the bars that are streamed.
        assets: rules of the symbols.
        past: what is asked for where the stream had told only a part of a bar.
        translate, say: say what a message means, or what is known otherwise.
        unreadable, broken: as of `Listener`.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        timeframe: int,
        unit: int,
        assets: Assets,
        past: Past,
        translate: Translate,
        say: Callable[[Said], None],
        unreadable: Callable[[str], None],
        broken: Callable[[str], None],
    ) -> None:
        self._symbols, self._timeframe, self._unit = tuple(symbols), timeframe, unit
        self._assets, self._past = assets, past
        self._translate, self._say = translate, say
        self._coarse: Coarse | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.listener = Listener("regimeflow-alpaca-market", self._hear, unreadable, broken)

    @property
    def _made(self) -> bool:
        """Whether bars are made of those that are streamed."""
        return self._timeframe > self._unit

    def stream(self, clients: Clients, listener: Listener) -> Any:
        """Return the client's stream of it."""
        return clients.data_stream(listener, self._symbols, bars=bool(self._timeframe))

    def _hear(self, message: Any) -> None:
        kind = message.get("T") if isinstance(message, dict) else None
        if kind == "subscription":
            self._begin()
            self.listener.confirmed()
        elif kind == "error":
            self.listener.end(f"Alpaca refuses it: {str(message.get('msg'))[:200]}")
        elif kind == "s":
            self._translate(lambda: self._status(message), message)
        elif kind in wire.READ:
            self._translate(lambda: self._read(kind, message), message)

    def _status(self, message: Any) -> Refreshed | None:
        told = msgspec.convert(message, wire.Status)
        rules, trades = self._assets.rules.get(told.S), wire.TRADES.get(told.sc)
        return None if rules is None or trades is None else Refreshed(rules, trades)

    def _read(self, kind: str, message: Any) -> Said | None:
        said = wire.READ[kind](message, self._unit)
        if self._coarse is None or not isinstance(said, Bar):
            return said
        for bar in self._coarse.take(said):
            self._say(bar)
        return None

    # ------------------------------------------------------------ bars that are made

    def _begin(self) -> None:
        """Begin to make bars; called on the stream's loop, as all that follows."""
        if self._made and self._coarse is None:
            self._coarse = Coarse(self._timeframe, self._unit, time.time_ns())
            self._again(self._coarse)

    def _again(self, coarse: Coarse) -> None:
        now = time.time_ns()
        asyncio.get_running_loop().call_later(
            (coarse.next_due(now) - now) / 1e9, self._by_the_clock, coarse
        )

    def _by_the_clock(self, coarse: Coarse) -> None:
        """Tell the bars whose last minutes nobody told."""
        now = time.time_ns()
        for bar in coarse.due(now):
            self._say(bar)
        if coarse.partial and now >= coarse.partial + coarse.late_ns:
            end, coarse.partial = coarse.partial, 0
            task = asyncio.get_running_loop().create_task(self._whole(end))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._again(coarse)

    async def _whole(self, end: int) -> None:
        """Ask for the bar of which the stream had told only the last part."""
        for symbol in self._symbols:
            # Where it cannot be had, the next bar shows that it is missing, and it is asked again.
            with contextlib.suppress(VenueError):
                told = await asyncio.to_thread(
                    self._past.bars, symbol, self._timeframe, end - self._timeframe, end
                )
                for bar in told.bars():
                    self._say(bar)


def _history(
    symbol: str,
    timeframe: int,
    start: int,
    end: int,
    rows: list[tuple[int, wire.BarRow]],
) -> History:
    """Return bars as columns, each close time once."""
    kept = {ts: row for ts, row in rows if start < ts <= end}
    times = sorted(kept)
    rows_of = [kept[ts] for ts in times]
    o, h, l, c, v = ([getattr(row, name) for row in rows_of] for name in "ohlcv")  # noqa: E741
    return History(end, 0, symbol, timeframe, times, o, h, l, c, v)
