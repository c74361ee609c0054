"""Halts that have arrived and wait for the engine, which may be busy with a callback."""

from __future__ import annotations

import contextlib

from regimeflow.model.events import Command

#: Commands after which nothing new is risked.
_HALTING = frozenset({"halt", "stop", "flatten"})


class Halting:
    """A mark that is set the moment a halt arrives, from any thread, and read by whatever sends.

    It stays until the engine has handled each halt that set it; from then on the trading state
    says what may leave. So neither a second halt nor a resume that follows takes it back early.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        # Appended to, removed from and looked at by single operations, also by signal handlers:
        # a lock could be held by the very thread that a signal interrupts.
        self._waiting: list[tuple[str, str, str]] = []

    def arrived(self, command: Command) -> None:
        """Take note of a command that the engine has not seen yet."""
        if command.name in _HALTING:
            self._waiting.append(_key(command))

    def handled(self, command: Command) -> None:
        """Take note that the engine has handled a command."""
        if self._waiting:
            with contextlib.suppress(ValueError):
                self._waiting.remove(_key(command))

    def holds(self, *, exit_: bool) -> bool:
        """Whether a new order, or a change, must not leave; a flatten lets exits pass."""
        waiting = self._waiting
        return bool(waiting) and (not exit_ or any(name != "flatten" for name, _, _ in [*waiting]))

    def __bool__(self) -> bool:
        """Whether a halt waits for the engine."""
        return bool(self._waiting)


def _key(command: Command) -> tuple[str, str, str]:
    return command.name, command.why, command.who
