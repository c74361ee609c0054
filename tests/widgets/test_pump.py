"""What a page is told, and what it may ask: numbered, few, small, and by type."""

from __future__ import annotations

import json
import threading
import time

import pytest

import regimeflow as rf
from regimeflow.journal import events
from regimeflow.model.events import Command
from regimeflow.widgets.board import Board
from regimeflow.widgets.pump import BYTES_PER_SECOND, PER_SECOND, Pump


class Page:
    """A page that keeps what it is told."""

    def __init__(self):
        self.told = []
        self.news = threading.Condition()

    def tell(self, kind, seq, body):
        with self.news:
            self.told.append((time.monotonic(), kind, seq, body))
            self.news.notify_all()

    def wait_for(self, kind, count=1, seconds=60.0):
        with self.news:
            assert self.news.wait_for(lambda: len(self.of(kind)) >= count, seconds), kind
            return self.of(kind)[-1]

    def of(self, kind):
        return [json.loads(body) for _, what, _, body in self.told if what == kind]


class Busy(rf.Strategy):
    def on_bar(self, ctx, bar):
        held = ctx.position(bar.symbol)
        ctx.target(bar.symbol, qty=0.0 if held else 10.0)
        ctx.log(f"at {bar.close}")


@pytest.fixture
def session(tmp_path):
    data = rf.datasets.synthetic(n=40_000, seed=3)
    venue = rf.venues.Simulated(data, speed=60 * 600.0)  # 600 bars a second
    live = rf.LiveSession(Busy(), venue, run_dir=tmp_path / "run").start()
    yield live
    live.stop()


@pytest.fixture
def shown(session):
    page, over = Page(), threading.Event()
    pump = Pump([Board(session)], page, over.set)
    pump.start()
    yield pump, page, over
    pump.stop()


def test_nothing_is_told_before_a_page_says_hello(session, shown):
    pump, page, _ = shown
    pump.hear({"kind": "hello"})
    page.wait_for("snapshot")
    assert page.told[0][1] == "snapshot"


def test_deltas_are_numbered_few_and_small(session, shown):
    pump, page, _ = shown
    pump.hear({"kind": "hello"})
    page.wait_for("delta", 12)
    deltas = [row for row in page.told if row[1] == "delta"]
    numbers = [seq for _, _, seq, _ in deltas]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    length_s = deltas[-1][0] - deltas[0][0]
    assert len(deltas) - 1 <= 8.0 * (length_s + 0.5)  # the first may have been held up
    assert PER_SECOND <= 8.0
    # All but the newest were paid for by the time that has gone, and what may be saved up.
    sent = sum(len(body) for *_, body in deltas[:-1])
    assert sent <= BYTES_PER_SECOND * (length_s + 1.0) + max(len(row[3]) for row in deltas)


def test_a_hole_is_mended_by_another_hello(session, shown):
    pump, page, _ = shown
    pump.hear({"kind": "hello"})
    page.wait_for("delta", 2)
    pump.hear({"kind": "hello"})
    first, second = page.wait_for("snapshot", 2), page.of("snapshot")[0]
    assert first[0]["state"]["done"] > second[0]["state"]["done"]
    with page.news:
        numbers = [seq for _, kind, seq, _ in page.told if kind in ("snapshot", "delta")]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    "said",
    [
        None,
        "hello",
        {},
        {"kind": "eval", "code": "1"},
        {"kind": "command", "board": 0, "name": "__init__"},
        {"kind": "command", "board": 0, "name": "upgrade"},
        {"kind": "command", "board": 9, "name": "halt"},
        {"kind": "command", "board": 0, "name": "halt", "why": "x" * 1_000},
        {"kind": "story", "board": 0, "order": 7},
        {"kind": "symbol", "board": 0, "symbol": "not of this session"},
    ],
)
def test_what_is_no_message_is_not_answered(session, shown, said):
    pump, page, _ = shown
    pump.hear(said)
    pump.hear({"kind": "hello"})
    page.wait_for("snapshot")
    assert [row[1] for row in page.told if row[1] != "delta"] == ["snapshot"]
    assert session.state == "active"


def test_commands_are_in_the_journal_with_who_and_why(session, shown):
    pump, page, over = shown
    pump.hear({"kind": "hello"})
    for count, (name, why) in enumerate(
        [("pause", "lunch"), ("resume", "back"), ("halt", ""), ("stop", "enough")], 1
    ):
        pump.hear({"kind": "command", "board": 0, "name": name, "why": why})
        answer = page.wait_for("answer", count)
        assert not answer["error"], answer
    assert over.wait(60.0)
    given = [e for _, e, _ in events(session.run_dir) if isinstance(e, Command)]
    assert [(e.name, e.why) for e in given] == [
        ("pause", "lunch"),
        ("resume", "back"),
        ("halt", "halt at the panel"),
        ("stop", "enough"),
    ]
    assert all(e.who.endswith(" at the panel") for e in given)
    pump.hear({"kind": "command", "board": 0, "name": "halt"})
    assert "stopped" in page.wait_for("answer", 5)["text"]  # refused, in words


def test_a_story_is_told_while_the_session_runs(session, shown):
    pump, page, _ = shown
    pump.hear({"kind": "hello"})
    fills = []
    while not fills:
        page.wait_for("delta", len(page.of("delta")) + 1)
        fills = [fill for delta in page.of("delta") for fill in delta.get("0", {}).get("fills", [])]
    pump.hear({"kind": "story", "board": 0, "order": fills[0][1]})
    story = page.wait_for("story")
    assert story["board"] == 0
    assert any(what == "execution" for _, what, _ in story["lines"])


def test_a_journal_that_was_altered_ends_the_following_and_says_so(tmp_path):
    data = rf.datasets.synthetic(n=300, seed=3)
    venue = rf.venues.Simulated(data, speed=None)
    live = rf.LiveSession(Busy(), venue, run_dir=tmp_path / "run").run(progress=False)
    board = Board(live)
    path = next(live.run_dir.glob("journal-*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b'"close":1', b'"close":2', 1))
    page, over = Page(), threading.Event()
    pump = Pump([board], page, over.set)
    pump.start()
    assert over.wait(60.0)
    assert "does not follow" in page.wait_for("failed")["text"]
    assert isinstance(pump.failure, rf.JournalError)
    pump.stop()
