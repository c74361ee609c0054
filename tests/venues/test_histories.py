"""Historical bars in one call: whole, closed, with the times that they have live."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regimeflow as rf
from regimeflow.errors import ConfigError, DataError, Refused, VenueError
from regimeflow.model.market import History
from regimeflow.model.timeframe import parse_timeframe
from regimeflow.venues.histories import Histories, Pace, patient
from regimeflow.venues.port import Capabilities

MINUTE = parse_timeframe("1min")
BEGIN = 1_704_205_800 * 10**9  # 2024-01-02 14:30 UTC


class Archive(Histories):
    """A venue that has nothing but a past: bars that close at the given minutes after `BEGIN`."""

    name = "archive"

    def __init__(self, closes: dict[str, list[int]], **capable: Any) -> None:
        self.capabilities = Capabilities(**capable)
        self.closes = closes
        self.asked: list[tuple[str, int, int]] = []
        self.fails: list[Exception] = []

    def past(self, symbol: str, timeframe: int, start: int, end: int) -> History:
        self.asked.append((symbol, start, end))
        if self.fails:
            raise self.fails.pop(0)
        if symbol not in self.closes:
            raise Refused("no such asset", code="404")
        times = [BEGIN + minute * timeframe for minute in self.closes[symbol]]
        times = [ts for ts in times if start < ts <= end]
        price = [100.0 + (ts - BEGIN) // timeframe for ts in times]
        volume = [1.0] * len(times)
        return History(end, 0, symbol, timeframe, times, price, price, price, price, volume)


def told(frame: Any) -> list[tuple[str, int, float]]:
    """Return the bars that a backtest of a frame sees."""
    heard: list[tuple[str, int, float]] = []

    def hear(ctx: Any, bar: Any) -> None:
        heard.append((bar.symbol, bar.ts, bar.close))

    rf.backtest(hear, frame)
    return heard


minutes = st.lists(st.integers(1, 300), min_size=1, max_size=40, unique=True).map(sorted)


@settings(max_examples=40, deadline=None)
@given(a=minutes, b=minutes, page=st.integers(1, 100), polars=st.booleans())
def test_a_backtest_of_the_history_sees_the_bars_that_the_venue_closed(
    a: list[int], b: list[int], page: int, polars: bool
) -> None:
    """Whatever the gaps and however it is paged, with no argument beside the frame."""
    venue = Archive({"AAA": a, "BBB": b}, history_page=page)
    frame = venue.history(
        ["AAA", "BBB"],
        "1min",
        BEGIN,
        BEGIN + 300 * MINUTE,
        flavour="polars" if polars else "pandas",
    )
    expected = [
        (symbol, BEGIN + minute * MINUTE, 100.0 + minute)
        for minute in sorted({*a, *b})
        for symbol, has in (("AAA", a), ("BBB", b))
        if minute in has
    ]
    assert told(frame) == expected


def test_times_are_those_at_which_the_bars_open() -> None:
    frame = Archive({"AAA": [1, 2]}).history("AAA", "1min", "2024-01-02 14:30", "2024-01-02 15:00")
    assert [str(t) for t in frame.index] == [
        "2024-01-02 14:30:00+00:00",
        "2024-01-02 14:31:00+00:00",
    ]
    assert list(frame.columns) == [
        "symbol", "timeframe", "open", "high", "low", "close", "volume",
    ]  # fmt: skip


def test_start_is_a_bars_open_and_end_its_close() -> None:
    frame = Archive({"AAA": [1, 2, 3, 4]}).history(
        "AAA", "1min", BEGIN + MINUTE, BEGIN + 3 * MINUTE
    )
    assert [ts for _, ts, _ in told(frame)] == [BEGIN + 2 * MINUTE, BEGIN + 3 * MINUTE]


def test_no_question_reaches_beyond_a_page_or_beyond_now() -> None:
    venue = Archive({"AAA": [1]}, history_page=120)
    venue.history("AAA", "1min", BEGIN, BEGIN + 300 * MINUTE)
    assert [(b - a) // MINUTE for _, a, b in venue.asked] == [120, 120, 60]
    venue = Archive({"AAA": [1]}, history_page=10**9)
    venue.history("AAA", "1min", BEGIN, "2200-01-01")
    assert venue.asked[0][2] < 7_000_000_000 * 10**9


def test_what_lies_outside_is_left_out_even_if_the_venue_tells_it() -> None:
    class Generous(Archive):
        def past(self, symbol: str, timeframe: int, start: int, end: int) -> History:
            return super().past(symbol, timeframe, start - 10 * MINUTE, end + 10 * MINUTE)

    venue = Generous({"AAA": list(range(1, 60))}, history_page=7)
    frame = venue.history("AAA", "1min", BEGIN + 5 * MINUTE, BEGIN + 30 * MINUTE)
    assert [ts for _, ts, _ in told(frame)] == [BEGIN + m * MINUTE for m in range(6, 31)]


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        (("AAA", "1min", "2024-01-03", "2024-01-02"), ConfigError, "is not before end"),
        (("AAA", "1min", None), ConfigError, "start is missing"),
        (("AAA", "1min", "2190-01-01"), ConfigError, "lies in the future"),
        (("AAA", "3min", "2024-01-02"), ConfigError, "has no bars of 3min; it has 1min, 1d"),
        (("AAA", "a minute", "2024-01-02"), ConfigError, "cannot read the timeframe"),
        (([], "1min", "2024-01-02"), ConfigError, "symbols must be one name or several"),
        ((["AAA", "AAA"], "1min", "2024-01-02"), ConfigError, "names one twice: AAA"),
        (("ZZZ", "1min", BEGIN), Refused, "archive gives no history: ZZZ: no such asset"),
        (("AAA", "1min", "2023-01-02", "2023-01-03"), DataError, "no closed bar of 1min between"),
    ],
)  # fmt: skip
def test_one_sentence_says_what_is_wrong(how: tuple[Any, ...], error: type, words: str) -> None:
    venue = Archive({"AAA": [1]}, timeframes=("1min", "1d"))
    with pytest.raises(error, match=words):
        venue.history(*how)


def test_a_frame_of_an_unknown_library_is_refused_before_anything_is_asked() -> None:
    venue = Archive({"AAA": [1]})
    with pytest.raises(ConfigError, match="'pandas' or 'polars'"):
        venue.history("AAA", "1min", BEGIN, flavour="dask")
    assert not venue.asked


def test_a_venue_that_tells_where_its_next_bars_are_is_not_asked_for_empty_time() -> None:
    class Skips(Archive):
        def piece(self, symbol: str, timeframe: int, start: int, end: int) -> tuple[History, int]:
            whole = self.past(symbol, timeframe, start, end)
            times = whole.times[:2]
            cut = [1.0] * len(times)
            told = History(end, 0, symbol, timeframe, times, cut, cut, cut, cut, cut)
            return told, times[-1] if len(whole.times) > 2 else end

    venue = Skips({"AAA": [900_000, 900_001, 900_500, 999_000]}, history_page=2)
    shares: list[float] = []
    frame = venue.history("AAA", "1min", BEGIN, BEGIN + 1_000_000 * MINUTE, progress=shares.append)
    assert [(ts - BEGIN) // MINUTE for _, ts, _ in told(frame)] == venue.closes["AAA"]
    assert len(venue.asked) == 2
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_venue_whose_pages_stand_still_is_given_up() -> None:
    class Stands(Archive):
        def piece(self, symbol: str, timeframe: int, start: int, end: int) -> tuple[History, int]:
            return self.past(symbol, timeframe, start, end), start

    with pytest.raises(VenueError, match="pages of bars do not end"):
        Stands({"AAA": [1]}).history("AAA", "1min", BEGIN)


def test_progress_ends_at_the_whole() -> None:
    shares: list[float] = []
    Archive({"AAA": [1], "BBB": [2]}, history_page=100).history(
        ["AAA", "BBB"], "1min", BEGIN, BEGIN + 200 * MINUTE, progress=shares.append
    )
    assert shares == [0.25, 0.5, 0.75, 1.0]


class Time:
    """A clock that moves only when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def pace(self, per_second: float) -> Pace:
        return Pace(per_second, lambda: self.now, self.wait)


def test_questions_leave_no_faster_than_the_venue_allows() -> None:
    time = Time()
    pace = time.pace(4.0)
    left = []
    for _ in range(5):
        pace.take()
        left.append(time.now)
    assert left == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_venue_that_is_too_busy_is_asked_again_when_it_says() -> None:
    time = Time()
    answers: list[Any] = [Refused("slow down", code="429", retry_after_ms=700.0)] * 2 + ["bars"]

    def ask() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patient(time.pace(0.0), ask) == "bars"
    assert time.waits == [0.7, 0.7]


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (Refused("not yours", code="403"), 1),
        (VenueError("no answer"), 3),
        (Refused("slow down", retry_after_ms=1.0), 10),
    ],
)
def test_patience_has_an_end(error: Exception, tries: int) -> None:
    time, asked = Time(), 0

    def ask() -> None:
        nonlocal asked
        asked += 1
        raise error

    with pytest.raises(type(error)):
        patient(time.pace(0.0), ask)
    assert asked == tries
