"""Sample data: real prices that load, made-up ones that are always the same."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from regimeflow.data import load
from regimeflow.data.datasets import nasdaq, sp500, synthetic
from regimeflow.errors import ConfigError, MissingExtra


@pytest.mark.parametrize("make", [sp500, nasdaq])
def test_real_prices_load_and_are_the_same_in_both_flavours(make: Any) -> None:
    one, other = load(make()), load(make("polars"))
    assert one.fingerprint == other.fingerprint
    (bars,) = one.bars
    assert len(bars) == 5031
    assert list(bars.features) == ["adj_close"]
    assert (one.flavour, other.flavour, one.timezone) == ("pandas", "polars", None)
    assert list(make().columns) == ["open", "high", "low", "close", "volume", "adj_close"]
    assert make().index.name == make("polars").columns[0] == "Date"


def test_the_first_days_of_the_sp500() -> None:
    frame = sp500()
    assert str(frame.index[0].date()) == "1999-01-04"
    assert frame["close"].iloc[0] == pytest.approx(1228.10, abs=0.005)
    assert str(frame.index[-1].date()) == "2018-12-31"


def test_real_prices_lie_on_the_sessions_of_new_york() -> None:
    data = load(sp500(), calendar="XNYS")
    assert data.dropped == {}
    assert str(data.bars[0].ts[0].view("M8[ns]").astype("M8[m]")) == "1999-01-04T21:00"


def test_without_arch_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arch", None)
    with pytest.raises(MissingExtra, match=r'pip install "regimeflow-jupyter\[lab\]"'):
        sp500()


KINDS = {"bars": "bars", "trades": "trades", "quotes": "quotes"}


@pytest.mark.parametrize("kind", KINDS)
def test_made_up_data_loads_and_is_the_same_in_both_flavours(kind: str) -> None:
    one = synthetic(kind, symbols=["A", "B"], n=2_000, seed=7)
    other = synthetic(kind, symbols=["A", "B"], n=2_000, seed=7, flavour="polars")
    assert isinstance(one, pd.DataFrame)
    assert isinstance(other, pl.DataFrame)
    data = load(one)
    assert data.fingerprint == load(other).fingerprint
    assert [len(series) for series in getattr(data, kind)] == [2_000, 2_000]
    assert data.fingerprint != load(synthetic(kind, symbols=["A", "B"], n=2_000)).fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_prices_lie_on_the_grid_of_cents(kind: str) -> None:
    frame = synthetic(kind, n=5_000, seed=2)
    for name in set(frame.columns) & {"open", "high", "low", "close", "price", "bid", "ask"}:
        cents = frame[name].to_numpy() * 100
        assert np.abs(cents - np.rint(cents)).max() < 1e-6


def test_the_numbers_are_those_of_every_platform() -> None:
    """Written down once; another platform, or a changed generator, would differ."""
    frame = synthetic(n=4, seed=1)
    assert frame.index.astype(str).tolist()[-1] == "2024-01-02 00:03:00"
    assert frame["open"].tolist() == [100.0, 100.0, 99.99, 99.97]
    assert frame["high"].tolist() == [100.01, 100.0, 100.0, 99.98]
    assert frame["close"].tolist() == [100.0, 99.99, 99.97, 99.97]
    assert frame["volume"].tolist() == [1452.0, 322.0, 645.0, 1939.0]


def test_a_shipped_file_is_read_as_the_package_itself_reads_it() -> None:
    shipped = pytest.importorskip("arch.data.sp500").load()
    frame = sp500()
    assert frame["adj_close"].tolist() == shipped["Adj Close"].tolist()
    assert frame["volume"].tolist() == shipped["Volume"].tolist()
    assert (frame.index == shipped.index).all()


def test_regimes_differ_in_what_they_are_called_after() -> None:
    frame = synthetic(n=200_000, seed=5, regimes=True)
    returns = np.log(frame["close"]).diff()
    spread = returns.groupby(frame["regime"]).std()
    assert sorted(spread.index) == [0, 1, 2]
    assert spread[1] > 1.5 * spread[0]
    switches = int((frame["regime"].diff().fillna(0) != 0).sum())
    assert 5 < switches < 100


def test_with_a_calendar_bars_lie_in_its_sessions() -> None:
    frame = synthetic(n=1_000, start="2026-03-05", calendar="XNYS")
    assert frame.index[0] == pd.Timestamp("2026-03-05 14:30")
    opens = frame.groupby(frame.index.date).head(1).index.strftime("%m-%d %H:%M").tolist()
    assert opens == ["03-05 14:30", "03-06 14:30", "03-09 13:30"]
    daily = synthetic(n=5, start="2026-07-01", calendar="XNYS", timeframe="1d")
    assert daily.index.strftime("%m-%d").tolist() == ["07-01", "07-02", "07-06", "07-07", "07-08"]
    assert len(load(daily, calendar="XNYS").bars[0]) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kind": "bar"}, "Did you mean 'bars'"),
        ({"n": 0}, "n must be at least 1"),
        ({"start": "soon"}, "start must be a date"),
        ({"kind": "trades", "calendar": "XNYS"}, "calendar= is for bars"),
        ({"flavour": "arrow"}, "flavour must be"),
    ],
)
def test_arguments_of_the_generator(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        synthetic(**arguments)
