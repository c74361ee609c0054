"""Whole sessions with ccxt's own client against Binance's sandbox, while the wire fails.

After each of them the exchange's own record is held against the journal by the checker.
"""

from __future__ import annotations

import json
import traceback
import urllib.parse

import msgspec
import pytest
from broker_sessions import BrokerSessions, answers_fail, questions_fail
from child import settings
from sessions import (
    NEWS,
    NOISE,
    fired,
    happened,
    judged,
    sent,
    settled,
)
from sockets import await_

import regimeflow as rf
from regimeflow.model.events import Feed, Fill, OrderUpdate
from regimeflow.sandbox.script import Fault

SYMBOLS = ("AAA/USDT", "BBB/USDT")


class Lively(rf.Strategy):
    """Orders of every kind with every fifth trade, and some of them taken back."""

    def on_start(self, ctx):
        self.count = 0

    def on_tick(self, ctx, tick):
        self.count += 1
        if self.count % 5:
            return
        held, rules = ctx.position(tick.symbol), ctx.instrument(tick.symbol)
        qty = rules.round_qty(float(ctx.rng.integers(1, 40)) / 7.0)
        ctx.buy(tick.symbol, qty)
        ctx.buy(tick.symbol, qty, limit=rules.round_price(tick.price * 0.99))
        if held > 1.0:
            ctx.sell(tick.symbol, rules.round_qty(held * 0.7))
        for order in ctx.orders(tick.symbol)[:2]:
            ctx.cancel(order)


class Once(rf.Strategy):
    """One limit order far from the price."""

    def on_tick(self, ctx, tick):
        if not ctx.orders() and not ctx.position(SYMBOLS[0]) and tick.symbol == SYMBOLS[0]:
            ctx.buy(SYMBOLS[0], 10.0, limit=50.0)


@pytest.fixture
def sandbox(tmp_path):
    with rf.sandbox.Binance(tmp_path / "venue.jsonl", symbols=SYMBOLS, speed=30.0) as running:
        yield running


def trading(sandbox, run_dir, strategy=Lively, timeout_ms=400.0, **how):
    """A session that is stopped at the end, and then judged."""
    venue = sandbox.venue(timeout_ms=timeout_ms, settle_ms=250.0)
    return judged(sandbox, run_dir, strategy, venue, symbols=SYMBOLS, **how)


def posts(sandbox):
    """Return client order id -> how many requests to place it came over the wire."""
    in_a_form = lambda text: urllib.parse.parse_qs(text)["newClientOrderId"][0]  # noqa: E731
    in_json = lambda text: json.loads(text)["orderLinkId"]  # noqa: E731
    binance = sent(sandbox, "POST /api/v3/order ", in_a_form)
    return binance + sent(sandbox, "POST /v5/order/create ", in_json)


class TestBinance(BrokerSessions):
    """What each broker's sessions live through."""

    symbols = SYMBOLS
    once = Once
    changes = ("cancel",)
    questions = ("positions", "open_orders", "executions", "order")
    market = ("trade", "quote")
    unreadable = "cannot be read"
    gone = "closed"
    received = 1.0 - 1e-4  # the fee is taken from it

    def trading(self, sandbox, run_dir, strategy=Lively, **how):
        return trading(sandbox, run_dir, strategy, **how)

    def posts(self, sandbox):
        return posts(sandbox)


def test_what_is_certainly_refused_is_rejected_and_what_is_not_is_asked_for(sandbox, tmp_path):
    sandbox.hand.fault(Fault("submit", "http_504_after", nth=3))
    sandbox.hand.fault(Fault("submit", "http_429", nth=5, ms=100.0))
    with trading(sandbox, tmp_path / "run") as session:
        await_(lambda: fired(sandbox).total() == 2, "both faults")
        settled(session)
    told = happened(tmp_path / "run", OrderUpdate)
    lost = {event.reason for event in told if event.what == "lost"}
    # Its stream may tell of the order before the answer that says nothing is there.
    assert lost <= {"the exchange answered with status 504 and nothing that can be read"}
    rejected = [event.reason for event in told if event.what == "rejected"]
    assert len(rejected) == 1
    assert "Too many requests" in rejected[0]


def test_a_mute_exchange_is_noticed_and_the_session_connects_anew(sandbox, tmp_path):
    with trading(sandbox, tmp_path / "run") as session:
        settled(session, 6)
        sandbox.hand.mute(4_500.0)
        settled(session, 6)
    stale = [feed for feed in happened(tmp_path / "run", Feed) if feed.stale]
    assert {feed.symbol for feed in stale} == set(SYMBOLS)


def test_a_key_that_is_revoked_is_a_definite_no_and_nothing_is_sent_twice(sandbox, tmp_path):
    run_dir = tmp_path / "run"
    hasty = msgspec.structs.replace(settings(), stop_ms=500)
    with trading(sandbox, run_dir, Once, intervals=hasty) as session:
        await_(lambda: session.orders["status"].iloc[0] == "open", "the order to work")
        order_id = session.orders["order_id"].iloc[0]
        sandbox.hand.end(order_id, "canceled")
        sandbox.hand.fault(Fault("submit", "revoke"))
        await_(lambda: "rejected" in set(session.orders["status"]), "the refusal of the next")
    reasons = [u.reason for u in happened(run_dir, OrderUpdate) if u.what == "rejected"]
    assert "Invalid API-key, IP, or permissions for action. (-2015)" in reasons


def test_a_request_outside_the_window_of_time_is_a_definite_no(sandbox, tmp_path):
    sandbox.hand.fault(Fault("submit", "skew", ms=30_000.0))
    with trading(sandbox, tmp_path / "run") as session:
        settled(session, 6)
    rejected = [u for u in happened(tmp_path / "run", OrderUpdate) if u.what == "rejected"]
    assert "outside of the recvWindow" in rejected[0].reason


def test_a_clock_that_is_off_keeps_the_session_out(sandbox, tmp_path):
    sandbox.hand.fault(Fault("time", "skew", times=10_000, ms=30_000.0))
    session = rf.LiveSession(
        Once, sandbox.venue(), symbols=SYMBOLS, run_dir=tmp_path / "run", cash=1_000.0,
        intervals=settings(),
    )  # fmt: skip
    session.start()
    await_(lambda: fired(sandbox).total() > 2, "the clock to be asked for")
    session.stop()
    assert not posts(sandbox)


def test_a_run_that_is_taken_up_again_hears_of_what_was_filled_meanwhile(sandbox, tmp_path):
    run_dir = tmp_path / "run"
    sandbox.hand.fault(Fault("cancel", "http_500", times=10_000))
    hasty = msgspec.structs.replace(settings(), stop_ms=300)
    session = rf.LiveSession(
        Once, sandbox.venue(settle_ms=250.0), symbols=SYMBOLS, run_dir=run_dir, intervals=hasty
    )
    session.start()
    await_(lambda: "open" in set(session.orders["status"]), "the order to work")
    order_id = session.orders["order_id"].iloc[0]
    session.stop()
    sandbox.hand.hold()
    sandbox.hand.fill(order_id, 10.0)  # while nobody listens, and nothing was held before
    with trading(sandbox, run_dir, Once) as session:
        await_(lambda: len(session.fills) == 1, "the fill of the meantime")


def test_what_is_left_of_a_fee_in_units_does_not_keep_a_session_from_being_flat(sandbox, tmp_path):
    with trading(sandbox, tmp_path / "run") as session:
        await_(lambda: len(session.fills) > 3, "fills")
        session.flatten("enough")
        await_(lambda: session.state == "halted", "the end of all positions")
        # A fee leaves less than a lot, an order that was canceled half filled maybe more: of each
        # symbol less than the exchange takes an order for, which is 5 USDT at prices near 100.
        assert all(abs(qty) * 100.0 < 6.0 for qty in session.positions.values())
    assert any(fill.kept > 0.0 for fill in happened(tmp_path / "run", Fill))


@pytest.fixture
def bybit(tmp_path):
    made = rf.sandbox.Bybit(tmp_path / "v.jsonl", symbols=SYMBOLS, timeframe="1min", speed=30.0)
    with made as running:
        yield running


def test_another_exchange_is_traded_the_same_way_while_its_answers_fail(bybit, tmp_path):
    most = answers_fail(bybit)
    with trading(bybit, tmp_path / "run") as session:
        await_(lambda: fired(bybit).total() == most, "the last fault")
        settled(session)
    assert set(posts(bybit).values()) == {1}
    assert any(fill.kept > 0.0 for fill in happened(tmp_path / "run", Fill))


def test_another_exchange_is_traded_the_same_way_while_its_streams_fail(bybit, tmp_path):
    for fault in (*NEWS, *NOISE, Fault("order_update", "close", nth=9, every=20, times=2)):
        bybit.hand.fault(fault)
    questions_fail(bybit, ("positions", "open_orders", "executions"))
    with trading(bybit, tmp_path / "run") as session:
        await_(lambda: fired(bybit).total() >= 25, "the faults")
        bybit.hand.disconnect()
        settled(session)
        bybit.hand.trade(SYMBOLS[1], "buy", 5.0)


def test_no_key_is_in_any_file_of_a_run(sandbox, tmp_path):
    canaries = ("CANARYKEYOFBINANCE99", "canary-secret-of-binance")
    venue = sandbox.venue(api_key=canaries[0], secret_key=canaries[1], timeout_ms=300.0)
    session = rf.LiveSession(
        Lively, venue, symbols=SYMBOLS, run_dir=tmp_path / "run", intervals=settings()
    )
    session.start()
    await_(lambda: session.status.phase == "failed", "the exchange's refusal")
    with pytest.raises(rf.SessionError, match="Invalid API-key") as refused:
        session.stop()
    told = "".join(traceback.format_exception(refused.value))
    files = [p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()]
    for canary in canaries:
        assert not any(canary.encode() in content for content in files)
        assert canary not in repr(session) + repr(venue) + told
    assert canaries[1] not in sandbox.ledger.read_text()
