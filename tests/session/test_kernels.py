"""Sessions and notebook kernels: real kernels that are interrupted, killed and restarted."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

import pytest

import regimeflow as rf
from regimeflow.journal import events
from regimeflow.model.events import Command
from regimeflow.session.control import read_whereabouts
from regimeflow.session.detached import worker_of
from tests.soak.kernels import ATTACH, RUNNING, Kernel, notebook

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="detached sessions need Unix")

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
    "look": """
        while not session.positions:  # a snapshot may be from before the first fill
            session.wait(timeout_s=0.05, progress=False)
        print(session.state, session.positions, len(session.fills) > 0)
    """,
    "attach": ATTACH,
}


@pytest.fixture
def kernel(tmp_path) -> Iterator[Kernel]:
    with notebook(tmp_path / "run") as kernel:
        yield kernel


def test_a_session_lives_through_what_happens_to_its_kernel(kernel):
    kernel.cell(CELLS["strategy"])
    assert kernel.cell(CELLS["start"]) == RUNNING
    pid = read_whereabouts(kernel.run_dir).pid
    look = worker_of(kernel.run_dir, lease=False)

    # Cells in any order: one session, and what the notebook changes does not reach it.
    order = ["start", "change", "attach", "start", "look"]
    random.Random(4).shuffle(order)
    for name in order:
        kernel.cell(CELLS[name])
    while not look.status().live.positions:
        assert not look.ended(0.02)
    assert kernel.cell(CELLS["look"]) == "active {'asset': 10.0} True"

    # An interrupt ends the waiting, not the session.
    waiting = "session.wait(progress=lambda done: print('waiting\\n', end='')); print(session)"
    told = kernel.cell(waiting, during=kernel.manager.interrupt_kernel).split("\n")
    assert set(told) == {"waiting", RUNNING}
    assert told[-1] == RUNNING
    assert look.status().state == "active"

    # A kernel that is killed: what was agreed, and a new one takes the session over.
    kernel.kill()
    while look.status().state != "reducing":
        assert not look.ended(0.02)
    kernel.restart()
    assert kernel.cell(CELLS["attach"]) == RUNNING
    while look.status().state != "active":
        assert not look.ended(0.02)
    assert kernel.cell(CELLS["look"]) == "active {'asset': 10.0} True"

    # A kernel that is restarted: the same, and the very cell that started it joins it again.
    kernel.restart(now=False)
    while look.status().state != "reducing":
        assert not look.ended(0.02)
    kernel.cell(CELLS["strategy"])
    assert kernel.cell(CELLS["start"]) == RUNNING
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
    kernel.cell(CELLS["strategy"])
    kernel.cell(CELLS["start"].replace("detached=True", ""))
    assert "dies with it" in kernel.cell("print(session._repr_html_())")
    kernel.manager.shutdown_kernel(now=False)
    ended = rf.attach(kernel.run_dir)
    assert ended.status.phase == "stopped"
    said = [e for _, e, _ in events(kernel.run_dir) if isinstance(e, Command)]
    assert [(e.name, e.who) for e in said] == [("stop", "exit")]
    assert rf.certify(kernel.run_dir).identical
