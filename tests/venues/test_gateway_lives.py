"""One run in several processes, on bars and virtual time: what a restart must not lose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import regimeflow as rf
from regimeflow.engine.drive import drive
from regimeflow.engine.engine import Engine
from regimeflow.model.events import (
    Connection,
    EndOfDay,
    Feed,
    Gap,
    Input,
    Output,
    Resumed,
    Start,
    Timer,
)
from regimeflow.model.instrument import Instrument
from regimeflow.model.timeframe import NS_PER_DAY
from regimeflow.sandbox.exchange import Exchange
from regimeflow.session.companions import rolling_history
from regimeflow.venues.gateway import Gateway
from regimeflow.venues.intake import Hours
from regimeflow.venues.intervals import Intervals
from regimeflow.venues.runtime import Virtual

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
MIDNIGHT = 1_704_153_600 * SECOND  # 2024-01-02 00:00 UTC, a Tuesday


class Watcher(rf.Strategy):
    """Keeps what it is told at the end of each day."""

    beat = ""

    def initialize(self, ctx: Any) -> None:
        self.days: list[str] = []
        if self.beat:
            ctx.every(self.beat, "beat")

    def on_end_of_day(self, ctx: Any, event: EndOfDay) -> None:
        self.days.append(event.session)


class Lives:
    """A run on bars of a minute that is stopped and taken up again.

    Args:
        begin: when it begins, UTC nanoseconds.
        trades: symbol -> seconds between two of its trades.
        warmup: how many bars from before are asked for.
    """

    def __init__(
        self, begin: int, trades: dict[str, int], *, warmup: int = 5, calendar: str = ""
    ) -> None:
        self.symbols = tuple(trades)
        self.runtime = Virtual(1, begin, (5.0, 5.0))
        self.exchange = Exchange(
            self.runtime.now, [Instrument(symbol) for symbol in trades], timeframe=MINUTE
        )
        self.exchange.remember(50)
        self.strategy = Watcher()
        timeframes = (MINUTE,) * len(trades)
        self._draft = Start(0, 0, "r", 0, self.symbols, timeframes, 1e5, history=1_000)
        self.engine = Engine(self.strategy, rolling_history(self.strategy, self._draft))
        self._warmup, self._calendar = warmup, calendar
        self.told: list[Input] = []
        self.sent: dict[int, list[Output]] = {}
        self.gateway = self._gateway()
        self._epoch = 0
        for symbol, every_s in trades.items():
            self._trade(symbol, every_s * SECOND, 0)

    def _gateway(self) -> Gateway:
        return Gateway(
            self.exchange, self.runtime, Intervals(), self.engine, self._draft, run="r",
            symbols=self.symbols, timeframe=MINUTE, cash=1e5, warmup=self._warmup,
            calendar=self._calendar,
        )  # fmt: skip

    def _trade(self, symbol: str, every_ns: int, count: int) -> None:
        if count:
            self.exchange.tick(symbol, 100.0 + count % 3)
        self.runtime.later(every_ns, lambda: self._trade(symbol, every_ns, count + 1))

    def live(self, for_ns: int) -> None:
        """Run, or go on, and stop after so long."""
        if self._epoch:
            now = self.runtime.now()
            self.gateway.resume(Resumed(now, now, self._epoch, (), None, "taken up again"))
        self._epoch += 1
        gateway = self.gateway
        self.runtime.later(for_ns, lambda: gateway.command("stop", "over", "test"))
        drive(self.engine, gateway, self)

    def away(self, for_ns: int) -> None:
        """No process is there for so long, and the market goes on."""
        until = self.runtime.now() + for_ns
        while self.runtime.now() < until:
            self.runtime.wait(until)
        self.exchange.close()
        self.gateway = self._gateway()

    def record(self, event: Input, outputs: Sequence[Output]) -> None:
        self.told.append(event)
        self.sent[event.seen] = list(outputs)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]


# ---------------------------------------------------------------- the ends of days


@pytest.mark.parametrize(
    ("calendar", "since", "now", "ends"),
    [
        ("", MIDNIGHT + 12 * HOUR, MIDNIGHT + 23 * HOUR, []),
        ("", MIDNIGHT + 12 * HOUR, MIDNIGHT + 25 * HOUR, ["2024-01-02"]),
        ("", MIDNIGHT, MIDNIGHT + 24 * HOUR, []),  # a second after it, not at once
        ("", MIDNIGHT, MIDNIGHT + 24 * HOUR + SECOND, ["2024-01-02"]),
        ("", MIDNIGHT + 1, MIDNIGHT + 49 * HOUR, ["2024-01-02", "2024-01-03"]),
        ("XNYS", MIDNIGHT + 12 * HOUR, MIDNIGHT + 20 * HOUR, []),
        ("XNYS", MIDNIGHT + 12 * HOUR, MIDNIGHT + 22 * HOUR, ["2024-01-02"]),
        ("XNYS", MIDNIGHT + 21 * HOUR, MIDNIGHT + 24 * HOUR, []),  # it had closed by then
        # From Friday noon over a weekend to Monday night.
        ("XNYS", MIDNIGHT + 84 * HOUR, MIDNIGHT + 166 * HOUR, ["2024-01-05", "2024-01-08"]),
    ],
)
def test_the_ends_of_all_sessions_since_a_moment_are_told_in_order(
    calendar: str, since: int, now: int, ends: list[str]
) -> None:
    hours = Hours(calendar)
    hours.follow(since)
    told = hours.ended(now, SECOND)
    assert [event.session for event in told] == ends
    assert hours.ended(now, SECOND) == []  # each once


def test_days_that_ended_while_no_process_was_there_are_told_before_anything_is_traded() -> None:
    lives = Lives(MIDNIGHT + 23 * HOUR, {"AAA": 20})
    lives.live(50 * MINUTE)
    for _ in range(2):
        lives.away(20 * MINUTE)
        lives.live(10 * MINUTE)
        lives.away(NS_PER_DAY - 40 * MINUTE)
        lives.live(10 * MINUTE)
    days = ["2024-01-02", "2024-01-03"]
    assert [event.session for event in lives.of(EndOfDay)] == lives.strategy.days == days
    for place, event in enumerate(lives.told):
        if isinstance(event, EndOfDay):
            link = [e.up for e in lives.told[:place] if isinstance(e, Connection)][-1]
            assert not link


# ---------------------------------------------------------------- bars that were missed


@pytest.mark.parametrize("warmup", [0, 5, 500])
def test_all_bars_of_the_time_away_are_told_however_few_are_wanted_to_begin_with(
    warmup: int,
) -> None:
    lives = Lives(MIDNIGHT + 12 * HOUR, {"AAA": 10}, warmup=warmup)
    lives.live(10 * MINUTE)
    lives.away(30 * MINUTE)
    lives.live(5 * MINUTE)
    closes = list(lives.engine.ctx.bars("AAA", 1_000).ts)
    first, last = closes[0], closes[-1]
    assert last >= MIDNIGHT + 12 * HOUR + 44 * MINUTE
    assert closes == list(range(first, last + MINUTE, MINUTE))


# ---------------------------------------------------------------- who hears nothing


def feeds(lives: Lives, symbol: str) -> list[bool]:
    return [event.stale for event in lives.of(Feed) if event.symbol == symbol]


def test_a_symbol_that_seldom_trades_takes_nobody_the_connection_away() -> None:
    lives = Lives(MIDNIGHT + 12 * HOUR, {"AAA": 10, "BBB": 600})
    lives.live(HOUR)
    assert [event.why for event in lives.of(Connection) if event.up] == [""]
    assert lives.of(Gap) == []
    assert feeds(lives, "AAA") == []
    assert feeds(lives, "BBB") == [True]


def test_where_nothing_is_heard_the_connection_is_made_anew_after_the_age_limit_of_bars() -> None:
    lives = Lives(MIDNIGHT + 12 * HOUR, {"AAA": 7_200, "BBB": 7_200})
    lives.live(8 * MINUTE)
    limit_ns = 2 * MINUTE + 5 * SECOND
    opened, again = [event.seen for event in lives.of(Connection) if event.up][:2]
    (gap,) = lives.of(Gap)
    # Stale after one limit, and mute after another.
    assert 2 * limit_ns <= gap.seen - opened <= 2 * limit_ns + SECOND
    assert gap.seen < again < gap.seen + 5 * SECOND


# ---------------------------------------------------------------- timers


def test_a_beat_that_was_missed_and_made_up_for_is_not_made_up_for_again() -> None:
    """The process stood still for a minute, made up for its beats once, and was then restarted."""
    lives = Lives(MIDNIGHT + 12 * HOUR, {"AAA": 10})
    pause_at = 5 * MINUTE + 1
    lives.runtime.later(pause_at, lambda: lives.runtime.pause(MINUTE))
    lives.strategy.beat = "10s"
    lives.live(pause_at + MINUTE + 5 * SECOND)
    before = [event.ts for event in lives.of(Timer)]
    lives.away(1)
    for event in lives.told:
        lives.gateway.recall(event, lives.sent.get(event.seen, []))
    ended = lives.told[-1].seen
    assert ended - before[-1] < 10 * SECOND
    assert lives.gateway._due_timers(ended) == []
