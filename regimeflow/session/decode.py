"""Decoding by type, with sentences that name the key, its line and the nearest known one."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from regimeflow.errors import ConfigError, did_you_mean
from regimeflow.redaction import Secret
from regimeflow.session.yaml_tree import Place

T = TypeVar("T", bound=msgspec.Struct)

_AT = re.compile(r" - at `(?:key in )?\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+|\.\.\.)\]")


def decode(
    values: Mapping[str, Any], kind: type[T], file: str, lines: Mapping[Place, int], at: Place = ()
) -> T:
    """Return values as the struct that they should be.

    Args:
        values: nested dicts and lists.
        kind: the struct.
        file: its name, for messages.
        lines: place -> line.
        at: where the values stand in the file.

    Raises:
        ConfigError: a key that is unknown or missing, or a value of another type.
    """
    given = _known(values, kind, file, lines, at)
    problem, place = "", at
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        problem = str(error)
        place = (*at, *_place(problem, given))
    raise ConfigError(_sentence(problem, place, given, kind, file, lines, at))


def dotted(place: Place) -> str:
    """Return a place as a user writes it.

    >>> dotted(("live", "symbols", 0))
    'live.symbols[0]'
    """
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place)
    return text.removeprefix(".")


def where(file: str, lines: Mapping[Place, int], place: Place) -> str:
    """Return ``file:line`` of a place, or of the nearest one around it."""
    while place and place not in lines:
        place = place[:-1]
    return f"{file}:{lines[place]}" if place else file


def leaves(kind: type[msgspec.Struct], at: Place = ()) -> Iterator[Place]:
    """Yield the place of every key that takes a value."""
    for name, wanted in typing.get_type_hints(kind, include_extras=True).items():
        section = _section(wanted)
        if section is None:
            yield (*at, name)
        else:
            yield from leaves(section, (*at, name))


# ---------------------------------------------------------------- keys


def _known(
    values: Mapping[str, Any],
    kind: type[msgspec.Struct],
    file: str,
    lines: Mapping[Place, int],
    at: Place,
) -> dict[str, Any]:
    """Return the values, empty sections left out; refuse keys that nobody knows."""
    hints = typing.get_type_hints(kind, include_extras=True)
    kept: dict[str, Any] = {}
    for name, value in values.items():
        place = (*at, name)
        if name not in hints:
            raise ConfigError(
                f"{where(file, lines, place)}: there is no key {dotted(place)}."
                f"{_nearest(name, list(hints), kind, at)}"
            )
        section, each = _section(hints[name]), _section_of_each(hints[name])
        if each is not None and isinstance(value, Mapping):
            # One by one: of a mapping's values msgspec does not say which one is wrong.
            for key, one in value.items():
                if isinstance(one, Mapping):
                    decode(one, each, file, lines, (*place, key))
        if section is None:
            kept[name] = value
        elif isinstance(value, Mapping):
            kept[name] = _known(value, section, file, lines, place)
        elif value is not None:  # a section whose keys are all commented out is not given
            kept[name] = value
    return kept


def _nearest(name: str, here: list[str], kind: type[msgspec.Struct], at: Place) -> str:
    near = did_you_mean(name, here)
    if near:
        return near
    from regimeflow.session.config import Config

    elsewhere = [dotted(place) for place in leaves(Config) if place[-1] == name]
    if elsewhere:
        return f" Did you mean '{elsewhere[0]}'?"
    return f" Known here: {', '.join(here)}."


def _section(wanted: Any) -> type[msgspec.Struct] | None:
    return wanted if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct) else None


def _section_of_each(wanted: Any) -> type[msgspec.Struct] | None:
    """Return the section that every value of a mapping is."""
    return _section(typing.get_args(wanted)[1]) if typing.get_origin(wanted) is dict else None


# ---------------------------------------------------------------- values


def _place(problem: str, values: Any) -> Place:
    """Return the place that a message of msgspec names."""
    found = _AT.search(problem)
    if found is None:
        return ()
    place: list[str | int] = []
    for step in _STEP.finditer(found["path"]):
        if step["name"] is not None:
            place.append(step["name"])
        elif step["index"] != "...":
            place.append(int(step["index"]))
        else:  # some value of a mapping: msgspec does not say which
            break
    return tuple(place)


def _sentence(
    problem: str,
    place: Place,
    values: Any,
    kind: type[msgspec.Struct],
    file: str,
    lines: Mapping[Place, int],
    at: Place,
) -> str:
    stands = where(file, lines, place)
    missing = re.match(r"Object missing required field `(\w+)`", problem)
    if missing:
        return f"{stands}: {dotted((*place, missing[1]))} is required and missing"
    value: Any = values
    wanted: Any = kind
    for step in place[len(at) :]:
        value = _step_into(value, step)
        wanted = _type_at(wanted, step)
    if value == [] and place and "length >= 1" in problem:
        one = str(place[-1]).removesuffix("s")
        return f"{stands}: {dotted(place)} must name at least one {one}, and is empty"
    return (
        f"{stands}: {dotted(place)} must be {_words(wanted)}, not {_shown(value)}"
        f"{_hint(wanted, value)}"
    )


def _step_into(value: Any, step: str | int) -> Any:
    try:
        return value[step]
    except (KeyError, IndexError, TypeError):
        return None


def _type_at(wanted: Any, step: str | int) -> Any:
    for kind in _plain(wanted):
        if isinstance(step, str) and _section(kind) is not None:
            return typing.get_type_hints(kind, include_extras=True).get(step, Any)
        if isinstance(step, int) and typing.get_origin(kind) is tuple:
            return typing.get_args(kind)[0]
        if isinstance(step, str) and typing.get_origin(kind) is dict:
            return typing.get_args(kind)[1]
    return Any


def _plain(wanted: Any) -> list[Any]:
    """Return the types of a union, without what annotates them and without None."""
    if typing.get_origin(wanted) is Annotated:
        return _plain(typing.get_args(wanted)[0])
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        return [p for part in typing.get_args(wanted) for p in _plain(part)]
    return [] if wanted is type(None) else [wanted]


def _words(wanted: Any) -> str:
    """Return a type in words.

    >>> _words(Annotated[float, msgspec.Meta(ge=0)] | None)
    'a number of at least 0'
    """
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        parts = [_words(part) for part in typing.get_args(wanted) if part is not type(None)]
        return " or ".join(parts)
    if typing.get_origin(wanted) is Annotated:
        plain, *notes = typing.get_args(wanted)
        return _words(plain) + "".join(_bounds(note) for note in notes)
    origin = typing.get_origin(wanted)
    if origin is Literal:
        return f"one of {', '.join(map(str, typing.get_args(wanted)))}"
    if origin is tuple:
        of = _words(typing.get_args(wanted)[0])
        of = of.removeprefix("one of ").removeprefix("a ").removesuffix(_NOT_EMPTY)
        return f"a list of {of}"
    return _NAMES.get(wanted, "a mapping of keys to values")


_NOT_EMPTY = " that is not empty"
_NAMES = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "text",
    Secret: "text",
}


def _bounds(note: msgspec.Meta) -> str:
    if note.min_length:
        return _NOT_EMPTY
    if note.pattern:
        return " such as /metrics"
    low = f" above {note.gt:g}" if note.gt is not None else ""
    low = f" of at least {note.ge:g}" if note.ge is not None else low
    high = f"{' and' if low else ''} of at most {note.le:g}" if note.le is not None else ""
    return low + high


def _shown(value: Any) -> str:
    if isinstance(value, Secret):
        return "a secret"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, str):
        return f"the text {value if len(value) <= 40 else value[:40] + '...'!r}"
    return "a list" if isinstance(value, list | tuple) else "a mapping"


def _hint(wanted: Any, value: Any) -> str:
    kinds = _plain(wanted)
    choices = [str(c) for k in kinds if typing.get_origin(k) is Literal for c in typing.get_args(k)]
    if choices and isinstance(value, str):
        return f".{did_you_mean(value, choices)}" if did_you_mean(value, choices) else ""
    if str in kinds and isinstance(value, bool | int | float):
        return ": put it in quotes"
    if bool in kinds and isinstance(value, str) and value.lower() in ("yes", "no", "on", "off"):
        return f": write {'true' if value.lower() in ('yes', 'on') else 'false'}"
    if any(typing.get_origin(k) is tuple for k in kinds) and isinstance(value, str):
        return f": write [{value}]"
    return ""
