"""Hours of a live session in a moment: one seed decides the market, the strategy and all faults.

A real engine and a real gateway trade on an exchange of the sandbox, on virtual time, with a real
journal. Then nothing goes wrong any more, and what the session believes is held against what the
exchange knows (`regimeflow.sandbox.verdict`).
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from regimeflow.engine.drive import drive
from regimeflow.engine.engine import Engine
from regimeflow.engine.strategy import Strategy
from regimeflow.errors import JournalError, SessionError
from regimeflow.journal import Disk, JournalWriter
from regimeflow.model.events import Input, Output, Start
from regimeflow.model.instrument import Instrument
from regimeflow.model.models import Limits
from regimeflow.model.order import OrderHandle
from regimeflow.model.timeframe import NS_PER_MS, NS_PER_SECOND
from regimeflow.sandbox import verdict
from regimeflow.sandbox.exchange import Exchange
from regimeflow.session.companions import rolling_history
from regimeflow.session.fold import Fold
from regimeflow.venues.faulty import USUAL_RATES, Faulty
from regimeflow.venues.gateway import Gateway
from regimeflow.venues.intervals import Intervals
from regimeflow.venues.runtime import Virtual

#: 2024-01-02 14:30 UTC.
BEGIN = 1_704_205_800 * NS_PER_SECOND
CASH = 1_000_000.0
SYMBOLS = ("AAA", "BBB")
LIMITS = Limits(
    max_position=60.0,
    max_notional=6_000.0,
    max_open_orders=12,
    max_orders_per_second=5,
    max_orders_per_minute=90,
    duplicate_window_ms=250.0,
    max_data_age_ms=30_000.0,
    symbols=SYMBOLS,
)
INTERVALS = Intervals(
    clock_ms=1_000.0,
    heartbeat_ms=5_000.0,
    position_poll_ms=15_000.0,
    call_timeout_ms=5_000.0,
    reconnect_max_ms=8_000.0,
)
#: How long things go wrong, and how long everything may take to be well again, seconds.
TROUBLE_S, HEALING_S = 150, 90


class Outcome(msgspec.Struct, frozen=True):
    """What came of one simulation.

    Attributes:
        violations: what must not be, one sentence each; empty is well.
        fired: fault -> how often it happened.
        digest: of the whole journal; equal for equal seeds.
        state: digest of orders, positions, cash and trading state at the end.
        counts: of events, orders, fills, crashes, unknown orders and so on.
    """

    seed: int
    violations: list[str]
    fired: dict[str, int]
    digest: str
    state: str
    counts: dict[str, int]


class Busy(Strategy):
    """Sends, changes and cancels orders of every kind, by its seed."""

    eagerness: float = 0.25
    exits: bool = False

    def initialize(self, ctx: Any) -> None:
        """Set a timer as well: it must survive whatever happens."""
        ctx.every("7s", "again")

    def on_bar(self, ctx: Any, bar: Any) -> None:
        """Do something, or nothing."""
        self._act(ctx, bar.symbol, bar.close)

    def on_tick(self, ctx: Any, trade: Any) -> None:
        """Do something, or nothing."""
        self._act(ctx, trade.symbol, trade.price)

    def on_timer(self, ctx: Any, timer: Any) -> None:
        """Take the position of one symbol off, now and then."""
        if ctx.rng.random() < 0.1:
            ctx.close(ctx.symbols[int(ctx.rng.integers(len(ctx.symbols)))])

    def _act(self, ctx: Any, symbol: str, price: float) -> None:
        rng = ctx.rng
        if rng.random() > self.eagerness:
            return
        kind, qty = int(rng.integers(11)), float(rng.integers(1, 30))
        send = ctx.buy if rng.random() < 0.5 else ctx.sell
        away = round(float(rng.integers(-40, 40)) / 100.0, 2)
        tif = ("day", "gtc")[int(rng.integers(2))]
        working: Sequence[OrderHandle] = ctx.orders(symbol)
        if kind < 2 and self.exits:
            self._enter(ctx, send, symbol, qty, price)
        elif kind < 2:
            send(symbol, qty=qty)
        elif kind < 5:
            send(symbol, qty=qty, limit=price + away, tif=tif)
        elif kind == 5:
            send(symbol, qty=qty, limit=price + away, tif=("ioc", "fok")[int(rng.integers(2))])
        elif kind == 6:
            stop = price + abs(away) if send == ctx.buy else price - abs(away)
            send(symbol, qty=qty, stop=stop, limit=price + away if rng.random() < 0.5 else None)
        elif kind == 7:
            ctx.target(symbol, qty=qty - 15.0)
        elif working:
            self._change(ctx, working[int(rng.integers(len(working)))], qty, price + away)

    def _enter(self, ctx: Any, send: Any, symbol: str, qty: float, price: float) -> None:
        """Enter with exits near enough to be reached; with a limit as often as without."""
        way = 1.0 if send == ctx.buy else -1.0
        near, far = float(ctx.rng.uniform(0.2, 0.8)), float(ctx.rng.uniform(0.2, 0.8))
        limit = price - way * 0.1 if ctx.rng.random() < 0.5 else None
        send(
            symbol, qty=qty, limit=limit, take_profit=price + way * near,
            stop_loss=price - way * (0.1 + far),
        )  # fmt: skip

    def _change(self, ctx: Any, order: Any, qty: float, price: float) -> None:
        if order.parent and ctx.rng.random() < 0.5:
            ctx.replace(order, **{"stop" if order.limit is None else "limit": price})
        elif order.limit is None or ctx.rng.random() < 0.6:
            ctx.cancel(order)
        else:
            ctx.replace(order, qty=qty, limit=price)


def simulate(seed: int, run_dir: Path | None = None, *, exits: bool = False) -> Outcome:
    """Run one simulation.

    Args:
        seed: decides everything.
        run_dir: where the journal goes; a temporary directory without it.
        exits: whether some orders bring their exits.
    """
    with contextlib.ExitStack() as stack:
        if run_dir is None:
            run_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        return _World(seed, run_dir, exits=exits).run()


class Ended(Exception):
    """The process has ended, as far as the simulation is concerned."""


class DyingDisk(Disk):
    """A disk that is there until it is not; its last write may be torn."""

    def __init__(self) -> None:
        self.writes_left: int | None = None
        self.torn = 1.0
        self.dead = False

    def write(self, fd: int, data: bytes) -> int:
        """Write, or only a part of it."""
        if self.writes_left is not None and not self.dead:
            self.writes_left -= 1
            if self.writes_left < 0:
                self.dead = True
                return super().write(fd, data[: int(len(data) * self.torn)])
        if self.dead:
            raise OSError(5, "the disk is gone")
        return super().write(fd, data)


class _World:
    """Exchange, faults and clock, which outlive the session's processes."""

    def __init__(self, seed: int, run_dir: Path, *, exits: bool = False) -> None:
        self.seed = seed
        self.exits = exits
        self.random = rng = random.Random(seed)
        self.run_dir = run_dir
        self.timeframe = rng.choice((0, 0, 5 * NS_PER_SECOND))
        self.latency_ms = rng.choice(((1.0, 40.0), (20.0, 400.0)))
        self.runtime = Virtual(seed, BEGIN, self.latency_ms)
        rules = [Instrument("AAA"), Instrument("BBB", tick=0.05)]
        self.exchange = Exchange(
            self.now,
            rules,
            seed=seed,
            cash=CASH,
            timeframe=5 * NS_PER_SECOND,
            fee_bps=1.5,
        )
        self.exchange.shy_ns = rng.choice((0, 0, 3 * NS_PER_SECOND))
        self.faulty = Faulty(
            self.exchange,
            seed,
            rates=_rates(rng),
            later=self.later,
            longest_ns=2 * NS_PER_SECOND,
        )
        self.start = Start(
            0, 0, f"sim{seed}", 0, SYMBOLS, (self.timeframe,) * 2, CASH,
            instruments=tuple(rules), limits=LIMITS, seed=seed, strategy="Busy", history=100,
        )  # fmt: skip
        self.ends_at = BEGIN + (TROUBLE_S + HEALING_S) * NS_PER_SECOND
        self.counts: Counter[str] = Counter()
        self.unasked: set[str] = set()
        self.open_at_end = ""
        self.healed = False
        # What stands in the future and survives a process: (when, what), earliest first.
        self.plan: list[tuple[int, str]] = self._planned()

    def now(self) -> int:
        """Return the time, whichever process lives."""
        return self.runtime.now()

    def later(self, delay_ns: int, what: Callable[[], None]) -> None:
        """Do something later, unless the process has ended by then."""
        self.runtime.later(delay_ns, what)

    def _planned(self) -> list[tuple[int, str]]:
        rng = self.random
        plan = [(BEGIN + TROUBLE_S * NS_PER_SECOND, "heal"), (self.ends_at, "end")]
        for name, chance, most in _UNASKED:
            if rng.random() < chance:
                plan += [
                    (BEGIN + rng.randrange(20, TROUBLE_S) * NS_PER_SECOND, name)
                    for _ in range(rng.randint(1, most))
                ]
        return sorted(plan)

    # ------------------------------------------------------------ the session's lives

    def run(self) -> Outcome:
        """Let the session live, crash and be taken up again until its end, then judge."""
        crashes = self.random.choice((0, 0, 1, 2))
        while True:
            try:
                engine, gateway, journal = self._live(crashes > 0)
                break
            except Ended:
                crashes -= 1
                self._down()
        judged = verdict.judge(self, engine, gateway)
        return Outcome(
            self.seed,
            judged,
            dict(self.faulty.fired),
            journal.sum,
            verdict.state_digest(engine),
            dict(self.counts),
        )

    def engine(self) -> Engine:
        """Return a new engine with a strategy of its own."""
        strategy = Busy(exits=self.exits)
        return Engine(strategy, rolling_history(strategy, self.start))

    def gateway_of(self, engine: Engine) -> Gateway:
        """Return a new gateway for an engine, not connected yet."""
        return Gateway(
            self.faulty, self.runtime, INTERVALS, engine, self.start, symbols=SYMBOLS,
            timeframe=self.timeframe, warmup=20 if self.timeframe else 0, cash=CASH,
            run=self.start.run,
        )  # fmt: skip

    def _live(self, crashes: bool) -> tuple[Engine, Gateway, JournalWriter]:
        engine = self.engine()
        gateway = self.gateway_of(engine)
        self.gateway, disk = gateway, DyingDisk()
        journal = self._journal(engine, gateway, disk)
        venue = _Crashing(gateway, disk, self.random if crashes else None)
        self.runtime.later(NS_PER_SECOND // 2, self._move)
        try:
            drive(engine, venue, journal)
            journal.close()
        except (Ended, JournalError) as error:
            died = disk.dead or isinstance(error, Ended)
            disk.dead = True
            with contextlib.suppress(JournalError):
                journal.close()
            if not died:
                raise  # the machine's own disk: no part of the simulation, and no seed repeats it
            raise Ended from error
        return engine, gateway, journal

    def _journal(self, engine: Engine, gateway: Gateway, disk: DyingDisk) -> JournalWriter:
        fold = Fold(engine, gateway, ())
        journal = JournalWriter(
            self.run_dir, self.start.run, sync=False, disk=disk, replay=fold.take
        )
        if journal.seq:
            gateway.resume(fold.resumed(LIMITS, self.runtime.now()))
        return journal

    def _down(self) -> None:
        """The process is gone: what it had on the wire may still arrive, and the market goes on."""
        self.counts["crashes"] += 1
        before = self.runtime
        if self.random.random() < 0.5:
            _let_pass(before, before.now() + 500 * NS_PER_MS)
        self.faulty.close()
        before.close()
        self.runtime = Virtual(
            self.seed + self.counts["crashes"] * 1_000_003, before.now(), self.latency_ms
        )
        if self.healed:  # what a human said then may have been lost
            now = before.now()
            self.plan = [(now + 20 * NS_PER_SECOND, "heal"), (now + 60 * NS_PER_SECOND, "end")]
        for _ in range(self.random.randrange(1, 15)):
            _let_pass(self.runtime, self.runtime.now() + NS_PER_SECOND)
            self.exchange.step()

    # ------------------------------------------------------------ market and mishaps

    def _move(self) -> None:
        runtime = self.runtime
        if runtime.now() > self.ends_at + 300 * NS_PER_SECOND:
            raise SessionError("the session did not end")
        if self.random.random() < 0.9:
            self.exchange.step()
        while self.plan and self.plan[0][0] <= runtime.now():
            getattr(self, f"_{self.plan.pop(0)[1]}")()
        runtime.later(self.random.randrange(200, 1_500) * NS_PER_MS, self._move)

    def _heal(self) -> None:
        self.faulty.heal()
        self.exchange.shy_ns = 0
        self.healed = True
        self.gateway.command("resume", "all is well again", "simulation")
        if "trade_by_hand" in self.unasked:
            self.gateway.command("adopt", "it was us", "simulation")

    def _end(self) -> None:
        self.open_at_end = verdict.why_not_open(self.gateway)
        self.gateway.command("stop", "the end", "simulation")

    def _sleep(self) -> None:
        self.runtime.pause(self.random.randrange(1, 30) * NS_PER_SECOND)

    def _halt(self) -> None:
        self.gateway.command("halt", "a human says so", "simulation")

    def _flatten(self) -> None:
        self.gateway.command("flatten", "a human says so", "simulation")

    def _pause(self) -> None:
        self.gateway.command("pause", "a human says so", "simulation")

    def _cancel_all(self) -> None:
        self.gateway.command("cancel_all", "a human says so", "simulation")

    def _resume(self) -> None:
        self.gateway.command("resume", "a human says so", "simulation")

    def _venue_ends(self) -> None:
        working = self.exchange.working()
        if working:
            order = self.random.choice(working)
            if order.id:
                self.exchange.end(order.id, self.random.choice(("canceled", "expired", "rejected")))

    def _trade_by_hand(self) -> None:
        self.unasked.add("trade_by_hand")
        self.exchange.trade_by_hand(
            self.random.choice(SYMBOLS), self.random.choice(("buy", "sell")), 5.0
        )

    def _order_by_hand(self) -> None:
        self.exchange.order_by_hand("AAA", "buy", 5.0, 1.0)

    def _overfill(self) -> None:
        working = [order for order in self.exchange.working() if order.id]
        if working:
            self.unasked.add("overfill")
            self.exchange.overfill(self.random.choice(working).id, 3.0)


class _Crashing:
    """A gateway whose process may end around any request."""

    def __init__(self, gateway: Gateway, disk: DyingDisk, rng: random.Random | None) -> None:
        self._gateway = gateway
        self._left = -1
        self._how = ""
        if rng is not None:
            self._how = rng.choice(("before", "torn", "unsent", "sent"))
            self._left = rng.randint(2, 60)
            if self._how in ("before", "torn"):
                disk.writes_left = self._left
                disk.torn = 0.0 if self._how == "before" else rng.random()

    def events(self) -> Iterator[Input]:
        """Yield the gateway's events."""
        return self._gateway.events()

    def send(self, outputs: Sequence[Output]) -> None:
        """Pass requests on, but for the last."""
        self._left -= 1
        if self._left == 0 and self._how == "unsent":
            raise Ended
        self._gateway.send(outputs)
        if self._left == 0 and self._how == "sent":
            raise Ended


def _let_pass(runtime: Virtual, until: int) -> None:
    """Let time pass with nobody there to hear what is said."""
    while runtime.wait(until) is not None:
        pass


#: What happens unasked: name, in which share of the seeds, and how often at most.
_UNASKED = (
    ("halt", 0.2, 1),
    ("resume", 0.2, 2),
    ("flatten", 0.2, 1),
    ("pause", 0.2, 1),
    ("cancel_all", 0.2, 2),
    ("sleep", 0.2, 2),
    ("venue_ends", 0.6, 6),
    ("trade_by_hand", 0.15, 1),
    ("order_by_hand", 0.15, 1),
    ("overfill", 0.05, 1),
)


def _rates(rng: random.Random) -> dict[str, float]:
    """Return how often each fault happens: some seeds are calm, in some all goes wrong."""
    scale = rng.choice((0.0, 0.3, 1.0, 1.0, 2.0))
    return {
        name: min(1.0, rate * scale * rng.uniform(0.3, 1.7)) for name, rate in USUAL_RATES.items()
    }


__all__ = ["Outcome", "simulate"]
