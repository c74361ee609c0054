"""Reports side by side: what differs first, and nothing that a name says is taken for markup."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

import regimeflow as rf

HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>&\'$x_1$'


class Hold(rf.Strategy):
    units: float = 1.0
    cash: float = 0.5
    note: str = ""

    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=self.units)


def run(flavour="pandas", n=300, costs=None, limits=None, capital=100_000.0, **params):
    data = rf.datasets.synthetic(n=n, seed=3, flavour=flavour)
    return rf.backtest(
        Hold(**params), data, costs=costs, limits=limits, cash=capital, progress=False
    )


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.names, self.events, self.sources = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.events += [name for name, _ in attrs if name.startswith("on")]
        self.sources += [value for name, value in attrs if name == "src"]


def test_what_differs_stands_first():
    found = rf.compare(
        run(),
        run(units=2.0, costs=rf.Costs(commission_bps=1)),
        run(limits=rf.Limits(max_position=9)),
    )
    table = found.parameters
    assert found.names == ("Hold", "Hold (2)", "Hold (3)")
    assert list(table.columns) == ["parameter", *found.names, "differs"]
    assert table[table.differs].to_numpy().tolist() == [
        ["units", "1.0", "2.0", "1.0", True],
        ["costs.commission_bps", "0", "1", "0", True],
        ["limits.max_position", "None", "None", "9", True],
    ]
    assert table.differs.tolist() == sorted(table.differs.tolist(), reverse=True)
    assert repr(found).endswith("differ in units, costs.commission_bps, limits.max_position>")


def test_a_parameter_called_like_something_else_keeps_its_own_row():
    table = rf.compare(run(capital=1_000.0), run(cash=0.7, capital=1_000.0)).parameters
    rows = {row[0]: row[1:] for row in table.to_numpy().tolist()}
    assert rows["cash (parameter)"] == ["0.5", "0.7", True]
    assert rows["cash"] == ["1,000.00", "1,000.00", False]


def test_runs_that_were_made_alike():
    found = rf.compare(run(), run())
    assert not found.parameters.differs.any()
    assert "nothing differs" in found._repr_html_()
    assert repr(found) == "<Comparison of Hold, Hold (2): made alike>"


@pytest.mark.parametrize("flavour", ["pandas", "polars"])
def test_frames_are_of_the_kind_given(flavour):
    one, two = run(flavour), run(flavour, n=200, units=2.0)
    found = rf.compare(a=one, b=two)
    for frame in (found.parameters, found.metrics, found.equity):
        assert type(frame).__module__.split(".")[0] == flavour
    assert list(found.metrics.columns) == ["metric", "a", "b"]
    values = dict(zip(found.metrics["metric"], found.metrics["b"], strict=True))
    assert values["total_return"] == two.metrics["total_return"]
    assert values["max_drawdown"] == two.metrics["max_drawdown"]
    equity = found.equity
    assert list(equity.columns) == ["time", "a", "b"]
    a, b = equity["a"].to_numpy(), equity["b"].to_numpy()
    assert a.tolist() == one.curve.equity.tolist()
    assert b[:200].tolist() == two.curve.equity.tolist()
    assert np.isnan(b[200:]).all()


def test_growth_begins_at_the_starting_capital():
    one = run(units=500.0)
    growth = rf.compare(one, run()).growth()["Hold"]
    assert growth[0][0] == one.curve.start_ts
    assert growth[1][0] == 0.0
    assert growth[1][-1] == pytest.approx(one.metrics["total_return"], abs=1e-15)


def test_nothing_foreign_becomes_markup():
    one, two = run(note=HOSTILE), run(units=2.0)
    found = rf.compare(one, **{HOSTILE: two, "time": one})
    assert found.names == ("Hold", HOSTILE, "time (2)")
    text = found._repr_html_()
    tags = Tags(text)
    assert "script" not in tags.names
    assert not tags.events
    assert [source.split(",")[0] for source in tags.sources] == ["data:image/svg+xml;base64"]
    assert HOSTILE not in text
    assert found.plot()._repr_png_().startswith(b"\x89PNG")
    assert list(found.metrics.columns) == ["metric", *found.names]


def test_a_long_run_makes_no_long_face():
    found = rf.compare(*(run(n=20_000, units=u, note="x" * 5_000) for u in (1.0, 2.0)))
    assert len(found._repr_html_()) < 100_000


def test_a_report_of_metrics_alone_stands_beside_others(tmp_path):
    path = tmp_path / "old.json"
    path.write_text('{"performance": {"sharpe": 1.5}, "performance_summary": {"mystery": 2.0}}')
    found = rf.compare(run(), rf.Report.load(path))
    assert found.metrics.set_index("metric").loc["sharpe", "Report"] == 1.5
    assert "mystery" in found.metrics["metric"].tolist()
    assert np.isnan(found.equity["Report"]).all()
    assert "–" in found.parameters.set_index("parameter").loc["data", "Report"]
    alone = rf.compare(rf.Report.load(path), rf.Report.load(path))
    assert "<img" not in alone._repr_html_()
    with pytest.raises(rf.DataError, match="nothing to draw"):
        alone.plot()


@pytest.mark.parametrize(
    ("reports", "error"),
    [(list, "2 to 12"), (lambda: [run()], "2 to 12"), (lambda: [run(), 7], "not int")],
)
def test_what_cannot_be_compared_is_refused(reports, error):
    with pytest.raises(rf.ConfigError, match=error):
        rf.compare(*reports())


def test_lists_of_reports_are_compared_like_their_reports():
    one, two = run(), run(units=2.0)
    for given in (([one, two],), (one, [two]), ((report for report in (one, two)),)):
        assert list(rf.compare(*given).reports.values()) == [one, two]
    with pytest.raises(rf.ConfigError, match="one report under a name"):
        rf.compare(both=[one, two])
    for wrong in (["ab", one], [{"one": one}, two], [None, one]):
        with pytest.raises(rf.ConfigError, match=r"not (str|dict|NoneType)"):
            rf.compare(wrong)
