"""Writing: durable before it returns, continued, rotated; torn, faulty and shared disks."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from journal_samples import FastDisk, T, clocks, sample, text_of

from regimeflow.errors import JournalCorrupt, JournalError, SessionBusy
from regimeflow.journal import Disk, JournalWriter, Torn, events, read_journal
from regimeflow.journal.store import RESERVE_BYTES
from regimeflow.model.events import (
    Cancel,
    Clock,
    Command,
    Failed,
    Logged,
    Replace,
    SetTimer,
    StateChanged,
    Submit,
)


class CountingDisk(FastDisk):
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def write(self, fd: int, data: bytes) -> int:
        self.calls.append("write")
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        self.calls.append("sync")


def record(writer: JournalWriter, run: Any) -> None:
    for event, outputs in run:
        writer.record(event, outputs)


def write(run_dir: Path, run: Any, **options: Any) -> JournalWriter:
    writer = JournalWriter(run_dir, "demo", **{"disk": FastDisk(), **options})
    record(writer, run)
    writer.close()
    return writer


def test_what_was_recorded_is_read(tmp_path: Path) -> None:
    writer = write(tmp_path / "runs" / "demo", sample())
    expected = [(n, event, outputs) for n, (event, outputs) in enumerate(sample(), 1)]
    assert list(events(tmp_path / "runs" / "demo")) == expected
    assert writer.path.read_bytes() == text_of(sample())
    assert writer.seq == 25
    assert writer.sum == read_journal(tmp_path / "runs" / "demo").digest


DURABILITY = [
    # what the event caused                               what the disk is asked for
    ([], []),
    ([Logged(1, 2, "x")], []),
    ([SetTimer(1, 2, "t", 5)], []),
    ([Submit(1, 2, "o", "S", "buy", 1.0, "market")], ["write", "sync"]),
    ([Cancel(1, 2, "o")], ["write", "sync"]),
    ([Replace(1, 2, "o", 1.0)], ["write", "sync"]),
    ([Submit(1, 2, f"o{k}", "S", "buy", 1.0, "market") for k in range(500)], ["write", "sync"]),
    ([StateChanged(1, 2, "active", "halted", "x")], ["write", "sync"]),
    ([Failed(1, 2, "on_bar", "", "x")], ["write", "sync"]),
]


@pytest.mark.parametrize(("outputs", "asked"), DURABILITY)
def test_orders_and_halts_are_durable_before_record_returns(
    tmp_path: Path, outputs: Any, asked: list[str]
) -> None:
    disk = CountingDisk()
    with JournalWriter(tmp_path, "demo", disk=disk) as writer:
        writer.record(Clock(1, 2), outputs)
        assert disk.calls == asked
        if asked:
            assert len(read_journal(tmp_path)) == 1 + len(outputs)


def test_the_rest_is_written_in_large_pieces_and_at_flush(tmp_path: Path) -> None:
    disk = CountingDisk()
    with JournalWriter(tmp_path, "demo", disk=disk) as writer:
        for n in range(1, 1001):  # about 126 bytes each
            writer.record(Clock(n, n))
        assert disk.calls == ["write"]
        writer.flush()
        assert disk.calls == ["write", "write", "sync"]
        writer.flush()
        assert disk.calls == ["write", "write", "sync"]  # nothing new, nothing asked
        assert len(read_journal(tmp_path)) == 1000


def test_a_backtest_waits_for_no_disk(tmp_path: Path) -> None:
    disk = CountingDisk()
    write(tmp_path, clocks(10), disk=disk, sync=False)
    assert "sync" not in disk.calls
    assert len(list(events(tmp_path))) == 10


def test_a_run_continues_where_it_stopped(tmp_path: Path) -> None:
    write(tmp_path, clocks(5))
    write(tmp_path, [])
    write(tmp_path, clocks(4, first=6))
    assert (tmp_path / "journal-0001.jsonl").read_bytes() == text_of(clocks(9))


@pytest.mark.parametrize("segment_bytes", [1, 300, 1000])
def test_segments_are_closed_compressed_and_chained(tmp_path: Path, segment_bytes: int) -> None:
    for first in (1, 8, 15):
        write(tmp_path, clocks(7, first), segment_bytes=segment_bytes)
    names = sorted(path.name for path in tmp_path.glob("journal-*"))
    count = len(names)
    assert count > 3
    assert names[-1] == f"journal-{count:04d}.jsonl"
    assert names[:-1] == [f"journal-{n:04d}.jsonl.gz" for n in range(1, count)]
    texts = [(tmp_path / n).read_bytes() for n in names]
    whole = b"".join(gzip.decompress(text) for text in texts[:-1]) + texts[-1]
    assert whole == text_of(clocks(21))
    assert list(events(tmp_path)) == [(n, e, o) for n, (e, o) in enumerate(clocks(21), 1)]


def test_compressed_bytes_depend_on_the_content_only(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, clocks(20), segment_bytes=1000)
    names = [path.name for path in (tmp_path / "a").glob("*.gz")]
    assert names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_compression_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    write(tmp_path, clocks(20), segment_bytes=1000)
    first = tmp_path / "journal-0001.jsonl.gz"
    whole = first.read_bytes()
    plain = tmp_path / "journal-0001.jsonl"
    plain.write_bytes(gzip.decompress(whole))
    first.write_bytes(whole[:-9])  # as if the process had ended on the way
    (tmp_path / "journal-0001.jsonl.gz.part").write_bytes(whole[:20])
    assert len(list(events(tmp_path))) == 20
    write(tmp_path, clocks(1, 21), segment_bytes=1000)
    assert not plain.exists()
    assert first.read_bytes() == whole
    assert len(list(events(tmp_path))) == 21


def test_files_are_their_owners_only(tmp_path: Path) -> None:
    write(tmp_path / "run", clocks(20), segment_bytes=1000)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    for path in (tmp_path / "run").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("lock", "journal-0001.jsonl"):
        run_dir = tmp_path / name.partition(".")[0]
        run_dir.mkdir()
        (run_dir / name).symlink_to(tmp_path / "nothing-there" if name != "lock" else victim)
        with pytest.raises(JournalError):
            write(run_dir, clocks(1))
    assert victim.read_text() == "precious"


def test_a_directory_has_one_writer(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "demo", disk=FastDisk()) as first:
        with pytest.raises(SessionBusy, match=f"in use by process {os.getpid()}"):
            JournalWriter(tmp_path, "demo")
        first.record(Clock(1, 2))
    write(tmp_path, clocks(1, 2))


def test_what_cannot_be_continued_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, clocks(3))
    with pytest.raises(JournalError, match="the run 'demo', not of 'other'"):
        JournalWriter(tmp_path, "other")
    path = tmp_path / "journal-0001.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"buy"', b'"bux"'))
    with pytest.raises(JournalCorrupt, match=r"journal-0001.jsonl line 4 does not follow"):
        JournalWriter(tmp_path, "demo")
    path.write_bytes(whole)
    write(tmp_path, clocks(1, 4))  # and the lock was given up each time


def test_a_closed_writer_refuses(tmp_path: Path) -> None:
    writer = write(tmp_path, clocks(1))
    writer.close()
    with pytest.raises(JournalError, match="closed"):
        writer.record(Clock(1, 2))
    with pytest.raises(JournalError, match="closed"):
        writer.flush()


def test_an_event_that_cannot_be_written_ends_the_journal_before_it(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "demo", disk=FastDisk()) as writer:
        writer.record(Clock(1, 2))
        with pytest.raises(JournalError, match="names input 9"):
            writer.record(Clock(3, 4), [Logged(9, 4, "x")])
        with pytest.raises(JournalError, match="event 2 could not be recorded"):
            writer.record(Clock(5, 6))
        assert writer.seq == 1
    assert len(read_journal(tmp_path)) == 1  # what was collected before is not lost


# ---------------------------------------------------------------- a torn tail


def test_a_torn_tail_is_cut_and_kept_at_every_byte(tmp_path: Path) -> None:
    text = text_of(clocks(3))
    path = tmp_path / "journal-0001.jsonl"
    ends = [n + 1 for n, byte in enumerate(text) if byte == 10]
    for cut in range(len(text)):
        path.write_bytes(text[:cut])
        whole = max((end for end in ends if end <= cut), default=0)
        with JournalWriter(tmp_path, "demo", disk=FastDisk()) as writer:
            assert path.read_bytes() == text[:whole]
            if cut == whole:
                assert writer.repaired is None
                continue
            kept = tmp_path / "journal-0001.torn-1"
            assert writer.repaired == Torn(path.name, ends.index(whole) + 2 if whole else 1,
                                           cut - whole, kept.name)  # fmt: skip
            assert kept.read_bytes() == text[whole:cut]
            kept.unlink()


def test_a_repaired_journal_goes_on_and_keeps_every_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "journal-0001.jsonl"
    write(tmp_path, clocks(3))
    for count in (1, 2, 3):
        with path.open("ab") as file:
            file.write(b'{"schema"' * count)
        writer = write(tmp_path, clocks(1, 3 + count))
        assert writer.repaired is not None
        assert str(writer.repaired).endswith(f"kept in journal-0001.torn-{count})")
    assert path.read_bytes() == text_of(clocks(6))
    assert (tmp_path / "journal-0001.torn-3").read_bytes() == b'{"schema"' * 3


# ---------------------------------------------------------------- a failing disk


class FailingDisk(FastDisk):
    """Fails at its n-th call, and tells what it held durably then.

    Sizes at the last sync are what a power failure leaves at worst. Where the disk was full it may
    be used again: it is known what it holds. What is compressed meanwhile does not count.
    """

    def __init__(self, at: int, fault: Callable[[Disk, int, bytes], int]) -> None:
        self.left = at
        self.fault = fault
        self.failed = False
        self.durable: dict[int, int] = {}

    def _strikes(self) -> bool:
        if threading.current_thread() is not threading.main_thread():
            return False
        if self.failed:
            assert self.fault in (full, short), "the disk was used again after it had failed"
            return False
        self.left -= 1
        self.failed = self.left < 0
        return self.failed

    def write(self, fd: int, data: bytes) -> int:
        if self._strikes():
            return self.fault(super(), fd, data)  # type: ignore[arg-type]
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        if self._strikes():
            self.fault(super(), fd, b"")  # type: ignore[arg-type]
            raise OSError(errno.EIO, "sync failed")
        info = os.fstat(fd)
        self.durable[info.st_ino] = info.st_size

    def open(self, path: Path) -> int:
        if self._strikes():
            raise OSError(errno.EROFS, "read-only file system")
        return super().open(path)


def full(disk: Disk, fd: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, "no space left on device")


def broken(disk: Disk, fd: int, data: bytes) -> int:
    disk.write(fd, data)  # it may well have arrived
    raise OSError(errno.EIO, "input/output error")


def short(disk: Disk, fd: int, data: bytes) -> int:
    return disk.write(fd, data[: len(data) // 2])


def order(seq: int) -> Submit:
    return Submit(seq, T + seq, f"demo-0-{seq}", "SPY", "buy", 1.0, "market")


def attempt(run_dir: Path, disk: Disk) -> tuple[list[str], bool]:
    """Record until something fails; return the orders that were free to leave, and whether."""
    sent: list[str] = []
    writer = JournalWriter(run_dir, "demo", segment_bytes=1500, disk=disk)
    try:
        for event, outputs in clocks(25):
            writer.record(event, outputs)
            sent += [out.order_id for out in outputs if isinstance(out, Submit)]
        writer.flush()
    except JournalError:
        for _ in range(2):
            with pytest.raises(JournalError, match=r"not written any more|no order is recorded"):
                writer.record(Clock(T + 99, T + 99), [order(99)])
            if not writer.cancels_only:
                with pytest.raises(JournalError, match="is not written any more"):
                    writer.record(Clock(T + 99, T + 99))
                with pytest.raises(JournalError, match="is not written any more"):
                    writer.flush()
        writer.close()
        return sent, True
    writer.close()
    return sent, False


@pytest.mark.parametrize("fault", [full, broken, short])
def test_whatever_call_fails_nothing_pretends_to_be_durable(tmp_path: Path, fault: Any) -> None:
    for at in range(100):
        run_dir = tmp_path / str(at)
        disk = FailingDisk(at, fault)
        sent, failed = attempt(run_dir, disk)
        if not failed:
            break
        # The power fails too: only what was synced is left. Closed segments were synced whole.
        for path in run_dir.glob("journal-*.jsonl"):
            os.truncate(path, disk.durable.get(path.stat().st_ino, 0))
        found = [
            out.order_id
            for _, _, outputs in (events(run_dir) if list(run_dir.glob("journal-*")) else ())
            for out in outputs
            if isinstance(out, Submit)
        ]
        assert found[: len(sent)] == sent
        # And the run goes on from there in a new session.
        with JournalWriter(run_dir, "demo", disk=FastDisk()) as writer:
            seq = writer.seq
            writer.record(Clock(T + 99, T + 99))
        assert len(list(events(run_dir))) == seq + 1
    assert at > 15  # writes, syncs and openings were all struck
    assert sent == [f"demo-0-{n}" for n in range(3, 26, 3)]


class SmallDisk(FastDisk):
    """Holds so many bytes, all files together; a reserve takes its share at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken: dict[Path, int] = {}
        self.paths: dict[int, Path] = {}

    def left(self) -> int:
        return self.size - sum(self.taken.values())

    def reserve(self, path: Path, size: int) -> None:
        if size > self.left():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path.write_bytes(b"")
        self.taken[path] = size

    def remove(self, path: Path) -> None:
        super().remove(path)
        self.taken.pop(path, None)

    def open(self, path: Path) -> int:
        fd = super().open(path)
        self.paths[fd] = path
        return fd

    def write(self, fd: int, data: bytes) -> int:
        taken = data[: max(0, self.left())]
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(fd, taken)
        path = self.paths[fd]
        self.taken[path] = self.taken.get(path, 0) + written
        return written

    def truncate(self, fd: int, size: int) -> None:
        super().truncate(fd, size)
        self.taken[self.paths[fd]] = size


@pytest.mark.parametrize("room", [0, 1, 125, 4_000, 40_000])
def test_a_full_disk_takes_the_end_of_a_run_and_no_order(tmp_path: Path, room: int) -> None:
    disk = SmallDisk(RESERVE_BYTES + room)
    writer = JournalWriter(tmp_path, "demo", disk=disk)
    with pytest.raises(JournalError, match="is full at event"):
        record(writer, clocks(1_000))
    last = writer.seq  # itself recorded, and its order never left
    assert writer.cancels_only
    for outputs in ([order(1)], [Replace(1, 2, "demo-0-3", 2.0)], [Cancel(1, 2, "o"), order(2)]):
        with pytest.raises(JournalError, match="no order is recorded any more"):
            writer.record(Clock(T, T), outputs)
    end: list[Any] = [Cancel(last + 1, T + 9999, f"demo-0-{n}") for n in range(3, last, 3)]
    writer.record(Command(T, T + 9999, "halt", "full"), end)
    assert [event for _, event, _ in events(tmp_path)][-1].seen == T + 9999
    writer.close()
    assert not (tmp_path / "reserve").exists()
    # All of it is there, whole, and goes on where there is space again.
    found = list(events(tmp_path))
    assert [seq for seq, _, _ in found] == list(range(1, last + 2))
    assert found[-1][2] == end
    assert read_journal(tmp_path).torn is None
    with JournalWriter(tmp_path, "demo", disk=FastDisk()) as again:
        assert (again.seq, again.repaired) == (last + 1, None)
        again.record(Clock(T, T + 10**6), [Cancel(last + 2, T + 10**6, "demo-0-3")])
    assert len(list(events(tmp_path))) == last + 2


def test_a_reserve_that_is_used_up_ends_the_journal(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, "demo", disk=SmallDisk(RESERVE_BYTES + 1_000))
    with pytest.raises(JournalError, match="is full at event"):
        record(writer, clocks(1_000))
    with pytest.raises(JournalError, match="is not written any more"):
        record(writer, [(Clock(T + seq, T + 2_000 + seq), []) for seq in range(10_000)])
    assert not writer.cancels_only
    writer.close()
    assert read_journal(tmp_path).inputs > 1_000


def test_a_disk_without_room_for_a_reserve_takes_no_run(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot open the journal"):
        JournalWriter(tmp_path, "demo", disk=SmallDisk(RESERVE_BYTES - 1))
    JournalWriter(tmp_path, "demo", disk=FastDisk()).close()  # the directory was given up


def test_compression_that_finds_no_room_takes_none(tmp_path: Path) -> None:
    class Full(FastDisk):
        def sync(self, fd: int) -> None:
            if threading.current_thread() is not threading.main_thread():
                raise OSError(errno.ENOSPC, "no space left on device")

    write(tmp_path, clocks(50), disk=Full(), segment_bytes=3_000)
    assert not list(tmp_path.glob("*.part"))
    assert [seq for seq, _, _ in events(tmp_path)] == list(range(1, 51))


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot make the run directory"):
        JournalWriter(tmp_path / "file" / "run", "demo")
