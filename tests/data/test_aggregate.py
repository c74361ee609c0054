"""Bars from trades: all at once, as they come, and coarser."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimeflow.data import BarBuilder, TradeColumns, bars_from_trades, resample
from regimeflow.errors import ConfigError, DataError
from regimeflow.model.market import Bar, BarColumns, Trade

SECOND, MINUTE = 10**9, 60 * 10**9

TRADES = [
    # second, price, size -> which bar (its end in seconds)
    (1, 10.0, 1.0, 60),
    (30, 12.0, 2.0, 60),
    (60, 9.0, 4.0, 60),  # at the end: still in it
    (60, 11.0, 8.0, 60),
    (61, 13.0, 1.0, 120),
    (301, 7.0, 1.0, 360),  # four intervals without a trade give no bar
]
BARS = [
    # end, open, high, low, close, volume
    (60, 10.0, 12.0, 9.0, 11.0, 15.0),
    (120, 13.0, 13.0, 13.0, 13.0, 1.0),
    (360, 7.0, 7.0, 7.0, 7.0, 1.0),
]


def columns(rows: list[tuple[int, float, float]]) -> TradeColumns:
    ts, price, size = (np.array(column) for column in zip(*rows, strict=True))
    return TradeColumns("X", ts.astype(np.int64) * SECOND, price, size)


def rows_of(bars: BarColumns) -> list[tuple[float, ...]]:
    prices = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    return list(zip(bars.ts.tolist(), *(column.tolist() for column in prices), strict=True))


def row_of(bar: Bar) -> tuple[float, ...]:
    return (bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume)


def test_bars_of_trades() -> None:
    bars = bars_from_trades(columns([row[:3] for row in TRADES]), "1min")
    assert rows_of(bars) == [(end * SECOND, *rest) for end, *rest in BARS]
    assert (bars.symbol, bars.timeframe) == ("X", MINUTE)


def test_no_trades_no_bars() -> None:
    empty = TradeColumns("X", np.empty(0, np.int64), np.empty(0), np.empty(0))
    assert len(bars_from_trades(empty, "1min")) == 0
    assert len(resample(bars_from_trades(empty, "1min"), "5min")) == 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 40),
            st.floats(0.01, 1e6, allow_nan=False),
            st.floats(1e-9, 1e9, allow_nan=False),
        ),
        min_size=1,
        max_size=60,
    ),
    st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_the_builder_makes_the_same_bars_to_the_bit(
    gaps: list[tuple[int, float, float]], ticks: list[bool]
) -> None:
    """Whether a later trade or the clock closes a bar makes no difference."""
    times = np.cumsum([gap for gap, _, _ in gaps]).tolist()
    trades = [(t, price, size) for t, (_, price, size) in zip(times, gaps, strict=True)]
    builder, made = BarBuilder("X", "1min"), []
    for i, (t, price, size) in enumerate(trades):
        bar = builder.push(Trade(t * SECOND, t * SECOND, "X", price, size))
        made += [bar] if bar else []
        following = trades[i + 1][0] if i + 1 < len(trades) else t
        if ticks[i] and following > t:
            bar = builder.close_until(t * SECOND)
            made += [bar] if bar else []
    bar = builder.close_until(times[-1] * SECOND + MINUTE)
    made += [bar] if bar else []
    assert [row_of(bar) for bar in made] == rows_of(bars_from_trades(columns(trades), "1min"))
    assert builder.close_until(2**62) is None


def test_a_late_trade_is_refused() -> None:
    builder = BarBuilder("X", "1min")
    assert builder.push(Trade(61 * SECOND, 0, "X", 1.0, 1.0)) is None
    with pytest.raises(DataError, match=r"00:00:59Z came after its bar"):
        builder.push(Trade(59 * SECOND, 0, "X", 1.0, 1.0))
    bar = builder.close_until(120 * SECOND, seen=125 * SECOND)
    assert bar is not None
    assert (bar.ts, bar.seen) == (120 * SECOND, 125 * SECOND)
    with pytest.raises(DataError, match="came after its bar"):
        builder.push(Trade(120 * SECOND, 0, "X", 1.0, 1.0))


@given(st.integers(1, 200), st.integers(2, 7), st.integers(0, 2**32))
def test_coarser_bars_of_bars_are_those_of_the_trades(n: int, times: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ts = np.cumsum(rng.integers(0, 50, n)) * SECOND
    # Whole sizes, whose sums are exact in any order.
    trades = TradeColumns("X", ts, rng.random(n) + 1.0, rng.integers(1, 9, n).astype(float))
    coarse = resample(bars_from_trades(trades, "1min"), times * MINUTE)
    assert rows_of(coarse) == rows_of(bars_from_trades(trades, times * MINUTE))


def test_a_feature_takes_its_last_value() -> None:
    ts = np.arange(1, 5, dtype=np.int64) * MINUTE
    one = np.ones(4)
    bars = BarColumns("X", MINUTE, ts, one, one, one, one, one, {"rsi": np.arange(4.0)})
    assert resample(bars, "2min").features["rsi"].tolist() == [1.0, 3.0]


def test_a_length_that_does_not_fit() -> None:
    bars = bars_from_trades(columns([(1, 1.0, 1.0)]), "2min")
    with pytest.raises(ConfigError, match="bars of 2min do not make up bars of 3min"):
        resample(bars, "3min")
