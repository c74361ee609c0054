"""A strategy over a frame: failures of its code, repeatability, flavours, the journal, imports."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest

import regimeflow as rf

BEGIN = pd.Timestamp("2024-01-02", tz="UTC")


def frame(count=60, step="1min"):
    closes = 100 + np.round(np.sin(np.arange(count) / 3) * 5, 2)
    return pd.DataFrame(
        {"open": closes, "high": closes + 1, "low": closes - 1, "close": closes, "volume": 10.0},
        index=pd.date_range(BEGIN, periods=count, freq=step),
    )


class Cross(rf.Strategy):
    fast: int = 3
    slow: int = 8

    def initialize(self, ctx):
        self.quick = ctx.indicator(rf.SMA(self.fast))
        self.calm = ctx.indicator(rf.SMA(self.slow))
        self.count = 0

    def on_bar(self, ctx, bar):
        self.count += 1
        if self.calm.ready:
            ctx.target(bar.symbol, weight=1.0 if self.quick.value > self.calm.value else 0.0)
        if self.count % 10 == 0:
            ctx.record(spread=self.quick.value - self.calm.value, draw=ctx.rng.random())


def summary(report):
    return (
        report.data.fills,
        [(o.id, o.status, o.qty, o.log) for o in report.data.orders],
        [r.values for r in report.data.records],
        report.metrics,
    )


# ---------------------------------------------------------------- failures of the strategy


class Failing(rf.Strategy):
    """Buys on every bar, and raises in one callback, the n-th time it is called."""

    where: str = "on_bar"
    nth: int = 1

    def initialize(self, ctx):
        self.calls = 0
        ctx.every("1min", "beat")
        self.raise_in("initialize")

    def raise_in(self, callback):
        if callback == self.where:
            self.calls += 1
            if self.calls == self.nth:
                raise ZeroDivisionError("the strategy's own mistake")

    def on_start(self, ctx):
        self.raise_in("on_start")

    def on_bar(self, ctx, bar):
        ctx.buy(bar.symbol, 1)
        self.raise_in("on_bar")

    def on_bars(self, ctx, bars):
        self.raise_in("on_bars")

    def on_fill(self, ctx, fill):
        self.raise_in("on_fill")

    def on_order_update(self, ctx, order):
        self.raise_in("on_order_update")

    def on_timer(self, ctx, timer):
        self.raise_in("on_timer")

    def on_end_of_day(self, ctx, day):
        self.raise_in("on_end_of_day")

    def on_stop(self, ctx):
        self.raise_in("on_stop")


#: callback, the how manieth call, symbol, minute of the event, fills up to there
FAILURES = [
    ("initialize", 1, None, 0, 0),
    ("on_start", 1, None, 0, 0),
    ("on_bar", 1, "SPY", 1, 0),
    ("on_bar", 5, "SPY", 5, 4),
    ("on_bars", 3, None, 3, 2),
    ("on_fill", 2, "SPY", 3, 2),
    ("on_order_update", 1, "SPY", 1, 0),
    ("on_timer", 3, None, 3, 2),
    ("on_end_of_day", 1, None, 24 * 60, 9),
    ("on_stop", 1, None, 24 * 60, 9),
]


@pytest.mark.parametrize(("where", "nth", "symbol", "minute", "fills"), FAILURES)
def test_an_exception_in_a_callback_ends_the_run_and_says_where(where, nth, symbol, minute, fills):
    with pytest.raises(rf.StrategyError) as caught:
        rf.backtest(Failing(where=where, nth=nth), frame(10), symbols="SPY")
    error = caught.value
    assert error.callback == where
    assert where == "on_bars" or error.symbol == symbol
    assert (error.ts - BEGIN.value) / 60e9 == minute
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert f"failed in {where}" in str(error)
    assert "ZeroDivisionError: the strategy's own mistake" in str(error)
    # The trace begins in the user's own code.
    lines = error.trace.splitlines()
    assert "test_backtest.py" in lines[1]
    assert f'self.raise_in("{where}")' in error.trace
    assert "engine.py" not in error.trace
    # The report up to there.
    assert len(error.report.data.fills) == fills
    assert len(error.report.equity) <= minute + 2
    assert error.report.data.error == str(error)


def test_the_report_of_a_failure_counts_what_the_strategy_had_seen_with_late_data():
    with pytest.raises(rf.StrategyError) as caught:
        rf.backtest(
            Failing(where="on_fill", nth=2), frame(10), symbols="SPY",
            latency=rf.Latency(data_ms=100),
        )  # fmt: skip
    assert len(caught.value.report.data.fills) == 2


def test_an_error_within_a_call_of_ours_shows_the_users_line_first():
    def on_bar(ctx, bar):
        ctx.buy("SPZ", 1)  # the line to look at

    with pytest.raises(rf.StrategyError, match="Did you mean 'SPY'") as caught:
        rf.backtest(on_bar, frame(5), symbols="SPY")
    assert "# the line to look at" in caught.value.trace.splitlines()[2]
    assert isinstance(caught.value.__cause__, rf.OrderError)


def test_an_interrupt_gives_the_report_up_to_there():
    def on_bar(ctx, bar):
        ctx.buy(bar.symbol, 1)
        if (bar.ts - BEGIN.value) // 60_000_000_000 == 5:
            raise KeyboardInterrupt

    report = rf.backtest(on_bar, frame(10))
    assert len(report.fills) == 4
    assert any("interrupted at 2024-01-02T00:05:00Z" in note for note in report.data.notes)


@pytest.mark.parametrize(("make", "says"), [
    (lambda: Cross(fsat=3), "Cross has no parameter 'fsat'. Did you mean 'fast'"),
    (lambda: Cross(fast="3"), "fast must be int, got '3'"),
    (lambda: Cross(fast=2.5), "fast must be int"),
    (lambda: Cross(fast=True), "fast must be int"),
    (lambda: rf.backtest(42, frame(5)), "a strategy is a Strategy, its class or a function"),
    (lambda: rf.backtest(Cross, frame(5), instruments=[rf.Instrument("SPZ")], symbols="SPY"),
     "'SPZ', which is not in the data. Did you mean 'SPY'"),
    (lambda: rf.backtest(Cross, frame(5), start="yesterday-ish"), "cannot read 'yesterday-ish'"),
    (lambda: rf.backtest(Cross, frame(9), symbols="SPY", benchmark="SPX"), "Did you mean 'SPY'"),
    (lambda: rf.FillModel(market="open"), "market must be"),
    (lambda: rf.Costs(commission_bps=-1), "commission_bps must be"),
    (lambda: rf.Costs(commission_bps=1, maker_bps=1), "not both"),
    (lambda: rf.Latency(order_ms=float("nan")), "order_ms must be"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_with_one_sentence(make, says):
    with pytest.raises(rf.ConfigError, match=says.replace("(", r"\(")):
        make()


def test_a_class_without_a_needed_parameter_says_so():
    class Needs(rf.Strategy):
        size: int

    with pytest.raises(rf.ConfigError, match="Needs needs a value for size"):
        rf.backtest(Needs, frame(5))


def test_no_data_between_start_and_end():
    with pytest.raises(rf.DataError, match="no data between start and end"):
        rf.backtest(Cross, frame(5), start="2030-01-01")


# ---------------------------------------------------------------- the same again


def test_running_an_instance_twice_gives_one_report_and_leaves_it_alone():
    strategy = Cross(fast=2)
    before = dict(vars(strategy))
    data = frame()
    copy = data.copy()
    first, second = rf.backtest(strategy, data, seed=4), rf.backtest(strategy, data, seed=4)
    assert summary(first) == summary(second)
    assert vars(strategy) == before
    pd.testing.assert_frame_equal(data, copy)
    assert len(first.fills) > 5
    assert [r.values["draw"] for r in first.data.records] != [
        r.values["draw"] for r in rf.backtest(strategy, data, seed=5).data.records
    ]


def test_pandas_and_polars_give_equal_fills_to_the_bit():
    data = frame()
    other = pl.DataFrame({"time": list(data.index.to_pydatetime()), **{
        name: data[name].to_numpy() for name in data.columns
    }})  # fmt: skip
    first = rf.backtest(Cross, data, symbols="A")
    second = rf.backtest(Cross, other, symbols="A")
    assert summary(first) == summary(second)
    assert isinstance(first.equity, pd.DataFrame)
    assert isinstance(second.equity, pl.DataFrame)
    assert first.equity["equity"].tolist() == second.equity["equity"].to_list()


def test_a_class_an_instance_and_a_function_are_strategies():
    def hold(ctx, bar):
        ctx.target(bar.symbol, qty=5)

    class Hold(rf.Strategy):
        def on_bar(self, ctx, bar):
            hold(ctx, bar)

    fills = [rf.backtest(s, frame()).data.fills for s in (hold, Hold, Hold())]
    assert fills[0] == fills[1] == fills[2]
    assert len(fills[0]) == 1


def test_bars_before_the_start_are_history():
    seen = []

    class Warm(Cross):
        def on_bar(self, ctx, bar):
            seen.append((len(ctx.bars(bar.symbol, 100)), self.calm.ready, self.calm.value))

    rf.backtest(Warm, frame(), start=BEGIN + pd.Timedelta("20min"), end="2024-01-02 00:40")
    closes = frame()["close"]
    assert [n for n, _, _ in seen] == list(range(21, 41))
    assert all(ready for _, ready, _ in seen)
    assert seen[0][2] == pytest.approx(closes.iloc[13:21].mean())


def test_orders_and_positions_from_one_symbol_do_not_touch_another():
    data = {"A": frame(), "B": frame() * 2}
    both = rf.backtest(lambda c, b: c.target(b.symbol, qty=3 if b.symbol == "A" else 0), data)
    alone = rf.backtest(lambda c, b: c.target(b.symbol, qty=3), data["A"], symbols="A")
    assert [(f.symbol, f.qty, f.price) for f in both.data.fills] == [
        (f.symbol, f.qty, f.price) for f in alone.data.fills
    ]


# ---------------------------------------------------------------- the journal


def test_a_journal_holds_the_run(tmp_path):
    report = rf.backtest(Cross, frame(), symbols="A", journal=tmp_path / "run")
    plain = rf.backtest(Cross, frame(), symbols="A")
    assert summary(report) == summary(plain)  # writing it down changes nothing
    journal = rf.read_journal(tmp_path / "run")
    events = [line.body if hasattr(line, "body") else line for line in journal]
    kinds = [type(event).__name__ for event in events]
    assert kinds[0] == "Start"
    assert kinds.count("Bar") == 60
    assert [event for event in events if isinstance(event, rf.Fill)] == report.data.fills
    assert kinds.count("Submit") == len([o for o in report.data.orders if o.status != "denied"])
    assert "Finish" in kinds


def test_an_exit_is_a_failure_of_the_strategy():
    def quits(ctx, bar):
        raise SystemExit("enough")

    with pytest.raises(rf.StrategyError, match="SystemExit: enough"):
        rf.backtest(quits, frame(10), symbols="SPY")


def test_the_journal_of_a_failure_can_be_read(tmp_path):
    with pytest.raises(rf.StrategyError):
        rf.backtest(Failing(nth=5), frame(10), symbols="SPY", journal=tmp_path / "run")
    text = "".join(repr(line) for line in rf.read_journal(tmp_path / "run"))
    assert "Failed(" in text
    assert "own mistake" in text


def test_what_features_a_run_read_stand_in_its_journal(tmp_path):
    data = frame().assign(signal=np.arange(60.0))
    got = []
    rf.backtest(
        lambda c, b: got.append(c.feature(b.symbol, "signal")), data, journal=tmp_path / "run"
    )
    events = [
        line.body if hasattr(line, "body") else line for line in rf.read_journal(tmp_path / "run")
    ]
    assert [e.features["signal"] for e in events if isinstance(e, rf.Bar)] == got == list(range(60))


# ---------------------------------------------------------------- the package

ROOF = (
    "ipywidgets", "anywidget", "matplotlib", "ccxt", "alpaca", "ib_async", "ib_insync", "dask",
    "prometheus_client",
)  # fmt: skip


def python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


def test_importing_the_package_loads_nothing_of_the_roof():
    code = f"import sys, regimeflow; print([m for m in {ROOF!r} if m in sys.modules])"
    done = python(code)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("name", rf.__all__)
def test_every_public_name_is_there(name):
    assert getattr(rf, name) is not None
    assert name in dir(rf)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'backtset'"):
        _ = rf.backtset
    assert list(rf.__all__) == sorted(rf.__all__)


@pytest.mark.parametrize(
    ("rows", "said"),
    [([5], "1 bad row of asset was dropped"), ([5, 9], "2 bad rows of asset were dropped")],
)
def test_rows_that_were_dropped_are_counted_in_the_report(rows, said):
    frame = rf.datasets.synthetic(n=50)
    frame.iloc[rows, frame.columns.get_loc("close")] = float("nan")
    report = rf.backtest(lambda ctx, bar: None, frame, on_bad="drop")
    assert said in report.notes
