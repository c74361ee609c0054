"""Orders of ours at an exchange: sent once, canceled, looked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from regimeflow.errors import NotThere, Refused, VenueError
from regimeflow.model.events import Submit
from regimeflow.venues.ccxt import able, paging, translate
from regimeflow.venues.ccxt.account import Account
from regimeflow.venues.ccxt.habits import Habits
from regimeflow.venues.ccxt.names import Names
from regimeflow.venues.port import Ack, Capabilities, VenueOrder


class Orders:
    """What is asked of an exchange about orders.

    Args:
        name, habits, able: of the exchange.
        account: whose orders they are.
        names: of all orders, and added to.
        translated: makes an error of ours of ccxt's.
    """

    def __init__(
        self,
        name: str,
        habits: Habits,
        able: Capabilities,
        account: Account,
        names: Names,
        translated: Callable[[Exception], VenueError],
    ) -> None:
        self._name, self._habits, self._able = name, habits, able
        self._account, self._names, self._translated = account, names, translated

    # ------------------------------------------------------------ requests

    async def submit(self, client: Any, order: Submit) -> Ack:
        """Send an order: one request, never a second one."""
        market = self._account.market(client, order.symbol)
        self._check(client, market, order)
        self._names.learn(order.order_id, "", order.symbol)
        kind = "market" if order.limit is None else "limit"
        params: dict[str, Any] = {"clientOrderId": order.order_id}
        if kind == "limit" and order.tif != "gtc":
            params["timeInForce"] = order.tif.upper()
        if order.stop is not None:
            params["triggerPrice"] = translate.exact(order.stop)
        if order.reduce_only and market.get("contract"):
            params["reduceOnly"] = True
        limit = None if order.limit is None else translate.exact(order.limit)
        answer = await client.create_order(
            order.symbol, kind, order.side, translate.exact(order.qty), limit, params
        )
        venue_id = translate.text(answer.get("id"), "the id of the order that was sent")
        self._names.learn(order.order_id, venue_id, order.symbol)
        ts = translate.nanoseconds(answer.get("timestamp"), answer.get("lastUpdateTimestamp"))
        return Ack(venue_id, ts)

    def _check(self, client: Any, market: dict[str, Any], order: Submit) -> None:
        """Refuse what ccxt would round to something else, or send as something else."""
        if order.type not in self._able.order_types:
            raise Refused(f"{self._name} takes no {order.type!r} orders", code="bad_type")
        if order.tif not in self._able.tifs or (order.limit is None and order.tif != "gtc"):
            raise Refused(
                f"{self._name} takes no {order.type} orders with the time in force {order.tif!r}",
                code="bad_tif",
            )
        if order.take_profit or order.stop_loss:
            raise Refused(f"{self._name} takes no exits with an order here", code="bad_exits")
        _on_grid(client, market, "amount", order.qty)
        for price in (order.limit, order.stop):
            if price is not None:
                _on_grid(client, market, "price", price)

    async def cancel(self, client: Any, order_id: str, venue_id: str) -> None:
        """Ask to cancel."""
        symbol, venue_id = await self._place(client, order_id, venue_id)
        await client.cancel_order(venue_id or None, symbol, self._by(order_id, venue_id))

    # ------------------------------------------------------------ questions

    async def working(self, client: Any) -> list[VenueOrder]:
        """Return all working orders of the account."""
        places: Sequence[str | None] = [None]
        if able.asks_by_symbol(client, self._account.habits.market):
            places = await self._account.traded(client)
        rows = [row for place in places for row in await self._working_in(client, place)]
        return [self.row(row) for row in rows]

    async def _working_in(self, client: Any, symbol: str | None) -> Sequence[dict[str, Any]]:
        what, page = f"working orders at {self._name}", self._habits.orders_page
        if page and self._habits.cursor:
            rows = await paging.by_cursor(
                lambda terms: client.fetch_open_orders(symbol, None, page, terms),
                self._habits.cursor,
                page,
                what,
            )
            return list({row["id"]: row for row in rows}.values())
        if page is None:
            page = able.rows_of_open_orders(client, self._habits.market)
        rows = await client.fetch_open_orders(symbol, None, page or None)
        return paging.whole(rows, page, what)

    async def order(self, client: Any, order_id: str, venue_id: str) -> VenueOrder:
        """Return one order, working or over.

        Raises:
            NotThere: the exchange has no such order.
        """
        symbol, venue_id = self._names.place(order_id, venue_id)
        places = [symbol] if symbol else await self._account.traded(client)
        last: Refused | None = None
        for place in places:
            try:
                row = await self._looked_for(client, order_id, venue_id, place)
            except Exception as error:
                last = _not_there(self._translated(error))
            else:
                return self.row(row)
        if last is None:
            raise VenueError(f"nobody has said which symbol order {order_id} is of")
        raise last

    def row(self, row: dict[str, Any]) -> VenueOrder:
        """Return an order as ccxt shows it, its names learned."""
        found = translate.venue_order(row, self._habits)
        self._names.learn(found.order_id, found.venue_order_id, found.symbol)
        return found

    def _by(self, order_id: str, venue_id: str) -> dict[str, Any]:
        """Return how an order is named: the exchange's own id is never used twice."""
        return {} if venue_id else {self._habits.id_name: order_id}

    async def _looked_for(
        self, client: Any, order_id: str, venue_id: str, symbol: str
    ) -> dict[str, Any]:
        """Return one order as ccxt has it."""
        if not self._habits.listed:
            found = await client.fetch_order(venue_id or None, symbol, self._by(order_id, venue_id))
            return dict(found)
        named = {"orderId": venue_id} if venue_id else self._by(order_id, "")
        for ask in (client.fetch_open_orders, client.fetch_canceled_and_closed_orders):
            for row in await ask(symbol, None, None, named):
                if (row["id"] == venue_id) if venue_id else (row["clientOrderId"] == order_id):
                    return dict(row)
        raise NotThere(f"{self._name} lists no order {order_id or venue_id}", code="not_there")

    async def _place(self, client: Any, order_id: str, venue_id: str) -> tuple[str, str]:
        """Return the symbol and the exchange's id of an order, asking for them where need be."""
        symbol, venue_id = self._names.place(order_id, venue_id)
        if symbol:
            return symbol, venue_id
        row = await self.order(client, order_id, venue_id)
        return row.symbol, row.venue_order_id


def _on_grid(client: Any, market: dict[str, Any], what: str, value: float) -> None:
    step = Decimal(repr(translate.step(client, market["precision"].get(what))))
    if not (math.isfinite(value) and value > 0.0) or Decimal(repr(float(value))) % step:
        word, code = ("a quantity", "bad_qty") if what == "amount" else ("a price", "bad_price")
        raise Refused(
            f"{value!r} is not {word} of {market['symbol']}: its step is {step}", code=code
        )


def _not_there(error: VenueError) -> Refused:
    """Return an error if it says that there is no such order; raise any other."""
    if not isinstance(error, NotThere):
        raise error from None
    return error
