"""Floor 2: the journal of a run: everything that went in and everything that came out, in order."""

from regimeflow.journal.disk import Disk
from regimeflow.journal.format import Record
from regimeflow.journal.reading import Journal, Torn, events, read_journal
from regimeflow.journal.store import JournalWriter

__all__ = ["Disk", "Journal", "JournalWriter", "Record", "Torn", "events", "read_journal"]
