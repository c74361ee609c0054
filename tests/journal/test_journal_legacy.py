"""Journals of the older schema: what has a counterpart, what is counted, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from journal_samples import GOLDEN

from regimeflow.errors import JournalCorrupt, JournalError
from regimeflow.journal import JournalWriter, read_journal
from regimeflow.model.events import Command, EndOfDay, Fill, Input, OrderUpdate, Timer
from regimeflow.model.market import Bar, Book, Quote, Trade

T = 1_704_205_800_000_000_000

EXPECTED: list[Input] = [
    Bar(T, T, "AAPL", 187.15, 188.44, 183.89, 185.64, 82488700.0),
    Trade(T, T + 1, "sym:9", 42000.5, 0.25),
    Quote(T + 1000, T + 1000, "AAPL", 185.63, 185.65, 100.0, 300.0),
    Book(T + 2000, T + 2000, "AAPL", ((185.63, 100.0), (185.62, 50.0)), ((185.65, 300.0),)),
    OrderUpdate(T + 3000, T + 3000, "1", "accepted"),
    Fill(T + 4000, T + 4000, "11", "1", "AAPL", "buy", 10.0, 185.65, 1.5, "taker", "sim", T + 4000),
    Fill(T + 5000, T + 5000, "12", "2", "AAPL", "sell", 4.0, 185.7, 1.0, "maker", "", T + 5000),
    OrderUpdate(T + 6000, T + 6000, "3", "canceled"),
    OrderUpdate(T + 7000, T + 7000, "4", "rejected"),
    Timer(T + 8000, T + 8000, "rebalance"),
    Command(T + 9000, T + 9000, "halt", "drawdown", "regimeflow.replay.v1"),
    Command(T + 10000, T + 10000, "resume", "", "regimeflow.replay.v1"),
    EndOfDay(T + 11000, T + 11000, "2024-01-02"),
]


def test_the_golden_journal_reads_as_ever() -> None:
    journal = read_journal(GOLDEN / "v1-every-kind.jsonl", symbols={3: "AAPL"})
    assert [event for _, event, _ in journal.events()] == EXPECTED
    assert [record.seq for record in journal] == list(range(1, 14))
    # update, day_start, regime_change, a user event, and a fill of nothing
    assert journal.skipped == 5
    assert (journal.run, journal.digest, journal.start) == ("v1-every-kind", "", None)
    assert list(journal.frame()["symbol"][:2]) == ["AAPL", "sym:9"]


def test_symbols_are_numbers_until_they_are_named() -> None:
    first = next(iter(read_journal(GOLDEN / "v1-every-kind.jsonl")))
    assert isinstance(first.body, Bar)
    assert first.body.symbol == "sym:3"


LINE = (GOLDEN / "v1-every-kind.jsonl").read_bytes().splitlines()[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (LINE.replace(b'"bar"', b'"candle"'), "unknown kind 'candle'"),
        (LINE.replace(b'"market"', b'"markt"'), "markt"),
        (LINE.replace(b"187.15", b"nan"), "line 1 cannot be read"),
        (LINE.replace(b"187.15", b'"187.15"'), "open"),
        (LINE.replace(b"1704205800000000", b"9999999999999999999"), "timestamp_us"),
        (LINE.replace(b'"open"', b'"opne"'), "open"),
        (LINE[:-1], "truncated"),
        (LINE + LINE, "line 1 cannot be read"),
        (LINE.replace(b"187.15", b"[" * 100_000), "line 1 cannot be read"),
    ],
)
def test_a_line_that_is_not_of_the_schema_is_refused(
    tmp_path: Path, line: bytes, words: str
) -> None:
    path = tmp_path / "old.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(JournalCorrupt, match=words) as caught:
        read_journal(path)
    assert (caught.value.path, caught.value.line) == ("old.jsonl", 1)


def test_an_incomplete_last_line_is_told(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_bytes(LINE + b"\n" + LINE[:50])
    journal = read_journal(path)
    assert len(journal) == 1
    assert str(journal.torn) == "old.jsonl ends within line 2 (50 bytes)"


def test_it_cannot_be_continued(tmp_path: Path) -> None:
    (tmp_path / "journal-0001.jsonl").write_bytes(LINE + b"\n")
    with pytest.raises(JournalError, match="can be read but not continued"):
        JournalWriter(tmp_path, "demo")
