"""A secret shows nothing, and is found however it was written."""

from __future__ import annotations

import base64
import copy
import html
import io
import json
import logging
import pickle
import re
import traceback
from urllib.parse import quote, quote_plus

import cloudpickle
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimeflow.redaction import HIDDEN, Redactor, Secret, is_secret

CANARY = 'K9+/"wq é\\8z&1='


def _b64_inside(before: bytes):
    return lambda s: base64.b64encode(before + s.encode() + b"-and-after").decode()


#: In how many ways a secret leaves a program, by accident or not.
WAYS = {
    "as it is": lambda s: s,
    "URL": lambda s: quote(s, safe=""),
    "URL path": quote,
    "URL form": quote_plus,
    "URL in small letters": lambda s: re.sub("%..", lambda m: m[0].lower(), quote(s, safe="")),
    "URL, every character": lambda s: "".join(f"%{b:02X}" for b in s.encode()),
    "URL in a URL": lambda s: quote(quote(s, safe=""), safe=""),
    "JSON": lambda s: json.dumps(s)[1:-1],
    "JSON with letters": lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    "JSON, every character": lambda s: "".join(f"\\u{ord(c):04X}" for c in s),
    "JSON in JSON": lambda s: json.dumps(json.dumps(s))[3:-3],
    "JSON of JavaScript": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    "Python": lambda s: repr(s)[1:-1],
    "Python in ASCII": lambda s: ascii(s)[1:-1],
    "bytes in Python": lambda s: repr(s.encode("latin-1"))[2:-1],
    "HTML": html.escape,
    "HTML numbers": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
    "hex with colons": lambda s: s.encode().hex(":"),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "base64 without padding": lambda s: base64.b64encode(s.encode()).decode().rstrip("="),
    "base64 inside, at 0": _b64_inside(b"abc"),
    "base64 inside, at 1": _b64_inside(b"user"),
    "base64 inside, at 2": _b64_inside(b"login"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("around", ["{}", "before {} after", "x={}&y=1", '["{}"]', "A{}B"])
def test_a_known_secret_is_found_however_it_was_written(way, around):
    written = WAYS[way](CANARY)
    shown = Redactor([CANARY]).text(around.replace("{}", written))
    assert HIDDEN in shown
    assert CANARY not in shown
    # Of base64 inside a longer text the neighbours' characters stay, of the others nothing.
    kept = shown.replace(HIDDEN, "")
    if "inside" not in way:
        assert kept == around.replace("{}", "").replace(HIDDEN, "")
    else:
        assert WAYS["base64"](CANARY)[4:14] not in kept


@given(
    secret=st.text(
        st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=6, max_size=30
    ),
    way=st.sampled_from([w for w in WAYS if w != "bytes in Python"]),
    before=st.text(max_size=10),
    after=st.text(max_size=10),
)
@settings(max_examples=300, deadline=None)
def test_any_secret_in_any_way(secret, way, before, after):
    if way == "JSON, every character" and max(secret) > "\uffff":
        way = "JSON"
    written = WAYS[way](secret)
    assert written not in Redactor([secret]).text(before + written + after).replace(HIDDEN, "\0")


def test_what_holds_no_secret_is_left_alone():
    redactor = Redactor([CANARY, "PKTEST123456"])
    for text in ("buy 10 SPY at 101.25", "PKTEST12345", "key: value", "", "a=b&c=d", "https://x/y"):
        assert redactor.text(text) == text


def test_the_longer_of_two_secrets_goes_first():
    assert Redactor(["abcd", "abcdefgh"]).text("abcdefgh abcd") == f"{HIDDEN} {HIDDEN}"


def test_a_secret_of_three_letters_is_hidden_by_its_name_only():
    assert Redactor(["the"]).text("the password=the") == f"the password={HIDDEN}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("api_key=abc&qty=5", "api_key=(hidden)&qty=5"),
        ("apiKey: abc, qty: 5", "apiKey: (hidden), qty: 5"),
        ('{"secret": "a \\"b\\" c", "qty": 5}', '{"secret": "(hidden)", "qty": 5}'),
        ("{'ALPACA_API_SECRET': 'abc'}", "{'ALPACA_API_SECRET': '(hidden)'}"),
        ("APCA-API-SECRET-KEY: abc\r\nHost: x", "APCA-API-SECRET-KEY: (hidden)\r\nHost: x"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer (hidden)"),
        ("authorization=Basic dXNlcjpwYXNz", "authorization=Basic (hidden)"),
        (r"{\"password\": \"abc\", \"a\": 1}", r"{\"password\": \"(hidden)\", \"a\": 1}"),
        ("passphrase = 'x y' # note", "passphrase = '(hidden)' # note"),
        ('password="abc def', 'password="(hidden)"'),
        (f'password="{"abc " * 5_000}" x', 'password="(hidden)" x'),
        ("wss://me:pw@host/stream", "wss://(hidden)@host/stream"),
        ("https://example.org/a@b", "https://example.org/a@b"),
        ('"token": null, "secret": true', '"token": null, "secret": true'),
        ("live.broker_config.api_key must be text", "live.broker_config.api_key must be text"),
    ],
)
def test_what_stands_under_the_name_of_a_secret_is_hidden(text, shown):
    assert Redactor().text(text) == shown


def test_nested_values():
    redactor = Redactor(["hunter2hunter2"])
    given = {
        "api_key": {"even": "nested"},
        "qty": 5,
        "note": ["see hunter2hunter2", None, True, 1.5],
        "key": Secret("x"),
        "raw": b"hunter2hunter2",
    }
    assert redactor.value(given) == {
        "api_key": HIDDEN,
        "qty": 5,
        "note": [f"see {HIDDEN}", None, True, 1.5],
        "key": HIDDEN,
        "raw": HIDDEN,
    }


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000,
        "\\" * 100_000,
        "password='" * 10_000,
        "token" * 20_000,
        "%25" * 30_000,
        "&#00000" * 15_000,
        "://" * 30_000,
        'secret: "' + "\\" * 90_000,
    ],
)
def test_a_hostile_text_takes_no_more_than_its_length(text):
    Redactor([CANARY]).text(text)  # the suite's time limit is what would fail


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("api_key", True), ("apiKey", True), ("API-KEY", True), ("ALPACA_API_SECRET", True),
        ("secret_key", True), ("access_token", True), ("Password", True), ("passphrase", True),
        ("Authorization", True), ("privateKey", True), ("key", False), ("fast", False),
        ("symbol", False), ("author", False),
    ],
)  # fmt: skip
def test_names_of_secrets(name, secret):
    assert is_secret(name) is secret


# ---------------------------------------------------------------- Secret


def test_a_secret_shows_itself_to_reveal_only():
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>20}",
        f"{secret!r}",
        f"{[secret]}",
    ):
        assert CANARY not in shown
        assert HIDDEN in shown
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"a": secret})["a"] is secret
    assert (bool(secret), bool(Secret(""))) == (True, False)
    assert secret == Secret(CANARY)
    assert len({secret, Secret(CANARY)}) == 1
    assert secret != Secret("other")
    assert secret != CANARY
    assert not hasattr(secret, "__dict__")
    with pytest.raises(AttributeError):
        secret._text = "other"


@pytest.mark.parametrize(
    "write",
    [pickle.dumps, cloudpickle.dumps, json.dumps, msgspec.json.encode, msgspec.msgpack.encode],
)
def test_a_secret_is_not_written(write):
    with pytest.raises(TypeError) as refused:
        write({"a": Secret(CANARY)})
    assert CANARY not in str(refused.value)


def test_a_traceback_with_variables_shows_no_secret():
    def fails(key):
        raise ValueError("as planned")

    try:
        fails(Secret(CANARY))
    except ValueError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        text = "".join(told.format())
    assert HIDDEN in text
    assert CANARY not in text


# ---------------------------------------------------------------- logs


@pytest.fixture
def written():
    """A logger whose handler is guarded, and what it wrote."""
    stream = io.StringIO()
    logger = logging.getLogger("tests.redaction")
    logger.propagate = False
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    redactor = Redactor([CANARY])
    redactor.guard(logger)
    redactor.guard(logger)
    assert handler.filters == [redactor]
    yield logger, stream
    logger.removeHandler(handler)


def test_a_guarded_handler_writes_no_secret(written):
    logger, stream = written
    logger.warning("key %s of %d", CANARY, 5)
    logger.warning(f"api_key={CANARY}", stack_info=True)
    logger.warning("does not fit %d", CANARY)
    # What a library of ours logs through a child reaches the handler of its parent.
    logger.getChild("client").error("headers %s", {"Authorization": f"Bearer {CANARY}"})
    try:
        raise ValueError(CANARY)
    except ValueError:
        logger.exception("failed with %s", Secret(CANARY))
    text = stream.getvalue()
    assert "key (hidden) of 5" in text
    assert "ValueError: (hidden)" in text
    assert "Traceback" in text
    for way in WAYS.values():
        assert way(CANARY) not in text


def test_a_logger_without_handlers_is_guarded_too(capsys):
    last = logging.lastResort
    redactor = Redactor([CANARY])
    logger = logging.getLogger("tests.redaction.none")
    logger.propagate = False
    redactor.guard(logger)
    try:
        logger.warning("key %s", CANARY)
    finally:
        last.removeFilter(redactor)
        logger.propagate = True
    assert capsys.readouterr().err == f"key {HIDDEN}\n"
