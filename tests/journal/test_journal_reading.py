"""Reading: nothing altered, swapped, removed or cut goes unnoticed; frames; flat memory."""

from __future__ import annotations

import gzip
import os
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from journal_samples import FastDisk, T, clocks, sample, text_of

from regimeflow.errors import ConfigError, JournalCorrupt, JournalError
from regimeflow.journal import JournalWriter, Torn, events, read_journal
from regimeflow.journal.format import LineReader
from regimeflow.model.events import Clock

NAME = "journal-0001.jsonl"


def segmented(run_dir: Path, count: int = 30, segment_bytes: int = 2000) -> list[Path]:
    """Write clocks over several segments and return them in order."""
    with JournalWriter(run_dir, "demo", segment_bytes=segment_bytes, disk=FastDisk()) as writer:
        for event, outputs in clocks(count):
            writer.record(event, outputs)
            writer.flush()
    return sorted(run_dir.glob("journal-*"))


def test_a_file_cut_at_any_byte_is_a_valid_prefix(tmp_path: Path) -> None:
    text = text_of(sample()[:7])
    records = list(read_journal(write(tmp_path, text)))
    ends = [0, *(n + 1 for n, byte in enumerate(text) if byte == 10)]
    whole = 0
    for cut in range(len(text)):
        whole += cut in ends and cut > 0
        path = write(tmp_path, text[:cut])
        journal = read_journal(path)
        assert len(journal) == whole
        left = cut - ends[whole]
        assert journal.torn == (Torn(NAME, whole + 1, left) if left else None)
        if cut % 97 == 0:
            assert list(journal) == records[:whole]


def test_no_change_of_a_byte_is_accepted(tmp_path: Path) -> None:
    text = text_of(clocks(6))
    rng = random.Random(20240102)
    accepted = 0
    for _ in range(5000):
        at, new = rng.randrange(len(text)), rng.randrange(256)
        if text[at] == new:
            continue
        path = write(tmp_path, text[:at] + bytes([new]) + text[at + 1 :])
        refused: JournalCorrupt | None = None
        try:
            assert read_journal(path).torn is not None
            assert at == len(text) - 1  # only the last line end: an incomplete last line
        except JournalCorrupt as error:
            refused = error
        if refused is not None:
            assert refused.path == NAME
            assert 1 <= refused.line <= text[: at + 1].count(b"\n") + 1
        accepted += refused is None
    assert accepted < 20


@pytest.mark.parametrize(
    ("name", "order", "line"),
    [
        ("two lines swapped", [0, 2, 1, 3, 4], 2),
        ("the first line removed", [1, 2, 3, 4], 1),
        ("a line removed", [0, 1, 3, 4], 3),
        ("a line repeated", [0, 1, 1, 2], 3),
        ("an empty line", [0, None, 1], 2),
        ("a line of another journal", [0, 1, "other"], 3),
    ],
)
def test_lines_are_in_their_place(
    tmp_path: Path, name: str, order: list[int | str | None], line: int
) -> None:
    lines = text_of(clocks(6)).splitlines(keepends=True)
    other = text_of(sample()).splitlines(keepends=True)[3]
    text = b"".join(
        b"\n" if n is None else other if isinstance(n, str) else lines[n] for n in order
    )
    with pytest.raises(JournalCorrupt, match=f"^{NAME} line {line} ") as caught:
        read_journal(write(tmp_path, text))
    assert caught.value.line == line


def test_a_removed_end_leaves_a_prefix_and_another_digest(tmp_path: Path) -> None:
    # What no chain can show by itself is shown by the digest.
    lines = text_of(clocks(6)).splitlines(keepends=True)
    whole = read_journal(write(tmp_path, b"".join(lines)))
    prefix = read_journal(write(tmp_path, b"".join(lines[:-1])))
    assert prefix.torn is None
    assert len(prefix) == len(whole) - 1
    assert prefix.digest != whole.digest


def test_segments_must_be_there_and_whole(tmp_path: Path) -> None:
    paths = segmented(tmp_path)
    assert len(paths) >= 4
    assert len(read_journal(tmp_path)) == 40
    second, text = paths[1], paths[1].read_bytes()
    second.unlink()
    with pytest.raises(JournalCorrupt, match=r"journal-0002.jsonl is missing"):
        read_journal(tmp_path)
    with pytest.raises(JournalCorrupt, match="missing"):
        JournalWriter(tmp_path, "demo")
    second.write_bytes(gzip.compress(gzip.decompress(text)[:-30]))
    with pytest.raises(JournalCorrupt, match=r"journal-0002.jsonl.gz ends within line"):
        read_journal(tmp_path)
    second.write_bytes(text[:-20])
    with pytest.raises(JournalCorrupt, match=r"journal-0002.jsonl.gz cannot be decompressed"):
        read_journal(tmp_path)
    second.write_bytes(paths[2].read_bytes())
    with pytest.raises(JournalCorrupt, match=r"journal-0002.jsonl.gz line 1 does not follow"):
        read_journal(tmp_path)
    second.write_bytes(text)
    assert len(read_journal(tmp_path)) == 40


def test_a_changed_byte_of_a_compressed_segment_changes_no_record(tmp_path: Path) -> None:
    path = segmented(tmp_path)[0]
    records, text = list(read_journal(path)), path.read_bytes()
    rng = random.Random(7)
    for _ in range(400):
        at = rng.randrange(len(text))
        path.write_bytes(text[:at] + bytes([text[at] ^ (1 << rng.randrange(8))]) + text[at + 1 :])
        try:
            assert list(read_journal(path)) == records  # a bit of gzip's own header
        except JournalError:
            pass


def test_a_lone_segment_is_verified_against_the_one_before(tmp_path: Path) -> None:
    paths = segmented(tmp_path)
    whole = list(read_journal(tmp_path))
    third = read_journal(paths[2])
    records = list(third)
    assert records == [record for record in whole if record.file == paths[2].name]
    alone = tmp_path / "elsewhere"
    alone.mkdir()
    moved = paths[2].rename(alone / paths[2].name)
    with pytest.raises(JournalError, match="read the run directory, or give before="):
        read_journal(moved)
    assert list(read_journal(moved, before=read_journal(paths[1]).digest)) == records
    with pytest.raises(JournalCorrupt, match="line 1 does not follow"):
        read_journal(moved, before="0" * 16)
    with pytest.raises(ConfigError, match="16 hex digits"):
        read_journal(moved, before="zero")


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_of_fifty_megabytes_is_refused(tmp_path: Path, packed: bool) -> None:
    text = b'{"schema":"' + b"x" * (50 << 20)
    path = write(tmp_path, gzip.compress(text, 1) if packed else text, packed)
    tracemalloc.start()
    try:
        with pytest.raises(JournalCorrupt, match="longer than 16777216 bytes"):
            read_journal(path)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()


def test_what_is_no_journal_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"journal-0001.jsonl was expected"):
        read_journal(tmp_path)
    with pytest.raises(JournalError, match="cannot read"):
        read_journal(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(JournalError, match="not a regular file"):
        read_journal(tmp_path / "pipe")
    with pytest.raises(JournalCorrupt, match="line 1 has no sum"):
        read_journal(write(tmp_path, b"time,open\n1,2\n"))


def test_memory_does_not_grow_with_the_journal(tmp_path: Path) -> None:
    path = write(tmp_path, text_of(clocks(12_000)))
    size = path.stat().st_size
    tracemalloc.start()
    try:
        count = sum(1 + len(outputs) for _, _, outputs in events(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 16_000
    assert size > 2_500_000
    assert peak < 1_250_000  # a block of a quarter megabyte, its lines, and what is left of it


def test_a_journal_that_grows_while_it_is_read_stays_what_was_verified(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "demo", segment_bytes=1000, disk=FastDisk()) as writer:
        for event, outputs in clocks(5):
            writer.record(event, outputs)
        writer.flush()
        journal = read_journal(tmp_path)
        digest = journal.digest
        for event, outputs in clocks(30, 6):
            writer.record(event, outputs)
    assert len(list(journal)) == len(journal) == 6
    assert journal.digest == digest


def test_frames_of_both_flavours(tmp_path: Path) -> None:
    journal = read_journal(write(tmp_path, text_of(sample())))
    frame = journal.frame()
    other = journal.frame("polars")
    columns = ["time", "seen", "seq", "kind", "symbol", "body"]
    assert list(frame.columns) == other.columns == columns
    assert len(frame) == len(other) == 37
    assert frame["time"].iloc[3] == pd.Timestamp("2024-01-02T00:00:00.000000005Z")
    assert frame["seen"].dtype == "datetime64[ns, UTC]"
    assert other["time"].dtype == pl.Datetime("ns", "UTC")
    assert other["seen"].to_physical().to_list() == frame["seen"].astype(np.int64).tolist()
    for name in ("seq", "kind", "symbol", "body"):
        assert other[name].to_list() == frame[name].tolist()
    trade = frame[frame["kind"] == "trade"].iloc[0]
    assert trade["symbol"] == "BTC/USDT"
    assert trade["body"] == (
        '{"symbol":"BTC/USDT","price":42000.5,"size":1e-8,"side":"buy","id":"t1"}'
    )
    with pytest.raises(ConfigError, match="Did you mean 'polars'"):
        journal.frame("polar")


def test_an_empty_journal_is_a_journal(tmp_path: Path) -> None:
    journal = read_journal(write(tmp_path, b""))
    assert (len(journal), journal.run, journal.start, journal.torn) == (0, "", None, None)
    assert journal.digest == "0" * 16
    assert list(journal.events()) == []
    assert len(journal.frame()) == len(journal.frame("polars")) == 0


def test_its_face_is_one_line_and_escaped(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "<b>", disk=FastDisk()) as writer:
        writer.record(Clock(T, T))
    journal = read_journal(tmp_path)
    assert "run '<b>', 1 records of 1 events, 2024-01-02T00:00:00Z" in repr(journal)
    assert "&lt;b&gt;" in journal._repr_html_()
    assert "<b>'" not in journal._repr_html_()


def test_a_reader_goes_on_from_a_given_sum() -> None:
    lines = text_of(clocks(8)).splitlines()
    first = LineReader()
    for n, line in enumerate(lines[:4], 1):
        first.read(line, n)
    second = LineReader(sum=first.sum)
    record = second.read(lines[4], 5)
    assert record is not None
    assert record.seq == 4


def write(run_dir: Path, text: bytes, packed: bool = False) -> Path:
    path = run_dir / (NAME + ".gz" * packed)
    path.write_bytes(text)
    return path
