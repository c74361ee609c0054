"""What must be true before a session trades real money; each condition by its name.

The same conditions refuse the start and are shown by `session.check()` and ``regimeflow doctor``.
Three more can only be seen once the venue is asked, and the gateway sees to them at every
connection, before anything is sent: it is the account that was named, the clocks agree, and the
books agree.
"""

from __future__ import annotations

import builtins
import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from regimeflow.errors import ConfigError, SessionError
from regimeflow.model.models import Limits
from regimeflow.venues.intervals import Intervals

#: What real money does not start without.
NEEDED_LIMITS = ("max_notional", "max_position", "daily_loss", "max_orders_per_minute")
#: Our clock may be so far from the venue's.
MAX_SKEW_MS = 1_000.0
#: So much of an account's number tells one from another.
LAST = 4


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        name: what.
        ok: whether it stands in nobody's way.
        text: a sentence.
    """

    name: str
    ok: bool
    text: str


def is_real_money(venue: Any) -> bool:
    """Return whether orders that a venue is sent are for real money.

    An adapter that does not say ``paper`` is taken at its worst. Data that are played, and the
    simulator on a venue's prices (`regimeflow.venues.Paper`), send nothing anywhere.
    """
    return hasattr(venue, "capabilities") and not getattr(venue, "paper", False)


def conditions(
    limits: Limits, intervals: Intervals, account: str, *, detached: bool
) -> Iterator[Finding]:
    """Yield the conditions for real money that can be seen without asking the venue.

    Args:
        limits, intervals: the session's.
        account: the account that it was armed for, "" where it was not.
        detached: whether it runs, or will run, in a process of its own.
    """
    missing = [name for name in NEEDED_LIMITS if getattr(limits, name) is None]
    for name in missing:
        yield Finding("limits", False, f"the limit {name} is missing")
    if not missing:
        yield Finding("limits", True, "are complete")
    armed = len(account) >= LAST
    yield Finding(
        "armed",
        armed,
        f"for the account that ends in {account[-LAST:]}"
        if armed
        else 'it is not armed: session.arm("<last four of the account>")',
    )
    headless = detached or not is_interactive()
    yield Finding(
        "process",
        headless,
        "it has a process of its own"
        if headless
        else "it would run inside this notebook or shell and die with it: start(detached=True)",
    )
    yield from conditions_of(intervals)
    yield from packages(needed=True)


def conditions_of(intervals: Intervals) -> Iterator[Finding]:
    """Yield whether the gateway is as strict as real money needs it."""
    skew_ms = intervals.max_skew_ms
    yield Finding(
        "clock",
        skew_ms <= MAX_SKEW_MS,
        f"may be {skew_ms:,.0f} ms off the venue's, of {MAX_SKEW_MS:,.0f} ms that real money takes",
    )
    strict = intervals.hold_when_unreconciled
    yield Finding(
        "reconciliation",
        strict,
        "nothing new is risked while the books disagree"
        if strict
        else "trading goes on while the books cannot be compared: switch that off for real money",
    )


def packages(*, needed: bool = False) -> Iterator[Finding]:
    """Yield whether another project's package overwrites files of this one.

    Args:
        needed: whether its absence is told too.
    """
    try:
        version = importlib.metadata.version("regimeflow")
    except importlib.metadata.PackageNotFoundError:
        if needed:
            yield Finding("packages", True, "no other project's files stand in ours")
        return
    yield Finding(
        "packages",
        False,
        f"the package regimeflow {version} of another project is installed and overwrites files "
        "of this one: pip uninstall regimeflow, then install regimeflow-jupyter again",
    )


def is_interactive() -> bool:
    """Return whether somebody types into this process: its end is then an accident away."""
    return hasattr(builtins, "__IPYTHON__") or hasattr(sys, "ps1") or bool(sys.flags.interactive)


def refuse(findings: Sequence[Finding], *further: str) -> None:
    """Refuse real money where something speaks against it.

    Raises:
        SessionError: with every reason.
    """
    reasons = [finding.text for finding in findings if not finding.ok] + list(further)
    if reasons:
        raise SessionError(f"real money is refused: {'; '.join(reasons)}")


def check_account(account: str) -> str:
    """Return the account that a session is armed for.

    Raises:
        ConfigError: it is too short to tell one account from another.
    """
    if len(str(account).strip()) < LAST:
        raise ConfigError(
            f"arm takes the account's number, or its last {LAST} characters, not {account!r}"
        )
    return str(account).strip()


__all__ = [
    "LAST",
    "MAX_SKEW_MS",
    "NEEDED_LIMITS",
    "Finding",
    "check_account",
    "conditions",
    "conditions_of",
    "is_interactive",
    "is_real_money",
    "packages",
    "refuse",
]
