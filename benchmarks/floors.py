"""The two floors: what Python itself costs for this kind of work on this machine, now."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

_BARS = 200_000
_REPEATS = 5


def measure() -> tuple[float, float]:
    """Return floors B and L, microseconds of CPU per bar."""
    closes = [100.0 + (i * 7919 % 1000) / 100 for i in range(_BARS)]
    return _mean(callback_per_bar, closes), _mean(cross_over_lists, closes)


def callback_per_bar(closes: list[float]) -> None:
    """B: a bare loop that calls an empty callback."""
    callback = _nothing
    for close in closes:
        callback(closes, close)


def cross_over_lists(closes: list[float]) -> int:
    """L: the moving-average cross 20/50 written out, without any library; returns the crossings."""
    quick = calm = 0.0
    above = False
    crossings = 0
    for i, close in enumerate(closes):
        quick += close
        calm += close
        if i >= 20:
            quick -= closes[i - 20]
        if i >= 50:
            calm -= closes[i - 50]
        if i >= 49:
            now_above = quick / 20 > calm / 50
            if now_above != above:
                above = now_above
                crossings += 1
    return crossings


def handovers(count: int, per_second: int) -> list[int]:
    """Return how long two hand-overs from thread to thread take with nothing between, in ns.

    So many threads stand between a venue's client and its request at the least: one that hears,
    one that decides, one that asks. As often as said a second, since a thread that has just been
    awake is woken sooner.
    """
    decide: queue.SimpleQueue[int] = queue.SimpleQueue()
    ask: queue.SimpleQueue[int] = queue.SimpleQueue()
    took: list[int] = []

    def decides() -> None:
        for _ in range(count):
            ask.put(decide.get())

    def asks() -> None:
        took.extend(-ask.get() + time.perf_counter_ns() for _ in range(count))

    threads = [threading.Thread(target=work, daemon=True) for work in (decides, asks)]
    for thread in threads:
        thread.start()
    due = time.perf_counter()
    for _ in range(count):
        due += 1 / per_second
        time.sleep(max(0.0, due - time.perf_counter()))
        decide.put(time.perf_counter_ns())
    for thread in threads:
        thread.join()
    return took


def _nothing(context: object, bar: object) -> None:
    pass


def _mean(work: Callable[[list[float]], object], closes: list[float]) -> float:
    # The mean, not the best: a run that takes seconds averages over the machine's pace as well.
    begun = time.process_time()
    for _ in range(_REPEATS):
        work(closes)
    return (time.process_time() - begun) / _REPEATS / len(closes) * 1e6
