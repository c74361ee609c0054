"""Executions at Alpaca: as its list has them, and as its stream of orders tells them."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from regimeflow.errors import NotThere, VenueError
from regimeflow.model.events import Fill
from regimeflow.model.timeframe import NS_PER_MS, NS_PER_SECOND
from regimeflow.venues.alpaca import wire
from regimeflow.venues.alpaca.asking import Asking
from regimeflow.venues.alpaca.names import Names
from regimeflow.venues.alpaca.orders import Orders
from regimeflow.venues.port import Said

_ACTIVITIES = 100
#: How far our clock may be from Alpaca's.
_SKEW_NS = NS_PER_SECOND
_NEVER = 2**62


class Executions:
    """What is known of executions.

    Args:
        asking: asks.
        orders: whose they are.
        names: of all orders, and added to.
        settle_ms: how long after an execution the stream may still tell of it.
        crypto: whether it is crypto; stocks else.
    """

    def __init__(
        self, asking: Asking, orders: Orders, names: Names, settle_ms: float, *, crypto: bool
    ) -> None:
        self._asking, self._orders, self._names = asking, orders, names
        self._settle_ns = int(settle_ms * NS_PER_MS)
        self._wire_class = "crypto" if crypto else "us_equity"
        self._heard_since = _NEVER

    def listens(self) -> None:
        """From now on the stream tells of them."""
        self._heard_since = time.time_ns()

    def since(self, since: int) -> list[Fill]:
        """Return executions from a time on, page by page."""
        rows: list[wire.Activity] = []
        terms: dict[str, Any] = {
            "after": wire.written(max(0, since - 10**9)),
            "direction": "asc",
            "page_size": _ACTIVITIES,
        }
        while True:
            page = self._asking.trading("/account/activities/FILL", list[wire.Activity], terms)
            rows += page
            if len(page) < _ACTIVITIES:
                break
            if terms.get("page_token") == page[-1].id:
                raise VenueError("Alpaca's pages of executions do not go on")
            terms["page_token"] = page[-1].id
        return [self._filled(row) for row in rows]

    def silent(self, fills: list[Fill]) -> bool:
        """Whether the stream did not tell of something it should have; said once.

        A socket can be well and say nothing; the client library does not notice.
        """
        late = time.time_ns() - self._settle_ns
        silent = self._names.unheard(fills, self._heard_since + _SKEW_NS, late)
        if silent:
            self._heard_since = time.time_ns()
        return silent

    def _filled(self, row: wire.Activity) -> Fill:
        if not self._names.knows(row.order_id):
            try:
                self._names.learn(self._orders.by_id(row.order_id))
            except NotThere:
                self._names.nobody(row.order_id)
        try:
            return wire.fill_of(row, self._names.of(row.order_id), self._wire_class)
        except wire.Unreadable as error:
            raise VenueError(f"Alpaca lists an execution that cannot be: {error}") from None

    def told(self, message: Any) -> Said | None:
        """Return what the stream says of an order."""
        update = msgspec.convert(message, wire.Told).data
        self._names.learn(update.order)
        said = wire.news(update, self._names.of(update.order.id))
        if isinstance(said, Fill):
            self._names.heard(said.execution_id)
        return said
