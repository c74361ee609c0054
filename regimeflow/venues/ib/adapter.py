"""Interactive Brokers as a venue: calls that block, answered on a loop of its own thread."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import random
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from regimeflow.environment import Value, look_up, read_dotenv
from regimeflow.errors import ConfigError, Refused, VenueError
from regimeflow.model.events import Cancel, Fill, Replace, Submit, exits_of
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import History
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.venues.extras import require
from regimeflow.venues.histories import Histories
from regimeflow.venues.ib import bars
from regimeflow.venues.ib.connection import PAPER_ACCOUNT, Manners, Memory, hidden
from regimeflow.venues.ib.contracts import (
    ContractFields,
    contract_of,
    fields_of,
    plain,
    rules_of,
    the_one,
)
from regimeflow.venues.ib.papers import TIFS, TYPES
from regimeflow.venues.ib.talk import Talk
from regimeflow.venues.loop_thread import LoopThread
from regimeflow.venues.outbox import NOT_SENT
from regimeflow.venues.port import Ack, Balances, Capabilities, Emit, Holding, VenueOrder

T = TypeVar("T")

#: Ports of TWS and of IB Gateway, as they come.
PAPER_PORTS, LIVE_PORTS = frozenset({7497, 4002}), frozenset({7496, 4001})
#: A call makes several questions at most; each has its own time.
_QUESTIONS = 6.0
#: Connections for questions only take a client id from here on, at random.
_VISITOR = 1_000_000
_MOST_UNITS = 1e15


class InteractiveBrokers(Histories):
    """Interactive Brokers, through a TWS or IB Gateway that runs on this machine or near it.

    Needs the extra ``ib`` (ib_async) or ``ib-insync``. What is left out comes from ``IB_HOST``,
    ``IB_PORT`` and ``IB_CLIENT_ID``, and else is as given here.

    Args:
        paper: whether it is a paper account. The account itself is checked when connecting.
        host, port: where TWS or IB Gateway listens (127.0.0.1, and 7497 for paper). They listen
            at 7497 and 4002 for paper, at 7496 and 4001 for live accounts.
        client_id: keeps our orders apart from those of other programs (1). Keep it: TWS lets only
            the client that sent an order change or cancel it.
        account: its number, where the login has several.
        contracts: symbol -> what it stands for, where that is not a US stock or, like ``EUR/USD``,
            two currencies; see `ContractFields`.
        extended_hours: whether market data and limit orders go beyond regular hours.
        calendar: exchange calendar of what is traded, "" for around the clock.
        timeout_ms: how long an answer is waited for.
        fee_wait_ms: how long a fill waits for its commission, which TWS tells separately; then it
            is told without.
        heartbeat_ms: how often TWS is asked whether it is still there.
        settle_ms: how long after an order was sent TWS may still not show it.

    Raises:
        MissingExtra: neither client library is installed.
        ConfigError: arguments contradict each other, or a live host is given for a paper account.

    Example:
        >>> import regimeflow as rf
        >>> rf.venues.InteractiveBrokers(paper=True)
        <InteractiveBrokers paper at 127.0.0.1:7497, client 1>
    """

    name = "ib"

    def __init__(
        self,
        *,
        paper: bool = True,
        host: str | None = None,
        port: int | None = None,
        client_id: int | None = None,
        account: str = "",
        contracts: Mapping[str, Mapping[str, Any] | ContractFields] | None = None,
        extended_hours: bool = False,
        calendar: str = "XNYS",
        timeout_ms: float = 5_000.0,
        fee_wait_ms: float = 2_000.0,
        heartbeat_ms: float = 5_000.0,
        settle_ms: float = 10_000.0,
    ) -> None:
        if not importlib.util.find_spec("ib_insync"):
            require("ib_async", extra="ib", venue="InteractiveBrokers")
        given = {"host": host, "port": port, "client_id": client_id}
        found = look_up(
            "ib",
            {k: Value(v, "argument") for k, v in given.items() if v is not None},
            read_dotenv(Path.cwd()),
        )
        self.paper = bool(paper)
        self.calendar = calendar
        self.host = str(found["host"].value) if "host" in found else "127.0.0.1"
        self.port = int(found["port"].value) if "port" in found else 7497
        self.client_id = int(found["client_id"].value) if "client_id" in found else 1
        self._contracts = {
            symbol: fields_of(symbol, fields) for symbol, fields in (contracts or {}).items()
        }
        for name, value in (("timeout_ms", timeout_ms), ("heartbeat_ms", heartbeat_ms)):
            if not value > 0:
                raise ConfigError(f"{name} must be positive, got {value!r}")
        if not fee_wait_ms >= 0:
            raise ConfigError(f"fee_wait_ms must not be negative, got {fee_wait_ms!r}")
        self._account = account
        self._check_that_it_is_what_it_says()
        self._manners = Manners(
            self.host, self.port, self.client_id, self.paper, account,
            timeout_ms / 1e3, fee_wait_ms / 1e3, heartbeat_ms / 1e3, extended_hours,
        )  # fmt: skip
        self.capabilities = Capabilities(
            order_types=frozenset(TYPES),
            tifs=frozenset(TIFS),
            order_id_length=36,
            brackets=True,
            settle_ms=settle_ms,
            timeframes=tuple(size.text for size in bars.SIZES),
            orders_per_second=12.0,
            questions_per_second=2.0,
        )
        self._start_over()

    def _check_that_it_is_what_it_says(self) -> None:
        """Refuse what would lead a paper session to a live account, or the reverse."""
        if not 0 < self.port < 65_536 or self.client_id < 0:
            raise ConfigError("port must lie in 1..65535, and client_id must not be negative")
        if self.paper and self.port in LIVE_PORTS:
            raise ConfigError(
                f"port {self.port} is where TWS serves live accounts: paper=True goes with 7497 "
                "(TWS) or 4002 (IB Gateway)"
            )
        if not self.paper and self.port in PAPER_PORTS:
            raise ConfigError(
                f"port {self.port} is where TWS serves paper accounts: paper=False goes with 7496 "
                "(TWS) or 4001 (IB Gateway)"
            )
        if self._account and self.paper != self._account.startswith(PAPER_ACCOUNT):
            kind = "a live" if self.paper else "a paper"
            raise ConfigError(
                f"account {hidden(self._account)} is {kind} account, and paper={self.paper}"
            )

    def _start_over(self) -> None:
        self._lock = threading.Lock()
        self._thread: LoopThread | None = None
        self._talk: Talk | None = None
        self._details: dict[str, Any] = {}
        self._names: dict[int, str] = {}
        self._memory = Memory(set(), set(), {})

    def __getstate__(self) -> dict[str, Any]:
        # A detached session takes the venue along into its own process, and connects there.
        left = ("_lock", "_thread", "_talk", "_details", "_names", "_memory")
        return {name: value for name, value in self.__dict__.items() if name not in left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start_over()

    def __repr__(self) -> str:
        kind = "paper" if self.paper else "live"
        return f"<InteractiveBrokers {kind} at {self.host}:{self.port}, client {self.client_id}>"

    # ------------------------------------------------------------ connection

    def connect(self, emit: Emit) -> None:
        """Connect; orders can be told from then on."""
        self.close()
        thread = LoopThread("regimeflow-ib")
        try:
            talk = thread.run(self._open(emit, self._manners, orders=True), self._patience_s)
        except BaseException:
            thread.stop()
            raise
        with self._lock:
            self._thread, self._talk = thread, talk

    async def _open(self, emit: Emit, manners: Manners, *, orders: bool) -> Talk:
        talk = Talk(client_library(), manners, emit, self._name_of, self._memory)
        try:
            await talk.open()
            if orders:
                await self._learn_names(talk)
                await talk.take_up()
        except BaseException:
            await talk.close()
            raise
        return talk

    async def _learn_names(self, talk: Talk) -> None:
        """Ask for what has a name of ours: else orders and positions came under another one."""
        for symbol in self._contracts:
            try:
                await self._contract(talk, symbol)
            except Refused:
                continue  # whoever wants to trade it is told then

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            thread, talk = self._thread, self._talk
            self._thread = self._talk = None
        if thread is None or talk is None:
            return
        try:
            thread.run(talk.close(), self._patience_s)
        except VenueError:
            pass  # its loop has ended already
        thread.stop()

    def _run(
        self, work: Callable[[Talk], Coroutine[Any, Any, T]], patience_s: float | None = None
    ) -> T:
        with self._lock:
            thread, talk = self._thread, self._talk
        if thread is None or talk is None:
            raise VenueError(f"there is no connection to TWS at {self.host}:{self.port}")
        return thread.run(work(talk), patience_s or self._patience_s)

    @property
    def _patience_s(self) -> float:
        return _QUESTIONS * self._manners.timeout_s

    # ------------------------------------------------------------ contracts

    async def _contract(self, talk: Talk, symbol: str) -> Any:
        """Return the details of what a symbol stands for."""
        if symbol not in self._details:
            fields = self._fields(symbol)
            found = await talk.market.details(contract_of(client_library(), symbol, fields))
            details = the_one(symbol, found)
            # Orders go where the user wants them to, whatever exchange the details were found at.
            details.contract.exchange = fields.exchange or details.contract.exchange
            self._details[symbol] = details
            self._names[details.contract.conId] = symbol
        return self._details[symbol]

    def _fields(self, symbol: str) -> ContractFields:
        if not symbol or not plain(symbol):
            raise Refused(f"{symbol!r} is no symbol", code="unknown_symbol")
        return self._contracts.get(symbol) or fields_of(symbol, None)

    def _name_of(self, contract: Any) -> str:
        """Return our name of a contract; of one that is not ours, what it is called there."""
        known = self._names.get(contract.conId)
        if known is not None:
            return known
        if contract.secType == "CASH":
            return f"{contract.symbol}/{contract.currency}"
        return str((contract.symbol if contract.secType == "STK" else "") or contract.localSymbol)

    # ------------------------------------------------------------ requests

    def subscribe(self, symbols: Sequence[str], timeframe: int) -> None:
        """Begin the stream of market data, or begin it anew."""
        if timeframe and timeframe not in bars.BY_LENGTH:
            raise Refused(f"there are no bars of {timeframe / 1e9:g} s", code="bad_timeframe")

        async def work(talk: Talk) -> None:
            wanted = [(s, (await self._contract(talk, s)).contract) for s in symbols]
            await talk.subscribe(wanted, timeframe)

        self._run(work, self._long_s)

    def submit(self, order: Submit) -> Ack:
        """Send an order and its exits: one message for each, never a second one."""
        for one in (order, *exits_of(order)):
            _check(one)

        async def work(talk: Talk) -> Ack:
            try:
                details = await self._contract(talk, order.symbol)
            except Refused:
                raise
            except VenueError as error:
                raise Refused(f"nothing was sent: {error}", code=NOT_SENT) from None
            return await talk.orders.submit(order, details.contract)

        return self._run(work)

    def cancel(self, request: Cancel, venue_order_id: str) -> None:
        """Ask to cancel."""
        self._run(lambda talk: talk.orders.cancel(request.order_id))

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        """Ask to change quantity or prices; the order keeps its number."""
        return self._run(lambda talk: talk.orders.replace(request))

    # ------------------------------------------------------------ questions

    def open_orders(self) -> list[VenueOrder]:
        """Return all working orders of the account."""
        return self._run(lambda talk: talk.orders.open_orders())

    def order(self, order_id: str, venue_order_id: str = "") -> VenueOrder:
        """Return one order, working or over."""
        return self._run(lambda talk: talk.orders.order(order_id, venue_order_id))

    def executions(self, since: int) -> list[Fill]:
        """Return the executions of TWS's day from ``since`` on, oldest first."""
        return self._run(lambda talk: talk.account.executions(since))

    def positions(self) -> list[Holding]:
        """Return everything held on the account."""
        return self._run(lambda talk: talk.account.positions())

    def balances(self) -> Balances:
        """Return the money on the account."""
        return self._run(lambda talk: talk.account.balances())

    def time(self) -> int:
        """Return TWS's clock, UTC nanoseconds, to half a second."""
        return self._run(lambda talk: talk.account.time())

    def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        """Return the trading rules of symbols."""

        async def work(talk: Talk) -> list[Instrument]:
            found = [await self._contract(talk, symbol) for symbol in symbols]
            money = sorted({details.contract.currency for details in found})
            if len(money) > 1:
                raise Refused(
                    f"a session counts in one currency, and these are traded in {', '.join(money)}",
                    code="currencies",
                )
            return [
                rules_of(symbol, self._fields(symbol), details, self.calendar)
                for symbol, details in zip(symbols, found, strict=True)
            ]

        return self._run(work, self._long_s)

    def past(self, symbol: str, timeframe: int, start: int, end: int) -> History:
        """Return the closed bars of one series that close after ``start`` and up to ``end``."""
        return self._at_length(lambda talk: self._bars(talk, symbol, timeframe, start, end))

    def piece(self, symbol: str, timeframe: int, start: int, end: int) -> tuple[History, int]:
        """Return the bars of one answer, and up to when it tells: nothing is asked for from before
        TWS's first data."""

        async def work(talk: Talk) -> tuple[History, int]:
            contract = (await self._contract(talk, symbol)).contract
            head = await talk.market.first_data(contract) * NS_PER_SECOND
            begin = min(max(start, head), end)
            until = min(begin + self.capabilities.history_page * timeframe, end)
            return await self._bars(talk, symbol, timeframe, begin, until), until

        return self._at_length(work)

    async def _bars(self, talk: Talk, symbol: str, timeframe: int, start: int, end: int) -> History:
        size = bars.BY_LENGTH.get(timeframe)
        if size is None:
            raise Refused(f"there are no bars of {timeframe / 1e9:g} s", code="bad_timeframe")
        contract = (await self._contract(talk, symbol)).contract
        until = min(end, await talk.account.time())
        found = await talk.market.past(contract, size, max(start - timeframe, 0), until)
        return _history(symbol, timeframe, start, until, found)

    def _at_length(self, work: Callable[[Talk], Coroutine[Any, Any, T]]) -> T:
        """Do something that takes long, on the connection or on one of its own."""
        with self._lock:
            thread, talk = self._thread, self._talk
        if thread is not None and talk is not None:
            return thread.run(work(talk), self._long_s)
        return self._visit(work)

    def _visit(self, work: Callable[[Talk], Coroutine[Any, Any, T]]) -> T:
        """Do something on a connection of its own, which disturbs no other."""
        visitor = self._manners._replace(client_id=random.randrange(_VISITOR, 2 * _VISITOR))

        async def visit() -> T:
            talk = await self._open(lambda said: None, visitor, orders=False)
            try:
                return await work(talk)
            finally:
                await talk.close()

        thread = LoopThread("regimeflow-ib-history")
        try:
            return thread.run(visit(), self._long_s)
        finally:
            thread.stop()

    @property
    def _long_s(self) -> float:
        """How long many questions may take, such as pages of history."""
        return 60.0 * self._patience_s


def _check(order: Submit) -> None:
    """Refuse what cannot be said to TWS."""
    if order.type not in TYPES:
        raise Refused(f"there are no {order.type!r} orders", code="bad_type")
    if order.tif not in TIFS:
        raise Refused(f"there is no time in force {order.tif!r}", code="bad_tif")
    if not 0 < order.qty < _MOST_UNITS:
        raise Refused(f"{order.qty!r} is no quantity", code="bad_qty")
    for name, price in (("limit", order.limit), ("stop", order.stop)):
        wanted = name in order.type.split("_")
        if wanted != (price is not None):
            raise Refused(f"a {order.type} order and {name}={price!r}", code="bad_price")
        if price is not None and not abs(price) < _MOST_UNITS:
            raise Refused(f"{price!r} is no price", code="bad_price")
    if not order.order_id or not plain(order.order_id) or len(order.order_id) > 36:
        raise Refused("an order id is printable text of up to 36 letters", code="bad_id")


def _history(symbol: str, timeframe: int, start: int, end: int, found: list[Any]) -> History:
    rows = {bars.opens_at(bar.date) + timeframe: bar for bar in found}
    times = sorted(ts for ts in rows if start < ts <= end)
    columns = {
        name: [float(getattr(rows[ts], name)) for ts in times]
        for name in ("open", "high", "low", "close", "volume")
    }
    # There is no volume of middle prices: TWS says -1 then.
    volume = [max(v, 0.0) for v in columns["volume"]]
    o, h, l, c = (columns[name] for name in ("open", "high", "low", "close"))  # noqa: E741
    return History(end, 0, symbol, timeframe, times, o, h, l, c, volume)


def client_library() -> Any:
    """Return the client library; on the loop's thread, since ib_insync takes the loop it finds."""
    asyncio.get_running_loop()
    name = "ib_async" if importlib.util.find_spec("ib_async") else "ib_insync"
    log = logging.getLogger(name)
    if not log.handlers:
        # Else Python writes what it logs of lost connections into the notebook.
        log.addHandler(logging.NullHandler())
    return importlib.import_module(name)
