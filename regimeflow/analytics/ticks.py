"""Round times for the axes of pictures, and what to call them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, tzinfo

import numpy as np

from regimeflow.analytics.gaps import EVEN, TimeAxis
from regimeflow.analytics.months import local, to_ns

Tick = tuple[int, str]

_DAY = timedelta(days=1)
_FINE = [timedelta(seconds=s) for s in (1, 2, 5, 10, 15, 30)]
_FINE += [timedelta(minutes=m) for m in (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 720)]
_FINE += [_DAY * d for d in (1, 2, 5, 10)]
_COARSE = [1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200]  # months


def time_ticks(
    first: int, last: int, zone: tzinfo, axis: TimeAxis = EVEN, count: int = 8
) -> list[Tick]:
    """Return at most about ``count`` round times between two, with what to call them.

    None lies in a gap. Where there are gaps, a day, month or year is named where its data begin,
    and the times between keep clear of the names of days.
    """
    if len(axis.starts):
        return _between_gaps(first, last, zone, axis, count)
    begin, end = local(first, zone), local(last, zone)
    for width in _FINE:
        if (end - begin) / width <= count:
            return [_time(w, width) for w in _times(begin, end, width) if w >= begin]
    each = _months_each(begin, end, count)
    return [(to_ns(w), _month(w, each)) for w in _months(begin, end, each) if w >= begin]


def _between_gaps(first: int, last: int, zone: tzinfo, axis: TimeAxis, count: int) -> list[Tick]:
    begin, end = local(first, zone), local(last, zone)
    shown = float(axis.place(last) - axis.place(first))

    def data_from(whens: Iterable[datetime]) -> list[int]:
        times = axis.onward(np.array([to_ns(when) for when in whens], dtype=np.int64))
        times = np.unique(np.maximum(times, first))
        # With the end of all data no day begins.
        return [at for at in times.tolist() if at <= last and at != axis.last]

    for width in _FINE:
        if shown / (width.total_seconds() * 1e9) > count:
            continue
        # Every so many days that have data: a weekend between them is none of them.
        days = data_from(_times(begin, end, _DAY))[:: max(1, width // _DAY)]
        if len(days) <= count + 1:
            named = [(at, f"{local(at, zone):%d %b}") for at in days]
            # The end of a session is left to the date that follows.
            times = [_time(w, width) for w in _times(begin, end, width) if width < _DAY]
            times = [t for t in times if first <= t[0] <= last and axis.has_data(t[0])]
            return _clear(axis, named, times, shown / (2 * count))
    each = _months_each(begin, end, count)
    months = data_from(_months(begin, end, each))
    named = [(at, _month(local(at, zone), each)) for at in months]
    return _clear(axis, named, [], shown / (2 * count))


def _clear(axis: TimeAxis, named: list[Tick], times: list[Tick], room: float) -> list[Tick]:
    """Return ticks that do not touch: of two days the later, whose name is right for longer."""
    kept: dict[float, Tick] = {}
    for tick in (*reversed(named), *times):
        place = float(axis.place(tick[0]))
        if all(abs(place - other) >= room for other in kept):
            kept[place] = tick
    return sorted(kept.values())


def _times(begin: datetime, end: datetime, width: timedelta) -> Iterator[datetime]:
    """Return round times from the last one before ``begin`` on."""
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    steps = range(int((begin - midnight) / width), int((end - midnight) / width) + 1)
    return (midnight + width * i for i in steps)


def _time(when: datetime, width: timedelta) -> Tick:
    style = "%H:%M" if width.seconds % 60 == 0 else "%H:%M:%S"
    if width >= _DAY or (when.hour, when.minute) == (0, 0):
        style = "%d %b"
    return to_ns(when), when.strftime(style)


def _months_each(begin: datetime, end: datetime, count: int) -> int:
    months = (end.year - begin.year) * 12 + end.month - begin.month
    return next((m for m in _COARSE if months / m <= count), _COARSE[-1])


def _months(begin: datetime, end: datetime, each: int) -> Iterator[datetime]:
    """Return the beginnings of months, the first of which may be before ``begin``."""
    zero, stop = begin.year * 12 + begin.month - 1, end.year * 12 + end.month
    starts = range(-(-zero // each) * each, stop, each)
    return (datetime(m // 12, m % 12 + 1, 1, tzinfo=begin.tzinfo) for m in starts)


def _month(when: datetime, each: int) -> str:
    return when.strftime("%Y" if each >= 12 else "%b %Y")
