"""Execution quality of a recorded run: the fold that follows a session, over its journal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regimeflow.analytics.execution_quality import ExecutionQuality
from regimeflow.analytics.quality_fold import QualityFold
from regimeflow.journal import events


def execution_quality(
    run_dir: str | Path,
    *,
    seconds: Sequence[float] = (1.0, 10.0, 60.0, 300.0),
    bars: Sequence[int] = (1, 5, 20),
) -> ExecutionQuality:
    """Return how well a recorded run's orders were executed, from its journal alone.

    Args:
        run_dir: the run's directory, or one segment of its journal.
        seconds: horizons of markouts and realised spreads, for symbols with quotes or trades.
        bars: horizons in bars of the symbol's finest timeframe, for symbols with bars.

    Raises:
        ConfigError: a horizon that is not positive, or stands there twice.
        JournalError: there is no journal, or it cannot be read.

    Example:
        >>> import tempfile
        >>> import regimeflow as rf
        >>> data = rf.datasets.synthetic(n=500)
        >>> once = lambda ctx, bar: ctx.target(bar.symbol, qty=10)
        >>> costs = rf.Costs(slippage_bps=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = rf.backtest(once, data, costs=costs, journal=folder)
        ...     quality = rf.execution_quality(folder)
        >>> quality.filled, quality.frame()["qty"].tolist()
        (1, [10.0])
    """
    fold = QualityFold(seconds=seconds, bars=bars)
    for _, event, outputs in events(Path(run_dir)):
        fold.take(event, outputs)
    return fold.result()
