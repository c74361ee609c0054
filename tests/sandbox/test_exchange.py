"""The exchange of the sandbox: what it fills, what it refuses, and that its own books add up."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimeflow.errors import NotThere, Refused
from regimeflow.model.events import Cancel, Fill, OrderUpdate, Replace, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.sandbox.exchange import Exchange

BEGIN = 1_704_153_600_000_000_000
MINUTE = 60_000_000_000


class Clock:
    def __init__(self) -> None:
        self.at = BEGIN

    def __call__(self) -> int:
        return self.at


def opened(**given: Any) -> tuple[Exchange, Clock, list[Any]]:
    clock, told = Clock(), []
    exchange = Exchange(clock, **{"whole": 1.0, "fee_bps": 0.0, **given})
    exchange.connect(told.append)
    return exchange, clock, told


def order(name: str, side: str = "buy", qty: float = 10, **terms: Any) -> Submit:
    prices = {key: terms.get(key) for key in ("limit", "stop")}
    kind = {(0, 0): "market", (1, 0): "limit", (0, 1): "stop", (1, 1): "stop_limit"}[
        int(prices["limit"] is not None), int(prices["stop"] is not None)
    ]
    return Submit(
        1, BEGIN, name, terms.get("symbol", "AAA"), side, float(qty), kind, **prices,
        tif=terms.get("tif", "gtc"), expire_at=terms.get("expire_at", 0),
    )  # fmt: skip


def lines(told: list[Any]) -> list[str]:
    said = []
    for event in told:
        if isinstance(event, Fill):
            said.append(f"{event.order_id} fill {event.qty:g} @ {event.price:g}")
        elif isinstance(event, OrderUpdate):
            said.append(f"{event.order_id} {event.what}")
    return said


@pytest.mark.parametrize(
    ("terms", "prices", "expected"),
    [
        ({}, [], ["a accepted", "a fill 10 @ 100"]),
        ({"limit": 100.0}, [], ["a accepted", "a fill 10 @ 100"]),
        ({"limit": 99.0}, [99.5, 98.5], ["a accepted", "a fill 10 @ 98.5"]),
        ({"stop": 101.0}, [100.5, 101.5], ["a accepted", "a fill 10 @ 101.5"]),
        ({"stop": 101.0, "limit": 101.2}, [102.0], ["a accepted"]),
        ({"stop": 101.0, "limit": 101.2}, [102.0, 101.1], ["a accepted", "a fill 10 @ 101.1"]),
        ({"limit": 99.0, "tif": "ioc"}, [], ["a accepted", "a canceled"]),
        ({"limit": 99.0, "tif": "fok"}, [], ["a accepted", "a canceled"]),
        ({"limit": 101.0, "tif": "fok"}, [], ["a accepted", "a fill 10 @ 100"]),
        ({"side": "sell", "limit": 101.0}, [101.0], ["a accepted", "a fill 10 @ 101"]),
        ({"side": "sell", "stop": 99.0}, [99.0], ["a accepted", "a fill 10 @ 99"]),
    ],
)
def test_orders_meet_prices(
    terms: dict[str, Any], prices: list[float], expected: list[str]
) -> None:
    exchange, _, told = opened()
    exchange.submit(order("a", **terms))
    for price in prices:
        exchange.tick("AAA", price)
    assert lines(told) == expected


def test_it_fills_in_pieces_and_an_ioc_loses_its_rest() -> None:
    exchange, _, told = opened(whole=0.0, seed=3)
    exchange.submit(order("a", qty=10, tif="ioc"))
    said = lines(told)
    assert said[0] == "a accepted"
    assert said[-1] == "a canceled"
    assert 0 < exchange.order("a").filled < 10
    exchange.submit(order("b", qty=10))
    while exchange.order("b").status == "open":
        exchange.tick("AAA", 100.0)
    pieces = [f.qty for f in exchange.executions(0) if f.order_id == "b"]
    assert len(pieces) > 1
    assert sum(pieces) == 10


def test_changing_and_canceling() -> None:
    exchange, _, told = opened()
    exchange.submit(order("a", limit=90.0))
    exchange.replace(Replace(1, 0, "a", 20.0, 91.0), "")
    row = exchange.open_orders()[0]
    assert (row.qty, row.limit) == (20.0, 91.0)
    exchange.cancel(Cancel(1, 0, "a"), "")
    assert lines(told) == ["a accepted", "a replaced", "a canceled"]
    with pytest.raises(Refused, match="canceled"):
        exchange.cancel(Cancel(1, 0, "a"), "")
    with pytest.raises(NotThere):
        exchange.cancel(Cancel(1, 0, "zzz"), "")


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (order("a"), "duplicate_order_id"),
        (order("b", symbol="ZZZ"), "unknown_symbol"),
        (order("b", qty=0.5), "bad_qty"),
        (order("b", qty=-1.0), "bad_qty"),
        (order("b", limit=99.999), "bad_price"),
        (order("b", tif="opg"), "bad_tif"),
    ],
)
def test_it_refuses(bad: Submit, code: str) -> None:
    exchange, _, _ = opened()
    exchange.submit(order("a", limit=1.0))
    with pytest.raises(Refused) as refusal:
        exchange.submit(bad)
    assert refusal.value.code == code
    assert len(exchange.orders) == 1
    assert exchange.record[-1].kind == "refused"


def test_days_and_times_end_orders() -> None:
    exchange, clock, told = opened()
    exchange.submit(order("a", limit=1.0, tif="day"))
    exchange.submit(order("b", limit=1.0, tif="gtd", expire_at=BEGIN + MINUTE))
    exchange.submit(order("c", limit=1.0))
    clock.at += MINUTE
    exchange.step()
    exchange.end_of_day()
    assert lines(told)[3:] == ["b expired", "a expired"]


def test_it_makes_bars_and_remembers_them() -> None:
    exchange, clock, told = opened()
    exchange.subscribe(["AAA"], MINUTE)
    for price in (100.0, 103.0, 98.0, 101.0):
        exchange.tick("AAA", price)
        clock.at += MINUTE // 4
    exchange.tick("AAA", 105.0)
    (bar,) = [event for event in told if isinstance(event, Bar)]
    assert (bar.ts, bar.open, bar.high, bar.low, bar.close) == (BEGIN + MINUTE, 100, 103, 98, 101)
    past = exchange.past("AAA", MINUTE, BEGIN, clock.at)
    assert (past.times, past.close) == ([BEGIN + MINUTE], [101.0])
    exchange.subscribe(["AAA"], 0)
    exchange.tick("AAA", 104.0)
    assert [type(event) for event in told[-2:]] == [Trade, Quote]


def test_what_nobody_asked_for() -> None:
    exchange, clock, told = opened()
    exchange.submit(order("a", limit=50.0))
    exchange.hide("a", MINUTE)
    assert exchange.open_orders() == []
    with pytest.raises(NotThere):
        exchange.order("a")
    clock.at += MINUTE
    assert exchange.order("a").status == "open"
    exchange.overfill("a", 5.0)
    exchange.trade_by_hand("BBB", "sell", 3.0)
    assert {h.symbol: h.qty for h in exchange.positions()} == {"AAA": 15.0, "BBB": -3.0}
    exchange.submit(order("b", limit=50.0))
    exchange.end("b", "expired")
    venue_id = exchange.order_by_hand("BBB", "buy", 1.0, 1.0)
    assert [(row.order_id, row.venue_order_id) for row in exchange.open_orders()] == [
        ("", venue_id)
    ]
    assert lines(told)[-1] == "b expired"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_its_books_follow_from_its_executions(seed: int) -> None:
    """Cash and holdings, counted again from the executions in decimal numbers."""
    rules = [Instrument("AAA", tick=0.05, lot=0.1), Instrument("BBB", multiplier=50.0)]
    exchange, clock, told = opened(symbols=rules, seed=seed, whole=0.4, fee_bps=2.5)
    for count in range(40):
        side = ("buy", "sell")[(seed + count) % 2]
        exchange.submit(order(f"o{count}", side, 3.0 + count % 5, symbol=("AAA", "BBB")[count % 2]))
        clock.at += MINUTE // 7
        exchange.step()
    cash, held = Decimal(100_000), {"AAA": Decimal(0), "BBB": Decimal(0)}
    for fill in exchange.executions(0):
        sign = 1 if fill.side == "buy" else -1
        money = Decimal(str(fill.qty)) * Decimal(str(fill.price))
        cash -= sign * money * (50 if fill.symbol == "BBB" else 1) + Decimal(str(fill.fee))
        held[fill.symbol] += sign * Decimal(str(fill.qty))
    assert cash == exchange.cash
    assert held == exchange.held
    assert [e for e in told if isinstance(e, Fill)] == exchange.fills
    assert len({fill.execution_id for fill in exchange.fills}) == len(exchange.fills)


@pytest.mark.parametrize(
    ("held", "terms", "needed"),
    [
        (0, {"qty": 15}, 750),  # half of 1,500
        (0, {"qty": 15, "side": "sell"}, 750),
        (0, {"qty": 15, "limit": 50.0}, 375),  # at its own price
        (10, {"qty": 10, "side": "sell"}, 500),  # it closes: what is held needs its half until then
        (10, {"qty": 25, "side": "sell"}, 1_250),  # and 15 are opened
        (-10, {"qty": 10}, 500),
    ],
)
def test_what_opens_needs_its_share_of_equity_and_what_closes_none(held, terms, needed):
    exchange, _, _ = opened(cash=1_000.0)
    exchange.leverage = Decimal(2)
    if held:
        exchange.trade_by_hand("AAA", "buy" if held > 0 else "sell", abs(held))
    asked = order("a", **terms)
    assert exchange.requirement(asked) == needed
    if needed <= 1_000:
        exchange.submit(asked)
    else:
        with pytest.raises(Refused, match="must exceed the margin") as no:
            exchange.submit(asked)
        assert no.value.code == "no_money"


def test_a_change_that_cannot_be_paid_for_leaves_the_order_as_it_was():
    exchange, _, _ = opened(cash=1_000.0)
    exchange.leverage = Decimal(2)
    exchange.submit(order("a", limit=50.0, qty=10))
    with pytest.raises(Refused, match="must exceed the margin"):
        exchange.replace(Replace(1, 1, "a", 100.0, 40.0), "")
    assert (exchange.order("a").qty, exchange.order("a").limit) == (10.0, 50.0)
    exchange.replace(Replace(1, 1, "a", 20.0, 40.0), "")
    assert exchange.balances().buying_power == 1_200.0  # 800 of 2,000 are reserved


def test_without_leverage_nobody_asks_for_money():
    exchange, _, _ = opened(cash=1_000.0)
    exchange.submit(order("a", qty=1_000))
    assert exchange.balances().buying_power == -99_000.0
