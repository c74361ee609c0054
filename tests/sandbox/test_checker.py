"""The checker must find what it looks for: one untruth is planted at a time."""

from __future__ import annotations

import shutil

import msgspec
import pytest
from sockets import Child

from regimeflow import Limits
from regimeflow.sandbox.books import Row, read_books
from regimeflow.sandbox.checker import INVARIANTS, check
from regimeflow.sandbox.process import VenueProcess


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short session without any fault."""
    folder = tmp_path_factory.mktemp("clean")
    with (
        VenueProcess(folder / "venue.jsonl", timeframe="100ms", speed=30.0) as venue,
        Child(venue.port, folder / "run") as child,
    ):
        child.wait_for("bar", 8)
        child.stop()
    return folder


def rewritten(run, tmp_path, change, **how):
    """Return the names of what is broken after the venue's rows were changed."""
    rows = change(read_books(run / "venue.jsonl"))
    path = tmp_path / "venue.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return {violation.invariant for violation in check(path, run / "run", **how)}


def place(rows, kind, part=""):
    return next(i for i, r in enumerate(rows) if r.kind == kind and part in str(r.detail))


def with_row(rows, at, **changes):
    return [*rows[:at], msgspec.structs.replace(rows[at], **changes), *rows[at + 1 :]]


def sent_twice(rows):
    at = place(rows, "bytes", "submit")
    return [*rows[: at + 1], *rows[at:]]


def never_decided(rows):
    at = place(rows, "bytes", "submit")
    text = rows[at].detail["text"].replace('"order_id":"busy', '"order_id":"other')
    return with_row(rows, at, detail={**rows[at].detail, "text": text})


def before_it_was_decided(rows):
    at = place(rows, "bytes", "submit")
    early = msgspec.structs.replace(rows[at], at=rows[at].at - 10**9)
    return [*rows[:at], early, *rows[at + 1 :]]


def another_size(rows):
    at = place(rows, "bytes", "submit")
    text = rows[at].detail["text"].replace('"qty":', '"qty":1')
    return with_row(rows, at, detail={**rows[at].detail, "text": text})


def another_price(rows):
    at = place(rows, "fill")
    return with_row(rows, at, detail={**rows[at].detail, "price": 1.0})


def a_fill_more(rows):
    at = place(rows, "fill")
    more = msgspec.structs.replace(rows[at], detail={**rows[at].detail, "execution_id": "X-more"})
    return [*rows[: at + 1], more, *rows[at + 1 :]]


def a_fill_less(rows):
    at = place(rows, "fill")
    return [*rows[:at], *rows[at + 1 :]]


def another_holding(rows):
    at = max(i for i, r in enumerate(rows) if r.kind == "books")
    return with_row(rows, at, detail={**rows[at].detail, "held": {"AAA": "12345"}})


def money_gone(rows):
    at = max(i for i, r in enumerate(rows) if r.kind == "books")
    return with_row(rows, at, detail={**rows[at].detail, "cash": "1"})


def never_canceled(rows):
    at = place(rows, "canceled")
    return [*rows[:at], *rows[at + 1 :]]


def after_the_halt(rows):
    at = place(rows, "bytes", "submit")
    late = msgspec.structs.replace(rows[at], at=rows[-1].at + 10**10)
    return [*rows[:at], *rows[at + 1 :], late]


@pytest.mark.parametrize(
    ("change", "invariant"),
    [
        (sent_twice, "at most once"),
        (never_decided, "nothing untracked"),
        (before_it_was_decided, "nothing untracked"),
        (another_size, "nothing untracked"),
        (another_price, "nothing invented"),
        (a_fill_more, "fills exact"),
        (a_fill_less, "nothing invented"),
        (another_holding, "positions are the venue's"),
        (money_gone, "money is conserved"),
        (never_canceled, "no end inferred"),
        (after_the_halt, "a halt holds"),
    ],
)
def test_an_untruth_is_found(run, tmp_path, change, invariant):
    assert invariant in rewritten(run, tmp_path, change)


def test_a_long_way_to_the_venue_excuses_nothing_that_came_too_early(run, tmp_path):
    found = rewritten(run, tmp_path, before_it_was_decided, grace_ms=5_000.0)
    assert "nothing untracked" in found


def test_the_truth_passes(run, tmp_path):
    assert rewritten(run, tmp_path, lambda rows: rows) == set()


def test_limits_are_counted_anew(run):
    tight = Limits(max_position=1, max_open_orders=1, max_orders_per_second=1, symbols=("AAA",))
    broken = {v.invariant for v in check(run / "venue.jsonl", run / "run", tight)}
    assert broken == {"limits held", "rate held"}


@pytest.mark.parametrize(("apart_ms", "too_fast"), [(0, True), (400, True), (490, False)])
def test_the_rate_is_counted_where_orders_arrive(run, tmp_path, apart_ms, too_fast):
    rows = read_books(run / "venue.jsonl")
    orders = [r for r in rows if r.kind == "bytes" and '"submit"' in str(r.detail)]
    assert len(orders) > 3
    late = [
        msgspec.structs.replace(row, at=rows[-1].at + i * apart_ms * 10**6)
        for i, row in enumerate(orders)
    ]
    path = tmp_path / "venue.jsonl"
    others = [row for row in rows if row not in orders]
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in [*others, *late]))
    # One of each lane a second, and 20 ms may be lost on the way.
    found = check(path, run / "run", Limits(max_orders_per_second=1))
    assert any("arrived as one too many" in v.text for v in found) == too_fast


def test_a_session_that_may_not_write_is_held_to_it(run):
    broken = {v.invariant for v in check(run / "venue.jsonl", run / "run", writes=False)}
    assert broken == {"mode held"}


def test_a_secret_is_found_in_any_spelling(run, tmp_path):
    shutil.copytree(run / "run", tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("73336372")
    broken = check(run / "venue.jsonl", tmp_path / "run", canaries=["s3cr"])
    assert [str(v) for v in broken] == ["no secret leaks: a secret of 4 characters is in notes.txt"]


def test_a_journal_that_was_altered_is_said_to_be(run, tmp_path):
    shutil.copytree(run / "run", tmp_path / "run")
    journal = tmp_path / "run" / "journal-0001.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"buy"', b'"bux"', 1))
    assert [v.invariant for v in check(run / "venue.jsonl", tmp_path / "run")] == [
        "the journal is whole"
    ]


def test_every_invariant_has_a_sentence():
    assert all(look.__doc__ for look in INVARIANTS.values())
    assert Row(1, "books")
