"""The table of what each venue can do says what the venues say, and the page says the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import regimeflow as rf
from regimeflow import venues
from regimeflow.venues.port import Capabilities
from regimeflow.venues.support import ROWS, STATUSES, Support

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"api_key": "PK0000000000", "secret_key": "none"}
#: Row -> class, and what it is made with.
MADE: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "loopback": ("Loopback", (), {"port": 1}),
    "alpaca": ("Alpaca", (), KEYS),
    "alpaca, crypto": ("Alpaca", (), {**KEYS, "asset_class": "crypto"}),
    "binance": ("Ccxt", ("binance",), KEYS),
    "bybit": ("Ccxt", ("bybit",), KEYS),
    "bybit, swaps": ("Ccxt", ("bybit",), {**KEYS, "market": "swap"}),
    "ib": ("InteractiveBrokers", (), {}),
}
THERE = [row for row in ROWS if row.venue in MADE and MADE[row.venue][0] in venues.__all__]


@pytest.mark.parametrize("row", THERE, ids=lambda row: row.venue)
def test_the_table_says_what_the_venue_says(row: Support) -> None:
    name, given, named = MADE[row.venue]
    says: Capabilities = getattr(venues, name)(*given, **named).capabilities
    assert set(row.order_types) == says.order_types
    assert set(row.tifs) == says.tifs
    assert (row.fractional, row.short, row.replace) == (says.fractional, says.short, says.replace)
    assert row.brackets == says.brackets
    assert set(row.streams) == says.market_data
    assert bool(row.history) == says.history
    assert row.client_ids.startswith(f"{says.order_id_length} characters")


@pytest.mark.parametrize(("market", "more"), [("spot", ""), ("swap", ", swaps")])
def test_of_other_exchanges_the_table_promises_no_more_than_they_have(
    market: str, more: str
) -> None:
    row = next(r for r in ROWS if r.venue == f"any other exchange of ccxt{more}")
    for name in ("okx", "gate", "kucoin"):
        says: Capabilities = venues.Ccxt(name, market=market, paper=False).capabilities
        assert (row.fractional, row.short, row.replace) == (True, says.short, says.replace)
        assert says.order_types <= set(row.order_types)


def test_a_frame_of_either_library() -> None:
    table = rf.venues.capabilities()
    assert table["venue"].tolist() == [row.venue for row in ROWS]
    assert rf.venues.capabilities("polars")["status"].to_list() == [row.status for row in ROWS]


def test_no_claim_is_made_that_was_not_earned() -> None:
    """Above a sandbox nothing has been tried; what a sandbox has proven names its tests."""
    known = list(STATUSES)
    for row in ROWS:
        assert known.index(row.status) <= known.index("sandbox-validated")
        assert bool(row.evidence) == (row.status != "implemented")
        made = MADE.get(row.venue)
        if made is None or made[0] in venues.__all__:
            assert all((ROOT / path).exists() for path in row.evidence), row.venue


def test_the_page_is_made_from_the_table() -> None:
    path = ROOT / "scripts" / "brokers_page.py"
    spec = importlib.util.spec_from_file_location("brokers_page", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = (ROOT / "docs" / "brokers.md").read_text()
    assert script.tables() in text
    assert text == script.page(text)
