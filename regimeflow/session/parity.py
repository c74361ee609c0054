"""Names the gap between a backtest and a recorded live run, in money and adding up."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from regimeflow.analytics.parity import Ledgers, Parity, split
from regimeflow.analytics.report import Report
from regimeflow.data.frames import Dataset, load
from regimeflow.engine.engine import Engine
from regimeflow.errors import ConfigError, DataError
from regimeflow.journal import events
from regimeflow.model.events import EndOfDay, Fill, Finish, Input, Start, Upgraded
from regimeflow.model.market import Bar, Bars, History, Quote, Trade
from regimeflow.session.backtest import plain_params
from regimeflow.session.rerun import LateShadow, Rerun, with_changes
from regimeflow.session.source import source_hash
from regimeflow.venues.tape import Tape


def parity(
    report: Report,
    run_dir: str | Path,
    *,
    history: Any = None,
    strategy: Any = None,
    label: str = "open",
    timezone: str = "UTC",
) -> Parity:
    """Return the gap between a backtest and a live run, split by cause; see `Parity`.

    The strategy is run again on what the run saw, under the report's models and limits: that is
    the backtest. The run's own requests are filled by the same models. What lies between the two
    are decisions; what lies between the second and the recorded executions is the venue.

    Args:
        report: whose models and limits are the measure.
        run_dir: of the live run.
        history: the market as it stands now, in any form that `regimeflow.backtest` takes. With it
            the backtest is made on this data, and the row "data" is what the difference to the bars
            that the run saw is worth. Without it that row is 0.00.
        strategy: what decides in the backtest, up to the first upgrade of the run; the one frozen
            with the run without it.
        label, timezone: of ``history``, as in `regimeflow.backtest`.

    Raises:
        ConfigError: the report has no models: it holds returns only.
        DataError: ``history`` cannot be used, or does not cover the run.
        JournalError: there is no journal, or a line of it was altered.
        SessionError: the frozen strategy is missing or not to be trusted.
    """
    model = report.model
    if model is None:
        raise ConfigError(
            "this report has returns only, no model of fills and costs: make one with rf.backtest, "
            "or use rf.drift, which needs returns only"
        )
    rerun = Rerun(Path(run_dir), model, strategy, report.data.start.limits)
    books, survey = rerun.books, rerun.survey
    late = LateShadow(model, books, survey.matched_on, survey.arrivals)
    for event, outputs in rerun.events():
        late.follow(event, outputs)
    ledgers = Ledgers(
        start=rerun.start,
        live=[*survey.orders.fills, *survey.adjusted],
        expected=[*rerun.shadow.fills, *rerun.shadow.anchored],
        late=[*late.fills, *late.anchored],
        twin=[*rerun.twin.fills, *rerun.twin.anchored],
        marks=_marks(books, rerun.start, survey.orders.fills),
        costs=model.costs,
        orders=list(survey.orders.orders.values()),
        paid=[payment.cash for payment in survey.orders.payments],
    )
    if history is not None:
        ledgers = _with_history(ledgers, rerun, _load(history, rerun.start, label, timezone))
    start = rerun.start
    return msgspec.structs.replace(
        split(ledgers),
        strategy=start.strategy,
        params=start.params,
        run=start.run,
        differs=_differs(report, rerun, strategy),
    )


def _marks(engine: Engine, start: Start, fills: Sequence[Fill]) -> dict[str, float]:
    """Return last prices; a symbol that never had one is worth what was paid for it."""
    marks = {symbol: average for symbol, (_, average) in start.positions.items()}
    marks |= {fill.symbol: fill.price for fill in fills}
    for symbol in dict.fromkeys((*start.symbols, *marks)):
        price = engine.price(symbol)
        if price:
            marks[symbol] = price
    return marks


def _differs(report: Report, rerun: Rerun, strategy: Any) -> str:
    """Return how the strategy of the report differs from that of the run, in words, or ""."""
    start = rerun.start
    if strategy is None:
        params, source, whose = start.params, start.source_sha256, "the run's"
    else:
        given = rerun.load()
        params, source, whose = plain_params(given), source_hash(given), "the one given"
    words = []
    if strategy is None and report.strategy != start.strategy:
        words.append(f"the report is of {report.strategy}, the run of {start.strategy}")
    elif report.source_hash and source and report.source_hash != source:
        words.append(f"the report's source is not {whose}")
    words += [
        f"{name} is {report.params.get(name)!r} in the report and {params.get(name)!r} here"
        for name in sorted({*report.params, *params})
        if report.params.get(name) != params.get(name)
    ]
    return "; ".join(words)


# ---------------------------------------------------------------- history as it stands now


def _load(history: Any, start: Start, label: str, timezone: str) -> Dataset:
    symbols = list(dict.fromkeys(start.symbols))
    lengths = {timeframe for timeframe in start.timeframes if timeframe}
    return load(
        history,
        symbols=symbols,
        timeframe=next(iter(lengths)) if len(lengths) == 1 else None,
        label=label,
        timezone=timezone,
        calendar=start.calendar or None,
    )


def _with_history(ledgers: Ledgers, rerun: Rerun, dataset: Dataset) -> Ledgers:
    """Return the ledgers with a twin on history as it stands now."""
    twin = rerun.new_twin()
    now = AsNow(dataset, rerun)
    for event in now.events(with_changes(events(rerun.run_dir))):
        if isinstance(event, Upgraded):
            twin.expect(event)
        else:
            twin.follow(rerun.for_twin(event), ())
    return msgspec.structs.replace(
        ledgers,
        now=[*twin.fills, *twin.anchored],
        marks_now=_marks(twin.engine, rerun.start, ledgers.live),
        data_note=now.note(),
    )


class AsNow:
    """A run's market with every bar and tick as history has it now.

    What history lacks is left out, what it has beyond the recorded is put in, all else (clock, ends
    of days) stays as it was. Warm-up, and what was spliced to it before the first live bar, stays
    warm-up; where history does not reach back to it, as recorded.

    Args:
        dataset: history.
        rerun: the recorded run.

    Raises:
        DataError: history does not reach into the run.
    """

    def __init__(self, dataset: Dataset, rerun: Rerun) -> None:
        survey = rerun.survey
        first = min(rerun.start.ts, survey.first - 1)
        self._tape = Tape(dataset, start=first, end=survey.last)
        if not self._tape.count:
            raise DataError("history= has nothing of the time that the run covers")
        self._dataset = dataset
        self._carried: tuple[str, ...] = ()
        # What history has and no recorded event was held against yet.
        self._unseen: dict[tuple[Any, ...], deque[Bar | Trade | Quote]] = {}
        # The newest bar of each series that was told as history before the market began.
        self._warmed: dict[tuple[str, int], int] = {}
        self.compared = self.changed = self.missing = 0

    def events(self, recorded: Iterable[Input]) -> Iterator[Input]:
        """Yield the run's inputs with the market replaced."""
        groups = self._groups()
        ts, group = next(groups, _END)
        for event in recorded:
            kind = event.__class__
            if kind is History:
                if not self.compared:
                    self._warmed[event.symbol, event.timeframe] = event.ts  # type: ignore[union-attr]
                yield self._warm(event)  # type: ignore[arg-type]
                continue
            there = _things(event)
            # Everything of one moment comes with its first event, and the day ends after it.
            until = event.ts if there or kind in (EndOfDay, Finish) else -1
            self._learn(there)
            while ts <= until:
                yield from self._at(group, event.seen)
                ts, group = next(groups, _END)
            if there:
                self._compare(there)
            else:
                yield event

    def _groups(self) -> Iterator[tuple[int, list[Bar | Trade | Quote]]]:
        """Yield history's market by moment."""
        ts, group = -1, list[Bar | Trade | Quote]()
        for segment in self._tape.segments():
            for event in segment:
                things = _things(event)
                if things and event.ts != ts and group:
                    yield ts, group
                    group = []
                if things:
                    ts = event.ts
                    group.extend(things)
        if group:
            yield ts, group

    def _at(self, group: Sequence[Bar | Trade | Quote], seen: int) -> Iterator[Input]:
        """Yield a moment's events as they would have been let in: ticks, then its bars together."""
        replace = msgspec.structs.replace
        bars = []
        for thing in group:
            if isinstance(thing, Bar) and thing.ts <= self._warmed.get(_series(thing), -1):
                continue
            self._unseen.setdefault(_key(thing), deque()).append(thing)
            if isinstance(thing, Bar):
                features = {n: (thing.features or {}).get(n) for n in self._carried} or None
                bars.append(replace(thing, seen=seen, features=features))
            else:
                yield replace(thing, seen=seen)
        if len(bars) == 1:
            yield bars[0]
        elif bars:
            yield Bars(bars[0].ts, seen, tuple(bars))

    def _learn(self, things: Sequence[Bar | Trade | Quote]) -> None:
        """Note which columns the run's bars carried: only those are handed on."""
        if things and not self._carried and isinstance(things[0], Bar) and things[0].features:
            self._carried = tuple(things[0].features)

    def _compare(self, recorded: Sequence[Bar | Trade | Quote]) -> None:
        for thing in recorded:
            self.compared += 1
            here = self._unseen.get(_key(thing))
            if here is None:
                self.missing += 1
                continue
            if _values(here.popleft()) != _values(thing):
                self.changed += 1
            if not here:
                del self._unseen[_key(thing)]

    def _warm(self, event: History) -> History:
        """Return warm-up bars with the values that history has for them."""
        series = next(
            (
                bars
                for bars in self._dataset.bars
                if (bars.symbol, bars.timeframe) == (event.symbol, event.timeframe)
            ),
            None,
        )
        if series is None:
            return event
        places = {ts: place for place, ts in enumerate(series.ts.tolist())}
        columns: dict[str, list[float]] = {}
        for name in ("open", "high", "low", "close", "volume"):
            values, now = list(getattr(event, name)), getattr(series, name)
            for row, ts in enumerate(event.times):
                if ts in places:
                    values[row] = float(now[places[ts]])
            columns[name] = values
        return msgspec.structs.replace(event, **columns)

    def note(self) -> str:
        """Return how history differs from what the run saw, in words."""
        added = sum(map(len, self._unseen.values()))
        return (
            f"of {self.compared:,} bars and ticks that the run saw, history has {self.changed:,} "
            f"otherwise and lacks {self.missing:,}; it has {added:,} that the run did not see"
        )


_END: tuple[int, list[Bar | Trade | Quote]] = (2**63 - 1, [])


def _things(event: Input) -> Sequence[Bar | Trade | Quote]:
    """Return what of the market an event brings that history can have; nothing for all others."""
    if isinstance(event, Bars):
        return tuple(event.bars)
    return (event,) if isinstance(event, Bar | Trade | Quote) else ()


def _series(bar: Bar) -> tuple[str, int]:
    return bar.symbol, bar.timeframe


def _key(thing: Bar | Trade | Quote) -> tuple[Any, ...]:
    # Ticks of one moment have no name: those of one kind and symbol are told apart by their order.
    if isinstance(thing, Bar):
        return (Bar, thing.ts, thing.symbol, thing.timeframe)
    return (thing.__class__, thing.ts, thing.symbol)


def _values(thing: Bar | Trade | Quote) -> tuple[float, ...]:
    if isinstance(thing, Bar):
        return thing.open, thing.high, thing.low, thing.close, thing.volume
    if isinstance(thing, Trade):
        return thing.price, thing.size
    return thing.bid, thing.ask, thing.bid_size, thing.ask_size
