"""Bar sizes of Interactive Brokers, and streams of market data put together from its pieces."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.model.timeframe import NS_PER_MS, NS_PER_SECOND

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


class Size(NamedTuple):
    """A bar size.

    Attributes:
        text: ours; name: TWS's.
        seconds: how long it is.
        page_s: the longest span of one question.
    """

    text: str
    name: str
    seconds: int
    page_s: int


SIZES = (
    Size("1s", "1 secs", 1, 1_800),
    Size("5s", "5 secs", 5, _HOUR),
    Size("10s", "10 secs", 10, 4 * _HOUR),
    Size("15s", "15 secs", 15, 4 * _HOUR),
    Size("30s", "30 secs", 30, 8 * _HOUR),
    Size("1min", "1 min", _MINUTE, _DAY),
    Size("2min", "2 mins", 2 * _MINUTE, 2 * _DAY),
    Size("3min", "3 mins", 3 * _MINUTE, 7 * _DAY),
    Size("5min", "5 mins", 5 * _MINUTE, 7 * _DAY),
    Size("10min", "10 mins", 10 * _MINUTE, 7 * _DAY),
    Size("15min", "15 mins", 15 * _MINUTE, 7 * _DAY),
    Size("20min", "20 mins", 20 * _MINUTE, 7 * _DAY),
    Size("30min", "30 mins", 30 * _MINUTE, 30 * _DAY),
    Size("1h", "1 hour", _HOUR, 30 * _DAY),
    Size("2h", "2 hours", 2 * _HOUR, 30 * _DAY),
    Size("4h", "4 hours", 4 * _HOUR, 30 * _DAY),
    Size("8h", "8 hours", 8 * _HOUR, 30 * _DAY),
    Size("1d", "1 day", _DAY, 365 * _DAY),
)
BY_LENGTH = {size.seconds * NS_PER_SECOND: size for size in SIZES}
#: Bars of this length have a stream of their own; others are history that is kept up to date.
REAL_TIME_S = 5
#: How long after its end a bar that nothing follows is waited for: TWS tells of one every few
#: seconds, and its last word may come after its end.
LAST_WORD_S = 5.0


def duration_text(seconds: int) -> str:
    """Return a span as TWS reads it.

    >>> duration_text(1800), duration_text(100_000)
    ('1800 S', '2 D')
    """
    return f"{seconds} S" if seconds <= _DAY else f"{-(-seconds // _DAY)} D"


def opens_at(date: Any) -> int:
    """Return when a bar opens, UTC nanoseconds: TWS tells seconds, or a day for daily bars.

    >>> opens_at("20240102"), opens_at("1704153600")
    (1704153600000000000, 1704153600000000000)
    """
    text = str(date)
    if len(text) == len("20240102"):
        day = dt.datetime.strptime(text, "%Y%m%d").replace(tzinfo=dt.UTC)
        return int(day.timestamp()) * NS_PER_SECOND
    return int(text) * NS_PER_SECOND


class BarStream:
    """Closed bars out of a history that is kept up to date: its last bar is still forming."""

    def __init__(self, symbol: str, timeframe: int) -> None:
        self.symbol = symbol
        self.timeframe = timeframe
        self._forming: Bar | None = None
        self._told = 0

    @property
    def closes_at(self) -> int:
        """When the forming bar closes, 0 without one."""
        return self._forming.ts if self._forming else 0

    def take(self, bar: Any) -> list[Bar]:
        """Return the bar that one that opens later has closed."""
        at = opens_at(bar.date) + self.timeframe
        made = Bar(
            at, 0, self.symbol, bar.open, bar.high, bar.low, bar.close,
            max(float(bar.volume), 0.0), self.timeframe,
        )  # fmt: skip
        before = self._forming
        if before is not None and at < before.ts:
            return []  # a correction: what was told stays as it was
        self._forming = made
        return [] if before is None or at == before.ts else self._closed(before)

    def over(self, now: int) -> list[Bar]:
        """Return the forming bar if its time has been over for long enough."""
        if self._forming is None or now < self._forming.ts + int(LAST_WORD_S * NS_PER_SECOND):
            return []
        return self._closed(self._forming)

    def _closed(self, bar: Bar) -> list[Bar]:
        if bar.ts <= self._told:
            return []
        self._told = bar.ts
        return [bar]


#: Numbers of prices and sizes -> the side that they are of; and of the text that tells a trade.
_PRICES = {1: "bid", 2: "ask"}
_SIZES = {0: "bid", 3: "ask"}
_TRADE = 48


class TickStream:
    """Trades and quotes out of prices and sizes that come one by one."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self._price = {"bid": 0.0, "ask": 0.0}
        self._size = {"bid": 0.0, "ask": 0.0}
        self._changed = False
        self._last = ""

    def price(self, kind: int, price: float, size: float) -> None:
        """Take a price and its size."""
        side = _PRICES.get(kind)
        if side:
            self._price[side], self._size[side] = price, size
            self._changed = True

    def size(self, kind: int, size: float) -> None:
        """Take a size alone."""
        side = _SIZES.get(kind)
        if side and self._size[side] != size:
            self._size[side] = size
            self._changed = True

    def text(self, kind: int, text: str) -> list[Trade]:
        """Return the trade that a piece of text tells of.

        It is ``price;size;milliseconds;volume of the day;average;alone``.
        """
        if kind != _TRADE or text == self._last:
            return []
        price, size, at, volume, _, _ = text.split(";")
        self._last = text
        if not price:
            return []
        ts = int(at) * NS_PER_MS
        return [Trade(ts, 0, self.symbol, float(price), float(size), id=f"{at}-{volume}")]

    def quote(self, now: int) -> Quote | None:
        """Return the quote if a piece of it has changed and both sides are there."""
        changed, self._changed = self._changed, False
        bid, ask = self._price["bid"], self._price["ask"]
        if not changed or not (bid > 0 and ask > 0):
            return None
        return Quote(now, 0, self.symbol, bid, ask, self._size["bid"], self._size["ask"])
