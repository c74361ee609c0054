"""Alpaca's own client library, told nothing but the sandbox's address and keys."""

from __future__ import annotations

import asyncio

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.live import StockDataStream
from alpaca.trading.client import TradingClient
from alpaca.trading.stream import TradingStream

from regimeflow.sandbox.alpaca import API_KEY, SECRET_KEY
from regimeflow.sandbox.alpaca import Alpaca as Sandbox

WRONG = [("PKSANDBOXSANDBOX", "wrong"), ("PKWRONG", "made-up-for-the-sandbox"), ("x", "y")]


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(symbols=("SPY", "QQQ"), whole=1.0, history=30, timeframe="1min") as venue:
        venue.hand.hold()
        for symbol in venue.symbols:
            venue.hand.tick(symbol, 100.0)
        yield venue


@pytest.fixture
def trading(sandbox):
    return TradingClient(API_KEY, SECRET_KEY, url_override=f"http://127.0.0.1:{sandbox.port}")


@pytest.mark.parametrize("keys", WRONG, ids=str)
def test_keys_that_are_not_the_sandboxes_are_refused_everywhere(keys, sandbox):
    here = f"127.0.0.1:{sandbox.port}"
    with pytest.raises(APIError) as no:
        TradingClient(*keys, url_override=f"http://{here}").get_account()
    assert (no.value.status_code, no.value.code) == (401, 40110000)
    for stream in (
        TradingStream(*keys, url_override=f"ws://{here}/stream"),
        StockDataStream(*keys, url_override=f"ws://{here}/v2/iex"),
    ):
        with pytest.raises(ValueError, match="fail"):
            asyncio.run(_opened(stream))


async def _opened(stream):
    try:
        await stream._start_ws()
    finally:
        await stream.close()


def test_the_keys_of_the_sandbox_are_constant_and_open_it(sandbox, trading):
    assert (API_KEY, SECRET_KEY) == ("PKSANDBOXSANDBOX", "made-up-for-the-sandbox")
    assert trading.get_account().status == "ACTIVE"
    here = f"127.0.0.1:{sandbox.port}"
    asyncio.run(_opened(TradingStream(API_KEY, SECRET_KEY, url_override=f"ws://{here}/stream")))
    asyncio.run(_opened(StockDataStream(API_KEY, SECRET_KEY, url_override=f"ws://{here}/v2/iex")))
