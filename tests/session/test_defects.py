"""Defects of the C++ RegimeFlow that must not come along, as seen through a session.

1, 2 and 5 stand in tests/venues and tests/engine, 4 in tests/engine/test_limits.py.
"""

from __future__ import annotations

import json

import pytest

import regimeflow as rf
from regimeflow.model.market import Bar


class Cross(rf.Strategy):
    n: int = 7

    def initialize(self, ctx):
        self.mean = ctx.indicator(rf.EMA(self.n))

    def on_bar(self, ctx, bar):
        if self.mean.ready:
            ctx.target(bar.symbol, qty=10 if bar.close > self.mean.value else 0)


@pytest.fixture
def frame():
    frame = rf.datasets.synthetic(n=300, seed=21)
    # Prices with more digits than a six-digit journal could hold.
    return frame.assign(**{c: frame[c] + 1 / 3 for c in ("open", "high", "low", "close")})


def test_defect_9_the_journal_keeps_every_digit_name_and_number(tmp_path, frame):
    venue = rf.venues.Simulated({"SPY": frame}, speed=None)
    live = rf.LiveSession(Cross(), venue, run_dir=tmp_path / "run").run()
    text = (tmp_path / "run" / "journal-0001.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    bars = [line for line in lines if line["kind"] == "bar"]
    assert [bar["body"]["close"] for bar in bars] == frame["close"].tolist()
    assert {bar["body"]["symbol"] for bar in bars} == {"SPY"}
    inputs = [line["seq"] for line in lines if line["kind"] in ("start", "clock", "bar", "fill")]
    assert inputs == sorted(set(inputs))
    # And its replay has a strategy in it, which decides again.
    assert rf.certify(tmp_path / "run").decisions == len(live.orders)
    assert not rf.certify(tmp_path / "run", strategy=Cross(n=8)).identical


def test_defect_10_live_is_held_against_the_same_time_and_data_not_against_a_file(tmp_path, frame):
    # The baseline ran over other, better days; what counts is what it expects of *these* days.
    baseline = rf.backtest(Cross(), frame.head(200), costs=rf.Costs(commission_bps=1))
    later = rf.venues.Simulated(frame, start=frame.index[200], speed=None)
    live = rf.LiveSession(Cross(), later, baseline=baseline, run_dir=tmp_path / "run").run()
    same_days = rf.backtest(
        Cross(), frame, start=frame.index[200], costs=rf.Costs(commission_bps=1)
    )
    assert live.twin.equity == same_days.equity["equity"].iloc[-1]
    assert live.twin.equity != baseline.equity["equity"].iloc[-1]
    # Same configuration, other data: a comparison of configurations would see no difference.
    other = rf.datasets.synthetic(n=300, seed=22)
    assert rf.certify(tmp_path / "run", strategy=Cross()).identical
    rf.LiveSession(
        Cross(), rf.venues.Simulated(other, speed=None), run_dir=tmp_path / "other"
    ).run()
    seen = [e for _, e, _ in rf.read_journal(tmp_path / "other").events() if isinstance(e, Bar)]
    assert [bar.close for bar in seen] == other["close"].tolist()


def test_defect_10_averages_are_weighted_by_quantity(frame):
    def buys(ctx, bar):
        if ctx.position(bar.symbol) == 0 and not ctx.orders():
            ctx.buy(bar.symbol, 1)
        elif ctx.position(bar.symbol) == 1 and not ctx.orders():
            ctx.buy(bar.symbol, 99)

    report = rf.backtest(buys, frame)
    one, many = report.data.fills
    (trade,) = report.open_trades.to_dict("records")
    assert (one.qty, many.qty) == (1.0, 99.0)
    assert trade["entry_price"] == pytest.approx((one.price + 99 * many.price) / 100, abs=1e-12)
