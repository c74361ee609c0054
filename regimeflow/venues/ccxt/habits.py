"""What differs between exchanges, as data.

What ccxt knows of an exchange it is asked for; what is written down here is what it does not say:
how an exchange spells its refusals, what its stream's messages look like before ccxt has read them,
and how it pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

_DAY_MS = 86_400_000


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange's ways.

    Attributes:
        config: settings of ccxt without which it asks for things that a spot session needs not.
        code, message: fields of an error's body.
        no_error: the code of a success.
        verdicts: the exchange's code -> "refused", "not_there", "limited" or "unknown".
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
        trades_page, orders_page: rows of one answer, 0 where it gives all.
        trades_window_ms: longest span one question for trades may have, 0 for any.
        newest_first: whether the rows that a full page leaves out are the older ones.
        order_types: what it takes, where that is less than ccxt says.
        id_name: what ccxt calls our order id when it asks for an order by it.
        listed: whether one order is looked for in the lists of working and of past orders, because
            ccxt has no other way.
    """

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
    trades_page: int = 100
    orders_page: int = 0
    trades_window_ms: int = 0
    newest_first: bool = False
    order_types: frozenset[str] = frozenset({"market", "limit", "stop", "stop_limit"})
    id_name: str = "clientOrderId"
    listed: bool = False


BINANCE = Habits(
    config={
        # Spot alone: with these left out ccxt also asks for futures, margin pairs and wallets, and
        # a key without those rights cannot connect.
        "options": {
            "defaultType": "spot",
            "fetchMarkets": {"types": ["spot"]},
            "fetchMargins": False,
            "fetchCurrencies": False,
            "warnOnFetchOpenOrdersWithoutSymbol": False,
        }
    },
    verdicts={
        "-1000": "unknown",  # an unknown error occurred
        "-1001": "unknown",  # disconnected
        "-1003": "limited",
        "-1006": "unknown",  # unexpected response, execution status unknown
        "-1007": "unknown",  # timeout, execution status unknown
        "-1008": "limited",  # overloaded, not taken
        "-1015": "limited",
        "-1021": "refused",  # outside the window of time
        "-1022": "refused",
        "-2011": "not_there",
        "-2013": "not_there",
        "-2014": "refused",
        "-2015": "refused",  # ccxt takes it for a ban, and tries again
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
    trades_page=1_000,
)

BYBIT = Habits(
    config={
        "options": {
            "defaultType": "spot",
            "fetchMarkets": {"types": ["spot"]},
            "fetchCurrencies": False,
            "createMarketBuyOrderRequiresPrice": False,
            # All accounts are of this kind by now; ccxt would ask each time which it is.
            "enableUnifiedMargin": False,
            "enableUnifiedAccount": True,
        }
    },
    code="retCode",
    message="retMsg",
    verdicts={
        "10002": "refused",  # outside the window of time
        "10003": "refused",
        "10004": "refused",
        "10005": "refused",
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
    trades_page=100,
    orders_page=50,
    trades_window_ms=7 * _DAY_MS,
    newest_first=True,
    # Its conditional orders are of a kind of their own: to be canceled, they must be known as such.
    order_types=frozenset({"market", "limit"}),
    id_name="orderLinkId",
    listed=True,
)

#: Exchange -> its ways; others are taken as `Habits` has them.
HABITS: dict[str, Habits] = {"binance": BINANCE, "bybit": BYBIT}


def habits_of(exchange_id: str) -> Habits:
    """Return an exchange's ways."""
    return HABITS.get(exchange_id, Habits())
