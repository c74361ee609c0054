"""A session in another process is looked at and steered as one of this process is."""

from __future__ import annotations

import sys
import threading

import pytest

import regimeflow as rf
from regimeflow.journal import events
from regimeflow.model.events import Command
from regimeflow.session.detached import Detached
from regimeflow.widgets.board import Board
from regimeflow.widgets.pump import Pump

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="detached sessions need Unix")


def turns(ctx, bar):
    ctx.target(bar.symbol, qty=0.0 if ctx.position(bar.symbol) else 10.0)


def test_it_is_followed_and_steered(tmp_path):
    data = rf.datasets.synthetic(n=20_000, seed=3)
    venue = rf.venues.Simulated(data, speed=60 * 100.0)
    baseline = rf.backtest(turns, data)
    session = rf.LiveSession(turns, venue, baseline=baseline, run_dir=tmp_path / "run")
    session.start(detached=True)
    assert isinstance(session.worker, Detached)
    board, answered, told = Board(session), threading.Event(), []

    class Page:
        def tell(self, kind, seq, body):
            told.append((kind, body))
            if kind == "answer":
                answered.set()

    while len(board.view()["fills"]) < 3 or len(board.view()["equity"]) < 3:
        board.follow()
    view = board.view()
    assert view["head"]["cone"]
    assert view["equity"][-1][4] < view["equity"][-1][5]
    gap = sum(money for name, money, *_ in view["drift"]["causes"] if name != "live − twin")
    assert gap == pytest.approx(view["drift"]["causes"][-1][1], abs=0.02)

    pump = Pump([board], Page(), lambda: None)
    pump.start()
    pump.hear({"kind": "command", "board": 0, "name": "halt", "why": "lunch"})
    assert answered.wait(60.0)
    pump.stop()
    session.stop()
    given = [e for _, e, _ in events(session.run_dir) if isinstance(e, Command)]
    assert (given[0].name, given[0].why) == ("halt", "lunch")
    assert given[0].who.endswith("at the panel")
