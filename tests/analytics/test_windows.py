"""Stretches of a series: nothing that stands out is lost, and every row is in one bucket."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimeflow.analytics.windows import spans, window, worst_drawdowns

S = 1_000_000_000
SERIES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200)


@given(SERIES, st.integers(1, 50), st.data())
def test_no_extreme_is_lost(values, most, data):
    levels = np.array(values)
    ts = np.arange(len(levels), dtype=np.int64) * S
    a = data.draw(st.integers(0, len(levels) - 1))
    b = data.draw(st.integers(a, len(levels) - 1))
    found = window(ts, int(ts[a]), int(ts[b]), most)
    low, high, last = spans(levels, found.starts, found.stops)
    assert len(found) == min(most, b - a + 1)
    assert found.rows == b - a + 1
    assert found.exact == (b - a + 1 <= most)
    assert low.min() == levels[a : b + 1].min()
    assert high.max() == levels[a : b + 1].max()
    assert last[-1] == levels[b]
    assert found.starts[1:].tolist() == found.stops[:-1].tolist()  # no gap, no overlap
    assert (low <= last).all()
    assert (last <= high).all()


@given(
    SERIES, st.lists(st.integers(0, 300), min_size=1, max_size=100, unique=True), st.integers(1, 9)
)
def test_a_series_of_other_times_lies_in_the_same_buckets(values, seconds, most):
    grid = np.arange(301, dtype=np.int64) * S
    at = np.array(sorted(seconds), dtype=np.int64) * S
    levels = np.resize(np.array(values), len(at))
    found = window(grid, 0, int(grid[-1]), most)
    low, high, _ = spans(levels, *found.of(at))
    for i, (begin, end) in enumerate(zip(found.begins, found.ends, strict=True)):
        mine = levels[(at >= begin) & (at <= end)]
        if len(mine):
            assert (low[i], high[i]) == (mine.min(), mine.max())
        else:
            assert np.isnan(low[i])


def test_rows_of_one_millisecond_share_a_bucket():
    ts = np.array([0, 100, 200, 2_000_000, 2_000_001], dtype=np.int64)
    found = window(ts, 0, int(ts[-1]), 10)
    assert found.starts.tolist() == [0, 3]
    assert found.stops.tolist() == [3, 5]
    low, high, last = spans(np.array([1.0, 5.0, 2.0, 7.0, 6.0]), found.starts, found.stops)
    assert (low.tolist(), high.tolist(), last.tolist()) == ([1, 6], [5, 7], [2, 6])


def test_unknown_values_hide_none_that_are_known():
    found = window(np.arange(4) * S, 0, 3 * S, 2)
    low, high, _ = spans(np.array([np.nan, 2.0, np.nan, np.nan]), found.starts, found.stops)
    assert low[0] == high[0] == 2.0
    assert np.isnan(low[1])


def test_a_stretch_without_rows_is_empty():
    found = window(np.arange(4) * S, 10 * S, 20 * S, 5)
    assert len(found) == found.rows == 0


@pytest.mark.parametrize(
    ("drawdown", "depths", "bars"),
    [
        ([0.0, 0.0], [], []),
        ([-0.1, -0.3, 0.0, -0.2, 0.0], [-0.3, -0.2], [2, 1]),
        ([0.0, -0.1, -0.1, -0.05], [-0.1], [3]),
    ],
)
def test_worst_drawdowns(drawdown, depths, bars):
    ts = np.arange(1, len(drawdown) + 1, dtype=np.int64)
    found = worst_drawdowns(ts, np.array(drawdown), 0, 5)
    assert found.depth.tolist() == depths
    assert found.bars.tolist() == bars
    assert found.depth.min(initial=0.0) == min(drawdown)


def test_a_drawdown_that_goes_on_has_no_end():
    found = worst_drawdowns(np.array([5, 6, 7]), np.array([0.0, -0.1, -0.2]), 4, 5)
    assert (found.peak.tolist(), found.trough.tolist(), found.end.tolist()) == ([5], [7], [0])
