"""Drift, live and from the journal: the same numbers, known tables, and the files of a session."""

from __future__ import annotations

import csv
import itertools
import json
import math
import stat
from functools import partial

import msgspec
import pandas as pd
import pytest

import regimeflow as rf
from regimeflow.analytics.drift import CSV_COLUMNS
from regimeflow.data.frames import load
from regimeflow.engine.drive import drive
from regimeflow.engine.engine import Engine
from regimeflow.errors import DataError, SessionError
from regimeflow.model.events import Adjusted, Command, Resumed
from regimeflow.model.models import Limits, Model
from regimeflow.session import freeze
from regimeflow.session.backtest import instruments_of, start_event
from regimeflow.session.companions import Shadow, Twin, anchor_of, rolling_history
from regimeflow.session.drift import DRIFT_NAME, PERFORMANCE_NAME, DriftFiles, DriftFold
from regimeflow.session.run_dir import open_run
from regimeflow.venues.matching import Matched, Matcher, matched_on
from regimeflow.venues.tape import Tape


class Plan(rf.Strategy):
    """Buys at the first bar of fifty and sells at the thirtieth."""

    units: int = 10

    def initialize(self, ctx):
        self.n = 0

    def act(self, ctx, symbol):
        self.n += 1
        if self.n % 50 == 1:
            ctx.buy(symbol, self.units)
        elif self.n % 50 == 30:
            ctx.sell(symbol, self.units)

    def on_bar(self, ctx, bar):
        self.act(ctx, bar.symbol)

    def on_tick(self, ctx, tick):
        self.act(ctx, tick.symbol)

    def on_quote(self, ctx, quote):
        self.act(ctx, quote.symbol)


class Session:
    """A live session on the simulator with a drift beside it, in this thread.

    ``disturb``: called with (count, event, engine) after each event, and may change the books or
    return further events to tell the engine.
    """

    def __init__(self, strategy, frame, run_dir, *, model=None, base=None, baseline=None,
                 calendar=None, cash=10_000.0, disturb=None, limits=None):  # fmt: skip
        self.model, self.dataset = model or Model(), load(frame, calendar=calendar)
        self.tape, rules = Tape(self.dataset), instruments_of(self.dataset, None)
        frozen = freeze.freeze(strategy)
        manifest = freeze.describe(strategy, run="drift", frozen=frozen, venue="here")
        begin = start_event(strategy, self.tape, run="drift", cash=cash, model=self.model,
                            rules=rules, limits=limits or Limits(), seed=0)  # fmt: skip
        self.begin = msgspec.structs.replace(begin, frozen_sha256=manifest.frozen_sha256)
        own = freeze.thaw(frozen)
        self.engine = Engine(own, rolling_history(own, self.begin))
        kinds, base = matched_on(self.dataset), base or self.model
        self.shadow = Shadow(self.engine, base, kinds)
        anchor = partial(anchor_of, self.engine)
        loads = partial(freeze.load_upgrade, run_dir)
        self.twin = Twin(freeze.thaw(frozen), self.begin, base, kinds, anchor, loads)
        self.fold = DriftFold(self.engine, self.shadow, self.twin, baseline)
        self.disturb, self.count = disturb, 0
        self.run_dir = run_dir
        self.journal = open_run(run_dir, manifest, frozen, sync=False)
        self.files = DriftFiles(run_dir, self.fold, "drift")
        matcher = Matcher(self.model, self.engine.instruments, matched_on(self.dataset))
        self.inner = Matched(lambda: (self.tape.head(self.begin), *self.tape.segments()), matcher)

    def events(self):
        for event in self.inner.events():
            yield event
            self.count += 1
            if self.disturb is not None:
                yield from self.disturb(self.count, event, self.engine) or ()

    def send(self, outputs):
        self.inner.send(outputs)

    def run(self):
        try:
            companions = (self.shadow, self.twin, self.fold, self.files)
            drive(self.engine, self, self.journal, companions)
        finally:
            self.journal.close()
        return self


def bars(opens, last, freq="1min", start="2024-01-02"):
    index = pd.date_range(start, periods=len(opens), freq=freq)
    closes = [*opens[1:], last]
    return pd.DataFrame(
        {
            "open": opens,
            "high": [max(pair) for pair in zip(opens, closes, strict=True)],
            "low": [min(pair) for pair in zip(opens, closes, strict=True)],
            "close": closes,
            "volume": 1_000.0,
        },
        index=index,
    )


@pytest.fixture(scope="module")
def frame():
    return rf.datasets.synthetic(n=600, seed=3)


CHEAP, DEAR = Model(costs=rf.Costs(commission_bps=1)), Model(costs=rf.Costs(per_share=1.0))


def test_a_table_to_follow_by_hand(tmp_path):
    # Bought ten at the open of the second bar, 100; a unit costs 1 live and nothing expected.
    frame = bars([99.0, 100.0, 102.0, 96.0], 98.0)
    session = Session(Plan(), frame, tmp_path / "run", model=DEAR, base=Model()).run()
    table = session.fold.drift().frame()
    assert table["live"].tolist() == [10_000.0, 10_010.0, 9_950.0, 9_970.0]
    assert table["shadow"].tolist() == [10_000.0, 10_020.0, 9_960.0, 9_980.0]
    assert table["twin"].tolist() == table["shadow"].tolist()
    assert table["execution"].tolist() == [0.0, -10.0, -10.0, -10.0]
    assert table["decisions"].tolist() == [0.0] * 4
    assert table["daily_pnl"].tolist() == [0.0, 10.0, -50.0, -30.0]
    assert table["total_return"].round(9).tolist() == [0.0, 0.001, -0.005, -0.003]
    assert table["drawdown"].tolist() == pytest.approx(
        [0.0, 0.0, 9_950 / 10_010 - 1, 9_970 / 10_010 - 1]
    )
    assert table["baseline"].isna().all()
    assert table["time"].iloc[0] == frame.index[1]  # a bar's time is its close
    assert rf.drift(tmp_path / "run").notes == (
        "there is no baseline: shadow and twin use the models of the run",
    )


def ticks(kind):
    return rf.datasets.synthetic(kind, n=600, seed=5, timeframe="10s")


def command(at, name):
    """Steer the run after its n-th event."""

    def disturb(count, event, engine):
        return [Command(event.ts, event.seen, name, "test", "test")] if count == at else ()

    return disturb


RUNS = {
    "bars": (lambda: rf.datasets.synthetic(n=600, seed=3), {}),
    "daily": (lambda: bars([50.0 + i % 7 for i in range(90)], 51.0, "1D"), {}),
    "close": (
        lambda: rf.datasets.synthetic(n=200, seed=3),
        {"model": Model(fills=rf.FillModel(market="close")), "base": Model()},
    ),
    "latency": (
        lambda: rf.datasets.synthetic(n=300, seed=3),
        {"model": Model(latency=rf.Latency(order_ms=90_000, data_ms=30))},
    ),
    "symbols": (lambda: rf.datasets.synthetic(n=200, seed=5, symbols=("B", "A")), {}),
    "trades": (lambda: ticks("trades"), {}),
    "quotes": (lambda: ticks("quotes"), {}),
    "calendar": (
        lambda: rf.datasets.synthetic(n=900, seed=4, calendar="XNYS", timeframe="5min"),
        {"calendar": "XNYS"},
    ),
    "halted": (lambda: rf.datasets.synthetic(n=200, seed=3), {"disturb": command(61, "halt")}),
    "flattened": (
        lambda: rf.datasets.synthetic(n=200, seed=3),
        {"disturb": command(61, "flatten"), "limits": Limits(max_drawdown=0.9)},
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_journal_alone_gives_the_same_numbers_to_the_bit(tmp_path, name):
    make, options = RUNS[name]
    frame = make()
    options = {"model": DEAR, "base": CHEAP, **options}
    costs = options["base"].costs
    report = rf.backtest(
        Plan(), frame, calendar=options.get("calendar"), costs=costs,
        fills=options["base"].fills, latency=options["base"].latency,
    )  # fmt: skip
    session = Session(Plan(), frame, tmp_path / "run", baseline=report, **options).run()
    live, again = session.fold.drift(), rf.drift(tmp_path / "run", report)
    assert len(live.rows) > 50
    assert again.rows == live.rows
    assert again.start == live.start
    assert again.csv() == live.csv() == (tmp_path / "run" / DRIFT_NAME).read_text()
    written = json.loads((tmp_path / "run" / PERFORMANCE_NAME).read_bytes())
    assert written == json.loads(msgspec.json.encode(again.performance()))
    # The last row is what the accounts hold, and the report's curve is live's.
    assert live.rows[-1].live == session.engine.desk.equity()
    assert live.rows[-1].twin == session.twin.account().equity
    if name != "trades" and name != "quotes":
        curve = rf.drift(tmp_path / "run").column("live")
        assert curve.tolist() == pytest.approx(recorded_curve(tmp_path / "run"))


def recorded_curve(run_dir):
    from regimeflow.session.recorded import report_of

    return report_of(run_dir).equity["equity"].tolist()


def test_ticks_are_noted_once_a_minute_and_at_the_end(tmp_path):
    frame = ticks("trades")
    session = Session(Plan(), frame, tmp_path / "run").run()
    times = [row.time for row in session.fold.drift().rows]
    minutes = [ts // 60_000_000_000 for ts in times]
    stamps = frame.index.as_unit("ns").asi8.tolist()
    assert minutes[:-1] == sorted(set(minutes[:-1]))
    assert set(times) <= set(stamps)
    assert times[-1] == stamps[-1]


def test_the_shortfall_is_against_as_many_bars_not_the_whole_period(tmp_path, frame):
    # A trap: over its 600 bars the baseline returned something else than over the first hundred.
    report = rf.backtest(Plan(), frame, cash=10_000)
    session = Session(Plan(), frame.head(100), tmp_path / "run", baseline=report).run()
    drift = session.fold.drift()
    over_as_many = report.equity["equity"].iloc[99] / 10_000 - 1
    assert report.metrics["total_return"] != pytest.approx(over_as_many, rel=0.01)
    assert drift.rows[-1].baseline == over_as_many
    assert drift.shortfall == 0.0
    assert drift.column("shortfall").tolist() == [0.0] * 100
    text = (tmp_path / "run" / DRIFT_NAME).read_text()
    lines = list(csv.DictReader(text.splitlines()))
    assert {line["shortfall_vs_backtest"] for line in lines} == {"0.0"}
    written = json.loads((tmp_path / "run" / PERFORMANCE_NAME).read_bytes())
    assert written["baseline_total_return"] == report.metrics["total_return"]
    assert written["shortfall_vs_backtest"] == 0.0


def test_a_baseline_of_other_bars_is_aligned_by_time(tmp_path):
    daily = bars([100.0, 110.0, 121.0], 133.1, "1D")
    report = rf.backtest(lambda ctx, bar: ctx.target(bar.symbol, weight=1.0), daily, cash=10_000)
    hourly = bars([100.0] * 80, 100.0, "1h")
    drift = Session(Plan(), hourly, tmp_path / "run", baseline=report).run().fold.drift()
    baseline = drift.column("baseline")
    equity = report.equity["equity"]
    assert baseline[22] == 0.0  # before the first day is over
    assert baseline[23] == equity.iloc[0] / 10_000 - 1
    assert baseline[47] == equity.iloc[1] / 10_000 - 1
    assert baseline[71] == equity.iloc[2] / 10_000 - 1
    assert math.isnan(baseline[72])
    assert drift.notes == ("the run has gone on for longer than the baseline did",)
    assert math.isnan(drift.shortfall)


def test_a_days_profit_begins_anew_with_its_session(tmp_path):
    # Daily bars: one a session. Bought ten at 100, the open of the second day.
    frame = bars([99.0, 100.0, 102.0, 96.0], 98.0, "1D")
    drift = Session(Plan(), frame, tmp_path / "run").run().fold.drift()
    assert drift.column("daily_pnl").tolist() == [0.0, 20.0, -60.0, 20.0]


def foreign(tmp_path, **performance):
    path = tmp_path / "baseline.json"
    summary = {"max_drawdown": 0.2, "total_trades": 7}
    path.write_text(json.dumps({"performance": performance, "performance_summary": summary}))
    return path


def test_a_baseline_of_returns_alone_says_so_and_grows_by_the_year(tmp_path):
    daily = bars([100.0] * 365, 100.0, "1D")
    Session(Plan(), daily, tmp_path / "run", model=DEAR).run()
    path = foreign(tmp_path, total_return=0.5, cagr=0.10, volatility=0.20)
    drift = rf.drift(tmp_path / "run", path)
    assert "returns only, no model of fills and costs" in drift.notes[0]
    assert drift.execution == 0.0  # the run's own models: nothing is held against them
    elapsed_years = 365 / 365.25
    assert drift.rows[-1].baseline == pytest.approx(1.10**elapsed_years - 1)
    cone = drift.cone()
    half = 1.959963984540054 * 0.20 * math.sqrt(elapsed_years)
    middle = math.log(1.10) * elapsed_years
    assert cone["low"].iloc[-1] == pytest.approx(math.exp(middle - half) - 1)
    assert cone["high"].iloc[-1] == pytest.approx(math.exp(middle + half) - 1)
    assert drift.performance()["baseline_total_return"] == 0.5


def test_a_baseline_without_a_yearly_growth_leaves_nothing_to_compare(tmp_path, frame):
    Session(Plan(), frame.head(60), tmp_path / "run").run()
    drift = rf.drift(tmp_path / "run", foreign(tmp_path, total_return=0.5))
    assert "nothing to hold it against" in drift.notes[0]
    assert math.isnan(drift.shortfall)
    assert drift.cone()["middle"].isna().all()
    assert "unknown" in str(drift)
    assert drift.plot()._repr_png_().startswith(b"\x89PNG")
    assert drift.csv().splitlines()[-1].split(",")[5] == ""


def test_the_cone_is_that_of_the_baselines_returns_per_bar(tmp_path, frame):
    report = rf.backtest(Plan(), frame, cash=10_000)
    drift = Session(Plan(), frame, tmp_path / "run", baseline=report).run().fold.drift()
    equity = [10_000.0, *report.equity["equity"]]
    logs = [math.log(b / a) for a, b in itertools.pairwise(equity)]
    mean = sum(logs) / 600
    deviation = math.sqrt(sum((x - mean) ** 2 for x in logs) / 599)
    last = drift.cone().iloc[-1]
    assert last["middle"] == pytest.approx(math.exp(600 * mean) - 1)
    edge = 600 * mean - 1.959963984540054 * deviation * math.sqrt(600)
    assert last["low"] == pytest.approx(math.exp(edge) - 1)
    assert (drift.cone()["low"] <= drift.cone()["high"]).all()


def test_what_no_fill_explains_is_no_profit(tmp_path):
    frame = bars([100.0] * 60, 100.0)

    def disturb(count, event, engine):
        if count == 20:
            return [Adjusted(event.ts, event.seen, "asset", 50.0, 100.0, 0.0, "found")]
        if count == 40:
            return [Adjusted(event.ts, event.seen, "asset", 0.0, 100.0, -700.0, "withdrawn")]
        return ()

    session = Session(Plan(), frame, tmp_path / "run", disturb=disturb).run()
    drift = session.fold.drift()
    assert set(drift.column("flows")) == {0.0, 5_000.0, 4_300.0}
    assert set(drift.column("live")) == {10_000.0}
    assert drift.total_return == 0.0
    assert drift.performance()["last_equity"] == 14_300.0
    assert rf.drift(tmp_path / "run").rows == drift.rows


def test_what_holding_costs_is_a_loss_and_not_paid_out(tmp_path):
    frame = bars([100.0] * 60, 100.0)

    def disturb(count, event, engine):
        if count == 20:
            why = "funding of asset"
            ts, seen = event.ts, event.seen
            return [Adjusted(ts, seen, "asset", 0.0, 0.0, -700.0, why, payment_id="p1")]
        return ()

    session = Session(Plan(), frame, tmp_path / "run", disturb=disturb).run()
    drift = session.fold.drift()
    assert set(drift.column("flows")) == {0.0}
    assert set(drift.column("live")) == {10_000.0, 9_300.0}
    assert set(drift.column("shadow")) == {10_000.0}
    assert drift.total_return == pytest.approx(-0.07)
    assert rf.drift(tmp_path / "run").rows == drift.rows


def test_a_run_that_was_taken_up_again_drifts_on(tmp_path, frame):
    def disturb(count, event, engine):
        if count == 100:
            limits = Limits(max_drawdown=0.9)
            return [Resumed(event.ts, event.seen, 1, (), limits, "taken up again")]
        return ()

    session = Session(Plan(), frame, tmp_path / "run", disturb=disturb, base=CHEAP).run()
    # Order ids begin anew with the epoch: what came before is still known by its own.
    assert any("drift-1-" in order for order in session.engine.desk.orders)
    assert rf.drift(tmp_path / "run").column("live").tolist() == (
        session.fold.drift().column("live").tolist()
    )


# ---------------------------------------------------------------- files


def test_others_read_the_first_six_columns_and_their_keys(tmp_path, frame):
    session = Session(Plan(), frame.head(100), tmp_path / "run", model=DEAR, base=CHEAP).run()
    lines = (tmp_path / "run" / DRIFT_NAME).read_text().splitlines()
    assert lines[0].startswith(
        "timestamp,equity,daily_pnl,total_return,drawdown,shortfall_vs_backtest,"
    )
    assert lines[0] == ",".join(CSV_COLUMNS)
    assert len(lines) == 101
    last = dict(zip(CSV_COLUMNS, lines[-1].split(","), strict=True))
    row = session.fold.rows[-1]
    assert int(last["timestamp"]) == row.time // 1_000
    assert float(last["equity"]) == row.live
    assert float(last["drawdown"]) == -row.drawdown >= 0.0
    assert float(last["execution"]) == row.live - row.shadow
    written = json.loads((tmp_path / "run" / PERFORMANCE_NAME).read_bytes())
    assert list(written)[:6] == [
        "baseline_total_return",
        "live_total_return",
        "max_drawdown",
        "max_drawdown_pct",
        "last_equity",
        "last_timestamp",
    ]
    assert written["last_timestamp"] == row.time // 1_000
    assert written["max_drawdown_pct"] == -min(r.drawdown for r in session.fold.rows)


def test_files_are_private_and_leave_nothing_beside_them(tmp_path, frame):
    Session(Plan(), frame.head(60), tmp_path / "run").run()
    for name in (DRIFT_NAME, PERFORMANCE_NAME):
        assert stat.S_IMODE((tmp_path / "run" / name).stat().st_mode) == 0o600
    assert not list((tmp_path / "run").glob("*.part"))


def test_a_resumed_run_goes_on_where_its_file_ends(tmp_path, frame):
    session = Session(Plan(), frame.head(100), tmp_path / "run").run()
    path = tmp_path / "run" / DRIFT_NAME
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for torn in (b"", lines[0][:7], b"".join(lines[:41]), b"".join(lines[:41]) + lines[41][:9]):
        path.write_bytes(torn)
        DriftFiles(tmp_path / "run", session.fold, "drift").close()
        assert path.read_bytes() == whole


def test_a_disk_that_fails_ends_the_files_and_not_the_run(tmp_path, frame):
    session = Session(Plan(), frame.head(100), tmp_path / "run")
    (tmp_path / "run" / PERFORMANCE_NAME).mkdir()
    session.run()
    assert len(session.fold.rows) == 100
    assert session.files.error.startswith("the drift is not written any more: ")
    (tmp_path / "run" / DRIFT_NAME).unlink()
    (tmp_path / "run" / DRIFT_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SessionError, match="cannot write"):
        DriftFiles(tmp_path / "run", session.fold, "drift")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("content", [None, b"{}", b"[", b'{"run": 5}'])
def test_files_of_another_run_are_left_alone(tmp_path, frame, content):
    session = Session(Plan(), frame.head(100), tmp_path / "run").run()
    if content is not None:
        (tmp_path / "run" / PERFORMANCE_NAME).write_bytes(content)
    before = (tmp_path / "run" / DRIFT_NAME).read_bytes()
    with pytest.raises(SessionError, match=r"is that of .*choose another output_dir"):
        DriftFiles(tmp_path / "run", session.fold, "drift" if content else "another")
    assert (tmp_path / "run" / DRIFT_NAME).read_bytes() == before


# ---------------------------------------------------------------- faces


def test_faces(tmp_path, frame):
    report = rf.backtest(Plan(), frame, cash=10_000)
    Session(Plan(), frame.head(80), tmp_path / "run", baseline=report).run()
    drift = rf.drift(str(tmp_path / "run"), report)
    assert drift.plot()._repr_png_().startswith(b"\x89PNG")
    drift.strategy = "<script>$x$"
    assert "<script>" not in drift.html
    assert "data:image/png;base64," in drift.html
    assert drift._repr_html_() == drift.html
    assert "live − shadow, execution" in str(drift)
    assert repr(drift) == "<Drift <script>$x$: 80 bars, execution 0.00, decisions 0.00>"
    assert drift.plot()._repr_png_().startswith(b"\x89PNG")


def test_before_the_first_bar_there_is_nothing_to_draw(tmp_path, frame):
    session = Session(Plan(), frame.head(60), tmp_path / "run")
    session.journal.close()
    drift = session.fold.drift()
    assert drift.shortfall != drift.shortfall
    assert drift.execution == drift.decisions == drift.total_return == 0.0
    assert "no bar has closed yet" in drift.html
    with pytest.raises(DataError, match="no bar has closed"):
        drift.plot()


@pytest.mark.parametrize("flavour", ["pandas", "polars"])
def test_frames_come_in_the_flavour_of_the_run(tmp_path, flavour):
    frame = rf.datasets.synthetic(n=60, seed=1, flavour=flavour)
    Session(Plan(), frame, tmp_path / "run").run()
    drift = rf.drift(tmp_path / "run")
    assert type(drift.frame()) is type(frame)
    assert type(drift.cone()) is type(frame)
