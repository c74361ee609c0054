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
    if row.memory:
        print(json.dumps({"items": work.items, **_grown(work.run)}))
        return 0
    before = floors.measure()
    cpu_s = best(work.run, row.repeats)
    after = floors.measure()
    print(
        json.dumps(
            {
                "items": work.items,
                "us": cpu_s / work.items * 1e6,
                # The machine's pace changes under us: the better of before and after.
                "b_us": min(before[0], after[0]),
                "l_us": min(before[1], after[1]),
            }
        )
    )
    return 0


def best(run: Callable[[], object], repeats: int) -> float:
    """Return the least CPU seconds of several runs, those of all threads together."""
    least = float("inf")
    for _ in range(repeats):
        gc.collect()
        begun = time.process_time()
        kept = run()
        least = min(least, time.process_time() - begun)
        del kept
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
