"""Executions of our orders: read to the last, under our own names, with what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from regimeflow.model.events import Fill
from regimeflow.model.timeframe import NS_PER_MS
from regimeflow.venues.ccxt import able, paging, translate
from regimeflow.venues.ccxt.account import Account
from regimeflow.venues.ccxt.habits import Habits
from regimeflow.venues.ccxt.names import Names
from regimeflow.venues.port import Garbled

#: How long the price of a currency that a fee was taken in may be used, seconds.
_PRICE_AGE_S = 60.0


class Executions:
    """What an exchange tells of executions.

    Args:
        name, habits: of the exchange.
        account: whose they are.
        names: of all orders, and added to.
        say: tells whoever listens.
    """

    def __init__(
        self,
        name: str,
        habits: Habits,
        account: Account,
        names: Names,
        say: Callable[[Garbled], None],
    ) -> None:
        self._name, self._habits = name, habits
        self._account, self._names, self._say = account, names, say
        self._worth: dict[str, tuple[float, float]] = {}
        self._unpriced: set[str] = set()

    async def since(self, client: Any, since: int) -> list[Fill]:
        """Return executions from a time on, oldest first."""
        found: dict[str, Fill] = {}
        for symbol in await self._account.traded(client):
            for row in await self._rows(client, symbol, max(0, since) // NS_PER_MS):
                made = await self.fill(client, row)
                if made.ts >= since:
                    found[made.execution_id] = made
        return sorted(found.values(), key=lambda fill: (fill.ts, fill.execution_id))

    async def _rows(self, client: Any, symbol: str, since_ms: int) -> list[dict[str, Any]]:
        async def ask(first: int, size: int | None, terms: dict[str, Any]) -> Sequence[Any]:
            return list(await client.fetch_my_trades(symbol, first, size, terms))

        pages = self._habits.trades or able.pages_of_trades(client, self._habits.market)
        what = f"executions of {symbol} at {self._name}"
        return await paging.since(ask, pages, since_ms, client.milliseconds() + 60_000, what)

    async def fill(self, client: Any, row: dict[str, Any]) -> Fill:
        """Return an execution, under our order id where that is known."""
        market = client.markets[translate.text(row.get("symbol"), "an execution's symbol")]
        money = self._account.money_of(market)
        for cost, currency in translate.fees(row):
            if currency not in (market["base"], money):
                await self._price(client, currency, money)
                self._say_unpriced(cost, currency, money, market["symbol"])
        return self._made(row, market)

    def _made(self, row: dict[str, Any], market: dict[str, Any]) -> Fill:
        venue_id = translate.text(str(row.get("order") or ""), "an execution's order")
        raw = row.get("info") or {}
        own = translate.own_id(raw.get(self._habits.own_id) or "", self._habits)
        if own:
            self._names.learn(own, venue_id, market["symbol"])
        name = own or self._names.ours(venue_id)
        return translate.fill(
            row, market, name, self._name, lambda c: self._worth.get(c, (0.0, 0.0))[1]
        )

    async def _price(self, client: Any, currency: str, money: str) -> None:
        """Learn what a unit of another currency is worth: fees can be taken in one."""
        at, _ = self._worth.get(currency, (0.0, 0.0))
        for symbol in (f"{currency}/{money}", f"{currency}/{money}:{money}"):
            if symbol in client.markets and time.monotonic() - at > _PRICE_AGE_S:
                last = (await client.fetch_ticker(symbol)).get("last")
                self._worth[currency] = (time.monotonic(), translate.number(last, f"a {currency}"))
                return

    def _say_unpriced(self, cost: float, currency: str, money: str, symbol: str) -> None:
        """Say, once for each currency, that fees in it are not booked: nobody tells their worth."""
        if currency in self._worth or currency in self._unpriced:
            return
        self._unpriced.add(currency)
        why = (
            f"a fee of {cost:g} {currency or 'of a currency that is not named'} is not booked, nor "
            f"are others like it: {self._name} has no market {currency}/{money}"
        )
        self._say(Garbled(why, symbol))
