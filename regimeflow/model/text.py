"""Foreign text on its way to those who read it."""

from __future__ import annotations

import html
from unicodedata import category

#: Categories of characters that are not seen but change what is: controls, formats such as a turn
#: of the direction, halves of pairs, private ones, and separators of lines and paragraphs.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
#: What stands in their place, to be seen.
_MARK = "\N{REPLACEMENT CHARACTER}"


def clean(text: str) -> str:
    """Return a text with each character that is not seen replaced by one that is.

    Line feeds and tabs stay.

    >>> clean("up \\u202e\\x1b[2Jnwod"), clean("one\\r\\ntwo\\t3")
    ('up ��[2Jnwod', 'one\\ntwo\\t3')
    """
    if text.isprintable():
        return text
    return "".join(
        c if c in "\n\t" or category(c) not in _UNSEEN else _MARK
        for c in text.replace("\r\n", "\n")
    )


def line(text: str) -> str:
    """Return a text as `clean` does, in one line."""
    return clean(text).replace("\n", " ").replace("\t", " ")


def escape(text: str) -> str:
    """Return a text as `clean` does, for HTML: in elements and in attributes."""
    return html.escape(clean(text))


def whole_text(text: str) -> str:
    r"""Return a text in which each half of a character has become a question mark.

    JSON has a way to say half a character (a lone surrogate), and Python's reader passes it on; no
    UTF-8 can hold it.

    >>> whole_text("bad \ud800"), whole_text("naïve 📈")
    ('bad ?', 'naïve 📈')
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
