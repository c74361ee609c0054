"""Whole sessions on TWS through the real client, and what goes wrong on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import violations
from sockets import Child, await_
from tws_in_process import Tws

import regimeflow as rf
from regimeflow.journal import events
from regimeflow.model.events import Reconciled
from regimeflow.sandbox import TWS, Fault

TWS_CHILD = Path(__file__).with_name("tws_child.py")
LIMITS = rf.Limits(
    max_position=500, max_open_orders=40, duplicate_window_ms=0, max_orders_per_second=8
)
#: What goes wrong with orders, their answers, and what is asked for.
FAULTS = {
    "lost answers": [("submit", "drop_after"), ("submit", "no_reply"), ("submit", "drop_before")],
    "gateway trouble": [
        ("submit", "http_504"),
        ("submit", "http_504_after"),
        ("submit", "http_500"),
    ],
    "refusals": [("submit", "http_429")],
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
        clock_ms=20, order_poll_ms=500, position_poll_ms=1_000, account_ms=1_000,
        unknown_poll_ms=150,
        call_timeout_ms=1_500, reconnect_initial_ms=20, reconnect_max_ms=200, stop_ms=25_000,
        heartbeat_ms=3_000,
    )  # fmt: skip


def session(venue, run_dir, **how):
    quick = {"timeout_ms": 800.0, "settle_ms": 400.0, "heartbeat_ms": 500.0, "fee_wait_ms": 200.0}
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
        tws.hand.fault(Fault(on, fault, nth=nth, every=2, times=2, ms=400.0))
    await_(lambda: fired(tws) == 2 * len(FAULTS[name]), f"all faults; {tws.hand.books()}")
    before = orders(tws)
    await_(lambda: orders(tws) > before + 3, "orders after the last fault")
    running.stop()
    assert violations(tws, tmp_path / "run") == []
    assert rf.certify(tmp_path / "run").identical


def test_a_tws_that_restarts_again_and_again_loses_nothing(tws, tmp_path):
    running = session(tws, tmp_path / "run")
    running.start()
    for _ in range(4):
        before = orders(tws)
        await_(lambda n=before: orders(tws) > n + 3, "orders")
        tws.hand.disconnect()
    before = orders(tws)
    await_(lambda: orders(tws) > before + 3, "orders after the last restart")
    running.stop()
    assert violations(tws, tmp_path / "run") == []


def test_a_session_that_is_killed_takes_up_where_it_was(tws, tmp_path):
    for _ in range(2):
        before = orders(tws)
        with Child(tws.port, tmp_path / "run", script=TWS_CHILD) as child:
            child.wait_for("started")
            await_(lambda n=before: orders(tws) > n + 3, "orders")
    with Child(tws.port, tmp_path / "run", script=TWS_CHILD) as child:
        child.wait_for("started")
        before = orders(tws)
        await_(lambda: orders(tws) > before + 3, "orders")
        child.stop()
    assert violations(tws, tmp_path / "run") == []


def test_what_was_traded_and_ordered_by_hand_is_reported_and_left_alone(tws, tmp_path):
    tws.hand.trade("AAA", "buy", 7.0)
    perm_id = tws.hand.order("AAA", "buy", 3.0, 1.0)[1:]
    running = session(tws, tmp_path / "run")
    running.start()
    before = orders(tws)
    await_(lambda: orders(tws) > before + 3, "orders")
    running.stop()
    told = [e for _, e, _ in events(tmp_path / "run") if isinstance(e, Reconciled)]
    assert any(e.foreign.get("AAA") == 7.0 and perm_id in e.foreign_orders for e in told)
    assert violations(tws, tmp_path / "run") == []


def test_a_clock_that_is_off_keeps_the_session_out(tmp_path):
    made = Tws(tmp_path / "late.jsonl", ahead_ns=30 * 10**9)
    running = session(made, tmp_path / "run")
    try:
        running.start()
        await_(lambda: len(made.written(16)) > 2, "three connections that were given up")
        assert made.written(3) == []
    finally:
        running.stop()
        made.close()


def test_lost_brokers_stop_orders_until_they_are_found(tmp_path):
    made = Tws(tmp_path / "tws.jsonl")
    made.house._held = False
    running = session(made, tmp_path / "run")
    running.start()
    try:
        for with_data in (True, False):
            before = len(made.written(3))
            await_(lambda n=before: len(made.written(3)) > n + 3, "orders")
            made.do(made.server.lose)
            came = len(made.rows("hello"))
            await_(lambda n=came: len(made.rows("hello")) > n + 1, "two connections in vain")
            made.do(made.server.find, with_data=with_data)
        before = len(made.written(3))
        await_(lambda: len(made.written(3)) > before + 3, "orders after they were found")
    finally:
        running.stop()
        made.close()
    assert violations(made, tmp_path / "run") == []
