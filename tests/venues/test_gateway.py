"""What can happen between a session and its venue, one story each, on virtual time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from rig import BEGIN, INTERVALS, SECOND, Rig, Scripted

from regimeflow.engine.reconcile import Snapshot, reconcile
from regimeflow.engine.strategy import Strategy
from regimeflow.errors import ConfigError, Refused, VenueError
from regimeflow.model.events import (
    Account,
    Adjusted,
    Cancel,
    Command,
    Connection,
    Denied,
    Feed,
    Fill,
    Finish,
    Gap,
    OrderUpdate,
    Reconciled,
    Start,
    StrategyChanged,
    Submit,
    Timer,
    Upgraded,
)
from regimeflow.model.market import Trade
from regimeflow.venues.port import Corrected, Disconnected, Garbled, VenueOrder
from regimeflow.venues.runtime import Answer, Key, Overflow, Threads, Virtual

FAR = 50.0  # a limit that no price reaches


def buy(**terms: Any) -> Any:
    return lambda ctx: ctx.buy("AAA", **{"qty": 10, **terms})


def rest(ctx: Any) -> None:
    ctx.buy("AAA", qty=10, limit=FAR)


def deaf(rig: Rig) -> None:
    rig.exchange.silent.add("accepted")


def cancel(ctx: Any) -> None:
    ctx.cancel("r-0-1")


# ---------------------------------------------------------------- sending


def test_an_order_lives_and_is_filled() -> None:
    rig = Rig({1.0: buy()})
    assert rig.life() == "sent, accepted, filled, accepted"  # by the stream, and by its answer
    assert rig.engine.desk.ledger.position("AAA").qty == 10.0


def test_defect_6_a_lost_answer_is_no_refusal() -> None:
    rig = Rig({1.0: rest}, {0.9: deaf}, first={"submit": ["unanswered"]}, until_s=10.0)
    assert rig.life() == "sent, lost, accepted, cancel asked, canceled"
    assert rig.exchange.asked["submit"] == 1


def test_an_order_that_never_arrived_is_rejected_late_and_on_evidence() -> None:
    rig = Rig({1.0: rest}, first={"submit": ["lost"]}, until_s=30.0)
    assert rig.life() == "sent, lost, rejected"
    assert "it said so 3 times" in rig.order().reason
    (lost,) = rig.at(OrderUpdate, what="lost")
    (rejected,) = rig.at(OrderUpdate, what="rejected")
    # 5 s in which the venue may not show it yet, then three denials 2 s apart.
    assert 9.0 <= rejected - lost <= 12.0
    assert rig.exchange.asked["submit"] == 1


@pytest.mark.parametrize(("how", "longest_s"), [("duplicate", 2.1), ("hidden", 33.0)])
def test_an_id_that_is_known_is_an_order_that_is_there(how: str, longest_s: float) -> None:
    """However long the venue does not show it: it said that it has it."""
    rig = Rig({1.0: rest}, first={"submit": [how]}, until_s=40.0)
    assert rig.life() == "sent, accepted, cancel asked, canceled"
    rig = Rig({1.0: rest}, {0.9: deaf}, first={"submit": [how]}, until_s=40.0)
    assert rig.life() == "sent, lost, accepted, cancel asked, canceled"
    (found,) = rig.at(OrderUpdate, what="accepted")
    assert found <= 1.0 + longest_s


def test_a_fill_overtakes_its_acceptance_and_its_name() -> None:
    """Told by the venue's own id before that is known: booked all the same, and once."""

    def fills_first(rig: Rig) -> None:
        exchange, say = rig.exchange, rig.exchange._say

        def odd(said: Any) -> None:
            if isinstance(said, OrderUpdate) and said.what == "accepted":
                rig.runtime.later(3 * SECOND, lambda: say(said))
            elif isinstance(said, Fill):
                venue_id = exchange.orders[said.order_id].venue_id
                say(msgspec.structs.replace(said, order_id=venue_id))
                say(said)
            else:
                say(said)

        exchange._say = odd  # type: ignore[method-assign]

    rig = Rig({1.0: buy()}, {0.9: fills_first})
    assert rig.order().filled == 10.0
    assert rig.engine.desk.ledger.position("AAA").qty == 10.0
    assert rig.life().startswith("sent, ")
    assert rig.order().status == "filled"


def test_numbers_that_are_none_are_not_booked() -> None:
    def lies(rig: Rig) -> None:
        for qty, price, fee in ((float("nan"), 1.0, 0.0), (1.0, -1.0, 0.0), (1e308, 1.0, 0.0),
                                (1.0, 1.0, float("inf")), (0.0, 1.0, 0.0)):  # fmt: skip
            lie = Fill(rig.runtime.now(), 0, "L", "r-0-1", "AAA", "buy", qty, price, fee)
            rig.runtime.say(lie)

    rig = Rig({1.0: rest}, {2.0: lies}, until_s=10.0)
    assert rig.fills() == []
    assert rig.order().filled == 0.0
    assert any("could not be read" in state for state in rig.states())
    assert "* active: reconciliation is well again" in rig.states()


def test_what_an_execution_came_to_is_booked_once_however_often_it_is_told() -> None:
    def corrects(rig: Rig) -> None:
        (fill,) = rig.fills()
        (told,) = rig.exchange.fills
        for changes in (
            {"fee": told.fee + 1.25},  # a commission, told late
            {"fee": told.fee + 1.25, "qty": 9.0},  # one unit less was bought
            {"fee": told.fee + 1.25, "qty": 9.0},
            {"execution_id": "somebody's", "order_id": "somebody's", "fee": 7.0},
            {"fee": float("nan")},
        ):
            if changes.get("qty"):
                rig.exchange.correct(fill.execution_id, 9.0, fill.price)
            said = msgspec.structs.replace(told, **changes)
            rig.runtime.say(Corrected(said, "so it was"))
        late = msgspec.structs.replace(told, fee=0.0, qty=9.0)
        rig.runtime.say(Corrected(late, "so it was", fee_known=False))

    rig = Rig({1.0: buy()}, {2.0: corrects}, until_s=10.0)
    ledger, (fill,) = rig.engine.desk.ledger, rig.fills()
    begun = next(event.cash for event, _ in rig.told if isinstance(event, Start))
    assert ledger.cash == pytest.approx(begun - 9.0 * fill.price - fill.fee - 1.25)
    assert ledger.position("AAA").qty == 9.0
    adjusted = [event for event, _ in rig.told if isinstance(event, Adjusted)]
    assert [(a.qty, a.execution_id) for a in adjusted] == [
        (0.0, fill.execution_id),
        (-1.0, fill.execution_id),
    ]
    assert [a.cash for a in adjusted] == [pytest.approx(-1.25), pytest.approx(fill.price)]


def test_what_an_execution_came_to_before_it_was_told_is_booked_with_it() -> None:
    def lists_late(rig: Rig) -> None:
        said: list[Any] = []
        exchange = rig.exchange
        emit = exchange._emit
        exchange._emit = said.append
        exchange.fill("r-0-1", 10.0)
        exchange._emit = emit
        (fill,) = [event for event in said if isinstance(event, Fill)]
        rig.runtime.say(Corrected(msgspec.structs.replace(fill, fee=fill.fee + 2.0), "late"))
        rig.runtime.say(fill)

    rig = Rig({1.0: rest}, {2.0: lists_late}, until_s=10.0)
    (adjusted,) = [event for event, _ in rig.told if isinstance(event, Adjusted)]
    assert (adjusted.qty, adjusted.cash) == (0.0, pytest.approx(-2.0))


def test_funding_is_booked_once_however_often_it_is_listed() -> None:
    def begin(rig: Rig) -> None:
        rig.exchange.capabilities = msgspec.structs.replace(
            rig.exchange.capabilities, payments=True
        )

    def fund(rig: Rig) -> None:
        rig.exchange.fund("AAA", 0.001)

    happens = {0.0: begin, 3.0: fund, 40.0: fund}
    rig = Rig({1.0: buy()}, happens, until_s=110.0)
    adjusted = [event for event, _ in rig.told if isinstance(event, Adjusted)]
    assert [(a.cash, a.payment_id) for a in adjusted] == [
        (payment.cash, payment.payment_id) for payment in rig.exchange.paid
    ]
    assert [a.cash for a in adjusted] == [pytest.approx(-1.0)] * 2
    assert rig.engine.desk.ledger.cash == pytest.approx(float(rig.exchange.cash))


# ---------------------------------------------------------------- cancels and changes

_PARTS = {"none": 0.0, "partial": 4.0, "whole": 10.0}


@pytest.mark.parametrize("filled", _PARTS)
@pytest.mark.parametrize("how", ["well", "refused", "not there", "unanswered"])
def test_defect_7_a_fill_races_a_cancel(how: str, filled: str) -> None:
    """A fill that is on its way when the cancel leaves wins, whatever the cancel is told."""

    def fill(rig: Rig) -> None:
        if _PARTS[filled]:
            rig.exchange.fill("r-0-1", _PARTS[filled])

    rig = Rig({1.0: rest, 2.0: cancel}, {2.001: fill}, first={"cancel": [how]}, until_s=15.0)
    order = rig.order()
    assert order.filled == _PARTS[filled]
    assert rig.engine.desk.ledger.position("AAA").qty == _PARTS[filled]
    assert order.status == ("filled" if filled == "whole" else "canceled")
    assert rig.exchange.orders["r-0-1"].status == order.status
    assert len(rig.at(Submit)) == 1


def test_a_change_races_a_fill() -> None:
    """The order is made smaller while it fills: what is left is counted from what is filled."""
    rig = Rig(
        {1.0: rest, 2.0: lambda ctx: ctx.replace("r-0-1", qty=6)},
        {2.001: lambda r: r.exchange.fill("r-0-1", 4.0)},
    )
    assert (rig.order().qty, rig.order().filled) == (6.0, 4.0)
    assert rig.life() == (
        "sent, accepted, replace asked, partly filled, replaced, cancel asked, canceled"
    )


def test_a_change_that_was_not_told_and_ended_the_order() -> None:
    """Made smaller, filled whole, and only the fill was told: the order is over here too."""
    rig = Rig(
        {1.0: rest, 2.0: lambda ctx: ctx.replace("r-0-1", qty=6)},
        {
            1.9: lambda r: r.exchange.silent.add("replaced"),
            2.5: lambda r: r.exchange.fill("r-0-1", 6.0),
        },
    )  # fmt: skip
    assert (rig.order().status, rig.order().qty, rig.order().filled) == ("filled", 6.0, 6.0)


def test_a_fill_told_before_the_change_that_made_room_for_more() -> None:
    """Ten of what are twenty by then: the order works on, here as well."""

    def fill_while_deaf(rig: Rig) -> None:
        rig.exchange.silent.clear()
        rig.exchange.fill("r-0-1", 10.0)

    rig = Rig(
        {1.0: rest, 2.0: lambda ctx: ctx.replace("r-0-1", qty=20)},
        {1.9: lambda r: r.exchange.silent.add("replaced"), 2.1: fill_while_deaf,
         9.0: lambda r: r.exchange.fill("r-0-1", 10.0)},
    )  # fmt: skip
    assert (rig.order().status, rig.order().filled) == ("filled", 20.0)
    assert [fill.qty for fill in rig.fills()] == [10.0, 10.0]
    assert rig.life() == ("sent, accepted, replace asked, partly filled, replaced, filled")


def test_a_larger_quantity_that_never_arrived_ends_a_filled_order() -> None:
    rig = Rig(
        {1.0: rest, 2.0: lambda ctx: ctx.replace("r-0-1", qty=20)},
        {2.001: lambda r: r.exchange.fill("r-0-1", 10.0)},
        first={"replace": ["lost"]},
    )
    assert rig.life() == (
        "sent, accepted, replace asked, partly filled, lost, replace rejected, filled"
    )


def test_an_old_change_told_again_rolls_nothing_back() -> None:
    kept: list[Any] = []

    def listen(rig: Rig) -> None:
        say = rig.exchange._say
        rig.exchange._say = lambda said: (kept.append(said), say(said))  # type: ignore[method-assign]

    rig = Rig(
        {1.0: rest, 2.0: lambda ctx: ctx.replace("r-0-1", qty=6),
         3.0: lambda ctx: ctx.replace("r-0-1", qty=20)},
        {0.9: listen, 3.1: lambda r: r.runtime.say(
            next(s for s in kept if isinstance(s, OrderUpdate) and s.qty == 6.0))},
        until_s=4.0,
    )  # fmt: skip
    assert rig.order().qty == 20.0
    assert len(rig.at(OrderUpdate, what="replaced")) == 2


def test_what_the_venue_shows_while_a_change_is_on_its_way_decides_nothing() -> None:
    """Books that were asked for before the change arrived show the order as it was."""
    rig = Rig(
        {4.0: rest, 8.0: lambda ctx: ctx.replace("r-0-1", qty=20)},
        {7.99: lambda r: r.gateway.comparing.soon()},
        latency_ms=400.0,
    )
    assert "replace rejected" not in rig.life()
    assert rig.order().qty == 20.0


def test_a_fill_of_the_larger_quantity_told_before_its_change_is_what_was_ordered() -> None:
    """The change is made and answered, and its fill overtakes the news of it."""

    def fill_all(rig: Rig) -> None:
        rig.exchange.silent.clear()
        rig.exchange.fill("r-0-1", 20.0)

    rig = Rig(
        {1.0: rest, 2.0: lambda ctx: ctx.replace("r-0-1", qty=20)},
        {1.9: lambda r: r.exchange.silent.add("replaced"), 2.1: fill_all},
    )
    assert (rig.order().status, rig.order().filled) == ("filled", 20.0)
    assert rig.states()[-1] == "session halted: over"
    assert "not what was ordered" not in "".join(rig.states())


def test_a_fill_beyond_a_change_that_was_refused_is_more_than_was_ordered() -> None:
    rig = Rig(
        {1.0: rest, 2.0: lambda ctx: ctx.replace("r-0-1", qty=20)},
        {3.0: lambda r: r.exchange.overfill("r-0-1", 5.0)},
        first={"replace": ["refused"]},
    )
    assert any("not what was ordered" in state for state in rig.states())


def test_books_that_were_asked_for_before_a_change_was_answered_say_nothing_of_it() -> None:
    """The change waits for its order's own answer, and leaves after the question."""
    found: dict[float, list[str]] = {}

    def change(ctx: Any) -> None:
        rest(ctx)
        ctx.replace("r-0-1", qty=20)

    def look(rig: Rig) -> None:
        order = rig.order()
        as_it_was = VenueOrder(order.id, order.venue_order_id, "AAA", "buy", 10.0, 0.0, "open",
                               limit=order.limit)  # fmt: skip
        for asked in (4.4, 4.65):  # the change is answered at 4.6
            snapshot = Snapshot(asked_at=BEGIN + int(asked * SECOND), working=[as_it_was])
            told = reconcile(rig.gateway.comparing.books(), snapshot).events
            found[asked] = [event.what for event in told if isinstance(event, OrderUpdate)]
        under_way = Snapshot(asked_at=BEGIN + 5 * SECOND, working=[
            msgspec.structs.replace(as_it_was, changing=True)
        ])  # fmt: skip
        assert reconcile(rig.gateway.comparing.books(), under_way).events == []

    Rig(
        {4.0: change},
        {3.9: lambda r: r.exchange.silent.add("replaced"), 4.65: look},
        latency_ms=150.0,
        until_s=5.0,
    )
    assert found == {4.4: [], 4.65: ["replace_rejected"]}


def test_a_cancel_that_may_come_later_is_sent_again() -> None:
    rig = Rig({1.0: rest, 2.0: cancel}, first={"cancel": ["wait", "lost", "well"]})
    assert rig.life() == "sent, accepted, cancel asked, canceled"
    assert rig.exchange.asked["cancel"] == 3
    assert len(rig.at(Cancel)) == 1


# ---------------------------------------------------------------- comparing


def test_a_lost_fill_is_found_within_two_polls() -> None:
    def lose(rig: Rig) -> None:
        rig.exchange.silent.add("fill")
        rig.exchange.tick("AAA", FAR)
        rig.exchange.silent.clear()

    rig = Rig({1.0: rest}, {6.0: lose}, until_s=30.0)
    (found,) = rig.at(Fill)
    assert found <= 6.0 + 2 * INTERVALS.order_poll_ms / 1e3
    assert rig.order().status == "filled"


def test_defect_7_a_position_that_was_not_told_is_unknown_and_not_flat() -> None:
    rig = Rig({1.0: buy()}, {2.0: lambda r: r.exchange.failing.add("positions")}, until_s=70.0)
    assert rig.engine.desk.ledger.position("AAA").qty == 10.0
    assert any("positions: 502" in state for state in rig.states())
    assert len(rig.at(Submit)) == 1


def test_a_trade_by_hand_holds_its_symbol_until_it_is_adopted() -> None:
    rig = Rig(
        {1.0: buy(), 50.0: buy(), 51.0: lambda ctx: ctx.buy("BBB", qty=1), 65.0: buy()},
        {5.0: lambda r: r.exchange.trade_by_hand("AAA", "sell", 3.0),
         60.0: lambda r: r.gateway.command("adopt", "it was me", "test")},
        until_s=70.0,
    )  # fmt: skip
    assert rig.at(Denied) == [50.0]
    assert rig.at(Submit) == [1.0, 51.0, 65.0]
    assert rig.engine.foreign == {"AAA": -3.0}
    assert rig.engine.desk.ledger.position("AAA").qty == 20.0


# ---------------------------------------------------------------- connection and feed


def test_a_lost_connection_holds_entries_until_the_books_agree() -> None:
    def cut(rig: Rig) -> None:
        rig.exchange.down = True
        rig.runtime.say(Disconnected("reset by peer"))
        rig.exchange.close()
        rig.exchange.tick("AAA", FAR)  # fills while nobody hears it

    rig = Rig(
        {1.0: rest, 6.0: buy(), 25.0: buy()},
        {5.0: cut, 15.0: lambda r: setattr(r.exchange, "down", False)},
        until_s=30.0,
    )
    assert rig.at(Denied) == [6.0]
    assert rig.at(Submit) == [1.0, 25.0]
    assert rig.at(Gap) == [5.0]
    (fill, _), up = rig.at(Fill), rig.at(Connection, up=True)[1]
    assert 15.0 < fill < up
    assert rig.states() == [
        "* reducing: the books are not compared yet",
        "* active: connection is well again",
        "* reducing: reset by peer",
        "* active: connection is well again",
        "session halted: over",
    ]
    assert 3 <= rig.exchange.asked["connect"] <= 9  # later each time


@pytest.mark.parametrize("ahead_ns", [2 * SECOND, -2 * SECOND])
def test_a_clock_that_comes_to_be_off_holds_entries_until_it_is_right(ahead_ns: int) -> None:
    rig = Rig(
        {15.0: buy(), 40.0: buy()},
        {5.0: lambda r: setattr(r.exchange, "ahead_ns", ahead_ns),
         25.0: lambda r: setattr(r.exchange, "ahead_ns", 0)},
        until_s=45.0,
        intervals=msgspec.structs.replace(INTERVALS, skew_poll_ms=10_000.0, reconnect_max_ms=4_000),
    )  # fmt: skip
    assert rig.at(Connection, up=False, why="our clock is 2.0 s off the venue's")
    assert rig.at(Denied) == [15.0]
    assert rig.at(Submit) == [40.0]
    assert rig.engine.holds == {}
    assert rig.gateway.skew_ms == pytest.approx(0.0, abs=1.0)


@pytest.mark.parametrize("ahead_ms", [-700.0, 0.0, 700.0])
def test_what_the_clocks_differ_by_is_asked_for_at_each_connection_and_each_hour(
    ahead_ms: float,
) -> None:
    told: list[float | None] = []

    def set_clock(ahead: float) -> Any:
        return lambda rig: setattr(rig.exchange, "ahead_ns", int(ahead * 1e6))

    def look(rig: Rig) -> None:
        told.append(rig.gateway.skew_ms)

    Rig(
        {},
        {0.0: set_clock(ahead_ms), 2.0: look, 5.0: set_clock(300.0), 3_590.0: look, 3_610.0: look},
        until_s=3_620.0,
        intervals=msgspec.structs.replace(INTERVALS, clock_ms=5_000.0, heartbeat_ms=1e9),
    )
    assert told == [pytest.approx(x, abs=1.0) for x in (ahead_ms, ahead_ms, 300.0)]


def test_a_clock_that_is_off_from_the_start_keeps_the_run_from_beginning() -> None:
    begun: list[bool] = []
    rig = Rig(
        {6.0: buy()},
        {0.0: lambda r: setattr(r.exchange, "ahead_ns", 30 * SECOND),
         3.0: lambda r: begun.append(r.engine.start is not None),
         4.0: lambda r: setattr(r.exchange, "ahead_ns", 0)},
        until_s=12.0,
        intervals=msgspec.structs.replace(INTERVALS, reconnect_max_ms=1_000.0),
    )  # fmt: skip
    assert begun == [False]
    assert rig.engine.start is not None


def test_defect_8_a_mute_feed_is_held_subscribed_and_connected_again_then_trades() -> None:
    def mute(rig: Rig) -> None:
        rig.exchange.silent |= {"trade", "quote"}

    rig = Rig(
        {1.0: rest, 10.0: buy(), 40.0: buy()},
        {2.0: mute, 25.0: lambda r: r.exchange.silent.clear()},
        until_s=45.0,
    )
    assert rig.at(Feed, symbol="AAA", stale=True)[0] == pytest.approx(7.0, abs=0.6)
    assert rig.life() == "sent, accepted, cancel asked, canceled"
    assert rig.at(Denied) == [10.0]
    assert rig.at(Submit) == [1.0, 40.0]
    assert rig.exchange.asked["subscribe"] >= 3
    assert rig.exchange.asked["connect"] >= 2
    assert rig.engine.holds == {}


def test_what_old_data_do_is_the_same_whoever_notices_that_they_are_old() -> None:
    """The clock notices, or the data of another symbol do that come between two of its beats."""

    def tick(symbol: str) -> Any:
        return lambda r: r.exchange.tick(symbol, 100.0)

    patient = msgspec.structs.replace(INTERVALS, hold_when_stale=False, cancel_when_stale=False)
    for step in range(20):
        rig = Rig(
            {1.5: lambda ctx: ctx.buy("BBB", 1, limit=FAR)},
            {1.0: tick("AAA"), 1.1: tick("BBB"), 6.0 + step * 0.02: tick("AAA")},
            until_s=8.0,
            intervals=patient,
            quiet=True,
        )
        stale = [event for event, _ in rig.told if isinstance(event, Feed) and event.stale]
        assert stale
        assert not any(event.hold or event.cancel for event in stale)
        assert rig.at(Cancel) == [8.0]  # with the stop


def test_a_feed_is_not_stale_while_the_exchange_is_closed() -> None:
    sunday = BEGIN + 5 * 86_400 * SECOND
    rig = Rig({}, quiet=True, calendar="XNYS", begin=sunday, until_s=60.0)
    assert rig.at(Feed) == []
    open_ = Rig({}, quiet=True, calendar="XNYS", begin=BEGIN + 3_600 * SECOND, until_s=60.0)
    assert open_.at(Feed)


def test_a_venue_that_speaks_garbage_is_connected_again() -> None:
    def garbage(rig: Rig) -> None:
        for _ in range(20):
            rig.runtime.say(Garbled("not valid JSON"))

    rig = Rig({1.0: rest}, {2.0: garbage})
    assert rig.exchange.asked["connect"] == 2
    assert rig.engine.holds == {}


def test_a_flood_loses_market_data_and_says_so_but_no_fill() -> None:
    runtime = Threads(capacity=10)
    for count in range(30):
        runtime.say(Trade(count, 0, "AAA", 1.0, 1.0, id=str(count)))
        runtime.say(Fill(count, 0, f"X{count}", "r-0-1", "AAA", "buy", 1.0, 1.0))
    told = []
    while (message := runtime.wait(0)) is not None:
        told.append(message)
    runtime.close()
    assert sum(isinstance(m, Fill) for m in told) == 30
    (overflow,) = [m for m in told if isinstance(m, Overflow)]
    assert overflow.lost == 30 - sum(isinstance(m, Trade) for m in told)

    rig = Rig({1.0: rest}, {2.0: lambda r: r.runtime.say(overflow)})
    assert rig.life() == "sent, accepted, cancel asked, canceled"
    assert any("came too fast" in state for state in rig.states())


# ---------------------------------------------------------------- halting and ending


def test_a_stop_waits_for_its_cancels() -> None:
    rig = Rig({1.0: rest}, first={"cancel": ["lost", "refused", "lost"]}, until_s=10.0)
    assert rig.life().endswith("canceled")
    (canceled,), (end,) = rig.at(OrderUpdate, what="canceled"), rig.at(Finish)
    assert 12.0 < canceled <= end < 25.0


def test_a_stop_while_the_connection_is_made_again_finds_what_was_filled_meanwhile() -> None:
    def cut(rig: Rig) -> None:
        rig.exchange.down = True
        rig.exchange.silent |= {"fill", "canceled"}
        rig.runtime.say(Disconnected("reset by peer"))
        rig.exchange.tick("AAA", 40.0)  # fills what rests

    rig = Rig(
        {1.0: rest},
        {5.0: cut, 9.0: lambda r: setattr(r.exchange, "down", False)},
        until_s=6.0,
    )
    assert rig.life() == "sent, accepted, cancel asked, cancel rejected, filled"
    assert sum(fill.qty for fill in rig.fills()) == 10.0
    (end,) = rig.at(Finish)
    assert 9.0 < end < 6.0 + INTERVALS.stop_ms / 1e3
    assert 9.0 < rig.at(Connection, up=True)[-1] <= end


def test_a_stop_without_orders_still_looks_at_the_books_of_a_venue_that_comes_back() -> None:
    def cut(rig: Rig) -> None:
        rig.exchange.down = True
        rig.runtime.say(Disconnected("reset by peer"))

    rig = Rig({}, {5.0: cut, 9.0: lambda r: setattr(r.exchange, "down", False)}, until_s=6.0)
    (end,) = rig.at(Finish)
    assert 9.0 < rig.at(Connection, up=True)[-1] <= end < 15.0


def test_a_stop_says_what_it_did_not_wait_for() -> None:
    def cut(rig: Rig) -> None:
        rig.exchange.down = True
        rig.runtime.say(Disconnected("reset by peer"))

    rig = Rig({}, {5.0: cut}, until_s=6.0)
    (end,) = rig.at(Finish)
    assert end == pytest.approx(6.0 + INTERVALS.stop_ms / 1e3, abs=0.5)
    assert rig.at(Reconciled, ok=False)[-1] == pytest.approx(end, abs=0.01)


def test_a_kill_file_halts_and_cancels_until_it_is_confirmed() -> None:
    killed: list[str] = []
    rig = Rig(
        {1.0: rest, 6.0: buy()},
        {5.0: lambda r: killed.append("kill file: enough")},
        killed=lambda: killed[0] if killed else "",
        first={"cancel": ["refused", "refused"]},
    )
    assert rig.life().endswith("canceled")
    assert rig.exchange.asked["cancel"] == 3
    assert rig.at(Submit) == [1.0]
    assert rig.at(Denied) == [6.0]
    assert "session halted: kill file: enough" in rig.states()


def test_a_fill_in_another_symbol_halts() -> None:
    def wrong(rig: Rig) -> None:
        order = rig.order(1)
        rig.exchange._say(Fill(rig.runtime.now(), 0, "odd", order.id, "BBB", "buy", 1.0, 50.0))

    rig = Rig({2.0: lambda ctx: ctx.buy("AAA", 1, limit=10.0)}, {3.0: wrong}, until_s=4.0)
    assert rig.engine.desk.ledger.snapshot() == {"BBB": 1.0}
    assert any("odd is not what was ordered" in state for state in rig.states())


def test_a_halt_overtakes_what_came_due_with_it() -> None:
    """A kill file and a timer, seen at one moment: the timer's callback finds trading halted."""
    killed: list[str] = []

    def late(rig: Rig) -> None:
        killed.append("kill file: enough")
        rig.runtime.pause(3 * SECOND)

    rig = Rig({5.5: buy()}, {5.0: late}, killed=lambda: killed[0] if killed else "")
    assert rig.at(Submit) == []
    assert rig.at(Denied) == rig.at(Timer)
    (halt,) = rig.at(Command, name="halt")
    assert 8.0 <= halt <= rig.at(Timer)[0]


@pytest.mark.parametrize(
    ("names", "state"),
    [
        ("halt resume", "active"),
        ("resume halt", "halted"),
        ("halt halt resume", "active"),
        ("halt resume halt", "halted"),
        ("flatten halt resume", "active"),
        ("pause halt resume", "active"),
    ],
)
def test_what_is_asked_for_at_once_is_done_in_its_order(names: str, state: str) -> None:
    def ask(rig: Rig) -> None:
        for name in names.split():
            rig.gateway.command(name, name, "test")

    states: list[str] = []
    rig = Rig(
        {1.0: rest}, {5.0: ask, 10.0: lambda r: states.append(r.engine.desk.state)}, until_s=11.0
    )
    assert states == [state]
    asked = [event.name for event, _ in rig.told if isinstance(event, Command)]
    assert asked == [*names.split(), "stop"]
    assert not rig.gateway.outbox.halting


def test_a_flatten_that_is_asked_for_twice_at_once_leaves_all() -> None:
    def twice(rig: Rig) -> None:
        for _ in range(2):
            rig.gateway.command("flatten", "out", "test")

    rig = Rig({1.0: buy(), 2.0: rest}, {5.0: twice}, until_s=15.0)
    assert rig.engine.desk.ledger.position("AAA").qty == 0.0
    assert [state.split(":")[0] for state in rig.states()][-2:] == [
        "session reducing",
        "session halted",
    ]
    assert not rig.gateway.outbox.halting


def test_an_exit_waits_for_the_connection_and_for_the_clock() -> None:
    """A position that is to be left while nobody can be asked makes no storm of orders."""

    def cut(rig: Rig) -> None:
        rig.exchange.down = True
        rig.runtime.say(Disconnected("reset by peer"))

    rig = Rig(
        {1.0: buy()},
        {5.0: cut, 6.0: lambda r: r.gateway.command("flatten", "out", "test"),
         15.0: lambda r: setattr(r.exchange, "down", False),
         14.9: lambda r: r.exchange.hows["submit"].extend(["refused", "refused"])},
        until_s=40.0,
    )  # fmt: skip
    assert rig.engine.desk.ledger.position("AAA").qty == 0.0
    sent = rig.at(Submit, tag="flatten")
    assert len(sent) == 3
    assert all(later - earlier >= 1.0 for earlier, later in itertools.pairwise(sent))


def test_a_pause_fires_a_timer_once() -> None:
    """A machine that slept for a minute does not make up for sixty timers."""
    rig = Rig(
        {0.5: lambda ctx: ctx.every("1s", "beat")},
        {5.0: lambda r: r.runtime.pause(60 * SECOND)},
        until_s=68.2,
    )
    beats = rig.at(Timer, name="beat")
    assert beats == [1.5, 2.5, 3.5, 4.5, 65.0, 65.5, 66.5, 67.5]


def test_time_is_let_in_strictly_forward() -> None:
    rig = Rig({1.0: buy(), 2.0: rest, 3.0: cancel})
    seen = [event.seen for event, _ in rig.told]
    assert all(earlier < later for earlier, later in itertools.pairwise(seen))
    assert rig.at(Reconciled)


def test_an_upgrade_overtakes_the_market_and_waits_for_the_run_to_begin() -> None:
    rig = Rig(
        {},
        {0.0: lambda r: r.gateway.upgrade(Upgraded(0, 0, "ab" * 32, strategy="Early")),
         4.9: lambda r: r.gateway.upgrade(Upgraded(0, 0, "cd" * 32, strategy="Later"))},
        until_s=8.0,
        heir=lambda event: (Strategy(), lambda: None),
    )  # fmt: skip
    kinds = [type(event) for event, _ in rig.told]
    assert kinds.index(Upgraded) == kinds.index(Start) + 1
    assert [e.ts == e.seen > 0 for e, _ in rig.told if isinstance(e, Upgraded)] == [True, True]
    assert len(rig.at(StrategyChanged, strategy="Early")) == 1
    (changed,) = rig.at(StrategyChanged, strategy="Later")
    assert 4.9 < changed <= 5.5  # with the next trade


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("these keys belong to a live account"),
        Refused("not yours", code="unauthorized"),
        Refused("not there", code="unknown_symbol"),
    ],
    ids=["configuration", "keys", "symbol"],
)
def test_what_no_later_try_can_mend_ends_a_run_that_has_not_begun(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tries = []

    def connect(self: Scripted, emit: Any) -> None:
        tries.append(emit)
        raise error

    monkeypatch.setattr(Scripted, "connect", connect)
    with pytest.raises(type(error), match=str(error)):
        Rig({})
    assert len(tries) == 1


@pytest.mark.parametrize(
    "error",
    [VenueError("no answer"), Refused("too many requests", code="429", retry_after_ms=100.0)],
    ids=["no answer", "too fast"],
)
def test_what_may_mend_is_tried_again_until_the_run_begins(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tries = []
    well = Scripted.connect

    def connect(self: Scripted, emit: Any) -> None:
        tries.append(emit)
        if len(tries) < 4:
            raise error
        well(self, emit)

    monkeypatch.setattr(Scripted, "connect", connect)
    rig = Rig({})
    assert len(tries) == 4
    assert isinstance(rig.told[0][0], Start)


def test_a_command_that_comes_before_the_first_connection_holds_from_the_start() -> None:
    rig = Rig(
        {2.0: buy()},
        {0.001: lambda rig: rig.gateway.command("pause", "not yet", "user")},
        latency_ms=20.0,
        until_s=4.0,
    )
    assert "not yet" in rig.engine.holds.values()
    assert rig.life() == "denied"


@pytest.mark.parametrize("hold", [True, False])
def test_a_comparison_that_failed_forgets_nothing_of_the_last_one(hold: bool) -> None:
    """What was not ours is still not ours, and what did not match still does not."""
    rig = Rig(
        {2.0: lambda ctx: ctx.buy("AAA", 1)},
        {0.001: lambda r: r.exchange.trade_by_hand("AAA", "buy", 7.0),
         6.0: lambda r: r.exchange.trade_by_hand("BBB", "buy", 5.0),
         14.0: lambda r: r.exchange.failing.add("positions")},
        intervals=msgspec.structs.replace(
            INTERVALS, order_poll_ms=1_000.0, position_poll_ms=2_000.0, hold_when_unreconciled=hold
        ),
        until_s=25.0,
    )  # fmt: skip
    verdicts = [event for event, _ in rig.told if isinstance(event, Reconciled)]
    known = [v for v in verdicts if v.ok and v.unmatched][-1]
    failed = [v for v in verdicts if "502" in v.why]
    assert failed
    assert {(v.ok, v.hold) for v in failed} == {(False, hold)}
    assert {v.unmatched for v in failed} == {("BBB",)} == {known.unmatched}
    assert all(v.foreign == known.foreign for v in failed)
    assert rig.engine.foreign == known.foreign
    assert known.foreign["AAA"] == 7.0
    assert ("reconciliation", "BBB") in rig.engine.holds
    assert any("502" in state for state in rig.states()) is hold


class SlowBooks(Virtual):
    """A comparison is answered two seconds after it was asked for, as of that moment."""

    def call(self, lane: str, key: Key, work: Callable[[], Any]) -> None:
        if key[0] != "compare":
            super().call(lane, key, work)
            return
        answer = Answer(key, work(), None)
        self.later(2 * SECOND, lambda: self._tell(answer))


@pytest.mark.parametrize("lost_at", [8.0 + step / 4 for step in range(12)])
def test_books_asked_for_before_the_connection_was_lost_do_not_open_it_again(
    lost_at: float,
) -> None:
    rig = Rig(
        {},
        {lost_at: lambda r: r.runtime.say(Disconnected("gone"))},
        intervals=msgspec.structs.replace(
            INTERVALS,
            order_poll_ms=3_000.0,
            position_poll_ms=3_000.0,
            reconnect_initial_ms=100.0,
        ),
        runtime=SlowBooks,
    )
    down = next(at for at in rig.at(Connection, up=False) if at >= lost_at)
    up = next(at for at in rig.at(Connection, up=True) if at > down)
    assert up >= down + 2.0


class SlowConnect(Virtual):
    """The second connection is answered after so many seconds."""

    takes_s = 31.0
    connects = 0

    def call(self, lane: str, key: Key, work: Callable[[], Any]) -> None:
        if key[0] != "connect":
            super().call(lane, key, work)
            return
        self.connects += 1
        free = max(self.now(), self._lane_free.get(lane, 0))
        back = free + int((self.takes_s if self.connects == 2 else 0.05) * SECOND)
        self._lane_free[lane] = back

        def arrive() -> None:
            try:
                answer = Answer(key, work(), None)
            except Exception as error:
                answer = Answer(key, None, error)
            self._tell(answer)

        self.later(back - self.now(), arrive)


class SlowerConnect(SlowConnect):
    takes_s = 33.0


@pytest.mark.parametrize(
    ("runtime", "then"),
    [
        # Late, and before another one was begun: then none is.
        (SlowConnect, [True]),
        # Another one was begun, and it is refused: the late one no longer counts.
        (SlowerConnect, ["cannot connect: connection refused", True]),
    ],
)
def test_a_connection_that_was_given_up_is_not_taken_for_the_one_that_followed_it(
    runtime: type[SlowConnect], then: list[str | bool]
) -> None:
    def lose(rig: Rig) -> None:
        connect = rig.exchange.connect

        def third_is_refused(emit: Any) -> None:
            rig.exchange.down = rig.exchange.asked["connect"] == 2
            connect(emit)

        rig.exchange.connect = third_is_refused  # type: ignore[method-assign]
        rig.runtime.say(Disconnected("gone"))

    rig = Rig({45.0: buy()}, {5.0: lose}, until_s=60.0, runtime=runtime)
    links = [e.up or e.why for e, _ in rig.told if isinstance(e, Connection)]
    first = ["the books are not compared yet", True, "gone", "the venue does not answer"]
    assert links == [*first, *then]
    assert rig.life().endswith("filled, accepted")


@pytest.mark.parametrize("account_s", [2.0, 9.0])
def test_cash_and_equity_are_asked_for_at_an_interval_of_their_own(account_s: float) -> None:
    intervals = msgspec.structs.replace(
        INTERVALS, order_poll_ms=3_000.0, position_poll_ms=5_000.0, account_ms=account_s * 1e3
    )
    told = Rig({}, until_s=30.0, intervals=intervals).at(Account)
    # The last is asked for with all the rest, before the session stops.
    between = [later - earlier for earlier, later in itertools.pairwise(told[:-1])]
    assert len(between) >= 3
    assert between == pytest.approx([account_s] * len(between), abs=0.1)
