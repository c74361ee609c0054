"""One conversation with TWS, on a loop of its own thread.

Invariant: nothing is emitted before the account was checked and the books were asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from regimeflow.errors import VenueError
from regimeflow.venues.ib import codes
from regimeflow.venues.ib.account import Account
from regimeflow.venues.ib.connection import Connection, Manners, Memory
from regimeflow.venues.ib.market import Market
from regimeflow.venues.ib.orders import Orders
from regimeflow.venues.port import Emit


class Talk:
    """One conversation with TWS.

    Args:
        library: ib_async or ib_insync.
        manners: how to talk.
        emit: told what TWS says of its own accord.
        name_of: contract -> our symbol for it.
        memory: what outlives a connection; added to.

    Attributes:
        orders, account, market: what is said of each.
    """

    def __init__(
        self,
        library: Any,
        manners: Manners,
        emit: Emit,
        name_of: Callable[[Any], str],
        memory: Memory,
    ) -> None:
        self._line = Connection(library, manners, emit, name_of, memory)
        self.orders = Orders(self._line)
        self.account = Account(self._line, self.orders)
        self.market = Market(self._line)
        self._line.hears(self, self.orders, self.account, self.market)

    async def open(self) -> None:
        """Connect, and check whose account it is; then questions can be asked."""
        await self._line.open()

    async def take_up(self) -> None:
        """Ask for the books; then orders can be sent and are heard of."""
        await self.orders.open_orders()
        await self.account.executed()
        self._line.speaking = True
        self.account.fills.tell_all()
        self._line.begin(self._stay_in_touch())
        if self._line.over:
            raise VenueError(self._line.why)

    async def subscribe(self, wanted: Sequence[tuple[str, Any]], timeframe: int) -> None:
        """Begin the streams of market data, or begin them anew."""
        await self.market.subscribe(wanted, timeframe)
        # TWS reads messages in their order: once it answers this, it has read those.
        await self.account.time()

    async def close(self) -> None:
        """Say nothing any more, and hang up."""
        self.account.fills.close()
        self._line.close()

    async def _stay_in_touch(self) -> None:
        """Notice a connection that is there and silent."""
        heartbeat_s = self._line.manners.heartbeat_s
        every_s = min(heartbeat_s, 1.0)
        next_at = 0.0
        while not self._line.over:
            now = asyncio.get_running_loop().time()
            if now >= next_at:
                next_at = now + heartbeat_s
                try:
                    await self.account.time()
                except VenueError as error:
                    self._line.lose(f"TWS is silent: {error}")
                    return
            self.market.pass_time()
            await asyncio.sleep(every_s)

    def error(self, number: int, code: int, text: str, *_: Any) -> None:
        """A notice, a warning, a refusal or a failure."""
        line, words = self._line, f"{text} (TWS {code})"
        if code in codes.LOST:
            line.why = f"TWS has lost Interactive Brokers: {words}"
            line.lose(line.why)
        elif code in (codes.FOUND, codes.FOUND_WITHOUT_DATA):
            # What was said in between is lost, and at 1101 the subscriptions are.
            line.lose(f"TWS has found Interactive Brokers again: {words}")
        elif code in codes.FARM_LOST | codes.FARM_FOUND:
            self.market.farm(lost=code in codes.FARM_LOST)
        elif not line.client.isReady():
            line.why = words
            if code == codes.ID_IN_USE:
                line.lose(words)
        elif number in line.asks:
            error = codes.of_question(code, text)
            if error is not None:
                line.asks.fail(number, error)
            elif code == codes.HISTORY:
                line.asks.end(number)
        elif number in self.market:
            self.market.error_of(number, code, words)
        elif number in self.orders:
            self.orders.error_of(number, code, text)


__all__ = ["Talk"]
