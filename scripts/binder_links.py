"""Write the repository's address into every link that opens Binder.

    python scripts/binder_links.py OWNER/NAME

The address stands in ``pyproject.toml`` as ``repository`` below ``[tool.regimeflow]``. With an
argument it is changed there first. The tests hold all links against it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Pages with such links, and their folders.
PAGES = ("README.md", "docs/binder.md", "tutorials/*.ipynb")

_ADDRESS = re.compile(r"[A-Za-z0-9-]+/[\w.-]+")
_SETTING = re.compile(r'(?m)^repository = "[^"]*"$')
_LINK = re.compile(r"(?<=//mybinder\.org/v2/gh/)[^/\s]+/[^/\s]+(?=/[^/\s?]+\?)")


def address(root: Path = ROOT) -> str:
    """Return the repository's address, as owner and name with a slash between."""
    told: str = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["regimeflow"][
        "repository"
    ]
    return told


def link(page: str, repository: str) -> str:
    """Return the link that opens a notebook of a repository.

    >>> link("tutorials/01-first-strategy.ipynb", "me/mine")
    'https://mybinder.org/v2/gh/me/mine/HEAD?urlpath=lab/tree/tutorials/01-first-strategy.ipynb'
    """
    return f"https://mybinder.org/v2/gh/{repository}/HEAD?urlpath=lab/tree/{page}"


def main(words: list[str], root: Path = ROOT) -> None:
    """Write an address, or the one that is set, into all links.

    Raises:
        SystemExit: it is no address.
    """
    if words:
        if len(words) != 1 or not _ADDRESS.fullmatch(words[0]):
            sys.exit("Give the repository as owner/name, as its address on GitHub ends")
        _rewrite(root / "pyproject.toml", _SETTING, f'repository = "{words[0]}"')
    repository = address(root)
    for pattern in PAGES:
        for path in sorted(root.glob(pattern)):
            _rewrite(path, _LINK, repository)
    print(f"links to Binder open {repository}")


def _rewrite(path: Path, what: re.Pattern[str], by: str) -> None:
    text = path.read_text(encoding="utf-8")
    changed = what.sub(lambda _: by, text)
    if changed != text:
        path.write_text(changed, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
