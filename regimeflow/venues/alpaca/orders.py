"""Orders of ours at Alpaca: sent once, changed, canceled, looked for under their newest id."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from regimeflow.errors import NotThere, Refused, VenueError
from regimeflow.model.events import Cancel, Replace, Submit, entry_of
from regimeflow.model.instrument import Instrument
from regimeflow.venues.alpaca import wire
from regimeflow.venues.alpaca.asking import Asking, before_sending, time_of
from regimeflow.venues.alpaca.assets import Assets
from regimeflow.venues.alpaca.names import Names
from regimeflow.venues.alpaca.outcomes import CANCEL, REPLACE, SUBMIT
from regimeflow.venues.port import Ack, Capabilities, VenueOrder

_PAGE = 500
#: How often an order can have been changed.
_CHAIN = 100


class Orders:
    """What is asked of Alpaca about orders.

    Args:
        asking: asks.
        assets: by whose rules they are.
        names: of all orders, and added to.
        able: what is taken.
        crypto: whether it is crypto; stocks else.
    """

    def __init__(
        self, asking: Asking, assets: Assets, names: Names, able: Capabilities, *, crypto: bool
    ) -> None:
        self._asking, self._assets, self._names = asking, assets, names
        self._able, self._crypto = able, crypto

    # ------------------------------------------------------------ requests

    def submit(self, order: Submit) -> Ack:
        """Send an order: one request, never a second one."""
        body = self._terms(order)
        asking = self._asking
        taken = asking.ask(
            SUBMIT, lambda: asking.client("trading").post("/orders", body), wire.Order
        )
        if taken.client_order_id != order.order_id:
            raise VenueError("Alpaca answered for another order than the one that was sent")
        return self._taken(taken)

    def _taken(self, order: wire.Order) -> Ack:
        self._names.learn(order)
        return Ack(order.id, time_of(order.submitted_at) if order.submitted_at else 0)

    def _terms(self, order: Submit) -> dict[str, Any]:
        """Return an order as Alpaca takes it, checked before anything is sent."""
        if order.type not in self._able.order_types:
            raise Refused(f"Alpaca takes no {order.type!r} orders here", code="bad_type")
        if order.tif not in self._able.tifs:
            raise Refused(f"Alpaca takes no time in force {order.tif!r} here", code="bad_tif")
        if (order.take_profit or order.stop_loss) and not self._able.brackets:
            raise Refused("Alpaca takes no exits with an order here", code="bad_exits")
        rules = before_sending(lambda: self._assets.of(order.symbol))
        body: dict[str, Any] = {
            "symbol": order.symbol,
            "side": order.side,
            "type": order.type,
            "time_in_force": order.tif,
            "client_order_id": order.order_id,
            "qty": _qty(rules, order.qty),
        }
        if not self._crypto and "." in body["qty"] and order.tif != "day":
            raise Refused("Alpaca takes fractions of a share by day orders only", code="bad_tif")
        return body | _prices(rules, order.limit, order.stop) | _exits(rules, order, body["qty"])

    def cancel(self, request: Cancel, venue_order_id: str) -> None:
        """Ask to cancel; an order that was changed is looked for under its newest id."""
        target = venue_order_id or self.find(request.order_id, "").id
        try:
            self._delete(target)
        except Refused as no:
            if no.code not in ("order_over", "not_there"):
                raise
            newest = self.find(request.order_id, venue_order_id)
            if newest.id == target or wire.STATUSES.get(newest.status) != "open":
                raise
            self._delete(newest.id)

    def _delete(self, venue_order_id: str) -> None:
        asking, path = self._asking, _path(venue_order_id)
        asking.ask(CANCEL, lambda: asking.client("trading").delete(path), object)

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        """Ask to change quantity or prices: at Alpaca a new order takes the place of the old."""
        if not request.qty > 0:
            raise Refused(f"{request.qty!r} is no quantity", code="bad_qty")
        target = before_sending(lambda: self.find(request.order_id, venue_order_id))
        symbol = wire.symbol_of(target.symbol, target.asset_class)
        rules = before_sending(lambda: self._assets.of(symbol))
        # An exit takes off what its entry brought: of that only the price can be changed.
        qty = {} if entry_of(request.order_id) else {"qty": _qty(rules, request.qty)}
        body = {
            **qty,
            "client_order_id": wire.client_id(request.order_id, request.seq),
            **_prices(rules, request.limit, request.stop),
        }
        asking, path = self._asking, _path(target.id)
        made = asking.ask(REPLACE, lambda: asking.client("trading").patch(path, body), wire.Order)
        return self._taken(made)

    # ------------------------------------------------------------ questions

    def working(self) -> list[VenueOrder]:
        """Return all working orders of the account, page by page."""
        found: dict[str, wire.Order] = {}
        terms: dict[str, Any] = {
            "status": "open", "limit": _PAGE, "direction": "desc", "nested": "false",
        }  # fmt: skip
        while True:
            page = self._asking.trading("/orders", list[wire.Order], terms)
            before = len(found)
            found |= {order.id: order for order in page}
            if len(page) < _PAGE:
                break
            if len(found) == before:
                raise VenueError("Alpaca's pages of orders do not go on: not all can be listed")
            # One nanosecond more, since two may have been sent at once.
            terms["until"] = wire.written(time_of(page[-1].submitted_at) + 1)
        for exit_ in self._exits_besides(found):
            found[exit_.id] = exit_
        return [self.row(order) for order in found.values() if wire.in_force(order)]

    def _exits_besides(self, listed: dict[str, wire.Order]) -> list[wire.Order]:
        """Return exits that work or wait: while Alpaca holds one back it is not on the list."""
        besides = []
        for entry_id in self._names.entries():
            entry = self.by_id(entry_id, nested=True)
            self._names.learn(entry)
            for leg in entry.legs or ():
                newest = self._newest(leg) if leg.id not in listed else None
                if newest is not None and wire.STATUSES.get(newest.status) == "open":
                    besides.append(newest)
        return besides

    def find(self, order_id: str, venue_order_id: str) -> wire.Order:
        """Return an order in its newest form.

        Raises:
            NotThere: Alpaca has no such order.
        """
        return self._newest(self._first(order_id, venue_order_id))

    def _newest(self, found: wire.Order) -> wire.Order:
        for _ in range(_CHAIN):
            self._names.learn(found)
            newer = self.by_id(found.replaced_by) if found.replaced_by else None
            if newer is None or not wire.in_force(newer):
                return found
            found = newer
        raise VenueError(f"order {found.id} was changed too often to follow")

    def _first(self, order_id: str, venue_order_id: str) -> wire.Order:
        if venue_order_id:
            try:
                return self.by_id(venue_order_id)
            except NotThere:
                if not order_id:
                    raise
        entry_id = entry_of(order_id)
        terms = {"client_order_id": entry_id or order_id}
        found = self._asking.trading("/orders:by_client_order_id", wire.Order, terms)
        if not entry_id:
            return found
        entry = self.by_id(found.id, nested=True)
        self._names.learn(entry)
        for leg in reversed(entry.legs or ()):
            if wire.exit_id(entry_id, leg) == order_id:
                return leg
        raise NotThere(f"order {entry_id} has no such exit at Alpaca", code="not_there")

    def by_id(self, venue_order_id: str, *, nested: bool = False) -> wire.Order:
        """Return an order by Alpaca's id of it, with its exits where it is ``nested``."""
        terms = {"nested": "true"} if nested else None
        return self._asking.trading(_path(venue_order_id), wire.Order, terms)

    def row(self, order: wire.Order) -> VenueOrder:
        """Return an order as a venue shows one."""
        self._names.learn(order)
        try:
            return wire.venue_order(order, self._names.of(order.id))
        except wire.Unreadable as error:
            raise VenueError(
                f"Alpaca shows order {order.id} in a way that cannot be: {error}"
            ) from None


def _path(venue_order_id: str) -> str:
    return f"/orders/{quote(venue_order_id, safe='')}"


def _qty(rules: Instrument, qty: float) -> str:
    """Return a quantity on the grid, as exact decimal text."""
    snapped = rules.snap_qty(qty) if abs(qty) < 1e15 else 0.0
    if not snapped > 0 or abs(snapped - qty) > 1e-6 * rules.lot:
        raise Refused(f"{qty!r} is not in whole lots of {rules.symbol}", code="bad_qty")
    return wire.decimal(snapped)


def _exits(rules: Instrument, order: Submit, qty: str) -> dict[str, Any]:
    """Return the exits of an order as Alpaca takes them, in the same request."""
    found: dict[str, Any] = {}
    if order.take_profit:
        found["take_profit"] = _prices(rules, order.take_profit, None)
    if order.stop_loss:
        found["stop_loss"] = _prices(rules, None, order.stop_loss)
    if not found:
        return {}
    if "." in qty:
        raise Refused("Alpaca takes exits with whole shares only", code="bad_qty")
    if order.tif not in ("day", "gtc"):
        raise Refused("Alpaca takes exits with day and gtc orders only", code="bad_tif")
    return {"order_class": "bracket" if len(found) > 1 else "oto", **found}


def _prices(rules: Instrument, limit: float | None, stop: float | None) -> dict[str, str]:
    """Return prices on the grid, as exact decimal text."""
    found = {}
    for name, price in (("limit_price", limit), ("stop_price", stop)):
        if price is None:
            continue
        snapped = rules.round_price(price) if 0 < price < 1e15 else 0.0
        if not snapped > 0 or abs(snapped - price) > 1e-3 * rules.tick:
            raise Refused(f"{price!r} is not a price of {rules.symbol}", code="bad_price")
        found[name] = wire.decimal(snapped)
    return found
