"""How patient a gateway is: intervals and time-outs, in milliseconds."""

from __future__ import annotations

import math

from regimeflow.errors import ConfigError
from regimeflow.model.given import Given
from regimeflow.model.timeframe import NS_PER_MS


class Intervals(Given, frozen=True, kw_only=True):
    """Intervals and time-outs of a live session, milliseconds.

    Attributes:
        clock_ms: how often time is told to the engine.
        grace_ms: how long the bars of one close time are waited for, from the first of them.
        heartbeat_ms: how old data may be; of bars, at least two bar lengths and five seconds.
        order_poll_ms, position_poll_ms: how often the books are compared.
        account_ms: how often the venue is asked for cash and equity; orders are asked for with it.
        unknown_poll_ms, unknown_denials: how often an unknown order is asked for, and how often
            the venue must say that it has none.
        call_timeout_ms: how long an answer is waited for.
        reconnect_initial_ms, reconnect_max_ms: first and longest wait before connecting again.
        stop_ms: how long a stop waits for cancels to be confirmed.
        health_ms: how often the process looks at itself.
        stall_ms: how long the engine may be busy with one event before somebody is told.
        max_skew_ms: how far our clock may be from the venue's.
        skew_poll_ms: how often that is looked at again; it is at each connection, too.
        hold_when_stale, cancel_when_stale: what old data do to entries.
        hold_when_unreconciled: whether a comparison that failed holds entries back.
        reconnect: whether a lost connection is made again.
    """

    clock_ms: float = 250.0
    grace_ms: float = 1_500.0
    heartbeat_ms: float = 30_000.0
    order_poll_ms: float = 5_000.0
    position_poll_ms: float = 30_000.0
    account_ms: float = 30_000.0
    unknown_poll_ms: float = 2_000.0
    unknown_denials: int = 3
    call_timeout_ms: float = 10_000.0
    reconnect_initial_ms: float = 1_000.0
    reconnect_max_ms: float = 30_000.0
    stop_ms: float = 15_000.0
    health_ms: float = 10_000.0
    stall_ms: float = 5_000.0
    max_skew_ms: float = 1_000.0
    skew_poll_ms: float = 3_600_000.0
    hold_when_stale: bool = True
    cancel_when_stale: bool = True
    hold_when_unreconciled: bool = True
    reconnect: bool = True

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, bool):
                continue
            if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                raise ConfigError(f"Intervals: {name} must be a positive number, got {value!r}")

    def ns(self, name: str) -> int:
        """Return an interval in nanoseconds."""
        return int(getattr(self, name) * NS_PER_MS)

    @property
    def unknown_poll_ns(self) -> int:
        """How often an unknown order is asked for, nanoseconds."""
        return self.ns("unknown_poll_ms")
