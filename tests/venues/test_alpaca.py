"""The real client library of Alpaca against the sandbox, over sockets: the promises of the port."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter

import numpy as np
import pytest
from patched import says_so_and_goes_on

from regimeflow.errors import Refused, VenueError
from regimeflow.model.events import Cancel, Fill, Replace
from regimeflow.model.market import Trade
from regimeflow.sandbox.alpaca import Alpaca as Sandbox
from regimeflow.sandbox.conformance import Bench, check_venue
from regimeflow.sandbox.script import Fault
from regimeflow.venues.alpaca import executions, orders
from regimeflow.venues.alpaca.wire import bar_length, moment, written
from regimeflow.venues.port import Ack

SECOND = 10**9

NAMES = [str(case) for case in check_venue(lambda: None, lambda: None)]
CRYPTO = ("BTC/USD", "ETH/USD")


@pytest.fixture(scope="module", params=["equity", "crypto"])
def sandbox(request, tmp_path_factory):
    ledger = tmp_path_factory.mktemp("alpaca") / "venue.jsonl"
    symbols = ("AAA", "BBB") if request.param == "equity" else CRYPTO
    with Sandbox(ledger, symbols=symbols, whole=1.0) as venue:
        venue.hand.hold()
        yield venue


@pytest.mark.parametrize("name", NAMES)
def test_the_port_is_kept(name, sandbox):
    cases = {str(case): case for case in check_venue(sandbox.venue, lambda: sandbox.hand)}
    cases[name].run()


# ---------------------------------------------------------------- what the client does by itself


def bench_of(sandbox, **how):
    bench = Bench(sandbox.venue(**how), sandbox.hand)
    return bench.connect()


@pytest.fixture
def bench(sandbox):
    made = bench_of(sandbox)
    yield made
    made.adapter.close()


def requests_since(sandbox, count):
    texts = [row.detail["text"] for row in sandbox.rows() if row.kind == "bytes"]
    return [text.split(" ", 2) for text in texts[count:]]


def received(sandbox):
    return sum(row.kind == "bytes" for row in sandbox.rows())


ONCE = ["http_429", "http_504", "http_504_after", "http_500", "drop_before", "drop_after", "html"]


@pytest.mark.parametrize("fault", ONCE)
@pytest.mark.parametrize("what", ["submit", "replace", "cancel"])
def test_the_client_sends_every_request_once(bench, sandbox, fault, what):
    order, ack = (bench.new(), Ack("")) if what == "submit" else bench.send()
    changed = Replace(1, 7, order.order_id, 20.0, limit=60.0)
    sandbox.hand.fault(Fault(what, fault, ms=10.0))
    before = received(sandbox)
    ask = {
        "submit": lambda: bench.adapter.submit(order),
        "replace": lambda: bench.adapter.replace(changed, ack.venue_order_id),
        "cancel": lambda: bench.adapter.cancel(Cancel(1, 1, order.order_id), ack.venue_order_id),
    }[what]
    with pytest.raises(VenueError) as told:
        ask()
    assert isinstance(told.value, Refused) == (fault == "http_429")
    verbs = [verb for verb, *_ in requests_since(sandbox, before) if verb != "GET"]
    assert verbs == [{"submit": "POST", "replace": "PATCH", "cancel": "DELETE"}[what]]


def test_a_request_that_nobody_answers_is_given_up(sandbox):
    bench = bench_of(sandbox, timeout_ms=150.0)
    order = bench.new()
    bench.adapter.instruments([order.symbol])
    sandbox.hand.fault(Fault("submit", "no_reply"))
    with pytest.raises(VenueError, match="ReadTimeout"):
        bench.adapter.submit(order)
    assert bench.adapter.order(order.order_id).status == "open"
    bench.adapter.close()


def test_the_time_to_wait_is_told_where_the_venue_is_too_busy(bench, sandbox):
    sandbox.hand.fault(Fault("submit", "http_429", ms=2_500.0))
    refusal = bench.refused(lambda: bench.adapter.submit(bench.new()))
    assert (refusal.code, refusal.retry_after_ms) == ("rate_limited", 2_500.0)


def test_what_stands_between_cannot_say_no(bench, sandbox):
    sandbox.hand.fault(Fault("order", "html_before"))
    with pytest.raises(VenueError) as told:
        bench.adapter.order("whatever")
    assert not isinstance(told.value, Refused)


def test_rules_that_cannot_be_asked_for_mean_that_nothing_was_sent(sandbox):
    bench = bench_of(sandbox)
    sandbox.hand.fault(Fault("instruments", "http_500"))
    assert bench.refused(lambda: bench.adapter.submit(bench.new())).code == "not_sent"
    bench.adapter.close()


def test_an_order_that_cannot_be_found_is_not_changed(bench, sandbox):
    order, ack = bench.send()
    sandbox.hand.fault(Fault("order", "http_500"))
    change = Replace(1, 1, order.order_id, 20.0, limit=60.0)
    refusal = bench.refused(lambda: bench.adapter.replace(change, ack.venue_order_id))
    assert refusal.code == "not_sent"
    assert bench.adapter.order(order.order_id).qty == order.qty


def test_a_second_connection_for_market_data_is_refused_and_says_so(sandbox):
    first, second = bench_of(sandbox), bench_of(sandbox)
    first.adapter.subscribe([first.symbol], 0)
    with pytest.raises(VenueError, match="connection limit exceeded"):
        second.adapter.subscribe([first.symbol], 0)
    first.adapter.close()
    second.adapter.subscribe([first.symbol], 0)
    second.adapter.close()


def test_it_works_inside_a_loop_that_runs(sandbox):
    async def cell():
        bench = bench_of(sandbox)
        bench.adapter.subscribe([bench.symbol], 0)
        sandbox.hand.tick(bench.symbol, 101.0)
        bench.hear(lambda said: isinstance(said, Trade), "a trade")
        order, _ = bench.send()
        bench.update(order.order_id, "accepted")
        bench.adapter.close()

    asyncio.run(cell())


@pytest.mark.parametrize("symbol", ["AAA", "BTC/USD"])
def test_a_loop_that_somebody_patched_is_told_and_left_alone(symbol):
    assert says_so_and_goes_on("Alpaca", symbol)


# ---------------------------------------------------------------- orders as Alpaca has them


def test_a_changed_order_keeps_our_name_under_a_new_id(bench):
    order, ack = bench.send()
    changed = bench.adapter.replace(
        Replace(4, 1, order.order_id, 20.0, limit=60.0), ack.venue_order_id
    )
    told = bench.update(order.order_id, "replaced")
    assert told.venue_order_id == changed.venue_order_id != ack.venue_order_id
    for venue_id in (ack.venue_order_id, changed.venue_order_id, ""):
        row = bench.adapter.order(order.order_id, venue_id)
        assert (row.order_id, row.venue_order_id) == (order.order_id, changed.venue_order_id)
    working = [r for r in bench.adapter.open_orders() if r.order_id == order.order_id]
    assert [(r.qty, r.limit) for r in working] == [(20.0, 60.0)]


def test_a_changed_order_is_canceled_under_its_old_id_too(bench):
    order, ack = bench.send()
    bench.adapter.replace(Replace(4, 1, order.order_id, 20.0, limit=60.0), ack.venue_order_id)
    bench.adapter.cancel(Cancel(5, 1, order.order_id), ack.venue_order_id)
    bench.update(order.order_id, "canceled")


def test_executions_before_and_after_a_change_are_told_and_listed_alike(bench, sandbox):
    order, ack = bench.send()
    sandbox.hand.fill(order.order_id, 4.0)
    bench.filled(order.order_id)
    bench.adapter.replace(Replace(4, 1, order.order_id, 20.0, limit=60.0), ack.venue_order_id)
    sandbox.hand.fill(order.order_id, 5.0)
    sandbox.hand.fill(order.order_id, 11.0)
    of_order = lambda s: isinstance(s, Fill) and s.order_id == order.order_id  # noqa: E731
    bench.hear(lambda s: of_order(s) and s.qty == 11.0, "the last fill")
    told = {fill.execution_id: fill.qty for fill in filter(of_order, bench.said)}
    fresh = bench_of(sandbox)  # has heard nothing of it
    listed = {f.execution_id: f.qty for f in fresh.adapter.executions(0) if of_order(f)}
    fresh.adapter.close()
    assert told == listed
    assert sorted(told.values()) == [4.0, 5.0, 11.0]
    assert bench.adapter.order(order.order_id).status == "filled"


def test_lists_are_read_to_their_end(bench, sandbox, monkeypatch):
    monkeypatch.setattr(orders, "_PAGE", 2)
    monkeypatch.setattr(executions, "_ACTIVITIES", 2)
    sent = [bench.send()[0] for _ in range(5)]
    for order in sent[:3]:
        sandbox.hand.fill(order.order_id, 3.0)
        sandbox.hand.fill(order.order_id, 2.0)
    names = [row.order_id for row in bench.adapter.open_orders()]
    assert Counter(names)[""] <= 10
    assert {order.order_id for order in sent} <= set(names)
    fills = Counter(fill.order_id for fill in bench.adapter.executions(0))
    assert [fills[order.order_id] for order in sent] == [2, 2, 2, 0, 0]


def test_numbers_leave_as_exact_decimals(sandbox):
    bench = bench_of(sandbox)
    crypto = bench.adapter.asset_class == "crypto"
    qty = 0.1 + 0.2 if crypto else 3.0
    before = received(sandbox)
    bench.send(qty=qty, limit=50.1)
    body = json.loads(requests_since(sandbox, before)[-1][2])
    assert (body["qty"], body["limit_price"]) == ("0.3" if crypto else "3", "50.1")
    bench.adapter.close()


@pytest.mark.parametrize("terms", [{"limit": 50.123}, {"limit": math.nan}, {"qty": math.inf}])
def test_what_is_off_the_grid_is_refused_before_it_is_sent(bench, sandbox, terms):
    bench.adapter.instruments([bench.symbol])
    before = received(sandbox)
    bench.refused(lambda: bench.adapter.submit(bench.new(**terms)))
    assert received(sandbox) == before


def test_positions_have_the_symbols_that_orders_have(bench, sandbox):
    sandbox.hand.trade(bench.other, "buy", 5.0)
    assert {bench.other} <= {row.symbol for row in bench.adapter.positions()} <= {*sandbox.symbols}


# ---------------------------------------------------------------- history


def test_the_exchange_is_open_when_its_calendar_says_so(bench):
    """The week of Thanksgiving 2026: closed on Thursday, an early close on Friday."""
    monday = moment("2026-11-23T15:00:00Z")
    days = bench.adapter.openings(monday, monday + 6 * 86_400 * SECOND)
    assert [
        (day.date, written(day.open_ns)[11:16], written(day.close_ns)[11:16]) for day in days
    ] == [
        ("2026-11-23", "14:30", "21:00"),
        ("2026-11-24", "14:30", "21:00"),
        ("2026-11-25", "14:30", "21:00"),
        ("2026-11-27", "14:30", "18:00"),
    ]


@pytest.fixture(scope="module")
def past():
    with Sandbox(symbols=("AAA",), timeframe="1s", history=2_500) as venue:
        venue.hand.hold()
        yield venue


def test_history_is_read_page_by_page_and_named_by_when_bars_close(past):
    venue = past.venue()
    now = venue.time()
    told = venue.past("AAA", SECOND, 0, now)
    assert len(told.times) == 2_500
    assert set(np.diff(told.times)) == {SECOND}
    assert now - 3 * SECOND < told.times[-1] <= now
    venue.close()


def test_a_bar_that_is_not_over_is_no_history(past):
    venue = past.venue()
    venue.past("AAA", SECOND, venue.time() - 5 * SECOND, venue.time())  # its clients are made
    past.hand.tick("AAA", 123.0)
    at = venue.time()
    terms = {"symbols": "AAA", "timeframe": bar_length(SECOND, local=True)}
    terms |= {"start": written(at - 10 * SECOND), "end": written(at + SECOND)}
    raw = venue._asking.client("data").get("/stocks/bars", terms)["bars"]["AAA"]
    assert moment(raw[-1]["t"]) + SECOND > at  # it was offered
    told = venue.past("AAA", SECOND, at - 10 * SECOND, at + 10 * SECOND)
    assert told.times[-1] <= venue.time()
    venue.close()


def test_a_frame_of_history_names_bars_by_when_they_open(past):
    venue = past.venue()
    frame = venue.history("AAA", "1s", venue.time() - 600 * SECOND)
    closes = venue.past("AAA", SECOND, venue.time() - 600 * SECOND, venue.time()).times
    assert len(frame) >= 590
    assert {ts - SECOND for ts in closes} >= set(frame.index.astype("int64")[10:])
    venue.close()


def test_lengths_that_alpaca_does_not_have_are_refused():
    assert bar_length(60 * SECOND, local=False) == "1Min"
    assert bar_length(15 * 60 * SECOND, local=False) == "15Min"
    assert bar_length(3_600 * SECOND, local=False) == "1Hour"
    assert bar_length(86_400 * SECOND, local=False) == "1Day"
    assert bar_length(SECOND, local=False) == bar_length(90 * SECOND, local=False) == ""
