"""Questions and requests to Alpaca: each made once, and answered by type or by an error of ours."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from regimeflow.errors import ConfigError, Refused, VenueError
from regimeflow.redaction import Redactor
from regimeflow.venues.alpaca import outcomes, wire
from regimeflow.venues.alpaca.clients import Clients
from regimeflow.venues.alpaca.outcomes import QUESTION
from regimeflow.venues.outbox import NOT_SENT

T = TypeVar("T")


class Asking:
    """Asks Alpaca over the client library's own clients, which are made when first needed.

    Args:
        clients: makes them.
        redactor: takes secrets out of what goes wrong.
    """

    def __init__(self, clients: Clients, redactor: Redactor) -> None:
        self._clients, self._redactor = clients, redactor
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}

    def client(self, what: str) -> Any:
        """Return the client for "trading" or "data"."""
        with self._lock:
            if what not in self._made:
                self._made[what] = getattr(self._clients, what)()
            return self._made[what]

    def close(self) -> None:
        """Close what was opened."""
        with self._lock:
            made, self._made = self._made, {}
        for client in made.values():
            client._session.close()

    def hidden(self, text: str) -> str:
        """Return a text without secrets."""
        return self._redactor.text(text)

    def ask(self, kind: str, question: Callable[[], Any], wanted: type[T]) -> T:
        """Ask once, and return the answer by type."""
        failed: VenueError
        try:
            return msgspec.convert(question(), wanted)
        except msgspec.ValidationError as error:
            failed = VenueError(f"Alpaca's answer to a {kind} cannot be read: {error}")
        except VenueError as error:
            failed = error
        except Exception as error:
            failed = outcomes.failure(kind, error, self._redactor)
        # Out here the client's error, with the request and its keys in it, is not its context.
        raise failed

    def trading(self, path: str, wanted: type[T], terms: dict[str, Any] | None = None) -> T:
        """Ask the trading interface a question."""
        given = () if terms is None else (dict(terms),)
        return self.ask(QUESTION, lambda: self.client("trading").get(path, *given), wanted)

    def account(self) -> wire.Account:
        """Return the account."""
        return self.trading("/account", wire.Account)

    def time(self) -> int:
        """Return Alpaca's clock, UTC nanoseconds."""
        return time_of(self.trading("/clock", wire.Clock).timestamp)


def sound(read: Callable[[Any], T], row: Any) -> T:
    """Return what a row means.

    Raises:
        VenueError: it cannot be.
    """
    try:
        return read(row)
    except (wire.Unreadable, ConfigError) as error:
        raise VenueError(f"Alpaca's answer cannot be read: {error}") from None


def time_of(text: str | None) -> int:
    """Return a time of Alpaca's, UTC nanoseconds."""
    return sound(wire.moment, text)


def before_sending(ask: Callable[[], T]) -> T:
    """Return what has to be known before a request is made: without it, it certainly did not leave.

    Raises:
        Refused: it cannot be had.
    """
    try:
        return ask()
    except Refused:
        raise
    except VenueError as error:
        why = f"it was not sent, because of what had to be asked before: {error}"
        raise Refused(why, code=NOT_SENT) from None
