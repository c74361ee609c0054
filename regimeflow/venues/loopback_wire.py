"""The language of the loopback venue: one JSON object a line, of a closed set of types.

A client opens two connections and says the same `Hello` on both, but for its ``role``. On the first
it sends an `Ask` and gets an `Answered` of the same number back; on the second it hears what the
venue says of its own accord. Both sides decode by type and refuse lines longer than `MAX_LINE`.
"""

from __future__ import annotations

import msgspec

from regimeflow.errors import NotThere, Refused, VenueError
from regimeflow.model.events import Cancel, Fill, OrderUpdate, Replace, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Book, History, Quote, Trade
from regimeflow.venues.port import Ack, Balances, Holding, Refreshed, Said, VenueOrder

#: Longest line either side takes, bytes.
MAX_LINE = 1 << 20
REQUESTS, STREAM, CONTROL = "requests", "stream", "control"


class Hello(msgspec.Struct, frozen=True, tag_field="kind", tag="hello"):
    """First line of a connection, from the client and back from the venue.

    Attributes:
        role: "requests", "stream", or "control" for who moves the venue by hand.
        client: joins the two connections of one client.
    """

    role: str
    client: str


# ---------------------------------------------------------------- questions


class SubmitOrder(msgspec.Struct, frozen=True, tag_field="kind", tag="submit"):
    order: Submit


class CancelOrder(msgspec.Struct, frozen=True, tag_field="kind", tag="cancel"):
    request: Cancel
    venue_order_id: str


class ReplaceOrder(msgspec.Struct, frozen=True, tag_field="kind", tag="replace"):
    request: Replace
    venue_order_id: str


class Subscribe(msgspec.Struct, frozen=True, tag_field="kind", tag="subscribe"):
    symbols: tuple[str, ...]
    timeframe: int


class AskOpenOrders(msgspec.Struct, frozen=True, tag_field="kind", tag="open_orders"):
    pass


class AskOrder(msgspec.Struct, frozen=True, tag_field="kind", tag="order"):
    order_id: str
    venue_order_id: str


class AskExecutions(msgspec.Struct, frozen=True, tag_field="kind", tag="executions"):
    since: int


class AskPositions(msgspec.Struct, frozen=True, tag_field="kind", tag="positions"):
    pass


class AskBalances(msgspec.Struct, frozen=True, tag_field="kind", tag="balances"):
    pass


class AskInstruments(msgspec.Struct, frozen=True, tag_field="kind", tag="instruments"):
    symbols: tuple[str, ...]


class AskHistory(msgspec.Struct, frozen=True, tag_field="kind", tag="history"):
    symbol: str
    timeframe: int
    start: int
    end: int


class AskTime(msgspec.Struct, frozen=True, tag_field="kind", tag="time"):
    pass


class ByHand(msgspec.Struct, frozen=True, tag_field="kind", tag="by_hand"):
    """Makes the venue do something; taken on a control connection only.

    Attributes:
        what: tick, late, end, trade, order, transfer, fund, hide, overfill, end_of_day,
            disconnect, mute, fault, books or hold.
        order_id, symbol, side, qty, price: as far as it needs them.
        ms: how long, in milliseconds.
        fault: of the script, as JSON text.
    """

    what: str
    order_id: str = ""
    symbol: str = ""
    side: str = ""
    qty: float = 0.0
    price: float = 0.0
    ms: float = 0.0
    fault: str = ""


Question = (
    SubmitOrder
    | CancelOrder
    | ReplaceOrder
    | Subscribe
    | AskOpenOrders
    | AskOrder
    | AskExecutions
    | AskPositions
    | AskBalances
    | AskInstruments
    | AskHistory
    | AskTime
    | ByHand
)


class Ask(msgspec.Struct, frozen=True):
    """A question and its number."""

    id: int
    question: Question


# ---------------------------------------------------------------- answers


class Done(msgspec.Struct, frozen=True, tag_field="kind", tag="done"):
    """It is done, and there is nothing to tell; ``text`` is for people."""

    text: str = ""


class Acked(msgspec.Struct, frozen=True, tag_field="kind", tag="acked"):
    ack: Ack


class Orders(msgspec.Struct, frozen=True, tag_field="kind", tag="orders"):
    rows: list[VenueOrder]


class Executions(msgspec.Struct, frozen=True, tag_field="kind", tag="executions"):
    fills: list[Fill]


class Positions(msgspec.Struct, frozen=True, tag_field="kind", tag="positions"):
    holdings: list[Holding]


class Money(msgspec.Struct, frozen=True, tag_field="kind", tag="balances"):
    balances: Balances


class Instruments(msgspec.Struct, frozen=True, tag_field="kind", tag="instruments"):
    rules: list[Instrument]


class Past(msgspec.Struct, frozen=True, tag_field="kind", tag="past"):
    history: History


class Moment(msgspec.Struct, frozen=True, tag_field="kind", tag="moment"):
    ts: int


class No(msgspec.Struct, frozen=True, tag_field="kind", tag="no"):
    """A definite no: it certainly did not take effect."""

    why: str
    code: str = ""
    retry_after_ms: float | None = None
    not_there: bool = False


class Trouble(msgspec.Struct, frozen=True, tag_field="kind", tag="trouble"):
    """Something went wrong on the venue's side: whether it took effect is not said."""

    why: str


Reply = (
    Done
    | Acked
    | Orders
    | Executions
    | Positions
    | Money
    | Instruments
    | Past
    | Moment
    | No
    | Trouble
)


class Answered(msgspec.Struct, frozen=True):
    """An answer, and the number of its question."""

    id: int
    reply: Reply


class Rules(msgspec.Struct, frozen=True, tag_field="kind", tag="rules"):
    """An instrument's rules have changed."""

    instrument: Instrument
    tradable: bool = True


Spoken = Bar | Trade | Quote | Book | OrderUpdate | Fill | Rules | Hello

encode = msgspec.json.Encoder().encode
decode_hello = msgspec.json.Decoder(Hello).decode
decode_ask = msgspec.json.Decoder(Ask).decode
decode_answered = msgspec.json.Decoder(Answered).decode
decode_spoken = msgspec.json.Decoder(Spoken).decode


def line(message: msgspec.Struct) -> bytes:
    """Return a message as a line."""
    return encode(message) + b"\n"


def spoken(said: Said) -> bytes | None:
    """Return what a venue says as a line; None for what only a connection can say of itself."""
    if isinstance(said, Refreshed):
        return line(Rules(said.instrument, said.tradable))
    if isinstance(said, Bar | Trade | Quote | Book | OrderUpdate | Fill):
        return line(said)
    return None


def raise_for(reply: Reply) -> None:
    """Raise what a reply says went wrong."""
    if isinstance(reply, No):
        kind = NotThere if reply.not_there else Refused
        raise kind(reply.why, code=reply.code, retry_after_ms=reply.retry_after_ms)
    if isinstance(reply, Trouble):
        raise VenueError(reply.why)
