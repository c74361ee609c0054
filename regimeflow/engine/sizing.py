"""From a target to the order that moves a position there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regimeflow.model.order import Order, Status

if TYPE_CHECKING:
    from regimeflow.engine.desk import Desk


def move_to(desk: Desk, symbol: str, qty: float, slot: dict[str, Order]) -> Order | None:
    """Move a position towards ``qty`` units; return the new order, if one was made.

    Where the venue turns no position in one order it is left first, and goes on to the other side
    when it is asked to again. ``slot`` holds the last target order of each symbol.
    """
    working = slot.get(symbol)
    if working is not None and not working.working:
        working = None
    position = desk.ledger.positions.get(symbol)
    held = position.qty if position is not None else 0.0
    if held * qty < 0.0 and not desk.instruments[symbol].flips:
        qty = 0.0
    if working is None:
        change = qty - held
        if change == 0.0 or not desk.instruments[symbol].round_qty(change):
            return None
        order = desk.submit(symbol, 1.0 if change > 0 else -1.0, abs(change))
        if order.status is not Status.DENIED:
            slot[symbol] = order
        return order
    if working.status is not Status.OPEN or working.cancel_pending or working.replace_pending:
        return None
    change = qty - held
    if change == working.sign * working.remaining:
        return None
    if change * working.sign > 0.0:
        desk.replace(working, working.filled + abs(change))
    else:
        desk.cancel(working)
    return None


def change_towards(
    desk: Desk, symbol: str, value: float, price: float, *, feasible: bool = True
) -> float:
    """Return the signed units that bring a position closest to a value.

    Rounded towards no change, with room for costs. Where equity can carry the target
    (``feasible``), the change goes as far as buying power does, since a target is an aim; what
    equity cannot carry is left to the gate, which says so.
    """
    instrument = desk.instruments[symbol]
    unit = price * instrument.multiplier
    position = desk.ledger.positions.get(symbol)
    held = position.qty if position is not None else 0.0
    gap = value - held * unit
    against = held * gap < 0.0
    if against and abs(gap) <= abs(held) * unit:
        return instrument.round_qty(gap / unit)
    rate = desk.cost_rate + desk.costs.per_share / unit
    fixed = desk.fixed_cost
    units = max(0.0, abs(gap) - fixed) / (unit * (1.0 + rate))
    if feasible:
        # What goes against the position frees its margin before the rest takes some.
        closing = abs(held) if against else 0.0
        margin = instrument.margin
        power = desk.buying_power() + closing * unit * (margin - rate) - fixed
        units = min(units, closing + max(0.0, power) / (unit * (margin + rate)))
    return instrument.round_qty(units if gap > 0 else -units)
