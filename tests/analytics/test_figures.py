"""Pictures and plotly figures of drift and slippage."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

import regimeflow as rf
from regimeflow.analytics import plots, svg


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


def test_a_drift_shows_all_three_and_names_what_is_drawn(session):
    drift = session.drift()
    top, _ = drift.plot().axes
    handles, names = top.get_legend_handles_labels()
    shown = dict(zip(names, handles, strict=True))
    assert set(shown) == {"95 % cone", "expected", "baseline", "twin", "shadow", "live"}
    assert shown["95 % cone"] in top.collections
    known = ~np.isnan(shown["shadow"].get_ydata())
    expected = drift.column("shadow") / drift.start - 1.0
    assert np.array_equal(shown["shadow"].get_ydata()[known], expected)


def luminance(red, green, blue):
    """Of a colour, as WCAG 2 has it."""
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (red, green, blue)
    ]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one, other):
    low, high = sorted((luminance(*one), luminance(*other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("page", [(1.0, 1.0, 1.0), (0x11 / 255,) * 3])
def test_pictures_can_be_read_on_white_and_on_black(session, page):
    for picture in (session.drift().plot(), session.execution_quality().plot()):
        assert picture.get_facecolor()[3] == 0.0
        for axes in picture.axes:
            assert axes.get_facecolor()[3] == 0.0
            texts = [
                *axes.get_xticklabels(),
                *axes.get_yticklabels(),
                axes.xaxis.label,
                axes.yaxis.label,
                *axes.get_legend().get_texts(),
                *(t for t in axes.texts),
            ]
            if title := axes.get_title(loc="left"):
                texts.append(
                    next(t for t in axes.get_children() if getattr(t, "_text", "") == title)
                )
            for text in texts:
                assert contrast(to_rgb(text.get_color()), page) > 4.0
            for line in axes.lines:
                assert contrast(to_rgb(line.get_color()), page) > 2.8


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ([100_000, 150_000], ["100k", "150k"]),
        ([0, 50_000], ["0", "50k"]),
        ([999_990, 1_000_000, 1_000_010], ["999,990", "1,000,000", "1,000,010"]),
        ([9_960, 9_980, 10_000], ["9,960", "9,980", "10,000"]),
        ([1_000_000, 1_250_000], ["1.00M", "1.25M"]),
        ([-0.5, 0, 0.5], ["-0.5", "0.0", "0.5"]),
        ([99.25, 99.5], ["99.25", "99.50"]),
        ([0.1 + 0.2, 0.4], ["0.3", "0.4"]),
        ([], []),
    ],
)
def test_the_levels_of_an_axis_are_written_alike(levels, told):
    assert svg.alike(levels) == told


@pytest.mark.parametrize(
    ("span_s", "label"), [(0.8, "09:30:55.4"), (8, "09:30:58"), (600, "09:35"), (86_400, "12:00")]
)
def test_the_ticks_of_a_picture_are_times(span_s, label):
    first = pd.Timestamp("2024-01-02 09:30:55", tz="UTC").tz_localize(None)
    times = pd.date_range(first, first + pd.Timedelta(seconds=span_s), periods=20)
    figure = plots.Picture(8.2, 4.0)
    (axes,) = figure.axes_of()
    axes.plot(times.to_numpy(), range(20))
    plots.time_axis(axes, "UTC")
    figure.canvas.draw()
    assert label in [tick.get_text() for tick in axes.get_xticklabels()]


def test_plotly_figures_hold_the_same_numbers(session):
    drift = session.drift()
    traces = {trace.name: trace for trace in drift.to_plotly().data}
    assert list(traces) == [
        "95 % cone, low", "95 % cone", "expected", "baseline", "twin", "shadow", "live"
    ]  # fmt: skip
    assert np.array_equal(traces["live"].y, drift.column("live"))
    assert list(traces["live"].x) == [pd.Timestamp(row.time) for row in drift.rows]
    quality = session.execution_quality()
    (bars,) = quality.to_plotly().data
    assert list(bars.x) == [fill.slippage_bps for fill in quality.fills]
    assert list(bars.y) == [fill.qty for fill in quality.fills]


@pytest.fixture(scope="module")
def american():
    """Two reports in New York's time, of bars that close from 09:31 on."""
    data = rf.datasets.synthetic(n=80, start="2024-01-02 14:30").tz_localize("UTC")
    data = data.tz_convert("America/New_York")
    return [rf.backtest(turns, data, cash=cash) for cash in (1e4, 2e4)]


def test_a_report_as_plotly_figures(american):
    report, _ = american
    equity, drawdown = report.to_plotly().data
    assert list(equity.y[1:]) == list(report.curve.equity)
    assert list(drawdown.y) == list(report.drawdown)
    assert str(equity.x[1]).startswith("2024-01-02T09:31")
    close, buys, sells = report.to_plotly("trades").data
    assert len(close.y) == 80
    assert len(buys.y) + len(sells.y) == len(report.fills)
    assert str(buys.x[0]).startswith("2024-01-02T09:3")
    (heat,) = report.to_plotly("monthly").data
    assert heat.z[0][0] == pytest.approx(report.metrics["total_return"])
    with pytest.raises(rf.ConfigError, match="no picture 'equit'"):
        report.to_plotly("equit")
    with pytest.raises(rf.DataError, match="no prices of 'nope'"):
        report.to_plotly("trades", "nope")


def test_a_comparison_as_a_plotly_figure(american):
    lines = rf.compare(*american).to_plotly()
    assert len(lines.data) == 2
    assert lines.data[1].y[-1] == pytest.approx(american[1].metrics["total_return"])
    assert str(lines.data[0].x[-1]).startswith("2024-01-02T10:50")
    assert "New_York" in lines.layout.xaxis.title.text


def test_a_drift_as_a_plotly_figure_has_the_times_of_its_zone(session):
    drift = session.drift()
    there = rf.analytics.drift.Drift(
        drift.rows, start=drift.start, start_ts=0, timezone="America/New_York"
    )
    moved = pd.Timestamp(drift.rows[0].time) - pd.Timedelta(hours=5)
    assert there.to_plotly().data[-1].x[0] == moved


def test_without_plotly_it_says_how_to_get_it(session, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    report = session.report()
    for one in (session.drift(), report, rf.compare(report, report)):
        with pytest.raises(rf.MissingExtra, match="pip install plotly"):
            one.to_plotly()


def test_nothing_to_draw_is_an_error_in_words(tmp_path):
    venue = rf.venues.Simulated(rf.datasets.synthetic(n=5), speed=None)
    idle = rf.LiveSession(lambda ctx, bar: None, venue, run_dir=tmp_path / "run")
    quality = idle.run(progress=False).execution_quality()
    for draw in (quality.plot, quality.to_plotly):
        with pytest.raises(rf.DataError, match="nothing to draw"):
            draw()
