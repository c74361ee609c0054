"""How many messages TWS takes in a second, and whose they are.

The client library would hold back what is too much and send it later, whatever it is: an order that
nobody wants any more, or a question whose answer is by then called missing. So its own throttle is
off. Here questions wait, orders are refused at once, and cancels have room kept for them; a few
questions have, too: who cancels all the time must still hear what has been filled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

#: TWS takes 50 messages a second and cuts off who sends more.
QUESTIONS, ORDERS, CANCELS = 30, 42, 46
#: Questions that may be asked in any second, whatever else was sent.
_SURE = 3


class Pace:
    """Counts the messages of the last second.

    Args:
        now: seconds, of any clock that goes forward.

    >>> at = [0.0]
    >>> pace = Pace(lambda: at[0])
    >>> [pace.take(ORDERS) for _ in range(ORDERS + 1)][-2:]
    [0.0, 1.0]
    >>> [pace.take(QUESTIONS) for _ in range(4)]
    [0.0, 0.0, 0.0, 1.0]
    >>> at[0] = 1.0
    >>> pace.take(ORDERS)
    0.0
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._sent: deque[tuple[float, int]] = deque()

    def take(self, most: int) -> float:
        """Count a message, if there are fewer than ``most``; else return how long to wait."""
        now = self._now()
        while self._sent and now - self._sent[0][0] >= 1.0:
            self._sent.popleft()
        asked = sum(kind == QUESTIONS for _, kind in self._sent)
        if len(self._sent) >= most and not (most == QUESTIONS and asked < _SURE):
            return max(self._sent[len(self._sent) - most][0] + 1.0 - now, 0.001)
        self._sent.append((now, most))
        return 0.0
