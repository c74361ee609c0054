"""Live sessions: how fast they are, from the feed to the request, and how soon they are back."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks import floors, prices

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


def resume(folder: Path, scale: int, *, snapshots: bool) -> tuple[Any, Any, int]:
    """Return the work of taking that session up again, up to where it would trade on.

    Args:
        folder, scale: where it lies, and how large it is.
        snapshots: whether its snapshots are there to begin from.
    """
    run_dir = folder / "taken-up"
    shutil.rmtree(run_dir, ignore_errors=True)
    shutil.copytree(folder / "interrupted", run_dir)
    if not snapshots:
        for path in run_dir.glob("snapshot-*.pkl"):
            path.unlink()
    session = _session_of(folder, scale, run_dir)

    def take_up() -> Any:
        session.start()
        session.pause("taken up")
        return session

    return lambda: None, take_up, _RECORDS // scale


def _session_of(folder: Path, scale: int, run_dir: Path | None = None) -> Any:
    import regimeflow as rf
    from benchmarks.strategies import Ewma

    venue = rf.venues.Simulated(prices.read(folder, "trades", _RECORDS // scale), speed=None)
    return rf.LiveSession(Ewma, venue, run_dir=run_dir or folder / "interrupted")


# ---------------------------------------------------------------- from the feed to the request


def no_data(folder: Path, scale: int) -> None:
    """The exchange makes its own prices."""


def latency(folder: Path, scale: int, *, detached: bool) -> tuple[Any, Any, int]:
    """Return the work of a session on an exchange in its own process, with a tick every 5 ms.

    Args:
        folder, scale: where it goes, and how long it takes.
        detached: whether that is a process of its own, or this one.
    """
    count = ticks(scale)
    return lambda: None, lambda: _beside_the_floor(folder / "paced", count, detached), count


def _beside_the_floor(run_dir: Path, count: int, detached: bool) -> dict[str, float]:
    """Return how long requests took, and two bare hand-overs right before and after them."""
    bare = floors.handovers(count // 4, _PER_SECOND)
    found = latencies(run_dir, count, detached=detached)
    bare = sorted(bare + floors.handovers(count // 4, _PER_SECOND))
    return {**found, "bare_us": bare[len(bare) * 99 // 100] / 1e3}


def ticks(scale: int) -> int:
    """Return how many there are."""
    return _PER_SECOND * _SECONDS // scale


def latencies(
    run_dir: Path, count: int, dashboards: int = 0, *, detached: bool = False
) -> dict[str, float]:
    """Return how long requests took from the inbox, while so many dashboards are looked at."""
    import regimeflow as rf
    from benchmarks.paced import Paced, TimedDisk
    from benchmarks.strategies import EveryFourth

    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.with_suffix(".json").unlink(missing_ok=True)
    disk = TimedDisk()
    exchange = Paced(disk, count, _PER_SECOND, run_dir.with_suffix(".json"))
    limits = rf.Limits(duplicate_window_ms=0.0)  # fifty orders a second are much alike
    session = rf.LiveSession(
        EveryFourth, exchange, symbols="AAA", run_dir=run_dir, disk=disk, limits=limits
    )
    session.start(detached=detached)
    shown = [_shown(session) for _ in range(dashboards)]
    while not run_dir.with_suffix(".json").exists():
        time.sleep(0.2)
    for dashboard in shown:
        dashboard.close()
    session.stop()
    requests = json.loads(run_dir.with_suffix(".json").read_text())[_FIRST:]
    plain, durable = (sorted(column) for column in zip(*requests, strict=True))
    return {
        "requests": len(plain),
        "p50_us": plain[len(plain) // 2] / 1e3,
        "p99_us": plain[len(plain) * 99 // 100] / 1e3,
        "durable_p99_ms": durable[len(durable) * 99 // 100] / 1e6,
    }


def _shown(session: Any) -> Any:
    """Return a dashboard, as a cell makes one, with a page that has asked for it."""
    import regimeflow as rf

    dashboard = rf.Dashboard(session)
    dashboard.panel._on_page(None, {"kind": "hello"}, [])
    return dashboard
