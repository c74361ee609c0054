"""What every broker's sessions must live through, whoever the broker is.

A test file makes a class of its own of `BrokerSessions`, says what its venue is like, and has a
fixture ``sandbox``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import pytest
from sessions import (
    LOST,
    NEWS,
    NOISE,
    STATUSES,
    UNANSWERED,
    cut_off,
    fired,
    happened,
    settled,
)
from sockets import await_

from regimeflow.journal import events
from regimeflow.model.events import Connection, Fill, OrderUpdate, Reconciled, Submit
from regimeflow.sandbox.script import Fault

#: What can become of a request to cancel or to change an order.
_WRONG = ("drop_before", "drop_after", "no_reply", "html", "http_500", "http_504_after", "delay")
_STREAM = {
    "twice, late or never": NEWS,
    "wrongly": NOISE,
    "no more": (Fault("order_update", "close", nth=9, every=20, times=2),),
}


def answers_fail(sandbox):
    """Let answers to orders and cancels fail in every way; return how often in all."""
    for nth, fault in enumerate((*LOST, *STATUSES), 2):
        sandbox.hand.fault(Fault("submit", fault, nth=nth, every=20, ms=100.0))
    cancels = ("drop_after", "no_reply", "html", "http_504_after")
    for nth, fault in enumerate(cancels, 2):
        sandbox.hand.fault(Fault("cancel", fault, nth=nth, every=9, ms=60.0))
    return len((*LOST, *STATUSES, *cancels))


def questions_fail(sandbox, kinds):
    """Let every way in which a question can fail happen to questions of these kinds."""
    for kind in kinds:
        for nth, what in enumerate(UNANSWERED, 2):
            sandbox.hand.fault(Fault(kind, what, nth=nth, every=7, ms=50.0))


def works(session):
    """Wait until the first order works; return its id."""
    await_(lambda: session.orders["status"].iloc[0] == "open", "the order to work")
    return session.orders["order_id"].iloc[0]


class BrokerSessions(ABC):
    """Tests of one broker.

    Attributes:
        symbols: what is traded; once: a strategy that buys 10 of the first, far from the price.
        changes: kinds of requests about orders that work.
        questions: kinds of questions that a session asks.
        market: kinds of news of the market.
        unreadable, gone: words for news that cannot be read, and for a stream that is closed.
        received: the part of what was bought that one gets.
    """

    symbols: tuple[str, str]
    once: type
    changes: tuple[str, ...] = ("cancel", "replace")
    questions: tuple[str, ...] = ("positions", "open_orders", "executions", "balances", "order")
    market: tuple[str, ...] = ("bar",)
    unreadable = "could not be read"
    gone: str
    received = 1.0

    @abstractmethod
    def trading(self, sandbox, run_dir, strategy=None, **how):
        """Return a session that is stopped at the end, and then judged."""

    @abstractmethod
    def posts(self, sandbox):
        """Return client order id -> how many requests to place it came over the wire."""

    # ------------------------------------------------------------ requests

    @pytest.mark.parametrize("faults", [LOST, STATUSES], ids=["answers", "statuses"])
    def test_an_intent_is_sent_once_whatever_is_answered(self, sandbox, tmp_path, faults):
        for nth, fault in enumerate(faults, 2):
            sandbox.hand.fault(Fault("submit", fault, nth=nth, every=11, times=2, ms=100.0))
        with self.trading(sandbox, tmp_path / "run") as session:
            await_(lambda: fired(sandbox).total() == 2 * len(faults), "the last fault")
            settled(session)
        sent, told = self.posts(sandbox), events(tmp_path / "run")
        assert set(sent.values()) == {1}
        written = [out for _, _, outs in told for out in outs if isinstance(out, Submit)]
        assert set(sent) <= {order.order_id for order in written}

    def test_cancels_and_changes_that_go_wrong_leave_nothing_open(self, sandbox, tmp_path):
        for kind in self.changes:
            for nth, fault in enumerate(_WRONG, 2):
                sandbox.hand.fault(Fault(kind, fault, nth=nth, every=9, times=2, ms=60.0))
        most = 2 * len(_WRONG) * len(self.changes)
        with self.trading(sandbox, tmp_path / "run") as session:
            await_(lambda: fired(sandbox).total() == most, "the last fault")
            settled(session)

    def test_a_fill_that_overtakes_its_acknowledgement_is_booked(self, sandbox, tmp_path):
        sandbox.hand.fault(Fault("submit", "delay", times=1_000, ms=60.0))
        sandbox.hand.fault(Fault("order_update", "lose", times=40))
        with self.trading(sandbox, tmp_path / "run") as session:
            await_(lambda: len(session.fills) > 5, "fills")
        first = {}
        for event in happened(tmp_path / "run", OrderUpdate | Fill):
            first.setdefault(event.order_id, type(event))
        assert Fill in first.values()

    @pytest.mark.parametrize("fault", [None, "drop_after", "no_reply", "html_before"], ids=str)
    def test_a_fill_that_races_a_cancel_wins(self, sandbox, tmp_path, fault):
        with self.trading(sandbox, tmp_path / "run", self.once) as session:
            sandbox.hand.hold()
            order_id = works(session)
            if fault is not None:
                sandbox.hand.fault(Fault("cancel", fault))
            sandbox.hand.fill(order_id, 4.0)
            session.halt("to take it back")
            await_(lambda: session.orders["status"].iloc[0] == "canceled", "the cancel")
            assert session.fills["qty"].sum() == pytest.approx(4.0 * self.received)

    # ------------------------------------------------------------ news and questions

    @pytest.mark.parametrize("how", _STREAM)
    def test_the_stream_of_orders_may_say_things(self, sandbox, tmp_path, how):
        for fault in _STREAM[how]:
            sandbox.hand.fault(fault)
        with self.trading(sandbox, tmp_path / "run") as session:
            most = sum(fault.times for fault in _STREAM[how])
            await_(lambda: fired(sandbox).total() == most, "the last fault")
            settled(session)
        if how == "wrongly":
            doubts = [r.why for r in happened(tmp_path / "run", Reconciled) if not r.ok]
            assert any(self.unreadable in why for why in doubts)
        if how == "no more":
            gone = [c.why for c in happened(tmp_path / "run", Connection) if not c.up]
            assert any(self.gone in why.lower() for why in gone)

    def test_questions_that_fail_are_not_answers(self, sandbox, tmp_path):
        questions_fail(sandbox, self.questions)
        with self.trading(sandbox, tmp_path / "run") as session:
            await_(lambda: fired(sandbox).total() >= 15, "the faults")
            settled(session)
        failed = [r.why for r in happened(tmp_path / "run", Reconciled) if not r.ok]
        assert any("status 500" in why for why in failed)

    def test_noise_in_the_market_is_counted_and_trading_goes_on(self, sandbox, tmp_path):
        for on in self.market:
            for fault in ("garbage", "duplicate", "lose", "reorder"):
                sandbox.hand.fault(Fault(on, fault, nth=4, every=5, times=3))
        with self.trading(sandbox, tmp_path / "run") as session:
            await_(lambda: fired(sandbox).total() >= 10, "the faults")
            settled(session)

    def test_streams_that_are_reset_are_opened_again_and_the_gap_is_told(self, sandbox, tmp_path):
        with self.trading(sandbox, tmp_path / "run") as session:
            cut_off(sandbox, tmp_path / "run", 3)
            settled(session, 6)

    # ------------------------------------------------------------ what nobody asked for

    def test_what_the_venue_does_unasked_is_taken_as_it_is(self, sandbox, tmp_path):
        with self.trading(sandbox, tmp_path / "run", self.once) as session:
            sandbox.hand.end(works(session), "expired")
            await_(lambda: session.orders["status"].iloc[0] == "expired", "its end")
            sandbox.hand.order(self.symbols[1], "buy", 3.0, 10.0)
            seen = lambda: [  # noqa: E731
                r for r in happened(tmp_path / "run", Reconciled) if r.foreign_orders
            ]
            await_(seen, "the order of somebody else")

    def test_more_than_was_asked_for_is_booked_and_trading_is_halted(self, sandbox, tmp_path):
        with self.trading(sandbox, tmp_path / "run", self.once) as session:
            sandbox.hand.overfill(works(session), 3.0)
            await_(lambda: session.state == "halted", "the halt")
            assert session.fills["qty"].sum() == pytest.approx(13.0 * self.received)

    def test_a_session_that_is_stopped_in_between_goes_on_where_it_was(self, sandbox, tmp_path):
        for turn in range(2):
            with self.trading(sandbox, tmp_path / "run") as session:
                settled(session, 5 * (turn + 1))
            sandbox.hand.trade(self.symbols[0], "buy", 5.0)
