"""The one loop behind a backtest, a paper session, a live session and a replay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from regimeflow.engine.engine import Engine
from regimeflow.model.events import Input, Output


class Venue(Protocol):
    """A source of events and a sink of requests."""

    def events(self) -> Iterable[Input]:
        """Yield events in order; blocks when live, never in a backtest."""

    def send(self, outputs: Sequence[Output]) -> None:
        """Carry out the requests among ``outputs``."""


class QuietVenue(Venue, Protocol):
    """A venue that knows when it has nothing to say between its next events.

    Attributes:
        ahead: those events, or None while something may come between them. Until something is
            sent, they may be taken from here; `events` goes on after them.
    """

    ahead: Iterator[Input] | None

    def taken(self, event: Input) -> None:
        """Take note that ``event`` was the last one taken from ``ahead``."""


class Journal(Protocol):
    """Where a run is written down."""

    def record(self, event: Input, outputs: Sequence[Output]) -> None:
        """Write an event and what it caused, durably if a request or a halt is among it."""


class Companion(Protocol):
    """Something that follows a run without having a say in it."""

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take note of an event and its outputs, after the requests have left."""


def drive(
    engine: Engine,
    venue: Venue,
    journal: Journal | None = None,
    companions: Sequence[Companion] = (),
    pressing: Callable[[], bool] = bool,
) -> None:
    """Run an engine on a venue until the venue has no more events.

    Args:
        pressing: whether a halt comes next: those who have no say follow after it then, in order.
    """
    late: list[tuple[Input, Sequence[Output]]] = []
    step, send = engine.step, venue.send
    followed = journal is not None or bool(companions)
    for event in venue.events():
        outputs = step(event)
        if not (outputs or followed):
            continue
        if journal is not None:
            journal.record(event, outputs)
        if outputs:
            send(outputs)  # only what is recorded leaves
        if companions:
            late.append((event, outputs))
            if not pressing():
                _follow(companions, late)
    _follow(companions, late)


def _follow(companions: Sequence[Companion], late: list[tuple[Input, Sequence[Output]]]) -> None:
    for event, outputs in late:
        for companion in companions:
            companion.follow(event, outputs)
    late.clear()


def race(engine: Engine, venue: QuietVenue, *, bars_alone: bool) -> None:
    """Run an engine as `drive` does where nobody follows: it helps itself to events while it can.

    Args:
        bars_alone: whether the market is bars of one series and nothing else.
    """
    step, run, send = engine.step, engine.run, venue.send
    for event in venue.events():
        outputs = step(event)
        if outputs:
            send(outputs)
        while venue.ahead is not None:
            outputs = run(venue.ahead, bars_alone=bars_alone)
            if not outputs:
                break  # none are left there
            venue.taken(engine.event)
            send(outputs)
