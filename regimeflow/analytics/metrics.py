"""The metrics of a report: what each is called, what it means, and the run's value of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from regimeflow.analytics import performance as p
from regimeflow.analytics.fold import (
    Curve,
    FillColumns,
    PriceColumns,
    RunData,
    simple_returns,
    step,
)
from regimeflow.analytics.trips import Trips
from regimeflow.data.calendars import periods_per_year as calendar_periods
from regimeflow.errors import did_you_mean
from regimeflow.model.market import FloatArray, IntArray
from regimeflow.model.timeframe import NS_PER_DAY, iso


class Spec(NamedTuple):
    """How a metric is shown: its name in words, its unit and its convention in one sentence."""

    label: str
    unit: str  # percent, ratio, money, count, days or times
    meaning: str


#: Every metric, in the order of a tear sheet.
SPECS: dict[str, Spec] = {
    "total_return": Spec("Total return", "percent", "last equity over starting capital"),
    "annual_return": Spec(
        "Annual return", "percent", "compounded over trading periods: (1 + total) ^ (periods / n)"
    ),
    "cagr": Spec("CAGR", "percent", "compounded over calendar time, years of 365.25 days"),
    "volatility": Spec("Volatility", "percent", "standard deviation (ddof 1), annualised"),
    "sharpe": Spec("Sharpe", "ratio", "mean over standard deviation (ddof 1), annualised"),
    "sortino": Spec("Sortino", "ratio", "mean over full-sample downside deviation, annualised"),
    "calmar": Spec("Calmar", "ratio", "CAGR over the depth of the worst drawdown"),
    "omega": Spec("Omega", "ratio", "gains over losses per period, threshold 0"),
    "psr": Spec("P(Sharpe > 0)", "percent", "probabilistic Sharpe ratio, unbiased moments"),
    "max_drawdown": Spec("Max drawdown", "percent", "from the highest equity, the start included"),
    "max_drawdown_duration": Spec("Longest drawdown", "days", "calendar time below a high"),
    "var_95": Spec("VaR 95 %", "percent", "historical: 5 % quantile of period returns"),
    "cvar_95": Spec("CVaR 95 %", "percent", "mean of the period returns at or below VaR"),
    "best_return": Spec("Best period", "percent", "largest return of one period"),
    "worst_return": Spec("Worst period", "percent", "smallest return of one period"),
    "exposure_time": Spec("Exposure time", "percent", "share of periods that end with a position"),
    "turnover": Spec("Turnover", "times", "half the value of all fills over mean equity, per year"),
    "total_trades": Spec("Round trips", "count", "closed ones; from flat to flat, or to a turn"),
    "win_rate": Spec("Win rate", "percent", "share of round trips with a profit after fees"),
    "profit_factor": Spec("Profit factor", "ratio", "money won over money lost in round trips"),
    "average_trade": Spec("Average round trip", "money", "mean profit after fees"),
    "expectancy": Spec("Expectancy", "percent", "mean return of a round trip on the value entered"),
    "total_fees": Spec("Fees", "money", "of all fills"),
    "final_equity": Spec("Final equity", "money", "cash and positions at last prices"),
    "beta": Spec("Beta", "ratio", "slope of period returns against the benchmark's"),
    "alpha": Spec("Alpha", "percent", "Jensen's, compounded to a year"),
    "information_ratio": Spec("Information ratio", "ratio", "of active returns, per period"),
    "periods_per_year": Spec("Periods a year", "count", "from the calendar and the bar length"),
}  # fmt: skip


#: What a year of such returns would come to. Of a few hours it would be their noise to the power of
#: thousands, so a run that is shorter than these days leaves it open.
ANNUAL = ("annual_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "alpha")
ANNUAL_FROM_DAYS = 14


class Metrics(Mapping[str, float]):
    """A run's metrics by name, as items and as attributes; an undefined one is NaN.

    >>> m = Metrics({"sharpe": 1.25, "omega": p.Undefined("no period lost")})
    >>> m["sharpe"], m.sharpe, m.omega, m.why("omega")
    (1.25, 1.25, nan, 'no period lost')
    """

    def __init__(self, values: Mapping[str, float]) -> None:
        self._values = dict(values)

    def why(self, name: str) -> str:
        """Return why a metric is undefined, or "" if it is defined."""
        value = self[name]
        if not math.isnan(value):
            return ""
        return value.reason if isinstance(value, p.Undefined) else "the file does not say"

    def __getitem__(self, name: str) -> float:
        try:
            return self._values[name]
        except KeyError:
            raise KeyError(self._unknown(name)) from None

    def __getattr__(self, name: str) -> float:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(self._unknown(name)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        """Two are equal if each metric is, or is undefined in both."""
        if not isinstance(other, Mapping):
            return NotImplemented
        return self.keys() == other.keys() and all(
            a == b or (a != a and b != b) for a, b in ((self[n], other[n]) for n in self)
        )

    __hash__ = None  # type: ignore[assignment]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._values)

    def _unknown(self, name: object) -> str:
        if name in ("beta", "alpha", "information_ratio"):
            return f"{name} needs a benchmark: give one to the backtest"
        return f"there is no metric {name!r}.{did_you_mean(str(name), self._values)}"

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={show(name, value)}" for name, value in self._values.items())
        return f"Metrics({shown})"

    def _repr_html_(self) -> str:
        from regimeflow.analytics import face

        return face.metrics_face(self)


def spec_of(name: str) -> Spec:
    """Return how a metric is shown; one that a foreign file brings shows under its own name."""
    return SPECS.get(name) or Spec(name.replace("_", " ").capitalize(), "ratio", "from the file")


def show(name: str, value: float) -> str:
    """Return a metric as text with its unit; what is undefined is a dash.

    >>> show("total_return", 0.1234), show("sharpe", 1.5), show("final_equity", 123456.789)
    ('12.34 %', '1.50', '123,456.79')
    """
    if math.isnan(value):
        return "–"
    unit = spec_of(name).unit
    if unit == "percent":
        number = value * 100.0
        return f"{number:,.2f} %" if abs(number) < 1e6 else f"{number:.2e} %"
    if unit == "count":
        return f"{value:,.0f}"
    if unit == "days":
        return f"{value:,.0f} d" if value >= 10 else f"{value:,.2f} d"
    if unit == "times":
        return f"{value:,.2f} x"
    return f"{value:,.2f}" if abs(value) < 1e12 else f"{value:.2e}"


def measure(
    data: RunData,
    curve: Curve,
    fills: FillColumns,
    trips: Trips,
    *,
    risk_free: float = 0.0,
    periods_per_year: float | None = None,
) -> Metrics:
    """Return all metrics of a run.

    Args:
        data, curve, fills, trips: the run and what was folded from it.
        risk_free: yearly rate, a fraction of any sign.
        periods_per_year: instead of what the calendar and the bar length give.
    """
    ts, levels = _sampled(curve, data.timeframe)
    ppy = periods_per_year or _periods(data, ts)
    values: dict[str, float] = dict.fromkeys(SPECS, math.nan)
    values |= _of_returns(simple_returns(levels, curve.start), ppy, risk_free, _ruin(curve))
    values |= _of_equity(curve)
    values |= _of_trading(curve, fills, trips)
    values["calmar"] = p.calmar(values["cagr"], values["max_drawdown"])
    values["periods_per_year"] = ppy
    if data.benchmark is None:
        for name in ("beta", "alpha", "information_ratio"):
            del values[name]
    else:
        values |= _against(data.benchmark, ts, levels, curve, ppy, risk_free)
    if reason := too_short(curve):
        for name in ANNUAL:
            if not math.isnan(values.get(name, math.nan)):
                values[name] = p.Undefined(reason)
    return Metrics(values)


def too_short(curve: Curve) -> str:
    """Return why a run says nothing per year, or "" where it is long enough."""
    if not len(curve.ts):
        return ""
    span = int(curve.ts[-1]) - curve.start_ts
    if span >= ANNUAL_FROM_DAYS * NS_PER_DAY:
        return ""
    return f"the run spans {_lasted(span)}; returns and risk per year take {ANNUAL_FROM_DAYS} days"


def _lasted(ns: int) -> str:
    for name, size in (("day", NS_PER_DAY), ("hour", NS_PER_DAY // 24), ("minute", 60 * 10**9)):
        if ns >= size:
            count = ns / size
            return f"{count:.3g} {name}{'' if f'{count:.3g}' == '1' else 's'}"
    return f"{ns / 1e9:.3g} seconds"


def _sampled(curve: Curve, timeframe: int) -> tuple[IntArray, FloatArray]:
    """Equity per period: as it is on a regular grid, the last one of each UTC day on ticks."""
    if timeframe or not len(curve.ts):
        return curve.ts, curve.equity
    day = (curve.ts - 1) // NS_PER_DAY
    last = np.flatnonzero(np.append(day[1:] != day[:-1], True))
    return curve.ts[last], curve.equity[last]


def _periods(data: RunData, ts: IntArray) -> float:
    if not len(ts):
        return p.Undefined("there are no prices")
    return calendar_periods(data.calendar, data.timeframe or NS_PER_DAY, ts)


def _ruin(curve: Curve) -> str:
    """Why period returns have no meaning, if so: there is no return on nothing."""
    if curve.start <= 0:
        return "the starting capital is not positive"
    gone = curve.equity <= 0
    if gone[:-1].any():
        return f"equity was zero or below at {iso(int(curve.ts[int(np.argmax(gone))]))}"
    return ""


def _of_returns(r: FloatArray, ppy: float, risk_free: float, ruin: str) -> dict[str, float]:
    names = (
        "annual_return", "volatility", "sharpe", "sortino", "omega", "psr", "var_95", "cvar_95",
        "best_return", "worst_return",
    )  # fmt: skip
    if ruin or not len(r):
        return {name: p.Undefined(ruin or "there are no prices") for name in names}
    at_risk = p.value_at_risk(r)
    return {
        "annual_return": p.annual_return(r, ppy),
        "volatility": p.volatility(r, ppy),
        "sharpe": p.sharpe(r, ppy, risk_free),
        "sortino": p.sortino(r, ppy, risk_free),
        "omega": p.omega(r),
        "psr": p.psr(r),
        "var_95": at_risk,
        "cvar_95": p.expected_shortfall(r, at_risk=at_risk),
        "best_return": float(r.max()),
        "worst_return": float(r.min()),
    }


def _of_equity(curve: Curve) -> dict[str, float]:
    n = len(curve.ts)
    if not n or curve.start <= 0:
        why = "the starting capital is not positive" if n else "there are no prices"
        none = p.Undefined(why)
        names = ("total_return", "cagr", "max_drawdown", "max_drawdown_duration")
        final = float(curve.equity[-1]) if n else curve.start
        return dict.fromkeys(names, none) | {"final_equity": final, "exposure_time": none}
    final = float(curve.equity[-1])
    total = final / curve.start - 1.0
    years = (int(curve.ts[-1]) - curve.start_ts) / (NS_PER_DAY * p.DAYS_PER_YEAR)
    peak = p.peaks(curve.equity, curve.start)
    return {
        "total_return": total,
        "cagr": p.cagr(total, years),
        "max_drawdown": p.max_drawdown(curve.equity, curve.start, peak),
        "max_drawdown_duration": p.max_drawdown_duration(
            curve.equity, curve.start, curve.ts, curve.start_ts, peak
        ),
        "final_equity": final,
        "exposure_time": float(np.count_nonzero(curve.gross)) / n,
    }


def _of_trading(curve: Curve, fills: FillColumns, trips: Trips) -> dict[str, float]:
    traded = float(np.sum(np.abs(fills.signed * fills.price) * fills.multipliers(fills.symbols)))
    mean = float(curve.equity.mean()) if len(curve.ts) else math.nan
    first, last = (curve.start_ts, int(curve.ts[-1])) if len(curve.ts) else (0, 0)
    years = (last - first) / (NS_PER_DAY * p.DAYS_PER_YEAR)
    turnover: float = p.Undefined("there is no mean equity to hold the fills against")
    if mean > 0 and years > 0:
        turnover = traded / 2.0 / mean / years
    has_return = trips.returns[~np.isnan(trips.returns)]
    return {
        "turnover": turnover,
        "total_trades": float(len(trips)),
        "win_rate": p.win_rate(trips.pnl),
        "profit_factor": p.profit_factor(trips.pnl),
        "average_trade": p.average(trips.pnl),
        "expectancy": p.average(has_return),
        "total_fees": float(fills.fee.sum()),
    }


def _against(
    benchmark: PriceColumns,
    ts: IntArray,
    levels: FloatArray,
    curve: Curve,
    ppy: float,
    risk_free: float,
) -> dict[str, float]:
    # Its level before the first period, if it is known: else that period is left out of both.
    held = step(np.append([curve.start_ts], ts), benchmark.ts, benchmark.close, math.nan)
    theirs = simple_returns(held[1:], float(held[0]))
    both = ~np.isnan(theirs)
    mine, theirs = simple_returns(levels, curve.start)[both], theirs[both]
    if reason := _ruin(curve):
        return dict.fromkeys(("beta", "alpha", "information_ratio"), p.Undefined(reason))
    return {
        "beta": p.beta(mine, theirs),
        "alpha": p.alpha(mine, theirs, ppy, risk_free),
        "information_ratio": p.information_ratio(mine, theirs),
    }


def by_regime(data: RunData, curve: Curve, ppy: float) -> dict[str, dict[str, float]]:
    """Return per regime how it did: periods, share of time, total return, volatility, Sharpe.

    A return belongs to the regime that was known when its period began.
    """
    if not data.regimes or not len(curve.ts):
        return {}
    changes = np.array([change.seen for change in data.regimes], dtype=np.int64)
    names = [data.regimes[0].before, *(change.after for change in data.regimes)]
    began = np.append([curve.start_ts], curve.ts[:-1])
    which = np.searchsorted(changes, began, side="right")
    returns, short = curve.returns(), too_short(curve)
    out: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(names):
        places = [i for i, other in enumerate(names) if other == name]
        r = returns[np.isin(which, places)]
        if name and len(r):
            out[name] = {
                "periods": float(len(r)),
                "share": len(r) / len(returns),
                "total_return": p.total_return(r),
                "volatility": p.Undefined(short) if short else p.volatility(r, ppy),
                "sharpe": p.Undefined(short) if short else p.sharpe(r, ppy),
            }
    return out
