"""The venue that trades at Alpaca: it translates, and decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from regimeflow.environment import look_up, read_dotenv
from regimeflow.errors import ConfigError, Refused, VenueError
from regimeflow.model.events import Cancel, Fill, Replace, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import History
from regimeflow.model.timeframe import parse_timeframe
from regimeflow.redaction import Redactor, Secret
from regimeflow.venues.alpaca import wire
from regimeflow.venues.alpaca.asking import Asking, sound
from regimeflow.venues.alpaca.assets import Assets
from regimeflow.venues.alpaca.clients import Clients
from regimeflow.venues.alpaca.coarse import makes_up, no_live_bars
from regimeflow.venues.alpaca.endpoints import (
    LIVE,
    PAPER,
    Endpoints,
    account_kind,
    check_key,
    endpoints,
)
from regimeflow.venues.alpaca.executions import Executions
from regimeflow.venues.alpaca.market import BARS, Market, Past
from regimeflow.venues.alpaca.names import Names
from regimeflow.venues.alpaca.orders import Orders
from regimeflow.venues.alpaca.streams import Listener
from regimeflow.venues.extras import require
from regimeflow.venues.histories import Histories
from regimeflow.venues.keys import needed
from regimeflow.venues.port import (
    Ack,
    Balances,
    Capabilities,
    Disconnected,
    Emit,
    Garbled,
    Holding,
    Opening,
    Said,
    VenueOrder,
)

#: Alpaca takes 128 characters; some are left for the names of changed orders.
_ORDER_ID_LENGTH = 100
#: Requests a second: 200 a minute for one account.
_PER_SECOND = 200 / 60
_ABLE = {
    "equity": Capabilities(
        brackets=True,
        hours=True,
        order_id_length=_ORDER_ID_LENGTH,
        orders_per_second=_PER_SECOND,
        history_page=BARS,
    ),
    "crypto": Capabilities(
        order_types=frozenset({"market", "limit", "stop_limit"}),
        tifs=frozenset({"gtc", "ioc"}),
        fractional=True,
        short=False,
        order_id_length=_ORDER_ID_LENGTH,
        orders_per_second=_PER_SECOND,
        history_page=BARS,
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
        stream_bars: length of the bars that the data stream tells, which is one minute at Alpaca; a
            server on this machine may have others, and is taken at its word without it.
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
        stream_bars: str = "",
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
        if stream_bars and not self.at.local:
            raise ConfigError("stream_bars is for a server on this machine: Alpaca's are of 1 min")
        self._unit = parse_timeframe(stream_bars) if stream_bars else 0
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
        crypto, able = self._crypto, self.capabilities
        self._clients = Clients(
            self.at, paper=self.paper, crypto=crypto, timeout_s=self._timeout_s, **self._keys
        )
        self._asking = Asking(self._clients, Redactor(self._keys.values()))
        self._assets = Assets(
            self._asking, crypto=crypto, fractional=self._fractional, calendar=self.calendar
        )
        names = Names()
        self._orders = Orders(self._asking, self._assets, names, able, crypto=crypto)
        self._executions = Executions(
            self._asking, self._orders, names, able.settle_ms, crypto=crypto
        )
        self._past = Past(self._asking, self._assets, self.at, crypto=crypto)
        self._emit: Emit | None = None
        self._trading: Listener | None = None
        self._market: Listener | None = None

    # ------------------------------------------------------------ connection

    def connect(self, emit: Emit) -> None:
        """Check whose account it is, and open the stream of what happens to orders."""
        self.close()
        self._check(self._asking.account())
        listener = Listener(
            "regimeflow-alpaca-orders",
            self._hear_order,
            lambda why: self._say(Garbled(self._asking.hidden(why), "", about_orders=True)),
            lambda why: self._lost(f"the stream of orders: {why}"),
        )
        self._emit = emit
        self._trading = listener
        self._open(listener, "orders", self._clients.trading_stream)
        self._executions.listens()

    def close(self) -> None:
        """Close both streams."""
        self._emit = None
        for name in ("_market", "_trading"):
            listener = getattr(self, name)
            setattr(self, name, None)
            if listener is not None:
                listener.close()
        self._asking.close()

    def _open(self, listener: Listener, what: str, make: Callable[[Listener], Any]) -> None:
        failed = None
        try:
            listener.open(make(listener), self._timeout_s)
        except VenueError as error:
            failed = VenueError(self._asking.hidden(f"Alpaca's stream of {what}: {error}"))
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

    def _say(self, said: Said) -> None:
        emit = self._emit
        if emit is not None:
            emit(said)

    def _lost(self, why: str) -> None:
        self._say(Disconnected(self._asking.hidden(why)))

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
            why = self._asking.hidden(f"a message cannot be read: {error}")
            said = Garbled(why, symbol if isinstance(symbol, str) else "", orders)
        if said is not None:
            self._say(said)

    def _hear_order(self, message: Any) -> None:
        stream = message.get("stream") if isinstance(message, dict) else None
        if stream == "listening":
            self._translate(lambda: self._confirm(message), message, orders=True)
        elif stream == "trade_updates":
            self._translate(lambda: self._executions.told(message), message, orders=True)

    def _confirm(self, message: Any) -> None:
        listener = self._trading
        if listener is None:
            return
        if "trade_updates" in message["data"]["streams"]:
            listener.confirmed()
        else:
            listener.end("Alpaca does not tell of orders under these keys")

    # ------------------------------------------------------------ market data

    def subscribe(self, symbols: Sequence[str], timeframe: int) -> None:
        """Begin the stream of market data, or begin it anew."""
        # A sandbox has bars of any length, so that one need not wait for them.
        unit = self._unit or (timeframe if self.at.local else wire.NS_PER_MINUTE)
        if timeframe and not makes_up(timeframe, unit):
            raise Refused(no_live_bars(timeframe), code="bad_timeframe")
        self.instruments(symbols)
        market = Market(
            symbols,
            timeframe,
            unit,
            self._assets,
            self._past,
            self._translate,
            self._say,
            lambda why: self._say(Garbled(self._asking.hidden(why))),
            lambda why: self._lost(f"the stream of the market: {why}"),
        )
        before, self._market = self._market, None
        if before is not None:
            before.close()  # a second connection under the same key would be refused
        self._market = market.listener
        self._open(market.listener, "the market", lambda one: market.stream(self._clients, one))

    def past(self, symbol: str, timeframe: int, start: int, end: int) -> History:
        """Return the closed bars of one series that close after ``start`` and up to ``end``."""
        return self._past.bars(symbol, timeframe, start, end)

    def piece(self, symbol: str, timeframe: int, start: int, end: int) -> tuple[History, int]:
        """Return the bars of one answer, and up to when it tells: Alpaca skips what is empty."""
        return self._past.piece(symbol, timeframe, start, end)

    # ------------------------------------------------------------ requests

    def submit(self, order: Submit) -> Ack:
        """Send an order: one request, never a second one."""
        return self._orders.submit(order)

    def cancel(self, request: Cancel, venue_order_id: str) -> None:
        """Ask to cancel; an order that was changed is looked for under its newest id."""
        self._orders.cancel(request, venue_order_id)

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        """Ask to change quantity or prices: at Alpaca a new order takes the place of the old."""
        return self._orders.replace(request, venue_order_id)

    # ------------------------------------------------------------ questions

    def open_orders(self) -> list[VenueOrder]:
        """Return all working orders of the account, page by page."""
        return self._orders.working()

    def order(self, order_id: str, venue_order_id: str = "") -> VenueOrder:
        """Return one order, in its newest form where it was changed."""
        return self._orders.row(self._orders.find(order_id, venue_order_id))

    def executions(self, since: int) -> list[Fill]:
        """Return executions from ``since`` on, oldest first, page by page."""
        fills = self._executions.since(since)
        if self._emit is not None and self._executions.silent(fills):
            self._lost("the stream of orders did not tell of an execution that took place")
        return sorted((f for f in fills if f.ts >= since), key=lambda fill: fill.ts)

    def positions(self) -> list[Holding]:
        """Return everything held on the account."""
        rows = self._asking.trading("/positions", list[wire.Position])
        return [sound(wire.holding, row) for row in rows]

    def balances(self) -> Balances:
        """Return the money on the account."""
        return sound(wire.balances, self._asking.account())

    def time(self) -> int:
        """Return Alpaca's clock, UTC nanoseconds."""
        return self._asking.time()

    def openings(self, start: int, end: int) -> list[Opening]:
        """Return the exchange's sessions by Alpaca's calendar."""
        first, last = (wire.written(moment)[:10] for moment in (start, end))
        rows = self._asking.trading("/calendar", list[wire.Day], {"start": first, "end": last})
        return [sound(wire.opening, row) for row in rows]

    def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        """Return the trading rules of symbols."""
        return [self._assets.ask(symbol) for symbol in symbols]


_OF_THIS_PROCESS = frozenset(
    {
        "_clients", "_asking", "_assets", "_orders", "_executions", "_past", "_emit", "_trading",
        "_market",
    }
)  # fmt: skip


def _addresses_outside() -> dict[str, str]:
    """Return the addresses that the environment gives."""
    found = look_up("alpaca", {}, read_dotenv(Path.cwd()))
    return {name: found[name].value for name in ("base_url", "stream_url") if name in found}
