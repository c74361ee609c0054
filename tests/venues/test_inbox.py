"""The door into the engine thread: nothing is lost, commands overtake, the end is the end."""

import threading

import pytest

import regimeflow as rf
from regimeflow.model.events import Clock, Command, Finish
from regimeflow.venues.inbox import Inbox


def clock(n):
    return Clock(n, n)


def test_events_come_in_order_and_the_end_comes_last():
    box = Inbox()
    for n in range(5):
        assert box.put(clock(n))
    box.put(Finish(9, 9))
    assert list(box.events()) == [*map(clock, range(5)), Finish(9, 9)]


def test_a_command_overtakes_what_waits_and_takes_the_time_of_what_was_last_seen():
    box = Inbox()
    for n in range(1, 4):
        box.put(clock(n))
    events = box.events()
    assert next(events) == clock(1)
    box.command("halt", "why", "me")
    assert next(events) == Command(1, 1, "halt", "why", "me")
    assert next(events) == clock(2)


def test_closing_drops_what_waits_but_not_commands():
    box = Inbox()
    for n in range(1, 4):
        box.put(clock(n))
    events = box.events()
    next(events)
    box.command("stop")
    box.close("asked to", after_ns=7)
    assert list(events) == [Command(1, 1, "stop"), Finish(8, 8, "asked to")]
    assert box.put(clock(5)) is False
    box.close("again")


def test_a_source_that_is_faster_waits_at_the_door():
    box = Inbox(capacity=3)
    count = 500

    def feed():
        for n in range(count):
            box.put(clock(n))
        box.put(Finish(count, count))

    thread = threading.Thread(target=feed)
    thread.start()
    seen = []
    for event in box.events():
        assert len(box) <= 3
        seen.append(event.ts)
    thread.join(10)
    assert not thread.is_alive()
    assert seen == list(range(count + 1))


def test_closing_lets_a_waiting_source_go():
    box = Inbox(capacity=1)
    box.put(clock(1))
    refused = []
    thread = threading.Thread(target=lambda: refused.append(box.put(clock(2))))
    thread.start()
    box.close("over")
    thread.join(10)
    assert refused == [False]


@pytest.mark.parametrize("speed", [0, -1.0, float("nan")])
def test_a_pace_that_is_none_is_refused(speed):
    with pytest.raises(rf.ConfigError, match="speed must be positive"):
        rf.venues.Simulated(None, speed=speed)
