"""``regimeflow watch``: the board in a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import regimeflow as rf
from regimeflow import cli

ROOT = Path(__file__).resolve().parents[1]


def turns(ctx, bar):
    ctx.target(bar.symbol, qty=0.0 if ctx.position(bar.symbol) else 10.0)


def session(folder, **options):
    venue = rf.venues.Simulated(rf.datasets.synthetic(n=2_000), **{"speed": None, **options})
    return rf.LiveSession(turns, venue, run_dir=folder, limits=rf.Limits(max_position=50))


@pytest.fixture
def ended(tmp_path):
    return session(tmp_path / "run", end="2024-01-02 01:00").run(progress=False)


def test_it_shows_what_the_board_shows(ended, capsys):
    assert cli.main(["watch", str(ended.run_dir)]) == 0
    out = capsys.readouterr().out
    for word in ("SIMULATED · stopped", "DRIFT", "FILLS", "POSITIONS", "limits used: max position"):
        assert word in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 120


def test_without_a_run_it_says_so(tmp_path, capsys):
    assert cli.main(["watch", str(tmp_path)]) == 1
    assert "no run" in capsys.readouterr().err


def test_an_interval_that_is_none_is_refused(ended, capsys):
    assert cli.main(["watch", str(ended.run_dir), "--every", "0"]) == 1
    assert "--every" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="detached sessions need Unix")
def test_on_a_terminal_it_is_renewed_and_an_interrupt_ends_the_watching_only(tmp_path):
    running = session(tmp_path / "run", speed=60.0 * 50).start(detached=True)
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "110", "LINES": "40"}
    command = [
        sys.executable,
        "-m",
        "regimeflow",
        "watch",
        str(running.run_dir),
        "--every",
        "0.2",
    ]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        seen = b""
        while seen.count(b"\x1b[H") < 3:
            seen += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # how Linux says that nobody writes any more
            while some := os.read(ours, 65_536):
                seen += some
        assert process.wait(20) == 0
    os.close(ours)
    assert b"trading" in seen
    assert b"\x1b[?1049l" in seen  # the terminal is given back
    assert running.status.phase == "running"
    running.stop()
