"""A report in a real JupyterLab: from all of it to a single fill, and nothing in it is markup."""

from __future__ import annotations

import json

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

HOSTILE = '<img src=x onerror=\\"document.title=1\\"><script>document.title=2</script>'
RUN = f'''
import regimeflow as rf

HOSTILE = "{HOSTILE}"

class Turns(rf.Strategy):
    note: str = HOSTILE

    def initialize(self, ctx):
        self.quick, self.calm = ctx.indicator(rf.SMA(30)), ctx.indicator(rf.SMA(90))

    def on_bar(self, ctx, bar):
        if self.calm.ready:
            ctx.record(**{{HOSTILE: self.quick.value - self.calm.value}})
            up = self.quick.value > self.calm.value
            ctx.target(bar.symbol, weight=0.9 if up else 0.0)

Turns.__name__ = Turns.__qualname__ = HOSTILE
data = {{HOSTILE: rf.datasets.synthetic(n=40_000, seed=5)}}
report = rf.backtest(Turns(), data, costs=rf.Costs(commission_bps=0.2))
explorer = rf.explore(report)
'''
PLACE = "() => document.querySelector('.rf-chart').getAttribute('aria-label')"


def shown(book):
    """What the chart says it shows."""
    return book.page.evaluate(PLACE)


def bars(book):
    return int(shown(book).rsplit(": ", 1)[1].split()[0])


def changed(book, before):
    book.until(f"before => ({PLACE})() !== before", before, timeout_s=30)


def complaints(book):
    found = list(book.complaints)
    for cell in book.js("w => w.context.model.toJSON().cells"):
        found += [out["evalue"] for out in cell.get("outputs", []) if "evalue" in out]
    return found


@pytest.mark.parametrize("look", ["light", "dark"])
def test_from_all_of_it_to_a_single_fill(notebook, look):
    name = f"report-{look}.ipynb"
    book = notebook(name, [RUN, "explorer", "explorer.freeze();"], dark=look == "dark")
    page = book.page
    book.run(0)
    book.run(1)
    page.wait_for_selector(".rf-report canvas")
    assert bars(book) == 40_000
    book.shot(f"report-whole-{look}", ".rf-report")

    # The wheel comes closer; what is finer is fetched.
    before = shown(book)
    page.locator(".rf-deep").hover(position={"x": 300, "y": 100})
    for _ in range(24):
        page.mouse.wheel(0, -240)
    changed(book, before)
    assert bars(book) < 40_000
    book.shot(f"report-closer-{look}", ".rf-report")

    # To a single fill, and its order's story.
    before = shown(book)
    page.click("button[aria-label='the next fill']")
    changed(book, before)
    page.wait_for_selector(".rf-story:visible")
    assert "decided" in page.inner_text(".rf-story")
    assert page.inner_text(".rf-which").startswith("fill ")
    page.keyboard.press("Escape")

    # Pointing at a fill tells its order's story.
    told = page.locator(".rf-hover[data-kind=story]")
    page.locator(".rf-deep").hover(position={"x": 383, "y": 10})
    box = page.locator(".rf-deep").bounding_box()
    for place in range(20, 190, 5):
        page.mouse.move(box["x"] + 383, box["y"] + place)
        if told.count():
            break
    told.get_by_text("decided").first.wait_for()
    book.shot(f"report-fill-{look}", ".rf-report")

    # A round trip by keyboard, then all of it again, then another lowest pane.
    before = shown(book)
    page.locator(".rf-report tr.rf-pick").first.focus()
    page.keyboard.press("Enter")
    changed(book, before)
    before = shown(book)
    page.click("button[aria-label='show the whole run']")
    changed(book, before)
    assert bars(book) == 40_000
    page.locator("select[aria-label='lowest pane']").select_option(index=2)
    book.until(f"() => ({PLACE})().includes('drawdown and <img')")
    assert page.title() not in ("1", "2")
    assert page.locator(".rf-report img, .rf-report script").count() == 0
    assert not page.locator(".rf-answer[role=alert]:not(:empty)").count()

    # The cell holds the static face, and after `freeze` nothing else.
    outputs = book.saved()["cells"][1]["outputs"]
    assert len(outputs) == 1
    assert {"text/html", "text/plain"} < set(outputs[0]["data"])
    assert len(json.dumps(outputs)) < 150_000
    book.run(2)
    book.until("() => !document.querySelector('.rf-report')")
    page.wait_for_selector(".jp-OutputArea img[alt^=Equity]")
    outputs = book.saved()["cells"][1]["outputs"]
    assert [sorted(out["data"]) for out in outputs] == [["text/html", "text/plain"]]
    assert page.title() not in ("1", "2")
    assert not complaints(book)
