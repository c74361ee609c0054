"""What a live session looked like at one moment."""

from __future__ import annotations

import msgspec

from regimeflow.model.text import escape
from regimeflow.model.timeframe import iso
from regimeflow.session.companions import Account


class Status(msgspec.Struct, frozen=True):
    """What a session looked like at one moment.

    Attributes:
        phase: "new", "running", "stopped" or "failed".
        state: trading state: "active", "reducing" or "halted".
        why: what the trading state is due to, or what last changed it.
        done, total: market events handled, and how many the venue has; 0 where nobody knows.
        live, shadow, twin: the three accounts.
        working: orders that can still fill.
        error: what ended it, or "".
    """

    run: str
    strategy: str
    venue: str
    phase: str
    state: str
    why: str
    done: int
    total: int
    live: Account
    shadow: Account
    twin: Account
    working: int
    error: str = ""

    @property
    def progress(self) -> str:
        """How far it is, in words."""
        return f"{self.done:,} of {self.total:,} events" if self.total else f"{self.done:,} events"

    def __repr__(self) -> str:
        at = iso(self.live.time) if self.live.time else "not begun"
        error = f", {self.error}" if self.error else ""
        return (
            f"<{self.strategy} on {self.venue}: {self.phase}, {self.state}, {at}, "
            f"equity {self.live.equity:,.2f}, {self.live.fills} fills{error}>"
        )

    def _repr_html_(self) -> str:
        at = iso(self.live.time) if self.live.time else "not begun"
        state = f"trading {self.state}{f' ({self.why})' if self.why else ''}"
        facts = (
            f"{at} · {self.progress} · {self.working} working orders · "
            f"live − shadow, execution: {self.live.equity - self.shadow.equity:,.2f} · "
            f"shadow − twin, decisions: {self.shadow.equity - self.twin.equity:,.2f}"
        )
        error = f"<div style='{_WRONG}'>{escape(self.error)}</div>" if self.error else ""
        heads = "".join(
            f"<th style='text-align:{side}'>{name}</th>"
            for name, side in zip(_HEADS, ("right",) * 4 + ("left",), strict=True)
        )
        accounts = (("live", self.live), ("shadow", self.shadow), ("twin", self.twin))
        rows = "".join(_account_row(name, account) for name, account in accounts)
        return (
            "<div>"
            f"<div><b>{escape(self.strategy)}</b> on {escape(self.venue)}: "
            f"{self.phase}, {escape(state)}</div>"
            f"<div style='{_DIM}'>{facts}</div>{error}"
            "<table style='margin:.4em 0'><thead><tr><th></th>"
            f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
        )


_HEADS = ("equity", "cash", "fees", "fills", "holds")
#: Readable on light and dark alike; an untrusted notebook drops the theme's own colours.
_DIM = "opacity:.7"
_WRONG = "font-weight:600;color:rgb(225,105,15)"


def _account_row(name: str, account: Account) -> str:
    held = ", ".join(f"{qty:g} {symbol}" for symbol, qty in account.positions.items()) or "nothing"
    money = (f"{value:,.2f}" for value in (account.equity, account.cash, account.fees))
    cells = "".join(f"<td style='text-align:right'>{text}</td>" for text in (*money, account.fills))
    return (
        f"<tr><th style='text-align:left'>{name}</th>{cells}"
        f"<td style='text-align:left'>{escape(held)}</td></tr>"
    )
