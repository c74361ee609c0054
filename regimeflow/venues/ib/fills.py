"""Executions and what they cost, which TWS tells one by one and may take back.

A fill is told once, with its commission where that came in time. Whatever TWS says of it later, a
commission or a correction, is told as a `Corrected`, and so is, with each connection, what all
executions of the day have come to: TWS does not repeat what it said while nobody listened. What of
that is new is the gateway's to know.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, NamedTuple

from regimeflow.errors import VenueError
from regimeflow.model.events import Fill
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.venues.ib.papers import FAR
from regimeflow.venues.port import Corrected, Garbled, Said

_SIDES = {"BOT": "buy", "SLD": "sell"}
_MAKER = 1
#: Of an execution that was not corrected.
_FIRST = 1
_REVISED = "it was corrected"


class _Row(NamedTuple):
    """An execution as TWS last told it."""

    contract: Any
    execution: Any
    revision: int


class Fills:
    """What one connection hears of executions.

    Args:
        fee_wait_s: how long a fill waits for its commission.
        say: tells something, where anybody listens.
        begin: begins work on the connection's loop.
        ask: asks TWS for the executions, and with them for their commissions.
        name_of: contract -> our symbol for it.
        ref_of: execution -> our id of its order, "" where it is not ours.
    """

    def __init__(
        self,
        fee_wait_s: float,
        say: Callable[[Said], object],
        begin: Callable[[Coroutine[Any, Any, None]], None],
        ask: Callable[[], Awaitable[object]],
        name_of: Callable[[Any], str],
        ref_of: Callable[[Any], str],
    ) -> None:
        self._fee_wait_s = fee_wait_s
        self._say, self._begin, self._ask = say, begin, ask
        self._name_of, self._ref_of = name_of, ref_of
        self._rows: dict[str, _Row] = {}
        self._fees: dict[str, tuple[float, str]] = {}
        self._no_fee: set[str] = set()
        self._fee_came = asyncio.Event()
        self._streamed: set[str] = set()
        self._listed: set[str] = set()
        #: Executions that wait for their commission before they are told.
        self._held: dict[str, asyncio.TimerHandle] = {}
        self._missed: list[str] = []
        self._finding = False

    def close(self) -> None:
        """Wait for nothing any more."""
        for timer in self._held.values():
            timer.cancel()
        self._held.clear()

    # ------------------------------------------------------------ what TWS says

    def executed(self, contract: Any, execution: Any) -> None:
        """Take an execution that has just been made, told again, or corrected."""
        if execution.side not in _SIDES:
            raise VenueError(f"TWS told of an execution of side {execution.side!r}")
        name, revised_before = self._take(contract, execution)
        first = name not in self._streamed
        self._streamed.add(name)
        if name in self._held:
            return  # whatever it has come to is told then
        if revised_before:
            self._correct(name, _REVISED)
        elif first:
            self._hold(name)

    def _take(self, contract: Any, execution: Any) -> tuple[str, bool]:
        """Keep the newest of an execution; return its name, and whether an older one was known."""
        name, revision = revised(execution.execId)
        known = self._rows.get(name)
        if known is None or revision >= known.revision:
            self._rows[name] = _Row(contract, execution, revision)
        return name, known is not None and revision > known.revision

    def _hold(self, name: str) -> None:
        """Tell of a fill once its commission is known, or after a while."""
        if self._rows[name].execution.execId in self._fees:
            self._tell(name)
            return
        self._held[name] = asyncio.get_running_loop().call_later(
            self._fee_wait_s, self._miss_fee, name
        )

    def _miss_fee(self, name: str) -> None:
        """A commission has not come: ask for the executions, and with them TWS tells it again."""
        self._missed.append(name)
        if not self._finding:
            self._finding = True
            self._begin(self._find_fees())

    async def _find_fees(self) -> None:
        while self._missed:
            missed, self._missed = self._missed, []
            with contextlib.suppress(VenueError):
                await self._ask()
            # A fact must not wait for its price tag for ever.
            for name in missed:
                if self._held.pop(name, None) is not None:
                    self._no_fee.add(self._rows[name].execution.execId)
                    self._tell(name)
        self._finding = False

    def _tell(self, name: str) -> None:
        """Tell of a fill, and what became of it where it may have been told before."""
        self._say(self._fill(self._rows[name]))
        if name in self._listed or self._rows[name].revision > _FIRST:
            self._correct(name, _REVISED)

    def cost(self, report: Any) -> None:
        """Take what an execution cost."""
        full_name, fee, unit = report.execId, report.commission, report.currency
        if not abs(fee) < FAR:
            return  # not known yet
        before = self._fees.get(full_name)
        self._fees[full_name] = (fee, unit)
        self._fee_came.set()
        name, _ = revised(full_name)
        row = self._rows.get(name)
        if row is None or row.execution.execId != full_name or before == (fee, unit):
            return
        money = row.contract.currency
        if unit and money and unit != money:
            why = f"a commission in {unit} for what is traded in {money} is not booked"
            self._say(Garbled(why, self._name_of(row.contract)))
        timer = self._held.pop(name, None)
        if timer is not None:
            timer.cancel()
            self._tell(name)
        else:
            self._correct(name, "its commission")

    def _correct(self, name: str, why: str) -> None:
        """Tell what an execution has come to."""
        row = self._rows[name]
        self._say(Corrected(self._fill(row), why, row.execution.execId in self._fees))

    def tell_all(self) -> None:
        """Tell what all executions of the day have come to."""
        for name, row in self._rows.items():
            # Of what cannot be read the question for executions tells.
            if name not in self._held and row.execution.side in _SIDES:
                self._correct(name, "so TWS says after a time without a connection")

    # ------------------------------------------------------------ lists of them

    async def listed(self, found: Iterable[tuple[Any, Any]]) -> list[str]:
        """Return the names of executions, once their commissions had time to arrive."""
        names = dict.fromkeys(revised(execution.execId)[0] for _, execution in found)
        changed = [name for name, was_known in (self._take(*row) for row in found) if was_known]
        await self._wait_for_fees([self._rows[name].execution.execId for name in names])
        for name in changed:
            if name not in self._held:
                self._correct(name, _REVISED)
        return list(names)

    def since(self, names: Iterable[str], since: int) -> list[Fill]:
        """Return fills from ``since`` on, oldest first, as they are by now."""
        rows = {name: self._rows[name] for name in names}
        late = {name: row for name, row in rows.items() if _time(row.execution) >= since}
        self._listed |= late.keys()
        return sorted(map(self._fill, late.values()), key=lambda fill: fill.ts)

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

    def _fill(self, row: _Row) -> Fill:
        contract, execution = row.contract, row.execution
        if execution.side not in _SIDES:
            raise VenueError(f"TWS told of an execution of side {execution.side!r}")
        ts = _time(execution)
        fee, unit = self._fees.get(execution.execId, (0.0, ""))
        if unit and contract.currency and unit != contract.currency:
            fee = 0.0
        return Fill(
            ts,
            0,
            revised(execution.execId)[0],
            self._ref_of(execution) or str(execution.permId),
            self._name_of(contract),
            _SIDES[execution.side],
            float(execution.shares),
            float(execution.price),
            fee,
            "maker" if execution.lastLiquidity == _MAKER else "taker",
            execution.exchange,
            ts,
        )


def revised(name: str) -> tuple[str, int]:
    """Return an execution's id without its revision, and that.

    >>> revised("0000e0d5.6566aa5f.01.02")
    ('0000e0d5.6566aa5f.01', 2)
    """
    stem, _, last = name.rpartition(".")
    return (stem, int(last)) if stem and last.isdigit() else (name, 0)


def _time(execution: Any) -> int:
    return int(execution.time.timestamp()) * NS_PER_SECOND
