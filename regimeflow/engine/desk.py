"""The order path: from an intent to a request, and from what the venue says to the ledger.

Invariants:

1. nothing leaves that has not passed the gate, and a denied intent is an order with its reason;
2. a client order id is made once per intent and never used again;
3. an order ends only on evidence from the venue; a fill is booked once per execution id, whatever
   the order's state, and position and cash follow from fills alone;
4. ``reserved`` is the buying power held back by all working orders, and is zero without any;
5. what holds of an entry with its exits: see `regimeflow.engine.brackets`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from regimeflow.engine.admission import (
    FAR,
    check_flips,
    check_reduces,
    check_state,
    checked_tif,
    less_than_a_lot,
    put_on_grid,
)
from regimeflow.engine.brackets import check_entry, check_free, check_sides, exits_for
from regimeflow.engine.limits import Denial, Gate, finite
from regimeflow.engine.trading import ACTIVE, HALTED, REDUCING
from regimeflow.model.events import (
    Cancel,
    Denied,
    Fill,
    Input,
    OrderUpdate,
    Output,
    Replace,
    Submit,
)
from regimeflow.model.instrument import Instrument, Instruments
from regimeflow.model.ledger import Ledger
from regimeflow.model.market import Bar
from regimeflow.model.models import Costs, Limits
from regimeflow.model.order import TERMINAL, Happening, Order, Status
from regimeflow.model.text import whole_text

_TYPES = {
    (False, False): "market",
    (True, False): "limit",
    (False, True): "stop",
    (True, True): "stop_limit",
}
_NONE: dict[str, Order] = {}


class MarketView(Protocol):
    """What the desk needs to know of the engine's present.

    Attributes:
        event, seq: what is being handled, and its number.
        out: where its outputs go.
    """

    event: Input
    seq: int
    out: list[Output]

    @property
    def held_back(self) -> frozenset[str]:
        """Symbols for which only exits may leave."""

    def price(self, symbol: str) -> float:
        """Return the last price, 0.0 if there is none yet."""

    def price_ts(self, symbol: str) -> int:
        """Return when the last price was made."""


class Desk:
    """Orders, positions and cash of one engine."""

    def __init__(
        self,
        *,
        prefix: str,
        ledger: Ledger,
        instruments: Instruments,
        costs: Costs,
        limits: Limits,
        market: MarketView,
        default_tif: Callable[[str], str],
    ) -> None:
        self.ledger = ledger
        self.instruments = instruments
        self.costs = costs
        self.state = ACTIVE
        self.orders: dict[str, Order] = {}
        self.working: dict[str, dict[str, Order]] = {}
        #: Those of them that are exits of an entry.
        self.exits: dict[str, dict[str, Order]] = {}
        self.reserved = 0.0
        self.gate = Gate(limits, self)
        self.limits = limits
        #: Ids of what is booked, in order.
        self.executions: dict[str, None] = {}
        #: The venue's order id -> ours.
        self.venue_ids: dict[str, str] = {}
        self.peak_equity = 0.0
        self.day_equity = 0.0
        self._market = market
        self._prefix = prefix
        self._made = 0
        # Order id -> total quantity and reserve per unit that were asked for, and what that holds
        # back beyond the order as it stands; until the venue answers.
        self._asked: dict[str, tuple[float, float, float]] = {}
        self._default_tif = default_tif
        self._tifs: dict[str, str] = {}
        bps = costs.rate_bps("taker") + costs.taker_shift_bps()
        self.cost_rate = bps * 1e-4
        self._per_share = costs.per_share
        self.fixed_cost = max(costs.per_order, costs.minimum)

    # ------------------------------------------------------------ what others ask

    @property
    def now(self) -> int:
        """When the current event was let in, UTC nanoseconds."""
        return self._market.event.seen

    def data_age_ns(self, symbol: str) -> int:
        """Return how old a symbol's last price is."""
        return self._market.event.seen - self._market.price_ts(symbol)

    def equity(self) -> float:
        """Return cash plus positions at last prices, money."""
        return self.ledger.equity(self._market.price)

    def buying_power(self) -> float:
        """Return the money that new orders may still take.

        Cash, plus what positions on margin leave free, less what shorts and working orders hold
        back: a short of value v takes its proceeds and as much again times the margin.
        """
        power = self.ledger.cash - self.reserved
        for symbol, position in self.ledger.levered.items():
            instrument = position.instrument
            value = position.qty * self._market.price(symbol) * instrument.multiplier
            power += value - instrument.margin * abs(value)
        return power

    def working_qty(self, symbol: str) -> tuple[float, float]:
        """Return the units still to be bought and sold by working orders, unknown ones included.

        Exits are not counted: they only take off what their entry will have brought.
        """
        buys = sells = 0.0
        exits = self.exits.get(symbol, _NONE)
        for order in self.working.get(symbol, _NONE).values():
            if order.id in exits:
                continue
            qty = order.qty
            if order.replace_pending and order.id in self._asked:
                qty = max(qty, self._asked[order.id][0])
            if order.sign > 0:
                buys += qty - order.filled
            else:
                sells += qty - order.filled
        return buys, sells

    def worst_exposure(self, extra: Order, price: float) -> tuple[float, float, float]:
        """Return gross, long and short exposure at their worst once ``extra`` works, money.

        Worst for a symbol is all its buys filling and no sell, or the reverse.
        """
        gross = longest = shortest = 0.0
        symbols = {*self.ledger.held, *self.working, extra.symbol}
        for symbol in sorted(symbols):
            position = self.ledger.position(symbol)
            buys, sells = self.working_qty(symbol)
            at = self._market.price(symbol) or position.average_price
            if symbol == extra.symbol:
                at = max(at, price)
                if extra.sign > 0:
                    buys += extra.qty
                else:
                    sells += extra.qty
            unit = at * position.instrument.multiplier
            high, low = (position.qty + buys) * unit, (position.qty - sells) * unit
            gross += max(abs(high), abs(low))
            longest += high
            shortest += low
        return gross, longest, shortest

    def loss_breach(self) -> tuple[str, str] | None:
        """Return which loss limit is broken and a sentence, or None."""
        limits = self.limits
        equity = self.equity()
        most, peak = limits.max_drawdown, self.peak_equity
        if most is not None and equity < peak * (1 - most):
            fallen = 1 - equity / peak
            return "max_drawdown", f"{fallen:.2%} below the peak {peak:.2f}, {most:.2%} is allowed"
        lost = self.day_equity - equity
        if limits.daily_loss is not None and lost > limits.daily_loss:
            return ("daily_loss", f"{lost:.2f} lost today, {limits.daily_loss:.2f} is allowed")
        if limits.daily_loss_pct is not None and lost > limits.daily_loss_pct * self.day_equity:
            share = lost / self.day_equity
            allowed = limits.daily_loss_pct
            return "daily_loss_pct", f"{share:.2%} of equity lost today, {allowed:.2%} is allowed"
        return None

    def dust(self, symbol: str) -> bool:
        """Whether so little is held that the venue takes no order for it."""
        position = self.ledger.held.get(symbol)
        if position is None:
            return True
        rules = self.instruments[symbol]
        qty = rules.round_qty(abs(position.qty))
        if qty == 0.0 or qty < rules.min_qty:
            return True
        return 0.0 < qty * self._market.price(symbol) * rules.multiplier < rules.min_notional

    @property
    def flat(self) -> bool:
        """Whether nothing works, and nothing is held that an order could sell or buy back."""
        return not self.working and all(map(self.dust, self.ledger.held))

    def protects(self, order: Order) -> bool:
        """Whether an order is an exit whose entry has filled: without it a position is alone."""
        return bool(order.parent) and self.orders[order.parent].status is Status.FILLED

    @property
    def settled(self) -> bool:
        """Whether nothing works but exits that protect a position."""
        return all(self.protects(o) for group in self.working.values() for o in group.values())

    # ------------------------------------------------------------ intents

    def submit(
        self,
        symbol: str,
        sign: float,
        qty: float,
        limit: float | None = None,
        stop: float | None = None,
        tif: str | None = None,
        expire_at: int | None = None,
        reduce_only: bool = False,
        tag: str = "",
        *,
        take_profit: float | None = None,
        stop_loss: float | None = None,
        exit_: bool = False,
    ) -> Order:
        """Make an order of an intent and send it, or deny it with the reason.

        Exits are orders too, made and sent with it; they outlive the day unless ``tif`` says so.
        ``exit_`` marks the engine's own exits, which pass every limit but finite numbers, grid and
        the rate of exits.
        """
        alone = take_profit is None and stop_loss is None
        if tif is None and not expire_at:
            tif = (
                "gtc"
                if not alone
                else self._tifs.get(symbol)
                or self._tifs.setdefault(symbol, self._default_tif(symbol))
            )
        else:
            tif = checked_tif(tif, expire_at)
        market = self._market
        event, seq = market.event, market.seq
        if event.__class__ is Bar and event.symbol == symbol:
            last = event.close
        else:
            last = market.price(symbol)
        if tag:
            tag = whole_text(str(tag))
        self._made += 1
        id_ = f"{self._prefix}{self._made}"
        side = "buy" if sign > 0.0 else "sell"
        type_ = "market" if limit is stop is None else _TYPES[limit is not None, stop is not None]
        now, gate = event.seen, self.gate
        if type(qty) is int and -FAR < qty < FAR:
            qty = float(qty)
        self.orders[id_] = order = Order(
            id_,
            symbol,
            side,
            qty,
            type_,
            limit,
            stop,
            tif,
            expire_at or 0,
            reduce_only,
            tag,
            now,
            seq,
            last,
            now,
        )
        instrument = self.instruments[symbol]
        if (
            type_ == "market"
            and qty.__class__ is float
            and 0.0 < qty < FAR
            and last > 0.0
            and self.state == ACTIVE
            and not (reduce_only or exit_ or gate.active or market.held_back or self.exits)
            and alone
            and not (instrument.min_qty or instrument.min_notional)
        ):  # the usual case: of all that `_check` asks only this is left
            order.qty = qty = instrument.round_qty(qty)
            denial = (
                self._check_affordable(order, last, instrument)
                if qty
                else less_than_a_lot(instrument)
            )
        else:
            denial = self._check(order, last, exit_)
            qty = order.qty
        exits = [] if alone else exits_for(order, take_profit, stop_loss)
        if denial is None and exits:
            denial = check_entry(self, order, exits)
        if denial is not None:
            self._deny(order, denial)
            return order
        order.status = Status.SENT
        order.story = (now, "sent", "")
        if symbol in self.working:
            self.working[symbol][id_] = order
        else:
            self.working[symbol] = {id_: order}
        self.reserved += order.reserve * qty
        if gate.active:
            gate.sent(order)
        elif exit_ or reduce_only:
            order.as_exit = True
        request = Submit(
            seq,
            now,
            id_,
            symbol,
            side,
            qty,
            type_,
            order.limit,
            order.stop,
            tif,
            order.expire_at,
            reduce_only,
            tag,
        )
        if exits:
            request = self._file_exits(request, exits)
        market.out.append(request)
        return order

    def _file_exits(self, request: Submit, exits: Sequence[Order]) -> Submit:
        """Let exits work with their entry; return its request with their prices."""
        prices: dict[str, float | None] = {}
        for order in exits:
            order.move(Happening.SENT, order.created)
            order.as_exit = True
            self.orders[order.id] = self.working[order.symbol][order.id] = order
            self.exits.setdefault(order.symbol, {})[order.id] = order
            if order.limit is None:
                prices["stop_loss"] = order.stop
            else:
                prices["take_profit"] = order.limit
        return msgspec.structs.replace(request, **prices)

    def cancel(self, order: Order) -> None:
        """Ask the venue to cancel; nothing is asked twice, nor of an order that is over."""
        if not order.working or order.cancel_pending:
            return
        order.cancel_pending = True
        order.note(self._market.event.seen, "cancel asked", "")
        self._market.out.append(Cancel(self._market.seq, self._market.event.seen, order.id))

    def replace(
        self,
        order: Order,
        qty: float | None = None,
        limit: float | None = None,
        stop: float | None = None,
    ) -> bool:
        """Ask the venue to change a working order; return whether the request left.

        A larger quantity or another price passes the gate like a new order. While an earlier
        cancel or replace is pending, or the order is unknown, nothing is sent.
        """
        if not order.working or order.cancel_pending or order.replace_pending:
            return False
        if order.status is Status.UNKNOWN:
            return False
        market = self._market
        probe = Order(
            order.id,
            order.symbol,
            order.side,
            order.qty if qty is None else qty,
            order.type,
            order.limit if limit is None else limit,
            order.stop if stop is None else stop,
            order.tif,
            order.expire_at,
            order.reduce_only,
            order.tag,
            market.event.seen,
            market.seq,
            market.price(order.symbol),
        )
        # Judged as if the old order were gone and only the unfilled part of the new one came.
        working = self.working[order.symbol]
        del working[order.id]
        held_back = order.reserve * order.remaining
        self.reserved -= held_back
        wanted = finite(probe.qty)
        if wanted is not None:  # else the gate says what is wrong with it
            probe.qty = wanted - order.filled
        denial = self._check_exit_change(probe, order, qty is not None) if self.exits else None
        denial = denial or self._check(probe, probe.decision_price, bool(probe.parent))
        working[order.id] = order
        self.reserved += held_back
        if denial is not None:
            order.note(market.event.seen, "replace denied", denial.reason)
            self._note_denied(probe, denial)
            return False
        if self.gate.active:
            self.gate.counted(order)
        order.replace_pending = True
        # A sum of two on the grid need not be on it, and the rest would never come to nothing.
        total = self.instruments[order.symbol].snap_qty(probe.qty + order.filled)
        order.asked_qty = total
        # Until the venue answers, the dearer and larger of the two may be what it works on.
        more = max(0.0, probe.reserve * probe.qty - held_back)
        self._asked[order.id] = (total, probe.reserve, more)
        self.reserved += more
        order.note(market.event.seen, "replace asked", "")
        market.out.append(
            Replace(
                market.seq,
                market.event.seen,
                order.id,
                total,
                probe.limit,
                probe.stop,
            )
        )
        return True

    def _check_exit_change(self, probe: Order, order: Order, resized: bool) -> Denial | None:
        """Of an entry and its exits the prices of the exits alone can be changed."""
        exits = self.exits.get(order.symbol, _NONE)
        entry = order.parent
        if not entry:
            if any(exit_.parent == order.id for exit_ in exits.values()):
                return Denial("bracket", "an order with exits cannot be changed: cancel it instead")
            return None
        if self.state == HALTED:
            return check_state(self, probe)
        if resized:
            return Denial("bracket", "an exit takes off what its entry brought: no other quantity")
        for name in ("limit", "stop"):
            if getattr(probe, name) is not None and finite(getattr(probe, name)) is None:
                return Denial("finite", f"{name} must be a positive finite number")
        other = [o for o in exits.values() if o.parent == entry and o.id != order.id]
        return check_sides(-order.sign, [probe, *other])

    def _check(self, order: Order, last: float, exit_: bool) -> Denial | None:
        """Finite numbers, grid, price, trading state, limits, affordability: in this order."""
        instrument = self.instruments[order.symbol]
        denial = put_on_grid(order, instrument)
        if denial is not None:
            return denial
        if not last > 0.0:
            return Denial("no_price", f"there is no price of {order.symbol} yet")
        if exit_:
            return self.gate.check_exit()
        if self.exits:
            denial = check_free(self, order)
            if denial is not None:
                return denial
        if order.reduce_only:
            denial = check_reduces(self, order)
            if denial is not None:
                return denial
        if self.state != ACTIVE or order.symbol in self._market.held_back:
            denial = check_state(self, order)
            if denial is not None:
                return denial
        price = order.limit or order.stop or last
        if self.gate.active:
            denial = self.gate.check(order, price)
            if denial is not None:
                return denial
        return self._check_affordable(order, price, instrument)

    def _check_affordable(
        self, order: Order, price: float, instrument: Instrument
    ) -> Denial | None:
        """Set what the order holds back, and deny it where that is more than there is."""
        symbol, qty, buys = order.symbol, order.qty, order.side == "buy"
        ledger = self.ledger
        projected = ledger.held[symbol].qty if symbol in ledger.held else 0.0
        if symbol in self.working:
            buying, selling = self.working_qty(symbol)
            projected += buying - selling
        against = -projected if buys else projected
        reducing = 0.0 if against <= 0.0 else min(qty, against)
        adding = qty - reducing
        if adding > 0.0 and not (buys or instrument.shortable):
            return Denial("borrow", f"{symbol} cannot be sold short")
        if adding > 0.0 and not instrument.flips:
            denial = check_flips(self, order, reducing)
            if denial is not None:
                return denial
        value = price * instrument.multiplier
        cost = value * self.cost_rate + self._per_share
        needed = adding * value * instrument.margin + qty * cost
        if self.fixed_cost:
            needed += max(0.0, self.costs.per_order, self.costs.minimum - qty * cost)
        if reducing and order.limit is order.stop is None:
            # A market exit frees its proceeds for entries decided with it: both fill at one open.
            needed -= reducing * value * instrument.margin
        order.reserve = needed / qty
        if adding == 0.0:
            return None
        power = ledger.cash - self.reserved
        if needed > power or ledger.levered:
            power = self.buying_power()
        if needed > power and needed > power + 1e-9 * abs(power):
            return Denial("buying_power", f"it needs {needed:.2f} and {power:.2f} is there")
        return None

    def _deny(self, order: Order, denial: Denial) -> None:
        order.reason = denial.reason
        order.move(Happening.DENIED, self._market.event.seen, f"{denial.check}: {denial.reason}")
        self._note_denied(order, denial)

    def _note_denied(self, order: Order, denial: Denial) -> None:
        market = self._market
        market.out.append(
            Denied(
                market.seq,
                market.event.seen,
                order.id,
                order.symbol,
                order.side,
                finite(order.qty),
                denial.check,
                denial.reason,
                denial.retry_after_ms,
            )
        )

    # ------------------------------------------------------------ after a restart, and changes

    def go_on(self, prefix: str, never_sent: Sequence[str], limits: Limits | None) -> list[Order]:
        """Take up a run again; return the orders whose fate is now known to be unknown.

        Args:
            prefix: of client order ids from now on.
            never_sent: orders whose requests were not written down, and so never left.
            limits: in force from now on, or None for those from before.
        """
        self._prefix = prefix
        now = self._market.event.seen
        for order_id in never_sent:
            self.update(OrderUpdate(now, now, order_id, "never_sent", "the process ended first"))
        if limits is not None:
            self.limits = self.gate.limits = limits
            self.gate.choose()
        lost = [o for group in self.working.values() for o in group.values()]
        return [order for order in lost if order.status is Status.SENT]

    def cancel_entries(self, symbol: str) -> None:
        """Cancel a symbol's working orders, but for those that only take off what is held."""
        position = self.ledger.held.get(symbol)
        held = position.qty if position is not None else 0.0
        room = abs(held)
        for order in list(self.working.get(symbol, _NONE).values()):
            if order.parent:
                continue  # it ends with its entry, and else protects what that has brought
            if held * order.sign < 0.0 and order.remaining <= room + 1e-12:
                room -= order.remaining  # an exit: without it the position would stand alone
            else:
                self.cancel(order)

    def cancel_all(self, symbol: str = "", *, protection: bool) -> None:
        """Cancel working orders, of one symbol or of all.

        Args:
            protection: whether exits go too. Else those of a working entry are left to end with it,
                and those of one that has filled stay.
        """
        groups = self.working.values() if not symbol else [self.working.get(symbol, _NONE)]
        for order in [order for group in groups for order in group.values()]:
            entry = self.orders[order.parent] if order.parent else None
            if entry is None or protection or not (entry.working or entry.status is Status.FILLED):
                self.cancel(order)

    # ------------------------------------------------------------ what the venue says

    def update(self, event: OrderUpdate) -> Order | None:
        """Apply what the venue said; return the order if it is ours and something changed."""
        order = self.orders.get(event.order_id)
        if order is None:
            return None
        if event.venue_order_id:
            self.venue_ids[event.venue_order_id] = order.id
            order.venue_order_id = event.venue_order_id
        if event.what == "accepted":  # by far the most
            order.move(Happening.ACCEPTED, event.seen, event.reason)
            if self.gate.refusals and not order.parent:
                self.gate.accepted(order)
            return order
        held_back = order.reserve * order.remaining if order.working else 0.0
        unknown = order.status == Status.UNKNOWN
        order.on_update(event)
        if self._asked and not order.replace_pending:
            self._answered(order, event.what)
        # That a lost request is nowhere to be found is no answer to what it asked for.
        if event.what == "rejected" and not unknown and not order.parent:
            self.gate.refused(order, event.reason)
        if order.working:
            if event.what == "replaced":
                self.reserved += order.reserve * order.remaining - held_back
        elif order.id in self.working.get(order.symbol, _NONE):
            self.reserved -= held_back
            self._unfile(order)
        return order

    def fill(self, event: Fill) -> Order | None:
        """Book an execution; return its order, or None where it was booked before.

        An execution without an order of ours, or in another symbol than its order, is booked as
        well: it is a fact.
        """
        if event.execution_id in self.executions:
            return None
        self.executions[event.execution_id] = None
        qty = event.qty
        signed = qty if event.side == "buy" else -qty
        self.ledger.book(event.symbol, signed, event.price, event.fee)
        order = self.orders.get(event.order_id)
        if order is None or order.symbol != event.symbol:
            return None
        working = order.status not in TERMINAL
        if working:
            left = order.qty - order.filled
            done = event.executed if event.kept else qty
            if left > done:
                left = done
            self.reserved -= order.reserve * left
        whole = order.on_fill(event, self.instruments[order.symbol])
        if whole and working:
            if self._asked:
                self._answered(order, "filled")
            self._unfile(order)
        return order

    def _answered(self, order: Order, what: str) -> None:
        asked = self._asked.pop(order.id, None)
        if asked is not None:
            _, reserve, more = asked
            self.reserved -= more
            if what == "replaced":
                order.reserve = reserve

    def _unfile(self, order: Order) -> None:
        everything, symbol = self.working, order.symbol
        exits = self.exits.get(symbol)
        if exits is not None and exits.pop(order.id, None) is not None and not exits:
            del self.exits[symbol]
        working = everything.get(symbol)
        if working is not None:
            working.pop(order.id, None)
            if not working:
                del everything[symbol]
                if not everything:
                    self.reserved = 0.0  # sums of floats leave dust, an empty desk does not


__all__ = ["ACTIVE", "HALTED", "REDUCING", "Desk", "MarketView"]
