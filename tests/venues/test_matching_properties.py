"""What holds of every fill, whatever the bars and the orders: the invariants of the matcher."""

import random
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regimeflow as rf
from scripts import BEGIN, MINUTE, Scripted


class Ending(Scripted):
    """A script that also tells its cash and position at the end."""

    def on_stop(self, ctx):
        ctx.record(cash=ctx.cash, position=sum(ctx.positions.values()))


@st.composite
def bars(draw):
    """Return bars with gaps, on a grid of cents around 100."""
    count = draw(st.integers(3, 14))
    cents = st.integers(9_000, 11_000)
    rows = []
    for _ in range(count):
        o, c = draw(cents), draw(cents)
        high, low = max(o, c) + draw(st.integers(0, 300)), min(o, c) - draw(st.integers(0, 300))
        rows.append((o / 100, high / 100, low / 100, c / 100))
    times = pd.to_datetime(BEGIN + MINUTE * np.arange(count), utc=True)
    frame = pd.DataFrame(rows, columns=["open", "high", "low", "close"], index=times)
    return frame.assign(volume=1000.0)


price = st.integers(9_000, 11_000).map(lambda cents: cents / 100)
submits = st.builds(
    lambda at, side, qty, limit, stop, tif, gtd: (
        f"{at} {side} {qty}"
        + (f" limit {limit}" if limit else "")
        + (f" stop {stop}" if stop else "")
        + (f" gtd {at + 1 + gtd}" if tif == "gtd" else f" {tif}")
    ),
    st.integers(0, 12),
    st.sampled_from(["buy", "sell"]),
    st.integers(1, 50),
    st.none() | price,
    st.none() | price,
    st.sampled_from(["gtc", "gtc", "ioc", "fok", "day", "gtd"]),
    st.sampled_from([0.5, 1.0, 1.5, 3.0]),
)
LATENCIES_MS = st.sampled_from([0, 0, 1, 30_000, 60_000, 75_000])


@st.composite
def scripts(draw):
    lines = sorted(draw(st.lists(submits, min_size=1, max_size=6)), key=lambda x: int(x.split()[0]))
    for place, line in enumerate(list(lines), 1):
        later = int(line.split()[0]) + draw(st.integers(0, 3))
        change = draw(st.sampled_from(["", "", "cancel", "limit"]))
        if change == "cancel":
            lines.append(f"{later} cancel {place}")
        elif change == "limit" and "limit" in line:
            lines.append(f"{later} replace {place} limit {draw(price)}")
    return "\n".join(sorted(lines, key=lambda x: int(x.split()[0])))


@settings(max_examples=120, deadline=None)
@given(
    bars(),
    scripts(),
    LATENCIES_MS,
    LATENCIES_MS,
    st.sampled_from([0.0, 0.0, 25.0, 300.0]),
    st.sampled_from([0.0, 7.5]),
)
def test_no_fill_uses_data_from_outside_the_orders_life(
    data, script, order_ms, data_ms, slippage_bps, commission_bps
):
    report = rf.backtest(
        Ending(script=script),
        data,
        cash=1e6,
        costs=rf.Costs(slippage_bps=slippage_bps, commission_bps=commission_bps),
        latency=rf.Latency(order_ms=order_ms, data_ms=data_ms),
    )
    orders = {order.id: order for order in report.data.orders}
    rows = {BEGIN + (n + 1) * MINUTE: row for n, row in enumerate(data.itertuples())}
    for fill in report.data.fills:
        order, row = orders[fill.order_id], rows[fill.ts]
        begins, arrival = fill.ts - MINUTE, order.created + round(order_ms * 1e6)
        assert begins >= arrival
        assert begins <= fill.executed_at <= fill.ts
        shift = 1 + slippage_bps / 1e4 * (1 if fill.side == "buy" else -1)
        raw = fill.price / shift if fill.liquidity == "taker" else fill.price
        inside = row.low - 1e-9 <= raw <= row.high + 1e-9
        assert inside or fill.price == order.limit  # slippage stops at the limit
        if order.limit is not None:
            assert (fill.price - order.limit) * order.sign <= 0.0
        if order.stop is not None and order.limit is None:
            assert (raw - order.stop) * order.sign >= -1e-9
        if order.expire_at:
            # What is not at the open may be as late as the bar's end.
            assert fill.executed_at < order.expire_at or fill.ts <= order.expire_at
        assert fill.seen == fill.ts + round(data_ms * 1e6)
    check_books(report, commission_bps)


def check_books(report: rf.Report, commission_bps: float) -> None:
    """Hold cash, position and orders to exact sums over the fills."""
    cash, held = Decimal(1_000_000), Decimal(0)
    filled: dict[str, float] = {}
    for fill in report.data.fills:
        sign = 1 if fill.side == "buy" else -1
        value = Decimal(fill.qty) * Decimal(fill.price)
        assert fill.fee == pytest.approx(float(value) * commission_bps / 1e4)
        cash -= sign * value + Decimal(fill.fee)
        held += sign * Decimal(fill.qty)
        filled[fill.order_id] = filled.get(fill.order_id, 0.0) + fill.qty
    last = report.data.records[-1].values
    assert Decimal(last["position"]) == held
    assert abs(Decimal(last["cash"]) - cash) < Decimal("1e-6")
    for order in report.data.orders:
        assert order.filled == filled.get(order.id, 0.0)
        assert (order.status == "filled") == (order.filled == order.qty)
        seen = [at for at, _, _ in order.log]
        assert seen == sorted(seen)


@settings(max_examples=25, deadline=None)
@given(bars(), scripts(), LATENCIES_MS)
def test_what_comes_later_changes_no_earlier_fill(data, script, order_ms):
    latency = rf.Latency(order_ms=order_ms)
    options = {"timeframe": "1min", "cash": 1e6, "latency": latency}
    whole = rf.backtest(Ending(script=script), data, **options).data.fills
    cut = len(data) // 2
    until = BEGIN + cut * MINUTE
    part = rf.backtest(Ending(script=script), data.iloc[:cut], **options).data.fills
    assert part == [fill for fill in whole if fill.ts <= until]


@settings(max_examples=25, deadline=None)
@given(bars(), scripts(), LATENCIES_MS)
def test_the_same_run_twice_is_the_same(data, script, order_ms):
    latency = rf.Latency(order_ms=order_ms)
    strategy = Ending(script=script)
    first = rf.backtest(strategy, data, latency=latency)
    second = rf.backtest(strategy, data, latency=latency)
    assert first.data.fills == second.data.fills
    assert [o.log for o in first.data.orders] == [o.log for o in second.data.orders]


quotes = st.lists(
    st.tuples(st.integers(9_900, 10_100), st.integers(1, 40)), min_size=3, max_size=14
)


@settings(max_examples=60, deadline=None)
@given(quotes, scripts(), LATENCIES_MS, st.sampled_from([0.0, 25.0]))
def test_on_quotes_every_fill_is_at_the_touch_or_at_the_orders_own_limit(
    rows, script, order_ms, slippage_bps
):
    bid = np.array([b / 100 for b, _ in rows])
    ask = bid + np.array([width / 100 for _, width in rows])
    times = pd.to_datetime(BEGIN + MINUTE * np.arange(1, len(rows) + 1), utc=True)
    data = pd.DataFrame({"bid": bid, "ask": ask, "bid_size": 5.0, "ask_size": 5.0}, index=times)
    report = rf.backtest(
        Ending(script=script),
        data,
        cash=1e6,
        costs=rf.Costs(slippage_bps=slippage_bps),
        latency=rf.Latency(order_ms=order_ms),
    )
    orders = {order.id: order for order in report.data.orders}
    for fill in report.data.fills:
        order = orders[fill.order_id]
        place = (fill.ts - BEGIN) // MINUTE - 1
        assert fill.ts >= order.created + round(order_ms * 1e6)
        touch = ask[place] if fill.side == "buy" else bid[place]
        slipped = touch * (1 + order.sign * slippage_bps / 1e4)
        assert fill.price == pytest.approx(slipped, abs=1e-9) or fill.price == order.limit
        if order.limit is not None:
            assert (fill.price - order.limit) * order.sign <= 0.0
            assert (touch - order.limit) * order.sign <= 1e-9  # the market was there
        if order.expire_at:
            assert fill.ts < order.expire_at
    check_books(report, 0.0)


class Reacting(rf.Strategy):
    """Trades several symbols at random, and again when it hears of its orders.

    A timer that never comes due keeps every order on the long way, through the matcher's book.
    """

    seed: int = 0
    long_way: bool = False

    def initialize(self, ctx):
        self.random = random.Random(self.seed)

    def on_start(self, ctx):
        if self.long_way:
            ctx.at(BEGIN + 10**6 * MINUTE)

    def act(self, ctx, symbol, often):
        chance = self.random.random
        if chance() > often:
            return
        qty, last = self.random.randrange(1, 50), ctx.latest(symbol).close
        limit = round(last * (0.99 + 0.02 * chance()), 2) if chance() < 0.15 else None
        (ctx.buy if chance() < 0.5 else ctx.sell)(symbol, qty, limit=limit)
        if chance() < 0.1:
            ctx.targets({name: chance() - 0.5 for name in ctx.symbols})
        for order in ctx.orders():
            if chance() < 0.1:
                ctx.cancel(order)

    def on_bar(self, ctx, bar):
        self.act(ctx, bar.symbol, 0.6)

    def on_fill(self, ctx, fill):
        self.act(ctx, fill.symbol, 0.3)

    def on_order_update(self, ctx, order):
        self.act(ctx, order.symbol, 0.15)

    def on_end_of_day(self, ctx, event):
        if self.random.random() < 0.2:
            self.act(ctx, ctx.symbols[0], 0.5)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(bars(), min_size=1, max_size=3),
    st.integers(0, 10**6),
    st.sampled_from([rf.Costs(), rf.Costs(commission_bps=7.5, slippage_bps=25.0, minimum=1.0)]),
    st.sampled_from(["1min", "1D"]),
)
def test_market_orders_fare_the_same_on_the_short_way_and_through_the_book(
    frames, seed, costs, timeframe
):
    data = dict(zip("ABC", frames, strict=False))
    if timeframe == "1D":  # a day ends between each order and its fill
        days = pd.date_range("2024-01-01", periods=14, tz="UTC")
        data = {symbol: frame.set_axis(days[: len(frame)]) for symbol, frame in data.items()}
    short, long = (
        rf.backtest(
            Reacting(seed=seed, long_way=way), data, timeframe=timeframe, cash=1e5, costs=costs
        ).data
        for way in (False, True)
    )
    assert short.fills == long.fills
    assert [(o.id, o.status, o.log) for o in short.orders] == [
        (o.id, o.status, o.log) for o in long.orders
    ]
