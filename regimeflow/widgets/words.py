"""Numbers and states in words, for those who see them without a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    return f"{value:,.{digits}f}".replace("-", "−")


def lasted(ms: float | None) -> str:
    """Return a duration in the unit that suits it, like the panel.

    >>> lasted(2.345), lasted(266.9), lasted(60_000.0), lasted(172_805_000.0)
    ('2.3 ms', '267 ms', '60.0 s', '2.0 d')
    """
    if ms is None:
        return NONE
    for below, size, digits, unit in _SPANS:
        if ms < below:
            return f"{ms / size:,.{digits}f} {unit}"
    return f"{ms / 86_400_000:,.1f} d"


_SPANS = (
    (10.0, 1.0, 1, "ms"),
    (1_000.0, 1.0, 0, "ms"),
    (120_000.0, 1_000.0, 1, "s"),
    (7_200_000.0, 60_000.0, 0, "min"),
    (172_800_000.0, 3_600_000.0, 1, "h"),
)


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
