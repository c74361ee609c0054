"""A tutorial as its reader runs it: every cell, in JupyterLab, on this machine alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "tutorials" / "06-live-on-a-sandbox.ipynb"


def test_a_tutorial_runs_from_top_to_bottom(lab, notebook):
    shutil.copy(TUTORIAL, lab.root)
    shutil.copy(TUTORIAL.parent / "answers.py", lab.root)
    cells = json.loads(TUTORIAL.read_text())["cells"]
    shown = next(i for i, cell in enumerate(cells) if cell["source"] == ["rf.Dashboard(session)"])
    book = notebook(TUTORIAL.name)
    for place in range(shown + 1):
        book.run(place)
    book.page.wait_for_selector(".rf-board")
    for theme in ("Dark", "Light"):
        book.theme(f"JupyterLab {theme}")
        book.shot(f"tutorial-{theme.lower()}")
    for place in range(shown + 1, len(cells)):
        book.run(place)
    book.until("() => !document.querySelector('.rf-board')")
    saved = book.saved()["cells"]
    outputs = [output for cell in saved for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert [sorted(output["data"]) for output in saved[shown]["outputs"]] == [
        ["image/png", "text/html", "text/plain"]
    ]
    printed = "".join("".join(output.get("text", "")) for output in outputs)
    assert printed.count(": right\n") == 2
    assert not book.complaints
