"""``regimeflow config`` and ``regimeflow live``, from a file to exit codes and a certified run."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import regimeflow as rf
from regimeflow import cli
from regimeflow.journal import events
from regimeflow.model.events import Command, Submit

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
    assert lines[-2].startswith("stopped, trading halted")
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
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_cleanly(capsys, number):
    write(speed="3000")
    with started() as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "stopped, trading halted (interrupted)" in out
    assert rf.certify("logs/my run").identical


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
    assert "stopped, trading halted (interrupted)" in out
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
