"""Orders, positions and payments as a venue shows them when it is asked."""

from __future__ import annotations

import msgspec


class VenueOrder(msgspec.Struct, frozen=True, gc=False):
    """An order as the venue sees it.

    Attributes:
        order_id: our client order id; "" for an order that is not ours.
        status: "open", "filled", "canceled", "rejected" or "expired"; another text is taken for
            unknown, and nothing is concluded from it.
        filled: units filled in all.
        ts: when it last changed, by the venue, UTC nanoseconds.
        average_price: of what is filled, where the venue tells it.
        changing: whether a change of it is still being made: its terms are the old ones, and say
            nothing of what it will be.
    """

    order_id: str
    venue_order_id: str
    symbol: str
    side: str
    qty: float
    filled: float
    status: str
    ts: int = 0
    limit: float | None = None
    stop: float | None = None
    reason: str = ""
    average_price: float = 0.0
    changing: bool = False


class Holding(msgspec.Struct, frozen=True, gc=False):
    """A position on the account: signed units and their average price."""

    symbol: str
    qty: float
    average_price: float = 0.0


class Payment(msgspec.Struct, frozen=True, gc=False):
    """What the account's position in a symbol has paid, or was paid, for being held.

    Attributes:
        payment_id: of the venue, never used twice.
        ts: when it was due, UTC nanoseconds.
        cash: signed change of cash, money: negative was paid.
        what: a word for it.
    """

    payment_id: str
    ts: int
    symbol: str
    cash: float
    what: str = "funding"
