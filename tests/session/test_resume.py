"""A run that is taken up again: as if it had never been interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import regimeflow as rf
from regimeflow.journal import events
from regimeflow.model.events import Fill, OrderUpdate, Resumed, Submit


class Cross(rf.Strategy):
    fast: int = 5
    slow: int = 20

    def initialize(self, ctx):
        self.quick = ctx.indicator(rf.SMA(self.fast))
        self.calm = ctx.indicator(rf.SMA(self.slow))
        self.seen = 0

    def on_bar(self, ctx, bar):
        self.seen += 1
        if self.calm.ready:
            ctx.target(bar.symbol, qty=10 if self.quick.value > self.calm.value else -10)


class EveryBar(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.buy(bar.symbol, 1)


FRAME = rf.datasets.synthetic(n=400, seed=3)


def venue():
    return rf.venues.Simulated(
        FRAME,
        speed=None,
        costs=rf.Costs(commission_bps=2),
        latency=rf.Latency(order_ms=20, data_ms=5),
    )


def run(strategy, folder: Path) -> rf.LiveSession:
    return rf.LiveSession(strategy, venue(), run_dir=folder).run(progress=False)


def story(folder: Path) -> list[tuple[object, ...]]:
    return [
        (e.ts, e.side, e.qty, e.price, e.fee) for _, e, _ in events(folder) if isinstance(e, Fill)
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(Cross(), folder)
    return folder


def cut(source: Path, target: Path, size: int) -> Path:
    """Copy a run as it stood when so many bytes of its journal were written."""
    target.mkdir()
    for name in ("manifest.json", "strategy.pkl"):
        shutil.copy(source / name, target / name)
    data = (source / "journal-0001.jsonl").read_bytes()
    (target / "journal-0001.jsonl").write_bytes(data[:size])
    return target


def boundaries(source: Path) -> list[int]:
    """Return the sizes of the journal before each input."""
    sizes, at = [], 0
    for line in (source / "journal-0001.jsonl").read_bytes().splitlines(keepends=True):
        if b'"kind":"submit"' not in line and b'"kind":"cancel"' not in line:
            sizes.append(at)
        at += len(line)
    return sizes


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 0.98])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(whole, tmp_path, share):
    sizes = boundaries(whole)
    broken = cut(whole, tmp_path / "run", sizes[int(len(sizes) * share)])
    run(Cross(), broken)
    assert story(broken) == story(whole)
    assert rf.certify(broken).identical


def test_a_torn_last_line_is_an_order_that_was_never_sent(whole, tmp_path):
    data = (whole / "journal-0001.jsonl").read_bytes()
    place = data.index(b'"kind":"submit"', len(data) // 2)
    broken = cut(whole, tmp_path / "run", place)
    session = run(Cross(), broken)
    resumed = [e for _, e, _ in events(broken) if isinstance(e, Resumed)]
    assert len(resumed) == 1
    (never,) = resumed[0].never_sent
    fold = {o.order_id for _, _, out in events(broken) for o in out if isinstance(o, Submit)}
    assert never not in fold
    assert rf.certify(broken).identical
    # The strategy decided anew, and nothing was doubled: it never held more than it aims at.
    assert all(abs(qty) <= 10 for qty in session.positions.values())


def test_ten_interruptions_in_a_row_change_nothing(whole, tmp_path):
    sizes = boundaries(whole)
    folder = whole
    for count in range(10):
        place = sizes[int(len(sizes) * (count + 1) / 12)]
        broken = cut(folder, tmp_path / f"run{count}", place)
        run(Cross(), broken)
        assert story(broken) == story(whole)
        folder, sizes = broken, boundaries(broken)
    assert len([e for _, e, _ in events(folder) if isinstance(e, Resumed)]) == 10
    assert rf.certify(folder).identical


def test_order_ids_of_two_lives_differ(whole, tmp_path):
    sizes = boundaries(whole)
    broken = cut(whole, tmp_path / "run", sizes[len(sizes) // 2])
    run(Cross(), broken)
    ids = [o.order_id for _, _, out in events(broken) for o in out if isinstance(o, Submit)]
    assert len(ids) == len(set(ids))
    assert {name.rsplit("-", 2)[1] for name in ids} == {"0", "1"}


def test_another_strategy_does_not_take_up_the_run(whole, tmp_path):
    broken = cut(whole, tmp_path / "run", boundaries(whole)[100])
    with pytest.raises(rf.SessionError, match="strategy is another one"):
        rf.LiveSession(EveryBar(), venue(), run_dir=broken)
    with pytest.raises(rf.SessionError, match="parameters were others"):
        rf.LiveSession(Cross(fast=7), venue(), run_dir=broken)


def test_a_changed_journal_is_not_taken_up(whole, tmp_path):
    broken = cut(whole, tmp_path / "run", boundaries(whole)[200])
    path = broken / "journal-0001.jsonl"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    session = rf.LiveSession(Cross(), venue(), run_dir=broken)
    with pytest.raises(rf.JournalCorrupt, match="line"):
        session.start()


def test_a_dry_run_sends_nothing(tmp_path):
    session = rf.LiveSession(EveryBar(), venue(), run_dir=tmp_path / "run", dry_run=True)
    session.run(progress=False)
    told = [e for _, e, _ in events(tmp_path / "run") if isinstance(e, OrderUpdate)]
    assert told
    assert {(e.what, e.reason) for e in told} == {("canceled", "dry run: not sent")}
    assert session.positions == {}
    assert len(session.fills) == 0
    assert rf.certify(tmp_path / "run").identical


def test_a_kill_file_halts_until_it_is_gone(tmp_path):
    live = rf.LiveSession(
        EveryBar(), rf.venues.Simulated(FRAME, speed=50.0), run_dir=tmp_path / "run"
    )
    live.start()
    (tmp_path / "part").write_text("enough")
    (tmp_path / "part").rename(tmp_path / "run" / "kill")
    while live.status.state != "halted":
        live.wait(timeout_s=0.05, progress=False)
    assert "enough" in live.status.why
    with pytest.raises(rf.SessionError, match="remove it first"):
        live.resume()
    assert live.status.state == "halted"
    (tmp_path / "run" / "kill").unlink()
    live.resume()
    while live.status.state != "active":
        live.wait(timeout_s=0.05, progress=False)
    live.stop()
