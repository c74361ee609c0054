"""A session whose orders are written down and never sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from regimeflow.model.events import (
    Cancel,
    Input,
    OrderUpdate,
    Output,
    Replace,
    Resumed,
    Submit,
    Upgraded,
    exits_of,
)
from regimeflow.session.plan import Link

WHY = "dry run: not sent"


class DryRun:
    """A link that answers every order itself: canceled, because nothing is sent."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._answers: deque[OrderUpdate] = deque()

    def events(self) -> Iterator[Input]:
        """Yield the venue's events, and after each the answers to what it caused."""
        for event in self._link.events():
            yield event
            while self._answers:
                yield self._answers.popleft()

    def send(self, outputs: Sequence[Output]) -> None:
        """Answer orders, and pass on what concerns nobody else."""
        for output in outputs:
            if isinstance(output, Submit):
                seen = output.seen
                self._answers += [
                    OrderUpdate(seen, seen, request.order_id, "canceled", WHY)
                    for request in (output, *exits_of(output))
                ]
        self._link.send([o for o in outputs if not isinstance(o, Submit | Cancel | Replace)])

    @property
    def skew_ms(self) -> float | None:
        """How far the venue's clock was ahead of ours when it was last asked; None: never."""
        return self._link.skew_ms

    def recall(self, event: Input, outputs: Sequence[Output]) -> None:
        """Live through an event of the run's earlier life."""
        kept = [o for o in outputs if not isinstance(o, Submit | Cancel | Replace)]
        if not (isinstance(event, OrderUpdate) and event.reason == WHY):
            self._link.recall(event, kept)

    def saved(self, event: Input) -> object | None:
        """Return what `restore` needs after ``event``; None between two answers."""
        if self._answers or isinstance(event, OrderUpdate):
            return None
        return self._link.saved(event)

    def restore(self, state: Any) -> None:
        """Be where the run's earlier life was when this was saved."""
        self._link.restore(state)

    def resume(self, resumed: Resumed) -> None:
        """Begin where the run's earlier life ended."""
        self._link.resume(resumed)

    def command(self, name: str, why: str, who: str) -> None:
        """Pass a command to the engine, from any thread."""
        self._link.command(name, why, who)

    def pressing(self) -> bool:
        """What is simulated comes before a halt: nothing that follows can change places with it."""
        return False

    def upgrade(self, event: Upgraded) -> None:
        """Pass an upgrade to the engine, from any thread."""
        self._link.upgrade(event)

    def take_back(self, order_ids: Sequence[str], timeout_ns: int) -> list[str]:
        """Nothing was sent, so nothing works anywhere."""
        return []

    def close(self) -> None:
        """Give up the connection and its threads."""
        self._link.close()
