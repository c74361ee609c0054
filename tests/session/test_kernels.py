"""Sessions and notebook kernels: real kernels that are interrupted, killed and restarted."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty

import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

import regimeflow as rf
from regimeflow.journal import events
from regimeflow.model.events import Command
from regimeflow.session.control import read_whereabouts
from regimeflow.session.detached import worker_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="detached sessions need Unix")

ROOT = Path(__file__).resolve().parents[2]
CELLS = {
    "strategy": """
        import regimeflow as rf
        LOT = 10
        class Mine(rf.Strategy):
            boost = 1
            def on_bar(self, ctx, bar):
                ctx.target(bar.symbol, qty=LOT * self.boost)
    """,
    "start": """
        venue = rf.venues.Simulated(rf.datasets.synthetic(n=60_000, seed=3), speed=60_000.0)
        session = rf.LiveSession(Mine(), venue, run_dir=RUN, on_kernel_loss="cancel")
        session.start(detached=True)
        print(session)
    """,
    "change": "LOT = 70; Mine.boost = 50",
    "look": "print(session.state, session.positions, len(session.fills) > 0)",
    "attach": "import regimeflow as rf; session = rf.attach(RUN); print(session)",
}
RUNNING = "<LiveSession Mine on simulated: running>"


class Kernel:
    """A notebook's kernel, and its cells."""

    def __init__(self, run_dir: Path) -> None:
        self.manager = KernelManager()
        self.manager._kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            language="python",
        )
        self.run_dir = run_dir
        self.manager.start_kernel(env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.connect()

    def connect(self) -> None:
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.cell(f"RUN = {str(self.run_dir)!r}")

    def cell(self, code: str, during=lambda: None) -> str:
        """Run a cell and return what it printed; ``during`` is called once it has begun."""
        lines = CELLS.get(code, code).split("\n")
        indent = min((len(x) - len(x.lstrip()) for x in lines if x.strip()), default=0)
        asked = self.client.execute("\n".join(x[indent:] for x in lines))
        told, begun, deadline = "", False, time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(Empty):
                message = self.client.get_iopub_msg(timeout=1)
                if message["parent_header"].get("msg_id") != asked:
                    continue
                kind, content = message["msg_type"], message["content"]
                if kind == "stream":
                    told += content["text"]
                    if not begun:
                        begun = True
                        during()
                elif kind == "error":
                    told += f"{content['ename']}: {content['evalue']}"
                elif kind == "status" and content["execution_state"] == "idle":
                    return told.strip()
        raise AssertionError(f"the cell did not end: {code}")

    def kill(self) -> None:
        """The kernel is gone, without a word."""
        os.kill(self.manager.provisioner.pid, signal.SIGKILL)
        self.client.stop_channels()

    def restart(self, now: bool = True) -> None:
        self.client.stop_channels()
        self.manager.restart_kernel(now=now)
        self.connect()


@pytest.fixture
def kernel(tmp_path) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path / "run")
    try:
        yield kernel
    finally:
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)
        kernel.manager.cleanup_resources()
        with contextlib.suppress(rf.SessionError):
            worker = worker_of(kernel.run_dir, lease=False)
            if not worker.ended(0.0):
                worker.command("stop", "test is over", "test")
                worker.ended(20.0)


def test_a_session_lives_through_what_happens_to_its_kernel(kernel):
    kernel.cell("strategy")
    assert kernel.cell("start") == RUNNING
    pid = read_whereabouts(kernel.run_dir).pid
    look = worker_of(kernel.run_dir, lease=False)

    # Cells in any order: one session, and what the notebook changes does not reach it.
    order = ["start", "change", "attach", "start", "look"]
    random.Random(4).shuffle(order)
    for name in order:
        kernel.cell(name)
    while not look.status().live.positions:
        assert not look.ended(0.02)
    assert kernel.cell("look") == "active {'asset': 10.0} True"

    # An interrupt ends the waiting, not the session.
    waiting = 'print("waiting", flush=True); session.wait(progress=False); print(session)'
    told = kernel.cell(waiting, during=kernel.manager.interrupt_kernel)
    assert told.split("\n") == ["waiting", RUNNING]
    assert look.status().state == "active"

    # A kernel that is killed: what was agreed, and a new one takes the session over.
    kernel.kill()
    while look.status().state != "reducing":
        assert not look.ended(0.02)
    kernel.restart()
    assert kernel.cell("attach") == RUNNING
    while look.status().state != "active":
        assert not look.ended(0.02)
    assert kernel.cell("look") == "active {'asset': 10.0} True"

    # A kernel that is restarted: the same, and the very cell that started it joins it again.
    kernel.restart(now=False)
    while look.status().state != "reducing":
        assert not look.ended(0.02)
    kernel.cell("strategy")
    assert kernel.cell("start") == RUNNING
    while look.status().state != "active":
        assert not look.ended(0.02)
    kernel.cell("session.release()")
    kernel.kill()
    assert not look.ended(0.1)
    assert read_whereabouts(kernel.run_dir).pid == pid
    look.command("stop", "enough", "test")
    assert look.ended(20.0)
    lost = [e.name for _, e, _ in events(kernel.run_dir) if getattr(e, "who", "") == "kernel loss"]
    assert lost == ["pause", "cancel_all", "unpause"] * 2
    assert rf.certify(kernel.run_dir).identical


def test_a_session_in_the_kernel_obeys_an_orderly_end(kernel):
    kernel.cell("strategy")
    kernel.cell("start".replace("start", CELLS["start"].replace("detached=True", "")))
    assert "dies with it" in kernel.cell("print(session._repr_html_())")
    kernel.manager.shutdown_kernel(now=False)
    ended = rf.attach(kernel.run_dir)
    assert ended.status.phase == "stopped"
    said = [e for _, e, _ in events(kernel.run_dir) if isinstance(e, Command)]
    assert [(e.name, e.who) for e in said] == [("stop", "exit")]
    assert rf.certify(kernel.run_dir).identical
