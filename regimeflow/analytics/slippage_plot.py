"""The picture of an execution quality: how slippage is distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regimeflow.analytics.plots import GAIN, LOSS, QUIET, Picture, plain
from regimeflow.errors import DataError
from regimeflow.model.market import FloatArray

if TYPE_CHECKING:
    from regimeflow.analytics.execution_quality import ExecutionQuality


def measured(quality: ExecutionQuality) -> tuple[FloatArray, FloatArray]:
    """Return slippage in bp and units of each fill whose slippage is known, shape ``(n,)``.

    Raises:
        DataError: there is none.
    """
    known = [(f.slippage_bps, f.qty) for f in quality.fills if f.slippage_bps is not None]
    if not known:
        raise DataError("there is nothing to draw: no fill whose slippage is known")
    values = np.array(known, dtype=np.float64)
    return values[:, 0], values[:, 1]


def draw(quality: ExecutionQuality, bins: int = 40) -> Picture:
    """Return units by slippage in bp, with the average that is weighted by quantity."""
    slips, units = measured(quality)
    figure = Picture(9.0, 3.4)
    (axes,) = figure.axes_of()
    axes.hist(slips, bins=bins, weights=units, color=GAIN, alpha=0.65)
    mean = float(np.average(slips, weights=units))
    axes.axvline(mean, color=LOSS, linewidth=1.4, label=f"mean {mean:+.2f} bp")
    axes.axvline(0.0, color=QUIET, linewidth=0.8)
    axes.set_xlabel("slippage, bp of the expected price; positive is a cost")
    axes.set_ylabel("units")
    axes.set_title(
        f"Slippage of {len(slips):,} fills, by quantity", loc="left", fontsize=11, color=QUIET
    )
    axes.legend(frameon=False, fontsize=9, labelcolor=QUIET)
    plain(axes)
    return figure
