"""Fills of the moving-average cross against backtesting.py's, from its second entry on.

The first entry differs. backtesting.py calls ``next`` for the first time on the bar *after* the
one on which the slowest indicator is known ("+1 to have at least two entries available", for its
``crossover`` looks at two), so a strategy that would already buy on the first day with both
averages buys a day later there. From the exit on, everything is equal.
"""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd
import pytest


def backtesting_trades(prices: pd.DataFrame, commission_bps: float, short: bool) -> pd.DataFrame:
    """Return the round trips of backtesting.py, in order of their entries."""
    with warnings.catch_warnings():
        # Its bokeh and its own old calls into pandas warn on import.
        warnings.simplefilter("ignore")
        from backtesting import Backtest, Strategy

    def mean(values: Any, n: int) -> Any:
        return pd.Series(values).rolling(n).mean()

    class Cross(Strategy):
        def init(self):
            self.quick = self.I(mean, self.data.Close, 10)
            self.calm = self.I(mean, self.data.Close, 30)

        def next(self):
            rest = -10 if short else 0
            change = (10 if self.quick[-1] > self.calm[-1] else rest) - self.position.size
            if change > 0:
                self.buy(size=change)
            elif change < 0:
                self.sell(size=-change)

    frame = prices.rename(columns=str.capitalize)
    test = Backtest(frame, Cross, cash=10_000, commission=commission_bps * 1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trades = test.run()["_trades"]
    return trades.sort_values("EntryTime", ignore_index=True)


@pytest.mark.parametrize("commission_bps", [0.0, 5.0])
def test_round_trips_equal_backtesting_pys_from_the_second_entry(prices, ours, commission_bps):
    theirs = backtesting_trades(prices, commission_bps, short=False)
    mine = ours(commission_bps).trades

    assert len(mine) == len(theirs) == 22
    # The first: bought a day later there, sold on the same.
    days = prices.index
    assert mine["entry_time"][0] == days[30]
    assert theirs["EntryTime"][0] == days[31]
    assert mine["exit_time"][0] == theirs["ExitTime"][0]
    _same_trades(mine.iloc[1:], theirs.iloc[1:])


def test_reversals_equal_backtesting_pys_from_the_second_entry(prices, ours):
    theirs = backtesting_trades(prices, 5.0, short=True)
    theirs = theirs[theirs["ExitTime"] < prices.index[-1]]
    mine = ours(5.0, short=True).trades
    assert set(mine["side"]) == {"buy", "sell"}
    _same_trades(mine.iloc[1:], theirs.iloc[1:])


def _same_trades(mine: pd.DataFrame, theirs: pd.DataFrame) -> None:
    assert mine["entry_time"].tolist() == theirs["EntryTime"].tolist()
    assert mine["exit_time"].tolist() == theirs["ExitTime"].tolist()
    signs = mine["side"].map({"buy": 1, "sell": -1})
    assert (mine["qty"] * signs).tolist() == theirs["Size"].tolist()
    for own, other in (
        ("entry_price", "EntryPrice"),
        ("exit_price", "ExitPrice"),
        ("fees", "Commission"),
    ):
        expected = pytest.approx(theirs[other].tolist(), rel=0, abs=1e-9)
        assert mine[own].tolist() == expected
