"""Market data from Parquet and CSV files, in the frame library of one's choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from regimeflow.errors import DataError, did_you_mean


def read_file(path: Path, flavour: str = "polars") -> Any:
    """Return a file as a frame; polars reads both formats by itself.

    Args:
        path: ends in ``.parquet``, ``.pq`` or ``.csv``.
        flavour: "polars" or "pandas".

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    frame = _reading(path, _lazy(path).collect)
    # What pandas calls an index without a name, in Parquet and in CSV.
    for unnamed in ("__index_level_0__", ""):
        if unnamed in frame.columns and "time" not in frame.columns:
            frame = frame.rename({unnamed: "time"})
    return _pandas(frame) if flavour == "pandas" else frame


def header(path: Path) -> list[str]:
    """Return a file's column names in lower case, without reading its rows."""
    return [name.strip().lower() for name in _lazy(path).collect_schema().names()]


def _lazy(path: Path) -> Any:
    import polars as pl

    if not path.is_file():
        raise DataError(f"there is no file {path}")
    kinds: dict[str, Callable[[], Any]] = {
        ".parquet": lambda: pl.scan_parquet(path),
        ".pq": lambda: pl.scan_parquet(path),
        # All rows decide on a column's type: a price may have its first decimals far down.
        ".csv": lambda: pl.scan_csv(path, try_parse_dates=True, infer_schema_length=None),
    }
    ending = path.suffix.lower()
    scan = kinds.get(ending)
    if scan is None:
        raise DataError(
            f"{path} is neither Parquet (.parquet) nor CSV (.csv).{did_you_mean(ending, kinds)}"
        )
    return _reading(path, scan)


def _reading(path: Path, read: Callable[[], Any]) -> Any:
    """Return what ``read`` returns, its failures as one sentence."""
    import polars as pl

    try:
        return read()
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{path} cannot be read: {reason}") from error


def _pandas(frame: Any) -> Any:
    """Return a polars frame as a pandas one, column by column: other ways need pyarrow."""
    import pandas as pd

    columns = {}
    for series in frame:
        values = pd.Series(series.to_numpy())
        zone = getattr(series.dtype, "time_zone", None)
        if zone is not None:
            values = values.dt.tz_localize("UTC").dt.tz_convert(zone)
        columns[series.name] = values
    return pd.DataFrame(columns)
