"""Equity by hand, and against the ledger that ran."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regimeflow.analytics.fold import Curve, PriceColumns, RunData, fill_columns, fold
from regimeflow.model.events import Fill
from regimeflow.model.instrument import Instrument, Instruments
from regimeflow.model.ledger import Ledger

Build = Callable[..., RunData]


def curve_of(data: RunData) -> Curve:
    return fold(data, fill_columns(data))


BUY, SELL = "buy", "sell"

# prices per day, fills (day, symbol, side, units, price, fee), expected cash and equity per day.
CASES: dict[str, tuple[dict[str, list[float]], list[Any], list[float], list[float]]] = {
    "nothing is traded": ({"A": [10, 11, 12]}, [], [1000, 1000, 1000], [1000, 1000, 1000]),
    "bought on the first bar, and it falls within it": (
        {"A": [9, 8]},
        [(0, "A", BUY, 10, 10.0, 1.0)],
        [899, 899],
        [989, 979],
    ),
    "a round trip": (
        {"A": [10, 12, 15, 15]},
        [(1, "A", BUY, 10, 11.0, 2.0), (2, "A", SELL, 10, 14.0, 3.0)],
        [1000, 888, 1025, 1025],
        [1000, 1008, 1025, 1025],
    ),
    "short": (
        {"A": [10, 9, 12]},
        [(0, "A", SELL, 10, 10.0, 0.0)],
        [1100, 1100, 1100],
        [1000, 1010, 980],
    ),
    "turned in one fill": (
        {"A": [10, 10, 8]},
        [(0, "A", BUY, 10, 10.0, 0.0), (1, "A", SELL, 20, 10.0, 0.0)],
        [900, 1100, 1100],
        [1000, 1000, 1020],
    ),
    "two fills in one bar": (
        {"A": [10, 20]},
        [(0, "A", BUY, 10, 10.0, 0.0), (0, "A", SELL, 4, 11.0, 0.0)],
        [944, 944],
        [1004, 1064],
    ),
    "two symbols, one listed a day later": (
        {"A": [10, 11, 12], "B": [50, 60]},
        [(0, "A", BUY, 10, 10.0, 0.0), (1, "B", BUY, 2, 45.0, 0.0)],
        [900, 810, 810],
        [1000, 1020, 1050],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_equity_by_hand(case: str, make_run: Build) -> None:
    prices, fills, cash, equity = CASES[case]
    curve = curve_of(make_run(prices, fills))
    assert curve.cash.tolist() == cash
    assert curve.equity.tolist() == equity


def test_the_first_return_is_over_the_starting_capital(make_run: Build) -> None:
    curve = curve_of(make_run({"A": [9, 9]}, [(0, "A", BUY, 10, 10.0, 0.0)]))
    assert curve.returns().tolist() == pytest.approx([-0.01, 0.0])


def test_starting_positions_count_at_their_average_price_until_there_is_one(
    make_run: Build,
) -> None:
    data = make_run({"A": [10, 11, 12], "B": [7, 8]}, positions={"A": (10, 9.0), "B": (-5, 6.0)})
    curve = curve_of(data)
    assert curve.start == 1000 + 90 - 30
    assert curve.equity.tolist() == [1000 + 100 - 30, 1000 + 110 - 35, 1000 + 120 - 40]
    assert curve.gross.tolist() == [130, 145, 160]


def test_a_multiplier_counts_in_cash_and_value(make_run: Build) -> None:
    future = Instrument("ES", tick=0.25, multiplier=50.0, margin=0.1)
    data = make_run(
        {"ES": [100, 101]}, [(0, "ES", BUY, 2, 100.0, 4.0)], start={"instruments": (future,)}
    )
    curve = curve_of(data)
    assert curve.cash.tolist() == [1000 - 10_000 - 4] * 2
    assert curve.equity.tolist() == [996, 1096]
    assert curve.exposure().tolist() == pytest.approx([10_000 / 996, 10_100 / 1096])


def test_a_fill_after_the_last_price_still_counts(make_run: Build) -> None:
    data = make_run({"A": [10, 10]}, [(2, "A", SELL, 10, 12.0, 0.0)], positions={"A": (10, 10.0)})
    curve = curve_of(data)
    assert len(curve.ts) == 3
    assert curve.equity.tolist() == [1100, 1100, 1120]


def test_a_fill_that_is_reported_late_counts_from_when_it_happened(make_run: Build) -> None:
    rows = [
        (0, "A", BUY, 10, 10.0, 0.0),
        (2, "A", BUY, 5, 10.0, 0.0),
        (1, "A", SELL, 10, 11.0, 0.0),
    ]
    assert curve_of(make_run({"A": [10, 11, 12]}, rows)).cash.tolist() == [900, 1010, 960]


def test_without_prices_positions_are_worth_what_was_paid(make_run: Build) -> None:
    rows = [(0, "A", BUY, 10, 10.0, 1.0), (3, "A", SELL, 4, 12.0, 1.0)]
    assert curve_of(make_run({}, rows)).equity.tolist() == [999, 1018]


def test_no_run_at_all(make_run: Build) -> None:
    curve = curve_of(make_run({}))
    assert len(curve.ts) == len(curve.equity) == len(curve.returns()) == 0
    assert curve.start == 1000


def test_exposure_is_undefined_without_equity(make_run: Build) -> None:
    curve = curve_of(make_run({"A": [10, 130]}, [(0, "A", SELL, 10, 10.0, 0.0)]))
    assert curve.equity.tolist() == [1000, -200]
    assert np.isnan(curve.exposure()[1])


trades = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.sampled_from(["A", "BTC/USDT"]),
        st.sampled_from([BUY, SELL]),
        st.integers(1, 400),
        st.floats(1.0, 500.0),
        st.floats(0.0, 3.0),
    ),
    max_size=40,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trades)
def test_the_curve_is_what_the_ledger_saw(make_run: Build, rows: list[Any]) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    prices = {"A": [100.0 + i for i in range(10)], "BTC/USDT": [40.0 - 3 * i for i in range(10)]}
    data = make_run(prices, rows)
    curve, ledger = curve_of(data), Ledger(1_000.0, Instruments())
    for i, at in enumerate(curve.ts.tolist()):
        for fill in data.fills:
            if fill.ts == at:
                ledger.book(
                    fill.symbol,
                    fill.qty if fill.side == BUY else -fill.qty,
                    fill.price,
                    fill.fee,
                )
        last = {symbol: values[i] for symbol, values in prices.items()}
        assert curve.cash[i] == ledger.cash  # to the last bit
        assert curve.equity[i] == pytest.approx(
            ledger.equity(last.__getitem__), rel=1e-12, abs=1e-6
        )


def test_a_grid_lot_leaves_no_dust(make_run: Build) -> None:
    coin = Instrument("X/Y", tick=0.01, lot=0.1)
    rows = [
        (0, "X/Y", BUY, 0.1, 10.0, 0),
        (0, "X/Y", BUY, 0.2, 10.0, 0),
        (1, "X/Y", SELL, 0.3, 10, 0),
    ]
    data = make_run({"X/Y": [10, 10]}, rows, start={"instruments": (coin,)})
    assert curve_of(data).gross[-1] == 0.0  # 0.1 + 0.2 - 0.3 is not zero in floats


def test_series_of_several_lengths_share_one_grid() -> None:
    from regimeflow.model.events import Start

    a = PriceColumns("A", np.array([10, 20, 40]), np.array([1.0, 2.0, 4.0]))
    b = PriceColumns("B", np.array([15, 20, 50]), np.array([5.0, 6.0, 7.0]))
    start = Start(ts=0, seen=0, run="", epoch=0, symbols=("A", "B"), timeframes=(), cash=0.0)
    fills = [
        Fill(10, 10, "1", "1", "A", BUY, 1.0, 1.0),
        Fill(15, 15, "2", "2", "B", BUY, 1.0, 5.0),
    ]
    curve = curve_of(RunData(start, fills, prices=(a, b)))
    assert curve.ts.tolist() == [10, 15, 20, 40, 50]
    assert curve.equity.tolist() == [0.0, 0.0, 2.0, 4.0, 5.0]
