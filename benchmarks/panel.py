"""Dashboards: what an update costs the kernel, and what three of them cost a session."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import live, prices

_BARS, _EVERY = 2_000, 10
_UPDATES = 300

#: Run in a kernel of its own, with the messages that a page would get.
_CELLS = """
import json, time
import regimeflow as rf
from benchmarks import frames, prices
from pathlib import Path
from regimeflow.widgets.board import Board
from regimeflow.widgets.panel import Panel
from regimeflow.widgets.pump import Pump

class Turns(rf.Strategy):
    def initialize(self, ctx):
        self.bars = 0
    def on_bar(self, ctx, bar):
        self.bars += 1
        if self.bars % EVERY == 0:
            ctx.target(bar.symbol, qty=0.0 if ctx.position(bar.symbol) else 10.0)

data = prices.read(Path(FOLDER), "bars", BARS + 2 * UPDATES)
baseline = rf.backtest(Turns(), data, progress=False)
venue = rf.venues.Simulated(data, speed=None)
session = rf.LiveSession(Turns(), venue, baseline=baseline, run_dir=Path(FOLDER) / "shown")
session.run(progress=False)

board = Board(session)
frames.bring_on(board)
pump = Pump([board], Panel(lambda content: None), lambda: None)
board.follow(BARS)
pump.snapshot()
time.sleep(0.5)
whole = board.follow
board.follow = lambda: whole(6)  # about two bars an update
cpu, thread = time.process_time(), time.thread_time()
for _ in range(UPDATES):
    pump._told = pump._paid = 0.0  # as if it were due
    pump.update()
thread = time.thread_time() - thread
time.sleep(0.5)  # what is sent on other threads
cpu = time.process_time() - cpu
assert pump.updates == UPDATES, pump.updates
print(json.dumps({"cpu_ms": 1e3 * cpu / UPDATES, "bytes": pump.sent_bytes / UPDATES}))
"""


def bars(folder: Path, scale: int) -> None:
    """Make the bars of the panel's row."""
    prices.make(folder, "bars", _BARS + 2 * _UPDATES)


def update(folder: Path, scale: int) -> tuple[Any, Any, int]:
    """Return the work of updating a panel of 2,000 bars and 200 fills, in a kernel."""
    return lambda: None, lambda: _in_kernel(folder), _UPDATES


def _in_kernel(folder: Path) -> dict[str, float]:
    import json

    from jupyter_client.manager import start_new_kernel

    from regimeflow.widgets.pump import PER_SECOND

    shutil.rmtree(folder / "shown", ignore_errors=True)
    names = {"FOLDER": str(folder), "BARS": _BARS, "EVERY": _EVERY, "UPDATES": _UPDATES}
    given = "\n".join(f"{name} = {value!r}" for name, value in names.items())
    manager, client = start_new_kernel(extra_arguments=["--log-level=40"])
    said: list[str] = []

    def hear(message: Any) -> None:
        content = message["content"]
        if message["msg_type"] == "error":
            raise AssertionError("\n".join(content["traceback"]))
        said.append(content.get("text", ""))

    try:
        root = str(Path(__file__).resolve().parents[1])
        path = f"import sys; sys.path.insert(0, {root!r})\n"
        client.execute_interactive(path + given + _CELLS, timeout=300, output_hook=hear)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    measured = json.loads(next(text for text in said if text.startswith("{")))
    return {
        "cpu_ms": measured["cpu_ms"],
        "kb_per_s": measured["bytes"] * PER_SECOND / 1e3,
    }


def beside(folder: Path, scale: int, *, detached: bool) -> tuple[Any, Any, int]:
    """Return the work of the latency row, alone and with three dashboards that are looked at."""
    ticks = live.ticks(scale)
    return lambda: None, lambda: _with_and_without(folder, ticks, detached), ticks


def _with_and_without(folder: Path, ticks: int, detached: bool) -> dict[str, float]:
    # Each in a process of its own, by turns: a machine's mood must not decide.
    found: dict[int, list[dict[str, float]]] = {0: [], 3: []}
    for _ in range(3):
        for count, rows in found.items():
            rows.append(_measured(folder, ticks, count, detached))
    best = {count: min(row["p99_us"] for row in rows) for count, rows in found.items()}
    return {"p99_us": best[3], "alone_us": best[0], "grown_pct": 100 * (best[3] / best[0] - 1)}


def _measured(folder: Path, ticks: int, dashboards: int, detached: bool) -> dict[str, float]:
    import json

    code = (
        "import json, sys; from pathlib import Path; from benchmarks.live import latencies\n"
        "if __name__ == '__main__':\n"
        f"    found = latencies(Path({str(folder / 'looked-at')!r}), {ticks}, {dashboards}, "
        f"detached={detached})\n"
        "    print(json.dumps(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    time.sleep(0.1)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))
