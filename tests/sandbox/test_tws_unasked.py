"""What Interactive Brokers does that no order of ours asked for, through the real client."""

from __future__ import annotations

import contextlib

import pytest
from patched import says_so_and_goes_on
from sessions import violations
from sockets import await_
from test_tws_sessions import LIMITS, intervals
from tws_in_process import Ear, Tws, order

import regimeflow as rf
from regimeflow.journal import events
from regimeflow.model.events import Fill, OrderUpdate, Reconciled
from regimeflow.sandbox.script import Fault
from regimeflow.venues import loopback_wire as wire


class Once(rf.Strategy):
    """One limit order far from the price."""

    def on_tick(self, ctx, trade):
        if not ctx.orders() and not ctx.position("AAA") and trade.symbol == "AAA":
            ctx.buy("AAA", 10.0, limit=50.0)


class Change(Once):
    """The same order, made smaller when the other symbol trades at 77."""

    def on_tick(self, ctx, trade):
        super().on_tick(ctx, trade)
        for mine in ctx.orders("AAA"):
            if trade.price == 77.0 and mine.qty != 6.0 and not mine.replace_pending:
                ctx.replace(mine, qty=6.0)


@pytest.fixture
def tws(tmp_path):
    made = Tws(tmp_path / "tws.jsonl")
    made.house._held = False
    yield made
    made.close()


@contextlib.contextmanager
def trading(tws, run_dir, strategy=Once, **how):
    """A session with one order at work, that is stopped at the end and then judged."""
    session = rf.LiveSession(
        strategy,
        tws.venue(timeout_ms=800.0, settle_ms=400.0, heartbeat_ms=500.0, fee_wait_ms=200.0, **how),
        symbols=["AAA", "BBB"],
        run_dir=run_dir,
        limits=LIMITS,
        intervals=intervals(),
    )
    session.start()
    try:
        await_(lambda: statuses(session)[:1] == ["open"], "an order at work")
        yield session
    finally:
        session.stop()
    assert violations(tws, run_dir) == []


def statuses(session):
    return list(session.orders["status"])


def happened(run_dir, kind):
    return [event for _, event, _ in events(run_dir) if isinstance(event, kind)]


def test_more_than_was_asked_for_is_booked_and_trading_is_halted(tws, tmp_path):
    with trading(tws, tmp_path / "run") as session:
        more = wire.ByHand("overfill", session.orders["order_id"].iloc[0], qty=3.0)
        tws.do(tws.house._done, more)
        await_(lambda: session.state == "halted", "the halt")
        assert session.fills["qty"].sum() == 13.0


@pytest.mark.parametrize("fault", [None, "drop_after", "no_reply", "html_before", "refuse"])
def test_a_fill_that_races_a_cancel_wins(fault, tws, tmp_path):
    with trading(tws, tmp_path / "run") as session:
        tws.house._held = True
        if fault is not None:
            tws.fault(Fault("cancel", fault))
        tws.do(tws.exchange.fill, session.orders["order_id"].iloc[0], 4.0)
        session.halt("to take it back")
        await_(lambda: statuses(session) == ["canceled"], "the cancel")
        assert session.fills["qty"].sum() == 4.0


RACES = [
    None,
    ("fill", "reorder"),
    ("fill", "lose"),
    ("fill", "duplicate"),
    ("replace", "no_reply"),
    ("replace", "delay"),
    ("replace", "drop_after"),
]


@pytest.mark.parametrize("wrong", RACES, ids=str)
def test_a_change_that_races_a_part_of_its_order_fills_no_more_than_was_asked(wrong, tws, tmp_path):
    with trading(tws, tmp_path / "run", Change) as session:
        tws.house._held = True
        if wrong is not None:
            tws.fault(Fault(*wrong, ms=300.0))
        order_id = session.orders["order_id"].iloc[0]
        tws.do(tws.exchange.fill, order_id, 4.0)
        tws.do(tws.exchange.tick, "BBB", 77.0)
        await_(lambda: session.orders["qty"].iloc[0] == 6.0, "the change")
        tws.do(tws.exchange.fill, order_id, 2.0)
        await_(lambda: statuses(session) == ["filled"], "the rest")
        assert session.fills["qty"].sum() == 6.0


def test_a_fill_after_the_cancel_is_booked(tws, tmp_path):
    with trading(tws, tmp_path / "run") as session:
        tws.house._held = True
        order_id = session.orders["order_id"].iloc[0]
        tws.fault(Fault("fill", "lose"))
        tws.do(tws.exchange.fill, order_id, 4.0)
        tws.do(tws.exchange.end, order_id)
        await_(lambda: statuses(session) == ["canceled"], "its end")
        await_(lambda: session.fills["qty"].sum() == 4.0, "what was filled before it")


# To the client 0 TWS also tells of what is placed on its screen.
@pytest.mark.parametrize("client_id", [1, 0])
def test_an_end_and_orders_of_other_hands_are_taken_as_they_are(client_id, tws, tmp_path):
    run_dir = tmp_path / "run"
    with trading(tws, run_dir, client_id=client_id) as session:
        tws.house._held = True
        tws.do(tws.exchange.end, session.orders["order_id"].iloc[0])
        await_(lambda: statuses(session) == ["canceled"], "its end")
        theirs = tws.do(tws.exchange.order_by_hand, "BBB", "buy", 3.0, 10.0)
        await_(
            lambda: any(event.foreign_orders for event in happened(run_dir, Reconciled)),
            "the order of somebody else",
        )
        tws.do(tws.exchange.fill, f"hand-{theirs}", 3.0)
        await_(
            lambda: any("BBB" in event.unmatched for event in happened(run_dir, Reconciled)),
            "what somebody else bought",
        )
        assert session.fills.empty
        assert len(session.orders) == 1


def test_a_fill_that_overtakes_its_acknowledgement_is_booked_once(tws, tmp_path):
    tws.fault(Fault("order_update", "lose"))
    ear = Ear()
    venue = tws.venue(timeout_ms=5_000.0)
    venue.connect(ear)
    tws.do(tws.exchange.tick, "AAA", 100.0)
    venue.submit(order(kind="market"))
    fill = ear.wait(Fill)
    assert [f.execution_id for f in venue.executions(0)] == [fill.execution_id]
    assert not [u for u in ear.of(OrderUpdate) if u.what in ("canceled", "rejected")]
    venue.close()


def test_a_loop_that_somebody_patched_is_told_and_left_alone():
    assert says_so_and_goes_on("TWS", "AAA")
