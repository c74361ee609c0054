"""``regimeflow config`` and ``regimeflow live``, from a file to exit codes and a certified run."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import regimeflow as rf
from regimeflow import cli
from regimeflow.journal import events
from regimeflow.model.events import Cancel, Command, Finish, Submit
from regimeflow.sandbox.process import VenueProcess
from regimeflow.sandbox.script import Fault

ROOT = Path(__file__).resolve().parents[1]

CODE = """
import threading
import regimeflow as rf

class Hold(rf.Strategy):
    stuck: bool = False
    failing: bool = False

    def initialize(self, ctx):
        self.seen = 0

    def on_bar(self, ctx, bar):
        self.seen += 1
        ctx.target(bar.symbol, qty=10)
        if self.seen == 50:
            if self.failing:
                raise ValueError("as asked")
            print("there", flush=True)
            if self.stuck:
                threading.Event().wait()

class Rest(rf.Strategy):
    def initialize(self, ctx):
        self.seen = 0

    def on_bar(self, ctx, bar):
        self.seen += 1
        if self.seen == 1:
            ctx.buy(bar.symbol, 1, limit=ctx.instrument(bar.symbol).round_price(bar.close * 0.5))
        if ctx.orders() and ctx.orders()[0].status == "open":
            print("there", flush=True)
"""

FILE = """
live:
  broker: simulated
  symbols: [SYN]
  run: my run
  broker_config:
    data: synthetic
    rows: 2000
    speed: SPEED
strategy:
  name: mine.py:Hold
  params: {}
"""


REST = """
live:
  broker: loopback
  symbols: [SYN]
  timeframe: 100ms
  run: r
  broker_config: {{port: {port}, timeout_ms: 60000}}
strategy: {{name: "mine.py:Rest"}}
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(CODE)
    write()
    yield tmp_path
    sys.modules.pop("mine", None)


def write(speed: str = "null", params: str = "{}", more: str = "") -> None:
    Path("c.yaml").write_text(
        FILE.replace("SPEED", speed).replace("params: {}", f"params: {params}") + more
    )


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


# ---------------------------------------------------------------- config


@pytest.mark.parametrize("option", [[], ["--check"]])
def test_a_valid_file(capsys, option):
    assert run(capsys, "config", "--config", "c.yaml", *option) == (0, "c.yaml is valid\n", "")


@pytest.mark.parametrize("command", ["config", "doctor"])
def test_the_file_may_stand_alone(capsys, command):
    given = run(capsys, command, "c.yaml")
    assert given == run(capsys, command, "--config", "c.yaml")
    assert given[0] != 1  # what a command that was not understood leaves with
    with pytest.raises(SystemExit) as left:
        cli.main((command, "c.yaml", "--config", "c.yaml"))
    assert left.value.code == 1


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (
            "\n    failing: true\n    stuk: true",
            "c.yaml:14: strategy.params.stuk: Hold has no parameter 'stuk'. Did you mean 'stuck'?",
        ),
        (
            "{stuck: maybe}",
            "c.yaml:12: strategy.params.stuck: Hold: stuck must be bool, got 'maybe'",
        ),
    ],
)
@pytest.mark.parametrize("command", ["config", "live"])
def test_a_parameter_that_the_strategy_does_not_have(capsys, command, params, said):
    write(params=params)
    assert run(capsys, command, "--config", "c.yaml") == (1, "", f"regimeflow: {said}\n")
    assert not Path("logs").exists()


OWN = """
import regimeflow as rf

class Needs(rf.Strategy):
    qty: float

class Own(rf.Strategy):
    def __init__(self, size):
        super().__init__()
        self.size = size
"""


@pytest.mark.parametrize(
    ("place", "params", "said"),
    [
        ("own.py:Needs", "{}", "c.yaml:12: strategy.params: Needs needs a value for qty"),
        ("own.py:Own", "{sise: 3}", "c.yaml:12: strategy.params: Own.__init__() got an unexpected"),
        ("own.py:Own", "{size: 3}", ""),
        ("none.py:Own", "{}", "there is no file none.py"),
        ("own.py:Ovn", "{}", "own.py has no 'Ovn'"),
    ],
)
def test_what_config_says_of_a_strategy_is_what_live_says(capsys, here, place, params, said):
    (here / "own.py").write_text(OWN)
    write(params=params)
    Path("c.yaml").write_text(Path("c.yaml").read_text().replace("mine.py:Hold", place))
    told = run(capsys, "config", "c.yaml")
    if not said:
        assert told == (0, "c.yaml is valid\n", "")
        return
    assert told[0] == 1
    assert said in told[2]
    assert run(capsys, "live", "--config", "c.yaml")[2] == told[2]


def test_an_invalid_file(capsys):
    write(more="engine: {}\n")
    code, out, err = run(capsys, "config", "--config", "c.yaml")
    assert (code, out) == (1, "")
    assert err.startswith("regimeflow: c.yaml:13: there is no key engine.")
    assert err.count("\n") == 1


def test_a_file_that_is_not_there(capsys):
    code, _, err = run(capsys, "config", "--config", "nowhere.yaml")
    assert (code, err) == (1, "regimeflow: nowhere.yaml: there is no such file\n")


@pytest.mark.parametrize("arguments", [["live"], ["config"], ["config", "--config"]])
def test_a_wrong_command_line(capsys, arguments):
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 1


def test_explained(capsys, here):
    (here / ".env").write_text("SOMETHING_URL=x\n")
    (here / ".env").chmod(0o600)
    code, out, err = run(capsys, "config", "--config", "c.yaml", "--explain")
    assert (code, err) == (0, "")
    rows = {line.split("  ")[0]: line.split()[1:] for line in out.splitlines() if line}
    assert rows["key"] == ["value", "from"]
    assert rows["live.broker"] == ["simulated", "c.yaml:3"]
    assert rows["live.run"] == ["my", "run", "c.yaml:5"]
    assert rows["live.broker_config.rows"] == ["2000", "c.yaml:8"]
    assert rows["live.broker_config.cash"] == ["100000", "default"]
    assert rows["live.max_orders_per_minute"] == ["60", "default"]
    assert "note: .env:1 sets SOMETHING_URL" in out


def test_keys_of_another_broker_are_explained_and_refused(capsys, monkeypatch):
    monkeypatch.setenv("ALPACA_API_KEY", "canary-1234")
    write()
    text = Path("c.yaml").read_text().replace("simulated", "alpaca")
    Path("c.yaml").write_text(text)
    code, out, err = run(capsys, "config", "--config", "c.yaml", "--explain")
    assert code == 1
    assert "environment ALPACA_API_KEY" in out
    assert "there is no key live.broker_config.data" in err
    assert "canary" not in out + err


# ---------------------------------------------------------------- live


def test_a_run_to_its_end(capsys):
    code, out, err = run(capsys, "live", "--config", "c.yaml")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "run directory  logs/my run"
    assert lines[-2].startswith("stopped (end of data) · ")
    assert "2,000 of 2,000 events" in lines[-2]
    assert "10 SYN" in lines[-2]
    assert lines[-1] == "certify        regimeflow certify 'logs/my run'"
    assert run(capsys, "certify", "logs/my run")[0] == 0


def test_the_name_of_old(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["regimeflow_live", "--config", "c.yaml"])
    assert cli.live() == 0
    assert "certify" in capsys.readouterr().out


def test_a_second_run_of_the_same_name_is_refused(capsys):
    assert run(capsys, "live", "--config", "c.yaml")[0] == 0
    code, _, err = run(capsys, "live", "--config", "c.yaml")
    assert code == 1
    assert "played to their end" in err


def test_a_strategy_that_fails(capsys):
    write(params="{failing: true}")
    code, out, err = run(capsys, "live", "--config", "c.yaml")
    assert code == 2
    assert 'raise ValueError("as asked")' in err
    assert "certify" in out


def test_findings_are_told(capsys, here):
    (here / ".env").write_text("A=1\n")
    (here / ".env").chmod(0o644)
    code, _, err = run(capsys, "live", "--config", "c.yaml")
    assert code == 0
    assert err.startswith("note: .env can be read or changed by other users")


def test_it_runs_in_another_thread_too(capsys):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(cli.main(["live", "--config", "c.yaml"])))
    thread.start()
    thread.join()
    assert codes == [0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def another(*arguments: str) -> subprocess.Popen[str]:
    """Start the command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "regimeflow", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )


def started(said: list[str] | None = None) -> subprocess.Popen[str]:
    """Start a session in a process of its own and wait until its strategy says that it is there."""
    process = another("live", "--config", "c.yaml")
    assert process.stdout is not None
    for line in process.stdout:
        if said is not None:
            said.append(line.rstrip())
        if line.strip().endswith("there"):
            return process
    raise AssertionError(process.communicate()[1])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("name", "who", "why"),
    [
        ("SIGINT", "user", "interrupted"),
        ("SIGTERM", "signal", "SIGTERM"),
        ("SIGHUP", "signal", "SIGHUP"),
    ],
)
def test_a_signal_stops_cleanly_and_is_blamed_on_who_sent_it(name, who, why):
    write(speed="3000")
    with started() as process:
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert f"stopped ({why}) · " in out
    (stop,) = [e for _, e, _ in events("logs/my run") if isinstance(e, Command)]
    assert (stop.name, stop.who, stop.why) == ("stop", who, why)
    assert rf.certify("logs/my run").identical


TAKE_THE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "regimeflow", *sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no terminals of this kind")
def test_the_end_of_its_terminal_stops_it_cleanly():
    write(speed="3000")
    ours, its = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_THE_TERMINAL, "live", "--config", "c.yaml"],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    os.close(its)
    said = b""
    while said.count(b"there") < 2:  # the session and its twin
        said += os.read(ours, 1_000)
    os.close(ours)
    assert process.wait(60) == 0
    (stop,) = [e for _, e, _ in events("logs/my run") if isinstance(e, Command)]
    assert (stop.name, stop.who, stop.why) == ("stop", "signal", "SIGHUP")
    assert rf.certify("logs/my run").identical


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_where_nobody_wants_to_hear_of_the_terminal_its_end_means_nothing():
    write(speed="3000")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does for what it begins
    try:
        process = started()
    finally:
        signal.signal(signal.SIGHUP, before)
    with process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "(interrupted)" in out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_second_signal_does_not_wait_for_a_venue_that_confirms_no_cancel(tmp_path, name, code):
    mute = Fault("cancel", "ignore", times=10_000)
    with VenueProcess(symbols=["SYN"], timeframe="100ms", faults=[mute]) as venue:
        Path("c.yaml").write_text(REST.format(port=venue.port))
        with started() as process:
            process.send_signal(getattr(signal, name))
            while b'"name":"stop"' not in b"".join(
                p.read_bytes() for p in Path("logs/r").glob("j*l")
            ):
                assert process.poll() is None
                time.sleep(0.01)  # a file cannot be waited for
            process.send_signal(getattr(signal, name))
            out, err = process.communicate(timeout=10)  # a clean stop would wait for 15 s
    assert (process.returncode, err) == (code, "")
    assert "stopped at once; the journal holds everything that was sent" in out
    told = [thing for _, event, outputs in events("logs/r") for thing in (event, *outputs)]
    assert sum(isinstance(thing, Submit) for thing in told) == 1
    assert any(isinstance(thing, Cancel) for thing in told)
    assert not any(isinstance(thing, Finish) for thing in told)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_second_interrupt_stops_at_once_with_the_journal_intact():
    write(speed="3000", params="{stuck: true}")
    with started() as process:
        while process.poll() is None:  # one is for a clean stop, which a stuck strategy delays
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=3.0)  # a third one would meet it on its way out
            except subprocess.TimeoutExpired:
                continue
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "stopped at once; the journal holds everything that was sent" in out
    # Bars since the last request may be missing, requests never are.
    sent = [o for _, _, outputs in events("logs/my run") for o in outputs if isinstance(o, Submit)]
    assert len(sent) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_run_that_was_killed_is_taken_up_by_its_name(capsys):
    write(speed="3000")
    Path("c.yaml").write_text(Path("c.yaml").read_text().replace("  run: my run\n", ""))
    with started() as process:
        process.kill()
        process.communicate(timeout=60)
    (place,) = Path("logs").iterdir()
    code, out, _ = run(capsys, "status", str(place))
    assert (code, "start it again to take it up" in out) == (2, True)
    code, _, err = run(capsys, "halt", str(place))
    assert (code, "orders of its own may still work" in err) == (1, True)
    Path("c.yaml").write_text(Path("c.yaml").read_text().replace("speed: 3000", "speed: null"))
    code, out, err = run(capsys, "live", "--config", "c.yaml", "--run", place.name)
    assert (code, err) == (0, "")
    assert "10 SYN" in out
    assert list(Path("logs").iterdir()) == [place]
    assert rf.certify(place).identical
    code, _, err = run(capsys, "live", "--config", "c.yaml", "--run", "../elsewhere")
    assert (code, "live.run" in err) == (1, True)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no Unix sockets")
def test_another_terminal_looks_and_steers(capsys):
    write(speed="3000")
    with started() as process:
        code, out, _ = run(capsys, "status", "logs/my run")
        assert (code, "running, trading active" in out) == (0, True)
        rf.attach("logs/my run").halt("from a notebook")
        process.send_signal(signal.SIGUSR1)
        code, out, _ = run(capsys, "stop", "logs/my run", "--why", "enou\udc67gh")
        assert (code, "stopped, trading halted" in out) == (0, True)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    said = [e for _, e, _ in events("logs/my run") if isinstance(e, Command)]
    assert {(e.name, e.who) for e in said} == {
        ("halt", "user"),
        ("halt", "signal"),
        ("stop", "terminal"),
    }
    assert "enou?gh" in {e.why for e in said}  # a byte of the terminal that is no text
    assert rf.certify("logs/my run").identical


# ---------------------------------------------------------------- from a second window


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_it_is_watched_scraped_stopped_and_certified_by_others():
    write(speed="3000", more="metrics: {prometheus: {enabled: true, port: 0}}\n")
    said: list[str] = []
    with started(said) as process:
        shown = dict(line.split(maxsplit=1) for line in said[:3] if "  " in line)
        assert "regimeflow attach 'logs/my run'" in "\n".join(said[:3])
        assert shown["metrics"].startswith("http://127.0.0.1:")
        with urllib.request.urlopen(shown["metrics"], timeout=30) as answer:
            series = answer.read().decode()
        looked, wrong = another("status", "logs/my run").communicate(timeout=60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    (equity,) = re.findall(r"^regimeflow_equity (\S+)$", series, re.MULTILINE)
    assert 90_000 < float(equity) < 110_000
    assert 'regimeflow_trading_state{state="active"} 1.0' in series
    assert (looked.startswith("running, trading active"), wrong) == (True, "")
    assert (process.returncode, err) == (0, "")
    assert "stopped (interrupted) · " in out
    with another("certify", "logs/my run") as judge:
        verdict, _ = judge.communicate(timeout=60)
    assert "IDENTICAL (" in verdict
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(shown["metrics"], timeout=30)


def test_a_port_that_is_taken_starts_nothing(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write(more=f"metrics: {{prometheus: {{enabled: true, port: {port}}}}}\n")
        code, out, err = run(capsys, "live", "--config", "c.yaml")
    assert (code, out) == (1, "")
    assert err.startswith("regimeflow: ")
    assert str(port) in err
    assert not Path("logs").exists()


# ---------------------------------------------------------------- the example


def test_the_example_runs_as_it_stands(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "examples" / "live_simulated.yaml").read_text()
    quick = text.replace("speed: 432000", "speed: null").replace("runs", str(tmp_path / "runs"))
    quick = quick.replace("    enabled: true #", "    enabled: true\n    port: 0 #")
    assert (quick.count(str(tmp_path)), quick.count("port: 0")) == (1, 1)
    config = tmp_path / "quick.yaml"
    config.write_text(quick)
    assert run(capsys, "config", "--config", "examples/live_simulated.yaml")[0] == 0
    code, out, err = run(capsys, "live", "--config", str(config))
    assert (code, err) == (0, "")
    assert "502 of 502 events" in out
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert rf.certify(run_dir).identical
    assert len(rf.read_journal(run_dir).frame()) > 502
