"""Floor 3: sources of events and sinks of requests."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

#: Public name -> module it lives in; resolved when first used.
_HOMES = {
    "Alpaca": "alpaca",
    "Ccxt": "ccxt",
    "Faulty": "faulty",
    "InteractiveBrokers": "ib",
    "Intervals": "intervals",
    "Loopback": "loopback",
    "Paper": "paper",
    "Simulated": "simulated",
    "capabilities": "support",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605  the table above is the list


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'regimeflow.venues' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"regimeflow.venues.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


if TYPE_CHECKING:  # the same table, for editors and type checkers
    from regimeflow.venues.alpaca import Alpaca as Alpaca
    from regimeflow.venues.ccxt import Ccxt as Ccxt
    from regimeflow.venues.faulty import Faulty as Faulty
    from regimeflow.venues.ib import InteractiveBrokers as InteractiveBrokers
    from regimeflow.venues.intervals import Intervals as Intervals
    from regimeflow.venues.loopback import Loopback as Loopback
    from regimeflow.venues.paper import Paper as Paper
    from regimeflow.venues.simulated import Simulated as Simulated
    from regimeflow.venues.support import capabilities as capabilities
