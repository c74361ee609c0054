"""What Binder and conda are told agrees with what the package needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted(f"tutorials/{path.name}" for path in (ROOT / "tutorials").glob("*.ipynb"))


def _script(name: str) -> ModuleType:
    spec = spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


binder_links = _script("binder_links")

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


@pytest.mark.parametrize(("page", "up"), [("README.md", ""), ("docs/binder.md", "../")])
def test_each_tutorial_can_be_read_and_run_from_the_page(page: str, up: str) -> None:
    text = (ROOT / page).read_text()
    for name in TUTORIALS:
        assert f"]({up}{name})" in text
        assert f"]({binder_links.link(name, binder_links.address())})" in text


@pytest.mark.parametrize("name", TUTORIALS)
def test_each_tutorial_says_how_to_run_it(name: str) -> None:
    first = "".join(json.loads((ROOT / name).read_text())["cells"][0]["source"])
    assert f"]({binder_links.link(name, binder_links.address())})" in first


def _named(root: Path) -> set[str]:
    """Return the repositories that links of all pages name."""
    pages = [path for pattern in binder_links.PAGES for path in root.glob(pattern)]
    return {
        name
        for path in pages
        for name in re.findall(r"mybinder\.org/v2/gh/([^/]+/[^/]+)/", path.read_text())
    }


def test_every_link_opens_the_repository_that_is_set() -> None:
    assert _named(ROOT) == {binder_links.address()}


def test_the_address_is_written_everywhere_and_nothing_else_is(tmp_path: Path) -> None:
    names = ["pyproject.toml", "README.md", "docs/binder.md", *TUTORIALS]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    binder_links.main(["some-body/their.name"], tmp_path)
    assert binder_links.address(tmp_path) == "some-body/their.name"
    assert _named(tmp_path) == {"some-body/their.name"}
    binder_links.main([binder_links.address()], tmp_path)
    for name in names:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()


@pytest.mark.parametrize(
    "words", [["mine"], ["https://github.com/me/mine"], ["a/b", "c/d"], ['a/"b'], ["a/b\n"], [""]]
)
def test_what_is_no_address_is_refused(tmp_path: Path, words: list[str]) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with pytest.raises(SystemExit, match="owner/name"):
        binder_links.main(words, tmp_path)
    assert (tmp_path / "pyproject.toml").read_bytes() == (ROOT / "pyproject.toml").read_bytes()
