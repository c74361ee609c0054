"""Run the tour without a browser: the notebook is executed, and what it finds is written to out/.

    python scripts/demo.py

The kernel is this interpreter's, whatever kernels and start-up files the user has installed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "research_to_live.ipynb"
OUT = ROOT / "out"
TEARSHEET = "report.html"

#: Asked of the notebook's kernel once its cells have run: the verdict, and a file to look at.
LAST_WORDS = """
report.tearsheet({tearsheet!r})
print(f"{{verdict.strategy}}: {{verdict}}")
print(f"with one parameter changed: {{str(altered).splitlines()[0]}}, {{altered.divergence.cause}}")
"""


def main() -> int:
    """Execute the notebook, write the results and print the verdict; return the exit code."""
    began = time.monotonic()
    try:
        notebook, verdict = execute(NOTEBOOK, OUT)
        written = write(notebook, OUT)
    except ModuleNotFoundError as error:
        return _fail(f"{error.name} is not installed: `make demo` installs everything it needs")
    except (CellError, OSError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted")
    print(f"\nDone in {time.monotonic() - began:.0f} s.\n\n{verdict}\n\nWritten:")
    for path in written:
        print(f"  {os.path.relpath(path)}")
    return 0


class CellError(Exception):
    """A cell raised, or its kernel died."""


def execute(path: Path, out: Path) -> tuple[Any, str]:
    """Run a notebook cell by cell; return it with its outputs, and the verdict as text.

    Raises:
        CellError: a cell raised; the message names it.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    if not path.is_file():
        raise CellError(f"{os.path.relpath(path)} is missing: it is part of the repository")
    out.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(path, as_version=4)
    titles = headings(notebook.cells)
    with tempfile.TemporaryDirectory(prefix="regimeflow-demo-") as private:

        class Client(NotebookClient):
            def create_kernel_manager(self) -> Any:  # made by the client, so ended by it
                self.km = _kernel(Path(private))
                return self.km

        client = Client(
            notebook,
            timeout=300,
            resources={"metadata": {"path": str(out)}},
            store_widget_state=False,
            record_timing=False,
        )
        place = 0
        try:
            with client.setup_kernel(env=_environment(Path(private)), cwd=str(out)):
                for place in _shown(titles):
                    client.execute_cell(notebook.cells[place], place)
                verdict = _ask(client, LAST_WORDS.format(tearsheet=str(out / TEARSHEET)))
        except CellExecutionError as error:
            what = f"{error.ename}: {error.evalue}"
            raise CellError(f"the cell under “{titles[place]}” failed: {what}") from error
        except DeadKernelError as error:
            raise CellError(f"the kernel died in the cell under “{titles[place]}”") from error
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook, verdict


def headings(cells: Sequence[Any]) -> list[str]:
    """Return for each cell the nearest heading above it."""
    titles, title = [], ""
    for cell in cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if line.startswith("#"):
                    title = line.lstrip("# ")
        titles.append(title)
    return titles


def write(notebook: Any, out: Path) -> list[Path]:
    """Write the executed notebook and its page; return all that the tour leaves behind."""
    import nbformat

    executed, page = out / NOTEBOOK.name, out / NOTEBOOK.with_suffix(".html").name
    executed.write_text(nbformat.writes(notebook), encoding="utf-8")
    page.write_text(as_html(notebook), encoding="utf-8")
    return [executed, page, out / TEARSHEET]


def as_html(notebook: Any) -> str:
    """Return a notebook as one HTML file that asks nobody for anything.

    nbconvert's page loads require.js, MathJax and Mermaid from elsewhere, none of which this
    notebook needs.
    """
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    blocks = "".join(f"{{% block {name} %}}{{% endblock %}}" for name in _FROM_ELSEWHERE)
    exporter = HTMLExporter(
        template_name="lab",
        extra_loaders=[
            DictLoader({"offline.html.j2": f"{{% extends 'lab/index.html.j2' %}}{blocks}"})
        ],
        template_file="offline.html.j2",
    )
    page, _ = exporter.from_notebook_node(
        notebook, resources={"metadata": {"name": "From research to live"}}
    )
    return str(page)


_FROM_ELSEWHERE = (
    "html_head_js_requirejs",
    "html_head_js_mathjax",
    "html_head_js_mermaidjs",
    "jupyter_widgets",
)


def _shown(titles: Sequence[str]) -> Iterator[int]:
    """Yield the places of the cells, and show which part of the tour has been reached."""
    from tqdm import tqdm

    if not sys.stderr.isatty():  # a log: one line for each part, no bar
        for place, title in enumerate(titles):
            if place == 0 or title != titles[place - 1]:
                print(f"[{place + 1:2}/{len(titles)}] {title}", file=sys.stderr, flush=True)
            yield place
        return
    layout = "{desc:<34.34} |{bar:24}| {n_fmt}/{total_fmt} {elapsed}"
    with tqdm(total=len(titles), bar_format=layout) as bar:
        for place, title in enumerate(titles):
            bar.set_description_str(title)
            yield place
            bar.update()


def _kernel(private: Path) -> Any:
    """Return a manager of this interpreter's own kernel, spoken to over private files."""
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    own = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="Python 3",
        language="python",
    )

    class OwnKernel(KernelSpecManager):
        """Knows one kernel, and not those that the user has installed."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return own

    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=OwnKernel())
    if sys.platform != "win32":
        manager.transport = "ipc"
        manager.ip = str(private / "kernel")
    return manager


def _environment(private: Path) -> dict[str, str]:
    """Return the environment without the user's start-up files, and with hashes that repeat."""
    environment = dict(os.environ)
    for name in ("PYTHONSTARTUP", "PYTHONPATH", "MPLBACKEND"):
        environment.pop(name, None)
    return environment | {"IPYTHONDIR": str(private / "ipython"), "PYTHONHASHSEED": "0"}


def _ask(client: Any, source: str) -> str:
    """Run code that is not part of the notebook, and return what it printed."""
    import nbformat

    cell = nbformat.v4.new_code_cell(source)
    client.nb.cells.append(cell)
    try:
        client.execute_cell(cell, len(client.nb.cells) - 1)
    finally:
        client.nb.cells.pop()
    return "".join(o.text for o in cell.outputs if o.output_type == "stream").strip()


def _fail(why: str) -> int:
    print(f"demo: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
