"""History as events bring it, bar by bar."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

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
from regimeflow.errors import ConfigError
from regimeflow.model.market import (
    BAR_FIELDS,
    Bar,
    Bars,
    FloatArray,
    History,
    IntArray,
)
from regimeflow.model.timeframe import format_timeframe


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

    def window(self, n: int, skip: int = 0) -> Window:
        """Return ``n`` bars up to the newest but ``skip``."""
        if self._waiting:
            self._settle()
        stop = self._size - skip
        return Window(self._views, max(0, stop - n), stop)

    def deepen(self, depth: int) -> None:
        """Keep so many bars from now on."""
        self._depth = depth

    # A copy's views must be of its own columns, which are not full.
    def __getstate__(self) -> tuple[int, int, list[Bar], int, list[Any]]:
        columns = [getattr(self, name)[: self._size] for name in ("ts", *BAR_FIELDS)]
        return self._depth, self._size, self._waiting, len(self.ts), columns

    def __setstate__(self, state: tuple[int, int, list[Bar], int, list[Any]]) -> None:
        self._depth, size, self._waiting, capacity, columns = state
        self._size = 0
        self._allocate(capacity)
        for name, column in zip(("ts", *BAR_FIELDS), columns, strict=True):
            getattr(self, name)[:size] = column
        self._size = size

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
        self._views = SeriesViews(self)


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
        self._catalogue = Catalogue(keys)
        self._depth = max(depth, warmup, 1)
        self._limit = depth
        self._stores = {key: _Store(self._depth) for key in keys}
        self._latest: dict[str, Bar] = {}
        self._indicators: dict[Key, list[tuple[Indicator, tuple[str, ...]]]] = {}
        self._features: dict[str, dict[str, float]] = {}
        self._feature_indicators = False
        self._compute = features
        self._warmup = warmup
        #: What newest bars carried: as many as features are computed on, or else as are kept.
        self._carried: dict[str, deque[dict[str, float]]] = {
            symbol: deque(maxlen=self._trailing) for symbol in self._catalogue.finest
        }

    @property
    def _trailing(self) -> int:
        return max(1, self._warmup) if self._compute is not None else self._depth

    def hand_over(self, depth: int, features: FeatureSource | None, warmup: int = 0) -> None:
        """Serve another strategy from the bars that are there; indicators of the last are let go.

        Args:
            depth, features: as for a new history.
            warmup: the same; 0 for as many as before.
        """
        self._limit = depth
        self._warmup = warmup or self._warmup
        self._depth = max(self._depth, depth, self._warmup)
        self._compute = features
        self._indicators = {}
        self._feature_indicators = False
        for store in self._stores.values():
            store.deepen(self._depth)
        for symbol, timeframe in self._catalogue.finest.items():
            carried = self._carried[symbol]
            kept = self._carried[symbol] = deque(carried, maxlen=self._trailing)
            window = self._stores[symbol, timeframe].window(self._trailing)
            if not len(window):
                continue
            if features is not None:
                kept.extendleft([{}] * (len(window) - len(kept)))
                self._features[symbol] = features(symbol, timeframe, window, kept)
            else:
                self._features[symbol] = kept[-1] if kept else {}

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
            elif features or self._carried[bar.symbol]:
                self._carried[bar.symbol].append(features)
            self._features[bar.symbol] = features
        for indicator, fields in self._indicators.get(key, ()):
            indicator.push(
                *(getattr(bar, f) if f in BAR_FIELDS else features.get(f, _NAN) for f in fields)
            )

    def warm(self, event: History) -> None:
        """Take in bars from before the run, one by one, as if they had come live."""
        # Features of warm-up bars are read by nobody, but for the last and by indicators on them.
        compute_all = self._feature_indicators
        last = len(event.times) - 1
        for i, bar in enumerate(event.bars()):
            self._append(bar, compute=compute_all or i == last)

    def window(self, symbol: str, n: int, timeframe: int, bar_ts: int) -> Window:
        """Return up to ``n`` bars that closed at or before ``bar_ts``."""
        check_depth(n, self._limit)
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
            raise no_feature(symbol, name, list(known))
        return known[name]

    def attach(
        self, indicator: Indicator, symbol: str, timeframe: int, fields: Sequence[str], bar_ts: int
    ) -> None:
        """Feed an indicator with every bar that is there, and with each that comes."""
        key = self._catalogue.key(symbol, timeframe)
        of_features = any(field not in BAR_FIELDS for field in fields)
        self._feature_indicators |= of_features
        self._indicators.setdefault(key, []).append((indicator, tuple(fields)))
        rows = self._rows(key) if of_features else None
        window = self._stores[key].window(self._depth if rows is None else len(rows))
        columns = [
            getattr(window, field).tolist()
            if field in BAR_FIELDS
            else [row.get(field, _NAN) for row in rows or ()]
            for field in fields
        ]
        for values in zip(*columns, strict=True):
            indicator.push(*values)

    def _rows(self, key: Key) -> list[dict[str, float]]:
        """Return the features of the newest bars, as each had them when it came."""
        symbol, timeframe = key
        if timeframe != self._catalogue.finest[symbol]:
            return []
        carried, compute = list(self._carried[symbol]), self._compute
        if compute is None:
            return carried
        store, count, rows = self._stores[key], len(carried), []
        for place in range(count):
            window = store.window(self._trailing, count - 1 - place)
            known = carried[: place + 1]
            known = [{}] * (len(window) - len(known)) + known
            rows.append(compute(symbol, timeframe, window, known))
        return rows


_NAN = float("nan")


def _number(value: float | None) -> float:
    return _NAN if value is None else value
