"""A memory for names: which order of ours an id of Alpaca's belongs to, and which were told."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from regimeflow.model.events import Fill
from regimeflow.venues.alpaca import wire

#: So many are remembered; older ones are asked for again.
_MOST = 20_000


class Names:
    """Alpaca's order id -> our name of the order, "" where it is not ours.

    The list of executions names orders by Alpaca's id alone; and an order that replaced one of ours
    is ours, whatever it is called. Exits are named by Alpaca, and shown with their entry only.
    """

    def __init__(self) -> None:
        self._names: OrderedDict[str, str] = OrderedDict()
        self._heard: OrderedDict[str, None] = OrderedDict()
        # Alpaca's ids of entries of ours whose exits were not over when they were last shown.
        self._entries: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, order: wire.Order) -> None:
        """Remember an order's name."""
        own = wire.own_name(order.client_order_id)
        with self._lock:
            before = self._names.get(order.replaces or "", "") or self._names.get(order.id, "")
            self._put(order.id, own or before)
            if own and order.legs:
                self._learn_exits(order, own)

    def _learn_exits(self, entry: wire.Order, own: str) -> None:
        self._entries.pop(entry.id, None)
        for leg in entry.legs or ():
            self._put(leg.id, wire.exit_id(own, leg))
            if leg.replaced_by or wire.STATUSES.get(leg.status) == "open":
                self._entries[entry.id] = None

    def entries(self) -> list[str]:
        """Return Alpaca's ids of entries whose exits may still work."""
        with self._lock:
            return list(self._entries)

    def nobody(self, venue_order_id: str) -> None:
        """Remember that Alpaca shows no order of this id."""
        with self._lock:
            self._put(venue_order_id, "")

    def knows(self, venue_order_id: str) -> bool:
        """Whether an id has been met."""
        with self._lock:
            return venue_order_id in self._names

    def of(self, venue_order_id: str) -> str:
        """Return our name of an order, "" where it has none."""
        with self._lock:
            return self._names.get(venue_order_id, "")

    def heard(self, execution_id: str) -> None:
        """Remember that the stream of orders told of an execution."""
        with self._lock:
            self._heard[execution_id] = None
            if len(self._heard) > _MOST:
                self._heard.popitem(last=False)

    def unheard(self, fills: Iterable[Fill], after: int, before: int) -> bool:
        """Whether there is an execution between two times of which the stream did not tell."""
        with self._lock:
            return any(
                after < fill.ts < before and fill.execution_id not in self._heard for fill in fills
            )

    def _put(self, venue_order_id: str, name: str) -> None:
        self._names[venue_order_id] = name
        self._names.move_to_end(venue_order_id)
        if len(self._names) > _MOST:
            self._names.popitem(last=False)
