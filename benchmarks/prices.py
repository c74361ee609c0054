"""Prices of the benchmarks: made once and kept as one file per column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def make(folder: Path, kind: str, n: int, *, symbols: int = 1, timeframe: str = "1min") -> None:
    """Write made-up prices, unless another row did already."""
    import regimeflow as rf

    target = folder / _name(kind, n, symbols)
    if target.exists():
        return
    target.mkdir()
    frame = rf.datasets.synthetic(
        kind, symbols=[f"S{i:03d}" for i in range(symbols)], n=n, timeframe=timeframe, seed=7
    )
    np.save(target / "time.npy", frame.index.to_numpy())
    for name in frame.columns:
        if name != "symbol":
            np.save(target / f"{name}.npy", frame[name].to_numpy())


def read(folder: Path, kind: str, n: int, *, symbols: int = 1) -> Any:
    """Return them as a pandas frame, or as a dict symbol -> frame where there are several."""
    import pandas as pd

    source = folder / _name(kind, n, symbols)
    columns = {path.stem: np.load(path) for path in sorted(source.glob("*.npy"))}
    times = columns.pop("time")
    frames = {}
    for i in range(symbols):
        part = slice(i * n, (i + 1) * n)
        index = pd.DatetimeIndex(times[part], name="time")
        frames[f"S{i:03d}"] = pd.DataFrame(
            {name: column[part] for name, column in columns.items()}, index=index, copy=False
        )
    return frames["S000"] if symbols == 1 else frames


def _name(kind: str, n: int, symbols: int) -> str:
    return f"{kind}-{symbols}x{n}"
