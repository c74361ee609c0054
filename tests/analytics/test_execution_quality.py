"""Execution quality, held to numbers that a trader can work out on paper."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimeflow.analytics.execution_quality import ExecutionQuality, FillQuality, Shortfall
from regimeflow.analytics.marks import KEPT
from regimeflow.analytics.quality_fold import QualityFold
from regimeflow.errors import ConfigError
from regimeflow.model.events import Denied, Fill, OrderUpdate, Start, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Bars, Book, History, Quote, Trade

MS = 1_000_000
SECOND = 1_000 * MS
MINUTE = 60 * SECOND
T = 1_704_153_600 * SECOND  # 2024-01-02


class Story:
    """A run as one would tell it; times in milliseconds, what happens is seen at once."""

    def __init__(
        self, timeframe: int = 0, instruments: tuple[Instrument, ...] = (), **options: Any
    ) -> None:
        self.fold = QualityFold(**options)
        self.fills = 0
        self.sides: dict[str, tuple[str, str]] = {}
        start = Start(T, T, "story", 0, ("A", "B"), (timeframe,) * 2, 1e6, instruments=instruments)
        self.fold.take(start, ())

    def quote(self, ms: float, bid: float, ask: float, symbol: str = "A") -> Story:
        at = T + round(ms * MS)
        self.fold.take(Quote(at, at, symbol, bid, ask, 100.0, 100.0), ())
        return self

    def trade(self, ms: float, price: float) -> Story:
        at = T + round(ms * MS)
        self.fold.take(Trade(at, at, "A", price, 1.0), ())
        return self

    def bar(self, minute: int, open_: float, close: float) -> Story:
        """The bar that closes at a minute."""
        high, low = max(open_, close), min(open_, close)
        at = T + minute * MINUTE
        self.fold.take(Bar(at, at, "A", open_, high, low, close, 1e3, MINUTE), ())
        return self

    def submit(
        self,
        ms: float,
        order: str,
        side: str,
        qty: float,
        limit: float | None = None,
        stop: float | None = None,
        symbol: str = "A",
    ) -> Story:
        at = T + round(ms * MS)
        self.sides[order] = symbol, side
        request = Submit(1, at, order, symbol, side, qty, "market", limit, stop)
        # What causes a request is no news of the market here.
        self.fold.take(OrderUpdate(at, at, "none", "accepted"), [request])
        return self

    def deny(self, ms: float, order: str) -> Story:
        at = T + round(ms * MS)
        note = Denied(1, at, order, "A", "buy", 1.0, "max_notional", "too much")
        self.fold.take(OrderUpdate(at, at, "none", "accepted"), [note])
        return self

    def told(
        self, ms: float, order: str, what: str, seen_ms: float | None = None, **more: Any
    ) -> Story:
        seen = ms if seen_ms is None else seen_ms
        update = OrderUpdate(T + round(ms * MS), T + round(seen * MS), order, what, **more)
        self.fold.take(update, ())
        return self

    def fill(
        self,
        ms: float,
        order: str,
        qty: float,
        price: float,
        fee: float = 0.0,
        seen_ms: float | None = None,
        execution: str = "",
        venue: str = "X",
    ) -> Story:
        self.fills += 1
        at, seen = T + round(ms * MS), T + round((ms if seen_ms is None else seen_ms) * MS)
        symbol, side = self.sides.get(order, ("A", "buy"))
        name = execution or f"x{self.fills}"
        self.fold.take(
            Fill(at, seen, name, order, symbol, side, qty, price, fee, "taker", venue, at), ()
        )
        return self

    @property
    def quality(self) -> ExecutionQuality:
        return self.fold.result()

    @property
    def row(self) -> FillQuality:
        return self.quality.fills[-1]


# ---------------------------------------------------------------- known answers


def test_implementation_shortfall_by_its_parts() -> None:
    story = (
        Story()
        .quote(0, 39.99, 40.01)
        .submit(1, "o", "buy", 1_000.0)
        .quote(10, 40.03, 40.05)
        .told(20, "o", "accepted")
        .quote(30, 40.04, 40.06)
        .fill(40, "o", 700.0, 40.05, fee=17.0)
        .quote(50, 40.07, 40.09)
        .told(60, "o", "canceled")
    )
    lost = story.quality.shortfall
    # 700 x 0.04, 700 x 0.01, 300 x 0.08, and of 1,000 x 40.
    assert (lost.delay, lost.execution, lost.opportunity, lost.fees) == pytest.approx(
        (28.0, 7.0, 24.0, 17.0)
    )
    assert (lost.total, lost.paper, lost.bps) == pytest.approx((76.0, 40_000.0, 19.0))
    assert story.quality.average_delay_bps == pytest.approx(10.0)
    # The next price settles what stood at the newest one: nothing moves.
    assert story.quote(70, 45.0, 45.02).quality.shortfall == lost


def test_slippage_is_weighted_by_quantity() -> None:
    story = Story().quote(0, 99.9, 100.1)
    story.submit(1, "a", "buy", 1.0).submit(2, "b", "buy", 99.0)
    story.fill(3, "a", 1.0, 100.1).fill(4, "b", 99.0, 100.0)
    quality = story.quality
    assert quality.average_signed_slippage_bps == pytest.approx(0.10)
    assert quality.average_absolute_slippage_bps == pytest.approx(0.10)
    assert quality.slippage_money == pytest.approx(0.10)


@pytest.mark.parametrize(
    ("side", "limit", "stop", "price", "reference", "slippage_bps", "arrival_bps"),
    [
        ("buy", None, None, 50.05, 50.00, 10.0, 10.0),
        ("sell", None, None, 50.05, 50.00, -10.0, -10.0),
        ("buy", 50.10, None, 50.05, 50.10, -9.98004, 10.0),  # better than the limit
        ("sell", 50.05, None, 50.05, 50.05, 0.0, -10.0),
        ("buy", None, 50.04, 50.05, 50.04, 1.9984, 10.0),
        ("buy", 50.10, 50.04, 50.05, 50.10, -9.98004, 10.0),  # the limit comes first
    ],
)
def test_the_reference_is_the_limit_then_the_stop_then_the_mid(
    side: str,
    limit: float | None,
    stop: float | None,
    price: float,
    reference: float,
    slippage_bps: float,
    arrival_bps: float,
) -> None:
    story = Story().quote(0, 49.99, 50.01).submit(1, "o", side, 10.0, limit, stop)
    story.quote(2, 60.0, 60.02).fill(3, "o", 10.0, price)
    row = story.row
    assert row.reference == pytest.approx(reference)
    assert row.slippage_bps == pytest.approx(slippage_bps, abs=1e-4)
    assert row.slippage_money == pytest.approx(slippage_bps * 1e-4 * reference * 10.0, abs=1e-4)
    assert row.arrival_slippage_bps == pytest.approx(arrival_bps, abs=1e-9)


def test_a_replaced_limit_is_the_new_reference() -> None:
    story = Story().quote(0, 49.99, 50.01).submit(1, "o", "buy", 10.0, limit=49.0)
    story.told(2, "o", "accepted").told(3, "o", "replaced", limit=50.0, qty=20.0)
    story.fill(4, "o", 10.0, 49.95).fill(5, "o", 10.0, 50.0)
    assert [fill.reference for fill in story.quality.fills] == [50.0, 50.0]
    assert story.quality.average_signed_slippage_bps == pytest.approx(-5.0)
    assert (story.quality.partially_filled, story.quality.filled) == (1, 1)


def test_a_multiplier_makes_money_of_points() -> None:
    story = Story(instruments=(Instrument("A", multiplier=50.0),)).quote(0, 99.9, 100.1)
    story.submit(1, "o", "sell", 4.0).told(1, "o", "accepted").fill(2, "o", 2.0, 99.5)
    story.quote(3, 98.9, 99.1).told(4, "o", "canceled")
    quality = story.quality
    assert quality.slippage_money == pytest.approx(0.5 * 2 * 50)
    assert quality.shortfall.opportunity == pytest.approx(1.0 * 2 * 50)
    assert quality.shortfall.paper == pytest.approx(100.0 * 4 * 50)


def test_each_latency_runs_on_its_own_clock() -> None:
    story = Story().quote(0, 49.99, 50.01).submit(100, "o", "buy", 10.0)
    story.told(104, "o", "accepted", seen_ms=110)
    story.fill(125, "o", 5.0, 50.0, seen_ms=140).fill(130, "o", 5.0, 50.0, seen_ms=180)
    quality = story.quality
    assert quality.average_ack_latency_ms == 10.0  # seen by us
    assert quality.average_fill_latency_ms == 60.0  # seen by us: 40 and 80
    assert quality.average_execution_latency_ms == 27.5  # at the venue: 25 and 30
    assert quality.last_timestamp == T + 180 * MS


# ---------------------------------------------------------------- counts


def test_counts_of_a_day() -> None:
    story = Story().quote(0, 49.99, 50.01)
    for n in range(9):
        story.submit(n + 1, f"o{n}", "buy", 10.0)
    story.deny(20, "d1").deny(21, "o0")  # the second is a change that was denied
    story.told(30, "o0", "accepted").told(31, "o0", "accepted").fill(32, "o0", 10.0, 50.0)
    story.told(33, "o0", "canceled")  # too late to mean anything
    story.fill(34, "o1", 4.0, 50.0).fill(35, "o1", 3.0, 50.0).fill(36, "o1", 3.0, 50.0)
    story.told(37, "o1", "accepted")  # overtaken by its fills
    story.told(40, "o2", "accepted").fill(41, "o2", 1.0, 50.0).told(42, "o2", "canceled")
    story.told(50, "o3", "rejected").told(51, "o3", "rejected")
    story.told(60, "o4", "accepted").told(61, "o4", "expired")
    story.told(70, "o5", "lost").told(71, "o5", "lost").told(72, "o5", "accepted")
    story.told(80, "o6", "lost").told(81, "o6", "rejected")
    story.told(90, "o7", "accepted").told(91, "o7", "cancel_rejected", reason="too late")
    story.told(92, "nobody's", "canceled")
    quality = story.quality
    assert {
        name: getattr(quality, name)
        for name in (
            "submitted", "submit_rejected", "acknowledged", "partially_filled", "filled",
            "cancelled", "broker_rejected", "errored", "expired",
        )
    } == {
        "submitted": 10,
        "submit_rejected": 1,
        "acknowledged": 6,  # o0, o1, o2, o4, o5, o7
        "partially_filled": 2,
        "filled": 2,
        "cancelled": 1,
        "broker_rejected": 2,
        "errored": 2,
        "expired": 1,
    }  # fmt: skip
    assert quality.rejection_rate == pytest.approx(0.3)


def test_an_execution_counts_once() -> None:
    once = Story().quote(0, 49.99, 50.01).submit(1, "o", "buy", 10.0)
    once.fill(2, "o", 5.0, 50.1, 1.0, execution="x")
    before = once.quality
    once.fill(3, "o", 5.0, 50.1, 1.0, execution="x")
    assert once.quality == before
    assert (before.quantity, before.fees, before.filled) == (5.0, 1.0, 0)


def test_a_fill_told_after_the_end_was_no_missed_opportunity() -> None:
    def told(late: bool, settled: bool) -> ExecutionQuality:
        story = Story().quote(0, 9.99, 10.01).submit(1, "o", "buy", 100.0)
        story.told(2, "o", "accepted")
        if not late:
            story.fill(3, "o", 60.0, 10.0)
        story.quote(4, 10.99, 11.01).told(5, "o", "canceled")
        if settled:
            story.quote(6, 11.99, 12.01)
        if late:
            story.fill(3, "o", 60.0, 10.0, seen_ms=7)
        return story.quote(8, 12.99, 13.01).quality

    for settled in (False, True):
        late, timely = told(True, settled), told(False, settled)
        assert late.shortfall.opportunity == pytest.approx(40.0)
        assert late.shortfall.total == pytest.approx(timely.shortfall.total)
        assert late.shortfall.paper == pytest.approx(timely.shortfall.paper)


def test_a_late_fill_can_still_fill_an_order_up() -> None:
    story = Story().quote(0, 9.99, 10.01).submit(1, "o", "buy", 10.0).told(2, "o", "canceled")
    story.fill(2, "o", 10.0, 10.0, seen_ms=5)
    quality = story.quality
    assert (quality.cancelled, quality.filled, quality.shortfall.opportunity) == (1, 1, 0.0)


def test_a_fill_of_an_order_that_is_not_ours_has_a_price_and_no_quality() -> None:
    story = Story().quote(0, 9.99, 10.01).fill(1, "foreign", 10.0, 10.5, 2.0, venue="")
    quality = story.quality
    assert (quality.quantity, quality.fees, quality.slippage_observations) == (10.0, 2.0, 0)
    assert quality.average_signed_slippage_bps is quality.average_fill_latency_ms is None
    assert quality.shortfall.bps is None
    assert quality.venue_summaries[0].venue == "unassigned"


# ---------------------------------------------------------------- spreads and markouts


def test_spreads_and_markouts_on_quotes() -> None:
    story = Story(seconds=(1, 10), bars=()).quote(0, 99.9, 100.1)
    story.submit(100, "o", "buy", 10.0).fill(200, "o", 10.0, 100.1)
    story.quote(900, 99.8, 100.0)  # 99.9 stands one second after
    assert story.quality.markouts[0].observations == 0
    story.quote(1_300, 101.0, 101.2)
    assert story.quality.markouts[0].observations == 1
    story.quote(10_200, 100.4, 100.6)  # made at that very moment: it counts
    story.quote(10_201, 1.0, 1.2)
    quality = story.quality
    assert quality.average_effective_spread_bps == pytest.approx(20.0)
    one, ten = quality.markouts
    assert (one.horizon, ten.horizon) == ("1s", "10s")
    assert one.average_bps == pytest.approx((100.1 - 99.9) / 100.1 * 1e4)
    assert ten.average_bps == pytest.approx((100.1 - 100.5) / 100.1 * 1e4)
    assert one.average_realised_spread_bps == pytest.approx(40.0)
    assert ten.average_realised_spread_bps == pytest.approx(-80.0)
    assert quality.average_realised_spread_bps == pytest.approx(-80.0)
    # Effective spread = realised spread + twice the move of the mid.
    assert quality.average_effective_spread_bps == pytest.approx(-80.0 + 2 * 50.0)


def test_a_sale_is_the_mirror_of_a_purchase() -> None:
    def told(side: str, sign: float) -> FillQuality:
        story = Story(seconds=(1,), bars=()).quote(0, 100 - 0.1, 100 + 0.1)
        story.submit(1, "o", side, 1.0).fill(2, "o", 1.0, 100 + sign * 0.1)
        return story.quote(1_000, 100 + sign - 0.1, 100 + sign + 0.1).quote(2_000, 1.0, 2.0).row

    bought, sold = told("buy", 1.0), told("sell", -1.0)
    assert bought.slippage_bps == pytest.approx(sold.slippage_bps)
    assert bought.realised_spread_bps(0) == pytest.approx(sold.realised_spread_bps(0))
    assert bought.slippage_money == pytest.approx(sold.slippage_money)


def test_markouts_on_bars_count_bars() -> None:
    story = Story(MINUTE, seconds=(60,), bars=(1, 2)).bar(1, 100.0, 100.0)
    story.submit(60_000, "o", "buy", 10.0).told(60_000, "o", "accepted")
    # Filled at the open of the second bar, told at its close, just before the bar itself.
    story.fill(60_000, "o", 10.0, 100.2, seen_ms=120_000).bar(2, 100.2, 101.0)
    assert [markout.observations for markout in story.quality.markouts] == [0, 1, 0]
    row = story.bar(3, 101.0, 99.0).row
    assert row.marks == (None, 101.0, 99.0)
    assert row.markout_bps(1) == pytest.approx((100.2 - 101.0) / 100.2 * 1e4)
    # The close is a reference, but no middle of a spread.
    quality = story.quality
    assert quality.average_signed_slippage_bps == pytest.approx(20.0)
    assert (quality.spread_observations, quality.average_effective_spread_bps) == (0, None)
    assert quality.average_realised_spread_bps is None
    assert quality.shortfall.delay == 0.0


def test_only_the_finest_bars_count_warm_up_included() -> None:
    story = Story(MINUTE)
    story.fold.take(
        History(T, T, "A", MINUTE, [T - MINUTE, T], *([[9.0, 8.0]] * 4), [1.0, 1.0]), ()
    )
    coarse = Bar(T + 1, T + 1, "A", 5.0, 5.0, 5.0, 5.0, 1.0, 60 * MINUTE)
    story.fold.take(Bars(T + 1, T + 1, (coarse,)), ())
    assert story.submit(1, "o", "buy", 1.0).fill(2, "o", 1.0, 8.0).row.arrival_mid == 8.0


def test_trades_serve_until_there_is_a_quote() -> None:
    story = Story(seconds=(1,)).trade(0, 50.0).submit(1, "a", "buy", 1.0).fill(2, "a", 1.0, 50.1)
    story.quote(3, 59.0, 61.0).trade(4, 1.0).submit(5, "b", "buy", 1.0).fill(6, "b", 1.0, 60.0)
    on_trades, on_quotes = story.quality.fills
    assert (on_trades.arrival_mid, on_trades.effective_spread_bps) == (50.0, None)
    assert (on_quotes.arrival_mid, on_quotes.effective_spread_bps) == (60.0, 0.0)


@pytest.mark.parametrize(("bid", "ask"), [(0.0, 10.0), (10.0, 0.0), (10.1, 10.0)])
def test_an_empty_or_crossed_quote_has_no_middle(bid: float, ask: float) -> None:
    story = Story().quote(0, 9.0, 11.0).quote(1, bid, ask).submit(2, "o", "buy", 1.0)
    assert story.fill(3, "o", 1.0, 10.0).row.arrival_mid == 10.0


def test_a_book_quotes_too() -> None:
    story = Story()
    story.fold.take(Book(T, T, "A", ((9.0, 1.0), (8.0, 1.0)), ((11.0, 1.0),)), ())
    story.fold.take(Book(T + 1, T + 1, "A", (), ((50.0, 1.0),)), ())
    row = story.submit(1, "o", "buy", 1.0).fill(2, "o", 1.0, 10.1).row
    assert (row.arrival_mid, row.quoted) == (10.0, True)


def test_a_fill_told_late_finds_the_prices_of_its_time() -> None:
    story = Story(seconds=(1,), bars=()).quote(0, 9.0, 11.0).submit(1, "o", "buy", 1.0)
    for second in range(1, 6):
        story.quote(1_000 * second, 9.0 + second, 11.0 + second)
    assert story.fill(1_500, "o", 1.0, 10.0, seen_ms=5_001).row.marks == (12.0,)
    # Beyond what is kept nothing is guessed.
    for n in range(KEPT):
        story.quote(6_000 + n, 9.0, 11.0)
    story.submit(8_000, "p", "buy", 1.0)
    assert story.fill(1_500, "p", 1.0, 10.0, seen_ms=8_001).row.marks == (None,)


def test_news_out_of_order_does_not_turn_prices_back() -> None:
    story = Story().quote(10, 9.0, 11.0).quote(5, 1.0, 2.0).submit(11, "o", "buy", 1.0)
    assert story.fill(12, "o", 1.0, 10.0).row.arrival_mid == 10.0


def test_queue_attribution() -> None:
    ahead = {"queue_position": 300.0, "expected_queue_delay_ms": 50.0}
    story = Story().quote(0, 9.0, 11.0)
    story.submit(0, "a", "buy", 4.0, limit=9.5).told(5, "a", "accepted", metadata=ahead)
    story.submit(0, "b", "buy", 4.0).told(5, "b", "accepted")
    story.fill(70, "a", 3.0, 9.5).told(75, "a", "replaced", metadata={"queue_position": 100.0})
    story.fill(110, "a", 1.0, 9.5).fill(6, "b", 4.0, 11.0)
    quality = story.quality
    assert quality.queue_observations == 2
    assert quality.average_queue_position == pytest.approx((3 * 300 + 1 * 100) / 4)
    # 70 - 50 on three units, 110 - 50 on one: it took longer than the venue expected.
    assert quality.average_queue_delay_error_ms == pytest.approx((3 * 20 + 1 * 60) / 4)


def test_venues_and_symbols_are_summed_apart() -> None:
    story = Story().quote(0, 9.0, 11.0).quote(0, 99.0, 101.0, "B")
    story.submit(0, "a", "buy", 3.0).submit(0, "b", "sell", 2.0, symbol="B")
    story.fill(10, "a", 1.0, 10.1, 1.0, venue="X").fill(20, "a", 2.0, 10.2, 1.0, venue="Y")
    story.fill(30, "b", 2.0, 99.0, 5.0, venue="X")
    x, y = story.quality.venue_summaries
    assert (x.venue, x.fills, x.quantity, x.fees) == ("X", 2, 3.0, 6.0)
    assert x.average_fill_latency_ms == pytest.approx((1 * 10 + 2 * 30) / 3)
    assert x.average_signed_slippage_bps == pytest.approx(100.0)
    assert x.average_effective_spread_bps == pytest.approx(200.0)
    assert (y.venue, y.average_signed_slippage_bps) == ("Y", pytest.approx(200.0))
    a, b = story.quality.symbol_summaries
    assert (a.symbol, a.fills, a.quantity) == ("A", 2, 3.0)
    assert a.average_signed_slippage_bps == pytest.approx((100 + 2 * 200) / 3)
    assert a.slippage_money == pytest.approx(0.1 + 0.4)
    assert (b.symbol, b.shortfall.execution, b.shortfall.fees) == ("B", pytest.approx(2.0), 5.0)
    whole = story.quality.shortfall
    assert whole.total == pytest.approx(a.shortfall.total + b.shortfall.total)


# ---------------------------------------------------------------- properties

PARTS = st.lists(st.integers(1, 50), min_size=1, max_size=8)
ROWS = st.lists(
    st.tuples(st.sampled_from(["buy", "sell"]), PARTS, st.integers(900, 1100)),
    min_size=1,
    max_size=5,
)


def _told(rows: list[tuple[str, list[int], int]], split: bool) -> ExecutionQuality:
    story = Story(seconds=(1, 2), bars=()).quote(0, 99.5, 100.5)
    for n, (side, parts, cents) in enumerate(rows):
        at = 10 * n
        story.submit(at, f"o{n}", side, float(sum(parts))).told(at + 1, f"o{n}", "accepted")
        for part in parts if split else [sum(parts)]:
            story.fill(at + 2, f"o{n}", float(part), cents / 10, part * 0.01)
    return story.quote(1_500, 100.0, 101.0).quality


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_partitions_of_a_fill_cost_what_the_whole_does(
    rows: list[tuple[str, list[int], int]],
) -> None:
    whole, split = _told(rows, False), _told(rows, True)
    names = [n for n in ExecutionQuality.__struct_fields__ if n.startswith("average_")]
    for name in [*names, "quantity", "fees", "slippage_money", "filled", "rejection_rate"]:
        assert _same(getattr(split, name), getattr(whole, name)), name
    for name in whole.shortfall.__struct_fields__:
        assert _same(getattr(split.shortfall, name), getattr(whole.shortfall, name)), name
    for one, other in zip(whole.markouts, split.markouts, strict=True):
        assert _same(one.average_bps, other.average_bps)


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-7)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_looking_changes_nothing(rows: list[tuple[str, list[int], int]]) -> None:
    quiet, watched = Story(seconds=(1,)), Story(seconds=(1,))
    for story in (quiet, watched):
        story.quote(0, 99.5, 100.5)
        for n, (side, parts, cents) in enumerate(rows):
            story.submit(n, f"o{n}", side, 1e3).fill(n + 0.5, f"o{n}", float(parts[0]), cents / 10)
            if story is watched:
                assert story.quality == story.quality
        story.quote(5_000, 90.0, 91.0)
    assert watched.quality == quiet.quality


WORDS = [
    "submit", "accepted", "rejected", "canceled", "expired", "lost", "replaced",
    "cancel_rejected", "replace_rejected", "fill", "repeat", "deny", "quote", "a new word",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(WORDS), st.integers(0, 2), st.integers(-2_000, 2_000)),
        max_size=40,
    )
)
def test_whatever_a_venue_says_the_counts_make_sense(
    said: list[tuple[str, int, int]],
) -> None:
    story = Story(MINUTE, seconds=(1,), bars=(1,))
    sent, executions = set(), 0
    for n, (word, number, late) in enumerate(said):
        at, order = 500.0 * n, f"o{number}"
        if word == "submit" and order not in sent:
            sent.add(order)
            story.submit(at, order, "buy" if number else "sell", 10.0, limit=9.0 if late else None)
        elif word == "fill":
            executions += 1
            story.fill(at - late, order, 4.0, 10.0, 0.1, seen_ms=at)
        elif word == "repeat" and executions:
            story.fill(at, order, 4.0, 10.0, 0.1, execution="x1")
        elif word == "deny":
            story.deny(at, order)
        elif word == "quote":
            story.quote(at + late, 9.0 + number, 9.5 + number)
        elif word not in ("submit", "repeat"):
            story.told(at - late, order, word, seen_ms=at, qty=8.0 if late > 0 else None)
    quality = story.quality
    assert quality.submitted >= quality.acknowledged >= quality.filled
    assert quality.cancelled + quality.expired + quality.broker_rejected <= len(sent)
    assert quality.errored <= len(sent)
    assert len(quality.fills) == executions
    assert quality.quantity == pytest.approx(4.0 * executions)
    json.loads(quality.to_json(), parse_constant=pytest.fail)
    assert len(quality.frame()) == executions


def test_prices_leave_nothing_behind() -> None:
    story = Story(MINUTE, seconds=(1,), bars=(2,)).quote(0, 9.0, 11.0).submit(1, "o", "buy", 1.0)
    story.fill(2, "o", 1.0, 10.0)
    for n in range(3 * KEPT):
        story.bar(n + 1, 10.0, 10.0).quote((n + 1) * 60_000.0 + 1, 9.0, 11.0)
    fold = story.fold
    tracks = [track for marks in fold._marks.values() for track in (marks.ticks, marks.bars)]
    assert all(len(track._kept) <= KEPT for track in tracks)
    assert not any(track._by_time or track._by_count for track in tracks)
    assert not fold._open
    assert not fold._ends


# ---------------------------------------------------------------- faces

#: As users of the C++ project know them.
KNOWN = (
    "submitted", "submit_rejected", "acknowledged", "partially_filled", "filled", "cancelled",
    "broker_rejected", "errored", "slippage_observations", "spread_observations",
    "queue_observations", "average_ack_latency_ms", "average_fill_latency_ms",
    "average_signed_slippage_bps", "average_absolute_slippage_bps", "average_effective_spread_bps",
    "average_queue_position", "average_queue_delay_error_ms", "rejection_rate", "venue_summaries",
    "last_timestamp",
)  # fmt: skip


def test_nothing_happened_is_undefined_and_not_nan() -> None:
    quality = QualityFold().result()
    told = json.loads(quality.to_json(), parse_constant=pytest.fail)
    assert set(KNOWN) <= set(told)
    assert all(told[name] is None for name in told if name.startswith("average_"))
    assert told["rejection_rate"] is told["last_timestamp"] is told["shortfall"]["bps"] is None
    assert len(quality.frame()) == 0
    assert "no orders yet" in quality._repr_html_()


def test_json_has_everything_but_the_single_fills() -> None:
    story = Story().quote(0, 9.0, 11.0).submit(1, "o", "buy", 1.0).fill(2, "o", 1.0, 10.1)
    told = json.loads(story.quality.to_json())
    assert told["average_signed_slippage_bps"] == pytest.approx(100.0)
    assert told["venue_summaries"][0]["venue"] == "X"
    assert told["symbol_summaries"][0]["symbol"] == "A"
    assert "fills" not in told


def test_the_page_names_every_field() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "execution-quality.md").read_text("utf-8")
    fields = {*ExecutionQuality.__struct_fields__} - {"fills", "flavour", "timezone"}
    for name in (*fields, *Shortfall.__struct_fields__):
        assert f"`{name}" in page or f"quality.{name}" in page, name


@pytest.mark.parametrize("flavour", ["pandas", "polars"])
def test_the_frame_has_a_row_per_execution(flavour: str) -> None:
    story = Story(seconds=(1,), bars=(1,))
    story.fold.take(
        Start(T, T, "s", 0, ("A",), (0,), 1.0, flavour=flavour, timezone="Europe/Berlin"), ()
    )
    story.quote(0, 9.0, 11.0).submit(1, "o", "buy", 2.0).told(3, "o", "accepted")
    story.fill(5, "o", 2.0, 10.1, 0.5).fill(6, "foreign", 1.0, 10.0).quote(2_000, 9.0, 11.0)
    frame = story.quality.frame()
    assert isinstance(frame, pd.DataFrame if flavour == "pandas" else pl.DataFrame)
    assert list(frame.columns) == [
        "time", "execution_id", "order_id", "symbol", "side", "qty", "price", "reference",
        "arrival_mid", "venue_mid", "slippage_bps", "slippage_money", "arrival_slippage_bps",
        "delay_bps", "effective_spread_bps", "realised_spread_bps", "markout_1s_bps",
        "markout_1bar_bps", "ack_latency_ms", "fill_latency_ms", "execution_latency_ms",
        "queue_position", "queue_delay_error_ms", "fee", "venue", "liquidity",
    ]  # fmt: skip
    first, foreign = (dict(zip(frame.columns, row, strict=True)) for row in _rows(frame))
    assert first["time"].utcoffset().total_seconds() == 3600
    assert (first["side"], first["qty"], first["fee"], first["venue"]) == ("buy", 2.0, 0.5, "X")
    assert first["slippage_bps"] == pytest.approx(100.0)
    assert first["effective_spread_bps"] == pytest.approx(200.0)
    assert first["realised_spread_bps"] == pytest.approx(200.0)
    assert (first["ack_latency_ms"], first["fill_latency_ms"]) == (2.0, 4.0)
    assert math.isnan(foreign["slippage_bps"])
    assert foreign["symbol"] == "A"


def _rows(frame: Any) -> list[Any]:
    return list(frame.itertuples(index=False) if hasattr(frame, "itertuples") else frame.rows())


def test_what_venues_call_themselves_is_escaped() -> None:
    story = Story().quote(0, 9.0, 11.0).submit(1, "o", "buy", 1.0)
    story.fill(2, "o", 1.0, 10.1, venue="<script>x</script>")
    page = story.quality._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "100.00" in page
    assert repr(story.quality).startswith("<ExecutionQuality 1 fills of 1 orders, slippage 100.00")


@pytest.mark.parametrize(
    "horizons",
    [{"seconds": (0,)}, {"seconds": (1, 1.0)}, {"bars": (-1,)}, {"bars": (1.5,)},
     {"seconds": (math.nan,)}, {"seconds": (math.inf,)}],
)  # fmt: skip
def test_horizons_are_positive_and_distinct(horizons: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        QualityFold(**horizons)
