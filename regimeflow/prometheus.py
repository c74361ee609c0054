"""A session's metrics for Prometheus: as text, and served on loopback.

The exporter has a thread and an event loop of its own, and a registry of its own for each text. It
reads snapshots that the session made: whatever is done to it, the engine does not notice.
"""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, Self, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from regimeflow.errors import ConfigError
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.session.metrics import MOST_NAMES, OTHER, LiveMetrics, Quality, VenueQuality
from regimeflow.session.status import Status

REGIMES = {"bull": 0, "neutral": 1, "bear": 2, "crisis": 3}
CUSTOM_REGIME = 255

_STATES = ("active", "reducing", "halted", "ended")
_PHASES = ("new", "running", "stopped", "failed")
_LONGEST_LABEL = 100

T = TypeVar("T")
Number = float | int | bool | None
Rows = Iterable[tuple[tuple[str, ...], Number]]


# ---------------------------------------------------------------- text


class Watched(Protocol):
    """What can be asked for its snapshots, such as a session."""

    @property
    def status(self) -> Status: ...
    @property
    def metrics(self) -> LiveMetrics: ...


def live_metrics_to_prometheus(metrics: LiveMetrics | Watched) -> str:
    """Return a snapshot in Prometheus' text format; what is unknown is NaN.

    Args:
        metrics: ``session.metrics``, or the session itself.

    Raises:
        ConfigError: it is neither.
    """
    if not isinstance(metrics, LiveMetrics):
        metrics = _asked(metrics, "metrics", LiveMetrics)
    return _text(
        [
            *_money(metrics),
            *_trading(metrics),
            *_process(metrics),
            *_orders(metrics),
            *_quality(metrics.quality),
            *_symbols(metrics),
            *_venue(metrics),
        ]
    )


def dashboard_snapshot_to_prometheus(snapshot: Status | Watched) -> str:
    """Return a session's status in Prometheus' text format: as much as a status knows.

    Args:
        snapshot: ``session.status``; or the session itself, which also knows buying power, the
            day's profit, its return and its deepest drawdown.

    Raises:
        ConfigError: it is neither.
    """
    more: list[Metric] = []
    if not isinstance(snapshot, Status):
        measured = _asked(snapshot, "metrics", LiveMetrics)
        snapshot = _asked(snapshot, "status", Status)
        # Before the first event nothing is measured.
        more = [*_returns(measured)] if measured.time else []
    live, shadow, twin = snapshot.live, snapshot.shadow, snapshot.twin
    return _text(
        [
            _gauge("equity", "Cash plus positions at last prices, money.", live.equity),
            _gauge("cash", "Cash, money.", live.cash),
            *more,
            _gauge("open_orders", "Orders that can still fill.", snapshot.working),
            _gauge("positions", "Symbols held.", len(live.positions)),
            _counter("fills", "Executions booked.", live.fills),
            *_session(snapshot.run, snapshot.strategy, snapshot.venue),
            *_one_hots(snapshot.state, snapshot.phase),
            _drift(live.equity - shadow.equity, shadow.equity - twin.equity),
        ]
    )


def _asked(watched: object, name: str, kind: type[T]) -> T:
    """Return a snapshot that something has, such as a session."""
    found = getattr(watched, name, None)
    if not isinstance(found, kind):
        raise ConfigError(
            f"metrics are made of a session, its status or its metrics, not of {watched!r}"
        )
    return found


def _money(m: LiveMetrics) -> Iterator[Metric]:
    yield _gauge("equity", "Cash plus positions at last prices, money.", m.equity)
    yield _gauge("cash", "Cash, money.", m.cash)
    yield from _returns(m)
    yield _gauge("open_orders", "Orders that can still fill.", m.open_orders)
    yield _gauge("positions", "Symbols held.", m.positions)
    yield _counter("fills", "Executions booked.", m.executions)
    yield _drift(m.drift_execution, m.drift_decisions)


def _returns(m: LiveMetrics) -> Iterator[Metric]:
    yield _gauge("buying_power", "What can be bought for, by the venue; else cash.", m.buying_power)
    yield _gauge("daily_pnl", "Change of equity since the session day began, money.", m.daily_pnl)
    yield _gauge("total_return", "Return since the session began, fraction.", m.total_return)
    yield _gauge("drawdown", "From the highest equity, fraction.", m.drawdown)
    yield _gauge("max_drawdown", "Deepest from the highest equity, fraction.", m.max_drawdown)


def _trading(m: LiveMetrics) -> Iterator[Metric]:
    yield from _session(m.run, m.strategy, m.venue)
    yield from _one_hots(m.state, m.phase)
    regime = REGIMES.get(m.regime, CUSTOM_REGIME)
    yield _gauge("current_regime", "0 bull, 1 neutral, 2 bear, 3 crisis, 255 custom.", regime)
    yield _labelled(
        GaugeMetricFamily,
        "limit_used_ratio",
        "Fraction of a limit that is used up.",
        ("limit",),
        (((name,), used) for name, used in m.limits_used.items()),
    )


def _process(m: LiveMetrics) -> Iterator[Metric]:
    for name, about, field in (
        ("cpu_usage_pct", "Of one core.", "cpu_pct"),
        ("memory_mb", "Resident memory.", "memory_mb"),
        ("event_loop_latency_ms", "How long the oldest waiting event waited.", "loop_lag_ms"),
        ("queue_depth", "Events that wait.", "queue"),
        ("threads", "Threads of the process.", "threads"),
        ("disk_free_mb", "Where the journal is; -1: the system would not tell.", "disk_free_mb"),
    ):
        yield _gauge(name, about, getattr(m.health, field, None))
    yield _gauge("journal_bytes", "What the journal takes on the disk.", m.journal_bytes)
    yield _counter("journal_events", "Events in the journal.", m.journal_events)
    yield _gauge("last_event_timestamp_seconds", "When the last event was let in.", _unix(m.time))
    yield _counter("metrics_failures", "Snapshots that could not be made.", m.failures)


def _orders(m: LiveMetrics) -> Iterator[Metric]:
    o = m.orders
    yield _counter("live_orders_submitted", "Orders asked for.", o.submitted)
    yield _counter("live_submit_rejected", "Orders that never left.", o.submit_rejected)
    yield _counter("live_broker_rejected", "Orders the venue refused.", o.broker_rejected)
    yield _counter("live_orders_acknowledged", "Orders the venue has.", o.acknowledged)
    yield _counter("live_orders_partially_filled", "Left incomplete.", o.partially_filled)
    yield _counter("live_orders_filled", "Orders filled in full.", o.filled)
    yield _counter("live_orders_cancelled", "Orders canceled.", o.cancelled)
    yield _counter("live_orders_expired", "Orders expired.", o.expired)
    yield _counter("live_order_errors", "Orders whose fate was unknown for a while.", o.errored)
    yield _gauge("unknown_orders", "Orders whose fate is unknown now.", m.unknown_orders)
    yield _gauge("unknown_order_age_ms", "For how long the oldest of them is.", m.unknown_age_ms)
    yield _labelled(
        CounterMetricFamily,
        "orders_denied",
        "Intents that a check stopped.",
        ("check",),
        (((check,), count) for check, count in m.denied.items()),
    )


def _quality(q: Quality | None) -> Iterator[Metric]:
    about = "Weighted by quantity; a cost is positive."
    refused = None if q is None else q.rejection_rate
    yield _gauge("live_rejection_rate", "Refused, of orders asked for.", refused)
    for name in _AVERAGES:
        yield _gauge(f"live_{name}", about, getattr(q, name, None))
    observed = 0 if q is None else q.queue_observations
    yield _counter("live_queue_observations", "Fills behind the queue averages.", observed)
    venues: Sequence[VenueQuality] = () if q is None else q.venue_summaries
    for name in _VENUE_AVERAGES:
        rows = [((venue.venue,), getattr(venue, name)) for venue in venues]
        yield _labelled(GaugeMetricFamily, f"venue_{name}", about, ("venue",), rows, _most)


def _symbols(m: LiveMetrics) -> Iterator[Metric]:
    for name, about, value in (
        ("data_age_ms", "Since the source made its newest data.", "data_age_ms"),
        ("data_age_limit_ms", "How old they may be, in session time.", "data_limit_ms"),
        ("data_stale", "Whether they were found too old.", "stale"),
        ("symbol_held_back", "Whether only exits may leave.", "held_back"),
    ):
        rows = [((one.symbol,), getattr(one, value)) for one in m.symbols]
        yield _labelled(GaugeMetricFamily, name, about, ("symbol",), rows, _most)
    held = [((one.symbol,), one.position) for one in m.symbols]
    about = "Units held, negative when short."
    yield _labelled(GaugeMetricFamily, "position_units", about, ("symbol",), held)
    yield _labelled(
        CounterMetricFamily, "symbol_fills", "Fills.", ("symbol", "venue"), m.fills.items()
    )


def _venue(m: LiveMetrics) -> Iterator[Metric]:
    yield _gauge("connection_up", "Whether the venue can be reached.", m.connected)
    yield _gauge("clock_skew_ms", "Its clock less ours, when last asked.", m.clock_skew_ms)
    at = _unix(m.reconciled_at) if m.reconciled_at else None
    yield _gauge("reconciled_timestamp_seconds", "When the books were last compared.", at)
    age = (m.time - m.reconciled_at) / NS_PER_SECOND if m.reconciled_at else None
    yield _gauge("reconciled_age_seconds", "Since then, at the last event.", age)
    yield _gauge("reconciliation_ok", "Whether they agreed then.", m.reconciled_ok)
    yield _gauge("unmatched_symbols", "Symbols that no event explains.", m.unmatched)
    yield _gauge("foreign_orders", "Orders on the account that are not ours.", m.foreign_orders)


_AVERAGES = (
    "average_ack_latency_ms", "average_fill_latency_ms", "average_signed_slippage_bps",
    "average_absolute_slippage_bps", "average_effective_spread_bps", "average_queue_position",
    "average_queue_delay_error_ms",
)  # fmt: skip
_VENUE_AVERAGES = (
    "average_fill_latency_ms", "average_signed_slippage_bps", "average_effective_spread_bps",
)  # fmt: skip


def _session(run: str, strategy: str, venue: str) -> Iterator[Metric]:
    labels = ("run", "strategy", "venue")
    rows = [((run, strategy, venue), 1)]
    yield _labelled(GaugeMetricFamily, "session_info", "Always 1.", labels, rows)


def _one_hots(state: str, phase: str) -> Iterator[Metric]:
    for name, now, known in (
        ("trading_state", state, _STATES),
        ("session_phase", phase, _PHASES),
    ):
        label = name.rpartition("_")[2]
        rows = [((one,), one == now) for one in known]
        yield _labelled(GaugeMetricFamily, name, "1 for what holds now.", (label,), rows)


def _drift(execution: float | None, decisions: float | None) -> Metric:
    rows = [(("execution",), execution), (("decisions",), decisions)]
    about = "Money: live less shadow is execution, shadow less twin decisions."
    return _labelled(GaugeMetricFamily, "drift", about, ("part",), rows)


def _gauge(name: str, about: str, value: Number) -> Metric:
    return GaugeMetricFamily(f"regimeflow_{name}", about, value=_number(value))


def _counter(name: str, about: str, value: int) -> Metric:
    return CounterMetricFamily(f"regimeflow_{name}", about, value=value)


def _labelled(
    family: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    about: str,
    labels: tuple[str, ...],
    rows: Rows,
    merge: Callable[[Sequence[float]], float] = math.fsum,
) -> Metric:
    """Return series by label; those with one label after cleaning, or too many, are merged."""
    merged: dict[tuple[str, ...], list[float]] = {}
    for key, value in rows:
        key = tuple(map(_label, key))
        if key not in merged and len(merged) >= MOST_NAMES:
            key = (OTHER,) * len(labels)
        merged.setdefault(key, []).append(_number(value))
    made = family(f"regimeflow_{name}", about, labels=labels)
    for key, values in merged.items():
        made.add_metric(key, merge(values))
    return made


def _label(text: str) -> str:
    # Lone surrogates are no UTF-8. Quotes and line feeds are escaped by the library.
    return text.encode("utf-8", "backslashreplace").decode()[:_LONGEST_LABEL]


def _number(value: Number) -> float:
    return math.nan if value is None else float(value)


def _most(values: Sequence[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _unix(ns: int) -> float:
    return ns / NS_PER_SECOND


class _Families(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _text(families: Sequence[Metric]) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry).decode()


# ---------------------------------------------------------------- served


class Exporter:
    """Serves metrics over HTTP, by default to this machine only.

    A text is made at most once a second, from the newest snapshot; every scrape in between gets the
    same. Only GET of one path is answered, only under an expected Host, and only for as long as a
    request takes: one that dawdles is cut off, and the oldest goes when there are too many.

    Args:
        source: gives the newest snapshot, such as ``lambda: session.metrics``.
        host: address to listen on.
        port: 0 for any that is free; see `port` afterwards.
        path: where the metrics are.
        hosts: further names under which a scrape may ask, without port.
        most: connections at one time.
        timeout_s: from connecting to the end of the answer.

    Example:
        >>> with Exporter(LiveMetrics) as exporter:
        ...     exporter.url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(
        self,
        source: Callable[[], LiveMetrics],
        host: str = "127.0.0.1",
        port: int = 0,
        path: str = "/metrics",
        *,
        hosts: Sequence[str] = (),
        most: int = 16,
        timeout_s: float = 5.0,
    ) -> None:
        if not host:
            raise ConfigError("the metrics need a host to listen on, such as 127.0.0.1")
        if type(port) is not int or not 0 <= port <= 65_535:
            raise ConfigError(f"the port of the metrics must be between 0 and 65535, got {port!r}")
        if not (path.startswith("/") and path.isascii() and path.isprintable() and " " not in path):
            raise ConfigError(f"the path of the metrics must be like '/metrics', got {path!r}")
        self.host, self.path = host, path
        self._port = self._asked_port = port
        self._page = _Page(source)
        names = ("localhost", "127.0.0.1", "[::1]", _in_url(host), *hosts)
        self._server = _Server(self._page, path, frozenset(map(str.lower, names)), most, timeout_s)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> Self:
        """Begin to serve, and return at once; one that serves already goes on.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        with self._lock:
            if self._thread is None:
                listening = _listen(self.host, self._asked_port)
                self._port = int(listening.getsockname()[1])
                ready = threading.Event()
                self._thread = threading.Thread(
                    target=self._server.run,
                    args=(listening, ready),
                    name="regimeflow-metrics",
                    daemon=True,
                )
                self._thread.start()
                ready.wait()
                if self._server.error is not None:
                    self._thread = None
                    raise ConfigError(
                        f"the metrics cannot be served: {self._server.error}"
                    ) from self._server.error
        return self

    def stop(self) -> None:
        """Close every connection and end the thread; may be called twice."""
        with self._lock:
            if self._thread is not None:
                self._server.stop()
                self._thread.join()
                self._thread = None

    @property
    def port(self) -> int:
        """Port that is listened on."""
        return self._port

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return f"http://{_in_url(self.host)}:{self._port}{self.path}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Exporter {self.url}{'' if self._thread else ', stopped'}>"


class _Page:
    """The text that is served, made at most once a second."""

    def __init__(self, source: Callable[[], LiveMetrics]) -> None:
        self._source = source
        self._made_at = -math.inf
        self._answer = b""

    def answer(self) -> bytes:
        now = time.monotonic()
        if now - self._made_at >= 1.0:
            self._answer = self._make()
            self._made_at = now
        return self._answer

    def _make(self) -> bytes:
        try:
            text = live_metrics_to_prometheus(self._source())
        except Exception as error:  # the text of it might say what must not be told
            return _answer(500, f"the metrics could not be made: {type(error).__name__}\n")
        return _answer(200, text, CONTENT_TYPE_LATEST)


class _Server:
    """HTTP as far as a scrape needs it."""

    def __init__(
        self, page: _Page, path: str, hosts: frozenset[str], most: int, timeout_s: float
    ) -> None:
        self._page, self._path, self._hosts = page, path, hosts
        self._most, self._timeout_s = most, timeout_s
        self._open: dict[asyncio.Task[None], socket.socket] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self.error: OSError | None = None

    def run(self, listening: socket.socket, ready: threading.Event) -> None:
        """Serve until `stop`; in a thread of its own."""
        try:
            # On Windows the usual loop cannot wait for plain sockets.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve(listening, ready))
        except OSError as error:  # such as no descriptor left for the loop
            self.error = error
        finally:
            listening.close()
            ready.set()

    def stop(self) -> None:
        """End `run`; from another thread."""
        if self._loop is not None and self._ended is not None:
            self._loop.call_soon_threadsafe(self._ended.set)

    async def _serve(self, listening: socket.socket, ready: threading.Event) -> None:
        # Plain sockets: asyncio's own server leaves some open when it is closed under a flood.
        loop = asyncio.get_running_loop()
        self._loop, self._ended = loop, asyncio.Event()
        self._listen_to(listening)
        ready.set()
        await self._ended.wait()
        self._loop = None
        loop.remove_reader(listening)
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen_to(self, listening: socket.socket) -> None:
        if self._loop is not None:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        assert self._loop is not None  # or nobody would listen
        try:
            connection, _ = listening.accept()
        except OSError:  # gone again, or no descriptor left: not at once, it might be long
            self._loop.remove_reader(listening)
            self._loop.call_later(0.1, self._listen_to, listening)
            return
        connection.setblocking(False)
        staying = [task for task in self._open if not task.cancelling()]
        if len(staying) >= self._most:
            staying[0].cancel()
        task = self._loop.create_task(self._connected(connection))
        self._open[task] = connection
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task).close()

    async def _connected(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                await loop.sock_sendall(connection, await self._exchange(connection))
                # With bytes unread, to close first would take back the answer.
                connection.shutdown(socket.SHUT_WR)
                for _ in range(16):
                    if not await loop.sock_recv(connection, _LONGEST_REQUEST):
                        return
        except (TimeoutError, OSError):
            pass  # too slow, or gone

    async def _exchange(self, connection: socket.socket) -> bytes:
        loop, head = asyncio.get_running_loop(), b""
        while b"\r\n\r\n" not in head:
            if len(head) >= _LONGEST_REQUEST:
                return _answer(431, "the request is too long\n")
            chunk = await loop.sock_recv(connection, _LONGEST_REQUEST)
            if not chunk:
                return _answer(400, "the request is incomplete\n")
            head += chunk
        return self._answer(head.partition(b"\r\n\r\n")[0])

    def _answer(self, head: bytes) -> bytes:
        first, *lines = head.decode("latin-1").split("\r\n")
        parts = first.split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            return _answer(400, "this is not an HTTP request\n")
        hosts = [value.strip() for name, _, value in (line.partition(":") for line in lines)
                 if name.lower() == "host"]  # fmt: skip
        if len(hosts) != 1 or _without_port(hosts[0]).lower() not in self._hosts:
            return _answer(403, "this Host is not served\n")
        if parts[0] != "GET":
            return _answer(405, "only GET is served\n", more="Allow: GET\r\n")
        if parts[1].partition("?")[0] != self._path:
            return _answer(404, f"the metrics are at {self._path}\n")
        return self._page.answer()


_LONGEST_REQUEST = 8 << 10
#: Connections that the system keeps until they are accepted; fewer make a burst of clients slow.
_WAITING = 128
_REASONS: Mapping[int, str] = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
}


def _answer(
    code: int, text: str, content_type: str = "text/plain; charset=utf-8", more: str = ""
) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {code} {_REASONS[code]}\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"{more}"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + body


def _listen(host: str, port: int) -> socket.socket:
    try:
        kind, type_, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(kind, type_, proto)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"the metrics cannot listen on {host!r}: {error}") from error
    try:
        # So that a port can be had again at once; two that listen are refused all the same.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_WAITING)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"the metrics cannot listen on port {port} of {host} ({error.strerror}): "
            "choose another port, or 0 for any that is free"
        ) from error
    return listening


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
