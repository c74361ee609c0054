"""A halt that comes while the engine is busy with a callback: nothing leaves after it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import regimeflow as rf
from regimeflow import cli
from regimeflow.journal import events
from regimeflow.model.events import Command, OrderUpdate, StateChanged, Submit
from regimeflow.sandbox.process import VenueProcess
from regimeflow.session.host import open_to_others, steered_by_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def await_(condition: Callable[[], object], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


class Waits(rf.Strategy):
    """Rests an order, then keeps its third bar until it is let go, and asks for another order.

    The live engine comes first to each bar, and its twin second.
    """

    folder: str

    def initialize(self, ctx):
        self.seen = 0

    def on_bar(self, ctx, bar):
        self.seen += 1
        if self.seen == 1:
            ctx.buy(bar.symbol, 1, limit=ctx.instrument(bar.symbol).round_price(bar.close * 0.5))
        if self.seen == 3:
            self.wait("twin" if self.is_there("live") else "live")
            ctx.buy(bar.symbol, 2)

    def is_there(self, name):
        return Path(self.folder, name).exists()

    def wait(self, who):
        Path(self.folder, who).touch()
        while not self.is_there(f"go {who}"):
            time.sleep(0.005)


@pytest.fixture
def venue(tmp_path) -> Iterator[VenueProcess]:
    with VenueProcess(tmp_path / "venue.jsonl", symbols=["AAA"], timeframe="100ms") as running:
        yield running


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "signs"
    place.mkdir()
    return place


def session(venue: VenueProcess, folder: Path, run_dir: Path, **options) -> rf.LiveSession:
    options.setdefault("intervals", rf.venues.Intervals(clock_ms=20.0))
    return rf.LiveSession(
        Waits(folder=str(folder)),
        rf.venues.Loopback(port=venue.port),
        symbols=["AAA"],
        timeframe="100ms",
        run_dir=run_dir,
        warmup=1,
        **options,
    )


def at_venue(venue: VenueProcess, kind: str) -> list[str]:
    return [row.order_id for row in venue.rows() if row.kind == kind]


def by_file(live: rf.LiveSession) -> None:
    (live.run_dir / "kill").write_text("enough")


HALTS = {
    "method": lambda live: live.halt("enough"),
    "flatten": lambda live: live.flatten("enough"),
    "stop": lambda live: live.worker.command("stop", "enough", "user"),
    "file": by_file,
    "signal": lambda live: os.kill(os.getpid(), signal.SIGUSR1),
    "terminal": lambda live: cli.main(["halt", str(live.run_dir), "--why", "enough"]),
}


@pytest.mark.parametrize("how", HALTS)
def test_nothing_leaves_after_a_halt_that_a_callback_is_in_the_way_of(venue, folder, tmp_path, how):
    run_dir = tmp_path / "run"
    live = session(venue, folder, run_dir)
    with steered_by_signals(live, bool), open_to_others(live.start()):
        await_((folder / "live").exists)
        HALTS[how](live)
        await_(lambda: live.worker.link.outbox.halting)
        (folder / "go live").touch()
        # The twin, which thinks as long as the strategy does, is not waited for.
        await_(lambda: live.state == ("reducing" if how == "flatten" else "halted"))
        await_(lambda: at_venue(venue, "cancel") == at_venue(venue, "submit"))
        assert not (folder / "go twin").exists()
        (folder / "go twin").touch()
        (run_dir / "kill").unlink(missing_ok=True)
        if how != "stop":
            live.stop()
        live.wait(progress=False)
    assert len(at_venue(venue, "submit")) == 1
    told = [thing for _, event, outputs in events(run_dir) for thing in (event, *outputs)]
    late = [thing.order_id for thing in told if isinstance(thing, Submit)][1]
    (fate,) = [e for e in told if isinstance(e, OrderUpdate) and e.order_id == late]
    assert fate.what == "never_sent"
    assert "trading is" in fate.reason
    assert rf.certify(run_dir).identical


def test_a_resume_right_after_a_halt_does_not_let_it_leave(venue, folder, tmp_path):
    run_dir = tmp_path / "run"
    live = session(venue, folder, run_dir).start()
    await_((folder / "live").exists)
    for name in ("halt", "halt", "resume"):
        getattr(live, name)("by mistake")
    (folder / "go live").touch()
    (folder / "go twin").touch()
    await_(lambda: live.status.why == "by mistake" and live.state == "active")
    await_(lambda: at_venue(venue, "cancel"))
    assert not live.worker.link.outbox.halting  # taken back: the session trades again
    live.stop()
    assert len(at_venue(venue, "submit")) == 1
    changes = [o.after for _, _, out in events(run_dir) for o in out if type(o) is StateChanged]
    assert changes[-3:] == ["halted", "active", "halted"]
    assert rf.certify(run_dir).identical


def test_a_halt_while_a_stop_is_under_way_changes_nothing(venue, folder, tmp_path):
    live = session(venue, folder, tmp_path / "run").start()
    await_((folder / "live").exists)
    live.worker.command("stop", "enough", "user")
    live.halt("and at once")
    for name in ("go live", "go twin"):
        (folder / name).touch()
    live.wait(progress=False)
    assert live.status.phase == "stopped"
    assert len(at_venue(venue, "submit")) == 1
    said = [e.name for _, e, _ in events(tmp_path / "run") if isinstance(e, Command)]
    assert said == ["stop", "halt"]
    assert rf.certify(tmp_path / "run").identical
