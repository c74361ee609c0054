"""Prices of a file or a frame, for a venue that plays them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from regimeflow.data.files import read_file
from regimeflow.data.frames import load
from regimeflow.errors import ConfigError
from regimeflow.sandbox.exchange import Row

#: What a frame that does not name its symbol is called when it is read.
_UNNAMED = "asset"
_COLUMNS = ("open", "high", "low", "close", "volume")


class Played:
    """Rows of prices by their times; those of one time are one step.

    Args:
        source: path of a Parquet or CSV file, or what `regimeflow.data.load` takes; of bars or
            trades.
        symbols: what is played; None: what the data name, or ``unnamed`` where they do not.
        unnamed: symbol of data that name none.

    Attributes:
        symbols: that are played.

    Raises:
        DataError: the data cannot be used; it says where and why.
        ConfigError: there is nothing of a symbol.
    """

    def __init__(
        self, source: Any, symbols: Sequence[str] | None = None, unnamed: str = ""
    ) -> None:
        frame = read_file(Path(source)) if isinstance(source, str | Path) else source
        loaded = load(frame, symbols=symbols)
        if loaded.symbols == (_UNNAMED,) and symbols is None and unnamed:
            loaded = load(frame, symbols=[unnamed])
        series = loaded.bars or loaded.trades
        self.symbols = tuple(dict.fromkeys(one.symbol for one in series))
        if not series or any(len(one) == 0 for one in series):
            raise ConfigError("prices to play are bars or trades, and there is at least one row")
        if len(series) > len(self.symbols):
            raise ConfigError("prices to play are of one timeframe for each symbol")
        self._are_bars = bool(loaded.bars)
        self._ts = np.concatenate([one.ts for one in series])
        self._names = np.repeat(np.arange(len(series)), [len(one) for one in series])
        self._values = {
            name: np.concatenate([_column(one, name) for one in series]) for name in _COLUMNS
        }

    def steps(self) -> Iterator[list[Row]]:
        """Return the rows, step by step."""
        order = np.argsort(self._ts, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(self._ts[order])) + 1, len(order))
        begin = 0
        for end in ends.tolist():
            yield [self._row(at) for at in order[begin:end]]
            begin = end

    def _row(self, at: int) -> Row:
        o, h, l, c, v = (float(self._values[name][at]) for name in _COLUMNS)  # noqa: E741
        return self.symbols[self._names[at]], o, h, l, c, v

    def past_and_rest(self, count: int) -> tuple[list[list[Row]], Iterator[list[Row]]]:
        """Return the first so many steps, and what is left to play.

        Raises:
            ConfigError: nothing is left.
        """
        if count < 0:
            raise ConfigError(f"a history is of 0 bars or more, not of {count}")
        total = len(np.unique(self._ts))
        if count >= total:
            raise ConfigError(
                f"the prices are of {total} times: a history of {count} leaves none to play"
            )
        steps = self.steps()
        return list(islice(steps, count)), steps

    def write(self, path: Path) -> None:
        """Write them as a Parquet file that reads as the same."""
        import polars as pl

        names = [self.symbols[at] for at in self._names.tolist()]
        time = pl.Series(self._ts, dtype=pl.Int64).cast(pl.Datetime("ns", "UTC"))
        values = self._values
        if not self._are_bars:
            values = {"price": values["close"], "size": values["volume"]}
        pl.DataFrame({"time": time, "symbol": names, **values}).write_parquet(path)


def _column(series: Any, name: str) -> Any:
    """Return a column of bars, or what it is of trades."""
    found = getattr(series, name, None)
    if found is None:
        found = series.size if name == "volume" else series.price
    return np.nan_to_num(found) if name == "volume" else found
