"""Where a run stands in columns that were computed ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regimeflow.engine.indicators.base import Indicator
    from regimeflow.model.market import FloatArray


class Cursor:
    """Index of the newest closed bar of one series; -1 before the first.

    Whoever feeds the series moves it; the values of indicators that were computed ahead move with
    it, as plain attributes: they are read several times a bar and written once.
    """

    __slots__ = ("_columns", "ahead", "i")

    def __init__(self, i: int = -1) -> None:
        self.i = i
        #: What the next bar brings: an indicator's attributes, one of their names, its values to
        #: come. `step`, or whoever does the same in a place where a call is too much, takes one.
        self.ahead: list[tuple[dict[str, float], str, Iterator[float]]] = []
        self._columns: list[tuple[dict[str, float], str, memoryview]] = []

    def attach(self, indicator: Indicator, columns: Sequence[FloatArray]) -> None:
        """Compute an indicator's values ahead, and let them move with the cursor from now on.

        Args:
            columns: one array of shape ``(n,)`` per input.

        Raises:
            ConfigError: if there is no ``vectorised`` form, or its result has another shape.
        """
        for name, column in indicator.ahead(columns).items():
            self._columns.append((vars(indicator), name, column.data))
        self.seek(self.i)

    def step(self) -> None:
        """Move on by one bar."""
        self.i += 1
        for values, name, ahead in self.ahead:
            values[name] = next(ahead)

    def seek(self, i: int) -> None:
        """Move to a bar, -1 for before the first."""
        self.i = i
        self.ahead = []
        for values, name, column in self._columns:
            values[name] = column[i] if i >= 0 else float("nan")
            self.ahead.append((values, name, iter(column[i + 1 :])))

    def __repr__(self) -> str:
        return f"Cursor({self.i})"
