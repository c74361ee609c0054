"""What ccxt's client does on the wire, pitfall by pitfall, and what the adapter makes of it."""

from __future__ import annotations

import asyncio
import inspect
import math
import pickle
import subprocess
import sys
import threading
import time
import urllib.parse

import ccxt as library
import pytest
from patched import says_so_and_goes_on

import regimeflow as rf
from regimeflow.errors import ConfigError, NotThere, Refused, VenueError
from regimeflow.model.events import Cancel, Fill, OrderUpdate, Submit
from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.redaction import Redactor, Secret
from regimeflow.sandbox.script import Fault
from regimeflow.sandbox.spot import SECRET_KEY
from regimeflow.session.spec import _Pickler, _Unpickler
from regimeflow.venues.ccxt import translate
from regimeflow.venues.ccxt.client import URGENT
from regimeflow.venues.ccxt.habits import BINANCE, BYBIT, Habits
from regimeflow.venues.ccxt.outcomes import CLASSES, answered, translated
from regimeflow.venues.port import Disconnected, Garbled

A, B = "AAA/USDT", "BBB/USDT"
PATIENCE_S = 10.0


class Heard(list):
    """What a venue has said."""

    def __init__(self):
        super().__init__()
        self._changed = threading.Condition()

    def __call__(self, said):
        with self._changed:
            self.append(said)
            self._changed.notify_all()

    def wait(self, what, count=1):
        found = lambda: [said for said in self if what(said)]  # noqa: E731
        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, PATIENCE_S), self[-5:]
            return found()


@pytest.fixture(scope="module")
def exchange(tmp_path_factory):
    with rf.sandbox.Binance(tmp_path_factory.mktemp("binance") / "v.jsonl", whole=1.0) as running:
        running.hand.hold()
        for symbol in running.symbols:
            running.hand.tick(symbol, 100.0)
            running.hand.trade(symbol, "buy", 100.0)
        yield running


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def venue(exchange, heard):
    made = exchange.venue(settle_ms=500.0, timeout_ms=500.0)
    made.connect(heard)
    yield made
    made.close()


_count = iter(range(10**6))


def order(side="buy", type="limit", qty=1.0, limit=None, stop=None, tif="gtc", symbol=A):
    if type == "limit" and limit is None:
        limit = 50.0 if side == "buy" else 150.0
    name = f"test-{time.time_ns():x}-{next(_count)}"
    return Submit(1, 1, name, symbol, side, qty, type, limit, stop, tif)


def requests(exchange, start):
    """Return the requests whose text begins so, as their parameters."""
    texts = [row.detail["text"] for row in exchange.rows() if row.kind == "bytes"]
    return [
        {k: v[0] for k, v in urllib.parse.parse_qs(text.split(" ", 2)[2]).items()}
        for text in texts
        if text.startswith(start)
    ]


def posts(exchange, sent):
    return sum(
        asked["newClientOrderId"] == sent.order_id
        for asked in requests(exchange, "POST /api/v3/order")
    )


# ---------------------------------------------------------------- what an answer means

UNKNOWN = ("drop_before", "drop_after", "no_reply", "ignore", "html", "html_before", "garbage",
           "cut", "http_500", "http_503", "http_504", "http_504_after", "http_403")  # fmt: skip


@pytest.mark.parametrize("fault", UNKNOWN)
def test_what_does_not_settle_an_order_is_unknown_and_is_sent_once(exchange, venue, fault):
    exchange.hand.fault(Fault("submit", fault))
    sent = order()
    with pytest.raises(VenueError) as raised:
        venue.submit(sent)
    assert not isinstance(raised.value, Refused)
    assert posts(exchange, sent) == 1
    took_effect = fault in ("drop_after", "no_reply", "html", "garbage", "cut", "http_504_after")
    if took_effect:
        assert venue.order(sent.order_id).status == "open"
    else:
        with pytest.raises(NotThere):
            venue.order(sent.order_id)


NO = {
    "too early": (lambda x: x.hand.fault(Fault("submit", "http_429", ms=2_500.0)), {}, "-1003"),
    "at another time": (lambda x: x.hand.fault(Fault("submit", "skew", ms=60_000.0)), {}, "-1021"),
    "too small": (lambda x: None, {"qty": 0.00001}, "-1013"),
    "too dear": (lambda x: None, {"qty": 80_000.0}, "-2010"),
    "more than is held": (lambda x: None, {"qty": 500.0, "side": "sell"}, "-2010"),
}


@pytest.mark.parametrize("why", NO)
def test_what_is_certainly_refused_is_a_definite_no(exchange, venue, why):
    prepare, terms, code = NO[why]
    prepare(exchange)
    sent = order(**terms)
    with pytest.raises(Refused) as raised:
        venue.submit(sent)
    assert raised.value.code == code
    assert raised.value.retry_after_ms == (2_500.0 if why == "too early" else None)
    assert posts(exchange, sent) == 1


def test_an_id_is_taken_only_while_its_order_works_so_nothing_is_ever_sent_again(exchange, venue):
    resting = order()
    venue.submit(resting)
    with pytest.raises(Refused) as raised:
        venue.submit(resting)
    assert raised.value.code == "duplicate_order_id"
    filled = order(type="market")
    first, second = venue.submit(filled), venue.submit(filled)  # what a blind retry would do
    assert first.venue_order_id != second.venue_order_id
    assert venue.order("", first.venue_order_id).status == "filled"
    assert venue.order("", second.venue_order_id).status == "filled"


def test_a_revoked_key_is_a_no_and_not_a_ban_to_be_waited_out(exchange):
    error = library.DDoSProtection('binance {"code":-2015,"msg":"Invalid API-key."}')
    error.answer = answered(400, '{"code":-2015,"msg":"Invalid API-key."}', {})
    told = translated(error, BINANCE, str)
    assert isinstance(told, Refused)
    assert (told.code, told.retry_after_ms) == ("unauthorized", None)


def test_every_class_of_ccxts_errors_has_a_meaning():
    found = {
        name for name, kind in inspect.getmembers(library, inspect.isclass)
        if issubclass(kind, library.BaseError)
    }  # fmt: skip
    assert found == set(CLASSES)


MEANINGS = [
    # status, body, class -> meaning
    (0, "", library.RequestTimeout, VenueError),
    (0, "", library.ExchangeNotAvailable, VenueError),
    (0, "", library.InvalidOrder, Refused),
    (0, "", library.OrderNotFound, NotThere),
    (200, '{"code":-9999,"msg":"?"}', library.ExchangeError, VenueError),
    (400, '{"code":-9999,"msg":"?"}', library.ExchangeError, Refused),
    (400, '{"code":-1007,"msg":"Timeout"}', library.RequestTimeout, VenueError),
    (408, '{"code":-9999,"msg":"?"}', library.ExchangeError, VenueError),
    (503, '{"code":-9999,"msg":"?"}', library.InvalidOrder, VenueError),
    (403, "<html>", library.PermissionDenied, VenueError),
    (418, "", library.DDoSProtection, Refused),
    (0, "", ValueError, VenueError),
]


@pytest.mark.parametrize(("status", "body", "kind", "meaning"), MEANINGS)
def test_code_then_status_then_class_say_what_an_error_means(status, body, kind, meaning):
    error = kind("words")
    error.answer = answered(status, body, {})
    assert type(translated(error, BINANCE, str)) is meaning


def test_an_answer_of_another_exchange_is_read_by_its_own_fields():
    error = library.ExchangeError("words")
    error.answer = answered(200, '{"retCode":170213,"retMsg":"Order does not exist."}', {})
    assert type(translated(error, BYBIT, str)) is NotThere
    assert type(translated(error, Habits(), str)) is VenueError


def test_what_an_exchange_echoes_of_a_key_is_in_no_error(exchange):
    key = "a-long-key-of-somebody"
    error = library.ExchangeError(f"bad {key}")
    error.answer = answered(400, f'{{"code":-1,"msg":"key {key} <script>"}}', {})
    told = translated(error, BINANCE, Redactor([Secret(key)]).text)
    assert key not in str(told)


# ---------------------------------------------------------------- what leaves


@pytest.mark.parametrize(
    "terms",
    [
        {"qty": 1.000001},
        {"limit": 50.005},
        {"type": "stop", "stop": 149.999},
        {"qty": 0.0},
        {"qty": math.nan},
        {"limit": math.inf},
        {"tif": "day"},
        {"type": "market", "tif": "ioc"},
        {"symbol": "AAA/EUR"},
    ],
)
def test_what_ccxt_would_round_or_guess_at_does_not_leave(exchange, venue, terms):
    sent = order(**terms)
    with pytest.raises(Refused):
        venue.submit(sent)
    assert posts(exchange, sent) == 0


def test_numbers_leave_as_exact_decimals_under_our_own_id(exchange, venue):
    sent = order(qty=0.30003, limit=50.07)
    venue.submit(sent)
    (asked,) = [
        a
        for a in requests(exchange, "POST /api/v3/order")
        if a["newClientOrderId"] == sent.order_id
    ]
    assert (asked["quantity"], asked["price"]) == ("0.30003", "50.07")


def test_only_what_a_spot_session_needs_is_asked_for_when_it_connects(tmp_path):
    with rf.sandbox.Binance(tmp_path / "v.jsonl") as exchange:
        venue = exchange.venue()
        venue.connect(lambda said: None)
        venue.close()
        texts = [r.detail["text"].split(" ")[1] for r in exchange.rows() if r.kind == "bytes"]
    assert texts == ["/api/v3/exchangeInfo"]


def test_ccxts_own_retries_stay_off_whatever_is_configured(exchange, heard):
    config = {"options": {"maxRetriesOnFailure": 3}}
    venue = exchange.venue(config=config, timeout_ms=400.0)
    venue.connect(heard)
    exchange.hand.fault(Fault("submit", "drop_after"))
    sent = order()
    with pytest.raises(VenueError):
        venue.submit(sent)
    venue.close()
    assert posts(exchange, sent) == 1


def test_a_setting_for_orders_alone_does_not_switch_retries_on(exchange, heard):
    config = {"options": {"order": {"maxRetriesOnFailure": 3}, "defaultMaxRetriesOnFailure": 3}}
    venue = exchange.venue(config=config, timeout_ms=400.0)
    venue.connect(heard)
    exchange.hand.fault(Fault("submit", "http_504_after"))
    sent = order(type="market")
    with pytest.raises(VenueError):
        venue.submit(sent)
    heard.wait(lambda said: isinstance(said, Fill) and said.order_id == sent.order_id)
    own = [fill for fill in venue.executions(0) if fill.order_id == sent.order_id]
    venue.close()
    assert posts(exchange, sent) == 1
    assert len(own) == 1


@pytest.mark.parametrize("wrong", ["api_key", "secret_key"])
def test_a_wrong_key_is_a_definite_no_in_the_exchanges_own_words(exchange, heard, wrong):
    venue = exchange.venue(**{wrong: "WRONG"})
    with pytest.raises(Refused, match=r"\(-\d+\)") as no:
        venue.connect(heard)
    assert no.value.code == "unauthorized"


def test_what_fails_while_ccxt_clears_up_does_not_hide_what_the_exchange_said():
    error = library.AuthenticationError("no")
    error.answer = answered(0, '{"code":-2015,"msg":"Invalid API-key."}', {})
    masked = KeyError("1")
    masked.__context__ = error
    assert str(translated(masked, BINANCE, str)) == "Invalid API-key. (-2015)"
    assert "cannot be read" in str(translated(KeyError("1"), BINANCE, str))


def test_orders_do_not_queue_behind_questions(exchange, heard):
    venue = exchange.venue(config={"enableRateLimit": True})
    venue.connect(heard)
    client, waited = venue._open.client, []

    async def urgent():
        URGENT.set(True)
        for _ in range(50):
            await client.throttle(1_000.0)  # so dear that one of them would take a minute
        waited.append("not")

    venue._open.thread.run(urgent(), 5.0)
    venue.close()
    assert waited == ["not"]


def test_a_cancel_needs_no_memory_of_its_order(exchange, venue, heard):
    sent = order()
    venue.submit(sent)
    other = exchange.venue()
    other.connect(lambda said: None)
    other.instruments([A, B])  # what a session asks for first
    other.cancel(Cancel(1, 1, sent.order_id), "")
    other.close()
    heard.wait(lambda s: isinstance(s, OrderUpdate) and s.what == "canceled")


# ---------------------------------------------------------------- what is told


def test_after_a_buy_less_is_owned_and_the_money_is_right(exchange, venue, heard):
    held = sum(h.qty for h in venue.positions() if h.symbol == A)
    cash = venue.balances().cash
    sent = order(type="market", qty=2.0)
    venue.submit(sent)
    (fill,) = heard.wait(lambda s: isinstance(s, Fill) and s.order_id == sent.order_id)
    assert (fill.qty, fill.kept, fill.executed) == (1.9998, 0.0002, 2.0)
    assert sum(h.qty for h in venue.positions() if h.symbol == A) == pytest.approx(held + 1.9998)
    assert cash - venue.balances().cash == pytest.approx(fill.qty * fill.price + fill.fee)


def test_fees_in_a_third_currency_are_worth_what_it_costs():
    market = {"id": "AAAUSDT", "base": "AAA", "quote": "USDT", "symbol": A}
    row = {"id": "7", "order": "1", "symbol": A, "side": "buy", "amount": 2.0, "price": 100.0,
           "timestamp": 5, "fee": {"cost": 0.01, "currency": "BNB"}}  # fmt: skip
    made = translate.fill(row, market, "x", "binance", {"BNB": 600.0}.__getitem__)
    assert (made.qty, made.kept, made.fee) == (2.0, 0.0, 6.0)
    row = {**row, "fee": {"cost": 0.02, "currency": "USDT"}, "side": "sell"}
    assert translate.fill(row, market, "x", "binance", {}.__getitem__).fee == 0.02
    row = {**row, "fee": {"cost": 0.002, "currency": "AAA"}}
    sold = translate.fill(row, market, "x", "binance", {}.__getitem__)
    assert (sold.qty, sold.kept, sold.executed) == (2.002, -0.002, 2.0)


def test_a_fee_whose_worth_nobody_tells_is_said_once_not_to_be_booked(venue, heard):
    row = {"id": "7", "order": "1", "symbol": A, "side": "buy", "amount": 2.0, "price": 100.0,
           "timestamp": 5, "fee": {"cost": 0.01, "currency": "ODD"}}  # fmt: skip
    for _ in range(2):
        assert venue._ask(lambda client: venue._executions.fill(client, row)).fee == 0.0
    (said,) = [s for s in heard if isinstance(s, Garbled)]
    assert "a fee of 0.01 ODD is not booked" in said.why
    assert said.symbol == A


def test_executions_are_told_one_by_one_though_order_states_are_coalesced(exchange, venue, heard):
    sent = order(qty=5.0)
    venue.submit(sent)
    for _ in range(5):
        exchange.hand.fill(sent.order_id, 1.0)
    fills = heard.wait(lambda s: isinstance(s, Fill) and s.order_id == sent.order_id, 5)
    assert len({fill.execution_id for fill in fills}) == 5


def test_a_message_said_twice_is_the_same_execution_with_the_same_fee(exchange, venue, heard):
    exchange.hand.fault(Fault("fill", "duplicate"))
    sent = order(type="market")
    venue.submit(sent)
    fills = heard.wait(lambda s: isinstance(s, Fill) and s.order_id == sent.order_id)
    assert len({(fill.execution_id, fill.fee, fill.qty) for fill in fills}) == 1


def test_noise_does_not_end_the_stream_that_it_comes_on(exchange, venue, heard):
    exchange.hand.fault(Fault("fill", "garbage"))
    one, two = order(type="market"), order(type="market")
    venue.submit(one)
    (noise,) = heard.wait(lambda s: isinstance(s, Garbled))
    assert noise.about_orders
    venue.submit(two)
    heard.wait(lambda s: isinstance(s, Fill) and s.order_id == two.order_id)


def test_a_stream_that_says_it_is_over_is_a_lost_connection(venue, heard):
    client = venue._open.client
    (socket,) = [c for url, c in client.clients.items() if "ws-api" in url]
    over = {"subscriptionId": 0, "event": {"e": "eventStreamTerminated", "E": 1}}
    venue._open.thread.soon(client.handle_message, socket, over)
    heard.wait(lambda s: isinstance(s, Disconnected))


def test_a_silent_stream_is_found_out_by_what_it_should_have_told(exchange, venue, heard):
    exchange.hand.fault(Fault("fill", "lose"))
    sent = order(type="market")
    venue.submit(sent)
    venue._open.streams.skew_ns += 20 * NS_PER_SECOND  # as if that were twenty seconds ago
    assert sent.order_id in [fill.order_id for fill in venue.executions(0)]
    heard.wait(lambda s: isinstance(s, Disconnected) and "silent" in s.why)


def test_an_idle_stream_is_not_taken_for_a_silent_one(exchange, venue, heard):
    sent = order(type="market")
    venue.submit(sent)
    heard.wait(lambda s: isinstance(s, Fill) and s.order_id == sent.order_id)
    venue._open.streams.skew_ns += 20 * NS_PER_SECOND
    venue.executions(0)
    assert not [said for said in heard if isinstance(said, Disconnected)]


def test_a_question_that_fails_is_no_answer(exchange, venue):
    asks = {
        "positions": venue.positions,
        "open_orders": venue.open_orders,
        "executions": lambda: venue.executions(0),
        "history": lambda: venue.past(A, NS_PER_SECOND, 0, time.time_ns()),
        "time": venue.time,
    }
    for kind, ask in asks.items():
        for fault in ("html", "html_before", "garbage", "http_500"):
            exchange.hand.fault(Fault(kind, fault))
            with pytest.raises(VenueError):
                ask()


@pytest.mark.parametrize("value", [None, "", "x", math.nan, math.inf, "1e999", True, [], {}])
def test_what_is_no_number_is_not_read_as_one(value):
    with pytest.raises(translate.Unreadable):
        translate.number(value, "it")


def test_an_order_state_nobody_knows_is_passed_on_as_it_is():
    row = {"id": "1", "symbol": A, "side": "buy", "amount": 1.0, "filled": 0.0, "status": "odd"}
    assert translate.venue_order(row, BINANCE).status == "odd"
    assert translate.order_update(row, BINANCE).what == "odd"


def test_ids_that_apps_of_the_exchange_give_are_not_ours():
    assert translate.own_id("web_123", BINANCE) == ""
    assert translate.own_id("run-0-1", BINANCE) == "run-0-1"
    assert translate.own_id(None, BINANCE) == ""


def test_lists_that_come_by_pages_are_read_to_their_end(tmp_path):
    with rf.sandbox.Bybit(tmp_path / "v.jsonl", whole=1.0, timeframe="1min") as exchange:
        exchange.hand.hold()
        exchange.hand.tick(A, 100.0)
        venue = exchange.venue()
        venue.connect(lambda said: None)
        sent = [order(limit=50.0) for _ in range(55)]
        for one in sent:
            venue.submit(one)
        assert {row.order_id for row in venue.open_orders()} == {one.order_id for one in sent}
        bought = [order(type="market", qty=0.1) for _ in range(105)]
        for one in bought:
            venue.submit(one)
        assert [fill.order_id for fill in venue.executions(0)] == [one.order_id for one in bought]
        venue.close()


# ---------------------------------------------------------------- market data


def test_a_candle_is_told_once_it_is_over_and_as_the_past_has_it(exchange, heard):
    venue = exchange.venue()
    venue.connect(heard)
    venue.subscribe([A], NS_PER_SECOND)
    exchange.hand.go()
    bars = heard.wait(lambda s: isinstance(s, Bar), 2)
    exchange.hand.hold()
    now = venue.time()
    assert all(bar.ts <= now for bar in bars)
    told = venue.past(A, NS_PER_SECOND, bars[0].ts - 1, bars[-1].ts)
    venue.close()
    assert told.times == [bar.ts for bar in bars]
    assert told.close == [bar.close for bar in bars]
    assert told.volume == [bar.volume for bar in bars]


def test_the_past_needs_no_connection_and_no_keys_and_is_paged(exchange):
    config = exchange.venue()._config
    venue = rf.venues.Ccxt("binance", config=config)
    now = time.time_ns()
    told = venue.past(A, NS_PER_SECOND, now - 1_500 * NS_PER_SECOND, now + 10 * NS_PER_SECOND)
    steps = {later - ts for ts, later in zip(told.times, told.times[1:], strict=False)}
    assert steps == {NS_PER_SECOND}
    assert len(told.times) >= 1_499  # more than one page
    assert told.times[-1] <= time.time_ns()


def test_without_keys_there_are_prices_and_no_account(exchange, heard):
    venue = rf.venues.Ccxt("binance", config=exchange.venue()._config)
    venue.connect(heard)
    venue.subscribe([A], 0)
    exchange.hand.tick(A, 101.0)
    heard.wait(lambda s: isinstance(s, Trade) and s.price == 101.0)
    heard.wait(lambda s: isinstance(s, Quote))
    for ask in (venue.balances, venue.positions, lambda: venue.submit(order())):
        with pytest.raises(Refused, match="no keys"):
            ask()
    venue.close()


def test_subscribing_anew_opens_a_new_socket(exchange, venue, heard):
    venue.subscribe([A], 0)
    before = {id(c) for url, c in venue._open.client.clients.items() if "ws-api" not in url}
    venue.subscribe([A], 0)
    after = {id(c) for url, c in venue._open.client.clients.items() if "ws-api" not in url}
    assert after
    assert not before & after
    assert not [said for said in heard if isinstance(said, Disconnected)]


def test_symbols_of_two_currencies_do_not_go_together(venue):
    client = venue._open.client
    client.markets["AAA/EUR"] = {**client.markets[A], "quote": "EUR", "symbol": "AAA/EUR"}
    with pytest.raises(Refused, match="EUR and USDT"):
        venue.instruments([A, "AAA/EUR"])


def test_contracts_are_refused_with_the_reason(venue):
    client = venue._open.client
    client.markets["AAA/USDT:USDT"] = {**client.markets[A], "spot": False, "swap": True}
    with pytest.raises(Refused, match="this venue is for spot markets"):
        venue.instruments(["AAA/USDT:USDT"])


# ---------------------------------------------------------------- paper and real money

HERE = {"public": "http://127.0.0.1:1/api/v3", "private": "http://127.0.0.1:1/api/v3"}
LIVE = {"public": "https://api.binance.com/api/v3"}
TEST = {"public": "https://testnet.binance.vision/api/v3"}


@pytest.mark.parametrize(
    ("paper", "api", "says"),
    [
        (True, LIVE, "where real money is"),
        (True, {**HERE, **LIVE}, "where real money is"),
        (True, {"public": "https://127.0.0.1.evil.example"}, "where real money is"),
        (True, {"public": "https://localhost.evil.example"}, "where real money is"),
        (False, HERE, "no real money"),
        (False, TEST, "no real money"),
    ],
)
def test_addresses_and_money_must_agree(paper, api, says):
    with pytest.raises(ConfigError, match=says):
        rf.venues.Ccxt("binance", paper=paper, config={"urls": {"api": api}})


@pytest.mark.parametrize("api", [HERE, TEST, None])
def test_a_paper_client_has_no_address_where_real_money_is(api):
    config = {"urls": {"api": api}} if api else None
    venue = rf.venues.Ccxt("binance", config=config)
    from regimeflow.venues.ccxt.client import addresses, host_of, make

    client = make("binance", venue._config, {}, True, BINANCE, lambda said: None)
    hosts = {host_of(url, "") for _, url in addresses(client.urls["api"])}
    assert hosts
    real = {host_of(url, "") for _, url in addresses(library.binance().urls["api"])}
    assert not hosts & real


def test_an_exchange_without_a_paper_venue_says_what_to_do_instead():
    with pytest.raises(ConfigError, match=r"rf\.venues\.Paper"):
        rf.venues.Ccxt("kraken")


def test_an_unknown_exchange_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="'binance'"):
        rf.venues.Ccxt("binanse")


def test_the_address_of_market_streams_must_be_one_that_ccxt_files_right():
    api = {**HERE, "ws": {"spot": "ws://127.0.0.1:1/ws"}}
    with pytest.raises(ConfigError, match="/stream"):
        rf.venues.Ccxt("binance", config={"urls": {"api": api}})


def test_on_this_machine_the_stream_of_orders_is_beside_that_of_the_market():
    api = {**HERE, "ws": {"spot": "ws://127.0.0.1:9/stream/ws"}}
    venue = rf.venues.Ccxt("binance", config={"urls": {"api": api}})
    assert venue._config["urls"]["api"]["ws"]["ws-api"]["spot"] == "ws://127.0.0.1:9/ws-api/v3"


def test_keys_and_addresses_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("BINANCE_API_KEY", "key-of-the-environment")
    monkeypatch.setenv("BINANCE_SECRET_KEY", "secret-of-the-environment")
    monkeypatch.setenv("BINANCE_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("BINANCE_STREAM_URL", "ws://127.0.0.1:9/stream")
    monkeypatch.setenv("BINANCE_RECV_WINDOW_MS", "1234")
    venue = rf.venues.Ccxt("binance")
    assert venue._secrets["api_key"].reveal() == "key-of-the-environment"
    assert venue._config["urls"]["api"]["public"] == "http://127.0.0.1:9/api/v3"
    assert venue._config["options"]["recvWindow"] == 1234


def test_no_key_shows_and_a_detached_session_gets_them_all_the_same():
    config = {"apiKey": "key-in-the-config", "secret": "secret-in-the-config"}
    venue = rf.venues.Ccxt("binance", config=config)
    assert "with keys" in repr(venue)
    assert "key-in" not in repr(venue) + repr(vars(venue))
    with pytest.raises(TypeError):
        pickle.dumps(venue)
    import io

    sink = io.BytesIO()
    _Pickler(sink).dump(venue)
    copy = _Unpickler(io.BytesIO(sink.getvalue())).load()
    assert copy._secrets["api_key"].reveal() == "key-in-the-config"


def test_the_secret_is_never_on_the_wire(exchange, venue):
    venue.submit(order())
    assert SECRET_KEY not in exchange.ledger.read_text()


# ---------------------------------------------------------------- where it runs


def test_it_works_inside_a_running_loop(exchange):
    async def cell():
        venue = exchange.venue()
        venue.connect(lambda said: None)
        try:
            return venue.submit(order()).venue_order_id
        finally:
            venue.close()

    assert asyncio.run(cell())


def test_a_loop_that_somebody_patched_is_told_and_left_alone():
    assert says_so_and_goes_on("Binance", "AAA/USDT")


def test_the_library_is_imported_when_a_venue_is_made_and_not_before():
    code = (
        "import sys, regimeflow as rf, regimeflow.venues.ccxt;"
        "assert 'ccxt' not in sys.modules and 'aiohttp' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
