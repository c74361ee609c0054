"""Three ledgers and a baseline, bar by bar: where a live run leaves what was expected of it.

live - shadow is execution, shadow - twin is decisions fed back, both in money. The baseline is
another market, so it is held against live as a return over the same number of bars, inside a cone.

The cone assumes that the baseline's log returns per bar are independent with its own mean ``mu``
and standard deviation ``sigma`` (ddof 1). After ``k`` bars its middle is ``exp(k mu) - 1`` and its
edges are ``exp(k mu +- 1.96 sigma sqrt(k)) - 1``: 95 of 100 such runs end between them. A report
that brings no curve but a yearly growth and volatility counts years instead of bars, with
``mu = log(1 + cagr)``.
"""

from __future__ import annotations

import base64
import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from regimeflow.analytics.performance import DAYS_PER_YEAR
from regimeflow.analytics.report import Report
from regimeflow.data.out import frame
from regimeflow.model.market import FloatArray
from regimeflow.model.text import escape
from regimeflow.model.timeframe import NS_PER_DAY, iso

if TYPE_CHECKING:
    from regimeflow.analytics.plots import Picture

#: Columns of ``live_drift.csv``: the first six are read by others, by place.
CSV_COLUMNS = (
    "timestamp", "equity", "daily_pnl", "total_return", "drawdown", "shortfall_vs_backtest",
    "shadow", "twin", "execution", "decisions", "baseline", "flows",
)  # fmt: skip
#: Columns that are the difference of two others.
_LESS = {
    "execution": ("live", "shadow"),
    "decisions": ("shadow", "twin"),
    "shortfall": ("total_return", "baseline"),
}
#: Of a normal distribution, 95 % lies within so many standard deviations.
_WIDE = 1.959963984540054
_NS_PER_YEAR = DAYS_PER_YEAR * NS_PER_DAY


class DriftRow(msgspec.Struct, frozen=True, gc=False):
    """One bar of a run.

    Attributes:
        time: close of the bar, UTC nanoseconds; of a run on ticks, the tick's time.
        live, shadow, twin: equity without what was paid in or out, money.
        flows: paid in (positive) or out so far, money.
        daily_pnl: since the session day began, money.
        drawdown: of live from its highest so far, a fraction, at most zero.
        baseline: what the baseline had returned after as long, a fraction; NaN: unknown.
        bar: which one it is, counted from 1.
    """

    time: int
    live: float
    shadow: float
    twin: float
    flows: float
    daily_pnl: float
    drawdown: float
    baseline: float
    bar: int = 0


class Expectation:
    """What a baseline report leads to expect, by elapsed bars or by elapsed time.

    Bars are counted where the report's bars are as long as the run's, else time; a report without
    a curve gives a yearly growth, or nothing.

    Args:
        report: the baseline.
        timeframe: of the run's finest bars, nanoseconds; 0 for ticks.

    Attributes:
        by: "bars", "time", "years", or "" where the report gives nothing to go by.
        note: what the reader must know of it, a sentence, or "".
        mean, deviation: of log returns per step; NaN where there is no cone.
    """

    def __init__(self, report: Report, timeframe: int) -> None:
        self.by = self.note = ""
        self.mean = self.deviation = math.nan
        self._levels: list[float] = []
        self._elapsed: list[int] = []
        self._step_ns = _NS_PER_YEAR
        if report.has_run:
            self._from_curve(report, timeframe)
        else:
            self._from_metrics(report)

    def _from_curve(self, report: Report, timeframe: int) -> None:
        curve = report.curve
        if not len(curve.ts) or not curve.start > 0:
            self.note = "the baseline has no equity to hold the run against"
            return
        same = timeframe > 0 and report.data.timeframe == timeframe
        self.by = "bars" if same else "time"
        self._levels = (curve.equity / curve.start).tolist()
        self._elapsed = (curve.ts - curve.start_ts).tolist()
        self._step_ns = max(self._elapsed[-1], 1) / len(self._elapsed)
        growth = 1.0 + curve.returns()
        if len(growth) > 1 and bool((growth > 0).all()):
            logs = np.log(growth)
            self.mean, self.deviation = float(logs.mean()), float(logs.std(ddof=1))

    def _from_metrics(self, report: Report) -> None:
        self.note = (
            "the baseline brings returns only, no model of fills and costs: shadow and twin use "
            "those of the run, and only the return is held against the baseline"
        )
        growth = report.metrics.get("cagr", math.nan)
        if not growth > -1.0:
            self.note += "; it names no yearly growth, so there is nothing to hold it against"
            return
        self.by, self.mean = "years", math.log1p(growth)
        self.deviation = report.metrics.get("volatility", math.nan)

    def after(self, bars: int, elapsed_ns: int) -> float:
        """Return the baseline's return after as many bars, or as long; NaN beyond its end."""
        if self.by == "years":
            return math.expm1(self.mean * elapsed_ns / _NS_PER_YEAR)
        if self.by == "time":
            if elapsed_ns > self._elapsed[-1]:
                return math.nan
            bars = bisect_right(self._elapsed, elapsed_ns)
        elif not self.by:
            return math.nan
        if bars < 1:
            return 0.0
        return self._levels[bars - 1] - 1.0 if bars <= len(self._levels) else math.nan

    def cone(self, bars: FloatArray, elapsed_ns: FloatArray) -> tuple[FloatArray, ...]:
        """Return low, middle and high of the cone, as returns."""
        steps = bars if self.by == "bars" else elapsed_ns / self._step_ns
        middle, half = steps * self.mean, _WIDE * self.deviation * np.sqrt(steps)
        return np.expm1(middle - half), np.expm1(middle), np.expm1(middle + half)


class Drift:
    """Where a live run leaves its shadow, its twin and its baseline.

    Args:
        rows: one per bar, in order.
        start: equity of all three at the beginning, money.
        start_ts: when that was, UTC nanoseconds.
        baseline: what was expected, or None.
        total: the baseline's return over its whole period; NaN without one.
        strategy, run: what ran.
        flavour, timezone: of the frames.
        timeframe: of the run's finest bars, nanoseconds; 0 for ticks.
    """

    def __init__(
        self,
        rows: Sequence[DriftRow],
        *,
        start: float,
        start_ts: int,
        baseline: Expectation | None = None,
        total: float = math.nan,
        strategy: str = "",
        run: str = "",
        flavour: str = "pandas",
        timezone: str | None = "UTC",
        timeframe: int = 0,
    ) -> None:
        self.rows = tuple(rows)
        self.start = start
        self.start_ts = start_ts
        self.baseline = baseline
        self.total = total
        self.strategy = strategy
        self.run = run
        self._flavour = flavour
        self.timezone = timezone
        self.timeframe = timeframe

    # ------------------------------------------------------------ numbers

    @property
    def execution(self) -> float:
        """live - shadow at the last bar: what the venue made of the run's orders, money."""
        return self.rows[-1].live - self.rows[-1].shadow if self.rows else 0.0

    @property
    def decisions(self) -> float:
        """shadow - twin at the last bar: decisions that a backtest would not have made, money."""
        return self.rows[-1].shadow - self.rows[-1].twin if self.rows else 0.0

    @property
    def total_return(self) -> float:
        """Of live, without what was paid in or out, on the equity it began with; a fraction."""
        return _return(self.rows[-1].live, self.start) if self.rows else 0.0

    @property
    def shortfall(self) -> float:
        """`total_return` less the baseline's return over as many bars; NaN where unknown."""
        return self.total_return - self.rows[-1].baseline if self.rows else math.nan

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader must know, in sentences."""
        if self.baseline is None:
            return ("there is no baseline: shadow and twin use the models of the run",)
        notes = [self.baseline.note] if self.baseline.note else []
        if (
            self.baseline.by in ("bars", "time")
            and self.rows
            and math.isnan(self.rows[-1].baseline)
        ):
            notes.append("the run has gone on for longer than the baseline did")
        return tuple(notes)

    def column(self, name: str) -> FloatArray:
        """Return one column of `frame` but its time, shape ``(n,)``."""
        rows = self.rows
        if name in DriftRow.__struct_fields__:
            return np.array([getattr(row, name) for row in rows], dtype=np.float64)
        if name == "total_return":
            return np.array([_return(row.live, self.start) for row in rows], dtype=np.float64)
        whole, part = _LESS[name]
        difference: FloatArray = self.column(whole) - self.column(part)
        return difference

    def frame(self) -> Any:
        """Return a frame, one row a bar.

        Columns time; live, shadow, twin (equity without flows), execution, decisions, flows,
        daily_pnl (money); total_return, drawdown, baseline, shortfall (fractions, NaN where the
        baseline does not reach).
        """
        names = (
            "live", "shadow", "twin", "execution", "decisions", "flows", "daily_pnl",
            "total_return", "drawdown", "baseline", "shortfall",
        )  # fmt: skip
        columns: dict[str, Any] = {"time": np.array([r.time for r in self.rows], dtype=np.int64)}
        columns.update((name, self.column(name)) for name in names)
        return frame(columns, self._flavour, self.timezone)

    def cone(self) -> Any:
        """Return a frame of time, low, middle, high: the baseline's cone as returns.

        NaN where there is no baseline, or one without returns.
        """
        time = np.array([row.time for row in self.rows], dtype=np.int64)
        low, middle, high = self.cone_columns()
        columns = {"time": time, "low": low, "middle": middle, "high": high}
        return frame(columns, self._flavour, self.timezone)

    def cone_columns(self) -> tuple[FloatArray, ...]:
        """Return low, middle and high of the cone as arrays, NaN where there is none."""
        if self.baseline is None:
            nothing = np.full(len(self.rows), np.nan)
            return nothing, nothing, nothing
        bars = np.array([row.bar for row in self.rows], dtype=np.float64)
        elapsed = np.array([row.time - self.start_ts for row in self.rows], dtype=np.float64)
        return self.baseline.cone(bars, np.maximum(elapsed, 0.0))

    # ------------------------------------------------------------ faces

    def plot(self) -> Picture:
        """Return a picture: returns with the baseline's cone above, the money of the gap below.

        Raises:
            DataError: no bar has closed yet.
        """
        from regimeflow.analytics import drift_plot  # matplotlib is loaded with the first picture

        return drift_plot.draw(self)

    def to_plotly(self) -> Any:
        """Return a plotly figure: equity of live, shadow and twin within the cone, money.

        Raises:
            DataError: no bar has closed yet.
            MissingExtra: plotly is not installed.
        """
        from regimeflow.analytics import interactive

        return interactive.drift_figure(self)

    @property
    def name(self) -> str:
        """Strategy and run in words."""
        return f"{self.strategy or 'run'}, run {self.run}" if self.run else self.strategy or "run"

    @property
    def html(self) -> str:
        """The picture and the numbers as an HTML fragment that needs nothing else."""
        picture = ""
        if self.rows:
            data = base64.b64encode(self.plot()._repr_png_()).decode()
            picture = (
                f"<img alt='drift' style='max-width:100%' src='data:image/png;base64,{data}'/>"
            )
        return f"<div>{self._table()}{picture}</div>"

    def _repr_html_(self) -> str:
        return self.html

    def _table(self) -> str:
        at = iso(self.rows[-1].time) if self.rows else "no bar has closed yet"
        cells = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th>"
            f"<td style='text-align:right'>{text}</td></tr>"
            for name, text in self._facts()
        )
        notes = "".join(f"<div style='opacity:.7'>{escape(note)}</div>" for note in self.notes)
        return (
            f"<div><b>{escape(self.name)}</b>: drift, {at}, {len(self.rows):,} bars</div>{notes}"
            f"<table style='margin:.4em 0'><tbody>{cells}</tbody></table>"
        )

    def _facts(self) -> list[tuple[str, str]]:
        shortfall = self.shortfall
        expected = self.rows[-1].baseline if self.rows else math.nan
        return [
            ("live − shadow, execution", f"{round(self.execution, 2) + 0.0:,.2f}"),
            ("shadow − twin, decisions", f"{round(self.decisions, 2) + 0.0:,.2f}"),
            ("return of live", f"{self.total_return:.4%}"),
            ("baseline over as long", "unknown" if math.isnan(expected) else f"{expected:.4%}"),
            ("live less baseline", "unknown" if math.isnan(shortfall) else f"{shortfall:.4%}"),
        ]

    def __str__(self) -> str:
        lines = [f"{self.name}: drift over {len(self.rows):,} bars", *self.notes]
        lines += [f"  {name:26}{text:>16}" for name, text in self._facts()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"<Drift {self.strategy}: {len(self.rows):,} bars, execution {self.execution:,.2f}, "
            f"decisions {self.decisions:,.2f}>"
        )

    # ------------------------------------------------------------ files

    def csv(self) -> str:
        """Return all rows as ``live_drift.csv`` has them."""
        return csv_header() + "".join(csv_line(row, self.start) for row in self.rows)

    def performance(self) -> dict[str, float | int | str | None]:
        """Return what ``live_performance.json`` holds; None stands for an unknown number.

        Drawdowns are positive fractions here, as in `csv_line`.
        """
        last = self.rows[-1] if self.rows else None
        deepest = -min((row.drawdown for row in self.rows), default=0.0) + 0.0
        return performance_of(last, self.start, deepest, self.total, self.run)


def performance_of(
    last: DriftRow | None, start: float, deepest: float, total: float, run: str
) -> dict[str, float | int | str | None]:
    """Return the content of ``live_performance.json`` after a row.

    Args:
        last: the newest row, or None before the first.
        start: equity at the beginning, money.
        deepest: drawdown so far, a positive fraction.
        total: the baseline's return over its whole period, NaN without one.
        run: name of the run.
    """
    equity = start if last is None else last.live + last.flows
    live_return = 0.0 if last is None else _return(last.live, start)
    expected = math.nan if last is None else last.baseline
    return {
        "baseline_total_return": _known(total),
        "live_total_return": _known(live_return),
        "max_drawdown": _known(deepest),
        "max_drawdown_pct": _known(deepest),
        "last_equity": _known(equity),
        "last_timestamp": 0 if last is None else last.time // 1_000,
        "run": run,
        "baseline_return_over_as_long": _known(expected),
        "shortfall_vs_backtest": _known(live_return - expected),
        "execution": 0.0 if last is None else _known(last.live - last.shadow),
        "decisions": 0.0 if last is None else _known(last.shadow - last.twin),
        "shadow_equity": None if last is None else _known(last.shadow),
        "twin_equity": None if last is None else _known(last.twin),
        "flows": 0.0 if last is None else _known(last.flows),
    }


def csv_header() -> str:
    """Return the first line of ``live_drift.csv``."""
    return ",".join(CSV_COLUMNS) + "\n"


def csv_line(row: DriftRow, start: float) -> str:
    """Return one row of ``live_drift.csv``: numbers only, an empty cell for an unknown one.

    As those who read the file know it, ``timestamp`` is in microseconds, ``equity`` has what was
    paid in, and ``drawdown`` is a positive fraction.
    """
    live_return = _return(row.live, start)
    numbers = (
        row.live + row.flows, row.daily_pnl, live_return, -row.drawdown + 0.0,
        live_return - row.baseline, row.shadow, row.twin, row.live - row.shadow,
        row.shadow - row.twin, row.baseline, row.flows,
    )  # fmt: skip
    cells = ("" if math.isnan(number) else repr(number) for number in numbers)
    return f"{row.time // 1_000},{','.join(cells)}\n"


def _return(equity: float, start: float) -> float:
    return equity / start - 1.0 if start > 0 else math.nan


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None
