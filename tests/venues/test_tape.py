"""Historical data as events: their order, their days, and what is cut off."""

import numpy as np
import pandas as pd
import pytest

from regimeflow.data.frames import load
from regimeflow.model.events import Clock, EndOfDay, Finish, Start
from regimeflow.model.market import Bar, Bars
from regimeflow.venues.tape import Tape

BEGIN = pd.Timestamp("2024-01-02", tz="UTC")
MINUTE = 60_000_000_000


def bars(places, scale=1.0):
    c = np.array(places, dtype=float) * scale + 1
    return pd.DataFrame(
        {"open": c, "high": c, "low": c, "close": c, "volume": 1.0, "extra": c * 10},
        index=BEGIN + pd.to_timedelta(np.array(places), unit="min"),
    )


def events(tape):
    return [event for segment in tape.segments() for event in segment]


def close_of(place):
    return BEGIN.value + (place + 1) * MINUTE


def told(tape):
    """Return (minute, symbols) of every market event."""
    rows = []
    for event in events(tape):
        if isinstance(event, Bar | Bars):
            group = event.bars if isinstance(event, Bars) else (event,)
            rows.append(((event.ts - BEGIN.value) // MINUTE, "".join(b.symbol for b in group)))
    return rows


def test_bars_that_close_together_are_one_event_in_the_order_of_symbols():
    data = load({"B": bars([0, 1, 3]), "A": bars([1, 2, 3])}, timeframe="1min")
    assert told(Tape(data)) == [(1, "B"), (2, "BA"), (3, "A"), (4, "BA")]


def test_start_is_excluded_end_is_included_and_what_was_before_is_warmup():
    data = load({"A": bars(range(6))}, timeframe="1min")
    tape = Tape(data, start=close_of(1), end=close_of(3))
    assert told(tape) == [(3, "A"), (4, "A")]
    begin = Start(5, 5, "t", 0, ("A",), (60_000_000_000,), 1e5)
    start, history, clock = tape.head(begin)
    assert (start, clock) == (begin, Clock(5, 5))
    assert history.times == [close_of(0), close_of(1)]
    assert history.features == {"extra": [10.0, 20.0]}
    assert tape.count == 2
    assert tape.begins == close_of(1)
    _, short, _ = Tape(data, start=close_of(3), warmup=2).head(begin)
    assert short.times == [close_of(2), close_of(3)]


def test_every_event_is_seen_its_latency_later_and_never_before_another():
    data = load({"A": bars(range(0, 3000, 7))}, timeframe="1min")
    tape = Tape(data, data_latency_ns=250)
    all_events = events(tape)
    for event in all_events:
        if isinstance(event, Bar):
            assert event.seen == event.ts + 250
    seen = [event.seen for event in all_events]
    assert seen == sorted(seen)


def test_a_day_ends_after_its_last_bar_and_the_finish_comes_last():
    data = load({"A": bars([0, 1439, 1440, 4000])}, timeframe="1min")
    kinds = [
        event.session if isinstance(event, EndOfDay) else type(event).__name__
        for event in events(Tape(data))
    ]
    assert kinds == [
        "Bar", "Bar", "2024-01-02",  # the second closes at midnight and belongs to its day
        "Bar", "2024-01-03", "Bar", "2024-01-04", "Finish",
    ]  # fmt: skip
    assert isinstance(events(Tape(data))[-1], Finish)


@pytest.mark.parametrize("width", [2, 12])
@pytest.mark.parametrize("ragged", [False, True])
def test_a_wide_tape_says_what_a_narrow_one_says(width, ragged, monkeypatch):
    data = {
        f"S{n:02d}": bars([p for p in range(9) if not (ragged and (p + n) % 4 == 0)], n + 1)
        for n in range(width)
    }
    dataset = load(data, timeframe="1min")

    def flat():
        rows = []
        for event in events(Tape(dataset)):
            rows.append((type(event).__name__, event.ts, event.seen))
            rows.extend(getattr(event, "bars", ()))
            if isinstance(event, Bars):
                assert [event.bars[i] for i in range(len(event.bars))] == list(event.bars)
                assert event.bars[-1] == list(event.bars)[-1]
        return rows

    wide = flat()
    monkeypatch.setattr("regimeflow.venues.tape.WIDE", 10**9)
    assert flat() == wide
