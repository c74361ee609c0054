"""The account: executions and what they cost, positions, money, and TWS's clock."""

from __future__ import annotations

from typing import Any

from regimeflow.errors import VenueError
from regimeflow.model.events import Fill
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.model.venue import Holding
from regimeflow.venues.ib.asks import EXECUTIONS, MONEY, POSITIONS, TIME
from regimeflow.venues.ib.connection import Connection, hidden
from regimeflow.venues.ib.fills import Fills
from regimeflow.venues.ib.orders import Orders
from regimeflow.venues.ib.papers import FAR
from regimeflow.venues.port import Balances

_TAGS = "TotalCashValue,NetLiquidation,BuyingPower,InitMarginReq"


class Account:
    """What one connection hears of the account.

    Attributes:
        fills: what it hears of executions.
    """

    def __init__(self, line: Connection, orders: Orders) -> None:
        self._line = line
        self._client = line.client
        self._orders = orders
        self.fills = Fills(
            line.manners.fee_wait_s, line.say, line.begin, self.executed, line.name_of,
            orders.ref_of,
        )  # fmt: skip

    # ------------------------------------------------------------ questions

    async def executions(self, since: int) -> list[Fill]:
        """Return the executions of the day from ``since`` on, oldest first."""
        return self.fills.since(await self.executed(), since)

    async def executed(self) -> list[str]:
        """Ask for the executions of the day; TWS tells their commissions along with them."""
        every = self._line.library.ExecutionFilter(acctCode=self._line.account)
        found = await self._line.ask(EXECUTIONS, lambda n: self._client.reqExecutions(n, every))
        return await self.fills.listed(found)

    async def positions(self) -> list[Holding]:
        """Return everything held on the account."""
        try:
            found = await self._line.ask(
                POSITIONS, lambda _: self._client.reqPositions(), POSITIONS
            )
        finally:
            if not self._line.over:
                self._client.cancelPositions()
        held = []
        for account, contract, qty, cost in found:
            if not (abs(qty) < FAR and abs(cost) < FAR):
                raise VenueError("TWS told of a position that is no number")
            if account == self._line.account and qty:
                units = float(contract.multiplier or 1.0) or 1.0
                held.append(Holding(self._line.name_of(contract), qty, cost / units))
        return held

    async def balances(self) -> Balances:
        """Return the money on the account."""
        numbers: list[int] = []

        def send(number: int) -> None:
            numbers.append(number)
            self._client.reqAccountSummary(number, "All", _TAGS)

        try:
            found = await self._line.ask(MONEY, send, MONEY)
        finally:
            if numbers and not self._line.over:
                self._client.cancelAccountSummary(numbers[0])
        values = {
            tag: (text, unit) for acct, tag, text, unit in found if acct == self._line.account
        }
        try:
            cash, equity, power, margin = (float(values[tag][0]) for tag in _TAGS.split(","))
        except (KeyError, ValueError):
            raise VenueError("TWS did not tell what is on the account") from None
        unit = values["TotalCashValue"][1]
        return Balances(cash, equity, power, margin, unit, hidden(self._line.account))

    async def time(self) -> int:
        """Return TWS's clock: it tells whole seconds, so the middle of the one it is in."""
        (seconds,) = await self._line.ask(TIME, lambda _: self._client.reqCurrentTime(), TIME)
        return int(seconds) * NS_PER_SECOND + NS_PER_SECOND // 2

    # ------------------------------------------------------------ what TWS says

    def execDetails(self, number: int, contract: Any, execution: Any) -> None:
        """An execution: one that was asked for, or one that has just been made."""
        if contract.secType == "BAG":
            return  # its legs are told one by one
        if execution.orderRef:
            self._line.memory.had.add(execution.orderRef)
        if number in self._line.asks:
            self._line.asks.piece(number, (contract, execution))
            return
        self._line.waits.answered(execution.orderId, "submit")
        self.fills.executed(contract, execution)

    def execDetailsEnd(self, number: int) -> None:
        self._line.asks.end(number)

    def commissionReport(self, report: Any) -> None:
        """What an execution cost."""
        self.fills.cost(report)

    def position(self, account: str, contract: Any, qty: float, cost: float) -> None:
        self._line.asks.piece(POSITIONS, (account, contract, qty, cost))

    def positionEnd(self) -> None:
        self._line.asks.end(POSITIONS)

    def accountSummary(self, number: int, account: str, tag: str, value: str, unit: str) -> None:
        self._line.asks.piece(MONEY, (account, tag, value, unit))

    def accountSummaryEnd(self, number: int) -> None:
        self._line.asks.end(MONEY)

    def currentTime(self, seconds: int) -> None:
        if TIME in self._line.asks:
            self._line.asks.piece(TIME, seconds)
            self._line.asks.end(TIME)
