"""How well orders were executed: what each fill cost against what it could have cost.

Everywhere positive is a cost to us and negative a gain, averages are weighted by quantity, and what
is undefined is None. ``docs/execution-quality.md`` has every formula.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from regimeflow.data.out import frame
from regimeflow.model.text import escape
from regimeflow.model.timeframe import NS_PER_MS, iso, lasted

if TYPE_CHECKING:
    from regimeflow.analytics.plots import Picture


class FillQuality(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One execution, and the prices it is held against.

    Attributes:
        time: when it happened, by the venue, UTC nanoseconds.
        side: "buy" or "sell"; ``qty`` is positive.
        multiplier: money per unit and price point.
        reference: the order's limit, else its stop, else ``arrival_mid``.
        arrival_mid: mid of the newest quote when the request left, else the last trade, else the
            last close.
        quoted: whether ``arrival_mid`` is the middle of a quote.
        venue_mid: the same price when the venue had the order.
        marks: price at each horizon after the execution.
        ack_latency_ms: from the request until the venue's first word on the order reached us.
        fill_latency_ms: from the request until this execution was told to us.
        execution_latency_ms: from the request until the execution itself, by the venue's clock.
        queue_position: units ahead of the order, as the venue told.
        queue_delay_error_ms: ``fill_latency_ms`` less the delay that the venue expected.
    """

    time: int
    execution_id: str
    order_id: str
    symbol: str
    side: str
    qty: float
    price: float
    fee: float
    liquidity: str
    venue: str
    multiplier: float = 1.0
    reference: float | None = None
    arrival_mid: float | None = None
    quoted: bool = False
    venue_mid: float | None = None
    marks: tuple[float | None, ...] = ()
    ack_latency_ms: float | None = None
    fill_latency_ms: float | None = None
    execution_latency_ms: float | None = None
    queue_position: float | None = None
    queue_delay_error_ms: float | None = None

    def worse_than(self, price: float | None) -> float | None:
        """Return by how much it is worse than a price, per unit."""
        if price is None:
            return None
        return self.price - price if self.side == "buy" else price - self.price

    @property
    def slippage_bps(self) -> float | None:
        """Slippage against ``reference``."""
        return bps(self.worse_than(self.reference), self.reference)

    @property
    def slippage_money(self) -> float | None:
        """Slippage against ``reference``, money."""
        return self._money(self.worse_than(self.reference))

    @property
    def arrival_slippage_bps(self) -> float | None:
        """Slippage against ``arrival_mid``, whatever the order's own prices."""
        return bps(self.worse_than(self.arrival_mid), self.arrival_mid)

    @property
    def effective_spread_bps(self) -> float | None:
        """Twice the distance to the mid when the request left; None without a quote."""
        return twice(self.arrival_slippage_bps) if self.quoted else None

    def realised_spread_bps(self, horizon: int) -> float | None:
        """Return twice the distance to the mid at a horizon; None without a quote."""
        if not self.quoted:
            return None
        return twice(bps(self.worse_than(self.marks[horizon]), self.arrival_mid))

    def markout_bps(self, horizon: int) -> float | None:
        """Return what was lost by a horizon, of the price paid: negative where it went our way."""
        return bps(self.worse_than(self.marks[horizon]), self.price)

    @property
    def delay(self) -> float | None:
        """How far the price moved against us until the venue had the order, per unit."""
        if self.venue_mid is None or self.arrival_mid is None:
            return None
        moved = self.venue_mid - self.arrival_mid
        return moved if self.side == "buy" else -moved

    @property
    def delay_bps(self) -> float | None:
        """``delay``, of ``arrival_mid``."""
        return bps(self.delay, self.arrival_mid)

    def _money(self, per_unit: float | None) -> float | None:
        return None if per_unit is None else per_unit * self.qty * self.multiplier


def bps(cost: float | None, of: float | None) -> float | None:
    """Return a cost in basis points of a price; None where one is missing or the price is 0.

    >>> bps(0.05, 50.0)
    10.0
    """
    return None if cost is None or not of else 1e4 * cost / abs(of)


def twice(value: float | None) -> float | None:
    """Return two times a value that may be missing."""
    return None if value is None else 2.0 * value


class Shortfall(msgspec.Struct, frozen=True):
    """Implementation shortfall: a paper portfolio, traded whole at once when decided, less ours.

    Money. ``total`` is the sum of ``delay``, ``execution``, ``opportunity`` and ``fees``.

    Attributes:
        delay: price moves from the decision until the venue had the order, on what was filled.
        execution: from there to the prices paid.
        opportunity: price moves from the decision to the order's end, on what was not filled.
        fees: paid on the same fills.
        paper: value of the paper portfolio at the decision prices.
        bps: ``total`` of ``paper``; None where nothing was measured.
    """

    delay: float
    execution: float
    opportunity: float
    fees: float
    total: float
    paper: float
    bps: float | None


class Markout(msgspec.Struct, frozen=True):
    """Fills against the price at one horizon after them.

    Attributes:
        horizon: such as "10s" or "5bar".
        observations: fills whose horizon has passed.
        average_bps: weighted by quantity; positive: the price went against us.
        average_realised_spread_bps: the same as a spread, where there were quotes.
    """

    horizon: str
    observations: int
    average_bps: float | None
    average_realised_spread_bps: float | None


class VenueSummary(msgspec.Struct, frozen=True):
    """Fills of one venue; fields as in `ExecutionQuality`."""

    venue: str
    fills: int
    quantity: float
    average_fill_latency_ms: float | None
    average_signed_slippage_bps: float | None
    average_effective_spread_bps: float | None
    fees: float
    slippage_money: float


class SymbolSummary(msgspec.Struct, frozen=True):
    """Fills of one symbol; fields as in `ExecutionQuality`."""

    symbol: str
    fills: int
    quantity: float
    average_ack_latency_ms: float | None
    average_fill_latency_ms: float | None
    average_signed_slippage_bps: float | None
    average_absolute_slippage_bps: float | None
    average_arrival_slippage_bps: float | None
    average_effective_spread_bps: float | None
    average_realised_spread_bps: float | None
    fees: float
    slippage_money: float
    shortfall: Shortfall


class ExecutionQuality(msgspec.Struct, frozen=True, kw_only=True):
    """How well the orders of a run were executed, up to one moment.

    Averages are weighted by quantity; positive is a cost to us; None is undefined.

    Attributes:
        submitted: orders asked for, those that never left included.
        submit_rejected: those that never left: our own limits, a halt or a lost link stopped them.
        acknowledged: orders that the venue has shown to have, by a word or a fill.
        partially_filled: orders that a fill left incomplete, each once.
        filled: orders filled in full.
        cancelled: orders canceled before that.
        broker_rejected: orders that the venue refused.
        errored: orders whose fate the venue left open, at least for a while.
        slippage_observations, spread_observations, queue_observations: fills behind the averages.
        average_ack_latency_ms, average_fill_latency_ms: from the request until we were told.
        average_signed_slippage_bps, average_absolute_slippage_bps: against limit, stop or mid.
        average_effective_spread_bps: twice the distance to the mid when the request left.
        average_queue_position: units ahead, as the venue told.
        average_queue_delay_error_ms: fill latency less the delay that the venue expected.
        rejection_rate: refused by us or the venue, of those asked for.
        venue_summaries: per venue, in order of name.
        last_timestamp: when the session saw the last thing counted here, UTC nanoseconds.
        expired: orders that ended by their time.
        quantity, fees, slippage_money: sums over all fills; the latter two money.
        average_execution_latency_ms: from the request to the execution, by the venue's clock.
        average_arrival_slippage_bps: against the mid when the request left, whatever the order.
        average_realised_spread_bps: at the longest horizon in seconds.
        average_delay_bps: what the price moved until the venue had the order.
        shortfall: implementation shortfall, by its parts.
        markouts: per horizon.
        symbol_summaries: per symbol, in order of name.
        fills: each execution; see `frame`.
        flavour, timezone: of `frame`.
    """

    submitted: int
    submit_rejected: int
    acknowledged: int
    partially_filled: int
    filled: int
    cancelled: int
    broker_rejected: int
    errored: int
    slippage_observations: int
    spread_observations: int
    queue_observations: int
    average_ack_latency_ms: float | None
    average_fill_latency_ms: float | None
    average_signed_slippage_bps: float | None
    average_absolute_slippage_bps: float | None
    average_effective_spread_bps: float | None
    average_queue_position: float | None
    average_queue_delay_error_ms: float | None
    rejection_rate: float | None
    venue_summaries: tuple[VenueSummary, ...]
    last_timestamp: int | None
    expired: int
    quantity: float
    fees: float
    slippage_money: float
    average_execution_latency_ms: float | None
    average_arrival_slippage_bps: float | None
    average_realised_spread_bps: float | None
    average_delay_bps: float | None
    shortfall: Shortfall
    markouts: tuple[Markout, ...]
    symbol_summaries: tuple[SymbolSummary, ...]
    fills: tuple[FillQuality, ...] = ()
    flavour: str = "pandas"
    timezone: str | None = "UTC"

    def frame(self) -> Any:
        """Return a frame, one row per execution, in the order they were told.

        Columns: ``time``, ``execution_id``, ``order_id``, ``symbol``, ``side``, ``qty``,
        ``price``, ``reference``, ``arrival_mid``, ``venue_mid``, ``slippage_bps``,
        ``slippage_money``, ``arrival_slippage_bps``, ``delay_bps``, ``effective_spread_bps``,
        ``realised_spread_bps``, one ``markout_<horizon>_bps`` per horizon, the three latencies,
        ``queue_position``, ``queue_delay_error_ms``, ``fee``, ``venue`` and ``liquidity``. What
        is undefined is NaN.
        """
        fills = self.fills
        columns: dict[str, Any] = {"time": [fill.time for fill in fills]}
        for name in ("execution_id", "order_id", "symbol", "side"):
            columns[name] = [getattr(fill, name) for fill in fills]
        for name in _BEFORE_MARKOUTS:
            columns[name] = _floats(getattr(fill, name) for fill in fills)
        names = [markout.horizon for markout in self.markouts]
        longest = longest_in_seconds(names)
        columns["realised_spread_bps"] = _floats(
            None if longest is None else fill.realised_spread_bps(longest) for fill in fills
        )
        for place, name in enumerate(names):
            columns[f"markout_{name}_bps"] = _floats(fill.markout_bps(place) for fill in fills)
        for name in _AFTER_MARKOUTS:
            columns[name] = _floats(getattr(fill, name) for fill in fills)
        for name in ("venue", "liquidity"):
            columns[name] = [getattr(fill, name) for fill in fills]
        return frame(columns, self.flavour, self.timezone, text_columns=_TEXT)

    def plot(self) -> Picture:
        """Return a picture: units by slippage, with the average.

        Raises:
            DataError: there is no fill whose slippage is known.
        """
        from regimeflow.analytics import slippage_plot

        return slippage_plot.draw(self)

    def to_plotly(self) -> Any:
        """Return a plotly figure: units by slippage.

        Raises:
            DataError: there is no fill whose slippage is known.
            MissingExtra: plotly is not installed.
        """
        from regimeflow.analytics import interactive

        return interactive.slippage_figure(self)

    def to_json(self) -> str:
        """Return everything but the single fills as one JSON object; undefined is ``null``."""
        left_out = ("fills", "flavour", "timezone")
        names = (name for name in self.__struct_fields__ if name not in left_out)
        return msgspec.json.encode({name: getattr(self, name) for name in names}).decode()

    def __repr__(self) -> str:
        return (
            f"<ExecutionQuality {len(self.fills)} fills of {self.submitted} orders, slippage "
            f"{_shown(self.average_signed_slippage_bps, 'bp')}, shortfall "
            f"{_shown(self.shortfall.bps, 'bp')}>"
        )

    def _repr_html_(self) -> str:
        lost, at = self.shortfall, self.last_timestamp
        counts = (
            f"{self.submitted:,} orders, {self.partially_filled:,} of them in parts, "
            f"{self.errored:,} unknown for a while: {self.filled:,} filled · "
            f"{self.cancelled:,} cancelled · {self.expired:,} expired · "
            f"{self.submit_rejected:,} denied by us · {self.broker_rejected:,} rejected"
        )
        shortfall = (
            f"shortfall {lost.total:,.2f} ({_shown(lost.bps, 'bp')}) = delay {lost.delay:,.2f} + "
            f"execution {lost.execution:,.2f} + opportunity {lost.opportunity:,.2f} + fees "
            f"{lost.fees:,.2f}"
        )
        heads = "".join(f"<th style='{_RIGHT}'>{name}</th>" for name, _, _ in _SHOWN)
        rows = [_row(one.symbol, one) for one in self.symbol_summaries]
        rows += [_row(f"on {one.venue}", one) for one in self.venue_summaries]
        until = "no orders yet" if at is None else iso(at // NS_PER_MS * NS_PER_MS)
        return (
            "<div>"
            f"<div><b>Execution quality</b> {until}</div>"
            f"<div style='{_DIM}'>{counts}</div><div style='{_DIM}'>{shortfall}</div>"
            "<table style='margin:.4em 0'><thead><tr><th></th>"
            f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
            f"<div style='{_DIM}'>Positive is a cost. Averages are weighted by quantity.</div>"
            "</div>"
        )


def longest_in_seconds(names: Sequence[str]) -> int | None:
    """Return the place of the longest horizon in seconds, at which spreads are realised.

    >>> longest_in_seconds(["1s", "300s", "20bar"])
    1
    """
    seconds = [(float(name[:-1]), place) for place, name in enumerate(names) if name[-1] == "s"]
    return max(seconds)[1] if seconds else None


_BEFORE_MARKOUTS = (
    "qty", "price", "reference", "arrival_mid", "venue_mid", "slippage_bps", "slippage_money",
    "arrival_slippage_bps", "delay_bps", "effective_spread_bps",
)  # fmt: skip
_AFTER_MARKOUTS = (
    "ack_latency_ms", "fill_latency_ms", "execution_latency_ms", "queue_position",
    "queue_delay_error_ms", "fee",
)  # fmt: skip
_TEXT = ("execution_id", "order_id", "symbol", "side", "venue", "liquidity")
_RIGHT = "text-align:right"
#: Readable on light and dark alike; an untrusted notebook drops the theme's own colours.
_DIM = "opacity:.7"
_SHOWN: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("fills", "fills", "{:,}".format),
    ("quantity", "quantity", "{:,g}".format),
    ("slippage bp", "average_signed_slippage_bps", "{:,.2f}".format),
    ("slippage", "slippage_money", "{:,.2f}".format),
    ("effective spread bp", "average_effective_spread_bps", "{:,.2f}".format),
    ("fill latency", "average_fill_latency_ms", lasted),
    ("fees", "fees", "{:,.2f}".format),
)


def _row(name: str, summary: SymbolSummary | VenueSummary) -> str:
    cells = ""
    for _, field, text in _SHOWN:
        value = getattr(summary, field)
        cells += f"<td style='{_RIGHT}'>{'–' if value is None else text(value)}</td>"
    return f"<tr><th style='text-align:left'>{escape(name)}</th>{cells}</tr>"


def _floats(values: Any) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]


def _shown(value: float | None, unit: str) -> str:
    return "undefined" if value is None else f"{value:,.2f} {unit}"
