"""What a live session measures of itself: a fold, and a snapshot that any thread may read.

The fold is a function of events and outputs. Its snapshot is made on the engine's thread, at most
once a second; dashboards and the exporter read the snapshot and never the engine.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from regimeflow.journal import events
from regimeflow.model.events import (
    Account,
    Adjusted,
    Command,
    Connection,
    EndOfDay,
    Feed,
    Fill,
    Finish,
    Health,
    Input,
    Output,
    Reconciled,
    Replace,
    Resumed,
    Rules,
    Start,
    Submit,
)
from regimeflow.model.market import Bar, Bars, History, Quote, Trade
from regimeflow.model.models import Limits
from regimeflow.model.timeframe import NS_PER_MS, NS_PER_SECOND
from regimeflow.session.decisions import Decision, Decisions
from regimeflow.session.health import lagging
from regimeflow.session.state import StateFold
from regimeflow.session.status import Status

#: Stands for all that come after so many different names: what a venue says must not fill memory.
OTHER = "other"
MOST_NAMES = 200
_EVERY_S = 1.0


class VenueQuality(Protocol):
    """Fills of one venue, as execution quality sums them up."""

    @property
    def venue(self) -> str: ...
    @property
    def average_fill_latency_ms(self) -> float | None: ...
    @property
    def average_signed_slippage_bps(self) -> float | None: ...
    @property
    def average_effective_spread_bps(self) -> float | None: ...


class Quality(Protocol):
    """As much of execution quality as is shown here; None is undefined."""

    @property
    def rejection_rate(self) -> float | None: ...
    @property
    def queue_observations(self) -> int: ...
    @property
    def average_ack_latency_ms(self) -> float | None: ...
    @property
    def average_fill_latency_ms(self) -> float | None: ...
    @property
    def average_signed_slippage_bps(self) -> float | None: ...
    @property
    def average_absolute_slippage_bps(self) -> float | None: ...
    @property
    def average_effective_spread_bps(self) -> float | None: ...
    @property
    def average_queue_position(self) -> float | None: ...
    @property
    def average_queue_delay_error_ms(self) -> float | None: ...
    @property
    def venue_summaries(self) -> Sequence[VenueQuality]: ...


class OrderCounts(msgspec.Struct, frozen=True):
    """Orders, each counted once under a name, as in execution quality.

    Attributes:
        submitted: asked for, those that never left included.
        submit_rejected: stopped before they left: by our own limits, a halt, or without a link.
        acknowledged: that the venue accepted or filled.
        partially_filled: that a fill left incomplete, whatever became of them.
        broker_rejected: refused by the venue.
        errored: whose fate was unknown, at least for a while.
    """

    submitted: int = 0
    submit_rejected: int = 0
    acknowledged: int = 0
    partially_filled: int = 0
    filled: int = 0
    cancelled: int = 0
    expired: int = 0
    broker_rejected: int = 0
    errored: int = 0


class SymbolMetrics(msgspec.Struct, frozen=True):
    """One symbol.

    Attributes:
        position: units held, negative when short.
        data_age_ms: since the source made its newest data; None without any.
        data_limit_ms: how old they may be, in session time; None where nobody said.
        stale: whether they were found too old.
        held_back: whether only exits may leave.
    """

    symbol: str
    position: float
    data_age_ms: float | None
    data_limit_ms: float | None
    stale: bool
    held_back: bool


class LiveMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What a session measured, at one moment.

    Attributes:
        time: of the last event, UTC nanoseconds; 0 before the first.
        phase: of the session; ``state``: of trading.
        equity, cash, buying_power, daily_pnl: money, at last prices. Buying power is what the venue
            says; cash where it says nothing.
        total_return: since the session began, fraction.
        drawdown, max_drawdown: from the highest equity, positive fractions.
        open_orders: that can still fill; ``positions``: symbols held.
        health: what the process said of itself last, or None.
        executions: fills booked; ``fills``: the same by symbol and venue.
        orders: counts.
        denied: check -> orders it stopped.
        symbols: those of the session, then any other that is held.
        drift_execution: live less shadow, money; ``drift_decisions``: shadow less twin.
        unknown_orders: whose fate the venue has not told; ``unknown_age_ms``: the oldest of them.
        reconciled_at: when the books were last compared, UTC nanoseconds; 0: never.
        reconciled_ok: whether every question was answered then, and every position explained.
        unmatched, foreign_orders: how many.
        connected: whether the venue can be reached, as far as is known.
        journal_events, journal_bytes: how long the journal is; bytes are those on the disk.
        limits_used: limit -> fraction of it that is used up by what is held and was sent.
        quality: execution quality, or None where nobody measures it.
        clock_skew_ms: how far the venue's clock was ahead of ours when it was last asked; None
            where it never was.
        failures: how often a snapshot could not be made; ``failure``: why, the last time.
    """

    time: int = 0
    run: str = ""
    strategy: str = ""
    venue: str = ""
    phase: str = "new"
    state: str = "active"
    equity: float = 0.0
    cash: float = 0.0
    buying_power: float = 0.0
    daily_pnl: float = 0.0
    total_return: float = 0.0
    drawdown: float = 0.0
    max_drawdown: float = 0.0
    open_orders: int = 0
    positions: int = 0
    regime: str = "neutral"
    health: Health | None = None
    executions: int = 0
    fills: dict[tuple[str, str], int] = {}
    orders: OrderCounts = OrderCounts()
    denied: dict[str, int] = {}
    symbols: tuple[SymbolMetrics, ...] = ()
    drift_execution: float | None = None
    drift_decisions: float | None = None
    unknown_orders: int = 0
    unknown_age_ms: float = 0.0
    reconciled_at: int = 0
    reconciled_ok: bool = True
    unmatched: int = 0
    foreign_orders: int = 0
    connected: bool = True
    journal_events: int = 0
    journal_bytes: int = 0
    limits_used: dict[str, float] = {}
    quality: Quality | None = None
    clock_skew_ms: float | None = None
    failures: int = 0
    failure: str = ""


class Valuation:
    """Equity at last prices, kept up with the market without summing over positions each time."""

    def __init__(self) -> None:
        self.prices: dict[str, tuple[float, int]] = {}
        self.stakes: dict[str, float] = {}
        self.cash = self.first = self.equity = self.peak = self.worst = 0.0
        #: The highest equity since a human last took a loss for given.
        self.limit_peak = 0.0
        self._worth = 0.0

    def mark(self, symbol: str, price: float, ts: int) -> None:
        """Take in a price, unless a newer one is known."""
        before = self.prices.get(symbol)
        if before is not None and ts < before[1]:
            return
        self.prices[symbol] = (price, ts)
        stake = self.stakes.get(symbol)
        if stake is not None and before is not None:
            self._worth += stake * (price - before[0])
            self.equity = self.cash + self._worth

    def hold(self, stakes: dict[str, float], cash: float) -> None:
        """Take in what is held now, as symbol -> units times multiplier, and the cash."""
        self.stakes, self.cash = stakes, cash
        # Summed anew, so that rounding does not pile up.
        self._worth = sum(self.value(symbol) for symbol in stakes)
        self.equity = cash + self._worth

    def begin(self) -> None:
        """Measure returns and drawdowns from here."""
        self.first = self.peak = self.limit_peak = self.equity
        self.worst = 0.0

    def value(self, symbol: str) -> float:
        """Return the signed worth of what is held of a symbol, money."""
        return self.stakes.get(symbol, 0.0) * self.prices.get(symbol, (0.0, 0))[0]

    @property
    def drawdown(self) -> float:
        """Fraction lost since the highest equity."""
        return 1.0 - self.equity / self.peak if self.peak > 0.0 else 0.0

    def weigh(self) -> None:
        """Take in the equity after a market event: between a fill and a price it means nothing."""
        equity = self.equity
        self.limit_peak = max(self.limit_peak, equity)
        if equity >= self.peak:
            self.peak = equity
        elif self.peak > 0.0:
            self.worst = max(self.worst, 1.0 - equity / self.peak)


class MetricsFold:
    """Measures a run from its events and outputs alone."""

    def __init__(self) -> None:
        self.decisions = Decisions()
        self._value = Valuation()
        self._time = 0
        self._symbols: tuple[str, ...] = ()
        self._limits = Limits()
        self._day_equity = self._limit_day = 0.0
        self._regime = "neutral"
        self._state = StateFold()
        self._held_back: set[str] = set()
        self._feeds: dict[str, tuple[bool, float]] = {}
        self._account: Account | None = None
        self._health: Health | None = None
        self._connected = True
        self._reconciled: Reconciled | None = None
        self._sent: deque[int] = deque()
        self._orders: Counter[str] = Counter()
        self._fills: Counter[tuple[str, str]] = Counter()
        self._denied: Counter[str] = Counter()
        self._executions = 0

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take in an event and what it caused."""
        self._time = event.seen
        self._state.take(event, outputs)
        if isinstance(event, Bar | Bars | Trade | Quote):
            self._market(event)
        else:
            self._take(event)
        for entry in self.decisions.take(event, outputs):
            self._count(entry)
        if isinstance(event, Start):
            self._begin(event)
        elif isinstance(event, Fill | Adjusted | Rules):
            self._hold()
        for output in outputs:
            if isinstance(output, Submit | Replace):
                self._sent.append(event.seen)
                while self._sent[0] <= event.seen - 60 * NS_PER_SECOND:
                    self._sent.popleft()

    # ------------------------------------------------------------ what events say

    def _market(self, event: Bar | Bars | Trade | Quote) -> None:
        value = self._value
        if isinstance(event, Bar):
            value.mark(event.symbol, event.close, event.ts)
        elif isinstance(event, Bars):
            for bar in event.bars:
                value.mark(bar.symbol, bar.close, bar.ts)
        elif isinstance(event, Trade):
            value.mark(event.symbol, event.price, event.ts)
        else:
            value.mark(event.symbol, event.mid, event.ts)
        value.weigh()

    def _take(self, event: Input) -> None:
        if isinstance(event, Feed):
            self._feeds[event.symbol] = (event.stale, event.limit_ms)
        elif isinstance(event, Account):
            self._account = event
        elif isinstance(event, Health):
            self._health = event
        elif isinstance(event, Connection):
            self._connected = event.up
        elif isinstance(event, Reconciled):
            self._reconciled = event
        elif isinstance(event, EndOfDay):
            self._day_equity = self._limit_day = self._value.equity
        elif isinstance(event, Command) and event.name == "resume":
            # As the limits do: a human takes the loss so far for given.
            self._value.limit_peak = self._value.equity
            self._limit_day = min(self._limit_day, self._value.equity)
        elif isinstance(event, Resumed) and event.limits is not None:
            if event.limits.on_losses and not self._limits.on_losses:
                self._value.limit_peak = self._limit_day = self._value.equity
            self._limits = event.limits
        elif isinstance(event, History) and event.times:
            self._value.mark(event.symbol, event.close[-1], event.times[-1])
        elif isinstance(event, Adjusted | Fill):
            self._first_price(event.symbol, event.price)

    def _first_price(self, symbol: str, price: float) -> None:
        if symbol not in self._value.prices:
            self._value.mark(symbol, price, 0)

    def _begin(self, start: Start) -> None:
        self._symbols = tuple(dict.fromkeys(start.symbols))
        self._limits = start.limits
        for symbol, (_, average_price) in start.positions.items():
            self._first_price(symbol, average_price)
        self._hold()
        self._value.begin()
        self._day_equity = self._limit_day = self._value.equity

    def _hold(self) -> None:
        ledger = self.decisions.ledger
        stakes = {symbol: held.qty * held.multiplier for symbol, held in ledger.held.items()}
        self._value.hold(stakes, ledger.cash)

    # ------------------------------------------------------------ what was decided

    def _count(self, entry: Decision) -> None:
        what, data = entry.what, entry.metadata
        if what in _COUNTED:
            self._once(data["order_id"], *_COUNTED[what])
        if what in _FILLS:
            self._executions += 1
            key = (data["symbol"], data["venue"])
            full = key not in self._fills and len(self._fills) >= MOST_NAMES
            self._fills[(OTHER, OTHER) if full else key] += 1
        elif what in ("denied", "dry_run"):
            self._denied[_bounded(self._denied, data["check"])] += 1
            # A denied change carries the id of an order that left long ago.
            if data["order_id"] not in self.decisions.orders:
                self._orders.update(("submitted", "submit_rejected"))
        elif what == "state_changed" and data["symbol"]:
            self._hold_back(data["symbol"], data["after"])
        elif what == "regime_changed":
            self._regime = data["after"]

    def _once(self, order_id: str, *names: str) -> None:
        order = self.decisions.orders.get(order_id)
        if order is None:
            return
        for name in names:
            if name not in order.counted:
                order.counted = (*order.counted, name)
                self._orders[name] += 1

    def _hold_back(self, symbol: str, after: str) -> None:
        if after == "active":
            self._held_back.discard(symbol)
        else:
            self._held_back.add(symbol)

    # ------------------------------------------------------------ the snapshot

    def snapshot(
        self,
        status: Status | None = None,
        quality: Quality | None = None,
        journal_bytes: int = 0,
    ) -> LiveMetrics:
        """Return what is measured now.

        Args:
            status: of the session, for its names, its phase and the three accounts.
            quality: execution quality.
            journal_bytes: what the journal takes on the disk.
        """
        value, decisions, reconciled = self._value, self.decisions, self._reconciled
        oldest = min(decisions.unknown.values(), default=self._time)
        drift: tuple[float | None, float | None] = (None, None)
        if status is not None:
            live, shadow, twin = status.live.equity, status.shadow.equity, status.twin.equity
            drift = (live - shadow, shadow - twin)
        return LiveMetrics(
            time=self._time,
            run=decisions.run,
            strategy=status.strategy if status is not None else "",
            venue=status.venue if status is not None else "",
            phase=status.phase if status is not None else "running",
            state=self._state.state,
            equity=value.equity,
            cash=value.cash,
            buying_power=value.cash if self._account is None else self._account.buying_power,
            daily_pnl=value.equity - self._day_equity,
            total_return=value.equity / value.first - 1.0 if value.first > 0.0 else 0.0,
            drawdown=value.drawdown,
            max_drawdown=value.worst,
            open_orders=len(decisions.working),
            positions=len(value.stakes),
            regime=self._regime,
            health=lagging(self._health, status.lag_ms if status is not None else 0.0),
            executions=self._executions,
            fills=dict(self._fills),
            orders=OrderCounts(**self._orders),
            denied=dict(self._denied),
            symbols=tuple(self._symbol(s) for s in dict.fromkeys((*self._symbols, *value.stakes))),
            drift_execution=drift[0],
            drift_decisions=drift[1],
            unknown_orders=len(decisions.unknown),
            unknown_age_ms=(self._time - oldest) / NS_PER_MS,
            reconciled_at=0 if reconciled is None else reconciled.seen,
            reconciled_ok=reconciled is None or (reconciled.ok and not reconciled.unmatched),
            unmatched=0 if reconciled is None else len(reconciled.unmatched),
            foreign_orders=0 if reconciled is None else len(reconciled.foreign_orders),
            connected=self._connected,
            journal_events=decisions.seq,
            journal_bytes=journal_bytes,
            limits_used=self._used(),
            quality=quality,
        )

    def _symbol(self, symbol: str) -> SymbolMetrics:
        known = self._value.prices.get(symbol)
        stale, limit_ms = self._feeds.get(symbol, (False, self._limits.max_data_age_ms))
        return SymbolMetrics(
            symbol,
            self.decisions.ledger.position(symbol).qty,
            (self._time - known[1]) / NS_PER_MS if known is not None and known[1] else None,
            limit_ms,
            stale,
            symbol in self._held_back or "*" in self._held_back,
        )

    def _used(self) -> dict[str, float]:
        """Return how much of each limit that is on is used up."""
        value, equity = self._value, self._value.equity
        worth = {symbol: value.value(symbol) for symbol in value.stakes}
        gross = sum(map(abs, worth.values()))
        lost = self._limit_day - equity
        units = (abs(held.qty) for held in self.decisions.ledger.held.values())
        peak = value.limit_peak
        used = {
            "max_position": max(units, default=0.0),
            "max_position_pct": _of(max(map(abs, worth.values()), default=0.0), equity),
            "max_gross_exposure": _of(gross, equity),
            "max_net_exposure": _of(abs(sum(worth.values())), equity),
            "max_leverage": _of(gross, equity),
            "max_drawdown": max(0.0, _of(peak - equity, peak)),
            "daily_loss": max(0.0, lost),
            "daily_loss_pct": max(0.0, _of(lost, self._limit_day)),
            "max_open_orders": float(len(self.decisions.working)),
            "max_orders_per_second": float(self._sent_within(NS_PER_SECOND)),
            "max_orders_per_minute": float(self._sent_within(60 * NS_PER_SECOND)),
        }
        limits = {name: getattr(self._limits, name) for name in used}
        return {name: _of(used[name], most) for name, most in limits.items() if most is not None}

    def _sent_within(self, length_ns: int) -> int:
        return sum(at > self._time - length_ns for at in self._sent)


class Meter:
    """Follows a run and keeps a snapshot, made anew at most once a second.

    Its own errors never reach the run: they are counted in `LiveMetrics.failures`, and
    the last one stands in `LiveMetrics.failure`.

    Args:
        status: gives the session's status, an immutable snapshot.
        now: makes it anew, on the engine's thread; ``status`` without it.
        quality: gives execution quality, where it is measured.
        run_dir: whose journal is weighed.
        skew_ms: gives what the venue's clock is ahead of ours; no event tells it.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        status: Callable[[], Status],
        *,
        now: Callable[[], Status] | None = None,
        quality: Callable[[], Quality | None] | None = None,
        run_dir: str | Path | None = None,
        skew_ms: Callable[[], float | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fold = MetricsFold()
        self._status = status
        self._now = now or status
        self._quality = quality
        self._run_dir = None if run_dir is None else Path(run_dir)
        self._skew_ms = skew_ms
        self._clock = clock
        self._due = clock()
        self._failures, self._failure = 0, ""
        self._made = LiveMetrics()

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take in an event and what it caused; on the engine's thread."""
        try:
            self.fold.follow(event, outputs)
            now = self._clock()
            if now >= self._due or event.__class__ is Finish:
                self._due = now + _EVERY_S
                self._made = self._measure()
        except Exception as error:
            self._failures += 1
            self._failure = f"{type(error).__name__}: {error}"

    def latest(self) -> LiveMetrics:
        """Return the newest snapshot; from any thread."""
        status, made = self._status(), self._made
        return msgspec.structs.replace(
            made,
            phase=status.phase,
            clock_skew_ms=self._skew_ms(),
            failures=self._failures,
            failure=self._failure,
            health=lagging(made.health, status.lag_ms),
        )

    def _measure(self) -> LiveMetrics:
        quality = None if self._quality is None else self._quality()
        size = 0 if self._run_dir is None else journal_bytes(self._run_dir)
        return self.fold.snapshot(self._now(), quality, size)


def recorded_metrics(run_dir: Path, status: Status, quality: Quality | None) -> LiveMetrics:
    """Return a session's metrics from its journal alone.

    Args:
        status: how it stands, for what no journal tells.
        quality: of its executions.
    """
    fold = MetricsFold()
    for _, event, outputs in events(run_dir):
        fold.follow(event, outputs)
    return fold.snapshot(status, quality, journal_bytes(run_dir))


def journal_bytes(run_dir: Path) -> int:
    """Return what a run's journal takes on the disk."""
    return sum(_size(path) for path in run_dir.glob("journal-*"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # compressed and removed between the two looks
        return 0


def _of(part: float, whole: float) -> float:
    """Return a fraction; of nothing, everything is used up."""
    if whole > 0.0:
        return part / whole
    return 1.0 if part > 0.0 else 0.0


def _bounded(counter: Counter[str], name: str) -> str:
    """Return the name, or the one that stands for all others once there are too many."""
    return name if name in counter or len(counter) < MOST_NAMES else OTHER


#: What happened to an order -> names it is counted under.
_COUNTED = {
    "submit": ("submitted",),
    "accepted": ("acknowledged",),
    "partly_filled": ("acknowledged", "partially_filled"),
    "filled": ("acknowledged", "filled"),
    "canceled": ("cancelled",),
    "expired": ("expired",),
    "rejected": ("broker_rejected",),
    "lost": ("errored",),
    "never_sent": ("submit_rejected",),
}
_FILLS = frozenset({"partly_filled", "filled", "unordered"})
