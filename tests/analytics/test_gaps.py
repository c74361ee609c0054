"""Nothing is drawn across times without data."""

from __future__ import annotations

import base64
import pickle
import re
from datetime import UTC
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.dates import date2num

import regimeflow as rf
from regimeflow.analytics import svg
from regimeflow.analytics.gaps import EVEN, Gaps, TimeAxis, find_gaps, torn
from regimeflow.analytics.html import equity_svg
from regimeflow.analytics.interactive import _left_out
from regimeflow.widgets.frozen_picture import figure_of

MINUTE = 60_000_000_000
DAY = 1_440 * MINUTE


def times(text):
    """UTC nanoseconds of stretches of minutes: first minute, how many."""
    parts = [np.arange(a, a + n) for a, n in text]
    return np.concatenate(parts) * MINUTE


def nights(count):
    """Closes of the minutes of sessions of 6.5 hours, one a day."""
    return times([(i * 1_440 + 811, 390) for i in range(count)])


@pytest.mark.parametrize(
    ("ts", "timeframe", "found"),
    [
        (times([(0, 100), (220, 100)]), MINUTE, [(99, 219)]),  # mute for two hours
        (times([(0, 100), (102, 100)]), MINUTE, []),  # two bars are missing: no gap
        (times([(0, 390), (1_440, 390)]), MINUTE, [(389, 1_439)]),  # a night
        (times([(0, 150), (210, 150)]), MINUTE, [(149, 209)]),  # a noon
        (times([(0, 9_000), (9_027, 9_000)]), MINUTE, []),  # less than a fiftieth of a day
        (times([(0, 9_000), (9_030, 9_000)]), MINUTE, [(8_999, 9_029)]),
        (np.array([0, 1, 2, 3, 4, 7, 8, 9]) * DAY, DAY, []),  # a weekend of daily bars
        (np.array([0, 1, 2, 3, 40, 41]) * DAY, DAY, []),
        (times([(0, 100), (220, 100)]), 0, []),  # ticks
        (times([(0, 100), (220, 100)])[::5], MINUTE, [(95, 219)]),  # thinned out
        (np.arange(0, 500, 5) * MINUTE, MINUTE, []),  # a market that seldom trades
        (times([(0, 2)]), MINUTE, []),
        (times([(0, 0)]), MINUTE, []),
    ],
)
def test_what_a_gap_is(ts, timeframe, found):
    gaps = find_gaps(ts, timeframe)
    ends, starts = (gaps.ends // MINUTE).tolist(), (gaps.starts // MINUTE).tolist()
    assert list(zip(ends, starts, strict=True)) == found


def test_every_night_of_a_year_is_one():
    assert len(find_gaps(nights(252), MINUTE).ends) == 251


def share(axis, begin, end, first, last):
    """Which part of a picture lies between two times, in minutes."""
    begin, end, first, last = (axis.place(t * MINUTE) for t in (begin, end, first, last))
    return (end - begin) / (last - first)


def test_two_sessions_lie_beside_each_other():
    axis = TimeAxis(find_gaps(nights(2), MINUTE))
    first, noon, close, again, last = 810, 1_005, 1_200, 2_250, 2_640  # 13:30, 16:45, 20:00, ...
    assert 0.01 < share(axis, close, again, first, last) < 0.02
    assert share(axis, first, noon, first, close) == pytest.approx(0.5)
    assert share(axis, first, close, first, last) == pytest.approx(
        share(axis, again, last, first, last)
    )


@pytest.mark.parametrize(("count", "widest"), [(2, 0.02), (6, 0.1), (21, 0.1), (252, 0.1)])
def test_however_many_nights_take_little_room(count, widest):
    axis = TimeAxis(find_gaps(nights(count), MINUTE))
    night = share(axis, 1_200, 2_250, 810, (count - 1) * 1_440 + 1_200)
    assert 0.0 < night * (count - 1) <= widest


@pytest.mark.parametrize(("count", "seen"), [(2, 1), (21, 20), (252, 0)])
def test_lines_are_open_where_it_can_be_seen(count, seen):
    gaps = find_gaps(nights(count), MINUTE)
    assert len(TimeAxis(gaps).seen(gaps)) == seen


def test_no_gap_is_widened():
    ts = times([(0, 9_000), (9_060, 9_000)])  # an hour in twelve days
    axis = TimeAxis(find_gaps(ts, MINUTE))
    assert axis.place(ts[-1]) - axis.place(ts[0]) == ts[-1] - ts[0]


def test_without_gaps_places_are_times():
    daily = TimeAxis(find_gaps(np.arange(9) * DAY, DAY))
    for axis in (EVEN, daily):
        assert axis.place(5 * DAY) == 5 * DAY
        assert axis.time(5 * DAY) == 5 * DAY
    assert not len(daily.starts)


def test_before_and_after_all_data_time_goes_on():
    axis = TimeAxis(find_gaps(nights(3), MINUTE))
    for edge in (-DAY, 3 * DAY):
        assert axis.place(edge + DAY) - axis.place(edge) == pytest.approx(DAY)


@st.composite
def lines(draw):
    """The gaps of one to three lines, and a time within or around them."""
    made = []
    for _ in range(draw(st.integers(1, 3))):
        steps = draw(st.lists(st.integers(10**6, 10**15), min_size=2, max_size=12))
        at = (draw(st.integers(0, 2 * 10**15)) + np.cumsum(steps) + 1_700_000_000 * 10**9).tolist()
        inner = np.array(at[1 : len(at) - 1 - len(at) % 2], dtype=np.int64)
        made.append(Gaps(at[0], at[-1], inner[0::2], inner[1::2]))
    first, last = made[0].first - 10**14, max(line.last for line in made) + 10**14
    return made, sorted(draw(st.lists(st.integers(first, last), min_size=2, max_size=20)))


@given(lines())
@settings(max_examples=200, deadline=None)
def test_places_are_in_order_and_lead_back(case):
    made, at = case
    axis, at = TimeAxis(*made), np.array(at)
    places = axis.place(at)
    assert (np.diff(places) >= -1_000.0).all()
    # Floats count a quarter of a microsecond, and where a gap is narrow that is a long time.
    assert np.abs(axis.place(axis.time(places)) - places).max() <= 2_000.0
    gaps = list(zip(axis.ends.tolist(), axis.starts.tolist(), strict=True))
    known = np.array([t for t in at.tolist() if not any(a < t < b for a, b in gaps)])
    assert (np.abs(axis.time(axis.place(known)) - known) <= 2_000.0).all()


@given(lines())
@settings(max_examples=100, deadline=None)
def test_a_gap_of_several_lines_is_one_of_each(case):
    made, _ = case
    axis = TimeAxis(*made)
    for end, start in zip(axis.ends.tolist(), axis.starts.tolist(), strict=True):
        assert end < start
        for line in made:
            within = (line.ends <= end) & (start <= line.starts)
            assert within.any() or start <= line.first or end >= line.last


def test_a_line_through_the_night_keeps_it_open():
    stocks, coins = find_gaps(nights(2), MINUTE), find_gaps(times([(0, 2_880)]), MINUTE)
    assert len(TimeAxis(stocks, stocks).starts) == 1
    both = TimeAxis(stocks, coins)
    assert not len(both.starts)
    assert len(both.seen(stocks)) == 1  # its own line is open all the same


def test_a_line_is_torn_where_a_gap_is():
    at, values = torn(np.array([1, 2, 9, 10]), np.array([1.0, 2.0, 3.0, 4.0]), np.array([8, 99]))
    assert at.tolist() == [1, 2, 8, 9, 10]
    assert np.array_equal(values, [1.0, 2.0, np.nan, 3.0, 4.0], equal_nan=True)


# ---------------------------------------------------------------- in pictures


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    data = rf.datasets.synthetic(n=400)
    data = data.drop(data.index[150:270])  # two hours
    turns = lambda ctx, bar: ctx.target(bar.symbol, qty=10.0)  # noqa: E731
    venue = rf.venues.Simulated(data, speed=None)
    folder = tmp_path_factory.mktemp("run") / "run"
    baseline = rf.backtest(turns, data)
    return rf.LiveSession(turns, venue, baseline=baseline, run_dir=folder).run(progress=False)


#: The run's first minute, its last one before and its first one after two hours without data.
OUTAGE = pd.DatetimeIndex(rf.datasets.synthetic(n=400).index[[0, 150, 270]])


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
        lines = [line for line in figure.to_plotly().data if "cone" not in line.name]
        assert not any(crossing(line.x, line.y) for line in lines)


def test_every_picture_folds_it(session):
    report, dashboard = session.report(), rf.Dashboard(session)
    assert dashboard.html  # reads the run to its end
    board = figure_of([board.view() for board in dashboard._pump.boards])
    pictures = (
        report.plot(), report.plot("trades"), session.drift().plot(), board,
        rf.compare(report, report).plot(),
    )  # fmt: skip
    for picture in pictures:
        picture.canvas.draw()
        for axes in picture.axes:
            begin, mute, goes_on = axes.transAxes.inverted().transform(
                [axes.transData.transform((date2num(t), 0.0)) for t in OUTAGE]
            )[:, 0]  # fmt: skip
            assert 0.01 < goes_on - mute < 0.03
            assert 0.4 < mute - begin < 0.55  # of 280 minutes the first 150
    dashboard.close()


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


# ---------------------------------------------------------------- folded


@pytest.fixture(scope="module")
def week():
    """A report of three sessions of New York, from Friday on, with fills."""
    minutes = pd.date_range("2024-01-05 09:30", "2024-01-09 15:59", freq="min")
    minutes = minutes[minutes.indexer_between_time("09:30", "15:59")]
    minutes = minutes[minutes.day_of_week < 5].tz_localize("America/New_York")
    data = rf.datasets.synthetic(n=len(minutes))
    data.index = minutes
    turns = lambda ctx, bar: ctx.target(bar.symbol, qty=float(bar.ts // MINUTE % 50 == 0))  # noqa: E731
    return rf.backtest(turns, data)


def pixels(axes, *when):
    """How far right times are in a picture, of its width."""
    x = [date2num(pd.Timestamp(t, tz="America/New_York").tz_convert(None)) for t in when]
    return axes.transAxes.inverted().transform(
        axes.transData.transform([(v, 0.0) for v in x])
    )[:, 0]  # fmt: skip


@pytest.mark.parametrize("kind", ["equity", "trades"])
def test_a_picture_folds_nights_and_weekends(week, kind):
    picture = week.plot(kind)
    picture.canvas.draw()
    for axes in picture.axes:
        at = pixels(
            axes, "2024-01-05 09:30", "2024-01-05 12:45", "2024-01-05 16:00", "2024-01-08 09:30",
            "2024-01-08 16:00", "2024-01-09 09:30", "2024-01-09 16:00",
        )  # fmt: skip
        session = at[2] - at[0]
        assert 0.25 < session < 0.31
        assert at[1] == pytest.approx((at[0] + at[2]) / 2)
        assert at[4] - at[3] == pytest.approx(session)
        assert at[6] - at[5] == pytest.approx(session)
        assert 0.01 < at[3] - at[2] < 0.02
        assert 0.01 < at[5] - at[4] < 0.02


def test_dates_of_a_folded_picture_stay_dates(week):
    (axes,) = week.plot("trades").axes
    noon = pd.Timestamp("2024-01-08 17:00").to_datetime64()
    line = axes.axvline(noon)
    assert date2num(line.get_xdata()[0]) == date2num(noon)
    assert axes.format_xdata(date2num(noon)) == "2024-01-08 12:00:00"
    axes.figure.canvas.draw()
    place = axes.transData.transform((date2num(noon), 0.0))[0]
    assert pickle.loads(pickle.dumps(axes.figure)).axes[0].get_xlim() == axes.get_xlim()
    back = axes.transData.inverted().transform((place, 0.0))[0]
    assert back == pytest.approx(date2num(noon), abs=1e-6)


def test_ticks_of_a_folded_picture(week):
    picture = week.plot("trades")
    picture.canvas.draw()
    (axes,) = picture.axes
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert names == ["05 Jan", "12:00", "08 Jan", "12:00", "09 Jan", "12:00"]
    assert axes.xaxis.get_offset_text().get_text() == "2024"
    at = pixels(axes, "2024-01-05 09:30", "2024-01-08 09:30", "2024-01-09 09:30")
    ticks = axes.transAxes.inverted().transform(
        axes.transData.transform([(x, 0.0) for x in axes.get_xticks()])
    )[:, 0]  # fmt: skip
    assert ticks[::2] == pytest.approx(at, abs=1e-6)
    boxes = [tick.get_window_extent() for tick in axes.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_an_svg_folds_nights_and_weekends(week):
    picture = equity_svg(week)
    lines = re.search(r'rf-line" d="([^"]+)"', picture).group(1)
    pieces = [
        [float(point.split()[0]) for point in piece.split("L")] for piece in lines[1:].split("M")
    ]
    lengths = [piece[-1] - piece[0] for piece in pieces]
    assert len(pieces) == 3
    assert max(lengths) - min(lengths) < 3.0
    for a, b in pairwise(pieces):
        assert 8.0 < b[0] - a[-1] < 20.0  # and what was thinned out
    assert re.findall(r">(\d\d Jan)<", picture) == ["05 Jan", "08 Jan", "09 Jan"]


def test_marks_lie_on_the_lines_of_a_folded_svg():
    ts = nights(2)
    close = np.linspace(100.0, 101.0, len(ts))
    fills = (ts[[195, 585]], close[[195, 585]], np.array([True, True]))
    picture = svg.trades_chart(ts, close, fills, UTC, "two fills", find_gaps(ts, MINUTE))
    (buys,) = re.findall(r'rf-buy" d="([^"]+)"', picture)
    at = [float(x) for x in re.findall(r"M([\d.]+) ", buys)]
    # Of 389 minutes, a night as wide as 15.6 and 390 minutes, drawn from 64 to 892.
    assert at == pytest.approx([64 + 828 * 195 / 794.6, 64 + 828 * 600.6 / 794.6], abs=0.1)


def test_plotly_leaves_nights_out(week):
    (weekend, night) = week.to_plotly().layout.xaxis.rangebreaks
    assert [str(b)[:16] for b in weekend.bounds] == ["2024-01-05T16:23", "2024-01-08T09:30"]
    assert [str(b)[:16] for b in night.bounds] == ["2024-01-08T16:23", "2024-01-09T09:30"]


def test_plotly_hides_no_fill():
    axis = TimeAxis(find_gaps(nights(2), MINUTE))
    begins, ends = _left_out(axis, np.array([2_000, 900, 2_100]) * MINUTE)
    assert (ends // MINUTE).tolist() == [2_000]
    assert (begins // MINUTE).tolist() == [1_215]
