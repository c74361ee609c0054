"""Market data as it travels: one bar, all bars of one close time, a trade, a quote, a book.

Every event carries ``ts`` (when it happened, by its source) and ``seen`` (when the venue object let
it in), both UTC nanoseconds. A bar's ``ts`` is its *close*, the first moment it could be known.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, overload

import msgspec
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BAR_FIELDS = ("open", "high", "low", "close", "volume")


# gc=False throughout: these structs hold scalars or tuples of such structs, so they cannot form
# cycles, and a million of them must not keep the collector busy.
class Bar(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="bar"):
    """One closed bar of one series; alone, an event of its own.

    ``timeframe`` is the bar's length in nanoseconds; ``late`` marks a bar that came after the
    others of its close time had been handled; ``features`` holds the frame's further columns where
    a session needs them to travel with the bar, None where they have no value.
    """

    ts: int
    seen: int
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    timeframe: int = 0
    late: bool = False
    features: dict[str, float | None] | None = None


class Bars(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="bars"):
    """All bars with one close time, in the order of the session's symbols, finer ones first.

    ``bars`` is a tuple of :class:`Bar`; from a wide historical frame it is a :class:`BarRow`, the
    same sequence made on demand.
    """

    ts: int
    seen: int
    bars: tuple[Bar, ...]


class Trade(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="trade"):
    """One trade print; ``side`` is the aggressor's, where the source tells it."""

    ts: int
    seen: int
    symbol: str
    price: float
    size: float
    side: str = ""
    id: str = ""


class Quote(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="quote"):
    """Best bid and ask."""

    ts: int
    seen: int
    symbol: str
    bid: float
    ask: float
    bid_size: float
    ask_size: float

    @property
    def mid(self) -> float:
        """Middle of bid and ask."""
        return (self.bid + self.ask) / 2.0


class Book(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="book"):
    """Order book levels as ``(price, size)``, best first."""

    ts: int
    seen: int
    symbol: str
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]


class History(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="history"):
    """Warm-up: closed bars of one series from before the run. No callback fires for them."""

    ts: int
    seen: int
    symbol: str
    timeframe: int
    times: list[int]
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    volume: list[float]
    features: dict[str, list[float | None]] = {}

    def bars(self) -> Iterator[Bar]:
        """Yield the bars one by one, as if they had come live."""
        for i, ts in enumerate(self.times):
            yield Bar(
                ts,
                self.seen,
                self.symbol,
                self.open[i],
                self.high[i],
                self.low[i],
                self.close[i],
                self.volume[i],
                self.timeframe,
                features={name: column[i] for name, column in self.features.items()} or None,
            )


class BarColumns(msgspec.Struct, frozen=True):
    """One bar series as columns: how frames enter, and how history is read.

    Attributes:
        symbol: the instrument's symbol.
        timeframe: bar length, nanoseconds.
        ts: close times, UTC nanoseconds, strictly increasing, shape ``(n,)``.
        open, high, low, close, volume: ``float64`` arrays of shape ``(n,)``.
        features: further numeric columns of the same length, by name.
    """

    symbol: str
    timeframe: int
    ts: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    features: dict[str, FloatArray] = {}

    def __len__(self) -> int:
        return len(self.ts)

    def column(self, name: str) -> FloatArray:
        """Return a price, volume or feature column by name."""
        if name in BAR_FIELDS:
            array: FloatArray = getattr(self, name)
            return array
        return self.features[name]

    def slice(self, start: int, stop: int) -> BarColumns:
        """Return rows ``start:stop`` as views."""
        if start == 0 and stop == len(self.ts):
            return self
        return BarColumns(
            self.symbol,
            self.timeframe,
            self.ts[start:stop],
            self.open[start:stop],
            self.high[start:stop],
            self.low[start:stop],
            self.close[start:stop],
            self.volume[start:stop],
            {name: column[start:stop] for name, column in self.features.items()},
        )


class BarRow(Sequence[Bar]):
    """The bars of one close time in a wide panel, made only when looked at.

    Five hundred symbols times a thousand days are half a million bars, of which a monthly strategy
    reads a few: making each of them would be most of the run's time.

    Args:
        ts, seen: of every bar in the row.
        symbols, timeframes: one each a cell.
        columns: five memoryviews over whole panel columns, in the order of ``BAR_FIELDS``.
        start: where in the columns the row begins.
        places: symbol -> place in the row, shared between rows where it never changes.
        features: name -> whole panel column, for what else the bars carry.
    """

    __slots__ = (
        "_columns", "_features", "_places", "_start", "_symbols", "_timeframes", "seen", "ts",
    )  # fmt: skip

    def __init__(
        self,
        ts: int,
        seen: int,
        symbols: Sequence[str],
        timeframes: Sequence[int],
        columns: tuple[memoryview, ...],
        start: int,
        places: Mapping[str, int] | None = None,
        features: Mapping[str, Sequence[float | None]] | None = None,
    ) -> None:
        self.ts = ts
        self.seen = seen
        self._symbols = symbols
        self._timeframes = timeframes
        self._columns = columns
        self._start = start
        self._places = places
        self._features = features

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (tuple(self),)  # a copy has no part in the columns

    @property
    def symbols(self) -> Sequence[str]:
        """Symbol of each cell, in event order."""
        return self._symbols

    @property
    def places(self) -> Mapping[str, int]:
        """Symbol -> place of its finest bar in the row."""
        if self._places is None:
            self._places = places_of(self._symbols)
        return self._places

    def timeframe_of(self, symbol: str) -> int | None:
        """Return the timeframe of a symbol's finest bar in the row, None where it has none."""
        place = self.places.get(symbol)
        return None if place is None else self._timeframes[place]

    def open_of(self, symbol: str) -> float:
        """Return the open of a symbol's finest bar, without making the bar."""
        price: float = self._columns[0][self._start + self.places[symbol]]
        return price

    def __len__(self) -> int:
        return len(self._symbols)

    def _bar(self, place: int) -> Bar:
        at = self._start + place
        o, h, l, c, v = self._columns  # noqa: E741
        return Bar(
            self.ts,
            self.seen,
            self._symbols[place],
            o[at],
            h[at],
            l[at],
            c[at],
            v[at],
            self._timeframes[place],
            False,
            self._carried(at),
        )

    def _carried(self, at: int) -> dict[str, float | None] | None:
        return {n: c[at] for n, c in self._features.items()} if self._features else None

    def _cells(self) -> tuple[memoryview, ...]:
        return self._columns

    @overload
    def __getitem__(self, place: int) -> Bar: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Bar, ...]: ...
    def __getitem__(self, place: int | slice) -> Bar | tuple[Bar, ...]:
        if isinstance(place, slice):
            return tuple(self)[place]
        size = len(self._symbols)
        if not -size <= place < size:
            raise IndexError(place)
        return self._bar(place % size)

    def __iter__(self) -> Iterator[Bar]:
        if self._features:
            return map(self._bar, range(len(self._symbols)))
        a, b = self._start, self._start + len(self._symbols)
        return map(
            Bar,
            repeat(self.ts),
            repeat(self.seen),
            self._symbols,
            *(column[a:b] for column in self._cells()),
            self._timeframes,
        )


class Panel:
    """The bars of series that have the same times.

    Args:
        series: one a symbol and timeframe, of one length.

    Attributes:
        symbols, timeframes: of the series.
        places: symbol -> place of its finest series.
    """

    def __init__(self, series: Sequence[BarColumns]) -> None:
        self.symbols = tuple(one.symbol for one in series)
        self.timeframes = tuple(one.timeframe for one in series)
        self.places = places_of(self.symbols)
        self._series = series
        self._columns: dict[int, tuple[memoryview, ...]] = {}
        self._opens: dict[int, memoryview] = {}

    def opens(self, place: int) -> memoryview:
        """Return the opens of one series."""
        found = self._opens.get(place)
        if found is None:
            found = self._opens[place] = view(self._series[place].open)
        return found

    def columns(self, place: int) -> tuple[memoryview, ...]:
        """Return the prices and volumes of one series, in the order of ``BAR_FIELDS``."""
        found = self._columns.get(place)
        if found is None:
            one = self._series[place]
            found = self._columns[place] = tuple(view(getattr(one, f)) for f in BAR_FIELDS)
        return found

    @functools.cached_property
    def rows(self) -> tuple[memoryview, ...]:
        """The same of all series, time by time: a copy, made where whole rows are walked over."""
        return tuple(
            view(np.stack([getattr(one, f) for one in self._series], axis=1).ravel())
            for f in BAR_FIELDS
        )


class PanelRow(BarRow):
    """A row of a panel: one bar of it is looked up in its own series.

    Args:
        ts, seen: of every bar in the row.
        panel: where it stands.
        i: which row of it.
        features: name -> the panel's cells, row by row.
    """

    __slots__ = ("_i", "_panel")

    def __init__(
        self,
        ts: int,
        seen: int,
        panel: Panel,
        i: int,
        features: Mapping[str, Sequence[float | None]],
    ) -> None:
        start = i * len(panel.symbols)
        super().__init__(
            ts, seen, panel.symbols, panel.timeframes, (), start, panel.places, features
        )
        self._panel = panel
        self._i = i

    def open_of(self, symbol: str) -> float:
        price: float = self._panel.opens(self._panel.places[symbol])[self._i]
        return price

    def _bar(self, place: int) -> Bar:
        i = self._i
        o, h, l, c, v = self._panel.columns(place)  # noqa: E741
        return Bar(
            self.ts,
            self.seen,
            self._symbols[place],
            o[i],
            h[i],
            l[i],
            c[i],
            v[i],
            self._timeframes[place],
            False,
            self._carried(self._start + place),
        )

    def _cells(self) -> tuple[memoryview, ...]:
        return self._panel.rows


class BarRowMapping(Mapping[str, Bar]):
    """What ``on_bars`` gets from a wide panel: symbol -> bar, each made when asked for."""

    __slots__ = ("_row",)

    def __init__(self, row: BarRow) -> None:
        self._row = row

    def __getitem__(self, symbol: str) -> Bar:
        return self._row[self._row.places[symbol]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._row.places)

    def __len__(self) -> int:
        return len(self._row.places)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._row.places

    def __repr__(self) -> str:
        return f"<{len(self)} bars: {', '.join(list(self)[:5])}{', ...' if len(self) > 5 else ''}>"


def view(array: npt.NDArray[Any]) -> memoryview:
    """Return a view whose items are plain Python numbers, which numpy's are not."""
    return memoryview(np.ascontiguousarray(array))  # type: ignore[arg-type]


def places_of(symbols: Sequence[str]) -> dict[str, int]:
    """Return symbol -> its first place; the finest bar of a symbol stands first in an event."""
    places: dict[str, int] = {}
    for place, symbol in enumerate(symbols):
        places.setdefault(symbol, place)
    return places


def by_symbol(bars: Sequence[Bar]) -> Mapping[str, Bar]:
    """Return symbol -> bar for the bars of one event, the finest of each symbol, in event order."""
    if isinstance(bars, BarRow):
        return BarRowMapping(bars)
    mapping: dict[str, Bar] = {}
    for bar in bars:
        mapping.setdefault(bar.symbol, bar)
    return mapping
