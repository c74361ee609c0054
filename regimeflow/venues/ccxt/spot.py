"""Spot markets: what is held is what was bought, and fees are taken from what was received."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from regimeflow.errors import Refused
from regimeflow.model.instrument import Instrument
from regimeflow.venues.ccxt import translate
from regimeflow.venues.ccxt.account import Account
from regimeflow.venues.port import Balances, Holding


class SpotAccount(Account):
    """An account of spot markets."""

    async def look(self, client: Any, symbols: Sequence[str]) -> None:
        """See nothing: an account says nothing of single spot markets."""

    def fits(self, symbol: str, market: dict[str, Any] | None) -> None:
        contract = ":" in symbol if market is None else not market.get("spot")
        if contract:
            raise Refused(
                f"{symbol} is a contract, and this venue is for spot markets: make another one, "
                f'with rf.venues.Ccxt("{self.name}", market="swap")',
                code="not_spot",
            )

    def trades(self, market: dict[str, Any]) -> bool:
        return bool(market.get("spot"))

    def money_of(self, market: dict[str, Any]) -> str:
        return str(market["quote"])

    def rules(self, client: Any, market: dict[str, Any]) -> Instrument:
        return translate.instrument(market, lambda p: translate.step(client, p))

    async def traded(self, client: Any) -> list[str]:
        if self.symbols:
            return list(self.symbols)
        money = self.money(client)
        held = [a for a, qty in (await self._held(client)).items() if qty and a != money]
        return [f"{a}/{money}" for a in held if f"{a}/{money}" in client.markets]

    async def positions(self, client: Any) -> list[Holding]:
        money = self.money(client)
        held = await self._held(client)
        return [
            Holding(self._symbol_of(client, asset, money), qty)
            for asset, qty in sorted(held.items())
            if asset != money and qty
        ]

    async def balances(self, client: Any) -> Balances:
        money = self.money(client)
        told = await client.fetch_balance()
        held = self.totals(told)
        free = translate.number((told.get("free") or {}).get(money) or 0.0, "free money")
        equity = held.get(money, 0.0)
        priced = [
            a for a, q in held.items() if q and a != money and f"{a}/{money}" in client.markets
        ]
        if priced:
            tickers = await client.fetch_tickers([f"{asset}/{money}" for asset in priced])
            for asset in priced:
                last = (tickers.get(f"{asset}/{money}") or {}).get("last")
                equity += held[asset] * translate.number(last, f"the price of {asset}")
        return Balances(held.get(money, 0.0), equity, free, 0.0, money)

    async def _held(self, client: Any) -> dict[str, float]:
        return self.totals(await client.fetch_balance())

    def _symbol_of(self, client: Any, asset: str, money: str) -> str:
        symbol = f"{asset}/{money}"
        return symbol if symbol in client.markets else asset
