"""Folds a run into its drift, live and from the journal: by the same code, to the same numbers."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from regimeflow.analytics.drift import (
    Drift,
    DriftRow,
    Expectation,
    csv_header,
    csv_line,
    performance_of,
)
from regimeflow.analytics.report import Report
from regimeflow.data.calendars import session_of
from regimeflow.engine.engine import Engine
from regimeflow.errors import SessionError
from regimeflow.model.events import (
    Adjusted,
    Clock,
    EndOfDay,
    Fill,
    Finish,
    Input,
    OrderUpdate,
    Output,
    Start,
    Timer,
)
from regimeflow.model.market import Bar, Bars, Book, Quote, Trade
from regimeflow.session.companions import Account, Shadow, Twin, account_of
from regimeflow.session.rerun import Rerun

DRIFT_NAME = "live_drift.csv"
PERFORMANCE_NAME = "live_performance.json"
#: How often files are written while bars rush past.
_EVERY_S = 1.0
_NS_PER_MINUTE = 60_000_000_000
#: So many rows are kept in memory; the file and the journal have all of them.
MOST_ROWS = 40_000


def drift(
    run_dir: str | Path, baseline: Report | str | Path | None = None, *, strategy: object = None
) -> Drift:
    """Return the drift of a recorded run, from its journal alone; see `Drift`.

    The numbers are those that the session itself had, to the last bit.

    Args:
        run_dir: the run's directory.
        baseline: a report, or the file of one. Its models are those of shadow and twin; those of
            the run without it, or where it brings returns only.
        strategy: what the twin runs, up to the first upgrade; the one frozen with the run without
            it.

    Raises:
        JournalError: there is no journal, or a line of it was altered.
        SessionError: the frozen strategy is missing or not to be trusted.
    """
    report = Report.load(baseline) if isinstance(baseline, str | Path) else baseline
    model = report.model if report is not None else None
    rerun = Rerun(Path(run_dir), model, strategy)
    fold = DriftFold(rerun.books, rerun.shadow, rerun.twin, report)
    for event, outputs in rerun.events():
        fold.follow(event, outputs)
    return fold.drift()


class DriftFold:
    """A companion that notes the three ledgers at each close.

    It must follow after shadow and twin. On ticks it notes at most once a minute: the first one of
    each. What it keeps is one row per note; between notes a tick costs a comparison.

    Args:
        engine: of the run.
        shadow, twin: those beside it.
        baseline: what was expected, or None.
    """

    def __init__(
        self, engine: Engine, shadow: Shadow, twin: Twin, baseline: Report | None = None
    ) -> None:
        self._engine = engine
        self._report = baseline
        self._expectation: Expectation | None = None
        self.purses: tuple[_Purse, ...] = (
            _Purse(
                lambda: account_of(engine.desk.ledger, engine, 0),
                lambda: engine.desk.ledger.equity(engine.price),
                engine,
            ),
            _Purse(shadow.account, shadow.equity, engine),
            _Purse(twin.account, twin.equity, engine),
        )
        self._beside: tuple[Shadow | Twin, ...] = (shadow, twin)
        self._counts = [0, 0]
        self._jumped = [0.0, 0.0]
        #: Final rows; the one of the newest close may still change and is not among them.
        self.rows: list[DriftRow] = []
        #: How many rows became final; of old ones only every other is kept, again and again.
        self.count = 0
        self._open: DriftRow | None = None
        self._start = self._peak = self._day_equity = 0.0
        self._day = (0, 0)
        self._start_ts = 0
        self._on_bars = False
        self._minute = -1
        self._tick = 0
        self.deepest = 0.0

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take note of an event."""
        kind = event.__class__
        if kind in _MARKET:
            self._settle(event.ts)
            self._watch_fills()
            if self._on_bars:
                if kind is Bar or kind is Bars:
                    self._note(event.ts)
            elif kind is Trade or kind is Quote:
                self._on_tick(event.ts)
        elif kind is Fill:
            self.purses[0].look()
            if self._open is not None and event.ts <= self._open.time:
                self._open = self._row(self._open.time)  # booked at the close it was noted at
            else:
                self._settle(event.ts)
        elif isinstance(event, Adjusted) and event.is_cost:
            self._settle(event.ts)
            self.purses[0].look()
        elif kind is Start:
            self._begin(event)  # type: ignore[arg-type]
        elif kind is Finish or kind is EndOfDay:
            self._watch_fills()
            if kind is Finish:
                self._end(event.ts)
        else:
            self._settle(event.ts)
            if kind not in _HARMLESS:
                for purse in self.purses:
                    purse.compare()

    def drift(self) -> Drift:
        """Return the drift so far; may be called from any thread."""
        start = self._engine.start
        newest, rows = self._open, list(self.rows)
        if newest is not None and (not rows or rows[-1].time < newest.time):
            rows.append(newest)
        return Drift(
            rows,
            start=self._start,
            start_ts=self._start_ts,
            baseline=self._expectation,
            total=self.total,
            strategy=start.strategy if start is not None else "",
            run=self.run,
            flavour=start.flavour if start is not None else "pandas",
            timezone=(start.timezone or None) if start is not None else "UTC",
            timeframe=start.finest if start is not None else 0,
        )

    @property
    def start(self) -> float:
        """Equity at the beginning, money."""
        return self._start

    @property
    def run(self) -> str:
        """Name of the run, "" before it begins."""
        return self._engine.start.run if self._engine.start is not None else ""

    @functools.cached_property
    def total(self) -> float:
        """The baseline's return over its whole period, a fraction; NaN without one."""
        metrics: Mapping[str, float] = self._report.metrics if self._report is not None else {}
        return metrics.get("total_return", math.nan)

    # ------------------------------------------------------------ rows

    def _begin(self, start: Start) -> None:
        if self._start_ts:
            return
        finest = min((t for t in start.timeframes if t), default=0)
        self._on_bars = finest > 0
        if self._report is not None:
            self._expectation = Expectation(self._report, finest)
        for purse in self.purses:
            purse.look()
        # Before the first price a position is worth what was paid for it.
        ledger = self._engine.desk.ledger
        self._start = ledger.equity(lambda symbol: ledger.position(symbol).average_price)
        self._start_ts = start.ts
        self._peak = self._day_equity = self._start

    def _on_tick(self, ts: int) -> None:
        self._tick = ts
        minute = ts // _NS_PER_MINUTE
        if minute > self._minute:
            self._minute = minute
            self._note(ts)

    def _note(self, ts: int) -> None:
        """Open a row; bars that come late belong to a row that is written already."""
        if (self._open is not None and ts < self._open.time) or (
            self.rows and ts <= self.rows[-1].time
        ):
            return
        self._open = self._row(ts)

    def _row(self, ts: int) -> DriftRow:
        mine, its, other = self.purses
        live, shadow, twin = mine.equity(), its.equity(), other.equity()
        if not self._day[0] < ts <= self._day[1]:
            self._new_day(ts)
        expectation, peak = self._expectation, max(self._peak, live)
        return DriftRow(
            ts,
            live,
            shadow,
            twin,
            mine.flows,
            live - self._day_equity,
            min(live / peak - 1.0, 0.0) if peak > 0 else 0.0,
            math.nan
            if expectation is None
            else expectation.after(self.count + 1, ts - self._start_ts),
            self.count + 1,
        )

    def _new_day(self, ts: int) -> None:
        start = self._engine.start
        found, places = session_of(start.calendar if start else "", np.array([ts], dtype=np.int64))
        place = int(places[0])
        self._day = int(found.day_start_ns[place]), int(found.day_end_ns[place])
        if self.rows:
            self._day_equity = self.rows[-1].live

    def _settle(self, ts: int) -> None:
        """Close the open row once time has moved on."""
        row = self._open
        if row is not None and ts > row.time:
            # In this order: a reader on another thread may see it twice, but never not at all.
            self.rows.append(row)
            self.count += 1
            if len(self.rows) > MOST_ROWS:
                self.rows[: MOST_ROWS // 2] = self.rows[: MOST_ROWS // 2 : 2]
            self._open = None
            self._peak = max(self._peak, row.live)
            self.deepest = max(self.deepest, -row.drawdown)

    def _end(self, ts: int) -> None:
        self._settle(max(ts, self._open.time + 1) if self._open is not None else ts)
        if not self._on_bars and self.rows and self._tick > self.rows[-1].time:
            self._note(self._tick)
            self._settle(self._tick + 1)

    def _watch_fills(self) -> None:
        counts = [len(companion.fills) for companion in self._beside]
        jumped = [companion.jumped for companion in self._beside]
        if counts == self._counts and jumped == self._jumped:
            return
        for count, before, purse in zip(counts, self._counts, self.purses[1:], strict=True):
            if count != before:
                purse.look()
        for jump, was, purse in zip(jumped, self._jumped, self.purses[1:], strict=True):
            if jump != was:
                purse.anchored(jump - was)
        self._counts, self._jumped = counts, jumped


class _Purse:
    """One ledger's equity without what was paid in or out.

    Whatever changes cash or holdings without being a fill or a cost of the run is such a flow: a
    deposit, an adjustment to the venue's books, a companion set back to the session's holdings.
    """

    def __init__(
        self, account: Callable[[], Account], equity: Callable[[], float], engine: Engine
    ) -> None:
        self._account = account
        self._worth = equity
        self._engine = engine
        self._cash = 0.0
        self._held: Mapping[str, float] = {}
        self.flows = 0.0

    def look(self) -> None:
        """Take cash and holdings as they are: trading brought them there."""
        account = self._account()
        self._cash, self._held = account.cash, account.positions

    def compare(self) -> None:
        """Book a change since the last look as a flow."""
        account, before = self._account(), self._held
        if account.cash == self._cash and account.positions == before:
            return
        engine = self._engine
        self.flows += account.cash - self._cash
        for symbol in sorted({*account.positions, *before}):  # sums depend on the order
            units = account.positions.get(symbol, 0.0) - before.get(symbol, 0.0)
            if units:
                self.flows += units * engine.price(symbol) * engine.instruments[symbol].multiplier
        self._cash, self._held = account.cash, account.positions

    def anchored(self, jump: float) -> None:
        """Book what a companion was set to when the strategy changed as a flow."""
        self.flows += jump
        self.look()

    def equity(self) -> float:
        """Return equity at last prices, less the flows."""
        return self._worth() - self.flows


_MARKET = frozenset({Bar, Bars, Trade, Quote, Book})
#: What cannot move cash or holdings.
_HARMLESS = frozenset({OrderUpdate, Timer, Clock})


# ---------------------------------------------------------------- files


class DriftFiles:
    """A companion that appends to ``live_drift.csv`` and writes ``live_performance.json`` anew.

    It must follow after its fold, and writes at most once a second: all lines that became final. A
    run that is resumed goes on where the file ends; a line that was cut off is taken off first. A
    disk that fails does not stop the run: the files end there, and `error` says why; the journal
    has all of it.

    Args:
        folder: where they go; both are private to the user.
        fold: what to write.
        run: name of the run.
        alone: whether the folder is this run's own: what another run left there ended before its
            journal had begun, and gives way.

    Attributes:
        error: why nothing is written any more, or "".

    Raises:
        SessionError: they cannot be written from the beginning, or are those of another run.
    """

    def __init__(self, folder: Path, fold: DriftFold, run: str, *, alone: bool = False) -> None:
        self._fold = fold
        self._csv = folder / DRIFT_NAME
        self._json = folder / PERFORMANCE_NAME
        self._written = 0
        self._newest = -1
        self._due = 0.0
        self.error = ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._be_of(run, alone)
            self._last = self._mended()
            if self._last < 0:
                self._append(csv_header())
        except OSError as error:
            raise SessionError(f"cannot write {self._csv}: {error.strerror or error}") from error

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Write what has become final."""
        if event.__class__ is Finish:
            self.close()
            return
        waiting = self._fold.count - self._written
        if waiting and (waiting >= MOST_ROWS // 4 or time.monotonic() >= self._due):
            self._write()

    def close(self) -> None:
        """Write all that is final: at the end of the run, whatever ended it."""
        self._write()

    def holds(self, newest: int) -> bool:
        """Whether the file that was there goes as far as a row, by its time in microseconds."""
        return self._last >= newest

    def _write(self) -> None:
        if self.error:
            return
        waiting = self._fold.count - self._written
        rows = self._fold.rows[-waiting:] if waiting else []
        fresh = [row for row in rows if row.time // 1_000 > self._last]
        try:
            self._append("".join(csv_line(row, self._fold.start) for row in fresh))
            self._summarise()
        except OSError as error:
            self.error = f"the drift is not written any more: {error}"
            return
        self._written += waiting
        if rows:
            self._newest = rows[-1].time // 1_000
        self._due = time.monotonic() + _EVERY_S

    def _be_of(self, run: str, alone: bool) -> None:
        """Refuse to go on with the files of another run."""
        try:
            there = msgspec.json.decode(self._json.read_bytes(), type=_Written).run
        except FileNotFoundError:
            return
        except msgspec.MsgspecError:
            there = "something else"
        if there != run and alone:
            self._csv.unlink(missing_ok=True)
            self._json.unlink(missing_ok=True)
        elif there not in ("", run):  # one that ended before it began has no name yet
            raise SessionError(
                f"{self._json} is that of {there}: move it and "
                f"{DRIFT_NAME} away, or choose another output_dir"
            )

    def _mended(self) -> int:
        """Return the last timestamp in the file, microseconds; 0 with none, -1 without a file."""
        try:
            content = self._csv.read_bytes()
        except FileNotFoundError:
            return -1
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) != len(content):
            os.truncate(self._csv, len(whole))
        if not whole:
            return -1
        cell = whole.splitlines()[-1].partition(b",")[0]
        return int(cell) if cell.isdigit() else 0

    def _append(self, text: str) -> None:
        with open(self._csv, "a", encoding="ascii", opener=_private) as file:
            file.write(text)

    def _summarise(self) -> None:
        fold = self._fold
        last = fold.rows[-1] if fold.rows else None
        content = performance_of(last, fold.start, fold.deepest, fold.total, fold.run)
        beside = self._json.with_suffix(".json.part")
        try:
            with open(beside, "wb", opener=_private) as file:
                file.truncate()
                file.write(msgspec.json.format(msgspec.json.encode(content), indent=1))
            beside.replace(self._json)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise


class _Written(msgspec.Struct):
    """Whose the files are."""

    run: str


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
