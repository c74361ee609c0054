"""Whole sessions on TWS through the real client, and what goes wrong on the way."""

from __future__ import annotations

import pytest
from sockets import await_

import regimeflow as rf
from regimeflow.sandbox import TWS, Fault, check

LIMITS = rf.Limits(max_position=500, max_open_orders=40, duplicate_window_ms=0)
#: What goes wrong with orders, their answers, and what is asked for.
FAULTS = {
    "lost answers": [("submit", "drop_after"), ("submit", "no_reply"), ("submit", "drop_before")],
    "gateway trouble": [
        ("submit", "http_504"),
        ("submit", "http_504_after"),
        ("submit", "http_500"),
        ("submit", "http_429"),
        ("submit", "http_403"),
        ("submit", "refuse"),
    ],
    "noise": [
        ("submit", "garbage"),
        ("fill", "garbage"),
        ("order_update", "garbage"),
        ("submit", "cut"),
        ("executions", "html"),
        ("open_orders", "garbage"),
    ],
    "duplicates and gaps": [
        ("fill", "duplicate"),
        ("fill", "lose"),
        ("order_update", "lose"),
        ("order_update", "duplicate"),
    ],
    "late and early": [
        ("submit", "delay"),
        ("fill", "reorder"),
        ("order_update", "reorder"),
        ("cancel", "delay"),
    ],
    "cancels": [("cancel", "drop_after"), ("cancel", "no_reply"), ("cancel", "ignore")],
    "unanswered questions": [
        ("positions", "ignore"),
        ("open_orders", "ignore"),
        ("executions", "ignore"),
        ("balances", "ignore"),
    ],
    "silence": [("trade", "mute"), ("fill", "half_open"), ("time", "half_open")],
}


class Busy(rf.Strategy):
    """Orders of every kind, some taken back."""

    def initialize(self, ctx):
        self.count = 0

    def on_tick(self, ctx, trade):
        self.count += 1
        if self.count % 2:
            return
        held = ctx.position(trade.symbol)
        side = ctx.sell if held > 0 else ctx.buy
        kind = self.count // 2 % 3
        away = {0: None, 1: 1.0, 2: 0.98 if side == ctx.buy else 1.02}[kind]
        rules = ctx.instrument(trade.symbol)
        limit = None if away is None else rules.round_price(trade.price * away)
        side(trade.symbol, float(ctx.rng.integers(1, 40)), limit=limit)
        for order in ctx.orders(trade.symbol)[:2]:
            ctx.cancel(order)


def intervals():
    return rf.venues.Intervals(
        clock_ms=20, order_poll_ms=200, position_poll_ms=300, account_ms=300, unknown_poll_ms=60,
        call_timeout_ms=500, reconnect_initial_ms=20, reconnect_max_ms=200, stop_ms=8_000,
        heartbeat_ms=1_500,
    )  # fmt: skip


def session(venue, run_dir, **how):
    quick = {"timeout_ms": 250.0, "settle_ms": 300.0, "heartbeat_ms": 200.0, "fee_wait_ms": 80.0}
    return rf.LiveSession(
        Busy,
        venue.venue(**quick),
        symbols=["AAA", "BBB"],
        run_dir=run_dir,
        limits=LIMITS,
        intervals=intervals(),
        **how,
    )


@pytest.fixture
def tws(tmp_path):
    with TWS(tmp_path / "tws.jsonl", symbols=("AAA", "BBB"), speed=60.0) as venue:
        yield venue


def orders(venue):
    return sum(row.kind == "submit" for row in venue.rows())


def fired(venue):
    return sum(venue.hand.books()["fired"].values())


@pytest.mark.parametrize("name", FAULTS)
def test_a_session_loses_and_doubles_nothing(name, tws, tmp_path):
    running = session(tws, tmp_path / "run")
    running.start()
    await_(lambda: orders(tws) > 3, "the first orders")
    for nth, (on, fault) in enumerate(FAULTS[name], 2):
        tws.hand.fault(Fault(on, fault, nth=nth, every=5, times=2, ms=400.0))
    await_(lambda: fired(tws) == 2 * len(FAULTS[name]), f"all faults; {tws.hand.books()}")
    before = orders(tws)
    await_(lambda: orders(tws) > before + 3, "orders after the last fault")
    running.stop()
    assert [str(v) for v in check(tws.ledger, tmp_path / "run", LIMITS)] == []
    assert rf.certify(tmp_path / "run").identical
