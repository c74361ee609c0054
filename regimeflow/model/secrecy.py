"""Names that say that their value is a secret."""

from __future__ import annotations

import re

#: Stands for a value that must not be written down.
HIDDEN = "(hidden)"

#: Compared with a name's letters and digits alone: ``apiKey``, ``API-KEY`` and ``api_key`` are one.
_SECRETS = ("apikey", "secret", "token", "password", "passphrase", "authorization", "privatekey")
_NOT_ALNUM = re.compile(r"[\W_]+")


def is_secret(name: str) -> bool:
    """Whether a name says that its value must not be written down.

    >>> is_secret("ALPACA_API_KEY"), is_secret("apiKey"), is_secret("fast")
    (True, True, False)
    """
    plain = _NOT_ALNUM.sub("", name).lower()
    return any(part in plain for part in _SECRETS)
