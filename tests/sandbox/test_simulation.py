"""Whole sessions under every fault, by seed: what they believe is what the exchange knows."""

from __future__ import annotations

from collections import Counter

from regimeflow.sandbox.simulation import simulate
from regimeflow.venues.faulty import FAULTS


def test_two_hundred_seeds_break_no_rule_and_meet_every_fault() -> None:
    fired: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    wrong = {}
    for seed in range(200):
        outcome = simulate(seed)
        fired.update(outcome.fired)
        counts.update(outcome.counts)
        if outcome.violations:
            wrong[seed] = outcome.violations
    assert wrong == {}
    assert {name: fired[name] for name in FAULTS if fired[name] < 20} == {}
    assert counts["crashes"] > 20
    assert counts["fills"] > 5_000


def test_one_seed_is_one_run(tmp_path) -> None:
    for seed in range(20):
        first, second = simulate(seed), simulate(seed, tmp_path / str(seed))
        assert first == second


def test_orders_that_bring_their_exits_break_no_rule_either() -> None:
    counts: Counter[str] = Counter()
    wrong = {}
    for seed in range(1_000, 1_060):
        outcome = simulate(seed, exits=True)
        counts.update(outcome.counts)
        if outcome.violations:
            wrong[seed] = outcome.violations
    assert wrong == {}
    assert counts["exits"] > 100
    assert counts["crashes"] > 5


def test_seeds_differ() -> None:
    assert simulate(1).digest != simulate(2).digest
