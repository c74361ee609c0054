"""Round trips: from the fill that opens a position to the one that closes or turns it.

Accounting is by average cost: what is added and taken off in between belongs to the same trip, its
entry price is the mean of all entries and its exit price that of all exits. A fill that turns the
position ends one trip and begins the next, its fee shared by quantity.
"""

from __future__ import annotations

from operator import attrgetter

import msgspec
import numpy as np

from regimeflow.analytics.fold import FillColumns, RunData, rows_by_symbol
from regimeflow.model.market import FloatArray, IntArray


class Trips(msgspec.Struct, frozen=True):
    """Round trips as columns, shape ``(n,)``, in order of their end.

    Attributes:
        symbols, sides: side is that of the entry, "buy" for a long trip.
        qty: units entered in all; for an open trip the units still held.
        entry_time, exit_time: UTC nanoseconds; of an open trip the last time it was marked.
        entry_price, exit_price: means; of an open trip the last price.
        pnl: money, net of fees; of an open trip what it would be at the last price.
        fees: money paid on both sides.
        returns: ``pnl`` over the value entered, a fraction.
        bars: how many prices of the symbol lie between entry and exit.
    """

    symbols: list[str]
    sides: list[str]
    qty: FloatArray
    entry_time: IntArray
    entry_price: FloatArray
    exit_time: IntArray
    exit_price: FloatArray
    pnl: FloatArray
    fees: FloatArray
    returns: FloatArray
    bars: IntArray

    def __len__(self) -> int:
        return len(self.symbols)


class _Trip(msgspec.Struct, gc=False):
    """One trip; ``units`` is signed, sums are positive.

    ``mark`` is what units still held at its end are worth each.
    """

    symbol: str
    sign: float
    units: float
    entered: float
    paid: float
    fees: float
    entry_time: int
    entry_ts: int
    left: float = 0.0
    received: float = 0.0
    exit_time: int = 0
    exit_ts: int = 0
    mark: float = 0.0


def _entered(symbol: str, units: float, price: float, fee: float, time: int, ts: int) -> _Trip:
    qty = abs(units)
    return _Trip(symbol, 1.0 if units > 0 else -1.0, units, qty, qty * price, fee, time, ts)


def round_trips(data: RunData, fills: FillColumns, now: int) -> tuple[Trips, Trips]:
    """Return the closed and the open round trips of a run that was last looked at ``now``."""
    paired = _paired(data, fills)
    closed, running = _walk(data, fills, 2 * len(paired))
    marks = {p.symbol: float(p.close[-1]) for p in data.prices if len(p.ts)}
    paid = dict(zip(fills.symbols, fills.price.tolist(), strict=True))
    averages = {symbol: price for symbol, (_, price) in data.start.positions.items()}
    last = averages | paid | marks
    for trip in running:
        trip.exit_time = trip.exit_ts = now
        trip.mark = last[trip.symbol]
    over = paired if len(paired) else _sums(closed)
    return _columns(data, fills, over), _columns(data, fills, _sums(running))


class _Sums(msgspec.Struct, frozen=True):
    """Trips as columns of what `_Trip` holds of each."""

    symbols: list[str]
    sign: FloatArray
    units: FloatArray
    entered: FloatArray
    paid: FloatArray
    fees: FloatArray
    left: FloatArray
    received: FloatArray
    mark: FloatArray
    entry_time: IntArray
    entry_ts: IntArray
    exit_time: IntArray
    exit_ts: IntArray

    def __len__(self) -> int:
        return len(self.symbols)


def _sums(trips: list[_Trip]) -> _Sums:
    def column(name: str) -> FloatArray:
        return np.fromiter(map(attrgetter(name), trips), np.float64, len(trips))

    def times(name: str) -> IntArray:
        return np.fromiter(map(attrgetter(name), trips), np.int64, len(trips))

    floats = ("sign", "units", "entered", "paid", "fees", "left", "received", "mark")
    whens = ("entry_time", "entry_ts", "exit_time", "exit_ts")
    columns = [*map(column, floats), *map(times, whens)]
    return _Sums([t.symbol for t in trips], *columns)  # type: ignore[arg-type]


def _paired(data: RunData, fills: FillColumns) -> _Sums:
    """Return the trips of a run that only ever goes in and all out again, one symbol, at once.

    What `_walk` finds there, without a step per fill; no trips where it takes a walk.
    """
    count = len(fills.ts) // 2
    into, out = slice(0, 2 * count, 2), slice(1, 2 * count, 2)
    units = fills.signed[into]
    if (
        not count
        or data.start.positions
        or len(set(fills.symbols)) > 1
        or not units.all()
        or not np.array_equal(units, -fills.signed[out])
    ):
        return _sums([])
    qty, none = np.abs(units), np.zeros(count)
    return _Sums(
        symbols=list(fills.symbols[:count]),
        sign=np.sign(units),
        units=none,
        entered=qty,
        paid=qty * fills.price[into],
        fees=fills.fee[into] + fills.fee[out],
        left=qty,
        received=qty * fills.price[out],
        mark=none,
        entry_time=fills.time[into],
        entry_ts=fills.ts[into],
        exit_time=fills.time[out],
        exit_ts=fills.ts[out],
    )


def _walk(data: RunData, fills: FillColumns, first: int) -> tuple[list[_Trip], list[_Trip]]:
    """Return the trips that are over, in the order of their end, and those that still run.

    ``first``: the fill to begin at, nothing being held before it.
    """
    start = data.start
    running = {
        symbol: _entered(symbol, units, price, 0.0, start.ts, start.ts)
        for symbol, (units, price) in start.positions.items()
        if units
    }
    traded = dict.fromkeys((*start.positions, *fills.symbols))
    flat = {symbol: fills.instruments[symbol].lot / 2.0 for symbol in traded}
    closed: list[_Trip] = []
    rows = zip(
        fills.symbols[first:],
        fills.signed[first:].tolist(),
        fills.price[first:].tolist(),
        fills.fee[first:].tolist(),
        fills.time[first:].tolist(),
        fills.ts[first:].tolist(),
        strict=True,
    )
    for symbol, signed, price, fee, time, ts in rows:
        trip = running.get(symbol)
        if trip is None:
            running[symbol] = _entered(symbol, signed, price, fee, time, ts)
            continue
        if signed * trip.sign > 0:
            trip.entered += abs(signed)
            trip.paid += abs(signed) * price
            trip.fees += fee
            trip.units += signed
            continue
        after = trip.units + signed
        turns = after * trip.sign < -flat[symbol]
        out = abs(trip.units) if turns else abs(signed)
        share = fee * out / abs(signed) if turns else fee
        trip.left += out
        trip.received += out * price
        trip.fees += share
        trip.units = after
        if turns or abs(after) < flat[symbol]:
            trip.units = 0.0
            trip.exit_time, trip.exit_ts = time, ts
            closed.append(trip)
            del running[symbol]
        if turns:
            running[symbol] = _entered(symbol, after, price, fee - share, time, ts)
    return closed, list(running.values())


def _columns(data: RunData, fills: FillColumns, trips: _Sums) -> Trips:
    symbols, paid = trips.symbols, trips.paid
    held = np.abs(trips.units)
    size = fills.multipliers(symbols)
    pnl = trips.sign * (trips.received + held * trips.mark - paid) * size - trips.fees
    return Trips(
        symbols=symbols,
        sides=["buy" if s > 0 else "sell" for s in trips.sign.tolist()],
        qty=np.where(held > 0, held, trips.entered),
        entry_time=trips.entry_time,
        entry_price=_ratio(paid, trips.entered),
        exit_time=trips.exit_time,
        exit_price=np.where(held > 0, trips.mark, _ratio(trips.received, trips.left)),
        pnl=pnl,
        fees=trips.fees,
        returns=_ratio(pnl, np.abs(paid) * size),
        bars=_bars(data, symbols, trips.entry_ts, trips.exit_ts),
    )


def _ratio(over: FloatArray, under: FloatArray) -> FloatArray:
    out = np.full(len(over), np.nan)  # what cost nothing has no return
    np.divide(over, under, out=out, where=under != 0)
    return out


def _bars(data: RunData, symbols: list[str], entry: IntArray, leave: IntArray) -> IntArray:
    series = {p.symbol: p.ts for p in data.prices}
    bars = np.zeros(len(symbols), dtype=np.int64)
    for symbol, rows in rows_by_symbol(symbols).items():
        ts = series.get(symbol)
        if ts is not None:
            bars[rows] = np.searchsorted(ts, leave[rows]) - np.searchsorted(ts, entry[rows])
    return bars
