"""Fills of the moving-average cross against backtrader's, line by line."""

from __future__ import annotations

import datetime as dt
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

#: A relative commission: 0 and 5 basis points.
COMMISSIONS_BPS = [0.0, 5.0]


def backtrader_fills(path: Path, commission_bps: float, short: bool) -> list[tuple[Any, ...]]:
    """Return time, side, qty, price and commission of every execution of backtrader."""
    bt = _backtrader()

    class Cross(bt.Strategy):
        def __init__(self):
            self.quick = bt.ind.SMA(self.data.close, period=10)
            self.calm = bt.ind.SMA(self.data.close, period=30)
            self.executed = []

        def next(self):
            rest = -10 if short else 0
            change = (10 if self.quick[0] > self.calm[0] else rest) - self.position.size
            if change > 0:
                self.buy(size=change)
            elif change < 0:
                self.sell(size=-change)

        def notify_order(self, order):
            if order.status == order.Completed:
                done = order.executed
                self.executed.append(
                    (
                        pd.Timestamp(bt.num2date(done.dt)),
                        "buy" if done.size > 0 else "sell",
                        abs(done.size),
                        done.price,
                        done.comm,
                    )
                )

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(10_000)
    cerebro.broker.setcommission(commission=commission_bps * 1e-4)
    # Without a session end of midnight it would date daily bars at 23:59:59.999989.
    feed = bt.feeds.GenericCSVData(
        dataname=str(path), dtformat="%Y-%m-%d", openinterest=-1, sessionend=dt.time(0)
    )
    cerebro.adddata(feed)
    cerebro.addstrategy(Cross)
    return cerebro.run()[0].executed


def _backtrader() -> Any:
    with warnings.catch_warnings():
        # Written for an older Python: invalid escapes in its docstrings.
        warnings.simplefilter("ignore")
        import backtrader

    return backtrader


@pytest.mark.parametrize("short", [False, True], ids=["long or flat", "long or short"])
@pytest.mark.parametrize("commission_bps", COMMISSIONS_BPS)
def test_fills_equal_backtraders(path, ours, executions, commission_bps, short):
    theirs = backtrader_fills(path, commission_bps, short)
    mine = executions(ours(commission_bps, short=short))

    assert len(mine) == len(theirs) == 44
    for own, other in zip(mine, theirs, strict=True):
        assert own[:3] == other[:3]
        assert own.price == pytest.approx(other[3], rel=0, abs=1e-9)
        assert own.commission == pytest.approx(other[4], rel=0, abs=1e-9)
    assert any(own.commission > 0 for own in mine) == (commission_bps > 0)


def test_the_comparison_would_see_fills_at_the_close_decided_on(prices):
    # Otherwise a fill at the wrong one of two equal prices would look right.
    opens, closes = prices["open"].to_numpy()[1:], prices["close"].to_numpy()[:-1]
    assert (opens != closes).all()
