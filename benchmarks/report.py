"""Reports of a million bars: how long one takes to open, and what its cell leaves in a notebook."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks import prices


def opened(folder: Path, scale: int, bars: int) -> tuple[Any, Any, int]:
    """Return the work of opening a report that nobody looked at yet, and of coming closer."""
    import regimeflow as rf
    from benchmarks.strategies import Crossings

    count = bars // scale
    data = prices.read(folder, "bars", count)
    run = rf.backtest(Crossings, data, cash=10_000_000, progress=False).data
    first = rf.backtest(Crossings, data.iloc[:2_000], progress=False)
    return lambda: _open(first), lambda: _open(rf.Report(run)), count


def _open(report: Any) -> dict[str, float]:
    import regimeflow as rf

    begun = time.perf_counter()
    explorer = rf.explore(report)
    bundle: Any = explorer.panel._repr_mimebundle_()
    data = dict(bundle[0] if isinstance(bundle, tuple) else bundle) | explorer._face()
    open_s = time.perf_counter() - begun
    ts = report.curve.ts
    symbol = explorer._views.symbols[0]
    begun = time.perf_counter()
    explorer._views.stretch(symbol, "exposure", int(ts[len(ts) // 4]), int(ts[len(ts) // 2]))
    closer_ms = 1e3 * (time.perf_counter() - begun)
    sent_kb = len(explorer._snapshot) / 1e3
    explorer.close()
    return {
        "open_s": open_s,
        "cell_kb": len(json.dumps(data)) / 1e3,
        "closer_ms": closer_ms,
        "sent_kb": sent_kb,
    }
