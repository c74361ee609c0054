"""The loopback venue's server: an exchange behind real sockets, with a record of its own.

``python -m regimeflow.sandbox.loopback --port 0 --symbols SPY,QQQ`` prints its ports when it
listens. Prices walk at random by its seed, or are played from a file. With ``--ledger FILE`` each
line it receives and each thing that happens on the account is written before it goes on, so that
whoever reads the file after any crash knows what was.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from regimeflow.errors import ConfigError, NotThere, Refused, RegimeflowError
from regimeflow.model.events import Fill, OrderUpdate
from regimeflow.sandbox import house
from regimeflow.sandbox.exchange import Exchange
from regimeflow.sandbox.house import House
from regimeflow.sandbox.listening import Listening, write
from regimeflow.sandbox.script import Fault
from regimeflow.venues import loopback_wire as wire
from regimeflow.venues.port import Said

_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>\n"
_NOISE = b"\x00\xff{]\x13not json\n"


class Server:
    """The loopback protocol: one JSON object a line, both ways (a `Wire`).

    Args:
        house: the venue that speaks it.
    """

    def __init__(self, house: House) -> None:
        self.exchange = house.exchange
        self._house = house
        self._stream: asyncio.StreamWriter | None = None
        self._dead: set[asyncio.StreamWriter] = set()
        self._listening = Listening(self._client, wire.MAX_LINE)
        self._waiting: bytes | None = None

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
        """Reset the stream."""
        if self._stream is not None:
            self._stream.transport.abort()

    # ------------------------------------------------------------ connections

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, role = self._listening.count, ""
        try:
            first = await reader.readuntil(b"\n")
            role = wire.decode_hello(first).role
            self._house.books.note(
                self.exchange.time(), "hello", "", {"connection": number, "role": role}
            )
            writer.write(first)
            if role == wire.STREAM:
                self._listens(writer)
            while True:
                line = await reader.readuntil(b"\n")
                if role != wire.STREAM and writer not in self._dead:
                    self._asked(line, number, role, writer)
        except (OSError, EOFError, asyncio.LimitOverrunError, msgspec.MsgspecError):
            pass  # gone, or not one of our clients
        finally:
            self._gone(writer, number, role)

    def _listens(self, writer: asyncio.StreamWriter) -> None:
        """A new client hears the stream; one that was there before does no longer."""
        before, self._stream = self._stream, writer
        if before is not None:
            before.close()
        self._listening.mute(0.0)
        self.exchange.connect(self._say)
        self._house.wrote()

    def _gone(self, writer: asyncio.StreamWriter, number: int, role: str) -> None:
        self._dead.discard(writer)
        if writer is self._stream:
            self._stream = None
            self.exchange.close()
        if not self._house.over.is_set():
            self._house.wrote()
            detail = {"connection": number, "role": role}
            self._house.books.note(self.exchange.time(), "gone", "", detail)
        writer.close()

    # ------------------------------------------------------------ requests

    def _asked(self, line: bytes, number: int, role: str, writer: asyncio.StreamWriter) -> None:
        """Answer one line, or do to it what the script says."""
        self._house.books.received(self.exchange.time(), number, role, line)
        try:
            ask = wire.decode_ask(line)
        except (msgspec.MsgspecError, ConfigError):
            writer.close()  # whoever sent it waits for an answer that cannot be told from others
            return
        question = ask.question
        kind = str(question.__struct_config__.tag)
        fault = self._house.fault(kind, connection=number)
        if fault is None:
            writer.write(self._answer(ask))
            return
        self._wrongly(fault, ask, writer)

    def _answer(self, ask: wire.Ask) -> bytes:
        reply = self._done(ask.question)
        self._house.wrote()
        return wire.line(wire.Answered(ask.id, reply))

    def _wrongly(self, fault: Fault, ask: wire.Ask, writer: asyncio.StreamWriter) -> None:
        """Do what the script says to a request."""
        what = fault.fault
        if what == "drop_before":
            writer.close()
        elif what == "half_open":
            self._dead.add(writer)
        elif what == "html_before" or (what.startswith("http_") and what != "http_504_after"):
            writer.write(_PAGE)
        elif what == "refuse":
            no = wire.No("too many requests", "rate_limited", fault.ms)
            writer.write(wire.line(wire.Answered(ask.id, no)))
        elif what != "ignore":
            answer = self._answer(ask)
            if what == "drop_after":
                writer.close()
            elif what == "delay":
                self._house.later(fault.ms, lambda: writer.write(answer))
            elif what == "cut":
                writer.write(answer[: len(answer) // 2])
                writer.close()
            elif what in ("html", "http_504_after"):
                writer.write(_PAGE)
            elif what == "garbage":
                writer.write(_NOISE)

    def _done(self, question: wire.Question) -> wire.Reply:
        """Let the exchange do it; its refusals and failures are answers too."""
        try:
            return _DO[type(question)](self.exchange, question)
        except NotThere as no:
            return wire.No(str(no), no.code, no.retry_after_ms, not_there=True)
        except Refused as no:
            return wire.No(str(no), no.code, no.retry_after_ms)
        except (RegimeflowError, ArithmeticError, ValueError) as error:
            return wire.Trouble(f"{type(error).__name__}: {error}")

    # ------------------------------------------------------------ the stream

    def _say(self, said: Said) -> None:
        line = wire.spoken(said)
        writer = self._stream
        if line is None or writer is None:
            return
        if self._listening.muted or writer in self._dead:
            return
        order_id = said.order_id if isinstance(said, Fill | OrderUpdate) else ""
        fault = self._house.fault(str(said.__struct_config__.tag), order_id)
        if fault is not None:
            self._say_wrongly(fault, line, writer)
            return
        waiting, self._waiting = self._waiting, None
        write(writer, line + (waiting or b""))

    def _say_wrongly(self, fault: Fault, line: bytes, writer: asyncio.StreamWriter) -> None:
        """Do what the script says to something that is said."""
        if fault.fault == "duplicate":
            writer.write(line + line)
        elif fault.fault == "reorder":
            self._waiting = (self._waiting or b"") + line
        elif fault.fault == "garbage":
            writer.write(_NOISE)
        elif fault.fault == "mute":
            self.mute(fault.ms)
        elif fault.fault == "close":
            writer.close()
        elif fault.fault == "half_open":
            self._dead.add(writer)


def _do_nothing(exchange: Exchange, question: Any) -> wire.Reply:
    raise Refused(f"{type(question).__name__} is for control connections", code="not_allowed")


def _subscribe(exchange: Exchange, q: wire.Subscribe) -> wire.Reply:
    exchange.subscribe(q.symbols, q.timeframe)
    return wire.Done()


def _cancel(exchange: Exchange, q: wire.CancelOrder) -> wire.Reply:
    exchange.cancel(q.request, q.venue_order_id)
    return wire.Done()


_DO: dict[type, Callable[[Exchange, Any], wire.Reply]] = {
    wire.SubmitOrder: lambda x, q: wire.Acked(x.submit(q.order)),
    wire.CancelOrder: _cancel,
    wire.ReplaceOrder: lambda x, q: wire.Acked(x.replace(q.request, q.venue_order_id)),
    wire.Subscribe: _subscribe,
    wire.AskOpenOrders: lambda x, q: wire.Orders(x.open_orders()),
    wire.AskOrder: lambda x, q: wire.Orders([x.order(q.order_id, q.venue_order_id)]),
    wire.AskExecutions: lambda x, q: wire.Executions(x.executions(q.since)),
    wire.AskPositions: lambda x, q: wire.Positions(x.positions()),
    wire.AskBalances: lambda x, q: wire.Money(x.balances()),
    wire.AskInstruments: lambda x, q: wire.Instruments(x.instruments(q.symbols)),
    wire.AskHistory: lambda x, q: wire.Past(x.past(q.symbol, q.timeframe, q.start, q.end)),
    wire.AskTime: lambda x, q: wire.Moment(x.time()),
    wire.ByHand: _do_nothing,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end by SIGTERM, SIGINT or, where attended, the end of the input."""
    return house.main(argv, prog="regimeflow sandbox loopback", make_wire=Server)


if __name__ == "__main__":
    sys.exit(main())
