"""History over years in which there is nothing costs a venue no questions."""

from __future__ import annotations

import pytest

import regimeflow as rf
from regimeflow.model.timeframe import NS_PER_SECOND

VENUES = {
    # sandbox, symbol, what a question for bars holds, questions at most
    "alpaca": ("Alpaca", "SPY", "/bars", 4),
    "binance": ("Binance", "AAA/USDT", "klines", 4),
    "ib": ("TWS", "SPY", "20,", 3),
}


@pytest.mark.parametrize(("kind", "symbol", "word", "most"), VENUES.values(), ids=VENUES)
def test_years_before_the_first_bar_are_skipped(tmp_path, kind, symbol, word, most):
    ledger = tmp_path / "venue.jsonl"
    make = getattr(rf.sandbox, kind)
    with make(ledger, symbols=[symbol], timeframe="1s", history=2_000) as running:
        running.hand.hold()
        venue = running.venue()
        shares: list[float] = []
        frame = venue.history(symbol, "1s", "2020-01-01", progress=shares.append)
        texts = [str(row.detail["text"]) for row in running.rows() if row.kind == "bytes"]
        begins = frame.index.astype("int64")
        whole = venue.past(symbol, NS_PER_SECOND, 0, int(begins[-1]) + NS_PER_SECOND)
    asked = [text for text in texts if (text.startswith(word) if kind == "TWS" else word in text)]
    assert len(asked) <= most
    assert list(begins + NS_PER_SECOND) == whole.times
    assert list(frame["close"]) == whole.close
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
