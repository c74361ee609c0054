"""What a baseline leads to expect of each fill, and whether it is of the same strategy."""

from __future__ import annotations

from bisect import bisect_right

from regimeflow.analytics.execution_quality import bps
from regimeflow.analytics.report import Report
from regimeflow.model.events import Start
from regimeflow.model.models import Model
from regimeflow.model.order import Order

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
        self.spread = sorted(slip for slip, _ in measured)
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

    def percentile(self, slippage_bps: float | None) -> float | None:
        """Return how many of 100 of the baseline's orders did no worse."""
        if slippage_bps is None or not self.spread:
            return None
        return 100.0 * bisect_right(self.spread, slippage_bps) / len(self.spread)


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
