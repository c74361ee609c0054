"""Those who follow a live run without having a say in it.

The *shadow* fills the live engine's own requests by the baseline's models: what each order should
have brought. The *twin* decides alone under the same models: what the backtest would have done on
this very data. live - shadow is execution, shadow - twin is decisions fed back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from regimeflow.engine.desk import ACTIVE
from regimeflow.engine.engine import Engine, Heir
from regimeflow.engine.rolling_history import RollingHistory
from regimeflow.engine.strategy import Strategy
from regimeflow.model.events import (
    STOP_LOSS,
    TAKE_PROFIT,
    Adjusted,
    Clock,
    EndOfDay,
    Fill,
    Finish,
    Input,
    OrderUpdate,
    Output,
    Resumed,
    Start,
    StrategyChanged,
    Submit,
    Upgraded,
    entry_of,
    exits_of,
)
from regimeflow.model.ledger import Ledger
from regimeflow.model.market import Bar, Bars, Book, History, Quote, Trade
from regimeflow.model.models import Model
from regimeflow.model.order import Order
from regimeflow.session.features import rolling
from regimeflow.venues.matching import Matcher

_PRICES: frozenset[type] = frozenset({Bar, Bars, Trade, Quote, Book})
#: What a simulated venue answers before: an upgrade, like every command, comes in by its stream.
_MARKET: frozenset[type] = _PRICES | {EndOfDay, Finish, Upgraded}

#: Returns a strategy of one's own by the sha256 of its frozen form.
Load = Callable[[str], Strategy]


class Account(msgspec.Struct, frozen=True):
    """Money and holdings at one moment.

    Attributes:
        time: UTC nanoseconds of the last event.
        cash, equity, fees: money.
        positions: symbol -> units held.
        fills: how many there were.
    """

    time: int
    cash: float
    equity: float
    fees: float
    positions: dict[str, float]
    fills: int

    def __repr__(self) -> str:
        held = ", ".join(f"{qty:g} {symbol}" for symbol, qty in self.positions.items()) or "flat"
        return f"<equity {self.equity:,.2f}, cash {self.cash:,.2f}, {held}, {self.fills} fills>"


class Accounts(msgspec.Struct, frozen=True):
    """The three accounts of a run at its end, as they are left in its directory."""

    run: str
    live: Account
    shadow: Account
    twin: Account


class Anchor(msgspec.Struct, frozen=True):
    """What a session had at the moment when its strategy changed.

    Attributes:
        ledger: cash and positions.
        remaining: units of each working order, by its id.
        busy: symbols in which something worked.
    """

    ledger: Ledger
    remaining: dict[str, float]
    busy: frozenset[str]


def anchor_of(engine: Engine, outputs: Sequence[Output]) -> Anchor:
    """Return what an engine has, less what it has just sent with ``outputs``."""
    new = {
        request.order_id
        for output in outputs
        if isinstance(output, Submit)
        for request in (output, *exits_of(output))
    }
    working = [o for group in engine.desk.working.values() for o in group.values()]
    old = [order for order in working if order.id not in new]
    return Anchor(
        engine.desk.ledger,
        {order.id: order.remaining for order in old},
        frozenset(order.symbol for order in old),
    )


def changed(outputs: Sequence[Output]) -> bool:
    """Return whether the strategy changed with an event that caused these outputs."""
    return any(output.__class__ is StrategyChanged for output in outputs)


def towards(
    held: Mapping[str, float], aim: Mapping[str, float], price: Callable[[str], float], event: Input
) -> list[Fill]:
    """Return what would turn one set of holdings into another, as if it had been executed.

    A companion that is set back to the session's holdings changes hands with nobody: at the last
    price, without a fee.
    """
    made = []
    for symbol in sorted({*held, *aim}):
        units = aim.get(symbol, 0.0) - held.get(symbol, 0.0)
        if units:
            name = f"anchored-{event.seen}-{symbol}"
            side = "buy" if units > 0.0 else "sell"
            made.append(
                Fill(event.ts, event.seen, name, name, symbol, side, abs(units), price(symbol))
            )
    return made


class Shadow:
    """The live engine's requests, filled by the baseline's models.

    When the strategy changes it is set to what the session holds, and to the orders that work.

    Attributes:
        anchored: what that changed of its holdings, as executions.
        jumped: what that changed of its equity so far, money.

    Args:
        engine: whose requests it follows, and whose last prices it is valued at.
        model: the baseline's assumptions.
        matched_on: as in `Matcher`.
    """

    def __init__(self, engine: Engine, model: Model, matched_on: dict[str, str | int]) -> None:
        self._engine = engine
        self._data_ns = model.latency.data_ns
        self._matcher = Matcher(model, engine.instruments, matched_on, "shadow")
        self._ledger = Ledger(0.0, engine.instruments)
        self.anchored: list[Fill] = []
        self.jumped = 0.0

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Fill what was sent earlier against this event, then take what it made the engine send."""
        kind = event.__class__
        if kind in _MARKET:
            matcher = self._matcher
            while matcher.busy and (told := matcher.due(event)):
                self._book(told)
            matcher.current = event
            if outputs and changed(outputs):
                self._anchor(event, anchor_of(self._engine, outputs))
            if outputs:
                matcher.send(_as_modelled(event, outputs, self._data_ns))
            if matcher.fills_at_close and matcher.busy:
                self._book(matcher.at_once(event))
        elif isinstance(event, Start):
            self._ledger = Ledger.of(event, self._engine.instruments)
        elif isinstance(event, Adjusted) and not event.is_cost:
            self._ledger.adjust(event.symbol, event.qty, event.price, event.cash)
        elif outputs:
            self._matcher.send(outputs)

    def _anchor(self, event: Input, anchor: Anchor) -> None:
        engine, ledger, matcher = self._engine, self._ledger, self._matcher
        left = anchor.remaining
        matcher.keep(kept(left))
        missing = [order_id for order_id in left if not matcher.has(order_id)]
        matcher.send(again(engine.desk.orders, left, missing, event.seen))
        self.anchored += towards(ledger.snapshot(), anchor.ledger.snapshot(), engine.price, event)
        before = ledger.equity(engine.price)
        ledger.become(anchor.ledger)
        self.jumped += ledger.equity(engine.price) - before

    def _book(self, happened: Iterable[Input]) -> None:
        for event in happened:
            if isinstance(event, Fill):
                sign = 1.0 if event.side == "buy" else -1.0
                self._ledger.book(event.symbol, sign * event.qty, event.price, event.fee)

    @property
    def fills(self) -> list[Fill]:
        """Executions as they should have been."""
        return self._matcher.fills

    def account(self) -> Account:
        """Return its money and holdings now."""
        return account_of(self._ledger, self._engine, len(self.fills))

    def equity(self) -> float:
        """Return its equity now: the account's, without the rest."""
        return self._ledger.equity(self._engine.price)


def kept(left: Mapping[str, float]) -> Callable[[str, str], float]:
    """Return what a matcher keeps: what is left of orders, but none with exits, nor the exits.

    Whether an entry has filled may be another matter here and there, so these begin anew.
    """

    def units(_: str, order_id: str) -> float:
        with_exits = order_id + TAKE_PROFIT in left or order_id + STOP_LOSS in left
        return 0.0 if with_exits or entry_of(order_id) else left.get(order_id, 0.0)

    return units


def again(
    orders: Mapping[str, Order], left: Mapping[str, float], missing: Iterable[str], seen: int
) -> list[Submit]:
    """Return the requests for what is left of orders; exits go with an entry that works."""
    made = []
    for order_id in missing:
        if entry_of(order_id) in left:
            continue
        order = orders[order_id]
        request = Submit(
            order.seq, seen, order.id, order.symbol, order.side, left[order_id], order.type,
            order.limit, order.stop, order.tif, order.expire_at, order.reduce_only, order.tag,
        )  # fmt: skip
        prices = {
            name: orders[exit_].limit or orders[exit_].stop
            for name, exit_ in (
                ("take_profit", order_id + TAKE_PROFIT),
                ("stop_loss", order_id + STOP_LOSS),
            )
            if exit_ in left
        }
        made.append(msgspec.structs.replace(request, **prices) if prices else request)
    return made


class Twin:
    """A second engine with a fresh copy of the strategy, deciding alone under the models.

    When the session's strategy changes so does its own, and it is set to what the session holds;
    its orders go on in symbols in which the session has some at work.

    Args:
        strategy: a copy of its own.
        start: what the session began with.
        model: the baseline's assumptions.
        matched_on: as in `Matcher`.
        anchor: what the session has, by what it has just sent.
        load: gives it copies of later strategies.

    Attributes:
        anchored, jumped: as in `Shadow`.
        told: its orders of which its own venue has said something, for whoever keeps copies of
            them and empties this.
    """

    def __init__(
        self,
        strategy: Strategy,
        start: Start,
        model: Model,
        matched_on: dict[str, str | int],
        anchor: Callable[[Sequence[Output]], Anchor],
        load: Load,
    ) -> None:
        self.engine = engine_of(strategy, start, load)
        self.told: set[str] = set()
        self.anchored: list[Fill] = []
        self.jumped = 0.0
        self._anchor = anchor
        self._asked: Upgraded | None = None
        self._expected: Upgraded | None = None
        self._model = model
        self._matcher = Matcher(model, self.engine.instruments, matched_on, "twin")

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Live through the same market; orders, timers and commands of the live run are not its."""
        kind = event.__class__
        if kind in _MARKET:
            if kind is Upgraded:
                self._asked = event  # type: ignore[assignment]
            if outputs and changed(outputs):
                self._expected = self._asked
            for own in self._matcher.around(event):
                if own.__class__ is Upgraded:
                    continue  # what it waits for is the session's moment, not the twin's own
                if own is event and self._expected is not None:
                    self._change(self._expected, event, outputs)
                if own.__class__ is Fill or own.__class__ is OrderUpdate:
                    self.told.add(own.order_id)
                made = self.engine.step(own)
                self._matcher.send(_as_modelled(own, made, self._model.latency.data_ns))
        elif isinstance(event, Adjusted) and not event.is_cost:
            self.engine.step(event)
        elif isinstance(event, Resumed) and self.engine.finished:
            self.engine.step(msgspec.structs.replace(event, never_sent=(), limits=None))
        elif isinstance(event, Start):
            begin = msgspec.structs.replace(event, model=self._model, run=f"{event.run}-twin")
            self._matcher.send(self.engine.step(begin))
        elif kind is History or kind is Clock:
            self._matcher.send(self.engine.step(event))

    def expect(self, event: Upgraded) -> None:
        """Let the next event of the market be the one with which the strategy changes."""
        self._expected = event

    def _change(self, upgraded: Upgraded, event: Input, outputs: Sequence[Output]) -> None:
        """Be what the session is, and take the strategy over with ``event``."""
        self._expected = None
        engine, anchor = self.engine, self._anchor(outputs)
        desk = engine.desk
        for order_id in self._matcher.keep(
            lambda symbol, _: None if symbol in anchor.busy else 0.0
        ):
            why = "set to what the session has"
            order = desk.update(OrderUpdate(event.ts, event.seen, order_id, "canceled", why))
            if order is not None and engine.target_orders.get(order.symbol) is order:
                del engine.target_orders[order.symbol]
        self.anchored += towards(
            desk.ledger.snapshot(), anchor.ledger.snapshot(), engine.price, event
        )
        before = desk.equity()
        desk.ledger.become(anchor.ledger)
        jump = desk.equity() - before
        self.jumped += jump
        desk.day_equity += jump
        desk.peak_equity += jump
        if engine.failure is not None:
            desk.state = ACTIVE  # nobody gives commands to a twin
        engine.step(
            msgspec.structs.replace(upgraded, ts=event.ts, seen=event.seen, when="next_bar")
        )

    @property
    def fills(self) -> list[Fill]:
        """Its executions."""
        return self._matcher.fills

    def account(self) -> Account:
        """Return its money and holdings now."""
        return account_of(self.engine.desk.ledger, self.engine, len(self.fills))

    def equity(self) -> float:
        """Return its equity now: the account's, without the rest."""
        return self.engine.desk.ledger.equity(self.engine.price)


def _as_modelled(event: Input, outputs: Sequence[Output], data_ns: int) -> Sequence[Output]:
    """Return requests as if the market had been seen after the model's latency.

    A live session sees a bar some time after its close; were that time counted, a request could
    not meet the bar that begins there, and each order would be expected a whole bar too late.
    """
    if not outputs or event.__class__ not in _PRICES:
        return outputs
    seen = event.ts + data_ns
    if outputs[0].seen == seen:
        return outputs
    return [msgspec.structs.replace(output, seen=seen) for output in outputs]


def rolling_history(strategy: Strategy, start: Start) -> RollingHistory:
    """Return the history of an engine that knows only what events bring."""
    keys = [(s, t) for s, t in zip(start.symbols, start.timeframes, strict=True) if t]
    source = rolling(strategy, start.flavour, start.timezone or None)
    return RollingHistory(keys, start.history, source, start.warmup)


def engine_of(strategy: Strategy, start: Start, load: Load) -> Engine:
    """Return an engine that knows only what events bring, and can be given another strategy.

    Args:
        strategy: a strategy of its own.
        start: what the run begins with.
        load: gives it strategies of its own.
    """
    history = rolling_history(strategy, start)

    def heir_of(event: Upgraded) -> Heir:
        heir = load(event.frozen_sha256)
        source = rolling(heir, start.flavour, start.timezone or None)
        return heir, lambda: history.hand_over(heir.history_depth, source, event.warmup)

    return Engine(strategy, history, heir_of)


def account_of(ledger: Ledger, engine: Engine, fills: int) -> Account:
    """Return a ledger's money and holdings at an engine's last prices."""
    return Account(
        engine.event.seen,
        ledger.cash,
        ledger.equity(engine.price),
        ledger.fees,
        dict(ledger.snapshot()),
        fills,
    )
