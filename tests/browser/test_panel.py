"""A panel in a real JupyterLab: it moves, answers, comes back, freezes, and is not fooled by text.

Nothing may be fetched from elsewhere, no exception may reach the page, and no cell may fail.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import TimeoutError

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]

SESSION = """
import tempfile
import regimeflow as rf

class Turns(rf.Strategy):
    units: float = 10.0

    def initialize(self, ctx):
        self.quick, self.calm = ctx.indicator(rf.SMA(3)), ctx.indicator(rf.SMA(9))

    def on_bar(self, ctx, bar):
        if self.calm.ready:
            ctx.target(bar.symbol, qty=self.units if self.quick.value > self.calm.value else 0.0)

data = rf.datasets.synthetic(n=20_000, seed=5)
baseline = rf.backtest(Turns(), data, costs=rf.Costs(commission_bps=1, slippage_bps=1))
venue = rf.venues.Simulated(data, speed=60 * 20, costs=rf.Costs(commission_bps=2, slippage_bps=3))
session = rf.LiveSession(
    Turns(), venue, baseline=baseline, run_dir=tempfile.mkdtemp() + "/run",
    limits=rf.Limits(max_position=50, daily_loss=5_000, max_orders_per_minute=60),
).start()
"""
BUSY = "import time\nfor _ in range(45):\n    time.sleep(0.1)"
#: Whether a cell runs. The kernel's own state is that of the last message, also of a click's.
RUNS = "i => document.querySelectorAll('.jp-InputPrompt')[i].textContent.includes('*')"
#: How many events the panel says were handled.
SAID = (
    "() => Number((document.querySelector('.rf-fact dd')?.textContent.match(/([\\d,]+) of/)"
    " || [0, '0'])[1].replaceAll(',', ''))"
)


def said(book):
    return book.page.evaluate(SAID)


def moves(book, by=5):
    """Wait until the panel has moved on."""
    at = said(book)
    book.until(f"at => ({SAID})() >= at + {by}", at)


SUBSHELLS = (
    "async w => (await w.sessionContext.session.kernel.info)"
    ".supported_features?.includes('kernel subshells') ?? false"
)


def begun(book, place):
    book.until(f"() => ({RUNS})({place})")


def interrupt(book, place):
    """Press stop until the cell ends: it is shown as running before the kernel has begun it."""
    for _ in range(12):
        book.js("w => w.sessionContext.session.kernel.interrupt()")
        with contextlib.suppress(TimeoutError):
            return book.until(f"() => !({RUNS})({place})", timeout_s=5.0)
    raise AssertionError("the cell did not end")


def failures(book):
    """Errors among the outputs, and what shows that a widget is not there."""
    found = list(book.complaints)
    for cell in book.js("w => w.context.model.toJSON().cells"):
        found += [out["evalue"] for out in cell.get("outputs", []) if "evalue" in out]
    text = book.page.evaluate("() => document.body.innerText")
    found += [word for word in ("Loading widget", "Error displaying widget") if word in text]
    return found


def test_it_moves_answers_comes_back_and_freezes(notebook):
    book = notebook(
        "panel.ipynb", [SESSION, "rf.Dashboard(session)", BUSY, "session.wait(progress=False)"]
    )
    page = book.page
    book.run(0)
    book.run(1)
    page.wait_for_selector(".rf-board")
    moves(book)
    assert page.locator(".rf-chip").all_inner_texts() == [
        "SIMULATED",
        "● trading",
        "kernel: connected",
    ]
    assert page.locator(".rf-chart canvas").count() > 3

    # A cell that is run again shows the same panel, and no second one.
    book.run(1)
    page.wait_for_selector(".rf-board")
    assert page.locator(".rf-board").count() == 1
    assert len(book.cell(1)["outputs"]) == 1
    moves(book)

    # While a cell runs it moves, and its buttons answer.
    book.run(2, wait=False)
    begun(book, 2)
    moves(book)
    page.click(".rf-button[data-name=pause]")
    page.fill(".rf-confirm input", "lunch")
    page.press(".rf-confirm input", "Enter")
    page.wait_for_selector(".rf-answer[data-kind=good]")
    book.until("() => document.querySelectorAll('.rf-chip')[1].textContent.includes('exits only')")
    # Kernels without subshells, those before ipykernel 7, hear of a click when the cell is over.
    if book.js(SUBSHELLS):
        assert book.page.evaluate(f"() => ({RUNS})(2)"), "the click waited for the cell"
    assert "pause: done" in page.inner_text(".rf-answer")
    page.click(".rf-button[data-name=resume]")
    page.keyboard.press("Escape")
    assert not page.locator(".rf-confirm").is_visible()  # nothing happened
    page.click(".rf-button[data-name=resume]")
    page.click(".rf-sure")
    book.until("() => document.querySelectorAll('.rf-chip')[1].textContent.includes('trading')")

    # An order's story, by mouse and by keyboard.
    page.locator("tr.rf-pick").first.click()
    page.wait_for_selector(".rf-story:visible")
    assert re.search(r"execution.*slippage", page.inner_text(".rf-story"), re.DOTALL)
    page.keyboard.press("Escape")
    assert not page.locator(".rf-story").is_visible()
    page.locator("tr.rf-pick").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(".rf-story:visible")
    fits(book, 1020)
    book.shot("live-light-1020")
    fits(book, 1440)
    book.shot("live-light")
    page.click(".rf-story .rf-button")

    # The page is loaded anew: the panel is there again, with everything that came meanwhile.
    book.saved()
    before = said(book)
    book.open()
    page.wait_for_selector(".rf-board")
    book.until(f"at => ({SAID})() > at", before)
    bars = re.search(r"(\d+) bars", page.get_attribute(".rf-chart", "aria-label"))
    assert int(bars.group(1)) >= before - 1
    moves(book)

    # A page that was loaded anew does not know which output to freeze, until the cell is run again.
    book.run(1)
    page.wait_for_selector(".rf-board")

    # An interrupt stops the session cleanly, and the panel becomes a picture that needs no kernel.
    book.run(3, wait=False)
    begun(book, 3)
    interrupt(book, 3)
    book.until("() => !document.querySelector('.rf-board')")
    page.wait_for_selector(".jp-OutputArea img[alt^=equity]")
    assert "venue link" in page.inner_text(".jp-RenderedHTMLCommon table >> nth=1")
    assert "realised" in page.inner_text(".jp-RenderedHTMLCommon table >> nth=3")
    fits(book, 1020)
    book.shot("frozen-light", "")
    outputs = book.saved()["cells"][1]["outputs"]
    assert [sorted(out["data"]) for out in outputs] == [["image/png", "text/html", "text/plain"]]
    assert len(json.dumps(outputs)) < 150_000
    assert "stopped: interrupted" in json.dumps(outputs)
    assert not failures(book)


#: Tables of fills that are cut at their right edge, live and frozen ones, and cells that are.
CUT = """() => [...document.querySelectorAll('.rf-scroll, .jp-RenderedHTMLCommon div')]
.filter(e => /^fills|realised/.test(e.ariaLabel || e.querySelector('th:nth-child(6)')?.textContent))
.flatMap(e => [e, ...e.querySelectorAll('.rf-table[data-folds] :is(th, td)')])
.filter(e => e.scrollWidth > e.clientWidth)
.map(e => `${e.scrollWidth} of ${e.clientWidth} pixels: ${e.textContent.slice(0, 40)}`)"""


def fits(book, width):
    """Assert that no table of fills is cut in a window of this width, without the side bar."""
    book.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    book.page.set_viewport_size({"width": width, "height": 2400})
    book.until(f"() => !({CUT})().length", timeout_s=10.0)


HOSTILE = '<img src=x onerror=\\"document.title=1\\"><script>document.title=2</script>'
FOREIGN = f'''
import tempfile
import regimeflow as rf

HOSTILE = "{HOSTILE}"

class Noted(rf.Strategy):
    note: str = HOSTILE
    api_key: str = "canary-0123456789"

    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=10.0 if int(bar.close * 100) % 3 else 0.0)
        ctx.log(self.note)

Noted.__name__ = Noted.__qualname__ = HOSTILE
data = {{HOSTILE: rf.datasets.synthetic(n=60, seed=5), "B": rf.datasets.synthetic(n=60, seed=6)}}

def ended():
    venue = rf.venues.Simulated(data, speed=None)
    session = rf.LiveSession(Noted(), venue, run_dir=tempfile.mkdtemp() + "/run")
    return session.run(progress=False)

one, other = ended(), ended()
'''


def test_foreign_text_stays_text_and_two_stand_side_by_side(notebook):
    book = notebook(
        "foreign.ipynb",
        [FOREIGN, "rf.Dashboard(one.run_dir, other)", "rf.Dashboard(one.run_dir, other).freeze();"],
        dark=True,
    )
    page = book.page
    title = page.title()
    book.run(0)
    book.run(1)
    page.wait_for_selector(".rf-board >> nth=1")
    page.locator("tr.rf-pick", has_text="<img src=x").first.click()
    page.wait_for_selector(".rf-story:visible")
    assert page.locator(".rf-panel img, .rf-panel script").count() == 0
    for place in ("h3", ".rf-log", "[aria-label^=fills] table", ".rf-story", "select"):
        assert "<img src=x" in page.locator(f".rf-board {place}").first.text_content()
    # Side by side a row takes two lines, and nothing of it is cut or hidden.
    fits(book, 1320)
    assert page.locator(".rf-board").first.bounding_box()["width"] < 640
    cells = page.locator(".rf-board [aria-label^=fills] tbody tr").first.locator("td")
    tops = {round(cells.nth(i).bounding_box()["y"]) for i in range(cells.count())}
    assert len(tops) == 2
    assert all(cells.nth(i).is_visible() for i in range(cells.count()))
    # Another symbol's price, by the keyboard.
    page.locator(".rf-board select").first.select_option("B")
    book.until("() => document.querySelector('.rf-chart').ariaLabel.includes('price of B')")
    # The log is searched.
    page.fill(".rf-board >> nth=0 >> input[type=search]", "no such line")
    assert page.locator(".rf-log").first.inner_text() == "nothing found"
    assert not page.locator(".rf-button").first.is_visible()  # nobody is there to obey
    assert ".freeze()" in page.locator(".rf-controls").first.inner_text()
    book.shot("ended-dark")
    # Everything that can be focused has a name.
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('.rf-panel :is(button, input, select, [tabindex])')]
        .filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length))
        .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    assert "canary-0123" not in page.locator(".rf-panel").first.inner_html()
    book.run(2)
    page.wait_for_selector(".jp-OutputArea img[alt^=equity]")
    book.shot("frozen-dark", "")
    saved = [cell["outputs"] for cell in book.saved()["cells"]]
    assert "api_key=" in json.dumps(saved)
    assert "canary-0123" not in json.dumps(saved)
    assert page.locator(".jp-OutputArea img[src='x'], .jp-OutputArea script").count() == 0
    assert page.title() == title
    assert not failures(book)


def test_the_live_session_of_the_notebooks(notebook):
    source = json.loads((ROOT / "notebooks" / "live_session.ipynb").read_text())
    code = [cell for cell in source["cells"] if cell["cell_type"] == "code"]
    texts = ["".join(cell["source"]) for cell in code]
    # The panel looks a few times a second, and a halt that is over sooner need not be shown: the
    # cell that ends it waits until it was.
    halted = 'until(lambda: session.state == "halted")\n'
    place = next(i for i, text in enumerate(texts) if halted in text)
    first, _, rest = texts[place].partition(halted)
    texts[place : place + 1] = [first + halted, rest]
    shown = texts.index("rf.Dashboard(session)")
    until = next(i for i, text in enumerate(texts) if text.startswith("session.stop()"))
    book = notebook("live_session.ipynb", texts[: until + 1])
    for i in range(shown + 1):
        book.run(i)
    book.page.wait_for_selector(".rf-board")
    chips = "() => document.querySelectorAll('.rf-chip')[1]?.textContent || ''"
    # The venue hangs up while a cell waits for it to come back: the panel tells.
    # What it says for a moment only may be over before it is asked for, so all of it is kept.
    book.page.evaluate(
        f"() => {{ window.told = []; setInterval(() => told.push(({chips})()), 20) }}"
    )
    book.run(shown + 1)
    for i in range(shown + 2, place + 1):
        book.run(i, wait=False)
    book.until("() => told.some(text => text.includes('exits only'))")
    book.until("() => told.some(text => text.includes('halted: lunch'))")
    for i in range(place + 1, until):
        book.run(i, wait=False)
    book.until(f"() => !({RUNS})({until - 1})")
    book.run(until)
    book.until("() => !document.querySelector('.rf-board')")
    outputs = book.saved()["cells"][shown]["outputs"]
    assert [sorted(out["data"]) for out in outputs] == [["image/png", "text/html", "text/plain"]]
    assert not failures(book)
