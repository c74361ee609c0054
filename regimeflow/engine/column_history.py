"""History over a historical frame's own columns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from regimeflow.engine.cursor import Cursor
from regimeflow.engine.history import (
    NO_PRICE,
    Catalogue,
    Key,
    SeriesViews,
    Window,
    check_depth,
    no_feature,
)
from regimeflow.engine.indicators import Indicator
from regimeflow.model.market import (
    BAR_FIELDS,
    Bar,
    BarColumns,
    Bars,
    FloatArray,
    History,
    IntArray,
    view,
)


class _Series:
    """One series of a `ColumnHistory`: its columns, and how far events have brought it."""

    __slots__ = ("bars", "closes", "columns", "cursor", "times")

    def __init__(self, bars: BarColumns, cursor: Cursor, times: memoryview) -> None:
        self.bars = bars
        self.closes = view(bars.close)
        self.columns = SeriesViews(bars)
        self.times = times
        self.cursor = cursor


class ColumnHistory:
    """Looks back into a historical frame's own columns, without copying them.

    Series with equal close times share one cursor, so that moving 500 of them on is one addition.
    """

    def __init__(
        self, series: Sequence[BarColumns], depth: int, *, data_latency_ns: int = 0
    ) -> None:
        self._catalogue = Catalogue([(s.symbol, s.timeframe) for s in series])
        self._depth = depth
        self._data_latency_ns = data_latency_ns
        cursors: dict[tuple[int, bytes], tuple[Cursor, IntArray, memoryview]] = {}
        self._series: dict[Key, _Series] = {}
        self._timetables: list[tuple[Cursor, memoryview]] = []
        known = None
        for bars in series:
            if known is None or known[1] is not bars.ts:
                # Length and a sparse sample tell almost all timetables apart; the rest is compared.
                mark = (len(bars), bars.ts[:: max(1, len(bars) // 64)].tobytes())
                known = cursors.get(mark)
                if known is None or not np.array_equal(known[1], bars.ts):
                    known = cursors[mark] = (Cursor(), bars.ts, view(bars.ts))
                    self._timetables.append((known[0], known[2]))
            self._series[bars.symbol, bars.timeframe] = _Series(bars, known[0], known[2])
        self._finest = {s: self._series[s, t] for s, t in self._catalogue.finest.items()}
        self._streaming: list[_Stream] = []
        self._tracking = False
        self._followed = False
        self._asof = -(2**63)

    @property
    def tracking(self) -> bool:
        """Whether anything has been attached: without that, reading finds its place by time."""
        return self._tracking

    @property
    def cursor(self) -> Cursor | None:
        """The only cursor, where all series close together and nothing is fed bar by bar."""
        if self._tracking and len(self._timetables) == 1 and not self._streaming:
            return self._timetables[0][0]
        return None

    def follow(self) -> None:
        """Promise that `cursor` will be moved on with every event: reading need not look it up."""
        self._followed = True

    def store(self, event: Bar | Bars) -> None:
        """Move on to the close time of ``event``."""
        ts = event.ts
        for cursor, times in self._timetables:
            i = cursor.i + 1
            if i < len(times) and times[i] <= ts:
                if times[i] == ts:
                    cursor.step()
                else:
                    cursor.seek(bisect_right(times, ts) - 1)
        self._asof = ts
        if self._streaming:
            self._catch_up()

    def warm(self, event: History) -> None:
        """Move on over bars from before the run, which the columns hold already."""
        # Series come one by one, and one may end before another: never back.
        if event.times and event.times[-1] > self._asof:
            self._seek(event.times[-1])

    def _seek(self, ts: int) -> None:
        if ts == self._asof:
            return
        for cursor, times in self._timetables:
            place = bisect_right(times, ts) - 1
            if place != cursor.i:
                cursor.seek(place)
        self._asof = ts
        if self._streaming:
            self._catch_up()

    def _catch_up(self) -> None:
        for stream in self._streaming:
            stream.catch_up()

    def window(self, symbol: str, n: int, timeframe: int, bar_ts: int) -> Window:
        """Return up to ``n`` bars that closed at or before ``bar_ts``."""
        if not 0 < n <= self._depth:
            check_depth(n, self._depth)  # called only to refuse: this is asked 500 times a day
        series = self._series.get((symbol, timeframe))
        if series is None:
            series = self._series[self._catalogue.key(symbol, timeframe)]
        if self._asof != bar_ts and not self._followed:
            self._seek(bar_ts)
        stop = series.cursor.i + 1
        return Window(series.columns, stop - n if stop > n else 0, stop)

    def latest(self, symbol: str, bar_ts: int) -> Bar | None:
        """Return the newest bar of a symbol's finest series."""
        finest = self._catalogue.finest.get(symbol)
        if finest is None:
            return None
        series = self._series[symbol, finest]
        if self._asof != bar_ts and not self._followed:
            self._seek(bar_ts)
        i = series.cursor.i
        if i < 0:
            return None
        ts = series.times[i]
        b, seen = series.bars, ts + self._data_latency_ns
        prices = (b.open[i], b.high[i], b.low[i], b.close[i], b.volume[i])
        o, h, l, c, v = map(float, prices)  # noqa: E741
        return Bar(ts, seen, symbol, o, h, l, c, v, finest)

    def last_close(self, symbol: str, bar_ts: int) -> tuple[float, int]:
        """Return the close of a symbol's newest bar and when it closed."""
        series = self._finest.get(symbol)
        if series is None:
            return NO_PRICE
        if self._asof != bar_ts and not self._followed:
            self._seek(bar_ts)
        i = series.cursor.i
        return (series.closes[i], series.times[i]) if i >= 0 else NO_PRICE

    def feature(self, symbol: str, name: str, bar_ts: int) -> float:
        """Return a feature's value at the newest bar; NaN before the first."""
        series = self._series[self._catalogue.key(symbol, 0)]
        column = series.bars.features.get(name)
        if column is None:
            raise no_feature(symbol, name, series.bars.features)
        if self._asof != bar_ts and not self._followed:
            self._seek(bar_ts)
        i = series.cursor.i
        return float(column[i]) if i >= 0 else float("nan")

    def attach(
        self, indicator: Indicator, symbol: str, timeframe: int, fields: Sequence[str], bar_ts: int
    ) -> None:
        """Compute an indicator for the whole series at once where it has a vectorised form."""
        series = self._series[self._catalogue.key(symbol, timeframe)]
        for field in fields:
            if field not in BAR_FIELDS and field not in series.bars.features:
                raise no_feature(symbol, field, series.bars.features)
        columns = [np.ascontiguousarray(series.bars.column(field)) for field in fields]
        self._seek(bar_ts)
        self._tracking = True
        if indicator.precomputable:
            if not type(indicator).__module__.startswith("regimeflow."):
                indicator.verify(*columns)  # the user's own two forms
            series.cursor.attach(indicator, columns)
        else:
            self._streaming.append(_Stream(indicator, columns, series.cursor))


class _Stream:
    """An own indicator without a vectorised form: fed bar by bar, as in a live run."""

    __slots__ = ("_columns", "_cursor", "_fed", "_indicator")

    def __init__(self, indicator: Indicator, columns: Sequence[FloatArray], cursor: Cursor) -> None:
        self._indicator = indicator
        self._columns = [view(column) for column in columns]
        self._cursor = cursor
        self._fed = -1

    def catch_up(self) -> None:
        for i in range(self._fed + 1, self._cursor.i + 1):
            self._indicator.push(*(column[i] for column in self._columns))
        self._fed = self._cursor.i
