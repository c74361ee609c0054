"""Many small frames of one shape, read as one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from regimeflow.data.clean import Table
from regimeflow.data.times import read_times
from regimeflow.model.market import IntArray

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
        self._table = table
        self._places = places
        self._timezone = timezone
        self._times: list[IntArray] = []
        self._rows = 0
        # Filled frame by frame: kept apart, they would be written to fresh memory twice.
        self._values = np.empty((len(frame.columns), room))
        self._open = self._put(frame.to_numpy(), table.ts)

    def take(self, symbol: str | None, timeframe: int | None, frame: Any) -> bool:
        """Add a frame and return True, or return False where it has to be read by itself."""
        if not (
            self._open
            and symbol
            and 0 < len(frame) <= FEW_ROWS
            and frame.index.dtype == self._index_type
            and frame.columns.tolist() == self._labels
        ):
            return False
        if not self._put(frame.to_numpy(), read_times(frame.index, self._timezone, symbol).ts):
            return False
        self._table.symbols.append(symbol)
        self._table.timeframes.append(timeframe)
        return True

    def _put(self, values: Any, ts: IntArray) -> bool:
        """Add the numbers of a frame, or return False where some are none."""
        if values.dtype.kind not in "fiu":
            return False
        start, self._rows = self._rows, self._rows + len(ts)
        self._values[:, start : self._rows] = values.T
        self._times.append(ts)
        return True

    def settle(self) -> None:
        """Make the table hold all frames."""
        table = self._table
        if len(self._times) == 1:
            return
        together = self._values[:, : self._rows]
        together.flags.writeable = False
        table.ts = np.concatenate(self._times)
        table.bounds = np.cumsum([0, *map(len, self._times)])
        for columns in (table.columns, table.features):
            columns.update((name, together[self._places[name]]) for name in columns)
        table.stacked = True
