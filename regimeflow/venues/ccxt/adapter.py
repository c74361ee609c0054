"""The adapter: ccxt's client on a loop and thread of its own, translated."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from regimeflow.environment import look_up, read_dotenv
from regimeflow.errors import ConfigError, NotThere, Refused, VenueError
from regimeflow.model.events import Cancel, Fill, Replace, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import History
from regimeflow.model.timeframe import NS_PER_MS, NS_PER_SECOND, format_timeframe
from regimeflow.redaction import Redactor, Secret
from regimeflow.venues.ccxt import translate
from regimeflow.venues.ccxt.client import URGENT, known_class, make, settled
from regimeflow.venues.ccxt.habits import habits_of
from regimeflow.venues.ccxt.outcomes import translated
from regimeflow.venues.ccxt.streams import Streams
from regimeflow.venues.histories import Histories
from regimeflow.venues.keys import secrets_of
from regimeflow.venues.loop_thread import LoopThread
from regimeflow.venues.port import (
    Ack,
    Balances,
    Capabilities,
    Disconnected,
    Emit,
    Garbled,
    Holding,
    VenueOrder,
)

#: ccxt's names of secrets -> ours.
_SECRETS = {"apiKey": "api_key", "secret": "secret_key", "password": "password"}
#: Names of orders that are kept, so that their exchange ids and symbols are known.
_REMEMBERED = 20_000
#: Answers of one question for executions that are put together at most.
_MOST_PAGES = 1_000
#: Pages without a candle after which there are none: whoever asks from 1970 on gets an answer, too.
_MOST_EMPTY = 50
_PRICE_AGE_S = 60.0


class Ccxt(Histories):
    """An exchange that ccxt knows: its spot markets.

    Args:
        exchange_id: ccxt's name of it, such as "binance" or "bybit".
        paper: whether the exchange's own paper venue is used; real money else.
        api_key, secret_key, password: what the exchange has given. Left out, they come from
            ``BINANCE_API_KEY`` and so on, files that ``BINANCE_API_KEY_FILE`` names, or ``.env``.
            Without keys there are market data and no account.
        config: merged into ccxt's own settings, such as ``{"urls": {"api": {...}}}``.
        timeout_ms: how long an answer is waited for.
        settle_ms: how long after an order was sent the exchange may still not show it.

    Raises:
        ConfigError: ``paper`` and the addresses do not go together; the exchange is not known.
        MissingExtra: ccxt is not installed.

    Example:
        >>> import regimeflow as rf
        >>> rf.venues.Ccxt("binance")
        <Ccxt binance, paper, no keys>
    """

    calendar = ""

    def __init__(
        self,
        exchange_id: str,
        *,
        paper: bool = True,
        api_key: str | Secret | None = None,
        secret_key: str | Secret | None = None,
        password: str | Secret | None = None,
        config: dict[str, Any] | None = None,
        timeout_ms: float = 10_000.0,
        settle_ms: float = 5_000.0,
    ) -> None:
        if not timeout_ms > 0:
            raise ConfigError(f"timeout_ms must be positive, got {timeout_ms!r}")
        known_class(exchange_id)
        self.name = exchange_id
        self.paper = bool(paper)
        self.habits = habits_of(exchange_id)
        plain = {key: value for key, value in (config or {}).items() if key not in _SECRETS}
        given = {"api_key": api_key, "secret_key": secret_key, "password": password}
        for theirs, ours in _SECRETS.items():
            given[ours] = given[ours] or (config or {}).get(theirs)
        self._secrets = secrets_of(exchange_id, **given)
        wanted = _from_outside(exchange_id, plain)
        self._config = settled(exchange_id, self.paper, wanted)
        self._config.setdefault("timeout", int(timeout_ms))
        self._timeout_s = timeout_ms / 1e3
        self.capabilities = _capabilities(exchange_id, settle_ms)
        self._forget()

    def _forget(self) -> None:
        """Begin without a connection, and without anything learned."""
        self._open: _Connection | None = None
        self._symbols: dict[str, None] = {}
        self._names: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._venue_ids: OrderedDict[str, str] = OrderedDict()
        self._worth: dict[str, tuple[float, float]] = {}
        self._unpriced: set[str] = set()

    def __repr__(self) -> str:
        keys = "with keys" if self._secrets.get("api_key") else "no keys"
        return f"<Ccxt {self.name}, {'paper' if self.paper else 'real money'}, {keys}>"

    def __getstate__(self) -> dict[str, Any]:
        if self._open is not None:
            raise TypeError("a venue that is connected cannot be copied")
        return dict(self.__dict__)

    # ------------------------------------------------------------ connection

    def connect(self, emit: Emit) -> None:
        """Read the markets and, with keys, open the streams of our own orders and executions."""
        self.close()
        opened = _Connection(self, emit)
        self._open = opened
        try:
            opened.run(opened.begin(bool(self._secrets.get("api_key"))), self._timeout_s * 2)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the client and end its thread; nothing is emitted afterwards."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()

    def _ask(
        self,
        question: Callable[[Any], Coroutine[Any, Any, Any]],
        *,
        urgent: bool = False,
    ) -> Any:
        """Ask over the connection, once."""
        opened = self._open
        if opened is None:
            raise VenueError(f"there is no connection to {self.name}")
        return opened.run(question(opened.client), self._timeout_s * 1.5, urgent=urgent)

    def _needs_keys(self) -> None:
        if not self._secrets.get("api_key"):
            raise Refused(f"{self.name} was given no keys, so there is no account", code="no_keys")

    # ------------------------------------------------------------ market data

    def subscribe(self, symbols: Sequence[str], timeframe: int) -> None:
        """Begin the stream of market data, or begin it anew."""
        opened = self._open
        if opened is None:
            raise VenueError(f"there is no connection to {self.name}")
        for symbol in symbols:
            self._market(opened.client, symbol)
        name = self._timeframe(opened.client, timeframe) if timeframe else ""
        opened.run(opened.streams.subscribe(tuple(symbols), timeframe, name), self._timeout_s)

    def past(self, symbol: str, timeframe: int, start: int, end: int) -> History:
        """Return the closed bars of one series that close after ``start`` and up to ``end``."""
        opened = self._open
        if opened is not None:
            return self._past_over(opened, symbol, timeframe, start, end)
        visit = _Connection(self, lambda said: None)
        try:
            visit.run(visit.begin(False), self._timeout_s * 2)
            return self._past_over(visit, symbol, timeframe, start, end)
        finally:
            visit.close()

    def _past_over(
        self, way: _Connection, symbol: str, timeframe: int, start: int, end: int
    ) -> History:
        work = self._past(way.client, symbol, timeframe, start, end)
        told: History = way.run(work, self._timeout_s * 6)
        return told

    async def _past(
        self, client: Any, symbol: str, timeframe: int, start: int, end: int
    ) -> History:
        self._market(client, symbol)
        name = self._timeframe(client, timeframe)
        until = min(end, await self._now(client))
        rows: dict[int, list[float]] = {}
        page = self.capabilities.history_page
        since, empty = max(0, start - timeframe + 1), 0
        while since + timeframe <= until and empty < _MOST_EMPTY:
            told = await client.fetch_ohlcv(symbol, name, -(-since // NS_PER_MS), page)
            bars = [translate.bar(symbol, timeframe, row) for row in told]
            for bar in bars:
                if start < bar.ts <= until:
                    rows[bar.ts] = [bar.open, bar.high, bar.low, bar.close, bar.volume]
            last = max((bar.ts for bar in bars), default=0)
            # What was never traded leaves a hole: an empty page is not the end.
            since = last if last > since else since + page * timeframe
            empty = 0 if last else empty + 1
        times = sorted(rows)
        o, h, l, c, v = ([rows[ts][place] for ts in times] for place in range(5))  # noqa: E741
        return History(end, 0, symbol, timeframe, times, o, h, l, c, v)

    def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        """Return the trading rules of symbols."""
        opened = self._open
        if opened is None:
            raise VenueError(f"there is no connection to {self.name}")
        markets = [self._market(opened.client, symbol) for symbol in symbols]
        quotes = sorted({market["quote"] for market in markets})
        if len(quotes) > 1:
            raise Refused(
                f"a session counts in one currency, and {', '.join(symbols)} are quoted in "
                f"{' and '.join(quotes)}",
                code="two_currencies",
            )
        return [translate.instrument(m, lambda p: _step(opened.client, p)) for m in markets]

    def time(self) -> int:
        """Return the exchange's clock, UTC nanoseconds."""
        return int(self._ask(self._now))

    async def _now(self, client: Any) -> int:
        if not client.has.get("fetchTime"):
            return time.time_ns()
        before = time.time_ns()
        told = await client.fetch_time()
        now = translate.nanoseconds(told)
        if not now:
            raise VenueError(f"{self.name} did not tell the time")
        if self._open is not None:
            self._open.streams.skew_ns = now - (before + time.time_ns()) // 2
        return now

    # ------------------------------------------------------------ orders

    def submit(self, order: Submit) -> Ack:
        """Send an order: one request, never a second one."""
        self._needs_keys()
        return self._ask(lambda client: self._submit(client, order), urgent=True)  # type: ignore[no-any-return]

    async def _submit(self, client: Any, order: Submit) -> Ack:
        market = self._market(client, order.symbol)
        self._check(client, market, order)
        self._learn(order.order_id, "", order.symbol)
        kind = "market" if order.limit is None else "limit"
        params: dict[str, Any] = {"clientOrderId": order.order_id}
        if kind == "limit" and order.tif != "gtc":
            params["timeInForce"] = order.tif.upper()
        if order.stop is not None:
            params["triggerPrice"] = _exact(order.stop)
        limit = None if order.limit is None else _exact(order.limit)
        answer = await client.create_order(
            order.symbol, kind, order.side, _exact(order.qty), limit, params
        )
        venue_id = translate.text(answer.get("id"), "the id of the order that was sent")
        self._learn(order.order_id, venue_id, order.symbol)
        ts = translate.nanoseconds(answer.get("timestamp"), answer.get("lastUpdateTimestamp"))
        return Ack(venue_id, ts)

    def _check(self, client: Any, market: dict[str, Any], order: Submit) -> None:
        """Refuse what ccxt would round to something else, or send as something else."""
        able = self.capabilities
        if order.type not in able.order_types:
            raise Refused(f"{self.name} takes no {order.type!r} orders", code="bad_type")
        if order.tif not in able.tifs or (order.limit is None and order.tif != "gtc"):
            raise Refused(
                f"{self.name} takes no {order.type} orders with the time in force {order.tif!r}",
                code="bad_tif",
            )
        self._on_grid(client, market, "amount", order.qty)
        for price in (order.limit, order.stop):
            if price is not None:
                self._on_grid(client, market, "price", price)

    def _on_grid(self, client: Any, market: dict[str, Any], what: str, value: float) -> None:
        step = Decimal(repr(_step(client, market["precision"].get(what))))
        if not (math.isfinite(value) and value > 0.0) or Decimal(repr(float(value))) % step:
            word, code = ("a quantity", "bad_qty") if what == "amount" else ("a price", "bad_price")
            raise Refused(
                f"{value!r} is not {word} of {market['symbol']}: its step is {step}", code=code
            )

    def cancel(self, request: Cancel, venue_order_id: str) -> None:
        """Ask to cancel."""
        self._needs_keys()
        self._ask(
            lambda client: self._cancel(client, request.order_id, venue_order_id), urgent=True
        )

    async def _cancel(self, client: Any, order_id: str, venue_id: str) -> None:
        symbol, venue_id = await self._place(client, order_id, venue_id)
        await client.cancel_order(venue_id or None, symbol, self._by(order_id, venue_id))

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        """Refuse: exchanges of ccxt change an order by another one, under another id."""
        raise Refused(f"{self.name} changes no orders: cancel it and send another")

    # ------------------------------------------------------------ questions

    def open_orders(self) -> list[VenueOrder]:
        """Return all working orders of the account."""
        self._needs_keys()
        return self._ask(self._open_orders)  # type: ignore[no-any-return]

    async def _open_orders(self, client: Any) -> list[VenueOrder]:
        page = self.habits.orders_page
        rows = await client.fetch_open_orders(None, None, page or None)
        if page and len(rows) >= page:
            rows = await self._all_open(client, rows, page)
        return [self._row(row) for row in rows]

    async def _all_open(self, client: Any, rows: list[Any], page: int) -> list[Any]:
        """Return the rows of all pages."""
        found = {row["id"]: row for row in rows}
        for _ in range(_MOST_PAGES):
            raw = [row.get("info") or {} for row in rows]
            cursor = next((r["nextPageCursor"] for r in raw if r.get("nextPageCursor")), None)
            if cursor is None:
                return list(found.values())
            rows = await client.fetch_open_orders(None, None, page, {"cursor": cursor})
            found |= {row["id"]: row for row in rows}
        raise VenueError(f"{self.name} lists more open orders than can be read")

    def order(self, order_id: str, venue_order_id: str = "") -> VenueOrder:
        """Return one order, working or over."""
        self._needs_keys()
        return self._ask(lambda client: self._order(client, order_id, venue_order_id))  # type: ignore[no-any-return]

    async def _order(self, client: Any, order_id: str, venue_order_id: str) -> VenueOrder:
        symbol, venue_id = self._known_place(order_id, venue_order_id)
        places = [symbol] if symbol else await self._traded(client)
        last: Refused | None = None
        for place in places:
            try:
                row = await self._looked_for(client, order_id, venue_id, place)
            except Exception as error:
                last = _not_there(self._translated(error))
            else:
                return self._row(row)
        if last is None:
            raise VenueError(f"nobody has said which symbol order {order_id} is of")
        raise last

    def _by(self, order_id: str, venue_id: str) -> dict[str, Any]:
        """Return how an order is named: the exchange's own id is never used twice."""
        return {} if venue_id else {self.habits.id_name: order_id}

    async def _looked_for(
        self, client: Any, order_id: str, venue_id: str, symbol: str
    ) -> dict[str, Any]:
        """Return one order as ccxt has it."""
        if not self.habits.listed:
            found = await client.fetch_order(venue_id or None, symbol, self._by(order_id, venue_id))
            return dict(found)
        named = {"orderId": venue_id} if venue_id else self._by(order_id, "")
        for ask in (client.fetch_open_orders, client.fetch_canceled_and_closed_orders):
            for row in await ask(symbol, None, None, named):
                if (row["id"] == venue_id) if venue_id else (row["clientOrderId"] == order_id):
                    return dict(row)
        raise NotThere(f"{self.name} lists no order {order_id or venue_id}", code="not_there")

    async def _place(self, client: Any, order_id: str, venue_id: str) -> tuple[str, str]:
        """Return the symbol and the exchange's id of an order, asking for them where need be."""
        symbol, venue_id = self._known_place(order_id, venue_id)
        if symbol:
            return symbol, venue_id
        row = await self._order(client, order_id, venue_id)
        return row.symbol, row.venue_order_id

    def _known_place(self, order_id: str, venue_id: str) -> tuple[str, str]:
        """Return the symbol and the exchange's id of an order, "" for what was never told."""
        order_id = order_id or self._venue_ids.get(venue_id, "")
        symbol, known = self._names.get(order_id, ("", ""))
        return symbol, venue_id or known

    def executions(self, since: int) -> list[Fill]:
        """Return executions from ``since`` on (UTC nanoseconds), oldest first."""
        self._needs_keys()
        return self._ask(lambda client: self._executions(client, since))  # type: ignore[no-any-return]

    async def _executions(self, client: Any, since: int) -> list[Fill]:
        found: dict[str, Fill] = {}
        for symbol in await self._traded(client):
            for row in await self._trades(client, symbol, max(0, since) // NS_PER_MS):
                made = await self._fill(client, row)
                if made.ts >= since:
                    found[made.execution_id] = made
        fills = sorted(found.values(), key=lambda fill: (fill.ts, fill.execution_id))
        if self._open is not None:
            self._open.streams.told_by_asking(fills)
        return fills

    async def _trades(self, client: Any, symbol: str, since_ms: int) -> list[dict[str, Any]]:
        """Return all trades of ours in one symbol, page by page and window by window."""
        page, window = self.habits.trades_page, self.habits.trades_window_ms
        now_ms = client.milliseconds() + 60_000
        rows: dict[str, dict[str, Any]] = {}
        if window:  # nothing older is kept than two years; and no session looks back so far
            since_ms = max(since_ms, now_ms - 100 * window)
        for _ in range(_MOST_PAGES):
            until = min(now_ms, since_ms + window) if window else None
            first = since_ms
            while True:
                params = {"until": until} if until else {}
                told = await client.fetch_my_trades(symbol, first, page, params)
                before = len(rows)
                rows |= {str(row["id"]): row for row in told}
                if len(told) < page:
                    break
                if len(rows) == before:
                    raise VenueError(f"{self.name} lists more executions of one moment than a page")
                times = [int(row["timestamp"]) for row in told]
                if self.habits.newest_first:
                    until = min(times)
                else:
                    first = max(times)
            if not window or since_ms + window >= now_ms:
                return list(rows.values())
            since_ms += window
        raise VenueError(f"{self.name} lists more executions than can be read")

    def positions(self) -> list[Holding]:
        """Return everything held on the account but its money."""
        self._needs_keys()
        return self._ask(self._positions)  # type: ignore[no-any-return]

    async def _positions(self, client: Any) -> list[Holding]:
        money = self._money(client)
        held = await self._held(client)
        return [
            Holding(self._symbol_of(client, asset, money), qty)
            for asset, qty in sorted(held.items())
            if asset != money and qty
        ]

    async def _held(self, client: Any) -> dict[str, float]:
        return self._totals(await client.fetch_balance())

    def _totals(self, answer: dict[str, Any]) -> dict[str, float]:
        told = answer.get("total")
        if not isinstance(told, dict) or not told:
            # An account that can trade has money: nothing at all is no answer.
            raise VenueError(f"{self.name} did not tell what is held")
        return {str(a): translate.number(q, f"units of {a}") for a, q in told.items()}

    def balances(self) -> Balances:
        """Return the money on the account, in the currency that the symbols are quoted in."""
        self._needs_keys()
        return self._ask(self._balances)  # type: ignore[no-any-return]

    async def _balances(self, client: Any) -> Balances:
        money = self._money(client)
        told = await client.fetch_balance()
        held = self._totals(told)
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

    # ------------------------------------------------------------ what is known of names

    def _market(self, client: Any, symbol: str) -> dict[str, Any]:
        """Return ccxt's market of a symbol, and remember that it is one of ours."""
        market = client.markets.get(symbol)
        if market is None:
            raise Refused(f"{self.name} has no market {symbol}", code="unknown_symbol")
        if not market.get("spot"):
            raise Refused(
                f"{symbol} is a contract: what it pays and costs besides trades cannot be booked, "
                "so only spot markets are traded",
                code="not_spot",
            )
        self._symbols[symbol] = None
        found: dict[str, Any] = market
        return found

    async def _traded(self, client: Any) -> list[str]:
        """Return the symbols that anything was asked of; else those of what is held."""
        if self._symbols:
            return list(self._symbols)
        money = self._money(client)
        held = [a for a, qty in (await self._held(client)).items() if qty and a != money]
        return [f"{a}/{money}" for a in held if f"{a}/{money}" in client.markets]

    def _money(self, client: Any) -> str:
        """Return the currency of the symbols; before any was named, the commonest of the venue."""
        for symbol in self._symbols:
            return str(client.markets[symbol]["quote"])
        quotes = [m["quote"] for m in client.markets.values() if m.get("spot")]
        return str(max(sorted(set(quotes)), key=quotes.count))

    def _symbol_of(self, client: Any, asset: str, money: str) -> str:
        symbol = f"{asset}/{money}"
        return symbol if symbol in client.markets else asset

    def _timeframe(self, client: Any, timeframe: int) -> str:
        names = _timeframes(client)
        if timeframe not in names:
            raise Refused(
                f"{self.name} has no bars of {format_timeframe(timeframe)}", code="bad_timeframe"
            )
        return names[timeframe]

    def _learn(self, order_id: str, venue_id: str, symbol: str) -> None:
        """Remember under which id and symbol the exchange keeps an order."""
        known = self._names.get(order_id)
        if order_id:
            self._names[order_id] = (symbol, venue_id or (known[1] if known else ""))
            if len(self._names) > _REMEMBERED:
                self._names.popitem(last=False)
        if order_id and venue_id:
            self._venue_ids[venue_id] = order_id
            if len(self._venue_ids) > _REMEMBERED:
                self._venue_ids.popitem(last=False)

    def _row(self, row: dict[str, Any]) -> VenueOrder:
        found = translate.venue_order(row, self.habits)
        self._learn(found.order_id, found.venue_order_id, found.symbol)
        return found

    async def _fill(self, client: Any, row: dict[str, Any]) -> Fill:
        market = client.markets[translate.text(row.get("symbol"), "an execution's symbol")]
        for cost, currency in translate.fees(row):
            if currency not in (market["base"], market["quote"]):
                await self._price(client, currency, market["quote"])
                self._say_unpriced(cost, currency, market)
        return self._made_fill(row, market)

    def _say_unpriced(self, cost: float, currency: str, market: dict[str, Any]) -> None:
        """Say, once for each currency, that fees in it are not booked: nobody tells their worth."""
        if currency in self._worth or currency in self._unpriced or self._open is None:
            return
        self._unpriced.add(currency)
        why = (
            f"a fee of {cost:g} {currency or 'of a currency that is not named'} is not booked, nor "
            f"are others like it: {self.name} has no market {currency}/{market['quote']}"
        )
        self._open.streams.say(Garbled(why, market["symbol"]))

    def _made_fill(self, row: dict[str, Any], market: dict[str, Any]) -> Fill:
        """Return an execution under our order id where that is known."""
        venue_id = translate.text(str(row.get("order") or ""), "an execution's order")
        raw = row.get("info") or {}
        own = translate.own_id(raw.get(self.habits.own_id) or "", self.habits)
        if own:
            self._learn(own, venue_id, market["symbol"])
        name = own or self._venue_ids.get(venue_id, venue_id)
        return translate.fill(
            row, market, name, self.name, lambda c: self._worth.get(c, (0.0, 0.0))[1]
        )

    async def _price(self, client: Any, currency: str, money: str) -> None:
        """Learn what a unit of another currency is worth: fees can be taken in one."""
        at, _ = self._worth.get(currency, (0.0, 0.0))
        symbol = f"{currency}/{money}"
        if symbol in client.markets and time.monotonic() - at > _PRICE_AGE_S:
            last = (await client.fetch_ticker(symbol)).get("last")
            self._worth[currency] = (time.monotonic(), translate.number(last, f"a {currency}"))

    def _translated(self, error: Exception) -> VenueError:
        return translated(error, self.habits, self._clean)

    def _clean(self, text: str) -> str:
        return Redactor(self._secrets.values()).text(text)


class _Connection:
    """One client of ccxt, the thread it lives on, and its streams."""

    def __init__(self, venue: Ccxt, emit: Emit) -> None:
        self._venue = venue
        keys = {t: venue._secrets[o].reveal() for t, o in _SECRETS.items() if o in venue._secrets}
        self.thread = LoopThread(f"regimeflow-{venue.name}")
        try:
            self.client = make(venue.name, venue._config, keys, venue.paper, self._heard)
        except BaseException:
            self.thread.stop()
            raise
        self.streams = Streams(
            self.client, emit, venue._fill, venue._row, venue._translated, venue.habits
        )

    def _heard(self, said: Garbled | Disconnected) -> None:
        if isinstance(said, Disconnected):
            self.streams.lose(said.why)
        else:
            self.streams.say(Garbled(self._venue._clean(said.why), "", said.about_orders))

    def run(self, work: Coroutine[Any, Any, Any], timeout_s: float, *, urgent: bool = False) -> Any:
        """Do something on the client's loop; whatever goes wrong there is an error of ours."""
        return self.thread.run(self._done(work, urgent), timeout_s)

    async def _done(self, work: Awaitable[Any], urgent: bool) -> Any:
        URGENT.set(urgent)
        try:
            return await work
        except Exception as error:
            told = self._venue._translated(error)
        raise told from None

    async def begin(self, with_account: bool) -> None:
        """Read the markets, and open the private streams before any order can leave."""
        await self.client.load_markets()
        if with_account:
            await self.streams.open_private()

    def close(self) -> None:
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


def _not_there(error: VenueError) -> Refused:
    """Return an error if it says that there is no such order; raise any other."""
    if not isinstance(error, NotThere):
        raise error from None
    return error


def _exact(value: float) -> str:
    return format(Decimal(repr(float(value))), "f")


def _step(client: Any, precision: Any) -> float:
    """Return the step that a precision of ccxt stands for."""
    if precision is None:
        return 1e-8
    value = translate.number(precision, "a precision")
    return value if client.precisionMode == 4 else float(10.0**-value)  # 4: it is the step


def _timeframes(client: Any) -> dict[int, str]:
    """Return length in nanoseconds -> ccxt's name; months have no one length."""
    return {
        int(client.parse_timeframe(name)) * NS_PER_SECOND: name
        for name in client.timeframes or {}
        if name[-1:] not in ("M", "y")
    }


def _capabilities(exchange_id: str, settle_ms: float) -> Capabilities:
    """Return what an exchange can do, as far as ccxt says and our own table."""
    plain, habits = known_class(exchange_id)(), habits_of(exchange_id)
    spot = (plain.features or {}).get("spot") or {}
    orders = spot.get("createOrder") or {}
    types = {"market", "limit"}
    if orders.get("triggerPrice") or orders.get("stopLossPrice"):
        types |= {"stop", "stop_limit"}
    tifs = {"gtc"} | {t.lower() for t in ("IOC", "FOK") if (orders.get("timeInForce") or {}).get(t)}
    has = plain.has
    kinds = {
        "bar": has.get("watchOHLCV"),
        "trade": has.get("watchTrades") or has.get("watchTradesForSymbols"),
        "quote": has.get("watchBidsAsks"),
    }
    return Capabilities(
        order_types=frozenset(types) & habits.order_types,
        tifs=frozenset(tifs),
        replace=False,
        fractional=True,
        short=False,
        order_id_length=habits.order_id_length,
        executions=bool(has.get("fetchMyTrades")),
        settle_ms=settle_ms,
        market_data=frozenset(kind for kind, there in kinds.items() if there),
        history=bool(has.get("fetchOHLCV")),
        timeframes=tuple(format_timeframe(ns) for ns in sorted(_timeframes(plain))),
        history_page=int((spot.get("fetchOHLCV") or {}).get("limit") or 500),
    )


def _from_outside(exchange_id: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return settings with what the environment says of addresses and windows of time."""
    if exchange_id != "binance":
        return config
    found = {
        key: value.value for key, value in look_up("binance", {}, read_dotenv(Path.cwd())).items()
    }
    api: dict[str, Any] = {}
    if base := str(found.get("base_url") or "").rstrip("/"):
        api |= {"public": f"{base}/api/v3", "private": f"{base}/api/v3"}
    if stream := str(found.get("stream_url") or "").rstrip("/"):
        api |= {"ws": {"spot": stream}}
    merged = dict(config)
    if api and not (config.get("urls") or {}).get("api"):
        merged["urls"] = {**(config.get("urls") or {}), "api": api}
    if window := found.get("recv_window_ms"):
        merged["options"] = {"recvWindow": window, **(config.get("options") or {})}
    return merged


__all__ = ["Ccxt"]
