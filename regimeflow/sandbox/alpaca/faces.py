"""The exchange's orders as Alpaca shows them: one that is changed is a new one each time."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from decimal import Decimal

from regimeflow.errors import NotThere
from regimeflow.model.events import Fill, OrderUpdate
from regimeflow.sandbox.alpaca.messages import (
    SPACE,
    Json,
    asset_class,
    json_bytes,
    text,
    written,
)
from regimeflow.sandbox.exchange import Exchange, Working


class Face:
    """One of the orders as which Alpaca shows an order that is changed.

    Attributes:
        id, client_id: its names.
        before: the id of the order that it replaced, "" for none.
        after: the id of the order that replaced it, "" for none.
        terms: as they were when it was replaced.
    """

    def __init__(self, id: str, client_id: str, at: int, before: str = "") -> None:
        self.id = id
        self.client_id = client_id
        self.at = at
        self.before = before
        self.after = ""
        self.terms: Json = {}


class Faces:
    """Orders by the names that Alpaca gives them.

    Args:
        exchange: whose orders they are; it names orders and executions as Alpaca does from now on.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._faces: dict[str, list[Face]] = {}
        self._by_id: dict[str, tuple[Working, Face]] = {}
        self._by_client_id: dict[str, tuple[Working, Face]] = {}
        self._next_name: dict[str, str] = {}
        #: Orders that were given in money -> how much, as it was written.
        self.notional: dict[str, str] = {}
        exchange.name_order = lambda count: str(uuid.uuid5(SPACE, f"order {count}"))
        exchange.name_execution = self._execution
        exchange.exits_together = True

    def all(self) -> Iterable[tuple[Working, Face]]:
        """Return all that are shown to those who ask."""
        for order in self._exchange.by_venue_id.values():
            self.newest(order)  # whoever placed it
        now = self._exchange.time()
        return [row for row in self._by_id.values() if now >= row[0].hidden_until]

    def is_taken(self, client_id: str) -> bool:
        """Whether a name was used before."""
        return client_id in self._by_client_id

    def named(self, client_id: str) -> tuple[Working, Face]:
        """Return an order by the name that its client gave it."""
        return self._seen(self._by_client_id.get(client_id), client_id)

    def known(self, id: str) -> tuple[Working, Face]:
        """Return an order by Alpaca's id."""
        return self._seen(self._by_id.get(id), id)

    def _seen(self, found: tuple[Working, Face] | None, name: str) -> tuple[Working, Face]:
        if found is None:
            raise NotThere(f"order not found for {name}")
        self._exchange.find(found[0].id, found[0].venue_id)  # unless it is hidden
        return found

    def rename(self, order: Working, client_id: str) -> None:
        """Let an order have this name when it is changed next."""
        self._next_name[order.venue_id] = client_id

    def newest(self, order: Working) -> Face:
        """Return the face of an order that counts now."""
        faces = self._faces.get(order.venue_id)
        if not faces:
            # It knows no name for an exit: whose that is, its entry tells.
            given = "" if order.entry else order.id
            name = given or str(uuid.uuid5(SPACE, f"client {order.venue_id}"))
            self._add(order, Face(order.venue_id, name, self._exchange.time()))
            faces = self._faces[order.venue_id]
        return faces[-1]

    def _add(self, order: Working, face: Face) -> None:
        self._faces.setdefault(order.venue_id, []).append(face)
        self._by_id[face.id] = self._by_client_id[face.client_id] = (order, face)

    def change(self, order: Working, update: OrderUpdate) -> tuple[Face, Face]:
        """Let an order have a further face; return the old and the new one."""
        old = self.newest(order)
        count = len(self._faces[order.venue_id])
        name = self._next_name.pop(order.venue_id, "") or str(uuid.uuid4())
        new_id = str(uuid.uuid5(SPACE, f"{order.venue_id} {count}"))
        old.terms = self._terms(order) | {
            "status": "replaced",
            "replaced_by": new_id,
            "updated_at": written(update.ts),
        }
        old.after = new_id
        new = Face(new_id, name, update.ts, old.id)
        self._add(order, new)
        return old, new

    def nested(self, order: Working, face: Face) -> Json:
        """Return an order as Alpaca shows it with its exits."""
        legs = [self.shown(leg, self.newest(leg)) for leg in self._legs(order.id)]
        return {**self.shown(order, face), "legs": legs or None}

    def _legs(self, entry: str) -> list[Working]:
        orders = self._exchange.orders.values()
        return [order for order in orders if entry and order.entry == entry]

    def is_held(self, order: Working) -> bool:
        """Whether an exit waits: for its entry, or a stop for the other exit's end."""
        works = [leg for leg in self._legs(order.entry) if leg.status == "open"]
        return order in works and (order.waits or (order.type == "stop" and len(works) > 1))

    def shown(self, order: Working, face: Face) -> Json:
        """Return an order as Alpaca shows it."""
        status = order.status
        if status == "open":
            status = "partially_filled" if order.filled else "new"
            status = "held" if self.is_held(order) else status
        shown = {
            "id": face.id,
            "client_order_id": face.client_id,
            "created_at": written(face.at),
            "submitted_at": written(face.at),
            "updated_at": written(order.ts),
            "asset_id": str(uuid.uuid5(SPACE, order.symbol)),
            "symbol": order.symbol,
            "asset_class": asset_class(order.symbol),
            "notional": self.notional.get(order.id),
            "order_class": "bracket" if order.entry or self._legs(order.id) else "",
            "type": order.type,
            "order_type": order.type,
            "side": "buy" if order.buys else "sell",
            "time_in_force": order.tif,
            "status": status,
            "extended_hours": False,
            "legs": None,
            "replaced_by": None,
            "replaces": face.before or None,
            **self._terms(order),
        }
        return {**shown, **face.terms}

    def _terms(self, order: Working) -> Json:
        """Return what changes of an order."""
        average = order.spent / order.filled if order.filled else None
        return {
            "qty": None if order.id in self.notional else format(order.qty.normalize(), "f"),
            "filled_qty": format(order.filled.normalize(), "f"),
            "filled_avg_price": None if average is None else format(average, "f"),
            "limit_price": None if order.limit is None else format(order.limit, "f"),
            "stop_price": None if order.stop is None else format(order.stop, "f"),
        }

    # ------------------------------------------------------------ positions and executions

    def activity(self, fill: Fill) -> Json:
        order_id, _, filled = fill.execution_id.rpartition(":")
        order, _ = self._by_id[order_id]
        left = order.qty - Decimal(filled)
        return {
            "id": f"{fill.ts}::{uuid.uuid5(SPACE, f'activity {fill.execution_id}')}",
            "activity_type": "FILL",
            "transaction_time": written(fill.ts),
            "type": "fill" if left <= 0 else "partial_fill",
            "price": text(fill.price),
            "qty": text(fill.qty),
            "side": fill.side,
            "symbol": fill.symbol,
            "leaves_qty": format(max(left, Decimal(0)), "f"),
            "order_id": order_id,
            "cum_qty": filled,
            "order_status": "filled" if left <= 0 else "partially_filled",
        }

    def _execution(self, order: Working, _: int) -> str:
        """Name an execution by what joins its two names: the order, and what is filled of it."""
        return f"{self.newest(order).id}:{order.filled.normalize():f}"

    def frames(self, said: OrderUpdate | Fill) -> list[bytes]:
        if isinstance(said, Fill):
            order = self._working(said.order_id)
            position = self._exchange.held.get(order.symbol, Decimal(0))
            more = {
                "execution_id": str(uuid.uuid5(SPACE, said.execution_id)),
                "price": text(said.price),
                "qty": text(said.qty),
                "position_qty": format(position, "f"),
            }
            event = "fill" if order.filled >= order.qty else "partial_fill"
            return [self._frame(event, order, self.newest(order), said.ts, more)]
        order = self._working(said.venue_order_id)
        if said.what == "replaced":
            old, new = self.change(order, said)
            return [
                self._frame("pending_new", order, new, said.ts, status="pending_new"),
                self._frame("replaced", order, old, said.ts),
                self._frame("new", order, new, said.ts),
            ]
        face = self.newest(order)
        if said.what != "accepted":
            return [self._frame(said.what, order, face, said.ts)]
        if self.is_held(order):
            return [self._frame("held", order, face, said.ts)]
        return [
            self._frame("pending_new", order, face, said.ts, status="pending_new"),
            self._frame("new", order, face, said.ts),
        ]

    def _working(self, name: str) -> Working:
        order = self._exchange.orders.get(name) or self._exchange.by_venue_id.get(name)
        assert order is not None, f"nobody knows order {name}"
        return order

    def _frame(
        self,
        event: str,
        order: Working,
        face: Face,
        ts: int,
        more: Json | None = None,
        *,
        status: str = "",
    ) -> bytes:
        shown = self.shown(order, face)
        if status:
            shown["status"] = status
        data = {"event": event, "timestamp": written(ts), "order": shown, **(more or {})}
        return json_bytes({"stream": "trade_updates", "data": data})
