"""The panel in a browser: how many frames a second are left while it is kept up to date.

The messages are those of a real session, taken down beforehand, so that neither a kernel nor a
JupyterLab competes for the processor; the page is served from this machine.
"""

from __future__ import annotations

import base64
import bisect
import contextlib
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks import prices

_BARS, _EVERY, _UPDATES = 2_000, 10, 120

_PAGE = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="panel.css">
<body style="margin:8px"><div id="here"></div>"""

#: Shows the panel, sends it its updates at full rate, and counts frames meanwhile.
_RUN = """async ([messages, perSecond]) => {
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const given = messages.map(([kind, seq, body]) => [{ kind, seq }, [bytes(body)]]);
  const panel = (await import("/panel.js")).default;
  let hear = null;
  const model = { on: (name, callback) => { hear = callback; }, off() {}, send() {} };
  panel.render({ model, el: document.getElementById("here") });
  hear(...given[0]);
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  await wait(1500);
  const gaps = [];
  let last = null;
  let counting = true;
  requestAnimationFrame(function frame(now) {
    if (last !== null) gaps.push(now - last);
    last = now;
    if (counting) requestAnimationFrame(frame);
  });
  for (const message of given.slice(1)) {
    hear(...message);
    await wait(1000 / perSecond);
  }
  counting = false;
  await wait(100);
  const events = document.querySelector(".rf-fact dd").textContent;
  const marks = document.querySelector(".rf-chart").getAttribute("aria-label");
  return { gaps, events, marks };
}"""


def in_browser(folder: Path, scale: int) -> tuple[Any, Any, int]:
    """Return the work of showing a panel of 2,000 bars and 200 fills that goes on moving."""
    messages = _messages(folder)
    return lambda: None, lambda: _watched(messages), len(messages) - 1


def bring_on(board: Any) -> None:
    """Have the board of an ended run get its rows of the drift with their bars, as a running one.

    They are all known at once, and a board that is behind with its journal asks for none.
    """
    from regimeflow.widgets.rows import rows_of

    board._rows = rows_of(board.session)
    rows = board._rows.fresh()
    times = [row.time for row in rows]
    whole = board.follow

    def follow(most: int) -> bool:
        behind = bool(whole(most))
        kept = board._fold.candles.kept.get(board.symbol)
        board._drift = rows[: bisect.bisect_right(times, kept[-1][0])] if kept else []
        return behind

    board.follow = follow


def _messages(folder: Path) -> list[tuple[str, int, str]]:
    """Return a snapshot and the changes after it, as they would be sent."""
    import regimeflow as rf
    from regimeflow.widgets.board import Board
    from regimeflow.widgets.pump import Pump

    class Turns(rf.Strategy):
        def initialize(self, ctx: rf.Context) -> None:
            self.bars = 0

        def on_bar(self, ctx: rf.Context, bar: rf.Bar) -> None:
            self.bars += 1
            if self.bars % _EVERY == 0:
                ctx.target(bar.symbol, qty=0.0 if ctx.position(bar.symbol) else 10.0)

    class Page:
        def __init__(self) -> None:
            self.told: list[tuple[str, int, str]] = []

        def tell(self, kind: str, seq: int, body: bytes) -> None:
            # Ended as it is, it would be shown from end to end, and nothing would change.
            body = body.replace(b'"phase":"stopped"', b'"phase":"running"')
            self.told.append((kind, seq, base64.b64encode(body).decode()))

    shutil.rmtree(folder / "watched", ignore_errors=True)
    data = prices.read(folder, "bars", _BARS + 2 * 300)
    baseline = rf.backtest(Turns(), data, progress=False)
    venue = rf.venues.Simulated(data, speed=None)
    session = rf.LiveSession(Turns(), venue, baseline=baseline, run_dir=folder / "watched")
    session.run(progress=False)
    board, page = Board(session), Page()
    bring_on(board)
    pump = Pump([board], page, lambda: None)
    board.follow(_BARS + _BARS // _EVERY)
    pump.snapshot()
    for _ in range(_UPDATES):
        pump._told = pump._paid = 0.0  # as if it were due
        board.follow(6)  # about two bars an update
        with pump.lock:
            pump._tell_changes()
    return page.told


def _watched(messages: list[tuple[str, int, str]]) -> dict[str, float]:
    from playwright.sync_api import sync_playwright

    from regimeflow.widgets.pump import PER_SECOND

    place = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if place is None:
        raise FileNotFoundError("this row needs chromium: apt-get install chromium")
    with _served() as url, sync_playwright() as play:
        # Without a screen it draws in software: a real one has more to spare.
        browser = play.chromium.launch(executable_path=place, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1320, "height": 1500})
        page.goto(url)
        cdp = page.context.new_cdp_session(page)
        cdp.send("Performance.enable", {"timeDomain": "threadTicks"})
        found = page.evaluate(_RUN, [messages, PER_SECOND])
        told = cdp.send("Performance.getMetrics")["metrics"]
        browser.close()
    gaps = sorted(found["gaps"])
    assert "200 fills" in found["marks"], found["marks"]
    assert "2000 points" in found["marks"], found["marks"]
    return {
        "fps": 1e3 * len(gaps) / sum(gaps),
        "frame_ms": sum(gaps) / len(gaps),
        "page_ms": 1e3
        * next(m["value"] for m in told if m["name"] == "TaskDuration")
        / len(messages),
        "late_ms": gaps[int(0.99 * len(gaps))],
    }


@contextlib.contextmanager
def _served() -> Iterator[str]:
    import regimeflow

    static = Path(regimeflow.__file__).parent / "widgets" / "static"
    files = {
        "/": (_PAGE.encode(), "text/html"),
        "/panel.js": ((static / "panel.js").read_bytes(), "text/javascript"),
        "/panel.css": ((static / "panel.css").read_bytes(), "text/css"),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, kind = files.get(self.path, (b"", "text/plain"))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
