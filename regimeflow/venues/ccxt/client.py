"""ccxt's own client of one exchange, with what it lacks: answers that stay with their errors, a
stream that survives a message it cannot read, and addresses that are looked at before use.
"""

from __future__ import annotations

import contextvars
import copy
import importlib
import ipaddress
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from regimeflow.errors import ConfigError, did_you_mean
from regimeflow.venues.ccxt.habits import Habits
from regimeflow.venues.ccxt.outcomes import answered
from regimeflow.venues.extras import require
from regimeflow.venues.port import Disconnected, Garbled

#: Requests about orders do not queue behind questions: exchanges count them apart, and so do we.
URGENT: contextvars.ContextVar[bool] = contextvars.ContextVar("urgent", default=False)
#: Milliseconds ccxt waits after it has closed its sessions, for the end of TLS.
_LAST_MS = 20
#: Where ccxt keeps the address of the market streams.
_STREAMS = ("ws", "spot")
#: What exchanges say to keep a connection, besides JSON.
_KEEPALIVE = frozenset({"ping", "pong"})


def library() -> Any:
    """Return ccxt's module of clients with streams.

    Raises:
        MissingExtra: ccxt is not installed.
    """
    require("ccxt", extra="ccxt", venue="Ccxt")
    return importlib.import_module("ccxt.pro")


def known_class(exchange_id: str) -> Any:
    """Return ccxt's class of an exchange.

    Raises:
        ConfigError: ccxt has no exchange of that name, or no streams of it.
    """
    names = library().exchanges
    if exchange_id not in names:
        near = did_you_mean(str(exchange_id), names)
        raise ConfigError(f"ccxt streams no exchange of the name {exchange_id!r}.{near}")
    return getattr(library(), exchange_id)


# ---------------------------------------------------------------- where it connects to


def addresses(urls: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every address in a tree of them, with its place."""
    if isinstance(urls, str):
        yield path, urls
    elif isinstance(urls, dict):
        for name, below in urls.items():
            yield from addresses(below, (*path, str(name)))


def host_of(url: str, hostname: str) -> str:
    """Return the host of one of ccxt's addresses, which may leave it to a placeholder."""
    return urlsplit(url.replace("{hostname}", hostname)).hostname or ""


def is_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def settled(
    exchange_id: str, paper: bool, config: dict[str, Any], habits: Habits
) -> dict[str, Any]:
    """Return the settings of ccxt's client, its addresses settled for paper or for real money.

    A paper client has no address at which real money is: those that ``config`` does not set, and
    the exchange's paper venue does not have, are left out.

    Raises:
        ConfigError: a given address does not go with ``paper``, or there is no paper venue.
    """
    plain = known_class(exchange_id)()
    given = dict(addresses((config.get("urls") or {}).get("api") or {}))
    _check(plain, given, paper, habits)
    made: dict[str, Any] = plain.deep_extend(copy.deepcopy(habits.config), config)
    # Retries are the gateway's; of a lost answer ccxt would make a second order.
    made["options"] = {**(made.get("options") or {}), "maxRetriesOnFailure": 0}
    if paper:
        api = _paper_api(exchange_id, plain, given, habits)
        made["urls"] = {**(made.get("urls") or {}), "api": api}
    return made


def _check(plain: Any, given: dict[tuple[str, ...], str], paper: bool, habits: Habits) -> None:
    """Refuse addresses that do not go with paper or real money, or that ccxt takes for others."""
    practice = _practice(plain)
    for place, url in given.items():
        host = host_of(url, str(plain.hostname or ""))
        harmless = is_here(host) or host in practice
        if paper and not harmless:
            raise ConfigError(
                f"urls.api.{'.'.join(place)} is {host}, where real money is: a paper venue "
                "connects to this machine or to the exchange's own paper venue only"
            )
        if not paper and harmless:
            raise ConfigError(
                f"urls.api.{'.'.join(place)} is {host}, where no real money is: use paper=True"
            )
    streams, must = given.get(_STREAMS, ""), habits.streams_hold
    if streams and must not in streams:
        raise ConfigError(
            f"urls.api.ws.spot is {streams}, and ccxt takes it for the market streams of spot only "
            f"if it holds {must!r}"
        )


def _paper_api(
    exchange_id: str, plain: Any, given: dict[tuple[str, ...], str], habits: Habits
) -> Any:
    """Return the addresses of a paper client: none at which real money is."""
    base = plain.urls.get("test") or {}
    if not base and not given:
        raise ConfigError(
            f"{exchange_id} has no paper venue that ccxt knows of: let the simulator fill orders "
            f"on its prices, with rf.venues.Paper(rf.venues.Ccxt({exchange_id!r}, paper=False)) "
            "and no keys, or point config['urls']['api'] at a server of your own"
        )
    here = given and all(is_here(host_of(url, "")) for url in given.values())
    api: Any = {} if here or isinstance(base, str) else base
    server = urlsplit(given.get(_STREAMS, ""))
    if here and server.netloc:
        for place, path in habits.beside.items():
            api = plain.deep_extend(api, _tree(place, f"{server.scheme}://{server.netloc}{path}"))
    for place, url in given.items():
        api = plain.deep_extend(api, _tree(place, url))
    return _within(api, _practice(plain), plain)


def _practice(plain: Any) -> set[str]:
    """Return the hosts of an exchange at which there is no real money."""
    return _hosts(plain, "test") | _hosts(plain, "demo")


def _tree(place: tuple[str, ...], url: str) -> Any:
    """Return an address at its place in a tree."""
    return url if not place else {place[0]: _tree(place[1:], url)}


def _within(urls: Any, practice: set[str], plain: Any) -> Any:
    """Return a tree of addresses without those that are neither here nor for practice."""
    if isinstance(urls, str):
        host = host_of(urls, str(plain.hostname or ""))
        return urls if is_here(host) or host in practice else None
    kept = {name: _within(below, practice, plain) for name, below in urls.items()}
    return {name: below for name, below in kept.items() if below}


def _hosts(plain: Any, kind: str) -> set[str]:
    """Return the hosts of an exchange's addresses of one kind that it does not use for money."""
    real = {host_of(url, str(plain.hostname or "")) for _, url in addresses(plain.urls["api"])}
    named = {
        host_of(url, str(plain.hostname or "")) for _, url in addresses(plain.urls.get(kind) or {})
    }
    return named - real - {""}


# ---------------------------------------------------------------- the client


def make(
    exchange_id: str,
    config: dict[str, Any],
    keys: dict[str, str],
    paper: bool,
    habits: Habits,
    heard: Callable[[Garbled | Disconnected], None],
) -> Any:
    """Return a client; it belongs to the loop it is first used on.

    Args:
        config: as `settled` returns it.
        keys: ccxt's names of secrets -> the secrets.
        habits: of the exchange, in the kind of market.
        heard: is told of messages that cannot be read, and of ends that ccxt tells nobody.
    """
    kind = _wired(known_class(exchange_id))
    client = kind({**copy.deepcopy({k: v for k, v in config.items() if k != "urls"}), **keys})
    client.prepare(habits, heard)
    if paper:
        client.urls["api"] = copy.deepcopy(config["urls"]["api"])
        client.isSandboxModeEnabled = True
        client.options["sandboxMode"] = True
    elif config.get("urls"):
        client.urls = client.deep_extend(client.urls, config["urls"])
    client.timeout_on_exit = _LAST_MS
    # What a wallet can withdraw is not our concern, and a key without that right could not connect.
    client.has = {**client.has, "fetchCurrencies": False}
    return client


_WIRED: dict[type, type] = {}


def _wired(kind: Any) -> Any:
    """Return ccxt's class of an exchange with what it lacks."""
    if kind not in _WIRED:
        _WIRED[kind] = type(f"Wired{kind.__name__}", (_Wired, kind), {})
    return _WIRED[kind]


class _Wired:
    """Stands before a class of ccxt and calls it for everything."""

    clients: dict[str, Any]

    def prepare(self, habits: Habits, heard: Callable[[Garbled | Disconnected], None]) -> None:
        """Say who is to be told of what cannot be read, and of ends that ccxt tells nobody."""
        self.habits, self.heard = habits, heard
        #: What is waited for on streams, by its names; and how often anything was.
        self.watching: set[str] = set()
        self.watched = 0
        #: Subscriptions that were asked for, and confirmed.
        self.asked_for = self.confirmed = 0

    async def throttle(self, cost: Any = None) -> Any:
        if URGENT.get():
            return None
        return await super().throttle(cost)  # type: ignore[misc]

    def handle_option_and_params(self, params: Any, methodName: Any, optionName: Any,
                                 defaultValue: Any = None) -> Any:  # fmt: skip
        """Let no setting of one request alone switch ccxt's retries on again.

        Every version looks for them here, newer ones by way of a method for integers.
        """
        told = super().handle_option_and_params(  # type: ignore[misc]
            params, methodName, optionName, defaultValue
        )
        return [0, told[1]] if optionName == "maxRetriesOnFailure" else told

    async def fetch(self, *args: Any, **how: Any) -> Any:
        """Refuse an answer that is no JSON: ccxt would read a page of a gateway as an empty one."""
        told = await super().fetch(*args, **how)  # type: ignore[misc]
        if not isinstance(told, dict | list):
            raise library().BadResponse("the answer is no JSON")
        return told

    # ---- answers stay with the errors that are made of them

    def handle_errors(self, code: Any, reason: Any, url: Any, method: Any, headers: Any,
                      body: Any, *rest: Any) -> Any:  # fmt: skip
        with _keeping(code, body, headers):
            return super().handle_errors(code, reason, url, method, headers, body, *rest)  # type: ignore[misc]

    def handle_http_status_code(self, code: Any, reason: Any, url: Any, method: Any,
                                body: Any) -> Any:  # fmt: skip
        with _keeping(code, body, {}):
            return super().handle_http_status_code(code, reason, url, method, body)  # type: ignore[misc]

    # ---- streams

    def client(self, url: str) -> Any:
        there = url in (self.clients or {})
        made = super().client(url)  # type: ignore[misc]
        if not there:
            self._guard(made, url)
        return made

    def _guard(self, made: Any, url: str) -> None:
        """Let no message end the loop that reads them: ccxt's ends without a word."""
        read = made.handle_message
        private = self.is_private(url)

        def guarded(message: Any) -> None:
            try:
                text = message.data
                if isinstance(text, str) and not _may_be_read(text):
                    raise ValueError("it is not JSON")
                read(message)
            except Exception as error:
                why = f"a message of the stream cannot be read ({type(error).__name__}: {error})"
                self.heard(Garbled(why[:300], about_orders=private))

        made.handle_message = guarded

    def handle_message(self, client: Any, message: Any) -> Any:
        field, value = self.habits.confirms
        if field and isinstance(message, dict) and message.get(field, self) == value:
            self.confirmed += 1
        ending, says = self.habits.ends
        if ending and isinstance(message, dict):
            event = message.get("event", message)
            if isinstance(event, dict) and event.get(ending) == says:
                self.heard(Disconnected(f"the stream says {says}"))
        return super().handle_message(client, message)  # type: ignore[misc]

    def watch(self, url: str, message_hash: Any, message: Any = None, subscribe_hash: Any = None,
              subscription: Any = None) -> Any:  # fmt: skip
        name = str(message_hash)
        if not (name.isdigit() or name.startswith("authenticat")):
            self._note(url, [name], message, [subscribe_hash])
        return super().watch(url, message_hash, message, subscribe_hash, subscription)  # type: ignore[misc]

    def watch_multiple(self, url: str, message_hashes: Any, message: Any = None,
                       subscribe_hashes: Any = None, subscription: Any = None) -> Any:  # fmt: skip
        self._note(url, [str(name) for name in message_hashes], message, subscribe_hashes or [])
        return super().watch_multiple(url, message_hashes, message, subscribe_hashes, subscription)  # type: ignore[misc]

    def _note(self, url: str, names: list[str], message: Any, subscribes: Any) -> None:
        """Remember what is waited for, and whether a subscription leaves for it."""
        self.watching.update(names)
        self.watched += 1
        known = self.clients[url].subscriptions if url in (self.clients or {}) else {}
        if message is not None and any(name not in known for name in subscribes):
            self.asked_for += 1

    async def drop_market_streams(self) -> None:
        """Close the sockets of market data, so that they are opened anew."""
        for url, client in list((self.clients or {}).items()):
            if not self.is_private(url):
                self.clients.pop(url, None)
                # Else it would tell all who wait that the exchange had closed it.
                client.error = client.error or ConnectionError("closed on purpose")
                await client.close()

    def is_private(self, url: str) -> bool:
        """Whether a stream is the one of our own orders."""
        return self.habits.private in url if self.habits.private else True


def _may_be_read(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[") or text.strip().strip('"').lower() in _KEEPALIVE


class _keeping:
    """Puts the answer into the exception that is made of it."""

    def __init__(self, status: Any, body: Any, headers: Any) -> None:
        self._answer = answered(status, body, headers)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None and not hasattr(error, "answer"):
            error.answer = self._answer
