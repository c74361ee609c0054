"""What differs between exchanges, as data.

What ccxt knows of an exchange it is asked for; what is written down here is what it does not say:
how an exchange spells its refusals, what its stream's messages look like before ccxt has read them,
and how it pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from regimeflow.venues.ccxt.paging import Pages

_DAY_MS = 86_400_000
_PLAIN = frozenset({"market", "limit"})


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange's ways.

    Attributes:
        market: kind of market, "spot" or "swap".
        config: settings of ccxt without which it asks for things that a session needs not.
        code, message: fields of an error's body.
        no_error: the code of a success.
        verdicts: the exchange's code -> "refused", "unauthorized", "not_there", "limited" or
            "unknown".
        duplicates: codes, or parts of messages, that say that an order id is taken.
        says_no_by_4xx: whether an answer with a code and a status of 4xx is a definite no.
        order_id_length: longest client order id.
        keeps_ids: whether an id can never be used again; else only while its order works.
        own_id: field of a trade's raw message that holds our order id.
        foreign: beginnings of client ids that the exchange or its apps give.
        private: part of the address of the stream of one's own orders.
        confirms: field and value of the message by which a subscription is confirmed.
        ends: field and value of the message by which a stream says that it tells no more.
        streams_hold: what the address of the market streams must hold, or ccxt files their
            messages under other markets.
        beside: place of an address -> its path on the server of the market streams, where that is
            on this machine and the address itself is not given.
        trades: how it gives out our executions; None: nobody knows, and no more than ccxt says.
        orders_page: rows of one answer that lists working orders, 0 where it gives all; None:
            nobody knows.
        positions_page: the same of positions.
        cursor: field of a raw row that holds the mark of the next page.
        fundings: how it gives out what was paid for being held; ``funding_terms``: asked besides.
        paid_in: raw field of such a payment that holds what was *paid*; else ccxt's amount is what
            was received.
        total_has_profit: whether what ccxt calls the total of an account of swaps has the profit
            of open positions in it.
        order_types: what it takes, where that is less than ccxt says.
        id_name: what ccxt calls our order id when it asks for an order by it.
        listed: whether one order is looked for in the lists of working and of past orders, because
            ccxt has no other way.
    """

    market: str = "spot"
    config: dict[str, Any] = {}
    code: str = "code"
    message: str = "msg"
    no_error: str = "0"
    verdicts: Mapping[str, str] = {}
    duplicates: tuple[str, ...] = ()
    says_no_by_4xx: bool = False
    order_id_length: int = 36
    keeps_ids: bool = True
    own_id: str = ""
    foreign: tuple[str, ...] = ()
    private: str = ""
    confirms: tuple[str, str | None] = ("", "")
    ends: tuple[str, str] = ("", "")
    streams_hold: str = ""
    beside: Mapping[tuple[str, ...], str] = {}
    trades: Pages | None = None
    orders_page: int | None = None
    positions_page: int = 0
    cursor: str = ""
    fundings: Pages = Pages()
    funding_terms: Mapping[str, Any] = {}
    paid_in: str = ""
    total_has_profit: bool = True
    order_types: frozenset[str] = frozenset({"market", "limit", "stop", "stop_limit"})
    id_name: str = "clientOrderId"
    listed: bool = False


_LINEAR = {"defaultType": "swap", "defaultSubType": "linear"}
# One kind of market alone: without this ccxt also asks for all others, margin pairs and wallets,
# and a key without those rights cannot connect.
_ALONE: dict[str, dict[str, Any]] = {
    "spot": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}},
    "swap": {**_LINEAR, "fetchMarkets": {"types": ["linear"]}},
}
_BINANCE = {
    "fetchMargins": False,
    "fetchCurrencies": False,
    "warnOnFetchOpenOrdersWithoutSymbol": False,
}
_BYBIT = {
    "fetchCurrencies": False,
    # All accounts are of this kind by now; ccxt would ask each time which it is.
    "enableUnifiedMargin": False,
    "enableUnifiedAccount": True,
}

BINANCE = Habits(
    config={"options": {**_ALONE["spot"], **_BINANCE}},
    verdicts={
        "-1000": "unknown",  # an unknown error occurred
        "-1001": "unknown",  # disconnected
        "-1003": "limited",
        "-1006": "unknown",  # unexpected response, execution status unknown
        "-1007": "unknown",  # timeout, execution status unknown
        "-1008": "limited",  # overloaded, not taken
        "-1015": "limited",
        "-1021": "refused",  # outside the window of time
        "-1022": "unauthorized",  # not signed with this key's secret
        "-2011": "not_there",
        "-2013": "not_there",
        "-2014": "unauthorized",
        "-2015": "unauthorized",  # ccxt takes it for a ban, and tries again
    },
    duplicates=("Duplicate order sent",),
    says_no_by_4xx=True,
    keeps_ids=False,
    own_id="c",
    foreign=("web_", "ios_", "and_", "android_", "electron_", "autoclose-", "x-"),
    private="ws-api",
    confirms=("result", None),
    ends=("e", "eventStreamTerminated"),
    streams_hold="/stream",
    beside={("ws", "ws-api", "spot"): "/ws-api/v3"},
    trades=Pages(1_000, known=True),
    orders_page=0,
)

_NEWEST_FIRST = Pages(100, 7 * _DAY_MS, newest_first=True, known=True)
BYBIT = Habits(
    config={"options": {**_ALONE["spot"], **_BYBIT, "createMarketBuyOrderRequiresPrice": False}},
    code="retCode",
    message="retMsg",
    verdicts={
        "10002": "refused",  # outside the window of time
        "10003": "unauthorized",
        "10004": "unauthorized",
        "10005": "unauthorized",
        "10006": "limited",
        "10016": "unknown",
        "10018": "limited",
        "110001": "not_there",
        "170213": "not_there",
        "170142": "not_there",
        "170007": "unknown",  # timeout from the backend
        "170146": "unknown",
        "170147": "unknown",
    },
    duplicates=("170141", "110072"),
    own_id="orderLinkId",
    private="/private",
    confirms=("op", "subscribe"),
    trades=_NEWEST_FIRST,
    orders_page=50,
    cursor="nextPageCursor",
    # Its conditional orders are of a kind of their own: to be canceled, they must be known as such.
    order_types=_PLAIN,
    id_name="orderLinkId",
    listed=True,
)

#: Of Binance's futures: other addresses, and a stream of orders under a key that it gives.
BINANCE_SWAP = msgspec.structs.replace(
    BINANCE,
    market="swap",
    config={"options": {**_ALONE["swap"], **_BINANCE}},
    private="",
    ends=("e", "listenKeyExpired"),
    streams_hold="",
    beside={},
    trades=Pages(1_000, 7 * _DAY_MS, known=True),
    order_types=_PLAIN,
    fundings=Pages(1_000),
)

BYBIT_SWAP = msgspec.structs.replace(
    BYBIT,
    market="swap",
    config={"options": {**_ALONE["swap"], **_BYBIT}},
    verdicts={
        **BYBIT.verdicts,
        "110007": "refused",  # not enough money
        "110017": "refused",  # it would not reduce
    },
    positions_page=200,
    fundings=_NEWEST_FIRST,
    # ccxt asks for a number of rows in a word that the exchange does not know.
    funding_terms={"limit": 100},
    paid_in="execFee",
    total_has_profit=False,
)

#: Kind of market -> exchange -> its ways; others are taken as `Habits` has them.
HABITS: dict[str, dict[str, Habits]] = {
    "spot": {"binance": BINANCE, "bybit": BYBIT},
    "swap": {"binance": BINANCE_SWAP, "binanceusdm": BINANCE_SWAP, "bybit": BYBIT_SWAP},
}


def habits_of(exchange_id: str, market: str = "spot") -> Habits:
    """Return an exchange's ways in one kind of market."""
    found = HABITS[market].get(exchange_id)
    if found is not None:
        return found
    return Habits(
        market=market,
        config={} if market == "spot" else {"options": _LINEAR},
        # Conditional orders of contracts are of many kinds, and each is canceled in its own way.
        order_types=Habits().order_types if market == "spot" else _PLAIN,
    )
