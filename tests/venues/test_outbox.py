"""Requests that wait to be sent, and are given up before their turn comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from regimeflow.errors import NotThere, Refused
from regimeflow.model.events import Cancel, Replace, Submit
from regimeflow.venues.intervals import Intervals
from regimeflow.venues.outbox import NOT_SENT, Outbox
from regimeflow.venues.port import Ack, Capabilities
from regimeflow.venues.runtime import Answer

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
    made = Outbox(venue, lanes, Intervals(call_timeout_ms=100), dict)  # type: ignore[arg-type]
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
