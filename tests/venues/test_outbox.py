"""Requests that wait to be sent, and are given up before their turn comes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimeflow.errors import NotThere, Refused
from regimeflow.model.events import Cancel, Command, OrderUpdate, Replace, Submit
from regimeflow.model.models import Limits
from regimeflow.model.order import Happening, Order
from regimeflow.venues.halting import Halting
from regimeflow.venues.intervals import Intervals
from regimeflow.venues.outbox import NOT_SENT, Outbox
from regimeflow.venues.port import Ack, Capabilities
from regimeflow.venues.runtime import Answer, Threads, Virtual
from regimeflow.venues.wire_rate import NEVER

MS = 10**6


class Lanes:
    """A runtime whose lanes do their work when they are told to."""

    def __init__(self) -> None:
        self.clock = 0
        self.work: list[tuple[tuple[str, str], Callable[[], Any]]] = []

    def now(self) -> int:
        return self.clock

    def call(self, lane: str, key: tuple[str, str], work: Callable[[], Any]) -> None:
        self.work.append((key, work))

    def do_next(self) -> Answer:
        key, work = self.work.pop(0)
        try:
            return Answer(key, work(), None)
        except Exception as error:
            return Answer(key, None, error)


class Venue:
    capabilities = Capabilities()

    def __init__(self) -> None:
        self.asked: list[str] = []

    def submit(self, order: Submit) -> Ack:
        self.asked.append(f"submit {order.order_id}")
        return Ack("V1", 1)

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        self.asked.append(f"replace {request.order_id}")
        return Ack("V1", 1)

    def cancel(self, request: Cancel, venue_order_id: str) -> None:
        self.asked.append(f"cancel {request.order_id}")
        raise NotThere("there is no such order")


def outbox() -> tuple[Outbox, Lanes, Venue]:
    lanes, venue = Lanes(), Venue()
    made = Outbox(venue, lanes, Intervals(call_timeout_ms=100), dict, Limits)  # type: ignore[arg-type]
    made.connected = True
    return made, lanes, venue


def submit(name: str) -> Submit:
    return Submit(1, 1, name, "AAA", "buy", 1.0, "market")


def words(told: Any) -> list[str]:
    return [f"{update.order_id} {update.what}" for update in told]


def test_what_waits_when_trading_halts_never_leaves() -> None:
    out, lanes, venue = outbox()
    for name in ("a", "b"):
        out.send(submit(name))
    out.send(Replace(1, 1, "c", 5.0))
    first = lanes.do_next()  # has left before the halt
    assert words(out.withdraw("halted")) == ["b never_sent", "c replace_rejected"]
    assert [out.answered(lanes.do_next()) for _ in lanes.work[:]] == [([], None), ([], None)]
    assert venue.asked == ["submit a"]
    assert words(out.answered(first)[0]) == ["a accepted"]
    assert not out.busy


@pytest.mark.parametrize("name", ["halt", "stop", "flatten"])
def test_a_halt_that_has_arrived_holds_what_was_handed_over_until_it_is_handled(name: str) -> None:
    out, lanes, venue = outbox()
    command = Command(0, 0, name, "enough", "user")
    out.send(submit("a"))
    out.send(Replace(1, 1, "c", 5.0))
    out.halting.arrived(command)  # from another thread, while a callback runs
    out.send(submit("b"))
    out.send(Cancel(1, 1, "d"))
    while lanes.work:
        out.answered(lanes.do_next())
    assert venue.asked == ["cancel d"]
    assert {"a", "b", "c"} <= out.in_flight  # nothing is said of them before the halt is handled
    out.halting.handled(msgspec.structs.replace(command, ts=5, seen=5))
    told = words(out.withdraw("trading is halted: enough"))
    assert told == ["a never_sent", "c replace_rejected", "b never_sent"]
    out.send(Cancel(2, 2, "a"))  # as the halt asks for each order that was at work
    assert not lanes.work
    out.send(submit("e"))  # after a resume
    lanes.do_next()
    assert venue.asked == ["cancel d", "submit e"]


def test_the_mark_stays_until_each_halt_was_handled() -> None:
    halting = Halting()
    halt, stop = Command(0, 0, "halt", "a", "user"), Command(0, 0, "stop", "b", "signal")
    for command in (halt, stop, Command(0, 0, "resume"), Command(0, 0, "pause"), halt):
        halting.arrived(command)
    for command in (Command(0, 0, "halt", "the disk is full", "journal"), halt, stop):
        assert halting
        halting.handled(msgspec.structs.replace(command, ts=1, seen=1))
    assert halting  # the second of two that say the same
    halting.handled(halt)
    assert not halting


@pytest.mark.parametrize(
    ("names", "entries", "exits"),
    [
        ([], False, False),
        (["flatten"], True, False),
        (["flatten", "flatten"], True, False),
        (["halt"], True, True),
        (["flatten", "stop"], True, True),
        (["resume", "pause", "cancel_all"], False, False),
    ],
)
def test_exits_pass_a_flatten_and_nothing_passes_a_halt(
    names: list[str], entries: bool, exits: bool
) -> None:
    halting = Halting()
    for name in names:
        halting.arrived(Command(0, 0, name))
    assert halting.holds(exit_=False) is entries
    assert halting.holds(exit_=True) is exits


def test_what_waits_too_long_is_known_not_to_have_left() -> None:
    out, lanes, venue = outbox()
    out.send(submit("a"))
    lanes.clock = 100 * MS
    assert words(out.due()) == ["a never_sent"]
    assert out.answered(lanes.do_next()) == ([], None)
    assert venue.asked == []


@pytest.mark.parametrize(
    ("code", "word"), [(NOT_SENT, "never_sent"), ("201", "rejected"), ("", "rejected")]
)
def test_what_the_adapter_did_not_send_was_refused_by_nobody(code: str, word: str) -> None:
    out, lanes, venue = outbox()

    def no(order: Submit) -> Ack:
        raise Refused("no", code=code)

    venue.submit = no  # type: ignore[method-assign]
    out.send(submit("a"))
    assert words(out.answered(lanes.do_next())[0]) == [f"a {word}"]
    assert not out.busy


def test_what_has_left_and_is_not_answered_is_unknown() -> None:
    out, lanes, _ = outbox()
    out.send(submit("a"))
    lanes.do_next()
    lanes.clock = 100 * MS
    assert words(out.due()) == ["a lost"]
    assert words(out.withdraw("halted")) == []
    assert out.unknown == 1


def test_a_cancel_of_an_order_still_under_way_is_said_again() -> None:
    out, lanes, _ = outbox()
    out.send(submit("a"))
    lanes.do_next()
    lanes.clock = 100 * MS
    out.due()
    out.send(Cancel(1, 1, "a"))
    assert words(out.answered(lanes.do_next())[0]) == []
    lanes.clock += 10_000 * MS
    out.due()
    assert ("cancel", "a") in [key for key, _ in lanes.work]


def test_a_cancel_that_is_asked_for_again_and_again_is_sent_at_the_pace_of_one() -> None:
    out, lanes, venue = outbox()
    for count in range(1, 4):
        for _ in range(50):
            out.send(Cancel(1, 1, "a"))
        while lanes.work:
            lanes.do_next()
        assert venue.asked == ["cancel a"] * count
        lanes.clock += out._intervals.unknown_poll_ns


def test_a_cancel_that_is_refused_again_and_again_leaves_room_for_questions() -> None:
    """A strategy that asks on every tick does not use up the venue's rate for cancels."""
    out, lanes, venue = outbox()

    def no(request: Cancel, venue_order_id: str) -> None:
        venue.asked.append(f"cancel {request.order_id}")
        raise Refused("it is filled", code="10148")

    venue.cancel = no  # type: ignore[method-assign]
    for count in range(1, 4):
        for _ in range(50):
            out.send(Cancel(1, 1, "a"))
            if lanes.work:
                out.answered(lanes.do_next())
        assert venue.asked == ["cancel a"] * count
        lanes.clock += out._intervals.unknown_poll_ns


# ---------------------------------------------------------------- the rate on the wire

SECOND, MINUTE = 1_000 * MS, 60_000 * MS


class Wire(Venue):
    """Writes down when each request reached it."""

    def __init__(self, clock: Virtual) -> None:
        super().__init__()
        self.clock = clock
        self.came: list[tuple[int, str]] = []

    def submit(self, order: Submit) -> Ack:
        self.came.append((self.clock.now(), order.order_id))
        return Ack("V" + order.order_id, 1)

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        self.came.append((self.clock.now(), request.order_id))
        return Ack("V" + request.order_id, 1)


class Trading:
    """An outbox between decided orders and a venue whose answers take their time."""

    def __init__(self, limits: Limits, slow_ms: float, seed: int, timeout_ms: float = 1e7) -> None:
        self.clock = Virtual(seed, 0, (1.0, slow_ms))
        self.wire = Wire(self.clock)
        self.orders: dict[str, Order] = {}
        self.told: list[OrderUpdate] = []
        self.out = Outbox(
            self.wire,  # type: ignore[arg-type]
            self.clock,
            Intervals(call_timeout_ms=timeout_ms),
            lambda: self.orders,
            lambda: limits,
        )
        self.out.connected = True

    def until(self, at: int) -> None:
        while True:
            self.told += self.out.due()
            message = self.clock.wait(min(at, self.out.next_due))
            if isinstance(message, Answer):
                self.told += self.out.answered(message)[0]
            elif self.clock.now() >= at:
                return

    def send(self, name: str, *, exit_: bool = False) -> None:
        order = self.orders[name] = Order.of(submit(name))
        order.as_exit = exit_
        self.told += self.out.send(submit(name))

    def left(self, kind: str) -> list[int]:
        return [at for at, name in self.wire.came if name.startswith(kind)]


def fullest(times: list[int], length_ns: int) -> int:
    """Return how many of these times lie within a window of this length at most."""
    return max((sum(at <= t < at + length_ns for t in times) for at in times), default=0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("EEEEXRC"), st.integers(0, 1_500 * MS)), min_size=1, max_size=60
    ),
    st.sampled_from([5.0, 400.0, 6_000.0]),
    st.integers(1, 4),
    st.integers(3, 12) | st.none(),
    st.integers(0, 9),
)
def test_no_window_on_the_wire_has_more_than_the_limits_allow(
    asked, slow_ms, second, minute, seed
) -> None:
    limits = Limits(max_orders_per_second=second, max_orders_per_minute=minute)
    trading, at = Trading(limits, slow_ms, seed), 0
    for number, (kind, gap) in enumerate(asked):
        at += gap
        trading.until(at)
        if kind == "R" and trading.left("E"):
            name = next(name for _, name in trading.wire.came if name.startswith("E"))
            trading.out.send(Replace(1, 1, name, 5.0))
        elif kind == "C" and "E0" in trading.orders:
            trading.told += trading.out.send(Cancel(1, 1, "E0"))
        elif kind in "EX":
            trading.send(f"{kind}{number}", exit_=kind == "X")
    trading.until(at + 25 * MINUTE)
    withdrawn = {told.order_id for told in trading.told if told.what == "never_sent"}
    for kind in "EX":
        times = trading.left(kind)
        assert fullest(times, SECOND) <= second
        assert minute is None or fullest(times, MINUTE) <= minute
        names = [name for _, name in trading.wire.came if name.startswith(kind)]
        firsts = list(dict.fromkeys(names))
        assert firsts == [n for n in trading.orders if n[0] == kind and n not in withdrawn]


def test_what_piled_up_behind_a_slow_answer_leaves_no_faster_afterwards() -> None:
    """Ten orders in ten seconds keep the limit, but all wait for the first one's answer."""
    trading = Trading(Limits(max_orders_per_second=1), 1.0, 0)
    trading.clock._latency_ms = (6_000.0, 6_000.0)
    for number in range(10):
        trading.until(number * SECOND)
        trading.send(f"E{number}")
        if number:
            trading.clock._latency_ms = (1.0, 1.0)
    trading.until(MINUTE)
    times = trading.left("E")
    assert len(times) == 10
    assert fullest(times, SECOND) == 1
    assert times[-1] < 22 * SECOND


def test_exits_wait_for_no_entry_that_waits_for_its_turn() -> None:
    trading = Trading(Limits(max_orders_per_minute=2), 1.0, 0)
    for name in ("E0", "E1", "E2", "E3"):
        trading.send(name)
    trading.send("X0", exit_=True)
    trading.until(SECOND)
    assert [name for _, name in trading.wire.came] == ["E0", "X0", "E1"]


def test_a_cancel_takes_what_waits_for_its_turn_off_at_once() -> None:
    trading = Trading(Limits(max_orders_per_minute=1), 1.0, 0)
    for name in ("E0", "E1", "E2"):
        trading.send(name)
    trading.until(SECOND)
    trading.told.clear()
    trading.told += trading.out.send(Cancel(1, 1, "E1"))
    assert words(trading.told) == ["E1 never_sent"]
    trading.until(3 * MINUTE)
    assert [name for _, name in trading.wire.came] == ["E0", "E2"]
    assert trading.wire.asked == []


@pytest.mark.parametrize("why", ["halted", "time"])
def test_what_waits_for_its_turn_is_given_up_as_anything_that_waits(why: str) -> None:
    trading = Trading(Limits(max_orders_per_minute=1), 1.0, 0, timeout_ms=5_000.0)
    for name in ("E0", "E1"):
        trading.send(name)
    trading.until(SECOND)
    if why == "halted":
        assert words(trading.out.withdraw("halted")) == ["E1 never_sent"]
    else:
        trading.until(6 * SECOND)
        assert words(trading.told)[-1] == "E1 never_sent"
        assert "rate" in trading.told[-1].reason
    trading.until(3 * MINUTE)
    assert [name for _, name in trading.wire.came] == ["E0"]
    assert trading.out.next_due == NEVER


def test_what_an_earlier_life_sent_counts_as_late_as_it_can_have_left() -> None:
    trading = Trading(Limits(max_orders_per_minute=2), 1.0, 0, timeout_ms=5_000.0)
    trading.clock.pause(20 * SECOND)
    for name, at in (("E0", 12 * SECOND), ("E1", 18 * SECOND)):
        order = trading.orders[name] = Order.of(msgspec.structs.replace(submit(name), seen=at))
        order.move(Happening.FILLED, at)
    trading.out.take_up()
    trading.out.take_up()  # with the next connection; counted once
    trading.send("E2")
    assert trading.out.next_due == 25 * SECOND  # given up before its turn, at 80 s, has come
    trading.until(30 * SECOND)
    assert words(trading.told) == ["E2 never_sent"]
    trading.until(79 * SECOND)
    trading.send("E3")
    trading.until(2 * MINUTE)
    assert [at // SECOND for at in trading.left("E3")] == [80]


def test_an_exit_leaves_while_the_venue_is_still_silent_on_an_entry() -> None:
    """On real threads: one request that hangs holds up what adds to a risk, and nothing else."""
    free, left = threading.Event(), queue.SimpleQueue[str]()

    class Silent(Venue):
        def submit(self, order: Submit) -> Ack:
            left.put(order.order_id)
            if order.order_id == "entry":
                free.wait(60)
            return Ack("V1", 1)

        def cancel(self, request: Cancel, venue_order_id: str) -> None:
            left.put(f"cancel {request.order_id}")

    orders = {name: Order.of(submit(name)) for name in ("entry", "next", "exit", "old")}
    orders["exit"].as_exit = True
    runtime = Threads()
    out = Outbox(Silent(), runtime, Intervals(), lambda: orders, Limits)  # type: ignore[arg-type]
    out.connected = True
    try:
        for name in ("entry", "next", "exit"):
            out.send(submit(name))
        out.send(Cancel(1, 1, "old"))
        assert left.get(timeout=60) == "entry"
        assert {left.get(timeout=60), left.get(timeout=60)} == {"exit", "cancel old"}
        assert left.empty()
        free.set()
        assert left.get(timeout=60) == "next"
    finally:
        free.set()
        runtime.close()
