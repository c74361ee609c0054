"""Indicators that carry everything they ever saw, fading: EMA and Wilder's.

They have no window that a missing value could leave. A bar with an input that is not finite
therefore gives NaN and is otherwise passed over: the next one goes on where the last good one was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from regimeflow.engine.indicators.base import NAN, Indicator, positive, whole
from regimeflow.errors import ConfigError
from regimeflow.model.market import FloatArray


class EMA(Indicator):
    """Exponential moving average: ``ema += alpha * (x - ema)``.

    It starts at the first value and shows itself after ``n`` values.

    Args:
        n: span, bars; ``alpha = 2 / (n + 1)``.
        alpha: weight of the newest value, in (0, 1], instead of ``n``, which then is the span that
            belongs to it, rounded.

    >>> average = EMA(3)
    >>> for close in (1.0, 3.0, 4.0):
    ...     average.push(close)
    >>> average.value
    3.0
    """

    def __init__(self, n: int | None = None, *, alpha: float | None = None) -> None:
        if (n is None) == (alpha is None):
            raise ConfigError(f"EMA: give either n or alpha, got n={n!r} and alpha={alpha!r}")
        if alpha is None:
            self.n = whole(self, "n", n, 1)
            self.alpha = 2.0 / (self.n + 1.0)
        else:
            self.alpha = positive(self, "alpha", alpha)
            if self.alpha > 1.0:
                raise ConfigError(f"EMA: alpha must lie in (0, 1], got {alpha!r}")
            self.n = max(1, round(2.0 / self.alpha - 1.0))
        self._level = NAN
        self._seen = 0

    def update(self, x: float) -> float:
        if x - x != 0.0:  # NaN or infinite
            return NAN
        if self._seen < self.n:
            return self._begin(x)
        self._level = level = self._level + self.alpha * (x - self._level)
        return level

    def vectorised(self, column: FloatArray) -> FloatArray:
        return _passing_over_missing(self._vectorised, column)

    def _begin(self, x: float) -> float:
        self._level = self._level + self.alpha * (x - self._level) if self._seen else x
        self._seen += 1
        return self._level if self._seen == self.n else NAN

    def _vectorised(self, column: FloatArray) -> FloatArray:
        result = np.fromiter(_exponential(column, self.alpha), np.float64, len(column))
        result[: self.n - 1] = NAN
        return result


class RSI(Indicator):
    """Relative strength index, 0 to 100, with Wilder's smoothing; ready after ``n + 1`` values.

    Averages of gains and of losses begin as the plain mean of the first ``n`` changes, then
    ``average += (new - average) / n``; the index is ``100 * gain / (gain + loss)``, which is
    Wilder's ``100 - 100 / (1 + gain / loss)`` (*New Concepts in Technical Trading Systems*, 1978)
    without its division by zero. 50 where there was no change at all.

    Args:
        n: smoothing, bars.
    """

    def __init__(self, n: int = 14) -> None:
        self.n = whole(self, "n", n, 1)
        self._last = NAN
        self._gain = 0.0
        self._loss = 0.0
        self._changes = -1  # the first value is no change yet

    def update(self, x: float) -> float:
        if x - x != 0.0:
            return NAN
        change = x - self._last
        self._last = x
        gain = change if change > 0.0 else 0.0  # noqa: FURB136  # a call of max costs more
        loss = -change if change < 0.0 else 0.0
        n = self.n
        if self._changes < n:
            self._changes += 1
            self._gain += gain  # 0.0 from the first value, whose change is NaN
            self._loss += loss
            if self._changes < n:
                return NAN
            self._gain /= n
            self._loss /= n
        else:
            self._gain += (gain - self._gain) / n
            self._loss += (loss - self._loss) / n
        total = self._gain + self._loss
        return 100.0 * self._gain / total if total else 50.0

    def vectorised(self, column: FloatArray) -> FloatArray:
        return _passing_over_missing(self._vectorised, column)

    def _vectorised(self, column: FloatArray) -> FloatArray:
        result = np.full(len(column), NAN)
        with np.errstate(all="ignore"):
            change = np.diff(column)
            gain = _wilder(np.where(change > 0.0, change, 0.0), self.n)
            loss = _wilder(np.where(change < 0.0, -change, 0.0), self.n)
            total = gain + loss
            result[1:] = np.where(total == 0.0, 50.0, 100.0 * gain / total)
        return result


class ATR(Indicator):
    """Average true range with Wilder's smoothing, in price units; ready after ``n`` bars.

    True range is the bar's range widened to the close before; the first bar, which has none before
    it, counts with its own. The average begins as the plain mean of the first ``n``.

    Args:
        n: smoothing, bars.
    """

    inputs = ("high", "low", "close")

    def __init__(self, n: int = 14) -> None:
        self.n = whole(self, "n", n, 1)
        self._close = NAN
        self._average = 0.0
        self._seen = 0

    def update(self, high: float, low: float, close: float) -> float:
        if not math.isfinite(high + low + close):
            return NAN
        before = self._close
        self._close = close
        # Comparisons with NaN are false: the first bar keeps its own range.
        true_high = before if before > high else high  # noqa: FURB136  # a call of max costs more
        true_low = before if before < low else low  # noqa: FURB136
        true_range = true_high - true_low
        n = self.n
        if self._seen < n:
            self._seen += 1
            self._average += true_range
            if self._seen < n:
                return NAN
            self._average /= n
        else:
            self._average += (true_range - self._average) / n
        return self._average

    def vectorised(self, high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
        return _passing_over_missing(self._vectorised, high, low, close)

    def _vectorised(self, high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
        before = np.concatenate([[NAN], close[:-1]])
        with np.errstate(all="ignore"):
            true_high = np.where(before > high, before, high)
            true_low = np.where(before < low, before, low)
            return _wilder(true_high - true_low, self.n)


# Loops in Python after all: each value hangs on the one before through a multiplication, and no
# reordering of that gives the same bits. A generator is the fastest of them, and takes no memory.
def _exponential(column: FloatArray, alpha: float) -> Iterator[float]:
    values: Iterator[float] = iter(column.data)
    for level in values:
        yield level
        for x in values:
            level = level + alpha * (x - level)
            yield level


def _wilder(values: FloatArray, n: int) -> FloatArray:
    """Return Wilder's average, NaN for the first ``n - 1``."""
    result = np.full(len(values), NAN)
    if len(values) >= n:
        first = float(np.add.accumulate(values[:n])[-1])  # one after the other, as streaming
        levels = _wilder_levels(values[n:], n, (first + 0.0) / n)
        result[n - 1 :] = np.fromiter(levels, np.float64, len(values) - n + 1)
    return result


def _wilder_levels(values: FloatArray, n: int, level: float) -> Iterator[float]:
    yield level
    for x in values.data:
        level += (x - level) / n
        yield level


def _passing_over_missing(compute: Callable[..., FloatArray], *columns: FloatArray) -> FloatArray:
    """Compute on the rows whose inputs are all finite; the others are NaN."""
    with np.errstate(all="ignore"):
        total = columns[0]
        for column in columns[1:]:
            total = total + column
        good = np.isfinite(total)
    if good.all():
        return compute(*columns)
    result = np.full(len(good), NAN)
    result[good] = compute(*(column[good] for column in columns))
    return result
