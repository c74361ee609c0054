"""A strategy on a venue, in a thread of its own, written down as it goes."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from regimeflow.analytics.report import Report
from regimeflow.data.frames import Dataset
from regimeflow.data.out import frame
from regimeflow.engine.drive import drive
from regimeflow.engine.engine import Engine
from regimeflow.engine.strategy import Strategy, as_strategy
from regimeflow.errors import ConfigError, DataError, JournalError, SessionError, StrategyError
from regimeflow.model.events import (
    Cancel,
    Fill,
    Input,
    Output,
    Start,
)
from regimeflow.model.models import Limits, Model
from regimeflow.model.timeframe import NS_PER_MS
from regimeflow.session import freeze
from regimeflow.session.backtest import instruments_of, start_event
from regimeflow.session.companions import Account, Shadow, Twin, account_of, rolling_history
from regimeflow.session.features import feature_warmup, with_features
from regimeflow.session.keeper import Keeper, SharedJournal
from regimeflow.session.moments import moment
from regimeflow.session.progress import Progress
from regimeflow.session.recorded import report_of
from regimeflow.session.run_dir import open_run
from regimeflow.session.source import name_of
from regimeflow.session.status import Status
from regimeflow.venues.matching import matched_on
from regimeflow.venues.simulated import Simulated
from regimeflow.venues.tape import Tape

#: How long a wait sleeps at a time, so that an interrupt is answered.
_SLICE_S = 0.05
#: How often a snapshot is made while events rush past.
_SNAPSHOT_S = 0.1
#: Limits that are on in every live session, unless they are given: an age for prices depends on the
#: bars, see `_live_limits`.
_DUPLICATE_WINDOW_MS = 250.0
_HEARTBEAT_MS = 30_000.0


class LiveSession:
    """One strategy on one venue, from `start` to `stop`.

    The strategy runs in a thread of its own, as a frozen copy: what is changed in the notebook
    afterwards does not reach it. Everything that goes in and comes out is in the journal in
    ``run_dir``, from which `regimeflow.certify` proves what happened.

    Args:
        strategy: as in `regimeflow.backtest`.
        venue: such as ``rf.venues.Simulated(frame, start="2014-01-01", speed=None)``.
        symbols: which to trade; all that the venue has without it.
        timeframe: of the bars.
        baseline: a backtest's report: its fills, costs and latency are what shadow and twin expect.
        limits: risk limits. Where they leave it open, equal orders within 250 ms and prices older
            than twice the bar length (at least 30 s) are denied.
        run_dir: where the journal goes; a directory that holds no other run.
        cash: money the session may use; the venue's without it.
        warmup: bars of each series from before the session that the strategy is given, and that
            ``Strategy.features`` is computed on. Without it the strategy is given all there are,
            and features are computed on as many as were found to suffice.
        seed: of ``ctx.rng``.

    Example:
        >>> import tempfile
        >>> import regimeflow as rf
        >>> data = rf.datasets.synthetic(n=500)
        >>> once = lambda ctx, bar: ctx.target(bar.symbol, qty=10)
        >>> venue = rf.venues.Simulated(data, speed=None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     session = rf.LiveSession(once, venue, run_dir=folder)
        ...     session.run()
        ...     rf.certify(folder, strategy=once).identical
        <LiveSession <lambda> on simulated: stopped>
        True
    """

    def __init__(
        self,
        strategy: Any,
        venue: Simulated,
        *,
        symbols: str | Sequence[str] | None = None,
        timeframe: str | int | None = None,
        baseline: Report | None = None,
        limits: Limits | None = None,
        run_dir: str | Path,
        cash: float | None = None,
        warmup: int | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(venue, Simulated):
            raise ConfigError(f"venue must be one of regimeflow.venues, not {venue!r}")
        given = as_strategy(strategy)
        self.run_dir = Path(run_dir)
        self.venue = venue
        self.baseline = baseline
        chosen = [symbols] if isinstance(symbols, str) else symbols
        self._dataset = venue.dataset(chosen, timeframe)
        # The data as they came: a live run computes its features itself. Here they are only tried.
        with_features(given, self._dataset, warmup=warmup)
        self._name = name_of(given)
        self._frozen = freeze.freeze(given)
        self._run_name = f"{_slug(self._name)}-{uuid.uuid4().hex[:8]}"
        self._manifest = freeze.describe(
            given, run=self._run_name, frozen=self._frozen, venue=repr(venue)
        )
        self._tape = Tape(
            self._dataset,
            start=moment(venue.start, venue.timezone),
            end=moment(venue.end, venue.timezone),
            warmup=warmup,
            data_latency_ns=venue.model.latency.data_ns,
        )
        if not self._tape.count:
            raise DataError("the venue has no data after its start: choose an earlier one")
        self._model: Model = venue.model
        if baseline is not None:
            if baseline.model is None:
                raise ConfigError(
                    "the baseline report has no model of fills and costs: make it anew"
                )
            self._model = baseline.model
        self._begin = self._start(
            given, cash, _live_limits(limits or Limits(), self._dataset), warmup, seed
        )
        strategy_here = freeze.thaw(self._frozen)
        self._engine = Engine(strategy_here, rolling_history(strategy_here, self._begin))
        kinds = matched_on(self._dataset)
        self._shadow = Shadow(self._engine, self._model, kinds)
        self._twin = Twin(freeze.thaw(self._frozen), self._begin, self._model, kinds)
        self._link = venue.connect(self._tape, self._engine.instruments)
        self._keeper = Keeper()
        self._phase = "new"
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="regimeflow-engine", daemon=True)
        self._ended = threading.Event()
        self._journal: SharedJournal | None = None
        self._status = self._snapshot()

    def _start(
        self, strategy: Strategy, cash: float | None, limits: Limits, warmup: int | None, seed: int
    ) -> Start:
        begin = start_event(
            strategy,
            self._tape,
            run=self._run_name,
            cash=self.venue.cash if cash is None else cash,
            model=self.venue.model,
            rules=instruments_of(self._dataset, self.venue.instruments),
            limits=limits,
            seed=seed,
            warmup=feature_warmup(strategy, self._dataset) if warmup is None else warmup,
        )
        return msgspec.structs.replace(begin, frozen_sha256=self._manifest.frozen_sha256)

    # ------------------------------------------------------------ run and stop

    def start(self) -> Self:
        """Begin, and return at once. A session that runs already goes on.

        Raises:
            SessionBusy: another process or session owns ``run_dir``.
            SessionError: it has ended already, or ``run_dir`` holds another run.
        """
        with self._lock:
            if self._phase == "running":
                return self
            if self._phase != "new":
                raise SessionError(f"this session is {self._phase}: make a new one")
            journal = open_run(self.run_dir, self._manifest, self._frozen)
            self._journal = SharedJournal(journal)
            self._phase = "running"
            # Before the feed can say anything, all of it is on the disk: who and what runs here.
            self._link.open(self._tape.head(self._begin))
            self._thread.start()
        return self

    def run(self, progress: bool | None = None) -> Self:
        """Start and wait for the end; an interrupt stops the session cleanly."""
        self.start()
        return self.wait(progress=progress)

    def wait(self, timeout_s: float | None = None, progress: bool | None = None) -> Self:
        """Wait for the end of the data or of a stop; an interrupt stops the session cleanly.

        Raises:
            SessionError: the session broke, with what broke it as its cause.
        """
        if self._phase == "new":
            raise SessionError("this session has not been started: call start() first")
        until = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            with Progress(progress, self._tape.count, self._name) as shown:
                while not self._ended.wait(_SLICE_S):
                    shown.to(min(self._keeper.done, self._tape.count))
                    if until is not None and time.monotonic() >= until:
                        return self
                shown.to(self._tape.count)
        except KeyboardInterrupt:
            self.stop(why="interrupted")
        self._raise()
        return self

    def stop(self, why: str = "stop", timeout_s: float = 30.0) -> Self:
        """Send no more orders, cancel the working ones, end the run; positions stay.

        Raises:
            SessionError: it did not end within ``timeout_s``, or the session broke.
        """
        if self._phase == "new":
            raise SessionError("this session has not been started")
        if not self._ended.is_set():
            self._link.command("stop", why, "user")
            self._link.close(why)
            if not self._ended.wait(timeout_s):
                raise SessionError(f"the session did not end within {timeout_s:g} s")
        self._link.join(timeout_s)
        self._raise()
        return self

    def halt(self, why: str = "halt") -> None:
        """Cancel every working order and send nothing more until `resume`."""
        self._command("halt", why)

    def resume(self, why: str = "resume") -> None:
        """Trade again after a halt; a strategy that failed does not come back."""
        if self.failure is not None:
            raise SessionError(f"the strategy has failed and cannot resume: {self.failure}")
        self._command("resume", why)

    def flatten(self, why: str = "flatten") -> None:
        """Cancel every working order, leave every position, then halt."""
        self._command("flatten", why)

    def _command(self, name: str, why: str) -> None:
        if self._phase != "running":
            raise SessionError(f"this session is {self._phase}: there is nothing to {name}")
        self._link.command(name, why, "user")

    def _raise(self) -> None:
        if self._error is not None:
            raise SessionError(f"the session broke: {self._error}") from self._error

    # ------------------------------------------------------------ look at it

    @property
    def status(self) -> Status:
        """What the session looks like: a snapshot that does not change."""
        if self._phase in ("stopped", "failed", "new"):
            self._status = self._snapshot()
        return self._status

    @property
    def state(self) -> str:
        """Trading state: "active", "reducing" or "halted"."""
        return self.status.state

    @property
    def account(self) -> Account:
        """Money and holdings."""
        return self.status.live

    @property
    def shadow(self) -> Account:
        """What its own orders should have brought by the baseline's models."""
        return self.status.shadow

    @property
    def twin(self) -> Account:
        """What a second strategy, deciding alone by the baseline's models, would have."""
        return self.status.twin

    @property
    def failure(self) -> StrategyError | None:
        """What the strategy raised, with its traceback, or None."""
        return self._engine.failure

    @property
    def fills(self) -> Any:
        """Executions so far, as a frame."""
        return _fills_frame(list(self._keeper.fold.fills), self._dataset)

    @property
    def shadow_fills(self) -> Any:
        """The shadow's executions so far, as a frame."""
        return _fills_frame(list(self._shadow.fills), self._dataset)

    @property
    def twin_fills(self) -> Any:
        """The twin's executions so far, as a frame."""
        return _fills_frame(list(self._twin.fills), self._dataset)

    @property
    def positions(self) -> dict[str, float]:
        """Symbol -> units held."""
        return dict(self.status.live.positions)

    @property
    def log(self) -> Any:
        """What was logged and what changed the trading state, as a frame."""
        rows = list(self._keeper.log)
        columns: dict[str, Any] = {
            "time": [at for at, _, _ in rows],
            "level": [level for _, level, _ in rows],
            "text": [text for _, _, text in rows],
        }
        data = self._dataset
        return frame(columns, data.flavour, data.timezone, text_columns=("level", "text"))

    @property
    def orders(self) -> Any:
        """Orders so far, denied ones included, as a frame."""
        orders = list(self._keeper.fold.orders.values())
        columns: dict[str, Any] = {"time": [o.created for o in orders]}
        for name in ("id", "symbol", "side", "type", "status", "tif", "reason", "tag"):
            columns[name] = [str(getattr(o, name)) for o in orders]
        for name in ("qty", "filled", "average_price", "limit", "stop", "fees"):
            columns[name] = [_float(getattr(o, name)) for o in orders]
        text = ("id", "symbol", "side", "type", "status", "tif", "reason", "tag")
        data = self._dataset
        return frame(columns, data.flavour, data.timezone, text_columns=text)

    def report(self) -> Report:
        """Return the report of the run so far: a fold over its journal, as after its end."""
        if self._journal is None:
            raise SessionError("this session has not been started: there is nothing to report")
        self._journal.flush()
        return report_of(self.run_dir)

    def __repr__(self) -> str:
        return f"<LiveSession {self._name} on {self.venue.name}: {self._phase}>"

    def _repr_html_(self) -> str:
        return self.status._repr_html_()

    # ------------------------------------------------------------ the engine's thread

    def _work(self) -> None:
        journal = self._journal
        try:
            drive(self._engine, self._link, journal, (self._shadow, self._twin, self))
        except BaseException as error:
            self._error = error
            self._keeper.note(self._engine.event.seen, "error", f"the session broke: {error}")
            self._cancel_everything()
        finally:
            if journal is not None:
                try:
                    journal.close()
                except JournalError as error:
                    self._error = self._error or error
            self._link.close("the session ended")
            self._phase = "failed" if self._error is not None else "stopped"
            self._status = self._snapshot()
            self._ended.set()

    def _cancel_everything(self) -> None:
        """Take back what works at the venue: the one request that needs no journal."""
        desk = getattr(self._engine, "desk", None)
        if desk is None:
            return
        seq, seen = self._engine.seq, self._engine.event.seen
        orders = [o.id for group in desk.working.values() for o in group.values()]
        with contextlib.suppress(Exception):
            self._link.send([Cancel(seq, seen, order) for order in orders])

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Keep what notebooks ask for; called on the engine's thread after each event."""
        keeper = self._keeper
        keeper.take(event, outputs)
        now = time.monotonic()
        if now >= keeper.snapshot_due:
            keeper.snapshot_due = now + _SNAPSHOT_S
            self._status = self._snapshot()

    def _snapshot(self) -> Status:
        engine, keeper = self._engine, self._keeper
        if engine.start is None:
            nothing = Account(0, self._begin.cash, self._begin.cash, 0.0, {}, 0)
            live = shadow = twin = nothing
            state, working = "active", 0
        else:
            live = account_of(engine.desk.ledger, engine, len(keeper.fold.fills))
            shadow, twin = self._shadow.account(), self._twin.account()
            state = engine.desk.state
            working = sum(len(group) for group in engine.desk.working.values())
        error = self._error or engine.failure
        return Status(
            self._run_name,
            self._name,
            self.venue.name,
            self._phase,
            state,
            keeper.why,
            keeper.done,
            self._tape.count,
            live,
            shadow,
            twin,
            working,
            str(error) if error is not None else "",
        )


def _live_limits(limits: Limits, dataset: Dataset) -> Limits:
    """Return the limits with those that every live session has."""
    changes: dict[str, float] = {}
    if limits.duplicate_window_ms is None:
        changes["duplicate_window_ms"] = _DUPLICATE_WINDOW_MS
    if limits.max_data_age_ms is None:
        longest = max((b.timeframe for b in dataset.bars), default=0)
        changes["max_data_age_ms"] = max(_HEARTBEAT_MS, 2 * longest / NS_PER_MS + 5_000.0)
    return msgspec.structs.replace(limits, **changes)


def _fills_frame(fills: list[Fill], dataset: Dataset) -> Any:
    columns: dict[str, Any] = {"time": [f.executed_at or f.ts for f in fills]}
    for name in ("symbol", "side"):
        columns[name] = [getattr(f, name) for f in fills]
    for name in ("qty", "price", "fee"):
        columns[name] = [_float(getattr(f, name)) for f in fills]
    for name in ("order_id", "liquidity", "venue"):
        columns[name] = [getattr(f, name) for f in fills]
    text = ("symbol", "side", "order_id", "liquidity", "venue")
    return frame(columns, dataset.flavour, dataset.timezone, text_columns=text)


def _float(value: float | None) -> float:
    return float("nan") if value is None else value


def _slug(name: str) -> str:
    """Return a name that every venue takes in a client order id."""
    kept = "".join(c if c.isalnum() and c.isascii() else "-" for c in name).strip("-").lower()
    return kept[:12].rstrip("-") or "run"
