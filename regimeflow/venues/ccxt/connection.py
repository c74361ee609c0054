"""One client of ccxt, the thread it lives on, and its streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from regimeflow.errors import VenueError
from regimeflow.model.events import Fill
from regimeflow.venues.ccxt.client import URGENT, make
from regimeflow.venues.ccxt.habits import Habits
from regimeflow.venues.ccxt.streams import Streams
from regimeflow.venues.loop_thread import LoopThread
from regimeflow.venues.port import Disconnected, Emit, Garbled, VenueOrder


class Wiring(NamedTuple):
    """What a connection is made with.

    Attributes:
        name, paper, habits: of the exchange.
        config: settings of ccxt, settled.
        keys: ccxt's names of secrets -> the secrets.
        fill: makes an execution of ours of ccxt's trade; row: an order of ours of ccxt's.
        translated: makes an error of ours of ccxt's.
        clean: takes secrets out of a text.
    """

    name: str
    paper: bool
    habits: Habits
    config: dict[str, Any]
    keys: dict[str, str]
    fill: Callable[[Any, dict[str, Any]], Awaitable[Fill]]
    row: Callable[[dict[str, Any]], VenueOrder]
    translated: Callable[[Exception], VenueError]
    clean: Callable[[str], str]


class Connection:
    """A client on a thread of its own.

    Args:
        wiring: what it is made with.
        emit: takes what is said.
    """

    def __init__(self, wiring: Wiring, emit: Emit) -> None:
        self._wiring = w = wiring
        self.thread = LoopThread(f"regimeflow-{w.name}")
        try:
            self.client = make(w.name, w.config, w.keys, w.paper, w.habits, self._heard)
        except BaseException:
            self.thread.stop()
            raise
        self.streams = Streams(self.client, emit, w.fill, w.row, w.translated, w.habits)

    def _heard(self, said: Garbled | Disconnected) -> None:
        if isinstance(said, Disconnected):
            self.streams.lose(said.why)
        else:
            self.streams.say(Garbled(self._wiring.clean(said.why), "", said.about_orders))

    def run(self, work: Coroutine[Any, Any, Any], timeout_s: float, *, urgent: bool = False) -> Any:
        """Do something on the client's loop; whatever goes wrong there is an error of ours."""
        return self.thread.run(self._done(work, urgent), timeout_s)

    async def _done(self, work: Awaitable[Any], urgent: bool) -> Any:
        URGENT.set(urgent)
        try:
            return await work
        except Exception as error:
            told = self._wiring.translated(error)
        raise told from None

    async def begin(self, with_account: bool) -> None:
        """Read the markets, and open the private streams before any order can leave."""
        await self.client.load_markets()
        if with_account:
            await self.streams.open_private()

    def close(self) -> None:
        """End the streams, the client and its thread."""
        self.streams.end()
        try:
            self.thread.run(self._last(), 5.0)
        except VenueError:
            pass  # it did not end in time: its thread takes it along
        finally:
            self.thread.stop()

    async def _last(self) -> None:
        await self.streams.cancel()
        await self.client.close()
