"""A venue on this machine that speaks Alpaca's protocols, for its own client library.

``python -m regimeflow.sandbox.alpaca`` prints its ports when it listens. On the first of them are
the REST interface of trading (``/v2``) and of historical bars (``/v2/stocks``,
``/v1beta3/crypto/us``), the stream of orders (``/stream``, JSON in binary frames) and that of
market data (``/v2/iex``, ``/v1beta3/crypto/us``, msgpack). A symbol with a slash is crypto.

What Alpaca does and a simple exchange does not: a changed order is a new one with an id of its own;
an execution has one id in the stream and another in the list of activities; crypto positions come
without the slash; the current bar is in the history though it is not over; one connection for
market data.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import unquote

import msgpack
import msgspec
from aiohttp import WSMsgType, web

from regimeflow.errors import NotThere, Refused
from regimeflow.model.events import Cancel, Fill, OrderUpdate, Replace, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.sandbox import house
from regimeflow.sandbox.exchange import Working
from regimeflow.sandbox.house import House
from regimeflow.sandbox.process import VenueProcess
from regimeflow.sandbox.script import Fault
from regimeflow.venues import loopback_wire as wire
from regimeflow.venues.port import Said

ACCOUNT = "PA3SANDBOX01"
_SPACE = uuid.UUID("7d2f3c8e-54a1-4a5e-9e0e-0a1b5c3d7e11")
_PAGE = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_NOISE = b"\x00\xff{]\x13not json\n"
#: Most rows of a page, whatever was asked for.
_BARS, _ORDERS, _ACTIVITIES = 1_000, 500, 100
#: Unsent frames after which a client that does not read is cut off.
_TOO_SLOW = 50_000
_MINUTE_NS = 60 * 10**9
Json = dict[str, Any]


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


class Socket:
    """One client of a stream, and what is still to be sent to it."""

    def __init__(self, socket: web.WebSocketResponse, transport: Any) -> None:
        self.socket = socket
        self.transport = transport
        self.dead = False
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._writer = asyncio.create_task(self._write())

    def send(self, *frames: bytes) -> None:
        if self.dead:
            return
        for frame in frames:
            self._frames.put_nowait(frame)
        if self._frames.qsize() > _TOO_SLOW:
            self.abort()

    def abort(self) -> None:
        """Reset the connection."""
        if self.transport is not None:
            self.transport.abort()

    def hang_up(self) -> None:
        """Close it once everything is sent."""
        self._frames.put_nowait(None)

    def over(self) -> None:
        self._writer.cancel()

    async def _write(self) -> None:
        try:
            while True:
                frame = await self._frames.get()
                if frame is None:
                    await self.socket.close()
                    return
                await self.socket.send_bytes(frame)
        except ConnectionError:
            return  # gone: whoever reads from it notices


class Server:
    """Alpaca's protocols (a `Wire`).

    Args:
        house: the venue that speaks them.
    """

    def __init__(self, house: House) -> None:
        self.exchange = house.exchange
        self._house = house
        self._faces: dict[str, list[Face]] = {}
        self._by_id: dict[str, tuple[Working, Face]] = {}
        self._by_client_id: dict[str, tuple[Working, Face]] = {}
        self._next_name: dict[str, str] = {}
        self._orders: Socket | None = None
        self._market: Socket | None = None
        self._bars = self._ticks = frozenset[str]()
        self._muted_until = 0
        self._waiting: list[bytes] = []
        self._dead: set[Any] = set()
        self._over = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.exchange.name_order = lambda count: str(uuid.uuid5(_SPACE, f"order {count}"))
        self.exchange.name_execution = self._execution

    # ------------------------------------------------------------ as a wire

    async def open(self, port: int) -> int:
        """Begin to listen."""
        self.exchange.connect(self._say)
        app = web.Application()
        app.router.add_get("/stream", self._order_stream)
        app.router.add_get("/v2/{feed:iex|sip|test}", self._market_stream)
        app.router.add_get("/v1beta3/crypto/us", self._market_stream)
        for method, path, kind, handler in self._routes():
            app.router.add_route(method, path, self._handler(kind, handler))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, backlog=128).start()
        listens: int = self._runner.addresses[0][1]
        return listens

    async def close(self) -> None:
        """Cut all clients off and listen no more."""
        self._over.set()
        for socket in (self._orders, self._market):
            if socket is not None:
                socket.abort()
        if self._runner is not None:
            await self._runner.cleanup()

    def mute(self, ms: float) -> None:
        """Say nothing for a while; what would have been said is lost."""
        self._muted_until = time.time_ns() + int(ms * 1e6)

    def disconnect(self) -> None:
        """Reset both streams."""
        for socket in (self._orders, self._market):
            if socket is not None:
                socket.abort()

    # ------------------------------------------------------------ REST

    def _routes(self) -> list[tuple[str, str, str, Callable[[Json], Any]]]:
        return [
            ("GET", "/v2/account", "balances", self._account),
            ("GET", "/v2/clock", "time", self._clock),
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

    def _handler(
        self, kind: str, handler: Callable[[Json], Any]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            if request.transport in self._dead:
                return await self._never()
            asked = await _read(request)
            means = self._meaning(kind, asked)
            text = f"{request.method} {request.raw_path} {json.dumps(asked['body'])}"
            now = self.exchange.time()
            self._house.books.received(now, 0, wire.REQUESTS, text.encode(), means)
            if not request.headers.get("APCA-API-KEY-ID"):
                return _error(401, 40110000, "request is not authorized")
            fault = self._house.fault(kind)
            if fault is None:
                return self._answer(handler, asked)
            return await self._wrongly(fault, handler, asked, request)

        return handle

    def _answer(self, handler: Callable[[Json], Any], asked: Json) -> web.Response:
        try:
            found = handler(asked)
        except NotThere as no:
            return _error(404, 40410000, str(no))
        except Refused as no:
            status, text = _NO.get(no.code, (422, ""))
            return _error(status, status * 100_000 + 10_000, text or str(no))
        except (KeyError, ValueError, ArithmeticError, msgspec.MsgspecError) as error:
            return _error(400, 40010000, f"bad request: {error}")
        finally:
            self._house.wrote()
        return web.Response(status=204) if found is None else web.json_response(found)

    async def _wrongly(
        self, fault: Fault, handler: Callable[[Json], Any], asked: Json, request: web.Request
    ) -> web.StreamResponse:
        """Do what the script says to a request."""
        what = fault.fault
        if what == "half_open":
            self._dead.add(request.transport)
        if what in ("ignore", "half_open"):
            return await self._never()
        if what == "drop_before":
            return _cut(request)
        if what == "html_before":
            return web.Response(status=502, text=_PAGE, content_type="text/html")
        if what in ("refuse", "http_429"):
            answer = _error(429, 42910000, "too many requests.")
            answer.headers["Retry-After"] = f"{fault.ms / 1e3:g}"
            return answer
        if what.startswith("http_") and what != "http_504_after":
            status = int(what[5:])
            return _error(status, status * 100_000, "forbidden." if status == 403 else "trouble")
        answer = self._answer(handler, asked)
        if what == "drop_after":
            return _cut(request)
        if what == "no_reply":
            return await self._never()
        if what == "delay":
            await asyncio.sleep(fault.ms / 1e3)
        elif what == "cut":
            return await _half(request, answer)
        elif what in ("html", "http_504_after"):
            status = 504 if what == "http_504_after" else 200
            return web.Response(status=status, text=_PAGE, content_type="text/html")
        elif what == "garbage":
            return web.Response(body=_NOISE, content_type="application/json")
        return answer

    async def _never(self) -> web.StreamResponse:
        await self._over.wait()
        return web.Response(status=503)

    def _meaning(self, kind: str, asked: Json) -> bytes:
        """Return a request in the words of the loopback venue, as far as it can be read."""
        question: wire.Question
        try:
            if kind == "submit":
                question = wire.SubmitOrder(_order_of(asked["body"]))
            elif kind == "cancel":
                order, face = self._known(asked["path"]["id"])
                question = wire.CancelOrder(Cancel(0, 0, order.id), face.id)
            elif kind == "replace":
                order, face = self._known(asked["path"]["id"])
                question = wire.ReplaceOrder(_change_of(order, asked["body"]), face.id)
            else:
                return b""
        except (Refused, KeyError, ValueError, ArithmeticError, msgspec.MsgspecError):
            return b""
        return wire.line(wire.Ask(0, question)).rstrip()

    # ------------------------------------------------------------ account and rules

    def _account(self, _: Json) -> Json:
        money = self.exchange.balances()
        return {
            "id": str(uuid.uuid5(_SPACE, ACCOUNT)),
            "account_number": ACCOUNT,
            "status": "ACTIVE",
            "currency": "USD",
            "cash": _text(money.cash),
            "equity": _text(money.equity),
            "portfolio_value": _text(money.equity),
            "buying_power": _text(money.buying_power),
            "initial_margin": "0",
            "maintenance_margin": "0",
            "shorting_enabled": True,
            "trading_blocked": False,
            "account_blocked": False,
            "pattern_day_trader": False,
        }

    def _clock(self, _: Json) -> Json:
        now = _written(self.exchange.time())
        return {"timestamp": now, "is_open": True, "next_open": now, "next_close": now}

    def _assets(self, _: Json) -> list[Json]:
        return [self._asset({"path": {"symbol": symbol}}) for symbol in self.exchange.rules]

    def _asset(self, asked: Json) -> Json:
        symbol = unquote(asked["path"]["symbol"])
        rules = self.exchange.rules.get(symbol)
        if rules is None:
            raise NotThere(f"asset not found for {symbol}")
        crypto = _is_crypto(symbol)
        found: Json = {
            "id": str(uuid.uuid5(_SPACE, symbol)),
            "class": _class(symbol),
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
                "min_order_size": _text(rules.min_qty or rules.lot),
                "min_trade_increment": _text(rules.lot),
                "price_increment": _text(rules.tick),
            }
        return found

    # ------------------------------------------------------------ orders

    def _submit(self, asked: Json) -> Json:
        body = asked["body"]
        _check(body)
        order = _order_of(body)
        if order.order_id in self._by_client_id:
            raise Refused("taken", code="duplicate_order_id")
        self.exchange.submit(order)
        return self._shown(*self._by_client_id[order.order_id])

    def _replace(self, asked: Json) -> Json:
        order, face = self._known(asked["path"]["id"])
        if face.after:
            raise Refused(f"order {face.id} is replaced", code="order_over")
        name = str(asked["body"].get("client_order_id") or uuid.uuid4())
        if name in self._by_client_id:
            raise Refused("taken", code="duplicate_order_id")
        self._next_name[order.venue_id] = name
        self.exchange.replace(_change_of(order, asked["body"]), order.venue_id)
        return self._shown(*self._known(self._newest(order).id))

    def _cancel(self, asked: Json) -> None:
        order, face = self._known(asked["path"]["id"])
        if face.after:
            raise Refused(f"order {face.id} is replaced", code="order_over")
        self.exchange.cancel(Cancel(0, 0, order.id), order.venue_id)

    def _one(self, asked: Json) -> Json:
        return self._shown(*self._known(asked["path"]["id"]))

    def _named(self, asked: Json) -> Json:
        found = self._by_client_id.get(asked["query"]["client_order_id"])
        if found is None:
            raise NotThere(f"order not found for {asked['query']['client_order_id']}")
        order, face = found
        self.exchange.find(order.id, order.venue_id)  # unless it is hidden
        return self._shown(order, face)

    def _list(self, asked: Json) -> list[Json]:
        query = asked["query"]
        open_only = query.get("status", "open") == "open"
        for order in self.exchange.by_venue_id.values():
            self._newest(order)  # whoever placed it
        rows = [
            (order, face)
            for order, face in self._by_id.values()
            if self.exchange.time() >= order.hidden_until
            and not (open_only and (order.status != "open" or face.after))
        ]
        newest_first = query.get("direction", "desc") == "desc"
        rows.sort(key=lambda row: row[1].at, reverse=newest_first)
        until, after = query.get("until"), query.get("after")
        rows = [row for row in rows if not until or row[1].at < _ns(until)]
        rows = [row for row in rows if not after or row[1].at > _ns(after)]
        limit = min(int(query.get("limit", 50)), _ORDERS)
        return [self._shown(*row) for row in rows[:limit]]

    def _known(self, id: str) -> tuple[Working, Face]:
        found = self._by_id.get(id)
        if found is None:
            raise NotThere(f"order not found for {id}")
        self.exchange.find(found[0].id, found[0].venue_id)  # unless it is hidden
        return found

    def _newest(self, order: Working) -> Face:
        """Return the face of an order that counts now."""
        faces = self._faces.get(order.venue_id)
        if not faces:
            name = order.id or str(uuid.uuid5(_SPACE, f"client {order.venue_id}"))
            self._add(order, Face(order.venue_id, name, self.exchange.time()))
            faces = self._faces[order.venue_id]
        return faces[-1]

    def _add(self, order: Working, face: Face) -> None:
        self._faces.setdefault(order.venue_id, []).append(face)
        self._by_id[face.id] = self._by_client_id[face.client_id] = (order, face)

    def _change(self, order: Working, update: OrderUpdate) -> tuple[Face, Face]:
        """Let an order have a further face; return the old and the new one."""
        old = self._newest(order)
        count = len(self._faces[order.venue_id])
        name = self._next_name.pop(order.venue_id, "") or str(uuid.uuid4())
        new_id = str(uuid.uuid5(_SPACE, f"{order.venue_id} {count}"))
        old.terms = self._terms(order) | {
            "status": "replaced",
            "replaced_by": new_id,
            "updated_at": _written(update.ts),
        }
        old.after = new_id
        new = Face(new_id, name, update.ts, old.id)
        self._add(order, new)
        return old, new

    def _shown(self, order: Working, face: Face) -> Json:
        """Return an order as Alpaca shows it."""
        status = order.status
        if status == "open":
            status = "partially_filled" if order.filled else "new"
        shown = {
            "id": face.id,
            "client_order_id": face.client_id,
            "created_at": _written(face.at),
            "submitted_at": _written(face.at),
            "updated_at": _written(order.ts),
            "asset_id": str(uuid.uuid5(_SPACE, order.symbol)),
            "symbol": order.symbol,
            "asset_class": _class(order.symbol),
            "notional": None,
            "order_class": "",
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
            "qty": str(order.qty.normalize().__format__("f")),
            "filled_qty": format(order.filled.normalize(), "f"),
            "filled_avg_price": None if average is None else format(average, "f"),
            "limit_price": None if order.limit is None else format(order.limit, "f"),
            "stop_price": None if order.stop is None else format(order.stop, "f"),
        }

    # ------------------------------------------------------------ positions and executions

    def _positions(self, _: Json) -> list[Json]:
        return [
            {
                "asset_id": str(uuid.uuid5(_SPACE, row.symbol)),
                "symbol": row.symbol.replace("/", ""),
                "asset_class": _class(row.symbol),
                "qty": _text(row.qty),
                "side": "long" if row.qty > 0 else "short",
                "avg_entry_price": _text(row.average_price),
            }
            for row in self.exchange.positions()
        ]

    def _activities(self, asked: Json) -> list[Json]:
        query = asked["query"]
        after = _ns(query["after"]) if "after" in query else 0
        rows = [self._activity(fill) for fill in self.exchange.executions(after)]
        if query.get("direction", "desc") == "desc":
            rows.reverse()
        if token := query.get("page_token"):
            rows = rows[[row["id"] for row in rows].index(token) + 1 :]
        return rows[: min(int(query.get("page_size", _ACTIVITIES)), _ACTIVITIES)]

    def _activity(self, fill: Fill) -> Json:
        order_id, _, filled = fill.execution_id.rpartition(":")
        order, _ = self._by_id[order_id]
        left = order.qty - Decimal(filled)
        return {
            "id": f"{fill.ts}::{uuid.uuid5(_SPACE, f'activity {fill.execution_id}')}",
            "activity_type": "FILL",
            "transaction_time": _written(fill.ts),
            "type": "fill" if left <= 0 else "partial_fill",
            "price": _text(fill.price),
            "qty": _text(fill.qty),
            "side": fill.side,
            "symbol": fill.symbol,
            "leaves_qty": format(max(left, Decimal(0)), "f"),
            "order_id": order_id,
            "cum_qty": filled,
            "order_status": "filled" if left <= 0 else "partially_filled",
        }

    def _execution(self, order: Working, _: int) -> str:
        """Name an execution by what joins its two names: the order, and what is filled of it."""
        return f"{self._newest(order).id}:{order.filled.normalize():f}"

    # ------------------------------------------------------------ history

    def _past(self, asked: Json) -> Json:
        query, exchange = asked["query"], self.exchange
        length = _length(query["timeframe"])
        if length != exchange.timeframe:
            raise Refused(f"invalid timeframe: {query['timeframe']}", code="bad_request")
        start, end = _ns(query["start"]), _ns(query["end"])
        found: dict[str, list[Json]] = {}
        offset, left = int(query.get("page_token") or 0), min(int(query.get("limit", 1_000)), _BARS)
        total = 0
        for symbol in query["symbols"].split(","):
            told = exchange.past(symbol, length, start, end + length)
            columns = (told.times, told.open, told.high, told.low, told.close, told.volume)
            rows = list(zip(*columns, strict=True))
            forming = exchange.forming(symbol)
            if forming is not None and forming.ts - length <= end:
                rows.append((forming.ts, *(getattr(forming, n) for n in _PRICES)))
            total += len(rows)
            page = rows[offset : offset + left]
            found[symbol] = [_bar(row, length) for row in page]
        token = str(offset + left) if offset + left < total else None
        return {"bars": found, "next_page_token": token}

    # ------------------------------------------------------------ the stream of orders

    async def _order_stream(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        client = Socket(socket, request.transport)
        authorized = False
        try:
            async for frame in socket:
                if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    continue
                asked = json.loads(frame.data)
                data = asked.get("data") or {}
                if asked.get("action") in ("authenticate", "auth"):
                    authorized = bool(data.get("key_id") or asked.get("key"))
                    status = "authorized" if authorized else "unauthorized"
                    answer: Json = {"status": status, "action": "authenticate"}
                    client.send(_json({"stream": "authorization", "data": answer}))
                elif asked.get("action") == "listen" and authorized:
                    self._listens(client, data)
        except (ValueError, AttributeError):
            client.abort()  # not a client of Alpaca's
        finally:
            client.over()
            if self._orders is client:
                self._orders = None
        return socket

    def _listens(self, client: Socket, data: Json) -> None:
        """A new client hears of orders; one that was there before does no longer."""
        before, self._orders = self._orders, client
        if before is not None and before is not client:
            before.abort()
        self._muted_until = 0
        client.send(_json({"stream": "listening", "data": {"streams": data.get("streams", [])}}))

    def _say(self, said: Said) -> None:
        if isinstance(said, OrderUpdate | Fill):
            frames = self._order_frames(said)
            self._send(
                self._orders,
                "fill" if isinstance(said, Fill) else "order_update",
                said.order_id,
                frames,
            )
        elif isinstance(said, Bar | Trade | Quote):
            wanted = self._bars if isinstance(said, Bar) else self._ticks
            if said.symbol in wanted:
                frame = msgpack.packb([_market(said)])
                self._send(self._market, str(said.__struct_config__.tag), "", [frame])

    def _send(self, client: Socket | None, kind: str, order_id: str, frames: list[bytes]) -> None:
        """Send frames, or do to them what the script says."""
        if client is None or time.time_ns() < self._muted_until:
            return
        fault = self._house.fault(kind, order_id)
        what = fault.fault if fault is not None else ""
        if what == "duplicate":
            client.send(*frames, *frames)
        elif what == "reorder":
            self._waiting += frames
        elif what == "garbage":
            client.send(_NOISE)
        elif what == "mute" and fault is not None:
            self.mute(fault.ms)
        elif what == "close":
            client.hang_up()
        elif what == "half_open":
            client.dead = True
        elif what != "lose":
            waiting, self._waiting = self._waiting, []
            client.send(*frames, *waiting)

    def _order_frames(self, said: OrderUpdate | Fill) -> list[bytes]:
        if isinstance(said, Fill):
            order = self._working(said.order_id)
            position = self.exchange.held.get(order.symbol, Decimal(0))
            more = {
                "execution_id": str(uuid.uuid5(_SPACE, said.execution_id)),
                "price": _text(said.price),
                "qty": _text(said.qty),
                "position_qty": format(position, "f"),
            }
            event = "fill" if order.filled >= order.qty else "partial_fill"
            return [self._frame(event, order, self._newest(order), said.ts, more)]
        order = self._working(said.venue_order_id)
        if said.what == "replaced":
            old, new = self._change(order, said)
            return [
                self._frame("pending_new", order, new, said.ts, status="pending_new"),
                self._frame("replaced", order, old, said.ts),
                self._frame("new", order, new, said.ts),
            ]
        face = self._newest(order)
        if said.what != "accepted":
            return [self._frame(said.what, order, face, said.ts)]
        return [
            self._frame("pending_new", order, face, said.ts, status="pending_new"),
            self._frame("new", order, face, said.ts),
        ]

    def _working(self, name: str) -> Working:
        order = self.exchange.orders.get(name) or self.exchange.by_venue_id.get(name)
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
        shown = self._shown(order, face)
        if status:
            shown["status"] = status
        data = {"event": event, "timestamp": _written(ts), "order": shown, **(more or {})}
        return _json({"stream": "trade_updates", "data": data})

    # ------------------------------------------------------------ the stream of the market

    async def _market_stream(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        client = Socket(socket, request.transport)
        packed = request.headers.get("Content-Type") == "application/msgpack"
        encode: Callable[[Any], bytes] = msgpack.packb if packed else _json
        client.send(encode([{"T": "success", "msg": "connected"}]))
        try:
            async for frame in socket:
                if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    continue
                asked = msgpack.unpackb(frame.data) if packed else json.loads(frame.data)
                answer = self._market_asked(client, asked)
                if answer is not None:
                    client.send(encode([answer]))
        except (ValueError, AttributeError, KeyError):
            client.abort()
        finally:
            client.over()
            if self._market is client:
                self._market = None
                self._bars = self._ticks = frozenset()
                self.exchange.subscribe((), 0)
        return socket

    def _market_asked(self, client: Socket, asked: Json) -> Json | None:
        if asked["action"] == "auth":
            if not asked.get("key"):
                return {"T": "error", "code": 402, "msg": "auth failed"}
            if self._market is not None:
                return {"T": "error", "code": 406, "msg": "connection limit exceeded"}
            self._market = client
            self._muted_until = 0
            return {"T": "success", "msg": "authenticated"}
        if asked["action"] != "subscribe" or self._market is not client:
            return {"T": "error", "code": 401, "msg": "not authenticated"}
        fault = self._house.fault("subscribe")
        if fault is not None:
            if fault.fault in ("ignore", "no_reply", "half_open"):
                return None
            if fault.fault in ("drop_before", "drop_after", "cut"):
                client.abort()
                return None
            return {"T": "error", "code": 405, "msg": "symbol limit exceeded"}
        self._bars = frozenset(asked.get("bars") or ())
        self._ticks = frozenset([*(asked.get("trades") or ()), *(asked.get("quotes") or ())])
        if self._bars and self._ticks:
            return {"T": "error", "code": 410, "msg": "the sandbox streams bars or trades"}
        timeframe = self.exchange.timeframe if self._bars else 0
        self.exchange.subscribe(sorted(self._bars | self._ticks), timeframe)
        self._house.wrote()
        channels = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds")
        return {"T": "subscription", **{name: list(asked.get(name) or ()) for name in channels}}


#: Code of a refusal -> the status and the words it has at Alpaca.
_NO = {
    "duplicate_order_id": (422, "client_order_id must be unique"),
    "bad_request": (400, ""),
    "unknown_symbol": (422, ""),
}
_PRICES = ("open", "high", "low", "close", "volume")


async def _read(request: web.Request) -> Json:
    raw = await request.read()
    try:
        body = json.loads(raw) if raw else {}
    except ValueError:
        body = {}
    return {
        "body": body if isinstance(body, dict) else {},
        "query": dict(request.query),
        "path": dict(request.match_info),
    }


def _cut(request: web.Request) -> web.Response:
    """Reset the connection of a request."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, answer: web.Response) -> web.StreamResponse:
    """Begin an answer, and reset the connection in the middle of it."""
    body = answer.body if isinstance(answer.body, bytes) else b"{}"
    begun = web.StreamResponse(headers={"Content-Length": str(len(body) + 1)})
    await begun.prepare(request)
    await begun.write(body[: len(body) // 2 + 1])
    if request.transport is not None:
        request.transport.close()
    return begun


def _error(status: int, code: int, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message}, status=status)


def _check(body: Json) -> None:
    """Refuse what Alpaca refuses and a simple exchange would take."""
    if body.get("qty") is None or body.get("order_class") not in (None, "", "simple"):
        raise Refused("the sandbox takes plain orders by quantity")
    qty = _decimal(body["qty"])
    if -qty.as_tuple().exponent > 9:  # type: ignore[operator]
        raise Refused("qty must have at most 9 decimals", code="bad_qty")
    crypto = _is_crypto(body["symbol"])
    if not crypto and qty % 1 and body.get("time_in_force") != "day":
        raise Refused("fractional orders must be DAY orders", code="bad_tif")
    for name in ("limit_price", "stop_price"):
        price = None if body.get(name) is None else _decimal(body[name])
        if price is not None and not crypto and price >= 1 and price != round(price, 2):
            raise Refused(f"{name} does not fulfil the sub-penny rule", code="bad_price")
    if len(body["client_order_id"]) > 128:
        raise Refused("client_order_id must be at most 128 characters")


def _order_of(body: Json) -> Submit:
    return Submit(
        0,
        0,
        str(body.get("client_order_id") or uuid.uuid4()),
        str(body["symbol"]),
        str(body["side"]),
        float(_decimal(body["qty"])),
        str(body["type"]),
        _price(body.get("limit_price")),
        _price(body.get("stop_price")),
        str(body["time_in_force"]),
    )


def _change_of(order: Working, body: Json) -> Replace:
    qty = float(_decimal(body["qty"])) if body.get("qty") is not None else float(order.qty)
    limit, stop = _price(body.get("limit_price")), _price(body.get("stop_price"))
    return Replace(0, 0, order.id, qty, limit, stop)


def _price(given: Any) -> float | None:
    return None if given is None else float(_decimal(given))


def _decimal(given: Any) -> Decimal:
    try:
        found = Decimal(str(given))
    except InvalidOperation:
        raise ValueError(f"{given!r} is no number") from None
    if not found.is_finite():
        raise ValueError(f"{given!r} is no number")
    return found


def _bar(row: Sequence[float], length: int) -> Json:
    """Return a bar of the history, named by when it opens."""
    found: Json = dict(zip(("t", "o", "h", "l", "c", "v"), row, strict=True))
    return found | {"t": _written(int(row[0]) - length), "n": 4, "vw": found["c"]}


def _market(said: Bar | Trade | Quote) -> Json:
    """Return market data as Alpaca streams them."""
    if isinstance(said, Bar):
        opens = msgpack.Timestamp.from_unix_nano(said.ts - said.timeframe)
        prices = {"o": said.open, "h": said.high, "l": said.low, "c": said.close}
        return {
            "T": "b",
            "S": said.symbol,
            **prices,
            "v": said.volume,
            "n": 4,
            "vw": said.close,
            "t": opens,
        }
    ts = msgpack.Timestamp.from_unix_nano(said.ts)
    if isinstance(said, Trade):
        return {
            "T": "t",
            "S": said.symbol,
            "i": int(said.id),
            "x": "V",
            "p": said.price,
            "s": said.size,
            "c": ["@"],
            "z": "C",
            "t": ts,
        }
    return {
        "T": "q",
        "S": said.symbol,
        "bx": "V",
        "bp": said.bid,
        "bs": said.bid_size,
        "ax": "V",
        "ap": said.ask,
        "as": said.ask_size,
        "c": ["R"],
        "z": "C",
        "t": ts,
    }


def _json(message: Any) -> bytes:
    return json.dumps(message).encode()


def _text(value: float) -> str:
    return format(Decimal(str(value)), "f")


def _written(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z"


def _ns(text: str) -> int:
    """Return a time of a query as UTC nanoseconds."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    at = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    return int(at.timestamp()) * 10**9 + int(rest.ljust(9, "0")[:9] or 0)


def _length(text: str) -> int:
    """Return a bar length as Alpaca writes it, or in nanoseconds, which only the sandbox takes."""
    for unit, ns in (("Min", _MINUTE_NS), ("Hour", 60 * _MINUTE_NS), ("Day", 1440 * _MINUTE_NS)):
        if text.endswith(unit):
            return int(text.removesuffix(unit) or 1) * ns
    return int(text.removesuffix("ns"))


def _is_crypto(symbol: str) -> bool:
    return "/" in symbol


def _class(symbol: str) -> str:
    return "crypto" if _is_crypto(symbol) else "us_equity"


def rules(symbol: str) -> Instrument:
    """Return the trading rules of a symbol: whole shares and cents, or crypto's parts."""
    if _is_crypto(symbol):
        return Instrument(symbol, tick=0.01, lot=0.0001, shortable=False)
    return Instrument(symbol)


class Alpaca(VenueProcess):
    """Alpaca on this machine, to practise and to test on; symbols with a slash are crypto.

    Args:
        as of `VenueProcess`.

    Example:
        >>> with Alpaca(symbols=["SPY", "QQQ"]) as sandbox:
        ...     sandbox.venue().name
        'alpaca'
    """

    kind = "alpaca"
    symbols = ("SPY", "QQQ")

    def venue(self, **how: Any) -> Any:
        """Return `regimeflow.venues.Alpaca` that points at it, with made-up keys.

        The sandbox never closes, so its sessions are UTC days; and it has bars of any length.

        Args:
            **how: further arguments of that venue.
        """
        from regimeflow.venues.alpaca import Alpaca as Venue

        crypto = _is_crypto(self.symbols[0])
        feed = "/v1beta3/crypto/us" if crypto else "/v2/iex"
        here = f"127.0.0.1:{self.port}"
        return Venue(
            **{
                "api_key": "PKSANDBOXSANDBOX",
                "secret_key": "made-up-for-the-sandbox",
                "asset_class": "crypto" if crypto else "equity",
                "base_url": f"http://{here}",
                "data_url": f"http://{here}",
                "stream_url": f"ws://{here}/stream",
                "data_stream_url": f"ws://{here}{feed}",
                "calendar": "",
                **how,
            }
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end by SIGTERM, SIGINT or, where attended, the end of the input."""
    return house.main(
        argv,
        prog="regimeflow sandbox alpaca",
        make_wire=Server,
        rules=rules,
        defaults={"fee_bps": 0.0},
    )


if __name__ == "__main__":
    sys.exit(main())
