"""From a venue's history through a backtest to a session on it, over real sockets."""

from __future__ import annotations

import threading
import time

import numpy as np
import pandas as pd
import pytest

import regimeflow as rf
from regimeflow.errors import ConfigError, DataError, Refused, VenueError
from regimeflow.sandbox.process import VenueProcess

SYMBOLS = ("AAA", "BBB")
BAR_NS = 100_000_000


class Turns(rf.Strategy):
    """Buys and sells by turns, and counts what it was told."""

    def initialize(self, ctx):
        self.n = 0

    def on_bar(self, ctx, bar):
        self.n += 1
        ctx.target(bar.symbol, qty=10 if self.n % 6 < 3 else 0)


@pytest.fixture(scope="module")
def venue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("venue")
    with VenueProcess(folder / "venue.jsonl", timeframe="100ms", speed=50.0) as running:
        running.began = time.time_ns()
        yield running


@pytest.fixture(scope="module")
def traded(venue, tmp_path_factory):
    """A backtest on history and a session with it as its baseline."""
    adapter = venue.venue()
    while True:  # until the venue is half a second old
        try:
            frame = adapter.history(SYMBOLS, "100ms", venue.began)
        except DataError:
            continue
        if len(frame) >= 2 * 5:
            break
    report = rf.backtest(Turns(), frame)
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    enough = threading.Event()
    session = rf.LiveSession(
        Turns(), adapter, symbols=SYMBOLS, timeframe="100ms", run_dir=run_dir, cash=50_000,
        baseline=report, warmup=5,
    )  # fmt: skip
    session.start()
    while len(session.fills) < 20:
        enough.wait(0.02)
        assert session.status.phase == "running", session.status
    session.stop()
    return report, run_dir


def test_the_session_saw_the_bars_that_history_has(venue, traded):
    _, run_dir = traded
    saw = rf.bars(run_dir).set_index("time")
    bounds = saw.index.min(), saw.index.max() + pd.Timedelta(BAR_NS, "ns")
    now = venue.venue().history(SYMBOLS, "100ms", *bounds)
    assert not saw.empty
    for symbol in SYMBOLS:
        mine, theirs = (f[f["symbol"] == symbol].drop(columns="symbol") for f in (saw, now))
        theirs = theirs.drop(columns="timeframe")
        pd.testing.assert_frame_equal(mine, theirs, check_freq=False, check_column_type=False)


def test_what_the_vendor_revises_later_is_the_data_row_of_parity(venue, traded):
    report, run_dir = traded
    now = venue.venue().history(SYMBOLS, "100ms", venue.began)
    same = rf.parity(report, run_dir, history=now)
    assert same["data"] == 0.0
    assert "history has 0 otherwise and lacks 0" in same.rows[0].note
    revised = now.copy()
    prices = [revised.columns.get_loc(name) for name in ("open", "high", "low", "close")]
    revised.iloc[:, prices] += 0.1 * np.arange(len(revised))[:, None]  # it rises all the time
    moved = rf.parity(report, run_dir, history=revised)
    assert moved["data"] < 0.0  # what is only ever held long would have earned more


def test_the_run_certifies(traded):
    assert rf.certify(traded[1]).identical


def test_history_disturbs_no_session_and_needs_no_connection(venue):
    said, other = [], venue.venue()
    other.connect(said.append)
    try:
        other.subscribe(SYMBOLS, BAR_NS)
        venue.venue().history("AAA", "100ms", venue.began)
        heard = len(said)
        until = time.monotonic() + 20.0
        while len(said) == heard:
            assert time.monotonic() < until, "the stream ended"
    finally:
        other.close()


def test_a_venue_that_is_not_there_is_a_venue_error(venue):
    with pytest.raises(VenueError, match="cannot be reached"):
        rf.venues.Loopback(port=1).history("AAA", "100ms", venue.began)


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        (("ZZZ", "100ms"), Refused, "loopback gives no history: ZZZ is not traded here"),
        (("AAA", "1h"), Refused, "loopback gives no history: AAA: there are no bars of"),
        (("AAA", "no time"), ConfigError, "cannot read the timeframe"),
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(venue, how, error, words):
    with pytest.raises(error, match=words):
        venue.venue().history(*how, venue.began)
