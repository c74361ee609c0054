"""A small exchange with books of its own, on virtual time, and a disk: both can end a process.

Everything a session does to the world goes through `Door` and `MortalDisk`. At each of their
operations stands a label, and at one of them the process ends: whatever it does afterwards reaches
neither disk nor exchange.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from regimeflow.errors import NotThere, Refused, VenueError
from regimeflow.journal import Disk
from regimeflow.model.events import Cancel, Command, Fill, OrderUpdate, Replace, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, History
from regimeflow.model.venue import Holding, VenueOrder
from regimeflow.venues.port import Ack, Balances, Capabilities, Emit
from regimeflow.venues.runtime import Virtual

SYMBOL = "SYN"
MINUTE = 60 * 10**9
BEGIN = 1_704_153_600 * 10**9  # 2024-01-02


class Crash(BaseException):
    """The process ends here."""


class Fuse:
    """Ends the process at the ``count``-th time that ``label`` is reached.

    Attributes:
        dead: whether it has.
        reached: label -> how often it was.
    """

    def __init__(self, label: str = "", count: int = 0) -> None:
        self._label, self._left = label, count
        self.dead = False
        self.reached: Counter[str] = Counter()

    def at(self, label: str) -> None:
        if self.dead:
            return
        self.reached[label] += 1
        if label == self._label:
            self._left -= 1
            if self._left < 0:
                self.dead = True
                if threading.current_thread().name.startswith("compress"):
                    raise OSError("the process ends here")
                raise Crash(label)


# ---------------------------------------------------------------- the disk


class MortalDisk(Disk):
    """A disk with labels that remembers what would survive a power failure."""

    segment_bytes = 6_000

    def __init__(self, fuse: Fuse) -> None:
        self.fuse = fuse
        self.durable = b""  # all that was synced in this life
        self._unsynced = b""
        self._paths: dict[int, Path] = {}
        self._safe: dict[Path, int] = {}  # path -> bytes that are safe

    def open(self, path: Path) -> int:
        self._at("open before")
        if self.fuse.dead:
            return os.open(os.devnull, os.O_WRONLY)
        size = path.stat().st_size if path.exists() else 0
        fd = super().open(path)
        self._paths[fd] = path
        self._safe.setdefault(path, size)
        self._at("open after")
        return fd

    def write(self, fd: int, data: bytes) -> int:
        self._at("write before")
        try:
            self.fuse.at("write torn")
        except BaseException:
            super().write(fd, data[: len(data) // 2])
            raise
        if self.fuse.dead:
            return len(data)
        written = super().write(fd, data)
        self._unsynced += data
        self._at("write after")
        return written

    def sync(self, fd: int) -> None:
        self._at("sync before")
        if self.fuse.dead:
            return
        self.durable += self._unsynced
        self._unsynced = b""
        if fd in self._paths:
            self._safe[self._paths[fd]] = os.fstat(fd).st_size
        self._at("sync after")

    def truncate(self, fd: int, size: int) -> None:
        self._at("truncate before")
        if not self.fuse.dead:
            super().truncate(fd, size)
            self._safe[self._paths[fd]] = size
            self._at("truncate after")

    def sync_directory(self, path: Path) -> None:
        self._at("sync directory before")
        self._at("sync directory after")

    def close(self, fd: int) -> None:
        self._at("close before")
        self._paths.pop(fd, None)  # first: once closed, another thread may be given the number
        super().close(fd)
        self._at("close after")

    def reserve(self, path: Path, size: int) -> None:
        self._at("reserve before")
        if not self.fuse.dead:
            super().reserve(path, size)
            self._at("reserve after")

    def remove(self, path: Path) -> None:
        self._at("remove before")
        if not self.fuse.dead:
            super().remove(path)
            self._at("remove after")

    def rename(self, path: Path, to: Path) -> None:
        self._at("rename before")
        if not self.fuse.dead:
            super().rename(path, to)
            self._safe[to] = self._safe.pop(path)
            self._at("rename after")

    def power_fails(self) -> None:
        """Leave what was synced, and nothing else."""
        for path, size in self._safe.items():
            if path.exists() and path.stat().st_size > size:
                os.truncate(path, size)

    def _at(self, label: str) -> None:
        where = threading.current_thread().name
        self.fuse.at(f"compress: {label}" if where.startswith("compress") else label)


# ---------------------------------------------------------------- the exchange


class Held:
    """An order in the exchange's books."""

    def __init__(self, order: Submit, venue_id: str, now: int) -> None:
        self.order, self.venue_id = order, venue_id
        self.qty, self.limit = order.qty, order.limit
        self.filled, self.status, self.changed = 0.0, "open", now

    @property
    def row(self) -> VenueOrder:
        o = self.order
        return VenueOrder(
            o.order_id, self.venue_id, o.symbol, o.side, self.qty, self.filled, self.status,
            self.changed, self.limit, o.stop,
        )  # fmt: skip


class Bourse:
    """The exchange itself: it outlives every process that trades on it.

    Attributes:
        now: its clock.
        book: client order id -> order.
        fills: every execution.
        submits: client order id -> how often such an order arrived.
    """

    def __init__(self, seed: int, minutes: int) -> None:
        self._chance = random.Random(seed)
        closes = [100.0]
        for _ in range(minutes + 1):
            step = self._chance.choice([-0.05, -0.02, 0.0, 0.02, 0.05])
            closes.append(round(closes[-1] + step, 2))
        self.closes = closes
        self.minutes = minutes
        self.now = BEGIN
        self.minute = 0
        self.book: dict[str, Held] = {}
        self.fills: list[Fill] = []
        self.submits: Counter[str] = Counter()
        self.cancels: Counter[str] = Counter()

    def bar(self, minute: int) -> Bar:
        first, last = self.closes[minute - 1], self.closes[minute]
        high, low = max(first, last) + 0.02, min(first, last) - 0.02
        return Bar(BEGIN + minute * MINUTE, 0, SYMBOL, first, high, low, last, 100.0, MINUTE)

    def advance(self, now: int) -> list[Fill | Bar]:
        """Let time pass; return what happened."""
        told: list[Fill | Bar] = []
        while self.minute < self.minutes and BEGIN + (self.minute + 1) * MINUTE <= now:
            self.minute += 1
            bar = self.bar(self.minute)
            self.now = bar.ts
            for held in list(self.book.values()):
                told += self._match(held, bar)
            told.append(bar)
        self.now = max(self.now, now)
        return told

    def _match(self, held: Held, bar: Bar) -> list[Fill]:
        buys = held.order.side == "buy"
        limit = held.limit
        reached = limit is None or (bar.low <= limit if buys else bar.high >= limit)
        if held.status != "open" or not reached or held.changed > bar.ts - MINUTE // 4:
            return []
        left = held.qty - held.filled
        half = left // 2 if left >= 2 and self._chance.random() < 0.4 else left
        price = bar.open if limit is None else limit
        held.filled += half
        held.changed = bar.ts
        if held.filled >= held.qty:
            held.status = "filled"
        o = held.order
        id_ = f"x{len(self.fills) + 1}"
        fill = Fill(bar.ts, 0, id_, o.order_id, SYMBOL, o.side, half, price, 0.01)
        self.fills.append(fill)
        return [fill]

    @property
    def position(self) -> float:
        return sum(f.qty if f.side == "buy" else -f.qty for f in self.fills)

    @property
    def working(self) -> list[Held]:
        return [held for held in self.book.values() if held.status == "open"]


class Door:
    """One process's way into the exchange: an `Adapter`.

    Args:
        bourse: the exchange.
        fuse: ends the process.
        seed: of latencies.
        minutes: after so many a stop is asked for.
        sees: is given each request before the exchange gets it.
    """

    name = "bourse"
    paper = True
    capabilities = Capabilities(settle_ms=1_000.0, market_data=frozenset({"bar"}))

    def __init__(
        self,
        bourse: Bourse,
        fuse: Fuse,
        seed: int,
        minutes: int,
        sees: Callable[[Any], None] = lambda request: None,
    ) -> None:
        self.bourse, self.fuse, self.sees = bourse, fuse, sees
        self._seed, self._minutes = seed, minutes
        self._emit: Emit | None = None
        self._time: Virtual | None = None

    def runtime(self) -> Virtual:
        """Return the time in which the session lives, with what will happen in it."""
        time = self._time = Virtual(self._seed, self.bourse.now + MINUTE // 2)
        first = self.bourse.minute + 1
        for minute in range(first, min(first + self._minutes, self.bourse.minutes) + 1):
            time.later(BEGIN + minute * MINUTE - time.now(), self._tick)
        until = BEGIN + (first + self._minutes) * MINUTE
        time.later(
            until - time.now(), lambda: time.command(Command(0, 0, "stop", "the end", "user"))
        )
        return time

    def _tick(self) -> None:
        for said in self.bourse.advance(self._now):
            self._say(said)

    def _say(self, said: Any) -> None:
        if self._emit is not None and not self.fuse.dead:
            self.fuse.at(f"{type(said).__name__.lower()} said")
            self._emit(said)

    @property
    def _now(self) -> int:
        assert self._time is not None
        return self._time.now()

    def _ask(self, label: str, work: Callable[[], Any]) -> Any:
        """Do something at the exchange; the process may end before it or after it."""
        if self.fuse.dead:
            raise VenueError("the process is gone")
        self.fuse.at(f"{label} before")
        self.bourse.now = max(self.bourse.now, self._now)
        answer = work()
        self.fuse.at(f"{label} after")
        return answer

    def connect(self, emit: Emit) -> None:
        def work() -> None:
            self._emit = emit

        self._ask("connect", work)

    def close(self) -> None:
        self._emit = None

    def subscribe(self, symbols: Sequence[str], timeframe: int) -> None:
        self._ask("subscribe", lambda: None)

    def submit(self, order: Submit) -> Ack:
        def work() -> Ack:
            self.sees(order)
            book = self.bourse.book
            self.bourse.submits[order.order_id] += 1
            if order.order_id in book:
                raise Refused("an order of this id is there", code="duplicate_order_id")
            book[order.order_id] = Held(order, f"v{len(book) + 1}", self.bourse.now)
            return Ack(book[order.order_id].venue_id, self.bourse.now)

        return self._ask("submit", work)  # type: ignore[no-any-return]

    def cancel(self, request: Cancel, venue_order_id: str) -> None:
        def work() -> None:
            self.sees(request)
            self.bourse.cancels[request.order_id] += 1
            held = self._held(request.order_id)
            held.status, held.changed = "canceled", self.bourse.now
            self._later(OrderUpdate(self.bourse.now, 0, request.order_id, "canceled"))

        self._ask("cancel", work)

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        def work() -> Ack:
            self.sees(request)
            held = self._held(request.order_id)
            if request.qty <= held.filled:
                raise Refused("more than that is filled")
            held.qty, held.limit, held.changed = request.qty, request.limit, self.bourse.now
            self._later(
                OrderUpdate(
                    self.bourse.now, 0, request.order_id, "replaced", qty=held.qty, limit=held.limit
                )
            )
            return Ack(held.venue_id, self.bourse.now)

        return self._ask("replace", work)  # type: ignore[no-any-return]

    def _held(self, order_id: str) -> Held:
        held = self.bourse.book.get(order_id)
        if held is None or held.status != "open":
            raise Refused("there is no such order to change")
        return held

    def _later(self, said: Any) -> None:
        assert self._time is not None
        self._time.later(3_000_000, lambda: self._say(said))

    def open_orders(self) -> list[VenueOrder]:
        return self._ask("open orders", lambda: [h.row for h in self.bourse.working])  # type: ignore[no-any-return]

    def order(self, order_id: str, venue_order_id: str = "") -> VenueOrder:
        def work() -> VenueOrder:
            held = self.bourse.book.get(order_id)
            if held is None:
                raise NotThere("there is no such order")
            return held.row

        return self._ask("order", work)  # type: ignore[no-any-return]

    def executions(self, since: int) -> list[Fill]:
        return self._ask("executions", lambda: [f for f in self.bourse.fills if f.ts >= since])  # type: ignore[no-any-return]

    def positions(self) -> list[Holding]:
        return self._ask("positions", lambda: [Holding(SYMBOL, self.bourse.position, 100.0)])  # type: ignore[no-any-return]

    def balances(self) -> Balances:
        return self._ask("balances", lambda: Balances(1e5, 1e5, 1e5))  # type: ignore[no-any-return]

    def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        return self._ask("instruments", lambda: [Instrument(s) for s in symbols])  # type: ignore[no-any-return]

    def past(self, symbol: str, timeframe: int, start: int, end: int) -> History:
        def work() -> History:
            minutes = range(1, self.bourse.minute + 1)
            bars = [b for b in map(self.bourse.bar, minutes) if start < b.ts <= end]
            columns = [[getattr(b, n) for b in bars] for n in _COLUMNS]
            return History(end, 0, symbol, timeframe, *columns)

        return self._ask("history", work)  # type: ignore[no-any-return]

    def time(self) -> int:
        return self._ask("time", lambda: self._now)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return "<bourse>"


_COLUMNS = ("ts", "open", "high", "low", "close", "volume")
