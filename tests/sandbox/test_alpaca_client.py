"""Alpaca's own client library, told nothing but the sandbox's address and keys."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data import requests as ask
from alpaca.data.historical import CryptoHistoricalDataClient, StockHistoricalDataClient
from alpaca.data.live import StockDataStream
from alpaca.data.timeframe import TimeFrame
from alpaca.trading import requests as give
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderStatus
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


# ---------------------------------------------------------------- positions and orders


def buys(symbol="SPY", qty=4, **terms):
    given = {"side": "buy", "time_in_force": "day", **terms}
    return give.MarketOrderRequest(symbol=symbol, qty=qty, **given)


def rests(symbol="SPY", limit=50.0):
    return give.LimitOrderRequest(
        symbol=symbol, qty=1, side="buy", time_in_force="day", limit_price=limit
    )


def test_positions_are_whole_and_are_closed_in_parts_or_whole(trading, sandbox):
    trading.submit_order(buys())
    sandbox.hand.tick("SPY", 110.0)
    row = trading.get_open_position("SPY")
    assert [r.symbol for r in trading.get_all_positions()] == ["SPY"]
    assert (row.qty, row.qty_available, row.exchange, row.side) == ("4", "4", "NASDAQ", "long")
    cost = float(row.avg_entry_price) * 4
    assert float(row.cost_basis) == pytest.approx(cost)
    assert float(row.market_value) == 440.0
    assert float(row.unrealized_pl) == pytest.approx(440.0 - cost)
    assert float(row.unrealized_plpc) == pytest.approx((440.0 - cost) / cost)
    part = trading.close_position("SPY", give.ClosePositionRequest(qty="1"))
    assert (part.side, part.qty) == ("sell", "1")
    half = trading.close_position(str(row.asset_id), give.ClosePositionRequest(percentage="50"))
    assert half.qty == "1"
    with pytest.raises(APIError) as no:
        trading.close_position("SPY", give.ClosePositionRequest(qty="9"))
    assert (no.value.status_code, no.value.code) == (403, 40310000)
    trading.submit_order(buys("QQQ", side="sell"))
    done = trading.close_all_positions(cancel_orders=True)
    assert [(row.symbol, row.status, row.body.side) for row in done] == [
        ("QQQ", 200, "buy"),
        ("SPY", 200, "sell"),
    ]
    assert trading.get_all_positions() == []
    with pytest.raises(APIError, match="position does not exist") as no:
        trading.get_open_position("SPY")
    assert (no.value.status_code, no.value.code) == (404, 40410000)


def test_all_orders_are_canceled_in_one_request(trading):
    placed = [trading.submit_order(rests()) for _ in range(2)]
    done = trading.cancel_orders()
    assert [(row.id, row.status) for row in done] == [(order.id, 200) for order in placed]
    ended = {trading.get_order_by_id(order.id).status for order in placed}
    assert ended == {OrderStatus.CANCELED}
    assert trading.get_orders() == []


@pytest.mark.parametrize(
    ("order", "status", "words"),
    [
        (buys(qty=0.5), 403, "is not fractionable"),
        (buys(qty=0.5, time_in_force="gtc"), 422, "must be DAY orders"),
        (buys(qty=None, notional=100), 403, "is not fractionable"),
        (buys(time_in_force="opg"), 422, "no time in force 'opg'"),
        (
            give.TrailingStopOrderRequest(
                symbol="SPY", qty=1, side="sell", time_in_force="day", trail_percent=5
            ),
            422,
            "no 'trailing_stop' orders",
        ),
    ],
    ids=["part", "part-gtc", "money", "opg", "trailing"],
)
def test_orders_that_the_sandbox_does_not_take_are_refused_as_alpaca_refuses(
    order, status, words, trading
):
    with pytest.raises(APIError, match=words) as no:
        trading.submit_order(order)
    assert (no.value.status_code, no.value.code) == (status, status * 100_000 + 10_000)


def test_crypto_is_bought_for_money():
    with Sandbox(symbols=("BTC/USD",), whole=1.0) as venue:
        venue.hand.hold()
        venue.hand.tick("BTC/USD", 40_000.0)
        here = f"http://127.0.0.1:{venue.port}"
        trading = TradingClient(API_KEY, SECRET_KEY, url_override=here)
        order = trading.submit_order(
            give.MarketOrderRequest(
                symbol="BTC/USD", notional=100.0, side="buy", time_in_force="gtc"
            )
        )
        assert (order.qty, order.notional, order.filled_qty) == (None, "100.0", "0.0025")
        assert order.status == OrderStatus.FILLED
        assert trading.get_open_position("BTCUSD").qty == "0.0025"
        data = CryptoHistoricalDataClient(url_override=here, api_key=API_KEY, secret_key=SECRET_KEY)
        latest = data.get_crypto_latest_trade(
            ask.CryptoLatestTradeRequest(symbol_or_symbols="BTC/USD")
        )
        assert latest["BTC/USD"].price == 40_000.0


def test_what_cannot_be_paid_for_is_refused_and_what_closes_never_is(trading):
    account = trading.get_account()
    assert float(account.buying_power) == pytest.approx(2 * float(account.equity), rel=0.01)
    for side in ("buy", "sell"):
        with pytest.raises(APIError, match="insufficient buying power") as no:
            trading.submit_order(buys("QQQ", qty=1_000_000_000, side=side))
        assert (no.value.status_code, no.value.code) == (403, 40310000)
    most = int(float(account.buying_power) // 130)
    resting = trading.submit_order(
        give.LimitOrderRequest(
            symbol="QQQ", qty=most, side="buy", time_in_force="day", limit_price=50
        )
    )
    with pytest.raises(APIError, match="insufficient buying power"):  # what rests is reserved
        trading.submit_order(buys("QQQ", qty=most))
    with pytest.raises(APIError, match="insufficient buying power"):
        trading.replace_order_by_id(resting.id, give.ReplaceOrderRequest(qty=10 * most))
    trading.cancel_orders()
    trading.submit_order(buys("QQQ", qty=most))
    assert float(trading.get_account().buying_power) < 0.5 * float(account.buying_power)
    assert trading.close_position("QQQ").qty == str(most)


# ---------------------------------------------------------------- market data


@pytest.fixture
def data(sandbox):
    here = f"http://127.0.0.1:{sandbox.port}"
    return StockHistoricalDataClient(API_KEY, SECRET_KEY, url_override=here)


def test_the_latest_and_the_past_are_told(data, sandbox):
    sandbox.hand.tick("QQQ", 120.0)
    both = ["SPY", "QQQ"]
    quotes = data.get_stock_latest_quote(ask.StockLatestQuoteRequest(symbol_or_symbols=both))
    assert (quotes["QQQ"].bid_price, quotes["QQQ"].ask_price) == (119.99, 120.01)
    trades = data.get_stock_latest_trade(ask.StockLatestTradeRequest(symbol_or_symbols=both))
    assert trades["QQQ"].price == 120.0
    bars = data.get_stock_latest_bar(ask.StockLatestBarRequest(symbol_or_symbols=both))
    assert bars["QQQ"].close == 120.0
    start = datetime.now(UTC) - timedelta(minutes=5)
    told = data.get_stock_trades(ask.StockTradesRequest(symbol_or_symbols="QQQ", start=start))
    assert told["QQQ"][-1].price == 120.0
    told = data.get_stock_quotes(ask.StockQuotesRequest(symbol_or_symbols="QQQ", start=start))
    assert told["QQQ"][-1].bid_price == 119.99


def test_bars_need_no_end_and_take_times_of_any_zone(data):
    start = datetime.now(UTC) - timedelta(minutes=20)
    zoned = start.astimezone(ZoneInfo("America/New_York"))
    for begin in (start, zoned, start.replace(microsecond=0)):
        asked = ask.StockBarsRequest(
            symbol_or_symbols="SPY", timeframe=TimeFrame.Minute, start=begin
        )
        assert 19 <= len(data.get_stock_bars(asked)["SPY"]) <= 21


def test_what_there_is_not_is_said_in_alpacas_words(trading):
    with pytest.raises(APIError, match="endpoint not found") as no:
        trading.get_portfolio_history()
    assert (no.value.status_code, no.value.code) == (404, 40410000)
