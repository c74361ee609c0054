"""Prices of one symbol as executions are held against them: a little of the past, and what is due.

A price *stands* from the moment it was made until the next one. What stood at a moment is settled
only once a later price is known, so an answer may have to wait; only what is waited for is kept,
and the newest few hundred prices, since venues tell of executions late.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from functools import partial

#: Prices looked back on: a fill or acknowledgement that is told later than that has none.
KEPT = 512

Then = Callable[[float | None], None]


class Track:
    """One series of prices: mids or trades by their time, or closes of bars.

    Every answer is ``(price, settled)``. Where it is not settled, the price is the newest one, and
    ``then`` is called with the final price by the `take` that settles it.
    """

    __slots__ = ("_by_count", "_by_time", "_kept", "_serial", "_taken")

    def __init__(self) -> None:
        self._kept: deque[tuple[int, float]] = deque(maxlen=KEPT)
        self._taken = 0
        self._serial = 0
        self._by_time: list[tuple[int, int, Then]] = []
        self._by_count: list[tuple[int, int, Then]] = []

    @property
    def last(self) -> float | None:
        """The newest price."""
        return self._kept[-1][1] if self._kept else None

    def take(self, ts: int, price: float) -> None:
        """Take in a price. An older one than the newest changes nothing."""
        kept = self._kept
        if kept and ts <= kept[-1][0]:
            if ts == kept[-1][0]:
                kept[-1] = (ts, price)
            return
        self.settle(ts)
        kept.append((ts, price))
        self._taken += 1
        due = self._by_count
        while due and due[0][0] <= self._taken:
            heapq.heappop(due)[2](price)

    def settle(self, ts: int) -> None:
        """Answer what waits for moments before ``ts``."""
        due, last = self._by_time, self.last
        while due and due[0][0] < ts:
            heapq.heappop(due)[2](last)

    def forget(self) -> None:
        """Drop the past: what comes is of another kind."""
        self._kept.clear()

    def at(self, ts: int, then: Then) -> tuple[float | None, bool]:
        """Return the price that stands at a moment; None where that is too long ago."""
        kept = self._kept
        if not kept:
            return None, True
        if kept[-1][0] <= ts:
            heapq.heappush(self._by_time, (ts, self._next(), then))
            return kept[-1][1], False
        return next((price for at, price in reversed(kept) if at <= ts), None), True

    def later(self, ts: int, steps: int, then: Then) -> tuple[float | None, bool]:
        """Return the ``steps``-th price after a moment; None where that is too long ago."""
        kept = self._kept
        passed = 0
        for at, _ in reversed(kept):
            if at <= ts:
                break
            passed += 1
        if passed == KEPT:
            return None, True
        if steps <= passed:
            return kept[steps - passed - 1][1], True
        if passed:
            self._count_from(self._taken - passed, steps, then)
        else:
            # A bar may be told after a fill and yet have ended before it: count once one has not.
            counted: Then = partial(self._count_on, steps, then)
            heapq.heappush(self._by_time, (ts, self._next(), counted))
        return self.last, False

    def _next(self) -> int:
        """Return a number that grows, by which equal moments keep their order."""
        self._serial += 1
        return self._serial

    def _count_on(self, steps: int, then: Then, price: float | None) -> None:
        self._count_from(self._taken, steps, then)

    def _count_from(self, taken: int, steps: int, then: Then) -> None:
        heapq.heappush(self._by_count, (taken + steps, self._next(), then))


class Marks:
    """All prices of one symbol.

    Attributes:
        ticks: mids of quotes and books; trades, as long as there was no quote.
        bars: closes of its finest bars.
        quoted: whether ``ticks`` are mids.
    """

    __slots__ = ("bars", "quoted", "ticks")

    def __init__(self) -> None:
        self.ticks = Track()
        self.bars = Track()
        self.quoted = False

    @property
    def best(self) -> Track:
        """The track that prices are looked up in: ticks where there are any."""
        return self.bars if self.ticks.last is None else self.ticks

    def quote(self, ts: int, bid: float, ask: float) -> None:
        """Take in a best bid and ask; a side that is empty, or crossed, has no middle."""
        if not 0.0 < bid <= ask:
            return
        if not self.quoted:
            self.quoted = True
            self.ticks.settle(ts)
            self.ticks.forget()
        self.ticks.take(ts, (bid + ask) / 2.0)

    def trade(self, ts: int, price: float) -> None:
        """Take in a trade."""
        if not self.quoted:
            self.ticks.take(ts, price)
