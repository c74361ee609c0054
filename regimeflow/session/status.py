"""What a live session looked like at one moment."""

from __future__ import annotations

import html

import msgspec

from regimeflow.model.timeframe import iso
from regimeflow.session.companions import Account

#: State of a session whose venue has not let it begin yet.
CONNECTING = "connecting"


class Status(msgspec.Struct, frozen=True):
    """What a session looked like at one moment.

    Attributes:
        phase: "new", "running", "stopped" or "failed".
        state: trading state: "active", "reducing" or "halted"; "connecting" until the venue lets
            the run begin.
        why: what the trading state is due to, or what last changed it; while it is connecting, what
            the last try failed of.
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

    @property
    def trading(self) -> str:
        """How trading stands, and what that is due to, in words."""
        if self.state == CONNECTING:
            return f"connecting: {self.why}" if self.why else "connecting"
        return f"trading {self.state}{f' ({self.why})' if self.why else ''}"

    def __repr__(self) -> str:
        state = self.trading if self.state == CONNECTING else self.state
        at = iso(self.live.time) if self.live.time else "not begun"
        error = f", {self.error}" if self.error else ""
        return (
            f"<{self.strategy} on {self.venue}: {self.phase}, {state}, {at}, "
            f"equity {self.live.equity:,.2f}, {self.live.fills} fills{error}>"
        )

    def _repr_html_(self) -> str:
        at = iso(self.live.time) if self.live.time else "not begun"
        facts = (
            f"{at} · {self.progress} · {self.working} working orders · "
            f"live − shadow, execution: {self.live.equity - self.shadow.equity:,.2f} · "
            f"shadow − twin, decisions: {self.shadow.equity - self.twin.equity:,.2f}"
        )
        error = f"<div style='{_WRONG}'>{html.escape(self.error)}</div>" if self.error else ""
        heads = "".join(
            f"<th style='text-align:{side}'>{name}</th>"
            for name, side in zip(_HEADS, ("right",) * 4 + ("left",), strict=True)
        )
        accounts = (("live", self.live), ("shadow", self.shadow), ("twin", self.twin))
        rows = "".join(_account_row(name, account) for name, account in accounts)
        return (
            "<div>"
            f"<div><b>{html.escape(self.strategy)}</b> on {html.escape(self.venue)}: "
            f"{self.phase}, {html.escape(self.trading)}</div>"
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
        f"<td style='text-align:left'>{html.escape(held)}</td></tr>"
    )
