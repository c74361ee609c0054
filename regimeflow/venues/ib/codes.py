"""What TWS means by the numbers of its messages.

TWS has one kind of message for news, warnings, refusals and failures; only its number tells them
apart, and the same number means one thing to an order that is being sent and another to a cancel.
The tables are the whole of what is known; a number that is in none of them settles nothing.
"""

from __future__ import annotations

from regimeflow.errors import NotThere, Refused, VenueError

#: Said by the way: nothing has become of the order or question that they carry the number of.
NOTES = frozenset(
    {
        165,  # historical data service says something
        399,  # such as: will not be placed at the exchange until it opens
        404,  # held until shares to sell short are found
        492,
        2109,  # "outside regular hours" does not apply and is ignored
        10167,  # not subscribed, delayed data come instead: those are not used
        10349,  # the time in force was set by a preset
    }
)
#: System messages, farms going and coming; none of them is about a request.
_SYSTEM = range(2100, 2200)

#: An order, or a change of one, that is certainly not taken. Only what can be said of the plain
#: orders that are sent here, and means nothing else; "cannot be transmitted" is not among them (TWS
#: may keep such an order, for a hand to send), nor are failures of TWS itself (320, 322, 323).
REFUSED = frozenset(
    {
        103,  # duplicate number of an order
        104, 105, 134, 329, 440,  # a change that is not made
        109, 110, 163, 382, 403,  # a price that is not taken
        111, 387,  # a type of order or time in force that is not taken
        133,  # submitting failed
        140, 141, 145, 321,  # a field that makes no sense
        160, 355, 383, 384, 385, 388, 434, 10243, 10318,  # a size that is not taken
        200, 203, 392, 406, 412,  # a contract that cannot be traded
        201,  # rejected; the reason follows
        334, 336, 337, 343, 391,  # a time that is not taken
        435,  # no account
        10268,  # an attribute that is no longer taken
    }
)  # fmt: skip
#: A cancel that comes too late, and one of an order that is not there.
CANCEL_TOO_LATE = frozenset({136, 161, 10148})
CANCEL_OF_NOTHING = frozenset({135, 10147})
#: The order was canceled; its reason follows. Its status is told by a message of its own.
CANCELED = 202

#: A question that is certainly not answered.
NO_ANSWER = frozenset(
    {200, 203, 320, 321, 322, 354, 366, 420, 430, 10089, 10090, 10168, 10186, 10189, 10190, 10197}
)
HISTORY = 162
TOO_FAST = 100
#: TWS has lost, and found again, Interactive Brokers' own servers.
LOST = frozenset({1100, 2110})
FOUND_WITHOUT_DATA, FOUND = 1101, 1102
FARM_LOST, FARM_FOUND = frozenset({2103, 2105}), frozenset({2104, 2106})
#: The client id is in use by somebody else.
ID_IN_USE = 326
#: Market data end and have to be asked for again.
DATA_ENDED = frozenset({317, 10225, *NO_ANSWER})

#: Pacing: how long one waits after having asked for history too often.
_HISTORY_PAUSE_MS = 15_000.0
_MESSAGE_PAUSE_MS = 1_000.0


def is_note(code: int) -> bool:
    """Whether a message changes nothing for what it is about."""
    return code in NOTES or code in _SYSTEM


def of_order(code: int, text: str, what: str) -> VenueError | None:
    """Return what a message says of an order that is being sent, changed or canceled.

    Args:
        code, text: of the message.
        what: "submit", "replace" or "cancel".

    Returns:
        None where the request was taken, or nothing was said about it.

    >>> of_order(10349, "TIF was set to DAY", "submit") is None
    True
    >>> type(of_order(201, "rejected", "submit")).__name__
    'Refused'
    >>> type(of_order(777, "what is this?", "submit")).__name__
    'VenueError'
    """
    if is_note(code):
        return None
    words = f"{text} (TWS {code})"
    if code == TOO_FAST:
        return Refused(words, code="rate_limited", retry_after_ms=_MESSAGE_PAUSE_MS)
    if what == "cancel":
        if code in CANCEL_OF_NOTHING:
            return NotThere(words, code=str(code))
        if code in CANCEL_TOO_LATE:
            return Refused(words, code=str(code))
        return None if code == CANCELED else VenueError(words)
    if code == CANCELED:
        return Refused(words, code=str(code)) if what == "replace" else None
    if code in CANCEL_TOO_LATE | CANCEL_OF_NOTHING:
        return None  # the answer to somebody's cancel
    return Refused(words, code=str(code)) if code in REFUSED else VenueError(words)


def of_question(code: int, text: str) -> VenueError | None:
    """Return what a message says of a question; None where it is answered all the same.

    >>> of_question(162, "HMDS query returned no data") is None
    True
    >>> of_question(162, "pacing violation").retry_after_ms
    15000.0
    """
    words = f"{text} (TWS {code})"
    if is_note(code):
        return None
    if code == HISTORY:
        if "no data" in text:
            return None
        busy = "pacing" in text.lower()
        return Refused(words, code="162", retry_after_ms=_HISTORY_PAUSE_MS if busy else None)
    if code == TOO_FAST:
        return Refused(words, code="rate_limited", retry_after_ms=_MESSAGE_PAUSE_MS)
    return Refused(words, code=str(code)) if code in NO_ANSWER else VenueError(words)
