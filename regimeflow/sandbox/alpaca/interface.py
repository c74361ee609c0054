"""What Alpaca answers: its REST interface without the sockets."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from regimeflow.data.calendars import sessions
from regimeflow.errors import NotThere, Refused
from regimeflow.model.events import Cancel
from regimeflow.sandbox.alpaca.faces import Faces
from regimeflow.sandbox.alpaca.messages import (
    SPACE,
    Json,
    asset_class,
    bar,
    change_of,
    check,
    is_crypto,
    length_of,
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
_BARS, _ORDERS, _ACTIVITIES = 1_000, 500, 100
_PRICES = ("open", "high", "low", "close", "volume")


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
            ("GET", "/v2/stocks/bars", "history", self._past),
            ("GET", "/v1beta3/crypto/us/bars", "history", self._past),
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
            "initial_margin": "0",
            "maintenance_margin": "0",
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
        order = order_of(body)
        if self.faces.is_taken(order.order_id):
            raise Refused("taken", code="duplicate_order_id")
        self.exchange.submit(order)
        return self.faces.nested(*self.faces.named(order.order_id))

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
        return [
            {
                "asset_id": str(uuid.uuid5(SPACE, row.symbol)),
                "symbol": row.symbol.replace("/", ""),
                "asset_class": asset_class(row.symbol),
                "qty": text(row.qty),
                "side": "long" if row.qty > 0 else "short",
                "avg_entry_price": text(row.average_price),
            }
            for row in self.exchange.positions()
        ]

    def _activities(self, asked: Json) -> list[Json]:
        query = asked["query"]
        after = ns_of(query["after"]) if "after" in query else 0
        rows = [self.faces.activity(fill) for fill in self.exchange.executions(after)]
        if query.get("direction", "desc") == "desc":
            rows.reverse()
        if token := query.get("page_token"):
            rows = rows[[row["id"] for row in rows].index(token) + 1 :]
        return rows[: min(int(query.get("page_size", _ACTIVITIES)), _ACTIVITIES)]

    # ------------------------------------------------------------ history

    def _past(self, asked: Json) -> Json:
        query, exchange = asked["query"], self.exchange
        length = length_of(query["timeframe"])
        if length % exchange.timeframe:
            raise Refused(f"invalid timeframe: {query['timeframe']}", code="bad_request")
        start, end = ns_of(query["start"]), ns_of(query["end"])
        found: dict[str, list[Json]] = {}
        offset, left = int(query.get("page_token") or 0), min(int(query.get("limit", 1_000)), _BARS)
        total = 0
        for symbol in query["symbols"].split(","):
            rows = self._rows(symbol, length, start, end)
            total += len(rows)
            page = rows[offset : offset + left]
            found[symbol] = [bar(row, length) for row in page]
        token = str(offset + left) if offset + left < total else None
        return {"bars": found, "next_page_token": token}

    def _rows(self, symbol: str, length: int, start: int, end: int) -> list[tuple[float, ...]]:
        """Return close times, prices and volumes, those of the forming bar included."""
        exchange = self.exchange
        told = exchange.past(symbol, exchange.timeframe, start, end + length)
        columns = (told.times, told.open, told.high, told.low, told.close, told.volume)
        rows: list[tuple[float, ...]] = list(zip(*columns, strict=True))
        forming = exchange.forming(symbol)
        if forming is not None and forming.ts - exchange.timeframe <= end:
            rows.append((forming.ts, *(getattr(forming, n) for n in _PRICES)))
        if length == exchange.timeframe:
            return rows
        made: dict[int, tuple[float, ...]] = {}
        for ts, o, h, l, c, v in rows:  # noqa: E741
            close = -(-int(ts) // length) * length
            if not start <= close - length <= end:
                continue  # it opened before, or opens after
            _, first, high, low, _, volume = made.get(close, (close, o, h, l, c, 0.0))
            made[close] = (close, first, max(high, h), min(low, l), c, volume + v)
        return list(made.values())
