"""What a session asks for against what its venue can do, as far as both can be read beforehand."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator

from regimeflow.model.models import Limits
from regimeflow.model.timeframe import format_timeframe, parse_timeframe
from regimeflow.session.real_money import Finding
from regimeflow.venues.port import Adapter, Capabilities


def within_capabilities(
    venue: Adapter, source: str, limits: Limits, timeframe: int
) -> Iterator[Finding]:
    """Yield whether a venue takes what a strategy's text and a session's limits ask for.

    Args:
        venue: an adapter.
        source: the strategy's text; "" where it is lost.
        limits: the session's.
        timeframe: of its bars, nanoseconds; 0 for trades and quotes.
    """
    able = venue.capabilities
    yield from _orders(source, able, str(getattr(venue, "calendar", "")))
    yield from _rate(limits, able)
    yield from _kinds(timeframe, able)


def _orders(source: str, able: Capabilities, calendar: str) -> Iterator[Finding]:
    types, tifs = orders_used(source, "day" if calendar else "gtc")
    if "bracket" in types and not able.brackets:
        why = "the strategy uses take_profit or stop_loss, which the venue does not hold"
        yield Finding("exits", False, why)
    types.discard("bracket")
    for what, used, there in (
        ("order types", types, able.order_types),
        ("times in force", tifs, able.tifs),
    ):
        lacking = sorted(used - there)
        yield Finding(
            what,
            not lacking,
            f"the strategy uses {', '.join(lacking)}, which the venue does not take; it takes "
            f"{', '.join(sorted(there))}"
            if lacking
            else f"the strategy uses {', '.join(sorted(used))}, which the venue takes",
        )


def orders_used(source: str, tif: str) -> tuple[set[str], set[str]]:
    """Return the order types and times in force that a strategy's text asks for.

    "bracket" among the types stands for orders that bring their exits.

    Args:
        source: its text; "" where it is lost.
        tif: what an order has that does not say.

    >>> orders_used("ctx.buy('A', 1, limit=2.0, tif='ioc')", "day") == ({"limit"}, {"ioc"})
    True
    """
    types: set[str] = set()
    tifs: set[str] = set()
    for node in ast.walk(_parsed(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if node.func.attr in ("buy", "sell"):
            priced = [name for name in ("stop", "limit") if name in given]
            types.add("_".join(priced) or "market")
            exits = {"take_profit", "stop_loss"} & given.keys()
            types |= {"bracket"} if exits else set()
            said, usual = given.get("tif"), "gtc" if exits else tif
            tifs.add(str(said.value) if isinstance(said, ast.Constant) and said.value else usual)
            if "expire_at" in given:
                tifs.add("gtd")
        elif node.func.attr in ("target", "targets", "close"):
            types.add("market")
            tifs.add(tif)
    return types or {"market"}, tifs or {tif}


def _parsed(source: str) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(source))
    except SyntaxError:  # a lambda's line, cut out of the middle of something
        return ast.Module([], [])


def _rate(limits: Limits, able: Capabilities) -> Iterator[Finding]:
    most = able.orders_per_second
    if not most:
        yield Finding("rate", True, "the venue states no limit on orders")
        return
    second = limits.max_orders_per_second
    minute = limits.max_orders_per_minute
    over = (second or 0) > most or (minute or 0) > 60 * most
    asked = f"{second or 'any'} a second and {minute or 'any'} a minute"
    yield Finding(
        "rate", not over, f"the limits allow {asked}; the venue takes {most:g} requests a second"
    )


def _kinds(timeframe: int, able: Capabilities) -> Iterator[Finding]:
    there = "bar" in able.market_data if timeframe else bool({"quote", "trade"} & able.market_data)
    yield Finding(
        "market data",
        there,
        f"the session needs {'bars' if timeframe else 'quotes or trades'}, and the venue streams "
        f"{', '.join(sorted(able.market_data)) or 'nothing'}",
    )
    lengths = [parse_timeframe(text) for text in able.timeframes]
    if timeframe and lengths and timeframe not in lengths:
        yield Finding(
            "timeframe",
            False,
            f"the venue has no bars of {format_timeframe(timeframe)}; it has "
            f"{', '.join(able.timeframes)}",
        )
