"""A configuration file read, checked and joined with the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from regimeflow.environment import DotEnv, Value, exposure, look_up, read_dotenv
from regimeflow.errors import ConfigError
from regimeflow.redaction import Redactor, Secret
from regimeflow.session.config import Config
from regimeflow.session.decode import decode, dotted, where
from regimeflow.session.secret_stores import fetch, is_reference
from regimeflow.session.yaml_tree import Place, read_yaml


@dataclass(frozen=True)
class Settings:
    """One configuration as it takes effect.

    Attributes:
        config: the file's content, defaults filled in.
        file: the file's name, as it was given.
        lines: place of a key -> its line.
        broker: the broker's values from the file and the environment, each with its origin;
            references to secrets as they were written.
        findings: sentences about secrets that others could read and endpoints that others could
            change; with real money each of them is a reason not to start.
        redactor: knows every secret that was read.
    """

    config: Config
    file: str
    lines: Mapping[Place, int]
    broker: Mapping[str, Value]
    findings: tuple[str, ...]
    redactor: Redactor

    def origin(self, place: Place) -> str:
        """Return where a key's value came from: ``file:line`` or ``default``."""
        return where(self.file, self.lines, place) if place in self.lines else "default"

    def with_run(self, name: str) -> Settings:
        """Return these with another name of the run directory, as if ``live.run`` had it."""
        live = msgspec.structs.replace(self.config.live, run=name)
        return replace(self, config=msgspec.structs.replace(self.config, live=live))

    def broker_values(self) -> dict[str, Any]:
        """Return the broker's values, with the secrets that their stores hold."""
        found: dict[str, Any] = {}
        for key, given in self.broker.items():
            value = given.value
            text = value.reveal() if isinstance(value, Secret) else value
            if isinstance(text, str) and is_reference(text):
                secret = fetch(text)
                self.redactor.add(secret)
                value = secret if isinstance(value, Secret) else secret.reveal()
            found[key] = value
        return found


def load_settings(path: str | Path, *, folder: Path | None = None) -> Settings:
    """Return a configuration file, joined with what the environment adds.

    Args:
        path: of the YAML file.
        folder: where ``.env`` is looked for; the working directory without it.

    Raises:
        ConfigError: something in it is unknown, missing, contradictory or of the wrong type.
    """
    file = str(path)
    tree = read_yaml(Path(path))
    config = decode(tree.values, Config, file, tree.lines)
    _agree(config, file, tree.lines)
    dotenv = read_dotenv(folder or Path.cwd())
    given = {
        key: Value(value, where(file, tree.lines, ("live", "broker_config", key)))
        for key, value in config.live.broker_config.items()
    }
    broker = look_up(config.live.broker, given, dotenv)
    return Settings(
        config,
        file,
        tree.lines,
        broker,
        _findings(Path(path), config, dotenv),
        Redactor(_literal({key: value.value for key, value in broker.items()})),
    )


def _findings(path: Path, config: Config, dotenv: DotEnv) -> tuple[str, ...]:
    holds_secret = bool(_literal(config.live.broker_config))
    return (*dotenv.findings, *(exposure(path) if holds_secret else ()))


def _literal(values: Any) -> list[Secret]:
    """Return the secrets that stand there themselves; a reference to one is none."""
    return [secret for secret in _secrets(values) if not is_reference(secret.reveal())]


def _secrets(value: Any) -> Iterator[Secret]:
    """Yield the secrets in nested values."""
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _secrets(one)
    elif isinstance(value, list):
        for one in value:
            yield from _secrets(one)


def _agree(config: Config, file: str, lines: Mapping[Place, int]) -> None:
    """Refuse values that contradict each other."""
    live = config.live

    def refuse(place: Place, problem: str) -> None:
        raise ConfigError(f"{where(file, lines, place)}: {dotted(place)} {problem}")

    seen: set[str] = set()
    for number, symbol in enumerate(live.symbols):
        if symbol in seen:
            refuse(("live", "symbols", number), f"names {symbol!r} a second time")
        seen.add(symbol)
    if live.reconnect.max_ms < live.reconnect.initial_ms:
        refuse(("live", "reconnect", "max_ms"), "must not be below initial_ms")
    if live.risk.limits.max_notional is not None and ("live", "max_order_value") in lines:
        refuse(
            ("live", "max_order_value"),
            "and live.risk.limits.max_notional both limit the money of one order: give one",
        )
    for place in _secret_places(config.strategy.params, ("strategy", "params")):
        refuse(
            place,
            "looks like a secret, and parameters are written into every run: let the strategy read "
            "it from the environment",
        )


def _secret_places(value: Any, at: Place) -> Iterator[Place]:
    if isinstance(value, Secret):
        yield at
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _secret_places(one, (*at, key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _secret_places(one, (*at, number))
