"""Reports as files: JSON, schema ``regimeflow.report.v1``.

The top keys ``performance``, ``performance_summary``, ``regime_performance`` and ``transitions``
are those of the C++ RegimeFlow's baseline reports, so either reads the other's numbers. ``run``
holds what a run's report is folded from; loading folds it again, which is why a loaded report is
equal to the one that was saved, to the last bit.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np

from regimeflow.analytics.fold import PriceColumns, RunData, axes_of
from regimeflow.analytics.metrics import Metrics, by_regime
from regimeflow.errors import DataError
from regimeflow.model.events import Adjusted, Fill, Recorded, RegimeChanged, Start
from regimeflow.model.market import IntArray
from regimeflow.model.models import Model
from regimeflow.model.order import Order

if TYPE_CHECKING:
    from regimeflow.analytics.report import Report

SCHEMA = "regimeflow.report.v1"

#: Metrics under the key ``performance``; all others are under ``performance_summary``.
PERFORMANCE = (
    "total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "var_95", "cvar_95",
    "best_return", "worst_return",
)  # fmt: skip


#: Of time, UTC nanoseconds, and of gaps in it.
Ns = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
#: A few bytes can stand for any number of times; more than these no report holds.
MOST_TIMES = 100_000_000


class Axis(msgspec.Struct):
    """Times as their gaps, run-length encoded: a year of even minutes is a handful of numbers."""

    first: Ns | None
    gaps: list[Ns]
    counts: list[Annotated[int, msgspec.Meta(ge=1, le=MOST_TIMES)]]


class SavedPrices(msgspec.Struct):
    """Closes of one symbol on one of the axes; null for one that was never held.

    Such a symbol moves nothing but the grid of times, and 500 symbols are many megabytes.
    """

    symbol: str
    axis: int
    close: list[float] | None


class SavedOrder(msgspec.Struct):
    """One order; names as in :class:`Order`."""

    id: str
    symbol: str
    side: str
    qty: float
    type: str
    limit: float | None
    stop: float | None
    tif: str
    expire_at: int
    reduce_only: bool
    tag: str
    created: int
    seq: int
    decision_price: float | None
    updated: int
    status: Literal[
        "created", "denied", "sent", "open", "unknown",
        "filled", "canceled", "rejected", "expired",
    ]  # fmt: skip
    filled: float
    average_price: float
    fees: float
    reason: str
    venue_order_id: str


class SavedRun(msgspec.Struct):
    """What the report is folded from."""

    start: Start
    fills: list[Fill]
    orders: list[SavedOrder]
    records: list[Recorded]
    axes: list[Axis]
    prices: list[SavedPrices]
    benchmark: SavedPrices | None
    timeframe: int
    flavour: str
    timezone: str | None
    calendar: str
    notes: list[str]
    error: str
    assumed: list[str] = []
    payments: list[Adjusted] = []


class SavedReport(msgspec.Struct):
    """The file. Every key may be missing, since a foreign report brings only the first four."""

    schema: str = ""
    performance: dict[str, Any] = {}
    performance_summary: dict[str, Any] = {}
    regime_performance: Any = None
    transitions: Any = None
    strategy: str = ""
    params: Any = None
    source_hash: str = ""
    fingerprint: str = ""
    model: Model | None = None
    run: SavedRun | None = None


# ---------------------------------------------------------------- writing


def encode(report: Report) -> bytes:
    """Return a report as JSON."""
    metrics, data = report.metrics, report.data
    summary = {k: _finite(v) for k, v in metrics.items() if k not in PERFORMANCE}
    regimes = by_regime(data, report.curve, metrics["periods_per_year"]) if report.has_run else {}
    saved = SavedReport(
        schema=SCHEMA,
        performance={name: _finite(metrics[name]) for name in PERFORMANCE if name in metrics},
        performance_summary=summary,
        regime_performance={
            name: {key: _finite(value) for key, value in values.items()}
            for name, values in regimes.items()
        },
        transitions=list(data.regimes),
        strategy=report.strategy,
        params=report.params,
        source_hash=data.source_hash,
        fingerprint=report.fingerprint,
        model=report.model,
        run=_pack(report) if report.has_run else None,
    )
    return msgspec.json.encode(saved, enc_hook=_plain)


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, making its directory where needed.

    Raises:
        DataError: the place cannot be written to.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def _pack(report: Report) -> SavedRun:
    data = report.data
    axes = axes_of(data.prices)
    held = {*data.start.positions, *report.fill_columns.symbols}
    prices = [_pack_prices(p, axes, held) for p in data.prices]
    benchmark = None
    if data.benchmark is not None:
        axes.append(data.benchmark.ts)
        benchmark = SavedPrices(data.benchmark.symbol, len(axes) - 1, data.benchmark.close.tolist())
    return SavedRun(
        start=data.start,
        fills=list(data.fills),
        orders=[_pack_order(order) for order in data.orders],
        records=list(data.records),
        axes=[_pack_axis(ts) for ts in axes],
        prices=prices,
        benchmark=benchmark,
        timeframe=data.timeframe,
        flavour=data.flavour,
        timezone=data.timezone,
        calendar=data.calendar,
        notes=list(data.notes),
        error=data.error,
        assumed=list(data.assumed),
        payments=list(data.payments),
    )


def _pack_prices(prices: PriceColumns, axes: Sequence[IntArray], held: set[str]) -> SavedPrices:
    ts = prices.ts
    axis = next(i for i, a in enumerate(axes) if ts is a or np.array_equal(ts, a))
    close = prices.close.tolist() if prices.symbol in held else None
    return SavedPrices(prices.symbol, axis, close)


def _pack_axis(ts: IntArray) -> Axis:
    if not len(ts):
        return Axis(None, [], [])
    gaps = np.diff(ts)
    ends = np.flatnonzero(np.append(gaps[1:] != gaps[:-1], True)) if len(gaps) else gaps
    counts = np.diff(ends, prepend=-1)
    return Axis(int(ts[0]), gaps[ends].tolist(), counts.tolist())


_ORDER_FIELDS = SavedOrder.__struct_fields__
_order_values = attrgetter(*_ORDER_FIELDS)


def _pack_order(order: Order) -> SavedOrder:
    saved = SavedOrder(*_order_values(order))
    if saved.decision_price is not None:
        saved.decision_price = _finite(saved.decision_price)
    return saved


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    """Parameters are the user's: what JSON has no word for is written as Python shows it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return repr(value)


# ---------------------------------------------------------------- reading

_DECODER = msgspec.json.Decoder(SavedReport)


def read(path: Path) -> tuple[RunData, Metrics | None]:
    """Return what a report file holds; metrics only for one that brings nothing else.

    Raises:
        DataError: no such file, or not a report; names the place in it.
    """
    try:
        saved = _DECODER.decode(path.read_bytes())
        if saved.schema not in ("", SCHEMA):
            raise DataError(
                f"{path}: its schema is {_cut(saved.schema)}, this version reads {SCHEMA!r}"
            )
        if saved.run is not None:
            return _unpack(saved, saved.run), None
    except OSError as error:
        raise DataError(f"cannot read the report {path}: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a report: {error}") from error
    metrics = _foreign_metrics(saved)
    if not metrics:
        raise DataError(
            f"{path} is not a report: it has neither 'run' nor numbers under 'performance'"
            " or 'performance_summary'"
        )
    return _empty(saved), metrics


def _unpack(saved: SavedReport, run: SavedRun) -> RunData:
    _check_times(run)
    axes = [_unpack_axis(axis) for axis in run.axes]
    return RunData(
        start=run.start,
        fills=run.fills,
        payments=run.payments,
        orders=[_unpack_order(order) for order in run.orders],
        records=run.records,
        prices=[_unpack_prices(p, axes) for p in run.prices],
        timeframe=run.timeframe,
        flavour=run.flavour,
        timezone=run.timezone,
        calendar=run.calendar,
        benchmark=_unpack_prices(run.benchmark, axes) if run.benchmark else None,
        regimes=msgspec.convert(saved.transitions or [], list[RegimeChanged]),
        notes=tuple(run.notes),
        assumed=tuple(run.assumed),
        source_hash=saved.source_hash,
        fingerprint=saved.fingerprint,
        error=run.error,
    )


def _check_times(run: SavedRun) -> None:
    """Refuse times that no clock shows: arrays of times cannot hold them."""
    for name, times in _TIMES.items():
        things = [run.start] if name == "start" else getattr(run, name)
        if not all(map(_NS.__contains__, chain.from_iterable(map(times, things)))):
            raise msgspec.ValidationError(f"a time in {name} lies beyond the year 2262")


_NS = range(-(2**63), 2**63)
_TIMES = {
    "start": attrgetter("ts", "seen"),
    "fills": attrgetter("ts", "seen", "executed_at"),
    "orders": attrgetter("created", "updated", "expire_at", "seq"),
    "records": attrgetter("seen", "seq"),
    "payments": attrgetter("ts", "seen"),
}


def _unpack_axis(axis: Axis) -> IntArray:
    if axis.first is None:
        return np.empty(0, dtype=np.int64)
    if len(axis.gaps) != len(axis.counts):
        raise msgspec.ValidationError("an axis must have one count for each gap")
    if sum(axis.counts) >= MOST_TIMES:
        raise msgspec.ValidationError(f"an axis has more than {MOST_TIMES:,} times")
    last = axis.first + sum(gap * count for gap, count in zip(axis.gaps, axis.counts, strict=True))
    if min(axis.gaps, default=0) < 0 or last >= 2**63:
        raise msgspec.ValidationError("the times of an axis must not fall, nor pass the year 2262")
    ts = np.empty(sum(axis.counts) + 1, dtype=np.int64)
    ts[0] = axis.first
    ts[1:] = np.repeat(np.array(axis.gaps, dtype=np.int64), axis.counts)
    return np.cumsum(ts)


def _unpack_prices(prices: SavedPrices, axes: Sequence[IntArray]) -> PriceColumns:
    if not 0 <= prices.axis < len(axes):
        raise msgspec.ValidationError(f"prices of {prices.symbol!r} name no time axis")
    ts = axes[prices.axis]
    close = np.full(len(ts), np.nan) if prices.close is None else np.array(prices.close)
    if len(ts) != len(close):
        raise msgspec.ValidationError(f"prices of {prices.symbol!r} do not fit their time axis")
    return PriceColumns(prices.symbol, ts, close.astype(np.float64))


def _unpack_order(saved: SavedOrder) -> Order:
    first = _ORDER_FIELDS.index("updated")
    order = Order(*(getattr(saved, name) for name in _ORDER_FIELDS[:first]))
    for name in _ORDER_FIELDS[first:]:
        setattr(order, name, getattr(saved, name))
    if saved.decision_price is None:
        order.decision_price = math.nan
    return order


def _foreign_metrics(saved: SavedReport) -> Metrics:
    values = {
        name: _number(value)
        for name, value in _items(saved.performance, saved.performance_summary)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }
    if "max_drawdown" in values:
        # Written there as a positive depth by some versions; here a loss is negative.
        values["max_drawdown"] = -abs(values["max_drawdown"])
    return Metrics(values)


def _items(*mappings: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    return (item for mapping in mappings for item in mapping.items())


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _empty(saved: SavedReport) -> RunData:
    params = saved.params if isinstance(saved.params, dict) else {}
    start = Start(
        ts=0, seen=0, run="", epoch=0, symbols=(), timeframes=(), cash=0.0,
        strategy=saved.strategy, params=params,
    )  # fmt: skip
    return RunData(start=start, source_hash=saved.source_hash, fingerprint=saved.fingerprint)


def _cut(text: str) -> str:
    return repr(text if len(text) < 60 else text[:57] + "...")
