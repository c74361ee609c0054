"""Simulated trading days: the process stays as it is, and one seed is one run."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from typing import Any

import regimeflow as rf
from regimeflow.journal import read_journal
from tests.soak.bourse import Fuse
from tests.soak.crashes import MINUTES, World
from tests.soak.outcome import Outcome
from tests.soak.sessions import Restless

EVENTS = 25_000
#: What a longer day may take more than a shorter one, bytes per event: its orders are kept.
GROWTH = 200.0


class Calm(rf.Strategy):
    """Trades now and then, so that memory is that of the events and not of the orders."""

    def on_bar(self, ctx: Any, bar: Any) -> None:
        if ctx.rng.random() < 0.002:
            ctx.target(bar.symbol, qty=float(ctx.rng.integers(-20, 20)))


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def _memory() -> int:
    """Return what the process holds in memory, bytes."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _day(seed: int, events: int, folder: Path) -> None:
    frame = rf.datasets.synthetic(n=events, seed=seed)
    venue = rf.venues.Simulated(frame, speed=None)
    rf.LiveSession(Calm(), venue, run_dir=folder, seed=seed).run(progress=False)


def flat(seed: int) -> Outcome:
    """Run a day, twice after a first one; the unit is an event.

    After a day threads and descriptors are what they were, and memory is: what one run leaves
    behind, the next would add to.
    """
    violations, counts = [], Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        _day(seed, EVENTS, Path(name, "first"))
        gc.collect()
        before = (threading.active_count(), _descriptors(), _memory())
        for turn in range(3):
            _day(seed + turn, EVENTS, Path(name, f"run{turn}"))
        gc.collect()
        after = (threading.active_count(), _descriptors(), _memory())
    for what, was, now in zip(("threads", "descriptors"), before, after, strict=False):
        if now > was:
            violations.append(f"{now} {what} after the days, {was} before")
    grown = (after[2] - before[2]) / (3 * EVENTS)
    if grown > GROWTH:
        violations.append(f"memory grew by {grown:.0f} bytes an event")
    counts["days"] = 4
    return Outcome(4 * EVENTS, violations, counts)


def same_twice(seed: int) -> Outcome:
    """Run one seed twice: the journals must be the same. The unit is a seed.

    Every other seed trades on an exchange with books of its own, in virtual time. The name of a
    run is new each time, and is left out of the comparison, as is what the process measured of
    itself.
    """
    with tempfile.TemporaryDirectory() as name:
        first, second = (_story(seed, Path(name, turn)) for turn in ("one", "two"))
    if first == second:
        return Outcome(1, [])
    pairs = enumerate(zip_longest(first, second, fillvalue="nothing"))
    place, (one, other) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
    return Outcome(1, [f"record {place} differs: {one[:300]} and {other[:300]}"])


def _story(seed: int, folder: Path) -> list[str]:
    if seed % 2:
        World(folder, seed).live(Fuse(), MINUTES)
    else:
        frame = rf.datasets.synthetic(n=300, seed=seed)
        venue = rf.venues.Simulated(frame, speed=None, latency=rf.Latency(order_ms=30, data_ms=5))
        rf.LiveSession(Restless(), venue, run_dir=folder, seed=seed).run(progress=False)
    journal = read_journal(folder)
    # Not where a record stands: a segment ends a line sooner or later by what the process measured
    # of itself, and has another name while it is not compressed.
    told = (f"{r.seq} {r.ts} {r.seen} {r.body}" for r in journal if r.kind != "health")
    return [text.replace(journal.run, "run") for text in told]
