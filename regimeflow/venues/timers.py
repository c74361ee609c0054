"""The timers of a strategy, whatever clock its venue has."""

from __future__ import annotations

import heapq

from regimeflow.model.events import SetTimer


class Timers:
    """What is to fire, and when.

    Attributes:
        heap: (when, number, name, every), the next one first; numbers keep the order of asking.
    """

    __slots__ = ("_count", "heap")

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, str, int]] = []
        self._count = 0

    def set(self, request: SetTimer) -> None:
        """Take a request."""
        self._count += 1
        at, every = request.at, request.every
        if at < request.seen:
            # A missed moment is now; of a missed beat the next one counts.
            at = at - (at - request.seen) // every * every if every else request.seen
        heapq.heappush(self.heap, (at, self._count, request.name, every))

    def due(self, now: int) -> bool:
        """Whether the next one is due."""
        return bool(self.heap) and self.heap[0][0] <= now

    def fire(self) -> tuple[int, str]:
        """Return when the next one was due, and its name; a beat is set anew."""
        at, order, name, every = heapq.heappop(self.heap)
        if every:
            heapq.heappush(self.heap, (at + every, order, name, every))
        return at, name

    def catch_up(self, now: int) -> None:
        """Move beats that were missed several times on to the last time they were due."""
        self.heap = [
            (at + (now - at) // every * every if every and at < now else at, order, name, every)
            for at, order, name, every in self.heap
        ]
        heapq.heapify(self.heap)
