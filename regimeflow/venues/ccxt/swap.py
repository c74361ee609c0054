"""Linear perpetual swaps: contracts held against margin, which pay and are paid for being held.

Quantities are contracts, an instrument's multiplier is what one of them is of. Leverage and the
mode of margin are left as the account has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from regimeflow.errors import Refused
from regimeflow.model.instrument import Instrument
from regimeflow.model.timeframe import NS_PER_MS
from regimeflow.venues.ccxt import paging, translate
from regimeflow.venues.ccxt.account import Account
from regimeflow.venues.ccxt.habits import Habits
from regimeflow.venues.port import Balances, Holding, Payment


class Terms(NamedTuple):
    """What the account has set for one symbol.

    Attributes:
        leverage: value over margin.
        margin_mode: "cross" or "isolated", "" where the exchange does not say.
    """

    leverage: float
    margin_mode: str


class SwapAccount(Account):
    """An account of linear swaps, with one position a symbol.

    Attributes:
        terms: symbol -> what the account has set for it, once it was asked.
    """

    def __init__(self, name: str, habits: Habits) -> None:
        super().__init__(name, habits)
        self.terms: dict[str, Terms] = {}

    def fits(self, symbol: str, market: dict[str, Any] | None) -> None:
        why, code = _unfit(symbol, market)
        if why:
            raise Refused(f"{symbol} is {why}", code=code)

    def trades(self, market: dict[str, Any]) -> bool:
        return bool(market.get("swap") and market.get("linear"))

    def money_of(self, market: dict[str, Any]) -> str:
        return str(market["settle"])

    def rules(self, client: Any, market: dict[str, Any]) -> Instrument:
        terms = self.terms.get(market["symbol"])
        return translate.contract(
            market, lambda p: translate.step(client, p), terms.leverage if terms else 1.0
        )

    async def traded(self, client: Any) -> list[str]:
        if self.symbols:
            return list(self.symbols)
        return [holding.symbol for holding in await self.positions(client)]

    # ------------------------------------------------------------ what the account has set

    async def look(self, client: Any, symbols: Sequence[str]) -> None:
        """Learn leverage and the mode of margin.

        Raises:
            Refused: long and short positions of a symbol are kept apart.
        """
        for symbol in symbols:
            if client.has.get("fetchPositionMode") is True:
                mode = await client.fetch_position_mode(symbol)
                self._one_way(symbol, mode.get("hedged"))
            rows = await client.fetch_positions([symbol])
            for row in rows:
                self._one_way(symbol, row.get("hedged"))
            first: dict[str, Any] = next(iter(rows), {})
            leverage, margin = first.get("leverage"), first.get("marginMode")
            if leverage is None and client.has.get("fetchLeverage"):
                told = await client.fetch_leverage(symbol)
                leverage, margin = told.get("longLeverage"), told.get("marginMode")
            if leverage is not None:
                value = translate.number(leverage, f"the leverage of {symbol}")
                self.terms[symbol] = Terms(max(value, 1.0), str(margin or ""))

    def _one_way(self, symbol: str, hedged: Any) -> None:
        if hedged:
            raise Refused(
                f"{self.name} keeps long and short positions in {symbol} apart (hedge mode): set "
                "the account to one-way mode",
                code="hedge_mode",
            )

    # ------------------------------------------------------------ what is held

    async def _rows(self, client: Any) -> list[dict[str, Any]]:
        """Return ccxt's positions that are not flat."""
        rows = await paging.by_cursor(
            lambda terms: client.fetch_positions(None, terms),
            self.habits.cursor,
            self.habits.positions_page,
            f"positions at {self.name}",
        )
        found = []
        for row in rows:
            if row.get("contracts"):
                self._one_way(str(row.get("symbol")), row.get("hedged"))
                found.append(row)
        return found

    async def positions(self, client: Any) -> list[Holding]:
        holdings = []
        for row in await self._rows(client):
            symbol = translate.text(row.get("symbol"), "a position's symbol")
            qty = abs(translate.number(row["contracts"], f"contracts of {symbol}"))
            side = translate.text(row.get("side"), f"the side of a position in {symbol}")
            price = translate.number(row.get("entryPrice") or 0.0, f"the entry of {symbol}")
            holdings.append(Holding(symbol, qty if side == "long" else -qty, price))
        return sorted(holdings, key=lambda holding: holding.symbol)

    async def balances(self, client: Any) -> Balances:
        money = self.money(client)
        told = await client.fetch_balance()
        total = self.totals(told).get(money, 0.0)
        profit = margin = 0.0
        for row in await self._rows(client):
            market = client.markets.get(row.get("symbol")) or {}
            if market.get("settle") == money:
                profit += translate.number(row.get("unrealizedPnl") or 0.0, "an open profit")
                margin += translate.number(row.get("initialMargin") or 0.0, "a margin")
        wallet = total - profit if self.habits.total_has_profit else total
        free = (told.get("free") or {}).get(money)
        usable = wallet + profit - margin if free is None else translate.number(free, "free money")
        return Balances(wallet, wallet + profit, usable, margin, money)

    # ------------------------------------------------------------ what is paid for it

    async def payments(self, client: Any, since: int) -> list[Payment]:
        found = []
        for symbol in await self.traded(client):
            market = client.markets[symbol]
            for row in await self._fundings(client, symbol, since // NS_PER_MS):
                payment = translate.payment(row, market, self.habits)
                if payment.ts >= since:
                    found.append(payment)
        return sorted(found, key=lambda payment: (payment.ts, payment.payment_id))

    async def _fundings(self, client: Any, symbol: str, since_ms: int) -> list[dict[str, Any]]:
        also = self.habits.funding_terms

        async def ask(first: int, size: int | None, terms: dict[str, Any]) -> list[dict[str, Any]]:
            told = await client.fetch_funding_history(symbol, first, size, {**also, **terms})
            return list(told)

        return await paging.since(
            ask,
            self.habits.fundings,
            max(0, since_ms),
            client.milliseconds() + 60_000,
            f"payments of {self.name} for {symbol}",
        )


def _unfit(symbol: str, market: dict[str, Any] | None) -> tuple[str, str]:
    """Return why a symbol cannot be traded as a linear swap, and a code for it; "" if it can."""
    pair, _, settled = symbol.partition(":")
    if market is None:
        base, settle, dated = pair.partition("/")[0], settled.partition("-")[0], "-" in settled
        spot, inverse = not settled, bool(settle) and settle == base
        swap, linear = not dated and not spot, not inverse
    else:
        spot, inverse = bool(market.get("spot")), bool(market.get("inverse"))
        swap, linear = bool(market.get("swap")), bool(market.get("linear"))
    if spot:
        return 'a spot market, and this venue is for swaps: leave market="swap" out', "not_swap"
    if inverse:
        why = "an inverse contract, settled in what it is of: only linear swaps are traded"
        return why, "inverse"
    if not swap or not linear:
        return "a contract of another kind: only linear perpetual swaps are traded", "not_swap"
    return "", ""
