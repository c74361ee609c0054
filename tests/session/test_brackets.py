"""Entries with exits in whole runs: backtest and live, taken up again, certified, explained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import regimeflow as rf
from regimeflow.journal import events
from regimeflow.model.events import Fill, Start
from regimeflow.session.able import within_capabilities
from regimeflow.session.recorded import report_of
from regimeflow.venues.port import Capabilities


class Bracketed(rf.Strategy):
    """Buys or sells with exits around the price whenever it is flat; closes some itself."""

    every: int = 7

    def initialize(self, ctx):
        self.seen = 0

    def on_bar(self, ctx, bar):
        self.seen += 1
        held = ctx.position(bar.symbol)
        if self.seen % self.every == 0 and not held and not ctx.orders(bar.symbol):
            way = 1.0 if self.seen % (2 * self.every) else -1.0
            (ctx.buy if way > 0 else ctx.sell)(
                bar.symbol,
                10,
                take_profit=bar.close * (1 + way * 0.002),
                stop_loss=bar.close * (1 - way * 0.001),
            )
        elif held and self.seen % 23 == 0:
            ctx.close(bar.symbol)


FRAME = rf.datasets.synthetic(n=600, seed=3)
MODEL = {"costs": rf.Costs(commission_bps=2), "latency": rf.Latency(order_ms=20, data_ms=5)}


def run(folder: Path, report=None) -> rf.LiveSession:
    venue = rf.venues.Simulated(FRAME, speed=None, **MODEL)
    session = rf.LiveSession(Bracketed(), venue, run_dir=folder, baseline=report)
    return session.run(progress=False)


@pytest.fixture(scope="module")
def report():
    return rf.backtest(Bracketed(), FRAME, **MODEL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, report) -> Path:
    folder = tmp_path_factory.mktemp("brackets") / "whole"
    run(folder, report)
    return folder


def story(fills) -> list[tuple[object, ...]]:
    return [(f.ts, f.order_id[-1], f.side, f.qty, f.price, f.fee) for f in fills]


def fills_of(folder: Path) -> list[Fill]:
    return [event for _, event, _ in events(folder) if isinstance(event, Fill)]


def test_live_is_the_backtest_and_comes_out_again(whole, report):
    fills = story(fills_of(whole))
    assert fills == story(report.data.fills)
    assert {"t", "s"} <= {suffix for _, suffix, *_ in fills}
    assert rf.certify(whole).identical
    ours, theirs = (
        {order.id.rsplit("-")[-1]: order.status for order in told.data.orders}
        for told in (report_of(whole), report)
    )
    assert ours == theirs


def test_shadow_and_twin_do_what_the_run_did(whole, report):
    result = rf.parity(report, whole)
    assert all(abs(row.money) <= result.bound for row in result.rows)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_run_that_is_interrupted_ends_as_one_that_is_not(whole, tmp_path, share):
    lines = (whole / "journal-0001.jsonl").read_bytes().splitlines(keepends=True)
    place = int(len(lines) * share)
    while any(word in lines[place] for word in (b'"kind":"submit"', b'"kind":"cancel"')):
        place += 1
    (tmp_path / "run").mkdir()
    for name in ("manifest.json", "strategy.pkl"):
        shutil.copy(whole / name, tmp_path / "run" / name)
    (tmp_path / "run" / "journal-0001.jsonl").write_bytes(b"".join(lines[:place]))
    run(tmp_path / "run")
    assert story(fills_of(tmp_path / "run")) == story(fills_of(whole))
    assert rf.certify(tmp_path / "run").identical


def test_a_torn_last_line_denies_the_entry_and_its_exits(whole, tmp_path):
    data = (whole / "journal-0001.jsonl").read_bytes()
    place = data.index(b'"take_profit"', len(data) // 2)
    place = data.rindex(b'"kind":"submit"', 0, place)
    (tmp_path / "run").mkdir()
    for name in ("manifest.json", "strategy.pkl"):
        shutil.copy(whole / name, tmp_path / "run" / name)
    (tmp_path / "run" / "journal-0001.jsonl").write_bytes(data[:place])
    run(tmp_path / "run")
    (resumed,) = [e for _, e, _ in events(tmp_path / "run") if type(e).__name__ == "Resumed"]
    assert [name[-1] for name in resumed.never_sent[1:]] == ["t", "s"]
    assert rf.certify(tmp_path / "run").identical


def test_a_journal_line_without_exits_says_nothing_of_them(tmp_path):
    class Plain(rf.Strategy):
        def on_bar(self, ctx, bar):
            ctx.buy(bar.symbol, 1)

    venue = rf.venues.Simulated(FRAME.head(5), speed=None)
    rf.LiveSession(Plain(), venue, run_dir=tmp_path / "run").run(progress=False)
    text = (tmp_path / "run" / "journal-0001.jsonl").read_text()
    assert '"kind":"submit"' in text
    assert "take_profit" not in text
    assert isinstance(next(event for _, event, _ in events(tmp_path / "run")), Start)


def test_a_venue_without_exits_is_named_before_the_session_begins():
    class Venue:
        capabilities = Capabilities()

    text = "ctx.buy('A', 1, stop_loss=9.0)"
    found = {f.name: f for f in within_capabilities(Venue(), text, rf.Limits(), 0)}
    assert not found["exits"].ok
    Venue.capabilities = Capabilities(brackets=True)
    assert "exits" not in {f.name for f in within_capabilities(Venue(), text, rf.Limits(), 0)}
