"""Writes docs/brokers.md from the table that `rf.venues.capabilities()` shows."""

from __future__ import annotations

from pathlib import Path

from regimeflow.venues.support import ROWS, STATUSES, Support

PAGE = Path(__file__).resolve().parents[1] / "docs" / "brokers.md"

_BEGIN = (
    "<!-- From here to the next mark: made by scripts/brokers_page.py, from "
    "regimeflow/venues/support.py. -->\n"
)
_END = "<!-- Until here. -->\n"


def page(text: str) -> str:
    """Return the page with the tables as they are now; the text around them stays."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + tables() + _END + after


def tables() -> str:
    """Return the tables and what each venue imposes."""
    heads = ("venue", "made by", "extra", "orders", "times in force", "fractions", "short")
    lines = [f"| {' | '.join(heads)} | changes orders | holds exits |", f"|{'---|' * 9}"]
    lines += [
        f"| {row.venue} | `{row.made_by}` | {row.extra or '—'} | {_words(row.order_types)} | "
        f"{_words(row.tifs)} | {_yes(row.fractional)} | {_yes(row.short)} | {_yes(row.replace)} | "
        f"{_yes(row.brackets)} |"
        for row in ROWS
    ]
    lines += ["", "| venue | order ids | streams | history | status |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.venue} | {row.client_ids} | {_words(row.streams)} | {row.history} | {row.status} |"
        for row in ROWS
    ]
    lines += ["", "| status | means |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in STATUSES.items()]
    lines += ["", "## What they impose", ""]
    for row in ROWS:
        lines += _imposed(row)
    return "\n".join(["", *lines])


def _imposed(row: Support) -> list[str]:
    return [f"**{row.venue}**", "", *(f"- {text}" for text in row.restrictions), ""]


def _words(words: tuple[str, ...]) -> str:
    return ", ".join(word.replace("_", " ") for word in words)


def _yes(there: bool) -> str:
    return "yes" if there else "no"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
