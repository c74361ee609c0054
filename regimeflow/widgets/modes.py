"""What is at stake in a session, in a word and in words."""

from __future__ import annotations

from regimeflow.errors import SessionError
from regimeflow.session.live import LiveSession

#: What a venue says of itself -> mode and words. Asked in this order.
_SAID = (
    ("paper=false", "real", "REAL MONEY"),
    ("real money", "real", "REAL MONEY"),
    ("simulated", "simulated", "SIMULATED"),
    ("paper", "paper", "PAPER"),
    ("loopback", "simulated", "SANDBOX"),
)


def mode_of(session: LiveSession, *, dry: bool) -> tuple[str, str]:
    """Return a session's mode, and how it is told.

    Args:
        dry: whether its orders were seen to be written down only.

    A venue whose words do not say what it is counts as one with real money: that can be a false
    alarm, and never false comfort.
    """
    if dry:
        return "dry", "DRY RUN"
    try:
        said = session.worker.manifest().venue.lower()
    except SessionError:
        said = session.status.venue.lower()
    for word, mode, words in _SAID:
        if word in said:
            return mode, words
    return "real", "REAL MONEY?"
