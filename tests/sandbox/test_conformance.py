"""The cases that every adapter must pass: over real sockets, and in this process."""

from __future__ import annotations

import time

import pytest

from regimeflow.errors import ConfigError, VenueError
from regimeflow.sandbox.conformance import check_venue, needs_control
from regimeflow.sandbox.exchange import Exchange
from regimeflow.sandbox.process import VenueProcess
from regimeflow.venues.port import Disconnected

SECOND = 10**9


class ExchangeHand:
    symbols = ("AAA", "BBB")
    timeframe = SECOND

    def __init__(self, exchange):
        self.tick, self.fill, self.end = exchange.tick, exchange.fill, exchange.end
        self.trade, self.order = exchange.trade_by_hand, exchange.order_by_hand
        self.exchange = exchange

    def disconnect(self):
        self.exchange._say(Disconnected("by hand"))


@pytest.fixture(scope="module")
def sockets(tmp_path_factory):
    ledger = tmp_path_factory.mktemp("venue") / "venue.jsonl"
    with VenueProcess(ledger, whole=1.0) as venue:
        venue.hand.hold()
        yield venue.venue, lambda: venue.hand


@pytest.fixture(scope="module")
def exchange():
    made = Exchange(time.time_ns, whole=1.0, cash=1e6, timeframe=SECOND)
    return lambda: made, lambda: ExchangeHand(made)


NAMES = [str(case) for case in check_venue(lambda: None, lambda: None)]


@pytest.mark.parametrize("where", ["sockets", "exchange"])
@pytest.mark.parametrize("name", NAMES)
def test_the_port_is_kept(name, where, request):
    cases = {str(case): case for case in check_venue(*request.getfixturevalue(where))}
    cases[name].run()


def test_there_are_cases_enough():
    assert len(NAMES) >= 60


@pytest.mark.parametrize("where", ["sockets", "exchange"])
def test_without_a_control_an_adapter_is_tried_as_far_as_it_goes(where, request):
    make_adapter, _ = request.getfixturevalue(where)
    cases = list(check_venue(make_adapter()))
    for case in cases:
        case.run()
    names = [str(case) for case in cases]
    assert len(names) >= 12
    # The two lists are all of it, each in the order in which all are tried.
    assert sorted([*names, *needs_control()]) == sorted(NAMES)
    assert [name for name in NAMES if name in names] == names


def test_an_adapter_that_breaks_a_promise_is_found_without_a_control():
    class Keeps(Exchange):
        def order(self, order_id, venue_order_id=""):
            raise VenueError("404")

    cases = {str(case): case for case in check_venue(Keeps(time.time_ns, whole=1.0))}
    with pytest.raises(AssertionError, match="must be Refused"):
        cases["an unknown order is not there"].run()


def test_things_and_what_makes_them_are_both_taken(exchange):
    make_adapter, make_control = exchange
    assert [str(case) for case in check_venue(make_adapter(), make_control())] == NAMES
    case = next(c for c in check_venue(make_adapter(), make_control()) if "rests" in str(c))
    case.run()
    with pytest.raises(ConfigError, match="check_venue takes an adapter"):
        list(check_venue("alpaca"))
