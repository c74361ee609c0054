"""Stretches of long series at the resolution of a screen: lowest, highest and last a bucket.

No extreme is lost, so no drawdown is ever shown shallower than it was, however far one stands back.
Buckets hold equal numbers of rows, not equal times: charts of trading leave nights out.
"""

from __future__ import annotations

import msgspec
import numpy as np

from regimeflow.analytics.fold import BoolArray
from regimeflow.model.market import FloatArray, IntArray
from regimeflow.model.timeframe import NS_PER_MS


class Window(msgspec.Struct, frozen=True):
    """Rows of a grid of times, in buckets.

    Attributes:
        starts, stops: the rows of bucket ``i`` are ``starts[i]`` to ``stops[i] - 1``; shape
            ``(n,)``.
        begins, ends: times of a bucket's first and last row, UTC nanoseconds; shape ``(n,)``.
        exact: whether every row has a bucket of its own.
    """

    starts: IntArray
    stops: IntArray
    begins: IntArray
    ends: IntArray
    exact: bool

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def rows(self) -> int:
        """How many rows of the grid it holds."""
        return int(self.stops[-1] - self.starts[0]) if len(self) else 0

    def of(self, ts: IntArray) -> tuple[IntArray, IntArray]:
        """Return ``starts, stops`` of the same buckets in another series' times."""
        return ts.searchsorted(self.begins), ts.searchsorted(self.ends, "right")

    def place(self, ts: IntArray) -> IntArray:
        """Return the bucket in which each time lies: the first that ends at or after it."""
        return np.minimum(self.ends.searchsorted(ts), len(self) - 1)


def window(ts: IntArray, first: int, last: int, most: int) -> Window:
    """Return the rows from time ``first`` to ``last`` in at most ``most`` buckets.

    Rows of the same millisecond share a bucket, since a page does not tell them apart.

    >>> found = window(np.arange(10) * 10**9, 2 * 10**9, 8 * 10**9, 3)
    >>> found.starts.tolist(), found.stops.tolist(), found.exact
    ([2, 4, 6], [4, 6, 9], False)
    """
    begin, end = int(ts.searchsorted(first)), int(ts.searchsorted(last, "right"))
    count = end - begin
    if count <= 0:
        none = np.empty(0, dtype=np.int64)
        return Window(none, none, none, none, True)
    exact = count <= most
    edges = np.arange(begin, end + 1) if exact else begin + count * np.arange(most + 1) // most
    starts, stops = edges[:-1], edges[1:]
    ms = ts[stops - 1] // NS_PER_MS
    final = np.append(ms[:-1] != ms[1:], True)
    starts, stops = starts[np.append(True, final[:-1])], stops[final]
    return Window(starts, stops, ts[starts], ts[stops - 1], exact)


def spans(
    values: FloatArray, starts: IntArray, stops: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return lowest, highest and last value of each bucket; NaN where it holds none.

    >>> values = np.array([3.0, 1.0, 2.0, 9.0])
    >>> low, high, last = spans(values, np.array([0, 3, 3]), np.array([3, 3, 4]))
    >>> low.tolist(), high.tolist(), last.tolist()
    ([1.0, nan, 9.0], [3.0, nan, 9.0], [2.0, nan, 9.0])
    """
    low, high, last = (np.full(len(starts), np.nan) for _ in range(3))
    full = stops > starts
    if not full.any():
        return low, high, last
    # Full buckets follow each other without a gap, so the start of the next is the end of one.
    at, until = starts[full], int(stops[full][-1])
    shown = values[:until]
    low[full] = np.fmin.reduceat(shown, at)
    high[full] = np.fmax.reduceat(shown, at)
    last[full] = values[stops[full] - 1]
    return low, high, last


class Drawdowns(msgspec.Struct, frozen=True):
    """Falls from a peak as columns, the deepest first; shape ``(n,)``.

    Attributes:
        peak, trough, end: UTC nanoseconds; ``end`` is when the peak was reached again, or 0.
        depth: negative fraction of the peak.
        bars: rows from the first below the peak until it was reached again.
    """

    peak: IntArray
    trough: IntArray
    end: IntArray
    depth: FloatArray
    bars: IntArray

    def __len__(self) -> int:
        return len(self.peak)


def worst_drawdowns(ts: IntArray, drawdown: FloatArray, start_ts: int, most: int) -> Drawdowns:
    """Return the deepest falls, at most so many.

    Args:
        ts, drawdown: shape ``(n,)``; drawdowns are fractions, 0 at a peak.
        start_ts: time of the starting capital, the first peak.

    >>> found = worst_drawdowns(np.array([2, 3, 4, 5]), np.array([-0.1, -0.2, 0.0, -0.05]), 1, 5)
    >>> found.peak.tolist(), found.trough.tolist(), found.end.tolist(), found.bars.tolist()
    ([1, 4], [3, 5], [4, 0], [2, 1])
    """
    under: BoolArray = drawdown < 0
    turns = np.diff(np.concatenate(([False], under, [False])).astype(np.int8))
    starts, stops = np.flatnonzero(turns == 1), np.flatnonzero(turns == -1)
    if not len(starts):
        none = np.empty(0, dtype=np.int64)
        return Drawdowns(none, none, none, np.empty(0), none)
    # What lies between two falls is a peak, 0, and makes neither deeper.
    deepest = np.minimum.reduceat(drawdown, starts)
    chosen = np.argsort(deepest, kind="stable")[:most]
    starts, stops = starts[chosen], stops[chosen]
    lowest = [
        a + int(np.argmin(drawdown[a:b]))
        for a, b in zip(starts.tolist(), stops.tolist(), strict=True)
    ]
    trough = np.array(lowest, dtype=np.int64)
    before = np.where(starts > 0, ts[starts - 1], start_ts)
    over = stops < len(ts)
    end = np.where(over, ts[np.minimum(stops, len(ts) - 1)], 0)
    return Drawdowns(before, ts[trough], end, drawdown[trough], stops - starts)
