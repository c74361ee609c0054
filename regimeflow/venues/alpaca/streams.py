"""Alpaca's streams, each read on a thread and a loop of its own.

The client library connects anew by itself, for ever and without a word, and so loses what was said
meanwhile; whatever it cannot read it writes to a log. Here a stream that has ended stays ended and
says why, and a message that cannot be read is told. Nothing is decided in the reader's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from regimeflow.errors import VenueError
from regimeflow.venues.alpaca.outcomes import words
from regimeflow.venues.loop_thread import LoopThread

#: How long a stream may take to say goodbye, seconds.
_GOODBYE_S = 1.0
#: A socket whose other end does not answer a ping for so long is dead, seconds.
_PING_S = 10.0
#: Frames in a row that cannot be read, after which nothing better is to come.
_NOISE = 20


class Listener:
    """Reads one stream until it is closed or breaks.

    Args:
        name: of its thread.
        hear: is given each message; must not block.
        unreadable: is told why a message could not be read.
        broken: is told why the stream ended, once, and only after it had begun.
    """

    def __init__(
        self,
        name: str,
        hear: Callable[[Any], None],
        unreadable: Callable[[str], None],
        broken: Callable[[str], None],
    ) -> None:
        self._hear = hear
        self._unreadable = unreadable
        self._broken = broken
        self._noise = 0
        self._begun = False
        self._over = ""
        self._closing = False
        self._settled = threading.Event()
        self._lock = threading.Lock()
        self._stream: Any = None
        self._task: asyncio.Task[None] | None = None
        self._thread = LoopThread(name)

    def open(self, stream: Any, timeout_s: float) -> None:
        """Connect, and wait until the venue has confirmed what was subscribed to.

        Args:
            stream: one of the client's, of a class made by `once`.
            timeout_s: how long that may take.

        Raises:
            VenueError: it did not come to that.
        """
        self._stream = stream
        self._thread.soon(self._start)
        settled = self._settled.wait(timeout_s)
        if not settled or self._over:
            why = self._over or "it was not confirmed in time"
            self.close()
            raise VenueError(why)

    def _start(self) -> None:
        self._task = self._thread.loop.create_task(self._read())

    async def _read(self) -> None:
        """Let the client read; whatever ends it, it is over."""
        try:
            await self._stream._run_forever()
            self.end("the stream ended")
        except asyncio.CancelledError:
            self.end("the stream was stopped")
        except Exception as error:
            self.end(f"the stream failed: {words(error)}")

    def close(self) -> None:
        """End the stream and its thread; nothing is heard afterwards."""
        self._closing = True
        with contextlib.suppress(VenueError):
            self._thread.run(self._goodbye(), 2 * _GOODBYE_S)
        self._thread.stop()

    async def _goodbye(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_GOODBYE_S)
        socket = getattr(self._stream, "_ws", None)
        if socket is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(socket.close(), _GOODBYE_S / 2)
            if socket.transport is not None:
                socket.transport.abort()

    # ------------------------------------------------------------ called by the client's class

    def hears(self, message: Any) -> None:
        """Take one message as it came."""
        self._noise = 0
        if not self._closing:
            self._hear(message)

    def garbled(self, why: str) -> None:
        """Take note of something that could not be read."""
        self._noise += 1
        if not self._closing:
            self._unreadable(why)
        if self._noise >= _NOISE:
            self.end("nothing that it says can be read")
            raise asyncio.CancelledError

    def confirmed(self) -> None:
        """The venue says that it will tell what was asked for."""
        with self._lock:
            self._begun = True
        self._settled.set()

    def end(self, why: str) -> None:
        """The stream is over, and why: the first reason counts."""
        with self._lock:
            first, self._over = not self._over, self._over or why
            tell = first and self._begun and not self._closing
        self._settled.set()
        if tell:
            self._broken(why)


def once(base: Any, listener: Listener) -> Any:
    """Return a stream class of the client's that connects once and tells what it meets.

    Args:
        base: ``TradingStream``, ``StockDataStream`` or ``CryptoDataStream``.
        listener: is told.

    Raises:
        VenueError: this version of the client is built otherwise.
    """
    from websockets.exceptions import WebSocketException

    wanted = ("_run_forever", "_start_ws", "_consume", "_dispatch")
    missing = [name for name in wanted if not hasattr(base, name)]
    if missing:
        raise VenueError(
            f"this version of alpaca-py is built otherwise (no {missing[0]} in {base.__name__}): "
            "install the one that regimeflow was tested with"
        )

    class Once(base):  # type: ignore[misc]
        _tried = False

        async def _start_ws(self) -> None:
            if self._tried:  # it would connect anew, and say nothing of the gap
                raise asyncio.CancelledError
            self._tried = True
            try:
                await super()._start_ws()
            except Exception as error:
                listener.end(f"it cannot be opened: {words(error)}")
                raise asyncio.CancelledError from None

        async def _consume(self) -> Any:
            try:
                return await super()._consume()
            except WebSocketException as error:
                listener.end(f"the connection broke: {words(error)}")
                raise asyncio.CancelledError from None
            except Exception as error:
                listener.garbled(f"a message cannot be read: {words(error)}")
                return False

        async def _dispatch(self, msg: Any) -> None:
            listener.hears(msg)

    return Once


def socket_options(timeout_s: float) -> dict[str, Any]:
    """Return how the client's sockets behave: dead ones are noticed."""
    return {
        "ping_interval": _PING_S,
        "ping_timeout": 2 * _PING_S,
        "max_queue": 1024,
        "open_timeout": timeout_s,
        "close_timeout": _GOODBYE_S,
    }


async def unused(_: Any) -> None:
    """Stand for a handler: the client subscribes for those that there are."""
