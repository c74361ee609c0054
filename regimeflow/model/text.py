"""Text from outside, made such that every file, socket and page can take it."""

from __future__ import annotations


def whole_text(text: str) -> str:
    r"""Return a text in which each half of a character has become a question mark.

    JSON has a way to say half a character (a lone surrogate), and Python's reader passes it on; no
    UTF-8 can hold it.

    >>> whole_text("bad \ud800"), whole_text("naïve 📈")
    ('bad ?', 'naïve 📈')
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
