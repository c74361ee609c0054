"""Sessions over real sockets, in processes of their own: killed, cut off and lied to by silence."""

from __future__ import annotations

import random

import pytest
from child import settings
from sockets import Child, await_, found

import regimeflow as rf
from regimeflow.sandbox.process import VenueProcess
from regimeflow.sandbox.proxy import Proxy
from regimeflow.sandbox.simulation import Busy
from tests.soak.rig import AMBIGUOUS, HALTS, KILLS, LOST_FILLS, ambiguous, halts, kills, lost_fills

SEED = 1


def test_a_session_that_is_killed_again_and_again_loses_and_doubles_nothing():
    outcome = kills(SEED)
    assert outcome.violations == []
    assert outcome.tried == KILLS >= 10
    assert outcome.counts["orders"] > 5 * KILLS


def test_orders_whose_answer_is_lost_are_neither_doubled_nor_denied():
    outcome = ambiguous(SEED)
    assert outcome.violations == []
    assert outcome.tried == AMBIGUOUS >= 200


def test_a_fill_that_the_stream_loses_is_found_by_the_second_comparison():
    outcome = lost_fills(SEED)
    assert outcome.violations == []
    assert outcome.tried == LOST_FILLS >= 20


def test_no_order_leaves_after_a_halt_by_command_or_file():
    outcome = halts(SEED)
    assert outcome.violations == []
    assert outcome.tried == HALTS >= 20
    assert outcome.counts["orders"] > HALTS


@pytest.fixture
def venue(tmp_path):
    with VenueProcess(tmp_path / "venue.jsonl", timeframe="100ms", speed=30.0) as running:
        yield running


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
    assert sum(row.kind == "submit" for row in venue.rows()) > 5  # it traded between the rounds


def test_a_session_comes_through_the_usual_faults(venue, tmp_path):
    faulty = rf.venues.Faulty(rf.venues.Loopback(port=venue.port), SEED)
    session = rf.LiveSession(
        Busy,
        faulty,
        symbols=["AAA"],
        timeframe="100ms",
        run_dir=tmp_path / "run",
        intervals=settings(),
    )
    session.start()
    await_(lambda: len(session.orders) > 3 and faulty.fired.total() > 20, "orders among faults")
    session.stop()
    assert session.status.phase == "stopped"
    assert rf.certify(tmp_path / "run").identical
    assert found(venue, tmp_path / "run") == []
