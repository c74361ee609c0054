"""What market data must be: the rules, and the first row that breaks one.

Most frames are sound, so they are first passed by reductions that keep nothing; only where one
fails are the rows looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from regimeflow.data.times import NAT, describe
from regimeflow.errors import DataError
from regimeflow.model.market import FloatArray, IntArray

Mask = npt.NDArray[np.bool_]

#: Columns of each kind: prices must be positive, sizes must not be negative.
PRICES = {"bars": ("open", "high", "low", "close"), "trades": ("price",), "quotes": ("bid", "ask")}
SIZES = {"bars": ("volume",), "trades": ("size",), "quotes": ("bid_size", "ask_size")}

# Adjusted prices are products with a factor: open may pass high by the last digits.
_SLACK = 1e-9


@dataclass(slots=True)
class Table:
    """One frame as columns; rows of one series stand together, between two bounds.

    Attributes:
        kind: "bars", "trades" or "quotes".
        symbols, timeframes: of each series; a timeframe is nanoseconds or ``None``.
        bounds: where each series begins, and the number of rows at the end.
        ts: labels, UTC nanoseconds, `NAT` where there is none.
        columns, features: by name, each as long as ``ts``.
        zone: zone in which the labels read as local time; ``naive`` if the frame did not say it.
        rows: row in the user's frame, or ``None`` where that is the place itself.
        notes: what is to be told about the reading.
        wide: whether the table is one symbol out of a frame that has others in further columns.
        stacked: whether each series is a frame of its own, whose rows count from its beginning.
    """

    kind: str
    symbols: list[str]
    timeframes: list[int | None]
    bounds: IntArray
    ts: IntArray
    columns: dict[str, FloatArray]
    features: dict[str, FloatArray]
    zone: str
    naive: bool
    rows: IntArray | None
    notes: list[str]
    wide: bool = False
    stacked: bool = False

    def row(self, place: int) -> int:
        """Return the row in the user's frame."""
        if self.rows is not None:
            return int(self.rows[place])
        if not self.stacked:
            return place
        return place - int(self.bounds[self.series_of(np.array([place]))[0]])

    def series_of(self, places: IntArray) -> IntArray:
        """Return which series each place belongs to."""
        return np.searchsorted(self.bounds, places, side="right") - 1

    def keep(self, mask: Mask) -> None:
        """Leave only the rows of the mask; a series may become empty."""
        if self.rows is None:
            self.rows = np.arange(len(self.ts))
            if self.stacked:
                self.rows -= np.repeat(self.bounds[:-1], np.diff(self.bounds))
        kept = np.concatenate([[0], np.cumsum(mask)])
        self.bounds = kept[self.bounds].astype(np.int64)
        self.ts = self.ts[mask]
        self.columns = {name: column[mask] for name, column in self.columns.items()}
        self.features = {name: column[mask] for name, column in self.features.items()}
        self.rows = self.rows[mask]

    def alone(self, place: int) -> Table:
        """Return one series as a table of its own."""
        cut = slice(int(self.bounds[place]), int(self.bounds[place + 1]))
        return replace(
            self,
            symbols=[self.symbols[place]],
            timeframes=[self.timeframes[place]],
            bounds=np.array([0, cut.stop - cut.start], np.int64),
            ts=self.ts[cut],
            columns={name: column[cut] for name, column in self.columns.items()},
            features={name: column[cut] for name, column in self.features.items()},
            rows=None if self.rows is None else self.rows[cut],
            stacked=False,
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule and the rows that break it; ``said`` completes the sentence "AAPL: ... in row 7"."""

    said: str
    column: str
    bad: Mask


def clean(table: Table, on_bad: str) -> dict[str, int]:
    """Check a table; return symbol -> rows dropped.

    Args:
        table: changed in place if rows are dropped.
        on_bad: "raise" or "drop".

    Raises:
        DataError: naming the first offending row; or nothing is left of a series.
    """
    if table.wide:
        _leave_out_absent(table)
    _refuse_empty(table, "has no rows")
    if _values_sound(table) and _times_sound(table):
        return {}
    if on_bad == "raise":
        raise DataError(_sentence(*_first_faulty(table)))
    bad = np.zeros(len(table.ts), bool)
    for fault in value_faults(table):
        bad |= fault.bad
    for fault in _time_faults(table, bad):
        bad |= fault.bad
    return drop(table, bad)


def drop(table: Table, bad: Mask) -> dict[str, int]:
    """Take the rows out; return symbol -> how many.

    Raises:
        DataError: nothing is left of a series.
    """
    counts = np.bincount(table.series_of(np.flatnonzero(bad)), minlength=len(table.symbols))
    dropped: dict[str, int] = {}
    for symbol, count in zip(table.symbols, counts.tolist(), strict=True):
        if count:
            dropped[symbol] = dropped.get(symbol, 0) + count
    table.keep(~bad)
    _refuse_empty(table, "has no sound row left")
    return dropped


def value_faults(table: Table) -> Iterator[Fault]:
    """Yield the rules on prices and sizes that some row breaks."""
    for name in PRICES[table.kind]:
        yield from _number_faults(name, table.columns[name], "not positive", zero=False)
    for name in SIZES[table.kind]:
        zero = table.kind != "trades"
        said = "negative" if zero else "not positive"
        yield from _number_faults(name, table.columns[name], said, zero=zero)
    for said, column, bad in _relations(table):
        if bad.any():
            yield Fault(said, column, bad)


def _relations(table: Table) -> Iterator[tuple[str, str, Mask]]:
    c = table.columns
    if table.kind == "quotes":
        yield "bid {bid} is above ask {ask}", "bid", c["bid"] > c["ask"]
    if table.kind != "bars":
        return
    yield "high {high} is below low {low}", "high", c["high"] < c["low"]
    for name in ("open", "close"):
        above = c[name] > c["high"] * (1 + _SLACK)
        below = c[name] < c["low"] * (1 - _SLACK)
        yield f"{name} {{{name}}} is above high {{high}}", name, above
        yield f"{name} {{{name}}} is below low {{low}}", name, below


def _number_faults(name: str, column: FloatArray, said: str, *, zero: bool) -> Iterator[Fault]:
    for text, bad in (
        ("NaN", np.isnan(column)),
        ("infinite", np.isinf(column)),
        (said, np.isfinite(column) & ((column < 0) if zero else (column <= 0))),
    ):
        if bad.any():
            shown = f" ({{{name}}})" if text == said else ""
            yield Fault(f"{name} is {text}{shown}", name, bad)


def _time_faults(table: Table, skip: Mask | None) -> Iterator[Fault]:
    """Yield rows without a time, and rows that do not come after all rows before them."""
    missing = table.ts == NAT
    if missing.any():
        yield Fault("the time is missing", "time", missing)
    ignored = missing if skip is None else missing | skip
    early, same = np.zeros(len(missing), bool), np.zeros(len(missing), bool)
    for start, stop in zip(table.bounds[:-1].tolist(), table.bounds[1:].tolist(), strict=True):
        ts = np.where(ignored[start:stop], NAT, table.ts[start:stop])
        before = np.maximum.accumulate(ts)[:-1]
        valid = ~ignored[start + 1 : stop]
        early[start + 1 : stop] = valid & (ts[1:] < before)
        same[start + 1 : stop] = valid & (ts[1:] == before)
    if early.any():
        yield Fault("the time goes back", "time", early)
    if table.kind == "bars" and same.any():
        yield Fault("the time is a duplicate", "time", same)


def _values_sound(table: Table) -> bool:
    c = table.columns
    for name in PRICES[table.kind]:
        if not (c[name].min() > 0 and c[name].max() < np.inf):  # NaN fails either
            return False
    for name in SIZES[table.kind]:
        low = c[name].min()
        sound = low > 0 if table.kind == "trades" else low >= 0
        if not (sound and c[name].max() < np.inf):
            return False
    if table.kind == "bars":
        high, low = c["high"], c["low"]
        exact = (
            (c["open"] <= high).all()
            and (c["close"] <= high).all()
            and (c["open"] >= low).all()
            and (c["close"] >= low).all()
        )
        if exact:
            return True
    return not any(bad.any() for _, _, bad in _relations(table))


def _times_sound(table: Table) -> bool:
    ts = table.ts
    rising = ts[1:] > ts[:-1] if table.kind == "bars" else ts[1:] >= ts[:-1]
    if len(table.bounds) > 2:
        rising[table.bounds[1:-1] - 1] = True
        return bool(rising.all()) and bool((ts[table.bounds[:-1]] != NAT).all())
    return bool(rising.all()) and int(ts[0]) != NAT


def _leave_out_absent(table: Table) -> None:
    """In a frame with many symbols side by side, an all-empty row is a bar that was not there."""
    absent = np.ones(len(table.ts), bool)
    for name in PRICES[table.kind]:
        absent &= np.isnan(table.columns[name])
        if not absent.any():
            return
    table.keep(~absent)
    table.notes.append(
        f"{table.symbols[0]}: {int(absent.sum())} rows without any price left out"
        " (the frame has other symbols' times)"
    )


def _refuse_empty(table: Table, said: str) -> None:
    if not table.symbols:
        raise DataError("the frame has no rows")
    empty = np.flatnonzero(np.diff(table.bounds) == 0)
    if len(empty):
        raise DataError(f"{table.symbols[int(empty[0])]}: the data {said}")


def _first_faulty(table: Table) -> tuple[Table, list[Fault]]:
    """Return what to complain of: a table with its faults, of stacked frames the first with one."""
    for one in map(table.alone, range(len(table.symbols))) if table.stacked else [table]:
        faults = [*value_faults(one), *_time_faults(one, None)]
        if faults:
            return one, faults
    raise AssertionError("the table is sound")


def _sentence(table: Table, faults: list[Fault]) -> str:
    """Return one sentence about the first offending row of the user's frame."""

    def first(fault: Fault) -> int:
        places = np.flatnonzero(fault.bad)
        return min(map(table.row, places.tolist())) if table.rows is not None else int(places[0])

    worst = min(faults, key=first)
    row = first(worst)
    place = row if table.rows is None else int(np.flatnonzero(table.rows == row)[0])
    symbol = table.symbols[int(table.series_of(np.array([place]))[0])]
    values = {name: f"{column[place]:.10g}" for name, column in table.columns.items()}
    time = describe(int(table.ts[place]))
    every = np.logical_or.reduce([fault.bad for fault in faults])
    count = int(every.sum())
    many = "the only bad row" if count == 1 else f"the first of {count} bad rows"
    at = "" if time == "no time" else f" ({time})"
    todo = "sort the frame by time" if worst.said.endswith("back") else "repair the data"
    return (
        f"{symbol}: {worst.said.format(**values)} in row {row}{at}, {many};"
        f" {todo}, or pass on_bad='drop' to leave such rows out"
    )
