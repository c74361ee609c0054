"""The gap between a backtest and a live run, end to end: known cents, and planted differences."""

from __future__ import annotations

import msgspec
import pandas as pd
import pytest

import regimeflow as rf
from regimeflow.analytics.parity import CAUSES
from regimeflow.data.frames import load
from regimeflow.engine.drive import drive
from regimeflow.engine.engine import Engine
from regimeflow.errors import ConfigError, DataError, JournalCorrupt
from regimeflow.model.events import Adjusted, Fill, Finish, OrderUpdate, Submit
from regimeflow.model.market import History
from regimeflow.model.models import Limits, Model
from regimeflow.session import freeze
from regimeflow.session.backtest import instruments_of, start_event
from regimeflow.session.companions import rolling_history
from regimeflow.session.recorded import report_of
from regimeflow.session.run_dir import open_run
from regimeflow.venues.matching import Matched, Matcher, matched_on
from regimeflow.venues.tape import Tape


class Cross(rf.Strategy):
    fast: int = 5
    slow: int = 20

    def initialize(self, ctx):
        self.quick = ctx.indicator(rf.SMA(self.fast))
        self.calm = ctx.indicator(rf.EMA(self.slow))

    def on_bar(self, ctx, bar):
        if self.calm.ready:
            ctx.target(bar.symbol, qty=100 if self.quick.value > self.calm.value else 0)


class Plan(rf.Strategy):
    """Buys at one bar and sells at another, whatever became of the orders before."""

    buys: int = 1
    sells: int = 3

    def initialize(self, ctx):
        self.n = 0

    def on_bar(self, ctx, bar):
        self.n += 1
        if self.n % 50 == self.buys:
            ctx.buy(bar.symbol, 100)
        elif self.n % 50 == self.sells:
            ctx.sell(bar.symbol, 100)


@pytest.fixture(scope="module")
def frame():
    return rf.datasets.synthetic(n=600, seed=3)


def bars(opens, last):
    index = pd.date_range("2024-01-02", periods=len(opens), freq="1min")
    closes = [*opens[1:], last]
    return pd.DataFrame(
        {
            "open": opens,
            "high": [max(pair) for pair in zip(opens, closes, strict=True)],
            "low": [min(pair) for pair in zip(opens, closes, strict=True)],
            "close": closes,
            "volume": 1_000.0,
        },
        index=index,
    )


def live(strategy, frame, run_dir, report, limits=None, symbols=None, **model):
    venue = rf.venues.Simulated(frame, speed=None, **model)
    session = rf.LiveSession(
        strategy, venue, run_dir=run_dir, baseline=report, limits=limits, symbols=symbols
    )
    return session.run()


def causes(result):
    return {row.cause: row.money for row in result.rows if abs(row.money) > result.bound}


class Told:
    """A venue that answers each order with what the test says, as the next bar comes in.

    ``answers``: per order, its executions as (units, price, fee); what is left is canceled. An
    order beyond the list is filled by a matcher. ``after``: bar's close -> what happens then.
    """

    def __init__(self, tape, begin, rules, answers, after):
        self.head, self.answers, self.left = tape.head(begin), list(answers), []
        self.after = after
        matcher = Matcher(begin.model, rules, matched_on(tape.data))
        self.inner = Matched(lambda: (self.head, *tape.segments()), matcher)

    def events(self):
        for event in self.inner.events():
            while self.left and event.__class__ is not Finish:
                yield from self.answer(*self.left.pop(0), event)
            yield event
            if isinstance(event, rf.Bar):
                yield from self.after(event)

    def answer(self, order, fills, event):
        yield OrderUpdate(order.seen, order.seen, order.order_id, "accepted")
        for n, (qty, price, fee) in enumerate(fills):
            yield Fill(event.ts, event.seen, f"{order.order_id}.{n}", order.order_id, order.symbol,
                       order.side, qty, price, fee, "taker", "told", event.ts)  # fmt: skip
        if sum(qty for qty, _, _ in fills) < order.qty:
            yield OrderUpdate(event.ts, event.seen, order.order_id, "canceled", "unfilled")

    def send(self, outputs):
        rest = []
        for output in outputs:
            if isinstance(output, Submit) and self.answers:
                self.left.append((output, self.answers.pop(0)))
            else:
                rest.append(output)
        self.inner.send(rest)


class Spliced(Told):
    """Of its market the first bars come as history, after the run has begun."""

    def events(self):
        before = 3
        for event in super().events():
            if isinstance(event, rf.Bar) and before:
                before -= 1
                columns = ([event.ts], [event.open], [event.high], [event.low], [event.close])
                yield History(
                    event.ts, event.seen, event.symbol, event.timeframe, *columns, [event.volume]
                )
            else:
                yield event


def recorded(strategy, frame, run_dir, answers=(), after=lambda bar: (), model=None, venue=Told):
    """Record a run on a `Told` venue."""
    dataset = load(frame)
    tape, rules = Tape(dataset), instruments_of(dataset, None)
    frozen = freeze.freeze(strategy)
    manifest = freeze.describe(strategy, run="told", frozen=frozen, venue="told")
    begin = start_event(strategy, tape, run="told", cash=10_000.0, model=model or Model(),
                        rules=rules, limits=Limits(), seed=0)  # fmt: skip
    begin = msgspec.structs.replace(begin, frozen_sha256=manifest.frozen_sha256)
    own = freeze.thaw(frozen)
    engine = Engine(own, rolling_history(own, begin))
    journal = open_run(run_dir, manifest, frozen, sync=False)
    try:
        drive(engine, venue(tape, begin, engine.instruments, answers, after), journal)
    finally:
        journal.close()
    return engine


def test_every_cent_of_a_known_gap(tmp_path):
    frame = bars([49.9, 50.00, 50.6, 51.00, 50.95], 50.90)
    report = rf.backtest(Plan(), frame, cash=10_000, costs=rf.Costs(commission_bps=1))
    assert report.equity["equity"].iloc[-1] - 10_000 == pytest.approx(98.99)
    engine = recorded(
        Plan(), frame, tmp_path / "run", [[(100, 50.02, 1.0004)], [(80, 50.97, 0.81552)]]
    )
    result = rf.parity(report, tmp_path / "run")
    assert result.live == pytest.approx(engine.desk.equity() - 10_000, abs=1e-9)
    assert result.live == pytest.approx(91.784080, abs=1e-9)
    assert result.twin == pytest.approx(98.99, abs=1e-9)
    assert result.gap == pytest.approx(-7.205920, abs=1e-9)
    table = [(row.cause, round(row.money, 6)) for row in result.rows if row.cause != "residual"]
    assert table == [
        ("data", 0.0),
        ("path and limits", 0.0),
        ("latency", 0.0),
        ("missed fills", -2.00),
        ("slippage", -4.40),
        ("fee rate", -1.010000),
        ("fee base", 0.204080),
    ]
    assert abs(result.residual) <= result.bound < 1e-7
    orders = result.orders
    assert orders["live_qty"].tolist() == [100.0, 80.0]
    assert orders["expected_price"].tolist() == [50.0, 51.0]
    assert orders["status"].tolist() == ["filled", "canceled"]


@pytest.mark.parametrize("strategy", [Cross(), Plan()], ids=["cross", "plan"])
@pytest.mark.parametrize(
    "model",
    [
        {},
        {"costs": rf.Costs(commission_bps=3, slippage_bps=1, per_order=0.5, minimum=1.0)},
        {"costs": rf.Costs(maker_bps=-1, taker_bps=4), "latency": rf.Latency(order_ms=40)},
        {"latency": rf.Latency(order_ms=90_000, data_ms=15)},
        {"fills": rf.FillModel(market="close")},
    ],
    ids=["none", "costs", "some-latency", "long-latency", "close"],
)
def test_equal_models_leave_0_00_in_every_row(tmp_path, frame, strategy, model):
    report = rf.backtest(strategy, frame, **model)
    session = live(strategy, frame, tmp_path / "run", report, **model)
    result = rf.parity(report, tmp_path / "run", history=frame)
    assert len(session.fills) > 10
    assert [row.money for row in result.rows] == [0.0] * len(CAUSES)
    assert result.gap == 0.0
    assert result.live == pytest.approx(session.account.equity - 100_000.0, abs=1e-8)
    assert not result.differs


PLANTED = {
    "fee rate": ({"costs": rf.Costs(commission_bps=4)}, {"costs": rf.Costs(commission_bps=3)}),
    "slippage": (
        {"costs": rf.Costs(per_share=0.01, slippage_bps=1)},
        {"costs": rf.Costs(per_share=0.01)},
    ),
    "latency": ({"latency": rf.Latency(order_ms=800)}, {}),
}


@pytest.mark.parametrize("cause", PLANTED)
def test_one_planted_difference_is_carried_whole_by_its_row(tmp_path, frame, cause):
    there, here = PLANTED[cause]
    report = rf.backtest(Plan(), frame, **here)
    session = live(Plan(), frame, tmp_path / "run", report, **there)
    result = rf.parity(report, tmp_path / "run")
    assert result.gap != 0.0
    assert causes(result) == {cause: pytest.approx(result.gap, abs=result.bound)}
    assert result.gap == pytest.approx(session.account.equity - session.twin.equity, abs=1e-8)
    traded = float((session.fills["qty"] * session.fills["price"]).sum())
    if cause == "fee rate":
        assert result.gap == pytest.approx(-traded * 1e-4, abs=1e-8)


def test_a_missed_fill_is_carried_whole_by_its_row(tmp_path):
    frame = bars([49.9, 50.00, 50.6, 51.00, 50.95], 50.90)
    report = rf.backtest(Plan(), frame)
    recorded(Plan(), frame, tmp_path / "run", [[(100, 50.0, 0.0)], []])
    result = rf.parity(report, tmp_path / "run")
    assert causes(result) == {"missed fills": pytest.approx(100 * (50.90 - 51.00))}


def test_a_position_that_no_fill_explains_counts_from_when_it_was_taken_in(tmp_path):
    frame = bars([49.9, 50.00, 50.6, 51.00, 50.95], 50.90)
    report = rf.backtest(Plan(), frame)

    def after(bar):
        if bar.close == 50.6:
            yield Adjusted(bar.ts, bar.seen, bar.symbol, 10.0, 50.6, -506.0, "found at the venue")

    engine = recorded(Plan(), frame, tmp_path / "run", after=after)
    result = rf.parity(report, tmp_path / "run")
    assert causes(result) == {"missed fills": pytest.approx(10 * (50.90 - 50.60))}
    assert result.live == pytest.approx(engine.desk.equity() - 10_000)
    assert result.orders["order_id"].tolist()[-1] == "adjusted-1"


def test_funding_is_a_row_of_its_own_and_costs_the_run_nothing_else(tmp_path):
    frame = bars([49.9, 50.00, 50.6, 51.00, 50.95], 50.90)
    report = rf.backtest(Plan(), frame)

    def after(bar):
        if bar.close in (50.6, 51.00):
            why = f"funding of {bar.symbol}"
            name = f"p{bar.close}"
            yield Adjusted(bar.ts, bar.seen, bar.symbol, 0.0, 0.0, -1.25, why, payment_id=name)

    engine = recorded(Plan(), frame, tmp_path / "run", after=after)
    result = rf.parity(report, tmp_path / "run")
    assert causes(result) == {"funding": -2.5}
    assert [row.cause for row in result.rows][-2:] == ["funding", "residual"]
    assert [row.note for row in result.rows][-2] == "2 payments"
    assert result.live == pytest.approx(engine.desk.equity() - 10_000)
    assert rf.parity(report, tmp_path / "run")["funding"] == -2.5
    told = report_of(tmp_path / "run")
    assert told.payments["cash"].tolist() == [-1.25, -1.25]
    assert told.equity["equity"].iloc[-1] == pytest.approx(engine.desk.equity())
    told.save(tmp_path / "told.json")
    again = rf.Report.load(tmp_path / "told.json")
    assert again.payments.equals(told.payments)
    assert again.equity.equals(told.equity)


def test_without_funding_there_is_no_row_of_it(tmp_path):
    frame = bars([49.9, 50.00, 50.6, 51.00, 50.95], 50.90)
    report = rf.backtest(Plan(), frame)
    recorded(Plan(), frame, tmp_path / "run")
    result = rf.parity(report, tmp_path / "run")
    assert [row.cause for row in result.rows] == list(CAUSES)
    assert result["funding"] == 0.0
    with pytest.raises(KeyError):
        result["weather"]


def test_a_limit_that_denies_an_order_is_carried_whole_by_its_row(tmp_path, frame):
    report = rf.backtest(Plan(), frame)
    price = frame["close"].iloc[0]
    limits = rf.Limits(max_notional=100 * price * 1.001)  # denies what is dearer than at first
    session = live(Plan(), frame, tmp_path / "run", report, limits=limits)
    denied = int((session.orders["status"] == "denied").sum())
    result = rf.parity(report, tmp_path / "run")
    assert 0 < denied < len(session.orders)
    assert causes(result) == {"path and limits": result.gap}
    assert f"{denied} orders denied" in result.rows[1].note
    own = report.equity["equity"].iloc[-1]
    assert result.gap == pytest.approx(session.account.equity - own, abs=1e-8)


def altered(frame, how):
    other = frame.copy()
    if how == "changed":
        other.iloc[101, :4] += 5.0  # the bar that fills what was decided on the one before
    elif how == "gone":
        other = other.drop(other.index[101])
    return other  # "more": the run began without a bar that this has


@pytest.mark.parametrize("how", ["changed", "gone", "more"])
def test_history_that_changed_is_carried_whole_by_its_row(tmp_path, frame, how):
    costs = rf.Costs(commission_bps=3)
    report = rf.backtest(Plan(), frame, costs=costs)
    seen = frame.drop(frame.index[101]) if how == "more" else frame
    session = live(Plan(), seen, tmp_path / "run", report, costs=costs)
    history = altered(frame, how)
    result = rf.parity(report, tmp_path / "run", history=history)
    today = rf.backtest(Plan(), history, costs=costs).equity["equity"].iloc[-1]
    assert result.gap == pytest.approx(session.account.equity - today, abs=1e-8)
    assert causes(result) == {"data": result.gap}
    count = {"changed": "1 otherwise", "gone": "lacks 1", "more": "it has 1 that"}[how]
    assert count in result.rows[0].note


def test_history_longer_than_the_run_is_cut_to_it(tmp_path, frame):
    report = rf.backtest(Plan(), frame)
    live(Plan(), frame.head(300), tmp_path / "run", report)
    result = rf.parity(report, tmp_path / "run", history=frame)
    assert [row.money for row in result.rows] == [0.0] * len(CAUSES)
    assert "history has 0 otherwise and lacks 0; it has 0 that" in result.rows[0].note
    with pytest.raises(DataError, match="nothing of the time that the run covers"):
        rf.parity(report, tmp_path / "run", history=frame.tail(200))


def test_history_that_does_not_reach_into_warm_up_keeps_what_was_recorded(tmp_path, frame):
    report = rf.backtest(Cross(), frame, start=frame.index[200])
    venue = rf.venues.Simulated(frame, speed=None, start=frame.index[200])
    rf.LiveSession(Cross(), venue, run_dir=tmp_path / "run", baseline=report).run()
    for history in (frame, frame.tail(400)):
        result = rf.parity(report, tmp_path / "run", history=history)
        assert result.gap == 0.0


@pytest.mark.parametrize("kind", ["trades", "quotes"])
def test_ticks(tmp_path, kind):
    frame = rf.datasets.synthetic(kind, n=600, seed=5, timeframe="10s")

    class Ticks(rf.Strategy):
        n = 0

        def step(self, ctx, tick):
            self.n += 1
            if self.n % 50 == 1:
                ctx.buy(tick.symbol, 10)
            elif self.n % 50 == 30:
                ctx.sell(tick.symbol, 10)

        def on_tick(self, ctx, tick):
            self.step(ctx, tick)

        def on_quote(self, ctx, quote):
            self.step(ctx, quote)

    report = rf.backtest(Ticks(), frame)
    live(Ticks(), frame, tmp_path / "run", report, latency=rf.Latency(order_ms=60_000))
    result = rf.parity(report, tmp_path / "run", history=frame)
    assert causes(result) == {"latency": pytest.approx(result.gap, abs=result.bound)}
    assert "of 600 bars and ticks" in result.rows[0].note
    assert "history has 0 otherwise and lacks 0; it has 0 that" in result.rows[0].note


class Each(rf.Strategy):
    """Every symbol by its own mean."""

    def initialize(self, ctx):
        self.means = {symbol: ctx.indicator(rf.EMA(9), symbol=symbol) for symbol in ctx.symbols}

    def on_bars(self, ctx, bars):
        for symbol, bar in bars.items():
            if self.means[symbol].ready:
                ctx.target(symbol, qty=10 if bar.close > self.means[symbol].value else -10)


@pytest.mark.parametrize("flavour", ["pandas", "polars"])
def test_several_symbols_and_both_flavours(tmp_path, flavour):
    frame = rf.datasets.synthetic(n=400, seed=5, symbols=("B", "A", "C"), flavour=flavour)
    report = rf.backtest(Each(), frame, costs=rf.Costs(commission_bps=3))
    session = live(
        Each(), frame, tmp_path / "run", report, costs=rf.Costs(commission_bps=4, slippage_bps=2)
    )
    result = rf.parity(report, tmp_path / "run", history=frame)
    assert result.gap == pytest.approx(session.account.equity - session.twin.equity, abs=1e-8)
    assert set(causes(result)) == {"slippage", "fee rate", "fee base"}
    assert abs(result.residual) <= result.bound < 1e-6
    assert type(result.orders) is type(frame)


class Resting(rf.Strategy):
    """Keeps limit orders at the venue, moves and cancels them."""

    def initialize(self, ctx):
        self.mine, self.n = None, 0

    def on_bar(self, ctx, bar):
        self.n += 1
        if self.mine is None or not self.mine.working:
            side = ctx.buy if ctx.position(bar.symbol) <= 0 else ctx.sell
            away = 0.9998 if ctx.position(bar.symbol) <= 0 else 1.0002
            self.mine = side(bar.symbol, 10, limit=bar.close * away, tif="gtc")
        elif self.n % 3 == 0:
            ctx.replace(self.mine, limit=bar.close)
        elif self.n % 7 == 0:
            ctx.cancel(self.mine)


def test_orders_that_are_moved_and_canceled_arrive_when_the_venue_had_them(tmp_path, frame):
    late, costs = rf.Latency(order_ms=70_000), rf.Costs(maker_bps=1, taker_bps=3)
    report = rf.backtest(Resting(), frame, costs=costs)
    session = live(Resting(), frame, tmp_path / "run", report, latency=late, costs=costs)
    result = rf.parity(report, tmp_path / "run")
    # All but the arrival is equal: what is not a decision is latency.
    assert set(causes(result)) <= {"latency", "path and limits"}
    assert result["latency"] == pytest.approx(
        session.account.equity - session.shadow.equity, abs=1e-8
    )
    assert result.gap == pytest.approx(session.account.equity - session.twin.equity, abs=1e-8)


def test_another_strategy_or_parameter_is_said_first(tmp_path, frame):
    report = rf.backtest(Cross(fast=9), frame)
    live(Cross(fast=5), frame, tmp_path / "run", report)
    result = rf.parity(report, tmp_path / "run")
    first = str(result).splitlines()[0]
    assert first.startswith("NOT THE SAME STRATEGY: fast is 9 in the report and 5 here.")
    assert "Cross(fast=5, slow=20)" in first
    same = rf.parity(report, tmp_path / "run", strategy=Cross(fast=9))
    assert not same.differs
    assert causes(same) == {"path and limits": same.gap}
    other = rf.parity(rf.backtest(Plan(), frame), tmp_path / "run")
    assert "the report is of Plan, the run of Cross" in other.differs


def test_a_report_without_models_is_refused_with_what_to_do(tmp_path, frame):
    path = tmp_path / "foreign.json"
    path.write_text('{"performance": {"total_return": 0.1}}')
    with pytest.raises(ConfigError, match=r"returns only.*rf\.drift"):
        rf.parity(rf.Report.load(path), tmp_path / "run")


def test_an_altered_journal_is_refused(tmp_path, frame):
    report = rf.backtest(Plan(), frame)
    live(Plan(), frame, tmp_path / "run", report)
    journal = tmp_path / "run" / "journal-0001.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"qty":100.0', b'"qty":900.0', 1))
    with pytest.raises(JournalCorrupt):
        rf.parity(report, tmp_path / "run")


def test_what_was_spliced_to_the_warm_up_is_no_bar_that_the_run_missed(tmp_path, frame):
    """A bar that closed while the session began to listen comes as history: none decided on it."""
    report = rf.backtest(Plan(), frame.iloc[3:])
    recorded(Plan(), frame, tmp_path / "run", venue=Spliced)
    result = rf.parity(report, tmp_path / "run", history=frame)
    assert [row.money for row in result.rows] == [0.0] * len(CAUSES)
    assert "history has 0 otherwise and lacks 0; it has 0 that" in result.rows[0].note


def test_a_stopped_or_halted_run_differs_by_its_decisions(tmp_path, frame):
    class Halting(Plan):
        def on_bar(self, ctx, bar):
            super().on_bar(ctx, bar)
            if self.n == 120:
                self.buys = self.sells = -1

    report = rf.backtest(Plan(), frame)
    live(Halting(), frame, tmp_path / "run", report)
    result = rf.parity(report, tmp_path / "run", strategy=Plan())
    assert causes(result) == {"path and limits": result.gap}


class Wild(rf.Strategy):
    """All kinds of orders, moved and canceled by chance."""

    def initialize(self, ctx):
        self.mine = []

    def on_bar(self, ctx, bar):
        r = ctx.rng.random()
        if r < 0.2:
            self.mine.append(ctx.buy(bar.symbol, 10 + int(r * 99), limit=bar.close * 0.9997))
        elif r < 0.4:
            self.mine.append(ctx.sell(bar.symbol, 10, limit=bar.close * 1.0003, tif="day"))
        elif r < 0.5:
            ctx.target(bar.symbol, qty=round((r - 0.45) * 1_000))
        elif r < 0.6:
            self.mine.append(ctx.buy(bar.symbol, 5, stop=bar.close * 1.0005))
        elif self.mine and (one := self.mine[int(r * 1e6) % len(self.mine)]).working:
            if r < 0.8:
                ctx.cancel(one)
            elif one.type == "limit":
                ctx.replace(one, limit=bar.close)


MODELS = [
    {"costs": rf.Costs(commission_bps=2, minimum=1.0, per_order=0.5)},
    {"costs": rf.Costs(per_share=0.01, slippage_bps=2), "latency": rf.Latency(order_ms=70_000)},
    {"costs": rf.Costs(maker_bps=-1, taker_bps=4, spread_bps=2)},
    {"latency": rf.Latency(order_ms=200_000, data_ms=20)},
    {"fills": rf.FillModel(market="close"), "costs": rf.Costs(commission_bps=1)},
]


@pytest.mark.parametrize("here", range(len(MODELS)))
@pytest.mark.parametrize("there", [0, 1, 4])
def test_any_pair_of_models_is_named_to_the_last_cent(tmp_path, here, there):
    frame = rf.datasets.synthetic(n=150, seed=here * 7 + there, symbols=("B", "A"))
    report = rf.backtest(Wild(), frame, **MODELS[here])
    session = live(Wild(), frame, tmp_path / "run", report, **MODELS[there])
    result = rf.parity(report, tmp_path / "run")
    assert len(session.fills) > 20
    assert abs(result.residual) <= result.bound < 1e-6
    assert result.live == pytest.approx(session.account.equity - 100_000, abs=1e-7)
    execution = session.account.equity - session.shadow.equity
    named = ("latency", "missed fills", "slippage", "fee rate", "fee base")
    assert sum(result[cause] for cause in named) == pytest.approx(execution, abs=1e-7)
    if MODELS[here].get("latency") == MODELS[there].get("latency"):
        assert result["latency"] == 0.0
