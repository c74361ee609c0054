"""Runs as a trader would note them down: prices, fills, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from regimeflow.analytics.fold import PriceColumns, RunData
from regimeflow.model.events import Fill, Start
from regimeflow.model.timeframe import NS_PER_DAY

#: 2024-01-02T00:00Z: what the first daily bar begins with.
DAY0 = 1_704_153_600_000_000_000

Row = tuple[int, str, str, float, float, float]


def day(n: int) -> int:
    """Close of the n-th daily bar, counted from 0."""
    return DAY0 + (n + 1) * NS_PER_DAY


@pytest.fixture
def make_run() -> Callable[..., RunData]:
    """Return a builder: prices by symbol (one per day), fills as rows
    (day, symbol, side, units, price, fee)."""

    def build(
        prices: dict[str, Sequence[float]],
        fills: Sequence[Row] = (),
        *,
        cash: float = 1_000.0,
        positions: dict[str, tuple[float, float]] | None = None,
        start: dict[str, Any] | None = None,
        **more: Any,
    ) -> RunData:
        longest = max(map(len, prices.values()), default=0)
        ts = np.array([day(i) for i in range(longest)], dtype=np.int64)
        return RunData(
            Start(
                ts=DAY0,
                seen=DAY0,
                run="test",
                epoch=0,
                symbols=tuple(prices),
                timeframes=(NS_PER_DAY,),
                cash=cash,
                positions=positions or {},
                **(start or {}),
            ),
            fills=[
                Fill(day(n), day(n), f"x{i}", f"o{i}", symbol, side, *map(float, (qty, price, fee)))
                for i, (n, symbol, side, qty, price, fee) in enumerate(fills)
            ],
            # A shorter series is of a symbol that was listed later.
            prices=[
                PriceColumns(
                    s,
                    ts if len(c) == longest else ts[longest - len(c) :],
                    np.array(c, dtype=np.float64),
                )
                for s, c in prices.items()
            ],
            timeframe=NS_PER_DAY,
            **more,
        )

    return build
