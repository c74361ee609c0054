"""A strategy on a venue, wherever its work is done, written down as it goes."""

from __future__ import annotations

import atexit
import inspect
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, get_args

import msgspec

from regimeflow.analytics.drift import Drift
from regimeflow.analytics.execution_quality import ExecutionQuality
from regimeflow.analytics.report import Report
from regimeflow.data.out import frame
from regimeflow.data.progress import Progress
from regimeflow.engine.strategy import as_strategy
from regimeflow.errors import ConfigError, SessionBusy, SessionError, StrategyError, did_you_mean
from regimeflow.journal import Disk
from regimeflow.model.events import Fill, Health, Start
from regimeflow.model.models import Limits
from regimeflow.model.text import escape, whole_text
from regimeflow.session import freeze
from regimeflow.session.able import within_capabilities
from regimeflow.session.alerts import Alert
from regimeflow.session.backtest import plain_params
from regimeflow.session.check import Checkup, check_session
from regimeflow.session.companions import Account
from regimeflow.session.control import Gone
from regimeflow.session.detached import Detached, launch, worker_of
from regimeflow.session.health import lagging
from regimeflow.session.in_process import InProcess, same_run
from regimeflow.session.metrics import LiveMetrics
from regimeflow.session.plan import Wish
from regimeflow.session.real_money import (
    LAST,
    Finding,
    check_account,
    conditions,
    is_real_money,
    refuse,
)
from regimeflow.session.recorded import report_of
from regimeflow.session.run_dir import BASELINE_NAME
from regimeflow.session.same_cell import another, wanted_symbols
from regimeflow.session.source import name_of, source_hash
from regimeflow.session.spec import OnKernelLoss, Spec
from regimeflow.session.status import Status
from regimeflow.session.upgrade import (
    Upgrade,
    UpgradeWish,
    When,
    changes_of,
    check_features,
    check_when,
    keep,
)
from regimeflow.session.worker import Worker, check_resume
from regimeflow.venues.intervals import Intervals

#: How long a wait sleeps at a time, so that an interrupt is answered.
_SLICE_S = 0.05


class LiveSession:
    """One strategy on one venue, from `start` to `stop`.

    The strategy runs in a thread of its own, or detached in a process of its own, as a frozen copy:
    what is changed in the notebook afterwards does not reach it. Everything that goes in and comes
    out is in the journal in ``run_dir``, from which `regimeflow.certify` proves what happened.

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
        dry_run: orders are written down and never sent.
        on_kernel_loss: what a detached session does when the last process that controls it is gone
            without `release`. "continue": trades on. "pause": only exits leave. "cancel": cancels
            working orders besides, positions stay. "flatten": leaves every position, then halts.
            `attach` lifts a pause that was made so.
        disk: where the journal is written; the real one without it.
        audit_format: of ``audit.log``, "csv" or "jsonl".
        alert: hears of every degraded state: a callable that is given a machine's reason, such as
            "feed", and a sentence, or the address of a webhook. Of a detached session it is called
            there.
        redact: takes secrets out of text that is written into the audit log or told.
        output_dir: where ``live_drift.csv`` and ``live_performance.json`` go; ``run_dir`` without
            it.
        intervals: how patient to be with the venue.

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

    def __new__(cls, strategy: Any, venue: Any, *, run_dir: str | Path, **given: Any) -> Self:
        """Return the session that runs in this directory already, if it is the same one.

        Raises:
            SessionError: another strategy runs there, or with other arguments.
        """
        running = _running(Path(run_dir))
        if running is None:
            return super().__new__(cls)
        wanted = as_strategy(strategy)
        asked = running._worker.asked()
        if (source_hash(wanted), plain_params(wanted)) != (asked.source_sha256, asked.params):
            raise SessionError(
                f"{asked.strategy} runs in {run_dir} with another source or other parameters: "
                "session.upgrade changes a running session on purpose; or choose another directory"
            )
        if running._spec is not None:  # else it was begun elsewhere: with what, is not known here
            differs = another(running._spec, venue, {**_DEFAULTS, **given})
            if differs:
                raise SessionError(
                    f"the session that runs in {run_dir} goes on as it was begun: {differs}. "
                    "Stop it, or choose another directory"
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
        on_kernel_loss: OnKernelLoss = "cancel",
        intervals: Intervals | None = None,
        disk: Disk | None = None,
        audit_format: str = "csv",
        alert: Alert | str | None = None,
        redact: Callable[[str], str] | None = None,
        output_dir: str | Path | None = None,
    ) -> None:
        if "_worker" in self.__dict__:
            return  # the cell was run again: this is the session that runs already
        given = as_strategy(strategy)
        if baseline is not None and baseline.model is None:
            raise ConfigError("the baseline report has no model of fills and costs: make it anew")
        if on_kernel_loss not in get_args(OnKernelLoss):
            hint = did_you_mean(str(on_kernel_loss), get_args(OnKernelLoss))
            raise ConfigError(
                "on_kernel_loss must be continue, pause, cancel or flatten, "
                f"not {on_kernel_loss!r}.{hint}"
            )
        self.run_dir = Path(run_dir)
        self.venue = venue
        self.baseline = baseline
        self.intervals = intervals or Intervals()
        wish = Wish(
            symbols=wanted_symbols(symbols),
            timeframe=timeframe,
            warmup=warmup,
            cash=cash,
            seed=seed,
            limits=limits or Limits(),
            intervals=self.intervals,
            baseline=baseline,
        )
        run = f"{_slug(name_of(given))}-{uuid.uuid4().hex[:8]}"
        frozen = freeze.freeze(given)
        manifest = freeze.describe(given, run=run, frozen=frozen, venue=repr(venue))
        self._spec: Spec | None = Spec(
            frozen,
            manifest,
            venue,
            wish,
            self.run_dir,
            dry_run,
            on_kernel_loss,
            disk,
            audit_format,
            alert,
            redact,
            None if output_dir is None else Path(output_dir),
        )
        self._lock = threading.Lock()
        self._worker: Worker = InProcess(self._spec)

    @classmethod
    def _onto(cls, run_dir: Path, worker: Worker) -> Self:
        """Return a session whose work is done, or was done, elsewhere."""
        self = super().__new__(cls)
        self.run_dir = run_dir
        self.venue = None
        saved = run_dir / BASELINE_NAME
        self.baseline = Report.load(saved) if saved.is_file() else None
        self.intervals = Intervals()
        self._spec = None
        self._lock = threading.Lock()
        self._worker = worker
        return self

    # ------------------------------------------------------------ run and stop

    def arm(self, account: str) -> Self:
        """Say that this session may trade the real money of an account.

        Real money needs, besides, a complete set of limits and a process of its own; `check` names
        what is missing. At every connection the venue must say that it is this account, its clock
        must agree with ours, and the books must agree, before any order leaves.

        Args:
            account: its number at the venue, or the last four characters of it.

        Raises:
            ConfigError: that is too short.
            SessionError: there is no real money here, or the session has begun.
        """
        named = check_account(account)
        with self._lock:
            spec = self._spec
            if spec is None or self.status.phase != "new":
                raise SessionError(f"this session is {self.status.phase}: arm it before the start")
            if not is_real_money(spec.venue):
                raise SessionError(f"{spec.venue!r} has no real money: there is nothing to arm")
            wish = msgspec.structs.replace(spec.wish, account=named)
            manifest = msgspec.structs.replace(spec.manifest, armed_for=named[-LAST:])
            self._spec = spec._replace(wish=wish, manifest=manifest)
            self._worker = InProcess(self._spec)
        return self

    def _within_capabilities(self) -> list[Finding]:
        """Return what is asked for against what the venue can do, where it lives elsewhere."""
        spec = self._spec
        if spec is None or not hasattr(spec.venue, "capabilities"):
            return []
        begin = self._worker.begin
        timeframe = min(begin.timeframes, default=0)
        return list(within_capabilities(spec.venue, spec.manifest.source, begin.limits, timeframe))

    def _real_money(self, detached: bool) -> list[Finding]:
        """Return the conditions for real money, none where there is none."""
        spec = self._spec
        if spec is None or spec.dry_run or not is_real_money(spec.venue):
            return []
        limits, wish = self._worker.begin.limits, spec.wish
        return list(conditions(limits, wish.intervals, wish.account, detached=detached))

    def start(self, detached: bool = False) -> Self:
        """Begin, and return at once. A session that runs already goes on.

        Args:
            detached: in a process of its own, which outlives the notebook. Where the very same
                session runs so already, this is from now on a handle on it, as from `attach`.

        Raises:
            SessionBusy: another process or session owns ``run_dir``.
            SessionError: it has ended already, ``run_dir`` holds another run, or it is about real
                money and a condition for that is missing.
        """
        with self._lock:
            phase = self.status.phase
            if phase == "running":
                return self
            if phase != "new" or self._spec is None:
                raise SessionError(f"this session is {phase}: make a new one")
            refuse(self._real_money(detached))
            if detached:
                self._worker = self._elsewhere(self._spec)
                _RUNNING[self.run_dir.resolve()] = self
            else:
                self._here()
        return self

    def _here(self) -> None:
        work = self._worker
        assert isinstance(work, InProcess)
        place = self.run_dir.resolve()

        def forget() -> None:
            _RUNNING.pop(place, None)

        work.when_over(forget)
        _RUNNING[place] = self  # before it begins: it may be over in no time
        try:
            work.start()
        except BaseException as error:
            forget()
            if not isinstance(error, SessionBusy):
                raise
            raise SessionBusy(f"{error}; regimeflow.attach leads to it if it is detached") from None

    def _elsewhere(self, spec: Spec) -> Worker:
        """Return the work in a process of its own: the one that runs, or a new one."""
        try:
            found = Detached(self.run_dir)
        except Gone:
            launch(spec)
            return Detached(self.run_dir)
        try:
            same_run(found.begin, self._worker.begin, str(self.run_dir))
        except SessionError as error:
            found.release()
            found.forget()
            raise SessionError(
                f"{error}; to change the strategy on purpose, regimeflow.attach and session.upgrade"
            ) from None
        return found

    def run(self, progress: bool | None = None) -> Self:
        """Start and wait for the end; an interrupt stops the session cleanly."""
        self.start()
        return self.wait(progress=progress)

    def wait(self, timeout_s: float | None = None, progress: bool | None = None) -> Self:
        """Wait for the end of the data or of a stop.

        An interrupt stops the session cleanly; a detached one goes on, and only the waiting ends.

        Raises:
            SessionError: the session broke, with what broke it as its cause.
        """
        status, worker = self.status, self._worker
        if status.phase == "new":
            raise SessionError("this session has not been started: call start() first")
        until = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            with Progress(progress, status.total, status.strategy) as shown:
                while not worker.ended(_SLICE_S):
                    if status.total:
                        shown.to(min(self.status.done, status.total))
                    if until is not None and time.monotonic() >= until:
                        return self
                shown.to(status.total)
        except KeyboardInterrupt:
            if worker.unharmed:
                return self
            self.stop(why="interrupted")
        self._raise()
        return self

    def stop(self, why: str = "stop", timeout_s: float = 30.0, *, who: str = "user") -> Self:
        """Send no more orders, cancel the working ones, end the run; positions stay.

        Here and below, ``why`` and ``who`` go into the journal.

        Raises:
            SessionError: it did not end within ``timeout_s``, or the session broke.
        """
        if self.status.phase == "new":
            raise SessionError("this session has not been started")
        worker = self._worker
        if not worker.ended(0.0):
            try:
                worker.command("stop", why, who)
            except SessionError:
                if self.status.phase == "running":
                    raise  # else it ends by itself, and is only to be waited for
            if not worker.ended(timeout_s):
                raise SessionError(f"the session did not end within {timeout_s:g} s")
        self._raise()
        return self

    def halt(self, why: str = "halt", *, who: str = "user") -> None:
        """Cancel every working order and send nothing more until `resume`."""
        self._command("halt", why, who)

    def pause(self, why: str = "pause", *, who: str = "user") -> None:
        """Let only exits leave until `resume`; working orders stay."""
        self._command("pause", why, who)

    def resume(self, why: str = "resume", *, who: str = "user") -> None:
        """Trade again after a halt or a pause; a strategy that failed does not come back.

        Raises:
            SessionError: the strategy has failed, or the kill file lies there still.
        """
        check_resume(self._worker)
        self._command("resume", why, who)

    def flatten(self, why: str = "flatten", *, who: str = "user") -> None:
        """Cancel every working order, leave every position, then halt."""
        self._command("flatten", why, who)

    def upgrade(
        self,
        strategy: Any,
        when: When = "flat",
        why: str = "",
        *,
        warmup: int | None = None,
    ) -> Upgrade:
        """Let another strategy take this session over, and return what that changes.

        It is frozen as at the start and begins with ``initialize`` and ``on_start``; indicators and
        features see the bars that the session has kept, up to the larger of the two strategies'
        ``history_depth``. Orders, positions, limits and the trading state stay; timers of the
        earlier strategy no longer fire. A strategy that failed can be mended so: the session stays
        halted until `resume`. Shadow and twin are set to what the session then holds.

        Args:
            strategy: as in `regimeflow.backtest`.
            when: "next_bar" with the next bar or tick; "flat" with the first one that finds nothing
                held and nothing working. A later upgrade replaces one that still waits.
            why: goes into the journal, the audit log and the session's log.
            warmup: bars that its ``features`` are computed on; as many as before without it.

        Raises:
            ConfigError: it has features, the one before had none, and ``warmup`` is missing.
            SessionError: it is what runs already, it cannot be frozen, or the session is not
                running. Nothing has happened then.
        """
        check_when(when)
        given = as_strategy(strategy)
        phase = self.status.phase
        if phase != "running":
            raise SessionError(f"this session is {phase}: there is nothing to upgrade")
        worker = self._worker
        frozen = freeze.freeze(given)
        before = worker.manifest()
        after = freeze.describe(given, run=before.run, frozen=frozen, venue=before.venue)
        changes = changes_of(self.run_dir, worker.history().frozen_sha256, before, after)
        if not changes:
            raise SessionError(
                f"{after.strategy} with this source and these parameters is what runs already"
            )
        check_features(given, warmup, worker.asked().warmup)
        sha256 = keep(self.run_dir, frozen, after)
        worker.upgrade(UpgradeWish(sha256, when, warmup or 0, whole_text(why)))
        return Upgrade(after.strategy, when, changes, why)

    def release(self) -> None:
        """Let a detached session go on without this process, which may then end.

        Without it, the end of the last process that started or attached to a session is a loss, and
        ``on_kernel_loss`` is obeyed. The session can still be looked at and steered from here.

        Raises:
            SessionError: it is not detached: it ends with this process.
        """
        self._worker.release()

    def _command(self, name: str, why: str, who: str) -> None:
        phase = self.status.phase
        if phase != "running":
            raise SessionError(f"this session is {phase}: there is nothing to {name}")
        self._worker.command(name, why, who)

    def _raise(self) -> None:
        error = self._worker.broken_by()
        if error is not None:
            raise SessionError(f"the session broke: {error}") from error

    # ------------------------------------------------------------ look at it

    @property
    def worker(self) -> Worker:
        """Where its work is done, for those who show sessions: what they read, and steer by."""
        return self._worker

    @property
    def status(self) -> Status:
        """What the session looks like: a snapshot that does not change."""
        return self._worker.status()

    @property
    def state(self) -> str:
        """Trading state: "active", "reducing", "halted", or "ended"; see `Status`."""
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
        return self._worker.failure()

    @property
    def fills(self) -> Any:
        """Executions so far, as a frame."""
        return _fills_frame(list(self._worker.history().fold.fills), self._worker.begin)

    @property
    def shadow_fills(self) -> Any:
        """The shadow's executions so far, as a frame."""
        return _fills_frame(self._worker.companion_fills("shadow"), self._worker.begin)

    @property
    def twin_fills(self) -> Any:
        """The twin's executions so far, as a frame."""
        return _fills_frame(self._worker.companion_fills("twin"), self._worker.begin)

    @property
    def positions(self) -> dict[str, float]:
        """Symbol -> units held."""
        return dict(self.status.live.positions)

    @property
    def log(self) -> Any:
        """What was logged and what changed the trading state, as a frame."""
        rows, begin = list(self._worker.history().log), self._worker.begin
        columns: dict[str, Any] = {
            "time": [at for at, _, _ in rows],
            "level": [level for _, level, _ in rows],
            "text": [text for _, _, text in rows],
        }
        return frame(
            columns,
            begin.flavour,
            begin.timezone or None,
            text_columns=("level", "text"),
        )

    @property
    def orders(self) -> Any:
        """Orders so far, denied ones included, as a frame with the names of ``report.orders``."""
        orders, begin = list(self._worker.history().fold.orders.values()), self._worker.begin
        columns: dict[str, Any] = {
            "time": [o.created for o in orders],
            "order_id": [o.id for o in orders],
        }
        for name in ("symbol", "side", "type", "status", "tif", "reason", "tag"):
            columns[name] = [str(getattr(o, name)) for o in orders]
        for name in ("qty", "filled", "limit", "stop", "fees"):
            columns[name] = [_float(getattr(o, name)) for o in orders]
        columns["average_price"] = [_float(o.average_price if o.filled else None) for o in orders]
        text = ("order_id", "symbol", "side", "type", "status", "tif", "reason", "tag")
        return frame(columns, begin.flavour, begin.timezone or None, text_columns=text)

    @property
    def health(self) -> Health | None:
        """How the process that trades is doing, None before it was looked at."""
        return lagging(self._worker.history().health, self.status.lag_ms)

    @property
    def slippage(self) -> Any:
        """One row an execution: what it cost against its reference and its arrival, as a frame."""
        return self.execution_quality().frame()

    def execution_quality(self) -> ExecutionQuality:
        """Return how well orders were executed so far."""
        return self._worker.quality()

    def drift(self) -> Drift:
        """Return live, shadow, twin and baseline so far, bar by bar."""
        return self._worker.drift(self.baseline)

    @property
    def metrics(self) -> LiveMetrics:
        """What Prometheus is told: a snapshot at most a second old."""
        return self._worker.metrics()

    def check(self) -> Checkup:
        """Return what stands between this session and trading, one line each."""
        worker = self._worker
        return check_session(
            self.run_dir,
            worker.begin,
            self.status,
            self.baseline,
            worker.killed(),
            worker.failures,
            self._real_money(detached=isinstance(worker, Detached)),
            self._within_capabilities(),
        )

    def report(self) -> Report:
        """Return the report of the run so far: a fold over its journal, as after its end."""
        self._worker.flush()
        return report_of(self.run_dir)

    def __repr__(self) -> str:
        status = self.status
        return f"<LiveSession {status.strategy} on {status.venue}: {status.phase}>"

    def _repr_html_(self) -> str:
        remark = self._worker.remark
        said = f"<div style='opacity:.7'>{escape(remark)}</div>" if remark else ""
        return f"<div>{self.status._repr_html_()}{said}</div>"


def attach(run_dir: str | Path) -> LiveSession:
    """Return a handle on the session of a run directory: the same object, wherever its work is.

    Onto a detached session, or one from the command line, it has the same state and the whole
    history, and steers it; this process then holds a lease on it (see `LiveSession.release`). A
    pause that the loss of an earlier controller made is lifted. Of a session that has ended, it is
    the finished state, to be looked at.

    Args:
        run_dir: the run's directory.

    Raises:
        SessionError: there is no run, or it lives inside another process that has no socket.

    Example:
        >>> import tempfile
        >>> import regimeflow as rf
        >>> venue = rf.venues.Simulated(rf.datasets.synthetic(n=100), speed=None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     session = rf.LiveSession(lambda ctx, bar: None, venue, run_dir=folder).run()
        ...     rf.attach(folder).status.phase
        'stopped'
    """
    path = Path(run_dir)
    running = _running(path)
    if running is not None:
        return running
    session = LiveSession._onto(path, worker_of(path))
    if session.status.phase == "running":
        _RUNNING[path.resolve()] = session
    return session


def look(run_dir: str | Path) -> LiveSession:
    """Return a handle as `attach` does, without a lease: looking controls nothing.

    Raises:
        SessionError: there is no run, or it lives inside another process that has no socket.
    """
    path = Path(run_dir)
    return _running(path) or LiveSession._onto(path, worker_of(path, lease=False))


def _fills_frame(fills: Sequence[Fill], start: Start) -> Any:
    columns: dict[str, Any] = {"time": [f.executed_at or f.ts for f in fills]}
    for name in ("symbol", "side"):
        columns[name] = [getattr(f, name) for f in fills]
    for name in ("qty", "price", "fee"):
        columns[name] = [_float(getattr(f, name)) for f in fills]
    for name in ("order_id", "liquidity", "venue"):
        columns[name] = [getattr(f, name) for f in fills]
    text = ("symbol", "side", "order_id", "liquidity", "venue")
    return frame(columns, start.flavour, start.timezone or None, text_columns=text)


#: Sessions that run and that this process has a handle on, by their directory.
_RUNNING: dict[Path, LiveSession] = {}


def _running(run_dir: Path) -> LiveSession | None:
    """Return the session that runs in a directory, if this process has a handle on it."""
    place = run_dir.resolve()
    session = _RUNNING.get(place)
    if session is not None and session._worker.ended(0.0):
        _RUNNING.pop(place, None)
        return None
    return session


def _forget_after_fork() -> None:
    """Let a forked child know nothing of its parent's sessions, and hold none of their files."""
    for session in _RUNNING.values():
        session._worker.forget()
    _RUNNING.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


@atexit.register
def _leave() -> None:
    """Obey ``on_kernel_loss`` while there is still time, for the sessions that end with us."""
    for session in list(_RUNNING.values()):
        worker = session._worker
        if isinstance(worker, InProcess):
            try:
                worker.leave()
            except KeyboardInterrupt:
                return


def _signature() -> inspect.Signature:
    """Return what help and Jupyter show of a session: `__new__` only looks for a running one."""
    whole = inspect.signature(LiveSession.__init__)
    return whole.replace(parameters=list(whole.parameters.values())[1:])


setattr(LiveSession, "__signature__", _signature())  # noqa: B010  no attribute of a session
_DEFAULTS = {name: given.default for name, given in _signature().parameters.items()}


def _float(value: float | None) -> float:
    return float("nan") if value is None else value


def _slug(name: str) -> str:
    """Return a name that every venue takes in a client order id, and takes for nobody else's."""
    kept = "".join(c if c.isalnum() and c.isascii() else "-" for c in name).strip("-").lower()
    if f"{kept}-".startswith(_OTHERS):
        kept = f"rf-{kept}"
    return kept[:12].rstrip("-") or "run"


#: So begin the ids of orders that exchanges give to brokers and to orders of their own.
_OTHERS = ("x-", "autoclose-")
