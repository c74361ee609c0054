"""One connection to TWS, on a loop of its own thread.

Of the client library its socket client is used, with its encoder and decoder, and nothing above:
what the library's upper half keeps of orders is not what TWS said (a notice makes it call a working
order canceled), and is lost with each connection. So TWS's own words arrive here, and their numbers
are looked up in `regimeflow.venues.ib.codes`.

Invariants:

1. one call of `submit`, `replace` or `cancel` writes one message;
2. nothing is emitted before the account was checked and the books were asked for, nor after
   `close` or a loss was told;
3. an answer of which a piece could not be read is no answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from regimeflow.errors import NotThere, Refused, VenueError
from regimeflow.model.events import Fill, OrderUpdate, Replace, Submit
from regimeflow.model.market import Bar
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.model.venue import Holding, VenueOrder
from regimeflow.venues.ib import bars, codes
from regimeflow.venues.ib.asks import Asks, Late
from regimeflow.venues.ib.contracts import decimal_text
from regimeflow.venues.ib.fills import Fills
from regimeflow.venues.ib.pace import CANCELS, ORDERS, QUESTIONS, Pace
from regimeflow.venues.ib.papers import OVER, TAKEN, TIFS, TYPES, Paper, completed_row
from regimeflow.venues.outbox import NOT_SENT
from regimeflow.venues.port import Ack, Balances, Disconnected, Emit, Garbled, Said

_ORDERS, _EXECUTIONS, _COMPLETED, _POSITIONS = (
    "open orders",
    "executions",
    "orders over",
    "positions",
)
_DETAILS, _HISTORY, _MONEY, _TIME, _HEAD = "a contract", "history", "the account", "time", "head"
#: Number of a message -> the kind of question that it may be a piece of.
_PIECES = {
    3: _ORDERS, 5: _ORDERS, 10: _DETAILS, 11: _EXECUTIONS, 17: _HISTORY, 49: _TIME,
    61: _POSITIONS, 63: _MONEY, 88: _HEAD, 101: _COMPLETED,
}  # fmt: skip
#: Lists whose pieces carry no number, and that have an end of their own.
_LISTS = frozenset({_ORDERS, _COMPLETED, _POSITIONS})
#: Numbers of messages that tell of orders or fills.
_ABOUT_ORDERS = frozenset({3, 5, 11, 59})
_TAGS = "TotalCashValue,NetLiquidation,BuyingPower,InitMarginReq"
#: The venue has no such number: what stands for none on the wire is larger.
_FAR = 1e300
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


class _Wait(NamedTuple):
    """Somebody waits for what TWS makes of a request; ``done``: whether that shows by itself."""

    future: asyncio.Future[None]
    done: Callable[[], bool]


class Talk:
    """One connection to TWS.

    Args:
        library: ib_async or ib_insync.
        manners: how to talk.
        emit: told what TWS says of its own accord.
        name_of: contract -> our symbol for it.
        memory: what outlives a connection; added to.
    """

    #: Read by the client library's decoder; the second for times that TWS tells without a zone.
    defaultTimezone = dt.UTC
    ib = SimpleNamespace(TimezoneTWS="")

    def __init__(
        self,
        library: Any,
        manners: Manners,
        emit: Emit,
        name_of: Callable[[Any], str],
        memory: Memory,
    ) -> None:
        self._library = library
        self._manners = manners
        self._emit = emit
        self._name_of = name_of
        self._memory = memory
        self.account = manners.account
        self._speaking = self._over = False
        self._why = ""
        self._asks = Asks()
        self._locks: dict[str, asyncio.Lock] = {}
        self._papers: dict[tuple[int, int], Paper] = {}
        self._by_ref: dict[str, Paper] = {}
        self._waits: dict[tuple[int, str], _Wait] = {}
        self._fills = Fills(
            manners.fee_wait_s, self._say, self._begin, self._executed, name_of, self._ref_of
        )
        self._bars: dict[int, bars.BarStream] = {}
        self._ticks: dict[int, bars.TickStream] = {}
        self._moved: set[int] = set()
        self._wanted: tuple[tuple[tuple[str, Any], ...], int] = ((), 0)
        self._farm_lost = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._message = 0
        self._pace = Pace(asyncio.get_running_loop().time)
        self.client = library.Client(self)
        self.client.MaxRequests = 0  # see pace.py
        self.client.conn.disconnected += self._socket_closed
        self._listen_to_the_decoder()

    def _listen_to_the_decoder(self) -> None:
        """Hear of messages that cannot be read: the library only writes them into its log."""
        decoder = self.client.decoder
        decoder.logger = _Complaints(self._cannot_read)
        interpret = decoder.interpret

        def guarded(fields: list[str]) -> None:
            self._message = int(fields[0]) if fields and fields[0].isdigit() else 0
            interpret(fields)

        decoder.interpret = guarded

    # ------------------------------------------------------------ connection

    async def open(self) -> None:
        """Connect, and check whose account it is; then questions can be asked."""
        await self._shake_hands()
        self._check_account()

    async def take_up(self) -> None:
        """Ask for the books; then orders can be sent and are heard of."""
        await self.open_orders()
        await self._executed()
        self._speaking = True
        self._fills.tell_all()
        self._begin(self._stay_in_touch())
        if self._over:
            raise VenueError(self._why)

    async def _shake_hands(self) -> None:
        m = self._manners
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
        if self._why:
            raise VenueError(f"{where} does not let us in: {self._why}")
        if isinstance(result, OSError) and not isinstance(result, TimeoutError):
            words = result.strerror or type(result).__name__
            raise VenueError(
                f"{where} cannot be reached: {words}; it must run, with its API switched on"
            )
        raise VenueError(f"{where} does not greet")

    def _check_account(self) -> None:
        """Nothing is sent before it is sure whose money it is."""
        accounts, m = list(self.client.getAccounts()), self._manners
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

    async def close(self) -> None:
        """Say nothing any more, and hang up."""
        self._speaking, self._over = False, True
        for task in list(self._tasks):
            task.cancel()
        self._fills.close()
        self._fail("the connection was closed")
        if self.client.conn.isConnected():
            with contextlib.suppress(OSError, RuntimeError):
                self.client.disconnect()

    async def _stay_in_touch(self) -> None:
        """Notice a connection that is there and silent."""
        every_s = min(self._manners.heartbeat_s, 1.0)
        next_at = 0.0
        while not self._over:
            now = asyncio.get_running_loop().time()
            if now >= next_at:
                next_at = now + self._manners.heartbeat_s
                try:
                    await self.time()
                except VenueError as error:
                    self._lose(f"TWS is silent: {error}")
                    return
            for stream in self._bars.values():
                for bar in stream.over(time.time_ns()):
                    self._say(bar)
            await asyncio.sleep(every_s)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _lose(self, why: str) -> None:
        """The connection is of no use any more; whoever listens makes a new one."""
        if self._over:
            return
        self._over, self._why = True, self._why or why
        self._say(Disconnected(why))
        self._speaking = False
        self._fail(why)
        if not self._broken.done():
            self._broken.set_result(None)
        if self.client.conn.isConnected():
            self.client.disconnect()

    def _fail(self, why: str) -> None:
        self._asks.fail_all(VenueError(why))
        for wait in self._waits.values():
            if not wait.future.done():
                wait.future.set_exception(VenueError(why))

    def _say(self, said: Said) -> None:
        """Tell something, where anybody listens."""
        if self._speaking:
            self._emit(said)

    def _socket_closed(self, why: str) -> None:
        self._lose(f"TWS closed the connection{f': {why}' if why else ''}")

    # ------------------------------------------------------------ asking

    async def _ask(self, kind: str, send: Callable[[int], object], key: str = "") -> list[Any]:
        """Ask, and return the pieces of the answer.

        Args:
            key: for questions whose answers carry no number: one at a time of each.
        """
        if self._over:
            raise VenueError(self._why or "the connection is closed")
        async with self._locks.setdefault(key, asyncio.Lock()) if key else contextlib.nullcontext():
            await self._turn()
            number = self._number()
            name = key or number
            self._asks.begin(name, kind)
            try:
                send(number)
            except OSError:
                self._asks.fail(name, VenueError("there is no connection to TWS"))
            try:
                return await self._asks.answer(name, kind, self._manners.timeout_s)
            except Late as error:
                if key in _LISTS:  # come late, it would pass for the answer to the next one
                    self._lose(str(error))
                raise

    async def _turn(self) -> None:
        """Wait until one more question may be asked."""
        while wait_s := self._pace.take(QUESTIONS):  # noqa: ASYNC110  time is what is waited for
            await asyncio.sleep(wait_s)

    def _number(self) -> int:
        try:
            number: int = self.client.getReqId()
        except ConnectionError:
            raise VenueError(self._why or "there is no connection to TWS") from None
        return number

    async def details(self, contract: Any) -> list[Any]:
        """Return the contracts that fit; none where TWS knows none."""
        try:
            return await self._ask(_DETAILS, lambda n: self.client.reqContractDetails(n, contract))
        except Refused as no:
            if no.code == "200":
                return []
            raise

    async def open_orders(self) -> list[VenueOrder]:
        """Return all working orders of the account, those of other clients and by hand too."""
        papers = await self._ask(_ORDERS, lambda _: self.client.reqAllOpenOrders(), _ORDERS)
        rows: dict[int, Paper] = {id(paper): paper for paper in papers if self._is_mine(paper)}
        return [
            paper.row(self._name_of(paper.contract))
            for paper in rows.values()
            if paper.status not in OVER and not (paper.ended and paper.status == "Inactive")
        ]

    def _is_mine(self, paper: Paper) -> bool:
        account = paper.order.account
        return not account or account == self.account

    async def completed(self) -> list[VenueOrder]:
        """Return the orders of the day that are over."""
        found = await self._ask(
            _COMPLETED, lambda _: self.client.reqCompletedOrders(False), _COMPLETED
        )
        return [
            completed_row(contract, order, state, self._name_of(contract))
            for contract, order, state in found
            if not order.account or order.account == self.account
        ]

    async def order(self, order_id: str, perm_id: str) -> VenueOrder:
        """Return one order: of those that work, by the stream's last word, or of those over."""

        def is_it(row: VenueOrder) -> bool:
            return row.order_id == order_id if order_id else row.venue_order_id == perm_id

        for row in await self.open_orders():
            if is_it(row):
                return row
        for paper in self._papers.values():
            named = paper.ref == order_id if order_id else paper.name == perm_id
            if named and paper.perm_id and paper.status in OVER and paper.contract is not None:
                return paper.row(self._name_of(paper.contract))
        for row in await self.completed():
            if is_it(row):
                return row
        if order_id in self._memory.had:
            # It lists a day; what it had and lists no longer is not what it never had.
            raise VenueError(f"TWS had order {order_id} and no longer lists it")
        raise NotThere(f"there is no order {order_id or perm_id}", code="not_there")

    async def executions(self, since: int) -> list[Fill]:
        """Return the executions of the day from ``since`` on, oldest first."""
        return self._fills.since(await self._executed(), since)

    async def _executed(self) -> list[str]:
        """Ask for the executions of the day; TWS tells their commissions along with them."""
        every = self._library.ExecutionFilter(acctCode=self.account)
        found = await self._ask(_EXECUTIONS, lambda n: self.client.reqExecutions(n, every))
        return await self._fills.listed(found)

    async def positions(self) -> list[Holding]:
        """Return everything held on the account."""
        try:
            found = await self._ask(_POSITIONS, lambda _: self.client.reqPositions(), _POSITIONS)
        finally:
            if not self._over:
                self.client.cancelPositions()
        held = []
        for account, contract, qty, cost in found:
            if not (abs(qty) < _FAR and abs(cost) < _FAR):
                raise VenueError("TWS told of a position that is no number")
            if account == self.account and qty:
                units = float(contract.multiplier or 1.0) or 1.0
                held.append(Holding(self._name_of(contract), qty, cost / units))
        return held

    async def balances(self) -> Balances:
        """Return the money on the account."""
        numbers: list[int] = []

        def send(number: int) -> None:
            numbers.append(number)
            self.client.reqAccountSummary(number, "All", _TAGS)

        try:
            found = await self._ask(_MONEY, send, _MONEY)
        finally:
            if numbers and not self._over:
                self.client.cancelAccountSummary(numbers[0])
        values = {tag: (text, unit) for acct, tag, text, unit in found if acct == self.account}
        try:
            cash, equity, power, margin = (float(values[tag][0]) for tag in _TAGS.split(","))
        except (KeyError, ValueError):
            raise VenueError("TWS did not tell what is on the account") from None
        unit = values["TotalCashValue"][1]
        return Balances(cash, equity, power, margin, unit, hidden(self.account))

    async def time(self) -> int:
        """Return TWS's clock: it tells whole seconds, so the middle of the one it is in."""
        (seconds,) = await self._ask(_TIME, lambda _: self.client.reqCurrentTime(), _TIME)
        return int(seconds) * NS_PER_SECOND + NS_PER_SECOND // 2

    async def past(self, contract: Any, size: bars.Size, start: int, end: int) -> list[Any]:
        """Return TWS's bars that open from ``start`` on and before ``end``, oldest first."""
        first, until = start // NS_PER_SECOND, -(-end // NS_PER_SECOND)
        first = max(first, await self._first_data(contract))
        pages: list[list[Any]] = []
        while until > first:
            seconds = max(min(until - first, size.page_s), size.seconds)
            when = dt.datetime.fromtimestamp(until, dt.UTC).strftime("%Y%m%d-%H:%M:%S")
            page = await self._page(contract, size, when, bars.duration_text(seconds))
            pages.append(page)
            until -= seconds
        return [bar for page in reversed(pages) for bar in page]

    async def _page(self, contract: Any, size: bars.Size, when: str, span: str) -> list[Any]:
        return await self._ask(
            _HISTORY,
            lambda n: self.client.reqHistoricalData(
                n, contract, when, span, size.name, _shown(contract), self._regular, 2, False, []
            ),
        )

    async def _first_data(self, contract: Any) -> int:
        """Return when TWS's data of a contract begin, UTC seconds; 0 where it does not tell."""
        heads = self._memory.heads
        if contract.conId in heads:
            return heads[contract.conId]
        try:
            (text,) = await self._ask(
                _HEAD,
                lambda n: self.client.reqHeadTimeStamp(
                    n, contract, _shown(contract), self._regular, 2
                ),
            )
        except (VenueError, ValueError):
            return 0
        if str(text).isdigit() and len(str(text)) > len("20240102"):
            heads[contract.conId] = int(text)
        return heads.get(contract.conId, 0)

    @property
    def _regular(self) -> bool:
        return not self._manners.extended_hours

    # ------------------------------------------------------------ orders

    async def submit(self, order: Submit, contract: Any) -> Ack:
        """Send an order: one message."""
        if order.order_id in self._memory.sent | self._memory.had:
            raise Refused(f"order id {order.order_id} is taken", code="duplicate_order_id")
        made = self._library.Order(
            action="BUY" if order.side == "buy" else "SELL",
            totalQuantity=decimal_text(order.qty),
            orderType=TYPES[order.type],
            tif=TIFS[order.tif],
            orderRef=order.order_id,
            account=self.account,
            outsideRth=self._manners.extended_hours and order.type == "limit",
        )
        _set_prices(made, order.limit, order.stop)
        if order.tif == "gtd":
            made.goodTillDate = _utc(order.expire_at)
        try:
            number = self._number()
        except VenueError as error:
            raise Refused(f"nothing was sent: {error}", code=NOT_SENT) from None
        paper = self._papers[self._manners.client_id, number] = Paper(
            number, self._manners.client_id
        )
        paper.ref, paper.contract, paper.order = order.order_id, contract, made
        self._by_ref[order.order_id] = paper
        self._memory.sent.add(order.order_id)
        try:
            await self._write(
                number, "submit", lambda: self.client.placeOrder(number, contract, made)
            )
        except Refused as no:
            paper.ended, paper.reason = True, str(no)
            raise
        return Ack(paper.name, time.time_ns())

    async def replace(self, request: Replace) -> Ack:
        """Send an order under its number once more, with other terms: one message."""
        paper = await self._ours(request.order_id)
        before = paper.order
        made = self._library.Order(
            action=before.action,
            totalQuantity=decimal_text(request.qty),
            orderType=before.orderType,
            tif=before.tif,
            orderRef=before.orderRef,
            account=before.account,
            outsideRth=before.outsideRth,
            goodTillDate=before.goodTillDate,
        )
        _, limit, stop = paper.terms
        _set_prices(
            made,
            limit if request.limit is None else request.limit,
            stop if request.stop is None else request.stop,
        )
        wanted = Paper(paper.order_id, paper.client_id)
        wanted.order = made
        await self._write(
            paper.order_id,
            "replace",
            lambda: self.client.placeOrder(paper.order_id, paper.contract, made),
            lambda: paper.terms == wanted.terms,
        )
        return Ack(paper.name, time.time_ns())

    async def cancel(self, order_id: str) -> None:
        """Ask to cancel: one message."""
        paper = await self._ours(order_id)
        await self._write(paper.order_id, "cancel", lambda: self.client.cancelOrder(paper.order_id))

    async def _ours(self, order_id: str) -> Paper:
        """Return an order that this client may change: it must know its number."""
        if order_id not in self._by_ref:
            await self.open_orders()
        paper = self._by_ref.get(order_id)
        if paper is None:
            row = await self.order(order_id, "")
            raise Refused(f"order {order_id} is {row.status}", code="order_over")
        if paper.client_id != self._manners.client_id:
            raise Refused(
                f"order {order_id} was sent by the client {paper.client_id}: only that one can "
                "change or cancel it; connect with that client_id",
                code="other_client",
            )
        return paper

    async def _write(
        self,
        number: int,
        what: str,
        send: Callable[[], object],
        done: Callable[[], bool] = lambda: False,
    ) -> None:
        """Write one message about an order, and wait until TWS has said what it makes of it."""
        if self._over:
            why = self._why or "the connection is closed"
            raise Refused(f"nothing was sent: {why}", code=NOT_SENT)
        wait_s = self._pace.take(CANCELS if what == "cancel" else ORDERS)
        if wait_s:
            raise Refused(
                "nothing was sent: too many messages in this second",
                code=NOT_SENT,
                retry_after_ms=wait_s * 1e3,
            )
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits[number, what] = _Wait(future, done)
        try:
            send()
            await asyncio.wait_for(future, self._manners.timeout_s)
        except TimeoutError:
            raise VenueError(
                f"TWS did not answer the {what} in {self._manners.timeout_s:g} s"
            ) from None
        except OSError:
            raise VenueError("the connection broke while it was written") from None
        finally:
            self._waits.pop((number, what), None)

    def _answered(self, number: int, what: str, error: Exception | None = None) -> bool:
        """Tell whoever waits what became of a request; return whether somebody did."""
        wait = self._waits.get((number, what))
        if wait is None or wait.future.done():
            return False
        if error is None:
            wait.future.set_result(None)
        else:
            wait.future.set_exception(error)
        return True

    # ------------------------------------------------------------ what TWS says of orders

    def openOrder(self, number: int, contract: Any, order: Any, state: Any) -> None:
        """An order as it is now: after a change, and in answer to a question."""
        paper = self._paper(order.clientId, number, order.permId)
        before = paper.terms if paper.announced else None
        paper.contract, paper.order = contract, order
        paper.perm_id = order.permId or paper.perm_id
        paper.ref = order.orderRef
        paper.status = state.status or paper.status
        if paper.ref:
            self._by_ref[paper.ref] = paper
            self._memory.had.add(paper.ref)
        self._asks.piece(_ORDERS, paper)
        self._news(paper)
        if before is not None and before != paper.terms:
            qty, limit, stop = paper.terms
            now = time.time_ns()
            self._say(OrderUpdate(now, 0, paper.ref, "replaced", "", paper.name, qty, limit, stop))
        wait = self._waits.get((paper.order_id, "replace"))
        if wait is not None and wait.done():
            self._answered(paper.order_id, "replace")

    def openOrderEnd(self) -> None:
        self._asks.end(_ORDERS)

    def orderStatus(
        self, number: int, status: str, filled: float, remaining: float, average: float,
        perm_id: int, parent_id: int, last_price: float, client_id: int, *_: Any,
    ) -> None:  # fmt: skip
        """What has become of an order, by TWS."""
        paper = self._paper(client_id, number, perm_id)
        paper.perm_id = perm_id or paper.perm_id
        paper.status = status
        paper.filled = max(paper.filled, filled)
        paper.average = average if abs(average) < _FAR else 0.0
        if paper.order is not None:
            self._news(paper)

    def _paper(self, client_id: int, number: int, perm_id: int) -> Paper:
        """Return the paper of an order; one that was placed by hand has a number for life only."""
        key = (client_id, number) if number > 0 else (-1, perm_id)
        if key not in self._papers:
            self._papers[key] = Paper(number, client_id)
        return self._papers[key]

    def _news(self, paper: Paper) -> None:
        """Tell what is new of an order."""
        number = paper.order_id
        if paper.status in TAKEN | OVER and not paper.announced and not paper.ended:
            paper.announced = True
            self._answered(number, "submit")
            self._tell(paper, "accepted")
        if paper.status == "PendingCancel":
            self._answered(number, "cancel")
        if paper.status == "Inactive" and paper.refused:
            self._end(paper, "rejected")
        elif paper.status in OVER and paper.status != "Filled":
            self._end(paper, "rejected" if paper.refused else paper.word)
        elif paper.status == "Filled":
            paper.ended = True

    def _end(self, paper: Paper, what: str) -> None:
        if paper.ended:
            return
        paper.ended = True
        self._answered(paper.order_id, "cancel")
        why = paper.reason or "canceled"
        self._answered(paper.order_id, "replace", Refused(why, code="order_over"))
        self._tell(paper, what, paper.reason)

    def _tell(self, paper: Paper, what: str, why: str = "") -> None:
        # Of orders that carry no name of a client's, the comparison of the books tells.
        if paper.ref:
            self._say(OrderUpdate(time.time_ns(), 0, paper.ref, what, why, paper.name))

    def completedOrder(self, contract: Any, order: Any, state: Any) -> None:
        self._asks.piece(_COMPLETED, (contract, order, state))

    def completedOrdersEnd(self) -> None:
        self._asks.end(_COMPLETED)

    # ------------------------------------------------------------ fills

    def execDetails(self, number: int, contract: Any, execution: Any) -> None:
        """An execution: one that was asked for, or one that has just been made."""
        if contract.secType == "BAG":
            return  # its legs are told one by one
        if execution.orderRef:
            self._memory.had.add(execution.orderRef)
        if number in self._asks:
            self._asks.piece(number, (contract, execution))
            return
        self._answered(execution.orderId, "submit")
        self._fills.executed(contract, execution)

    def execDetailsEnd(self, number: int) -> None:
        self._asks.end(number)

    def commissionReport(self, report: Any) -> None:
        """What an execution cost."""
        self._fills.cost(report)

    def _ref_of(self, execution: Any) -> str:
        """Return our id of an execution's order, "" where that has none."""
        placed = self._papers.get((execution.clientId, execution.orderId))
        return str(execution.orderRef or (placed.ref if placed is not None else ""))

    # ------------------------------------------------------------ errors and notices

    def error(self, number: int, code: int, text: str, *_: Any) -> None:
        """A notice, a warning, a refusal or a failure."""
        words = f"{text} (TWS {code})"
        if code in codes.LOST:
            self._why = f"TWS has lost Interactive Brokers: {words}"
            self._lose(self._why)
        elif code in (codes.FOUND, codes.FOUND_WITHOUT_DATA):
            # What was said in between is lost, and at 1101 the subscriptions are.
            self._lose(f"TWS has found Interactive Brokers again: {words}")
        elif code in codes.FARM_LOST:
            self._farm_lost = True
        elif code in codes.FARM_FOUND:
            self._farm_is_back()
        elif not self.client.isReady():
            self._why = words
            if code == codes.ID_IN_USE:
                self._lose(words)
        elif number in self._asks:
            error = codes.of_question(code, text)
            if error is not None:
                self._asks.fail(number, error)
            elif code == codes.HISTORY:
                self._asks.end(number)
        elif number in self._bars or number in self._ticks:
            self._data_error(number, code, words)
        elif (self._manners.client_id, number) in self._papers:
            self._order_error(number, code, text)

    def _order_error(self, number: int, code: int, text: str) -> None:
        paper = self._papers[self._manners.client_id, number]
        if codes.is_note(code):
            return
        paper.reason = f"{text} (TWS {code})"
        answered = False
        for what in ("submit", "replace", "cancel"):
            if (number, what) in self._waits:
                error = codes.of_order(code, text, what)
                if error is not None or (code == codes.CANCELED and what != "replace"):
                    answered |= self._answered(number, what, error)
        # Refused after it was taken: only its status ends it, which comes before or after.
        paper.refused = not answered and code in codes.REFUSED
        self._news(paper)

    def _data_error(self, number: int, code: int, words: str) -> None:
        stream = self._bars.get(number) or self._ticks.get(number)
        assert stream is not None
        if not codes.is_note(code) or code == 10167:
            self._say(Garbled(f"no market data of {stream.symbol}: {words}", stream.symbol))

    def _cannot_read(self, why: str) -> None:
        """A message could not be read: it may have been a piece of an answer."""
        kind = _PIECES.get(self._message)
        if kind is not None:
            error = VenueError(f"a part of the answer cannot be read: {why}")
            if kind in _LISTS:
                self._asks.spoil(kind, error)
            else:
                self._asks.fail_all(error, kind)
        about_orders = self._message in _ABOUT_ORDERS or not self._message
        self._say(Garbled(f"message {self._message} cannot be read", "", about_orders))

    # ------------------------------------------------------------ market data

    async def subscribe(self, wanted: Sequence[tuple[str, Any]], timeframe: int) -> None:
        """Begin the streams of market data, or begin them anew."""
        async with self._locks.setdefault("subscribe", asyncio.Lock()):
            try:
                await self._subscribe(wanted, timeframe)
            except OSError:
                raise VenueError("there is no connection to TWS") from None
        # TWS reads messages in their order: once it answers this, it has read those.
        await self.time()

    async def _subscribe(self, wanted: Sequence[tuple[str, Any]], timeframe: int) -> None:
        self._wanted = (tuple(wanted), timeframe)
        for number in (*self._bars, *self._ticks):
            await self._turn()
            self._unsubscribe(number)
        self._bars.clear()
        self._ticks.clear()
        for symbol, contract in wanted:
            await self._turn()
            number = self._number()
            if not timeframe:
                self._ticks[number] = bars.TickStream(symbol)
                self.client.reqMktData(number, contract, "233", False, False, [])
                continue
            self._bars[number] = bars.BarStream(symbol, timeframe)
            size, shows = bars.BY_LENGTH[timeframe], _shown(contract)
            if size.seconds == bars.REAL_TIME_S:
                self.client.reqRealTimeBars(
                    number, contract, bars.REAL_TIME_S, shows, self._regular, []
                )
            else:
                span = bars.duration_text(max(60, 2 * size.seconds))
                self.client.reqHistoricalData(
                    number, contract, "", span, size.name, shows, self._regular, 2, True, []
                )

    def _unsubscribe(self, number: int) -> None:
        if number in self._ticks:
            self.client.cancelMktData(number)
        elif self._bars[number].timeframe == bars.REAL_TIME_S * NS_PER_SECOND:
            self.client.cancelRealTimeBars(number)
        else:
            self.client.cancelHistoricalData(number)

    def _farm_is_back(self) -> None:
        """A data farm that was lost and is there again does not go on with what it was asked."""
        if self._farm_lost and not self._over:
            self._farm_lost = False
            self._begin(self._subscribe_again())

    async def _subscribe_again(self) -> None:
        try:
            await self.subscribe(*self._wanted)
        except VenueError:
            self._lose("market data could not be asked for again")

    def _say_all(self, closed: Iterable[Said]) -> None:
        for said in closed:
            self._say(said)

    def historicalData(self, number: int, bar: Any) -> None:
        if number in self._asks:
            self._asks.piece(number, bar)
        elif number in self._bars:
            self._bars[number].take(bar)  # from before: history has told of it

    def historicalDataEnd(self, number: int, *_: Any) -> None:
        self._asks.end(number)

    def historicalDataUpdate(self, number: int, bar: Any) -> None:
        if number in self._bars:
            self._say_all(self._bars[number].take(bar))

    def realtimeBar(
        self, number: int, opens: int, open_: float, high: float, low: float, close: float,
        volume: float, *_: Any,
    ) -> None:  # fmt: skip
        if number in self._bars:
            stream = self._bars[number]
            at = (opens + bars.REAL_TIME_S) * NS_PER_SECOND
            volume = max(volume, 0.0)
            self._say(Bar(at, 0, stream.symbol, open_, high, low, close, volume, stream.timeframe))

    def priceSizeTick(self, number: int, kind: int, price: float, size: float) -> None:
        if number in self._ticks:
            self._ticks[number].price(kind, price, size)
            self._moved.add(number)

    def tickSize(self, number: int, kind: int, size: float) -> None:
        if number in self._ticks:
            self._ticks[number].size(kind, size)
            self._moved.add(number)

    def tickString(self, number: int, kind: int, text: str) -> None:
        if number in self._ticks:
            self._say_all(self._ticks[number].text(kind, text))

    def tcpDataProcessed(self) -> None:
        """All that came at once has been read: what moved makes one quote."""
        moved, self._moved = self._moved, set()
        for number in moved & self._ticks.keys():
            quote = self._ticks[number].quote(time.time_ns())
            if quote is not None:
                self._say(quote)

    # ------------------------------------------------------------ pieces of other answers

    def contractDetails(self, number: int, details: Any) -> None:
        self._asks.piece(number, details)

    bondContractDetails = contractDetails

    def contractDetailsEnd(self, number: int) -> None:
        self._asks.end(number)

    def position(self, account: str, contract: Any, qty: float, cost: float) -> None:
        self._asks.piece(_POSITIONS, (account, contract, qty, cost))

    def positionEnd(self) -> None:
        self._asks.end(_POSITIONS)

    def accountSummary(self, number: int, account: str, tag: str, value: str, unit: str) -> None:
        self._asks.piece(_MONEY, (account, tag, value, unit))

    def accountSummaryEnd(self, number: int) -> None:
        self._asks.end(_MONEY)

    def currentTime(self, seconds: int) -> None:
        if _TIME in self._asks:
            self._asks.piece(_TIME, seconds)
            self._asks.end(_TIME)

    def headTimestamp(self, number: int, text: str) -> None:
        self._asks.piece(number, text)
        self._asks.end(number)

    # ------------------------------------------------------------ what the client library calls

    def connectAck(self) -> None:
        """The greeting is over; accounts and numbers follow."""

    def setEventsDone(self) -> None:
        """Nobody listens to the client library's own events."""

    def connectionClosed(self) -> None:
        self._lose("TWS closed the connection")

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


def _set_prices(order: Any, limit: float | None, stop: float | None) -> None:
    if limit is not None:
        order.lmtPrice = decimal_text(limit)
    if stop is not None:
        order.auxPrice = decimal_text(stop)


def _utc(ts: int) -> str:
    return dt.datetime.fromtimestamp(ts // NS_PER_SECOND, dt.UTC).strftime("%Y%m%d-%H:%M:%S")


def _shown(contract: Any) -> str:
    """Return what bars are made of: there are no trades of currencies."""
    return "MIDPRICE" if contract.secType in ("CASH", "CMDTY") else "TRADES"


__all__ = ["PAPER_ACCOUNT", "Manners", "Talk", "hidden"]
