"""Notebook kernels that are killed, restarted and interrupted under a detached session."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

import regimeflow as rf
from regimeflow.journal import events
from regimeflow.session.control import read_whereabouts
from regimeflow.session.detached import Worker, worker_of
from regimeflow.session.status import Status
from tests.soak.outcome import Outcome

ROOT = Path(__file__).resolve().parents[2]
#: How long anything between two processes may take on a busy machine.
PATIENCE_S = 60.0


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
        self.client.wait_for_ready(timeout=PATIENCE_S)
        self.cell(f"RUN = {str(self.run_dir)!r}")

    def cell(self, code: str, during: Callable[[], None] = lambda: None) -> str:
        """Run a cell and return what it printed; ``during`` is called once it has begun."""
        lines = code.split("\n")
        indent = min((len(x) - len(x.lstrip()) for x in lines if x.strip()), default=0)
        asked = self.client.execute("\n".join(x[indent:] for x in lines))
        told, begun, deadline = "", False, time.monotonic() + PATIENCE_S
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


@contextlib.contextmanager
def notebook(run_dir: Path) -> Iterator[Kernel]:
    """A kernel, and in the end neither it nor a session of it."""
    kernel = Kernel(run_dir)
    try:
        yield kernel
    finally:
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)
        kernel.manager.cleanup_resources()
        with contextlib.suppress(rf.SessionError):
            worker = worker_of(kernel.run_dir, lease=False)
            if not worker.ended(0.0):
                worker.command("stop", "the notebook is closed", "test")
                worker.ended(20.0)


# ---------------------------------------------------------------- the row

ATTACH = "import regimeflow as rf; session = rf.attach(RUN); print(session)"
RUNNING = "<LiveSession Mine on simulated: running>"
_START = """
    import regimeflow as rf
    class Mine(rf.Strategy):
        "Holds ten, and has an order in the market that no price comes near."
        def initialize(self, ctx):
            self.bars = 0
        def on_bar(self, ctx, bar):
            self.bars += 1
            if self.bars == 1:
                ctx.buy(bar.symbol, 10)
            elif self.bars % 20 == 2 and not ctx.orders(bar.symbol):
                ctx.buy(bar.symbol, 1, limit=round(bar.close / 2, 2), tif="gtc")
    venue = rf.venues.Simulated(rf.datasets.synthetic(n=60_000, seed=SEED), speed=6_000.0)
    session = rf.LiveSession(Mine(), venue, run_dir=RUN, on_kernel_loss=POLICY)
    session.start(detached=True)
    print(session)
"""
# One write a line: an interrupt may come between any two.
_WAIT = "session.wait(progress=lambda done: print('waiting\\n', end='')); print(session)"
#: What the session holds before: ten units, and one order that works.
_WHOLE = ("active", 10.0, 1)
#: Policy -> trading state, units held and orders working once it is obeyed, the commands for it,
#: and for what is allowed again when somebody controls the session.
_OBEYED = {
    "continue": (_WHOLE, [], []),
    "pause": (("reducing", 10.0, 1), ["pause"], ["unpause"]),
    "cancel": (("reducing", 10.0, 0), ["pause", "cancel_all"], ["unpause"]),
    "flatten": (("halted", 0.0, 0), ["flatten"], ["unpause"]),
}
_ENDS = ("killed", "restarted at once", "restarted", "interrupted")


def kernels(seed: int) -> Outcome:
    """Let something happen to the kernel that controls a session with an open order.

    One after the other, seeds go through each policy with each end; the unit is an end. Every
    fourth kernel is only interrupted, of which the session must not hear.
    """
    end, policy = _ENDS[seed % 4], ("continue", "pause", "cancel", "flatten")[seed // 4 % 4]
    with tempfile.TemporaryDirectory() as name, notebook(Path(name, "run")) as kernel:
        case = _Case(kernel, policy)
        case.begin(seed)
        case.happens(end)
        case.goes_on(lost=end != "interrupted")
        case.ends(lost=end != "interrupted")
    violations = [f"{v} ({policy}, {end})" for v in case.violations]
    return Outcome(1, violations, Counter([end, f"on_kernel_loss {policy}"]))


class _Case:
    """One session and its kernel.

    Attributes:
        violations: what must not be.
    """

    def __init__(self, kernel: Kernel, policy: str) -> None:
        self.kernel, self.policy = kernel, policy
        self.violations: list[str] = []

    def begin(self, seed: int) -> None:
        """Start the session from a cell, and wait until it holds something and has an order."""
        told = self.kernel.cell(f"SEED, POLICY = {seed}, {self.policy!r}\n{_dedented(_START)}")
        assert told == RUNNING, told
        self.pid = read_whereabouts(self.kernel.run_dir).pid
        self.look: Worker = worker_of(self.kernel.run_dir, lease=False)
        assert self._becomes(_WHOLE), f"it never traded: {self.look.status()}"

    def happens(self, end: str) -> None:
        """Let it happen to the kernel, and see the policy obeyed."""
        lost = end != "interrupted"
        if end == "killed":
            self.kernel.kill()
            self._obeyed()
            self.kernel.restart()
        elif lost:
            self.kernel.restart(now=end == "restarted at once")
            self._obeyed()
        else:
            told = self.kernel.cell(_WAIT, during=self.kernel.manager.interrupt_kernel)
            if told.split("\n")[-1] != RUNNING:
                self.violations.append(f"an interrupt of the waiting told {told!r}")
            self._lives_on()

    def goes_on(self, *, lost: bool) -> None:
        """Control it again, by hand where the policy says so, and see it trade as before."""
        if lost:
            told = self.kernel.cell(ATTACH)
            if told != RUNNING:
                self.violations.append(f"attached again, it is {told!r}")
            if self.policy == "flatten":
                assert not self.kernel.cell("session.resume()")
        held = 0.0 if lost and self.policy == "flatten" else 10.0
        if not self._becomes(("active", held, 1)):
            self.violations.append(f"it does not trade on: {_seen(self.look.status())}")
        if (pid := read_whereabouts(self.kernel.run_dir).pid) != self.pid:
            self.violations.append(f"process {pid} runs it now, {self.pid} did")

    def ends(self, *, lost: bool) -> None:
        """Stop it, and find in its journal what was done, and nothing else."""
        self.kernel.cell("session.release()")
        self.look.command("stop", "enough", "test")
        if not self.look.ended(PATIENCE_S):
            self.violations.append("it does not stop")
            return
        told = [e.name for _, e, _ in events(self.kernel.run_dir) if _who(e) == "kernel loss"]
        _, obeyed, again = _OBEYED[self.policy]
        if told != ([*obeyed, *again] if lost else []):
            self.violations.append(f"of its own it did {told}")
        certificate = rf.certify(self.kernel.run_dir, progress=False)
        if not certificate.identical:
            self.violations.append(f"not certified: {certificate}")

    def _obeyed(self) -> None:
        wanted, _, _ = _OBEYED[self.policy]
        if not self._becomes(wanted):
            self.violations.append(f"{_seen(self.look.status())} where {wanted} was agreed")
        self._lives_on()

    def _lives_on(self) -> None:
        """Its market goes on, and what it is stays as it is."""
        before = self.look.status()
        if not self._comes(lambda now: now.done >= before.done + 30):
            self.violations.append("its market stands still")
        if (now := _seen(self.look.status())) != _seen(before):
            self.violations.append(f"{_seen(before)} became {now} with nobody there")

    def _becomes(self, wanted: tuple[str, float, int]) -> bool:
        return self._comes(lambda now: _seen(now) == wanted)

    def _comes(self, condition: Callable[[Status], bool]) -> bool:
        until = time.monotonic() + PATIENCE_S
        while not condition(self.look.status()):
            if time.monotonic() > until or self.look.ended(0.02):
                return False
        return True


def _seen(status: Status) -> tuple[str, float, int]:
    return status.state, sum(status.live.positions.values()), status.working


def _who(event: object) -> str:
    return getattr(event, "who", "")


def _dedented(text: str) -> str:
    return "\n".join(line[4:] for line in text.split("\n"))
