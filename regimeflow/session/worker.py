"""Where a session's work is done: here, in a process of its own, or long ago.

`LiveSession` is one object with one way to use it; what it asks of the work is all that differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from regimeflow.analytics.drift import Drift
from regimeflow.analytics.execution_quality import ExecutionQuality
from regimeflow.analytics.report import Report
from regimeflow.errors import SessionError, StrategyError
from regimeflow.journal import Position
from regimeflow.model.events import Fill, Start
from regimeflow.session.freeze import Manifest
from regimeflow.session.keeper import Keeper
from regimeflow.session.metrics import LiveMetrics
from regimeflow.session.status import Status
from regimeflow.session.upgrade import UpgradeWish


class Worker(Protocol):
    """The work of one session, wherever it is done.

    Attributes:
        begin: what the run began with.
        unharmed: whether an interrupt here leaves the session as it is.
    """

    begin: Start
    unharmed: bool

    @property
    def remark(self) -> str:
        """What whoever looks at the session should know of it, or ""."""

    def status(self) -> Status:
        """Return what the session looks like."""

    def failure(self) -> StrategyError | None:
        """Return what the strategy raised, or None."""

    def history(self) -> Keeper:
        """Return orders, fills and log up to now."""

    def companion_fills(self, who: str) -> Sequence[Fill]:
        """Return the executions of "shadow" or "twin"."""

    def quality(self) -> ExecutionQuality:
        """Return execution quality up to now."""

    def drift(self, baseline: Report | None) -> Drift:
        """Return the drift up to now; ``baseline`` where the work was begun without one."""

    def metrics(self) -> LiveMetrics:
        """Return what Prometheus is told."""

    def killed(self) -> str:
        """Return why everything must halt, or ""."""

    @property
    def failures(self) -> Sequence[str]:
        """What could not be kept or told."""

    def asked(self) -> Start:
        """Return what the run would begin with now: with the strategy last asked for."""

    def manifest(self) -> Manifest:
        """Return the manifest of the strategy last asked for."""

    def upgrade(self, wish: UpgradeWish) -> None:
        """Let a strategy that lies in the run directory take over."""

    def command(self, name: str, why: str, who: str) -> None:
        """Pass a command to the engine."""

    def ended(self, timeout_s: float) -> bool:
        """Wait for the end for so long, and return whether it has come."""

    def broken_by(self) -> BaseException | None:
        """Return what broke the session, or None."""

    def flush(self) -> Position | None:
        """Have everything up to now in the journal's files, and return how far that is."""

    def look(self) -> tuple[Status, Position | None]:
        """Do both at once: return the status, and up to where the journal is in its files."""

    def release(self) -> None:
        """Leave the session as it is, on purpose."""

    def forget(self) -> None:
        """Let go of files and sockets after a fork: they belong to the parent."""


def check_resume(worker: Worker) -> None:
    """Refuse to let a strategy that has failed trade again.

    Raises:
        SessionError: it has.
    """
    failure = worker.failure()
    if failure is not None:
        raise SessionError(f"the strategy has failed and cannot resume: {failure}")
