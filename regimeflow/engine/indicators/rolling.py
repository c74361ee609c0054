"""Indicators over the last ``n`` values.

All of them cut the series into blocks of ``n`` from its first bar. A window then is the tail of one
block and the head of the next: heads are folded as values arrive, tails once when a block is full,
so a step costs the same whatever ``n``, and nothing is ever taken out of a sum again. What left the
window, be it a huge outlier or a NaN, leaves no trace, and a numpy form that folds the same blocks
in the same order gives the same bits.

A window with a NaN in it gives NaN.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from itertools import accumulate

import numpy as np

from regimeflow.engine.indicators.base import NAN, Indicator, positive, whole
from regimeflow.model.market import FloatArray


class SMA(Indicator):
    """Simple moving average, ready after ``n`` values.

    A window of equal values gives exactly that value, so two averages of a flat price never cross.

    Args:
        n: window, bars.

    >>> average = SMA(3)
    >>> for close in (1.0, 2.0, 6.0):
    ...     average.push(close)
    >>> average, average.value
    (SMA(3), 3.0)
    """

    def __init__(self, n: int) -> None:
        self.n = whole(self, "n", n, 1)
        self._block: list[float] = []
        self._tail = [NAN] * (self.n - 1)  # of a block before the first: no value yet
        self._anchor = 0.0
        self._head = 0.0

    # Sums are of differences from an anchor, the last value of the full block. It lies in every
    # window it serves, so no sum is larger than the window's own spread explains.
    def update(self, x: float) -> float:
        self._block.append(x)
        if not self._tail:
            return self._turn(x)
        self._head = head = self._head + (x - self._anchor)
        return self._anchor + (self._tail.pop() + head) / self.n

    def vectorised(self, column: FloatArray) -> FloatArray:
        return _moments(column, self.n)[0]

    def _turn(self, x: float) -> float:
        self._anchor = anchor = x
        self._tail = list(accumulate([value - anchor for value in reversed(self._block)]))
        self._block.clear()
        self._head = 0.0
        return anchor + self._tail.pop() / self.n


RollingMean = SMA


class _Moments(Indicator):
    """Mean and standard deviation of a window; the mean is SMA's to the last bit."""

    def __init__(self, n: int, ddof: int) -> None:
        self.ddof = whole(self, "ddof", ddof, 0)
        self.n = whole(self, "n", n, self.ddof + 1)
        self._block: list[float] = []
        self._tail = [NAN] * (self.n - 1)
        self._tail_squares = [NAN] * (self.n - 1)
        self._anchor = 0.0
        self._head = 0.0
        self._head_squares = 0.0

    # The anchor is one of the window's values. By that the squares about it exceed those about the
    # mean at most n times, so the difference below keeps its digits however far from 0 prices are.
    def _step(self, x: float) -> tuple[float, float]:
        self._block.append(x)
        if not self._tail:
            self._turn(x)
            total, squares = self._tail.pop(), self._tail_squares.pop()
        else:
            difference = x - self._anchor
            self._head += difference
            self._head_squares += difference * difference
            total = self._tail.pop() + self._head
            squares = self._tail_squares.pop() + self._head_squares
        n = self.n
        variance = (squares - total * total / n) / (n - self.ddof)
        mean = self._anchor + total / n
        # Rounding can leave a tiny negative; NaN must stay NaN.
        return mean, math.sqrt(variance) if not variance <= 0.0 else 0.0

    def _turn(self, x: float) -> None:
        self._anchor = anchor = x
        differences = [value - anchor for value in reversed(self._block)]
        self._tail = list(accumulate(differences))
        self._tail_squares = list(accumulate([value * value for value in differences]))
        self._block.clear()
        self._head = self._head_squares = 0.0


class RollingStd(_Moments):
    """Standard deviation of the last ``n`` values; exactly 0.0 when they are equal.

    Args:
        n: window, bars.
        ddof: 1 for a sample's, as pandas and polars have it, 0 for the population's.

    >>> spread = RollingStd(4, ddof=0)
    >>> for close in (2.0, 4.0, 4.0, 6.0):
    ...     spread.push(close)
    >>> round(spread.value, 6)
    1.414214
    """

    def __init__(self, n: int, ddof: int = 1) -> None:
        super().__init__(n, ddof)

    def update(self, x: float) -> float:
        return self._step(x)[1]

    def vectorised(self, column: FloatArray) -> FloatArray:
        return _moments(column, self.n, self.ddof)[1]


class Bollinger(_Moments):
    """Bollinger bands: SMA(n), and ``k`` standard deviations above and below it.

    Outputs: ``value`` (the middle band; also ``middle``), ``upper``, ``lower``.

    Args:
        n: window, bars.
        k: width of each band, standard deviations.
        ddof: 0, the population's, as Bollinger defines them (*Bollinger on Bollinger Bands*, 2001).
    """

    outputs = ("value", "upper", "lower")
    upper: float
    lower: float

    def __init__(self, n: int = 20, k: float = 2.0, ddof: int = 0) -> None:
        super().__init__(n, ddof)
        self.k = positive(self, "k", k)

    @property
    def middle(self) -> float:
        """The newest middle band, the same as ``value``."""
        return self.value

    def update(self, x: float) -> tuple[float, float, float]:
        mean, std = self._step(x)
        width = self.k * std
        return mean, mean + width, mean - width

    def vectorised(self, column: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        mean, std = _moments(column, self.n, self.ddof)
        with np.errstate(all="ignore"):
            width = self.k * std
            return mean, mean + width, mean - width


class ZScore(_Moments):
    """How many standard deviations the newest value lies above the window's mean.

    NaN, that is not ready, while all values of the window are equal: there is no scale then.

    Args:
        n: window, bars.
        ddof: 1 for a sample's standard deviation, 0 for the population's.
    """

    def __init__(self, n: int, ddof: int = 1) -> None:
        super().__init__(n, ddof)

    def update(self, x: float) -> float:
        mean, std = self._step(x)
        return (x - mean) / std if std else NAN

    def vectorised(self, column: FloatArray) -> FloatArray:
        mean, std = _moments(column, self.n, self.ddof)
        with np.errstate(all="ignore"):
            return np.where(std == 0.0, NAN, (column - mean) / std)


class _Extreme(Indicator):
    """The lowest of a window; the highest is the lowest of the mirrored values."""

    def __init__(self, n: int) -> None:
        self.n = whole(self, "n", n, 1)
        self._block: list[float] = []
        self._tail = [math.inf] * (self.n - 1)
        self._head = math.inf
        self._missing = self.n - 1  # how many outputs are still NaN

    def _lowest(self, x: float) -> float:
        if x != x:  # comparisons cannot carry a NaN along, so it is counted instead
            self._missing = self.n
            x = math.inf
        self._block.append(x)
        if self._tail:
            if x < self._head:
                self._head = x
            lowest = self._tail.pop()
            if self._head < lowest:
                lowest = self._head
        else:
            self._tail = list(accumulate(reversed(self._block), min))
            self._block.clear()
            self._head = math.inf
            lowest = self._tail.pop()
        if self._missing:
            self._missing -= 1
            return NAN
        return lowest + 0.0  # 0.0 and -0.0 are equal: which of them wins must not matter


class RollingMin(_Extreme):
    """Lowest of the last ``n`` values.

    >>> low = RollingMin(2)
    >>> for price in (3.0, 5.0, 4.0):
    ...     low.push(price)
    >>> low.value
    4.0
    """

    def update(self, x: float) -> float:
        return self._lowest(x)

    def vectorised(self, column: FloatArray) -> FloatArray:
        return _lowest(column, self.n)


class RollingMax(_Extreme):
    """Highest of the last ``n`` values."""

    def update(self, x: float) -> float:
        return 0.0 - self._lowest(-x)

    def vectorised(self, column: FloatArray) -> FloatArray:
        return 0.0 - _lowest(-column, self.n)


class Donchian(Indicator):
    """Donchian channel: highest high, lowest low and the middle between them, of ``n`` bars.

    The newest bar is among them, so a close never lies outside; for a breakout compare it with the
    channel as it stood before.

    Outputs: ``value`` (the middle; also ``middle``), ``upper``, ``lower``.

    Args:
        n: window, bars.
    """

    inputs = ("high", "low")
    outputs = ("value", "upper", "lower")
    upper: float
    lower: float

    def __init__(self, n: int = 20) -> None:
        self.n = whole(self, "n", n, 1)
        self._highest = RollingMax(self.n)
        self._lowest = RollingMin(self.n)

    @property
    def middle(self) -> float:
        """The newest middle of the channel, the same as ``value``."""
        return self.value

    def update(self, high: float, low: float) -> tuple[float, float, float]:
        upper, lower = self._highest.update(high), self._lowest.update(low)
        return (upper + lower) / 2.0, upper, lower

    def vectorised(
        self, high: FloatArray, low: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        upper, lower = self._highest.vectorised(high), self._lowest.vectorised(low)
        with np.errstate(all="ignore"):
            return (upper + lower) / 2.0, upper, lower


class ROC(Indicator):
    """Rate of change over ``n`` bars as a fraction: 0.02 is up two per cent.

    NaN where the value ``n`` bars ago is zero.

    Args:
        n: how far back, bars.

    >>> momentum = ROC(2)
    >>> for close in (100.0, 101.0, 105.0):
    ...     momentum.push(close)
    >>> round(momentum.value, 12)
    0.05
    """

    def __init__(self, n: int) -> None:
        self.n = whole(self, "n", n, 1)
        self._past = deque([NAN] * self.n, maxlen=self.n)

    def update(self, x: float) -> float:
        past = self._past[0]
        self._past.append(x)
        return x / past - 1.0 if past else NAN

    def vectorised(self, column: FloatArray) -> FloatArray:
        result = np.full(len(column), NAN)
        past = column[: -self.n]
        with np.errstate(all="ignore"):
            result[self.n :] = np.where(past == 0.0, NAN, column[self.n :] / past - 1.0)
        return result


def _moments(column: FloatArray, n: int, ddof: int | None = None) -> tuple[FloatArray, FloatArray]:
    """Return rolling means, and standard deviations unless ``ddof`` is None."""
    mean = np.full(len(column) // n * n + n - 1, NAN)
    std = mean if ddof is None else mean.copy()
    means, stds = mean[n - 1 :].reshape(-1, n), std[n - 1 :].reshape(-1, n)
    with np.errstate(all="ignore"):  # huge values overflow in both forms alike
        for rows, block, following in _chunks(column, n):
            anchor = block[:, -1:]
            tail, head = block - anchor, following - anchor
            if ddof is not None:
                squares = _fold(np.add, tail * tail, head * head)
            total = _fold(np.add, tail, head)
            if ddof is not None:
                variance = (squares - total * total / n) / (n - ddof)
                np.sqrt(np.maximum(variance, 0.0), out=stds[rows])
            total /= n
            np.add(anchor, total, out=means[rows])
    return mean[: len(column)], std[: len(column)]


def _lowest(column: FloatArray, n: int) -> FloatArray:
    lowest = np.full(len(column) // n * n + n - 1, NAN)
    windows = lowest[n - 1 :].reshape(-1, n)
    for rows, block, following in _chunks(column, n):
        windows[rows] = _fold(np.minimum, block.copy(), following.copy()) + 0.0
    return lowest[: len(column)]


def _fold(ufunc: np.ufunc, tail: FloatArray, head: FloatArray) -> FloatArray:
    """Return the ``n`` windows that each row of blocks serves, oldest first; overwrites both.

    Args:
        tail: a full block per row, shape ``(rows, n)``.
        head: the ``n - 1`` values after it, shape ``(rows, n - 1)``.
    """
    # accumulate folds one value after the other, as streaming does; reduce would sum pairwise.
    newest_first = tail[:, ::-1]
    ufunc.accumulate(newest_first, axis=1, out=newest_first)
    ufunc.accumulate(head, axis=1, out=head)
    ufunc(tail[:, 1:], head, out=tail[:, 1:])
    return tail


def _chunks(column: FloatArray, n: int) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
    """Yield full blocks and the values after each, as many rows at once as fit into the cache."""
    blocks = len(column) // n
    at_once = max(1, 16_384 // n)
    for row in range(0, blocks, at_once):
        end = min(row + at_once, blocks)
        values = column[row * n : (end + 1) * n]
        if len(values) < (end + 1 - row) * n:  # the last block is not full: what is missing is cut
            values = np.concatenate([values, np.zeros((end + 1 - row) * n - len(values))])
        grid = values.reshape(-1, n)
        yield slice(row, end), grid[:-1], grid[1:, :-1]
