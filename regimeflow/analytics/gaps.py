"""Times without data: they take little room in a picture, and nothing is drawn across them.

A step between two bars is a gap where it is longer than three usual ones and than a fiftieth of
the picture, or of a day in a longer picture: nights, weekends, lunch breaks, and times when a
venue was mute. Daily and longer bars have none, whatever lies between, and neither have ticks: of
those nobody knows when the next was due.

A gap is drawn as wide as a fiftieth of all data, and all together as a tenth of them: the more
there are the narrower they get, and a year of nights takes no more room than five. None is drawn
wider than it was. Lines are left open at gaps that can be seen, which are about forty; in a longer
picture they are joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from regimeflow.model.market import FloatArray, IntArray
from regimeflow.model.timeframe import NS_PER_DAY

_USUAL = 3
_SHARE = 1 / 50
_WIDTH, _WIDTH_OF_ALL = 1 / 50, 1 / 10
_SEEN = 1 / 400


@dataclass(frozen=True, eq=False, slots=True)
class Gaps:
    """When a line has no data, in UTC nanoseconds.

    Attributes:
        first, last: when its data begin and end.
        ends, starts: of each gap, when the data before it end and those after it start, shape
            ``(k,)``. A bar starts when it opens.
    """

    first: int
    last: int
    ends: IntArray
    starts: IntArray


_NONE: IntArray = np.empty(0, dtype=np.int64)
NO_GAPS = Gaps(0, 0, _NONE, _NONE)


def find_gaps(ts: IntArray, timeframe: int) -> Gaps:
    """Return the gaps between times.

    Args:
        ts: in order, UTC nanoseconds, shape ``(n,)``, perhaps thinned out.
        timeframe: of the run's finest bars, nanoseconds; 0 for ticks.

    >>> hour = 3_600_000_000_000
    >>> gaps = find_gaps(np.array([1, 2, 3, 9, 10]) * hour, hour)
    >>> gaps.ends // hour, gaps.starts // hour
    (array([3]), array([8]))
    """
    if not len(ts):
        return NO_GAPS
    first, last = int(ts[0]) - timeframe, int(ts[-1])
    if len(ts) < 3 or not 0 < timeframe < NS_PER_DAY:
        return Gaps(first, last, _NONE, _NONE)
    steps = np.diff(ts)
    # Rows that were thinned out are further apart than bars.
    usual = max(timeframe, float(np.median(steps)))
    shown = min(last - int(ts[0]), NS_PER_DAY)
    (before,) = np.nonzero(steps > max(_USUAL * usual, _SHARE * shown))
    return Gaps(first, last, ts[before], ts[before + 1] - timeframe)


class TimeAxis:
    """Where a picture puts times: evenly, but gaps are narrow.

    A place is a time less what was cut out before it, so it is in nanoseconds, too; without a gap
    it is the time itself.

    Attributes:
        first, last: when the data begin and end.
        ends, starts: of each gap, as in `Gaps`. Where there are several lines, they are those
            times when none of them has data.

    >>> axis = TimeAxis(Gaps(0, 9_001_000, np.array([1_000]), np.array([9_000_000])))
    >>> axis.place(np.array([500, 9_000_500])).tolist()
    [500.0, 1540.0]
    """

    def __init__(self, *lines: Gaps) -> None:
        starts = np.concatenate([[line.first, *line.starts] for line in lines]).astype(np.int64)
        ends = np.concatenate([[*line.ends, line.last] for line in lines]).astype(np.int64)
        order = np.argsort(starts, kind="stable")
        starts, reached = starts[order], np.maximum.accumulate(ends[order])
        empty = starts[1:] > reached[:-1]
        self.first, self.last = int(starts[0]), int(reached[-1])
        self.ends, self.starts = reached[:-1][empty], starts[1:][empty]
        long = self.starts - self.ends
        data = float(self.last - self.first - long.sum())
        width = data * min(_WIDTH, _WIDTH_OF_ALL / max(len(long), 1))
        cut = np.cumsum(np.maximum(long - width, 0.0))
        self._knots = np.column_stack((self.ends, self.starts)).ravel().astype(np.float64)
        self._cut = np.column_stack((np.append(0.0, cut[:-1]), cut)).ravel() if len(cut) else cut

    def place(self, times: Any) -> Any:
        """Return the places of times, a number or an array."""
        return times - np.interp(times, self._knots, self._cut) if len(self._cut) else times

    def time(self, places: Any) -> Any:
        """Return the times at places: the inverse of :meth:`place`."""
        if not len(self._cut):
            return places
        return places + np.interp(places, self._knots - self._cut, self._cut)

    def onward(self, times: IntArray) -> IntArray:
        """Return times, where one lies in a gap or before all data the start of those after it."""
        starts = np.append(self.first, self.starts)
        moved: IntArray = np.maximum(times, starts[np.searchsorted(self.ends, times, "right")])
        return moved

    def has_data(self, time: int) -> bool:
        """Return whether a time lies neither in a gap nor outside of all data."""
        return time < self.last and int(self.onward(np.array([time]))[0]) == time

    def seen(self, gaps: Gaps) -> IntArray:
        """Return where the data start again after those gaps of a line that can be seen."""
        least = _SEEN * (self.place(gaps.last) - self.place(gaps.first))
        wide: IntArray = gaps.starts[self.place(gaps.starts) - self.place(gaps.ends) >= least]
        return wide


#: Of a picture without a gap.
EVEN = TimeAxis(NO_GAPS)


def torn(at: IntArray, values: FloatArray, starts: IntArray) -> tuple[IntArray, FloatArray]:
    """Return points with an unknown one in each gap, so that no line crosses it.

    Args:
        at: times, in order, perhaps thinned out, shape ``(n,)``.
        values: at them, shape ``(n,)`` or ``(n, k)``.
        starts: where the data start again, as `TimeAxis.seen` returns them.
    """
    places = np.searchsorted(at, starts)
    inner = (places > 0) & (places < len(at))
    places, starts = places[inner], starts[inner]
    return np.insert(at, places, starts), np.insert(values, places, np.nan, axis=0)
