"""Our books against the venue's: from what both say to the events that bring ours up to date.

Invariants, each a property test:

1. applied, the findings explain the snapshot: a second pass over it finds nothing;
2. nothing is concluded from silence: an order ends only by the venue's word about that very order,
   and a question that was not answered says nothing;
3. quantity comes from executions alone, each booked once under its own id, never from a status;
4. what was heard later is never rolled back: a row older than the last news of its order, or with
   less filled than is booked, is passed over;
5. what is not ours is reported and never changed;
6. a payment is booked once under its own id, and of it what our share of the position makes.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import msgspec

from regimeflow.model.events import Adjusted, Fill, OrderUpdate
from regimeflow.model.order import Order, Status
from regimeflow.model.venue import Holding, Payment, VenueOrder

#: Quantities closer than this share of a lot are the same.
_SAME = 0.5


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue answered; None where it did not, which is not the same as nothing.

    Attributes:
        asked_at: when the first question left, UTC nanoseconds.
        working: all working orders of the account.
        looked_up: orders that were asked for one by one, whatever has become of them.
        fills: executions since the last pass.
        positions: everything held on the account.
        payments: for what was held, since the run began.
    """

    asked_at: int
    working: Sequence[VenueOrder] | None = None
    looked_up: Sequence[VenueOrder] = ()
    fills: Sequence[Fill] | None = None
    positions: Sequence[Holding] | None = None
    payments: Sequence[Payment] | None = None


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """What we know, as far as it can be compared.

    Attributes:
        run: name of the run, with which every order id of ours begins.
        orders: by client order id; ``working`` are those that can still fill.
        venue_ids: the venue's order id -> ours.
        executions: ids of what is booked, payments included.
        held: symbol -> signed units, by our fills.
        foreign: symbol -> signed units on the account that are not ours; None before the first
            look.
        heard: order id or symbol -> when something about it was last heard or asked, nanoseconds.
        lots: symbol -> smallest quantity, for the session's symbols.
        changed: order id -> the venue's own time of the last change of it that is known.
        by_execution: whether the venue lists executions; else a fill is made from what an order
            says is filled, with an id that is a function of it.
    """

    run: str
    orders: Mapping[str, Order]
    working: Sequence[Order]
    venue_ids: Mapping[str, str]
    executions: Container[str]
    held: Mapping[str, float]
    foreign: Mapping[str, float] | None
    heard: Mapping[str, int]
    lots: Mapping[str, float]
    by_execution: bool = True
    changed: Mapping[str, int] = {}


class Findings(msgspec.Struct, kw_only=True):
    """What a snapshot shows that we did not know.

    Attributes:
        events: what brings our books up to date, in order; ``ts`` is the venue's time, ``seen`` 0.
        look_up: orders of ours that should be among the working ones and are not: only the venue's
            word about each tells what has become of it.
        incomplete: orders of which the venue says more is filled than its executions show.
        unmatched: symbol -> why nothing new may be risked in it.
        foreign_orders: venue ids of working orders that are not ours.
        foreign: symbol -> units that are not ours; None where positions were not told.
        moving: symbols of which this look cannot tell what is not ours, since ours is in motion.
    """

    events: list[Fill | OrderUpdate | Adjusted] = msgspec.field(default_factory=list)
    look_up: list[str] = msgspec.field(default_factory=list)
    incomplete: list[str] = msgspec.field(default_factory=list)
    unmatched: dict[str, str] = msgspec.field(default_factory=dict)
    foreign_orders: list[str] = msgspec.field(default_factory=list)
    foreign: dict[str, float] | None = None
    moving: set[str] = msgspec.field(default_factory=set)


def reconcile(books: Books, snapshot: Snapshot) -> Findings:
    """Return what a snapshot shows that our books do not have yet."""
    found = Findings()
    booked = _executions(books, snapshot, found)
    rows = [*(snapshot.working or ()), *snapshot.looked_up]
    for row in rows:
        order = _ours(books, row.order_id, row.venue_order_id)
        if order is None:
            _not_ours(books, row, found)
        elif not (_outdated(books, snapshot, order.id) or _overtaken(books, order, row)):
            _order(books, order, row, booked.get(order.id, order.filled), found)
    if snapshot.working is not None:
        shown = {row.order_id for row in rows} | {row.venue_order_id for row in rows}
        _missing(books, snapshot, shown, booked, found)
    if snapshot.positions is not None:
        _positions(books, snapshot, found)
    _payments(books, snapshot, found)
    return found


def _outdated(books: Books, snapshot: Snapshot, name: str) -> bool:
    """Whether something was heard of it after the question left: the answer may be older."""
    return books.heard.get(name, -(2**63)) >= snapshot.asked_at


def _ours(books: Books, order_id: str, venue_order_id: str) -> Order | None:
    order = books.orders.get(order_id)
    return order or books.orders.get(books.venue_ids.get(venue_order_id, ""))


def _overtaken(books: Books, order: Order, row: VenueOrder) -> bool:
    """Whether a row is from before a change that is known: venues answer from copies, too."""
    return 0 < row.ts < books.changed.get(order.id, 0)


def _executions(books: Books, snapshot: Snapshot, found: Findings) -> dict[str, float]:
    """Book what was executed and not told; return order id -> units filled then."""
    booked: dict[str, float] = {}
    seen: set[str] = set()
    for fill in snapshot.fills or ():
        order = _ours(books, fill.order_id, fill.order_id)
        if order is None or fill.execution_id in books.executions or fill.execution_id in seen:
            continue
        seen.add(fill.execution_id)
        found.events.append(msgspec.structs.replace(fill, order_id=order.id))
        booked[order.id] = booked.get(order.id, order.filled) + fill.executed
    return booked


def _not_ours(books: Books, row: VenueOrder, found: Findings) -> None:
    if row.status != "open":
        return
    found.foreign_orders.append(row.venue_order_id or row.order_id)
    if row.order_id.startswith(f"{books.run}-"):
        # It carries our name and stands in no journal: whoever sent it, we must not add to it.
        found.unmatched[row.symbol] = f"order {row.order_id} is not in the journal"


def _order(books: Books, order: Order, row: VenueOrder, filled: float, found: Findings) -> None:
    """Compare one order with what the venue says of it; ``filled`` counts what is booked by now."""
    slack = _SAME * books.lots.get(order.symbol, 1e-9)
    if row.filled < filled - slack:
        return  # an older view
    if row.filled > filled + slack:
        if books.by_execution:
            found.incomplete.append(order.id)
            return
        found.events.append(_made_fill(order, row, filled))
    status = row.status
    if status == "open":
        if order.status in (Status.SENT, Status.UNKNOWN):
            found.events.append(
                OrderUpdate(row.ts, 0, order.id, "accepted", "", row.venue_order_id)
            )
        elif not order.working:
            found.unmatched[order.symbol] = (
                f"order {order.id} is {order.status} here and works at the venue"
            )
            return
        _terms(order, row, slack, found)
    elif status in ("canceled", "rejected", "expired"):
        if order.working:
            reason = row.reason or "told when asked"
            found.events.append(
                OrderUpdate(row.ts, 0, order.id, status, reason, row.venue_order_id)
            )
    elif status == "filled":
        if order.working and filled >= row.qty - slack:
            _terms(order, row, slack, found)  # made smaller, or not made larger: so it is whole
    else:
        found.unmatched[order.symbol] = f"order {order.id} is {status!r} at the venue: unknown"


def _terms(order: Order, row: VenueOrder, slack: float, found: Findings) -> None:
    """Compare quantity and prices of a working order: a change may have been made and not told."""
    if row.changing:
        return
    same = abs(row.qty - order.qty) <= slack and all(
        there is None or there == ours
        for there, ours in ((row.limit, order.limit), (row.stop, order.stop))
    )
    if not same:
        found.events.append(
            OrderUpdate(
                row.ts,
                0,
                order.id,
                "replaced",
                "",
                row.venue_order_id,
                row.qty,
                row.limit,
                row.stop,
            )
        )
    elif order.replace_pending:
        why = "the order is as it was"
        found.events.append(OrderUpdate(row.ts, 0, order.id, "replace_rejected", why))


def _made_fill(order: Order, row: VenueOrder, filled: float) -> Fill:
    """Return a fill for what an order says is filled, where a venue lists no executions."""
    qty = row.filled - filled
    spent = row.average_price * row.filled - order.average_price * filled
    price = spent / qty if row.average_price > 0.0 and spent > 0.0 else order.decision_price
    return Fill(
        row.ts, 0, f"{order.id}.to-{row.filled:.12g}", order.id, order.symbol, order.side,
        qty, price, executed_at=row.ts,
    )  # fmt: skip


def _missing(
    books: Books,
    snapshot: Snapshot,
    shown: set[str],
    booked: Mapping[str, float],
    found: Findings,
) -> None:
    for order in books.working:
        if _outdated(books, snapshot, order.id):
            continue
        if order.id in shown or (order.venue_order_id and order.venue_order_id in shown):
            continue
        if booked.get(order.id, 0.0) < order.qty:
            found.look_up.append(order.id)


def _positions(books: Books, snapshot: Snapshot, found: Findings) -> None:
    account = {h.symbol: h.qty for h in snapshot.positions or ()}
    base = books.foreign
    found.foreign = {}
    for symbol in sorted({*account, *books.held, *(base or {})}):
        lot = books.lots.get(symbol)
        rest = account.get(symbol, 0.0) - books.held.get(symbol, 0.0)
        known = rest if base is None else base.get(symbol, 0.0)
        if base is None and lot is not None and _moving(books, snapshot, symbol, found):
            found.moving.add(symbol)
        if lot is None or abs(rest - known) <= _SAME * lot:
            known = rest if lot is None else known
        elif not _moving(books, snapshot, symbol, found):
            found.unmatched[symbol] = (
                f"the account holds {account.get(symbol, 0.0):g} {symbol}; our fills and what was "
                f"there before make it {books.held.get(symbol, 0.0) + known:g}"
            )
        if known:
            found.foreign[symbol] = known


def _moving(books: Books, snapshot: Snapshot, symbol: str, found: Findings) -> bool:
    """Whether the symbol's position is in motion, so that two views of it may rightly differ."""
    if _outdated(books, snapshot, symbol):
        return True
    if any(isinstance(e, Fill) and e.symbol == symbol for e in found.events):
        return True
    unsettled = (Status.SENT, Status.UNKNOWN)
    return any(
        order.symbol == symbol and (order.status in unsettled or order.id in found.incomplete)
        for order in books.working
    )


def _payments(books: Books, snapshot: Snapshot, found: Findings) -> None:
    """Book what was paid for being held and is not booked yet."""
    seen: set[str] = set()
    for payment in snapshot.payments or ():
        name, symbol = payment.payment_id, payment.symbol
        if symbol not in books.lots or name in books.executions or name in seen:
            continue
        seen.add(name)
        cash = payment.cash * _share(books, symbol)
        why = f"{payment.what} of {symbol}"
        found.events.append(Adjusted(payment.ts, 0, symbol, 0.0, 0.0, cash, why, payment_id=name))


def _share(books: Books, symbol: str) -> float:
    """Return how much of the account's position is ours: it pays as one."""
    foreign = (books.foreign or {}).get(symbol, 0.0)
    held = books.held.get(symbol, 0.0)
    if not foreign or not held + foreign:
        return 1.0
    return min(max(held / (held + foreign), 0.0), 1.0)
