"""Times without data: nothing is drawn across them.

A step between two bars is a gap where it is longer than three usual ones and wider than a fiftieth
of the picture. So nights and weekends of minute bars are left open where they can be seen, and a
year of them stays one line. Daily and longer bars are joined, whatever lies between, and so are
ticks: of those nobody knows when the next was due.
"""

from __future__ import annotations

import numpy as np

from regimeflow.model.market import FloatArray, IntArray
from regimeflow.model.timeframe import NS_PER_DAY

_USUAL = 3
_SHARE = 50


def breaks(ts: IntArray, timeframe: int) -> IntArray:
    """Return the times that follow on a gap.

    Args:
        ts: in order, UTC nanoseconds, shape ``(n,)``.
        timeframe: of the run's finest bars, nanoseconds; 0 for ticks.

    >>> hour = 3_600_000_000_000
    >>> breaks(np.array([1, 2, 3, 9, 10]) * hour, hour) // hour
    array([9])
    """
    if len(ts) < 3 or not 0 < timeframe < NS_PER_DAY:
        return np.empty(0, dtype=np.int64)
    steps = np.diff(ts)
    # Rows that were thinned out are further apart than bars.
    usual = max(timeframe, float(np.median(steps)))
    span = int(ts[-1] - ts[0])
    return ts[1:][steps > max(_USUAL * usual, span / _SHARE)]


def torn(at: IntArray, values: FloatArray, after: IntArray) -> tuple[IntArray, FloatArray]:
    """Return points with an unknown one in each gap, so that no line crosses it.

    Args:
        at: times, in order, perhaps thinned out, shape ``(n,)``.
        values: at them, shape ``(n,)`` or ``(n, k)``.
        after: what `breaks` found.
    """
    places = np.searchsorted(at, after)
    inner = (places > 0) & (places < len(at))
    places, after = places[inner], after[inner]
    return np.insert(at, places, after), np.insert(values, places, np.nan, axis=0)
