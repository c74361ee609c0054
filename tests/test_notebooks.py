"""Notebooks are committed executed, small, and without a trace of who executed them.

A notebook with cleared outputs would pass a comparison of outputs, for want of outputs to compare.
"""

import base64
import io
import json
import re
import subprocess
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from PIL import Image

import regimeflow as rf

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted((ROOT / "tutorials").glob("*.ipynb"))
NOTEBOOKS = [*sorted((ROOT / "notebooks").rglob("*.ipynb")), *TUTORIALS]

#: Paths of a machine, and what looks like a key; base64 pictures are left out before looking.
_TRACES = re.compile(
    r"/(?:work|root|home|tmp|Users|private)/"
    r"|[A-Za-z]:\\\\Users"
    r"|(?i:api[_-]?key|secret|passwo?r?d|token)\s*[=:]\s*['\"]?\w{8,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bPK[A-Z0-9]{18}\b|-----BEGIN"
)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
each_tutorial = pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.name)


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
def test_it_opens_with_what_it_shows_and_how_long_it_takes(path: Path) -> None:
    first = _read(path)["cells"][0]
    text = "".join(first["source"])
    assert first["cell_type"] == "markdown"
    assert text.startswith("# ")
    assert re.search(r"\b(seconds|minutes?)\b", text), "how long does it take?"


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


def _outputs(path: Path) -> Iterator[dict[str, Any]]:
    for cell in _code(path):
        yield from cell["outputs"]


@each_notebook
def test_pictures_can_be_looked_at_on_any_page(path: Path) -> None:
    for output in _outputs(path):
        picture = output.get("data", {}).get("image/png")
        if picture is None:
            continue
        # A page that is told so would put a white block behind it.
        assert "needs_background" not in output["metadata"].get("image/png", {})
        assert "needs_background" not in output["metadata"]
        with Image.open(io.BytesIO(base64.b64decode(picture))) as shown:
            assert shown.convert("RGBA").getpixel((0, 0))[3] == 0


@each_notebook
def test_a_frozen_panel_has_all_of_its_run(path: Path) -> None:
    for output in _outputs(path):
        html = "".join(output.get("data", {}).get("text/html", ""))
        if "Fills: the last" in html and "Limits, used" in html:
            assert "equity: live solid" in html


# ---------------------------------------------------------------- tutorials


def _answers() -> ModuleType:
    spec = spec_from_file_location("answers", ROOT / "tutorials" / "answers.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _printed(path: Path) -> str:
    return "\n".join(
        "".join(output.get("text", "")) for cell in _code(path) for output in cell["outputs"]
    )


def test_tutorials_are_numbered_without_a_gap_and_lead_to_one_another() -> None:
    assert [int(path.name[:2]) for path in TUTORIALS] == list(range(1, 11))
    for path, following in pairwise(TUTORIALS):
        assert f"({following.name})" in "".join(_read(path)["cells"][-1]["source"])


@each_tutorial
def test_links_of_a_tutorial_lead_somewhere(path: Path) -> None:
    text = "\n".join("".join(cell["source"]) for cell in _read(path)["cells"])
    targets = re.findall(r"\]\(([^)#\s]+)\)", text)
    assert not [t for t in targets if "://" not in t and not (path.parent / t).exists()]


@each_tutorial
def test_each_exercise_waits_for_an_answer_and_has_a_right_one(path: Path) -> None:
    asked = re.findall(r"^### Exercise (\d+\.\d)$", "\n".join(_texts(path)), re.MULTILINE)
    printed = _printed(path)
    assert len(asked) >= 2
    for number in asked:
        assert f"{number}: put your answer in the place of the dots\n" in printed
        assert f"{number}: right\n" in printed
    assert "not yet" not in printed


@each_tutorial
def test_solutions_are_folded_away(path: Path) -> None:
    for cell in _code(path):
        answers = re.findall(r'check\("[\d.]+", ([\w.]+)', "".join(cell["source"]))
        if answers and answers != ["answer"]:
            assert cell["metadata"]["jupyter"]["source_hidden"]


def test_every_exercise_is_asked_somewhere() -> None:
    texts = "\n".join("\n".join(_texts(path)) for path in TUTORIALS)
    asked = re.findall(r"^### Exercise (\d+\.\d)$", texts, re.MULTILINE)
    assert sorted(asked, key=float) == sorted(_answers().EXERCISES, key=float)


def test_the_alert_that_is_taught_is_written_as_ours() -> None:
    rules = yaml.safe_load((ROOT / "docs" / "operations" / "alert-rules.yml").read_text())
    ours = "\n".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    taught = "\n".join(_texts(ROOT / "tutorials" / "10-headless.ipynb"))
    form = r"regimeflow_drawdown ([<>]=?) (-?[\d.]+)"
    (compared, level), *others = re.findall(form, taught)
    assert not others
    assert compared in {found for found, _ in re.findall(form, ours)}
    assert (compared, level) == (">", "0.1")


@pytest.mark.parametrize(
    ("number", "wrong", "hint"),
    [
        ("1.1", 0.24, "most stays end badly"),
        ("1.2", lambda ctx, bar: None, "Give the class itself"),
        ("2.1", "10:55", "how long is this one"),
        ("2.2", "a frame", "Give the frame"),
        ("3.1", 97.25, "fourth bar's open"),
        ("4.1", 0.0012, "In basis points"),
        ("4.3", 0.0, "take a wider band"),
        ("5.1", rf.Limits(max_position=30), "far less than a quarter"),
        ("5.2", 0.08, "The loss is then"),
        ("7.3", "random.random()", "ctx.rng"),
        ("8.1", "filled", "no row of kind submit"),
        ("10.1", "live: {broke: simulated}", "broke"),
        ("10.2", "drawdown", "Search the names"),
        ("1.1", "many", "could not convert"),
    ],
)
def test_a_wrong_answer_gets_a_hint(
    capsys: pytest.CaptureFixture[str], number: str, wrong: object, hint: str
) -> None:
    _answers().check(number, wrong)
    said = capsys.readouterr().out
    assert said.startswith(f"{number}: not yet. ")
    assert hint in said


def test_the_repository_stays_small() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:  # an unpacked archive: it holds nothing else
        files = [path for path in ROOT.rglob("*") if ".venv" not in path.parts]
    else:
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    total = sum(path.stat().st_size for path in files if path.is_file())
    assert total < 15_000_000
