"""Sizing: what `target` and `targets` ask for."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regimeflow as rf


def frame(closes, opens=None):
    c = np.array(closes, dtype=float)
    o = c if opens is None else np.array(opens, dtype=float)
    times = pd.date_range("2024-01-01", periods=len(c), freq="1D", tz="UTC")
    return pd.DataFrame(
        {"open": o, "high": np.maximum(o, c), "low": np.minimum(o, c), "close": c, "volume": 1.0},
        index=times,
    )


def run(steps, data, **options):
    """Call ``steps[n](ctx)`` while bar n is handled."""

    class Steps(rf.Strategy):
        def initialize(self, ctx):
            self.n = -1

        def on_bars(self, ctx, bars):
            self.n += 1
            if self.n in steps:
                steps[self.n](ctx)

    options.setdefault("cash", 10_000)
    return rf.backtest(Steps, data, **options)


def asked(report):
    return [f"{o.side} {o.qty:g} {o.symbol} {o.status}" for o in report.data.orders]


#: rule, what is asked at bars 0, 2, ..., orders that come of it; A stands at 100, cash is 10,000
TABLE = [
    ("a quantity", [{"qty": 5}], ["buy 5 A filled"]),
    ("a weight", [{"weight": 0.5}], ["buy 50 A filled"]),
    ("a value", [{"value": 1_234}], ["buy 12 A filled"]),
    ("all of it", [{"weight": 1.0}], ["buy 100 A filled"]),
    ("short", [{"weight": -0.5}], ["sell 50 A filled"]),
    ("nothing from nothing", [{"qty": 0}], []),
    ("there already", [{"qty": 5}, {"qty": 5}], ["buy 5 A filled"]),
    ("there already, by weight", [{"weight": 0.5}] * 3, ["buy 50 A filled"]),
    ("more", [{"qty": 5}, {"qty": 8}], ["buy 5 A filled", "buy 3 A filled"]),
    ("less", [{"weight": 0.5}, {"weight": 0.2}], ["buy 50 A filled", "sell 30 A filled"]),
    ("out", [{"weight": 0.5}, {"weight": 0}], ["buy 50 A filled", "sell 50 A filled"]),
    ("about face", [{"qty": 5}, {"qty": -5}], ["buy 5 A filled", "sell 10 A filled"]),
    ("about face, by weight", [{"weight": 1}, {"weight": -1}],
     ["buy 100 A filled", "sell 200 A filled"]),
    ("less than a lot", [{"value": 99}], []),
    ("within the band", [{"weight": 0.5}, {"weight": 0.52, "band": 0.03}], ["buy 50 A filled"]),
    ("beyond the band", [{"weight": 0.5}, {"weight": 0.54, "band": 0.03}],
     ["buy 50 A filled", "buy 4 A filled"]),
    ("too much", [{"weight": 1.5}], ["buy 150 A denied"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("targets", "orders"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_target(targets, orders):
    steps = {2 * n: (lambda c, kw=kw: c.target("A", **kw)) for n, kw in enumerate(targets)}
    assert asked(run(steps, {"A": frame([100] * 8)})) == orders


@pytest.mark.parametrize("begin", [5, -5])
@pytest.mark.parametrize("all_at_once", [False, True], ids=["target", "targets"])
def test_where_no_order_may_turn_a_position_it_is_left_first(begin, all_at_once):
    def to(qty):
        if all_at_once:
            return lambda ctx: ctx.targets({"A": qty * 100.0 / ctx.equity})
        return lambda ctx: ctx.target("A", qty=qty)

    steps = {0: to(begin), **dict.fromkeys((2, 3, 4, 5, 6), to(-begin))}
    report = run(
        steps, {"A": frame([100.0] * 10)}, instruments={"A": rf.Instrument("A", flips=False)}
    )
    there, back = ("buy", "sell") if begin > 0 else ("sell", "buy")
    assert asked(report) == [f"{there} 5 A filled", f"{back} 5 A filled", f"{back} 5 A filled"]


def test_calling_it_on_every_bar_sends_one_order():
    report = rf.backtest(
        lambda ctx, bar: ctx.target(bar.symbol, weight=1.0), frame([100] * 20), cash=10_000,
        costs=rf.Costs(commission_bps=10),
    )  # fmt: skip
    assert [o.qty for o in report.data.orders] == [99]


def test_it_waits_while_its_order_is_unanswered():
    # Orders take three days; a change of mind meanwhile sends nothing more.
    report = rf.backtest(
        lambda ctx, bar: ctx.target(bar.symbol, qty=5 if bar.close < 103 else 7),
        frame([100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111]),
        latency=rf.Latency(order_ms=3 * 86_400_000),
    )
    orders = report.data.orders
    assert [o.qty for o in orders] == [5, 2]
    assert orders[1].created >= report.data.fills[0].seen


def play_target(steps):
    """A target that is open at the venue, then ``steps``; the orders' logs."""
    from regimeflow.engine.engine import Engine
    from regimeflow.engine.rolling_history import RollingHistory
    from regimeflow.model.events import OrderUpdate, Start

    day = 86_400 * 10**9

    class Wanting(rf.Strategy):
        def on_bar(self, ctx, bar):
            ctx.target("A", qty=wanted.pop(0))

    wanted = [5, *steps]
    engine = Engine(Wanting(), RollingHistory([("A", day)], 5))
    engine.step(Start(0, 0, "t", 0, ("A",), (day,), 1e4))
    out = []
    for n in range(1, len(steps) + 2):
        outputs = engine.step(rf.Bar(n * day, n * day, "A", 100, 100, 100, 100, 1, day))
        for output in outputs:
            words = [type(output).__name__, output.order_id[-1]]
            if hasattr(output, "qty"):
                words.append(f"{output.qty:g}")
            out.append(" ".join(words))
        if n == 1:
            engine.step(OrderUpdate(n * day, n * day, "t-0-1", "accepted"))
    return out


@pytest.mark.parametrize(("steps", "out"), [
    ([5], ["Submit 1 5"]),
    ([8], ["Submit 1 5", "Replace 1 8"]),
    ([3], ["Submit 1 5", "Replace 1 3"]),
    ([0], ["Submit 1 5", "Cancel 1"]),
    ([-4], ["Submit 1 5", "Cancel 1"]),  # the new side waits for the cancel's answer
    ([8, 9], ["Submit 1 5", "Replace 1 8"]),  # one question at a time
    ([0, 5], ["Submit 1 5", "Cancel 1"]),
])  # fmt: skip
def test_it_changes_or_cancels_its_own_earlier_order(steps, out):
    assert play_target(steps) == out


# ---------------------------------------------------------------- room for costs

costs = st.builds(
    rf.Costs,
    commission_bps=st.floats(0, 100),
    per_share=st.floats(0, 0.1),
    per_order=st.floats(0, 20),
    minimum=st.floats(0, 20),
    slippage_bps=st.floats(0, 50),
    spread_bps=st.floats(0, 50),
)


@settings(max_examples=80, deadline=None)
@given(
    costs,
    st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=6),
    st.lists(st.integers(500, 30_000), min_size=8, max_size=8),
    st.sampled_from([1.0, 0.001]),
)
def test_weights_up_to_one_are_never_denied_for_lack_of_cash(costs, weights, cents, lot):
    # Fills at the decision price: a market that does not gap between close and open.
    close = np.array(cents) / 100
    data = frame(close, opens=np.append(close[:1], close[:-1]))
    weights = iter(weights)

    def follow(ctx, bar):
        if not ctx.orders():
            ctx.target(bar.symbol, weight=next(weights, 0.0))

    report = rf.backtest(
        follow, data, symbols="A", cash=10_000, costs=costs,
        instruments=[rf.Instrument("A", lot=lot)],
    )  # fmt: skip
    reasons = [o.reason for o in report.data.orders if o.status == "denied"]
    cash = 10_000.0
    assert not [r for r in reasons if "it needs" in r] or min(close) > cash or is_broke(report)


def is_broke(report):
    """Whether losses of a short left less than nothing to trade with."""
    return bool(np.min(report.equity["equity"]) < 500)


# ---------------------------------------------------------------- a portfolio


THREE = {s: frame([100] * 8) for s in "ABC"}


def test_targets_leave_before_they_enter():
    report = run(
        {0: lambda c: c.targets({"A": 1.0}), 2: lambda c: c.targets({"B": 0.6, "C": 0.4})}, THREE
    )
    assert asked(report) == [
        "buy 100 A filled", "sell 100 A filled", "buy 60 B filled", "buy 40 C filled",
    ]  # fmt: skip


def test_targets_shrink_before_they_grow_and_keep_what_they_are_told_to():
    report = run({
        0: lambda c: c.targets({"A": 0.5, "B": 0.3}),
        2: lambda c: c.targets({"C": 0.2, "A": 0.6, "B": 0.1}),
        4: lambda c: c.targets({"B": 0.2}, rest="keep"),
        6: lambda c: c.targets({"A": 0.61, "B": 0.2, "C": 0.2}, band=0.02),
    }, THREE)  # fmt: skip
    assert asked(report) == [
        "buy 50 A filled", "buy 30 B filled",
        "sell 20 B filled", "buy 20 C filled", "buy 10 A filled",
        "buy 10 B filled",
    ]  # fmt: skip


def test_targets_called_again_ask_for_nothing():
    every = {n: lambda c: c.targets({"A": 0.5, "B": 0.5}) for n in range(8)}
    assert asked(run(every, THREE)) == ["buy 50 A filled", "buy 50 B filled"]


def test_empty_targets_close_everything():
    report = run({0: lambda c: c.targets({"A": 0.5, "B": -0.3}), 2: lambda c: c.targets({})}, THREE)
    assert asked(report)[2:] == ["sell 50 A filled", "buy 30 B filled"]


# ---------------------------------------------------------------- close, flatten


def test_close_cancels_and_leaves_at_market():
    report = run({
        0: lambda c: (c.buy("A", 10), c.sell("B", 5)),
        2: lambda c: c.sell("A", 10, limit=200),
        3: lambda c: c.close("A"),
        5: lambda c: c.flatten(),
        7: lambda c: c.close("A"),
    }, THREE)  # fmt: skip
    assert asked(report) == [
        "buy 10 A filled", "sell 5 B filled", "sell 10 A canceled", "sell 10 A filled",
        "buy 5 B filled",
    ]  # fmt: skip


@pytest.mark.parametrize("days", [0, 0.5, 1.5, 3])
def test_closing_on_every_bar_closes_once(days):
    # An exit under way is left alone: canceled too late, it and a second one would both fill.
    def step(ctx, bar):
        if bar.close == 100:
            ctx.buy(bar.symbol, 10)
        elif ctx.position(bar.symbol):
            ctx.close(bar.symbol)

    data = frame([100, *range(101, 115)])
    report = rf.backtest(step, data, latency=rf.Latency(order_ms=days * 86_400_000))
    fills = report.data.fills
    assert [(fill.side, fill.qty) for fill in fills] == [("buy", 10), ("sell", 10)]


@pytest.mark.parametrize("days", [0, 0.5, 1.5, 3])
@pytest.mark.parametrize(
    "leaving",
    [
        lambda c: (c.close("A"), c.target("A", qty=0)),
        lambda c: (c.close("A"), c.target("A", weight=0.0)),
        lambda c: (c.close("A"), c.target("A", qty=5)),
        lambda c: (c.flatten(), c.targets({})),
        lambda c: (c.flatten(), c.target("A", weight=0.05)),
        lambda c: (c.target("A", qty=0), c.close("A")),
        lambda c: (c.target("A", qty=5), c.close("A")),
        lambda c: (c.close("A"), c.close("A"), c.target("A", value=0.0)),
    ],
)
def test_what_is_closed_is_not_sold_again_by_a_target(leaving, days):
    data = {"A": frame([100] * 20)}
    wait = rf.Latency(order_ms=days * 86_400_000)
    report = run({0: lambda c: c.buy("A", 10), 8: leaving}, data, latency=wait)
    assert [(f.side, f.qty) for f in report.data.fills] == [("buy", 10), ("sell", 10)]


@pytest.mark.parametrize("days", [0, 1.5])
@pytest.mark.parametrize(
    ("meant", "held"),
    [
        (lambda c: (c.close("A"), c.target("A", weight=0.1)), 10),
        (lambda c: (c.close("A"), c.target("A", qty=10)), 10),
        (lambda c: (c.close("A"), c.target("A", qty=4), c.target("A", weight=0.0)), 0),
        (lambda c: (c.close("A"), c.target("A", qty=4)), 4),
    ],
)
def test_the_last_word_counts_while_orders_are_being_canceled(meant, held, days):
    data = {"A": frame([100] * 20)}
    wait = rf.Latency(order_ms=days * 86_400_000)
    steps = {0: lambda c: c.buy("A", 10), 5: lambda c: c.sell("A", 3, limit=200), 9: meant}
    ended = {}
    report = run(steps | {18: lambda c: ended.update(qty=c.position("A"))}, data, latency=wait)
    assert ended == {"qty": held}
    assert report.data.orders[1].status == "canceled"


WORDS = st.one_of(
    st.tuples(st.just("target"), st.sampled_from([0.0, 3.0, 5.0, 10.0])),
    st.just(("close", None)),
    st.just(("flatten", None)),
    st.just(("offer", None)),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(WORDS, max_size=3), min_size=3, max_size=14),
    st.sampled_from([0, 0.5, 1.5, 3]),
)
def test_whoever_never_wants_to_be_short_never_is(bars, days):
    held = []

    class Says(rf.Strategy):
        def initialize(self, ctx):
            self.n = -1

        def on_bar(self, ctx, bar):
            self.n += 1
            held.append(ctx.position("A"))
            for word, qty in bars[self.n] if self.n < len(bars) else ():
                if word == "target":
                    ctx.target("A", qty=qty)
                elif word == "close":
                    ctx.close("A")
                elif word == "offer" and ctx.position("A") and not ctx.orders("A"):
                    ctx.sell("A", ctx.position("A"), limit=200)  # never reached
                elif word == "flatten":
                    ctx.flatten()

    wait = rf.Latency(order_ms=days * 86_400_000)
    rf.backtest(Says, {"A": frame([100] * 24)}, latency=wait)
    assert min(held) >= 0.0
    assert max(held) <= 10.0


# ---------------------------------------------------------------- hostile numbers


@pytest.mark.parametrize("bad", [
    float("nan"), float("inf"), -float("inf"), "1", b"1", True, [], 1e308, np.float64("nan"),
    object(),
], ids=lambda bad: f"{type(bad).__name__} {str(bad)[:6]}")  # fmt: skip
@pytest.mark.parametrize("name", ["qty", "weight", "value", "targets"])
@pytest.mark.parametrize("symbol", ["A", "BTC/USDT"])
def test_a_target_that_is_no_number_is_refused(bad, name, symbol):
    def ask(ctx, bar):
        if name == "targets":
            ctx.targets({symbol: bad})
        else:
            ctx.target(symbol, **{name: bad})

    with pytest.raises(rf.StrategyError, match="must be a finite") as caught:
        rf.backtest(ask, frame([100, 100]), symbols=symbol)
    assert isinstance(caught.value.__cause__, rf.OrderError)


@pytest.mark.parametrize("good", [1, np.int64(1), np.float64(1), np.float32(1)], ids=repr)
def test_targets_of_every_kind_of_number(good):
    report = rf.backtest(lambda c, b: c.target(b.symbol, weight=good), frame([100] * 3), cash=1e4)
    assert [(o.qty, type(o.qty)) for o in report.data.orders] == [(100.0, float)]
