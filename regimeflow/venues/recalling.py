"""Bringing a simulated venue back to where a run's earlier life had left it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from regimeflow.model.events import Fill, Input, OrderUpdate, Output, Timer
from regimeflow.venues.matching import Matcher


class Recalling:
    """Brings a matcher to where the earlier life of a run had left it.

    What the matcher told then stands in the journal, before the event that it was told for: it is
    kept until that event comes, and the matcher is asked again.
    """

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._told: list[tuple[Input, Sequence[Output]]] = []
        # What the last event's own close fills: told after the event, one by one.
        self._at_close: Iterator[Input] = iter(())

    def take(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take an event of the earlier life, and what was sent because of it."""
        matcher = self._matcher
        if isinstance(event, OrderUpdate | Fill | Timer):
            if next(self._at_close, None) is not None:
                matcher.send(outputs)
            else:
                self._told.append((event, outputs))
            return
        while matcher.busy and (told := matcher.due(event)):
            for _ in told:
                self._send_again()
        matcher.current = event
        matcher.send(outputs)
        if matcher.fills_at_close:
            self._at_close = matcher.at_once(event)

    def at_rest(self, event: Input) -> bool:
        """Whether the matcher is all there is, now that ``event`` was handled: nothing is told
        again any more, and nothing of what the event brings is still to be told."""
        told = self._told or self._matcher.answers_at_close
        return not (told or isinstance(event, OrderUpdate | Fill | Timer))

    def rest_of(self, events: Iterator[Input]) -> Iterator[Input]:
        """Yield events from now on, without those that were told before."""
        yield from self._at_close
        for event in events:
            if self._told and isinstance(event, OrderUpdate | Fill | Timer):
                self._send_again()
            else:
                yield event

    def _send_again(self) -> None:
        """Let the matcher have what was sent on what it has told again."""
        if self._told:
            _, outputs = self._told.pop(0)
            self._matcher.send(outputs)
