"""The probe says what the system says, and never raises for what the system refuses."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import threading
import time

import msgspec
import pytest

import regimeflow as rf
from regimeflow.model.events import Health
from regimeflow.session.health import UNKNOWN, Probe


def test_what_it_says_is_what_the_system_says(tmp_path):
    vitals = Probe(tmp_path).look()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    most_mb = most / (1 << 20 if sys.platform == "darwin" else 1024)
    assert 0 < vitals.memory_mb <= most_mb * 1.05 + 1
    assert vitals.threads >= threading.active_count()
    assert vitals.descriptors >= 3
    assert vitals.disk_free_mb == pytest.approx(shutil.disk_usage(tmp_path).free / 2**20, abs=1_000)


def test_a_thread_and_a_descriptor_more_are_seen(tmp_path):
    probe = Probe(tmp_path)
    before = probe.look()
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    pipe = os.pipe()
    try:
        after = probe.look()
    finally:
        done.set()
        thread.join()
        for fd in pipe:
            os.close(fd)
    assert after.threads - before.threads == 1
    assert after.descriptors - before.descriptors == 2
    assert probe.look().descriptors == before.descriptors


def test_memory_that_is_taken_is_seen(tmp_path):
    probe = Probe(tmp_path)
    before = probe.look().memory_mb
    taken = bytearray(os.urandom(1)) * (100 << 20)
    assert probe.look().memory_mb >= before
    if sys.platform == "linux":
        assert probe.look().memory_mb > before + 60
    del taken


def test_cpu_is_of_one_core_since_the_look_before(tmp_path):
    times = iter([0.0, 10.0, 10.0, 20.0])
    probe = Probe(tmp_path, clock=lambda: next(times))
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    busy = probe.look().cpu_pct
    assert busy >= 1.0  # a tenth of a second of ten
    assert probe.look().cpu_pct == 0.0  # no time has passed on that clock
    assert probe.look().cpu_pct < busy


def test_the_event_carries_the_fields_of_the_journal(tmp_path):
    event = Probe(tmp_path).event(5, 6, 0.25, 3)
    assert (event.ts, event.seen, event.loop_lag_ms, event.queue) == (5, 6, 0.25, 3)
    assert event.memory_mb > 0
    assert event.threads > 0
    assert msgspec.json.decode(msgspec.json.encode(event), type=Health) == event


def test_a_directory_that_is_gone_is_unknown_and_no_exception(tmp_path):
    assert Probe(tmp_path / "gone").look().disk_free_mb == UNKNOWN


def test_it_still_answers_when_no_file_can_be_opened(tmp_path):
    # In a process of its own: the limit would hit the test runner too.
    code = """
import os, resource, sys
from regimeflow.session.health import Probe
probe = Probe(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
vitals = probe.look()
os.write(1, f"{vitals.descriptors} {vitals.disk_free_mb > 0}".encode())
"""
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert told.stdout == "-1 True"


# ---------------------------------------------------------------- a session that plays history


class Trades(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=0 if ctx.position(bar.symbol) else 10)


@pytest.mark.parametrize("market", ["next_open", "close"])
def test_a_session_with_a_pace_tells_how_the_process_is_doing(tmp_path, monkeypatch, market):
    monkeypatch.setattr("regimeflow.venues.simulated._HEALTH_S", 0.0)
    prices, fills = rf.datasets.synthetic(n=20, seed=3), rf.FillModel(market=market)
    venue = rf.venues.Simulated(prices, speed=6_000, fills=fills)
    session = rf.LiveSession(Trades(), venue, run_dir=tmp_path / "run").run()
    assert session.health.memory_mb > 1.0
    assert session.metrics.health == session.health
    assert rf.certify(tmp_path / "run").identical
    report = rf.backtest(Trades(), prices, fills=fills)
    told = ["time", "symbol", "side", "qty", "price", "fee"]
    assert session.fills[told].equals(report.fills[told])


def test_a_session_without_a_pace_waits_for_nothing_and_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("regimeflow.venues.simulated._HEALTH_S", 0.0)
    venue = rf.venues.Simulated(rf.datasets.synthetic(n=20, seed=3), speed=None)
    assert rf.LiveSession(Trades(), venue, run_dir=tmp_path / "run").run().health is None
