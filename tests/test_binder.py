"""What Binder and conda are told agrees with what the package needs."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]

#: Name on PyPI -> name on conda-forge, where they differ.
_ELSEWHERE = {
    "arch": "arch-py",
    "matplotlib": "matplotlib-base",
    "prometheus-client": "prometheus_client",
}


def _wanted() -> dict[str, str]:
    text = (ROOT / "environment.yml").read_text()
    rows = [row for row in yaml.safe_load(text)["dependencies"] if isinstance(row, str)]
    return {re.split("[>=]", row)[0]: row for row in rows}


def test_both_environments_are_one() -> None:
    # Where there is a folder `binder`, nothing outside it is looked at.
    here, there = ROOT / "environment.yml", ROOT / "binder" / "environment.yml"
    assert here.read_bytes() == there.read_bytes()


def test_python_is_pinned_to_one_that_is_supported() -> None:
    # Without a pin it would be 3.10, for which there is no pandas 3.
    assert _wanted()["python"] in {"python=3.11", "python=3.12", "python=3.13"}


def test_everything_that_the_package_and_the_notebooks_need_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = _wanted()
    for need in [*project["dependencies"], *extras["lab"]]:
        name, least = re.fullmatch(r"([\w-]+)>=([\d.]+)", need).groups()
        conda = _ELSEWHERE.get(name, name)
        assert wanted[conda] == f"{conda}>={least}"


def test_widgets_move_by_themselves() -> None:
    # Binder's own ipykernel 7.0.1 refuses them to threads.
    assert _wanted()["ipykernel"] == "ipykernel>=7.1"


def test_the_last_step_can_be_executed() -> None:
    script = ROOT / "binder" / "postBuild"
    assert script.read_bytes().startswith(b"#!/bin/bash\n")
    assert b"\r" not in script.read_bytes()
    assert os.access(script, os.X_OK)


def test_the_readme_leads_to_every_tutorial() -> None:
    readme = (ROOT / "README.md").read_text()
    missing = [
        p.name for p in (ROOT / "tutorials").glob("*.ipynb") if f"tutorials/{p.name}" not in readme
    ]
    assert not missing


def test_each_tutorial_has_its_link() -> None:
    page = (ROOT / "docs" / "binder.md").read_text()
    missing = [
        p.name
        for p in (ROOT / "tutorials").glob("*.ipynb")
        if f"/HEAD?urlpath=lab/tree/tutorials/{p.name}`" not in page
    ]
    assert not missing
