"""Real money: every condition, each missing one by its name. The money is a sandbox's."""

from __future__ import annotations

import builtins
import importlib.metadata
import json
import sys
import threading
import time
from pathlib import Path

import pytest

import regimeflow as rf
from regimeflow import cli
from regimeflow.prometheus import live_metrics_to_prometheus
from regimeflow.sandbox.process import VenueProcess
from regimeflow.session.real_money import is_real_money
from regimeflow.venues.gateway import same_account

COMPLETE = {
    "max_notional": 1e6, "max_position": 1e4, "daily_loss": 1e6, "max_orders_per_minute": 600,
}  # fmt: skip


class Hold(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=10)


@pytest.fixture(scope="module")
def venue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("venue")
    with VenueProcess(folder / "venue.jsonl", timeframe="100ms", speed=40.0) as running:
        yield running


def session(venue, tmp_path, *, paper=False, limits=None, **options) -> rf.LiveSession:
    return rf.LiveSession(
        Hold(),
        venue.venue(paper=paper),
        symbols=["AAA"],
        timeframe="100ms",
        run_dir=tmp_path / "run",
        cash=50_000,
        warmup=0,
        limits=rf.Limits(**COMPLETE) if limits is None else limits,
        **options,
    )


def refused(live: rf.LiveSession) -> str:
    with pytest.raises(rf.SessionError, match="real money is refused") as error:
        live.start()
    assert live.status.phase == "new"
    assert not live.run_dir.exists()
    return str(error.value)


@pytest.mark.parametrize("how", ["venue", "paper", "dry_run"])
def test_what_the_clocks_differ_by_is_shown(venue, tmp_path, how):
    live = session(venue, tmp_path, paper=True, dry_run=how == "dry_run")
    if how == "paper":
        live = rf.LiveSession(
            Hold, rf.venues.Paper(venue.venue()), symbols=["AAA"], timeframe="100ms",
            run_dir=tmp_path / "run",
        )  # fmt: skip
    assert live.metrics.clock_skew_ms is None
    live.start()
    try:
        until(lambda: live.metrics.clock_skew_ms is not None, "the venue's clock")
        assert abs(live.metrics.clock_skew_ms) < 1_000.0
        assert "regimeflow_clock_skew_ms NaN" not in live_metrics_to_prometheus(live)
    finally:
        live.stop()


def test_a_session_that_cannot_begin_says_why(venue, tmp_path):
    strict = rf.venues.Intervals(max_skew_ms=1e-6, reconnect_initial_ms=20, reconnect_max_ms=20)
    live = session(venue, tmp_path, paper=True, intervals=strict)
    live.start()
    until(lambda: "off the venue's" in live.status.why, "the reason")
    assert (live.status.phase, live.status.live.time) == ("running", 0)
    live.stop()


def until(condition, what: str) -> None:
    end = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.01)  # another process's or thread's doing


# ---------------------------------------------------------------- before the start


def test_everything_that_is_missing_is_named_at_once(venue, tmp_path):
    intervals = rf.venues.Intervals(max_skew_ms=5_000.0, hold_when_unreconciled=False)
    live = session(venue, tmp_path, limits=rf.Limits(), intervals=intervals)
    why = refused(live)
    for words in (
        "the limit max_notional is missing",
        "the limit max_position is missing",
        "the limit daily_loss is missing",
        "the limit max_orders_per_minute is missing",
        'session.arm("<last four of the account>")',
        "5,000 ms off the venue's",
        "trading goes on while the books cannot be compared",
    ):
        assert words in why


@pytest.mark.parametrize("missing", sorted(COMPLETE))
def test_each_limit_is_needed(venue, tmp_path, missing):
    limits = rf.Limits(**{name: value for name, value in COMPLETE.items() if name != missing})
    live = session(venue, tmp_path, limits=limits).arm("0001")
    assert refused(live) == f"real money is refused: the limit {missing} is missing"


def test_it_must_be_armed(venue, tmp_path):
    assert refused(session(venue, tmp_path)).count(";") == 0


def test_a_notebook_is_no_place_for_it(venue, tmp_path, monkeypatch):
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    assert "start(detached=True)" in refused(session(venue, tmp_path).arm("0001"))


def test_nor_is_an_interactive_shell(venue, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert "start(detached=True)" in refused(session(venue, tmp_path).arm("0001"))


def test_another_projects_files_over_ours(venue, tmp_path, monkeypatch):
    live = session(venue, tmp_path).arm("0001")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0.16")
    assert "the package regimeflow 1.0.16 of another project" in refused(live)


@pytest.mark.parametrize("account", ["", "001", "   1"])
def test_an_account_is_named_by_four_characters(venue, tmp_path, account):
    with pytest.raises(rf.ConfigError, match="last 4 characters"):
        session(venue, tmp_path).arm(account)


def test_paper_has_nothing_to_arm_and_needs_nothing(venue, tmp_path):
    live = session(venue, tmp_path, paper=True, limits=rf.Limits())
    with pytest.raises(rf.SessionError, match="no real money: there is nothing to arm"):
        live.arm("0001")
    live.start()
    live.stop()


def test_a_dry_run_sends_nothing_and_needs_nothing(venue, tmp_path):
    before = [row for row in venue.rows() if row.kind == "submit"]
    live = session(venue, tmp_path, limits=rf.Limits(), dry_run=True).start()
    until(lambda: len(live.orders) > 0, "an order")
    live.stop()
    assert [row for row in venue.rows() if row.kind == "submit"] == before


def test_the_conditions_are_shown_one_line_each(venue, tmp_path):
    live = session(venue, tmp_path, limits=rf.Limits(max_notional=1e6))
    wrong = [(finding.name, finding.text) for finding in live.check() if not finding.ok]
    assert [name for name, _ in wrong] == ["limits", "limits", "limits", "armed"]
    ready = session(venue, tmp_path / "two").arm("0001")
    assert ready.check()
    shown = {finding.name: finding.text for finding in ready.check()}
    assert shown["armed"] == "for the account that ends in 0001"


@pytest.mark.parametrize(
    ("venue", "real"),
    [
        (rf.venues.Simulated(rf.datasets.synthetic(n=10)), False),
        (rf.venues.Loopback(port=1), False),
        (rf.venues.Loopback(port=1, paper=False), True),
        (rf.venues.Paper(rf.venues.Loopback(port=1, paper=False)), False),
    ],
)
def test_what_real_money_is(venue, real):
    assert is_real_money(venue) is real


def test_a_venue_that_does_not_say_is_taken_at_its_worst():
    venue = rf.venues.Loopback(port=1)
    del venue.paper
    assert is_real_money(venue)


def test_what_the_venue_cannot_do_is_shown(venue, tmp_path):
    class Odd(rf.Strategy):
        def on_bar(self, ctx, bar):
            ctx.buy(bar.symbol, 1, tif="opg")

    live = rf.LiveSession(
        Odd(), venue.venue(), symbols=["AAA"], timeframe="1s", run_dir=tmp_path / "run"
    )
    wrong = {finding.name: finding.text for finding in live.check() if not finding.ok}
    assert "uses opg, which the venue does not take" in wrong["times in force"]


# ---------------------------------------------------------------- at the venue


def test_with_all_of_it_trading_begins_and_is_on_record(venue, tmp_path):
    live = session(venue, tmp_path).arm("SANDBOX-0001").start()
    until(lambda: len(live.fills) > 0, "a fill")
    live.stop()
    assert json.loads((live.run_dir / "manifest.json").read_text())["armed_for"] == "0001"
    assert rf.certify(live.run_dir).identical


def test_another_account_ends_it_before_anything_is_sent(venue, tmp_path):
    sent = len([row for row in venue.rows() if row.kind == "submit"])
    live = session(venue, tmp_path).arm("9999").start()
    until(lambda: live.status.phase == "failed", "the end")
    assert "ends in '0001', and the session is for the one that ends in '9999'" in live.status.error
    assert len([row for row in venue.rows() if row.kind == "submit"]) == sent


def test_from_a_notebook_it_runs_in_a_process_of_its_own(venue, tmp_path, monkeypatch):
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    live = session(venue, tmp_path).arm("0001").start(detached=True)
    try:
        until(lambda: len(live.fills) > 0, "a fill")
    finally:
        live.stop()


@pytest.mark.parametrize(
    ("named", "told", "same"),
    [
        ("0001", "SANDBOX-0001", True),
        ("SANDBOX-0001", "SANDBOX-0001", True),
        ("ANOTHER-0001", "SANDBOX-0001", False),
        ("SANDBOX-0001", "...0001", True),
        ("SANDBOX-0001", "0001", True),
        ("SANDBOX-0001", "", False),
        ("0001", "", False),
        ("0001", "001", False),
        ("0002", "SANDBOX-0001", False),
    ],
)
def test_which_account_it_is(named, told, same):
    assert same_account(named, told) is same


# ---------------------------------------------------------------- the command line


CODE = """
import regimeflow as rf

class Hold(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=10)
"""


def configure(tmp_path, monkeypatch, port: int, live: str) -> str:
    monkeypatch.chdir(tmp_path)
    # Others have a strategy of that name, and look where this one was.
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "mine", None)
    (tmp_path / "mine.py").write_text(CODE)
    Path("c.yaml").write_text(
        f"live:\n  broker: loopback\n  symbols: [AAA]\n  broker_config: {{port: {port}}}\n"
        f"  timeframe: 100ms\n  cash: 50000\n  warmup: 0\n  {live}\n"
        "strategy: {name: 'mine.py:Hold'}\n"
    )
    return "c.yaml"


READY = (
    "paper: false\n  account: '0001'\n  daily_loss_limit: 1000\n"
    "  risk: {limits: {max_position: 100}}"
)


@pytest.mark.parametrize(
    ("live", "options", "words"),
    [
        ("paper: true", ["--live"], "live.paper is true"),
        (READY, [], "real money is refused: --live is missing"),
        (
            "paper: false",
            [],
            "refused: --live is missing on the command line; the limit max_position is missing; ",
        ),
        (
            "paper: false",
            [],
            "the limit daily_loss is missing; live.account is missing",
        ),
        (READY.replace("account: '0001'", ""), ["--live"], "live.account is missing"),
        (READY.replace("daily_loss_limit: 1000", ""), ["--live"], "limit daily_loss is missing"),
        (
            f"{READY}\n  reconciliation: {{disable_trading_on_error: false}}",
            ["--live"],
            "trading goes on while the books cannot be compared",
        ),
        (READY.replace("account: '0001'", "account: '001'"), ["--live"], "live.account"),
    ],
)
def test_the_command_line_refuses(venue, tmp_path, monkeypatch, capsys, live, options, words):
    config = configure(tmp_path, monkeypatch, venue.port, live)
    assert cli.main(["live", "--config", config, *options]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()


def test_the_command_line_trades_what_it_was_told_to(venue, tmp_path, monkeypatch):
    config = configure(tmp_path, monkeypatch, venue.port, READY + "\n  run: mine")
    codes: list[int] = []
    arguments = ["live", "--config", config, "--live"]
    runs = threading.Thread(target=lambda: codes.append(cli.main(arguments)))
    runs.start()
    journal = Path("logs/mine/journal-0001.jsonl")
    until(lambda: journal.exists() and '"kind":"submit"' in journal.read_text(), "an order")
    assert cli.main(["stop", "logs/mine"]) == 0
    runs.join(30.0)
    assert codes == [0]
    assert json.loads(Path("logs/mine/manifest.json").read_text())["armed_for"] == "0001"
