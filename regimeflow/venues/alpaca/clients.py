"""Alpaca's own clients, made so that they send every request once and wait for none for ever."""

from __future__ import annotations

import functools
import warnings
from typing import Any

from regimeflow.errors import VenueError
from regimeflow.redaction import Secret
from regimeflow.venues.alpaca.endpoints import Endpoints
from regimeflow.venues.alpaca.streams import Listener, once, socket_options, unused

#: How long it may take until a connection stands, seconds.
_CONNECT_S = 3.05


class Clients:
    """Makes the client library's objects.

    Args:
        at: where the services are.
        paper: which of Alpaca's environments it is.
        crypto: whether market data are those of crypto.
        api_key, secret_key: of the account.
        timeout_s: how long an answer is waited for.
    """

    def __init__(
        self,
        at: Endpoints,
        *,
        paper: bool,
        crypto: bool,
        api_key: Secret,
        secret_key: Secret,
        timeout_s: float,
    ) -> None:
        self._at = at
        self._paper = paper
        self._crypto = crypto
        self._api_key = api_key
        self._secret_key = secret_key
        self._timeout_s = timeout_s

    def trading(self) -> Any:
        """Return the client for orders, positions and the account."""
        from alpaca.trading.client import TradingClient

        made = TradingClient(
            self._api_key.reveal(),
            self._secret_key.reveal(),
            paper=self._paper,
            raw_data=True,
            url_override=self._at.base,
        )
        return tame(made, self._timeout_s, proxies=not self._at.local)

    def data(self) -> Any:
        """Return the client for historical bars."""
        if self._crypto:
            from alpaca.data.historical.crypto import CryptoHistoricalDataClient as Client
        else:
            from alpaca.data.historical.stock import StockHistoricalDataClient as Client

        made = Client(
            self._api_key.reveal(),
            self._secret_key.reveal(),
            raw_data=True,
            url_override=self._at.data,
        )
        return tame(made, self._timeout_s, proxies=not self._at.local)

    def trading_stream(self, listener: Listener) -> Any:
        """Return the stream of what happens to orders."""
        with warnings.catch_warnings():
            # The client still uses the old interface of websockets, which says so when imported.
            warnings.filterwarnings("ignore", "websockets.legacy is deprecated", DeprecationWarning)
            from alpaca.trading.stream import TradingStream

        made = once(TradingStream, listener)(
            self._api_key.reveal(),
            self._secret_key.reveal(),
            paper=self._paper,
            raw_data=True,
            url_override=self._at.stream,
            websocket_params=socket_options(self._timeout_s),
        )
        made.subscribe_trade_updates(unused)
        return made

    def data_stream(self, listener: Listener, symbols: tuple[str, ...], *, bars: bool) -> Any:
        """Return the stream of bars and their corrections, else of trades and quotes."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "websockets.legacy is deprecated", DeprecationWarning)
            if self._crypto:
                from alpaca.data.live.crypto import CryptoDataStream as Stream
            else:
                from alpaca.data.live.stock import StockDataStream as Stream

        made = once(Stream, listener)(
            self._api_key.reveal(),
            self._secret_key.reveal(),
            raw_data=True,
            url_override=self._at.data_stream,
            websocket_params=socket_options(self._timeout_s),
        )
        if bars:
            made.subscribe_bars(unused, *symbols)
            made.subscribe_updated_bars(unused, *symbols)
        else:
            made.subscribe_trades(unused, *symbols)
            made.subscribe_quotes(unused, *symbols)
        if not self._crypto:
            made.subscribe_trading_statuses(unused, *symbols)
        return made


def tame(client: Any, timeout_s: float, *, proxies: bool = True) -> Any:
    """Return a REST client that sends each request once and gives up after a while.

    Left alone it sends an order up to four times, and waits for an answer for ever.

    Args:
        client: one of the library's.
        timeout_s: how long an answer is waited for.
        proxies: whether those of the environment are used; there is none to this machine.

    Raises:
        VenueError: this version of the client is built otherwise.
    """
    if not isinstance(getattr(client, "_retry", None), int) or not hasattr(
        getattr(client, "_session", None), "request"
    ):
        raise VenueError(
            "this version of alpaca-py is built otherwise, and it cannot be made sure that it "
            "sends an order only once: install the one that regimeflow was tested with"
        )
    client._retry = 0
    client._session.trust_env = proxies
    client._session.request = functools.partial(
        client._session.request, timeout=(min(_CONNECT_S, timeout_s), timeout_s)
    )
    return client
