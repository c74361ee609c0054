"""``Strategy.features``: computed once in a backtest, on the last few bars in a live session."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from regimeflow.data.features import check_causal, feature_columns, sufficient_warmup, user_frame
from regimeflow.data.frames import Dataset
from regimeflow.engine.history import Window
from regimeflow.engine.rolling_history import FeatureSource
from regimeflow.engine.strategy import Strategy
from regimeflow.errors import DataError
from regimeflow.model.market import BarColumns, FloatArray


def compute_of(strategy: Strategy) -> Callable[[Any], Any] | None:
    """Return the strategy's ``features``, or None where it has none."""
    compute = getattr(strategy, "features", None)
    return compute if callable(compute) else None


def with_features(strategy: Strategy, dataset: Dataset, *, warmup: int | None = None) -> Dataset:
    """Return the data with the strategy's feature columns, after checking that none looks ahead.

    Args:
        warmup: bars that a live session would compute them on; all of them without it.
    """
    compute = compute_of(strategy)
    if compute is None:
        return dataset
    if not dataset.bars:
        raise DataError("Strategy.features works on bars, and the data holds none")
    made = []
    finest: dict[str, int] = {}
    for bars in dataset.bars:
        finest[bars.symbol] = min(bars.timeframe, finest.get(bars.symbol, bars.timeframe))
    for bars in dataset.bars:
        if bars.timeframe != finest[bars.symbol]:
            made.append(bars)
            continue
        columns = check_causal(
            compute,
            bars,
            dataset.flavour,
            dataset.timezone,
            warmup=warmup,
            tolerance=getattr(strategy, "tolerance", 1e-9),
        )
        made.append(_with(bars, columns))
    return dataclasses.replace(dataset, bars=tuple(made))


def feature_warmup(strategy: Strategy, dataset: Dataset) -> int:
    """Return how many bars a live session has to compute the features on.

    With a margin, since it is found by trying: a quarter more than every try needed.
    """
    compute = compute_of(strategy)
    if compute is None:
        return 1
    needed = [
        sufficient_warmup(
            compute,
            bars,
            dataset.flavour,
            dataset.timezone,
            tolerance=getattr(strategy, "tolerance", 1e-9),
        )
        for bars in dataset.bars
    ]
    longest = max(len(bars) for bars in dataset.bars)
    return min(longest, max(needed) * 5 // 4 + 1)


def rolling(strategy: Strategy, flavour: str, timezone: str | None) -> FeatureSource | None:
    """Return what computes the newest features from a window of bars, for a live session."""
    compute = compute_of(strategy)
    if compute is None:
        return None

    def newest(
        symbol: str, timeframe: int, window: Window, carried: Sequence[dict[str, float]]
    ) -> dict[str, float]:
        given = {name: np.array([row.get(name, np.nan) for row in carried]) for name in carried[-1]}
        bars = BarColumns(
            symbol,
            timeframe,
            window.ts,
            window.open,
            window.high,
            window.low,
            window.close,
            window.volume,
            given,
        )
        frame = user_frame(bars, flavour, timezone)
        columns = feature_columns(compute(frame), len(bars), bars.features, times=bars.ts)
        return {**carried[-1], **{name: float(column[-1]) for name, column in columns.items()}}

    return newest


def _with(bars: BarColumns, features: dict[str, FloatArray]) -> BarColumns:
    return BarColumns(
        bars.symbol,
        bars.timeframe,
        bars.ts,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        {**bars.features, **features},
    )
