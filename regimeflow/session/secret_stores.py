"""Secrets that stand in a store, fetched by the store's own command line tool.

The tools bring their own login, so that we hold no credentials for them. A message names the
reference and the tool, never what the tool printed: that may be the secret.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from regimeflow.errors import ConfigError
from regimeflow.redaction import Secret

#: A store that asks for a password or does not answer is given up.
TIMEOUT_S = 30.0
_MOST_BYTES = 1024 * 1024

#: Begins with a letter or digit, so that no part is ever taken for an option.
_PART = r"[A-Za-z0-9][\w.@:+=-]*"
_REFERENCE = re.compile(
    rf"(?P<scheme>[a-z-]+)://(?P<path>{_PART}(?:/{_PART})*)(?:#(?P<field>{_PART}))?", re.ASCII
)


class _Store(NamedTuple):
    """How a store is asked.

    Attributes:
        form: what a reference looks like.
        parts: fewest and most parts of the path.
        command: tool and arguments, from the parts and the field.
        field: whether the tool picks the field itself.
    """

    form: str
    parts: tuple[int, int]
    command: Callable[[list[str], str], list[str]]
    field: bool = False


_STORES = {
    "vault": _Store(
        "vault://mount/path#field",
        (2, 20),
        lambda path, field: ["vault", "kv", "get", f"-field={field}", "/".join(path)],
        field=True,
    ),
    "aws-sm": _Store(
        "aws-sm://id#field",
        (1, 20),
        lambda path, _: [
            "aws", "secretsmanager", "get-secret-value", "--secret-id", "/".join(path),
            "--query", "SecretString", "--output", "text",
        ],
    ),
    "gcp-sm": _Store(
        "gcp-sm://project/secret#field",
        (2, 2),
        lambda path, _: [
            "gcloud", "secrets", "versions", "access", "latest",
            f"--secret={path[1]}", f"--project={path[0]}",
        ],
    ),
    "azure-kv": _Store(
        "azure-kv://vault/secret#field",
        (2, 2),
        lambda path, _: [
            "az", "keyvault", "secret", "show", "--vault-name", path[0], "--name", path[1],
            "--query", "value", "--output", "tsv",
        ],
    ),
}  # fmt: skip


def is_reference(text: str) -> bool:
    """Whether a text names a secret in a store.

    >>> is_reference("vault://kv/alpaca#key"), is_reference("https://example.org")
    (True, False)
    """
    return text.partition("://")[0] in _STORES and "://" in text


def fetch(reference: str) -> Secret:
    """Return the secret that a reference names.

    Raises:
        ConfigError: the reference cannot be read, or its tool is missing, fails or takes too long.
    """
    store, path, field = _parsed(reference)
    command = store.command(path, field)
    tool = shutil.which(command[0])
    if tool is None:
        raise ConfigError(f"{reference} needs the command {command[0]!r}, which is not installed")
    problem, output = _run([tool, *command[1:]])
    if problem:
        raise ConfigError(f"{command[0]}, asked for {reference}, {problem}; try it in a terminal")
    text = output.decode("utf-8", "replace").rstrip("\r\n")
    if field and not store.field:
        text = _field(text, field)
    if not text:
        raise ConfigError(f"{command[0]} answered, but {reference} has no value")
    return Secret(text)


def _parsed(reference: str) -> tuple[_Store, list[str], str]:
    scheme = reference.partition("://")[0]
    store = _STORES[scheme]
    found = _REFERENCE.fullmatch(reference)
    if found is not None:
        path, field = found["path"].split("/"), found["field"] or ""
        fewest, most = store.parts
        if fewest <= len(path) <= most and (field or not store.field):
            return store, path, field
    raise ConfigError(f"a reference to a secret looks like {store.form}: one of {scheme} does not")


def _run(command: list[str]) -> tuple[str, bytes]:
    """Return what went wrong, or "", and the output."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"did not answer within {TIMEOUT_S:g} s", b""
    except OSError as error:
        return f"could not be started ({error.strerror})", b""
    if done.returncode:
        return f"failed with exit code {done.returncode}", b""
    if len(done.stdout) > _MOST_BYTES:
        return "gave more than a secret", b""
    return "", done.stdout


def _field(text: str, field: str) -> str:
    """Return one field of a secret that is a JSON object, "" if it has no such field."""
    try:
        values = msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError:
        return ""
    value = values.get(field)
    return value if isinstance(value, str) else "" if value is None else str(value)
