"""Checks the exercises of the tutorials: ``check("1.1", answer)`` says whether an answer is right.

The checks stand here so that they do not give the answers away where the questions are asked.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import polars as pl
from cycler import cycler

import regimeflow as rf
from regimeflow.session.settings import load_settings

# The tutorials' figures are saved once and read on light and on dark pages: nothing is painted
# behind them, and their inks can be told from white and from black.
_INK = "#707b86"
_LINES = ["#1f8ace", "#dd7a1a", "#12a07c", "#a46bc0", "#8a94a0", "#b8931f", "#6577d0", "#c4605a"]
mpl.rcParams |= {
    "axes.edgecolor": _INK,
    "axes.facecolor": "none",
    "axes.labelcolor": _INK,
    "axes.prop_cycle": cycler(color=_LINES),
    "figure.facecolor": "none",
    "text.color": _INK,
    "xtick.color": _INK,
    # Of inks that are all dark, or all light, the inline backend says that they need a background.
    "ytick.color": "#7d8894",
}

#: Number of an exercise -> what raises AssertionError, with a hint, unless an answer is right.
EXERCISES: dict[str, Callable[..., None]] = {}


def check(number: str, answer: Any, *given: Any) -> None:
    """Print whether an answer is right, and a hint if it is not.

    Args:
        number: of the exercise.
        answer: the dots as long as there is none.
        given: what the right answer depends on, where that is different in every run.
    """
    if answer is ...:
        print(f"{number}: put your answer in the place of the dots")
        return
    try:
        EXERCISES[number](answer, *given)
    except AssertionError as hint:
        print(f"{number}: not yet. {hint}")
    except Exception as error:  # an answer of a kind that nobody thought of
        print(f"{number}: not yet. Checking it ended in {type(error).__name__}: {error}")
    else:
        print(f"{number}: right")


def exercise(number: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register the check of an exercise."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        EXERCISES[number] = function
        return function

    return register


def near(answer: Any, right: float, hint: str, within: float = 0.005) -> None:
    """Raise the hint unless a number is right."""
    assert math.isclose(float(answer), right, abs_tol=within), hint


# ---------------------------------------------------------------- 1: a first strategy


@exercise("1.1")
def _(answer: Any) -> None:
    hint = "It lies between 0 and 1, and most stays end badly: count where pnl is not above zero"
    near(answer, 56 / 74, hint)


@exercise("1.2")
def _(answer: Any) -> None:
    assert isinstance(answer, type), "Give the class itself"
    trips = rf.backtest(answer(), rf.datasets.sp500(), symbols="SP500").trades
    assert len(trips), "It never trades"
    assert len(trips) > 74, "Leaving when the market has run away makes for more round trips"
    prices = rf.datasets.sp500()
    ratio = prices["close"] / prices["close"].rolling(200).mean()
    before = ratio.shift(1).loc[trips["entry_time"]]
    assert ((before > 1.0) & (before <= 1.1)).all(), (
        "It buys on a day after which it should be out: compare close / average with 1 and 1.1"
    )


# ---------------------------------------------------------------- 2: data in


def _minutes() -> pl.DataFrame:
    return rf.datasets.synthetic(n=390 * 5, calendar="XNYS", seed=4, flavour="polars")


@exercise("2.1")
def _(answer: Any) -> None:
    assert str(answer) == "11:00", "A bar is known at its end; how long is this one?"


@exercise("2.2")
def _(answer: Any) -> None:
    assert isinstance(answer, pl.DataFrame), "Give the frame"
    assert len(answer) == 390, f"Five days have 390 bars of five minutes, not {len(answer)}"
    own, part = answer.row(0, named=True), _minutes().head(5)
    right = {
        "open": part["open"][0],
        "high": part["high"].max(),
        "low": part["low"].min(),
        "close": part["close"][4],
        "volume": part["volume"].sum(),
    }
    for name, value in right.items():
        assert own[name] == value, f"The first bar's {name} is {own[name]} and should be {value}"


@exercise("2.3")
def _(answer: Any) -> None:
    class Judge(rf.Strategy):
        def initialize(self, ctx: rf.Context) -> None:
            self.mean = ctx.indicator(rf.SMA(60))

        def on_bar(self, ctx: rf.Context, bar: rf.Bar) -> None:
            ctx.target(bar.symbol, qty=10 if self.mean.ready and bar.close > self.mean.value else 0)

    own = rf.backtest(answer, _minutes(), symbols="XYZ")
    right = rf.backtest(Judge(), _minutes(), symbols="XYZ")
    assert len(own.fills), "It buys nothing"
    assert own.fills["time"].equals(right.fills["time"]), "It trades at other times than it should"
    assert own.fills["qty"].equals(right.fills["qty"]), "It trades other quantities than ten"


# ---------------------------------------------------------------- 3: orders and fills


@exercise("3.1")
def _(answer: Any) -> None:
    hint = "Is the price ever at 97.25 after the order was sent? Look at the fourth bar's open"
    near(answer, 96.0, hint)


@exercise("3.2")
def _(answer: Any) -> None:
    assert abs(answer) > 0.02, "In per cent: a fraction of -0.01 is -1"
    assert answer < 0, "Take only the days of report.fills whose side is buy"
    near(answer, -0.68, "Take returns from close to close, on the days of the fills", 0.1)


# ---------------------------------------------------------------- 4: costs and slippage


@exercise("4.1")
def _(answer: Any) -> None:
    assert abs(answer) > 0.1, "In basis points: a fraction of 0.0001 is 1"
    near(answer, 12.43, "The mean of the column return, times 10,000", 0.05)


@exercise("4.2")
def _(answer: Any) -> None:
    hint = "77 times 0.005 is less than the minimum; divide the fee by the order's value"
    near(answer, 1e4 / (77 * 1228.10), hint, 1e-4)


@exercise("4.3")
def _(answer: Any) -> None:
    class Steady(rf.Strategy):
        band: float = 0.0

        def initialize(self, ctx: rf.Context) -> None:
            self.moves: list[float] = []
            self.first = True

        def on_bar(self, ctx: rf.Context, bar: rf.Bar) -> None:
            if not self.first:
                self.moves = [*self.moves[-19:], abs(bar.close / bar.open - 1)]
            self.first = False
            if len(self.moves) == 20:
                usual = sum(self.moves) / 20
                weight = min(0.95, 0.004 / max(usual, 1e-6))
                ctx.target(bar.symbol, weight=weight, band=self.band)

    prices, costs = rf.datasets.sp500(), rf.Costs(commission_bps=5)
    own = rf.backtest(Steady(band=float(answer)), prices, symbols="SP500", costs=costs)
    none = rf.backtest(Steady(), prices, symbols="SP500", costs=costs)
    assert len(own.fills) < 200, f"It still trades on {len(own.fills)} days: take a wider band"
    assert own.metrics["total_return"] > none.metrics["total_return"], (
        "It makes less than without a band: there it strays too far; take a narrower one"
    )


# ---------------------------------------------------------------- 5: limits


class _Doubler(rf.Strategy):
    def on_bar(self, ctx: rf.Context, bar: rf.Bar) -> None:
        if bar.close < bar.open:
            ctx.buy(bar.symbol, 10)


class _Hold(rf.Strategy):
    def on_bar(self, ctx: rf.Context, bar: rf.Bar) -> None:
        ctx.target(bar.symbol, weight=0.95)


@exercise("5.1")
def _(answer: Any) -> None:
    assert isinstance(answer, rf.Limits), "Give rf.Limits(...)"
    prices = rf.datasets.sp500()
    for cash in (100_000.0, 400_000.0):
        report = rf.backtest(_Doubler(), prices, symbols="SP500", limits=answer, cash=cash)
        assert len(report.fills), "It buys nothing at all"
        bought = report.orders[report.orders["status"] == "filled"].iloc[-1]
        held = report.fills["qty"].sum() * bought["decision_price"]
        most = held / cash
        assert most < 0.4, f"With {cash:,.0f} it comes to hold about {most:.0%}"
        assert held > 0.1 * cash, f"With {cash:,.0f} it holds far less than a quarter"


@exercise("5.2")
def _(answer: Any) -> None:
    prices = rf.datasets.sp500()

    def loss(limit: float) -> float:
        limits = rf.Limits(max_drawdown=limit)
        crash = {"symbols": "SP500", "start": "2007-01-01", "end": "2010-01-01"}
        report = rf.backtest(_Hold(), prices, limits=limits, **crash)
        return -report.metrics["max_drawdown"]

    assert 0 < answer < 1, "As a fraction: five per cent are 0.05"
    assert loss(answer) < 0.08, f"The loss is then {loss(answer):.1%}"
    assert loss(answer + 0.01) >= 0.08, "There is a larger one"


@exercise("5.3")
def _(answer: Any) -> None:
    assert str(answer).endswith("fire alarm"), "Does the file hold the words? See the last line"
    assert "-> halted: kill file" in str(answer), "Wait until the state is halted, then look"


# ---------------------------------------------------------------- 6: live on a sandbox


@exercise("6.1")
def _(answer: Any, ours: Any, theirs: Any) -> None:
    sign = theirs["side"].map({"buy": 1, "sell": -1})
    right = 1e4 * (sign * (ours["average_price"] / theirs["average_price"] - 1)).mean()
    hint = "A buy that is dearer and a sale that is cheaper both cost: mind the sign of the sales"
    near(answer, right, hint, 0.05)


@exercise("6.2")
def _(answer: Any) -> None:
    assert isinstance(answer, rf.LiveSession), "Give the session"
    assert answer.status.venue.startswith("paper"), "Its venue is not rf.venues.Paper(...)"
    assert len(answer.fills), "It has no fill yet: wait a little"


# ---------------------------------------------------------------- 7: when live differs


@exercise("7.1")
def _(answer: Any, gap: Any) -> None:
    row = gap.frame().set_index("cause")["money"]
    near(answer, row["slippage"] / gap.gap, "Slippage over the whole gap; both are negative", 0.01)


@exercise("7.2")
def _(answer: Any, live: Any, baseline: Any) -> None:
    assert isinstance(answer, rf.Report), "Give a report of rf.backtest"
    assert answer.equity["time"].equals(baseline.equity["time"]), "Use the same data and end"
    gap = rf.parity(answer, live.run_dir)
    rows = gap.frame().set_index("cause")["money"]
    for cause in ("slippage", "fee rate", "latency"):
        assert abs(rows[cause]) < 1.0, f"There are still {rows[cause]:,.2f} of {cause}"


@exercise("7.3")
def _(answer: Any) -> None:
    text = str(answer).lower()
    assert "ctx.rng" in text, (
        "Which source of chance does a run repeat? See the docstring of ctx.rng"
    )


# ---------------------------------------------------------------- 8: a bad day


@exercise("8.1")
def _(answer: Any) -> None:
    assert str(answer) != "unknown", "Wait until the venue has been asked"
    assert str(answer) == "rejected", "Take the order that is in no row of kind submit"


@exercise("8.2")
def _(answer: Any, sandbox: Any) -> None:
    arrived = [row.order_id for row in sandbox.rows() if row.kind == "submit"]
    assert arrived, "No order has arrived yet"
    right = len(arrived) - len(set(arrived))
    assert answer == right, "Compare the number of ids with the number of different ones"


# ---------------------------------------------------------------- 9: portfolios


@exercise("9.1")
def _(answer: Any, daily: Any) -> None:
    class Equal(rf.Strategy):
        def on_bars(self, ctx: rf.Context, bars: Any) -> None:
            ctx.targets(dict.fromkeys(bars, 0.95 / len(ctx.symbols)), band=0.01)

    names = [f"S{i}" for i in range(1, 9)]
    frame = rf.datasets.synthetic(
        n=252 * 6, symbols=names, timeframe="1D", calendar="XNYS", start="2018-01-02", seed=20
    )
    costs = rf.Costs(commission_bps=3)
    banded = rf.backtest(Equal(), frame, calendar="XNYS", costs=costs)
    right = len(daily.orders) / len(banded.orders)
    near(answer, right, "Count the rows of report.orders of both runs", 0.05)


@exercise("9.2")
def _(answer: Any, report: Any) -> None:
    held = (report.records.set_index("time") > 0).sum()
    assert answer in held.index, "Give a symbol, like 'S1'"
    assert held[answer] == held.max(), f"{answer} was held in {held[answer]} months; one was more"


@exercise("9.3")
def _(answer: Any, frame: Any, limits: Any) -> None:
    costs = rf.Costs(commission_bps=3)
    report = rf.backtest(answer, frame, calendar="XNYS", costs=costs, limits=limits)
    assert len(report.fills) > 50, "It hardly trades"
    denied = report.orders[report.orders["status"] == "denied"]
    assert denied.empty, f"{len(denied)} orders were denied, the first: {denied['reason'].iloc[0]}"


# ---------------------------------------------------------------- 10: headless


@exercise("10.1")
def _(answer: Any) -> None:
    assert isinstance(answer, str), "Give the text of the file"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "session.yaml"
        path.write_text(answer)
        try:
            live = load_settings(path).config.live
        except rf.ConfigError as error:
            raise AssertionError(str(error).replace(str(path), "session.yaml")) from None
    assert live.max_orders_per_minute == 20, "Orders a minute are still limited otherwise"
    assert live.dry_run, "Orders would still be sent: look for a dry run"


@exercise("10.2")
def _(answer: Any) -> None:
    assert answer != "regimeflow_max_drawdown", "That is the deepest so far, not the present one"
    assert answer == "regimeflow_drawdown", "Search the names for the word"
