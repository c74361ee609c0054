"""Writing a journal: what is to be durable is durable before ``record`` returns, or it raises."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from regimeflow.errors import JournalError
from regimeflow.journal.disk import Disk, Lock, compress
from regimeflow.journal.format import ORDERS, LineReader, LineWriter
from regimeflow.journal.legacy import SCHEMA_V1
from regimeflow.journal.mark import Mark, Place, Segment, file_sha256, records_after
from regimeflow.journal.reading import Scan, Torn, grouped, schema_of, segment_name, segments
from regimeflow.journal.tail import Position
from regimeflow.model.events import Failed, Input, Output, Replace, StateChanged, Submit

#: What must be on the disk before anything leaves: orders, and why there will be no more of them.
DURABLE: frozenset[type] = ORDERS | {StateChanged, Failed}
#: Everything else is handed to the system in pieces of this size.
BUFFER_BYTES = 64 << 10
#: What may not be written in the reserve: a full disk is no place to begin anything.
ENTRIES: frozenset[type] = frozenset({Submit, Replace})
#: Kept free for a full disk: room for what was collected, one large event, a halt and its cancels.
RESERVE_BYTES = 4 * BUFFER_BYTES
RESERVE_NAME = "reserve"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class JournalWriter:
    """Appends a run to the journal in its directory, or begins one.

    One ``os.write`` of whole lines and one sync stand before every order, so that an order which
    may have reached the venue is always in the journal. The first write or sync that fails is the
    last: after it nobody knows what the file holds, so the writer refuses everything from then on.

    A full disk is the one exception, since there it is known. Space was kept for it in a file of
    its own. That file is removed, what was torn is cut off, and the lines go into a new segment.
    `record` raises all the same, so that nothing leaves; but what ends the run can still be
    recorded, a halt and cancels, as long as the space lasts. A new order or a change never is.

    Args:
        run_dir: the run's directory; made, readable by its owner only, if it isn't there.
        run: name of the run; a journal that is continued must carry the same.
        segment_bytes: a segment of this size is closed, compressed, and the next one begun; the
            disk's own without it.
        sync: whether to wait for the disk; a backtest needs not.
        disk: the disk to write to; tests pass one that fails.
        replay: is given the number of each input that is there already, the input and its
            outputs, while they are verified.
        since: is asked, once the directory is this writer's, from which place on; what stands
            before it is held against the mark and not read. None for all of it.

    Attributes:
        repaired: the torn tail that was cut off and set aside on opening, or None.
        cancels_only: whether the disk is full and the reserve takes what ends the run.

    Raises:
        SessionBusy: another session owns the directory.
        JournalCorrupt: what is there already is damaged.
        JournalError: what is there belongs to another run, or cannot be written.
    """

    def __init__(
        self,
        run_dir: Path | str,
        run: str,
        *,
        segment_bytes: int | None = None,
        sync: bool = True,
        disk: Disk | None = None,
        replay: Callable[[int, Input, list[Output]], None] | None = None,
        since: Callable[[], Place | None] = lambda: None,
    ) -> None:
        self._dir = Path(run_dir)
        self._run = run
        self._sync = sync
        self._disk = disk or Disk()
        self._segment_bytes = segment_bytes or self._disk.segment_bytes
        self._fd = -1
        self._number = 1
        self._size = 0
        # Of what this segment holds: taken from what is written, not from what the disk made of it.
        self._hash = hashlib.sha256()
        self._lines = 0
        self._closed: list[Segment] = []
        self._unsynced = False
        self._buffer: list[bytes] = []
        self._pending = 0
        self._refused = ""  # why no further event is taken
        self._dead = False  # whether the file must not be touched any more
        self._compressing: list[threading.Thread] = []
        self._reserved = False
        self.cancels_only = False
        self.repaired: Torn | None = None
        try:
            self._dir.mkdir(0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"cannot make the run directory {self._dir}: {error}") from error
        self._lock = Lock(self._dir / "lock")
        try:
            self._chain = self._continued(replay, since)
            if sync:
                self._disk.reserve(self._dir / RESERVE_NAME, RESERVE_BYTES)
                self._reserved = True
        except OSError as error:
            self._lock.close()
            raise JournalError(f"cannot open the journal in {self._dir}: {error}") from error
        except BaseException:
            self._lock.close()
            raise

    @property
    def seq(self) -> int:
        """Number of the last input recorded."""
        return self._chain.seq

    @property
    def sum(self) -> str:
        """Sum of the last line recorded: the digest of the journal up to there."""
        return self._chain.sum

    @property
    def position(self) -> Position:
        """Up to where it is in the files: always between two events."""
        return Position(self._number, self._size)

    def mark(self) -> Mark:
        """Return the place after the last event recorded, whether it is in the files yet or not."""
        closed, digest, size, lines = self._closed, self._hash, self._size, self._lines
        if self._buffer and size >= self._segment_bytes:  # what waits begins the next one
            closed = [*closed, Segment(digest.hexdigest())]
            digest, size, lines = hashlib.sha256(), 0, 0
        digest = digest.copy()
        waiting = b"".join(self._buffer)
        digest.update(waiting)
        return Mark(
            self._run,
            self.seq,
            self.sum,
            tuple(closed),
            size + len(waiting),
            lines + len(self._buffer),
            digest.hexdigest(),
        )

    @property
    def path(self) -> Path:
        """The segment that is being written."""
        return self._dir / segment_name(self._number)

    def record(self, event: Input, outputs: Sequence[Output] = ()) -> None:
        """Write an event and what it caused.

        With an order, a change of the trading state or a failure among ``outputs`` this returns
        only when all of it is on the disk; else the lines are collected and written later.

        Raises:
            JournalError: it is not recorded, and nothing after it will be: send no order.
        """
        if self._refused and not (self.cancels_only and ENTRIES.isdisjoint(map(type, outputs))):
            raise JournalError(self._refused)
        try:
            lines = self._chain.lines(event, outputs)
            self._buffer += lines
        except BaseException as error:
            # The event has happened but is not here: what follows would not be the run any more.
            self._refuse(f"event {self._chain.seq + 1} could not be recorded: {error}")
            raise
        if not outputs:
            self._pending += len(lines[0])
        else:
            self._pending += sum(map(len, lines))
            if not DURABLE.isdisjoint(map(type, outputs)):
                self._write(sync=self._sync)
                return
        if self._pending >= BUFFER_BYTES or self.cancels_only:
            self._write(sync=False)

    def flush(self, sync: bool = True) -> None:
        """Write what was collected, and wait for the disk unless ``sync`` is false.

        Raises:
            JournalError: some of it is not on the disk.
        """
        if self._dead:
            raise JournalError(self._refused)
        self._write(sync=sync and self._sync)

    def close(self) -> None:
        """Write what was collected, finish compressing, and give up the directory. Idempotent.

        The last segment stays as it is, for the run to be continued in.

        Raises:
            JournalError: the last lines are not on the disk; everything is closed all the same.
        """
        try:
            if not self._dead:
                self._write(sync=self._sync)
        finally:
            self._refuse(f"the journal in {self._dir} is closed", dead=True)
            try:
                self._give_up_files()
            finally:
                for thread in self._compressing:
                    thread.join()
                self._compressing.clear()
                self._lock.close()

    def forget(self) -> None:
        """Let go of the files without a word: they belong to the process this one forked from."""
        self._refuse("the journal is written by another process", dead=True)
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f", refusing: {self._refused}" if self._refused else ""
        return f"<JournalWriter {self.path}: {self.seq} events{state}>"

    # ------------------------------------------------------------ on the disk

    def _write(self, *, sync: bool) -> None:
        try:
            if self._buffer:
                self._append()
            if (sync or self.cancels_only) and self._unsynced and self._fd >= 0:
                self._disk.sync(self._fd)
                self._unsynced = False
        except OSError as error:
            if self.cancels_only:
                self._refused = ""  # the reserve is used up: the last word is another one
            self._refuse(
                f"the journal {self.path} failed at event {self.seq} and is not written any more: "
                f"{error}",
                dead=True,
            )
            raise JournalError(self._refused) from error
        except JournalError:
            raise
        except BaseException:
            self._refuse(f"writing the journal {self.path} was interrupted", dead=True)
            raise

    def _append(self) -> None:
        data = b"".join(self._buffer)
        try:
            self._put(data)
        except OSError as error:
            if error.errno not in _FULL or not self._reserved:
                raise
            self._turn_to_reserve(data)
            self._refuse(
                f"the disk of the journal {self.path} is full at event {self.seq}: no order is "
                f"recorded any more, so none leaves ({error})"
            )
            raise JournalError(self._refused) from error
        finally:
            self._buffer.clear()
            self._pending = 0

    def _put(self, data: bytes) -> None:
        if self._size >= self._segment_bytes:
            self._rotate()
        if self._fd < 0:
            self._fd = self._disk.open(self.path)
        self._unsynced = True
        written = self._disk.write(self._fd, data)
        if written != len(data):
            # A regular file takes all or is full: a second try would only tear elsewhere.
            raise OSError(errno.ENOSPC, f"{written} of {len(data)} bytes were written")
        self._size += written
        self._hash.update(data)
        self._lines += len(self._buffer)

    def _turn_to_reserve(self, data: bytes) -> None:
        """Cut off what was torn, and write on in a new segment, in the space that was kept."""
        self._reserved = False
        if self._fd >= 0:
            self._disk.truncate(self._fd, self._size)
            self._disk.sync(self._fd)
            self._disk.close(self._fd)
            self._fd = -1
        if self._size:
            self._next_segment()
        self._disk.remove(self._dir / RESERVE_NAME)
        self._put(data)
        self._disk.sync(self._fd)
        self._unsynced = False
        self.cancels_only = True

    def _give_up_files(self) -> None:
        fd, self._fd = self._fd, -1
        try:
            if fd >= 0:
                self._disk.close(fd)
            if self._reserved:
                self._reserved = False
                self._disk.remove(self._dir / RESERVE_NAME)
        except OSError as error:
            raise JournalError(f"the journal in {self._dir} cannot be closed: {error}") from error

    def _rotate(self) -> None:
        if self._fd >= 0:
            if self._sync:
                self._disk.sync(self._fd)
            self._disk.close(self._fd)
            self._fd = -1
        number, path = self._number, self.path
        self._next_segment()
        self._compress(number, path)
        self._unsynced = False

    def _next_segment(self) -> None:
        self._closed.append(Segment(self._hash.hexdigest()))
        self._hash = hashlib.sha256()
        self._lines = self._size = 0
        self._number += 1

    def _compress(self, number: int, path: Path) -> None:
        """Compress a closed segment beside the trading: 64 MB take a second or two."""
        thread = threading.Thread(
            target=self._compressed, args=(number, path), name=f"compress {path.name}"
        )
        thread.start()
        self._compressing.append(thread)

    def _compressed(self, number: int, path: Path) -> None:
        written = self._closed[number - 1].lines_sha256
        try:
            if file_sha256(path) != written:
                return  # damaged by the disk: what finds it shall find it as it is
            compress(path, self._disk)
            packed = file_sha256(path.with_name(path.name + ".gz"))
        except (OSError, JournalError):
            return  # nothing is lost: the segment stays as it is, and the next session tries again
        self._closed[number - 1] = Segment(written, packed)

    def _refuse(self, why: str, *, dead: bool = False) -> None:
        self._refused = self._refused or why
        self._dead = self._dead or dead
        if dead:
            self.cancels_only = False

    # ------------------------------------------------------------ what is there already

    def _continued(
        self,
        replay: Callable[[int, Input, list[Output]], None] | None,
        since: Callable[[], Place | None],
    ) -> LineWriter:
        found = segments(self._dir)
        if not found:
            return LineWriter(self._run)
        if schema_of(found[0]) == SCHEMA_V1:
            raise JournalError(
                f"{self._dir} holds a journal of the schema {SCHEMA_V1}, which can be read but not "
                "continued: choose another run_dir"
            )
        place = since()
        if place is None:
            scan = Scan(found, LineReader())
        else:
            self._closed = list(place.mark.segments)
            scan = records_after(self._dir, place)
        reader = scan.reader
        if replay is None:
            for _ in scan:
                pass
        else:
            for seq, event, outputs in grouped(scan):
                replay(seq, event, outputs)
        if reader.run and reader.run != self._run:
            raise JournalError(
                f"{self._dir} holds the journal of the run {reader.run!r}, not of {self._run!r}: "
                "choose another run_dir"
            )
        last = found[-1]
        *closed, (self._hash, self._lines) = scan.read
        self._closed += [Segment(digest.hexdigest()) for digest, _ in closed]
        self._number = len(found)
        if last.suffix == ".gz":
            self._next_segment()
        else:
            if scan.torn is not None:
                self.repaired = self._cut(last, scan.torn, scan.tail)
            self._size = last.stat().st_size
        for number, path in enumerate(found[:-1], 1):
            if path.suffix != ".gz":  # the process ended before it was compressed
                self._compress(number, path)
        return LineWriter(self._run, reader.seq, reader.sum)

    def _cut(self, path: Path, torn: Torn, tail: bytes) -> Torn:
        """Set the bytes of a torn tail aside, then cut them off; in this order, to lose nothing."""
        count = 1
        while (aside := path.with_name(f"{path.stem}.torn-{count}")).exists():
            count += 1
        for target, data in ((aside, tail), (path, None)):
            fd = self._disk.open(target)
            try:
                if data is None:
                    self._disk.truncate(fd, path.stat().st_size - len(tail))
                elif self._disk.write(fd, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._disk.sync(fd)
            finally:
                self._disk.close(fd)
        return Torn(torn.file, torn.line, torn.size_bytes, aside.name)
