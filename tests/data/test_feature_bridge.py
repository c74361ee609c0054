"""Features in the user's own library: out, back, and no look-ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from regimeflow.data import check_causal, feature_columns, load, user_frame
from regimeflow.data.datasets import synthetic
from regimeflow.errors import DataError
from regimeflow.model.market import BarColumns


@pytest.fixture(scope="module")
def bars() -> BarColumns:
    frame = synthetic(n=400, seed=3).assign(carried=np.arange(400.0))
    return load(frame, symbols="X").bars[0]


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_the_user_gets_close_times_in_their_own_library(bars: BarColumns, zone: str | None) -> None:
    frame = user_frame(bars, "pandas", zone)
    assert isinstance(frame, pd.DataFrame)
    assert frame.index.name == "time"
    assert str(frame.index.tz or "None") == str(zone)
    assert list(frame.columns) == ["open", "high", "low", "close", "volume", "carried"]
    local = "2024-01-01 19:01" if zone else "2024-01-02 00:01"
    assert str(frame.index[0])[:16] == local
    other = user_frame(bars, "polars", zone)
    assert isinstance(other, pl.DataFrame)
    assert other.columns[0] == "time"
    assert str(other["time"][0])[:16] == local
    assert other["close"].to_list() == frame["close"].tolist() == bars.close.tolist()


def test_the_users_frame_is_a_copy(bars: BarColumns) -> None:
    before = bars.close[0]
    frame = user_frame(bars, "pandas", None)
    frame.iloc[0] = 0.0
    frame.loc[frame.index[1], "close"] = 1.0
    assert bars.close[0] == before


def given(bars: BarColumns) -> dict[str, Any]:
    names = ("open", "high", "low", "close", "volume")
    return {**{name: bars.column(name) for name in names}, **bars.features}


def test_new_and_overwritten_columns_come_back(bars: BarColumns) -> None:
    for flavour in ("pandas", "polars"):
        frame = user_frame(bars, flavour, None)
        if flavour == "pandas":
            result: Any = frame.assign(up=frame["close"] > frame["open"], carried=1.0)
        else:
            result = frame.with_columns(up=pl.col("close") > pl.col("open"), carried=pl.lit(1.0))
        found = feature_columns(result, len(bars), given(bars), times=bars.ts)
        assert sorted(found) == ["carried", "up"]
        assert found["up"].tolist() == [float(x) for x in bars.close > bars.open]
        assert sorted(feature_columns(result, len(bars), set(given(bars)))) == ["up"]


def test_only_the_new_columns_may_come_back(bars: BarColumns) -> None:
    frame = user_frame(bars, "polars", None)
    found = feature_columns(
        frame.select(x=pl.col("close") * 2), len(bars), given(bars), times=bars.ts
    )
    assert found["x"].tolist() == (bars.close * 2).tolist()


WRONG = [
    (lambda f: None, "returned NoneType: return the frame"),
    (lambda f: f["close"], "returned Series: return the frame"),
    (lambda f: f.iloc[5:], "returned 395 rows for 400 bars: keep every row"),
    (lambda f: f.iloc[::-1], "the time in row 0 is .* it was"),
    (lambda f: f.reset_index(drop=True), "the row index no longer holds the bars' times"),
    (lambda f: f.assign(name="x"), "the column 'name' is .*not numeric"),
]


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_what_cannot_be_used(bars: BarColumns, case: int) -> None:
    change, said = WRONG[case]
    result = change(user_frame(bars, "pandas", None))
    with pytest.raises(DataError, match=said):
        feature_columns(result, len(bars), given(bars), times=bars.ts)


# ---------------------------------------------------------------- causal


def mean_of(n: int) -> Any:
    return lambda f: f.assign(mean=f["close"].rolling(n).mean())


def test_a_rolling_mean_is_causal(bars: BarColumns) -> None:
    found = check_causal(mean_of(20), bars, "pandas", None, warmup=20)
    assert np.isnan(found["mean"][18])
    assert found["mean"][19] == pytest.approx(bars.close[:20].mean(), rel=1e-12)
    over = lambda f: f.with_columns(mean=pl.col("close").rolling_mean(20))  # noqa: E731
    assert check_causal(over, bars, "polars", "UTC", warmup=20).keys() == {"mean"}


LOOK_AHEAD = {
    "next close": lambda f: f.assign(x=f["close"].shift(-1)),
    "centred mean": lambda f: f.assign(x=f["close"].rolling(5, center=True).mean()),
    "of the whole": lambda f: f.assign(ok=1.0, x=f["close"] / f["close"].mean()),
    "filled backwards": lambda f: f.assign(x=f["close"].where(f.index.minute % 7 == 0).bfill()),
}


@pytest.mark.parametrize("kind", LOOK_AHEAD)
def test_a_look_ahead_is_named_with_column_and_time(bars: BarColumns, kind: str) -> None:
    with pytest.raises(DataError, match=r"the column 'x' looks ahead: at 2024-01-02T0\d:\d\d:00Z"):
        check_causal(LOOK_AHEAD[kind], bars, "pandas", None)


def test_the_warm_up_that_would_suffice_is_named(bars: BarColumns) -> None:
    with pytest.raises(
        DataError, match=r"'mean' needs more than .* of 10 bars.*warmup=37 would do"
    ):
        check_causal(mean_of(37), bars, "pandas", None, warmup=10)
    check_causal(mean_of(37), bars, "pandas", None, warmup=37)


def test_a_sum_from_the_beginning_has_no_warm_up(bars: BarColumns) -> None:
    total = lambda f: f.assign(x=f["volume"].cumsum())  # noqa: E731
    check_causal(total, bars, "pandas", None)
    with pytest.raises(DataError, match="no warm-up suffices"):
        check_causal(total, bars, "pandas", None, warmup=50)


@pytest.mark.parametrize(("left", "refused"), [(1e-16, False), (1e-6, True)])
def test_near_zero_a_difference_is_measured_by_the_column(
    bars: BarColumns, left: float, refused: bool
) -> None:
    """Running sums from another start differ in the last digits, which near zero is a lot."""

    def noisy(f: pd.DataFrame) -> pd.DataFrame:
        x = np.zeros(len(f))
        x[0] = 1.0
        x[-1] += left * len(f)
        return f.assign(x=x)

    if refused:
        with pytest.raises(DataError, match="looks ahead"):
            check_causal(noisy, bars, "pandas", None)
    else:
        check_causal(noisy, bars, "pandas", None)


def test_columns_that_depend_on_the_length_are_refused(bars: BarColumns) -> None:
    with pytest.raises(DataError, match="'x' is missing when only"):
        check_causal(lambda f: f.assign(x=1.0) if len(f) == len(bars) else f, bars, "pandas", None)


def test_a_handful_of_bars_is_no_error(bars: BarColumns) -> None:
    for n in (1, 2, 3):
        check_causal(mean_of(2), bars.slice(0, n), "pandas", None, warmup=2)
