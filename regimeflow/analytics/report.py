"""The report of a run: frames, metrics, pictures and files, each made when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from regimeflow.analytics import metrics as m
from regimeflow.analytics.fold import Curve, FillColumns, RunData, fill_columns, fold
from regimeflow.analytics.months import local, zone_of
from regimeflow.analytics.performance import drawdowns
from regimeflow.analytics.trips import Trips, round_trips
from regimeflow.data.out import frame
from regimeflow.model.market import FloatArray
from regimeflow.model.models import Costs, Model
from regimeflow.model.timeframe import format_timeframe

if TYPE_CHECKING:
    from regimeflow.analytics.plots import Picture

#: Shown on every report whose market orders fill on the bar that they were decided on.
OPTIMISTIC = (
    "Optimistic fills: market orders fill at the close of the very bar they were decided on,"
    " a price that nobody could still trade at."
)


_TEXT = frozenset(
    (
        "symbol",
        "side",
        "order_id",
        "liquidity",
        "venue",
        "type",
        "tif",
        "status",
        "reason",
        "tag",
        "why",
    )
)


class Report:
    """What a run came to. Making one costs nothing: everything is folded when it is first read.

    Frames come in the flavour (pandas or polars) of the run's data, with times in its time zone.

    Args:
        data: the run; see :class:`RunData`.
        metrics: those of a foreign report that brings nothing else; then the frames are empty.
    """

    def __init__(self, data: RunData, metrics: m.Metrics | None = None) -> None:
        self.data = data
        self._foreign = metrics

    # ------------------------------------------------------------ frames

    @cached_property
    def equity(self) -> Any:
        """Frame of time, equity, cash, exposure (gross, fraction of equity), drawdown."""
        curve = self.curve
        return self._frame(
            {
                "time": curve.ts,
                "equity": curve.equity,
                "cash": curve.cash,
                "exposure": curve.exposure(),
                "drawdown": self.drawdown,
            }
        )

    @cached_property
    def fills(self) -> Any:
        """Frame of time, symbol, side, qty, price, fee, order_id, liquidity, venue."""
        fills = self.data.fills
        columns: dict[str, Any] = {
            "time": np.array([f.executed_at or f.ts for f in fills], dtype=np.int64)
        }
        for name in ("symbol", "side", "qty", "price", "fee", "order_id", "liquidity", "venue"):
            kind = object if name in _TEXT else np.float64
            columns[name] = np.fromiter(map(attrgetter(name), fills), kind, len(fills))
        return self._frame(columns)

    @cached_property
    def payments(self) -> Any:
        """Frame of time, symbol, cash, why: what was paid for being held, such as funding.

        Positive cash was received. It is part of equity and of no trade.
        """
        paid = self.data.payments
        columns: dict[str, Any] = {"time": np.array([p.ts for p in paid], dtype=np.int64)}
        columns["symbol"] = [p.symbol for p in paid]
        columns["cash"] = np.array([p.cash for p in paid], dtype=np.float64)
        columns["why"] = [p.why for p in paid]
        return self._frame(columns)

    @cached_property
    def orders(self) -> Any:
        """Frame of all orders, those denied by limits included; ``reason`` says why."""
        orders = self.data.orders
        columns: dict[str, Any] = {
            "time": np.array([order.created for order in orders], dtype=np.int64),
            "order_id": [order.id for order in orders],
        }
        for name in (
            "symbol", "side", "qty", "type", "limit", "stop", "tif", "status", "filled",
            "average_price", "fees", "decision_price", "reason", "tag",
        ):  # fmt: skip
            values = [getattr(order, name) for order in orders]
            columns[name] = list(map(str, values)) if name in _TEXT else _number(values)
        columns["average_price"][columns["filled"] == 0] = np.nan  # nothing filled has no price
        columns["updated"] = np.array([order.updated for order in orders], dtype=np.int64)
        return self._frame(columns, "updated")

    @cached_property
    def trades(self) -> Any:
        """Frame of closed round trips.

        Columns symbol, side, qty, entry_time, entry_price, exit_time, exit_price, pnl (after
        fees), fees, return (fraction of the value entered), bars. Average cost: what is added and
        taken off in between belongs to the same round trip.
        """
        return self._trip_frame(self.trips[0], "exit_time", "exit_price")

    @cached_property
    def open_trades(self) -> Any:
        """Frame of round trips still open at the end, marked at last prices.

        Columns as in :attr:`trades`, but ``last_time`` and ``last_price`` instead of the exit, and
        ``qty`` is what is still held.
        """
        return self._trip_frame(self.trips[1], "last_time", "last_price")

    @cached_property
    def records(self) -> Any:
        """Frame of time and one column per name given to ``ctx.record``; NaN where it was not."""
        records = self.data.records
        names = dict.fromkeys(name for r in records for name in r.values)
        columns: dict[str, Any] = {"time": np.array([r.seen for r in records], dtype=np.int64)}
        for name in names:
            # A value called "time" must not hide the time.
            label = name if name not in columns else f"{name}_value"
            columns[label] = _number([r.values.get(name) for r in records])
        return self._frame(columns)

    # ------------------------------------------------------------ numbers

    @cached_property
    def metrics(self) -> m.Metrics:
        """The run's metrics by name, without a risk-free rate; see :meth:`measure`."""
        return self.measure() if self._foreign is None else self._foreign

    def measure(
        self, *, risk_free: float = 0.0, periods_per_year: float | None = None
    ) -> m.Metrics:
        """Return the metrics under other conventions.

        Args:
            risk_free: yearly rate, a fraction of any sign, taken down to a period geometrically.
            periods_per_year: instead of what the calendar and the bar length give.
        """
        return m.measure(
            self.data,
            self.curve,
            self.fill_columns,
            self.trips[0],
            risk_free=risk_free,
            periods_per_year=periods_per_year,
        )

    @cached_property
    def curve(self) -> Curve:
        """Equity over time as arrays."""
        return fold(self.data, self.fill_columns)

    @cached_property
    def drawdown(self) -> FloatArray:
        """Distance from the highest equity so far, the starting capital included; fractions."""
        return drawdowns(self.curve.equity, self.curve.start)

    @cached_property
    def fill_columns(self) -> FillColumns:
        """Fills as arrays, in order of time."""
        return fill_columns(self.data)

    @cached_property
    def trips(self) -> tuple[Trips, Trips]:
        """Closed and open round trips as arrays."""
        ts = self.curve.ts
        now = int(ts[-1]) if len(ts) else self.data.start.ts
        return round_trips(self.data, self.fill_columns, now)

    # ------------------------------------------------------------ what was run

    @property
    def has_run(self) -> bool:
        """False for a foreign report that brings metrics and nothing else."""
        return self._foreign is None

    @property
    def model(self) -> Model | None:
        """Fills, costs and latency as used; None for a foreign report."""
        return self.data.start.model if self.has_run else None

    @property
    def strategy(self) -> str:
        """Name of the strategy."""
        return self.data.start.strategy

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of the strategy."""
        params = self.data.start.params.items()
        return {k: v.item() if isinstance(v, np.generic) else v for k, v in params}

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of the run."""
        return self.data.start.symbols

    @property
    def timezone(self) -> str | None:
        """Time zone of the frames; None for naive UTC."""
        return self.data.timezone

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks and warnings that the reader must see."""
        if self.has_run and self.data.start.model.fills.market == "close":
            return (OPTIMISTIC, *self.data.notes)
        return self.data.notes

    @property
    def assumed(self) -> tuple[str, ...]:
        """Facts that were inferred from the data, such as the length of its bars."""
        return self.data.assumed

    @property
    def error(self) -> str:
        """Why the run ended early, or ""."""
        return self.data.error

    @property
    def source_hash(self) -> str:
        """Hash of the strategy's source, or ""."""
        return self.data.source_hash

    @property
    def fingerprint(self) -> str:
        """Hash of the data, or ""."""
        known = self.data.fingerprint
        return known if isinstance(known, str) else known()

    def facts(self) -> list[str]:
        """Return symbols, bar length, period, count and cash, each in a few words."""
        symbols, ts = self.symbols, self.curve.ts
        shown = ", ".join(symbols[:4]) if len(symbols) <= 6 else f"{len(symbols)} symbols"
        shown += f" and {len(symbols) - 4} more" if 4 < len(symbols) <= 6 else ""
        facts = [shown] if symbols else []
        unit = (
            f"bars of {format_timeframe(self.data.timeframe)}" if self.data.timeframe else "ticks"
        )
        if len(ts):
            zone = zone_of(self.timezone)
            # A bar's time is its close: the day it belongs to is that of the moment before.
            first, last = (local(int(t) - 1, zone).date() for t in (ts[0], ts[-1]))
            facts += [f"{first} to {last}", f"{len(ts):,} {unit}"]
        else:
            facts.append("no prices")
        return [*facts, f"cash {self.data.start.cash:,.2f}"]

    def assumptions(self) -> list[str]:
        """Return the fill, cost and latency model in words."""
        model = self.data.start.model
        where = "the close of the bar they were decided on"
        fills = where if model.fills.market == "close" else "the next bar's open"
        delay = ", ".join(
            f"{name} {ms:g} ms"
            for name, ms in (("orders", model.latency.order_ms), ("data", model.latency.data_ms))
            if ms
        )
        return [
            f"market orders on bars fill at {fills}",
            f"costs: {_costs(model.costs)}",
            f"latency: {delay or 'none'}",
        ]

    # ------------------------------------------------------------ faces and files

    def plot(
        self,
        kind: Literal["equity", "monthly", "trades"] = "equity",
        symbol: str | None = None,
    ) -> Picture:
        """Return a picture: a matplotlib figure that a notebook shows by itself.

        Args:
            kind: "equity" with its drawdown, "monthly" returns, or "trades" on the price.
            symbol: of the trades; the most traded one if it is not given.

        Raises:
            ConfigError: there is no such kind of picture.
            DataError: the report holds nothing to draw.
        """
        from regimeflow.analytics import plots  # matplotlib is loaded with the first picture only

        return plots.draw(self, kind, symbol)

    def to_plotly(
        self,
        kind: Literal["equity", "monthly", "trades"] = "equity",
        symbol: str | None = None,
    ) -> Any:
        """Return a plotly figure of what `plot` draws; times are those of the report's zone.

        Args:
            kind, symbol: as of `plot`.

        Raises:
            ConfigError: there is no such kind of picture.
            DataError: the report holds nothing to draw.
            MissingExtra: plotly is not installed.
        """
        from regimeflow.analytics import interactive

        return interactive.report_figure(self, kind, symbol)

    def tearsheet(self, path: str | Path) -> None:
        """Write the tear sheet: one HTML file, light and dark, that needs nothing else."""
        from regimeflow.analytics import html, save

        save.write(Path(path), html.tearsheet(self).encode())

    def save(self, path: str | Path) -> None:
        """Write the report as JSON, complete: :meth:`load` gives an equal one."""
        from regimeflow.analytics import save

        save.write(Path(path), save.encode(self))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a report that :meth:`save` wrote, or a C++ RegimeFlow baseline (metrics only).

        Raises:
            DataError: no such file, or not a report.
        """
        from regimeflow.analytics import save

        return cls(*save.read(Path(path)))

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        name = f"{self.strategy or 'Report'}({params})" if params else self.strategy or "Report"
        shown = ("total_return", "sharpe", "max_drawdown", "total_trades")
        numbers = [
            f"{m.spec_of(key).label.lower()} {m.show(key, self.metrics[key])}"
            for key in shown
            if key in self.metrics
        ]
        early = ["ended early"] if self.error else []
        facts = self.facts()[:-1] if self.has_run else ["metrics only"]
        return f"<Report {name}: {', '.join([*facts, *numbers, *early])}>"

    def _repr_html_(self) -> str:
        from regimeflow.analytics import face

        return face.face(self)

    # ------------------------------------------------------------ helpers

    def _frame(self, columns: dict[str, Any], *more_times: str) -> Any:
        return frame(
            columns,
            self.data.flavour,
            self.data.timezone,
            time_columns=("time", *more_times),
            text_columns=[name for name, column in columns.items() if isinstance(column, list)],
        )

    def _trip_frame(self, trips: Trips, exit_time: str, exit_price: str) -> Any:
        columns = {
            "symbol": trips.symbols,
            "side": trips.sides,
            "qty": trips.qty,
            "entry_time": trips.entry_time,
            "entry_price": trips.entry_price,
            exit_time: trips.exit_time,
            exit_price: trips.exit_price,
            "pnl": trips.pnl,
            "fees": trips.fees,
            "return": trips.returns,
            "bars": trips.bars,
        }
        return self._frame(columns, "entry_time", exit_time)


def _costs(costs: Costs) -> str:
    words = []
    if costs.maker_bps is not None or costs.taker_bps is not None:
        words.append(
            f"maker {costs.rate_bps('maker'):g} bps, taker {costs.rate_bps('taker'):g} bps"
        )
    elif costs.commission_bps:
        words.append(f"commission {costs.commission_bps:g} bps")
    words += [f"{costs.per_share:g} a unit"] if costs.per_share else []
    words += [f"{costs.per_order:g} an order"] if costs.per_order else []
    words += [f"at least {costs.minimum:g} an order"] if costs.minimum else []
    words += [f"slippage {costs.slippage_bps:g} bps"] if costs.slippage_bps else []
    words += [f"spread {costs.spread_bps:g} bps"] if costs.spread_bps else []
    return ", ".join(words) or "none"


def _number(values: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
