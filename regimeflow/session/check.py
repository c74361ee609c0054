"""The doctor in a cell: what stands between a session and trading, one line each."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regimeflow.analytics.report import Report
from regimeflow.model.events import Start
from regimeflow.model.models import Limits
from regimeflow.model.text import escape
from regimeflow.session.real_money import NEEDED_LIMITS, Finding, packages
from regimeflow.session.run_dir import holds_a_run
from regimeflow.session.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable

_LEAST_FREE_MB = 500.0


class Checkup:
    """Findings, those that need attention first; true when there are none of those."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(sorted(findings, key=lambda finding: finding.ok))

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __bool__(self) -> bool:
        return all(finding.ok for finding in self.findings)

    def __repr__(self) -> str:
        return "\n".join(f"{'ok  ' if f.ok else 'LOOK'}  {f.name}: {f.text}" for f in self.findings)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='{'' if f.ok else _LOOK}'>{'✔' if f.ok else '✘ look'}</td>"
            f"<th style='text-align:left'>{escape(f.name)}</th>"
            f"<td style='text-align:left'>{escape(f.text)}</td></tr>"
            for f in self.findings
        )
        return f"<table><tbody>{rows}</tbody></table>"


_LOOK = "font-weight:600;color:rgb(225,105,15)"


def check_session(
    run_dir: Path,
    start: Start,
    status: Status,
    baseline: Report | None,
    killed: str,
    failures: Sequence[str],
    real: Sequence[Finding] = (),
    able: Sequence[Finding] = (),
) -> Checkup:
    """Return what is to be said of a session.

    Args:
        run_dir: where it is written down.
        start: what it begins with.
        status: how it stands.
        baseline: what was expected, or None.
        killed: why everything must halt, or "".
        failures: what could not be kept or told.
        real: the conditions for real money, where it trades that.
        able: what it asks for against what its venue can do, where that is known.
    """
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: directory(run_dir),
        lambda: kill_switch(killed),
        lambda: iter(real) if real else complete(start.limits),
        lambda: _baseline(baseline, start),
        lambda: _trading(status),
        lambda: _engine(status),
        lambda: _files(failures),
        lambda: iter(()) if real else packages(),
        asyncio_of,
        lambda: iter(able),
    )
    return Checkup([finding for look in looks for finding in look()])


def directory(run_dir: Path) -> Iterator[Finding]:
    """Yield whether a run can be written there, and how much of it."""
    folder = next((p for p in (run_dir, *run_dir.absolute().parents) if p.is_dir()), Path("/"))
    writable = os.access(folder, os.W_OK)
    yield Finding(
        "run directory",
        writable,
        f"{run_dir} {'can' if writable else 'cannot'} be written"
        + (" and holds a run that is taken up again" if holds_a_run(run_dir) else ""),
    )
    free_mb = shutil.disk_usage(folder).free / 2**20
    yield Finding("disk", free_mb >= _LEAST_FREE_MB, f"{free_mb:,.0f} MB are free for the journal")


def kill_switch(killed: str) -> Iterator[Finding]:
    """Yield why everything must halt, where it must."""
    if killed:
        yield Finding("kill switch", False, f"{killed}: remove the file to trade again")


def complete(limits: Limits) -> Iterator[Finding]:
    """Yield which of the limits are missing that real money needs."""
    missing = [name for name in NEEDED_LIMITS if getattr(limits, name) is None]
    text = f"not set: {', '.join(missing)}; real money needs them" if missing else "are set"
    yield Finding("limits", not missing, text)


def asyncio_of() -> Iterator[Finding]:
    """Yield whether somebody has patched asyncio in this process."""
    if hasattr(asyncio, "_nest_patched"):
        yield Finding(
            "asyncio",
            False,
            "nest_asyncio has patched asyncio in this process: cells and clicks can get lost; "
            "start the kernel anew without it (sessions have threads of their own)",
        )


def _baseline(baseline: Report | None, start: Start) -> Iterator[Finding]:
    if baseline is None:
        yield Finding("baseline", True, "there is none: drift is measured against nothing")
        return
    differs = []
    if baseline.source_hash and baseline.source_hash != start.source_sha256:
        differs.append("source")
    if baseline.model is None:
        differs.append("model of fills and costs (it brings returns only)")
    if dict(baseline.params) != dict(start.params):
        differs.append("parameters")
    text = f"has another {' and other '.join(differs)}" if differs else "is of this very strategy"
    yield Finding("baseline", not differs, text)


def _trading(status: Status) -> Iterator[Finding]:
    fine = status.state == "active" and not status.error
    why = status.error or status.why
    yield Finding(
        "trading", fine, f"{status.phase}, {status.state}{f' ({why})' if why and not fine else ''}"
    )


def _engine(status: Status) -> Iterator[Finding]:
    if status.stalled:
        yield Finding("engine", False, status.stalled)


def _files(failures: Sequence[str]) -> Iterator[Finding]:
    for text in failures:
        yield Finding("files", False, text)
