"""A callback that does not come back is seen while it lasts, told once, and told to be over."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import regimeflow as rf
from regimeflow.engine.engine import Engine
from regimeflow.model.events import Clock, Start
from regimeflow.prometheus import live_metrics_to_prometheus
from regimeflow.session.companions import rolling_history
from regimeflow.session.watchdog import STALLED, WELL_AGAIN, Watchdog
from regimeflow.venues.runtime import Virtual


def await_(condition: Callable[[], object], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


# ---------------------------------------------------------------- one look after the other


class Rig:
    """An engine, a watchdog that is made to look, and what that told."""

    def __init__(self, limit_ms: float = 1_000.0) -> None:
        strategy = rf.Strategy()
        start = Start(0, 0, "r", 0, ("AAA",), (0,), 1_000.0)
        self.engine = Engine(strategy, rolling_history(strategy, start))
        self.told: list[tuple[str, str]] = []
        intervals = rf.venues.Intervals(stall_ms=limit_ms)
        self.dog = Watchdog(self.engine, intervals, lambda *said: self.told.append(said), bool)

    def step(self, back: bool = True) -> None:
        self.engine.seq += 1
        if back:
            self.dog.follow(Clock(1, 1), ())


def test_an_engine_that_waits_for_events_is_well_however_long_it_does():
    rig = Rig()
    for second in range(100):
        rig.dog.look(float(second))
    rig.step()
    rig.dog.look(1_000.0)
    assert (rig.told, rig.dog.lag_ms, rig.dog.stalled) == ([], 0.0, "")


def test_an_engine_that_is_busy_with_one_event_after_the_other_is_well():
    rig = Rig()
    for second in range(100):
        rig.step(back=False)  # each look finds it at work, on something else
        rig.dog.look(float(second))
    assert (rig.told, rig.dog.lag_ms) == ([], 0.0)


def test_an_engine_that_does_not_come_back_is_told_once_and_once_that_it_is_well():
    rig = Rig()
    rig.step(back=False)
    lags = []
    for moment in (10.0, 10.9, 11.1, 12.0, 14.0):
        rig.dog.look(moment)
        lags.append(round(rig.dog.lag_ms))
    assert lags == [0, 900, 1_100, 2_000, 4_000]
    ((reason, text),) = rig.told
    assert reason == STALLED
    assert "Strategy has been busy with one event for 1.1 s" in text
    assert "for 4.0 s" in rig.dog.stalled
    rig.dog.follow(Clock(1, 1), ())
    rig.dog.look(14.5)
    assert rig.told[1:] == [(WELL_AGAIN, "the engine of Strategy is back after 4.5 s")]
    assert (rig.dog.lag_ms, rig.dog.stalled) == (0.0, "")


def test_what_follows_at_once_does_not_hide_the_end_of_a_stall_nor_begin_as_one():
    rig = Rig()
    rig.step(back=False)
    for moment in (10.0, 12.0):
        rig.dog.look(moment)
    rig.step(back=False)
    rig.dog.look(13.0)
    assert [reason for reason, _ in rig.told] == [STALLED, WELL_AGAIN]
    rig.dog.look(15.0)
    assert [reason for reason, _ in rig.told] == [STALLED, WELL_AGAIN, STALLED]


# ---------------------------------------------------------------- with a session


class Sticks(rf.Strategy):
    """Keeps its fifth bar until it is let go; the twin does not."""

    folder: str

    def initialize(self, ctx):
        self.seen = 0

    def on_bar(self, ctx, bar):
        self.seen += 1
        there, go = Path(self.folder, "there"), Path(self.folder, "go")
        if self.seen == 5 and not there.exists():
            there.touch()
            while not go.exists():
                time.sleep(0.005)


def session(folder: Path, **options) -> rf.LiveSession:
    folder.mkdir(exist_ok=True)
    return rf.LiveSession(
        Sticks(folder=str(folder)),
        rf.venues.Simulated(rf.datasets.synthetic(n=200_000, seed=3), speed=60_000.0),
        run_dir=folder / "run",
        intervals=rf.venues.Intervals(clock_ms=10.0, stall_ms=500.0),
        **options,
    )


def test_a_session_shows_and_tells_that_a_callback_has_not_come_back(tmp_path):
    heard: list[tuple[str, str]] = []
    live = session(tmp_path / "s", alert=lambda *said: heard.append(said)).start()
    await_((tmp_path / "s" / "there").exists)
    await_(lambda: heard)
    ((reason, text),) = heard
    assert reason == "stalled"
    assert text.startswith("Sticks has held the engine's thread for ")
    assert " in on_bar (test_watchdog.py): " in text
    assert live.health is not None
    assert live.health.loop_lag_ms >= 500.0
    (finding,) = [f for f in live.check() if f.name == "engine"]
    assert (finding.ok, "Sticks" in finding.text) == (False, True)
    assert "Sticks has held" in repr(live.status)
    exposed = live_metrics_to_prometheus(live.metrics)
    (line,) = [row for row in exposed.splitlines() if row.startswith("regimeflow_event_loop_late")]
    assert float(line.split()[1]) >= 500.0
    (tmp_path / "s" / "go").touch()
    await_(lambda: len(heard) == 2)
    assert heard[1][0] == "stall_over"
    await_(lambda: live.status.lag_ms == 0.0)
    assert not [f for f in live.check() if f.name == "engine"]
    live.stop()
    log = list(live.log["text"])
    assert sum("has held the engine's thread" in row for row in log) == 1
    assert sum("is back after" in row for row in log) == 1
    # The journal is the engine's: a stall is not in it.
    assert rf.certify(live.run_dir).identical


def test_a_kill_file_is_seen_while_a_callback_is_in_the_way_and_said_once(tmp_path):
    live = session(tmp_path / "s").start()
    await_((tmp_path / "s" / "there").exists)
    # At once with its text: a file that is seen before that halts as well, and says less.
    (live.run_dir / "part").write_text("enough")
    (live.run_dir / "part").rename(live.run_dir / "kill")
    inbox = live.worker.link.inbox
    await_(lambda: inbox._commands)
    (tmp_path / "s" / "go").touch()
    await_(lambda: live.state == "halted")
    live.stop()
    said = [row for row in live.log["text"] if "kill file: enough" in row]
    assert said == ["active -> halted: kill file: enough"]


@pytest.mark.parametrize("limit_ms", [0.0, -1.0])
def test_a_limit_is_positive(limit_ms):
    with pytest.raises(rf.ConfigError, match="stall_ms"):
        rf.venues.Intervals(stall_ms=limit_ms)


def test_virtual_time_is_not_watched(tmp_path):
    class Elsewhere(rf.venues.Loopback):
        def runtime(self):
            return Virtual(1, 0)

    watched = {
        kind: rf.LiveSession(
            rf.Strategy, kind(port=1), symbols=["AAA"], run_dir=tmp_path / kind.__name__
        ).worker._plan.real_time
        for kind in (rf.venues.Loopback, Elsewhere)
    }
    assert watched == {rf.venues.Loopback: True, Elsewhere: False}
