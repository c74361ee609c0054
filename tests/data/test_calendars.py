"""Sessions: half days, clock changes, and how many bars make a year."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from regimeflow.data import load, periods_per_year, session_of, sessions
from regimeflow.errors import ConfigError, DataError

MINUTE, HOUR, DAY = 60 * 10**9, 3600 * 10**9, 86_400 * 10**9


def at(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def utc(ns: int) -> str:
    return str(np.datetime64(int(ns), "ns").astype("M8[m]"))


# The week in which the clocks change in 2026, and opening and closing in UTC before and after.
CLOCK_CHANGES = [
    # calendar, Friday before, opens, closes, Monday after, opens, closes
    ("XNYS", "2026-03-06", "14:30", "21:00", "2026-03-09", "13:30", "20:00"),
    ("XNYS", "2026-10-30", "13:30", "20:00", "2026-11-02", "14:30", "21:00"),
    ("XLON", "2026-03-27", "08:00", "16:30", "2026-03-30", "07:00", "15:30"),
    ("XLON", "2026-10-23", "07:00", "15:30", "2026-10-26", "08:00", "16:30"),
    ("XASX", "2026-04-02", "23:00", "05:00", "2026-04-07", "00:00", "06:00"),
    ("XASX", "2026-10-02", "00:00", "06:00", "2026-10-05", "23:00", "05:00"),
]
ZONES = {"XNYS": "America/New_York", "XLON": "Europe/London", "XASX": "Australia/Sydney"}


@pytest.mark.parametrize("case", CLOCK_CHANGES)
def test_opening_and_closing_follow_the_local_clock(case: tuple[str, ...]) -> None:
    calendar, before, opens, closes, after, opens_after, closes_after = case
    found = sessions(calendar, at(before), at(after) + DAY)
    dates = [str(date) for date in found.dates]
    for date, first, last in ((before, opens, closes), (after, opens_after, closes_after)):
        place = dates.index(date)
        assert utc(found.open_ns[place])[-5:] == first
        assert utc(found.close_ns[place])[-5:] == last
        assert utc(found.close_ns[place])[:10] == date


@pytest.mark.parametrize(("calendar", "week"), [(case[0], case[1]) for case in CLOCK_CHANGES])
def test_no_session_is_twice_or_missing_in_the_week_of_a_clock_change(
    calendar: str, week: str
) -> None:
    """Hour by hour and day by day, around the clock, each hour belongs to one session, in order."""
    start = at(week) - 5 * DAY
    hours = start + np.arange(1, 14 * 24 + 1, dtype=np.int64) * HOUR
    found, places = session_of(calendar, hours)
    assert (np.diff(places) >= 0).all()
    assert sorted(set(places.tolist())) == list(range(len(found)))
    local = pd.DatetimeIndex((hours - 1).view("M8[ns]"), tz="UTC").tz_convert(ZONES[calendar])
    dates = np.array([str(day.date()) for day in local])
    trading = {str(date) for date in found.dates}
    for hour, place in enumerate(places.tolist()):
        # An hour of a trading day belongs to it; one of a holiday to the next trading day.
        label = found.label(place)
        assert label == dates[hour] if dates[hour] in trading else label > dates[hour]
    for place in range(1, len(found)):
        assert found.day_start_ns[place] == found.day_end_ns[place - 1]
        assert found.open_ns[place] >= found.day_start_ns[place]
        assert found.close_ns[place] <= found.day_end_ns[place]


@pytest.mark.parametrize(("calendar", "week"), [(case[0], case[1]) for case in CLOCK_CHANGES])
def test_daily_bars_across_a_clock_change_have_one_close_each(calendar: str, week: str) -> None:
    found = sessions(calendar, at(week) - 5 * DAY, at(week) + 10 * DAY)
    ones = np.ones(len(found))
    frame = pd.DataFrame(
        {"open": ones, "high": ones, "low": ones, "close": ones, "volume": ones},
        index=pd.DatetimeIndex(found.dates),
    )
    (bars,) = load(frame, calendar=calendar).bars
    _, places = session_of(calendar, bars.ts)
    assert places.tolist() == list(range(len(found)))


@pytest.mark.parametrize(
    ("calendar", "date", "closes"),
    [
        ("XNYS", "2026-11-27", "2026-11-27T18:00"),
        ("XNYS", "2026-12-24", "2026-12-24T18:00"),
        ("XLON", "2026-12-24", "2026-12-24T12:30"),
        ("XASX", "2026-12-24", "2026-12-24T03:10"),
    ],
)
def test_half_days(calendar: str, date: str, closes: str) -> None:
    found = sessions(calendar, at(date) + 12 * HOUR, at(date) + 12 * HOUR)
    assert found.label(0) == date
    assert utc(found.close_ns[0]) == closes


BELONGS = [
    # calendar, time, session
    ("", "2024-01-02T00:00", "2024-01-01"),  # the nanosecond before midnight is the old day's
    ("", "2024-01-02T00:01", "2024-01-02"),
    ("XNYS", "2024-01-02T14:31", "2024-01-02"),
    ("XNYS", "2024-01-02T21:00", "2024-01-02"),
    ("XNYS", "2024-01-02T23:00", "2024-01-02"),  # after hours
    ("XNYS", "2024-01-03T09:00", "2024-01-03"),  # before the opening
    ("XNYS", "2024-01-06T12:00", "2024-01-08"),  # Saturday counts to Monday
    ("24/7", "2024-01-07T00:00", "2024-01-06"),
    ("CMES", "2024-01-02T22:30", "2024-01-02"),
    ("CMES", "2024-01-02T23:30", "2024-01-03"),  # the evening session is the next day's
    (
        "XNYS",
        "1999-01-04T21:00",
        "1999-01-04",
    ),  # farther back than the package's usual twenty years
]


@pytest.mark.parametrize(("calendar", "time", "session"), BELONGS)
def test_the_session_of_a_time(calendar: str, time: str, session: str) -> None:
    found, places = session_of(calendar, np.array([at(time)]))
    assert found.label(int(places[0])) == session


PER_YEAR = [
    # calendar, timeframe, first, bars, expected
    ("XNYS", DAY, "2024-01-03", 5, 252.0),
    ("24/7", DAY, "2024-01-03", 5, 365.0),
    ("", DAY, "2024-01-02", 3, 252.0),  # Monday to Wednesday
    ("", DAY, "2024-01-02", 14, 365.0),
    ("XNYS", MINUTE, "2024-01-02T14:31", 100, 252.0 * 390),
    ("XNYS", HOUR, "2024-01-02T15:30", 7, 252.0 * 7),
    ("24/7", HOUR, "2024-01-02T01:00", 24, 365.0 * 24),
    ("", HOUR, "2024-01-02T01:00", 24 * 7, 365.0 * 24),
    ("", HOUR, "2024-01-02T15:00", 7, 252.0 * 7),  # what one UTC day shows
    ("", 7 * DAY, "2024-01-02", 10, 52.0),
    ("", 30 * DAY, "2024-01-02", 10, 12.0),
]


@pytest.mark.parametrize(("calendar", "timeframe", "first", "count", "expected"), PER_YEAR)
def test_periods_per_year(
    calendar: str, timeframe: int, first: str, count: int, expected: float
) -> None:
    ts = at(first) + np.arange(count, dtype=np.int64) * timeframe
    assert periods_per_year(calendar, timeframe, ts) == expected


def test_extended_hours_make_more_bars() -> None:
    ts = at("2024-01-02T09:30") + np.arange(32, dtype=np.int64) * 30 * MINUTE
    assert periods_per_year("XNYS", 30 * MINUTE, ts) == 252.0 * 32


def test_an_unknown_calendar() -> None:
    with pytest.raises(ConfigError, match=r"'XNYZS'\. Did you mean 'XNYS'"):
        sessions("XNYZS", 0, DAY)


def test_out_of_range() -> None:
    found = sessions("", at("2024-01-02") + 1, at("2024-01-03"))
    assert [str(date) for date in found.dates] == ["2024-01-02"]
    with pytest.raises(DataError, match="outside the sessions 2024-01-02 to 2024-01-02"):
        found.index(np.array([at("2024-01-05")]))
    with pytest.raises(DataError, match="before they start"):
        sessions("", DAY, 0)
    with pytest.raises(DataError, match="XSHG is known from 1990-12-03 to"):
        sessions("XSHG", at("1980-01-01"), at("1980-02-01"))
    with pytest.raises(DataError, match="no times"):
        session_of("", np.empty(0, np.int64))
