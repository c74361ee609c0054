"""Times in: whatever a frame calls time becomes UTC nanoseconds, or is refused.

All times go through integers and pandas' zone tables, whichever library the frame is from, so that
equal frames give equal times.
"""

from __future__ import annotations

import functools
import zoneinfo
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np

from regimeflow.data import calendars
from regimeflow.errors import ConfigError, DataError, did_you_mean
from regimeflow.model.market import IntArray
from regimeflow.model.timeframe import NS_PER_DAY, NS_PER_MS, NS_PER_SECOND, format_timeframe, iso

#: What numpy stores for "not a time".
NAT = int(np.iinfo(np.int64).min)

_NS_PER = {"s": NS_PER_SECOND, "ms": NS_PER_MS, "us": 1_000, "ns": 1}

# Seconds of the years 1973 to 5138, and so on: the bands do not overlap in any year up to 2262.
_EPOCH_BANDS = (
    (10**8, 10**11, "s"),
    (10**11, 10**14, "ms"),
    (10**14, 10**17, "us"),
    (10**17, 2**63 - 1, "ns"),
)


@dataclass(frozen=True, slots=True)
class Times:
    """A time column as it was understood.

    Attributes:
        ts: UTC nanoseconds, `NAT` where there is none.
        zone: the zone in which the column reads as local time.
        naive: whether the column itself had no zone.
        parsed: whether it was text.
    """

    ts: IntArray
    zone: str
    naive: bool
    parsed: bool = False


def read_times(values: Any, timezone: str, where: str) -> Times:
    """Return a pandas index, pandas series or polars series as UTC nanoseconds.

    Args:
        values: datetimes with or without a zone, dates, integer epochs or ISO text.
        timezone: how naive times are meant.
        where: how to call the frame in messages, e.g. ``"AAPL"``.

    Raises:
        DataError: times that cannot be read, with the first row.
    """
    if nw.dependencies.is_polars_series(values):
        raw, unit, zone, parsed = _polars_times(values, where)
    else:
        raw, unit, zone, parsed = _pandas_times(values, where)
    ns = _to_ns(raw, unit, where)
    if zone is not None:
        return Times(ns, zone, naive=False, parsed=parsed)
    return Times(_localize(ns, timezone, where), timezone, naive=True, parsed=parsed)


def is_time(values: Any) -> bool:
    """Return whether a column or index holds datetimes or dates by its type alone."""
    if nw.dependencies.is_polars_series(values):
        return bool(values.dtype.is_temporal())
    return _kind(values) == "M"


def check_zone(timezone: str) -> str:
    """Return a time zone's name, ``"UTC"`` in its usual spelling.

    Raises:
        ConfigError: there is no such zone.
    """
    if not isinstance(timezone, str):
        raise ConfigError(f"timezone must be a name such as 'America/New_York', got {timezone!r}")
    if timezone.upper() in ("UTC", "Z", "ETC/UTC"):
        return "UTC"
    if timezone not in _zones():
        raise ConfigError(
            f"there is no time zone {timezone!r}.{did_you_mean(timezone, sorted(_zones()))}"
        )
    return timezone


def wall_clock(ts: IntArray, zone: str) -> IntArray:
    """Return UTC nanoseconds as local time, in nanoseconds as if that were UTC."""
    if zone == "UTC":
        return ts
    import pandas as pd

    local = pd.DatetimeIndex(ts.view("datetime64[ns]")).tz_localize("UTC").tz_convert(zone)
    return np.asarray(local.tz_localize(None).asi8, np.int64)


def closes(
    ts: IntArray, timeframe: int, label: str, zone: str, calendar: str
) -> tuple[IntArray, IntArray]:
    """Return the close times of bars from their labels, and the rows that have none.

    Daily bars with a calendar, labelled by date, close with that session. Other bars labelled by
    their open close one timeframe later; days are local ones, which may have 23 or 25 hours.

    Args:
        ts: labels, UTC nanoseconds.
        timeframe: bar length, nanoseconds.
        label: "open" or "close".
        zone: zone in which the labels read as local time.
        calendar: calendar name, or "".

    Returns:
        Close times, and places of rows whose date is not a session (there the close is unset).
    """
    none = np.empty(0, np.int64)
    if timeframe == NS_PER_DAY and calendar:
        return _session_closes(ts, label, zone, calendar)
    if label == "close":
        return ts, none
    if timeframe % NS_PER_DAY == 0 and zone != "UTC":
        return _from_wall(wall_clock(ts, zone) + timeframe, zone), none
    return ts + timeframe, none


def infer_timeframe(gaps: IntArray) -> int:
    """Return the most common positive difference between neighbouring times, 0 if there is none.

    The most common one, and not the smallest or the mean, because nights, weekends and missing
    bars only ever make some differences longer.
    """
    gaps = gaps[gaps > 0]
    if not len(gaps):
        return 0
    middle = int(np.partition(gaps, len(gaps) // 2)[len(gaps) // 2])
    if 2 * int(np.count_nonzero(gaps == middle)) > len(gaps):
        return middle
    values, counts = np.unique(gaps, return_counts=True)
    return int(values[int(np.argmax(counts))])


def check_timeframe(timeframe: int, gaps: IntArray, where: str) -> None:
    """Refuse a timeframe that is longer than the distance between most bars.

    Raises:
        DataError: e.g. ``timeframe="1h"`` for minute bars.
    """
    usual = infer_timeframe(gaps)
    # A tenth of slack: local days of 23 hours, months of 28 days.
    if usual and usual < 0.9 * timeframe:
        raise DataError(
            f"{where}: timeframe {format_timeframe(timeframe)} is given, but most bars are"
            f" {format_timeframe(usual)} apart; leave timeframe= out, or make coarser bars first"
            " with regimeflow.data.resample"
        )


# ---------------------------------------------------------------- what the libraries call time

_Raw = tuple[IntArray, str, str | None, bool]


def _polars_times(values: Any, where: str) -> _Raw:
    import polars as pl

    dtype = values.dtype
    if isinstance(dtype, pl.Datetime):
        raw = _filled(values.to_physical())
        return raw, dtype.time_unit, dtype.time_zone, False
    if dtype == pl.Date:
        days = _filled(values.to_physical().cast(pl.Int64))
        return np.where(days == NAT, NAT, days * 86_400), "s", None, False
    if dtype.is_integer():
        return _epoch(_filled(values.cast(pl.Int64)), where)
    if dtype in (pl.String, pl.Object):
        return _parse(values.to_list(), where)
    raise DataError(f"{where}: the time column {values.name!r} is {dtype}, not a time")


def _filled(values: Any) -> IntArray:
    """Return a polars series of integers, `NAT` where they are missing."""
    filled: IntArray = (values.fill_null(NAT) if values.null_count() else values).to_numpy()
    return filled


def _pandas_times(values: Any, where: str) -> _Raw:
    import pandas as pd

    kind = _kind(values)
    if kind == "M":
        index = values if isinstance(values, pd.DatetimeIndex) else pd.DatetimeIndex(values)
        zone = None if index.tz is None else _zone_name(index.tz)
        return np.asarray(index.asi8, np.int64), index.unit, zone, False
    if kind in "iu":
        missing = np.asarray(pd.isna(values))
        if missing.any():
            raise DataError(f"{where}: row {int(np.argmax(missing))} has no time")
        return _epoch(values.to_numpy(dtype=np.int64), where)
    if kind in "OTS":
        return _parse(list(values), where)
    raise DataError(f"{where}: the time column {values.name!r} is {values.dtype}, not a time")


def _kind(values: Any) -> str:
    """Return numpy's letter for the type; pandas' own types have one too ("O" or "T" is text)."""
    return str(getattr(values.dtype, "kind", "O"))


def _epoch(raw: IntArray, where: str) -> _Raw:
    good = raw[raw != NAT]
    low, high = (int(good.min()), int(good.max())) if len(good) else (0, 0)
    for start, stop, unit in _EPOCH_BANDS:
        if start <= low and high < stop:
            return raw, unit, "UTC", False
    raise DataError(
        f"{where}: integer times from {low} to {high} are no epoch in one of s, ms, us or ns;"
        " turn them into datetimes first"
    )


def _parse(values: list[Any], where: str) -> _Raw:
    import pandas as pd

    try:
        index = pd.DatetimeIndex(pd.to_datetime(pd.Series(values, dtype=object), format="ISO8601"))
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(_parse_problem(values, where)) from error
    zone = None if index.tz is None else _zone_name(index.tz)
    return np.asarray(index.asi8, np.int64), index.unit, zone, True


def _parse_problem(values: list[Any], where: str) -> str:
    import pandas as pd

    first_zone: Any = ...
    for row, value in enumerate(values):
        try:
            zone = getattr(pd.to_datetime(value, format="ISO8601"), "tzinfo", None)
        except (ValueError, TypeError, OverflowError):
            return (
                f"{where}: cannot read the time {value!r} in row {row}; use ISO times"
                " (2024-01-31 16:00) or parse the column yourself with its format"
            )
        if value is None or value != value:
            continue
        if first_zone is ...:
            first_zone = zone
        elif str(zone) != str(first_zone):
            return (
                f"{where}: the times mix zones: {value!r} in row {row} is {zone or 'naive'},"
                f" earlier rows are {first_zone or 'naive'}; turn them into one zone first"
                " (pd.to_datetime(..., utc=True))"
            )
    return f"{where}: the time column cannot be read; turn it into datetimes first"


def _zone_name(zone: Any) -> str:
    """Return a zone's name in a form that the frame libraries read back, else "UTC"."""
    name = str(zone)
    if name in _zones() or name == "UTC":
        return name
    import pandas as pd

    try:
        pd.DatetimeIndex([], dtype="datetime64[ns]").tz_localize(name)
    except (ValueError, TypeError, KeyError, OSError):  # e.g. dateutil's "tzfile(...)"
        return "UTC"
    return name


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


# ---------------------------------------------------------------- arithmetic


def _to_ns(raw: IntArray, unit: str, where: str) -> IntArray:
    factor = _NS_PER[unit]
    if factor == 1 or not len(raw):
        return raw
    low, high = int(raw.min()), int(raw.max())
    missing = None
    if low == NAT:
        missing = raw == NAT
        raw = np.where(missing, 0, raw)
        low, high = int(raw.min()), int(raw.max())
    limit = (2**63 - 1) // factor
    if low < -limit or high > limit:
        row = int(np.argmax((raw < -limit) | (raw > limit)))
        raise DataError(f"{where}: the time in row {row} lies outside the years 1678 to 2262")
    ns = raw * factor
    if missing is not None:
        ns[missing] = NAT
    return ns


def _localize(wall: IntArray, zone: str, where: str) -> IntArray:
    """Return local times as UTC; one that comes twice or never is refused."""
    if zone == "UTC":
        return wall
    import pandas as pd

    naive = pd.DatetimeIndex(wall.view("datetime64[ns]"))
    local = naive.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    ns = np.asarray(local.asi8, np.int64)
    bad = (ns == NAT) & (wall != NAT)
    if bad.any():
        row = int(np.argmax(bad))
        one = naive[row : row + 1].tz_localize(zone, ambiguous=np.ones(1, bool), nonexistent="NaT")
        why = "does not exist" if one.isna()[0] else "comes twice"
        raise DataError(
            f"{where}: the local time {naive[row]} in row {row} {why} in {zone} (clock change),"
            f" the first of {int(bad.sum())} such rows; give the column a time zone"
        )
    return ns


def _from_wall(wall: IntArray, zone: str) -> IntArray:
    """Return local day boundaries as UTC; where midnight does not exist the day starts after it."""
    import pandas as pd

    naive = pd.DatetimeIndex(wall.view("datetime64[ns]"))
    first = np.ones(len(wall), bool)
    local = naive.tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
    return np.asarray(local.asi8, np.int64)


def _session_closes(
    ts: IntArray, label: str, zone: str, calendar: str
) -> tuple[IntArray, IntArray]:
    margin = 2 * NS_PER_DAY
    found = calendars.sessions(calendar, int(ts.min()) - margin, int(ts.max()) + margin)
    for local in (wall_clock(ts, zone), wall_clock(ts, found.zone)):
        days, rest = np.divmod(local, NS_PER_DAY)
        if not rest.any():
            dates = found.dates.astype(np.int64)
            places = np.minimum(np.searchsorted(dates, days), len(dates) - 1)
            return found.close_ns[places], np.flatnonzero(dates[places] != days)
    if label == "close":
        return ts, np.empty(0, np.int64)
    # Labelled by the moment the session opens: that moment, and not the one before it, tells which.
    return found.close_ns[found.index(ts + 1)], np.empty(0, np.int64)


def describe(ts: int) -> str:
    """Return a time for a message; "no time" for a missing one."""
    return "no time" if ts == NAT else iso(ts)
