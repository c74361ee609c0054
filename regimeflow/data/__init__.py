"""Floor 2: frames in, frames out, bars from trades, features, calendars and sample data."""

from __future__ import annotations

from regimeflow.data.aggregate import BarBuilder, bars_from_trades, resample
from regimeflow.data.calendars import Sessions, periods_per_year, session_of, sessions
from regimeflow.data.features import check_causal, feature_columns, user_frame
from regimeflow.data.frames import Dataset, QuoteColumns, TradeColumns, fingerprint, load
from regimeflow.data.out import frame

__all__ = [
    "BarBuilder",
    "Dataset",
    "QuoteColumns",
    "Sessions",
    "TradeColumns",
    "bars_from_trades",
    "check_causal",
    "feature_columns",
    "fingerprint",
    "frame",
    "load",
    "periods_per_year",
    "resample",
    "session_of",
    "sessions",
    "user_frame",
]
