"""The one loop behind a backtest, a paper session, a live session and a replay."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from regimeflow.engine.engine import Engine
from regimeflow.model.events import Input, Output


class Venue(Protocol):
    """A source of events and a sink of requests."""

    def events(self) -> Iterable[Input]:
        """Yield events in order; blocks when live, never in a backtest."""

    def send(self, outputs: Sequence[Output]) -> None:
        """Carry out the requests among ``outputs``."""


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
) -> None:
    """Run an engine on a venue until the venue has no more events."""
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
        for companion in companions:
            companion.follow(event, outputs)
