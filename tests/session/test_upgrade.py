"""Another strategy for a running session: on purpose, shown, journaled, and repeated exactly."""

from __future__ import annotations

import shutil
import threading
from functools import partial
from pathlib import Path

import pytest

import regimeflow as rf
from regimeflow.errors import ConfigError, SessionError
from regimeflow.journal import events
from regimeflow.model.events import Fill, Resumed, SetTimer, StrategyChanged, Timer, Upgraded
from regimeflow.session import freeze
from regimeflow.session.certify import state_digest
from regimeflow.session.upgrade import UpgradeWish

FRAME = rf.datasets.synthetic(n=300, seed=3)
COSTS = rf.Costs(commission_bps=2)
LATENCY = rf.Latency(order_ms=20, data_ms=5)
#: Bars that the first strategy sees before it is let go.
BARS = 120


class Old(rf.Strategy):
    """In and out again every few bars; stops the feed until a test has asked for an upgrade."""

    def initialize(self, ctx):
        self.seen = 0
        ctx.every("7min", "tidy")

    def on_bar(self, ctx, bar):
        self.seen += 1
        ctx.target(bar.symbol, qty=10 if self.seen % 10 < 5 else 0)
        ctx.record(old=self.seen)

    def on_timer(self, ctx, timer):
        ctx.record(old_timer=1.0)


class New(rf.Strategy):
    size: int = 4

    def initialize(self, ctx):
        self.mean = ctx.indicator(rf.SMA(20))
        self.first = None
        ctx.every("11min", "tidy")

    def on_start(self, ctx):
        ctx.record(ready=float(self.mean.ready), mean=self.mean.value)

    def on_bar(self, ctx, bar):
        self.first = self.first or bar.ts
        ctx.target(bar.symbol, qty=self.size if bar.close > self.mean.value else -self.size)
        ctx.record(new=1.0)

    def on_timer(self, ctx, timer):
        assert timer.name == "tidy"
        ctx.record(new_timer=1.0)


class Featured(rf.Strategy):
    def features(self, frame):
        out = frame[[]].copy()
        out["mean"] = frame["close"].rolling(10).mean()
        return out

    def initialize(self, ctx):
        self.smooth = ctx.indicator(rf.SMA(3), field="mean")

    def on_start(self, ctx):
        ctx.record(feature=ctx.feature(ctx.symbols[0], "mean"), ready=float(self.smooth.ready))

    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=3 if bar.close > self.smooth.value else 0)


class Broken(rf.Strategy):
    def on_bar(self, ctx, bar):
        raise ValueError("oops")


class Ever(rf.Strategy):
    """Never flat after its first bar."""

    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=10)


def venue(frame=FRAME, speed=None):
    return rf.venues.Simulated(frame, speed=speed, costs=COSTS, latency=LATENCY)


def upgraded(folder, old, new, *, frame=FRAME, at=BARS, **options):
    """Run a session in which ``new`` is asked for right after bar number ``at``."""
    session = rf.LiveSession(old, venue(frame), run_dir=folder)
    follow = session._worker.follow
    shown = []

    def ask(event, outputs):
        follow(event, outputs)
        if session.status.phase == "running" and session._worker._keeper.done == at and not shown:
            shown.append(session.upgrade(new, **options))

    session._worker.follow = ask
    session.run(progress=False)
    return session, shown[0]


def moment(folder) -> int:
    """Return the number of the event with which the strategy changed."""
    (seq,) = [
        seq
        for seq, _, outputs in events(folder)
        for output in outputs
        if isinstance(output, StrategyChanged)
    ]
    return seq


def records(folder, name):
    return [
        (seq, output.values[name])
        for seq, _, outputs in events(folder)
        for output in outputs
        if name in getattr(output, "values", {})
    ]


@pytest.fixture(scope="module")
def next_bar(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, *upgraded(folder, Old(), New(size=5), when="next_bar", why="it loses")


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, *upgraded(folder, Old(), New(), when="flat", at=122)


def test_the_next_bar_is_the_new_strategys(next_bar):
    folder, session, _ = next_bar
    (asked,) = [seq for seq, e, _ in events(folder) if isinstance(e, Upgraded)]
    changed = moment(folder)
    between = [e for seq, e, _ in events(folder) if asked < seq <= changed]
    assert sum(isinstance(e, rf.Bar) for e in between) == 1
    assert max(seq for seq, _ in records(folder, "old")) < changed
    assert min(seq for seq, _ in records(folder, "new")) == changed
    assert session.status.strategy == "New"
    assert session.positions
    assert set(map(abs, session.positions.values())) == {5.0}


def test_flat_waits_until_nothing_is_held_and_nothing_works(flat):
    folder, session, _ = flat
    held, changed, asked, waited = 0.0, moment(folder), 0, 0
    for seq, event, _ in events(folder):
        if isinstance(event, Fill):
            held += event.qty if event.side == "buy" else -event.qty
        if isinstance(event, Upgraded):
            asked = seq
            assert held == 10.0
        waited += bool(asked) and seq < changed and isinstance(event, rf.Bar)
        if seq == changed:
            assert held == 0.0
            break
    assert waited >= 1
    assert session._worker.engine.strategy.size == 4


def test_a_strategy_that_is_never_flat_goes_on(tmp_path):
    session, _ = upgraded(tmp_path / "run", Ever(), New(), when="flat")
    assert session.status.strategy == "Ever"
    assert not [
        1 for _, _, out in events(tmp_path / "run") for o in out if isinstance(o, StrategyChanged)
    ]
    assert rf.certify(tmp_path / "run").identical


def test_an_indicator_has_seen_the_bars_that_were_there(next_bar):
    folder, _, _ = next_bar
    ((_, ready),), ((_, mean),) = records(folder, "ready"), records(folder, "mean")
    assert ready == 1.0
    assert mean == pytest.approx(FRAME["close"].iloc[BARS + 1 - 20 : BARS + 1].mean(), rel=1e-12)


def test_timers_of_the_earlier_strategy_fire_no_more(next_bar):
    folder, _, _ = next_bar
    changed = moment(folder)
    assert max(seq for seq, _ in records(folder, "old_timer")) < changed
    assert min(seq for seq, _ in records(folder, "new_timer")) > changed
    names = {e.name for _, e, _ in events(folder) if isinstance(e, Timer)}
    own = [o.name for _, _, out in events(folder) for o in out if isinstance(o, SetTimer)]
    assert names == set(own)
    assert len(own) == 2
    assert len(records(folder, "new_timer")) == sum(
        e.name == own[1] for _, e, _ in events(folder) if isinstance(e, Timer)
    )


@pytest.mark.parametrize("name", ["next_bar", "flat"])
def test_it_is_certified(name, request):
    folder, session, _ = request.getfixturevalue(name)
    certificate = rf.certify(folder)
    assert certificate.identical, str(certificate)
    assert certificate.digest == state_digest(session._worker.engine)
    # A strategy that is passed is used up to the upgrade, and the frozen one from there.
    assert rf.certify(folder, strategy=Old()).identical
    assert not rf.certify(folder, strategy=Ever()).identical
    assert type(rf.replay(folder).strategy).__name__ == "New"


@pytest.mark.parametrize("name", ["next_bar", "flat"])
def test_live_shadow_and_twin_agree_after_it(name, request):
    folder, session, _ = request.getfixturevalue(name)
    status = session.status
    for companion in (status.shadow, status.twin):
        assert companion.equity == status.live.equity
        assert companion.positions == status.live.positions
        assert companion.cash == status.live.cash
    table = session.drift().frame()
    assert (table["execution"] == 0.0).all()
    assert (table["decisions"] == 0.0).all()
    again = rf.drift(folder).frame()
    assert again.equals(table)
    model = rf.backtest(Old(), FRAME, costs=COSTS, latency=LATENCY)
    rows = rf.parity(model, folder).rows
    assert {row.cause: row.money for row in rows} == {row.cause: 0.0 for row in rows}
    assert rf.parity(model, folder, history=FRAME)["data"] == 0.0


def test_with_other_models_they_begin_anew_from_what_the_session_has(tmp_path):
    dear = rf.backtest(Old(), FRAME, costs=rf.Costs(commission_bps=50), latency=rf.Latency())
    session = rf.LiveSession(Old(), venue(), run_dir=tmp_path / "run", baseline=dear)
    worker, seen = session._worker, []
    follow = worker.follow

    def ask(event, outputs):
        follow(event, outputs)
        if any(isinstance(o, StrategyChanged) for o in outputs):
            ledger = worker.engine.desk.ledger
            seen.append((ledger.cash, worker._shadow.account().cash, worker.twin.account().cash))
        if session.status.phase == "running" and worker._keeper.done == BARS and not seen:
            seen.append(None)
            session.upgrade(New(), when="next_bar")

    worker.follow = ask
    session.run(progress=False)
    assert len(set(seen[1])) == 1
    table = session.drift().frame()
    assert table["execution"].iloc[BARS - 1] < 0 or table["execution"].iloc[BARS - 1] > 0
    assert rf.drift(tmp_path / "run", dear).frame().equals(table)
    parity = rf.parity(dear, tmp_path / "run")
    assert abs(parity.residual) <= parity.bound
    whole = rf.parity(dear, tmp_path / "run", history=FRAME)
    assert abs(whole.residual) <= whole.bound


# ---------------------------------------------------------------- features, failures


def test_features_are_computed_from_the_bars_that_were_there(tmp_path):
    folder = tmp_path / "run"
    session, _ = upgraded(folder, Old(), Featured(), when="next_bar", warmup=40)
    ((_, value),) = records(folder, "feature")
    assert value == pytest.approx(FRAME["close"].iloc[BARS - 9 : BARS + 1].mean(), rel=1e-9)
    assert [v for _, v in records(folder, "ready")] == [1.0]
    assert rf.certify(folder).identical
    assert session.status.twin.equity == session.status.live.equity


def test_a_number_of_bars_for_features_must_come_from_somewhere(tmp_path):
    session = rf.LiveSession(Old(), venue(speed=600.0), run_dir=tmp_path / "run").start()
    with pytest.raises(ConfigError, match="give warmup="):
        session.upgrade(Featured())
    session.stop()
    assert not list((tmp_path / "run").glob("strategy-*"))


def test_a_strategy_that_failed_is_mended_and_resumed_by_hand(tmp_path):
    folder = tmp_path / "run"
    session = rf.LiveSession(Broken(), venue(), run_dir=folder)
    worker, done = session._worker, []
    follow = worker.follow

    def ask(event, outputs):
        follow(event, outputs)
        if session.status.phase != "running":
            return
        if worker._keeper.done == 50 and not done:
            done.append(1)
            assert session.failure is not None
            with pytest.raises(SessionError, match="has failed"):
                session.resume()
            session.upgrade(New(), when="next_bar")
        if worker._keeper.done == 60 and len(done) == 1:
            done.append(2)
            assert session.failure is None
            assert worker.engine.desk.state == "halted"
            session.resume()

    worker.follow = ask
    session.run(progress=False)
    assert len(session.fills)
    assert rf.certify(folder).identical
    assert rf.attach(folder).failure is None


def test_a_strategy_that_fails_at_once_halts(tmp_path):
    class Worse(rf.Strategy):
        def initialize(self, ctx):
            raise KeyError("no")

    session, _ = upgraded(tmp_path / "run", Old(), Worse(), when="next_bar")
    assert "Worse" in str(session.failure)
    assert rf.certify(tmp_path / "run").identical


# ---------------------------------------------------------------- what is shown and refused


def test_the_difference_is_shown_and_written_down(next_bar):
    folder, session, shown = next_bar
    assert "-        ctx.record(old=self.seen)" in shown.difference
    assert "+        ctx.record(new=1.0)" in shown.difference
    assert "+# parameter size = 5" in shown.difference
    assert "it loses" in repr(shown)
    assert "self.seen % 10 &lt; 5" in shown._repr_html_()
    assert "self.seen % 10 < 5" not in shown._repr_html_()
    (event,) = [e for _, e, _ in events(folder) if isinstance(e, Upgraded)]
    assert event.difference == shown.difference
    assert "class New" in event.source
    assert (event.strategy, event.params, event.why) == ("New", {"size": 5}, "it loses")
    audit = (folder / "audit.log").read_text()
    assert "New take over with the next bar or tick: it loses" in audit
    assert "New decides from here on" in audit
    assert (session.log["text"] == "New decides from here on").sum() == 1
    assert any(note.startswith("New decides from") for note in session.report().data.notes)
    (path,) = folder.glob("strategy-*.pkl")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.name == freeze.upgrade_name(event.frozen_sha256)


def test_secrets_in_parameters_are_hidden(tmp_path):
    class Keyed(rf.Strategy):
        api_key: str = "canary-77"

        def on_bar(self, ctx, bar):
            pass

    _, shown = upgraded(tmp_path / "run", Old(), Keyed(api_key="canary-78"), when="next_bar")
    journal = b"".join(p.read_bytes() for p in (tmp_path / "run").glob("journal-*"))
    assert "canary-78" not in shown.difference
    assert b"canary-78" not in journal


@pytest.fixture
def running(tmp_path):
    session = rf.LiveSession(Old(), venue(speed=600.0), run_dir=tmp_path / "run").start()
    yield session
    session.stop()


def test_what_runs_already_is_no_upgrade(running):
    with pytest.raises(SessionError, match="is what runs already"):
        running.upgrade(Old())
    assert "+# parameter size = 6" in running.upgrade(New(size=6)).difference
    assert "-# parameter size = 6" in running.upgrade(New(size=7)).difference


def test_what_still_waits_is_asked_for_again_with_another_moment(tmp_path):
    session = rf.LiveSession(Ever(), venue(speed=6_000.0), run_dir=tmp_path / "run").start()
    try:
        while not session.positions:
            assert not session.worker.ended(0.01)
        waits = session.upgrade(New(), "flat")
        again = session.upgrade(New(), "next_bar")
        assert (again.when, again.difference) == ("next_bar", waits.difference)
        while session.status.strategy != "New":
            assert not session.worker.ended(0.01)
        with pytest.raises(SessionError, match="is what runs already"):
            session.upgrade(New(), "flat")
        session.upgrade(Ever(), "flat")
        taken_back = session.upgrade(New(), "flat")
        assert taken_back.difference.startswith("--- Ever (now)")
    finally:
        session.stop()
    asked = [e for _, e, _ in events(tmp_path / "run") if isinstance(e, Upgraded)]
    assert [e.when for e in asked] == ["flat", "next_bar", "flat", "flat"]
    assert asked[1].difference == again.difference


def test_what_cannot_be_frozen_changes_nothing(running, tmp_path):
    holds = New()
    holds.lock = threading.Lock()
    with pytest.raises(SessionError, match="cannot be frozen"):
        running.upgrade(holds)
    with pytest.raises(ConfigError, match="when must be"):
        running.upgrade(New(), when="now")
    assert not list((tmp_path / "run").glob("strategy-*"))


def test_the_cell_with_other_code_names_the_upgrade(running, tmp_path):
    with pytest.raises(SessionError, match=r"session\.upgrade"):
        rf.LiveSession(New(), venue(speed=600.0), run_dir=tmp_path / "run")
    running.upgrade(New())
    assert rf.LiveSession(New(), venue(speed=600.0), run_dir=tmp_path / "run") is running
    with pytest.raises(SessionError, match=r"session\.upgrade"):
        rf.LiveSession(Old(), venue(speed=600.0), run_dir=tmp_path / "run")


def test_a_session_that_does_not_run_is_not_upgraded(tmp_path):
    session = rf.LiveSession(Old(), venue(), run_dir=tmp_path / "run")
    with pytest.raises(SessionError, match="is new"):
        session.upgrade(New())
    session.run(progress=False)
    with pytest.raises(SessionError, match="is stopped"):
        session.upgrade(New())


@pytest.mark.parametrize(
    ("sha256", "words"), [("0" * 64, "there is no strategy-0000"), ("../../x", "is not the sha256")]
)
def test_a_strategy_that_is_not_there_is_refused(running, sha256, words):
    with pytest.raises(SessionError, match=words):
        running._worker.upgrade(UpgradeWish(sha256))
    assert running.status.phase == "running"


def test_a_file_that_others_can_write_is_refused(next_bar, running, tmp_path):
    folder, _, _ = next_bar
    (event,) = [e for _, e, _ in events(folder) if isinstance(e, Upgraded)]
    for name in (".pkl", ".json"):
        name = freeze.upgrade_name(event.frozen_sha256, name)
        shutil.copy(folder / name, tmp_path / "run" / name)
    path = tmp_path / "run" / freeze.upgrade_name(event.frozen_sha256)
    path.chmod(0o660)
    with pytest.raises(SessionError, match="can be written by others"):
        running._worker.upgrade(UpgradeWish(event.frozen_sha256))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(SessionError, match="is not the strategy that the journal names"):
        running._worker.upgrade(UpgradeWish(event.frozen_sha256))


# ---------------------------------------------------------------- taken up, attached


def cut(source: Path, target: Path, before: int) -> Path:
    """Copy a run as it stood before an input of its journal."""
    target.mkdir()
    for path in source.glob("*"):
        if path.name.startswith(("strategy", "manifest")):
            shutil.copy(path, target / path.name)
    lines = (source / "journal-0001.jsonl").read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if int(line.split(b'"seq":')[1].split(b",")[0]) < before]
    (target / "journal-0001.jsonl").write_bytes(b"".join(kept))
    return target


def story(folder, since=0):
    return [
        (e.ts, e.side, e.qty, e.price)
        for seq, e, _ in events(folder)
        if isinstance(e, Fill) and seq > since
    ]


@pytest.mark.parametrize("place", [0, 1, 2, 3, 60])
@pytest.mark.parametrize("name", ["next_bar", "flat"])
def test_a_run_is_taken_up_after_an_upgrade(name, place, tmp_path, request):
    whole, _, _ = request.getfixturevalue(name)
    (asked,) = [seq for seq, e, _ in events(whole) if isinstance(e, Upgraded)]
    at = asked + 1 + place if place < 3 else moment(whole) + place - 2
    broken = cut(whole, tmp_path / "run", at)
    (event,) = [e for _, e, _ in events(whole) if isinstance(e, Upgraded)]
    again = rf.LiveSession(New(**event.params), venue(), run_dir=broken).run(progress=False)
    assert len([e for _, e, _ in events(broken) if isinstance(e, Resumed)]) == 1
    assert story(broken) == story(whole)
    assert again.status.strategy == "New"
    assert rf.certify(broken).identical
    assert again.status.twin.equity == again.status.live.equity == again.status.shadow.equity


def test_a_run_that_was_cut_before_it_goes_on_with_what_it_was(next_bar, tmp_path):
    whole, _, _ = next_bar
    (asked,) = [seq for seq, e, _ in events(whole) if isinstance(e, Upgraded)]
    broken = cut(whole, tmp_path / "run", asked)
    with pytest.raises(SessionError, match="strategy is another one"):
        rf.LiveSession(New(size=5), venue(), run_dir=broken)
    session = rf.LiveSession(Old(), venue(), run_dir=broken).run(progress=False)
    assert session.status.strategy == "Old"


def test_the_earlier_strategy_does_not_take_up_the_run(next_bar, tmp_path):
    whole, _, _ = next_bar
    broken = cut(whole, tmp_path / "run", moment(whole) + 20)
    with pytest.raises(SessionError, match="strategy is another one"):
        rf.LiveSession(Old(), venue(), run_dir=broken)


@pytest.mark.parametrize("harm", ["mode", "content", "gone"])
def test_a_changed_file_is_neither_certified_nor_taken_up(next_bar, tmp_path, harm):
    whole, _, _ = next_bar
    broken = cut(whole, tmp_path / "run", moment(whole) + 20)
    (path,) = broken.glob("strategy-*.pkl")
    session = rf.LiveSession(New(size=5), venue(), run_dir=broken)
    if harm == "mode":
        path.chmod(0o620)
    elif harm == "content":
        path.write_bytes(freeze.freeze(Ever()))
    else:
        path.unlink()
    for act in (partial(rf.certify, broken), session.start, partial(rf.drift, broken)):
        with pytest.raises(SessionError, match=path.name):
            act()


def test_a_detached_session_is_attached_to_and_upgraded(tmp_path):
    folder = tmp_path / "run"
    session = rf.LiveSession(Old(), venue(speed=3_000.0), run_dir=folder)
    session.start(detached=True)
    try:
        with pytest.raises(SessionError, match=r"session\.upgrade"):
            rf.LiveSession(New(), venue(speed=3_000.0), run_dir=folder)
        shown = session.upgrade(New(), when="next_bar", why="from afar")
        assert "+class New" in shown.difference
        with pytest.raises(SessionError, match="is what runs already"):
            session.upgrade(New())
        assert rf.LiveSession(New(), venue(speed=3_000.0), run_dir=folder) is session
        while session.status.strategy != "New":
            assert not session._worker.ended(0.05)
        assert "New decides from here on" in list(session.log["text"])
    finally:
        session.stop()
    assert rf.certify(folder).identical
    ended = rf.attach(folder)
    assert ended.status.strategy == "New"
    (event,) = [e for _, e, _ in events(folder) if isinstance(e, Upgraded)]
    assert (event.difference, event.why, event.who) == (shown.difference, "from afar", "user")
