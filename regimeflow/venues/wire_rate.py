"""The rate of orders on the wire.

The limits count intents when they are decided. Requests that have waited, behind a slow answer of
the venue, would leave all at once afterwards; so they are counted a second time, as they leave.

Invariants:

1. in no window of a second or a minute, wherever it begins, do more new orders and changes leave
   than the limits allow: entries by their rate, exits by the same rate of their own;
2. an exit waits for no entry here, and a cancel is never asked about;
3. those of one kind leave in the order in which they were decided, and what waits can be withdrawn.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from regimeflow.model.models import Limits
from regimeflow.model.timeframe import NS_PER_SECOND

#: A time that never comes.
NEVER = 2**63 - 1


class Passage:
    """Decides once, between two threads, whether a request leaves; and remembers when it did.

    Args:
        left_at: when it left, UTC nanoseconds; None until then.

    Attributes:
        go: hands the request over to be sent.
        waiting: whether it has not been handed over yet, for the rate.
    """

    __slots__ = ("_lock", "go", "left_at", "over", "waiting")

    def __init__(self, left_at: int | None = None) -> None:
        self._lock = threading.Lock()
        self.go: Callable[[], None] = _nothing
        self.left_at = left_at
        self.over = self.waiting = False

    def leave(self, now: int) -> bool:
        """Return whether it may leave; from then on it cannot be withdrawn."""
        if not self._lock.acquire(blocking=False):
            return False
        self.left_at = now
        return True

    def withdraw(self) -> bool:
        """Return whether it had not left; from then on it cannot."""
        self.over = self._lock.acquire(blocking=False)
        return self.over


def _nothing() -> None:
    raise AssertionError("a passage that nothing was given to")


class WireRate:
    """Hands requests over as fast as the limits allow. Handed over, they must leave in order.

    One that was handed over and has not left yet may do so at any moment, and counts in every
    window until it has.

    Args:
        limits: in force now.
        now: returns the time, UTC nanoseconds.
    """

    def __init__(self, limits: Callable[[], Limits], now: Callable[[], int]) -> None:
        self._limits = limits
        self._now = now
        self._lanes = (_Lane(), _Lane())

    def hand(self, passage: Passage, *, exit_: bool) -> None:
        """Hand a request over, now or when its turn comes."""
        lane = self._lanes[exit_]
        windows = self._windows(exit_=exit_)
        if not windows:
            passage.go()
        elif lane.waiting or lane.free_at(windows, self._now()):
            passage.waiting = True
            lane.waiting.append(passage)
        else:
            lane.gone.append(passage)
            passage.go()

    def due(self) -> None:
        """Hand over the requests whose turn has come."""
        now = self._now()
        for exit_, lane in enumerate(self._lanes):
            while lane.waiting:
                passage = lane.waiting[0]
                if not passage.over:
                    if lane.free_at(self._windows(exit_=bool(exit_)), now):
                        break
                    lane.gone.append(passage)
                    passage.waiting = False
                    passage.go()
                lane.waiting.popleft()

    def forget(self, passage: Passage) -> None:
        """A request was withdrawn: it counts no more."""
        for lane in self._lanes:
            for passages in (lane.gone, lane.waiting):
                if passage in passages:
                    passages.remove(passage)

    def remember(self, times: Iterable[int], *, exit_: bool) -> None:
        """Count requests that an earlier life may have sent as late as this, UTC nanoseconds."""
        if self._windows(exit_=exit_):
            self._lanes[exit_].gone.extend(Passage(at) for at in sorted(times))

    @property
    def next_due(self) -> int:
        """When the next turn comes; never, where that depends on an answer."""
        now = self._now()
        return min(
            (
                lane.free_at(self._windows(exit_=bool(exit_)), now) or now
                for exit_, lane in enumerate(self._lanes)
                if lane.waiting
            ),
            default=NEVER,
        )

    def _windows(self, *, exit_: bool) -> list[tuple[int, int]]:
        return list(_windows(self._limits(), exit_=exit_))


def _windows(limits: Limits, *, exit_: bool) -> Iterator[tuple[int, int]]:
    """Yield how many may leave in windows of which length, in nanoseconds."""
    for most, length_ns in (
        (limits.max_orders_per_second, NS_PER_SECOND),
        (limits.max_orders_per_minute, 60 * NS_PER_SECOND),
    ):
        if most is not None:
            # What is held can always be left.
            yield (max(1, int(most)) if exit_ else int(most)), length_ns


class _Lane:
    """Requests of one kind.

    Attributes:
        gone: handed over, in order, as far as a window reaches back.
        waiting: not yet, in order.
    """

    __slots__ = ("gone", "waiting")

    def __init__(self) -> None:
        self.gone: deque[Passage] = deque()
        self.waiting: deque[Passage] = deque()

    def free_at(self, windows: list[tuple[int, int]], now: int) -> int:
        """Return when one more may be handed over, 0 where that is now."""
        gone = self.gone
        longest_ns = max((length_ns for _, length_ns in windows), default=0)
        while gone and gone[0].left_at is not None and gone[0].left_at <= now - longest_ns:
            gone.popleft()
        free = 0
        for most, length_ns in windows:
            if most <= 0:
                return NEVER
            if len(gone) >= most:
                left_at = gone[-most].left_at
                if left_at is None:
                    return NEVER
                if left_at > now - length_ns:
                    free = max(free, left_at + length_ns)
        return free
