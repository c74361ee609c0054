"""Scripted faults of the loopback venue: what goes wrong, with which message, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from regimeflow.errors import ConfigError, did_you_mean

#: What can be wrong with a request and its answer.
ON_REQUEST: dict[str, str] = {
    "drop_before": "the connection is closed before the request is looked at",
    "drop_after": "the request takes effect, then the connection is closed without an answer",
    "ignore": "the request is not looked at and not answered; the connection stays",
    "no_reply": "the request takes effect and is not answered; the connection stays",
    "half_open": "from this request on nothing on the connection is looked at or answered",
    "delay": "the request takes effect at once, its answer comes `ms` later",
    "html": "the request takes effect, the answer is a page of a gateway",
    "html_before": "the request does not take effect, the answer is a page of a gateway",
    "garbage": "the request takes effect, the answer is noise",
    "cut": "the request takes effect, the connection is closed in the middle of the answer",
    "refuse": "the request is refused, to be tried again after `ms`",
    "http_403": "the request does not take effect, the answer has this status of HTTP",
    "http_429": "the same, to be tried again after `ms`",
    "http_500": "the same",
    "http_503": "the same",
    "http_504": "the same",
    "revoke": "from this request on the venue takes the client's key no more",
    "hedge": "from this request on the account keeps long and short positions apart",
    "skew": "the venue finds its clock `ms` ahead of the time of the request",
    "http_504_after": "the request takes effect, the answer has the status 504",
}
#: What can be wrong with what the stream says.
ON_STREAM: dict[str, str] = {
    "lose": "it is never said, and nobody notices",
    "duplicate": "it is said twice",
    "reorder": "it is said after what comes next",
    "garbage": "noise is said instead of it",
    "mute": "nothing is said from here on for `ms`; all of it is lost",
    "close": "the stream is closed instead",
    "half_open": "nothing is said from here on; the connection stays",
}
REQUESTS = frozenset(
    {
        "submit",
        "cancel",
        "replace",
        "subscribe",
        "open_orders",
        "order",
        "executions",
        "positions",
        "balances",
        "payments",
        "instruments",
        "history",
        "time",
    }
)
SAYINGS = frozenset({"bar", "trade", "quote", "book", "order_update", "fill", "rules"})


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that goes wrong.

    Attributes:
        on: kind of the request, or of what is said: "submit", "fill" and so on.
        fault: what goes wrong; see `ON_REQUEST` and `ON_STREAM`.
        nth: with which of them it begins, counted from 1.
        every: with each how many-th it goes on; 1 is each.
        times: how often in all.
        ms: how long it takes, milliseconds.
    """

    on: str
    fault: str
    nth: int = 1
    every: int = 1
    times: int = 1
    ms: float = 1_000.0

    def __post_init__(self) -> None:
        known = ON_REQUEST if self.on in REQUESTS else ON_STREAM
        if self.on not in REQUESTS | SAYINGS:
            hint = did_you_mean(self.on, REQUESTS | SAYINGS)
            raise ConfigError(f"nothing of kind {self.on!r} is ever sent.{hint}")
        if self.fault not in known:
            hint = did_you_mean(self.fault, known)
            raise ConfigError(f"there is no fault {self.fault!r} of a {self.on}.{hint}")
        if self.nth < 1 or self.every < 1 or self.times < 1 or not 0 <= self.ms <= 3.6e6:
            raise ConfigError(f"{self}: nth, every and times begin at 1, ms at 0")


class Script:
    """Faults, and what has been sent so far.

    Attributes:
        fired: (kind, fault) -> how often it has happened.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.fired: Counter[tuple[str, str]] = Counter()
        self._running: list[_Running] = [_Running(fault) for fault in faults]

    def add(self, fault: Fault) -> None:
        """Let a further fault happen; it counts from now on."""
        self._running.append(_Running(fault))

    def next(self, kind: str) -> Fault | None:
        """Return what goes wrong with the message of this kind that comes now."""
        due: Fault | None = None
        for running in self._running:
            if running.counts(kind, free=due is None):
                due = running.fault
                self.fired[due.on, due.fault] += 1
        return due


class _Running:
    """A fault and how far it has come."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._seen = self._done = 0

    def counts(self, kind: str, *, free: bool) -> bool:
        """Count a message, and return whether it is hit; one message is hit once."""
        fault = self.fault
        if kind != fault.on or self._done >= fault.times:
            return False
        self._seen += 1
        past = self._seen - fault.nth
        hit = free and past >= 0 and past % fault.every == 0
        self._done += hit
        return hit


def read_script(text: bytes) -> list[Fault]:
    """Return the faults of a JSON list.

    Raises:
        ConfigError: it is not one.
    """
    try:
        return msgspec.json.decode(text, type=list[Fault])
    except msgspec.MsgspecError as error:
        raise ConfigError(f"the script of faults cannot be read: {error}") from None
