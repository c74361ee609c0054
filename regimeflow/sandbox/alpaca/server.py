"""Alpaca's protocols over sockets, and everything that can go wrong with them."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import msgpack
import msgspec
from aiohttp import WSMsgType, web

from regimeflow.errors import NotThere, Refused
from regimeflow.model.events import Fill, OrderUpdate
from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.sandbox.alpaca import API_KEY, SECRET_KEY
from regimeflow.sandbox.alpaca.interface import Interface, Several
from regimeflow.sandbox.alpaca.messages import Json, is_crypto, json_bytes, market
from regimeflow.sandbox.house import House
from regimeflow.sandbox.script import Fault
from regimeflow.venues import loopback_wire as wire
from regimeflow.venues.port import Said

_PAGE = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_NOISE = b"\x00\xff{]\x13not json\n"
#: Unsent frames after which a client that does not read is cut off.
_TOO_SLOW = 50_000


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
        # Half of a stock's value may be borrowed, of crypto nothing.
        self.exchange.leverage = Decimal(1 if any(map(is_crypto, self.exchange.rules)) else 2)
        self._house = house
        self._interface = Interface(house.exchange)
        self._orders: Socket | None = None
        self._market: Socket | None = None
        self._bars = self._ticks = self._updated = frozenset[str]()
        self._muted_until = 0
        self._waiting: list[bytes] = []
        self._dead: set[Any] = set()
        self._over = asyncio.Event()
        self._runner: web.AppRunner | None = None

    # ------------------------------------------------------------ as a wire

    async def open(self, port: int) -> int:
        """Begin to listen."""
        self.exchange.connect(self._say)
        self.exchange.on_late = self._say_again
        app = web.Application()
        app.router.add_get("/stream", self._order_stream)
        app.router.add_get("/v2/{feed:iex|sip|test}", self._market_stream)
        app.router.add_get("/v1beta3/crypto/us", self._market_stream)
        for method, path, kind, handler in self._interface.routes:
            app.router.add_route(method, path, self._handler(kind, handler))
        app.router.add_route("*", "/{tail:.*}", _nowhere)
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

    def _handler(
        self, kind: str, handler: Callable[[Json], Any]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            if request.transport in self._dead:
                return await self._never()
            asked = await _read(request)
            if kind == "submit":  # whoever gives an order no name is given one
                asked["body"].setdefault("client_order_id", str(uuid.uuid4()))
            means = self._interface.meaning(kind, asked)
            text = f"{request.method} {request.raw_path} {json.dumps(asked['body'])}"
            now = self.exchange.time()
            self._house.books.received(now, 0, wire.REQUESTS, text.encode(), means)
            key, secret = (request.headers.get(f"APCA-API-{n}") for n in ("KEY-ID", "SECRET-KEY"))
            if not _are_ours(key, secret):
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
        if found is None:
            return web.Response(status=204)
        return web.json_response(found, status=207 if isinstance(found, Several) else 200)

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
                    authorized = _are_ours(
                        data.get("key_id") or asked.get("key"),
                        data.get("secret_key") or asked.get("secret"),
                    )
                    status = "authorized" if authorized else "unauthorized"
                    answer: Json = {"status": status, "action": "authenticate"}
                    client.send(json_bytes({"stream": "authorization", "data": answer}))
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
        client.send(
            json_bytes({"stream": "listening", "data": {"streams": data.get("streams", [])}})
        )

    def _say(self, said: Said) -> None:
        if isinstance(said, OrderUpdate | Fill):
            frames = self._interface.faces.frames(said)
            self._send(
                self._orders,
                "fill" if isinstance(said, Fill) else "order_update",
                said.order_id,
                frames,
            )
        elif isinstance(said, Bar | Trade | Quote):
            wanted = self._bars if isinstance(said, Bar) else self._ticks
            if said.symbol in wanted:
                frame = msgpack.packb([market(said)])
                self._send(self._market, str(said.__struct_config__.tag), "", [frame])

    def _say_again(self, bar: Bar) -> None:
        if bar.symbol in self._updated:
            self._send(self._market, "bar", "", [msgpack.packb([market(bar, updated=True)])])

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

    # ------------------------------------------------------------ the stream of the market

    async def _market_stream(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        client = Socket(socket, request.transport)
        packed = request.headers.get("Content-Type") == "application/msgpack"
        encode: Callable[[Any], bytes] = msgpack.packb if packed else json_bytes
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
                self._bars = self._ticks = self._updated = frozenset()
                self.exchange.subscribe((), 0)
        return socket

    def _market_asked(self, client: Socket, asked: Json) -> Json | None:
        if asked["action"] == "auth":
            if not _are_ours(asked.get("key"), asked.get("secret")):
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
        self._updated = frozenset(asked.get("updatedBars") or ())
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
    "no_money": (403, "insufficient buying power"),
    "no_units": (403, ""),
    "not_fractionable": (403, ""),
}


def _are_ours(key: Any, secret: Any) -> bool:
    """Whether these are the keys of the sandbox's account."""
    return (key, secret) == (API_KEY, SECRET_KEY)


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


async def _nowhere(request: web.Request) -> web.Response:
    return _error(404, 40410000, f"endpoint not found: {request.method} {request.path}")


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
