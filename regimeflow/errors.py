"""Every exception regimeflow raises on purpose.

RegimeflowError
├── DataError            a frame, file or record that cannot be used, and where
├── StrategyError        the strategy's own code failed, with its traceback and the bar
├── OrderError           an order call that makes no sense (not a denial: those are values)
├── ConfigError          a parameter, key or limit that is unknown, missing or of the wrong type
├── MissingExtra         an optional package is not installed
├── VenueError           a venue did not answer as hoped: whether the request took effect is unknown
│   └── Refused          the venue said no: the request certainly did not take effect
│       └── NotThere     the venue says, of its own authority, that it has no such order
├── JournalError         a journal that cannot be read or written
│   └── JournalCorrupt   an altered, swapped or missing line, and its number
└── SessionError         a session asked for something its state does not allow
    └── SessionBusy      another process or session owns the run directory
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class RegimeflowError(Exception):
    """Base of all errors that regimeflow raises on purpose."""


class DataError(RegimeflowError, ValueError):
    """Market data that cannot be used; the message names the first offending place."""


class StrategyError(RegimeflowError):
    """An exception in the user's strategy.

    Attributes:
        callback: name of the callback that failed, e.g. ``"on_bar"``.
        symbol: symbol it was handling, or ``None``.
        ts: time of the event it was handling, UTC nanoseconds.
        report: in a backtest, the report up to the failure.
        trace: the strategy's own traceback as text.
    """

    def __init__(
        self,
        message: str,
        *,
        callback: str = "",
        symbol: str | None = None,
        ts: int = 0,
        trace: str = "",
        report: Any = None,
    ) -> None:
        super().__init__(message)
        self.callback = callback
        self.symbol = symbol
        self.ts = ts
        self.trace = trace
        self.report = report


class OrderError(RegimeflowError, ValueError):
    """An order call whose arguments contradict each other."""


class ConfigError(RegimeflowError, ValueError):
    """A parameter, key or limit that is unknown, missing or of the wrong type."""


class MissingExtra(RegimeflowError, ImportError):
    """An optional package is not installed; the message gives the command that installs it."""


class VenueError(RegimeflowError):
    """A venue did not answer, or not in a way that settles the matter.

    Whoever gets it must assume that the request may have taken effect.
    """


class Refused(VenueError):
    """The venue refused a request: it certainly did not take effect.

    Attributes:
        code: the venue's own code, "" without one.
        retry_after_ms: how long the venue asks to wait, or None.
    """

    def __init__(
        self, message: str, *, code: str = "", retry_after_ms: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_ms = retry_after_ms


class NotThere(Refused):
    """The venue looked, and has no such order. Never raised for a query that failed."""


class JournalError(RegimeflowError):
    """A journal that cannot be read or written."""


class JournalCorrupt(JournalError):
    """A journal line was altered, swapped or removed.

    Attributes:
        path: the segment file.
        line: one-based line number in it.
    """

    def __init__(self, message: str, *, path: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.line = line


class SessionError(RegimeflowError):
    """A session was asked for something its state does not allow."""


class SessionBusy(SessionError):
    """Another process or session owns the run directory."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or an empty string.

    >>> did_you_mean("max_notionl", ["max_notional", "symbols"])
    " Did you mean 'max_notional'?"
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
