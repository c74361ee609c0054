"""The documentation builds without a warning, leads nowhere wrong, and asks no other server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import regimeflow as rf

ROOT = Path(__file__).resolve().parents[1]


class Page(HTMLParser):
    """What a page refers to.

    Attributes:
        ids: anchors that it has.
        links: where a reader can go from it.
        loads: what the browser fetches for it by itself.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and "canonical" not in given.get("rel", ""):
            self.loads.append(given.get("href", ""))
        elif "src" in given:
            self.loads.append(given["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    far = [
        (path.name, url)
        for path, page in pages.items()
        for url in page.loads
        if "//" in url and not url.startswith("data:")
    ]
    assert not far
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", sheet.read_text())
    # Where there is such a block, the theme fetches what draws it from elsewhere.
    assert not [path.name for path in pages if 'class="mermaid"' in path.read_text()]


def test_links_and_anchors_lead_somewhere(pages: dict[Path, Page]) -> None:
    wrong = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                wrong.append((path.name, link))
            elif parts.fragment and target in pages:
                known = pages[target].ids | {"__top"}
                if unquote(parts.fragment) not in known:
                    wrong.append((path.name, link))
    assert not wrong


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    text = "".join(path.read_text() for path in (site / "reference").glob("api-*.html"))
    missing = [name for name in rf.__all__ if f"rf.{name}" not in text]
    assert not missing


def test_the_reference_has_the_keys_and_series_of_the_pages(site: Path) -> None:
    keys = (site / "reference" / "configuration.html").read_text()
    written = (ROOT / "docs" / "configuration.md").read_text()
    told = set(
        re.findall(r"^\| `((?:live|strategy|metrics|execution)\.[\w.]+)`", written, re.MULTILINE)
    )
    assert len(told) > 60
    assert not [key for key in told if key not in keys]
    series = (site / "reference" / "metrics.html").read_text()
    assert "regimeflow_unknown_orders" in series
    assert "max_drawdown_duration" in series


def test_every_tutorial_is_a_page_with_its_outputs(site: Path) -> None:
    for path in (ROOT / "tutorials").glob("*.ipynb"):
        page = site / "tutorials" / f"{path.stem}.html"
        assert "put your answer in the place of the dots" in page.read_text()


def test_what_goes_wrong_is_tried_where_the_page_says() -> None:
    """Each test that the table of faults names is there."""
    named = re.findall(r"`([\w/]+\.py)::([\w*]+)`", (ROOT / "docs" / "faults.md").read_text())
    assert len(named) > 100
    for path, name in named:
        text = (ROOT / "tests" / path).read_text()
        if name != "*":
            assert re.search(rf"def {name}\(", text), f"{path} has no {name}"
