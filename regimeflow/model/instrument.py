"""What is traded, and the grid its prices and quantities live on.

Numbers are floats, but floats *on the instrument's grid*: `Instrument` alone rounds, by counting
ticks and lots as integers, so that ``0.1 + 0.2`` lots is ``0.3`` and not ``0.30000000000000004``.
"""

from __future__ import annotations

import math
from decimal import Decimal

from regimeflow.errors import ConfigError
from regimeflow.model.given import Given

# Half a millionth of a step: what float arithmetic may lose on the way, far below any real step.
_SLACK = 5e-7


class Instrument(Given, frozen=True):
    """One instrument's trading rules.

    Attributes:
        symbol: its name.
        tick: smallest price step, quote currency.
        lot: smallest quantity step, units.
        min_qty: smallest order, units.
        min_notional: smallest order, quote currency.
        multiplier: money per unit and price point (futures and options).
        margin: fraction of the position's value that equity must cover; 1.0 is a cash account.
        shortable: whether it can be sold short.
        calendar: exchange calendar (``exchange_calendars`` name), or "" for UTC days.
        unit: smallest quantity that can be held, 0 for the lot. It is finer than the lot where
            a venue keeps its fee in the units that were bought.
        flips: whether one order may turn a position from long to short, or from short to long.

    >>> Instrument("SPY").round_qty(10.7)
    10.0
    >>> Instrument("BTC/USDT", tick=0.1, lot=0.001).round_qty(0.1 + 0.2)
    0.3
    """

    symbol: str
    tick: float = 0.01
    lot: float = 1.0
    min_qty: float = 0.0
    min_notional: float = 0.0
    multiplier: float = 1.0
    margin: float = 1.0
    shortable: bool = True
    calendar: str = ""
    unit: float = 0.0
    flips: bool = True

    def __post_init__(self) -> None:
        for name in ("tick", "lot", "multiplier"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(
                    f"{self.symbol}: {name} must be a positive finite number, got {value}"
                )
        for name in ("min_qty", "min_notional", "unit"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{self.symbol}: {name} must not be negative, got {value}")
        if not 0 < self.margin <= 1:
            raise ConfigError(f"{self.symbol}: margin must lie in (0, 1], got {self.margin}")

    @classmethod
    def default(cls, symbol: str) -> Instrument:
        """Return the usual rules: whole shares and cents, or 1e-8 of a pair like ``BTC/USDT``."""
        if "/" in symbol:
            return cls(symbol, tick=1e-8, lot=1e-8)
        return cls(symbol)

    def round_qty(self, qty: float) -> float:
        """Return the quantity rounded towards zero to whole lots."""
        if self.lot == 1.0:
            return float(int(qty + _SLACK if qty > 0.0 else qty - _SLACK))
        lots = math.floor(abs(qty) / self.lot + _SLACK)
        return math.copysign(on_grid(lots, self.lot), qty) if lots else 0.0

    def snap_qty(self, qty: float) -> float:
        """Return the nearest quantity on the grid: takes off what float sums leave behind."""
        step = self.unit or self.lot
        if step == 1.0:
            return float(round(qty))
        steps = round(qty / step)
        return on_grid(steps, step) if steps else 0.0

    def round_price(self, price: float, side: str = "") -> float:
        """Return the price on the tick grid, never worse for the trader than was asked.

        A buy rounds down, a sell up; without a side to the nearest tick.
        """
        ticks = price / self.tick
        if side == "buy":
            count = math.floor(ticks + _SLACK)
        elif side == "sell":
            count = math.ceil(ticks - _SLACK)
        else:
            count = round(ticks)
        return on_grid(count, self.tick)


class Instruments(dict[str, Instrument]):
    """Trading rules by symbol; the usual ones where none were given."""

    def __missing__(self, symbol: str) -> Instrument:
        rules = self[symbol] = Instrument.default(symbol)
        return rules


def on_grid(count: int, step: float) -> float:
    """Return ``count`` steps as the float nearest to the exact decimal product.

    >>> on_grid(3, 0.1), 3 * 0.1
    (0.3, 0.30000000000000004)
    """
    per_unit = 1.0 / step
    whole = round(per_unit)
    if whole >= 1 and abs(per_unit - whole) < 1e-9 * whole:
        return count / whole  # one correctly rounded division
    if step.is_integer():
        return count * step
    return float(count * Decimal(repr(step)))
