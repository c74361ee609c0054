"""An exchange that ticks at a pace and measures how soon it hears what its ticks brought about."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from regimeflow.journal import Disk
from regimeflow.sandbox.exchange import Exchange

_clock = time.perf_counter_ns


class TimedDisk(Disk):
    """A disk that knows when it began and ended to wait."""

    def __init__(self) -> None:
        self.waits: list[tuple[int, int]] = []

    def sync(self, fd: int) -> None:
        """Wait, and note how long."""
        begun = _clock()
        super().sync(fd)
        self.waits.append((begun, _clock()))


class Paced(Exchange):
    """Ticks from a thread of its own, as a venue's stream does, in whatever process it runs.

    For each order it notes the nanoseconds from the tick's arrival in the session's inbox to the
    request, without the wait for the disk, and those until the intent was on the disk.

    Args:
        disk: of the session's journal.
        ticks, per_second: how many, how fast.
        told: file that gets the measurements once all is over.
    """

    def __init__(self, disk: TimedDisk, ticks: int, per_second: int, told: Path) -> None:
        super().__init__(time.time_ns, ("AAA",), cash=1e9)
        self._disk = disk
        self._ticks = ticks
        self._per_second = per_second
        self._told = told
        self._put: dict[str, int] = {}
        self._requests: list[tuple[int, int]] = []
        self._begun = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Paced, (self._disk, self._ticks, self._per_second, self._told)

    def subscribe(self, symbols: Any, timeframe: int) -> None:
        """Begin to tick."""
        super().subscribe(symbols, timeframe)
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._go, daemon=True).start()

    def submit(self, order: Any) -> Any:
        """Take an order, and note how old the tick is that it answers."""
        now, begun = _clock(), self._put[order.tag]
        first, last = next(w for w in reversed(self._disk.waits) if w[0] >= begun)
        self._requests.append((now - begun - (last - first), last - begun))
        return super().submit(order)

    def _go(self) -> None:
        emit = self._say

        def stamped(said: Any) -> None:
            self._put.setdefault(str(getattr(said, "ts", 0)), _clock())
            emit(said)

        self._say = stamped  # type: ignore[method-assign]
        due = time.perf_counter()
        for number in range(self._ticks):
            due += 1 / self._per_second
            time.sleep(max(0.0, due - time.perf_counter()))
            self.tick("AAA", 100.0 + number % 7 / 100)
        time.sleep(1.0)
        part = self._told.with_suffix(".part")
        part.write_text(json.dumps(self._requests))
        part.replace(self._told)
