"""An order as TWS last described it, and what its words mean."""

from __future__ import annotations

from typing import Any

from regimeflow.model.venue import VenueOrder

#: TWS's word for what an order is -> ours. An order that it calls inactive may come back to life
#: (while shares are looked for, or a market opens), so its exposure counts in full.
STATUS = {
    "ApiPending": "open",
    "PendingSubmit": "open",
    "PreSubmitted": "open",
    "Submitted": "open",
    "PendingCancel": "open",
    "Inactive": "open",
    "Filled": "filled",
    "Cancelled": "canceled",
    "ApiCancelled": "canceled",
}
#: Words that show that an order has been taken.
TAKEN = frozenset({"PreSubmitted", "Submitted", "Filled", "PendingCancel"})
OVER = frozenset({"Filled", "Cancelled", "ApiCancelled"})

#: Our names of order types -> TWS's.
TYPES = {"market": "MKT", "limit": "LMT", "stop": "STP", "stop_limit": "STP LMT"}
TIFS = {"day": "DAY", "gtc": "GTC", "ioc": "IOC", "fok": "FOK", "gtd": "GTD"}
_WITH_LIMIT = frozenset({"LMT", "STP LMT"})
_WITH_STOP = frozenset({"STP", "STP LMT"})
#: TWS says a larger number than this where it has none.
FAR = 1e300


class Paper:
    """An order as TWS last described it; the client library's own objects are kept as they came.

    Attributes:
        contract, order: of the last description, None before the first.
        status: TWS's word, "" before the first.
        filled, average: units, and their price.
        reason: why it was refused or canceled.
        announced: whether it was told that TWS has it; ended: that it is over.
    """

    def __init__(self, order_id: int, client_id: int) -> None:
        self.order_id = order_id
        self.client_id = client_id
        self.perm_id = 0
        self.ref = ""
        self.contract: Any = None
        self.order: Any = None
        self.status = ""
        self.filled = 0.0
        self.average = 0.0
        self.reason = ""
        self.changed = 0
        self.announced = self.ended = self.refused = False

    @property
    def terms(self) -> tuple[float, float | None, float | None]:
        """Quantity, limit and stop."""
        kind = self.order.orderType
        return (
            float(self.order.totalQuantity),
            _price(self.order.lmtPrice) if kind in _WITH_LIMIT else None,
            _price(self.order.auxPrice) if kind in _WITH_STOP else None,
        )

    @property
    def name(self) -> str:
        """What it is called at the venue: one number for life, whoever placed it."""
        return str(self.perm_id) if self.perm_id else ""

    @property
    def word(self) -> str:
        """What has become of it, in our words; TWS's own where we have none."""
        word = STATUS.get(self.status, self.status.lower() or "unknown")
        return "expired" if word == "canceled" and "expired" in self.reason.lower() else word

    def row(self, symbol: str) -> VenueOrder:
        """Return it as the port shows orders."""
        qty, limit, stop = self.terms
        return VenueOrder(
            self.ref,
            self.name,
            symbol,
            "buy" if self.order.action == "BUY" else "sell",
            qty,
            self.filled,
            self.word,
            0,
            limit,
            stop,
            self.reason,
            self.average,
        )


def completed_row(contract: Any, order: Any, state: Any, symbol: str) -> VenueOrder:
    """Return an order that is over, from TWS's list of those.

    TWS lists a filled one with a quantity of zero and its own count of what was filled.
    """
    filled = _size(order.filledQuantity)
    word = STATUS.get(state.status, state.status.lower() or "unknown")
    reason = str(state.completedStatus)
    if word == "canceled" and "expired" in reason.lower():
        word = "expired"
    if word == "open":  # it is on the list of those that are over
        word = "canceled"
    kind = order.orderType
    return VenueOrder(
        order.orderRef,
        str(order.permId),
        symbol,
        "buy" if order.action == "BUY" else "sell",
        max(_size(order.totalQuantity), filled),
        filled,
        word,
        0,
        _price(order.lmtPrice) if kind in _WITH_LIMIT else None,
        _price(order.auxPrice) if kind in _WITH_STOP else None,
        reason,
    )


def _price(value: Any) -> float | None:
    number = float(value)
    return number if abs(number) < FAR else None


def _size(value: Any) -> float:
    return _price(value) or 0.0
