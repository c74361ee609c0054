"""A venue that misbehaves in every way that venues do, by a seed.

It wraps an adapter and lies only as far as the port allows: a request may be lost, an answer too, a
stream may drop, double, delay or garble what it says; but a question is answered truly or not at
all. What a fault did is told by its cause alone, never by a wrong number in an answer.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from regimeflow.errors import ConfigError, Refused, VenueError, did_you_mean
from regimeflow.model.events import Cancel, Fill, OrderUpdate, Replace, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Book, History, Quote, Trade
from regimeflow.model.timeframe import NS_PER_MS, NS_PER_SECOND
from regimeflow.model.venue import Holding, VenueOrder
from regimeflow.venues.port import (
    Ack,
    Adapter,
    Balances,
    Disconnected,
    Emit,
    Garbled,
    KeepsHours,
    Opening,
    Payment,
    Pays,
    Said,
)

#: What can go wrong, and what each of it means.
FAULTS: dict[str, str] = {
    "request_lost": "a request never arrives, and nobody says so but a time-out",
    "response_lost": "a request takes effect, and its answer is lost",
    "refused": "a request is refused, with a time after which it may be tried again",
    "duplicate_id": "an order takes effect, and its answer says that its id was known already",
    "query_failed": "a question is not answered",
    "connect_failed": "a connection cannot be made",
    "dropped": "something the stream said is lost, and nobody notices",
    "doubled": "something is said two to five times",
    "delayed": "something is said late, after what came later",
    "fill_first": "an order's acceptance is told after its fill",
    "nameless": "news of an order carry the venue's own id alone",
    "unknown_status": "an order is said to be in a state that nobody has heard of",
    "garbled": "a message cannot be read",
    "bad_number": "a number in a message is none, or cannot be",
    "mute": "the stream says nothing for a while, though it stands",
    "disconnected": "the stream ends, and what is said until the next connection is lost",
}
#: How often each happens where nobody says: enough that an hour of trading meets all of them, and
#: few enough that a session comes through. The simulations of `regimeflow.sandbox` scale these.
USUAL_RATES: dict[str, float] = {
    "request_lost": 0.08,
    "response_lost": 0.1,
    "refused": 0.05,
    "duplicate_id": 0.05,
    "query_failed": 0.06,
    "connect_failed": 0.3,
    "dropped": 0.06,
    "doubled": 0.08,
    "delayed": 0.1,
    "fill_first": 0.2,
    "nameless": 0.1,
    "unknown_status": 0.03,
    "garbled": 0.03,
    "bad_number": 0.05,
    "mute": 0.001,
    "disconnected": 0.002,
}
_BAD = (float("nan"), float("inf"), -1.0, 0.0, 1e308, None, "12.5")
_MARKET = (Bar, Trade, Quote, Book)


class Faulty:
    """An adapter with faults.

    Args:
        adapter: the one that is wrapped.
        seed: of all that goes wrong.
        rates: name of a fault -> how often it happens, in 0..1; see `FAULTS`. One that is not named
            never happens; without any rates all do, as often as in `USUAL_RATES`.
        later: does something after a time in nanoseconds; a thread's timer without it.
        longest_ns: how late what is delayed may be, and how long a mute stream says nothing.

    Attributes:
        fired: name of a fault -> how often it has happened.

    Raises:
        ConfigError: there is no such fault, or nothing between a session and its venue that could
            go wrong.
    """

    def __init__(
        self,
        adapter: Adapter,
        seed: int,
        *,
        rates: Mapping[str, float] | None = None,
        later: Callable[[int, Callable[[], None]], None] | None = None,
        longest_ns: int = 5 * NS_PER_SECOND,
    ) -> None:
        if not hasattr(adapter, "submit") or not hasattr(adapter, "capabilities"):
            raise ConfigError(
                "Faulty wraps an adapter, such as rf.venues.Loopback or rf.venues.Alpaca, and not "
                f"{adapter!r}"
            )
        rates = USUAL_RATES if rates is None else rates
        for name, rate in rates.items():
            if name not in FAULTS:
                raise ConfigError(f"there is no fault {name!r}.{did_you_mean(name, FAULTS)}")
            if not 0.0 <= rate <= 1.0:
                raise ConfigError(f"the rate of {name} must lie in 0..1, got {rate!r}")
        self.adapter = adapter
        self.name = adapter.name
        self.capabilities = adapter.capabilities
        self.paper = adapter.paper
        self.calendar = str(getattr(adapter, "calendar", ""))
        self.fired: Counter[str] = Counter()
        self._rates = dict(rates)
        self._random = random.Random(seed)
        self._later = later or _by_thread
        self._longest_ns = longest_ns
        self._emit: Emit | None = None
        self._connection = 0
        self._muted = False
        self._cut = False
        self._lock = threading.RLock()

    def heal(self) -> None:
        """Let nothing go wrong from now on; what is under way still comes."""
        with self._lock:
            self._rates.clear()
            self._muted = False

    def _fires(self, name: str) -> bool:
        with self._lock:
            rate = self._rates.get(name, 0.0)
            if not rate or self._random.random() >= rate:
                return False
            self.fired[name] += 1
            return True

    # ------------------------------------------------------------ requests

    def submit(self, order: Submit) -> Ack:
        """Send an order, which may go wrong."""
        if self._fires("duplicate_id"):
            self.adapter.submit(order)
            raise Refused(f"order id {order.order_id} is taken", code="duplicate_order_id")
        ack: Ack = self._request(lambda: self.adapter.submit(order))
        return ack

    def cancel(self, request: Cancel, venue_order_id: str) -> None:
        """Ask to cancel, which may go wrong."""
        self._request(lambda: self.adapter.cancel(request, venue_order_id))

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        """Ask to change, which may go wrong."""
        ack: Ack = self._request(lambda: self.adapter.replace(request, venue_order_id))
        return ack

    def _request(self, send: Callable[[], Any]) -> Any:
        if self._fires("request_lost"):
            raise VenueError("the connection was reset before an answer came")
        if self._fires("refused"):
            wait_ms = self._random.choice((250.0, 1_000.0, 5_000.0))
            raise Refused("too many requests", code="429", retry_after_ms=wait_ms)
        answer = send()
        if self._fires("response_lost"):
            raise VenueError("the connection was reset before an answer came")
        return answer

    # ------------------------------------------------------------ questions

    def _ask(self, question: Callable[[], Any]) -> Any:
        if self._fires("query_failed"):
            raise VenueError("502 Bad Gateway")
        return question()

    def open_orders(self) -> list[VenueOrder]:
        """Return all working orders, or fail."""
        rows: list[VenueOrder] = self._ask(self.adapter.open_orders)
        return rows

    def order(self, order_id: str, venue_order_id: str = "") -> VenueOrder:
        """Return one order, or fail."""
        row: VenueOrder = self._ask(lambda: self.adapter.order(order_id, venue_order_id))
        return row

    def executions(self, since: int) -> list[Fill]:
        """Return executions, or fail."""
        fills: list[Fill] = self._ask(lambda: self.adapter.executions(since))
        return fills

    def payments(self, since: int) -> list[Payment]:
        """Return payments, or fail."""
        paid: list[Payment] = self._ask(lambda: cast(Pays, self.adapter).payments(since))
        return paid

    def openings(self, start: int, end: int) -> list[Opening]:
        """Return sessions, or fail."""
        told: list[Opening] = self._ask(lambda: cast(KeepsHours, self.adapter).openings(start, end))
        return told

    def positions(self) -> list[Holding]:
        """Return what is held, or fail."""
        held: list[Holding] = self._ask(self.adapter.positions)
        return held

    def balances(self) -> Balances:
        """Return the money, or fail."""
        money: Balances = self._ask(self.adapter.balances)
        return money

    def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        """Return trading rules, or fail."""
        rules: list[Instrument] = self._ask(lambda: self.adapter.instruments(symbols))
        return rules

    def past(self, symbol: str, timeframe: int, start: int, end: int) -> History:
        """Return closed bars, or fail."""
        past: History = self._ask(lambda: self.adapter.past(symbol, timeframe, start, end))
        return past

    def time(self) -> int:
        """Return the venue's clock."""
        return self.adapter.time()

    # ------------------------------------------------------------ the stream

    def connect(self, emit: Emit) -> None:
        """Connect, or fail."""
        if self._fires("connect_failed"):
            raise VenueError("connection refused")
        with self._lock:
            self._connection += 1
            self._emit = emit
            self._muted = self._cut = False
            connection = self._connection
        self.adapter.connect(lambda said: self._heard(said, connection))

    def close(self) -> None:
        """Close; what is still under way is not told any more."""
        with self._lock:
            self._connection += 1
            self._emit = None
        self.adapter.close()

    def subscribe(self, symbols: Sequence[str], timeframe: int) -> None:
        """Subscribe, or fail; a mute stream may speak again."""
        self._ask(lambda: self.adapter.subscribe(symbols, timeframe))

    def _heard(self, said: Said, connection: int) -> None:
        """Pass on what the venue says, or something else instead."""
        with self._lock:
            if self._cut or self._muted:
                return
            if self._fires("disconnected"):
                self._cut = True
                self._tell(Disconnected("connection reset by peer"), connection)
                return
            if self._fires("mute"):
                self._muted = True
                self._later(self._longest_ns * 10, self._unmute)
                return
            if self._fires("dropped"):
                return
            if isinstance(said, OrderUpdate | Fill):
                self._order_news(said, connection)
            else:
                self._market_news(said, connection)

    def _unmute(self) -> None:
        self._muted = False

    def _order_news(self, said: OrderUpdate | Fill, connection: int) -> None:
        if self._fires("unknown_status"):
            odd = OrderUpdate(said.ts, 0, said.order_id, "PENDING_REVIEW_7")
            self._tell(odd, connection)
            return
        if self._fires("garbled"):
            symbol = said.symbol if isinstance(said, Fill) else ""
            self._tell(Garbled("not valid JSON", symbol, True), connection)
            return
        if isinstance(said, Fill) and self._fires("bad_number"):
            field, bad = self._random.choice(("qty", "price", "fee")), self._random.choice(_BAD)
            if field == "fee" and bad in (0.0, -1.0):
                bad = float("nan")  # those two are fees as any
            self._tell(msgspec.structs.replace(said, **{field: bad}), connection)
            return
        told: OrderUpdate | Fill = said
        if isinstance(said, OrderUpdate):
            if said.venue_order_id and self._fires("nameless"):
                told = msgspec.structs.replace(said, order_id="")
            if said.what == "accepted" and self._fires("fill_first"):
                self._tell_late(told, connection, 10 * NS_PER_MS)
                return
        self._tell_somehow(told, connection)

    def _market_news(self, said: Said, connection: int) -> None:
        if isinstance(said, _MARKET):
            if self._fires("garbled"):
                self._tell(Garbled("not valid JSON", said.symbol), connection)
                return
            if self._fires("bad_number"):
                fields = {Bar: "open high low close volume", Trade: "price size",
                          Quote: "bid ask bid_size ask_size"}.get(type(said), "bids")  # fmt: skip
                field, bad = self._random.choice(fields.split()), self._random.choice(_BAD)
                worse: Any = ((bad, 1.0),) if field == "bids" else bad
                said = msgspec.structs.replace(said, **{field: worse})
        self._tell_somehow(said, connection)

    def _tell_somehow(self, said: Said, connection: int) -> None:
        """Say something now or late, once or more often."""
        if self._fires("delayed"):
            self._tell_late(said, connection, self._random.randrange(self._longest_ns))
            return
        self._tell(said, connection)
        if self._fires("doubled"):
            for _ in range(self._random.randint(1, 4)):
                self._tell_late(said, connection, self._random.randrange(self._longest_ns))

    def _tell_late(self, said: Said, connection: int, delay_ns: int) -> None:
        self._later(delay_ns, lambda: self._tell(said, connection))

    def _tell(self, said: Said, connection: int) -> None:
        with self._lock:
            if self._emit is not None and connection == self._connection:
                self._emit(said)


def _by_thread(delay_ns: int, what: Callable[[], None]) -> None:
    timer = threading.Timer(delay_ns / 1e9, what)
    timer.daemon = True
    timer.start()
