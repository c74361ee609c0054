"""What is kept of an exception in the user's code."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from regimeflow.errors import StrategyError
from regimeflow.model.text import whole_text
from regimeflow.model.timeframe import iso

if TYPE_CHECKING:
    from regimeflow.engine.strategy import Strategy


#: What a strategy may raise: an exit is an error of its own too, else it would take the session
#: along with its open orders. An interrupt is the user's, and passes.
FAILURES = (Exception, SystemExit)


def failure_of(
    strategy: Strategy, callback: str, error: BaseException, symbol: str, ts: int
) -> StrategyError:
    """Return an exception that says where a strategy failed, with the strategy's own traceback."""
    trace = whole_text("".join(traceback.format_exception(_without_us(error))))
    where = f" of {symbol}" if symbol else ""
    failure = StrategyError(
        f"{strategy!r} failed in {callback}{where} at {iso(ts)}: {text_of(error)}",
        callback=callback,
        symbol=symbol or None,
        ts=ts,
        trace=trace,
    )
    failure.__cause__ = error
    return failure


def text_of(error: BaseException) -> str:
    """Return an exception's last line."""
    return whole_text(f"{type(error).__name__}: {error}")


def _without_us(error: BaseException) -> BaseException:
    """Return the error with our own frames taken off the front of its traceback."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        if "regimeflow" not in str(trace.tb_frame.f_globals.get("__name__", "")).split(".")[:1]:
            break
        trace = trace.tb_next
    return error.with_traceback(trace)
