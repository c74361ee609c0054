"""Time, waiting and work beside the engine's thread: real, or virtual for a simulation of faults.

The gateway knows no thread and no clock. It asks its runtime what time it is, waits for the next
message, and hands out work that blocks. With real threads that is live trading; on virtual time the
same gateway runs through hours in a moment, and one seed gives the same run again.
"""

from __future__ import annotations

import contextlib
import heapq
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from regimeflow.model.events import Command, Upgraded
from regimeflow.model.market import Bar, Book, Quote, Trade
from regimeflow.venues.port import Said

#: What was asked, and of which order or symbol.
Key = tuple[str, str]


class Answer(NamedTuple):
    """What came of work that was handed out: a value, or an error."""

    key: Key
    value: Any
    error: Exception | None


class Overflow(NamedTuple):
    """Market data were thrown away, because they came faster than they were handled."""

    lost: int


#: What a human asks for: it overtakes everything else.
Urgent = Command | Upgraded
Message = Urgent | Answer | Overflow | Said


#: What may be thrown away where there is no room; orders and fills never are.
_LOSABLE = frozenset({Bar, Trade})


class Runtime(Protocol):
    """What a gateway needs of its surroundings."""

    #: For jitter only: never decides what is traded.
    random: random.Random

    def now(self) -> int:
        """Return the time, UTC nanoseconds; it never steps back."""

    def wait(self, until: int) -> Message | None:
        """Return the next message, or None at ``until``."""

    def call(self, lane: str, key: Key, work: Callable[[], Any]) -> None:
        """Have work done beside; its `Answer` is a message. Work of one lane keeps its order."""

    def say(self, said: Said) -> None:
        """Take what a venue says, from any thread."""

    def command(self, command: Urgent) -> None:
        """Take a command, from any thread; it overtakes what waits."""

    def urgent(self) -> Urgent | None:
        """Return the next command, None where there is none."""

    def pressing(self) -> bool:
        """Return whether there is one."""

    def waiting(self) -> tuple[int, float]:
        """Return how many messages wait, and how long the oldest has, in milliseconds."""

    def close(self) -> None:
        """Take nothing more, and let threads end."""


class Threads:
    """Real threads and the real clock.

    Wall time is read once and carried on by the monotonic clock, so that a clock that is set back
    or forth under a session does not move it.

    Args:
        capacity: so many messages may wait. When they do, market data are thrown away and said to
            be; what concerns orders never is. Quotes and books replace older ones of their symbol.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self.random = random.Random()
        self._wall = time.time_ns()
        self._anchor = time.monotonic_ns()
        # Entered again by a signal's handler, where that interrupts the thread that is inside.
        self._mutex = threading.RLock()
        self._bell = _Bell()
        self._messages: deque[tuple[int, Any]] = deque()
        self._urgent: deque[Urgent] = deque()
        self._newest: dict[tuple[type, str], Said] = {}
        self._capacity = capacity
        self._lost = 0
        self._lost_told = False
        self._lanes: dict[str, _Lane] = {}
        self._closed = False

    def now(self) -> int:
        return self._wall + time.monotonic_ns() - self._anchor

    def wait(self, until: int) -> Message | None:
        while True:
            with self._mutex:
                if self._urgent:
                    return self._urgent.popleft()
                if self._lost and not (self._lost_told and self._messages):
                    # Told at once, and then not again before what waits was taken.
                    lost, self._lost, self._lost_told = self._lost, 0, True
                    return Overflow(lost)
                if self._messages:
                    _, message = self._messages.popleft()
                    if type(message) is tuple:  # stands for the newest of its symbol
                        return self._newest.pop(message)
                    return message  # type: ignore[no-any-return]
                self._lost_told = False
                left_s = (until - self.now()) / 1e9
                if left_s <= 0.0:
                    return None
                self._bell.expect()
            self._bell.wait(left_s)

    def call(self, lane: str, key: Key, work: Callable[[], Any]) -> None:
        found = self._lanes.get(lane)
        if found is None:
            found = self._lanes[lane] = _Lane(lane, self._answered)
        found.put(key, work)

    def say(self, said: Said) -> None:
        with self._mutex:
            if self._closed:
                return
            kind = type(said)
            if kind is Quote or kind is Book:
                place = (kind, said.symbol)  # type: ignore[union-attr]
                waits = place in self._newest
                self._newest[place] = said
                if waits:
                    return
                self._messages.append((self.now(), place))
            elif kind in _LOSABLE and len(self._messages) >= self._capacity:
                self._lost += 1
            else:
                self._messages.append((self.now(), said))
            self._bell.ring()

    def command(self, command: Urgent) -> None:
        with self._mutex:
            self._urgent.append(command)
            self._bell.ring()

    def urgent(self) -> Urgent | None:
        with self._mutex:
            return self._urgent.popleft() if self._urgent else None

    def pressing(self) -> bool:
        return bool(self._urgent)

    def _answered(self, answer: Answer) -> None:
        with self._mutex:
            self._messages.append((self.now(), answer))
            self._bell.ring()

    def waiting(self) -> tuple[int, float]:
        with self._mutex:
            count = len(self._messages) + len(self._urgent)
            oldest = self._messages[0][0] if self._messages else self.now()
            return count, (self.now() - oldest) / 1e6

    def close(self) -> None:
        with self._mutex:
            self._closed = True
            self._messages.clear()
            self._newest.clear()
            self._bell.ring()
        for lane in self._lanes.values():
            lane.close()


class _Bell:
    """Wakes the one thread that waits for messages.

    Two bare locks instead of a condition: between a message and the thread that waits for it a
    condition runs some hundred lines of Python, on a processor that has just been asleep.
    """

    __slots__ = ("_expected", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._expected = False

    def expect(self) -> None:
        """Let the next `ring` be heard, and no earlier one; under the same mutex as that."""
        self._lock.acquire(blocking=False)
        self._expected = True

    def ring(self) -> None:
        """Wake who waits, once."""
        if self._expected:
            self._expected = False
            self._lock.release()

    def wait(self, seconds: float) -> None:
        """Wait for a `ring` since the last `expect`, for so long at most."""
        self._lock.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))


#: How long the engine stands aside at most for a lane to take up its work.
_HANDOVER_S = 0.001


class _Work(NamedTuple):
    """What is asked, what does it, and what is let go once that begins."""

    key: Key
    do: Callable[[], Any]
    begun: Callable[[], None] | None


class _Lane:
    """One thread that does one thing after the other.

    Whoever gives it something while it is idle stands aside until it has begun: with one
    interpreter lock for both, a request would else wait until everything is done that follows it.
    """

    def __init__(self, name: str, answered: Callable[[Answer], None]) -> None:
        self._answered = answered
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._idle = False
        self._closed = False
        self._thread = threading.Thread(target=self._go, name=f"regimeflow-{name}", daemon=True)
        self._thread.start()

    def put(self, key: Key, work: Callable[[], Any]) -> None:
        if not self._idle:
            self._work.put(_Work(key, work, None))
            return
        # One of its own each time: of a common one the lane could take back what it has let go.
        begun = threading.Lock()
        begun.acquire()
        self._work.put(_Work(key, work, begun.release))
        begun.acquire(timeout=_HANDOVER_S)

    def close(self) -> None:
        self._closed = True
        self._work.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    def _go(self) -> None:
        while True:
            given = self._next()
            if given is None or self._closed:
                return
            if given.begun is not None:
                given.begun()
            try:
                answer = Answer(given.key, given.do(), None)
            except Exception as error:
                answer = Answer(given.key, None, error)
            self._answered(answer)

    def _next(self) -> _Work | None:
        """Return what is to be done next, None to end."""
        with contextlib.suppress(queue.Empty):
            return self._work.get_nowait()
        self._idle = True
        given = self._work.get()
        self._idle = False
        return given


class Virtual:
    """Virtual time: nothing blocks, and one seed gives the same run again.

    Args:
        seed: of latencies and jitter.
        start: what the clock shows first, UTC nanoseconds.
        latency_ms: shortest and longest way to the venue, and back.
    """

    def __init__(
        self, seed: int, start: int, latency_ms: tuple[float, float] = (1.0, 40.0)
    ) -> None:
        self.random = random.Random(seed)
        self._now = start
        self._latency_ms = latency_ms
        self._count = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._messages: deque[tuple[int, Message]] = deque()
        self._urgent: deque[Urgent] = deque()
        self._lane_free: dict[str, int] = {}
        self._closed = False

    def now(self) -> int:
        return self._now

    def later(self, delay_ns: int, what: Callable[[], None]) -> None:
        """Do something at a later moment of virtual time."""
        self._count += 1
        heapq.heappush(self._due, (self._now + max(0, delay_ns), self._count, what))

    def pause(self, for_ns: int) -> None:
        """Stand still for a while, as a process does that is stopped: all is late then."""
        self._now += for_ns

    def wait(self, until: int) -> Message | None:
        while True:
            if self._urgent:
                return self._urgent.popleft()
            if self._messages:
                return self._messages.popleft()[1]
            if not self._due or self._due[0][0] > until:
                self._now = max(self._now, until)
                return None
            at, _, what = heapq.heappop(self._due)
            self._now = max(self._now, at)
            what()

    def call(self, lane: str, key: Key, work: Callable[[], Any]) -> None:
        there = max(self._now, self._lane_free.get(lane, 0)) + self._way()
        back = there + self._way()
        self._lane_free[lane] = back

        def arrive() -> None:
            try:
                answer = Answer(key, work(), None)
            except Exception as error:
                answer = Answer(key, None, error)
            self.later(back - self._now, lambda: self._tell(answer))

        self.later(there - self._now, arrive)

    def _way(self) -> int:
        return int(self.random.uniform(*self._latency_ms) * 1e6)

    def _tell(self, message: Message) -> None:
        if not self._closed:
            self._messages.append((self._now, message))

    def say(self, said: Said) -> None:
        self._tell(said)

    def command(self, command: Urgent) -> None:
        self._urgent.append(command)

    def urgent(self) -> Urgent | None:
        return self._urgent.popleft() if self._urgent else None

    def pressing(self) -> bool:
        return bool(self._urgent)

    def waiting(self) -> tuple[int, float]:
        oldest = self._messages[0][0] if self._messages else self._now
        return len(self._messages) + len(self._urgent), (self._now - oldest) / 1e6

    def close(self) -> None:
        self._closed = True
        self._messages.clear()
        self._due.clear()
