"""The inbox and the lanes of a session with real threads."""

from __future__ import annotations

import threading

import pytest

from regimeflow.model.events import Command, OrderUpdate
from regimeflow.model.market import Trade
from regimeflow.venues import runtime
from regimeflow.venues.runtime import Answer, Overflow, Threads

LONG = 60 * 10**9


def word(name: str) -> OrderUpdate:
    return OrderUpdate(1, 0, name, "accepted")


def test_each_message_is_heard_once_and_in_order_whoever_says_it() -> None:
    """Many speakers, one listener that gives up waiting again and again."""
    inbox = Threads()
    speakers, each = 4, 2_000

    def speak(speaker: int) -> None:
        for number in range(each):
            inbox.say(word(f"{speaker} {number}"))

    threads = [threading.Thread(target=speak, args=(n,)) for n in range(speakers)]
    for thread in threads:
        thread.start()
    heard: list[list[int]] = [[] for _ in range(speakers)]
    while sum(map(len, heard)) < speakers * each:
        message = inbox.wait(inbox.now() + 1_000)  # most of the time it is over at once
        if message is not None:
            assert isinstance(message, OrderUpdate)
            speaker, number = message.order_id.split()
            heard[int(speaker)].append(int(number))
    assert heard == [list(range(each))] * speakers
    assert inbox.wait(inbox.now()) is None
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("late", [False, True])
def test_whoever_waits_is_woken_also_after_it_gave_up_before(late: bool) -> None:
    inbox = Threads()
    if late:
        assert inbox.wait(inbox.now() + 1_000) is None
        inbox.say(word("said while nobody waited"))
        assert inbox.wait(inbox.now() + LONG) == word("said while nobody waited")
    thread = threading.Thread(target=lambda: inbox.command(Command(1, 1, "halt", "", "user")))
    thread.start()
    assert isinstance(inbox.wait(inbox.now() + LONG), Command)
    thread.join()


def test_a_lane_does_one_thing_after_the_other_and_answers_each() -> None:
    inbox = Threads()
    running: list[int] = []

    def work(number: int) -> int:
        assert running == []
        running.append(number)
        if number == 7:
            running.clear()
            raise ValueError("seven")
        running.clear()
        return number

    for number in range(50):
        inbox.call("orders", ("submit", str(number)), lambda number=number: work(number))
    answers = [inbox.wait(inbox.now() + LONG) for _ in range(50)]
    assert all(isinstance(answer, Answer) for answer in answers)
    assert [answer.key[1] for answer in answers] == [str(n) for n in range(50)]  # type: ignore[union-attr]
    assert [answer.value for answer in answers if answer.error is None] == [  # type: ignore[union-attr]
        n for n in range(50) if n != 7
    ]
    inbox.close()


def test_a_lane_that_waits_holds_up_neither_another_one_nor_who_gives_it_more() -> None:
    inbox = Threads()
    free, begun = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        free.wait(60)

    inbox.call("orders", ("submit", "slow"), slow)
    inbox.call("orders", ("submit", "next"), lambda: None)
    inbox.call("cancels", ("cancel", "quick"), lambda: None)
    assert begun.wait(60)
    first = inbox.wait(inbox.now() + LONG)
    assert isinstance(first, Answer)
    assert first.key == ("cancel", "quick")
    free.set()
    rest = [inbox.wait(inbox.now() + LONG) for _ in range(2)]
    assert [answer.key[1] for answer in rest] == ["slow", "next"]  # type: ignore[union-attr]
    inbox.close()


def test_what_waits_in_a_lane_when_all_is_closed_is_never_done() -> None:
    inbox = Threads()
    free, begun, done = threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        free.wait(60)

    inbox.call("orders", ("submit", "slow"), slow)
    inbox.call("orders", ("submit", "next"), lambda: done.append("next"))
    assert begun.wait(60)
    closing = threading.Thread(target=inbox.close)
    closing.start()
    while not inbox._lanes["orders"]._closed:
        pass
    free.set()
    closing.join()
    assert done == []
    assert not inbox._lanes["orders"]._thread.is_alive()


def test_who_gives_an_idle_lane_something_is_let_go_as_soon_as_that_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However short the work is: the lane must not take back what it has let go."""
    monkeypatch.setattr(runtime, "_HANDOVER_S", LONG / 1e9)
    inbox = Threads()

    def give() -> None:
        for number in range(50):
            inbox.call("orders", ("submit", str(number)), lambda: None)
            inbox.wait(inbox.now() + LONG)
            inbox.wait(inbox.now() + 2_000_000)  # long enough for a processor to fall asleep

    giver = threading.Thread(target=give, daemon=True)
    giver.start()
    giver.join(LONG / 1e9)
    assert not giver.is_alive()
    inbox.close()


def trade(number: int) -> Trade:
    return Trade(number, 0, "AAA", 1.0, 1.0)


def test_what_was_thrown_away_is_told_at_once_though_the_feed_never_rests() -> None:
    """Told before what waits, and then the rest is taken: one loss does not hide the next."""
    inbox = Threads(capacity=3)
    for number in range(10):
        inbox.say(trade(number))
    heard: list[object] = []
    for number in range(10, 30):
        heard.append(inbox.wait(inbox.now()))
        inbox.say(trade(number))
        inbox.say(trade(number))
    assert heard[0] == Overflow(7)
    assert heard[1:4] == [trade(0), trade(1), trade(2)]
    left = list(iter(lambda: inbox.wait(inbox.now()), None))
    lost = sum(m.lost for m in (*heard, *left) if isinstance(m, Overflow))
    trades = sum(isinstance(m, Trade) for m in (*heard, *left))
    assert lost + trades == 10 + 2 * 20
    inbox.say(trade(99))
    assert inbox.wait(inbox.now()) == trade(99)
