"""A run's directory: what is in it before the first event is handled."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from regimeflow.analytics.report import Report
from regimeflow.analytics.save import encode
from regimeflow.errors import SessionError
from regimeflow.journal import Disk, JournalWriter, Place, events
from regimeflow.model.events import Input, Output, Start
from regimeflow.session.companions import Accounts
from regimeflow.session.freeze import FROZEN_NAME, MANIFEST_NAME, Manifest

#: A file of this name in the run directory halts the session.
KILL_NAME = "kill"
BASELINE_NAME = "baseline.json"
ACCOUNTS_NAME = "accounts.json"


def open_run(
    run_dir: Path,
    manifest: Manifest,
    frozen: bytes,
    *,
    sync: bool = True,
    disk: Disk | None = None,
) -> JournalWriter:
    """Make a run directory, write down who and what runs, and return its journal.

    Args:
        run_dir: holds no other run.
        manifest, frozen: of the strategy.
        sync: whether orders wait for the disk; a backtest's need not.
        disk: where the journal is written; the real one without it.

    Raises:
        SessionBusy: another process or session owns the directory.
        SessionError: it holds a run already, or cannot be written.
    """
    if first_event(run_dir) is not None:  # of one that ended in its first line nothing is left
        raise SessionError(f"{run_dir} holds a run already: choose another directory, or remove it")
    journal = JournalWriter(run_dir, manifest.run, sync=sync, disk=disk)
    try:
        write_private(run_dir / FROZEN_NAME, frozen)
        write_private(
            run_dir / MANIFEST_NAME, msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        )
    except OSError as error:
        journal.close()
        raise SessionError(f"cannot write into {run_dir}: {error}") from error
    return journal


def continue_run(
    run_dir: Path,
    run: str,
    replay: Callable[[int, Input, list[Output]], None],
    disk: Disk | None = None,
    since: Callable[[], Place | None] = lambda: None,
) -> JournalWriter:
    """Return the journal of a run that is taken up again.

    Args:
        replay: is given each event of its earlier life, verified, with its outputs.
        disk: as for `open_run`.
        since: is asked, once the directory is ours, from which place on; None for all of it.

    Raises:
        SessionBusy: another process or session owns the directory.
        JournalCorrupt: a line of the journal was altered, swapped or removed.
    """
    return JournalWriter(run_dir, run, replay=replay, disk=disk, since=since)


def holds_a_run(run_dir: Path) -> bool:
    """Whether a journal was begun there."""
    return run_dir.is_dir() and any(p.stat().st_size for p in run_dir.glob("journal-*.jsonl*"))


def first_event(run_dir: Path) -> Start | None:
    """Return the event that a run began with, or None where there is no run.

    Raises:
        SessionError: what is there does not begin as a run does.
    """
    if not holds_a_run(run_dir):
        return None
    first = next(events(run_dir), None)
    if first is None:
        return None
    if not isinstance(first[1], Start):
        raise SessionError(f"{run_dir} holds a journal that does not begin with a start event")
    return first[1]


def leave_baseline(run_dir: Path, baseline: Report) -> None:
    """Leave the baseline report, so that whoever attaches later measures against the same.

    Raises:
        SessionError: the directory cannot be written.
    """
    try:
        write_private(run_dir / BASELINE_NAME, encode(baseline))
    except OSError as error:
        raise SessionError(f"cannot write into {run_dir}: {error}") from error


def leave_accounts(run_dir: Path, accounts: Accounts) -> None:
    """Leave the three accounts for whoever looks at the run when it is over.

    Raises:
        OSError: the directory cannot be written.
    """
    write_private(run_dir / ACCOUNTS_NAME, msgspec.json.encode(accounts))


def accounts_of(run_dir: Path) -> Accounts | None:
    """Return the accounts that were left at the end of a run, None where there are none."""
    try:
        return msgspec.json.decode((run_dir / ACCOUNTS_NAME).read_bytes(), type=Accounts)
    except (OSError, msgspec.MsgspecError):
        return None


def killed(run_dir: Path) -> str:
    """Return why everything in a run must halt: the kill file's text, or "" without one."""
    try:
        text = (run_dir / KILL_NAME).read_text(errors="replace")[:200].strip()
    except OSError:
        return ""
    return f"kill file: {text}" if text else "kill file"


class KillFile:
    """The kill file of a run, looked at by several threads: whoever sees it first says so.

    Args:
        run_dir: of the run.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._lock = threading.Lock()
        self._told = ""

    def why(self) -> str:
        """Return why everything must halt, or "" without the file."""
        return killed(self._run_dir)

    def news(self) -> str:
        """Return the same, once for each text of the file; "" if that was said before."""
        with self._lock:
            why, told = self.why(), self._told
            self._told = why
        return why if why != told else ""


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_suffix(path.suffix + ".part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    fd = os.open(temporary, flags, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
