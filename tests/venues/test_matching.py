"""What fills an order, rule by rule: bars, orders and what must come of them."""

import numpy as np
import pandas as pd
import pytest

import regimeflow as rf
from scripts import BEGIN, MINUTE, bars_frame, run, told

#: Bar 0 is the one that orders are decided on; it spans everything, so that a fill taken from it
#: would show.
FIRST = "100 150 50 100\n"

#: rule, bars after the first, script, one line an order
RULES = [
    ("market buys at the next open", "101 105 95 104", "0 buy 10", ["filled 101 at 1 taker"]),
    ("market sells at the next open", "99 105 95 104", "0 sell 10", ["filled 99 at 1 taker"]),
    # limits
    ("limit touched", "101 102 98 101", "0 buy 10 limit 99", ["filled 99 at 2 maker"]),
    ("limit touched to the tick", "101 102 99 101", "0 buy 10 limit 99", ["filled 99 at 2 maker"]),
    ("limit missed by a tick", "101 102 99.01 101", "0 buy 10 limit 99", ["open"]),
    ("gap through a buy limit", "97 98 96 97", "0 buy 10 limit 99", ["filled 97 at 1 taker"]),
    ("sell limit touched", "101 105 100 101", "0 sell 10 limit 104", ["filled 104 at 2 maker"]),
    ("gap through a sell limit", "107 108 106 107", "0 sell 10 limit 104",
     ["filled 107 at 1 taker"]),
    ("limit waits", "101 102 100 101\n100 101 98 100", "0 buy 10 limit 99",
     ["filled 99 at 3 maker"]),
    ("marketable limit fills at the open", "101 105 95 104", "0 buy 10 limit 103",
     ["filled 101 at 1 taker"]),
    # stops
    ("stop touched", "101 105 100 101", "0 buy 10 stop 104", ["filled 104 at 2 taker"]),
    ("stop missed by a tick", "101 103.99 100 101", "0 buy 10 stop 104", ["open"]),
    ("gap through a buy stop", "107 108 106 107", "0 buy 10 stop 104", ["filled 107 at 1 taker"]),
    ("sell stop touched", "101 102 95 99", "0 sell 10 stop 96", ["filled 96 at 2 taker"]),
    ("gap through a sell stop", "93 94 92 93", "0 sell 10 stop 96", ["filled 93 at 1 taker"]),
    # stop-limits
    ("stop-limit that holds at its stop", "101 106 100 101", "0 buy 10 stop 104 limit 105",
     ["filled 104 at 2 taker"]),
    ("stop-limit gapped past its limit", "107 108 106 107", "0 buy 10 stop 104 limit 105",
     ["open"]),
    ("stop-limit gapped, then back", "107 108 106 107\n106 106 103 105",
     "0 buy 10 stop 104 limit 105", ["filled 105 at 3 maker"]),
    ("stop-limit gapped between", "104.5 108 104 107", "0 buy 10 stop 104 limit 105",
     ["filled 104.5 at 1 taker"]),
    # A limit on the far side of its stop: the price must come back, which only the close proves.
    ("stop, then back to the limit", "101 106 99 100", "0 buy 10 stop 104 limit 102",
     ["filled 102 at 2 maker"]),
    ("stop, but never back", "101 106 99 105", "0 buy 10 stop 104 limit 102", ["open"]),
    ("stop, and back in the next bar", "101 106 99 105\n105 106 101 104",
     "0 buy 10 stop 104 limit 102", ["filled 102 at 3 maker"]),
    ("sell stop-limit", "101 102 94 95", "0 sell 10 stop 96 limit 95", ["filled 96 at 2 taker"]),
    # time in force
    ("ioc at the open", "98 105 95 104", "0 buy 10 limit 99 ioc", ["filled 98 at 1 taker"]),
    ("ioc does not wait for the low", "101 105 95 104", "0 buy 10 limit 99 ioc", ["canceled"]),
    ("fok at the open", "98 105 95 104", "0 buy 10 limit 99 fok", ["filled 98 at 1 taker"]),
    ("fok does not wait", "101 105 95 104", "0 buy 10 limit 99 fok", ["canceled"]),
    ("ioc market", "101 105 95 104", "0 buy 10 ioc", ["filled 101 at 1 taker"]),
    ("gtd fills before its end", "101 105 95 104", "0 buy 10 limit 99 gtd 2",
     ["filled 99 at 2 maker"]),
    ("gtd within a bar: only its open counts", "101 105 95 104", "0 buy 10 limit 99 gtd 1.5",
     ["expired"]),
    ("gtd within a bar: a gap counts", "98 105 95 104", "0 buy 10 limit 99 gtd 1.5",
     ["filled 98 at 1 taker"]),
    ("gtd stop within a bar", "101 105 95 104", "0 buy 10 stop 104 gtd 1.5", ["expired"]),
    ("gtd over before the bar", "101 105 100 104\n98 99 97 98", "0 buy 10 limit 99 gtd 2",
     ["expired"]),
    # cancel and replace
    ("cancel at once", "101 105 95 104", "0 buy 10 limit 99\n0 cancel 1", ["canceled"]),
    ("cancel after a bar", "101 105 100 104\n98 99 97 98", "0 buy 10 limit 99\n1 cancel 1",
     ["canceled"]),
    ("cancel after the fill", "101 105 95 104\n98 99 97 98", "0 buy 10 limit 99\n1 cancel 1",
     ["filled 99 at 2 maker"]),
    ("replace the price", "101 105 100 104\n101 105 95 104",
     "0 buy 10 limit 99\n1 replace 1 limit 96", ["filled 96 at 3 maker"]),
    ("replace up through the market", "101 105 100 104\n101 105 100 104",
     "0 buy 10 limit 99\n1 replace 1 limit 103",
     ["filled 101 at 2 taker"]),
    # two orders in one bar: the worse for the trader first
    ("both are told", "101 105 95 104", "0 sell 10 limit 104\n0 sell 10 stop 96",
     ["filled 104 at 2 maker", "filled 96 at 2 taker"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("bars", "script", "expected"), [row[1:] for row in RULES], ids=[row[0] for row in RULES]
)
def test_bars(bars, script, expected):
    assert told(run(script, bars_frame(FIRST + bars))) == expected


def test_the_worse_of_two_exits_in_one_bar_comes_first():
    report = run("0 sell 10 limit 104\n0 sell 10 stop 96", bars_frame(FIRST + "101 105 95 104"))
    assert [fill.price for fill in report.data.fills] == [96.0, 104.0]


def test_defect_1_a_market_order_does_not_fill_in_the_bar_it_was_decided_on():
    report = run("0 buy 10", bars_frame("100 150 50 120\n130 131 129 130"))
    (fill,) = report.data.fills
    assert fill.price == 130.0  # neither 120, the close, nor 100, the open that is over
    assert fill.executed_at >= BEGIN + MINUTE


@pytest.mark.parametrize("costs", [
    rf.Costs(slippage_bps=50),
    rf.Costs(spread_bps=100),
    rf.Costs(slippage_bps=20, spread_bps=60),
])  # fmt: skip
@pytest.mark.parametrize(("script", "bars", "limit"), [
    ("0 buy 10 limit 101.2", "101 105 95 104", 101.2),
    ("0 sell 10 limit 100.8", "101 105 95 104", 100.8),
    ("0 buy 10 stop 103 limit 103.1", "101 105 95 104", 103.1),
])  # fmt: skip
def test_defect_2_slippage_never_takes_a_limit_order_beyond_its_limit(script, bars, limit, costs):
    (fill,) = run(script, bars_frame(FIRST + bars), costs=costs).data.fills
    assert fill.price == limit  # half a per cent of slippage would be more


def test_slippage_and_spread_are_paid_by_takers_alone():
    costs = rf.Costs(slippage_bps=10, spread_bps=20)
    report = run(
        "0 buy 10\n0 sell 10\n0 buy 10 limit 99\n0 sell 10 stop 98",
        bars_frame(FIRST + "100 105 95 104"),
        costs=costs,
    )
    prices = {fill.order_id[-1]: fill.price for fill in report.data.fills}
    assert prices["1"] == pytest.approx(100 * 1.002)
    assert prices["2"] == pytest.approx(100 * 0.998)
    assert prices["3"] == 99.0
    assert prices["4"] == pytest.approx(98 * 0.998)


COMMISSIONS = [
    # costs, fees of: buy 100 at 50 as taker, buy 100 at 49 as maker
    ({"commission_bps": 5}, [2.5, 2.45]),
    ({"per_share": 0.01}, [1.0, 1.0]),
    ({"per_order": 1.5}, [1.5, 1.5]),
    ({"commission_bps": 1, "minimum": 2.0}, [2.0, 2.0]),
    ({"maker_bps": -1, "taker_bps": 4}, [2.0, -0.49]),
    ({}, [0.0, 0.0]),
]


@pytest.mark.parametrize(("costs", "fees"), COMMISSIONS)
def test_commissions(costs, fees):
    data = bars_frame("50 51 49 50\n50 51 48 50")
    report = run("0 buy 100\n0 buy 100 limit 49", data, costs=rf.Costs(**costs))
    assert [fill.fee for fill in report.data.fills] == pytest.approx(fees)


class TestAtTheClose:
    """The opt-in that fills at the close of the very bar an order was decided on."""

    def test_market_orders_fill_at_once_and_the_report_says_so(self):
        data = bars_frame(FIRST + "101 105 95 104")
        report = run("0 buy 10\n0 sell 5 limit 104", data, fills=rf.FillModel(market="close"))
        assert told(report) == ["filled 100 at 1 taker", "filled 104 at 2 maker"]
        assert "Optimistic fills" in report._repr_html_()

    def test_without_it_no_report_says_so(self):
        report = run("0 buy 10", bars_frame(FIRST + "101 105 95 104"))
        assert "Optimistic fills" not in report._repr_html_()


#: latency of orders and data in minutes; bars 1 to 4 open at 101, 102, 103, 104
LATENCIES = [
    (0, 0, ["filled 101 at 1 taker"]),
    (0.5, 0, ["filled 102 at 2 taker"]),  # here in the middle of bar 1, which has begun
    (1, 0, ["filled 102 at 2 taker"]),  # here just as bar 2 begins
    (1.01, 0, ["filled 103 at 3 taker"]),
    (0, 0.5, ["filled 102 at 2 taker"]),  # decided half a minute into bar 1
    (0.5, 0.5, ["filled 102 at 2 taker"]),
    (0.6, 0.5, ["filled 103 at 3 taker"]),
]


@pytest.mark.parametrize(("order", "data", "expected"), LATENCIES)
def test_latency(order, data, expected):
    bars = bars_frame(FIRST + "\n".join(f"10{n} 150 50 100" for n in range(1, 5)))
    latency = rf.Latency(order_ms=order * 60_000, data_ms=data * 60_000)
    report = run("0 buy 10", bars, latency=latency)
    assert told(report) == expected
    (fill,) = report.data.fills
    assert fill.seen == fill.ts + latency.data_ns


#: order latency half a minute; the limit 99 is touched in bar 2 only
RACES = [
    ("a cancel that is there before the bar", "0 buy 10 limit 99\n0 cancel 1", ["canceled"]),
    ("a cancel that comes within the bar", "0 buy 10 limit 99\n1 cancel 1",
     ["filled 99 at 3 maker"]),
    ("a cancel that comes after the fill", "0 buy 10 limit 99\n2 cancel 1",
     ["filled 99 at 3 maker"]),
    ("a change that comes within the bar", "0 buy 10 limit 99\n1 replace 1 limit 97",
     ["filled 99 at 3 maker"]),
    ("a change that is there before the bar", "0 buy 10 limit 99\n0 replace 1 limit 97",
     ["filled 97 at 4 maker"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "expected"), [row[1:] for row in RACES], ids=[row[0] for row in RACES]
)
def test_races_of_cancels_and_fills(script, expected):
    bars = bars_frame(FIRST + "101 105 100 104\n101 105 98 104\n101 105 95 104\n101 102 100 101")
    assert told(run(script, bars, latency=rf.Latency(order_ms=30_000))) == expected


def test_a_cancel_that_came_too_late_is_answered():
    bars = bars_frame(FIRST + "101 105 100 104\n101 105 98 104\n101 105 95 104")
    report = run("0 buy 10 limit 99\n1 cancel 1", bars, latency=rf.Latency(order_ms=30_000))
    (order,) = report.data.orders
    assert [what for _, what, _ in order.log] == [
        "sent", "accepted", "cancel asked", "filled", "cancel rejected",
    ]  # fmt: skip
    assert order.cancel_pending is False


# ---------------------------------------------------------------- trades and quotes


def ticks(columns: str, text: str) -> pd.DataFrame:
    rows = np.array([[float(w) for w in line.split()] for line in text.strip().split("\n")])
    times = pd.to_datetime(BEGIN + MINUTE * np.arange(len(rows)), utc=True)
    return pd.DataFrame(rows, columns=columns.split(), index=times)


#: quotes one minute apart as bid ask bid_size ask_size; the order is decided on the first
QUOTES = [
    ("market buys at the ask", "99 101\n98 102", "0 buy 10", ["filled 102 at 1 taker"]),
    ("market sells at the bid", "99 101\n98 102", "0 sell 10", ["filled 98 at 1 taker"]),
    ("limit inside the spread rests", "99 101\n99 101", "0 buy 10 limit 100", ["open"]),
    ("limit lifted", "99 101\n99 101\n98 100", "0 buy 10 limit 100", ["filled 100 at 2 maker"]),
    ("marketable limit takes the ask", "99 101\n98 100", "0 buy 10 limit 103",
     ["filled 100 at 1 taker"]),
    ("a rested limit fills at its own price", "99 101\n99 101\n94 95", "0 buy 10 limit 100",
     ["filled 100 at 2 maker"]),
    ("stop triggers on the ask", "99 101\n99 102\n101 103\n104 105", "0 buy 10 stop 103",
     ["filled 103 at 2 taker"]),
    ("sell stop gaps", "99 101\n90 91", "0 sell 10 stop 95", ["filled 90 at 1 taker"]),
    ("stop-limit gapped past", "99 101\n105 106\n101 103", "0 buy 10 stop 103 limit 104",
     ["filled 104 at 2 maker"]),
    ("ioc", "99 101\n99 101\n98 99", "0 buy 10 limit 100 ioc", ["canceled"]),
    ("gtd", "99 101\n99 101\n98 99", "0 buy 10 limit 100 gtd 2", ["expired"]),
    ("replaced up to the market takes the ask, not its limit",
     "99 101\n99 101\n99 101\n99 101", "0 buy 10 limit 98\n2 replace 1 limit 105",
     ["filled 101 at 3 taker"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("quotes", "script", "expected"), [row[1:] for row in QUOTES], ids=[row[0] for row in QUOTES]
)
def test_quotes(quotes, script, expected):
    text = "\n".join(f"{line} 5 5" for line in quotes.split("\n"))
    assert told(run(script, ticks("bid ask bid_size ask_size", text))) == expected


TRADES = [
    ("market at the next print", "100\n101\n102", "0 buy 10", ["filled 101 at 1 taker"]),
    ("limit rests until a print at it", "100\n101\n99\n98", "0 buy 10 limit 99",
     ["filled 99 at 2 maker"]),
    ("stop", "100\n101\n103\n104", "0 buy 10 stop 102", ["filled 103 at 2 taker"]),
    ("cancel", "100\n101\n99", "0 buy 10 limit 99\n1 cancel 1", ["canceled"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("prints", "script", "expected"), [row[1:] for row in TRADES], ids=[row[0] for row in TRADES]
)
def test_trades(prints, script, expected):
    text = "\n".join(f"{line} 7" for line in prints.split("\n"))
    assert told(run(script, ticks("price size", text))) == expected


def test_latency_on_quotes():
    quotes = ticks(
        "bid ask bid_size ask_size", "\n".join(f"{99 + n} {101 + n} 5 5" for n in range(5))
    )
    for order_ms, expected in [(60_000, "102 at 1"), (60_001, "103 at 2"), (90_000, "103 at 2")]:
        report = run("0 buy 10", quotes, latency=rf.Latency(order_ms=order_ms))
        assert told(report) == [f"filled {expected} taker"]


# ---------------------------------------------------------------- days


def daily(opens: list[float], dates: list[str]) -> pd.DataFrame:
    o = np.array(opens)
    return pd.DataFrame(
        {"open": o, "high": o + 1, "low": o - 1, "close": o, "volume": 1.0},
        index=pd.to_datetime(dates),
    )


#: Thanksgiving's half day, and both changes of the clock in New York
CALENDAR_DAYS = {
    "half day": ["2024-07-01", "2024-07-02", "2024-07-03", "2024-07-05"],
    "christmas eve": ["2024-12-20", "2024-12-23", "2024-12-24", "2024-12-26"],
    "spring": ["2024-03-07", "2024-03-08", "2024-03-11", "2024-03-12"],
    "autumn": ["2024-10-31", "2024-11-01", "2024-11-04", "2024-11-05"],
}


@pytest.mark.parametrize("dates", CALENDAR_DAYS.values(), ids=CALENDAR_DAYS)
@pytest.mark.parametrize("callback", ["on_bar", "on_end_of_day"])
def test_daily_bars_of_an_exchange_fill_at_the_next_open(dates, callback):
    class OnBar(rf.Strategy):
        def on_bar(self, ctx, bar):
            ctx.buy("SPY", 1)

    class OnDay(rf.Strategy):
        def on_end_of_day(self, ctx, day):
            ctx.buy("SPY", 1)

    strategy = OnBar if callback == "on_bar" else OnDay
    data = daily([100, 200, 300, 400], dates)
    report = rf.backtest(strategy, data, symbols="SPY", calendar="XNYS")
    assert [fill.price for fill in report.data.fills] == [200, 300, 400]


def test_a_day_order_lives_to_the_end_of_the_first_session_it_can_trade_in():
    data = daily([100, 100, 100], ["2024-07-02", "2024-07-03", "2024-07-05"])
    report = run("0 buy 10 limit 50", data, symbols="SPY", calendar="XNYS")
    (order,) = report.data.orders
    assert (order.tif, order.status, order.reason) == ("day", "expired", "end of day")
    assert order.log[-1][0] == pd.Timestamp("2024-07-03 17:00", tz="UTC").value


def test_without_sessions_orders_are_good_till_canceled():
    (order,) = run("0 buy 10 limit 50", bars_frame(FIRST * 4)).data.orders
    assert (order.tif, order.status) == ("gtc", "filled")


@pytest.mark.parametrize("dates", CALENDAR_DAYS.values(), ids=CALENDAR_DAYS)
@pytest.mark.parametrize("order_ms", [0, 50, 3_600_000])
def test_on_an_exchange_the_night_is_long_enough_for_any_latency(dates, order_ms):
    # A daily bar begins at its session's open, not twenty-four hours before its close.
    report = rf.backtest(
        lambda ctx, bar: ctx.buy(bar.symbol, 1),
        daily([100, 200, 300, 400], dates),
        symbols="SPY",
        calendar="XNYS",
        latency=rf.Latency(order_ms=order_ms),
    )
    assert [fill.price for fill in report.data.fills] == [200, 300, 400]


def test_an_order_that_ends_overnight_does_not_fill_at_the_next_open():
    data = daily([100, 90, 90], ["2024-03-06", "2024-03-07", "2024-03-08"])
    midnight = pd.Timestamp("2024-03-07 05:00", tz="UTC").value

    def once(ctx, bar):
        if not ctx.orders() and bar.close == 100:
            ctx.buy(bar.symbol, 1, limit=95, expire_at=midnight)

    report = rf.backtest(once, data, symbols="SPY", calendar="XNYS")
    assert [order.status for order in report.data.orders] == ["expired"]
