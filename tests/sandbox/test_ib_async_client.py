"""ib_async's own `IB`, told nothing but the sandbox's port."""

from __future__ import annotations

import asyncio
import itertools
import logging

import ib_async
import pytest

from regimeflow.sandbox.tws import TWS

_NUMBERS = itertools.count(50)


@pytest.fixture(scope="module")
def sandbox():
    with TWS(symbols=("SPY", "QQQ", "ES-202612"), whole=1.0, timeframe="1min") as venue:
        venue.hand.hold()
        for symbol in venue.symbols:
            venue.hand.tick(symbol, 100.0)
        yield venue


@pytest.fixture
def errors():
    return []


@pytest.fixture
def ib(sandbox, errors):
    logging.getLogger("ib_async").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    made = ib_async.IB()
    made.RequestTimeout = 10
    made.errorEvent += lambda number, code, text, contract: errors.append((number, code, text))
    made.connect("127.0.0.1", sandbox.port, clientId=next(_NUMBERS), raiseSyncErrors=True)
    yield made
    made.disconnect()
    loop.run_until_complete(asyncio.sleep(0))
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def spy(ib):
    return ib.qualifyContracts(ib_async.Stock("SPY", "SMART", "USD"))[0]


def until(ib, condition, what):
    """Let the client work until something is so."""
    for _ in range(200):
        if condition():
            return
        ib.sleep(0.05)
    pytest.fail(f"{what} did not come")


def placed(ib, contract, order, status):
    trade = ib.placeOrder(contract, order)
    until(ib, lambda: trade.orderStatus.status == status, status)
    return trade


def test_it_connects_whole_and_knows_the_account_at_once(ib):
    values = {value.tag: value.value for value in ib.accountValues()}
    assert float(values["NetLiquidation"]) > 0
    assert {"BuyingPower", "TotalCashValue", "InitMarginReq", "AccountType"} <= set(values)
    assert {value.account for value in ib.accountValues()} == {"DU1234567"}


def test_a_summary_of_all_tags_tells_those_there_are(ib):
    told = {value.tag for value in ib.accountSummary()}
    assert {"NetLiquidation", "TotalCashValue", "BuyingPower"} <= told
    assert ib.isConnected()


def test_an_order_without_a_time_in_force_is_for_the_day_and_moves_the_account(ib, spy, sandbox):
    held = sum(row.position for row in ib.positions())
    trade = placed(ib, spy, ib_async.MarketOrder("BUY", 3), "Filled")
    assert trade.order.tif == ""
    until(ib, lambda: sum(row.position for row in ib.positions()) == held + 3, "the position")
    until(ib, lambda: sum(row.position for row in ib.portfolio()) == held + 3, "the portfolio")
    (row,) = ib.portfolio()
    assert (row.contract.symbol, row.marketPrice) == ("SPY", 100.0)
    assert row.marketValue == 100.0 * row.position
    open_ = placed(ib, spy, ib_async.LimitOrder("BUY", 1, 50.0), "Submitted")
    ib.reqGlobalCancel()
    until(ib, lambda: open_.orderStatus.status == "Cancelled", "the end of all orders")


def test_a_bracket_of_the_clients_own_is_held_by_the_venue(ib, spy):
    bracket = ib.bracketOrder("BUY", 2, 50.0, 200.0, 10.0)
    trades = [ib.placeOrder(spy, order) for order in bracket]
    wanted = ["Submitted", "PreSubmitted", "PreSubmitted"]
    until(ib, lambda: [t.orderStatus.status for t in trades] == wanted, "the bracket")
    ib.cancelOrder(bracket.parent)
    until(ib, lambda: all(t.isDone() for t in trades), "the end of the bracket")


def test_a_bracket_whose_parent_is_refused_is_refused_whole_and_nothing_is_cut_off(ib, spy, errors):
    bracket = ib.bracketOrder("BUY", 2, 50.0, 200.0, 10.0)
    bracket.parent.orderType = "MIDPRICE"
    trades = [ib.placeOrder(spy, order) for order in bracket]
    until(ib, lambda: all(t.isDone() for t in trades), "the refusal")
    assert {code for _, code, _ in errors if code < 2000} == {201}
    nowhere = ib_async.Stock(conId=99, symbol="NOPE", exchange="SMART", currency="USD")
    bracket = ib.bracketOrder("BUY", 2, 50.0, 200.0, 10.0)
    trades = [
        ib.placeOrder(contract, order)
        for contract, order in zip((nowhere, spy, spy), bracket, strict=True)
    ]
    until(ib, lambda: all(t.isDone() for t in trades), "the refusal")
    assert [code for _, code, _ in errors][-3:] == [200, 10006, 10006]
    assert ib.isConnected()
    assert ib.reqOpenOrders() == []


def test_what_an_order_would_cost_is_told_and_it_is_not_placed(ib, spy):
    state = ib.whatIfOrder(spy, ib_async.MarketOrder("BUY", 10))
    assert float(state.initMarginChange) > 0
    assert float(state.initMarginAfter) == pytest.approx(
        float(state.initMarginBefore) + float(state.initMarginChange)
    )
    assert state.commission == pytest.approx(0.1)
    assert ib.reqOpenOrders() == []


@pytest.mark.parametrize(("kind", "field"), [("AllLast", "price"), ("BidAsk", "bidPrice")])
def test_ticks_one_by_one_are_told(ib, spy, sandbox, kind, field):
    ticker = ib.reqTickByTickData(spy, kind)
    until(ib, ib.reqCurrentTime, "the request to be there")
    sandbox.hand.tick("SPY", 100.0)
    until(ib, lambda: ticker.tickByTicks, "a tick")
    assert abs(getattr(ticker.tickByTicks[-1], field) - 100.0) < 0.02
    ib.cancelTickByTickData(spy, kind)


def test_what_is_not_known_or_cannot_be_read_is_answered_and_the_connection_stays(ib, spy, errors):
    ib.client.reqPnL(7001, "DU1234567", "")
    ib.client.send(20, 7002, "nonsense")
    ib.client.send("x", 1)
    ib.client.send(6)
    wanted = {(7001, 320), (7002, 320), (-1, 320)}
    until(ib, lambda: wanted <= {(n, code) for n, code, _ in errors}, "the errors")
    assert any("does not know requests of kind 92" in text for _, _, text in errors)
    assert ib.reqHistogramData(spy, True, "1 week") == []  # an error ends the wait for it
    assert ib.isConnected()
    assert ib.reqCurrentTime()


def test_what_cannot_be_paid_for_is_refused(ib, spy, errors):
    for side in ("BUY", "SELL"):
        trade = ib.placeOrder(spy, ib_async.MarketOrder(side, 1_000_000_000))
        until(ib, trade.isDone, "the refusal")
        assert errors[-1][1] == 201
        assert "must exceed the margin" in errors[-1][2]
    told = ib.whatIfOrder(spy, ib_async.MarketOrder("BUY", 1_000_000_000))
    assert not isinstance(told, ib_async.OrderState)  # an error instead
