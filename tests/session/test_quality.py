"""Execution quality of a session: what followed it live is what its journal says alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import regimeflow as rf


class Mixed(rf.Strategy):
    """Market, limit and stop orders, some canceled, some changed, some denied."""

    def initialize(self, ctx):
        self.count = 0
        self.mine = None

    def trade(self, ctx, symbol, price):
        self.count += 1
        if self.count % 11 == 0:
            ctx.target(symbol, qty=float(ctx.rng.integers(-20, 20)))
        elif self.count % 7 == 0:
            if self.mine is not None and self.mine.working:
                ctx.cancel(self.mine)
            else:
                self.mine = ctx.buy(symbol, 5, limit=price * 0.9998)
        elif self.count % 13 == 0:
            ctx.sell(symbol, 5, stop=price * 0.9995, tif="gtd", expire_at=ctx.now + 90 * 10**9)
        elif self.count % 29 == 0:
            ctx.buy(symbol, 1e6)

    def on_bar(self, ctx, bar):
        self.trade(ctx, bar.symbol, bar.close)

    def on_quote(self, ctx, quote):
        self.trade(ctx, quote.symbol, quote.mid)


def quotes(count: int = 2_000) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    mid = 100.0 + np.cumsum(rng.normal(0.0, 0.01, count)).round(2)
    half = rng.integers(1, 4, count) * 0.01
    at = pd.Timestamp("2024-01-02", tz="UTC") + pd.to_timedelta(
        np.cumsum(rng.integers(50, 900, count)), unit="ms"
    )
    columns = {"bid": mid - half, "ask": mid + half, "bid_size": 500.0, "ask_size": 500.0}
    return pd.DataFrame(columns, index=at)


def run(frame: pd.DataFrame, run_dir, **options) -> rf.LiveSession:
    venue = rf.venues.Simulated(
        frame,
        speed=None,
        costs=rf.Costs(commission_bps=2, slippage_bps=1),
        latency=rf.Latency(order_ms=120, data_ms=30),
    )
    session = rf.LiveSession(
        Mixed(), venue, run_dir=run_dir, limits=rf.Limits(max_notional=50_000), **options
    )
    session.start()
    told = 0
    while session.status.phase == "running":
        # From this thread, while the other one drives: each look is whole in itself.
        quality = session.execution_quality()
        assert quality.quantity == pytest.approx(sum(fill.qty for fill in quality.fills))
        assert quality.submitted >= quality.acknowledged >= quality.filled
        assert len(quality.fills) >= told
        told = len(quality.fills)
        session.wait(timeout_s=0.01)
    session.wait()
    return session


@pytest.mark.parametrize("kind", ["quotes", "bars"])
def test_live_and_recomputed_are_the_same_numbers(tmp_path, kind):
    frame = quotes() if kind == "quotes" else rf.datasets.synthetic(n=1_500, seed=4)
    session = run(frame, tmp_path / "run")
    live, recomputed = session.execution_quality(), rf.execution_quality(tmp_path / "run")
    assert live == recomputed
    assert live.to_json() == recomputed.to_json()
    assert min(live.filled, live.cancelled, live.expired, live.submit_rejected) > 0
    fills = session.fills
    frame = live.frame()
    assert frame["price"].tolist() == fills["price"].tolist()
    assert frame["time"].tolist() == fills["time"].tolist()
    assert live.fees == pytest.approx(session.account.fees)
    assert live.slippage_money == pytest.approx(frame["slippage_money"].sum())
    assert live.average_signed_slippage_bps == pytest.approx(
        float(np.average(frame["slippage_bps"], weights=frame["qty"]))
    )
    if kind == "quotes":
        assert live.spread_observations == len(frame)
        assert live.average_realised_spread_bps is not None
        assert live.average_ack_latency_ms == pytest.approx(150.0)
    else:
        assert live.average_effective_spread_bps is None
        assert [one.observations for one in live.markouts][:4] == [0, 0, 0, 0]
        assert live.markouts[4].observations > 0
        assert live.shortfall.delay == 0.0


def test_prices_are_those_that_stood_in_the_data(tmp_path):
    frame = quotes()
    run(frame, tmp_path / "run")
    at = frame.index.as_unit("ns").asi8
    mid = ((frame["bid"] + frame["ask"]) / 2).to_numpy()

    def stood(ts: int) -> float | None:
        place = int(np.searchsorted(at, ts, side="right"))
        return mid[place - 1] if place < len(at) else None

    for fill in rf.execution_quality(tmp_path / "run").fills:
        told = fill.time + 30_000_000
        sent = told - round(fill.fill_latency_ms * 1e6)
        assert fill.arrival_mid == stood(sent - 30_000_000)  # what was seen when it was decided
        assert fill.venue_mid == stood(sent + 120_000_000)
        for place, seconds in enumerate((1, 10, 60, 300)):
            assert fill.marks[place] == stood(fill.time + seconds * 10**9)


def test_a_market_order_pays_half_the_spread_and_the_slippage(tmp_path):
    at = pd.date_range("2024-01-02", periods=50, freq="1s", tz="UTC")
    frame = pd.DataFrame({"bid": 99.95, "ask": 100.05, "bid_size": 1e3, "ask_size": 1e3}, index=at)

    class Once(rf.Strategy):
        def on_quote(self, ctx, quote):
            if ctx.position(quote.symbol) == 0 and not ctx.orders():
                ctx.buy(quote.symbol, 10)

    venue = rf.venues.Simulated(frame, speed=None, costs=rf.Costs(slippage_bps=2))
    rf.LiveSession(Once(), venue, run_dir=tmp_path / "run").run()
    quality = rf.execution_quality(tmp_path / "run", seconds=(5,), bars=())
    paid = 100.05 * 1.0002
    expected = (paid - 100.0) / 100.0 * 1e4
    assert quality.average_signed_slippage_bps == pytest.approx(expected)
    assert quality.average_effective_spread_bps == pytest.approx(2 * expected)
    assert quality.average_realised_spread_bps == pytest.approx(2 * expected)
    assert quality.shortfall.execution == pytest.approx((paid - 100.0) * 10)


def test_a_run_that_is_cut_short_is_measured_up_to_there(tmp_path):
    run(quotes(400), tmp_path / "run")
    (segment,) = (tmp_path / "run").glob("journal-*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    whole = rf.execution_quality(tmp_path / "run")
    segment.write_bytes(b"".join(lines[: len(lines) // 2]))
    half = rf.execution_quality(tmp_path / "run")
    assert 0 < len(half.fills) < len(whole.fills)
    assert half.frame()["price"].tolist() == whole.frame()["price"].tolist()[: len(half.fills)]


def test_there_must_be_a_journal(tmp_path):
    with pytest.raises(rf.JournalError, match="no journal"):
        rf.execution_quality(tmp_path)
