"""What a client of the sandbox's TWS is, and how it is read."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from regimeflow.sandbox import tws_messages as say
from regimeflow.sandbox.listening import write


class Client:
    """A connection of a client."""

    def __init__(self, writer: asyncio.StreamWriter, connection: int) -> None:
        self.writer = writer
        self.connection = connection
        self.id = -1
        self.version = say.LAST
        self.dead = False
        self.kept: list[bytes] | None = None
        self.late: bytes | None = None
        self.ticks: dict[int, str] = {}
        self.bars: dict[int, tuple[str, bool]] = {}
        #: Number of a request -> symbol, and the kind of the ticks that are told one by one.
        self.each: dict[int, tuple[str, int]] = {}
        self.follows_positions = self.follows_account = False
        self.follows_values: set[int] = set()

    def write(self, message: bytes) -> None:
        """Say something, or keep it where the script wants to do something to it first."""
        if self.kept is not None:
            self.kept.append(message)
        elif not self.dead and not self.writer.is_closing():
            write(self.writer, message)


async def read_raw(reader: asyncio.StreamReader) -> bytes:
    """Return the next message."""
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    if length > say.LONGEST:
        raise ValueError("a message is too long")
    return await reader.readexactly(length)


async def read(reader: asyncio.StreamReader) -> list[str]:
    """Return the fields of the next message."""
    return (await read_raw(reader)).decode("utf-8", "backslashreplace").split("\0")[:-1]


def number(value: Any) -> str:
    """Return a number as TWS writes it."""
    text = format(value, "f") if not isinstance(value, float) else repr(value)
    return text if "." not in text or "e" in text else text.rstrip("0").rstrip(".") or "0"


def price(text: str) -> float | None:
    """Return a price that a request tells, None without one."""
    return float(text) if text else None
