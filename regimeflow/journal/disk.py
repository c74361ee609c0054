"""What a journal asks of a disk, in one place, so that a test can make each of it fail."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import time
from pathlib import Path

from regimeflow.errors import JournalError, SessionBusy

# Neither exists on Windows, where O_BINARY keeps line ends as they are.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)

#: How often, and how long each time, a lock is waited for that somebody may only look at.
_LOOKS, _LOOK_S = 20, 0.005


class Disk:
    """The real disk. Every method raises OSError where the system does.

    Attributes:
        segment_bytes: how long a file of a journal gets before the next one is begun.
    """

    segment_bytes = 64 << 20

    def open(self, path: Path) -> int:
        """Open a file for appending, made if it isn't there: readable by its owner only."""
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _FLAGS, 0o600)
        self.sync_directory(path.parent)
        return fd

    def write(self, fd: int, data: bytes) -> int:
        """Write, and return how many bytes were."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Return only when what was written would survive a power failure."""
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync there leaves data in the drive's cache
        elif sys.platform == "win32":
            os.fsync(fd)
        else:
            os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file to ``size`` bytes."""
        os.ftruncate(fd, size)

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable: a file's own sync does not."""
        if sys.platform != "win32":  # which cannot open a directory
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def close(self, fd: int) -> None:
        """Close a file."""
        os.close(fd)

    def reserve(self, path: Path, size: int) -> None:
        """Take space that is given back by removing the file, when there is no other."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | _FLAGS, 0o600)
        try:
            if sys.platform == "linux":
                os.posix_fallocate(fd, 0, size)
            else:
                os.write(fd, bytes(size))
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)

    def rename(self, path: Path, to: Path) -> None:
        """Give a file another name, in place of what had it."""
        os.replace(path, to)
        self.sync_directory(to.parent)


class Lock:
    """Exclusive ownership of a run directory, until closed or until the process ends.

    Raises:
        SessionBusy: another owns it.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        except OSError as error:
            raise JournalError(f"cannot open the lock file {path}: {error.strerror}") from error
        try:
            _lock_soon(self._fd)
        except OSError as error:
            owner = _owner(self._fd)
            os.close(self._fd)
            raise SessionBusy(
                f"{path.parent} is in use by {owner}: "
                "stop that session first, or choose another run_dir"
            ) from error
        os.ftruncate(self._fd, 0)
        os.write(self._fd, b"%d\n" % os.getpid())

    def close(self) -> None:
        """Give it up. The file stays: to remove it would let two processes lock two files."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def owner_of(run_dir: Path) -> str:
    """Return who owns a run directory, such as "process 4711"; "" where nobody does."""
    try:
        fd = os.open(run_dir / "lock", os.O_RDWR | _FLAGS)
    except OSError:
        return ""
    try:
        _lock(fd, shared=True)
    except OSError:
        return _owner(fd)
    else:
        return ""
    finally:
        os.close(fd)


def compress(path: Path, disk: Disk | None = None) -> None:
    """Replace ``path`` by ``path.gz``; at every moment one of the two is whole.

    The bytes depend on the content only: no time, no name.
    """
    disk = disk or Disk()
    whole = path.with_name(path.name + ".gz")
    part = path.with_name(path.name + ".gz.part")
    disk.remove(part)
    try:
        _pack(path, part, disk)
    except OSError:
        disk.remove(part)  # on a full disk it would take the place of what matters
        raise
    disk.rename(part, whole)
    disk.remove(path)
    disk.sync_directory(path.parent)


def _pack(path: Path, part: Path, disk: Disk) -> None:
    fd = disk.open(part)
    try:
        with (
            open(path, "rb") as source,
            open(fd, "wb", closefd=False) as sink,
            gzip.GzipFile("", "wb", 1, sink, mtime=0) as out,
        ):
            shutil.copyfileobj(source, out, 1 << 20)
        disk.sync(fd)
    finally:
        disk.close(fd)


def _owner(fd: int) -> str:
    try:
        text = os.read(fd, 20).decode("ascii", "replace").strip()
    except OSError:  # Windows does not let one read what another has locked
        text = ""
    return f"process {text}" if text.isdigit() else "another process"


def _lock_soon(fd: int) -> None:
    """Lock; whoever only looks for the owner has it for a moment, too."""
    for _ in range(_LOOKS):
        try:
            return _lock(fd)
        except OSError:
            time.sleep(_LOOK_S)
    return _lock(fd)


def _lock(fd: int, *, shared: bool = False) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
