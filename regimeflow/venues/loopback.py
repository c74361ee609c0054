"""A venue in another process on this machine, over real sockets: to practise and to test on.

Its server is ``python -m regimeflow.sandbox.loopback``. The adapter is small enough to be read as
an example of one: it translates, and decides nothing.
"""

from __future__ import annotations

import select
import socket
import threading
import uuid
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from regimeflow.errors import ConfigError, VenueError
from regimeflow.model.events import Cancel, Fill, Replace, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import History
from regimeflow.venues import loopback_wire as wire
from regimeflow.venues.histories import Histories
from regimeflow.venues.port import (
    Ack,
    Balances,
    Capabilities,
    Disconnected,
    Emit,
    Garbled,
    Holding,
    Refreshed,
    VenueOrder,
)

T = TypeVar("T")
#: Bytes taken from a socket at a time.
_PIECE = 64 << 10


class Loopback(Histories):
    """A venue that runs on this machine.

    Args:
        host, port: where it listens.
        timeout_ms: how long an answer is waited for.
        settle_ms: how long after an order was sent the venue may still not show it.
        paper: False lets the session treat its money as real, to practise that.

    Example:
        >>> import regimeflow as rf
        >>> rf.venues.Loopback(port=7001)
        <Loopback venue at 127.0.0.1:7001>
    """

    name = "loopback"
    calendar = ""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        timeout_ms: float = 5_000.0,
        settle_ms: float = 1_000.0,
        paper: bool = True,
    ) -> None:
        if not 0 < port < 65_536:
            raise ConfigError(f"port must lie in 1..65535, got {port!r}: the server prints its own")
        if not timeout_ms > 0:
            raise ConfigError(f"timeout_ms must be positive, got {timeout_ms!r}")
        self.paper = bool(paper)
        self.host = host
        self.port = port
        self.capabilities = Capabilities(
            tifs=frozenset({"day", "gtc", "ioc", "fok", "gtd"}), settle_ms=settle_ms, brackets=True
        )
        self._timeout_s = timeout_ms / 1e3
        self._lock = threading.Lock()
        self._pair: _Pair | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the connection: a copy, such as a detached session's, makes its own."""
        own = {"_lock", "_pair"}
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()
        self._pair = None

    def __repr__(self) -> str:
        return f"<Loopback venue at {self.host}:{self.port}>"

    # ------------------------------------------------------------ connection

    def connect(self, emit: Emit) -> None:
        """Open both connections; orders can be told from then on."""
        pair = _Pair(self.host, self.port, self._timeout_s, emit)
        with self._lock:
            before, self._pair = self._pair, pair
        if before is not None:
            before.close()

    def close(self) -> None:
        """Close both connections."""
        with self._lock:
            pair, self._pair = self._pair, None
        if pair is not None:
            pair.close()

    def _ask(self, question: wire.Question, wanted: type[T]) -> T:
        pair = self._pair
        if pair is None:
            raise VenueError(f"there is no connection to {self.host}:{self.port}")
        return _as_wanted(pair.ask(question), question, wanted)

    def _ask_aside(self, question: wire.Question, wanted: type[T]) -> T:
        """Ask without being connected: the connection of requests alone, for one answer."""
        if self._pair is not None:
            return self._ask(question, wanted)
        lines = _Lines(_open(self.host, self.port, self._timeout_s))
        try:
            _greet(lines, wire.Hello(wire.REQUESTS, uuid.uuid4().hex))
            lines.socket.sendall(wire.line(wire.Ask(1, question)))
            reply = wire.decode_answered(lines.first()).reply
        except (OSError, _Broken, msgspec.MsgspecError) as error:
            raise VenueError(f"no answer to a {_kind(question)}: {error}") from None
        finally:
            lines.socket.close()
        return _as_wanted(reply, question, wanted)

    # ------------------------------------------------------------ requests

    def subscribe(self, symbols: Sequence[str], timeframe: int) -> None:
        """Begin the stream of market data, or begin it anew."""
        self._ask(wire.Subscribe(tuple(symbols), timeframe), wire.Done)

    def submit(self, order: Submit) -> Ack:
        """Send an order: one line, never a second one."""
        return self._ask(wire.SubmitOrder(order), wire.Acked).ack

    def cancel(self, request: Cancel, venue_order_id: str) -> None:
        """Ask to cancel."""
        self._ask(wire.CancelOrder(request, venue_order_id), wire.Done)

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        """Ask to change quantity or prices."""
        return self._ask(wire.ReplaceOrder(request, venue_order_id), wire.Acked).ack

    # ------------------------------------------------------------ questions

    def open_orders(self) -> list[VenueOrder]:
        """Return all working orders of the account."""
        return self._ask(wire.AskOpenOrders(), wire.Orders).rows

    def order(self, order_id: str, venue_order_id: str = "") -> VenueOrder:
        """Return one order, working or over."""
        rows = self._ask(wire.AskOrder(order_id, venue_order_id), wire.Orders).rows
        if len(rows) != 1:
            raise VenueError(f"the venue showed {len(rows)} orders where one was asked for")
        return rows[0]

    def executions(self, since: int) -> list[Fill]:
        """Return executions from ``since`` on (UTC nanoseconds), oldest first."""
        return self._ask(wire.AskExecutions(since), wire.Executions).fills

    def positions(self) -> list[Holding]:
        """Return everything held on the account."""
        return self._ask(wire.AskPositions(), wire.Positions).holdings

    def balances(self) -> Balances:
        """Return the money on the account."""
        return self._ask(wire.AskBalances(), wire.Money).balances

    def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        """Return the trading rules of symbols."""
        return self._ask(wire.AskInstruments(tuple(symbols)), wire.Instruments).rules

    def past(self, symbol: str, timeframe: int, start: int, end: int) -> History:
        """Return the closed bars of one series that close after ``start`` and up to ``end``."""
        return self._ask_aside(wire.AskHistory(symbol, timeframe, start, end), wire.Past).history

    def time(self) -> int:
        """Return the venue's clock, UTC nanoseconds."""
        return self._ask(wire.AskTime(), wire.Moment).ts


class _Pair:
    """One client's two connections, and the thread that reads them."""

    def __init__(self, host: str, port: int, timeout_s: float, emit: Emit) -> None:
        self._timeout_s = timeout_s
        self._emit = emit
        self._write = threading.Lock()
        self._changed = threading.Condition()
        self._answers: dict[int, wire.Reply] = {}
        self._waiting: set[int] = set()
        self._count = 0
        self._over = ""
        self._closed = False
        client = uuid.uuid4().hex
        self._requests = _Lines(_open(host, port, timeout_s))
        try:
            self._stream = _Lines(_open(host, port, timeout_s))
        except VenueError:
            self._requests.socket.close()
            raise
        try:
            _greet(self._requests, wire.Hello(wire.REQUESTS, client))
            _greet(self._stream, wire.Hello(wire.STREAM, client))
        except BaseException:
            self._requests.socket.close()
            self._stream.socket.close()
            raise
        self._thread = threading.Thread(target=self._read, name="regimeflow-loopback", daemon=True)
        self._thread.start()

    def ask(self, question: wire.Question) -> wire.Reply:
        """Send one question, once, and wait for its answer."""
        with self._changed:
            if self._over:
                raise VenueError(self._over)
            self._count += 1
            number = self._count
            self._waiting.add(number)
        try:
            self._send(wire.line(wire.Ask(number, question)))
            return self._reply(number, question)
        finally:
            with self._changed:
                self._waiting.discard(number)
                self._answers.pop(number, None)

    def _reply(self, number: int, question: wire.Question) -> wire.Reply:
        with self._changed:
            self._changed.wait_for(lambda: number in self._answers or self._over, self._timeout_s)
            if number in self._answers:
                return self._answers[number]
            raise VenueError(self._over or f"no answer to a {_kind(question)} in time")

    def _send(self, line: bytes) -> None:
        if len(line) > wire.MAX_LINE:
            raise VenueError(f"a request of {len(line)} bytes is too long for the venue")
        with self._write:
            try:
                self._requests.socket.sendall(line)
            except OSError as error:
                # Part of it may have left: what follows on this connection could not be read.
                self._end(f"a request could not be sent: {error}")
                raise VenueError(f"a request could not be sent: {error}") from None

    def close(self) -> None:
        """Close both; nothing is emitted afterwards."""
        self._closed = True
        self._end("the connection was closed")
        for lines in (self._requests, self._stream):
            _shut(lines.socket)
        if threading.current_thread() is not self._thread:
            self._thread.join(self._timeout_s)
        for lines in (self._requests, self._stream):
            lines.socket.close()

    def _end(self, why: str) -> None:
        """Tell everyone who waits that no answer will come."""
        with self._changed:
            self._over = self._over or why
            self._changed.notify_all()
        _shut(self._requests.socket)

    # ------------------------------------------------------------ the reader's thread

    def _read(self) -> None:
        sockets = {self._requests.socket: self._requests, self._stream.socket: self._stream}
        try:
            while True:
                ready, _, _ = select.select(list(sockets), [], [])
                for lines in map(sockets.__getitem__, ready):
                    for line in lines.arrived():
                        self._take(line, lines)
        except (OSError, ValueError, _Broken) as error:  # ValueError: closed under our hands
            self._end(f"the connection broke: {error}")
        _shut(self._stream.socket)
        if not self._closed:
            self._emit(Disconnected(self._over))

    def _take(self, line: bytes, lines: _Lines) -> None:
        if lines is self._requests:
            self._answer(line)
        elif not self._closed:
            self._say(line)

    def _answer(self, line: bytes) -> None:
        try:
            answered = wire.decode_answered(line)
        except msgspec.MsgspecError as error:
            # Whose answer it was cannot be told, so nobody's can be trusted to come.
            raise _Broken(f"an answer cannot be read: {error}") from None
        with self._changed:
            if answered.id in self._waiting:
                self._answers[answered.id] = answered.reply
                self._changed.notify_all()

    def _say(self, line: bytes) -> None:
        try:
            said = wire.decode_spoken(line)
        except (msgspec.MsgspecError, ConfigError) as error:
            about_orders = b'"fill"' in line or b'"order_update"' in line
            self._emit(Garbled(f"a message cannot be read: {error}", "", about_orders))
            return
        if isinstance(said, wire.Rules):
            self._emit(Refreshed(said.instrument, said.tradable))
        elif not isinstance(said, wire.Hello):
            self._emit(said)


class _Broken(Exception):
    """A connection that cannot be read any more."""


class _Lines:
    """Lines of a socket, as they arrive."""

    def __init__(self, socket_: socket.socket) -> None:
        self.socket = socket_
        self._rest = b""

    def first(self) -> bytes:
        """Wait for one line."""
        while b"\n" not in self._rest:
            self._take()
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def arrived(self) -> list[bytes]:
        """Return the lines that are there, after the socket said that something is."""
        self._take()
        *lines, self._rest = self._rest.split(b"\n")
        return lines

    def _take(self) -> None:
        piece = self.socket.recv(_PIECE)
        if not piece:
            raise _Broken("the venue closed it")
        self._rest += piece
        if len(self._rest) > wire.MAX_LINE and b"\n" not in self._rest[: wire.MAX_LINE]:
            raise _Broken(f"a line is longer than {wire.MAX_LINE} bytes")


def _open(host: str, port: int, timeout_s: float) -> socket.socket:
    try:
        opened = socket.create_connection((host, port), timeout_s)
    except OSError as error:
        raise VenueError(f"{host}:{port} cannot be reached: {error}") from None
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def _greet(lines: _Lines, hello: wire.Hello) -> None:
    """Say who we are, and wait until the venue has heard it."""
    try:
        lines.socket.sendall(wire.line(hello))
        found = lines.first()
        if wire.decode_hello(found) != hello:
            raise VenueError("the venue takes us for somebody else")
    except (OSError, _Broken, msgspec.MsgspecError) as error:
        raise VenueError(f"the venue does not greet: {error}") from None


def _as_wanted(reply: wire.Reply, question: wire.Question, wanted: type[T]) -> T:
    """Return an answer of the kind that was asked for; raise what it says instead."""
    wire.raise_for(reply)
    if not isinstance(reply, wanted):
        raise VenueError(f"the venue answered {type(reply).__name__} to a {_kind(question)}")
    return reply


def _shut(socket_: socket.socket) -> None:
    try:
        socket_.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is shut already


def _kind(question: Any) -> str:
    return str(question.__struct_config__.tag)
