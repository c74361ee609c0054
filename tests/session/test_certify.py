"""A certificate says IDENTICAL, or where a run and its strategy part, and why."""

from __future__ import annotations

import gzip
import random
import time

import msgspec
import numpy as np
import pytest

import regimeflow as rf
from regimeflow.journal import JournalWriter, events
from regimeflow.model.market import Bar

THRESHOLD = 0.5


class Rule(rf.Strategy):
    n: int = 10

    def initialize(self, ctx):
        self.mean = ctx.indicator(rf.SMA(self.n))

    def on_bar(self, ctx, bar):
        if self.mean.ready:
            ctx.target(bar.symbol, qty=10 if bar.close > self.mean.value else 0)


class RuleWithOtherCode(rf.Strategy):
    n: int = 10

    def initialize(self, ctx):
        self.mean = ctx.indicator(rf.SMA(self.n))

    def on_bar(self, ctx, bar):
        if self.mean.ready:
            ctx.target(bar.symbol, qty=10 if bar.close < self.mean.value else 0)


class ReadsTheClock(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=1 + time.time_ns() % 1_000)


class RollsDice(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=random.randint(1, 1_000))


class RollsNumpyDice(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=np.random.randint(1, 1_000))  # noqa: NPY002


class SeededDice(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=float(ctx.rng.integers(1, 1_000)))


class ReadsAVariable(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=10 if bar.close % 1.0 > THRESHOLD else 0)


@pytest.fixture
def run(tmp_path):
    def make(strategy, **options):
        frame = rf.datasets.synthetic(n=300, seed=5)
        venue = rf.venues.Simulated(frame, speed=None, **options)
        rf.LiveSession(strategy, venue, run_dir=tmp_path / "run").run()
        return tmp_path / "run"

    return make


@pytest.mark.parametrize("strategy", [Rule(), SeededDice(), ReadsAVariable()], ids=repr)
def test_a_deterministic_strategy_is_identical(run, strategy):
    folder = run(strategy)
    certificate = rf.certify(folder)
    assert certificate.identical
    assert certificate.divergence is None
    assert certificate.decisions > 10
    assert str(certificate).startswith("IDENTICAL (")
    assert "IDENTICAL" in certificate._repr_html_()
    assert certificate == rf.certify(folder, strategy=strategy)


def test_an_altered_parameter_is_named_with_both_decisions(run):
    certificate = rf.certify(run(Rule()), strategy=Rule(n=11))
    difference = certificate.divergence
    assert not certificate.identical
    assert difference.cause == "parameter n was 10 and is 11"
    assert "10 asset at market" in difference.live
    assert difference.replayed == "nothing"
    assert difference.event == "bar of asset"
    assert "DIFFERENT" in str(certificate)
    assert "parameter n was 10" in certificate._repr_html_()


def test_the_first_difference_is_the_first(run):
    folder = run(Rule())
    difference = rf.certify(folder, strategy=Rule(n=11)).divergence
    other = iter(events(folder))
    # By hand: the first bar on which a 10-bar and an 11-bar mean call for different targets.
    closes, held = [], {10: 0, 11: 0}
    for seq, event, _ in other:
        if not isinstance(event, Bar):
            continue
        closes.append(event.close)
        for n in held:
            if len(closes) >= n:
                held[n] = 10 if event.close > np.mean(closes[-n:]) else 0
        if held[10] != held[11]:
            assert (seq, event.ts) == (difference.seq, difference.time)
            return
    pytest.fail("the two never differ")


@pytest.mark.parametrize(
    ("strategy", "cause"),
    [
        (ReadsTheClock(), "wall clock (time)"),
        (RollsDice(), "unseeded randomness (random)"),
        (RollsNumpyDice(), "unseeded randomness (np)"),
    ],
    ids=["clock", "random", "numpy"],
)
def test_what_does_not_repeat_is_named(run, strategy, cause):
    certificate = rf.certify(run(strategy))
    assert not certificate.identical
    assert cause in certificate.divergence.cause
    assert "ctx.rng" in certificate.divergence.cause


def test_changed_source_is_named_with_the_change(run):
    certificate = rf.certify(run(Rule()), strategy=RuleWithOtherCode())
    assert certificate.divergence.cause.startswith("source: the strategy's code is not")
    assert "RuleWithOtherCode" in certificate.divergence.cause


def test_a_changed_notebook_variable_is_named(run, monkeypatch):
    folder = run(ReadsAVariable())
    monkeypatch.setitem(globals(), "THRESHOLD", 0.25)
    certificate = rf.certify(folder, strategy=ReadsAVariable())
    assert certificate.divergence.cause == (
        "a notebook variable that changed: THRESHOLD was 0.5 and is 0.25"
    )
    assert rf.certify(folder).identical  # the frozen strategy brought its own


def test_an_altered_line_is_refused_before_anything_is_replayed(run):
    folder = run(Rule())
    path = folder / "journal-0001.jsonl"
    text = path.read_text()
    at = text.index('"close":', len(text) // 2) + 8
    path.write_text(text[:at] + "9" + text[at:])
    with pytest.raises(rf.JournalCorrupt, match="journal-0001"):
        rf.certify(folder)


def test_data_altered_with_its_sums_shows_as_another_decision(run, tmp_path):
    folder = run(Rule())
    forged = tmp_path / "forged"
    with JournalWriter(forged, rf.read_journal(folder).run) as writer:
        for seq, event, outputs in events(folder):
            if isinstance(event, Bar) and seq == 150:
                event = msgspec.structs.replace(event, close=event.close * 2, high=event.close * 2)
            writer.record(event, outputs)
    certificate = rf.certify(forged, strategy=Rule())
    assert not certificate.identical
    assert "altered data" in certificate.divergence.cause


# ---------------------------------------------------------------- frozen code is not for everyone


def test_a_frozen_strategy_that_was_changed_is_not_loaded(run):
    folder = run(Rule())
    path = folder / "strategy.pkl"
    path.write_bytes(path.read_bytes() + b"#")
    with pytest.raises(rf.SessionError, match="not the strategy that the journal names"):
        rf.certify(folder)
    assert rf.certify(folder, strategy=Rule()).identical


def test_a_frozen_strategy_that_others_can_write_is_not_loaded(run):
    folder = run(Rule())
    (folder / "strategy.pkl").chmod(0o666)
    with pytest.raises(rf.SessionError, match="can be written by others"):
        rf.certify(folder)


def test_a_frozen_strategy_behind_a_link_is_not_loaded(run, tmp_path):
    folder = run(Rule())
    moved = tmp_path / "elsewhere.pkl"
    (folder / "strategy.pkl").rename(moved)
    (folder / "strategy.pkl").symlink_to(moved)
    with pytest.raises(rf.SessionError, match="pass strategy="):
        rf.certify(folder)


def test_a_missing_frozen_strategy_asks_for_one(run):
    folder = run(Rule())
    (folder / "strategy.pkl").unlink()
    with pytest.raises(rf.SessionError, match="pass strategy="):
        rf.certify(folder)


def test_a_backtest_can_be_written_down_and_certified(tmp_path):
    frame = rf.datasets.synthetic(n=500, seed=8)
    frame["mood"] = np.where(np.arange(500) % 7 == 0, np.nan, np.sin(np.arange(500) / 5))

    class Moody(rf.Strategy):
        def on_bar(self, ctx, bar):
            mood = ctx.feature(bar.symbol, "mood")
            if np.isfinite(mood):
                ctx.target(bar.symbol, qty=10 if mood > 0 else -10)

    plain = rf.backtest(Moody(), frame, start=frame.index[100])
    report = rf.backtest(Moody(), frame, start=frame.index[100], journal=tmp_path / "run")
    assert report.fills["price"].tolist() == plain.fills["price"].tolist()
    assert len(report.fills) > 20
    assert rf.certify(tmp_path / "run", strategy=Moody()).identical


def test_a_compressed_journal_certifies(tmp_path):
    from regimeflow.session.recorded import report_of

    frame = rf.datasets.synthetic(n=300, seed=5)
    rf.backtest(Rule(), frame, journal=tmp_path / "run")
    path = tmp_path / "run" / "journal-0001.jsonl"
    with gzip.open(str(path) + ".gz", "wb") as file:
        file.write(path.read_bytes())
    path.unlink()
    assert rf.certify(tmp_path / "run", strategy=Rule()).identical
    assert len(report_of(tmp_path / "run").fills) > 10


m = "a variable that has the name of an attribute"
BROKER_TOKEN = "canary-4711"


class ReadsMore(rf.Strategy):
    api_key: str = "canary-0815"
    limit: float = float("inf")

    def initialize(self, ctx):
        self.m = ctx.indicator(rf.SMA(5))

    def on_bar(self, ctx, bar):
        if self.m.ready and BROKER_TOKEN and self.api_key:
            ctx.target(bar.symbol, qty=3)


def test_only_globals_are_globals_and_no_secret_is_written_down(run):
    folder = run(ReadsMore())
    text = (folder / "manifest.json").read_text() + (folder / "journal-0001.jsonl").read_text()
    assert '"BROKER_TOKEN": "(hidden)"' in text
    assert "has the name of an attribute" not in text
    assert "canary-4711" not in text
    assert rf.certify(folder).identical
    # The source is the user's own text: a secret has no place in it, and one there is not hidden.
    assert text.count("canary-0815") == text.count('api_key: str = \\"canary-0815')


def test_hostile_names_are_escaped(run):
    class Evil(Rule):
        note: str = "<script>alert(1)</script>"

    certificate = rf.certify(run(Evil()), strategy=Evil(note="<img src=x onerror=alert(1)>", n=12))
    shown = certificate._repr_html_()
    assert "<script>" not in shown
    assert "<img" not in shown
