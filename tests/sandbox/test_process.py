"""A venue's process: how it begins, what it says when it cannot, and how it ends."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys

import pytest

import regimeflow as rf
from regimeflow.errors import ConfigError, VenueError
from regimeflow.sandbox.process import Hand

KINDS = (rf.sandbox.VenueProcess, rf.sandbox.Alpaca, rf.sandbox.TWS, rf.sandbox.Binance)


@pytest.mark.parametrize("make", KINDS)
def test_why_a_venue_did_not_begin_is_in_the_error(make, tmp_path, capfd):
    with pytest.raises(VenueError, match=r"the venue did not begin: .*'1 parsec'"):
        make(timeframe="1 parsec")
    ledger = tmp_path / "venue.jsonl"
    ledger.touch()
    with pytest.raises(VenueError, match=r"venue\.jsonl is there already"):
        make(ledger)
    with pytest.raises(VenueError, match=r"cannot be made: No such file"):
        make(tmp_path / "nowhere" / "venue.jsonl")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("make", KINDS)
def test_a_text_is_one_symbol(make):
    name = "XYZ/USDT" if make is rf.sandbox.Binance else "XYZ"
    with make(symbols=name) as venue:
        venue.hand.tick(name, 10.0)
        assert venue.symbols == (name,)
    with pytest.raises(ConfigError, match="'SPY,QQQ' is not one symbol: give several as a list"):
        make(symbols="SPY,QQQ")


@pytest.mark.parametrize("kind", ["loopback", "alpaca", "tws", "binance"])
def test_a_venue_whose_owner_is_gone_ends_without_a_word(kind):
    """Clients and hands are connected, as they are when a kernel is killed."""
    begun = subprocess.Popen(
        [sys.executable, "-m", f"regimeflow.sandbox.{kind}", "--attended"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    ports = json.loads(begun.stdout.readline())
    with (
        contextlib.closing(Hand(ports["control"])) as hand,
        socket.create_connection(("127.0.0.1", ports["port"])) as client,
    ):
        hand.books()
        client.sendall(b"API\0")
        _, error = begun.communicate(timeout=30)  # its input ends
    assert (begun.returncode, error.decode()) == (0, "")
