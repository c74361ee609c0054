"""Round trips as a trader would book them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regimeflow.analytics.fold import RunData, fill_columns, fold
from regimeflow.analytics.trips import Trips, round_trips
from regimeflow.model.instrument import Instrument

Build = Callable[..., RunData]
BUY, SELL = "buy", "sell"


def trips_of(data: RunData) -> tuple[Trips, Trips]:
    fills = fill_columns(data)
    ts = fold(data, fills).ts
    return round_trips(data, fills, int(ts[-1]) if len(ts) else 0)


def rows_of(trips: Trips) -> list[tuple[Any, ...]]:
    return [
        (
            trips.sides[i],
            trips.qty[i],
            trips.entry_price[i],
            trips.exit_price[i],
            trips.pnl[i],
            trips.fees[i],
            trips.bars[i],
        )
        for i in range(len(trips))
    ]


PRICES = {"A": [10.0, 11.0, 12.0, 13.0, 14.0]}

# fills (day, side, units, price, fee); closed and open trips as
# (side, units, entry price, exit or last price, profit, fees, bars).
CASES: dict[str, tuple[list[Any], list[Any], list[Any]]] = {
    "in and out": (
        [(0, BUY, 10, 10, 1), (3, SELL, 10, 13, 1)],
        [(BUY, 10, 10, 13, 28, 2, 3)],
        [],
    ),
    "short": ([(0, SELL, 10, 10, 1), (1, BUY, 10, 9, 1)], [(SELL, 10, 10, 9, 8, 2, 1)], []),
    "added to, then out": (
        [(0, BUY, 10, 10, 0), (1, BUY, 30, 12, 0), (2, SELL, 40, 12.5, 4)],
        [(BUY, 40, 11.5, 12.5, 36, 4, 2)],
        [],
    ),
    "out in two steps": (
        [(0, BUY, 10, 10, 0), (1, SELL, 5, 12, 0), (2, SELL, 5, 14, 0)],
        [(BUY, 10, 10, 13, 30, 0, 2)],
        [],
    ),
    "turned: the fee is shared by quantity": (
        [(0, BUY, 10, 10, 0), (1, SELL, 40, 11, 4), (2, BUY, 30, 10, 2)],
        [(BUY, 10, 10, 11, 9, 1, 1), (SELL, 30, 11, 10, 25, 5, 1)],
        [],
    ),
    "still open": ([(1, BUY, 10, 11, 1)], [], [(BUY, 10, 11, 14, 29, 1, 3)]),
    "half out, still open": (
        [(0, BUY, 10, 10, 0), (1, SELL, 4, 12, 0)],
        [],
        [(BUY, 6, 10, 14, 8 + 24, 0, 4)],
    ),
    "in and out on the same bar": (
        [(2, BUY, 1, 12, 0), (2, SELL, 1, 11, 0)],
        [(BUY, 1, 12, 11, -1, 0, 0)],
        [],
    ),
    "nothing": ([], [], []),
}


@pytest.mark.parametrize("case", CASES)
def test_round_trips_by_hand(case: str, make_run: Build) -> None:
    rows, closed, still_open = CASES[case]
    fills = [(n, "A", side, qty, price, fee) for n, side, qty, price, fee in rows]
    got_closed, got_open = trips_of(make_run(PRICES, fills))
    assert rows_of(got_closed) == closed
    assert rows_of(got_open) == still_open


def test_a_position_from_before_the_run_is_a_round_trip(make_run: Build) -> None:
    data = make_run(PRICES, [(2, "A", SELL, 10, 12, 1)], positions={"A": (10, 8.0)})
    closed, _ = trips_of(data)
    assert rows_of(closed) == [(BUY, 10, 8, 12, 39, 1, 2)]
    assert closed.entry_time.tolist() == [data.start.ts]


def test_the_return_is_on_the_value_entered(make_run: Build) -> None:
    future = Instrument("F", multiplier=50.0)
    fills = [(0, "F", BUY, 2, 10.0, 5.0), (1, "F", SELL, 2, 11.0, 5.0)]
    closed, _ = trips_of(make_run({"F": [10, 11]}, fills, start={"instruments": (future,)}))
    assert closed.pnl.tolist() == [90.0]
    assert closed.returns.tolist() == [0.09]


def test_a_position_free_of_cost_has_no_return(make_run: Build) -> None:
    fills = [(0, "A", BUY, 2, 0.0, 0.0), (1, "A", SELL, 2, 11.0, 0.0)]
    closed, _ = trips_of(make_run(PRICES, fills))
    assert closed.pnl.tolist() == [22.0]
    assert str(closed.returns.tolist()) == "[nan]"


trades = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(["A", "B/C"]),
        st.sampled_from([BUY, SELL]),
        st.integers(1, 9),
        st.floats(1.0, 500.0),
        st.floats(0.0, 3.0),
    ),
    max_size=40,
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trades, st.booleans())
def test_round_trips_add_up_to_the_change_in_equity(
    make_run: Build, rows: list[Any], held: bool
) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    prices = {"A": [10.0, 30.0, 20.0, 15.0, 18.0], "B/C": [3.0, 2.0, 4.0, 5.0, 1.0]}
    data = make_run(prices, rows, positions={"A": (-3, 14.0)} if held else None)
    fills = fill_columns(data)
    curve = fold(data, fills)
    closed, still_open = round_trips(data, fills, int(curve.ts[-1]))
    gained = closed.pnl.sum() + still_open.pnl.sum()
    assert gained == pytest.approx(curve.equity[-1] - curve.start, abs=1e-6)
    paid = closed.fees.sum() + still_open.fees.sum()
    assert paid == pytest.approx(sum(row[5] for row in rows), abs=1e-9)
    assert (closed.qty > 0).all()
    assert len(still_open) == len(set(still_open.symbols))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from([BUY, SELL]), st.integers(1, 9), st.floats(0, 3)), max_size=6
    ),
    st.booleans(),
)
def test_in_and_all_out_again_is_the_same_found_at_once_or_in_a_walk(make_run: Build, ins, held):
    fills: list[Any] = []
    for n, (side, qty, fee) in enumerate(ins):
        back = SELL if side == BUY else BUY
        fills += [(2 * n, "A", side, qty, 10.0 + n, fee), (2 * n + 1, "A", back, qty, 11.3, 0.1)]
    fills += [(12, "A", BUY, 2, 9.0, 0.5)] if held else []
    prices = {"A": [10.0 + i / 7 for i in range(14)], "B": [1.0] * 14}
    # A fill of another symbol takes the run the long way; it never closes.
    at_once, walked = (trips_of(make_run(prices, more)) for more in (fills, [*fills, *_ANOTHER]))
    assert rows_of(at_once[0]) == rows_of(walked[0])
    assert rows_of(at_once[1]) == rows_of(walked[1])[:-1]


_ANOTHER = [(13, "B", BUY, 1, 1.0, 0.0)]
