"""Following a journal that is being written: each event once, whatever happens to the files."""

from __future__ import annotations

import threading

import pytest
from journal_samples import clocks

from regimeflow.errors import JournalCorrupt, SessionBusy
from regimeflow.journal import JournalWriter, Tail, events, owner_of
from regimeflow.journal.disk import Lock


@pytest.mark.parametrize("step", [1, 7, 50])
def test_a_tail_reads_each_event_once_across_segments(tmp_path, step):
    tail, read = Tail(tmp_path), []
    with JournalWriter(tmp_path, "run", segment_bytes=2_000) as journal:
        for count, (event, outputs) in enumerate(clocks(200)):
            journal.record(event, outputs)
            if count % step == 0:
                journal.flush()
                read += tail.events(journal.position)
                assert len(read) == count + 1
    read += tail.events()
    assert read == list(events(tmp_path))
    assert list(tail.events()) == []
    assert len(list(tmp_path.glob("*.gz"))) > 3


def test_an_unfinished_line_waits_and_an_altered_one_is_refused(tmp_path):
    with JournalWriter(tmp_path, "run") as journal:
        for event, outputs in clocks(20):
            journal.record(event, outputs)
    path = tmp_path / "journal-0001.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    tail = Tail(tmp_path)
    assert len(list(tail.events())) == 19
    path.write_bytes(whole)
    assert len(list(tail.events())) == 1
    path.write_bytes(whole.replace(b'"seq":5,', b'"seq":6,', 1))
    with pytest.raises(JournalCorrupt):
        list(Tail(tmp_path).events())


@pytest.mark.parametrize("harm", ["cut", "flipped"])
@pytest.mark.parametrize("seen", [0, 3])
def test_a_damaged_segment_is_told_from_a_bad_line(tmp_path, harm, seen):
    with JournalWriter(tmp_path, "run", segment_bytes=20_000, sync=False) as journal:
        for event, outputs in clocks(400):
            journal.record(event, outputs)
    path = tmp_path / "journal-0001.jsonl.gz"
    packed = bytearray(path.read_bytes())
    tail = Tail(tmp_path)
    for _ in zip(range(seen), tail.events(), strict=False):
        pass  # what follows begins in the middle of the segment
    if harm == "cut":
        del packed[len(packed) // 2 :]
    else:
        packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)
    with pytest.raises(JournalCorrupt, match=r"journal-0001\.jsonl"):
        list(tail.events())


def test_the_owner_of_a_run_directory_is_named(tmp_path):
    assert owner_of(tmp_path) == ""
    with JournalWriter(tmp_path, "run"):
        assert owner_of(tmp_path).startswith("process ")
    assert owner_of(tmp_path) == ""


def test_whoever_looks_for_the_owner_is_not_taken_for_one(tmp_path):
    Lock(tmp_path / "lock").close()
    over, said = threading.Event(), set()

    def look():
        while not over.is_set():
            said.add(owner_of(tmp_path))

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(300):
            Lock(tmp_path / "lock").close()
    finally:
        over.set()
        for looker in lookers:
            looker.join()
    held = Lock(tmp_path / "lock")
    with pytest.raises(SessionBusy, match="in use by process"):
        Lock(tmp_path / "lock")
    held.close()
