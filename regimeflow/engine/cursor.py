"""Where a run stands in columns that were computed ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from regimeflow.engine.indicators.base import Indicator
    from regimeflow.model.events import Input
    from regimeflow.model.market import FloatArray, IntArray

_NEVER = 2**62


class Cursor:
    """Index of the newest closed bar of one series; -1 before the first.

    Whoever feeds the series moves it; the values of indicators that were computed ahead move with
    it, as plain attributes: they are read several times a bar and written once.
    """

    __slots__ = (
        "_columns", "_moved", "_others", "_places", "_source", "_turn", "_turns", "_values", "i",
    )  # fmt: skip

    def __init__(self, i: int = -1) -> None:
        self.i = i
        # What the bars to come bring: ``i``, each indicator's ``value``, and its other outputs.
        self._places = count(i + 1)
        self._values: list[tuple[Indicator, Iterator[float]]] = []
        self._others: list[tuple[Indicator, str, Iterator[float]]] = []
        self._columns: list[tuple[Indicator, str, memoryview]] = []
        # Bars at which an indicator becomes ready, or is no longer: few, and not looked for on
        # every bar.
        self._turns: IntArray = np.empty(0, dtype=np.int64)
        self._turn = _NEVER
        # The events of the last call of `along`, and what it returned: asked again and again.
        self._source: Iterator[Input] = iter(())
        self._moved = self._source

    def attach(self, indicator: Indicator, columns: Sequence[FloatArray]) -> None:
        """Compute an indicator's values ahead, and let them move with the cursor from now on.

        Args:
            columns: one array of shape ``(n,)`` per input.

        Raises:
            ConfigError: if there is no ``vectorised`` form, or its result has another shape.
        """
        for name, column in indicator.ahead(columns).items():
            self._columns.append((indicator, name, column.data))
            if name == "value":
                turns = np.flatnonzero(np.diff(np.isnan(column), prepend=True))
                self._turns = np.union1d(self._turns, turns)
        self.seek(self.i)

    def step(self) -> None:
        """Move on by one bar."""
        self.i = next(self._places)
        for indicator, values in self._values:
            indicator.value = next(values)
        for indicator, name, values in self._others:
            setattr(indicator, name, next(values))
        if self.i == self._turn:
            self._tell_ready()

    def along(self, events: Iterator[Input]) -> Iterator[Input]:
        """Return those of the next events, one a bar, that `step` need not be called for.

        Taking one moves on by one bar. They end before a bar that makes an indicator ready.
        """
        if self._turn != _NEVER:
            return self._moving(islice(events, self._turn - self.i - 1))
        if events is not self._source:
            self._source, self._moved = events, self._moving(events)
        return self._moved

    def _moving(self, events: Iterator[Input]) -> Iterator[Input]:
        for indicator, name, values in self._others:
            events = _bringing(events, indicator, name, values)
        # A loop for two indicators is hardly slower than for one, and most strategies have two.
        pairs, places = list(self._values), self._places
        while len(pairs) > 2:
            events = _bringing_both(events, *pairs.pop(), *pairs.pop())
        if len(pairs) == 2:
            (a, xs), (b, ys) = pairs
            for event, a.value, b.value, self.i in zip(events, xs, ys, places, strict=False):
                yield event
        else:
            ((a, xs),) = pairs
            for event, a.value, self.i in zip(events, xs, places, strict=False):
                yield event

    def seek(self, i: int) -> None:
        """Move to a bar, -1 for before the first."""
        self.i = i
        self._places = count(i + 1)
        self._source = self._moved = iter(())
        self._values, self._others = [], []
        for indicator, name, column in self._columns:
            setattr(indicator, name, column[i] if i >= 0 else float("nan"))
            values = iter(column[i + 1 :])
            if name == "value":
                self._values.append((indicator, values))
            else:
                self._others.append((indicator, name, values))
        self._tell_ready()

    def _tell_ready(self) -> None:
        for indicator, _ in self._values:
            indicator.ready = indicator.value == indicator.value  # NaN differs from itself
        place = int(np.searchsorted(self._turns, self.i, side="right"))
        self._turn = int(self._turns[place]) if place < len(self._turns) else _NEVER

    def __repr__(self) -> str:
        return f"Cursor({self.i})"


def _bringing(
    events: Iterator[Input], indicator: Indicator, name: str, values: Iterator[float]
) -> Iterator[Input]:
    """Yield events, each after an output's next value."""
    for event, value in zip(events, values, strict=False):
        setattr(indicator, name, value)
        yield event


def _bringing_both(
    events: Iterator[Input], a: Indicator, xs: Iterator[float], b: Indicator, ys: Iterator[float]
) -> Iterator[Input]:
    """Return events, each after the next value of two indicators."""
    return (event for event, a.value, b.value in zip(events, xs, ys, strict=False))
