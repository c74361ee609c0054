"""What goes into the engine, what comes out: three closed unions of tagged structs.

Their JSON is the journal, so fields are plain and finite on the way in; floats in notes may be
``None``, because JSON cannot carry a NaN back.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Bars, Book, History, Quote, Trade
from regimeflow.model.models import Limits, Model

# ---------------------------------------------------------------- inputs


class Start(msgspec.Struct, frozen=True, tag_field="kind", tag="start"):
    """Everything a run is decided by, besides its events: with it a journal replays alone.

    Attributes:
        run: name of the run; part of every client order id.
        epoch: how often the run was started before.
        symbols, timeframes: series of the session in event order; timeframes in nanoseconds.
        cash, positions: what the ledger begins with; positions as symbol -> (units, average price).
        model: assumptions by which sizing leaves room for costs.
        seed: of ``ctx.rng``.
        strategy, params: what is run, by name, and its parameters.
        source_sha256, frozen_sha256: of the strategy's source text and of its frozen form.
        history: how many closed bars of each series the strategy can look back on.
        warmup: how many of them ``Strategy.features`` is computed on.
        flavour, timezone: of the frames that it is given; an empty zone means naive UTC.
        calendar: exchange calendar, "" for UTC days.
    """

    ts: int
    seen: int
    run: str
    epoch: int
    symbols: tuple[str, ...]
    timeframes: tuple[int, ...]
    cash: float
    positions: dict[str, tuple[float, float]] = {}
    instruments: tuple[Instrument, ...] = ()
    limits: Limits = Limits()
    model: Model = Model()
    seed: int = 0
    strategy: str = ""
    params: dict[str, Any] = {}
    source_sha256: str = ""
    frozen_sha256: str = ""
    history: int = 10_000
    warmup: int = 0
    flavour: str = "pandas"
    timezone: str = "UTC"
    calendar: str = ""

    @property
    def finest(self) -> int:
        """Length of the shortest bars, nanoseconds; 0 where there are only ticks."""
        return min((t for t in self.timeframes if t), default=0)


# gc=False: its metadata hold numbers only, so it cannot be part of a cycle.
class OrderUpdate(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="order_update"):
    """The venue says something about an order other than a fill.

    ``what`` is one of accepted, rejected, canceled, expired, lost, replaced, cancel_rejected,
    replace_rejected. ``replaced`` carries the new quantity and prices. ``metadata`` is what else a
    venue tells in numbers, such as ``queue_position`` (units ahead of the order) and
    ``expected_queue_delay_ms``.
    """

    ts: int
    seen: int
    order_id: str
    what: str
    reason: str = ""
    venue_order_id: str = ""
    qty: float | None = None
    limit: float | None = None
    stop: float | None = None
    metadata: dict[str, float] | None = None


class Fill(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="fill"):
    """One execution. A fact: booked once per ``execution_id``, whatever the order's state.

    ``qty`` are the units that changed hands with the account. ``kept`` are those of the execution
    that did not, because the venue took them as its fee: an order is done by ``executed``, both.
    ``fee`` is money, positive = paid, that of ``kept`` included; ``executed_at`` says when inside a
    bar it happened.
    """

    ts: int
    seen: int
    execution_id: str
    order_id: str
    symbol: str
    side: str
    qty: float
    price: float
    fee: float = 0.0
    liquidity: str = "taker"
    venue: str = ""
    executed_at: int = 0
    kept: float = 0.0

    @property
    def executed(self) -> float:
        """Units of the order that this execution has done."""
        if not self.kept:
            return self.qty
        return float(Decimal(str(self.qty)) + Decimal(str(self.kept)))


class Timer(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="timer"):
    """A timer that the strategy set has come due."""

    ts: int
    seen: int
    name: str


class EndOfDay(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="end_of_day"):
    """The session day is over; ``session`` is its date, ISO."""

    ts: int
    seen: int
    session: str


class Clock(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="clock"):
    """Time passes on a live venue even when nothing else happens."""

    ts: int
    seen: int


class Command(msgspec.Struct, frozen=True, tag_field="kind", tag="command"):
    """A human, or the session on their behalf, steers the run.

    ``name`` is one of halt, pause, unpause, resume, flatten, stop, cancel_all, adopt. Unpause lifts
    the pause made by the same ``who`` and nothing else. Of these flatten alone cancels the exits
    that protect a position.
    """

    ts: int
    seen: int
    name: str
    why: str = ""
    who: str = ""


class Account(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="account"):
    """What the venue says is on the account, foreign positions included; money."""

    ts: int
    seen: int
    cash: float
    equity: float
    buying_power: float
    margin: float = 0.0
    currency: str = ""


class Connection(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="connection"):
    """The way to the venue was lost, or is there again: orders and fills can be told."""

    ts: int
    seen: int
    up: bool
    why: str = ""


class Feed(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="feed"):
    """A symbol's market data has become too old, or is fresh again.

    Attributes:
        age_ms, limit_ms: how old the newest data are, and may be, in session time.
        next_due: when the next data are expected, UTC nanoseconds; 0 where nobody knows.
        hold, cancel: whether new exposure is held back, and working entries are canceled.
    """

    ts: int
    seen: int
    symbol: str
    stale: bool
    age_ms: float
    limit_ms: float
    next_due: int = 0
    hold: bool = True
    cancel: bool = True


class Reconciled(msgspec.Struct, frozen=True, tag_field="kind", tag="reconciled"):
    """Our books were compared with the venue's.

    Attributes:
        ok: every question was answered. Where not, what is unknown stays unknown.
        what: what was asked: "all", "orders", "positions".
        why: what went wrong, or why a symbol does not match.
        unmatched: symbols whose position or orders no event explains.
        foreign_orders: venue ids of orders that are not ours.
        foreign: symbol -> units that are on the account and not ours.
        hold: whether new exposure is held back until every question is answered; where all were,
            it says nothing.
    """

    ts: int
    seen: int
    ok: bool
    what: str = "all"
    why: str = ""
    unmatched: tuple[str, ...] = ()
    foreign_orders: tuple[str, ...] = ()
    foreign: dict[str, float] = {}
    hold: bool = True


class Adjusted(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="adjusted"):
    """A change that no fill explains, taken into our books: a human or the venue said so.

    The venue says so of a commission that came late, of an execution that it corrected, and of
    what a position has paid or was paid for being held.

    Attributes:
        qty: signed change, units.
        price: what it is taken in at.
        cash: signed change of cash, money.
        execution_id: of the fill that came to something else, "" where there is none.
        payment_id: of the payment, such as a funding, "" where it is none; each is booked once.
    """

    ts: int
    seen: int
    symbol: str
    qty: float
    price: float
    cash: float = 0.0
    why: str = ""
    execution_id: str = ""
    payment_id: str = ""

    @property
    def is_cost(self) -> bool:
        """Whether money alone changed, for something that the run itself has done."""
        return bool(self.execution_id or self.payment_id) and not self.qty


class Gap(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="gap"):
    """Market data were lost between ``since`` and ``ts``; ``symbols`` is empty for all."""

    ts: int
    seen: int
    why: str
    symbols: tuple[str, ...] = ()
    since: int = 0


class Rules(msgspec.Struct, frozen=True, tag_field="kind", tag="rules"):
    """The trading rules of an instrument have changed, or whether it trades at all."""

    ts: int
    seen: int
    instrument: Instrument
    tradable: bool = True


class Health(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="health"):
    """How the process that trades is doing.

    Attributes:
        loop_lag_ms: how long the oldest waiting event waited.
        queue: events that wait.
        memory_mb, cpu_pct, threads: of the process; CPU in percent of one core.
        disk_free_mb: where the journal is.
    """

    ts: int
    seen: int
    loop_lag_ms: float
    queue: int
    memory_mb: float
    cpu_pct: float
    disk_free_mb: float
    threads: int = 0


class Resumed(msgspec.Struct, frozen=True, tag_field="kind", tag="resumed"):
    """The run goes on after its process had ended.

    Attributes:
        epoch: counts the starts of the run; part of every client order id from now on.
        never_sent: orders that the strategy decided on, but whose requests were not yet written
            down when the process ended: they never left, and are denied.
        limits: those that hold from now on.
    """

    ts: int
    seen: int
    epoch: int
    never_sent: tuple[str, ...] = ()
    limits: Limits | None = None
    why: str = ""


class Upgraded(msgspec.Struct, frozen=True, tag_field="kind", tag="upgraded"):
    """Another strategy is to take the run over, because a human said so.

    Attributes:
        frozen_sha256, source_sha256: of its frozen form in the run directory, and of its source.
        strategy, params: its name and its parameters.
        when: "next_bar": with the next event of the market; "flat": with the first one that finds
            nothing held and nothing working.
        warmup: bars that its ``features`` are computed on; 0: as many as before.
        source, difference: its source text, and how that and the parameters differ from before.
    """

    ts: int
    seen: int
    frozen_sha256: str
    source_sha256: str = ""
    strategy: str = ""
    params: dict[str, Any] = {}
    when: str = "flat"
    warmup: int = 0
    source: str = ""
    difference: str = ""
    why: str = ""
    who: str = ""


class Finish(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="finish"):
    """The venue has no more events: ``on_stop`` follows."""

    ts: int
    seen: int
    why: str = ""


Input = (
    Start
    | History
    | Bar
    | Bars
    | Trade
    | Quote
    | Book
    | OrderUpdate
    | Fill
    | Timer
    | EndOfDay
    | Clock
    | Command
    | Account
    | Connection
    | Feed
    | Reconciled
    | Adjusted
    | Gap
    | Rules
    | Health
    | Resumed
    | Upgraded
    | Finish
)

# ---------------------------------------------------------------- requests to the venue


class Submit(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="submit"):
    """Send an order. ``seq`` and ``seen`` are those of the event that caused it.

    ``take_profit`` and ``stop_loss`` are prices of its exits, which go with it in this one request;
    `exits_of` tells them. An order without exits has neither, in its JSON too.
    """

    seq: int
    seen: int
    order_id: str
    symbol: str
    side: str
    qty: float
    type: str
    limit: float | None = None
    stop: float | None = None
    tif: str = "gtc"
    expire_at: int = 0
    reduce_only: bool = False
    tag: str = ""
    take_profit: float | UnsetType = UNSET
    stop_loss: float | UnsetType = UNSET


#: What is put behind an entry's id to name its exits.
TAKE_PROFIT, STOP_LOSS = "t", "s"


def exits_of(entry: Submit) -> tuple[Submit, ...]:
    """Return the exits that go with an entry, as if each had been sent by itself.

    >>> entry = Submit(1, 2, "demo-0-1", "A", "buy", 5.0, "market", take_profit=9.0, stop_loss=7.0)
    >>> [(e.order_id, e.side, e.type, e.limit, e.stop) for e in exits_of(entry)]
    [('demo-0-1t', 'sell', 'limit', 9.0, None), ('demo-0-1s', 'sell', 'stop', None, 7.0)]
    """
    if not (entry.take_profit or entry.stop_loss):
        return ()
    side = "sell" if entry.side == "buy" else "buy"
    made = []
    for suffix, type_, price in (
        (TAKE_PROFIT, "limit", entry.take_profit),
        (STOP_LOSS, "stop", entry.stop_loss),
    ):
        if price is UNSET:
            continue
        limit, stop = (price, None) if type_ == "limit" else (None, price)
        exit_ = Submit(
            entry.seq, entry.seen, entry.order_id + suffix, entry.symbol, side, entry.qty,
            type_, limit, stop, entry.tif, 0, True, entry.tag,
        )  # fmt: skip
        made.append(exit_)
    return tuple(made)


def entry_of(order_id: str) -> str:
    """Return the id of the entry that an exit belongs to, "" for an order of its own.

    >>> entry_of("demo-0-1s"), entry_of("demo-0-1")
    ('demo-0-1', '')
    """
    entry = order_id[:-1]
    return entry if order_id[-1:] in (TAKE_PROFIT, STOP_LOSS) and entry[-1:].isdigit() else ""


class Cancel(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="cancel"):
    """Cancel an order."""

    seq: int
    seen: int
    order_id: str


class Replace(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="replace"):
    """Change a working order's total quantity or prices."""

    seq: int
    seen: int
    order_id: str
    qty: float
    limit: float | None = None
    stop: float | None = None


class SetTimer(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="set_timer"):
    """Fire ``name`` at ``at``, then every ``every`` nanoseconds unless that is 0."""

    seq: int
    seen: int
    name: str
    at: int
    every: int = 0


Request = Submit | Cancel | Replace | SetTimer

# ---------------------------------------------------------------- notes


class Denied(msgspec.Struct, frozen=True, tag_field="kind", tag="denied"):
    """An intent that our own limits stopped; ``check`` names the limit."""

    seq: int
    seen: int
    order_id: str
    symbol: str
    side: str
    qty: float | None
    check: str
    reason: str
    retry_after_ms: float | None = None


class Recorded(msgspec.Struct, frozen=True, tag_field="kind", tag="recorded"):
    """Values of ``ctx.record``."""

    seq: int
    seen: int
    values: dict[str, float | None]


class Logged(msgspec.Struct, frozen=True, tag_field="kind", tag="logged"):
    """A line of ``ctx.log``."""

    seq: int
    seen: int
    text: str
    level: str = "info"


class RegimeChanged(msgspec.Struct, frozen=True, tag_field="kind", tag="regime_changed"):
    """The regime detector changed its mind."""

    seq: int
    seen: int
    before: str
    after: str
    confidence: float | None = None


class StateChanged(msgspec.Struct, frozen=True, tag_field="kind", tag="state_changed"):
    """The trading state moved between active, reducing and halted; ``symbol`` is "" for the
    session as a whole; a symbol, or "*" for all of them, where only exits leave.
    """

    seq: int
    seen: int
    before: str
    after: str
    why: str
    symbol: str = ""


class Failed(msgspec.Struct, frozen=True, tag_field="kind", tag="failed"):
    """The strategy raised: trading is halted."""

    seq: int
    seen: int
    callback: str
    symbol: str
    error: str
    trace: str = ""


class StrategyChanged(msgspec.Struct, frozen=True, tag_field="kind", tag="strategy_changed"):
    """From this event on the strategy of the last `Upgraded` decides."""

    seq: int
    seen: int
    strategy: str
    frozen_sha256: str


class Saved(msgspec.Struct, frozen=True, tag_field="kind", tag="saved"):
    """Everything up to an earlier event was written into a snapshot, from which a run goes on.

    Attributes:
        at: number of that event.
        sum: of the journal's last line up to there.
        sha256: of the snapshot's file; no other is trusted.
    """

    seq: int
    seen: int
    at: int
    sum: str
    sha256: str


Note = Denied | Recorded | Logged | RegimeChanged | StateChanged | Failed | StrategyChanged | Saved
Output = Request | Note
