"""Many small frames of one shape, read as one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from regimeflow.data.clean import Table
from regimeflow.data.times import read_times
from regimeflow.model.market import FloatArray, IntArray

#: A frame of more rows is taken as it lies in memory, without a copy.
FEW_ROWS = 4_096


class Stack:
    """One table of pandas frames that look the same.

    To take a frame of a thousand rows apart and to check it costs many times more than to copy its
    numbers. So the meaning of the columns is learnt from the first frame; those after it that look
    the same only add their numbers.

    Args:
        frame: the first frame, of few rows, with its times in the index.
        table: what was read from it; `settle` puts the other frames into it.
        places: name of a column in the table -> its place in the frame.
        timezone: how naive times are meant.
        room: rows that this frame and all that may follow it have together.
    """

    def __init__(
        self, frame: Any, table: Table, places: Mapping[str, int], timezone: str, room: int
    ) -> None:
        self._labels = frame.columns.tolist()
        self._index_type = frame.index.dtype
        self._index_values = frame.index.asi8
        self._table = table
        self._places = places
        self._timezone = timezone
        self._room = room
        self._first = frame.to_numpy()
        self._values: FloatArray | None = None
        self._times: list[IntArray] = []
        self._rows = 0

    def take(self, symbol: str | None, timeframe: int | None, frame: Any) -> bool:
        """Add a frame and return True, or return False where it has to be read by itself."""
        if not (
            symbol
            and _plain(self._first)
            and 0 < len(frame) <= FEW_ROWS
            and frame.index.dtype == self._index_type
            and frame.columns.tolist() == self._labels
        ):
            return False
        values = frame.to_numpy()
        if not _plain(values):
            return False
        if self._values is None:
            # Filled frame by frame: kept apart, they would be written to fresh memory twice.
            self._values = np.empty((len(self._labels), self._room))
            self._put(self._values, self._first, self._table.ts)
        index = frame.index
        if np.array_equal(index.asi8, self._index_values):  # most often, and read already
            ts = self._table.ts
        else:
            ts = read_times(index, self._timezone, symbol).ts
        self._put(self._values, values, ts)
        self._table.symbols.append(symbol)
        self._table.timeframes.append(timeframe)
        return True

    def _put(self, into: FloatArray, values: Any, ts: IntArray) -> None:
        start, self._rows = self._rows, self._rows + len(ts)
        into[:, start : self._rows] = values.T
        self._times.append(ts)

    def settle(self) -> None:
        """Make the table hold all frames."""
        table, together = self._table, self._values
        if together is None:  # no other frame has come
            return
        if self._rows < self._room:
            together = together[:, : self._rows].copy()
        together.flags.writeable = False
        table.ts = np.concatenate(self._times)
        table.bounds = np.cumsum([0, *map(len, self._times)])
        for columns in (table.columns, table.features):
            columns.update((name, together[self._places[name]]) for name in columns)
        table.stacked = True


def _plain(values: Any) -> bool:
    """Whether a frame's columns are all numbers, and became one array of such."""
    return str(values.dtype.kind) in "fiu"
