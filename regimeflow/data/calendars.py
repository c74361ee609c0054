"""Trading sessions: which day a time belongs to, and how many bars make a year.

A time belongs to the session of the nanosecond before it, because a bar's time is its close: the
bar that closes at midnight is the last of the old day. Without a calendar (``""``) sessions are
UTC days. With one, a session's *day* goes on after its close until local midnight, or until the
next session opens if that is sooner (futures), so after-hours trading belongs to the day that it
follows, and pre-market trading to the day that it precedes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regimeflow.errors import ConfigError, DataError, did_you_mean
from regimeflow.model.market import IntArray
from regimeflow.model.timeframe import NS_PER_DAY, iso

DateArray = npt.NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Sessions:
    """Consecutive sessions of one calendar, as columns of equal length.

    Attributes:
        calendar: ``exchange_calendars`` name, or "" for UTC days.
        zone: time zone of the exchange.
        dates: session dates, ``datetime64[D]``.
        open_ns, close_ns: first and last moment of regular trading, UTC nanoseconds.
        day_start_ns, day_end_ns: bounds of the session's day, UTC nanoseconds; one day's end is
            the next one's start.
    """

    calendar: str
    zone: str
    dates: DateArray
    open_ns: IntArray
    close_ns: IntArray
    day_start_ns: IntArray
    day_end_ns: IntArray

    def __len__(self) -> int:
        return len(self.dates)

    def label(self, index: int) -> str:
        """Return the ISO date of a session."""
        return str(self.dates[index])

    def index(self, ts: IntArray) -> IntArray:
        """Return for each time the place of the session that it belongs to.

        Raises:
            DataError: a time outside what these sessions cover.
        """
        ts = np.asarray(ts, np.int64)
        outside = (ts <= self.day_start_ns[0]) | (ts > self.day_end_ns[-1])
        if outside.any():
            first = int(ts[int(np.argmax(outside))])
            raise DataError(
                f"{iso(first)} lies outside the sessions {self.label(0)} to {self.label(-1)}"
                f" of {self.calendar or 'UTC days'}"
            )
        return np.searchsorted(self.day_end_ns, ts, side="left").astype(np.int64)

    def slice(self, start: int, stop: int) -> Sessions:
        """Return sessions ``start:stop`` as views."""
        cut = slice(start, stop)
        return Sessions(
            self.calendar,
            self.zone,
            self.dates[cut],
            self.open_ns[cut],
            self.close_ns[cut],
            self.day_start_ns[cut],
            self.day_end_ns[cut],
        )


def sessions(calendar: str, start_ns: int, end_ns: int) -> Sessions:
    """Return all sessions from the one that ``start_ns`` belongs to up to that of ``end_ns``.

    Args:
        calendar: ``exchange_calendars`` name such as ``"XNYS"``, or "" for UTC days.
        start_ns, end_ns: UTC nanoseconds.

    Raises:
        ConfigError: no such calendar.
        DataError: the calendar does not reach that far.

    >>> noon = 1_704_153_600_000_000_000 + 43_200_000_000_000
    >>> sessions("", noon, noon).dates
    array(['2024-01-02'], dtype='datetime64[D]')
    """
    if end_ns < start_ns:
        raise DataError(f"sessions end at {iso(end_ns)}, before they start at {iso(start_ns)}")
    if not calendar:
        return _utc_days(start_ns, end_ns)
    first_year, last_year = _year(start_ns), _year(end_ns)
    whole = _exchange_sessions(resolve(calendar), first_year, last_year)
    first, last = whole.index(np.array([start_ns, end_ns], np.int64)).tolist()
    return whole.slice(first, last + 1)


def session_of(calendar: str, ts: IntArray) -> tuple[Sessions, IntArray]:
    """Return the sessions that the times span, and for each time the place of its own in them.

    Args:
        calendar: ``exchange_calendars`` name, or "" for UTC days.
        ts: UTC nanoseconds in any order, at least one.
    """
    ts = np.asarray(ts, np.int64)
    if not len(ts):
        raise DataError("no times: there is no session to find")
    found = sessions(calendar, int(ts.min()), int(ts.max()))
    return found, found.index(ts)


def sessions_per_year(calendar: str) -> float:
    """Return 365 where trading never rests, else the trade's convention of 252 days a year.

    >>> sessions_per_year("24/7"), sessions_per_year("XNYS")
    (365.0, 252.0)
    """
    if not calendar:
        return 365.0
    whole = _exchange_sessions(resolve(calendar), 2024, 2024)
    return 365.0 if len(whole) > 360 else 252.0


def periods_per_year(calendar: str, timeframe: int, ts: IntArray) -> float:
    """Return how many bars make a year, to annualise statistics.

    Daily bars: 252 with a calendar (365 where it never rests); without one 365 if the data has
    Saturdays, else 252. Shorter bars: bars a session x those sessions a year, where a session has
    the calendar's usual length, or what the data shows if that is more (extended hours). Without
    a calendar a session is a day around the clock if the data has Saturdays, else the median
    number of bars on a UTC day. Longer bars: 365.25 days by their length (52 weeks, 12 months).

    Args:
        calendar: ``exchange_calendars`` name, or "".
        timeframe: bar length, nanoseconds.
        ts: close times of the bars, UTC nanoseconds.

    >>> weekdays = np.arange(5, dtype=np.int64) * NS_PER_DAY + 1_704_240_000_000_000_000
    >>> periods_per_year("", NS_PER_DAY, weekdays[:4])
    252.0
    """
    if timeframe > NS_PER_DAY:
        return max(1.0, float(round(365.25 * NS_PER_DAY / timeframe)))
    if calendar:
        per_year = sessions_per_year(calendar)
    else:
        per_year = 365.0 if _has_saturdays(ts) else 252.0
    if timeframe == NS_PER_DAY:
        return per_year
    if not calendar and (per_year == 365.0 or not len(ts)):
        return per_year * (NS_PER_DAY / timeframe)
    return per_year * _bars_per_session(calendar, timeframe, ts)


def resolve(calendar: str) -> str:
    """Return the calendar's own name for a name or alias (``"NYSE"`` is ``"XNYS"``).

    Raises:
        ConfigError: there is none of this name.
    """
    import exchange_calendars

    known = exchange_calendars.get_calendar_names()
    if calendar in known:
        return str(exchange_calendars.resolve_alias(calendar))
    hint = did_you_mean(str(calendar).upper(), known)
    raise ConfigError(f"there is no exchange calendar {calendar!r}.{hint}")


def _bars_per_session(calendar: str, timeframe: int, ts: IntArray) -> float:
    if not len(ts):
        whole = _exchange_sessions(resolve(calendar), 2024, 2024)
        seen = 0.0
    else:
        whole = sessions(calendar, int(ts[0]), int(ts[-1]))
        counts = np.diff(np.searchsorted(ts, whole.day_end_ns, side="right"), prepend=0)
        seen = float(np.median(counts[counts > 0]))
    if not calendar:
        return seen
    length = float(np.median(whole.close_ns - whole.open_ns))
    return max(float(np.ceil(length / timeframe)), seen)


def _has_saturdays(ts: IntArray) -> bool:
    # 1970-01-01 was a Thursday. Saturdays and not Sundays: a week of FX begins on Sunday evening.
    first, last = (int(ts[0]) - 1) // NS_PER_DAY, (int(ts[-1]) - 1) // NS_PER_DAY
    saturdays = np.arange(first + (2 - first) % 7, last + 1, 7, dtype=np.int64) * NS_PER_DAY
    # Looked up from the days' side: there are far fewer of them than of bars.
    before = np.searchsorted(ts, saturdays, side="right")
    after = np.searchsorted(ts, saturdays + NS_PER_DAY, side="right")
    return bool((after > before).any())


def _year(ns: int) -> int:
    return int(np.datetime64(ns, "ns").astype("datetime64[Y]").astype(np.int64)) + 1970


def _utc_days(start_ns: int, end_ns: int) -> Sessions:
    first, last = (start_ns - 1) // NS_PER_DAY, (end_ns - 1) // NS_PER_DAY
    days = np.arange(first, last + 1, dtype=np.int64)
    opens = days * NS_PER_DAY
    closes = opens + NS_PER_DAY
    return Sessions("", "UTC", days.astype("datetime64[D]"), opens, closes, opens, closes)


@functools.lru_cache(maxsize=16)
def _exchange_sessions(calendar: str, first_year: int, last_year: int) -> Sessions:
    """Return the sessions of whole years and a little more; making them costs 0.2 s."""
    found = _exchange(calendar, f"{first_year - 1}-12-01", f"{last_year + 1}-02-01")
    dates = found.sessions.to_numpy().astype("datetime64[D]")
    opens = _utc_ns(found.opens)
    closes = _utc_ns(found.closes)
    ends = np.minimum(_midnight_after(closes, str(found.tz)), np.append(opens[1:], 2**63 - 1))
    # The first session only says where the second one's day begins.
    return Sessions(
        calendar, str(found.tz), dates[1:], opens[1:], closes[1:], ends[:-1], ends[1:]
    )  # fmt: skip


def _exchange(calendar: str, start: str, end: str) -> Any:
    import exchange_calendars
    import pandas as pd

    try:
        return exchange_calendars.get_calendar(calendar, start=start, end=end)
    except ValueError:
        pass  # some calendars are bounded, and the bounds are told only by an instance
    usual = exchange_calendars.get_calendar(calendar)
    low = usual.bound_min() or pd.Timestamp(start)
    high = usual.bound_max() or pd.Timestamp(end)
    first, last = max(pd.Timestamp(start), low), min(pd.Timestamp(end), high)
    if first >= last:
        raise DataError(
            f"the calendar {calendar} is known from {low:%Y-%m-%d} to {high:%Y-%m-%d} only,"
            f" not from {start} to {end}"
        )
    return exchange_calendars.get_calendar(calendar, start=first, end=last)


def _utc_ns(times: Any) -> IntArray:
    import pandas as pd

    return np.asarray(pd.DatetimeIndex(times).as_unit("ns").asi8, np.int64)


def _midnight_after(ts: IntArray, zone: str) -> IntArray:
    """Return the first local midnight at or after each time."""
    import pandas as pd

    wall = pd.DatetimeIndex(ts.view("datetime64[ns]")).tz_localize("UTC").tz_convert(zone)
    midnight = wall.tz_localize(None).ceil("D")
    first = np.ones(len(ts), bool)  # where midnight comes twice, the day ends at the first
    local = midnight.tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
    return _utc_ns(local)
