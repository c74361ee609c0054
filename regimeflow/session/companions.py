"""Those who follow a live run without having a say in it.

The *shadow* fills the live engine's own requests by the baseline's models: what each order should
have brought. The *twin* decides alone under the same models: what the backtest would have done on
this very data. live - shadow is execution, shadow - twin is decisions fed back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from regimeflow.engine.engine import Engine
from regimeflow.engine.rolling_history import RollingHistory
from regimeflow.engine.strategy import Strategy
from regimeflow.model.events import (
    Adjusted,
    Clock,
    EndOfDay,
    Fill,
    Finish,
    Input,
    Output,
    Resumed,
    Start,
)
from regimeflow.model.ledger import Ledger
from regimeflow.model.market import Bar, Bars, Book, History, Quote, Trade
from regimeflow.model.models import Model
from regimeflow.session.features import rolling
from regimeflow.venues.matching import Matcher

_PRICES: frozenset[type] = frozenset({Bar, Bars, Trade, Quote, Book})
_MARKET: frozenset[type] = _PRICES | {EndOfDay, Finish}


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


class Shadow:
    """The live engine's requests, filled by the baseline's models.

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

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Fill what was sent earlier against this event, then take what it made the engine send."""
        kind = event.__class__
        if kind in _MARKET:
            matcher = self._matcher
            while matcher.busy and (told := matcher.due(event)):
                self._book(told)
            matcher.current = event
            if outputs:
                matcher.send(_as_modelled(event, outputs, self._data_ns))
            if matcher.fills_at_close and matcher.busy:
                self._book(matcher.at_once(event))
        elif isinstance(event, Start):
            self._begin(event)
        elif isinstance(event, Adjusted):
            self._ledger.adjust(event.symbol, event.qty, event.price, event.cash)
        elif outputs:
            self._matcher.send(outputs)

    def _begin(self, start: Start) -> None:
        self._ledger = Ledger(start.cash, self._engine.instruments)
        for symbol, (qty, average_price) in start.positions.items():
            self._ledger.open(symbol, qty, average_price)

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


class Twin:
    """A second engine with a fresh copy of the strategy, deciding alone under the models.

    Args:
        strategy: a copy of its own.
        start: what the session began with.
        model: the baseline's assumptions.
        matched_on: as in `Matcher`.
    """

    def __init__(
        self, strategy: Strategy, start: Start, model: Model, matched_on: dict[str, str | int]
    ) -> None:
        self.engine = Engine(strategy, rolling_history(strategy, start))
        self._model = model
        self._matcher = Matcher(model, self.engine.instruments, matched_on, "twin")

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Live through the same market; orders, timers and commands of the live run are not its."""
        kind = event.__class__
        if kind in _MARKET:
            for own in self._matcher.around(event):
                made = self.engine.step(own)
                self._matcher.send(_as_modelled(own, made, self._model.latency.data_ns))
        elif isinstance(event, Adjusted):
            self.engine.step(event)
        elif isinstance(event, Resumed) and self.engine.finished:
            self.engine.step(msgspec.structs.replace(event, never_sent=(), limits=None))
        elif isinstance(event, Start):
            begin = msgspec.structs.replace(event, model=self._model, run=f"{event.run}-twin")
            self._matcher.send(self.engine.step(begin))
        elif kind is History or kind is Clock:
            self._matcher.send(self.engine.step(event))

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
