"""ccxt's own client of Binance, told nothing but the sandbox's address and keys."""

from __future__ import annotations

import asyncio

import ccxt
import ccxt.pro
import pytest

from regimeflow.sandbox.binance import API_KEY, SECRET_KEY, Binance

PAIR = "AAA/USDT"
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def sandbox():
    with Binance(symbols=(PAIR,), whole=1.0) as venue:
        venue.hand.hold()
        venue.hand.tick(PAIR, 100.0)
        yield venue


def config(sandbox):
    http, ws = f"http://127.0.0.1:{sandbox.port}", f"ws://127.0.0.1:{sandbox.port}"
    api = {
        "public": f"{http}/api/v3",
        "private": f"{http}/api/v3",
        "ws": {"spot": f"{ws}/stream/ws", "ws-api": {"spot": f"{ws}/ws-api/v3"}},
    }
    options = {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}, "fetchMargins": False}
    return {
        "apiKey": API_KEY,
        "secret": SECRET_KEY,
        "enableRateLimit": False,
        "urls": {"api": api},
        "options": {**options, "fetchCurrencies": False},
    }


@pytest.fixture
def exchange(sandbox):
    sandbox.hand.tick(PAIR, 100.0)
    made = ccxt.binance(config(sandbox))
    yield made
    if made.fetch_open_orders(PAIR):
        made.cancel_all_orders(PAIR)


def test_the_book_is_told_level_by_level(exchange):
    book = exchange.fetch_order_book(PAIR, 5)
    assert book["bids"] == [
        [99.99, 100.0],
        [99.98, 100.0],
        [99.97, 100.0],
        [99.96, 100.0],
        [99.95, 100.0],
    ]
    assert book["asks"][0] == [100.01, 100.0]
    best = exchange.fetch_bids_asks([PAIR])[PAIR]
    assert (best["bid"], best["ask"]) == (99.99, 100.01)


def test_a_market_order_in_money_buys_what_that_is_worth(exchange):
    order = exchange.create_market_buy_order_with_cost(PAIR, 50)
    assert (order["status"], order["filled"], order["cost"]) == ("closed", 0.5, 50.0)
    assert exchange.fetch_order(order["id"], PAIR)["info"]["origQuoteOrderQty"] == "50.00000000"


def test_all_orders_of_a_pair_are_canceled_in_one_request(exchange):
    for limit in (50, 51):
        exchange.create_order(PAIR, "limit", "buy", 1, limit)
    assert len(exchange.cancel_all_orders(PAIR)) == 2
    assert exchange.fetch_open_orders(PAIR) == []
    with pytest.raises(ccxt.OrderNotFound):
        exchange.cancel_all_orders(PAIR)


def test_an_order_that_may_only_rest_is_refused_where_it_would_trade(exchange):
    with pytest.raises(ccxt.OrderImmediatelyFillable):
        exchange.create_order(PAIR, "limit", "buy", 1, 300, {"postOnly": True})
    order = exchange.create_order(PAIR, "limit", "buy", 1, 50, {"postOnly": True})
    shown = exchange.fetch_order(order["id"], PAIR)
    assert (shown["info"]["type"], shown["status"], shown["postOnly"]) == (
        "LIMIT_MAKER",
        "open",
        True,
    )


def test_trades_of_others_are_told(exchange, sandbox):
    sandbox.hand.tick(PAIR, 101.0)
    assert [trade["price"] for trade in exchange.fetch_trades(PAIR)][-2:] == [100.0, 101.0]
    one_by_one = exchange.fetch_trades(PAIR, params={"method": "publicGetTrades"})
    assert one_by_one[-1]["price"] == 101.0


def test_a_ticker_is_that_of_the_day(exchange, sandbox):
    sandbox.hand.tick(PAIR, 150.0)
    ticker = exchange.fetch_ticker(PAIR)
    assert (ticker["last"], ticker["high"]) == (150.0, 150.0)
    assert ticker["low"] < 100.0
    assert ticker["baseVolume"] > 0


def test_an_order_is_changed_by_another_in_its_stead(exchange):
    order = exchange.create_order(PAIR, "limit", "buy", 1, 50)
    changed = exchange.edit_order(order["id"], PAIR, "limit", "buy", 2, 49)
    assert changed["id"] != order["id"]
    (shown,) = exchange.fetch_open_orders(PAIR)
    assert (shown["id"], shown["amount"], shown["price"]) == (changed["id"], 2.0, 49.0)
    with pytest.raises(ccxt.ExchangeError, match="-2022"):
        exchange.edit_order(order["id"], PAIR, "limit", "buy", 2, 48)
    assert len(exchange.fetch_open_orders(PAIR)) == 1  # nothing was done
    with pytest.raises(ccxt.ExchangeError, match="-2021"):
        exchange.edit_order(changed["id"], PAIR, "limit", "buy", 1e9, 48)
    assert exchange.fetch_open_orders(PAIR) == []  # it was canceled, and no other was placed


def test_what_the_sandbox_does_not_do_has_binances_own_code(exchange):
    with pytest.raises(ccxt.ExchangeError, match="-1020"):
        exchange.publicGetAvgPrice({"symbol": "AAAUSDT"})
    with pytest.raises(ccxt.InvalidOrder):
        exchange.create_order(PAIR, "TAKE_PROFIT", "sell", 1, None, {"stopPrice": 300})


# ---------------------------------------------------------------- streams


def streamed(sandbox, work):
    """Return what comes of a coroutine of an exchange whose streams are watched."""

    async def run():
        made = ccxt.pro.binance(config(sandbox))
        try:
            await made.load_markets()
            return await asyncio.wait_for(work(made), PATIENCE_S)
        finally:
            await made.close()

    return asyncio.run(run())


async def moved(sandbox, watching, price):
    """Let somebody trade, again and again, until what is watched is told."""
    task = asyncio.ensure_future(watching)
    while not task.done():
        await asyncio.to_thread(sandbox.hand.tick, PAIR, price)
        await asyncio.wait([task], timeout=0.1)
    return task.result()


def test_a_ticker_is_streamed(sandbox):
    ticker = streamed(sandbox, lambda made: moved(sandbox, made.watch_ticker(PAIR), 102.0))
    assert ticker["last"] == 102.0


def test_a_book_is_streamed_and_follows_the_price(sandbox):
    async def work(made):
        await moved(sandbox, made.watch_order_book(PAIR), 100.0)
        while True:
            book = await moved(sandbox, made.watch_order_book(PAIR), 103.0)
            if book["bids"][0][0] == 102.99:
                return book

    book = streamed(sandbox, work)
    assert book["asks"][0] == [103.01, 100.0]
    assert len(book["bids"]) == 20  # no level of before is left


def test_balances_are_streamed_with_every_execution(sandbox):
    async def work(made):
        before = await made.fetch_balance()
        told = asyncio.ensure_future(made.watch_balance())
        while not told.done():
            await made.create_order(PAIR, "market", "buy", 1)
            await asyncio.wait([told], timeout=0.5)
        return before, told.result(), await made.fetch_balance()

    before, told, after = streamed(sandbox, work)
    assert before["USDT"]["total"] > told["USDT"]["total"] >= after["USDT"]["total"]
    assert told["AAA"]["total"] > before["AAA"]["total"]
