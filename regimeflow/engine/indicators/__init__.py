"""Streaming indicators whose vectorised form, where there is one, is equal bit for bit."""

from regimeflow.engine.indicators.base import Indicator
from regimeflow.engine.indicators.recursive import ATR, EMA, RSI
from regimeflow.engine.indicators.rolling import (
    ROC,
    SMA,
    Bollinger,
    Donchian,
    RollingMax,
    RollingMean,
    RollingMin,
    RollingStd,
    ZScore,
)

__all__ = [
    "ATR",
    "EMA",
    "ROC",
    "RSI",
    "SMA",
    "Bollinger",
    "Donchian",
    "Indicator",
    "RollingMax",
    "RollingMean",
    "RollingMin",
    "RollingStd",
    "ZScore",
]
