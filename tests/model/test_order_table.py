"""An order's life: every pair of status and happening, and the handle that strategies hold."""

import itertools

import pytest

from regimeflow.model.events import Fill, OrderUpdate, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.order import (
    MOVES,
    TERMINAL,
    Happening,
    IllegalMove,
    Order,
    OrderHandle,
    Status,
)

STATUSES = sorted(v for k, v in vars(Status).items() if k.isupper())
HAPPENINGS = sorted(v for k, v in vars(Happening).items() if k.isupper())
SECOND = 1_000_000_000


def order(status: str = Status.CREATED, qty: float = 10.0) -> Order:
    made = Order("r-0-1", "SPY", "buy", qty, "limit", 100.0, None, "gtc", 0, False, "", 0, 1, 101.0)
    made.status = status
    return made


def fill(qty: float, price: float = 100.0, n: int = 1, fee: float = 0.0) -> Fill:
    return Fill(n * SECOND, n * SECOND, f"x{n}", "r-0-1", "SPY", "buy", qty, price, fee)


@pytest.mark.parametrize(("status", "happening"), list(itertools.product(STATUSES, HAPPENINGS)))
def test_every_pair_moves_by_the_table_or_is_refused(status, happening):
    it = order(status)
    if (status, happening) in MOVES:
        it.move(happening, 7, "why")
        assert it.status == MOVES[status, happening]
        assert it.log[-1] == (7, happening, "why")
    else:
        with pytest.raises(IllegalMove, match=f"is {status} and cannot be {happening}"):
            it.move(happening, 7)
        assert it.status == status
        assert it.log == ()


def test_the_table_knows_only_real_words():
    for (status, happening), to in MOVES.items():
        assert status in STATUSES
        assert happening in HAPPENINGS
        assert to in STATUSES


def test_what_is_over_stays_over_unless_it_fills_whole():
    for (status, happening), to in MOVES.items():
        if status in TERMINAL:
            assert to == status or (to, happening) == (Status.FILLED, Happening.FILLED)


def test_a_fill_can_be_booked_in_every_state_that_left_us():
    for status in STATUSES:
        if status == Status.CREATED:
            continue
        assert (status, Happening.FILLED) in MOVES
        # More fills on a filled order are more than was asked, and so "filled" again.
        assert status == Status.FILLED or (status, Happening.PARTLY_FILLED) in MOVES


def test_a_timeout_is_no_rejection():
    for status in STATUSES:
        if status not in TERMINAL and status != Status.CREATED:
            assert MOVES[status, Happening.LOST] == Status.UNKNOWN


#: what the venue says, in turn -> status, filled, cancel pending
STORIES = [
    ("accepted", "open 0"),
    ("accepted fill:4", "open 4"),
    ("accepted fill:4 fill:6", "filled 10"),
    ("fill:10 accepted", "filled 10"),  # a fill overtakes its acknowledgement
    ("accepted canceled", "canceled 0"),
    ("accepted canceled fill:4", "canceled 4"),  # a late fill is a fact
    ("accepted canceled fill:10", "filled 10"),
    ("rejected", "rejected 0"),
    ("lost", "unknown 0"),
    ("lost accepted", "open 0"),
    ("lost fill:10", "filled 10"),
    ("lost rejected", "rejected 0"),
    ("accepted fill:4 expired", "expired 4"),
    ("accepted fill:10 canceled", "filled 10"),
    ("accepted cancel_rejected", "open 0"),
]


@pytest.mark.parametrize(("story", "ends"), STORIES)
def test_stories(story, ends):
    it = order(Status.SENT)
    for n, word in enumerate(story.split(), 1):
        if word.startswith("fill:"):
            it.on_fill(fill(float(word[5:]), n=n), Instrument("SPY"))
        else:
            it.on_update(OrderUpdate(n, n, it.id, word))
    assert f"{it.status} {it.filled:g}" == ends


def test_average_price_and_fees_are_those_of_all_fills():
    it = order(Status.OPEN)
    it.on_fill(fill(4.0, 100.0, 1, fee=1.0), Instrument("SPY"))
    it.on_fill(fill(6.0, 105.0, 2, fee=0.5), Instrument("SPY"))
    assert it.average_price == pytest.approx(103.0)  # (4 x 100 + 6 x 105) / 10
    assert it.fees == 1.5


def test_pending_questions_end_with_the_order():
    it = order(Status.OPEN)
    it.cancel_pending = it.replace_pending = True
    it.on_update(OrderUpdate(1, 1, it.id, "cancel_rejected", "too late"))
    assert (it.cancel_pending, it.replace_pending) == (False, True)
    it.on_update(OrderUpdate(2, 2, it.id, "replaced", qty=20.0, limit=99.0))
    assert (it.replace_pending, it.qty, it.limit, it.stop) == (False, 20.0, 99.0, None)
    it.cancel_pending = True
    it.on_update(OrderUpdate(3, 3, it.id, "canceled"))
    assert (it.cancel_pending, it.working) == (False, False)


def test_an_order_of_a_request_is_sent():
    submit = Submit(3, 5 * SECOND, "r-0-9", "SPY", "sell", 2.0, "stop", stop=90.0, tag="exit")
    it = Order.of(submit, 95.0)
    assert (it.status, it.sign, it.created, it.stop, it.tag) == (
        Status.SENT, -1.0, 5 * SECOND, 90.0, "exit",
    )  # fmt: skip


class TestHandle:
    def test_reads_the_order_and_cannot_write_it(self):
        handle = OrderHandle(order(Status.OPEN))
        assert (handle.symbol, handle.qty, handle.remaining, handle.working) == (
            "SPY", 10.0, 10.0, True,
        )  # fmt: skip
        for name in ("qty", "status", "anything"):
            with pytest.raises(AttributeError, match="read-only"):
                setattr(handle, name, 1)
        with pytest.raises(AttributeError):
            _ = handle.nothing_like_it
        assert {"status", "filled", "remaining", "working"} <= set(dir(handle))

    def test_its_log_tells_the_story_and_cannot_be_changed(self):
        it = order(Status.CREATED)
        it.move(Happening.SENT, 0)
        it.move(Happening.ACCEPTED, SECOND)
        it.on_update(OrderUpdate(2 * SECOND, 2 * SECOND, it.id, "canceled", "by hand"))
        log = OrderHandle(it).log
        assert isinstance(log, tuple)
        assert log == (
            "1970-01-01T00:00:00Z sent",
            "1970-01-01T00:00:01Z accepted",
            "1970-01-01T00:00:02Z canceled by hand",
        )

    def test_only_a_denied_order_is_false(self):
        for status in STATUSES:
            assert bool(OrderHandle(order(status))) == (status != Status.DENIED)

    def test_handles_of_one_order_are_equal(self):
        it = order()
        assert OrderHandle(it) == OrderHandle(it)
        assert len({OrderHandle(it), OrderHandle(it)}) == 1
        assert repr(OrderHandle(it)) == "<buy 10 SPY limit 100.0: created, filled 0>"
