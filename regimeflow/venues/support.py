"""What each venue can do, and how far that has been tried: a table that needs no client library."""

from __future__ import annotations

from typing import Any

import msgspec

from regimeflow.data.out import frame

#: How far a venue has been tried, each including those before it. There is no other word.
STATUSES = {
    "implemented": "it is written, and its parts are tested",
    "sandbox-validated": "its real client library has passed the conformance cases and the fault "
    "cases over real sockets, against a server of our own on this machine",
    "paper-validated": "the broker's own paper venue has filled orders of a whole session",
    "production-validated": "the broker has filled orders for real money",
}


class Support(msgspec.Struct, frozen=True, kw_only=True):
    """One venue.

    Attributes:
        venue: its name, as ``live.broker`` has it where it has one.
        made_by: how it is made.
        extra: what has to be installed besides, "" for nothing.
        order_types, tifs: what it takes.
        fractional, short, replace: whether it takes fractions of a unit, sells short, and changes
            working orders; else they are canceled and sent anew.
        brackets: whether it holds the exits that an order brings.
        client_ids: longest order id of ours, and whether the venue keeps it unique.
        streams: what it streams.
        history: where historical bars come from, "" for nowhere.
        status: one of `STATUSES`.
        evidence: the tests that the status rests on.
        restrictions: what the venue, or its client library, imposes.
    """

    venue: str
    made_by: str
    extra: str = ""
    order_types: tuple[str, ...] = ("market", "limit", "stop", "stop_limit")
    tifs: tuple[str, ...] = ("day", "gtc", "ioc", "fok")
    fractional: bool = False
    short: bool = True
    replace: bool = True
    brackets: bool = False
    client_ids: str = "36 characters, unique for ever"
    streams: tuple[str, ...] = ("bar", "trade", "quote")
    history: str = ""
    status: str = "implemented"
    evidence: tuple[str, ...] = ()
    restrictions: tuple[str, ...] = ()


def _of_ccxt(**terms: Any) -> Support:
    """Return an exchange: one that is proven names its tests, others are as ccxt says."""
    common: dict[str, Any] = {
        "extra": "ccxt",
        "tifs": ("gtc", "ioc", "fok"),
        "fractional": True,
        "short": False,
        "replace": False,
        "client_ids": "what ccxt and the exchange allow",
        "history": "REST, as far as ccxt has it",
        "status": "sandbox-validated" if "evidence" in terms else "implemented",
    }
    return Support(**{**common, **terms})


_TYPES_OF_CRYPTO = ("market", "limit", "stop_limit")
_PLAIN = ("market", "limit")
_FEE_IN_UNITS = "The fee of a buy is taken from what was bought: less is held than was ordered."
ROWS: tuple[Support, ...] = (
    Support(
        venue="simulated",
        made_by="rf.venues.Simulated(frame)",
        tifs=("day", "gtc", "ioc", "fok", "gtd"),
        fractional=True,
        brackets=True,
        history="the frame itself",
        restrictions=("Plays data; there is no real money.",),
    ),
    Support(
        venue="paper",
        made_by="rf.venues.Paper(venue)",
        tifs=("day", "gtc", "ioc", "fok", "gtd"),
        fractional=True,
        brackets=True,
        history="of the venue whose prices it takes",
        restrictions=("Prices of another venue, fills of the simulator; nothing is sent.",),
    ),
    Support(
        venue="loopback",
        made_by="rf.venues.Loopback(port=...)",
        tifs=("day", "gtc", "ioc", "fok", "gtd"),
        brackets=True,
        history="one timeframe, that of the server",
        status="sandbox-validated",
        evidence=("tests/sandbox/test_conformance.py",),
        restrictions=("A venue on this machine, to practise on: `regimeflow sandbox loopback`.",),
    ),
    Support(
        venue="alpaca",
        made_by='rf.venues.Alpaca(asset_class="equity")',
        extra="alpaca",
        brackets=True,
        client_ids="100 characters, unique for ever, can be looked up",
        history="REST, 10,000 bars a page; the feed is that of the account (iex or sip)",
        status="sandbox-validated",
        evidence=("tests/venues/test_alpaca.py",),
        restrictions=(
            "Fractions of a share (`fractional=True`) are for day orders only, and never short.",
            "Orders by value (`ctx.target(value=...)`) leave as quantities, never as `notional`.",
            "No order may turn a long position into a short one: close it first.",
            "Exits with an order: whole shares; canceling one of them cancels the other.",
            "One stream of orders and one of market data for each account.",
            "200 requests a minute for each account.",
            "Live bars of 1 to 30 minutes that divide an hour, and of 1 hour.",
            "Prices of at least one dollar have two decimals, those below four.",
        ),
    ),
    Support(
        venue="alpaca, crypto",
        made_by='rf.venues.Alpaca(asset_class="crypto")',
        extra="alpaca",
        order_types=_TYPES_OF_CRYPTO,
        tifs=("gtc", "ioc"),
        fractional=True,
        short=False,
        client_ids="100 characters, unique for ever, can be looked up",
        history="REST, 10,000 bars a page",
        status="sandbox-validated",
        evidence=("tests/venues/test_alpaca.py",),
        restrictions=(
            "No short positions and no margin.",
            "200 requests a minute.",
            "Live bars of 1 to 30 minutes that divide an hour, and of 1 hour.",
        ),
    ),
    _of_ccxt(
        venue="binance",
        made_by='rf.venues.Ccxt("binance")',
        client_ids="36 characters, unique among working orders only: never sent twice",
        history="REST, 1,000 bars a page",
        evidence=("tests/venues/test_ccxt.py", "tests/sandbox/test_ccxt_sessions.py"),
        restrictions=(
            "Spot markets; for its swaps see below.",
            _FEE_IN_UNITS,
            "Smallest order values, steps and price bands are the exchange's, by market.",
            "Requests are refused where clocks differ by more than `recv_window_ms`.",
            "Not offered in every country.",
        ),
    ),
    _of_ccxt(
        venue="bybit",
        made_by='rf.venues.Ccxt("bybit")',
        order_types=_PLAIN,
        client_ids="36 characters, unique for ever, can be looked up",
        history="REST, 1,000 bars a page",
        evidence=("tests/sandbox/test_ccxt_wire.py", "tests/sandbox/test_ccxt_sessions.py"),
        restrictions=(
            "Spot markets; for its swaps see below.",
            _FEE_IN_UNITS,
            "Unified trading accounts only.",
        ),
    ),
    _of_ccxt(
        venue="any other exchange of ccxt",
        made_by='rf.venues.Ccxt("kraken")',
        restrictions=(
            "Spot markets; for swaps see below.",
            "What ccxt says that the exchange takes: see `rf.venues.Ccxt(id).capabilities`.",
            "Long lists that may have been cut are no answer: `capabilities.whole_lists`.",
            "Some have no paper venue: with `rf.venues.Paper` the simulator fills on their prices.",
        ),
    ),
    _of_ccxt(
        venue="bybit, swaps",
        made_by='rf.venues.Ccxt("bybit", market="swap")',
        order_types=_PLAIN,
        short=True,
        client_ids="36 characters, unique for ever, can be looked up",
        history="REST, 1,000 bars a page",
        evidence=("tests/sandbox/test_ccxt_wire.py", "tests/sandbox/test_swap_sessions.py"),
        restrictions=(
            "Linear perpetual swaps only, counted in contracts: no inverse or dated ones.",
            "One-way mode only: an account in hedge mode is refused.",
            "Leverage and the mode of margin stay as the account has them.",
            "Funding is asked for with the positions, and a cost of the run.",
        ),
    ),
    _of_ccxt(
        venue="any other exchange of ccxt, swaps",
        made_by='rf.venues.Ccxt("okx", market="swap")',
        order_types=_PLAIN,
        short=True,
        restrictions=(
            "As bybit's, where ccxt can ask for positions and for funding; refused elsewhere.",
            "The sign of funding is taken as ccxt tells it: negative was paid.",
        ),
    ),
    Support(
        venue="ib",
        made_by="rf.venues.InteractiveBrokers()",
        extra="ib (or ib-insync)",
        tifs=("day", "gtc", "ioc", "fok", "gtd"),
        brackets=True,
        client_ids="36 characters, not kept unique by the venue, cannot be looked up",
        history="through TWS, with its pacing limits",
        status="sandbox-validated",
        evidence=("tests/venues/test_ib.py",),
        restrictions=(
            "TWS or IB Gateway must run and be logged in; it restarts once a day.",
            "Market data need the subscriptions of the account.",
            "Stocks, futures and options in whole units.",
            "An order with exits is one message for each of them, of 50 a second in all.",
            "ib_async and ib_insync cannot be installed together: both bring a package eventkit.",
            "One client id for each program that connects.",
        ),
    ),
)


def capabilities(flavour: str = "pandas") -> Any:
    """Return what each venue can do, as a frame; no client library is needed.

    Columns: venue, made_by, extra, order_types, tifs, fractional, short, replace, brackets,
    client_ids, streams, history, status, restrictions. A status is one of implemented,
    sandbox-validated, paper-validated and production-validated: how far the venue has been tried by
    this project.

    Args:
        flavour: "pandas" or "polars".

    >>> table = capabilities()
    >>> table.loc[table["venue"] == "alpaca", "extra"].tolist()
    ['alpaca']
    """
    columns: dict[str, Any] = {}
    for name in Support.__struct_fields__:
        if name == "evidence":
            continue
        values = [getattr(row, name) for row in ROWS]
        joint = " " if name == "restrictions" else ", "
        columns[name] = [joint.join(v) if isinstance(v, tuple) else v for v in values]
    return frame(columns, flavour, None)


__all__ = ["ROWS", "STATUSES", "Support", "capabilities"]
