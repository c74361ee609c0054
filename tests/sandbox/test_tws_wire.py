"""The port is kept by Interactive Brokers' adapter: the real client over sockets to our TWS."""

from __future__ import annotations

import pytest

from regimeflow.sandbox import TWS
from regimeflow.sandbox.conformance import check_venue

NAMES = [str(case) for case in check_venue(lambda: None, lambda: None)]


class TwsHand:
    """TWS's orders have numbers, where the exchange's have names."""

    def __init__(self, hand):
        self._hand = hand

    def __getattr__(self, name):
        return getattr(self._hand, name)

    def order(self, *terms):
        return self._hand.order(*terms)[1:]


@pytest.fixture(scope="module")
def tws(tmp_path_factory):
    ledger = tmp_path_factory.mktemp("tws") / "tws.jsonl"
    with TWS(ledger, symbols=("AAA", "BBB"), whole=1.0) as venue:
        venue.hand.hold()
        hand = TwsHand(venue.hand)
        yield venue.venue, lambda: hand


@pytest.mark.parametrize("name", NAMES)
def test_the_port_is_kept(name, tws):
    cases = {str(case): case for case in check_venue(*tws)}
    cases[name].run()
