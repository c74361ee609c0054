"""Prices looked up now or answered later are those that a whole list would have given."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from regimeflow.analytics.marks import KEPT, Marks, Track

#: A price's time after the newest one (0: a correction, negative: stale news).
TOLD = st.tuples(st.just("price"), st.integers(-2, 4))
#: A question, for a moment that far from the newest price.
ASKED = st.tuples(st.sampled_from(["at", "later"]), st.integers(-8, 8))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(TOLD, ASKED), max_size=40), st.integers(1, 4))
def test_answers_are_those_of_the_whole_list(said: list[tuple[str, int]], steps: int) -> None:
    track, newest = Track(), 100
    prices: dict[int, list[float]] = {}
    answers: list[tuple[str, int, list[float | None]]] = []
    for n, (what, step) in enumerate(said):
        ts = newest + step
        if what == "price":
            track.take(ts, float(n))
            if not prices or ts >= newest:
                prices.setdefault(ts, []).append(float(n))
                newest = ts
            continue
        got: list[float | None] = []
        look = track.at(ts, got.append) if what == "at" else track.later(ts, steps, got.append)
        if look[1]:
            got.append(look[0])
        else:
            assert look[0] == track.last
        if prices or what == "later":
            answers.append((what, ts, got))
        else:
            assert look == (None, True)
    for what, ts, got in answers:
        after = [t for t in sorted(prices) if t > ts]
        if what == "later":
            # The n-th price after it, as it was when it was told.
            assert len(got) == (len(after) >= steps)
            assert not got or got[0] in prices[after[steps - 1]]
        else:
            before = [t for t in sorted(prices) if t <= ts]
            assert got == ([prices[before[-1]][-1] if before else None] if after else [])


def test_a_bar_told_after_a_fill_may_have_ended_before_it() -> None:
    track, got = Track(), []
    track.take(60, 1.0)
    assert track.later(125, 1, got.append) == (1.0, False)
    track.take(120, 2.0)
    assert got == []
    track.take(180, 3.0)
    assert got == [3.0]


def test_a_correction_takes_the_place_of_a_price() -> None:
    track, got = Track(), []
    track.take(1, 10.0)
    assert track.at(1, got.append) == (10.0, False)
    track.take(1, 11.0)
    track.take(2, 12.0)
    assert got == [11.0]
    assert track.later(0, 2, got.append) == (12.0, True)


def test_what_is_no_longer_kept_is_not_guessed() -> None:
    track = Track()
    for ts in range(KEPT):
        track.take(ts, float(ts))
    assert track.at(0, print) == (0.0, True)
    assert track.later(0, 1, print) == (1.0, True)
    track.take(KEPT, 1.0)
    assert track.at(0, print) == (None, True)
    assert track.later(0, 1, print) == (None, True)


def test_a_trade_is_never_taken_for_a_middle() -> None:
    marks = Marks()
    marks.trade(1, 50.0)
    assert (marks.best.last, marks.quoted) == (50.0, False)
    marks.bars.take(2, 40.0)
    marks.quote(3, 59.0, 61.0)
    marks.trade(4, 50.0)
    assert (marks.best.last, marks.quoted) == (60.0, True)
    assert marks.ticks.at(2, print) == (None, True)
