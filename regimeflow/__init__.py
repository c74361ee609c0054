"""regimeflow takes one strategy from a notebook cell to a live venue, and proves it is the same.

Names are resolved when they are first used, so that ``import regimeflow`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: Public name -> module it lives in.
_HOMES = {
    "ATR": "engine.indicators",
    "Bar": "model.market",
    "Bars": "model.market",
    "Bollinger": "engine.indicators",
    "Book": "model.market",
    "Certificate": "session.certify",
    "ConfigError": "errors",
    "Context": "engine.context",
    "Costs": "model.models",
    "DataError": "errors",
    "Donchian": "engine.indicators",
    "EMA": "engine.indicators",
    "Fill": "model.events",
    "FillModel": "model.models",
    "Indicator": "engine.indicators",
    "Instrument": "model.instrument",
    "JournalCorrupt": "errors",
    "JournalError": "errors",
    "Latency": "model.models",
    "Limits": "model.models",
    "LiveSession": "session.live",
    "MissingExtra": "errors",
    "OrderError": "errors",
    "Quote": "model.market",
    "ROC": "engine.indicators",
    "RSI": "engine.indicators",
    "Regime": "engine.regime",
    "RegimeflowError": "errors",
    "Report": "analytics.report",
    "RollingMax": "engine.indicators",
    "RollingMean": "engine.indicators",
    "RollingMin": "engine.indicators",
    "RollingStd": "engine.indicators",
    "SMA": "engine.indicators",
    "SessionBusy": "errors",
    "SessionError": "errors",
    "Strategy": "engine.strategy",
    "StrategyError": "errors",
    "Trade": "model.market",
    "VolatilityRegime": "engine.regime",
    "ZScore": "engine.indicators",
    "backtest": "session.backtest",
    "bars": "session.recorded",
    "certify": "session.certify",
    "datasets": "data.datasets",
    "read_journal": "journal",
    "replay": "session.certify",
    "venues": "venues",
}
_MODULES = frozenset({"datasets", "venues"})

__all__ = sorted(_HOMES)  # noqa: PLE0605  the table above is the list


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'regimeflow' has no attribute {name!r}")
    module = importlib.import_module(f"regimeflow.{home}")
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


if TYPE_CHECKING:
    from regimeflow import venues as venues
    from regimeflow.analytics.report import Report as Report
    from regimeflow.data import datasets as datasets
    from regimeflow.engine.context import Context as Context
