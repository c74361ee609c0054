"""Journals of the schema ``regimeflow.replay.v1``, as the C++ RegimeFlow writes them, read only.

They hold what went into that engine: market data, order events and system events, with six
significant digits, times in microseconds, symbols as numbers of one process, and no checksum. What
has a counterpart becomes an input of ours; the rest is counted. ``docs/journal.md`` has the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from regimeflow.errors import JournalCorrupt
from regimeflow.journal.format import MAX_LINE_BYTES, Record
from regimeflow.model.events import Command, EndOfDay, Fill, Input, OrderUpdate, Timer
from regimeflow.model.market import Bar, Book, Quote, Trade
from regimeflow.model.timeframe import iso

SCHEMA_V1 = "regimeflow.replay.v1"
#: A microsecond count that is still a 64-bit nanosecond count.
_Micros = Annotated[int, msgspec.Meta(ge=-(2**63) // 1000 + 1, le=(2**63 - 1) // 1000)]
_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class LegacyReader:
    """Turns v1 lines into records, one after another.

    Args:
        file: name of the file, for messages and for the run's name.
        symbols: names of the numbers that stand in the journal; others become ``"sym:<number>"``.

    Attributes:
        skipped: lines that have no counterpart.

    >>> reader = LegacyReader("old.jsonl", {3: "AAPL"})
    >>> line = (b'{"schema":"regimeflow.replay.v1","timestamp_us":5,"type":"market","priority":0,'
    ...         b'"sequence":0,"symbol":3,"kind":"quote","data":{"timestamp_us":5,"symbol":3,'
    ...         b'"bid":1.5,"ask":1.6,"bid_size":2,"ask_size":4}}')
    >>> reader.read(line, 1).body
    Quote(ts=5000, seen=5000, symbol='AAPL', bid=1.5, ask=1.6, bid_size=2.0, ask_size=4.0)
    """

    __slots__ = ("_seen", "_symbols", "file", "run", "seq", "skipped")

    #: v1 has no sums.
    sum = ""

    def __init__(self, file: str, symbols: Mapping[int, str] | None = None) -> None:
        self.file = file
        self.run = file.split(".", 1)[0]
        self.seq = 0
        self.skipped = 0
        self._seen = -(2**63)
        self._symbols = dict(symbols or {})

    def read(self, line: bytes, number: int) -> Record | None:
        """Return the record of one line, or None where it has no counterpart.

        Raises:
            JournalCorrupt: for a line that is not of this schema.
        """
        try:
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"it is longer than {MAX_LINE_BYTES} bytes")
            if not line:
                return None  # its own reader passes over empty lines
            event = self._event(_LINE.decode(line))
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            text = str(error)[:300] or type(error).__name__
            raise JournalCorrupt(
                f"{self.file} line {number} cannot be read as {SCHEMA_V1}: {text}.",
                path=self.file,
                line=number,
            ) from error
        if event is None:
            self.skipped += 1
            return None
        self.seq += 1
        self._seen = event.seen
        kind = str(type(event).__struct_config__.tag)
        return Record(self.run, self.seq, event.ts, event.seen, kind, event, number, self.file)

    def _event(self, line: _Line) -> Input | None:
        known = _DATA.get((line.type, line.kind))
        if known is None:
            if line.type == "user":
                return None
            raise ValueError(f"it has the unknown kind {line.kind!r} of type {line.type!r}")
        ts = line.timestamp_us * 1000
        # Ours is strictly increasing; v1 hands out equal times by priority.
        seen = max(ts, self._seen + 1)
        symbol = self._symbols.get(line.symbol, f"sym:{line.symbol}")
        data = known.decode(line.data)
        if isinstance(data, _Order):
            return _order(line.kind, data, ts, seen, symbol)
        if isinstance(data, _System):
            return _system(line.kind, data, ts, seen)
        return _market(data, ts, seen, symbol)


def _market(data: Any, ts: int, seen: int, symbol: str) -> Input:
    if isinstance(data, _Bar):
        return Bar(ts, seen, symbol, data.open, data.high, data.low, data.close, data.volume)
    if isinstance(data, _Tick):
        return Trade(ts, seen, symbol, data.price, data.quantity)
    if isinstance(data, _Quote):
        return Quote(ts, seen, symbol, data.bid, data.ask, data.bid_size, data.ask_size)
    return Book(ts, seen, symbol, _levels(data.bids), _levels(data.asks))


def _levels(rows: list[tuple[float, float, int]]) -> tuple[tuple[float, float], ...]:
    """Return the levels that are there: v1 always writes ten, the missing ones as zeros."""
    return tuple((price, size) for price, size, _ in rows if price or size)


def _order(kind: str, data: _Order, ts: int, seen: int, symbol: str) -> Input | None:
    order_id = str(data.order_id)
    if kind == "fill":
        if not data.quantity:
            return None
        return Fill(
            ts,
            seen,
            execution_id=str(data.fill_id),
            order_id=order_id,
            symbol=symbol,
            side="buy" if data.quantity > 0 else "sell",
            qty=math.fabs(data.quantity),
            price=data.price,
            fee=data.commission + data.transaction_cost,
            liquidity="maker" if data.is_maker else "taker",
            venue=data.venue,
            executed_at=ts,
        )
    what = {"new_order": "accepted", "cancel": "canceled", "reject": "rejected"}.get(kind)
    return None if what is None else OrderUpdate(ts, seen, order_id, what)


def _system(kind: str, data: _System, ts: int, seen: int) -> Input | None:
    if kind == "timer":
        return Timer(ts, seen, data.id or str(data.code))
    if kind == "end_of_day":
        return EndOfDay(ts, seen, iso(ts)[:10])
    if kind in ("trading_halt", "trading_resume"):
        return Command(ts, seen, kind.removeprefix("trading_"), why=data.id, who=SCHEMA_V1)
    return None


# ---------------------------------------------------------------- what stands in the file


class _Line(msgspec.Struct, frozen=True):
    schema: Literal["regimeflow.replay.v1"]
    timestamp_us: _Micros
    type: Literal["market", "order", "system", "user"]
    priority: _Integer
    sequence: Annotated[int, msgspec.Meta(ge=0)]
    symbol: _Integer
    kind: str
    data: msgspec.Raw


class _Bar(msgspec.Struct, frozen=True):
    open: float
    high: float
    low: float
    close: float
    volume: float = 0.0


class _Tick(msgspec.Struct, frozen=True):
    price: float
    quantity: float = 0.0


class _Quote(msgspec.Struct, frozen=True):
    bid: float
    ask: float
    bid_size: float = 0.0
    ask_size: float = 0.0


class _Book(msgspec.Struct, frozen=True):
    bids: Annotated[list[tuple[float, float, int]], msgspec.Meta(max_length=10)] = []
    asks: Annotated[list[tuple[float, float, int]], msgspec.Meta(max_length=10)] = []


class _Order(msgspec.Struct, frozen=True):
    order_id: _Integer = 0
    fill_id: _Integer = 0
    quantity: float = 0.0
    price: float = 0.0
    commission: float = 0.0
    transaction_cost: float = 0.0
    is_maker: bool = False
    venue: str = ""


class _System(msgspec.Struct, frozen=True):
    code: _Integer = 0
    id: str = ""


_LINE = msgspec.json.Decoder(_Line)
_MARKET = {"bar": _Bar, "tick": _Tick, "quote": _Quote, "book": _Book}
_ORDERS = ("new_order", "fill", "cancel", "reject", "update")
_SYSTEM = ("day_start", "end_of_day", "timer", "regime_change", "trading_halt", "trading_resume")
_DATA: dict[tuple[str, str], msgspec.json.Decoder[Any]] = {
    **{("market", kind): msgspec.json.Decoder(data) for kind, data in _MARKET.items()},
    **{("order", kind): msgspec.json.Decoder(_Order) for kind in _ORDERS},
    **{("system", kind): msgspec.json.Decoder(_System) for kind in _SYSTEM},
}
