"""The trading state of a run as its journal tells it, and whether the run is simply over."""

from __future__ import annotations

from collections.abc import Sequence

from regimeflow.engine.desk import ACTIVE, HALTED
from regimeflow.model.events import Command, Finish, Input, Output, Resumed, StateChanged

#: Nothing is sent any more, and nobody has halted anything: the data are over, or a stop was asked.
ENDED = "ended"


class StateFold:
    """Follows the trading state.

    To the engine a run that is over is halted. Whoever looks at it should not take that for a kill,
    so here it is "ended" unless it was halted before; taken up again it is what the engine says.

    Attributes:
        state: "active", "reducing", "halted" or "ended".
        why: what moved it last.
    """

    def __init__(self) -> None:
        self.state = ACTIVE
        self.why = ""

    def take(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take in an event and what it caused."""
        if isinstance(event, Resumed) and self.state == ENDED:
            self.state = HALTED
        for output in outputs:
            if isinstance(output, StateChanged) and not output.symbol:
                self.state, self.why = output.after, output.why
                if isinstance(event, Command) and event.name == "stop":
                    self.state = ENDED
        if isinstance(event, Finish) and self.state not in (HALTED, ENDED):
            self.state, self.why = ENDED, event.why or self.why
