"""ccxt's streams, followed by tasks on its client's loop; what they tell is translated and said.

ccxt's streams can end without a word, and replay nothing. Whoever asks for executions therefore
also passes them here: one that the stream should have told and has not is the proof that it is
silent, and then it is given up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from regimeflow.errors import VenueError
from regimeflow.model.events import Fill
from regimeflow.model.timeframe import NS_PER_MS, NS_PER_SECOND
from regimeflow.model.venue import VenueOrder
from regimeflow.venues.ccxt import translate
from regimeflow.venues.ccxt.habits import Habits
from regimeflow.venues.port import Disconnected, Emit, Garbled, Said

#: An execution that the stream has not told so long after it was made, it will not tell.
_SILENT_NS = 10 * NS_PER_SECOND
#: How long after its close a bar is waited for before it is asked for.
_LATE_NS = NS_PER_SECOND
#: Executions that are remembered as told.
_REMEMBERED = 50_000
#: How long streams may take to be confirmed, seconds.
_PATIENCE_S = 10.0
#: What exchanges' clients call executions, somewhere in the name of the stream.
_OWN_TRADES = ("trade", "execution")


class Streams:
    """What one client of ccxt is told.

    Args:
        client: of ccxt.
        emit: takes what is said.
        fill: makes an execution of ours of ccxt's trade.
        row: makes an order of ours of ccxt's order.
        translated: makes an error of ours of ccxt's.
        habits: of the exchange.

    Attributes:
        skew_ns: how far the exchange's clock is ahead of ours.
    """

    def __init__(
        self,
        client: Any,
        emit: Emit,
        fill: Callable[[Any, dict[str, Any]], Awaitable[Fill]],
        row: Callable[[dict[str, Any]], VenueOrder],
        translated: Callable[[Exception], VenueError],
        habits: Habits,
    ) -> None:
        self._client = client
        self._emit: Emit | None = emit
        self._fill, self._row, self._translated = fill, row, translated
        self._habits = habits
        self._private: list[asyncio.Task[None]] = []
        self._market: list[asyncio.Task[None]] = []
        self._broken = False
        self._why: VenueError | None = None
        self._since = 0
        self._told: dict[str, None] = {}
        self._last_bar: dict[str, int] = {}
        self.skew_ns = 0

    def say(self, said: Said) -> None:
        """Pass on what is said, unless all is over."""
        emit = self._emit
        if emit is not None:
            emit(said)

    def end(self) -> None:
        """Say nothing any more."""
        self._emit = None

    async def cancel(self) -> None:
        """End all tasks."""
        await _ended(self._private + self._market)

    def _now(self) -> int:
        return time.time_ns() + self.skew_ns

    # ------------------------------------------------------------ our own orders

    async def open_private(self) -> None:
        """Follow our own orders and executions; return when the exchange has confirmed both."""
        self._private = [
            asyncio.create_task(self._follow(self._client.watch_orders, self._orders)),
            asyncio.create_task(self._follow(self._client.watch_my_trades, self._executions)),
        ]
        client = self._client
        await self._until(
            lambda: (
                any("order" in name.lower() for name in client.watching)
                and any(part in n.lower() for n in client.watching for part in _OWN_TRADES)
            ),
            self._private,
        )
        self._since = self._now()

    async def _until(self, begun: Callable[[], bool], tasks: Sequence[asyncio.Task[None]]) -> None:
        """Wait until streams are followed, and confirmed where the exchange confirms."""
        client, until = self._client, time.monotonic() + _PATIENCE_S
        confirms = bool(self._habits.confirms[0])
        while not begun() or (confirms and client.confirmed < client.asked_for):
            if self._broken or any(task.done() for task in tasks):
                raise self._why or VenueError("a stream ended before it was confirmed")
            if time.monotonic() > until:
                raise VenueError("a stream was not confirmed in time")
            await asyncio.sleep(0.002)

    async def _orders(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            self._row(row)
            said = translate.order_update(row, self._habits)
            if said is not None:
                self.say(said)

    async def _executions(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            made = await self._fill(self._client, row)
            self._told[made.execution_id] = None
            if len(self._told) > _REMEMBERED:
                del self._told[next(iter(self._told))]
            self.say(made)

    def told_by_asking(self, fills: Sequence[Fill]) -> None:
        """Compare what was asked for with what the stream has told."""
        latest = self._now() - _SILENT_NS
        for fill in fills:
            if self._since < fill.ts < latest and fill.execution_id not in self._told:
                self.lose(f"the stream of our own executions is silent: {fill.execution_id}")
                return

    # ------------------------------------------------------------ market data

    async def subscribe(self, symbols: tuple[str, ...], timeframe: int, name: str) -> None:
        """Follow the bars of symbols, or without a timeframe their trades and quotes."""
        await _ended(self._market)
        await self._client.drop_market_streams()
        before = self._client.watched
        if timeframe:
            follows = [self._bars(symbol, timeframe, name) for symbol in symbols]
        else:
            follows = self._ticks(symbols)
        self._market = [asyncio.create_task(self._survive(follow)) for follow in follows]
        await self._until(lambda: bool(self._client.watched >= before + len(follows)), self._market)

    def _ticks(self, symbols: tuple[str, ...]) -> list[Coroutine[Any, Any, None]]:
        client, has = self._client, self._client.has
        wanted = list(symbols)
        if has.get("watchTradesForSymbols"):
            watch = partial(client.watch_trades_for_symbols, wanted)
            follows = [self._each(watch, self._trades)]
        else:
            follows = [self._each(partial(client.watch_trades, s), self._trades) for s in wanted]
        if has.get("watchBidsAsks"):
            follows.append(self._each(partial(client.watch_bids_asks, wanted), self._quotes))
        return follows

    async def _trades(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            self.say(translate.trade(row))

    async def _quotes(self, tickers: dict[str, dict[str, Any]]) -> None:
        for row in tickers.values():
            self.say(translate.quote(row, self._now()))

    async def _bars(self, symbol: str, timeframe: int, name: str) -> None:
        """Say each bar of a symbol once it is over.

        ccxt tells candles while they form and does not say which is the last word of one. A candle
        is over when the next has begun; where none begins in time, the exchange is asked.
        """
        forming: dict[int, list[Any]] = {}
        while True:
            due = min(forming, default=None)
            close = None if due is None else due * NS_PER_MS + timeframe + _LATE_NS
            wait_s = None if close is None else max(0.0, (close - self._now()) / 1e9)
            try:
                rows = await asyncio.wait_for(self._client.watch_ohlcv(symbol, name), wait_s)
            except TimeoutError:
                assert due is not None
                forming |= await self._asked(symbol, name, due)
                self._say_bar(symbol, timeframe, forming.pop(due))
                continue
            for row in rows:
                forming[int(row[0])] = list(row)
            for opened in sorted(forming)[:-1]:
                self._say_bar(symbol, timeframe, forming.pop(opened))

    async def _asked(self, symbol: str, name: str, opened: int) -> dict[int, list[Any]]:
        rows = await self._client.fetch_ohlcv(symbol, name, opened, 2)
        return {int(row[0]): list(row) for row in rows if int(row[0]) >= opened}

    def _say_bar(self, symbol: str, timeframe: int, row: list[Any]) -> None:
        made = translate.bar(symbol, timeframe, row)
        if made.ts > self._last_bar.get(symbol, 0):
            self._last_bar[symbol] = made.ts
            self.say(made)

    # ------------------------------------------------------------ following

    async def _follow(
        self,
        watch: Callable[[], Awaitable[Any]],
        take: Callable[[Any], Awaitable[None]],
    ) -> None:
        await self._survive(self._each(watch, take, about_orders=True))

    async def _each(
        self,
        watch: Callable[[], Awaitable[Any]],
        take: Callable[[Any], Awaitable[None]],
        *,
        about_orders: bool = False,
    ) -> None:
        """Take what a stream tells, for ever."""
        while True:
            told = await watch()
            try:
                await take(told)
            except translate.Unreadable as error:
                self.say(Garbled(f"a message cannot be read: {error}", about_orders=about_orders))

    async def _survive(self, follow: Coroutine[Any, Any, None]) -> None:
        """Let a stream that ends by an error be a lost connection."""
        try:
            await follow
        except Exception as error:
            self._lose(self._translated(error))

    def lose(self, why: str) -> None:
        """Give the connection up."""
        self._lose(VenueError(why))

    def _lose(self, why: VenueError) -> None:
        if not self._broken:
            self._broken, self._why = True, why
            self.say(Disconnected(str(why)))


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
