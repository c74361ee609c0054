"""Nothing is drawn across times without data."""

from __future__ import annotations

import base64
import re

import numpy as np
import pandas as pd
import pytest

import regimeflow as rf
from regimeflow.analytics.gaps import breaks, torn

MINUTE = 60_000_000_000
DAY = 1_440 * MINUTE


def times(text):
    """UTC nanoseconds of stretches of minutes: first minute, how many."""
    parts = [np.arange(a, a + n) for a, n in text]
    return np.concatenate(parts) * MINUTE


@pytest.mark.parametrize(
    ("ts", "timeframe", "found"),
    [
        (times([(0, 100), (220, 100)]), MINUTE, [220]),  # mute for two hours
        (times([(0, 100), (102, 100)]), MINUTE, []),  # two bars are missing: no gap
        (times([(0, 390), (1_440, 390), (2_880, 390)]), MINUTE, [1_440, 2_880]),  # nights
        (times([(i * 1_440, 390) for i in range(252)]), MINUTE, []),  # not seen in a year
        (np.array([0, 1, 2, 3, 4, 7, 8, 9]) * DAY, DAY, []),  # a weekend of daily bars
        (np.array([0, 1, 2, 3, 40, 41]) * DAY, DAY, []),
        (times([(0, 100), (220, 100)]), 0, []),  # ticks
        (times([(0, 100), (220, 100)])[::5], MINUTE, [220]),  # thinned out
        (np.arange(0, 500, 5) * MINUTE, MINUTE, []),  # a market that seldom trades
        (times([(0, 2)]), MINUTE, []),
    ],
)
def test_what_a_gap_is(ts, timeframe, found):
    assert (breaks(ts, timeframe) // MINUTE).tolist() == found


def test_a_line_is_torn_where_a_gap_is():
    at, values = torn(np.array([1, 2, 9, 10]), np.array([1.0, 2.0, 3.0, 4.0]), np.array([9, 99]))
    assert at.tolist() == [1, 2, 9, 9, 10]
    assert np.array_equal(values, [1.0, 2.0, np.nan, 3.0, 4.0], equal_nan=True)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    data = rf.datasets.synthetic(n=400)
    data = data.drop(data.index[150:270])  # two hours
    turns = lambda ctx, bar: ctx.target(bar.symbol, qty=10.0)  # noqa: E731
    venue = rf.venues.Simulated(data, speed=None)
    folder = tmp_path_factory.mktemp("run") / "run"
    baseline = rf.backtest(turns, data)
    return rf.LiveSession(turns, venue, baseline=baseline, run_dir=folder).run(progress=False)


def crossing(x, y):
    """How many steps of a line span more than an hour."""
    known = ~np.isnan(np.asarray(y, dtype=np.float64))
    both = known[1:] & known[:-1]
    steps = np.diff(np.asarray(x).astype("datetime64[ns]").astype(np.int64))
    return int((steps[both] > 60 * MINUTE).sum())


def test_no_line_of_a_picture_crosses_it(session):
    report = session.report()
    drift, both = session.drift(), rf.compare(report, report)
    for picture in (drift.plot(), report.plot(), report.plot("trades"), both.plot()):
        lines = [line for axes in picture.axes for line in axes.lines if len(line.get_xdata()) > 2]
        assert lines
        assert not any(crossing(line.get_xdata(), line.get_ydata()) for line in lines)
    for figure in (drift, report, both):
        assert not any(crossing(line.x, line.y) for line in figure.to_plotly().data)


def test_no_line_of_a_fragment_crosses_it(session):
    dashboard = rf.Dashboard(session)
    report = session.report()
    for html in (dashboard.html, report._repr_html_(), rf.compare(report, report)._repr_html_()):
        pictures = [
            base64.b64decode(source).decode()
            for source in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", html)
        ]
        lines = [
            line
            for picture in pictures
            for line in re.findall(r'rf-(?:live|line|price)" d="([^"]+)"', picture)
            + re.findall(r'stroke-width="1.6"[^>]* d="([^"]+L[^"]+)"', picture)
        ]
        assert lines
        assert all(line.count("M") == 2 for line in lines)
    dashboard.close()


def test_daily_bars_are_joined_over_weekends():
    times = pd.bdate_range("2024-01-02", periods=15)
    data = rf.datasets.synthetic(n=15)
    data.index = times
    report = rf.backtest(lambda ctx, bar: None, data)
    line = report.plot().axes[0].lines[0]
    assert not np.isnan(line.get_ydata()).any()
