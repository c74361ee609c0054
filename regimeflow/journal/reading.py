"""Reading a journal: every line verified, a record at a time, in flat memory."""

from __future__ import annotations

import gzip
import hashlib
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from regimeflow.errors import ConfigError, JournalCorrupt, JournalError, did_you_mean
from regimeflow.journal.format import (
    GENESIS,
    INPUTS,
    MAX_LINE_BYTES,
    SCHEMA,
    LineReader,
    Record,
    body_text,
)
from regimeflow.journal.legacy import SCHEMA_V1, LegacyReader
from regimeflow.model.events import Input, Output, Start
from regimeflow.model.text import escape
from regimeflow.model.timeframe import iso

if TYPE_CHECKING:
    from hashlib import _Hash


def read_journal(
    path: str | Path, *, symbols: Mapping[int, str] | None = None, before: str | None = None
) -> Journal:
    """Open a journal, and verify every line of it.

    Args:
        path: a run directory, or one segment, compressed or not, of either schema.
        symbols: for ``regimeflow.replay.v1``, the names of its symbol numbers.
        before: for a lone segment, the sum of the line before it; needed only where the segment
            before is not in the same directory.

    Raises:
        JournalCorrupt: a line was altered, swapped or removed; the message names file and line.
        JournalError: there is no journal, or it cannot be read.
    """
    return Journal(path, symbols=symbols, before=before)


def events(
    path: str | Path, *, symbols: Mapping[int, str] | None = None, before: str | None = None
) -> Iterator[tuple[int, Input, list[Output]]]:
    """Yield each input's number, the input, and the outputs it caused, verifying on the way.

    Arguments and errors are those of `read_journal`; an error comes when its line is reached.
    """
    return grouped(_scan(path, symbols, before))


class Torn(msgspec.Struct, frozen=True):
    """An incomplete last line: what a power failure or a full disk leaves behind.

    Attributes:
        file: name of the segment.
        line: number of the incomplete line; the lines before it are whole.
        size_bytes: how much of it there is.
        kept: name of the file it was moved to, or "" where nothing was changed.
    """

    file: str
    line: int
    size_bytes: int
    kept: str = ""

    def __str__(self) -> str:
        where = f", kept in {self.kept}" if self.kept else ""
        return f"{self.file} ends within line {self.line} ({self.size_bytes} bytes{where})"


class Journal:
    """A verified journal; iterate over it for its records.

    Attributes:
        path: where it was read from.
        run: name of the run.
        start: its first Start event, or None.
        digest: sum of its last line: names the whole content in 16 digits; "" for v1.
        torn: an incomplete last line, which is not part of it, or None.
        skipped: lines without a counterpart: of v1, or marked optional by a newer version.
        inputs: how many of its records went into the engine.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        symbols: Mapping[int, str] | None = None,
        before: str | None = None,
    ) -> None:
        self.path = Path(path)
        self._how = (symbols, before)
        scan = _scan(path, symbols, before)
        self.start: Start | None = None
        self.inputs = self._count = 0
        self._first = self._last = 0
        for record in scan:
            if self.start is None and isinstance(record.body, Start):
                self.start = record.body
            if not self._count:
                self._first = record.seen
            self._count += 1
            self.inputs += type(record.body) in INPUTS
            self._last = record.seen
        self.run, self.digest = scan.reader.run, scan.reader.sum
        self.torn, self.skipped = scan.torn, scan.reader.skipped

    def __iter__(self) -> Iterator[Record]:
        # A running session may have written more since: what was verified is the journal.
        return islice(_scan(self.path, *self._how), self._count)

    def __len__(self) -> int:
        return self._count

    def events(self) -> Iterator[tuple[int, Input, list[Output]]]:
        """Yield each input's number, the input, and the outputs it caused."""
        return grouped(self)

    def frame(self, flavour: str = "pandas") -> Any:
        """Return a frame, one row a record.

        Columns: ``time`` (when it happened) and ``seen`` (when the session saw it), both UTC;
        ``seq``, ``kind``, ``symbol`` ("" where there is none) and ``body``, JSON text.

        Args:
            flavour: "pandas" or "polars".
        """
        if flavour not in _FRAMES:
            hint = did_you_mean(flavour, _FRAMES)
            raise ConfigError(f"a frame can be 'pandas' or 'polars', not {flavour!r}.{hint}")
        times = np.empty((3, self._count), np.int64)
        kinds, names, bodies = [], [], []
        for row, record in enumerate(self):
            times[:, row] = record.ts, record.seen, record.seq
            kinds.append(record.kind)
            names.append(getattr(record.body, "symbol", ""))
            bodies.append(body_text(record.body))
        return _FRAMES[flavour](times, {"kind": kinds, "symbol": names, "body": bodies})

    def __repr__(self) -> str:
        return f"<Journal {self._summary()}>"

    def _repr_html_(self) -> str:
        return f"<div><b>Journal</b> {escape(self._summary())}</div>"

    def _summary(self) -> str:
        span = f", {iso(self._first)} to {iso(self._last)}" if self._count else ""
        digest = f", digest {self.digest}" if self.digest else ""
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        torn = f"; {self.torn}" if self.torn else ""
        return (
            f"{self.path}: run {self.run!r}, {self._count:,} records of {self.inputs:,} events"
            f"{span}{digest}{skipped}{torn}"
        )


# ---------------------------------------------------------------- files


def segment_name(number: int) -> str:
    """Return the name of a segment, counted from 1.

    >>> segment_name(1)
    'journal-0001.jsonl'
    """
    return f"journal-{number:04d}.jsonl"


def segments(run_dir: Path) -> list[Path]:
    """Return a directory's segments in order.

    Where one is there plain and compressed, the process ended between the two: the plain one
    counts.

    Raises:
        JournalCorrupt: one is missing.
    """
    found: dict[int, Path] = {}
    for path in run_dir.iterdir():
        match = _SEGMENT.fullmatch(path.name)
        number = int(match[1]) if match else 0
        named = match is not None and segment_name(number) == path.name.removesuffix(".gz")
        if named and (number not in found or path.suffix != ".gz"):
            found[number] = path
    for place, number in enumerate(sorted(found), 1):
        if place != number:
            missing = run_dir / segment_name(place)
            raise JournalCorrupt(
                f"{missing.name} is missing in {run_dir}, though {found[number].name} is there: "
                "restore it from a copy.",
                path=missing.name,
            )
    return [found[number] for number in sorted(found)]


def schema_of(path: Path) -> str:
    """Return the schema that a segment's first line names; the current one where it names none."""
    with open_segment(path) as file:
        try:
            first = file.read(200)
        except BROKEN_GZIP:
            return SCHEMA  # whose reader will say what is wrong
    return SCHEMA_V1 if f'"schema":"{SCHEMA_V1}"'.encode() in first else SCHEMA


class Reader(Protocol):
    """Turns lines of one schema into records."""

    file: str
    run: str
    seq: int
    skipped: int

    @property
    def sum(self) -> str: ...
    def read(self, line: bytes, number: int) -> Record | None: ...


class Scan:
    """One pass over segments, verifying.

    Args:
        paths: the segments.
        reader: reads their lines.
        after: how many bytes and lines of the first one are passed over, and their hash.

    Attributes:
        reader: with the run's name and the last sum.
        torn, tail: after the pass, the incomplete last line and its bytes.
        read: of each segment the hash of its whole lines, and how many there are.
    """

    def __init__(
        self, paths: list[Path], reader: Reader, after: tuple[int, int, _Hash] | None = None
    ) -> None:
        self.reader = reader
        self.torn: Torn | None = None
        self.tail = b""
        self.read: list[tuple[_Hash, int]] = []
        self._paths = paths
        self._after = after

    def __iter__(self) -> Iterator[Record]:
        for path in self._paths:
            self.reader.file = path.name
            skip, before, digest = self._after or (0, 0, hashlib.sha256())
            self._after = None
            read, number = self.reader.read, before
            for number, line in enumerate(self._lines(path, skip, digest), before + 1):
                record = read(line, number)
                if record is not None:
                    yield record
            self.read.append((digest, number))
            if self.tail:
                self.torn = Torn(path.name, number + 1, len(self.tail))
                if path is not self._paths[-1] or path.suffix == ".gz":
                    raise JournalCorrupt(
                        f"{self.torn}, which only the last segment may: restore it from a copy.",
                        path=path.name,
                        line=number + 1,
                    )

    def _lines(self, path: Path, skip: int = 0, digest: _Hash | None = None) -> Iterator[bytes]:
        rest = b""
        with open_segment(path) as file:
            if skip:
                guarded(path, file.seek, skip)
            while chunk := guarded(path, file.read, 256 << 10):
                joined = rest + chunk
                lines = joined.split(b"\n")
                rest = lines.pop()
                if digest is not None:
                    digest.update(memoryview(joined)[: len(joined) - len(rest)])
                yield from lines
                if len(rest) > MAX_LINE_BYTES:
                    raise JournalCorrupt(
                        f"{path.name} has a line longer than {MAX_LINE_BYTES} bytes.",
                        path=path.name,
                    )
        self.tail = rest


def guarded(path: Path, act: Callable[[int], Any], number: int) -> Any:
    """Return what ``read`` or ``seek`` of a segment's file returns.

    Raises:
        JournalCorrupt: it cannot be decompressed.
        JournalError: it cannot be read.
    """
    try:
        return act(number)
    except BROKEN_GZIP as error:
        raise JournalCorrupt(
            f"{path.name} cannot be decompressed: {error}. Restore it from a copy.",
            path=path.name,
        ) from error
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error}") from error


def _scan(path: str | Path, symbols: Mapping[int, str] | None, before: str | None) -> Scan:
    path = Path(path)
    paths = segments(path) if path.is_dir() else [path]
    if not paths:
        raise JournalError(f"there is no journal in {path}: {segment_name(1)} was expected")
    if schema_of(paths[0]) == SCHEMA_V1:
        return Scan(paths, LegacyReader(path.name, symbols))
    if before is None:
        before = GENESIS if path.is_dir() else _sum_before(path)
    elif not re.fullmatch("[0-9a-f]{16}", before):
        raise ConfigError(f"before must be a sum of 16 hex digits, got {before!r}")
    return Scan(paths, LineReader(path.name, before))


def _sum_before(path: Path) -> str:
    """Return the sum that a lone segment goes on from: the last one of the segment before it."""
    match = _SEGMENT.fullmatch(path.name)
    if match is None or int(match[1]) <= 1:
        return GENESIS
    previous = path.with_name(segment_name(int(match[1]) - 1))
    last = b""
    try:
        for line in Scan([previous], LineReader())._lines(previous):
            last = line
    except JournalError as error:
        raise JournalError(
            f"{path.name} continues {previous.name}, which cannot be read beside it ({error}): "
            "read the run directory, or give before= the last sum of the segment before"
        ) from error
    return last[-18:-2].decode("ascii", "replace")


def open_segment(path: Path) -> Any:
    """Open a segment for reading; a plain one may have been compressed a moment ago."""
    try:
        return _opened(path)
    except FileNotFoundError as error:
        compressed = path.with_name(path.name + ".gz")
        if path.suffix != ".gz" and compressed.exists():
            return open_segment(compressed)
        raise JournalError(f"cannot read {path}: {error.strerror}") from error
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}") from error


def _opened(path: Path) -> Any:
    if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe or a device might never end
        raise JournalError(f"{path} is not a regular file")
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb", buffering=0)


def grouped(records: Iterable[Record]) -> Iterator[tuple[int, Input, list[Output]]]:
    """Yield each input's number, the input, and the outputs that follow it."""
    number = 0
    event: Input | None = None
    outputs: list[Output] = []
    for record in records:
        body: Any = record.body
        if type(body) in INPUTS:
            if event is not None:
                yield number, event, outputs
            number, event, outputs = record.seq, body, []
        else:
            outputs.append(body)
    if event is not None:
        yield number, event, outputs


# ---------------------------------------------------------------- frames


def _pandas(times: Any, texts: dict[str, list[str]]) -> Any:
    import pandas as pd

    stamps = {
        name: pd.DatetimeIndex(times[row].view("datetime64[ns]"), tz="UTC")
        for row, name in enumerate(("time", "seen"))
    }
    return pd.DataFrame({**stamps, "seq": times[2], **texts})


def _polars(times: Any, texts: dict[str, list[str]]) -> Any:
    import polars as pl

    stamps = {
        name: pl.Series(name, times[row].view("datetime64[ns]")).dt.replace_time_zone("UTC")
        for row, name in enumerate(("time", "seen"))
    }
    strings = {name: pl.Series(name, column, pl.String) for name, column in texts.items()}
    return pl.DataFrame({**stamps, "seq": pl.Series("seq", times[2]), **strings})


_FRAMES = {"pandas": _pandas, "polars": _polars}
_SEGMENT = re.compile(r"journal-([0-9]{4,9})\.jsonl(\.gz)?")
BROKEN_GZIP = (EOFError, zlib.error, gzip.BadGzipFile)
