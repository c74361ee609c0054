"""The report: frames, metrics, faces, pictures and files."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest

from regimeflow.analytics.fold import PriceColumns, RunData
from regimeflow.analytics.metrics import ANNUAL, ANNUAL_FROM_DAYS, SPECS, show
from regimeflow.analytics.months import monthly_returns
from regimeflow.analytics.report import OPTIMISTIC, Report
from regimeflow.analytics.save import PERFORMANCE
from regimeflow.errors import ConfigError, DataError
from regimeflow.model.events import Recorded, RegimeChanged
from regimeflow.model.models import Costs, FillModel, Latency, Model
from regimeflow.model.order import Order, Status
from regimeflow.model.timeframe import NS_PER_DAY

Build = Callable[..., RunData]
FRAMES = ("equity", "fills", "orders", "trades", "open_trades", "records")

R = [0.01, -0.005, 0.007, -0.02, 0.015, 0.003, -0.011, 0.009, 0.0, 0.004, -0.006, 0.012]
B = [0.008, -0.004, 0.002, -0.012, 0.010, 0.001, -0.007, 0.006, 0.001, 0.002, -0.003, 0.008]
#: Closes of the business days from 2024-01-02, UTC.
ANCHOR_TS = np.array(
    [
        1_704_153_600_000_000_000 + (d + 1) * NS_PER_DAY
        for d in (0, 1, 2, 3, 6, 7, 8, 9, 10, 13, 14, 15)
    ]
)


def order(n: int, status: Status, **values: Any) -> Order:
    made = Order(
        f"o{n}", "A", "buy", 10.0, "limit", 11.0, None, "gtc", 0, False, "t", n + 1, n, 10.5
    )
    made.status = status
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def run(make_run: Build) -> Callable[..., RunData]:
    """Return a builder of a run with something of everything in it."""

    def build(**more: Any) -> RunData:
        prices = {
            "A": [10 + math.sin(i / 3) + i / 20 for i in range(90)],
            "B": [50.0 + i % 7 for i in range(80)],
            "C": [1.0] * 90,
        }
        fills = [
            (0, "A", "buy", 10, 10.1, 1.0),
            (30, "A", "sell", 10, 11.2, 1.0),
            (40, "B", "sell", 5, 52.0, 0.5),
            (60, "B", "buy", 8, 50.0, 0.5),
            (61, "A", "buy", 3, 12.3, 0.25),
        ]
        start = {"strategy": "SmaCross", "params": {"fast": 10, "odd": np.float64(0.5)}, "seed": 3}
        defaults: dict[str, Any] = {
            "orders": [
                order(0, Status.FILLED, filled=10.0, average_price=10.1, fees=1.0, updated=9),
                order(1, Status.DENIED, reason="max_notional", decision_price=math.nan),
            ],
            "records": [
                Recorded(1, 5, {"signal": 0.1, "time": 7.0}),
                Recorded(2, 6, {"side": None, "signal": 0.30000000000000004}),
            ],
            "regimes": [RegimeChanged(9, ANCHOR_TS[3].item(), "calm", "wild", 0.75)],
            "benchmark": PriceColumns("IDX", ANCHOR_TS, np.linspace(100, 110, 12)),
            "source_hash": "ab",
            "fingerprint": "cd",
            "notes": ("three bars were dropped",),
            "assumed": ("A: timeframe 1d inferred",),
        }
        return make_run(prices, fills, start=start | more.pop("start", {}), **(defaults | more))

    return build


def anchor(make_run: Build, **more: Any) -> Report:
    """A run whose equity has the anchor's returns: one unit, held from before the first bar."""
    price = PriceColumns("A", ANCHOR_TS, 100.0 * np.cumprod(1.0 + np.array(R)))
    data = make_run({}, cash=0.0, positions={"A": (1, 100.0)})
    return Report(msgspec.structs.replace(data, prices=(price,), timeframe=NS_PER_DAY, **more))


# ---------------------------------------------------------------- metrics


def test_metrics_of_the_known_series(make_run: Build) -> None:
    # The benchmark is known from the day before the run, so no period is left out.
    before = np.append([ANCHOR_TS[0] - NS_PER_DAY], ANCHOR_TS)
    levels = 50.0 * np.cumprod(np.append([1.0], 1.0 + np.array(B)))
    report = anchor(make_run, benchmark=PriceColumns("IDX", before, levels))
    known = {
        "periods_per_year": 252.0,
        "sharpe": 2.3000165947,
        "sortino": 3.4191697310,
        "annual_return": 0.4409732389,
        "cagr": 0.4875359811,
        "volatility": 0.1643466403,
        "max_drawdown": -0.02,
        "omega": 1.4285714286,
        "var_95": -0.01505,
        "cvar_95": -0.02,
        "beta": 1.5458333333,
        "alpha": -0.0114838,
        "information_ratio": 0.1253566341,
        "psr": 0.6750226632,
        "best_return": 0.015,
        "worst_return": -0.02,
        "exposure_time": 1.0,
        # 101.199 at the close of the 4th is not seen again before the 17th ends at 101.755.
        "max_drawdown_duration": 13.0,
    }
    got = {name: report.metrics[name] for name in known}
    assert got == pytest.approx(known, abs=5e-8)


def test_metrics_with_a_risk_free_rate(make_run: Build) -> None:
    assert anchor(make_run).measure(risk_free=0.05).sharpe == pytest.approx(2.0031143425)
    assert anchor(make_run).measure(periods_per_year=365).sharpe == pytest.approx(
        2.3000165947 * math.sqrt(365 / 252)
    )


def test_metrics_of_trading_by_hand(make_run: Build) -> None:
    fills = [
        (0, "A", "buy", 10, 10.0, 1.0),
        (1, "A", "sell", 10, 13.0, 1.0),  # +28
        (2, "A", "buy", 10, 13.0, 1.0),
        (3, "A", "sell", 10, 12.0, 1.0),  # -12
    ]
    metrics = Report(make_run({"A": [10, 13, 13, 12, 12]}, fills)).metrics
    assert metrics.total_trades == 2
    assert metrics.win_rate == 0.5
    assert metrics.profit_factor == pytest.approx(28 / 12)
    assert metrics.average_trade == pytest.approx(8)
    assert metrics.expectancy == pytest.approx((28 / 100 - 12 / 130) / 2)
    assert metrics.total_fees == 4
    assert metrics.final_equity == 1016
    assert metrics.total_return == pytest.approx(0.016)
    assert metrics.exposure_time == pytest.approx(2 / 5)
    mean = (999 + 1028 + 1027 + 1016 + 1016) / 5
    assert metrics.turnover == pytest.approx((100 + 130 + 130 + 120) / 2 / mean / (5 / 365.25))


def test_undefined_metrics_say_why(make_run: Build) -> None:
    metrics = Report(make_run({"A": [10, 11, 12]})).metrics
    assert math.isnan(metrics.sharpe)
    assert metrics.why("sharpe") == "the returns are constant"
    assert metrics.why("win_rate") == "there are no round trips"
    assert metrics.why("total_return") == ""
    assert all(metrics.why(name) for name, value in metrics.items() if math.isnan(value))


@pytest.mark.parametrize("days", [1, 13, 14, 30])
def test_nothing_is_said_per_year_of_a_few_days(make_run: Build, days: int) -> None:
    prices = [10.0 + i % 3 for i in range(days + 1)]
    report = Report(make_run({"A": prices[1:]}, [(0, "A", "buy", 10, 10.0, 0.0)]))
    assert report.curve.ts[-1] - report.curve.start_ts == days * NS_PER_DAY
    known = {name for name in ANNUAL if name in report.metrics and not report.metrics.why(name)}
    assert bool(known) == (days >= ANNUAL_FROM_DAYS)
    if days < ANNUAL_FROM_DAYS and days > 1:
        why = f"the run spans {days} days; returns and risk per year take 14 days"
        assert report.metrics.why("cagr") == why
        assert f"CAGR, Sharpe, Sortino, Volatility: {why}" in report._repr_html_()
    assert not math.isnan(report.metrics["total_return"])


def test_metrics_are_equal_if_undefined_alike(make_run: Build) -> None:
    one, two = (Report(make_run({"A": [10, 11, last]})).metrics for last in (12, 12))
    assert math.isnan(one.sharpe)
    assert one == two
    assert one != dict(two) | {"omega": 1.0}
    assert one != {}


def test_ruin_has_no_period_returns(make_run: Build) -> None:
    report = Report(make_run({"A": [10, 150, 150, 20]}, [(0, "A", "sell", 10, 10.0, 0.0)]))
    assert report.metrics.why("sharpe") == "equity was zero or below at 2024-01-04T00:00:00Z"
    assert report.metrics.total_return == pytest.approx(-0.1)
    assert "<b>–</b>" in report._repr_html_()


def test_metrics_on_ticks_are_daily(make_run: Build) -> None:
    # Four ticks on two days: the return of the second day is what counts.
    ts = np.array([100, 200, NS_PER_DAY + 100, NS_PER_DAY + 200]) + ANCHOR_TS[0]
    data = make_run({}, cash=0.0, positions={"A": (1, 100.0)})
    prices = (PriceColumns("A", ts, np.array([100.0, 110.0, 50.0, 121.0])),)
    report = Report(msgspec.structs.replace(data, prices=prices, timeframe=0))
    assert report.metrics.best_return == pytest.approx(0.1)
    assert report.metrics.worst_return == pytest.approx(0.1)
    assert report.metrics.max_drawdown == pytest.approx(50 / 110 - 1)


def test_metrics_complete_and_correct_names(make_run: Build) -> None:
    metrics = anchor(make_run).metrics
    assert "sharpe" in dir(metrics)
    assert "sharpe" in metrics._ipython_key_completions_()
    with pytest.raises(AttributeError, match="Did you mean 'sharpe'"):
        metrics.sharp  # noqa: B018
    with pytest.raises(KeyError, match="beta needs a benchmark"):
        metrics["beta"]
    assert set(metrics) == set(SPECS) - {"beta", "alpha", "information_ratio"}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("total_return", -0.0512, "-5.12 %"),
        ("cagr", 1e9, "1.00e+11 %"),
        ("total_trades", 1234.0, "1,234"),
        ("max_drawdown_duration", 12.0, "12 d"),
        ("max_drawdown_duration", 0.25, "0.25 d"),
        ("final_equity", 1234567.891, "1,234,567.89"),
        ("sharpe", math.nan, "–"),
    ],
)
def test_numbers_carry_their_unit(name: str, value: float, text: str) -> None:
    assert show(name, value) == text


def test_months_by_hand(make_run: Build) -> None:
    # 2024-01-02 is the first bar; the one that closes at midnight on 1 February is January's.
    data = make_run(
        {"A": [100.0] * 29 + [110.0, 121.0, 121.0]}, positions={"A": (10, 100.0)}, cash=0
    )
    months = monthly_returns(Report(data).curve, "UTC")
    assert months == pytest.approx({(2024, 1): 0.10, (2024, 2): 0.10})
    # In New York that bar ended on the evening of 31 January, and so did the next one's start.
    assert monthly_returns(Report(data).curve, "America/New_York") == pytest.approx(months)


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize("flavour", ["pandas", "polars"])
def test_frames_come_in_the_flavour_of_the_data(run: Build, flavour: str) -> None:
    report = Report(run(flavour=flavour))
    kind = pd.DataFrame if flavour == "pandas" else pl.DataFrame
    assert all(isinstance(getattr(report, name), kind) for name in FRAMES)
    assert list(report.equity.columns) == ["time", "equity", "cash", "exposure", "drawdown"]
    assert list(report.fills.columns) == [
        "time", "symbol", "side", "qty", "price", "fee", "order_id", "liquidity", "venue",
    ]  # fmt: skip
    assert list(report.trades.columns) == [
        "symbol", "side", "qty", "entry_time", "entry_price", "exit_time", "exit_price",
        "pnl", "fees", "return", "bars",
    ]  # fmt: skip
    assert list(report.records.columns) == ["time", "signal", "time_value", "side"]
    assert len(report.equity) == 90
    assert len(report.trades) == 2
    assert len(report.open_trades) == 2
    assert list(report.orders["status"]) == ["filled", "denied"]
    assert list(report.orders["reason"]) == ["", "max_notional"]
    assert report.orders["average_price"][0] == 10.1


@pytest.mark.parametrize("flavour", ["pandas", "polars"])
def test_empty_frames_have_their_columns_and_types(make_run: Build, flavour: str) -> None:
    empty, full = (
        Report(make_run({"A": [1.0]}, fills, flavour=flavour))
        for fills in ([], [(0, "A", "buy", 1, 1.0, 0.0)])
    )
    for name in ("equity", "fills", "open_trades"):
        types = [list(getattr(r, name).dtypes) for r in (empty, full)]
        assert types[0] == types[1], name


def test_a_fill_shows_when_it_happened(make_run: Build) -> None:
    data = make_run({"A": [10, 11]}, [(1, "A", "buy", 1, 10.0, 0.0)])
    at = 1_704_240_000_000_000_000
    fill = msgspec.structs.replace(data.fills[0], executed_at=at)
    report = Report(msgspec.structs.replace(data, fills=[fill], timezone="Europe/Paris"))
    assert report.fills["time"][0] == pd.Timestamp("2024-01-03T01:00:00+01:00")
    assert report.open_trades["entry_time"][0] == pd.Timestamp("2024-01-03T00:00:00Z")


def test_drawdown_counts_the_starting_capital(make_run: Build) -> None:
    report = Report(make_run({"A": [9, 10, 11]}, [(0, "A", "buy", 10, 10.0, 0.0)]))
    assert report.equity["drawdown"].tolist() == pytest.approx([-0.01, 0.0, 0.0])


def test_nothing_is_folded_before_it_is_asked_for(run: Build) -> None:
    report = Report(run())
    assert set(vars(report)) == {"data", "_foreign"}
    dir(report)
    assert set(vars(report)) == {"data", "_foreign"}


# ---------------------------------------------------------------- faces


def test_repr_is_one_line_without_addresses(run: Build) -> None:
    text = repr(Report(run(start={"params": {"fast": 10}})))
    assert text.startswith(
        "<Report SmaCross(fast=10): A, B, C, 2024-01-02 to 2024-03-31, 90 bars of 1d"
    )
    assert "\n" not in text
    assert "0x" not in text


HOSTILE = "</td></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


class Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.urls: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen |= {tag, *(name for name, _ in attrs)}
        self.urls += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def pages(report: Report, tmp_path: Path) -> list[str]:
    report.tearsheet(tmp_path / "sheet.html")
    return [report._repr_html_(), (tmp_path / "sheet.html").read_text(encoding="utf-8")]


def picture_in(page: str) -> str:
    """The chart of a face, which it carries in an image."""
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', page)
    assert len(found) == 1
    return base64.b64decode(found[0]).decode()


def test_the_tear_sheet_names_the_worst_drawdowns(make_run: Any, tmp_path: Path) -> None:
    prices = [100.0, 110.0, 99.0, 110.0, 111.0, 88.8, 90.0]
    data = make_run({"A": prices}, [(0, "A", "buy", 10.0, 100.0, 0.0)])
    text = re.sub("<[^>]*>", "|", pages(Report(data), tmp_path)[1])
    rows = text.split("Worst drawdowns")[1].split("Metrics")[0]
    cells = [cell for cell in rows.split("|") if cell][5:15]
    assert cells == [
        "-20.00 %", "2024-01-06", "2024-01-07", "not yet", "2",
        "-10.00 %", "2024-01-03", "2024-01-04", "2024-01-05", "1",
    ]  # fmt: skip


def test_pages_are_well_formed_deterministic_and_alone(run: Build, tmp_path: Path) -> None:
    first, second = pages(Report(run()), tmp_path), pages(Report(run()), tmp_path)
    assert first == second
    for page in first:
        tags = Tags(page)
        assert not tags.open
        assert all(url.startswith("data:image/svg+xml;base64,") for url in tags.urls)
        assert not tags.seen & {"script", "link", "iframe", "id", "onclick"}
        assert "@import" not in page
        assert "url(" not in page
        assert "three bars were dropped" in page
        charts = re.findall(r"<svg.*?</svg>", page) or [picture_in(page)]
        for svg in charts:
            ET.fromstring(svg)
            assert "nan" not in svg
    assert len(first[0]) < 60_000


def test_pages_escape_what_others_wrote(run: Build, tmp_path: Path) -> None:
    bad = run(
        notes=(HOSTILE,),
        error=HOSTILE,
        benchmark=PriceColumns(HOSTILE, ANCHOR_TS, np.linspace(1, 2, 12)),
        orders=[order(0, Status.REJECTED, reason=HOSTILE)],
        regimes=[RegimeChanged(1, int(ANCHOR_TS[2]), HOSTILE, "b")],
        source_hash=HOSTILE,
        start={"strategy": HOSTILE, "params": {HOSTILE: HOSTILE}},
    )
    begin = msgspec.structs.replace(bad.start, symbols=(HOSTILE,))
    named = [msgspec.structs.replace(f, symbol=HOSTILE) for f in bad.fills]
    prices = [PriceColumns(HOSTILE, p.ts, p.close) for p in bad.prices[:1]]
    report = Report(msgspec.structs.replace(bad, start=begin, fills=named, prices=prices))
    for page in [*pages(report, tmp_path), report.metrics._repr_html_()]:
        tags = Tags(page)
        assert not tags.open
        assert not tags.seen & {"script", "onerror"}
        assert "<script" not in page
        assert "x" not in tags.urls


def test_a_million_bars_make_a_small_page(make_run: Build) -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    ts = ANCHOR_TS[0] + np.arange(n) * 60 * 10**9
    data = make_run({}, cash=0.0, positions={"A": (1, 100.0)})
    prices = (PriceColumns("A", ts, 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, n)))),)
    notes = tuple("x" * 5_000 for _ in range(1_000))
    report = Report(msgspec.structs.replace(data, prices=prices, timeframe=60 * 10**9, notes=notes))
    assert len(report._repr_html_()) < 60_000


@pytest.mark.parametrize("close", [[], [10.0], [10.0, 10.0]])
def test_pages_of_almost_nothing(make_run: Build, close: list[float], tmp_path: Path) -> None:
    report = Report(make_run({"A": close} if close else {}))
    for page in pages(report, tmp_path):
        assert "A dash is undefined. " in page
    assert "no prices" in repr(report) or "bars of 1d" in repr(report)


def test_optimistic_fills_are_named(run: Build, tmp_path: Path) -> None:
    model = Model(
        fills=FillModel(market="close"),
        costs=Costs(maker_bps=-1, taker_bps=5, minimum=2, per_share=0.01),
        latency=Latency(order_ms=5),
    )
    report = Report(run(start={"model": model}))
    assert OPTIMISTIC in report.notes
    for page in pages(report, tmp_path):
        assert "Optimistic fills" in page
    assert report.assumptions() == [
        "market orders on bars fill at the close of the bar they were decided on",
        "costs: maker -1 bps, taker 5 bps, 0.01 a unit, at least 2 an order",
        "latency: orders 5 ms",
    ]
    assert OPTIMISTIC not in Report(run()).notes


def test_what_was_inferred_is_an_assumption_and_no_warning(run: Build, tmp_path: Path) -> None:
    report = Report(run(assumed=("A: timeframe 1d inferred", HOSTILE)))
    line = "Market orders on bars fill at the next bar's open; costs: none; latency: none; "
    assert report.notes == ("three bars were dropped",)
    for page in pages(report, tmp_path):
        text = Text(page).text
        assert f"{line}A: timeframe 1d inferred; {HOSTILE}." in text
    assert f"Inferred from the data|A: timeframe 1d inferred; {HOSTILE}" in text


# ---------------------------------------------------------------- a face that nobody trusts

#: What JupyterLab 4.6 leaves in the output of a notebook that is not trusted: elements,
#: and properties of inline styles. Text of other elements stays, but for that of style and script.
KEPT_TAGS = {"b", "code", "div", "img", "span", "table", "tbody", "td", "th", "thead", "tr"}
KEPT_STYLES = {
    "background", "background-color", "border", "border-collapse", "border-left", "border-top",
    "display", "font-size", "font-weight", "height", "line-height", "margin", "margin-top",
    "max-width", "opacity", "overflow-x", "padding", "text-align", "white-space", "width",
}  # fmt: skip


class Text(HTMLParser):
    """What is left to read when every style is taken away: cells apart, by row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.skip = 0
        self.tables: list[list[list[str]]] = []
        self.colours: dict[str, str] = {}
        self._style = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.skip += tag == "style"
        self._style = dict(attrs).get("style") or ""
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.text += "|"

    def handle_endtag(self, tag: str) -> None:
        self.skip -= tag == "style"

    def handle_data(self, data: str) -> None:
        if self.skip:
            return
        self.text += data
        if self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data
        if found := re.search(r"background-color:(rgba\(.*?\))", self._style):
            self.colours[data] = found[1]


def faces(report: Report) -> list[str]:
    return [report._repr_html_(), report.metrics._repr_html_()]


def test_a_sanitizer_finds_nothing_to_take_but_the_style(run: Build) -> None:
    for page in faces(Report(run())):
        used = set(re.findall(r"<(\w+)", page))
        assert used <= KEPT_TAGS | {"style"}
        assert "var(" not in page
        inline = ";".join(re.findall(r' style="(.*?)"', page))
        properties = {item.split(":")[0].strip() for item in inline.split(";") if item.strip()}
        # Even figures are a nicety, lost without harm.
        assert properties <= KEPT_STYLES | {"font-variant-numeric"}
        # No colour of text: it is the page's own, light or dark.
        assert "color" not in properties


def test_the_face_without_styles_is_tables(run: Build) -> None:
    tiles, months = Text(Report(run())._repr_html_()).tables
    assert tiles[0] == ["Total return", "CAGR", "Sharpe", "Sortino", "Volatility", "Max drawdown"]
    assert tiles[2][:2] == ["Round trips", "Win rate"]
    # Two round trips, both with a profit: A from 10.1 to 11.2, and B sold at 52, bought at 50.
    assert tiles[3][:2] == ["2", "100.00 %"]
    assert [len(row) for row in tiles] == [6, 6, 6, 6]
    assert " ".join(months[0]) == " Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec Year"
    assert months[1][0] == "2024"
    assert months[1][4:13] == [""] * 9
    rows = dict(row[:2] for row in Text(Report(run()).metrics._repr_html_()).tables[0])
    assert rows["Round trips"] == "2"


def test_months_are_blue_for_gains_and_orange_for_losses(make_run: Build) -> None:
    # January ends after 30 bars, February after 59, March after 90: +10 %, -5 %, 0 %.
    prices = [100.0] * 29 + [110.0] * 29 + [104.5] * 32
    data = make_run({"A": prices}, cash=0, positions={"A": (1, 100.0)})
    page = Text(Report(data)._repr_html_())
    assert page.tables[1][1][1:4] == ["10.0", "-5.0", "0.0"]
    assert set(page.colours) == {"10.0", "-5.0"}
    red, _, blue, strong = (float(v) for v in page.colours["10.0"][5:-1].split(","))
    assert blue > red
    assert 0.3 < strong < 0.7  # the page and its text shine through
    red, _, blue, weak = (float(v) for v in page.colours["-5.0"][5:-1].split(","))
    assert red > blue
    assert weak == pytest.approx(strong / 2, abs=0.01)


def test_the_picture_is_readable_on_white_and_on_black(run: Build) -> None:
    picture = picture_in(Report(run())._repr_html_())
    root = ET.fromstring(picture)
    assert [e for e in root.iter() if e.tag.endswith("}text")]
    assert not {name for e in root.iter() for name in e.attrib} & {"href", "onload", "src"}
    used = set(re.findall(r"(?:fill|stroke):(#\w{6})", picture))
    assert len(used) >= 4
    for colour in used:
        # WCAG 2.2, 1.4.11: graphics need 3 to 1 against what is beside them.
        assert contrast(colour, "#ffffff") > 3.0, colour
        assert contrast(colour, "#121212") > 3.0, colour


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two colours, by WCAG 2.2."""
    levels = []
    for colour in (a, b):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        levels.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(levels) + 0.05) / (min(levels) + 0.05)


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("kind", ["equity", "monthly", "trades"])
def test_pictures_show_themselves(run: Build, kind: Any) -> None:
    picture = Report(run(start={"strategy": "costs $5 and $6"})).plot(kind)
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert picture.axes
    assert not re.search("0x[0-9a-f]{6}", repr(picture))


def test_pictures_do_not_load_pyplot(run: Build) -> None:
    import subprocess
    import sys

    code = (
        "import sys, regimeflow.analytics.report;"
        "assert 'matplotlib' not in sys.modules;"
        "import regimeflow.analytics.plots;"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_picture_of_what_is_not_there(run: Build, make_run: Build) -> None:
    report = Report(run())
    with pytest.raises(ConfigError, match="Did you mean 'equity'"):
        report.plot("equty")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="kind='trades'"):
        report.plot("equity", "A")
    with pytest.raises(DataError, match="no prices of 'Z'"):
        report.plot("trades", "Z")
    with pytest.raises(DataError, match="nothing to draw"):
        Report(make_run({})).plot()


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("flavour", ["pandas", "polars"])
def test_a_loaded_report_is_equal(run: Build, tmp_path: Path, flavour: str) -> None:
    saved = Report(run(flavour=flavour, timezone="Asia/Tokyo", error="stopped at bar 90"))
    saved.save(tmp_path / "deep" / "baseline.json")
    loaded = Report.load(tmp_path / "deep" / "baseline.json")
    for name in FRAMES:
        assert getattr(loaded, name).equals(getattr(saved, name)), name
    # NaN is not equal to itself; its text is.
    assert repr(dict(loaded.metrics)) == repr(dict(saved.metrics))
    assert loaded.model == saved.model
    assert loaded.assumed == ("A: timeframe 1d inferred",)
    for name in ("notes", "error", "source_hash", "fingerprint", "strategy", "symbols", "params"):
        assert getattr(loaded, name) == getattr(saved, name)
    assert loaded.data.regimes == list(saved.data.regimes)
    assert loaded._repr_html_() == saved._repr_html_()
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (
        tmp_path / "deep" / "baseline.json"
    ).read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["again.json"]


def test_the_file_has_the_names_that_users_know(run: Build, tmp_path: Path) -> None:
    report = Report(run())
    report.save(tmp_path / "r.json")
    raw = json.loads((tmp_path / "r.json").read_text())
    assert raw["schema"] == "regimeflow.report.v1"
    assert set(raw["performance"]) == set(PERFORMANCE)
    assert raw["performance"]["total_return"] == report.metrics.total_return
    assert {"max_drawdown", "win_rate", "profit_factor", "total_trades"} <= set(
        raw["performance_summary"]
    )
    assert raw["params"] == {"fast": 10, "odd": 0.5}
    assert raw["model"]["fills"] == {"market": "next_open"}
    assert (raw["source_hash"], raw["fingerprint"]) == ("ab", "cd")
    assert set(raw["regime_performance"]) == {"calm", "wild"}
    assert raw["transitions"][0]["after"] == "wild"
    # Of a symbol that was never held only the times are kept.
    assert [p["close"] is None for p in raw["run"]["prices"]] == [False, False, True]


def test_regimes_share_the_periods(run: Build, tmp_path: Path) -> None:
    report = Report(run())
    report.save(tmp_path / "r.json")
    regimes = json.loads((tmp_path / "r.json").read_text())["regime_performance"]
    # It changed at the close of the fourth bar: the fifth period is the first in the new one.
    assert regimes["calm"]["periods"] == 4
    assert regimes["wild"]["periods"] == 86
    growth = (1 + regimes["calm"]["total_return"]) * (1 + regimes["wild"]["total_return"])
    assert growth - 1 == pytest.approx(report.metrics.total_return)


def test_undefined_is_null_in_the_file(make_run: Build, tmp_path: Path) -> None:
    Report(make_run({"A": [1.0, 1.0]})).save(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["performance"]["sharpe"] is None


def test_a_file_from_before_assumptions_were_kept_is_read(run: Build, tmp_path: Path) -> None:
    Report(run()).save(tmp_path / "r.json")
    raw = json.loads((tmp_path / "r.json").read_text())
    assert raw["run"].pop("assumed") == ["A: timeframe 1d inferred"]
    (tmp_path / "r.json").write_text(json.dumps(raw))
    report = Report.load(tmp_path / "r.json")
    assert (report.assumed, report.notes) == ((), ("three bars were dropped",))


def test_regular_times_take_no_room(make_run: Build, tmp_path: Path) -> None:
    Report(make_run({"A": [1.0] * 5_000})).save(tmp_path / "r.json")
    assert (tmp_path / "r.json").stat().st_size < 5_000


def test_a_foreign_baseline_brings_its_metrics(tmp_path: Path) -> None:
    path = tmp_path / "cpp.json"
    path.write_text(
        '{"performance": {"total_return": 0.1, "sharpe": 1.5, "sortino": null, "label": "x"},'
        ' "performance_summary": {"max_drawdown": 0.2, "total_trades": 7, "ok": true},'
        ' "regime_performance": [1, 2], "transitions": {"a": 1}, "more": []}'
    )
    report = Report.load(path)
    assert dict(report.metrics) == pytest.approx(
        {"total_return": 0.1, "sharpe": 1.5, "sortino": math.nan, "max_drawdown": -0.2,
         "total_trades": 7.0}, nan_ok=True,
    )  # fmt: skip
    assert report.model is None
    assert all(len(getattr(report, name)) == 0 for name in FRAMES)
    for page in pages(report, tmp_path):
        assert "1.50" in page
    assert repr(report).startswith("<Report Report: metrics only, total return 10.00 %")
    report.save(tmp_path / "again.json")
    assert Report.load(tmp_path / "again.json").metrics["sharpe"] == 1.5
    with pytest.raises(DataError, match="nothing to draw"):
        report.plot()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the report .*No such file"),
        ("", "is not a report"),
        ("[]", "is not a report"),
        ("{}", "neither 'run' nor numbers"),
        ('{"performance": {"a": "b"}}', "neither 'run' nor numbers"),
        ('{"performance": 3}', r"is not a report: Expected `object`.*\$.performance"),
        ('{"schema": "regimeflow.report.v9"}', "its schema is 'regimeflow.report.v9'"),
        ('{"run": {"start": {"kind": "start"}}}', r"is not a report: .*\$.run"),
        (b"\xff\xfe{}", "is not a report"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        Report.load(path)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("prices", 0, "axis"), 9, "name no time axis"),
        (("prices", 0, "close"), [1.0], "do not fit"),
        (("axes", 0, "counts"), [0], r"`int` >= 1.*\$.run.axes"),
        (("axes", 0, "counts"), [], "one count for each gap"),
        (("axes", 0, "counts"), [10**15], r"`int` <= 100000000.*\$.run.axes"),
        (
            ("axes", 0),
            {"first": 0, "gaps": [1] * 3, "counts": [10**8] * 3},
            "more than 100,000,000",
        ),
        (("axes", 0, "first"), 10**30, r"\$.run.axes"),
        (("axes", 0, "gaps"), [10**30], r"\$.run.axes"),
        (("axes", 0, "gaps"), [2**62], "nor pass the year 2262"),
        (("axes", 0, "gaps"), [-1], "must not fall"),
        (("fills", 0, "ts"), 10**30, "a time in fills lies beyond"),
        (("orders", 0, "created"), -(10**30), "a time in orders lies beyond"),
        (("start", "seen"), 10**30, "a time in start lies beyond"),
        (("orders", 0, "status"), "lost", "Invalid enum value 'lost'"),
        (("fills", 0, "qty"), None, r"\$.run.fills"),
    ],
)
def test_a_damaged_file_is_refused(
    run: Build, tmp_path: Path, where: tuple[Any, ...], value: Any, message: str
) -> None:
    path = tmp_path / "r.json"
    Report(run()).save(path)
    raw = json.loads(path.read_text())
    place = raw["run"]
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match=message):
        Report.load(path)


def test_saving_where_one_cannot(run: Build, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        Report(run()).save(tmp_path / "file" / "r.json")
    (tmp_path / "dir").mkdir()
    with pytest.raises(DataError, match="cannot write"):
        Report(run()).save(tmp_path / "dir")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dir", "file"]
