"""Sessions over real sockets, in processes of their own: killed, cut off and lied to by silence."""

from __future__ import annotations

import os
import random
import time

import pytest
from sockets import Child, await_, found

from regimeflow.journal import events
from regimeflow.model.events import Fill
from regimeflow.sandbox.process import VenueProcess
from regimeflow.sandbox.proxy import Proxy
from regimeflow.sandbox.script import Fault

KILLS = int(os.environ.get("REGIMEFLOW_KILLS", "10"))
SEED = int(os.environ.get("REGIMEFLOW_SEED", "1"))


@pytest.fixture
def venue(tmp_path):
    with VenueProcess(tmp_path / "venue.jsonl", timeframe="100ms", speed=30.0) as running:
        yield running


def submits(venue):
    return [row for row in venue.rows() if row.kind == "submit"]


def test_a_session_that_is_killed_again_and_again_loses_and_doubles_nothing(venue, tmp_path):
    rng = random.Random(SEED)
    run_dir = tmp_path / "run"
    for _ in range(KILLS):
        with Child(venue.port, run_dir) as child:
            child.wait_for("started")
            child.wait_for("bar", rng.randint(1, 9))
            time.sleep(rng.uniform(0.0, 0.05))  # any instant, not one that the session chose
    with Child(venue.port, run_dir) as child:
        child.wait_for("started")
        child.wait_for("bar", 4)
        child.stop()
    assert found(venue, run_dir) == []
    assert len(submits(venue)) > 5 * KILLS


def test_orders_whose_answer_is_lost_are_neither_doubled_nor_denied(venue, tmp_path):
    for nth, (fault, times) in enumerate(LOST.items(), 2):
        every = 2 if fault == "no_reply" else 11
        venue.hand.fault(Fault("submit", fault, nth=nth, every=every, times=times))
    with Child(venue.port, tmp_path / "run", timeout_ms=40.0) as child:
        await_(lambda: fired(venue) == AMBIGUOUS, "the last fault")
        child.wait_for("bar", 2)
        child.stop()
    assert found(venue, tmp_path / "run") == []


def test_a_fill_that_the_stream_loses_is_found_by_the_second_comparison(venue, tmp_path):
    venue.hand.fault(Fault("fill", "lose", nth=2, every=5, times=20))
    with Child(venue.port, tmp_path / "run") as child:
        await_(lambda: fired(venue) == 20, "the last fault")
        child.wait_for("bar", 10)
        child.stop()
    assert found(venue, tmp_path / "run") == []
    assert [count for count in comparisons_until_booked(venue, tmp_path / "run") if count > 2] == []


def test_no_order_leaves_after_a_halt_by_command_or_file(venue, tmp_path):
    run_dir = tmp_path / "run"
    kill = run_dir / "kill"
    # Slow answers: what was decided just before the halt still waits to be sent.
    venue.hand.fault(Fault("submit", "delay", times=10_000, ms=30.0))
    with Child(venue.port, run_dir) as child:
        for turn in range(20):
            child.wait_for("bar", 2)
            if turn % 2:
                kill.write_text("enough")
            else:
                child.tell("halt enough")
            child.tell("await halted")
            kill.unlink(missing_ok=True)
            child.tell("resume")
            child.tell("await active")
        child.stop()
    assert found(venue, run_dir) == []


LOST = {"no_reply": 170, "drop_after": 6, "drop_before": 6, "html": 6, "cut": 6, "garbage": 6}
AMBIGUOUS = sum(LOST.values())


def fired(venue):
    return sum(venue.hand.books()["fired"].values())


def comparisons_until_booked(venue, run_dir):
    """Yield, of every fill that was lost, how many questions for executions it took."""
    booked = {e.execution_id: e.seen for _, e, _ in events(run_dir) if isinstance(e, Fill)}
    rows = venue.rows()
    asked = [row.at for row in rows if row.kind == "bytes" and '"executions"' in row.detail["text"]]
    for place, row in enumerate(rows):
        if row.kind == "fault" and row.detail["on"] == "fill":
            # What is lost is told of before it is written down.
            lost = next(r for r in rows[place:] if r.kind == "fill" and r.order_id == row.order_id)
            seen = booked[lost.detail["execution_id"]]
            yield sum(row.at < at < seen for at in asked)


def test_resets_black_holes_and_slices_on_the_way_lose_nothing(venue, tmp_path):
    rng = random.Random(SEED)
    run_dir = tmp_path / "run"
    with Proxy(venue.port) as proxy, Child(proxy.port, run_dir) as child:
        child.wait_for("bar", 4)
        for _ in range(4):
            proxy.reset()
            child.wait_for("bar", rng.randint(2, 5))
            proxy.set(black_hole=True)
            before = len(proxy.pieces)
            await_(lambda n=before: len(proxy.pieces) > n + 8, "something into the black hole")
            proxy.set(slice_bytes=rng.randint(1, 9), latency_ms=5.0)
            proxy.reset()
            child.wait_for("bar", rng.randint(2, 5))
            proxy.set(limit_bytes=rng.randint(3_000, 9_000))
            cut = proxy.cut
            await_(lambda n=cut: proxy.cut > n, "the limit")
            proxy.set()
        child.wait_for("bar", 4)
        child.stop()
    assert found(venue, run_dir) == []
    assert len(submits(venue)) > 5  # it traded between the rounds
