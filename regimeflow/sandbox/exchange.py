"""An exchange in one object: orders, executions, its own books, and a record of all it was asked.

It knows no thread, socket or clock: whoever owns it says what time it is, moves its prices and
calls its methods, which are those of an adapter (`regimeflow.venues.port`). Money and units are
counted in decimal numbers by its own rules, so that it can judge what others counted.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from regimeflow.errors import NotThere, Refused
from regimeflow.model.events import Cancel, Fill, OrderUpdate, Replace, Submit, exits_of
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, History, Quote, Trade
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.model.venue import Holding, Payment, VenueOrder
from regimeflow.venues.port import Ack, Balances, Capabilities, Emit, Said

_ZERO = Decimal(0)
#: Orders of others, and trades by hand, are named by this.
HAND = "hand"
#: Trades of a symbol that are kept.
_TRADES = 1_000


#: Symbol, open, high, low, close and volume of a bar.
Row = tuple[str, float, float, float, float, float]


class Entry(msgspec.Struct, frozen=True):
    """One line of the record.

    Attributes:
        at: when, by the exchange's clock.
        kind: submit, cancel, replace, connect, close, subscribe for requests; accepted, refused,
            replaced, fill, canceled, expired for what became of them; corrected for an execution
            that came to something else; transfer for money; payment for what was held.
        order_id: the client's name of the order, "" without one.
        detail: the request, the execution, what an order was changed to, or a reason.
    """

    at: int
    kind: str
    order_id: str = ""
    detail: Any = None


class Working(msgspec.Struct):
    """An order as the exchange keeps it.

    ``entry`` is the client's name of the order whose exit it is, "" for one of its own; ``waits``:
    that has not filled whole yet.
    """

    id: str
    venue_id: str
    symbol: str
    buys: bool
    qty: Decimal
    type: str
    tif: str
    limit: Decimal | None
    stop: Decimal | None
    expire_at: int
    filled: Decimal = _ZERO
    spent: Decimal = _ZERO
    status: str = "open"
    triggered: bool = False
    ts: int = 0
    reason: str = ""
    hidden_until: int = 0
    entry: str = ""
    waits: bool = False

    @property
    def left(self) -> Decimal:
        """Units still to be filled."""
        return self.qty - self.filled


class Exchange:
    """An exchange with one account.

    Args:
        now: its clock, UTC nanoseconds.
        symbols: what it trades, by name or with its rules.
        seed: of prices and partial fills.
        cash: on the account.
        prices: symbol -> first price; 100 without one.
        fee_bps: of the notional, for every execution.
        timeframe: of its bars, nanoseconds.
        whole: how often an order that can fill does so in one piece, in 0..1.

    Attributes:
        shy_ns: a new order is shown to those who ask only after up to so long; it works before.
        name_order: count -> the exchange's own id of an order.
        name_execution: order, count -> id of an execution of it, which is counted in already.
        name_payment: symbol, count -> id of a payment for what is held of it.
        on_payment: is told of each payment.
        on_late: is told of each bar that came to something else after it was over.
        ids_for_ever: whether an order id is taken once and for all; else while its order works.
        exits_together: whether an exit that is canceled takes the other one with it.
        expires: whether it tells an order that has expired from one that was canceled.
        fee_in_units: whether a buyer pays the fee in what was bought.
        leverage: what may be held for one unit of equity; None: it is not looked at.
        recalled: whether its past and its prices are given, and nothing of them is made up.
    """

    name = "sandbox"
    paper = True

    def __init__(
        self,
        now: Callable[[], int],
        symbols: Sequence[str | Instrument] = ("AAA", "BBB"),
        *,
        seed: int = 0,
        cash: float = 100_000.0,
        prices: Mapping[str, float] | None = None,
        fee_bps: float = 1.0,
        timeframe: int = 60 * NS_PER_SECOND,
        whole: float = 0.6,
    ) -> None:
        self.capabilities = Capabilities(
            tifs=frozenset({"day", "gtc", "ioc", "fok", "gtd"}), brackets=True
        )
        self.rules = {
            rules.symbol: rules
            for rules in (Instrument.default(s) if isinstance(s, str) else s for s in symbols)
        }
        self.start_cash = self.cash = _exact(cash)
        self.fees = _ZERO
        self.held: dict[str, Decimal] = {}
        self.cost: dict[str, Decimal] = {}
        self.prices = {s: _exact((prices or {}).get(s, 100.0)) for s in self.rules}
        self.orders: dict[str, Working] = {}
        self.fills: list[Fill] = []
        self.paid: list[Payment] = []
        self.record: list[Entry] = []
        self._now = now
        self._seed = seed
        self._random = random.Random(seed)
        self._fee_rate = _exact(fee_bps) / 10_000
        self._whole = whole
        self.shy_ns = 0
        self.name_order: Callable[[int], str] = lambda count: f"V{count}"
        self.name_execution: Callable[[Working, int], str] = lambda _, count: f"X{count}"
        self.on_payment: Callable[[Payment], None] = lambda payment: None
        self.on_late: Callable[[Bar], None] = lambda bar: None
        self.name_payment: Callable[[str, int], str] = lambda _, count: f"F{count}"
        self.ids_for_ever = True
        self.fee_in_units = False
        self.exits_together = False
        self.expires = True
        self.recalled = False
        self.leverage: Decimal | None = None
        self.timeframe = timeframe
        self._bars: dict[str, list[Bar]] = {symbol: [] for symbol in self.rules}
        self._forming: dict[str, list[Decimal]] = {}
        self._closes_at: dict[str, int] = {}
        #: Symbol -> the newest trades of others.
        self._traded = {symbol: deque[Trade](maxlen=_TRADES) for symbol in self.rules}
        self._ticks = 0
        self._emit: Emit | None = None
        self._wanted: tuple[frozenset[str], int] = (frozenset(), 0)
        self.by_venue_id: dict[str, Working] = {}
        self._count = 0
        self._lock = threading.RLock()

    # ------------------------------------------------------------ connection and market data

    def connect(self, emit: Emit) -> None:
        """Tell ``emit`` of orders and fills from now on."""
        with self._lock:
            self._note("connect")
            self._emit = emit

    def close(self) -> None:
        """Tell nobody anything any more."""
        with self._lock:
            if self._emit is not None:
                self._note("close")
            self._emit = None
            self._wanted = (frozenset(), 0)

    def subscribe(self, symbols: Sequence[str], timeframe: int) -> None:
        """Tell of bars, or with a timeframe of 0 of trades and quotes."""
        with self._lock:
            self._note("subscribe", "", (tuple(symbols), timeframe))
            for symbol in symbols:
                self._known(symbol)
            if timeframe not in (0, self.timeframe):
                raise Refused(f"there are no bars of {timeframe} ns, only of {self.timeframe}")
            self._wanted = (frozenset(symbols), timeframe)

    def tick(self, symbol: str, price: float, size: float = 100.0) -> None:
        """Let somebody trade at a price: it is told, it makes bars, and orders meet it."""
        with self._lock:
            now, exact = self._now(), _exact(price)
            self._close_bar(symbol, now)
            self.prices[symbol] = exact
            forming = self._forming.setdefault(symbol, [exact, exact, exact, exact, _ZERO])
            forming[1:] = [
                max(forming[1], exact), min(forming[2], exact), exact, forming[4] + _exact(size)
            ]  # fmt: skip
            self._ticks += 1
            trade = Trade(now, 0, symbol, float(exact), size, id=str(self._ticks))
            self._traded[symbol].append(trade)
            symbols, timeframe = self._wanted
            if symbol in symbols and not timeframe:
                self._say(trade)
                self._say(self.quote_at(trade))
            self._meet(symbol)

    def traded(self, symbol: str) -> list[Trade]:
        """Return the newest trades of others, oldest first."""
        with self._lock:
            self._known(symbol)
            return list(self._traded[symbol])

    def latest(self, symbol: str) -> Trade:
        """Return the newest trade of others; before there is one, the first price as of now."""
        with self._lock:
            self._known(symbol)
            if self._traded[symbol]:
                return self._traded[symbol][-1]
            return Trade(self._now(), 0, symbol, float(self.prices[symbol]), 100.0, id="0")

    def quote_at(self, trade: Trade) -> Quote:
        """Return the quote that goes with a trade: one tick to either side."""
        price, tick = _exact(trade.price), _exact(self.rules[trade.symbol].tick)
        bid, ask = float(price - tick), float(price + tick)
        return Quote(trade.ts, 0, trade.symbol, bid, ask, trade.size, trade.size)

    def step(self) -> None:
        """Let every price take one step of a random walk, and every order that is due expire."""
        with self._lock:
            for symbol, rules in self.rules.items():
                tick = _exact(rules.tick)
                ticks = self._random.choice((-25, -10, -5, -1, 0, 1, 5, 10, 25))
                self.tick(symbol, float(max(tick * 100, self.prices[symbol] + tick * ticks)))
            self.expire()

    def live_through(self, bars: int, steps: int = 4) -> None:
        """Have had a past: so many bars up to now, of so many steps of the prices each."""
        with self._lock:
            real, now = self._now, self._now()
            begin = now - now % self.timeframe - bars * self.timeframe
            try:
                for step in range(bars * steps):
                    at = begin + step * self.timeframe // steps
                    self._now = lambda at=at: at  # type: ignore[misc]
                    self.step()
            finally:
                self._now = real

    def expire(self) -> None:
        """Let every order whose time is over expire."""
        with self._lock:
            now = self._now()
            for order in self.working():
                if order.tif == "gtd" and now >= order.expire_at:
                    self._end(order, "expired", "its time is over")

    def bar(
        self, symbol: str, open_: float, high: float, low: float, close: float, volume: float
    ) -> None:
        """Let a bar be traded whose close is now."""
        for price in (open_, high, low, close):
            self.tick(symbol, price, volume / 4)
        with self._lock:
            self._closes_at[symbol] = self._now()
            self._close_bar(symbol, self._now())

    def late(self, symbol: str, price: float, size: float = 100.0) -> None:
        """Let the last trade of the newest bar that is over become known only now."""
        with self._lock:
            self._known(symbol)
            if not self._bars[symbol]:
                raise Refused(f"no bar of {symbol} is over yet", code="no_bar")
            bar = self._bars[symbol][-1]
            after = msgspec.structs.replace(
                bar,
                high=max(bar.high, price),
                low=min(bar.low, price),
                close=price,
                volume=bar.volume + size,
            )
            self._bars[symbol][-1] = after
            self.on_late(after)

    def _close_bar(self, symbol: str, now: int) -> None:
        """Close the forming bar if its time is over, and tell of it."""
        at = self._closes_at.get(symbol, 0)
        if at and now < at:
            return
        self._closes_at[symbol] = now - now % self.timeframe + self.timeframe
        forming = self._forming.pop(symbol, None)
        if forming is None or not at:
            return
        o, h, l, c, v = (float(x) for x in forming)  # noqa: E741
        bar = Bar(at, 0, symbol, o, h, l, c, v, self.timeframe)
        self._bars[symbol].append(bar)
        symbols, timeframe = self._wanted
        if timeframe and symbol in symbols:
            self._say(bar)

    # ------------------------------------------------------------ requests

    def submit(self, order: Submit) -> Ack:
        """Take an order."""
        with self._lock:
            self._note("submit", order.order_id, order)
            try:
                self.check(order)
            except Refused as refusal:
                self._note("refused", order.order_id, str(refusal))
                raise
            taken = self._take(order)
            for exit_ in exits_of(order):
                self._take(exit_, entry=order.order_id)
            ack = Ack(taken.venue_id, self._now())
            self._first_meeting(taken)
            return ack

    def check(self, order: Submit) -> None:
        """Refuse an order that is not taken."""
        before = self.orders.get(order.order_id)
        if before is not None and (self.ids_for_ever or before.status == "open"):
            raise Refused(f"order id {order.order_id} is taken", code="duplicate_order_id")
        rules = self._known(order.symbol)
        if order.type not in self.capabilities.order_types:
            raise Refused(f"there are no {order.type!r} orders", code="bad_type")
        if order.tif not in self.capabilities.tifs:
            raise Refused(f"there is no time in force {order.tif!r}", code="bad_tif")
        qty = _exact(order.qty)
        if not qty > 0 or qty % _exact(rules.lot):
            raise Refused(f"{order.qty!r} is not in whole lots of {order.symbol}", code="bad_qty")
        for price in (order.limit, order.stop, order.take_profit or None, order.stop_loss or None):
            if price is not None and (not price > 0 or _exact(price) % _exact(rules.tick)):
                raise Refused(f"{price!r} is not a price of {order.symbol}", code="bad_price")
        self._affordable(self.requirement(), self.requirement(order))

    def _affordable(self, before: Decimal, after: Decimal) -> None:
        """Refuse what would need more equity than there is."""
        equity = self._equity()
        if self.leverage is not None and after > before and after > equity:
            words = f"equity of {equity:.2f} must exceed the margin of {after:.2f} that it needs"
            raise Refused(words, code="no_money")

    def _take(self, order: Submit, entry: str = "") -> Working:
        self._count += 1
        taken = Working(
            order.order_id,
            self.name_order(self._count),
            order.symbol,
            order.side == "buy",
            _exact(order.qty),
            order.type,
            order.tif,
            None if order.limit is None else _exact(order.limit),
            None if order.stop is None else _exact(order.stop),
            order.expire_at,
            ts=self._now(),
            hidden_until=self._now() + self._random.randrange(self.shy_ns) if self.shy_ns else 0,
            entry=entry,
            waits=bool(entry),
        )
        self.orders[taken.id] = self.by_venue_id[taken.venue_id] = taken
        self._tell(taken, "accepted")
        return taken

    def cancel(self, request: Cancel, venue_order_id: str) -> None:
        """Cancel an order."""
        with self._lock:
            self._note("cancel", request.order_id, request)
            order = self.find(request.order_id, venue_order_id)
            if order.status != "open":
                raise Refused(f"order {order.id} is {order.status}", code="order_over")
            self._end(order, "canceled", "as asked")

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        """Change an order's quantity and prices."""
        with self._lock:
            self._note("replace", request.order_id, request)
            order = self.find(request.order_id, venue_order_id)
            if order.status != "open":
                raise Refused(f"order {order.id} is {order.status}", code="order_over")
            qty = _exact(request.qty)
            if qty <= order.filled:
                raise Refused(f"{order.filled} are filled already", code="bad_qty")
            before, needed = (order.qty, order.limit, order.stop), self.requirement()
            if not order.entry:  # else it takes off what is left, whatever was asked for
                order.qty = qty
            if request.limit is not None and order.limit is not None:
                order.limit = _exact(request.limit)
            if request.stop is not None and order.stop is not None:
                order.stop = _exact(request.stop)
            try:
                self._affordable(needed, self.requirement())
            except Refused:
                order.qty, order.limit, order.stop = before
                raise
            self._tell(order, "replaced")
            ack = Ack(order.venue_id, self._now())
            self._meet(order.symbol)
            return ack

    # ------------------------------------------------------------ questions

    def open_orders(self) -> list[VenueOrder]:
        """Return all working orders."""
        with self._lock:
            return [_row(order) for order in self.working() if self._shows(order)]

    def order(self, order_id: str, venue_order_id: str = "") -> VenueOrder:
        """Return one order."""
        with self._lock:
            return _row(self.find(order_id, venue_order_id))

    def executions(self, since: int) -> list[Fill]:
        """Return executions from ``since`` on."""
        with self._lock:
            return [
                fill
                for fill in self.fills
                if fill.ts >= since
                and (fill.order_id not in self.orders or self._shows(self.orders[fill.order_id]))
            ]

    def payments(self, since: int) -> list[Payment]:
        """Return payments from ``since`` on."""
        with self._lock:
            return [payment for payment in self.paid if payment.ts >= since]

    def positions(self) -> list[Holding]:
        """Return what is held."""
        with self._lock:
            return [
                Holding(symbol, float(qty), float(self.cost[symbol] / qty))
                for symbol, qty in sorted(self.held.items())
                if qty
            ]

    def balances(self) -> Balances:
        """Return the money."""
        with self._lock:
            equity, power, margin = self._equity(), self.cash, _ZERO
            if self.leverage is not None:
                margin = self.requirement()
                power = max((equity - margin) * self.leverage, _ZERO)
            return Balances(
                float(self.cash), float(equity), float(power), float(margin), "USD", "SANDBOX-0001"
            )

    def _equity(self) -> Decimal:
        return self.cash + sum((self._value(symbol) for symbol in self.held), _ZERO)

    def requirement(self, order: Submit | None = None) -> Decimal:
        """Return the equity that positions and working orders need, those of a new one included.

        An order needs it for what it opens, at its own price; what it closes needs none, nor does
        an exit.
        """
        with self._lock:
            needed = sum((abs(self._value(s)) * self._fraction(s) for s in self.held), _ZERO)
            orders = [
                (o.symbol, o.buys, o.left, o.limit or o.stop or self.prices[o.symbol])
                for o in self.working()
                if not o.entry
            ]
            if order is not None:
                own = self._price_of(order)
                orders.append((order.symbol, order.side == "buy", _exact(order.qty), own))
            closable = {(s, units < 0): abs(units) for s, units in self.held.items()}
            for symbol, buys, units, price in orders:
                closes = min(units, closable.get((symbol, buys), _ZERO))
                closable[symbol, buys] = closable.get((symbol, buys), _ZERO) - closes
                worth = (units - closes) * price * _exact(self.rules[symbol].multiplier)
                needed += worth * self._fraction(symbol)
            return needed

    def _price_of(self, order: Submit) -> Decimal:
        return _exact(order.limit or order.stop or float(self.prices[order.symbol]))

    def _fraction(self, symbol: str) -> Decimal:
        """Return the share of a position's value that equity must cover."""
        margin = self.rules[symbol].margin
        return _exact(margin) if margin < 1 or self.leverage is None else 1 / self.leverage

    def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        """Return trading rules."""
        return [self._known(symbol) for symbol in symbols]

    def past(self, symbol: str, timeframe: int, start: int, end: int) -> History:
        """Return closed bars."""
        with self._lock:
            self._known(symbol)
            if timeframe != self.timeframe:
                raise Refused(f"there are no bars of {timeframe} ns, only of {self.timeframe}")
            self._close_bar(symbol, self._now())
            bars = [bar for bar in self._bars[symbol] if start < bar.ts <= end]
            columns: dict[str, Any] = {
                name: [getattr(bar, name) for bar in bars]
                for name in ("open", "high", "low", "close", "volume")
            }
            return History(end, 0, symbol, timeframe, [bar.ts for bar in bars], **columns)

    def forming(self, symbol: str) -> Bar | None:
        """Return the bar that is not over yet; its ``ts`` lies in the future."""
        with self._lock:
            self._close_bar(symbol, self._now())
            parts = self._forming.get(symbol)
            if parts is None:
                return None
            o, h, l, c, v = map(float, parts)  # noqa: E741
            return Bar(self._closes_at[symbol], 0, symbol, o, h, l, c, v, self.timeframe)

    def remember(self, count: int) -> None:
        """Make up so many bars from before now, the last of which closes at the first price."""
        chance = random.Random(self._seed)
        now = self._now()
        last = now - now % self.timeframe
        for symbol, rules in self.rules.items():
            tick, price = _exact(rules.tick), self.prices[symbol]
            made: list[Bar] = []
            for back in range(count):
                steps = [tick * chance.choice((-25, -10, -5, -1, 0, 1, 5, 10, 25)) for _ in "1234"]
                path = [price]
                for step in steps:
                    path.append(max(tick * 100, path[-1] - step))
                values = (path[-1], max(path), min(path), price, _exact(100 * len(path)))
                o, h, l, c, v = map(float, values)  # noqa: E741
                made.append(
                    Bar(last - back * self.timeframe, 0, symbol, o, h, l, c, v, self.timeframe)
                )
                price = path[-1]
            self._bars[symbol][:0] = reversed(made)

    def recall(self, past: Sequence[Sequence[Row]], first: Sequence[Row]) -> None:
        """Have had these bars, step by step up to now, and stand where the ``first`` rows begin."""
        with self._lock:
            self.recalled = True
            now = self._now()
            begin = now - now % self.timeframe - len(past) * self.timeframe
            for symbol, opens, *_ in first:
                self.prices[symbol] = _exact(opens)
            for step, rows in enumerate(past, 1):
                for symbol, o, h, l, c, v in rows:  # noqa: E741
                    at = begin + step * self.timeframe
                    self._bars[symbol].append(Bar(at, 0, symbol, o, h, l, c, v, self.timeframe))
                    self.prices[symbol] = _exact(c)

    def time(self) -> int:
        """Return the exchange's clock."""
        return self._now()

    # ------------------------------------------------------------ what nobody asked for

    def trade_by_hand(self, symbol: str, side: str, qty: float) -> Fill:
        """Trade on the account without an order of the client."""
        with self._lock:
            self._count += 1
            order = Working(
                "", self.name_order(self._count), symbol, side == "buy", _exact(qty), "market",
                "gtc", None, None, 0, ts=self._now(),
            )  # fmt: skip
            self.by_venue_id[order.venue_id] = order
            return self._fill(order, order.qty, self.prices[symbol])

    def order_by_hand(self, symbol: str, side: str, qty: float, limit: float) -> str:
        """Place a working order that is not the client's; return its venue id."""
        with self._lock:
            self._count += 1
            order = Working(
                "", self.name_order(self._count), symbol, side == "buy", _exact(qty), "limit",
                "gtc", _exact(limit), None, 0, ts=self._now(),
            )  # fmt: skip
            self.orders[f"{HAND}-{order.venue_id}"] = self.by_venue_id[order.venue_id] = order
            return order.venue_id

    def end(self, order_id: str, what: str = "canceled", why: str = "by the exchange") -> None:
        """Cancel, expire or reject a working order unasked."""
        with self._lock:
            order = self.orders[order_id]
            if order.status == "open":
                self._end(order, what, why)

    def end_of_day(self) -> None:
        """Expire every day order."""
        with self._lock:
            for order in self.working():
                if order.tif == "day":
                    self._end(order, "expired", "the day is over")

    def hide(self, order_id: str, for_ns: int) -> None:
        """Show an order to nobody who asks, for a while: it works all the same."""
        with self._lock:
            self.orders[order_id].hidden_until = self._now() + for_ns

    def fill(self, order_id: str, qty: float) -> Fill:
        """Fill a part of a limit order at its limit, wherever the market is."""
        with self._lock:
            order = self.orders[order_id]
            return self._fill(order, _exact(qty), order.limit or self.prices[order.symbol])

    def overfill(self, order_id: str, extra: float) -> Fill:
        """Fill an order with more than was asked for."""
        with self._lock:
            order = self.orders[order_id]
            return self._fill(order, order.left + _exact(extra), self.prices[order.symbol])

    def correct(self, execution_id: str, qty: float, price: float) -> Fill:
        """Correct an execution: it was of other units, or at another price. It costs as before."""
        with self._lock:
            place = next(i for i, f in enumerate(self.fills) if f.execution_id == execution_id)
            before = self.fills[place]
            after = msgspec.structs.replace(before, qty=qty, price=price)
            order = self.orders.get(before.order_id) or self.by_venue_id[before.order_id]
            sign = 1 if order.buys else -1
            multiplier = _exact(self.rules[order.symbol].multiplier)
            for fill, way in ((before, -sign), (after, sign)):
                units, at = _exact(fill.qty), _exact(fill.price)
                self._book(order.symbol, way * units, at * multiplier)
                self.cash -= way * units * at * multiplier
                order.filled += way * sign * units
                order.spent += way * sign * units * at
            self.fills[place] = after
            self._note("corrected", order.id, after)
            return after

    def transfer(self, amount: float) -> None:
        """Pay money in, or out where it is negative."""
        with self._lock:
            self.cash += _exact(amount)
            self._note("transfer", "", amount)

    def fund(self, symbol: str, rate: float) -> None:
        """Let what is held pay for it: a fraction of its value, longs to shorts where positive."""
        with self._lock:
            value = self._value(symbol) if symbol in self.held else _ZERO
            if not value:
                return
            cash = (-value * _exact(rate)).quantize(Decimal("0.00000001"))
            self._count += 1
            payment = Payment(
                self.name_payment(symbol, self._count), self._now(), symbol, float(cash)
            )
            self.cash += cash
            self.paid.append(payment)
            self._note("payment", "", payment)
            self.on_payment(payment)

    # ------------------------------------------------------------ matching

    def working(self) -> list[Working]:
        """Return the orders that work, oldest first."""
        return [order for order in self.orders.values() if order.status == "open"]

    def _first_meeting(self, order: Working) -> None:
        """Let a new order meet the market, and end it where it may not wait."""
        price = self._price_for(order)
        if order.tif == "fok":
            if price is None:
                self._end(order, "canceled", "it cannot be filled whole at once")
            else:
                self._fill(order, order.left, price)
            return
        if price is not None:
            self._fill(order, self._piece(order), price)
        if order.tif == "ioc" and order.status == "open":
            self._end(order, "canceled", "the rest cannot be filled at once")

    def _meet(self, symbol: str) -> None:
        """Let working orders meet the present price."""
        for order in self.working():
            if order.symbol == symbol and order.status == "open" and not order.waits:
                price = self._price_for(order)
                if price is not None:
                    self._fill(order, self._piece(order), price)

    def _price_for(self, order: Working) -> Decimal | None:
        """Return what an order would trade at now, or None."""
        price = self.prices[order.symbol]
        if order.stop is not None and not order.triggered:
            order.triggered = price >= order.stop if order.buys else price <= order.stop
            if not order.triggered:
                return None
        if order.limit is None:
            return price
        reached = price <= order.limit if order.buys else price >= order.limit
        return price if reached else None

    def fee_of(self, order: Submit) -> Decimal:
        """Return the fee of an order that fills whole at its price, or at the present one."""
        notional = (
            _exact(order.qty) * self._price_of(order) * _exact(self.rules[order.symbol].multiplier)
        )
        return (notional * self._fee_rate).quantize(Decimal("0.0001"))

    def _piece(self, order: Working) -> Decimal:
        """Return how much of an order fills now: all of it, or some lots."""
        lot = _exact(self.rules[order.symbol].lot)
        lots = int(order.left / lot)
        if lots <= 1 or self._random.random() < self._whole:
            return order.left
        return lot * self._random.randint(1, lots - 1)

    def _fill(self, order: Working, qty: Decimal, price: Decimal) -> Fill:
        self._count += 1
        multiplier = _exact(self.rules[order.symbol].multiplier)
        notional = qty * price * multiplier
        fee = (notional * self._fee_rate).quantize(Decimal("0.0001"))
        kept = _ZERO
        if self.fee_in_units and order.buys:
            kept = (qty * self._fee_rate).quantize(Decimal("0.00000001"))
            fee = kept * price * multiplier
        signed = qty - kept if order.buys else -qty
        self._book(order.symbol, signed, price * multiplier)
        self.cash -= signed * price * multiplier + fee
        self.fees += fee
        order.filled += qty
        order.spent += qty * price
        order.ts = self._now()
        if order.filled >= order.qty:
            order.status = "filled"
        fill = Fill(
            order.ts, 0, self.name_execution(order, self._count), order.id or order.venue_id,
            order.symbol, "buy" if order.buys else "sell", float(abs(signed)), float(price),
            float(fee), venue=self.name, executed_at=order.ts, kept=float(kept),
        )  # fmt: skip
        self.fills.append(fill)
        self._note("fill", order.id, fill)
        self._say(fill)
        self._meet_exits(order, qty)
        return fill

    def _exits_of(self, entry: str) -> list[Working]:
        return [order for order in self.working() if entry and order.entry == entry]

    def _meet_exits(self, order: Working, qty: Decimal) -> None:
        """Let the exits of a filled entry work; leave the other exit what is left to take off."""
        if order.status == "filled":
            for exit_ in self._exits_of(order.id):
                exit_.waits = False
        for other in self._exits_of(order.entry):
            if other is order:
                continue
            if order.status == "filled":
                self._end(other, "canceled", "the other exit has filled")
            else:
                other.qty -= qty
                self._tell(other, "replaced")

    def _book(self, symbol: str, signed: Decimal, price: Decimal) -> None:
        held = self.held.get(symbol, _ZERO)
        cost = self.cost.get(symbol, _ZERO)
        after = held + signed
        if held * signed >= 0:
            cost += signed * price
        elif after * held > 0:
            cost = cost / held * after
        else:
            cost = after * price
        self.held[symbol], self.cost[symbol] = after, cost

    def _end(self, order: Working, what: str, why: str) -> None:
        if what == "expired" and not self.expires:
            what = "canceled"
        order.status, order.reason, order.ts = what, why, self._now()
        self._tell(order, what, why)
        for exit_ in self._exits_of(order.id):
            self._end(exit_, "canceled", "its entry has ended")
        if self.exits_together and what == "canceled":
            for other in self._exits_of(order.entry):
                self._end(other, what, "the other exit was canceled")

    # ------------------------------------------------------------ telling

    def _tell(self, order: Working, what: str, why: str = "") -> None:
        terms: dict[str, Any] = {}
        if what == "replaced":
            terms = {name: _float(getattr(order, name)) for name in ("qty", "limit", "stop")}
        self._note(what, order.id, terms or why)
        self._say(OrderUpdate(self._now(), 0, order.id, what, why, order.venue_id, **terms))

    def _say(self, said: Said) -> None:
        if self._emit is not None:
            self._emit(said)

    def _note(self, kind: str, order_id: str = "", detail: Any = None) -> None:
        self.record.append(Entry(self._now(), kind, order_id, detail))

    def _known(self, symbol: str) -> Instrument:
        rules = self.rules.get(symbol)
        if rules is None:
            raise Refused(f"{symbol} is not traded here", code="unknown_symbol")
        return rules

    def find(self, order_id: str, venue_order_id: str) -> Working:
        """Return an order as it is kept, unless it is hidden."""
        order = self.orders.get(order_id) or self.by_venue_id.get(venue_order_id)
        if order is None or not self._shows(order):
            raise NotThere(f"there is no order {order_id or venue_order_id}", code="not_there")
        return order

    def _shows(self, order: Working) -> bool:
        return self._now() >= order.hidden_until

    def _value(self, symbol: str) -> Decimal:
        return self.held[symbol] * self.prices[symbol] * _exact(self.rules[symbol].multiplier)


def _row(order: Working) -> VenueOrder:
    return VenueOrder(
        order.id,
        order.venue_id,
        order.symbol,
        "buy" if order.buys else "sell",
        float(order.qty),
        float(order.filled),
        order.status,
        order.ts,
        _float(order.limit),
        _float(order.stop),
        order.reason,
        float(order.spent / order.filled) if order.filled else 0.0,
    )


def _exact(number: float) -> Decimal:
    return Decimal(str(number))


def _float(number: Decimal | None) -> float | None:
    return None if number is None else float(number)
