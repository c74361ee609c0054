"""Bybit's exchange on this machine: a second language, with other habits than Binance's.

``python -m regimeflow.sandbox.bybit --symbols AAA/USDT,BBB/USDT`` prints its ports; with symbols
such as AAA/USDT:USDT it trades linear swaps (`regimeflow.sandbox.bybit_linear`). Here every
answer has the status 200 and says inside what is wrong; an order's answer tells its id and nothing
of its fills; an order id is taken for ever; lists come newest first and by pages; orders and
executions are two topics of one stream; fees are taken from what was received.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from aiohttp import web

from regimeflow.errors import ConfigError
from regimeflow.model.events import Cancel, Fill, OrderUpdate, Submit
from regimeflow.model.market import Quote, Trade
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.sandbox import house
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
    contract_rules,
    encode,
    ms,
    pair_of,
    plain,
    signature,
    spot_rules,
)

_KINDS: Mapping[tuple[str, str], str] = {
    ("POST", "order/create"): "submit",
    ("POST", "order/cancel"): "cancel",
    ("GET", "order/realtime"): "open_orders",
    ("GET", "order/history"): "order",
    ("GET", "execution/list"): "executions",
    ("GET", "account/wallet-balance"): "positions",
    ("GET", "position/list"): "positions",
    ("GET", "market/instruments-info"): "instruments",
    ("GET", "market/kline"): "history",
    ("GET", "market/time"): "time",
}
_OPEN = frozenset({"market/time", "market/instruments-info", "market/kline", "market/tickers"})
_ENDS = {
    "filled": "Filled",
    "canceled": "Cancelled",
    "rejected": "Rejected",
}
_REFUSALS = {
    "duplicate_order_id": (170141, "Duplicate clientOrderId."),
    "no_money": (170131, "Insufficient balance."),
    "too_small": (170140, "Order value exceeded lower limit."),
    "bad_qty": (170137, "Order quantity has too many decimals."),
    "bad_price": (170134, "Order price has too many decimals."),
    "bad_tif": (170115, "Invalid timeInForce."),
    "order_over": (170142, "Order has been canceled."),
    "unknown_symbol": (10001, "Not supported symbols"),
}


class Server(SpotWire):
    """Bybit's language, of its spot markets."""

    api = "/v5/"
    kinds: ClassVar[Mapping[tuple[str, str], str]] = _KINDS
    category = "spot"
    refusals = _REFUSALS
    unknown = (170213, "Order does not exist.")
    other = (170210, "New order rejected.")

    def __init__(self, house_: House) -> None:
        super().__init__(house_)
        self.exchange.expires = False

    # ------------------------------------------------------------ requests

    def answers(self) -> Mapping[tuple[str, str], Answerer]:
        return {
            ("GET", "market/time"): self.tell_time,
            ("GET", "market/instruments-info"): self.tell_rules,
            ("GET", "market/kline"): self.tell_candles,
            ("GET", "market/tickers"): self.tell_tickers,
            ("GET", "account/wallet-balance"): self.tell_account,
            ("GET", "order/realtime"): self.tell_open,
            ("GET", "order/history"): self.tell_history,
            ("GET", "execution/list"): self.tell_trades,
            ("POST", "order/create"): self.take_order,
            ("POST", "order/cancel"): self.cancel_order,
        }

    def no(self, refusal: Said400) -> tuple[int, Any]:
        said = {"retCode": refusal.code, "retMsg": refusal.words, "result": {}, "retExtInfo": {}}
        return 200, {**said, "time": ms(self.exchange.time())}

    def busy(self) -> Any:
        return self.no(Said400(10006, "Too many visits. Exceeded the API Rate Limit."))[1]

    def unsupported(self, method: str, path: str) -> Said400:
        return Said400(10001, f"Request parameter error: {method} {path}")

    def unknown_order(self, method: str) -> Said400:
        return Said400(*self.unknown)

    def fine(self, result: Any) -> Any:
        return {
            "retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {},
            "time": ms(self.exchange.time()),
        }  # fmt: skip

    def check(self, method: str, name: str, asked: dict[str, str], request: web.Request) -> None:
        if asked.get("category", self.category) != self.category:
            raise self.unsupported(method, name)
        if name in _OPEN:
            return
        headers = request.headers
        if self.revoked or headers.get("X-BAPI-API-KEY") != API_KEY:
            raise Said400(10003, "API key is invalid.")
        sent = request.query_string
        if method == "POST":
            sent = str(request._read_bytes or b"", "utf-8")
        at, window = headers["X-BAPI-TIMESTAMP"], headers["X-BAPI-RECV-WINDOW"]
        if signature(at + API_KEY + window + sent) != headers.get("X-BAPI-SIGN"):
            raise Said400(10004, "Error sign, please check your signature generation algorithm.")
        late_ms = ms(self.exchange.time()) + float(asked.get("_skew_ms", 0)) - int(at)
        if not -1_000 <= late_ms <= int(window):
            raise Said400(10002, "invalid request, please check your server timestamp")

    # ------------------------------------------------------------ questions

    def tell_time(self, asked: dict[str, str]) -> Any:
        now = self.exchange.time() + int(float(asked.get("_skew_ms", 0)) * 1e6)
        return {"timeSecond": str(now // NS_PER_SECOND), "timeNano": str(now)}

    def tell_rules(self, asked: dict[str, str]) -> Any:
        rows = []
        for name, symbol in self.symbols.items():
            rules = self.exchange.rules[symbol]
            base, quote = pair_of(symbol)
            lots = {
                "basePrecision": plain(rules.lot), "quotePrecision": "0.00000001",
                "minOrderQty": plain(rules.min_qty), "maxOrderQty": "9000000",
                "minOrderAmt": plain(rules.min_notional), "maxOrderAmt": "9000000",
            }  # fmt: skip
            rows.append(
                {
                    "symbol": name,
                    "baseCoin": base,
                    "quoteCoin": quote,
                    "innovation": "0",
                    "status": "Trading",
                    "marginTrading": "none",
                    "lotSizeFilter": lots,
                    "priceFilter": {"tickSize": plain(rules.tick)},
                }
            )
        return {"category": self.category, "list": rows, "nextPageCursor": ""}

    def tell_candles(self, asked: dict[str, str]) -> Any:
        symbol = self.symbol_of(asked)
        if asked.get("interval") != str(self.candles.timeframe // (60 * NS_PER_SECOND)):
            raise Said400(10001, "Invalid period!")
        since, until = int(asked.get("start", 0)), int(asked.get("end", 2**62))
        rows = self.candles.asked(symbol, since, until, int(asked.get("limit", 200)))
        told = [[str(ms(r[0])), *map(plain, r[1:6]), plain(r[4] * r[5])] for r in reversed(rows)]
        return {"symbol": self.id_of(symbol), "category": self.category, "list": told}

    def tell_tickers(self, asked: dict[str, str]) -> Any:
        rows = []
        for name, symbol in self.symbols.items():
            price = self.exchange.prices[symbol]
            tick = Decimal(str(self.exchange.rules[symbol].tick))
            rows.append(
                {
                    "symbol": name,
                    "lastPrice": plain(price),
                    "bid1Price": plain(price - tick),
                    "bid1Size": "100",
                    "ask1Price": plain(price + tick),
                    "ask1Size": "100",
                    "prevPrice24h": plain(price),
                    "price24hPcnt": "0",
                    "volume24h": "0",
                    "highPrice24h": plain(price),
                    "lowPrice24h": plain(price),
                    "turnover24h": "0",
                }
            )
        return {"category": self.category, "list": rows}

    def tell_account(self, asked: dict[str, str]) -> Any:
        exchange = self.exchange
        quotes = {pair_of(symbol)[1] for symbol in exchange.rules}
        held = [(quote, exchange.cash, self.locked_cash()) for quote in sorted(quotes)]
        for symbol in exchange.rules:
            units = exchange.held.get(symbol, Decimal(0))
            held.append((pair_of(symbol)[0], units, self.locked(symbol)))
        coins = [
            {"coin": coin, "walletBalance": plain(all_), "locked": plain(locked),
             "equity": plain(all_), "totalOrderIM": "0", "totalPositionIM": "0"}
            for coin, all_, locked in held
        ]  # fmt: skip
        return {"list": [{"accountType": "UNIFIED", "coin": coins}]}

    def tell_open(self, asked: dict[str, str]) -> Any:
        named = asked.get("orderId") or asked.get("orderLinkId")
        if named:
            return self._page(self._named(asked, self.exchange.working()), asked)
        return self._page([o for o in self.exchange.working() if self.exchange._shows(o)], asked)

    def tell_history(self, asked: dict[str, str]) -> Any:
        over = [order for order in self.exchange.orders.values() if order.status != "open"]
        return self._page(self._named(asked, over), asked)

    def _named(self, asked: dict[str, str], orders: Sequence[Working]) -> list[Working]:
        venue_id, own = asked.get("orderId", ""), asked.get("orderLinkId", "")
        found = [
            o for o in orders if (venue_id and o.venue_id == venue_id) or (own and o.id == own)
        ]
        return [order for order in found if self.exchange._shows(order)]

    def _page(self, orders: list[Working], asked: dict[str, str]) -> Any:
        """Return one page, newest first, and where the next one begins."""
        first, limit = int(asked.get("cursor") or 0), int(asked.get("limit") or 20)
        rows = list(reversed(orders))[first : first + limit]
        after = first + limit
        cursor = str(after) if after < len(orders) else ""
        return {
            "category": self.category, "nextPageCursor": cursor,
            "list": [self.row(order) for order in rows],
        }  # fmt: skip

    def tell_trades(self, asked: dict[str, str]) -> Any:
        symbol = self.symbol_of(asked)
        since, until = span(asked)
        fills = [
            self.execution(fill)
            for fill in self.exchange.executions(since * 10**6)
            if fill.symbol == symbol and ms(fill.ts) <= until
        ]
        return self.newest(fills, asked)

    def newest(self, rows: Sequence[Any], asked: dict[str, str]) -> Any:
        """Return the newest rows of a list, as many as were asked for."""
        told = list(reversed(rows))[: int(asked.get("limit", 50))]
        return {"category": self.category, "nextPageCursor": "", "list": told}

    # ------------------------------------------------------------ orders

    def take_order(self, asked: dict[str, str]) -> Any:
        market_buy = asked.get("orderType") == "Market" and asked["side"] == "Buy"
        if market_buy and asked.get("marketUnit") != "baseCoin":
            raise Said400(170124, "Order amount too large.")  # it would buy for so much money
        return self.taken(asked)

    def taken(self, asked: dict[str, str]) -> Any:
        """Take an order as it is asked for."""
        kind = asked.get("orderType", "").lower()
        order = Submit(
            0,
            0,
            asked.get("orderLinkId", ""),
            self.symbol_of(asked),
            asked["side"].lower(),
            float(asked["qty"]),
            kind,
            float(asked["price"]) if kind == "limit" else None,
            None,
            asked.get("timeInForce", "GTC").lower(),
            reduce_only=asked.get("reduceOnly") == "True",
        )
        taken = self.submit(order)
        return {"orderId": taken.venue_id, "orderLinkId": taken.id}

    def cancel_order(self, asked: dict[str, str]) -> Any:
        order = self.find(asked.get("orderId", ""), asked.get("orderLinkId", ""))
        self.exchange.cancel(Cancel(0, 0, order.id), order.venue_id)
        return {"orderId": order.venue_id, "orderLinkId": order.id}

    # ------------------------------------------------------------ rows

    def row(self, order: Working) -> dict[str, Any]:
        """Return an order as Bybit shows it."""
        status = "PartiallyFilled" if order.filled else "New"
        if order.status != "open":
            status = _ENDS[order.status]
            if status == "Cancelled" and order.filled:
                status = "PartiallyFilledCanceled"
        average = order.spent / order.filled if order.filled else Decimal(0)
        return {
            "category": self.category, "symbol": self.id_of(order.symbol),
            "orderId": order.venue_id, "orderLinkId": order.id,
            "side": "Buy" if order.buys else "Sell",
            "orderType": order.type.capitalize(), "price": plain(order.limit or 0),
            "qty": plain(order.qty), "marketUnit": "baseCoin", "orderStatus": status,
            "cumExecQty": plain(order.filled), "cumExecValue": plain(order.spent),
            "leavesQty": plain(order.left), "avgPrice": plain(average),
            "timeInForce": order.tif.upper(), "createdTime": str(ms(order.ts)),
            "updatedTime": str(ms(order.ts)), "rejectReason": "EC_NoError",
        }  # fmt: skip

    def execution(self, fill: Fill) -> dict[str, Any]:
        """Return an execution as Bybit shows it."""
        order = self.order_of(fill)
        base, quote = pair_of(fill.symbol)
        return {
            "category": self.category, "symbol": self.id_of(fill.symbol),
            "orderId": order.venue_id,
            "orderLinkId": order.id, "side": "Buy" if order.buys else "Sell",
            "execId": fill.execution_id.rpartition("-")[2], "execPrice": plain(fill.price),
            "execQty": plain(fill.executed), "execValue": plain(fill.executed * fill.price),
            "execType": "Trade", "execFee": plain(fill.kept or fill.fee), "feeRate": "0.0001",
            "feeCurrency": base if fill.kept else quote, "isMaker": False,
            "orderType": order.type.capitalize(), "execTime": str(ms(fill.ts)), "isLeverage": "0",
        }  # fmt: skip

    # ------------------------------------------------------------ streams

    def is_private(self, path: str) -> bool:
        return path.endswith("/private")

    def spoken_to(self, socket: Socket, message: Any) -> None:
        what, args = message.get("op"), message.get("args") or []
        answer = {"success": True, "ret_msg": "", "op": what, "conn_id": "1"}
        if "req_id" in message:
            answer["req_id"] = message["req_id"]
        if what == "ping":
            answer["ret_msg"] = "pong"
        elif what == "auth":
            key, expires, signed = args
            if self.revoked or key != API_KEY or signature(f"GET/realtime{expires}") != signed:
                answer |= {"success": False, "ret_msg": "error:USVC1111", "request": {"op": "auth"}}
        elif what == "subscribe":
            socket.wants |= set(args)
        elif what == "unsubscribe":
            socket.wants -= set(args)
        socket.send(encode(answer))

    def order_news(self, said: OrderUpdate | Fill, order: Working) -> list[str]:
        now = ms(self.exchange.time())
        message: dict[str, Any] = {"id": f"m{now}", "creationTime": now}
        told = [{**message, "topic": "order", "data": [self.row(order)]}]
        if isinstance(said, Fill):
            told.append({**message, "topic": "execution", "data": [self.execution(said)]})
        return [encode(one) for one in told]

    def market_news(self, said: Trade | Quote) -> list[tuple[str, str]]:
        name, at = self.id_of(said.symbol), ms(said.ts)
        message: dict[str, Any] = {"type": "snapshot", "ts": at}
        if isinstance(said, Trade):
            topic = f"publicTrade.{name}"
            row = {
                "T": at, "s": name, "S": "Buy", "v": plain(said.size), "p": plain(said.price),
                "i": said.id, "BT": False,
            }  # fmt: skip
            return [(topic, encode({**message, "topic": topic, "data": [row]}))]
        topic = f"orderbook.1.{name}"
        book = {
            "s": name, "b": [[plain(said.bid), plain(said.bid_size)]],
            "a": [[plain(said.ask), plain(said.ask_size)]], "u": 1, "seq": at,
        }  # fmt: skip
        return [(topic, encode({**message, "topic": topic, "cts": at, "data": book}))]

    def candle_news(self, symbol: str, row: list[Any], *, over: bool) -> tuple[str, str]:
        name, interval = self.id_of(symbol), str(self.candles.timeframe // (60 * NS_PER_SECOND))
        topic, now = f"kline.{interval}.{name}", ms(self.exchange.time())
        candle = {
            "start": ms(row[0]), "end": ms(row[0] + self.candles.timeframe) - 1,
            "interval": interval, "open": plain(row[1]), "close": plain(row[4]),
            "high": plain(row[2]), "low": plain(row[3]), "volume": plain(row[5]),
            "turnover": plain(row[4] * row[5]), "confirm": over, "timestamp": now,
        }  # fmt: skip
        told = {"type": "snapshot", "topic": topic, "ts": now, "data": [candle]}
        return topic, encode(told)


def span(asked: dict[str, str]) -> tuple[int, int]:
    """Return from when and until when rows are asked for, milliseconds."""
    since, until = int(asked.get("startTime", 0)), int(asked.get("endTime", 2**62))
    if "startTime" in asked and "endTime" in asked and until - since > 7 * 86_400_000:
        raise Said400(10001, "The time range between startTime and endTime exceeds 7 days.")
    return since, until


class Bybit(VenueProcess):
    """Bybit's exchange in a process of its own, until it is stopped.

    With symbols such as AAA/USDT:USDT it trades linear swaps, else spot pairs; not both.

    Args:
        ledger, symbols, timeframe, seed, cash, speed, whole, prices, faults: as of `VenueProcess`;
            bars are of whole minutes.

    Example:
        >>> import regimeflow as rf
        >>> with rf.sandbox.Bybit(timeframe="1min") as exchange:  # doctest: +SKIP
        ...     exchange.venue().connect(print)
    """

    kind = "bybit"
    symbols = ("AAA/USDT", "BBB/USDT")

    def venue(self, **how: Any) -> Any:
        """Return `regimeflow.venues.Ccxt` for it; arguments are further ones of that venue."""
        from regimeflow.venues.ccxt import Ccxt

        http, ws = f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}"
        api = {
            "public": http,
            "private": http,
            "ws": {
                "public": {kind: f"{ws}/v5/public/{kind}" for kind in ("spot", "linear")},
                "private": {"contract": f"{ws}/v5/private"},
            },
        }
        # On this machine nobody is crowded out.
        config = {"urls": {"api": api}, "enableRateLimit": False} | how.pop("config", {})
        given = {"api_key": API_KEY, "secret_key": SECRET_KEY, "config": config}
        given["market"] = "swap" if ":" in self.symbols[0] else "spot"
        return Ccxt("bybit", **{**given, **how})


def _speaks(house_: House) -> Server:
    """Return the language of what the house trades."""
    contracts = {":" in symbol for symbol in house_.exchange.rules}
    if len(contracts) > 1:
        raise ConfigError("this venue trades spot pairs or swaps, not both")
    from regimeflow.sandbox.bybit_linear import LinearServer

    return LinearServer(house_) if contracts.pop() else Server(house_)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end by SIGTERM, SIGINT or, where attended, the end of the input."""
    return house.main(
        argv,
        prog="regimeflow sandbox bybit",
        make_wire=_speaks,
        rules=lambda symbol: contract_rules(symbol) if ":" in symbol else spot_rules(symbol),
        defaults={"symbols": ",".join(Bybit.symbols), "timeframe": "1min"},
    )


if __name__ == "__main__":
    sys.exit(main())
