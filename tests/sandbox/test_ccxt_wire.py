"""The cases that every adapter must pass, with ccxt's own client over real sockets."""

from __future__ import annotations

import pytest

from regimeflow.sandbox.binance import Binance
from regimeflow.sandbox.conformance import check_venue

NAMES = [str(case) for case in check_venue(lambda: None, lambda: None)]


@pytest.fixture(scope="module")
def binance(tmp_path_factory):
    ledger = tmp_path_factory.mktemp("binance") / "venue.jsonl"
    with Binance(ledger, whole=1.0) as exchange:
        exchange.hand.hold()
        for symbol in exchange.symbols:  # a spot account sells what it has
            exchange.hand.tick(symbol, 100.0)
            exchange.hand.trade(symbol, "buy", 1_000.0)
        yield lambda: exchange.venue(settle_ms=500.0), lambda: exchange.hand


@pytest.mark.parametrize("name", NAMES)
def test_binance_keeps_the_port(name, binance):
    {str(case): case for case in check_venue(*binance)}[name].run()
