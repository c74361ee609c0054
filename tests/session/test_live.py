"""A session on the simulator decides as its backtest, to the last bit, at any pace."""

from __future__ import annotations

import inspect
import math
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import regimeflow as rf
from regimeflow.cli.control import line
from regimeflow.journal import events, owner_of
from regimeflow.model.events import Cancel, Failed, StateChanged, Submit
from regimeflow.prometheus import dashboard_snapshot_to_prometheus, live_metrics_to_prometheus
from regimeflow.session.audit import audit_of
from regimeflow.session.certify import state_digest
from regimeflow.session.live import _slug
from regimeflow.session.snapshot import Snapshots
from regimeflow.venues.ccxt.habits import HABITS
from regimeflow.venues.intervals import Intervals


class Cross(rf.Strategy):
    fast: int = 5
    slow: int = 20

    def initialize(self, ctx):
        self.quick = ctx.indicator(rf.SMA(self.fast))
        self.calm = ctx.indicator(rf.EMA(self.slow))

    def on_bar(self, ctx, bar):
        if self.calm.ready:
            ctx.target(bar.symbol, weight=0.9 if self.quick.value > self.calm.value else 0.0)
            ctx.record(gap=self.quick.value - self.calm.value)


class Resting(rf.Strategy):
    """Keeps limit and stop orders at the venue and moves them about."""

    def initialize(self, ctx):
        self.mine = None
        ctx.every("30min", "tidy")

    def on_bar(self, ctx, bar):
        if self.mine is None or not self.mine.working:
            held = ctx.position(bar.symbol)
            if held > 0:
                self.mine = ctx.sell(bar.symbol, held, stop=bar.low * 0.999)
            else:
                self.mine = ctx.buy(bar.symbol, 10, limit=bar.close * 0.9995, tif="gtc")
        elif ctx.rng.random() < 0.2:
            if self.mine.type == "limit":
                ctx.replace(self.mine, limit=bar.close * 0.999)
            else:
                ctx.cancel(self.mine)

    def on_timer(self, ctx, timer):
        ctx.record(equity=ctx.equity)


@pytest.fixture
def frame():
    return rf.datasets.synthetic(n=1_200, seed=3)


def session(strategy, frame, run_dir, **options):
    names = ("costs", "latency", "fills", "speed", "start", "calendar")
    venue_options = {k: options.pop(k) for k in list(options) if k in names}
    venue = rf.venues.Simulated(frame, **{"speed": None, **venue_options})
    return rf.LiveSession(strategy, venue, run_dir=run_dir, **options)


COSTS = rf.Costs(commission_bps=3, slippage_bps=1, per_order=0.5)


@pytest.mark.parametrize("strategy", [Cross(), Resting()], ids=["market", "resting"])
@pytest.mark.parametrize(
    "latency",
    [rf.Latency(), rf.Latency(order_ms=40, data_ms=15), rf.Latency(order_ms=90_000)],
    ids=["none", "some", "longer-than-a-bar"],
)
def test_live_shadow_twin_and_backtest_agree_to_the_bit(tmp_path, frame, strategy, latency):
    report = rf.backtest(strategy, frame, costs=COSTS, latency=latency)
    live = session(
        strategy, frame, tmp_path / "run", costs=COSTS, latency=latency, baseline=report
    ).run()
    assert len(report.fills) > 20
    assert live.account.cash == live.shadow.cash == live.twin.cash
    assert live.account.positions == live.shadow.positions == live.twin.positions
    assert live.account.cash == report.equity["cash"].iloc[-1]
    for column in ("time", "side", "qty", "price", "fee"):
        expected = report.fills[column].tolist()
        assert live.fills[column].tolist() == expected
        assert live.shadow_fills[column].tolist() == expected
        assert live.twin_fills[column].tolist() == expected
    assert rf.certify(tmp_path / "run").identical


@pytest.mark.parametrize("speed", [None, 5_000_000.0, 400_000.0])
def test_speed_changes_sleeping_and_nothing_else(tmp_path, frame, speed):
    live = session(Cross(), frame.head(400), tmp_path / "run", speed=speed).run()
    report = rf.backtest(Cross(), frame.head(400))
    assert live.fills["price"].tolist() == report.fills["price"].tolist()
    assert live.account.cash == report.equity["cash"].iloc[-1]


def test_a_loaded_machine_changes_nothing(tmp_path, frame):
    done = threading.Event()

    def burn():
        while not done.is_set():
            sum(range(10_000))

    threads = [threading.Thread(target=burn) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        live = session(Cross(), frame, tmp_path / "run", speed=20_000_000.0).run()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert live.account.cash == rf.backtest(Cross(), frame).equity["cash"].iloc[-1]
    assert rf.certify(tmp_path / "run").identical


def test_a_planted_basis_point_of_fee_shows_up_as_exactly_that(tmp_path, frame):
    baseline = rf.backtest(Cross(), frame, costs=rf.Costs(commission_bps=3))
    # Sized by quantity, so that the dearer fee changes no decision.
    live = session(
        FixedCross(), frame, tmp_path / "run", costs=rf.Costs(commission_bps=4), baseline=baseline
    ).run()
    traded = float((live.fills["qty"] * live.fills["price"]).sum())
    assert live.fills["price"].tolist() == live.shadow_fills["price"].tolist()
    assert live.shadow.cash == live.twin.cash
    assert live.shadow.cash - live.account.cash == pytest.approx(traded * 1e-4, abs=1e-6)
    assert live.account.fees - live.shadow.fees == pytest.approx(traded * 1e-4, abs=1e-6)


class FixedCross(Cross):
    def on_bar(self, ctx, bar):
        if self.calm.ready:
            ctx.target(bar.symbol, qty=100 if self.quick.value > self.calm.value else 0)


def test_warm_up_reaches_indicators_but_fires_no_callback(tmp_path, frame):
    start = frame.index[600]
    live = session(Cross(), frame, tmp_path / "run", start=start).run()
    report = rf.backtest(Cross(), frame, start=start)
    assert live.fills["price"].tolist() == report.fills["price"].tolist()
    assert live.report().equity["time"].iloc[0] > start


@pytest.mark.parametrize("flavour", ["pandas", "polars"])
def test_features_agree_with_the_backtest(tmp_path, flavour):
    frame = rf.datasets.synthetic(n=400, seed=9, flavour=flavour)

    class Featured(rf.Strategy):
        def features(self, frame):
            mean = (
                frame["close"].rolling(10).mean()
                if flavour == "pandas"
                else frame["close"].rolling_mean(10)
            )
            gap = (frame["close"] / mean - 1.0).rename("gap") if flavour == "pandas" else (
                (frame["close"] / mean - 1.0).alias("gap")
            )  # fmt: skip
            return frame.assign(gap=gap) if flavour == "pandas" else frame.with_columns(gap)

        def on_bar(self, ctx, bar):
            gap = ctx.feature(bar.symbol, "gap")
            if np.isfinite(gap):
                ctx.target(bar.symbol, qty=10 if gap > 1e-7 else 0)  # never on a knife edge

    live = session(Featured(), frame, tmp_path / "run").run()
    report = rf.backtest(Featured(), frame)
    assert len(report.fills) > 10
    assert list(live.fills["price"]) == list(report.fills["price"])
    assert type(live.fills) is type(frame)
    assert rf.certify(tmp_path / "run").identical


def test_features_may_use_what_the_frame_carries(tmp_path):
    frame = rf.datasets.synthetic(n=300, seed=2)
    frame["mood"] = np.where(np.arange(300) % 11 == 3, np.nan, np.cos(np.arange(300) / 9))

    class Smoothed(rf.Strategy):
        def initialize(self, ctx):
            self.slow = ctx.indicator(rf.SMA(3), field="calm")

        def features(self, frame):
            return frame.assign(calm=frame["mood"].ffill().rolling(4).mean())

        def on_bar(self, ctx, bar):
            if self.slow.ready:
                ctx.target(bar.symbol, qty=10 if self.slow.value > 0.1234567 else -10)
                ctx.record(calm=ctx.feature(bar.symbol, "calm"), mood=bar.features["mood"] or 0.0)

    report = rf.backtest(Smoothed(), frame, journal=tmp_path / "backtest")
    live = session(Smoothed(), frame, tmp_path / "run").run()
    assert len(report.fills) > 5
    assert live.fills["price"].tolist() == report.fills["price"].tolist()
    assert np.allclose(live.report().records["calm"], report.records["calm"], rtol=1e-9)
    assert rf.certify(tmp_path / "run").identical
    assert rf.certify(tmp_path / "backtest").identical


def test_many_symbols_and_timeframes(tmp_path):
    frames = {
        f"S{i}": rf.datasets.synthetic(n=300 + 7 * i, seed=i, symbols=(f"S{i}",)) for i in range(10)
    }
    hourly = (
        frames["S0"]
        .resample("10min")
        .agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})
    )
    data = {**frames, ("S0", "10min"): hourly.dropna()}

    class Rank(rf.Strategy):
        def on_bars(self, ctx, bars):
            moved = {s: b.close / b.open for s, b in bars.items()}
            best = sorted(moved, key=moved.get)[-2:]
            ctx.targets(dict.fromkeys(best, 0.3), band=0.05)

    report = rf.backtest(Rank(), data)
    live = session(Rank(), data, tmp_path / "run").run()
    assert len(report.fills) > 50
    assert live.fills["price"].tolist() == report.fills["price"].tolist()
    assert live.account.cash == live.shadow.cash == live.twin.cash
    assert rf.certify(tmp_path / "run").identical


# ---------------------------------------------------------------- start, stop and commands


def wait_for(condition, seconds=20.0):
    until = time.monotonic() + seconds
    ticked = threading.Event()
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        ticked.wait(0.005)


def paced(strategy, frame, run_dir, **options):
    """A session slow enough that a test can act while it runs: about 1,000 bars a second."""
    return session(strategy, frame, run_dir, speed=60_000.0, **options)


def test_stop_ends_the_run_and_keeps_positions(tmp_path, frame):
    live = paced(Cross(), frame, tmp_path / "run").start()
    wait_for(lambda: live.account.fills > 3)
    live.stop()
    live.stop()  # twice is once
    assert "stopped" in repr(live)
    assert live.state == "ended"
    assert live.status.done < 1_200
    assert rf.certify(tmp_path / "run").identical
    with pytest.raises(rf.SessionError, match="make a new one"):
        live.start()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a file that can hold its writer up")
def test_a_stop_waits_for_a_session_that_is_ending_by_itself(tmp_path, frame):
    (tmp_path / "run").mkdir()
    slow = tmp_path / "run" / "accounts.json.part"  # the last that a session writes
    os.mkfifo(slow)
    live = session(Cross(), frame, tmp_path / "run").start()
    wait_for(lambda: live.status.phase == "stopped")
    with pytest.raises(rf.SessionError, match="did not end within"):
        live.stop(timeout_s=0.01)
    with open(slow, "rb"):
        assert live.stop().status.phase == "stopped"


def test_a_start_that_fails_leaves_the_directory_to_the_next(tmp_path, frame, monkeypatch):
    def full(snapshots, *_):
        raise OSError("too many open files")

    live = session(Cross(), frame, tmp_path / "run")
    with monkeypatch.context() as crowded:
        crowded.setattr(Snapshots, "begin", full)
        with pytest.raises(OSError, match="too many open files"):
            live.start()
    assert owner_of(tmp_path / "run") == ""
    with pytest.raises(rf.SessionError, match="this session is failed: make a new one"):
        live.start()
    again = session(Cross(), frame, tmp_path / "run").run(progress=False)
    assert again.status.phase == "stopped"
    assert rf.certify(tmp_path / "run").identical


def test_start_twice_is_once(tmp_path, frame):
    live = paced(Cross(), frame, tmp_path / "run").start()
    assert live.start() is live
    live.stop()


OTHERS = [
    ({"limits": rf.Limits(max_notional=1.0)}, r"limits.max_notional is 1000000.0 and would be 1.0"),
    ({"limits": None}, r"limits.max_notional is 1000000.0 and would be None"),
    ({"dry_run": True}, "dry_run is False and would be True"),
    ({"cash": 5.0}, r"cash is 10000 and would be 5.0"),
    ({"seed": 3}, "seed is 0 and would be 3"),
    ({"warmup": 7}, "warmup is None and would be 7"),
    ({"symbols": ["OTHER"]}, r"symbols is \('SYN',\) and would be \['OTHER'\]"),
    ({"timeframe": "5min"}, "timeframe is '1min' and would be '5min'"),
    ({"on_kernel_loss": "flatten"}, "on_kernel_loss is 'cancel' and would be 'flatten'"),
    ({"baseline": None}, "baseline is another report"),
    ({"baseline": 4}, "baseline is another report"),
    ({"alert": None}, "its alert= is another one"),
    ({"redact": str}, "its redact= is another one"),
    ({"audit_format": "jsonl"}, "audit_format is 'csv' and would be 'jsonl'"),
    ({"output_dir": "."}, r"output_dir is None and would be '\.'"),
    ({"intervals": Intervals(clock_ms=9.0)}, r"intervals.clock_ms is 250.0 and would be 9.0"),
    ({"speed": 7.0}, "<Simulated venue, 60 times real time> and would be .*7 times real time"),
]


def test_the_cell_again_is_the_same_session_or_says_what_is_another(tmp_path, frame):
    def cell(speed=60.0, **other):
        costs = rf.Costs(slippage_bps=float(other.get("baseline") or 1.0))
        report = rf.backtest(Cross(), frame, costs=costs)
        given = {
            "symbols": "SYN", "timeframe": "1min", "cash": 10_000, "baseline": report,
            "limits": rf.Limits(max_notional=1e6), "alert": lambda reason, text: None, **other,
        }  # fmt: skip
        if other.get("baseline"):
            given["baseline"] = report
        return session(Cross(), frame, tmp_path / "run", speed=speed, **given)

    live = cell().start()
    assert cell(symbols=["SYN"], timeframe="60s", cash=10_000.0) is live
    for other, said in OTHERS:
        with pytest.raises(rf.SessionError, match=said):
            cell(**other)
    live.stop()


def test_halt_cancels_and_sends_nothing_until_resume(tmp_path, frame):
    live = paced(Resting(), frame, tmp_path / "run").start()
    wait_for(lambda: live.account.fills > 1)
    live.halt("lunch")
    wait_for(lambda: live.state == "halted")
    wait_for(lambda: live.status.working == 0)
    live.resume()
    wait_for(lambda: live.state == "active")
    live.stop()
    state, seen_halt = "active", False
    for _, _, outputs in events(tmp_path / "run"):
        for output in outputs:
            if isinstance(output, StateChanged):
                state = output.after
                seen_halt = seen_halt or state == "halted"
            assert not (isinstance(output, Submit) and state == "halted")
    assert seen_halt
    assert "lunch" in " ".join(live.log["text"])
    assert rf.certify(tmp_path / "run").identical


def test_flatten_leaves_every_position_then_halts(tmp_path, frame):
    live = paced(Cross(), frame, tmp_path / "run").start()
    wait_for(lambda: live.positions)
    live.flatten("enough")
    wait_for(lambda: live.state == "halted")
    assert live.positions == {}
    live.stop()
    assert rf.certify(tmp_path / "run").identical


def test_nothing_is_sent_by_a_flatten_that_a_stop_has_ended(tmp_path, frame):
    """What is working is canceled and the position stays: a stop is no flatten."""
    live = paced(Resting(), frame, tmp_path / "run").start()
    wait_for(lambda: live.positions and live.status.working)
    live.flatten("enough")
    live.stop()
    state, late = "active", []
    for _, _, outputs in events(tmp_path / "run"):
        for output in outputs:
            if isinstance(output, StateChanged):
                state = output.after
            elif isinstance(output, Submit) and state == "halted":
                late.append(output)
    assert late == []
    assert live.status.working == 0
    assert rf.certify(tmp_path / "run").identical


def test_commands_need_a_running_session(tmp_path, frame):
    live = session(Cross(), frame, tmp_path / "run")
    for call in (live.halt, live.resume, live.flatten, live.stop, live.wait):
        with pytest.raises(rf.SessionError):
            call()


def test_an_interrupt_in_run_stops_cleanly(tmp_path, frame, monkeypatch):
    live = paced(Cross(), frame, tmp_path / "run")
    real = live._worker._over.wait
    calls = []

    def interrupted(timeout=None):
        calls.append(timeout)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(timeout)

    monkeypatch.setattr(live._worker._over, "wait", interrupted)
    assert live.run() is live
    assert "stopped" in repr(live)
    assert "interrupted" in live.status.why
    assert rf.certify(tmp_path / "run").identical


def test_a_run_directory_takes_one_run(tmp_path, frame):
    session(Cross(), frame, tmp_path / "run").run()
    with pytest.raises(rf.SessionError, match="played to their end"):
        session(Cross(), frame, tmp_path / "run").start()


def test_nothing_of_a_session_outlives_it(tmp_path, frame):
    before = set(threading.enumerate())
    live = session(Cross(), frame, tmp_path / "run").run()
    live.stop()
    wait_for(lambda: set(threading.enumerate()) <= before)


# ---------------------------------------------------------------- failure


class Fails(rf.Strategy):
    def initialize(self, ctx):
        self.seen = 0

    def on_bar(self, ctx, bar):
        self.seen += 1
        if self.seen == 1:
            ctx.buy(bar.symbol, 1, limit=bar.close * 0.5)
        if self.seen == 100:
            raise ZeroDivisionError("a bug of mine")


def test_a_strategy_that_exits_halts_like_one_that_raises(tmp_path, frame):
    class Quits(Resting):
        def on_bar(self, ctx, bar):
            super().on_bar(ctx, bar)
            if ctx.orders():
                raise SystemExit(3)

    told = []
    live = session(Quits(), frame, tmp_path / "run", alert=lambda *said: told.append(said[0]))
    live.run()
    assert "failed in on_bar" in str(live.failure)
    assert "SystemExit: 3" in str(live.failure)
    assert live.state == "halted"
    assert {order.status for order in live.report().data.orders} <= {"filled", "canceled"}
    wait_for(lambda: told)
    assert "failed" in told
    assert "Error" in (tmp_path / "run" / "audit.log").read_text()
    assert rf.certify(tmp_path / "run").identical


@pytest.mark.parametrize("how", ["data", "stop", "halt", "kill"])
def test_only_a_run_that_was_halted_says_so_when_it_is_over(tmp_path, frame, how):
    run_dir = tmp_path / "run"
    live = session(Cross(), frame, run_dir, speed=None if how == "data" else 86_400.0)
    live.start()
    if how == "halt":
        live.halt("lunch")
        wait_for(lambda: live.state == "halted")
    if how == "kill":
        (run_dir / "kill").touch()
        wait_for(lambda: live.state == "halted")
    live.wait(progress=False) if how == "data" else live.stop()
    halted = how in ("halt", "kill")
    for look in (live, rf.attach(run_dir)):
        status = look.status
        assert (status.phase, status.state) == ("stopped", "halted" if halted else "ended")
        for text in (repr(status), status._repr_html_(), line(status)):
            assert ("halted" in text) is halted
        for text in (
            live_metrics_to_prometheus(look.metrics),
            dashboard_snapshot_to_prometheus(status),
        ):
            assert f'regimeflow_trading_state{{state="halted"}} {float(halted)}' in text
            assert f'regimeflow_trading_state{{state="ended"}} {float(not halted)}' in text


def test_a_failing_strategy_halts_cancels_and_shows_itself(tmp_path, frame):
    live = session(Fails(), frame, tmp_path / "run").run()
    assert live.state == "halted"
    assert live.status.working == 0
    assert live.failure.callback == "on_bar"
    assert live.failure.symbol == "asset"
    assert "a bug of mine" in live.failure.trace
    assert "regimeflow/engine" not in live.failure.trace
    assert "a bug of mine" in repr(live.status)
    kinds = [type(o) for _, _, outputs in events(tmp_path / "run") for o in outputs]
    assert kinds.count(Failed) == 1
    assert kinds.count(Cancel) == 1
    with pytest.raises(rf.SessionError, match="failed"):
        live.resume()
    assert rf.certify(tmp_path / "run").identical


def test_a_journal_that_fails_stops_the_session_with_nothing_sent(tmp_path, frame, monkeypatch):
    live = session(Resting(), frame, tmp_path / "run")
    sent = []
    real_send = live._worker.link.send
    monkeypatch.setattr(
        live._worker.link, "send", lambda outputs: (sent.extend(outputs), real_send(outputs))
    )
    from regimeflow.journal.disk import Disk

    count = []
    real_write = Disk.write

    def failing(self, fd, data):
        count.append(1)
        if len(count) > 12:
            raise OSError(28, "No space left on device")
        return real_write(self, fd, data)

    monkeypatch.setattr(Disk, "write", failing)
    with pytest.raises(rf.SessionError, match="No space left"):
        live.run()
    monkeypatch.undo()
    assert "failed" in repr(live)
    recorded = {
        o.order_id for _, _, outs in events(tmp_path / "run") for o in outs if isinstance(o, Submit)
    }
    assert {o.order_id for o in sent if isinstance(o, Submit)} == recorded


def test_a_session_that_breaks_says_so_in_the_audit_log_and_to_whoever_is_alerted(
    tmp_path, frame, monkeypatch
):
    heard: list[tuple[str, str]] = []
    live = session(Resting(), frame, tmp_path / "run", alert=lambda *said: heard.append(said))
    count: list[int] = []
    real_send = live._worker.link.send

    def failing(outputs):
        count.append(1)
        if len(count) == 20:
            raise MemoryError
        real_send(outputs)

    monkeypatch.setattr(live._worker.link, "send", failing)
    with pytest.raises(rf.SessionError, match="broke"):
        live.run()
    assert heard == [("broken", "the session broke: MemoryError: ")]
    assert "the session broke: MemoryError: " in list(live.log["text"])
    whole = (tmp_path / "run" / "audit.log").read_text()
    assert whole.splitlines()[-1].split(",")[2:4] == ["Error", "the session broke: MemoryError: "]
    known = whole.splitlines()[:-1]  # the last event's outputs were still to be followed
    assert known == audit_of(tmp_path / "run").splitlines()[: len(known)]
    # Taken up again, the log goes on behind that line.
    session(Resting(), frame, tmp_path / "run").run()
    again = (tmp_path / "run" / "audit.log").read_text()
    assert again.startswith(whole)
    rest = [row for row in again.splitlines() if '""broken""' not in row]
    assert rest == audit_of(tmp_path / "run").splitlines()


# ---------------------------------------------------------------- frozen


LOT = 10


class ReadsGlobal(rf.Strategy):
    boost = 1

    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=LOT * self.boost)


def test_what_changes_in_the_notebook_does_not_reach_the_session(tmp_path, frame, monkeypatch):
    live = session(ReadsGlobal(), frame, tmp_path / "run")
    monkeypatch.setattr(ReadsGlobal, "boost", 50)
    monkeypatch.setitem(globals(), "LOT", 70)
    live.run()
    assert live.positions == {"asset": 10.0}
    engine, twin = live._worker.engine.strategy, live._worker.twin.engine.strategy
    assert type(engine) is not ReadsGlobal
    assert type(engine) is not type(twin)
    type(engine).boost = 7
    type(engine).on_bar.__globals__["LOT"] = 1
    assert type(twin).boost == 1
    assert type(twin).on_bar.__globals__["LOT"] == 10
    assert rf.certify(tmp_path / "run").identical  # the frozen one
    changed = rf.certify(tmp_path / "run", strategy=ReadsGlobal())
    assert not changed.identical


def test_what_cannot_be_frozen_is_refused(tmp_path, frame):
    strategy = Cross()
    strategy.lock = threading.Lock()
    try:
        with pytest.raises(rf.SessionError, match="cannot be frozen"):
            session(strategy, frame, tmp_path / "run")
        with pytest.raises(rf.ConfigError, match="cannot be copied"):
            rf.backtest(strategy, frame)
    finally:
        del strategy.lock


# ---------------------------------------------------------------- report and bars


def test_the_report_of_a_run_is_that_of_its_backtest(tmp_path, frame):
    live = session(Cross(), frame, tmp_path / "run", costs=COSTS).run()
    report, backtest = live.report(), rf.backtest(Cross(), frame, costs=COSTS)
    assert report.equity["equity"].tolist() == backtest.equity["equity"].tolist()
    assert report.trades["pnl"].tolist() == backtest.trades["pnl"].tolist()
    assert report.records["gap"].tolist() == backtest.records["gap"].tolist()
    assert report.metrics == backtest.metrics


def test_a_session_and_its_report_show_the_same_orders(tmp_path, frame):
    live = session(Resting(), frame, tmp_path / "run").run()
    mine, theirs = live.orders, live.report().orders
    assert {*mine.columns} == {*theirs.columns} - {"decision_price", "updated"}
    assert mine["average_price"].isna().any()
    for name in mine.columns:
        assert mine[name].equals(theirs[name]), name


def test_bars_of_a_run_go_straight_into_a_backtest(tmp_path, frame):
    start = frame.index[300]
    live = session(Cross(), frame, tmp_path / "run", start=start).run()
    again = rf.backtest(Cross(), rf.bars(tmp_path / "run"), start=start)
    assert again.fills["price"].tolist() == live.fills["price"].tolist()
    assert len(rf.bars(tmp_path / "run", warmup=False)) == live.status.total


def test_replay_gives_the_engine_as_it_stood(tmp_path, frame):
    live = session(Cross(), frame, tmp_path / "run").run()
    engine = rf.replay(tmp_path / "run")
    assert engine.desk.ledger.cash == live.account.cash
    assert state_digest(engine) == state_digest(live._worker.engine)
    assert engine.strategy.quick.value == live._worker.engine.strategy.quick.value


@pytest.fixture
def open_handed():
    """A user whose files are for everybody unless a program says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_files_are_private(tmp_path: Path, frame, open_handed):
    report = rf.backtest(Cross(), frame)
    session(Cross(), frame, tmp_path / "run", baseline=report).run()
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "run").iterdir()}
    assert {name for name, mode in modes.items() if mode != 0o600} == set()
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert {"manifest.json", "strategy.pkl", "journal-0001.jsonl", "baseline.json"} <= set(modes)
    loaded = rf.Report.load(tmp_path / "run" / "baseline.json")
    assert loaded.metrics == report.metrics


@pytest.mark.parametrize("flavour", ["pandas", "polars"])
def test_a_session_on_an_adapter_hands_out_frames_of_its_baselines_flavour(
    tmp_path: Path, flavour: str
) -> None:
    research = rf.datasets.synthetic(n=100, symbols="AAA", flavour=flavour)
    baseline = rf.backtest(Cross(), research, symbols="AAA")
    venue = rf.venues.Loopback(port=7001)
    session = rf.LiveSession(
        Cross(), venue, symbols="AAA", baseline=baseline, run_dir=tmp_path / "run"
    )
    assert type(session.fills) is type(baseline.fills)
    # Nobody knows how many events a venue will have.
    assert " 0 events " in session.status._repr_html_()


# ---------------------------------------------------------------- why


def test_the_reason_shown_is_the_one_that_holds_now(tmp_path, frame):
    live = paced(Cross(), frame, tmp_path / "run").start()
    live.pause("lunch")
    wait_for(lambda: live.status.why == "lunch")
    live.pause("fire")  # the same hold for another reason: the trading state does not change
    wait_for(lambda: live.status.why == "fire")
    assert live.status.state == "reducing"
    live._worker.command("pause", "nobody is there", "kernel loss")
    wait_for(lambda: live.status.why == "fire; nobody is there")
    live._worker.command("unpause", "somebody is there", "kernel loss")
    wait_for(lambda: live.status.why == "fire")
    live.halt("enough")
    wait_for(lambda: live.status.why == "enough")
    live.pause("late")  # what is halted stays so for its own reason
    live.resume("again")
    wait_for(lambda: live.status.state == "active")
    assert live.status.why == "again"
    live.stop("over")
    assert live.status.why == "over"
    assert rf.attach(live.run_dir).status.why == "over"


def test_a_session_that_died_does_not_know_what_shadow_and_twin_had(tmp_path, frame):
    live = session(Cross(), frame, tmp_path / "run")
    live.run(progress=False)
    again = rf.attach(live.run_dir)
    assert (again.shadow, again.twin) == (live.shadow, live.twin)
    path = live.run_dir / "journal-0001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-200]))  # as after a kill: what was left is of another moment
    died = rf.attach(live.run_dir)
    assert died.status.phase == "failed"
    assert math.isnan(died.shadow.equity)


def test_help_shows_what_a_session_can_be_told():
    shown = list(inspect.signature(rf.LiveSession).parameters)
    assert shown[:4] == ["strategy", "venue", "symbols", "timeframe"]
    assert {"baseline", "limits", "run_dir", "on_kernel_loss", "alert"} < set(shown)


# ---------------------------------------------------------------- half a character

HALF = "bad \ud800"


class Spells(rf.Strategy):
    """Passes half a character, as JSON can bring it, wherever a strategy can say a text."""

    fails: bool = False

    def initialize(self, ctx):
        ctx.every("1h", HALF)

    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=10)
        if self.fails and ctx.position(bar.symbol):
            raise ValueError(HALF)

    def on_timer(self, ctx, timer):
        ctx.log(HALF, level=HALF)
        ctx.record(**{HALF: 1.0})
        ctx.buy("asset", 1, tag=HALF)
        ctx.log(timer.name)


def test_half_a_character_of_a_strategy_ends_nothing(tmp_path, frame):
    live = session(Spells(), frame, tmp_path / "run").run()
    assert live.status.phase == "stopped"
    said = [(record.body.text, record.body.level) for record in rf.read_journal(tmp_path / "run")
            if record.kind == "logged"]  # fmt: skip
    assert ("bad ?", "bad ?") in said
    assert ("bad ?", "info") in said
    assert set(live.orders["tag"]) == {"", "bad ?"}
    assert rf.certify(tmp_path / "run").identical
    report = live.report()
    assert "bad ?" in report.records.columns
    assert report._repr_html_()


def test_half_a_character_of_an_error_is_told_as_any(tmp_path, frame):
    live = session(Spells(fails=True), frame, tmp_path / "run").run()
    assert str(live.failure).endswith("ValueError: bad ?")
    assert rf.certify(tmp_path / "run").identical


def test_half_a_character_of_a_command_ends_nothing(tmp_path, frame):
    live = session(Cross(), frame, tmp_path / "run", speed=1_000.0)
    live.start()
    live.halt(HALF, who=HALF)
    live.stop(HALF, who=HALF)
    assert any(text.endswith("halted: bad ?") for text in live.log["text"])
    assert rf.certify(tmp_path / "run").identical


def test_no_name_of_a_strategy_makes_ids_that_an_exchange_gives_to_others():
    foreign = {part for kinds in HABITS.values() for one in kinds.values() for part in one.foreign}
    assert "x-" in foreign
    for begin in foreign:
        for name in (begin, begin.upper(), begin.strip("-_"), f"{begin}Trend", f"-{begin}a"):
            assert not f"{_slug(name)}-0123abcd-0-1".startswith(tuple(foreign)), name
    assert (_slug("X"), _slug("X_Trend"), _slug("Xylo")) == ("rf-x", "rf-x-trend", "xylo")
