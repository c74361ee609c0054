"""The audit log: one line a decision, well-formed for any text, the same from the journal."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import regimeflow as rf
from regimeflow.errors import ConfigError, SessionError
from regimeflow.journal import JournalWriter, events
from regimeflow.model.events import (
    Cancel,
    Clock,
    Command,
    Connection,
    Denied,
    Failed,
    Feed,
    Fill,
    Finish,
    Gap,
    OrderUpdate,
    Reconciled,
    RegimeChanged,
    Replace,
    Resumed,
    Rules,
    Start,
    StateChanged,
    Submit,
)
from regimeflow.model.instrument import Instrument
from regimeflow.session.audit import COLUMNS, AuditLog, audit_of
from regimeflow.session.decisions import TYPES, Decisions

START = Start(0, 0, "demo", 0, ("SPY",), (60,), 5_000.0, strategy="Cross")
BUY = Submit(2, 2, "demo-0-1", "SPY", "buy", 10.0, "limit", limit=470.25)


def log_of(tmp_path, run, format="csv", **options):
    """Return the rows that a run's decisions make, and the log."""
    log = AuditLog(tmp_path / "audit.log", format, **options)
    for event, outputs in run:
        log.follow(event, outputs)
    log.close()
    return rows(tmp_path / "audit.log", format), log


def rows(path, format):
    text = path.read_bytes().decode()
    assert text.endswith("\n")
    if format == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    table = list(csv.reader(io.StringIO(text), strict=True))
    assert tuple(table[0]) == COLUMNS
    assert len(table) == len(text.splitlines())  # one line each, for any tool
    made = [dict(zip(COLUMNS, row, strict=True)) for row in table[1:]]
    return [{**row, "metadata": json.loads(row["metadata"])} for row in made]


def said(what, reason=""):
    return OrderUpdate(5, 5, "demo-0-1", what, reason)


def filled(qty, price, execution, side="buy", order="demo-0-1"):
    return Fill(6, 6, execution, order, "SPY", side, qty, price, 0.5)


# ---------------------------------------------------------------- what each event becomes

#: Events and outputs after the start and one order; of each line type, what and some words.
TABLE = [
    ("accepted", said("accepted"), [], [("OrderAcknowledged", "accepted", "accepted")]),
    ("rejected", said("rejected", "no"), [], [("OrderRejected", "rejected", "by the venue (no)")]),
    ("canceled", said("canceled"), [], [("OrderCancelled", "canceled", "canceled")]),
    ("expired", said("expired"), [], [("OrderExpired", "expired", "expired")]),
    ("lost", said("lost", "timeout"), [], [("Error", "lost", "unknown: the venue has not said")]),
    ("replaced", said("replaced"), [], [("OrderReplaced", "replaced", "changed")]),
    (
        "cancel refused",
        said("cancel_rejected", "too late"),
        [],
        [("OrderCancelRejected", "cancel_rejected", "the order stands (too late)")],
    ),
    (
        "never sent",
        said("never_sent", "trading is halted: user"),
        [],
        [("OrderRejected", "never_sent", "(demo-0-1): never left (trading is halted: user)")],
    ),
    (
        "requests",
        Clock(3, 3),
        [Replace(3, 3, "demo-0-1", 5.0, limit=470.0), Cancel(3, 3, "demo-0-1")],
        [
            ("OrderReplaceRequested", "replace", "change asked to 5 limit 470"),
            ("OrderCancelRequested", "cancel", "cancel asked"),
        ],
    ),
    (
        "part filled",
        filled(4.0, 470.0, "x1"),
        [],
        [
            ("OrderFilled", "partly_filled", "buy 4 of 10 SPY at 470, fee 0.5"),
            ("PositionOpened", "position_opened", "4 SPY opened at 470"),
        ],
    ),
    (
        "foreign fill",
        filled(4.0, 470.0, "x1", "sell", "who"),
        [],
        [
            ("OrderFilled", "unordered", "without an order of ours"),
            ("PositionOpened", "position_opened", "-4 SPY opened"),
        ],
    ),
    (
        "denied",
        Clock(3, 3),
        [Denied(3, 3, "demo-0-2", "SPY", "buy", 9.0, "max_notional", "too much")],
        [("RiskLimitBreached", "denied", "buy 9 SPY denied by max_notional: too much")],
    ),
    (
        "dry run",
        Clock(3, 3),
        [Denied(3, 3, "demo-0-2", "SPY", "buy", 9.0, "dry_run", "nothing leaves")],
        [("DryRunOrder", "dry_run", "nothing leaves")],
    ),
    (
        "loss limit",
        Clock(3, 3),
        [StateChanged(3, 3, "active", "reducing", "max_drawdown: too deep")],
        [("RiskLimitBreached", "state_changed", "active -> reducing: max_drawdown: too deep")],
    ),
    (
        "human halt",
        Command(3, 3, "halt", "lunch", "anna"),
        [StateChanged(3, 3, "active", "halted", "lunch")],
        [
            ("Command", "command", "anna asks to halt: lunch"),
            ("TradingState", "state_changed", "active -> halted: lunch (by anna)"),
        ],
    ),
    (
        "human resume",
        Command(3, 3, "resume", "", "anna"),
        [StateChanged(3, 3, "halted", "active", "resume")],
        [
            ("Command", "command", "anna asks to resume"),
            ("TradingState", "state_changed", "halted -> active"),
        ],
    ),
    (
        "stale feed",
        Feed(3, 3, "SPY", True, 125_000.0, 60_000.0),
        [StateChanged(3, 3, "active", "reducing", "no data", "SPY")],
        [
            ("Error", "feed", "data of SPY are stale: 125.0 s old, 60.0 s are allowed"),
            ("Error", "state_changed", "trading of SPY active -> reducing: no data"),
        ],
    ),
    (
        "fresh feed",
        Feed(3, 3, "SPY", False, 1.0, 60_000.0),
        [],
        [("VenueState", "feed", "fresh again")],
    ),
    (
        "strategy error",
        Clock(3, 3),
        [
            Failed(3, 3, "on_bar", "SPY", "ValueError: bad"),
            StateChanged(3, 3, "active", "halted", "strategy error"),
        ],
        [
            ("Error", "failed", "failed in on_bar of SPY: ValueError: bad"),
            ("Error", "state_changed", "active -> halted"),
        ],
    ),
    (
        "regime",
        Clock(3, 3),
        [RegimeChanged(3, 3, "bull", "bear", 0.9)],
        [("RegimeChange", "regime_changed", "bull -> bear")],
    ),
    ("link lost", Connection(3, 3, False, "reset"), [], [("Error", "connection", "lost: reset")]),
    ("link back", Connection(3, 3, True), [], [("VenueState", "connection", "can be reached")]),
    ("gap", Gap(3, 3, "overflow", ("SPY",)), [], [("Error", "gap", "of SPY were lost: overflow")]),
    (
        "books differ",
        Reconciled(3, 3, True, "all", "", ("SPY",), ("v7",), {"QQQ": 3.0}),
        [],
        [("Error", "reconciled", "no event explains SPY; orders not ours: v7; positions not ours")],
    ),
    (
        "new rules",
        Rules(3, 3, Instrument("SPY", tick=0.05, lot=10.0)),
        [],
        [("VenueState", "rules", "SPY trades by new rules: tick 0.05, lot 10")],
    ),
    (
        "trades no more",
        Rules(3, 3, Instrument("SPY"), False),
        [StateChanged(3, 3, "active", "reducing", "SPY does not trade", "SPY")],
        [
            ("Error", "rules", "SPY trades no more"),
            ("Error", "state_changed", "trading of SPY active -> reducing"),
        ],
    ),
    ("books agree", Reconciled(3, 3, True), [], [("VenueState", "reconciled", "they agree")]),
    ("no answer", Reconciled(3, 3, False), [], [("Error", "reconciled", "did not answer")]),
    (
        "resumed",
        Resumed(3, 3, 1, ("demo-0-9",), None, "restart"),
        [],
        [
            ("SystemStart", "resumed", "started for the 2. time: restart"),
            ("OrderRejected", "never_sent", "demo-0-9: never left (the process ended before"),
            ("Error", "lost", "the process ended before the venue answered"),
        ],
    ),
    ("end", Finish(3, 3, "stop"), [], [("SystemStop", "finish", "the run ends: stop")]),
]


@pytest.mark.parametrize(
    ("event", "outputs", "expected"), [t[1:] for t in TABLE], ids=[t[0] for t in TABLE]
)
def test_each_happening_is_a_line_of_the_right_type(tmp_path, event, outputs, expected):
    made, log = log_of(tmp_path, [(START, []), (Clock(2, 2), [BUY]), (event, outputs)])
    assert [row["type"] for row in made[:2]] == ["SystemStart", "OrderSubmitted"]
    assert made[1]["details"] == "buy 10 SPY limit 470.25 gtc"
    new = made[2:]
    assert [(r["type"], r["metadata"]["what"]) for r in new] == [e[:2] for e in expected]
    for row, (_, _, words) in zip(new, expected, strict=True):
        assert words in row["details"]
        assert row["metadata"]["seq"] == 3
        assert row["metadata"]["run"] == "demo"
    assert log.counts.total() == len(made)
    assert set(log.counts) <= set(TYPES)


def test_what_was_said_before_is_not_said_again(tmp_path):
    whole = filled(10.0, 470.0, "x1")
    told = [said("accepted"), said("accepted"), whole, whole, said("accepted"), said("canceled"),
            Reconciled(7, 7, True), Reconciled(8, 8, True)]  # fmt: skip
    made, _ = log_of(
        tmp_path, [(START, []), (Clock(2, 2), [BUY]), *[(event, []) for event in told]]
    )
    assert [row["type"] for row in made[2:]] == [
        "OrderAcknowledged", "OrderFilled", "PositionOpened", "VenueState",
    ]  # fmt: skip


def test_a_run_begins_once_and_ends_once_whatever_it_is_told_meanwhile(tmp_path):
    run = [(START, []), (Clock(2, 2), [BUY])]
    for n, (name, before, after) in enumerate(
        [
            ("halt", "active", "halted"),
            ("resume", "halted", "active"),
            ("flatten", "active", "reducing"),
            ("stop", "reducing", "halted"),
        ],
        start=3,
    ):
        change = StateChanged(n, n, before, after, name)
        outputs = [change] if name != "flatten" else [change, Cancel(n, n, "demo-0-1")]
        run.append((Command(n, n, name, "", "anna"), outputs))
    run += [(said("canceled"), []), (Finish(9, 9, "stop"), [])]
    _, log = log_of(tmp_path, run)
    assert log.counts == {
        "SystemStart": 1, "OrderSubmitted": 1, "Command": 4, "TradingState": 4,
        "OrderCancelRequested": 1, "OrderCancelled": 1, "SystemStop": 1,
    }  # fmt: skip


def test_an_acknowledgement_that_a_fill_overtook_is_still_one(tmp_path):
    told = [filled(4.0, 470.0, "x1"), said("accepted"), filled(6.0, 470.0, "x2")]
    made, log = log_of(
        tmp_path, [(START, []), (Clock(2, 2), [BUY]), *[(event, []) for event in told]]
    )
    assert log.whats == {
        "start": 1, "submit": 1, "partly_filled": 1, "position_opened": 1, "accepted": 1,
        "filled": 1,
    }  # fmt: skip
    assert [row["type"] for row in made].count("OrderFilled") == 2


def test_what_cannot_be_is_an_error_and_not_an_exception(tmp_path):
    told = [said("rejected"), said("canceled"), said("nonsense")]
    made, _ = log_of(
        tmp_path, [(START, []), (Clock(2, 2), [BUY]), *[(event, []) for event in told]]
    )
    assert [row["type"] for row in made[2:]] == ["OrderRejected", "Error", "Error"]
    assert "which cannot be: it is rejected" in made[3]["details"]


def test_positions_open_close_and_turn(tmp_path):
    fills = [filled(10, 100.0, "1"), filled(4, 110.0, "2", "sell"), filled(6, 90.0, "3", "sell"),
             filled(5, 90.0, "4"), filled(8, 100.0, "5", "sell")]  # fmt: skip
    made, _ = log_of(tmp_path, [(START, []), *[(fill, []) for fill in fills]])
    moves = [
        (r["type"], r["metadata"]["qty"], r["metadata"].get("profit"))
        for r in made
        if r["type"].startswith("Position")
    ]
    assert moves == [
        ("PositionOpened", 10.0, None),
        ("PositionClosed", 6.0, 4 * 10.0 - 6 * 10.0),
        ("PositionOpened", 5.0, None),
        ("PositionClosed", 5.0, 50.0),
        ("PositionOpened", -3.0, None),
    ]


# ---------------------------------------------------------------- text from outside

HOSTILE = ['a "b", c', "two\nlines\r\n", "\0", "\ud800", "\u2028\x85\x0b", "=1+1", "+1", "-1", "@x",
           "<script>", "é\U0001f600", "\\", "'", '"""', ",,,", ""]  # fmt: skip


@pytest.mark.parametrize("format", ["csv", "jsonl"])
@given(texts=st.lists(st.one_of(st.sampled_from(HOSTILE), st.text()), min_size=3, max_size=3))
def test_any_text_makes_one_well_formed_line(tmp_path_factory, format, texts):
    symbol, reason, tag = texts
    run = [
        (Start(0, 0, "demo", 0, (symbol,), (60,), 1.0, params={tag: tag, "n": float("nan")}), []),
        (Clock(2, 2), [Submit(2, 2, tag, symbol, "buy", 1.0, "market", tag=tag)]),
        (OrderUpdate(3, 3, tag, "rejected", reason), []),
        (Command(4, 4, reason, reason, tag), []),
        (Finish(5, 5, reason), []),
    ]
    made, _ = log_of(tmp_path_factory.mktemp("any"), run, format)
    assert [r["type"] for r in made] == [
        "SystemStart", "OrderSubmitted", "OrderRejected",
        "Command", "SystemStop",
    ]  # fmt: skip
    assert all(isinstance(row["metadata"], dict) for row in made)
    if format == "csv":
        assert not any(row["details"].startswith(("=", "+", "-", "@")) for row in made)


@pytest.mark.parametrize("first", ["=", "+", "-", "@"])
def test_a_cell_that_begins_like_a_formula_is_quoted(tmp_path, first):
    made, _ = log_of(tmp_path, [(Command(1, 1, "halt", "", f"{first}cmd|' /C calc'!A0"), [])])
    assert made[0]["details"].startswith(f"'{first}cmd|")


def test_secrets_are_hidden_by_name_and_by_value(tmp_path):
    params = {
        "api_key": "canary-1",
        "deep": [{"Broker_Secret": {"x": "canary-2"}}],
        "url": "canary-3",
    }
    start = Start(0, 0, "demo", 0, ("SPY",), (60,), 1.0, params=params)
    run = [(start, []), (Command(1, 1, "halt", "key canary-3", "me"), [])]
    for format in ("csv", "jsonl"):
        folder = tmp_path / format
        folder.mkdir()
        log_of(folder, run, format, redact=lambda text: text.replace("canary-3", "***"))
        text = (folder / "audit.log").read_text()
        assert "canary" not in text
        assert "key ***" in text


def test_an_endless_text_is_cut(tmp_path):
    made, _ = log_of(tmp_path, [(Finish(1, 1, "x" * 1_000_000), [])])
    assert len(made[0]["details"]) < 5_000


# ---------------------------------------------------------------- the file


def test_the_file_is_private_and_no_link_is_followed(tmp_path):
    AuditLog(tmp_path / "audit.log").close()
    assert stat.S_IMODE((tmp_path / "audit.log").stat().st_mode) == 0o600
    (tmp_path / "wide.log").write_text("")
    (tmp_path / "wide.log").chmod(0o644)
    AuditLog(tmp_path / "wide.log").close()
    assert stat.S_IMODE((tmp_path / "wide.log").stat().st_mode) == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SessionError, match="cannot open the audit log"):
        AuditLog(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SessionError, match="not a regular file"):
        AuditLog(tmp_path / "pipe")


def test_a_wrong_format_is_named(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'jsonl'"):
        AuditLog(tmp_path / "audit.log", "json")
    assert not (tmp_path / "audit.log").exists()
    AuditLog(tmp_path / "audit.log", "csv").close()
    with pytest.raises(SessionError, match="not an audit log in jsonl"):
        AuditLog(tmp_path / "audit.log", "jsonl")
    (tmp_path / "other").write_text("{}\n")
    with pytest.raises(SessionError, match="not ours"):
        AuditLog(tmp_path / "other", "jsonl")


def test_a_full_disk_stops_the_log_and_not_the_session():
    log = AuditLog(Path(os.devnull).parent / "shm" / f"audit-{os.getpid()}.log")
    try:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, log._fd)
        os.close(full)
        log.follow(START, [])
        assert os.strerror(errno.ENOSPC) in log.failure
        log.follow(Finish(1, 1, "stop"), [])
        assert log.counts == {"SystemStart": 1, "SystemStop": 1}
    finally:
        log.path.unlink()


def long_run():
    run = [(START, []), (Clock(2, 2), [BUY])]
    run += [(said("accepted"), []), (filled(4.0, 470.0, "x1"), [])]
    run += [
        (
            Clock(7, 7),
            [Denied(5, 7, f"demo-0-{n}", "SPY", "buy", 1.0, "grid", "no") for n in range(3)],
        )
    ]
    return [*run, (filled(6.0, 471.0, "x2"), [])]


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_killed_at_any_byte_a_resumed_log_holds_every_line_once(tmp_path, format):
    resumed = [*long_run(), (Resumed(9, 9, 1), []), (Finish(10, 10, "stop"), [])]
    log_of(tmp_path, resumed, format)
    whole = (tmp_path / "audit.log").read_bytes()
    ends = [at + near for at, byte in enumerate(whole) if byte == 10 for near in (0, 1, 2)]
    for length in sorted({*range(0, len(whole), 17), *ends}):
        (tmp_path / "audit.log").write_bytes(whole[:length])
        log = AuditLog(tmp_path / "audit.log", format)
        for event, outputs in resumed:
            log.follow(event, outputs)
        log.close()
        assert (tmp_path / "audit.log").read_bytes() == whole


@pytest.mark.parametrize("shift", range(3))
def test_a_log_in_any_language_is_continued(tmp_path, shift):
    # The end of the log is looked at from a place that may lie inside a character of three bytes.
    path = tmp_path / "audit.log"
    log = AuditLog(path)
    log.follow(Clock(1, 1), [BUY])
    reason = "k" * shift + "拒绝：余额不足" * 500
    for number in range(8):
        update = OrderUpdate(number, number, "demo-0-1", "cancel_rejected", reason)
        log.follow(update, ())
    log.close()
    assert path.stat().st_size > 64 << 10
    before = path.read_bytes()
    AuditLog(path).close()
    assert path.read_bytes() == before


def test_lines_that_the_journal_lost_do_not_hide_those_of_the_next_process(tmp_path):
    log_of(tmp_path, long_run(), "jsonl")
    survived = long_run()[:3]
    made, _ = log_of(
        tmp_path, [*survived, (Resumed(9, 9, 1), []), (Finish(10, 10, "x"), [])], "jsonl"
    )
    places = [(row["metadata"]["epoch"], row["metadata"]["seq"]) for row in made]
    assert places[-2:] == [(1, 4), (1, 5)]
    assert len(made) == 9 + 2


# ---------------------------------------------------------------- a real session


class Busy(rf.Strategy):
    """Trades, is denied, cancels and replaces."""

    def initialize(self, ctx):
        self.mine = None

    def on_bar(self, ctx, bar):
        if self.mine is None or not self.mine.working:
            held = ctx.position(bar.symbol)
            if held > 0:
                self.mine = ctx.sell(bar.symbol, held, stop=bar.low * 0.999)
            else:
                self.mine = ctx.buy(bar.symbol, 10, limit=bar.close * 0.9995, tif="gtc")
        elif ctx.rng.random() < 0.3:
            ctx.replace(self.mine, limit=bar.close) if self.mine.limit else ctx.cancel(self.mine)
        if ctx.rng.random() < 0.1:
            ctx.buy(bar.symbol, 1e9)


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_the_log_made_from_the_journal_is_the_live_one_to_the_byte(tmp_path, format):
    venue = rf.venues.Simulated(rf.datasets.synthetic(n=400, seed=3), speed=None)
    session = rf.LiveSession(
        Busy(),
        venue,
        run_dir=tmp_path / "run",
        limits=rf.Limits(max_notional=1e5),
        audit_format=format,
    )
    session.run()
    log = session._worker.records.audit
    text = (tmp_path / "run" / "audit.log").read_bytes().decode()
    assert text == audit_of(tmp_path / "run", format)
    made = rows(tmp_path / "run" / "audit.log", format)
    assert log.counts.total() == len(made) > 100
    told = [o for _, _, outputs in events(tmp_path / "run") for o in outputs]
    assert log.whats["submit"] == sum(isinstance(o, Submit) for o in told) > 20
    assert log.whats["denied"] == sum(isinstance(o, Denied) for o in told) > 5
    assert log.whats["filled"] + log.whats["partly_filled"] == len(session.fills)
    orders = session.orders
    # Lines of a type can be counted.
    assert log.counts["OrderSubmitted"] == log.whats["submit"]
    assert log.counts["OrderAcknowledged"] == (orders["status"] != "denied").sum()
    assert log.counts["OrderCancelled"] == (orders["status"] == "canceled").sum() > 5
    assert log.counts["OrderExpired"] == (orders["status"] == "expired").sum()
    assert log.counts["OrderFilled"] == len(session.fills)
    assert log.counts["SystemStart"] == log.counts["SystemStop"] == 1
    # Each line names the record that caused it.
    causes = {seq: event for seq, event, _ in events(tmp_path / "run")}
    for row in made:
        assert int(row["timestamp_us"]) == causes[row["metadata"]["seq"]].seen // 1_000


def test_a_recorded_run_of_every_kind(tmp_path):
    sys.path.insert(0, str(Path(__file__).parent.parent / "journal"))
    try:
        from journal_samples import sample
    finally:
        sys.path.pop(0)
    with JournalWriter(tmp_path / "run", "demo", sync=False) as journal:
        for event, outputs in sample():
            journal.record(event, outputs)
    made, _ = log_of(tmp_path, sample())
    assert (tmp_path / "audit.log").read_bytes().decode() == audit_of(tmp_path / "run")
    assert {row["type"] for row in made} >= {"SystemStart", "OrderFilled", "RegimeChange", "Error"}


def test_market_data_make_no_entry():
    decisions = Decisions()
    assert decisions.take(Clock(1, 1), []) == ()
    assert decisions.seq == 1
