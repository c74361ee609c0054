"""How the process that trades is doing, as far as the system tells without further packages."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from regimeflow.model.events import Health

#: What the system would not tell, such as the memory while no file can be opened any more. It is
#: below every threshold for what must be there, so that an alert fires.
UNKNOWN = -1.0
_MB = float(1 << 20)


class Vitals(msgspec.Struct, frozen=True):
    """One look at the process; -1 stands for what the system would not tell.

    Attributes:
        memory_mb: resident now, in units of 2**20 bytes; the most so far on macOS.
        cpu_pct: of one core since the look before; 250 is two cores and a half.
        threads: of the process; on macOS and Windows those that Python knows.
        descriptors: open files, sockets and the like.
        disk_free_mb: what is left for this user where the run directory is.
    """

    memory_mb: float
    cpu_pct: float
    threads: int
    descriptors: int
    disk_free_mb: float


def lagging(health: Health | None, lag_ms: float) -> Health | None:
    """Return a look at the process that knows for how long the engine's thread is already busy.

    Args:
        health: the last look, made by that very thread; None before the first.
        lag_ms: of the event it is busy with, 0 where it is not.
    """
    if not lag_ms:
        return health
    if health is None:
        return Health(0, 0, lag_ms, 0, UNKNOWN, UNKNOWN, UNKNOWN)
    return msgspec.structs.replace(health, loop_lag_ms=max(lag_ms, health.loop_lag_ms))


class Probe:
    """Looks at this process; each look costs tens of microseconds.

    Args:
        run_dir: whose disk is looked at.
        clock: seconds that never go back.
    """

    def __init__(self, run_dir: str | Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._run_dir = Path(run_dir)
        self._clock = clock
        self._before = (clock(), time.process_time())

    def look(self) -> Vitals:
        """Return how the process is doing now. Never raises for what the system refuses."""
        return Vitals(
            memory_mb=_told(_memory_mb),
            cpu_pct=self._cpu_pct(),
            threads=int(_told(_threads)),
            descriptors=int(_told(_descriptors)),
            disk_free_mb=_told(lambda: shutil.disk_usage(self._run_dir).free / _MB),
        )

    def event(self, ts: int, seen: int, loop_lag_ms: float, queue: int) -> Health:
        """Return a look as the event that goes into the journal.

        Args:
            ts, seen: UTC nanoseconds.
            loop_lag_ms, queue: of the engine's inbox, which only its owner knows.
        """
        vitals = self.look()
        return Health(
            ts,
            seen,
            loop_lag_ms,
            queue,
            vitals.memory_mb,
            vitals.cpu_pct,
            vitals.disk_free_mb,
            vitals.threads,
        )

    def _cpu_pct(self) -> float:
        now, used = self._clock(), time.process_time()
        since, used_then = self._before
        if now <= since:  # a simulated clock that stands still
            return 0.0
        self._before = (now, used)
        return 100.0 * (used - used_then) / (now - since)


def _told(ask: Callable[[], float]) -> float:
    try:
        return ask()
    except (OSError, ValueError):
        return UNKNOWN


def _memory_mb() -> float:
    if sys.platform == "linux":
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MB
    elif sys.platform == "win32":
        return UNKNOWN
    else:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / (_MB if sys.platform == "darwin" else 1024.0)


def _threads() -> float:
    linux = sys.platform == "linux"
    return float(len(os.listdir("/proc/self/task")) if linux else threading.active_count())


def _descriptors() -> float:
    # The listing itself holds one open.
    return float(len(os.listdir("/dev/fd")) - 1)
