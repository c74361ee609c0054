"""The doctor in a cell: what stands between a session and trading."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections import namedtuple

import pytest

import regimeflow as rf
from regimeflow.session.check import Checkup
from regimeflow.session.real_money import NEEDED_LIMITS, Finding

COMPLETE = rf.Limits(
    max_notional=1e9, max_position=1e9, daily_loss=1e9, max_orders_per_minute=1_000
)


class Hold(rf.Strategy):
    qty: float = 10.0
    fails: bool = False

    def on_bar(self, ctx, bar):
        if self.fails:
            raise ValueError("<b>as asked</b>")
        ctx.target(bar.symbol, qty=self.qty)


class Other(rf.Strategy):
    qty: float = 10.0
    fails: bool = False

    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=-self.qty)


FRAME = rf.datasets.synthetic(n=60)


def session(folder, strategy=None, **options) -> rf.LiveSession:
    venue = rf.venues.Simulated(FRAME, speed=None)
    options.setdefault("limits", COMPLETE)
    return rf.LiveSession(strategy or Hold(), venue, run_dir=folder / "run", **options)


def found(live: rf.LiveSession, name: str) -> Finding:
    (finding,) = [f for f in live.check() if f.name == name]
    return finding


def wrong(live: rf.LiveSession) -> dict[str, str]:
    return {f.name: f.text for f in live.check() if not f.ok}


def test_before_it_starts_nothing_stands_in_the_way(tmp_path):
    live = session(tmp_path)
    assert live.check()
    assert wrong(live) == {}
    assert found(live, "trading").text == "new, active"
    assert found(live, "baseline").text == "there is none: drift is measured against nothing"
    assert found(live, "run directory").text == f"{tmp_path / 'run'} can be written"
    assert not (tmp_path / "run").exists()  # looking makes nothing


@pytest.mark.parametrize("missing", NEEDED_LIMITS)
def test_a_limit_that_real_money_needs(tmp_path, missing):
    given = {name: getattr(COMPLETE, name) for name in NEEDED_LIMITS if name != missing}
    live = session(tmp_path, limits=rf.Limits(**given))
    assert wrong(live) == {"limits": f"not set: {missing}; real money needs them"}


def test_a_kill_file(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "kill").write_text("lunch")
    live = session(tmp_path)
    assert wrong(live) == {"kill switch": "kill file: lunch: remove the file to trade again"}


@pytest.mark.parametrize(
    ("strategy", "text"),
    [
        (Hold(), "is of this very strategy"),
        (Hold(qty=5), "has another parameters"),
        (Other(), "has another source"),
        (Other(qty=5), "has another source and other parameters"),
    ],
)
def test_a_baseline_of_another_strategy(tmp_path, strategy, text):
    live = session(tmp_path, baseline=rf.backtest(strategy, FRAME))
    finding = found(live, "baseline")
    assert (finding.ok, finding.text) == (text.startswith("is of"), text)


def test_a_session_that_was_stopped(tmp_path):
    live = session(tmp_path).run(progress=False)
    assert "stopped, ended (end of data)" in found(live, "trading").text
    assert "holds a run that is taken up again" in found(live, "run directory").text
    assert not live.check()


def test_a_strategy_that_failed_is_said_first_and_escaped(tmp_path):
    live = session(tmp_path, Hold(fails=True)).run(progress=False)
    checkup = live.check()
    assert not checkup
    first = next(iter(checkup))
    assert (first.name, first.ok) == ("trading", False)
    assert "<b>as asked</b>" in first.text
    page = checkup._repr_html_()
    assert "&lt;b&gt;as asked" in page
    assert "<b>as" not in page


def test_of_a_run_that_ended_elsewhere(tmp_path):
    session(tmp_path).run(progress=False)
    ended = rf.attach(tmp_path / "run")
    assert "stopped" in found(ended, "trading").text
    assert found(ended, "limits").ok


def test_a_disk_that_is_almost_full(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(1, 1, 20 * 2**20))
    assert wrong(session(tmp_path)) == {"disk": "20 MB are free for the journal"}


def test_a_directory_that_cannot_be_written(tmp_path, monkeypatch):
    live = session(tmp_path)
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    assert wrong(live) == {"run directory": f"{tmp_path / 'run'} cannot be written"}


def test_the_other_package_of_that_name(tmp_path, monkeypatch):
    live = session(tmp_path)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0.16")
    assert wrong(live)["packages"].startswith("the package regimeflow 1.0.16 of another project")


def test_faces():
    checkup = Checkup(
        [Finding("a", True, "fine"), Finding("b", False, "bad"), Finding("c", True, "")]
    )
    assert [f.name for f in checkup] == ["b", "a", "c"]
    assert len(checkup) == 3
    assert repr(checkup) == "LOOK  b: bad\nok    a: fine\nok    c: "
    assert "✘ look" in checkup._repr_html_()
    assert not checkup
    assert Checkup([Finding("a", True, "fine")])
