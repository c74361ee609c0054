"""Live, shadow and twin bar by bar, from wherever they are known without living the run again."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Protocol

from regimeflow.analytics.drift import Drift, DriftRow, Expectation
from regimeflow.analytics.report import Report
from regimeflow.model.events import Start
from regimeflow.session.drift import DRIFT_NAME, drift
from regimeflow.session.live import LiveSession


class Rows(Protocol):
    """Where rows come from.

    Attributes:
        start: equity at the beginning, money; NaN while unknown.
        expectation: what the baseline leads to expect, or None.
    """

    start: float
    expectation: Expectation | None

    def fresh(self) -> list[DriftRow]:
        """Return the rows that became final since the last call."""


class SessionRows:
    """Rows of a session of this process."""

    def __init__(self, session: LiveSession) -> None:
        self._session = session
        self._last = 0
        self.start = math.nan
        self.expectation: Expectation | None = None

    def fresh(self) -> list[DriftRow]:
        """Return the rows that became final since the last call."""
        return self._after(self._session.drift())

    def _after(self, drift: Drift) -> list[DriftRow]:
        self.start, self.expectation = drift.start, drift.baseline
        fresh = []
        for row in reversed(drift.rows):
            if row.time <= self._last:
                break
            fresh.append(row)
        fresh.reverse()
        if fresh:
            self._last = fresh[-1].time
        return fresh


class FileRows:
    """Rows of the file that a session writes beside its journal.

    Args:
        run_dir: of the session.
        begin: what it began with.
        baseline: what was expected, or None.
    """

    def __init__(self, run_dir: Path, begin: Start, baseline: Report | None) -> None:
        self._path = run_dir / DRIFT_NAME
        self._at = 0
        self._rest = ""
        self._bar = 0
        self.start = math.nan
        self.expectation = None if baseline is None else Expectation(baseline, begin.finest)

    def fresh(self) -> list[DriftRow]:
        """Return the rows that were written since the last call."""
        try:
            with open(self._path, encoding="ascii") as file:
                file.seek(self._at)
                text = file.read()
                self._at = file.tell()
        except OSError:
            return []
        lines = (self._rest + text).split("\n")
        self._rest = lines.pop()
        rows = []
        for line in lines:
            with contextlib.suppress(ValueError):  # its first line
                rows.append(self._row(line))
        return rows

    def _row(self, line: str) -> DriftRow:
        cells = line.split(",")
        time = int(cells[0]) * 1_000
        numbers = [float(cell) if cell else math.nan for cell in cells[1:]]
        equity, daily_pnl, total_return, drawdown, _, shadow, twin, _, _, baseline, flows = numbers
        live = equity - flows
        if math.isnan(self.start):
            self.start = live / (1.0 + total_return)
        self._bar += 1
        return DriftRow(time, live, shadow, twin, flows, daily_pnl, -drawdown, baseline, self._bar)


class LivedAgain:
    """Rows of an ended run that wrote no such file: it is lived through once more."""

    def __init__(self, run_dir: Path, baseline: Report | None) -> None:
        self._run_dir, self._baseline = run_dir, baseline
        self._asked = False
        self.start = math.nan
        self.expectation: Expectation | None = None

    def fresh(self) -> list[DriftRow]:
        """Return all rows, once."""
        if self._asked:
            return []
        self._asked = True
        lived = drift(self._run_dir, self._baseline)
        self.start, self.expectation = lived.start, lived.baseline
        return list(lived.rows)


def rows_of(session: LiveSession) -> Rows:
    """Return where the rows of a session come from."""
    worker = session.worker
    if session.venue is not None and not worker.unharmed:
        return SessionRows(session)
    if worker.ended(0.0) and not (session.run_dir / DRIFT_NAME).is_file():
        return LivedAgain(session.run_dir, session.baseline)
    return FileRows(session.run_dir, worker.begin, session.baseline)
