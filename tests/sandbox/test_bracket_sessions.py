"""Entries with exits in live sessions over real sockets: the venue holds them while nobody is."""

from __future__ import annotations

import pytest
from sockets import await_

import regimeflow as rf
from regimeflow.journal import events
from regimeflow.model.events import OrderUpdate
from regimeflow.sandbox import TWS, Alpaca, check
from regimeflow.sandbox.process import VenueProcess


class OneBracket(rf.Strategy):
    """Buys once, with exits far enough away that only a hand reaches them."""

    def initialize(self, ctx):
        self.sent = False

    def on_tick(self, ctx, trade):
        if not self.sent:
            self.sent = True
            ctx.buy(trade.symbol, 10, take_profit=120.0, stop_loss=80.0)


def loopback(tmp_path):
    return VenueProcess(tmp_path / "venue.jsonl", symbols=("AAA",), whole=1.0)


def alpaca(tmp_path):
    return Alpaca(tmp_path / "venue.jsonl", symbols=("AAA",), whole=1.0)


def tws(tmp_path):
    return TWS(tmp_path / "venue.jsonl", symbols=("AAA",), whole=1.0)


VENUES = {"loopback": loopback, "alpaca": alpaca, "tws": tws}


@pytest.fixture(params=VENUES)
def venue(request, tmp_path):
    with VENUES[request.param](tmp_path) as running:
        running.hand.hold()
        yield running


def session(venue, run_dir):
    intervals = rf.venues.Intervals(
        clock_ms=20, order_poll_ms=300, position_poll_ms=500, account_ms=500, unknown_poll_ms=100,
        reconnect_initial_ms=20, stop_ms=20_000,
    )  # fmt: skip
    return rf.LiveSession(
        OneBracket, venue.venue(), symbols=["AAA"], run_dir=run_dir, intervals=intervals,
        limits=rf.Limits(max_position=10, max_data_age_ms=None),
    )  # fmt: skip


def run_until(session, venue, done, what):
    """Run a session, with somebody trading at the price, until something is so."""
    session.start()
    await_(lambda: session.state == "active", "the session to trade")

    def happened():
        venue.hand.tick("AAA", 100.0)
        return done()

    await_(happened, what)
    session.stop()


def order_of(session, suffix):
    rows = session.orders
    (row,) = rows[rows["order_id"].str.endswith("-1" + suffix)].to_dict("records")
    return row


@pytest.mark.parametrize(("price", "fills", "ends"), [(121.0, "t", "s"), (79.0, "s", "t")])
def test_an_exit_fills_while_no_session_is_there(venue, tmp_path, price, fills, ends):
    run_dir = tmp_path / "run"
    first = session(venue, run_dir)
    run_until(
        first, venue,
        lambda: len(first.fills) and {order_of(first, s)["status"] for s in "ts"} == {"open"},
        "the entry to fill",
    )  # fmt: skip
    assert dict(first.positions) == {"AAA": 10.0}
    venue.hand.tick("AAA", price)
    venue.hand.tick("AAA", 100.0)
    again = session(venue, run_dir)
    run_until(again, venue, lambda: len(again.fills) == 2, "the exit to be found")
    assert (order_of(again, fills)["status"], order_of(again, ends)["status"]) == (
        "filled",
        "canceled",
    )
    assert dict(again.positions) == {}
    assert rf.certify(run_dir).identical
    told = [e for _, e, _ in events(run_dir) if isinstance(e, OrderUpdate) and e.what == "rejected"]
    assert told == []
    venue.stop()
    assert check(venue.ledger, run_dir) == []
