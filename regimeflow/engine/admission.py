"""What is asked of every intent before the limits are: numbers, grid, trading state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regimeflow.engine.limits import Denial, finite
from regimeflow.engine.trading import HALTED
from regimeflow.errors import OrderError
from regimeflow.model.instrument import Instrument
from regimeflow.model.order import Order

if TYPE_CHECKING:
    from regimeflow.engine.desk import Desk

FAR = 1e200  # beyond this, counting ticks or lots would overflow
_TIFS = ("day", "gtc", "ioc", "fok", "gtd")


def checked_tif(tif: str | None, expire_at: int | None) -> str:
    """Return how long an order is to live, or refuse what says two things."""
    if tif is None:
        return "gtd"
    if tif not in _TIFS:
        raise OrderError(f"tif must be one of {', '.join(_TIFS)}, not {tif!r}")
    if (tif == "gtd") != bool(expire_at):
        raise OrderError("tif='gtd' and expire_at= go together")
    return tif


def put_on_grid(order: Order, instrument: Instrument) -> Denial | None:
    """Round an order's numbers to the instrument's grid; deny it where they cannot be."""
    for name in ("qty", "limit", "stop"):
        value = getattr(order, name)
        if value is None and name != "qty":
            continue
        number = finite(value)
        if number is None or not 0.0 < number < FAR:
            return Denial("finite", f"{name} must be a positive finite number, got {value!r}")
        if name == "qty":
            order.qty = instrument.round_qty(number)
        elif name == "limit":
            order.limit = instrument.round_price(number, order.side)
        else:
            order.stop = instrument.round_price(number)
        if name != "qty" and not getattr(order, name) > 0.0:
            return Denial("grid", f"{name} {number:g} is less than one tick")
    if order.qty <= 0.0:
        return less_than_a_lot(instrument)
    if order.qty < instrument.min_qty:
        return Denial("grid", f"{order.qty:g} is below the smallest order {instrument.min_qty:g}")
    if instrument.min_notional:
        price = order.limit or order.stop or order.decision_price
        if order.qty * price * instrument.multiplier < instrument.min_notional:
            return Denial(
                "grid",
                f"the order is worth less than {instrument.min_notional:g}, the smallest",
            )
    return None


def less_than_a_lot(instrument: Instrument) -> Denial:
    """Return why a quantity that rounds to nothing is no order."""
    lot = f"{instrument.lot:g} {instrument.symbol}"
    return Denial("grid", f"the quantity is less than one lot of {lot}")


def check_state(desk: Desk, order: Order) -> Denial | None:
    """Deny what the trading state does not let leave."""
    if desk.state == HALTED:
        return Denial("trading_state", "trading is halted; only cancels leave until resume")
    held = desk.ledger.position(order.symbol).qty
    buys, sells = desk.working_qty(order.symbol)
    room = -held - buys if order.sign > 0 else held - sells
    if order.qty > room + 1e-12:
        return Denial("trading_state", "trading is reducing; only exits leave")
    return None


def check_flips(desk: Desk, order: Order, reducing: float) -> Denial | None:
    """Deny what would turn a position in one go, where the venue takes no such order.

    Args:
        desk: whose positions are meant.
        order: opens something, and may close something besides.
        reducing: units of it that close what is held or on its way.
    """
    held = desk.ledger.position(order.symbol).qty
    if not reducing and held * order.sign >= 0.0:
        return None
    before, after = ("long", "short") if order.sign < 0 else ("short", "long")
    return Denial(
        "flip",
        f"the venue turns no position of {order.symbol} from {before} to {after} in one order: "
        "leave it first",
    )


def check_reduces(desk: Desk, order: Order) -> Denial | None:
    """Deny a reduce-only order of more than its position leaves to take off."""
    held = desk.ledger.position(order.symbol).qty
    room = -held * order.sign
    for other in desk.working.get(order.symbol, {}).values():
        if other.sign == order.sign and not other.cancel_pending:
            room -= other.remaining
    if order.qty > room + 1e-12:
        return Denial(
            "reduce_only", f"{order.qty:g} is more than the {max(room, 0.0):g} left to take off"
        )
    return None
