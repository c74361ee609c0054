"""Orders: sent, changed, canceled, asked for, and what TWS says of them.

TWS's own words arrive here, and their numbers are looked up in `regimeflow.venues.ib.codes`. One
call of `submit`, `replace` or `cancel` writes one message; an entry with exits is one for each of
them, and TWS lets none of these leave before the last has come.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

from regimeflow.errors import NotThere, Refused, VenueError
from regimeflow.model.events import OrderUpdate, Replace, Submit, exits_of
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.model.venue import VenueOrder
from regimeflow.venues.ib import codes
from regimeflow.venues.ib.asks import COMPLETED, ORDERS
from regimeflow.venues.ib.connection import Connection
from regimeflow.venues.ib.contracts import decimal_text
from regimeflow.venues.ib.pace import CANCELS
from regimeflow.venues.ib.pace import ORDERS as ORDER_MESSAGES
from regimeflow.venues.ib.papers import FAR, OVER, TAKEN, TIFS, TYPES, Paper, completed_row
from regimeflow.venues.outbox import NOT_SENT
from regimeflow.venues.port import Ack

#: How orders of a group end each other, by TWS: made smaller as one fills, and only one of them at
#: an exchange at a time.
_REDUCE_WITH_BLOCK = 2


class Orders:
    """The orders of one connection."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._client = line.client
        self._waits = line.waits
        self._papers: dict[tuple[int, int], Paper] = {}
        self._by_ref: dict[str, Paper] = {}

    def __contains__(self, number: int) -> bool:
        """Whether a number is that of an order of ours."""
        return (self._line.manners.client_id, number) in self._papers

    # ------------------------------------------------------------ questions

    async def open_orders(self) -> list[VenueOrder]:
        """Return all working orders of the account, those of other clients and by hand too."""
        papers = await self._line.ask(ORDERS, lambda _: self._client.reqAllOpenOrders(), ORDERS)
        rows: dict[int, Paper] = {id(paper): paper for paper in papers if self._is_mine(paper)}
        return [
            paper.row(self._line.name_of(paper.contract))
            for paper in rows.values()
            if paper.status not in OVER and not (paper.ended and paper.status == "Inactive")
        ]

    def _is_mine(self, paper: Paper) -> bool:
        account = paper.order.account
        return not account or account == self._line.account

    async def completed(self) -> list[VenueOrder]:
        """Return the orders of the day that are over."""
        found = await self._line.ask(
            COMPLETED, lambda _: self._client.reqCompletedOrders(False), COMPLETED
        )
        return [
            completed_row(contract, order, state, self._line.name_of(contract))
            for contract, order, state in found
            if not order.account or order.account == self._line.account
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
                return paper.row(self._line.name_of(paper.contract))
        for row in await self.completed():
            if is_it(row):
                return row
        if order_id in self._line.memory.had:
            # It lists a day; what it had and lists no longer is not what it never had.
            raise VenueError(f"TWS had order {order_id} and no longer lists it")
        raise NotThere(f"there is no order {order_id or perm_id}", code="not_there")

    # ------------------------------------------------------------ requests

    async def submit(self, order: Submit, contract: Any) -> Ack:
        """Send an order, and its exits with it."""
        if order.order_id in self._line.memory.sent | self._line.memory.had:
            raise Refused(f"order id {order.order_id} is taken", code="duplicate_order_id")
        try:
            papers = [self._paper_for(one, contract) for one in (order, *exits_of(order))]
        except VenueError as error:
            raise Refused(f"nothing was sent: {error}", code=NOT_SENT) from None
        entry = papers[0]
        for exit_ in papers[1:]:
            exit_.order.parentId = entry.order_id
            # One cancels the other; of one that fills in part, the other gets smaller.
            exit_.order.ocaGroup, exit_.order.ocaType = order.order_id, _REDUCE_WITH_BLOCK
        for paper in papers:
            paper.order.transmit = paper is papers[-1]

        def send() -> None:
            for paper in papers:
                self._client.placeOrder(paper.order_id, contract, paper.order)

        try:
            await self._write(entry.order_id, "submit", send, count=len(papers))
        except Refused as no:
            for paper in papers:
                paper.ended, paper.reason = True, str(no)
            raise
        return Ack(entry.name, time.time_ns())

    def _paper_for(self, order: Submit, contract: Any) -> Paper:
        """Return an order as it is to be sent, under a number of its own."""
        made = self._line.library.Order(
            action="BUY" if order.side == "buy" else "SELL",
            totalQuantity=decimal_text(order.qty),
            orderType=TYPES[order.type],
            tif=TIFS[order.tif],
            orderRef=order.order_id,
            account=self._line.account,
            outsideRth=self._line.manners.extended_hours and order.type == "limit",
        )
        _set_prices(made, order.limit, order.stop)
        if order.tif == "gtd":
            made.goodTillDate = _utc(order.expire_at)
        number, client_id = self._line.number(), self._line.manners.client_id
        paper = self._papers[client_id, number] = Paper(number, client_id)
        paper.ref, paper.contract, paper.order = order.order_id, contract, made
        self._by_ref[order.order_id] = paper
        self._line.memory.sent.add(order.order_id)
        return paper

    async def replace(self, request: Replace) -> Ack:
        """Send an order under its number once more, with other terms: one message."""
        paper = await self._ours(request.order_id)
        before = paper.order
        made = self._line.library.Order(
            action=before.action,
            totalQuantity=decimal_text(request.qty),
            orderType=before.orderType,
            tif=before.tif,
            orderRef=before.orderRef,
            account=before.account,
            outsideRth=before.outsideRth,
            goodTillDate=before.goodTillDate,
            parentId=before.parentId,
            ocaGroup=before.ocaGroup,
            ocaType=before.ocaType,
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
            lambda: self._client.placeOrder(paper.order_id, paper.contract, made),
            lambda: paper.terms == wanted.terms,
        )
        return Ack(paper.name, time.time_ns())

    async def cancel(self, order_id: str) -> None:
        """Ask to cancel: one message."""
        paper = await self._ours(order_id)
        await self._write(
            paper.order_id, "cancel", lambda: self._client.cancelOrder(paper.order_id)
        )

    async def _ours(self, order_id: str) -> Paper:
        """Return an order that this client may change: it must know its number."""
        if order_id not in self._by_ref:
            await self.open_orders()
        paper = self._by_ref.get(order_id)
        if paper is None:
            row = await self.order(order_id, "")
            raise Refused(f"order {order_id} is {row.status}", code="order_over")
        if paper.client_id != self._line.manners.client_id:
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
        count: int = 1,
    ) -> None:
        """Write about an order, and wait until TWS has said what it makes of it.

        Args:
            count: of messages, all or none of which are written.
        """
        line = self._line
        if line.over:
            why = line.why or "the connection is closed"
            raise Refused(f"nothing was sent: {why}", code=NOT_SENT)
        lane = CANCELS if what == "cancel" else ORDER_MESSAGES
        wait_s = max(line.pace.take(lane) for _ in range(count))
        if wait_s:
            raise Refused(
                "nothing was sent: too many messages in this second",
                code=NOT_SENT,
                retry_after_ms=wait_s * 1e3,
            )
        await self._waits.answer(number, what, send, done, line.manners.timeout_s)

    # ------------------------------------------------------------ what TWS says

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
            self._line.memory.had.add(paper.ref)
        self._line.asks.piece(ORDERS, paper)
        self._news(paper)
        if before is not None and before != paper.terms:
            qty, limit, stop = paper.terms
            now = time.time_ns()
            self._line.say(
                OrderUpdate(now, 0, paper.ref, "replaced", "", paper.name, qty, limit, stop)
            )
        self._waits.look(paper.order_id, "replace")

    def openOrderEnd(self) -> None:
        self._line.asks.end(ORDERS)

    def orderStatus(
        self, number: int, status: str, filled: float, remaining: float, average: float,
        perm_id: int, parent_id: int, last_price: float, client_id: int, *_: Any,
    ) -> None:  # fmt: skip
        """What has become of an order, by TWS."""
        paper = self._paper(client_id, number, perm_id)
        paper.perm_id = perm_id or paper.perm_id
        paper.status = status
        paper.filled = max(paper.filled, filled)
        paper.average = average if abs(average) < FAR else 0.0
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
            self._waits.answered(number, "submit")
            self._tell(paper, "accepted")
        if paper.status == "PendingCancel":
            self._waits.answered(number, "cancel")
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
        self._waits.answered(paper.order_id, "cancel")
        why = paper.reason or "canceled"
        self._waits.answered(paper.order_id, "replace", Refused(why, code="order_over"))
        self._tell(paper, what, paper.reason)

    def _tell(self, paper: Paper, what: str, why: str = "") -> None:
        # Of orders that carry no name of a client's, the comparison of the books tells.
        if paper.ref:
            self._line.say(OrderUpdate(time.time_ns(), 0, paper.ref, what, why, paper.name))

    def completedOrder(self, contract: Any, order: Any, state: Any) -> None:
        self._line.asks.piece(COMPLETED, (contract, order, state))

    def completedOrdersEnd(self) -> None:
        self._line.asks.end(COMPLETED)

    def ref_of(self, execution: Any) -> str:
        """Return our id of an execution's order, "" where that has none."""
        placed = self._papers.get((execution.clientId, execution.orderId))
        return str(execution.orderRef or (placed.ref if placed is not None else ""))

    def error_of(self, number: int, code: int, text: str) -> None:
        """A notice, a warning or a refusal that carries an order's number."""
        paper = self._papers[self._line.manners.client_id, number]
        if codes.is_note(code):
            return
        paper.reason = f"{text} (TWS {code})"
        answered = False
        for what in ("submit", "replace", "cancel"):
            if (number, what) in self._waits:
                error = codes.of_order(code, text, what)
                if error is not None or (code == codes.CANCELED and what != "replace"):
                    answered |= self._waits.answered(number, what, error)
        # Refused after it was taken: only its status ends it, which comes before or after.
        paper.refused = not answered and code in codes.REFUSED
        self._news(paper)


def _set_prices(order: Any, limit: float | None, stop: float | None) -> None:
    if limit is not None:
        order.lmtPrice = decimal_text(limit)
    if stop is not None:
        order.auxPrice = decimal_text(stop)


def _utc(ts: int) -> str:
    return dt.datetime.fromtimestamp(ts // NS_PER_SECOND, dt.UTC).strftime("%Y%m%d-%H:%M:%S")
