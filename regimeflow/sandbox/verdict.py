"""What must hold after a session has met every fault: its beliefs against the exchange's books."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from regimeflow.engine.desk import ACTIVE
from regimeflow.engine.engine import Engine
from regimeflow.engine.reconcile import Snapshot, reconcile
from regimeflow.journal import events
from regimeflow.model.events import Fill, Input, Output, Replace, StateChanged, Submit
from regimeflow.model.models import Limits
from regimeflow.model.order import Status
from regimeflow.session.certify import state_digest
from regimeflow.session.fold import Fold
from regimeflow.venues.gateway import Gateway

if TYPE_CHECKING:
    from regimeflow.sandbox.exchange import Exchange
    from regimeflow.sandbox.simulation import _World

_CENT = 0.01
Recorded = list[tuple[int, Input, list[Output]]]


def judge(world: _World, engine: Engine, gateway: Gateway) -> list[str]:
    """Return everything that must not be, one sentence each."""
    recorded = list(events(world.run_dir))
    world.counts["events"] = len(recorded)
    world.counts["orders"] = len(world.exchange.orders)
    world.counts["fills"] = len(world.exchange.fills)
    world.counts["exits"] = sum(bool(o.entry and o.filled) for o in world.exchange.orders.values())
    world.counts["denied"] = sum(o.status == Status.DENIED for o in engine.desk.orders.values())
    return [
        *_sent_once(world.exchange),
        *_all_tracked(world.exchange, recorded),
        *_fills_exact(world.exchange, engine),
        *_money_exact(world, engine),
        *_ends_agree(world.exchange, engine),
        *_exits_held(world),
        *_limits_held(world.exchange, world.start.limits, overfilled="overfill" in world.unasked),
        *_halts_held(recorded),
        *_in_order(recorded),
        *_open_again(world),
        *_nothing_left(world.exchange, engine, gateway),
        *_comes_out_again(world, engine, recorded),
    ]


def why_not_open(gateway: Gateway) -> str:
    """Return why nothing new may be risked, or an empty text."""
    engine = gateway._engine
    why = [f"{source} {symbol}: {text}" for (source, symbol), text in sorted(engine.holds.items())]
    if engine.desk.state != ACTIVE:
        why.append(f"trading is {engine.desk.state}")
    if gateway.outbox.unknown:
        why.append(f"{gateway.outbox.unknown} orders are unknown")
    return "; ".join(why)


def _sent_once(exchange: Exchange) -> Iterator[str]:
    seen: set[str] = set()
    for entry in exchange.record:
        if entry.kind == "submit":
            if entry.order_id in seen:
                yield f"order {entry.order_id} was sent twice"
            seen.add(entry.order_id)


def _all_tracked(exchange: Exchange, recorded: Recorded) -> Iterator[str]:
    written = {o.order_id: o for _, _, out in recorded for o in out if isinstance(o, Submit)}
    for entry in exchange.record:
        if entry.kind == "submit" and written.get(entry.order_id) != entry.detail:
            yield f"order {entry.order_id} reached the exchange otherwise than it was recorded"


def _ours(exchange: Exchange) -> dict[str, Fill]:
    return {f.execution_id: f for f in exchange.fills if f.order_id in exchange.orders}


def _fills_exact(exchange: Exchange, engine: Engine) -> Iterator[str]:
    theirs, ours = _ours(exchange), engine.desk.executions.keys()
    for name in sorted(theirs.keys() - ours):
        yield f"execution {name} of {theirs[name].order_id} was never booked"
    for name in sorted(ours - theirs.keys()):
        yield f"execution {name} was booked and never happened"
    filled: dict[str, Decimal] = {}
    for fill in theirs.values():
        filled[fill.order_id] = filled.get(fill.order_id, Decimal(0)) + Decimal(str(fill.qty))
    for order in engine.desk.orders.values():
        there = filled.get(order.id, Decimal(0))
        if Decimal(str(order.filled)) != there:
            yield f"order {order.id} has {order.filled:g} filled here and {there} there"


def _money_exact(world: _World, engine: Engine) -> Iterator[str]:
    cash, held = world.exchange.start_cash, dict.fromkeys(world.exchange.rules, Decimal(0))
    for fill in _ours(world.exchange).values():
        signed = Decimal(str(fill.qty)) * (1 if fill.side == "buy" else -1)
        cash -= signed * Decimal(str(fill.price)) + Decimal(str(fill.fee))
        held[fill.symbol] += signed
    ledger = engine.desk.ledger
    if abs(Decimal(ledger.cash) - cash) > Decimal(_CENT):
        yield f"there are {ledger.cash:.4f} of cash here and {cash} there"
    for symbol, qty in held.items():
        here = ledger.snapshot().get(symbol, 0.0)
        if Decimal(str(here)) != qty:
            yield f"{here:g} {symbol} are held here and {qty} there"


def _ends_agree(exchange: Exchange, engine: Engine) -> Iterator[str]:
    for order in engine.desk.orders.values():
        there = exchange.orders.get(order.id)
        if there is None:
            if order.status not in (Status.DENIED, Status.REJECTED):
                yield f"order {order.id} is {order.status} here and unknown there"
        elif order.status != there.status:
            yield f"order {order.id} is {order.status} here and {there.status} there"
    for name in exchange.orders:
        if name not in engine.desk.orders and not name.startswith("hand-"):
            yield f"order {name} is at the exchange and not in our books"


def _limits_held(exchange: Exchange, limits: Limits, *, overfilled: bool) -> Iterator[str]:
    """Go through the record with the simplest books there can be."""
    held = dict.fromkeys(exchange.rules, 0.0)
    open_: dict[str, list[float]] = {}  # order -> sign, units left
    filled: dict[str, float] = {}
    symbols: dict[str, str] = {}
    left: dict[str, list[int]] = {"second": [], "minute": []}
    for entry in exchange.record:
        request = entry.detail
        if entry.kind in ("submit", "replace"):
            yield from _rate(left, request, limits)
        if entry.kind == "fill" and entry.order_id:
            sign = 1.0 if request.side == "buy" else -1.0
            held[request.symbol] += sign * request.qty
            filled[entry.order_id] = filled.get(entry.order_id, 0.0) + request.qty
            if entry.order_id in open_:
                open_[entry.order_id][1] -= request.qty
        elif entry.kind == "submit" and isinstance(request, Submit):
            symbols[request.order_id] = request.symbol
            open_[request.order_id] = [1.0 if request.side == "buy" else -1.0, request.qty]
            price = request.limit or request.stop
            if price and request.qty * price > (limits.max_notional or 0.0) + _CENT:
                yield f"order {request.order_id} is worth more than may be"
        elif entry.kind == "replaced" and entry.order_id in open_:  # exits count for nothing
            open_[entry.order_id][1] = request["qty"] - filled.get(entry.order_id, 0.0)
        elif entry.kind in ("canceled", "expired", "rejected", "refused"):
            open_.pop(entry.order_id, None)
        if entry.kind in ("submit", "replaced") and entry.order_id in open_ and not overfilled:
            yield from _worst(entry.order_id, held, open_, symbols, limits)


def _exits_held(world: _World) -> Iterator[str]:
    """Exits fill after the whole of their entry, take off no more than it brought, and never take
    a position through zero."""
    exchange = world.exchange
    held = dict.fromkeys(exchange.rules, Decimal(0))
    taken: dict[str, Decimal] = {}
    for entry in exchange.record if "overfill" not in world.unasked else ():
        if entry.kind != "fill" or not entry.order_id:
            continue
        signed = Decimal(str(entry.detail.qty)) * (1 if entry.detail.side == "buy" else -1)
        before = held[entry.detail.symbol]
        held[entry.detail.symbol] += signed
        parent = exchange.orders[entry.order_id].entry
        if not parent:
            continue
        taken[parent] = taken.get(parent, Decimal(0)) + abs(signed)
        if exchange.orders[parent].filled < exchange.orders[parent].qty:
            yield f"exit {entry.order_id} filled before its entry had"
        if taken[parent] > exchange.orders[parent].qty:
            yield f"exits of {parent} took off more than it brought"
        if before * signed >= 0 or abs(signed) > abs(before):
            yield f"exit {entry.order_id} took a position through zero"


def _rate(left: dict[str, list[int]], request: Submit | Replace, limits: Limits) -> Iterator[str]:
    for name, length_ns, most in (
        ("second", 10**9, limits.max_orders_per_second),
        ("minute", 60 * 10**9, limits.max_orders_per_minute),
    ):
        left[name] = [at for at in left[name] if at > request.seen - length_ns]
        left[name].append(request.seen)
        # Entries and exits have a lane each; which is whose only the session's own books tell.
        if most is not None and len(left[name]) > 2 * most:
            yield f"order {request.order_id} was one too many within a {name}"


def _worst(
    name: str,
    held: dict[str, float],
    open_: dict[str, list[float]],
    symbols: dict[str, str],
    limits: Limits,
) -> Iterator[str]:
    symbol, sign = symbols[name], open_[name][0]
    alike = [qty for order, (way, qty) in open_.items() if symbols[order] == symbol and way == sign]
    worst = sign * held[symbol] + sum(alike)
    if limits.max_position is not None and worst > limits.max_position:
        yield f"with order {name} the position of {symbol} could become {worst:g}"
    count = sum(qty > 0.0 for _, qty in open_.values())
    if limits.max_open_orders is not None and count > limits.max_open_orders:
        yield f"with order {name} there were {count} working orders"


def _halts_held(recorded: Recorded) -> Iterator[str]:
    """After a halt nothing is sent until trading is active again."""
    halted = False
    for seq, _, outputs in recorded:
        for output in outputs:
            if isinstance(output, StateChanged) and not output.symbol:
                halted = output.after == "halted"
            elif halted and isinstance(output, Submit | Replace):
                yield f"event {seq}: order {output.order_id} was sent while trading was halted"


def _in_order(recorded: Recorded) -> Iterator[str]:
    before = -1
    for count, (seq, event, _) in enumerate(recorded, 1):
        if seq != count:
            yield f"event {count} is missing from the journal"
        if event.seen <= before:
            yield f"event {seq} was let in at {event.seen}, not after {before}"
        before = event.seen


def _open_again(world: _World) -> Iterator[str]:
    if world.open_at_end and "overfill" not in world.unasked:
        yield f"trading did not open again: {world.open_at_end}"


def _nothing_left(exchange: Exchange, engine: Engine, gateway: Gateway) -> Iterator[str]:
    """One more look at the exchange must show nothing that is not known."""
    desk = engine.desk
    stays = {o.id for group in desk.working.values() for o in group.values() if desk.protects(o)}
    working = [order.id for order in exchange.working() if order.id and order.id not in stays]
    if working:
        yield f"orders work on after the stop: {', '.join(working)}"
    if not desk.settled:
        yield f"orders are open here after the stop: {desk.working}"
    looked_up = [exchange.order(name) for name in engine.desk.orders if name in exchange.orders]
    snapshot = Snapshot(
        asked_at=gateway.runtime.now() + 1,
        working=exchange.open_orders(),
        looked_up=looked_up,
        fills=exchange.executions(0),
        positions=exchange.positions(),
    )
    found = reconcile(gateway.comparing.books(), snapshot)
    for event in found.events:
        yield f"one more look tells something new: {event}"
    for name in (*found.look_up, *found.incomplete):
        yield f"one more look leaves a question about order {name}"
    for symbol, why in found.unmatched.items():
        yield f"{symbol} does not match: {why}"


def _comes_out_again(world: _World, engine: Engine, recorded: Recorded) -> Iterator[str]:
    """The journal alone must lead to the same state."""
    again = world.engine()
    fold = Fold(again, world.gateway_of(again), ())
    for seq, event, outputs in recorded:
        fold.take(seq, event, outputs)
    if state_digest(again) != state_digest(engine):
        yield "the journal leads to another state than the session had"


__all__ = ["judge", "state_digest", "why_not_open"]
