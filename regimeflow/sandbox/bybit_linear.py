"""Bybit's linear swaps on this machine: contracts against margin, and funding for what is held.

One wallet of the money that contracts are settled in: profits go into it when a position is made
smaller, fees and funding at once. A position is one number, unless the account was set to hedge
mode. The exchange's own books count as if contracts were bought and paid for; what the wallet holds
is what that comes to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from regimeflow.model.events import Fill, Submit
from regimeflow.model.venue import Payment
from regimeflow.sandbox.bybit import Server, span
from regimeflow.sandbox.exchange import Working
from regimeflow.sandbox.house import House
from regimeflow.sandbox.spot import Answerer, Said400, encode, ms, pair_of, plain

_ZERO = Decimal(0)
_REFUSALS = {
    "duplicate_order_id": (110072, "OrderLinkedID is duplicate."),
    "no_money": (110007, "ab not enough for new order."),
    "too_small": (110094, "Order does not meet minimum order value."),
    "bad_qty": (10001, "Qty invalid."),
    "bad_price": (10001, "Price invalid."),
    "bad_tif": (10001, "TimeInForce invalid."),
    "order_over": (110001, "order not exists or too late to cancel."),
    "unknown_symbol": (10001, "Not supported symbols"),
    "not_reducing": (110017, "current position is zero, cannot fix reduce-only order qty."),
}


class LinearServer(Server):
    """Bybit's language, of its linear swaps."""

    category = "linear"
    kinds: ClassVar[Mapping[tuple[str, str], str]] = {
        **Server.kinds,
        ("GET", "account/wallet-balance"): "balances",
    }
    refusals = _REFUSALS
    unknown = (110001, "order not exists or too late to cancel.")
    other = (110003, "Order rejected.")

    def __init__(self, house_: House) -> None:
        super().__init__(house_)
        self.exchange.fee_in_units = False
        self.exchange.on_payment = self._paid

    def answers(self) -> Mapping[tuple[str, str], Answerer]:
        return {**super().answers(), ("GET", "position/list"): self.tell_positions}

    # ------------------------------------------------------------ money and positions

    def _value(self, symbol: str) -> Decimal:
        return self.exchange._value(symbol) if symbol in self.exchange.held else _ZERO

    def _margin(self, symbol: str) -> Decimal:
        return Decimal(str(self.exchange.rules[symbol].margin))

    def _profit(self, symbol: str) -> Decimal:
        return self._value(symbol) - self.exchange.cost.get(symbol, _ZERO)

    def _on_margin(self) -> Decimal:
        """Return what positions and working orders hold back."""
        exchange = self.exchange
        held = sum((abs(self._value(s)) * self._margin(s) for s in exchange.held), _ZERO)
        return held + sum((self._price(o) * o.left * self._margin(o.symbol)
                           for o in exchange.working()), _ZERO)  # fmt: skip

    def _price(self, order: Working) -> Decimal:
        return order.limit or self.exchange.prices[order.symbol]

    def _affordable(self, order: Submit) -> None:
        exchange = self.exchange
        rules, held = exchange.rules[order.symbol], exchange.held.get(order.symbol, _ZERO)
        price = Decimal(str(order.limit or exchange.prices[order.symbol]))
        qty = Decimal(str(order.qty))
        against = held if order.side == "sell" else -held  # what it would take off
        if order.reduce_only and qty > against:
            self._refuse(order, "not_reducing")
        if 0 < qty * price < Decimal(str(rules.min_notional)) and not order.reduce_only:
            self._refuse(order, "too_small")
        adds = max(qty - max(against, _ZERO), _ZERO) * price * self._margin(order.symbol)
        equity = exchange.cash + sum((self._value(s) for s in exchange.held), _ZERO)
        if adds and adds > equity - self._on_margin():
            self._refuse(order, "no_money")

    def taken(self, asked: dict[str, str]) -> Any:
        if self.hedged:
            raise Said400(10001, "position idx not match position mode")
        return super().taken(asked)

    def take_order(self, asked: dict[str, str]) -> Any:
        return self.taken(asked)

    # ------------------------------------------------------------ questions

    def tell_rules(self, asked: dict[str, str]) -> Any:
        if asked.get("status") == "PreLaunch":
            return {"category": self.category, "list": [], "nextPageCursor": ""}
        rows = []
        for name, symbol in self.symbols.items():
            rules = self.exchange.rules[symbol]
            base, quote = pair_of(symbol)
            lots = {
                "qtyStep": plain(rules.lot), "minOrderQty": plain(rules.min_qty),
                "maxOrderQty": "9000000", "minNotionalValue": plain(rules.min_notional),
            }  # fmt: skip
            row = {
                "symbol": name, "contractType": "LinearPerpetual", "status": "Trading",
                "baseCoin": base, "quoteCoin": quote, "settleCoin": quote, "deliveryTime": "0",
                "fundingInterval": 480, "priceScale": "2",
                "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00"},
                "lotSizeFilter": lots, "priceFilter": {"tickSize": plain(rules.tick)},
            }  # fmt: skip
            rows.append(row)
        return {"category": self.category, "list": rows, "nextPageCursor": ""}

    def tell_account(self, asked: dict[str, str]) -> Any:
        exchange = self.exchange
        _, coin = pair_of(next(iter(exchange.rules)))
        wallet = exchange.cash + sum(exchange.cost.values(), _ZERO)
        profit = sum(map(self._profit, exchange.held), _ZERO)
        margin = sum((abs(self._value(s)) * self._margin(s) for s in exchange.held), _ZERO)
        row = {
            "coin": coin, "walletBalance": plain(wallet), "equity": plain(wallet + profit),
            "unrealisedPnl": plain(profit), "locked": "0", "totalPositionIM": plain(margin),
            "totalOrderIM": plain(self._on_margin() - margin),
        }  # fmt: skip
        return {"list": [{"accountType": "UNIFIED", "coin": [row]}]}

    def tell_positions(self, asked: dict[str, str]) -> Any:
        if asked.get("symbol"):
            symbols = [self.symbol_of(asked)]
        else:
            symbols = [symbol for symbol, units in self.exchange.held.items() if units]
        rows = [self._position(symbol) for symbol in symbols]
        if self.hedged:
            for place, row in enumerate(rows):
                rows[place] = {**row, "positionIdx": 2 if row["side"] == "Sell" else 1}
        return {"category": self.category, "nextPageCursor": "", "list": rows}

    def _position(self, symbol: str) -> dict[str, Any]:
        exchange = self.exchange
        held, value = exchange.held.get(symbol, _ZERO), self._value(symbol)
        average = exchange.cost[symbol] / held if held else _ZERO
        side = "Buy" if held > 0 else "Sell" if held < 0 else ""
        return {
            "symbol": self.id_of(symbol), "side": side, "size": plain(abs(held)),
            "avgPrice": plain(average), "positionValue": plain(abs(value)),
            "markPrice": plain(exchange.prices[symbol]),
            "unrealisedPnl": plain(self._profit(symbol)),
            "leverage": plain(1 / self._margin(symbol)), "positionIdx": 0, "tradeMode": 0,
            "positionIM": plain(abs(value) * self._margin(symbol)), "positionMM": "0",
            "liqPrice": "", "createdTime": str(ms(exchange.time())),
            "updatedTime": str(ms(exchange.time())), "positionStatus": "Normal",
        }  # fmt: skip

    def tell_trades(self, asked: dict[str, str]) -> Any:
        if asked.get("execType") != "Funding":
            return super().tell_trades(asked)
        symbol, (since, until) = self.symbol_of(asked), span(asked)
        rows = [
            self._funding(payment)
            for payment in self.exchange.paid
            if payment.symbol == symbol and since <= ms(payment.ts) <= until
        ]
        return self.newest(rows, asked)

    # ------------------------------------------------------------ rows

    def row(self, order: Working) -> dict[str, Any]:
        shown = super().row(order)
        shown.pop("marketUnit")
        return {**shown, "tpslMode": "", "positionIdx": 0, "reduceOnly": False}

    def execution(self, fill: Fill) -> dict[str, Any]:
        _, quote = pair_of(fill.symbol)
        shown = super().execution(fill)
        return {**shown, "feeCurrency": quote, "createType": "CreateByUser", "closedSize": "0"}

    def _funding(self, payment: Payment) -> dict[str, Any]:
        """Return a payment as Bybit shows it: among executions, and positive is paid."""
        at = str(ms(payment.ts))
        return {
            "category": self.category, "symbol": self.id_of(payment.symbol),
            "orderId": f"{at}-{self.id_of(payment.symbol)}", "orderLinkId": "", "side": "Buy",
            "execId": payment.payment_id.rpartition("-")[2], "execType": "Funding",
            "execFee": plain(Decimal(str(-payment.cash))), "execTime": at, "execQty": "1",
            "execPrice": plain(self.exchange.prices[payment.symbol]), "execValue": "1",
            "feeRate": "0.0001", "orderType": "UNKNOWN", "isMaker": False,
        }  # fmt: skip

    def _paid(self, payment: Payment) -> None:
        """Tell of a payment on the stream of executions, as Bybit does."""
        now = ms(self.exchange.time())
        rows: Sequence[Any] = [self._funding(payment)]
        message = {"id": f"m{now}", "creationTime": now, "topic": "execution", "data": rows}
        self.say_privately("fill", "", [encode(message)])


__all__ = ["LinearServer"]
