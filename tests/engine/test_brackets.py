"""An entry with its exits: which of them fills, at what price, and what others leave them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regimeflow as rf
from regimeflow.model.events import entry_of

MINUTE = 60_000_000_000
BEGIN = 1_704_153_600_000_000_000


def frame(text):
    """Return bars of the lines "open high low close"."""
    rows = [[float(word) for word in line.split()] for line in text.strip().split("\n")]
    times = pd.to_datetime(BEGIN + MINUTE * np.arange(len(rows)), utc=True)
    data = pd.DataFrame(rows, columns=["open", "high", "low", "close"], index=times)
    return data.assign(volume=1e6)


class Script(rf.Strategy):
    """Does what the lines say: bar, word, and what belongs to it; an order is named by its place.

    "0 buy 10 take_profit 105 stop_loss 95", "1 cancel 1", "1 cancel 1s", "1 replace 1s stop 97",
    "1 close", "1 target 0".
    """

    script: str = ""

    def initialize(self, ctx):
        self.place = -1
        self.sent = []

    def on_bar(self, ctx, bar):
        self.place += 1
        for line in self.script.strip().split("\n"):
            at, word, *rest = line.split()
            if int(at) == self.place:
                self.act(ctx, bar.symbol, word, rest)
        ctx.record(position=ctx.position(bar.symbol))

    def act(self, ctx, symbol, word, rest):
        if word in ("buy", "sell"):
            named = {
                name: value if name == "tif" else float(value)
                for name, value in zip(rest[1::2], rest[2::2], strict=True)
            }
            self.sent.append(getattr(ctx, word)(symbol, float(rest[0]), **named))
        elif word == "close":
            ctx.close(symbol)
        elif word == "target":
            ctx.target(symbol, qty=float(rest[0]))
        else:
            name = rest[0]
            order = self.sent[int(name.rstrip("ts")) - 1].id + name.lstrip("0123456789")
            named = {rest[1]: float(rest[2])} if word == "replace" else {}
            getattr(ctx, word)(order, **named)


def run(script, bars, **options):
    options.setdefault("cash", 1e6)
    return rf.backtest(Script(script=script), frame(bars), **options)


def told(report):
    """Return one word and price an order, in the order in which they were made."""
    prices = {fill.order_id: fill.price for fill in report.data.fills}
    return [
        f"{order.id.rsplit('-')[-1]} {order.status}"
        + (f" {prices[order.id]:.10g}" if order.id in prices else "")
        for order in report.data.orders
    ]


LONG = "0 buy 10 take_profit 105 stop_loss 95"
SHORT = "0 sell 10 take_profit 95 stop_loss 105"

#: what it shows, script, bars after the first (which closes at 100), what becomes of each order
ROWS = [
    ("neither is reached", LONG, "100 104 96 100", ["1 filled 100", "1t open", "1s open"]),
    ("the profit in the entry's own bar", LONG, "100 106 99 103",
     ["1 filled 100", "1t filled 105", "1s canceled"]),
    ("the loss in the entry's own bar", LONG, "100 101 94 97",
     ["1 filled 100", "1t canceled", "1s filled 95"]),
    ("both in one bar: the worse comes first", LONG, "100 106 94 100",
     ["1 filled 100", "1t canceled", "1s filled 95"]),
    ("the profit a bar later", LONG, "100 101 99 100\n101 107 100 106",
     ["1 filled 100", "1t filled 105", "1s canceled"]),
    ("a gap beyond the loss", LONG, "100 101 99 100\n90 92 89 91",
     ["1 filled 100", "1t canceled", "1s filled 90"]),
    ("a gap beyond the profit", LONG, "100 101 99 100\n110 111 109 110",
     ["1 filled 100", "1t filled 110", "1s canceled"]),
    ("an entry that gaps beyond its loss is out at once", LONG, "90 91 89 90",
     ["1 filled 90", "1t canceled", "1s filled 90"]),
    ("a short with its profit below", SHORT, "100 101 94 95",
     ["1 filled 100", "1t filled 95", "1s canceled"]),
    ("a short with its loss above", SHORT, "100 106 99 105",
     ["1 filled 100", "1t canceled", "1s filled 105"]),
    ("a limit inside a bar: exits begin with the next one",
     "0 buy 10 limit 98 take_profit 105 stop_loss 95", "100 106 94 100\n100 106 99 104",
     ["1 filled 98", "1t filled 105", "1s canceled"]),
    ("a limit at the open: the rest of the bar is theirs",
     "0 buy 10 limit 98 take_profit 105 stop_loss 95", "97 106 96 100",
     ["1 filled 97", "1t filled 105", "1s canceled"]),
    ("only a loss", "0 buy 10 stop_loss 95", "100 101 94 97", ["1 filled 100", "1s filled 95"]),
    ("only a profit", "0 buy 10 take_profit 105", "100 106 94 97",
     ["1 filled 100", "1t filled 105"]),
    # canceled and moved
    ("an entry canceled in time ends all three",
     "0 buy 10 limit 90 take_profit 105 stop_loss 85\n1 cancel 1",
     "100 101 99 100\n88 106 84 100", ["1 canceled", "1t canceled", "1s canceled"]),
    ("one exit canceled, the other stands", LONG + "\n1 cancel 1s",
     "100 101 99 100\n100 101 94 95\n100 106 99 105",
     ["1 filled 100", "1t filled 105", "1s canceled"]),
    ("a stop that is moved", LONG + "\n1 replace 1s stop 98", "100 101 99 100\n100 101 97 98",
     ["1 filled 100", "1t canceled", "1s filled 98"]),
    ("a stop moved beyond the profit stays", LONG + "\n1 replace 1s stop 106",
     "100 101 99 100\n100 101 94 95", ["1 filled 100", "1t canceled", "1s filled 95"]),
    ("no other quantity for an exit", LONG + "\n1 replace 1s qty 5",
     "100 101 99 100\n100 101 94 95", ["1 filled 100", "1t canceled", "1s filled 95"]),
    # what closes a position waits for the exits to be over
    ("close", LONG + "\n1 close", "100 101 99 100\n101 102 100 101\n102 103 101 102",
     ["1 filled 100", "1t canceled", "1s canceled", "2 filled 101"]),
    ("close before the entry has filled",
     "0 buy 10 limit 90 take_profit 105 stop_loss 85\n1 close", "100 101 99 100\n89 90 88 89",
     ["1 canceled", "1t canceled", "1s canceled"]),
    ("a target of nothing", LONG + "\n1 target 0", "100 101 99 100\n101 102 100 101",
     ["1 filled 100", "1t canceled", "1s canceled", "2 filled 101"]),
    ("a target that takes some off", LONG + "\n1 target 4", "100 101 99 100\n101 102 100 101",
     ["1 filled 100", "1t canceled", "1s canceled", "2 filled 101"]),
    ("a target that adds leaves them", LONG + "\n1 target 14",
     "100 101 99 100\n101 102 100 101\n101 102 94 95",
     ["1 filled 100", "1t canceled", "1s filled 95", "2 filled 101"]),
    # what others must leave to them
    ("no sale of what exits are for", LONG + "\n1 sell 1", "100 101 99 100\n100 101 99 100",
     ["1 filled 100", "1t open", "1s open", "2 denied"]),
    ("a sale of what is held besides", "0 buy 5\n" + LONG + "\n1 sell 5\n1 sell 1",
     "100 101 99 100\n100 101 99 100",
     ["1 filled 100", "2 filled 100", "2t open", "2s open", "3 filled 100", "4 denied"]),
    ("no exits against what is held", "0 buy 5\n1 sell 3 stop_loss 105",
     "100 101 99 100\n100 101 99 100", ["1 filled 100", "2 denied"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "bars", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_which_exit_fills_and_at_what_price(script, bars, expected):
    assert told(run(script, "100 150 50 100\n" + bars)) == expected


DENIALS = [
    ("0 buy 10 take_profit 99", "bracket: take_profit 99 must lie above 100"),
    ("0 buy 10 stop_loss 101", "bracket: stop_loss 101 must lie below 100"),
    ("0 sell 10 take_profit 101", "bracket: take_profit 101 must lie below 100"),
    ("0 buy 10 limit 90 stop_loss 95", "bracket: stop_loss 95 must lie below 90"),
    ("0 buy 10 take_profit nan", "finite: take_profit: limit must be a positive finite number"),
    ("0 buy 10 stop_loss -1", "finite: stop_loss: stop must be a positive finite number"),
    ("0 buy 10 stop_loss 0.001", "grid: stop_loss: stop 0.001 is less than one tick"),
    ("0 buy 10 stop_loss 95 tif ioc", "bracket: an order with exits is 'day' or 'gtc', not 'ioc'"),
    ("0 buy 10 stop_loss 95 reduce_only 1", "reduce_only: 10 is more than the "),
]


@pytest.mark.parametrize(("script", "why"), DENIALS, ids=[script for script, _ in DENIALS])
def test_what_cannot_be_is_denied_in_one_sentence(script, why):
    (order,) = run(script, "100 101 99 100\n100 101 99 100").data.orders
    assert order.status == "denied"
    assert order.log[0][2].startswith(why)


def test_exits_are_orders_of_their_own():
    report = run(LONG, "100 101 99 100\n100 106 99 103")
    entry, profit, loss = report.data.orders
    assert (profit.id, loss.id) == (entry.id + "t", entry.id + "s")
    assert (profit.parent, loss.parent, entry.parent) == (entry.id, entry.id, "")
    assert (profit.type, profit.limit, profit.side, profit.qty) == ("limit", 105.0, "sell", 10.0)
    assert (loss.type, loss.stop, loss.reason) == ("stop", 95.0, "the other exit has filled")
    assert [what for _, what, _ in profit.log] == ["sent", "accepted", "filled"]
    assert list(report.trades["pnl"]) == [50.0]


def test_exits_outlive_the_day_unless_they_are_asked_not_to():
    days = pd.date_range("2024-01-02 15:00", periods=3, freq="1D", tz="UTC")
    bars = pd.DataFrame(
        {"open": 100.0, "high": 101.0, "low": [99.0, 99.0, 94.0], "close": 100.0, "volume": 1e6},
        index=days,
    )
    rules = [rf.Instrument("A", calendar="XNYS")]
    options = {"cash": 1e6, "instruments": rules, "timeframe": "1h", "symbols": ["A"]}
    report = rf.backtest(Script(script=LONG), {"A": bars}, **options)
    assert told(report) == ["1 filled 100", "1t canceled", "1s filled 95"]
    report = rf.backtest(Script(script=LONG + " tif day"), {"A": bars}, **options)
    assert told(report) == ["1 filled 100", "1t expired", "1s expired"]


LIMITS = [
    ({"max_position": 10}, LONG, "open"),
    ({"max_open_orders": 1}, LONG, "open"),
    ({"max_orders_per_minute": 1}, LONG, "open"),
    ({"max_position": 10}, LONG + "\n0 buy 1", "open"),
]


@pytest.mark.parametrize(("limits", "script", "exits"), LIMITS)
def test_exits_count_for_nothing_in_the_limits(limits, script, exits):
    report = run(script, "100 101 99 100\n100 101 99 100", limits=rf.Limits(**limits))
    assert [order.status for order in report.data.orders[1:3]] == [exits, exits]
    assert all(order.status == "denied" for order in report.data.orders[3:])


def cents(low, high):
    return st.integers(low * 100, high * 100).map(lambda number: number / 100)


near, above, below = cents(98, 102), cents(103, 106), cents(94, 97)


@st.composite
def histories(draw):
    """Return bars around 100 that reach the exits now and then."""
    rows = []
    for _ in range(draw(st.integers(6, 12))):
        o, c = draw(near), draw(near)
        high, low = max(o, c) + draw(st.integers(0, 5)), min(o, c) - draw(st.integers(0, 5))
        rows.append(f"{o} {high} {low} {c}")
    return "\n".join(rows)


@st.composite
def scripts(draw, words=("bracket", "bracket", "order", "close", "target", "cancel", "replace")):
    """Return entries with and without exits, plain orders, closes, targets, cancels and moves."""
    lines, count = [], 0
    long_only = "order" not in words
    for at in sorted(draw(st.lists(st.integers(0, 9), min_size=2, max_size=10))):
        word = draw(st.sampled_from(words))
        if word in ("bracket", "order"):
            side = "buy" if long_only else draw(st.sampled_from(["buy", "sell"]))
            line = f"{at} {side} {draw(st.integers(1, 9))}"
            if draw(st.booleans()):
                line += f" limit {draw(near)}"
            if word == "bracket":
                profit, loss = (above, below) if side == "buy" else (below, above)
                line += f" take_profit {draw(profit)} stop_loss {draw(loss)}"
            lines.append(line)
            count += 1
        elif word == "close":
            lines.append(f"{at} close")
        elif word == "target":
            lines.append(f"{at} target {draw(st.integers(0 if long_only else -9, 9))}")
        elif count:
            place, leg = draw(st.integers(1, count)), draw(st.sampled_from(["t", "s"]))
            if word == "cancel":
                lines.append(f"{at} cancel {place}{draw(st.sampled_from(['', leg]))}")
            else:
                name = "limit" if leg == "t" else "stop"
                lines.append(f"{at} replace {place}{leg} {name} {draw(st.one_of(above, below))}")
    return "\n".join(lines) or "0 close"


class Careful(Script):
    """Names only orders that are there."""

    def act(self, ctx, symbol, word, rest):
        if word in ("cancel", "replace"):
            known = {order.id for order in ctx.orders()}
            name = rest[0]
            entry = self.sent[int(name.rstrip("ts")) - 1]
            if entry.id + name.lstrip("0123456789") not in known:
                return
        super().act(ctx, symbol, word, rest)


latencies_ms = st.sampled_from([0, 0, 30_000, 90_000])


@settings(max_examples=150, deadline=None)
@given(histories(), scripts(), latencies_ms)
def test_exits_never_take_a_position_through_zero_and_at_most_one_fills(bars, script, order_ms):
    report = rf.backtest(
        Careful(script=script), frame(bars), cash=1e6, latency=rf.Latency(order_ms=order_ms)
    )
    orders = {order.id: order for order in report.data.orders}
    held, taken, filled = 0.0, {}, set()
    for fill in report.data.fills:
        signed = fill.qty if fill.side == "buy" else -fill.qty
        entry = entry_of(fill.order_id)
        if entry:
            assert entry in filled
            assert entry not in taken
            assert held * signed < 0.0
            assert abs(signed) <= abs(held)
            assert fill.qty == orders[entry].qty
            taken[entry] = fill.order_id
        held += signed
        filled.add(fill.order_id)
    for order in orders.values():  # nothing is left of an entry that has ended
        if order.parent and orders[order.parent].status in ("canceled", "denied", "expired"):
            assert order.status == "canceled"
        assert not (order.parent and order.parent in taken and order.status == "open")


# One way out in a script: a close and a target know nothing of each other, exits or not.
closing = scripts(("bracket", "bracket", "close", "cancel"))
aiming = scripts(("bracket", "bracket", "target", "cancel"))


@settings(max_examples=150, deadline=None)
@given(histories(), st.one_of(closing, aiming), latencies_ms)
def test_nothing_that_closes_a_position_does_the_work_of_an_exit_again(bars, script, order_ms):
    report = rf.backtest(
        Careful(script=script), frame(bars), cash=1e6, latency=rf.Latency(order_ms=order_ms)
    )
    held = 0.0
    for fill in report.data.fills:  # only buys, targets of long positions, and what ends them
        held += fill.qty if fill.side == "buy" else -fill.qty
        assert held >= 0.0
