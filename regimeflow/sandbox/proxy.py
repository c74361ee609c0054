"""A network that misbehaves: a TCP proxy on 127.0.0.1 whose faults are switched at run time.

In a thread of its own (`Proxy`), or as a process, ``python -m regimeflow.sandbox.proxy``, steered
by JSON lines on a control port: ``{"do": "add", "toxic": {"name": "latency", "ms": 200}}``,
``{"do": "clear"}``, ``{"do": "cut"}``, ``{"do": "status"}``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import msgspec

from regimeflow.errors import ConfigError, VenueError, did_you_mean

T = TypeVar("T")

#: Toxic -> what it does to a connection.
TOXICS = {
    "latency": "bytes come ``ms`` later",
    "black_hole": "bytes vanish, the connection stays",
    "reset_peer": "the connection is reset as soon as bytes come",
    "slow_close": "an end is passed on ``ms`` later",
    "slicer": "bytes come ``size`` at a time, ``ms`` apart",
    "limit_data": "after ``size`` bytes the connection ends",
    "garbage": "one byte of each piece is changed with probability ``rate``",
}
_PIECE = 1 << 16
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Bytes that came in on one connection.

    Attributes:
        at: when, UTC nanoseconds.
        connection: counts the connections.
        way: "up" is to the venue, "down" from it.
    """

    at: int
    connection: int
    way: str
    data: bytes


class Toxic(msgspec.Struct, frozen=True, kw_only=True):
    """A fault of the network.

    Attributes:
        name: one of `TOXICS`.
        way: "up" is to the venue, "down" from it, "both" is both.
        ms, size, rate: what it needs.
    """

    name: str
    way: Literal["up", "down", "both"] = "both"
    ms: float = 0.0
    size: int = 1
    rate: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in TOXICS:
            raise ConfigError(f"there is no toxic {self.name!r}.{did_you_mean(self.name, TOXICS)}")
        if self.ms < 0 or self.size < 1 or not 0 <= self.rate <= 1:
            raise ConfigError(f"toxic {self.name}: ms, size or rate is out of range")


class Proxy:
    """Passes bytes between a client and a venue, and spoils them where it is told to.

    Args:
        to: host and port of the venue.
        port: where it listens; 0 for any that is free.
        seed: of the garbage.
        ledger: file that bytes are appended to at once, a JSON line a piece, besides `record`.

    Attributes:
        record: all bytes that came in from either side, with their times.
    """

    def __init__(
        self,
        to: tuple[str, int],
        *,
        port: int = 0,
        seed: int = 0,
        ledger: Path | str | None = None,
    ) -> None:
        self.to = to
        self.port = port
        self.control_port = 0
        self.record: list[Piece] = []
        self.connections = 0
        self._toxics: list[Toxic] = []
        self._random = random.Random(seed)
        self._fd = -1 if ledger is None else os.open(ledger, _APPEND, 0o600)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------ steering, from any thread

    def add(self, name: str, **options: Any) -> None:
        """Switch a toxic on, for connections that are there too."""
        toxic = Toxic(name=name, **options)
        self._do(lambda: self._toxics.append(toxic))

    def clear(self) -> None:
        """Switch all toxics off."""
        self._do(self._toxics.clear)

    def cut(self) -> None:
        """Reset every connection now."""
        self._do(self._reset_all)

    def _do(self, what: Callable[[], T]) -> T:
        loop = self._loop
        if loop is None:
            return what()

        async def go() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(go(), loop).result(10.0)

    def _reset_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    # ------------------------------------------------------------ life

    async def serve(self, ready: Callable[[], None], *, control: bool = False) -> None:
        """Serve until `stop`."""
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        servers = [await asyncio.start_server(self._connection, "127.0.0.1", self.port)]
        self.port = servers[0].sockets[0].getsockname()[1]
        if control:
            servers.append(await asyncio.start_server(self._control, "127.0.0.1", 0))
            self.control_port = servers[1].sockets[0].getsockname()[1]
        ready()
        await self._stopping.wait()
        for server in servers:
            server.close()
        self._reset_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in servers:
            await server.wait_closed()
        self._loop = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def start(self) -> Self:
        """Serve in a thread; returns when it is ready."""
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.serve(ready.set)),
            name="regimeflow-proxy",
            daemon=True,
        )
        self._thread.start()
        if not ready.wait(10.0):
            raise VenueError("the proxy did not come up within 10 s")
        return self

    def stop(self) -> None:
        """Reset all connections and end."""
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stopping.set)
        if self._thread is not None:
            self._thread.join(10.0)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------ bytes

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            there_reader, there_writer = await asyncio.open_connection(*self.to)
        except OSError:
            _reset(writer)
            return
        pair = {writer, there_writer}
        self._writers |= pair
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await asyncio.gather(
                self._pass_on(number, "up", reader, there_writer, pair),
                self._pass_on(number, "down", there_reader, writer, pair),
            )
        except asyncio.CancelledError:
            pass
        finally:
            self._writers -= pair
            self._tasks.discard(task)
            for one in pair:
                one.close()

    async def _pass_on(
        self,
        number: int,
        way: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: set[asyncio.StreamWriter],
    ) -> None:
        passed = 0
        try:
            while data := await reader.read(_PIECE):
                self._note(number, way, data)
                passed += len(data)
                if not await self._spoil(way, data, passed, writer):
                    for one in pair:
                        _reset(one)
                    return
            for toxic in self._on(way, "slow_close"):
                await asyncio.sleep(toxic.ms / 1e3)
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()
        except OSError:
            for one in pair:
                _reset(one)

    def _note(self, number: int, way: str, data: bytes) -> None:
        piece = Piece(time.time_ns(), number, way, data)
        self.record.append(piece)
        if self._fd >= 0:
            os.write(self._fd, msgspec.json.encode(piece) + b"\n")

    def _on(self, way: str, name: str) -> list[Toxic]:
        return [t for t in self._toxics if t.name == name and t.way in (way, "both")]

    async def _spoil(
        self, way: str, data: bytes, passed: int, writer: asyncio.StreamWriter
    ) -> bool:
        """Write bytes as the toxics leave them; return whether the connection goes on."""
        if self._on(way, "reset_peer"):
            return False
        if self._on(way, "black_hole"):
            return True
        for toxic in self._on(way, "latency"):
            await asyncio.sleep(toxic.ms / 1e3)
        for toxic in self._on(way, "garbage"):
            if self._random.random() < toxic.rate:
                place = self._random.randrange(len(data))
                data = data[:place] + bytes([self._random.randrange(256)]) + data[place + 1 :]
        for toxic in self._on(way, "limit_data"):
            if passed >= toxic.size:
                writer.write(data[: max(0, len(data) - (passed - toxic.size))])
                await writer.drain()
                return False
        slicers = self._on(way, "slicer")
        size = slicers[0].size if slicers else len(data)
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
            if slicers:
                await asyncio.sleep(slicers[0].ms / 1e3)
        return True

    # ------------------------------------------------------------ control port

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(msgspec.json.encode(self._obey(line)) + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # whoever steers it has gone, or sent a line without an end
        finally:
            writer.close()

    def _obey(self, line: bytes) -> dict[str, Any]:
        try:
            order = msgspec.json.decode(line, type=_Order)
        except (msgspec.DecodeError, ConfigError) as error:
            return {"error": str(error)}
        if order.do == "add" and order.toxic is not None:
            self._toxics.append(order.toxic)
        elif order.do == "clear":
            self._toxics.clear()
        elif order.do == "cut":
            self._reset_all()
        return {
            "toxics": [toxic.name for toxic in self._toxics],
            "connections": self.connections,
            "bytes": sum(len(piece.data) for piece in self.record),
        }


class _Order(msgspec.Struct, frozen=True):
    """A line on the control port."""

    do: Literal["add", "clear", "cut", "status"]
    toxic: Toxic | None = None


def _reset(writer: asyncio.StreamWriter) -> None:
    """Throw a connection away with what it still holds."""
    transport = writer.transport
    found = transport.get_extra_info("socket")
    if found is not None and not transport.is_closing():
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m regimeflow.sandbox.proxy``; prints its port and its control port."""
    parser = argparse.ArgumentParser(prog="regimeflow.sandbox.proxy", description=__doc__)
    parser.add_argument("--to", required=True, metavar="HOST:PORT", help="the venue")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="where bytes are written down")
    arguments = parser.parse_args(argv)
    host, _, port = arguments.to.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--to takes HOST:PORT, not {arguments.to!r}")
    proxy = Proxy(
        (host, int(port)), port=arguments.port, seed=arguments.seed, ledger=arguments.ledger
    )
    asyncio.run(_until_signal(proxy))
    return 0


async def _until_signal(proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()

    def ready() -> None:
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(one, proxy.stop)
        sys.stdout.write(f"{proxy.port} {proxy.control_port}\n")
        sys.stdout.flush()

    await proxy.serve(ready, control=True)


if __name__ == "__main__":
    sys.exit(main())
