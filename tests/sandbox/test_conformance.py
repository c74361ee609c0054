"""The cases that every adapter must pass: over real sockets, and in this process."""

from __future__ import annotations

import time

import pytest

from regimeflow.sandbox.conformance import check_venue
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
