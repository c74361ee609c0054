"""One order at a simulated venue, and what a bar or the touch would fill it at."""

from __future__ import annotations

import msgspec

from regimeflow.model.events import Input, Replace
from regimeflow.model.market import Bar, BarRow, Bars, Book, Quote

_RANK = {"market": 0, "stop": 1, "stop_limit": 2, "limit": 3}


class Working(msgspec.Struct, gc=False, eq=False):
    """An order at the venue.

    ``at`` is when it arrived; ``eligible``: no bar that began before that is still to come.
    ``entry`` names the order whose exit it is, "" for an order of its own; it arrives when that
    has filled.
    """

    order_id: str
    symbol: str
    side: str
    sign: float
    qty: float
    type: str
    limit: float | None
    stop: float | None
    tif: str
    expire_at: int
    at: int
    multiplier: float
    eligible: bool
    could_trade: bool = False
    triggered: bool = False
    resting: bool = False
    entry: str = ""

    def change(self, request: Replace) -> None:
        """Take over a new quantity and new prices."""
        self.qty = request.qty
        if request.limit is not None and request.limit != self.limit:
            self.limit = request.limit
            self.resting = False  # at its new price it may meet the market as a taker
        if request.stop is not None:
            self.stop = request.stop


def worse_first(working: Working) -> int:
    """Sort orders of one bar: nobody knows its path, so the worse for the trader comes first."""
    return _RANK[working.type]


def bar_of(event: Input, symbol: str, timeframe: str | int | None) -> Bar | None:
    """Return the symbol's bar of the given timeframe in an event, if it is there."""
    if event.__class__ is Bar:
        if event.symbol == symbol and event.timeframe == timeframe:
            return event
        return None
    if event.__class__ is not Bars:
        return None
    bars = event.bars
    if isinstance(bars, BarRow):
        return bars[bars.places[symbol]] if bars.timeframe_of(symbol) == timeframe else None
    for bar in bars:
        if bar.symbol == symbol and bar.timeframe == timeframe:
            return bar
    return None


def open_of(
    event: Input, symbol: str, timeframe: str | int | None
) -> tuple[float, int, int, int] | None:
    """Return the open of what `bar_of` would find, when it closed, was let in, and its timeframe.

    None where there is no such bar, or a late one.
    """
    if event.__class__ is Bars and isinstance(event.bars, BarRow):
        row = event.bars
        length = row.timeframe_of(symbol)
        if length is None or length != timeframe:
            return None
        return row.open_of(symbol), row.ts, row.seen, length
    bar = bar_of(event, symbol, timeframe)
    return None if bar is None or bar.late else (bar.open, bar.ts, bar.seen, bar.timeframe)


def has_bar(event: Input, symbol: str, timeframe: str | int | None) -> bool:
    """Whether `bar_of` would find one: asked for each order, and made for none."""
    if event.__class__ is Bars and isinstance(event.bars, BarRow):
        return event.bars.timeframe_of(symbol) == timeframe
    return bar_of(event, symbol, timeframe) is not None


def price_in_bar(working: Working, bar: Bar, whole: bool) -> tuple[float, str, bool] | None:
    """Return price, liquidity and whether it was at the open, or None where the bar fills nothing.

    ``whole`` is false where only the bar's open is known to lie within the order's life.
    """
    sign, limit, stop = working.sign, working.limit, working.stop
    first = bar.open
    far = bar.high if sign > 0 else bar.low  # where a stop of this side triggers
    near = bar.low if sign > 0 else bar.high  # where a limit of this side fills
    if stop is not None and not working.triggered:
        at_open = (first - stop) * sign >= 0.0
        if not at_open and (not whole or (far - stop) * sign < 0.0):
            return None
        if limit is None:
            return (first if at_open else stop), "taker", at_open
        working.triggered = True
        if not at_open:
            # Triggered somewhere inside: at the stop the limit may hold at once, else only a close
            # beyond it proves that the price came back.
            if (stop - limit) * sign <= 0.0:
                return stop, "taker", False
            return (limit, "maker", False) if (bar.close - limit) * sign <= 0.0 else None
    if limit is None:
        return first, "taker", True
    if (first - limit) * sign <= 0.0:
        return first, "taker", True
    if whole and working.tif not in ("ioc", "fok") and (near - limit) * sign <= 0.0:
        return limit, "maker", False
    return None


def touch_of(event: Quote | Book) -> tuple[float, float]:
    """Return the best bid and ask, 0.0 for an empty side."""
    if isinstance(event, Quote):
        return event.bid, event.ask
    bid = event.bids[0][0] if event.bids else 0.0
    ask = event.asks[0][0] if event.asks else 0.0
    return bid, ask
