"""What an execution has come to is booked once, whoever hears of it and how often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regimeflow.model.events import Adjusted, Fill
from regimeflow.venues.booked import Booked
from regimeflow.venues.port import Corrected

NUMBERS = st.floats(0.01, 1e6)
FILLS = st.builds(
    Fill,
    ts=st.just(1),
    seen=st.just(0),
    execution_id=st.sampled_from(["x", "y"]),
    order_id=st.just("run-1"),
    symbol=st.just("AAA"),
    side=st.just("buy"),
    qty=NUMBERS,
    price=NUMBERS,
    fee=NUMBERS,
)
#: A fill, what one has come to, or a process that begins anew.
SAID = st.one_of(FILLS, st.builds(Corrected, FILLS, st.just("so it was"), st.booleans()), st.none())
UNITS = 100.0


def booked():
    return Booked(lambda symbol: UNITS)


@given(st.lists(SAID, max_size=30))
def test_what_is_booked_in_the_end_is_what_was_last_said(said):
    books, journal = booked(), []

    def write(event):
        if type(event) is not Fill or event.execution_id not in books.terms:
            journal.append(event)
        books.take(event)
        for owed in books.owed(event.execution_id):
            write(owed)

    for thing in said:
        if thing is None:
            books = booked()
            for event in journal:
                books.take(event)
        elif type(thing) is Fill:
            write(thing)
        else:
            known = thing.fill.execution_id in books.terms
            fee = books.terms[thing.fill.execution_id][2] if known else 0.0
            for owed in books.came_to(thing):
                write(owed)
            assert books.came_to(thing) == []
            if known:
                f = thing.fill
                qty, price, paid = books.terms[f.execution_id]
                assert near(qty, f.qty, f.qty)
                wanted = f.fee if thing.fee_known else fee
                assert near(qty * price * UNITS + paid, f.qty * f.price * UNITS + wanted, 1e14)
    cash = {name: -qty * price * UNITS - fee for name, (qty, price, fee) in books.terms.items()}
    for name, left in cash.items():
        moved = [e for e in journal if e.execution_id == name]
        assert near(sum(map(paid_by, moved)), left, 1e14)


def paid_by(event):
    if type(event) is Adjusted:
        return event.cash
    return -event.qty * event.price * UNITS - event.fee


def near(one, other, scale):
    return abs(one - other) <= 1e-8 * (1.0 + scale)
