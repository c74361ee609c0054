"""A slice with fixed seeds of every row of the soak, ``python -m tests.soak``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from tests.soak.crashes import labels
from tests.soak.journals import cut_anywhere
from tests.soak.outcome import at_most
from tests.soak.rows import ROWS


def run(name: str, seeds: Iterable[int]) -> tuple[int, Counter[str]]:
    """Run seeds of a row, none of which may find anything; return cases and counts."""
    tried, counts = 0, Counter[str]()
    for seed in seeds:
        outcome = ROWS[name].run(seed)
        assert not outcome.violations, f"{name}, seed {seed}"
        tried += outcome.tried
        counts += outcome.counts
    return tried, counts


def test_a_process_that_ends_at_any_labelled_point_loses_nothing():
    places = labels()
    assert len(places) >= 50
    tried, counts = run("crashes", range(len(places)))
    assert tried == len(places)
    assert not [label for label, _ in places if not counts[f"ended at {label}"]]
    assert counts["orders"] > 200
    assert counts["ended while taking up"] > 20


def test_a_disk_that_fails_lets_nothing_leave():
    _, counts = run("disk-faults", range(0, 135, 4))
    assert counts["ENOSPC struck"] + counts["EIO struck"] + counts["short struck"] >= 30
    assert counts["halts in the reserve"] > 3
    assert counts["orders canceled"] > 20


def test_a_run_that_is_cut_at_any_byte_goes_on():
    outcome = cut_anywhere(7, bars=9)
    assert outcome.violations == []
    assert outcome.counts["cuts"] > 4_000


def test_five_thousand_changes_of_a_journal():
    tried, counts = run("changes", range(50))
    assert tried == 5_000
    assert counts["refused"] > 4_400  # the rest changes nothing that is read, or cuts the end


def test_twenty_thousand_orders_before_a_judge():
    tried, counts = run("orders", range(80))
    assert tried == 20_000
    for check in ("max_notional", "max_position", "max_orders_per_second", "duplicate", "finite"):
        assert counts[f"denied: {check}"] > 40, check
    assert min(counts["left"], counts["fills"], counts["lost"], counts["changes"]) > 1_000


FEW = [
    # row, seeds, cases
    ("limits", 5, 1_000),
    ("lines", 15, 3_000),
    ("configs", 15, 3_000),
    ("messages", 15, 3_000),
    ("same-twice", 6, 6),
    ("days", 1, 100_000),
    ("canaries", 9, 9),
]


@pytest.mark.parametrize(("name", "seeds", "cases"), FEW, ids=[row[0] for row in FEW])
def test_a_few_seeds(name, seeds, cases):
    assert run(name, range(seeds))[0] == cases


@pytest.mark.parametrize("seed", [1, 2, 5, 8, 11, 19])
def test_whole_sessions(seed):
    run("sessions", [seed])


def test_nothing_seen_is_a_bound():
    assert [at_most(*case) for case in [(0, 0), (2, 0), (300, 0), (300, 3)]] == [
        "", "1.0e+00", "1.0e-02", "1.0e-02 seen",
    ]  # fmt: skip
