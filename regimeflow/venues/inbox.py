"""The one door into the engine thread of a live session.

Whatever thread an event comes from, it waits here until the engine thread takes it: commands first,
then the market in the order it came. Nothing that is put in is lost: a source that is faster than
the engine waits at the door.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

import msgspec

from regimeflow.model.events import Command, Finish, Health, Input, Upgraded

#: So many events may wait before their source has to.
CAPACITY = 4096


class Inbox:
    """A bounded queue between threads."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._market: deque[Input] = deque()
        self._commands: deque[Command | Health | Upgraded] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._end: Finish | None = None
        self._seen = 0
        #: How many events of the market were taken out.
        self.taken = 0

    def put(self, event: Input) -> bool:
        """Add an event of the market, waiting while the inbox is full; return whether it is in."""
        with self._changed:
            while len(self._market) >= self._capacity and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._market.append(event)
            if len(self._market) == 1:
                self._changed.notify_all()
            return True

    def command(self, name: str, why: str = "", who: str = "") -> None:
        """Add a command; it overtakes the market."""
        self.urgent(Command(0, 0, name, why, who))

    def urgent(self, event: Command | Health | Upgraded) -> None:
        """Add what a human asks for or the process tells of itself, its times still open; it
        overtakes the market."""
        with self._changed:
            self._commands.append(event)
            self._changed.notify_all()

    def close(self, why: str, after_ns: int = 0) -> None:
        """Let in nothing more; after commands that wait already, the run ends.

        Args:
            why: stands in the last event.
            after_ns: how long after the last event the end is, so that answers still under way
                come before it.
        """
        with self._changed:
            if not self._closed:
                self._closed = True
                self._end = Finish(after_ns, after_ns, why)
                self._market.clear()
                self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._market) + len(self._commands)

    def events(self, seen: int = 0) -> Iterator[Input]:
        """Yield events as they come, blocking, until the run ends.

        Args:
            seen: of the last event before, UTC nanoseconds.
        """
        self._seen = seen
        while True:
            for event in self._take():
                self._seen = max(self._seen, event.seen)
                yield event
                if event.__class__ is Finish:
                    return

    def _take(self) -> Iterator[Input]:
        """Yield what is there, at least one event; commands are looked for before each."""
        with self._changed:
            while not (self._market or self._commands or self._end):
                self._changed.wait()
            batch = list(self._market)
            was_full = len(batch) >= self._capacity
            self._market.clear()
            if was_full:
                self._changed.notify_all()
            end = self._end if not batch and not self._commands else None
        for event in batch:
            if self._commands:
                yield from self._take_commands()
            if self._closed:
                break  # stopped: what still waits is not part of the run
            self.taken += 1
            yield event
        if self._commands:
            yield from self._take_commands()
        if end is not None:
            at = self._seen + end.seen
            yield Finish(at, at, end.why)

    def _take_commands(self) -> Iterator[Input]:
        while self._commands:
            command = self._commands.popleft()
            # A command has no place in the market's time: it comes right after what was last seen.
            yield msgspec.structs.replace(command, ts=self._seen, seen=self._seen)
