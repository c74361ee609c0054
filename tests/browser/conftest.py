"""JupyterLab and a real browser, on this machine alone."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Route, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "out" / "browser"
#: Missing sources of foreign scripts, and the like: not ours to mend.
_NOISE = ("sourcemap", "favicon", "Failed to load resource")


class Lab:
    """A JupyterLab of its own: settings, kernels and files are thrown away."""

    def __init__(self, home: Path) -> None:
        self.root = home / "files"
        self.root.mkdir()
        # Asks on its first start whether it may fetch news.
        quiet = home / "settings" / "@jupyterlab" / "apputils-extension"
        quiet.mkdir(parents=True)
        (quiet / "notification.jupyterlab-settings").write_text(
            '{"fetchNews": "false", "checkForUpdates": false}'
        )
        self.token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": "0",
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
            "IPYTHONDIR": str(home / "ipython"),
            "JUPYTER_TOKEN": self.token,
        }
        self.log = open(home / "lab.log", "wb")  # noqa: SIM115
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
                "--ip=127.0.0.1", f"--port={self.port}", "--port-retries=0",
                f"--ServerApp.root_dir={self.root}", "--expose-app-in-browser",
            ],
            env=env, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        self.url = f"http://127.0.0.1:{self.port}"
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/api?token={self.token}", timeout=2).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


class Notebook:
    """One notebook in one page, and everything that must not happen there.

    Attributes:
        complaints: page exceptions, errors on the console, and requests that left this machine.
    """

    def __init__(self, browser: Browser, lab: Lab, name: str, dark: bool = False) -> None:
        self.lab, self.name = lab, name
        self.complaints: list[str] = []
        self.context = browser.new_context(viewport={"width": 1320, "height": 1500})
        self.context.set_default_timeout(60_000)  # a busy machine is not what is tried here
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("console", self._console)
        self.context.route("**/*", self._route)
        self.page.on("websocket", lambda s: self._left(s.url))
        self.open()
        # The lab keeps the theme that another test has chosen.
        self.theme(f"JupyterLab {'Dark' if dark else 'Light'}")

    def open(self) -> None:
        self.page.goto(f"{self.lab.url}/lab/tree/{self.name}?reset&token={self.lab.token}")
        self.page.wait_for_function(
            "window.jupyterapp?.shell?.currentWidget?.context?.isReady", timeout=60_000
        )
        self.js(
            "w => Promise.all([w.context.ready, w.sessionContext.ready])"
            ".then(() => w.sessionContext.session.kernel.info)"
        )

    def js(self, code: str, argument: Any = None) -> Any:
        """Return what a function of the notebook's widget and an argument returns."""
        return self.page.evaluate(
            f"([argument]) => ({code})(window.jupyterapp.shell.currentWidget, argument)", [argument]
        )

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(word in message.text for word in _NOISE):
            self.complaints.append(f"console: {message.text}")

    def _route(self, route: Route, request: Request) -> None:
        self._left(request.url)
        route.continue_()

    def _left(self, url: str) -> None:
        host = urlsplit(url).hostname  # None of data and blobs
        if host not in ("127.0.0.1", "localhost", None):
            self.complaints.append(f"a request left this machine: {url}")

    def theme(self, name: str) -> None:
        self.page.evaluate(
            "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})",
            name,
        )
        light = str(name == "JupyterLab Light").lower()
        self.page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")

    # ------------------------------------------------------------ cells

    def run(self, place: int, wait: bool = True) -> None:
        """Run a cell."""
        self.js("(w, i) => { w.content.activeCellIndex = i; w.content.deselectAll(); }", place)
        go = "window.jupyterapp.commands.execute('notebook:run-cell')"
        self.page.evaluate(go if wait else f"() => {{ {go}; }}")

    def cell(self, place: int) -> Any:
        """Return a cell as it would be saved."""
        return self.js("(w, i) => w.context.model.cells.get(i).toJSON()", place)

    def saved(self) -> Any:
        """Save the notebook, and return what is in the file."""
        self.js("w => w.context.save()")
        return json.loads((self.lab.root / self.name).read_text())

    def until(self, condition: str, argument: Any = None, timeout_s: float = 60.0) -> None:
        """Wait until a function of an argument is true in the page."""
        self.page.wait_for_function(condition, arg=argument, timeout=1_000 * timeout_s)

    def shot(self, name: str, selector: str = ".rf-panel") -> Path:
        """Keep a picture of the panel; of the whole page without a selector."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        if selector:
            self.page.locator(selector).first.screenshot(path=path)
        else:
            self.page.screenshot(path=path)
        return path

    def close(self) -> None:
        self.js("w => w.sessionContext.shutdown()")
        self.context.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    started = Lab(tmp_path_factory.mktemp("lab"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    place = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if place is None:
        lack = "the browser tests need chromium: apt-get install chromium"
        if os.environ.get("REGIMEFLOW_CHROMIUM") == "required":
            pytest.fail(lack)
        pytest.skip(lack)  # who only wants the package need not install a browser for its tests
    with sync_playwright() as play:
        started = play.chromium.launch(
            executable_path=place,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        yield started
        started.close()


def written(lab: Lab, name: str, cells: list[str]) -> None:
    """Put a notebook where the lab finds it."""
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    blank: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}}
    book = {
        "cells": [
            {**blank, "id": f"c{i}", "outputs": [], "source": text} for i, text in enumerate(cells)
        ],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (lab.root / name).write_text(json.dumps(book))


@pytest.fixture
def notebook(lab: Lab, browser: Browser) -> Iterator[Callable[..., Notebook]]:
    opened: list[Notebook] = []

    def open_(name: str, cells: list[str] | None = None, dark: bool = False) -> Notebook:
        if cells is not None:
            written(lab, name, cells)
        opened.append(Notebook(browser, lab, name, dark))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()
