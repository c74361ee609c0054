"""Alpaca's messages by type, and what they are in our own terms. Nothing here asks or sends.

A replaced order is a new one at Alpaca, with an id of its own. It carries our name with a suffix,
so that each of them leads back to the order that it once was (`client_id`, `own_name`).

An execution is named by the order it belongs to and what of that order is filled with it: the
trading stream and the list of activities name the same execution by different ids, and have that in
common.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from regimeflow.model.events import STOP_LOSS, TAKE_PROFIT, Fill, OrderUpdate
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.model.timeframe import NS_PER_DAY, NS_PER_SECOND, format_timeframe
from regimeflow.model.venue import Holding, VenueOrder
from regimeflow.venues.port import Balances, Opening

NS_PER_MINUTE = 60 * NS_PER_SECOND
NEW_YORK = ZoneInfo("America/New_York")
Number = str | int | float

#: Alpaca's word for where an order stands -> ours. What is not here is passed on as it is, and
#: nothing is concluded from it.
STATUSES = {
    **dict.fromkeys(
        (
            "new",
            "accepted",
            "pending_new",
            "pending_review",
            "accepted_for_bidding",
            "partially_filled",
            "pending_cancel",
            "pending_replace",
            "done_for_day",
            "stopped",
            "suspended",
            "calculated",
            "held",
        ),
        "open",
    ),
    "filled": "filled",
    "canceled": "canceled",
    "expired": "expired",
    "rejected": "rejected",
}
#: Where an order that is to replace another stands while it does not count yet, or never will:
#: until it works at the exchange the old one does, which may be filled meanwhile.
NOT_IN_FORCE = frozenset({"accepted", "pending_new", "pending_review", "rejected"})
#: Event of the trading stream -> what it says of its order; "" for what changes nothing.
EVENTS = {
    "new": "accepted",
    "accepted": "accepted",
    "pending_new": "",
    "pending_cancel": "",
    "pending_replace": "",
    "pending_review": "",
    "held": "",
    "stopped": "",
    "suspended": "",
    "calculated": "",
    "done_for_day": "",
    "restated": "",
    "partial_fill": "fill",
    "fill": "fill",
    "canceled": "canceled",
    "expired": "expired",
    "rejected": "rejected",
    "replaced": "replaced",
    "order_cancel_rejected": "cancel_rejected",
    "order_replace_rejected": "replace_rejected",
}
#: What these events say of the order that is replaced, where one is to take its place.
_REPLACING = {"new": "replaced", "accepted": "", "rejected": "replace_rejected"}
_SIDES = {"buy": "buy", "sell": "sell", "sell_short": "sell", "buy_minus": "buy"}
#: What crypto is quoted in, the longer first: positions come without the slash.
_QUOTED_IN = ("USDT", "USDC", "USD", "BTC")
_SUFFIX = "~"
_GIVEN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII
)


class Unreadable(ValueError):
    """A message that cannot be what it says."""


# ---------------------------------------------------------------- messages


class Order(msgspec.Struct, kw_only=True):
    """An order, by REST and in the trading stream; ``legs`` are its exits, where they are told."""

    id: str
    client_order_id: str
    symbol: str
    side: str
    status: str
    asset_class: str = ""
    qty: Number | None = None
    filled_qty: Number | None = None
    filled_avg_price: Number | None = None
    limit_price: Number | None = None
    stop_price: Number | None = None
    type: str = ""
    legs: list[Order] | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    submitted_at: str | None = None
    updated_at: str | None = None


class Update(msgspec.Struct, kw_only=True):
    """What the trading stream says."""

    event: str
    order: Order
    timestamp: str | None = None
    execution_id: str | None = None
    price: Number | None = None
    qty: Number | None = None
    reason: str | None = None


class Told(msgspec.Struct, kw_only=True):
    """One message of the trading stream."""

    stream: str
    data: Update


class Activity(msgspec.Struct, kw_only=True):
    """One execution in the list of activities."""

    id: str
    activity_type: str
    order_id: str
    symbol: str
    side: str
    price: Number
    qty: Number
    cum_qty: Number
    transaction_time: str


class Position(msgspec.Struct, kw_only=True):
    symbol: str
    qty: Number
    side: str = "long"
    asset_class: str = ""
    avg_entry_price: Number = 0.0


class Account(msgspec.Struct, kw_only=True):
    account_number: str
    status: str
    cash: Number
    equity: Number
    buying_power: Number
    initial_margin: Number | None = None
    currency: str = "USD"
    trading_blocked: bool = False
    account_blocked: bool = False


class Clock(msgspec.Struct, kw_only=True):
    timestamp: str


class Day(msgspec.Struct, kw_only=True):
    """A day of trading; its times are those of New York."""

    date: str
    open: str
    close: str


class Asset(msgspec.Struct, kw_only=True):
    symbol: str
    tradable: bool = False
    shortable: bool = False
    fractionable: bool = False
    min_order_size: Number | None = None
    min_trade_increment: Number | None = None
    price_increment: Number | None = None


class BarRow(msgspec.Struct, kw_only=True):
    """A bar of the history; ``t`` is when it opens."""

    t: str
    o: float
    h: float
    l: float  # noqa: E741  Alpaca's own name
    c: float
    v: float


class BarPage(msgspec.Struct, kw_only=True):
    bars: dict[str, list[BarRow]] | None = None
    next_page_token: str | None = None


class Streamed(msgspec.Struct, kw_only=True):
    """What every message of the market data stream has; ``t`` is a msgpack timestamp."""

    S: str
    t: Any


class StreamedTrade(Streamed, kw_only=True):
    p: float
    s: float
    i: int | str = ""
    tks: str = ""


class StreamedQuote(Streamed, kw_only=True):
    bp: float
    ap: float
    bs: float
    as_: float = msgspec.field(name="as")


class StreamedBar(Streamed, kw_only=True):
    o: float
    h: float
    l: float  # noqa: E741
    c: float
    v: float


class Status(Streamed, kw_only=True):
    """A halt, or its end; ``sc`` is a code of the exchange's."""

    sc: str


#: Code of a trading status -> whether the symbol trades then; others say nothing about that.
TRADES = {"2": False, "H": False, "P": False, "3": True, "T": True}

# ---------------------------------------------------------------- numbers and times


def number(given: Number | None) -> float:
    """Return a finite number."""
    try:
        value = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise Unreadable(f"{str(given)[:40]!r} is no number") from None
    if not math.isfinite(value):
        raise Unreadable(f"{str(given)[:40]!r} is no number")
    return value


def _maybe(given: Number | None) -> float | None:
    return None if given is None else number(given)


def decimal(value: float) -> str:
    """Return a number as exact decimal text, without an exponent.

    >>> decimal(0.1), decimal(1e-8), decimal(100.0)
    ('0.1', '0.00000001', '100')
    """
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def moment(text: str | None) -> int:
    """Return a time of Alpaca's as UTC nanoseconds: it writes up to nine digits of a second."""
    found = _MOMENT.fullmatch(text or "")
    if found is None:
        raise Unreadable(f"{str(text)[:40]!r} is no time")
    try:
        whole = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00"))
    except ValueError:
        raise Unreadable(f"{str(text)[:40]!r} is no time") from None
    since = whole - _EPOCH
    return (since.days * 86_400 + since.seconds) * 10**9 + int((found[2] or "0").ljust(9, "0"))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def written(ns: int) -> str:
    """Return UTC nanoseconds as Alpaca takes times."""
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z"


def bar_length(timeframe: int, *, local: bool) -> str:
    """Return a timeframe as Alpaca writes it, or "" where it has none.

    Args:
        timeframe: nanoseconds.
        local: whether a sandbox is asked, which has bars of seconds too.
    """
    minutes, rest = divmod(timeframe, NS_PER_MINUTE)
    if rest == 0 and 0 < minutes < 60:
        return f"{minutes}Min"
    if rest == 0 and minutes % 60 == 0 and 0 < minutes < 24 * 60:
        return f"{minutes // 60}Hour"
    if timeframe == NS_PER_DAY:
        return "1Day"
    return f"{timeframe}ns" if local else ""


# ---------------------------------------------------------------- names


def client_id(order_id: str, seq: int) -> str:
    """Return the name of an order that replaces one of ours; each change has another."""
    return f"{order_id}{_SUFFIX}{seq}"


def own_name(client_order_id: str) -> str:
    """Return our name of an order; "" where Alpaca gave it one because nobody else did."""
    if _GIVEN.fullmatch(client_order_id):
        return ""
    return client_order_id.partition(_SUFFIX)[0]


def exit_id(entry_id: str, leg: Order) -> str:
    """Return our name of an exit: Alpaca names it by itself, and shows it with its entry."""
    return entry_id + (TAKE_PROFIT if leg.type == "limit" else STOP_LOSS)


def symbol_of(symbol: str, asset_class: str) -> str:
    """Return a symbol as orders have it: positions in crypto come as ``BTCUSD``.

    >>> symbol_of("BTCUSD", "crypto"), symbol_of("SPY", "us_equity")
    ('BTC/USD', 'SPY')
    """
    if asset_class != "crypto" or "/" in symbol:
        return symbol
    for quote in _QUOTED_IN:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return f"{symbol[: -len(quote)]}/{quote}"
    return symbol


def execution_id(order_id: str, filled: Number | None) -> str:
    """Return the name of an execution: its order's, and what is filled of that with it."""
    try:
        total = Decimal(str(filled)).normalize()
    except InvalidOperation:
        raise Unreadable(f"{str(filled)[:40]!r} is no quantity") from None
    return f"{order_id}:{total:f}"


def side_of(text: str) -> str:
    side = _SIDES.get(text)
    if side is None:
        raise Unreadable(f"{text[:40]!r} is no side of an order")
    return side


# ---------------------------------------------------------------- in our terms


def opening(day: Day) -> Opening:
    """Return when the exchange opens and closes on a day."""
    return Opening(day.date, _in_new_york(day.date, day.open), _in_new_york(day.date, day.close))


def _in_new_york(date: str, clock: str) -> int:
    try:
        local = datetime.fromisoformat(f"{date}T{clock}").replace(tzinfo=NEW_YORK)
    except ValueError:
        raise Unreadable(f"{date[:20]!r}, {clock[:20]!r} is no time of a calendar") from None
    return int(local.timestamp()) * NS_PER_SECOND


def in_force(order: Order) -> bool:
    """Whether an order counts, rather than the one that it is to replace."""
    return not (order.replaces and order.status in NOT_IN_FORCE)


def venue_order(order: Order, name: str) -> VenueOrder:
    """Return an order; one by value has no quantity before it is filled."""
    filled = number(order.filled_qty or 0.0)
    return VenueOrder(
        name,
        order.id,
        symbol_of(order.symbol, order.asset_class),
        side_of(order.side),
        filled if order.qty is None else number(order.qty),
        filled,
        STATUSES.get(order.status, order.status),
        moment(order.updated_at) if order.updated_at else 0,
        _maybe(order.limit_price),
        _maybe(order.stop_price),
        average_price=_maybe(order.filled_avg_price) or 0.0,
        changing=order.status == "pending_replace",
    )


def news(update: Update, name: str) -> Fill | OrderUpdate | None:
    """Return what the trading stream says of an order, or None where it changes nothing.

    Args:
        update: the message.
        name: ours of the order, "" without one.
    """
    order = update.order
    what = EVENTS.get(update.event)
    if what is None:
        raise Unreadable(f"the trading stream told of {update.event[:40]!r}, which is not known")
    ts = moment(update.timestamp or order.updated_at)
    if what == "fill":
        return _fill(update, name, ts)
    if order.replaces:
        what = _REPLACING.get(update.event, what)
    # Alpaca tells of a change twice: the old order is replaced, and the new one begins. What it
    # became stands in the new one.
    if not what or (what == "replaced" and order.replaced_by):
        return None
    terms: dict[str, Any] = {}
    if what == "replaced":
        terms = {
            "qty": number(order.qty),
            "limit": _maybe(order.limit_price),
            "stop": _maybe(order.stop_price),
        }
    return OrderUpdate(ts, 0, name, what, update.reason or "", order.id, **terms)


def _fill(update: Update, name: str, ts: int) -> Fill:
    order = update.order
    return Fill(
        ts,
        0,
        execution_id(order.id, order.filled_qty),
        name or order.id,
        symbol_of(order.symbol, order.asset_class),
        side_of(order.side),
        number(update.qty),
        number(update.price),
        venue="alpaca",
        executed_at=ts,
    )


def fill_of(activity: Activity, name: str, asset_class: str) -> Fill:
    """Return an execution of the list of activities."""
    ts = moment(activity.transaction_time)
    return Fill(
        ts,
        0,
        execution_id(activity.order_id, activity.cum_qty),
        name or activity.order_id,
        symbol_of(activity.symbol, asset_class),
        side_of(activity.side),
        number(activity.qty),
        number(activity.price),
        venue="alpaca",
        executed_at=ts,
    )


def holding(position: Position) -> Holding:
    qty = abs(number(position.qty))
    return Holding(
        symbol_of(position.symbol, position.asset_class),
        -qty if position.side == "short" else qty,
        number(position.avg_entry_price),
    )


def balances(account: Account) -> Balances:
    return Balances(
        number(account.cash),
        number(account.equity),
        number(account.buying_power),
        number(account.initial_margin or 0.0),
        account.currency,
        account.account_number,
    )


def instrument(asset: Asset, *, crypto: bool, fractional: bool, calendar: str) -> Instrument:
    """Return an asset's trading rules.

    Stocks trade in whole shares unless fractions are wanted and it has them, and in cents: below a
    dollar Alpaca would take finer prices, above it refuses them.
    """
    if crypto:
        lot = number(asset.min_trade_increment or 1e-9)
        return Instrument(
            asset.symbol,
            tick=number(asset.price_increment or 0.01),
            lot=lot,
            min_qty=number(asset.min_order_size or lot),
            shortable=False,
            calendar=calendar,
            flips=False,
        )
    lot = 1e-9 if fractional and asset.fractionable else 1.0
    return Instrument(
        asset.symbol,
        tick=0.01,
        lot=lot,
        shortable=asset.shortable,
        calendar=calendar,
        flips=False,
    )


def streamed_time(given: Any) -> int:
    """Return a msgpack timestamp, or the text that stands for one, as UTC nanoseconds."""
    to_ns = getattr(given, "to_unix_nano", None)
    if to_ns is not None:
        return int(to_ns())
    if isinstance(given, str):
        return moment(given)
    raise Unreadable("a message of the market has no time")


def trade(message: Any, _: int) -> Trade:
    row = msgspec.convert(message, StreamedTrade)
    side = {"B": "buy", "S": "sell"}.get(row.tks, "")
    return Trade(streamed_time(row.t), 0, row.S, row.p, row.s, side, str(row.i))


def quote(message: Any, _: int) -> Quote:
    row = msgspec.convert(message, StreamedQuote)
    return Quote(streamed_time(row.t), 0, row.S, row.bp, row.ap, row.bs, row.as_)


def bar(message: Any, timeframe: int) -> Bar:
    """Return a bar: Alpaca names it by when it opens, we by when it closes."""
    row = msgspec.convert(message, StreamedBar)
    close = streamed_time(row.t) + timeframe
    return Bar(close, 0, row.S, row.o, row.h, row.l, row.c, row.v, timeframe)


#: Type of a market data message -> what makes it one of ours; "u" is a bar that was corrected.
READ: dict[str, Callable[[Any, int], Bar | Trade | Quote]] = {
    "b": bar,
    "u": bar,
    "t": trade,
    "q": quote,
}


def no_bars(timeframe: int) -> str:
    """Return the sentence for a bar length that Alpaca does not have."""
    return (
        f"Alpaca has no bars of {format_timeframe(timeframe)}: it has 1 to 59 minutes, 1 to 23 "
        "hours and 1 day"
    )
