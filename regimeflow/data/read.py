"""Frames in: from any shape a user's data has to tables of float columns.

Narwhals tells the libraries apart and converts the unusual column types; a plain float column is
taken as it lies in memory, which is why a million rows load without a copy of their prices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import narwhals as nw
import numpy as np

from regimeflow.data.clean import PRICES, SIZES, Table
from regimeflow.data.stack import FEW_ROWS, Stack
from regimeflow.data.times import Times, is_time, read_times
from regimeflow.errors import DataError, did_you_mean
from regimeflow.model.market import BAR_FIELDS, FloatArray, IntArray
from regimeflow.model.timeframe import parse_timeframe

TIME_NAMES = ("time", "timestamp", "date", "datetime", "ts", "open_time")

#: What tells the kinds apart; a frame with a bar's columns holds bars whatever else is in it.
REQUIRED = {
    "bars": ("open", "high", "low", "close"),
    "trades": ("price", "size"),
    "quotes": ("bid", "ask", "bid_size", "ask_size"),
}

_UNNAMED = "asset"


@dataclass(slots=True)
class Piece:
    """One frame's columns, still in its own library.

    Attributes:
        symbol, timeframe: what its dict key said.
        where: how to call it in messages.
        columns: user's name -> series.
        index: pandas index that may hold the times.
        size: rows.
        wide: whether it is one symbol out of many side by side.
    """

    symbol: str | None
    timeframe: int | None
    where: str
    columns: dict[str, Any]
    index: Any
    size: int
    wide: bool = False
    known: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Reading:
    """Everything that was in the user's data.

    Attributes:
        tables: in the order given.
        flavour: "pandas" or "polars".
        held: references that make pandas copy before it changes memory we look at.
    """

    tables: list[Table]
    flavour: str
    held: tuple[Any, ...]


def read(data: Any, symbols: Sequence[str] | None, timezone: str) -> Reading:
    """Return the tables in a frame, a dict of frames, or a dict of dicts of frames.

    Args:
        data: see `regimeflow.data.load`.
        symbols: names to choose; a single one names a frame that has no name of its own.
        timezone: how naive times are meant.

    Raises:
        DataError: something that is not a frame, or a frame whose columns do not fit.
    """
    frames = list(_frames(data))
    if not frames:
        raise DataError("the dict of frames is empty")
    flavours = [_flavour(frame, where) for _, _, frame, where in frames]
    if len(set(flavours)) > 1:
        raise DataError("the frames are partly pandas, partly polars: use one of them")
    only = symbols[0] if symbols is not None and len(symbols) == 1 else None
    tables: list[Table] = []
    held: list[Any] = []
    room = sum(len(f) for _, _, f, _ in frames if len(f) <= FEW_ROWS)
    stack: Stack | None = None  # only what directly follows it may be put on it
    for symbol, timeframe, frame, where in frames:
        if stack is not None:
            if stack.take(symbol, timeframe, frame):
                continue
            stack.settle()
            stack = None
        pieces = list(_pieces(symbol, timeframe, frame, where))
        tables.extend(_table(piece, only, timezone) for piece in pieces)
        if flavours[0] == "pandas":
            held.append(frame.copy(deep=False))
            if len(frames) > 1 and _stacks(pieces[-1], tables[-1]):
                stack = Stack(frame, tables[-1], _places(pieces[-1]), timezone, room)
    if stack is not None:
        stack.settle()
    return Reading(tables, flavours[0], tuple(held))


def to_float(values: Any) -> FloatArray | None:
    """Return a pandas or polars series as contiguous float64, ``None`` if it is not numeric.

    A plain float64 column is not copied; missing values become NaN.
    """
    if isinstance(values.dtype, np.dtype):
        if values.dtype.kind not in "fiub":
            return None
        return np.ascontiguousarray(values.to_numpy(), dtype=np.float64)
    if nw.dependencies.is_polars_series(values):
        dtype = values.dtype
        if (dtype.is_float() or dtype.is_integer()) and not values.null_count():
            return np.ascontiguousarray(values.to_numpy(), dtype=np.float64)
    series = nw.from_native(values, series_only=True)
    if not (series.dtype.is_numeric() or series.dtype == nw.Boolean):
        return None
    if nw.dependencies.is_pandas_series(values):
        return np.ascontiguousarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.ascontiguousarray(series.cast(nw.Float64).to_numpy(), dtype=np.float64)


# ---------------------------------------------------------------- frames and pieces

_Frame = tuple[str | None, int | None, Any, str]


def _frames(data: Any) -> Iterator[_Frame]:
    if not isinstance(data, Mapping):
        yield None, None, data, "the frame"
        return
    for key, value in data.items():
        if isinstance(value, Mapping):
            for inner, frame in value.items():
                yield str(key), parse_timeframe(inner), frame, f"{key} {inner}"
        elif isinstance(key, tuple):
            if len(key) != 2:
                raise DataError(f"dict key {key!r}: use a symbol or (symbol, timeframe)")
            yield str(key[0]), parse_timeframe(key[1]), value, f"{key[0]} {key[1]}"
        else:
            yield str(key), None, value, str(key)


def _flavour(frame: Any, where: str) -> str:
    if nw.dependencies.is_pandas_dataframe(frame):
        return "pandas"
    if nw.dependencies.is_polars_dataframe(frame):
        return "polars"
    if nw.dependencies.is_polars_lazyframe(frame):
        raise DataError(f"{where}: a polars LazyFrame has no rows yet: call .collect() first")
    hint = "; build one with pandas.DataFrame(data)" if isinstance(frame, list | np.ndarray) else ""
    raise DataError(
        f"{where}: data must be a pandas or polars DataFrame or a dict of them,"
        f" got {type(frame).__name__}{hint}"
    )


def _pieces(symbol: str | None, timeframe: int | None, frame: Any, where: str) -> Iterator[Piece]:
    index = None
    if nw.dependencies.is_pandas_dataframe(frame):
        frame = _flat_index(frame, where)
        index = frame.index
        if frame.columns.nlevels > 1:
            yield from _wide_pieces(symbol, timeframe, frame, where)
            return
    names = [str(name) for name in frame.columns]
    _refuse_twice(names, names, where)
    series = (one for _, one in frame.items()) if index is not None else frame.get_columns()
    columns = dict(zip(names, series, strict=True))
    yield Piece(symbol, timeframe, where, columns, index, len(frame))


def _flat_index(frame: Any, where: str) -> Any:
    """Return a frame with (symbol, time) rows, as Alpaca gives them, with the two as columns."""
    if frame.index.nlevels == 1:
        return frame
    if any(name is None for name in frame.index.names):
        raise DataError(f"{where}: name the levels of the row index, e.g. 'symbol' and 'time'")
    return frame.reset_index()


def _wide_pieces(
    symbol: str | None, timeframe: int | None, frame: Any, where: str
) -> Iterator[Piece]:
    """Yield one piece a ticker from columns such as (Close, AAPL) or (AAPL, Close)."""
    if frame.columns.nlevels != 2:
        raise DataError(
            f"{where}: columns have {frame.columns.nlevels} levels: one or two can be read"
        )
    fields = _field_level(frame.columns)
    if fields is None:
        raise DataError(
            f"{where}: neither level of the columns names prices (open, high, low, close)"
        )
    per_ticker: dict[str, dict[str, Any]] = {}
    for place, key in enumerate(frame.columns):
        columns = per_ticker.setdefault(str(key[1 - fields]), {})
        name = str(key[fields])
        if name in columns:
            raise DataError(f"{where}: the column {key!r} is there twice")
        columns[name] = frame.iloc[:, place]
    if symbol is not None and len(per_ticker) > 1:
        raise DataError(
            f"{where}: one symbol was expected, but the columns hold {', '.join(per_ticker)};"
            " pass the frame itself"
        )
    for ticker, columns in per_ticker.items():
        name = symbol or ticker
        yield Piece(
            name, timeframe, name, columns, frame.index, len(frame), wide=len(per_ticker) > 1
        )


def _field_level(columns: Any) -> int | None:
    for level in (0, 1):
        names = {_canonical(value) for value in columns.get_level_values(level)}
        if any(names.issuperset(required) for required in REQUIRED.values()):
            return level
    return None


# ---------------------------------------------------------------- one piece to one table


def _table(piece: Piece, only: str | None, timezone: str) -> Table:
    _name_columns(piece)
    kind = _kind(piece)
    if not piece.size:
        raise DataError(f"{piece.symbol or piece.where}: the frame has no rows")
    notes: list[str] = []
    time_name, times = _times(piece, timezone, notes)
    columns = {name: _required(piece, name) for name in (*PRICES[kind], *SIZES[kind])}
    if kind == "bars" and "volume" not in piece.known:
        notes.append(f"{piece.symbol or piece.where}: no volume column, volume is 0")
    used = {piece.known[name] for name in columns if name in piece.known}
    used |= {piece.known[name] for name in ("symbol", "timeframe") if name in piece.known}
    used |= {time_name} if time_name else set()
    features = _features(piece, used, notes)
    table = Table(
        kind=kind,
        symbols=[],
        timeframes=[],
        bounds=np.array([0, piece.size], np.int64),
        ts=times.ts,
        columns=columns,
        features=features,
        zone=times.zone,
        naive=times.naive,
        rows=None,
        notes=notes,
        wide=piece.wide,
    )
    _name_series(table, piece, only)
    return table


def _name_columns(piece: Piece) -> None:
    wanted = {*BAR_FIELDS, *REQUIRED["trades"], *REQUIRED["quotes"], "symbol", "timeframe"}
    wanted.update(TIME_NAMES)
    canonical = [_canonical(name) for name in piece.columns]
    _refuse_twice([name for name in canonical if name in wanted], list(piece.columns), piece.where)
    piece.known = {
        short: name for short, name in zip(canonical, piece.columns, strict=True) if short in wanted
    }


def _stacks(piece: Piece, table: Table) -> bool:
    """Return whether frames like this one may follow it in one table: small, and nothing to say."""
    return (
        piece.size <= FEW_ROWS
        and is_time(piece.index)
        and not (piece.wide or table.notes)
        and not {"symbol", "timeframe"} & piece.known.keys()
    )


def _places(piece: Piece) -> dict[str, int]:
    """Return where a table's columns and features stand in their frame."""
    places = {_label(name): place for place, name in enumerate(piece.columns)}
    return places | {short: places[_label(name)] for short, name in piece.known.items()}


def _kind(piece: Piece) -> str:
    for kind, required in REQUIRED.items():
        if all(name in piece.known for name in required):
            return kind
    present = {k: sum(name in piece.known for name in names) for k, names in REQUIRED.items()}
    kind = max(present, key=lambda k: present[k])
    have = ", ".join(repr(name) for name in list(piece.columns)[:12]) or "none"
    if not present[kind]:
        raise DataError(
            f"{piece.where}: no market data columns: bars need open, high, low, close (and volume),"
            " trades price and size, quotes bid, ask, bid_size and ask_size;"
            f" the columns are {have}"
        )
    missing = [name for name in REQUIRED[kind] if name not in piece.known]
    near = ""
    for name in piece.columns:
        hint = did_you_mean(_canonical(name), missing)
        if hint and _canonical(name) not in piece.known:
            near = f" For {name!r}:{hint}"
            break
    extra = ""
    if kind == "quotes" and "bid" in piece.known and "ask" in piece.known:
        extra = " (the units offered at the bid and at the ask)"
    raise DataError(
        f"{piece.where}: {kind} need the columns {', '.join(REQUIRED[kind])}; missing:"
        f" {', '.join(missing)}{extra}; the columns are {have}.{near}"
    )


def _required(piece: Piece, name: str) -> FloatArray:
    if name not in piece.known:  # only volume may be missing
        return np.zeros(piece.size)
    values = piece.columns[piece.known[name]]
    array = to_float(values)
    if array is None:
        raise DataError(
            f"{piece.symbol or piece.where}: the column {piece.known[name]!r} is {values.dtype},"
            " not numeric; turn it into floats first"
        )
    return _read_only(array)


def _features(piece: Piece, used: set[str], notes: list[str]) -> dict[str, FloatArray]:
    features: dict[str, FloatArray] = {}
    for name, values in piece.columns.items():
        if name in used:
            continue
        array = to_float(values)
        label = _label(name)
        if array is None:
            notes.append(
                f"{piece.symbol or piece.where}: the column {name!r} is not numeric, left out"
            )
        elif label in features:
            raise DataError(f"{piece.where}: two columns are called {label!r}")
        else:
            features[label] = _read_only(array)
    return features


def _label(name: str) -> str:
    return "adj_close" if _canonical(name) == "adj_close" else name


def _times(piece: Piece, timezone: str, notes: list[str]) -> tuple[str | None, Times]:
    where = piece.symbol or piece.where
    if piece.index is not None and is_time(piece.index):
        return None, read_times(piece.index, timezone, where)
    candidates = [name for name in TIME_NAMES if name in piece.known]
    if len(candidates) > 1:
        typed = [name for name in candidates if is_time(piece.columns[piece.known[name]])]
        if len(typed) != 1:
            both = " and ".join(repr(piece.known[name]) for name in candidates)
            raise DataError(f"{where}: {both} may both be the time: leave one column out")
        candidates = typed
    if candidates:
        name = piece.known[candidates[0]]
        times = read_times(piece.columns[name], timezone, where)
    elif piece.index is not None and not _is_row_number(piece.index):
        name = None
        times = read_times(piece.index, timezone, where)
    else:
        others = [_canonical(one) for one in piece.columns if one not in piece.known.values()]
        near = next((hint for one in others if (hint := did_you_mean(one, TIME_NAMES))), "")
        raise DataError(
            f"{where}: no times: they belong in the index or in a column called"
            f" {', '.join(TIME_NAMES)}.{near}"
        )
    if times.parsed:
        notes.append(f"{where}: times parsed from text")
    return name, times


def _is_row_number(index: Any) -> bool:
    if _canonical(index.name) in TIME_NAMES:
        return False
    return getattr(index.dtype, "kind", "O") in "iu" and bool(len(index)) and index[0] < 10**8


# ---------------------------------------------------------------- long frames


def _name_series(table: Table, piece: Piece, only: str | None) -> None:
    """Set symbols and bounds; rows of a long frame are brought together by series if need be."""
    own = piece.symbol or only or _UNNAMED
    keys = [name for name in ("symbol", "timeframe") if name in piece.known]
    if not keys:
        table.symbols, table.timeframes = [own], [piece.timeframe]
        return
    columns = [_Labels(piece.columns[piece.known[key]], key, piece.where) for key in keys]
    if len(keys) == 1:
        heads, bounds, order = _layout(columns[0])
        named = [{keys[0]: str(head)} for head in heads]
    else:
        (outer, symbols), (inner, lengths) = (column.codes() for column in columns)
        pairs = _Labels(outer * len(lengths) + inner, "series", piece.where)
        heads, bounds, order = _layout(pairs)
        named = [
            {"symbol": symbols[head // len(lengths)], "timeframe": lengths[head % len(lengths)]}
            for head in heads
        ]
    for one in named:
        symbol = one.get("symbol", own)
        if piece.symbol is not None and symbol != piece.symbol:
            raise DataError(
                f"{piece.where}: the frame under the key {piece.symbol!r} has rows of {symbol!r}"
            )
        table.symbols.append(symbol)
        text = one.get("timeframe")
        table.timeframes.append(piece.timeframe if text is None else _timeframe(text))
    table.bounds = bounds
    if order is not None:
        table.rows = order
        table.ts = table.ts[order]
        table.columns = {name: column[order] for name, column in table.columns.items()}
        table.features = {name: column[order] for name, column in table.features.items()}


def _timeframe(text: str) -> int:
    return parse_timeframe(int(text) if text.isdigit() else text)


def _layout(labels: _Labels) -> tuple[list[Any], IntArray, IntArray | None]:
    """Return the labels, first seen first, the bounds of their rows, and how to order the rows.

    Half a million hash look-ups would cost more than all the rest of loading, so the two usual
    layouts are recognised by comparing neighbours: symbol after symbol, and time after time with
    the same symbols each.
    """
    size = len(labels)
    starts = np.flatnonzero(np.concatenate([[True], labels.differ(1)]))
    if 2 * len(starts) <= size or size < 16:
        heads = labels.take(starts)
        if len(set(heads)) == len(heads):
            return heads, np.append(starts, size).astype(np.int64), None
    period = labels.period()
    if period and size % period == 0 and not labels.differ(period).any():
        heads = labels.take(np.arange(period))
        if len(set(heads)) == period:
            order = np.arange(size).reshape(-1, period).T.ravel()
            return heads, np.arange(0, size + 1, size // period), order
    codes, names = labels.codes()
    # Sorting 16 bits goes by radix, three times as fast.
    small = codes.astype(np.uint16) if len(names) < 65_536 else codes
    bounds = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(names)))])
    return names, bounds.astype(np.int64), np.argsort(small, kind="stable")


class _Labels:
    """A column of labels, in whichever library; a missing one is refused where it is met."""

    def __init__(self, values: Any, name: str, where: str) -> None:
        self._name = name
        self._where = where
        self._series: Any = values if nw.dependencies.is_polars_series(values) else None
        if isinstance(values, np.ndarray):
            self._array: Any = values
        else:
            self._array = None if self._series is not None else values.to_numpy(dtype=object)

    def __len__(self) -> int:
        return len(self._array if self._series is None else self._series)

    def differ(self, lag: int) -> Any:
        """Return for each row from ``lag`` on whether it differs from the one ``lag`` before."""
        if self._series is None:
            return (self._array[lag:] != self._array[:-lag]).astype(bool)
        size = len(self) - lag
        return self._series.slice(lag).ne_missing(self._series.slice(0, size)).to_numpy()

    def take(self, places: IntArray) -> list[Any]:
        """Return the labels at some places."""
        if self._series is None:
            found: list[Any] = self._array[places].tolist()
        else:
            found = self._series.gather(places).to_list()
        for place, label in zip(places.tolist(), found, strict=True):
            if label is None or label != label:
                raise self._missing(place)
        return found

    def period(self) -> int:
        """Return how many rows on the first label comes again, 0 if it does not."""
        for stop in (4_096, len(self)):
            if self._series is None:
                same = np.flatnonzero(self._array[1:stop] == self._array[0])
            else:
                same = (self._series.slice(1, stop) == self._series[0]).arg_true().to_numpy()
            if len(same):
                return int(same[0]) + 1
        return 0

    def codes(self) -> tuple[IntArray, list[Any]]:
        """Return each row's label as a number, counted as first seen, and the labels."""
        if self._series is None:
            import pandas as pd

            codes, unique = pd.factorize(self._array)
            if len(codes) and codes.min() < 0:
                raise self._missing(int(np.argmin(codes)))
            return codes.astype(np.int64), [
                one if isinstance(one, int) else str(one) for one in unique.tolist()
            ]
        import polars as pl

        labels = self._series.cast(pl.String)
        if labels.null_count():
            raise self._missing(int(labels.is_null().arg_max()))
        names = labels.unique(maintain_order=True)
        codes = labels.cast(pl.Enum(names)).to_physical().to_numpy()
        return codes.astype(np.int64), names.to_list()

    def _missing(self, row: int) -> DataError:
        return DataError(f"{self._where}: row {row} has no {self._name}")


# ---------------------------------------------------------------- small things


def _canonical(name: object) -> str:
    return str(name).strip().lower().replace(" ", "_")


def _refuse_twice(names: list[str], shown: list[str], where: str) -> None:
    if len(set(names)) == len(names):
        return
    twice = next(name for name in names if names.count(name) > 1)
    spelled = [name for name in shown if _canonical(name) == _canonical(twice)]
    raise DataError(
        f"{where}: the column {twice!r} is there {names.count(twice)} times"
        f" ({', '.join(repr(name) for name in spelled)}): leave one"
    )


def _read_only(array: FloatArray) -> FloatArray:
    """Return a view that cannot be written; the user's own array keeps its flags."""
    view = array.view()
    view.flags.writeable = False
    return view
