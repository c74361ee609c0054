"""What an account trades and holds: the same questions in every kind of market."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from regimeflow.errors import Refused, VenueError
from regimeflow.model.instrument import Instrument
from regimeflow.venues.ccxt import translate
from regimeflow.venues.ccxt.habits import Habits
from regimeflow.venues.port import Balances, Holding, Payment


class Account(ABC):
    """One account in one kind of market.

    Args:
        name: of the exchange.
        habits: its ways.

    Attributes:
        symbols: whatever was asked for so far, in order.
    """

    def __init__(self, name: str, habits: Habits) -> None:
        self.name, self.habits = name, habits
        self.symbols: dict[str, None] = {}

    def market(self, client: Any, symbol: str) -> dict[str, Any]:
        """Return ccxt's market of a symbol, and remember that it is one of ours.

        Raises:
            Refused: it is not there, or not one that this kind of account trades.
        """
        found: dict[str, Any] | None = client.markets.get(symbol)
        self.fits(symbol, found)
        if found is None:
            raise Refused(f"{self.name} has no market {symbol}", code="unknown_symbol")
        self.symbols[symbol] = None
        return found

    def money(self, client: Any) -> str:
        """Return the currency of the symbols; before any was named, the commonest of the venue."""
        for symbol in self.symbols:
            return self.money_of(client.markets[symbol])
        found = [self.money_of(m) for m in client.markets.values() if self.trades(m)]
        return str(max(sorted(set(found)), key=found.count))

    async def instruments(
        self, client: Any, symbols: Sequence[str], *, with_account: bool
    ) -> list[Instrument]:
        """Return the trading rules of symbols.

        Args:
            with_account: whether the account can be asked for what it says of them.
        """
        markets = [self.market(client, symbol) for symbol in symbols]
        moneys = sorted({self.money_of(market) for market in markets})
        if len(moneys) > 1:
            raise Refused(
                f"a session counts in one currency, and {', '.join(symbols)} are quoted in "
                f"{' and '.join(moneys)}",
                code="two_currencies",
            )
        if with_account:
            await self.look(client, symbols)
        return [self.rules(client, market) for market in markets]

    def totals(self, answer: dict[str, Any]) -> dict[str, float]:
        """Return currency -> all of it that is on the account."""
        told = answer.get("total")
        if not isinstance(told, dict) or not told:
            # An account that can trade has money: nothing at all is no answer.
            raise VenueError(f"{self.name} did not tell what is held")
        return {str(a): translate.number(q, f"units of {a}") for a, q in told.items()}

    async def payments(self, client: Any, since: int) -> list[Payment]:
        """Return what was paid for being held from a time on; nothing in most kinds of markets."""
        return []

    @abstractmethod
    async def look(self, client: Any, symbols: Sequence[str]) -> None:
        """See what the account says of symbols."""

    @abstractmethod
    def fits(self, symbol: str, market: dict[str, Any] | None) -> None:
        """Refuse a symbol that is of another kind of market."""

    @abstractmethod
    def trades(self, market: dict[str, Any]) -> bool:
        """Whether a market is one of this kind."""

    @abstractmethod
    def money_of(self, market: dict[str, Any]) -> str:
        """Return the currency that a market is settled in."""

    @abstractmethod
    def rules(self, client: Any, market: dict[str, Any]) -> Instrument:
        """Return a market's trading rules."""

    @abstractmethod
    async def traded(self, client: Any) -> list[str]:
        """Return the symbols that anything was asked of; else those of what is held."""

    @abstractmethod
    async def positions(self, client: Any) -> list[Holding]:
        """Return everything held but money."""

    @abstractmethod
    async def balances(self, client: Any) -> Balances:
        """Return the money."""
