"""A user's way of naming a moment, as UTC nanoseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from regimeflow.errors import ConfigError


def moment(when: Any, timezone: str = "UTC") -> int | None:
    """Return a moment as UTC nanoseconds, None for None.

    Args:
        when: text such as "2024-01-02", a datetime, date, numpy or pandas time, or nanoseconds.
        timezone: what a time without a zone means.

    >>> moment("1970-01-02")
    86400000000000
    """
    if when is None:
        return None
    if isinstance(when, int | np.integer) and not isinstance(when, bool):
        return int(when)
    try:
        stamp = pd.Timestamp(when)
        if pd.isna(stamp):
            raise ValueError("not a time")
        if stamp.tzinfo is None:
            stamp = stamp.tz_localize(timezone)
        return int(stamp.tz_convert("UTC").as_unit("ns").value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigError(
            f"cannot read {when!r} as a moment: use text like '2024-01-02', a datetime or UTC "
            f"nanoseconds ({error})"
        ) from error
