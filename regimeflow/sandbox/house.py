"""What every venue on this machine has, whatever its clients speak: an exchange that moves, a
record, a script of faults, and a door for whoever moves it by hand.

A protocol is a `Wire`. It translates between its clients and ``house.exchange``, asks `House.fault`
before each request and each message whether something goes wrong with it, and calls `House.wrote`
after each change. `main` makes a process of it that prints ``{"port": N, "control": M}`` when it
listens, binds to this machine only, and ends by SIGTERM, SIGINT or, where attended, the end of its
input.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from regimeflow.errors import ConfigError, RegimeflowError
from regimeflow.model.instrument import Instrument
from regimeflow.model.timeframe import parse_timeframe
from regimeflow.sandbox.books import BookFile
from regimeflow.sandbox.exchange import Exchange
from regimeflow.sandbox.listening import in_tasks
from regimeflow.sandbox.script import Fault, Script, read_script
from regimeflow.venues import loopback_wire as wire

#: Units of a trade where nothing else is said.
_SIZE = 100.0


class Wire(Protocol):
    """A protocol that clients of a venue speak."""

    async def open(self, port: int) -> int:
        """Begin to listen on this machine, at any free port for 0; return the port."""

    async def close(self) -> None:
        """Cut all clients off and listen no more."""

    def mute(self, ms: float) -> None:
        """Say nothing on any stream for a while; what would have been said is lost."""

    def disconnect(self) -> None:
        """Break the streams."""


class House:
    """An exchange that moves, with a record and a script of faults.

    Args:
        exchange: who does the work.
        books: where everything is recorded.
        script: what goes wrong.
        prices: moves the exchange's prices by one step; returns whether there is a next one.
        steps_per_second: how often it does.

    Attributes:
        over: set it, and `serve` ends.
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
        self.books = books
        self.script = script
        self.over = asyncio.Event()
        self._prices = prices
        self._pause_s = 1.0 / steps_per_second
        self._held = False
        self._wire: Wire | None = None
        self._hands: set[asyncio.StreamWriter] = set()
        self._talks: set[asyncio.Task[None]] = set()
        self._late: set[asyncio.Task[None]] = set()

    async def serve(self, speaks: Wire, port: int, ready: Callable[[int, int], None]) -> None:
        """Listen until `over` is set.

        Args:
            speaks: the protocol of its clients.
            port: where they connect, 0 for any.
            ready: called with the port and the control port once both are open.
        """
        self._wire = speaks
        exchange = self.exchange
        opened = {
            "cash": str(exchange.start_cash),
            "rules": list(exchange.rules.values()),
            "timeframe": exchange.timeframe,
        }
        self.books.note(exchange.time(), "opened", "", opened)
        talk = in_tasks(self._hand, self._talks)
        door = await asyncio.start_server(talk, "127.0.0.1", 0, limit=wire.MAX_LINE)
        ready(await speaks.open(port), door.sockets[0].getsockname()[1])
        mover = asyncio.create_task(self._move())
        await self.over.wait()
        mover.cancel()
        door.close()
        for hand in list(self._hands):
            hand.transport.abort()
        await speaks.close()
        self.wrote()
        self.books.note(exchange.time(), "stopped")
        self.books.close()

    async def _move(self) -> None:
        """Move prices while there are any, and let time pass for ever."""
        goes_on = True
        while True:
            await asyncio.sleep(self._pause_s)
            if not self._held:
                goes_on = goes_on and self._prices()
                self.exchange.expire()
            self.wrote()

    # ------------------------------------------------------------ for a wire

    def wrote(self) -> None:
        """Write what the exchange has recorded since the last time."""
        self.books.take(self.exchange)

    def fault(self, kind: str, order_id: str = "", connection: int = 0) -> Fault | None:
        """Return what goes wrong with a request or a message of this kind, and record it."""
        fault = self.script.next(kind)
        if fault is not None:
            detail = {"connection": connection, "on": kind, "fault": fault.fault}
            self.books.note(self.exchange.time(), "fault", order_id, detail)
        return fault

    def later(self, ms: float, what: Callable[[], None]) -> None:
        """Do something after a while."""

        async def wait() -> None:
            await asyncio.sleep(ms / 1e3)
            what()

        task = asyncio.create_task(wait())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    # ------------------------------------------------------------ by hand

    async def _hand(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one who moves the venue by hand."""
        self._hands.add(writer)
        try:
            first = await reader.readuntil(b"\n")
            if wire.decode_hello(first).role == wire.CONTROL:
                writer.write(first)
                while True:
                    writer.write(self.by_hand(await reader.readuntil(b"\n")))
        except (OSError, EOFError, asyncio.LimitOverrunError, msgspec.MsgspecError):
            pass  # gone, or not a hand
        finally:
            self._hands.discard(writer)
            writer.close()

    def by_hand(self, line: bytes) -> bytes:
        """Do what a line of a control connection asks for; return the answering line."""
        ask = wire.decode_ask(line)
        reply = self._done(ask.question)
        self.wrote()
        return wire.line(wire.Answered(ask.id, reply))

    def _done(self, question: wire.Question) -> wire.Reply:
        if not isinstance(question, wire.ByHand):
            return wire.No("this connection is for moving the venue by hand", "not_allowed")
        try:
            self.books.note(self.exchange.time(), "by_hand", question.order_id, question)
            return wire.Done(self._do(question) or "")
        except (RegimeflowError, ArithmeticError, KeyError, ValueError) as error:
            return wire.No(f"{type(error).__name__}: {error}")

    def _do(self, hand: wire.ByHand) -> str | None:
        exchange = self.exchange
        match hand.what:
            case "tick":
                exchange.tick(hand.symbol, hand.price)
            case "late":
                exchange.late(hand.symbol, hand.price)
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
            case "fund":
                exchange.fund(hand.symbol, hand.price)
            case "hide":
                exchange.hide(hand.order_id, int(hand.ms * 1e6))
            case "overfill":
                return exchange.overfill(hand.order_id, hand.qty).execution_id
            case "end_of_day":
                exchange.end_of_day()
            case "hold" | "go":
                self._held = hand.what == "hold"
            case "fault":
                self.script.add(msgspec.json.decode(hand.fault, type=Fault))
            case "mute" | "disconnect" if self._wire is not None:
                if hand.what == "mute":
                    self._wire.mute(hand.ms)
                else:
                    self._wire.disconnect()
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


# ---------------------------------------------------------------- prices


def walk(exchange: Exchange) -> Callable[[], bool]:
    """Return what moves every price one step of a random walk."""

    def step() -> bool:
        exchange.step()
        return True

    return step


def play(exchange: Exchange, path: Path, history: int) -> Callable[[], bool]:
    """Return what plays the next step of a file: of bars all four prices, or one price.

    The first ``history`` steps are the bars of before the exchange began.

    Raises:
        RegimeflowError: the file cannot be played.
    """
    # Most venues walk, and need nothing that reads frames.
    from regimeflow.sandbox.played import Played

    past, rest = Played(path, list(exchange.rules)).past_and_rest(history)
    first = next(rest)
    exchange.recall(past, first)
    steps = itertools.chain([first], rest)

    def step() -> bool:
        rows = next(steps, None)
        for symbol, o, h, l, c, volume in rows or ():  # noqa: E741
            prices = (o, h, l, c) if l < h else (c,)
            for price in prices:
                exchange.tick(symbol, price, volume / len(prices) or _SIZE)
        return rows is not None

    return step


# ---------------------------------------------------------------- the process


def main(
    argv: Sequence[str] | None,
    *,
    prog: str,
    make_wire: Callable[[House], Wire],
    rules: Callable[[str], Instrument] = Instrument.default,
    defaults: Mapping[str, Any] | None = None,
) -> int:
    """Run a venue as a process of its own; return its exit code.

    Args:
        argv: its arguments, those of the process for None.
        prog: the command, as its help shows it.
        make_wire: returns the protocol that its clients speak.
        rules: symbol -> its trading rules.
        defaults: argument -> the default where it is not the one of `parser`.
    """
    arguments = parser(prog, **(defaults or {})).parse_args(argv)
    try:
        faults = read_script(Path(arguments.faults).read_bytes()) if arguments.faults else []
        asyncio.run(_serve(arguments, faults, make_wire, rules))
    except (RegimeflowError, OSError) as error:
        if arguments.attended:  # whoever began it waits for a line of its output
            _say({"error": str(error)})
        else:
            sys.stderr.write(f"regimeflow: {error}\n")
        return 1
    return 0


async def _serve(
    arguments: argparse.Namespace,
    faults: list[Fault],
    make_wire: Callable[[House], Wire],
    rules: Callable[[str], Instrument],
) -> None:
    symbols = [name.strip() for name in arguments.symbols.split(",") if name.strip()]
    if not symbols or not arguments.speed > 0:
        raise ConfigError("a venue needs symbols, and a speed above 0")
    exchange = Exchange(
        time.time_ns,
        [rules(symbol) for symbol in symbols],
        seed=arguments.seed,
        cash=arguments.cash,
        fee_bps=arguments.fee_bps,
        timeframe=parse_timeframe(arguments.timeframe),
        whole=arguments.whole,
    )
    if arguments.prices:
        prices = play(exchange, Path(arguments.prices), arguments.history)
    else:
        exchange.remember(arguments.history)
        prices = walk(exchange)
    books = BookFile(arguments.ledger)
    house = House(exchange, books, Script(faults), prices, arguments.speed)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, house.over.set)
    if arguments.attended:
        loop.add_reader(sys.stdin.fileno(), lambda: _attend(house))
    await house.serve(make_wire(house), arguments.port, _ready)


def _ready(port: int, control: int) -> None:
    _say({"port": port, "control": control})


def _say(line: Mapping[str, Any]) -> None:
    """Write a line for whoever began the process; who has gone meanwhile misses nothing."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def _attend(house: House) -> None:
    """End when whoever started the process has gone."""
    if not os.read(sys.stdin.fileno(), 4096):
        house.over.set()


def parser(prog: str, **defaults: Any) -> argparse.ArgumentParser:
    """Return the parser of a venue's arguments."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Run a venue on this machine to practise and test on. It prints its ports.",
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
    add("--prices", metavar="FILE", help="play these (Parquet or CSV), no random walk")
    add("--history", type=int, default=0, metavar="N", help="bars from before it began")
    add("--ledger", metavar="FILE", help="where the venue's own record goes; a new file")
    add("--faults", metavar="FILE", help="a script of faults, JSON")
    add("--attended", action="store_true", help="end when the standard input does")
    made.set_defaults(**defaults)
    return made
