"""One line of a journal: how an event or an output becomes bytes, and how bytes become it again.

A line is one JSON object with its keys in a fixed order and no white space between tokens::

    {"schema":"regimeflow.replay.v2","run":"spy","seq":7,"ts":...,"seen":...,
     "kind":"bar","body":{...},"sum":"16 hex digits"}

``sum`` is made of the line's bytes before ``,"sum":`` (the *payload*) and of the sum before:
``sha256(previous sum + payload)``, its first 16 hex digits. So no line can be altered, swapped or
removed without every later sum telling. ``docs/journal.md`` specifies the whole.

Nothing here touches a file.
"""

from __future__ import annotations

import json
from binascii import hexlify
from collections.abc import Callable, Sequence
from hashlib import sha256
from math import isfinite
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
import numpy as np

from regimeflow.errors import JournalCorrupt, JournalError, did_you_mean
from regimeflow.model.events import (
    Cancel,
    Input,
    Output,
    Replace,
    Request,
    Start,
    Submit,
    Upgraded,
)
from regimeflow.model.market import Bar, BarRow, Bars, History

SCHEMA = "regimeflow.replay.v2"
#: What the first line of a run chains from.
GENESIS = "0" * 16
#: A longer line is refused, on writing as on reading.
MAX_LINE_BYTES = 16 << 20
#: Deepest nesting of a strategy's parameters.
MAX_DEPTH = 64


class Record(msgspec.Struct, frozen=True, gc=False):
    """One line of a journal.

    Attributes:
        run: name of the run.
        seq: which input this is, counted from 1; an output carries its cause's.
        ts, seen: when it happened, and when the session saw it, UTC nanoseconds; an output carries
            its cause's.
        kind: "bar", "fill", "submit", ...: the tag of ``body``'s type.
        body: the event, request or note itself.
        line: one-based line number in its segment.
        file: name of the segment.
    """

    run: str
    seq: int
    ts: int
    seen: int
    kind: str
    body: Input | Output
    line: int
    file: str = ""

    @property
    def is_input(self) -> bool:
        """Whether it went into the engine; else it came out."""
        return type(self.body) in INPUTS


class LineWriter:
    """Turns events and their outputs into chained lines.

    Args:
        run: name of the run.
        seq, sum: of the line before; leave them out for a new journal.

    >>> from regimeflow.model.events import Clock
    >>> LineWriter("demo").lines(Clock(1, 2), ())[0][:78]
    b'{"schema":"regimeflow.replay.v2","run":"demo","seq":1,"ts":1,"seen":2,"kind":"'
    """

    __slots__ = ("_head", "_sum", "seq")

    def __init__(self, run: str, seq: int = 0, sum: str = GENESIS) -> None:
        self._head = head_of(run)
        self._sum = sum.encode()
        self.seq = seq

    @property
    def sum(self) -> str:
        """Sum of the last line made."""
        return self._sum.decode()

    def lines(self, event: Input, outputs: Sequence[Output]) -> list[bytes]:
        """Return the lines of one input and the outputs it caused, each with its line end.

        Where it raises, nothing has changed.

        Raises:
            JournalError: for a number that is not finite, a value JSON cannot carry, or an output
                that names another cause.
        """
        seq = self.seq + 1
        try:
            raw = _encode(event)
            if event.__class__ is not Bar or event.features is not None:
                _refuse_nulls(event, raw)
            elif not isfinite(event.open + event.high + event.low + event.close + event.volume):
                _refuse_infinite(event)  # five additions take less than to look for a null
            begin, name = _FRAMES[event.__class__]
            if _E18 <= event.ts < _E19 and _E18 <= event.seen < _E19:  # from 2001 on: 19 digits
                end = begin + _TIMES_LENGTH
            else:
                end = _end_of_times(raw, begin)
            times = raw[begin:end]
            line, digest = _chained(
                b"%b%b%d,%b%b%b" % (self._sum, self._head, seq, times, name, raw[end + 1 :] or b"}")
            )
            made = [line]
            for output in outputs:
                name, rest = _FRAMES[output.__class__][1], _output_rest(seq, event.seen, output)
                line, digest = _chained(
                    b"%b%b%d,%b%b%b" % (digest, self._head, seq, times, name, rest)
                )
                made.append(line)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise JournalError(f"cannot write event {seq} to the journal: {error}") from error
        self.seq = seq
        self._sum = digest
        return made


class LineReader:
    """Turns lines into records, and refuses what the writer has not written.

    Args:
        file: name of the segment, for messages; may be changed between lines.
        sum: of the line before the first one read.
    """

    __slots__ = (
        "_cause",
        "_head",
        "_next",
        "_sum",
        "_ts",
        "_whole",
        "file",
        "run",
        "seq",
        "skipped",
    )

    def __init__(self, file: str = "", sum: str = GENESIS) -> None:
        self.file = file
        self.run = ""
        self.seq = 0
        self.skipped = 0
        self._sum = sum.encode()
        self._whole = sum == GENESIS
        self._head = b""
        self._cause = (b"", b"", b"")
        self._next = b"1"
        self._ts = 0

    @classmethod
    def after(cls, run: str, seq: int, sum: str) -> LineReader:
        """Return a reader of what follows an event, by its number and the last sum."""
        reader = cls(sum=sum)
        reader.run, reader.seq = run, seq
        reader._head, reader._next, reader._whole = head_of(run), b"%d" % (seq + 1), True
        return reader

    @property
    def sum(self) -> str:
        """Sum of the last line read."""
        return self._sum.decode()

    def read(self, line: bytes, number: int) -> Record | None:
        """Return the record of one line (without its line end), or None if it was marked optional.

        Raises:
            JournalCorrupt: for anything else than the line that follows.
        """
        payload = line[:-26]
        digest = hexlify(sha256(self._sum + payload).digest()[:8])
        if line[-26:] != b',"sum":"%b"}' % digest or len(line) > MAX_LINE_BYTES:
            raise self._unverified(line, number)
        try:
            record = self._as_written(payload, number)
            if record is None:
                record = self._as_spelt(line, payload, number)
        # msgspec's and json's own errors are ValueErrors, and so is bad UTF-8.
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise self._corrupt(number, f"cannot be read: {_short(error)}") from error
        self._sum = digest
        return record

    def _unverified(self, line: bytes, number: int) -> JournalCorrupt:
        if len(line) > MAX_LINE_BYTES:
            return self._corrupt(number, f"is longer than {MAX_LINE_BYTES} bytes")
        if line[-26:-18] != b',"sum":"' or line[-2:] != b'"}':
            return self._corrupt(number, "has no sum at its end: it is damaged, or no journal line")
        return self._corrupt(
            number,
            "does not follow from the line before: one of the two was altered, swapped or "
            "removed; restore the file from a copy",
        )

    def _as_written(self, payload: bytes, number: int) -> Record | None:
        """Read a line that is, byte for byte, what our writer makes; None for any other."""
        head = self._head
        if not head or not payload.startswith(head):
            return None
        parts = payload[len(head) :].split(b",", 4)
        if len(parts) != 5 or parts[4][:8] != b'"body":{':
            return None
        count, ts, seen, kind, rest = parts
        known = _BY_NAME.get(kind)
        if known is None:
            return None
        is_input, opening, decode, tag = known
        first = ts if is_input else b'"seq":' + count
        rest = rest[8:]
        raw = b"".join((opening, first, b",", seen, b"," if rest != b"}" else b"", rest))
        body = decode(raw)
        if _encode(body) != raw:
            return None
        if is_input:
            if count != self._next:
                return None
            self._accept(body, self.seq + 1, (count, ts, seen))
        elif (count, ts, seen) != self._cause:
            return None
        if type(body) in _CHECKED:
            _refuse_unusable(body)
        return Record(self.run, self.seq, self._ts, body.seen, tag, body, number, self.file)

    def _as_spelt(self, line: bytes, payload: bytes, number: int) -> Record | None:
        """Read a line of another writer, or say precisely what is wrong with it."""
        envelope = _ENVELOPE.decode(line)
        if not self.run:
            self.run, self._head = envelope.run, head_of(envelope.run)
        elif envelope.run != self.run:
            raise ValueError(f"it belongs to the run {envelope.run!r}, not to {self.run!r}")
        known = _BY_NAME.get(b'"kind":"%b"' % envelope.kind.encode())
        if known is None and envelope.optional:
            self.skipped += 1
            return None
        if known is None:
            kinds = [tag for _, _, _, tag in _BY_NAME.values()]
            raise ValueError(
                f"its kind {envelope.kind!r} is unknown.{did_you_mean(envelope.kind, kinds)} "
                "A newer version of regimeflow may know it"
            )
        is_input, opening, decode, tag = known
        seq, ts, seen = b"%d" % envelope.seq, b'"ts":%d' % envelope.ts, b'"seen":%d' % envelope.seen
        rest = bytes(envelope.body)[1:]
        comma = b"" if rest.lstrip() == b"}" else b","
        first = ts if is_input else b'"seq":' + seq
        body = decode(b"".join((opening, first, b",", seen, comma, rest)))
        if is_input and envelope.seq != self.seq + 1 and (self.seq or self._whole):
            raise ValueError(f"input {self.seq + 1} was expected here, not {envelope.seq}")
        if not is_input and (seq, ts, seen) != self._cause:
            raise ValueError("an output must carry the seq, ts and seen of the input before it")
        ours = b"".join((self._head, seq, b",", ts, b",", seen, _FRAMES[type(body)][1]))
        _look_closely(
            payload + b"}", ours + _rest(body, _encode(body)) + b"}", type(body) is not Start
        )
        _refuse_unusable(body)
        if is_input:
            self._accept(body, envelope.seq, (seq, ts, seen))
        return Record(self.run, self.seq, self._ts, body.seen, tag, body, number, self.file)

    def _accept(self, event: Input, seq: int, cause: tuple[bytes, bytes, bytes]) -> None:
        if not (_LOW <= event.ts <= _HIGH and _LOW <= event.seen <= _HIGH):
            raise ValueError("its time does not fit into 64 bits")
        self.seq = seq
        self._next = b"%d" % (seq + 1)
        self._cause = cause
        self._ts = event.ts

    def _corrupt(self, number: int, what: str) -> JournalCorrupt:
        return JournalCorrupt(f"{self.file} line {number} {what}.", path=self.file, line=number)


def head_of(run: str) -> bytes:
    """Return how every line of a run begins, up to the number."""
    return b'{"schema":"%b","run":%b,"seq":' % (SCHEMA.encode(), msgspec.json.encode(run))


def body_text(body: Input | Output) -> str:
    """Return the JSON text of a record's ``body``: the struct without what its envelope says.

    >>> from regimeflow.model.events import Timer
    >>> body_text(Timer(1, 2, "rebalance"))
    '{"name":"rebalance"}'
    """
    return (b"{" + _rest(body, _encode(body))).decode()


# ---------------------------------------------------------------- encoding

# Building dicts would cost more than everything else together. The structs begin with ts and seen
# (outputs: seq and seen), so their own JSON is cut up and the envelope spliced around the pieces.


def _end_of_times(raw: bytes, begin: int) -> int:
    """Return where a struct's first two fields, which begin at ``begin``, are over.

    They are integers: none of them has a comma inside.
    """
    end = raw.find(b",", raw.find(b",", begin) + 1)
    return end if end >= 0 else len(raw) - 1


def _rest(body: Input | Output, raw: bytes) -> bytes:
    """Return a struct's fields after its first two, with its closing brace."""
    return raw[_end_of_times(raw, _FRAMES[type(body)][0]) + 1 :] or b"}"


def _chained(summed: bytes) -> tuple[bytes, bytes]:
    """Return a line and its sum, from the sum before and the payload."""
    if len(summed) > _MOST_SUMMED:
        size = len(summed) - len(GENESIS)
        raise ValueError(f"it takes {size} bytes, more than {MAX_LINE_BYTES}")
    digest = hexlify(sha256(summed).digest()[:8])
    return b"".join((summed[16:], b',"sum":"', digest, b'"}\n')), digest


def _output_rest(seq: int, seen: int, output: Output) -> bytes:
    if output.seq != seq or output.seen != seen:
        raise ValueError(
            f"its {type(output).__name__} names input {output.seq} seen at {output.seen} as its "
            f"cause, which is input {seq} seen at {seen}"
        )
    raw = _encode(output)
    if type(output) in _REQUESTS:
        _refuse_unusable(output)
        _refuse_nulls(output, raw)
    return _rest(output, raw)


def _refuse_nulls(body: Input | Output, raw: bytes) -> None:
    """Refuse NaN and infinity, which msgspec writes as null: they would never come back."""
    nulls = raw.count(b"null")
    if not nulls:
        return
    if type(body) is Bars and nulls == raw.count(b'"features":null'):
        return
    # Each None is one null: where there are no more, no number became one.
    if nulls != msgspec.structs.astuple(body).count(None):
        _refuse_infinite(body)


def _hook(value: Any) -> Any:
    if isinstance(value, BarRow):
        return tuple(value)
    if isinstance(value, np.generic):  # a parameter or recorded value taken out of an array
        return value.item()
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def _refuse_infinite(value: Any, where: str = "") -> None:
    if isinstance(value, float | np.floating):
        if not isfinite(value):
            raise ValueError(f"{where.lstrip('.') or 'a number'} is {value}")
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            part = getattr(value, name)
            if part is not None and part.__class__ is not str:  # most of them
                _refuse_infinite(part, f"{where}.{name}")
    elif isinstance(value, dict):
        for name, part in value.items():
            _refuse_infinite(part, f"{where}.{name}")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for place, part in enumerate(value):
            _refuse_infinite(part, f"{where}[{place}]")


# ---------------------------------------------------------------- decoding

_LOW, _HIGH = -(2**63), 2**63 - 1
_Int64 = Annotated[int, msgspec.Meta(ge=_LOW, le=_HIGH)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=_HIGH)]


class _Envelope(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    schema: Literal["regimeflow.replay.v2"]
    run: str
    seq: _Count
    ts: _Int64
    seen: _Int64
    kind: str
    body: msgspec.Raw
    sum: str
    optional: bool = False


def _refuse_unusable(body: Any) -> None:
    """Refuse integers beyond 64 bits, which no column could hold, and bottomless parameters."""
    for name in _INTEGERS[type(body)]:
        if not _LOW <= getattr(body, name) <= _HIGH:
            raise ValueError(f"its {name} does not fit into 64 bits")
    if type(body) is Bars:
        for bar in body.bars:
            if not (
                _LOW <= bar.timeframe <= _HIGH
                and _LOW <= bar.ts <= _HIGH
                and _LOW <= bar.seen <= _HIGH
            ):
                raise ValueError("a number in a bar does not fit into 64 bits")
    elif type(body) is History and body.times:
        if min(body.times) < _LOW or max(body.times) > _HIGH:
            raise ValueError("one of its times does not fit into 64 bits")
    elif type(body) in (Start, Upgraded) and _depth(body.params) > MAX_DEPTH:
        raise ValueError(f"its parameters are nested deeper than {MAX_DEPTH}")


def _look_closely(line: bytes, ours: bytes, bounded: bool) -> None:
    """Hold a line that another writer spelt differently against what we understood of it.

    It may leave out fields that have a default and may write ``1`` for ``1.0``. It may not say a
    thing twice, name an unknown field, or hold a number that nobody could use.
    """
    said = json.loads(
        line,
        object_pairs_hook=_unique,
        parse_constant=_refuse_constant,
        parse_int=_int64 if bounded else int,
    )
    if not isinstance(said, dict):
        raise ValueError("it is not an object")
    said.pop("optional", None)
    _within(said, json.loads(ours), "")


def _within(said: Any, ours: Any, where: str) -> None:
    if isinstance(said, dict) and isinstance(ours, dict):
        for name, value in said.items():
            if name not in ours:
                raise ValueError(f"the field {where}{name} is unknown.{did_you_mean(name, ours)}")
            _within(value, ours[name], f"{where}{name}.")
    elif isinstance(said, list) and isinstance(ours, list) and len(said) == len(ours):
        for one, other in zip(said, ours, strict=True):
            _within(one, other, where)
    elif said != ours or isinstance(said, bool) != isinstance(ours, bool):
        raise ValueError(f"the field {where.rstrip('.')} is not what it seems to be")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} stands there twice")
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _int64(text: str) -> int:
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"the number {text[:25]} does not fit into 64 bits")
    return value


def _depth(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, parts), default=0)


def _short(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "..."


# ---------------------------------------------------------------- tables

INPUTS: frozenset[type] = frozenset(get_args(Input))
OUTPUTS: frozenset[type] = frozenset(get_args(Output))
_REQUESTS: frozenset[type] = frozenset(get_args(Request))
#: Requests that reach the venue as orders; a timer is ours alone.
ORDERS: frozenset[type] = frozenset({Submit, Cancel, Replace})

_encode = msgspec.json.Encoder(enc_hook=_hook).encode
_ENVELOPE = msgspec.json.Decoder(_Envelope)
#: A payload with the sum before it, at most: a line has ten bytes more around its own sum.
_MOST_SUMMED = MAX_LINE_BYTES - len(b',"sum":""}')


def _known(cls: Any) -> tuple[bool, bytes, Callable[[bytes], Any], str]:
    """Return what reading a kind takes: input or not, how its struct begins, decoder, tag."""
    config = cls.__struct_config__
    first = ("ts", "seen") if cls in INPUTS else ("seq", "seen")
    assert cls.__struct_fields__[:2] == first, f"{cls} must begin with {first}"
    opening = f'{{"{config.tag_field}":"{config.tag}",'
    return cls in INPUTS, opening.encode(), msgspec.json.Decoder(cls).decode, config.tag


def _integers(cls: Any) -> tuple[str, ...]:
    """Return a struct's integer fields after its first two; a seed may be of any size."""
    hints = get_type_hints(cls)
    return tuple(
        name for name in cls.__struct_fields__[2:] if hints[name] is int and name != "seed"
    )


_TYPES = (*get_args(Input), *get_args(Output))
#: Where the first field of a struct's JSON begins, and what stands between its times and the rest.
_FRAMES = {
    cls: (
        len(f'{{"kind":"{cls.__struct_config__.tag}",'),
        f',"kind":"{cls.__struct_config__.tag}","body":{{'.encode(),
    )
    for cls in _TYPES
}
_E18, _E19 = 10**18, 10**19
#: Of two integers of nineteen digits each, with their names.
_TIMES_LENGTH = len('"ts":,"seen":') + 2 * 19
_BY_NAME = {f'"kind":"{cls.__struct_config__.tag}"'.encode(): _known(cls) for cls in _TYPES}
_INTEGERS = {cls: _integers(cls) for cls in _TYPES}
_CHECKED = frozenset(cls for cls in _TYPES if _INTEGERS[cls] or cls in (Bars, History, Start))

__all__ = [
    "GENESIS",
    "INPUTS",
    "MAX_LINE_BYTES",
    "ORDERS",
    "OUTPUTS",
    "SCHEMA",
    "LineReader",
    "LineWriter",
    "Record",
    "body_text",
]
