"""A dict of many small frames gives what each of them gives alone, and names its bad rows so."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from regimeflow.data import load
from regimeflow.data.stack import FEW_ROWS
from regimeflow.errors import DataError


def days(n: int, seed: int, since: str = "2024-01-02") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100.0 + rng.standard_normal(n).cumsum()
    columns = {"Open": close, "High": close + 1, "Low": close - 1, "Close": close}
    frame = pd.DataFrame(columns, index=pd.bdate_range(since, periods=n))
    return frame.assign(Volume=rng.integers(1, 10**6, n), **{"Adj Close": close / 2, "Beta": 1.5})


def as_if_alone(frames: dict[str, pd.DataFrame]) -> None:
    together = load(frames)
    assert together.symbols == tuple(b.symbol for b in together.bars) == tuple(frames)
    for symbol, frame in frames.items():
        (alone,) = load(frame, symbols=symbol).bars
        (bars,) = (b for b in together.bars if b.symbol == symbol)
        assert bars.timeframe == alone.timeframe
        assert list(bars.features) == list(alone.features)
        for name in ("ts", "open", "high", "low", "close", "volume"):
            column = getattr(bars, name)
            assert column.tobytes() == getattr(alone, name).tobytes()
            assert not column.flags.writeable
        for name, column in bars.features.items():
            assert column.tobytes() == alone.features[name].tobytes()
            assert not column.flags.writeable


def test_frames_of_one_shape() -> None:
    as_if_alone({f"S{i}": days(20 + i, i) for i in range(6)})


def test_single_precision_and_whole_numbers() -> None:
    frames = {f"S{i}": days(20, i) for i in range(4)}
    frames["S1"] = frames["S1"].astype("float32")
    frames["S2"] = frames["S2"].round().clip(lower=1).astype("int64")
    as_if_alone(frames)


def test_frames_of_other_shapes_between_them() -> None:
    frames = {f"S{i}": days(20, i) for i in range(9)}
    frames["S2"] = frames["S2"].rename(columns=str.lower)
    frames["S3"] = frames["S3"].tz_localize("UTC")
    frames["S3"].index = frames["S3"].index.as_unit("s").tz_localize(None)
    frames["S5"] = frames["S5"][["Volume", "Close", "Low", "High", "Open"]]
    frames["S6"] = frames["S6"].reset_index(names="date")
    frames["S7"] = days(FEW_ROWS + 1, 7, "1990-01-01")
    as_if_alone(frames)


def test_flags_beside_the_prices() -> None:
    as_if_alone({f"S{i}": days(20, i).assign(Holiday=i % 2 == 0) for i in range(3)})


def test_a_column_of_text_in_a_later_frame_is_left_out_and_told() -> None:
    frames = {f"S{i}": days(20, i) for i in range(3)}
    frames["S1"]["Beta"] = "high"
    loaded = load(frames)
    assert [list(b.features) for b in loaded.bars] == [
        ["adj_close", "Beta"],
        ["adj_close"],
        ["adj_close", "Beta"],
    ]
    assert "S1: the column 'Beta' is not numeric, left out" in loaded.notes


def test_trades_of_many_symbols() -> None:
    times = pd.DatetimeIndex(["2024-01-02 09:00", "2024-01-02 09:00", "2024-01-02 09:01"])
    frames = {
        symbol: pd.DataFrame({"price": [first, 2.0, 3.0], "size": [1, 2, 3]}, index=times)
        for symbol, first in (("A", 7.0), ("B", 8.0))
    }
    one, other = load(frames).trades
    assert (one.symbol, one.price.tolist(), one.size.tolist()) == ("A", [7.0, 2.0, 3.0], [1, 2, 3])
    assert (other.symbol, other.price.tolist()) == ("B", [8.0, 2.0, 3.0])


def broken(what: str) -> pd.DataFrame:
    frame = days(20, 1)
    if what == "a value":
        frame.iloc[4, 1] = frame.iloc[9, 3] = np.nan
    elif what == "twice the same day":
        frame.index = frame.index[[*range(7), 6, *range(8, 20)]]
    else:
        frame.index = frame.index[:-1].append(pd.DatetimeIndex(["2024-02-03"]))  # a Saturday
    return frame


@pytest.mark.parametrize("what", ["a value", "twice the same day", "no session"])
@pytest.mark.parametrize("chosen", [None, ["S1", "S2", "S4"]])
def test_a_bad_row_is_named_as_if_its_frame_were_alone(what: str, chosen: list[str] | None) -> None:
    frames = {f"S{i}": days(12, i).loc["2024-01-04":"2024-01-12"] for i in range(5)}  # type: ignore[misc]
    frames["S2"], frames["S4"] = broken(what), broken(what)
    with pytest.raises(DataError) as alone:
        load(frames["S2"], symbols="S2", timeframe="1D", calendar="XNYS")
    with pytest.raises(DataError, match=f"^{re.escape(str(alone.value))}$"):
        load(frames, symbols=chosen, timeframe="1D", calendar="XNYS")


def test_bad_rows_are_dropped_and_counted_by_symbol() -> None:
    frames = {f"S{i}": days(20, i) for i in range(4)}
    frames["S1"], frames["S3"] = broken("a value"), broken("twice the same day")
    loaded = load(frames, on_bad="drop")
    assert loaded.dropped == {"S1": 2, "S3": 1}
    assert [len(b) for b in loaded.bars] == [20, 18, 20, 19]
    (alone,) = load(frames["S1"], symbols="S1", on_bad="drop").bars
    assert loaded.bars[1].close.tolist() == alone.close.tolist()


def test_writing_into_the_users_frames_changes_nothing() -> None:
    frames = {f"S{i}": days(20, i) for i in range(3)}
    loaded = load(frames)
    before = [b.close.tolist() for b in loaded.bars]
    for frame in frames.values():
        frame.iloc[:, :] = 1.0
    assert [b.close.tolist() for b in loaded.bars] == before
