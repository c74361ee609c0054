"""What is said of events and outputs for which nothing need be remembered.

Each function returns the type of the entry, what it is more exactly, a sentence and the same for a
program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from regimeflow.model.events import (
    Adjusted,
    Command,
    Connection,
    Denied,
    Failed,
    Feed,
    Finish,
    Gap,
    RegimeChanged,
    Replace,
    Rules,
    Start,
    StrategyChanged,
    Submit,
    Upgraded,
)
from regimeflow.model.models import Limits

#: Denials that are no limit's doing -> type.
_OTHER_DENIALS = {"dry_run": "DryRunOrder", "never_sent": "OrderRejected"}


class Saying(NamedTuple):
    """An entry without its place: see `regimeflow.session.decisions.Decision`."""

    type: str
    what: str
    details: str
    metadata: dict[str, Any]


def number(value: float) -> str:
    """Return a number for a sentence.

    >>> number(10.0), number(0.1 + 0.2), number(123456789.25)
    ('10', '0.3', '123456789.25')
    """
    return f"{value:.12g}"


def prices(request: Submit | Replace) -> str:
    """Return the prices that a request names, each with a space before it."""
    named = (("limit", request.limit), ("stop", request.stop))
    return "".join(f" {name} {number(value)}" for name, value in named if value is not None)


def set_limits(limits: Limits) -> dict[str, Any]:
    """Return the limits that are on."""
    values = msgspec.structs.asdict(limits)
    return {name: value for name, value in values.items() if value is not None}


def picked(thing: Any, *names: str) -> dict[str, Any]:
    """Return some of a thing's fields, in this order."""
    return {name: getattr(thing, name) for name in names}


# ---------------------------------------------------------------- the run


def _start(start: Start) -> Saying:
    symbols = tuple(dict.fromkeys(start.symbols))
    return Saying(
        "SystemStart",
        "start",
        f"{start.strategy or 'a strategy'} on {', '.join(symbols)} "
        f"with {number(start.cash)} in cash",
        {
            **picked(start, "strategy", "params", "source_sha256"),
            "symbols": symbols,
            "cash": start.cash,
            "positions": {symbol: qty for symbol, (qty, _) in start.positions.items()},
            "limits": set_limits(start.limits),
        },
    )


def _upgraded(event: Upgraded) -> Saying:
    who = event.who or "someone"
    moment = "once flat" if event.when == "flat" else "with the next bar or tick"
    why = f": {event.why}" if event.why else ""
    return Saying(
        "StrategyUpgrade",
        "upgraded",
        f"{who} lets {event.strategy} take over {moment}{why}",
        {
            **picked(event, "strategy", "params", "source_sha256", "frozen_sha256"),
            **picked(event, "when", "who", "why", "difference"),
        },
    )


def _changed(note: StrategyChanged) -> Saying:
    return Saying(
        "StrategyUpgrade",
        "strategy_changed",
        f"{note.strategy} decides from here on",
        picked(note, "strategy", "frozen_sha256"),
    )


def _finish(event: Finish) -> Saying:
    return Saying("SystemStop", "finish", f"the run ends: {event.why or 'no more events'}", {})


def _command(event: Command) -> Saying:
    who, why = event.who or "someone", event.why or event.name
    return Saying(
        "Command",
        "command",
        f"{who} asks to {event.name.replace('_', ' ')}: {why}",
        {"command": event.name, **picked(event, "who", "why")},
    )


def _failed(note: Failed) -> Saying:
    of = f" of {note.symbol}" if note.symbol else ""
    return Saying(
        "Error",
        "failed",
        f"the strategy failed in {note.callback}{of}: {note.error}",
        picked(note, "callback", "symbol", "error"),
    )


def _regime(note: RegimeChanged) -> Saying:
    return Saying(
        "RegimeChange",
        "regime_changed",
        f"{note.before} -> {note.after}",
        picked(note, "before", "after", "confidence"),
    )


# ---------------------------------------------------------------- orders and books


def _submit(request: Submit) -> Saying:
    return Saying(
        "OrderSubmitted",
        "submit",
        f"{request.side} {number(request.qty)} {request.symbol}"
        f"{prices(request) or f' {request.type}'} {request.tif}"
        f"{' reduce only' if request.reduce_only else ''}",
        {
            **picked(request, "order_id", "symbol", "side", "qty"),
            "order_type": request.type,
            **picked(request, "limit", "stop", "tif", "expire_at", "reduce_only", "tag"),
        },
    )


def _denied(note: Denied) -> Saying:
    qty = "" if note.qty is None else f" {number(note.qty)}"
    return Saying(
        _OTHER_DENIALS.get(note.check, "RiskLimitBreached"),
        "dry_run" if note.check == "dry_run" else "denied",
        f"{note.side}{qty} {note.symbol} denied by {note.check}: {note.reason}",
        picked(note, "order_id", "symbol", "side", "qty", "check", "reason", "retry_after_ms"),
    )


def _adjusted(event: Adjusted) -> Saying:
    if event.payment_id:  # what a position has paid, or was paid, for being held
        return Saying(
            "Payment",
            "paid",
            f"{event.cash:+.12g} of cash: {event.why}",
            picked(event, "symbol", "cash", "payment_id"),
        )
    why = f": {event.why}" if event.why else ""
    what = f"{event.cash:+.12g} of cash"
    if event.qty:
        what = f"{event.qty:+.12g} {event.symbol} at {number(event.price)}"
    return Saying(
        "Error",
        "adjusted",
        f"{what} taken into the books, which no fill explains{why}",
        picked(event, "symbol", "qty", "price", "cash", "why"),
    )


# ---------------------------------------------------------------- venue and feed


def _connection(event: Connection) -> Saying:
    said = "the venue can be reached" if event.up else "the way to the venue is lost"
    return Saying(
        "VenueState" if event.up else "Error",
        "connection",
        f"{said}: {event.why}" if event.why else said,
        picked(event, "up", "why"),
    )


def _feed(event: Feed) -> Saying:
    age = f"{event.age_ms / 1e3:.1f} s old, {event.limit_ms / 1e3:.1f} s are allowed"
    said = f"stale: {age}" if event.stale else "fresh again"
    return Saying(
        "Error" if event.stale else "VenueState",
        "feed",
        f"data of {event.symbol} are {said}",
        picked(event, "symbol", "stale", "age_ms", "limit_ms"),
    )


def _rules(event: Rules) -> Saying:
    rules = event.instrument
    said = f"by new rules: tick {number(rules.tick)}, lot {number(rules.lot)}"
    return Saying(
        "VenueState" if event.tradable else "Error",
        "rules",
        f"{rules.symbol} trades {said if event.tradable else 'no more'}",
        {
            "symbol": rules.symbol,
            "tradable": event.tradable,
            "instrument": msgspec.structs.asdict(rules),
        },
    )


def _gap(event: Gap) -> Saying:
    whose = ", ".join(event.symbols) or "all symbols"
    return Saying(
        "Error",
        "gap",
        f"market data of {whose} were lost: {event.why}",
        picked(event, "symbols", "since", "why"),
    )


#: Type of event or output -> what is said of it.
SAYINGS: dict[type, Callable[[Any], Saying]] = {
    Start: _start,
    Upgraded: _upgraded,
    StrategyChanged: _changed,
    Finish: _finish,
    Command: _command,
    Failed: _failed,
    RegimeChanged: _regime,
    Submit: _submit,
    Denied: _denied,
    Adjusted: _adjusted,
    Connection: _connection,
    Feed: _feed,
    Rules: _rules,
    Gap: _gap,
}
