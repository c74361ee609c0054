"""The loopback venue's own record in a file: append-only, a line at a time, read by others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from regimeflow.errors import ConfigError
from regimeflow.sandbox.exchange import Entry, Exchange


class Row(msgspec.Struct, frozen=True):
    """One line of the record.

    Attributes:
        at: when, by the venue's clock, UTC nanoseconds.
        kind: those of `Entry`, and: opened (what the venue began with), bytes (a line as it was
            received), hello and gone of connections, books (cash and holdings after a change, in
            decimal text), fault, by_hand, stopped.
        order_id: the client's name of the order, "" without one.
        detail: whatever else.
    """

    at: int
    kind: str
    order_id: str = ""
    detail: Any = None


class BookFile:
    """Writes the record: every line is with the system before anything else happens.

    Args:
        path: of the file; must not exist yet.

    Raises:
        ConfigError: it does, or cannot be made.
    """

    def __init__(self, path: Path | str | None) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL
        self._fd = -1
        if path is not None:
            try:
                self._fd = os.open(path, flags, 0o600)
            except FileExistsError:
                raise ConfigError(
                    f"{path} is there already: a venue's record begins in a new file"
                ) from None
            except OSError as error:
                raise ConfigError(f"{path} cannot be made: {error.strerror}") from None
        self._encode = msgspec.json.Encoder().encode
        self._books: tuple[str, str, tuple[tuple[str, str], ...]] | None = None

    def note(self, at: int, kind: str, order_id: str = "", detail: Any = None) -> None:
        """Write one line."""
        self._write(self._encode(Row(at, kind, order_id, detail)) + b"\n")

    def received(
        self, at: int, connection: int, role: str, line: bytes, means: bytes = b""
    ) -> None:
        """Write a line as it was received.

        Args:
            means: the same in the words of the loopback venue, where it came in others.
        """
        text = line.decode("utf-8", "backslashreplace")
        detail = {"connection": connection, "role": role, "text": text}
        if means:
            detail["means"] = means.decode()
        self.note(at, "bytes", "", detail)

    def take(self, exchange: Exchange) -> None:
        """Write what an exchange has recorded since, and its books where they changed."""
        entries, exchange.record = exchange.record, []
        rows = [self._encode(_row(entry)) + b"\n" for entry in entries]
        held = tuple((s, str(qty)) for s, qty in sorted(exchange.held.items()) if qty)
        books = (str(exchange.cash), str(exchange.fees), held)
        if books != self._books:
            self._books = books
            detail = {"cash": books[0], "fees": books[1], "held": dict(held)}
            rows.append(self._encode(Row(exchange.time(), "books", "", detail)) + b"\n")
        if rows:
            self._write(b"".join(rows))

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        if self._fd < 0:
            return
        while data:
            data = data[os.write(self._fd, data) :]


def _row(entry: Entry) -> Row:
    return Row(entry.at, entry.kind, entry.order_id, entry.detail)


def read_books(path: Path | str) -> list[Row]:
    """Return the record in a file; a last line that is not whole yet is left out."""
    whole, _, _ = Path(path).read_bytes().rpartition(b"\n")
    decode = msgspec.json.Decoder(Row).decode
    return [decode(line) for line in whole.splitlines()]
