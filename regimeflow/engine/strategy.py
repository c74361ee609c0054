"""What a user writes: a `Strategy`, or a plain function ``f(ctx, bar)``."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from regimeflow.errors import ConfigError, did_you_mean
from regimeflow.model.secrecy import HIDDEN, is_secret

if TYPE_CHECKING:
    from regimeflow.engine.context import Context
    from regimeflow.model.events import EndOfDay, Fill, RegimeChanged, Timer
    from regimeflow.model.market import Bar, Book, Quote, Trade
    from regimeflow.model.order import OrderHandle


class Strategy:
    """One strategy, the same object code in a backtest and against a live venue.

    Annotated class attributes are its parameters; override the callbacks you need. A callback that
    is not overridden costs nothing. All of them fire in every kind of run.

    >>> class Mine(Strategy):
    ...     fast: int = 20
    >>> Mine(fast=10)
    Mine(fast=10)
    """

    #: How many closed bars of each series ``ctx.bars`` can look back on.
    history_depth: ClassVar[int] = 10_000

    def __init__(self, **params: Any) -> None:
        names = _parameter_names(type(self))
        for name, value in params.items():
            setattr(self, name, parameter(type(self), name, value))
        missing = [name for name in names if not hasattr(self, name)]
        if missing:
            raise ConfigError(
                f"{type(self).__name__} needs a value for {', '.join(missing)}: "
                f"{type(self).__name__}({missing[0]}=...)"
            )

    @property
    def params(self) -> dict[str, Any]:
        """Parameters by name, as they stand now."""
        return {name: getattr(self, name) for name in _parameter_names(type(self))}

    def __repr__(self) -> str:
        shown = {n: HIDDEN if is_secret(n) else repr(v) for n, v in self.params.items()}
        inner = ", ".join(f"{name}={value}" for name, value in shown.items())
        return f"{type(self).__name__}({inner})"

    def __setstate__(self, state: Any) -> None:
        # A copy gets its attributes one by one: see `overridden` for what `__dict__` costs.
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        for name, value in {**(attributes or {}), **(slots or {})}.items():
            object.__setattr__(self, name, value)

    # -- callbacks, in the order in which they first fire

    def initialize(self, ctx: Context) -> None:
        """Set up indicators, timers and state; no prices are known yet."""

    def on_start(self, ctx: Context) -> None:
        """Warm-up is over; the first event follows."""

    def on_bar(self, ctx: Context, bar: Bar) -> None:
        """One closed bar."""

    def on_bars(self, ctx: Context, bars: Mapping[str, Bar]) -> None:
        """All bars of one close time, by symbol, after ``on_bar`` of each."""

    def on_tick(self, ctx: Context, trade: Trade) -> None:
        """One trade print."""

    def on_quote(self, ctx: Context, quote: Quote) -> None:
        """A new best bid and ask."""

    def on_order_book(self, ctx: Context, book: Book) -> None:
        """A new order book."""

    def on_order_update(self, ctx: Context, order: OrderHandle) -> None:
        """An order's state changed."""

    def on_fill(self, ctx: Context, fill: Fill) -> None:
        """An execution of one of our orders; position and cash know it already."""

    def on_regime_change(self, ctx: Context, change: RegimeChanged) -> None:
        """The regime detector changed its mind."""

    def on_timer(self, ctx: Context, timer: Timer) -> None:
        """A timer of ``ctx.every`` or ``ctx.at`` came due."""

    def on_end_of_day(self, ctx: Context, day: EndOfDay) -> None:
        """The session day is over."""

    def on_stop(self, ctx: Context) -> None:
        """The run ends; orders can no longer be sent."""


class FunctionStrategy(Strategy):
    """A plain function ``f(ctx, bar)`` as a strategy."""

    def __init__(self, function: Callable[[Context, Bar], None]) -> None:
        super().__init__()
        self.function = function
        # An instance attribute, so that the engine calls the function itself.
        self.on_bar = function  # type: ignore[method-assign, assignment]

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", "function")


#: What a strategy may override, in the order in which they first fire.
CALLBACKS = tuple(name for name in vars(Strategy) if name.startswith("on_") or name == "initialize")


def as_strategy(strategy: Any) -> Strategy:
    """Return a fresh strategy from an instance, a class or a function ``f(ctx, bar)``.

    Raises:
        ConfigError: for anything else.
    """
    if isinstance(strategy, Strategy):
        return strategy
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        return strategy()
    if callable(strategy) and not isinstance(strategy, type):
        return FunctionStrategy(strategy)
    raise ConfigError(
        f"a strategy is a Strategy, its class or a function f(ctx, bar), not {strategy!r}"
    )


def overridden(strategy: Strategy, callback: str) -> Any:
    """Return the strategy's own callback, or None where it has only the empty one."""
    own = getattr(strategy, callback)
    # Not looked up in `__dict__`: before Python 3.13 an object whose `__dict__` was once asked for
    # is read several times slower from then on.
    return None if getattr(own, "__func__", own) is getattr(Strategy, callback) else own


def parameter(strategy: type[Strategy], name: str, value: Any) -> Any:
    """Return a parameter's value as the class wants it; an integer is accepted for a float.

    Raises:
        ConfigError: the class has no such parameter, or one of another type.
    """
    names = _parameter_names(strategy)
    if name not in names:
        raise ConfigError(
            f"{strategy.__name__} has no parameter {name!r}.{did_you_mean(name, names)}"
        )
    return _typed(strategy, name, value)


def _parameter_names(cls: type) -> list[str]:
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        if base is Strategy or not issubclass(base, Strategy):
            continue
        for name, annotation in vars(base).get("__annotations__", {}).items():
            if name.startswith("_") or "ClassVar" in str(annotation):
                continue
            names[name] = None
    return list(names)


def _typed(cls: type, name: str, value: Any) -> Any:
    """Return ``value`` as the annotation wants it; an integer is accepted for a float."""
    try:
        expected = typing.get_type_hints(cls).get(name)
    except Exception:
        return value
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if expected in (int, float, str, bool) and (
        not isinstance(value, expected) or (expected is int and isinstance(value, bool))
    ):
        item = getattr(value, "item", None)  # a numpy scalar from a parameter grid
        plain = item() if callable(item) else value
        if isinstance(plain, expected) and not (expected is int and isinstance(plain, bool)):
            return plain
        raise ConfigError(f"{cls.__name__}: {name} must be {expected.__name__}, got {value!r}")
    return value
