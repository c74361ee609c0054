"""YAML from outside: plain values with their lines, everything else refused."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import regimeflow as rf
from regimeflow.redaction import Secret
from regimeflow.session.yaml_tree import MOST_BYTES, read_yaml


@pytest.fixture
def read(tmp_path):
    def read(content: str | bytes):
        path = tmp_path / "c.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_yaml(path)

    return read


def test_values_and_lines(read):
    tree = read('live:\n  symbols: ["A"]  # note\n\n  n:\n    - 1\n    - 2.5\n')
    assert tree.values == {"live": {"symbols": ["A"], "n": [1, 2.5]}}
    assert tree.lines == {
        ("live",): 1,
        ("live", "symbols"): 2,
        ("live", "symbols", 0): 2,
        ("live", "n"): 4,
        ("live", "n", 0): 5,
        ("live", "n", 1): 6,
    }


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True), ("False", False), ("TRUE", True), ("null", None), ("~", None), ("", None),
        ("5", 5), ("-5", -5), ("+5", 5), ("0", 0), ("5.0", 5.0), (".5", 0.5), ("5.", 5.0),
        ("1e3", 1000.0), ("1.5E-3", 0.0015), ("-0.0", 0.0),
        # Words that other readers take for switches, dates, octals or minutes.
        ("yes", "yes"), ("NO", "NO"), ("on", "on"), ("ON", "ON"), ("y", "y"), ("N", "N"),
        ("2024-01-02", "2024-01-02"), ("0700", "0700"), ("0x1F", "0x1F"), ("12:30", "12:30"),
        ("1_000", "1_000"), ("nan", "nan"), ("inf", "inf"), ("tRUE", "tRUE"), (".", "."),
        ("1.2.3", "1.2.3"), ("e5", "e5"), ("BTC/USDT", "BTC/USDT"), ("'5'", "5"),
        ('"true"', "true"), ('""', ""), ("'~'", "~"), ("é", "é"),
    ],
)  # fmt: skip
def test_plain_words_mean_what_they_say(read, word, value):
    found = read(f"a: {word}").values["a"]
    assert found == value
    assert type(found) is type(value)


def test_text_under_the_name_of_a_secret_is_one(read):
    tree = read(
        "live:\n  broker_config:\n"
        "    api_key: abc\n    password: 1234\n    token:\n    tokens: [a]\n"
        "strategy:\n  params:\n    n_tokens: 5\n    use_token: true\n"
    )
    broker = tree.values["live"]["broker_config"]
    assert broker["api_key"] == Secret("abc")
    assert broker["password"] == Secret("1234")
    assert broker["token"] is None
    assert broker["tokens"] == [Secret("a")]
    assert tree.values["strategy"]["params"] == {"n_tokens": 5, "use_token": True}


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
)

HOSTILE = {
    "nothing": ("", "is empty"),
    "only a comment": ("# nothing\n", "is empty"),
    "a list": ("- a\n", "must be a mapping"),
    "a word": ("hello", "must be a mapping"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", ":3: 'a' is given twice, first in line 1"),
    "a key twice, quoted once": ("a: 1\n'a': 3\n", "given twice"),
    "a key twice, deeper": ("x:\n  a: 1\n  a: 2\n", ":3: 'a' is given twice, first in line 2"),
    "aliases that multiply": (BOMB, "anchors and aliases"),
    "an anchor alone": ("a: &x 1\n", "anchors and aliases"),
    "an alias to itself": ("a: &x [*x]\n", "anchors and aliases"),
    "an anchored key": ("&x a: 1\n", "anchors and aliases"),
    "an anchor around everything": ("--- &x\na: 1\n", "anchors and aliases"),
    "a merge": ("<<: {a: 1}\n", "merge keys"),
    "a Python object": ("a: !!python/object/apply:os.system ['true']\n", "tags (!)"),
    "a Python name": ("a: !!python/name:os.system\n", "tags (!)"),
    "a tag of one's own": ("a: !env HOME\n", "tags (!)"),
    "a standard tag": ("a: !!str 5\n", "tags (!)"),
    "a tagged key": ("!!str a: 5\n", "tags (!)"),
    "a tag that is not defined": ("a: !x!y 5\n", ":1: is not YAML: found undefined tag handle"),
    "a tag around everything": ("!!omap\na: 1\n", "tags (!)"),
    "two documents": ("a: 1\n---\na: 2\n", "more than one document"),
    "a mapping as key": ("? {a: 1}\n: 2\n", "a key must be a word"),
    "a list as key": ("[a]: 2\n", "a key must be a word"),
    "not a number": ("a: .nan\n", "must be finite"),
    "infinity": ("a: -.INF\n", "must be finite"),
    "too large for a float": ("a: 1e999\n", "must be finite"),
    "a huge integer": (f"a: {'9' * 5_000}\n", "at most 18 digits"),
    "a huge decimal": (f"a: {'9' * 5_000}.0\n", "must be finite"),
    "nested": ("a: " + "[" * 100 + "]" * 100, "deeper than 12"),
    "nested, never closed": ("a: " + "[" * 100_000, "deeper than 12"),
    "nested mappings": ("".join(f"{' ' * i}a:\n" for i in range(50)), "deeper than 12"),
    "too large": ("a: 1\n" + "#" * MOST_BYTES, "larger than 256 KiB"),
    "not UTF-8": (b"a: \xff\n", "not UTF-8"),
    "UTF-16": ("a: 1".encode("utf-16"), "not UTF-8"),
    "a NUL": ("a: 1\nb: x\0y\n", ":2: is not YAML"),
    "an escaped NUL": ('a: "x\\0y"\n', "cannot be shown"),
    "an escape sequence": ('a: "\\e[2J"\n', "cannot be shown"),
    "half a character": ('a: "\\ud800"\n', "cannot be shown"),
    "no character at all": ('a: "\\UFFFFFFFF"\n', "is not YAML"),
    "a tab": ("a:\n\tb: 1\n", ":2: is not YAML"),
    "an open quote": ("a: 'b\nc: d\n", "is not YAML"),
    "an open list": ("a: [b\nc: d\n", "is not YAML"),
    "a directive": ("%YAML 9.9\n---\na: 1\n", "is not YAML"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_sentence(read, name):
    content, sentence = HOSTILE[name]
    with pytest.raises(rf.ConfigError) as refused:
        read(content)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_file_that_is_none(tmp_path):
    for path in (tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(rf.ConfigError, match="there is no such file"):
            read_yaml(path)


def test_no_message_and_no_variable_of_it_shows_what_stands_in_the_file(read):
    with pytest.raises(rf.ConfigError) as refused:
        read("api_key: hunter2hunter2\nb: [\n")
    assert "hunter2" not in str(refused.value)
    ours = [f.f_locals for f in _frames(refused.tb) if f.f_code.co_filename.endswith(OURS)]
    assert ours
    assert "hunter2" not in repr(ours)


OURS = "session/yaml_tree.py"


def _frames(trace):
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


_WORDS = st.sampled_from(
    ["live", "a", ":", "-", " ", "\n", "  ", "{", "}", "[", "]", ",", "&x", "*x", "!!str", "'", '"',
     "|", ">", "#", "? ", "---", "...", "%", "\t", "1e9", ".nan", "<<", "\\", "\0", "é", "@", "`"]
)  # fmt: skip


@given(st.lists(_WORDS | st.text(max_size=4), max_size=30).map("".join))
@settings(max_examples=400, deadline=None)
def test_anything_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        tree = read_yaml(path)
    except rf.ConfigError:
        return
    # What we take, the usual reader takes too; keys are text here whatever they look like.
    assert [str(k) for k in tree.values] == [str(k) for k in yaml.load(text, yaml.BaseLoader)]
