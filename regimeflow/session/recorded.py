"""A recorded run as what a report, a frame or a backtest is made of: folds over its journal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regimeflow.analytics.fold import PriceColumns, RunData
from regimeflow.analytics.report import Report
from regimeflow.data.out import frame
from regimeflow.errors import JournalError
from regimeflow.journal import events
from regimeflow.model.events import (
    Adjusted,
    Cancel,
    Denied,
    Failed,
    Fill,
    Input,
    OrderUpdate,
    Output,
    Recorded,
    RegimeChanged,
    Replace,
    Resumed,
    Start,
    StrategyChanged,
    Submit,
    exits_of,
)
from regimeflow.model.instrument import Instruments
from regimeflow.model.market import BAR_FIELDS, Bar, Bars, History, Quote, Trade
from regimeflow.model.order import Happening, IllegalMove, Order, Status
from regimeflow.model.timeframe import iso


class OrderFold:
    """Orders, fills and payments as events and outputs tell them: by the engine's own moves.

    What a venue says of an order that cannot be changes nothing, as in the engine, which holds the
    symbol and says why.
    """

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.payments: list[Adjusted] = []
        self.instruments = Instruments()
        self._booked: dict[str, None] = {}

    def take(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take in an event and what it caused."""
        kind = event.__class__
        if kind is Fill:
            self._fill(event)  # type: ignore[arg-type]
        elif kind is OrderUpdate:
            order = self.orders.get(event.order_id)  # type: ignore[union-attr]
            if order is not None:
                with contextlib.suppress(IllegalMove):
                    order.on_update(event)  # type: ignore[arg-type]
        elif kind is Adjusted and event.payment_id:  # type: ignore[union-attr]
            self.payments.append(event)  # type: ignore[arg-type]
        elif kind is Start:
            self.instruments.update((i.symbol, i) for i in event.instruments)  # type: ignore[union-attr]
        elif kind is Resumed:
            self._resumed(event.seen)
        for output in outputs:
            self._output(output)

    def _fill(self, fill: Fill) -> None:
        if fill.execution_id in self._booked:
            return
        self._booked[fill.execution_id] = None
        self.fills.append(fill)
        order = self.orders.get(fill.order_id)
        if order is not None:
            order.on_fill(fill, self.instruments[fill.symbol])

    def _output(self, output: Output) -> None:
        if isinstance(output, Submit):
            for request in (output, *exits_of(output)):
                self.orders[request.order_id] = Order.of(request)
        elif isinstance(output, Denied) and output.order_id not in self.orders:
            order = Order(
                output.order_id, output.symbol, output.side, output.qty or 0.0, "", None, None,
                "", 0, False, "", output.seen, output.seq, 0.0,
            )  # fmt: skip
            order.reason = output.reason
            order.move(Happening.DENIED, output.seen, f"{output.check}: {output.reason}")
            self.orders[output.order_id] = order
        elif isinstance(output, Cancel | Replace):
            order = self.orders.get(output.order_id)  # type: ignore[assignment]
            if order is not None:
                order.on_request(output)

    def _resumed(self, at: int) -> None:
        # What never left is not here: its request was not written down.
        for order in self.orders.values():
            if order.status == Status.SENT:
                order.move(Happening.LOST, at, "the process ended before the venue answered")


class RunFold:
    """Everything a report needs, from the events of a run."""

    def __init__(self) -> None:
        self.start: Start | None = None
        self.orders = OrderFold()
        self.records: list[Recorded] = []
        self.regimes: list[RegimeChanged] = []
        self.error = ""
        self.notes: list[str] = []
        self._marks: dict[str, tuple[list[int], list[float]]] = {}
        self._finest: dict[str, int] = {}

    def take(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take in an event and what it caused."""
        kind = event.__class__
        if kind is Bar:
            self._mark_bar(event)  # type: ignore[arg-type]
        elif kind is Bars:
            for bar in event.bars:  # type: ignore[union-attr]
                self._mark_bar(bar)
        elif kind is Trade:
            self._mark(event.symbol, event.ts, event.price)  # type: ignore[union-attr]
        elif kind is Quote:
            self._mark(event.symbol, event.ts, event.mid)  # type: ignore[union-attr]
        elif kind is Start and self.start is None:
            self._begin(event)  # type: ignore[arg-type]
        self.orders.take(event, outputs)
        for output in outputs:
            if isinstance(output, Recorded):
                self.records.append(output)
            elif isinstance(output, RegimeChanged):
                self.regimes.append(output)
            elif isinstance(output, StrategyChanged):
                self.notes.append(f"{output.strategy} decides from {iso(output.seen)} on")
            elif isinstance(output, Failed):
                self.error = f"{output.callback}: {output.error}"

    def _begin(self, start: Start) -> None:
        self.start = start
        for symbol, timeframe in zip(start.symbols, start.timeframes, strict=True):
            if timeframe:
                self._finest[symbol] = min(timeframe, self._finest.get(symbol, timeframe))

    def _mark_bar(self, bar: Bar) -> None:
        if bar.timeframe == self._finest.get(bar.symbol):
            self._mark(bar.symbol, bar.ts, bar.close)

    def _mark(self, symbol: str, ts: int, price: float) -> None:
        times, prices = self._marks.setdefault(symbol, ([], []))
        if times and times[-1] >= ts:
            if times[-1] == ts:
                prices[-1] = price
            return
        times.append(ts)
        prices.append(price)

    def data(self, notes: Iterable[str] = ()) -> RunData:
        """Return the run as a report takes it."""
        start = self.start
        if start is None:
            raise JournalError("the journal has no start event: nothing can be made of it")
        timezone = start.timezone or None
        return RunData(
            start=start,
            fills=self.orders.fills,
            payments=self.orders.payments,
            orders=list(self.orders.orders.values()),
            records=self.records,
            prices=[
                PriceColumns(s, np.array(ts, dtype=np.int64), np.array(p, dtype=np.float64))
                for s, (ts, p) in self._marks.items()
            ],
            timeframe=min(self._finest.values(), default=0),
            flavour=start.flavour,
            timezone=timezone,
            calendar=start.calendar,
            regimes=self.regimes,
            notes=(*notes, *self.notes),
            source_hash=start.source_sha256,
            error=self.error,
        )


def report_of(run_dir: str | Path) -> Report:
    """Return the report of a recorded run."""
    fold = RunFold()
    for _, event, outputs in events(Path(run_dir)):
        fold.take(event, outputs)
    return Report(fold.data())


def bars(run_dir: str | Path, *, warmup: bool = True) -> Any:
    """Return the bars that a recorded run saw, ready for `regimeflow.backtest`.

    Times are those at which the bars open. One series gives the columns open to volume and further
    ones that were carried; several give a long frame with ``symbol`` and ``timeframe``.

    Args:
        run_dir: the run's directory.
        warmup: whether bars from before the session are among them; then pass ``start=`` to
            `backtest` to begin where the session did.
    """
    rows: dict[tuple[str, int], list[Bar]] = {}
    start: Start | None = None
    for _, event, _ in events(Path(run_dir)):
        if isinstance(event, Bar):
            rows.setdefault((event.symbol, event.timeframe), []).append(event)
        elif isinstance(event, Bars):
            for bar in event.bars:
                rows.setdefault((bar.symbol, bar.timeframe), []).append(bar)
        elif isinstance(event, History) and warmup:
            rows.setdefault((event.symbol, event.timeframe), []).extend(event.bars())
        elif isinstance(event, Start) and start is None:
            start = event
    if start is None or not rows:
        raise JournalError(f"{run_dir} holds no bars")
    order = {symbol: place for place, symbol in reversed(list(enumerate(start.symbols)))}
    keys = sorted(rows, key=lambda key: (order.get(key[0], len(order)), key[1]))
    series = [list(_distinct(rows[key])) for key in keys]
    everything = [bar for one in series for bar in one]
    if len(series) > 1:
        everything.sort(key=lambda bar: bar.ts)
    columns: dict[str, Any] = {
        "time": np.array([bar.ts - bar.timeframe for bar in everything], dtype=np.int64)
    }
    if len(series) > 1:
        columns["symbol"] = [bar.symbol for bar in everything]
    if len({timeframe for _, timeframe in rows}) > 1:
        columns["timeframe"] = [f"{bar.timeframe}ns" for bar in everything]
    for name in BAR_FIELDS:
        columns[name] = np.array([getattr(bar, name) for bar in everything])
    extra = sorted({name for bar in everything for name in bar.features or {}})
    for name in extra:
        values = [(bar.features or {}).get(name) for bar in everything]
        columns[name] = np.array([np.nan if v is None else v for v in values])
    return frame(columns, start.flavour, start.timezone or None)


def _distinct(bars: Iterable[Bar]) -> Iterable[Bar]:
    """Return bars by close time, the last word on each."""
    return dict(sorted({bar.ts: bar for bar in bars}.items())).values()
