"""What a baseline leads to expect of each fill, and whether it is of the same strategy."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from regimeflow.analytics.execution_quality import bps
from regimeflow.analytics.report import Report
from regimeflow.model.events import Start
from regimeflow.model.models import Model
from regimeflow.model.order import Order

#: Slippages are alike within so many digits of a basis point: beyond is what arithmetic adds.
_DIGITS = 3
#: Orders that take liquidity at whatever price there is.
_TAKERS = frozenset({"market", "stop"})


class Expected:
    """What the models and the baseline's own fills say of slippage.

    Args:
        begin: what the run began with.
        baseline: a report, or None.

    Attributes:
        spread: slippage of the baseline's filled orders, bp, in order of size.
        mean: of the same, weighted by quantity; None without any.
    """

    def __init__(self, begin: Start, baseline: Report | None) -> None:
        model = baseline.model if baseline is not None else None
        self._model: Model = model or begin.model
        measured = _measured(baseline) if baseline is not None and baseline.has_run else []
        self.spread = sorted(round(slip, _DIGITS) for slip, _ in measured)
        units = sum(qty for _, qty in measured)
        self.mean = sum(slip * qty for slip, qty in measured) / units if units else None

    @property
    def taker_bps(self) -> float:
        """What the model takes a market order to cost beside the bar's price, bp."""
        return self._model.costs.taker_shift_bps()

    def model_bps(self, order: Order | None) -> float | None:
        """Return the slippage that the model gives an order, bp; None where nobody knows it."""
        if order is None:
            return None
        return self.taker_bps if order.type in _TAKERS else 0.0

    def ranks(self, slippage_bps: float | None) -> tuple[float, float] | None:
        """Return how many of 100 of the baseline's orders did better, and how many as well.

        None where the baseline's orders are no measure: there is none, or all cost the same.
        """
        spread = self.spread
        if slippage_bps is None or not spread or spread[0] == spread[-1]:
            return None
        slip = round(slippage_bps, _DIGITS)
        better, not_worse = bisect_left(spread, slip), bisect_right(spread, slip)
        return 100.0 * better / len(spread), 100.0 * (not_worse - better) / len(spread)

    def percentile(self, slippage_bps: float | None) -> float | None:
        """Return the place among 100 of the baseline's orders, 100 the dearest.

        Orders that cost the same count half; None as in `ranks`.
        """
        ranks = self.ranks(slippage_bps)
        return None if ranks is None else ranks[0] + ranks[1] / 2.0

    def told(self, slippage_bps: float | None) -> str:
        """Return in words how an order did beside the baseline's, or ""."""
        ranks = self.ranks(slippage_bps)
        if ranks is not None:
            better, alike = ranks
            return (
                f"of 100 of the baseline's orders {better:.0f} did better and {alike:.0f} as well"
            )
        return f"all of the baseline's orders had {self.spread[0]:+.2f} bp" if self.spread else ""


def _measured(report: Report) -> list[tuple[float, float]]:
    """Return slippage in bp and units of each filled order, measured as in a live session."""
    found = []
    for order in report.data.orders:
        aim = order.limit if order.limit is not None else order.stop
        reference = order.decision_price if aim is None else aim
        if order.filled > 0.0 and reference:
            slip = bps(order.sign * (order.average_price - reference), reference)
            if slip is not None:
                found.append((slip, order.filled))
    return found


def differs(begin: Start, baseline: Report | None) -> str:
    """Return how the baseline is of another strategy than the run, in a sentence, or ""."""
    if baseline is None or not baseline.has_run:
        return ""
    words = []
    if baseline.strategy != begin.strategy:
        words.append(f"it is of {baseline.strategy}, the session runs {begin.strategy}")
    elif (
        baseline.source_hash and begin.source_sha256 and baseline.source_hash != begin.source_sha256
    ):
        words.append("its strategy had another source")
    words += [
        f"{name} was {baseline.params.get(name)!r} there and is {begin.params.get(name)!r} here"
        for name in sorted({*baseline.params, *begin.params})
        if baseline.params.get(name) != begin.params.get(name)
    ]
    return f"The baseline is not of what runs here: {'; '.join(words)}." if words else ""
