"""A real interrupt, in a process of its own: what there is by then is kept, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

import regimeflow as rf

PROLOGUE = """
import sys
import regimeflow as rf

frame = rf.datasets.synthetic(n=200_000)

class Slow(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=10)
        if ctx.now > frame.index[200].value:
            if not hasattr(self, "told"):
                self.told = True
                print("running", flush=True)
"""

BACKTEST = """
class Slower(Slow):
    def on_bar(self, ctx, bar):
        super().on_bar(ctx, bar)
        sum(range(3_000))

report = rf.backtest(Slower, frame, progress=False)
print("report", 200 < len(report.equity) < 200_000, len(report.fills), report.notes)
"""

SESSION = """
venue = rf.venues.Simulated(frame, speed=200_000.0)
session = rf.LiveSession(Slow(), venue, run_dir=sys.argv[1])
print("session", session.run(progress=False))
print("identical", rf.certify(sys.argv[1]).identical)
"""


def interrupted(script: str, *arguments: str) -> list[str]:
    """Run a script, interrupt it once it says that it runs, and return what it printed after."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROLOGUE + script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "running"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    assert process.returncode == 0
    return out.strip().splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_an_interrupted_backtest_returns_its_report_up_to_there():
    (line,) = interrupted(BACKTEST)
    assert line.startswith("report True 1 ")
    assert "interrupted at" in line


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_an_interrupted_session_stops_and_certifies(tmp_path):
    lines = interrupted(SESSION, str(tmp_path / "run"))
    # The twin and the replay say that they run, too.
    told = [line for line in lines if line != "running"]
    assert told == ["session <LiveSession Slow on simulated: stopped>", "identical True"]
    assert len(rf.bars(tmp_path / "run")) > 100
