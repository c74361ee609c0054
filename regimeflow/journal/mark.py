"""A place in a journal and what must stand before it, so that it need not be read once more.

Reading a journal line by line takes seconds a million; hashing its bytes takes a tenth of one. A
mark holds digests of every byte before its place, taken by the writer from what it wrote and not
from the disk.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from regimeflow.errors import JournalCorrupt, JournalError
from regimeflow.journal.format import LineReader
from regimeflow.journal.reading import BROKEN_GZIP, Scan, open_segment, segments

if TYPE_CHECKING:
    from hashlib import _Hash

_CHUNK = 1 << 20


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A closed segment: sha256 of its lines, and of its file once it was compressed, "" before."""

    lines_sha256: str
    packed_sha256: str = ""


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place between two events.

    Attributes:
        run: name of the run.
        seq: number of the last event before it; ``sum``: of the last line before it.
        segments: those that were closed before it.
        size_bytes, lines, sha256: how much of the segment after them stands before it, and the
            sha256 of that.
    """

    run: str
    seq: int
    sum: str
    segments: tuple[Segment, ...]
    size_bytes: int
    lines: int
    sha256: str


class Place(NamedTuple):
    """A mark that the journal was held against, and the hash of its segment up to there."""

    mark: Mark
    digest: _Hash


def verified(run_dir: Path, mark: Mark) -> Place:
    """Hold a journal against a mark, byte for byte.

    Raises:
        JournalCorrupt: what stands before the mark is not what was written.
        JournalError: it cannot be read.
    """
    found = segments(run_dir)
    closed = len(mark.segments)
    if len(found) <= closed or mark.size_bytes <= 0:
        raise JournalCorrupt(f"{run_dir} ends before event {mark.seq}.", path=str(run_dir))
    for path, told in zip(found, mark.segments, strict=False):
        if path.suffix == ".gz" and told.packed_sha256:
            same = file_sha256(path) == told.packed_sha256
        else:
            same = _lines_hash(path, None).hexdigest() == told.lines_sha256
        if not same:
            raise _altered(path)
    path = found[closed]
    last = _lines_hash(path, mark.size_bytes)
    if last.hexdigest() != mark.sha256:
        raise _altered(path)
    return Place(mark, last)


def records_after(run_dir: Path, place: Place) -> Scan:
    """Return a pass over what follows a place, every line verified."""
    mark = place.mark
    reader = LineReader.after(mark.run, mark.seq, mark.sum)
    after = mark.size_bytes, mark.lines, place.digest.copy()
    return Scan(segments(run_dir)[len(mark.segments) :], reader, after)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as it lies there."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}") from error


def _lines_hash(path: Path, size: int | None) -> _Hash:
    """Return the hash of a segment's first bytes, or of all of them; decompressed where needed."""
    made, left = hashlib.sha256(), size
    with open_segment(path) as file:
        while left is None or left > 0:
            try:
                chunk = file.read(_CHUNK if left is None else min(_CHUNK, left))
            except BROKEN_GZIP as error:
                raise _altered(path) from error
            except OSError as error:
                raise JournalError(f"cannot read {path}: {error}") from error
            if not chunk:
                break
            made.update(chunk)
            left = None if left is None else left - len(chunk)
    return made


def _altered(path: Path) -> JournalCorrupt:
    return JournalCorrupt(f"{path.name} is not what was written.", path=path.name)
