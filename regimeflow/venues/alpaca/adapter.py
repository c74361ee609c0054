"""The venue that trades at Alpaca: it translates, and decides nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from regimeflow.environment import look_up, read_dotenv
from regimeflow.errors import ConfigError, NotThere, Refused, VenueError
from regimeflow.model.events import Cancel, Fill, Replace, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import History
from regimeflow.model.timeframe import NS_PER_MS, NS_PER_SECOND
from regimeflow.redaction import Redactor, Secret
from regimeflow.venues.alpaca import outcomes, wire
from regimeflow.venues.alpaca.clients import Clients
from regimeflow.venues.alpaca.endpoints import (
    LIVE,
    PAPER,
    Endpoints,
    account_kind,
    check_key,
    endpoints,
)
from regimeflow.venues.alpaca.names import Names
from regimeflow.venues.alpaca.outcomes import CANCEL, QUESTION, REPLACE, SUBMIT
from regimeflow.venues.alpaca.streams import Listener
from regimeflow.venues.extras import require
from regimeflow.venues.histories import Histories
from regimeflow.venues.keys import needed
from regimeflow.venues.outbox import NOT_SENT
from regimeflow.venues.port import (
    Ack,
    Balances,
    Capabilities,
    Disconnected,
    Emit,
    Garbled,
    Holding,
    Refreshed,
    Said,
    VenueOrder,
)

T = TypeVar("T")

#: Alpaca takes 128 characters; some are left for the names of changed orders.
_ORDER_ID_LENGTH = 100
#: Requests a second: 200 a minute for one account.
_PER_SECOND = 200 / 60
_PAGE = 500
_ACTIVITIES = 100
_BARS = 10_000
#: How far our clock may be from Alpaca's.
_SKEW_NS = NS_PER_SECOND
#: How often an order can have been changed.
_CHAIN = 100
_ABLE = {
    "equity": Capabilities(
        order_id_length=_ORDER_ID_LENGTH,
        orders_per_second=_PER_SECOND,
        history_page=_BARS,
    ),
    "crypto": Capabilities(
        order_types=frozenset({"market", "limit", "stop_limit"}),
        tifs=frozenset({"gtc", "ioc"}),
        fractional=True,
        short=False,
        order_id_length=_ORDER_ID_LENGTH,
        orders_per_second=_PER_SECOND,
        history_page=_BARS,
    ),
}


class Alpaca(Histories):
    """Stocks or crypto at Alpaca, with paper money unless you say otherwise.

    Keys and addresses that are left out come from the environment: ``ALPACA_API_KEY``,
    ``ALPACA_API_SECRET``, ``ALPACA_PAPER_BASE_URL`` (paper only), ``ALPACA_STREAM_URL``.

    Args:
        paper: whether it is the paper account. A key, host or account of the other kind is refused.
        api_key, secret_key: of the account.
        asset_class: "equity" for stocks or "crypto".
        base_url, data_url: where orders and historical bars are asked for, without a version.
        stream_url, data_stream_url: full addresses of the streams of orders and of market data; the
            end of the second ("iex", "sip") names the feed, for history too.
        fractional: whether stocks may be bought in fractions of a share, by day orders.
        calendar: exchange calendar; XNYS for stocks, none for crypto.
        timeout_ms: how long an answer is waited for.
        settle_ms: how long after an order was sent Alpaca may still not show it.

    Raises:
        MissingExtra: alpaca-py is not installed.
        ConfigError: keys are missing, or an argument makes no sense.
    """

    name = "alpaca"

    def __init__(
        self,
        *,
        paper: bool = True,
        api_key: str | Secret | None = None,
        secret_key: str | Secret | None = None,
        asset_class: str = "equity",
        base_url: str = "",
        data_url: str = "",
        stream_url: str = "",
        data_stream_url: str = "",
        fractional: bool = False,
        calendar: str | None = None,
        timeout_ms: float = 10_000.0,
        settle_ms: float = 5_000.0,
    ) -> None:
        require("alpaca", extra="alpaca", venue="Alpaca")
        if asset_class not in _ABLE:
            raise ConfigError(f"asset_class must be 'equity' or 'crypto', got {asset_class!r}")
        if not timeout_ms > 0:
            raise ConfigError(f"timeout_ms must be positive, got {timeout_ms!r}")
        keys = needed("alpaca", api_key=api_key, secret_key=secret_key)
        check_key(keys["api_key"].reveal(), paper=paper)
        outside = _addresses_outside()
        self.at: Endpoints = endpoints(
            paper=paper,
            asset_class=asset_class,
            base_url=base_url or (outside.get("base_url", "") if paper else ""),
            data_url=data_url,
            stream_url=stream_url or outside.get("stream_url", ""),
            data_stream_url=data_stream_url,
        )
        self.paper = paper
        self.asset_class = asset_class
        self._crypto = asset_class == "crypto"
        self.calendar = ("" if self._crypto else "XNYS") if calendar is None else calendar
        self._fractional = fractional or self._crypto
        able = _ABLE[asset_class]
        self.capabilities = msgspec.structs.replace(
            able, fractional=self._fractional, settle_ms=settle_ms
        )
        self._keys = keys
        self._timeout_s = timeout_ms / 1e3
        self._forget()

    def __repr__(self) -> str:
        kind = PAPER if self.paper else LIVE
        return f"<Alpaca venue, {kind}, {self.asset_class}, at {self.at.base}>"

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in _OF_THIS_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        """Begin with no connection."""
        self._lock = threading.Lock()
        self._redactor = Redactor(self._keys.values())
        self._clients = Clients(
            self.at, paper=self.paper, crypto=self._crypto, timeout_s=self._timeout_s, **self._keys
        )
        self._made: dict[str, Any] = {}
        self._rules: dict[str, Instrument] = {}
        self._names = Names()
        self._emit: Emit | None = None
        self._trading: Listener | None = None
        self._market: Listener | None = None
        self._timeframe = 0
        self._heard_since = 2**62

    # ------------------------------------------------------------ connection

    def connect(self, emit: Emit) -> None:
        """Check whose account it is, and open the stream of what happens to orders."""
        self.close()
        self._check(self._account())
        listener = Listener(
            "regimeflow-alpaca-orders",
            self._hear_order,
            lambda why: self._say(Garbled(self._hidden(why), "", about_orders=True)),
            lambda why: self._say(Disconnected(self._hidden(f"the stream of orders: {why}"))),
        )
        self._emit = emit
        self._trading = listener
        self._open(listener, "orders", self._clients.trading_stream)
        self._heard_since = time.time_ns()

    def close(self) -> None:
        """Close both streams."""
        self._emit = None
        for name in ("_market", "_trading"):
            listener = getattr(self, name)
            setattr(self, name, None)
            if listener is not None:
                listener.close()
        with self._lock:
            made, self._made = self._made, {}
        for client in made.values():
            client._session.close()

    def _open(self, listener: Listener, what: str, make: Callable[[Listener], Any]) -> None:
        failed = None
        try:
            listener.open(make(listener), self._timeout_s)
        except VenueError as error:
            failed = VenueError(self._hidden(f"Alpaca's stream of {what}: {error}"))
        if failed is not None:
            listener.close()
            raise failed

    def _check(self, account: wire.Account) -> None:
        wanted = PAPER if self.paper else LIVE
        kind = account_kind(account.account_number)
        if kind != wanted:
            raise ConfigError(
                f"these keys belong to a {kind} account, and the venue was made with "
                f"paper={self.paper}"
            )
        if account.trading_blocked or account.account_blocked:
            raise Refused("Alpaca has blocked trading on this account", code="account_blocked")

    def _account(self) -> wire.Account:
        return self._ask(QUESTION, lambda: self._client("trading").get("/account"), wire.Account)

    def _client(self, what: str) -> Any:
        with self._lock:
            if what not in self._made:
                self._made[what] = getattr(self._clients, what)()
            return self._made[what]

    def _say(self, said: Said) -> None:
        emit = self._emit
        if emit is not None:
            emit(said)

    def _hidden(self, text: str) -> str:
        return self._redactor.text(text)

    def _ask(self, kind: str, question: Callable[[], Any], wanted: type[T]) -> T:
        """Ask once, and return the answer by type."""
        failed: VenueError
        try:
            return msgspec.convert(question(), wanted)
        except msgspec.ValidationError as error:
            failed = VenueError(f"Alpaca's answer to a {kind} cannot be read: {error}")
        except VenueError as error:
            failed = error
        except Exception as error:
            failed = outcomes.failure(kind, error, self._redactor)
        # Out here the client's error, with the request and its keys in it, is not its context.
        raise failed

    # ------------------------------------------------------------ market data

    def subscribe(self, symbols: Sequence[str], timeframe: int) -> None:
        """Begin the stream of market data, or begin it anew."""
        if timeframe not in (0, wire.NS_PER_MINUTE) and not self.at.local:
            # A sandbox has bars of any length, so that one need not wait for them.
            raise Refused("Alpaca streams bars of one minute only", code="bad_timeframe")
        for rules in self.instruments(symbols):
            self._rules[rules.symbol] = rules
        before, self._market = self._market, None
        if before is not None:
            before.close()  # a second connection under the same key would be refused
        listener = Listener(
            "regimeflow-alpaca-market",
            self._hear_market,
            lambda why: self._say(Garbled(self._hidden(why))),
            lambda why: self._say(Disconnected(self._hidden(f"the stream of the market: {why}"))),
        )
        self._timeframe = timeframe
        self._market = listener
        wanted = tuple(symbols)
        self._open(
            listener, "the market", lambda one: self._clients.data_stream(one, wanted, timeframe)
        )

    def _hear_market(self, message: Any) -> None:
        kind = message.get("T") if isinstance(message, dict) else None
        listener = self._market
        if listener is None:
            return
        if kind == "subscription":
            listener.confirmed()
        elif kind == "error":
            listener.end(f"Alpaca refuses it: {str(message.get('msg'))[:200]}")
        elif kind == "s":
            self._hear_status(message)
        elif kind in wire.READ:
            self._translate(lambda: wire.READ[kind](message, self._timeframe), message)

    def _hear_status(self, message: Any) -> None:
        def read() -> Refreshed | None:
            told = msgspec.convert(message, wire.Status)
            rules, trades = self._rules.get(told.S), wire.TRADES.get(told.sc)
            return None if rules is None or trades is None else Refreshed(rules, trades)

        self._translate(read, message)

    def _translate(
        self, read: Callable[[], Said | None], message: Any, orders: bool = False
    ) -> None:
        """Say what a message means, or that it cannot be read; in a stream's thread, so it must
        not fail."""
        said: Said | None
        try:
            said = read()
        except (msgspec.ValidationError, ValueError, TypeError, KeyError, AttributeError) as error:
            symbol = message.get("S") if isinstance(message, dict) else None
            why = self._hidden(f"a message cannot be read: {error}")
            said = Garbled(why, symbol if isinstance(symbol, str) else "", orders)
        if said is not None:
            self._say(said)

    def past(self, symbol: str, timeframe: int, start: int, end: int) -> History:
        """Return the closed bars of one series that close after ``start`` and up to ``end``."""
        length = wire.bar_length(timeframe, local=self.at.local)
        if not length:
            raise Refused(wire.no_bars(timeframe), code="bad_timeframe")
        self._rules_of(symbol)
        # What Alpaca gives last may still be forming.
        end = min(end, self.time())
        path = "/crypto/us/bars" if self._crypto else "/stocks/bars"
        terms: dict[str, Any] = {
            "symbols": symbol,
            "timeframe": length,
            "start": wire.written(max(0, start - timeframe)),
            "end": wire.written(max(0, end)),
            "limit": _BARS,
        }
        if not self._crypto:
            terms |= {"feed": self.at.feed, "adjustment": "raw"}
        rows: list[tuple[int, wire.BarRow]] = []
        token: str | None = None
        while True:
            page = self._bars(path, {**terms, "page_token": token} if token else terms)
            found = (page.bars or {}).get(symbol, [])
            rows += [(_time(row.t) + timeframe, row) for row in found]
            if not page.next_page_token:
                break
            if page.next_page_token == token or not found:
                raise VenueError("Alpaca's pages of bars do not end")
            token = page.next_page_token
        return _history(symbol, timeframe, start, end, rows)

    def _bars(self, path: str, terms: dict[str, Any]) -> wire.BarPage:
        return self._ask(
            QUESTION, lambda: self._client("data").get(path, dict(terms)), wire.BarPage
        )

    # ------------------------------------------------------------ requests

    def submit(self, order: Submit) -> Ack:
        """Send an order: one request, never a second one."""
        body = self._terms(order)
        taken = self._ask(SUBMIT, lambda: self._client("trading").post("/orders", body), wire.Order)
        if taken.client_order_id != order.order_id:
            raise VenueError("Alpaca answered for another order than the one that was sent")
        self._names.learn(taken)
        return Ack(taken.id, _time(taken.submitted_at) if taken.submitted_at else 0)

    def _terms(self, order: Submit) -> dict[str, str]:
        """Return an order as Alpaca takes it, checked before anything is sent."""
        able = self.capabilities
        if order.type not in able.order_types:
            raise Refused(f"Alpaca takes no {order.type!r} orders here", code="bad_type")
        if order.tif not in able.tifs:
            raise Refused(f"Alpaca takes no time in force {order.tif!r} here", code="bad_tif")
        rules = _before_sending(lambda: self._rules_of(order.symbol))
        body = {
            "symbol": order.symbol,
            "side": order.side,
            "type": order.type,
            "time_in_force": order.tif,
            "client_order_id": order.order_id,
            "qty": _qty(rules, order.qty),
        }
        if not self._crypto and "." in body["qty"] and order.tif != "day":
            raise Refused("Alpaca takes fractions of a share by day orders only", code="bad_tif")
        return body | _prices(rules, order.limit, order.stop)

    def cancel(self, request: Cancel, venue_order_id: str) -> None:
        """Ask to cancel; an order that was changed is looked for under its newest id."""
        target = venue_order_id or self._find(request.order_id, "").id
        try:
            self._delete(target)
        except Refused as no:
            if no.code not in ("order_over", "not_there"):
                raise
            newest = self._find(request.order_id, venue_order_id)
            if newest.id == target or wire.STATUSES.get(newest.status) != "open":
                raise
            self._delete(newest.id)

    def _delete(self, venue_order_id: str) -> None:
        path = f"/orders/{quote(venue_order_id, safe='')}"
        self._ask(CANCEL, lambda: self._client("trading").delete(path), object)

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        """Ask to change quantity or prices: at Alpaca a new order takes the place of the old."""
        if not request.qty > 0:
            raise Refused(f"{request.qty!r} is no quantity", code="bad_qty")
        target = _before_sending(lambda: self._find(request.order_id, venue_order_id))
        symbol = wire.symbol_of(target.symbol, target.asset_class)
        rules = _before_sending(lambda: self._rules_of(symbol))
        body = {
            "qty": _qty(rules, request.qty),
            "client_order_id": wire.client_id(request.order_id, request.seq),
            **_prices(rules, request.limit, request.stop),
        }
        path = f"/orders/{quote(target.id, safe='')}"
        made = self._ask(REPLACE, lambda: self._client("trading").patch(path, body), wire.Order)
        self._names.learn(made)
        return Ack(made.id, _time(made.submitted_at) if made.submitted_at else 0)

    # ------------------------------------------------------------ questions

    def open_orders(self) -> list[VenueOrder]:
        """Return all working orders of the account, page by page."""
        found: dict[str, wire.Order] = {}
        until = ""
        while True:
            terms = {"status": "open", "limit": _PAGE, "direction": "desc", "nested": "false"}
            page = self._orders({**terms, "until": until} if until else terms)
            before = len(found)
            found |= {order.id: order for order in page}
            if len(page) < _PAGE:
                break
            if len(found) == before:
                raise VenueError("Alpaca's pages of orders do not go on: not all can be listed")
            # One nanosecond more, since two may have been sent at once.
            until = wire.written(_time(page[-1].submitted_at) + 1)
        return [self._row(order) for order in found.values() if wire.in_force(order)]

    def _orders(self, terms: dict[str, Any]) -> list[wire.Order]:
        return self._ask(
            QUESTION, lambda: self._client("trading").get("/orders", terms), list[wire.Order]
        )

    def order(self, order_id: str, venue_order_id: str = "") -> VenueOrder:
        """Return one order, in its newest form where it was changed."""
        return self._row(self._find(order_id, venue_order_id))

    def _find(self, order_id: str, venue_order_id: str) -> wire.Order:
        found = self._first(order_id, venue_order_id)
        for _ in range(_CHAIN):
            self._names.learn(found)
            newer = self._by_id(found.replaced_by) if found.replaced_by else None
            if newer is None or not wire.in_force(newer):
                return found
            found = newer
        raise VenueError(f"order {order_id or venue_order_id} was changed too often to follow")

    def _first(self, order_id: str, venue_order_id: str) -> wire.Order:
        if venue_order_id:
            try:
                return self._by_id(venue_order_id)
            except NotThere:
                if not order_id:
                    raise
        terms = {"client_order_id": order_id}
        return self._ask(
            QUESTION,
            lambda: self._client("trading").get("/orders:by_client_order_id", terms),
            wire.Order,
        )

    def _by_id(self, venue_order_id: str) -> wire.Order:
        path = f"/orders/{quote(venue_order_id, safe='')}"
        return self._ask(QUESTION, lambda: self._client("trading").get(path), wire.Order)

    def _row(self, order: wire.Order) -> VenueOrder:
        self._names.learn(order)
        try:
            return wire.venue_order(order, self._names.of(order.id))
        except wire.Unreadable as error:
            raise VenueError(
                f"Alpaca shows order {order.id} in a way that cannot be: {error}"
            ) from None

    def executions(self, since: int) -> list[Fill]:
        """Return executions from ``since`` on, oldest first, page by page."""
        rows: list[wire.Activity] = []
        terms: dict[str, Any] = {
            "after": wire.written(max(0, since - 10**9)),
            "direction": "asc",
            "page_size": _ACTIVITIES,
        }
        while True:
            page = self._activities(terms)
            rows += page
            if len(page) < _ACTIVITIES:
                break
            if terms.get("page_token") == page[-1].id:
                raise VenueError("Alpaca's pages of executions do not go on")
            terms["page_token"] = page[-1].id
        fills = [self._filled(row) for row in rows]
        self._watch_stream(fills)
        return sorted((f for f in fills if f.ts >= since), key=lambda fill: fill.ts)

    def _watch_stream(self, fills: Sequence[Fill]) -> None:
        """Give the stream of orders up where it is silent about what it should have told.

        A socket can be well and say nothing; the client library does not notice.
        """
        late = time.time_ns() - int(self.capabilities.settle_ms * NS_PER_MS)
        silent = self._names.unheard(fills, self._heard_since + _SKEW_NS, late)
        if silent and self._emit is not None:
            self._heard_since = time.time_ns()  # said once
            why = "the stream of orders did not tell of an execution that took place"
            self._say(Disconnected(why))

    def _activities(self, terms: dict[str, Any]) -> list[wire.Activity]:
        return self._ask(
            QUESTION,
            lambda: self._client("trading").get("/account/activities/FILL", dict(terms)),
            list[wire.Activity],
        )

    def _filled(self, row: wire.Activity) -> Fill:
        if not self._names.knows(row.order_id):
            try:
                self._names.learn(self._by_id(row.order_id))
            except NotThere:
                self._names.nobody(row.order_id)
        try:
            return wire.fill_of(row, self._names.of(row.order_id), self._wire_class)
        except wire.Unreadable as error:
            raise VenueError(f"Alpaca lists an execution that cannot be: {error}") from None

    @property
    def _wire_class(self) -> str:
        return "crypto" if self._crypto else "us_equity"

    def positions(self) -> list[Holding]:
        """Return everything held on the account."""
        rows = self._ask(
            QUESTION, lambda: self._client("trading").get("/positions"), list[wire.Position]
        )
        return [self._sound(wire.holding, row) for row in rows]

    def balances(self) -> Balances:
        """Return the money on the account."""
        return self._sound(wire.balances, self._account())

    def time(self) -> int:
        """Return Alpaca's clock, UTC nanoseconds."""
        clock = self._ask(QUESTION, lambda: self._client("trading").get("/clock"), wire.Clock)
        return _time(clock.timestamp)

    def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        """Return the trading rules of symbols."""
        return [self._instrument(symbol) for symbol in symbols]

    def _instrument(self, symbol: str) -> Instrument:
        path = f"/assets/{quote(symbol, safe='')}"
        no = f"{symbol} is not traded at Alpaca"
        try:
            asset = self._ask(QUESTION, lambda: self._client("trading").get(path), wire.Asset)
        except NotThere:
            raise Refused(no, code="unknown_symbol") from None
        if not asset.tradable:
            raise Refused(no, code="unknown_symbol")
        rules = self._sound(
            lambda row: wire.instrument(
                row, crypto=self._crypto, fractional=self._fractional, calendar=self.calendar
            ),
            asset,
        )
        self._rules[symbol] = rules
        return rules

    def _rules_of(self, symbol: str) -> Instrument:
        return self._rules.get(symbol) or self._instrument(symbol)

    def _sound(self, read: Callable[[Any], T], row: Any) -> T:
        try:
            return read(row)
        except (wire.Unreadable, ConfigError) as error:
            raise VenueError(f"Alpaca's answer cannot be read: {error}") from None

    # ------------------------------------------------------------ the stream of orders

    def _hear_order(self, message: Any) -> None:
        stream = message.get("stream") if isinstance(message, dict) else None
        if stream == "listening":
            self._translate(lambda: self._confirm(message), message, orders=True)
            return
        if stream != "trade_updates":
            return
        self._translate(lambda: self._order_news(message), message, orders=True)

    def _confirm(self, message: Any) -> None:
        listener = self._trading
        if listener is None:
            return
        if "trade_updates" in message["data"]["streams"]:
            listener.confirmed()
        else:
            listener.end("Alpaca does not tell of orders under these keys")

    def _order_news(self, message: Any) -> Said | None:
        update = msgspec.convert(message, wire.Told).data
        self._names.learn(update.order)
        said = wire.news(update, self._names.of(update.order.id))
        if isinstance(said, Fill):
            self._names.heard(said.execution_id)
        return said


_OF_THIS_PROCESS = frozenset(
    {
        "_lock",
        "_redactor",
        "_clients",
        "_made",
        "_rules",
        "_names",
        "_emit",
        "_trading",
        "_market",
        "_heard_since",
    }
)


def _addresses_outside() -> dict[str, str]:
    """Return the addresses that the environment gives."""
    found = look_up("alpaca", {}, read_dotenv(Path.cwd()))
    return {name: found[name].value for name in ("base_url", "stream_url") if name in found}


def _before_sending(ask: Callable[[], T]) -> T:
    """Return what has to be known before a request is made: without it, it certainly did not leave.

    Raises:
        Refused: it cannot be had.
    """
    try:
        return ask()
    except Refused:
        raise
    except VenueError as error:
        why = f"it was not sent, because of what had to be asked before: {error}"
        raise Refused(why, code=NOT_SENT) from None


def _time(text: str | None) -> int:
    try:
        return wire.moment(text)
    except wire.Unreadable as error:
        raise VenueError(f"Alpaca's answer cannot be read: {error}") from None


def _qty(rules: Instrument, qty: float) -> str:
    """Return a quantity on the grid, as exact decimal text."""
    snapped = rules.snap_qty(qty) if abs(qty) < 1e15 else 0.0
    if not snapped > 0 or abs(snapped - qty) > 1e-6 * rules.lot:
        raise Refused(f"{qty!r} is not in whole lots of {rules.symbol}", code="bad_qty")
    return wire.decimal(snapped)


def _prices(rules: Instrument, limit: float | None, stop: float | None) -> dict[str, str]:
    """Return prices on the grid, as exact decimal text."""
    found = {}
    for name, price in (("limit_price", limit), ("stop_price", stop)):
        if price is None:
            continue
        snapped = rules.round_price(price) if 0 < price < 1e15 else 0.0
        if not snapped > 0 or abs(snapped - price) > 1e-3 * rules.tick:
            raise Refused(f"{price!r} is not a price of {rules.symbol}", code="bad_price")
        found[name] = wire.decimal(snapped)
    return found


def _history(
    symbol: str,
    timeframe: int,
    start: int,
    end: int,
    rows: list[tuple[int, wire.BarRow]],
) -> History:
    """Return bars as columns, each close time once."""
    kept = {ts: row for ts, row in rows if start < ts <= end}
    times = sorted(kept)
    rows_of = [kept[ts] for ts in times]
    o, h, l, c, v = ([getattr(row, name) for row in rows_of] for name in "ohlcv")  # noqa: E741
    return History(end, 0, symbol, timeframe, times, o, h, l, c, v)
