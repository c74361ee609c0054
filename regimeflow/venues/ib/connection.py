"""A socket to TWS through the client library's lower half, and questions asked over it.

Of the client library its socket client is used, with its encoder and decoder, and nothing above:
what the library's upper half keeps of orders is not what TWS said (a notice makes it call a working
order canceled), and is lost with each connection.

Invariants:

1. nothing is emitted before `speaking` is set, nor after `close` or a loss was told;
2. an answer of which a piece could not be read is no answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import os
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, NamedTuple

from regimeflow.errors import Refused, VenueError
from regimeflow.venues.ib.asks import LISTS, PIECES, Asks, Late
from regimeflow.venues.ib.pace import QUESTIONS, Pace
from regimeflow.venues.ib.waits import Waits
from regimeflow.venues.port import Disconnected, Emit, Garbled, Said

#: Numbers of messages that tell of orders or fills.
_ABOUT_ORDERS = frozenset({3, 5, 11, 59})
#: Paper accounts' numbers begin so.
PAPER_ACCOUNT = "D"


class Manners(NamedTuple):
    """How to talk.

    Attributes:
        paper: whether only a paper account will do.
        account: the only one that will do, "" for any.
        timeout_s: how long an answer is waited for.
        fee_wait_s: how long a fill waits for its commission.
        heartbeat_s: how often TWS is asked whether it is still there.
        extended_hours: whether data and limit orders go beyond regular hours.
    """

    host: str
    port: int
    client_id: int
    paper: bool
    account: str
    timeout_s: float
    fee_wait_s: float
    heartbeat_s: float
    extended_hours: bool


class Memory(NamedTuple):
    """What outlives a connection.

    Attributes:
        sent, had: client order ids that were sent, and those that TWS has shown to have.
        heads: contract's number -> when TWS's data of it begin, UTC seconds.
    """

    sent: set[str]
    had: set[str]
    heads: dict[int, int]


class Connection:
    """One socket to TWS.

    Args:
        library: ib_async or ib_insync.
        manners: how to talk.
        emit: told what TWS says of its own accord.
        name_of: contract -> our symbol for it.
        memory: what outlives a connection; added to.

    Attributes:
        account: whose money it is, once that was checked.
        speaking: whether what TWS says is passed on.
        over, why: whether the connection is of no use any more, and why.
        broken: done with that.
    """

    def __init__(
        self,
        library: Any,
        manners: Manners,
        emit: Emit,
        name_of: Callable[[Any], str],
        memory: Memory,
    ) -> None:
        self.library = library
        self.manners = manners
        self.memory = memory
        self.name_of = name_of
        self.account = manners.account
        self.speaking = self.over = False
        self.why = ""
        self.asks = Asks()
        self.waits = Waits()
        self.locks: dict[str, asyncio.Lock] = {}
        self.pace = Pace(asyncio.get_running_loop().time)
        self._emit = emit
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._message = 0
        self._ears = _Ears(lambda: self.lose("TWS closed the connection"))
        self.client = library.Client(self._ears)
        self.client.MaxRequests = 0  # see pace.py
        self.client.conn.disconnected += self._socket_closed
        self._listen_to_the_decoder()

    def hears(self, *parts: object) -> None:
        """Let parts hear TWS's messages: all their methods that are named as the library does."""
        for part in parts:
            for name in _MESSAGES & set(dir(part)):
                self._ears.heard[name] = getattr(part, name)

    def _listen_to_the_decoder(self) -> None:
        """Hear of messages that cannot be read: the library only writes them into its log."""
        decoder = self.client.decoder
        decoder.logger = _Complaints(self._cannot_read)
        interpret = decoder.interpret

        def guarded(fields: list[str]) -> None:
            self._message = int(fields[0]) if fields and fields[0].isdigit() else 0
            interpret(fields)

        decoder.interpret = guarded

    async def open(self) -> None:
        """Connect, and check whose account it is; then questions can be asked."""
        await self._shake_hands()
        self._check_account()

    async def _shake_hands(self) -> None:
        m = self.manners
        connecting = asyncio.ensure_future(
            self.client.connectAsync(m.host, m.port, m.client_id, m.timeout_s)
        )
        await asyncio.wait({connecting, self._broken}, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done():
            connecting.cancel()
        results: Any = await asyncio.gather(connecting, return_exceptions=True)
        result = results[0]
        if self.client.isReady() and result is None:
            return
        where = f"TWS at {m.host}:{m.port}"
        if self.why:
            raise VenueError(f"{where} does not let us in: {self.why}")
        if isinstance(result, OSError) and not isinstance(result, TimeoutError):
            # asyncio's own words repeat the address.
            words = os.strerror(result.errno) if result.errno else type(result).__name__
            raise VenueError(
                f"{where} cannot be reached: {words}; it must run, with its API switched on"
            )
        raise VenueError(f"{where} does not greet")

    def _check_account(self) -> None:
        """Nothing is sent before it is sure whose money it is."""
        accounts, m = list(self.client.getAccounts()), self.manners
        if not self.account and len(accounts) == 1:
            self.account = accounts[0]
        shown = ", ".join(hidden(account) for account in accounts)
        if self.account not in accounts:
            raise Refused(f"TWS serves the accounts {shown}: name one by account=", code="account")
        if m.paper != self.account.startswith(PAPER_ACCOUNT):
            kind, other = ("a paper", "a live") if m.paper else ("a live", "a paper")
            raise Refused(
                f"account {hidden(self.account)} is {other} account, and this is {kind} venue",
                code="account",
            )

    def close(self) -> None:
        """Say nothing any more, and hang up."""
        self.speaking, self.over = False, True
        for task in list(self._tasks):
            task.cancel()
        self._fail("the connection was closed")
        if self.client.conn.isConnected():
            with contextlib.suppress(OSError, RuntimeError):
                self.client.disconnect()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def lose(self, why: str) -> None:
        """The connection is of no use any more; whoever listens makes a new one."""
        if self.over:
            return
        self.over, self.why = True, self.why or why
        self.say(Disconnected(why))
        self.speaking = False
        self._fail(why)
        if not self._broken.done():
            self._broken.set_result(None)
        if self.client.conn.isConnected():
            self.client.disconnect()

    def _fail(self, why: str) -> None:
        self.asks.fail_all(VenueError(why))
        self.waits.fail_all(VenueError(why))

    def say(self, said: Said) -> None:
        """Tell something, where anybody listens."""
        if self.speaking:
            self._emit(said)

    def _socket_closed(self, why: str) -> None:
        self.lose(f"TWS closed the connection{f': {why}' if why else ''}")

    def _cannot_read(self, why: str) -> None:
        """A message could not be read: it may have been a piece of an answer."""
        kind = PIECES.get(self._message)
        if kind is not None:
            error = VenueError(f"a part of the answer cannot be read: {why}")
            if kind in LISTS:
                self.asks.spoil(kind, error)
            else:
                self.asks.fail_all(error, kind)
        about_orders = self._message in _ABOUT_ORDERS or not self._message
        self.say(Garbled(f"message {self._message} cannot be read", "", about_orders))

    # ------------------------------------------------------------ asking

    async def ask(self, kind: str, send: Callable[[int], object], key: str = "") -> list[Any]:
        """Ask, and return the pieces of the answer.

        Args:
            key: for questions whose answers carry no number: one at a time of each.
        """
        if self.over:
            raise VenueError(self.why or "the connection is closed")
        async with self.locks.setdefault(key, asyncio.Lock()) if key else contextlib.nullcontext():
            await self.turn()
            number = self.number()
            name = key or number
            self.asks.begin(name, kind)
            try:
                send(number)
            except OSError:
                self.asks.fail(name, VenueError("there is no connection to TWS"))
            try:
                return await self.asks.answer(name, kind, self.manners.timeout_s)
            except Late as error:
                if key in LISTS:  # come late, it would pass for the answer to the next one
                    self.lose(str(error))
                raise

    async def turn(self) -> None:
        """Wait until one more question may be asked."""
        while wait_s := self.pace.take(QUESTIONS):  # noqa: ASYNC110  time is what is waited for
            await asyncio.sleep(wait_s)

    def number(self) -> int:
        try:
            number: int = self.client.getReqId()
        except ConnectionError:
            raise VenueError(self.why or "there is no connection to TWS") from None
        return number


#: What is listened to, by the client library's names.
_MESSAGES = frozenset(
    {
        "openOrder", "openOrderEnd", "orderStatus", "completedOrder", "completedOrdersEnd",
        "execDetails", "execDetailsEnd", "commissionReport", "error",
        "position", "positionEnd", "accountSummary", "accountSummaryEnd", "currentTime",
        "contractDetails", "bondContractDetails", "contractDetailsEnd", "headTimestamp",
        "historicalData", "historicalDataEnd", "historicalDataUpdate", "realtimeBar",
        "priceSizeTick", "tickSize", "tickString", "tcpDataProcessed",
    }
)  # fmt: skip


class _Ears:
    """What the client library tells its messages to: it looks for them when it is made.

    Attributes:
        heard: message -> who takes it.
    """

    #: Read by the decoder; the second for times that TWS tells without a zone.
    defaultTimezone = dt.UTC
    ib = SimpleNamespace(TimezoneTWS="")

    def __init__(self, closed: Callable[[], None]) -> None:
        self.connectionClosed = closed
        self.heard: dict[str, Callable[..., None]] = {}
        for name in _MESSAGES:
            setattr(self, name, functools.partial(self._hear, name))

    def _hear(self, name: str, *terms: Any) -> None:
        if name in self.heard:
            self.heard[name](*terms)

    def connectAck(self) -> None:
        """The greeting is over; accounts and numbers follow."""

    def setEventsDone(self) -> None:
        """Nobody listens to the client library's own events."""

    def tickOptionComputation(self, *_: Any) -> None:
        """Greeks: not used."""


class _Complaints:
    """Stands where the decoder has its log: it hears of what could not be read."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def exception(self, message: object, *_: Any) -> None:
        import sys

        error = sys.exc_info()[1]
        self._tell(type(error).__name__ if error is not None else "it makes no sense")

    def _quiet(self, *_: Any) -> None:
        """Say nothing."""

    debug = info = warning = error = _quiet


def hidden(account: str) -> str:
    """Return an account's number with all but its kind and end hidden.

    >>> hidden("DU1234567")
    'D...4567'
    """
    return f"{account[:1]}...{account[-4:]}" if len(account) > 5 else account[:1] + "..."


__all__ = ["PAPER_ACCOUNT", "Connection", "Manners", "Memory", "hidden"]
