"""Metrics as text and over real sockets: names as they were, hostile labels and clients."""

from __future__ import annotations

import http.client
import math
import os
import socket
import threading
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

import regimeflow as rf
from regimeflow.errors import ConfigError
from regimeflow.model.events import Health
from regimeflow.prometheus import (
    Exporter,
    dashboard_snapshot_to_prometheus,
    live_metrics_to_prometheus,
)
from regimeflow.session.companions import Account
from regimeflow.session.metrics import (
    MOST_NAMES,
    OTHER,
    LiveMetrics,
    OrderCounts,
    SymbolMetrics,
)
from regimeflow.session.status import Status

#: Names that users of the C++ project know; none may change.
GAUGES = """
    equity cash buying_power daily_pnl total_return max_drawdown open_orders positions
    cpu_usage_pct memory_mb event_loop_latency_ms current_regime live_rejection_rate
    live_average_ack_latency_ms live_average_fill_latency_ms live_average_signed_slippage_bps
    live_average_absolute_slippage_bps live_average_effective_spread_bps
    live_average_queue_position live_average_queue_delay_error_ms
"""
COUNTERS = """
    fills_total live_orders_submitted_total live_submit_rejected_total
    live_broker_rejected_total live_orders_acknowledged_total live_orders_partially_filled_total
    live_orders_filled_total live_orders_cancelled_total live_order_errors_total
    live_queue_observations_total
"""


class VenueRow(msgspec.Struct):
    venue: str
    average_fill_latency_ms: float | None
    average_signed_slippage_bps: float | None
    average_effective_spread_bps: float | None


class Measured(msgspec.Struct):
    """Execution quality with a number of its own in each field."""

    rejection_rate: float | None = 0.125
    queue_observations: int = 7
    average_ack_latency_ms: float | None = 1.5
    average_fill_latency_ms: float | None = 2.5
    average_signed_slippage_bps: float | None = -3.5
    average_absolute_slippage_bps: float | None = 4.5
    average_effective_spread_bps: float | None = 5.5
    average_queue_position: float | None = 6.5
    average_queue_delay_error_ms: float | None = None
    venue_summaries: tuple[VenueRow, ...] = (VenueRow("sim", 2.5, -3.5, None),)


METRICS = LiveMetrics(
    time=1_704_153_600_500_000_000, run="demo", strategy="Cross", venue="sim", phase="running",
    state="reducing", equity=1_000.5, cash=400.25, buying_power=800.0, daily_pnl=-5.5,
    total_return=0.01, drawdown=0.02, max_drawdown=0.03, open_orders=2, positions=1,
    regime="crisis",
    health=Health(1, 1, 0.25, 3, 181.5, 42.0, 50_000.0, 9), executions=8,
    fills={("SPY", "sim"): 8}, orders=OrderCounts(11, 1, 9, 2, 7, 1, 0, 1, 1),
    denied={"max_notional": 1},
    symbols=(SymbolMetrics("SPY", 5.0, 30.0, 125_000.0, False, True),
             SymbolMetrics("QQQ", 0.0, None, None, True, False)),
    drift_execution=-1.25, drift_decisions=0.5, unknown_orders=1, unknown_age_ms=70_000.0,
    reconciled_at=1_704_153_600_000_000_000, reconciled_ok=False, unmatched=1, foreign_orders=2,
    connected=False, journal_events=100, journal_bytes=4_096, limits_used={"max_position": 0.25},
    quality=Measured(), failures=1,
)  # fmt: skip


def series(text):
    """Return (name, labels) -> value, read by the library's own parser; no series twice."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def value(text, name, **labels):
    return series(text)[f"regimeflow_{name}", tuple(sorted(labels.items()))]


# ---------------------------------------------------------------- text


@pytest.mark.parametrize("metrics", [LiveMetrics(), METRICS], ids=["empty", "full"])
def test_every_known_name_is_there_once_and_of_its_kind(metrics):
    text = live_metrics_to_prometheus(metrics)
    found = series(text)
    for names, kind in ((GAUGES, "gauge"), (COUNTERS, "counter")):
        for name in names.split():
            assert (f"regimeflow_{name}", ()) in found
            assert f"# TYPE regimeflow_{name} {kind}\n" in text


#: Series of `METRICS` and their values.
VALUES = [
    ("equity", {}, 1_000.5),
    ("cash", {}, 400.25),
    ("buying_power", {}, 800.0),
    ("daily_pnl", {}, -5.5),
    ("total_return", {}, 0.01),
    ("drawdown", {}, 0.02),
    ("max_drawdown", {}, 0.03),
    ("open_orders", {}, 2),
    ("positions", {}, 1),
    ("cpu_usage_pct", {}, 42.0),
    ("memory_mb", {}, 181.5),
    ("event_loop_latency_ms", {}, 0.25),
    ("queue_depth", {}, 3),
    ("threads", {}, 9),
    ("disk_free_mb", {}, 50_000.0),
    ("current_regime", {}, 3),
    ("fills_total", {}, 8),
    ("live_orders_submitted_total", {}, 11),
    ("live_submit_rejected_total", {}, 1),
    ("live_orders_acknowledged_total", {}, 9),
    ("live_orders_partially_filled_total", {}, 2),
    ("live_orders_filled_total", {}, 7),
    ("live_orders_cancelled_total", {}, 1),
    ("live_orders_expired_total", {}, 0),
    ("live_broker_rejected_total", {}, 1),
    ("live_order_errors_total", {}, 1),
    ("live_queue_observations_total", {}, 7),
    ("live_rejection_rate", {}, 0.125),
    ("live_average_ack_latency_ms", {}, 1.5),
    ("live_average_fill_latency_ms", {}, 2.5),
    ("live_average_signed_slippage_bps", {}, -3.5),
    ("live_average_absolute_slippage_bps", {}, 4.5),
    ("live_average_effective_spread_bps", {}, 5.5),
    ("live_average_queue_position", {}, 6.5),
    ("live_average_queue_delay_error_ms", {}, math.nan),
    ("venue_average_fill_latency_ms", {"venue": "sim"}, 2.5),
    ("venue_average_effective_spread_bps", {"venue": "sim"}, math.nan),
    ("data_age_ms", {"symbol": "SPY"}, 30.0),
    ("data_age_ms", {"symbol": "QQQ"}, math.nan),
    ("data_age_limit_ms", {"symbol": "SPY"}, 125_000.0),
    ("data_stale", {"symbol": "QQQ"}, 1),
    ("symbol_held_back", {"symbol": "SPY"}, 1),
    ("position_units", {"symbol": "SPY"}, 5.0),
    ("symbol_fills_total", {"symbol": "SPY", "venue": "sim"}, 8),
    ("trading_state", {"state": "active"}, 0),
    ("trading_state", {"state": "reducing"}, 1),
    ("trading_state", {"state": "halted"}, 0),
    ("session_phase", {"phase": "running"}, 1),
    ("session_info", {"run": "demo", "strategy": "Cross", "venue": "sim"}, 1),
    ("drift", {"part": "execution"}, -1.25),
    ("drift", {"part": "decisions"}, 0.5),
    ("unknown_orders", {}, 1),
    ("unknown_order_age_ms", {}, 70_000.0),
    ("reconciled_timestamp_seconds", {}, 1_704_153_600.0),
    ("reconciled_age_seconds", {}, 0.5),
    ("reconciliation_ok", {}, 0),
    ("unmatched_symbols", {}, 1),
    ("foreign_orders", {}, 2),
    ("connection_up", {}, 0),
    ("journal_events_total", {}, 100),
    ("journal_bytes", {}, 4_096),
    ("last_event_timestamp_seconds", {}, 1_704_153_600.5),
    ("limit_used_ratio", {"limit": "max_position"}, 0.25),
    ("orders_denied_total", {"check": "max_notional"}, 1),
    ("metrics_failures_total", {}, 1),
]


@pytest.mark.parametrize(("name", "labels", "expected"), VALUES)
def test_each_series_shows_its_number(name, labels, expected):
    found = value(live_metrics_to_prometheus(METRICS), name, **labels)
    assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("regime", "number"), [("bull", 0), ("neutral", 1), ("bear", 2), ("crisis", 3), ("wild", 255)]
)
def test_regimes_are_numbered(regime, number):
    text = live_metrics_to_prometheus(LiveMetrics(regime=regime))
    assert value(text, "current_regime") == number


class Holds(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=100)


def test_a_status_shows_what_it_knows_under_the_same_names():
    account = Account(0, 400.0, 1_000.0, 0.0, {"SPY": 5.0}, 3)
    shadow = msgspec.structs.replace(account, equity=1_002.0)
    twin = msgspec.structs.replace(account, equity=999.0)
    status = Status("demo", "Cross", "sim", "running", "halted", "", 1, 2, account, shadow, twin, 4)
    found = series(dashboard_snapshot_to_prometheus(status))
    known = series(live_metrics_to_prometheus(METRICS))
    assert {name for name, _ in found} <= {name for name, _ in known}
    text = dashboard_snapshot_to_prometheus(status)
    assert value(text, "equity") == 1_000.0
    assert value(text, "fills_total") == 3
    assert value(text, "trading_state", state="halted") == 1
    assert value(text, "drift", part="execution") == -2.0
    assert value(text, "drift", part="decisions") == 3.0


def test_a_session_shows_its_snapshots(tmp_path):
    frame = rf.datasets.synthetic(n=300, seed=3)
    venue = rf.venues.Simulated(frame, speed=None)
    session = rf.LiveSession(Holds, venue, run_dir=tmp_path / "run")
    new = dashboard_snapshot_to_prometheus(session)
    assert new == dashboard_snapshot_to_prometheus(session.status)
    assert "buying_power" not in new  # nothing was measured yet
    session.run(progress=False)
    for watched in (session, rf.attach(tmp_path / "run")):
        text, metrics = live_metrics_to_prometheus(watched), watched.metrics
        assert text == live_metrics_to_prometheus(metrics)
        board = series(dashboard_snapshot_to_prometheus(watched))
        for name in ("buying_power", "daily_pnl", "total_return", "drawdown", "max_drawdown"):
            assert board[f"regimeflow_{name}", ()] == getattr(metrics, name)
        assert metrics.total_return != 0.0 < metrics.max_drawdown
        assert board["regimeflow_equity", ()] == watched.status.live.equity
        known = series(dashboard_snapshot_to_prometheus(watched.status))
        assert {key: board[key] for key in known} == pytest.approx(known, nan_ok=True)


@pytest.mark.parametrize("made", [live_metrics_to_prometheus, dashboard_snapshot_to_prometheus])
@pytest.mark.parametrize("wrong", [None, 5, "runs/spy", rf.Limits()])
def test_what_has_no_snapshots_is_refused(made, wrong):
    with pytest.raises(ConfigError, match="made of a session, its status or its metrics, not of"):
        made(wrong)


HOSTILE = [
    'a"b',
    "new\nline",
    "\\",
    "\ud800",
    "\0",
    '"} 1\nregimeflow_equity 0',
    "é\U0001f600",
    "x" * 500,
    "",
]


@given(symbols=st.lists(st.one_of(st.sampled_from(HOSTILE), st.text()), unique=True))
def test_any_symbol_is_one_escaped_label(symbols):
    metrics = msgspec.structs.replace(
        METRICS,
        symbols=tuple(SymbolMetrics(s, 1.0, None, None, False, False) for s in symbols),
        fills={(s, s): 1 for s in symbols},
        denied=dict.fromkeys(symbols, 1),
    )
    found = series(live_metrics_to_prometheus(metrics))
    assert found["regimeflow_equity", ()] == 1_000.5
    held = [v for (name, _), v in found.items() if name == "regimeflow_position_units"]
    assert sum(held) == len(symbols)


def test_a_plain_hostile_symbol_comes_back_as_it_is():
    symbol = 'A"\\\n'
    metrics = msgspec.structs.replace(
        METRICS, symbols=(SymbolMetrics(symbol, 2.0, 1.0, 1.0, False, False),)
    )
    assert value(live_metrics_to_prometheus(metrics), "position_units", symbol=symbol) == 2.0


def test_labels_are_bounded_and_the_rest_is_one_series():
    many = tuple(SymbolMetrics(f"S{n}", 1.0, float(n), None, n == 999, False) for n in range(1_000))
    text = live_metrics_to_prometheus(msgspec.structs.replace(METRICS, symbols=many))
    held = {key: v for key, v in series(text).items() if key[0] == "regimeflow_position_units"}
    assert len(held) == MOST_NAMES + 1
    assert value(text, "position_units", symbol=OTHER) == 1_000 - MOST_NAMES
    assert value(text, "data_age_ms", symbol=OTHER) == 999.0  # the worst of them
    assert value(text, "data_stale", symbol=OTHER) == 1


def test_the_global_registry_stays_as_it_was():
    before = {metric.name for metric in REGISTRY.collect()}
    with Exporter(lambda: METRICS), Exporter(lambda: METRICS):
        pass
    assert {metric.name for metric in REGISTRY.collect()} == before
    assert not any(name.startswith("regimeflow") for name in before)


# ---------------------------------------------------------------- over sockets


@pytest.fixture
def exporter():
    with Exporter(lambda: METRICS, timeout_s=2.0, most=4) as exporter:
        yield exporter


def get(exporter, path="/metrics", host="localhost", method="GET", body=None):
    connection = http.client.HTTPConnection(exporter.host, exporter.port, timeout=10)
    try:
        connection.request(method, path, body, {"Host": host})
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def raw(exporter, data):
    """Return what comes back, until the other side closes."""
    with socket.create_connection((exporter.host, exporter.port), timeout=10) as sock:
        sock.sendall(data)
        return drained(sock)


def drained(sock):
    answer = b""
    try:
        while chunk := sock.recv(65_536):
            answer += chunk
    except ConnectionResetError:
        pass  # cut off
    return answer


def test_a_scrape_gets_the_text(exporter):
    status, text, headers = get(exporter)
    assert status == 200
    assert text == live_metrics_to_prometheus(METRICS)
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert headers["Connection"] == "close"
    assert get(exporter, "/metrics?name[]=x")[0] == 200


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9090", "127.0.0.1", "[::1]", "[::1]:9090"]
)
def test_these_hosts_are_served(exporter, host):
    assert get(exporter, host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil", "", "[::2]", "0"]
)
def test_any_other_host_is_not(exporter, host):
    status, text, _ = get(exporter, host=host)
    assert status == 403
    assert "regimeflow" not in text


def test_a_name_that_was_given_is_served_too():
    with Exporter(lambda: METRICS, hosts=["Metrics.example"]) as exporter:
        assert get(exporter, host="metrics.example:9090")[0] == 200


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "get"])
def test_only_get_is_served(exporter, method):
    status, text, headers = get(
        exporter, method=method, body="x" * 5_000 if method == "POST" else None
    )
    assert status == 405
    assert headers["Allow"] == "GET"
    assert "regimeflow" not in text


#: What a client sends, and how the answer begins.
RAW = [
    (b"GET /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 403"),
    (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 403"),
    (b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 200"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 404"),
    (b"GET /metrics/../secret HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 404"),
    (b"GET http://evil/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 404"),
    (b"GET /metrics\r\n\r\n", b"HTTP/1.1 400"),
    (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"HTTP/1.1 400"),
    (b"\x00" * 100 + b"\r\n\r\n", b"HTTP/1.1 400"),
    (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 9_000 + b"\r\n\r\n", b"HTTP/1.1 431"),
    (b"A" * 100_000, b"HTTP/1.1 431"),
]


@pytest.mark.parametrize(("sent", "answer"), RAW, ids=[str(n) for n in range(len(RAW))])
def test_whatever_is_sent_is_answered_or_cut_off(exporter, sent, answer):
    assert raw(exporter, sent).startswith(answer)
    assert get(exporter)[0] == 200


def test_a_client_that_ends_early_does_no_harm(exporter):
    with socket.create_connection((exporter.host, exporter.port), timeout=10) as sock:
        sock.sendall(b"GET /met")
        sock.shutdown(socket.SHUT_WR)
        assert drained(sock).startswith(b"HTTP/1.1 400")
    assert get(exporter)[0] == 200


def test_a_client_that_dawdles_is_cut_off_and_hinders_nobody():
    with (
        Exporter(lambda: METRICS, timeout_s=0.2, most=4) as exporter,
        socket.create_connection((exporter.host, exporter.port), timeout=10) as slow,
    ):
        slow.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert get(exporter)[0] == 200
        assert drained(slow) == b""  # closed by the other side


def test_the_oldest_goes_when_there_are_too_many(exporter):
    held = []
    try:
        for _ in range(200):
            held.append(socket.create_connection((exporter.host, exporter.port), timeout=10))
            held[-1].sendall(b"GET")
        assert get(exporter)[0] == 200
        assert drained(held[0]) == b""
    finally:
        for sock in held:
            sock.close()


def test_a_text_is_made_once_a_second_at_most():
    made = []

    def source():
        made.append(time.monotonic())
        return METRICS

    with Exporter(source) as exporter:
        began = time.monotonic()
        for _ in range(20):
            assert get(exporter)[0] == 200
        took = time.monotonic() - began
    assert 1 <= len(made) <= 1 + int(took)


def test_a_source_that_raises_is_told_without_its_words():
    def broken():
        raise ValueError("password=hunter2")

    with Exporter(broken) as exporter:
        status, text, _ = get(exporter)
    assert status == 500
    assert text == "the metrics could not be made: ValueError\n"


def test_a_port_in_use_is_one_clear_error(exporter):
    with pytest.raises(
        ConfigError, match=f"port {exporter.port} of 127.0.0.1 .*choose another port"
    ):
        Exporter(lambda: METRICS, port=exporter.port).start()
    assert get(exporter)[0] == 200


@pytest.mark.parametrize(
    "wrong",
    [{"port": -1}, {"port": 70_000}, {"port": "9090"}, {"port": True}, {"path": "metrics"},
     {"path": "/a b"}, {"path": "/a\r\nX: y"}, {"host": ""}],
    ids=str,
)  # fmt: skip
def test_a_wrong_address_is_named(wrong):
    with pytest.raises(ConfigError, match="metrics"):
        Exporter(lambda: METRICS, **wrong)


@pytest.mark.parametrize("host", ["256.0.0.1", "no such host", "\0"])
def test_an_address_that_is_none_is_named(host):
    with pytest.raises(ConfigError, match="cannot listen"):
        Exporter(lambda: METRICS, host=host).start()


def test_started_twice_stopped_twice_and_started_again():
    exporter = Exporter(lambda: METRICS)
    try:
        assert exporter.start() is exporter
        port = exporter.port
        assert exporter.start().port == port
        other = Exporter(lambda: METRICS).start()
        assert other.port != port
        other.stop()
        assert get(exporter)[0] == 200
        exporter.stop()
        exporter.stop()
        assert "stopped" in repr(exporter)
        assert get(exporter.start())[0] == 200
    finally:
        exporter.stop()


def test_it_leaves_no_thread_and_no_descriptor():
    def descriptors():
        return len(os.listdir("/dev/fd"))

    with Exporter(lambda: METRICS) as exporter:  # what the first one loads stays
        get(exporter)
    threads, files = threading.active_count(), descriptors()
    for _ in range(3):
        with Exporter(lambda: METRICS, port=exporter.port) as again:  # the same port, at once
            dawdling = socket.create_connection((again.host, again.port), timeout=10)
            get(again)
        assert drained(dawdling) == b""
        dawdling.close()
    assert (threading.active_count(), descriptors()) == (threads, files)


def test_stopped_in_the_middle_of_a_flood_it_ends_without_a_word(caplog):
    threads = threading.active_count()
    held = []
    try:
        for _ in range(3):
            with Exporter(lambda: METRICS) as exporter:
                for _ in range(100):
                    held.append(
                        socket.create_connection((exporter.host, exporter.port), timeout=10)
                    )
                    held[-1].send(b"GET")
    finally:
        for sock in held:
            sock.close()
    assert threading.active_count() == threads
    assert not caplog.records


class Buys(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=10 if bar.close > bar.open else 0)


def test_a_session_is_scraped_while_it_runs(tmp_path):
    venue = rf.venues.Simulated(rf.datasets.synthetic(n=800, seed=3), speed=None)
    session = rf.LiveSession(Buys(), venue, run_dir=tmp_path / "run")
    with Exporter(lambda: session.metrics) as exporter:
        session.start()
        status, text, _ = get(exporter)
        assert status == 200
        assert value(text, "session_phase", phase="failed") == 0
        session.wait()
    text = live_metrics_to_prometheus(session.metrics)
    assert value(text, "session_phase", phase="stopped") == 1
    assert value(text, "equity") == pytest.approx(session.account.equity)
    assert value(text, "fills_total") == len(session.fills)
    assert value(text, "drift", part="execution") == 0.0
    assert rf.certify(tmp_path / "run").identical
