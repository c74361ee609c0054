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
    Denied,
    Failed,
    Feed,
    Fill,
    Finish,
    Gap,
    Input,
    OrderUpdate,
    Output,
    Reconciled,
    RegimeChanged,
    Replace,
    Resumed,
    Rules,
    Start,
    StateChanged,
    StrategyChanged,
    Submit,
    Upgraded,
    exits_of,
)
from regimeflow.model.instrument import Instruments
from regimeflow.model.ledger import Ledger
from regimeflow.model.models import Limits
from regimeflow.model.order import MOVES, TERMINAL, TOLD, Happening, Status

#: The types of an audit log's entries.
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
)

#: What a venue says of an order -> the nearest type, and the sentence.
_SAID = {
    "accepted": ("OrderAcknowledged", "accepted"),
    "rejected": ("OrderRejected", "rejected by the venue"),
    "canceled": ("OrderCancelled", "canceled"),
    "expired": ("OrderCancelled", "expired"),
    "lost": ("Error", "unknown: the venue has not said what became of it"),
    "replaced": ("OrderAcknowledged", "changed"),
    "cancel_rejected": ("OrderRejected", "the cancel was refused, the order stands"),
    "replace_rejected": ("OrderRejected", "the change was refused, the order stands"),
    "never_sent": ("OrderRejected", "never left: the process ended before it was written down"),
}
#: They leave the order's state as it is, so each time they are said is news.
_ASIDE = frozenset({"replaced", "cancel_rejected", "replace_rejected"})
#: A change of the trading state that one of these causes is a fault, not a limit.
_FAULTS = frozenset({Connection, Feed, Gap, Reconciled, Rules, OrderUpdate, Fill})
#: Denials that are no limit's doing -> type.
_OTHER_DENIALS = {"dry_run": "DryRunOrder", "never_sent": "OrderRejected"}


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
            Start: self._start,
            OrderUpdate: self._order_update,
            Fill: self._fill,
            Command: self._command,
            Connection: self._connection,
            Feed: self._feed,
            Reconciled: self._reconciled,
            Adjusted: self._adjusted,
            Gap: self._gap,
            Rules: self._rules,
            Resumed: self._resumed,
            Upgraded: self._upgraded,
            StrategyChanged: self._changed,
            Finish: self._finish,
            Submit: self._submit,
            Cancel: self._cancel,
            Replace: self._replace,
            Denied: self._denied,
            RegimeChanged: self._regime,
            StateChanged: self._state,
            Failed: self._failed,
        }

    def take(self, event: Input, outputs: Sequence[Output]) -> Sequence[Decision]:
        """Return the entries that an event and its outputs make."""
        self.seq += 1
        kind = event.__class__
        handler = self._handlers.get(kind)
        if handler is None and not outputs:
            return ()
        self._at, self._entries = event.seen, []
        self._fault = kind in _FAULTS
        self._commanded = isinstance(event, Command)
        self._who = event.who if isinstance(event, Command) else ""
        if handler is not None:
            handler(event)
        for output in outputs:
            handler = self._handlers.get(output.__class__)
            if handler is not None:
                handler(output)
        return self._entries

    def _say(self, type_: str, what: str, details: str, **metadata: Any) -> None:
        self._entries.append(
            Decision(self._at, self.epoch, self.seq, type_, what, details, metadata)
        )

    # ------------------------------------------------------------ the run

    def _start(self, start: Start) -> None:
        self.run, self.epoch = start.run, start.epoch
        self.ledger = Ledger(
            start.cash, Instruments((rules.symbol, rules) for rules in start.instruments)
        )
        for symbol, (qty, average_price) in start.positions.items():
            self.ledger.open(symbol, qty, average_price)
        symbols = tuple(dict.fromkeys(start.symbols))
        self._say(
            "SystemStart",
            "start",
            f"{start.strategy or 'a strategy'} on {', '.join(symbols)} "
            f"with {number(start.cash)} in cash",
            strategy=start.strategy,
            params=start.params,
            source_sha256=start.source_sha256,
            symbols=symbols,
            cash=start.cash,
            positions={symbol: qty for symbol, (qty, _) in start.positions.items()},
            limits=set_limits(start.limits),
        )

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
            self._tell(order_id, "never_sent", "")
        for order_id, order in self.orders.items():
            if order.status == Status.SENT:
                self._tell(order_id, "lost", "the process ended before the venue answered")

    def _upgraded(self, event: Upgraded) -> None:
        who = event.who or "someone"
        moment = "once flat" if event.when == "flat" else "with the next bar or tick"
        why = f": {event.why}" if event.why else ""
        self._say(
            "SystemStart",
            "upgraded",
            f"{who} lets {event.strategy} take over {moment}{why}",
            strategy=event.strategy,
            params=event.params,
            source_sha256=event.source_sha256,
            frozen_sha256=event.frozen_sha256,
            when=event.when,
            who=event.who,
            why=event.why,
            difference=event.difference,
        )

    def _changed(self, note: StrategyChanged) -> None:
        self._say(
            "SystemStart",
            "strategy_changed",
            f"{note.strategy} decides from here on",
            strategy=note.strategy,
            frozen_sha256=note.frozen_sha256,
        )

    def _finish(self, event: Finish) -> None:
        self._say("SystemStop", "finish", f"the run ends: {event.why or 'no more events'}")

    def _command(self, event: Command) -> None:
        who, why = event.who or "someone", event.why or event.name
        type_ = "SystemStart" if event.name == "resume" else "SystemStop"
        self._say(
            type_,
            "command",
            f"{who} asks to {event.name.replace('_', ' ')}: {why}",
            command=event.name,
            who=event.who,
            why=event.why,
        )

    def _failed(self, note: Failed) -> None:
        self._fault = True
        of = f" of {note.symbol}" if note.symbol else ""
        self._say(
            "Error",
            "failed",
            f"the strategy failed in {note.callback}{of}: {note.error}",
            callback=note.callback,
            symbol=note.symbol,
            error=note.error,
        )

    def _regime(self, note: RegimeChanged) -> None:
        self._say(
            "RegimeChange",
            "regime_changed",
            f"{note.before} -> {note.after}",
            before=note.before,
            after=note.after,
            confidence=note.confidence,
        )

    def _state(self, note: StateChanged) -> None:
        whose = f" of {note.symbol}" if note.symbol else ""
        by = f" (by {self._who})" if self._who else ""
        if note.after == "active":
            type_ = "SystemStart"
        elif self._fault:
            type_ = "Error"
        else:  # a human's word is no limit's doing
            type_ = "SystemStop" if self._commanded else "RiskLimitBreached"
        self._say(
            type_,
            "state_changed",
            f"trading{whose} {note.before} -> {note.after}: {note.why}{by}",
            before=note.before,
            after=note.after,
            symbol=note.symbol,
            why=note.why,
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
        self._say(
            "OrderSubmitted",
            "submit",
            f"{order}{_prices(request) or f' {request.type}'} {request.tif}"
            f"{' reduce only' if request.reduce_only else ''}",
            order_id=request.order_id,
            symbol=request.symbol,
            side=request.side,
            qty=request.qty,
            order_type=request.type,
            limit=request.limit,
            stop=request.stop,
            tif=request.tif,
            expire_at=request.expire_at,
            reduce_only=request.reduce_only,
            tag=request.tag,
        )

    def _cancel(self, request: Cancel) -> None:
        self._say(
            "OrderCancelled",
            "cancel",
            f"{self._name(request.order_id)}: cancel asked",
            **self._about(request.order_id),
        )

    def _replace(self, request: Replace) -> None:
        self._say(
            "OrderSubmitted",
            "replace",
            f"{self._name(request.order_id)}: change asked to {number(request.qty)}"
            f"{_prices(request)}",
            **self._about(request.order_id),
            qty=request.qty,
            limit=request.limit,
            stop=request.stop,
        )

    def _denied(self, note: Denied) -> None:
        qty = "" if note.qty is None else f" {number(note.qty)}"
        self._say(
            _OTHER_DENIALS.get(note.check, "RiskLimitBreached"),
            "dry_run" if note.check == "dry_run" else "denied",
            f"{note.side}{qty} {note.symbol} denied by {note.check}: {note.reason}",
            order_id=note.order_id,
            symbol=note.symbol,
            side=note.side,
            qty=note.qty,
            check=note.check,
            reason=note.reason,
            retry_after_ms=note.retry_after_ms,
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
            order_id=fill.order_id,
            execution_id=fill.execution_id,
            symbol=fill.symbol,
            side=fill.side,
            qty=fill.qty,
            price=fill.price,
            fee=fill.fee,
            liquidity=fill.liquidity,
            venue=fill.venue,
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
        if event.payment_id:
            self._paid(event)
            return
        why = f": {event.why}" if event.why else ""
        what = f"{event.cash:+.12g} of cash"
        if event.qty:
            what = f"{event.qty:+.12g} {event.symbol} at {number(event.price)}"
        self._say(
            "Error",
            "adjusted",
            f"{what} taken into the books, which no fill explains{why}",
            symbol=event.symbol,
            qty=event.qty,
            price=event.price,
            cash=event.cash,
            why=event.why,
        )
        before = self.ledger.position(event.symbol).qty
        self.ledger.adjust(event.symbol, event.qty, event.price, event.cash)
        self._moved(event.symbol, before, event.price)

    def _paid(self, event: Adjusted) -> None:
        """Say what a position has paid, or was paid, for being held."""
        self._say(
            "OrderFilled",
            "paid",
            f"{event.cash:+.12g} of cash: {event.why}",
            symbol=event.symbol,
            cash=event.cash,
            payment_id=event.payment_id,
        )
        self.ledger.adjust(event.symbol, 0.0, 0.0, event.cash)

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

    # ------------------------------------------------------------ venue and feed

    def _connection(self, event: Connection) -> None:
        said = "the venue can be reached" if event.up else "the way to the venue is lost"
        self._say(
            "SystemStart" if event.up else "Error",
            "connection",
            f"{said}: {event.why}" if event.why else said,
            up=event.up,
            why=event.why,
        )

    def _feed(self, event: Feed) -> None:
        age = f"{event.age_ms / 1e3:.1f} s old, {event.limit_ms / 1e3:.1f} s are allowed"
        said = f"stale: {age}" if event.stale else "fresh again"
        self._say(
            "Error" if event.stale else "SystemStart",
            "feed",
            f"data of {event.symbol} are {said}",
            symbol=event.symbol,
            stale=event.stale,
            age_ms=event.age_ms,
            limit_ms=event.limit_ms,
        )

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
            "Error" if wrong else "SystemStart",
            "reconciled",
            f"books compared with the venue ({event.what}): {said}"
            f"{f' ({event.why})' if event.why else ''}",
            ok=event.ok,
            asked=event.what,
            why=event.why,
            unmatched=event.unmatched,
            foreign_orders=event.foreign_orders,
            foreign=event.foreign,
        )

    def _rules(self, event: Rules) -> None:
        rules = event.instrument
        self.ledger.position(rules.symbol).follow(rules)
        said = f"by new rules: tick {number(rules.tick)}, lot {number(rules.lot)}"
        self._say(
            "SystemStart" if event.tradable else "Error",
            "rules",
            f"{rules.symbol} trades {said if event.tradable else 'no more'}",
            symbol=rules.symbol,
            tradable=event.tradable,
            instrument=msgspec.structs.asdict(rules),
        )

    def _gap(self, event: Gap) -> None:
        whose = ", ".join(event.symbols) or "all symbols"
        self._say(
            "Error",
            "gap",
            f"market data of {whose} were lost: {event.why}",
            symbols=event.symbols,
            since=event.since,
            why=event.why,
        )


def set_limits(limits: Limits) -> dict[str, Any]:
    """Return the limits that are on."""
    values = msgspec.structs.asdict(limits)
    return {name: value for name, value in values.items() if value is not None}


def number(value: float) -> str:
    """Return a number for a sentence.

    >>> number(10.0), number(0.1 + 0.2), number(123456789.25)
    ('10', '0.3', '123456789.25')
    """
    return f"{value:.12g}"


def _prices(request: Submit | Replace) -> str:
    named = (("limit", request.limit), ("stop", request.stop))
    return "".join(f" {name} {number(value)}" for name, value in named if value is not None)
