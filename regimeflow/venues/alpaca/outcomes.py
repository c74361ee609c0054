"""What a failed request means: a table, in which everything that is not listed is unknown.

A request certainly did not take effect where Alpaca itself says no. A page of some gateway, a
timeout, a broken connection and every status above 500 say nothing about that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from regimeflow.errors import NotThere, Refused, VenueError
from regimeflow.redaction import Redactor

SUBMIT, CANCEL, REPLACE, QUESTION = "submit", "cancel", "replace", "question"
ANY = "any"
#: How long is waited where Alpaca does not say it; it counts requests by the minute.
_RETRY_MS = 1_000.0
_LONGEST = 300


class Outcome(NamedTuple):
    """What an answer means.

    Attributes:
        error: class that is raised.
        code: of the refusal.
        signed: whether it counts only with a body that Alpaca itself has written: what stands
            between may answer with the same status.
    """

    error: type[Refused]
    code: str
    signed: bool = True


#: (kind of request, status) -> what it means.
OUTCOMES: dict[tuple[str, int], Outcome] = {
    (ANY, 400): Outcome(Refused, "bad_request"),
    (ANY, 401): Outcome(Refused, "unauthorized"),
    (ANY, 403): Outcome(Refused, "forbidden"),
    (ANY, 404): Outcome(Refused, "not_found"),
    (ANY, 422): Outcome(Refused, "unprocessable"),
    # Counted and refused before anything else looks at the request.
    (ANY, 429): Outcome(Refused, "rate_limited", signed=False),
    (CANCEL, 404): Outcome(NotThere, "not_there"),
    (CANCEL, 422): Outcome(Refused, "order_over"),
    (REPLACE, 404): Outcome(NotThere, "not_there"),
    (REPLACE, 422): Outcome(Refused, "order_over"),
    (QUESTION, 404): Outcome(NotThere, "not_there"),
}
#: Part of Alpaca's message -> code, whatever the status says.
MESSAGES = {
    "client_order_id must be unique": "duplicate_order_id",
    "insufficient": "insufficient",
    "wash trade": "wash_trade",
    "not allowed to short": "no_short",
}


class Said(msgspec.Struct):
    """Body of a refusal."""

    message: str
    code: int | None = None


def failure(kind: str, error: Exception, redactor: Redactor) -> VenueError:
    """Return the error of ours that a client library's one means.

    Args:
        kind: of the request: `SUBMIT`, `CANCEL`, `REPLACE` or `QUESTION`.
        error: what the client raised.
        redactor: knows the keys.
    """
    status = _status(error)
    outcome = OUTCOMES.get((kind, status)) or OUTCOMES.get((ANY, status))
    body = _body(error)
    if outcome is None or (outcome.signed and body is None):
        return VenueError(redactor.text(_text(error, status)))
    words = redactor.text(body.message if body else f"status {status}")[:_LONGEST]
    code = next((c for part, c in MESSAGES.items() if part in words), outcome.code)
    retry = _retry_ms(error) if status == 429 else None
    return outcome.error(f"Alpaca says no: {words}", code=code, retry_after_ms=retry)


def _status(error: Exception) -> int:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else 0


def _body(error: Exception) -> Said | None:
    """Return what Alpaca wrote, or None where it was somebody else."""
    response = getattr(error, "response", None)
    text = getattr(response, "text", None)
    if not isinstance(text, str):
        return None
    try:
        return msgspec.json.decode(text, type=Said)
    except msgspec.MsgspecError:
        return None


def _retry_ms(error: Exception) -> float:
    headers: Any = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return _RETRY_MS
    return seconds * 1e3 if 0.0 <= seconds <= 3_600.0 else _RETRY_MS


def _text(error: Exception, status: int) -> str:
    if status:
        return f"Alpaca's answer has the status {status} and does not say what became of it"
    return f"Alpaca gave no answer: {words(error)}"


def words(error: BaseException) -> str:
    """Return what an error says of itself, shortened; some cannot even do that."""
    try:
        text = str(error)
    except Exception:  # a half-made error of a library
        text = "it cannot say more"
    return f"{type(error).__name__}: {text[:_LONGEST]}"
