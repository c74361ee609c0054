"""Live bars of more than a minute: the same ones as in the history, each once it is over."""

from __future__ import annotations

import itertools
import threading

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sockets import await_

import regimeflow as rf
from regimeflow.data.aggregate import resample
from regimeflow.errors import ConfigError, Refused
from regimeflow.journal import events
from regimeflow.model.market import Bar, BarColumns, Bars
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.venues.alpaca.coarse import Coarse, makes_up

MINUTE = 60 * NS_PER_SECOND
OPEN = 1_704_205_800 * NS_PER_SECOND  # 2024-01-02 14:30 UTC, when New York opens


def minute(count, price=100.0, symbol="SPY", volume=10.0):
    """The bar of a minute after the opening; that of 14:30 to 14:31 is 1."""
    ts = OPEN + count * MINUTE
    return Bar(ts, 0, symbol, price, price + 1.0, price - 1.0, price + 0.5, volume, MINUTE)


def five(begun=OPEN - MINUTE):
    return Coarse(5 * MINUTE, MINUTE, begun)


def told(bars):
    return [((b.ts - OPEN) // MINUTE, b.open, b.high, b.low, b.close, b.volume) for b in bars]


def take(coarse, *bars):
    return told(itertools.chain.from_iterable(coarse.take(bar) for bar in bars))


def test_a_bar_is_told_with_its_last_minute():
    coarse = five()
    assert take(coarse, *(minute(n, 100.0 + n) for n in range(1, 5))) == []
    assert take(coarse, minute(5, 110.0)) == [(5, 101.0, 111.0, 100.0, 110.5, 50.0)]


def test_minutes_without_a_trade_are_not_waited_for_longer_than_the_next_bar():
    coarse = five()
    take(coarse, minute(1), minute(3))
    assert take(coarse, minute(7)) == [(5, 100.0, 101.0, 99.0, 100.5, 20.0)]


def test_or_longer_than_a_little_while():
    coarse = five()
    take(coarse, minute(2), minute(2, symbol="QQQ"))
    end = OPEN + 5 * MINUTE
    assert coarse.next_due(end - 1) == end + 2 * NS_PER_SECOND
    assert coarse.due(end + NS_PER_SECOND) == []
    assert [bar.symbol for bar in coarse.due(end + 2 * NS_PER_SECOND)] == ["SPY", "QQQ"]
    assert coarse.due(end + MINUTE) == []


def test_an_interval_without_a_trade_gives_no_bar():
    coarse = five()
    assert coarse.due(OPEN + 20 * MINUTE) == []
    assert take(coarse, minute(21), minute(25))[0][0] == 25


def test_a_minute_that_is_corrected_counts_as_corrected_until_its_bar_is_told():
    coarse = five()
    take(coarse, minute(1), minute(2, 105.0), minute(1, 90.0, volume=7.0))
    assert take(coarse, minute(5)) == [(5, 90.0, 106.0, 89.0, 100.5, 27.0)]
    assert take(coarse, minute(5, 50.0), minute(1, 50.0)) == []  # what is told stays told
    assert take(coarse, minute(10)) == [(10, 100.0, 101.0, 99.0, 100.5, 10.0)]


def test_a_bar_that_had_begun_before_is_not_made_of_a_part():
    coarse = five(begun=OPEN + 2 * MINUTE)
    assert coarse.partial == OPEN + 5 * MINUTE
    assert take(coarse, minute(3), minute(4), minute(5)) == []
    assert take(coarse, *map(minute, range(6, 11)))[0][0] == 10


@pytest.mark.parametrize("early_s", [60, 3, 1])
def test_a_minute_that_forms_when_all_begins_is_told_whole(early_s):
    coarse = five(begun=OPEN - early_s * NS_PER_SECOND)
    assert coarse.partial == (0 if early_s <= 2 else OPEN)
    assert take(coarse, *map(minute, range(1, 6)))[0][0] == 5


MAKE_UP = {1: True, 2: True, 5: True, 7: False, 15: True, 30: True, 45: False, 60: True,
           90: False, 120: False, 240: False, 1440: False}  # fmt: skip


@pytest.mark.parametrize("minutes", MAKE_UP)
def test_lengths_whose_beginning_only_alpaca_knows_are_not_made(minutes):
    assert makes_up(minutes * MINUTE, MINUTE) == MAKE_UP[minutes]


@given(
    traded=st.sets(st.integers(1, 120)),
    length=st.sampled_from([2, 5, 15, 60]),
    data=st.data(),
)
def test_what_is_told_minute_by_minute_is_what_resampling_makes_of_all(traded, length, data):
    price = st.floats(1.0, 1_000.0)
    bars = [minute(n, data.draw(price), volume=data.draw(price)) for n in sorted(traded)]
    coarse = Coarse(length * MINUTE, MINUTE, OPEN - 61 * MINUTE)
    made = list(itertools.chain.from_iterable(map(coarse.take, bars)))
    made += coarse.due(OPEN + 1_000 * MINUTE)
    columns = [np.array([getattr(b, n) for b in bars]) for n in ("open", "high", "low", "close",
                                                                 "volume")]  # fmt: skip
    times = np.array([bar.ts for bar in bars], dtype=np.int64)
    whole = resample(BarColumns("SPY", MINUTE, times, *columns), length * MINUTE)
    assert [bar.ts for bar in made] == whole.ts.tolist()
    for name in ("open", "high", "low", "close", "volume"):
        assert [getattr(bar, name) for bar in made] == whole.column(name).tolist()


# ---------------------------------------------------------------- over sockets

UNIT, LENGTH = "200ms", 1_000_000_000


@pytest.fixture
def sandbox(tmp_path):
    made = rf.sandbox.Alpaca(
        tmp_path / "v.jsonl", symbols=("AAA",), timeframe=UNIT, speed=40.0, history=100
    )
    with made as running:
        yield running


class Heard(list):
    """What a venue has said."""

    def __init__(self):
        super().__init__()
        self._changed = threading.Condition()

    def __call__(self, said):
        with self._changed:
            self.append(said)
            self._changed.notify_all()

    def bars(self, count, ts=0):
        """Wait for so many bars, or for so many that close then."""
        found = lambda: [s for s in self if isinstance(s, Bar) and ts in (0, s.ts)]  # noqa: E731
        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, 20.0)
            return found()


def test_live_bars_are_those_of_the_history(sandbox):
    venue, heard = sandbox.venue(), Heard()
    venue.connect(heard)
    venue.subscribe(["AAA"], LENGTH)
    bars = heard.bars(4)
    sandbox.hand.hold()
    told = venue.past("AAA", LENGTH, bars[0].ts - LENGTH, bars[-1].ts)
    venue.close()
    # The first had begun before all was told: it was asked for, and may come a little late.
    assert sorted(bar.ts for bar in bars) == told.times
    kept = {bar.ts: bar for bar in bars}
    for name in ("open", "high", "low", "close", "volume"):
        assert [getattr(kept[ts], name) for ts in told.times] == getattr(told, name)


def test_a_bar_that_alpaca_corrects_is_told_again_as_its_history_has_it_then(sandbox):
    venue, heard, length = sandbox.venue(), Heard(), 200_000_000
    venue.connect(heard)
    venue.subscribe(["AAA"], length)
    heard.bars(2)
    sandbox.hand.hold()
    before = next(reversed(list(venue.past("AAA", length, 0, venue.time()).bars())))
    heard.bars(1, before.ts)
    sandbox.hand.late("AAA", 150.0)
    first, corrected = heard.bars(2, before.ts)
    (after,) = venue.past("AAA", length, before.ts - length, before.ts).bars()
    venue.close()
    prices = [(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in (first, before)]
    assert prices[0] == prices[1]
    assert (corrected.close, corrected.volume) == (150.0, before.volume + 100.0)
    assert msgspec.structs.replace(corrected, seen=after.seen) == after


class Looks(rf.Strategy):
    """Counts bars."""

    def on_bar(self, ctx, bar):
        ctx.record(bars=1.0)


def test_a_session_on_longer_bars_has_no_gap_and_no_overlap_with_history(sandbox, tmp_path):
    session = rf.LiveSession(
        Looks, sandbox.venue(), symbols=["AAA"], timeframe="1s", run_dir=tmp_path / "run",
        warmup=10, intervals=rf.venues.Intervals(clock_ms=20, grace_ms=60, stop_ms=500),
    )  # fmt: skip
    session.start()
    await_(lambda: list((tmp_path / "run").glob("journal-*")), "the journal")
    await_(lambda: live_bars(tmp_path / "run") >= 4, "the first bars")
    sandbox.hand.disconnect()
    await_(lambda: live_bars(tmp_path / "run") >= 8, "bars after the line was lost")
    session.stop()
    opens = pd.DatetimeIndex(rf.bars(tmp_path / "run")["time"]).as_unit("ns").asi8
    assert set(np.diff(opens).tolist()) == {LENGTH}


def live_bars(run_dir):
    """Return how many bars a run was told, other than those of history."""
    told = [event for _, event, _ in events(run_dir)]
    return sum(len(e.bars) if isinstance(e, Bars) else isinstance(e, Bar) for e in told)


def test_lengths_that_cannot_be_made_are_refused_with_one_sentence():
    venue = rf.venues.Alpaca(api_key="PK1", secret_key="none")
    with pytest.raises(Refused, match="bars of 4h cannot be made of them"):
        venue.subscribe(["SPY"], 240 * MINUTE)


def test_only_a_server_on_this_machine_streams_bars_of_another_length():
    with pytest.raises(ConfigError, match="stream_bars"):
        rf.venues.Alpaca(api_key="PK1", secret_key="none", stream_bars="1s")
