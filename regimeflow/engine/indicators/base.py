"""What an indicator is, and the one way its values are read.

A backtest computes an indicator ahead over whole columns, a live session bar by bar; the strategy
reads ``indicator.value`` and cannot tell: in both it is a plain attribute, set once a bar.
"""

from __future__ import annotations

import copy
import math
import operator
import struct
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from regimeflow.errors import ConfigError
from regimeflow.model.market import FloatArray

NAN = math.nan

#: What ``update`` and ``vectorised`` take that is not a price column by name.
FIELD = "field"


class Parametric:
    """Remembers what it was made with, so that it can show it and be made afresh."""

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    # In __new__, not in __init__: a user's __init__ need not call ours.
    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self._arguments = (args, kwargs)
        return self

    def fresh(self) -> Self:
        """Return a new one with the same parameters and no state."""
        args, kwargs = self._arguments
        return type(self)(
            *(_renewed(value) for value in args),
            **{name: _renewed(value) for name, value in kwargs.items()},
        )

    def __repr__(self) -> str:
        args, kwargs = self._arguments
        shown = [_plain(value) for value in args]
        shown += [f"{name}={_plain(value)}" for name, value in kwargs.items()]
        return f"{type(self).__name__}({', '.join(shown)})"


class Indicator(Parametric):
    """A number, or a few, that follow from the closed bars of one series.

    One's own is a small class with ``update``; an equal ``vectorised`` form is optional and makes
    backtests faster:

    >>> class Range(Indicator):
    ...     inputs = ("high", "low")
    ...
    ...     def update(self, high: float, low: float) -> float:
    ...         return high - low
    ...
    ...     def vectorised(self, high, low):
    ...         return high - low
    >>> width = Range()
    >>> width.ready, width.value
    (False, nan)
    >>> width.push(12.0, 9.5)
    >>> width.ready, width.value
    (True, 2.5)

    ``update(*inputs)`` takes the newest closed bar's inputs and returns the new output, a tuple
    where ``outputs`` names several, NaN until ready. ``vectorised(*columns)`` takes ``float64``
    arrays of shape ``(n,)`` and returns arrays of that shape with the same numbers, bit for bit,
    from the same first bar; `verify` checks that.

    Class attributes:
        inputs: what ``update`` takes, in order: ``"field"`` is the column that
            ``ctx.indicator(field=...)`` names; else a price or feature column by name.
        outputs: what it returns, in order; each becomes a float attribute of that name. ``value``
            is always one of them: the output of that name, else the first.
        precomputable: whether there is a ``vectorised`` that belongs to this ``update``.
    """

    inputs: ClassVar[tuple[str, ...]] = (FIELD,)
    outputs: ClassVar[tuple[str, ...]] = ("value",)
    precomputable: ClassVar[bool] = False

    # Only declared: subclasses take exactly their inputs. `__new__` refuses a class without it.
    update: Callable[..., float | tuple[float, ...]]

    _single: ClassVar[bool] = True
    _takes_columns: bool = False

    # Only declared, and set by `__new__`: Python reads an attribute several times slower where the
    # class has a default of that name.
    #: The newest value; NaN until ready.
    value: float
    #: Whether there is a value.
    ready: bool

    def push(self, *inputs: float) -> None:
        """Take in the newest closed bar of the series.

        Raises:
            ConfigError: if ``update`` did not return what ``outputs`` names, or if the values were
                computed ahead.
        """
        if self._takes_columns:
            raise ConfigError(f"{self!r} was computed ahead and takes no further bars: use fresh()")
        result = self.update(*inputs)
        if result.__class__ is float and self._single:
            self.value = result
            self.ready = result == result  # NaN is the only float that differs from itself
            return
        try:
            values = [float(result)] if self._single else [float(v) for v in result]  # type: ignore[arg-type, union-attr]
            self._show(dict(zip(self.outputs, values, strict=True)))
        except (TypeError, ValueError) as error:
            raise ConfigError(self._why_not(result)) from error

    def ahead(self, columns: Sequence[FloatArray]) -> dict[str, FloatArray]:
        """Return every value that each attribute will have, for a `Cursor` to show.

        Args:
            columns: one array of shape ``(n,)`` per input.

        Raises:
            ConfigError: if there is no ``vectorised`` form, or its result has another shape.
        """
        results = [np.ascontiguousarray(r, np.float64) for r in self._vectorise(columns)]
        named = dict(zip(self.outputs, results, strict=True))
        named.setdefault("value", results[0])
        self._takes_columns = True
        return named

    def verify(self, *columns: FloatArray, rows: int = 512) -> None:
        """Check on the first ``rows`` rows that both forms give the same bits.

        Raises:
            ConfigError: naming the first row and output at which they differ.
        """
        head = [np.asarray(column[:rows], dtype=np.float64) for column in columns]
        ahead = self.fresh()._vectorise(head)
        streamed = self.fresh()
        for row, inputs in enumerate(zip(*(column.tolist() for column in head), strict=True)):
            streamed.push(*inputs)
            for name, fast in zip(self.outputs, ahead, strict=True):
                slow = getattr(streamed, name)
                if not same_bits(slow, float(fast[row])):
                    raise ConfigError(
                        f"{self!r}: at row {row} update gives {name} = {slow!r}, vectorised "
                        f"{float(fast[row])!r}; they must be equal to the last bit, or a live "
                        "session would decide differently from its backtest"
                    )

    # ------------------------------------------------------------ helpers

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if not callable(getattr(cls, "update", None)):
            raise ConfigError(
                f"{cls.__name__} has no update({', '.join(('self', *cls.inputs))}) method: an "
                "indicator needs one that takes the newest bar's inputs and returns its value"
            )
        self = super().__new__(cls, *args, **kwargs)
        for name in (*cls.outputs, "value"):
            setattr(self, name, NAN)
        self.ready = False
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.inputs = _names(cls, "inputs")
        cls.outputs = _names(cls, "outputs")
        cls._single = cls.outputs == ("value",)
        cls.precomputable = _is_precomputable(cls)
        if "outputs" in cls.__dict__:
            for name in cls.outputs:
                if name == "ready" or hasattr(Indicator, name) or name in cls.__dict__:
                    raise ConfigError(
                        f"{cls.__name__}.outputs: {name!r} is an attribute already; rename it"
                    )

    def __getstate__(self) -> object:
        # A copy has the values of the moment, and what is to come does not reach it.
        state = object.__getstate__(self)
        attributes, slots = state if isinstance(state, tuple) else (state, None)
        return {k: v for k, v in (attributes or {}).items() if k != "_takes_columns"}, slots

    def __setstate__(self, state: Any) -> None:
        attributes, slots = state
        self.__dict__.update(attributes)
        for name, value in (slots or {}).items():
            setattr(self, name, value)

    def _show(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            setattr(self, name, value)
        self.value = value = values.get("value", next(iter(values.values())))
        self.ready = value == value

    def _vectorise(self, columns: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
        if not self.precomputable:
            raise ConfigError(
                f"{self!r} has no vectorised form that belongs to its update: stream it"
            )
        if len(columns) != len(self.inputs):
            raise ConfigError(
                f"{self!r} takes {len(self.inputs)} column(s) ({', '.join(self.inputs)}), "
                f"got {len(columns)}"
            )
        vectorised: Callable[..., Any] = self.vectorised  # type: ignore[attr-defined]
        arrays = [np.ascontiguousarray(column, dtype=np.float64) for column in columns]
        result = vectorised(*arrays)
        results = result if isinstance(result, tuple) else (result,)
        shapes = [np.shape(array) for array in results]
        if shapes != [arrays[0].shape] * len(self.outputs):
            raise ConfigError(
                f"{self!r}: vectorised must return {len(self.outputs)} array(s) of shape "
                f"{arrays[0].shape} for {', '.join(self.outputs)}, got shapes {shapes}"
            )
        return results

    def _why_not(self, result: object) -> str:
        if len(self.outputs) == 1:
            return f"{self!r}: update must return a float (NaN until ready), got {result!r}"
        names = ", ".join(self.outputs)
        return f"{self!r}: update must return a tuple of floats ({names}), got {result!r}"


def whole(owner: object, name: str, value: object, at_least: int) -> int:
    """Return a parameter that counts something as an int, or refuse it."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # numpy's integers too
    except TypeError:
        number = at_least - 1
    if isinstance(value, bool) or number < at_least:
        raise ConfigError(
            f"{type(owner).__name__}: {name} must be a whole number of at least {at_least}, "
            f"got {value!r}"
        )
    return number


def positive(owner: object, name: str, value: object) -> float:
    """Return a parameter that must be a positive finite number as a float, or refuse it."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.number)
        or not (math.isfinite(value) and value > 0)
    ):
        raise ConfigError(
            f"{type(owner).__name__}: {name} must be a positive finite number, got {value!r}"
        )
    return float(value)


def same_bits(a: float, b: float) -> bool:
    """Whether two floats are the same to the last bit; all NaNs count as one.

    >>> same_bits(0.0, -0.0), same_bits(float("nan"), float("nan"))
    (False, True)
    """
    return struct.pack("<d", a) == struct.pack("<d", b) or (a != a and b != b)


def _names(cls: type, attribute: str) -> tuple[str, ...]:
    names = getattr(cls, attribute)
    if (
        isinstance(names, str)
        or not isinstance(names, Sequence)
        or not names
        or not all(isinstance(name, str) and name.isidentifier() for name in names)
        or len(set(names)) < len(names)
    ):
        raise ConfigError(
            f"{cls.__name__}.{attribute} must be a tuple of different names such as "
            f"('high', 'low'), got {names!r}"
        )
    return tuple(names)


def _is_precomputable(cls: type) -> bool:
    # A subclass that overrides update alone has no vectorised form: the inherited one would give
    # its parent's numbers.
    for base in cls.__mro__:
        if callable(vars(base).get("vectorised")):
            return True
        if "update" in vars(base):
            return False
    return False


def _renewed(value: Any) -> Any:
    return value.fresh() if isinstance(value, Parametric) else copy.deepcopy(value)


def _plain(value: object) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)
