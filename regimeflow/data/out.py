"""Frames out: numpy columns as a frame in the library that the user's data came in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from regimeflow.errors import ConfigError, DataError
from regimeflow.model.market import IntArray

FLAVOURS = ("pandas", "polars")


def frame(
    columns: Mapping[str, npt.NDArray[Any] | Sequence[Any]],
    flavour: str,
    timezone: str | None,
    time_columns: Collection[str] = ("time",),
    *,
    text_columns: Collection[str] = (),
) -> Any:
    """Return columns as a ``pandas.DataFrame`` or ``polars.DataFrame``.

    Args:
        columns: by name, all of one length. Arrays keep their type; lists become text if they hold
            text, whole numbers if they hold only those, else floats (``None`` is NaN).
        flavour: "pandas" or "polars".
        timezone: zone of the time columns; ``None`` for naive UTC.
        time_columns: columns of UTC nanoseconds that become datetimes; those absent are no error.
            ``None`` in a list, or the smallest integer in an array, is a missing time.
        text_columns: columns that are text even where they are empty or hold only ``None``.

    Raises:
        ConfigError: an unknown flavour or time zone.
        DataError: columns of unequal length.

    >>> frame({"time": np.array([0]), "equity": [100.0], "side": ["buy"]}, "polars", None).columns
    ['time', 'equity', 'side']
    """
    if flavour not in FLAVOURS:
        raise ConfigError(f"flavour must be 'pandas' or 'polars', got {flavour!r}")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the columns have unequal lengths: {lengths}")
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, column in columns.items():
        if name in time_columns:
            arrays[name] = time_array(column)
        else:
            arrays[name] = _array(column, text=name in text_columns)
    build = _pandas_frame if flavour == "pandas" else _polars_frame
    return build(arrays, timezone)


def time_array(column: npt.NDArray[Any] | Sequence[Any]) -> npt.NDArray[np.datetime64]:
    """Return UTC nanoseconds as ``datetime64[ns]``; ``None`` becomes "not a time"."""
    if isinstance(column, np.ndarray):
        return np.ascontiguousarray(column, np.int64).view("datetime64[ns]")
    missing = np.iinfo(np.int64).min
    ns = np.array([missing if value is None else value for value in column], np.int64)
    return ns.view("datetime64[ns]")


def pandas_index(ts: IntArray, timezone: str | None, name: str = "time") -> Any:
    """Return UTC nanoseconds as a ``DatetimeIndex`` in a zone, or naive."""
    import pandas as pd

    index = pd.DatetimeIndex(time_array(ts), name=name)
    if timezone is None:
        return index
    try:
        return index.tz_localize("UTC").tz_convert(timezone)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(f"there is no time zone {timezone!r}") from error


def polars_times(ts: IntArray, timezone: str | None, name: str = "time") -> Any:
    """Return UTC nanoseconds as a polars series of datetimes in a zone, or naive."""
    import polars as pl

    series = pl.Series(name, time_array(ts))
    if timezone is None:
        return series
    try:
        return series.dt.replace_time_zone("UTC").dt.convert_time_zone(timezone)
    except pl.exceptions.ComputeError as error:
        raise ConfigError(f"polars has no time zone {timezone!r}") from error


def _array(column: npt.NDArray[Any] | Sequence[Any], *, text: bool) -> npt.NDArray[Any]:
    if isinstance(column, np.ndarray):
        return column.astype(object) if column.dtype.kind in "UT" else column
    values = list(column)
    if text or any(isinstance(value, str) for value in values):
        array = np.empty(len(values), object)
        array[:] = [v if v is None or v.__class__ is str else str(v) for v in values]
        return array
    if values and all(isinstance(value, bool) for value in values):
        return np.array(values, bool)
    if values and all(type(value) is int for value in values):
        return np.array(values, np.int64)
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _pandas_frame(arrays: dict[str, npt.NDArray[Any]], timezone: str | None) -> Any:
    import pandas as pd

    built: dict[str, Any] = {}
    for name, array in arrays.items():
        if array.dtype.kind == "M":
            built[name] = pandas_index(array.view(np.int64), timezone)
        elif array.dtype == object:
            built[name] = pd.array(array, dtype="str")
        else:
            built[name] = array
    return pd.DataFrame(built)


def _polars_frame(arrays: dict[str, npt.NDArray[Any]], timezone: str | None) -> Any:
    import polars as pl

    built = []
    for name, array in arrays.items():
        if array.dtype.kind == "M":
            built.append(polars_times(array.view(np.int64), timezone, name))
        elif array.dtype == object:
            built.append(pl.Series(name, array.tolist(), dtype=pl.String))
        else:
            built.append(pl.Series(name, array))
    return pl.DataFrame(built)
