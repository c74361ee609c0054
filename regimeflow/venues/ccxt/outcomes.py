"""What an exception of ccxt means for a request: a definite no, not there, later, or unknown.

ccxt sorts errors by how they are handled elsewhere: a revoked key and a wrong clock are network
errors to it, and so is an order whose answer was lost. Here the order of trust is: the exchange's
own code, the status of the answer, the class. What is not known to be a no is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from regimeflow.errors import NotThere, Refused, VenueError
from regimeflow.venues.ccxt.habits import Habits
from regimeflow.venues.outbox import DUPLICATE

#: What a class of ccxt says where nothing better is known. A test holds it against the library.
CLASSES: dict[str, str] = {
    "BaseError": "unknown",
    "ExchangeError": "unknown",
    "AuthenticationError": "unauthorized",
    "PermissionDenied": "unauthorized",
    "AccountNotEnabled": "unauthorized",
    "AccountSuspended": "unauthorized",
    "ArgumentsRequired": "refused",
    "BadRequest": "refused",
    "BadSymbol": "refused",
    "OperationRejected": "refused",
    "NoChange": "refused",
    "MarginModeAlreadySet": "refused",
    "MarketClosed": "refused",
    "ManualInteractionNeeded": "refused",
    "RestrictedLocation": "refused",
    "InsufficientFunds": "refused",
    "InvalidAddress": "refused",
    "AddressPending": "refused",
    "InvalidOrder": "refused",
    "OrderNotFound": "not_there",
    "OrderNotCached": "unknown",
    "OrderImmediatelyFillable": "refused",
    "OrderNotFillable": "refused",
    "DuplicateOrderId": "duplicate",
    "ContractUnavailable": "refused",
    "NotSupported": "refused",
    "InvalidProxySettings": "unknown",
    "ExchangeClosedByUser": "unknown",
    "OperationFailed": "unknown",
    "NetworkError": "unknown",
    "DDoSProtection": "limited",
    "RateLimitExceeded": "limited",
    "ExchangeNotAvailable": "unknown",
    "OnMaintenance": "unknown",
    "InvalidNonce": "refused",
    "ChecksumError": "unknown",
    "RequestTimeout": "unknown",
    "BadResponse": "unknown",
    "NullResponse": "unknown",
    "CancelPending": "unknown",
    "UnsubscribeError": "unknown",
}
#: How long to wait where an exchange that is too busy does not say.
_LATER_MS = 1_000.0
_LONGEST = 300
_HEADERS_OF_WAITING = ("Retry-After", "retry-after")


class Answered(msgspec.Struct, frozen=True):
    """The answer that an exception of ccxt was made of.

    Attributes:
        status: of HTTP; 0 where there was no answer.
        body: its text.
        retry_after_s: what it says of waiting.
    """

    status: int = 0
    body: str = ""
    retry_after_s: float | None = None


def answered(status: Any, body: Any, headers: Any) -> Answered:
    """Return what is known of an answer."""
    wait: float | None = None
    for name in _HEADERS_OF_WAITING:
        text = str((headers or {}).get(name, ""))
        if re.fullmatch(r"\d{1,6}(\.\d+)?", text):
            wait = float(text)
    return Answered(
        status if isinstance(status, int) else 0, body if isinstance(body, str) else "", wait
    )


def translated(error: Exception, habits: Habits, clean: Callable[[str], str]) -> VenueError:
    """Return the error of ours that an exception means.

    Args:
        error: of ccxt, or of Python where ccxt could not read an answer.
        habits: of the exchange.
        clean: takes secrets out of a text.
    """
    if isinstance(error, VenueError):
        return error
    error = _first_of_ccxt(error)
    answer = getattr(error, "answer", None) or Answered()
    code, said = _told(answer.body, habits)
    kind = _verdict(error, answer, code, said, habits)
    text = clean(_sentence(error, answer, code, said))
    if kind == "limited":
        wait_ms = _LATER_MS if answer.retry_after_s is None else answer.retry_after_s * 1e3
        return Refused(text, code=code or "rate_limited", retry_after_ms=wait_ms)
    if kind == "duplicate":
        return Refused(text, code=DUPLICATE)
    if kind == "not_there":
        return NotThere(text, code=code)
    if kind == "unauthorized":
        return Refused(text, code="unauthorized")
    return Refused(text, code=code) if kind == "refused" else VenueError(text)


def _first_of_ccxt(error: Exception) -> Exception:
    """Return the error of ccxt in whose wake another one came, or that other one itself.

    ccxt clears up after a subscription that is refused, and can fail at that.
    """
    found: BaseException | None = error
    while found is not None and type(found).__name__ not in CLASSES:
        found = found.__cause__ or found.__context__
    return found if isinstance(found, Exception) else error


def _verdict(error: Exception, answer: Answered, code: str, said: str, habits: Habits) -> str:
    if code:
        if any(mark == code or (mark in said and not mark.isdigit()) for mark in habits.duplicates):
            return "duplicate"
        if code in habits.verdicts:
            return habits.verdicts[code]
    if answer.status in (418, 429):
        return "limited"
    if answer.status == 408 or answer.status >= 500:
        return "unknown"
    if answer.status >= 400 and not code:
        return "unknown"  # whoever said it, it was not the exchange: a gateway on the way
    if answer.status >= 400 and habits.says_no_by_4xx:
        return "refused"
    return CLASSES.get(type(error).__name__, "unknown")


def _told(body: str, habits: Habits) -> tuple[str, str]:
    """Return the code and the words of an error's body, as far as it has them."""
    try:
        found = msgspec.json.decode(body) if body else None
    except msgspec.MsgspecError:
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    code, said = found.get(habits.code), found.get(habits.message)
    text = str(code) if isinstance(code, int | str) else ""
    return ("" if text == habits.no_error else text), said if isinstance(said, str) else ""


def _sentence(error: Exception, answer: Answered, code: str, said: str) -> str:
    if said:
        return f"{said} ({code})"[:_LONGEST] if code else said[:_LONGEST]
    if answer.status:
        return f"the exchange answered with status {answer.status} and nothing that can be read"
    name = type(error).__name__
    if name not in CLASSES:
        return f"the answer cannot be read ({name})"
    if "://" in str(error):
        return f"no answer ({name})"  # the rest is an address, signature included
    return f"{str(error)[:_LONGEST] or 'no reason given'} ({name})"
