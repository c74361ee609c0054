"""Statistics held to numbers computed independently, and to their closed forms."""

from __future__ import annotations

import doctest
import math
import pickle
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimeflow.analytics import fold, metrics, months, performance, svg
from regimeflow.analytics import performance as p

R = [0.01, -0.005, 0.007, -0.02, 0.015, 0.003, -0.011, 0.009, 0.0, 0.004, -0.006, 0.012]
B = [0.008, -0.004, 0.002, -0.012, 0.010, 0.001, -0.007, 0.006, 0.001, 0.002, -0.003, 0.008]
r, b = np.array(R), np.array(B)
EQUITY = 100.0 * np.cumprod(1.0 + r)


def growth() -> float:
    return math.prod(1.0 + x for x in R)


# From the prior business day, 2024-01-01, to 2024-01-17.
YEARS = 16 / 365.25
MEAN, STD = statistics.fmean(R), statistics.stdev(R)
DOWNSIDE = math.sqrt(statistics.fmean(min(x, 0.0) ** 2 for x in R))


@pytest.mark.parametrize(
    ("value", "known", "closed_form"),
    [
        (p.sharpe(r, 252), 2.3000165947, MEAN / STD * math.sqrt(252)),
        (p.sortino(r, 252), 3.4191697310, MEAN / DOWNSIDE * math.sqrt(252)),
        (p.annual_return(r, 252), 0.4409732389, growth() ** (252 / 12) - 1),
        (p.cagr(p.total_return(r), YEARS), 0.4875359811, growth() ** (365.25 / 16) - 1),
        (p.volatility(r, 252), 0.1643466403, STD * math.sqrt(252)),
        (p.max_drawdown(EQUITY, 100.0), -0.02, -0.02),
        (p.omega(r), 1.4285714286, 0.060 / 0.042),
        (p.value_at_risk(r), -0.01505, -0.02 + 0.55 * (0.02 - 0.011)),
        (p.expected_shortfall(r), -0.02, -0.02),
        (p.beta(r, b), 1.5458333333, statistics.covariance(R, B) / statistics.variance(B)),
        (p.psr(r), 0.6750226632, None),
        (
            p.information_ratio(r, b),
            0.1253566341,
            statistics.fmean(r - b) / statistics.stdev((r - b).tolist()),
        ),
        (
            p.sharpe(r, 252, risk_free=0.05),
            2.0031143425,
            (MEAN - (1.05 ** (1 / 252) - 1)) / STD * math.sqrt(252),
        ),
    ],
)
def test_known_answers(value: float, known: float, closed_form: float | None) -> None:
    assert value == pytest.approx(known, abs=6e-11)
    if closed_form is not None:
        assert value == pytest.approx(closed_form, rel=1e-12)


def test_alpha_is_known_to_seven_digits() -> None:
    slope = statistics.covariance(R, B) / statistics.variance(B)
    assert p.alpha(r, b, 252) == pytest.approx(-0.0114838, abs=5e-8)
    assert p.alpha(r, b, 252) == pytest.approx(
        (1 + MEAN - slope * statistics.fmean(B)) ** 252 - 1, rel=1e-9
    )


def test_psr_by_hand() -> None:
    # The formula written out with moments from scratch.
    n, s = 12, MEAN / STD
    m = [statistics.fmean((x - MEAN) ** k for x in R) for k in range(5)]
    skew = m[3] / m[2] ** 1.5 * math.sqrt(n * (n - 1)) / (n - 2)
    kurtosis = 3 + (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * (m[4] / m[2] ** 2 - 3) + 6)
    z = s * math.sqrt(n - 1) / math.sqrt(1 - skew * s + (kurtosis - 1) / 4 * s * s)
    assert p.psr(r) == pytest.approx(0.5 * (1 + math.erf(z / math.sqrt(2))), rel=1e-12)


def test_a_negative_rate_raises_the_sharpe_ratio() -> None:
    assert p.sharpe(r, 252, risk_free=-0.01) > p.sharpe(r, 252) > p.sharpe(r, 252, risk_free=0.01)
    assert (1 + p.per_period(-0.01, 252)) ** 252 == pytest.approx(0.99, rel=1e-12)


NONE, ONE, FLAT, UP = np.array([]), np.array([0.1]), np.array([0.01] * 5), np.array([0.1, 0.2])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (p.sharpe(FLAT, 252), "the returns are constant"),
        (p.sharpe(ONE, 252), "it takes at least two returns"),
        (p.sortino(UP, 252), "no period lost"),
        (p.sortino(NONE, 252), "there are no returns"),
        (p.omega(UP), "no period lost"),
        (p.omega(NONE), "there are no returns"),
        (p.volatility(ONE, 252), "it takes at least two returns"),
        (p.annual_return(NONE, 252), "there are no returns"),
        (p.annual_return(np.array([-1.5]), 252), "more than everything was lost"),
        (p.cagr(0.5, 0.0), "the period has no length"),
        (p.cagr(0.5, 1e-6), "the period is too short to be annualised"),
        (p.calmar(0.1, 0.0), "there was no drawdown"),
        (p.calmar(p.Undefined("as above"), -0.1), "as above"),
        (p.value_at_risk(NONE), "there are no returns"),
        (p.psr(UP), "it takes at least four returns"),
        (p.psr(FLAT), "the returns are constant"),
        (p.beta(FLAT, FLAT), "the benchmark's returns are constant"),
        (p.information_ratio(r, r), "the active returns are constant"),
        (p.max_drawdown(EQUITY, 0.0), "the starting capital is not positive"),
        (p.profit_factor(UP), "no round trip lost"),
        (p.profit_factor(NONE), "there are no round trips"),
        (p.win_rate(NONE), "there are no round trips"),
    ],
)
def test_undefined_is_a_nan_that_says_why(value: float, reason: str) -> None:
    assert math.isnan(value)
    assert isinstance(value, p.Undefined)
    assert value.reason == reason
    assert pickle.loads(pickle.dumps(value)).reason == reason


def test_a_loss_on_the_first_bar_is_a_drawdown() -> None:
    assert p.max_drawdown(np.array([90.0, 95.0]), 100.0) == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("levels", "days"),
    [
        ([101, 102, 103], 0),
        ([99, 100, 101], 2),  # back at the start on the second day
        ([99, 98, 97], 3),  # never back: it lasts until the end
        ([101, 100, 99, 101, 99], 3),
        ([101, 99, 102, 99], 2),
        ([100, 100, 100], 0),
    ],
)
def test_drawdown_duration(levels: list[float], days: float) -> None:
    ts = (np.arange(len(levels)) + 1) * 86_400 * 10**9
    assert p.max_drawdown_duration(np.array(levels, float), 100.0, ts, 0) == days


wavering = st.lists(st.floats(-0.5, 0.5), min_size=5, max_size=60).filter(
    lambda values: np.std(values) > 1e-6
)


@given(wavering, st.floats(0.1, 10.0))
def test_sharpe_does_not_depend_on_leverage(values: list[float], leverage: float) -> None:
    returns = np.array(values)
    assert p.sharpe(returns * leverage, 252) == pytest.approx(p.sharpe(returns, 252), abs=1e-9)


@given(wavering)
def test_order_of_magnitudes(values: list[float]) -> None:
    returns = np.array(values)
    levels = np.cumprod(1.0 + returns)
    assert -1.0 <= p.max_drawdown(levels, 1.0) <= min(0.0, returns.min() + 1e-12)
    assert p.expected_shortfall(returns) <= p.value_at_risk(returns) + 1e-15
    assert p.expected_shortfall(returns) >= returns.min() - 1e-15
    assert p.total_return(returns) == pytest.approx(levels[-1] - 1.0, abs=1e-12)
    assert (p.drawdowns(levels, 1.0) <= 0).all()


@pytest.mark.parametrize("module", [performance, fold, metrics, months, svg])
def test_examples_in_docstrings(module: object) -> None:
    failures, tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert tried > 0
    assert not failures
