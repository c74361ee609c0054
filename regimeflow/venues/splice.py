"""Where the bars of a subscription meet those of history: no gap between them, and no overlap."""

from __future__ import annotations

from collections.abc import Iterable

from regimeflow.model.market import Bar
from regimeflow.model.timeframe import NS_PER_DAY
from regimeflow.venues.intake import Hours


class Splice:
    """Holds the first live bar of each symbol against the newest that is known.

    While history is asked for and a subscription begins, a bar may close that neither tells; and a
    venue may show its newest bars late to those who ask. So a first bar that does not follow at
    once waits until history was asked for what lies before it.

    Args:
        symbols: those of the session.
        timeframe: of its bars, nanoseconds.
        hours: when the exchange is open: nothing is missing from before it opened.
    """

    def __init__(self, symbols: Iterable[str], timeframe: int, hours: Hours) -> None:
        self._symbols = frozenset(symbols)
        self._timeframe = timeframe
        self._hours = hours
        self._unproven: set[str] = set()
        self._held: dict[str, list[Bar]] = {}

    def begin(self) -> None:
        """A subscription begins: the next bar of each symbol is its first."""
        self._unproven = set(self._symbols)

    def forget(self) -> None:
        """The connection is gone: what was held comes again with the history that was missed."""
        self._unproven.clear()
        self._held.clear()

    def holds(self, bar: Bar) -> bool:
        """Whether a bar waits behind one that waits; it is taken in then."""
        waiting = self._held.get(bar.symbol)
        if waiting is not None:
            waiting.append(bar)
        return waiting is not None

    def missing_before(self, bar: Bar, newest: int | None) -> tuple[int, int] | None:
        """Return after which close and up to which one bars may be missing, or None.

        Where it returns some the bar is taken in, and waits for `release`.

        Args:
            newest: close of the symbol's newest known bar, None without one.
        """
        if bar.symbol not in self._unproven:
            return None
        self._unproven.discard(bar.symbol)
        if newest is None:
            return None
        before, known = bar.ts - self._timeframe, newest
        if self._timeframe < NS_PER_DAY:
            known = max(known, self._hours.open_since(bar.ts) or known)
        if before <= known:
            return None
        self._held[bar.symbol] = [bar]
        return newest, before

    def release(self, symbol: str) -> list[Bar]:
        """Return the bars of a symbol that waited."""
        return self._held.pop(symbol, [])


__all__ = ["Splice"]
