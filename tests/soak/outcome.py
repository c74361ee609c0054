"""What a row of the table is, and what one seed of it comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple


class Outcome(NamedTuple):
    """What one seed came to.

    Attributes:
        tried: how many cases it had, in the row's unit.
        violations: one sentence each, the seed not named.
        counts: what happened how often, for whoever doubts that anything did.
    """

    tried: int
    violations: list[str]
    counts: Counter[str] = Counter()  # noqa: RUF012


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        title: what is tried, and what must be zero.
        run: tries one seed.
        goal: how many cases are to be tried.
        unit: of the cases.
    """

    title: str
    run: Callable[[int], Outcome]
    goal: int
    unit: str


def at_most(tried: int, violations: int) -> str:
    """Say what can be concluded of the rate of violations, with 95 % confidence.

    None in n cases bounds the rate by 3/n, the "rule of three": the probability of seeing none is
    (1 - rate)^n, which is 5 % at about rate = 3/n.
    """
    if not tried:
        return ""
    if violations:
        return f"{violations / tried:.1e} seen"
    return f"{min(1.0, 3 / tried):.1e}"
