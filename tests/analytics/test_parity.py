"""The split of a gap: hand-computed tables, and properties that hold for any fills."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import regimeflow as rf
from regimeflow.analytics.parity import CAUSES, Ledgers, split
from regimeflow.model.events import Fill, Start
from regimeflow.model.instrument import Instrument

BP = 1e-4


def fill(order, side, qty, price, fee=0.0, *, symbol="SPY", ts=1, liquidity="taker", n=1):
    return Fill(ts, ts, f"{order}.{n}", order, symbol, side, qty, price, fee, liquidity)


def start(**more):
    fields = {"symbols": ("SPY",), "timeframes": (60,), "cash": 10_000.0, **more}
    return Start(ts=0, seen=0, run="r", epoch=0, **fields)


def parity(live, expected, *, late=None, twin=None, marks=None, costs=None, **more):
    begin = more.pop("start", start())
    return split(
        Ledgers(
            begin,
            live=live,
            expected=expected,
            late=expected if late is None else late,
            twin=expected if twin is None else twin,
            marks=marks or {"SPY": 50.90},
            costs=costs or rf.Costs(),
            **more,
        )
    )


def money(result):
    return {row.cause: row.money for row in result.rows if abs(row.money) > 1e-9}


def test_a_backtest_of_98_99_and_a_live_run_of_91_78_differ_by_these_cents():
    expected = [fill("a", "buy", 100, 50.00, 0.50), fill("b", "sell", 100, 51.00, 0.51)]
    live = [
        fill("a", "buy", 100, 50.02, 5_002.0 * 2 * BP),
        fill("b", "sell", 80, 50.97, 4_077.6 * 2 * BP),
    ]
    result = parity(live, expected, costs=rf.Costs(commission_bps=1))
    assert result.twin == pytest.approx(98.99, abs=1e-10)
    assert result.live == pytest.approx(91.784080, abs=1e-10)
    assert result.gap == pytest.approx(-7.205920, abs=1e-10)
    assert [(row.cause, round(row.money, 6)) for row in result.rows] == [
        ("data", 0.0),
        ("path and limits", 0.0),
        ("latency", 0.0),
        ("missed fills", -2.00),
        ("slippage", -4.40),
        ("fee rate", -1.010000),
        ("fee base", 0.204080),
        ("residual", 0.0),
    ]
    assert result["slippage"] * 1e4 / 10_000 == result.rows[4].bps
    assert [round(x, 6) for x in result.orders["gap"]] == [-2.5004, -4.70552]


FEES = [
    # live fee, live fills, costs, what was expected -> rate, base; a sale of 100 at 51 marked at 51
    (2 * BP * 5_100, (100, 51.0), rf.Costs(commission_bps=1), 0.51, -0.51, 0.0),
    (1 * BP * 4_080, (80, 51.0), rf.Costs(commission_bps=1), 0.51, 0.0, 0.102),
    (1.0, (100, 50.0), rf.Costs(per_share=0.01), 1.0, 0.0, 0.0),  # a fee per unit: no lower rate
    (0.8, (80, 50.0), rf.Costs(per_share=0.01), 1.0, 0.0, 0.2),
    (1.6, (80, 50.0), rf.Costs(per_share=0.01), 1.0, -1.0, 0.4),
    (1.0, (50, 51.0), rf.Costs(commission_bps=1, minimum=1.0), 1.0, 0.0, 0.0),
    (0.51, (100, 51.0), rf.Costs(), 0.0, -0.51, 0.0),  # a venue that charges, models that do not
    (0.408, (80, 51.0), rf.Costs(), 0.0, -0.51, 0.102),
    (0.0, (100, 51.0), rf.Costs(commission_bps=1), 0.51, 0.51, 0.0),
    (-0.51, (100, 51.0), rf.Costs(commission_bps=1), 0.51, 1.02, 0.0),  # a rebate
    (0.0, (0, 51.0), rf.Costs(commission_bps=1), 0.51, 0.0, 0.51),  # nothing filled, nothing paid
]


@pytest.mark.parametrize(("fee", "filled", "costs", "expected_fee", "rate", "base"), FEES)
def test_fees_split_into_rate_and_base(fee, filled, costs, expected_fee, rate, base):
    qty, price = filled
    live = [fill("a", "sell", qty, price, fee)] if qty else []
    expected = [fill("a", "sell", 100, 51.0, expected_fee)]
    result = parity(live, expected, costs=costs)
    assert result["fee rate"] == pytest.approx(rate, abs=1e-12)
    assert result["fee base"] == pytest.approx(base, abs=1e-12)


def test_a_fill_that_made_liquidity_where_taking_was_expected_is_a_matter_of_rate():
    costs = rf.Costs(maker_bps=1, taker_bps=5)
    live = [fill("a", "buy", 100, 50.0, 0.5, liquidity="maker")]
    result = parity(live, [fill("a", "buy", 100, 50.0, 2.5)], costs=costs)
    assert money(result) == {"fee rate": 2.0}


def test_an_order_that_filled_in_pieces_is_one_order():
    expected = [fill("a", "buy", 100, 50.0)]
    live = [fill("a", "buy", 40, 50.01), fill("a", "buy", 40, 50.02, n=2)]
    result = parity(live, expected)
    assert result["slippage"] == pytest.approx(-1.2)
    assert result["missed fills"] == pytest.approx(-20 * 0.90)


def test_what_filled_beyond_the_expected_is_marked_at_the_last_price():
    result = parity([fill("a", "buy", 100, 50.0)], [])
    assert money(result) == {"missed fills": pytest.approx(90.0)}
    more = parity([fill("a", "sell", 120, 50.0)], [fill("a", "sell", 100, 50.0)])
    assert money(more) == {"missed fills": pytest.approx(-18.0)}


def test_late_arrival_carries_all_that_it_changes_fees_included():
    expected = [fill("a", "buy", 100, 50.0, 0.5)]
    late = [fill("a", "buy", 100, 50.1, 0.501, ts=2)]
    result = parity(late, expected, late=late, costs=rf.Costs(commission_bps=1))
    assert money(result) == {"latency": pytest.approx(-10.001)}


def test_decisions_that_only_one_side_made_are_listed():
    both, mine, alone = (
        fill("a", "buy", 100, 50.0),
        fill("b", "sell", 100, 51.0, ts=3),
        fill("t-2", "sell", 100, 50.5, ts=2),
    )
    twin = [msgspec.structs.replace(both, order_id="t-1"), alone]
    result = parity([both, mine], [both, mine], twin=twin)
    assert money(result) == {"path and limits": pytest.approx(50.0)}
    assert result.decisions["who"].tolist() == ["twin", "run"]
    assert result.decisions["price"].tolist() == [50.5, 51.0]
    assert "1 fills of the run's requests and 1 of the backtest" in result.rows[1].note


def test_a_multiplier_and_a_position_from_before_count():
    begin = start(instruments=(Instrument("SPY", multiplier=50.0),), positions={"SPY": (2.0, 40.0)})
    live = [fill("a", "sell", 2, 50.0)]
    result = parity(live, [fill("a", "sell", 2, 50.5)], start=begin)
    assert result.equity == 10_000.0 + 2 * 40.0 * 50.0
    assert result.live == pytest.approx(2 * (50.0 - 40.0) * 50.0)
    assert money(result) == {"slippage": pytest.approx(-50.0)}


def test_history_as_it_stands_now_is_a_row_of_its_own_and_marks_what_is_held():
    both = [fill("a", "buy", 100, 50.0)]
    now = [fill("a", "buy", 100, 49.0)]
    result = parity(both, both, now=now, marks_now={"SPY": 50.0}, data_note="one bar changed")
    assert result.live == pytest.approx(90.0)
    assert result.twin == pytest.approx(100.0)
    assert money(result) == {"data": pytest.approx(-10.0)}
    assert result.rows[0].note == "one bar changed"


def test_without_history_the_row_says_that_it_was_not_asked():
    row = parity([], []).rows[0]
    assert (row.cause, row.money, row.note) == ("data", 0.0, "not asked: pass history= to compare")


def test_a_table_to_read():
    text = str(parity([fill("a", "buy", 100, 50.02)], [fill("a", "buy", 100, 50.0)]))
    assert "backtest                     90.00      90.00" in text
    assert "  slippage                   -2.00      -2.00  1 order" in text
    assert "-0.00" not in text


def test_names_are_escaped():
    result = parity([], [])
    hostile = msgspec.structs.replace(
        result, strategy="<script>", params={"x": "<b>"}, differs="<i>", run="<u>"
    )
    html = hostile._repr_html_()
    assert not any(tag in html for tag in ("<script>", "<b>", "<i>", "<u>"))
    assert "NOT THE SAME STRATEGY: &lt;i&gt;" in html
    assert str(hostile).startswith("NOT THE SAME STRATEGY: <i>")


@pytest.mark.parametrize("flavour", ["pandas", "polars"])
def test_frames_come_in_the_flavour_of_the_run(flavour):
    fills = [fill("a", "buy", 100, 50.0)]
    result = parity(fills, fills, start=start(flavour=flavour))
    for frame in (result.frame(), result.orders, result.decisions):
        assert type(frame).__module__.startswith(flavour)
    assert list(result.frame()["cause"]) == list(CAUSES)


PRICES = st.floats(0.01, 5_000.0)
FILLS = st.lists(
    st.builds(
        lambda order, n, buy, symbol, qty, price, fee: fill(
            f"{symbol}{order}{'b' if buy else 's'}", "buy" if buy else "sell", float(qty), price,
            fee, symbol=symbol, n=n,
        ),
        st.integers(0, 3),
        st.integers(0, 9),
        st.booleans(),
        st.sampled_from(["A", "B"]),
        st.integers(1, 10_000),
        PRICES,
        st.floats(-50.0, 50.0),
    ),
    max_size=12,
)  # fmt: skip


@given(
    FILLS,
    FILLS,
    FILLS,
    FILLS,
    FILLS,
    PRICES,
    PRICES,
    st.sampled_from([rf.Costs(), rf.Costs(commission_bps=3, minimum=1.0), rf.Costs(per_share=0.1)]),
)
def test_rows_add_up_to_the_gap_whatever_was_filled(
    live, expected, late, twin, now, mark, mark_now, costs
):
    result = parity(
        live,
        expected,
        late=late,
        twin=twin,
        now=now,
        marks={"A": mark, "B": mark / 2},
        marks_now={"A": mark_now, "B": mark_now},
        costs=costs,
        start=start(positions={"A": (3.0, 7.0)}),
    )
    assert math.isfinite(result.gap)
    assert math.fsum(row.money for row in result.rows) == pytest.approx(
        result.gap, rel=1e-15, abs=result.bound
    )
    assert result.gap == pytest.approx(result.live - result.twin, abs=result.bound + 1e-9)
    assert abs(result.residual) <= result.bound
    named = sum(row.money for row in result.rows if row.cause not in ("data", "path and limits"))
    orders = math.fsum(order.gap for order in result.order_gaps)
    assert orders == pytest.approx(named - result.residual, rel=1e-12, abs=1e-6)


@given(FILLS, PRICES)
def test_equal_runs_leave_nothing_not_even_rounding(fills, mark):
    result = parity(fills, fills, marks={"A": mark, "B": mark}, now=fills,
                    marks_now={"A": mark, "B": mark}, costs=rf.Costs(commission_bps=3))  # fmt: skip
    assert [row.money for row in result.rows] == [0.0] * len(CAUSES)
    assert not result.lone_fills
