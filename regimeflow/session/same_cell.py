"""Whether a cell that is run again asks for the session that runs already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regimeflow.analytics.report import Report
from regimeflow.model.models import Limits
from regimeflow.model.timeframe import parse_timeframe
from regimeflow.session.spec import Spec
from regimeflow.venues.intervals import Intervals


def wanted_symbols(symbols: Any) -> tuple[str, ...] | None:
    """Return the symbols that were asked for, None where all are."""
    return (symbols,) if isinstance(symbols, str) else tuple(symbols or ()) or None


def another(spec: Spec, venue: Any, given: Mapping[str, Any]) -> str:
    """Return what is another one now than in a session that runs, as a sentence; "" if nothing is.

    Values are compared, not objects: a cell makes new ones each time. What cannot be compared, such
    as functions and the data of a venue, is taken to be the same.

    Args:
        spec: what the session was made of.
        venue, given: what it would be made of now: the venue, and the arguments by name.
    """
    kind: Any = type(venue)
    alike = kind.__qualname__ == type(spec.venue).__qualname__
    if not alike or (kind.__repr__ is not object.__repr__ and repr(venue) != spec.manifest.venue):
        return f"its venue is {spec.manifest.venue} and would be {venue!r}"
    if not _same_report(spec.wish.baseline, given["baseline"]):
        return "its baseline is another report"
    for name, plain in _PLAIN.items():
        owner = spec.wish if name in spec.wish.__struct_fields__ else spec
        before, now = getattr(owner, name), given[name]
        if plain(before) != plain(now):
            return _said(name, before, now)
    for name in ("alert", "redact", "disk"):
        before, now = getattr(spec, name), given[name]
        both_text = isinstance(before, str) and isinstance(now, str)
        if (before is None) is not (now is None) or (both_text and before != now):
            return f"its {name}= is another one"
    return ""


def _said(name: str, before: Any, now: Any) -> str:
    if isinstance(before, Limits | Intervals):
        fields, now = before.__struct_fields__, now or type(before)()
        field = next(f for f in fields if getattr(before, f) != getattr(now, f))
        name, before, now = f"{name}.{field}", getattr(before, field), getattr(now, field)
    return f"its {name} is {before!r} and would be {now!r}"


def _same_report(before: Report | None, now: Any) -> bool:
    if before is None or not isinstance(now, Report):
        return before is now
    return before is now or _content(before) == _content(now)


def _content(report: Report) -> tuple[Any, ...]:
    data = report.data
    # Ids carry the run's name.
    fills = [(f.ts, f.symbol, f.side, f.qty, f.price, f.fee) for f in data.fills]
    return report.model, data.source_hash, data.start.params, fills


def _length(timeframe: Any) -> Any:
    return None if timeframe is None else parse_timeframe(timeframe)


def _as_it_is(value: Any) -> Any:
    return value


#: Argument -> how it is brought to one form.
_PLAIN: dict[str, Any] = {
    "symbols": wanted_symbols,
    "timeframe": _length,
    "limits": lambda limits: limits or Limits(),
    "cash": _as_it_is,
    "warmup": _as_it_is,
    "seed": _as_it_is,
    "dry_run": bool,
    "on_kernel_loss": _as_it_is,
    "intervals": lambda intervals: intervals or Intervals(),
    "audit_format": _as_it_is,
    "output_dir": lambda place: None if place is None else Path(place),
}
