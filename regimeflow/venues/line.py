"""The state of a connection, and when to try again."""

from __future__ import annotations

from regimeflow.venues.intervals import Intervals
from regimeflow.venues.runtime import Runtime

_NEVER = 2**63 - 1


class Line:
    """The state of the connection, and when to try again."""

    def __init__(self, intervals: Intervals, runtime: Runtime) -> None:
        self._intervals = intervals
        self._runtime = runtime
        self.up = False
        self.ever_up = False
        self.waiting = False  # connected, and not yet open for trading
        self.wanted_at = _NEVER
        self.up_since = 0
        self.why = ""
        self.attempt = 0
        self._until = _NEVER
        self._tries = 0
        self._told = ""
        self._resubscribed_at = 0
        self._resubscribed: set[str] = set()

    def due(self, now: int) -> bool:
        return now >= self.wanted_at

    def overdue(self, now: int) -> bool:
        return now >= self._until

    @property
    def next_due(self) -> int:
        return min(self.wanted_at, self._until)

    @property
    def given_up(self) -> bool:
        """Whether it is gone and will not be made again."""
        return self.ever_up and not (self.up or self.waiting or self._intervals.reconnect)

    def connecting(self, now: int) -> None:
        self.attempt += 1
        self.wanted_at = _NEVER
        self._until = now + 3 * self._intervals.ns("call_timeout_ms")

    def connected(self) -> None:
        self.waiting = True
        self.wanted_at = self._until = _NEVER  # it may have been given up meanwhile

    def opened(self, now: int) -> None:
        self.up, self.waiting, self.up_since, self.ever_up = True, False, now, True
        self._tries, self._told, self.why = 0, "", ""

    def lost(self, why: str) -> bool:
        """Take note that it is gone; return whether that is news."""
        news = self.up or self.waiting
        self.up = self.waiting = False
        if news:
            self.failed(why)
        return news

    def failed(self, why: str) -> None:
        """Choose when to try again: later each time, never all at once."""
        self.why = why
        self._until = _NEVER
        if not self._intervals.reconnect and self.ever_up:
            self.wanted_at = _NEVER
            return
        initial, longest = self._intervals.reconnect_initial_ms, self._intervals.reconnect_max_ms
        wait_ms = min(longest, initial * 2.0 ** min(self._tries, 30))
        self._tries += 1
        jitter = self._runtime.random.uniform(0.5, 1.0)
        self.wanted_at = self._runtime.now() + int(wait_ms * jitter * 1e6)

    def news(self, why: str) -> bool:
        """Whether a reason was not told yet."""
        news, self._told = why != self._told, why
        return news

    def resubscribe(self, now: int, stale: set[str]) -> bool:
        """Whether to subscribe again: once for each symbol whose data have become stale."""
        news = bool(stale - self._resubscribed)
        self._resubscribed = set(stale)
        if news:
            self._resubscribed_at = now
        return news

    def mute(self, now: int, patience_ns: int) -> bool:
        """Whether subscribing again has not helped for long enough."""
        if now - self._resubscribed_at < patience_ns:
            return False
        self._resubscribed.clear()
        return True
