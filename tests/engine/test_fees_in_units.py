"""A venue that takes its fee out of what was bought: units and money to the last digit; dust."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import regimeflow as rf
from regimeflow.engine.engine import Engine
from regimeflow.engine.reconcile import Books, Snapshot, reconcile
from regimeflow.engine.rolling_history import RollingHistory
from regimeflow.model.events import Command, Fill, OrderUpdate, Start, Submit
from regimeflow.model.instrument import Instrument, Instruments
from regimeflow.model.ledger import Ledger
from regimeflow.model.market import Trade
from regimeflow.model.venue import VenueOrder

PAIR = Instrument("X", tick=0.01, lot=1e-5, min_notional=5.0, shortable=False, unit=1e-8)


class Calls(rf.Strategy):
    """Does with each trade what it was told to."""

    def on_tick(self, ctx, tick):
        name, *arguments = self.todo.pop(0) if self.todo else ("positions",)
        what = getattr(type(ctx), name, None)
        if callable(what):
            getattr(ctx, name)(*arguments)


class Desk:
    """An engine that is fed by hand."""

    def __init__(self, *todo):
        strategy = Calls()
        strategy.todo = list(todo)
        self.engine = Engine(strategy, RollingHistory([("X", 0)], 10, None, 0))
        self.at = 0
        self.do(Start(0, 0, "run", 0, ("X",), (0,), 100_000.0, instruments=(PAIR,)))

    def do(self, event):
        return [o for o in self.engine.step(event) or () if isinstance(o, Submit)]

    def trade(self, price=100.0):
        self.at += 1
        return self.do(Trade(self.at, self.at, "X", price, 1.0, id=str(self.at)))

    def fill(self, order, qty, kept):
        self.at += 1
        self.do(OrderUpdate(self.at, self.at, order.order_id, "accepted"))
        self.at += 1
        done = Fill(
            self.at, self.at, f"x{self.at}", order.order_id, "X", order.side, qty, 100.0,
            kept * 100.0, kept=kept,
        )  # fmt: skip
        return self.do(done)

    @property
    def desk(self):
        return self.engine.desk


def bought():
    made = Desk(("buy", "X", 1.0))
    (order,) = made.trade()
    made.fill(order, 0.99987, 0.00013)
    return made, order


def test_the_order_is_done_and_the_position_has_less():
    made, order = bought()
    assert made.desk.orders[order.order_id].status == "filled"
    assert made.desk.ledger.position("X").qty == 0.99987
    assert made.desk.ledger.cash == pytest.approx(100_000.0 - 100.0, abs=1e-9)
    assert made.desk.reserved == pytest.approx(0.0, abs=1e-9)


@given(
    st.lists(
        st.tuples(
            st.booleans(), st.integers(1, 10**7), st.integers(100, 10**6), st.integers(0, 99)
        ),
        max_size=30,
    )
)
def test_units_and_money_are_those_of_a_decimal_oracle(trades):
    ledger = Ledger(1e6, Instruments({"X": PAIR}))
    cash, units = Decimal(10**6), Decimal(0)
    for buys, lots, cents, bps in trades:
        done, price = Decimal(lots) / 10**5, Decimal(cents) / 100
        kept = (done * bps / 10**4).quantize(Decimal("0.00000001")) * (1 if buys else -1)
        fill = Fill(
            1, 1, "x", "o", "X", "buy" if buys else "sell", float(done - kept), float(price),
            float(abs(kept) * price), kept=float(kept),
        )  # fmt: skip
        assert Decimal(str(fill.executed)) == done
        ledger.book("X", fill.qty if buys else -fill.qty, fill.price, fill.fee)
        cash -= done * price if buys else -done * price
        units += done - kept if buys else -(done - kept)
    assert ledger.position("X").qty == float(units)
    assert ledger.cash == pytest.approx(float(cash), abs=1e-6)


def test_dust_is_no_reason_to_send_anything():
    made, _ = bought()
    made.engine.strategy.todo = [("close", "X")]
    (sale,) = made.trade()
    assert sale.qty == 0.99987
    made.fill(sale, 0.99987, 0.0)
    assert made.desk.flat
    made = Desk(("buy", "X", 1.0))
    (order,) = made.trade()
    made.fill(order, 0.999876, 0.000124)
    made.engine.strategy.todo = [("close", "X"), ("close", "X")]
    (sale,) = made.trade()
    assert sale.qty == 0.99987
    made.fill(sale, 0.99987, 0.0)
    assert made.desk.ledger.position("X").qty == 6e-6
    assert made.trade() == []  # close again: too little for an order
    assert made.desk.flat
    assert not [o for o in made.desk.orders.values() if o.status == "denied"]


@pytest.mark.parametrize(
    ("held", "price", "dust"),
    [(6e-6, 100.0, True), (0.04, 100.0, True), (0.05, 100.0, False), (1.0, 4.0, True)],
)
def test_dust_is_what_the_venue_takes_no_order_for(held, price, dust):
    made = Desk()
    made.trade(price)
    made.desk.ledger.open("X", held, 100.0)
    assert made.desk.dust("X") is dust
    assert made.desk.flat is dust


def test_a_session_that_is_flattened_ends_halted_with_dust():
    made = Desk(("buy", "X", 1.0))
    (order,) = made.trade()
    made.fill(order, 0.999876, 0.000124)
    made.at += 1
    (sale,) = made.do(Command(made.at, made.at, "flatten", "enough", "user"))
    assert made.desk.state == "reducing"
    made.fill(sale, 0.99987, 0.0)
    assert made.desk.state == "halted"


def test_a_comparison_finds_an_order_done_by_what_was_received_and_kept():
    made = Desk(("buy", "X", 1.0))
    (order,) = made.trade()
    name = order.order_id
    books = Books(
        run="run", orders=made.desk.orders, working=[made.desk.orders[name]], venue_ids={},
        executions=set(), held={}, foreign=None, heard={}, lots={"X": PAIR.lot},
    )  # fmt: skip
    row = VenueOrder(name, "9", "X", "buy", 1.0, 1.0, "filled", 5)
    fill = Fill(4, 0, "e", "9", "X", "buy", 0.999, 100.0, 0.1, kept=0.001)
    books.venue_ids["9"] = name
    found = reconcile(books, Snapshot(asked_at=9, looked_up=(row,), fills=(fill,)))
    assert [type(event) for event in found.events] == [Fill]
    assert not found.incomplete
