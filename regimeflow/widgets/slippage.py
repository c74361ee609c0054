"""Slippage of all fills so far: its distribution and its sums by what may explain it.

Weighted by quantity; positive is a cost. It grows with each fill and is never counted anew.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise
from typing import Any

from regimeflow.analytics.execution_quality import FillQuality
from regimeflow.analytics.months import local, zone_of
from regimeflow.model.order import Order

_BINS = 24
_ROWS = 12
#: The distribution is that of so many of the newest fills; sums are of all.
DRAWN = 5_000
#: What fills are grouped by, and how that is called.
GROUPS = (
    ("symbol", "by symbol"), ("hour", "by hour"), ("size", "by size"), ("type", "by order type"),
)  # fmt: skip
#: Units of a fill, in steps that traders think in.
_SIZES = (1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0)


class _Sum:
    """Fills, units, units times bp, and money."""

    __slots__ = ("fills", "money", "qty", "weighed")

    def __init__(self) -> None:
        self.fills = 0
        self.qty = self.weighed = self.money = 0.0

    def add(self, qty: float, slip: float, money: float) -> None:
        self.fills += 1
        self.qty += qty
        self.weighed += qty * slip
        self.money += money


class SlippageFold:
    """Adds fills up.

    Args:
        timezone: in which hours are told; None is UTC.
    """

    def __init__(self, timezone: str | None) -> None:
        self._zone = zone_of(timezone)
        self._all = _Sum()
        self._absolute = 0.0
        self._groups: dict[str, dict[str, _Sum]] = {name: {} for name, _ in GROUPS}
        self._slips: deque[tuple[float, float]] = deque(maxlen=DRAWN)

    def add(self, fill: FillQuality, order: Order | None) -> None:
        """Count a fill, if anybody knows what it should have cost."""
        slip, money = fill.slippage_bps, fill.slippage_money
        if slip is None or money is None:
            return
        self._all.add(fill.qty, slip, money)
        self._absolute += fill.qty * abs(slip)
        # What arithmetic adds must not part fills that cost the same.
        self._slips.append((round(slip, 6), fill.qty))
        keys = {
            "symbol": fill.symbol,
            "hour": f"{local(fill.time, self._zone).hour:02d}:00",
            "size": size_of(fill.qty),
            "type": order.type.replace("_", " ") if order is not None else "not ours",
        }
        for name, key in keys.items():
            self._groups[name].setdefault(key, _Sum()).add(fill.qty, slip, money)

    def view(self, model: float | None, baseline: float | None) -> dict[str, Any]:
        """Return what is shown.

        Args:
            model: bp that the model takes a market order to cost.
            baseline: mean of the baseline's orders, bp, or None.
        """
        qty = self._all.qty
        return {
            "fills": self._all.fills,
            "mean": self._all.weighed / qty if qty else None,
            "absolute": self._absolute / qty if qty else None,
            "model": model,
            "baseline": baseline,
            "bins": self._bins(),
            "groups": {name: _rows(name, sums) for name, sums in self._groups.items()},
            "of": {name: len(sums) for name, sums in self._groups.items()},
        }

    def _bins(self) -> list[tuple[float, float, float]]:
        """Return low, high and units of each bin; the outermost hold what lies beyond."""
        if not self._slips:
            return []
        ordered = sorted(slip for slip, _ in self._slips)
        cut = len(ordered) // 100  # one fill in a hundred must not flatten all others
        low, high = ordered[cut], ordered[-1 - cut]
        if high - low < 1e-9:
            low, high = low - 0.5, high + 0.5
        width = (high - low) / _BINS
        units = [0.0] * _BINS
        for slip, qty in self._slips:
            units[min(_BINS - 1, max(0, math.floor((slip - low) / width)))] += qty
        return [
            (round(low + i * width, 4), round(low + (i + 1) * width, 4), round(units[i], 8))
            for i in range(_BINS)
        ]


def _rows(name: str, sums: dict[str, _Sum]) -> list[tuple[str, int, float, float, float]]:
    rows = [
        (key, one.fills, round(one.qty, 8), round(one.weighed / one.qty, 4), round(one.money, 4))
        for key, one in sums.items()
        if one.qty
    ]
    if name == "hour":
        return sorted(rows)
    if name == "size":
        return sorted(rows, key=lambda row: row[2] / row[1])
    return sorted(rows, key=lambda row: -row[2])[:_ROWS]


def size_of(qty: float) -> str:
    """Return the step that a quantity is in.

    >>> size_of(10.0), size_of(99.0), size_of(2e6)
    ('10 to 100', '10 to 100', '100,000 and more')
    """
    if qty < _SIZES[0]:
        return "below 1"
    for low, high in pairwise(_SIZES):
        if qty < high:
            return f"{low:,.0f} to {high:,.0f}"
    return f"{_SIZES[-1]:,.0f} and more"
