"""The brokers that a configuration can name, and the venues made of their keys.

A new broker is one row in `BROKERS`: the struct that its keys are decoded into, and the function
that makes its venue.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from regimeflow import venues
from regimeflow.data import datasets
from regimeflow.data.files import read_file
from regimeflow.environment import names_of
from regimeflow.errors import ConfigError, did_you_mean
from regimeflow.model.models import Model
from regimeflow.redaction import Secret
from regimeflow.session.config import Config, Count, NotNegative, Positive, Section, Text
from regimeflow.session.decode import decode, where
from regimeflow.session.settings import Settings
from regimeflow.venues.simulated import Simulated

_AT = ("live", "broker_config")
_PAPER = "_PAPER_"


class SimulatedKeys(Section, frozen=True, kw_only=True):
    """Keys of the simulated broker, which plays historical data.

    Attributes:
        data: ``sp500``, ``nasdaq`` (real daily prices), ``synthetic`` (made up), a Parquet or CSV
            file, or a mapping of symbols to files.
        start, end: the part that is played; what comes before is history.
        speed: seconds of the data per second; nothing (``null``) is as fast as it goes.
        cash: money on the account.
        calendar: such as XNYS; UTC days without it.
        label: what the bars' times mark.
        timezone: what times without a zone mean.
        frames: the library of the frames that ``Strategy.features`` is given.
        rows, data_seed: of synthetic data: how many for each symbol, and which.
    """

    data: Text | dict[str, Text]
    start: Text | None = None
    end: Text | None = None
    speed: Positive | None = 1.0
    cash: Positive = 100_000.0
    calendar: Text | None = None
    label: Literal["open", "close"] = "open"
    timezone: Text = "UTC"
    frames: Literal["pandas", "polars"] = "pandas"
    rows: Count = 10_000
    data_seed: Count = 0


#: Where something listens.
Port = Annotated[int, Meta(ge=1, le=65_535)]


class LoopbackKeys(Section, frozen=True, kw_only=True):
    """Keys of the venue on this machine, ``regimeflow sandbox loopback``.

    Attributes:
        port: where it listens; it prints its own.
        timeout_ms: how long an answer is waited for.
        settle_ms: how long after an order was sent the venue may still not show it.
    """

    port: Port
    host: Text = "127.0.0.1"
    timeout_ms: Positive = 5_000.0
    settle_ms: NotNegative = 1_000.0


class AlpacaKeys(Section, frozen=True, kw_only=True):
    """Keys of Alpaca; ``live.broker_asset_class`` says whether it is stocks or crypto.

    Attributes:
        api_key, secret_key: of the account.
        base_url, data_url: where orders and historical bars are asked for, without a version.
        stream_url, data_stream_url: full addresses of the two streams.
        fractional: whether stocks may be bought in fractions of a share.
        calendar: exchange calendar; XNYS for stocks, none for crypto.
        timeout_ms, settle_ms: as of `regimeflow.venues.Alpaca`.
    """

    api_key: Secret
    secret_key: Secret
    base_url: str = ""
    data_url: str = ""
    stream_url: str = ""
    data_stream_url: str = ""
    fractional: bool = False
    calendar: str | None = None
    timeout_ms: Positive = 10_000.0
    settle_ms: NotNegative = 5_000.0


class ExchangeKeys(Section, frozen=True, kw_only=True):
    """Keys of any exchange that ccxt knows.

    Attributes:
        api_key, secret_key, password: what the exchange has given.
        market: spot markets, or linear perpetual swaps.
        config: merged into ccxt's own settings.
        timeout_ms, settle_ms: as of `regimeflow.venues.Ccxt`.
    """

    api_key: Secret
    secret_key: Secret
    password: Secret | None = None
    market: Literal["spot", "swap"] = "spot"
    config: dict[str, Any] = msgspec.field(default_factory=dict)
    timeout_ms: Positive = 10_000.0
    settle_ms: NotNegative = 5_000.0


class BinanceKeys(ExchangeKeys, frozen=True, kw_only=True):
    """Keys of Binance; the addresses are those of its spot exchange.

    Attributes:
        base_url: of its REST service, without a version.
        stream_url: of its market streams.
        recv_window_ms: how long a request may take to arrive, milliseconds.
    """

    base_url: str = ""
    stream_url: str = ""
    recv_window_ms: Annotated[int, Meta(gt=0, le=60_000)] | None = None


SecurityType = Literal["STK", "FUT", "OPT", "FOP", "CASH", "CRYPTO", "CFD", "CMDTY", "IND"]


class ContractKeys(Section, frozen=True, kw_only=True):
    """What a symbol stands for at Interactive Brokers; what is left out is taken from
    ``defaults``, else as the names say: a stock in US dollars, routed by SMART.
    """

    symbol_override: Text | None = None
    security_type: SecurityType | None = None
    exchange: Text | None = None
    currency: Text | None = None
    primary_exchange: Text | None = None
    local_symbol: Text | None = None
    trading_class: Text | None = None
    last_trade_date_or_contract_month: Text | int | None = None
    right: Literal["C", "P", "CALL", "PUT"] | None = None
    multiplier: Text | Positive | None = None
    strike: NotNegative | None = None
    con_id: Count | None = None
    include_expired: bool | None = None
    margin: Annotated[float, Meta(gt=0, le=1)] | None = None


class IbKeys(Section, frozen=True, kw_only=True):
    """Keys of Interactive Brokers: where TWS or the Gateway listens, and what symbols mean.

    Attributes:
        host, port, client_id: of the connection; 7497 is TWS with a paper account.
        account: which one, where the login has several.
        defaults: for every symbol.
        contracts: symbol -> what is special about it.
        calendar: exchange calendar; none for what trades around the clock.
        extended_hours: whether data and limit orders go beyond regular hours.
        timeout_ms, fee_wait_ms, heartbeat_ms, settle_ms: as of
            `regimeflow.venues.InteractiveBrokers`.
    """

    host: Text = "127.0.0.1"
    port: Port = 7497
    client_id: Count = 1
    account: str = ""
    defaults: ContractKeys = ContractKeys()
    contracts: dict[str, ContractKeys] = msgspec.field(default_factory=dict)
    calendar: str = "XNYS"
    extended_hours: bool = False
    timeout_ms: Positive = 5_000.0
    fee_wait_ms: NotNegative = 2_000.0
    heartbeat_ms: Positive = 5_000.0
    settle_ms: NotNegative = 10_000.0


class Broker(NamedTuple):
    """One broker.

    Attributes:
        keys: what ``live.broker_config`` may hold.
        venue: makes the venue from the configuration, those keys and the simulator's assumptions.
        paper_only: whether it has no real money at all.
    """

    keys: type[msgspec.Struct]
    venue: Callable[[Config, Any, Model], Any]
    paper_only: bool


def _simulated(config: Config, keys: SimulatedKeys, model: Model) -> Simulated:
    return Simulated(
        _data(config, keys),
        speed=keys.speed,
        start=keys.start,
        end=keys.end,
        fills=model.fills,
        costs=model.costs,
        latency=model.latency,
        cash=keys.cash,
        label=keys.label,
        timezone=keys.timezone,
        calendar=keys.calendar,
    )


def _data(config: Config, keys: SimulatedKeys) -> Any:
    """Return the frame, or the frames by symbol, that the simulated broker plays."""
    symbols = config.live.symbols
    if isinstance(keys.data, dict):
        missing = [symbol for symbol in symbols if symbol not in keys.data]
        if missing:
            raise ConfigError(
                f"live.broker_config.data has no file for {missing[0]!r}."
                f"{did_you_mean(missing[0], keys.data)}"
            )
        return {s: read_file(Path(keys.data[s]).expanduser(), keys.frames) for s in symbols}
    if keys.data in ("sp500", "nasdaq"):
        return getattr(datasets, keys.data)(flavour=keys.frames)
    if keys.data == "synthetic":
        return datasets.synthetic(
            symbols=symbols,
            n=keys.rows,
            seed=keys.data_seed,
            timeframe=config.live.timeframe or "1min",
            flavour=keys.frames,
            calendar=keys.calendar,
        )
    return read_file(Path(keys.data).expanduser(), keys.frames)


def _loopback(config: Config, keys: LoopbackKeys, model: Model) -> Any:
    return venues.Loopback(
        keys.host,
        keys.port,
        timeout_ms=keys.timeout_ms,
        settle_ms=keys.settle_ms,
        paper=config.live.paper,
    )


def _alpaca(config: Config, keys: AlpacaKeys, model: Model) -> Any:
    live = config.live
    given = msgspec.structs.asdict(keys)
    return _made("Alpaca", paper=live.paper, asset_class=live.broker_asset_class, **given)


def _exchange(config: Config, keys: ExchangeKeys, model: Model) -> Any:
    live = config.live
    return _made("Ccxt", live.broker, paper=live.paper, **msgspec.structs.asdict(keys))


def _binance(config: Config, keys: BinanceKeys, model: Model) -> Any:
    given = msgspec.structs.asdict(keys)
    base, stream, window_ms = (given.pop(n) for n in ("base_url", "stream_url", "recv_window_ms"))
    api: dict[str, Any] = {}
    if base := base.rstrip("/"):
        api |= {"public": f"{base}/api/v3", "private": f"{base}/api/v3"}
    if stream := stream.rstrip("/"):
        api |= {"ws": {"spot": stream}}
    asked: dict[str, Any] = {}
    if api:
        asked["urls"] = {"api": api}
    if window_ms is not None:
        asked["options"] = {"recvWindow": window_ms}
    given["config"] = _merged(asked, keys.config)
    return _made("Ccxt", "binance", paper=config.live.paper, **given)


def _ib(config: Config, keys: IbKeys, model: Model) -> Any:
    unknown = [symbol for symbol in keys.contracts if symbol not in config.live.symbols]
    if unknown:
        raise ConfigError(
            f"live.broker_config.contracts names {unknown[0]!r}, which is not among live.symbols."
            f"{did_you_mean(unknown[0], config.live.symbols)}"
        )
    contracts = {
        symbol: _given(keys.defaults) | _given(keys.contracts.get(symbol, ContractKeys()))
        for symbol in config.live.symbols
    }
    return _made(
        "InteractiveBrokers",
        paper=config.live.paper,
        host=keys.host,
        port=keys.port,
        client_id=keys.client_id,
        account=keys.account,
        contracts={symbol: fields for symbol, fields in contracts.items() if fields},
        calendar=keys.calendar,
        extended_hours=keys.extended_hours,
        timeout_ms=keys.timeout_ms,
        fee_wait_ms=keys.fee_wait_ms,
        heartbeat_ms=keys.heartbeat_ms,
        settle_ms=keys.settle_ms,
    )


def _given(keys: ContractKeys) -> dict[str, Any]:
    """Return the fields that were given, in the adapter's words."""
    found = {k: v for k, v in msgspec.structs.asdict(keys).items() if v is not None}
    if "right" in found:
        found["right"] = found["right"][0]
    return found


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings, the second stronger."""
    merged = dict(under)
    for key, value in over.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _merged(before, value)
        else:
            merged[key] = value
    return merged


def _made(name: str, *given: Any, **named: Any) -> Any:
    """Return a venue by the name of its class, which is imported only now."""
    return getattr(venues, name)(*given, **named)


BROKERS: dict[str, Broker] = {
    "simulated": Broker(SimulatedKeys, _simulated, paper_only=True),
    "loopback": Broker(LoopbackKeys, _loopback, paper_only=False),
    "alpaca": Broker(AlpacaKeys, _alpaca, paper_only=False),
    "binance": Broker(BinanceKeys, _binance, paper_only=False),
    "ib": Broker(IbKeys, _ib, paper_only=False),
}
_EXCHANGE = Broker(ExchangeKeys, _exchange, paper_only=False)
#: Files beside ccxt's exchanges that are none.
_NO_EXCHANGES = frozenset({"base", "abstract", "async_support", "pro", "test"})


def exchanges() -> list[str]:
    """Return the exchanges that ccxt has, by the names of its files: importing it takes long."""
    spec = importlib.util.find_spec("ccxt")
    if spec is None or spec.submodule_search_locations is None:
        return []
    names = {f.stem for place in spec.submodule_search_locations for f in Path(place).glob("*.py")}
    return sorted(n for n in names - _NO_EXCHANGES if not n.startswith("_"))


def broker_of(settings: Settings) -> Broker:
    """Return the broker that a configuration names.

    Raises:
        ConfigError: this version has none of that name, or it has no real money and shall trade it.
    """
    live = settings.config.live
    broker = BROKERS.get(live.broker)
    if broker is None:
        known = exchanges()
        if live.broker not in known:
            raise ConfigError(
                f"{settings.origin(('live', 'broker'))}: there is no broker {live.broker!r}; "
                f"live.broker can be {', '.join(BROKERS)} or {_exchanges_in_words(known)}."
                f"{did_you_mean(live.broker, [*BROKERS, *known])}"
            )
        broker = _EXCHANGE
    if broker.paper_only and not live.paper:
        raise ConfigError(
            f"{settings.origin(('live', 'paper'))}: the broker {live.broker!r} has no real money: "
            "leave live.paper out"
        )
    return broker


def _exchanges_in_words(known: list[str]) -> str:
    if known:
        return f"one of the {len(known)} exchanges of ccxt"
    return 'an exchange of ccxt (pip install "regimeflow-jupyter[ccxt]")'


def keys_of(settings: Settings, values: dict[str, Any] | None = None) -> Any:
    """Return ``live.broker_config`` as the struct of its broker.

    Args:
        settings: the configuration.
        values: the broker's values where they are known better than `Settings.broker` does.
    """
    broker = broker_of(settings)
    given = {key: value.value for key, value in settings.broker.items()}
    wanted = dict(values or given)
    for key, value in settings.broker.items():
        # A variable that says in its name that it is for paper is not for real money.
        if not settings.config.live.paper and _PAPER in value.origin:
            wanted.pop(key, None)
    _check_keys_there(settings, broker, wanted)
    return decode(wanted, broker.keys, settings.file, settings.lines, _AT)


def _check_keys_there(settings: Settings, broker: Broker, wanted: dict[str, Any]) -> None:
    """Refuse missing keys by the name of the variable that may give them.

    Raises:
        ConfigError: one that is required is neither in the file nor in the environment.
    """
    if not set(wanted) <= set(broker.keys.__struct_fields__):
        return  # a key that there is not may be a typing error in one that is missing
    required = {field.name for field in msgspec.structs.fields(broker.keys) if field.required}
    for name, variable in names_of(settings.config.live.broker).items():
        if name in required and name not in wanted:
            raise ConfigError(
                f"{where(settings.file, settings.lines, _AT)}: live.broker_config.{name} is "
                f"required and missing: give it there, or set {variable} in the environment or "
                "in .env"
            )


def venue_of(settings: Settings, model: Model) -> Any:
    """Return the venue that a configuration describes, secrets fetched from their stores."""
    broker = broker_of(settings)
    return broker.venue(settings.config, keys_of(settings, settings.broker_values()), model)
