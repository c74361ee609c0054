"""What is kept of a run is the same, whether its process lived through it or only the last part."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

import regimeflow as rf

FRAME = rf.datasets.synthetic(n=400, seed=3)


class Cross(rf.Strategy):
    def initialize(self, ctx):
        self.quick = ctx.indicator(rf.SMA(5))
        self.calm = ctx.indicator(rf.SMA(20))

    def on_bar(self, ctx, bar):
        if self.calm.ready:
            ctx.target(bar.symbol, qty=10 if self.quick.value > self.calm.value else -10)


def session(folder: Path) -> rf.LiveSession:
    venue = rf.venues.Simulated(FRAME, speed=None, costs=rf.Costs(commission_bps=2))
    baseline = rf.backtest(Cross(), FRAME, costs=rf.Costs(commission_bps=1))
    return rf.LiveSession(Cross(), venue, run_dir=folder, baseline=baseline)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> rf.LiveSession:
    return session(tmp_path_factory.mktemp("runs") / "whole").run(progress=False)


@pytest.fixture(scope="module", params=["with its files", "without its files"])
def again(request, whole, tmp_path_factory) -> rf.LiveSession:
    """The same run, whose process was killed half way, and one that took it up."""
    folder = tmp_path_factory.mktemp("runs") / "again"
    folder.mkdir()
    kept = ["manifest.json", "strategy.pkl", "baseline.json"]
    for name in kept:
        shutil.copy(whole.run_dir / name, folder / name)
    lines = (whole.run_dir / "journal-0001.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "journal-0001.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    if request.param == "with its files":
        for name in ("audit.log", "live_drift.csv"):
            text = (whole.run_dir / name).read_bytes()
            (folder / name).write_bytes(text[: len(text) // 3])
    return session(folder).run(progress=False)


def entries(live: rf.LiveSession) -> list[tuple[str, str]]:
    with open(live.run_dir / "audit.log", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    told = [(row["type"], row["details"]) for row in rows if "time" not in row["details"]]
    # Order ids carry how often the run was started.
    return [(kind, text.partition("(")[0]) for kind, text in told]


def test_nothing_failed(whole, again):
    for live in (whole, again):
        assert [f.text for f in live.check() if f.name == "files"] == []


def test_drift(whole, again):
    assert again.drift().rows == whole.drift().rows
    ours, theirs = (live.run_dir / "live_drift.csv" for live in (again, whole))
    assert ours.read_bytes() == theirs.read_bytes()
    ours, theirs = (
        json.loads((live.run_dir / "live_performance.json").read_bytes()) for live in (again, whole)
    )
    assert ours.pop("run") == theirs.pop("run")
    assert ours == theirs


def test_execution_quality(whole, again):
    ours, theirs = again.execution_quality(), whole.execution_quality()
    assert ours.filled == theirs.filled > 10
    assert ours.average_signed_slippage_bps == theirs.average_signed_slippage_bps
    assert again.slippage["price"].tolist() == whole.slippage["price"].tolist()


def test_metrics(whole, again):
    ours, theirs = again.metrics, whole.metrics
    for name in ("equity", "cash", "drawdown", "executions", "fills", "positions", "failures"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.failures == 0


def test_each_decision_is_in_the_audit_log_once(whole, again):
    ours, theirs = entries(again), entries(whole)
    assert len(theirs) > 30
    assert ours == theirs


def test_shadow_and_twin(whole, again):
    for name in ("shadow", "twin"):
        assert getattr(again, name) == getattr(whole, name)
    assert whole.shadow.fees < whole.account.fees


def test_files_that_cannot_be_written_are_said_before_anything_runs(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "audit.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(rf.SessionError, match=r"audit\.log"):
        session(folder).run(progress=False)
    assert not (tmp_path / "elsewhere").exists()
