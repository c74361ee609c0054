"""Floor 2: the journal of a run: everything that went in and everything that came out, in order."""

from regimeflow.journal.disk import Disk, owner_of
from regimeflow.journal.format import Record
from regimeflow.journal.mark import Mark, Place, records_after, verified
from regimeflow.journal.reading import Journal, Torn, events, read_journal
from regimeflow.journal.store import JournalWriter
from regimeflow.journal.tail import Position, Tail

__all__ = [
    "Disk",
    "Journal",
    "JournalWriter",
    "Mark",
    "Place",
    "Position",
    "Record",
    "Tail",
    "Torn",
    "events",
    "owner_of",
    "read_journal",
    "records_after",
    "verified",
]
