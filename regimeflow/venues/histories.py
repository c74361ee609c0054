"""Historical bars of a venue in one call, as a frame.

A notebook's backtest and its live session ask the same adapter by the same method (`past`), so
they see the same bars with the same times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from regimeflow.data.moments import moment
from regimeflow.data.out import FLAVOURS, frame, pandas_index
from regimeflow.data.progress import Progress
from regimeflow.errors import ConfigError, DataError, Refused, VenueError
from regimeflow.model.market import BAR_FIELDS, History
from regimeflow.model.timeframe import format_timeframe, iso, parse_timeframe
from regimeflow.venues.port import Capabilities

T = TypeVar("T")

#: How often a question is asked again that the venue was too busy for, or did not answer.
_BUSY_TRIES = 10
_LOST_TRIES = 3
_LOST_WAIT_S = 1.0


class _Asked(Protocol):
    """What of an adapter is needed here; see `regimeflow.venues.port.Adapter`."""

    name: str
    capabilities: Capabilities

    def past(self, symbol: str, timeframe: int, start: int, end: int) -> History: ...

    def piece(self, symbol: str, timeframe: int, start: int, end: int) -> tuple[History, int]: ...


class Histories:
    """Gives an adapter `history`; the adapter itself has `past`."""

    def piece(
        self: _Asked, symbol: str, timeframe: int, start: int, end: int
    ) -> tuple[History, int]:
        """Return the bars of one answer, and up to when it tells of all there are.

        A venue that can tell where its next bars are says so here: nights, weekends and what came
        before its first bar are then not asked for piece by piece.

        Args:
            symbol: which series.
            timeframe: its bars' length, nanoseconds.
            start: bars that close after it are told.
            end: up to which they are wanted; one answer need not hold them all.
        """
        until = min(start + self.capabilities.history_page * timeframe, end)
        return self.past(symbol, timeframe, start, until), until

    def history(
        self: _Asked,
        symbols: str | Sequence[str],
        timeframe: str | int,
        start: Any,
        end: Any = None,
        *,
        flavour: str = "pandas",
        progress: bool | Callable[[float], None] | None = None,
    ) -> Any:
        """Return closed bars as a frame that `regimeflow.backtest` takes as it is.

        The frame is a long one, symbol after symbol: ``symbol, timeframe, open, high, low, close,
        volume``. Times are those at which the bars *open*, in UTC: the index ``time`` of a pandas
        frame, the column ``time`` in polars. A bar has the close time that it has live.

        Works without a connection, and asks no faster than the venue allows.

        Args:
            symbols: one or several.
            timeframe: length of the bars, such as "1min".
            start: bars that open before it are left out; text such as "2024-01-02", a datetime or
                UTC nanoseconds. Times without a zone are UTC.
            end: bars that close after it are left out; now without it.
            flavour: "pandas" or "polars".
            progress: True or False shows a bar or not (None: where it takes long); a callable is
                told the fraction done.

        Raises:
            ConfigError: an argument makes no sense, or the venue has no bars of that length.
            Refused: the venue has no such symbol, or does not give its data to this account.
            DataError: there are no bars of a symbol in that time.
            VenueError: the venue does not answer.
        """
        names = _names(symbols)
        length = _length(self.name, self.capabilities, timeframe)
        first, last = _bounds(start, end)
        if flavour not in FLAVOURS:
            raise ConfigError(f"flavour must be 'pandas' or 'polars', got {flavour!r}")
        capabilities = self.capabilities
        pace = Pace(capabilities.questions_per_second or capabilities.orders_per_second)
        span = capabilities.history_page * length
        pages = -(-(last - first) // span)
        found: dict[str, list[History]] = {}
        with Progress(progress, len(names) * pages, self.name, " pages") as shown:
            for place, symbol in enumerate(names):
                found[symbol] = []
                begin = first
                while begin < last:
                    ask = partial(self.piece, symbol, length, begin, last)
                    told, until = _page(self.name, symbol, pace, ask)
                    if until <= begin:
                        raise VenueError(f"{self.name}'s pages of bars do not end")
                    found[symbol].append(told)
                    begin = until
                    shown.to(place * pages + -(-(min(begin, last) - first) // span))
        return _frame(found, length, first, last, flavour)


class Pace:
    """Lets questions pass no faster than a venue allows.

    Args:
        per_second: questions in a second; 0 does not hold anything back.
        now, wait: the clock and the sleep, seconds.
    """

    def __init__(
        self,
        per_second: float,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gap_s = 1.0 / per_second if per_second > 0 else 0.0
        self._now = now
        self._wait = wait
        self._next = float("-inf")

    def take(self) -> None:
        """Wait until the next question may leave."""
        self.hold(self._next - self._now())
        self._next = self._now() + self._gap_s

    def hold(self, seconds: float) -> None:
        """Wait for some time."""
        if seconds > 0:
            self._wait(seconds)


def patient(pace: Pace, ask: Callable[[], T]) -> T:
    """Return the answer to a question that changes nothing, asked again where that can help.

    Raises:
        Refused: a definite no.
        VenueError: it stayed without an answer.
    """
    busy = lost = 0
    while True:
        pace.take()
        try:
            return ask()
        except Refused as no:
            busy += 1
            if no.retry_after_ms is None or busy >= _BUSY_TRIES:
                raise
            pace.hold(no.retry_after_ms / 1e3)
        except VenueError:
            lost += 1
            if lost >= _LOST_TRIES:
                raise
            pace.hold(lost * _LOST_WAIT_S)


def _length(venue: str, capabilities: Capabilities, timeframe: str | int) -> int:
    """Return a timeframe that the venue has, nanoseconds."""
    length = parse_timeframe(timeframe)
    if not capabilities.history:
        raise ConfigError(f"{venue} gives no historical bars")
    offered = capabilities.timeframes
    if offered and length not in map(parse_timeframe, offered):
        raise ConfigError(
            f"{venue} has no bars of {format_timeframe(length)}; it has {', '.join(offered)}"
        )
    return length


def _page(venue: str, symbol: str, pace: Pace, ask: Callable[[], T]) -> T:
    try:
        return patient(pace, ask)
    except Refused as no:
        why = str(no) if symbol in str(no) else f"{symbol}: {no}"
        raise Refused(f"{venue} gives no history: {why}", code=no.code) from None


def _names(symbols: str | Sequence[str]) -> list[str]:
    names = [symbols] if isinstance(symbols, str) else list(symbols)
    if not names or not all(map(_is_name, names)):
        raise ConfigError(f"symbols must be one name or several, got {symbols!r}")
    if len(set(names)) != len(names):
        raise ConfigError(f"symbols names one twice: {', '.join(names)}")
    return names


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(name)


def _bounds(start: Any, end: Any) -> tuple[int, int]:
    now = time.time_ns()
    first, last = moment(start), moment(end)
    if first is None:
        raise ConfigError("start is missing: say from when on, such as '2024-01-02'")
    if last is not None and first >= last:
        raise ConfigError(f"start {iso(first)} is not before end {iso(last)}")
    if first >= now:
        raise ConfigError(f"start {iso(first)} lies in the future: there are no bars yet")
    return first, now if last is None else min(last, now)


def _frame(
    found: dict[str, list[History]], length: int, first: int, last: int, flavour: str
) -> Any:
    parts: dict[str, list[Any]] = {name: [] for name in ("time", "symbol", *BAR_FIELDS)}
    for symbol, pages in found.items():
        times = np.concatenate([np.array(page.times, np.int64) for page in pages])
        # A venue may tell more than it was asked for, and pages may overlap.
        inside = np.flatnonzero((times > first) & (times <= last))
        ts, places = np.unique(times[inside], return_index=True)
        if not len(ts):
            raise DataError(
                f"{symbol}: there is no closed bar of {format_timeframe(length)} between "
                f"{iso(first)} and {iso(last)}"
            )
        parts["time"].append(ts - length)
        parts["symbol"].append(np.full(len(ts), symbol, object))
        for name in BAR_FIELDS:
            values = np.concatenate([np.array(getattr(p, name), np.float64) for p in pages])
            parts[name].append(values[inside][places])
    columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    ts = columns.pop("time")
    symbol_column = columns.pop("symbol")
    columns = {
        "symbol": symbol_column,
        # Said and not left to be inferred: a quiet market has more gaps than neighbours.
        "timeframe": np.full(len(ts), _timeframe_text(length), object),
        **columns,
    }
    if flavour != "pandas":
        return frame({"time": ts, **columns}, flavour, "UTC")
    built = frame(columns, flavour, "UTC", ())
    built.index = pandas_index(ts, "UTC")
    return built


def _timeframe_text(length: int) -> str:
    """Return a timeframe as `regimeflow.backtest` reads it."""
    text = format_timeframe(length)
    return str(length) if text.endswith("ns") else text


__all__ = ["Histories", "Pace", "patient"]
