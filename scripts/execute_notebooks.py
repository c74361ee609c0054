"""Execute notebooks in place, as they are committed.

    python scripts/execute_notebooks.py tutorials/01-first-strategy.ipynb ...

Outputs must come out the same on every machine: the hash seed is fixed, bars of progress are off,
and what tells of the execution itself is taken out.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def main(names: list[str]) -> None:
    """Execute the notebooks of these names; all of ``notebooks`` and ``tutorials`` without any."""
    paths = [Path(name) for name in names] or [
        *sorted((ROOT / "notebooks").glob("*.ipynb")),
        *sorted((ROOT / "tutorials").glob("*.ipynb")),
    ]
    os.environ |= {"PYTHONHASHSEED": "0", "TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT)}
    for path in paths:
        began = time.monotonic()
        notebook = execute(path)
        path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        print(f"{path.name}: {time.monotonic() - began:.1f} s, {path.stat().st_size // 1000} KB")


def execute(path: Path) -> Any:
    """Return a notebook with new outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; nothing is written then.
    """
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.resolve().parent)}}
    client = NotebookClient(
        notebook,
        timeout=300,
        startup_timeout=300,
        kernel_name="python3",
        resources=place,
        record_timing=False,
    )
    client.store_widget_state = False
    client.execute()
    notebook.metadata["kernelspec"] = KERNEL
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    return notebook


def joined(outputs: list[Any]) -> list[Any]:
    """Return outputs with what was printed in several pieces in one."""
    kept: list[Any] = []
    for output in outputs:
        last = kept[-1] if kept else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            kept.append(output)
    return kept


if __name__ == "__main__":
    main(sys.argv[1:])
