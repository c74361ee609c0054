"""A board shows what session, journal and baseline say, and its changes add up to it."""

from __future__ import annotations

import copy
import json
import math

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regimeflow as rf
from regimeflow.analytics import svg
from regimeflow.analytics.execution_quality import FillQuality
from regimeflow.analytics.plots import LOSS
from regimeflow.journal import Disk
from regimeflow.widgets import frozen, frozen_picture, terminal
from regimeflow.widgets.board import BARS, FILLS, LOG, Board
from regimeflow.widgets.slippage import SlippageFold
from regimeflow.widgets.words import data_line, state_line

COSTS = rf.Costs(commission_bps=2, slippage_bps=3)


class Turns(rf.Strategy):
    """Buys and sells by turns."""

    units: float = 10.0
    note: str = ""

    def initialize(self, ctx):
        self.bars = 0

    def on_bar(self, ctx, bar):
        self.bars += 1
        if self.bars % 5 == 0:
            held = ctx.position(bar.symbol)
            ctx.target(bar.symbol, qty=0.0 if held else self.units)
            if self.note:
                ctx.log(self.note)


def flat_prices(n=60, price=100.0):
    """Bars that never move: whatever a fill costs, it is the venue."""
    times = pd.date_range("2024-01-02 09:00", periods=n, freq="1min")
    columns = dict.fromkeys(("open", "high", "low", "close"), price)
    return pd.DataFrame({**columns, "volume": 1e6}, index=times)


class Quick(Disk):
    """A disk that nobody waits for: what is tried here is not durability."""

    def sync(self, fd):
        pass


def ran(folder, strategy=None, data=None, baseline=None, **options):
    strategy = strategy or Turns()
    data = flat_prices() if data is None else data
    if baseline is None:
        baseline = rf.backtest(type(strategy)(units=strategy.units, note=strategy.note), data)
    venue = rf.venues.Simulated(data, speed=None, costs=COSTS)
    session = rf.LiveSession(
        strategy, venue, baseline=baseline, run_dir=folder / "run", disk=Quick(), **options
    )
    return session.run(progress=False)


def followed(session):
    board = Board(session)
    while board.follow():
        pass
    return board


def plain(parts):
    """What a page is given: JSON has no tuples."""
    return json.loads(json.dumps(parts))


def merged(board, parts):
    """What ``src/link.js`` makes of changes."""
    for name, part in plain(parts).items():
        if name in ("bars", "equity"):
            for row in part:
                if board[name] and board[name][-1][0] == row[0]:
                    board[name][-1] = row
                else:
                    board[name].append(row)
            del board[name][:-BARS]
        elif name == "fills":
            board[name] = (board[name] + part)[-FILLS:]
        elif name == "log":
            board[name] = (board[name] + part)[-LOG:]
        elif name in ("state", "drift"):
            board[name].update(part)
        else:
            board[name] = part


# ---------------------------------------------------------------- known answers


def test_a_fill_beside_what_was_expected_of_it(tmp_path):
    board = followed(ran(tmp_path))
    (
        execution,
        order,
        at,
        side,
        symbol,
        qty,
        expected,
        paid,
        slip,
        cost,
        model,
        percentile,
        *rest,
    ) = board.view()["fills"][0]
    assert (side, symbol, qty, expected, paid) == ("buy", "asset", 10.0, 100.0, 100.03)
    assert (slip, cost) == (3.0, 0.3)  # three basis points of 1,000
    assert model == 0.0  # the baseline's model takes none
    assert percentile is None  # all orders of the baseline cost the same: that is no measure
    assert rest == [0.0, 0.2001]  # at the next open, and two basis points of 1,000.30
    assert at % 60_000 == 0
    assert execution
    assert order in board.story(order)["title"]


@pytest.mark.parametrize(
    ("data", "order", "venue", "latency", "words"),
    [
        (flat_prices(), {}, {}, 0.0, "executed 0.0 ms after"),  # told a bar later
        (flat_prices().assign(low=99.0), {"limit": 99.5}, {}, None, ""),  # somewhere within a bar
        (flat_prices(), {}, {"fills": rf.FillModel(market="close")}, 0.0, "executed 0.0 ms after"),
        (
            flat_prices(),
            {},
            {"latency": rf.Latency(order_ms=50)},
            60_000.0,
            "executed 60.0 s after",
        ),
    ],
)
def test_a_simulated_fill_took_what_the_simulated_clock_says(
    tmp_path, data, order, venue, latency, words
):
    def buys(ctx, bar):
        if not ctx.position(bar.symbol) and not ctx.orders(bar.symbol):
            ctx.buy(bar.symbol, 1.0, **order)

    made = rf.venues.Simulated(data, speed=None, **venue)
    board = followed(rf.LiveSession(buys, made, run_dir=tmp_path / "run").run(progress=False))
    fill = board.view()["fills"][0]
    assert fill[12] == latency
    told = next(detail for _, what, detail in board.story(fill[1])["lines"] if what == "execution")
    assert told.endswith(f"; {words} the request left" if words else "bp")


def test_slippage_is_summed_up_by_quantity(tmp_path):
    slippage = followed(ran(tmp_path)).view()["slippage"]
    assert slippage["fills"] == 11
    assert slippage["mean"] == pytest.approx(3.0, abs=1e-9)
    assert slippage["baseline"] == 0.0
    assert slippage["groups"]["symbol"] == [("asset", 11, 110.0, 3.0, 3.3)]
    assert slippage["groups"]["type"] == [("market", 11, 110.0, 3.0, 3.3)]
    assert slippage["groups"]["size"] == [("10 to 100", 11, 110.0, 3.0, 3.3)]
    assert [row[0] for row in slippage["groups"]["hour"]] == ["09:00"]
    assert sum(units for _, _, units in slippage["bins"]) == pytest.approx(110.0)


def test_the_causes_of_the_gap_add_up_to_it(tmp_path):
    session = ran(tmp_path, data=rf.datasets.synthetic(n=300, seed=8))
    drift = followed(session).view()["drift"]
    money = {name: value for name, value, *_ in drift["causes"]}
    gap = money.pop("live − twin")
    assert sum(money.values()) == pytest.approx(gap, abs=0.02)
    assert gap == pytest.approx(session.status.live.equity - session.status.twin.equity, abs=0.01)
    assert money["fees"] < 0 < -money["prices"]


def test_limits_show_how_much_of_each_is_used(tmp_path):
    limits = rf.Limits(max_position=20.0, max_notional=5_000.0)
    rows = followed(ran(tmp_path, limits=limits)).view()["limits"]
    named = {name: (text, used) for name, text, used in rows}
    assert named["max position"] == ("20 units", 0.5)
    assert named["max notional"] == ("5,000 an order", None)


def test_a_story_has_every_step_of_an_order(tmp_path):
    board = followed(ran(tmp_path))
    story = board.story(board.view()["fills"][0][1])
    assert [what for _, what, _ in story["lines"]] == ["sent", "accepted", "execution", "filled"]
    told = story["lines"][2][2]
    assert "expected 100, slippage +3.00 bp; all of the baseline's orders had +0.00 bp" in told
    assert "not of this run" in board.story("somebody else's")["title"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Turns(units=20.0), "units was 20.0 there and is 10.0 here"),
        (lambda ctx, bar: None, "it is of <lambda>, the session runs Turns"),
    ],
)
def test_a_baseline_of_something_else_is_named_first(tmp_path, other, words):
    board = followed(ran(tmp_path, baseline=rf.backtest(other, flat_prices())))
    assert words in board.view()["head"]["differs"]
    assert words in frozen.html([board]).replace("&lt;", "<").replace("&gt;", ">")
    assert words in terminal.text(board, width=200).splitlines()[0]


def test_a_picture_says_first_what_is_wrong(tmp_path):
    def fails(ctx, bar):
        raise ValueError("$boom$")

    venue = rf.venues.Simulated(flat_prices(), speed=None)
    baseline = rf.backtest(Turns(), flat_prices())
    session = rf.LiveSession(fails, venue, baseline=baseline, run_dir=tmp_path / "run")
    board = followed(session.run(progress=False))
    (said,) = frozen_picture.figure_of([board.view()]).axes[0].texts
    assert said.get_text().startswith("The baseline is not of what runs here: it is of Turns")
    assert r"ValueError: \$boom\$" in said.get_text()
    assert said.get_color() == LOSS


def test_the_same_baseline_is_not_complained_of(tmp_path):
    assert followed(ran(tmp_path)).view()["head"]["differs"] == ""


def test_a_simulated_session_says_so_and_an_unknown_venue_is_real_money(tmp_path):
    session = ran(tmp_path)
    assert followed(session).view()["state"]["mode"] == "simulated"
    manifest = session.run_dir / "manifest.json"
    manifest.write_text(manifest.read_text().replace("Simulated venue", "Some venue"))
    assert followed(rf.attach(session.run_dir)).view()["state"]["mode_words"] == "REAL MONEY?"


def test_a_dry_run_says_so(tmp_path):
    board = followed(ran(tmp_path, dry_run=True))
    assert board.view()["state"]["mode"] == "dry"


# ---------------------------------------------------------------- whoever looks sees the same


def test_a_run_directory_shows_what_the_session_showed(tmp_path):
    session = ran(tmp_path, data=rf.datasets.synthetic(n=300, seed=8))
    mine = plain(followed(session).view())
    for name in ("fills", "bars", "equity", "slippage", "limits", "positions"):
        for other in (session.run_dir, str(session.run_dir)):
            theirs = plain(followed(rf.attach(other)).view())
            if name == "equity":
                assert np.allclose(theirs[name], mine[name], atol=0.011, rtol=0.0)
            else:
                assert theirs[name] == mine[name]


def test_equity_is_that_of_the_drift(tmp_path):
    session = ran(tmp_path, data=rf.datasets.synthetic(n=300, seed=8))
    drift = session.drift()
    rows = followed(session).view()["equity"]
    low, _, high = drift.cone_columns()
    assert len(rows) == len(drift.rows)
    for row, one, under, over in zip(rows, drift.rows, low, high, strict=True):
        told = (one.live, one.shadow, one.twin, drift.start * (1 + under), drift.start * (1 + over))
        assert row[1:6] == pytest.approx(told, abs=0.006)


def test_a_recorded_backtest_is_lived_through_again(tmp_path):
    report = rf.backtest(Turns(), flat_prices(), costs=COSTS, journal=tmp_path / "run")
    board = followed(rf.attach(tmp_path / "run"))
    assert len(board.view()["fills"]) == len(report.fills)
    assert len(board.view()["equity"]) == 60


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    return ran(tmp_path_factory.mktemp("some"), data=rf.datasets.synthetic(n=200, seed=1))


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.integers(1, 400), max_size=12))
def test_a_snapshot_and_its_changes_are_the_next_snapshot(some, steps):
    board = Board(some)
    page = plain(board.snapshot())
    for most in [*steps, 10**9]:
        board.follow(most)
        parts, sent = board.changes()
        if most % 3:  # else it did not fit, and waits
            merged(page, parts)
            sent()
    board.follow()
    parts, sent = board.changes()
    merged(page, parts)
    sent()
    whole = plain(board.view())
    whole["head"] = page["head"]
    assert page == whole
    again, _ = board.changes()
    assert again == {}


def test_changes_that_were_not_sent_come_again(tmp_path):
    board = Board(ran(tmp_path))
    board.snapshot()
    board.follow()
    first, _ = board.changes()
    second, _ = board.changes()
    assert first == second
    assert first["fills"]


# ---------------------------------------------------------------- bounds and foreign text

HOSTILE = '<img src=x onerror="alert(1)"></script>\x1b]0;mine\x07\u202e\U000e0041\u200b$x^2$&amp;'
UNSEEN = "\x1b\x07\u202e\U000e0041\u200b"


def test_foreign_text_stays_text(tmp_path):
    data = {HOSTILE: flat_prices()}
    board = followed(ran(tmp_path, Turns(note=HOSTILE), data))
    html = frozen.html([board])
    assert "<img src=x" not in html
    assert "</script" not in html
    shown = terminal.text(board, width=400)
    assert not set(UNSEEN) & {*html, *shown}
    assert "\ufffd]0;mine\ufffd\ufffd\ufffd" in html
    assert frozen.picture([board]).startswith(b"\x89PNG")
    assert board.view()["log"][-1][2] == HOSTILE  # a page gets it whole, and shows it as text


class Keyed(Turns):
    """Has a secret where one should not be."""

    api_key: str = ""


def test_a_secret_among_the_parameters_is_shown_nowhere(tmp_path):
    canary = "canary-K9+/wq8z1"
    session = ran(tmp_path, Keyed(api_key=canary), baseline=rf.backtest(Turns(), flat_prices()))
    board = followed(session)
    shown = (json.dumps(board.snapshot()), frozen.html([board]), terminal.text(board, width=200))
    for text in shown:
        assert "api_key" in text
        assert canary not in text
        assert canary[:10] not in text


def test_text_without_end_is_cut(tmp_path):
    board = followed(ran(tmp_path, Turns(note="x" * 100_000)))
    assert max(len(text) for _, _, text in board.view()["log"]) == 2_000


def test_what_is_kept_for_good_is_small(tmp_path):
    data = rf.datasets.synthetic(n=2_200, seed=8)
    board = followed(ran(tmp_path, data=data))
    view = board.view()
    assert len(view["bars"]) <= BARS
    assert len(view["equity"]) <= BARS
    assert len(view["fills"]) == FILLS
    picture, html = frozen.picture([board]), frozen.html([board])
    assert len(picture) * 4 / 3 + len(html) < 100_000
    assert not any(word in html for word in ("<script", "http://", "https://", "javascript:"))


def test_no_line_is_lost_of_a_log_whose_beginning_is_dropped(tmp_path):
    board = followed(ran(tmp_path))
    keeper = board._fold.keeper
    while len(keeper.log) < 20_000:
        keeper.note(0, "info", "so far")
    page = plain(board.snapshot())
    for number in range(200):  # the first of them drops half of what was kept
        keeper.note(number, "info", f"line {number}")
        if number % 3 == 0:
            parts, sent = board.changes()
            merged(page, parts)
            sent()
    parts, sent = board.changes()
    merged(page, parts)
    assert [text for *_, text in page["log"][-200:]] == [f"line {n}" for n in range(200)]
    assert page["log"] == plain(board.view())["log"]


def test_a_frozen_board_has_what_the_panel_has_and_says_what_it_leaves_out(tmp_path):
    class Many(rf.Strategy):
        """Turns five and twenty symbols over."""

        def on_bar(self, ctx, bar):
            ctx.log("a line")
            if bar.symbol != "s0" or not ctx.position("s0"):
                ctx.buy(bar.symbol, 1.0 + int(bar.symbol[1:]))

    data = {f"s{i}": flat_prices(4) for i in range(25)}
    venue = rf.venues.Simulated(data, speed=None, costs=COSTS)
    board = followed(rf.LiveSession(Many(), venue, run_dir=tmp_path / "run").run(progress=False))
    html = frozen.html([board])
    for fact in ("session time", "data age", "venue link", "books", "unknown orders", "process"):
        assert f">{fact}</td>" in html
    assert "up at its end" in html
    assert "the simulator&#x27;s own" in html
    assert all(f"s{i} 14." in html for i in range(25))  # hours, of each symbol
    assert "by symbol, 6 of 25" in html
    assert ">by hour</th>" in html
    assert ">09:00</td>" in html
    assert "Positions: 20 of 25" in html
    assert f"Fills: the last 20 of {board.view()['state']['fills']}" in html
    assert "Log: the last 12 of 100" in html
    assert "units by slippage" in html
    shown = terminal.text(board, width=100)
    assert "by symbol, 22 more" in shown
    assert "POSITIONS  8 of 25" in shown
    assert "by hour 09:00" in shown
    few = terminal.text(board, width=100, height=40)
    assert "SLIPPAGE\n" not in few  # what is held and what was said come first
    assert len(few.splitlines()) <= 40


def test_a_distribution_is_drawn_to_scale():
    chart = svg.bars_chart([(0.0, 1.0, 2.0), (1.0, 2.0, 4.0)], [("m", "mean", 1.0)], "bp", "label")
    assert "126V76.0H" in chart  # half as high as the other
    assert "126V26.0H" in chart
    assert f'class="m" d="M{svg.LEFT + (svg.WIDTH - svg.LEFT - svg.RIGHT) / 2:.1f} 8V126"' in chart
    assert "2.00 bp" in chart
    assert 'class="m"' not in svg.bars_chart([(0.0, 1.0, 2.0)], [("m", "mean", 7.0)], "bp", "")


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_narrow_terminal_loses_no_column(tmp_path, width):
    shown = terminal.text(followed(ran(tmp_path, data=rf.datasets.synthetic(n=300))), width=width)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= width
    for word in ("money", "latency", "fee", "realised", "drawdown", "fees", "books", "venue up"):
        assert word in shown
    place = next(i for i, text in enumerate(lines) if text.startswith("FILLS"))
    newest = " ".join(lines[place + (3 if width < 100 else 2) :][: 2 if width < 100 else 1])
    assert "…" not in newest
    assert newest.split()[-1] == "0.20"  # the fee


def test_joined_candles_keep_highs_and_lows(tmp_path):
    data = rf.datasets.synthetic(n=5_000, seed=8)
    venue = rf.venues.Simulated(data, speed=None)
    idle = rf.LiveSession(lambda ctx, bar: None, venue, run_dir=tmp_path / "run")
    bars = followed(idle.run(progress=False)).view()["bars"]
    assert max(bar[2] for bar in bars) == pytest.approx(data["high"].max())
    assert min(bar[3] for bar in bars) == pytest.approx(data["low"].min())
    assert [bar[0] for bar in bars] == sorted({bar[0] for bar in bars})


def test_a_session_that_has_not_begun_can_be_looked_at(tmp_path):
    venue = rf.venues.Simulated(flat_prices(), speed=None)
    board = followed(rf.LiveSession(Turns(), venue, run_dir=tmp_path / "run"))
    view = board.view()
    assert (view["state"]["phase"], view["fills"], view["bars"]) == ("new", [], [])
    assert (view["state"]["equity"], view["state"]["cash"]) == (100_000.0, 100_000.0)
    assert "not started" in frozen.html([board])
    shown = terminal.text(board, width=200)
    assert "unknown orders – · venue – · data – · books the simulator's own" in shown
    assert "equity 100,000.00  today –  return –  drawdown –" in shown
    assert frozen.picture([board]).startswith(b"\x89PNG")
    assert not board.over


def test_an_ended_run_shows_its_data_and_its_venue_as_they_were_at_its_end(tmp_path):
    shown = terminal.text(followed(ran(tmp_path)), width=200)
    assert "venue up at its end · data at its end asset 14.0 h of 2 min · books" in shown
    assert "fresh" not in shown


def test_a_run_has_the_same_name_whoever_looks(tmp_path):
    def fails(ctx, bar):
        raise ValueError("boom")

    venue = rf.venues.Simulated(flat_prices(), speed=None)
    session = rf.LiveSession(fails, venue, run_dir=tmp_path / "run").run(progress=False)
    mine, theirs = (followed(one).view() for one in (session, rf.attach(session.run_dir)))
    assert mine["head"]["venue"] == theirs["head"]["venue"] == "Simulated venue, as fast as it goes"
    assert mine["state"]["error"] == theirs["state"]["error"]
    assert "fails failed in on_bar of asset at 2024-01-02T09:01:00Z" in theirs["state"]["error"]


@pytest.mark.parametrize(
    ("phase", "state", "why", "line"),
    [
        ("new", "active", "", "not started"),
        ("stopped", "halted", "stop", "stopped"),
        ("stopped", "halted", "lunch", "stopped: lunch"),
        ("running", "halted", "halt", "halted"),
        ("running", "reducing", "pause", "exits only"),
        ("running", "reducing", "flatten", "exits only: flatten"),
        ("running", "active", "", "trading"),
    ],
)
def test_a_reason_that_says_no_more_than_the_state_is_left_out(phase, state, why, line):
    assert state_line({"phase": phase, "state": state, "why": why}) == line


def test_what_an_earlier_state_was_due_to_is_left_out(tmp_path):
    venue = rf.venues.Simulated(flat_prices(1_000), speed=60.0)
    session = rf.LiveSession(Turns(), venue, run_dir=tmp_path / "run").start()
    session.pause("lunch")
    session.resume("well again")
    session.stop()
    board = followed(session)
    assert board.view()["state"]["why"] == "stop"
    board._status = msgspec.structs.replace(
        session.status, phase="running", state="active", why="connection is well again"
    )
    assert board.view()["state"]["why"] == ""


@pytest.mark.parametrize(
    ("ages", "phase", "told"),
    [
        ([], "running", "none yet"),
        ([("a", None, None, False, False)], "running", "none yet"),
        ([("a", None, None, False, False)], "stopped", "–"),
        ([("a", 20.0, 1_000.0, False, False)], "new", "–"),
        ([("a", 20.0, 1e3, False, False), ("b", 30.0, None, False, False)], "running",
         "b 30 ms · a 20 ms of 1.0 s"),
        ([("a", 2e3, 1e3, True, True), ("b", 3e3, None, False, False)], "running",
         "a 2.0 s of 1.0 s STALE, exits only"),
        ([("a", 2e3, None, False, False)], "failed", "at its end a 2.0 s"),
    ],
)  # fmt: skip
def test_how_old_the_data_are(ages, phase, told):
    assert data_line({"ages": ages, "phase": phase}) == told


def test_fills_that_cost_the_same_are_in_one_bin():
    fold = SlippageFold(None)
    for number in range(200):
        price = 100.0 + number / 7.0
        fold.add(
            FillQuality(
                time=0, execution_id=str(number), order_id="", symbol="a", side="buy", qty=1.0,
                price=price * 1.0003, fee=0.0, liquidity="taker", venue="", reference=price,
            ),
            None,
        )  # fmt: skip
    assert [units for *_, units in fold.view(None, None)["bins"] if units] == [200.0]


def test_a_duration_has_the_unit_that_suits_it(tmp_path):
    session = ran(tmp_path, limits=rf.Limits(max_data_age_ms=172_805_000, duplicate_window_ms=250))
    limits = {name: text for name, text, _ in followed(session).view()["limits"]}
    assert limits["max data age"] == "2.0 d"
    assert limits["duplicate window"] == "250 ms"


def test_times_of_a_frozen_board_are_those_of_the_run(tmp_path):
    html = frozen.html([followed(ran(tmp_path))])
    assert "time, UTC" in html
    assert ">2024-01-02 09:" in html


def test_numbers_that_are_none_are_dashes(tmp_path):
    view = copy.deepcopy(followed(rf.attach(ran(tmp_path).run_dir)).view())
    assert not any(
        isinstance(value, float) and math.isnan(value) for value in view["state"].values()
    )


def test_ticks_become_candles_of_a_second(tmp_path):
    times = pd.date_range("2024-01-02 09:00", periods=500, freq="250ms")
    ticks = pd.DataFrame({"price": [100 + i % 7 for i in range(500)], "size": 1.0}, index=times)
    once = lambda ctx, tick: None  # noqa: E731
    venue = rf.venues.Simulated(ticks, speed=None)
    board = followed(rf.LiveSession(once, venue, run_dir=tmp_path / "run").run(progress=False))
    bars = board.view()["bars"]
    assert len(bars) == 125
    assert all(bar[0] == int(bar[0]) for bar in bars)
    assert all(bar[3] <= bar[1] <= bar[2] for bar in bars)


def test_the_outermost_bins_hold_what_lies_beyond():
    fold = SlippageFold(None)
    for number in range(300):
        price = 100.0 + number % 10 / 1_000 + (50.0 if number == 7 else 0.0)
        fold.add(
            FillQuality(
                time=0, execution_id=str(number), order_id="", symbol="a", side="buy", qty=1.0,
                price=price, fee=0.0, liquidity="taker", venue="", reference=100.0,
            ),
            None,
        )  # fmt: skip
    bins = fold.view(None, None)["bins"]
    assert sum(units for _, _, units in bins) == 300
    assert bins[-1][1] < 10.0
