"""Alpaca: stocks and crypto, paper and live, over its own client library."""

from __future__ import annotations

from regimeflow.venues.alpaca.adapter import Alpaca

__all__ = ["Alpaca"]
