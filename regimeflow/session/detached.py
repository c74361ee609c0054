"""A session's work done in a process of its own: started, spoken to, and read about."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from regimeflow import errors
from regimeflow.errors import RegimeflowError, SessionError, StrategyError
from regimeflow.journal import Position, Tail, owner_of
from regimeflow.model.events import Fill, Start
from regimeflow.model.text import whole_text
from regimeflow.session import control
from regimeflow.session.control import Channel, Declined, Gone, Request
from regimeflow.session.ended import Ended, failure_of
from regimeflow.session.freeze import Manifest
from regimeflow.session.from_journal import FromJournal
from regimeflow.session.keeper import Keeper
from regimeflow.session.run_dir import holds_a_run
from regimeflow.session.spec import Spec, pack
from regimeflow.session.status import Status
from regimeflow.session.upgrade import UpgradeWish
from regimeflow.session.worker import Worker

LOG_NAME = "host.log"
#: How long a process may take to be gone after a kill.
_DYING_S = 3.0


class Detached(FromJournal):
    """The work of a session in another process.

    Args:
        run_dir: of the session.
        lease: whether this process controls the session: whether its death counts.

    Raises:
        Gone: no process answers for this directory.
    """

    unharmed = True
    remark = ""

    def __init__(self, run_dir: Path, *, lease: bool = True) -> None:
        found = control.read_whereabouts(run_dir)
        if found is None:
            raise Gone(f"no process has opened a socket for {run_dir}")
        self._run_dir = run_dir
        self._path = found.socket
        self._asking: Channel | None = None
        self._lease: Channel | None = None
        self._waiting: Channel | None = None
        # Of what is asked, of the line on which the end is told, and of what is read; whoever needs
        # several takes them from the last to the first.
        self._lock = threading.RLock()
        self._hearing = threading.Lock()
        self._reading = threading.RLock()
        self._tail = Tail(run_dir)
        self._keeper = Keeper()
        self._companions: dict[str, list[Fill]] = {"shadow": [], "twin": []}
        self._last: Status | None = None
        self._read_up = False
        try:
            # Both before anything else is asked: so that the last words are not missed.
            self._waiting = Channel(self._path)
            self._waiting.send(control.Wait())
            self.begin: Start = self._ask(control.Hello(), Start)
            self._known: Status = self._ask(control.AskStatus(), Status)
            if lease:
                self._lease = Channel(self._path)
                self._lease.ask(control.Lease(), control.NOTHING)
        except BaseException:
            self.forget()
            raise

    # ------------------------------------------------------------ speaking

    def _ask(self, request: Request, kind: Any) -> Any:
        with self._lock:
            if self._asking is None:
                self._asking = Channel(self._path)
            try:
                return self._asking.ask(request, kind)
            except Declined:
                raise
            except BaseException:  # the answer may still come, and must not serve the next question
                self._hang_up()
                raise

    def _ask_alive(self, request: Request, kind: Any) -> Any:
        """Return the answer, None once the session is over; who has hung up is called again."""
        for _ in range(2):
            if self._last is not None:
                return None
            try:
                return self._ask(request, kind)
            except Gone as error:
                gone = error
                self.ended(0.0)
        if self.ended(_DYING_S):  # its socket goes a moment before it says so
            return None
        raise gone

    def _hang_up(self) -> None:
        if self._asking is not None:
            self._asking.close()
            self._asking = None

    def command(self, name: Any, why: str, who: str) -> None:
        """Pass a command to the engine."""
        self._ask(control.Steer(name, whole_text(why), whole_text(who)), control.NOTHING)

    def asked(self) -> Start:
        """Return what the run would begin with now: with the strategy last asked for."""
        asked: Start = self._ask(control.Hello(), Start)
        return asked

    def manifest(self) -> Manifest:
        """Return the manifest of the strategy last asked for."""
        manifest: Manifest = self._ask(control.AskManifest(), Manifest)
        return manifest

    def upgrade(self, wish: UpgradeWish) -> None:
        """Let a strategy that lies in the run directory take over."""
        self._ask(control.AskUpgrade(wish), control.NOTHING)

    def ended(self, timeout_s: float) -> bool:
        """Wait for the end for so long, and return whether it has come."""
        until, waiting = time.monotonic() + timeout_s, self._waiting
        if self._last is not None:
            return True
        if waiting is None:  # closed by a fork
            raise SessionError("this is a copy of the session: attach to it anew")
        if not self._hearing.acquire(timeout=timeout_s):
            return self._last is not None  # others listen, and have heard nothing
        try:
            if self._last is None:
                told = waiting.receive(max(0.0, until - time.monotonic()), Status)
                if told is not None:
                    self._settle(told[0])
        except Gone:
            self._lose()
        finally:
            self._hearing.release()
        return self._last is not None

    def _settle(self, last: Status) -> None:
        """Nothing more comes: close what is open."""
        with self._lock:
            self._last = last
            self.forget()

    def _lose(self) -> None:
        """The process has gone without a word: what is known of it is what it wrote."""
        written, known = Ended(self._run_dir).status(), self._known
        self._settle(
            msgspec.structs.replace(
                written,
                venue=known.venue,
                total=known.total,
                shadow=known.shadow,
                twin=known.twin,
            )
        )

    def release(self) -> None:
        """Give up the lease on purpose: the session goes on as it is."""
        with self._lock:
            if self._lease is not None:
                with contextlib.suppress(Gone):
                    self._lease.ask(control.Goodbye(), control.NOTHING)
                self._lease.close()
                self._lease = None

    def forget(self) -> None:
        """Close every connection."""
        for channel in (self._lease, self._waiting, self._asking):
            if channel is not None:
                channel.close()
        self._lease = self._waiting = self._asking = None

    # ------------------------------------------------------------ looking

    def status(self) -> Status:
        """Return what the session looks like."""
        self._known = self._ask_alive(control.AskStatus(), Status) or self._known
        return self._last or self._known

    def failure(self) -> StrategyError | None:
        """Return what the strategy raised, or None."""
        return failure_of(self.history(), self.begin)

    def broken_by(self) -> BaseException | None:
        """Return what broke the session, or None."""
        last = self._last
        if last is None or last.phase != "failed":
            return None
        return SessionError(last.error)

    def flush(self) -> Position | None:
        """Have everything up to now in the journal's files, and return how far that is."""
        return self.look()[1]

    def look(self) -> tuple[Status, Position | None]:
        """Return the status, and up to where the journal is in its files."""
        seen: control.Seen | None = self._ask_alive(control.Look(), control.Seen)
        if seen is None:
            return self._last or self._known, None
        self._known = seen.status
        return seen.status, seen.until

    def history(self) -> Keeper:
        """Return orders, fills and log up to now."""
        with self._reading:
            if not self._read_up:
                until = self.flush()
                self._read_up = until is None and self._last is not None
                for _, event, outputs in self._tail.events(until):
                    self._keeper.take(event, outputs)
            return self._keeper

    def companion_fills(self, who: str) -> Sequence[Fill]:
        """Return the executions of "shadow" or "twin", as far as the process has told."""
        with self._reading:
            known = self._companions[who]
            while True:
                request = control.AskFills(who, len(known))  # type: ignore[arg-type]
                page = self._ask_alive(request, control.FILLS) or ()
                known += page
                if len(page) < control.PAGE:
                    return list(known)


def worker_of(run_dir: Path, *, lease: bool = True) -> Worker:
    """Return the work of a run that was begun elsewhere.

    Raises:
        SessionError: there is none, or nobody but its own process can reach it.
    """
    try:
        return Detached(run_dir, lease=lease)
    except Gone:
        owner = owner_of(run_dir)
    until = time.monotonic() + _DYING_S
    while owner and control.read_whereabouts(run_dir) and time.monotonic() < until:
        time.sleep(0.02)  # a process that was killed holds its lock until it is quite gone
        owner = owner_of(run_dir)
    if owner:
        raise SessionError(
            f"the session in {run_dir} lives inside {owner} and has no socket: use it there, or "
            "start it with start(detached=True)"
        )
    if not holds_a_run(run_dir):
        raise SessionError(f"there is no run in {run_dir}")
    return Ended(run_dir)


# ---------------------------------------------------------------- starting one


class Started(msgspec.Struct, frozen=True):
    """What a new process says of itself: that it runs, or the error that ended it.

    Attributes:
        kind: name of the error's class, "" if it runs.
        text: the error's message.
    """

    kind: str = ""
    text: str = ""


def launch(spec: Spec) -> None:
    """Start a process for a session, and return when it runs.

    What the session is made of goes through a pipe to the child alone: not on a disk, and neither
    among the arguments nor into the environment of a process.

    Raises:
        SessionError: it does not run; its own error where it is one of ours.
    """
    if sys.platform == "win32":
        raise SessionError(
            "a detached session needs Unix sockets and process groups, which Windows does not "
            "have: start() it here, or from the command line with regimeflow live"
        )
    packed = pack(spec)
    try:
        spec.run_dir.mkdir(0o700, parents=True, exist_ok=True)
        log = os.open(
            spec.run_dir / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600
        )
    except OSError as error:
        raise SessionError(f"cannot write into {spec.run_dir}: {error}") from error
    hear, tell = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-u", "-P", "-m", "regimeflow.session.host", str(tell)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(tell,),
            env=_environment(),
            start_new_session=True,
        )
    finally:
        os.close(tell)
        os.close(log)
    # It outlives us, or we bury it.
    threading.Thread(target=process.wait, name="regimeflow-child", daemon=True).start()
    try:
        with os.fdopen(hear, "rb") as heard:
            with contextlib.suppress(BrokenPipeError), process.stdin:  # type: ignore[union-attr]
                process.stdin.write(packed)  # type: ignore[union-attr]
            _raise_theirs(heard.read(), spec.run_dir)
    except BaseException:
        process.kill()
        raise


def _environment() -> dict[str, str]:
    """Return the child's environment: the same modules are found, and hashes are no accident."""
    places = [os.path.abspath(place) for place in sys.path]
    return {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(places)),
    }


def _raise_theirs(said: bytes, run_dir: Path) -> None:
    """Raise the error that the child reports; return if it runs."""
    try:
        started = msgspec.json.decode(said, type=Started)
    except msgspec.MsgspecError:
        raise SessionError(
            f"the session's process ended before it could say why: see {run_dir / LOG_NAME}"
        ) from None
    if not started.kind:
        return
    kind = getattr(errors, started.kind, None)
    if isinstance(kind, type) and issubclass(kind, RegimeflowError):
        raise kind(started.text)
    raise SessionError(
        f"the session's process failed with {started.kind}: {started.text} "
        f"(see {run_dir / LOG_NAME})"
    )
