"""Closed bars that a strategy may look back on.

Two objects behind one port, so that nothing above asks which run it is in: `RollingHistory` keeps
what events bring, `ColumnHistory` reads a historical frame's own columns and shows no more of them
than events have brought. A property test holds them to the same answers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from regimeflow.engine.cursor import Cursor
from regimeflow.engine.indicators import Indicator
from regimeflow.errors import ConfigError, did_you_mean
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
from regimeflow.model.timeframe import format_timeframe

Key = tuple[str, int]  # symbol, timeframe in nanoseconds

#: Price and time where there is no price yet.
NO_PRICE = (0.0, -(2**62))


class Window:
    """The newest closed bars of one series, the newest last: what ``ctx.bars`` returns.

    ``open, high, low, close, volume`` are read-only ``float64`` arrays of one length, ``ts`` the
    close times in UTC nanoseconds. There may be fewer bars than were asked for: see ``len``.
    """

    __slots__ = ("_columns", "_start", "_stop")

    def __init__(self, columns: _Columns, start: int, stop: int) -> None:
        self._columns = columns
        self._start = start
        self._stop = stop

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def ts(self) -> IntArray:
        """Close times, UTC nanoseconds."""
        return self._columns.ts[self._start : self._stop]

    @property
    def open(self) -> FloatArray:
        """Opening prices."""
        return self._columns.open[self._start : self._stop]

    @property
    def high(self) -> FloatArray:
        """Highest prices."""
        return self._columns.high[self._start : self._stop]

    @property
    def low(self) -> FloatArray:
        """Lowest prices."""
        return self._columns.low[self._start : self._stop]

    @property
    def close(self) -> FloatArray:
        """Closing prices."""
        return self._columns.close[self._start : self._stop]

    @property
    def volume(self) -> FloatArray:
        """Units traded."""
        return self._columns.volume[self._start : self._stop]

    def __repr__(self) -> str:
        return f"<{len(self)} bars>"


class HistoryPort(Protocol):
    """What the engine needs of a history."""

    @property
    def tracking(self) -> bool:
        """Whether `store` must be told of every bar."""

    @property
    def cursor(self) -> Cursor | None:
        """What every event of bars moves on by one, where that is all there is to `store`."""

    def follow(self) -> None:
        """Promise that `cursor` is moved on with every event from now on."""

    def store(self, event: Bar | Bars) -> None:
        """Take in the bars of one event, before any callback sees them."""

    def warm(self, event: History) -> None:
        """Take in bars from before the run."""

    def window(self, symbol: str, n: int, timeframe: int, bar_ts: int) -> Window:
        """Return up to ``n`` bars that closed at or before ``bar_ts``."""

    def latest(self, symbol: str, bar_ts: int) -> Bar | None:
        """Return the newest bar of a symbol's finest series."""

    def last_close(self, symbol: str, bar_ts: int) -> tuple[float, int]:
        """Return the close of that bar and when it closed; `NO_PRICE` before the first."""

    def feature(self, symbol: str, name: str, bar_ts: int) -> float:
        """Return a feature's newest value."""

    def attach(
        self, indicator: Indicator, symbol: str, timeframe: int, fields: Sequence[str], bar_ts: int
    ) -> None:
        """Keep an indicator up to date with a series."""


class _Columns:
    """Read-only views of one series' columns."""

    __slots__ = ("close", "high", "low", "open", "ts", "volume")

    ts: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray

    def __init__(self, source: BarColumns | _Store) -> None:
        for name in self.__slots__:
            view = getattr(source, name)[:]
            view.flags.writeable = False
            setattr(self, name, view)


class _Catalogue:
    """Which series there are, and one sentence for a request of one that is not there."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.finest: dict[str, int] = {}
        for symbol, timeframe in keys:
            self.finest[symbol] = min(timeframe, self.finest.get(symbol, timeframe))
        self.keys = list(keys)

    def key(self, symbol: str, timeframe: int) -> Key:
        if symbol not in self.finest:
            raise ConfigError(
                f"there are no bars of {symbol!r} in this run.{did_you_mean(symbol, self.finest)}"
            )
        key = (symbol, timeframe or self.finest[symbol])
        if key not in self.keys:
            there = ", ".join(format_timeframe(t) for s, t in self.keys if s == symbol)
            raise ConfigError(
                f"there are no {format_timeframe(timeframe)} bars of {symbol!r} in this run, "
                f"only {there}: put that timeframe into the data"
            )
        return key


def _check_depth(n: int, depth: int) -> None:
    if n < 1:
        raise ConfigError(f"ctx.bars needs at least 1 bar, got {n}")
    if n > depth:
        raise ConfigError(
            f"ctx.bars was asked for {n} bars and this strategy keeps {depth}: "
            f"set `history_depth = {n}` in its class"
        )


# ---------------------------------------------------------------- over a historical frame


class _Series:
    """One series of a `ColumnHistory`: its columns, and how far events have brought it."""

    __slots__ = ("bars", "closes", "columns", "cursor", "times")

    def __init__(self, bars: BarColumns, cursor: Cursor) -> None:
        self.bars = bars
        self.closes = view(bars.close)
        self.columns = _Columns(bars)
        self.times = view(bars.ts)
        self.cursor = cursor


class ColumnHistory:
    """Looks back into a historical frame's own columns, without copying them.

    Series with equal close times share one cursor, so that moving 500 of them on is one addition.
    """

    def __init__(
        self, series: Sequence[BarColumns], depth: int, *, data_latency_ns: int = 0
    ) -> None:
        self._catalogue = _Catalogue([(s.symbol, s.timeframe) for s in series])
        self._depth = depth
        self._data_latency_ns = data_latency_ns
        cursors: dict[tuple[int, bytes], Cursor] = {}
        self._series: dict[Key, _Series] = {}
        self._timetables: list[tuple[Cursor, memoryview]] = []
        for bars in series:
            # Length and a sparse sample tell almost all timetables apart; the rest is compared.
            mark = (len(bars), bars.ts[:: max(1, len(bars) // 64)].tobytes())
            cursor = cursors.get(mark)
            if cursor is not None and not self._same_times(cursor, bars):
                cursor = None
            if cursor is None:
                cursor = cursors[mark] = Cursor()
                self._timetables.append((cursor, view(bars.ts)))
            self._series[bars.symbol, bars.timeframe] = _Series(bars, cursor)
        self._finest = {s: self._series[s, t] for s, t in self._catalogue.finest.items()}
        self._streaming: list[_Stream] = []
        self._tracking = False
        self._followed = False
        self._asof = -(2**63)

    def _same_times(self, cursor: Cursor, bars: BarColumns) -> bool:
        for known, times in self._timetables:
            if known is cursor:
                return bool(np.array_equal(np.asarray(times), bars.ts))
        return False

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
        _check_depth(n, self._depth)
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
            raise _no_feature(symbol, name, series.bars.features)
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
                raise _no_feature(symbol, field, series.bars.features)
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


def _no_feature(
    symbol: str, name: str, known: Sequence[str] | dict[str, FloatArray]
) -> ConfigError:
    there = ", ".join(known) or "none"
    return ConfigError(
        f"{symbol!r} has no feature {name!r} (there: {there}).{did_you_mean(name, known)}"
    )


# ---------------------------------------------------------------- from events


class _Store:
    """Columns of one series that grow at the end and forget at the front.

    Bars wait in a list until somebody reads or there are many: writing them into columns together
    costs a fraction of writing each. A full store moves into fresh arrays: windows handed out
    before keep their numbers.
    """

    __slots__ = (
        "_depth",
        "_size",
        "_views",
        "_waiting",
        "close",
        "high",
        "low",
        "open",
        "ts",
        "volume",
    )

    ts: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._size = 0
        self._waiting: list[Bar] = []
        self._allocate(256)

    def append(self, bar: Bar) -> None:
        self._waiting.append(bar)
        if len(self._waiting) >= _TOGETHER:
            self._settle()

    def window(self, n: int) -> Window:
        if self._waiting:
            self._settle()
        return Window(self._views, max(0, self._size - n), self._size)

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        start, stop = self._size, self._size + len(waiting)
        if stop > len(self.ts):
            self._allocate(
                max(2 * self._depth, 2 * len(waiting)) if start > self._depth else 2 * stop
            )
            start, stop = self._size, self._size + len(waiting)
        for name in ("ts", *BAR_FIELDS):
            getattr(self, name)[start:stop] = [getattr(bar, name) for bar in waiting]
        self._size = stop

    def _allocate(self, capacity: int) -> None:
        first = max(0, self._size - self._depth)
        kept = self._size - first
        for name in ("ts", *BAR_FIELDS):
            fresh = np.empty(kept + capacity, dtype=np.int64 if name == "ts" else np.float64)
            if kept:
                fresh[:kept] = getattr(self, name)[first : self._size]
            setattr(self, name, fresh)
        self._size = kept
        self._views = _Columns(self)


#: So many bars are written into columns together.
_TOGETHER = 256


#: Computes a strategy's features from the trailing bars and what each of them carried; returns
#: name -> newest value, the carried ones included.
FeatureSource = Callable[[str, int, Window, Sequence[dict[str, float]]], dict[str, float]]


class RollingHistory:
    """Keeps the last ``depth`` bars of each series as events bring them.

    Args:
        keys: the series of the session, as (symbol, timeframe).
        depth: how many bars of each are kept.
        features: computes ``Strategy.features`` on the trailing bars, where a strategy has it.
        warmup: how many trailing bars it is computed on.
    """

    tracking = True
    cursor = None

    def __init__(
        self,
        keys: Sequence[Key],
        depth: int,
        features: FeatureSource | None = None,
        warmup: int = 0,
    ) -> None:
        self._catalogue = _Catalogue(keys)
        self._depth = max(depth, warmup, 1)
        self._limit = depth
        self._stores = {key: _Store(self._depth) for key in keys}
        self._latest: dict[str, Bar] = {}
        self._indicators: dict[Key, list[tuple[Indicator, tuple[str, ...]]]] = {}
        self._features: dict[str, dict[str, float]] = {}
        self._feature_indicators = False
        self._carried: dict[str, deque[dict[str, float]]] = {
            symbol: deque(maxlen=max(1, warmup)) for symbol in self._catalogue.finest
        }
        self._compute = features

    def follow(self) -> None:
        """There is no cursor here."""

    def store(self, event: Bar | Bars) -> None:
        """Append every bar and bring its features and indicators up to date."""
        if isinstance(event, Bar):
            self._append(event)
        else:
            for bar in event.bars:
                self._append(bar)

    def _append(self, bar: Bar, *, compute: bool = True) -> None:
        key = (bar.symbol, bar.timeframe)
        store = self._stores.get(key)
        if store is None:
            raise ConfigError(
                f"a {format_timeframe(bar.timeframe)} bar of {bar.symbol!r} is not part of this run"
            )
        store.append(bar)
        features = {n: _number(v) for n, v in bar.features.items()} if bar.features else {}
        if bar.timeframe == self._catalogue.finest[bar.symbol]:
            self._latest[bar.symbol] = bar
            if self._compute is not None:
                carried = self._carried[bar.symbol]
                carried.append(features)
                if compute:
                    window = store.window(len(carried))
                    features = self._compute(bar.symbol, bar.timeframe, window, carried)
            self._features[bar.symbol] = features
        for indicator, fields in self._indicators.get(key, ()):
            indicator.push(
                *(getattr(bar, f) if f in BAR_FIELDS else features.get(f, _NAN) for f in fields)
            )

    def warm(self, event: History) -> None:
        """Take in bars from before the run, one by one, as if they had come live."""
        names = list(event.features)
        # Features of warm-up bars are read by nobody, but for the last and by indicators on them.
        compute_all = self._feature_indicators
        for i, ts in enumerate(event.times):
            features = {n: event.features[n][i] for n in names} if names else None
            bar = Bar(
                ts,
                event.seen,
                event.symbol,
                event.open[i],
                event.high[i],
                event.low[i],
                event.close[i],
                event.volume[i],
                event.timeframe,
                features=features,
            )
            self._append(bar, compute=compute_all or i == len(event.times) - 1)

    def window(self, symbol: str, n: int, timeframe: int, bar_ts: int) -> Window:
        """Return up to ``n`` bars that closed at or before ``bar_ts``."""
        _check_depth(n, self._limit)
        store = self._stores.get((symbol, timeframe))
        if store is None:
            store = self._stores[self._catalogue.key(symbol, timeframe)]
        return store.window(n)

    def latest(self, symbol: str, bar_ts: int) -> Bar | None:
        """Return the newest bar of a symbol's finest series."""
        return self._latest.get(symbol)

    def last_close(self, symbol: str, bar_ts: int) -> tuple[float, int]:
        """Return the close of a symbol's newest bar and when it closed."""
        bar = self._latest.get(symbol)
        return (bar.close, bar.ts) if bar is not None else NO_PRICE

    def feature(self, symbol: str, name: str, bar_ts: int) -> float:
        """Return a feature's value at the newest bar; NaN before the first."""
        self._catalogue.key(symbol, 0)
        known = self._features.get(symbol)
        if known is None:
            return float("nan")
        if name not in known:
            raise _no_feature(symbol, name, list(known))
        return known[name]

    def attach(
        self, indicator: Indicator, symbol: str, timeframe: int, fields: Sequence[str], bar_ts: int
    ) -> None:
        """Feed an indicator with every bar from the first one on."""
        key = self._catalogue.key(symbol, timeframe)
        self._feature_indicators |= any(field not in BAR_FIELDS for field in fields)
        self._indicators.setdefault(key, []).append((indicator, tuple(fields)))


_NAN = float("nan")


def _number(value: float | None) -> float:
    return _NAN if value is None else value


__all__ = [
    "ColumnHistory",
    "FeatureSource",
    "HistoryPort",
    "Key",
    "RollingHistory",
    "Window",
]
