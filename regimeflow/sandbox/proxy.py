"""A TCP proxy that spoils connections, set at run time: between any client and any venue.

It runs in a thread of its own and records each piece of bytes with its time. Whoever is not in this
process sets it over its control port, one JSON object a line: ``{"latency_ms": 200}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from regimeflow.errors import ConfigError, VenueError

_PIECE = 64 << 10
_PATIENCE_S = 10.0


class Toxics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the proxy does to what passes; nothing by itself.

    Attributes:
        latency_ms: how much later everything arrives, milliseconds.
        black_hole: whether nothing passes at all, while connections stand.
        slice_bytes: longest piece passed on at a time; 0 for no limit.
        limit_bytes: after how many bytes a connection is closed; 0 for never.
        slow_close_ms: how long after one side has closed the other is told.
        garbage: text that is passed on to the client once more before each piece.
        refuse: whether new connections are closed at once.
    """

    latency_ms: float = 0.0
    black_hole: bool = False
    slice_bytes: int = 0
    limit_bytes: int = 0
    slow_close_ms: float = 0.0
    garbage: str = ""
    refuse: bool = False

    def __post_init__(self) -> None:
        for name in ("latency_ms", "slice_bytes", "limit_bytes", "slow_close_ms"):
            if not 0 <= getattr(self, name) <= 1e9:
                raise ConfigError(f"Toxics: {name} must not be negative nor above 1e9")


class Piece(NamedTuple):
    """Bytes that arrived at the proxy.

    Attributes:
        at: when, UTC nanoseconds.
        connection: counted from 1.
        to_venue: which way they went.
    """

    at: int
    connection: int
    to_venue: bool
    data: bytes


class Proxy:
    """Stands between clients and one port of this machine.

    Args:
        upstream: port of the venue.

    Attributes:
        port, control_port: where it listens, for clients and for who sets it.
        pieces: everything that arrived, in order.
        cut: how many connections were closed because of ``limit_bytes``.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = self.control_port = 0
        self.pieces: list[Piece] = []
        self.cut = 0
        self._toxics = Toxics()
        self._pairs: set[asyncio.StreamWriter] = set()
        self._count = 0
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="regimeflow-proxy", daemon=True)
        self._thread.start()
        if not self._ready.wait(_PATIENCE_S):
            raise VenueError("the proxy did not begin to listen")

    @property
    def toxics(self) -> Toxics:
        """What it does at present."""
        return self._toxics

    def set(self, **toxics: object) -> None:
        """Set what it does from now on; what isn't named is off."""
        self._toxics = msgspec.convert(toxics, Toxics)

    def reset(self) -> None:
        """Reset every connection, as after a crash of the machine in between."""
        self._call(self._reset)

    def close(self) -> None:
        """Close everything."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(_PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ------------------------------------------------------------ the proxy's thread

    def _call(self, what: Callable[[], None]) -> None:
        done = threading.Event()

        def go() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(go)
        done.wait(_PATIENCE_S)

    def _reset(self) -> None:
        for writer in list(self._pairs):
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        clients = await asyncio.start_server(self._client, "127.0.0.1", 0)
        setters = await asyncio.start_server(self._setter, "127.0.0.1", 0)
        self.port = clients.sockets[0].getsockname()[1]
        self.control_port = setters.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        clients.close()
        setters.close()
        self._reset()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _setter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while line := await reader.readline():
                try:
                    self._toxics = msgspec.json.decode(line, type=Toxics)
                    writer.write(b'{"ok":true}\n')
                except msgspec.MsgspecError as error:
                    writer.write(msgspec.json.encode({"ok": False, "why": str(error)}) + b"\n")

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._toxics.refuse:
            writer.transport.abort()
            return
        self._count += 1
        number = self._count
        try:
            to_read, to_write = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            writer.transport.abort()
            return
        self._pairs |= {writer, to_write}
        try:
            await asyncio.gather(
                self._pass(reader, to_write, number, to_venue=True),
                self._pass(to_read, writer, number, to_venue=False),
            )
        finally:
            self._pairs -= {writer, to_write}
            writer.close()
            to_write.close()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        *,
        to_venue: bool,
    ) -> None:
        """Pass on one direction of a connection until it ends."""
        passed = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE):
                self.pieces.append(Piece(time.time_ns(), number, to_venue, data))
                toxics = self._toxics
                await self._hold_up(toxics)
                if toxics.black_hole:
                    continue
                passed += len(data)
                if toxics.garbage and not to_venue:
                    data = toxics.garbage.encode() + data
                if toxics.limit_bytes and passed > toxics.limit_bytes:
                    writer.write(data[: max(0, len(data) - (passed - toxics.limit_bytes))])
                    self.cut += 1
                    break
                await self._write(writer, data, toxics)
        await asyncio.sleep(self._toxics.slow_close_ms / 1e3)
        writer.close()

    async def _hold_up(self, toxics: Toxics) -> None:
        if toxics.latency_ms:
            await asyncio.sleep(toxics.latency_ms / 1e3)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes, toxics: Toxics) -> None:
        size = toxics.slice_bytes or len(data)
        for at in range(0, len(data), size):
            writer.write(data[at : at + size])
            await writer.drain()
            if size < len(data):
                await asyncio.sleep(0)  # a packet of its own
