"""What a session has to know of its venue before it begins, and the link through which it trades.

A venue is historical data that are played (`Simulated`), an adapter to a venue that lives
elsewhere, or such an adapter's market data with the simulator's fills (`Paper`). Everything that
differs between them is here and below; the session asks no more than this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from regimeflow.analytics.report import Report
from regimeflow.data.moments import moment
from regimeflow.engine.engine import Engine
from regimeflow.engine.strategy import Strategy
from regimeflow.errors import ConfigError, DataError
from regimeflow.model.events import Health, Input, Output, Resumed, Start, Upgraded
from regimeflow.model.instrument import Instrument
from regimeflow.model.models import Limits, Model
from regimeflow.model.timeframe import NS_PER_MS, parse_timeframe
from regimeflow.session.backtest import instruments_of, plain_params, start_event
from regimeflow.session.features import compute_of, feature_warmup, with_features
from regimeflow.session.source import name_of, source_hash
from regimeflow.venues.gateway import Gateway
from regimeflow.venues.intervals import Intervals
from regimeflow.venues.matching import Matcher, matched_on
from regimeflow.venues.paper import Paper, PaperLink
from regimeflow.venues.port import Adapter
from regimeflow.venues.runtime import Runtime, Threads
from regimeflow.venues.simulated import Simulated
from regimeflow.venues.tape import Tape

#: Bars from before a session that a strategy is given, where nobody says how many.
WARMUP = 500
#: Limits that are on in every live session, unless they are given.
_DUPLICATE_WINDOW_MS = 250.0


class Link(Protocol):
    """One session's connection to its venue: a source of events and a sink of requests."""

    @property
    def skew_ms(self) -> float | None:
        """How far the venue's clock was ahead of ours when it was last asked; None: never."""

    def events(self) -> Iterator[Input]:
        """Yield events as they come; blocks."""

    def send(self, outputs: Sequence[Output]) -> None:
        """Carry out the requests among ``outputs``."""

    def recall(self, event: Input, outputs: Sequence[Output]) -> None:
        """Live through an event of the run's earlier life, without sending anything."""

    def saved(self, event: Input) -> object | None:
        """Return what `restore` needs after ``event`` was handled; None between two answers."""

    def restore(self, state: Any) -> None:
        """Be where the run's earlier life was when this was saved."""

    def resume(self, resumed: Resumed) -> None:
        """Begin where the run's earlier life ended, with this event."""

    def command(self, name: str, why: str, who: str) -> None:
        """Pass a command to the engine, from any thread."""

    def pressing(self) -> bool:
        """Whether what comes next is a halt, or was asked for before one that has arrived."""

    def upgrade(self, event: Upgraded) -> None:
        """Pass an upgrade to the engine, from any thread; it overtakes the market."""

    def take_back(self, order_ids: Sequence[str], timeout_ns: int) -> list[str]:
        """Cancel orders when the engine can no longer; return those that may still work."""

    def close(self) -> None:
        """Give up the connection and its threads."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks of a session, besides strategy and venue.

    Attributes:
        account: whose real money it may trade; the venue must name the same one.
    """

    symbols: tuple[str, ...] | None
    timeframe: str | int | None
    warmup: int | None
    cash: float | None
    seed: int
    limits: Limits
    intervals: Intervals
    baseline: Report | None = None
    account: str = ""


class Plan(Protocol):
    """A venue as a session sees it before it begins.

    Attributes:
        name: of the venue.
        start: the session's first event; a live venue fills in what it knows better.
        kinds: symbol -> what its orders match against in a simulation, as in `Matcher`.
        total: how many market events there are, 0 where nobody knows.
        real_time: whether its clock is the real one.
    """

    name: str
    start: Start
    kinds: dict[str, str | int]
    total: int
    real_time: bool

    def link(
        self,
        engine: Engine,
        probe: Callable[[], Health] | None,
        killed: Callable[[], str],
        connecting: Callable[[str], object],
    ) -> Link:
        """Return the connection of a session, not yet open; arguments are those of `Gateway`."""


def plan_of(strategy: Strategy, venue: Any, wish: Wish, run: str) -> Plan:
    """Return the plan of a session on a venue.

    Raises:
        ConfigError: it is no venue, or it needs something that was not given.
    """
    if isinstance(venue, Simulated):
        return SimulatedPlan(strategy, venue, wish, run)
    if isinstance(venue, Paper) or hasattr(venue, "capabilities"):
        return VenuePlan(strategy, venue, wish, run)
    raise ConfigError(f"venue must be one of regimeflow.venues, not {venue!r}")


class SimulatedPlan:
    """Historical data that are played."""

    real_time = True  # at any speed the callbacks take the time they take

    def __init__(self, strategy: Strategy, venue: Simulated, wish: Wish, run: str) -> None:
        self.name = venue.name
        self._venue = venue
        data = venue.dataset(wish.symbols, wish.timeframe)
        # The data as they came: a live run computes its features itself. Here they are only tried.
        with_features(strategy, data, warmup=wish.warmup)
        self._tape = Tape(
            data,
            start=moment(venue.start, venue.timezone),
            end=moment(venue.end, venue.timezone),
            warmup=wish.warmup,
            data_latency_ns=venue.model.latency.data_ns,
        )
        self.total = self._tape.count
        if not self.total:
            raise DataError("the venue has no data after its start: choose an earlier one")
        self.kinds = matched_on(data)
        longest = max((b.timeframe for b in data.bars), default=0)
        self.start = start_event(
            strategy,
            self._tape,
            run=run,
            cash=venue.cash if wish.cash is None else wish.cash,
            model=venue.model,
            rules=instruments_of(data, venue.instruments),
            limits=_live_limits(wish, longest),
            seed=wish.seed,
            warmup=feature_warmup(strategy, data) if wish.warmup is None else wish.warmup,
        )

    def link(
        self,
        engine: Engine,
        probe: Callable[[], Health] | None,
        killed: Callable[[], str],
        connecting: Callable[[str], object],
    ) -> Link:
        return self._venue.connect(self._tape, engine.instruments, self.start, killed, probe)


class VenuePlan:
    """A venue that lives elsewhere; with the simulator's fills where it is only paper."""

    def __init__(self, strategy: Strategy, venue: Paper | Adapter, wish: Wish, run: str) -> None:
        self._paper = venue if isinstance(venue, Paper) else None
        self._adapter: Adapter = venue.feed if isinstance(venue, Paper) else venue
        self.name = venue.name
        self.total = 0
        self.real_time = not hasattr(self._adapter, "runtime")
        if not wish.symbols:
            raise ConfigError(f"a session on {self.name} needs symbols=: which to trade")
        self._wish = wish
        timeframe = 0 if wish.timeframe is None else parse_timeframe(wish.timeframe)
        self._timeframe = timeframe
        warmup = wish.warmup
        if warmup is None and timeframe and compute_of(strategy) is not None:
            raise ConfigError(
                "the strategy has features: give warmup=, the number of bars they are computed on "
                "(a backtest's report says how many suffice)"
            )
        self._warmup = WARMUP if warmup is None else warmup
        quotes = "quote" in self._adapter.capabilities.market_data
        kind: str | int = timeframe or ("quote" if quotes else "trade")
        self.kinds = dict.fromkeys(wish.symbols, kind)
        self._calendar = str(getattr(self._adapter, "calendar", ""))
        cash = wish.cash
        if cash is None and self._paper is not None:
            cash = self._paper.cash
        self._cash = cash
        baseline = wish.baseline
        self.start = Start(
            0,
            0,
            run,
            0,
            wish.symbols,
            (timeframe,) * len(wish.symbols),
            cash or 0.0,
            instruments=tuple(_given_rules(self._paper, wish.symbols)),
            limits=_live_limits(wish, timeframe),
            model=_model(self._paper, baseline),
            seed=wish.seed,
            strategy=name_of(strategy),
            params=plain_params(strategy),
            source_sha256=source_hash(strategy),
            history=strategy.history_depth,
            warmup=self._warmup,
            # The strategy is given frames as in its backtest.
            flavour=baseline.data.flavour if baseline is not None else "pandas",
            timezone=(baseline.data.timezone or "") if baseline is not None else "",
            calendar=self._calendar,
        )

    def link(
        self,
        engine: Engine,
        probe: Callable[[], Health] | None,
        killed: Callable[[], str],
        connecting: Callable[[str], object],
    ) -> Link:
        # A venue that is simulated brings its own time.
        runtime: Runtime = getattr(self._adapter, "runtime", Threads)()
        gateway = Gateway(
            self._adapter,
            runtime,
            self._wish.intervals,
            engine,
            self.start,
            symbols=self.start.symbols,
            timeframe=self._timeframe,
            calendar=self._calendar,
            warmup=self._warmup,
            cash=self._cash,
            run=self.start.run,
            trades=self._paper is None,
            account=self._wish.account,
            probe=probe,
            killed=killed,
            connecting=connecting,
        )
        if self._paper is None:
            return gateway
        return PaperLink(
            gateway, Matcher(self._paper.model, engine.instruments, self.kinds, self.name)
        )


def _given_rules(paper: Paper | None, symbols: Sequence[str]) -> list[Instrument]:
    given = paper.instruments if paper is not None else {}
    return [given[symbol] for symbol in symbols if symbol in given]


def _model(paper: Paper | None, baseline: Report | None) -> Model:
    """Return the assumptions by which sizing leaves room for costs."""
    if paper is not None:
        return paper.model
    if baseline is not None and baseline.model is not None:
        return baseline.model
    return Model()


def _live_limits(wish: Wish, timeframe: int) -> Limits:
    """Return the limits with those that every live session has."""
    limits, changes = wish.limits, {}
    if limits.duplicate_window_ms is None:
        changes["duplicate_window_ms"] = _DUPLICATE_WINDOW_MS
    if limits.max_data_age_ms is None and wish.intervals.hold_when_stale:
        bars_ms = 2 * timeframe / NS_PER_MS + 5_000.0 if timeframe else 0.0
        changes["max_data_age_ms"] = max(wish.intervals.heartbeat_ms, bars_ms)
    return msgspec.structs.replace(limits, **changes)
