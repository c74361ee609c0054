"""The loopback venue's server: an exchange behind real sockets, with a record of its own.

``python -m regimeflow.sandbox.loopback --port 0 --symbols SPY,QQQ`` prints ``{"port": N}`` when it
listens. Prices walk at random by its seed, or are played from a file. It binds to this machine
only. With ``--ledger FILE`` each line it receives and each thing that happens on the account is
written before it goes on, so that whoever reads the file after any crash knows what was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from regimeflow.errors import ConfigError, NotThere, Refused, RegimeflowError
from regimeflow.model.events import Fill, OrderUpdate
from regimeflow.model.timeframe import parse_timeframe
from regimeflow.sandbox.books import BookFile
from regimeflow.sandbox.exchange import Exchange
from regimeflow.sandbox.script import Fault, Script, read_script
from regimeflow.venues import loopback_wire as wire
from regimeflow.venues.port import Said

#: Unsent bytes after which a client that does not read is cut off.
_TOO_SLOW = 16 << 20
_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>\n"
_NOISE = b"\x00\xff{]\x13not json\n"


class Server:
    """An exchange behind sockets.

    Args:
        exchange: who does the work.
        books: where everything is recorded.
        script: what goes wrong.
        prices: moves the exchange's prices by one step; returns whether there is a next one.
        steps_per_second: how often it does.
    """

    def __init__(
        self,
        exchange: Exchange,
        books: BookFile,
        script: Script,
        prices: Callable[[], bool],
        steps_per_second: float,
    ) -> None:
        self.exchange = exchange
        self.script = script
        self._books = books
        self._prices = prices
        self._pause_s = 1.0 / steps_per_second
        self._held = False
        self._stream: asyncio.StreamWriter | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._dead: set[asyncio.StreamWriter] = set()
        self._late: set[asyncio.Task[None]] = set()
        self._muted_until = 0
        self._waiting: bytes | None = None
        self._count = 0
        self.over = asyncio.Event()

    async def serve(self, port: int, ready: Callable[[int], None]) -> None:
        """Listen until `over` is set."""
        exchange = self.exchange
        self._books.note(
            exchange.time(),
            "opened",
            "",
            {
                "cash": str(exchange.start_cash),
                "rules": list(exchange.rules.values()),
                "timeframe": exchange.timeframe,
            },
        )
        server = await asyncio.start_server(
            self._client, "127.0.0.1", port, limit=wire.MAX_LINE, backlog=128
        )
        ready(server.sockets[0].getsockname()[1])
        mover = asyncio.create_task(self._move())
        await self.over.wait()
        mover.cancel()
        server.close()
        for writer in list(self._open):
            writer.transport.abort()
        self._books.take(exchange)
        self._books.note(exchange.time(), "stopped")
        self._books.close()

    async def _move(self) -> None:
        """Move prices, for ever."""
        goes_on = True
        while goes_on:
            await asyncio.sleep(self._pause_s)
            if not self._held:
                goes_on = self._prices()
                self.exchange.expire()
            self._books.take(self.exchange)

    # ------------------------------------------------------------ connections

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count += 1
        number, role = self._count, ""
        self._open.add(writer)
        try:
            first = await reader.readuntil(b"\n")
            role = wire.decode_hello(first).role
            self._books.note(
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
        self._muted_until = 0
        self.exchange.connect(self._say)
        self._books.take(self.exchange)

    def _gone(self, writer: asyncio.StreamWriter, number: int, role: str) -> None:
        self._open.discard(writer)
        self._dead.discard(writer)
        if writer is self._stream:
            self._stream = None
            self.exchange.close()
        if not self.over.is_set():
            self._books.take(self.exchange)
            detail = {"connection": number, "role": role}
            self._books.note(self.exchange.time(), "gone", "", detail)
        writer.close()

    # ------------------------------------------------------------ requests

    def _asked(self, line: bytes, number: int, role: str, writer: asyncio.StreamWriter) -> None:
        """Answer one line, or do to it what the script says."""
        self._books.received(self.exchange.time(), number, role, line)
        try:
            ask = wire.decode_ask(line)
        except (msgspec.MsgspecError, ConfigError):
            writer.close()  # whoever sent it waits for an answer that cannot be told from others
            return
        question = ask.question
        if role == wire.CONTROL:
            reply = self._by_hand(question)
            self._books.take(self.exchange)
            writer.write(wire.line(wire.Answered(ask.id, reply)))
            return
        kind = str(question.__struct_config__.tag)
        fault = self.script.next(kind)
        if fault is None:
            writer.write(self._answer(ask))
            return
        detail = {"connection": number, "on": kind, "fault": fault.fault}
        self._books.note(self.exchange.time(), "fault", "", detail)
        self._wrongly(fault, ask, writer)

    def _answer(self, ask: wire.Ask) -> bytes:
        reply = self._done(ask.question)
        self._books.take(self.exchange)
        return wire.line(wire.Answered(ask.id, reply))

    def _wrongly(self, fault: Fault, ask: wire.Ask, writer: asyncio.StreamWriter) -> None:
        """Do what the script says to a request."""
        what = fault.fault
        if what == "drop_before":
            writer.close()
        elif what == "half_open":
            self._dead.add(writer)
        elif what == "html_before":
            writer.write(_PAGE)
        elif what == "refuse":
            no = wire.No("too many requests", "rate_limited", fault.ms)
            writer.write(wire.line(wire.Answered(ask.id, no)))
        elif what != "ignore":
            answer = self._answer(ask)
            if what == "drop_after":
                writer.close()
            elif what == "delay":
                self._later(fault.ms, lambda: writer.write(answer))
            elif what == "cut":
                writer.write(answer[: len(answer) // 2])
                writer.close()
            elif what in ("html", "garbage"):
                writer.write(_PAGE if what == "html" else _NOISE)

    def _later(self, ms: float, what: Callable[[], None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(ms / 1e3)
            what()

        task = asyncio.create_task(wait())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

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
        if time.time_ns() < self._muted_until or writer in self._dead:
            return
        fault = self.script.next(str(said.__struct_config__.tag))
        if fault is not None:
            order_id = said.order_id if isinstance(said, Fill | OrderUpdate) else ""
            detail = {"on": fault.on, "fault": fault.fault}
            self._books.note(self.exchange.time(), "fault", order_id, detail)
            self._say_wrongly(fault, line, writer)
            return
        waiting, self._waiting = self._waiting, None
        writer.write(line + (waiting or b""))
        if writer.transport.get_write_buffer_size() > _TOO_SLOW:
            writer.transport.abort()

    def _say_wrongly(self, fault: Fault, line: bytes, writer: asyncio.StreamWriter) -> None:
        """Do what the script says to something that is said."""
        if fault.fault == "duplicate":
            writer.write(line + line)
        elif fault.fault == "reorder":
            self._waiting = (self._waiting or b"") + line
        elif fault.fault == "garbage":
            writer.write(_NOISE)
        elif fault.fault == "mute":
            self._muted_until = time.time_ns() + int(fault.ms * 1e6)
        elif fault.fault == "close":
            writer.close()
        elif fault.fault == "half_open":
            self._dead.add(writer)

    # ------------------------------------------------------------ by hand

    def _by_hand(self, question: wire.Question) -> wire.Reply:
        if not isinstance(question, wire.ByHand):
            return self._done(question)
        try:
            self._books.note(self.exchange.time(), "by_hand", question.order_id, question)
            return wire.Done(self._hand(question) or "")
        except (RegimeflowError, ArithmeticError, KeyError, ValueError) as error:
            return wire.No(f"{type(error).__name__}: {error}")

    def _hand(self, hand: wire.ByHand) -> str | None:
        exchange = self.exchange
        match hand.what:
            case "tick":
                exchange.tick(hand.symbol, hand.price)
            case "fill":
                return exchange.fill(hand.order_id, hand.qty).execution_id
            case "end":
                exchange.end(hand.order_id, hand.side or "canceled")
            case "trade":
                return exchange.trade_by_hand(hand.symbol, hand.side, hand.qty).execution_id
            case "order":
                return exchange.order_by_hand(hand.symbol, hand.side, hand.qty, hand.price)
            case "transfer":
                exchange.transfer(hand.price)
            case "hide":
                exchange.hide(hand.order_id, int(hand.ms * 1e6))
            case "overfill":
                return exchange.overfill(hand.order_id, hand.qty).execution_id
            case "end_of_day":
                exchange.end_of_day()
            case "mute":
                self._muted_until = time.time_ns() + int(hand.ms * 1e6)
            case "disconnect":
                if self._stream is not None:
                    self._stream.transport.abort()
            case "hold":
                self._held = True
            case "go":
                self._held = False
            case "fault":
                self.script.add(msgspec.json.decode(hand.fault, type=Fault))
            case "books":
                return json.dumps(
                    {
                        "cash": str(exchange.cash),
                        "held": {s: str(q) for s, q in exchange.held.items() if q},
                        "fired": {f"{k} {f}": n for (k, f), n in self.script.fired.items()},
                    }
                )
            case _:
                raise ConfigError(f"nobody can {hand.what} by hand")
        return None


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


# ---------------------------------------------------------------- prices


def walk(exchange: Exchange) -> Callable[[], bool]:
    """Return what moves every price one step of a random walk."""

    def step() -> bool:
        exchange.step()
        return True

    return step


def play(exchange: Exchange, path: Path) -> Callable[[], bool]:
    """Return what plays the next row of a file: of bars all four prices, or one price."""
    rows = _rows(path, next(iter(exchange.rules)))

    def step() -> bool:
        row = next(rows, None)
        if row is None:
            return False
        symbol, prices = row
        for price in prices if symbol in exchange.rules else ():
            exchange.tick(symbol, price)
        return True

    return step


def _rows(path: Path, only: str) -> Iterator[tuple[str, list[float]]]:
    from regimeflow.data.files import read_file

    frame = read_file(path)
    named = {name.strip().lower(): name for name in frame.columns}
    wanted = [named[n] for n in ("open", "high", "low", "close") if n in named]
    wanted = wanted or [named[n] for n in ("price",) if n in named]
    if not wanted:
        raise ConfigError(f"{path} has neither the columns of bars nor one named 'price'")
    symbol = named.get("symbol")
    for row in frame.iter_rows(named=True):
        yield str(row[symbol]) if symbol else only, [float(row[name]) for name in wanted]


# ---------------------------------------------------------------- the process


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end by SIGTERM, SIGINT or, where attended, the end of the input."""
    arguments = parser().parse_args(argv)
    try:
        faults = read_script(Path(arguments.faults).read_bytes()) if arguments.faults else []
        asyncio.run(_serve(arguments, faults))
    except (RegimeflowError, OSError) as error:
        sys.stderr.write(f"regimeflow: {error}\n")
        return 1
    return 0


async def _serve(arguments: argparse.Namespace, faults: list[Fault]) -> None:
    symbols = [name.strip() for name in arguments.symbols.split(",") if name.strip()]
    if not symbols or not arguments.speed > 0:
        raise ConfigError("a venue needs symbols, and a speed above 0")
    exchange = Exchange(
        time.time_ns,
        symbols,
        seed=arguments.seed,
        cash=arguments.cash,
        fee_bps=arguments.fee_bps,
        timeframe=parse_timeframe(arguments.timeframe),
        whole=arguments.whole,
    )
    prices = play(exchange, Path(arguments.prices)) if arguments.prices else walk(exchange)
    books = BookFile(arguments.ledger)
    server = Server(exchange, books, Script(faults), prices, arguments.speed)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.over.set)
    if arguments.attended:
        loop.add_reader(sys.stdin.fileno(), lambda: _attend(server))
    await server.serve(arguments.port, _ready)


def _ready(port: int) -> None:
    sys.stdout.write(json.dumps({"port": port}) + "\n")
    sys.stdout.flush()


def _attend(server: Server) -> None:
    """End when whoever started the process has gone."""
    if not os.read(sys.stdin.fileno(), 4096):
        server.over.set()


def parser() -> argparse.ArgumentParser:
    """Return the parser of the server's arguments."""
    made = argparse.ArgumentParser(
        prog="regimeflow sandbox loopback",
        description="Run a venue on this machine to practise and test on. It prints its port.",
    )
    add = made.add_argument
    add("--port", type=int, default=0, help="where it listens (default: any that is free)")
    add("--seed", type=int, default=1, metavar="N", help="of prices and partial fills")
    add("--symbols", default="SPY,QQQ", metavar="A,B", help="what it trades")
    add("--timeframe", default="1s", metavar="T", help="length of its bars")
    add("--speed", type=float, default=10.0, metavar="X", help="steps of the prices a second")
    add("--cash", type=float, default=100_000.0, metavar="X", help="money on the account")
    add("--fee-bps", type=float, default=1.0, metavar="B", help="of an execution's value")
    add("--whole", type=float, default=0.6, metavar="P", help="share of fills in one piece")
    add("--prices", metavar="FILE", help="play these (Parquet or CSV) instead of a random walk")
    add("--ledger", metavar="FILE", help="where the venue's own record goes; a new file")
    add("--faults", metavar="FILE", help="a script of faults, JSON")
    add("--attended", action="store_true", help="end when the standard input does")
    return made


if __name__ == "__main__":
    sys.exit(main())
