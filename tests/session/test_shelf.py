"""Shelf and rest together are what was copied, whatever happened in between."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimeflow.errors import SessionError
from regimeflow.model.events import Fill, OrderUpdate
from regimeflow.model.order import Happening, Order, Status
from regimeflow.session.shelf import Column, Shelf, Shelved, Standing, clear_away


def is_over(key, order):
    return not order.working


def always(key, value):
    return True


class Desk:
    """Grows as a session does: orders, executions, fills, and rows that are thinned out."""

    def __init__(self):
        self.orders, self.executions, self.fills, self.rows = {}, {}, [], []
        self.count = 0

    def columns(self):
        return {
            "engine.orders": Column(self, "orders", is_over),
            "engine.executions": Column(self, "executions", always),
            "link.fills": Column(self, "fills", always),
            "drift.rows": Column(self, "rows", always, lambda: self.count - len(self.rows), 4),
        }

    def told(self):
        """Return all of it as plain values, in order."""
        orders = [(k, msgspec.structs.astuple(o)) for k, o in self.orders.items()]
        return [orders, list(self.executions), self.fills, self.rows]


def send(desk, shelf, draw):
    name = f"o{len(desk.orders)}"
    order = Order(name, "A", "buy", 1.0, "market", None, None, "day", 0, False, "", 1, 1, 9.5)
    order.move(Happening.SENT, 1)
    desk.orders[name] = order


def fill(desk, shelf, draw):
    if desk.orders:
        name = f"o{draw(st.integers(0, len(desk.orders) - 1))}"
        at = len(desk.fills) + 2
        event = Fill(at, at, f"x{at}", name, "A", "buy", 1.0, 10.0 + at)
        order = desk.orders[name]
        order.filled += 1.0
        order.move(Happening.FILLED, at)
        desk.executions[event.execution_id] = None
        desk.fills.append(event)
        shelf.follow(event, ())


def say(desk, shelf, draw):
    """A word on an order, late or not."""
    if desk.orders:
        name = f"o{draw(st.integers(0, len(desk.orders) - 1))}"
        event = OrderUpdate(5, 5, name, "cancel_rejected", f"too late {draw(st.integers(0, 99))}")
        desk.orders[name].on_update(event)
        shelf.follow(event, ())


def note(desk, shelf, draw):
    desk.rows.append((desk.count, draw(st.floats())))
    desk.count += 1
    if len(desk.rows) > 8:
        desk.rows[:4] = desk.rows[:4:2]


def put(desk, shelf, draw):
    shelf.put(draw(st.integers(1, 5)))


STEPS = st.sampled_from([send, send, fill, fill, say, note, note, put])


def copied(shelf: Shelf, folder: Path, slice_: int) -> tuple[Desk, Shelved]:
    """Copy what a shelf stands for, as a snapshot and its reader do."""
    shelf.put(slice_)
    rests = shelf.rests()
    entries = {
        (name, column.attribute): rests.state(column.owner, {})[column.attribute]
        for name, column in shelf._columns.items()
    }
    standing = shelf.file.write(shelf.pages())
    shelved, made = Shelved(folder, standing), Desk()
    for (name, attribute), rest in entries.items():
        # A copy, as a pickle makes one: the shelf is not to hold what the desk goes on changing.
        again = [(k, v.__copy__() if isinstance(v, Order) else v) for k, v in rest.entries]
        setattr(made, attribute, shelved.whole(name, rest.listed, again))
    return made, shelved


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_shelf_and_rest_together_are_what_was_copied(data):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        desk, shelf = Desk(), Shelf(folder)
        shelf._columns = desk.columns()
        for _ in range(data.draw(st.integers(1, 4))):
            for step in data.draw(st.lists(STEPS, max_size=25)):
                step(desk, shelf, data.draw)
            made, shelved = copied(shelf, folder, data.draw(st.integers(1, 5)))
            assert repr(made.told()) == repr(desk.told())
            if data.draw(st.booleans()):  # another life goes on from here
                for step in data.draw(st.lists(st.just(send) | st.just(note), max_size=6)):
                    step(desk, shelf, data.draw)
                shelf.put()
                shelf.file.write(shelf.pages())  # nobody will stand on that
                desk, shelf = made, Shelf(folder)
                desk.count = data.draw(st.integers(0, 3)) + len(desk.rows)
                shelf.take_over(shelved)
                shelf.begin(epoch=2)
                shelf._columns = desk.columns()
                shelf._go_on()


def test_an_order_that_lies_there_is_referred_to_and_one_that_is_loose_is_not(tmp_path):
    desk, shelf = Desk(), Shelf(tmp_path)
    shelf._columns = desk.columns()
    send(desk, shelf, None)
    send(desk, shelf, None)
    desk.orders["o0"].move(Happening.CANCELED, 3)
    shelf.put()
    assert shelf.rests().place(desk.orders["o0"]) == ("engine.orders", "o0")
    assert shelf.rests().place(desk.orders["o1"]) is None
    late = OrderUpdate(5, 5, "o0", "cancel_rejected", "too late")
    desk.orders["o0"].on_update(late)
    shelf.follow(late, ())
    shelf.put(0)
    assert shelf.rests().place(desk.orders["o0"]) is None
    shelf.put()
    assert shelf.rests().place(desk.orders["o0"]) == ("engine.orders", "o0")
    other = Order(*msgspec.structs.astuple(desk.orders["o0"]))
    assert shelf.rests().place(other) is None
    status = Shelved(tmp_path, shelf.file.write(shelf.pages())).order("engine.orders", "o0").status
    assert status is Status.CANCELED  # the desk compares by identity


def test_a_shelf_is_begun_anew_in_a_life_that_was_not_begun_from_one(tmp_path):
    shelf = Shelf(tmp_path)
    shelf.begin(epoch=3)
    assert shelf.file.write([]) == Standing()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "shelf-0001.pkl").write_bytes(b"of an earlier life")
    (tmp_path / "shelf-0003.pkl").write_bytes(b"of one that ended before it began")
    shelf.file.write([b"page"])
    assert (tmp_path / "shelf-0003.pkl").read_bytes() == b"page"
    assert (tmp_path / "shelf-0003.pkl").stat().st_mode & 0o777 == 0o600
    clear_away(tmp_path, shelf.file.path)
    assert [path.name for path in tmp_path.iterdir()] == ["shelf-0003.pkl"]


@pytest.mark.parametrize("name", ["../shelf-0001.pkl", "strategy.pkl", "shelf-0001.pkl.part"])
def test_nothing_else_is_taken_for_a_shelf(name, tmp_path):
    with pytest.raises(SessionError, match="another name"):
        Shelved(tmp_path, Standing(name, 3, "0" * 64))
