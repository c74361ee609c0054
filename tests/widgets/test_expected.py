"""A fill's place among the baseline's orders: those that cost the same count half."""

from __future__ import annotations

import pandas as pd
import pytest

import regimeflow as rf
from regimeflow.model.events import Start
from regimeflow.widgets.expected import Expected


def expected(slippages):
    """What is expected after a baseline whose orders cost so many bp."""
    times = pd.date_range("2024-01-02", periods=2, freq="1min")
    prices = dict.fromkeys(("open", "high", "low", "close"), 100.0)
    report = rf.backtest(
        lambda ctx, bar: None, pd.DataFrame({**prices, "volume": 1.0}, index=times)
    )
    begin = Start(0, 0, "run", 0, ("asset",), (60_000_000_000,), 1_000.0)
    made = Expected(begin, report)
    made.spread = sorted(round(slip, 3) for slip in slippages)
    return made


@pytest.mark.parametrize(
    ("baseline", "slip", "percentile", "words"),
    [
        ([0, 0, 0, 0], 0.0, None, "all of the baseline's orders had +0.00 bp"),
        ([0, 0, 0, 0], 3.0, None, "all of the baseline's orders had +0.00 bp"),
        ([], 3.0, None, ""),
        ([0, 0, 0, 4], 0.0, 37.5, "of 100 of the baseline's orders 0 did better and 75 as well"),
        ([0, 0, 0, 4], 1e-9, 37.5, "of 100 of the baseline's orders 0 did better and 75 as well"),
        ([0, 0, 0, 4], 4.0, 87.5, "of 100 of the baseline's orders 75 did better and 25 as well"),
        ([1, 2, 3, 4], 2.5, 50.0, "of 100 of the baseline's orders 50 did better and 0 as well"),
        ([1, 2, 3, 4], 9.0, 100.0, "of 100 of the baseline's orders 100 did better and 0 as well"),
        ([1, 2, 3, 4], -9.0, 0.0, "of 100 of the baseline's orders 0 did better and 0 as well"),
    ],
)
def test_orders_that_cost_the_same_count_half(baseline, slip, percentile, words):
    made = expected(baseline)
    assert made.percentile(slip) == percentile
    assert made.told(slip) == words


def test_an_unknown_slippage_has_no_place():
    assert expected([1, 2]).percentile(None) is None
