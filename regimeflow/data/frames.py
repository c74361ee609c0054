"""Market data in: one call from the user's frames to checked, immutable columns.

`load` reads any usual shape, checks every row, works out when each bar closed and gives a
`Dataset`; the user's own frame is never changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

import msgspec
import numpy as np

from regimeflow.data import calendars, times
from regimeflow.data.clean import Table, clean, drop
from regimeflow.data.read import Reading, read
from regimeflow.errors import ConfigError, DataError, did_you_mean
from regimeflow.model.market import BAR_FIELDS, BarColumns, FloatArray, IntArray
from regimeflow.model.timeframe import NS_PER_DAY, format_timeframe, parse_timeframe


class TradeColumns(msgspec.Struct, frozen=True):
    """Trades of one symbol as columns.

    Attributes:
        symbol: the instrument's symbol.
        ts: times, UTC nanoseconds, not decreasing, shape ``(n,)``.
        price, size: ``float64`` arrays of shape ``(n,)``.
        features: further numeric columns of the same length, by name.
    """

    symbol: str
    ts: IntArray
    price: FloatArray
    size: FloatArray
    features: dict[str, FloatArray] = {}

    def __len__(self) -> int:
        return len(self.ts)

    def slice(self, start: int, stop: int) -> TradeColumns:
        """Return rows ``start:stop`` as views."""
        return TradeColumns(self.symbol, *_cut(self, ("ts", "price", "size"), start, stop))


class QuoteColumns(msgspec.Struct, frozen=True):
    """Quotes of one symbol as columns.

    Attributes:
        symbol: the instrument's symbol.
        ts: times, UTC nanoseconds, not decreasing, shape ``(n,)``.
        bid, ask, bid_size, ask_size: ``float64`` arrays of shape ``(n,)``.
        features: further numeric columns of the same length, by name.
    """

    symbol: str
    ts: IntArray
    bid: FloatArray
    ask: FloatArray
    bid_size: FloatArray
    ask_size: FloatArray
    features: dict[str, FloatArray] = {}

    def __len__(self) -> int:
        return len(self.ts)

    def slice(self, start: int, stop: int) -> QuoteColumns:
        """Return rows ``start:stop`` as views."""
        names = ("ts", "bid", "ask", "bid_size", "ask_size")
        return QuoteColumns(self.symbol, *_cut(self, names, start, stop))


Columns = BarColumns | TradeColumns | QuoteColumns
Ticks = TypeVar("Ticks", TradeColumns, QuoteColumns)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Dataset:
    """Checked market data, ready for a run.

    Attributes:
        bars: one per symbol and timeframe, in the order of ``symbols``, finer timeframes first.
        trades, quotes: one per symbol.
        symbols: in the order given, or first seen.
        flavour: "pandas" or "polars", as the data came in.
        timezone: zone in which frames go out; ``None`` for naive times, meant in UTC.
        calendar: calendar name, or "" for UTC days.
        label: "open" or "close": what the bars' times said.
        dropped: symbol -> rows left out by ``on_bad="drop"``.
        notes: what was assumed, in sentences.
    """

    bars: tuple[BarColumns, ...]
    trades: tuple[TradeColumns, ...]
    quotes: tuple[QuoteColumns, ...]
    symbols: tuple[str, ...]
    flavour: str
    timezone: str | None
    calendar: str
    label: str
    dropped: dict[str, int]
    notes: tuple[str, ...]
    _held: tuple[Any, ...] = ()
    _cache: dict[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Sha256 over names, times and values: equal data have the same, in either flavour."""
        if "fingerprint" not in self._cache:
            self._cache["fingerprint"] = fingerprint([*self.bars, *self.trades, *self.quotes])
        return self._cache["fingerprint"]

    def __repr__(self) -> str:
        series = [
            *(f"{b.symbol} {format_timeframe(b.timeframe)} ({len(b)} bars)" for b in self.bars),
            *(f"{t.symbol} ({len(t)} trades)" for t in self.trades),
            *(f"{q.symbol} ({len(q)} quotes)" for q in self.quotes),
        ]
        return f"<Dataset {_names(series)}>"


def load(
    data: Any,
    *,
    symbols: str | Sequence[str] | None = None,
    timeframe: str | int | None = None,
    label: str = "open",
    timezone: str = "UTC",
    calendar: str | None = None,
    on_bad: str = "raise",
) -> Dataset:
    """Return a user's frames as checked columns.

    Bars have open, high, low, close and volume, trades price and size, quotes bid, ask, bid_size
    and ask_size, in any case; further numeric columns are carried as features. Times stand in the
    index or in a column called time, timestamp, date, datetime, ts or open_time.

    Args:
        data: one pandas or polars frame; a long frame with a ``symbol`` (and ``timeframe``) column;
            a pandas frame with (field, ticker) columns in either order; a dict symbol -> frame,
            (symbol, timeframe) -> frame or symbol -> {timeframe: frame}.
        symbols: which symbols, in which order; a single one names a frame without a name.
        timeframe: length of the bars; ``None``: the most common distance, told in the notes.
        label: whether a bar's time is its "open" or its "close".
        timezone: how times without a zone are meant.
        calendar: exchange calendar; daily bars labelled by date close with its sessions.
        on_bad: "raise" refuses bad rows, "drop" leaves them out and counts them.

    Raises:
        DataError: data that cannot be used, naming the first offending row.
        ConfigError: an argument that makes no sense.

    >>> import pandas as pd
    >>> days = pd.to_datetime(["2024-01-02", "2024-01-03"])
    >>> prices = {"Open": [9.0, 10.0], "High": [11.0, 10.0], "Low": [9.0, 8.0]}
    >>> frame = pd.DataFrame({**prices, "Close": [10.0, 9.0], "Volume": [100, 50]}, index=days)
    >>> loaded = load(frame, symbols="SPY")
    >>> loaded.bars[0].close, loaded.notes
    (array([10.,  9.]), ('SPY: timeframe 1d inferred',))
    """
    if label not in ("open", "close"):
        raise ConfigError(f"label must be 'open' or 'close', got {label!r}")
    if on_bad not in ("raise", "drop"):
        raise ConfigError(f"on_bad must be 'raise' or 'drop', got {on_bad!r}")
    chosen = _chosen(symbols)
    length = None if timeframe is None else parse_timeframe(timeframe)
    timezone = times.check_zone(timezone)
    calendar = calendars.resolve(calendar) if calendar else ""
    reading = read(data, chosen, timezone)
    tables = _select(reading, chosen)
    dropped: dict[str, int] = {}
    series: list[Columns] = []
    inferred: dict[int, list[str]] = {}
    for table in tables:
        _count(dropped, clean(table, on_bad))
        if table.kind == "bars":
            _set_timeframes(table, length, inferred)
            ts, lost = _close_times(table, label, calendar, on_bad)
            _count(dropped, lost)
        else:
            _refuse_timeframe(table, length)
            ts = table.ts
        series.extend(_series(table, ts))
    notes = [note for table in tables for note in table.notes]
    zone = _zone_out(tables, notes)
    notes.extend(
        f"{_names(names)}: timeframe {format_timeframe(ns)} inferred"
        for ns, names in inferred.items()
    )
    notes.extend(
        f"{symbol}: {count} bad row{'' if count == 1 else 's'} dropped"
        for symbol, count in dropped.items()
    )
    order = chosen or list(dict.fromkeys(one.symbol for one in series))
    return Dataset(
        bars=_bars(series, order),
        trades=_ticks(series, order, TradeColumns),
        quotes=_ticks(series, order, QuoteColumns),
        symbols=tuple(order),
        flavour=reading.flavour,
        timezone=zone,
        calendar=calendar,
        label=label,
        dropped=dropped,
        notes=tuple(dict.fromkeys(notes)),
        _held=reading.held,
    )


def fingerprint(series: Iterable[Columns]) -> str:
    """Return the sha256 over names, times and values of columns."""
    digest = hashlib.sha256()
    for one in series:
        kind = type(one).__name__
        digest.update(
            f"{kind}\0{one.symbol}\0{getattr(one, 'timeframe', 0)}\0{len(one)}\0".encode()
        )
        named = {name: getattr(one, name) for name in one.__struct_fields__}
        columns = {k: v for k, v in named.items() if isinstance(v, np.ndarray)}
        for name, column in (*columns.items(), *sorted(one.features.items())):
            digest.update(f"{name}\0".encode())
            digest.update(_bytes(column))
    return digest.hexdigest()


# ---------------------------------------------------------------- steps of load


def _chosen(symbols: str | Sequence[str] | None) -> list[str] | None:
    if symbols is None:
        return None
    chosen = [symbols] if isinstance(symbols, str) else list(symbols)
    if not chosen or not all(map(_is_name, chosen)):
        raise ConfigError(f"symbols must be names, got {symbols!r}")
    if len(set(chosen)) != len(chosen):
        raise ConfigError(f"symbols names one twice: {', '.join(chosen)}")
    return chosen


def _select(reading: Reading, chosen: list[str] | None) -> list[Table]:
    """Return the tables of the chosen symbols, other series left out before they are checked."""
    if chosen is None:
        return reading.tables
    known = list(dict.fromkeys(name for table in reading.tables for name in table.symbols))
    for name in chosen:
        if name not in known:
            raise DataError(
                f"there is no data for the symbol {name!r}; there is {_names(known)}."
                f"{did_you_mean(name, known)}"
            )
    wanted = set(chosen)
    for table in reading.tables:
        if wanted.issuperset(table.symbols):
            continue
        stays = np.array([name in wanted for name in table.symbols])
        table.keep(np.repeat(stays, np.diff(table.bounds)))
        kept = np.flatnonzero(stays)
        table.bounds = np.append(table.bounds[kept], table.bounds[-1:])
        table.timeframes = [table.timeframes[place] for place in kept.tolist()]
        table.symbols = [table.symbols[place] for place in kept.tolist()]
    return [table for table in reading.tables if table.symbols]


def _set_timeframes(table: Table, given: int | None, inferred: dict[int, list[str]]) -> None:
    gaps = np.diff(table.ts)
    starts, stops = table.bounds[:-1].tolist(), table.bounds[1:].tolist()
    guess, agreed = 0, np.empty(0, bool)
    if len(table.symbols) > 1:  # most series of a long frame have the first one's timeframe
        guess = times.infer_timeframe(gaps[: stops[0] - 1])
        begins = table.bounds[:-1]
        ends = np.maximum(table.bounds[1:] - 1, begins)
        others = np.searchsorted(np.flatnonzero(gaps != guess), (begins, ends))
        agreed = 2 * (others[1] - others[0]) < ends - begins
    for place, (symbol, start, stop) in enumerate(zip(table.symbols, starts, stops, strict=True)):
        known = table.timeframes[place] or given
        usual = bool(guess and agreed[place])
        if known is not None:
            if not (usual and guess >= known):
                times.check_timeframe(known, gaps[start : stop - 1], symbol)
            table.timeframes[place] = known
            continue
        length = guess if usual else times.infer_timeframe(gaps[start : stop - 1])
        if not length:
            raise DataError(
                f"{symbol}: one row alone does not tell the length of a bar: pass timeframe="
            )
        table.timeframes[place] = length
        inferred.setdefault(length, []).append(symbol)


def _close_times(
    table: Table, label: str, calendar: str, on_bad: str
) -> tuple[IntArray, dict[str, int]]:
    lengths = {length for length in table.timeframes if length is not None}
    if len(lengths) == 1:
        ts, lost = times.closes(table.ts, lengths.pop(), label, table.zone, calendar)
    else:
        parts, places = [], []
        for length, start, stop in zip(
            table.timeframes, table.bounds[:-1].tolist(), table.bounds[1:].tolist(), strict=True
        ):
            part, gone = times.closes(
                table.ts[start:stop], length or 0, label, table.zone, calendar
            )  # fmt: skip
            parts.append(part)
            places.append(gone + start)
        ts, lost = np.concatenate(parts), np.concatenate(places)
    if not len(lost):
        _refuse_same_close(table, ts)
        return ts, {}
    first = int(lost[0])
    if on_bad == "raise":
        at = table.series_of(lost)
        count = np.count_nonzero(at == at[0]) if table.stacked else len(lost)
        raise DataError(
            f"{table.symbols[int(at[0])]}: {times.describe(int(table.ts[first]))} in row"
            f" {table.row(first)} is on no session of {calendar}, the first of {count} such rows;"
            " check calendar=, or pass on_bad='drop' to leave them out"
        )
    bad = np.zeros(len(table.ts), bool)
    bad[lost] = True
    counts = drop(table, bad)
    _refuse_same_close(table, ts[~bad])
    return ts[~bad], counts


def _refuse_same_close(table: Table, ts: IntArray) -> None:
    """Two daily rows on one session, e.g. 09:30 and 10:30 taken as days, would close together."""
    rising = ts[1:] > ts[:-1]
    rising[table.bounds[1:-1] - 1] = True
    if not rising.all():
        place = int(np.argmin(rising)) + 1
        symbol = table.symbols[int(table.series_of(np.array([place]))[0])]
        raise DataError(
            f"{symbol}: row {table.row(place)} closes at {times.describe(int(ts[place]))}, no later"
            " than the row before it; check timeframe=, label= and calendar="
        )


def _refuse_timeframe(table: Table, length: int | None) -> None:
    for symbol, own in zip(table.symbols, table.timeframes, strict=True):
        if own or length:
            raise DataError(
                f"{symbol}: timeframe= is for bars, and these are {table.kind}; make bars of trades"
                " with regimeflow.data.bars_from_trades"
            )


def _series(table: Table, ts: IntArray) -> list[Columns]:
    ts = ts.view()
    ts.flags.writeable = False
    for array in (*table.columns.values(), *table.features.values()):
        array.flags.writeable = False
    whole = len(table.symbols) == 1
    found: list[Columns] = []
    at = ts
    for place, symbol in enumerate(table.symbols):
        cut = slice(int(table.bounds[place]), int(table.bounds[place + 1]))
        columns, features = table.columns, table.features
        if not whole:
            # Series with equal times share one array: whoever compares them sees it at once.
            at = at if np.array_equal(at, ts[cut]) else ts[cut]
            columns = {name: column[cut] for name, column in columns.items()}
            features = {name: column[cut] for name, column in features.items()}
        if table.kind == "bars":
            found.append(
                BarColumns(
                    symbol,
                    table.timeframes[place] or NS_PER_DAY,
                    at,
                    **{name: columns[name] for name in BAR_FIELDS},
                    features=features,
                )
            )
        elif table.kind == "trades":
            found.append(TradeColumns(symbol, at, **columns, features=features))
        else:
            found.append(QuoteColumns(symbol, at, **columns, features=features))
    return found


def _bars(series: list[Columns], order: list[str]) -> tuple[BarColumns, ...]:
    place = {name: i for i, name in enumerate(order)}
    bars = [one for one in series if isinstance(one, BarColumns)]
    bars.sort(key=lambda one: (place[one.symbol], one.timeframe))
    for one, other in pairwise(bars):
        if (one.symbol, one.timeframe) == (other.symbol, other.timeframe):
            raise DataError(
                f"{one.symbol}: there are two series of {format_timeframe(one.timeframe)} bars"
            )
    return tuple(bars)


def _ticks(series: list[Columns], order: list[str], kind: type[Ticks]) -> tuple[Ticks, ...]:
    place = {name: i for i, name in enumerate(order)}
    ticks = sorted((s for s in series if isinstance(s, kind)), key=lambda one: place[one.symbol])
    for one, other in pairwise(ticks):
        if one.symbol == other.symbol:
            raise DataError(f"{one.symbol}: there are two frames of ticks of the same kind")
    return tuple(ticks)


def _zone_out(tables: list[Table], notes: list[str]) -> str | None:
    """Return the zone in which frames go out; naive UTC times go out naive."""
    naive = {table.naive for table in tables}
    if len(naive) > 1:
        some = next(table.symbols[0] for table in tables if table.naive)
        raise DataError(
            f"{some}: its times have no zone, those of other symbols have one: give all a zone"
        )
    zones = list(dict.fromkeys(table.zone for table in tables))
    if len(zones) > 1:
        notes.append(f"times came in the zones {_names(zones)} and go out in UTC")
        return "UTC"
    return None if naive == {True} and zones[0] == "UTC" else zones[0]


# ---------------------------------------------------------------- small things


def _cut(columns: Any, names: tuple[str, ...], start: int, stop: int) -> list[Any]:
    features = {name: column[start:stop] for name, column in columns.features.items()}
    return [*(getattr(columns, name)[start:stop] for name in names), features]


def _bytes(column: Any) -> memoryview:
    """Return a column's buffer; all NaN look alike, and so do the zeros, as they compare alike."""
    if column.dtype.kind == "f":
        column = np.ascontiguousarray(column, "<f8")
        if not column.min(initial=1.0) > 0:
            column = np.where(np.isnan(column), np.nan, column + 0.0)
    else:
        column = np.ascontiguousarray(column, "<i8")
    return memoryview(column).cast("B") if len(column) else memoryview(b"")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _count(total: dict[str, int], more: dict[str, int]) -> None:
    for symbol, count in more.items():
        total[symbol] = total.get(symbol, 0) + count


def _names(names: Sequence[str]) -> str:
    if len(names) <= 4:
        return ", ".join(names)
    return f"{', '.join(names[:3])} and {len(names) - 3} others"
