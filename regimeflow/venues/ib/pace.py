"""How many messages TWS takes in a second, and whose they are.

The client library would hold back what is too much and send it later, whatever it is: an order that
nobody wants any more, or a question whose answer is by then called missing. So its own throttle is
off. Here questions wait, orders are refused at once, and cancels are asked again. Each of the three
has room of its own in every second, so that none of them can keep another out: without an answer
about the books, orders in doubt would be canceled again and again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

QUESTIONS, ORDERS, CANCELS = "questions", "orders", "cancels"
#: Room of each kind alone, messages a second.
RESERVED = {QUESTIONS: 6, ORDERS: 6, CANCELS: 12}
#: Room for whoever comes first. TWS takes 50 messages a second in all and cuts off who sends more.
SHARED = 24


class Pace:
    """Counts the messages of the last second.

    Args:
        now: seconds, of any clock that goes forward.

    >>> at = [0.0]
    >>> pace = Pace(lambda: at[0])
    >>> [sum(pace.take(kind) == 0.0 for _ in range(99)) for kind in (CANCELS, ORDERS, QUESTIONS)]
    [36, 6, 6]
    >>> pace.take(QUESTIONS)
    1.0
    >>> at[0] = 1.0
    >>> pace.take(QUESTIONS)
    0.0
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._sent: dict[str, deque[float]] = {kind: deque() for kind in RESERVED}

    def take(self, kind: str) -> float:
        """Count a message, if there is room for one of its kind; else return how long to wait."""
        now = self._now()
        for sent in self._sent.values():
            while sent and now - sent[0] >= 1.0:
                sent.popleft()
        mine = self._sent[kind]
        over = {name: len(sent) - RESERVED[name] for name, sent in self._sent.items()}
        if over[kind] >= 0 and sum(n for n in over.values() if n > 0) >= SHARED:
            # Room comes with whichever is over first: one's own, or one that used what is shared.
            free = [mine[0], *(self._sent[name][0] for name, n in over.items() if n > 0)]
            return max(min(free) + 1.0 - now, 0.001)
        mine.append(now)
        return 0.0
