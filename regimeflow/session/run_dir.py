"""A run's directory: what is in it before the first event is handled."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from regimeflow.errors import SessionError
from regimeflow.journal import JournalWriter
from regimeflow.session.freeze import FROZEN_NAME, MANIFEST_NAME, Manifest


def open_run(
    run_dir: Path, manifest: Manifest, frozen: bytes, *, sync: bool = True
) -> JournalWriter:
    """Make a run directory, write down who and what runs, and return its journal.

    Args:
        run_dir: holds no other run.
        manifest, frozen: of the strategy.
        sync: whether orders wait for the disk; a backtest's need not.

    Raises:
        SessionBusy: another process or session owns the directory.
        SessionError: it holds a run already, or cannot be written.
    """
    if run_dir.exists() and any(run_dir.glob("journal-*")):
        raise SessionError(f"{run_dir} holds a run already: choose another directory, or remove it")
    journal = JournalWriter(run_dir, manifest.run, sync=sync)
    try:
        _write(run_dir / FROZEN_NAME, frozen)
        _write(
            run_dir / MANIFEST_NAME, msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        )
    except OSError as error:
        journal.close()
        raise SessionError(f"cannot write into {run_dir}: {error}") from error
    return journal


def _write(path: Path, content: bytes) -> None:
    """Write a private file whole or not at all."""
    temporary = path.with_suffix(path.suffix + ".part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    fd = os.open(temporary, flags, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
