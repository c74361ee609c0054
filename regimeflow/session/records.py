"""What follows a live run and keeps it: files for others, numbers for whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from regimeflow.analytics.quality_fold import QualityFold
from regimeflow.analytics.report import Report
from regimeflow.engine.drive import Companion
from regimeflow.engine.engine import Engine
from regimeflow.model.events import Input, Output
from regimeflow.session.alerts import Alert, Alerts
from regimeflow.session.audit import AuditLog
from regimeflow.session.companions import Shadow, Twin
from regimeflow.session.drift import DriftFiles, DriftFold
from regimeflow.session.metrics import Meter
from regimeflow.session.status import Status

AUDIT_NAME = "audit.log"


class Records:
    """Shadow, twin, and everything that is folded from a run while it goes on.

    A resumed run goes through all of it once more, so what is asked afterwards is what would have
    been asked without the interruption; files hold each line once.

    Args:
        run_dir: where the files go.
        engine, shadow, twin: of the run.
        baseline: what was expected, or None.
        status: gives the session's status, as it was a moment ago.
        now: makes it anew, on the engine's thread.
        skew_ms: gives what the venue's clock is ahead of ours.
        output_dir: where the drift files go; ``run_dir`` without it.
        audit_format: "csv" or "jsonl".
        alert: who is told of degraded states, or None.
        redact: takes secrets out of text.
    """

    def __init__(
        self,
        run_dir: Path,
        engine: Engine,
        shadow: Shadow,
        twin: Twin,
        baseline: Report | None,
        status: Callable[[], Status],
        now: Callable[[], Status],
        skew_ms: Callable[[], float | None],
        *,
        output_dir: Path | None = None,
        audit_format: str = "csv",
        alert: Alert | str | None = None,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self._run_dir = run_dir
        self._output_dir = output_dir or run_dir
        self._audit_format = audit_format
        self._redact = redact
        self.quality = QualityFold()
        self.drift = DriftFold(engine, shadow, twin, baseline)
        self.meter = Meter(
            status, now=now, quality=self.quality.result, run_dir=run_dir, skew_ms=skew_ms
        )
        self.audit: AuditLog | None = None
        self._files: DriftFiles | None = None
        self._alerts = Alerts(alert, redact) if alert is not None else None
        self._followers: list[Companion] = [shadow, twin, self.drift, self.meter]
        if self._alerts is not None:
            self._followers.append(self._alerts)

    def open(self, run: str) -> None:
        """Open the files, once the run directory is ours.

        Args:
            run: name of the run.

        Raises:
            SessionError: one of them cannot be written, or is that of another run.
        """
        self.audit = AuditLog(self._run_dir / AUDIT_NAME, self._audit_format, redact=self._redact)
        self._files = DriftFiles(
            self._output_dir, self.drift, run, alone=self._output_dir == self._run_dir
        )
        self._followers += [self.audit, self._files]

    def parts(self) -> dict[str, object]:
        """Return what of this a snapshot holds, by name; once the files are open."""
        made: dict[str, object | None] = {
            "quality": self.quality,
            "drift": self.drift,
            **{f"purse {i}": purse for i, purse in enumerate(self.drift.purses)},
            "meter": self.meter,
            "audit log": self.audit,
            "drift file": self._files,
            "alerts": self._alerts,
        }
        return {name: part for name, part in made.items() if part is not None}

    def begin(self) -> None:
        """The run goes on from here: what came before was told before."""
        if self._alerts is not None:
            self._alerts.begin()

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take note of an event and its outputs, on the engine's thread."""
        self.quality.take(event, outputs)
        for follower in self._followers:
            follower.follow(event, outputs)

    def say(self, reason: str, text: str) -> None:
        """Tell somebody what no event tells, from any thread."""
        if self._alerts is not None:
            self._alerts.say(reason, text)

    def broke(self, text: str) -> None:
        """Write into the audit log what ended the session, and tell somebody; never raises."""
        if self.audit is not None:
            self.audit.broke(text)
        self.say("broken", text)

    def not_begun(self, run: str, why: str, *, alert: bool) -> None:
        """Take note of why a run has not begun, which no event tells.

        Args:
            run: name of the run.
            why: a sentence.
            alert: whether somebody is told, too.
        """
        if self.audit is not None:
            self.audit.not_begun(run, why)
        if alert and self._alerts is not None:
            self._alerts.not_begun(run, why)

    def close(self) -> None:
        """Write what is left, and close the files."""
        if self._files is not None:
            self._files.close()
        if self.audit is not None:
            self.audit.close()
        if self._alerts is not None:
            self._alerts.close()

    @property
    def failures(self) -> list[str]:
        """What of this could not be kept or told, in sentences; the journal has all of it."""
        said = [
            self.audit.failure if self.audit else "",
            self._files.error if self._files else "",
            self._alerts.failure if self._alerts else "",
        ]
        return [text for text in said if text]
