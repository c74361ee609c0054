"""Many small frames of one shape, read as one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from regimeflow.data.clean import Table
from regimeflow.data.times import read_times

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
    """

    def __init__(self, frame: Any, table: Table, places: Mapping[str, int], timezone: str) -> None:
        self._labels = frame.columns
        self._index_type = frame.index.dtype
        self._table = table
        self._places = places
        self._timezone = timezone
        self._times = [table.ts]
        self._values = [frame.to_numpy()]
        self._open = _plain(self._values[0])

    def take(self, symbol: str | None, timeframe: int | None, frame: Any) -> bool:
        """Add a frame and return True, or return False where it has to be read by itself."""
        if not (
            self._open
            and symbol
            and 0 < len(frame) <= FEW_ROWS
            and frame.index.dtype == self._index_type
            and frame.columns.equals(self._labels)
        ):
            return False
        values = frame.to_numpy()
        if not _plain(values):
            return False
        self._times.append(read_times(frame.index, self._timezone, symbol).ts)
        self._values.append(values)
        self._table.symbols.append(symbol)
        self._table.timeframes.append(timeframe)
        return True

    def settle(self) -> None:
        """Make the table hold all frames."""
        table = self._table
        if len(self._times) == 1:
            return
        together = np.concatenate([v.T for v in self._values], axis=1, dtype=np.float64)
        together.flags.writeable = False
        table.ts = np.concatenate(self._times)
        table.bounds = np.cumsum([0, *map(len, self._times)])
        for columns in (table.columns, table.features):
            columns.update((name, together[self._places[name]]) for name in columns)
        table.stacked = True


def _plain(values: Any) -> bool:
    return values.dtype.kind in "fiu"
