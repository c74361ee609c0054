"""Taking a run up again: its earlier life, lived through once more without sending anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from regimeflow.engine.drive import Companion
from regimeflow.engine.engine import Engine
from regimeflow.errors import SessionError
from regimeflow.model.events import Input, Output, Resumed, Start, Submit, exits_of
from regimeflow.model.models import Limits
from regimeflow.session.replayed import decisions


class Recalls(Protocol):
    """A link, as far as an earlier life concerns it."""

    def recall(self, event: Input, outputs: Sequence[Output]) -> None:
        """Live through an event of the run's earlier life, without sending anything."""


class Fold:
    """Steps an engine through a recorded life, and finds what never left.

    Args:
        engine: new, with the strategy that was frozen with the run.
        link: lives through the same events.
        companions: follow as they did.
    """

    def __init__(self, engine: Engine, link: Recalls, companions: Sequence[Companion]) -> None:
        self._engine = engine
        self._link = link
        self._companions = companions
        #: How often the run was started before.
        self.epoch = 0
        #: How many events were lived through.
        self.count = 0
        self._missing: list[Output] = []

    def take(self, seq: int, event: Input, recorded: list[Output]) -> None:
        """Take one event of the earlier life, with the outputs that were written down.

        Raises:
            SessionError: the run does not come out again, so it cannot be taken up.
        """
        self.count += 1
        if self._missing and not isinstance(event, Resumed):
            raise self._differs(seq - 1)
        made = self._engine.step(event)
        if made or recorded:
            ours, theirs = decisions(made), decisions(recorded)
            if ours[: len(theirs)] != theirs:
                raise self._differs(seq)
            self._missing = ours[len(theirs) :]
        elif self._missing:
            self._missing = []
        if isinstance(event, Start | Resumed):
            self.epoch = event.epoch
        self._link.recall(event, recorded)
        for companion in self._companions:
            companion.follow(event, recorded)

    def resumed(self, limits: Limits, now: int) -> Resumed:
        """Return the event with which the run goes on."""
        # Changes and cancels that never left say nothing of their order, nor do denials.
        never_sent = tuple(
            request.order_id
            for output in self._missing
            if isinstance(output, Submit)
            for request in (output, *exits_of(output))
        )
        return Resumed(now, now, self.epoch + 1, never_sent, limits, "taken up again")

    def _differs(self, seq: int) -> SessionError:
        return SessionError(
            f"the run cannot be taken up: event {seq} was decided differently then. "
            "regimeflow.certify says why; begin a new run in another directory"
        )
