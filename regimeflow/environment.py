"""Values that do not stand in the configuration file: the environment, files it names, ``.env``.

Strongest first: a value in ``live.broker_config``, the variable ``NAME``, the content of the file
that ``NAME_FILE`` names, ``.env`` in the working directory. What is empty counts as not given.
``.env`` is read without interpolation and never put into the environment of this process or of
another.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from regimeflow.errors import ConfigError
from regimeflow.redaction import Secret, is_secret

#: Broker -> its key -> the variable that gives it.
_NAMES: dict[str, dict[str, str]] = {
    "simulated": {},
    "alpaca": {
        "api_key": "ALPACA_API_KEY",
        "secret_key": "ALPACA_API_SECRET",
        "base_url": "ALPACA_PAPER_BASE_URL",
        "stream_url": "ALPACA_STREAM_URL",
    },
    "binance": {
        "api_key": "BINANCE_API_KEY",
        "secret_key": "BINANCE_SECRET_KEY",
        "base_url": "BINANCE_BASE_URL",
        "stream_url": "BINANCE_STREAM_URL",
        "recv_window_ms": "BINANCE_RECV_WINDOW_MS",
    },
    "ib": {"host": "IB_HOST", "port": "IB_PORT", "client_id": "IB_CLIENT_ID"},
}
_NUMBERS = frozenset({"port", "client_id", "recv_window_ms"})
#: Where one's money is: not to be changed by a file that came with a download.
_ENDPOINTS = ("_URL", "_HOST", "_PORT")

_MOST_BYTES = 64 * 1024
_GIT_S = 10.0


class Value(NamedTuple):
    """A value and where it came from.

    Attributes:
        value: as it was given; text under the name of a secret is a `Secret`.
        origin: such as ``live.yaml:12``, ``environment ALPACA_API_KEY`` or ``.env:3``.
    """

    value: Any
    origin: str


class DotEnv(NamedTuple):
    """What ``.env`` holds: name -> `Secret` and its line, and what is wrong with the file."""

    values: Mapping[str, Value]
    findings: tuple[str, ...]


def names_of(broker: str) -> dict[str, str]:
    """Return key -> variable of a broker.

    >>> names_of("kraken")["api_key"]
    'KRAKEN_API_KEY'
    """
    known = _NAMES.get(broker)
    if known is not None:
        return dict(known)
    prefix = "".join(c if c.isalnum() else "_" for c in broker).upper()
    keys = {"api_key": "API_KEY", "secret_key": "SECRET_KEY", "password": "PASSWORD"}
    return {key: f"{prefix}_{name}" for key, name in keys.items()}


def look_up(broker: str, given: Mapping[str, Value], dotenv: DotEnv) -> dict[str, Value]:
    """Return the broker's values, each from the strongest place that has it."""
    names = names_of(broker)
    # Without a variable to look for, nothing is a value too: `speed: null` has a meaning.
    found = {k: v for k, v in given.items() if k not in names or not _is_empty(v.value)}
    for key, name in names.items():
        if key not in found:
            value = _from_outside(name, dotenv)
            if value is not None:
                found[key] = Value(_typed(key, name, value), value.origin)
    return found


def _from_outside(name: str, dotenv: DotEnv) -> Value | None:
    """Return a `Secret`, whatever the name: what is one is decided by the key."""
    file = f"{name}_FILE"
    if value := _variable(name):
        return Value(value, f"environment {name}")
    if (path := _variable(file)) and (text := _content(file, path)):
        return Value(text, f"file of {file}")
    if name in dotenv.values:
        return dotenv.values[name]
    if file in dotenv.values:
        path, origin = dotenv.values[file]
        if text := _content(file, path):
            return Value(text, f"file of {file} in {origin}")
    return None


def _variable(name: str) -> Secret:
    # Out of the environment and into a Secret here, where nothing is raised: a traceback with the
    # variables of a frame that holds the environment would show all of it.
    return Secret(os.environ.get(name, "").strip())


def _typed(key: str, name: str, value: Value) -> Any:
    if is_secret(key):
        return value.value
    text = value.value.reveal()
    if key not in _NUMBERS:
        return text
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ConfigError(f"{name} ({value.origin}) must be a whole number")
    return int(text)


def _is_empty(value: Any) -> bool:
    if isinstance(value, Secret):
        value = value.reveal()
    return value is None or (isinstance(value, str) and not value.strip())


def _content(name: str, path: Secret) -> Secret:
    """Return what stands in the file that a variable names."""
    text, problem = _read(Path(path.reveal()).expanduser())
    if problem:
        raise ConfigError(f"{name} names a file that {problem}")
    return text


def _read(path: Path) -> tuple[Secret, str]:
    """Return a file's text and what is wrong with it, "" if nothing."""
    try:
        if path.exists() and not path.is_file():
            return Secret(""), "is none"
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES or b"\0" in content:
            return Secret(""), "holds no short text"
        return Secret(content.decode("utf-8-sig").strip()), ""
    except UnicodeDecodeError:
        return Secret(""), "is not UTF-8 text"
    except (OSError, ValueError) as error:
        return Secret(""), f"cannot be read ({getattr(error, 'strerror', None) or error})"


# ---------------------------------------------------------------- .env


def read_dotenv(folder: Path) -> DotEnv:
    """Return what ``.env`` in this folder holds; never one in a folder above.

    Raises:
        ConfigError: a line cannot be read, or a name is given twice.
    """
    path = folder / ".env"
    if not path.exists():
        return DotEnv({}, ())
    text, problem = _read(path)
    if problem:
        raise ConfigError(f".env {problem}")
    values, problem = _parsed(text)
    if problem:
        raise ConfigError(problem)
    found = {name: value for name, value in values.items() if value.value}
    return DotEnv(found, (*exposure(path), *_endpoints(found)))


def _parsed(text: Secret) -> tuple[dict[str, Value], str]:
    """Return the values and what is wrong with a line, "" if nothing."""
    from dotenv.parser import parse_stream

    values: dict[str, Value] = {}
    for binding in parse_stream(io.StringIO(text.reveal())):
        # A line break before a statement counts as part of it.
        before = binding.original.string
        line = binding.original.line + before[: len(before) - len(before.lstrip())].count("\n")
        if binding.error or (binding.key is not None and binding.value is None):
            return {}, f".env:{line} is not of the form NAME=value"
        if binding.key is None or binding.value is None:
            continue
        if binding.key in values:
            first = values[binding.key].origin
            return {}, f".env:{line}: {binding.key} is given twice, first in {first}"
        values[binding.key] = Value(Secret(binding.value.strip()), f".env:{line}")
    return values, ""


def _endpoints(values: Mapping[str, Value]) -> list[str]:
    return [
        f"{value.origin} sets {name}: an endpoint belongs into the configuration file or the "
        "environment, since whoever can write .env could send your orders elsewhere"
        for name, value in values.items()
        if name.endswith(_ENDPOINTS)
    ]


def exposure(path: Path) -> list[str]:
    """Return sentences about who else could read or change a file with secrets."""
    found: list[str] = []
    if os.name == "posix":
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            found.append(f"{path.name} can be read or changed by other users: chmod 600 {path}")
    if _is_tracked(path):
        found.append(
            f"{path.name} is tracked by git: git rm --cached {path}, and replace every secret in it"
        )
    return found


def _is_tracked(path: Path) -> bool:
    folder = path.resolve().parent
    if not any((above / ".git").exists() for above in (folder, *folder.parents)):
        return False
    git = shutil.which("git")
    if git is None:
        return False
    # Variables of git itself, as in a hook, would make it look at another repository.
    environ = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            [git, "ls-files", "--error-unmatch", "--", path.name],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_GIT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
