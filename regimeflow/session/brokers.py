"""The brokers that a configuration can name, and the venues made of their keys.

A new broker is one row in `BROKERS`: the struct that its keys are decoded into, and the function
that makes its venue.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from regimeflow.data import datasets
from regimeflow.data.files import read_file
from regimeflow.errors import ConfigError, did_you_mean
from regimeflow.model.models import Model
from regimeflow.session.config import Config, Count, Positive, Section, Text
from regimeflow.session.decode import decode
from regimeflow.session.settings import Settings
from regimeflow.venues.simulated import Simulated

_AT = ("live", "broker_config")


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


class Broker(NamedTuple):
    """One broker.

    Attributes:
        keys: what ``live.broker_config`` may hold.
        venue: makes the venue from the configuration, those keys and the simulator's assumptions.
        paper_only: whether it has no real money at all.
    """

    keys: type[msgspec.Struct]
    venue: Callable[[Config, Any, Model], Simulated]
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


BROKERS: dict[str, Broker] = {
    "simulated": Broker(SimulatedKeys, _simulated, paper_only=True),
}


def broker_of(settings: Settings) -> Broker:
    """Return the broker that a configuration names.

    Raises:
        ConfigError: this version has none of that name, or it has no real money and shall trade it.
    """
    live = settings.config.live
    broker = BROKERS.get(live.broker)
    if broker is None:
        near = did_you_mean(live.broker, BROKERS)
        raise ConfigError(
            f"{settings.origin(('live', 'broker'))}: this version has no broker {live.broker!r}; "
            f"live.broker can be {', '.join(BROKERS)}.{near}"
        )
    if broker.paper_only and not live.paper:
        raise ConfigError(
            f"{settings.origin(('live', 'paper'))}: the broker {live.broker!r} has no real money: "
            "leave live.paper out"
        )
    return broker


def keys_of(settings: Settings, values: dict[str, Any] | None = None) -> Any:
    """Return ``live.broker_config`` as the struct of its broker.

    Args:
        settings: the configuration.
        values: the broker's values where they are known better than `Settings.broker` does.
    """
    broker = broker_of(settings)
    given = {key: value.value for key, value in settings.broker.items()}
    return decode(values or given, broker.keys, settings.file, settings.lines, _AT)


def venue_of(settings: Settings, model: Model) -> Simulated:
    """Return the venue that a configuration describes, secrets fetched from their stores."""
    broker = broker_of(settings)
    return broker.venue(settings.config, keys_of(settings, settings.broker_values()), model)
