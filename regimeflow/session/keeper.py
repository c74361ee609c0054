"""What a running session holds for others: its journal, and what notebooks ask for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from regimeflow.journal import JournalWriter, Mark, Position
from regimeflow.model.events import (
    Failed,
    Finish,
    Health,
    Input,
    Logged,
    Output,
    Resumed,
    Saved,
    StateChanged,
    StrategyChanged,
)
from regimeflow.model.market import Bar, Bars, Book, Quote, Trade
from regimeflow.session.recorded import OrderFold
from regimeflow.session.state import StateFold

_KEPT_LOG = 10_000


class SharedJournal:
    """The writer, shared between the engine's thread and one that asks for a report.

    Args:
        writer: the journal.
        saved: returns the note that is to stand beside the outputs of an event, or None.
    """

    def __init__(self, writer: JournalWriter, saved: Callable[[int, Input], Saved | None]) -> None:
        self._writer = writer
        self._saved = saved
        self._lock = threading.Lock()
        self._closed = False

    def record(self, event: Input, outputs: Sequence[Output]) -> None:
        with self._lock:
            note = self._saved(self._writer.seq + 1, event)
            self._writer.record(event, outputs if note is None else [*outputs, note])

    def mark(self) -> Mark:
        """Return the place after the last event."""
        with self._lock:
            return self._writer.mark()

    @property
    def cancels_only(self) -> bool:
        """Whether the disk is full, and only a halt and cancels can still be written down."""
        return self._writer.cancels_only

    def flush(self) -> Position | None:
        """Write out what was collected; return how far that is, None if all was long ago."""
        with self._lock:
            if self._closed:
                return None
            self._writer.flush(sync=False)
            return self._writer.position

    def forget(self) -> None:
        """Let go of it after a fork, whose copy of the lock may be held by nobody."""
        self._writer.forget()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._writer.close()


class Keeper:
    """What notebooks ask a session for; written by the engine's thread alone."""

    def __init__(self) -> None:
        self.fold = OrderFold()
        self.log: list[tuple[int, str, str]] = []
        self.done = 0
        #: The trading state of the whole session.
        self.state = StateFold()
        #: Why the trading state changed last, of a symbol or the whole.
        self.why = ""
        self.health: Health | None = None
        self.failed: Failed | None = None
        #: Name of the strategy that took over last, "" while the first one decides.
        self.strategy = ""
        #: Of its frozen form.
        self.frozen_sha256 = ""
        self.finished = False
        self.snapshot_due = 0.0

    def take(self, event: Input, outputs: Sequence[Output]) -> None:
        if isinstance(event, _MARKET):
            self.done += 1
        elif isinstance(event, Health):
            self.health = event
        elif isinstance(event, Finish):
            self.finished = True
        elif isinstance(event, Resumed):
            self.finished = False
        self.fold.take(event, outputs)
        self.state.take(event, outputs)
        for output in outputs:
            if isinstance(output, Logged):
                self.note(output.seen, output.level, output.text)
            elif isinstance(output, StateChanged):
                self.why = output.why
                self.note(
                    output.seen, "warning", f"{output.before} -> {output.after}: {output.why}"
                )
            elif isinstance(output, StrategyChanged):
                self.strategy, self.failed = output.strategy, None
                self.frozen_sha256 = output.frozen_sha256
                self.note(output.seen, "warning", f"{output.strategy} decides from here on")
            elif isinstance(output, Failed):
                self.failed = output
                self.note(output.seen, "error", output.trace or output.error)

    def note(self, at: int, level: str, text: str) -> None:
        self.log.append((at, level, text))
        if len(self.log) > 2 * _KEPT_LOG:
            del self.log[:-_KEPT_LOG]


_MARKET = (Bar, Bars, Trade, Quote, Book)
