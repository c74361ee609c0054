"""Whole sessions of any kind: many seeds of what the tests try a few of.

Each seed makes its own market, strategy, costs, latency and limits, runs them as a backtest, as a
live session on the simulator with shadow and twin, and through the certificate, and holds the cash
against a ``Decimal`` ledger.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from decimal import Decimal
from pathlib import Path

import regimeflow as rf
from tests.soak.outcome import Outcome


class Restless(rf.Strategy):
    """Does anything a strategy may do, at the choice of the run's own random numbers."""

    def initialize(self, ctx):
        for symbol in ctx.symbols:
            ctx.indicator(rf.EMA(9), symbol=symbol)
        ctx.every("37min", "tick")
        self.asked = 0

    def on_bars(self, ctx, bars):
        for symbol, bar in bars.items():
            dice = ctx.rng.random()
            qty = float(ctx.rng.integers(1, 40))
            if dice < 0.05:
                ctx.target(symbol, weight=float(ctx.rng.uniform(-0.4, 0.5)))
            elif dice < 0.08:
                ctx.buy(symbol, qty, limit=bar.close * ctx.rng.uniform(0.995, 1.003))
            elif dice < 0.11:
                ctx.sell(symbol, qty, limit=bar.close * ctx.rng.uniform(0.997, 1.005), tif="day")
            elif dice < 0.13:
                ctx.buy(symbol, qty, stop=bar.close * 1.001, tif="ioc" if qty > 30 else None)
            elif dice < 0.15:
                ctx.sell(symbol, qty, stop=bar.close * 0.999, limit=bar.close * 0.998)
            elif dice < 0.17:
                for order in ctx.orders(symbol):
                    ctx.cancel(order)
            elif dice < 0.19:
                for order in ctx.orders(symbol):
                    if order.limit:
                        ctx.replace(order, limit=order.limit * 1.0005)
            elif dice < 0.195:
                ctx.close(symbol)
        self.asked += 1

    def on_timer(self, ctx, timer):
        ctx.record(equity=ctx.equity, power=ctx.buying_power)


def run_seed(seed: int) -> int:
    """Try one seed; return how many fills it had.

    Raises:
        AssertionError: two of the runs differ, or cash does not add up.
    """
    chance = random.Random(seed)
    frames = {
        f"S{i}": rf.datasets.synthetic(n=chance.randint(200, 700), seed=seed * 31 + i)
        for i in range(chance.choice([1, 1, 2, 5, 9]))
    }
    options = {
        "costs": chance.choice([
            rf.Costs(),
            rf.Costs(commission_bps=chance.uniform(0, 20), slippage_bps=chance.uniform(0, 5)),
            rf.Costs(per_share=0.01, per_order=1, minimum=2, spread_bps=3),
            rf.Costs(maker_bps=-1, taker_bps=4),
        ]),
        "latency": chance.choice([
            rf.Latency(),
            rf.Latency(order_ms=chance.uniform(0, 200_000), data_ms=chance.uniform(0, 90_000)),
        ]),
    }  # fmt: skip
    limits = chance.choice([
        rf.Limits(max_data_age_ms=1e12, duplicate_window_ms=0),
        rf.Limits(max_data_age_ms=1e12, duplicate_window_ms=0, max_position=60, max_notional=4_000),
        rf.Limits(max_data_age_ms=1e12, duplicate_window_ms=250, max_orders_per_minute=3,
                  max_gross_exposure=0.8),
        rf.Limits(max_data_age_ms=1e12, duplicate_window_ms=0, max_drawdown=0.002),
    ])  # fmt: skip
    report = rf.backtest(Restless(), frames, limits=limits, seed=seed, **options)
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        venue = rf.venues.Simulated(frames, speed=None, **options)
        live = rf.LiveSession(
            Restless(), venue, limits=limits, run_dir=run_dir, baseline=report, seed=seed
        ).run(progress=False)
        certificate = rf.certify(run_dir, progress=False)
        recorded = live.report()
    fills = report.data.fills
    assert live.account.cash == live.shadow.cash == live.twin.cash, "live, shadow, twin"
    assert [f.price for f in fills] == live.fills["price"].tolist(), "backtest and live"
    assert certificate.identical, str(certificate)
    assert recorded.equity["equity"].tolist() == report.equity["equity"].tolist(), "reports"
    cash = Decimal(100_000)
    for fill in fills:
        signed = Decimal(fill.qty) if fill.side == "buy" else -Decimal(fill.qty)
        cash -= signed * Decimal(fill.price) + Decimal(fill.fee)
    assert abs(cash - Decimal(live.account.cash)) < Decimal("1e-6"), "Decimal ledger"
    return len(fills)


def whole_sessions(seed: int) -> Outcome:
    """Try one seed as a row of the table; the unit is a session."""
    try:
        fills = run_seed(seed)
    except AssertionError as error:
        return Outcome(1, [str(error)[:300]])
    return Outcome(1, [], Counter(fills=fills))
