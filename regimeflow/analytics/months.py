"""Returns by calendar month and year, in the report's time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import numpy as np

from regimeflow.analytics.fold import Curve
from regimeflow.model.timeframe import NS_PER_SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def zone_of(timezone: str | None) -> tzinfo:
    """Return the zone of a report's times; naive times are UTC."""
    return ZoneInfo(timezone) if timezone and timezone != "UTC" else UTC


def local(ns: int, zone: tzinfo) -> datetime:
    """Return UTC nanoseconds as a wall-clock time, cut to whole microseconds."""
    return (_EPOCH + timedelta(microseconds=ns // 1000)).astimezone(zone)


def to_ns(when: datetime) -> int:
    """Return an aware time as UTC nanoseconds."""
    return (when - _EPOCH) // timedelta(microseconds=1) * 1000


def monthly_returns(curve: Curve, timezone: str | None) -> dict[tuple[int, int], float]:
    """Return ``(year, month) -> return`` from the first to the last month of a run.

    A bar that closes at midnight on the first belongs to the month that it closes. The first
    month begins at the starting capital.
    """
    if not len(curve.ts):
        return {}
    zone = zone_of(timezone)
    first, last = local(int(curve.ts[0]) - 1, zone), local(int(curve.ts[-1]) - 1, zone)
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    months = [
        (first.year + i // 12, i % 12 + 1) for i in range(first.month - 1, first.month - 1 + count)
    ]
    ends = [datetime(y + m // 12, m % 12 + 1, 1, tzinfo=zone) for y, m in months]
    edge = np.array([round(end.timestamp()) * NS_PER_SECOND for end in ends], dtype=np.int64)
    rows = np.searchsorted(curve.ts, edge, side="right") - 1
    levels = [curve.start, *curve.equity[rows].tolist()]
    return {
        month: after / before - 1.0 if before > 0 else float("nan")
        for month, before, after in zip(months, levels[:-1], levels[1:], strict=True)
    }


def percent(value: float) -> str:
    """Return a return in percent with one decimal, and no negative zero.

    >>> percent(0.0123), percent(-0.0001)
    ('1.2', '0.0')
    """
    text = f"{value * 100:.1f}"
    return "0.0" if text == "-0.0" else text


def yearly_returns(months: dict[tuple[int, int], float]) -> dict[int, float]:
    """Return ``year -> return`` compounded from its months.

    >>> yearly_returns({(2024, 1): 0.10, (2024, 2): -0.10})
    {2024: -0.009999999999999898}
    """
    years: dict[int, float] = {}
    for (year, _), value in months.items():
        years[year] = (1.0 + years.get(year, 0.0)) * (1.0 + value) - 1.0
    return years
