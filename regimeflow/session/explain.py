"""The configuration as it takes effect, with where each value came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from regimeflow.environment import Value, names_of
from regimeflow.redaction import HIDDEN, Secret, is_secret
from regimeflow.session.brokers import BROKERS
from regimeflow.session.decode import dotted, leaves
from regimeflow.session.secret_stores import is_reference
from regimeflow.session.settings import Settings
from regimeflow.session.yaml_tree import Place

_WIDEST = 48


class Row(NamedTuple):
    """One key, its value as text, and where that came from."""

    key: str
    value: str
    origin: str


def rows(settings: Settings) -> list[Row]:
    """Return every key in effect, in the order of the reference, secrets hidden."""
    return [
        Row(key, settings.redactor.text(value), origin) for key, value, origin in _rows(settings)
    ]


def explain(settings: Settings) -> str:
    """Return the rows as a table, and what is wrong with the places of secrets below it."""
    table = [Row("key", "value", "from"), *rows(settings)]
    shown = [(r.key, _cut(r.value), r.origin) for r in table]
    left, middle = (max(len(row[column]) for row in shown) for column in (0, 1))
    lines = [f"{key:<{left}}  {value:<{middle}}  {origin}" for key, value, origin in shown]
    lines += ["", *(f"note: {finding}" for finding in settings.findings)]
    return "\n".join(lines).rstrip()


def _rows(settings: Settings) -> Iterator[tuple[str, str, str]]:
    for place in leaves(type(settings.config)):
        value: Any = settings.config
        for step in place:
            value = getattr(value, str(step))
        if place == ("live", "broker_config"):
            yield from _broker_rows(settings)
        elif isinstance(value, Mapping) and value:
            yield from _nested(settings, value, place)
        else:
            yield dotted(place), _text(str(place[-1]), value), settings.origin(place)


def _broker_rows(settings: Settings) -> Iterator[tuple[str, str, str]]:
    at = ("live", "broker_config")
    broker = BROKERS.get(settings.config.live.broker)
    known = list(broker.keys.__struct_fields__) if broker else []
    for key in dict.fromkeys([*known, *settings.broker, *names_of(settings.config.live.broker)]):
        given = settings.broker.get(key)
        place = (*at, key)
        if given is None:
            yield dotted(place), _default(broker.keys if broker else None, key), "default"
        elif isinstance(given.value, Mapping):
            yield from _nested(settings, given.value, place)
        else:
            yield dotted(place), _text(key, given.value), _via(given)


def _via(given: Value) -> str:
    text = given.value.reveal() if isinstance(given.value, Secret) else given.value
    if isinstance(text, str) and is_reference(text):
        return f"{given.origin}, which names {text}"
    return given.origin


def _nested(
    settings: Settings, values: Mapping[str, Any], at: Place
) -> Iterator[tuple[str, str, str]]:
    for key, value in values.items():
        place = (*at, key)
        if isinstance(value, Mapping):
            yield from _nested(settings, value, place)
        else:
            yield dotted(place), _text(key, value), settings.origin(place)


def _default(keys: type[msgspec.Struct] | None, key: str) -> str:
    for field in msgspec.structs.fields(keys) if keys is not None else ():
        if field.name == key and field.default is not msgspec.NODEFAULT:
            return _text(key, field.default)
    return "-"


def _text(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Secret) or (is_secret(key) and isinstance(value, str)):
        return HIDDEN
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_text(key, one) for one in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_text(str(k), v)}" for k, v in value.items()) + "}"
    return str(value)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."
