"""Small charts as SVG: no script, no ids, colours from the style sheet of the page or their own.

A chart is a few hundred points, whatever the run's length: every bucket of time keeps its lowest
and its highest value, so no drawdown is ever drawn shallower than it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import tzinfo
from itertools import pairwise

import numpy as np

from regimeflow.analytics.fold import BoolArray
from regimeflow.analytics.gaps import NO_GAPS, Gaps, TimeAxis, torn
from regimeflow.analytics.ticks import time_ticks
from regimeflow.model.market import FloatArray, IntArray
from regimeflow.model.text import escape

WIDTH, LEFT, RIGHT = 900.0, 64.0, 8.0
BUCKETS = 300
MARKERS = 1500
#: Of each of several lines: it is kept in a notebook for good.
_POINTS = 240

Scale = Callable[[float], float]


def equity_chart(
    ts: IntArray,
    equity: FloatArray,
    drawdown: FloatArray,
    start: tuple[int, float],
    zone: tzinfo,
    benchmark: FloatArray | None = None,
    gaps: Gaps = NO_GAPS,
) -> str:
    """Return equity above its drawdown.

    Args:
        ts, equity, drawdown: shape ``(n,)``, at least one point.
        start: time and value of the starting capital, drawn as the level it is held against.
        benchmark: what the starting capital would have become, shape ``(n,)``, NaN where unknown.
        gaps: in ``ts``; here and below they take little room, and nothing is drawn across them.
    """
    axis = TimeAxis(gaps)
    seen, x = axis.seen(gaps), _time_scale(start[0], int(ts[-1]), axis)
    at, levels = torn(*decimate(ts, equity), seen)
    shown = [levels, np.array([start[1]])]
    lines = []
    if benchmark is not None and (known := ~np.isnan(benchmark)).any():
        b_at, b_levels = torn(*decimate(ts[known], benchmark[known]), seen)
        shown.append(b_levels)
        lines.append((b_at, b_levels))
    every = np.concatenate(shown)
    y, ticks = _value_scale(float(np.nanmin(every)), float(np.nanmax(every)), 6.0, 176.0)
    d_at, depth = torn(*decimate(ts, np.nan_to_num(drawdown)), seen)
    floor = min(float(np.nanmin(depth)), -1e-4)
    y_depth: Scale = lambda v: 196.0 + 56.0 * v / floor  # noqa: E731
    path = _line([start[0], *at.tolist()], [start[1], *levels.tolist()], x, y)
    hill = _hill([start[0], *d_at.tolist()], [0.0, *depth.tolist()], x, y_depth)
    parts = [
        _grid(ticks, y),
        _time_axis(start[0], int(ts[-1]), zone, axis, 6.0, 252.0),
        _rule(y(start[1]), "rf-start"),
        *(f'<path class="rf-bench" d="{_line(a.tolist(), v.tolist(), x, y)}"/>' for a, v in lines),
        f'<path class="rf-line" d="{path}"/>',
        f'<path class="rf-down" d="{hill}"/>',
        _rule(196.0, "rf-rule"),
        _text(LEFT - 6, 200.0, "0 %", "end"),
        _text(LEFT - 6, 254.0, f"{floor * 100:.1f} %", "end"),
    ]
    return _svg(270.0, equity_label(start[1], float(equity[-1])), parts)


def trades_chart(
    ts: IntArray,
    close: FloatArray,
    fills: tuple[IntArray, FloatArray, BoolArray],
    zone: tzinfo,
    label: str,
    gaps: Gaps = NO_GAPS,
) -> str:
    """Return a price with its fills: triangles up for buys, down for sells.

    ``fills`` are times, prices and whether each was a buy; of more than 1,500, evenly spaced ones.
    """
    when, price, buy = fills
    if len(when) > MARKERS:
        keep = np.linspace(0, len(when) - 1, MARKERS).astype(np.int64)
        when, price, buy = when[keep], price[keep], buy[keep]
    ends = [*ts[[0, -1]].tolist(), *when[:1].tolist(), *when[-1:].tolist()]
    first, last = min(ends), max(ends)
    axis = TimeAxis(gaps)
    x = _time_scale(first, last, axis)
    at, levels = decimate(ts, close)
    every = np.concatenate((levels, price))
    y, ticks = _value_scale(float(every.min()), float(every.max()), 6.0, 196.0)
    at, levels = torn(at, levels, axis.seen(gaps))
    ups = "".join(
        f"M{x(t):.1f} {y(p) + 2:.1f}l4 8h-8z"
        for t, p in zip(when[buy].tolist(), price[buy].tolist(), strict=True)
    )
    downs = "".join(
        f"M{x(t):.1f} {y(p) - 2:.1f}l4 -8h-8z"
        for t, p in zip(when[~buy].tolist(), price[~buy].tolist(), strict=True)
    )
    parts = [
        _grid(ticks, y),
        _time_axis(first, last, zone, axis, 6.0, 200.0),
        f'<path class="rf-price" d="{_line(at.tolist(), levels.tolist(), x, y)}"/>',
        f'<path class="rf-buy" d="{ups}"/><path class="rf-sell" d="{downs}"/>',
    ]
    return _svg(218.0, label, parts)


def lines_chart(
    ts: IntArray,
    lines: Sequence[tuple[str, FloatArray]],
    zone: tzinfo,
    label: str,
    band: tuple[FloatArray, FloatArray] | None = None,
    gaps: Gaps = NO_GAPS,
) -> str:
    """Return lines on one time axis, each with a class of the style sheet, over a band.

    Args:
        ts: shape ``(n,)``, at least one point.
        lines: class and values of each, shape ``(n,)``, NaN where unknown.
        band: its low and high edge, shape ``(n,)``, drawn with the class ``rf-band``.
    """
    # All are thinned out at the same places, so that none is drawn between two of another's points.
    n = len(ts)
    keep = np.unique(np.linspace(0, n - 1, min(n, _POINTS)).astype(np.int64))
    at = ts[keep]
    shown = [values[keep] for _, values in lines] + [edge[keep] for edge in band or ()]
    known = np.concatenate(shown)
    known = known[~np.isnan(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    axis = TimeAxis(gaps)
    seen, x = axis.seen(gaps), _time_scale(int(ts[0]), int(ts[-1]), axis)
    y, ticks = _value_scale(low, high, 6.0, 196.0)
    parts = [_grid(ticks, y), _time_axis(int(ts[0]), int(ts[-1]), zone, axis, 6.0, 200.0)]
    if band is not None and not np.isnan(band[0]).any():
        around = ""
        for part in np.split(np.arange(len(at)), np.searchsorted(at, seen)):
            under, over = (edge[keep][part].tolist() for edge in band)
            times = at[part].tolist()
            around += _line([*times, *times[::-1]], [*over, *under[::-1]], x, y) + "Z"
        parts.append(f'<path class="rf-band" d="{around}"/>')
    for kind, values in lines:
        known = ~np.isnan(values[keep])
        if known.any():
            line_at, levels = torn(at[known], values[keep][known], seen)
            path = _line(line_at.tolist(), levels.tolist(), x, y)
            parts.append(f'<path class="{kind}" d="{path}"/>')
    return _svg(218.0, label, parts)


def overlaid(
    lines: Sequence[tuple[str, str, tuple[int, ...], IntArray, FloatArray, Gaps]],
    zone: tzinfo,
    label: str,
) -> str:
    """Return returns since the start, several on one time axis, with their names in the picture.

    Args:
        lines: name, colour, dashes, times, fractions, and the gaps in them; times and fractions of
            shape ``(n,)``.
    """
    axis = TimeAxis(*(gaps for *_, gaps in lines))
    thin = [torn(*decimate(ts, v * 100.0), axis.seen(gaps)) for _, _, _, ts, v, gaps in lines]
    every = np.concatenate([values for _, values in thin])
    first = min(int(ts[0]) for ts, _ in thin)
    last = max(int(ts[-1]) for ts, _ in thin)
    x = _time_scale(first, last, axis)
    top = 14.0 + 15.0 * len(lines)
    bottom = top + 200.0
    y, ticks = _value_scale(float(np.nanmin(every)), float(np.nanmax(every)), top, bottom)
    parts = [_time_axis(first, last, zone, axis, top, bottom)]
    for tick, level in zip(ticks, alike(ticks), strict=True):
        parts.append(_rule(y(tick), "rf-rule"))
        parts.append(_text(LEFT - 6, y(tick) + 4, f"{level} %", "end"))
    parts.append(_rule(y(0.0), "rf-start"))
    for place, (name, colour, dashes, *_) in enumerate(lines):
        ts, values = thin[place]
        look = f'stroke="{colour}" stroke-width="1.6"'
        look += f' stroke-dasharray="{" ".join(map(str, dashes))}"' if dashes else ""
        height = 10.0 + 15.0 * place
        parts.append(f'<path {look} d="M{LEFT:.0f} {height:.0f}h34"/>')
        parts.append(_text(LEFT + 42, height + 4, name, "start"))
        parts.append(f'<path {look} d="{_line(ts.tolist(), values.tolist(), x, y)}"/>')
    return _svg(bottom + 20.0, label, parts)


def bars_chart(
    bins: Sequence[tuple[float, float, float]],
    marks: Sequence[tuple[str, str, float | None]],
    unit: str,
    label: str,
) -> str:
    """Return a distribution: classes ``rf-bar`` and those of the marks.

    Args:
        bins: low, high and amount of each, at least one.
        marks: class, name and place of upright lines; those that lie outside are left out.
        unit: of the axis.
    """
    low, high = bins[0][0], bins[-1][1]
    most = max(amount for _, _, amount in bins) or 1.0
    x: Scale = lambda v: LEFT + (WIDTH - LEFT - RIGHT) * (v - low) / (high - low)  # noqa: E731
    bars = "".join(
        f"M{x(a) + 0.5:.1f} 126V{126 - 100 * amount / most:.1f}H{x(b) - 0.5:.1f}V126Z"
        for a, b, amount in bins
        if amount
    )
    parts = [f'<path class="rf-bar" d="{bars}"/>', _rule(126.0, "rf-rule")]
    for place, (kind, name, at) in enumerate(marks):
        if at is not None and low <= at <= high:
            parts.append(f'<path class="{kind}" d="M{x(at):.1f} 8V126"/>')
            side, shift = ("end", -4) if x(at) > WIDTH - 120 else ("start", 4)
            parts.append(_text(x(at) + shift, 14.0 + 12 * place, name, side))
    ends = zip((low, (low + high) / 2, high), ("start", "middle", "end"), strict=True)
    parts += [_text(x(v), 142.0, f"{round(v, 2) + 0.0:,.2f} {unit}", side) for v, side in ends]
    return _svg(150.0, label, parts)


def equity_label(start: float, last: float) -> str:
    """Return what the equity chart says to those who do not see it.

    >>> equity_label(100_000.0, 161_500.0)
    'Equity from 100k to 161.5k and its drawdown'
    """
    return f"Equity from {short(start)} to {short(last)} and its drawdown"


def document(chart: str, style: str) -> str:
    """Return a chart as a file of its own: with its style inside, none from the page."""
    return chart.replace(">", f"><style>{style}</style>", 1)


def decimate(
    ts: IntArray, values: FloatArray, buckets: int = BUCKETS
) -> tuple[IntArray, FloatArray]:
    """Return at most two points a bucket, its lowest and its highest, and the ends.

    >>> at, v = decimate(np.arange(1000), np.sin(np.arange(1000.0)), 10)
    >>> len(at) <= 22, bool(v.max() == np.sin(np.arange(1000.0)).max())
    (True, True)
    """
    n = len(ts)
    if n <= 2 * buckets:
        return ts, values
    edges = np.linspace(0, n, buckets + 1).astype(np.int64).tolist()
    keep = {0, n - 1}
    for a, b in pairwise(edges):
        bucket = values[a:b]
        keep.add(a + int(bucket.argmin()))
        keep.add(a + int(bucket.argmax()))
    rows = np.array(sorted(keep))
    return ts[rows], values[rows]


def value_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return round numbers between two values.

    >>> value_ticks(97_000.0, 131_000.0)
    [100000.0, 110000.0, 120000.0, 130000.0]
    """
    span = (high - low) / count
    size = 10.0 ** math.floor(math.log10(span))
    width = next(size * k for k in (1, 2, 2.5, 5, 10) if size * k >= span * 0.999)
    first, last = math.ceil(low / width - 1e-9), math.floor(high / width + 1e-9)
    return [i * width for i in range(first, last + 1)]


def short(value: float) -> str:
    """Return a number as an axis shows it.

    >>> short(125_000.0), short(0.25), short(-3_200_000.0)
    ('125k', '0.25', '-3.2M')
    """
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if suffix == 'k' else size):.6g}{suffix}"
    return f"{value:.6g}"


def alike(values: Sequence[float]) -> list[str]:
    """Return the levels of an axis, all with one unit and as many digits as tell them apart.

    >>> alike([50_000.0, 100_000.0]), alike([99_980.0, 100_000.0]), alike([0.25, 0.5])
    (['50k', '100k'], ['99,980', '100,000'], ['0.25', '0.50'])
    """
    most = max((abs(v) for v in values), default=0.0)
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if most >= 10.0 * size or (most >= size and suffix != "k"):
            digits = _digits([v / size for v in values])
            if digits <= 2 and (suffix != "k" or digits <= 1):
                return [f"{v / size:.{digits}f}{suffix}" if v else "0" for v in values]
            break
    digits = min(_digits(values), 12)
    return [f"{v:,.{digits}f}" for v in values]


def _digits(values: Sequence[float]) -> int:
    """Return how many decimals the values have, a billionth of the largest left out of account."""
    least = 1e-9 * max((abs(v) for v in values), default=0.0)
    return next((d for d in range(12) if all(abs(v - round(v, d)) <= least for v in values)), 12)


def _time_scale(first: int, last: int, axis: TimeAxis) -> Scale:
    begin = axis.place(first)
    span = max(axis.place(last) - begin, 1)
    return lambda t: LEFT + (WIDTH - LEFT - RIGHT) * (axis.place(t) - begin) / span


def _value_scale(low: float, high: float, top: float, bottom: float) -> tuple[Scale, list[float]]:
    room = (high - low) * 0.04 or abs(high) * 0.01 or 1.0
    low, high = low - room, high + room
    return lambda v: bottom - (bottom - top) * (v - low) / (high - low), value_ticks(low, high)


def _line(ts: Sequence[int], values: Sequence[float], x: Scale, y: Scale) -> str:
    """Return a path through points, lifted where a value is NaN."""
    pieces, some = [], []
    for t, v in zip(ts, values, strict=True):
        if v == v:
            some.append(f"{x(t):.1f} {y(v):.1f}")
        elif some:
            pieces.append(some)
            some = []
    return "".join("M" + "L".join(piece) for piece in (*pieces, some) if piece)


def _hill(ts: Sequence[int], values: Sequence[float], x: Scale, y: Scale) -> str:
    """Return what lies between zero and values, with nothing where one is NaN."""
    edges = [-1, *(i for i, v in enumerate(values) if v != v), len(values)]
    hills = ""
    for a, b in pairwise(edges):
        if b - a > 1:
            path = _line(ts[a + 1 : b], values[a + 1 : b], x, y)
            hills += f"{path}V{y(0.0):.0f}H{x(ts[a + 1]):.1f}Z"
    return hills


def _grid(ticks: list[float], y: Scale) -> str:
    return "".join(
        _rule(y(t), "rf-rule") + _text(LEFT - 6, y(t) + 4, name, "end")
        for t, name in zip(ticks, alike(ticks), strict=True)
    )


def _time_axis(
    first: int, last: int, zone: tzinfo, axis: TimeAxis, top: float, bottom: float
) -> str:
    x, out = _time_scale(first, last, axis), []
    # Dates stand where a session begins, and the first of them begins at the left edge.
    left = LEFT - 1 if len(axis.starts) else LEFT + 16
    for at, name in time_ticks(first, last, zone, axis):
        px = x(at)
        out.append(f'<path class="rf-rule" d="M{px:.1f} {top:.1f}V{bottom:.1f}"/>')
        if left < px < WIDTH - 24:
            out.append(_text(px, bottom + 15, name, "middle"))
    return "".join(out)


def _rule(y: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{LEFT:.0f} {y:.1f}H{WIDTH - RIGHT:.0f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, label: str, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
