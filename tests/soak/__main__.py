"""Run rows for hours, add up what they find by commit, and print or write the table.

    python -m tests.soak [--rows NAME ...] [--minutes N] [--write docs/reliability.md]

Results are kept in ``.cache/soak/results.json``; a run that is interrupted loses nothing and goes
on with the next seed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tests.soak.outcome import at_most
from tests.soak.rows import ROWS

RESULTS = Path(".cache/soak/results.json")
#: Between these lines of a page stands the table.
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"
#: So many violations of a row and commit are kept in words.
_KEPT = 20

Results = dict[str, dict[str, dict[str, Any]]]


def main() -> int:
    """Run the rows, and show what all runs so far have found."""
    arguments = _arguments()
    warnings.simplefilter("error")  # as in the tests
    results = _read()
    commit = _commit()
    if arguments.minutes > 0:
        with contextlib.suppress(KeyboardInterrupt):
            _run(results, commit, arguments.rows or list(ROWS), arguments.minutes)
    table = _table(results, commit)
    print("\n".join(table))
    if arguments.write:
        _put(arguments.write, table)
    found = [v for row in results.values() for v in row.get(commit, {}).get("violations", ())]
    for violation in found:
        print(violation, file=sys.stderr)
    return 1 if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--rows", nargs="+", metavar="ROW", choices=ROWS, help=", ".join(ROWS))
    parser.add_argument("--minutes", type=float, default=60.0, help="0 only prints the table")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table there too")
    return parser.parse_args()


def _run(results: Results, commit: str, names: list[str], minutes: float) -> None:
    """Try seeds of the row that had the least time, until the time is up or all goals are met."""
    began = time.monotonic()
    spent = dict.fromkeys(names, 0.0)
    with tqdm(total=int(minutes * 60), unit="s", desc="soak", file=sys.stderr) as shown:
        while (gone := time.monotonic() - began) < minutes * 60:
            shown.update(int(gone) - shown.n)
            open_ = [n for n in names if _of(results, n, commit)["tried"] < ROWS[n].goal]
            if not open_:
                break
            name = min(open_, key=lambda n: spent[n])
            shown.set_postfix_str(name)
            start = time.monotonic()
            _try(name, _of(results, name, commit))
            spent[name] += time.monotonic() - start
            _save(results)


def _try(name: str, kept: dict[str, Any]) -> None:
    seed = kept["next_seed"]
    try:
        tried, violations, counts = ROWS[name].run(seed)
    except Exception as error:
        tried, violations, counts = 1, [f"the row itself raised {error!r:.300}"], Counter()
    kept["next_seed"] = seed + 1
    kept["tried"] += tried
    kept["violated"] += len(violations)
    kept["violations"] += [f"{name}, seed {seed}: {v:.500}" for v in violations]
    del kept["violations"][_KEPT:]
    kept["counts"] = dict(Counter(kept["counts"]) + counts)


def _of(results: Results, name: str, commit: str) -> dict[str, Any]:
    nothing: dict[str, Any] = {
        "next_seed": 1_000,
        "tried": 0,
        "violated": 0,
        "violations": [],
        "counts": {},
    }  # fmt: skip  (below it are the seeds of the tests)
    return results.setdefault(name, {}).setdefault(commit, nothing)


def _read() -> Results:
    return dict(json.loads(RESULTS.read_text())) if RESULTS.exists() else {}


def _save(results: Results) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    part = RESULTS.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1, sort_keys=True))
    os.replace(part, RESULTS)


def _commit() -> str:
    """Return the last commit of the package or these rows, with a + where they differ from it."""
    what = ["regimeflow", "tests/soak"]
    names = ["git", "log", "-1", "--format=%h", "--abbrev=10", "--", *what]
    changes = ["git", "status", "--porcelain", "--", *what]
    done = [subprocess.run(c, capture_output=True, text=True, check=True) for c in (names, changes)]
    return done[0].stdout.strip() + ("+" if done[1].stdout.strip() else "")


def _table(results: Results, commit: str) -> list[str]:
    lines = [
        f"At commit `{commit}`; in brackets what earlier commits add.",
        "",
        "| row | what is tried, and what must be zero | done | goal | violations | at most, 95 % |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, row in ROWS.items():
        found = results.get(name, {})
        here = found.get(commit, {"tried": 0, "violated": 0})
        before = sum(r["tried"] for c, r in found.items() if c != commit)
        done = f"{here['tried']:,} {row.unit}" + (f" (+ {before:,})" if before else "")
        lines.append(
            f"| `{name}` | {row.title} | {done} | {row.goal:,} | {here['violated']:,} "
            f"| {at_most(here['tried'], here['violated'])} |"
        )
    lines += ["", "What happened in them:", ""]
    lines += list(_counts(results, commit))
    return lines


def _counts(results: Results, commit: str) -> Iterator[str]:
    for name in ROWS:
        counts = Counter(results.get(name, {}).get(commit, {}).get("counts", {}))
        if counts:
            shown = ", ".join(f"{what} {count:,}" for what, count in counts.most_common(12))
            more = f", and {len(counts) - 12} more" if len(counts) > 12 else ""
            yield f"- `{name}`: {shown}{more}"


def _put(page: Path, table: list[str]) -> None:
    head, begin, rest = page.read_text().partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not (begin and end):
        sys.exit(f"{page} has no lines {_BEGIN} and {_END} to put the table between")
    page.write_text("\n".join([head + begin, "", *table, "", end + tail]))


if __name__ == "__main__":
    sys.exit(main())
