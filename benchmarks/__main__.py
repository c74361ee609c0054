"""Measure the rows and print the table; ``--write PAGE`` also puts it into a page of the docs."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.rows import ROWS, Row


def main() -> int:
    """Measure each row in a fresh process and print the table."""
    arguments = _arguments()
    names = arguments.rows or [r.name for r in ROWS.values() if arguments.peers or not r.peer]
    with tempfile.TemporaryDirectory(prefix="regimeflow-bench-") as folder:
        measured = {}
        for name in tqdm(names, desc="benchmarks", unit="row", file=sys.stderr, leave=False):
            measured[name] = _measure(name, Path(folder), arguments.quick)
    table = _table(measured, arguments.quick)
    print("\n".join(table))
    if arguments.write:
        _put(arguments.write, table)
    return 0


#: Between these lines of a page stands the table.
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


def _put(page: Path, table: list[str]) -> None:
    head, begin, rest = page.read_text().partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not (begin and end):
        sys.exit(f"{page} has no lines {_BEGIN} and {_END} to put the table between")
    page.write_text("\n".join([head + begin, "", *table, "", end + tail]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    parser.add_argument("--peers", action="store_true", help="other libraries on the same data too")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table there too")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.rows if name not in ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]!r}: choose from {', '.join(ROWS)}")
    return arguments


def _measure(name: str, folder: Path, quick: bool) -> dict[str, Any]:
    """Return what a row measured; its data is made by a process before it."""
    options = ["--quick"] if quick else []
    for step in ("prepare", "measure"):
        command = [sys.executable, "-m", "benchmarks.measure", step, name, str(folder), *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            return {"error": f"{step} failed"}
    return dict(json.loads(done.stdout))


def _table(measured: dict[str, dict[str, Any]], quick: bool) -> list[str]:
    lines = [
        f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores"
        + (", a tenth of the sizes" if quick else "")
        + "; us: CPU per item, the best of several runs; B and L: multiples of the floors.",
        "",
        "| work | items | us | B | L | to reach | |",
        "|---|---:|---:|---:|---:|---|---|",
    ]
    lines += [_line(ROWS[name], values) for name, values in measured.items()]
    floors = [v for v in measured.values() if "b_us" in v]
    if floors:
        b = sorted(v["b_us"] for v in floors)
        low = sorted(v["l_us"] for v in floors)
        span = f"B {b[0]:.3f} to {b[-1]:.3f} us, L {low[0]:.3f} to {low[-1]:.3f} us"
        lines += ["", f"The floors, measured in each row's own process: {span}."]
    return lines


def _line(row: Row, values: dict[str, Any]) -> str:
    if "error" in values:
        return f"| {row.title} | | {values['error']} | | | {row.target} | |"
    items = f"{values['items']:,}"
    if "us" not in values:
        shown = ", ".join(f"{values[key]:,.1f} {unit}" for key, unit in row.shows)
        return f"| {row.title} | {items} | {shown} | | | {row.target} | {_verdict(row, values)} |"
    b, low = values["us"] / values["b_us"], values["us"] / values["l_us"]
    return (
        f"| {row.title} | {items} | {values['us']:.2f} | {b:.1f} | {low:.1f} | {row.target} "
        f"| {_verdict(row, values)} |"
    )


def _verdict(row: Row, values: dict[str, Any]) -> str:
    """Say whether the target is reached, in the unit that it is given in."""
    for key, most in row.limits:
        if key in ("B", "L"):
            value = values["us"] / values[f"{key.lower()}_us"]
        else:
            value = values[key]
        if value > most:
            return f"{value / most:.2f} x over"
    return "reached" if row.limits else ""


if __name__ == "__main__":
    sys.exit(main())
