"""A mark stands for every byte before it, over segments and restarts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimeflow.errors import JournalCorrupt
from regimeflow.journal import JournalWriter, Mark, events, records_after, verified
from tests.journal.journal_samples import FastDisk, clocks


def written(folder, marks: list[int], *, count: int = 60, segment_bytes: int = 1_500) -> list[Mark]:
    """Write a run in two lives over several segments; return the marks after the given events."""
    made = []
    for first, last in ((1, count // 2), (count // 2 + 1, count)):
        with JournalWriter(folder, "demo", segment_bytes=segment_bytes, disk=FastDisk()) as writer:
            for event, outputs in clocks(last - first + 1, first):
                writer.record(event, outputs)
                if writer.seq in marks:
                    made.append(writer.mark())
    return made


@settings(max_examples=25, deadline=None)
@given(at=st.integers(1, 59), segment_bytes=st.integers(300, 4_000))
def test_what_follows_a_mark_is_the_rest_of_the_journal(tmp_path_factory, at, segment_bytes):
    folder = tmp_path_factory.mktemp("run")
    (mark,) = written(folder, [at], segment_bytes=segment_bytes)
    rest = [(r.seq, r.body) for r in records_after(folder, verified(folder, mark))]
    every = [(s, b) for s, e, out in events(folder) for b in (e, *out)]
    assert rest == [(s, b) for s, b in every if s > at]


@settings(max_examples=25, deadline=None)
@given(at=st.integers(5, 59), place=st.floats(0.0, 1.0), segment_bytes=st.integers(300, 4_000))
def test_no_byte_before_a_mark_can_change(tmp_path_factory, at, place, segment_bytes):
    folder = tmp_path_factory.mktemp("run")
    (mark,) = written(folder, [at], segment_bytes=segment_bytes)
    paths = sorted(folder.glob("journal-*"))[: len(mark.segments) + 1]
    index = int(place * (len(paths) - 1))
    path = paths[index]
    packed = index < len(mark.segments) and mark.segments[index].packed_sha256
    data = bytearray(path.read_bytes())
    last = path == paths[-1] and path.suffix != ".gz"
    span = mark.size_bytes if last else len(data)
    data[int(place * 997) % span] ^= 1
    path.write_bytes(bytes(data))
    if path.suffix == ".gz" and not packed:
        return  # compressed after the mark was made: the change may lie behind it, or in no line
    with pytest.raises(JournalCorrupt):
        verified(folder, mark)


def test_a_writer_goes_on_from_a_mark_as_from_the_beginning(tmp_path):
    (mark,) = written(tmp_path / "one", [20])
    written(tmp_path / "other", [])
    told = []
    for folder, since in (("one", lambda: verified(tmp_path / "one", mark)), ("other", None)):
        options = {} if since is None else {"since": since}
        with JournalWriter(
            tmp_path / folder, "demo", segment_bytes=1_500, disk=FastDisk(),
            replay=lambda seq, event, outputs: told.append(seq), **options,
        ) as writer:  # fmt: skip
            ((event, outputs),) = clocks(1, 61)
            writer.record(event, outputs)
            told.append(writer.mark())
    one, other = told[40], told[-1]
    assert told[:40] == list(range(21, 61))
    assert (one.seq, one.sum, one.size_bytes, one.lines, one.sha256) == (
        other.seq, other.sum, other.size_bytes, other.lines, other.sha256,
    )  # fmt: skip
    assert [s.lines_sha256 for s in one.segments] == [s.lines_sha256 for s in other.segments]


def test_a_mark_beyond_the_end_is_refused(tmp_path):
    _, late = written(tmp_path, [10, 59])
    last = max(tmp_path.glob("journal-*.jsonl"))
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(JournalCorrupt):
        verified(tmp_path, late)
