"""Reading a journal while it is written: each call returns what has come since the one before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from regimeflow.journal.format import LineReader, Record
from regimeflow.journal.reading import grouped, guarded, open_segment, segment_name, segments
from regimeflow.model.events import Input, Output

_CHUNK = 256 << 10


class Position(NamedTuple):
    """A place in a journal: a segment, counted from 1, and how many of its bytes come before."""

    segment: int
    size_bytes: int


class Tail:
    """Follows a journal in its directory; every line is verified.

    Args:
        run_dir: the run's directory.

    Raises:
        JournalCorrupt: a line was altered, swapped or removed.
        JournalError: the journal cannot be read.
    """

    def __init__(self, run_dir: Path | str) -> None:
        self._dir = Path(run_dir)
        self._reader = LineReader()
        self._at = Position(1, 0)
        self._line = 0

    def events(self, until: Position | None = None) -> Iterator[tuple[int, Input, list[Output]]]:
        """Yield each new input's number, the input, and the outputs it caused.

        Args:
            until: where to stop: a place between two events, as the writer tells it. Without it
                the journal must be one that nobody writes any more.
        """
        if until is None:
            last = len(segments(self._dir))
            until = Position(last, -1)
        return grouped(self._records(until))

    def _records(self, until: Position) -> Iterator[Record]:
        for number in range(self._at.segment, until.segment + 1):
            if number != self._at.segment:
                self._at, self._line = Position(number, 0), 0
            whole = number < until.segment or until.size_bytes < 0
            if whole or until.size_bytes > self._at.size_bytes:
                yield from self._segment(None if whole else until.size_bytes)

    def _segment(self, end: int | None) -> Iterator[Record]:
        """Yield the records of the current segment up to a place; an unfinished line waits."""
        name = segment_name(self._at.segment)
        self._reader.file = name
        rest = b""
        path = self._dir / name
        with open_segment(path) as file:
            at = self._at.size_bytes
            guarded(path, file.seek, at)
            while end is None or at < end:
                most = _CHUNK if end is None else min(_CHUNK, end - at)
                chunk = guarded(path, file.read, most)
                if not chunk:
                    break
                at += len(chunk)
                lines = (rest + chunk).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    self._line += 1
                    record = self._reader.read(line, self._line)
                    self._at = Position(self._at.segment, self._at.size_bytes + len(line) + 1)
                    if record is not None:
                        yield record
