"""Whole sessions with Alpaca's real client against its sandbox, while things go wrong on the wire.

After each of them the venue's own record is held against the journal by the checker.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pandas as pd
import pytest
from broker_sessions import BrokerSessions
from child import settings
from sessions import fired, happened, judged, sent, settled, violations
from sockets import Child, await_

import regimeflow as rf
from regimeflow.model.events import Connection, Feed, OrderUpdate, Reconciled
from regimeflow.sandbox.alpaca import API_KEY, SECRET_KEY
from regimeflow.sandbox.script import Fault

SYMBOLS = ("AAA", "BBB")
SCRIPT = Path(__file__).with_name("alpaca_child.py")
LIMITS = rf.Limits(max_position=500, max_open_orders=40)


class Lively(rf.Strategy):
    """Orders of every kind at each bar, changed and taken back."""

    def on_bar(self, ctx, bar):
        held, rules = ctx.position(bar.symbol), ctx.instrument(bar.symbol)
        for k in range(3):
            side = ctx.sell if (held > 0) == (k % 2 == 0) else ctx.buy
            away = 1.0 if k < 2 else 0.99 if side == ctx.buy else 1.01
            limit = None if k < 1 else rules.round_price(bar.close * away)
            side(bar.symbol, float(ctx.rng.integers(1, 40)), limit=limit)
        for order in ctx.orders(bar.symbol)[:2]:
            ctx.cancel(order)
        for order in ctx.orders(bar.symbol)[2:4]:
            if order.limit:
                limit = rules.round_price(order.limit * 0.999)
                ctx.replace(order, qty=order.qty + 1.0, limit=limit)


class Once(rf.Strategy):
    """One limit order far from the price."""

    def on_bar(self, ctx, bar):
        if not ctx.orders() and not ctx.position("AAA") and bar.symbol == "AAA":
            ctx.buy("AAA", 10.0, limit=50.0)


@pytest.fixture
def sandbox(tmp_path):
    made = rf.sandbox.Alpaca(
        tmp_path / "venue.jsonl", symbols=SYMBOLS, timeframe="100ms", speed=30.0, history=20
    )
    with made as running:
        yield running


def trading(sandbox, run_dir, strategy=Lively, timeout_ms=300.0, **how):
    """A session that is stopped at the end, and then judged."""
    venue = sandbox.venue(timeout_ms=timeout_ms, settle_ms=250.0)
    how = {"symbols": SYMBOLS, "timeframe": "100ms", "warmup": 5, "limits": LIMITS, **how}
    return judged(sandbox, run_dir, strategy, venue, **how)


def posts(sandbox):
    """Return client order id -> how many requests to place it came over the wire."""
    return sent(sandbox, "POST /v2/orders ", lambda text: json.loads(text)["client_order_id"])


class TestStocks(BrokerSessions):
    """What each broker's sessions live through."""

    symbols = SYMBOLS
    once = Once
    gone = "the stream of orders: the connection broke"

    def trading(self, sandbox, run_dir, strategy=Lively, **how):
        return trading(sandbox, run_dir, strategy, **how)

    def posts(self, sandbox):
        return posts(sandbox)


def test_a_stream_of_orders_that_is_dead_and_well_is_given_up(sandbox, tmp_path):
    sandbox.hand.fault(Fault("fill", "half_open", nth=9))
    with trading(sandbox, tmp_path / "run") as session:
        await_(lambda: "did not tell of an execution" in why_lost(tmp_path / "run"), "a doubt")
        settled(session)


def test_what_is_certainly_refused_is_rejected_and_what_is_not_is_asked_for(sandbox, tmp_path):
    sandbox.hand.fault(Fault("submit", "http_504", nth=3))
    sandbox.hand.fault(Fault("submit", "http_429", nth=5, ms=100.0))
    patient = msgspec.structs.replace(settings(), call_timeout_ms=10_000.0)
    with trading(sandbox, tmp_path / "run", timeout_ms=9_000.0, intervals=patient) as session:
        await_(lambda: fired(sandbox).total() == 2, "both faults")
        await_(lambda: (session.orders["status"] == "rejected").sum() == 2, "both ends")
    told = happened(tmp_path / "run", OrderUpdate)
    assert [event.reason for event in told if event.what == "lost"] == [
        "Alpaca's answer has the status 504 and does not say what became of it"
    ]
    assert {event.reason for event in told if event.what == "rejected"} == {
        "Alpaca says no: too many requests.",
        "not at the venue: it said so 3 times",
    }


def test_streams_that_are_well_and_say_nothing_are_noticed(sandbox, tmp_path):
    stale = lambda: [feed.symbol for feed in happened(tmp_path / "run", Feed) if feed.stale]  # noqa: E731
    with trading(sandbox, tmp_path / "run") as session:
        settled(session, 3)
        sandbox.hand.fault(Fault("bar", "half_open"))
        await_(lambda: set(stale()) == set(SYMBOLS), "the age of the bars to be noticed")
        settled(session, 3)
        sandbox.hand.fault(Fault("fill", "lose", times=40))
        await_(lambda: "did not tell of an execution" in why_lost(tmp_path / "run"), "a doubt")


def why_lost(run_dir):
    return "; ".join(c.why for c in happened(run_dir, Connection) if not c.up)


class Holds(rf.Strategy):
    """Ten units from the first bar on."""

    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=10.0)
        ctx.log(f"bar {bar.ts}")


def corrected(sandbox, venue, session):
    """Let the newest bar be corrected once the session has had it; return it as it was."""
    sandbox.hand.hold()
    newest = venue.history("AAA", "100ms", venue.time() - 10**10, progress=False).iloc[-1]
    line = f"bar {newest.name.as_unit('ns').value + 10**8}"  # named by when it opens
    await_(lambda: line in session.log["text"].values, "the newest bar")
    sandbox.hand.late("AAA", 150.0)
    return newest


def test_what_is_corrected_late_is_the_data_row_of_parity_and_no_second_bar(sandbox, tmp_path):
    run_dir, venue = tmp_path / "run", sandbox.venue()
    # Without bars from before, so that none lies between those and the first live one.
    with trading(sandbox, run_dir, Holds, symbols=("AAA",), warmup=0) as session:
        await_(lambda: session.fills["qty"].sum() == 10.0, "the position")
        corrected(sandbox, venue, session)
        sandbox.hand.go()
        count = len(session.log)
        await_(lambda: len(session.log) > count + 3, "further bars")
        newest = corrected(sandbox, venue, session)
    saw = rf.bars(run_dir).set_index("time")
    assert saw.index.is_unique
    assert saw["close"].iloc[-1] == newest["close"]  # as it was when it was told
    end = saw.index[-1] + pd.Timedelta("100ms")
    now = venue.history("AAA", "100ms", saw.index[0], end, progress=False)
    data = rf.parity(rf.backtest(Holds(), saw), run_dir, history=now).rows[0]
    assert "history has 2 otherwise and lacks 0; it has 0 that" in data.note
    assert data.money == pytest.approx(10.0 * (newest["close"] - 150.0))


def test_a_key_that_is_revoked_stops_all_and_trading_goes_on_once_it_is_valid(sandbox, tmp_path):
    with trading(sandbox, tmp_path / "run") as session:
        settled(session, 3)
        for kind in ("submit", "cancel", "replace", "balances", "open_orders", "positions"):
            sandbox.hand.fault(Fault(kind, "http_403", times=12))
        await_(lambda: fired(sandbox)["balances http_403"] >= 3, "the key to be refused")
        await_(lambda: fired(sandbox)["open_orders http_403"] == 12, "the key to be valid again")
        settled(session, 3)
    why = [r.why for r in happened(tmp_path / "run", Reconciled) if not r.ok]
    assert any("forbidden" in text for text in why)


def test_a_clock_that_is_off_keeps_the_session_out(sandbox, tmp_path):
    strict = rf.venues.Intervals(max_skew_ms=1e-6, reconnect_initial_ms=20, reconnect_max_ms=20)
    session = rf.LiveSession(
        Once, sandbox.venue(), symbols=["AAA"], timeframe="100ms", run_dir=tmp_path / "run",
        warmup=5, cash=1_000.0, intervals=strict,
    )  # fmt: skip
    session.start()
    await_(lambda: sum(r.kind == "bytes" for r in sandbox.rows()) > 6, "the clock to be asked for")
    session.stop()
    assert not posts(sandbox)
    assert not list((tmp_path / "run").glob("journal-*"))  # it never began


def test_a_process_that_is_killed_in_between_loses_and_doubles_nothing(sandbox, tmp_path):
    run_dir = tmp_path / "run"
    for bars in (3, 5):
        with Child(sandbox.port, run_dir, script=SCRIPT) as child:
            child.wait_for("started")
            child.wait_for("bar", bars)
    with Child(sandbox.port, run_dir, script=SCRIPT) as child:
        child.wait_for("started")
        child.wait_for("bar", 4)
        child.stop()
    assert violations(sandbox, run_dir) == []
    assert len(posts(sandbox)) > 5


CERTIFY = """
import sys
for name in ("alpaca", "aiohttp", "msgpack", "websockets", "requests", "pydantic"):
    sys.modules[name] = None  # not installed
import regimeflow as rf
print(rf.certify(sys.argv[1]).identical)
"""


def test_crypto_too_and_its_journal_is_certified_where_nothing_of_alpaca_is(tmp_path):
    pairs = ("BTC/USD", "ETH/USD")

    class Parts(rf.Strategy):
        def on_bar(self, ctx, bar):
            ctx.target(bar.symbol, qty=float(ctx.rng.integers(0, 50)) / 100)

    with rf.sandbox.Alpaca(
        tmp_path / "venue.jsonl", symbols=pairs, timeframe="100ms", speed=30.0, history=20
    ) as sandbox:
        session = rf.LiveSession(
            Parts, sandbox.venue(settle_ms=250.0), symbols=pairs, timeframe="100ms",
            run_dir=tmp_path / "run", warmup=5, intervals=settings(),
        )  # fmt: skip
        session.start()
        await_(lambda: len(session.fills) > 10, "fills")
        session.stop()
        found = violations(sandbox, tmp_path / "run")
    assert found == []
    done = subprocess.run(
        [sys.executable, "-c", CERTIFY, str(tmp_path / "run")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True\n", done.stderr


def test_no_key_is_in_any_file_of_a_run(sandbox, tmp_path):
    canaries = (API_KEY, SECRET_KEY)
    session = rf.LiveSession(
        Lively,
        sandbox.venue(timeout_ms=300.0),
        symbols=SYMBOLS,
        timeframe="100ms",
        run_dir=tmp_path / "run",
        warmup=5,
        intervals=settings(),
    )
    sandbox.hand.fault(Fault("submit", "html", times=3))
    sandbox.hand.fault(Fault("balances", "http_403", nth=3))
    session.start()
    await_(lambda: fired(sandbox).total() == 4, "what goes wrong")
    session.stop()
    assert violations(sandbox, tmp_path / "run", canaries=canaries) == []
    assert not any(canary in repr(session) for canary in canaries)
