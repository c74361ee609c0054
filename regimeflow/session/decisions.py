"""What a run decided, was told and suffered: one entry each, linked to its cause in the journal.

A pure fold over events and outputs. The audit log writes its entries down, the metrics count them,
so the two agree because they are the same entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from regimeflow.model.events import (
    Adjusted,
    Cancel,
    Command,
    Connection,
    Failed,
    Feed,
    Fill,
    Gap,
    Input,
    OrderUpdate,
    Output,
    Reconciled,
    Replace,
    Resumed,
    Rules,
    Start,
    StateChanged,
    Submit,
    exits_of,
)
from regimeflow.model.instrument import Instruments
from regimeflow.model.ledger import Ledger
from regimeflow.model.order import MOVES, TERMINAL, TOLD, Happening, Status
from regimeflow.session.sayings import SAYINGS, number, picked, prices, set_limits

#: The types of an audit log's entries: first those of the C++ RegimeFlow, each for one thing only,
#: so that lines of a type can be counted; then ours, for what would be counted with them.
TYPES = (
    "OrderSubmitted",
    "OrderAcknowledged",
    "OrderFilled",
    "OrderCancelled",
    "OrderRejected",
    "DryRunOrder",
    "PositionOpened",
    "PositionClosed",
    "RegimeChange",
    "RiskLimitBreached",
    "SystemStart",
    "SystemStop",
    "Error",
    "OrderCancelRequested",
    "OrderCancelRejected",
    "OrderReplaceRequested",
    "OrderReplaced",
    "OrderReplaceRejected",
    "OrderExpired",
    "Payment",
    "Command",
    "TradingState",
    "StrategyUpgrade",
    "VenueState",
)

#: What a venue says of an order -> the nearest type, and the sentence.
_SAID = {
    "accepted": ("OrderAcknowledged", "accepted"),
    "rejected": ("OrderRejected", "rejected by the venue"),
    "canceled": ("OrderCancelled", "canceled"),
    "expired": ("OrderExpired", "expired"),
    "lost": ("Error", "unknown: the venue has not said what became of it"),
    "replaced": ("OrderReplaced", "changed"),
    "cancel_rejected": ("OrderCancelRejected", "the cancel was refused, the order stands"),
    "replace_rejected": ("OrderReplaceRejected", "the change was refused, the order stands"),
    "never_sent": ("OrderRejected", "never left"),
}
#: They leave the order's state as it is, so each time they are said is news.
_ASIDE = frozenset({"replaced", "cancel_rejected", "replace_rejected"})
#: Who commands where a session is left alone by whoever controlled it.
KERNEL_LOSS = "kernel loss"
#: A change of the trading state that one of these causes is a fault, not a limit.
_FAULTS = frozenset({Connection, Feed, Gap, Reconciled, Rules, OrderUpdate, Fill})


class Decision(msgspec.Struct, frozen=True):
    """One entry.

    Attributes:
        at: when the event that caused it was let in, UTC nanoseconds.
        epoch, seq: which start of the run, and the number of that event in its journal.
        type: one of `TYPES`.
        what: what it is more exactly, such as "submit", "partly_filled", "expired", "denied".
        details: a sentence for a reader.
        metadata: the same for a program.
    """

    at: int
    epoch: int
    seq: int
    type: str
    what: str
    details: str
    metadata: dict[str, Any]


def not_begun(at: int, why: str) -> Decision:
    """Return the entry that says why a run has not begun: it stands before all of its events."""
    return Decision(at, 0, 0, "Error", "connecting", f"the run has not begun: {why}", {})


class KnownOrder(msgspec.Struct, gc=False):
    """As much of an order as is needed to say what happened to it.

    ``counted`` is for whoever counts orders: under which names this one was.
    """

    symbol: str
    side: str
    qty: float
    status: str = Status.SENT
    filled: float = 0.0
    acknowledged: bool = False
    counted: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.side} {number(self.qty)} {self.symbol}"


class Decisions:
    """Makes entries of events and outputs.

    Attributes:
        run, epoch: name of the run, and how often it was started before.
        seq: number of the last event.
        orders: client order id -> what is known of it.
        unknown: ids of orders whose fate the venue has not told -> since when, UTC nanoseconds.
        working: ids of orders that can still fill.
        ledger: cash and positions.
    """

    def __init__(self) -> None:
        self.run = ""
        self.epoch = 0
        self.seq = 0
        self.orders: dict[str, KnownOrder] = {}
        self.unknown: dict[str, int] = {}
        self.working: set[str] = set()
        self._at = 0
        self._entries: list[Decision] = []
        self.ledger = Ledger(0.0, Instruments())
        self._executions: dict[str, None] = {}
        self._realized: dict[str, float] = {}
        self._agreed: dict[str, tuple[Any, ...]] = {}
        self._fault = self._commanded = False
        self._who = ""
        self._handlers: dict[type, Callable[[Any], None]] = {
            **dict.fromkeys(SAYINGS, self._simply),
            Start: self._start,
            Resumed: self._resumed,
            Submit: self._submit,
            Cancel: self._cancel,
            Replace: self._replace,
            OrderUpdate: self._order_update,
            Fill: self._fill,
            Adjusted: self._adjusted,
            Rules: self._rules,
            Reconciled: self._reconciled,
            StateChanged: self._state,
        }

    def take(self, event: Input, outputs: Sequence[Output]) -> Sequence[Decision]:
        """Return the entries that an event and its outputs make."""
        self.seq += 1
        kind = event.__class__
        handler = self._handlers.get(kind)
        if handler is None and not outputs:
            return ()
        self._at, self._entries = event.seen, []
        self._commanded = isinstance(event, Command)
        self._who = event.who if isinstance(event, Command) else ""
        self._fault = kind in _FAULTS or self._who == KERNEL_LOSS
        if handler is not None:
            handler(event)
        for output in outputs:
            handler = self._handlers.get(output.__class__)
            if handler is not None:
                self._fault |= output.__class__ is Failed
                handler(output)
        return self._entries

    def _say(self, type_: str, what: str, details: str, **metadata: Any) -> None:
        self._entries.append(
            Decision(self._at, self.epoch, self.seq, type_, what, details, metadata)
        )

    def _simply(self, thing: Input | Output) -> None:
        """Say what needs no memory."""
        self._entries.append(
            Decision(self._at, self.epoch, self.seq, *SAYINGS[thing.__class__](thing))
        )

    # ------------------------------------------------------------ the run

    def _start(self, start: Start) -> None:
        self.run, self.epoch = start.run, start.epoch
        self.ledger = Ledger.of(start)
        self._simply(start)

    def _resumed(self, event: Resumed) -> None:
        self.epoch = event.epoch
        why = f": {event.why}" if event.why else ""
        limits = {} if event.limits is None else {"limits": set_limits(event.limits)}
        self._say(
            "SystemStart",
            "resumed",
            f"the run goes on, started for the {event.epoch + 1}. time{why}",
            never_sent=event.never_sent,
            **limits,
        )
        for order_id in event.never_sent:
            self._tell(order_id, "never_sent", "the process ended before it was written down")
        for order_id, order in self.orders.items():
            if order.status == Status.SENT:
                self._tell(order_id, "lost", "the process ended before the venue answered")

    def _state(self, note: StateChanged) -> None:
        whose = f" of {note.symbol}" if note.symbol else ""
        by = f" (by {self._who})" if self._who else ""
        if note.after == "active":
            type_ = "TradingState"
        elif self._fault:
            type_ = "Error"
        else:  # a human's word is no limit's doing
            type_ = "TradingState" if self._commanded else "RiskLimitBreached"
        self._say(
            type_,
            "state_changed",
            f"trading{whose} {note.before} -> {note.after}: {note.why}{by}",
            **picked(note, "before", "after", "symbol", "why"),
            who=self._who,
        )

    # ------------------------------------------------------------ orders

    def _submit(self, request: Submit) -> None:
        self._submit_one(request)
        for exit_ in exits_of(request):
            self._submit_one(exit_)

    def _submit_one(self, request: Submit) -> None:
        order = KnownOrder(request.symbol, request.side, request.qty)
        self.orders[request.order_id] = order
        self.working.add(request.order_id)
        self._simply(request)

    def _cancel(self, request: Cancel) -> None:
        self._say(
            "OrderCancelRequested",
            "cancel",
            f"{self._name(request.order_id)}: cancel asked",
            **self._about(request.order_id),
        )

    def _replace(self, request: Replace) -> None:
        self._say(
            "OrderReplaceRequested",
            "replace",
            f"{self._name(request.order_id)}: change asked to {number(request.qty)}"
            f"{prices(request)}",
            **self._about(request.order_id),
            **picked(request, "qty", "limit", "stop"),
        )

    def _order_update(self, event: OrderUpdate) -> None:
        more = {
            name: value
            for name in ("venue_order_id", "qty", "limit", "stop")
            if (value := getattr(event, name)) not in (None, "")
        }
        self._tell(event.order_id, event.what, event.reason, **more)

    def _tell(self, order_id: str, what: str, reason: str, **more: Any) -> None:
        """Say what became of an order, unless it was said before."""
        order = self.orders.get(order_id)
        type_, sentence = _SAID.get(what, ("Error", f"the venue says {what!r}"))
        if order is not None and what not in _ASIDE:
            happening = Happening.DENIED if what == "never_sent" else TOLD.get(what, what)
            after = MOVES.get((order.status, happening))
            news = after != order.status or (what == "accepted" and not order.acknowledged)
            if after is None:
                type_, what = "Error", "contradiction"
                sentence = f"the venue says {happening}, which cannot be: it is {order.status}"
            elif not news:
                return
            else:
                order.acknowledged |= what == "accepted"
                self._move(order_id, order, after)
        elif order is not None and more.get("qty") is not None:
            order.qty = more["qty"]
        why = f" ({reason})" if reason else ""
        about = {**self._about(order_id), **more, "reason": reason}
        self._say(type_, what, f"{self._name(order_id)}: {sentence}{why}", **about)

    def _move(self, order_id: str, order: KnownOrder, after: str) -> None:
        order.status = after
        if after in TERMINAL:
            self.working.discard(order_id)
        if after == Status.UNKNOWN:
            self.unknown.setdefault(order_id, self._at)
        else:
            self.unknown.pop(order_id, None)

    def _name(self, order_id: str) -> str:
        order = self.orders.get(order_id)
        return f"order {order_id}" if order is None else f"{order} ({order_id})"

    def _about(self, order_id: str) -> dict[str, Any]:
        order = self.orders.get(order_id)
        symbol = "" if order is None else order.symbol
        return {"order_id": order_id, "symbol": symbol}

    # ------------------------------------------------------------ fills and positions

    def _fill(self, fill: Fill) -> None:
        if fill.execution_id in self._executions:
            return  # told before
        self._executions[fill.execution_id] = None
        what, of, note = self._filled(fill)
        self._say(
            "OrderFilled",
            what,
            f"{fill.side} {number(fill.qty)}{of} {fill.symbol} at {number(fill.price)}, "
            f"fee {number(fill.fee)}{note}",
            **picked(fill, "order_id", "execution_id", "symbol", "side", "qty", "price", "fee"),
            **picked(fill, "liquidity", "venue"),
            executed_at=fill.executed_at or fill.ts,
        )
        signed = fill.qty if fill.side == "buy" else -fill.qty
        before = self.ledger.position(fill.symbol).qty
        self.ledger.book(fill.symbol, signed, fill.price, fill.fee)
        self._moved(fill.symbol, before, fill.price)

    def _filled(self, fill: Fill) -> tuple[str, str, str]:
        """Move the order; return what happened, of how much, and what is odd about it."""
        order = self.orders.get(fill.order_id)
        if order is None:
            return "unordered", "", ", without an order of ours"
        rules = self.ledger.position(fill.symbol).instrument
        order.filled = rules.snap_qty(order.filled + fill.executed)
        whole = order.filled >= order.qty
        happening = Happening.FILLED if whole else Happening.PARTLY_FILLED
        after = MOVES.get((order.status, happening), order.status)
        note = ", more than was ordered" if order.filled > order.qty + 1e-12 else ""
        if not note and order.status in TERMINAL:
            note = f", after it was {order.status}"
        self._move(fill.order_id, order, after)
        return happening, f" of {number(order.qty)}", note

    def _adjusted(self, event: Adjusted) -> None:
        self._simply(event)
        if event.payment_id:
            self.ledger.adjust(event.symbol, 0.0, 0.0, event.cash)
            return
        before = self.ledger.position(event.symbol).qty
        self.ledger.adjust(event.symbol, event.qty, event.price, event.cash)
        self._moved(event.symbol, before, event.price)

    def _moved(self, symbol: str, before: float, price: float) -> None:
        """Say whether a position was closed, opened or both."""
        position = self.ledger.position(symbol)
        after = position.qty
        if before and (not after or before * after < 0.0):
            profit = position.realized - self._realized.pop(symbol, 0.0)
            self._say(
                "PositionClosed",
                "position_closed",
                f"{number(before)} {symbol} closed at {number(price)}, {profit:+.2f} before fees",
                symbol=symbol,
                qty=before,
                price=price,
                profit=profit,
            )
        if after and (not before or before * after < 0.0):
            self._realized[symbol] = position.realized
            self._say(
                "PositionOpened",
                "position_opened",
                f"{number(after)} {symbol} opened at {number(price)}",
                symbol=symbol,
                qty=after,
                price=price,
            )

    # ------------------------------------------------------------ the venue

    def _reconciled(self, event: Reconciled) -> None:
        """Say what comparing the books found, where it is not what it found the last time."""
        found = (event.ok, event.why, event.unmatched, event.foreign_orders, event.foreign)
        if self._agreed.get(event.what) == found:
            return
        self._agreed[event.what] = found
        wrong = []
        if not event.ok:
            wrong.append("the venue did not answer")
        if event.unmatched:
            wrong.append(f"no event explains {', '.join(event.unmatched)}")
        if event.foreign_orders:
            wrong.append(f"orders not ours: {', '.join(event.foreign_orders)}")
        if event.foreign:
            wrong.append(f"positions not ours in {', '.join(event.foreign)}")
        said = "; ".join(wrong) or "they agree"
        self._say(
            "Error" if wrong else "VenueState",
            "reconciled",
            f"books compared with the venue ({event.what}): {said}"
            f"{f' ({event.why})' if event.why else ''}",
            ok=event.ok,
            asked=event.what,
            **picked(event, "why", "unmatched", "foreign_orders", "foreign"),
        )

    def _rules(self, event: Rules) -> None:
        rules = event.instrument
        self.ledger.position(rules.symbol).follow(rules)
        self._simply(event)
