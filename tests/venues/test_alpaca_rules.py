"""What needs no venue: whose money it is, what an answer means, and messages of every kind."""

from __future__ import annotations

import asyncio
import copy
import importlib
import inspect
import io
import json
import pickle
import pkgutil
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import alpaca
import msgpack
import msgspec
import pytest
import requests
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.sync.server import serve

from regimeflow.errors import ConfigError, MissingExtra, NotThere, Refused, VenueError
from regimeflow.model.events import Fill, OrderUpdate, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.redaction import Redactor
from regimeflow.session.spec import _Pickler, _Unpickler
from regimeflow.venues import Alpaca
from regimeflow.venues.alpaca import wire
from regimeflow.venues.alpaca.clients import tame
from regimeflow.venues.alpaca.market import Market
from regimeflow.venues.alpaca.outcomes import CANCEL, QUESTION, REPLACE, SUBMIT, failure
from regimeflow.venues.alpaca.streams import Listener, once
from regimeflow.venues.port import Disconnected, Garbled, Refreshed

PAPER_KEY, LIVE_KEY = "PKPAPERPAPERPAPER", "AKLIVELIVELIVELIVE"
HERE = {
    "base_url": "http://127.0.0.1:1",
    "data_url": "http://127.0.0.1:1",
    "stream_url": "ws://127.0.0.1:1/stream",
    "data_stream_url": "ws://127.0.0.1:1/v2/iex",
}


@pytest.fixture(autouse=True)
def _nothing_outside(monkeypatch, tmp_path):
    for name in ("API_KEY", "API_SECRET", "PAPER_BASE_URL", "STREAM_URL"):
        monkeypatch.delenv(f"ALPACA_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


def venue(**how):
    return Alpaca(**{"api_key": PAPER_KEY, "secret_key": "s3cr3t-of-the-test", **how})


# ---------------------------------------------------------------- whose money it is

HERE_ALONE = ("http://127.0.0.1:7001", "http://127.0.0.1:7001", "ws://127.0.0.1:7001/stream")
LIVE_BASE, PAPER_BASE = "https://api.alpaca.markets", "https://paper-api.alpaca.markets"
GUARDED = [
    # paper, key, addresses, what the refusal names; "" where it is right
    (True, PAPER_KEY, {}, ""),
    (True, "", {}, ""),
    (False, LIVE_KEY, {}, ""),
    (True, PAPER_KEY, HERE, ""),
    (True, PAPER_KEY, {"base_url": PAPER_BASE}, ""),
    (False, LIVE_KEY, {"base_url": LIVE_BASE}, ""),
    (True, LIVE_KEY, {}, "key for live trading"),
    (False, PAPER_KEY, {}, "key for paper trading"),
    (True, LIVE_KEY, HERE, "key for live trading"),
    (True, PAPER_KEY, {"base_url": LIVE_BASE}, "base_url is for live trading"),
    (True, PAPER_KEY, {"stream_url": "wss://api.alpaca.markets/stream"}, "stream_url is for live"),
    (False, LIVE_KEY, {"base_url": PAPER_BASE}, "base_url is for paper trading"),
    (False, LIVE_KEY, HERE, "base_url is this machine"),
    (True, PAPER_KEY, {"base_url": HERE["base_url"]}, ""),
    (True, PAPER_KEY, {"data_url": HERE["data_url"]}, "give all four or none"),
    (
        True,
        PAPER_KEY,
        {"base_url": HERE["base_url"], "stream_url": "wss://api.alpaca.markets/stream"},
        "give all four or none",
    ),
    (False, LIVE_KEY, {"base_url": HERE["base_url"]}, "base_url is this machine"),
    (True, PAPER_KEY, {"base_url": "https://paper-api.alpaca.markets.evil.org"}, "neither"),
    (True, PAPER_KEY, {"base_url": "https://evil.org/paper-api.alpaca.markets"}, "neither"),
    (True, PAPER_KEY, {"base_url": "http://paper-api.alpaca.markets"}, "must begin with https://"),
    (True, PAPER_KEY, {"base_url": "https://u:p@paper-api.alpaca.markets"}, "name or password"),
    (True, PAPER_KEY, {"data_url": "https://[bad"}, "data_url is not an address"),
    (True, PAPER_KEY, {"stream_url": "https://paper-api.alpaca.markets/stream"}, "wss://"),
]


@pytest.mark.parametrize(("paper", "key", "addresses", "no"), GUARDED)
def test_paper_and_live_are_told_apart_by_host_and_key(paper, key, addresses, no):
    make = lambda: venue(paper=paper, api_key=key or "X0", **addresses)  # noqa: E731
    if not no:
        assert make().paper is paper
        return
    with pytest.raises(ConfigError) as told:
        make()
    assert no in str(told.value)


@pytest.mark.parametrize("end", ["", "/", "/v2", "/v2/"])
def test_a_version_at_the_end_of_the_address_is_left_out(end):
    assert venue(base_url=f"{PAPER_BASE}{end}").at.base == PAPER_BASE


@pytest.mark.parametrize(
    ("asset_class", "stream"), [("equity", "/v2/iex"), ("crypto", "/v1beta3/crypto/us")]
)
def test_a_server_on_this_machine_is_told_by_one_address(monkeypatch, asset_class, stream):
    monkeypatch.setenv("ALPACA_PAPER_BASE_URL", "http://127.0.0.1:7001/v2")
    at = venue(asset_class=asset_class).at
    assert at == (
        "http://127.0.0.1:7001", "http://127.0.0.1:7001", "ws://127.0.0.1:7001/stream",
        f"ws://127.0.0.1:7001{stream}", True,
    )  # fmt: skip
    other = "ws://127.0.0.1:7002/v2/sip"
    assert venue(data_stream_url=other).at == (*HERE_ALONE, other, True)


@pytest.mark.parametrize(("paper", "number"), [(True, "123456789"), (False, "PA3ABCDEFGH1")])
def test_the_account_itself_must_be_of_that_kind(paper, number):
    made = venue(paper=paper, api_key=PAPER_KEY if paper else LIVE_KEY)
    account = wire.Account(
        account_number=number, status="ACTIVE", cash="1", equity="1", buying_power="1"
    )
    with pytest.raises(ConfigError, match="these keys belong to a"):
        made._check(account)


def test_a_blocked_account_does_not_trade():
    account = wire.Account(
        account_number="PA1", status="ACTIVE", cash="1", equity="1", buying_power="1",
        trading_blocked=True,
    )  # fmt: skip
    with pytest.raises(Refused, match="blocked"):
        venue()._check(account)


def test_keys_and_addresses_come_from_the_environment(monkeypatch):
    with pytest.raises(ConfigError, match="ALPACA_API_KEY"):
        Alpaca()
    monkeypatch.setenv("ALPACA_API_KEY", LIVE_KEY)
    monkeypatch.setenv("ALPACA_API_SECRET", "s3cr3t-of-the-test")
    monkeypatch.setenv("ALPACA_PAPER_BASE_URL", PAPER_BASE)
    assert Alpaca(paper=False).at.base == LIVE_BASE  # the address of paper is not for live
    monkeypatch.setenv("ALPACA_API_KEY", PAPER_KEY)
    monkeypatch.setenv("ALPACA_PAPER_BASE_URL", LIVE_BASE)
    with pytest.raises(ConfigError, match="live"):
        Alpaca()


def test_no_key_is_shown_and_a_venue_can_be_handed_to_a_process_of_our_own():
    made = venue(**HERE)
    shown = f"{made!r} {made} {vars(made)} {made.__getstate__()}"
    assert PAPER_KEY not in shown
    assert "s3cr3t" not in shown
    with pytest.raises(TypeError, match="Secret"):
        pickle.dumps(made)
    sink = io.BytesIO()
    _Pickler(sink).dump(made)
    source = _Unpickler(io.BytesIO(sink.getvalue()))
    again = source.load()
    assert repr(again) == repr(made)
    assert [s.reveal() for s in source.secrets] == [PAPER_KEY, "s3cr3t-of-the-test"]
    assert copy.copy(made).at == made.at


@pytest.mark.parametrize(
    "how", [{"asset_class": "bonds"}, {"timeout_ms": 0.0}, {"timeout_ms": float("nan")}]
)
def test_arguments_that_make_no_sense_are_refused(how):
    with pytest.raises(ConfigError):
        venue(**how)


def test_without_the_client_one_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r'pip install "regimeflow-jupyter\[alpaca\]"'):
        venue()


def test_the_client_is_imported_by_nobody_but_a_venue_that_asks():
    script = (
        "import sys, regimeflow as rf; rf.venues.Simulated; rf.venues.Alpaca(api_key='PK1',"
        "secret_key='s'); print({m.split('.')[0] for m in sys.modules} & {'alpaca', 'aiohttp'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "set()\n", done.stderr


# ---------------------------------------------------------------- what an answer means


def answer(status, body, headers=None):
    """An error as the client raises it."""
    made = requests.Response()
    made.status_code = status
    made._content = body.encode()
    made.headers.update(headers or {})
    cause = requests.HTTPError(f"{status}", response=made, request=requests.Request())
    return alpaca.common.exceptions.APIError(body, cause)


def refusal(code, message):
    return json.dumps({"code": code, "message": message})


PAGE = "<html>502 Bad Gateway</html>"
MEANINGS = [
    # kind, status, body, class, code
    (SUBMIT, 403, refusal(40310000, "insufficient buying power"), Refused, "insufficient"),
    (SUBMIT, 403, refusal(40310000, "potential wash trade detected"), Refused, "wash_trade"),
    (SUBMIT, 403, refusal(40310000, "account not allowed to short"), Refused, "no_short"),
    (SUBMIT, 403, '{"message": "forbidden."}', Refused, "forbidden"),
    (SUBMIT, 403, PAGE, VenueError, ""),
    (SUBMIT, 401, refusal(40110000, "request is not authorized"), Refused, "unauthorized"),
    (SUBMIT, 400, refusal(40010001, "qty is required"), Refused, "bad_request"),
    (SUBMIT, 404, refusal(40410000, "endpoint not found"), Refused, "not_found"),
    (SUBMIT, 404, PAGE, VenueError, ""),
    (SUBMIT, 422, refusal(42210000, "invalid side"), Refused, "unprocessable"),
    (SUBMIT, 422, refusal(40010001, "client_order_id must be unique"), Refused,
     "duplicate_order_id"),
    (SUBMIT, 429, '{"message": "too many requests."}', Refused, "rate_limited"),
    (SUBMIT, 429, PAGE, Refused, "rate_limited"),
    (SUBMIT, 500, refusal(50010000, "internal server error occurred"), VenueError, ""),
    (SUBMIT, 502, PAGE, VenueError, ""),
    (SUBMIT, 503, refusal(50310000, "unavailable"), VenueError, ""),
    (SUBMIT, 504, PAGE, VenueError, ""),
    (SUBMIT, 418, refusal(1, "what"), VenueError, ""),
    (SUBMIT, 302, "", VenueError, ""),
    (CANCEL, 404, refusal(40410000, "order not found"), NotThere, "not_there"),
    (CANCEL, 404, PAGE, VenueError, ""),
    (CANCEL, 422, refusal(42210000, 'order is already in "filled" state'), Refused, "order_over"),
    (REPLACE, 404, refusal(40410000, "order not found"), NotThere, "not_there"),
    (REPLACE, 422, refusal(42210000, "order is not replaceable"), Refused, "order_over"),
    (QUESTION, 404, refusal(40410000, "order not found for x"), NotThere, "not_there"),
    (QUESTION, 404, '"not found"', VenueError, ""),
    (QUESTION, 404, "[" * 5_000, VenueError, ""),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "status", "body", "wanted", "code"), MEANINGS)
def test_an_answer_means_what_the_table_says(kind, status, body, wanted, code):
    found = failure(kind, answer(status, body), Redactor())
    assert type(found) is wanted
    assert getattr(found, "code", "") == code


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("2", 2_000.0), ("", 1_000.0), ("soon", 1_000.0), ("1e9", 1_000.0), ("nan", 1_000.0)],
)
def test_how_long_to_wait_is_read_with_care(given, wanted):
    found = failure(SUBMIT, answer(429, PAGE, {"Retry-After": given}), Redactor())
    assert found.retry_after_ms == wanted


def exception_classes():
    """Return every exception that the client and what it is made of define."""
    modules = [requests.exceptions, websockets.exceptions, json, ssl, asyncio.exceptions]
    parts = pkgutil.walk_packages(alpaca.__path__, "alpaca.")
    modules += [importlib.import_module(part.name) for part in parts]
    found = {KeyError, ValueError, TypeError, AttributeError, OSError, TimeoutError, EOFError}
    for kind in (value for module in modules for value in vars(module).values()):
        if inspect.isclass(kind) and issubclass(kind, Exception) and not issubclass(kind, Warning):
            found.add(kind)
    return sorted(found, key=lambda kind: (kind.__module__, kind.__name__))


@pytest.mark.parametrize("kind", exception_classes(), ids=lambda k: f"{k.__module__}.{k.__name__}")
@pytest.mark.parametrize("what", [SUBMIT, CANCEL, REPLACE, QUESTION])
def test_every_exception_of_the_client_is_one_of_ours_and_says_nothing_definite(kind, what):
    raised = kind.__new__(kind)
    raised.args = ("with s3cr3t-of-the-test in it",)
    made = venue()

    def ask():
        raise raised

    with pytest.raises(VenueError) as told:
        made._asking.ask(what, ask, object)
    assert type(told.value) is VenueError
    assert told.value.__context__ is None
    assert "s3cr3t" not in str(told.value)


def test_there_are_exceptions_enough():
    names = {kind.__name__ for kind in exception_classes()}
    assert {"APIError", "RetryException", "ReadTimeout", "ConnectionClosedError"} <= names


def test_a_client_that_is_built_otherwise_is_not_used():
    class Other:
        _retry = 3

    with pytest.raises(VenueError, match="sends an order only once"):
        tame(Other(), 1.0)

    listener = Listener("test", print, print, print)
    with pytest.raises(VenueError, match="built otherwise"):
        once(Other, listener)
    listener.close()


# ---------------------------------------------------------------- messages as Alpaca writes them

ORDER = {
    "id": "61e69015-8549-4bfd-b9c3-01e75843f47d",
    "client_order_id": "eb9e2aaa-f71a-4f51-b5b4-52a6c565dad4",
    "created_at": "2026-03-16T18:38:01.942282Z",
    "updated_at": "2026-03-16T18:38:01.942282Z",
    "submitted_at": "2026-03-16T18:38:01.937734Z",
    "filled_at": None, "expired_at": None, "canceled_at": None, "failed_at": None,
    "replaced_at": None, "replaced_by": None, "replaces": None,
    "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415", "symbol": "AAPL",
    "asset_class": "us_equity", "notional": None, "qty": "30", "filled_qty": "0",
    "filled_avg_price": None, "order_class": "", "order_type": "market", "type": "market",
    "side": "buy", "time_in_force": "day", "limit_price": None, "stop_price": None,
    "status": "accepted", "extended_hours": False, "legs": None, "trail_percent": None,
    "trail_price": None, "hwm": None,
}  # fmt: skip


def order(**changes):
    return msgspec.convert({**ORDER, **changes}, wire.Order)


FOREIGN = [
    # somebody's order as Alpaca shows it -> quantity, filled, status
    ({"qty": None, "notional": "500"}, (0.0, 0.0, "open")),
    ({"qty": None, "notional": "500", "filled_qty": "2.51", "status": "filled"},
     (2.51, 2.51, "filled")),
    ({"order_class": "bracket", "legs": [{**ORDER, "status": "held"}]}, (30.0, 0.0, "open")),
    ({"order_class": "oco", "status": "held", "type": "limit", "limit_price": "9"},
     (30.0, 0.0, "open")),
    ({"type": "trailing_stop", "trail_percent": "1", "hwm": "100", "stop_price": "99"},
     (30.0, 0.0, "open")),
    ({"status": "done_for_day"}, (30.0, 0.0, "open")),
    ({"status": "pending_cancel", "filled_qty": "7"}, (30.0, 7.0, "open")),
    ({"status": "something new"}, (30.0, 0.0, "something new")),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "wanted"), FOREIGN)
def test_other_peoples_orders_are_read(changes, wanted):
    row = wire.venue_order(order(**changes), wire.own_name(ORDER["client_order_id"]))
    assert (row.qty, row.filled, row.status) == wanted
    assert row.order_id == ""
    assert row.ts == 1_773_686_281_942_282_000


def test_every_status_and_event_of_the_client_is_in_the_tables():
    from alpaca.trading.enums import OrderStatus, TradeEvent

    assert {s.value for s in OrderStatus} - set(wire.STATUSES) == {"replaced"}
    assert {e.value for e in TradeEvent} <= set(wire.EVENTS)


NEWS = [
    ("new", {}, "accepted"),
    ("accepted", {}, "accepted"),
    ("pending_new", {}, None),
    ("pending_cancel", {}, None),
    ("done_for_day", {}, None),
    ("canceled", {}, "canceled"),
    ("expired", {}, "expired"),
    ("rejected", {}, "rejected"),
    ("order_cancel_rejected", {}, "cancel_rejected"),
    ("order_replace_rejected", {}, "replace_rejected"),
    ("replaced", {"replaced_by": "an id", "status": "replaced"}, None),
    ("replaced", {"replaces": "an id"}, "replaced"),
    ("accepted", {"replaces": "an id"}, None),
    ("rejected", {"replaces": "an id"}, "replace_rejected"),
    ("new", {"replaces": "an id", "qty": "40", "limit_price": "9.5"}, "replaced"),
]


@pytest.mark.parametrize(("event", "changes", "wanted"), NEWS)
def test_news_of_orders(event, changes, wanted):
    told = wire.news(wire.Update(event=event, order=order(**changes)), "ours")
    assert (told and told.what) == wanted
    if wanted == "replaced" and "qty" in changes:
        assert (told.qty, told.limit, told.stop) == (40.0, 9.5, None)


def test_until_a_change_works_at_the_exchange_the_old_order_counts():
    made = venue(**HERE)
    old = order(client_order_id="ours", status="pending_replace", replaced_by="new")
    new = order(id="new", client_order_id="ours~1", status="pending_new", replaces=ORDER["id"])
    made._asking.trading = lambda *_: [old, new]
    made._orders.by_id = {ORDER["id"]: old, "new": new}.__getitem__
    shown = [(row.venue_order_id, row.changing) for row in made.open_orders()]
    assert shown == [(ORDER["id"], True)]  # and its terms say nothing of the change
    assert made.order("ours", ORDER["id"]).venue_order_id == ORDER["id"]
    new.status = "rejected"  # the old one was filled first
    assert made.order("ours", ORDER["id"]).venue_order_id == ORDER["id"]
    new.status = "new"
    assert made.order("ours", ORDER["id"]).venue_order_id == "new"


def test_a_stream_that_does_not_tell_of_orders_is_none():
    made, _, said = listening()
    made._trading = Listener("test", print, print, said.append)
    made._hear_order({"stream": "listening", "data": {"streams": []}})
    assert "does not tell of orders" in made._trading._over
    made.close()


def test_a_stream_that_is_silent_about_an_execution_is_given_up():
    made, _, _ = listening()
    now = time.time_ns()
    made._executions._heard_since = now - 60 * 10**9
    fills = [Fill(now - 20 * 10**9, 0, name, "o", "SPY", "buy", 1.0, 1.0) for name in "ab"]
    made._executions._names.heard("a")
    assert not made._executions.silent(fills[:1])
    assert [made._executions.silent(fills) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("event", ["trade_bust", "trade_correct", "<script>", ""])
def test_an_event_that_is_not_known_is_told_to_the_books(event):
    made, _, said = listening()
    told = {"stream": "trade_updates", "data": {"event": event, "order": ORDER}}
    made._hear_order(told)
    (one,) = said
    assert isinstance(one, Garbled)
    assert one.about_orders


TIMES = [
    ("2026-03-16T18:38:01Z", 1_773_686_281_000_000_000),
    ("2026-03-16T18:38:01.9Z", 1_773_686_281_900_000_000),
    ("2026-03-16T18:38:01.123456789Z", 1_773_686_281_123_456_789),
    ("2026-03-16T14:38:01.123456789-04:00", 1_773_686_281_123_456_789),
    ("1969-12-31T23:59:59.5Z", -500_000_000),
]


@pytest.mark.parametrize(("text", "ns"), TIMES)
def test_times_are_read_to_the_nanosecond(text, ns):
    assert wire.moment(text) == ns


@pytest.mark.parametrize("text", [None, "", "yesterday", "2026-13-01T00:00:00Z", "2026-03-16"])
def test_what_is_no_time_is_not_read(text):
    with pytest.raises(wire.Unreadable):
        wire.moment(text)


@given(st.integers(0, 4 * 10**18))
def test_a_time_that_is_written_is_read_again(ns):
    assert wire.moment(wire.written(ns)) == ns


@given(st.integers(1, 10**12), st.sampled_from([0, 2, 4, 8, 9]))
def test_a_number_on_the_grid_is_written_exactly(count, decimals):
    exact = Decimal(count).scaleb(-decimals)
    text = wire.decimal(float(exact))
    assert "e" not in text.lower()
    assert float(text) == float(exact)


POSITIONS = [
    ({"symbol": "BTCUSD", "asset_class": "crypto", "qty": "0.5"}, ("BTC/USD", 0.5)),
    ({"symbol": "ETHUSDT", "asset_class": "crypto", "qty": "2"}, ("ETH/USDT", 2.0)),
    ({"symbol": "SHIB/USD", "asset_class": "crypto", "qty": "1e6"}, ("SHIB/USD", 1e6)),
    ({"symbol": "TSLA", "asset_class": "us_equity", "qty": "-3", "side": "short"}, ("TSLA", -3.0)),
    ({"symbol": "TSLA", "asset_class": "us_equity", "qty": "3", "side": "short"}, ("TSLA", -3.0)),
]


@pytest.mark.parametrize(("row", "wanted"), POSITIONS)
def test_positions(row, wanted):
    held = wire.holding(msgspec.convert({"avg_entry_price": "1.5", **row}, wire.Position))
    assert (held.symbol, held.qty) == wanted


ASSETS = [
    ({"fractionable": True}, False, (0.01, 1.0)),
    ({"fractionable": True}, True, (0.01, 1e-9)),
    ({"fractionable": False}, True, (0.01, 1.0)),
]


@pytest.mark.parametrize(("row", "fractional", "wanted"), ASSETS)
def test_stocks_trade_in_whole_shares_unless_asked_otherwise(row, fractional, wanted):
    asset = wire.Asset(symbol="SPY", tradable=True, **row)
    rules = wire.instrument(asset, crypto=False, fractional=fractional, calendar="XNYS")
    assert (rules.tick, rules.lot) == wanted
    assert not rules.flips  # Alpaca refuses an order that turns a position


def test_fractions_of_a_share_are_for_day_orders():
    made = venue(fractional=True, **HERE)
    made._assets.rules["SPY"] = Instrument("SPY", lot=1e-9)
    with pytest.raises(Refused, match="day orders only"):
        made.submit(Submit(1, 1, "a", "SPY", "buy", 0.5, "market", tif="gtc"))


# ---------------------------------------------------------------- whatever comes


def listening():
    made = venue(**HERE)
    said = []
    made._emit = said.append
    made._assets.rules["SPY"] = Instrument("SPY")
    market = Market(
        ["SPY"], 0, wire.NS_PER_MINUTE, made._assets, made._past, made._translate, made._say,
        print, print,
    )  # fmt: skip
    market.listener.close()
    return made, market, said


SHARED = listening()


SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANY = SCALAR | st.binary(max_size=4) | st.lists(SCALAR, max_size=2)
FIELDS = ["event", "order", "price", "qty", "timestamp", "execution_id"]


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a busy machine
@given(
    st.dictionaries(st.sampled_from(FIELDS), ANY),
    st.dictionaries(st.sampled_from(list(ORDER)), ANY),
)
def test_no_message_of_orders_breaks_the_reader(changes, of_order):
    made, _, said = SHARED
    said.clear()
    data = {"event": "fill", "order": {**ORDER, **of_order}, "price": "1", "qty": "1", **changes}
    made._hear_order({"stream": "trade_updates", "data": data})
    assert all(isinstance(one, Fill | OrderUpdate | Garbled) for one in said)


@given(
    st.sampled_from(["b", "u", "t", "q", "s", "error", "x", None]),
    ANY,
    st.dictionaries(st.sampled_from("SoHlcvptibas"), ANY),
)
def test_no_message_of_the_market_breaks_the_reader(kind, whole, changes):
    _, market, said = SHARED
    said.clear()
    market._hear(whole)
    base = {"S": "SPY", "t": msgpack.Timestamp(1), "p": 1.0, "s": 1.0, "bp": 1, "ap": 2, "bs": 1}
    market._hear({"T": kind, **base, "as": 1, "o": 1, "h": 1, "l": 1, "c": 1, "v": 1, **changes})
    assert all(isinstance(o, Bar | Trade | Quote | Refreshed | Garbled) for o in said)


# ---------------------------------------------------------------- a stream that behaves badly


@contextmanager
def speaker(*frames, packed=True):
    """A market data stream of Alpaca's that says just these frames once it is subscribed to."""
    done = threading.Event()

    def talk(socket):
        encode = msgpack.packb
        socket.send(encode([{"T": "success", "msg": "connected"}]))
        socket.recv()
        socket.send(encode([{"T": "success", "msg": "authenticated"}]))
        socket.recv()
        for frame in frames:
            socket.send(frame if isinstance(frame, bytes) else encode(frame))
        done.wait(30)

    with serve(talk, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        try:
            yield f"ws://127.0.0.1:{port}/v2/iex"
        finally:
            done.set()
            server.shutdown()
            thread.join()


@contextmanager
def hearing(url, timeout_ms=5_000.0):
    """A venue whose stream of the market is at ``url``, and what it says."""
    made = venue(**{**HERE, "data_stream_url": url}, timeout_ms=timeout_ms)
    said, changed = [], threading.Condition()

    def emit(one):
        with changed:
            said.append(one)
            changed.notify_all()

    def wait(count):
        with changed:
            assert changed.wait_for(lambda: len(said) >= count, 10), said
        return said

    made._emit = emit
    known = made._assets.rules.setdefault
    made._assets.ask = lambda symbol: known(symbol, Instrument(symbol))
    try:
        yield made, wait
    finally:
        made.close()


SUBSCRIBED = [{"T": "subscription", "trades": ["SPY"], "quotes": ["SPY"], "bars": []}]


def a_trade(number, price=1.5, **more):
    at = msgpack.Timestamp(1_700_000_000, 5)
    return {"T": "t", "S": "SPY", "i": number, "p": price, "s": 2, "t": at, **more}


def test_what_follows_an_unreadable_message_in_a_frame_is_heard():
    batch = [a_trade(1, "dear"), a_trade(2), {"T": 5}, a_trade(3)]
    with speaker(SUBSCRIBED, batch) as url, hearing(url) as (made, wait):
        made.subscribe(["SPY"], 0)
        said = wait(3)
    assert [type(one) for one in said] == [Garbled, Trade, Trade]
    assert [one.id for one in said[1:]] == ["2", "3"]
    assert said[1].ts == 1_700_000_000_000_000_005


def test_noise_is_told_and_too_much_of_it_ends_the_stream():
    noise = [b"\xc1\xff noise"] * 20
    with speaker(SUBSCRIBED, *noise) as url, hearing(url) as (made, wait):
        ended = ""
        try:
            made.subscribe(["SPY"], 0)
        except VenueError as error:  # all of it may be there before anybody looks
            ended = str(error)
        said = wait(20 if ended else 21)
    assert "can be read" in (ended or said[20].why)
    assert [type(one) for one in said[:20]] == [Garbled] * 20


def test_a_frame_that_is_too_long_ends_the_stream():
    with speaker(SUBSCRIBED, b"x" * (2 << 20)) as url, hearing(url) as (made, wait):
        made.subscribe(["SPY"], 0)
        (said,) = wait(1)
    assert isinstance(said, Disconnected)
    assert "the connection broke" in said.why


REFUSALS = [
    ([{"T": "error", "code": 405, "msg": "symbol limit exceeded"}], "symbol limit exceeded"),
    ([{"T": "error", "code": 409, "msg": "insufficient subscription"}], "insufficient"),
    ([], "not confirmed in time"),
]


@pytest.mark.parametrize(("frame", "why"), REFUSALS)
def test_a_subscription_that_is_refused_or_not_confirmed_is_told(frame, why):
    with (
        speaker(frame) as url,
        hearing(url, 800.0) as (made, _),
        pytest.raises(VenueError, match=why),
    ):
        made.subscribe(["SPY"], 0)


def test_halts_and_their_ends_are_told():
    status = {"T": "s", "S": "SPY", "t": msgpack.Timestamp(1), "rc": "T12", "sm": "x"}
    batch = [{**status, "sc": code} for code in ("H", "Q", "T", "2")]
    with speaker(SUBSCRIBED, batch) as url, hearing(url) as (made, wait):
        made.subscribe(["SPY"], 0)
        said = wait(3)
    assert [one.tradable for one in said] == [False, True, False]


def test_bars_of_other_lengths_are_not_streamed_by_alpaca_itself():
    with pytest.raises(Refused, match="one minute"):
        venue().subscribe(["SPY"], 7 * 60 * 10**9)


def test_a_bar_is_known_when_it_is_over():
    at = msgpack.Timestamp(1_700_000_000)
    row = {
        "T": "b",
        "S": "SPY",
        "o": 1,
        "h": 2,
        "l": 1,
        "c": 2,
        "v": 10,
        "t": at,
        "n": 1,
        "vw": 1.5,
    }
    told = wire.bar(row, 60 * 10**9)
    assert told == Bar(1_700_000_060 * 10**9, 0, "SPY", 1.0, 2.0, 1.0, 2.0, 10.0, 60 * 10**9)
