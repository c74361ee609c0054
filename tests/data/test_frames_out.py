"""Frames out: numpy columns in the user's library, without pyarrow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from regimeflow.data import frame
from regimeflow.errors import ConfigError, DataError

NOON = int(np.datetime64("2024-07-01T12:00", "ns").astype(np.int64))
COLUMNS = {
    "time": np.array([NOON, NOON + 1]),
    "side": ["buy", "sell"],
    "qty": [1, 2],
    "price": np.array([1.5, 2.5]),
    "fee": [None, 0.1],
}


def test_pandas() -> None:
    built = frame(COLUMNS, "pandas", "America/New_York")
    assert isinstance(built, pd.DataFrame)
    assert list(built.columns) == list(COLUMNS)
    assert str(built["time"].dtype) == "datetime64[ns, America/New_York]"
    assert str(built["time"][0]) == "2024-07-01 08:00:00-04:00"
    assert built["time"][1].nanosecond == 1
    assert built["side"].tolist() == ["buy", "sell"]
    assert str(built["side"].dtype) == "str"
    assert built["qty"].dtype == np.int64
    assert np.isnan(built["fee"][0])


def test_polars() -> None:
    built = frame(COLUMNS, "polars", "America/New_York")
    assert isinstance(built, pl.DataFrame)
    assert built.schema == {
        "time": pl.Datetime("ns", "America/New_York"),
        "side": pl.String,
        "qty": pl.Int64,
        "price": pl.Float64,
        "fee": pl.Float64,
    }
    assert str(built["time"][0]) == "2024-07-01 08:00:00-04:00"


def test_without_a_zone_times_are_naive() -> None:
    assert str(frame(COLUMNS, "pandas", None)["time"][0]) == "2024-07-01 12:00:00"
    assert frame(COLUMNS, "polars", None).schema["time"] == pl.Datetime("ns")


@pytest.mark.parametrize("flavour", ["pandas", "polars"])
def test_empty_and_missing(flavour: str) -> None:
    columns = {"entry": [None, NOON], "symbol": [None, "A"], "price": [1.0, None]}
    built = frame(columns, flavour, None, ("entry", "exit"))
    assert built.shape == (2, 3)
    missing = built["entry"].isna() if flavour == "pandas" else built["entry"].is_null()
    assert missing.to_list() == [True, False]
    empty = {"time": [], "symbol": [], "price": []}
    built = frame(empty, flavour, "UTC", text_columns=("symbol",))
    assert built.shape == (0, 3)
    assert built["price"].sum() == 0.0
    assert [str(kind) for kind in built.dtypes] == (
        ["datetime64[ns, UTC]", "str", "float64"]
        if flavour == "pandas"
        else ["Datetime(time_unit='ns', time_zone='UTC')", "String", "Float64"]
    )


def test_refused() -> None:
    with pytest.raises(ConfigError, match="flavour must be"):
        frame({}, "arrow", None)
    with pytest.raises(DataError, match="unequal lengths"):
        frame({"a": [1], "b": [1, 2]}, "pandas", None)
    for flavour in ("pandas", "polars"):
        with pytest.raises(ConfigError, match="no time zone 'Mars/Base'"):
            frame({"time": [1]}, flavour, "Mars/Base")
