"""What Alpaca answers: its REST interface without the sockets."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import msgspec

from regimeflow.data.calendars import sessions
from regimeflow.errors import NotThere, Refused
from regimeflow.model.events import Cancel
from regimeflow.model.venue import Holding
from regimeflow.sandbox.alpaca.data import Data
from regimeflow.sandbox.alpaca.faces import Faces
from regimeflow.sandbox.alpaca.messages import (
    SPACE,
    Json,
    asset_class,
    change_of,
    check,
    is_crypto,
    ns_of,
    order_of,
    text,
    written,
)
from regimeflow.sandbox.exchange import Exchange
from regimeflow.venues import loopback_wire as wire
from regimeflow.venues.alpaca.wire import NEW_YORK

ACCOUNT = "PA3SANDBOX01"
#: Most rows of a page, whatever was asked for.
_ORDERS, _ACTIVITIES = 500, 100


class Interface:
    """Alpaca's REST interface.

    A request is a mapping of its ``body``, its ``query`` and what stands in its ``path``. Its
    answer is what becomes JSON, None for an empty one; refusals are raised.

    Args:
        exchange: who does the work.

    Attributes:
        routes: method, path, kind of the request (for faults), and what answers it.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.faces = Faces(exchange)
        self.routes: list[tuple[str, str, str, Callable[[Json], Any]]] = [
            ("GET", "/v2/account", "balances", self._account),
            ("GET", "/v2/clock", "time", self._clock),
            ("GET", "/v2/calendar", "time", self._calendar),
            ("GET", "/v2/assets", "instruments", self._assets),
            ("GET", "/v2/assets/{symbol:.+}", "instruments", self._asset),
            ("POST", "/v2/orders", "submit", self._submit),
            ("GET", "/v2/orders", "open_orders", self._list),
            ("GET", "/v2/orders:by_client_order_id", "order", self._named),
            ("GET", "/v2/orders/{id}", "order", self._one),
            ("PATCH", "/v2/orders/{id}", "replace", self._replace),
            ("DELETE", "/v2/orders/{id}", "cancel", self._cancel),
            ("GET", "/v2/positions", "positions", self._positions),
            ("GET", "/v2/account/activities/FILL", "executions", self._activities),
            ("DELETE", "/v2/orders", "cancel", self._cancel_all),
            ("GET", "/v2/positions/{symbol:.+}", "positions", self._position),
            ("DELETE", "/v2/positions", "submit", self._close_all),
            ("DELETE", "/v2/positions/{symbol:.+}", "submit", self._close),
            *Data(exchange).routes,
        ]

    def meaning(self, kind: str, asked: Json) -> bytes:
        """Return a request in the words of the loopback venue, as far as it can be read."""
        question: wire.Question
        try:
            if kind == "submit":
                question = wire.SubmitOrder(order_of(asked["body"]))
            elif kind == "cancel":
                order, face = self.faces.known(asked["path"]["id"])
                question = wire.CancelOrder(Cancel(0, 0, order.id), face.id)
            elif kind == "replace":
                order, face = self.faces.known(asked["path"]["id"])
                question = wire.ReplaceOrder(change_of(order, asked["body"]), face.id)
            else:
                return b""
        except (Refused, KeyError, ValueError, ArithmeticError, msgspec.MsgspecError):
            return b""
        return wire.line(wire.Ask(0, question)).rstrip()

    # ------------------------------------------------------------ account and rules

    def _account(self, _: Json) -> Json:
        money = self.exchange.balances()
        return {
            "id": str(uuid.uuid5(SPACE, ACCOUNT)),
            "account_number": ACCOUNT,
            "status": "ACTIVE",
            "currency": "USD",
            "cash": text(money.cash),
            "equity": text(money.equity),
            "portfolio_value": text(money.equity),
            "buying_power": text(money.buying_power),
            "multiplier": str(self.exchange.leverage or 1),
            "initial_margin": text(money.margin),
            "maintenance_margin": text(money.margin),
            "shorting_enabled": True,
            "trading_blocked": False,
            "account_blocked": False,
            "pattern_day_trader": False,
        }

    def _clock(self, _: Json) -> Json:
        now = written(self.exchange.time())
        return {"timestamp": now, "is_open": True, "next_open": now, "next_close": now}

    def _calendar(self, asked: Json) -> list[Json]:
        """Answer with the days of New York's exchange, though the sandbox itself never closes."""
        query = asked["query"]
        first, last = (ns_of(f"{query[key]}T17:00:00Z") for key in ("start", "end"))
        found = sessions("XNYS", first, last)
        clock = [
            [f"{datetime.fromtimestamp(ns / 1e9, NEW_YORK):%H:%M}" for ns in row]
            for row in zip(found.open_ns.tolist(), found.close_ns.tolist(), strict=True)
        ]
        return [
            {"date": found.label(at), "open": opens, "close": closes}
            for at, (opens, closes) in enumerate(clock)
            if query["start"] <= found.label(at) <= query["end"]
        ]

    def _assets(self, _: Json) -> list[Json]:
        return [self._asset({"path": {"symbol": symbol}}) for symbol in self.exchange.rules]

    def _asset(self, asked: Json) -> Json:
        symbol = unquote(asked["path"]["symbol"])
        rules = self.exchange.rules.get(symbol)
        if rules is None:
            raise NotThere(f"asset not found for {symbol}")
        crypto = is_crypto(symbol)
        found: Json = {
            "id": str(uuid.uuid5(SPACE, symbol)),
            "class": asset_class(symbol),
            "exchange": "CRYPTO" if crypto else "NASDAQ",
            "symbol": symbol,
            "name": f"{symbol} of the sandbox",
            "status": "active",
            "tradable": True,
            "marginable": not crypto,
            "shortable": rules.shortable and not crypto,
            "easy_to_borrow": rules.shortable and not crypto,
            "fractionable": rules.lot < 1.0,
        }
        if crypto:
            found |= {
                "min_order_size": text(rules.min_qty or rules.lot),
                "min_trade_increment": text(rules.lot),
                "price_increment": text(rules.tick),
            }
        return found

    # ------------------------------------------------------------ orders

    def _submit(self, asked: Json) -> Json:
        body = asked["body"]
        check(body)
        order = order_of(self._in_units(body))
        if self.faces.is_taken(order.order_id):
            raise Refused("taken", code="duplicate_order_id")
        if body.get("notional") is not None:
            self.faces.notional[order.order_id] = str(body["notional"])
        self.exchange.submit(order)
        return self.faces.nested(*self.faces.named(order.order_id))

    def _in_units(self, body: Json) -> Json:
        """Return an order that is given in money with what that buys now."""
        rules = self.exchange.rules.get(str(body["symbol"]))
        if body.get("notional") is None or rules is None:
            return body
        lot, price = Decimal(str(rules.lot)), self.exchange.prices[rules.symbol]
        return body | {"qty": str(Decimal(str(body["notional"])) / price // lot * lot)}

    def _replace(self, asked: Json) -> Json:
        order, face = self.faces.known(asked["path"]["id"])
        if face.after:
            raise Refused(f"order {face.id} is replaced", code="order_over")
        name = str(asked["body"].get("client_order_id") or uuid.uuid4())
        if self.faces.is_taken(name):
            raise Refused("taken", code="duplicate_order_id")
        self.faces.rename(order, name)
        self.exchange.replace(change_of(order, asked["body"]), order.venue_id)
        return self.faces.shown(*self.faces.known(self.faces.newest(order).id))

    def _cancel(self, asked: Json) -> None:
        order, face = self.faces.known(asked["path"]["id"])
        if face.after:
            raise Refused(f"order {face.id} is replaced", code="order_over")
        self.exchange.cancel(Cancel(0, 0, order.id), order.venue_id)

    def _one(self, asked: Json) -> Json:
        show = self.faces.nested if asked["query"].get("nested") == "true" else self.faces.shown
        return show(*self.faces.known(asked["path"]["id"]))

    def _named(self, asked: Json) -> Json:
        return self.faces.shown(*self.faces.named(asked["query"]["client_order_id"]))

    def _list(self, asked: Json) -> list[Json]:
        query = asked["query"]
        open_only = query.get("status", "open") == "open"
        rows = [
            (order, face)
            for order, face in self.faces.all()
            if not (open_only and (order.status != "open" or face.after))
            and not (open_only and self.faces.is_held(order))
        ]
        newest_first = query.get("direction", "desc") == "desc"
        rows.sort(key=lambda row: row[1].at, reverse=newest_first)
        until, after = query.get("until"), query.get("after")
        rows = [row for row in rows if not until or row[1].at < ns_of(until)]
        rows = [row for row in rows if not after or row[1].at > ns_of(after)]
        limit = min(int(query.get("limit", 50)), _ORDERS)
        return [self.faces.shown(*row) for row in rows[:limit]]

    # ------------------------------------------------------------ positions and executions

    def _positions(self, _: Json) -> list[Json]:
        return [self._held(row) for row in self.exchange.positions()]

    def _held(self, row: Holding) -> Json:
        """Return a position; what the last day was is not known, and taken to be as now."""
        exchange, symbol = self.exchange, row.symbol
        price, cost, units = exchange.prices[symbol], exchange.cost[symbol], exchange.held[symbol]
        value, crypto = units * price, is_crypto(symbol)
        gain = value - cost
        share = gain / abs(cost) if cost else cost
        promised = sum(
            order.left
            for order in exchange.working()
            if order.symbol == symbol and order.buys == (units < 0) and not order.entry
        )
        return {
            "asset_id": str(uuid.uuid5(SPACE, symbol)),
            "symbol": symbol.replace("/", ""),
            "exchange": "CRYPTO" if crypto else "NASDAQ",
            "asset_class": asset_class(symbol),
            "asset_marginable": not crypto,
            "qty": _plain(units),
            "qty_available": _plain(max(abs(units) - promised, units * 0)),
            "side": "long" if row.qty > 0 else "short",
            "avg_entry_price": text(row.average_price),
            "cost_basis": _plain(cost),
            "market_value": _plain(value),
            "current_price": _plain(price),
            "lastday_price": _plain(price),
            "change_today": "0",
            "unrealized_pl": _plain(gain),
            "unrealized_plpc": _plain(share),
            "unrealized_intraday_pl": _plain(gain),
            "unrealized_intraday_plpc": _plain(share),
        }

    def _holding(self, asked: Json) -> Holding:
        name = unquote(asked["path"]["symbol"])
        for row in self.exchange.positions():
            known = (row.symbol, row.symbol.replace("/", ""), str(uuid.uuid5(SPACE, row.symbol)))
            if name in known:
                return row
        raise NotThere("position does not exist")

    def _position(self, asked: Json) -> Json:
        return self._held(self._holding(asked))

    def _close(self, asked: Json) -> Json:
        """Sell what is held, or buy back what is owed: all of it, or a part."""
        row, query = self._holding(asked), asked["query"]
        held = abs(self.exchange.held[row.symbol])
        qty = held
        if "qty" in query:
            qty = Decimal(query["qty"])
        elif "percentage" in query:
            lot = Decimal(str(self.exchange.rules[row.symbol].lot))
            qty = held * Decimal(query["percentage"]) / 100 // lot * lot
        if qty > held:
            words = f"insufficient qty available for order (requested: {qty}, available: {held})"
            raise Refused(words, code="no_units")
        body = {
            "client_order_id": str(uuid.uuid4()),
            "symbol": row.symbol,
            "side": "sell" if row.qty > 0 else "buy",
            "qty": _plain(qty),
            "type": "market",
            "time_in_force": "gtc" if is_crypto(row.symbol) else "day",
        }
        return self._submit({"body": body})

    def _close_all(self, asked: Json) -> Several:
        if asked["query"].get("cancel_orders", "").lower() == "true":
            self._cancel_all(asked)
        done = Several()
        for row in self.exchange.positions():
            order = self._close({"path": {"symbol": row.symbol}, "query": {}})
            symbol = row.symbol.replace("/", "")
            done.append({"symbol": symbol, "status": 200, "order_id": order["id"], "body": order})
        return done

    def _cancel_all(self, _: Json) -> Several:
        done = Several()
        for order in self.exchange.working():
            if order.status == "open":  # else another one's end was its own
                self.exchange.cancel(Cancel(0, 0, order.id), order.venue_id)
                done.append({"id": self.faces.newest(order).id, "status": 200})
        return done

    def _activities(self, asked: Json) -> list[Json]:
        query = asked["query"]
        after = ns_of(query["after"]) if "after" in query else 0
        rows = [self.faces.activity(fill) for fill in self.exchange.executions(after)]
        if query.get("direction", "desc") == "desc":
            rows.reverse()
        if token := query.get("page_token"):
            rows = rows[[row["id"] for row in rows].index(token) + 1 :]
        return rows[: min(int(query.get("page_size", _ACTIVITIES)), _ACTIVITIES)]


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")


class Several(list[Json]):
    """An answer of several, each with a status of its own."""
