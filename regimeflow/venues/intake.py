"""Market data on their way in: what is refused, what belongs together, and what is too old.

Nothing here knows a thread or a clock; the gateway says what time it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from regimeflow.data.calendars import Sessions, sessions
from regimeflow.model.events import EndOfDay, Feed, Fill, OrderUpdate
from regimeflow.model.market import Bar, Bars, Book, Quote, Trade
from regimeflow.model.text import whole_text
from regimeflow.model.timeframe import NS_PER_MS, NS_PER_SECOND

T = TypeVar("T", bound=msgspec.Struct)
Market = Bar | Trade | Quote | Book

#: A bar may be said to close so much after our own clock: clocks differ.
_AHEAD_NS = NS_PER_SECOND
#: No price, quantity or fee reaches this; what does was misread.
_FAR = 1e12
#: No id or reason is longer; what is was misread.
_LONGEST = 10_000
#: Event -> its fields that are text.
_TEXTS = {
    kind: tuple(field.name for field in msgspec.structs.fields(kind) if field.type is str)
    for kind in (Bar, Trade, Quote, Book, OrderUpdate, Fill)
}


class Intake:
    """Refuses what cannot be, and what is old news.

    Args:
        symbols: those of the session; others are refused.
        timeframe: of its bars, nanoseconds; other bars are refused.
    """

    def __init__(self, symbols: Iterable[str], timeframe: int) -> None:
        self._symbols = frozenset(symbols)
        self._timeframe = timeframe
        self._newest: dict[tuple[type, str], int] = {}
        self._last_trades: dict[str, set[str]] = {}
        #: Reason -> how often.
        self.refused: dict[str, int] = {}

    def accepts(self, said: Market, now: int) -> bool:
        """Whether an event may go on; a refusal is counted under its reason."""
        why = self._why_not(said, now)
        if why:
            self.refused[why] = self.refused.get(why, 0) + 1
            return False
        return True

    def knows(self, symbol: str, ts: int) -> None:
        """Bars of a symbol are known up to a close time: from history, say."""
        place = (Bar, symbol)
        self._newest[place] = max(self._newest.get(place, ts), ts)

    def _why_not(self, said: Market, now: int) -> str:
        if said.symbol not in self._symbols:
            return "a symbol that is not part of the session"
        wrong = _no_text(said) or _impossible(said)
        if wrong:
            return wrong
        place = (type(said), said.symbol)
        newest = self._newest.get(place, -(2**63))
        if type(said) is Bar:
            if said.timeframe != self._timeframe:
                return "a bar of another timeframe"
            if said.ts > now + _AHEAD_NS:
                return "a bar that is not closed yet"
            if said.ts <= newest:
                return "a bar that is there already, or a correction of it"
        elif said.ts < newest:
            return "older than what is known"
        elif type(said) is Trade and said.id:
            known = self._last_trades.setdefault(said.symbol, set())
            if said.ts > newest:
                known.clear()
            if said.id in known:
                return "a trade that is there already"
            known.add(said.id)
        self._newest[place] = said.ts
        return ""


def _no_text(said: Market | OrderUpdate | Fill) -> str:
    """Return why an event's texts cannot be, or an empty text."""
    for name in _TEXTS[type(said)]:
        value = getattr(said, name)
        if type(value) is not str or len(value) > _LONGEST:
            return f"a {name} that is no text"
    return ""


def writable(said: T) -> T:
    """Return a struct whose texts can be written down."""
    changes: dict[str, Any] = {}
    for name in said.__struct_fields__:
        value = getattr(said, name)
        kind = type(value)
        if kind is str:
            made: Any = whole_text(value)
        elif kind is tuple:
            made = tuple(whole_text(v) if type(v) is str else v for v in value)
        elif kind is dict:
            made = {whole_text(k) if type(k) is str else k: v for k, v in value.items()}
        else:
            continue
        if made != value:
            changes[name] = made
    return msgspec.structs.replace(said, **changes) if changes else said


def _impossible(said: Market) -> str:
    """Return why an event's numbers cannot be, or an empty text."""
    if type(said) is Bar:
        prices: Sequence[float] = (said.open, said.high, said.low, said.close)
        sizes: Sequence[float] = (said.volume,)
    elif type(said) is Trade:
        prices, sizes = (said.price,), (said.size,)
    elif type(said) is Quote:
        prices, sizes = (said.bid, said.ask), (said.bid_size, said.ask_size)
    else:
        levels = [*said.bids, *said.asks]  # type: ignore[union-attr]
        prices, sizes = [price for price, _ in levels], [size for _, size in levels]
    for number in (*prices, *sizes):
        if type(number) is not float or not math.isfinite(number):
            return "a number that is none"
    if any(not 0.0 < price < _FAR for price in prices):
        return "a price that cannot be"
    if any(size < 0.0 for size in sizes) or (type(said) is Trade and said.size == 0.0):
        return "a size that cannot be"
    if type(said) is Bar and (
        said.high < max(said.open, said.close, said.low) or said.low > min(said.open, said.close)
    ):
        return "a bar whose high and low do not hold its prices"
    return ""


def impossible_news(said: OrderUpdate | Fill) -> str:
    """Return why what is said of an order cannot be, or an empty text."""
    if wrong := _no_text(said):
        return wrong
    must: list[float]
    may: list[float] = []
    if isinstance(said, Fill):
        must, may = [said.qty, said.price], [said.fee]
        if said.side not in ("buy", "sell"):
            return f"the side {said.side!r} of an execution"
        if not said.execution_id:
            return "an execution without an id"
    else:
        must = [x for x in (said.qty, said.limit, said.stop) if x is not None]
    for number in (*must, *may):
        if type(number) is not float or not abs(number) < _FAR:
            return "a number of an order that is none"
    return "" if all(number > 0.0 for number in must) else "a number of an order that cannot be"


class Gather:
    """Holds bars back until all of one close time are there, or their grace is over.

    Args:
        symbols: one bar of each belongs to every close time, in this order.
        grace_ns: how long after the first of them is waited for the others.
    """

    def __init__(self, symbols: Sequence[str], grace_ns: int) -> None:
        self._places = {symbol: place for place, symbol in enumerate(symbols)}
        self._grace_ns = grace_ns
        self._waiting: dict[int, tuple[int, list[Bar]]] = {}
        self._told = -(2**63)

    def add(self, bar: Bar, now: int) -> list[Bar | Bars]:
        """Take in a bar; return what is complete now."""
        if bar.ts <= self._told:
            return [msgspec.structs.replace(bar, late=True)]
        self._waiting.setdefault(bar.ts, (now + self._grace_ns, []))[1].append(bar)
        return self.due(now)

    def due(self, now: int) -> list[Bar | Bars]:
        """Return, in the order of time, what is complete or has waited long enough."""
        ready: list[Bar | Bars] = []
        complete = [
            ts
            for ts, (until, bars) in self._waiting.items()
            if len(bars) == len(self._places) or now >= until
        ]
        if not complete:
            return ready
        newest = max(complete)  # older ones can only be completed late
        for ts in sorted(t for t in self._waiting if t <= newest):
            _, bars = self._waiting.pop(ts)
            bars.sort(key=lambda bar: self._places[bar.symbol])
            ready.append(bars[0] if len(bars) == 1 else Bars(ts, 0, tuple(bars)))
            self._told = ts
        return ready

    @property
    def next_due(self) -> int:
        """When something will have waited long enough, UTC nanoseconds."""
        return min((until for until, _ in self._waiting.values()), default=2**63 - 1)


class Hours:
    """When the exchange is open, and when its days end.

    Args:
        calendar: exchange calendar, "" for always.
    """

    def __init__(self, calendar: str) -> None:
        self._calendar = calendar
        self._found: Sessions | None = None
        self._next: EndOfDay | None = None

    def _session(self, now: int) -> Sessions:
        found = self._found
        if found is None or not found.day_start_ns[0] < now <= found.day_end_ns[0]:
            found = self._found = sessions(self._calendar, now, now)
        return found

    def open_since(self, now: int) -> int | None:
        """Return since when the exchange has been open, or None while it is closed."""
        if not self._calendar:
            return -(2**63)
        found = self._session(now)
        if int(found.open_ns[0]) <= now <= int(found.close_ns[0]):
            return int(found.open_ns[0])
        return None

    def follow(self, since: int) -> None:
        """Let the next session whose end is told be the first that closes after ``since``."""
        found = sessions(self._calendar, since, since)
        if int(found.close_ns[0]) <= since:
            next_day = int(found.day_end_ns[0]) + 1
            found = sessions(self._calendar, next_day, next_day)
        self._next = EndOfDay(int(found.close_ns[0]), 0, found.label(0))

    def ended(self, now: int, after_ns: int) -> list[EndOfDay]:
        """Return the ends of the sessions that closed ``after_ns`` ago or earlier; each once.

        None is told before `follow` has said where to begin.
        """
        told: list[EndOfDay] = []
        while self._next is not None and now >= self._next.ts + after_ns:
            told.append(self._next)
            self.follow(self._next.ts)
        return told


class FeedWatch:
    """Knows how old each symbol's data are, in session time.

    Args:
        symbols: those that are watched.
        timeframe: of their bars, 0 for trades and quotes.
        heartbeat_ns: how old data may be at least; bars may be two of them and five seconds.
        hours: when the exchange is open.

    Attributes:
        limit_ns: how old data may be.
        stale: symbols whose data are older.
    """

    def __init__(
        self, symbols: Sequence[str], timeframe: int, heartbeat_ns: int, hours: Hours
    ) -> None:
        self._timeframe = timeframe
        self.limit_ns = max(heartbeat_ns, 2 * timeframe + 5 * NS_PER_SECOND if timeframe else 0)
        self._hours = hours
        self._since = -(2**63)
        self._newest = dict.fromkeys(symbols, -(2**63))
        self.stale: set[str] = set()

    def begin(self, now: int) -> None:
        """Data are expected from now on."""
        self._since = now

    def heard(self, symbol: str, ts: int) -> None:
        """Take note of data of a symbol, by their own time."""
        if ts > self._newest[symbol]:
            self._newest[symbol] = ts

    def age(self, symbol: str, now: int) -> Feed:
        """Return how old a symbol's data are now."""
        opened = self._hours.open_since(now)
        newest = self._newest[symbol]
        age_ns = 0 if opened is None else now - max(newest, opened, self._since)
        due = newest + self._timeframe if self._timeframe and newest > 0 else 0
        return Feed(
            now,
            0,
            symbol,
            age_ns > self.limit_ns,
            max(0, age_ns) / NS_PER_MS,
            self.limit_ns / NS_PER_MS,
            due,
        )

    @property
    def silent(self) -> bool:
        """Whether the data of every symbol are stale: none of them trades, or none is heard."""
        return len(self.stale) == len(self._newest)

    def look(self, now: int) -> list[Feed]:
        """Return the symbols that have become stale, or fresh again."""
        changed = []
        for symbol in self._newest:
            feed = self.age(symbol, now)
            if feed.stale != (symbol in self.stale):
                (self.stale.add if feed.stale else self.stale.discard)(symbol)
                changed.append(feed)
        return changed
