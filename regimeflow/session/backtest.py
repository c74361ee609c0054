"""A strategy over a historical frame."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from regimeflow.analytics.fold import PriceColumns, RunData
from regimeflow.analytics.report import Report
from regimeflow.data.frames import Dataset, load
from regimeflow.data.moments import moment
from regimeflow.data.progress import Progress
from regimeflow.engine.column_history import ColumnHistory
from regimeflow.engine.drive import drive, race
from regimeflow.engine.engine import Engine
from regimeflow.engine.strategy import Strategy, as_strategy
from regimeflow.errors import ConfigError, DataError, did_you_mean
from regimeflow.journal import JournalWriter
from regimeflow.model.events import (
    Failed,
    Input,
    Output,
    Recorded,
    RegimeChanged,
    Start,
)
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import BarColumns
from regimeflow.model.models import Costs, FillModel, Latency, Limits, Model
from regimeflow.model.timeframe import iso
from regimeflow.redaction import HIDDEN, is_secret
from regimeflow.session import freeze
from regimeflow.session.collector import rare_collections
from regimeflow.session.features import feature_warmup, with_features
from regimeflow.session.run_dir import open_run
from regimeflow.session.source import name_of, source_hash
from regimeflow.venues.matching import Matched, Matcher, matched_on
from regimeflow.venues.tape import Tape


def backtest(
    strategy: Any,
    data: Any,
    *,
    symbols: str | Sequence[str] | None = None,
    timeframe: str | int | None = None,
    label: str = "open",
    timezone: str = "UTC",
    cash: float = 100_000.0,
    costs: Costs | None = None,
    fills: FillModel | None = None,
    latency: Latency | None = None,
    limits: Limits | None = None,
    instruments: Mapping[str, Instrument] | Iterable[Instrument] | None = None,
    calendar: str | None = None,
    benchmark: Any = None,
    start: Any = None,
    end: Any = None,
    seed: int = 0,
    journal: str | Path | None = None,
    progress: bool | Callable[[float], None] | None = None,
    on_bad: str = "raise",
) -> Report:
    """Run a strategy over historical data and return its report.

    Args:
        strategy: a `Strategy`, its class, or a function ``f(ctx, bar)``. It is copied: running it
            twice gives the same report twice.
        data: one frame, a mapping symbol -> frame, or one long frame with a ``symbol`` column;
            pandas or polars; bars, trades or quotes. It is never changed.
        symbols: which to use, and in which order; names a single frame.
        timeframe: of the bars, such as "1min"; inferred without it.
        label: whether bars are labelled by their "open" or their "close" time.
        timezone: what naive times mean.
        cash: money at the start.
        costs, fills, latency: assumptions, written into the report.
        limits: risk limits; all off without them.
        instruments: trading rules, for symbols whose default does not fit.
        calendar: exchange calendar such as "XNYS"; UTC days without it.
        benchmark: a symbol of the data, or a frame of bars, to compare with.
        start, end: when trading begins and ends; earlier bars are history.
        seed: of ``ctx.rng``.
        journal: a directory to write the run into, for `certify` and `replay`.
        progress: True or False shows a bar or not (None: where it takes long); a callable is told
            the fraction done.
        on_bad: "raise" refuses bad rows, "drop" leaves them out and says so.

    Raises:
        DataError: data that cannot be used, with the first offending row.
        StrategyError: the strategy raised; ``.report`` holds the report up to there.

    >>> import regimeflow as rf
    >>> frame = rf.datasets.synthetic(n=300)
    >>> report = rf.backtest(lambda ctx, bar: ctx.target(bar.symbol, qty=10), frame)
    >>> len(report.fills)
    1
    """
    own = _copied(as_strategy(strategy))
    dataset = load(
        data,
        symbols=symbols,
        timeframe=timeframe,
        label=label,
        timezone=timezone,
        calendar=calendar,
        on_bad=on_bad,
    )
    model = Model(fills=fills or FillModel(), costs=costs or Costs(), latency=latency or Latency())
    featured = with_features(own, dataset)
    rules = instruments_of(dataset, instruments)
    tape = Tape(
        dataset,
        start=moment(start, timezone),
        end=moment(end, timezone),
        data_latency_ns=model.latency.data_ns,
    )
    if not tape.count:
        raise DataError("there is no data between start and end: widen them")
    begin = start_event(own, tape, run="bt", cash=cash, model=model, rules=rules, seed=seed,
                        limits=limits or Limits())  # fmt: skip
    writer = None
    if journal is not None:
        frozen = freeze.freeze(own)
        manifest = freeze.describe(own, run=begin.run, frozen=frozen, venue="backtest")
        begin = msgspec.structs.replace(
            begin,
            frozen_sha256=manifest.frozen_sha256,
            warmup=feature_warmup(own, dataset),
        )
        writer = open_run(Path(journal), manifest, frozen, sync=False)
    run = _Run(own, tape, featured, begin, model)
    run.go(progress, writer)
    return run.report(dataset, benchmark, timezone)


def _copied(strategy: Strategy) -> Strategy:
    """Return a copy of the strategy, so that running it leaves no trace on the user's own."""
    try:
        return copy.deepcopy(strategy)
    except Exception as error:
        raise ConfigError(
            f"{name_of(strategy)} holds something that cannot be copied ({error}): "
            "open files and connections in a callback, not before the run"
        ) from error


class _Run:
    """One backtest under way: engine, venue, and what they leave behind."""

    def __init__(
        self, strategy: Strategy, tape: Tape, featured: Dataset, begin: Start, model: Model
    ) -> None:
        self.strategy = strategy
        self.tape = tape
        self.begin = begin
        self.history = ColumnHistory(
            featured.bars, strategy.history_depth, data_latency_ns=model.latency.data_ns
        )
        self.engine = Engine(strategy, self.history)
        self.matcher = Matcher(model, self.engine.instruments, matched_on(tape.data))
        self.interrupted = False
        self._venue = _Market(self._segments, self.matcher)
        self._progress: Callable[[int], None] | None = None

    def _segments(self) -> Iterator[Iterable[Input]]:
        yield self.tape.head(self.begin)
        for segment in self.tape.segments(self._progress):
            yield segment
            if self._venue.failed:
                return

    def go(self, progress: Any, journal: JournalWriter | None) -> None:
        """Run to the end, an interrupt or a failure of the strategy."""
        tape = self.tape
        bars_alone = len(tape.bars) == 1 and not tape.trades and not tape.quotes
        with Progress(progress, tape.count, name_of(self.strategy)) as shown:
            self._progress = shown.to
            try:
                with rare_collections():
                    if journal is not None:
                        drive(self.engine, self._venue, journal)
                    else:
                        race(self.engine, self._venue, bars_alone=bars_alone)
            except KeyboardInterrupt:
                self.interrupted = True
            finally:
                if journal is not None:
                    journal.close()

    def report(self, dataset: Dataset, benchmark: Any, timezone: str) -> Report:
        """Return the report; raise the strategy's failure with the report on it."""
        engine, kept = self.engine, self._venue.notes
        failure = engine.failure
        last = engine.event.ts if failure is None else failure.ts
        stopped = self.interrupted or failure is not None
        notes = [
            f"1 bad row of {symbol} was dropped"
            if n == 1
            else f"{n:,} bad rows of {symbol} were dropped"
            for symbol, n in dataset.dropped.items()
        ]
        if self.interrupted:
            notes.append(f"interrupted at {iso(last)}")
        run = RunData(
            start=self.begin,
            fills=self.matcher.fills
            if not stopped
            else [f for f in self.matcher.fills if f.ts <= last],
            orders=list(engine.desk.orders.values()),
            records=[n for n in kept if isinstance(n, Recorded)],
            prices=prices_of(self.tape, last if stopped else None),
            timeframe=min((b.timeframe for b in dataset.bars), default=0),
            flavour=dataset.flavour,
            timezone=dataset.timezone,
            calendar=dataset.calendar,
            benchmark=_benchmark(benchmark, dataset, timezone),
            regimes=[n for n in kept if isinstance(n, RegimeChanged)],
            notes=tuple(notes),
            assumed=tuple(n for n in dataset.notes if "dropped" not in n),
            source_hash=self.begin.source_sha256,
            fingerprint=lambda: dataset.fingerprint,
            error=str(failure) if failure is not None else "",
        )
        report = Report(run)
        if failure is not None:
            failure.report = report
            raise failure from failure.__cause__
        return report


class _Market(Matched):
    """The market of a backtest; keeps those notes of the engine that a report shows."""

    def __init__(self, segments: Callable[[], Iterable[Iterable[Input]]], matcher: Matcher) -> None:
        super().__init__(segments, matcher)
        self.notes: list[Output] = []
        self.failed = False

    def send(self, outputs: Sequence[Output]) -> None:
        """Take requests, and keep notes."""
        Matched.send(self, outputs)
        for output in outputs:
            kind = output.__class__
            if kind in _KEPT:
                self.notes.append(output)
                self.failed = self.failed or kind is Failed


_KEPT: frozenset[type] = frozenset({Recorded, RegimeChanged, Failed})


def start_event(
    strategy: Strategy,
    tape: Tape,
    *,
    run: str,
    cash: float,
    model: Model,
    rules: Sequence[Instrument],
    limits: Limits,
    seed: int,
    warmup: int = 0,
) -> Start:
    """Return the event that decides everything about a run besides its later events."""
    data = tape.data
    series = [(b.symbol, b.timeframe) for b in data.bars]
    with_bars = {symbol for symbol, _ in series}
    series += [(symbol, 0) for symbol in data.symbols if symbol not in with_bars]
    places = {symbol: place for place, symbol in enumerate(data.symbols)}
    series.sort(key=lambda pair: (places[pair[0]], pair[1]))
    # A run begins where its first bar does, not where that bar closes.
    at = tape.begins
    return Start(
        at,
        at,
        run,
        0,
        tuple(symbol for symbol, _ in series),
        tuple(timeframe for _, timeframe in series),
        cash,
        instruments=tuple(rules),
        limits=limits,
        model=model,
        seed=seed,
        strategy=name_of(strategy),
        params=plain_params(strategy),
        source_sha256=source_hash(strategy),
        history=strategy.history_depth,
        warmup=warmup,
        flavour=data.flavour,
        timezone=data.timezone or "",
        calendar=data.calendar,
    )


def plain_params(strategy: Strategy) -> dict[str, Any]:
    """Return the parameters as JSON can carry them; what it cannot stands as text."""
    return {name: _plain(name, value) for name, value in strategy.params.items()}


def _plain(name: str, value: Any) -> Any:
    if is_secret(name):
        return HIDDEN
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return repr(value)
    return value if isinstance(value, bool | int | float | str | type(None)) else repr(value)


def instruments_of(
    dataset: Dataset, given: Mapping[str, Instrument] | Iterable[Instrument] | None
) -> list[Instrument]:
    """Return the trading rules of every symbol, the usual ones where none were given."""
    chosen: dict[str, Instrument] = {}
    if isinstance(given, Mapping):
        chosen = dict(given)
    elif given is not None:
        chosen = {i.symbol: i for i in given}
    for symbol in chosen:
        if symbol not in dataset.symbols:
            raise ConfigError(
                f"instruments= names {symbol!r}, which is not in the data."
                f"{did_you_mean(symbol, dataset.symbols)}"
            )
    rules = []
    for symbol in dataset.symbols:
        rule = chosen.get(symbol, Instrument.default(symbol))
        if dataset.calendar and not rule.calendar:
            rule = msgspec.structs.replace(rule, calendar=dataset.calendar)
        rules.append(rule)
    return rules


def prices_of(tape: Tape, until: int | None) -> list[PriceColumns]:
    """Return what equity is marked at: closes of the finest bars, else last trades or mids."""
    prices: dict[str, PriceColumns] = {}
    for quotes in tape.quotes:
        prices[quotes.symbol] = _last_per_time(
            quotes.symbol, quotes.ts, (quotes.bid + quotes.ask) / 2
        )
    for trades in tape.trades:
        prices[trades.symbol] = _last_per_time(trades.symbol, trades.ts, trades.price)
    finest: dict[str, BarColumns] = {}
    for bars in tape.bars:
        known = finest.get(bars.symbol)
        if known is None or bars.timeframe < known.timeframe:
            finest[bars.symbol] = bars
    for symbol, bars in finest.items():
        prices[symbol] = PriceColumns(symbol, bars.ts, bars.close)
    chosen = [prices[s] for s in tape.data.symbols if s in prices]
    if until is None:
        return chosen
    stops = [int(np.searchsorted(p.ts, until, side="right")) for p in chosen]
    return [
        PriceColumns(p.symbol, p.ts[:n], p.close[:n]) for p, n in zip(chosen, stops, strict=True)
    ]


def _last_per_time(symbol: str, ts: Any, price: Any) -> PriceColumns:
    last = np.append(ts[1:] != ts[:-1], True)
    return PriceColumns(symbol, ts[last], price[last])


def _benchmark(benchmark: Any, dataset: Dataset, timezone: str) -> PriceColumns | None:
    if benchmark is None:
        return None
    if isinstance(benchmark, str):
        bars = [b for b in dataset.bars if b.symbol == benchmark]
        if not bars:
            raise ConfigError(
                f"benchmark {benchmark!r} is not in the data."
                f"{did_you_mean(benchmark, dataset.symbols)}"
            )
        return PriceColumns(benchmark, bars[0].ts, bars[0].close)
    other = load(benchmark, calendar=dataset.calendar or None, timezone=timezone)
    if not other.bars:
        raise DataError("benchmark= must be bars: a frame with open, high, low and close")
    return PriceColumns(other.bars[0].symbol, other.bars[0].ts, other.bars[0].close)
