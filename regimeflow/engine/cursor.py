"""Where a run stands in columns that were computed ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from regimeflow.engine.indicators.base import Indicator
    from regimeflow.model.events import Input
    from regimeflow.model.market import FloatArray, IntArray

#: What the bars to come bring to an indicator: its attributes, one of their names, the values.
Ahead = tuple[dict[str, Any], str, Iterator[float]]

_NEVER = 2**62


class Cursor:
    """Index of the newest closed bar of one series; -1 before the first.

    Whoever feeds the series moves it; the values of indicators that were computed ahead move with
    it, as plain attributes: they are read several times a bar and written once.
    """

    __slots__ = ("_ahead", "_columns", "_turn", "_turns", "i")

    def __init__(self, i: int = -1) -> None:
        self.i = i
        self._ahead: list[Ahead] = []
        self._columns: list[tuple[dict[str, Any], str, memoryview]] = []
        # Bars at which an indicator becomes ready, or is no longer: few, and not looked for on
        # every bar.
        self._turns: IntArray = np.empty(0, dtype=np.int64)
        self._turn = _NEVER

    def attach(self, indicator: Indicator, columns: Sequence[FloatArray]) -> None:
        """Compute an indicator's values ahead, and let them move with the cursor from now on.

        Args:
            columns: one array of shape ``(n,)`` per input.

        Raises:
            ConfigError: if there is no ``vectorised`` form, or its result has another shape.
        """
        for name, column in indicator.ahead(columns).items():
            self._columns.append((vars(indicator), name, column.data))
            if name == "value":
                turns = np.flatnonzero(np.diff(np.isnan(column), prepend=True))
                self._turns = np.union1d(self._turns, turns)
        self.seek(self.i)

    def step(self) -> None:
        """Move on by one bar."""
        self.i += 1
        for values, name, ahead in self._ahead:
            values[name] = next(ahead)
        if self.i == self._turn:
            self._tell_ready()

    def along(self, events: Iterator[Input]) -> Iterator[Input]:
        """Return those of the next events, one a bar, that `step` need not be called for.

        Taking one moves on by one bar. They end before a bar that makes an indicator ready.
        """
        if self._turn != _NEVER:
            events = islice(events, self._turn - self.i - 1)
        ahead = list(self._ahead)
        places = count(self.i + 1)
        # One loop for two indicators: twice as fast as one for each, and most strategies have two.
        if len(ahead) % 2:
            a, x, xs = ahead.pop()
            moved = (e for self.i, e, a[x] in zip(places, events, xs, strict=False))
        else:
            (a, x, xs), (b, y, ys) = ahead.pop(), ahead.pop()
            moved = (e for self.i, e, a[x], b[y] in zip(places, events, xs, ys, strict=False))
        while ahead:
            moved = _both(moved, ahead.pop(), ahead.pop())
        return moved

    def seek(self, i: int) -> None:
        """Move to a bar, -1 for before the first."""
        self.i = i
        self._ahead = []
        for values, name, column in self._columns:
            values[name] = column[i] if i >= 0 else float("nan")
            self._ahead.append((values, name, iter(column[i + 1 :])))
        self._tell_ready()

    def _tell_ready(self) -> None:
        for values, name, _ in self._columns:
            if name == "value":
                values["ready"] = values[name] == values[name]
        place = int(np.searchsorted(self._turns, self.i, side="right"))
        self._turn = int(self._turns[place]) if place < len(self._turns) else _NEVER

    def __repr__(self) -> str:
        return f"Cursor({self.i})"


def _both(events: Iterator[Input], one: Ahead, other: Ahead) -> Iterator[Input]:
    """Return events; taking one brings the next value of two indicators."""
    (a, x, xs), (b, y, ys) = one, other
    return (event for event, a[x], b[y] in zip(events, xs, ys, strict=False))
