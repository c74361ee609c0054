"""The panel's script is what its sources make, and puts no foreign text into markup."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "regimeflow" / "widgets" / "src"
STATIC = ROOT / "regimeflow" / "widgets" / "static"
MODULES = ROOT / ".cache" / "esm"
SCRIPTS = sorted(SOURCE.glob("*.js"))


def test_it_was_made_of_these_sources():
    digest = hashlib.sha256()
    for path in sorted(SOURCE.iterdir()):
        if path.suffix in (".js", ".mjs", ".css", ".json"):
            digest.update(f"{path.name}\n".encode() + path.read_bytes())
    first = (STATIC / "panel.js").read_text().split("\n", 1)[0]
    assert first.endswith(f"sha256 {digest.hexdigest()}"), "run `make esm`"


def test_the_same_sources_make_the_same_bytes(tmp_path):
    if not (shutil.which("node") and (MODULES / "node_modules" / "esbuild").is_dir()):
        # Only who changes the script needs node; a stale one is caught above without it.
        pytest.skip("without node and the script's packages: `make esm` fetches them")
    command = ["node", str(SOURCE / "build.mjs"), str(MODULES), str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)
    for path in STATIC.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_text_becomes_markup_or_code(path):
    text = path.read_text()
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
    ):
        assert word not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_licences_of_what_it_holds_are_there():
    licences = (STATIC / "LICENSES.txt").read_text()
    assert "lightweight-charts 5." in licences
    assert "TradingView, Inc." in licences
    assert "Apache License" in licences
    script = (STATIC / "panel.js").read_text()
    assert "TradingView Lightweight Charts" in script
    assert "attributionLogo:!0" in script


def test_the_lock_knows_no_registry():
    lock = json.loads((SOURCE / "package-lock.json").read_text())
    assert "http" not in json.dumps(lock)
    assert all("integrity" in one for name, one in lock["packages"].items() if name)


def test_it_is_light():
    assert (STATIC / "panel.js").stat().st_size < 250_000
