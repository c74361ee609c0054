"""What a strategy sees and may ask: the same object in every kind of run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from regimeflow.engine.admission import FAR
from regimeflow.engine.history import Window
from regimeflow.engine.indicators import Indicator
from regimeflow.engine.limits import finite
from regimeflow.engine.regime import Regime
from regimeflow.engine.sizing import change_towards, move_to
from regimeflow.errors import ConfigError, OrderError, did_you_mean
from regimeflow.model.events import STOP_LOSS, TAKE_PROFIT, Logged, Recorded, SetTimer
from regimeflow.model.instrument import Instrument
from regimeflow.model.ledger import Position
from regimeflow.model.market import Bar, Book, Quote
from regimeflow.model.order import Order, OrderHandle
from regimeflow.model.text import whole_text
from regimeflow.model.timeframe import parse_timeframe

if TYPE_CHECKING:
    from regimeflow.engine.engine import Engine


class Context:
    """The strategy's view of its run.

    Everything read here is what was known at `now`; everything asked passes the limits first.
    """

    __slots__ = ("_desk", "_engine", "_held", "_history", "_rng")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._desk = engine.desk
        self._held = engine.desk.ledger.held
        self._history = engine.history
        self._rng: np.random.Generator | None = None

    # ------------------------------------------------------------ reads

    @property
    def now(self) -> int:
        """When the current event was let in, UTC nanoseconds."""
        return self._engine.event.seen

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of the run, in event order."""
        return self._engine.symbols

    def bars(self, symbol: str, n: int, timeframe: str | int | None = None) -> Window:
        """Return the newest ``n`` closed bars, the newest last; fewer while there are fewer.

        Args:
            timeframe: such as ``"1h"``; without it the symbol's finest.
        """
        engine = self._engine
        if timeframe is not None:
            length = parse_timeframe(timeframe)
        else:  # `_finest` is called only to refuse: this is asked 500 times a day
            length = engine.finest.get(symbol) or self._finest(symbol)
        return self._history.window(symbol, n, length, engine.bar_ts)

    def latest(self, symbol: str) -> Bar | None:
        """Return the newest closed bar, None before the first."""
        event = self._engine.event
        if event.__class__ is Bar and event.symbol == symbol:
            finest = self._engine.finest.get(symbol)
            if event.timeframe == finest:
                return event
        found = self._history.latest(symbol, self._engine.bar_ts)
        if found is None:
            self._known(symbol)
        return found

    def quote(self, symbol: str) -> Quote | None:
        """Return the newest best bid and ask, None before the first."""
        found = self._engine.quotes.get(symbol)
        if found is None:
            self._known(symbol)
        return found

    def book(self, symbol: str) -> Book | None:
        """Return the newest order book, None before the first."""
        found = self._engine.books.get(symbol)
        if found is None:
            self._known(symbol)
        return found

    def position(self, symbol: str) -> float:
        """Return the units held, negative when short."""
        position = self._held.get(symbol)
        if position is not None:
            return position.qty
        if symbol not in self._engine.symbol_set:  # not `_known`: a call per bar
            self._unknown(symbol)
        return 0.0

    @property
    def positions(self) -> Mapping[str, float]:
        """Symbol -> units of everything held."""
        return self._desk.ledger.snapshot()

    @property
    def cash(self) -> float:
        """Money on the account."""
        return self._desk.ledger.cash

    @property
    def equity(self) -> float:
        """Cash plus positions at last prices, money."""
        return self._desk.equity()

    @property
    def buying_power(self) -> float:
        """Money that new orders may still take."""
        return self._desk.buying_power()

    def orders(self, symbol: str | None = None) -> tuple[OrderHandle, ...]:
        """Return the working orders, of one symbol or of all."""
        working = self._desk.working
        if symbol is not None and symbol not in working:
            self._known(symbol)
        groups = working.values() if symbol is None else [working.get(symbol, {})]
        return tuple(OrderHandle(order) for group in groups for order in group.values())

    def instrument(self, symbol: str) -> Instrument:
        """Return a symbol's trading rules."""
        self._known(symbol)
        return self._desk.instruments[symbol]

    def average_price(self, symbol: str) -> float:
        """Return the mean entry price of what is held, 0.0 when flat."""
        position: Position | None = self._held.get(symbol)
        if position is not None:
            return position.average_price
        self._known(symbol)
        return 0.0

    def feature(self, symbol: str, name: str) -> float:
        """Return a feature's value at the newest bar; NaN before the first."""
        return self._history.feature(symbol, name, self._engine.bar_ts)

    @property
    def regime(self) -> str:
        """What the regime detector says; "neutral" without one."""
        return self._engine.regime

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers that come out the same in every run with the same seed."""
        if self._rng is None:
            self._rng = np.random.Generator(np.random.PCG64(self._engine.seed))
        return self._rng

    # ------------------------------------------------------------ asks

    def indicator(
        self,
        indicator: Indicator,
        symbol: str | None = None,
        timeframe: str | int | None = None,
        field: str = "close",
    ) -> Indicator:
        """Keep an indicator up to date and return it; only in ``initialize``.

        Args:
            symbol: whose bars feed it; needed where the run has several symbols.
            timeframe: of the bars; the symbol's finest without it.
            field: price, volume or feature column, for indicators of one input.
        """
        engine = self._engine
        if not engine.initializing:
            raise ConfigError(
                "ctx.indicator works in initialize only: an indicator must see every bar from the "
                "first one on, or a live run could not repeat it"
            )
        chosen = self._one_symbol(symbol, "ctx.indicator")
        length = parse_timeframe(timeframe) if timeframe is not None else self._finest(chosen)
        fields = [field if name == "field" else name for name in indicator.inputs]
        self._history.attach(indicator, chosen, length, fields, engine.bar_ts)
        engine.tracking = self._history.tracking
        return indicator

    def watch_regime(self, detector: Regime, symbol: str | None = None) -> Regime:
        """Let a detector judge every bar of a symbol; only in ``initialize``.

        ``ctx.regime`` then reads its last word, and ``on_regime_change`` fires when it changes.
        """
        if not self._engine.initializing:
            raise ConfigError("ctx.watch_regime works in initialize only")
        self._engine.watch_regime(detector, self._one_symbol(symbol, "ctx.watch_regime"))
        return detector

    def buy(
        self,
        symbol: str,
        qty: float,
        *,
        limit: float | None = None,
        stop: float | None = None,
        tif: str | None = None,
        expire_at: int | None = None,
        reduce_only: bool = False,
        take_profit: float | None = None,
        stop_loss: float | None = None,
        tag: str = "",
    ) -> OrderHandle:
        """Send a buy order and return its handle.

        Args:
            qty: units, positive; rounded down to whole lots.
            limit: never pay more than this.
            stop: becomes active when the market trades at or above this.
            tif: "day", "gtc", "ioc", "fok" or "gtd"; without it day where there are sessions, and
                gtc for an order with exits, which have the same.
            expire_at: for "gtd", UTC nanoseconds.
            reduce_only: may only take off what is held; the excess is denied.
            take_profit, stop_loss: prices of the exits that the venue holds from the entry's fill
                on: a limit and a stop order of the same quantity, the one canceled when the other
                fills. See `exits`.
            tag: yours, kept with the order.

        Returns:
            A read-only handle, false if the order was denied: see its ``reason`` and ``log``.
        """
        if symbol not in self._engine.symbol_set:
            self._unknown(symbol)
        return OrderHandle(
            self._desk.submit(
                symbol,
                1.0,
                qty,
                limit,
                stop,
                tif,
                expire_at,
                reduce_only,
                tag,
                take_profit=take_profit,
                stop_loss=stop_loss,
            )
        )

    def sell(
        self,
        symbol: str,
        qty: float,
        *,
        limit: float | None = None,
        stop: float | None = None,
        tif: str | None = None,
        expire_at: int | None = None,
        reduce_only: bool = False,
        take_profit: float | None = None,
        stop_loss: float | None = None,
        tag: str = "",
    ) -> OrderHandle:
        """Send a sell order, short where nothing is held; arguments as in `buy`."""
        if symbol not in self._engine.symbol_set:
            self._unknown(symbol)
        return OrderHandle(
            self._desk.submit(
                symbol,
                -1.0,
                qty,
                limit,
                stop,
                tif,
                expire_at,
                reduce_only,
                tag,
                take_profit=take_profit,
                stop_loss=stop_loss,
            )
        )

    def target(
        self,
        symbol: str,
        qty: float | None = None,
        *,
        weight: float | None = None,
        value: float | None = None,
        band: float = 0.0,
    ) -> OrderHandle | None:
        """Move a position to a quantity, a weight of equity or a value; return the order made.

        A target that takes off what exits hold cancels them, and is moved to once they are over.
        Calling it again with the same target sends nothing. It replaces or cancels its own earlier
        order for the symbol, and waits while that one is unanswered.

        Args:
            qty: units, negative for short.
            weight: fraction of ``ctx.equity``.
            value: money.
            band: changes worth less than this fraction of equity are not made.
        """
        engine, held = self._engine, self._held
        position = held[symbol] if symbol in held else None  # noqa: SIM401  (a call per bar)
        if (
            position is None
            and weight == 0.0
            and qty is None
            and value is None
            and symbol in engine.symbol_set
            and symbol not in engine.target_orders
        ):
            return None  # flat, and so it should be
        event = engine.event
        if event.__class__ is Bar and event.symbol == symbol:
            price = event.close
        else:
            if symbol not in engine.symbol_set:
                self._unknown(symbol)
            price = engine.price(symbol)
        desk = self._desk
        if weight is not None and qty is None and value is None:
            if weight.__class__ is not float:
                weight = _number("weight", weight)
            if position is None:
                return self._move(symbol, weight * desk.equity(), 0.0, price, band)
            unit = price * position.multiplier
            worth = position.qty * unit
            equity = desk.ledger.cash + worth if len(held) == 1 else desk.equity()
            gap, lot = weight * equity - worth, position.lot * unit
            if -lot < gap < lot and weight and symbol not in engine.target_orders:
                return None  # where it should be, to less than a lot
            return self._move(symbol, weight * equity, position.qty, price, band)
        units = position.qty if position is not None else 0.0
        if value is not None and qty is None and weight is None:
            return self._move(symbol, _number("value", value), units, price, band)
        if qty is None or weight is not None or value is not None:
            raise OrderError("ctx.target takes exactly one of qty, weight and value")
        wanted = desk.instruments[symbol].round_qty(_number("qty", qty))
        return self._aim(symbol, wanted, units, price, band)

    def targets(
        self, weights: Mapping[str, float], *, rest: str = "close", band: float = 0.0
    ) -> list[OrderHandle]:
        """Move a whole portfolio to weights of equity: exits first, then entries.

        Args:
            weights: symbol -> fraction of equity.
            rest: "close" what is held and not named, or "keep" it.
            band: as in `target`.
        """
        if rest not in ("close", "keep"):
            raise OrderError(f"rest must be 'close' or 'keep', not {rest!r}")
        engine, desk = self._engine, self._desk
        equity = desk.equity()
        changes: list[tuple[bool, int, str, float, float, float]] = []
        names = list(weights)
        if rest == "close":
            names += [symbol for symbol in desk.ledger.held if symbol not in weights]
            names += [s for s in engine.target_orders if s not in weights and s not in names]
        held = desk.ledger.held
        for place, symbol in enumerate(names):
            if symbol not in engine.symbol_set:
                self._unknown(symbol)
            weight = weights.get(symbol, 0.0)
            if weight.__class__ is not float or not -FAR < weight < FAR:
                weight = _number("weight", weight)
            position = held.get(symbol)
            units = position.qty if position is not None else 0.0
            price = engine.price(symbol)
            value = weight * equity
            gap = value - units * price * desk.instruments[symbol].multiplier
            if band and abs(gap) < band * equity:
                continue
            if weight == 0.0 and units == 0.0 and symbol not in engine.target_orders:
                continue
            # Exits first: their proceeds pay for the entries.
            changes.append((units * gap >= 0.0, place, symbol, value, units, price))
        rules = desk.instruments
        feasible = sum(abs(w) * rules[s].margin for s, w in weights.items()) <= _CARRIED
        handles = []
        for _, _, symbol, value, units, price in sorted(changes):
            order = self._move(symbol, value, units, price, 0.0, feasible)
            if order is not None:
                handles.append(order)
        return handles

    def exits(self, order: OrderHandle | str) -> tuple[OrderHandle, ...]:
        """Return the exits of an entry: its take-profit, then its stop-loss, as far as it has them.

        They are orders like others, to be looked at, canceled, or moved by `replace`.
        """
        orders, entry = self._desk.orders, self._own(order).id
        names = (entry + TAKE_PROFIT, entry + STOP_LOSS)
        return tuple(OrderHandle(orders[name]) for name in names if name in orders)

    def close(self, symbol: str) -> OrderHandle | None:
        """Cancel the symbol's working orders and leave its position at market.

        It is a target of nothing: where orders have to be canceled first, the position is left
        once they are over, and nothing is returned yet; `target` waits for it, or changes the aim.
        """
        engine, desk = self._engine, self._desk
        if symbol not in engine.symbol_set:
            self._unknown(symbol)
        held = desk.instruments[symbol].round_qty(self.position(symbol))
        working = list(desk.working.get(symbol, {}).values())
        leaving: Order | None = None
        if symbol not in desk.exits:
            # An exit that is on its way already stays.
            leaving = next((o for o in working if o.exits(held) and not o.cancel_pending), None)
        if leaving is not None:
            for order in working:
                if order is not leaving:
                    desk.cancel(order)
        elif working or symbol in desk.exits:
            engine.trading.leave(symbol)
            return None
        elif held == 0.0:
            return None
        else:
            side = -1.0 if held > 0 else 1.0
            leaving = desk.submit(symbol, side, abs(held), reduce_only=True, tag="close")
        if leaving.working:
            engine.target_orders[symbol] = leaving
        return OrderHandle(leaving)

    def flatten(self) -> None:
        """Close every position and cancel every working order; trading goes on."""
        for symbol in list({**self._desk.working, **self._desk.ledger.held}):
            self.close(symbol)

    def cancel(self, order: OrderHandle | str) -> None:
        """Ask the venue to cancel a working order; an entry takes its exits with it."""
        self._desk.cancel(self._own(order))

    def replace(
        self,
        order: OrderHandle | str,
        *,
        qty: float | None = None,
        limit: float | None = None,
        stop: float | None = None,
    ) -> bool:
        """Ask the venue to change a working order; return whether the request left.

        Args:
            qty: new total quantity, what is filled included.
            limit, stop: new prices, for orders that have them. Of an entry and its exits only the
                exits can be changed, and only their prices.
        """
        own = self._own(order)
        for name, value in (("limit", limit), ("stop", stop)):
            if value is not None and getattr(own, name) is None:
                raise OrderError(f"a {own.type} order has no {name} to replace")
        return self._desk.replace(own, qty, limit, stop)

    def every(self, interval: str | int, name: str = "timer", *, start: int | None = None) -> None:
        """Fire ``on_timer`` again and again.

        Args:
            interval: such as ``"1h"``, or nanoseconds.
            name: what the timer event will be called.
            start: first time, UTC nanoseconds; one interval from now without it.
        """
        length = parse_timeframe(interval)
        engine = self._engine
        first = start if start is not None else engine.event.seen + length
        full = engine.timer_prefix + whole_text(name)
        engine.out.append(SetTimer(engine.seq, engine.event.seen, full, first, length))

    def at(self, when: int, name: str = "timer") -> None:
        """Fire ``on_timer`` once at ``when``, UTC nanoseconds."""
        engine = self._engine
        full = engine.timer_prefix + whole_text(name)
        engine.out.append(SetTimer(engine.seq, engine.event.seen, full, int(when)))

    def record(self, **values: float) -> None:
        """Keep values of your own; they come back as ``report.records``."""
        clean: dict[str, float | None] = {}
        for name, value in values.items():
            number = float(value)
            clean[whole_text(name)] = number if np.isfinite(number) else None
        engine = self._engine
        engine.out.append(Recorded(engine.seq, engine.event.seen, clean))

    def log(self, text: object, level: str = "info") -> None:
        """Write a line into the run's log; half a character becomes a question mark."""
        engine = self._engine
        engine.out.append(
            Logged(engine.seq, engine.event.seen, whole_text(str(text)), whole_text(level))
        )

    # ------------------------------------------------------------ helpers

    def _move(
        self,
        symbol: str,
        value: float,
        units: float,
        price: float,
        band: float,
        feasible: bool | None = None,
    ) -> OrderHandle | None:
        """Move a position of ``units`` towards a value."""
        if value and price > 0.0:
            wanted = self._sized(symbol, value, units, price, feasible)
        else:
            wanted = units if value else 0.0
        return self._aim(symbol, wanted, units, price, band)

    def _aim(
        self, symbol: str, wanted: float, units: float, price: float, band: float
    ) -> OrderHandle | None:
        """Move a position of ``units`` towards ``wanted`` units, unless it is within the band."""
        engine, desk = self._engine, self._desk
        if symbol in engine.trading.closing:
            engine.trading.closing[symbol] = wanted
            return None
        if wanted == units and symbol not in engine.target_orders:
            return None
        if band:
            change = abs(wanted - units) * price * desk.instruments[symbol].multiplier
            if change < band * desk.equity():
                return None
        exits = desk.exits.get(symbol)
        if exits and (wanted - units) * next(iter(exits.values())).sign > 0.0:
            engine.trading.move(symbol, wanted)  # what they hold is to be taken off
            return None
        order = move_to(desk, symbol, wanted, engine.target_orders)
        return OrderHandle(order) if order is not None else None

    def _sized(
        self, symbol: str, value: float, units: float, price: float, feasible: bool | None
    ) -> float:
        """Return the units that come nearest to a value."""
        if not -FAR < value < FAR:  # a NaN included
            raise OrderError(f"a target of {symbol!r} must be a finite amount, got {value:g}")
        desk = self._desk
        instrument = desk.instruments[symbol]
        if feasible is None:
            feasible = abs(value) * instrument.margin <= desk.equity() * _CARRIED
        change = change_towards(desk, symbol, value, price, feasible=feasible)
        return instrument.snap_qty(units + change)

    def _own(self, order: OrderHandle | str) -> Order:
        name = order if isinstance(order, str) else order.id
        own = self._desk.orders.get(str(name))
        if own is None:
            raise OrderError(f"there is no order {name!r} in this run")
        return own

    def _finest(self, symbol: str) -> int:
        finest = self._engine.finest.get(symbol)
        if finest is None:
            self._unknown(symbol)
        return finest or 0

    def _one_symbol(self, symbol: str | None, call: str) -> str:
        symbols = self._engine.symbols
        if symbol is None:
            if len(symbols) != 1:
                raise ConfigError(f"{call} needs symbol=: this run has {len(symbols)} symbols")
            return symbols[0]
        if symbol not in self._engine.symbol_set:
            self._unknown(symbol)
        return symbol

    def _known(self, symbol: Any) -> None:
        if symbol not in self._engine.symbol_set:
            self._unknown(symbol)

    def _unknown(self, symbol: Any) -> None:
        known = self._engine.symbols
        raise OrderError(f"{symbol!r} is not part of this run.{did_you_mean(str(symbol), known)}")


def _number(name: str, value: Any) -> float:
    number = finite(value)
    if number is None or abs(number) >= FAR:
        raise OrderError(f"a target's {name} must be a finite number, got {value!r}")
    return number


#: Weights that add up to one may be a rounding above it.
_CARRIED = 1.0 + 1e-9
