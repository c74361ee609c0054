"""The moving-average cross of regimeflow, whose fills those of other libraries are held against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

import regimeflow as rf

PRICES = Path(__file__).parent / "data" / "prices.csv"


class Execution(NamedTuple):
    """One fill in words that every library has; ``time`` is the day at whose open it happened."""

    time: pd.Timestamp
    side: str
    qty: float
    price: float
    commission: float


class Cross(rf.Strategy):
    """Holds ``qty`` while the quick average lies above the calm one, and else nothing.

    With ``short`` it holds the opposite instead of nothing.
    """

    qty: float = 10.0
    short: bool = False

    def initialize(self, ctx):
        self.quick = ctx.indicator(rf.SMA(10))
        self.calm = ctx.indicator(rf.SMA(30))

    def on_bar(self, ctx, bar):
        if not self.calm.ready:
            return
        rest = -self.qty if self.short else 0.0
        change = (self.qty if self.quick.value > self.calm.value else rest) - ctx.position("X")
        if change > 0:
            ctx.buy("X", change)
        elif change < 0:
            ctx.sell("X", -change)


@pytest.fixture(scope="session")
def path() -> Path:
    """Return the file of the shipped prices."""
    return PRICES


@pytest.fixture(scope="session")
def prices() -> pd.DataFrame:
    """Return the shipped prices; the index holds days."""
    return pd.read_csv(PRICES, index_col="date", parse_dates=True)


@pytest.fixture
def ours(prices: pd.DataFrame) -> Callable[..., rf.Report]:
    """Return what runs our cross: `ours(commission_bps=5.0, short=False)` gives its report."""

    def run(commission_bps: float, *, short: bool = False) -> rf.Report:
        costs = rf.Costs(commission_bps=commission_bps)
        return rf.backtest(Cross(short=short), prices, symbols="X", costs=costs, cash=10_000)

    return run


@pytest.fixture
def executions() -> Callable[[rf.Report], list[Execution]]:
    """Return what lists a report's fills."""

    def of(report: rf.Report) -> list[Execution]:
        fills = report.fills
        columns = (fills[name] for name in ("time", "side", "qty", "price", "fee"))
        return [Execution(*row) for row in zip(*columns, strict=True)]

    return of
