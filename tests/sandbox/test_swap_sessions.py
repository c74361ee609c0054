"""Whole sessions on linear swaps: ccxt's own client against Bybit's sandbox, funding included."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from broker_sessions import answers_fail, questions_fail
from child import settings
from sessions import NEWS, NOISE, fired, happened, judged, sent, settled, violations
from sockets import Child, await_

import regimeflow as rf
from regimeflow.errors import Refused
from regimeflow.model.events import Adjusted, Cancel, Fill, Reconciled, Start, Submit
from regimeflow.sandbox.script import Fault

A, B = SYMBOLS = ("AAA/USDT:USDT", "BBB/USDT:USDT")
SCRIPT = Path(__file__).with_name("swap_child.py")


class Lively(rf.Strategy):
    """Long and short by turns, with orders of every kind, and some of them taken back."""

    def on_start(self, ctx):
        self.count = 0

    def on_tick(self, ctx, tick):
        self.count += 1
        if self.count % 5:
            return
        rules = ctx.instrument(tick.symbol)
        qty = rules.round_qty(float(ctx.rng.integers(1, 40)) / 7.0)
        side = ctx.buy if ctx.rng.integers(2) else ctx.sell
        side(tick.symbol, qty)
        away = 0.99 if side == ctx.buy else 1.01
        side(tick.symbol, qty, limit=rules.round_price(tick.price * away))
        if ctx.rng.integers(3) == 0:
            ctx.close(tick.symbol)
        for order in ctx.orders(tick.symbol)[:2]:
            ctx.cancel(order)


class Holds(rf.Strategy):
    """Five of the first symbol, and the second sold short."""

    def on_tick(self, ctx, tick):
        wanted = 5.0 if tick.symbol == A else -5.0
        if ctx.position(tick.symbol) != wanted and not ctx.orders(tick.symbol):
            ctx.target(tick.symbol, qty=wanted)


@pytest.fixture
def bybit(tmp_path):
    made = rf.sandbox.Bybit(tmp_path / "v.jsonl", symbols=SYMBOLS, timeframe="1min", speed=30.0)
    with made as running:
        yield running


def trading(bybit, run_dir, strategy=Lively, **how):
    venue = bybit.venue(timeout_ms=400.0, settle_ms=250.0)
    return judged(bybit, run_dir, strategy, venue, symbols=SYMBOLS, **how)


def posts(bybit):
    return sent(bybit, "POST /v5/order/create ", lambda text: json.loads(text)["orderLinkId"])


def booked(run_dir):
    return [event for event in happened(run_dir, Adjusted) if event.payment_id]


def test_swaps_are_traded_both_ways_while_answers_fail(bybit, tmp_path):
    most = answers_fail(bybit)
    with trading(bybit, tmp_path / "run") as session:
        await_(lambda: fired(bybit).total() == most, "the last fault")
        settled(session)
    assert set(posts(bybit).values()) == {1}
    fills = happened(tmp_path / "run", Fill)
    assert {fill.kept for fill in fills} == {0.0}
    held = dict.fromkeys(SYMBOLS, 0.0)
    least = most = 0.0
    for fill in fills:
        held[fill.symbol] += fill.qty if fill.side == "buy" else -fill.qty
        least, most = min(least, held[fill.symbol]), max(most, held[fill.symbol])
    assert least < -0.1
    assert most > 0.1


def test_funding_is_booked_while_streams_and_questions_fail(bybit, tmp_path):
    for fault in (*NEWS, *NOISE):
        bybit.hand.fault(fault)
    questions_fail(bybit, ("positions", "balances", "open_orders", "executions"))
    with trading(bybit, tmp_path / "run") as session:
        for rate in (0.001, -0.002, 0.0005):
            settled(session)
            for symbol in SYMBOLS:
                bybit.hand.fund(symbol, rate)
        await_(lambda: fired(bybit).total() >= 25, "the faults")
        paid = sum(row.kind == "payment" for row in bybit.rows())
        await_(lambda: len(booked(tmp_path / "run")) == paid, "all payments")
    assert paid >= 3


def test_what_was_paid_is_in_the_books_and_the_account_agrees(bybit, tmp_path):
    run_dir = tmp_path / "run"
    with trading(bybit, run_dir, Holds, limits=None) as session:
        await_(lambda: session.positions == {A: 5.0, B: -5.0}, "both positions")
        bybit.hand.hold()
        bybit.hand.fund(A, 0.001)
        bybit.hand.fund(B, 0.001)
        await_(lambda: len(booked(run_dir)) == 2, "both payments")
        paid, received = sorted(event.cash for event in booked(run_dir))
        assert paid < 0.0 < received
        start = happened(run_dir, Start)[0]
        assert [rules.margin for rules in start.instruments] == [0.1, 0.1]
        fees = {fill.execution_id: fill.fee for fill in happened(run_dir, Fill)}
        await_(lambda: session.account is not None, "the account")
        venue = bybit.venue()
        venue.connect(lambda said: None)
        venue.instruments(SYMBOLS)
        theirs = venue.balances()
        venue.close()
        assert session.account.equity == pytest.approx(theirs.equity, abs=1e-6)
        assert session.account.cash == pytest.approx(float(bybit.hand.books()["cash"]), abs=1e-6)
    report = session.report()
    assert report.payments["cash"].tolist() == [event.cash for event in booked(run_dir)]
    assert report.fills["fee"].sum() == pytest.approx(sum(fees.values()))


def test_funding_is_booked_once_across_a_kill_and_while_nobody_was_there(bybit, tmp_path):
    run_dir = tmp_path / "run"
    with Child(bybit.port, run_dir, script=SCRIPT) as child:
        child.wait_for("started")
        child.wait_for("tick", 40)
        await_(lambda: len(bybit.hand.books()["held"]) == 2, "both positions")
        bybit.hand.fund(A, 0.001)
        await_(lambda: len(booked(run_dir)) == 1, "the first payment")
        child.kill()
    bybit.hand.fund(A, 0.002)
    for _ in range(2):
        with Child(bybit.port, run_dir, script=SCRIPT) as child:
            child.wait_for("started")
            child.wait_for("tick", 20)
            await_(lambda: len(booked(run_dir)) == 2, "the payment of the meantime")
            child.kill()
    with Child(bybit.port, run_dir, script=SCRIPT) as child:
        child.wait_for("started")
        bybit.hand.fund(B, 0.001)
        await_(lambda: len(booked(run_dir)) == 3, "the last payment")
        child.stop()
    assert len({event.payment_id for event in booked(run_dir)}) == 3
    assert violations(bybit, run_dir) == []


def test_an_account_that_is_set_to_hedge_mode_meanwhile_is_held_back(bybit, tmp_path):
    run_dir = tmp_path / "run"
    session = rf.LiveSession(
        Holds, bybit.venue(timeout_ms=400.0, settle_ms=250.0), symbols=SYMBOLS, run_dir=run_dir,
        intervals=msgspec.structs.replace(settings(), stop_ms=500),
    )  # fmt: skip
    session.start()
    await_(lambda: session.positions == {A: 5.0, B: -5.0}, "both positions")
    bybit.hand.fault(Fault("positions", "hedge"))
    why = lambda: [r.why for r in happened(run_dir, Reconciled) if not r.ok]  # noqa: E731
    await_(lambda: any("one-way mode" in text for text in why()), "the sentence")
    session.stop()


def order(side="buy", qty=1.0, limit=50.0, **terms):
    kind = "market" if limit is None else "limit"
    name = f"test-{next(_names)}"
    return Submit(1, 1, name, A, side, qty, kind, limit, None, "gtc", **terms)


_names = iter(range(10**6))


@pytest.fixture
def still(tmp_path):
    """An exchange whose prices stand still, and where every order fills in one piece."""
    made = rf.sandbox.Bybit(tmp_path / "v.jsonl", symbols=SYMBOLS, timeframe="1min", whole=1.0)
    with made as running:
        running.hand.hold()
        yield running


@pytest.fixture
def venue(still):
    still.hand.tick(A, 100.0)
    made = still.venue(settle_ms=500.0)
    made.connect(lambda said: None)
    yield made
    made.close()


def test_an_account_in_hedge_mode_is_refused_with_one_sentence(still, venue):
    still.hand.fault(Fault("balances", "hedge"))
    venue.balances()
    with pytest.raises(Refused) as raised:
        venue.instruments([A])
    assert raised.value.code == "hedge_mode"
    assert str(raised.value) == (
        f"bybit keeps long and short positions in {A} apart (hedge mode): set the account to "
        "one-way mode"
    )


UNFIT = {
    "BTC/USD:BTC": "an inverse contract",
    "AAA/USDT": "a spot market",
    "AAA/USDT:USDT-261225": "a contract of another kind",
    "AAA/USDT:USDT-261225-100-C": "a contract of another kind",
}


@pytest.mark.parametrize("symbol", UNFIT)
def test_what_is_no_linear_swap_is_refused_with_one_sentence(venue, symbol):
    for ask in (lambda: venue.instruments([symbol]), lambda: venue.subscribe([symbol], 0)):
        with pytest.raises(Refused, match=f"^{symbol} is {UNFIT[symbol]}"):
            ask()


def test_leverage_stays_as_the_account_has_it_and_is_shown(still, venue):
    (rules,) = venue.instruments([A])
    assert (rules.margin, rules.multiplier, rules.shortable) == (0.1, 1.0, True)
    assert venue.terms[A].leverage == 10.0
    asked = [row.detail["text"] for row in still.rows() if row.kind == "bytes"]
    assert not [text for text in asked if "set-leverage" in text or "switch" in text]


def test_an_exit_is_sent_as_one_that_can_only_reduce(still, venue):
    venue.submit(order(limit=None))
    venue.submit(order("sell", limit=None, reduce_only=True))
    with pytest.raises(Refused) as raised:
        venue.submit(order("sell", limit=None, reduce_only=True))
    assert raised.value.code == "110017"
    assert venue.positions() == []
    forms = [
        json.loads(row.detail["text"].split(" ", 2)[2])
        for row in still.rows()
        if row.kind == "bytes" and row.detail["text"].startswith("POST /v5/order/create ")
    ]
    assert [form.get("reduceOnly") for form in forms] == [None, True, True]


def test_more_than_the_margin_can_carry_is_a_definite_no(venue):
    with pytest.raises(Refused) as raised:
        venue.submit(order(qty=110_000.0, limit=None))  # ten times what is there, and more
    assert raised.value.code == "110007"
    venue.submit(order(qty=90_000.0, limit=None))


def test_payments_that_come_by_pages_are_read_to_their_end(still, venue):
    venue.submit(order(qty=5.0, limit=None))
    for _ in range(105):
        still.hand.fund(A, 0.0001)
    venue.instruments([A])
    told = venue.payments(0)
    assert len({payment.payment_id for payment in told}) == len(told) == 105


def test_a_cancel_finds_its_order(still, venue):
    resting = order()
    ack = venue.submit(resting)
    venue.cancel(Cancel(1, 1, resting.order_id), ack.venue_order_id)
    assert venue.order(resting.order_id).status == "canceled"
