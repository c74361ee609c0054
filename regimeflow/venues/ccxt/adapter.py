"""The adapter: ccxt's client on a loop and thread of its own, translated."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from regimeflow.environment import look_up, read_dotenv
from regimeflow.errors import ConfigError, Refused, VenueError, did_you_mean
from regimeflow.model.events import Cancel, Fill, Replace, Submit
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import BAR_FIELDS, Bar, History
from regimeflow.model.timeframe import NS_PER_MS, format_timeframe
from regimeflow.redaction import Redactor, Secret
from regimeflow.venues.ccxt import able, translate
from regimeflow.venues.ccxt.account import Account
from regimeflow.venues.ccxt.client import known_class, settled
from regimeflow.venues.ccxt.connection import Connection, Wiring
from regimeflow.venues.ccxt.executions import Executions
from regimeflow.venues.ccxt.habits import habits_of
from regimeflow.venues.ccxt.names import Names
from regimeflow.venues.ccxt.orders import Orders
from regimeflow.venues.ccxt.outcomes import translated
from regimeflow.venues.ccxt.spot import SpotAccount
from regimeflow.venues.ccxt.swap import SwapAccount, Terms
from regimeflow.venues.histories import Histories
from regimeflow.venues.keys import secrets_of
from regimeflow.venues.port import Ack, Balances, Emit, Garbled, Holding, Payment, VenueOrder

T = TypeVar("T")

#: ccxt's names of secrets -> ours.
_SECRETS = {"apiKey": "api_key", "secret": "secret_key", "password": "password"}
#: Pages without a candle after which there are none: whoever asks from 1970 on gets an answer, too.
_MOST_EMPTY = 50
#: Kind of market -> what trades on it.
_ACCOUNTS: dict[str, type[Account]] = {"spot": SpotAccount, "swap": SwapAccount}


class Ccxt(Histories):
    """An exchange that ccxt knows: its spot markets, or its linear perpetual swaps.

    Swaps are counted in contracts; leverage and the mode of margin stay as the account has them,
    and `terms` shows them. Long and short go into one position (one-way mode). Funding is asked
    for and booked as a cost of the run.

    Args:
        exchange_id: ccxt's name of it, such as "binance" or "bybit".
        market: "spot", for symbols such as "BTC/USDT", or "swap", for "BTC/USDT:USDT".
        paper: whether the exchange's own paper venue is used; real money else.
        api_key, secret_key, password: what the exchange has given. Left out, they come from
            ``BINANCE_API_KEY`` and so on, files that ``BINANCE_API_KEY_FILE`` names, or ``.env``.
            Without keys there are market data and no account.
        config: merged into ccxt's own settings, such as ``{"urls": {"api": {...}}}``.
        timeout_ms: how long an answer is waited for.
        settle_ms: how long after an order was sent the exchange may still not show it.

    Raises:
        ConfigError: ``paper`` and the addresses do not go together; the exchange is not known, or
            its swaps could not be booked.
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
        market: Literal["spot", "swap"] = "spot",
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
        if market not in _ACCOUNTS:
            near = did_you_mean(str(market), _ACCOUNTS)
            raise ConfigError(f'market must be "spot" or "swap", got {market!r}.{near}')
        plain = known_class(exchange_id)()
        self.name = exchange_id
        self.market = market
        self.paper = bool(paper)
        self.habits = habits_of(exchange_id, market)
        self.capabilities = able.capabilities(plain, self.habits, settle_ms)
        bare = {key: value for key, value in (config or {}).items() if key not in _SECRETS}
        given = {"api_key": api_key, "secret_key": secret_key, "password": password}
        for theirs, ours in _SECRETS.items():
            given[ours] = given[ours] or (config or {}).get(theirs)
        self._secrets = secrets_of(exchange_id, **given)
        wanted = _from_outside(exchange_id, market, bare)
        self._config = settled(exchange_id, self.paper, wanted, self.habits)
        self._config.setdefault("timeout", int(timeout_ms))
        self._timeout_s = timeout_ms / 1e3
        self._open: Connection | None = None
        self._account = _ACCOUNTS[market](exchange_id, self.habits)
        names = Names()
        self._orders = Orders(
            exchange_id, self.habits, self.capabilities, self._account, names, self._translated
        )
        self._executions = Executions(exchange_id, self.habits, self._account, names, self._say)

    def __repr__(self) -> str:
        keys = "with keys" if self._secrets.get("api_key") else "no keys"
        kind = "" if self.market == "spot" else " swaps"
        money = "paper" if self.paper else "real money"
        return f"<Ccxt {self.name}{kind}, {money}, {keys}>"

    def __getstate__(self) -> dict[str, Any]:
        if self._open is not None:
            raise TypeError("a venue that is connected cannot be copied")
        return dict(self.__dict__)

    @property
    def terms(self) -> dict[str, Terms]:
        """Swaps that were asked for -> leverage and mode of margin, as the account has them."""
        return dict(self._account.terms) if isinstance(self._account, SwapAccount) else {}

    # ------------------------------------------------------------ connection

    def connect(self, emit: Emit) -> None:
        """Read the markets and, with keys, open the streams of our own orders and executions."""
        self.close()
        opened = self._connection(emit)
        self._open = opened
        try:
            opened.run(opened.begin(self._has_keys), self._timeout_s * 2)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the client and end its thread; nothing is emitted afterwards."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()

    def _connection(self, emit: Emit) -> Connection:
        keys = {t: self._secrets[o].reveal() for t, o in _SECRETS.items() if o in self._secrets}
        wiring = Wiring(
            self.name,
            self.paper,
            self.habits,
            self._config,
            keys,
            self._executions.fill,
            self._orders.row,
            self._translated,
            self._clean,
        )
        return Connection(wiring, emit)

    @property
    def _connected(self) -> Connection:
        if self._open is None:
            raise VenueError(f"there is no connection to {self.name}")
        return self._open

    @property
    def _has_keys(self) -> bool:
        return bool(self._secrets.get("api_key"))

    def _ask(
        self,
        question: Callable[[Any], Coroutine[Any, Any, Any]],
        *,
        urgent: bool = False,
    ) -> Any:
        """Ask over the connection, once."""
        opened = self._connected
        return opened.run(question(opened.client), self._timeout_s * 1.5, urgent=urgent)

    def _ask_account(
        self, question: Callable[[Any], Coroutine[Any, Any, Any]], *, urgent: bool = False
    ) -> Any:
        """Ask what only the account's owner may."""
        if not self._has_keys:
            raise Refused(f"{self.name} was given no keys, so there is no account", code="no_keys")
        return self._ask(question, urgent=urgent)

    def _say(self, said: Garbled) -> None:
        if self._open is not None:
            self._open.streams.say(said)

    def _translated(self, error: Exception) -> VenueError:
        return translated(error, self.habits, self._clean)

    def _clean(self, text: str) -> str:
        return Redactor(self._secrets.values()).text(text)

    # ------------------------------------------------------------ market data

    def subscribe(self, symbols: Sequence[str], timeframe: int) -> None:
        """Begin the stream of market data, or begin it anew."""
        opened = self._connected
        for symbol in symbols:
            self._account.market(opened.client, symbol)
        name = self._timeframe(opened.client, timeframe) if timeframe else ""
        opened.run(opened.streams.subscribe(tuple(symbols), timeframe, name), self._timeout_s)

    def past(self, symbol: str, timeframe: int, start: int, end: int) -> History:
        """Return the closed bars of one series that close after ``start`` and up to ``end``."""
        return self._over_a_way(lambda c: self._past(c, symbol, timeframe, start, end))

    def piece(self, symbol: str, timeframe: int, start: int, end: int) -> tuple[History, int]:
        """Return the bars of one answer, and up to when it tells: most exchanges begin with the
        first bar that they have."""
        return self._over_a_way(lambda c: self._piece(c, symbol, timeframe, start, end))

    def _over_a_way(self, ask: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Ask over the connection, or over one of its own where there is none."""
        opened = self._open
        if opened is not None:
            return self._asked_over(opened, ask)
        visit = self._connection(lambda said: None)
        try:
            visit.run(visit.begin(False), self._timeout_s * 2)
            return self._asked_over(visit, ask)
        finally:
            visit.close()

    def _asked_over(self, way: Connection, ask: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        told: T = way.run(ask(way.client), self._timeout_s * 6)
        return told

    async def _piece(
        self, client: Any, symbol: str, timeframe: int, start: int, end: int
    ) -> tuple[History, int]:
        self._account.market(client, symbol)
        name = self._timeframe(client, timeframe)
        until = min(end, await self._now(client))
        page = self.capabilities.history_page
        since = max(0, start - timeframe + 1)
        told = await client.fetch_ohlcv(symbol, name, _since_ms(since), page)
        bars = [translate.bar(symbol, timeframe, row) for row in told]
        last = max((bar.ts for bar in bars), default=0)
        # What was never traded leaves a hole: an empty page is not the end.
        reached = last if last > start else start + page * timeframe
        rows = {bar.ts: bar for bar in bars if start < bar.ts <= until}
        return _columns(symbol, timeframe, end, rows), end if reached >= until else reached

    async def _past(
        self, client: Any, symbol: str, timeframe: int, start: int, end: int
    ) -> History:
        self._account.market(client, symbol)
        name = self._timeframe(client, timeframe)
        until = min(end, await self._now(client))
        rows: dict[int, Bar] = {}
        page = self.capabilities.history_page
        since, empty = max(0, start - timeframe + 1), 0
        while since + timeframe <= until and empty < _MOST_EMPTY:
            told = await client.fetch_ohlcv(symbol, name, _since_ms(since), page)
            bars = [translate.bar(symbol, timeframe, row) for row in told]
            for bar in bars:
                if start < bar.ts <= until:
                    rows[bar.ts] = bar
            last = max((bar.ts for bar in bars), default=0)
            # What was never traded leaves a hole: an empty page is not the end.
            since = last if last > since else since + page * timeframe
            empty = 0 if last else empty + 1
        return _columns(symbol, timeframe, end, rows)

    def _timeframe(self, client: Any, timeframe: int) -> str:
        names = able.timeframes(client)
        if timeframe not in names:
            raise Refused(
                f"{self.name} has no bars of {format_timeframe(timeframe)}", code="bad_timeframe"
            )
        return names[timeframe]

    def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        """Return the trading rules of symbols."""
        keys, account = self._has_keys, self._account
        return self._ask(lambda client: account.instruments(client, symbols, with_account=keys))  # type: ignore[no-any-return]

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
        return self._ask_account(lambda client: self._orders.submit(client, order), urgent=True)  # type: ignore[no-any-return]

    def cancel(self, request: Cancel, venue_order_id: str) -> None:
        """Ask to cancel."""
        self._ask_account(
            lambda client: self._orders.cancel(client, request.order_id, venue_order_id),
            urgent=True,
        )

    def replace(self, request: Replace, venue_order_id: str) -> Ack:
        """Refuse: exchanges of ccxt change an order by another one, under another id."""
        raise Refused(f"{self.name} changes no orders: cancel it and send another")

    # ------------------------------------------------------------ questions

    def open_orders(self) -> list[VenueOrder]:
        """Return all working orders of the account."""
        return self._ask_account(self._orders.working)  # type: ignore[no-any-return]

    def order(self, order_id: str, venue_order_id: str = "") -> VenueOrder:
        """Return one order, working or over."""
        return self._ask_account(  # type: ignore[no-any-return]
            lambda client: self._orders.order(client, order_id, venue_order_id)
        )

    def executions(self, since: int) -> list[Fill]:
        """Return executions from ``since`` on (UTC nanoseconds), oldest first."""
        return self._ask_account(lambda client: self._listed(client, since))  # type: ignore[no-any-return]

    async def _listed(self, client: Any, since: int) -> list[Fill]:
        found = await self._executions.since(client, since)
        if self._open is not None:
            self._open.streams.told_by_asking(found)
        return found

    def payments(self, since: int) -> list[Payment]:
        """Return funding from ``since`` on (UTC nanoseconds), oldest first."""
        return self._ask_account(lambda client: self._account.payments(client, since))  # type: ignore[no-any-return]

    def positions(self) -> list[Holding]:
        """Return everything held on the account but its money."""
        return self._ask_account(self._account.positions)  # type: ignore[no-any-return]

    def balances(self) -> Balances:
        """Return the money on the account, in the currency that the symbols are settled in."""
        return self._ask_account(self._account.balances)  # type: ignore[no-any-return]


def _from_outside(exchange_id: str, market: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return settings with what the environment says of addresses and windows of time."""
    if exchange_id != "binance":
        return config
    found = {
        key: value.value for key, value in look_up("binance", {}, read_dotenv(Path.cwd())).items()
    }
    api: dict[str, Any] = {}
    if market == "spot":  # the others have other addresses
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


def _columns(symbol: str, timeframe: int, end: int, rows: dict[int, Bar]) -> History:
    """Return bars by close time as a history."""
    bars = [rows[ts] for ts in sorted(rows)]
    o, h, l, c, v = ([getattr(bar, name) for bar in bars] for name in BAR_FIELDS)  # noqa: E741
    return History(end, 0, symbol, timeframe, [bar.ts for bar in bars], o, h, l, c, v)


def _since_ms(ns: int) -> int:
    """Return a time as ccxt is told it, for whom zero is no time at all."""
    return max(1, -(-ns // NS_PER_MS))
