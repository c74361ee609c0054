"""An entry with its exits: what may be asked for, and what other orders must leave to them.

Invariants, each a property test:

1. of the exits of one entry at most one fills, and none before its entry has filled whole;
2. an exit never takes a position through zero: no other order may take off what exits are for;
3. exits count for nothing in the limits: they can only take off what their entry has brought;
4. what closes a position waits until its exits are over, so that both cannot fill.

The venue holds the exits, and they stand when the process dies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regimeflow.engine.admission import put_on_grid
from regimeflow.engine.limits import Denial
from regimeflow.model.events import STOP_LOSS, TAKE_PROFIT
from regimeflow.model.order import Order

if TYPE_CHECKING:
    from regimeflow.engine.desk import Desk

_NAMES = {TAKE_PROFIT: "take_profit", STOP_LOSS: "stop_loss"}


def exits_for(entry: Order, take_profit: float | None, stop_loss: float | None) -> list[Order]:
    """Return the orders that take off what an entry will have brought."""
    made = []
    for suffix, limit, stop in ((TAKE_PROFIT, take_profit, None), (STOP_LOSS, None, stop_loss)):
        if limit is stop is None:
            continue
        order = Order(
            entry.id + suffix, entry.symbol, "sell" if entry.sign > 0 else "buy", entry.qty,
            "stop" if limit is None else "limit", limit, stop, entry.tif, 0, True, entry.tag,
            entry.created, entry.seq, entry.decision_price, entry.created,
        )  # fmt: skip
        made.append(order)
    return made


def check_entry(desk: Desk, entry: Order, exits: list[Order]) -> Denial | None:
    """Return why an entry must not leave with these exits, or None; puts their prices on grid."""
    if entry.reduce_only:
        return Denial("bracket", "a reduce-only order takes off a position and has no exits")
    if entry.tif not in ("day", "gtc"):
        return Denial("bracket", f"an order with exits is 'day' or 'gtc', not {entry.tif!r}")
    for order in exits:
        denial = put_on_grid(order, desk.instruments[order.symbol])
        if denial is not None:
            return Denial(denial.check, f"{_NAMES[order.id[-1]]}: {denial.reason}")
    at = entry.limit or entry.stop or entry.decision_price
    denial = check_sides(entry.sign, exits, at)
    if denial is not None:
        return denial
    symbol = entry.symbol
    if free(desk, symbol, entry.sign) < -1e-12:
        why = f"an order with exits opens or adds, and {symbol} is held or ordered the other way"
        return Denial("bracket", why)
    if any(order.cancel_pending for order in desk.exits.get(symbol, {}).values()):
        return Denial("bracket", f"exits of {symbol} are being canceled: wait until they are over")
    return None


def check_sides(sign: float, exits: list[Order], at: float = 0.0) -> Denial | None:
    """Deny exits on the wrong side of a price, or of each other; ``sign`` is their entry's."""
    prices = {order.id[-1]: order.limit or order.stop or 0.0 for order in exits}
    profit, loss = prices.get(TAKE_PROFIT), prices.get(STOP_LOSS)
    above, below = ("above", "below") if sign > 0 else ("below", "above")
    if at and profit is not None and (profit - at) * sign <= 0.0:
        return Denial("bracket", f"take_profit {profit:g} must lie {above} {at:g}")
    if at and loss is not None and (at - loss) * sign <= 0.0:
        return Denial("bracket", f"stop_loss {loss:g} must lie {below} {at:g}")
    if profit is not None and loss is not None and (profit - loss) * sign <= 0.0:
        return Denial("bracket", f"take_profit {profit:g} must lie {above} stop_loss {loss:g}")
    return None


def check_free(desk: Desk, order: Order) -> Denial | None:
    """Deny an order that would take off what exits are for."""
    exits = desk.exits.get(order.symbol)
    if not exits or next(iter(exits.values())).sign != order.sign:
        return None
    left = max(free(desk, order.symbol, -order.sign), 0.0)
    if order.qty <= left + 1e-12:
        return None
    return Denial(
        "bracket",
        f"{order.qty:g} is more than the {left:g} {order.symbol} that no exit is for: cancel the "
        "exits first, or use ctx.close or ctx.target",
    )


def free(desk: Desk, symbol: str, sign: float) -> float:
    """Return the units held, ``sign`` for long or short, that no exit and no other order is for."""
    position = desk.ledger.held.get(symbol)
    units = position.qty * sign if position is not None else 0.0
    brought: dict[str, float] = {}
    for order in desk.working.get(symbol, {}).values():
        entry = order.parent
        if order.sign == sign:
            continue
        if not entry:
            units -= order.remaining
        elif entry in brought:
            continue
        else:
            brought[entry] = desk.orders[entry].filled - _taken(desk, entry)
    return units - sum(brought.values())


def _taken(desk: Desk, entry: str) -> float:
    exits = (desk.orders.get(entry + suffix) for suffix in (TAKE_PROFIT, STOP_LOSS))
    return sum(order.filled for order in exits if order is not None)
