"""Pictures by matplotlib's Agg canvas: no pyplot, so no state, no leak and no second display."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, Locator, PercentFormatter

from regimeflow.analytics import svg
from regimeflow.analytics.fold import priced, rows_by_symbol
from regimeflow.analytics.gaps import EVEN, TimeAxis, find_gaps, torn
from regimeflow.analytics.months import local, monthly_returns, percent, yearly_returns, zone_of
from regimeflow.analytics.ticks import time_ticks
from regimeflow.errors import ConfigError, DataError, did_you_mean
from regimeflow.model.market import FloatArray, IntArray
from regimeflow.model.timeframe import NS_PER_DAY

if TYPE_CHECKING:
    from regimeflow.analytics.report import Report

# A picture is saved once and looked at on white and on black: nothing is painted behind it, and
# every ink has a contrast of at least 3 to both, that of the text more than 4.
GAIN, LOSS, QUIET = "#1f8ace", "#dd7a1a", "#707b86"
#: Of a run's companion on the same market: live in `GAIN`, twin in `LOSS`.
SHADOW = "#12a07c"
_GRID, _NUMBER = "#808a9640", QUIET
_BUCKETS = 1000
#: Along an axis with gaps: its texts are wide.
_TICKS = 6
_MONTHS = "JFMAMJJASOND"
_Drawn = TypeVar("_Drawn")


class Picture(Figure):
    """A matplotlib figure that notebooks show by themselves, whatever the backend and the theme."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=110, layout="constrained", facecolor="none")
        FigureCanvasAgg(self)

    def axes_of(self, rows: int = 1, **how: Any) -> list[Axes]:
        """Return new axes, one above the other, in inks that can be read on any page."""
        made: list[Axes] = self.subplots(rows, 1, squeeze=False, **how)[:, 0].tolist()
        for axes in made:
            neutral(axes)
        return made

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", metadata={"Software": None})
        return out.getvalue()


def neutral(axes: Axes) -> None:
    """Give axes the inks of this module: neither a page's paper nor its text colour is known."""
    axes.set_facecolor("none")
    axes.tick_params(colors=QUIET)
    for spine in axes.spines.values():
        spine.set_color(QUIET)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(QUIET)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_offset_text().set_color(QUIET)


def plain(axes: Axes) -> None:
    """Leave out what is not data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def time_axis(axes: Axes, zone: str | None, axis: TimeAxis = EVEN) -> None:
    """Write the times below axes in the zone of a run, and fold the gaps between them."""
    if len(axis.starts):
        _fold(axes, zone_of(zone), axis)
        return
    locator = AutoDateLocator(tz=zone_of(zone))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz=zone_of(zone))  # type: ignore[no-untyped-call]
    # Seconds alone, such as 55.4, are read as anything but a time.
    formatter.formats[5], formatter.zero_formats[5] = "%H:%M:%S.%f", "%H:%M:%S"
    axes.xaxis.set_major_formatter(formatter)


def _fold(axes: Axes, zone: tzinfo, axis: TimeAxis) -> None:
    """Fold gaps. Dates stay dates: whatever is drawn later, and pointed at, falls into place."""
    # Not lambdas: figures can be pickled.
    functions = partial(_in_days, axis.place), partial(_in_days, axis.time)
    axes.set_xscale("function", functions=functions)
    locator = _OpenTimes(zone, axis)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(_OpenTimesFormatter(locator))


class _OpenTimes(Locator):
    """Finds ticks outside of gaps."""

    def __init__(self, zone: tzinfo, axis: TimeAxis) -> None:
        self.zone = zone
        self._times = axis

    def names(self) -> dict[float, str]:
        """Return the ticks within view, matplotlib's days, with what to call them."""
        first, last = (round(float(_to_ns(days))) for days in self.view())
        ticks = time_ticks(first, last, self.zone, self._times, _TICKS)
        return {float(_to_days(at)): name for at, name in ticks}

    def view(self) -> tuple[float, float]:
        """Return what is in view, matplotlib's days."""
        assert self.axis is not None
        first, last = self.axis.get_view_interval()
        return min(first, last), max(first, last)

    def __call__(self) -> Any:
        """Return the ticks within view."""
        return np.array(list(self.names()))


class _OpenTimesFormatter(Formatter):
    """Names the ticks that `_OpenTimes` finds, and any other time in full."""

    def __init__(self, locator: _OpenTimes) -> None:
        self._locator = locator

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the text of every tick."""
        names = self._locator.names()
        return [names.get(value) or self(value) for value in values]

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the text of a time that is pointed at."""
        return f"{local(round(float(_to_ns(x))), self._locator.zone):%Y-%m-%d %H:%M:%S}"

    def get_offset(self) -> str:
        """Return the year, where no tick tells it."""
        year = self(self._locator.view()[1])[:4]
        return "" if any(year in name for name in self._locator.names().values()) else year


def _in_days(function: Callable[[Any], Any], days: Any) -> Any:
    return _to_days(function(_to_ns(days)))


def _to_ns(days: Any) -> Any:
    return (np.asarray(days) - _epoch()) * NS_PER_DAY


def _to_days(ns: Any) -> Any:
    return np.asarray(ns) / NS_PER_DAY + _epoch()


def _epoch() -> Any:
    """Return 1970 in matplotlib's days, which users may count from elsewhere."""
    return date2num(np.datetime64(0, "s"))  # type: ignore[no-untyped-call]


class Levels(Formatter):
    """Writes the levels of an axis alike: all with the same unit and as many digits."""

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the text of every tick."""
        return svg.alike(values)

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the text of a value that is pointed at."""
        return svg.short(x)


def draw(report: Report, kind: str, symbol: str | None) -> Picture:
    """Return one of a report's pictures."""
    kinds = {"equity": _equity, "monthly": _monthly, "trades": _trades}
    return chosen(kinds, report, kind, symbol)(report, symbol)


def chosen(kinds: Mapping[str, _Drawn], report: Report, kind: str, symbol: str | None) -> _Drawn:
    """Return how a kind of picture is drawn.

    Raises:
        ConfigError: there is no such kind, or it is of no symbol.
        DataError: the report holds nothing to draw.
    """
    if kind not in kinds:
        near = did_you_mean(kind, kinds)
        raise ConfigError(f"there is no picture {kind!r}: choose from {', '.join(kinds)}.{near}")
    if symbol is not None and kind != "trades":
        raise ConfigError(f"a symbol belongs to kind='trades', not to kind={kind!r}")
    if not len(report.curve.ts):
        raise DataError("there is nothing to draw: the report has no prices")
    return kinds[kind]


def _equity(report: Report, symbol: str | None) -> Picture:
    del symbol
    curve, figure = report.curve, Picture(9.0, 4.6)
    top, low = figure.axes_of(2, sharex=True, height_ratios=(3, 1))
    gaps = find_gaps(curve.ts, report.data.timeframe)
    axis = TimeAxis(gaps)
    seen = axis.seen(gaps)
    at, levels = torn(*svg.decimate(curve.ts, curve.equity, _BUCKETS), seen)
    at, levels = np.append([curve.start_ts], at), np.append([curve.start], levels)
    top.plot(_dates(at), levels, color=GAIN, linewidth=1.3)
    top.axhline(curve.start, color=QUIET, linewidth=0.8, linestyle=(0, (3, 4)))
    top.yaxis.set_major_formatter(Levels())
    top.set_ylabel("equity")
    at, depth = torn(*svg.decimate(curve.ts, np.nan_to_num(report.drawdown), _BUCKETS), seen)
    low.fill_between(_dates(at), depth, 0.0, color=LOSS, alpha=0.3, linewidth=0)
    low.plot(_dates(at), depth, color=LOSS, linewidth=0.8)
    low.yaxis.set_major_formatter(PercentFormatter(1.0))
    low.set_ylabel("drawdown")
    _finish(report, top, "equity")
    time_axis(low, report.timezone, axis)
    plain(low)
    return figure


def _monthly(report: Report, symbol: str | None) -> Picture:
    del symbol
    months = monthly_returns(report.curve, report.timezone)
    years = yearly_returns(months)
    cells = np.full((len(years), 12), np.nan)
    for (year, month), value in months.items():
        cells[list(years).index(year), month - 1] = value
    figure = Picture(9.0, 1.2 + 0.32 * len(years))
    (axes,) = figure.axes_of()
    known = np.abs(cells[~np.isnan(cells)])
    scale = max(float(np.quantile(known, 0.95)) if len(known) else 0.0, 1e-6)
    axes.imshow(_colours(cells, scale), aspect="auto")
    for (row, column), value in np.ndenumerate(cells):
        if not np.isnan(value):
            _cell(axes, column, row, value)
    for row, value in enumerate(years.values()):
        _cell(axes, 12.2, row, value, weight="bold")
    axes.set_xlim(-0.5, 12.8)
    axes.set_xticks([*range(12), 12.2], [*_MONTHS, "Year"])
    axes.set_yticks(range(len(years)), [str(year) for year in years])
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(
        f"{_name(report)}: monthly returns, %", loc="left", fontsize=11, color=QUIET, pad=14
    )
    return figure


def _trades(report: Report, symbol: str | None) -> Picture:
    symbol, series, mine = traded(report, symbol)
    fills, figure = report.fill_columns, Picture(9.0, 4.2)
    (axes,) = figure.axes_of()
    gaps = find_gaps(series.ts, report.data.timeframe)
    axis = TimeAxis(gaps)
    at, close = torn(*svg.decimate(series.ts, series.close, _BUCKETS), axis.seen(gaps))
    axes.plot(_dates(at), close, color=QUIET, linewidth=1.0, label="close")
    for sign, marker, colour, name in ((1, "^", GAIN, "buys"), (-1, "v", LOSS, "sells")):
        some = mine[fills.signed[mine] * sign > 0]
        axes.scatter(
            _dates(fills.time[some]), fills.price[some], s=26, marker=marker, color=colour,
            zorder=3, linewidths=0, label=f"{len(some):,} {name}",
        )  # fmt: skip
    axes.legend(frameon=False, ncols=3, fontsize=9, labelcolor=QUIET)
    axes.set_ylabel("price")
    _finish(report, axes, f"trades in {symbol}")
    time_axis(axes, report.timezone, axis)
    return figure


def traded(report: Report, symbol: str | None) -> tuple[str, Any, Any]:
    """Return a symbol, the most traded one where None is given, its prices and rows of its fills.

    Raises:
        DataError: there are no prices of it.
    """
    prices, rows = priced(report.data), rows_by_symbol(report.fill_columns.symbols)
    if symbol is None:
        symbol = max(rows, key=lambda s: len(rows[s])) if rows else next(iter(report.symbols), "")
    if symbol not in prices:
        near = did_you_mean(symbol, prices)
        raise DataError(f"there are no prices of {symbol!r} in this report.{near}")
    return symbol, prices[symbol], rows.get(symbol, np.empty(0, dtype=np.intp))


def _cell(axes: Axes, x: float, y: float, value: float, weight: str = "normal") -> None:
    axes.text(
        x, y, percent(value), ha="center", va="center", fontsize=9, weight=weight, color=_NUMBER
    )  # fmt: skip


def _colours(cells: FloatArray, scale: float) -> Any:
    """Blue for gains, orange for losses, never so strong that a number cannot be read on it."""
    strength = np.clip(np.abs(np.nan_to_num(cells)) / scale, 0.0, 1.0)[..., None] * 0.22
    gain, loss = np.array(to_rgb(GAIN)), np.array(to_rgb(LOSS))
    hue = np.where((np.nan_to_num(cells) > 0)[..., None], gain, loss)
    return np.concatenate((hue, strength), axis=2)


def _dates(ts: IntArray) -> Any:
    return ts.astype("datetime64[ns]")


def _name(report: Report) -> str:
    # A dollar sign would start a formula: names are text, not mathematics.
    return (report.strategy or "report").replace("$", r"\$")


def _finish(report: Report, axes: Axes, what: str) -> None:
    title = f"{_name(report)}: {what.replace('$', chr(92) + '$')}"
    axes.set_title(title, loc="left", fontsize=11, color=QUIET)
    plain(axes)
