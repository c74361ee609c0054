"""Interactive Brokers, through TWS or IB Gateway."""

from __future__ import annotations

from regimeflow.venues.ib.adapter import InteractiveBrokers

__all__ = ["InteractiveBrokers"]
