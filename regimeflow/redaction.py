"""Secrets, and keeping them out of everything that is shown or written down.

A `Secret` shows nothing of itself. A `Redactor` takes the values it knows out of any text, however
they were encoded on the way there, and everything that stands under a name such as ``api_key``.
"""

from __future__ import annotations

import base64
import hmac
import html
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, Self

from regimeflow.model import secrecy

HIDDEN, is_secret = secrecy.HIDDEN, secrecy.is_secret


class Secret:
    """Text that shows itself to `reveal` only.

    >>> key = Secret("hunter2")
    >>> key, f"{key}", key.reveal()
    (Secret((hidden)), '(hidden)', 'hunter2')
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_text", text)

    def reveal(self) -> str:
        """Return the text itself: for the call that needs it, never for a variable that stays."""
        text: str = object.__getattribute__(self, "_text")
        return text

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled: it stays in the process that was given it")


class Redactor(logging.Filter):
    """Takes secrets out of text, of nested values and, as a filter on a handler, of log records.

    Known values are found as they are and in URL, JSON, Python and HTML escapes, in any mixture of
    these, in hexadecimal and in base64, alone or inside a longer encoded text. Values shorter than
    `SHORTEST` are hidden by their names only: one cannot take every "a" out of a text.

    >>> Redactor(["hunter2"]).text("GET /?key=hunter2 and aHVudGVyMg== and 68756e74657232")
    'GET /?key=(hidden) and (hidden) and (hidden)'
    >>> Redactor().text('{"api_key": "abc", "qty": 5}')
    '{"api_key": "(hidden)", "qty": 5}'
    """

    SHORTEST = 4

    def __init__(self, secrets: Iterable[Secret | str] = ()) -> None:
        super().__init__()
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(*secrets)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._known)} secrets>"

    def add(self, *secrets: Secret | str) -> None:
        """Hide these from now on."""
        texts = {s.reveal() if isinstance(s, Secret) else s for s in secrets}
        new = {text for text in texts if len(text) >= self.SHORTEST} - self._known
        if new:
            self._known |= new
            # The longest first: one secret may begin with another.
            ordered = sorted(self._known, key=lambda text: (-len(text), text))
            self._pattern = re.compile("|".join(_however_written(text) for text in ordered))

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        if "://" in text:
            text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
        lower = text.lower()
        if any(part in lower for part in _NAMED_PARTS):
            text = _NAMED.sub(_hide_named, text)
        return text

    def value(self, value: Any) -> Any:
        """Return numbers as they are, text and everything nested in it without secrets.

        What is neither a plain value nor a mapping or sequence of them becomes text.
        """
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Secret):
            return HIDDEN
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(str(k)): HIDDEN if is_secret(str(k)) else self.value(v)
                for k, v in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(one) for one in value]
        return self.text(value.decode("latin-1") if isinstance(value, bytes) else str(value))

    def filter(self, record: logging.LogRecord) -> bool:
        """Take secrets out of a record, its traceback included; on a handler, not on a logger."""
        try:
            message = record.getMessage()
        except Exception:  # arguments that do not fit the message: keep both
            message = f"{record.msg} {record.args!r}"
        record.msg, record.args = self.text(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None  # a formatter would write the traceback anew
        if record.exc_text:
            record.exc_text = self.text(record.exc_text)
        if record.stack_info:
            record.stack_info = self.text(record.stack_info)
        return True

    def guard(self, *loggers: logging.Logger) -> None:
        """Filter what the handlers of these loggers write; of the root logger without any.

        A logger without handlers is written to stderr by the one that `logging` keeps for that.
        """
        for logger in loggers or (logging.getLogger(),):
            for handler in logger.handlers or filter(None, (logging.lastResort,)):
                if self not in handler.filters:
                    handler.addFilter(self)


# ---------------------------------------------------------------- by name

_NAME = (
    r"(?:api[_\-.]?key|secret|token|password|passphrase|authorization|private[_\-.]?key)"
    r"[\w.\-]{0,40}"
)
#: One of them is in every text that `_NAMED` matches; looking for them is a hundred times faster.
_NAMED_PARTS = ("key", "secret", "token", "pass", "authorization")
#: ``name = value``, ``"name": "value"``, ``name=value&``, ``Authorization: Bearer value``. Text
#: that was cut off has no closing quote. Whatever may be given up again has an end, so that no text
#: from outside takes more than linear time.
_NAMED = re.compile(
    rf"""(?P<name>{_NAME}\\{{0,8}}["']?\s{{0,3}}[:=]\s{{0,3}}
    (?:(?:Bearer|Basic|Digest|Token)\s{{1,3}})?)
    (?:(?P<quote>\\{{0,8}}["'])(?:(?!(?P=quote))(?:\\.|[^\\]))*(?P=quote)?
    |[^\s,;&}}\])"'<>]+)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_USERINFO = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.\-]{0,20}://)[^\s/@?#\"']{1,512}@")
_PLAIN = frozenset({"none", "null", "true", "false", HIDDEN})


def _hide_named(match: re.Match[str]) -> str:
    name, quote = match["name"], match["quote"] or ""
    found = match[0][len(name) :]
    if found.strip("\\\"'").lower() in _PLAIN:
        return match[0]
    return f"{name}{quote}{HIDDEN}{quote}"


# ---------------------------------------------------------------- by value


def _however_written(text: str) -> str:
    """Return a pattern that finds a text in whatever way it was escaped or encoded."""
    raw = text.encode("utf-8", "surrogatepass")
    hexes = raw.hex()
    spelled = "".join(_escaped(c) for c in text)
    in_hex = "[:\\- ]?".join(hexes[i : i + 2] for i in range(0, len(hexes), 2))
    return "|".join((spelled, rf"(?i:{in_hex})", *_in_base64(raw)))


def _escaped(c: str) -> str:
    """Return a pattern for one character: itself, or escaped for a URL, JSON, Python or HTML."""
    code = ord(c)
    ways = [re.escape(c)]
    units = c.encode("utf-16-be", "surrogatepass")
    ways.append("".join(rf"\\{{1,8}}u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)))
    if code < 256:
        ways.append(rf"\\{{1,8}}x{code:02x}")
    ways.append(rf"\\{{1,8}}U{code:08x}")
    # A percent sign may itself have been encoded, once for each time that a URL was put into one.
    ways.append("".join(rf"%(?:25){{0,4}}{b:02x}" for b in c.encode("utf-8", "surrogatepass")))
    ways.append(rf"&\#0{{0,6}}{code};|&\#x0{{0,6}}{code:x};")
    short = html.escape(c)
    if short != c:
        ways.append(re.escape(short))
    if c == " ":
        ways.append(r"\+")
    if c in _LETTERS:
        ways.append(rf"\\{{1,8}}{_LETTERS[c]}")
    elif c == "\\":
        ways[0] = r"\\{1,8}"
    elif c in "\"'/":
        ways.append(rf"\\{{1,8}}{re.escape(c)}")
    # Only the escapes are written in either case, never the character itself.
    return f"(?:{ways[0]}|(?i:{'|'.join(ways[1:])}))"


_LETTERS = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


def _in_base64(raw: bytes) -> list[str]:
    """Return patterns of the characters that are the same whatever stands before and after."""
    found = []
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).rstrip(b"=").decode()
        first = -(-before * 8 // 6)
        last = (before + len(raw)) * 8 // 6
        inner = encoded[first:last]
        if before == 0:
            found.append(f"{_base64_pattern(encoded)}={{0,2}}")
        # Few characters are met by chance.
        if len(inner) >= 6:
            found.append(f"{'.' if before else ''}{_base64_pattern(inner)}")
    return found


def _base64_pattern(encoded: str) -> str:
    return "".join("[+\\-]" if c == "+" else "[/_]" if c == "/" else re.escape(c) for c in encoded)
