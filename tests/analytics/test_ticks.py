"""Ticks are round times that have data."""

from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimeflow.analytics.gaps import TimeAxis, find_gaps
from regimeflow.analytics.ticks import time_ticks

NEW_YORK = ZoneInfo("America/New_York")
MINUTE = 60_000_000_000


@pytest.mark.parametrize(
    ("seconds", "first"),
    [(6, "09:30:01"), (50, "09:30:10"), (600, "09:32"), (5_400, "09:45")],
)
def test_a_short_run_has_times_below_its_chart(seconds, first):
    begin = pd.Timestamp("2024-01-02 09:30:00.5", tz="UTC").value
    ticks = time_ticks(begin, begin + seconds * 10**9, UTC)
    assert ticks[0][1] == first
    assert 3 <= len(ticks) <= 9


def sessions(count, freq="min", start="2024-01-02"):
    """Closes of the bars of weekdays from 09:30 to 16:00 in New York."""
    days = [
        pd.date_range(day + pd.Timedelta("9h30min"), day + pd.Timedelta("16h"), freq=freq)[1:]
        for day in pd.bdate_range(start, periods=count)
    ]
    index = pd.DatetimeIndex(np.concatenate(days)).tz_localize(NEW_YORK)
    return index.as_unit("ns").asi8


def ticks_of(ts, zone=NEW_YORK, timeframe=MINUTE):
    axis = TimeAxis(find_gaps(ts, timeframe))
    return axis, time_ticks(axis.first, int(ts[-1]), zone, axis)


def told(ticks):
    return [
        (f"{pd.Timestamp(at, tz='UTC').tz_convert(NEW_YORK):%m-%d %H:%M}", name)
        for at, name in ticks
    ]


def test_a_day_is_named_where_it_opens_and_times_are_between():
    _, ticks = ticks_of(sessions(2))
    assert told(ticks) == [
        ("01-02 09:30", "02 Jan"), ("01-02 12:00", "12:00"), ("01-02 14:00", "14:00"),
        ("01-03 09:30", "03 Jan"), ("01-03 12:00", "12:00"), ("01-03 14:00", "14:00"),
    ]  # fmt: skip


def test_a_weekend_has_no_days():
    _, ticks = ticks_of(sessions(5, start="2024-01-04"))
    assert told(ticks) == [
        ("01-04 09:30", "04 Jan"), ("01-05 09:30", "05 Jan"), ("01-08 09:30", "08 Jan"),
        ("01-09 09:30", "09 Jan"), ("01-10 09:30", "10 Jan"),
    ]  # fmt: skip


def test_of_many_sessions_every_second_is_named_whatever_lies_between():
    _, ticks = ticks_of(sessions(10))
    names = [name for _, name in ticks]
    assert names == ["02 Jan", "04 Jan", "08 Jan", "10 Jan", "12 Jan"]


def test_a_session_that_ends_at_midnight_leaves_the_next_day_its_name():
    _, ticks = ticks_of(sessions(2), ZoneInfo("Europe/Moscow"))  # 17:30 to 24:00
    days = [tick for tick in told(ticks) if "Jan" in tick[1]]
    assert days == [("01-02 09:30", "02 Jan"), ("01-03 09:30", "03 Jan")]


def test_a_year_has_months_that_begin_with_a_session():
    _, ticks = ticks_of(sessions(252))
    assert told(ticks) == [
        ("01-02 09:30", "Jan 2024"), ("03-01 09:30", "Mar 2024"), ("05-01 09:30", "May 2024"),
        ("07-01 09:30", "Jul 2024"), ("09-02 09:30", "Sep 2024"), ("11-01 09:30", "Nov 2024"),
    ]  # fmt: skip


def test_of_two_days_that_touch_the_later_is_named():
    ts = sessions(3)
    _, ticks = ticks_of(ts[380:])  # ten minutes of the first day
    assert told(ticks)[0] == ("01-03 09:30", "03 Jan")


@given(
    count=st.integers(2, 300),
    freq=st.sampled_from(["5min", "30min", "65min"]),
    zone=st.sampled_from([UTC, NEW_YORK, ZoneInfo("Asia/Tokyo")]),
    ends=st.tuples(st.floats(0.0, 0.4), st.floats(0.6, 1.0)),
)
@settings(max_examples=60, deadline=None)
def test_ticks_have_data_and_do_not_touch(count, freq, zone, ends):
    ts = sessions(count, freq)
    step = pd.Timedelta(freq).value
    axis = TimeAxis(find_gaps(ts, step))
    low, high = (int(ts[int(share * (len(ts) - 1))]) for share in ends)
    ticks = time_ticks(low, high, zone, axis)
    assert len(ticks) <= 17
    at = np.array([t for t, _ in ticks])
    for t in at.tolist():
        assert low <= t <= high
        assert ((ts - step <= t) & (t <= ts)).any()  # within a bar
    places = axis.place(at)
    room = (axis.place(high) - axis.place(low)) / 17
    assert (np.diff(places) > room).all()
