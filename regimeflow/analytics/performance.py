"""Performance statistics: plain arrays in, one float out.

Conventions, the same everywhere: ``returns`` are simple returns per period, shape ``(n,)``;
standard deviations have ddof 1; ``periods_per_year`` annualises; a risk-free rate is a yearly
fraction of any sign and is taken down to a period geometrically; losses and drawdowns are negative
numbers. What is not defined (the Sharpe ratio of constant returns, a profit factor without a loss)
is a NaN that says why: :class:`Undefined`.

The examples below share one series::

    r = [.01, -.005, .007, -.02, .015, .003, -.011, .009, 0, .004, -.006, .012]
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Self

import numpy as np
import numpy.typing as npt

from regimeflow.model.market import FloatArray, IntArray
from regimeflow.model.timeframe import NS_PER_DAY

DAYS_PER_YEAR = 365.25


class Undefined(float):
    """A NaN that knows why it is one.

    >>> sharpe(np.array([0.01, 0.01, 0.01]), 252).reason
    'the returns are constant'
    """

    __slots__ = ("reason",)
    reason: str

    def __new__(cls, reason: str) -> Self:
        self = super().__new__(cls, math.nan)
        self.reason = reason
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.reason,)


# ---------------------------------------------------------------- growth


def total_return(returns: FloatArray) -> float:
    """Return the growth over all periods: ``prod(1 + r) - 1``.

    >>> round(total_return(np.array([0.10, -0.10])), 12)
    -0.01
    """
    return float(np.prod(1.0 + returns)) - 1.0


def annual_return(returns: FloatArray, periods_per_year: float) -> float:
    """Return the compound return of a year of trading periods: ``prod(1 + r) ** (ppy / n) - 1``.

    Counts periods, where :func:`cagr` counts calendar time (GIPS 2020, "annualized").

    >>> r = np.array([.01, -.005, .007, -.02, .015, .003, -.011, .009, 0, .004, -.006, .012])
    >>> round(annual_return(r, 252), 10)
    0.4409732389
    """
    if not len(returns):
        return Undefined("there are no returns")
    return _compound(total_return(returns), periods_per_year / len(returns))


def cagr(total: float, years: float) -> float:
    """Return the compound growth rate over calendar time: ``(1 + total) ** (1 / years) - 1``.

    ``years`` are years of 365.25 days from the starting capital to the last value.

    >>> round(cagr(0.21, 2.0), 12)
    0.1
    """
    if years <= 0:
        return Undefined("the period has no length")
    return _compound(total, 1.0 / years)


def _compound(total: float, power: float) -> float:
    if not total >= -1.0:
        return Undefined("more than everything was lost")
    try:
        grown = math.pow(1.0 + total, power) - 1.0
    except OverflowError:
        grown = math.inf
    if not math.isfinite(grown):
        return Undefined("the period is too short to be annualised")
    return grown


# ---------------------------------------------------------------- risk


def volatility(returns: FloatArray, periods_per_year: float) -> float:
    """Return the annualised standard deviation, ddof 1: ``std(r) * sqrt(ppy)``.

    >>> r = np.array([.01, -.005, .007, -.02, .015, .003, -.011, .009, 0, .004, -.006, .012])
    >>> round(volatility(r, 252), 10)
    0.1643466403
    """
    if len(returns) < 2:
        return Undefined("it takes at least two returns")
    return float(np.std(returns, ddof=1)) * math.sqrt(periods_per_year)


def peaks(equity: FloatArray, start: float) -> FloatArray:
    """Return the highest value so far at each, the starting capital included.

    >>> peaks(np.array([90.0, 120.0, 60.0]), 100.0).tolist()
    [100.0, 120.0, 120.0]
    """
    out: FloatArray = np.maximum.accumulate(equity)
    return np.maximum(out, start, out=out)


def drawdowns(equity: FloatArray, start: float, peak: FloatArray | None = None) -> FloatArray:
    """Return each value's distance from the highest so far, the starting capital included.

    Args:
        equity: values, shape ``(n,)``.
        start: the capital before the first of them: a loss in the first period is a drawdown.
        peak: `peaks` of them, where they are known already.

    >>> drawdowns(np.array([90.0, 120.0, 60.0]), 100.0).tolist()
    [-0.09999999999999998, 0.0, -0.5]
    """
    if peak is None:
        peak = peaks(equity, start)
    with np.errstate(divide="ignore", invalid="ignore"):  # a peak of zero has no fraction: NaN
        out: FloatArray = equity / peak
    out -= 1.0
    return out


def max_drawdown(equity: FloatArray, start: float, peak: FloatArray | None = None) -> float:
    """Return the deepest drawdown, at most zero; arguments as of `drawdowns`.

    >>> max_drawdown(np.array([90.0, 120.0, 60.0]), 100.0)
    -0.5
    """
    if not len(equity):
        return Undefined("there is no equity")
    if start <= 0:
        return Undefined("the starting capital is not positive")
    return float(drawdowns(equity, start, peak).min())


def max_drawdown_duration(
    equity: FloatArray,
    start: float,
    ts: IntArray,
    start_ts: int,
    peak: FloatArray | None = None,
) -> float:
    """Return the longest time below an earlier high, in days; a drawdown still open counts.

    Args:
        equity, ts: values and their times, UTC nanoseconds, shape ``(n,)``.
        start, start_ts: the starting capital and its time.
        peak: `peaks` of the values, where they are known already.

    >>> day = 86_400 * 10**9
    >>> values, times = np.array([90.0, 95.0, 101.0, 99.0]), np.arange(1, 5) * day
    >>> max_drawdown_duration(values, 100.0, times, 0)
    3.0
    """
    if not len(equity):
        return Undefined("there is no equity")
    if peak is None:
        peak = peaks(equity, start)
    # Times at a high, then the end: the longest gap that holds a value below the high.
    highs = np.flatnonzero(equity >= peak)
    at = np.concatenate(([-1], highs, [len(equity) - 1]))
    times = np.concatenate(([start_ts], ts[highs], ts[-1:]))
    under = np.diff(at) > 1
    under[-1] = at[-1] > at[-2]
    longest = np.diff(times)[under]
    return float(longest.max()) / NS_PER_DAY if len(longest) else 0.0


def value_at_risk(returns: FloatArray, level: float = 0.95) -> float:
    """Return the historical value at risk: the ``1 - level`` quantile of returns, interpolated.

    A return, so a loss is negative (J.P. Morgan, RiskMetrics, 1996; historical simulation).

    >>> r = np.array([.01, -.005, .007, -.02, .015, .003, -.011, .009, 0, .004, -.006, .012])
    >>> round(value_at_risk(r), 10)
    -0.01505
    """
    if not len(returns):
        return Undefined("there are no returns")
    return float(np.quantile(returns, 1.0 - level))


def expected_shortfall(
    returns: FloatArray, level: float = 0.95, at_risk: float | None = None
) -> float:
    """Return the mean of the returns at or below the value at risk (Acerbi and Tasche, 2002).

    Args:
        returns: per period, shape ``(n,)``.
        level: of the value at risk.
        at_risk: `value_at_risk` of that level, where it is known already.

    >>> r = np.array([.01, -.005, .007, -.02, .015, .003, -.011, .009, 0, .004, -.006, .012])
    >>> expected_shortfall(r)
    -0.02
    """
    if not len(returns):
        return Undefined("there are no returns")
    if at_risk is None:
        at_risk = value_at_risk(returns, level)
    return float(returns[returns <= at_risk].mean())


# ---------------------------------------------------------------- return for risk


def per_period(annual_rate: float, periods_per_year: float) -> float:
    """Return a yearly rate of any sign as the rate of one period, geometrically.

    >>> round(per_period(0.05, 252), 10)
    0.0001936305
    """
    return math.expm1(math.log1p(annual_rate) / periods_per_year)


def _over(returns: FloatArray, rate: float) -> FloatArray:
    return returns - rate if rate else returns  # no copy of a million numbers for nothing


def sharpe(returns: FloatArray, periods_per_year: float, risk_free: float = 0.0) -> float:
    """Return the annualised Sharpe ratio: ``mean(x) / std(x) * sqrt(ppy)``, ``x`` over risk-free.

    ddof 1 (Sharpe, "The Sharpe Ratio", Journal of Portfolio Management, 1994).

    >>> r = np.array([.01, -.005, .007, -.02, .015, .003, -.011, .009, 0, .004, -.006, .012])
    >>> round(sharpe(r, 252), 10), round(sharpe(r, 252, risk_free=0.05), 10)
    (2.3000165947, 2.0031143425)
    """
    if reason := _flat(returns):
        return Undefined(reason)
    excess = _over(returns, per_period(risk_free, periods_per_year))
    return float(excess.mean() / excess.std(ddof=1)) * math.sqrt(periods_per_year)


def sortino(returns: FloatArray, periods_per_year: float, risk_free: float = 0.0) -> float:
    """Return the annualised Sortino ratio: ``mean(x) / sqrt(mean(min(x, 0) ** 2)) * sqrt(ppy)``.

    The downside is taken over the whole sample, good periods counting as zero (Sortino and
    Price, "Performance Measurement in a Downside Risk Framework", 1994).

    >>> r = np.array([.01, -.005, .007, -.02, .015, .003, -.011, .009, 0, .004, -.006, .012])
    >>> round(sortino(r, 252), 10)
    3.419169731
    """
    if not len(returns):
        return Undefined("there are no returns")
    excess = _over(returns, per_period(risk_free, periods_per_year))
    downside = math.sqrt(float(np.mean(np.minimum(excess, 0.0) ** 2)))
    if downside == 0:
        return Undefined("no period lost")
    return float(excess.mean()) / downside * math.sqrt(periods_per_year)


def calmar(growth: float, drawdown: float) -> float:
    """Return the compound annual growth rate over the depth of the worst drawdown (Young, 1991).

    >>> calmar(0.10, -0.20)
    0.5
    """
    if math.isnan(growth):
        return growth
    if not drawdown < 0:
        return Undefined("there was no drawdown")
    return growth / -drawdown


def omega(returns: FloatArray, threshold: float = 0.0) -> float:
    """Return gains over losses around a threshold per period (Keating and Shadwick, 2002).

    >>> r = np.array([.01, -.005, .007, -.02, .015, .003, -.011, .009, 0, .004, -.006, .012])
    >>> round(omega(r), 10)
    1.4285714286
    """
    excess = _over(returns, threshold)
    losses = -float(np.minimum(excess, 0.0).sum())
    if losses == 0:
        return Undefined("no period lost" if len(returns) else "there are no returns")
    return float(np.maximum(excess, 0.0).sum()) / losses


def psr(returns: FloatArray, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio exceeds a benchmark.

    ``N((s - b) sqrt(n - 1) / sqrt(1 - skew s + (kurtosis - 1) / 4 s**2))`` with ``s`` and ``b`` per
    period, unbiased moments and raw kurtosis (Bailey and Lopez de Prado, "The Sharpe Ratio
    Efficient Frontier", 2012).

    >>> r = np.array([.01, -.005, .007, -.02, .015, .003, -.011, .009, 0, .004, -.006, .012])
    >>> round(psr(r), 10)
    0.6750226632
    """
    n = len(returns)
    if n < 4:
        return Undefined("it takes at least four returns")
    if reason := _flat(returns):
        return Undefined(reason)
    ratio = float(returns.mean() / returns.std(ddof=1))
    # Sums of products: numpy's powers beyond two are fifty times slower, and a dot product would
    # wake the threads of a BLAS.
    off = returns - returns.mean()
    squared = off * off
    m2 = float(squared.sum()) / n
    off *= squared
    m3 = float(off.sum()) / n
    squared *= squared
    m4 = float(squared.sum()) / n
    skew = math.sqrt(n * (n - 1)) / (n - 2) * m3 / m2**1.5
    excess = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * (m4 / m2**2 - 3.0) + 6.0)
    variance = 1.0 - skew * ratio + (excess + 2.0) / 4.0 * ratio**2
    if variance <= 0:
        return Undefined("the sample's moments leave the estimate no variance")
    return NormalDist().cdf((ratio - benchmark) * math.sqrt(n - 1) / math.sqrt(variance))


def _flat(returns: FloatArray) -> str:
    if len(returns) < 2:
        return "it takes at least two returns"
    # Returns come from quotients of equity, so a constant one still wavers in its last bits.
    if float(np.ptp(returns)) <= 8 * np.finfo(np.float64).eps:
        return "the returns are constant"
    return ""


# ---------------------------------------------------------------- against a benchmark


def beta(returns: FloatArray, benchmark: FloatArray) -> float:
    """Return the slope against the benchmark's returns: ``cov(r, b) / var(b)``.

    >>> r = np.array([.01, -.005, .007, -.02, .015, .003, -.011, .009, 0, .004, -.006, .012])
    >>> b = np.array([.008, -.004, .002, -.012, .010, .001, -.007, .006, .001, .002, -.003, .008])
    >>> round(beta(r, b), 10)
    1.5458333333
    """
    if reason := _flat(benchmark):
        return Undefined(reason.replace("the returns", "the benchmark's returns"))
    off = benchmark - benchmark.mean()
    return float(np.dot(off, returns - returns.mean()) / np.dot(off, off))


def alpha(
    returns: FloatArray, benchmark: FloatArray, periods_per_year: float, risk_free: float = 0.0
) -> float:
    """Return Jensen's alpha per period, compounded to a year (Jensen, 1968).

    >>> r = np.array([.01, -.005, .007, -.02, .015, .003, -.011, .009, 0, .004, -.006, .012])
    >>> b = np.array([.008, -.004, .002, -.012, .010, .001, -.007, .006, .001, .002, -.003, .008])
    >>> round(alpha(r, b, 252), 7)
    -0.0114838
    """
    slope = beta(returns, benchmark)
    if math.isnan(slope):
        return slope
    rate = per_period(risk_free, periods_per_year)
    each = float(returns.mean()) - rate - slope * (float(benchmark.mean()) - rate)
    return _compound(each, periods_per_year)


def information_ratio(returns: FloatArray, benchmark: FloatArray) -> float:
    """Return the mean over the standard deviation of active returns, per period (Goodwin, 1998).

    >>> r = np.array([.01, -.005, .007, -.02, .015, .003, -.011, .009, 0, .004, -.006, .012])
    >>> b = np.array([.008, -.004, .002, -.012, .010, .001, -.007, .006, .001, .002, -.003, .008])
    >>> round(information_ratio(r, b), 10)
    0.1253566341
    """
    active = returns - benchmark
    if reason := _flat(active):
        return Undefined(reason.replace("the returns", "the active returns"))
    return float(active.mean() / active.std(ddof=1))


# ---------------------------------------------------------------- round trips


def win_rate(pnl: FloatArray) -> float:
    """Return the share of round trips that made money.

    >>> win_rate(np.array([10.0, -5.0, 0.0, 1.0]))
    0.5
    """
    if not len(pnl):
        return Undefined("there are no round trips")
    return float(np.mean(pnl > 0))


def profit_factor(pnl: FloatArray) -> float:
    """Return money won over money lost.

    >>> profit_factor(np.array([30.0, -10.0, -5.0]))
    2.0
    """
    lost = -float(pnl[pnl < 0].sum())
    if lost == 0:
        return Undefined("no round trip lost" if len(pnl) else "there are no round trips")
    return float(pnl[pnl > 0].sum()) / lost


def average(values: npt.NDArray[np.float64], what: str = "round trips") -> float:
    """Return the mean, undefined for none.

    >>> average(np.array([1.0, 2.0]))
    1.5
    """
    return float(values.mean()) if len(values) else Undefined(f"there are no {what}")
