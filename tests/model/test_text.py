"""What is not seen is replaced by what is, wherever foreign text is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimeflow.model.text import clean, escape, line

MARK = "\ufffd"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße, 買い 😀", "Grüße, 買い 😀"),
        ("one\ntwo\tthree", "one\ntwo\tthree"),
        ("one\r\ntwo", "one\ntwo"),
        ("\x1b]0;mine\x07", f"{MARK}]0;mine{MARK}"),
        ("\u202egnp", f"{MARK}gnp"),  # turns the direction
        ("a\U000e0041b", f"a{MARK}b"),  # a tag, which a model reads and nobody sees
        ("\ud800\ue000\u2028\u200b\x9b", MARK * 5),
    ],
)
def test_what_is_not_seen_is_marked(text, shown):
    assert clean(text) == shown


@given(st.text())
def test_it_is_html_and_a_line(text):
    assert clean(clean(text)) == clean(text)
    assert not {"<", ">", '"', "'"} & set(escape(text))
    assert len(line(text).splitlines()) <= 1
