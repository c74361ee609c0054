"""``regimeflow doctor``: what stands between a configuration and trading, one line each.

It looks at the files first, then asks the venue: it connects, reads the clock, the account, orders,
positions, rules and prices, and sends nothing that could change anything.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from regimeflow.analytics.report import Report
from regimeflow.data.calendars import sessions
from regimeflow.errors import RegimeflowError
from regimeflow.model.market import Bar, Book, Quote, Trade
from regimeflow.model.timeframe import NS_PER_DAY, NS_PER_SECOND, iso, parse_timeframe
from regimeflow.session import launch
from regimeflow.session.able import within_capabilities
from regimeflow.session.brokers import venue_of
from regimeflow.session.check import Checkup, asyncio_of, complete, directory, kill_switch
from regimeflow.session.real_money import MAX_SKEW_MS, Finding, conditions, is_real_money, packages
from regimeflow.session.run_dir import killed
from regimeflow.session.settings import Settings
from regimeflow.session.source import name_of, source_of
from regimeflow.venues.gateway import same_account
from regimeflow.venues.intake import Hours
from regimeflow.venues.port import Adapter, KeepsHours

#: How long prices are listened for, where bars cannot be asked for.
_LISTEN_S = 5.0
#: How many bars are asked for, to see how old the newest is.
_BARS = 200
#: How many days of the venue's calendar are held against ours.
_DAYS = 30

Look = Callable[[], Iterator[Finding]]


def examine(settings: Settings, *, ask: bool = True) -> Checkup:
    """Return what is to be said of a configuration, before a session is made of it.

    Args:
        settings: the configuration.
        ask: whether the venue is asked; else only what is on this machine is looked at.
    """
    findings: list[Finding] = []

    def look(name: str, what: Look) -> None:
        try:
            findings.extend(what())
        except RegimeflowError as error:
            findings.append(Finding(name, False, str(error)))

    look("configuration", lambda: _configuration(settings))
    look("strategy", lambda: _strategy(settings))
    look("baseline", lambda: _baseline(settings))
    look("sources", lambda: _secrets(settings))
    look("run directory", lambda: _run_directory(settings))
    look("packages", _packages)
    look("asyncio", asyncio_of)
    made: list[Any] = []
    look("broker", lambda: _broker(settings, made))
    venue = made[0] if made else None
    look("limits", lambda: _limits(settings, venue))
    if hasattr(venue, "capabilities"):
        if all(found.ok for found in findings if found.name == "strategy"):
            look("orders", lambda: _within_capabilities(settings, made[0]))
        if ask:
            findings += ask_venue(settings, made[0])
    return Checkup(findings)


# ---------------------------------------------------------------- on this machine


def _configuration(settings: Settings) -> Iterator[Finding]:
    launch.check_keys(settings)
    yield Finding("configuration", True, f"{settings.file} is valid")


def _strategy(settings: Settings) -> Iterator[Finding]:
    strategy = launch.strategy_of(settings)
    yield Finding("strategy", True, f"{name_of(strategy)} can be loaded")


def _baseline(settings: Settings) -> Iterator[Finding]:
    baseline: Report | None = launch.baseline_of(settings.config)
    if baseline is None:
        yield Finding("baseline", True, "there is none: drift is measured against nothing")
    elif baseline.model is None:
        yield Finding("baseline", False, "it has returns only, no model of fills and costs")
    else:
        yield Finding("baseline", True, f"is of {baseline.strategy}")


def _secrets(settings: Settings) -> Iterator[Finding]:
    for text in settings.findings:
        yield Finding("sources", False, text)
    from_where = sorted({value.origin for value in settings.broker.values()})
    if from_where and not settings.findings:
        yield Finding("sources", True, f"the broker's values come from {', '.join(from_where)}")


def _run_directory(settings: Settings) -> Iterator[Finding]:
    run_dir = launch.run_dir_of(settings.config, settings.config.strategy.name.rpartition(":")[2])
    yield from directory(run_dir)
    yield from kill_switch(killed(run_dir))


def _packages() -> Iterator[Finding]:
    yield from packages(needed=True)
    if all(importlib.util.find_spec(name) for name in ("ib_async", "ib_insync")):
        yield Finding(
            "packages",
            False,
            "ib_async and ib_insync are both installed and overwrite each other's package "
            "eventkit: pip uninstall ib_insync eventkit, then install ib_async again",
        )


def _broker(settings: Settings, made: list[Any]) -> Iterator[Finding]:
    venue = venue_of(settings, launch.model_of(settings.config))
    made.append(venue)
    kind = "real money" if is_real_money(venue) else "no real money"
    yield Finding("broker", True, f"{venue!r}, {kind}")


def _limits(settings: Settings, venue: Any) -> Iterator[Finding]:
    limits = launch.limits_of(settings.config, venue)
    if venue is not None and is_real_money(venue):
        intervals = launch.intervals_of(settings.config)
        # It would be started from the command line: in a process of its own.
        yield from conditions(limits, intervals, settings.config.live.account or "", detached=True)
    else:
        yield from complete(limits)


def _within_capabilities(settings: Settings, venue: Adapter) -> Iterator[Finding]:
    config = settings.config
    source = source_of(launch.strategy_of(settings))
    timeframe = parse_timeframe(config.live.timeframe) if config.live.timeframe else 0
    yield from within_capabilities(venue, source, launch.limits_of(config, venue), timeframe)


# ---------------------------------------------------------------- at the venue


def ask_venue(settings: Settings, venue: Adapter) -> list[Finding]:
    """Connect and look around; nothing is sent that could change anything."""
    heard: list[Any] = []
    findings: list[Finding] = []
    try:
        try:
            venue.connect(heard.append)
        except RegimeflowError as error:
            return [Finding("connection", False, f"cannot connect: {error}")]
        findings.append(Finding("connection", True, "is made, credentials are taken"))
        live = settings.config.live
        looks: tuple[tuple[str, Look], ...] = (
            ("clock", lambda: _clock(venue)),
            ("calendar", lambda: _calendar(venue)),
            ("account", lambda: _account(venue, live.account)),
            ("permissions", lambda: _permissions(venue)),
            ("symbols", lambda: _symbols(venue, live.symbols)),
            ("market data", lambda: _prices(venue, live.symbols, live.timeframe, heard)),
        )
        for name, look in looks:
            try:
                findings.extend(look())
            except RegimeflowError as error:
                findings.append(Finding(name, False, str(error)))
    finally:
        venue.close()
    return findings


def _clock(venue: Adapter) -> Iterator[Finding]:
    before = time.time_ns()
    told = venue.time()
    skew_ms = (told - (before + time.time_ns()) // 2) / 1e6
    yield Finding(
        "clock",
        abs(skew_ms) <= MAX_SKEW_MS,
        f"ours is {abs(skew_ms):,.0f} ms off the venue's, of at most {MAX_SKEW_MS:,.0f}",
    )


def _calendar(venue: Adapter) -> Iterator[Finding]:
    """Yield whether the venue opens when the session will think that it does."""
    name = str(getattr(venue, "calendar", ""))
    if not name or not venue.capabilities.hours:
        return
    now = time.time_ns()
    ours = sessions(name, now, now + _DAYS * NS_PER_DAY)
    told = cast(KeepsHours, venue).openings(int(ours.open_ns[0]), int(ours.open_ns[-1]))
    theirs = {row.date: (row.open_ns, row.close_ns) for row in told}
    expected = {
        ours.label(at): (int(ours.open_ns[at]), int(ours.close_ns[at])) for at in range(len(ours))
    }
    for day in sorted(theirs.keys() | expected.keys()):
        if theirs.get(day) != expected.get(day):
            yield Finding(
                "calendar",
                False,
                f"{day}: {name} {_times(expected.get(day))}, the venue {_times(theirs.get(day))}; "
                "update exchange_calendars, or name the venue's calendar",
            )
            return
    yield Finding("calendar", True, f"{name} and the venue open alike to {ours.label(-1)}")


def _times(opening: tuple[int, int] | None) -> str:
    return "is closed" if opening is None else f"opens {iso(opening[0])} to {iso(opening[1])}"


def _account(venue: Adapter, named: str | None) -> Iterator[Finding]:
    money = venue.balances()
    if named is not None:
        same = same_account(named, money.account)
        yield Finding(
            "account",
            same,
            f"the venue's ends in {money.account[-4:]!r}, live.account in {named[-4:]!r}",
        )
    yield Finding(
        "money",
        money.buying_power > 0,
        f"{money.cash:,.2f} {money.currency} in cash, {money.buying_power:,.2f} can be used",
    )


def _permissions(venue: Adapter) -> Iterator[Finding]:
    orders, positions = venue.open_orders(), venue.positions()
    venue.executions(time.time_ns() - NS_PER_SECOND)
    yield Finding(
        "permissions",
        True,
        f"orders ({len(orders)} working), positions ({len(positions)}) and executions can be read; "
        "whether orders are taken is seen by regimeflow validate",
    )


def _symbols(venue: Adapter, symbols: Sequence[str]) -> Iterator[Finding]:
    for symbol in symbols:
        try:
            (rules,) = venue.instruments([symbol])
        except RegimeflowError as error:
            yield Finding("symbols", False, f"{symbol}: {error}")
            continue
        least = max(rules.min_qty, rules.lot)
        yield Finding("symbols", True, f"{symbol}: at least {least:g}, prices by {rules.tick:g}")


def _prices(
    venue: Adapter, symbols: Sequence[str], timeframe: str | None, heard: list[Any]
) -> Iterator[Finding]:
    """Yield how old the newest prices are that this account is given."""
    now = time.time_ns()
    hours = Hours(str(getattr(venue, "calendar", "")))
    is_open = hours.open_since(now) is not None
    if timeframe and venue.capabilities.history:
        length = parse_timeframe(timeframe)
        for symbol in symbols:
            told = venue.past(
                symbol, length, now - _BARS * length - 5 * 86_400 * NS_PER_SECOND, now
            )
            yield _age(symbol, told.times[-1] if told.times else 0, now, length, is_open)
        return
    venue.subscribe(symbols, 0)
    until = time.monotonic() + _LISTEN_S
    silent = set(symbols)
    while silent and time.monotonic() < until:
        time.sleep(0.05)
        silent -= {said.symbol for said in list(heard) if isinstance(said, _PRICES)}
    for symbol in symbols:
        quiet = symbol in silent
        text = f"{symbol}: {'no price' if quiet else 'prices'} within {_LISTEN_S:g} s"
        yield Finding("market data", not (quiet and is_open), text + _shut(is_open))


_PRICES = (Bar, Trade, Quote, Book)


def _age(symbol: str, newest: int, now: int, length: int, is_open: bool) -> Finding:
    if not newest:
        return Finding("market data", False, f"{symbol}: there are no bars of these days")
    fresh = now - newest <= 3 * length + 60 * NS_PER_SECOND
    return Finding(
        "market data",
        fresh or not is_open,
        f"{symbol}: the newest bar closed at {iso(newest)}, {(now - newest) / 1e9:,.0f} s ago"
        + ("" if fresh or not is_open else ": the data are delayed or not those of this account")
        + _shut(is_open),
    )


def _shut(is_open: bool) -> str:
    return "" if is_open else "; the exchange is closed"
