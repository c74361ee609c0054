"""Orders folded from a journal stand as they stood in the engine that wrote it."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regimeflow as rf
from regimeflow.engine.engine import Engine
from regimeflow.model.events import Fill, OrderUpdate, Resumed, Start
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Trade
from regimeflow.sandbox.exchange import Exchange
from regimeflow.session.companions import rolling_history
from regimeflow.session.keeper import Keeper

FIELDS = ("status", "qty", "filled", "limit", "remaining", "cancel_pending", "replace_pending")
ORDER = "r-0-1"


class Asks(rf.Strategy):
    """Buys with the first trade; a later one of size 2 grows the order, of size 3 cancels it."""

    def initialize(self, ctx):
        self.mine = None

    def on_tick(self, ctx, trade):
        if self.mine is None:
            self.mine = ctx.buy("A", 10, limit=90.0, tif="gtc")
        elif trade.size == 2.0:
            ctx.replace(self.mine, qty=20.0)
        elif trade.size == 3.0:
            ctx.cancel(self.mine)


def event_of(word, at):
    if word == "resumed":
        return Resumed(at, at, 1)
    if word.startswith("fill"):
        return Fill(at, at, f"f{at}", ORDER, "A", "buy", float(word.split()[1]), 90.0, 0.0)
    if word.startswith("trade"):
        return Trade(at, at, "A", 100.0, float(word.split()[1]))
    qty = 20.0 if word == "replaced" else None
    return OrderUpdate(at, at, ORDER, word, qty=qty)


def lived(words):
    """Return the order of an engine and of a fold that followed it, field by field."""
    start = Start(1, 1, "r", 0, ("A",), (0,), 1e6, instruments=(Instrument("A"),))
    strategy = Asks()
    engine, keeper = Engine(strategy, rolling_history(strategy, start)), Keeper()
    events = [start, *(event_of(w, at) for at, w in enumerate(["trade 1", *words], 2))]
    for event in events:
        keeper.take(event, list(engine.step(event)))
    own, told = engine.desk.orders[ORDER], keeper.fold.orders[ORDER]
    return [{name: getattr(order, name) for name in FIELDS} for order in (own, told)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fill 10, rejected", "filled 10 of 10"),
        ("accepted, fill 4, canceled, rejected", "canceled 4 of 10"),
        ("fill 10, never_sent", "filled 10 of 10"),
        ("accepted, trade 2, fill 10", "open 10 of 10"),
        ("accepted, trade 2, fill 10, replaced", "open 10 of 20"),
        ("accepted, trade 2, fill 10, replace_rejected", "filled 10 of 10"),
        ("accepted, trade 2, replaced, fill 20", "filled 20 of 20"),
        ("resumed", "unknown 0 of 10"),
        ("accepted, resumed", "open 0 of 10"),
    ],
)
def test_what_is_told_of_an_order_leads_where_it_led_the_engine(words, expected):
    own, told = lived(words.split(", "))
    assert told == own
    assert f"{told['status']} {told['filled']:g} of {told['qty']:g}" == expected


WORDS = [
    "accepted", "rejected", "canceled", "expired", "lost", "never_sent", "replaced",
    "cancel_rejected", "replace_rejected", "fill 4", "fill 10", "trade 1", "trade 2", "trade 3",
    "resumed",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=7))
def test_whatever_a_venue_says_the_fold_stands_where_the_engine_does(words):
    own, told = lived(words)
    assert told == own


class Once(rf.Strategy):
    def initialize(self, ctx):
        self.done = False

    def on_tick(self, ctx, trade):
        if not self.done:
            self.done = True
            ctx.buy("AAA", 1)


class Odd(Exchange):
    """Says of each order that it has filled that it was rejected."""

    def _say(self, said):
        super()._say(said)
        if isinstance(said, Fill):
            super()._say(OrderUpdate(said.ts, 0, said.order_id, "rejected", "odd"))


def test_a_venue_that_contradicts_itself_breaks_neither_the_session_nor_its_record(tmp_path):
    exchange = Odd(time.time_ns, [Instrument("AAA")], whole=1.0)
    told = threading.Event()

    session = rf.LiveSession(
        Once(), exchange, symbols=["AAA"], run_dir=tmp_path, cash=10_000.0,
        limits=rf.Limits(max_notional=1e6),
        alert=lambda reason, text: told.set() if reason == "contradiction" else None,
    ).start()  # fmt: skip
    while not told.wait(0.01) and session.status.phase == "running":
        exchange.tick("AAA", 100.0)
    session.stop()
    assert any("cannot be rejected" in text for text in session.log["text"])
    assert list(session.report().orders["status"]) == ["filled"]
    assert rf.attach(tmp_path).status.phase == "stopped"
    assert list(rf.attach(tmp_path).orders["status"]) == ["filled"]
