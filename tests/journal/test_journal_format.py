"""The line: round trips, the sum by a stranger's reader, golden files, hostile lines."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from hashlib import sha256
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_samples import GOLDEN, T, chained, sample, text_of
from msgspec import UNSET, UnsetType

from regimeflow.errors import JournalCorrupt, JournalError
from regimeflow.journal import read_journal
from regimeflow.journal.format import LineReader, LineWriter, body_text
from regimeflow.model.events import (
    Clock,
    Denied,
    Fill,
    Input,
    Logged,
    OrderUpdate,
    Output,
    Recorded,
    Start,
    Submit,
)
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, BarRow, Bars, Trade
from regimeflow.model.models import Costs, Latency, Limits, Model

INTEGERS = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -0.0, 0.1, 1e16, 1e22]
)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def of(hint: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for a field's type."""
    known: dict[Any, st.SearchStrategy[Any]] = {
        int: INTEGERS,
        float: NUMBERS,
        str: st.text(max_size=12),
        bool: st.booleans(),
        Any: JSON,
        type(None): st.none(),
        Instrument: st.sampled_from(
            [Instrument("SPY"), Instrument("47d216a505eb1615/Y", tick=1e-8, lot=0.001)]
        ),
        Limits: st.sampled_from([Limits(), Limits(max_notional=5e3, symbols=("A", "B"))]),
        Model: st.sampled_from(
            [Model(), Model(costs=Costs(maker_bps=-0.5), latency=Latency(order_ms=0.1))]
        ),
    }
    if hint is UnsetType:
        return st.just(UNSET)
    if hint in known:
        return known[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return st.one_of(*map(of, args))
    if origin is list:
        return st.lists(of(args[0]), max_size=4)
    if origin is dict:
        return st.dictionaries(of(args[0]), of(args[1]), max_size=3)
    if origin is tuple and args[-1] is ...:
        return st.lists(of(args[0]), max_size=4).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of, args))
    return build(hint)


def build(cls: Any, **fixed: Any) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls)
    parts = {n: of(hints[n]) for n in cls.__struct_fields__ if n not in fixed}
    return st.builds(lambda **made: cls(**made, **fixed), **parts)


def bits(value: Any) -> Any:
    """Return a struct with every float as its eight bytes: -0.0 is not 0.0 here."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, dict):
        return {name: bits(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [bits(part) for part in value]
    if hasattr(value, "__struct_fields__"):
        return {name: bits(getattr(value, name)) for name in value.__struct_fields__}
    return value


@pytest.mark.parametrize("cls", get_args(Input), ids=lambda cls: cls.__name__)
def test_every_input_comes_back_to_the_last_bit(cls: Any) -> None:
    @settings(max_examples=40, deadline=None)
    @given(build(cls), st.text(max_size=8))
    def check(event: Any, run: str) -> None:
        (line,) = LineWriter(run).lines(event, ())
        record = LineReader().read(line[:-1], 1)
        assert record is not None
        assert bits(record.body) == bits(event)
        assert type(record.body) is cls
        assert (record.run, record.seq, record.ts, record.seen) == (run, 1, event.ts, event.seen)
        assert line.count(b"\n") == 1

    check()


# With the nineteen digits that the times of our days have, and with one more or less.
@pytest.mark.parametrize("seen", [10**18 - 1, 10**18, 2**63 - 1, -(10**18), -(2**63)])
@pytest.mark.parametrize("ts", [0, 10**18 - 1, 10**18, 2**63 - 1, -(10**17), -(10**18)])
def test_a_time_of_any_length_comes_back(ts: int, seen: int) -> None:
    for event in (Clock(ts, seen), Trade(ts, seen, "a,b", 1.5, 2.5)):
        lines = LineWriter("demo").lines(event, [Logged(1, seen, 'x","y')])
        reader = LineReader()
        read = [reader.read(line[:-1], n) for n, line in enumerate(lines, 1)]
        assert [record.body for record in read if record] == [event, Logged(1, seen, 'x","y')]


@pytest.mark.parametrize("cls", get_args(Output), ids=lambda cls: cls.__name__)
def test_every_output_comes_back_to_the_last_bit(cls: Any) -> None:
    @settings(max_examples=40, deadline=None)
    @given(build(cls, seq=1, seen=T), INTEGERS)
    def check(output: Any, ts: int) -> None:
        lines = LineWriter("demo").lines(Clock(ts, T), [output, output])
        reader = LineReader()
        records = [reader.read(line[:-1], n) for n, line in enumerate(lines, 1)]
        for record in records[1:]:
            assert record is not None
            assert bits(record.body) == bits(output)
            assert (record.seq, record.ts, record.seen) == (1, ts, T)

    check()


def test_a_stranger_can_verify_the_sums_with_json_and_sha256_alone() -> None:
    last = "0" * 16
    lines = text_of(sample()).splitlines()
    assert len(lines) == 37
    for line in lines:
        told = json.loads(line)
        assert list(told) == ["schema", "run", "seq", "ts", "seen", "kind", "body", "sum"]
        payload = line[: line.rindex(b',"sum":')]
        last = sha256(last.encode() + payload).hexdigest()[:16]
        assert told["sum"] == last


def test_the_first_line_of_a_known_run_is_known() -> None:
    (line,) = LineWriter("demo").lines(Trade(1, 2, "SPY", 470.25, 100.0), ())
    payload = (
        b'{"schema":"regimeflow.replay.v2","run":"demo","seq":1,"ts":1,"seen":2,"kind":"trade",'
        b'"body":{"symbol":"SPY","price":470.25,"size":100.0,"side":"","id":""}'
    )
    # The sum was taken with coreutils' sha256sum.
    assert line == payload + b',"sum":"7ed016f70a6e3e68"}\n'


def test_the_golden_journal_reads_as_ever() -> None:
    journal = read_journal(GOLDEN / "v2-every-kind.jsonl")
    assert list(journal.events()) == [
        (seq, event, outputs) for seq, (event, outputs) in enumerate(sample(), 1)
    ]
    assert (journal.run, len(journal), journal.inputs) == ("demo", 37, 25)
    assert journal.digest == "bf17cd40fab89591"
    assert journal.start == sample()[0][0]


def test_the_golden_journal_is_written_as_ever() -> None:
    # A field with a default may be added, since readers supply it; nothing else may change.
    for old, new in zip(
        (GOLDEN / "v2-every-kind.jsonl").read_bytes().splitlines(),
        text_of(sample()).splitlines(),
        strict=True,
    ):
        one, other = json.loads(old), json.loads(new)
        del one["sum"], other["sum"]
        assert list(one) == list(other)
        body = one.pop("body")
        made = other.pop("body")
        assert one == other
        if one["kind"] not in ("start", "bars", "rules"):  # these nest structs that may have grown
            assert {name: made[name] for name in body} == body


def test_a_row_of_a_wide_panel_is_written_as_its_bars() -> None:
    columns = tuple(memoryview(np.array([1.5, 2.5, 3.5]) + k) for k in range(5))
    row = BarRow(7, 8, ["A", "B"], [60, 60], columns, 1)
    bars = Bars(7, 8, tuple(row))
    lazy = LineWriter("demo").lines(Bars(7, 8, row), ())  # type: ignore[arg-type]
    assert lazy == LineWriter("demo").lines(bars, ())
    record = LineReader().read(lazy[0][:-1], 1)
    assert record is not None
    assert record.body == bars
    assert bars.bars[1].close == 6.5


def test_numbers_taken_out_of_arrays_are_numbers() -> None:
    values = {"a": np.float64(0.1), "b": np.float32(0.5)}
    note = Recorded(1, 2, values)  # type: ignore[arg-type]
    assert body_text(note) == '{"values":{"a":0.1,"b":0.5}}'


@pytest.mark.parametrize(
    ("event", "outputs", "words"),
    [
        (Bar(1, 2, "SPY", math.nan, 1.0, 1.0, 1.0, 1.0), [], "open is nan"),
        (Bar(1, 2, "SPY", 1.0, math.inf, 1.0, 1.0, 1.0, 0, False, None), [], "high is inf"),
        (Bar(1, 2, "SPY", 1.0, 1.0, -math.inf, 1.0, math.inf), [], "low is -inf"),
        (Bar(1, 2, "SPY", 1e308, 1e308, 1.0, 1.0, math.inf), [], "volume is inf"),
        (Bars(1, 2, (Bar(1, 2, "A", 1.0, 1.0, 1.0, -math.inf, 1.0),)), [], r"bars\[0\].close"),
        (Bar(1, 2, "SPY", 1.0, 1.0, 1.0, 1.0, 1.0, features={"x": math.nan}), [], "features.x"),
        (Clock(1, 2), [Submit(1, 2, "o", "S", "buy", math.nan, "market")], "qty is nan"),
        (Clock(1, 2), [Submit(1, 2, "o", "S", "buy", 1.0, "limit", math.nan)], "limit is nan"),
        (OrderUpdate(1, 2, "o", "replaced", "null", qty=math.nan), [], "qty is nan"),
        (OrderUpdate(1, 2, "o", "accepted", metadata={"ahead": math.inf}), [], "metadata.ahead"),
        (Clock(1, 2), [Logged(2, 2, "x")], "names input 2"),
        (Clock(1, 2), [Logged(1, 3, "x")], "seen at 3"),
        (Clock(1, 2), [Logged(1, 2, "\ud800")], "surrogates"),
        (Start(1, 2, "r", 0, (), (), 1.0, params={"f": object()}), [], "type object"),
        (Clock(1, 2), [Logged(1, 2, "x" * (16 << 20))], "16777"),
        (Clock(1, 2), [Submit(1, 2, "o", "S", "buy", 1.0, "market", expire_at=2**63)], "64 bits"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(
    event: Input, outputs: list[Output], words: str
) -> None:
    with pytest.raises(JournalError, match=words):
        LineWriter("demo").lines(event, outputs)


def test_numbers_whose_sum_is_too_large_are_written_all_the_same() -> None:
    bar = Bar(1, 2, "SPY", 1e308, 1.5e308, 1e308, 1e308, 1.0)
    record = LineReader().read(LineWriter("demo").lines(bar, ())[0][:-1], 1)
    assert record is not None
    assert record.body == bar


def test_a_note_may_say_that_a_number_is_not_there() -> None:
    note = Denied(1, 2, "o", "S", "buy", None, "finite", "quantity is nan")
    lines = LineWriter("demo").lines(Clock(1, 2), [Recorded(1, 2, {"z": math.nan}), note])
    reader = LineReader()
    read = [reader.read(line[:-1], n) for n, line in enumerate(lines, 1)]
    assert [record.body for record in read[1:] if record] == [Recorded(1, 2, {"z": None}), note]


# ---------------------------------------------------------------- hostile lines

HEAD = (
    b'{"schema":"regimeflow.replay.v2","run":"demo","seq":%d,"ts":1,"seen":2,"kind":"%b","body":%b'
)


def line(body: bytes, kind: bytes = b"trade", seq: int = 1) -> bytes:
    return HEAD % (seq, kind, body)


TRADE = b'{"symbol":"SPY","price":1.5,"size":2.0,"side":"","id":""}'
GOOD = line(TRADE)
START = (
    b'{"run":"r","epoch":0,"symbols":[],"timeframes":[],"cash":1.0,"positions":{},'
    b'"instruments":[],"seed":%b,"params":%b}'
)


def read(text: bytes) -> list[Any]:
    reader = LineReader("x.jsonl")
    return [reader.read(one, n) for n, one in enumerate(text.split(b"\n")[:-1], 1)]


@pytest.mark.parametrize(
    "body",
    [
        TRADE,
        b'{"symbol":"SPY","price":1.5,"size":2}',
        b'{"size":20e-1,"price":1.50,"symbol":"S\\u0050Y"}',
    ],
)
def test_another_writer_may_leave_out_defaults_and_spell_numbers_its_way(body: bytes) -> None:
    (record,) = read(chained(line(body)))
    assert record.body == Trade(1, 2, "SPY", 1.5, 2.0)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "unknown kind": (line(b"{}", b"order_udpate"), "unknown. Did you mean 'order_update'"),
    "kind of another type": (line(TRADE, b"quote"), "missing required field"),
    "not an object": (line(b"[]"), "cannot be read"),
    "null body": (line(b"null"), "cannot be read"),
    "string for a number": (line(TRADE.replace(b"1.5", b'"1.5"')), "price"),
    "null for a number": (line(TRADE.replace(b"1.5", b"null")), "price"),
    "bool for a number": (line(TRADE.replace(b"1.5", b"true")), "price"),
    "NaN": (line(TRADE.replace(b"1.5", b"NaN")), "cannot be read"),
    "Infinity": (line(TRADE.replace(b"1.5", b"-Infinity")), "cannot be read"),
    "beyond double": (line(TRADE.replace(b"1.5", b"1e999")), "out of range"),
    "bad UTF-8": (line(TRADE.replace(b"SPY", b"S\xffY")), "cannot be read"),
    "lone surrogate": (line(TRADE.replace(b"SPY", b"\\ud800")), "cannot be read"),
    "missing field": (line(b'{"symbol":"SPY"}'), "price"),
    "unknown field": (line(TRADE[:-1] + b',"pirce":1.0}'), "Did you mean 'price'"),
    "field twice": (line(TRADE[:-1] + b',"price":1.5}'), "twice"),
    "field twice, another value": (line(TRADE[:-1] + b',"price":9.5}'), "twice"),
    "time in the body": (line(b'{"ts":9,' + TRADE[1:]), "cannot be read"),
    "key twice": (GOOD.replace(b'"ts":1', b'"ts":1,"ts":1'), "twice"),
    "unknown key": (GOOD.replace(b'"ts":1', b'"ts":1,"extra":1'), "extra"),
    "other schema": (GOOD.replace(b"v2", b"v3"), "schema"),
    "no number": (GOOD.replace(b'"seq":1,', b""), "seq"),
    "leading zero": (GOOD.replace(b'"seq":1', b'"seq":01'), "cannot be read"),
    "wrong first number": (line(TRADE, seq=2), "input 1 was expected here, not 2"),
    "seq of 100 digits": (GOOD.replace(b'"seq":1', b'"seq":' + b"1" * 100), "cannot be read"),
    "ts beyond 64 bits": (GOOD.replace(b'"ts":1', b'"ts":9223372036854775808'), "ts"),
    "ts of 5000 digits": (GOOD.replace(b'"ts":1', b'"ts":' + b"9" * 5000), "cannot be read"),
    "ts a float": (GOOD.replace(b'"ts":1', b'"ts":1.5'), "ts"),
    "length beyond 64 bits": (
        line(b'{"symbol":"S","open":1.0,"high":1.0,"low":1.0,"close":1.0,"volume":1.0,'
             b'"timeframe":9223372036854775808,"late":false,"features":null}', b"bar"),
        "does not fit into 64 bits",
    ),
    "an output first": (line(b'{"order_id":"o"}', b"cancel"), "input before it"),
    "parameters 65 deep": (
        line(START % (b"0", b'{"a":' * 65 + b"1" + b"}" * 65), b"start"),
        "deeper than 64",
    ),
    "parameters 100,000 deep": (
        line(START % (b"0", b'{"a":' * 100_000 + b"1" + b"}" * 100_000), b"start"),
        "cannot be read",
    ),
    "limit that is refused": (
        line(START[:-1] % (b"0", b"{}") + b',"limits":{"max_drawdown":-1.0}}', b"start"),
        "max_drawdown",
    ),
    "no JSON": (b"hello", "cannot be read"),
    "two objects": (GOOD + b"}" + GOOD, "cannot be read"),
    "an array": (b"[1,2", "cannot be read"),
    "nested beyond reason": (b"[" * 200_000, "cannot be read"),
    "marked optional, but nested beyond reason": (
        line(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"new") + b',"optional":true',
        "cannot be read",
    ),
    "optional is no bool": (line(b"{}", b"new") + b',"optional":1', "optional"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_line_with_a_right_sum_is_refused(name: str) -> None:
    payload, words = HOSTILE[name]
    with pytest.raises(JournalCorrupt, match=words) as caught:
        read(chained(payload))
    assert (caught.value.path, caught.value.line) == ("x.jsonl", 1)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "wrong first number"])
def test_a_hostile_line_is_refused_after_a_good_one_too(name: str) -> None:
    # The first line of a run and the others are not read by the same code.
    payload = HOSTILE[name][0].replace(b'"seq":1,"ts"', b'"seq":2,"ts"')
    with pytest.raises(JournalCorrupt) as caught:
        read(chained(GOOD, payload))
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (line(TRADE, seq=3), "input 2 was expected here, not 3"),
        (line(TRADE, seq=1), "input 2 was expected here, not 1"),
        (GOOD.replace(b"demo", b"other").replace(b'"seq":1', b'"seq":2'), "run 'other'"),
        (line(b'{"order_id":"o"}', b"cancel", seq=2), "input before it"),
        (line(b'{"order_id":"o"}', b"cancel").replace(b'"seen":2', b'"seen":3'), "before it"),
        (line(b'{"order_id":"o"}', b"cancel").replace(b'"ts":1', b'"ts":3'), "before it"),
        (line(b'{"order_id":"o","seq":5}', b"cancel"), "cannot be read"),
    ],
)
def test_a_second_line_must_follow_from_the_first(second: bytes, words: str) -> None:
    with pytest.raises(JournalCorrupt, match=words) as caught:
        read(chained(GOOD, second))
    assert caught.value.line == 2


def test_an_unknown_kind_is_passed_over_only_where_it_says_so() -> None:
    reader = LineReader()
    later = line(b'{"anything":[1,{}]}', b"weather") + b',"optional":true'
    lines = chained(GOOD, later, line(TRADE, seq=2)).splitlines()
    records = [reader.read(one, n) for n, one in enumerate(lines, 1)]
    assert [record and record.seq for record in records] == [1, None, 2]
    assert reader.skipped == 1


def test_a_seed_may_be_of_any_size() -> None:
    start = Start(1, 2, "r", 0, (), (), 1.0, seed=2**127 + 1)
    (line_,) = LineWriter("r").lines(start, ())
    record = LineReader().read(line_[:-1], 1)
    assert record is not None
    assert record.body == start


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_no_bytes_make_the_reader_do_anything_but_refuse(noise: bytes) -> None:
    for payload in (noise, line(noise), line(b'{"symbol":' + noise + b"}")):
        with pytest.raises(JournalCorrupt):
            LineReader().read(chained(payload)[:-1], 1)


def test_six_significant_digits_are_not_enough_and_not_what_is_kept() -> None:
    fill = Fill(1, 2, "x", "o", "S", "buy", 1234567.891, 0.1 + 0.2)
    (made,) = LineWriter("demo").lines(fill, ())
    assert b'"qty":1234567.891,"price":0.30000000000000004' in made


def test_the_parts_of_the_hostile_table_are_sound_in_themselves() -> None:
    # Else the table would pass for the wrong reason.
    checks: list[Callable[[], Any]] = [
        lambda: read(chained(GOOD)),
        lambda: read(chained(line(START % (b"0", b'{"a":' * 60 + b"1" + b"}" * 60), b"start"))),
    ]
    for check in checks:
        assert check()[0].seq == 1
