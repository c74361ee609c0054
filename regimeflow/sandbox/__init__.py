"""An exchange to practise on, and what can go wrong with one: for tests of sessions and adapters.

Nothing here shares code with the engine's own books or the simulated venue: what the sandbox says
an account holds is counted by the sandbox alone, so that it can contradict the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

#: Public name -> module it lives in; resolved when first used.
_HOMES = {
    "Alpaca": "alpaca",
    "Binance": "binance",
    "Bybit": "bybit",
    "Exchange": "exchange",
    "Fault": "script",
    "Proxy": "proxy",
    "TWS": "tws",
    "VenueProcess": "process",
    "Violation": "checker",
    "check": "checker",
    "check_venue": "conformance",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605  the table above is the list


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'regimeflow.sandbox' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"regimeflow.sandbox.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


if TYPE_CHECKING:  # the same table, for editors and type checkers
    from regimeflow.sandbox.alpaca import Alpaca as Alpaca
    from regimeflow.sandbox.binance import Binance as Binance
    from regimeflow.sandbox.bybit import Bybit as Bybit
    from regimeflow.sandbox.checker import Violation as Violation
    from regimeflow.sandbox.checker import check as check
    from regimeflow.sandbox.conformance import check_venue as check_venue
    from regimeflow.sandbox.exchange import Exchange as Exchange
    from regimeflow.sandbox.process import VenueProcess as VenueProcess
    from regimeflow.sandbox.proxy import Proxy as Proxy
    from regimeflow.sandbox.script import Fault as Fault
    from regimeflow.sandbox.tws import TWS as TWS
