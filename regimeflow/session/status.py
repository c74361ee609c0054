"""What a live session looked like at one moment."""

from __future__ import annotations

import msgspec

from regimeflow.model.text import escape
from regimeflow.model.timeframe import iso
from regimeflow.session.companions import Account
from regimeflow.session.state import ENDED

#: State of a session whose venue has not let it begin yet.
CONNECTING = "connecting"


class Status(msgspec.Struct, frozen=True):
    """What a session looked like at one moment.

    Attributes:
        phase: "new", "running", "stopped" or "failed".
        state: trading state: "active", "reducing", "halted", "connecting" until the venue lets the
            run begin, or "ended" where a run is over that nobody has halted.
        why: what the trading state is due to, or what last changed it; while it is connecting, what
            the last try failed of.
        done, total: market events handled, and how many the venue has; 0 where nobody knows.
        live, shadow, twin: the three accounts.
        working: orders that can still fill.
        error: what ended it, or "".
        lag_ms: for how long the engine's thread is already busy with one event; 0 while it is not.
        stalled: a sentence while that is too long, else "".
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
    lag_ms: float = 0.0
    stalled: str = ""

    @property
    def standing(self) -> str:
        """Phase and trading state in words."""
        if self.state == ENDED and self.phase == "stopped":
            return f"{self.phase}{f' ({self.why})' if self.why else ''}"
        return f"{self.phase}, {self.trading}"

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
        at = iso(self.live.time) if self.live.time else "not begun"
        wrong = self.error or self.stalled
        error = f", {wrong}" if wrong else ""
        over = self.state == ENDED and self.phase == "stopped"
        # What ended it is said once.
        trading = self.trading if self.state == CONNECTING and not self.error else self.state
        state = self.phase if over else f"{self.phase}, {trading}"
        return (
            f"<{self.strategy} on {self.venue}: {state}, {at}, "
            f"equity {self.live.equity:,.2f}, {self.live.fills} fills{error}>"
        )

    def _repr_html_(self) -> str:
        at = iso(self.live.time) if self.live.time else "not begun"
        facts = (
            f"{at} · {self.progress} · {self.working} working orders · "
            f"live − shadow, execution: {self.live.equity - self.shadow.equity:,.2f} · "
            f"shadow − twin, decisions: {self.shadow.equity - self.twin.equity:,.2f}"
        )
        wrong = self.error or self.stalled
        error = f"<div style='{_WRONG}'>{escape(wrong)}</div>" if wrong else ""
        heads = "".join(
            f"<th style='text-align:{side}'>{name}</th>"
            for name, side in zip(_HEADS, ("right",) * 4 + ("left",), strict=True)
        )
        accounts = (("live", self.live), ("shadow", self.shadow), ("twin", self.twin))
        rows = "".join(_account_row(name, account) for name, account in accounts)
        return (
            "<div>"
            f"<div><b>{escape(self.strategy)}</b> on {escape(self.venue)}: "
            f"{escape(self.standing)}</div>"
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
