"""``regimeflow doctor`` and ``regimeflow validate``, on a venue on this machine."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from regimeflow import cli
from regimeflow.errors import ConfigError
from regimeflow.sandbox.process import VenueProcess
from regimeflow.sandbox.script import Fault
from regimeflow.session import brokers
from regimeflow.session.able import orders_used

CODE = """
import regimeflow as rf

class Hold(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=10)

class Trails(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.sell(bar.symbol, 1, stop=bar.close * 0.9, tif="opg")
"""
COMPLETE = "daily_loss_limit: 1000, risk: {limits: {max_position: 10000}}"


@pytest.fixture(scope="module")
def venue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("venue")
    with VenueProcess(folder / "venue.jsonl", timeframe="100ms", speed=30.0) as running:
        venue, began = running.venue(), time.time_ns()
        while not venue.past("AAA", 100_000_000, began, time.time_ns()).times:
            time.sleep(0.05)  # the first bar is another process's doing
        yield running


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Others have a strategy of that name, and look where this one was.
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "mine", None)
    (tmp_path / "mine.py").write_text(CODE)


def configure(port: int, live: str = COMPLETE, strategy: str = "Hold", symbols: str = "AAA") -> str:
    Path("c.yaml").write_text(
        f"live: {{broker: loopback, symbols: [{symbols}], broker_config: {{port: {port}}}, "
        f"timeframe: 100ms, {live}}}\n"
        f"strategy: {{name: 'mine.py:{strategy}'}}\n"
    )
    return "c.yaml"


def run(capsys, *arguments: str) -> tuple[int, list[str], str]:
    code = cli.main(arguments)
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def looks(lines: list[str]) -> dict[str, str]:
    """Return what needs attention, by name."""
    return dict(re.findall(r"^LOOK  ([^:]+): (.*)$", "\n".join(lines), re.MULTILINE))


# ---------------------------------------------------------------- doctor


def test_nothing_stands_in_the_way(venue, capsys):
    code, lines, err = run(capsys, "doctor", "--config", configure(venue.port))
    assert (code, err) == (0, "")
    assert looks(lines) == {}
    said = "\n".join(lines)
    for name in (
        "configuration", "strategy", "run directory", "disk", "packages", "broker", "limits",
        "order types", "times in force", "rate", "market data", "connection", "clock", "money",
        "permissions", "symbols",
    ):  # fmt: skip
        assert re.search(rf"^ok    {name}: ", said, re.MULTILINE), name
    assert not Path("logs").exists()


def test_offline_the_venue_is_not_asked(capsys):
    code, lines, _ = run(capsys, "doctor", "--config", configure(1), "--offline")
    assert code == 0
    assert not [line for line in lines if "connection" in line]


def test_a_venue_that_is_not_there(capsys):
    code, lines, _ = run(capsys, "doctor", "--config", configure(1))
    assert code == 2
    assert looks(lines)["connection"].startswith("cannot connect: 127.0.0.1:1 cannot be reached")
    assert lines[0].startswith("LOOK")  # what needs attention comes first


@pytest.mark.parametrize(
    ("live", "strategy", "symbols", "name", "words"),
    [
        ("daily_loss_limit: 1", "Hold", "AAA", "limits", "not set: max_position"),
        (COMPLETE, "Nowhere", "AAA", "strategy", "Nowhere"),
        (COMPLETE, "Trails", "AAA", "times in force", "uses opg, which the venue does not take"),
        (COMPLETE, "Hold", "AAA, ZZZ", "symbols", "ZZZ: ZZZ is not traded here"),
        (f"{COMPLETE}, warmup: 5", "Hold", "ZZZ", "market data", "ZZZ is not traded here"),
        (f"{COMPLETE}, paper: false", "Hold", "AAA", "armed", "it is not armed"),
        (
            f"{COMPLETE}, paper: false, account: '9999'",
            "Hold",
            "AAA",
            "account",
            "the venue's ends in '0001', live.account in '9999'",
        ),
    ],
)
def test_what_stands_in_the_way(venue, capsys, live, strategy, symbols, name, words):
    config = configure(venue.port, live, strategy, symbols)
    code, lines, _ = run(capsys, "doctor", "--config", config)
    assert code == 2
    assert words in looks(lines)[name]


def test_a_kill_file(venue, capsys):
    Path("logs/mine").mkdir(parents=True)
    Path("logs/mine/kill").write_text("lunch")
    config = configure(venue.port, f"{COMPLETE}, run: mine")
    code, lines, _ = run(capsys, "doctor", "--config", config, "--offline")
    assert code == 2
    assert "lunch" in looks(lines)["kill switch"]


def test_a_configuration_that_cannot_be_read_is_a_mistake_of_the_command(capsys):
    config = configure(7, "timefrme: 1min")
    code, _, err = run(capsys, "doctor", "--config", config)
    assert code == 1
    assert "Did you mean 'timeframe'" in err


def test_keys_are_not_shown(capsys, monkeypatch):
    monkeypatch.setenv("ALPACA_API_KEY", "AKCANARY11112222")
    monkeypatch.setenv("ALPACA_API_SECRET", "canary-secret-3333")

    def careless(name, **given):
        raise ConfigError(f"{name} does not take {given['api_key'].reveal()}")

    monkeypatch.setattr(brokers, "_made", careless)
    Path("c.yaml").write_text(
        "live: {broker: alpaca, symbols: [AAA]}\nstrategy: {name: 'mine.py:Hold'}\n"
    )
    code, lines, err = run(capsys, "doctor", "--config", "c.yaml", "--offline")
    assert code == 2
    assert looks(lines)["broker"] == "Alpaca does not take (hidden)"
    assert "canary" not in ("\n".join(lines) + err).lower()


@pytest.mark.parametrize(
    ("source", "types", "tifs"),
    [
        ("ctx.target('A', qty=1)", {"market"}, {"day"}),
        ("ctx.buy('A', 1, limit=2)", {"limit"}, {"day"}),
        ("ctx.sell('A', 1, stop=2, limit=1, tif='gtc')", {"stop_limit"}, {"gtc"}),
        ("ctx.buy('A', 1, stop=2)\nctx.close('A')", {"stop", "market"}, {"day"}),
        ("ctx.buy('A', 1, tif='gtd', expire_at=5)", {"market"}, {"gtd"}),
        ("ctx.buy('A', 1, tif=self.tif)", {"market"}, {"day"}),
        ("pass", {"market"}, {"day"}),
        ("lambda ctx, bar: ctx.buy(", {"market"}, {"day"}),
    ],
)
def test_what_orders_a_strategy_sends(source, types, tifs):
    assert orders_used(source, "day") == (types, tifs)


# ---------------------------------------------------------------- validate


def validated(capsys, config: str, mode: str, *options: str) -> tuple[int, str, str]:
    code, lines, err = run(capsys, "validate", "--config", config, "--mode", mode, *options)
    return code, "\n".join(lines), err


@pytest.mark.parametrize(
    ("mode", "orders"),
    [
        ("submit_cancel_reconcile", [r"ok    order: buy 1 AAA at [\d.]+: canceled"]),
        (
            "fill_reconcile",
            [
                r"ok    order: buy 1 AAA: filled, 1 at [\d.]+, fees [\d.]+$",
                r"ok    order: sell 1 AAA: filled, 1 at [\d.]+, fees [\d.]+$",
            ],
        ),
    ],
)
def test_a_venue_that_works(venue, capsys, mode, orders):
    code, said, err = validated(capsys, configure(venue.port), mode)
    assert (code, err) == (0, "")
    for order in orders:
        assert re.search(order, said, re.MULTILINE), said
    assert "ok    reconcile: the venue's books and ours agree" in said
    assert "identical: logs/validate-" in said
    assert said.endswith("passed")


def test_quantity_and_price_are_those_that_were_given(venue, capsys):
    code, said, _ = validated(
        capsys, configure(venue.port), "submit_cancel_reconcile", "--quantity", "3",
        "--limit-price", "50.5",
    )  # fmt: skip
    assert code == 0
    assert "buy 3 AAA at 50.5: canceled" in said


def test_a_limit_that_denies_is_a_failure(venue, capsys):
    config = configure(venue.port, f"{COMPLETE}, max_order_value: 1")
    code, said, _ = validated(capsys, config, "fill_reconcile", "--timeout-seconds", "20")
    assert code == 2
    assert re.search(r"LOOK  order: buy 1 AAA: denied \(the order is worth", said), said
    assert said.endswith("failed")


def test_an_order_that_fills_where_it_should_rest_is_a_failure(venue, capsys):
    code, said, _ = validated(
        capsys, configure(venue.port), "submit_cancel_reconcile", "--limit-price", "100000",
        "--timeout-seconds", "20",
    )  # fmt: skip
    assert code == 2
    assert "LOOK  position: 1 AAA is left" in said


def test_a_lost_answer_does_not_fail_it(venue, capsys):
    venue.hand.fault(Fault("submit", "drop_after", times=1))
    code, said, _ = validated(capsys, configure(venue.port), "submit_cancel_reconcile")
    assert code == 0, said


def test_a_market_that_stands_still(venue, capsys):
    venue.hand.hold()
    try:
        config = configure(venue.port)
        code, said, _ = validated(capsys, config, "fill_reconcile", "--timeout-seconds", "2")
    finally:
        venue.hand.go()
    assert code == 2
    assert "order: 0 of 2 sent in 2 s: no price came" in said


REAL = f"{COMPLETE}, paper: false, account: '0001'"


@pytest.mark.parametrize(
    ("live", "options", "words"),
    [
        (REAL, [], "real money is refused: --live is missing"),
        (REAL.replace("account: '0001'", "warmup: 0"), ["--live"], "live.account is missing"),
        (COMPLETE, ["--live"], "live.paper is true"),
        (COMPLETE, ["--quantity", "-1"], "the quantity must be a positive number"),
        (COMPLETE, ["--limit-price", "5"], "a limit price is for submit_cancel_reconcile"),
    ],
)
def test_what_is_refused_before_anything_is_sent(venue, capsys, live, options, words):
    code, _, err = validated(capsys, configure(venue.port, live), "fill_reconcile", *options)
    assert code == 1
    assert words in err
    assert not Path("logs").exists()


def test_real_money_that_was_asked_for(venue, capsys):
    code, said, _ = validated(
        capsys, configure(venue.port, REAL), "submit_cancel_reconcile", "--live"
    )
    assert code == 0, said


def test_played_data_are_no_venue(capsys):
    Path("c.yaml").write_text(
        "live: {broker: simulated, symbols: [SYN], broker_config: {data: synthetic}}\n"
        "strategy: {name: 'mine.py:Hold'}\n"
    )
    code, _, err = validated(capsys, "c.yaml", "fill_reconcile")
    assert code == 1
    assert "there is no venue to be validated" in err


@pytest.mark.parametrize("arguments", [["--mode", "fill"], ["--quantity", "one"], []])
def test_a_wrong_command_line(capsys, arguments):
    with pytest.raises(SystemExit) as left:
        cli.main(["validate", "--config", "c.yaml", *arguments])
    assert left.value.code == 1
