"""Live sessions: how fast they are, from the feed to the request, and how soon they are back."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks import prices

_TICKS = 100_000
_RECORDS = 1_000_000
#: The feed of the latency row.
_PER_SECOND, _SECONDS = 200, 20
#: The first ones pay for what is loaded on first use.
_FIRST = 20


def trades(folder: Path, scale: int) -> None:
    """Make the throughput row's trades."""
    prices.make(folder, "trades", _TICKS // scale, timeframe="1s")


def throughput(folder: Path, scale: int) -> tuple[Any, Any, int]:
    """Return a short session, the session, and its events."""
    items = _TICKS // scale
    data = prices.read(folder, "trades", items)

    def session(some: Any) -> None:
        import regimeflow as rf
        from benchmarks.strategies import Ewma

        shutil.rmtree(folder / "live", ignore_errors=True)
        venue = rf.venues.Simulated(some, speed=None)
        rf.LiveSession(Ewma, venue, run_dir=folder / "live").run(progress=False)

    return lambda: session(data.iloc[:2_000]), lambda: session(data), items


# ---------------------------------------------------------------- back again


def interrupted(folder: Path, scale: int) -> None:
    """Record a session of a million events and cut off its end, as a kill does."""
    run_dir = folder / "interrupted"
    if run_dir.exists():
        return
    prices.make(folder, "trades", _RECORDS // scale, timeframe="1s")
    _session_of(folder, scale).run(progress=False)
    last = max(run_dir.glob("journal-*.jsonl"))
    lines = last.read_bytes().splitlines(keepends=True)
    last.write_bytes(b"".join(lines[:-100]))


def resume(folder: Path, scale: int) -> tuple[Any, Any, int]:
    """Return the work of taking that session up again, up to where it would trade on."""
    session = _session_of(folder, scale)

    def take_up() -> Any:
        session.start()
        session.pause("taken up")
        return session

    return lambda: None, take_up, _RECORDS // scale


def _session_of(folder: Path, scale: int) -> Any:
    import regimeflow as rf
    from benchmarks.strategies import Ewma

    venue = rf.venues.Simulated(prices.read(folder, "trades", _RECORDS // scale), speed=None)
    return rf.LiveSession(Ewma, venue, run_dir=folder / "interrupted")


# ---------------------------------------------------------------- from the feed to the request


def no_data(folder: Path, scale: int) -> None:
    """The exchange makes its own prices."""


def latency(folder: Path, scale: int) -> tuple[Any, Any, int]:
    """Return the work of a session on an exchange in this process, with a tick every 5 ms."""
    return lambda: None, lambda: latencies(folder / "paced", ticks(scale)), ticks(scale)


def ticks(scale: int) -> int:
    """Return how many there are."""
    return _PER_SECOND * _SECONDS // scale


def latencies(run_dir: Path, count: int, dashboards: int = 0) -> dict[str, float]:
    """Return how long requests took from the feed, while so many dashboards are looked at."""
    import regimeflow as rf
    from benchmarks.strategies import EveryFourth
    from regimeflow.journal import Disk
    from regimeflow.sandbox.exchange import Exchange

    clock = time.perf_counter_ns
    told: dict[str, int] = {}
    syncs: list[tuple[int, int]] = []
    requests: list[tuple[float, float]] = []
    subscribed = threading.Event()

    class Timed(Disk):
        def sync(self, fd: int) -> None:
            begun = clock()
            super().sync(fd)
            syncs.append((begun, clock()))

    class Stamped(Exchange):
        def subscribe(self, symbols: Any, timeframe: int) -> None:
            super().subscribe(symbols, timeframe)
            subscribed.set()

        def submit(self, order: Any) -> Any:
            now, begun = clock(), told[order.tag]
            (first, last) = next(s for s in reversed(syncs) if s[0] >= begun)
            requests.append((now - begun - (last - first), last - begun))
            return super().submit(order)

    shutil.rmtree(run_dir, ignore_errors=True)
    exchange = Stamped(time.time_ns, ("AAA",), cash=1e9)
    limits = rf.Limits(duplicate_window_ms=0.0)  # fifty orders a second are much alike
    session = rf.LiveSession(
        EveryFourth, exchange, symbols="AAA", run_dir=run_dir, disk=Timed(), limits=limits
    )
    session.start()
    subscribed.wait(30.0)
    shown = [_shown(session) for _ in range(dashboards)]
    emit = exchange._say

    def stamped(said: Any) -> None:
        told.setdefault(str(getattr(said, "ts", 0)), clock())
        emit(said)

    exchange._say = stamped  # type: ignore[method-assign]
    due = time.perf_counter()
    for number in range(count):
        due += 1 / _PER_SECOND
        time.sleep(max(0.0, due - time.perf_counter()))
        exchange.tick("AAA", 100.0 + number % 7 / 100)
    for pump in shown:
        pump.stop()
    session.stop()
    plain = sorted(one for one, _ in requests[_FIRST:])
    durable = sorted(one for _, one in requests[_FIRST:])
    return {
        "requests": len(plain),
        "p50_us": plain[len(plain) // 2] / 1e3,
        "p99_us": plain[len(plain) * 99 // 100] / 1e3,
        "durable_p99_ms": durable[len(durable) * 99 // 100] / 1e6,
    }


def _shown(session: Any) -> Any:
    """Return a dashboard's pump with a page that has asked for it."""
    from regimeflow.widgets.board import Board
    from regimeflow.widgets.panel import Panel
    from regimeflow.widgets.pump import Pump

    pump = Pump([Board(session)], Panel(lambda content: None), lambda: None)
    pump.start()
    pump.hear({"kind": "hello"})
    return pump
