"""A report as an explorer tells it: cut to a screen whatever its length, and every ask answered."""

from __future__ import annotations

import gc
import json
import subprocess
import sys

import msgspec
import numpy as np
import pytest

import regimeflow as rf
from regimeflow.widgets.views import MARKS, ROWS, Views

HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
S = 1_000_000_000


class Turns(rf.Strategy):
    every: int = 10
    note: str = ""

    def initialize(self, ctx):
        self.bars = 0

    def on_bar(self, ctx, bar):
        self.bars += 1
        ctx.record(**{"count" if not self.note else self.note: float(self.bars)})
        if self.bars % self.every == 0:
            ctx.target(bar.symbol, qty=0.0 if ctx.position(bar.symbol) else 10.0)


def run(n=5_000, every=10, data=None, **params):
    data = rf.datasets.synthetic(n=n, seed=3) if data is None else data
    return rf.backtest(Turns(every=every, **params), data, progress=False)


@pytest.fixture(scope="module")
def report():
    return run()


@pytest.fixture(scope="module")
def views(report):
    return Views(report)


@pytest.fixture
def explorer(report):
    made = rf.explore(report)
    yield made
    made.close()


def asked(explorer, content):
    """What the page is told when it says something."""
    told = []
    explorer.panel.tell = lambda kind, seq, body: told.append((kind, json.loads(body)))
    explorer._hear(content)
    return told


# ---------------------------------------------------------------- what is told


def test_the_whole_run_is_told_at_the_resolution_of_a_screen(report, views):
    said = views.snapshot()
    window = said["window"]
    assert len(window["t"]) == ROWS
    assert window["bars"] == 5_000
    assert not window["exact"]
    assert window["begins"]
    assert window["ends"]
    assert min(window["equity"][0]) == pytest.approx(report.curve.equity.min(), rel=1e-8)
    assert max(window["equity"][1]) == pytest.approx(report.curve.equity.max(), rel=1e-8)
    assert min(window["drawdown"]) == pytest.approx(report.metrics["max_drawdown"], rel=1e-6)
    assert said["drawdowns"][0][3] == pytest.approx(report.metrics["max_drawdown"])
    assert said["trips"]["count"] == report.metrics["total_trades"]
    assert said["trips"]["losses"][0][8] == pytest.approx(report.trades["pnl"].min())
    assert said["trips"]["gains"][0][8] == pytest.approx(report.trades["pnl"].max())


def test_fills_of_a_long_stretch_are_counted_and_of_a_short_one_shown(report, views):
    ts, symbol = report.curve.ts, views.symbols[0]
    whole = views.stretch(symbol, "exposure", int(ts[0]), int(ts[-1]))
    assert not whole["fills"]
    assert sum(group[2] for group in whole["groups"]) == len(report.fills) > MARKS
    bought = sum(group[3] for group in whole["groups"] if group[1] == "buy")
    assert bought == report.fills.loc[report.fills.side == "buy", "qty"].sum()
    near = views.stretch(symbol, "exposure", int(ts[1_000]), int(ts[1_200]))
    assert near["exact"]
    assert near["bars"] == 201 + 2 * 100
    first, last = near["t"][0], near["t"][-1]
    held = [f for f in report.data.fills if first <= f.ts / S <= last]
    assert [fill[7] for fill in near["fills"]] == [f.order_id for f in held]
    assert {fill[1] for fill in near["fills"]} <= set(near["t"])


def test_every_fill_can_be_gone_to_in_order(report, views):
    symbol = views.symbols[0]
    first = views.fill(symbol, "cash", 0, None, 1)
    second = views.fill(symbol, "cash", 0, first["focus"], 1)
    back = views.fill(symbol, "cash", 0, second["focus"], -1)
    assert (first["focus"], second["focus"], back["focus"]) == (0, 1, 0)
    assert views.fill(symbol, "cash", 0, 0, -1)["focus"] == 0
    final = views.fill(symbol, "cash", 10**19 // 2, None, 1)
    assert final["focus"] == len(report.fills) - 1
    shown = {fill[0]: fill for fill in second["fills"]}[1]
    assert shown[7] == report.fills["order_id"].iloc[1]


def test_below_are_exposure_cash_and_records(report, views):
    ts, symbol = report.curve.ts, views.symbols[0]
    assert views.snapshot()["head"]["extras"] == ["exposure", "cash", "count"]
    counts = views.stretch(symbol, "count", int(ts[100]), int(ts[200]))["below"]
    assert counts[0] == counts[1] == counts[2]
    assert counts[2][0] == 51.0
    assert views.stretch(symbol, "nonesuch", int(ts[0]), int(ts[9]))["below"] == []
    assert views.stretch("nonesuch", "cash", int(ts[0]), int(ts[9]))["price"] == []


def test_a_stretch_outside_the_run_is_its_edge(report, views):
    for at in (-(2**62), 2**62):
        found = views.stretch(views.symbols[0], "cash", at, at)
        assert 1 <= len(found["t"]) <= ROWS
        assert np.isfinite(found["from"])


def test_the_story_of_an_order(report, views):
    order = report.data.orders[0]
    said = views.story(order.id)
    assert said["title"].startswith("buy 10 ")
    assert [what for _, what, _ in said["lines"]] == [
        "decided", "sent", "accepted", "execution", "filled",
    ]  # fmt: skip
    assert "bp against the price it was decided at" in said["lines"][3][2]
    assert views.story("nonesuch")["lines"] == []
    assert views.story("nonesuch")["title"] == "order nonesuch: it is not of this report"


def test_a_loaded_report_tells_what_its_orders_came_to(report, tmp_path):
    report.save(tmp_path / "report.json")
    loaded = Views(rf.Report.load(tmp_path / "report.json"))
    words = [what for _, what, _ in loaded.story(report.data.orders[0].id)["lines"]]
    assert words == ["decided", "execution", "filled"]
    assert loaded.snapshot()["window"] == Views(report).snapshot()["window"]


def test_symbols_of_different_lengths_share_an_axis():
    long, short = rf.datasets.synthetic(n=300, seed=1), rf.datasets.synthetic(n=300, seed=2)
    found = Views(run(data={"A": long, "B": short.iloc[200:]}))
    ts = found.report.curve.ts
    window = found.stretch("B", "cash", int(ts[0]), int(ts[-1]))
    assert window["price"][2][:200] == [None] * 200
    assert None not in window["price"][2][200:]


def test_ticks_within_a_millisecond_keep_their_order():
    data = rf.datasets.synthetic("trades", n=2_000, seed=4, timeframe="1ms")
    said = Views(run(data=data)).snapshot()["window"]
    assert (np.diff(said["t"]) > 0).all()


# ---------------------------------------------------------------- what a page may ask


def test_a_page_is_answered(explorer, report):
    ((kind, body),) = asked(explorer, {"kind": "hello"})
    assert kind == "snapshot"
    symbol = body["report"]["head"]["symbols"][0]
    where = {"symbol": symbol, "extra": "cash"}
    t = body["report"]["window"]["t"]
    ((kind, body),) = asked(
        explorer, {"kind": "stretch", "ask": "v-1", **where, "since": t[10], "to": t[20]}
    )
    assert (kind, body["ask"]) == ("stretch", "v-1")
    assert (body["from"], body["to"]) == (t[10], t[20])
    ((_, body),) = asked(
        explorer,
        {
            "kind": "fill",
            "ask": "v-2",
            **where,
            "since": 0,
            "to": 0,
            "at": t[0],
            "step": 1,
            "place": None,
        },
    )
    assert (body["ask"], body["focus"]) == ("v-2", 0)
    ((kind, body),) = asked(explorer, {"kind": "story", "order": report.data.orders[0].id})
    assert (kind, body["order"]) == ("story", report.data.orders[0].id)


@pytest.mark.parametrize(
    "content",
    [
        None,
        7,
        {},
        {"kind": "close"},
        {"kind": "story", "order": 7},
        {"kind": "story", "order": "x" * 301},
        {"kind": "stretch", "ask": "a", "symbol": "A", "extra": "cash", "since": "now", "to": 1},
        {"kind": "stretch", "ask": "a", "symbol": "A", "extra": "cash", "since": 1e300, "to": 1},
        {
            "kind": "stretch",
            "ask": "a",
            "symbol": "A",
            "extra": "cash",
            "since": float("nan"),
            "to": 1,
        },
        {"kind": "fill", "ask": "a", "symbol": "A", "extra": "cash", "at": 0, "step": 5},
    ],
)
def test_what_no_page_of_ours_says_is_not_answered(explorer, content):
    assert asked(explorer, content) == []
    assert explorer.failure is None


def test_texts_travel_as_texts_and_are_cut():
    name = HOSTILE + "n" * 2_000
    report = run(n=60, every=5, note=name, data={HOSTILE: rf.datasets.synthetic(n=60)})
    made = rf.explore(report)
    body = msgspec.json.decode(made._snapshot)["report"]
    assert body["head"]["symbols"] == [HOSTILE]
    assert len(body["head"]["params"]) <= 400
    assert HOSTILE not in report._repr_html_()
    assert HOSTILE not in made._face()["text/html"]
    made.close()


# ---------------------------------------------------------------- its life


def test_the_same_report_gives_the_same_panel(report):
    made = rf.explore(report)
    assert rf.explore(report) is made
    made.close()
    again = rf.explore(report)
    assert again is not made
    again.close()
    assert again.freeze() is again  # outside of a notebook there is nothing to freeze


def test_a_saved_cell_is_light(report, explorer):
    bundle = explorer.panel._repr_mimebundle_()
    data = dict(bundle[0] if isinstance(bundle, tuple) else bundle) | explorer._face()
    assert len(json.dumps(data)) < 150_000
    assert set(explorer._face()) == {"text/plain", "text/html"}
    # Nothing of the report is in the widget's state, which some notebooks save.
    state = {k: v for k, v in explorer.panel.get_state().items() if k not in ("_esm", "_css")}
    assert len(json.dumps(state, default=str)) < 2_000


@pytest.mark.parametrize("thing", [None, "report.json", 7])
def test_what_is_no_report_is_refused(thing):
    with pytest.raises(rf.ConfigError, match="takes a report"):
        rf.explore(thing)


def test_a_report_without_prices_is_refused(tmp_path):
    path = tmp_path / "old.json"
    path.write_text('{"performance": {"sharpe": 1.5}}')
    with pytest.raises(rf.DataError, match="nothing to explore"):
        rf.explore(rf.Report.load(path))


def test_a_report_and_its_face_load_no_widgets():
    code = (
        "import sys, regimeflow as rf; "
        "r = rf.backtest(lambda ctx, bar: None, rf.datasets.synthetic(n=50), progress=False); "
        "r._repr_html_(); rf.compare(r, r)._repr_html_(); "
        "sys.exit(any(m in sys.modules for m in ('ipywidgets', 'anywidget', 'matplotlib')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    gc.collect()
