"""Our books against the venue's: the invariants, and a table of single differences."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimeflow.engine.reconcile import Books, Snapshot, reconcile
from regimeflow.model.events import Fill, OrderUpdate, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.order import Order
from regimeflow.model.venue import Holding, Payment, VenueOrder

SPY = Instrument("SPY")


def order(name: str = "run-0-1", qty: float = 10.0, side: str = "buy", status: str = "open"):
    made = Order.of(Submit(1, 1, name, "SPY", side, qty, "limit", 100.0))
    if status != "sent":
        made.on_update(OrderUpdate(2, 2, name, {"open": "accepted", "unknown": "lost"}[status]))
    if status == "open":
        made.venue_order_id = f"v-{name}"
    return made


class Ours:
    """Our side: orders, booked executions and a position that follows from them."""

    def __init__(self, *orders: Order) -> None:
        self.orders = {o.id: o for o in orders}
        self.executions: set[str] = set()
        self.held = 0.0
        self.foreign: dict[str, float] | None = {}
        self.heard: dict[str, int] = {}

    def books(self, by_execution: bool = True) -> Books:
        return Books(
            run="run",
            orders=self.orders,
            working=[o for o in self.orders.values() if o.working],
            venue_ids={o.venue_order_id: o.id for o in self.orders.values() if o.venue_order_id},
            executions=self.executions,
            held={"SPY": self.held} if self.held else {},
            foreign=self.foreign,
            heard=self.heard,
            lots={"SPY": 1.0},
            by_execution=by_execution,
        )

    def apply(self, event: Fill | OrderUpdate) -> None:
        own = self.orders[event.order_id]
        if isinstance(event, Fill):
            assert event.execution_id not in self.executions
            self.executions.add(event.execution_id)
            own.on_fill(event, SPY)
            self.held += event.qty if event.side == "buy" else -event.qty
        else:
            own.on_update(event)


def row(own: Order, status: str = "open", filled: float = 0.0, **more) -> VenueOrder:
    return VenueOrder(
        own.id, own.venue_order_id or f"v-{own.id}", "SPY", own.side, own.qty, filled, status, 50,
        own.limit, **more,
    )  # fmt: skip


def execution(own: Order, qty: float, name: str = "x1") -> Fill:
    return Fill(40, 0, name, own.id, "SPY", own.side, qty, 100.0)


def snapshot(**what) -> Snapshot:
    return Snapshot(asked_at=100, **what)


def told(found) -> list[str]:
    return [e.what if isinstance(e, OrderUpdate) else f"fill {e.qty:g}" for e in found.events]


# our order, what the venue shows of it, its executions -> events, looked up, incomplete
CASES = {
    "nothing new": ("open", ("open", 0), [], [], 0, 0),
    "an unknown order is there": ("unknown", ("open", 0), [], ["accepted"], 0, 0),
    "an order without an answer is there": ("sent", ("open", 0), [], ["accepted"], 0, 0),
    "canceled behind our back": ("open", ("canceled", 0), [], ["canceled"], 0, 0),
    "expired": ("open", ("expired", 0), [], ["expired"], 0, 0),
    "rejected after all": ("unknown", ("rejected", 0), [], ["rejected"], 0, 0),
    "a lost fill": ("open", ("open", 4), [4], ["fill 4"], 0, 0),
    "filled and not told": ("open", ("filled", 10), [4, 6], ["fill 4", "fill 6"], 0, 0),
    "partly filled, then canceled": ("open", ("canceled", 4), [4], ["fill 4", "canceled"], 0, 0),
    "more filled than executions": ("open", ("open", 4), [], [], 0, 1),
    "canceled, executions not there yet": ("open", ("canceled", 4), [], [], 0, 1),
    "not among the working ones": ("open", None, [], [], 1, 0),
    "unknown and not there": ("unknown", None, [], [], 1, 0),
    "gone, but its executions are there": ("open", None, [10], ["fill 10"], 0, 0),
    "a status nobody knows": ("open", ("pending_weird", 0), [], [], 0, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_what_one_difference_means(name):
    status, shown, fills, events, looked_up, incomplete = CASES[name]
    own = order(status=status)
    ours = Ours(own)
    rows = [] if shown is None else [row(own, shown[0], float(shown[1]))]
    found = reconcile(
        ours.books(),
        snapshot(
            working=rows,
            fills=[execution(own, float(q), f"x{i}") for i, q in enumerate(fills)],
        ),
    )
    assert told(found) == events
    assert len(found.look_up) == looked_up
    assert len(found.incomplete) == incomplete
    assert bool(found.unmatched) == (name == "a status nobody knows")


def test_what_was_not_answered_says_nothing():
    ours = Ours(order())
    found = reconcile(ours.books(), snapshot())
    assert not (found.events)
    assert not (found.look_up)
    assert not (found.unmatched)
    assert found.foreign is None


def test_an_order_that_was_heard_of_later_is_passed_over():
    own = order()
    ours = Ours(own)
    ours.heard[own.id] = 100
    found = reconcile(ours.books(), snapshot(working=[row(own, "canceled")]))
    assert not found.events


def test_a_row_with_less_filled_than_is_booked_is_older():
    own = order()
    ours = Ours(own)
    ours.apply(execution(own, 6.0))
    assert not reconcile(ours.books(), snapshot(working=[row(own, "canceled", 4.0)])).events


def test_a_row_from_before_a_known_change_rolls_nothing_back():
    own = order()
    ours = Ours(own)
    own.on_update(OrderUpdate(60, 60, own.id, "replaced", qty=20.0, limit=98.0))
    stale = msgspec.structs.replace(row(own), qty=10.0, limit=100.0)  # of 50, by the venue's clock
    books = msgspec.structs.replace(ours.books(), changed={own.id: 60})
    assert not reconcile(books, snapshot(working=[stale])).events
    (event,) = reconcile(ours.books(), snapshot(working=[stale])).events
    assert event.what == "replaced"


def test_orders_that_are_not_ours_are_reported():
    foreign = VenueOrder("someone-1", "v9", "SPY", "buy", 5.0, 0.0, "open")
    found = reconcile(Ours().books(), snapshot(working=[foreign]))
    assert found.foreign_orders == ["v9"]
    assert not found.unmatched


def test_an_order_with_our_name_that_stands_in_no_journal_holds_its_symbol_back():
    stray = VenueOrder("run-3-7", "v9", "SPY", "buy", 5.0, 0.0, "open")
    assert "SPY" in reconcile(Ours().books(), snapshot(working=[stray])).unmatched


def test_an_order_that_is_over_here_and_works_there_holds_its_symbol_back():
    own = order()
    own.on_update(OrderUpdate(3, 3, own.id, "canceled"))
    assert "SPY" in reconcile(Ours(own).books(), snapshot(working=[row(own)])).unmatched


@pytest.mark.parametrize(
    ("heard", "status", "moving"),
    [(None, "open", set()), (101, "open", {"SPY"}), (99, "open", set()), (None, "sent", {"SPY"})],
)
def test_what_is_not_ours_cannot_be_told_while_ours_is_in_motion(heard, status, moving):
    """Adopted then, a fill on its way would be taken for somebody else's position for good."""
    own = order(status=status)
    ours = Ours(own)
    ours.foreign, ours.held = None, 1.0
    if heard is not None:
        ours.heard = {"SPY": heard}
    working = [row(own)] if status == "open" else []
    found = reconcile(ours.books(), snapshot(working=working, positions=[]))
    assert found.moving == moving
    ours.foreign = {}
    assert reconcile(ours.books(), snapshot(working=working, positions=[])).moving == set()


def test_what_was_on_the_account_before_is_foreign_and_later_differences_are_not():
    ours = Ours()
    ours.foreign = None
    first = reconcile(ours.books(), snapshot(positions=[Holding("SPY", 7.0), Holding("X", 1.0)]))
    assert first.foreign == {"SPY": 7.0, "X": 1.0}
    assert not first.unmatched
    ours.foreign = first.foreign
    second = reconcile(ours.books(), snapshot(positions=[Holding("SPY", 4.0), Holding("X", 9.0)]))
    assert set(second.unmatched) == {"SPY"}  # X is not ours to watch
    assert second.foreign == {"SPY": 7.0, "X": 9.0}


def test_a_change_that_was_made_and_not_told():
    own = order()
    own.replace_pending = True
    changed = msgspec.structs.replace(row(own), qty=5.0, limit=99.0)
    (event,) = reconcile(Ours(own).books(), snapshot(working=[changed])).events
    assert (event.what, event.qty, event.limit) == ("replaced", 5.0, 99.0)
    (event,) = reconcile(Ours(own).books(), snapshot(working=[row(own)])).events
    assert event.what == "replace_rejected"


def test_without_executions_a_fill_is_made_of_what_the_order_says():
    own = order()
    ours = Ours(own)
    ours.apply(execution(own, 2.0))
    shown = row(own, "filled", 10.0, average_price=104.0)
    (fill,) = reconcile(ours.books(by_execution=False), snapshot(working=[shown])).events
    # 10 at 104 in all, of which 2 at 100 are booked: 8 at 105.
    assert (fill.qty, fill.price) == (8.0, 105.0)
    again = reconcile(ours.books(by_execution=False), snapshot(working=[shown])).events[0]
    assert fill.execution_id == again.execution_id


@st.composite
def venues(draw):
    """A venue's true story of some orders, and the part of it that we have heard."""
    ours, rows, fills, position = Ours(), [], [], 0.0
    for i in range(draw(st.integers(1, 4))):
        own = order(
            f"run-0-{i}",
            float(draw(st.integers(1, 20))),
            draw(st.sampled_from(["buy", "sell"])),
            draw(st.sampled_from(["sent", "open", "unknown"])),
        )
        ours.orders[own.id] = own
        left, parts = own.qty, []
        for j in range(draw(st.integers(0, 3))):
            if left > 0:
                qty = float(draw(st.integers(1, int(left))))
                parts.append(execution(own, qty, f"x{i}.{j}"))
                left -= qty
        filled = own.qty - left
        status = "filled" if not left else draw(st.sampled_from(["open", "canceled", "expired"]))
        position += sum(f.qty if f.side == "buy" else -f.qty for f in parts)
        for part in parts:
            if draw(st.booleans()):
                ours.apply(part)
        fills += parts
        rows.append(row(own, status, filled))
    return ours, rows, fills, position, draw(st.permutations(range(len(fills))))


@settings(max_examples=300, deadline=None)
@given(venues(), st.data())
def test_applied_the_findings_explain_everything(story, data):
    ours, rows, fills, position, shuffle = story
    shuffled = [fills[i] for i in shuffle]
    doubled = shuffled + data.draw(st.lists(st.sampled_from(shuffled or [None]), max_size=3))
    what = snapshot(
        working=[r for r in rows if r.status == "open"],
        looked_up=[r for r in rows if r.status != "open"],
        fills=[f for f in doubled if f is not None],
        positions=[Holding("SPY", position)] if position else [],
    )
    for event in reconcile(ours.books(), what).events:
        ours.apply(event)
    again = reconcile(ours.books(), what)
    assert not (again.events)
    assert not (again.look_up)
    assert not (again.incomplete)
    assert not (again.unmatched)
    assert ours.held == position
    for shown in rows:
        own = ours.orders[shown.order_id]
        assert own.filled == shown.filled
        assert own.status == shown.status


@settings(max_examples=200, deadline=None)
@given(venues(), st.sets(st.sampled_from(["working", "fills", "positions"])))
def test_what_fails_ends_no_order(story, failed):
    ours, rows, fills, position, _ = story
    answers = {
        "working": [r for r in rows if r.status == "open"],
        "fills": fills,
        "positions": [Holding("SPY", position)],
    }
    kept = {name: answer for name, answer in answers.items() if name not in failed}
    for event in reconcile(ours.books(), snapshot(**kept)).events:
        assert isinstance(event, Fill) or event.what == "accepted"


PAID = Payment("p1", 40, "SPY", -6.0)
SHARES = [
    # ours, somebody else's -> what is ours of six paid
    (3.0, 0.0, -6.0),
    (0.0, 0.0, -6.0),  # sold since
    (2.0, 1.0, -4.0),
    (0.0, 3.0, 0.0),
    (-1.0, 1.0, -6.0),  # nothing is held in all by now: nobody can tell
    (-1.0, 3.0, 0.0),
]


@pytest.mark.parametrize(("held", "foreign", "cash"), SHARES)
def test_a_payment_is_booked_once_and_of_it_what_is_ours(held, foreign, cash):
    ours = Ours()
    ours.held, ours.foreign = held, {"SPY": foreign} if foreign else {}
    shown = snapshot(payments=[PAID, PAID, Payment("p2", 40, "BTC/USDT:USDT", 1.0)])
    (event,) = reconcile(ours.books(), shown).events
    assert (event.payment_id, event.cash, event.qty, event.ts) == ("p1", cash, 0.0, 40)
    assert event.is_cost
    ours.executions.add("p1")
    assert not reconcile(ours.books(), shown).events
