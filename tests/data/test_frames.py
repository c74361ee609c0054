"""Frames in: every shape gives the same columns, and every bad row is named."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimeflow.data import Dataset, load
from regimeflow.errors import ConfigError, DataError, RegimeflowError

MINUTE, HOUR, DAY = 60 * 10**9, 3600 * 10**9, 86_400 * 10**9
START = 1_704_186_000_000_000_000  # 2024-01-02T09:00:00Z


def at(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def utc(ts: np.ndarray) -> list[str]:
    return [str(t) for t in ts.view("M8[ns]").astype("M8[m]")]


def prices(n: int = 5, first: float = 100.0) -> dict[str, list[float]]:
    close = [first + i for i in range(n)]
    return {
        "open": [c - 0.5 for c in close],
        "high": [c + 1.0 for c in close],
        "low": [c - 1.0 for c in close],
        "close": close,
        "volume": [10.0 * (i + 1) for i in range(n)],
    }


def minutes(n: int = 5, step: int = MINUTE) -> np.ndarray:
    return (START + np.arange(n) * step).view("datetime64[ns]")


def pandas_bars(n: int = 5, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({**prices(n), **columns}, index=pd.DatetimeIndex(minutes(n)))


def polars_bars(n: int = 5, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"time": minutes(n), **prices(n), **columns})


def same(one: Dataset, other: Dataset) -> bool:
    return one.fingerprint == other.fingerprint


# ---------------------------------------------------------------- shapes


def test_a_pandas_frame_becomes_columns_with_close_times() -> None:
    data = load(pandas_bars(), symbols="SPY")
    (bars,) = data.bars
    assert (bars.symbol, bars.timeframe, len(bars)) == ("SPY", MINUTE, 5)
    assert bars.ts.tolist() == [START + (i + 1) * MINUTE for i in range(5)]
    assert bars.close.tolist() == [100.0, 101.0, 102.0, 103.0, 104.0]
    assert bars.volume.tolist() == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert (data.flavour, data.timezone, data.label, data.calendar) == ("pandas", None, "open", "")
    assert data.notes == ("SPY: timeframe 1min inferred",)
    assert data.symbols == ("SPY",)


def test_an_unnamed_frame_is_called_asset() -> None:
    assert load(pandas_bars()).symbols == ("asset",)


def test_close_labels_stay() -> None:
    assert load(pandas_bars(), label="close").bars[0].ts[0] == START


P, Q = pandas_bars, polars_bars
SHAPES: dict[str, Any] = {
    "polars": Q,
    "upper case": lambda: P().rename(columns=str.upper),
    "title case, time column": lambda: P().rename(columns=str.title).reset_index(names="Date"),
    "microseconds": lambda: P().set_axis(P().index.as_unit("us")),
    "seconds": lambda: P().set_axis(P().index.as_unit("s")),
    "UTC aware": lambda: P().tz_localize("UTC"),
    "New York aware": lambda: P().tz_localize("UTC").tz_convert("America/New_York"),
    "fixed offset": lambda: P().tz_localize("UTC").tz_convert("UTC+03:00"),
    "epoch s": lambda: P().set_axis(np.asarray(P().index.asi8) // 10**9),
    "epoch ms column": lambda: (
        P().reset_index(drop=True).assign(timestamp=np.asarray(P().index.asi8) // 10**6)
    ),
    "epoch ns in polars": lambda: Q().with_columns(pl.col("time").to_physical()),
    "epoch us in polars": lambda: Q().with_columns(pl.col("time").to_physical() // 1000),
    "polars in a zone": lambda: Q().with_columns(
        pl.col("time").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
    ),
    "polars milliseconds": lambda: Q().with_columns(pl.col("time").cast(pl.Datetime("ms"))),
    "text": lambda: P().reset_index(names="datetime").astype({"datetime": str}),
    "text in polars": lambda: Q().with_columns(pl.col("time").dt.to_string("%Y-%m-%d %H:%M:%S")),
    "python datetimes": lambda: P().set_axis(
        pd.Index([t.to_pydatetime() for t in P().index], dtype=object)
    ),
    "integers for volume": lambda: P().astype({"volume": "int64"}),
    "nullable floats": lambda: P().astype({"close": "Float64", "volume": "Int64"}),
    "polars int volume": lambda: Q().with_columns(pl.col("volume").cast(pl.Int32)),
    "dict": lambda: {"asset": P()},
    "dict with timeframe": lambda: {("asset", "1min"): P()},
    "dict of dicts": lambda: {"asset": {"1min": Q()}},
    "long": lambda: P().assign(symbol="asset"),
    "long with timeframe": lambda: Q().with_columns(
        symbol=pl.lit("asset"), timeframe=pl.lit("1min")
    ),
    "yfinance, field first": lambda: pd.concat({"asset": P()}, axis=1).swaplevel(axis=1),
    "yfinance, ticker first": lambda: pd.concat({"asset": P()}, axis=1),
    "alpaca, symbol and time as index": lambda: pd.concat({"asset": P()}, names=["symbol", "time"]),
    "not contiguous": lambda: pd.DataFrame(
        np.ascontiguousarray(P().to_numpy()), index=P().index, columns=P().columns
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_columns_to_the_bit(shape: str) -> None:
    data = load(SHAPES[shape]())
    expected = load(pandas_bars())
    assert same(data, expected)
    assert data.bars[0].ts.tolist() == expected.bars[0].ts.tolist()
    for name in ("open", "high", "low", "close", "volume"):
        assert data.bars[0].column(name).flags.c_contiguous
        assert not data.bars[0].column(name).flags.writeable


ZONES = {
    "UTC aware": "UTC",
    "New York aware": "America/New_York",
    "fixed offset": "UTC+03:00",
    "polars in a zone": "Asia/Tokyo",
    "epoch s": "UTC",
    "text": None,
    "polars": None,
}


@pytest.mark.parametrize("shape", ZONES)
def test_the_zone_that_came_in_is_remembered(shape: str) -> None:
    assert load(SHAPES[shape]()).timezone == ZONES[shape]


def test_dates_are_days() -> None:
    days = [dt.date(2024, 1, 2), dt.date(2024, 1, 3), dt.date(2024, 1, 4)]
    for frame in (
        pd.DataFrame({"date": days, **prices(3)}),
        pl.DataFrame({"date": days, **prices(3)}),
        pd.DataFrame(prices(3), index=pd.Index(days, dtype=object)),
    ):
        (bars,) = load(frame).bars
        assert bars.timeframe == DAY
        assert bars.ts.tolist() == [at("2024-01-03"), at("2024-01-04"), at("2024-01-05")]


def test_long_frames_by_symbol_by_time_and_mixed_are_equal() -> None:
    a, b, c = (pandas_bars(20).assign(symbol=s, volume=100.0 + i) for i, s in enumerate("ABC"))
    by_symbol = pd.concat([a, b, c])
    by_time = by_symbol.sort_index(kind="stable")
    mixed = pd.concat([a[:7], b[:3], c, a[7:], b[3:]])
    expected = load({"A": a, "B": b, "C": c})
    as_polars = [
        pl.DataFrame(
            {"time": f.index.to_numpy(), **{k: f[k].to_numpy() for k in prices()}}
        ).with_columns(symbol=pl.Series(f["symbol"].tolist()))
        for f in (by_symbol, by_time, mixed)
    ]
    category = by_time.astype({"symbol": "category"})
    for frame in (by_symbol, by_time, mixed, category, *as_polars):
        data = load(frame)
        assert data.symbols == ("A", "B", "C")
        assert same(data, expected)


def test_long_frame_with_holes_keeps_the_order_in_which_symbols_appear() -> None:
    frame = pd.concat([pandas_bars(20).assign(symbol=s) for s in "CAB"]).sort_index(kind="stable")
    data = load(frame.iloc[np.flatnonzero(np.arange(60) % 7 != 2)])
    assert data.symbols == ("C", "A", "B")
    assert sum(len(bars) for bars in data.bars) == 51


def test_symbols_choose_and_order() -> None:
    frame = pd.concat([pandas_bars(20).assign(symbol=s) for s in "ABC"]).sort_index(kind="stable")
    data = load(frame, symbols=["C", "A"])
    assert [bars.symbol for bars in data.bars] == ["C", "A"] == list(data.symbols)
    assert same(data, load({"C": pandas_bars(20), "A": pandas_bars(20)}))
    with pytest.raises(DataError, match=r"symbol 'APPL'.*there is AAPL\. Did you mean 'AAPL'"):
        load({"AAPL": pandas_bars()}, symbols=["APPL"])


def test_a_bad_symbol_that_is_not_chosen_does_no_harm() -> None:
    bad = pandas_bars(20, symbol="BAD", close=np.nan)
    frame = pd.concat([pandas_bars(20, symbol="GOOD"), bad])
    assert load(frame, symbols="GOOD").symbols == ("GOOD",)


def test_finer_timeframes_come_first_within_a_symbol() -> None:
    hourly = pd.DataFrame(prices(), index=pd.DatetimeIndex(minutes(step=HOUR)))
    data = load({("B", "1h"): hourly, ("B", "1min"): pandas_bars(), ("A", "1min"): pandas_bars()})
    assert [(b.symbol, b.timeframe) for b in data.bars] == [
        ("B", MINUTE),
        ("B", HOUR),
        ("A", MINUTE),
    ]
    nested = load({"B": {"1h": hourly, "1min": pandas_bars()}, "A": {"1min": pandas_bars()}})
    long = load(
        pd.concat(
            [
                hourly.assign(symbol="B", timeframe="1h"),
                pandas_bars().assign(symbol="B", timeframe="1min"),
                pandas_bars().assign(symbol="A", timeframe="1min"),
            ]
        )
    )
    assert same(nested, data)
    assert same(long, data)


def test_wide_frames_leave_out_bars_that_were_not_there() -> None:
    a, b = pandas_bars(), pandas_bars().drop(index=pandas_bars().index[2])
    data = load(pd.concat({"A": a, "B": b}, axis=1))
    assert same(data, load({"A": a, "B": b}))
    assert data.dropped == {}
    assert any(note.startswith("B: 1 rows without any price left out") for note in data.notes)


def test_further_columns_are_features() -> None:
    extra = {"Adj Close": [1, 2, 3, 4, 5], "RSI_14": [np.nan, 1.0, 2.0, 3.0, 4.0]}
    frame = pandas_bars(**extra, up=[True, False, True, True, False], sector=list("abcde"))
    data = load(frame)
    features = data.bars[0].features
    assert list(features) == ["adj_close", "RSI_14", "up"]
    assert features["adj_close"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert np.isnan(features["RSI_14"][0])
    assert features["up"].tolist() == [1.0, 0.0, 1.0, 1.0, 0.0]
    assert "the frame: the column 'sector' is not numeric, left out" in data.notes
    flags = [True, False, True, True, False]
    other = polars_bars(**{**extra, "RSI_14": [None, 1.0, 2.0, 3.0, 4.0]}, up=flags)
    assert same(load(other), data)


def test_bars_without_volume_have_none() -> None:
    data = load(pandas_bars().drop(columns="volume"))
    assert data.bars[0].volume.tolist() == [0.0] * 5
    assert any("no volume" in note for note in data.notes)


def test_trades_and_quotes_are_told_by_their_columns() -> None:
    times = minutes(3)[[0, 0, 2]]  # two at the same moment
    trades = pd.DataFrame({"Price": [1.0, 2.0, 3.0], "Size": [1, 1, 2]}, index=times)
    quotes = pl.DataFrame(
        {
            "ts": times,
            "bid": [1.0] * 3,
            "ask": [1.5] * 3,
            "bid_size": [0, 5, 5],
            "ask_size": [5] * 3,
        }
    )
    (trade,) = load(trades, symbols="X").trades
    (quote,) = load(quotes, symbols="X").quotes
    assert trade.ts.tolist() == quote.ts.tolist() == [START, START, START + 2 * MINUTE]
    assert trade.price.tolist() == [1.0, 2.0, 3.0]
    assert quote.bid_size.tolist() == [0.0, 5.0, 5.0]
    assert len(trade.slice(1, 3)) == 2
    with pytest.raises(DataError, match="timeframe= is for bars"):
        load(trades, timeframe="1min")


# ---------------------------------------------------------------- times


def test_the_timeframe_is_the_most_common_distance() -> None:
    # Two sessions of four minutes, a night between them, and a hole.
    offsets = np.array([0, 1, 2, 3, 1000, 1001, 1003, 1004]) * MINUTE
    frame = pd.DataFrame(prices(8), index=pd.DatetimeIndex((START + offsets).view("M8[ns]")))
    assert load(frame).bars[0].timeframe == MINUTE


def test_one_row_needs_a_timeframe() -> None:
    with pytest.raises(DataError, match="pass timeframe="):
        load(pandas_bars(1))
    assert load(pandas_bars(1), timeframe="5min").bars[0].ts[0] == START + 5 * MINUTE


def test_a_timeframe_longer_than_the_bars_is_refused() -> None:
    with pytest.raises(DataError, match="timeframe 1h is given, but most bars are 1min apart"):
        load(pandas_bars(), timeframe="1h")
    long = pd.concat([pandas_bars(20, symbol=s) for s in "AB"])
    with pytest.raises(DataError, match="A: timeframe 1h is given"):
        load(long, timeframe="1h")


def test_naive_times_are_read_in_the_zone_given() -> None:
    data = load(pandas_bars(), timezone="America/New_York")
    assert data.bars[0].ts[0] == START + 5 * HOUR + MINUTE
    assert data.timezone == "America/New_York"


@pytest.mark.parametrize("flavour", ["pandas", "polars"])
@pytest.mark.parametrize(
    ("local", "said"),
    [
        ("2026-11-01 01:30", "comes twice in America/New_York"),
        ("2026-03-08 02:30", "does not exist in America/New_York"),
    ],
)
def test_local_times_of_the_clock_change_are_refused(flavour: str, local: str, said: str) -> None:
    times = [np.datetime64(local, "ns") - np.timedelta64(1, "D"), np.datetime64(local, "ns")]
    frame: Any = pd.DataFrame(prices(2), index=pd.DatetimeIndex(times))
    if flavour == "polars":
        frame = pl.DataFrame({"time": np.array(times), **prices(2)})
    with pytest.raises(DataError, match=f"{local}.* in row 1 {said}"):
        load(frame, timezone="America/New_York")


def test_local_days_close_at_local_midnight() -> None:
    index = pd.date_range("2026-03-06", periods=4, freq="D", tz="America/New_York")
    (bars,) = load(pd.DataFrame(prices(4), index=index)).bars
    assert bars.timeframe == DAY
    assert utc(bars.ts) == [
        "2026-03-07T05:00",
        "2026-03-08T05:00",
        "2026-03-09T04:00",  # the clocks went forward on the 8th
        "2026-03-10T04:00",
    ]


@pytest.mark.parametrize("label", ["open", "close"])
@pytest.mark.parametrize("zone", [None, "America/New_York", "UTC"])
def test_daily_bars_close_with_their_session(label: str, zone: str | None) -> None:
    days = pd.DatetimeIndex(["2026-03-06", "2026-03-09", "2026-11-27"], tz=zone)
    data = load(pd.DataFrame(prices(3), index=days), calendar="NYSE", label=label, timeframe="1d")
    assert data.calendar == "XNYS"
    assert utc(data.bars[0].ts) == [
        "2026-03-06T21:00",
        "2026-03-09T20:00",  # summer time
        "2026-11-27T18:00",  # the half day after Thanksgiving
    ]


def test_daily_bars_labelled_by_new_york_midnight_in_utc_or_by_the_opening() -> None:
    midnight = pd.DatetimeIndex(["2026-03-06 05:00", "2026-03-09 04:00"], tz="UTC")
    opening = pd.DatetimeIndex(["2026-03-06 14:30", "2026-03-09 13:30"], tz="UTC")
    for index in (midnight, opening):
        data = load(pd.DataFrame(prices(2), index=index), calendar="XNYS", timeframe="1d")
        assert utc(data.bars[0].ts) == [
            "2026-03-06T21:00",
            "2026-03-09T20:00",
        ]


def test_a_date_without_a_session_is_refused_or_dropped() -> None:
    days = pd.DatetimeIndex(["2026-07-02", "2026-07-03", "2026-07-06"])  # the 3rd is a holiday
    frame = pd.DataFrame(prices(3), index=days)
    with pytest.raises(DataError, match=r"2026-07-03T00:00:00Z in row 1 is on no session of XNYS"):
        load(frame, calendar="XNYS")
    data = load(frame, calendar="XNYS", on_bad="drop")
    assert data.dropped == {"asset": 1}
    assert len(data.bars[0]) == len(data.bars[0].ts) == 2
    assert data.bars[0].close.tolist() == [100.0, 102.0]


def test_different_zones_go_out_in_utc() -> None:
    tokyo, york = (pandas_bars().tz_localize("UTC").tz_convert(z) for z in ("Japan", "EST5EDT"))
    data = load({"A": tokyo, "B": york})
    assert data.timezone == "UTC"
    assert any("Japan, EST5EDT" in note for note in data.notes)


# ---------------------------------------------------------------- bad data

BAD_CELLS = [
    # column, row, value, what the message says
    ("close", 2, np.nan, "close is NaN in row 2 (2024-01-02T09:02:00Z)"),
    ("open", 0, np.inf, "open is infinite in row 0 (2024-01-02T09:00:00Z)"),
    ("low", 4, 0.0, "low is not positive (0) in row 4 (2024-01-02T09:04:00Z)"),
    ("close", 1, -3.0, "close is not positive (-3) in row 1"),
    ("volume", 3, -1.0, "volume is negative (-1) in row 3"),
    ("volume", 3, np.nan, "volume is NaN in row 3"),
    ("high", 1, 99.0, "high 99 is below low 100 in row 1"),
    ("open", 1, 103.0, "open 103 is above high 102 in row 1"),
    ("close", 1, 99.0, "close 99 is below low 100 in row 1"),
]


@pytest.mark.parametrize("flavour", ["pandas", "polars", "long"])
@pytest.mark.parametrize(("column", "row", "value", "said"), BAD_CELLS)
def test_a_bad_cell_is_named_or_dropped(
    flavour: str, column: str, row: int, value: float, said: str
) -> None:
    values = prices()
    values[column][row] = value
    frame: Any = pandas_bars(**values) if flavour == "pandas" else polars_bars(**values)
    if flavour == "long":  # rows of a second symbol between: the row is that of the user's frame
        other = pandas_bars().assign(symbol="other")
        mine = pandas_bars(**values).assign(symbol="asset")
        frame = pd.concat([mine, other])
    with pytest.raises(DataError) as caught:
        load(frame)
    assert str(caught.value).startswith(f"asset: {said}")
    assert "the only bad row; repair the data, or pass on_bad='drop'" in str(caught.value)
    data = load(frame, on_bad="drop")
    assert data.dropped == {"asset": 1}
    assert "asset: 1 bad row dropped" in data.notes
    kept = [i for i in range(5) if i != row]
    assert data.bars[0].ts.tolist() == [START + (i + 1) * MINUTE for i in kept]


def test_the_first_of_several_is_named_with_their_number() -> None:
    values = prices(10)
    values["volume"][7] = -1.0
    values["close"][4] = values["open"][4] = float("nan")
    with pytest.raises(DataError, match=r"open is NaN in row 4 .*, the first of 2 bad rows"):
        load(pandas_bars(10, **values))


def test_the_row_of_a_long_frame_sorted_by_time_is_the_users() -> None:
    frame = pd.concat([pandas_bars(symbol=s) for s in "ABC"]).sort_index(kind="stable")
    frame.iloc[7, frame.columns.get_loc("close")] = np.nan  # third minute, B
    with pytest.raises(DataError, match=r"^B: close is NaN in row 7 \(2024-01-02T09:02:00Z\)"):
        load(frame)


def test_the_last_digit_of_an_adjusted_price_is_no_fault() -> None:
    values = prices()
    values["close"][1] = values["high"][1] * (1 + 1e-12)
    assert load(pandas_bars(**values)).bars[0].close[1] == values["close"][1]


def test_unsorted_and_duplicated_times() -> None:
    back = pandas_bars(5).iloc[[0, 2, 1, 3, 4]]
    with pytest.raises(DataError, match=r"the time goes back in row 2 .*sort the frame by time"):
        load(back)
    assert load(back, on_bad="drop").bars[0].close.tolist() == [100.0, 102.0, 103.0, 104.0]
    twice = pandas_bars(5).iloc[[0, 1, 1, 2, 3]]
    with pytest.raises(DataError, match=r"the time is a duplicate in row 2"):
        load(twice)
    assert load(twice, on_bad="drop").dropped == {"asset": 1}


def test_drop_takes_rows_below_the_running_maximum_of_what_is_kept() -> None:
    # Row 1 lies far ahead but is NaN: it must not make all later rows late.
    times = (START + np.array([0, 90, 1, 3, 2, 4]) * MINUTE).view("M8[ns]")
    values = prices(6)
    values["close"][1] = float("nan")
    data = load(pl.DataFrame({"time": times, **values}), on_bad="drop", timeframe="1min")
    assert data.bars[0].close.tolist() == [100.0, 102.0, 103.0, 105.0]
    assert data.dropped == {"asset": 2}


def test_missing_times() -> None:
    times = pd.Series(minutes())
    times[3] = pd.NaT
    frame = pd.DataFrame({"time": times, **prices()})
    as_polars = polars_bars().with_columns(
        time=pl.when(pl.int_range(5) == 3).then(None).otherwise(pl.col("time"))
    )
    for bad in (frame, as_polars):
        with pytest.raises(DataError, match="the time is missing in row 3, the only bad row"):
            load(bad)
        assert load(bad, on_bad="drop").dropped == {"asset": 1}


def bad_quote(**cells: float) -> pd.DataFrame:
    row = {"bid": 9.0, "ask": 10.0, "bid_size": 1.0, "ask_size": 1.0, **cells}
    return pd.DataFrame({k: [v] for k, v in row.items()}, index=minutes(1))


REFUSED: list[tuple[Any, str]] = [
    (lambda: pandas_bars(0), "no rows"),
    (lambda: polars_bars(0), "no rows"),
    (dict, "the dict of frames is empty"),
    (lambda: pd.concat([pandas_bars(5, symbol="A")])[:0], "no rows"),
    (lambda: [1, 2, 3], "must be a pandas or polars DataFrame"),
    (lambda: {"open": [1.0], "close": [1.0]}, "open: data must be a pandas or polars DataFrame"),
    (lambda: polars_bars().lazy(), "collect"),
    (lambda: {"A": pandas_bars(), "B": polars_bars()}, "partly pandas, partly polars"),
    (lambda: P().rename(columns={"close": "clsoe"}), "missing: close;.*'clsoe': Did you .*'close'"),
    (lambda: P()[["volume"]], "no market data columns"),
    (lambda: bad_quote().drop(columns="bid_size"), "quotes need .*missing: bid_size"),
    (lambda: P().assign(Close=1.0), "the column 'close' is there 2 times"),
    (lambda: P().assign(close="x"), "the column 'close' is .*not numeric"),
    (lambda: P().reset_index(drop=True), "no times"),
    (lambda: P().reset_index(names="tiem"), "no times"),
    (lambda: Q().rename({"time": "when"}), "no times"),
    (lambda: P().set_axis(10 ** np.arange(9, 14)), "no epoch"),
    (lambda: P().set_axis(pd.Index(["2024-01-02", "2024-01-03", *"sxy"])), "'s' in row 2"),
    (lambda: P().set_axis(pd.Index(["02/01/2024"] * 5)), "'02/01/2024' in row 0; use ISO times"),
    (
        lambda: P().set_axis(
            pd.Index([f"2024-01-02T09:0{i}:00+0{i // 3}:00" for i in range(5)], dtype=object)
        ),
        "mix zones.* in row 3",
    ),
    (lambda: P().assign(Time="9:00", Date="x").reset_index(drop=True), "both be the time"),
    (lambda: {"A": P(), "B": P().tz_localize("UTC")}, "A: its times have no zone"),
    (lambda: pd.concat([P(symbol="A"), P(symbol=None)]), "row 5 has no symbol"),
    (lambda: {"A": P(symbol="B")}, "key 'A' has rows of 'B'"),
    (lambda: {("A", "1min"): P(), "A": P()}, "A: there are two series of 1min bars"),
    (lambda: {("A", "1min", "x"): P()}, "use a symbol or .symbol, timeframe."),
    (lambda: P().set_axis(np.arange(5.0)), "is float64, not a time"),
    (lambda: Q().with_columns(time=pl.lit(1.5)), "'time' is Float64, not a time"),
    (lambda: P().set_axis(pd.Index([2**40] * 5, dtype="M8[s]")), "outside the years"),
    (lambda: P().rename(columns={"volume": "open"}), "the column 'open' is there 2 times"),
    (lambda: P(adj_close=1.0, **{"Adj Close": 2.0}), "two columns are called 'adj_close'"),
    (lambda: pd.concat({"A": pd.concat({"x": P()}, axis=1)}, axis=1), "columns have 3 levels"),
    (lambda: pd.concat({"A": P()[["volume"]]}, axis=1), "neither level of the columns"),
    (lambda: {"C": pd.concat({"A": P(), "B": P()}, axis=1)}, "the columns hold A, B"),
    (lambda: pd.concat({"A": P()}), "name the levels of the row index"),
    (lambda: {"A": bad_quote(), ("A", "1s"): bad_quote()}, "timeframe= is for bars"),
    (lambda: Q().with_columns(symbol=pl.lit(None, pl.String)), "row 0 has no symbol"),
    (lambda: bad_quote(bid=11.0), "bid 11 is above ask 10 in row 0"),
    (lambda: bad_quote(ask_size=-1.0), "ask_size is negative"),
    (
        lambda: pd.DataFrame({"price": [1.0], "size": [0.0]}, index=minutes(1)),
        "size is not positive",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refused_with_one_sentence(case: int) -> None:
    make, said = REFUSED[case]
    with pytest.raises(DataError, match=said) as caught:
        load(make())
    assert "\n" not in str(caught.value)


def test_nothing_left_is_an_error_even_when_dropping() -> None:
    with pytest.raises(DataError, match="asset: the data has no sound row left"):
        load(pandas_bars(close=np.nan), on_bad="drop")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"label": "left"}, "label must be"),
        ({"on_bad": "ignore"}, "on_bad must be"),
        ({"timezone": "America/New_Yrok"}, "Did you mean 'America/New_York'"),
        ({"calendar": "XNYSE"}, "Did you mean 'XNYS'"),
        ({"timeframe": "1 fortnight"}, "cannot read the timeframe"),
        ({"symbols": []}, "symbols must be names"),
        ({"symbols": ["A", "A"]}, "symbols names one twice"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(pandas_bars(), **arguments)


# ---------------------------------------------------------------- the user's frame


def test_prices_are_not_copied_and_the_frame_stays_as_it_is() -> None:
    frame = pandas_bars(100)
    before, flags = frame.copy(), frame["close"].to_numpy().flags.writeable
    data = load(frame)
    assert np.shares_memory(data.bars[0].close, frame["close"].to_numpy())
    pd.testing.assert_frame_equal(frame, before)
    assert frame["close"].to_numpy().flags.writeable == flags
    assert frame.index.equals(before.index)
    frame.iloc[0, 0] = 1.0  # still writable, and the data set does not see it
    frame.loc[frame.index[1], "close"] = 2.0
    assert frame.iloc[0, 0] == 1.0
    assert data.bars[0].open[0] == 99.5
    assert data.bars[0].close[1] == 101.0


def test_arrays_that_back_a_frame_keep_their_flags() -> None:
    arrays = {name: np.array(column) for name, column in prices().items()}
    frame = pd.DataFrame(arrays, index=pd.DatetimeIndex(minutes()), copy=False)
    load(frame, label="close")
    load(frame, label="close", on_bad="drop")
    assert all(array.flags.writeable for array in arrays.values())


def test_the_columns_cannot_be_written() -> None:
    for data in (load(pandas_bars()), load(pandas_bars(), label="close"), load(polars_bars())):
        for array in (data.bars[0].ts, data.bars[0].close):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0


def test_a_data_set_tells_what_it_holds() -> None:
    assert repr(load(pandas_bars(), symbols="SPY")) == "<Dataset SPY 1min (5 bars)>"


# ---------------------------------------------------------------- fingerprint


def test_the_fingerprint_sees_every_value_name_and_time() -> None:
    base = load(pandas_bars(), symbols="A").fingerprint
    assert len(base) == 64
    changed = [
        load(pandas_bars(), symbols="B"),
        load(pandas_bars(), symbols="A", label="close"),
        load(pandas_bars(volume=1.0), symbols="A"),
        load(pandas_bars(rsi=1.0), symbols="A"),
        load(pandas_bars(4), symbols="A"),
    ]
    assert len({base, *(data.fingerprint for data in changed)}) == 6
    nan, other_nan = np.array([np.nan]), np.array([0x7FF8000000000001], np.uint64).view(np.float64)
    one = load(pandas_bars(x=np.repeat(nan, 5)))
    assert same(one, load(pandas_bars(x=np.repeat(other_nan, 5))))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_pandas_and_polars_agree_on_anything(data: st.DataObject) -> None:
    """Whatever the frame holds, both flavours give the same columns or the same sentence."""
    n = data.draw(st.integers(1, 12))
    gaps = data.draw(st.lists(st.integers(-1, 5), min_size=n, max_size=n))
    times = (START + np.cumsum(np.array(gaps)) * MINUTE).view("M8[ns]")
    values = {k: np.array(v) for k, v in prices(n).items()}
    for _ in range(data.draw(st.integers(0, 2))):
        column = data.draw(st.sampled_from(sorted(values)))
        row = data.draw(st.integers(0, n - 1))
        values[column][row] = data.draw(st.sampled_from([np.nan, np.inf, -1.0, 0.0, 99.0, 101.0]))
    on_bad = data.draw(st.sampled_from(["raise", "drop"]))
    results: list[Any] = []
    frames = (
        pd.DataFrame(values, index=pd.DatetimeIndex(times)),
        pl.DataFrame({"time": times, **values}),
    )
    for frame in frames:
        try:
            loaded = load(frame, on_bad=on_bad)
        except RegimeflowError as error:
            results.append(str(error).replace("the frame", "asset"))
        else:
            results.append((loaded.fingerprint, loaded.notes, loaded.dropped))
            bars = loaded.bars[0]
            assert (np.diff(bars.ts) > 0).all()
            assert np.isfinite(bars.close).all()
            assert (bars.high >= bars.low).all()
    assert results[0] == results[1]
