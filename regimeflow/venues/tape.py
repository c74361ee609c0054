"""Historical data as a stream of events, in order and without a Python step per bar.

At one moment market data comes first and the end of the day last. Bars that close together are one
event; a bar alone is its own.
"""

from __future__ import annotations

import functools
import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, repeat

import numpy as np

from regimeflow.data.calendars import sessions
from regimeflow.data.frames import Dataset, QuoteColumns, TradeColumns
from regimeflow.model.events import Clock, EndOfDay, Finish, Input, Start
from regimeflow.model.market import (
    BAR_FIELDS,
    Bar,
    BarColumns,
    BarRow,
    Bars,
    FloatArray,
    History,
    IntArray,
    Panel,
    PanelRow,
    Quote,
    Trade,
    view,
)

#: From so many bars at a time on, an event makes its bars only when they are looked at.
WIDE = 8


class Tape:
    """A data set from one moment on.

    Args:
        data: what to play.
        start, end: UTC nanoseconds; bars that close at or before ``start`` are warm-up, events
            after ``end`` are left out.
        warmup: how many bars of each series before ``start`` are given to the strategy; all
            without it.
        data_latency_ns: how much later than it happened an event is seen.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        start: int | None = None,
        end: int | None = None,
        warmup: int | None = None,
        data_latency_ns: int = 0,
    ) -> None:
        self.data = data
        self._latency_ns = data_latency_ns
        self._past: list[BarColumns] = []
        #: What is played, after ``start`` and up to ``end``.
        self.bars: list[BarColumns] = []
        for bars in data.bars:
            first, last = _range(bars.ts, start, end)
            since = 0 if warmup is None else max(0, first - warmup)
            self._past.append(bars.slice(since, first))
            self.bars.append(bars.slice(first, last))
        self.trades = [t.slice(*_range(t.ts, start, end)) for t in data.trades]
        self.quotes = [q.slice(*_range(q.ts, start, end)) for q in data.quotes]
        self._start = start

    @property
    def begins(self) -> int:
        """When the run begins: at ``start``, else where its first bar begins, not closes."""
        firsts = [int(b.ts[0]) - b.timeframe for b in self.bars if len(b)]
        firsts += [int(t.ts[0]) for t in self.trades if len(t)]
        firsts += [int(q.ts[0]) for q in self.quotes if len(q)]
        earliest = min(firsts, default=0)
        return earliest if self._start is None else max(earliest, self._start)

    @functools.cached_property
    def count(self) -> int:
        """How many market events there are."""
        ticks = sum(map(len, self.trades)) + sum(map(len, self.quotes))
        if not self.bars:
            return ticks
        if self._complete:
            return len(self.bars[0]) + ticks
        return len(np.unique(np.concatenate([b.ts for b in self.bars]))) + ticks

    @property
    def length(self) -> int:
        """How many events there are, the ends of days included and the finish not."""
        times = self._merged()[1]
        return len(times) + sum(1 for _ in _day_ends(self.data.calendar, times))

    @property
    def _carries(self) -> bool:
        """Whether bars bring further columns of the frame with them."""
        return any(bars.features for bars in self.bars)

    def head(self, start: Start) -> list[Input]:
        """Return what comes before the first event of the market.

        That is ``start``, the bars from before it, and the clock that ends the warm-up.
        """
        at = start.seen
        past = [_history(bars, at) for bars in self._past if len(bars)]
        return [start, *past, Clock(at, at)]

    def segments(self, progress: Callable[[int], None] | None = None) -> Iterator[Iterable[Input]]:
        """Yield the events in runs: the market of one session day, then its end; last the finish.

        Args:
            progress: told how many market events have been handed out, once a segment.
        """
        events, times = self._merged()
        done, seen = 0, self._latency_ns
        for stop, session, end in _day_ends(self.data.calendar, times):
            yield islice(events, stop - done)
            if progress is not None:
                progress(stop)
            seen = max(end, int(times[stop - 1])) + self._latency_ns
            yield (EndOfDay(end, seen, session),)
            done = stop
        yield (Finish(seen, seen, "end of data"),)

    # ------------------------------------------------------------ merging

    def _merged(self) -> tuple[Iterator[Input], IntArray]:
        """Return all market events in order, and the time of each."""
        streams: list[tuple[Iterator[Input], IntArray]] = []
        if self.bars:
            streams.append(self._bar_events())
        if self.quotes:
            streams.append(_tick_events(self.quotes, _quotes_of, self._latency_ns))
        if self.trades:
            streams.append(_tick_events(self.trades, _trades_of, self._latency_ns))
        if not streams:
            return iter(()), _NO_TIMES
        if len(streams) == 1:
            return streams[0]
        # heapq.merge is stable: at one time quotes and trades stand before the bar they built.
        streams.reverse()
        merged = heapq.merge(*(events for events, _ in streams), key=_seen_of)
        times = np.sort(np.concatenate([times for _, times in streams]), kind="stable")
        return merged, times

    def _bar_events(self) -> tuple[Iterator[Input], IntArray]:
        if len(self.bars) == 1:
            return self._lone(self.bars[0]), self.bars[0].ts
        if len(self.bars) >= WIDE and self._complete:
            return self._panel(), self.bars[0].ts
        order, times, starts = _interleaved(self.bars)
        if len(times) and len(order) / len(times) >= WIDE:
            return self._rows(order, times, starts), times
        return self._tuples(order, times, starts), times

    @functools.cached_property
    def _complete(self) -> bool:
        """Whether every series has a bar at every time."""
        first = self.bars[0].ts
        return all(b.ts is first or np.array_equal(b.ts, first) for b in self.bars)

    def _lone(self, bars: BarColumns) -> Iterator[Input]:
        columns = [view(getattr(bars, f)) for f in BAR_FIELDS]
        ts = view(bars.ts)
        seen = view(bars.ts + self._latency_ns) if self._latency_ns else ts
        extra = [repeat(False), _feature_dicts(bars)] if bars.features else []
        return map(Bar, ts, seen, repeat(bars.symbol), *columns, repeat(bars.timeframe), *extra)

    def _tuples(self, order: IntArray, times: IntArray, starts: IntArray) -> Iterator[Input]:
        """Yield narrow events: bars made one after the other, then grouped."""
        bars = self._all_bars(order)
        widths = np.diff(np.append(starts, len(order))).tolist()
        for ts, width in zip(times.tolist(), widths, strict=True):
            if width == 1:
                yield next(bars)
            else:
                yield Bars(ts, ts + self._latency_ns, tuple(islice(bars, width)))

    def _all_bars(self, order: IntArray) -> Iterator[Bar]:
        symbols, timeframes = self._cells(order)
        ts = np.concatenate([b.ts for b in self.bars])[order]
        columns = [
            view(np.concatenate([getattr(b, f) for b in self.bars])[order]) for f in BAR_FIELDS
        ]
        extra = []
        if self._carries:
            dicts = [d for b in self.bars for d in _feature_dicts(b)]
            extra = [repeat(False), map(dicts.__getitem__, order.tolist())]
        return map(
            Bar,
            view(ts),
            view(ts + self._latency_ns),
            symbols,
            *columns,
            timeframes,
            *extra,
        )

    def _panel(self) -> Iterator[Input]:
        """Yield the rows of a complete panel: the same series at every time."""
        panel = Panel(self.bars)
        names = sorted({name for b in self.bars for name in b.features})
        none = np.full(len(self.bars[0]), np.nan)
        features = {
            name: _or_none(np.stack([b.features.get(name, none) for b in self.bars], 1).ravel())
            for name in names
        }
        for i, ts in enumerate(self.bars[0].ts.tolist()):
            seen = ts + self._latency_ns
            yield Bars(ts, seen, PanelRow(ts, seen, panel, i, features))  # type: ignore[arg-type]

    def _rows(self, order: IntArray, times: IntArray, starts: IntArray) -> Iterator[Input]:
        """Yield wide events of a ragged panel, whose bars are made when they are looked at."""
        columns = tuple(
            view(np.concatenate([getattr(b, f) for b in self.bars])[order]) for f in BAR_FIELDS
        )
        names = sorted({name for b in self.bars for name in b.features})
        features = {
            name: _or_none(
                np.concatenate([b.features.get(name, np.full(len(b), np.nan)) for b in self.bars])[
                    order
                ]
            )
            for name in names
        }
        symbols, timeframes = self._cells(order)
        bounds = [*starts.tolist(), len(order)]
        for ts, a, b in zip(times.tolist(), bounds, bounds[1:], strict=False):
            seen = ts + self._latency_ns
            row = BarRow(ts, seen, symbols[a:b], timeframes[a:b], columns, a, None, features)
            yield row[0] if b - a == 1 else Bars(ts, seen, row)  # type: ignore[arg-type]

    def _cells(self, order: IntArray) -> tuple[list[str], list[int]]:
        """Return symbol and timeframe of every bar in event order."""
        lengths = [len(b) for b in self.bars]
        codes = np.repeat(np.arange(len(self.bars)), lengths)[order].tolist()
        symbols = [b.symbol for b in self.bars]
        timeframes = [b.timeframe for b in self.bars]
        return [symbols[c] for c in codes], [timeframes[c] for c in codes]


def _day_ends(calendar: str, times: IntArray) -> Iterator[tuple[int, str, int]]:
    """Yield for each session day with data: how many events until its end, its date, its end.

    A day ends with its session's close, or with the last event that still belongs to it.
    """
    if not len(times):
        return
    found = sessions(calendar, int(times[0]), int(times[-1]))
    # Looked up from the days' side: there are far fewer of them than of events.
    stops = np.searchsorted(times, found.day_end_ns, side="right")
    for place in np.flatnonzero(np.diff(stops, prepend=0)).tolist():
        stop = int(stops[place])
        yield stop, found.label(place), max(int(found.close_ns[place]), int(times[stop - 1]))


_NO_TIMES: IntArray = np.empty(0, dtype=np.int64)


def _seen_of(event: Input) -> int:
    return event.seen


def _interleaved(series: Sequence[BarColumns]) -> tuple[IntArray, IntArray, IntArray]:
    """Return the order of all bars by time and series, the distinct times, and where they begin."""
    ts = np.concatenate([s.ts for s in series])
    # Stable, so that at one time the series keep their order: symbols as given, finer ones first.
    order = np.argsort(ts, kind="stable")
    ordered = ts[order]
    first = np.empty(len(ordered), dtype=bool)
    first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    return order, ordered[starts], starts


def _feature_dicts(bars: BarColumns) -> list[dict[str, float | None]]:
    names = list(bars.features)
    columns = [_or_none(bars.features[name]) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _or_none(column: FloatArray) -> list[float | None]:
    """Return a column as JSON can carry it: None where there is no finite number."""
    return [v if math.isfinite(v) else None for v in column.tolist()]


def _history(bars: BarColumns, at: int) -> History:
    features = {name: _or_none(column) for name, column in bars.features.items()}
    return History(
        at,
        at,
        bars.symbol,
        bars.timeframe,
        bars.ts.tolist(),
        bars.open.tolist(),
        bars.high.tolist(),
        bars.low.tolist(),
        bars.close.tolist(),
        bars.volume.tolist(),
        features,
    )


# ---------------------------------------------------------------- trades and quotes


def _range(ts: IntArray, start: int | None, end: int | None) -> tuple[int, int]:
    a = 0 if start is None else int(np.searchsorted(ts, start, side="right"))
    b = len(ts) if end is None else int(np.searchsorted(ts, end, side="right"))
    return a, b


def _trades_of(columns: TradeColumns) -> tuple[type, list[np.ndarray]]:
    return Trade, [columns.price, columns.size]


def _quotes_of(columns: QuoteColumns) -> tuple[type, list[np.ndarray]]:
    return Quote, [columns.bid, columns.ask, columns.bid_size, columns.ask_size]


def _tick_events(
    series: Sequence[TradeColumns] | Sequence[QuoteColumns],
    fields: Callable[..., tuple[type, list[np.ndarray]]],
    latency_ns: int,
) -> tuple[Iterator[Input], IntArray]:
    """Return trades or quotes of all symbols in order, and the time of each."""
    made = [fields(s) for s in series]
    kind = made[0][0]
    if len(series) == 1:
        ts = np.ascontiguousarray(series[0].ts)
        symbols: Iterable[str] = repeat(series[0].symbol)
        columns = [np.ascontiguousarray(c) for c in made[0][1]]
    else:
        ts = np.concatenate([s.ts for s in series])
        order = np.argsort(ts, kind="stable")
        ts = ts[order]
        names = [s.symbol for s in series]
        codes = np.repeat(np.arange(len(series)), [len(s.ts) for s in series])[order]
        symbols = map(names.__getitem__, codes.tolist())
        columns = [
            np.concatenate(parts)[order] for parts in zip(*(m[1] for m in made), strict=True)
        ]
    seen = ts + latency_ns if latency_ns else ts
    return (
        map(kind, view(ts), view(seen), symbols, *map(view, columns)),
        ts,
    )
