"""A recorded run once more, with shadow and twin beside it: what drift and parity are made of."""

from __future__ import annotations

import functools
import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from regimeflow.engine.engine import Engine
from regimeflow.engine.strategy import Strategy, as_strategy
from regimeflow.errors import JournalError
from regimeflow.journal import events
from regimeflow.model.events import (
    Adjusted,
    Cancel,
    Command,
    EndOfDay,
    Fill,
    Finish,
    Input,
    OrderUpdate,
    Output,
    Replace,
    Resumed,
    Start,
    Submit,
    Upgraded,
    exits_of,
)
from regimeflow.model.ledger import Ledger
from regimeflow.model.market import Bar, Bars, Book, Quote, Trade
from regimeflow.model.models import Latency, Limits, Model
from regimeflow.model.order import Order
from regimeflow.session import freeze
from regimeflow.session.companions import (
    Anchor,
    Shadow,
    Twin,
    again,
    anchor_of,
    changed,
    kept,
    rolling_history,
    towards,
)
from regimeflow.session.recorded import OrderFold
from regimeflow.venues.matching import Matcher

_STEPPED: frozenset[type] = frozenset({Bar, Bars, Trade, Quote, Book, EndOfDay, Finish})
_REQUESTS = (Submit, Cancel, Replace)


def with_changes(
    recorded: Iterable[tuple[int, Input, Sequence[Output]]],
) -> Iterator[Input]:
    """Yield inputs, with each upgrade right before the event with which the strategy changed."""
    asked: Upgraded | None = None
    for _, event, outputs in recorded:
        if isinstance(event, Upgraded):
            asked = event
            continue
        if asked is not None and changed(outputs):
            yield asked
        yield event


class Survey:
    """What must be known of a recorded run before it is run again.

    Attributes:
        start: its first event.
        matched_on: as in `Matcher`: quotes where there were some, else trades, else finest bars.
        arrivals: for each order request, in order, when the venue had it; None where it never said.
        orders: orders and fills, each execution once.
        adjusted: changes of position that no fill explains, as if they had been fills.
        first, last: when the first and last market event happened, UTC nanoseconds.
    """

    def __init__(self, run_dir: Path) -> None:
        self.matched_on: dict[str, str | int] = {}
        self.arrivals: list[int | None] = []
        self.orders = OrderFold()
        self.adjusted: list[Fill] = []
        self.first = self.last = 0
        self._asked: dict[tuple[str, str], deque[int]] = {}
        start: Start | None = None
        for _, event, outputs in events(run_dir):
            if start is None:
                if not isinstance(event, Start):
                    break
                start = event
                self._finest(event)
            self._take(event, outputs)
        if start is None:
            raise JournalError(
                f"{run_dir} does not begin with a start event: it cannot be run again"
            )
        self.start = start

    def _finest(self, start: Start) -> None:
        for symbol, timeframe in zip(start.symbols, start.timeframes, strict=True):
            known = self.matched_on.get(symbol)
            if timeframe and (known is None or timeframe < int(known)):
                self.matched_on[symbol] = timeframe

    def _take(self, event: Input, outputs: Sequence[Output]) -> None:
        if isinstance(event, Bar | Bars | Trade | Quote | Book):
            self.first = self.first or event.ts
            self.last = max(self.last, event.ts)
            if isinstance(event, Quote):
                self.matched_on[event.symbol] = "quote"
            elif isinstance(event, Trade) and self.matched_on.get(event.symbol) != "quote":
                self.matched_on[event.symbol] = "trade"
        elif isinstance(event, OrderUpdate):
            kind = _ANSWERS.get(event.what)
            if kind is not None:
                self._answered(kind, event.order_id, event.ts)
        elif isinstance(event, Fill):
            # A venue may fill at once and never acknowledge.
            self._answered("submit", event.order_id, event.executed_at or event.ts)
        elif isinstance(event, Adjusted) and event.qty:
            self._adjust(event)
        self.orders.take(event, outputs)
        for output in outputs:
            if isinstance(output, _REQUESTS):
                kind = str(output.__struct_config__.tag)
                self._asked.setdefault((kind, output.order_id), deque()).append(len(self.arrivals))
                self.arrivals.append(None)

    def _adjust(self, event: Adjusted) -> None:
        self.adjusted.append(as_fill(event, f"adjusted-{len(self.adjusted) + 1}"))

    def _answered(self, kind: str, order_id: str, ts: int) -> None:
        asked = self._asked.get((kind, order_id))
        if asked:
            self.arrivals[asked.popleft()] = ts


_ANSWERS = {
    "accepted": "submit",
    "rejected": "submit",
    "canceled": "cancel",
    "cancel_rejected": "cancel",
    "replaced": "replace",
    "replace_rejected": "replace",
}


def as_fill(event: Adjusted, name: str) -> Fill:
    """Return a change of position that no fill explains, as if it had been one."""
    side = "buy" if event.qty > 0 else "sell"
    qty = abs(event.qty)
    return Fill(event.ts, event.seen, name, name, event.symbol, side, qty, event.price)


class LateShadow:
    """The run's own requests filled by the models, each arriving when the venue had it.

    Args:
        model: the baseline's assumptions; its order latency stands in where the venue never said.
        books: of the run, which follow before it.
        matched_on: as in `Matcher`.
        arrivals: as in `Survey`.

    Attributes:
        anchored: as in `Shadow`.
    """

    def __init__(
        self,
        model: Model,
        books: Books,
        matched_on: dict[str, str | int],
        arrivals: Sequence[int | None],
    ) -> None:
        self.anchored: list[Fill] = []
        self._books = books
        self._adjusted: list[Fill] = []
        at_once = Latency(data_ms=model.latency.data_ms)
        self._matcher = Matcher(
            msgspec.structs.replace(model, latency=at_once), books.instruments, matched_on, "late"
        )
        self._order_ns = model.latency.order_ns
        self._arrivals = iter(arrivals)
        self._under_way: list[tuple[int, int, Submit | Cancel | Replace, Input]] = []
        self._count = 0

    @property
    def fills(self) -> list[Fill]:
        """Executions as they should have been."""
        return self._matcher.fills

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Fill what had arrived before this event, then take what it made the run send."""
        matcher = self._matcher
        stepped = event.__class__ in _STEPPED
        if stepped:
            self._hand_over(event.ts)
            while matcher.busy and matcher.due(event):
                pass
            matcher.current = event
        elif isinstance(event, Adjusted) and event.qty:
            self._adjusted.append(as_fill(event, "adjusted"))
        if outputs and changed(outputs):
            self._anchor(event, anchor_of(self._books, outputs))
        for output in outputs:
            if isinstance(output, _REQUESTS):
                self._send(output)
        if stepped and matcher.fills_at_close:
            self._hand_over(event.ts)
            if matcher.busy:
                for _ in matcher.at_once(event):
                    pass

    def _anchor(self, event: Input, anchor: Anchor) -> None:
        """Be set to what the run has, as the shadow is."""
        left, start, matcher = anchor.remaining, self._books.start, self._matcher
        matcher.keep(kept(left))
        waits = [entry for entry in self._under_way if entry[2].order_id in left]
        self._under_way = waits
        heapq.heapify(self._under_way)
        there = {request.order_id for _, _, request, _ in waits}
        orders = self._books.desk.orders
        missing = [i for i in left if i not in there and not matcher.has(i)]
        matcher.send(again(orders, left, missing, event.seen))
        held = {} if start is None else {s: units for s, (units, _) in start.positions.items()}
        for fill in (*matcher.fills, *self._adjusted, *self.anchored):
            sign = 1.0 if fill.side == "buy" else -1.0
            rules = self._books.instruments[fill.symbol]
            held[fill.symbol] = rules.snap_qty(held.get(fill.symbol, 0.0) + sign * fill.qty)
        aim = anchor.ledger.snapshot()
        self.anchored += towards(held, aim, self._books.price, event)

    def _send(self, request: Submit | Cancel | Replace) -> None:
        told = next(self._arrivals)
        # A venue's clock may be behind ours: nothing arrives before it was sent.
        at = request.seen + self._order_ns if told is None else max(told, request.seen)
        self._count += 1
        moved = msgspec.structs.replace(request, seen=at)
        heapq.heappush(self._under_way, (at, self._count, moved, self._matcher.current))

    def _hand_over(self, until: int) -> None:
        matcher = self._matcher
        while self._under_way and self._under_way[0][0] <= until:
            _, _, request, cause = heapq.heappop(self._under_way)
            now, matcher.current = matcher.current, cause
            matcher.send((request,))
            matcher.current = now


class Books(Engine):
    """The books of a recorded run: an engine in which nobody decides.

    It is told what was recorded, inputs and orders, so that its ledger and last prices are those of
    the run whatever the strategy would decide today.
    """

    def __init__(self, start: Start) -> None:
        nobody = Strategy()
        super().__init__(nobody, rolling_history(nobody, start))

    def take(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take in an event and what the run sent because of it."""
        if isinstance(event, Command | Upgraded):
            return  # what came of it is recorded: cancels, exits and their fills
        # A limit that is reached would make an engine act on its own.
        if isinstance(event, Start):
            event = msgspec.structs.replace(event, limits=Limits())
        elif isinstance(event, Resumed):
            event = msgspec.structs.replace(event, limits=None)
        self.step(event)
        for output in outputs:
            for request in (output, *exits_of(output)) if isinstance(output, Submit) else ():
                order = Order.of(request)
                self.desk.orders[order.id] = order
                self.desk.working.setdefault(order.symbol, {})[order.id] = order
                if order.parent:
                    self.desk.exits.setdefault(order.symbol, {})[order.id] = order
            if isinstance(output, Cancel | Replace) and output.order_id in self.desk.orders:
                self.desk.orders[output.order_id].on_request(output)


class Rerun:
    """A recorded run once more: its books, and shadow and twin under a model.

    Args:
        run_dir: the run's directory.
        model: assumptions of shadow and twin; those of the run without it.
        strategy: what the twin runs, up to the first upgrade; the one frozen with the run without
            it.
        limits: of the twin; the run's without it.
    """

    def __init__(
        self,
        run_dir: Path,
        model: Model | None = None,
        strategy: Any = None,
        limits: Limits | None = None,
    ) -> None:
        self.run_dir = run_dir
        self.survey = Survey(run_dir)
        self.start = self.survey.start
        self.model = model or self.start.model
        self._given = strategy
        self._limits = limits
        self.books = Books(self.start)
        self.shadow = Shadow(self.books, self.model, self.survey.matched_on)
        #: What the run had whenever its strategy changed.
        self.anchors: list[Anchor] = []
        self.twin = self.new_twin(self._anchor)

    def load(self) -> Strategy:
        """Return a strategy of its own, shared with no other engine."""
        if self._given is None:
            return freeze.load_frozen(self.run_dir, self.start.frozen_sha256)
        return freeze.thaw(freeze.freeze(as_strategy(self._given)))

    def _anchor(self, outputs: Sequence[Output]) -> Anchor:
        now = anchor_of(self.books, outputs)
        kept = Ledger(0.0, self.books.instruments)
        kept.become(now.ledger)
        self.anchors.append(msgspec.structs.replace(now, ledger=kept))
        return now

    def new_twin(self, anchor: Callable[[Sequence[Output]], Anchor] | None = None) -> Twin:
        """Return a twin that has not begun.

        Args:
            anchor: what the run has when its strategy changes; without it what `anchors` says.
        """
        recorded = iter(self.anchors)
        return Twin(
            self.load(),
            self.start,
            self.model,
            self.survey.matched_on,
            anchor or (lambda _: next(recorded)),
            functools.partial(freeze.load_upgrade, self.run_dir),
        )

    def for_twin(self, event: Input) -> Input:
        """Return an event as a twin gets it: its start has the limits it decides under."""
        if isinstance(event, Start) and self._limits is not None:
            return msgspec.structs.replace(event, limits=self._limits)
        return event

    def events(self) -> Iterator[tuple[Input, list[Output]]]:
        """Yield recorded events and outputs, after all three have taken each."""
        for _, event, outputs in events(self.run_dir):
            self.books.take(event, outputs)
            self.shadow.follow(event, outputs)
            self.twin.follow(self.for_twin(event), outputs)
            yield event, outputs
