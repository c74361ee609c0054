"""When the books are compared with the venue's, and what is made of the difference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from regimeflow.engine.desk import Desk
from regimeflow.engine.reconcile import Books, Findings, Snapshot, reconcile
from regimeflow.errors import VenueError
from regimeflow.model.events import Account, Adjusted, Fill, OrderUpdate, Reconciled
from regimeflow.venues.intake import impossible_news
from regimeflow.venues.intervals import Intervals
from regimeflow.venues.port import Adapter, Balances, Payment, Pays, VenueOrder
from regimeflow.venues.runtime import Answer, Runtime

#: Executions are asked for from so long before the last clean comparison on: clocks differ, and a
#: venue may list one late.
_LOOK_BACK_NS = 60 * 10**9
#: Payments are asked for from further back: no order shows that one is missing.
_PAYMENTS_BACK_NS = 3_600 * 10**9
#: A difference counts when it is seen twice in a row: two answers are never of one moment.
_SEEN = 2
_NEVER = 2**63 - 1
#: What a comparison may find.
Found = OrderUpdate | Fill | Adjusted | Account | Reconciled


class Comparing:
    """Asks the venue for its books and finds the differences.

    Args:
        adapter, runtime, intervals: of the gateway.
        desk: the engine's; only read.
        run: name of the run.
        in_flight: orders of which a request is on its way.
    """

    def __init__(
        self,
        adapter: Adapter,
        runtime: Runtime,
        intervals: Intervals,
        desk: Callable[[], Desk],
        run: str,
        in_flight: Callable[[], set[str]],
    ) -> None:
        self._adapter = adapter
        self._runtime = runtime
        self._intervals = intervals
        self._desk = desk
        self._run = run
        self._in_flight = in_flight
        self._foreign_then: dict[str, float] | None = None
        self._asking: tuple[str, ...] = ()
        self._asked_until = 0
        self._round = 0  # one for each connection
        self._orders_at = self._positions_at = self._account_at = 0
        self._clean_at = self._began_at = 0
        self._looked_for = 0
        self._doubts: dict[str, int] = {}
        self._unmatched: dict[str, str] = {}
        self._told: Reconciled | None = None
        self._told_at = 0
        self.heard: dict[str, int] = {}
        #: Order id -> the venue's time of the last change of it that is known.
        self.changed: dict[str, int] = {}
        self.foreign: dict[str, float] | None = None
        self.adopting = False
        #: Whether, since `begin`, everything was compared and nothing was left to do.
        self.clean = False
        self.look_up: list[str] = []

    def begin(self, since: int, foreign: dict[str, float] | None) -> None:
        """Begin, or begin again after the connection was lost: all is to be asked anew.

        Args:
            since: executions from then on are not all known.
            foreign: what on the account is known not to be ours.
        """
        self._clean_at = self._clean_at or since
        self._began_at = self._began_at or since
        self.foreign = foreign if self.foreign is None else self.foreign
        self.clean = False
        self._asking = ()
        self._round += 1
        self._orders_at = self._positions_at = self._account_at = self._runtime.now()

    def touched(self, event: OrderUpdate | Fill) -> None:
        """Take note that something was heard of an order."""
        now = self._runtime.now()
        self.heard[event.order_id] = now
        order = self._desk().orders.get(event.order_id)
        symbol = event.symbol if isinstance(event, Fill) else order.symbol if order else ""
        if symbol:
            self.heard[symbol] = now

    def soon(self) -> None:
        """Compare again as soon as possible."""
        self._orders_at = self._positions_at = self._account_at = self._runtime.now()

    def doubt(self, why: str) -> list[Found]:
        """Compare again as soon as possible; until then nothing new is risked."""
        self.soon()
        return self._verdict(self._unanswered(self._runtime.now(), "orders", why))

    def settled(self) -> bool:
        """Whether everything was compared after the last news of an order; if not, it will be.

        An execution that the stream lost just before its order ended is found by this look only.
        """
        news = max(self.heard.values(), default=0)
        if self.clean and self._clean_at >= news:
            return True
        if self._looked_for < news:
            self._looked_for = news
            self.soon()
        return False

    # ------------------------------------------------------------ asking

    def due(self) -> None:
        """Ask, if it is time."""
        now = self._runtime.now()
        if self._asking and now < self._asked_until:
            return
        if now < min(self._orders_at, self._positions_at, self._account_at):
            return
        positions = ("positions",) if now >= self._positions_at else ()
        balances = ("balances",) if now >= self._account_at else ()
        self._ask(("working", "fills", *positions, *balances), now)

    @property
    def next_due(self) -> int:
        """When the next question is due, UTC nanoseconds."""
        due = min(self._orders_at, self._positions_at, self._account_at)
        return max(due, self._asked_until) if self._asking else due

    def _ask(self, what: tuple[str, ...], now: int) -> None:
        self._asking = what
        self._asked_until = now + self._intervals.ns("call_timeout_ms")
        self._orders_at = now + self._intervals.ns("order_poll_ms")
        if "positions" in what:
            self._positions_at = now + self._intervals.ns("position_poll_ms")
        if "balances" in what:
            self._account_at = now + self._intervals.ns("account_ms")
        adapter, runtime, since = self._adapter, self._runtime, self._clean_at - _LOOK_BACK_NS
        questions: dict[str, Callable[[], Any]] = {
            "working": adapter.open_orders,
            "fills": lambda: adapter.executions(since),
            "positions": adapter.positions,
            "balances": adapter.balances,
        }
        if "positions" in what and adapter.capabilities.payments:
            # What was due before the run began is not of the run.
            earliest = max(self._began_at, self._clean_at - _PAYMENTS_BACK_NS)
            questions["payments"] = lambda: cast(Pays, adapter).payments(earliest)
            what = (*what, "payments")

        def work() -> tuple[int, dict[str, Any], str]:
            asked_at, answers, failed = runtime.now(), {}, []
            for name in what:
                try:
                    answers[name] = _sound(questions[name]())
                except Exception as error:  # whatever it is, nothing is known
                    failed.append(f"{name}: {error}")
            return asked_at, answers, "; ".join(failed)

        self._runtime.call("polls", ("compare", str(self._round)), work)

    # ------------------------------------------------------------ finding

    def answered(self, answer: Answer) -> list[Found]:
        """Return what a comparison found."""
        if not self._asking or answer.key[1] != str(self._round):
            return []  # asked before the connection was lost: it says nothing of what came since
        self._asking = ()
        asked_at, answers, failed = answer.value
        snapshot = Snapshot(
            asked_at=asked_at,
            working=answers.get("working"),
            fills=answers.get("fills"),
            positions=answers.get("positions"),
            payments=answers.get("payments"),
        )
        told: list[Found] = []
        if "balances" in answers:
            told.append(_account(answers["balances"], asked_at))
        told += self._compare(snapshot, failed)
        return told

    def looked_up(self, row: VenueOrder, asked_at: int) -> list[Found]:
        """Return what one order that was asked for shows."""
        snapshot = Snapshot(asked_at=asked_at, looked_up=(row,))
        found = reconcile(self.books(), snapshot)
        if found.incomplete or any(isinstance(e, Fill) for e in found.events):
            self.soon()
        return list(found.events)

    def _compare(self, snapshot: Snapshot, failed: str) -> list[Found]:
        if failed:
            hold = self._intervals.hold_when_unreconciled
            return self._verdict(self._unanswered(snapshot.asked_at, "all", failed, hold))
        found = reconcile(self.books(), snapshot)
        self.look_up = found.look_up
        doubts = self._doubt(found)
        again = found.events or found.look_up or any(n < _SEEN for n in self._doubts.values())
        if again or self._unsure(found):
            # Applied, the findings must explain everything: asked again, nothing new is said.
            only_missing = not found.events and not doubts
            pause = "unknown_poll_ms" if only_missing and found.look_up else "clock_ms"
            self._orders_at = self._runtime.now() + self._intervals.ns(pause)
            self._positions_at = min(self._positions_at, self._orders_at)
            return list(found.events)
        if found.foreign is None:
            self._unmatched |= doubts
        else:
            self._unmatched, self.foreign, self.adopting = doubts, found.foreign, False
            self._clean_at, self.clean = snapshot.asked_at, True
            horizon = snapshot.asked_at - _LOOK_BACK_NS
            self.heard = {name: at for name, at in self.heard.items() if at > horizon}
        verdict = Reconciled(
            snapshot.asked_at,
            0,
            True,
            "orders" if found.foreign is None else "all",
            "; ".join(self._unmatched.values()),
            tuple(sorted(self._unmatched)),
            tuple(found.foreign_orders),
            dict(self.foreign or {}),
        )
        return self._verdict(verdict)

    def _unsure(self, found: Findings) -> bool:
        """Whether what is not ours is to be looked at once more before it is believed.

        While orders of ours fill, one look may take a fill that was just told for something else,
        and two looks may take two such fills for the same.
        """
        known = self.foreign is not None and not self.adopting
        if found.foreign is None or known or not self._desk().orders:
            return False
        before, self._foreign_then = self._foreign_then, found.foreign
        return bool(found.moving) or before != found.foreign

    def _doubt(self, found: Findings) -> dict[str, str]:
        """Count how often in a row each symbol did not match; return those that do not, and why."""
        doubts = dict(found.unmatched)
        for name in found.incomplete:
            symbol = self._desk().orders[name].symbol
            doubts.setdefault(symbol, f"the venue lists too few executions of order {name}")
        self._doubts = {symbol: self._doubts.get(symbol, 0) + 1 for symbol in doubts}
        return doubts

    def _unanswered(self, ts: int, what: str, why: str, hold: bool = True) -> Reconciled:
        """Return the verdict of a look that showed nothing: what was found before still holds."""
        before = self._told
        return Reconciled(
            ts,
            0,
            False,
            what,
            why,
            tuple(sorted(self._unmatched)),
            () if before is None else before.foreign_orders,
            dict(self.foreign or {}),
            hold,
        )

    def _verdict(self, verdict: Reconciled) -> list[Found]:
        """Return the verdict where it says something new, or was not told for long."""
        now, before = self._runtime.now(), self._told
        recent = now - self._told_at < self._intervals.ns("position_poll_ms")
        if before is not None and recent and _same(before, verdict):
            return []
        self._told, self._told_at = verdict, now
        return [verdict]

    def books(self) -> Books:
        """Return what we know; of orders on their way the venue's view counts for nothing yet."""
        desk = self._desk()
        working = [o for group in desk.working.values() for o in group.values()]
        return Books(
            run=self._run,
            orders=desk.orders,
            working=working,
            venue_ids=desk.venue_ids,
            executions=desk.executions,
            held=desk.ledger.snapshot(),
            foreign=None if self.adopting else self.foreign,
            heard={**self.heard, **dict.fromkeys(self._in_flight(), _NEVER)},
            lots={symbol: rules.lot for symbol, rules in desk.instruments.items()},
            by_execution=self._adapter.capabilities.executions,
            changed=self.changed,
        )


def _sound(answer: Any) -> Any:
    """Return an answer, unless a number in it cannot be: then the question was not answered."""
    for row in answer if isinstance(answer, list) else ():
        wrong = impossible_news(row) if isinstance(row, Fill) else ""
        if isinstance(row, Payment) and not math.isfinite(row.cash):
            wrong = "a payment that is no number"
        if wrong:
            raise VenueError(f"the venue told of {wrong}")
    return answer


def _account(told: Balances, ts: int) -> Account:
    return Account(ts, 0, told.cash, told.equity, told.buying_power, told.margin, told.currency)


def _same(one: Reconciled, other: Reconciled) -> bool:
    fields = ("ok", "why", "unmatched", "foreign_orders", "foreign", "hold")
    return all(getattr(one, name) == getattr(other, name) for name in fields)
