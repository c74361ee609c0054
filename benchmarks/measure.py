"""One row in one process: ``python -m benchmarks.measure prepare|measure ROW FOLDER [--quick]``.

``prepare`` makes the row's data, so that the process which measures holds the data and no more.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import floors
from benchmarks.rows import ROWS


def main() -> int:
    """Prepare or measure a row; print what was measured as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("step", choices=("prepare", "measure"))
    parser.add_argument("row")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    row = ROWS[arguments.row]
    scale = 10 if arguments.quick else 1
    if arguments.step == "prepare":
        row.prepare(arguments.folder, scale)
        return 0
    work = row.work(arguments.folder, scale)
    work.warm()  # what is imported on first use is not the work's cost
    if row.alone:
        print(json.dumps({"items": work.items, **work.run()}))
        return 0
    if row.memory:
        print(json.dumps({"items": work.items, **_grown(work.run)}))
        return 0
    cpu_s, b_us, l_us = best(work.run, row.repeats)
    us = cpu_s / work.items * 1e6
    print(json.dumps({"items": work.items, "us": us, "b_us": b_us, "l_us": l_us}))
    return 0


def best(run: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Return the least CPU seconds of several runs, and the two floors around that run, in us.

    The machine's pace changes under us, by half and more: a run is compared with the floors that
    were measured right before and right after it.
    """
    least = (float("inf"), 0.0, 0.0)
    after = floors.measure()
    for _ in range(repeats):
        before = after
        gc.collect()
        begun = time.process_time()
        kept = run()
        cpu_s = time.process_time() - begun
        del kept
        after = floors.measure()
        b_us, l_us = ((one + other) / 2 for one, other in zip(before, after, strict=True))
        least = min(least, (cpu_s, b_us, l_us))
    return least


def _grown(run: Callable[[], object]) -> dict[str, float]:
    """Return CPU seconds, and by how much the process's peak memory grew, in MB."""
    gc.collect()
    begun, before = time.process_time(), _peak_mb()
    kept = run()
    grown = {"cpu_s": time.process_time() - begun, "mb": _peak_mb() - before}
    del kept
    return grown


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # macOS counts bytes


if __name__ == "__main__":
    sys.exit(main())
