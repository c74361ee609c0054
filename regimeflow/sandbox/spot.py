"""What the spot exchanges on this machine have in common: HTTP, sockets, candles and an account.

Each speaks its own language (`binance`, `bybit`); all of them trade on one `Exchange`, lock what
working orders need, refuse what cannot be paid, and go wrong as the script says.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, ClassVar

import msgspec
from aiohttp import WSMsgType, web

from regimeflow.errors import NotThere, Refused, RegimeflowError
from regimeflow.model.events import Fill, OrderUpdate, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Quote, Trade
from regimeflow.sandbox.exchange import Entry, Exchange, Working
from regimeflow.sandbox.house import House
from regimeflow.sandbox.script import Fault
from regimeflow.venues.port import Said

#: Made up: whoever can reach this machine's sandbox may trade on it.
API_KEY, SECRET_KEY = "sandbox-api-key", "sandbox-secret-key"
#: Candles from before the venue began, so that there is a past to ask for.
_PAST = 3_000
_PAGE = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>\n"
_NOISE = "\x00\xff{]\x13not json\n"
_BUSY = {"http_403": 403, "http_500": 500, "http_503": 503, "http_504": 504}
_ROLL_S = 0.05
_MOST_BYTES = 1 << 20
#: Answers a request by its parameters.
Answerer = Callable[[dict[str, str]], Any]


def spot_rules(symbol: str) -> Instrument:
    """Return the trading rules of a pair, such as AAA/USDT."""
    return Instrument(
        symbol,
        tick=0.01,
        lot=1e-5,
        min_qty=1e-5,
        min_notional=5.0,
        shortable=False,
        unit=1e-8,
    )


def contract_rules(symbol: str) -> Instrument:
    """Return the trading rules of a linear swap, such as AAA/USDT:USDT."""
    return Instrument(symbol, tick=0.01, lot=0.001, min_qty=0.001, min_notional=5.0, margin=0.1)


def pair_of(symbol: str) -> tuple[str, str]:
    """Return what a symbol is of, and the money it is traded in.

    >>> pair_of("AAA/USDT"), pair_of("AAA/USDT:USDT")
    (('AAA', 'USDT'), ('AAA', 'USDT'))
    """
    base, _, quote = symbol.partition(":")[0].partition("/")
    return base, quote


class Said400(Exception):
    """A definite no in the exchange's own words, and what else it tells."""

    def __init__(self, code: int, words: str, data: Any = None) -> None:
        super().__init__(words)
        self.code, self.words, self.data = code, words, data


class Candles:
    """Candles of every symbol, the past before the beginning included.

    Args:
        exchange: whose prices they are of.
        seed: of the past.
    """

    def __init__(self, exchange: Exchange, seed: int = 7) -> None:
        self.timeframe = exchange.timeframe
        self._exchange = exchange
        self._forming: dict[str, list[Any]] = {}
        #: Symbol -> rows of open time in nanoseconds, open, high, low, close, volume; oldest first.
        self.rows: dict[str, list[list[Any]]] = {}
        opened = exchange.time() // self.timeframe * self.timeframe
        for symbol, price in exchange.prices.items():
            self.rows[symbol] = (
                self._recalled(symbol)
                if exchange.recalled
                else _past(symbol, price, exchange.rules[symbol], opened, self, seed)
            )
            self._forming[symbol] = [opened, price, price, price, price, Decimal(0)]

    def _recalled(self, symbol: str) -> list[list[Any]]:
        """Return the candles of the exchange's own past."""
        told = self._exchange.past(symbol, self.timeframe, 0, self._exchange.time())
        columns = (told.times, told.open, told.high, told.low, told.close, told.volume)
        return [
            [int(ts) - self.timeframe, *(Decimal(str(value)) for value in values)]
            for ts, *values in zip(*columns, strict=True)
        ]

    def trade(self, symbol: str, ts: int, price: Decimal, size: Decimal) -> list[list[Any]]:
        """Take a trade in; return the candles that ended before it."""
        ended = self.roll(symbol, ts)
        row = self._forming[symbol]
        if not row[5]:
            row[1] = row[2] = row[3] = price
        row[2], row[3], row[4] = max(row[2], price), min(row[3], price), price
        row[5] += size
        return ended

    def roll(self, symbol: str, now: int) -> list[list[Any]]:
        """End the candles whose time is over; return them."""
        ended = []
        while self._forming[symbol][0] + self.timeframe <= now:
            row = self._forming[symbol]
            ended.append(row)
            self.rows[symbol].append(row)
            close = row[4]
            self._forming[symbol] = [
                row[0] + self.timeframe,
                close,
                close,
                close,
                close,
                Decimal(0),
            ]
        return ended

    def forming(self, symbol: str) -> list[Any]:
        """Return the candle that is not over yet."""
        return self._forming[symbol]

    def asked(self, symbol: str, since_ms: int, until_ms: int, limit: int) -> list[list[Any]]:
        """Return candles by their opening; the one that still forms is among them."""
        self.roll(symbol, self._exchange.time())
        rows = [*self.rows[symbol], self._forming[symbol]]
        found = [row for row in rows if since_ms <= row[0] // 10**6 <= until_ms]
        return found[:limit] if since_ms else found[-limit:]


def _past(
    symbol: str, price: Decimal, rules: Instrument, opened: int, candles: Candles, seed: int
) -> list[list[Any]]:
    """Return made-up candles that lead to the first price."""
    rng = random.Random(f"{symbol} {seed}")
    tick = Decimal(str(rules.tick))
    rows: list[list[Any]] = []
    close = price
    for count in range(1, _PAST + 1):
        steps = [tick * rng.choice((-25, -10, -5, -1, 0, 1, 5, 10, 25)) for _ in range(3)]
        first = max(close - steps[0], tick * 100)
        high = max(first, close) + abs(steps[1]) / 2 // tick * tick
        low = max(min(first, close) - abs(steps[2]) / 2 // tick * tick, tick)
        size = Decimal(rng.randint(1, 2_000))
        rows.append([opened - count * candles.timeframe, first, high, low, close, size])
        close = first
    rows.reverse()
    return rows


class Socket:
    """One client's websocket.

    Args:
        ws: of aiohttp.
        private: whether it is told of the account's orders.
    """

    def __init__(self, ws: web.WebSocketResponse, private: bool) -> None:
        self.ws = ws
        self.private = private
        self.wants: set[str] = set()
        self.dead = False
        self.waiting: list[str] = []
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()

    def send(self, text: str) -> None:
        """Send a message when it is its turn."""
        if not self.dead:
            self._queue.put_nowait(text)

    def end(self) -> None:
        """Close it after what was sent."""
        self._queue.put_nowait(None)

    async def write(self) -> None:
        """Write what was sent, for ever."""
        while (text := await self._queue.get()) is not None:
            await self.ws.send_str(text)
        await self.ws.close()


class SpotWire(ABC):
    """A spot exchange's language (a `regimeflow.sandbox.house.Wire`).

    Args:
        house: the venue that speaks it.
    """

    #: Whether an order id is taken for ever, and not only while its order works.
    ids_for_ever = True
    #: What every path begins with.
    api = "/"
    #: Method and rest of the path -> kind of the request in the script.
    kinds: ClassVar[Mapping[tuple[str, str], str]] = {}
    #: Why the exchange refuses -> its code and words; ``other`` for what is not among them.
    refusals: ClassVar[Mapping[str, tuple[int, str]]] = {}
    other = (-1, "No.")

    def __init__(self, house: House) -> None:
        self.house = house
        self.exchange = exchange = house.exchange
        exchange.ids_for_ever, exchange.fee_in_units = self.ids_for_ever, True
        exchange.name_order = str
        exchange.name_execution = lambda order, n: f"{self.id_of(order.symbol)}-{n}"
        exchange.name_payment = lambda symbol, n: f"{self.id_of(symbol)}-F{n}"
        self.candles = Candles(exchange)
        self.symbols = {self.id_of(symbol): symbol for symbol in exchange.rules}
        self.sockets: list[Socket] = []
        self.revoked = self.hedged = False
        self._muted_until = 0
        self._runner: web.AppRunner | None = None
        self._roller: asyncio.Task[None] | None = None
        self._dead: set[Any] = set()
        self._connections = 0

    # ------------------------------------------------------------ what a language must say

    @staticmethod
    def id_of(symbol: str) -> str:
        """Return the exchange's own name of a symbol."""
        return "".join(pair_of(symbol))

    @abstractmethod
    def answers(self) -> Mapping[tuple[str, str], Answerer]:
        """Return method and rest of the path -> what answers."""

    @abstractmethod
    def check(self, method: str, name: str, asked: dict[str, str], request: web.Request) -> None:
        """Look at key, signature and time of a request, where its kind must have them.

        Raises:
            Said400: something is wrong with them.
        """

    @abstractmethod
    def unsupported(self, method: str, path: str) -> Said400:
        """Return what is said to a request that nobody answers."""

    @abstractmethod
    def unknown_order(self, method: str) -> Said400:
        """Return what is said of an order that is not there."""

    def fine(self, result: Any) -> Any:
        """Return the body of an answer."""
        return result

    @abstractmethod
    def no(self, refusal: Said400) -> tuple[int, Any]:
        """Return status and body of a definite no."""

    @abstractmethod
    def busy(self) -> Any:
        """Return the body of a request that came too early."""

    @abstractmethod
    def is_private(self, path: str) -> bool:
        """Whether the socket at a path is the one of the account."""

    @abstractmethod
    def spoken_to(self, socket: Socket, message: Any) -> None:
        """Take what a client says over a socket."""

    @abstractmethod
    def order_news(self, said: OrderUpdate | Fill, order: Working) -> list[str]:
        """Return what the account's stream says of an order."""

    @abstractmethod
    def market_news(self, said: Trade | Quote) -> list[tuple[str, str]]:
        """Return name and text of what a market's stream says."""

    @abstractmethod
    def candle_news(self, symbol: str, row: list[Any], *, over: bool) -> tuple[str, str]:
        """Return name and text of what a candle's stream says."""

    # ------------------------------------------------------------ a wire

    async def open(self, port: int) -> int:
        """Begin to listen."""
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.exchange.connect(self._said)
        self.exchange.subscribe(tuple(self.exchange.rules), 0)
        self._roller = asyncio.create_task(self._roll())
        listens: int = self._runner.addresses[0][1]
        return listens

    async def close(self) -> None:
        """Cut all clients off and listen no more."""
        if self._roller is not None:
            self._roller.cancel()
        self.disconnect()
        if self._runner is not None:
            await self._runner.cleanup()

    def mute(self, ms: float) -> None:
        """Say nothing for a while; what would have been said is lost."""
        self._muted_until = time.time_ns() + int(ms * 1e6)

    def disconnect(self) -> None:
        """Reset all streams."""
        for socket in self.sockets:
            self._reset(socket)

    def _reset(self, socket: Socket) -> None:
        socket.dead = True
        request: Any = socket.ws
        if request._req is not None and request._req.transport is not None:
            request._req.transport.abort()

    async def _roll(self) -> None:
        """Tell of candles that are over though nobody trades."""
        while True:
            await asyncio.sleep(_ROLL_S)
            now = self.exchange.time()
            for symbol in self.exchange.rules:
                for row in self.candles.roll(symbol, now):
                    self.tell("bar", *self.candle_news(symbol, row, over=True))

    # ------------------------------------------------------------ requests

    def kind_of(self, method: str, path: str) -> str:
        """Return which kind of request of the script this is, "" for one it has none for."""
        return self.kinds.get((method, path.removeprefix(self.api)), "")

    def done(self, method: str, path: str, asked: dict[str, str], request: web.Request) -> Any:
        """Do what a request asks for; return the body of the answer."""
        name = path.removeprefix(self.api)
        self.check(method, name, asked, request)
        work = self.answers().get((method, name))
        if work is None:
            raise self.unsupported(method, path)
        try:
            return self.fine(work(asked))
        except NotThere:
            raise self.unknown_order(method) from None
        except Refused as refusal:
            raise Said400(*self.refusals.get(refusal.code, self.other)) from None

    def symbol_of(self, asked: dict[str, str]) -> str:
        """Return the symbol that is asked about.

        Raises:
            Said400: there is no such one.
        """
        symbol = self.symbols.get(asked.get("symbol", ""))
        if symbol is None:
            raise Said400(*self.refusals["unknown_symbol"])
        return symbol

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        body = await request.text()
        method, path = request.method, request.path
        kind = self.kind_of(method, path)
        self._connections += 1
        line = f"{method} {path} {request.query_string or body}".encode()
        self.house.books.received(self.exchange.time(), self._connections, "http", line)
        asked = asked_of(request, body)
        if request.transport in self._dead:
            await asyncio.Event().wait()
        fault = self.house.fault(kind, connection=self._connections) if kind else None
        if fault is not None:
            return await self._wrongly(fault, request, asked)
        return self._answer(request, asked)

    def _answer(self, request: web.Request, asked: dict[str, str]) -> web.Response:
        status = 200
        try:
            body = self.done(request.method, request.path, asked, request)
        except Said400 as refusal:
            status, body = self.no(refusal)
        except (RegimeflowError, ArithmeticError, KeyError, ValueError) as error:
            status, body = self.no(Said400(-1100, f"Illegal parameter: {error}"))
        self.house.wrote()
        return _json(body, status)

    async def _wrongly(
        self, fault: Fault, request: web.Request, asked: dict[str, str]
    ) -> web.StreamResponse:
        """Do what the script says to a request."""
        what = fault.fault
        if what == "half_open":
            self._dead.add(request.transport)
        if what in ("ignore", "half_open"):
            await asyncio.Event().wait()
        if what == "drop_before":
            return self._dropped(request)
        if what in ("refuse", "http_429"):
            wait = {"Retry-After": f"{fault.ms / 1e3:g}"}
            return _json(self.busy(), 429, wait)
        if what == "html_before" or what in _BUSY:
            return _page(_BUSY.get(what, 502))
        if what == "revoke":
            self.revoked = True
        if what == "hedge":
            self.hedged = True
        answer = self._answer(
            request, {**asked, "_skew_ms": str(fault.ms)} if what == "skew" else asked
        )
        if what == "drop_after":
            return self._dropped(request)
        if what == "no_reply":
            await asyncio.Event().wait()
        if what == "delay":
            await asyncio.sleep(fault.ms / 1e3)
        elif what == "cut":
            return self._cut(request, answer)
        elif what == "html":
            return _page(200)
        elif what == "http_504_after":
            return _page(504)
        elif what == "garbage":
            return web.Response(text=_NOISE)
        return answer

    @staticmethod
    def _dropped(request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _cut(self, request: web.Request, answer: web.Response) -> web.Response:
        """Close the connection in the middle of the answer."""
        body = answer.body if isinstance(answer.body, bytes) else b""
        transport = request.transport
        if isinstance(transport, asyncio.Transport):
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            transport.write(head + body[: len(body) // 2])
            transport.close()
        return answer

    # ------------------------------------------------------------ orders

    def submit(self, order: Submit) -> Working:
        """Take an order, if the account can pay for it.

        Raises:
            Refused: it is not taken.
        """
        self._affordable(order)
        self.exchange.submit(order)
        return self.exchange.orders[order.order_id]

    def _affordable(self, order: Submit) -> None:
        exchange = self.exchange
        rules = exchange.rules[order.symbol]
        price = Decimal(str(order.limit or order.stop or exchange.prices[order.symbol]))
        qty = Decimal(str(order.qty))
        if qty > 0 and qty * price < Decimal(str(rules.min_notional)):
            self._refuse(order, "too_small")
        if order.side == "buy":
            short = qty * price > exchange.cash - self.locked_cash()
        else:
            held = exchange.held.get(order.symbol, Decimal(0))
            short = qty > held - self.locked(order.symbol)
        if short:
            self._refuse(order, "no_money")

    def _refuse(self, order: Submit, code: str) -> None:
        now = self.exchange.time()
        self.exchange.record.append(Entry(now, "submit", order.order_id, order))
        self.exchange.record.append(Entry(now, "refused", order.order_id, code))
        raise Refused(code, code=code)

    def locked(self, symbol: str) -> Decimal:
        """Return the units that working orders would sell."""
        works = self.exchange.working()
        return sum((o.left for o in works if o.symbol == symbol and not o.buys), Decimal(0))

    def locked_cash(self) -> Decimal:
        """Return the money that working orders would spend."""
        spent = Decimal(0)
        for order in self.exchange.working():
            if order.buys:
                spent += order.left * (
                    order.limit or order.stop or self.exchange.prices[order.symbol]
                )
        return spent

    def find(self, venue_id: str, client_id: str) -> Working:
        """Return an order by either name.

        Raises:
            NotThere: there is none.
        """
        return self.exchange.find(client_id, venue_id)

    # ------------------------------------------------------------ streams

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(heartbeat=None, max_msg_size=_MOST_BYTES)
        await ws.prepare(request)
        socket = Socket(ws, self.is_private(request.path))
        self.sockets.append(socket)
        writer = asyncio.create_task(socket.write())
        try:
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    self.spoken_to(socket, msgspec.json.decode(message.data))
        except (ConnectionError, msgspec.MsgspecError):
            pass  # gone, or not one of our clients
        finally:
            self.sockets.remove(socket)
            writer.cancel()
            await asyncio.wait([writer])
        return ws

    def _said(self, said: Said) -> None:
        """Tell all who want to hear it what the exchange says."""
        if isinstance(said, OrderUpdate | Fill):
            order = self.order_of(said)
            kind = "fill" if isinstance(said, Fill) else "order_update"
            self.say_privately(kind, said.order_id, self.order_news(said, order))
            self._say_account(order)
        elif isinstance(said, Trade | Quote):
            if isinstance(said, Trade):
                self._candle(said)
            kind = "trade" if isinstance(said, Trade) else "quote"
            for name, text in self.market_news(said):
                self.tell(kind, name, text)

    def account_news(self, order: Working) -> list[str]:
        """Return what the account's stream says of money and units after an order moved."""
        return []

    def _say_account(self, order: Working) -> None:
        if time.time_ns() >= self._muted_until:
            for socket in self.sockets:
                for text in self.account_news(order) if socket.private and socket.wants else ():
                    socket.send(text)

    def order_of(self, said: OrderUpdate | Fill) -> Working:
        """Return the order that is spoken of."""
        venue_id = said.venue_order_id if isinstance(said, OrderUpdate) else said.order_id
        return self.exchange.orders.get(said.order_id) or self.exchange.by_venue_id[venue_id]

    def _candle(self, trade: Trade) -> None:
        price, size = Decimal(str(trade.price)), Decimal(str(trade.size))
        for row in self.candles.trade(trade.symbol, trade.ts, price, size):
            self.tell("bar", *self.candle_news(trade.symbol, row, over=True))
        row = self.candles.forming(trade.symbol)
        for socket in self._wanting(self.candle_news(trade.symbol, row, over=False)[0]):
            socket.send(self.candle_news(trade.symbol, row, over=False)[1])

    def _wanting(self, name: str) -> list[Socket]:
        if time.time_ns() < self._muted_until:
            return []
        return [socket for socket in self.sockets if name in socket.wants]

    def tell(self, kind: str, name: str, text: str) -> None:
        """Send a message to all who follow a stream."""
        sockets = self._wanting(name)
        if sockets:
            self._send(kind, "", sockets, [text])

    def say_privately(self, kind: str, order_id: str, texts: list[str]) -> None:
        """Send messages to the account's sockets."""
        if time.time_ns() < self._muted_until:
            return
        sockets = [s for s in self.sockets if s.private and s.wants]
        if sockets:
            self._send(kind, order_id, sockets, texts)

    def _send(self, kind: str, order_id: str, sockets: list[Socket], texts: list[str]) -> None:
        fault = self.house.fault(kind, order_id)
        for socket in sockets:
            for text in texts:
                if fault is None:
                    socket.send(text)
                    waiting, socket.waiting = socket.waiting, []
                    for late in waiting:
                        socket.send(late)
                else:
                    self._send_wrongly(fault, socket, text)

    def _send_wrongly(self, fault: Fault, socket: Socket, text: str) -> None:
        """Do what the script says to a message."""
        what = fault.fault
        if what == "duplicate":
            socket.send(text)
            socket.send(text)
        elif what == "reorder":
            socket.waiting.append(text)
        elif what == "garbage":
            socket.send(_NOISE)
        elif what == "mute":
            self.mute(fault.ms)
        elif what == "close":
            socket.end()
        elif what == "half_open":
            socket.dead = True


def asked_of(request: web.Request, body: str) -> dict[str, str]:
    """Return the parameters of a request, from its address and its form."""
    found = {name: str(value) for name, value in request.query.items()}
    if body and not body.startswith("{"):
        found |= dict(pair.partition("=")[::2] for pair in body.split("&"))
    elif body:
        found |= {name: str(value) for name, value in msgspec.json.decode(body).items()}
    return found


def signature(text: str) -> str:
    """Return the signature of a text by the account's secret."""
    return hmac.new(SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


def plain(number: Decimal | float) -> str:
    """Return a number as exchanges write it."""
    return format(Decimal(str(number)).quantize(Decimal("0.00000001")), "f")


def ms(ns: int) -> int:
    """Return a time as exchanges write it."""
    return ns // 1_000_000


def encode(message: Any) -> str:
    """Return a message as JSON text."""
    return msgspec.json.encode(message).decode()


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def _page(status: int) -> web.Response:
    return web.Response(text=_PAGE, status=status, content_type="text/html")
