"""Where a run stands in columns that were computed ahead."""

from __future__ import annotations


class Cursor:
    """Index of the newest closed bar of one series; -1 before the first.

    Whoever feeds the series moves ``i``; everything precomputed over that series reads through it,
    so that nothing but one integer changes per bar.
    """

    __slots__ = ("i",)

    def __init__(self, i: int = -1) -> None:
        self.i = i

    def __repr__(self) -> str:
        return f"Cursor({self.i})"


#: Of streaming indicators, whose columns hold only the newest value. It never moves.
ZERO = Cursor(0)
