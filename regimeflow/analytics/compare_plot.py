"""The picture of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import PercentFormatter

from regimeflow.analytics import svg
from regimeflow.analytics.compare_face import INKS
from regimeflow.analytics.gaps import TimeAxis, torn
from regimeflow.analytics.html import cut
from regimeflow.analytics.plots import QUIET, Picture, plain, time_axis

if TYPE_CHECKING:
    from regimeflow.analytics.compare import Comparison

_BUCKETS = 1000


def draw(comparison: Comparison) -> Picture:
    """Return the returns since each start, told apart by colour and by dashes."""
    figure = Picture(9.0, 4.2)
    (axes,) = figure.axes_of()
    lines = comparison.growth()
    gaps = comparison.gaps()
    axis = TimeAxis(*gaps.values())
    for place, name in enumerate(comparison.names):
        if name not in lines:
            continue
        ts, values = torn(*svg.decimate(*lines[name], _BUCKETS), axis.seen(gaps[name]))
        colour, dashes = INKS[place % len(INKS)]
        axes.plot(
            ts.astype("datetime64[ns]"), values, color=colour, linewidth=1.3,
            # A dollar sign would start a formula, and a leading underscore would hide the name.
            label=" " + cut(name, 40).replace("$", r"\$"),
            linestyle=(0, dashes) if dashes else "-",
        )  # fmt: skip
    axes.axhline(0.0, color=QUIET, linewidth=0.8)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel("return since the start")
    axes.legend(frameon=False, fontsize=8, labelcolor=QUIET)
    plain(axes)
    time_axis(axes, comparison.timezone, axis)
    return figure
