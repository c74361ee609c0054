"""Every example that a page shows is run, as the one script that its blocks form."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def _script(page: Path, language: str = "python") -> str:
    blocks = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```$", page.read_text(), re.DOTALL | re.MULTILINE
    )
    return "\n\n".join(textwrap.dedent(block) for _, block in blocks)


def _run(page: Path, folder: Path) -> str:
    # A name of its own: alpaca.py and ccxt.py would hide the packages.
    # alpaca.py or ccxt.py would hide the package of that name
    return _run_text(_script(page), folder / f"example_{page.stem}.py")


def _run_text(text: str, script: Path) -> str:
    script.write_text(text)
    folder = script.parent
    done = subprocess.run(
        [sys.executable, script],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def test_the_readme_shows_a_proof_and_a_failed_one(tmp_path: Path) -> None:
    out = _run(ROOT / "README.md", tmp_path)
    assert out.startswith("IDENTICAL (")
    assert "\nDIFFERENT at event" in out
    assert "parameter fast was 50 and is 40" in out
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    _every_command_works(tmp_path)


def _every_command_works(folder: Path) -> None:
    """Run the README's command line, line by line, where its first example has run."""
    part = (ROOT / "README.md").read_text().partition("## Command line\n")[2]
    lines = part.split("```")[1].strip().splitlines()
    assert len(lines) > 6
    place = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in lines:
        done = subprocess.run(
            ["sh", "-c", line], cwd=folder, env=os.environ | {"PATH": place},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        # The doctor counts what needs attention first.
        assert done.returncode in ((0, 2) if "doctor" in line else (0,)), line + done.stderr
    assert (folder / "out" / "report.html").exists()


@pytest.mark.parametrize(
    "name",
    [
        "brokers/alpaca.md",
        "brokers/ccxt.md",
        "coming-from/backtesting-py.md",
        "coming-from/backtrader.md",
        "coming-from/cpp-regimeflow.md",
        "coming-from/freqtrade.md",
        "coming-from/vectorbt.md",
        "dashboard.md",
        "execution-quality.md",
        "getting-started.md",
        "how-to.md",
        "index.md",
        "brokers/interactive-brokers.md",
        "live-sessions.md",
        "parity-and-drift.md",
        "reports.md",
    ],
)
def test_examples_of_other_pages_run(name: str, tmp_path: Path) -> None:
    _run(ROOT / "docs" / name, tmp_path)


@pytest.mark.parametrize("name", ["backtesting-py", "backtrader"])
def test_the_other_tools_come_to_a_like_end(name: str, tmp_path: Path) -> None:
    page = ROOT / "docs" / "coming-from" / f"{name}.md"
    data = (
        "import warnings\n\nwarnings.simplefilter('ignore')\n"
        "import pandas as pd\nimport regimeflow as rf\n\nprices = rf.datasets.sp500()\n\n"
    )
    theirs = float(_run_text(data + _script(page, "py"), tmp_path / "theirs.py").split()[-1])
    ours = float(_run(page, tmp_path).split()[-1])
    # Whole units, and the room that is left for costs, are not sized alike.
    assert ours == pytest.approx(theirs, rel=0.02)


def test_every_page_with_python_is_run() -> None:
    shown = {page.name for page in PAGES if "```python" in page.read_text()}
    # The journal's page shows a reader that needs a run to read: it is held to the code elsewhere.
    assert shown == {
        "README.md",
        "alpaca.md",
        "backtesting-py.md",
        "backtrader.md",
        "ccxt.md",
        "cpp-regimeflow.md",
        "dashboard.md",
        "execution-quality.md",
        "fault-rig.md",
        "freqtrade.md",
        "getting-started.md",
        "how-to.md",
        "index.md",
        "interactive-brokers.md",
        "journal.md",
        "live-sessions.md",
        "parity-and-drift.md",
        "reports.md",
        "vectorbt.md",
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    targets = [t for t in _LINK.findall(page.read_text()) if "://" not in t]
    missing = [t for t in targets if not (page.parent / t).exists()]
    assert not missing


def test_pages_know_nothing_of_the_machine_they_were_written_on() -> None:
    told = [p.name for p in PAGES if re.search(r"/(work|root|home|tmp)/", p.read_text())]
    assert not told


def test_what_a_dashboard_costs_is_what_was_measured() -> None:
    measured = (ROOT / "docs" / "performance.md").read_text()
    told = (ROOT / "docs" / "dashboard.md").read_text()
    rows = re.findall(r"([\d,.]+) us p99, ([\d,.]+) us alone, (-?)([\d.]+) %", measured)
    assert len(rows) == 2
    for beside, alone, less, percent in rows:
        assert f"{beside} us" in told
        assert f"{alone} " in told
        assert f"({'−' if less else '+'}{float(percent):.0f} %" in told


def test_the_picture_of_the_readme_is_small() -> None:
    picture = ROOT / "docs" / "images" / "report.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 250_000
