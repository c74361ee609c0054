"""Numbers and states in words, for those who see them without a browser."""

from __future__ import annotations

from regimeflow.widgets.board import Parts

NONE = "–"


def money(value: float | None) -> str:
    """Return money with cents.

    >>> money(-1234.5), money(None)
    ('−1,234.50', '–')
    """
    return NONE if value is None else f"{value:,.2f}".replace("-", "−")


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

    >>> percent(0.01234)
    '1.23 %'
    """
    return NONE if value is None else f"{100 * value:,.2f} %".replace("-", "−")


def signed(text: str) -> str:
    """Return a number's text with its sign."""
    return text if text[:1] in (NONE, "−") else f"+{text}"


def state_line(state: Parts) -> str:
    """Return how a session stands, in a line."""
    phase, why = str(state["phase"]), str(state["why"])
    if phase == "new":
        return "not started"
    words = {"active": "trading", "reducing": "exits only", "halted": "halted"}
    now = (
        phase if phase in ("stopped", "failed") else words.get(state["state"], str(state["state"]))
    )
    return f"{now}: {why}" if why else now
