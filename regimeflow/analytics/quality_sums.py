"""Running sums behind execution quality: means and totals, of all, by venue and by symbol."""

from __future__ import annotations

from collections.abc import Mapping

from regimeflow.analytics.execution_quality import (
    FillQuality,
    Markout,
    Shortfall,
    SymbolSummary,
    VenueSummary,
)


class Tally:
    """Sums by name, as (how many, weight, sum). Copying one is cheap."""

    __slots__ = ("_by_name",)

    def __init__(self, by_name: Mapping[str, tuple[int, float, float]] | None = None) -> None:
        self._by_name = dict(by_name or {})

    def add(self, name: str, value: float | None) -> None:
        """Add to a total; None adds nothing."""
        if value is not None:
            count, _, total = self._by_name.get(name, _ZERO)
            self._by_name[name] = (count + 1, 0.0, total + value)

    def weigh(self, name: str, value: float | None, weight: float) -> None:
        """Add to a weighted mean; None adds nothing, not even weight."""
        if value is not None:
            count, weights, total = self._by_name.get(name, _ZERO)
            self._by_name[name] = (count + 1, weights + weight, total + weight * value)

    def copy(self) -> Tally:
        """Return a copy."""
        return Tally(self._by_name)

    def count(self, name: str) -> int:
        """Return how many values there were."""
        return self._by_name.get(name, _ZERO)[0]

    def total(self, name: str) -> float:
        """Return the sum of what was added."""
        return self._by_name.get(name, _ZERO)[2]

    def mean(self, name: str) -> float | None:
        """Return the weighted mean; None of nothing."""
        _, weight, total = self._by_name.get(name, _ZERO)
        return total / weight if weight else None


class Sums:
    """The same sums over everything, by venue and by symbol.

    Args:
        longest: place of the horizon at which spreads are realised, if there is one.
    """

    def __init__(self, longest: int | None) -> None:
        self.all = Tally()
        self.venues: dict[str, Tally] = {}
        self.symbols: dict[str, Tally] = {}
        self._longest = longest

    def copy(self) -> Sums:
        """Return a copy that goes its own way."""
        other = Sums(self._longest)
        other.all = self.all.copy()
        other.venues = {name: tally.copy() for name, tally in self.venues.items()}
        other.symbols = {name: tally.copy() for name, tally in self.symbols.items()}
        return other

    def add_ack(self, symbol: str, latency_ms: float, qty: float) -> None:
        """Add an acknowledgement."""
        for tally in (self.all, _of(self.symbols, symbol)):
            tally.weigh("ack_latency_ms", latency_ms, qty)

    def add_fill(self, fill: FillQuality) -> None:
        """Add a fill."""
        means = self._means(fill)
        totals = _totals(fill)
        for tally in (self.all, _of(self.venues, fill.venue), _of(self.symbols, fill.symbol)):
            for name, value in means.items():
                tally.weigh(name, value, fill.qty)
            for name, value in totals.items():
                tally.add(name, value)

    def _means(self, fill: FillQuality) -> dict[str, float | None]:
        slippage = fill.slippage_bps
        longest = self._longest
        means: dict[str, float | None] = {
            "fill_latency_ms": fill.fill_latency_ms,
            "execution_latency_ms": fill.execution_latency_ms,
            "slippage_bps": slippage,
            "absolute_slippage_bps": None if slippage is None else abs(slippage),
            "arrival_slippage_bps": fill.arrival_slippage_bps,
            "effective_spread_bps": fill.effective_spread_bps,
            "realised_spread_bps": None if longest is None else fill.realised_spread_bps(longest),
            "delay_bps": fill.delay_bps,
            "queue_position": fill.queue_position,
            "queue_delay_error_ms": fill.queue_delay_error_ms,
        }
        for place in range(len(fill.marks)):
            means[f"markout {place}"] = fill.markout_bps(place)
            means[f"realised {place}"] = fill.realised_spread_bps(place)
        return means

    def add_unfilled(self, symbol: str, qty: float, lost: float, paper: float) -> None:
        """Add what an order missed: ``lost`` and ``paper`` are money per unit."""
        for tally in (self.all, _of(self.symbols, symbol)):
            tally.add("opportunity", qty * lost)
            tally.add("paper", qty * paper)


def _of(tallies: dict[str, Tally], name: str) -> Tally:
    tally = tallies.get(name)
    if tally is None:
        tally = tallies[name] = Tally()
    return tally


def _totals(fill: FillQuality) -> dict[str, float | None]:
    queued = fill.queue_position is not None or fill.queue_delay_error_ms is not None
    totals: dict[str, float | None] = {
        "quantity": fill.qty,
        "fees": fill.fee,
        "slippage_money": fill.slippage_money,
        "queued": 1.0 if queued else None,
    }
    if fill.arrival_mid is not None:
        # Where nobody knows the price at the venue, all of it is execution.
        delay = fill.delay or 0.0
        worse = fill.worse_than(fill.arrival_mid) or 0.0
        size = fill.qty * fill.multiplier
        totals |= {
            "delay": delay * size,
            "execution": (worse - delay) * size,
            "measured fees": fill.fee,
            "paper": fill.arrival_mid * size,
        }
    return totals


def shortfall(tally: Tally) -> Shortfall:
    """Return implementation shortfall by its parts."""
    delay, execution = tally.total("delay"), tally.total("execution")
    opportunity, fees = tally.total("opportunity"), tally.total("measured fees")
    total, paper = delay + execution + opportunity + fees, tally.total("paper")
    of_paper = 1e4 * total / abs(paper) if paper else None
    return Shortfall(delay, execution, opportunity, fees, total, paper, of_paper)


def markout(horizon: str, place: int, tally: Tally) -> Markout:
    """Return the markout at one horizon."""
    name = f"markout {place}"
    return Markout(horizon, tally.count(name), tally.mean(name), tally.mean(f"realised {place}"))


def venue_summary(venue: str, tally: Tally) -> VenueSummary:
    """Return the fills of one venue."""
    return VenueSummary(
        venue,
        fills=tally.count("quantity"),
        quantity=tally.total("quantity"),
        average_fill_latency_ms=tally.mean("fill_latency_ms"),
        average_signed_slippage_bps=tally.mean("slippage_bps"),
        average_effective_spread_bps=tally.mean("effective_spread_bps"),
        fees=tally.total("fees"),
        slippage_money=tally.total("slippage_money"),
    )


def symbol_summary(symbol: str, tally: Tally) -> SymbolSummary:
    """Return the fills of one symbol."""
    return SymbolSummary(
        symbol,
        fills=tally.count("quantity"),
        quantity=tally.total("quantity"),
        average_ack_latency_ms=tally.mean("ack_latency_ms"),
        average_fill_latency_ms=tally.mean("fill_latency_ms"),
        average_signed_slippage_bps=tally.mean("slippage_bps"),
        average_absolute_slippage_bps=tally.mean("absolute_slippage_bps"),
        average_arrival_slippage_bps=tally.mean("arrival_slippage_bps"),
        average_effective_spread_bps=tally.mean("effective_spread_bps"),
        average_realised_spread_bps=tally.mean("realised_spread_bps"),
        fees=tally.total("fees"),
        slippage_money=tally.total("slippage_money"),
        shortfall=shortfall(tally),
    )


_ZERO = (0, 0.0, 0.0)
