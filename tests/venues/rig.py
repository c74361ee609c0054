"""A gateway on virtual time with an exchange whose answers and stream a test scripts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import regimeflow as rf
from regimeflow.engine.drive import drive
from regimeflow.engine.engine import Engine, Heir, no_heir
from regimeflow.errors import NotThere, Refused, VenueError
from regimeflow.model.events import (
    Cancel,
    Fill,
    Input,
    OrderUpdate,
    Output,
    Replace,
    Start,
    StateChanged,
    Submit,
    Upgraded,
)
from regimeflow.model.instrument import Instrument
from regimeflow.model.models import Limits
from regimeflow.model.order import Order
from regimeflow.sandbox.exchange import Exchange
from regimeflow.session.companions import rolling_history
from regimeflow.venues.gateway import Gateway
from regimeflow.venues.intervals import Intervals
from regimeflow.venues.port import Ack
from regimeflow.venues.runtime import Virtual

SECOND = 1_000_000_000
BEGIN = 1_704_205_800 * SECOND  # 2024-01-02 14:30 UTC, a Tuesday
INTERVALS = Intervals(clock_ms=250.0, heartbeat_ms=5_000.0)

Act = Callable[[Any], object]


class Scripted(Exchange):
    """An exchange that does with the next requests what a test says.

    ``well`` is what it does without a word; ``lost`` means that the request never arrives,
    ``unanswered`` that it takes effect and its answer is lost.
    """

    def __init__(self, now: Callable[[], int], **given: Any) -> None:
        super().__init__(now, [Instrument("AAA"), Instrument("BBB")], **given)
        self.hows: dict[str, list[str]] = {"submit": [], "cancel": [], "replace": []}
        self.silent: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.failing: set[str] = set()
        self.down = False
        self.ahead_ns = 0

    def time(self) -> int:
        return super().time() + self.ahead_ns

    def _how(self, kind: str) -> str:
        self.asked[kind] += 1
        how = self.hows[kind].pop(0) if self.hows[kind] else "well"
        if how == "lost":
            raise VenueError("connection reset")
        if how == "refused":
            raise Refused("not now", code="odd")
        if how == "wait":
            raise Refused("too many requests", code="429", retry_after_ms=500.0)
        if how == "not there":
            raise NotThere("no such order")
        return how

    def connect(self, emit: Any) -> None:
        self.asked["connect"] += 1
        if self.down:
            raise VenueError("connection refused")
        super().connect(emit)

    def subscribe(self, symbols: Sequence[str], timeframe: int) -> None:
        self.asked["subscribe"] += 1
        super().subscribe(symbols, timeframe)

    def submit(self, order: Submit) -> Ack:
        how = self._how("submit")
        ack = super().submit(order)
        if how == "hidden":
            self.hide(order.order_id, 30 * SECOND)
        if how in ("duplicate", "hidden"):
            raise Refused("this id is taken", code="duplicate_order_id")
        if how == "unanswered":
            raise VenueError("connection reset")
        return ack

    def cancel(self, request: Cancel, venue_order_id: str) -> None:
        how = self._how("cancel")
        super().cancel(request, venue_order_id)
        if how == "unanswered":
            raise VenueError("connection reset")

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        how = self._how("replace")
        ack = super().replace(request, venue_order_id)
        if how == "unanswered":
            raise VenueError("connection reset")
        return ack

    def order(self, order_id: str, venue_order_id: str = "") -> Any:
        self.asked["order"] += 1
        return super().order(order_id, venue_order_id)

    def positions(self) -> Any:
        if "positions" in self.failing:
            raise VenueError("502 Bad Gateway")
        return super().positions()

    def _say(self, said: Any) -> None:
        kind = said.what if isinstance(said, OrderUpdate) else type(said).__name__.lower()
        if kind not in self.silent:
            super()._say(said)


class Plan(rf.Strategy):
    """Does what a test says, when it says so."""

    acts: ClassVar[dict[float, Act]] = {}

    def initialize(self, ctx: Any) -> None:
        for at in self.acts:
            ctx.at(BEGIN + int(at * SECOND), str(at))

    def on_timer(self, ctx: Any, timer: Any) -> None:
        if timer.name in map(str, self.acts):
            self.acts[float(timer.name)](ctx)


class Rig:
    """One run, from its begin to a stop.

    Args:
        acts: second -> what the strategy does then.
        happens: second -> what happens then, given the rig.
        until_s: when it is stopped.
        first: what the exchange does with the first requests, by kind.
        runtime: how long work takes.
    """

    def __init__(
        self,
        acts: dict[float, Act],
        happens: dict[float, Act] | None = None,
        *,
        until_s: float = 20.0,
        intervals: Intervals = INTERVALS,
        first: dict[str, list[str]] | None = None,
        calendar: str = "",
        begin: int = BEGIN,
        latency_ms: float = 5.0,
        killed: Callable[[], str] = lambda: "",
        quiet: bool = False,
        heir: Callable[[Upgraded], Heir] = no_heir,
        runtime: type[Virtual] = Virtual,
    ) -> None:
        self.runtime = runtime(1, begin, (latency_ms, latency_ms))
        self.exchange = Scripted(self.runtime.now, whole=1.0, fee_bps=0.0)
        self.exchange.hows |= first or {}
        strategy = type("Plan", (Plan,), {"acts": acts})()
        start = Start(0, 0, "r", 0, ("AAA", "BBB"), (0, 0), 0.0, limits=Limits(), history=10)
        self.engine = Engine(strategy, rolling_history(strategy, start), heir)
        self.gateway = Gateway(
            self.exchange, self.runtime, intervals, self.engine, start, symbols=("AAA", "BBB"),
            timeframe=0, cash=None, run="r", calendar=calendar, killed=killed,
        )  # fmt: skip
        self.told: list[tuple[Input, list[Output]]] = []
        self.quiet = quiet
        for at, act in (happens or {}).items():
            self.runtime.later(int(at * SECOND), lambda act=act: act(self))
        self.runtime.later(int(until_s * SECOND), self._stop)
        self.runtime.later(SECOND // 2, self._beat)
        drive(self.engine, self.gateway, self)

    def _stop(self) -> None:
        self.gateway.command("stop", "over", "test")

    def _beat(self) -> None:
        """Let somebody trade at the last prices, twice a second."""
        if not self.quiet:
            for symbol, price in self.exchange.prices.items():
                self.exchange.tick(symbol, float(price))
        self.runtime.later(SECOND // 2, self._beat)

    def record(self, event: Input, outputs: Sequence[Output]) -> None:
        self.told.append((event, list(outputs)))

    # ------------------------------------------------------------ what came of it

    def order(self, number: int | str = 1) -> Order:
        return self.engine.desk.orders[f"r-0-{number}"]

    def life(self, number: int | str = 1) -> str:
        """Return what happened to an order, in words; said twice in a row, it happened once."""
        said = [what.replace("_", " ") for _, what, _ in self.order(number).log]
        return ", ".join(what for what, _ in itertools.groupby(said))

    def at(self, kind: type, **fields: Any) -> list[float]:
        """Return the seconds at which events or outputs of a kind came."""
        return [
            round((thing.seen - BEGIN) / SECOND, 3)
            for event, outputs in self.told
            for thing in (event, *outputs)
            if isinstance(thing, kind)
            and all(getattr(thing, name) == value for name, value in fields.items())
        ]

    def states(self) -> list[str]:
        """Return the changes of the trading state."""
        return [
            f"{o.symbol or 'session'} {o.after}: {o.why}"
            for _, outputs in self.told
            for o in outputs
            if isinstance(o, StateChanged)
        ]

    def fills(self) -> list[Fill]:
        return [event for event, _ in self.told if isinstance(event, Fill)]
