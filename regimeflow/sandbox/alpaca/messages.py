"""Alpaca's messages as the sandbox reads and writes them."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgpack
from msgspec import UNSET

from regimeflow.errors import Refused
from regimeflow.model.events import Replace, Submit
from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.sandbox.exchange import Working

#: In which ids are made, so that one seed gives the same ones again.
SPACE = uuid.UUID("7d2f3c8e-54a1-4a5e-9e0e-0a1b5c3d7e11")
_MINUTE_NS = 60 * 10**9
Json = dict[str, Any]


def check(body: Json) -> None:
    """Refuse what Alpaca refuses and a simple exchange would take."""
    crypto = is_crypto(body["symbol"])
    if (body.get("qty") is None) == (body.get("notional") is None):
        raise Refused("qty or notional is required, not both")
    if body.get("qty") is None:
        _check_notional(body)
        return
    _check_exits(body)
    qty = _decimal(body["qty"])
    if -qty.as_tuple().exponent > 9:  # type: ignore[operator]
        raise Refused("qty must have at most 9 decimals", code="bad_qty")
    if not crypto and qty % 1 and body.get("time_in_force") != "day":
        raise Refused("fractional orders must be DAY orders", code="bad_tif")
    if not crypto and qty % 1:
        raise Refused(f'asset "{body["symbol"]}" is not fractionable', code="not_fractionable")
    for name in ("limit_price", "stop_price"):
        price = None if body.get(name) is None else _decimal(body[name])
        if price is not None and not crypto and price >= 1 and price != round(price, 2):
            raise Refused(f"{name} does not fulfil the sub-penny rule", code="bad_price")
    if len(body["client_order_id"]) > 128:
        raise Refused("client_order_id must be at most 128 characters")


def _check_notional(body: Json) -> None:
    """Refuse what Alpaca does not take of an order that is given in money."""
    notional = _decimal(body["notional"])
    if not is_crypto(body["symbol"]):
        raise Refused(f'asset "{body["symbol"]}" is not fractionable', code="not_fractionable")
    if body["type"] != "market" or (body.get("order_class") or "simple") != "simple":
        raise Refused("notional orders are simple market orders here")
    if notional < 1 or notional != round(notional, 2):
        raise Refused("notional must be at least 1, with two decimals", code="bad_qty")


def _check_exits(body: Json) -> None:
    """Refuse exits that Alpaca does not take."""
    kind = body.get("order_class") or "simple"
    exits = [name for name in ("take_profit", "stop_loss") if body.get(name)]
    if len(exits) != {"simple": 0, "oto": 1, "bracket": 2}.get(kind, -1):
        raise Refused(f"{kind} orders need other exits than {', '.join(exits) or 'none'}")
    if exits and is_crypto(body["symbol"]):
        raise Refused("crypto orders not allowed for advanced order_class: " + kind)
    if exits and (_decimal(body["qty"]) % 1 or body.get("time_in_force") not in ("day", "gtc")):
        raise Refused("complex orders are of whole shares, and day or gtc")


def order_of(body: Json) -> Submit:
    profit, loss = body.get("take_profit") or {}, body.get("stop_loss") or {}
    return Submit(
        0,
        0,
        str(body.get("client_order_id") or uuid.uuid4()),
        str(body["symbol"]),
        str(body["side"]),
        float(_decimal(body["qty"])),
        str(body["type"]),
        _price(body.get("limit_price")),
        _price(body.get("stop_price")),
        str(body["time_in_force"]),
        take_profit=_price(profit.get("limit_price")) or UNSET,
        stop_loss=_price(loss.get("stop_price")) or UNSET,
    )


def change_of(order: Working, body: Json) -> Replace:
    qty = float(_decimal(body["qty"])) if body.get("qty") is not None else float(order.qty)
    limit, stop = _price(body.get("limit_price")), _price(body.get("stop_price"))
    return Replace(0, 0, order.id, qty, limit, stop)


def _price(given: Any) -> float | None:
    return None if given is None else float(_decimal(given))


def _decimal(given: Any) -> Decimal:
    try:
        found = Decimal(str(given))
    except InvalidOperation:
        raise ValueError(f"{given!r} is no number") from None
    if not found.is_finite():
        raise ValueError(f"{given!r} is no number")
    return found


def bar(row: Sequence[float], length: int) -> Json:
    """Return a bar of the history, named by when it opens."""
    found: Json = dict(zip(("t", "o", "h", "l", "c", "v"), row, strict=True))
    return found | {"t": written(int(row[0]) - length), "n": 4, "vw": found["c"]}


def market(said: Bar | Trade | Quote, *, updated: bool = False) -> Json:
    """Return market data as Alpaca streams them; ``updated``: a bar that was told before."""
    if isinstance(said, Bar):
        opens = msgpack.Timestamp.from_unix_nano(said.ts - said.timeframe)
        prices = {"o": said.open, "h": said.high, "l": said.low, "c": said.close}
        return {
            "T": "u" if updated else "b",
            "S": said.symbol,
            **prices,
            "v": said.volume,
            "n": 4,
            "vw": said.close,
            "t": opens,
        }
    ts = msgpack.Timestamp.from_unix_nano(said.ts)
    if isinstance(said, Trade):
        return {
            "T": "t",
            "S": said.symbol,
            "i": int(said.id),
            "x": "V",
            "p": said.price,
            "s": said.size,
            "c": ["@"],
            "z": "C",
            "t": ts,
        }
    return {
        "T": "q",
        "S": said.symbol,
        "bx": "V",
        "bp": said.bid,
        "bs": said.bid_size,
        "ax": "V",
        "ap": said.ask,
        "as": said.ask_size,
        "c": ["R"],
        "z": "C",
        "t": ts,
    }


def json_bytes(message: Any) -> bytes:
    return json.dumps(message).encode()


def text(value: float) -> str:
    return format(Decimal(str(value)), "f")


def written(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z"


_TIME = re.compile(r"([^.Zz+]+?)(?:\.(\d+))?(?:[Zz]|([+-]\d{2}:\d{2}))?")


def ns_of(text: str) -> int:
    """Return a time of a query as UTC nanoseconds; one without a zone is meant in UTC."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"invalid time: {text}")
    whole, parts, zone = found.groups()
    at = datetime.fromisoformat(whole + (zone or "+00:00" if "T" in whole else ""))
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return int(at.timestamp()) * 10**9 + int((parts or "").ljust(9, "0")[:9])


def length_of(text: str) -> int:
    """Return a bar length as Alpaca writes it, or in nanoseconds, which only the sandbox takes."""
    for unit, ns in (("Min", _MINUTE_NS), ("Hour", 60 * _MINUTE_NS), ("Day", 1440 * _MINUTE_NS)):
        if text.endswith(unit):
            return int(text.removesuffix(unit) or 1) * ns
    return int(text.removesuffix("ns"))


def is_crypto(symbol: str) -> bool:
    return "/" in symbol


def asset_class(symbol: str) -> str:
    return "crypto" if is_crypto(symbol) else "us_equity"
