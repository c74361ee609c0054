"""Pictures and plotly figures of drift and slippage."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import regimeflow as rf


def turns(ctx, bar):
    ctx.target(bar.symbol, qty=0.0 if ctx.position(bar.symbol) else 10.0)


@pytest.fixture(scope="module", params=["pandas", "polars"])
def session(request, tmp_path_factory):
    data = rf.datasets.synthetic(n=80, flavour=request.param)
    baseline = rf.backtest(turns, data)
    venue = rf.venues.Simulated(data, speed=None, costs=rf.Costs(slippage_bps=3))
    folder = tmp_path_factory.mktemp("run") / "run"
    return rf.LiveSession(turns, venue, baseline=baseline, run_dir=folder).run(progress=False)


def test_frames_come_in_the_flavour_of_the_data(session):
    kinds = {
        type(f).__module__.split(".")[0] for f in (session.slippage, session.fills, session.log)
    }
    assert kinds == {type(session.drift().frame()).__module__.split(".")[0]}


def test_pictures(session):
    for picture in (session.drift().plot(), session.execution_quality().plot()):
        assert picture._repr_png_().startswith(b"\x89PNG")


def test_plotly_figures_hold_the_same_numbers(session):
    drift = session.drift()
    traces = {trace.name: trace for trace in drift.to_plotly().data}
    assert list(traces) == ["cone, low", "cone", "baseline", "twin", "shadow", "live"]
    assert np.array_equal(traces["live"].y, drift.column("live"))
    quality = session.execution_quality()
    (bars,) = quality.to_plotly().data
    assert list(bars.x) == [fill.slippage_bps for fill in quality.fills]
    assert list(bars.y) == [fill.qty for fill in quality.fills]


def test_without_plotly_it_says_how_to_get_it(session, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(rf.MissingExtra, match="pip install plotly"):
        session.drift().to_plotly()


def test_nothing_to_draw_is_an_error_in_words(tmp_path):
    venue = rf.venues.Simulated(rf.datasets.synthetic(n=5), speed=None)
    idle = rf.LiveSession(lambda ctx, bar: None, venue, run_dir=tmp_path / "run")
    quality = idle.run(progress=False).execution_quality()
    for draw in (quality.plot, quality.to_plotly):
        with pytest.raises(rf.DataError, match="nothing to draw"):
            draw()
