"""The two histories give one answer: a historical frame's columns, and what events brought."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regimeflow as rf
from regimeflow.data.frames import load
from regimeflow.engine.column_history import ColumnHistory
from regimeflow.engine.drive import drive, race
from regimeflow.engine.engine import Engine
from regimeflow.engine.rolling_history import RollingHistory
from regimeflow.model.models import Limits, Model
from regimeflow.session.backtest import instruments_of, start_event
from regimeflow.venues.matching import Matched, Matcher, matched_on
from regimeflow.venues.tape import Tape

MINUTE = 60_000_000_000
SECOND = 1_000_000_000
BEGIN = pd.Timestamp("2024-01-02", tz="UTC")


class Typical(rf.Indicator):
    """One's own indicator, fed bar by bar."""

    inputs = ("high", "low", "close")

    def __init__(self) -> None:
        self.last = 0.0

    def update(self, high: float, low: float, close: float) -> float:
        self.last = 0.5 * self.last + 0.5 * (high + low + close) / 3
        return self.last


class Reader(rf.Strategy):
    """Reads everything there is to read at every bar, and trades on it."""

    own: bool = True

    def initialize(self, ctx):
        self.seen = []
        self.indicators = []
        for symbol in ctx.symbols:
            mine = [rf.SMA(3), rf.EMA(4), rf.ATR(3), rf.RSI(3), rf.ZScore(4)]
            if self.own:
                mine.append(Typical())
            for indicator in mine:
                self.indicators.append(ctx.indicator(indicator, symbol))
        self.named = ctx.indicator(rf.SMA(2), ctx.symbols[0], field="signal")
        self.indicators.append(self.named)

    def read(self, ctx, symbol):
        latest = ctx.latest(symbol)
        window = ctx.bars(symbol, 5)
        row = [
            ctx.now,
            None if latest is None else (latest.ts, latest.open, latest.close, latest.volume),
            window.ts.tolist(),
            [column.tolist() for column in (window.open, window.high, window.low, window.close)],
            ctx.equity,
            ctx.cash,
            ctx.buying_power,
        ]
        if latest is not None:
            row.append(str(ctx.feature(symbol, "signal")))
        self.seen.append(row)

    def on_bar(self, ctx, bar):
        for symbol in ctx.symbols:
            self.read(ctx, symbol)
        self.seen.append([(i.ready, str(i.value)) for i in self.indicators])
        ctx.target(bar.symbol, weight=0.3 if bar.close > bar.open else -0.1)

    def on_bars(self, ctx, bars):
        self.seen.append([(s, b.close, b.timeframe) for s, b in bars.items()])


@st.composite
def panels(draw):
    """Return a frame for each of one to three symbols, with holes, and when trading begins."""
    frames = {}
    for symbol in "ABC"[: draw(st.integers(1, 3))]:
        count = draw(st.integers(6, 25))
        cents = draw(st.lists(st.integers(900, 1100), min_size=count, max_size=count))
        missing = draw(st.sets(st.integers(2, count - 1), max_size=4))
        c = np.array(cents) / 100
        frame = pd.DataFrame(
            {
                "open": c, "high": c + 0.5, "low": c - 0.5,
                "close": np.append(c[1:], 10.0), "volume": 5.0,
                "signal": np.where(np.arange(count) % 5, c * 2, np.nan),
            },
            index=pd.date_range(BEGIN, periods=count, freq="1min"),
        )  # fmt: skip
        frame["high"] = frame[["open", "close", "high"]].max(axis=1)
        frame["low"] = frame[["open", "close", "low"]].min(axis=1)
        frames[symbol] = frame.drop(frame.index[sorted(missing)])
    return frames, draw(st.integers(0, 4))


def play(strategy, data, start, *, column, model=None, alone=False):
    """Drive an engine over a data set, with either history; return what was read and asked.

    ``alone`` lets it take quiet stretches by itself, as a backtest without a journal does.
    """
    model = model or Model()
    dataset = load(data, timeframe="1min")
    tape = Tape(dataset, start=start, data_latency_ns=model.latency.data_ns)
    rules = instruments_of(dataset, None)
    begin = start_event(
        strategy, tape, run="t", cash=1e5, model=model, rules=rules, limits=Limits(), seed=1
    )
    keys = [(bars.symbol, bars.timeframe) for bars in dataset.bars]
    history = (
        ColumnHistory(dataset.bars, 5, data_latency_ns=model.latency.data_ns)
        if column
        else RollingHistory(keys, 5)
    )
    engine = Engine(strategy, history)
    matcher = Matcher(model, engine.instruments, matched_on(dataset))

    def segments():
        yield tape.head(begin)
        yield from tape.segments()

    asked = []

    class Listening(Matched):
        def send(self, outputs):
            asked.extend(outputs)
            super().send(outputs)

    if alone:
        race(engine, Listening(segments, matcher), bars_alone=len(dataset.bars) == 1)
    else:
        drive(engine, Listening(segments, matcher))
    assert engine.failure is None, engine.failure.trace
    return strategy.seen, asked, matcher.fills


@settings(max_examples=80, deadline=None)
@given(panels(), st.booleans(), st.sampled_from([0.0, 5_000.0]))
def test_columns_and_events_give_one_answer(panel, own, data_ms):
    data, first = panel
    start = BEGIN.value + first * MINUTE
    model = Model(latency=rf.Latency(data_ms=data_ms))
    columns = play(Reader(own=own), data, start, column=True, model=model)
    events = play(Reader(own=own), data, start, column=False, model=model)
    assert columns == events
    closes = [frame.index[-1].value + MINUTE for frame in data.values() if len(frame)]
    assert bool(columns[0]) == any(close > start for close in closes)


class Nervous(rf.Strategy):
    """Asks for something of every kind, and looks around in every callback."""

    def initialize(self, ctx):
        self.seen = []
        self.bars = 0
        self.indicators = [
            ctx.indicator(made, symbol)
            for symbol in ctx.symbols
            for made in (rf.SMA(2), rf.SMA(5), rf.Bollinger(3))
        ]

    def look(self, ctx, what):
        shown = [
            (i.ready, [str(getattr(i, name)) for name in (*i.outputs, "value")])
            for i in self.indicators
        ]
        newest = [
            (s, b and (b.ts, b.close), len(ctx.bars(s, 5)), ctx.position(s))
            for s in ctx.symbols
            for b in [ctx.latest(s)]
        ]
        self.seen.append((what, ctx.now, ctx.equity, ctx.buying_power, newest, shown))

    def on_bar(self, ctx, bar):
        self.look(ctx, "bar")
        self.bars += 1
        cents = round(bar.close * 100) + self.bars
        if cents % 5 == 0:
            ctx.buy(bar.symbol, 3, limit=bar.close - 0.05, tag="low")
        elif cents % 7 == 0:
            ctx.target(bar.symbol, qty=float(cents % 4 - 2))
        elif cents % 11 == 0:
            ctx.record(close=bar.close)
        elif cents % 13 == 0:
            ctx.at(ctx.now + 90 * SECOND, "later")
        elif cents % 17 == 0:
            for order in ctx.orders():
                ctx.cancel(order)

    def on_fill(self, ctx, fill):
        self.look(ctx, "fill")
        if fill.side == "buy" and self.bars % 2:
            ctx.sell(fill.symbol, 1, stop=fill.price - 0.1)

    def on_order_update(self, ctx, order):
        self.look(ctx, order.status)

    def on_timer(self, ctx, timer):
        self.look(ctx, "timer")
        ctx.buy(ctx.symbols[0], 1)

    def on_end_of_day(self, ctx, day):
        self.look(ctx, "day")


@settings(max_examples=40, deadline=None)
@given(panels(), st.sampled_from([0.0, 5_000.0]), st.sampled_from(["next_open", "close"]))
def test_an_engine_that_helps_itself_to_events_sees_and_asks_the_same(panel, ms, market):
    data, first = panel
    start = BEGIN.value + first * MINUTE
    model = Model(
        latency=rf.Latency(data_ms=ms, order_ms=ms / 2), fills=rf.FillModel(market=market)
    )
    alone, led, live = (
        play(Nervous(), data, start, column=column, model=model, alone=alone)
        for column, alone in ((True, True), (True, False), (False, False))
    )
    assert alone == led
    assert alone == live


def wide_data(symbols, days, *, ragged):
    chance = np.random.default_rng(3)
    data = {}
    for place in range(symbols):
        c = np.round(50 + np.cumsum(chance.normal(0, 1, days)), 2).clip(5)
        frame = pd.DataFrame(
            {"open": c, "high": c + 1, "low": c - 1, "close": np.round(c + 0.1 * place, 2)},
            index=pd.date_range("2024-01-01", periods=days, freq="1D"),
        ).assign(volume=1.0, signal=c)
        frame["high"] = frame[["high", "close"]].max(axis=1)
        if ragged and place % 3:
            frame = frame.drop(frame.index[[place, 2 * place]])
        data[f"S{place:02d}"] = frame
    return data


@pytest.mark.parametrize("ragged", [False, True])
def test_a_wide_panel_gives_the_same_as_a_narrow_one(ragged, monkeypatch):
    data = wide_data(12, 30, ragged=ragged)

    class Panel(Reader):
        def on_bar(self, ctx, bar):
            super().on_bar(ctx, bar)
            self.seen.append((bar.symbol, bar.open, bar.high, bar.low, bar.close, bar.volume))

    def once():
        told = []

        class Telling(Panel):
            def on_stop(self, ctx):
                told.append(self.seen)

        report = rf.backtest(Telling(own=False), data)
        return told[0], report.data.fills

    wide = once()
    monkeypatch.setattr("regimeflow.venues.tape.WIDE", 10**9)
    narrow = once()
    assert wide == narrow
    assert len(wide[1]) > 50


def test_windows_are_read_only_and_keep_their_numbers():
    kept = []

    def look(ctx, bar):
        window = ctx.bars(bar.symbol, 3)
        with pytest.raises(ValueError, match="read-only"):
            window.close[:] = 0.0
        kept.append((window.close, window.close.copy()))

    frame = wide_data(1, 40, ragged=False)["S00"]
    rf.backtest(look, frame)
    assert len(kept) == 40
    assert [len(w) for w, _ in kept[:4]] == [1, 2, 3, 3]
    for window, copy in kept:
        assert window.tolist() == copy.tolist()


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
def test_a_rolling_history_forgets_only_what_is_too_deep(depth):
    history = RollingHistory([("A", MINUTE)], depth)
    windows = []
    for n in range(1, 30):
        history.store(rf.Bar(n * MINUTE, n * MINUTE, "A", n, n, n, n, 1.0, MINUTE))
        window = history.window("A", depth, MINUTE, n * MINUTE)
        assert window.close.tolist() == [float(k) for k in range(max(1, n - depth + 1), n + 1)]
        windows.append((window, window.close.tolist()))
    for window, before in windows:
        assert window.close.tolist() == before


ASKED_WRONGLY = [
    (lambda ctx: ctx.bars("S0", 5), "OrderError", "Did you mean 'S0"),
    (lambda ctx: ctx.bars("S00", 0), "ConfigError", "at least 1 bar"),
    (lambda ctx: ctx.bars("S00", 20_000), "ConfigError", "history_depth = 20000"),
    (lambda ctx: ctx.bars("S00", 5, "1h"), "ConfigError", "no 1h bars of 'S00'.*only 1d"),
    (lambda ctx: ctx.bars("S00", 5, "1 parsec"), "ConfigError", "cannot read the timeframe"),
    (lambda ctx: ctx.feature("S00", "signl"), "ConfigError", "Did you mean 'signal'"),
    (lambda ctx: ctx.indicator(rf.SMA(3), "S00"), "ConfigError", "initialize only"),
    (lambda ctx: ctx.watch_regime(None, "S00"), "ConfigError", "initialize only"),
    (lambda ctx: ctx.buy("S0", 1), "OrderError", "Did you mean 'S0"),
    (lambda ctx: ctx.target("S0", 1), "OrderError", "Did you mean 'S0"),
    (lambda ctx: ctx.targets({"S0": 1}), "OrderError", "Did you mean 'S0"),
    (lambda ctx: ctx.close("S0"), "OrderError", "Did you mean 'S0"),
    (lambda ctx: ctx.cancel("nothing"), "OrderError", "there is no order 'nothing'"),
    (lambda ctx: ctx.buy("S00", 1, tif="gtx"), "OrderError", "tif must be one of"),
    (lambda ctx: ctx.buy("S00", 1, tif="gtd"), "OrderError", "expire_at"),
    (lambda ctx: ctx.target("S00"), "OrderError", "exactly one of qty, weight and value"),
    (lambda ctx: ctx.target("S00", 1, weight=1), "OrderError", "exactly one"),
    (lambda ctx: ctx.targets({}, rest="open"), "OrderError", "rest must be"),
    (lambda ctx: ctx.every("never"), "ConfigError", "cannot read the timeframe"),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "kind", "says"), ASKED_WRONGLY)
def test_a_wrong_question_is_answered_with_one_sentence(ask, kind, says):
    data = wide_data(2, 5, ragged=False)
    with pytest.raises(rf.StrategyError, match=says) as caught:
        rf.backtest(lambda ctx, bar: ask(ctx), data)
    assert type(caught.value.__cause__).__name__ in kind.split("|")
