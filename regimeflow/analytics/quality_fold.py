"""Execution quality as a fold: the same code follows a live run and reads its journal.

Invariants, each a test:

1. it depends on events and outputs alone, so live and recomputed numbers are equal to the last bit;
2. an execution counts once, and however a fill is partitioned, the averages are the same;
3. what waits for later prices is bounded by the fills under way; bars and quotes leave nothing
   behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from regimeflow.analytics.execution_quality import (
    ExecutionQuality,
    FillQuality,
    longest_in_seconds,
)
from regimeflow.analytics.marks import Marks
from regimeflow.analytics.quality_sums import (
    Sums,
    markout,
    shortfall,
    symbol_summary,
    venue_summary,
)
from regimeflow.errors import ConfigError
from regimeflow.model.events import (
    Denied,
    Fill,
    Input,
    OrderUpdate,
    Output,
    Start,
    Submit,
    exits_of,
)
from regimeflow.model.instrument import Instruments
from regimeflow.model.market import Bar, Bars, Book, History, Quote, Trade
from regimeflow.model.timeframe import NS_PER_MS, NS_PER_SECOND

#: Venue of a fill that names none.
UNASSIGNED = "unassigned"
_FOREVER = 1e9


class QualityFold:
    """Execution quality of a run, as its events and outputs tell it.

    `take` belongs to the thread that drives the run; `result` may be called from any other.

    Args:
        seconds: horizons of markouts and realised spreads, for symbols with quotes or trades.
        bars: horizons in bars of the symbol's finest timeframe, for symbols with bars.

    Raises:
        ConfigError: a horizon that is not positive, or stands there twice.
    """

    def __init__(
        self,
        *,
        seconds: Sequence[float] = (1.0, 10.0, 60.0, 300.0),
        bars: Sequence[int] = (1, 5, 20),
    ) -> None:
        for name, horizons in (("seconds", seconds), ("bars", bars)):
            if not all(0 < h < _FOREVER for h in horizons):
                raise ConfigError(f"{name} must hold positive numbers, not {horizons!r}")
        if not all(isinstance(n, int) for n in bars):
            raise ConfigError(f"bars must hold whole numbers, not {bars!r}")
        self._after_ns = [round(s * NS_PER_SECOND) for s in seconds]
        self._after_bars = list(bars)
        self._horizons = [*(f"{s:g}s" for s in seconds), *(f"{n}bar" for n in bars)]
        if len(set(self._horizons)) < len(self._horizons):
            raise ConfigError(f"a horizon stands there twice: {', '.join(self._horizons)}")
        self._lock = threading.Lock()
        self._instruments = Instruments()
        self._finest: dict[str, int] = {}
        self._marks: dict[str, Marks] = {}
        self._orders: dict[str, _Order] = {}
        self._denied: dict[str, None] = {}
        self._booked: dict[str, None] = {}
        self._fills: list[FillQuality] = []
        self._open: dict[int, int] = {}  # place of a fill -> prices it still waits for
        self._ends: dict[str, _End] = {}  # those that wait for their price
        self._counts = dict.fromkeys(_COUNTS, 0)
        self._sums = Sums(longest_in_seconds(self._horizons))
        self._last: int | None = None
        self._flavour, self._timezone = "pandas", "UTC"
        self._handlers: dict[type, Callable[[Any], None]] = {
            Bar: self._bar,
            Bars: self._bars,
            Book: self._book,
            Fill: self._fill,
            History: self._history,
            OrderUpdate: self._update,
            Quote: self._quote,
            Start: self._start,
            Trade: self._trade,
        }

    def take(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take in an event and what it caused."""
        handle = self._handlers.get(event.__class__)
        if handle is None and not outputs:
            return
        with self._lock:
            if handle is not None:
                handle(event)
            for output in outputs:
                if output.__class__ is Submit:
                    self._submit(output)
                    for request in exits_of(output):
                        self._submit(request)
                elif output.__class__ is Denied:
                    self._deny(output)

    # ------------------------------------------------------------ the market

    def _start(self, event: Start) -> None:
        self._instruments.update((i.symbol, i) for i in event.instruments)
        for symbol, timeframe in zip(event.symbols, event.timeframes, strict=True):
            if timeframe:
                self._finest[symbol] = min(timeframe, self._finest.get(symbol, timeframe))
        self._flavour, self._timezone = event.flavour, event.timezone

    def _of(self, symbol: str) -> Marks:
        marks = self._marks.get(symbol)
        if marks is None:
            marks = self._marks[symbol] = Marks()
        return marks

    def _bar(self, bar: Bar) -> None:
        if self._finest.get(bar.symbol) == bar.timeframe:
            self._of(bar.symbol).bars.take(bar.ts, bar.close)

    def _bars(self, event: Bars) -> None:
        for bar in event.bars:
            self._bar(bar)

    def _history(self, event: History) -> None:
        if event.times and self._finest.get(event.symbol) == event.timeframe:
            self._of(event.symbol).bars.take(event.times[-1], event.close[-1])

    def _quote(self, event: Quote) -> None:
        self._of(event.symbol).quote(event.ts, event.bid, event.ask)

    def _book(self, event: Book) -> None:
        if event.bids and event.asks:
            self._of(event.symbol).quote(event.ts, event.bids[0][0], event.asks[0][0])

    def _trade(self, event: Trade) -> None:
        self._of(event.symbol).trade(event.ts, event.price)

    # ------------------------------------------------------------ orders

    def _submit(self, request: Submit) -> None:
        marks = self._of(request.symbol)
        self._last = request.seen
        self._counts["submitted"] += 1
        self._orders[request.order_id] = _Order(
            symbol=request.symbol,
            side=request.side,
            qty=request.qty,
            limit=request.limit,
            stop=request.stop,
            sent=request.seen,
            arrival_mid=marks.best.last,
            quoted=marks.quoted,
        )

    def _deny(self, note: Denied) -> None:
        # A change that was denied carries the id of an order that left long ago.
        if note.order_id in self._orders or note.order_id in self._denied:
            return
        self._denied[note.order_id] = None
        self._last = note.seen
        self._counts["submitted"] += 1
        self._counts["submit_rejected"] += 1

    def _update(self, event: OrderUpdate) -> None:
        order = self._orders.get(event.order_id)
        if order is None:
            return
        self._last = event.seen
        if event.metadata:
            order.queue_position = event.metadata.get("queue_position", order.queue_position)
            order.expected_ms = event.metadata.get("expected_queue_delay_ms", order.expected_ms)
        what = event.what
        if what == "accepted":
            self._acknowledge(order, event.ts, event.seen)
        elif what == "replaced":
            order.qty = order.qty if event.qty is None else event.qty
            order.limit = order.limit if event.limit is None else event.limit
            order.stop = order.stop if event.stop is None else event.stop
        elif what == "lost":
            self._count_once(order, "errored")
        elif what in _ENDS and not (order.over or order.filled_up):
            order.over = True
            self._counts[_ENDS[what]] += 1
            self._end(event.order_id, order, event.ts)

    def _count_once(self, order: _Order, what: str) -> None:
        if what not in order.counted:
            order.counted = (*order.counted, what)
            self._counts[what] += 1

    def _acknowledge(self, order: _Order, ts: int, seen: int) -> None:
        if order.acknowledged:
            return
        self._count_once(order, "acknowledged")
        order.acknowledged = True
        order.arrived = ts
        order.ack_ms = (seen - order.sent) / NS_PER_MS
        self._sums.add_ack(order.symbol, order.ack_ms, order.qty)
        best = self._marks[order.symbol].best
        order.venue_mid, order.venue_settled = best.at(ts, partial(_arrived, order))

    def _end(self, order_id: str, order: _Order, ts: int) -> None:
        """What is left unfilled at an order's end is an opportunity missed, or a loss avoided."""
        rules = self._instruments[order.symbol]
        left = rules.snap_qty(order.qty - order.filled)
        if left <= 0.0 or order.arrival_mid is None:
            return
        end = order.end = _End(order.symbol, order.side, order.arrival_mid, rules.multiplier, left)
        best = self._marks[order.symbol].best
        end.price, end.settled = best.at(ts, partial(self._ended, order_id))
        if end.settled:
            end.add_to(self._sums, left)
        else:
            self._ends[order_id] = end

    def _ended(self, order_id: str, price: float | None) -> None:
        end = self._ends.pop(order_id)
        end.price, end.settled = price, True
        end.add_to(self._sums, end.left)

    # ------------------------------------------------------------ fills

    def _fill(self, event: Fill) -> None:
        if event.execution_id in self._booked:
            return
        self._booked[event.execution_id] = None
        self._last = event.seen
        place = len(self._fills)
        row = FillQuality(
            time=event.executed_at or event.ts,
            execution_id=event.execution_id,
            order_id=event.order_id,
            symbol=event.symbol,
            side=event.side,
            qty=event.qty,
            price=event.price,
            fee=event.fee,
            liquidity=event.liquidity,
            venue=event.venue or UNASSIGNED,
            multiplier=self._instruments[event.symbol].multiplier,
        )
        order, waits = self._orders.get(event.order_id), 0
        if order is not None:
            row, waits = self._of_order(row, order, event, place)
            self._grow(order, event)
        row, more = self._marked(row, place)
        self._fills.append(row)
        if waits + more:
            self._open[place] = waits + more
        else:
            self._sums.add_fill(row)

    def _of_order(
        self, row: FillQuality, order: _Order, event: Fill, place: int
    ) -> tuple[FillQuality, int]:
        """Return the fill as one of its order, and how many prices it waits for."""
        # A fill that overtakes the acknowledgement is one.
        self._acknowledge(order, row.time, event.seen)
        venue_mid, settled = order.venue_mid, order.venue_settled
        if not settled:
            best = self._marks[order.symbol].best
            venue_mid, settled = best.at(order.arrived, partial(self._settled, place, -1))
        reference = order.limit if order.limit is not None else order.stop
        fill_ms = (event.seen - order.sent) / NS_PER_MS
        expected = order.expected_ms
        row = msgspec.structs.replace(
            row,
            reference=order.arrival_mid if reference is None else reference,
            arrival_mid=order.arrival_mid,
            quoted=order.quoted,
            venue_mid=venue_mid,
            ack_latency_ms=order.ack_ms,
            fill_latency_ms=fill_ms,
            execution_latency_ms=(row.time - order.sent) / NS_PER_MS,
            queue_position=order.queue_position,
            queue_delay_error_ms=None if expected is None else fill_ms - expected,
        )
        return row, int(not settled)

    def _grow(self, order: _Order, event: Fill) -> None:
        """Add an execution to its order, whatever the order's state."""
        order.filled = self._instruments[order.symbol].snap_qty(order.filled + event.executed)
        if order.filled >= order.qty:
            order.filled_up = True
            self._count_once(order, "filled")
        else:
            self._count_once(order, "partially_filled")
        end = order.end
        if end is not None and end.left > 0.0:
            # Told after the order's end: so much less was missed.
            late = min(event.executed, end.left)
            end.left -= late
            if end.settled:
                end.add_to(self._sums, -late)

    def _marked(self, row: FillQuality, place: int) -> tuple[FillQuality, int]:
        """Return the fill with the prices at its horizons, and how many are still to come."""
        of = self._of(row.symbol)
        values: list[float | None] = []
        waits = 0
        for slot, after in enumerate(self._after_ns):
            then = partial(self._settled, place, slot)
            price, settled = of.ticks.at(row.time + after, then)
            values.append(price if settled else None)
            waits += not settled
        for slot, steps in enumerate(self._after_bars, len(values)):
            price, settled = None, True
            if row.symbol in self._finest:
                price, settled = of.bars.later(row.time, steps, partial(self._settled, place, slot))
            values.append(price if settled else None)
            waits += not settled
        return msgspec.structs.replace(row, marks=tuple(values)), waits

    def _settled(self, place: int, slot: int, price: float | None) -> None:
        """Put in a price that a fill has waited for; slot -1 is the one at the venue."""
        row = self._fills[place]
        if slot < 0:
            row = msgspec.structs.replace(row, venue_mid=price)
        else:
            marks = (*row.marks[:slot], price, *row.marks[slot + 1 :])
            row = msgspec.structs.replace(row, marks=marks)
        self._fills[place] = row
        self._open[place] -= 1
        if not self._open[place]:
            del self._open[place]
            self._sums.add_fill(row)

    # ------------------------------------------------------------ the result

    def since(self, place: int) -> Sequence[FillQuality]:
        """Return the executions from a place on, in the order they were told; from any thread."""
        with self._lock:
            return self._fills[place:]

    def result(self) -> ExecutionQuality:
        """Return execution quality up to now; from any thread."""
        with self._lock:
            sums, counts, last = self._sums.copy(), dict(self._counts), self._last
            fills, places = tuple(self._fills), tuple(self._open)
            ends = [msgspec.structs.replace(end) for end in self._ends.values()]
        # What waits for a price stands at the newest one; a horizon not reached is left out.
        for place in places:
            sums.add_fill(fills[place])
        for end in ends:
            end.add_to(sums, end.left)
        rejected = counts["submit_rejected"] + counts["broker_rejected"]
        every = sums.all
        return ExecutionQuality(
            **counts,
            **{field: every.mean(name) for field, name in _AVERAGES.items()},  # type: ignore[arg-type]
            slippage_observations=every.count("slippage_bps"),
            spread_observations=every.count("effective_spread_bps"),
            queue_observations=every.count("queued"),
            rejection_rate=rejected / counts["submitted"] if counts["submitted"] else None,
            venue_summaries=tuple(venue_summary(*item) for item in sorted(sums.venues.items())),
            last_timestamp=last,
            quantity=every.total("quantity"),
            fees=every.total("fees"),
            slippage_money=every.total("slippage_money"),
            shortfall=shortfall(every),
            markouts=tuple(markout(name, k, every) for k, name in enumerate(self._horizons)),
            symbol_summaries=tuple(symbol_summary(*item) for item in sorted(sums.symbols.items())),
            fills=fills,
            flavour=self._flavour,
            timezone=self._timezone or None,
        )


_COUNTS = (
    "submitted", "submit_rejected", "acknowledged", "partially_filled", "filled", "cancelled",
    "broker_rejected", "errored", "expired",
)  # fmt: skip
#: What the venue says -> what is counted.
_ENDS = {
    "canceled": "cancelled",
    "expired": "expired",
    "rejected": "broker_rejected",
    "never_sent": "submit_rejected",
}
#: Field -> the sum it is the mean of.
_AVERAGES = {
    "average_ack_latency_ms": "ack_latency_ms",
    "average_fill_latency_ms": "fill_latency_ms",
    "average_execution_latency_ms": "execution_latency_ms",
    "average_signed_slippage_bps": "slippage_bps",
    "average_absolute_slippage_bps": "absolute_slippage_bps",
    "average_arrival_slippage_bps": "arrival_slippage_bps",
    "average_effective_spread_bps": "effective_spread_bps",
    "average_realised_spread_bps": "realised_spread_bps",
    "average_delay_bps": "delay_bps",
    "average_queue_position": "queue_position",
    "average_queue_delay_error_ms": "queue_delay_error_ms",
}


class _Order(msgspec.Struct, eq=False, gc=False):
    """What is needed of one order. ``venue_mid`` is final once ``venue_settled``."""

    symbol: str
    side: str
    qty: float
    limit: float | None
    stop: float | None
    sent: int
    arrival_mid: float | None
    quoted: bool
    filled: float = 0.0
    filled_up: bool = False
    over: bool = False
    counted: tuple[str, ...] = ()
    acknowledged: bool = False
    arrived: int = 0
    ack_ms: float | None = None
    venue_mid: float | None = None
    venue_settled: bool = False
    queue_position: float | None = None
    expected_ms: float | None = None
    end: _End | None = None

    @property
    def settled(self) -> bool:
        """Whether it is over, and waits for no price any more."""
        return (
            (self.over or self.filled_up)
            and (self.venue_settled or not self.acknowledged)
            and (self.end is None or self.end.settled)
        )


class _End(msgspec.Struct, eq=False, gc=False):
    """An order that ended with ``left`` units unfilled, and the price then."""

    symbol: str
    side: str
    decided_at: float
    multiplier: float
    left: float
    price: float | None = None
    settled: bool = False

    def add_to(self, sums: Sums, qty: float) -> None:
        """Add what so many of the units have missed."""
        if self.price is None:
            return  # nobody knows what it would have cost
        moved = self.price - self.decided_at
        lost = moved if self.side == "buy" else -moved
        size = self.multiplier
        sums.add_unfilled(self.symbol, qty, lost * size, self.decided_at * size)


def _arrived(order: _Order, price: float | None) -> None:
    order.venue_mid, order.venue_settled = price, True
