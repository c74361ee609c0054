"""The same pictures for plotly, where it is installed: to zoom into, or to build on.

Plotly knows no time zones: times are those of a clock in the run's own zone, which the axis names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from regimeflow.analytics import svg
from regimeflow.analytics.gaps import TimeAxis, find_gaps, torn
from regimeflow.analytics.html import MONTHS, cut
from regimeflow.analytics.months import monthly_returns, yearly_returns
from regimeflow.analytics.plots import GAIN, LOSS, QUIET, SHADOW, chosen, traded
from regimeflow.analytics.slippage_plot import measured
from regimeflow.data.out import pandas_index
from regimeflow.errors import DataError, MissingExtra
from regimeflow.model.market import FloatArray, IntArray
from regimeflow.model.text import escape
from regimeflow.model.timeframe import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from regimeflow.analytics.compare import Comparison
    from regimeflow.analytics.drift import Drift
    from regimeflow.analytics.execution_quality import ExecutionQuality
    from regimeflow.analytics.report import Report

#: Of each of these the lowest and the highest value are kept: enough to zoom into.
_BUCKETS = 5_000
_NO_TIMES: IntArray = np.empty(0, dtype=np.int64)
_CLEAR = {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}


def _plotly() -> Any:
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise MissingExtra("to_plotly needs plotly: pip install plotly") from None
    return go


def _dates(ts: IntArray, zone: str | None) -> Any:
    """Return what a clock in a zone showed, as ``datetime64[ns]``."""
    index = pandas_index(ts, zone)
    return (index if zone is None else index.tz_localize(None)).to_numpy()


def _time(zone: str | None, axis: TimeAxis, marks: IntArray = _NO_TIMES) -> dict[str, Any]:
    """Return a time axis without what is empty, ``marks`` being times of points beside lines."""
    out: dict[str, Any] = {"title": f"time, {zone or 'UTC'}"}
    begins, ends = (_dates(times, zone).astype(str) for times in _left_out(axis, marks))
    if len(begins):
        out["rangebreaks"] = [{"bounds": list(pair)} for pair in zip(begins, ends, strict=True)]
    return out


def _left_out(axis: TimeAxis, marks: IntArray) -> tuple[IntArray, IntArray]:
    """Return where each gap is cut and where it goes on, so that its width on `axis` is left.

    Plotly hides what lies between: from its first mark on, a gap is shown as long as it was.
    """
    width = axis.place(axis.starts) - axis.place(axis.ends)
    begins = axis.ends + np.ceil(width / NS_PER_MS).astype(np.int64) * NS_PER_MS
    later = np.append(np.sort(marks), np.iinfo(np.int64).max)
    ends = np.minimum(axis.starts, later[np.searchsorted(later, begins)])
    cut = begins < ends
    return begins[cut], ends[cut]


def report_figure(report: Report, kind: str, symbol: str | None) -> Any:
    """Return a ``plotly.graph_objects.Figure``: one of a report's pictures."""
    go = _plotly()
    kinds: dict[str, Callable[[Any, Report, str | None], Any]] = {
        "equity": _equity,
        "monthly": _monthly,
        "trades": _trades,
    }
    return chosen(kinds, report, kind, symbol)(go, report, symbol)


def _equity(go: Any, report: Report, symbol: str | None) -> Any:
    del symbol
    curve, zone, figure = report.curve, report.timezone, go.Figure()
    gaps = find_gaps(curve.ts, report.data.timeframe)
    axis = TimeAxis(gaps)
    seen = axis.seen(gaps)
    at, levels = torn(*svg.decimate(curve.ts, curve.equity, _BUCKETS), seen)
    at, levels = np.append([curve.start_ts], at), np.append([curve.start], levels)
    figure.add_scatter(
        x=_dates(at, zone), y=levels, name="equity", mode="lines", line={"color": GAIN}
    )
    at, depth = torn(*svg.decimate(curve.ts, np.nan_to_num(report.drawdown), _BUCKETS), seen)
    figure.add_scatter(
        x=_dates(at, zone), y=depth, name="drawdown", mode="lines", line={"color": LOSS},
        fill="tozeroy", yaxis="y2",
    )  # fmt: skip
    figure.update_layout(
        title={"text": f"{_name(report)}: equity"},
        xaxis={**_time(zone, axis), "anchor": "y2"},
        yaxis={"title": "equity", "domain": [0.3, 1.0]},
        yaxis2={"title": "drawdown", "domain": [0.0, 0.24], "tickformat": ".1%"},
        **_CLEAR,
    )
    return figure


def _monthly(go: Any, report: Report, symbol: str | None) -> Any:
    del symbol
    months = monthly_returns(report.curve, report.timezone)
    years = list(yearly_returns(months))
    cells = np.full((len(years), 12), np.nan)
    for (year, month), value in months.items():
        cells[years.index(year), month - 1] = value
    heat = go.Heatmap(
        x=list(MONTHS), y=[str(year) for year in years], z=cells, zmid=0.0, name="return",
        colorscale=[(0.0, LOSS), (0.5, "rgba(128,138,150,.1)"), (1.0, GAIN)],
        texttemplate="%{z:.1%}", colorbar={"tickformat": ".0%"},
    )  # fmt: skip
    title = {"text": f"{_name(report)}: monthly returns"}
    return go.Figure(heat).update_layout(
        title=title, yaxis={"type": "category", "autorange": "reversed"}, **_CLEAR
    )


def _trades(go: Any, report: Report, symbol: str | None) -> Any:
    symbol, series, rows = traded(report, symbol)
    fills, zone, figure = report.fill_columns, report.timezone, go.Figure()
    gaps = find_gaps(series.ts, report.data.timeframe)
    axis = TimeAxis(gaps)
    at, close = torn(*svg.decimate(series.ts, series.close, _BUCKETS), axis.seen(gaps))
    figure.add_scatter(
        x=_dates(at, zone), y=close, name="close", mode="lines", line={"color": QUIET}
    )
    for sign, mark, colour, name in (
        (1, "triangle-up", GAIN, "buys"), (-1, "triangle-down", LOSS, "sells")
    ):  # fmt: skip
        some = rows[fills.signed[rows] * sign > 0]
        figure.add_scatter(
            x=_dates(fills.time[some], zone), y=fills.price[some], name=name, mode="markers",
            customdata=np.abs(fills.signed[some]), marker={"symbol": mark, "color": colour},
            hovertemplate="%{x}<br>%{customdata:,} at %{y:,}",
        )  # fmt: skip
    figure.update_layout(
        title={"text": f"{_name(report)}: trades in {escape(symbol)}"},
        xaxis=_time(zone, axis, fills.time[rows]), yaxis={"title": "price"}, **_CLEAR,
    )  # fmt: skip
    return figure


def _name(report: Report) -> str:
    return escape(report.strategy or "report")


def comparison_figure(comparison: Comparison) -> Any:
    """Return a ``plotly.graph_objects.Figure``: returns since each start on one time axis."""
    go = _plotly()
    lines = comparison.growth()
    if not lines:
        raise DataError("there is nothing to draw: no report has prices")
    figure, zone, gaps = go.Figure(), comparison.timezone, comparison.gaps()
    axis = TimeAxis(*gaps.values())
    for name, (ts, values) in lines.items():
        at, some = torn(*svg.decimate(ts, values, _BUCKETS), axis.seen(gaps[name]))
        figure.add_scatter(x=_dates(at, zone), y=some, name=escape(cut(name, 40)), mode="lines")
    figure.update_layout(
        xaxis=_time(zone, axis),
        yaxis={"title": "return since the start", "tickformat": ".1%"},
        **_CLEAR,
    )
    return figure


def drift_figure(drift: Drift) -> Any:
    """Return a ``plotly.graph_objects.Figure``: equity within the cone, in money."""
    go = _plotly()
    if not drift.rows:
        raise DataError("there is nothing to draw: no bar has closed yet")
    ts = np.array([row.time for row in drift.rows], dtype=np.int64)
    gaps = find_gaps(ts, drift.timeframe)
    axis = TimeAxis(gaps)
    seen = axis.seen(gaps)
    figure = go.Figure()
    low, middle, high = drift.cone_columns()

    def line(name: str, values: FloatArray, starts: IntArray = seen, **more: Any) -> None:
        at, some = torn(ts, values, starts)
        x = _dates(at, drift.timezone)
        figure.add_trace(go.Scatter(x=x, y=some, name=name, mode="lines", **more))

    if not np.isnan(low).all():
        # Plotly fills between torn edges from the wrong ends.
        whole: dict[str, Any] = {"starts": _NO_TIMES, "line": {"width": 0}}
        line("95 % cone, low", drift.start * (1.0 + low), showlegend=False, **whole)
        grey = "rgba(107,116,128,.15)"
        high = drift.start * (1.0 + high)
        line("95 % cone", high, fill="tonexty", fillcolor=grey, **whole)
        dashes = {"color": QUIET, "dash": "dash", "width": 1}
        line("expected", drift.start * (1.0 + middle), line=dashes)
    if not np.isnan(drift.column("baseline")).all():
        line("baseline", drift.start * (1.0 + drift.column("baseline")), line={"color": QUIET})
    for name, colour, dash in (
        ("twin", LOSS, "dot"),
        ("shadow", SHADOW, "dash"),
        ("live", GAIN, "solid"),
    ):
        line(name, drift.column(name), line={"color": colour, "dash": dash})
    figure.update_layout(
        title={"text": f"{escape(drift.name)}: drift"},
        xaxis=_time(drift.timezone, axis), yaxis={"title": "equity"}, **_CLEAR,
    )  # fmt: skip
    return figure


def slippage_figure(quality: ExecutionQuality) -> Any:
    """Return a ``plotly.graph_objects.Figure``: units by slippage in bp."""
    go = _plotly()
    slips, units = measured(quality)
    figure = go.Figure(go.Histogram(x=slips, y=units, histfunc="sum", marker={"color": GAIN}))
    figure.update_layout(
        title={"text": f"Slippage of {len(slips):,} fills, by quantity"},
        xaxis={"title": "slippage, bp; positive is a cost"},
        yaxis={"title": "units"},
    )
    return figure
