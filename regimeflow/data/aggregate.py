"""Bars from trades, coarser bars from finer ones: all at once, or as they come.

An interval is ``(end - timeframe, end]`` on the grid of UTC: a trade at the very end still belongs
to the bar that closes there. Intervals without a trade give no bar.
"""

from __future__ import annotations

import numpy as np

from regimeflow.data.frames import TradeColumns
from regimeflow.errors import ConfigError, DataError
from regimeflow.model.market import Bar, BarColumns, FloatArray, IntArray, Trade
from regimeflow.model.timeframe import format_timeframe, iso, parse_timeframe


def bars_from_trades(trades: TradeColumns, timeframe: str | int) -> BarColumns:
    """Return the bars of a series of trades; the last one may have been cut short by the data.

    Args:
        trades: times not decreasing.
        timeframe: bar length.

    >>> ts = np.array([1, 60, 61], np.int64) * 10**9
    >>> trades = TradeColumns("X", ts, np.array([3.0, 5.0, 4.0]), np.ones(3))
    >>> bars = bars_from_trades(trades, "1min")
    >>> bars.ts // 10**9, bars.close, bars.volume
    (array([ 60, 120]), array([5., 4.]), array([2., 1.]))
    """
    length = parse_timeframe(timeframe)
    ends, starts, groups = _intervals(trades.ts, length)
    price = trades.price
    return BarColumns(
        trades.symbol,
        length,
        ends,
        price[starts],
        np.maximum.reduceat(price, starts) if len(starts) else price[:0],
        np.minimum.reduceat(price, starts) if len(starts) else price[:0],
        price[_lasts(starts, len(price))],
        _sums(groups, trades.size),
    )


def resample(bars: BarColumns, timeframe: str | int) -> BarColumns:
    """Return coarser bars; a feature takes its last value in each.

    Args:
        bars: a series of finer bars.
        timeframe: bar length, a multiple of theirs.

    Raises:
        ConfigError: a length that theirs does not divide.
    """
    length = parse_timeframe(timeframe)
    if length % bars.timeframe:
        raise ConfigError(
            f"{bars.symbol}: bars of {format_timeframe(bars.timeframe)} do not make up bars of"
            f" {format_timeframe(length)}; use a multiple"
        )
    ends, starts, groups = _intervals(bars.ts, length)
    lasts = _lasts(starts, len(bars))
    return BarColumns(
        bars.symbol,
        length,
        ends,
        bars.open[starts],
        np.maximum.reduceat(bars.high, starts) if len(starts) else bars.high[:0],
        np.minimum.reduceat(bars.low, starts) if len(starts) else bars.low[:0],
        bars.close[lasts],
        _sums(groups, bars.volume),
        {name: column[lasts] for name, column in bars.features.items()},
    )


class BarBuilder:
    """Makes bars of trades as they come; bit for bit those of `bars_from_trades`.

    Args:
        symbol: of the trades and the bars.
        timeframe: bar length.
    """

    def __init__(self, symbol: str, timeframe: str | int) -> None:
        self.symbol = symbol
        self.timeframe = parse_timeframe(timeframe)
        self._end = 0  # of the interval that is being filled
        self._closed = np.iinfo(np.int64).min  # end of the last interval that was closed
        self._filling = False
        self._open = self._high = self._low = self._close = self._volume = 0.0

    def push(self, trade: Trade) -> Bar | None:
        """Take a trade; return the bar before it if the trade is the first of a later interval.

        Raises:
            DataError: the trade belongs to an interval that is over.
        """
        end = -(-trade.ts // self.timeframe) * self.timeframe
        if end <= self._closed or (self._filling and end < self._end):
            raise DataError(
                f"{self.symbol}: a trade of {iso(trade.ts)} came after its bar had been closed"
            )
        bar = self._finish(trade.seen) if self._filling and end > self._end else None
        price = trade.price
        if not self._filling:
            self._filling, self._end = True, end
            self._open = self._high = self._low = price
            self._volume = 0.0
        elif price > self._high:
            self._high = price
        elif price < self._low:
            self._low = price
        self._close = price
        self._volume += trade.size
        return bar

    def close_until(self, ts: int, seen: int | None = None) -> Bar | None:
        """Return the bar whose end has been reached at ``ts``, if there is one.

        Args:
            ts: UTC nanoseconds up to which all trades have been pushed.
            seen: when that became known; ``None``: at ``ts``.
        """
        if self._filling and self._end <= ts:
            return self._finish(ts if seen is None else seen)
        return None

    def _finish(self, seen: int) -> Bar:
        self._filling, self._closed = False, self._end
        return Bar(
            self._end,
            seen,
            self.symbol,
            self._open,
            self._high,
            self._low,
            self._close,
            self._volume,
            self.timeframe,
        )


def _intervals(ts: IntArray, length: int) -> tuple[IntArray, IntArray, IntArray]:
    """Return the end and first row of each interval that has rows, and each row's interval."""
    ends = -(-ts // length) * length
    new = np.concatenate([[True], ends[1:] != ends[:-1]])[: len(ends)]
    starts = np.flatnonzero(new)
    return ends[starts], starts, np.cumsum(new) - 1


def _lasts(starts: IntArray, size: int) -> IntArray:
    return np.append(starts[1:], size)[: len(starts)] - 1


def _sums(groups: IntArray, values: FloatArray) -> FloatArray:
    """Return the sum of each group, added one after the other as a live session would.

    ``np.add.reduceat`` adds in pairs, whose last digits differ.
    """
    if not len(groups):
        return np.zeros(0)
    return np.bincount(groups, weights=values).astype(np.float64)
