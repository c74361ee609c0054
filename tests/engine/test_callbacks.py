"""Every callback fires, in an order that a strategy can rely on."""

import copy
import itertools
import pickle

import numpy as np
import pandas as pd
import pytest

import regimeflow as rf
from regimeflow.engine.engine import Engine
from regimeflow.engine.rolling_history import RollingHistory
from regimeflow.engine.strategy import CALLBACKS, overridden
from regimeflow.model.events import EndOfDay, Finish, Resumed, Start
from regimeflow.model.market import Bars, Book

BEGIN = pd.Timestamp("2024-01-02", tz="UTC")
MINUTE = 60_000_000_000


def bars(closes, freq="1min", begin=BEGIN):
    c = np.asarray(closes, dtype=float)
    times = pd.date_range(begin, periods=len(c), freq=freq)
    return pd.DataFrame(
        {"open": c, "high": c + 1, "low": c - 1, "close": c, "volume": 10.0}, index=times
    )


def stamp(minutes: float) -> int:
    return BEGIN.value + round(minutes * MINUTE)


#: What the last run's strategies noted: (callback, time, what). Strategies are copied by a
#: backtest, so that notes on the instance would be lost.
NOTES: list[tuple[str, int, str]] = []


class Everything(rf.Strategy):
    """Overrides every callback and writes down what came."""

    buys: bool = True

    def note(self, callback, ctx, what=""):
        NOTES.append((callback, ctx.now, what))

    def initialize(self, ctx):
        NOTES.clear()
        self.note("initialize", ctx)
        ctx.every("2min", "beat")
        ctx.at(stamp(3.5), "once")

    def on_start(self, ctx):
        self.note("on_start", ctx)

    def on_bar(self, ctx, bar):
        latest = ctx.latest(bar.symbol)
        self.note("on_bar", ctx, f"{bar.symbol} {bar.timeframe // MINUTE} {bar.close:g}")
        assert latest is not None
        assert latest.ts <= ctx.now
        if self.buys and not ctx.position(bar.symbol) and not ctx.orders(bar.symbol):
            ctx.buy(bar.symbol, 1)

    def on_bars(self, ctx, bars):
        self.note("on_bars", ctx, " ".join(bars))

    def on_tick(self, ctx, trade):
        self.note("on_tick", ctx, f"{trade.symbol} {trade.price:g}")

    def on_quote(self, ctx, quote):
        assert ctx.quote(quote.symbol) == quote
        self.note("on_quote", ctx, f"{quote.symbol} {quote.mid:g}")

    def on_order_book(self, ctx, book):
        assert ctx.book(book.symbol) == book
        self.note("on_order_book", ctx, book.symbol)

    def on_order_update(self, ctx, order):
        self.note("on_order_update", ctx, f"{order.symbol} {order.status}")

    def on_fill(self, ctx, fill):
        assert ctx.position(fill.symbol) == fill.qty  # the books know it already
        self.note("on_fill", ctx, fill.symbol)

    def on_regime_change(self, ctx, change):
        assert ctx.regime == change.after
        self.note("on_regime_change", ctx, change.after)

    def on_timer(self, ctx, timer):
        self.note("on_timer", ctx, timer.name)

    def on_end_of_day(self, ctx, day):
        self.note("on_end_of_day", ctx, day.session)

    def on_stop(self, ctx):
        self.note("on_stop", ctx)


class Flipping(rf.Regime):
    """A detector that changes its mind with every third bar."""

    def __init__(self):
        self.count = 0

    def update(self, bar):
        self.count += 1
        return ("bull" if self.count % 6 < 3 else "bear"), 0.5


class WithRegime(Everything):
    def initialize(self, ctx):
        super().initialize(ctx)
        ctx.watch_regime(Flipping())


def mixed_data():
    """Bars, trades and quotes."""
    times = pd.date_range(BEGIN + pd.Timedelta("20s"), periods=6, freq="1min")
    quotes = pd.DataFrame(
        {"bid": 99.0, "ask": 101.0, "bid_size": 5.0, "ask_size": 5.0}, index=times
    )
    trades = pd.DataFrame(
        {"price": [100.0, 101, 102, 103, 104, 105], "size": 1.0},
        index=times + pd.Timedelta("10s"),
    )
    return {"bars": bars(range(100, 106)), "quotes": quotes, "trades": trades}


def names(notes):
    return [name for name, _, _ in notes]


def test_defect_5_every_callback_fires_in_a_backtest():
    fired: set[str] = set()
    for data in (bars(range(100, 110)), mixed_data()["quotes"], mixed_data()["trades"]):
        strategy = WithRegime() if "close" in data else Everything()
        rf.backtest(strategy, data, symbols="A")
        fired |= set(names(NOTES))
    # Historical frames hold no order books: that event comes by hand.
    engine = Engine(Everything(buys=False), RollingHistory([], 10))
    engine.step(Start(0, 0, "t", 0, ("A",), (0,), 1000.0))
    engine.step(Book(5, 5, "A", ((99.0, 1.0),), ((101.0, 1.0),)))
    fired |= set(names(NOTES))
    assert fired == set(CALLBACKS)


def test_time_never_goes_back_and_the_order_of_a_fill_is_told_before_it():
    for latency in (rf.Latency(), rf.Latency(order_ms=20_000, data_ms=5_000)):
        rf.backtest(WithRegime(), bars(range(100, 120)), symbols="A", latency=latency)
        times = [at for _, at, _ in NOTES]
        assert times == sorted(times)
        order = [what for name, _, what in NOTES if name in ("on_order_update", "on_fill")]
        assert order[:3] == ["A open", "A", "A filled"]


def test_the_story_of_three_bars():
    rf.backtest(Everything(), bars([100, 101, 102]), symbols="A")
    minute = [(name, (at - BEGIN.value) / MINUTE, what) for name, at, what in NOTES]
    day = 24 * 60.0
    assert [row for row in minute if row[1] < 4] == [
        ("initialize", 0.0, ""),
        ("on_start", 0.0, ""),
        ("on_bar", 1.0, "A 1 100"),
        ("on_bars", 1.0, "A"),
        ("on_order_update", 1.0, "A open"),
        ("on_fill", 2.0, "A"),
        ("on_order_update", 2.0, "A filled"),
        ("on_bar", 2.0, "A 1 101"),
        ("on_bars", 2.0, "A"),
        ("on_timer", 2.0, "beat"),
        ("on_bar", 3.0, "A 1 102"),
        ("on_bars", 3.0, "A"),
        ("on_timer", 3.5, "once"),
    ]
    assert minute[-2:] == [("on_end_of_day", day, "2024-01-02"), ("on_stop", day, "")]


def test_a_callback_that_is_not_there_changes_nothing_for_the_others():
    rf.backtest(WithRegime(), bars(range(100, 130)), symbols="A")
    whole = [note for note in NOTES if note[0] == "on_bar"]

    class OnlyBars(rf.Strategy):
        initialize = Everything.initialize
        note = Everything.note
        on_bar = Everything.on_bar
        buys: bool = True

    rf.backtest(OnlyBars(), bars(range(100, 130)), symbols="A")
    assert [note for note in NOTES if note[0] == "on_bar"] == whole


def test_bars_trades_and_quotes_come_together_in_the_order_of_time():
    kinds = mixed_data()
    rf.backtest(Everything(), {"B": kinds["bars"], "T": kinds["trades"], "Q": kinds["quotes"]})
    market = [(at, name) for name, at, _ in NOTES if name in ("on_bar", "on_tick", "on_quote")]
    assert market == sorted(market, key=lambda row: row[0])
    assert [name for _, name in market[:4]] == ["on_quote", "on_tick", "on_bar", "on_quote"]
    assert [(at - BEGIN.value) / MINUTE * 60 for at, _ in market[:4]] == [20.0, 30.0, 60.0, 80.0]


class TestSeveralSeries:
    def test_bars_stand_in_the_order_of_symbols_finer_first_then_on_bars(self):
        one = {symbol: bars(range(100, 110)) for symbol in ("B", "A")}
        rf.backtest(Everything(buys=False), one, symbols=["B", "A"])
        at = stamp(5)
        now = [(name, what) for name, ts, what in NOTES if ts == at]
        assert now == [
            ("on_bar", "B 1 104"), ("on_bar", "A 1 104"), ("on_bars", "B A"),
        ]  # fmt: skip

    def test_all_bars_of_one_moment_are_there_before_the_first_callback(self):
        seen = []

        class Looks(rf.Strategy):
            def on_bar(self, ctx, bar):
                seen.append([ctx.latest(s).ts == bar.ts for s in ctx.symbols])

        rf.backtest(Looks, {s: bars(range(100, 110)) for s in "ABC"})
        assert len(seen) == 30
        assert all(all(row) for row in seen)

    def test_a_finer_timeframe_comes_first(self):
        fine, coarse = bars(range(100, 110)), bars([104, 109], "5min")
        data = long_frame({("A", "1min"): fine, ("A", "5min"): coarse})
        rf.backtest(Everything(buys=False), data)
        now = [what for name, ts, what in NOTES if ts == stamp(5) and name.startswith("on_bar")]
        assert now == ["A 1 104", "A 5 104", "A"]

    def test_ragged_symbols_get_their_own_bars_only(self):
        data = {"A": bars(range(100, 110)), "B": bars(range(200, 210)).iloc[[2, 3, 7]]}
        rf.backtest(Everything(buys=False), data)
        mine = [(at - BEGIN.value) // MINUTE for n, at, w in NOTES if n == "on_bar" and w[0] == "B"]
        assert mine == [3, 4, 8]
        whole = [what for name, _, what in NOTES if name == "on_bars"]
        assert whole == ["A", "A", "A B", "A B", "A", "A", "A", "A B", "A", "A"]


def long_frame(series):
    parts = [
        frame.reset_index(names="time").assign(symbol=symbol, timeframe=timeframe)
        for (symbol, timeframe), frame in series.items()
    ]
    return pd.concat(parts, ignore_index=True)


class TestTimers:
    def fired(self, *, every=None, at=None, start=None, frame=None, where="initialize", **options):
        times = []

        class Timed(rf.Strategy):
            def initialize(self, ctx):
                if where == "initialize":
                    self.ask(ctx)

            def on_start(self, ctx):
                if where == "on_start":
                    self.ask(ctx)

            def ask(self, ctx):
                if every:
                    ctx.every(every, "t", start=start)
                else:
                    ctx.at(at, "t")

            def on_timer(self, ctx, timer):
                times.append((ctx.now - BEGIN.value) / MINUTE)

        rf.backtest(Timed, frame if frame is not None else bars(range(100, 106)), **options)
        return times

    def test_beats_come_at_their_times_and_between_bars(self):
        assert self.fired(every="90s")[:4] == [1.5, 3.0, 4.5, 6.0]

    def test_a_given_start_is_the_first_beat(self):
        assert self.fired(every="2min", start=stamp(1))[:3] == [1.0, 3.0, 5.0]

    def test_once_is_once(self):
        assert self.fired(at=stamp(2.25)) == [2.25]

    def test_what_was_missed_comes_once_and_now(self):
        assert self.fired(at=stamp(-5), where="on_start") == [0.0]

    def test_missed_beats_are_not_made_up_for(self):
        assert self.fired(every="2min", start=stamp(-9), where="on_start")[:2] == [1.0, 3.0]

    def test_beats_go_on_through_gaps_of_the_market(self):
        frame = pd.concat([bars([100, 101]), bars([102], begin=BEGIN + pd.Timedelta("1h"))])
        times = self.fired(every="10min", frame=frame, timeframe="1min")
        assert times[:6] == [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]

    def test_no_timer_before_on_start(self):
        order = []

        class Early(rf.Strategy):
            def initialize(self, ctx):
                ctx.every("10s")

            def on_start(self, ctx):
                order.append("on_start")

            def on_timer(self, ctx, timer):
                order.append("on_timer")

        rf.backtest(Early, bars([100, 101]))
        assert order[0] == "on_start"
        assert order.count("on_start") == 1

    def test_an_order_of_a_timer_waits_for_the_next_bar_that_is_all_ahead(self):
        class Timed(rf.Strategy):
            def initialize(self, ctx):
                ctx.at(stamp(2.5))

            def on_timer(self, ctx, timer):
                ctx.buy("asset", 1)

        (fill,) = rf.backtest(Timed, bars([100, 101, 102, 103, 104])).data.fills
        assert fill.price == 103.0  # bar 2 had begun half a minute before


class TestDays:
    def ends(self, frame, **options):
        days = []

        class Days(rf.Strategy):
            def on_bar(self, ctx, bar):
                days.append("bar")

            def on_end_of_day(self, ctx, day):
                days.append((day.session, pd.Timestamp(ctx.now, tz="UTC").isoformat()))

        rf.backtest(Days, frame, **options)
        return [day for day in days if day != "bar"], days

    def test_utc_days_end_at_midnight_after_their_last_bar(self):
        frame = bars(range(100, 130), "4h")  # five days, the last bar of each closes at midnight
        ends, whole = self.ends(frame)
        assert ends == [(f"2024-01-0{n}", f"2024-01-0{n + 1}T00:00:00+00:00") for n in range(2, 7)]
        assert [
            len(list(g)) for bar, g in itertools.groupby(whole, lambda d: d == "bar") if bar
        ] == [6] * 5

    def test_exchange_days_end_at_their_close_once_each(self):
        dates = ["2024-07-02", "2024-07-03", "2024-07-05"]
        frame = bars([100, 101, 102]).set_axis(pd.to_datetime(dates))
        ends, _ = self.ends(frame, calendar="XNYS", symbols="SPY")
        assert ends == [
            ("2024-07-02", "2024-07-02T20:00:00+00:00"),
            ("2024-07-03", "2024-07-03T17:00:00+00:00"),  # half a day
            ("2024-07-05", "2024-07-05T20:00:00+00:00"),
        ]


def test_what_is_asked_in_on_stop_comes_too_late():
    class Late(rf.Strategy):
        def on_stop(self, ctx):
            assert not ctx.buy("asset", 1)

    (order,) = rf.backtest(Late, bars([100, 101])).data.orders
    assert (order.status, order.reason.split(";")[0]) == ("denied", "trading is halted")


def test_the_engine_counts_its_events_and_its_outputs_carry_their_cause():
    class Buys(rf.Strategy):
        def on_bars(self, ctx, bars):
            ctx.record(x=1.0)

    engine = Engine(Buys(), RollingHistory([("A", MINUTE)], 10))
    engine.step(Start(0, 0, "t", 0, ("A",), (MINUTE,), 1000.0))
    bar = rf.Bar(MINUTE, MINUTE + 5, "A", 1.0, 1.0, 1.0, 1.0, 1.0, MINUTE)
    (note,) = engine.step(Bars(MINUTE, MINUTE + 5, (bar,)))
    assert (note.seq, note.seen) == (2, MINUTE + 5)
    assert list(engine.step(EndOfDay(MINUTE, MINUTE + 6, "1970-01-01"))) == []
    assert list(engine.step(Finish(MINUTE, MINUTE + 6))) == []
    assert engine.finished


@pytest.mark.parametrize("late", [False, True])
def test_a_late_bar_gets_on_bar_but_not_on_bars(late):
    engine = Engine(Everything(buys=False), RollingHistory([("A", MINUTE)], 10))
    engine.step(Start(0, 0, "t", 0, ("A",), (MINUTE,), 1000.0))
    engine.step(rf.Bar(MINUTE, MINUTE, "A", 1.0, 1.0, 1.0, 1.0, 1.0, MINUTE, late))
    assert [n for n in names(NOTES) if n.startswith("on_bar")] == ["on_bar", "on_bars"][: 2 - late]


class Slotted(rf.Strategy):
    __slots__ = ("level",)

    fast: int = 20


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
def test_a_copy_of_a_strategy_has_all_its_attributes_and_its_own_lists(copied):
    original = Slotted(fast=5)
    original.level, original.seen = 1.5, [1, 2]
    twin = copied(original)
    original.seen.append(3)
    assert (twin.fast, twin.level, twin.seen) == (5, 1.5, [1, 2])


def test_a_callback_is_a_strategys_own_by_its_class_or_by_itself():
    def own(ctx, bar):
        """Stand for a function that was set on the instance."""

    class Mixed(Everything):
        on_stop = rf.Strategy.on_stop

        @staticmethod
        def on_tick(ctx, trade):
            """Stand for a callback that needs no strategy."""

    strategy = Mixed()
    strategy.on_bars = own
    assert overridden(strategy, "on_bars") is own
    assert overridden(strategy, "on_tick") is Mixed.on_tick
    assert overridden(strategy, "on_bar") == strategy.on_bar
    assert overridden(strategy, "on_stop") is None
    assert [overridden(rf.Strategy(), name) for name in CALLBACKS] == [None] * len(CALLBACKS)


@pytest.mark.parametrize(
    "read",
    ["position", "average_price", "orders", "quote", "book", "latest", "instrument"],
)
def test_what_is_read_of_a_symbol_that_is_not_there_is_refused(read):
    """A typing error would read as flat for ever."""

    def reads(ctx, bar):
        getattr(ctx, read)("SPX")

    with pytest.raises(
        rf.StrategyError, match=r"'SPX' is not part of this run. Did you mean 'SPY'"
    ):
        rf.backtest(reads, bars([100.0] * 3), symbols="SPY")


def test_a_loss_limit_that_comes_with_a_restart_counts_from_there():
    start = Start(0, 0, "run", 0, ("X",), (MINUTE,), 100_000.0)
    engine = Engine(rf.Strategy(), RollingHistory([("X", MINUTE)], 10, None, 0))
    engine.step(start)
    engine.desk.ledger.book("X", 100.0, 100.0, 0.0)
    for minute, price in ((1, 100.0), (2, 80.0)):
        at = minute * MINUTE
        engine.step(rf.Bar(at, at, "X", price, price, price, price, 1.0, MINUTE))
    at = 3 * MINUTE
    engine.step(Resumed(at, at, 1, (), rf.Limits(daily_loss=500.0, max_drawdown=0.01)))
    engine.step(rf.Bar(at, at + 1, "X", 80.0, 80.0, 80.0, 80.0, 1.0, MINUTE))
    assert engine.desk.state == "active"
    engine.step(rf.Bar(at + MINUTE, at + MINUTE, "X", 74.0, 74.0, 74.0, 74.0, 1.0, MINUTE))
    assert engine.desk.state == "reducing"
