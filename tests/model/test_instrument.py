"""Instrument rounding against exact decimal arithmetic."""

from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from regimeflow.errors import ConfigError
from regimeflow.model.instrument import Instrument, Instruments, on_grid

STEPS = ["1", "0.1", "0.01", "0.001", "1e-8", "0.25", "0.5", "0.05", "5", "10", "0.125", "0.0025"]
#: Below this part of a step a number counts as on the grid: floats cannot say it better.
SLACK = Decimal("1e-6")

steps = st.sampled_from(STEPS)
numbers = st.decimals("0", "1000000", places=9, allow_nan=False, allow_infinity=False)


def exact(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    return (value / step).to_integral_value(rounding) * step


def near_a_step(value: Decimal, step: Decimal) -> bool:
    steps = value / step
    return abs(steps - steps.to_integral_value()) < SLACK


@given(numbers, steps, st.booleans())
def test_quantities_round_towards_zero_as_decimals_do(value, lot, negative):
    exact_lot = Decimal(lot)
    assume(not near_a_step(value, exact_lot))
    sign = -1 if negative else 1
    got = Instrument("X", lot=float(lot)).round_qty(float(sign * value))
    assert got == float(sign * exact(value, exact_lot, ROUND_DOWN))


@given(st.integers(-(10**9), 10**9), steps)
def test_whole_lots_and_ticks_stay_what_they_are(count, step):
    on = float(count * Decimal(step))
    instrument = Instrument("X", lot=float(step), tick=float(step))
    assert instrument.round_qty(on) == on
    assert instrument.snap_qty(on) == on
    assert on_grid(count, float(step)) == on
    for side in ("", "buy", "sell"):
        assert instrument.round_price(on, side) == on


@given(numbers, steps)
def test_prices_never_round_to_the_worse_side(price, tick):
    exact_tick = Decimal(tick)
    assume(not near_a_step(price, exact_tick))
    instrument = Instrument("X", tick=float(tick))
    assert instrument.round_price(float(price), "buy") == float(
        exact(price, exact_tick, ROUND_FLOOR)
    )
    assert instrument.round_price(float(price), "sell") == float(
        exact(price, exact_tick, ROUND_CEILING)
    )


@given(numbers, steps)
def test_without_a_side_prices_go_to_the_nearest_tick(price, tick):
    exact_tick = Decimal(tick)
    ticks = price / exact_tick
    assume(abs(abs(ticks % 1) - Decimal("0.5")) > SLACK)  # a tie may go either way
    got = Instrument("X", tick=float(tick)).round_price(float(price))
    assert got == float(exact(price, exact_tick, ROUND_HALF_EVEN))


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=50), steps)
def test_sums_of_lots_snap_back_onto_the_grid(counts, lot):
    instrument = Instrument("X", lot=float(lot))
    held = 0.0
    for count in counts:
        held = instrument.snap_qty(held + float(count * Decimal(lot)))
    assert held == float(sum(counts) * Decimal(lot))


@pytest.mark.parametrize(
    ("lot", "asked", "gets"),
    [
        (1.0, 10.7, 10.0),
        (1.0, -10.7, -10.0),
        (1.0, 0.999, 0.0),
        (1.0, 99.99999999, 100.0),  # dust of a division, not a wish for 99
        (0.1, 0.1 + 0.2, 0.3),
        (0.001, 0.3, 0.3),
        (1e-8, 0.123456789, 0.12345678),
        (100.0, 250.0, 200.0),
    ],
)
def test_lots_a_trader_knows(lot, asked, gets):
    assert Instrument("X", lot=lot).round_qty(asked) == gets


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"tick": 0.0}, "tick"),
        ({"tick": float("nan")}, "tick"),
        ({"lot": -1.0}, "lot"),
        ({"multiplier": float("inf")}, "multiplier"),
        ({"min_qty": -1.0}, "min_qty"),
        ({"min_notional": float("nan")}, "min_notional"),
        ({"margin": 0.0}, "margin"),
        ({"margin": 1.5}, "margin"),
        ({"margin": float("nan")}, "margin"),
    ],
)
def test_rules_that_make_no_sense_are_refused_by_name(changes, names):
    with pytest.raises(ConfigError, match=f"SPY: {names} must"):
        Instrument("SPY", **changes)


def test_unknown_symbols_get_the_usual_rules():
    rules = Instruments()
    assert (rules["SPY"].tick, rules["SPY"].lot) == (0.01, 1.0)
    assert (rules["BTC/USDT"].tick, rules["BTC/USDT"].lot) == (1e-8, 1e-8)
