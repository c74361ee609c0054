"""What a session measures of itself, against answers worked out by hand and by other code."""

from __future__ import annotations

import pytest

import regimeflow as rf
from regimeflow.model.events import (
    Account,
    Adjusted,
    Clock,
    Command,
    Connection,
    Denied,
    EndOfDay,
    Feed,
    Fill,
    Finish,
    Health,
    OrderUpdate,
    Reconciled,
    RegimeChanged,
    Replace,
    Resumed,
    Start,
    StateChanged,
    Submit,
)
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, History, Quote, Trade
from regimeflow.model.models import Limits
from regimeflow.session.metrics import (
    MOST_NAMES,
    OTHER,
    LiveMetrics,
    Meter,
    MetricsFold,
    OrderCounts,
    recorded_metrics,
)
from regimeflow.session.state import StateFold

S = 10**9
START = Start(0, 0, "demo", 0, ("SPY", "QQQ"), (60 * S, 60 * S), 1_000.0)


def measured(*run, start=START):
    """Return the snapshot after a run of events, each alone or with its outputs."""
    return folded(*run, start=start).snapshot()


def folded(*run, start=START):
    fold = MetricsFold()
    for one in (start, *run):
        event, outputs = one if isinstance(one, tuple) else (one, [])
        fold.follow(event, outputs)
    return fold


def bar(at, close, symbol="SPY"):
    return Bar(at * S, at * S, symbol, close, close, close, close, 1.0, 60 * S)


def fill(at, qty, price, symbol="SPY", order="", side="buy", fee=0.0, venue="sim"):
    return Fill(
        at * S, at * S, f"{at}-{qty}-{price}", order, symbol, side, qty, price, fee, "taker", venue
    )


def order(at, name, qty=10.0, symbol="SPY"):
    return (Clock(at * S, at * S), [Submit(1, at * S, name, symbol, "buy", qty, "market")])


def said(at, name, what):
    return OrderUpdate(at * S, at * S, name, what)


# ---------------------------------------------------------------- money


def test_money_by_hand():
    m = measured(
        bar(60, 100.0),
        fill(61, 5.0, 100.0, fee=1.0),  # cash 499, equity 999
        bar(120, 120.0),  # equity 1099
        EndOfDay(121 * S, 121 * S, "1970-01-01"),
        bar(180, 90.0),  # equity 949: 150 of 1099 lost
        bar(240, 100.0),  # equity 999
    )
    assert (m.cash, m.equity, m.positions) == (499.0, 999.0, 1)
    assert m.daily_pnl == -100.0
    assert m.total_return == pytest.approx(-0.001)
    assert m.max_drawdown == pytest.approx(150.0 / 1_099.0)
    assert m.drawdown == pytest.approx(100.0 / 1_099.0)
    assert m.buying_power == m.cash
    assert m.executions == 1


def test_positions_from_before_count_at_the_newest_price_known():
    start = Start(
        0, 0, "demo", 0, ("ES",), (60 * S,), 1_000.0, positions={"ES": (2.0, 10.0)},
        instruments=(Instrument("ES", multiplier=50.0),),
    )  # fmt: skip
    assert measured(start=start).equity == 2_000.0
    warm = History(0, 0, "ES", 60 * S, [60 * S], [11.0], [11.0], [11.0], [11.0], [1.0])
    assert measured(warm, start=start).equity == 2_100.0


def test_an_older_price_does_not_replace_a_newer_one():
    held = fill(1, 1.0, 100.0)
    assert (
        measured(held, Quote(9 * S, 9 * S, "SPY", 101.0, 103.0, 1, 1), bar(8, 50.0)).equity
        == 1_002.0
    )
    assert measured(held, bar(8, 50.0), Trade(9 * S, 9 * S, "SPY", 99.0, 1.0)).equity == 999.0


def test_an_adjustment_moves_units_and_the_money_it_names():
    m = measured(
        fill(1, 4.0, 100.0), Adjusted(2 * S, 2 * S, "SPY", -3.0, 100.0, 250.0, "sold by hand")
    )
    assert (m.cash, m.equity) == (850.0, 950.0)
    assert m.symbols[0].position == 1.0


def test_what_the_venue_says_of_buying_power_counts():
    assert measured(Account(1, 1, 5.0, 6.0, 4_000.0)).buying_power == 4_000.0


# ---------------------------------------------------------------- orders

#: What happens to order "a" of 10, and how it is counted.
COUNTED = [
    ([], OrderCounts(submitted=1)),
    (["accepted", "accepted"], OrderCounts(submitted=1, acknowledged=1)),
    (["rejected"], OrderCounts(submitted=1, broker_rejected=1)),
    (["never_sent"], OrderCounts(submitted=1, submit_rejected=1)),
    (["accepted", "canceled", "canceled"], OrderCounts(submitted=1, acknowledged=1, cancelled=1)),
    (["accepted", "expired"], OrderCounts(submitted=1, acknowledged=1, expired=1)),
    (["lost", "lost", "accepted"], OrderCounts(submitted=1, acknowledged=1, errored=1)),
    ([4.0, 4.0, "accepted"], OrderCounts(submitted=1, acknowledged=1, partially_filled=1)),
    ([4.0, 6.0], OrderCounts(submitted=1, acknowledged=1, partially_filled=1, filled=1)),
    (["canceled", 10.0], OrderCounts(submitted=1, acknowledged=1, cancelled=1, filled=1)),
]


@pytest.mark.parametrize(("told", "expected"), COUNTED)
def test_each_order_is_counted_once_under_each_name(told, expected):
    run = [
        fill(3 + at, what, 100.0, order="a") if isinstance(what, float) else said(3 + at, "a", what)
        for at, what in enumerate(told)
    ]
    assert measured(order(2, "a"), *run).orders == expected


def test_denied_orders_were_asked_for_and_denied_changes_were_not():
    def denied(name, check):
        return Denied(1, 3 * S, name, "SPY", "buy", 1.0, check, "")

    run = (
        Clock(3 * S, 3 * S),
        [denied("b", "grid"), denied("c", "grid"), denied("a", "max_notional")],
    )
    m = measured(order(2, "a"), run)
    assert m.orders == OrderCounts(submitted=3, submit_rejected=2)
    assert m.denied == {"grid": 2, "max_notional": 1}


def test_unknown_orders_and_how_long_they_are():
    m = measured(
        order(2, "a"),
        order(3, "b"),
        said(4, "a", "lost"),
        said(9, "b", "lost"),
        Clock(14 * S, 14 * S),
    )
    assert (m.unknown_orders, m.unknown_age_ms, m.open_orders) == (2, 10_000.0, 2)
    m = measured(
        order(2, "a"), said(4, "a", "lost"), said(9, "a", "accepted"), Clock(14 * S, 14 * S)
    )
    assert (m.unknown_orders, m.unknown_age_ms, m.open_orders) == (0, 0.0, 1)
    m = measured(order(2, "a"), Resumed(9 * S, 9 * S, 1))
    assert m.unknown_orders == 1


def test_names_from_outside_do_not_fill_memory():
    fills = [fill(n, 1.0, 1.0, f"S{n}") for n in range(MOST_NAMES + 50)]
    notes = [
        Denied(1, 1, f"d{n}", "SPY", "buy", 1.0, f"check {n}", "") for n in range(MOST_NAMES + 50)
    ]
    m = measured(*fills, (Clock(1, 1), notes))
    assert len(m.fills) == len(m.denied) == MOST_NAMES + 1
    assert m.fills[OTHER, OTHER] == m.denied[OTHER] == 50
    assert sum(m.fills.values()) == m.executions


# ---------------------------------------------------------------- state, feed, venue


COMMAND = {
    name: Command(1, 1, name, name, "user") for name in ("halt", "flatten", "stop", "resume")
}


def moved(name, before, after):
    """Return a command that moves the trading state."""
    return COMMAND[name], [StateChanged(1, 1, before, after, name)]


@pytest.mark.parametrize(
    ("happened", "state", "why"),
    [
        ([(Finish(2, 2, "end of data"), [])], "ended", "end of data"),
        ([moved("stop", "active", "halted")], "ended", "stop"),
        ([moved("stop", "active", "halted"), (Finish(2, 2, "stop"), [])], "ended", "stop"),
        ([moved("halt", "active", "halted"), (Finish(2, 2, "end of data"), [])], "halted", "halt"),
        ([moved("halt", "active", "halted"), (COMMAND["stop"], [])], "halted", "halt"),
        ([moved("flatten", "active", "reducing")], "reducing", "flatten"),
        (
            [moved("flatten", "active", "reducing"), (Finish(2, 2, "end of data"), [])],
            "ended",
            "end of data",
        ),
        ([moved("stop", "active", "halted"), moved("resume", "halted", "active")], "active",
         "resume"),
        # Taken up again: stopped while it traded it goes on, else it is what it was.
        (
            [
                moved("stop", "active", "halted"),
                (Resumed(3, 3, 1), [StateChanged(1, 3, "halted", "active", "resumed")]),
            ],
            "active",
            "resumed",
        ),
        ([moved("stop", "reducing", "halted"), (Resumed(3, 3, 1), [])], "halted", "stop"),
    ],
)  # fmt: skip
def test_a_run_that_is_over_was_not_halted(happened, state, why):
    fold = StateFold()
    for event, outputs in happened:
        fold.take(event, outputs)
    assert (fold.state, fold.why) == (state, why)
    assert measured(*happened).state == state


def test_trading_state_of_the_session_and_of_symbols():
    def changed(after, symbol=""):
        return (Clock(1, 1), [StateChanged(1, 1, "", after, "why", symbol)])

    assert measured(changed("halted")).state == "halted"
    m = measured(changed("reducing", "SPY"))
    assert m.state == "active"
    assert [one.held_back for one in m.symbols] == [True, False]
    assert [one.held_back for one in measured(changed("reducing", "*")).symbols] == [True, True]
    m = measured(changed("reducing", "SPY"), changed("active", "SPY"))
    assert [one.held_back for one in m.symbols] == [False, False]
    assert measured((Clock(1, 1), [RegimeChanged(1, 1, "bull", "wild")])).regime == "wild"


def test_data_age_and_limit_per_symbol():
    start = Start(
        0, 0, "demo", 0, ("SPY", "QQQ"), (60 * S,) * 2, 1.0, limits=Limits(max_data_age_ms=125e3)
    )
    m = measured(
        bar(60, 1.0),
        Feed(70 * S, 70 * S, "SPY", True, 10_000.0, 5_000.0),
        Clock(90 * S, 90 * S),
        start=start,
    )
    spy, qqq = m.symbols
    assert (spy.data_age_ms, spy.data_limit_ms, spy.stale) == (30_000.0, 5_000.0, True)
    assert (qqq.data_age_ms, qqq.data_limit_ms, qqq.stale) == (None, 125_000.0, False)


def test_venue_and_process():
    assert (measured().connected, measured().reconciled_at, measured().reconciled_ok) == (
        True,
        0,
        True,
    )
    health = Health(5, 5, 0.5, 3, 100.0, 25.0, 1e3, 9)
    m = measured(
        Connection(4, 4, False),
        health,
        Reconciled(6, 6, True, unmatched=("SPY",), foreign_orders=("x", "y")),
    )
    assert (m.connected, m.health, m.reconciled_at) == (False, health, 6)
    assert (m.reconciled_ok, m.unmatched, m.foreign_orders) == (False, 1, 2)
    assert m.journal_events == 4


# ---------------------------------------------------------------- limits

#: Limits, and how much of each is used by 5 SPY at 80, bought at 100: 400 held of 900.
USED = [
    (Limits(max_position=20), {"max_position": 0.25}),
    (Limits(max_position_pct=0.5), {"max_position_pct": 400 / 900 / 0.5}),
    (Limits(max_gross_exposure=1.0), {"max_gross_exposure": 4 / 9}),
    (Limits(max_leverage=2.0), {"max_leverage": 2 / 9}),
    (Limits(max_net_exposure=0.5), {"max_net_exposure": 8 / 9}),
    (Limits(max_drawdown=0.2), {"max_drawdown": 0.5}),
    (Limits(daily_loss=400.0), {"daily_loss": 0.25}),
    (Limits(daily_loss_pct=0.1), {"daily_loss_pct": 1.0}),
    (Limits(max_open_orders=4), {"max_open_orders": 0.25}),
    (Limits(max_orders_per_minute=8), {"max_orders_per_minute": 0.25}),
    (Limits(max_orders_per_second=1), {"max_orders_per_second": 0.0}),
    (Limits(max_position=0), {"max_position": 1.0}),
    (Limits(max_notional=5.0, symbols=("SPY",)), {}),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "expected"), USED, ids=[",".join(e) or "none" for _, e in USED])
def test_how_much_of_a_limit_is_used(limits, expected):
    start = Start(0, 0, "demo", 0, ("SPY",), (60 * S,), 1_000.0, limits=limits)
    change = (Clock(101 * S, 101 * S), [Replace(1, 101 * S, "a", 9.0)])
    m = measured(order(1, "old"), said(2, "old", "canceled"), order(100, "a"), change,
                 fill(102, 5.0, 100.0), bar(120, 80.0), start=start)  # fmt: skip
    assert m.limits_used == pytest.approx(expected)


def test_a_resume_takes_the_loss_so_far_for_given():
    start = Start(
        0,
        0,
        "demo",
        0,
        ("SPY",),
        (60 * S,),
        1_000.0,
        limits=Limits(max_drawdown=0.2, daily_loss=400.0),
    )
    m = measured(fill(1, 5.0, 100.0), bar(60, 80.0), Command(61 * S, 61 * S, "resume"), start=start)
    assert m.limits_used == {"max_drawdown": 0.0, "daily_loss": 0.0}
    assert m.max_drawdown == pytest.approx(0.1)
    assert m.daily_pnl == -100.0


# ---------------------------------------------------------------- a real session


class Cross(rf.Strategy):
    def initialize(self, ctx):
        self.quick, self.calm = ctx.indicator(rf.SMA(5)), ctx.indicator(rf.EMA(20))

    def on_bar(self, ctx, bar):
        if self.calm.ready:
            ctx.target(bar.symbol, weight=0.9 if self.quick.value > self.calm.value else 0.0)
        if ctx.rng.random() < 0.05:
            ctx.buy(bar.symbol, 1e9)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics")
    venue = rf.venues.Simulated(
        rf.datasets.synthetic(n=600, seed=3), speed=None, costs=rf.Costs(commission_bps=3)
    )
    session = rf.LiveSession(
        Cross(), venue, run_dir=folder / "run", limits=rf.Limits(max_notional=1e6)
    )
    session.run()
    records = session._worker.records
    return session, records.meter, records.audit


def test_money_agrees_with_the_ledger_and_the_report(session):
    live, meter, _ = session
    m = meter.latest()
    report = live.report()
    assert m.phase == "stopped"
    assert m.equity == pytest.approx(live.account.equity, abs=1e-6)
    assert m.cash == pytest.approx(live.account.cash, abs=1e-6)
    assert m.executions == len(live.fills) > 20
    assert m.max_drawdown == pytest.approx(abs(report.metrics["max_drawdown"]), rel=1e-6)
    assert m.total_return == pytest.approx(report.metrics["total_return"], abs=1e-9)
    assert m.failures == 0


def test_counts_agree_with_the_orders_and_the_audit_log(session):
    live, meter, log = session
    m = meter.latest()
    status = live.orders["status"]
    assert m.orders.submitted == len(status)
    assert m.orders.submit_rejected == (status == "denied").sum() == log.whats["denied"] > 5
    assert m.orders.filled == (status == "filled").sum() == log.whats["filled"]
    assert m.orders.acknowledged == log.counts["OrderAcknowledged"]
    assert m.executions == log.counts["OrderFilled"]
    assert m.denied == {"max_notional": m.orders.submit_rejected}
    assert m.positions == log.counts["PositionOpened"] - log.counts["PositionClosed"]


def test_the_journal_alone_gives_the_same_numbers(session):
    live, meter, _ = session
    m = meter.latest()
    again = recorded_metrics(live.run_dir, live.status, rf.execution_quality(live.run_dir))
    assert again.journal_events == m.journal_events
    for name in LiveMetrics.__struct_fields__:
        if name not in ("journal_bytes", "phase"):  # the end of the journal was yet to be written
            assert getattr(again, name) == getattr(m, name), name


# ---------------------------------------------------------------- the meter


def test_a_snapshot_is_made_once_a_second_and_at_the_end(session):
    now = [0.0]
    meter = Meter(lambda: session[0].status, clock=lambda: now[0])
    meter.follow(START, [])
    assert meter.latest().journal_events == 1
    for second in (0.5, 0.9):
        now[0] = second
        meter.follow(Clock(1, 1), [])
    assert meter.latest().journal_events == 1
    now[0] = 1.0
    meter.follow(Clock(2, 2), [])
    assert meter.latest().journal_events == 4
    meter.follow(Finish(3, 3), [])
    assert meter.latest().journal_events == 5


def test_its_own_errors_never_reach_the_run(session):
    def broken():
        raise ZeroDivisionError("no fills")

    meter = Meter(lambda: session[0].status, quality=broken, clock=lambda: 0.0)
    meter.follow(START, [])
    meter.follow(Finish(1, 1), [])
    assert meter.latest().failures == 2
    assert meter.latest().failure == "ZeroDivisionError: no fills"
    assert meter.fold.snapshot().journal_events == 2
