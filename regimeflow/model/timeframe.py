"""Time as UTC integer nanoseconds, and timeframes as counts of them."""

from __future__ import annotations

import re

from regimeflow.errors import ConfigError

NS_PER_MS = 1_000_000
NS_PER_SECOND = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_SECOND

_UNITS = {
    "ms": NS_PER_MS,
    "s": NS_PER_SECOND,
    "sec": NS_PER_SECOND,
    "m": 60 * NS_PER_SECOND,
    "min": 60 * NS_PER_SECOND,
    "t": 60 * NS_PER_SECOND,
    "h": 3600 * NS_PER_SECOND,
    "hour": 3600 * NS_PER_SECOND,
    "d": NS_PER_DAY,
    "day": NS_PER_DAY,
    "w": 7 * NS_PER_DAY,
    "week": 7 * NS_PER_DAY,
}
_PATTERN = re.compile(r"\s*(\d*)\s*([A-Za-z]+?)\s*\Z")


def parse_timeframe(text: str | int) -> int:
    """Return the length of a timeframe in nanoseconds.

    Args:
        text: such as ``"1min"``, ``"5m"``, ``"1h"``, ``"1D"``, ``"30s"``, or nanoseconds already.

    >>> parse_timeframe("1min")
    60000000000
    >>> parse_timeframe("2h") == 2 * 3600 * 10**9
    True
    """
    if isinstance(text, int) and not isinstance(text, bool):
        if text <= 0:
            raise ConfigError(f"a timeframe must be positive, got {text} ns")
        return text
    match = _PATTERN.match(text) if isinstance(text, str) else None
    if match is None or match[2] == "M":
        raise ConfigError(
            f"cannot read the timeframe {text!r}: use a form like '1min', '1h' or '1D'"
        )
    unit = match[2].lower()
    unit = unit if unit in _UNITS else unit.rstrip("s")
    count = int(match[1] or 1)
    if unit not in _UNITS or count <= 0:
        raise ConfigError(
            f"cannot read the timeframe {text!r}: use a form like '1min', '1h' or '1D'"
        )
    return count * _UNITS[unit]


def format_timeframe(ns: int) -> str:
    """Return the shortest usual name of a timeframe.

    >>> format_timeframe(60_000_000_000), format_timeframe(86_400_000_000_000)
    ('1min', '1d')
    """
    for unit in ("w", "d", "h", "min", "s", "ms"):
        size = _UNITS[unit]
        if ns % size == 0 and ns >= size:
            return f"{ns // size}{unit}"
    return f"{ns}ns"


def iso(ns: int) -> str:
    """Return UTC nanoseconds as ISO text, with only as many decimals as are needed.

    >>> iso(1_704_153_600_000_000_000)
    '2024-01-02T00:00:00Z'
    """
    days, rest = divmod(ns, NS_PER_DAY)
    # Howard Hinnant's civil-from-days; done here because floor 0 stays free of `datetime`, whose
    # range and microsecond resolution are both smaller than ours.
    z = days + 719_468
    era, doe = divmod(z, 146_097)
    yoe = (doe - doe // 1_460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    day = doy - (153 * mp + 2) // 5 + 1
    month = mp + 3 if mp < 10 else mp - 9
    year = yoe + era * 400 + (month <= 2)
    seconds, fraction = divmod(rest, NS_PER_SECOND)
    hour, seconds = divmod(seconds, 3600)
    minute, second = divmod(seconds, 60)
    decimals = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}{decimals}Z"


def lasted(ms: float | None) -> str:
    """Return a duration in the unit that suits it; "–" where nobody knows it.

    >>> lasted(2.345), lasted(266.9), lasted(60_000.0), lasted(172_805_000.0)
    ('2.3 ms', '267 ms', '60.0 s', '2.0 d')
    """
    if ms is None:
        return "–"
    for below, size, digits, unit in _SPANS:
        if ms < below:
            return f"{ms / size:,.{digits}f} {unit}"
    return f"{ms / 86_400_000:,.1f} d"


#: Of durations: below how many ms, what one unit is, its digits and its name.
_SPANS = (
    (10.0, 1.0, 1, "ms"),
    (1_000.0, 1.0, 0, "ms"),
    (120_000.0, 1_000.0, 1, "s"),
    (7_200_000.0, 60_000.0, 0, "min"),
    (172_800_000.0, 3_600_000.0, 1, "h"),
)
