"""Notebooks are committed executed, small, and without a trace of who executed them.

A notebook with cleared outputs would pass a comparison of outputs, for want of outputs to compare.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))

#: Paths of a machine, and what looks like a key; base64 pictures are left out before looking.
_TRACES = re.compile(
    r"/(?:work|root|home|tmp|Users|private)/"
    r"|[A-Za-z]:\\\\Users"
    r"|(?i:api[_-]?key|secret|passwo?r?d|token)\s*[=:]\s*['\"]?\w{8,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bPK[A-Z0-9]{18}\b|-----BEGIN"
)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def _read(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def _code(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in _read(path)["cells"] if cell["cell_type"] == "code"]


def _texts(path: Path) -> Iterator[str]:
    """Yield sources and outputs that a reader sees as text."""
    for cell in _read(path)["cells"]:
        yield "".join(cell["source"])
        for output in cell.get("outputs", ()):
            yield "".join(output.get("text", ""))
            for kind, data in output.get("data", {}).items():
                if not kind.startswith("image/"):
                    yield "".join(data) if isinstance(data, list) else json.dumps(data)


def test_there_is_a_notebook() -> None:
    assert "research_to_live.ipynb" in [path.name for path in NOTEBOOKS]


@each_notebook
def test_it_was_run_from_top_to_bottom(path: Path) -> None:
    counts = [cell["execution_count"] for cell in _code(path)]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_no_cell_failed(path: Path) -> None:
    kinds = {output["output_type"] for cell in _code(path) for output in cell["outputs"]}
    assert "error" not in kinds
    noise = [
        "".join(output["text"])
        for cell in _code(path)
        for output in cell["outputs"]
        if output["output_type"] == "stream" and output["name"] == "stderr"
    ]
    assert not noise


@each_notebook
def test_it_tells_nothing_of_its_author(path: Path) -> None:
    found = [hit.group() for text in _texts(path) for hit in _TRACES.finditer(text)]
    assert not found


@each_notebook
def test_it_is_small_and_needs_no_kernel_to_be_read(path: Path) -> None:
    assert path.stat().st_size < 400_000
    # Saved widget state is large and shows nothing without a kernel.
    assert "widgets" not in _read(path)["metadata"]
    kinds = {
        kind
        for cell in _code(path)
        for output in cell["outputs"]
        for kind in output.get("data", {})
    }
    assert not {kind for kind in kinds if "widget" in kind or "javascript" in kind}


@each_notebook
def test_it_opens_without_a_question_about_the_kernel(path: Path) -> None:
    assert _read(path)["metadata"]["kernelspec"]["name"] == "python3"


@each_notebook
def test_cells_whose_output_is_not_compared_are_few(path: Path) -> None:
    tags = [cell["metadata"].get("tags", []) for cell in _code(path)]
    assert sum("nbval-skip" in tag for tag in tags) == 0
    assert sum("nbval-ignore-output" in tag for tag in tags) <= len(tags) // 2


def test_the_tour_ends_in_both_verdicts() -> None:
    shown = "\n".join(_texts(ROOT / "notebooks" / "research_to_live.ipynb"))
    assert "IDENTICAL (" in shown
    assert "DIFFERENT at event" in shown
    assert "parameter fast was 50 and is 40" in shown
