"""What a venue must be able to do, and nothing else.

An adapter translates between one venue's client library and the structs of this module. It keeps no
orders, retries nothing and decides nothing: when to ask, what an answer means for an order and what
to do where none comes is the gateway's business (`regimeflow.venues.gateway`), the same for all.

All methods block; each is called from a thread that has time for it, never from the engine's. What
a venue says of its own accord goes to the ``emit`` that `connect` was given, from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from regimeflow.model.events import Cancel, Fill, OrderUpdate, Replace, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Book, History, Quote, Trade
from regimeflow.model.venue import Holding, Payment, VenueOrder


class Disconnected(msgspec.Struct, frozen=True, gc=False):
    """A stream has ended without being asked to: what it would have said is lost."""

    why: str


class Refreshed(msgspec.Struct, frozen=True):
    """The rules of an instrument have changed: tick, lot, or whether it trades at all."""

    instrument: Instrument
    tradable: bool = True


class Garbled(msgspec.Struct, frozen=True, gc=False):
    """A message that could not be read: it is counted, shown and otherwise ignored.

    Attributes:
        why: what is wrong with it, one sentence.
        symbol: whose it was, "" where that is unknown.
        about_orders: whether it concerned an order or fill of ours; then nothing new is risked in
            the symbol until the books are compared.
    """

    why: str
    symbol: str = ""
    about_orders: bool = False


class Corrected(msgspec.Struct, frozen=True, gc=False):
    """What an execution has come to by now: it cost more, or was corrected.

    The gateway knows what is booked of it, by the journal, and books the rest: it may be told as
    often as one likes, and of executions that were told to another process.

    Attributes:
        fill: the execution as it is now, under the id that it was first told by.
        why: one sentence.
        fee_known: whether ``fill.fee`` is what it cost; else what is booked of that stays.
    """

    fill: Fill
    why: str
    fee_known: bool = True


#: What a venue says of its own accord. ``ts`` is the venue's time; ``seen`` is left 0, the gateway
#: fills it in. Orders are named by our client order id where the venue tells it, else by ``""``
#: and its own id in ``venue_order_id`` (fills: in ``order_id``).
Said = (
    Bar | Trade | Quote | Book | OrderUpdate | Fill | Corrected | Disconnected | Refreshed | Garbled
)
Emit = Callable[[Said], None]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between venues, as data.

    Attributes:
        order_types, tifs: what `submit` takes.
        replace: whether working orders can be changed; else they are canceled and sent anew.
        fractional, short: whether such orders are taken.
        order_id_length: longest client order id.
        executions: whether `executions` is the venue's full record, by which an order it does not
            list can be said not to have traded.
        settle_ms: how long after an order was sent the venue may still not show it.
        market_data: kinds it streams, of "bar", "trade", "quote", "book".
        history: whether `past` gives closed bars.
        timeframes: bars it has, such as "1min"; empty for any length.
        history_page: bars that one question of `past` should ask for at most.
        orders_per_second: most requests it takes, 0 for no stated limit.
        questions_per_second: most questions for history; 0: as ``orders_per_second``.
        margined: whether positions are held against margin: money moves by profits, fees and
            payments alone, not by what was bought.
        payments: whether positions pay or are paid for being held, so that `Pays` is kept.
        brackets: whether an order may bring its exits, a take-profit, a stop-loss or both, which
            the venue holds and of which one cancels the other.
        hours: whether the venue says when it opens and closes, so that `KeepsHours` is kept.
        whole_lists: whether lists of any length are known to come whole; else one that may have
            been cut is no answer.
    """

    order_types: frozenset[str] = frozenset({"market", "limit", "stop", "stop_limit"})
    tifs: frozenset[str] = frozenset({"day", "gtc", "ioc", "fok"})
    replace: bool = True
    fractional: bool = False
    short: bool = True
    order_id_length: int = 36
    executions: bool = True
    settle_ms: float = 5_000.0
    market_data: frozenset[str] = frozenset({"bar", "trade", "quote"})
    history: bool = True
    timeframes: tuple[str, ...] = ()
    history_page: int = 10_000
    orders_per_second: float = 0.0
    questions_per_second: float = 0.0
    margined: bool = False
    payments: bool = False
    brackets: bool = False
    hours: bool = False
    whole_lists: bool = True


class Ack(msgspec.Struct, frozen=True, gc=False):
    """The venue has a request; what becomes of it is told by its stream."""

    venue_order_id: str = ""
    ts: int = 0


class Balances(msgspec.Struct, frozen=True, gc=False):
    """Money on the account.

    Attributes:
        account: its name or number at the venue, shown with all but its end hidden.
    """

    cash: float
    equity: float
    buying_power: float
    margin: float = 0.0
    currency: str = ""
    account: str = ""


class Opening(msgspec.Struct, frozen=True, gc=False):
    """One day's regular trading as the venue tells it.

    Attributes:
        date: of the session, in ISO form.
        open_ns, close_ns: its first and last moment, UTC nanoseconds.
    """

    date: str
    open_ns: int
    close_ns: int


class Adapter(Protocol):
    """A venue's client library, translated.

    Every method may raise `VenueError`: nothing is known then. `Refused` is a definite no.

    Attributes:
        paper: whether its orders are for no real money. One that says so has no client that could
            reach real money; one that does not say so is taken to trade it.
    """

    name: str
    capabilities: Capabilities
    paper: bool

    def connect(self, emit: Emit) -> None:
        """Open whatever must be open to ask and to be told about our own orders."""

    def close(self) -> None:
        """Close everything; nothing is emitted afterwards. May be called twice."""

    def subscribe(self, symbols: Sequence[str], timeframe: int) -> None:
        """Begin the stream of market data, or begin it anew.

        Args:
            timeframe: of bars in nanoseconds, 0 for trades and quotes.
        """

    def submit(self, order: Submit) -> Ack:
        """Send an order under its own client order id; one write request, never a second try.

        Exits go with it, where the venue has brackets: later they are named by their own ids
        (`regimeflow.model.events.exits_of`) like any order, from the answer on and for as long as
        the venue holds them, even before the entry has filled.

        Raises:
            Refused: the venue said no; with the code ``not_sent``, nothing has left.
        """

    def cancel(self, request: Cancel, venue_order_id: str) -> None:
        """Ask to cancel. Returning means that the venue was told, not that it is done."""

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        """Ask to change quantity or prices. Returning means that the venue was told."""

    def open_orders(self) -> list[VenueOrder]:
        """Return all working orders of the account, foreign ones included; never a part of them."""

    def order(self, order_id: str, venue_order_id: str = "") -> VenueOrder:
        """Return one order, working or over.

        Raises:
            NotThere: the venue has no such order.
        """

    def executions(self, since: int) -> list[Fill]:
        """Return executions from ``since`` on (UTC nanoseconds), oldest first; never a part."""

    def positions(self) -> list[Holding]:
        """Return everything held on the account; never a part of it."""

    def balances(self) -> Balances:
        """Return the money on the account."""

    def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        """Return the trading rules of symbols.

        Raises:
            Refused: one of them is not traded there; the message names it.
        """

    def past(self, symbol: str, timeframe: int, start: int, end: int) -> History:
        """Return the closed bars of one series that close after ``start`` and up to ``end``.

        Works without `connect`, and disturbs no connection that another object has.
        """

    def time(self) -> int:
        """Return the venue's clock, UTC nanoseconds."""


class Pays(Protocol):
    """What an adapter can do besides where `Capabilities.payments` says so."""

    def payments(self, since: int) -> list[Payment]:
        """Return payments from ``since`` on (UTC nanoseconds), oldest first; never a part."""


class KeepsHours(Protocol):
    """What an adapter can do besides where `Capabilities.hours` says so."""

    def openings(self, start: int, end: int) -> list[Opening]:
        """Return the sessions whose dates lie from ``start`` to ``end`` (UTC nanoseconds)."""


__all__ = [
    "Ack",
    "Adapter",
    "Balances",
    "Capabilities",
    "Corrected",
    "Disconnected",
    "Emit",
    "Garbled",
    "Holding",
    "KeepsHours",
    "Opening",
    "Payment",
    "Pays",
    "Refreshed",
    "Said",
    "VenueOrder",
]
