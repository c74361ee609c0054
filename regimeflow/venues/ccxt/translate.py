"""From ccxt's dictionaries to structs of ours, by type; what cannot be one is `Unreadable`."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from regimeflow.model.events import Fill, OrderUpdate
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.model.timeframe import NS_PER_MS
from regimeflow.model.venue import Payment, VenueOrder
from regimeflow.venues.ccxt.habits import Habits

#: ccxt's status of an order -> ours; another one is passed on, and nothing is concluded from it.
STATUS = {
    "open": "open",
    "closed": "filled",
    "canceled": "canceled",
    "canceling": "open",
    "expired": "expired",
    "rejected": "rejected",
}
#: What the stream tells of an order, by its status; a fill is told by the executions alone.
TOLD = {
    "open": "accepted",
    "canceled": "canceled",
    "expired": "expired",
    "rejected": "rejected",
}


class Unreadable(Exception):
    """A message has something else where a number or a name should be."""


def number(value: Any, what: str) -> float:
    """Return a finite number."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise Unreadable(f"{what} is {value[:40]!r}") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unreadable(f"{what} is {str(value)[:40]!r}")
    return float(value)


def positive(value: Any) -> float | None:
    """Return a positive number, None for none: exchanges write a price that is not there as 0."""
    found = None if value is None else number(value, "a price")
    return found or None


def text(value: Any, what: str) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise Unreadable(f"{what} is {str(value)[:40]!r}")
    return value


def nanoseconds(*candidates: Any) -> int:
    """Return the first time that is there, given in milliseconds."""
    for value in candidates:
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value * NS_PER_MS
    return 0


def own_id(client_id: Any, habits: Habits) -> str:
    """Return a client order id that can be ours, "" for one that an app or exchange has given."""
    if not isinstance(client_id, str) or client_id.startswith(habits.foreign or ("\0",)):
        return ""
    return client_id


def status_of(row: dict[str, Any]) -> str:
    """Return an order's status; closed before it was filled, it was canceled."""
    status = STATUS.get(str(row.get("status")), str(row.get("status")))
    asked, filled = row.get("amount"), row.get("filled")
    if (
        status == "filled"
        and asked
        and filled is not None
        and number(filled, "") < number(asked, "")
    ):
        return "canceled"
    return status


#: How ccxt calls orders that have a limit; up to 4.5.7 those of Binance kept its own names.
_LIMITED = frozenset({"limit", "stop_loss_limit", "take_profit_limit"})


def venue_order(row: dict[str, Any], habits: Habits) -> VenueOrder:
    """Return an order as the exchange shows it."""
    limited = row.get("type") in _LIMITED
    filled = row.get("filled")
    return VenueOrder(
        own_id(row.get("clientOrderId"), habits),
        text(row.get("id"), "an order's id"),
        text(row.get("symbol"), "an order's symbol"),
        text(row.get("side"), "an order's side"),
        # An order by its cost has no quantity of its own: what is filled is all that is known.
        number(row.get("amount") or filled, "an order's quantity"),
        number(filled or 0.0, "what is filled of an order"),
        status_of(row),
        nanoseconds(row.get("lastUpdateTimestamp"), row.get("timestamp")),
        positive(row.get("price")) if limited else None,
        positive(row.get("triggerPrice")),
        "",
        number(row.get("average") or 0.0, "an order's average price"),
    )


def order_update(row: dict[str, Any], habits: Habits) -> OrderUpdate | None:
    """Return what the stream says of an order; None where its executions say it."""
    status = status_of(row)
    if status == "filled" or (status == "open" and row.get("filled")):
        return None
    return OrderUpdate(
        nanoseconds(row.get("lastUpdateTimestamp"), row.get("timestamp")),
        0,
        own_id(row.get("clientOrderId"), habits),
        TOLD.get(status, status),
        "",
        text(row.get("id"), "an order's id"),
    )


def fill(
    row: dict[str, Any],
    market: dict[str, Any],
    order_id: str,
    venue: str,
    worth: Callable[[str], float],
) -> Fill:
    """Return an execution.

    Units that the exchange keeps as its fee never reach the account: the position grows by what is
    left, and the fee is worth what these units cost.

    Args:
        row: ccxt's trade.
        market: the symbol's.
        order_id: ours, else the exchange's.
        venue: name of the exchange.
        worth: currency -> what one unit of it is worth in the symbol's money.
    """
    money = market.get("settle") or market["quote"]
    symbol = text(row.get("symbol"), "an execution's symbol")
    side = text(row.get("side"), "an execution's side")
    qty = Decimal(str(number(row.get("amount"), "an execution's quantity")))
    price = number(row.get("price"), "an execution's price")
    fee, kept = Decimal(0), Decimal(0)
    for cost, currency in fees(row):
        exact = Decimal(str(cost))
        if currency == money:
            fee += exact
        elif currency == market["base"] and not market.get("contract"):
            kept += exact
            fee += exact * Decimal(str(price))
        else:
            fee += exact * Decimal(str(worth(currency)))
    ts = nanoseconds(row.get("timestamp"))
    kept = kept if side == "buy" else -kept
    return Fill(
        ts,
        0,
        execution_id(row, market),
        order_id,
        symbol,
        side,
        float(qty - kept),
        price,
        float(fee),
        "maker" if row.get("takerOrMaker") == "maker" else "taker",
        venue,
        ts,
        kept=float(kept),
    )


def execution_id(row: dict[str, Any], market: dict[str, Any]) -> str:
    """Return the name of an execution: exchanges count them for each symbol anew."""
    return f"{market['id']}-{text(str(row.get('id') or ''), 'an execution id')}"


def fees(row: dict[str, Any]) -> list[tuple[float, str]]:
    fees = row.get("fees") or [row.get("fee")]
    return [
        (number(fee["cost"], "a fee"), str(fee.get("currency") or ""))
        for fee in fees
        if isinstance(fee, dict) and fee.get("cost")
    ]


def step(client: Any, precision: Any) -> float:
    """Return the step that a precision of ccxt stands for."""
    if precision is None:
        return 1e-8
    value = number(precision, "a precision")
    return value if client.precisionMode == 4 else float(10.0**-value)  # 4: it is the step


def exact(value: float) -> str:
    """Return a number as text, to the last digit."""
    return format(Decimal(repr(float(value))), "f")


def payment(row: dict[str, Any], market: dict[str, Any], habits: Habits) -> Payment:
    """Return what was paid for being held; positive was received."""
    raw = row.get("info") or {}
    if habits.paid_in:
        cash = -number(raw.get(habits.paid_in), "a payment")
    else:
        cash = number(row.get("amount"), "a payment")
    ts = nanoseconds(row.get("timestamp"))
    if not ts:
        raise Unreadable("a payment has no time")
    # Some give no id to what happens once at a time.
    name = str(row.get("id") or row["timestamp"])
    return Payment(f"{market['id']}-{name}", ts, market["symbol"], cash)


def instrument(market: dict[str, Any], step: Callable[[Any], float]) -> Instrument:
    """Return a spot market's trading rules.

    Args:
        step: turns ccxt's precision into the step it stands for.
    """
    limits, precision = market.get("limits") or {}, market.get("precision") or {}
    lot = step(precision.get("amount"))
    return Instrument(
        market["symbol"],
        tick=step(precision.get("price")),
        lot=lot,
        min_qty=number((limits.get("amount") or {}).get("min") or 0.0, "a smallest quantity"),
        min_notional=number((limits.get("cost") or {}).get("min") or 0.0, "a smallest value"),
        shortable=False,
        unit=min(lot, 1e-8),
    )


def contract(market: dict[str, Any], step: Callable[[Any], float], leverage: float) -> Instrument:
    """Return a linear swap's trading rules, in contracts.

    Args:
        step: as of `instrument`.
        leverage: what the account has set: margin is the value over it.
    """
    spot = instrument(market, step)
    return msgspec.structs.replace(
        spot,
        multiplier=number(market.get("contractSize") or 1.0, "a contract's size"),
        margin=min(1.0, 1.0 / leverage),
        shortable=True,
        unit=0.0,
    )


def bar(symbol: str, timeframe: int, row: list[Any]) -> Bar:
    """Return a candle, which ccxt labels by its opening, as a bar at its close."""
    opened, *numbers = row[:6]
    if not isinstance(opened, int) or len(numbers) != 5:
        raise Unreadable("a candle is not six numbers")
    o, h, l, c, v = (number(value, "a price of a candle") for value in numbers)  # noqa: E741
    return Bar(opened * NS_PER_MS + timeframe, 0, symbol, o, h, l, c, v, timeframe)


def trade(row: dict[str, Any]) -> Trade:
    """Return somebody's trade."""
    return Trade(
        nanoseconds(row.get("timestamp")),
        0,
        text(row.get("symbol"), "a trade's symbol"),
        number(row.get("price"), "a trade's price"),
        number(row.get("amount"), "a trade's size"),
        str(row.get("side") or ""),
        str(row.get("id") or ""),
    )


def quote(row: dict[str, Any], now: int) -> Quote:
    """Return the best bid and ask; ``now`` is its time where the exchange does not say."""
    return Quote(
        nanoseconds(row.get("timestamp")) or now,
        0,
        text(row.get("symbol"), "a quote's symbol"),
        number(row.get("bid"), "a bid"),
        number(row.get("ask"), "an ask"),
        number(row.get("bidVolume") or 0.0, "a bid's size"),
        number(row.get("askVolume") or 0.0, "an ask's size"),
    )
