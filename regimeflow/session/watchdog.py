"""Whether the engine's thread comes back: a callback that blocks keeps everything else waiting."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

from regimeflow.engine.engine import Engine
from regimeflow.model.events import Input, Output
from regimeflow.session.source import name_of
from regimeflow.venues.intervals import Intervals

#: Called with a machine's reason and a sentence, when the engine stalls and when it is back.
Tell = Callable[[str, str], object]

STALLED, WELL_AGAIN = "stalled", "stall_over"
_COMPANIONS = "regimeflow.session.companions"


class Watchdog:
    """Follows a run and looks at it from a thread of its own, by the real clock.

    The engine's thread writes one number an event, and nothing else is asked of it: a stall is
    seen while it lasts, told once, and told again when it is over.

    Args:
        engine: whose thread is watched; only read.
        intervals: how often to look (``clock_ms``), and what is too long (``stall_ms``).
        tell: is told.
        look_around: done at each look besides.

    Attributes:
        lag_ms: for how long the thread has been busy with the present event, as far as that is
            longer than from one look to the next.
        stalled: a sentence while that is too long, else "".
        failure: why it looks no more, or "".
    """

    def __init__(
        self, engine: Engine, intervals: Intervals, tell: Tell, look_around: Callable[[], object]
    ) -> None:
        self._engine = engine
        self._limit_ms = intervals.stall_ms
        self._every_s = min(intervals.clock_ms, intervals.stall_ms / 2.0) / 1e3
        self._tell = tell
        self._look_around = look_around
        self._done = self._seq = engine.seq
        self._since = 0.0
        self._told = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._watched: threading.Thread | None = None
        self.lag_ms = 0.0
        self.stalled = self.failure = ""

    def begin(self, watched: threading.Thread) -> None:
        """Look from now on at a thread that is just about to be started."""
        self._done = self._engine.seq  # what an earlier life has handled
        self._watched = watched
        self._thread = threading.Thread(target=self._go, name="regimeflow-watchdog", daemon=True)
        self._thread.start()

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take note that all is done that an event brings; on the engine's thread, the last one."""
        self._done = self._engine.seq

    def close(self) -> None:
        """Look no more; from any other thread than its own."""
        self._over.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(1.0)
        self.lag_ms, self.stalled = 0.0, ""

    def _go(self) -> None:
        try:
            while not self._over.wait(self._every_s):
                self._look_around()
                self.look(time.monotonic())
        except Exception as error:
            self.failure = f"the watchdog looks no more: {type(error).__name__}: {error}"

    def look(self, now: float) -> None:
        """Look once, at a moment in seconds of a clock that never goes back."""
        seq = self._engine.seq
        if seq != self._done and seq == self._seq:
            self.lag_ms = 1e3 * (now - self._since)
            if self.lag_ms >= self._limit_ms:
                self.stalled = self._sentence()
                if not self._told:
                    self._told = True
                    self._tell(STALLED, self.stalled)
            return
        if self._told:
            name = name_of(self._engine.strategy)
            for_s = now - self._since
            self._tell(WELL_AGAIN, f"the engine of {name} is back after {for_s:.1f} s")
        self._seq, self._since = seq, now
        self._told, self.lag_ms, self.stalled = False, 0.0, ""

    def _sentence(self) -> str:
        who = name_of(self._engine.strategy)
        thread = self._watched.ident if self._watched is not None else None
        twin, where = _place(sys._current_frames().get(thread or 0))
        held = f"{f'the twin of {who}' if twin else who} has held the engine's thread"
        if not where:
            held = f"the engine of {who} has been busy with one event"
        return (
            f"{held} for {self.lag_ms / 1e3:.1f} s{where}: nothing else is handled "
            "meanwhile, and no cancel leaves"
        )


def _place(frame: FrameType | None) -> tuple[bool, str]:
    """Return whether a thread is with the twin, and in which callback of a strategy it is."""
    where, twin = "", False
    while frame is not None:
        caller = frame.f_back
        name = str(frame.f_globals.get("__name__", ""))
        twin |= name == _COMPANIONS
        if caller is not None and not _is_ours(name):
            called_by = str(caller.f_globals.get("__name__", ""))
            if called_by.startswith("regimeflow.engine."):
                code = frame.f_code
                where = f" in {code.co_name} ({os.path.basename(code.co_filename)})"
        frame = caller
    return twin, where


def _is_ours(module: str) -> bool:
    return module.split(".", 1)[0] == "regimeflow"
