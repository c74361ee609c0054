"""A run as data, and its equity curve folded from it.

Nothing here runs while the run does: positions are step functions of the fills, cash is their
running sum, and equity is both seen at the grid of prices. A backtest and a journal make the same
:class:`RunData`, so both are measured by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter

import msgspec
import numpy as np
import numpy.typing as npt

from regimeflow.model.events import Adjusted, Fill, Recorded, RegimeChanged, Start
from regimeflow.model.instrument import Instruments
from regimeflow.model.market import FloatArray, IntArray
from regimeflow.model.order import Order

BoolArray = npt.NDArray[np.bool_]


class PriceColumns(msgspec.Struct, frozen=True):
    """What one symbol is marked at: closes of its finest bars, or last prices of its ticks.

    ``ts``: UTC nanoseconds, strictly increasing, shape ``(n,)``; ``close``: the same shape.
    """

    symbol: str
    ts: IntArray
    close: FloatArray


class RunData(msgspec.Struct, frozen=True):
    """Everything a report is made of.

    Attributes:
        start: what the run began with.
        fills: as booked, in order, each execution once.
        payments: what was paid, and was paid for, being held, in order; see `Report.payments`.
        orders: all of them, the denied ones included.
        records: values of ``ctx.record``, in order.
        prices: per symbol, from the first bar of the run on (no warm-up); an array of times that
            several symbols share is looked at once.
        timeframe: length of the grid's bars, nanoseconds; 0 where it is irregular (ticks).
        flavour: "pandas" or "polars": what frames are handed out as.
        timezone: of the times in frames and pictures; None for naive UTC.
        calendar: exchange calendar by name, or "".
        benchmark: what the strategy is held against; may begin before the run.
        regimes: changes of regime, in order.
        notes: remarks and warnings that the reader of the report must see.
        assumed: facts that were inferred from the data: they belong to the assumptions.
        source_hash, fingerprint: of the strategy's source and of the data; the latter may be a
            function, since it takes a while and few ask for it.
        error: why the run ended early, or "".
    """

    start: Start
    fills: Sequence[Fill] = ()
    payments: Sequence[Adjusted] = ()
    orders: Sequence[Order] = ()
    records: Sequence[Recorded] = ()
    prices: Sequence[PriceColumns] = ()
    timeframe: int = 0
    flavour: str = "pandas"
    timezone: str | None = "UTC"
    calendar: str = ""
    benchmark: PriceColumns | None = None
    regimes: Sequence[RegimeChanged] = ()
    notes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    source_hash: str = ""
    fingerprint: str | Callable[[], str] = ""
    error: str = ""


class Curve(msgspec.Struct, frozen=True):
    """Equity over time; every array has the shape ``(n,)``.

    Attributes:
        ts: UTC nanoseconds, increasing: every time at which some symbol has a price.
        equity, cash: money. Equity at ``t`` has every fill with ``ts <= t``, at last prices.
        gross: market value of all positions regardless of side, money.
        start, start_ts: the starting capital (cash and positions at their average price) and the
            time it stands for, one bar before the first point.
    """

    ts: IntArray
    equity: FloatArray
    cash: FloatArray
    gross: FloatArray
    start: float
    start_ts: int

    def exposure(self) -> FloatArray:
        """Return gross value as a fraction of equity; NaN where equity is not positive."""
        out = np.full(len(self.ts), np.nan)
        np.divide(self.gross, self.equity, out=out, where=self.equity > 0)
        return out

    def returns(self) -> FloatArray:
        """Return simple returns per point; the first one is over the starting capital."""
        return simple_returns(self.equity, self.start)


def simple_returns(levels: FloatArray, start: float) -> FloatArray:
    """Return ``level / level before - 1``, beginning at ``start``; NaN after a zero.

    >>> simple_returns(np.array([99.0, 108.9]), 100.0).round(12).tolist()
    [-0.01, 0.1]
    """
    out = np.empty(len(levels))
    if not len(levels):
        return out
    with np.errstate(divide="ignore", invalid="ignore"):
        out[0] = levels[0] / np.float64(start)
        np.divide(levels[1:], levels[:-1], out=out[1:])
    out -= 1.0
    return out


class FillColumns(msgspec.Struct, frozen=True):
    """Fills as columns in order of time; arrays of shape ``(n,)``.

    ``signed`` is the quantity, negative for a sale; ``ts`` is when it was booked (in a simulation
    the bar's close), ``time`` when it happened. ``instruments``: the rules of each symbol.
    """

    instruments: Instruments
    symbols: tuple[str, ...]
    ts: IntArray
    time: IntArray
    signed: FloatArray
    price: FloatArray
    fee: FloatArray

    def multipliers(self, symbols: Sequence[str]) -> FloatArray:
        """Return the multiplier of each of some symbols, shape ``(n,)``."""
        sizes = {symbol: self.instruments[symbol].multiplier for symbol in set(symbols)}
        if len(sizes) == 1:
            return np.full(len(symbols), next(iter(sizes.values())))
        return np.fromiter(map(sizes.__getitem__, symbols), np.float64, len(symbols))


def fill_columns(data: RunData) -> FillColumns:
    """Return a run's fills as columns, sorted by ``ts``; fills of one time keep their order."""
    instruments = Instruments((i.symbol, i) for i in data.start.instruments)

    # Column by column: a tuple per fill would cost three times as much.
    def ints(name: str) -> IntArray:
        return np.fromiter(map(attrgetter(name), data.fills), np.int64, len(data.fills))

    def floats(name: str) -> FloatArray:
        return np.fromiter(map(attrgetter(name), data.fills), np.float64, len(data.fills))

    symbols = tuple(map(attrgetter("symbol"), data.fills))
    ts, time = ints("ts"), ints("executed_at")
    time = np.where(time > 0, time, ts)
    signed, price, fee = floats("qty"), floats("price"), floats("fee")
    sides = map(attrgetter("side"), data.fills)
    signed[np.fromiter(map("sell".__eq__, sides), np.bool_, len(data.fills))] *= -1.0
    if len(ts) > 1 and bool((np.diff(ts) < 0).any()):
        # A venue may report an execution late; what it did to equity belongs to when it happened.
        order = np.argsort(ts, kind="stable")
        symbols = tuple(symbols[i] for i in order)
        ts, time = ts[order], time[order]
        signed, price, fee = signed[order], price[order], fee[order]
    return FillColumns(instruments, symbols, ts, time, signed, price, fee)


def fold(data: RunData, fills: FillColumns) -> Curve:
    """Return the equity curve of a run, starting positions included."""
    instruments = fills.instruments
    grid = price_grid(data.prices, fills)
    held, marks = data.start.positions, {p.symbol: p for p in data.prices}
    start = data.start.cash
    places = grid.searchsorted(fills.ts)
    paid = -fills.signed * fills.price * fills.multipliers(fills.symbols)
    paid = running_sum(data.start.cash, paid, fills.fee)
    cash = _levels(len(grid), places, paid, data.start.cash)
    if data.payments:
        cash += _payments(grid, data.payments)
    net, gross = cash, np.zeros(0)
    rows_of = rows_by_symbol(fills.symbols)
    for symbol in dict.fromkeys((*held, *rows_of)):
        rows = rows_of.get(symbol, _NO_ROWS)
        units, average = held.get(symbol, (0.0, 0.0))
        size = instruments[symbol].multiplier
        start += units * average * size
        units = instruments[symbol].snap_qty(units)
        after = _snap(units + np.cumsum(fills.signed[rows]), instruments[symbol].lot)
        value = _levels(len(grid), places[rows], after, units)
        value *= _marks(grid, marks.get(symbol), fills, rows, average)
        if size != 1.0:
            value *= size
        # The first symbol makes the arrays, the others add to them: a million bars of one symbol
        # are then never copied for nothing.
        if net is cash:
            net, gross = cash + value, np.abs(value, out=value)
        else:
            net += value
            gross += np.abs(value, out=value)
    if net is cash:
        net, gross = cash.copy(), np.zeros(len(grid))
    first = int(grid[0]) if len(grid) else data.start.ts
    return Curve(grid, net, cash, gross, start, first - data.timeframe)


def step(grid: IntArray, at: IntArray, levels: FloatArray, before: float) -> FloatArray:
    """Return a step function on a grid: the level of the last ``at <= t``, else ``before``.

    Found from the steps' side, so the cost is one copy of the grid however many steps there are.

    >>> step(np.array([1, 2, 3, 4]), np.array([2, 4]), np.array([10.0, 20.0]), 0.0).tolist()
    [0.0, 10.0, 10.0, 20.0]
    """
    return _levels(len(grid), grid.searchsorted(at), levels, before)


def _payments(grid: IntArray, payments: Sequence[Adjusted]) -> FloatArray:
    """Return what had been paid by each time of a grid; what came after the last is in the last."""
    ts = np.fromiter((p.ts for p in payments), np.int64, len(payments))
    cash = np.fromiter((p.cash for p in payments), np.float64, len(payments))
    order = np.argsort(ts, kind="stable")
    places = grid.searchsorted(ts[order]).clip(max=max(len(grid) - 1, 0))
    return _levels(len(grid), places, np.cumsum(cash[order]), 0.0)


def _levels(
    size: int, places: npt.NDArray[np.intp], levels: FloatArray, before: float
) -> FloatArray:
    """Return a step function as an array of a size: each level holds from its place on."""
    edges = np.empty(len(places) + 2, dtype=np.int64)
    edges[0], edges[1:-1], edges[-1] = 0, places, size
    all_levels = np.empty(len(places) + 1)
    all_levels[0], all_levels[1:] = before, levels
    return all_levels.repeat(edges[1:] - edges[:-1])  # np.diff takes as long as all the rest


def priced(data: RunData) -> dict[str, PriceColumns]:
    """Return symbol -> prices, where there are some.

    A saved report keeps no prices of a symbol that was never held: they are NaN when it is loaded.
    """
    return {p.symbol: p for p in data.prices if len(p.ts) and not np.isnan(p.close[0])}


def axes_of(prices: Sequence[PriceColumns]) -> list[IntArray]:
    """Return the distinct time axes among price series, in order of appearance."""
    axes: list[IntArray] = []
    for series in prices:
        ts = series.ts
        if not any(ts is a or (len(ts) == len(a) and np.array_equal(ts, a)) for a in axes):
            axes.append(ts)
    return axes


def price_grid(prices: Sequence[PriceColumns], fills: FillColumns) -> IntArray:
    """Return every time with a price; a fill after the last one adds its own time."""
    axes = [axis for axis in axes_of(prices) if len(axis)]
    if not axes:
        return np.unique(fills.ts)
    grid = axes[0] if len(axes) == 1 else np.unique(np.concatenate(axes))
    if len(fills.ts) and fills.ts[-1] > grid[-1]:
        return np.append(grid, fills.ts[-1])
    return grid


def running_sum(cash: float, paid: FloatArray, fees: FloatArray) -> FloatArray:
    """Return cash after each fill, as the ledger's compensated sum has it, to the last bit.

    >>> running_sum(1e16, np.array([1.0, -1e16]), np.array([0.0, 0.0])).tolist()
    [1e+16, 1.0]
    """
    parts = np.empty(2 * len(paid) + 1)
    parts[0], parts[1::2], parts[2::2] = cash, paid, -fees
    totals = np.cumsum(parts)
    # What each addition lost to rounding, exactly (Knuth's two-sum): the ledger carries it along.
    before, after, part = totals[:-1], totals[1:], parts[1:]
    came = after - before
    lost = (before - (after - came)) + (part - came)
    summed: FloatArray = (after + np.cumsum(lost))[1::2]
    return summed


_NO_ROWS: npt.NDArray[np.intp] = np.empty(0, dtype=np.intp)


def rows_by_symbol(symbols: Sequence[str]) -> dict[str, npt.NDArray[np.intp]]:
    """Return symbol -> the places where it stands, in order.

    >>> {symbol: rows.tolist() for symbol, rows in rows_by_symbol(["B", "A", "B"]).items()}
    {'B': [0, 2], 'A': [1]}
    """
    codes: dict[str, int] = {}
    if len(set(symbols)) == 1:
        return {symbols[0]: np.arange(len(symbols))}
    place = np.array([codes.setdefault(s, len(codes)) for s in symbols], dtype=np.intp)
    order = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place, minlength=len(codes)))
    return dict(zip(codes, np.split(order, ends[:-1]), strict=True)) if codes else {}


def _snap(units: FloatArray, lot: float) -> FloatArray:
    """Return positions on the lot grid, rounded as :class:`Instrument` does it one by one."""
    if lot == 1.0:
        return np.rint(units)
    per_unit = 1.0 / lot
    whole = round(per_unit)
    counts = np.rint(units / lot)
    if whole >= 1 and abs(per_unit - whole) < 1e-9 * whole:
        return counts / whole
    return counts * lot


def _marks(
    grid: IntArray,
    prices: PriceColumns | None,
    fills: FillColumns,
    rows: npt.NDArray[np.intp],
    first: float,
) -> FloatArray:
    if prices is not None and (
        prices.ts is grid or (len(prices.ts) == len(grid) and np.array_equal(prices.ts, grid))
    ):
        return prices.close
    at, fill_prices = fills.ts[rows], fills.price[rows]
    if prices is None or not len(prices.ts):
        return step(grid, at, fill_prices, first)
    early = at < prices.ts[0]  # before its first price a position is worth what was paid for it
    return step(
        grid,
        np.concatenate((at[early], prices.ts)),
        np.concatenate((fill_prices[early], prices.close)),
        first,
    )
