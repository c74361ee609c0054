"""A venue's keys: as given, else from the environment, files that it names, or ``.env``."""

from __future__ import annotations

from pathlib import Path

from regimeflow.environment import Value, look_up, names_of, read_dotenv
from regimeflow.errors import ConfigError
from regimeflow.redaction import Secret


def secrets_of(broker: str, **given: str | Secret | None) -> dict[str, Secret]:
    """Return the secrets of a venue by the names of its arguments.

    What is not given comes from the variables of `regimeflow.environment`, strongest first; a
    secret that is nowhere is left out.

    Args:
        broker: "alpaca", "ib" or the id of an exchange.
        **given: such as ``api_key``; None or "" for what was left out.

    Example:
        >>> secrets_of("alpaca", api_key="PK123", secret_key="s")
        {'api_key': Secret((hidden)), 'secret_key': Secret((hidden))}
    """
    known = {
        name: Value(value if isinstance(value, Secret) else Secret(value), "argument")
        for name, value in given.items()
        if value
    }
    found = look_up(broker, known, read_dotenv(Path.cwd()))
    return {name: found[name].value for name in given if name in found}


def needed(broker: str, **given: str | Secret | None) -> dict[str, Secret]:
    """Return the secrets of a venue, all of them.

    Raises:
        ConfigError: one is neither given nor in the environment; the message names the variable.
    """
    found = secrets_of(broker, **given)
    for name in given:
        if name not in found:
            raise ConfigError(
                f"{broker} needs {name}: give it, or set {names_of(broker)[name]} in the "
                "environment or in .env"
            )
    return found
