"""A strategy on a venue, in a thread of its own, written down as it goes."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from regimeflow.analytics.report import Report
from regimeflow.data.out import frame
from regimeflow.engine.drive import drive
from regimeflow.engine.engine import Engine
from regimeflow.engine.strategy import as_strategy
from regimeflow.errors import ConfigError, JournalError, SessionError, StrategyError
from regimeflow.journal import Disk, JournalWriter
from regimeflow.model.events import (
    Command,
    Fill,
    Input,
    Output,
    Start,
)
from regimeflow.model.models import Limits
from regimeflow.session import freeze
from regimeflow.session.backtest import plain_params
from regimeflow.session.companions import Account, Shadow, Twin, account_of, rolling_history
from regimeflow.session.dry_run import DryRun
from regimeflow.session.fold import Fold
from regimeflow.session.keeper import Keeper, SharedJournal
from regimeflow.session.plan import Link, Wish, plan_of
from regimeflow.session.progress import Progress
from regimeflow.session.recorded import report_of
from regimeflow.session.run_dir import continue_run, first_event, open_run
from regimeflow.session.source import name_of, source_hash
from regimeflow.session.status import Status
from regimeflow.venues.settings import Settings

#: How long a wait sleeps at a time, so that an interrupt is answered.
_SLICE_S = 0.05
#: How often a snapshot is made while events rush past.
_SNAPSHOT_S = 0.1


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
        disk: where the journal is written; the real one without it.

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

    def __new__(cls, strategy: Any, venue: Any, *, run_dir: str | Path, **_: Any) -> Self:
        """Return the session that runs in this directory already, if it is the same one.

        Raises:
            SessionError: another strategy runs there.
        """
        running = _RUNNING.get(Path(run_dir).resolve())
        if running is None:
            return super().__new__(cls)
        given = as_strategy(strategy)
        begin = running._begin
        if (source_hash(given), plain_params(given)) != (begin.source_sha256, begin.params):
            raise SessionError(
                f"{running._name} runs in {run_dir} with another source or other parameters: "
                "stop it first, or choose another directory"
            )
        return running  # type: ignore[return-value]

    def __init__(
        self,
        strategy: Any,
        venue: Any,
        *,
        symbols: str | Sequence[str] | None = None,
        timeframe: str | int | None = None,
        baseline: Report | None = None,
        limits: Limits | None = None,
        run_dir: str | Path,
        cash: float | None = None,
        warmup: int | None = None,
        seed: int = 0,
        dry_run: bool = False,
        settings: Settings | None = None,
        disk: Disk | None = None,
    ) -> None:
        if self.__dict__.get("_phase") == "running":
            return  # the cell was run again: this is the session that runs already
        given = as_strategy(strategy)
        if baseline is not None and baseline.model is None:
            raise ConfigError("the baseline report has no model of fills and costs: make it anew")
        self.run_dir = Path(run_dir)
        self.venue = venue
        self.baseline = baseline
        self.settings = settings or Settings()
        self._disk = disk
        self._name = name_of(given)
        self._earlier = first_event(self.run_dir)
        wish = Wish(
            symbols=(symbols,) if isinstance(symbols, str) else tuple(symbols or ()) or None,
            timeframe=timeframe,
            warmup=warmup,
            cash=cash,
            seed=seed,
            limits=limits or Limits(),
            settings=self.settings,
            baseline=baseline,
        )
        earlier = self._earlier
        run = earlier.run if earlier else f"{_slug(self._name)}-{uuid.uuid4().hex[:8]}"
        self._plan = plan_of(given, venue, wish, run)
        self._frozen = freeze.freeze(given)
        self._manifest = freeze.describe(given, run=run, frozen=self._frozen, venue=repr(venue))
        begin = msgspec.structs.replace(
            self._plan.start, frozen_sha256=self._manifest.frozen_sha256
        )
        if earlier is not None:
            _same_run(earlier, begin, self.run_dir)
            self._frozen = freeze.read_frozen(self.run_dir, earlier.frozen_sha256)
        self._begin = self._plan.start = begin
        basis = earlier or begin
        own = freeze.thaw(self._frozen)
        self._engine = Engine(own, rolling_history(own, basis))
        model = baseline.model if baseline is not None and baseline.model else basis.model
        self._shadow = Shadow(self._engine, model, self._plan.kinds)
        self._twin = Twin(freeze.thaw(self._frozen), basis, model, self._plan.kinds)
        link = self._plan.link(self._engine, None, self._killed)
        self._link: Link = DryRun(link) if dry_run else link
        self._keeper = Keeper()
        self._phase = "new"
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="regimeflow-engine", daemon=True)
        self._ended = threading.Event()
        self._journal: SharedJournal | None = None
        self._status = self._snapshot()

    def _killed(self) -> str:
        """Return why everything must halt: the kill file's text, or "" without one."""
        try:
            text = (self.run_dir / KILL_NAME).read_text(errors="replace")[:200].strip()
        except OSError:
            return ""
        return f"kill file: {text}" if text else "kill file"

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
            if self._earlier is None:
                journal = open_run(self.run_dir, self._manifest, self._frozen, disk=self._disk)
            else:
                journal = self._take_up(self._earlier)
            self._journal = SharedJournal(journal)
            self._phase = "running"
            _RUNNING[self.run_dir.resolve()] = self
            # Before the feed can say anything, all of it is on the disk: who and what runs here.
            self._thread.start()
        return self

    def _take_up(self, earlier: Start) -> JournalWriter:
        """Live through the run's earlier life, and let the link begin where it ended."""
        fold = Fold(self._engine, self._link, (self._shadow, self._twin, self))
        journal = continue_run(self.run_dir, earlier.run, fold.take, self._disk)
        try:
            self._link.resume(fold.resumed(self._begin.limits, time.time_ns()))
        except BaseException:
            journal.close()
            raise
        return journal

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
            with Progress(progress, self._plan.total, self._name) as shown:
                while not self._ended.wait(_SLICE_S):
                    if self._plan.total:
                        shown.to(min(self._keeper.done, self._plan.total))
                    if until is not None and time.monotonic() >= until:
                        return self
                shown.to(self._plan.total)
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
            if not self._ended.wait(timeout_s):
                raise SessionError(f"the session did not end within {timeout_s:g} s")
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
        return _fills_frame(list(self._keeper.fold.fills), self._begin)

    @property
    def shadow_fills(self) -> Any:
        """The shadow's executions so far, as a frame."""
        return _fills_frame(list(self._shadow.fills), self._begin)

    @property
    def twin_fills(self) -> Any:
        """The twin's executions so far, as a frame."""
        return _fills_frame(list(self._twin.fills), self._begin)

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
        return frame(
            columns,
            self._begin.flavour,
            self._begin.timezone or None,
            text_columns=("level", "text"),
        )

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
        return frame(columns, self._begin.flavour, self._begin.timezone or None, text_columns=text)

    def report(self) -> Report:
        """Return the report of the run so far: a fold over its journal, as after its end."""
        if self._journal is None:
            raise SessionError("this session has not been started: there is nothing to report")
        self._journal.flush()
        return report_of(self.run_dir)

    def __repr__(self) -> str:
        return f"<LiveSession {self._name} on {self._plan.name}: {self._phase}>"

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
            for part in (journal, self._link):
                try:
                    if part is not None:
                        part.close()
                except BaseException as error:  # the session is over all the same, and says why
                    self._error = self._error or error
            _RUNNING.pop(self.run_dir.resolve(), None)
            self._phase = "failed" if self._error is not None else "stopped"
            self._status = self._snapshot()
            self._ended.set()

    def _cancel_everything(self) -> None:
        """Take back what works at the venue: the one request that needs no journal."""
        desk = getattr(self._engine, "desk", None)
        if desk is None:
            return
        working = [o for group in desk.working.values() for o in group.values()]
        if isinstance(self._error, JournalError):
            # What was decided on the event that could not be recorded has never left.
            working = [o for o in working if o.seq != self._engine.seq]
            self._record_end()
        orders = [o.id for o in working]
        try:
            left = self._link.take_back(orders, self.settings.ns("stop_ms"))
        except Exception as error:
            left, why = orders, f": {error}"
        else:
            why = ""
        if left:
            text = f"{len(left)} orders may still work at the venue{why}: {', '.join(left)}"
            self._keeper.note(self._engine.event.seen, "error", text)

    def _record_end(self) -> None:
        """Write the halt and the cancels down, where the disk is full and space was kept for it."""
        journal = self._journal
        if journal is None or not journal.cancels_only:
            return
        at = self._engine.event.seen + 1
        event = Command(at, at, "halt", "the disk is full", "journal")
        outputs = self._engine.step(event)
        try:
            journal.record(event, outputs)
        except JournalError as error:
            self._keeper.note(at, "error", str(error))
        self.follow(event, outputs)

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
            self._begin.run,
            self._name,
            self._plan.name,
            self._phase,
            state,
            keeper.why,
            keeper.done,
            self._plan.total,
            live,
            shadow,
            twin,
            working,
            str(error) if error is not None else "",
        )


def _fills_frame(fills: list[Fill], start: Start) -> Any:
    columns: dict[str, Any] = {"time": [f.executed_at or f.ts for f in fills]}
    for name in ("symbol", "side"):
        columns[name] = [getattr(f, name) for f in fills]
    for name in ("qty", "price", "fee"):
        columns[name] = [_float(getattr(f, name)) for f in fills]
    for name in ("order_id", "liquidity", "venue"):
        columns[name] = [getattr(f, name) for f in fills]
    text = ("symbol", "side", "order_id", "liquidity", "venue")
    return frame(columns, start.flavour, start.timezone or None, text_columns=text)


def _same_run(earlier: Start, now: Start, run_dir: Path) -> None:
    """Refuse to take up a run with anything else than what it was begun with."""
    for name, words in _SAME:
        before, given = getattr(earlier, name), getattr(now, name)
        if before != given:
            raise SessionError(
                f"{run_dir} holds the run {earlier.run!r}, whose {words}: it was {before!r} and "
                f"would be {given!r} now. Choose another directory, or go on with what it was"
            )


_SAME = (
    ("strategy", "strategy is another one"),
    ("source_sha256", "strategy had another source"),
    ("params", "parameters were others"),
    ("symbols", "symbols were others"),
    ("timeframes", "timeframe was another"),
    ("seed", "seed was another"),
)
#: Sessions that run in this process, by their directory.
_RUNNING: dict[Path, LiveSession] = {}
#: A file of this name in the run directory halts the session.
KILL_NAME = "kill"


def _float(value: float | None) -> float:
    return float("nan") if value is None else value


def _slug(name: str) -> str:
    """Return a name that every venue takes in a client order id."""
    kept = "".join(c if c.isalnum() and c.isascii() else "-" for c in name).strip("-").lower()
    return kept[:12].rstrip("-") or "run"
