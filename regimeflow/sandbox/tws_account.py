"""The account as TWS tells it: positions, what they are worth, and the money."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from regimeflow.model.venue import Holding
from regimeflow.sandbox import tws_messages as say
from regimeflow.sandbox.exchange import Exchange
from regimeflow.sandbox.tws_client import Client
from regimeflow.sandbox.tws_client import number as text_of

_ZERO = Decimal(0)


class Account:
    """What clients ask of the account, and are told of it while they follow it.

    Args:
        exchange: whose account it is.
        contracts: symbol -> TWS's contract.
    """

    def __init__(self, exchange: Exchange, contracts: Mapping[str, say.Contract]) -> None:
        self.exchange = exchange
        self._contracts = contracts

    # ------------------------------------------------------------ questions

    def positions(self, client: Client, fields: list[str]) -> None:
        """Tell all positions, and each that changes until that is canceled."""
        client.follows_positions = True
        for held in self.exchange.positions():
            client.write(self._position(held))
        client.write(say.frame([62, 1]))

    def end_positions(self, client: Client, fields: list[str]) -> None:
        """Tell of positions no longer."""
        client.follows_positions = False

    def summary(self, client: Client, fields: list[str]) -> None:
        """Tell the values that are asked for; tags that are not known have none."""
        number, told = int(fields[2]), self._values()
        for tag in fields[4].split(","):
            if tag in told:
                client.write(say.frame([63, 1, number, say.ACCOUNT, tag, *told[tag]]))
        client.write(say.frame([64, 1, number]))

    def updates(self, client: Client, fields: list[str]) -> None:
        """Tell values and portfolio, and what changes of them until that is canceled."""
        client.follows_account = fields[2] not in ("0", "")
        if client.follows_account:
            for held in self.exchange.positions():
                client.write(self._portfolio(held))
            self._tell_values(client)
            client.write(say.frame([54, 1, say.ACCOUNT]))

    def updates_of(self, client: Client, fields: list[str]) -> None:
        """Tell the values of one account, and what changes of them until that is canceled."""
        number = int(fields[2])
        client.follows_values.add(number)
        self._tell_values_of(client, number)
        client.write(say.frame([74, 1, number]))

    def end_updates_of(self, client: Client, fields: list[str]) -> None:
        """Tell of values no longer."""
        client.follows_values.discard(int(fields[2]))

    # ------------------------------------------------------------ what changes

    def moved(self, client: Client, symbol: str) -> None:
        """Tell a client who follows it what the account is after an execution."""
        found = [held for held in self.exchange.positions() if held.symbol == symbol]
        held = found[0] if found else Holding(symbol, 0.0, 0.0)
        if client.follows_positions:
            client.write(self._position(held))
        if client.follows_account:
            client.write(self._portfolio(held))
            self._tell_values(client)
        for number in client.follows_values:
            self._tell_values_of(client, number)

    # ------------------------------------------------------------ rows

    def _tell_values(self, client: Client) -> None:
        for tag, (value, currency) in self._values().items():
            client.write(say.frame([6, 2, tag, value, currency, say.ACCOUNT]))

    def _tell_values_of(self, client: Client, number: int) -> None:
        for tag, (value, currency) in self._values().items():
            client.write(say.frame([73, 1, number, say.ACCOUNT, "", tag, value, currency]))

    def _position(self, held: Holding) -> bytes:
        contract = self._contracts[held.symbol]
        cost = text_of(held.average_price)
        return say.frame([61, 3, say.ACCOUNT, *contract.fields, text_of(held.qty), cost])

    def _portfolio(self, held: Holding) -> bytes:
        exchange, symbol = self.exchange, held.symbol
        contract = self._contracts[symbol]
        price = exchange.prices[symbol]
        units = exchange.held.get(symbol, _ZERO)
        value = units * price * Decimal(str(exchange.rules[symbol].multiplier))
        cost = exchange.cost.get(symbol, _ZERO)
        return say.frame(
            [7, 8, *contract.fields, text_of(held.qty), text_of(price), text_of(value),
             text_of(held.average_price), text_of(value - cost), text_of(self._realized(symbol)),
             say.ACCOUNT]
        )  # fmt: skip

    def _realized(self, symbol: str) -> Decimal:
        """Return what was gained by what is no longer held, fees apart."""
        spent = _ZERO
        multiplier = Decimal(str(self.exchange.rules[symbol].multiplier))
        for fill in self.exchange.fills:
            if fill.symbol == symbol:
                way = 1 if fill.side == "buy" else -1
                spent += way * Decimal(str(fill.qty)) * Decimal(str(fill.price)) * multiplier
        return self.exchange.cost.get(symbol, _ZERO) - spent

    def _values(self) -> dict[str, tuple[str, str]]:
        """Return tag -> value and currency."""
        exchange = self.exchange
        money, margin = exchange.balances(), exchange.requirement()
        equity = Decimal(str(money.equity))
        worth = {s: exchange.held[s] * exchange.prices[s] for s in exchange.held}
        for symbol in worth:
            worth[symbol] *= Decimal(str(exchange.rules[symbol].multiplier))
        gain = sum((worth[s] - exchange.cost[s] for s in worth), _ZERO)
        realized = sum((self._realized(s) for s in worth), _ZERO)
        told: dict[str, Any] = {
            "NetLiquidation": equity,
            "EquityWithLoanValue": equity,
            "TotalCashValue": money.cash,
            "SettledCash": money.cash,
            "CashBalance": money.cash,
            "BuyingPower": money.buying_power,
            "AvailableFunds": equity - margin,
            "ExcessLiquidity": equity - margin,
            "GrossPositionValue": sum((abs(value) for value in worth.values()), _ZERO),
            "InitMarginReq": margin,
            "MaintMarginReq": margin,
            "FullInitMarginReq": margin,
            "FullMaintMarginReq": margin,
            "UnrealizedPnL": gain,
            "RealizedPnL": realized,
        }
        values = {tag: (text_of(value), say.CURRENCY) for tag, value in told.items()}
        return {"AccountType": ("INDIVIDUAL", ""), **values}
