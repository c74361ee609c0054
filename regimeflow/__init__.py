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
    "Comparison": "analytics.compare",
    "ConfigError": "errors",
    "Context": "engine.context",
    "Costs": "model.models",
    "Dashboard": "widgets.dashboard",
    "DataError": "errors",
    "Donchian": "engine.indicators",
    "Drift": "analytics.drift",
    "EMA": "engine.indicators",
    "ExecutionQuality": "analytics.execution_quality",
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
    "Parity": "analytics.parity",
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
    "attach": "session.live",
    "backtest": "session.backtest",
    "bars": "session.recorded",
    "certify": "session.certify",
    "compare": "analytics.compare",
    "datasets": "data.datasets",
    "drift": "session.drift",
    "execution_quality": "session.quality",
    "explore": "widgets.explore",
    "parity": "session.parity",
    "read_journal": "journal",
    "replay": "session.certify",
    "sandbox": "sandbox",
    "venues": "venues",
}
_MODULES = frozenset({"datasets", "sandbox", "venues"})

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


if TYPE_CHECKING:  # the same table, for editors and type checkers
    from regimeflow import sandbox as sandbox
    from regimeflow import venues as venues
    from regimeflow.analytics.compare import Comparison as Comparison
    from regimeflow.analytics.compare import compare as compare
    from regimeflow.analytics.drift import Drift as Drift
    from regimeflow.analytics.execution_quality import ExecutionQuality as ExecutionQuality
    from regimeflow.analytics.parity import Parity as Parity
    from regimeflow.analytics.report import Report as Report
    from regimeflow.data import datasets as datasets
    from regimeflow.engine.context import Context as Context
    from regimeflow.engine.indicators import ATR as ATR
    from regimeflow.engine.indicators import EMA as EMA
    from regimeflow.engine.indicators import ROC as ROC
    from regimeflow.engine.indicators import RSI as RSI
    from regimeflow.engine.indicators import SMA as SMA
    from regimeflow.engine.indicators import Bollinger as Bollinger
    from regimeflow.engine.indicators import Donchian as Donchian
    from regimeflow.engine.indicators import Indicator as Indicator
    from regimeflow.engine.indicators import RollingMax as RollingMax
    from regimeflow.engine.indicators import RollingMean as RollingMean
    from regimeflow.engine.indicators import RollingMin as RollingMin
    from regimeflow.engine.indicators import RollingStd as RollingStd
    from regimeflow.engine.indicators import ZScore as ZScore
    from regimeflow.engine.regime import Regime as Regime
    from regimeflow.engine.regime import VolatilityRegime as VolatilityRegime
    from regimeflow.engine.strategy import Strategy as Strategy
    from regimeflow.errors import ConfigError as ConfigError
    from regimeflow.errors import DataError as DataError
    from regimeflow.errors import JournalCorrupt as JournalCorrupt
    from regimeflow.errors import JournalError as JournalError
    from regimeflow.errors import MissingExtra as MissingExtra
    from regimeflow.errors import OrderError as OrderError
    from regimeflow.errors import RegimeflowError as RegimeflowError
    from regimeflow.errors import SessionBusy as SessionBusy
    from regimeflow.errors import SessionError as SessionError
    from regimeflow.errors import StrategyError as StrategyError
    from regimeflow.journal import read_journal as read_journal
    from regimeflow.model.events import Fill as Fill
    from regimeflow.model.instrument import Instrument as Instrument
    from regimeflow.model.market import Bar as Bar
    from regimeflow.model.market import Bars as Bars
    from regimeflow.model.market import Book as Book
    from regimeflow.model.market import Quote as Quote
    from regimeflow.model.market import Trade as Trade
    from regimeflow.model.models import Costs as Costs
    from regimeflow.model.models import FillModel as FillModel
    from regimeflow.model.models import Latency as Latency
    from regimeflow.model.models import Limits as Limits
    from regimeflow.session.backtest import backtest as backtest
    from regimeflow.session.certify import Certificate as Certificate
    from regimeflow.session.certify import certify as certify
    from regimeflow.session.certify import replay as replay
    from regimeflow.session.drift import drift as drift
    from regimeflow.session.live import LiveSession as LiveSession
    from regimeflow.session.live import attach as attach
    from regimeflow.session.parity import parity as parity
    from regimeflow.session.quality import execution_quality as execution_quality
    from regimeflow.session.recorded import bars as bars
    from regimeflow.widgets.dashboard import Dashboard as Dashboard
    from regimeflow.widgets.explore import explore as explore
