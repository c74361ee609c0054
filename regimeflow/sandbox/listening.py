"""Listening on a port of this machine: what venues that speak a protocol of their own share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

#: Unsent bytes after which a client that does not read is cut off.
_TOO_SLOW = 16 << 20

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listening:
    """Connections of clients, and whether anything is said to them.

    Args:
        talk: talks to one client, until that is gone.
        longest: bytes of a line.
    """

    def __init__(self, talk: Talk, longest: int = 1 << 16) -> None:
        self._talk = talk
        self._longest = longest
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._talks: set[asyncio.Task[None]] = set()
        self._muted_until = 0
        #: Connections that there have been.
        self.count = 0

    async def open(self, port: int) -> int:
        """Begin to listen; return the port."""
        self._server = await asyncio.start_server(
            in_tasks(self._client, self._talks), "127.0.0.1", port, limit=self._longest, backlog=128
        )
        listens: int = self._server.sockets[0].getsockname()[1]
        return listens

    async def close(self) -> None:
        """Cut all clients off and listen no more."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        self._open.add(writer)
        try:
            await self._talk(reader, writer)
        finally:
            self._open.discard(writer)

    def mute(self, ms: float) -> None:
        """Say nothing of its own accord for a while; what would have been said is lost."""
        self._muted_until = time.time_ns() + int(ms * 1e6)

    @property
    def muted(self) -> bool:
        """Whether nothing is said of its own accord now."""
        return time.time_ns() < self._muted_until


def in_tasks(
    talk: Talk, talks: set[asyncio.Task[None]]
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
    """Return what begins a talk with a client as a task, kept in a set until it is over.

    A server that is given the coroutine itself prints a traceback for each talk that is canceled
    when all ends.
    """

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def run() -> None:
            await talk(reader, writer)

        task = asyncio.create_task(run())
        talks.add(task)
        task.add_done_callback(talks.discard)

    return begin


def write(writer: asyncio.StreamWriter, message: bytes) -> None:
    """Say something to a client; one that does not read is cut off."""
    writer.write(message)
    if writer.transport.get_write_buffer_size() > _TOO_SLOW:
        writer.transport.abort()
