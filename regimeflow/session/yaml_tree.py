"""YAML from a file that anybody may have written, as plain values with their line numbers.

Read event by event, so that what a configuration has no use for is never built: tags, anchors and
aliases, several documents, keys given twice, deep nesting, numbers that are not finite. Plain words
mean what they say: only ``true`` and ``false`` are switches, so that the symbols ON and NO are
text, and numbers with a leading zero are text as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from regimeflow.errors import ConfigError
from regimeflow.redaction import Secret, is_secret

#: Where something stands: ``("live", "symbols", 0)``.
Place = tuple[str | int, ...]

MOST_BYTES = 256 * 1024
MOST_LEVELS = 12
_MOST_DIGITS = 18

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class Tree(NamedTuple):
    """What a file holds.

    Attributes:
        values: nested dicts and lists; text under the name of a secret is a `Secret`.
        lines: place -> one-based line.
    """

    values: dict[str, Any]
    lines: dict[Place, int]


def read_yaml(path: Path) -> Tree:
    """Return the mapping that a file holds.

    Raises:
        ConfigError: it cannot be read, or is not plain YAML; names the line, never a value.
    """
    # Raised here and not below, so that no traceback has the file's text among its variables.
    fault = _Fault("", 0)
    try:
        return _read(path)
    except _Fault as found:
        fault = found
    line = f":{fault.line}" if fault.line else ""
    raise ConfigError(f"{path}{line}: {fault.problem}")


class _Fault(Exception):
    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


def _read(path: Path) -> Tree:
    try:
        if not path.is_file():
            raise _Fault("there is no such file", 0)
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _Fault(f"cannot be read: {getattr(error, 'strerror', None) or error}", 0) from None
    if len(content) > MOST_BYTES:
        raise _Fault(f"is larger than {MOST_BYTES // 1024} KiB", 0)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _Fault("is not UTF-8 text", 0) from None
    try:
        return _Builder(text).tree()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 0
        raise _Fault(f"is not YAML: {error.problem or error.context}", line) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _Fault(f"is not YAML: {error.reason}", line) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # Such as an escape that names no character.
        raise _Fault("is not YAML", 0) from None


class _Builder:
    """Builds the tree of one document from its events."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._lines: dict[Place, int] = {}

    def tree(self) -> Tree:
        next(self._events)  # the stream
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            raise _Fault("is empty", 0)
        event = self._next()
        if not isinstance(event, yaml.MappingStartEvent):
            raise _Fault("must be a mapping of keys to values", _line(event))
        values = self._mapping(event, ())
        next(self._events)  # the end of the document
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _Fault("holds more than one document", _line(after))
        return Tree(values, self._lines)

    def _next(self) -> Any:
        event = next(self._events)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _Fault("anchors and aliases (& and *) are not for configurations", _line(event))
        if getattr(event, "tag", None) is not None:
            raise _Fault("tags (!) are not for configurations", _line(event))
        return event

    def _mapping(self, start: Any, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            line = _line(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise _Fault("a key must be a word", line)
            key = _printable(event)
            if key == "<<" and event.implicit[0]:
                raise _Fault("merge keys (<<) are not for configurations", line)
            if key in values:
                first = self._lines[(*place, key)]
                raise _Fault(f"{key!r} is given twice, first in line {first}", line)
            self._lines[(*place, key)] = line
            values[key] = self._value(self._next(), (*place, key))
        return values

    def _sequence(self, place: Place) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            one = (*place, len(values))
            self._lines[one] = _line(event)
            values.append(self._value(event, one))
        return values

    def _value(self, event: Any, place: Place) -> Any:
        if len(place) > MOST_LEVELS:
            raise _Fault(f"is nested deeper than {MOST_LEVELS} levels", _line(event))
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, place)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(place)
        text = _printable(event)
        value = _scalar(event, text)
        named = next((p for p in reversed(place) if isinstance(p, str)), "")
        # A key made of digits is text that lost its quotes; a parameter may well count tokens.
        number = isinstance(value, int | float) and place[:2] == ("live", "broker_config")
        if is_secret(named) and (number or isinstance(value, str)) and value is not True:
            return Secret(text)
        return value


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _printable(event: Any) -> str:
    text: str = event.value
    if _UNPRINTABLE.search(text):
        raise _Fault("holds a character that cannot be shown", _line(event))
    return text


def _scalar(event: Any, text: str) -> Any:
    """Return a plain word as what it stands for; what is quoted is text."""
    if not event.implicit[0]:
        return text
    word = text if text in ("~", "") else text.lower()
    if word in _WORDS and text in (word, word.title(), word.upper()):
        return _WORDS[word]
    if _NOT_FINITE.fullmatch(text):
        raise _Fault("numbers must be finite", _line(event))
    if _INT.fullmatch(text):
        if len(text) > _MOST_DIGITS:
            raise _Fault(f"a whole number has at most {_MOST_DIGITS} digits", _line(event))
        return int(text)
    if any(c.isdigit() for c in text) and _FLOAT.fullmatch(text):
        try:
            number = float(text)
        except ValueError:
            return text
        if not math.isfinite(number):
            raise _Fault("numbers must be finite", _line(event))
        return number
    return text
