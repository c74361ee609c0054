"""What a session's journal tells to those who did not follow it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from regimeflow.analytics.drift import Drift
from regimeflow.analytics.execution_quality import ExecutionQuality
from regimeflow.analytics.report import Report
from regimeflow.journal import Position
from regimeflow.session.drift import drift
from regimeflow.session.metrics import LiveMetrics, recorded_metrics
from regimeflow.session.quality import execution_quality
from regimeflow.session.run_dir import killed
from regimeflow.session.status import Status


class FromJournal:
    """The part of a worker that needs no more than the run directory."""

    _run_dir: Path

    @abstractmethod
    def flush(self) -> Position | None:
        """Have everything up to now in the journal's files."""

    @abstractmethod
    def status(self) -> Status:
        """Return what the session looks like."""

    def quality(self) -> ExecutionQuality:
        """Return execution quality up to now."""
        self.flush()
        return execution_quality(self._run_dir)

    def drift(self, baseline: Report | None) -> Drift:
        """Return the drift up to now."""
        self.flush()
        return drift(self._run_dir, baseline)

    def metrics(self) -> LiveMetrics:
        """Return what Prometheus is told."""
        self.flush()
        return recorded_metrics(self._run_dir, self.status(), self.quality())

    def killed(self) -> str:
        """Return why everything must halt, or "" where nothing must."""
        return killed(self._run_dir)

    @property
    def failures(self) -> Sequence[str]:
        """What could not be kept is known to its own process only."""
        return ()
