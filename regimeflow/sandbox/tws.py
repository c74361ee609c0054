"""Trader Workstation's server: an exchange that speaks TWS's socket protocol.

``python -m regimeflow.sandbox.tws`` prints its ports when it listens. Clients are those of the real
TWS, versions 157 to 178, told nothing but another port. It has one paper account, whose number
begins with ``DU``. Symbols are stocks, ``EUR/USD``, futures like ``ES-202612`` and options like
``SPY-20261218-C-500``; ``TWIN`` is one that two exchanges have. Unlike the real one it also keeps
bars of one second up to date, so that one need not wait long for them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import re
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

from regimeflow.errors import NotThere, Refused
from regimeflow.model.events import Cancel, Fill, OrderUpdate, Replace, Submit
from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.sandbox import house
from regimeflow.sandbox import tws_messages as say
from regimeflow.sandbox.exchange import Working
from regimeflow.sandbox.house import House
from regimeflow.sandbox.listening import Listening, write
from regimeflow.sandbox.process import VenueProcess
from regimeflow.sandbox.script import Fault
from regimeflow.venues.port import Said

_FIRST_CONTRACT = 1_001
#: A contract that two exchanges have: its symbol alone is not enough.
_TWIN = "TWIN"
_TYPES = {"MKT": "market", "LMT": "limit", "STP": "stop", "STP LMT": "stop_limit"}
_BARS = {
    "1 secs": 1, "5 secs": 5, "10 secs": 10, "15 secs": 15, "30 secs": 30, "1 min": 60,
    "2 mins": 120, "3 mins": 180, "5 mins": 300, "10 mins": 600, "15 mins": 900, "20 mins": 1200,
    "30 mins": 1800, "1 hour": 3600, "2 hours": 7200, "4 hours": 14400, "8 hours": 28800,
    "1 day": 86400,
}  # fmt: skip
_SPANS = {"S": 1, "D": 86_400, "W": 7 * 86_400, "M": 30 * 86_400, "Y": 365 * 86_400}
#: The exchange's refusals -> TWS's numbers; others are "order rejected".
_CODES = {"unknown_symbol": 200, "bad_price": 110, "bad_qty": 10318, "order_over": 104}
_REJECTED, _CANCELED, _TOO_FAST = 201, 202, 100
_NOT_FOUND, _TOO_LATE = 10147, 10148
#: What stands for a gateway's own trouble: nothing that the request's sender could know.
_TROUBLE = 10999
_NOISE = say.frame(["\x13garbage", "{]"])
_FIRST_NUMBER = 1
#: Bars that there have been before the first client comes.
_PAST = 600


class Client:
    """A connection of a client."""

    def __init__(self, writer: asyncio.StreamWriter, connection: int) -> None:
        self.writer = writer
        self.connection = connection
        self.id = -1
        self.version = say.LAST
        self.dead = False
        self.kept: list[bytes] | None = None
        self.late: bytes | None = None
        self.ticks: dict[int, str] = {}
        self.bars: dict[int, tuple[str, bool]] = {}

    def write(self, message: bytes) -> None:
        """Say something, or keep it where the script wants to do something to it first."""
        if self.kept is not None:
            self.kept.append(message)
        elif not self.dead and not self.writer.is_closing():
            write(self.writer, message)


class Server:
    """TWS's protocol (a `Wire`).

    Args:
        house: the venue that speaks it.

    Attributes:
        commission_ms: how long after an execution its commission is told; infinite: never, not
            even when asked.
        version: the newest that it speaks.
    """

    def __init__(self, house_: House) -> None:
        self.exchange = house_.exchange
        self.commission_ms = 5.0
        self.version = say.LAST
        self._house = house_
        self._clients: list[Client] = []
        self._listening = Listening(self._client)
        self._count = 0
        self._lost = False
        #: The exchange's name of an order -> the order as its client described it.
        self._orders: dict[str, say.Order] = {}
        self._names: dict[tuple[int, int], str] = {}
        #: Execution -> how often it was corrected.
        self._corrected: dict[str, int] = {}
        self._bar_told: dict[str, int] = {}
        self._contracts = {
            symbol: say.Contract.of(symbol, _FIRST_CONTRACT + i)
            for i, symbol in enumerate(self.exchange.rules)
        }
        self.exchange.connect(self._say)
        self.exchange.subscribe(tuple(self.exchange.rules), 0)

    async def open(self, port: int) -> int:
        """Begin to listen."""
        return await self._listening.open(port)

    async def close(self) -> None:
        """Cut all clients off and listen no more."""
        await self._listening.close()

    def mute(self, ms: float) -> None:
        """Say nothing of its own accord for a while; what would have been said is lost."""
        self._listening.mute(ms)

    def disconnect(self) -> None:
        """Reset all connections, as TWS does when it restarts."""
        for client in list(self._clients):
            client.writer.transport.abort()

    # ------------------------------------------------------------ what only TWS does

    def lose(self) -> None:
        """Lose Interactive Brokers: nothing flows, and nothing is answered."""
        self._lost = True
        self.notice(-1, 1100, "Connectivity between IB and TWS has been lost.")

    def find(self, *, with_data: bool) -> None:
        """Find Interactive Brokers again, with or without the market data subscriptions."""
        self._lost = False
        if not with_data:
            for client in self._clients:
                client.ticks.clear()
                client.bars.clear()
        code, what = (1102, "maintained") if with_data else (1101, "lost")
        self.notice(-1, code, f"Connectivity between IB and TWS has been restored - data {what}.")

    def notice(self, number: int, code: int, text: str) -> None:
        """Say something to all clients: a notice, a warning or an error."""
        for client in self._clients:
            client.write(say.error(number, code, text, client.version))

    def number_of(self, order_id: str) -> int:
        """Return the number that an order's client gave it."""
        return self._orders[order_id].number

    def say_again(self, order_id: str, status: str) -> None:
        """Tell of an order once more, with a status of one's own choice."""
        placed, working = self._orders[order_id], self.exchange.orders[order_id]
        for client in self._of(placed.client):
            self._status(client, placed, working, status)

    def correct(self, fill: Fill, qty: float, price: float) -> None:
        """Correct an execution: the same name, with the next revision."""
        self._corrected[fill.execution_id] = self._corrected.get(fill.execution_id, 0) + 1
        after = self.exchange.correct(fill.execution_id, qty, price)
        for client in self._of(self._orders[fill.order_id].client) if not self._lost else ():
            client.write(self._execution(client, -1, after))
            self._tell_cost(client, after)

    # ------------------------------------------------------------ connections

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(writer, self._listening.count)
        try:
            if await self._greet(reader, client):
                while True:
                    fields = await _read(reader)
                    if not client.dead:
                        self._asked(client, fields)
        except (OSError, EOFError, ValueError, LookupError, asyncio.CancelledError):
            pass  # gone, not one of our clients, or all is over
        finally:
            self._gone(client)

    async def _greet(self, reader: asyncio.StreamReader, client: Client) -> bool:
        """Agree on a version, and on who it is."""
        if await reader.readexactly(4) != b"API\0":
            return False
        raw = await _read_raw(reader)
        newest = re.match(rb"v\d+\.\.(\d+)", raw)
        if newest is None:
            return False
        client.version = min(int(newest[1]), self.version)
        now = dt.datetime.now(dt.UTC).strftime("%Y%m%d %H:%M:%S UTC")
        client.write(say.frame([client.version, now]))
        fields = await _read(reader)
        if fields[0] != "71":
            return False
        client.id = int(fields[2])
        if any(other.id == client.id for other in self._clients):
            text = "Unable to connect as the client id is already in use."
            client.write(say.error(-1, 326, text, client.version))
            return False
        self._clients.append(client)
        self._note("hello", client)
        used = (number for who, number in self._names if who == client.id)
        client.write(say.frame([15, 1, say.ACCOUNT]))
        client.write(say.frame([9, 1, max(used, default=_FIRST_NUMBER - 1) + 1]))
        for code, farm in ((2104, "Market data farm"), (2106, "HMDS data farm")):
            client.write(say.error(-1, code, f"{farm} connection is OK:sandbox", client.version))
        if self._lost:
            text = "Connectivity between TWS and server is broken."
            client.write(say.error(-1, 2110, text, client.version))
        return True

    def _gone(self, client: Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            if not self._house.over.is_set():
                self._note("gone", client)
        client.writer.close()

    def _note(self, kind: str, client: Client) -> None:
        detail = {"connection": client.connection, "role": "tws", "client": client.id}
        self._house.books.note(self.exchange.time(), kind, "", detail)

    def _of(self, client_id: int) -> list[Client]:
        return [client for client in self._clients if client.id == client_id]

    # ------------------------------------------------------------ requests

    def _asked(self, client: Client, fields: list[str]) -> None:
        """Do what a message asks for, or to it what the script says."""
        text = ",".join(fields).encode()
        self._house.books.received(self.exchange.time(), client.connection, "tws", text)
        if self._lost:
            return
        number = int(fields[0])
        do = _DO.get(number)
        if do is None:
            return  # a cancel of something, or what only a screen would show
        kind = self._kind(client, number, fields)
        fault = self._house.fault(kind, connection=client.connection) if kind else None
        if fault is None:
            do(self, client, fields)
        else:
            self._wrongly(fault, client, lambda: do(self, client, fields), _number_of(fields))
        self._house.wrote()

    def _kind(self, client: Client, number: int, fields: list[str]) -> str:
        """Return a request's kind, by the script's names; "" where it has none."""
        if number == 3 and (client.id, int(fields[1])) in self._names:
            return "replace"
        if number == 20 and fields[21] == "1":
            return "subscribe"
        return _KINDS.get(number, "")

    def _wrongly(self, fault: Fault, client: Client, do: Callable[[], None], number: int) -> None:
        """Do what the script says to a request."""
        what = fault.fault
        if what == "drop_before":
            client.writer.close()
        elif what == "half_open":
            client.dead = True
        elif what == "html_before":
            client.write(_NOISE)
        elif what in ("refuse", "http_429"):
            text = "Max rate of messages per second has been exceeded."
            client.write(say.error(number, _TOO_FAST, text, client.version))
        elif what == "http_403":
            text = "Order rejected - reason:No trading permission."
            client.write(say.error(number, _REJECTED, text, client.version))
        elif what.startswith("http_") and what != "http_504_after":
            client.write(say.error(number, _TROUBLE, "Server is busy", client.version))
        elif what != "ignore":
            self._after_all(what, fault.ms, client, do, number)

    def _after_all(
        self, what: str, ms: float, client: Client, do: Callable[[], None], number: int
    ) -> None:
        """Let a request take effect, and do what the script says to its answer."""
        client.kept = []
        do()
        answer, client.kept = b"".join(client.kept), None
        if what == "drop_after":
            client.writer.close()
        elif what == "delay":
            self._house.later(ms, lambda: client.write(answer))
        elif what == "cut":
            client.write(answer[: len(answer) // 2])
            client.writer.close()
        elif what in ("html", "garbage"):
            client.write(_NOISE)
        elif what == "http_504_after":
            client.write(say.error(number, _TROUBLE, "Server is busy", client.version))

    # ------------------------------------------------------------ orders

    def _place(self, client: Client, fields: list[str]) -> None:
        number = int(fields[1])
        name = self._names.get((client.id, number))
        if name is not None:
            self._change(client, fields, name)
            return
        symbol = self._symbol(fields[2:14])
        if symbol is None:
            self._refuse(client, number, 200, "No security definition has been found")
            return
        order = say.Order.read(fields, client.id, self._contracts[symbol])
        name = order.ref or f"tws-{client.id}-{number}"
        request = Submit(
            0, 0, name, symbol, order.action.lower(), float(order.qty),
            _TYPES.get(order.type, order.type), _price(order.limit), _price(order.stop),
            order.tif.lower(), _till(order.good_till),
        )  # fmt: skip
        if name not in self._orders:
            self._orders[name] = order
            self._names[client.id, number] = name
        try:
            self.exchange.submit(request)
        except Refused as no:
            if self._names.get((client.id, number)) == name:
                del self._orders[name], self._names[client.id, number]
            self._refuse(client, number, _CODES.get(no.code, _REJECTED), str(no))

    def _refuse(self, client: Client, number: int, code: int, why: str) -> None:
        text = f"Order rejected - reason:{why}" if code == _REJECTED else why
        client.write(say.error(number, code, text, client.version))

    def _change(self, client: Client, fields: list[str], name: str) -> None:
        before = self._orders[name]
        after = say.Order.read(fields, client.id, before.contract)
        self._orders[name] = after
        limit, stop = _price(after.limit), _price(after.stop)
        try:
            self.exchange.replace(Replace(1, 1, name, float(after.qty), limit, stop), "")
        except Refused as no:
            self._orders[name] = before
            self._refuse(client, before.number, _CODES.get(no.code, _REJECTED), str(no))

    def _cancel(self, client: Client, fields: list[str]) -> None:
        number = int(fields[2])
        name = self._names.get((client.id, number))
        try:
            self.exchange.cancel(Cancel(1, 1, name or f"tws-{client.id}-{number}"), "")
        except NotThere:
            text = f"OrderId {number} that needs to be cancelled is not found."
            client.write(say.error(number, _NOT_FOUND, text, client.version))
        except Refused as no:
            text = f"OrderId {number} that needs to be cancelled cannot be cancelled, state: {no}"
            client.write(say.error(number, _TOO_LATE, text, client.version))

    def _open_orders(self, client: Client, fields: list[str]) -> None:
        shown = {row.venue_order_id for row in self.exchange.open_orders()}
        for working in self.exchange.working():
            if working.venue_id in shown:
                order = self._orders.get(working.id) or self._by_hand(working)
                self._status(client, order, working, "Submitted")
        client.write(say.frame([53, 1]))

    def _completed(self, client: Client, fields: list[str]) -> None:
        for name, order in list(self._orders.items()):
            try:
                row = self.exchange.order(name)
            except NotThere:
                continue
            working = self.exchange.orders[name]
            if row.status != "open":
                filled = row.status == "filled"
                why = working.reason or row.status
                client.write(
                    say.completed_order(
                        order, "0" if filled else _number(working.qty), _perm(working),
                        "Filled" if filled else "Cancelled",
                        f"Order {row.status}: {why}", _number(working.filled), client.version,
                    )
                )  # fmt: skip
        client.write(say.frame([102]))

    def _by_hand(self, working: Working) -> say.Order:
        """Return an order that somebody placed on the screen: it has no number and no name."""
        return say.Order(
            0, 0, self._contracts[working.symbol], "BUY" if working.buys else "SELL",
            _number(working.qty), "LMT", _number(working.limit or 0), "", "GTC", "", "", "",
        )  # fmt: skip

    def _status(self, client: Client, order: say.Order, working: Working, status: str) -> None:
        """Say what an order is, and what has become of it."""
        qty, perm = _number(working.qty), _perm(working)
        client.write(say.open_order(order, qty, perm, status, client.version))
        average = _number(working.spent / working.filled) if working.filled else "0.0"
        left = _number(working.left)
        client.write(say.order_status(order, status, _number(working.filled), left, average, perm))

    # ------------------------------------------------------------ executions, positions, money

    def _executions(self, client: Client, fields: list[str]) -> None:
        number = int(fields[2])
        fills = self.exchange.executions(0)
        for fill in fills:
            client.write(self._execution(client, number, fill))
        client.write(say.frame([55, 1, number]))
        if math.isfinite(self.commission_ms):
            for fill in fills:
                client.write(say.commission(self._exec_id(fill), _number(fill.fee)))

    def _execution(self, client: Client, number: int, fill: Fill) -> bytes:
        working = self._working(fill.order_id)
        order = self._orders.get(fill.order_id) or self._by_hand(working)
        average = _number(working.spent / working.filled) if working.filled else "0.0"
        return say.execution(
            number, order, _perm(working), self._exec_id(fill), fill.ts, fill.side,
            _number(fill.qty), _number(fill.price), _number(working.filled), average,
            client.version,
        )  # fmt: skip

    def _exec_id(self, fill: Fill) -> str:
        return f"{fill.execution_id}.{1 + self._corrected.get(fill.execution_id, 0):02d}"

    def _working(self, name: str) -> Working:
        return self.exchange.orders.get(name) or self.exchange.by_venue_id[name]

    def _positions(self, client: Client, fields: list[str]) -> None:
        for held in self.exchange.positions():
            contract = self._contracts[held.symbol]
            client.write(
                say.frame([61, 3, say.ACCOUNT, *contract.fields, _number(held.qty),
                           _number(held.average_price)])
            )  # fmt: skip
        client.write(say.frame([62, 1]))

    def _summary(self, client: Client, fields: list[str]) -> None:
        number, money = int(fields[2]), self.exchange.balances()
        told = {
            "TotalCashValue": money.cash, "NetLiquidation": money.equity,
            "BuyingPower": money.buying_power, "InitMarginReq": money.margin,
        }  # fmt: skip
        for tag in fields[4].split(","):
            client.write(
                say.frame([63, 1, number, say.ACCOUNT, tag, _number(told[tag]), say.CURRENCY])
            )
        client.write(say.frame([64, 1, number]))

    def _clock(self, client: Client, fields: list[str]) -> None:
        client.write(say.frame([49, 1, self.exchange.time() // 10**9]))

    # ------------------------------------------------------------ contracts, history, data

    def _symbol(self, asked: list[str]) -> str | None:
        for symbol, contract in self._contracts.items():
            if contract.fits(asked):
                return symbol
        return None

    def _details(self, client: Client, fields: list[str]) -> None:
        number, asked = int(fields[2]), fields[3:15]
        version = client.version
        found = [s for s, contract in self._contracts.items() if contract.fits(asked)]
        for symbol in found:
            rules = self.exchange.rules[symbol]
            contract = self._contracts[symbol]
            exchange = asked[7] or contract.exchange
            client.write(say.details(number, contract, rules, exchange, "SANDBOX", version))
        if asked[1] == _TWIN:
            for i, primary in enumerate(("NYSE", "LSE")):
                twin = say.Contract.of(_TWIN, i + 1)
                if asked[8] in ("", primary):
                    client.write(
                        say.details(number, twin, say.rules(_TWIN), "SMART", primary, version)
                    )
            found = [_TWIN]
        if found:
            client.write(say.frame([52, 1, number]))
        else:
            text = "No security definition has been found for the request"
            client.write(say.error(number, 200, text, version))

    def _head(self, client: Client, fields: list[str]) -> None:
        number, symbol = int(fields[1]), self._symbol(fields[2:14])
        exchange = self.exchange
        told = exchange.past(symbol, exchange.timeframe, 0, exchange.time()) if symbol else None
        first = told.times if told is not None else []
        at = (first[0] if first else self.exchange.time()) - self.exchange.timeframe
        client.write(say.frame([88, number, at // 10**9]))

    def _history(self, client: Client, fields: list[str]) -> None:
        number, symbol = int(fields[1]), self._symbol(fields[2:14])
        keeps, exchange = fields[21] == "1", self.exchange
        length = _BARS.get(fields[16], 0) * 10**9
        if symbol is None or length != exchange.timeframe:
            code, text = (200, "No security definition has been found for the request")
            if symbol is not None:
                code, text = (162, "Historical Market Data Service error message:no such bars")
            client.write(say.error(number, code, text, client.version))
            return
        now = exchange.time()
        end = _till(fields[15]) if fields[15] else now
        count, unit = fields[17].split(" ")
        told = exchange.past(symbol, length, end - int(count) * _SPANS[unit] * 10**9, end)
        rows = list(
            zip(told.times, told.open, told.high, told.low, told.close, told.volume, strict=True)
        )
        forming = exchange.forming(symbol)
        if forming is not None and end >= now:
            f = forming
            rows.append((f.ts, f.open, f.high, f.low, f.close, f.volume))
        flat: list[Any] = []
        for at, *prices, volume in rows:
            flat += [(at - length) // 10**9, *map(_number, prices), _number(volume), "0.0", 1]
        client.write(say.frame([17, number, "", "", len(rows), *flat]))
        if keeps:
            client.bars[number] = (symbol, False)

    def _real_time_bars(self, client: Client, fields: list[str]) -> None:
        number, symbol = int(fields[2]), self._symbol(fields[3:15])
        if symbol is not None and self.exchange.timeframe == 5 * 10**9:
            client.bars[number] = (symbol, True)
        else:
            text = "Invalid Real-time Query:no such bars"
            client.write(say.error(number, 420, text, client.version))

    def _market_data(self, client: Client, fields: list[str]) -> None:
        number, symbol = int(fields[2]), self._symbol(fields[3:15])
        if symbol is None:
            text = "No security definition has been found for the request"
            client.write(say.error(number, 200, text, client.version))
            return
        client.write(say.frame([58, 1, number, 1]))
        client.ticks[number] = symbol

    def _end_ticks(self, client: Client, fields: list[str]) -> None:
        client.ticks.pop(int(fields[2]), None)

    def _end_history(self, client: Client, fields: list[str]) -> None:
        client.bars.pop(int(fields[2]), None)

    # ------------------------------------------------------------ the stream

    def _say(self, said: Said) -> None:
        if self._lost or self._listening.muted:
            return
        if isinstance(said, OrderUpdate | Fill):
            order = self._orders.get(said.order_id)
            clients = self._of(order.client) if order is not None else []
        else:
            clients = self._clients
        for client in clients:
            if isinstance(said, Trade):
                self._bars_move(client, said)
            messages = self._messages(client, said)
            if messages:
                self._out(client, said, messages)

    def _messages(self, client: Client, said: Said) -> list[bytes]:
        """Return how something is said to a client; nothing where it did not ask for it."""
        if isinstance(said, OrderUpdate):
            return self._update(client, said)
        if isinstance(said, Fill):
            return self._filled(client, said)
        numbers = [n for n, symbol in client.ticks.items() if symbol == getattr(said, "symbol", "")]
        if isinstance(said, Trade):
            return [b"".join(_trade(n, said, self._volume(said.symbol)) for n in numbers)]
        if isinstance(said, Quote):
            return [b"".join(_quote(n, said) for n in numbers)]
        return []

    def _volume(self, symbol: str) -> str:
        self._count += 1
        return str(self._count)

    def _update(self, client: Client, said: OrderUpdate) -> list[bytes]:
        order, working = self._orders[said.order_id], self.exchange.orders[said.order_id]
        before, client.kept = client.kept, []
        status = "Submitted"
        if said.what in ("canceled", "expired", "rejected"):
            code = _REJECTED if said.what == "rejected" else _CANCELED
            why = f"Order {said.what} - reason:{said.reason or said.what}"
            client.write(say.error(order.number, code, why, client.version))
            status = "Inactive" if said.what == "rejected" else "Cancelled"
        self._status(client, order, working, status)
        messages, client.kept = client.kept, before
        return messages

    def _filled(self, client: Client, fill: Fill) -> list[bytes]:
        order, working = self._orders[fill.order_id], self.exchange.orders[fill.order_id]
        messages = [self._execution(client, -1, fill)]
        before, client.kept = client.kept, []
        self._status(client, order, working, "Filled" if working.left <= 0 else "Submitted")
        messages += client.kept
        client.kept = before
        self._tell_cost(client, fill)
        return messages

    def _tell_cost(self, client: Client, fill: Fill) -> None:
        """Tell what an execution cost, after a while."""
        if math.isfinite(self.commission_ms):
            report = say.commission(self._exec_id(fill), _number(fill.fee))
            self._house.later(self.commission_ms, lambda: self._late_report(client, report))

    def _late_report(self, client: Client, report: bytes) -> None:
        if not self._lost and not self._listening.muted:
            client.write(report)

    def _bars_move(self, client: Client, said: Trade) -> None:
        """Tell those who keep bars up to date what the bar is now, and the last one when closed."""
        for number, (symbol, real_time) in client.bars.items():
            if symbol != said.symbol:
                continue
            forming = self.exchange.forming(symbol)
            if real_time:
                self._real_time_bar(client, number, symbol)
            elif forming is not None:
                self._out(client, forming, [_bar_update(number, forming)])

    def _real_time_bar(self, client: Client, number: int, symbol: str) -> None:
        exchange = self.exchange
        told = exchange.past(symbol, exchange.timeframe, 0, exchange.time())
        if not told.times or told.times[-1] <= self._bar_told.get(f"{client.id}-{number}", 0):
            return
        at = self._bar_told[f"{client.id}-{number}"] = told.times[-1]
        last = [told.open[-1], told.high[-1], told.low[-1], told.close[-1], told.volume[-1]]
        opens = (at - exchange.timeframe) // 10**9
        message = say.frame([50, 3, number, opens, *map(_number, last), "0.0", 1])
        o, h, l, c, v = last  # noqa: E741
        bar = Bar(at, 0, symbol, o, h, l, c, v, exchange.timeframe)
        self._out(client, bar, [message])

    def _out(self, client: Client, said: Said, messages: list[bytes]) -> None:
        """Say something, or do to it what the script says."""
        kind = str(said.__struct_config__.tag)
        order_id = said.order_id if isinstance(said, Fill | OrderUpdate) else ""
        fault = self._house.fault(kind, order_id, client.connection)
        whole = b"".join(messages)
        if fault is None:
            late, client.late = client.late, None
            client.write(whole + (late or b""))
        elif fault.fault == "duplicate":
            client.write(whole + whole)
        elif fault.fault == "reorder":
            client.late = (client.late or b"") + whole
        elif fault.fault == "garbage":
            number = {"fill": 11, "order_update": 5}.get(kind, 90)
            client.write(say.frame([number, "\x13", "garbage"]))
        elif fault.fault == "mute":
            self.mute(fault.ms)
        elif fault.fault == "close":
            client.writer.close()
        elif fault.fault == "half_open":
            client.dead = True


async def _read_raw(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    if length > say.LONGEST:
        raise ValueError("a message is too long")
    return await reader.readexactly(length)


async def _read(reader: asyncio.StreamReader) -> list[str]:
    return (await _read_raw(reader)).decode("utf-8", "backslashreplace").split("\0")[:-1]


def _number_of(fields: list[str]) -> int:
    """Return the number of the request or order that a message is about, -1 without one."""
    place = _NUMBERED.get(int(fields[0]))
    return int(fields[place]) if place is not None else -1


def _number(value: Any) -> str:
    text = format(value, "f") if not isinstance(value, float) else repr(value)
    return text if "." not in text or "e" in text else text.rstrip("0").rstrip(".") or "0"


def _price(text: str) -> float | None:
    return float(text) if text else None


def _till(text: str) -> int:
    """Return a time that a request tells, UTC nanoseconds; 0 without one."""
    if not text:
        return 0
    at = dt.datetime.strptime(text, "%Y%m%d-%H:%M:%S").replace(tzinfo=dt.UTC)
    return int(at.timestamp()) * 10**9


def _perm(working: Working) -> int:
    return int(working.venue_id[1:])


def _trade(number: int, trade: Trade, volume: str) -> bytes:
    parts = (_number(trade.price), _number(trade.size), str(trade.ts // 10**6), volume)
    text = ";".join((*parts, parts[0], "true"))
    last = say.frame([1, 6, number, 4, parts[0], parts[1], 0])
    return last + say.frame([46, 6, number, 48, text])


def _quote(number: int, quote: Quote) -> bytes:
    bid = [1, 6, number, 1, _number(quote.bid), _number(quote.bid_size), 0]
    ask = [1, 6, number, 2, _number(quote.ask), _number(quote.ask_size), 0]
    return say.frame(bid) + say.frame(ask)


def _bar_update(number: int, bar: Bar) -> bytes:
    prices = map(_number, (bar.open, bar.close, bar.high, bar.low))
    opens = (bar.ts - bar.timeframe) // 10**9
    return say.frame([90, number, 1, opens, *prices, "0.0", _number(bar.volume)])


#: Number of a request -> its kind, by the script's names.
_KINDS = {
    1: "subscribe", 3: "submit", 4: "cancel", 5: "open_orders", 7: "executions", 9: "instruments",
    16: "open_orders", 20: "history", 49: "time", 50: "subscribe", 61: "positions", 62: "balances",
    99: "order",
}  # fmt: skip
#: Number of a request -> where in it the number is by which it is answered.
_NUMBERED = {1: 2, 3: 1, 4: 2, 7: 2, 9: 2, 20: 1, 50: 2, 62: 2, 87: 1}
_DO: dict[int, Callable[[Server, Client, list[str]], None]] = {
    1: Server._market_data, 2: Server._end_ticks, 3: Server._place, 4: Server._cancel,
    5: Server._open_orders, 7: Server._executions, 9: Server._details, 16: Server._open_orders,
    20: Server._history, 25: Server._end_history, 49: Server._clock, 50: Server._real_time_bars,
    51: Server._end_history, 61: Server._positions, 62: Server._summary, 87: Server._head,
    99: Server._completed,
}  # fmt: skip


class TWS(VenueProcess):
    """A TWS on this machine; `venue` returns an `InteractiveBrokers` that points at it."""

    kind = "tws"
    symbols = ("SPY", "QQQ")

    def venue(self, **how: Any) -> Any:
        """Return a venue of `regimeflow.venues` that points at it.

        Args:
            **how: further arguments of `InteractiveBrokers`.
        """
        from regimeflow.venues.ib import InteractiveBrokers

        return InteractiveBrokers(port=self.port, **{"calendar": "", **how})


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end by SIGTERM, SIGINT or, where attended, the end of the input."""
    return house.main(argv, prog="regimeflow sandbox tws", make_wire=_with_a_past, rules=say.rules)


def _with_a_past(house_: House) -> Server:
    house_.exchange.live_through(_PAST)
    return Server(house_)


if __name__ == "__main__":
    sys.exit(main())
