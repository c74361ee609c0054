"""A run that is taken up from a snapshot is the one that lived through its whole journal."""

from __future__ import annotations

import functools
import os
import pickle
import random
import shutil
import threading
import time
import types
from collections import deque
from pathlib import Path

import msgspec
import numpy as np
import pytest

import regimeflow as rf
from regimeflow.engine.history import Window
from regimeflow.engine.rolling_history import _Store
from regimeflow.errors import JournalCorrupt
from regimeflow.journal import events
from regimeflow.model.events import Resumed, Saved, StrategyChanged, Submit, Timer
from regimeflow.sandbox.checker import check
from regimeflow.sandbox.process import VenueProcess
from regimeflow.session import snapshot
from regimeflow.session.certify import state_digest
from regimeflow.session.decisions import Decisions
from regimeflow.session.shelf import File

LIMITS = rf.Limits(max_orders_per_minute=30, daily_loss=50_000.0, duplicate_window_ms=0.0)
COUNTED = 0


class Tally:
    """Something of the user's own that a strategy keeps."""

    def __init__(self):
        self.bars = {}

    def add(self, symbol):
        self.bars[symbol] = self.bars.get(symbol, 0) + 1
        return self.bars[symbol]


class Busy(rf.Strategy):
    """Does a little of everything that a strategy can do and keep."""

    size: int = 10
    made = []  # noqa: RUF012  (of the class on purpose: a copy has its own)

    def initialize(self, ctx):
        self.quick = ctx.indicator(rf.SMA(3))
        self.calm = ctx.indicator(rf.EMA(9))
        self.range = ctx.indicator(rf.ATR(5))
        self.tally, self.resting, self.windows = Tally(), {}, deque(maxlen=3)
        ctx.every("7min", "tidy")

    def on_bar(self, ctx, bar):
        global COUNTED  # noqa: PLW0603  (of the notebook: a copy has its own)
        COUNTED += 1
        count = self.tally.add(bar.symbol)
        self.windows.append(ctx.bars(bar.symbol, 5))
        if ctx.rng.random() < 0.1:
            self.made.append(ctx.buy(bar.symbol, 1, limit=bar.close * 0.999, tag=f"dip {count}"))
        old = self.resting.pop(bar.symbol, None)
        if old is not None and old.working:
            if count % 2:
                ctx.cancel(old)
            else:
                ctx.replace(old, limit=bar.close * 0.998)
        elif count % 5 == 0:
            self.resting[bar.symbol] = ctx.sell(bar.symbol, 2, limit=bar.close * 1.001)
        if self.calm.ready and count % 3 == 0:
            up = self.quick.value > self.calm.value
            ctx.target(bar.symbol, qty=self.size if up else -self.size)
        ctx.record(spread=self.quick.value - self.calm.value, counted=float(COUNTED))

    def on_timer(self, ctx, timer):
        ctx.record(window=float(sum(w.close[-1] for w in self.windows)))


class Ticker(rf.Strategy):
    def initialize(self, ctx):
        self.mean, self.handles = 0.0, []

    def on_tick(self, ctx, trade):
        self.mean += 0.1 * (trade.price - self.mean)
        if ctx.rng.random() < 0.05:
            self.handles.append(ctx.buy(trade.symbol, 1))
        elif ctx.rng.random() < 0.05:
            ctx.target(trade.symbol, qty=0)


class Featured(Busy):
    def features(self, frame):
        return frame.assign(fast=frame["close"].rolling(4).mean())

    def on_bar(self, ctx, bar):
        if ctx.feature(bar.symbol, "fast") > bar.close:
            super().on_bar(ctx, bar)


def busy_frames(symbols="AB", n=240):
    return {s: rf.datasets.synthetic(n=n, seed=place) for place, s in enumerate(symbols)}


def ticks(n=400):
    frame = rf.datasets.synthetic(n=n, seed=7)
    return frame[["close", "volume"]].rename(columns={"close": "price", "volume": "size"})


WORLDS = {
    "bars of two symbols": (Busy, busy_frames, {"latency": rf.Latency(order_ms=20.0)}),
    "filled at the close": (
        Busy,
        lambda: busy_frames("A"),
        {"fills": rf.FillModel(market="close")},
    ),
    "trades": (Ticker, ticks, {"costs": rf.Costs(commission_bps=2.0)}),
    "features": (Featured, lambda: busy_frames("A", 160), {}),
}


def session_of(world: str, folder: Path, **options) -> rf.LiveSession:
    strategy, frames, venue = WORLDS[world]
    return rf.LiveSession(
        strategy(),
        rf.venues.Simulated(frames(), speed=None, **venue),
        run_dir=folder,
        limits=LIMITS,
        **options,
    )


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """Write snapshots as often as asked, and keep them all."""
    monkeypatch.setattr(snapshot, "_SHARE", 0)
    monkeypatch.setattr(snapshot, "_KEPT", 1_000)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return the run directory of each world, played to its end with snapshots all along."""
    folder = tmp_path_factory.mktemp("runs")

    @functools.cache
    def run_of(world: str) -> Path:
        session = session_of(world, folder / str(len(list(folder.iterdir()))))
        session._worker.snapshot_every = 7
        # One after the other: at full speed most would still be waiting for the disk.
        take = snapshot.Snapshots._take

        def taken(self, event):
            take(self, event)
            if self._thread is not None:
                self._thread.join()

        snapshot.Snapshots._take = taken
        patience, snapshot._STILL_S = snapshot._STILL_S, 60.0  # the machine may be busy
        try:
            session.run(progress=False)
        finally:
            snapshot.Snapshots._take = take
            snapshot._STILL_S = patience
        assert len(snapshot.found(session.run_dir)) > 20, session.log
        return session.run_dir

    return run_of


def cut(source: Path, target: Path, size: int | None = None) -> Path:
    """Copy a run as it stood when so many bytes of its journal were written."""
    shutil.copytree(source, target)
    path = target / "journal-0001.jsonl"
    os.truncate(path, len(path.read_bytes()) if size is None else size)
    return target


def without(folder: Path, target: Path) -> Path:
    """Copy a run without its snapshots."""
    shutil.copytree(folder, target)
    for _, path in snapshot.found(target):
        path.unlink()
    return target


def taken_up(session: rf.LiveSession):
    """Take a run up as far as it goes before it would trade on; return the session's work."""
    work = session._worker
    journal = work._take_up(work._earlier)
    journal.close()
    work.records.close()
    return work


def lived_from(work) -> int:
    """Return the number of the event that the run was taken up from."""
    return work.engine.seq - work._lived


# ---------------------------------------------------------------- the same state


def told(thing: object) -> object:
    """Return all that an object holds and refers to as plain values, shared things once."""
    known: dict[int, int] = {}
    kept: list[object] = []  # so that no two things have one id

    def of(value):
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return repr(value)
        if isinstance(value, tuple):
            return [of(one) for one in value]
        if isinstance(value, Window):
            return [value.ts.tolist(), value.close.tolist()]
        if isinstance(value, msgspec.Struct) and value.__struct_config__.frozen:
            return [type(value).__name__, *map(of, msgspec.structs.astuple(value))]
        if id(value) in known:
            return f"#{known[id(value)]}"
        known[id(value)] = len(known)
        kept.append(value)
        if isinstance(value, set | frozenset):
            return sorted(map(repr, value))
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, np.random.Generator):
            return repr(value.bit_generator.state)
        if isinstance(value, dict):
            return [(of(k), of(v)) for k, v in value.items()]
        if isinstance(value, list | deque):
            return [of(one) for one in value]
        if isinstance(value, _Store):
            window = value.window(value._depth)
            return [getattr(window, name).tolist() for name in ("ts", "close", "volume")]
        if isinstance(value, types.MethodType):
            return [value.__func__.__qualname__, of(value.__self__)]
        if isinstance(value, functools.partial):
            return [of(value.func), of(value.args)]
        if isinstance(value, types.FunctionType | type):
            own = value.__module__ == __name__ and isinstance(value, type)
            return [value.__qualname__, of(value.made) if own and hasattr(value, "made") else ""]
        if isinstance(value, msgspec.Struct):
            return [type(value).__name__, *map(of, msgspec.structs.astuple(value))]
        if type(value).__name__ in snapshot._TIES:
            return [type(value).__name__, of(snapshot._state_of(value))]
        if hasattr(value, "__dict__"):
            return [type(value).__name__, of(vars(value))]
        slots = [n for kind in type(value).__mro__ for n in getattr(kind, "__slots__", ())]
        return [type(value).__name__, *(of(getattr(value, n, None)) for n in slots)]

    return of(thing)


#: What depends on when it was done, and on which process did it.
LATER = {
    "drift file": ("_written", "_newest"),
    "meter": ("_made", "_failures", "_failure"),
    "keeper": ("log",),
}


def parts_of(work) -> object:
    states = {}
    for name, part in work._parts().items():
        state = snapshot._state_of(part)
        states[name] = {n: v for n, v in state.items() if n not in LATER.get(name, ())}
    return told(states)


def state_of(work) -> object:
    link = work.link
    return [parts_of(work), told([vars(link._matched.matcher), link._recalled, link._last])]


def difference(one: object, other: object, where: str = "") -> str:
    """Return where two states differ first, "" where they do not."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for place, (a, b) in enumerate(zip(one, other, strict=True)):
            found = difference(a, b, f"{where}/{a[0] if isinstance(a, tuple) else place}")
            if found:
                return found
        return ""
    return "" if one == other else f"{where}: {one!r:.300} is not {other!r:.300}"


@pytest.mark.parametrize("world", WORLDS)
def test_a_run_taken_up_from_a_snapshot_is_in_every_part_the_one_that_was_lived(
    world, runs, tmp_path
):
    whole = runs(world)
    size = (whole / "journal-0001.jsonl").stat().st_size
    draw = random.Random(world)
    begun = set()
    for count in range(4):
        folder = cut(whole, tmp_path / f"cut{count}", draw.randrange(size // 5, size))
        lived = taken_up(session_of(world, without(folder, tmp_path / f"lived{count}")))
        begin = taken_up(session_of(world, folder))
        assert lived_from(lived) == 0
        assert state_digest(begin.engine) == state_digest(lived.engine)
        assert state_digest(begin.twin.engine) == state_digest(lived.twin.engine)
        assert difference(state_of(begin), state_of(lived)) == ""
        begun.add(lived_from(begin))
    assert len(begun) > 2
    assert min(begun) > 0


def finished(session: rf.LiveSession) -> Path:
    session.run(progress=False)
    return session.run_dir


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "journal-0001.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("world", ["bars of two symbols", "trades"])
def test_it_goes_on_to_the_same_end_over_two_lives(world, runs, tmp_path):
    """Every later line of the journal is the same, byte for byte, and the proof holds."""
    whole = runs(world)
    size = (whole / "journal-0001.jsonl").stat().st_size
    folder = cut(whole, tmp_path / "once", size // 2)
    again = session_of(world, folder)
    again._worker.snapshot_every = 11
    cut_at = (finished(again) / "journal-0001.jsonl").stat().st_size
    assert 0 < lived_from(again._worker) < again._worker.engine.seq
    folder = cut(folder, tmp_path / "twice", cut_at * 4 // 5)
    lived = session_of(world, without(folder, tmp_path / "lived"))
    begun = session_of(world, folder)
    assert lines_of(finished(begun)) == lines_of(finished(lived))
    assert begun._worker._lived < lived._worker._lived
    assert rf.certify(folder).identical
    assert begun.drift().frame().equals(lived.drift().frame())
    assert begun.execution_quality() == lived.execution_quality()
    for name in ("audit.log", "live_drift.csv"):
        assert (begun.run_dir / name).read_bytes() == (lived.run_dir / name).read_bytes()


@pytest.mark.parametrize("extra", [1, 2, 3])
def test_a_life_that_ended_before_its_answer_came_loses_none_in_the_third(extra, runs, tmp_path):
    """The first life ends between a request and its answer, the third lives through both."""
    whole = runs("trades")
    lines = (whole / "journal-0001.jsonl").read_bytes().splitlines(keepends=True)
    asked = [i for i, line in enumerate(lines) if b'"kind":"submit"' in line]
    place = asked[len(asked) // 2] + extra
    folder = cut(whole, tmp_path / "once", sum(map(len, lines[:place])))
    again = session_of("trades", folder)
    again._worker.snapshot_every = 11
    lines = (finished(again) / "journal-0001.jsonl").read_bytes().splitlines(keepends=True)
    folder = cut(folder, tmp_path / "twice", sum(map(len, lines[: (place + len(lines)) // 2])))
    lived = session_of("trades", without(folder, tmp_path / "lived"))
    begun = session_of("trades", folder)
    assert lines_of(finished(begun)) == lines_of(finished(lived))
    assert rf.certify(folder).identical


# ---------------------------------------------------------------- not trusted


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(bytes(data))


def newest_damaged(folder):
    flip(snapshot.found(folder)[0][1], 0.9)


def newest_cut_short(folder):
    path = snapshot.found(folder)[0][1]
    os.truncate(path, path.stat().st_size // 2)


def newest_made_up(folder):
    snapshot.found(folder)[0][1].write_bytes(b"cos\nsystem\n(S'true'\ntR.")


def newest_of_another_time(folder):
    first, *_, last = (path for _, path in snapshot.found(folder))
    first.write_bytes(last.read_bytes())


def newest_writable_by_others(folder):
    snapshot.found(folder)[0][1].chmod(0o666)


def newest_elsewhere(folder):
    path = snapshot.found(folder)[0][1]
    path.rename(folder / "moved")
    path.symlink_to(folder / "moved")


@pytest.mark.parametrize(
    "harm",
    [
        newest_damaged, newest_cut_short, newest_made_up, newest_of_another_time,
        newest_writable_by_others, newest_elsewhere,
    ],
)  # fmt: skip
def test_one_that_is_not_to_be_trusted_is_passed_over_for_the_one_before(harm, runs, tmp_path):
    whole = runs("trades")
    size = (whole / "journal-0001.jsonl").stat().st_size
    folder = cut(whole, tmp_path / "run", size * 2 // 3)
    good = lived_from(taken_up(session_of("trades", cut(folder, tmp_path / "good"))))
    named = {o.at for _, _, out in events(folder) for o in out if isinstance(o, Saved)}
    for seq, path in snapshot.found(folder):
        if seq not in named:
            path.unlink()  # of a moment after the cut
    assert snapshot.found(folder)[0][0] == good
    harm(folder)
    second = snapshot.found(folder)[1][0]
    assert lived_from(taken_up(session_of("trades", folder))) == second


def shelf_of(folder: Path) -> Path:
    (path,) = folder.glob("shelf-*.pkl")
    return path


@pytest.mark.parametrize("share", [0.999, 0.5])
def test_those_that_stand_on_the_sound_part_of_a_damaged_shelf_are_still_good(
    share, runs, tmp_path
):
    whole = runs("trades")
    size = (whole / "journal-0001.jsonl").stat().st_size
    folder = cut(whole, tmp_path / "run", size * 2 // 3)
    good = lived_from(taken_up(session_of("trades", cut(folder, tmp_path / "good"))))
    named = {o.at for _, _, out in events(folder) for o in out if isinstance(o, Saved)}
    stands = {
        seq: msgspec.json.decode(path.read_bytes().split(b"\n")[1])["shelf"]["size_bytes"]
        for seq, path in snapshot.found(folder)
        if seq in named
    }
    place = stands[good] * share
    flip(shelf_of(folder), place / shelf_of(folder).stat().st_size)
    sound = max(seq for seq, size in stands.items() if size <= place)
    assert lived_from(taken_up(session_of("trades", folder))) == sound < good


def all_without_a_shelf(folder, monkeypatch):
    shelf_of(folder).unlink()


def all_on_a_damaged_shelf(folder, monkeypatch):
    flip(shelf_of(folder), 0.0)


def all_on_a_shelf_cut_short(folder, monkeypatch):
    os.truncate(shelf_of(folder), 10)


def all_on_a_shelf_writable_by_others(folder, monkeypatch):
    shelf_of(folder).chmod(0o666)


def all_on_a_shelf_elsewhere(folder, monkeypatch):
    path = shelf_of(folder)
    path.rename(folder / "moved")
    path.symlink_to(folder / "moved")


def all_by_another_program(folder, monkeypatch):
    monkeypatch.setattr(snapshot, "code", lambda: "0" * 64)


def all_without_an_audit_log(folder, monkeypatch):
    (folder / "audit.log").unlink()


def all_of_another_run(folder, monkeypatch):
    for _, path in snapshot.found(folder):
        path.write_bytes(path.read_bytes().replace(b'"run":"ticker', b'"run":"tucker', 1))


@pytest.mark.parametrize(
    "harm",
    [
        all_by_another_program, all_without_an_audit_log, all_of_another_run,
        all_without_a_shelf, all_on_a_damaged_shelf, all_on_a_shelf_cut_short,
        all_on_a_shelf_writable_by_others, all_on_a_shelf_elsewhere,
    ],
)  # fmt: skip
def test_where_none_is_to_be_trusted_the_whole_journal_is_lived_through(
    harm, runs, tmp_path, monkeypatch
):
    folder = cut(runs("trades"), tmp_path / "run", 60_000)
    harm(folder, monkeypatch)
    session = session_of("trades", folder)
    assert lived_from(taken_up(session)) == 0
    assert any("no snapshot was begun from" in text for text in session.log["text"])


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.97])
def test_a_changed_journal_is_not_taken_up_from_a_snapshot_either(place, runs, tmp_path):
    folder = cut(runs("trades"), tmp_path / "run")
    flip(folder / "journal-0001.jsonl", place)
    with pytest.raises(JournalCorrupt, match="line"):
        taken_up(session_of("trades", folder))


def test_a_session_whose_copy_takes_too_long_waits_for_its_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "_STILL_S", 0.0)
    monkeypatch.setattr(snapshot, "LEAST_EVENTS", 10)
    session = session_of("trades", tmp_path / "run")
    session._worker.snapshot_every = 7
    stop_at(session, 200)
    session.run(progress=False)
    (late, _), (early, _) = snapshot.found(session.run_dir)
    assert early < 20
    assert late > 190
    assert any("waits for a stop" in text for text in session.log["text"])


class Churning(rf.Strategy):
    """Sends an order with each tick, and keeps nothing of them."""

    def on_tick(self, ctx, trade):
        ctx.buy(trade.symbol, 1) if ctx.position(trade.symbol) <= 0 else ctx.sell(trade.symbol, 1)


def test_orders_that_are_over_are_copied_once(tmp_path, monkeypatch):
    """However many there were, a snapshot holds those of the last moments."""
    write = snapshot.write_private
    written = []

    def noted(path, content):
        written.append((len(session._worker.engine.desk.orders), len(content)))
        write(path, content)

    monkeypatch.setattr(snapshot, "write_private", noted)
    session = rf.LiveSession(
        Churning, rf.venues.Simulated(ticks(1_500), speed=None), run_dir=tmp_path / "run"
    )
    session._worker.snapshot_every = 20
    session.run(progress=False)
    assert written[-1][0] > 1_000 > 20 * written[0][0]
    assert max(size for _, size in written) < 3 * written[0][1]
    assert shelf_of(tmp_path / "run").stat().st_size > 1_000 * written[-1][0]


def test_what_a_shelf_cannot_keep_on_a_full_disk_it_keeps_later(tmp_path, monkeypatch):
    write, calls = File.write, []

    def refusing(self, pages):
        calls.append(len(pages))
        if len(calls) in (3, 4):
            self._queue += pages
            raise OSError(28, "No space left on device")
        return write(self, pages)

    monkeypatch.setattr(File, "write", refusing)
    session = session_of("trades", tmp_path / "run")
    session._worker.snapshot_every = 7
    take = snapshot.Snapshots._take

    def taken(self, event):
        take(self, event)
        if self._thread is not None:
            self._thread.join()

    monkeypatch.setattr(snapshot.Snapshots, "_take", taken)
    session.run(progress=False)
    assert any("cannot be written (No space" in text for text in session.log["text"])
    size = (tmp_path / "run" / "journal-0001.jsonl").stat().st_size
    folder = cut(tmp_path / "run", tmp_path / "cut", size * 3 // 4)
    lived = taken_up(session_of("trades", without(folder, tmp_path / "lived")))
    begun = taken_up(session_of("trades", folder))
    assert lived_from(begun) > 100
    assert difference(state_of(begun), state_of(lived)) == ""


def test_a_copied_log_of_decisions_knows_an_order_that_was_on_its_way(runs):
    """A run ends between a request and its answer: that its fate is unknown is a decision."""
    decisions = Decisions()
    for _, event, outputs in events(runs("trades")):
        decisions.take(event, outputs)
        if any(isinstance(output, Submit) for output in outputs):
            break
    copied = pickle.loads(pickle.dumps(decisions))
    resumed = Resumed(event.seen + 1, event.seen + 1, 1, ())
    said = [[entry.what for entry in one.take(resumed, ())] for one in (decisions, copied)]
    assert said[0] == said[1] == ["resumed", "lost"]


def stop_at(session, count):
    """Let a session be stopped after so many events of its market."""
    follow = session._worker.follow

    def stop_after(event, outputs):
        follow(event, outputs)
        if session._worker._keeper.done == count and not session._worker._stopping:
            session._worker.command("stop", "enough", "user")

    session._worker.follow = stop_after


class WithSet(Ticker):
    def initialize(self, ctx):
        super().initialize(ctx)
        self.held = {"a", "b"}


class WithGenerator(Ticker):
    def initialize(self, ctx):
        super().initialize(ctx)
        self.turns = (n for n in range(10))


@pytest.mark.parametrize(
    ("strategy", "why"), [(WithSet, "holds a set"), (WithGenerator, "cannot be copied")]
)
def test_a_strategy_that_cannot_be_copied_faithfully_is_not_and_says_so(strategy, why, tmp_path):
    session = rf.LiveSession(
        strategy, rf.venues.Simulated(ticks(60), speed=None), run_dir=tmp_path / "run"
    )
    session._worker.snapshot_every = 7
    session.run(progress=False)
    said = [text for text in session.log["text"] if "no snapshot could be made" in text]
    assert len(said) == 1
    assert why in said[0]
    assert snapshot.found(session.run_dir) == []


def test_a_stop_leaves_one_that_stands_for_nearly_all(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "LEAST_EVENTS", 10)
    monkeypatch.setattr(snapshot, "_KEPT", 2)
    session = session_of("trades", tmp_path / "run")
    stop_at(session, 200)
    session.run(progress=False)
    ((at, path),) = snapshot.found(session.run_dir)
    assert path.stat().st_mode & 0o777 == 0o600
    last = session._worker.engine.seq
    assert last - at < 5
    again = session_of("trades", session.run_dir)
    assert lived_from(taken_up(again)) == at


# ---------------------------------------------------------------- on a venue that lives elsewhere


class Trader(rf.Strategy):
    def initialize(self, ctx):
        self.mean, self.held = 0.0, []
        ctx.every("250ms", "look")

    def on_bar(self, ctx, bar):
        self.mean += 0.2 * (bar.close - self.mean)
        if ctx.rng.random() < 0.5:
            self.held.append(ctx.buy(bar.symbol, 1 + int(ctx.rng.integers(5))))
        else:
            ctx.target(bar.symbol, qty=0)

    def on_timer(self, ctx, timer):
        ctx.record(mean=self.mean)


def elsewhere(port: int, folder: Path, *, paper: bool, strategy=Trader) -> rf.LiveSession:
    feed = rf.venues.Loopback(port=port, settle_ms=250.0)
    patience = rf.venues.Intervals(
        clock_ms=20, grace_ms=60, order_poll_ms=200, position_poll_ms=300, account_ms=300,
        unknown_poll_ms=60, reconnect_initial_ms=20, heartbeat_ms=20_000.0,
    )  # fmt: skip
    return rf.LiveSession(
        strategy,
        rf.venues.Paper(feed) if paper else feed,
        symbols=["AAA", "BBB"],
        timeframe="100ms",
        run_dir=folder,
        warmup=5,
        limits=rf.Limits(duplicate_window_ms=0.0),
        intervals=patience,
    )


def wait_for(condition, seconds=30.0):
    until = time.monotonic() + seconds
    ticked = threading.Event()
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        ticked.wait(0.01)


def timers_of(link) -> object:
    gateway = getattr(link, "_gateway", link)
    matcher = link._matched.matcher if gateway is not link else None
    # A beat that was missed is caught up with by whoever lives through it again.
    names = sorted(name for _, _, name, _ in gateway._timers.heap)
    return told([names, None if matcher is None else vars(matcher)])


@pytest.mark.parametrize("paper", [True, False], ids=["paper", "venue"])
def test_a_session_over_sockets_is_taken_up_from_a_snapshot(paper, tmp_path):
    with VenueProcess(tmp_path / "books.jsonl", timeframe="100ms", speed=30.0) as venue:
        session = elsewhere(venue.port, tmp_path / "run", paper=paper)
        session._worker.snapshot_every = 25
        session.start()
        wait_for(lambda: len(session.fills) > 8 and len(snapshot.found(tmp_path / "run")) > 4)
        session.stop()
        size = (tmp_path / "run" / "journal-0001.jsonl").stat().st_size
        for count, share in enumerate((0.75, 0.95)):
            folder = cut(tmp_path / "run", tmp_path / f"cut{count}", int(size * share))
            lived = taken_up(
                elsewhere(venue.port, without(folder, tmp_path / f"lived{count}"), paper=paper)
            )
            begun = taken_up(elsewhere(venue.port, folder, paper=paper))
            assert lived_from(begun) > lived_from(lived) == 0
            assert state_digest(begun.engine) == state_digest(lived.engine)
            assert difference(parts_of(begun), parts_of(lived)) == ""
            assert timers_of(begun.link) == timers_of(lived.link)
        again = elsewhere(venue.port, folder, paper=paper).start()
        seen = len(again.fills)
        wait_for(lambda: again.status.state == "active" and len(again.fills) > seen)
        again.stop()
        assert rf.certify(folder).identical
        assert taken_up(elsewhere(venue.port, folder, paper=paper)).engine.seq > 0


def test_paper_that_lost_its_last_decision_goes_on_before_anything_that_fell_due(tmp_path):
    """Its timers were missed meanwhile: they fire once, and in the life to come."""
    with VenueProcess(tmp_path / "books.jsonl", timeframe="100ms", speed=30.0) as venue:
        session = elsewhere(venue.port, tmp_path / "run", paper=True).start()
        wait_for(lambda: len(session.fills) > 6)
        session.stop()
        data = (tmp_path / "run" / "journal-0001.jsonl").read_bytes()
        place = data.rindex(b"\n", 0, data.rindex(b'"kind":"submit"')) + 1
        folder = cut(tmp_path / "run", tmp_path / "cut", place)
        last = max(seq for seq, _, _ in events(folder))
        time.sleep(0.8)  # three beats of its timer
        again = elsewhere(venue.port, folder, paper=True).start()
        wait_for(lambda: len(again.fills) > 8)
        again.stop()
        assert rf.certify(folder).identical
        later = [event for seq, event, _ in events(folder) if seq > last]
        assert isinstance(later[0], Resumed)
        assert len(later[0].never_sent) >= 1
        missed = [e for e in later if isinstance(e, Timer) and e.ts < later[0].seen]
        assert len(missed) == 1
        times = [event.seen for event in later]
        assert times == sorted(times)


class Careful(Trader):
    """Takes over, and holds nothing any more."""

    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=1)


@pytest.mark.parametrize("paper", [True, False], ids=["paper", "venue"])
def test_another_strategy_takes_over_over_sockets_and_over_a_restart(paper, tmp_path):
    with VenueProcess(tmp_path / "books.jsonl", timeframe="100ms", speed=30.0) as venue:
        session = elsewhere(venue.port, tmp_path / "run", paper=paper).start()
        wait_for(lambda: len(session.fills) > 5)
        session.upgrade(Careful, when="next_bar", why="on purpose")
        wait_for(lambda: session.positions == {"AAA": 1.0, "BBB": 1.0})
        session.stop()
        assert rf.certify(tmp_path / "run").identical
        again = elsewhere(venue.port, tmp_path / "run", paper=paper, strategy=Careful).start()
        wait_for(lambda: again.status.state == "active" and again.status.working == 0)
        again.upgrade(Trader, when="next_bar", why="and back")
        seen = len(again.fills)
        wait_for(lambda: len(again.fills) > seen + 4)
        again.stop()
        assert rf.certify(tmp_path / "run").identical
        changes = [
            output.strategy
            for _, _, outputs in events(tmp_path / "run")
            for output in outputs
            if isinstance(output, StrategyChanged)
        ]
        assert changes == ["Careful", "Trader"]
        if paper:
            assert [row for row in venue.rows() if row.kind == "submit"] == []
        else:
            assert check(venue.ledger, tmp_path / "run") == []
