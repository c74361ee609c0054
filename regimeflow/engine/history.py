"""Closed bars that a strategy may look back on.

Two objects stand behind one port, so that nothing above asks which run it is in: `RollingHistory`
keeps what events bring, `ColumnHistory` reads a historical frame's own columns and shows no more of
them than events have brought. A property test holds them to the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from regimeflow.engine.cursor import Cursor
from regimeflow.engine.indicators import Indicator
from regimeflow.errors import ConfigError, did_you_mean
from regimeflow.model.market import (
    Bar,
    Bars,
    FloatArray,
    History,
    IntArray,
)
from regimeflow.model.timeframe import format_timeframe

Key = tuple[str, int]  # symbol, timeframe in nanoseconds

#: Price and time where there is no price yet.
NO_PRICE = (0.0, -(2**62))


class Window(msgspec.Struct, eq=False, gc=False):
    """The newest closed bars of one series, the newest last: what ``ctx.bars`` returns.

    ``open, high, low, close, volume`` are read-only ``float64`` arrays of one length, ``ts`` the
    close times in UTC nanoseconds. There may be fewer bars than were asked for: see ``len``.
    """

    _columns: SeriesViews
    _start: int
    _stop: int

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def ts(self) -> IntArray:
        """Close times, UTC nanoseconds."""
        return self._columns.ts[self._start : self._stop]

    @property
    def open(self) -> FloatArray:
        """Opening prices."""
        return self._columns.open[self._start : self._stop]

    @property
    def high(self) -> FloatArray:
        """Highest prices."""
        return self._columns.high[self._start : self._stop]

    @property
    def low(self) -> FloatArray:
        """Lowest prices."""
        return self._columns.low[self._start : self._stop]

    @property
    def close(self) -> FloatArray:
        """Closing prices."""
        return self._columns.close[self._start : self._stop]

    @property
    def volume(self) -> FloatArray:
        """Units traded."""
        return self._columns.volume[self._start : self._stop]

    def __repr__(self) -> str:
        return f"<{len(self)} bars>"


class HistoryPort(Protocol):
    """What the engine needs of a history."""

    @property
    def tracking(self) -> bool:
        """Whether `store` must be told of every bar."""

    @property
    def cursor(self) -> Cursor | None:
        """What every event of bars moves on by one, where that is all there is to `store`."""

    def follow(self) -> None:
        """Promise that `cursor` is moved on with every event from now on."""

    def store(self, event: Bar | Bars) -> None:
        """Take in the bars of one event, before any callback sees them."""

    def warm(self, event: History) -> None:
        """Take in bars from before the run."""

    def window(self, symbol: str, n: int, timeframe: int, bar_ts: int) -> Window:
        """Return up to ``n`` bars that closed at or before ``bar_ts``."""

    def latest(self, symbol: str, bar_ts: int) -> Bar | None:
        """Return the newest bar of a symbol's finest series."""

    def last_close(self, symbol: str, bar_ts: int) -> tuple[float, int]:
        """Return the close of that bar and when it closed; `NO_PRICE` before the first."""

    def feature(self, symbol: str, name: str, bar_ts: int) -> float:
        """Return a feature's newest value."""

    def attach(
        self, indicator: Indicator, symbol: str, timeframe: int, fields: Sequence[str], bar_ts: int
    ) -> None:
        """Keep an indicator up to date with a series."""


class SeriesViews:
    """Read-only views of what has the columns of one series as attributes."""

    __slots__ = ("close", "high", "low", "open", "ts", "volume")

    ts: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray

    def __init__(self, source: Any) -> None:
        for name in self.__slots__:
            column = getattr(source, name)
            if column.flags.writeable:
                column = column[:]
                column.flags.writeable = False
            setattr(self, name, column)


class Catalogue:
    """Which series there are, and one sentence for a request of one that is not there."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.finest: dict[str, int] = {}
        for symbol, timeframe in keys:
            self.finest[symbol] = min(timeframe, self.finest.get(symbol, timeframe))
        self.keys = list(keys)

    def key(self, symbol: str, timeframe: int) -> Key:
        """Return the series meant; a timeframe of 0 means the finest."""
        if symbol not in self.finest:
            raise ConfigError(
                f"there are no bars of {symbol!r} in this run.{did_you_mean(symbol, self.finest)}"
            )
        key = (symbol, timeframe or self.finest[symbol])
        if key not in self.keys:
            there = ", ".join(format_timeframe(t) for s, t in self.keys if s == symbol)
            raise ConfigError(
                f"there are no {format_timeframe(timeframe)} bars of {symbol!r} in this run, "
                f"only {there}: put that timeframe into the data"
            )
        return key


def check_depth(n: int, depth: int) -> None:
    """Refuse to look back on no bars, or on more than are kept."""
    if n < 1:
        raise ConfigError(f"ctx.bars needs at least 1 bar, got {n}")
    if n > depth:
        raise ConfigError(
            f"ctx.bars was asked for {n} bars and this strategy keeps {depth}: "
            f"set `history_depth = {n}` in its class"
        )


def no_feature(symbol: str, name: str, known: Sequence[str] | dict[str, FloatArray]) -> ConfigError:
    """Return the error for a feature that is not there."""
    there = ", ".join(known) or "none"
    return ConfigError(
        f"{symbol!r} has no feature {name!r} (there: {there}).{did_you_mean(name, known)}"
    )
