"""A session's work done here: an engine on a thread of its own, written down as it goes."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from regimeflow.analytics.drift import Drift
from regimeflow.analytics.execution_quality import ExecutionQuality
from regimeflow.analytics.report import Report
from regimeflow.engine.desk import ACTIVE, HALTED, REDUCING
from regimeflow.engine.drive import drive
from regimeflow.errors import JournalError, RegimeflowError, SessionError, StrategyError
from regimeflow.journal import JournalWriter, Mark, Place, Position
from regimeflow.model.events import Command, Fill, Input, Output, Start, StateChanged
from regimeflow.model.text import whole_text
from regimeflow.session import freeze, snapshot
from regimeflow.session.collector import rare_collections
from regimeflow.session.companions import (
    Account,
    Accounts,
    Shadow,
    Twin,
    account_of,
    anchor_of,
    engine_of,
)
from regimeflow.session.dry_run import DryRun
from regimeflow.session.fold import Fold
from regimeflow.session.health import Probe
from regimeflow.session.keeper import Keeper, SharedJournal
from regimeflow.session.metrics import LiveMetrics
from regimeflow.session.plan import Link, plan_of
from regimeflow.session.records import Records
from regimeflow.session.run_dir import (
    KILL_NAME,
    KillFile,
    continue_run,
    first_event,
    leave_accounts,
    leave_baseline,
    open_run,
)
from regimeflow.session.shelf import Shelf
from regimeflow.session.source import name_of
from regimeflow.session.spec import Spec
from regimeflow.session.state import ENDED
from regimeflow.session.status import CONNECTING, Status
from regimeflow.session.upgrade import UpgradeWish, as_begun, last_upgrade, taken
from regimeflow.session.watchdog import STALLED, Watchdog
from regimeflow.session.worker import check_resume

#: How often a snapshot is made while events rush past.
_SNAPSHOT_S = 0.1
#: How long the end of a process may be held up.
_LEAVE_S = 1.0
REMARK = (
    "The session lives in the process that started it and dies with it: after a kill nothing "
    "cancels its orders until it is started again. start(detached=True) outlives the notebook."
)


class InProcess:
    """One strategy on one venue, in this process.

    Args:
        spec: what the session is made of.

    Raises:
        ConfigError: the venue is none, or needs something that was not given.
        SessionError: the directory holds another run.
    """

    unharmed = False

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._earlier = first_event(spec.run_dir)
        earlier = self._earlier
        run = earlier.run if earlier is not None else spec.manifest.run
        frozen, manifest = spec.frozen, spec.manifest
        plan = self._plan = plan_of(freeze.thaw(frozen), spec.venue, spec.wish, run)
        # The frozen copy may have lost its source text: what counts was taken from the original.
        begin = msgspec.structs.replace(
            plan.start, source_sha256=manifest.source_sha256, frozen_sha256=manifest.frozen_sha256
        )
        if earlier is not None:
            upgraded = last_upgrade(spec.run_dir)
            latest = earlier if upgraded is None else as_begun(earlier, upgraded)
            same_run(latest, begin, str(spec.run_dir))
            frozen = freeze.read_frozen(spec.run_dir, earlier.frozen_sha256)
            self._asked = latest
        else:
            self._asked = begin
        self.begin = plan.start = begin
        self._manifest = manifest
        self._upgrading = threading.Lock()
        basis = earlier or begin
        load = functools.partial(freeze.load_upgrade, spec.run_dir)
        self.engine = engine_of(freeze.thaw(frozen), basis, load)
        baseline = spec.wish.baseline
        model = baseline.model if baseline is not None and baseline.model else basis.model
        self._shadow = Shadow(self.engine, model, plan.kinds)
        anchor = functools.partial(anchor_of, self.engine)
        self.twin = Twin(freeze.thaw(frozen), basis, model, plan.kinds, anchor, load)
        probe = Probe(spec.run_dir)
        self._kill_file = KillFile(spec.run_dir)
        link = plan.link(
            self.engine, lambda: probe.event(0, 0, 0.0, 0), self._kill_file.news, self._connecting
        )
        self.link: Link = DryRun(link) if spec.dry_run else link
        self._watchdog = Watchdog(
            self.engine, spec.wish.intervals, self._stalled, self._look_for_the_kill_file
        )
        self._keeper = Keeper()
        self._shelf = Shelf(spec.run_dir)
        self.records = Records(
            spec.run_dir,
            self.engine,
            self._shadow,
            self.twin,
            baseline,
            self.status,
            self._snapshot,
            lambda: self.link.skew_ms,
            output_dir=spec.output_dir,
            audit_format=spec.audit_format,
            alert=spec.alert,
            redact=spec.redact,
        )
        self._phase = "new"
        #: Why the run has not begun, "" at the first try; None where the venue is no other place.
        self._waits: str | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="regimeflow-engine", daemon=True)
        self._over = threading.Event()
        self._when_over: list[Callable[[], None]] = []
        self._journal: SharedJournal | None = None
        #: How many events lie between two snapshots, where time allows.
        self.snapshot_every = snapshot.EVERY_EVENTS
        self._epoch, self._lived = begin.epoch, 0
        self._remark_due = self._stopping = False
        self._status = self._snapshot()

    @property
    def taken_up(self) -> bool:
        """Whether the run had an earlier life."""
        return self._earlier is not None

    @property
    def remark(self) -> str:
        """What whoever looks at the session should know of it."""
        return REMARK if self._phase == "running" else ""

    def killed(self) -> str:
        """Return why everything must halt, or "" where nothing must."""
        return self._kill_file.why()

    # ------------------------------------------------------------ begin and end

    def start(self) -> None:
        """Begin, and return at once.

        Raises:
            SessionBusy: another process or session owns the run directory.
            SessionError: it holds another run, or was played to its end.
        """
        spec = self._spec
        if self._earlier is None:
            journal = open_run(spec.run_dir, spec.manifest, spec.frozen, disk=spec.disk)
        else:
            journal = self._take_up(self._earlier)
        try:
            self._begin(journal)
        except BaseException as error:
            self._error, self._phase = error, "failed"
            for part in (journal, self.records):
                with contextlib.suppress(Exception):  # what is raised is why it did not begin
                    part.close()
            self._over.set()
            raise

    def _begin(self, journal: JournalWriter) -> None:
        spec = self._spec
        if self._earlier is None:
            if spec.wish.baseline is not None:
                leave_baseline(spec.run_dir, spec.wish.baseline)
            self.records.open(self.begin.run)
        self._snapshots = snapshot.Snapshots(
            spec.run_dir, self._parts(), self._shelf, self.link.saved, self._mark, self._tell
        )
        self._snapshots.begin(
            self._epoch,
            (self._earlier or self.begin).frozen_sha256,
            self._lived,
            self.snapshot_every,
            self.engine.event if self.taken_up else None,
        )
        self._journal = SharedJournal(journal, self._snapshots.saved)
        self.records.begin()
        self._phase = "running"
        self._remark_due = True
        self._status = self._snapshot()
        # Before the feed can say anything, all of it is on the disk: who and what runs here.
        if self._plan.real_time:
            self._watchdog.begin(self._thread)
        self._thread.start()

    def _take_up(self, earlier: Start) -> JournalWriter:
        """Live through the run's earlier life, and let the link begin where it ended."""
        fold = Fold(self.engine, self.link, (self.records, self, self._shelf))
        run_dir, said = self._spec.run_dir, ""

        def since() -> Place | None:
            nonlocal said
            self.records.open(earlier.run)  # the run directory is ours by now
            try:
                head, place, state = snapshot.begin(run_dir, earlier, self._parts(), self._shelf)
            except snapshot.Untrusted as error:
                said = str(error)
                return None
            self.link.restore(state)
            fold.epoch = head.epoch
            return place

        with rare_collections():
            journal = continue_run(run_dir, earlier.run, fold.take, self._spec.disk, since)
        try:
            resumed = fold.resumed(self.begin.limits, time.time_ns())
            self.link.resume(resumed)
        except BaseException:
            journal.close()
            raise
        self._epoch, self._lived = resumed.epoch, fold.count
        if said:
            self._tell(f"no snapshot was begun from, all {fold.count} events were lived: {said}")
        return journal

    def _parts(self) -> snapshot.Parts:
        """Return what the session is made of, as far as a snapshot holds it."""
        return {
            "engine": self.engine,
            "shadow": self._shadow,
            "twin": self.twin,
            "twin's engine": self.twin.engine,
            "keeper": self._keeper,
            **self.records.parts(),
        }

    def _mark(self) -> Mark:
        assert self._journal is not None
        return self._journal.mark()

    def _tell(self, text: str) -> None:
        self._tell_as("warning", text)

    def _tell_as(self, level: str, text: str) -> None:
        self._keeper.note(self.engine.event.seen, level, text)

    def _stalled(self, reason: str, text: str) -> None:
        """Tell that the engine's thread is stuck, or back; on the watchdog's thread."""
        self._tell_as("error" if reason == STALLED else "warning", text)
        self.records.say(reason, text)

    def _look_for_the_kill_file(self) -> None:
        """Halt where the file is there, though the engine's thread may be stuck."""
        why = self._kill_file.news()
        if why:
            self.link.command("halt", why, "kill file")

    def _connecting(self, why: str) -> None:
        """Say why the run has not begun, wherever somebody may look: no event tells of it."""
        first, self._waits = not self._waits, why
        self._status = self._snapshot()
        if why:
            self._keeper.note(time.time_ns(), "warning", f"the run has not begun: {why}")
            self.records.not_begun(self.begin.run, why, alert=first)

    def when_over(self, told: Callable[[], None]) -> None:
        """Call ``told`` on the engine's thread once everything is over."""
        self._when_over.append(told)

    def ended(self, timeout_s: float) -> bool:
        """Wait for the end for so long, and return whether it has come."""
        return self._over.wait(timeout_s)

    def command(self, name: str, why: str, who: str) -> None:
        """Pass a command to the engine.

        Raises:
            SessionError: it is to resume although the strategy has failed, or while the kill file
                lies there still.
        """
        if name == "resume":
            self._refuse_to_resume()
        self._stopping = self._stopping or name == "stop"
        self.link.command(name, whole_text(why), whole_text(who))

    def _refuse_to_resume(self) -> None:
        check_resume(self)
        if self.killed():
            path = self._spec.run_dir / KILL_NAME
            raise SessionError(f"the session stays halted while there is {path}: remove it first")

    def asked(self) -> Start:
        """Return what the run would begin with now: with the strategy last asked for."""
        return self._asked

    def manifest(self) -> freeze.Manifest:
        """Return the manifest of the strategy last asked for."""
        return self._manifest

    def upgrade(self, wish: UpgradeWish) -> None:
        """Let a strategy that lies in the run directory take over.

        Raises:
            SessionError: it is not to be trusted, or cannot be loaded.
        """
        with self._upgrading:
            deciding = self._keeper.frozen_sha256
            event, self._manifest = taken(self._spec.run_dir, wish, self._manifest, deciding)
            self._asked = as_begun(self._asked, event)
            self.link.upgrade(event)

    def release(self) -> None:
        """Refuse: nothing would be left of it."""
        raise SessionError(
            "this session runs in this very process and ends with it: stop() it, or start it with "
            "detached=True to be able to leave it"
        )

    def forget(self) -> None:
        """Let go of the journal after a fork: it is the parent's."""
        if self._journal is not None:
            self._journal.forget()

    def leave(self) -> None:
        """Do what ``on_kernel_loss`` says, in the little time that an ending process has."""
        policy = self._spec.on_kernel_loss
        if self._stopping:
            return  # whoever asked has waited as long as they liked
        why = f"the process ends: on_kernel_loss is {policy!r}"
        if policy == "flatten":
            self.command("flatten", why, "exit")
            self._over.wait(_LEAVE_S)
        if policy in ("cancel", "flatten"):
            self.command("stop", why, "exit")
            self._over.wait(_LEAVE_S)
        else:
            self.flush()

    # ------------------------------------------------------------ look at it

    def status(self) -> Status:
        """Return what the session looks like."""
        if self._phase != "running":
            self._status = self._snapshot()
        status, watchdog = self._status, self._watchdog
        if watchdog.lag_ms and self._phase == "running":
            return msgspec.structs.replace(status, lag_ms=watchdog.lag_ms, stalled=watchdog.stalled)
        return status

    def failure(self) -> StrategyError | None:
        """Return what the strategy raised, or None."""
        return self.engine.failure

    def broken_by(self) -> BaseException | None:
        """Return what broke the session, or None."""
        return self._error

    def history(self) -> Keeper:
        """Return orders, fills and log up to now."""
        return self._keeper

    def companion_fills(self, who: str) -> Sequence[Fill]:
        """Return the executions of "shadow" or "twin"."""
        return list(self.twin.fills if who == "twin" else self._shadow.fills)

    def quality(self) -> ExecutionQuality:
        """Return execution quality up to now."""
        return self.records.quality.result()

    def drift(self, baseline: Report | None) -> Drift:
        """Return the drift up to now."""
        return self.records.drift.drift()

    def metrics(self) -> LiveMetrics:
        """Return what Prometheus is told."""
        return self.records.meter.latest()

    @property
    def failures(self) -> Sequence[str]:
        """What could not be kept or told."""
        watchdog = self._watchdog.failure
        return [*self.records.failures, *([watchdog] if watchdog else [])]

    def flush(self) -> Position | None:
        """Have everything up to now in the journal's files, and return how far that is."""
        if self._journal is None:
            raise SessionError("this session has not been started: there is nothing to report")
        return self._journal.flush()

    def look(self) -> tuple[Status, Position | None]:
        """Return the status, and up to where the journal is in its files."""
        return self.status(), self.flush()

    # ------------------------------------------------------------ the engine's thread

    def _work(self) -> None:
        journal = self._journal
        try:
            companions = (self.records, self, self._snapshots, self._watchdog)
            drive(self.engine, self.link, self, companions, self.link.pressing)
        except BaseException as error:
            self._watchdog.close()
            self._broke(error)
            self._cancel_everything()
        finally:
            for part in (self._watchdog, journal, self.link, self.records):
                try:
                    if part is not None:
                        part.close()
                except BaseException as error:  # the session is over all the same, and says why
                    if self._error is None:
                        self._broke(error)
            self._phase = "failed" if self._error is not None else "stopped"
            self._status = status = self._snapshot()
            with contextlib.suppress(OSError):  # the journal has all of it
                accounts = Accounts(status.run, status.live, status.shadow, status.twin)
                leave_accounts(self._spec.run_dir, accounts)
            self._over.set()
            for told in self._when_over:
                told()

    def _broke(self, error: BaseException) -> None:
        """Say what ended the session, wherever somebody may look: no event tells of it."""
        self._error = error
        ours = isinstance(error, RegimeflowError)
        what = str(error) if ours else f"{type(error).__name__}: {error}"
        self._tell_as("error", f"the session broke: {what}")
        self.records.broke(f"the session broke: {what}")

    def _cancel_everything(self) -> None:
        """Take back what works at the venue: the one request that needs no journal."""
        desk = getattr(self.engine, "desk", None)
        if desk is None:
            return
        working = [o for group in desk.working.values() for o in group.values()]
        # Exits of what has filled stay, as with any other halt: the venue holds them.
        working = [o for o in working if not desk.protects(o)]
        if isinstance(self._error, JournalError):
            # What was decided on the event that could not be recorded has never left.
            working = [o for o in working if o.seq != self.engine.seq]
            self._record_end()
        orders = [o.id for o in working]
        try:
            left = self.link.take_back(orders, self._spec.wish.intervals.ns("stop_ms"))
        except Exception as error:
            left, why = orders, f": {error}"
        else:
            why = ""
        if left:
            text = f"{len(left)} orders may still work at the venue{why}: {', '.join(left)}"
            self._keeper.note(self.engine.event.seen, "error", text)

    def _record_end(self) -> None:
        """Write the halt and the cancels down, where the disk is full and space was kept for it."""
        journal = self._journal
        if journal is None or not journal.cancels_only:
            return
        at = self.engine.event.seen + 1
        event = Command(at, at, "halt", "the disk is full", "journal")
        outputs = self.engine.step(event)
        try:
            journal.record(event, outputs)
        except JournalError as error:
            self._keeper.note(at, "error", str(error))
        self.follow(event, outputs)

    def record(self, event: Input, outputs: Sequence[Output]) -> None:
        """Write an event and its outputs down, and show at once what a command has changed."""
        assert self._journal is not None
        self._journal.record(event, outputs)
        if event.__class__ is Command:
            for output in outputs:
                if isinstance(output, StateChanged) and not output.symbol:
                    self._status = msgspec.structs.replace(
                        self._status, state=output.after, why=output.why
                    )

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Keep what notebooks ask for; called on the engine's thread after each event."""
        keeper = self._keeper
        if self._remark_due:
            self._remark_due = False
            keeper.note(event.seen, "info", REMARK)
        keeper.take(event, outputs)
        now = time.monotonic()
        if now >= keeper.snapshot_due or event.__class__ is Command:  # who asked looks at once
            keeper.snapshot_due = now + _SNAPSHOT_S
            self._status = self._snapshot()

    def _snapshot(self) -> Status:
        engine, keeper, begin = self.engine, self._keeper, self.begin
        if engine.start is None:
            nothing = Account(0, begin.cash, begin.cash, 0.0, {}, 0)
            live = shadow = twin = nothing
            state, working = ACTIVE if self._waits is None else CONNECTING, 0
        else:
            live = account_of(engine.desk.ledger, engine, len(keeper.fold.fills))
            shadow, twin = self._shadow.account(), self.twin.account()
            state = engine.desk.state
            if state == ACTIVE and engine.held_back and engine.held_back == engine.symbol_set:
                state = REDUCING
            elif state == HALTED and keeper.state.state == ENDED:
                state = ENDED
            working = sum(len(group) for group in engine.desk.working.values())
        error = self._error or engine.failure
        return Status(
            begin.run,
            name_of(engine.strategy),
            self._plan.name,
            self._phase,
            state,
            self._why(),
            keeper.done,
            self._plan.total,
            live,
            shadow,
            twin,
            working,
            str(error) if error is not None else "",
        )

    def _why(self) -> str:
        """Return why the trading state is what it is now, or what changed it last."""
        engine, keeper = self.engine, self._keeper
        if engine.start is None:
            return self._waits or ""
        if engine.desk.state != ACTIVE:
            return keeper.state.why
        return "; ".join(dict.fromkeys(engine.holds.values())) or keeper.why


def same_run(earlier: Start, now: Start, where: str) -> None:
    """Refuse to take up a run with anything else than what it was begun with."""
    for name, words in _SAME:
        before, given = getattr(earlier, name), getattr(now, name)
        if before != given:
            raise SessionError(
                f"{where} holds the run {earlier.run!r}, whose {words}: it was {before!r} and "
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
