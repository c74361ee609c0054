"""Data to try things with: real daily prices, and seeded market data with regimes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regimeflow.data import calendars
from regimeflow.data.out import frame, pandas_index
from regimeflow.errors import ConfigError, DataError, MissingExtra, did_you_mean
from regimeflow.model.market import FloatArray, IntArray
from regimeflow.model.timeframe import NS_PER_DAY, NS_PER_MS, NS_PER_SECOND, parse_timeframe

#: Regimes of `synthetic`: number in the ``regime`` column, annual volatility, annual drift.
REGIMES = ((0, 0.12, 0.04), (1, 0.40, -0.15), (2, 0.18, 0.45))  # calm, volatile, trend

_CENT = 100.0
_KINDS = ("bars", "quotes", "trades")


def synthetic(
    kind: str = "bars",
    *,
    symbols: str | Sequence[str] = ("SYN",),
    n: int = 10_000,
    start: str = "2024-01-02",
    timeframe: str | int = "1min",
    seed: int = 0,
    flavour: str = "pandas",
    calendar: str | None = None,
    regimes: bool = False,
    price: float = 100.0,
) -> Any:
    """Return made-up market data that goes through calm, volatile and trending spells.

    The same arguments give the same data everywhere. Bars are labelled by their open; prices lie on
    a grid of 0.01. Times are naive UTC: the index of a pandas frame, the column ``time`` in polars.
    Several symbols come as one long frame with a ``symbol`` column, symbol after symbol.

    Args:
        kind: "bars", "trades" (price, size) or "quotes" (bid, ask, bid_size, ask_size).
        symbols: one name or several.
        n: rows a symbol.
        start: date of the first row.
        timeframe: length of bars; mean distance of trades and quotes.
        seed: chooses the data.
        flavour: "pandas" or "polars".
        calendar: with it bars lie in its sessions only; daily ones are labelled by session date.
        regimes: add a column ``regime``: 0 calm, 1 volatile, 2 trend.
        price: of the first row.

    >>> synthetic(n=3, seed=1)["close"].tolist() == synthetic(n=3, seed=1)["close"].tolist()
    True
    """
    if kind not in _KINDS:
        raise ConfigError(
            f"kind must be one of {', '.join(_KINDS)}.{did_you_mean(str(kind), _KINDS)}"
        )
    if calendar and kind != "bars":
        raise ConfigError("calendar= is for bars: trades and quotes run around the clock")
    if n < 1 or not price > 0:
        raise ConfigError(f"n must be at least 1 and price positive, got {n} and {price}")
    names = [symbols] if isinstance(symbols, str) else list(symbols)
    length = parse_timeframe(timeframe)
    parts = []
    for place, _ in enumerate(names):
        rng = np.random.default_rng([seed, place])
        parts.append(_one(rng, kind, n, start, length, calendar or "", price))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not regimes:
        del columns["regime"]
    if len(names) > 1:
        columns["symbol"] = np.repeat(np.array(names, object), n)
    return _timed(columns, flavour)


def sp500(flavour: str = "pandas") -> Any:
    """Return daily bars of the S&P 500, 1999 to 2018.

    Columns open, high, low, close, volume and adj_close; dates are the index ``Date`` of a pandas
    frame, the column ``Date`` in polars.

    Raises:
        MissingExtra: the package ``arch``, which ships them, is not installed.
    """
    return _shipped("sp500", flavour)


def nasdaq(flavour: str = "pandas") -> Any:
    """Return daily bars of the Nasdaq Composite, 1999 to 2018; see `sp500`."""
    return _shipped("nasdaq", flavour)


# ---------------------------------------------------------------- made up


def _one(
    rng: np.random.Generator,
    kind: str,
    n: int,
    start: str,
    length: int,
    calendar: str,
    price: float,
) -> dict[str, Any]:
    ts = _grid(start, n, length, calendar) if kind == "bars" else _arrivals(rng, start, n, length)
    year = 252.0 * NS_PER_DAY if calendar else 365.0 * NS_PER_DAY
    spells = _spells(rng, n)
    walk = _walk(rng, spells, length / year, price)
    if kind == "bars":
        return {"time": ts, **_bars(rng, walk), "regime": spells}
    if kind == "trades":
        size = rng.integers(1, 11, n) * rng.choice(np.array([1.0, 10.0]), n, p=[0.8, 0.2])
        return {"time": ts, "price": _cents(walk.price), "size": size, "regime": spells}
    bid = np.maximum(np.rint(walk.price * _CENT) - rng.integers(0, 2, n), 1.0)
    ask = bid + rng.integers(1, 4, n)
    sizes = {name: rng.integers(1, 51, n) * 10.0 for name in ("bid_size", "ask_size")}
    return {"time": ts, "bid": bid / _CENT, "ask": ask / _CENT, **sizes, "regime": spells}


@dataclass(frozen=True, slots=True)
class _Walk:
    """Prices after each row, the price before the first, and each row's relative move size."""

    price: FloatArray
    first: float
    sigma: FloatArray


def _walk(rng: np.random.Generator, spells: IntArray, years: float, price: float) -> _Walk:
    """Return a geometric walk whose volatility and drift follow the spells."""
    sigma = np.array([vol for _, vol, _ in REGIMES])[spells] * np.sqrt(years)
    drift = np.array([drift for _, _, drift in REGIMES])[spells] * years
    steps = rng.standard_normal(len(spells))
    steps *= sigma
    steps += drift
    steps -= sigma * sigma / 2
    np.cumsum(steps, out=steps)
    # Far below and above any start the walk is held, so that it stays on the grid of cents.
    np.clip(steps, -6.0, 12.0, out=steps)
    np.exp(steps, out=steps)
    steps *= price
    return _Walk(np.maximum(steps, 1.0 / _CENT), price, sigma)


def _bars(rng: np.random.Generator, walk: _Walk) -> dict[str, FloatArray]:
    close = _cents(walk.price)
    opened = np.empty_like(close)
    opened[0] = np.rint(walk.first * _CENT) / _CENT
    opened[1:] = close[:-1]
    n = len(close)
    reach = walk.price * walk.sigma * 0.6
    high = _cents(np.maximum(opened, close) + reach * rng.random(n))
    low = _cents(np.minimum(opened, close) - reach * rng.random(n))
    np.maximum(high, np.maximum(opened, close), out=high)
    np.minimum(low, np.minimum(opened, close), out=low)
    return {
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "volume": rng.integers(1, 2_000, n).astype(np.float64),
    }


def _spells(rng: np.random.Generator, n: int) -> IntArray:
    """Return a regime for each row; spells are a twenty-fifth of the data long, on average."""
    mean = max(20, n // 25)
    count = max(4, 3 * n // mean + 10)
    lengths = rng.geometric(1.0 / mean, count)
    lengths[-1] += n
    # A step of one or two never repeats a regime.
    kinds = np.cumsum(rng.integers(1, len(REGIMES), count)) % len(REGIMES)
    return np.repeat(kinds, lengths)[:n].astype(np.int64)


def _cents(price: FloatArray) -> FloatArray:
    return np.maximum(np.rint(price * _CENT), 1.0) / _CENT


def _start_ns(start: str) -> int:
    try:
        moment = np.datetime64(start, "ns")
    except ValueError as error:
        raise ConfigError(f"start must be a date such as '2024-01-02', got {start!r}") from error
    return int(moment.astype(np.int64))


def _arrivals(rng: np.random.Generator, start: str, n: int, mean: int) -> IntArray:
    """Return random times in whole milliseconds; several may be equal, as in real data."""
    unit = NS_PER_MS if mean >= 10 * NS_PER_MS else 1
    gaps = np.rint(rng.standard_exponential(n) * (mean / unit)).astype(np.int64) * unit
    times: IntArray = np.cumsum(gaps) + _start_ns(start)
    return times


def _grid(start: str, n: int, length: int, calendar: str) -> IntArray:
    first = _start_ns(start)
    if not calendar:
        return first + np.arange(n, dtype=np.int64) * length
    if length > NS_PER_DAY:
        raise ConfigError("with calendar= bars are daily or shorter")
    per_day = max(1, int(6 * 3600 * NS_PER_SECOND // length)) if length < NS_PER_DAY else 1
    days = n // per_day + 10
    while True:
        found = calendars.sessions(calendar, first + 1, first + 2 * days * NS_PER_DAY)
        if length == NS_PER_DAY:
            times = found.dates.astype("datetime64[ns]").astype(np.int64)
        else:
            counts = (found.close_ns - found.open_ns) // length
            within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
            times = np.repeat(found.open_ns, counts) + within * length
        times = times[times >= first]
        if len(times) >= n:
            return times[:n]
        if days > 100_000:
            raise DataError(f"the calendar {calendar} has no {n} bars of that length")
        days *= 2


# ---------------------------------------------------------------- real


def _shipped(name: str, flavour: str) -> Any:
    data = _arch_frame(name)
    names = ("Open", "High", "Low", "Close", "Volume", "Adj Close")
    columns: dict[str, Any] = {
        one.lower().replace(" ", "_"): data[one].to_numpy(dtype=np.float64) for one in names
    }
    if flavour == "pandas":
        built = frame(columns, flavour, None, ())
        built.index = data.index.rename("Date")
        return built
    dates = data.index.to_numpy().astype("datetime64[D]")
    built = frame(columns, flavour, None, ())
    import polars as pl

    return built.insert_column(0, pl.Series("Date", dates))


def _arch_frame(name: str) -> Any:
    """Return a daily frame that the package ``arch`` ships."""
    import importlib
    import importlib.util
    from pathlib import Path

    import pandas as pd

    spec = importlib.util.find_spec("arch")
    if spec is None or spec.submodule_search_locations is None:
        raise MissingExtra(
            "the sample prices come with the package arch, which is not installed:"
            ' pip install "regimeflow-jupyter[lab]"'
        )
    # Importing arch costs two seconds of scipy and statsmodels, none of which a file needs.
    for folder in spec.submodule_search_locations:
        file = Path(folder, "data", name, f"{name}.csv.gz")
        if file.is_file():
            return pd.read_csv(file, parse_dates=["Date"], index_col="Date")
    return importlib.import_module(f"arch.data.{name}").load()


def _timed(columns: dict[str, Any], flavour: str) -> Any:
    if flavour != "pandas":
        return frame(columns, flavour, None)
    ts = columns.pop("time")
    built = frame(columns, flavour, None, ())
    built.index = pandas_index(ts, None)
    return built
