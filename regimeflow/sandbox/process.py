"""Venues on this machine, each in a process of its own, and a hand that moves them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from regimeflow.errors import ConfigError, VenueError
from regimeflow.model.timeframe import parse_timeframe
from regimeflow.sandbox.books import Row, read_books
from regimeflow.sandbox.script import Fault
from regimeflow.venues import loopback_wire as wire
from regimeflow.venues.loopback import Loopback

#: How long the process may take to begin or to end, seconds.
_PATIENCE_S = 30.0


class VenueProcess:
    """A venue that runs until it is stopped, or until the process that began it ends.

    This one speaks the loopback protocol; each subclass speaks the one of its ``kind``.

    Args:
        ledger: file for the venue's own record; must not exist yet. None keeps none.
        symbols: what it trades; a text is one symbol. None: those of ``prices``, or its usual ones.
        timeframe, seed, cash, speed, whole: as of the command.
        prices: what it plays instead of a random walk: a pandas or polars frame, or whatever else
            `regimeflow.backtest` takes, or a Parquet or CSV file; of bars or trades. The rows of
            one time are one step; after the last one prices stand still.
        history: bars from before it began, made up, or the first so many steps of ``prices``.
        faults: what goes wrong from the beginning.

    Attributes:
        port: where it listens.
        symbols: what it trades.
        timeframe: of its bars, such as "1min".
        hand: makes it do things.

    Raises:
        RegimeflowError: it cannot begin; it says why.
    """

    #: Module of this package that is run.
    kind = "loopback"
    #: What it trades where nothing else is said.
    symbols: tuple[str, ...] = ("AAA", "BBB")

    def __init__(
        self,
        ledger: Path | str | None = None,
        *,
        symbols: str | Sequence[str] | None = None,
        timeframe: str = "1s",
        seed: int = 1,
        cash: float = 1_000_000.0,
        speed: float = 20.0,
        whole: float = 0.6,
        prices: Any = None,
        history: int = 0,
        faults: Sequence[Fault] = (),
    ) -> None:
        self.ledger = None if ledger is None else Path(ledger)
        given = (symbols,) if isinstance(symbols, str) else tuple(symbols or ())
        for symbol in given:
            if "," in symbol:
                raise ConfigError(f"{symbol!r} is not one symbol: give several as a list")
        self.timeframe = timeframe
        with tempfile.TemporaryDirectory(prefix="regimeflow-") as room:
            path, named = _prices(prices, given, self.symbols[0], history, Path(room))
            self.symbols = named or given or self.symbols
            words: dict[str, Any] = {
                "ledger": ledger,
                "symbols": ",".join(self.symbols),
                "timeframe": timeframe,
                "seed": seed,
                "cash": cash,
                "speed": speed,
                "whole": whole,
                "prices": path,
                "history": history,
            }
            ports = self._begin(
                [f"--{n}={value}" for n, value in words.items() if value is not None]
            )
        self.port: int = ports["port"]
        self.hand = Hand(ports["control"], self.symbols, timeframe)
        for fault in faults:
            self.hand.fault(fault)

    def _begin(self, arguments: list[str]) -> dict[str, Any]:
        """Begin the process; return its ports."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"regimeflow.sandbox.{self.kind}", "--attended", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        said: dict[str, Any] = json.loads(first) if first else {}
        if "port" not in said:
            self._reap()
            why = said.get("error", "its process ended before it listened")
            raise VenueError(f"the venue did not begin: {why}")
        return said

    def venue(self, **how: Any) -> Any:
        """Return a venue of `regimeflow.venues` that points at it.

        Args:
            **how: further arguments of that venue.
        """
        return Loopback(port=self.port, **how)

    def rows(self) -> list[Row]:
        """Return its record so far."""
        if self.ledger is None:
            raise ConfigError("the venue keeps no record: give it a ledger")
        return read_books(self.ledger)

    def stop(self) -> None:
        """Let it end."""
        self.hand.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._reap()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._reap()

    def _reap(self) -> None:
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _prices(
    prices: Any, symbols: tuple[str, ...], unnamed: str, history: int, room: Path
) -> tuple[Path | None, tuple[str, ...]]:
    """Return the file that a venue is to play, and the symbols in it; both empty without prices."""
    if prices is None:
        return None, ()
    from regimeflow.sandbox.played import Played  # a venue that walks needs no frames

    played = Played(prices, symbols or None, unnamed)
    played.past_and_rest(history)
    path = room / "prices.parquet"
    played.write(path)
    return path, played.symbols


class Hand:
    """Makes a venue on this machine do what nobody asked it for.

    Args:
        port: its control port.
        symbols, timeframe: what the venue trades, and the length of its bars, for those who ask.

    Attributes:
        timeframe: in nanoseconds.
    """

    def __init__(
        self, port: int, symbols: Sequence[str] = ("AAA", "BBB"), timeframe: str = "1s"
    ) -> None:
        self.symbols = tuple(symbols)
        self.timeframe = parse_timeframe(timeframe)
        self._socket = socket.create_connection(("127.0.0.1", port), _PATIENCE_S)
        self._lines = self._socket.makefile("rb")
        self._lock = threading.Lock()
        self._count = 0
        self._socket.sendall(wire.line(wire.Hello(wire.CONTROL, uuid.uuid4().hex)))
        self._lines.readline()

    def tick(self, symbol: str, price: float) -> None:
        """Let somebody trade at a price; orders meet it."""
        self._do(wire.ByHand("tick", symbol=symbol, price=price))

    def late(self, symbol: str, price: float) -> None:
        """Let a trade be told late: it was the last of the newest bar that is over."""
        self._do(wire.ByHand("late", symbol=symbol, price=price))

    def fill(self, order_id: str, qty: float) -> str:
        """Let a working order trade some units at the present price; return the execution's id."""
        return self._do(wire.ByHand("fill", order_id, qty=qty))

    def overfill(self, order_id: str, extra: float) -> str:
        """Fill an order with more than was asked for."""
        return self._do(wire.ByHand("overfill", order_id, qty=extra))

    def end(self, order_id: str, what: str = "canceled") -> None:
        """Cancel, expire or reject a working order unasked."""
        self._do(wire.ByHand("end", order_id, side=what))

    def trade(self, symbol: str, side: str, qty: float) -> str:
        """Trade on the account without an order of the client."""
        return self._do(wire.ByHand("trade", symbol=symbol, side=side, qty=qty))

    def order(self, symbol: str, side: str, qty: float, limit: float) -> str:
        """Place an order that is not the client's; return its venue id."""
        return self._do(wire.ByHand("order", symbol=symbol, side=side, qty=qty, price=limit))

    def fund(self, symbol: str, rate: float) -> None:
        """Let what is held of a contract pay funding: a fraction of its value, negative to it."""
        self._do(wire.ByHand("fund", symbol=symbol, price=rate))

    def hide(self, order_id: str, ms: float) -> None:
        """Show an order to nobody who asks, for a while."""
        self._do(wire.ByHand("hide", order_id, ms=ms))

    def hold(self) -> None:
        """Let prices stand still."""
        self._do(wire.ByHand("hold"))

    def go(self) -> None:
        """Let prices move again."""
        self._do(wire.ByHand("go"))

    def mute(self, ms: float) -> None:
        """Say nothing for a while; it is lost."""
        self._do(wire.ByHand("mute", ms=ms))

    def disconnect(self) -> None:
        """Reset the stream."""
        self._do(wire.ByHand("disconnect"))

    def fault(self, fault: Fault) -> None:
        """Let something go wrong; it counts from now on."""
        self._do(wire.ByHand("fault", fault=msgspec.json.encode(fault).decode()))

    def books(self) -> dict[str, Any]:
        """Return cash and holdings as decimal text, and how often each fault has happened."""
        found: dict[str, Any] = json.loads(self._do(wire.ByHand("books")))
        return found

    def close(self) -> None:
        """Let go."""
        self._lines.close()
        self._socket.close()

    def _do(self, hand: wire.ByHand) -> str:
        with self._lock:
            self._count += 1
            self._socket.sendall(wire.line(wire.Ask(self._count, hand)))
            line = self._lines.readline()
        if not line:
            raise VenueError(f"the venue ended before it could {hand.what}")
        reply = wire.decode_answered(line).reply
        wire.raise_for(reply)
        return reply.text if isinstance(reply, wire.Done) else ""
