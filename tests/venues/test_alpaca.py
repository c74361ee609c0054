"""The real client library of Alpaca against the sandbox, over sockets: the promises of the port."""

from __future__ import annotations

import pytest

from regimeflow.sandbox.alpaca import Alpaca as Sandbox
from regimeflow.sandbox.conformance import check_venue

NAMES = [str(case) for case in check_venue(lambda: None, lambda: None)]
CRYPTO = ("BTC/USD", "ETH/USD")


@pytest.fixture(scope="module", params=["equity", "crypto"])
def sandbox(request, tmp_path_factory):
    ledger = tmp_path_factory.mktemp("alpaca") / "venue.jsonl"
    symbols = ("AAA", "BBB") if request.param == "equity" else CRYPTO
    with Sandbox(ledger, symbols=symbols, whole=1.0) as venue:
        venue.hand.hold()
        yield venue


@pytest.mark.parametrize("name", NAMES)
def test_the_port_is_kept(name, sandbox):
    cases = {str(case): case for case in check_venue(sandbox.venue, lambda: sandbox.hand)}
    cases[name].run()
