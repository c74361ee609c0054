"""Numbers and states in words, for those who see them without a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regimeflow.model.timeframe import lasted

if TYPE_CHECKING:
    from collections.abc import Callable

    from regimeflow.widgets.board import Parts

NONE = "–"
#: Phases in which nothing more happens.
ENDED = ("stopped", "failed")
#: Reasons that say no more than the state itself.
_IDLE = {"stopped": "stop", "halted": "halt", "exits only": "pause"}


def money(value: float | None) -> str:
    """Return money with cents.

    >>> money(-1234.5), money(None), money(-0.001)
    ('−1,234.50', '–', '0.00')
    """
    return NONE if value is None else _fixed(value, 2)


def bp(value: float | None) -> str:
    """Return basis points."""
    return money(value)


def number(value: float | None) -> str:
    """Return a number with what it has of digits.

    >>> number(10.0), number(1234.25)
    ('10', '1,234.25')
    """
    return NONE if value is None else f"{value:,.10g}".replace("-", "−")


def percent(value: float | None) -> str:
    """Return a fraction as percent.

    >>> percent(0.01234), percent(-1e-9)
    ('1.23 %', '0.00 %')
    """
    return NONE if value is None else f"{_fixed(100.0 * value, 2)} %"


def signed(text: str) -> str:
    """Return a number's text with its sign; nothing has none.

    >>> signed("1.50"), signed("−1.50"), signed("−0.00"), signed("–")
    ('+1.50', '−1.50', '0.00', '–')
    """
    if text == NONE:
        return text
    if not any(digit in text for digit in "123456789"):
        return text.removeprefix("−")
    return text if text.startswith("−") else f"+{text}"


def price(value: float | None) -> str:
    """Return a price with as many digits as its size leaves of interest, like the panel.

    >>> price(2345.678901), price(99.9700004), price(0.0000123)
    ('2,345.68', '99.9700', '0.000012')
    """
    if value is None:
        return NONE
    digits = 2 if abs(value) >= 1_000.0 else 4 if abs(value) >= 1.0 else 6
    return _fixed(value, digits)


def _fixed(value: float, digits: int) -> str:
    # What is added turns a zero with a sign into one without.
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def state_line(state: Parts) -> str:
    """Return how a session stands, in a line."""
    phase, why = str(state["phase"]), str(state["why"])
    if phase == "new":
        return "not started"
    words = {"active": "trading", "reducing": "exits only", "halted": "halted"}
    now = phase if phase in ENDED else words.get(state["state"], str(state["state"]))
    return now if why in ("", _IDLE.get(now)) else f"{now}: {why}"


def data_line(state: Parts, most: int = 50) -> str:
    """Return how old the data are, in a line: of a session that has ended, at its end.

    Args:
        state: how the session stands.
        most: symbols that are named, the oldest first; all that are too old are.
    """
    if state["phase"] == "new":
        return NONE
    known = [one for one in state["ages"] if one[1] is not None]
    known.sort(key=lambda one: -one[1])
    old = [one for one in state["ages"] if one[3] or one[4]]
    shown = old or known[:most]
    if not shown:
        return NONE if state["phase"] in ENDED else "none yet"
    told = " · ".join(map(_age, shown))
    if len(state["ages"]) > len(shown) and not old:
        told += f" · {len(state['ages']) - len(shown):,} more"
    return f"at its end {told}" if state["phase"] in ENDED else told


def _age(one: tuple[str, float | None, float | None, bool, bool]) -> str:
    symbol, age, limit, stale, held = one
    most = "" if limit is None else f" of {lasted(limit)}"
    return f"{symbol} {lasted(age)}{most}{' STALE' * stale}{', exits only' * held}"


def link_line(state: Parts) -> str:
    """Return whether the venue can be reached, or could at the session's end."""
    if state["connected"] is None:
        return NONE
    link = "up" if state["connected"] else "DOWN"
    return f"{link} at its end" if state["phase"] in ENDED else link


def books_line(state: Parts, clock: Callable[[int], str]) -> str:
    """Return when the books were last compared with the venue's, and what came of it."""
    if not state["reconciled_at"]:
        own = state["mode_words"] == "SIMULATED"
        return "the simulator's own" if own else "never compared"
    agree = "agree" if state["reconciled_ok"] else "DO NOT AGREE"
    foreign = f", {state['foreign']:,} foreign orders" if state["foreign"] else ""
    return f"{agree}, {clock(state['reconciled_at'])}{foreign}"
