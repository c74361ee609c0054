"""Requests about orders, and what TWS makes of them: it says so by messages of several kinds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from regimeflow.errors import VenueError


class _Wait(NamedTuple):
    """Somebody waits for what TWS makes of a request; ``done``: whether that shows by itself."""

    future: asyncio.Future[None]
    done: Callable[[], bool]


class Waits:
    """Requests under way, by the order's number and what was asked for."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], _Wait] = {}

    def __contains__(self, key: tuple[int, str]) -> bool:
        return key in self._open

    async def answer(
        self,
        number: int,
        what: str,
        send: Callable[[], object],
        done: Callable[[], bool],
        timeout_s: float,
    ) -> None:
        """Send a request, and wait until TWS has said what it makes of it.

        Raises:
            VenueError: it did not, or refused.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open[number, what] = _Wait(future, done)
        try:
            send()
            await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            raise VenueError(f"TWS did not answer the {what} in {timeout_s:g} s") from None
        except OSError:
            raise VenueError("the connection broke while it was written") from None
        finally:
            self._open.pop((number, what), None)

    def answered(self, number: int, what: str, error: Exception | None = None) -> bool:
        """Tell whoever waits what became of a request; return whether somebody did."""
        wait = self._open.get((number, what))
        if wait is None or wait.future.done():
            return False
        if error is None:
            wait.future.set_result(None)
        else:
            wait.future.set_exception(error)
        return True

    def look(self, number: int, what: str) -> None:
        """An order was shown: what was asked for may have been done."""
        wait = self._open.get((number, what))
        if wait is not None and wait.done():
            self.answered(number, what)

    def fail_all(self, error: Exception) -> None:
        """Nothing will be answered."""
        for number, what in list(self._open):
            self.answered(number, what, error)
