"""Boards as one picture, drawn without a browser."""

from __future__ import annotations

import io
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from PIL import Image  # matplotlib brings it

from regimeflow.analytics.gaps import EVEN, TimeAxis, find_gaps, torn
from regimeflow.analytics.plots import GAIN, LOSS, QUIET, SHADOW, Levels, Picture, plain, time_axis
from regimeflow.model.market import FloatArray
from regimeflow.model.text import line
from regimeflow.widgets.board import Parts
from regimeflow.widgets.words import state_line

#: Latin, Greek and Cyrillic letters come before it; beyond, the font has holes.
_DRAWABLE = 0x0530
#: Between a pane and its title, in points.
_ABOVE_LEGEND = 18.0


def draw(boards: Sequence[Parts]) -> bytes:
    """Return a PNG: two panes a board, equity and price."""
    return _small(figure_of(boards)._repr_png_())


def figure_of(boards: Sequence[Parts]) -> Picture:
    """Return the figure that `draw` makes a PNG of."""
    figure = Picture(8.2, 4.0 * len(boards))
    figure.set_dpi(90)
    axes = figure.axes_of(2 * len(boards))
    for place, parts in enumerate(boards):
        top, low = axes[2 * place], axes[2 * place + 1]
        drawn = {top: _equity(top, parts), low: _price(low, parts)}
        head, state = parts["head"], parts["state"]
        title = f"{head['title']} on {head['venue']} · {state['mode_words']} · {state_line(state)}"
        top.set_title(_text(title[:110]), loc="left", fontsize=9, color=QUIET, pad=_ABOVE_LEGEND)
        _warn(top, [said for said in (head["differs"], state["error"]) if said])
        for one, axis in drawn.items():
            one.tick_params(labelsize=7)
            time_axis(one, head["zone"], axis)
            plain(one)
    return figure


def _warn(axes: Axes, said: Sequence[str]) -> None:
    """Write what is wrong above the title."""
    lines = [part for one in said for part in wrap(_text(one), 112)[:2]]
    if lines:
        axes.annotate(
            "\n".join(lines), (0.0, 1.0), (0.0, _ABOVE_LEGEND + 14.0), "axes fraction",
            "offset points", fontsize=9, color=LOSS, va="bottom",
        )  # fmt: skip


def _small(png: bytes) -> bytes:
    """Return a picture with a palette: a third of the size, in a notebook that is kept for good."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        few = picture.convert("RGBA").quantize(128, method=Image.Quantize.FASTOCTREE)
        few.save(out, "png", optimize=True)
    return out.getvalue()


def _equity(axes: Axes, parts: Parts) -> TimeAxis:
    axes.set_ylabel("equity, money", fontsize=8)
    rows = parts["equity"]
    if not rows:
        return EVEN
    columns = np.array([[np.nan if v is None else v for v in row] for row in rows])
    axis, at, columns = _open(columns, parts["head"])
    if not np.isnan(columns[:, 4]).all():
        axes.fill_between(
            at,
            columns[:, 4],
            columns[:, 5],
            color=QUIET,
            alpha=0.15,
            linewidth=0,
            label="95 % cone",
        )
    for name, column, colour, style in (
        ("twin", 3, LOSS, ":"),
        ("shadow", 2, SHADOW, "--"),
        ("live", 1, GAIN, "-"),
    ):
        axes.plot(at, columns[:, column], style, color=colour, linewidth=1.2, label=name)
    axes.yaxis.set_major_formatter(Levels())
    _legend(axes)
    return axis


def _price(axes: Axes, parts: Parts) -> TimeAxis:
    head, bars = parts["head"], parts["bars"]
    axes.set_ylabel(_text(f"price of {head['symbol']}"[:40]), fontsize=8)
    if not bars:
        return EVEN
    axis, at, columns = _open(np.array([(bar[0], bar[4]) for bar in bars]), head)
    axes.plot(at, columns[:, 1], color=QUIET, linewidth=1)
    first = bars[0][0] * 1e3
    for side, marker, colour in (("buy", "^", GAIN), ("sell", "v", LOSS)):
        some = [
            f
            for f in parts["fills"]
            if f[3] == side and f[4] == head["symbol"] and f[2] >= first and f[7] is not None
        ]
        axes.scatter(
            _dates([f[2] / 1e3 for f in some]), [f[7] for f in some], s=20, marker=marker,
            color=colour, zorder=3, linewidths=0, label=f"{side} ({len(some)})",
        )  # fmt: skip
    _legend(axes)
    return axis


def _legend(axes: Axes) -> None:
    """Show a pane's legend above its lines, not on them."""
    axes.legend(
        frameon=False, ncols=4, fontsize=7, labelcolor=QUIET, borderaxespad=0.0, borderpad=0.2,
        loc="lower left", bbox_to_anchor=(0.0, 1.0),
    )  # fmt: skip


def _open(columns: FloatArray, head: Parts) -> tuple[TimeAxis, Any, FloatArray]:
    """Return an axis, dates and columns whose first is the time in seconds, left open at gaps."""
    ts = np.round(columns[:, 0] * 1e9).astype(np.int64)
    gaps = find_gaps(ts, round(head["step_s"] * 1e9))
    axis = TimeAxis(gaps)
    at, columns = torn(ts, columns, axis.seen(gaps))
    return axis, at.astype("datetime64[ns]"), columns


def _text(text: str) -> str:
    """Return foreign text as the font can draw it; a dollar sign would start a formula."""
    known = "".join(c if ord(c) < _DRAWABLE or c in "·−–…" else "?" for c in line(text))
    return known.replace("$", r"\$")


def _dates(seconds: Any) -> Any:
    return (np.asarray(seconds, dtype=np.float64) * 1e6).astype("datetime64[us]")
