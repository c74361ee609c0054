"""A run that its venue does not let begin says so wherever somebody may look, and why."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

import pytest

import regimeflow as rf
from regimeflow import cli
from regimeflow.errors import SessionError
from regimeflow.sandbox import Fault
from regimeflow.session.audit import audit_of
from regimeflow.venues.intervals import Intervals
from regimeflow.widgets.words import state_line


def hold(ctx, bar):
    ctx.target(bar.symbol, qty=1)


def until(met, what):
    deadline = time.monotonic() + 20.0
    while not met():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


@pytest.fixture
def port():
    """A port that nobody listens at."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield nobody.getsockname()[1]


@pytest.fixture(scope="module")
def alpaca():
    with rf.sandbox.Alpaca(timeframe="1s", history=20) as running:
        yield running


@pytest.fixture(scope="module")
def binance():
    with rf.sandbox.Binance(timeframe="1s", history=20) as running:
        yield running


@pytest.fixture(scope="module")
def tws():
    with rf.sandbox.TWS(timeframe="1s", history=20) as running:
        yield running


WRONG = {
    "alpaca: unknown symbol": ("alpaca", {}, "ZZZZ", "ZZZZ is not traded at Alpaca"),
    "binance: wrong key": ("binance", {"api_key": "WRONG"}, "AAA/USDT", "(-2015)"),
    "binance: wrong secret": ("binance", {"secret_key": "WRONG"}, "AAA/USDT", "(-"),
    "binance: unknown symbol": ("binance", {}, "AAAUSDT", "binance has no market AAAUSDT"),
    "ib: another account": ("tws", {"account": "DU999"}, "SPY", "TWS serves the accounts D...4567"),
    "ib: unknown symbol": ("tws", {}, "ZZZZ", "ZZZZ is not traded there"),
}


@pytest.mark.parametrize(("where", "given", "symbol", "why"), WRONG.values(), ids=WRONG)
def test_what_never_changes_ends_it_with_the_reason(request, tmp_path, where, given, symbol, why):
    venue = request.getfixturevalue(where).venue(**given)
    heard = []
    live = rf.LiveSession(
        hold, venue, symbols=symbol, timeframe="1s", run_dir=tmp_path / "run",
        alert=lambda reason, text: heard.append((reason, text)),
    ).start()  # fmt: skip
    until(lambda: live.status.phase == "failed", "the end")
    with pytest.raises(SessionError, match="the session broke"):
        live.wait(progress=False)
    status = live.status
    assert status.state == "connecting"
    for said in (status.why, status.error, repr(status), status._repr_html_(), repr(live.check())):
        assert why.replace("'", "&#x27;") in said or why in said
    assert any(why in text for text in live.log["text"])
    assert why in (tmp_path / "run" / "audit.log").read_text()
    assert [reason for reason, text in heard if why in text].count("connecting") == 1


def test_what_may_change_is_tried_again_and_shown_until_the_run_begins(tws, tmp_path):
    other = tws.venue()
    other.connect(lambda said: None)
    heard = []
    live = rf.LiveSession(
        hold, tws.venue(), symbols="SPY", timeframe="1s", run_dir=tmp_path / "run",
        alert=lambda reason, text: heard.append(reason),
        intervals=Intervals(reconnect_initial_ms=20.0, reconnect_max_ms=50.0),
    ).start()  # fmt: skip
    until(lambda: "326" in live.status.why or "in use" in live.status.why, "the reason")
    shown = live.status
    assert (shown.phase, shown.state) == ("running", "connecting")
    assert not live.check()
    other.close()
    until(lambda: live.state == "active", "the begin")
    live.stop()
    assert heard.count("connecting") == 1
    log = (tmp_path / "run" / "audit.log").read_text()
    assert log.count('""what"":""connecting""') >= 1
    # What comes before the journal is the log's own; all else is made anew from that.
    lines = [line for line in log.splitlines() if '""what"":""connecting""' not in line]
    assert lines == audit_of(tmp_path / "run").splitlines()


def test_a_key_that_alpaca_refuses_ends_it(tmp_path):
    faults = [Fault("balances", "http_403")]
    with rf.sandbox.Alpaca(timeframe="1s", history=20, faults=faults) as running:
        live = rf.LiveSession(
            hold, running.venue(), symbols="SPY", timeframe="1s", run_dir=tmp_path / "run"
        ).start()
        until(lambda: live.status.phase == "failed", "the end")
        assert "Alpaca says no" in live.status.error


def test_a_stop_before_the_begin_keeps_the_reason(port, tmp_path):
    venue = rf.venues.InteractiveBrokers(port=port, calendar="")
    live = rf.LiveSession(
        hold, venue, symbols="SPY", timeframe="1s", run_dir=tmp_path / "run"
    ).start()
    until(lambda: "cannot be reached" in live.status.why, "the reason")
    live.stop()
    assert (live.status.phase, live.status.state) == ("stopped", "connecting")
    assert "cannot be reached" in live.status.why
    # Nothing has happened there: the same directory does for another try.
    again = rf.LiveSession(
        hold, venue, symbols="SPY", timeframe="1s", run_dir=tmp_path / "run"
    ).start()
    until(lambda: "cannot be reached" in again.status.why, "the reason")
    again.stop()
    assert (tmp_path / "run" / "audit.log").read_text().count("cannot be reached") == 2


CONFIG = """
live:
  broker: ib
  symbols: [SPY]
  timeframe: 1s
  run: my run
  broker_config: {port: PORT, calendar: ""MORE}
strategy:
  name: mine.py:Hold
"""
CODE = """
import regimeflow as rf

class Hold(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=1)
"""


def test_the_command_says_why_and_exits_with_an_error(tws, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    text = CONFIG.replace("PORT", str(tws.port)).replace("MORE", ", account: DU999")
    (tmp_path / "c.yaml").write_text(text)
    assert cli.main(["live", "--config", "c.yaml"]) == 1
    assert "TWS serves the accounts" in capsys.readouterr().err


def test_the_command_that_is_interrupted_before_the_begin_exits_with_an_error(
    port, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "c.yaml").write_text(CONFIG.replace("PORT", str(port)).replace("MORE", ""))

    def interrupt():
        told = lambda: any("reached" in p.read_text() for p in tmp_path.rglob("audit.log"))  # noqa: E731
        until(told, "the reason")
        os.kill(os.getpid(), signal.SIGINT)

    beside = threading.Thread(target=interrupt)
    beside.start()
    assert cli.main(["live", "--config", "c.yaml"]) == 1
    beside.join()
    said = capsys.readouterr()
    assert "the run never began: cannot connect: TWS at" in said.err
    assert "connecting" in said.out


def test_a_panel_says_so_too():
    shown = {"phase": "running", "state": "connecting", "why": "nobody is there"}
    assert state_line(shown) == "connecting: nobody is there"
