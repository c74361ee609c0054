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
import functools
import math
import re
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET

from regimeflow.errors import NotThere, Refused, RegimeflowError
from regimeflow.model.events import (
    STOP_LOSS,
    TAKE_PROFIT,
    Cancel,
    Fill,
    OrderUpdate,
    Replace,
    Submit,
)
from regimeflow.model.market import Trade
from regimeflow.sandbox import house
from regimeflow.sandbox import tws_messages as say
from regimeflow.sandbox.exchange import Working
from regimeflow.sandbox.house import House
from regimeflow.sandbox.listening import Listening
from regimeflow.sandbox.process import VenueProcess
from regimeflow.sandbox.script import Fault
from regimeflow.sandbox.tws_account import Account
from regimeflow.sandbox.tws_client import Client, price, read, read_raw
from regimeflow.sandbox.tws_client import number as text_of
from regimeflow.sandbox.tws_market import Market, till
from regimeflow.venues.port import Said

_FIRST_CONTRACT = 1_001
_TYPES = {"MKT": "market", "LMT": "limit", "STP": "stop", "STP LMT": "stop_limit"}
#: The exchange's refusals -> TWS's numbers; others are "order rejected".
_CODES = {"unknown_symbol": 200, "bad_price": 110, "bad_qty": 10318, "order_over": 104}
_REJECTED, _CANCELED, _TOO_FAST = 201, 202, 100
_NOT_FOUND, _TOO_LATE, _NO_PARENT = 10147, 10148, 10006
_UNREAD = 320
_HISTORY = 162
_PACING = "Historical Market Data Service error message:Historical data request pacing violation"
#: What stands for a gateway's own trouble: nothing that the request's sender could know.
_TROUBLE = 10999
_NOISE = say.frame(["\x13garbage", "{]"])
_FIRST_NUMBER = 1
#: Half of a position's value may be borrowed.
_LEVERAGE = Decimal(2)
#: Bars that there have been before the first client comes.
_PAST = 600


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
        self.exchange.leverage = _LEVERAGE
        self.commission_ms = 5.0
        self.version = say.LAST
        self._house = house_
        self._clients: list[Client] = []
        self._listening = Listening(self._client)
        self._lost = False
        #: The exchange's name of an order -> the order as its client described it.
        self._orders: dict[str, say.Order] = {}
        self._names: dict[tuple[int, int], str] = {}
        #: Client and number of an order -> itself and its exits, until the last of them has come.
        self._groups: dict[tuple[int, int], list[say.Order]] = {}
        #: Execution -> how often it was corrected.
        self._corrected: dict[str, int] = {}
        self._contracts = {
            symbol: say.Contract.of(symbol, _FIRST_CONTRACT + i)
            for i, symbol in enumerate(self.exchange.rules)
        }
        self.market = Market(self.exchange, self._contracts, self._out)
        self.account = Account(self.exchange, self._contracts)
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
                    fields = await read(reader)
                    if not client.dead:
                        self._try(client, fields)
        except (OSError, EOFError, ValueError, LookupError, asyncio.CancelledError):
            pass  # gone, not one of our clients, or all is over
        finally:
            self._gone(client)

    async def _greet(self, reader: asyncio.StreamReader, client: Client) -> bool:
        """Agree on a version, and on who it is."""
        if await reader.readexactly(4) != b"API\0":
            return False
        raw = await read_raw(reader)
        newest = re.match(rb"v\d+\.\.(\d+)", raw)
        if newest is None:
            return False
        client.version = min(int(newest[1]), self.version)
        now = dt.datetime.now(dt.UTC).strftime("%Y%m%d %H:%M:%S UTC")
        client.write(say.frame([client.version, now]))
        fields = await read(reader)
        if fields[0] != "71":
            return False
        client.id = int(fields[2])
        if any(other.id == client.id for other in self._clients):
            text = "Unable to connect as the client id is already in use."
            client.write(say.error(-1, 326, text, client.version))
            return False
        self._clients.append(client)
        self._note("hello", client)
        self._accounts(client, [])
        self._next_number(client, [])
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

    def _try(self, client: Client, fields: list[str]) -> None:
        """Do what a message asks for; say so where it cannot be read."""
        try:
            self._asked(client, fields)
        except (ArithmeticError, LookupError, ValueError, RegimeflowError) as error:
            self._unread(client, fields, f"{type(error).__name__}: {error}")

    def _unread(self, client: Client, fields: list[str], why: str) -> None:
        text = f"Server error when reading an API client request: {why}"
        client.write(say.error(_number_of(fields), _UNREAD, text, client.version))

    def _asked(self, client: Client, fields: list[str]) -> None:
        """Do what a message asks for, or to it what the script says."""
        text = ",".join(fields).encode()
        self._house.books.received(self.exchange.time(), client.connection, "tws", text)
        if self._lost:
            return
        number = int(fields[0])
        if number in _OF_THE_MARKET:
            do = functools.partial(_OF_THE_MARKET[number], self.market, client, fields)
        elif number in _OF_THE_ACCOUNT:
            do = functools.partial(_OF_THE_ACCOUNT[number], self.account, client, fields)
        elif number in _DO:
            do = functools.partial(_DO[number], self, client, fields)
        else:
            self._unread(client, fields, f"the sandbox does not know requests of kind {number}")
            return
        kind = self._kind(client, number, fields)
        fault = self._house.fault(kind, connection=client.connection) if kind else None
        if fault is None:
            do()
        else:
            self._wrongly(fault, client, do, _number_of(fields))
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
            code, text = _TOO_FAST, "Max rate of messages per second has been exceeded."
            if fault.on == "history":
                code, text = _HISTORY, _PACING
            client.write(say.error(number, code, text, client.version))
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
        kept: list[bytes] = []
        client.kept = kept
        try:
            do()
        finally:
            client.kept = None
        answer = b"".join(kept)
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
        symbol = self.market.symbol_of(fields[2:14])
        if symbol is None:
            self._refuse(client, number, 200, "No security definition has been found")
            return
        order = say.Order.read(fields, client.id, self._contracts[symbol], client.version)
        if order.asks:
            self._ask(client, order, symbol)
        elif order.parent or not order.transmit or (client.id, number) in self._groups:
            self._place_together(client, order, symbol)
        else:
            self._submit(client, [order], self._request(order, symbol))

    def _request(self, order: say.Order, symbol: str) -> Submit:
        return Submit(
            0, 0, order.ref or f"tws-{order.client}-{order.number}", symbol, order.action.lower(),
            float(order.qty), _TYPES.get(order.type, order.type), price(order.limit),
            price(order.stop), order.tif.lower(), till(order.good_till),
        )  # fmt: skip

    def _ask(self, client: Client, order: say.Order, symbol: str) -> None:
        """Tell what an order would do to the account."""
        exchange, request = self.exchange, self._request(order, symbol)
        try:
            exchange.check(request)
        except Refused as no:
            self._refuse(client, order.number, _CODES.get(no.code, _REJECTED), str(no))
            return
        before, after = exchange.requirement(), exchange.requirement(request)
        equity = text_of(exchange.balances().equity)
        terms = {
            "commission": text_of(exchange.fee_of(request)),
            "commissionCurrency": say.CURRENCY,
        }
        for kind in ("initMargin", "maintMargin"):
            terms[f"{kind}Before"], terms[f"{kind}After"] = text_of(before), text_of(after)
            terms[f"{kind}Change"] = text_of(after - before)
        terms |= {"equityWithLoanBefore": equity, "equityWithLoanAfter": equity}
        terms["equityWithLoanChange"] = "0"
        client.write(say.what_if(order, terms, client.version))

    def _place_together(self, client: Client, order: say.Order, symbol: str) -> None:
        """Keep an order until the last of its group has come; then they leave as one."""
        place = (client.id, order.parent or order.number)
        if order.parent and place not in self._groups:
            text = f"Missing parent order: {order.parent} is not waiting for its exits"
            self._refuse(client, order.number, _NO_PARENT, text)
            return
        group = [one for one in self._groups.get(place, []) if one.number != order.number]
        group = [*group, order] if order.parent else [order, *group]
        self._groups[place] = group
        if not order.transmit:
            return
        del self._groups[place]
        entry, exits = group[0], {exit_.type: exit_ for exit_ in group[1:]}
        profit, loss = exits.get("LMT"), exits.get("STP")
        if len(group) > 1 + (profit is not None) + (loss is not None):
            for one in group:
                text = "exits are one limit order and one stop order"
                self._refuse(client, one.number, _REJECTED, text)
            return
        request = msgspec.structs.replace(
            self._request(entry, symbol),
            take_profit=(profit and price(profit.limit)) or UNSET,
            stop_loss=(loss and price(loss.stop)) or UNSET,
        )
        self._submit(client, [entry, *(one for one in (profit, loss) if one)], request)

    def _submit(self, client: Client, group: list[say.Order], request: Submit) -> None:
        """Place an order and its exits, or refuse all of them."""
        suffixes = {"LMT": TAKE_PROFIT, "STP": STOP_LOSS}
        names = [request.order_id + (suffixes[one.type] if one.parent else "") for one in group]
        added = [
            (name, one) for name, one in zip(names, group, strict=True) if name not in self._orders
        ]
        for name, one in added:
            self._orders[name] = one
            self._names[client.id, one.number] = name
        try:
            self.exchange.submit(request)
        except Refused as no:
            for name, one in added:
                del self._orders[name], self._names[client.id, one.number]
            for one in group:
                self._refuse(client, one.number, _CODES.get(no.code, _REJECTED), str(no))

    def _refuse(self, client: Client, number: int, code: int, why: str) -> None:
        text = f"Order rejected - reason:{why}" if code == _REJECTED else why
        client.write(say.error(number, code, text, client.version))

    def _change(self, client: Client, fields: list[str], name: str) -> None:
        before = self._orders[name]
        after = say.Order.read(fields, client.id, before.contract, client.version)
        self._orders[name] = after
        limit, stop = price(after.limit), price(after.stop)
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

    def _cancel_all(self, client: Client, fields: list[str]) -> None:
        for order in self.exchange.working():
            if order.status == "open":  # else another one's end was its own
                self.exchange.cancel(Cancel(1, 1, order.id), order.venue_id)

    def _open_orders(self, client: Client, fields: list[str]) -> None:
        shown = {row.venue_order_id for row in self.exchange.open_orders()}
        for working in self.exchange.working():
            if working.venue_id in shown:
                order = self._orders.get(working.id) or self._by_hand(working, client)
                self._status(client, order, working, _status_of(working))
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
                        order, "0" if filled else text_of(working.qty), _perm(working),
                        "Filled" if filled else "Cancelled",
                        f"Order {row.status}: {why}", text_of(working.filled), client.version,
                    )
                )  # fmt: skip
        client.write(say.frame([102]))

    def _by_hand(self, working: Working, client: Client) -> say.Order:
        """Return an order that somebody placed on the screen: it has no name, and a number only
        for the client 0, to which TWS tells of it."""
        number = -_perm(working) if client.id == 0 else 0
        return say.Order(
            0, number, self._contracts[working.symbol], "BUY" if working.buys else "SELL",
            text_of(working.qty), "LMT", text_of(working.limit or 0), "", "GTC", "", "", "",
        )  # fmt: skip

    def _status(self, client: Client, order: say.Order, working: Working, status: str) -> None:
        """Say what an order is, and what has become of it."""
        qty, perm = text_of(working.qty), _perm(working)
        client.write(say.open_order(order, qty, perm, status, client.version))
        average = text_of(working.spent / working.filled) if working.filled else "0.0"
        left = text_of(working.left)
        client.write(say.order_status(order, status, text_of(working.filled), left, average, perm))

    # ------------------------------------------------------------ executions, and who asks

    def _executions(self, client: Client, fields: list[str]) -> None:
        number = int(fields[2])
        fills = self.exchange.executions(0)
        for fill in fills:
            client.write(self._execution(client, number, fill))
        client.write(say.frame([55, 1, number]))
        if math.isfinite(self.commission_ms):
            for fill in fills:
                client.write(say.commission(self._exec_id(fill), text_of(fill.fee)))

    def _execution(self, client: Client, number: int, fill: Fill) -> bytes:
        working = self._working(fill.order_id)
        order = self._orders.get(fill.order_id) or self._by_hand(working, client)
        average = text_of(working.spent / working.filled) if working.filled else "0.0"
        return say.execution(
            number, order, _perm(working), self._exec_id(fill), fill.ts, fill.side,
            text_of(fill.qty), text_of(fill.price), text_of(working.filled), average,
            client.version,
        )  # fmt: skip

    def _exec_id(self, fill: Fill) -> str:
        return f"{fill.execution_id}.{1 + self._corrected.get(fill.execution_id, 0):02d}"

    def _working(self, name: str) -> Working:
        return self.exchange.orders.get(name) or self.exchange.by_venue_id[name]

    def _clock(self, client: Client, fields: list[str]) -> None:
        client.write(say.frame([49, 1, self.exchange.time() // 10**9]))

    def _accounts(self, client: Client, fields: list[str]) -> None:
        client.write(say.frame([15, 1, say.ACCOUNT]))

    def _next_number(self, client: Client, fields: list[str]) -> None:
        used = (number for who, number in self._names if who == client.id)
        client.write(say.frame([9, 1, max(used, default=_FIRST_NUMBER - 1) + 1]))

    def _nothing(self, client: Client, fields: list[str]) -> None:
        """Take note of what only a screen would show, or of an end of what never began."""

    # ------------------------------------------------------------ the stream

    def _say(self, said: Said) -> None:
        if self._lost or self._listening.muted:
            return
        if isinstance(said, OrderUpdate | Fill):
            order = self._orders.get(said.order_id)
            clients = self._of(order.client if order is not None else 0)
        else:
            clients = self._clients
        for client in clients:
            if isinstance(said, Trade):
                self.market.bars_move(client, said)
            messages = self._messages(client, said)
            if messages:
                self._out(client, said, messages)
        if isinstance(said, Fill):
            for client in self._clients:
                self.account.moved(client, said.symbol)

    def _messages(self, client: Client, said: Said) -> list[bytes]:
        """Return how something is said to a client; nothing where it did not ask for it."""
        if isinstance(said, OrderUpdate):
            return self._update(client, said)
        if isinstance(said, Fill):
            return self._filled(client, said)
        return self.market.messages(client, said)

    def _update(self, client: Client, said: OrderUpdate) -> list[bytes]:
        working = self._working(said.order_id or said.venue_order_id)
        order = self._orders.get(said.order_id) or self._by_hand(working, client)
        before, client.kept = client.kept, []
        status = _status_of(working)
        if said.what in ("canceled", "expired", "rejected"):
            code = _REJECTED if said.what == "rejected" else _CANCELED
            why = f"Order {said.what} - reason:{said.reason or said.what}"
            client.write(say.error(order.number, code, why, client.version))
            status = "Inactive" if said.what == "rejected" else "Cancelled"
        self._status(client, order, working, status)
        messages, client.kept = client.kept, before
        return messages

    def _filled(self, client: Client, fill: Fill) -> list[bytes]:
        working = self._working(fill.order_id)
        order = self._orders.get(fill.order_id) or self._by_hand(working, client)
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
            report = say.commission(self._exec_id(fill), text_of(fill.fee))
            self._house.later(self.commission_ms, lambda: self._late_report(client, report))

    def _late_report(self, client: Client, report: bytes) -> None:
        if not self._lost and not self._listening.muted:
            client.write(report)

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


def _number_of(fields: list[str]) -> int:
    """Return the number of the request or order that a message is about, -1 without one."""
    try:
        return int(fields[_NUMBERED[int(fields[0])]])
    except (LookupError, ValueError):
        return -1


def _status_of(working: Working) -> str:
    """Return TWS's word for an order that works, or waits for its parent."""
    return "PreSubmitted" if working.waits else "Submitted"


def _perm(working: Working) -> int:
    return int(working.venue_id[1:])


#: Number of a request -> its kind, by the script's names.
_KINDS = {
    1: "subscribe", 3: "submit", 4: "cancel", 5: "open_orders", 7: "executions", 9: "instruments",
    16: "open_orders", 20: "history", 49: "time", 50: "subscribe", 61: "positions", 62: "balances",
    99: "order",
}  # fmt: skip
#: Number of a request -> where in it the number is by which it is answered.
_NUMBERED = {
    1: 2, 2: 2, 3: 1, 4: 2, 7: 2, 9: 2, 10: 2, 11: 2, 20: 1, 21: 2, 22: 1, 23: 2, 25: 2, 50: 2,
    51: 2, 52: 2, 53: 2, 54: 2, 55: 2, 56: 2, 57: 2, 62: 2, 63: 2, 74: 2, 75: 2, 76: 2, 77: 2,
    **dict.fromkeys((78, 79, 81, 83, 84, 86, 87, 88, 89, 90, 92, 93, 94, 95, 96, 97, 98), 1),
}  # fmt: skip
#: Ends of what is never begun here, and what only concerns a screen or a log.
_IDLE = (11, 13, 14, 15, 23, 53, 56, 57, 59, 63, 75, 79, 89, 90, 93, 95)
_DO: dict[int, Callable[[Server, Client, list[str]], None]] = {
    **dict.fromkeys(_IDLE, Server._nothing),
    3: Server._place, 4: Server._cancel, 5: Server._open_orders, 7: Server._executions,
    8: Server._next_number, 16: Server._open_orders, 17: Server._accounts, 49: Server._clock,
    58: Server._cancel_all, 99: Server._completed,
}  # fmt: skip
_OF_THE_ACCOUNT: dict[int, Callable[[Account, Client, list[str]], None]] = {
    6: Account.updates, 61: Account.positions, 62: Account.summary, 64: Account.end_positions,
    76: Account.updates_of, 77: Account.end_updates_of,
}  # fmt: skip
_OF_THE_MARKET: dict[int, Callable[[Market, Client, list[str]], None]] = {
    1: Market.ticks, 2: Market.end_ticks, 9: Market.details, 20: Market.history,
    25: Market.end_bars, 50: Market.real_time_bars, 51: Market.end_bars, 87: Market.head,
    97: Market.each_tick, 98: Market.end_each_tick,
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
    if not house_.exchange.recalled:
        house_.exchange.live_through(_PAST)
    return Server(house_)


if __name__ == "__main__":
    sys.exit(main())
