"""Binance's spot exchange on this machine: REST, market streams, the stream of one's own orders.

``python -m regimeflow.sandbox.binance --symbols AAA/USDT,BBB/USDT`` prints its ports. Spoken are
those parts of Binance's interface that ccxt uses for spot trading, in Binance's own words: its
error codes, its limits on order ids (unique among working orders alone), its candles that are told
while they form. Fees are taken from what was received: a buyer of one unit owns a little less.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from aiohttp import web

from regimeflow.errors import NotThere, Refused
from regimeflow.model.events import Cancel, Fill, OrderUpdate, Submit
from regimeflow.model.market import Quote, Trade
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.sandbox import house
from regimeflow.sandbox.binance_market import PublicMarket
from regimeflow.sandbox.exchange import Working
from regimeflow.sandbox.house import House
from regimeflow.sandbox.process import VenueProcess
from regimeflow.sandbox.spot import (
    API_KEY,
    SECRET_KEY,
    Answerer,
    Said400,
    Socket,
    SpotWire,
    encode,
    ms,
    plain,
    signature,
    spot_rules,
)

#: Method and path -> kind of the request in the script.
_KINDS = {
    ("POST", "order"): "submit",
    ("DELETE", "order"): "cancel",
    ("GET", "order"): "order",
    ("GET", "openOrders"): "open_orders",
    ("GET", "myTrades"): "executions",
    ("GET", "account"): "positions",
    ("GET", "exchangeInfo"): "instruments",
    ("GET", "klines"): "history",
    ("GET", "time"): "time",
    ("DELETE", "openOrders"): "cancel",
    ("POST", "order/cancelReplace"): "replace",
    **{("GET", name): "history" for name in ("depth", "aggTrades", "trades")},
}
_SIGNED = frozenset({"order", "order/cancelReplace", "openOrders", "myTrades", "account"})
#: Binance's type -> ours, and back.
_TYPES = {
    "MARKET": "market",
    "LIMIT": "limit",
    "STOP_LOSS": "stop",
    "STOP_LOSS_LIMIT": "stop_limit",
}
#: A limit order that is refused where it would trade at once.
_MAKER = "LIMIT_MAKER"
_NAMES = {ours: theirs for theirs, ours in _TYPES.items()}
_STATUS = {
    "filled": "FILLED",
    "canceled": "CANCELED",
    "expired": "EXPIRED",
    "rejected": "REJECTED",
}
_HAPPENS = {"accepted": "NEW", "canceled": "CANCELED", "expired": "EXPIRED", "rejected": "REJECTED"}
#: Why the exchange refuses -> Binance's code and words.
_REFUSALS = {
    "duplicate_order_id": (-2010, "Duplicate order sent."),
    "no_money": (-2010, "Account has insufficient balance for requested action."),
    "too_small": (-1013, "Filter failure: NOTIONAL"),
    "bad_qty": (-1013, "Filter failure: LOT_SIZE"),
    "bad_price": (-1013, "Filter failure: PRICE_FILTER"),
    "bad_type": (-1116, "Invalid orderType."),
    "bad_tif": (-1115, "Invalid timeInForce."),
    "unknown_symbol": (-1121, "Invalid symbol."),
    "would_match": (-2010, "Order would immediately match and take."),
}
#: A change of an order of which nothing was done, and one that canceled it and placed none.
_NOT_REPLACED, _HALF_REPLACED = -2022, -2021
_WINDOW_MS = 5_000


def interval_of(timeframe: int) -> str:
    """Return Binance's name of a length in nanoseconds."""
    seconds = timeframe // NS_PER_SECOND
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


class Server(SpotWire):
    """Binance's language."""

    ids_for_ever = False
    api = "/api/v3/"
    kinds = _KINDS
    refusals = _REFUSALS
    other = (-2011, "Unknown order sent.")

    def __init__(self, house_: House) -> None:
        super().__init__(house_)
        ids = {symbol: name for name, symbol in self.symbols.items()}
        self.public = PublicMarket(self.exchange, self.candles, ids)
        #: Orders that were given in money -> how much.
        self._in_money: dict[str, Decimal] = {}
        self._makers: set[str] = set()

    # ------------------------------------------------------------ requests

    def answers(self) -> Mapping[tuple[str, str], Answerer]:
        return {
            ("GET", "time"): self.tell_time,
            ("GET", "exchangeInfo"): self.tell_rules,
            ("GET", "klines"): self.tell_candles,
            ("GET", "ticker/24hr"): self.tell_tickers,
            ("GET", "account"): self.tell_account,
            ("GET", "openOrders"): self.tell_open,
            ("GET", "order"): self.tell_order,
            ("GET", "myTrades"): self.tell_trades,
            ("POST", "order"): self.take_order,
            ("DELETE", "order"): self.cancel_order,
            ("DELETE", "openOrders"): self.cancel_all,
            ("POST", "order/cancelReplace"): self.change_order,
            ("GET", "depth"): self.tell_book,
            ("GET", "aggTrades"): self.tell_past_trades,
            ("GET", "trades"): self.tell_past_trades_one_by_one,
            ("GET", "ticker/bookTicker"): self.tell_best,
        }

    def unsupported(self, method: str, path: str) -> Said400:
        return Said400(-1020, f"This operation is not supported: {method} {path}")

    def unknown_order(self, method: str) -> Said400:
        if method == "DELETE":
            return Said400(-2011, "Unknown order sent.")
        return Said400(-2013, "Order does not exist.")

    def no(self, refusal: Said400) -> tuple[int, Any]:
        status = {-2014: 401, -2015: 401, _HALF_REPLACED: 409}.get(refusal.code, 400)
        more = {} if refusal.data is None else {"data": refusal.data}
        return status, {"code": refusal.code, "msg": refusal.words, **more}

    def busy(self) -> Any:
        return {"code": -1003, "msg": "Too many requests; current limit is 6000 request weight."}

    def check(self, method: str, name: str, asked: dict[str, str], request: web.Request) -> None:
        if name not in _SIGNED:
            return
        if self.revoked or request.headers.get("X-MBX-APIKEY") != API_KEY:
            raise Said400(-2015, "Invalid API-key, IP, or permissions for action.")
        sent = request.query_string or str(request._read_bytes or b"", "utf-8")
        text, _, signed = sent.rpartition("&signature=")
        if signature(text) != signed:
            raise Said400(-1022, "Signature for this request is not valid.")
        late_ms = (
            ms(self.exchange.time()) + float(asked.get("_skew_ms", 0)) - int(asked["timestamp"])
        )
        if not -1_000 <= late_ms <= int(asked.get("recvWindow", _WINDOW_MS)):
            raise Said400(-1021, "Timestamp for this request is outside of the recvWindow.")

    # ------------------------------------------------------------ questions

    def tell_time(self, asked: dict[str, str]) -> Any:
        return {"serverTime": ms(self.exchange.time()) + int(float(asked.get("_skew_ms", 0)))}

    def tell_rules(self, asked: dict[str, str]) -> Any:
        return {
            "timezone": "UTC",
            "serverTime": ms(self.exchange.time()),
            "symbols": [self._rules(name, symbol) for name, symbol in self.symbols.items()],
        }

    def _rules(self, name: str, symbol: str) -> dict[str, Any]:
        rules = self.exchange.rules[symbol]
        base, _, quote = symbol.partition("/")
        return {
            "symbol": name, "status": "TRADING", "baseAsset": base, "baseAssetPrecision": 8,
            "quoteAsset": quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
            "orderTypes": [*_TYPES, _MAKER], "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False, "permissions": [], "permissionSets": [["SPOT"]],
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": plain(rules.tick),
                 "maxPrice": "1000000.00000000", "tickSize": plain(rules.tick)},
                {"filterType": "LOT_SIZE", "minQty": plain(rules.min_qty),
                 "maxQty": "9000000.00000000", "stepSize": plain(rules.lot)},
                {"filterType": "NOTIONAL", "minNotional": plain(rules.min_notional),
                 "applyMinToMarket": True, "maxNotional": "9000000.00000000",
                 "applyMaxToMarket": False, "avgPriceMins": 5},
            ],
        }  # fmt: skip

    def tell_candles(self, asked: dict[str, str]) -> Any:
        symbol = self.symbol_of(asked)
        if asked.get("interval") != interval_of(self.candles.timeframe):
            raise Said400(-1120, "Invalid interval.")
        since, until = int(asked.get("startTime", 0)), int(asked.get("endTime", 2**62))
        rows = self.candles.asked(symbol, since, until, int(asked.get("limit", 500)))
        last = self.candles.timeframe // 10**6 - 1
        return [
            [ms(r[0]), *map(plain, r[1:6]), ms(r[0]) + last, plain(r[4] * r[5]), 1, "0", "0", "0"]
            for r in rows
        ]

    def tell_tickers(self, asked: dict[str, str]) -> Any:
        import json

        if "symbol" in asked:
            return self._ticker(self.symbol_of(asked))
        wanted = json.loads(asked["symbols"]) if "symbols" in asked else list(self.symbols)
        return [self._ticker(self.symbol_of({"symbol": name})) for name in wanted]

    def _ticker(self, symbol: str) -> dict[str, Any]:
        price, tick = self.exchange.prices[symbol], Decimal(str(self.exchange.rules[symbol].tick))
        now, day = ms(self.exchange.time()), self.public.day(symbol)
        return {
            "symbol": self.id_of(symbol), "lastPrice": plain(price),
            "bidPrice": plain(price - tick), "askPrice": plain(price + tick),
            "bidQty": "100.0", "askQty": "100.0", "openPrice": day["o"],
            "highPrice": day["h"], "lowPrice": day["l"], "volume": day["v"],
            "quoteVolume": day["q"],
            "openTime": now - 86_400_000, "closeTime": now, "count": 1,
        }  # fmt: skip

    def tell_best(self, asked: dict[str, str]) -> Any:
        if "symbol" in asked:
            return self.public.best(self.symbol_of(asked))
        return [self.public.best(symbol) for symbol in self.symbols.values()]

    def tell_book(self, asked: dict[str, str]) -> Any:
        return self.public.depth(self.symbol_of(asked), int(asked.get("limit", 100)))

    def tell_past_trades(self, asked: dict[str, str]) -> Any:
        return [
            {
                "a": int(trade.id), "p": plain(trade.price), "q": plain(trade.size),
                "f": int(trade.id), "l": int(trade.id), "T": ms(trade.ts), "m": False, "M": True,
            }
            for trade in self.public.trades(self.symbol_of(asked), asked)
        ]  # fmt: skip

    def tell_past_trades_one_by_one(self, asked: dict[str, str]) -> Any:
        return [
            {
                "id": int(trade.id), "price": plain(trade.price), "qty": plain(trade.size),
                "quoteQty": plain(trade.price * trade.size), "time": ms(trade.ts),
                "isBuyerMaker": False, "isBestMatch": True,
            }
            for trade in self.public.trades(self.symbol_of(asked), asked)
        ]  # fmt: skip

    def tell_account(self, asked: dict[str, str]) -> Any:
        exchange = self.exchange
        quotes = {symbol.partition("/")[2] for symbol in exchange.rules}
        locked = self.locked_cash()
        rows = [
            {"asset": quote, "free": plain(exchange.cash - locked), "locked": plain(locked)}
            for quote in sorted(quotes)
        ]
        for symbol in exchange.rules:
            held, sold = exchange.held.get(symbol, Decimal(0)), self.locked(symbol)
            asset = symbol.partition("/")[0]
            rows.append({"asset": asset, "free": plain(held - sold), "locked": plain(sold)})
        return {
            "accountType": "SPOT", "canTrade": True, "updateTime": ms(exchange.time()),
            "balances": rows, "permissions": ["SPOT"], "uid": 1,
        }  # fmt: skip

    def tell_open(self, asked: dict[str, str]) -> Any:
        only = self.symbol_of(asked) if "symbol" in asked else ""
        return [
            self._row(order)
            for order in self.exchange.working()
            if self.exchange._shows(order) and (not only or order.symbol == only)
        ]

    def tell_order(self, asked: dict[str, str]) -> Any:
        order = self.find(asked.get("orderId", ""), asked.get("origClientOrderId", ""))
        if order.symbol != self.symbol_of(asked):
            raise NotThere("another symbol's")
        return self._row(order)

    def tell_trades(self, asked: dict[str, str]) -> Any:
        symbol = self.symbol_of(asked)
        since = int(asked.get("startTime", 0))
        shown = self.exchange.executions(since * 10**6)
        fills = [fill for fill in shown if fill.symbol == symbol]
        return [self._trade(fill) for fill in fills[: int(asked.get("limit", 500))]]

    # ------------------------------------------------------------ orders

    def take_order(self, asked: dict[str, str]) -> Any:
        order = self._read(asked)
        self._makers.discard(order.order_id)  # ids come back when their orders are over
        self._in_money.pop(order.order_id, None)
        if asked["type"] == _MAKER:
            price = self.exchange.prices[order.symbol]
            limit = Decimal(asked["price"])
            if limit >= price if order.side == "buy" else limit <= price:
                self._refuse(order, "would_match")
            self._makers.add(order.order_id)
        if "quantity" not in asked:
            self._in_money[order.order_id] = Decimal(asked["quoteOrderQty"])
        taken = self.submit(order)
        fills = [f for f in self.exchange.fills if f.order_id == taken.id and f.ts >= taken.ts]
        trades = [self._trade(fill) for fill in fills]
        names = ("price", "qty", "commission", "commissionAsset")
        return {
            **self._row(taken),
            "transactTime": ms(taken.ts),
            "fills": [{**{n: t[n] for n in names}, "tradeId": t["id"]} for t in trades],
        }

    def _read(self, asked: dict[str, str]) -> Submit:
        given = asked.get("type", "")
        kind = "limit" if given == _MAKER else _TYPES.get(given)
        if kind is None:
            raise Said400(-1116, "Invalid orderType.")
        limit, stop, symbol = asked.get("price"), asked.get("stopPrice"), self.symbol_of(asked)
        qty = asked.get("quantity")
        if qty is None and kind == "market" and "quoteOrderQty" in asked:
            lot = Decimal(str(self.exchange.rules[symbol].lot))
            units = Decimal(asked["quoteOrderQty"]) / self.exchange.prices[symbol]
            qty = str(units // lot * lot)
        if qty is None:
            raise Said400(-1102, "Mandatory parameter 'quantity' was not sent.")
        return Submit(
            0,
            0,
            asked.get("newClientOrderId", ""),
            symbol,
            asked["side"].lower(),
            float(qty),
            kind,
            float(limit) if limit else None,
            float(stop) if stop else None,
            asked.get("timeInForce", "GTC").lower(),
        )

    def cancel_all(self, asked: dict[str, str]) -> Any:
        symbol = self.symbol_of(asked)
        orders = [order for order in self.exchange.working() if order.symbol == symbol]
        if not orders:
            raise Said400(-2011, "Unknown order sent.")
        return [self.cancel_order({"orderId": order.venue_id}) for order in orders]

    def change_order(self, asked: dict[str, str]) -> Any:
        """Cancel an order and place another one in its stead, which is what Binance does."""
        told: dict[str, Any] = {"cancelResult": "SUCCESS", "newOrderResult": "SUCCESS"}
        names = {"orderId": "cancelOrderId", "origClientOrderId": "cancelOrigClientOrderId"}
        before = {ours: asked[theirs] for ours, theirs in names.items() if theirs in asked}
        try:
            told["cancelResponse"] = self.cancel_order(before)
        except Refused:
            told["cancelResponse"] = {"code": -2011, "msg": "Unknown order sent."}
            told |= {"cancelResult": "FAILURE", "newOrderResult": "NOT_ATTEMPTED"}
            told["newOrderResponse"] = None
            raise Said400(_NOT_REPLACED, "Order cancel-replace failed.", told) from None
        try:
            told["newOrderResponse"] = self.take_order(asked)
        except (Refused, Said400) as no:
            code, words = (
                (no.code, no.words)
                if isinstance(no, Said400)
                else self.refusals.get(no.code, self.other)
            )
            told["newOrderResponse"] = {"code": code, "msg": words}
            told["newOrderResult"] = "FAILURE"
            raise Said400(_HALF_REPLACED, "Order cancel-replace partially failed.", told) from None
        return told

    def cancel_order(self, asked: dict[str, str]) -> Any:
        order = self.find(asked.get("orderId", ""), asked.get("origClientOrderId", ""))
        self.exchange.cancel(Cancel(0, 0, order.id), order.venue_id)
        return {**self._row(order), "origClientOrderId": _client_id(order)}

    # ------------------------------------------------------------ rows

    def _row(self, order: Working) -> dict[str, Any]:
        return {
            "symbol": self.id_of(order.symbol), "orderId": int(order.venue_id), "orderListId": -1,
            "clientOrderId": _client_id(order), "price": plain(order.limit or 0),
            "origQty": plain(order.qty), "executedQty": plain(order.filled),
            "origQuoteOrderQty": plain(self._in_money.get(order.id, Decimal(0))),
            "cummulativeQuoteQty": plain(order.spent), "status": _status(order),
            "timeInForce": order.tif.upper(), "type": self._type(order),
            "side": "BUY" if order.buys else "SELL", "stopPrice": plain(order.stop or 0),
            "icebergQty": "0.00000000",
            "time": ms(order.ts), "updateTime": ms(order.ts), "isWorking": True,
            "workingTime": ms(order.ts), "selfTradePreventionMode": "EXPIRE_MAKER",
        }  # fmt: skip

    def _type(self, order: Working) -> str:
        return _MAKER if order.id in self._makers else _NAMES[order.type]

    def _trade(self, fill: Fill) -> dict[str, Any]:
        order = self.order_of(fill)
        asset, fee = _fee(fill)
        return {
            "symbol": self.id_of(fill.symbol), "id": int(fill.execution_id.rpartition("-")[2]),
            "orderId": int(order.venue_id), "orderListId": -1, "price": plain(fill.price),
            "qty": plain(fill.executed), "quoteQty": plain(fill.executed * fill.price),
            "commission": plain(fee), "commissionAsset": asset, "time": ms(fill.ts),
            "isBuyer": fill.side == "buy", "isMaker": False, "isBestMatch": True,
        }  # fmt: skip

    # ------------------------------------------------------------ streams

    def is_private(self, path: str) -> bool:
        return "/ws-api/" in path

    def spoken_to(self, socket: Socket, message: Any) -> None:
        number, method = message.get("id"), message.get("method")
        asked = message.get("params") or {}
        if socket.private:
            socket.send(encode(self._begin_private(socket, number, method, asked)))
        elif method == "SUBSCRIBE":
            socket.wants |= set(asked)
            socket.send(encode({"result": None, "id": number}))
        elif method == "UNSUBSCRIBE":
            socket.wants -= set(asked)
            socket.send(encode({"result": None, "id": number}))

    def _begin_private(self, socket: Socket, number: Any, method: Any, asked: Any) -> Any:
        if method != "userDataStream.subscribe.signature":
            return {"id": number, "status": 400, "error": {"code": -1020, "msg": "Unsupported."}}
        told = {name: value for name, value in asked.items() if name != "signature"}
        text = "&".join(f"{name}={told[name]}" for name in sorted(told))
        if self.revoked or told.get("apiKey") != API_KEY or signature(text) != asked["signature"]:
            error = {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}
            return {"id": number, "status": 401, "error": error}
        socket.wants.add("user")
        return {"id": number, "status": 200, "result": {"subscriptionId": 0}}

    def order_news(self, said: OrderUpdate | Fill, order: Working) -> list[str]:
        now = ms(self.exchange.time())
        event = {
            "e": "executionReport", "E": now, "s": self.id_of(order.symbol),
            "c": _client_id(order), "S": "BUY" if order.buys else "SELL", "o": self._type(order),
            "f": order.tif.upper(), "q": plain(order.qty), "p": plain(order.limit or 0),
            "P": plain(order.stop or 0), "F": "0.00000000", "g": -1, "C": "", "x": "TRADE",
            "X": _status(order), "r": "NONE", "i": int(order.venue_id), "l": "0.00000000",
            "z": plain(order.filled), "L": "0.00000000", "n": "0", "N": None, "T": ms(said.ts),
            "t": -1, "I": 1, "w": True, "m": False, "M": False, "O": ms(order.ts),
            "Z": plain(order.spent), "Y": "0.00000000", "Q": "0.00000000",
        }  # fmt: skip
        if isinstance(said, Fill):
            asset, fee = _fee(said)
            event |= {
                "t": int(said.execution_id.rpartition("-")[2]), "l": plain(said.executed),
                "L": plain(said.price), "n": plain(fee), "N": asset,
                "Y": plain(said.executed * said.price),
            }  # fmt: skip
        else:
            event["x"] = _HAPPENS.get(said.what, "NEW")
            if said.what == "canceled":
                event |= {"C": event["c"], "c": f"x{event['i']}"}
        return [encode({"subscriptionId": 0, "event": event})]

    def account_news(self, order: Working) -> list[str]:
        assets = order.symbol.split("/")
        rows = {row["asset"]: row for row in self.tell_account({})["balances"]}
        now = ms(self.exchange.time())
        event = {
            "e": "outboundAccountPosition", "E": now, "u": now,
            "B": [
                {"a": asset, "f": rows[asset]["free"], "l": rows[asset]["locked"]}
                for asset in assets
            ],
        }  # fmt: skip
        return [encode({"subscriptionId": 0, "event": event})]

    def market_news(self, said: Trade | Quote) -> list[tuple[str, str]]:
        name = self.id_of(said.symbol)
        if isinstance(said, Trade):
            event: dict[str, Any] = {
                "e": "trade", "E": ms(said.ts), "s": name, "t": int(said.id),
                "p": plain(said.price), "q": plain(said.size), "T": ms(said.ts), "m": False,
                "M": True,
            }  # fmt: skip
            ticker = f"{name.lower()}@miniTicker"
            told = [(f"{name.lower()}@trade", encode(event))]
            if any(ticker in socket.wants for socket in self.sockets):
                told.append((ticker, self.public.mini_ticker(said.symbol)))
            return told
        event = {
            "u": ms(said.ts), "s": name, "b": plain(said.bid), "B": plain(said.bid_size),
            "a": plain(said.ask), "A": plain(said.ask_size),
        }  # fmt: skip
        change = self.public.change(said)
        books = [(f"{name.lower()}@depth{pace}", change) for pace in ("@100ms", "")]
        return [(f"{name.lower()}@bookTicker", encode(event)), *books]

    def candle_news(self, symbol: str, row: list[Any], *, over: bool) -> tuple[str, str]:
        name, interval = self.id_of(symbol), interval_of(self.candles.timeframe)
        kline = {
            "t": ms(row[0]), "T": ms(row[0] + self.candles.timeframe) - 1, "s": name,
            "i": interval, "f": 1, "L": 1, "o": plain(row[1]), "c": plain(row[4]),
            "h": plain(row[2]), "l": plain(row[3]), "v": plain(row[5]), "n": 1, "x": over,
            "q": plain(row[4] * row[5]), "V": "0", "Q": "0", "B": "0",
        }  # fmt: skip
        event = {"e": "kline", "E": ms(self.exchange.time()), "s": name, "k": kline}
        return f"{name.lower()}@kline_{interval}", encode(event)


def _client_id(order: Working) -> str:
    return order.id or f"web_{order.venue_id}"


def _status(order: Working) -> str:
    if order.status == "open":
        return "PARTIALLY_FILLED" if order.filled else "NEW"
    return _STATUS[order.status]


def _fee(fill: Fill) -> tuple[str, Decimal]:
    """Return the currency of a fee, and how much of it."""
    base, _, quote = fill.symbol.partition("/")
    return (base, Decimal(str(fill.kept))) if fill.kept else (quote, Decimal(str(fill.fee)))


class Binance(VenueProcess):
    """Binance's spot exchange in a process of its own, until it is stopped.

    Args:
        ledger, symbols, timeframe, seed, cash, speed, whole, prices, faults: as of `VenueProcess`.

    Example:
        >>> import regimeflow as rf
        >>> with rf.sandbox.Binance() as exchange:  # doctest: +SKIP
        ...     exchange.venue().connect(print)
    """

    kind = "binance"
    symbols = ("AAA/USDT", "BBB/USDT")

    def venue(self, **how: Any) -> Any:
        """Return `regimeflow.venues.Ccxt` for it; arguments are further ones of that venue."""
        from regimeflow.venues.ccxt import Ccxt

        http, ws = f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}"
        api = {
            "public": f"{http}/api/v3",
            "private": f"{http}/api/v3",
            "ws": {"spot": f"{ws}/stream/ws", "ws-api": {"spot": f"{ws}/ws-api/v3"}},
        }
        # On this machine nobody is crowded out.
        config = {"urls": {"api": api}, "enableRateLimit": False}
        given = {"api_key": API_KEY, "secret_key": SECRET_KEY, "config": config}
        config |= how.pop("config", {})
        return Ccxt("binance", **{**given, **how})


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end by SIGTERM, SIGINT or, where attended, the end of the input."""
    return house.main(
        argv,
        prog="regimeflow sandbox binance",
        make_wire=Server,
        rules=spot_rules,
        defaults={"symbols": ",".join(Binance.symbols)},
    )


if __name__ == "__main__":
    sys.exit(main())
