"""Market data: contracts, streams of ticks and bars, and their history."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Iterable, Sequence
from typing import Any

from regimeflow.errors import Refused, VenueError
from regimeflow.model.market import Bar
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.venues.ib import bars, codes
from regimeflow.venues.ib.asks import DETAILS, HEAD, HISTORY
from regimeflow.venues.ib.connection import Connection
from regimeflow.venues.port import Garbled, Said

#: TWS counts questions for history over ten minutes: who waited longer than that did not ask too
#: often.
_PACED_S = 600.0


class Market:
    """What one connection hears of the market."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._client = line.client
        self._bars: dict[int, bars.BarStream] = {}
        self._ticks: dict[int, bars.TickStream] = {}
        self._moved: set[int] = set()
        self._wanted: tuple[tuple[tuple[str, Any], ...], int] = ((), 0)
        self._farm_lost = False

    def __contains__(self, number: int) -> bool:
        """Whether a number is that of a stream."""
        return number in self._bars or number in self._ticks

    # ------------------------------------------------------------ questions

    async def details(self, contract: Any) -> list[Any]:
        """Return the contracts that fit; none where TWS knows none."""
        try:
            return await self._line.ask(
                DETAILS, lambda n: self._client.reqContractDetails(n, contract)
            )
        except Refused as no:
            if no.code == "200":
                return []
            raise

    async def past(self, contract: Any, size: bars.Size, start: int, end: int) -> list[Any]:
        """Return TWS's bars that open from ``start`` on and before ``end``, oldest first."""
        first, until = start // NS_PER_SECOND, -(-end // NS_PER_SECOND)
        first = max(first, await self.first_data(contract))
        pages: list[list[Any]] = []
        while until > first:
            seconds = max(min(until - first, size.page_s), size.seconds)
            when = dt.datetime.fromtimestamp(until, dt.UTC).strftime("%Y%m%d-%H:%M:%S")
            page = await self._page(contract, size, when, bars.duration_text(seconds))
            pages.append(page)
            until -= seconds
        return [bar for page in reversed(pages) for bar in page]

    async def _page(self, contract: Any, size: bars.Size, when: str, span: str) -> list[Any]:
        """Return one page, asked for again where TWS says that it was asked too often."""
        until = time.monotonic() + _PACED_S
        while True:
            try:
                return await self._line.ask(
                    HISTORY,
                    lambda n: self._client.reqHistoricalData(
                        n, contract, when, span, size.name, _shown(contract), self._regular, 2,
                        False, [],
                    ),
                )  # fmt: skip
            except Refused as no:
                if no.retry_after_ms is None or time.monotonic() > until:
                    raise
                await asyncio.sleep(no.retry_after_ms / 1e3)

    async def first_data(self, contract: Any) -> int:
        """Return when TWS's data of a contract begin, UTC seconds; 0 where it does not tell."""
        heads = self._line.memory.heads
        if contract.conId in heads:
            return heads[contract.conId]
        try:
            (text,) = await self._line.ask(
                HEAD,
                lambda n: self._client.reqHeadTimeStamp(
                    n, contract, _shown(contract), self._regular, 2
                ),
            )
        except (VenueError, ValueError):
            return 0
        if str(text).isdigit() and len(str(text)) > len("20240102"):
            heads[contract.conId] = int(text)
        return heads.get(contract.conId, 0)

    @property
    def _regular(self) -> bool:
        return not self._line.manners.extended_hours

    # ------------------------------------------------------------ streams

    async def subscribe(self, wanted: Sequence[tuple[str, Any]], timeframe: int) -> None:
        """Begin the streams of market data, or begin them anew."""
        async with self._line.locks.setdefault("subscribe", asyncio.Lock()):
            try:
                await self._subscribe(wanted, timeframe)
            except OSError:
                raise VenueError("there is no connection to TWS") from None

    async def _subscribe(self, wanted: Sequence[tuple[str, Any]], timeframe: int) -> None:
        self._wanted = (tuple(wanted), timeframe)
        for number in (*self._bars, *self._ticks):
            await self._line.turn()
            self._unsubscribe(number)
        self._bars.clear()
        self._ticks.clear()
        for symbol, contract in wanted:
            await self._line.turn()
            number = self._line.number()
            if not timeframe:
                self._ticks[number] = bars.TickStream(symbol)
                self._client.reqMktData(number, contract, "233", False, False, [])
                continue
            self._bars[number] = bars.BarStream(symbol, timeframe)
            size, shows = bars.BY_LENGTH[timeframe], _shown(contract)
            if size.seconds == bars.REAL_TIME_S:
                self._client.reqRealTimeBars(
                    number, contract, bars.REAL_TIME_S, shows, self._regular, []
                )
            else:
                span = bars.duration_text(max(60, 2 * size.seconds))
                self._client.reqHistoricalData(
                    number, contract, "", span, size.name, shows, self._regular, 2, True, []
                )

    def _unsubscribe(self, number: int) -> None:
        if number in self._ticks:
            self._client.cancelMktData(number)
        elif self._bars[number].timeframe == bars.REAL_TIME_S * NS_PER_SECOND:
            self._client.cancelRealTimeBars(number)
        else:
            self._client.cancelHistoricalData(number)

    def farm(self, *, lost: bool) -> None:
        """A data farm was lost, or is back: then it does not go on with what it was asked."""
        back = self._farm_lost and not lost
        self._farm_lost = lost
        if back and not self._line.over:
            self._line.begin(self._subscribe_again())

    def pass_time(self) -> None:
        """Tell of the bars that are over by now."""
        for stream in self._bars.values():
            self._say_all(stream.over(time.time_ns()))

    async def _subscribe_again(self) -> None:
        try:
            await self.subscribe(*self._wanted)
        except VenueError:
            self._line.lose("market data could not be asked for again")

    def _say_all(self, closed: Iterable[Said]) -> None:
        for said in closed:
            self._line.say(said)

    def error_of(self, number: int, code: int, words: str) -> None:
        """A notice or a failure that carries a stream's number."""
        stream = self._bars.get(number) or self._ticks.get(number)
        assert stream is not None
        if not codes.is_note(code) or code == 10167:
            self._line.say(Garbled(f"no market data of {stream.symbol}: {words}", stream.symbol))

    # ------------------------------------------------------------ what TWS says

    def historicalData(self, number: int, bar: Any) -> None:
        if number in self._line.asks:
            self._line.asks.piece(number, bar)
        elif number in self._bars:
            self._bars[number].take(bar)  # from before: history has told of it

    def historicalDataEnd(self, number: int, *_: Any) -> None:
        self._line.asks.end(number)

    def historicalDataUpdate(self, number: int, bar: Any) -> None:
        if number in self._bars:
            self._say_all(self._bars[number].take(bar))

    def realtimeBar(
        self, number: int, opens: int, open_: float, high: float, low: float, close: float,
        volume: float, *_: Any,
    ) -> None:  # fmt: skip
        if number in self._bars:
            stream = self._bars[number]
            at = (opens + bars.REAL_TIME_S) * NS_PER_SECOND
            volume = max(volume, 0.0)
            self._line.say(
                Bar(at, 0, stream.symbol, open_, high, low, close, volume, stream.timeframe)
            )

    def priceSizeTick(self, number: int, kind: int, price: float, size: float) -> None:
        if number in self._ticks:
            self._ticks[number].price(kind, price, size)
            self._moved.add(number)

    def tickSize(self, number: int, kind: int, size: float) -> None:
        if number in self._ticks:
            self._ticks[number].size(kind, size)
            self._moved.add(number)

    def tickString(self, number: int, kind: int, text: str) -> None:
        if number in self._ticks:
            self._say_all(self._ticks[number].text(kind, text))

    def tcpDataProcessed(self) -> None:
        """All that came at once has been read: what moved makes one quote."""
        moved, self._moved = self._moved, set()
        for number in moved & self._ticks.keys():
            quote = self._ticks[number].quote(time.time_ns())
            if quote is not None:
                self._line.say(quote)

    def contractDetails(self, number: int, details: Any) -> None:
        self._line.asks.piece(number, details)

    bondContractDetails = contractDetails

    def contractDetailsEnd(self, number: int) -> None:
        self._line.asks.end(number)

    def headTimestamp(self, number: int, text: str) -> None:
        self._line.asks.piece(number, text)
        self._line.asks.end(number)


def _shown(contract: Any) -> str:
    """Return what bars are made of: there are no trades of currencies."""
    return "MIDPRICE" if contract.secType in ("CASH", "CMDTY") else "TRADES"
