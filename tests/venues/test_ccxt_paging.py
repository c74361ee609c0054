"""Lists that come in pages: all of one, or no answer; never a part of it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regimeflow as rf
from regimeflow.errors import ConfigError, VenueError
from regimeflow.venues.ccxt import paging, translate
from regimeflow.venues.ccxt.habits import BYBIT_SWAP, Habits, habits_of
from regimeflow.venues.ccxt.paging import SHORTEST, Pages

NOW = 10_000


class Lister:
    """An exchange's list of rows.

    Args:
        times: of its rows, milliseconds.
        page: most rows of an answer.
        newest: whether a full page leaves out the older rows.
        goes_back: whether it looks at the end of the time that is asked for.
        window: longest span from the beginning on that it looks at, 0 for any.
    """

    def __init__(self, times, page, newest=False, goes_back=True, window=0):
        self.rows = [{"id": str(i), "timestamp": t} for i, t in enumerate(sorted(times))]
        self.page, self.newest, self.goes_back, self.window = page, newest, goes_back, window
        self.asked = 0

    async def ask(self, first, size, terms):
        self.asked += 1
        until = terms.get("until", 2**62) if self.goes_back else 2**62
        if self.window:
            until = min(until, first + self.window)
        rows = [row for row in self.rows if first <= row["timestamp"] <= until]
        most = min(size or self.page, self.page)
        return rows[-most:] if self.newest else rows[:most]

    def read(self, pages=Pages(), since=0):  # noqa: B008
        rows = asyncio.run(paging.since(self.ask, pages, since, NOW, "rows"))
        assert len({row["id"] for row in rows}) == len(rows)
        return len(rows)


SPREAD = [10 * i for i in range(1, 301)]

# an exchange's ways -> whether all can be read by one who does not know them
MANNERS = {
    "oldest first, goes back": (Lister(SPREAD, 50), True),
    "newest first, goes back": (Lister(SPREAD, 50, newest=True), True),
    "oldest first, does not go back": (Lister(SPREAD, 50, goes_back=False), True),
    "newest first, does not go back": (Lister(SPREAD, 50, newest=True, goes_back=False), False),
    "a page of the shortest kind": (Lister(SPREAD, SHORTEST, newest=True), True),
    "all in one answer": (Lister(SPREAD, 1_000), True),
    "more of one moment than a page": (Lister([500] * 60, 50), False),
    "a page that ends within a moment": (Lister([*SPREAD, *[3_000] * 60], 50), False),
    "none at all": (Lister([], 50), True),
}


@pytest.mark.parametrize("manner", MANNERS)
def test_an_exchange_whose_ways_are_not_known_is_read_whole_or_not_at_all(manner):
    lister, readable = MANNERS[manner]
    if readable:
        assert lister.read() == len(lister.rows)
    else:
        with pytest.raises(VenueError):
            lister.read()


def test_a_short_answer_is_the_whole_and_is_asked_for_once():
    lister = Lister(SPREAD[: SHORTEST - 1], 50, newest=True, goes_back=False)
    assert lister.read() == SHORTEST - 1
    assert lister.asked == 1


def test_a_page_that_is_smaller_than_was_asked_for_is_not_taken_for_the_last():
    assert Lister(SPREAD, 25).read(Pages(100)) == len(SPREAD)
    assert Lister(SPREAD, 25, newest=True).read(Pages(100)) == len(SPREAD)


def test_spans_are_walked_through_one_after_the_other():
    lister = Lister([100, 4_100, 9_900], 50, window=1_000)
    assert lister.read(Pages(window_ms=1_000)) == 3
    assert lister.read(Pages(50, 1_000, newest_first=True, known=True)) == 3


def test_where_the_ways_are_known_a_page_that_is_not_full_is_the_last():
    lister = Lister(SPREAD, 100, newest=True)
    assert lister.read(Pages(100, newest_first=True, known=True)) == len(SPREAD)
    lister = Lister(SPREAD[:99], 100)
    assert lister.read(Pages(100, known=True)) == 99
    assert lister.asked == 1
    with pytest.raises(VenueError, match="of one moment"):
        Lister([500] * 300, 100).read(Pages(100, known=True))


@settings(max_examples=300, deadline=None)
@given(
    times=st.lists(st.integers(1, 400), max_size=150),
    page=st.integers(SHORTEST, 60),
    newest=st.booleans(),
    goes_back=st.booleans(),
    size=st.sampled_from([0, 30, 100]),
)
def test_a_part_is_never_taken_for_the_whole(times, page, newest, goes_back, size):
    lister = Lister(times, page, newest, goes_back)
    try:
        found = lister.read(Pages(size))
    except VenueError:
        return
    assert found == len(times)


def test_pages_that_are_told_apart_by_a_mark_are_read_to_the_last():
    pages = {None: ("b", 3), "b": ("c", 3), "c": ("", 1)}

    async def ask(terms):
        mark, count = pages[terms.get("cursor")]
        return [{"info": {"next": mark} if not i else {}} for i in range(count)]

    assert len(asyncio.run(paging.by_cursor(ask, "next", 3, "rows"))) == 7


WHOLE = [
    # rows, those of a full answer -> whether they are all
    (5, None, True),
    (SHORTEST, None, False),
    (99, 100, True),
    (100, 100, False),
    (500, 0, True),
]


@pytest.mark.parametrize(("count", "size", "all_there"), WHOLE)
def test_one_answer_is_the_whole_where_it_cannot_have_been_cut(count, size, all_there):
    rows = [{}] * count
    if all_there:
        assert paging.whole(rows, size, "rows") == rows
    else:
        with pytest.raises(VenueError, match="no answer"):
            paging.whole(rows, size, "rows")


def test_capabilities_say_where_long_lists_may_come_in_part():
    whole = lambda name: rf.venues.Ccxt(name, paper=False).capabilities.whole_lists  # noqa: E731
    assert whole("binance")
    assert whole("bybit")
    assert not whole("okx")  # a hundred working orders an answer
    assert not whole("mexc")  # ccxt knows no way back in time


# ---------------------------------------------------------------- swaps, exchange by exchange


def test_capabilities_say_what_a_market_of_swaps_can_do():
    spot = rf.venues.Ccxt("okx", paper=False).capabilities
    swap = rf.venues.Ccxt("okx", market="swap", paper=False).capabilities
    assert (spot.short, spot.margined, spot.payments) == (False, False, False)
    assert (swap.short, swap.margined, swap.payments) == (True, True, True)
    assert "stop" not in swap.order_types


@pytest.mark.parametrize(
    ("exchange", "says"),
    [
        ("kraken", "has no swaps"),
        ("cryptocom", "what was paid as funding"),
        ("deribit", "what was paid as funding"),
    ],
)
def test_swaps_that_could_not_be_booked_are_refused(exchange, says):
    with pytest.raises(ConfigError, match=says):
        rf.venues.Ccxt(exchange, market="swap", paper=False)


def test_a_kind_of_market_that_is_not_there_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="'swap'"):
        rf.venues.Ccxt("bybit", market="swaps")


MARKET = {
    "id": "BTC-USDT-SWAP", "symbol": "BTC/USDT:USDT", "base": "BTC", "quote": "USDT",
    "settle": "USDT", "contract": True, "swap": True, "linear": True, "contractSize": 0.01,
    "precision": {"price": 0.1, "amount": 0.1},
    "limits": {"amount": {"min": 0.1}, "cost": {"min": 5.0}},
}  # fmt: skip


def test_a_contract_is_counted_in_contracts_and_worth_what_it_is_of():
    rules = translate.contract(MARKET, float, leverage=4.0)
    assert (rules.multiplier, rules.lot, rules.min_qty, rules.tick) == (0.01, 0.1, 0.1, 0.1)
    assert (rules.margin, rules.min_notional, rules.shortable) == (0.25, 5.0, True)


def test_fees_of_a_contract_are_money_and_take_no_units():
    row = {"id": "7", "order": "1", "symbol": "BTC/USDT:USDT", "side": "buy", "amount": 3.0,
           "price": 100.0, "timestamp": 5, "fee": {"cost": 0.02, "currency": "USDT"}}  # fmt: skip
    made = translate.fill(row, MARKET, "x", "okx", {}.__getitem__)
    assert (made.qty, made.fee, made.kept) == (3.0, 0.02, 0.0)
    row["fee"] = {"cost": 0.001, "currency": "BTC"}
    made = translate.fill(row, MARKET, "x", "okx", {"BTC": 100.0}.__getitem__)
    assert (made.qty, made.fee, made.kept) == (3.0, 0.1, 0.0)


PAYMENTS = [
    # ccxt's row, the exchange's ways -> id, money
    ({"id": "9", "amount": -0.5}, Habits(), "BTC-USDT-SWAP-9", -0.5),
    ({"id": None, "amount": 0.5}, Habits(), "BTC-USDT-SWAP-1700000000000", 0.5),
    # Bybit's is what was paid, whatever ccxt makes of it.
    ({"id": "e", "amount": 0.5, "info": {"execFee": "0.5"}}, BYBIT_SWAP, "BTC-USDT-SWAP-e", -0.5),
    ({"id": "e", "amount": -0.5, "info": {"execFee": "0.5"}}, BYBIT_SWAP, "BTC-USDT-SWAP-e", -0.5),
]


@pytest.mark.parametrize(("row", "habits", "name", "cash"), PAYMENTS)
def test_a_payment_has_one_name_and_the_sign_of_what_it_did_to_the_account(row, habits, name, cash):
    made = translate.payment({"timestamp": 1_700_000_000_000, **row}, MARKET, habits)
    assert (made.payment_id, made.cash, made.symbol) == (name, cash, "BTC/USDT:USDT")


@pytest.mark.parametrize("amount", [None, "x", float("nan")])
def test_a_payment_that_is_no_number_is_no_answer(amount):
    with pytest.raises(translate.Unreadable):
        translate.payment({"timestamp": 5, "id": "1", "amount": amount}, MARKET, Habits())


def test_each_kind_of_market_has_its_own_ways():
    assert habits_of("bybit").config["options"]["defaultType"] == "spot"
    assert habits_of("bybit", "swap").config["options"]["defaultType"] == "swap"
    assert habits_of("okx", "swap").order_types == {"market", "limit"}
    assert habits_of("okx").order_types >= {"stop"}
