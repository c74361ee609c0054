"""Reports side by side: what was different about the runs first, then what came of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from regimeflow.analytics.fold import step
from regimeflow.analytics.gaps import Gaps, find_gaps
from regimeflow.analytics.metrics import SPECS
from regimeflow.analytics.months import local, zone_of
from regimeflow.analytics.report import Report
from regimeflow.data.out import frame
from regimeflow.errors import ConfigError, DataError
from regimeflow.model.market import FloatArray, IntArray
from regimeflow.model.models import Limits, Model
from regimeflow.model.timeframe import format_timeframe

if TYPE_CHECKING:
    from regimeflow.analytics.plots import Picture

_NONE = "–"
#: Names of columns that the frames have beside those of the reports.
_TAKEN = ("time", "metric", "parameter", "differs")
MOST = 12


class Setting(NamedTuple):
    """One thing that runs can differ in: its name, and what each report has there, as text."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the reports disagree."""
        return len(set(self.values)) > 1


class Comparison:
    """Several reports side by side. In a notebook it is shown as one screen.

    Frames come in the flavour (pandas or polars) of the first report's data.

    Attributes:
        reports: by the name that they have here, in order.
    """

    def __init__(self, reports: dict[str, Report]) -> None:
        self.reports = reports

    @property
    def names(self) -> tuple[str, ...]:
        """What the reports are called here."""
        return tuple(self.reports)

    # ------------------------------------------------------------ frames

    @cached_property
    def parameters(self) -> Any:
        """Frame of parameter, one column of text per report, differs; those that differ first.

        Strategy, source, data, parameters, symbols, period, cash, and every assumption and limit
        that is not at its default in each of the runs. A dash where a run has no such thing.
        """
        columns: dict[str, Any] = {"parameter": [setting.name for setting in self.settings]}
        for place, name in enumerate(self.names):
            columns[name] = [setting.values[place] for setting in self.settings]
        texts = list(columns)
        columns["differs"] = np.array([s.differs for s in self.settings], dtype=np.bool_)
        return self._frame(columns, texts)

    @cached_property
    def metrics(self) -> Any:
        """Frame of metric, and one column of numbers per report; NaN where one is undefined."""
        columns: dict[str, Any] = {"metric": self.metric_names}
        for name, report in self.reports.items():
            values = [report.metrics.get(metric, math.nan) for metric in self.metric_names]
            columns[name] = np.array(values, dtype=np.float64)
        return self._frame(columns, ["metric"])

    @cached_property
    def equity(self) -> Any:
        """Frame of time and each report's equity in money, as it stood then.

        Every time of any report has a row; equity is NaN before a run began, and after it ended.
        """
        curves = {name: r.curve for name, r in self.reports.items() if r.has_run}
        times = [curve.ts for curve in curves.values()]
        grid: IntArray = np.unique(np.concatenate(times)) if times else np.empty(0, np.int64)
        columns: dict[str, Any] = {"time": grid}
        for name in self.names:
            columns[name] = np.full(len(grid), np.nan)
            if name in curves and len(curves[name].ts):
                ts = curves[name].ts
                columns[name] = step(grid, ts, curves[name].equity, np.nan)
                columns[name][grid > ts[-1]] = np.nan
        return self._frame(columns, [])

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """What the runs were made with, those that differ first."""
        each = [_made_with(report) for report in self.reports.values()]
        names = dict.fromkeys(name for known in each for name in known)
        plain = [_DEFAULTS if report.has_run else {} for report in self.reports.values()]
        rows = [
            Setting(
                name,
                tuple(
                    known.get(name, default.get(name, _NONE))
                    for known, default in zip(each, plain, strict=True)
                ),
            )
            for name in names
        ]
        return tuple(sorted(rows, key=lambda row: not row.differs))

    @cached_property
    def metric_names(self) -> list[str]:
        """Names of all metrics, in the order of a tear sheet."""
        known = dict.fromkeys(name for r in self.reports.values() for name in r.metrics)
        order = {name: place for place, name in enumerate(SPECS)}
        return sorted(known, key=lambda name: order.get(name, len(order)))

    def growth(self) -> dict[str, tuple[IntArray, FloatArray]]:
        """Return times and return since the start, a fraction, of each report with prices.

        The first point is the starting capital, at 0.
        """
        lines = {}
        for name, report in self.reports.items():
            if report.has_run and len(report.curve.ts) and report.curve.start > 0:
                curve = report.curve
                ts = np.append(np.array([curve.start_ts], dtype=np.int64), curve.ts)
                lines[name] = (ts, np.append(0.0, curve.equity / curve.start - 1.0))
        return lines

    def gaps(self) -> dict[str, Gaps]:
        """Return when each line of :meth:`growth` has no data."""
        return {
            name: find_gaps(ts[1:], self.reports[name].data.timeframe)
            for name, (ts, _) in self.growth().items()
        }

    @property
    def timezone(self) -> str | None:
        """Time zone of the frames and pictures: that of the first report."""
        return next(iter(self.reports.values())).timezone

    # ------------------------------------------------------------ faces

    def plot(self) -> Picture:
        """Return a picture: the return of each since its start, on one time axis.

        Raises:
            DataError: no report has prices.
        """
        from regimeflow.analytics import compare_plot  # matplotlib only where it is asked for

        if not self.growth():
            raise DataError("there is nothing to draw: no report has prices")
        return compare_plot.draw(self)

    def to_plotly(self) -> Any:
        """Return a plotly figure of what `plot` draws; times are those of `timezone`.

        Raises:
            DataError: no report has prices.
            MissingExtra: plotly is not installed.
        """
        from regimeflow.analytics import interactive

        return interactive.comparison_figure(self)

    def __repr__(self) -> str:
        differ = [setting.name for setting in self.settings if setting.differs]
        more = f" and {len(differ) - 4} more" if len(differ) > 4 else ""
        words = f"differ in {', '.join(differ[:4])}{more}" if differ else "made alike"
        return f"<Comparison of {', '.join(self.names)}: {words}>"

    def _repr_html_(self) -> str:
        from regimeflow.analytics import compare_face

        return compare_face.face(self)

    def _frame(self, columns: dict[str, Any], texts: list[str]) -> Any:
        flavour = next(iter(self.reports.values())).data.flavour
        return frame(columns, flavour, self.timezone, text_columns=texts)


def compare(*reports: Report | Iterable[Report], **named: Report) -> Comparison:
    """Return reports side by side: differences of the runs first, then metrics and equity.

    Args:
        reports: one by one or in lists; called by their strategies' names, numbered where that is
            needed.
        named: called as they are given: ``rf.compare(quick=a, calm=b)``.

    Raises:
        ConfigError: fewer than two reports, more than twelve, or something that is none.

    Example:
        >>> import regimeflow as rf
        >>> class Hold(rf.Strategy):
        ...     units: float = 1.0
        ...     def on_bar(self, ctx, bar):
        ...         ctx.target(bar.symbol, qty=self.units)
        >>> prices = rf.datasets.synthetic(n=100)
        >>> one, two = (rf.backtest(Hold(units=units), prices) for units in (1.0, 2.0))
        >>> found = rf.compare(one, two)
        >>> found
        <Comparison of Hold, Hold (2): differ in units>
        >>> found.parameters[["parameter", "Hold", "Hold (2)"]].iloc[0].tolist()
        ['units', '1.0', '2.0']
    """
    unnamed = _reports(reports)
    every = [*unnamed, *_reports(named.values())]
    if len(every) != len(unnamed) + len(named):
        raise ConfigError("compare takes one report under a name, not a list of them")
    if not 2 <= len(every) <= MOST:
        raise ConfigError(f"compare takes 2 to {MOST} reports, got {len(every)}")
    names = _distinct([*(report.strategy or "Report" for report in unnamed), *named])
    return Comparison(dict(zip(names, every, strict=True)))


def _reports(given: Iterable[Any]) -> list[Report]:
    reports: list[Report] = []
    for one in given:
        if isinstance(one, Report):
            reports.append(one)
        elif isinstance(one, Iterable) and not isinstance(one, str | bytes | Mapping):
            reports += _reports(one)
        else:
            raise ConfigError(f"compare takes reports, not {type(one).__name__}")
    return reports


def _distinct(names: Iterable[str]) -> list[str]:
    """Return names of which no two are the same, and none is one of the frames' own.

    >>> _distinct(["Hold", "time", "Hold"])
    ['Hold', 'time (2)', 'Hold (2)']
    """
    found: list[str] = []
    for name in names:
        shown, count = name, 1
        while shown in found or shown in _TAKEN:
            count += 1
            shown = f"{name} ({count})"
        found.append(shown)
    return found


def _made_with(report: Report) -> dict[str, str]:
    """Return what a run was made with, by name."""
    start = report.data.start
    known = {"strategy": report.strategy or _NONE, "source": report.source_hash[:12] or _NONE}
    params = {name: repr(value) for name, value in report.params.items()}
    if not report.has_run:
        return known | _apart(params, known)
    ts, zone = report.curve.ts, zone_of(report.timezone)
    days = [str(local(int(t) - 1, zone).date()) for t in (ts[0], ts[-1])] if len(ts) else []
    length = report.data.timeframe
    run = {
        "data": report.fingerprint[:12] or _NONE,
        "symbols": ", ".join(report.symbols) or _NONE,
        "bars of": format_timeframe(length) if length else "ticks",
        "first day": days[0] if days else _NONE,
        "last day": days[1] if days else _NONE,
        "points": f"{len(ts):,}",
        "cash": f"{start.cash:,.2f}",
        "seed": str(start.seed),
        "calendar": report.data.calendar or _NONE,
    }
    run |= {k: v for k, v in _assumed(start.model, start.limits).items() if v != _DEFAULTS[k]}
    return known | _apart(params, known | run) | run


def _assumed(model: Model, limits: Limits) -> dict[str, str]:
    """Return every assumption and limit, as text."""
    parts: dict[str, msgspec.Struct] = {
        "fills": model.fills, "costs": model.costs, "latency": model.latency, "limits": limits,
    }  # fmt: skip
    return {
        f"{name}.{key}": f"{value:.12g}" if isinstance(value, float | int) else str(value)
        for name, part in parts.items()
        for key, value in msgspec.structs.asdict(part).items()
    }


_DEFAULTS = _assumed(Model(), Limits())


def _apart(params: dict[str, str], taken: dict[str, str]) -> dict[str, str]:
    """Return parameters, renamed where something else is called so, such as cash."""
    return {f"{k} (parameter)" if k in taken else k: v for k, v in params.items()}
