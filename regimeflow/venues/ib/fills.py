"""Executions and what they cost, which TWS tells one by one and may take back.

A fill is told once, with its commission where that came in time. Whatever TWS says of it later, a
commission or a correction, is told as a `Corrected` of the difference, so that what is booked is
what TWS says in the end. Asked for again, an execution is listed as it was first told: the sum of
both is right whichever of them the gateway hears first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from regimeflow.errors import VenueError
from regimeflow.model.events import Fill
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.venues.port import Corrected, Garbled, Said

_SIDES = {"BOT": "buy", "SLD": "sell"}
#: The venue has no such number: what stands for none on the wire is larger.
_FAR = 1e300
_MAKER = 1


class Told(NamedTuple):
    """A fill that was told.

    Attributes:
        first: as it was told; now: what it has come to.
        money: currency it was traded in.
        units: of the instrument in one of its contracts.
    """

    first: Fill
    now: Fill
    money: str
    units: float


class _Held(NamedTuple):
    """A fill that waits for its commission."""

    fill: Fill
    contract: Any
    timer: asyncio.TimerHandle


class Fills:
    """What one connection hears of executions.

    Args:
        told: execution's name -> what was told; outlives the connection, and is added to.
        fee_wait_s: how long a fill waits for its commission.
        say: tells something, and returns whether anybody listens.
        begin: begins work on the connection's loop.
        ask: asks TWS for the executions, and with them for their commissions.
        name_of: contract -> our symbol for it.
        ref_of: execution -> our id of its order, "" where it is not ours.
    """

    def __init__(
        self,
        told: dict[str, Told],
        fee_wait_s: float,
        say: Callable[[Said], bool],
        begin: Callable[[Coroutine[Any, Any, None]], None],
        ask: Callable[[], Awaitable[object]],
        name_of: Callable[[Any], str],
        ref_of: Callable[[Any], str],
    ) -> None:
        self._told = told
        self._fee_wait_s = fee_wait_s
        self._say, self._begin, self._ask = say, begin, ask
        self._name_of, self._ref_of = name_of, ref_of
        self._revisions: dict[str, int] = {}
        self._fees: dict[str, tuple[float, str]] = {}
        self._held: dict[str, _Held] = {}
        self._no_fee: set[str] = set()
        self._fee_came = asyncio.Event()

    def close(self) -> None:
        """Wait for nothing any more."""
        for held in self._held.values():
            held.timer.cancel()
        self._held.clear()

    # ------------------------------------------------------------ what TWS says

    def executed(self, contract: Any, execution: Any) -> None:
        """Take an execution that has just been made, told again, or corrected."""
        name, revision = revised(execution.execId)
        before = self._revisions.get(name, -1)
        self._revisions[name] = max(revision, before)
        if name in self._told:
            self._as_told(contract, execution)
        elif revision > before:
            if name in self._held:
                self._held.pop(name).timer.cancel()
            self._hold(name, contract, execution)

    def _hold(self, name: str, contract: Any, execution: Any) -> None:
        """Tell of a fill once its commission is known, or after a while."""
        if execution.execId in self._fees:
            self._say(self._as_told(contract, execution))
            return
        fill = self._fill(contract, execution)
        # A commission has not come: ask for the executions, and with them TWS tells it again.
        timer = asyncio.get_running_loop().call_later(
            self._fee_wait_s, lambda: self._begin(self._find_fee(name, execution.execId))
        )
        self._held[name] = _Held(fill, contract, timer)

    async def _find_fee(self, name: str, full_name: str) -> None:
        with contextlib.suppress(VenueError):
            await self._ask()
        held = self._held.pop(name, None)
        if held is not None:  # a fact must not wait for its price tag for ever
            self._no_fee.add(full_name)
            self._say(self._first(held.fill, held.contract))

    def cost(self, report: Any) -> None:
        """Take what an execution cost."""
        full_name, fee, unit = report.execId, report.commission, report.currency
        if not abs(fee) < _FAR:
            return  # not known yet
        self._fees[full_name] = (fee, unit)
        self._fee_came.set()
        name, _ = revised(full_name)
        held = self._held.pop(name, None)
        if held is not None:
            held.timer.cancel()
            self._complain_of_money(held.fill.symbol, unit, held.contract.currency)
            fill = _with_fee(held.fill, fee, unit, held.contract.currency)
            self._say(self._first(fill, held.contract))
        elif name in self._told:
            told = self._told[name]
            self._correct(told, _with_fee(told.now, fee, unit, told.money), "its commission")

    def _complain_of_money(self, symbol: str, unit: str, money: str) -> None:
        if unit and money and unit != money:
            why = f"a commission in {unit} for what is traded in {money} is not booked"
            self._say(Garbled(why, symbol))

    # ------------------------------------------------------------ telling once

    def _as_told(self, contract: Any, execution: Any) -> Fill:
        """Return a fill as it is, or was first told; what has changed since is told by the way."""
        fill = self._fill(contract, execution)
        told = self._told.get(fill.execution_id)
        if told is None:
            return self._first(fill, contract)
        if execution.execId not in self._fees:
            fill = msgspec.structs.replace(fill, fee=told.now.fee)
        self._correct(told, fill, "it was corrected")
        return told.first

    def _first(self, fill: Fill, contract: Any) -> Fill:
        """Remember a fill as the one that is told; return what was told before it."""
        told = self._told.get(fill.execution_id)
        if told is None:
            units = float(contract.multiplier or 1.0) or 1.0
            told = self._told[fill.execution_id] = Told(fill, fill, contract.currency, units)
        else:
            self._correct(told, fill, "its commission")
        return told.first

    def _correct(self, told: Told, fill: Fill, why: str) -> None:
        """Tell by how much a fill differs from what it was."""
        before, after = _signed(told.now), _signed(fill)
        spent = (after * fill.price - before * told.now.price) * told.units
        qty, cash = after - before, -spent - (fill.fee - told.now.fee)
        if not qty and not cash:
            return
        said = Corrected(
            fill.ts, fill.execution_id, told.first.order_id, fill.symbol, qty, fill.price, cash,
            f"execution {fill.execution_id} came to something else: {why}",
        )  # fmt: skip
        if self._say(said):
            self._told[fill.execution_id] = told._replace(now=fill)

    # ------------------------------------------------------------ lists of them

    async def listed(self, found: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Return the newest of each execution, once their commissions had time to arrive."""
        newest: dict[str, tuple[Any, Any]] = {}
        for contract, execution in found:
            name, revision = revised(execution.execId)
            if name not in newest or revision >= revised(newest[name][1].execId)[1]:
                newest[name] = (contract, execution)
        await self._wait_for_fees([execution.execId for _, execution in newest.values()])
        return list(newest.values())

    def since(self, found: Sequence[tuple[Any, Any]], since: int) -> list[Fill]:
        """Return fills from ``since`` on, oldest first, as they are told."""
        late = [row for row in found if _time(row[1]) >= since]
        return sorted((self._as_told(*row) for row in late), key=lambda fill: fill.ts)

    async def _wait_for_fees(self, names: Iterable[str]) -> None:
        """Give commissions time to arrive: they come after the executions, one by one."""
        missing = set(names) - self._fees.keys() - self._no_fee

        async def all_there() -> None:
            while missing - self._fees.keys():
                self._fee_came.clear()
                await self._fee_came.wait()

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(all_there(), self._fee_wait_s)
        self._no_fee |= missing - self._fees.keys()

    def _fill(self, contract: Any, execution: Any) -> Fill:
        if execution.side not in _SIDES:
            raise VenueError(f"TWS told of an execution of side {execution.side!r}")
        ts = _time(execution)
        fee, unit = self._fees.get(execution.execId, (0.0, ""))
        made = Fill(
            ts,
            0,
            revised(execution.execId)[0],
            self._ref_of(execution) or str(execution.permId),
            self._name_of(contract),
            _SIDES[execution.side],
            float(execution.shares),
            float(execution.price),
            0.0,
            "maker" if execution.lastLiquidity == _MAKER else "taker",
            execution.exchange,
            ts,
        )
        return _with_fee(made, fee, unit, contract.currency)


def revised(name: str) -> tuple[str, int]:
    """Return an execution's id without its revision, and that.

    >>> revised("0000e0d5.6566aa5f.01.02")
    ('0000e0d5.6566aa5f.01', 2)
    """
    stem, _, last = name.rpartition(".")
    return (stem, int(last)) if stem and last.isdigit() else (name, 0)


def _time(execution: Any) -> int:
    return int(execution.time.timestamp()) * NS_PER_SECOND


def _signed(fill: Fill) -> float:
    return fill.qty if fill.side == "buy" else -fill.qty


def _with_fee(fill: Fill, fee: float, unit: str, money: str) -> Fill:
    """Return a fill with its fee, where that is in the money that it was traded in."""
    if unit and money and unit != money:
        return fill
    return msgspec.structs.replace(fill, fee=fee)
