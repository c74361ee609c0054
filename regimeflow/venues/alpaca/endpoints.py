"""Where Alpaca's four services are, and which of them may be talked to with which money.

A paper session must not be able to reach real money, nor a live one to believe that it trades while
it does not. So hosts are told apart by a list of those that are known, and everything else is
refused before a request is made.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from regimeflow.errors import ConfigError

PAPER, LIVE, EITHER = "paper", "live", "either"
#: Host -> whose money is traded there.
_HOSTS = {
    "paper-api.alpaca.markets": PAPER,
    "api.alpaca.markets": LIVE,
    "data.alpaca.markets": EITHER,
    "stream.data.alpaca.markets": EITHER,
}
_LOCAL = "this machine"
#: Asset class -> path of its market data stream.
_STREAMS = {"equity": "/v2/iex", "crypto": "/v1beta3/crypto/us"}
#: Alpaca's keys say which account they belong to.
_KEYS = {"PK": PAPER, "AK": LIVE}


class Endpoints(NamedTuple):
    """Base addresses of trading and data, full addresses of both streams.

    Attributes:
        local: whether all of them are on this machine: a sandbox.
    """

    base: str
    data: str
    stream: str
    data_stream: str
    local: bool = False

    @property
    def feed(self) -> str:
        """Whose prices are streamed, as the end of that address says; history is of the same."""
        return self.data_stream.rstrip("/").rpartition("/")[2]


def endpoints(
    *,
    paper: bool,
    asset_class: str,
    base_url: str = "",
    data_url: str = "",
    stream_url: str = "",
    data_stream_url: str = "",
) -> Endpoints:
    """Return the addresses, those of Alpaca where none are given.

    Where ``base_url`` is on this machine so are the others: the same server's, unless they are
    given. A version at the end of the first two, as Alpaca shows it, is left out.

    Raises:
        ConfigError: one of them is not for this kind of money, or not known, or only some are on
            this machine.
    """
    base_url, data_url = _without_version(base_url), _without_version(data_url)
    if here := _local_server(base_url):
        scheme, server = here
        streams = f"ws{scheme.removeprefix('http')}://{server}"
        data_url = data_url or base_url
        stream_url = stream_url or f"{streams}/stream"
        data_stream_url = data_stream_url or f"{streams}{_STREAMS[asset_class]}"
    host = "paper-api.alpaca.markets" if paper else "api.alpaca.markets"
    places = {
        "base_url": (base_url or f"https://{host}", "http"),
        "data_url": (data_url or "https://data.alpaca.markets", "http"),
        "stream_url": (stream_url or f"wss://{host}/stream", "ws"),
        "data_stream_url": (
            data_stream_url or f"wss://stream.data.alpaca.markets{_STREAMS[asset_class]}",
            "ws",
        ),
    }
    kinds = {name: _kind(name, url, scheme) for name, (url, scheme) in places.items()}
    local = [name for name, kind in kinds.items() if kind == _LOCAL]
    if local and len(local) < len(kinds):
        elsewhere = ", ".join(name for name in kinds if name not in local)
        raise ConfigError(
            f"{local[0]} is on this machine and {elsewhere} is not: give all four or none"
        )
    wanted = PAPER if paper else LIVE
    for name, kind in kinds.items():
        if kind not in (wanted, EITHER) and not (kind == _LOCAL and paper):
            raise ConfigError(
                f"{name} is {kind if kind == _LOCAL else f'for {kind} trading'}, and the venue was "
                f"made with paper={paper}"
            )
    base, data, stream, data_stream = (url.rstrip("/") for url, _ in places.values())
    return Endpoints(base, data, stream, data_stream, bool(local))


def check_key(key: str, *, paper: bool) -> None:
    """Refuse a key that says that it belongs to the other kind of account.

    Raises:
        ConfigError: it does.
    """
    kind = _KEYS.get(key[:2])
    if kind is not None and (kind == PAPER) != paper:
        raise ConfigError(
            f"api_key begins with {key[:2]}, which is a key for {kind} trading, and the venue was "
            f"made with paper={paper}"
        )


def account_kind(number: str) -> str:
    """Return whose money is on an account, by its number."""
    return PAPER if number.startswith("PA") else LIVE


def _without_version(url: str) -> str:
    """Return the address of a service as the client library wants it: it names the version."""
    return url.rstrip("/").removesuffix("/v2")


def _local_server(url: str) -> tuple[str, str] | None:
    """Return scheme and place of an address on this machine, None of any other."""
    try:
        parts = urlsplit(url)
        here = _is_local((parts.hostname or "").lower()) and not (parts.username or parts.password)
    except ValueError:
        return None  # said of it later, by its name
    return (parts.scheme, parts.netloc) if here else None


def _kind(name: str, url: str, scheme: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise ConfigError(f"{name} is not an address that can be read") from None
    if parts.username or parts.password:
        raise ConfigError(f"{name} must not hold a name or password")
    local = _is_local(host)
    if parts.scheme not in ((scheme, f"{scheme}s") if local else (f"{scheme}s",)):
        raise ConfigError(f"{name} must begin with {scheme}s://, so that keys travel encrypted")
    kind = _LOCAL if local else _HOSTS.get(host)
    if kind is None:
        raise ConfigError(
            f"{name}: {host or 'an empty host'} is neither Alpaca's nor this machine; known are "
            f"{', '.join(_HOSTS)} and 127.0.0.1"
        )
    return kind


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
