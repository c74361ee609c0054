"""The bars of a session: those of history, then those of the stream, each once and none missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regimeflow as rf
from regimeflow.engine.drive import drive
from regimeflow.engine.engine import Engine
from regimeflow.errors import VenueError
from regimeflow.model.events import Gap, Input, Start
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Bars, History
from regimeflow.sandbox.exchange import Exchange
from regimeflow.session.companions import rolling_history
from regimeflow.venues.gateway import Gateway
from regimeflow.venues.intake import Hours
from regimeflow.venues.intervals import Intervals
from regimeflow.venues.port import Disconnected, Emit
from regimeflow.venues.runtime import Virtual
from regimeflow.venues.splice import Splice

SECOND = 1_000_000_000
MS = 1_000_000
BEGIN = 1_704_205_800 * SECOND  # 2024-01-02 14:30 UTC
SYMBOLS = ("AAA", "BBB")


class Tardy(Exchange):
    """An exchange whose stream tells bars late, and whose history shows them late.

    Args:
        runtime: time.
        stream_ms: how long after a bar's close the stream tells of it.
        shown_ms: how long after its close history has it.
        apart_ms: how much later than AAA's the stream tells the bars of BBB.
        repeats: whether a subscription begins with the newest closed bar.
    """

    def __init__(
        self, runtime: Virtual, stream_ms: float, shown_ms: float, apart_ms: float, repeats: bool
    ) -> None:
        rules = [Instrument(symbol) for symbol in SYMBOLS]
        super().__init__(runtime.now, rules, timeframe=SECOND)
        self.runtime = runtime
        self.stream_ns, self.shown_ns = int(stream_ms * MS), int(shown_ms * MS)
        self.apart_ns, self.repeats = int(apart_ms * MS), repeats
        self.line = 0
        self.asked: list[tuple[str, int]] = []
        self.fails_from = 1_000

    def connect(self, emit: Emit) -> None:
        self.line += 1
        line = self.line

        def later(said: Any) -> None:
            wait = self.stream_ns if isinstance(said, Bar) else 0
            if isinstance(said, Bar) and said.symbol == "BBB":
                wait += self.apart_ns
            self.runtime.later(wait, lambda: emit(said) if line == self.line else None)

        super().connect(later)

    def subscribe(self, symbols: Sequence[str], timeframe: int) -> None:
        super().subscribe(symbols, timeframe)
        for symbol in symbols if self.repeats else ():
            self._say(self._bars[symbol][-1])

    def past(self, symbol: str, timeframe: int, start: int, end: int) -> History:
        self.asked.append((symbol, end))
        if len(self.asked) > self.fails_from:
            raise VenueError("502 Bad Gateway")
        return super().past(symbol, timeframe, start, min(end, self.runtime.now() - self.shown_ns))

    def bars(self, symbol: str) -> list[int]:
        return [bar.ts for bar in self._bars[symbol]]


class Session:
    """A run of some seconds on bars of one second; prices move ten times in each.

    Args:
        begins_ms: when it begins, after the exchange has been open for some seconds.
        cut_ms: when its connection is lost, after it has begun; 0 for never.
        fails_from: how many questions for history are answered.
        quiet: whether nobody trades at a time.
    """

    def __init__(
        self,
        *,
        begins_ms: int = 0,
        stream_ms: float = 0.0,
        shown_ms: float = 0.0,
        apart_ms: float = 0.0,
        repeats: bool = False,
        way_ms: tuple[float, float] = (1.0, 40.0),
        warmup: int = 5,
        seconds: float = 8.0,
        cut_ms: int = 0,
        fails_from: int = 1_000,
        quiet: Callable[[int], bool] = lambda ts: False,
    ) -> None:
        self.runtime = runtime = Virtual(begins_ms, BEGIN, way_ms)
        self.exchange = Tardy(runtime, stream_ms, shown_ms, apart_ms, repeats)
        self.told: list[Input] = []
        self._quiet = quiet
        self._move()
        # The exchange is there before the session is.
        runtime.wait(BEGIN + 8 * SECOND + begins_ms * MS)
        self.exchange.fails_from = fails_from
        start = Start(0, 0, "r", 0, SYMBOLS, (SECOND, SECOND), 0.0, history=50)
        strategy = rf.Strategy()
        engine = Engine(strategy, rolling_history(strategy, start))
        intervals = Intervals(grace_ms=300.0, reconnect_initial_ms=100.0)
        gateway = Gateway(
            self.exchange, runtime, intervals, engine, start, symbols=SYMBOLS, timeframe=SECOND,
            warmup=warmup, run="r",
        )  # fmt: skip
        if cut_ms:
            runtime.later(cut_ms * MS, self._cut)
        self._say = runtime.say
        runtime.later(int(seconds * SECOND), lambda: gateway.command("stop", "over", "test"))
        drive(engine, gateway, self)

    def _move(self) -> None:
        for symbol in SYMBOLS:
            if not self._quiet(self.runtime.now()):
                self.exchange.tick(symbol, 100.0)
            else:
                self.exchange._close_bar(symbol, self.runtime.now())
        self.runtime.later(100 * MS, self._move)

    def _cut(self) -> None:
        self.exchange.line += 1
        self._say(Disconnected("reset by peer"))

    def record(self, event: Input, outputs: Any) -> None:
        self.told.append(event)

    def bars(self, symbol: str) -> list[int]:
        """Return the close times that the run was told, in the order of telling."""
        closes: list[int] = []
        for event in self.told:
            if isinstance(event, History) and event.symbol == symbol:
                closes += event.times
            elif isinstance(event, Bar) and event.symbol == symbol:
                closes.append(event.ts)
            elif isinstance(event, Bars):
                closes += [bar.ts for bar in event.bars if bar.symbol == symbol]
        return closes


def whole(session: Session, symbol: str) -> None:
    """Check that a run's bars are a piece of the exchange's, without gap, overlap or turn."""
    told, there = session.bars(symbol), session.exchange.bars(symbol)
    assert told
    first = there.index(told[0])
    assert told == there[first : first + len(told)]


@settings(max_examples=300, deadline=None)
@given(
    begins_ms=st.integers(0, 1_000),
    stream_ms=st.sampled_from([0.0, 30.0, 400.0]),
    shown_ms=st.sampled_from([0.0, 30.0, 600.0]),
    slowest_ms=st.sampled_from([5.0, 100.0, 900.0]),
    apart_ms=st.sampled_from([0.0, 200.0, 500.0]),
    repeats=st.booleans(),
    cut_ms=st.one_of(st.just(0), st.integers(500, 6_000)),
)
def test_the_first_live_bars_join_the_history_without_gap_or_overlap(
    begins_ms: int,
    stream_ms: float,
    shown_ms: float,
    slowest_ms: float,
    apart_ms: float,
    repeats: bool,
    cut_ms: int,
) -> None:
    """Whenever a bar closes: while history is asked for, a subscription begins, a line is lost."""
    session = Session(
        begins_ms=begins_ms,
        stream_ms=stream_ms,
        shown_ms=shown_ms,
        apart_ms=apart_ms,
        repeats=repeats,
        way_ms=(1.0, slowest_ms),
        cut_ms=cut_ms,
    )
    for symbol in SYMBOLS:
        whole(session, symbol)


def test_where_nothing_is_missing_nothing_more_is_asked() -> None:
    session = Session(begins_ms=500)
    assert [symbol for symbol, _ in session.exchange.asked] == ["AAA", "BBB"]


def test_a_bar_that_closed_before_the_subscription_is_fetched() -> None:
    """History was asked for just before a close; the subscription began after it."""
    session = Session(begins_ms=900, way_ms=(40.0, 40.0))
    assert [symbol for symbol, _ in session.exchange.asked] == ["AAA", "BBB", "AAA", "BBB"]
    for symbol in SYMBOLS:
        whole(session, symbol)


def test_a_quiet_market_leaves_no_bar_to_fetch_and_the_next_one_comes_all_the_same() -> None:
    def quiet(ts: int) -> bool:
        return BEGIN + 8 * SECOND <= ts < BEGIN + 11 * SECOND

    session = Session(begins_ms=500, quiet=quiet)
    for symbol in SYMBOLS:
        whole(session, symbol)
        assert session.bars(symbol)[-1] >= BEGIN + 14 * SECOND


def test_without_an_answer_the_gap_is_told_and_the_bars_go_on() -> None:
    session = Session(begins_ms=900, way_ms=(40.0, 40.0), fails_from=2)
    gaps = [event for event in session.told if isinstance(event, Gap)]
    assert [(gap.why, gap.symbols) for gap in gaps] == [
        ("no history: 502 Bad Gateway", (symbol,)) for symbol in SYMBOLS
    ]
    for symbol in SYMBOLS:
        told, there = session.bars(symbol), session.exchange.bars(symbol)
        assert len(there[there.index(told[0]) :]) - len(told) in (1, 2)  # but for the missing one


def bar(second: int) -> Bar:
    return Bar(BEGIN + second * SECOND, 0, "AAA", 1.0, 1.0, 1.0, 1.0, 1.0, SECOND)


@pytest.mark.parametrize(
    ("newest", "missing"),
    [
        (None, None),  # there is no history to join
        (9, None),  # it follows at once
        (10, None),
        (8, (8, 9)),
        (3, (3, 9)),
    ],
)
def test_what_may_be_missing(newest: int | None, missing: tuple[int, int] | None) -> None:
    splice = Splice(["AAA"], SECOND, Hours(""))
    splice.begin()
    at = None if newest is None else BEGIN + newest * SECOND
    found = splice.missing_before(bar(10), at)
    assert found == (missing and tuple(BEGIN + second * SECOND for second in missing))


def test_only_the_first_bar_of_a_subscription_is_doubted() -> None:
    splice = Splice(["AAA"], SECOND, Hours(""))
    assert splice.missing_before(bar(10), BEGIN) is None  # nothing was subscribed to yet
    splice.begin()
    assert splice.missing_before(bar(10), BEGIN) is not None
    assert splice.holds(bar(11))
    assert [b.ts for b in splice.release("AAA")] == [bar(10).ts, bar(11).ts]
    assert not splice.holds(bar(12))
    assert splice.missing_before(bar(20), bar(12).ts) is None


def test_nothing_is_missing_from_before_the_exchange_opened() -> None:
    day = BEGIN  # 9:30 in New York
    splice = Splice(["AAA"], SECOND, Hours("XNYS"))
    splice.begin()
    assert splice.missing_before(bar(1), day - 17 * 3600 * SECOND) is None
    splice.begin()
    assert splice.missing_before(bar(5), day - 17 * 3600 * SECOND) is not None


def test_a_lost_connection_lets_go_of_what_waited() -> None:
    splice = Splice(["AAA"], SECOND, Hours(""))
    splice.begin()
    splice.missing_before(bar(10), BEGIN)
    splice.forget()
    assert splice.release("AAA") == []
