"""Sessions in processes of their own: real processes, real sockets, real SIGKILLs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import detached_strategies
import pytest
from detached_strategies import Grows, Reads, Stuck, venue

import regimeflow as rf
from regimeflow import cli
from regimeflow.journal import events
from regimeflow.model.events import Command, Finish, Resumed, StateChanged, Submit
from regimeflow.redaction import Redactor, Secret
from regimeflow.session import control
from regimeflow.session.control import Channel, read_whereabouts
from regimeflow.session.detached import worker_of
from regimeflow.session.spec import pack, unpack

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="detached sessions need Unix")

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(detached_strategies.__file__)


@pytest.fixture
def run_dir(tmp_path) -> Iterator[Path]:
    """A run directory whose session is gone afterwards."""
    place = tmp_path / "run"
    yield place
    with contextlib.suppress(rf.SessionError):
        worker = worker_of(place, lease=False)
        if not worker.ended(0.0):
            worker.command("stop", "test is over", "test")
            worker.ended(20.0)


def until(condition, seconds=30.0):
    deadline, tick = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        tick.wait(0.01)


def detached(run_dir, strategy=None, speed=60_000.0, **options) -> rf.LiveSession:
    session = rf.LiveSession(strategy or Grows(), venue(speed), run_dir=run_dir, **options)
    return session.start(detached=True)


@contextlib.contextmanager
def controller(run_dir, policy="cancel", how="start") -> Iterator[subprocess.Popen[str]]:
    """Another process that controls the session; it is there when this returns."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(run_dir), policy, how],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        process.told = []
        for line in process.stdout:
            process.told.append(line.strip())
            if line.strip() == "there":
                break
        yield process
    finally:
        process.kill()
        for line in process.told:  # a child of the dead one, which did not keep its lease open
            if line.startswith("child"):
                os.kill(int(line.split()[1]), signal.SIGKILL)
        process.communicate()


def watched(run_dir):
    """Look on without becoming a controller."""
    return worker_of(run_dir, lease=False)


def pid_of(run_dir) -> int:
    found = read_whereabouts(run_dir)
    assert found is not None
    return found.pid


def commands(run_dir, who="kernel loss") -> list[str]:
    return [e.name for _, e, _ in events(run_dir) if isinstance(e, Command) and e.who == who]


def entries_while_held(run_dir) -> int:
    """Count the orders that left while only exits may."""
    held, count = False, 0
    for _, _, outputs in events(run_dir):
        for output in outputs:
            if isinstance(output, StateChanged):
                held = output.after != "active"
            count += held and isinstance(output, Submit) and not output.reduce_only
    return count


# ---------------------------------------------------------------- losing the controller


@pytest.mark.parametrize(
    ("policy", "state", "works", "holds", "told", "after"),
    [
        ("continue", "active", True, True, [], "active"),
        ("pause", "reducing", True, True, ["pause", "unpause"], "active"),
        ("cancel", "reducing", False, True, ["pause", "cancel_all", "unpause"], "active"),
        ("flatten", "halted", False, False, ["flatten", "unpause"], "halted"),
    ],
)
def test_a_lost_controller_leads_to_what_was_agreed(
    run_dir, policy, state, works, holds, told, after
):
    with controller(run_dir, policy, "fork" if policy == "pause" else "start") as process:
        look = watched(run_dir)
        until(lambda: look.status().live.fills > 3 and look.status().working)
        process.kill()
        process.wait()
        before = look.status().done
        until(lambda: look.status().state == state and look.status().done > before + 50)
        until(lambda: bool(look.status().working) == works)
        assert bool(look.status().live.positions) == holds
    session = rf.attach(run_dir)
    until(lambda: session.state == after)
    fills = session.account.fills
    assert len(session.fills) >= fills > 3  # the snapshot is the older of the two
    session.stop()
    assert commands(run_dir) == told
    assert entries_while_held(run_dir) == 0
    assert rf.certify(run_dir).identical


def test_a_controller_that_comes_back_lifts_no_halt_of_a_human(run_dir):
    with controller(run_dir) as process:
        look = watched(run_dir)
        look.command("halt", "lunch", "terminal")
        until(lambda: look.status().state == "halted")
        process.kill()
    until(lambda: look.status().why != "lunch" or look.status().state == "halted")
    session = rf.attach(run_dir)
    before = session.status.done
    until(lambda: session.status.done > before + 50)
    assert session.state == "halted"
    session.resume()
    until(lambda: session.state == "active")
    session.stop()
    assert commands(run_dir, "terminal") == ["halt"]
    assert commands(run_dir)[-1] == "unpause"


def test_the_last_of_two_controllers_counts(run_dir):
    session = detached(run_dir)
    with controller(run_dir, how="attach") as process:
        process.kill()
        process.wait()
        before = session.status.done
        until(lambda: session.status.done > before + 50)
        assert session.state == "active"
    session.stop()
    assert commands(run_dir) == []


def test_a_session_that_is_released_goes_on(run_dir):
    with controller(run_dir, how="release") as process:
        process.wait()
    look = watched(run_dir)
    before = look.status().done
    until(lambda: look.status().done > before + 50)
    assert look.status().state == "active"
    look.command("stop", "enough", "terminal")
    assert look.ended(20.0)
    assert commands(run_dir) == []


# ---------------------------------------------------------------- one object, wherever the work is


def test_a_detached_session_is_the_one_that_would_have_run_here(tmp_path, run_dir):
    data = rf.datasets.synthetic(n=800, seed=5)
    here = rf.LiveSession(
        Grows(), rf.venues.Simulated(data, speed=None), run_dir=tmp_path / "here"
    ).run()
    there = rf.LiveSession(Grows(), rf.venues.Simulated(data, speed=None), run_dir=run_dir)
    assert there.start(detached=True) is there
    there.wait(progress=False)
    assert repr(there) == repr(here)
    assert there.account == here.account
    assert (there.shadow, there.twin) == (here.shadow, here.twin)
    for name in ("fills", "orders", "log"):
        mine, theirs = getattr(there, name), getattr(here, name)
        for column in set(mine.columns) - {"order_id", "text"}:
            assert len(mine) == len(theirs) - (name == "log")  # which says that it cannot outlive
            assert name == "log" or mine[column].equals(theirs[column])
    assert repr(there.report().metrics) == repr(here.report().metrics)
    ended = rf.attach(run_dir)
    assert (ended.status.phase, ended.state) == ("stopped", there.state)
    assert ended.account == there.account
    assert (ended.shadow, ended.twin) == (here.shadow, here.twin)
    assert ended.orders.equals(there.orders)
    assert "stopped" in ended._repr_html_()
    for call in (ended.halt, ended.flatten, ended.resume):
        with pytest.raises(rf.SessionError, match="stopped"):
            call()
    assert ended.stop() is ended
    assert ended.wait() is ended
    with pytest.raises(rf.SessionError, match="make a new one"):
        ended.start()


def test_everything_is_steered_from_afar(run_dir):
    session = detached(run_dir)
    until(lambda: session.positions)
    session.pause("a look")
    until(lambda: session.state == "reducing")
    session.resume()
    until(lambda: session.state == "active")
    session.halt("lunch")
    until(lambda: session.state == "halted" and session.status.working == 0)
    session.resume()
    session.flatten("home")
    until(lambda: session.state == "halted" and not session.positions)
    assert "lunch" in " ".join(session.log["text"])
    assert len(session.twin_fills) > len(session.fills) / 2
    assert len(session.report().equity) > 10
    assert session.stop() is session
    assert rf.certify(run_dir).identical


def test_a_strategy_that_fails_elsewhere_shows_itself(run_dir):
    class Fails(rf.Strategy):
        def on_bar(self, ctx, bar):
            raise ZeroDivisionError("a bug of mine")

    session = detached(run_dir, Fails())
    until(lambda: session.state == "halted")
    assert session.failure.callback == "on_bar"
    assert "a bug of mine" in session.failure.trace
    with pytest.raises(rf.SessionError, match="failed"):
        session.resume()


def test_live_and_twin_and_notebook_change_without_each_other(run_dir, monkeypatch):
    session = detached(run_dir, Reads())
    monkeypatch.setattr(Reads, "boost", 50)
    monkeypatch.setattr(detached_strategies, "LOT", 70)
    until(lambda: session.account.fills and session.twin.fills)
    session.stop()
    assert session.positions == session.twin.positions == {"asset": 10.0}
    records = session.report().records
    assert set(records["lot"]) == {10.0}
    assert set(records["boost"]) == {1.0}
    changed = rf.certify(run_dir, strategy=Reads())
    assert not changed.identical


# ---------------------------------------------------------------- starting twice


def test_the_same_cell_again_is_the_same_session(run_dir):
    session = detached(run_dir)
    pid = pid_of(run_dir)
    assert detached(run_dir) is session
    assert rf.attach(run_dir) is session
    assert pid_of(run_dir) == pid
    with pytest.raises(rf.SessionError, match="another source"):
        detached(run_dir, Reads())


def test_another_process_joins_or_is_refused(run_dir):
    with controller(run_dir, how="start"):
        pid = pid_of(run_dir)
        joined = rf.LiveSession(Grows(), venue(), run_dir=run_dir)
        with pytest.raises(rf.SessionBusy, match=rf"process {pid}.*attach"):
            joined.start()
        with pytest.raises(rf.SessionError, match="strategy is another one"):
            detached(run_dir, Reads())
        assert detached(run_dir).status.run == watched(run_dir).status().run
        assert pid_of(run_dir) == pid


def test_a_session_inside_another_process_says_what_to_do(run_dir):
    with controller(run_dir, how="here") as process:
        with pytest.raises(rf.SessionError, match=f"inside process {process.pid}.*detached=True"):
            rf.attach(run_dir)
        with pytest.raises(rf.SessionBusy, match=f"process {process.pid}"):
            detached(run_dir)
    assert rf.attach(run_dir).status.phase == "failed"  # killed without a word


def test_there_is_nothing_to_attach_to(tmp_path):
    with pytest.raises(rf.SessionError, match="there is no run in"):
        rf.attach(tmp_path / "nowhere")


def test_what_is_wrong_is_said_here(run_dir, tmp_path):
    session = rf.LiveSession(Grows(), venue(), run_dir=run_dir)
    session.venue.lock = threading.Lock()
    with pytest.raises(rf.SessionError, match="cannot be handed to a process"):
        session.start(detached=True)
    with pytest.raises(rf.ConfigError, match="Did you mean 'cancel'"):
        rf.LiveSession(Grows(), venue(), run_dir=run_dir, on_kernel_loss="cancle")
    here = rf.LiveSession(Grows(), venue(), run_dir=tmp_path / "here")
    with pytest.raises(rf.SessionError, match="not been started"):
        here.stop()
    assert "detached=True" not in here._repr_html_()
    here.start()
    until(lambda: len(here.log))
    assert "dies with it" in here.log["text"].iloc[0]
    assert "dies with it" in here._repr_html_()
    with pytest.raises(rf.SessionError, match="ends with it"):
        here.release()
    here.stop()


# ---------------------------------------------------------------- killed, and signals


def test_a_killed_host_is_noticed_and_its_run_is_taken_up(run_dir):
    session = detached(run_dir)
    until(lambda: session.account.fills > 5)
    session.report()  # so that what there is so far is in the files
    os.kill(pid_of(run_dir), signal.SIGKILL)
    with pytest.raises(rf.SessionError, match="without a word"):
        session.wait(progress=False)
    assert session.status.phase == "failed"
    assert len(session.fills) == session.account.fills > 5
    assert rf.attach(run_dir).account == session.account
    again = detached(run_dir)
    assert again is not session
    fills = again.account.fills
    until(lambda: again.account.fills > fills)
    assert again.state == "active"
    again.stop()
    assert sum(isinstance(e, Resumed) for _, e, _ in events(run_dir)) == 1
    ids = [o.order_id for _, _, out in events(run_dir) for o in out if isinstance(o, Submit)]
    assert len(ids) == len(set(ids))
    assert rf.certify(run_dir).identical


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_end_stops_cleanly(run_dir, number):
    session = detached(run_dir)
    until(lambda: session.status.working)
    os.kill(pid_of(run_dir), number)
    session.wait(progress=False)
    assert (session.status.phase, session.status.working) == ("stopped", 0)
    assert number.name in session.status.why
    assert isinstance([e for _, e, _ in events(run_dir)][-1], Finish)
    assert rf.certify(run_dir).identical


def test_a_second_signal_ends_at_once(run_dir):
    marker = run_dir.with_name("stuck")
    patience = rf.venues.Intervals(clock_ms=20.0, stall_ms=200.0)
    session = detached(run_dir, Stuck(marker=str(marker)), intervals=patience)
    until(marker.exists)
    until(lambda: "Stuck has held the engine's thread" in session.status.stalled)
    assert session.health.loop_lag_ms >= 200.0
    assert "engine" in [finding.name for finding in session.check() if not finding.ok]
    pid = pid_of(run_dir)
    os.kill(pid, signal.SIGTERM)
    assert not session._worker.ended(0.3)  # it is stuck, and two signals at once would be one
    os.kill(pid, signal.SIGTERM)
    assert session._worker.ended(20.0)
    assert session.status.phase == "failed"
    assert rf.certify(run_dir).identical


def test_the_end_of_a_terminal_means_nothing_to_a_session_without_one(run_dir):
    session = detached(run_dir)
    until(lambda: session.status.working)
    os.kill(pid_of(run_dir), signal.SIGHUP)
    done = session.status.done
    until(lambda: session.status.done > done + 100)
    session.stop()
    (stop,) = [e for _, e, _ in events(run_dir) if isinstance(e, Command)]
    assert (stop.name, stop.who) == ("stop", "user")


def test_a_signal_is_a_kill_switch(run_dir):
    session = detached(run_dir)
    until(lambda: session.status.working)
    os.kill(pid_of(run_dir), signal.SIGUSR1)
    until(lambda: session.state == "halted" and session.status.working == 0)
    assert session.status.why == "SIGUSR1"


# ---------------------------------------------------------------- files and the socket


def test_everything_that_a_detached_session_leaves_is_the_users_own(run_dir):
    before = os.umask(0)
    try:
        baseline = rf.backtest(Grows(), detached_strategies.FRAME[:500])
        session = detached(run_dir, baseline=baseline)
        until(lambda: session.status.done > 5)
        session.stop()
    finally:
        os.umask(before)
    left = {path.name: path.stat().st_mode & 0o777 for path in run_dir.rglob("*")}
    assert {name for name, mode in left.items() if mode != 0o600} == set()
    assert run_dir.stat().st_mode & 0o777 == 0o700
    assert {"baseline.json", "host.log", "audit.log", "live_drift.csv"} <= set(left)


def test_a_socket_is_the_users_own_and_its_path_is_short(run_dir, tmp_path):
    deep = tmp_path / ("a" * 100) / ("b" * 100)
    path = control.socket_path(deep)
    assert len(os.fsencode(path)) <= 100
    assert path != control.socket_path(run_dir)
    session = detached(run_dir)
    path = read_whereabouts(run_dir).socket
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
    for name in ("host.json", "host.log", "journal-0001.jsonl", "strategy.pkl"):
        if (run_dir / name).exists():
            assert (run_dir / name).stat().st_mode & 0o777 == 0o600
    session.stop()
    until(lambda: not os.path.exists(path))
    (run_dir / "host.json").chmod(0o666)
    with pytest.raises(rf.SessionError, match="not believed"):
        rf.attach(run_dir)


def test_a_directory_that_others_may_enter_holds_no_socket(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="rf") as name:  # short: a socket's path must be
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        place = Path(name, f"regimeflow-{os.getuid()}")
        place.mkdir(0o755)
        place.chmod(0o755)
        with pytest.raises(rf.SessionError, match="only you can enter"):
            control.socket_path(Path(name, "run"))
        place.rmdir()
        place.symlink_to(name)
        with pytest.raises(rf.SessionError, match="only you can enter"):
            control.socket_path(Path(name, "run"))


NONSENSE = [
    b"\n",
    b"{}\n",
    b"[1, 2]\n",
    b'{"type":"command"}\n',
    b'{"type":"command","name":"buy everything"}\n',
    b'{"type":"command","name":"unpause","who":"kernel loss"}\n',
    b'{"type":"command","name":"halt","who":"kernel loss"}\n',
    b'{"type":"fills","of":"shadow","since":"' + b"9" * 400 + b'"}\n',
    b'{"type":"status","more":1}\n',
    b"\xff\xfe\x00\n",
    b'{"type":"' + b"a" * (70 << 10) + b'"}\n',
]


def test_nonsense_is_refused_and_harms_nobody(run_dir):
    session = detached(run_dir)
    path = read_whereabouts(run_dir).socket
    rng = random.Random(1)
    noise = [rng.randbytes(rng.randrange(1, 300)) + b"\n" for _ in range(100)]
    for line in [*NONSENSE, *noise]:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as raw:
            raw.settimeout(20.0)
            raw.connect(path)
            raw.sendall(line)
            raw.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                heard = raw.recv(4096)
                assert b'"error":"' in heard
                assert b'"error":""' not in heard
    channel = Channel(path)
    assert channel.ask(control.Ping(), control.NOTHING) is None
    channel.close()
    assert session.state == "active"
    session.stop()
    assert next(e for _, e, _ in events(run_dir) if isinstance(e, Command)).name == "stop"


class Keyed(rf.venues.Simulated):
    """A venue with a key, as adapters to real ones have."""

    key: Secret


def test_secrets_go_through_the_pipe_and_nowhere_else(run_dir):
    canary = "canary-5f2a7c"
    keyed = Keyed(detached_strategies.FRAME, speed=60_000.0)
    keyed.key = Secret(canary)
    session = rf.LiveSession(Grows(), keyed, run_dir=run_dir)
    redactor = Redactor()
    copy = unpack(pack(session._spec), redactor)
    assert copy.venue.key == keyed.key
    assert redactor.text(f"it is {canary}") == "it is (hidden)"
    session.start(detached=True)
    until(lambda: session.account.fills)
    process = Path(f"/proc/{pid_of(run_dir)}")
    if process.exists():  # Linux
        for name in ("cmdline", "environ"):
            assert canary.encode() not in (process / name).read_bytes()
        assert b"PYTHONHASHSEED=0" in (process / "environ").read_bytes()
    session.stop()
    for path in run_dir.iterdir():
        assert canary.encode() not in path.read_bytes(), path


# ---------------------------------------------------------------- the command line


def test_a_terminal_looks_and_steers(run_dir, capsys):
    session = detached(run_dir, on_kernel_loss="flatten")

    def told(*arguments: str) -> str:
        assert cli.main([*arguments]) == 0
        return capsys.readouterr().out

    until(lambda: session.positions)
    place = str(run_dir)
    assert "running, trading active" in told("status", place)
    told("halt", place, "--why", "from a terminal")
    until(lambda: session.state == "halted")
    assert "trading halted (from a terminal)" in told("status", place)
    (run_dir / "kill").touch()
    assert cli.main(["resume", place]) == 1
    assert "remove it first" in capsys.readouterr().err
    (run_dir / "kill").unlink()
    told("resume", place, "--why", "looked at")
    until(lambda: session.state == "active")
    told("flatten", place)
    until(lambda: not session.positions)
    assert "stopped, trading halted" in told("stop", place)
    assert "stopped" in told("attach", place)
    assert commands(run_dir, "terminal") == ["halt", "resume", "flatten", "stop"]
    assert commands(run_dir) == []  # a terminal that goes is no loss
    assert cli.main(["halt", place]) == 1
    assert "nothing to halt" in capsys.readouterr().err
    assert cli.main(["status", f"{place}-not"]) == 1
    assert "there is no run" in capsys.readouterr().err
