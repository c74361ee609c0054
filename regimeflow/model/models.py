"""Assumptions of a simulation as values, and risk limits. A report carries those it used."""

from __future__ import annotations

import math
import sys
from numbers import Real
from typing import Any, Literal

from regimeflow.errors import ConfigError
from regimeflow.model.given import Given


def _finite(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def _not_negative(where: str, **values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not (_finite(value) and value >= 0):
            raise ConfigError(
                f"{where}: {name} must be a finite number of at least 0, got {value!r}"
            )


class Costs(Given, frozen=True, kw_only=True):
    """What trading costs.

    Attributes:
        commission_bps: of the fill's value, basis points.
        per_share: money per unit.
        per_order: money per order, charged with its first fill.
        minimum: least commission per order, money.
        maker_bps, taker_bps: of the fill's value, by liquidity; instead of ``commission_bps``.
        slippage_bps: added to the price of a fill that takes liquidity; never beyond a limit.
        spread_bps: full spread assumed around bar prices; a taker pays half of it.

    >>> Costs(commission_bps=5).fee(qty=100, price=50.0)
    2.5
    """

    commission_bps: float = 0.0
    per_share: float = 0.0
    per_order: float = 0.0
    minimum: float = 0.0
    maker_bps: float | None = None
    taker_bps: float | None = None
    slippage_bps: float = 0.0
    spread_bps: float = 0.0

    def __post_init__(self) -> None:
        # A maker rebate is a negative fee; every other cost is at least zero.
        fields = {f: getattr(self, f) for f in self.__struct_fields__ if f != "maker_bps"}
        _not_negative("Costs", **fields)
        if self.maker_bps is not None and not _finite(self.maker_bps):
            raise ConfigError(f"Costs: maker_bps must be a finite number, got {self.maker_bps!r}")
        if self.commission_bps and (self.maker_bps is not None or self.taker_bps is not None):
            raise ConfigError("Costs: give commission_bps, or maker_bps and taker_bps, not both")

    @property
    def charges(self) -> bool:
        """Whether there is any commission at all."""
        parts = (self.commission_bps, self.per_share, self.per_order, self.minimum)
        return any(parts) or bool(self.maker_bps) or bool(self.taker_bps)

    def rate_bps(self, liquidity: str) -> float:
        """Return the proportional commission of a "maker" or "taker" fill, basis points."""
        rate = self.maker_bps if liquidity == "maker" else self.taker_bps
        return self.commission_bps if rate is None else rate

    def fee(
        self,
        qty: float,
        price: float,
        liquidity: str = "taker",
        *,
        multiplier: float = 1.0,
        charged: float | None = None,
    ) -> float:
        """Return the commission of one fill, money.

        Args:
            qty, price: of the fill; ``qty`` is positive.
            liquidity: "maker" or "taker".
            multiplier: the instrument's.
            charged: what earlier fills of the same order were charged before the minimum, or None
                for the first fill.
        """
        fee = qty * price * multiplier * self.rate_bps(liquidity) * 1e-4 + qty * self.per_share
        if charged is None:
            fee += self.per_order
            # Without a minimum nothing stops a rebate from being one.
            return max(fee, self.minimum) if self.minimum else fee
        if not self.minimum:
            return fee
        # The minimum is the order's, not the fill's: later fills pay only what exceeds it.
        return max(charged + fee, self.minimum) - max(charged, self.minimum)

    def taker_shift_bps(self) -> float:
        """Return how far a taker's price lies from the bar price, basis points."""
        return self.slippage_bps + self.spread_bps / 2.0


class FillModel(Given, frozen=True, kw_only=True):
    """When and at what price an order on bars fills.

    Attributes:
        market: "next_open" fills a market order at the next bar's open. "close" fills it at the
            close of the very bar it was decided on: an optimistic opt-in, which the report names.
    """

    market: Literal["next_open", "close"] = "next_open"

    def __post_init__(self) -> None:
        if self.market not in ("next_open", "close"):
            raise ConfigError(
                f"FillModel: market must be 'next_open' or 'close', got {self.market!r}"
            )


class Latency(Given, frozen=True, kw_only=True):
    """Delays of a simulation, milliseconds.

    Attributes:
        order_ms: from the decision until the venue has the request.
        data_ms: from the moment something happened until the strategy sees it.
    """

    order_ms: float = 0.0
    data_ms: float = 0.0

    def __post_init__(self) -> None:
        _not_negative("Latency", order_ms=self.order_ms, data_ms=self.data_ms)

    @property
    def order_ns(self) -> int:
        """Order latency, nanoseconds."""
        return round(self.order_ms * 1e6)

    @property
    def data_ns(self) -> int:
        """Data latency, nanoseconds."""
        return round(self.data_ms * 1e6)


class Model(Given, frozen=True, kw_only=True):
    """Fill, cost and latency assumptions together, as a report carries them."""

    fills: FillModel = FillModel()
    costs: Costs = Costs()
    latency: Latency = Latency()


class Limits(Given, frozen=True, kw_only=True):
    """Risk limits; ``None`` is off.

    Attributes:
        max_notional: money per order.
        max_position: units per symbol, either side.
        max_position_pct: value of one position, fraction of equity.
        max_gross_exposure, max_net_exposure, max_leverage: fractions of equity; leverage and gross
            exposure are the same ratio under the two names that users know.
        max_drawdown: from the highest equity, fraction.
        daily_loss: money lost since the session day began, positive.
        daily_loss_pct: the same as a fraction of the day's first equity.
        price_collar_bps: how far a price may lie from the last one, basis points.
        max_orders_per_second, max_orders_per_minute: in any sliding window. Orders that only take
            off what is held have as many of their own; cancels are not counted.
        duplicate_window_ms: an equal order within it is a duplicate.
        max_open_orders: working orders of the whole session.
        max_data_age_ms: how old a symbol's last price may be.
        symbols: only these may be traded.
    """

    max_notional: float | None = None
    max_position: float | None = None
    max_position_pct: float | None = None
    max_gross_exposure: float | None = None
    max_net_exposure: float | None = None
    max_leverage: float | None = None
    max_drawdown: float | None = None
    daily_loss: float | None = None
    daily_loss_pct: float | None = None
    price_collar_bps: float | None = None
    max_orders_per_second: int | None = None
    max_orders_per_minute: int | None = None
    duplicate_window_ms: float | None = None
    max_open_orders: int | None = None
    max_data_age_ms: float | None = None
    symbols: tuple[str, ...] | None = None

    @property
    def on_losses(self) -> bool:
        """Whether any of them is broken by losses."""
        limits = (self.max_drawdown, self.daily_loss, self.daily_loss_pct)
        return any(limit is not None for limit in limits)

    def __post_init__(self) -> None:
        if isinstance(self.symbols, str):
            raise ConfigError(
                f"Limits: symbols must be a sequence of names, such as ({self.symbols!r},)"
            )
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None or name == "symbols":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"Limits: {name} must be a number, got {value!r}")
            if not 0 <= value <= sys.float_info.max:  # which no NaN is either
                raise ConfigError(
                    f"Limits: {name} must be a finite number of at least 0, got {value!s:.40}"
                )
