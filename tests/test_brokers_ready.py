"""Every venue on this machine, by a configuration file alone: ready, validated, certified bare."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import regimeflow as rf
from regimeflow import cli

HERE = Path(__file__).parent
CODE = """
import regimeflow as rf

class Hold(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=1)
"""


class Kind(NamedTuple):
    """How a venue of a kind is configured.

    Attributes:
        broker, symbol: as in the file.
        keys: port -> ``live.broker_config``.
    """

    broker: str
    symbol: str
    keys: Callable[[int], dict[str, Any]]


def _alpaca(port: int) -> dict[str, Any]:
    here = f"127.0.0.1:{port}"
    return {
        "api_key": "PKSANDBOXSANDBOX", "secret_key": "made-up-for-the-sandbox",
        "base_url": f"http://{here}", "data_url": f"http://{here}",
        "stream_url": f"ws://{here}/stream", "data_stream_url": f"ws://{here}/v2/iex",
        "calendar": "",
    }  # fmt: skip


def _binance(port: int) -> dict[str, Any]:
    from regimeflow.sandbox import binance

    ws = f"ws://127.0.0.1:{port}"
    return {
        "api_key": binance.API_KEY, "secret_key": binance.SECRET_KEY,
        "base_url": f"http://127.0.0.1:{port}", "stream_url": f"{ws}/stream/ws",
        "config": {
            "urls": {"api": {"ws": {"ws-api": {"spot": f"{ws}/ws-api/v3"}}}},
            "enableRateLimit": False,
        },
    }  # fmt: skip


KINDS = {
    "VenueProcess": Kind("loopback", "AAA", lambda port: {"port": port}),
    "Alpaca": Kind("alpaca", "SPY", _alpaca),
    "Binance": Kind("binance", "AAA/USDT", _binance),
    "TWS": Kind("ib", "SPY", lambda port: {"port": port, "calendar": ""}),
}


@pytest.fixture(scope="module", params=[name for name in KINDS if name in rf.sandbox.__all__])
def venue(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("venue")
    kind = KINDS[request.param]
    make = getattr(rf.sandbox, request.param)
    with make(folder / "venue.jsonl", symbols=[kind.symbol], timeframe="1s", speed=20.0) as running:
        yield running, kind


@pytest.fixture
def config(venue, tmp_path, monkeypatch) -> str:
    running, kind = venue
    monkeypatch.chdir(tmp_path)
    # Others have a strategy of that name, and look where this one was.
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "mine", None)
    (tmp_path / "mine.py").write_text(CODE)
    tree = {
        "live": {
            "broker": kind.broker, "symbols": [kind.symbol], "timeframe": "1s",
            "broker_config": kind.keys(running.port), "daily_loss_limit": 1_000,
            "risk": {"limits": {"max_position": 1_000}},
        },
        "strategy": {"name": "mine.py:Hold"},
    }  # fmt: skip
    Path("c.yaml").write_text(yaml.safe_dump(tree))
    Path("c.yaml").chmod(0o600)
    return "c.yaml"


def run(capsys, *arguments: str) -> tuple[int, str]:
    code = cli.main(arguments)
    out, err = capsys.readouterr()
    return code, out + err


def test_nothing_stands_between_the_configuration_and_trading(venue, config, capsys):
    running, kind = venue
    _wait_for_bars(running, kind.symbol)
    code, said = run(capsys, "doctor", "--config", config)
    assert code == 0, said
    assert "made-up" not in said


@pytest.mark.parametrize(
    ("calendar", "code", "words"),
    [
        ("XNYS", 0, "ok    calendar: XNYS and the venue open alike to "),
        ("XLON", 2, r"LOOK  calendar: \S+: XLON opens .*, the venue opens .*; update exchange_cal"),
    ],
)
def test_the_venues_calendar_is_held_against_ours(venue, config, capsys, calendar, code, words):
    running, kind = venue
    if kind.broker != "alpaca":  # no other tells its hours
        assert "calendar: " not in run(capsys, "doctor", "--config", config)[1]
        return
    _wait_for_bars(running, kind.symbol)
    tree = yaml.safe_load(Path(config).read_text())
    tree["live"]["broker_config"]["calendar"] = calendar
    Path(config).write_text(yaml.safe_dump(tree))
    ended, said = run(capsys, "doctor", "--config", config)
    assert re.search(f"^{words}", said, re.MULTILINE), said
    assert ended == code


def _wait_for_bars(running: Any, symbol: str) -> None:
    import time

    asks = running.venue()
    while True:
        now = time.time_ns()
        if asks.past(symbol, 1_000_000_000, now - 10 * 10**9, now).times:
            return
        time.sleep(0.1)  # the first bar is another process's doing


@pytest.mark.parametrize("mode", ["submit_cancel_reconcile", "fill_reconcile"])
def test_an_order_goes_all_the_way_and_its_run_certifies_without_the_client(config, capsys, mode):
    code, said = run(capsys, "validate", "--config", config, "--mode", mode)
    assert code == 0, said
    assert "the venue's books and ours agree" in said
    (run_dir,) = re.findall(r"identical: (\S+)", said)
    done = subprocess.run(
        [sys.executable, str(HERE / "bare.py"), run_dir],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        check=True,
    )
    assert done.stdout.splitlines() == [f"identical {run_dir}", "loaded []"]
