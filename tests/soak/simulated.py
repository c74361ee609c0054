"""Whole sessions on an exchange that fails in every way, in virtual time, by a seed."""

from __future__ import annotations

from collections import Counter

from regimeflow.sandbox.simulation import simulate
from tests.soak.outcome import Outcome


def simulated(seed: int) -> Outcome:
    """Run one simulation; the unit is a seed."""
    outcome = simulate(seed)
    counts = Counter[str](outcome.counts) + Counter(outcome.fired)
    return Outcome(1, outcome.violations, counts)
