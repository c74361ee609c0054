"""The audit log: every decision of a run on one line, linked to its cause in the journal.

Each line is a function of the journal, so the log can be made anew from it (`audit_of`), and a log
that is continued after a crash says what its last process did not come to write. Two kinds are not:
why a run could not begin yet, which comes before the journal's first event, and ``broken``, which
says what ended a session that could handle no further event.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from regimeflow.errors import ConfigError, SessionError, did_you_mean
from regimeflow.journal import events
from regimeflow.model.events import Input, Output
from regimeflow.model.timeframe import iso
from regimeflow.redaction import HIDDEN, is_secret
from regimeflow.session.decisions import Decision, Decisions, not_begun

#: Where it lies in a run directory.
AUDIT_NAME = "audit.log"
COLUMNS = ("timestamp_us", "timestamp", "type", "details", "metadata")
FORMATS = ("csv", "jsonl")

#: Longer texts are cut: a venue's error page is not a decision.
_LONGEST = 4_000
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: With these a spreadsheet takes a cell for a formula.
_FORMULA = ("=", "+", "-", "@")

Redact = Callable[[str], str]


class AuditLog:
    """Follows a run and appends its decisions to a file that only its owner can read.

    A log that is there already goes on: an incomplete last line is cut off, and of the events that
    it is given only what it does not hold yet is written. So a resumed session gives it the whole
    journal again, which also tells it what is held and which orders work. Lines of events that the
    journal lost with its last process stay: they carry the earlier epoch.

    A disk that fails, or a line that cannot be made, stops the log and never the session: `failure`
    says so, and `audit_of` makes the log anew from the journal.

    Args:
        path: the file; never followed where it is a link.
        format: "csv" or "jsonl".
        redact: takes secrets out of text; values under names such as ``api_key`` are hidden anyway.

    Attributes:
        counts: type -> entries of the whole run, those of earlier processes included.
        whats: the same by what an entry is more exactly.
        failure: why nothing is written any more, or "".

    Raises:
        SessionError: the file cannot be opened, or holds something else.
    """

    def __init__(
        self, path: str | Path, format: str = "csv", *, redact: Redact | None = None
    ) -> None:
        self.path = Path(path)
        self.counts: Counter[str] = Counter()
        self.whats: Counter[str] = Counter()
        self.failure = ""
        self._render = Renderer(format, redact)
        self._decisions = Decisions()
        self._newest = (-1, 0)
        self._fd = _open(self.path)
        try:
            self._last, self._already = self._continued(format)
        except BaseException:
            self.close()
            raise

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Write down what an event and its outputs decided."""
        entries = self._decisions.take(event, outputs)
        if not entries:
            return
        self._render.run = self._decisions.run
        for entry in entries:
            self.counts[entry.type] += 1
            self.whats[entry.what] += 1
        self._newest = (entries[-1].epoch, entries[-1].seq)
        news = [entry for entry in entries if not self._is_there(entry)]
        if news and self._fd >= 0:
            self._put(news)

    def broke(self, text: str) -> None:
        """Write down what ended the session, which stands in no journal; after the last event."""
        known, now = self._decisions, time.time_ns()
        entry = Decision(now, known.epoch, known.seq, "Error", "broken", text, {})
        self.counts[entry.type] += 1
        self.whats[entry.what] += 1
        if self._fd >= 0:
            self._put([entry])

    def not_begun(self, run: str, why: str) -> None:
        """Write down why a run has not begun; its journal is empty so far."""
        self._render.run = run
        entry = not_begun(time.time_ns(), why)
        if self._fd >= 0:
            self._put([entry])

    def holds(self, newest: tuple[int, int]) -> bool:
        """Whether the file that was there goes as far as an event, by epoch and number.

        A log that lost its end, or all of it, is made up for only by the events themselves.
        """
        return self._last >= newest

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __repr__(self) -> str:
        return f"<AuditLog {self.path}: {self.counts.total()} entries>"

    def _is_there(self, entry: Decision) -> bool:
        place = (entry.epoch, entry.seq)
        if place == self._last and self._already:
            self._already -= 1
            return True
        return place < self._last

    def _put(self, entries: Sequence[Decision]) -> None:
        try:
            self._write("".join([self._render.line(entry) for entry in entries]))
        except Exception as error:
            # What it says may hold what `redact` was to take out.
            self._fail(f"event {entries[0].seq} could not be written: {type(error).__name__}")

    def _write(self, text: str) -> None:
        data = text.encode()
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            self._fail(f"cannot write {self.path}: {error.strerror}")

    def _fail(self, why: str) -> None:
        self.failure = why
        self.close()

    def _continued(self, format: str) -> tuple[tuple[int, int], int]:
        """Repair and check what is there; return where it ends, and how many lines end there."""
        size = os.fstat(self._fd).st_size
        if size:
            size = self._cut_torn(size)
        if not size:
            self._write(self._render.head)
            return (-1, 0), 0
        head = self._render.head.encode() or b"{"
        if _read(self._fd, 0, len(head)) != head:
            raise SessionError(
                f"{self.path} is not an audit log in {format}: move it away, or choose its format"
            )
        try:
            return self._end(size)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise SessionError(
                f"the last line of {self.path} is not ours: move the file away ({error})"
            ) from error

    def _cut_torn(self, size: int) -> int:
        """Cut off what follows the last line feed; return the size that is left."""
        end = size
        while end:
            start = max(0, end - (64 << 10))
            found = _read(self._fd, start, end).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end != size:
            os.ftruncate(self._fd, end)
        return end

    def _end(self, size: int) -> tuple[tuple[int, int], int]:
        length = 64 << 10
        while True:
            start = max(0, size - length)
            data = _read(self._fd, start, size)
            if start or self._render.head:
                # The first line is cut, maybe inside a character; the file's first is csv's header.
                data = data.partition(b"\n")[2]
            places = [self._render.place(line) for line in data.decode().splitlines()]
            if not places:
                if start == 0:
                    return (-1, 0), 0
            elif places[0] != places[-1] or start == 0:
                return places[-1], places.count(places[-1])
            length *= 2


class Renderer:
    """Makes lines of entries, and finds out where a line stands.

    Args:
        format: "csv" or "jsonl".
        redact: takes secrets out of text.
    """

    def __init__(self, format: str, redact: Redact | None) -> None:
        if format not in FORMATS:
            hint = did_you_mean(str(format), FORMATS)
            raise ConfigError(f"an audit log is 'csv' or 'jsonl', not {format!r}.{hint}")
        self.run = ""
        self.head = ",".join(COLUMNS) + "\n" if format == "csv" else ""
        self._csv = format == "csv"
        self._redact = redact or _as_it_is

    def line(self, entry: Decision) -> str:
        """Return an entry's line, with its line feed."""
        metadata = {
            "run": self.run,
            "epoch": entry.epoch,
            "seq": entry.seq,
            "what": entry.what,
            **entry.metadata,
        }
        head = (entry.at // 1_000, iso(entry.at), entry.type)
        details, data = self._plain(entry.details), self._plain(metadata)
        if not self._csv:
            return f"{_json(dict(zip(COLUMNS, (*head, details, data), strict=True)))}\n"
        out = io.StringIO()
        cells = (*head, _cell(details), _cell(_json(data)))
        csv.writer(out, lineterminator="\n").writerow(cells)
        return out.getvalue()

    def place(self, line: str) -> tuple[int, int]:
        """Return epoch and number of the event that a line belongs to."""
        if self._csv:
            data = json.loads(next(csv.reader([line]))[4])
        else:
            data = json.loads(line)["metadata"]
        return int(data["epoch"]), int(data["seq"])

    def _plain(self, value: Any) -> Any:
        """Return what JSON and UTF-8 can carry, without secrets."""
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, Mapping):
            return {
                self._plain(str(name)): HIDDEN if is_secret(str(name)) else self._plain(one)
                for name, one in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self._plain(one) for one in value]
        text = self._redact(value if isinstance(value, str) else repr(value))
        text = text.encode("utf-8", "backslashreplace").decode()
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def audit_of(run_dir: str | Path, format: str = "csv", *, redact: Redact | None = None) -> str:
    """Return the audit log of a recorded run, made from its journal alone.

    Arguments are those of `AuditLog`; errors those of `regimeflow.read_journal`.
    """
    render, decisions = Renderer(format, redact), Decisions()
    lines = [render.head]
    for _, event, outputs in events(Path(run_dir)):
        entries = decisions.take(event, outputs)
        render.run = decisions.run
        lines += [render.line(entry) for entry in entries]
    return "".join(lines)


def _as_it_is(text: str) -> str:
    return text


def _json(value: Any) -> str:
    # Escaped, so that whatever splits text into lines finds one.
    return _CONTROL.sub(_escaped, json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _cell(text: str) -> str:
    text = _CONTROL.sub(_escaped, text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _read(fd: int, start: int, end: int) -> bytes:
    os.lseek(fd, start, os.SEEK_SET)  # Windows has no pread
    return os.read(fd, end - start)


def _open(path: Path) -> int:
    """Open for appending; made, readable by its owner only, where it is not there."""
    # Without O_NONBLOCK a pipe of that name would be waited for.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise SessionError(f"cannot open the audit log {path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SessionError(f"cannot open the audit log {path}: it is not a regular file")
    if hasattr(os, "fchmod"):
        os.fchmod(fd, 0o600)
    return fd
