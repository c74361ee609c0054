"""Questions to TWS, whose answers come in pieces and end by a word of their own.

A list that lost a piece is no answer: whoever hears that a message of some kind could not be read
fails every question that it may have belonged to. Where TWS repeats no number, what is left of one
answer would pass for a piece of the next: such a question fails no sooner than its answer ended,
and one that did not end in time is `Late`, after which the connection is of no use.
"""

from __future__ import annotations

import asyncio
from typing import Any

from regimeflow.errors import VenueError

#: Kinds of questions, as one reads them.
ORDERS, COMPLETED, POSITIONS = "open orders", "orders over", "positions"
EXECUTIONS, DETAILS, HISTORY = "executions", "a contract", "history"
MONEY, TIME, HEAD = "the account", "time", "head"
#: Number of a message -> the kind of question that it may be a piece of.
PIECES = {
    3: ORDERS, 5: ORDERS, 10: DETAILS, 11: EXECUTIONS, 17: HISTORY, 49: TIME, 61: POSITIONS,
    63: MONEY, 88: HEAD, 101: COMPLETED,
}  # fmt: skip
#: Lists whose pieces carry no number, and that have an end of their own.
LISTS = frozenset({ORDERS, COMPLETED, POSITIONS})


class Late(VenueError):
    """An answer did not come in time, and may still."""


class Asks:
    """Questions under way. A key is a number that TWS repeats, or a word where it repeats none."""

    def __init__(self) -> None:
        self._open: dict[int | str, _Ask] = {}

    def __contains__(self, key: int | str) -> bool:
        return key in self._open

    async def answer(self, key: int | str, kind: str, timeout_s: float) -> list[Any]:
        """Return the pieces of an answer, once it is whole.

        Raises:
            Late: it did not come in time.
            VenueError: it came not whole, or was refused.
        """
        ask = self._open[key]
        try:
            return await asyncio.wait_for(ask.future, timeout_s)
        except TimeoutError:
            raise Late(f"TWS did not answer for {kind} in {timeout_s:g} s") from None
        finally:
            self._open.pop(key, None)

    def begin(self, key: int | str, kind: str) -> None:
        """Wait for an answer from now on."""
        self._open[key] = _Ask(kind)

    def piece(self, key: int | str, piece: Any) -> None:
        """Take a piece of an answer."""
        if key in self._open:
            self._open[key].pieces.append(piece)

    def end(self, key: int | str) -> None:
        """An answer is whole."""
        ask = self._open.get(key)
        if ask is not None and ask.spoilt is not None:
            self.fail(key, ask.spoilt)
        elif ask is not None and not ask.future.done():
            ask.future.set_result(ask.pieces)

    def fail(self, key: int | str, error: Exception) -> None:
        """An answer will not come."""
        ask = self._open.get(key)
        if ask is not None and not ask.future.done():
            ask.future.set_exception(error)

    def spoil(self, key: str, error: Exception) -> None:
        """An answer will not come whole; its end will."""
        if key in self._open:
            self._open[key].spoilt = error

    def fail_all(self, error: Exception, kind: str = "") -> None:
        """No answer will come, or none to questions of one kind."""
        for key, ask in list(self._open.items()):
            if not kind or ask.kind == kind:
                self.fail(key, error)


class _Ask:
    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.pieces: list[Any] = []
        self.spoilt: Exception | None = None
        self.future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
