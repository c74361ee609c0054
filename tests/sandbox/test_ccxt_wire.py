"""The cases that every adapter must pass, with ccxt's own client on two exchanges' sockets."""

from __future__ import annotations

import pytest

from regimeflow.sandbox.binance import Binance
from regimeflow.sandbox.bybit import Bybit
from regimeflow.sandbox.conformance import check_venue

NAMES = [str(case) for case in check_venue(lambda: None, lambda: None)]


def opened(kind, tmp_path_factory, **how):
    ledger = tmp_path_factory.mktemp(kind.kind) / "venue.jsonl"
    with kind(ledger, whole=1.0, **how) as exchange:
        exchange.hand.hold()
        for symbol in exchange.symbols:  # a spot account sells what it has
            exchange.hand.tick(symbol, 100.0)
            exchange.hand.trade(symbol, "buy", 1_000.0)
        yield lambda: exchange.venue(settle_ms=500.0), lambda: exchange.hand


@pytest.fixture(scope="module")
def binance(tmp_path_factory):
    yield from opened(Binance, tmp_path_factory)


@pytest.fixture(scope="module")
def bybit(tmp_path_factory):
    yield from opened(Bybit, tmp_path_factory, timeframe="1min")


@pytest.fixture(scope="module")
def swaps(tmp_path_factory):
    symbols = ("AAA/USDT:USDT", "BBB/USDT:USDT")
    yield from opened(Bybit, tmp_path_factory, timeframe="1min", symbols=symbols)


@pytest.mark.parametrize("where", ["binance", "bybit", "swaps"])
@pytest.mark.parametrize("name", NAMES)
def test_the_port_is_kept(name, where, request):
    cases = {str(case): case for case in check_venue(*request.getfixturevalue(where))}
    cases[name].run()
