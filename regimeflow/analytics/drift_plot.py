"""The picture of a drift."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import PercentFormatter

from regimeflow.analytics.gaps import TimeAxis, find_gaps, torn
from regimeflow.analytics.html import cut
from regimeflow.analytics.plots import GAIN, LOSS, QUIET, SHADOW, Levels, Picture, plain, time_axis
from regimeflow.errors import DataError
from regimeflow.model.market import FloatArray

if TYPE_CHECKING:
    from regimeflow.analytics.drift import Drift

_POINTS = 1000


def draw(drift: Drift) -> Picture:
    """Return returns with the baseline's cone above, execution and decisions in money below."""
    if not drift.rows:
        raise DataError("there is nothing to draw: no bar has closed yet")
    # Lines that share an axis are thinned out at the same places, the last one kept.
    count = len(drift.rows)
    at = np.unique(np.linspace(0, count - 1, min(count, _POINTS)).astype(np.int64))
    ts = np.array([row.time for row in drift.rows], dtype=np.int64)
    gaps = find_gaps(ts, drift.timeframe)
    axis = TimeAxis(gaps)
    seen = axis.seen(gaps)

    def shown(values: FloatArray) -> FloatArray:
        return torn(ts[at], values[at], seen)[1]

    dates = torn(ts[at], np.zeros(len(at)), seen)[0].astype("datetime64[ns]")
    figure = Picture(9.0, 4.8)
    top, low = figure.axes_of(2, sharex=True, height_ratios=(2, 1))
    edges = [shown(edge) for edge in drift.cone_columns()]
    if not np.isnan(edges[0]).all():
        top.fill_between(
            dates, edges[0], edges[2], color=QUIET, alpha=0.15, linewidth=0, label="95 % cone"
        )
        dashes = (0, (3, 4))
        top.plot(dates, edges[1], color=QUIET, linewidth=0.8, linestyle=dashes, label="expected")
    for name, colour, style, values in (
        ("baseline", QUIET, "-", drift.column("baseline")),
        ("twin", LOSS, ":", _returns(drift, "twin")),
        ("shadow", SHADOW, "--", _returns(drift, "shadow")),
        ("live", GAIN, "-", _returns(drift, "live")),
    ):
        if not np.isnan(values).all():
            top.plot(dates, shown(values), style, color=colour, linewidth=1.2, label=name)
    top.yaxis.set_major_formatter(PercentFormatter(1.0))
    top.set_ylabel("return")
    for name, colour in (("execution", GAIN), ("decisions", LOSS)):
        low.plot(dates, shown(drift.column(name)), color=colour, linewidth=1.1, label=name)
    low.axhline(0.0, color=QUIET, linewidth=0.8)
    low.yaxis.set_major_formatter(Levels())
    low.set_ylabel("money")
    for axes in (top, low):
        axes.legend(
            frameon=False, ncols=6, fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 1.0),
            borderaxespad=0.0, labelcolor=QUIET,
        )  # fmt: skip
        plain(axes)
    # A dollar sign would start a formula: names are text, not mathematics.
    title = f"{cut(drift.name, 44)}: drift".replace("$", r"\$")
    top.set_title(title, loc="left", fontsize=11, color=QUIET, pad=20)  # above the legend
    time_axis(low, drift.timezone, axis)
    return figure


def _returns(drift: Drift, name: str) -> FloatArray:
    values: FloatArray = drift.column(name) / drift.start - 1.0 if drift.start > 0 else np.array([])
    return values if len(values) else np.full(len(drift.rows), np.nan)
