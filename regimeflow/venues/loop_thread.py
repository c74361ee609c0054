"""A thread with an asyncio loop of its own, for client libraries that are asynchronous.

The loop of a notebook's kernel stands still while a cell runs, so nothing of ours lives there. This
one is made by `asyncio.new_event_loop` on its own thread; nobody else's loop is used or patched.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import warnings
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from regimeflow.errors import VenueError

T = TypeVar("T")
#: How long the loop's own tasks may take to end, seconds.
_LAST_S = 5.0


class LoopThread:
    """A daemon thread that runs an asyncio loop until it is stopped.

    Args:
        name: of the thread.

    Example:
        >>> async def answer() -> int:
        ...     return 42
        >>> thread = LoopThread("example")
        >>> thread.run(answer(), timeout_s=1.0)
        42
        >>> thread.stop()
    """

    def __init__(self, name: str) -> None:
        _warn_if_patched()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Let the loop do something and wait for its result; from any thread but its own.

        Raises:
            VenueError: it took longer than ``timeout_s`` (it is canceled), or the loop has stopped.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("the loop's own thread would wait for itself")
        try:
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
        except RuntimeError:  # the loop is closed
            work.close()
            raise VenueError("the connection is closed") from None
        try:
            return future.result(timeout_s)
        except concurrent.futures.CancelledError:
            raise VenueError("the connection was closed meanwhile") from None
        except TimeoutError:
            if future.done() and not future.cancelled() and future.exception() is not None:
                raise  # the work's own
            future.cancel()
            raise VenueError(f"no answer in {timeout_s:g} s") from None

    def soon(self, what: Callable[..., object], *arguments: Any) -> None:
        """Let the loop call a function; from any thread. After `stop` it is not called."""
        try:
            self.loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:
            return  # the loop is closed, and with it whatever the call was for

    def stop(self) -> None:
        """Cancel what still runs and end the thread. May be called twice, and from the loop."""
        self.soon(self.loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(_LAST_S)

    def _work(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(_cancel_all())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_LAST_S)


def _warn_if_patched() -> None:
    """Say so where somebody has patched asyncio: their loops lose cells, ours go on."""
    if hasattr(asyncio, "_nest_patched"):
        warnings.warn(
            "asyncio has been patched by nest_asyncio in this process: notebook cells and clicks "
            "can get lost while a patched loop is entered twice; sessions go on in threads of "
            "their own",
            RuntimeWarning,
            stacklevel=4,
        )
