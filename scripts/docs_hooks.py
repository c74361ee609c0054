"""What MkDocs adds to the site: pages made from the code, and the notebooks and files of the root.

Nothing is written into ``docs``: the pages exist while the site is built, so they cannot be older
than the code.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import regimeflow as rf
from regimeflow.analytics.metrics import ANNUAL, ANNUAL_FROM_DAYS, SPECS
from regimeflow.prometheus import live_metrics_to_prometheus
from regimeflow.session.brokers import BROKERS
from regimeflow.session.config import Config, Section
from regimeflow.session.metrics import LiveMetrics

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ("tutorials", "notebooks")
#: Pages of the site that lie in the root of the repository.
ROOT_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}

#: Page -> its title, and the public names on it; what is named nowhere goes to the last page.
API: dict[str, tuple[str, tuple[str, ...]]] = {
    "research": (
        "Research",
        (
            "backtest", "Report", "explore", "compare", "Comparison", "Strategy", "Context",
            "datasets",
        ),
    ),
    "indicators": (
        "Indicators and regimes",
        (
            "Indicator", "SMA", "EMA", "RSI", "ATR", "ROC", "Bollinger", "Donchian", "ZScore",
            "RollingMean", "RollingStd", "RollingMin", "RollingMax", "Regime", "VolatilityRegime",
        ),
    ),
    "assumptions": (
        "Assumptions, limits and rules",
        ("Costs", "FillModel", "Latency", "Limits", "Instrument"),
    ),
    "live": ("Live sessions", ("LiveSession", "attach", "Dashboard")),
    "venues": ("Venues and the sandbox", ("venues", "sandbox")),
    "review": (
        "Review and proof",
        (
            "certify", "Certificate", "replay", "parity", "Parity", "drift", "Drift",
            "execution_quality", "ExecutionQuality", "bars", "read_journal",
        ),
    ),
    "values": ("Market data and errors", ()),
}  # fmt: skip


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give the pages that the navigation does not name a place: decisions, and the newest pages."""
    docs = Path(config.docs_dir)
    found = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    named = set(_leaves(config.nav))
    new = [path for path in found if path not in named and not path.startswith("decisions/")]
    for section in config.nav or []:
        section.get("How to", []).extend(new)
        for entry in section.get("How it is built", []):
            if "Decisions" in entry:
                entry["Decisions"] = [path for path in found if path.startswith("decisions/")]
    return config


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for value in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _leaves(value)


@event_priority(100)  # before the plugin that makes pages of notebooks
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the notebooks, the pages of the root, and the reference."""
    for folder in NOTEBOOKS:
        for path in sorted((ROOT / folder).glob("*.ipynb")):
            name = f"{folder}/{path.name}"
            files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    for source, name in ROOT_PAGES.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    for name, text in reference().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between the folders of the repository into links of the site."""
    if page.file.src_uri in ROOT_PAGES.values():
        return markdown.replace("](docs/", "](")
    up = "../" * (page.file.src_uri.count("/") + 1)
    for folder in NOTEBOOKS:
        markdown = markdown.replace(f"]({up}{folder}/", f"]({up[3:]}{folder}/")
    return markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let notebooks lead to each other's pages."""
    if page.file.src_uri.endswith(".ipynb"):
        return re.sub(r'href="([\w./-]+)\.ipynb"', r'href="\1.html"', html)
    return html


# ---------------------------------------------------------------- pages made from the code


def reference() -> dict[str, str]:
    """Return every page of the reference by its file's name."""
    pages = {f"api-{name}.md": _api(title, names) for name, (title, names) in _api_pages().items()}
    pages["configuration.md"] = _configuration()
    pages["metrics.md"] = _metrics()
    return pages


def _api_pages() -> dict[str, tuple[str, tuple[str, ...]]]:
    known = {name for _, names in API.values() for name in names}
    rest = tuple(name for name in rf.__all__ if name not in known)
    *_, last = API
    return {**API, last: (API[last][0], (*API[last][1], *rest))}


def _api(title: str, names: tuple[str, ...]) -> str:
    parts = [f"# {title}\n"]
    for name in names:
        thing = getattr(rf, name)
        if not inspect.ismodule(thing):
            parts.append(_entry(f"rf.{name}", _place(thing, name)))
            continue
        parts.append(f"## rf.{name}\n\n{inspect.getdoc(thing)}\n")
        members = getattr(thing, "__all__", None) or _functions(thing)
        for member in members:
            place = _place(getattr(thing, member), member)
            parts.append(_entry(f"rf.{name}.{member}", place, level=3))
    return "\n".join(parts)


def _functions(module: Any) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]


def _place(thing: Any, name: str) -> str:
    return f"{thing.__module__}.{getattr(thing, '__qualname__', name)}"


def _entry(heading: str, place: str, level: int = 2) -> str:
    return f"::: {place}\n    options:\n      heading: {heading}\n      heading_level: {level}\n"


def _configuration() -> str:
    rows = list(_keys(Config, ""))
    for broker, row in BROKERS.items():
        rows += [
            (f"{path} ({broker})", *rest) for path, *rest in _keys(row.keys, "live.broker_config.")
        ]
    table = "\n".join(f"| `{k}` | {t} | {d} | {m} |" for k, t, d, m in rows)
    return (
        "# Every configuration key\n\n"
        "Made from the code that reads the file: a key that is not here is refused. "
        "[Configuration](../configuration.md) explains how they work together.\n\n"
        "| key | type | default | meaning |\n|---|---|---|---|\n" + table + "\n"
    )


def _keys(section: type[Section], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield key, type, default and meaning of all keys below one."""
    meanings = _meanings(section)
    hints = typing.get_type_hints(section)
    for field in msgspec.structs.fields(section):
        kind = hints[field.name]
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _keys(kind, f"{prefix}{field.name}.")
            continue
        default = "required" if field.required else f"`{_written(field.default)}`"
        meaning = meanings.get(field.name) or _of_section(section)
        yield f"{prefix}{field.name}", _kind(kind), default, meaning


def _meanings(section: type) -> dict[str, str]:
    """Return what a docstring's ``Attributes`` say of each."""
    doc = inspect.getdoc(section) or ""
    found: dict[str, str] = {}
    names: list[str] = []
    unfinished = False  # a list of names that goes on in the next line
    for line in doc.partition("Attributes:\n")[2].splitlines():
        start = re.match(r"    (\w+(?:, \w+)*),?(?::(?: (.*))?)?$", line)
        if start and not line.startswith("     "):
            names = [*(names if unfinished else []), *start[1].split(", ")]
            unfinished = ":" not in line
            found.update(dict.fromkeys(names, start[2] or ""))
        elif line.strip():
            for name in names:
                found[name] = f"{found[name]} {line.strip()}".strip()
    return {name: text.replace("``", "`").replace("|", r"\|") for name, text in found.items()}


def _of_section(section: type) -> str:
    """Return what a section is, for its keys that need no more words."""
    return (inspect.getdoc(section) or "").split("\n")[0]


def _written(value: Any) -> str:
    if value is msgspec.NODEFAULT:  # made anew for each file: an empty mapping
        return "{}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


_WORDS = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`"}


def _kind(kind: Any) -> str:
    """Return a type in the words of the page."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if hasattr(kind, "__metadata__"):
        return _kind(kind.__origin__)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return "mapping"
    if arguments:
        return " or ".join(_kind(part) for part in arguments if part is not type(None))
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)).lower())


def _metrics() -> str:
    report = "\n".join(
        f"| `{name}` | {spec.label.replace('|', chr(92) + '|')} | {spec.unit} | {spec.meaning} |"
        for name, spec in SPECS.items()
    )
    helps = dict(_families(live_metrics_to_prometheus(LiveMetrics())))
    series = "\n".join(f"| `{name}` | {kind} | {said} |" for name, (kind, said) in helps.items())
    return (
        "# Every metric\n\nMade from the code.\n\n## Of a report\n\n"
        "`report.metrics`, as items or attributes. An undefined one is NaN, and "
        "`report.metrics.why(name)` says why. What a year would come to "
        f"({', '.join(f'`{name}`' for name in ANNUAL)}) is left open for a run of less than "
        f"{ANNUAL_FROM_DAYS} days.\n\n"
        f"| name | label | unit | meaning |\n|---|---|---|---|\n{report}\n\n"
        "## Of a live session, for Prometheus\n\n"
        "[Watching a live session](../operations/README.md) tells how they are served, and which "
        "of them should ring a bell.\n\n"
        f"| series | type | meaning |\n|---|---|---|\n{series}\n"
    )


def _families(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    said: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, words = line.split(" ", 3)
            said[name] = words
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            yield name, (kind, said.get(name, ""))
