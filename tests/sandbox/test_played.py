"""A sandbox that plays prices of ours: from frames and files, its history included."""

from __future__ import annotations

import time

import pandas as pd
import polars as pl
import pytest
from sockets import await_

import regimeflow as rf
from regimeflow.errors import ConfigError, DataError, RegimeflowError
from regimeflow.sandbox.played import Played

NOW = 10**9
CLOSES = [200.0, 210.0, 220.0, 230.0, 240.0, 250.0]
FRAME = pd.DataFrame(
    {
        "open": CLOSES,
        "high": [close + 2.0 for close in CLOSES],
        "low": [close - 2.0 for close in CLOSES],
        "close": [close + 1.0 for close in CLOSES],
        "volume": 1_000.0,
    },
    index=pd.date_range("2026-01-05 14:30", periods=6, freq="1min", tz="UTC", name="time"),
)
SANDBOXES = {
    "alpaca": (rf.sandbox.Alpaca, "SPY"),
    "tws": (rf.sandbox.TWS, "SPY"),
    "binance": (rf.sandbox.Binance, "AAA/USDT"),
    "bybit": (rf.sandbox.Bybit, "AAA/USDT"),
}


@pytest.mark.parametrize("kind", SANDBOXES)
def test_history_and_prices_are_those_of_the_frame(kind):
    make, symbol = SANDBOXES[kind]
    with make(prices=FRAME, history=4, timeframe="1min", speed=0.001) as sandbox:
        assert sandbox.symbols == (symbol,)  # data that name no symbol are its usual first one
        venue = sandbox.venue()
        now = time.time_ns()
        past = venue.history(symbol, "1min", now - 3600 * NOW, now, progress=False)
        venue.close()
    closes = past["close"].tolist()
    assert closes[:4] == [201.0, 211.0, 221.0, 231.0]
    assert set(closes[4:]) <= {231.0}  # a minute may have ended meanwhile


def test_what_is_left_is_played_and_then_the_price_stands_still(tmp_path):
    with rf.sandbox.VenueProcess(
        tmp_path / "venue.jsonl", prices=FRAME, symbols="AAA", history=4, speed=50.0
    ) as sandbox:
        venue = sandbox.venue()
        began = time.time_ns() - 60 * NOW
        last = lambda: venue.history("AAA", "1s", began, progress=False)["close"].iloc[-1]  # noqa: E731
        await_(lambda: last() == 251.0, "the last price", patience_s=20.0)
        venue.close()


@pytest.mark.parametrize("of", ["polars", "csv", "parquet", "named"])
def test_each_shape_of_prices_is_played_as_the_same_rows(of, tmp_path):
    given = FRAME
    if of == "polars":
        given = pl.DataFrame({"time": FRAME.index.to_numpy(), **FRAME.to_dict("list")})
    elif of == "csv":
        given = tmp_path / "prices.csv"
        FRAME.to_csv(given)
    elif of == "named":
        given = {"SPY": FRAME}
    elif of == "parquet":
        given = tmp_path / "prices.parquet"
        Played(FRAME, ["SPY"]).write(given)
    wanted = list(Played(FRAME, ["SPY"]).steps())
    assert list(Played(given, ["SPY"]).steps()) == wanted
    assert wanted[1] == [("SPY", 210.0, 212.0, 208.0, 211.0, 1_000.0)]


def test_rows_of_one_time_are_one_step_and_trades_are_prices():
    two = Played({"AAA": FRAME, "BBB": FRAME.iloc[2:]})
    assert [len(rows) for rows in two.steps()] == [1, 1, 2, 2, 2, 2]
    trades = pd.DataFrame({"price": [5.0, 6.0], "size": [1.0, 2.0]}, index=FRAME.index[:2])
    assert list(Played(trades, ["AAA"]).steps()) == [
        [("AAA", 5.0, 5.0, 5.0, 5.0, 1.0)],
        [("AAA", 6.0, 6.0, 6.0, 6.0, 2.0)],
    ]


@pytest.mark.parametrize("make", [made for made, _ in SANDBOXES.values()])
@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"prices": "/nonexistent.csv"}, DataError, "there is no file /nonexistent.csv"),
        ({"prices": FRAME[["open"]]}, DataError, "missing: high, low, close"),
        ({"prices": FRAME.assign(close=-1.0)}, DataError, "close is not positive"),
        ({"prices": {"X": FRAME}, "symbols": ["Y"]}, DataError, "no data for the symbol 'Y'"),
        ({"prices": FRAME, "history": 6}, ConfigError, "a history of 6 leaves none to play"),
        ({"prices": FRAME, "history": -1}, ConfigError, "history"),
    ],
    ids=["no-file", "columns", "values", "symbol", "history", "negative"],
)
def test_prices_that_cannot_be_played_are_refused_at_once(make, how, error, words):
    with pytest.raises(RegimeflowError, match=words) as no:
        make(**how)
    assert isinstance(no.value, error)
