"""An order's life as a table.

``CREATED -> DENIED | SENT -> OPEN -> FILLED | CANCELED | REJECTED | EXPIRED``, with ``UNKNOWN`` for
an order whose fate the venue has not told. Filled quantity and "cancel pending" are fields, never
states, so a fill can always be booked, whatever the order's state.
"""

from __future__ import annotations

from typing import Final

import msgspec

from regimeflow.errors import RegimeflowError
from regimeflow.model.events import Cancel, Fill, OrderUpdate, Replace, Submit, entry_of
from regimeflow.model.instrument import Instrument
from regimeflow.model.timeframe import iso


# Plain text, not enums: an enum hashes in Python, and after a notebook's autoreload its members
# are no longer equal to themselves.
class Status:
    """Where an order stands."""

    CREATED: Final = "created"
    DENIED: Final = "denied"
    SENT: Final = "sent"
    OPEN: Final = "open"
    UNKNOWN: Final = "unknown"
    FILLED: Final = "filled"
    CANCELED: Final = "canceled"
    REJECTED: Final = "rejected"
    EXPIRED: Final = "expired"


class Happening:
    """What can happen to an order."""

    DENIED: Final = "denied"  # by our own limits: the venue never heard of it
    SENT: Final = "sent"
    ACCEPTED: Final = "accepted"
    PARTLY_FILLED: Final = "partly_filled"
    FILLED: Final = "filled"
    CANCELED: Final = "canceled"
    REJECTED: Final = "rejected"
    EXPIRED: Final = "expired"
    LOST: Final = "lost"  # no answer: a timeout is not a rejection


S, H = Status, Happening

#: Every legal move. A pair that is not here is an error in our code or a message we misread.
MOVES: dict[tuple[str, str], str] = {
    (S.CREATED, H.DENIED): S.DENIED,
    (S.CREATED, H.SENT): S.SENT,
    (S.SENT, H.ACCEPTED): S.OPEN,
    (S.SENT, H.PARTLY_FILLED): S.OPEN,  # a fill overtakes its acknowledgement
    (S.SENT, H.FILLED): S.FILLED,
    (S.SENT, H.CANCELED): S.CANCELED,
    (S.SENT, H.REJECTED): S.REJECTED,
    (S.SENT, H.EXPIRED): S.EXPIRED,
    (S.SENT, H.LOST): S.UNKNOWN,
    (S.SENT, H.DENIED): S.DENIED,  # found on resume to have never left
    (S.OPEN, H.ACCEPTED): S.OPEN,  # told twice
    (S.OPEN, H.PARTLY_FILLED): S.OPEN,
    (S.OPEN, H.FILLED): S.FILLED,
    (S.OPEN, H.CANCELED): S.CANCELED,
    (S.OPEN, H.REJECTED): S.REJECTED,  # exchanges do reject after a gateway's acceptance
    (S.OPEN, H.EXPIRED): S.EXPIRED,
    (S.OPEN, H.LOST): S.UNKNOWN,
    (S.UNKNOWN, H.ACCEPTED): S.OPEN,
    (S.UNKNOWN, H.PARTLY_FILLED): S.OPEN,
    (S.UNKNOWN, H.FILLED): S.FILLED,
    (S.UNKNOWN, H.CANCELED): S.CANCELED,
    (S.UNKNOWN, H.REJECTED): S.REJECTED,
    (S.UNKNOWN, H.EXPIRED): S.EXPIRED,
    (S.UNKNOWN, H.LOST): S.UNKNOWN,
    # A fill on a dead order is a fact and is booked; the order stays dead unless it is now whole.
    (S.CANCELED, H.PARTLY_FILLED): S.CANCELED,
    (S.CANCELED, H.FILLED): S.FILLED,
    (S.REJECTED, H.PARTLY_FILLED): S.REJECTED,
    (S.REJECTED, H.FILLED): S.FILLED,
    (S.EXPIRED, H.PARTLY_FILLED): S.EXPIRED,
    (S.EXPIRED, H.FILLED): S.FILLED,
    (S.DENIED, H.PARTLY_FILLED): S.DENIED,  # reality wins over our books; the engine halts
    (S.DENIED, H.FILLED): S.FILLED,
    (S.FILLED, H.PARTLY_FILLED): S.FILLED,  # it was made larger, and that was told too late
    (S.FILLED, H.FILLED): S.FILLED,  # more than was asked: booked, and the engine halts
    # Late or repeated news about an order that is over changes nothing.
    (S.FILLED, H.ACCEPTED): S.FILLED,
    (S.FILLED, H.CANCELED): S.FILLED,
    (S.FILLED, H.EXPIRED): S.FILLED,
    (S.FILLED, H.LOST): S.FILLED,
    (S.CANCELED, H.ACCEPTED): S.CANCELED,
    (S.CANCELED, H.CANCELED): S.CANCELED,
    (S.CANCELED, H.EXPIRED): S.CANCELED,
    (S.CANCELED, H.LOST): S.CANCELED,
    (S.REJECTED, H.ACCEPTED): S.REJECTED,
    (S.REJECTED, H.REJECTED): S.REJECTED,
    (S.REJECTED, H.LOST): S.REJECTED,
    (S.EXPIRED, H.ACCEPTED): S.EXPIRED,
    (S.EXPIRED, H.CANCELED): S.EXPIRED,
    (S.EXPIRED, H.EXPIRED): S.EXPIRED,
    (S.EXPIRED, H.LOST): S.EXPIRED,
}

#: What a venue says -> what that means for an order.
TOLD = {
    "accepted": H.ACCEPTED,
    "rejected": H.REJECTED,
    "canceled": H.CANCELED,
    "expired": H.EXPIRED,
    "lost": H.LOST,
    "never_sent": H.DENIED,
}

#: No more is to come from these, but for a late fill.
TERMINAL = frozenset({S.DENIED, S.FILLED, S.CANCELED, S.REJECTED, S.EXPIRED})


class IllegalMove(RegimeflowError):
    """Something happened to an order that cannot happen in its state."""


# gc=False: its fields are scalars and tuples of scalars, so it cannot be part of a cycle; a long
# run keeps many, and the collector must not walk over them again and again.
class Order(msgspec.Struct, gc=False, eq=False):
    """One order as the engine knows it. Strategies hold an `OrderHandle`, which only reads.

    Attributes:
        id: client order id, made once per intent and never used again.
        side: "buy" or "sell"; ``qty`` is positive.
        type: "market", "limit", "stop" or "stop_limit".
        tif: "day", "gtc", "ioc", "fok" or "gtd".
        expire_at: for "gtd", UTC nanoseconds, else 0.
        created, updated: when it was decided and when something last happened, UTC nanoseconds.
        seq: of the event that caused it.
        decision_price: last price of the symbol when it was decided.
        filled: units filled so far; ``average_price`` is their mean price.
        reason: why it was denied, rejected or canceled.
        asked_qty: what its quantity will be if the change that was asked for is made; 0 where none
            was, or it was answered.
        reserve: buying power that one unfilled unit holds back, money.
        cancel_pending, replace_pending: asked, and not answered yet.
        as_exit: whether its newest request only takes off what is held: it waits for no entry,
            neither in the rate nor on its way. Told of every order where there are limits, and
            else of those that must reduce.
        story: what happened, in order: time, what, detail, and so on with the next; `log` has it
            in threes.
    """

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
    decision_price: float
    updated: int = 0
    status: str = Status.CREATED
    filled: float = 0.0
    average_price: float = 0.0
    fees: float = 0.0
    reason: str = ""
    venue_order_id: str = ""
    reserve: float = 0.0
    cancel_pending: bool = False
    replace_pending: bool = False
    asked_qty: float = 0.0
    as_exit: bool = False
    # Flat, so that a note is one tuple to make and to keep instead of two.
    story: tuple[int | str, ...] = ()

    @property
    def log(self) -> tuple[tuple[int, str, str], ...]:
        """What happened, as (time, what, detail), in order."""
        words = iter(self.story)
        return tuple(zip(words, words, words, strict=True))  # type: ignore[arg-type]

    @property
    def sign(self) -> float:
        """1.0 for a buy, -1.0 for a sale."""
        return 1.0 if self.side == "buy" else -1.0

    @property
    def parent(self) -> str:
        """Id of the entry that it is an exit of, "" for an order of its own."""
        return entry_of(self.id)

    @property
    def remaining(self) -> float:
        """Units still to be filled."""
        return self.qty - self.filled

    @property
    def working(self) -> bool:
        """Whether it can still fill as far as we know; an unknown order counts."""
        return self.status not in TERMINAL

    def exits(self, held: float) -> bool:
        """Whether it leaves just what is held, at market."""
        return self.type == "market" and self.sign * self.remaining == -held != 0.0

    def move(self, happening: str, at: int, detail: str = "") -> None:
        """Apply what happened, by the table.

        Raises:
            IllegalMove: where the table has no such pair.
        """
        to = MOVES.get((self.status, happening))
        if to is None:
            raise IllegalMove(f"order {self.id} is {self.status} and cannot be {happening}")
        self.status = to
        self.updated = at
        self.story += (at, happening, detail)
        if (self.cancel_pending or self.replace_pending) and to in TERMINAL:
            self.cancel_pending = self.replace_pending = False

    def note(self, at: int, what: str, detail: str = "") -> None:
        """Write down something that leaves the state as it is."""
        self.story += (at, what, detail)

    @classmethod
    def of(cls, submit: Submit, decision_price: float = 0.0) -> Order:
        """Return the order that a request sends."""
        order = cls(
            submit.order_id,
            submit.symbol,
            submit.side,
            submit.qty,
            submit.type,
            submit.limit,
            submit.stop,
            submit.tif,
            submit.expire_at,
            submit.reduce_only,
            submit.tag,
            submit.seen,
            submit.seq,
            decision_price,
        )
        order.move(Happening.SENT, submit.seen)
        return order

    def on_request(self, request: Cancel | Replace) -> None:
        """Apply what was asked of the venue, and is not answered yet."""
        if isinstance(request, Cancel):
            self.cancel_pending = True
            self.note(request.seen, "cancel asked")
        else:
            self.replace_pending, self.asked_qty = True, request.qty
            self.note(request.seen, "replace asked")

    def on_update(self, event: OrderUpdate) -> None:
        """Apply what the venue said about it.

        Raises:
            IllegalMove: it cannot be, and the order stays as it is.
        """
        what = event.what
        if event.venue_order_id:
            self.venue_order_id = event.venue_order_id
        if what == "replaced":
            self.replace_pending, self.asked_qty = False, 0.0
            self.qty = self.qty if event.qty is None else event.qty
            self.limit = self.limit if event.limit is None else event.limit
            self.stop = self.stop if event.stop is None else event.stop
            self.note(event.seen, "replaced", f"qty {self.qty:g}")
            self._end_if_whole(event.seen)
        elif what == "cancel_rejected" or what == "replace_rejected":
            if what == "cancel_rejected":
                self.cancel_pending = False
            else:
                self.replace_pending, self.asked_qty = False, 0.0
            self.note(event.seen, what.replace("_", " "), event.reason)
            self._end_if_whole(event.seen)
        else:
            self.move(TOLD[what], event.seen, event.reason)
            if event.reason and what != "accepted":
                self.reason = event.reason

    def _end_if_whole(self, at: int) -> None:
        """It may have been made as small as what is filled, or not be made larger after all."""
        if self.filled >= self.qty and self.working and not self.replace_pending:
            self.move(Happening.FILLED, at)

    def on_fill(self, event: Fill, instrument: Instrument) -> bool:
        """Apply an execution, whatever the state; return whether the order is now filled."""
        qty = event.executed if event.kept else event.qty
        if qty == self.qty and not self.filled and not self.replace_pending:  # as nearly all
            whole = True
            self.filled, self.average_price = self.qty, event.price
        else:
            filled = self.filled + qty
            self.average_price += (event.price - self.average_price) * (qty / filled)
            self.filled = filled = instrument.snap_qty(filled)
            # While it may become larger, nobody knows whether it is whole.
            whole = filled >= (max(self.qty, self.asked_qty) if self.replace_pending else self.qty)
        if event.fee:
            self.fees += event.fee
        self.move(Happening.FILLED if whole else Happening.PARTLY_FILLED, event.seen)
        return whole


# A struct, because it is made in half the time that a class with an `__init__` takes.
class OrderHandle(msgspec.Struct, gc=False, eq=False):
    """A read-only view of one order; ``handle.log`` tells its story."""

    _order: Order

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an order handle is read-only: use ctx.replace or ctx.cancel")

    def __getattr__(self, name: str) -> object:
        if name == "log":
            return tuple(
                f"{iso(at)} {what} {detail}".rstrip() for at, what, detail in self._order.log
            )
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._order, name)

    def __dir__(self) -> list[str]:
        return [*Order.__struct_fields__, "log", "sign", "parent", "remaining", "working"]

    def __bool__(self) -> bool:
        """Whether it left, or may have left: a denied order is false."""
        return self._order.status is not Status.DENIED

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OrderHandle) and other._order.id == self._order.id

    def __hash__(self) -> int:
        return hash(self._order.id)

    def __repr__(self) -> str:
        o = self._order
        at = "".join(
            f" {name} {value}" for name in ("limit", "stop") if (value := getattr(o, name))
        )
        why = f" ({o.reason})" if o.reason else ""
        return f"<{o.side} {o.qty:g} {o.symbol}{at}: {o.status}, filled {o.filled:g}{why}>"
