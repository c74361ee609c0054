"""A small run with every kind of record, and what tests of the journal share."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from regimeflow.journal import Disk
from regimeflow.journal.format import LineWriter
from regimeflow.model.events import (
    Account,
    Adjusted,
    Cancel,
    Clock,
    Command,
    Connection,
    Denied,
    EndOfDay,
    Failed,
    Feed,
    Fill,
    Finish,
    Gap,
    Health,
    Input,
    Logged,
    OrderUpdate,
    Output,
    Reconciled,
    Recorded,
    RegimeChanged,
    Replace,
    Resumed,
    Rules,
    Saved,
    SetTimer,
    Start,
    StateChanged,
    StrategyChanged,
    Submit,
    Timer,
    Upgraded,
)
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Bars, Book, History, Quote, Trade
from regimeflow.model.models import Limits

DAY = 86_400 * 10**9
T = 1_704_153_600_000_000_000  # 2024-01-02

GOLDEN = Path(__file__).parent.parent / "journals"


def sample() -> list[tuple[Input, list[Output]]]:
    """Return every kind of input and output once, as one plausible day."""
    start = Start(
        T, T, "demo", 0, ("SPY", "BTC/USDT"), (DAY, DAY), 5000.0,
        positions={"SPY": (10.0, 470.25)}, instruments=(Instrument("SPY"),),
        seed=7, strategy="SmaCross", params={"fast": 10, "names": ["a", "ü"], "deep": {"x": None}},
    )  # fmt: skip
    history = History(T, T + 1, "SPY", DAY, [T - DAY, T], [1.0, 2.0], [1.5, 2.5], [0.5, 1.5],
                      [1.25, 2.25], [1e3, 0.0])  # fmt: skip
    bar = Bar(T + 5, T + 6, "SPY", 470.1, 471.0, 469.5, 470.0, 1e6, DAY)
    late = Bar(T + 5, T + 7, "SPY", 5e-324, 1.7976931348623157e308, -0.0, 0.1, 0.0, DAY, True)
    pair = Bars(T + 8, T + 9, (
        Bar(T + 8, T + 9, "SPY", 1.0, 1.0, 1.0, 1.0, 1.0, DAY),
        Bar(T + 8, T + 9, "BTC/USDT", 42_000.123456789, 43e3, 41e3, 42e3, 0.3, DAY),
    ))  # fmt: skip
    submit = Submit(
        4, T + 7, "demo-0-1", "SPY", "buy", 10.0, "limit", limit=470.25, tag='a "tag"\n'
    )
    return [
        (start, [Logged(1, T, "hello", "warning")]),
        (history, []),
        (bar, [Recorded(3, T + 6, {"sma": 1.5, "z": None})]),
        (late, [submit, SetTimer(4, T + 7, "rebalance", T + DAY, DAY)]),
        (pair, [Denied(5, T + 9, "demo-0-2", "SPY", "sell", None, "notional", "too large", 250.0)]),
        (Trade(T + 10, T + 11, "BTC/USDT", 42_000.5, 1e-8, "buy", "t1"), []),
        (Quote(T + 12, T + 13, "SPY", 470.0, 470.02, 100.0, 300.0), []),
        (Book(T + 14, T + 15, "SPY", ((470.0, 1.0), (469.99, 2.0)), ((470.02, 3.0),)), []),
        (OrderUpdate(T + 16, T + 17, "demo-0-1", "accepted", venue_order_id="v9"), [
            Replace(9, T + 17, "demo-0-1", 5.0, limit=470.5), Cancel(9, T + 17, "demo-0-1")]),
        (Fill(T + 18, T + 19, "x1", "demo-0-1", "SPY", "buy", 5.0, 470.25, 0.35, "maker", "sim",
              T + 18), []),
        (Timer(T + 20, T + 21, "rebalance"), [RegimeChanged(11, T + 21, "calm", "wild", 0.75)]),
        (Clock(T + 22, T + 23), []),
        (EndOfDay(T + 24, T + 25, "2024-01-02"), []),
        (Command(T + 26, T + 27, "halt", "lunch", "me"), [
            StateChanged(14, T + 27, "active", "halted", "lunch"),
            Failed(14, T + 27, "on_bar", "SPY", "ZeroDivisionError: division by zero", "trace")]),
        (Account(T + 27, T + 28, 5000.0, 9702.5, 4000.0, 0.0, "USD"), []),
        (Connection(T + 27, T + 29, False, "reset by peer"), []),
        (Feed(T + 27, T + 30, "SPY", True, 125_000.0, 125_000.0, T + DAY), []),
        (Reconciled(T + 27, T + 31, True, "all", "", ("SPY",), ("v7",), {"SPY": -3.0}), []),
        (Adjusted(T + 27, T + 32, "SPY", -3.0, 470.0, 1410.0, "sold by hand"), []),
        (Gap(T + 27, T + 33, "connection lost", ("SPY",), T + 20), []),
        (Rules(T + 27, T + 34, Instrument("SPY", tick=0.05), False), []),
        (Health(T + 27, T + 34, 0.25, 3, 181.5, 2.5, 50_000.0, 9), []),
        (Resumed(T + 27, T + 35, 1, ("demo-0-2",), Limits(max_notional=5000.0), "restart"), []),
        (Finish(T + 28, T + 36, "no more data"), []),
        (Upgraded(T + 37, T + 37, "ab" * 32, "cd" * 32, "Better", {"fast": 5}, "next_bar", 50,
                  "class Better: ...", "-a\n+b", "it loses", "me"),
         [StrategyChanged(25, T + 37, "Better", "ab" * 32),
          Saved(25, T + 37, 24, "47d216a505eb1615", "ef" * 32)]),
    ]  # fmt: skip


def clocks(count: int, first: int = 1) -> list[tuple[Input, list[Output]]]:
    """Return inputs ``first`` and on, every third with an order."""
    made: list[tuple[Input, list[Output]]] = []
    for seq in range(first, first + count):
        order = Submit(seq, T + seq, f"demo-0-{seq}", "SPY", "buy", 1.0, "market")
        made.append((Clock(T + seq, T + seq), [order] if seq % 3 == 0 else []))
    return made


def text_of(run: Sequence[tuple[Input, list[Output]]]) -> bytes:
    """Return the journal of a run as one segment's bytes."""
    writer = LineWriter("demo")
    return b"".join(line for event, outputs in run for line in writer.lines(event, outputs))


def chained(*payloads: bytes) -> bytes:
    """Return lines with right sums, whatever they say: what a hostile writer could make."""
    last, lines = "0" * 16, []
    for payload in payloads:
        last = sha256(last.encode() + payload).hexdigest()[:16]
        lines.append(payload + b',"sum":"' + last.encode() + b'"}\n')
    return b"".join(lines)


class FastDisk(Disk):
    """Waits for nothing."""

    def sync(self, fd: int) -> None:
        pass

    def sync_directory(self, path: Path) -> None:
        pass
