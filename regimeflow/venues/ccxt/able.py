"""What an exchange can do, as far as ccxt says and our own table."""

from __future__ import annotations

from typing import Any

from regimeflow.errors import ConfigError
from regimeflow.model.timeframe import NS_PER_SECOND, format_timeframe
from regimeflow.venues.ccxt.habits import Habits
from regimeflow.venues.ccxt.paging import Pages
from regimeflow.venues.port import Capabilities

_DAY_MS = 86_400_000


def features(client: Any, market: str) -> dict[str, Any]:
    """Return what ccxt says of one kind of market; nothing where it says nothing."""
    told = (client.features or {}).get(market) or {}
    found: dict[str, Any] = (told.get("linear") or {}) if market == "swap" else told
    return found


def pages_of_trades(client: Any, market: str) -> Pages:
    """Return how our executions are given out, as far as ccxt says: nothing of it is sure."""
    told = features(client, market).get("fetchMyTrades") or {}
    return Pages(int(told.get("limit") or 0), int(told.get("untilDays") or 0) * _DAY_MS)


def rows_of_open_orders(client: Any, market: str) -> int | None:
    """Return how many working orders one answer holds, 0 where all; None: nobody knows."""
    told = features(client, market)
    if not told:
        return None
    return int((told.get("fetchOpenOrders") or {}).get("limit") or 0)


def asks_by_symbol(client: Any, market: str) -> bool:
    """Whether working orders can only be asked for symbol by symbol."""
    told = features(client, market).get("fetchOpenOrders") or {}
    return bool(told.get("symbolRequired"))


def timeframes(client: Any) -> dict[int, str]:
    """Return length in nanoseconds -> ccxt's name; months have no one length."""
    return {
        int(client.parse_timeframe(name)) * NS_PER_SECOND: name
        for name in client.timeframes or {}
        if name[-1:] not in ("M", "y")
    }


def capabilities(plain: Any, habits: Habits, settle_ms: float) -> Capabilities:
    """Return what an exchange can do in one kind of market.

    Args:
        plain: a client of ccxt that is connected to nothing.
        habits: of the exchange, in that kind of market.
        settle_ms: how long after an order was sent the exchange may still not show it.

    Raises:
        ConfigError: it has no such markets, or they could not be booked.
    """
    swap, has = habits.market == "swap", plain.has
    if swap:
        _can_be_booked(plain)
    told = features(plain, habits.market)
    orders = told.get("createOrder") or {}
    types = {"market", "limit"}
    if orders.get("triggerPrice") or orders.get("stopLossPrice"):
        types |= {"stop", "stop_limit"}
    tifs = {"gtc"} | {t.lower() for t in ("IOC", "FOK") if (orders.get("timeInForce") or {}).get(t)}
    kinds = {
        "bar": has.get("watchOHLCV"),
        "trade": has.get("watchTrades") or has.get("watchTradesForSymbols"),
        "quote": has.get("watchBidsAsks"),
    }
    return Capabilities(
        order_types=frozenset(types) & habits.order_types,
        tifs=frozenset(tifs),
        replace=False,
        fractional=True,
        short=swap,
        order_id_length=habits.order_id_length,
        executions=bool(has.get("fetchMyTrades")),
        settle_ms=settle_ms,
        market_data=frozenset(kind for kind, there in kinds.items() if there),
        history=bool(has.get("fetchOHLCV")),
        timeframes=tuple(format_timeframe(ns) for ns in sorted(timeframes(plain))),
        history_page=int((told.get("fetchOHLCV") or {}).get("limit") or 500),
        margined=swap,
        payments=swap,
        whole_lists=_whole(told, habits),
    )


def _whole(told: dict[str, Any], habits: Habits) -> bool:
    """Whether lists of any length can be read to their end: ours by habit, or by going back."""
    trades = habits.trades is not None or bool((told.get("fetchMyTrades") or {}).get("untilDays"))
    # A page of working orders is the whole where there is no limit to it.
    rows = (told.get("fetchOpenOrders") or {}).get("limit") if told else -1
    return trades and (habits.orders_page is not None or not rows)


def _can_be_booked(plain: Any) -> None:
    """Refuse an exchange without swaps, or whose swaps do not tell what they pay and cost."""
    has = plain.has
    if not has.get("swap"):
        raise ConfigError(f"{plain.id} has no swaps that ccxt knows of")
    for ability, what in (
        ("fetchFundingHistory", "what was paid as funding"),
        ("fetchPositions", "what contracts are held"),
    ):
        if not has.get(ability):
            raise ConfigError(
                f"{plain.id} does not tell ccxt {what} ({ability}), so its swaps cannot be booked"
            )
