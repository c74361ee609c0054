"""An exchange to practise on, and what can go wrong with one: for tests of sessions and adapters.

Nothing here shares code with the engine's own books or the simulated venue: what the sandbox says
an account holds is counted by the sandbox alone, so that it can contradict the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

#: Public name -> module it lives in; resolved when first used.
_HOMES = {
    "Alpaca": "regimeflow.sandbox.alpaca",
    "Binance": "regimeflow.sandbox.binance",
    "Bybit": "regimeflow.sandbox.bybit",
    "Exchange": "regimeflow.sandbox.exchange",
    "Fault": "regimeflow.sandbox.script",
    "Faulty": "regimeflow.venues.faulty",
    "Proxy": "regimeflow.sandbox.proxy",
    "TWS": "regimeflow.sandbox.tws",
    "VenueProcess": "regimeflow.sandbox.process",
    "Violation": "regimeflow.sandbox.checker",
    "check": "regimeflow.sandbox.checker",
    "check_venue": "regimeflow.sandbox.conformance",
    "needs_control": "regimeflow.sandbox.conformance",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605  the table above is the list


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'regimeflow.sandbox' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
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
    from regimeflow.sandbox.conformance import needs_control as needs_control
    from regimeflow.sandbox.exchange import Exchange as Exchange
    from regimeflow.sandbox.process import VenueProcess as VenueProcess
    from regimeflow.sandbox.proxy import Proxy as Proxy
    from regimeflow.sandbox.script import Fault as Fault
    from regimeflow.sandbox.tws import TWS as TWS
    from regimeflow.venues.faulty import Faulty as Faulty
