"""Sessions over real sockets, in processes of their own: killed, and lied to by silence.

Venue, session and whoever watches them are three processes, and time is the real one. A seed gives
the market and the instants; what happens between two processes at that instant is not repeated.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regimeflow.journal import events
from regimeflow.model.events import Fill
from regimeflow.sandbox.process import VenueProcess
from regimeflow.sandbox.script import Fault
from tests.sandbox.sockets import Child, await_, found
from tests.soak.outcome import Outcome

#: So many cases has a seed of each row.
KILLS, LOST_FILLS, HALTS = 10, 20, 20
#: How an answer to a submit gets lost, and how often in a seed.
LOST = {"no_reply": 170, "drop_after": 6, "drop_before": 6, "html": 6, "cut": 6, "garbage": 6}
AMBIGUOUS = sum(LOST.values())
#: How many comparisons a lost fill may take to be found.
_COMPARISONS = 2
#: How long a line may be under way on a machine that has other things to do.
_CARRIED_MS = 60.0
#: How long all faults of a seed may take on a busy machine.
_FAULTS_S = 200.0


class World:
    """A venue, the directory of a run on it, and the seed's dice."""

    def __init__(self, venue: VenueProcess, run_dir: Path, seed: int) -> None:
        self.venue, self.run_dir, self.dice = venue, run_dir, random.Random(seed)

    def fired(self) -> int:
        """Return how many faults have happened."""
        return sum(self.venue.hand.books()["fired"].values())

    def await_faults(self, count: int) -> None:
        await_(lambda: self.fired() == count, "the last fault", _FAULTS_S)

    def outcome(self, tried: int, more: Iterable[str] = (), **how: Any) -> Outcome:
        """Hold the journal against the venue's record, the bytes on the wire included."""
        violations = [str(violation) for violation in found(self.venue, self.run_dir, **how)]
        kinds = Counter(row.kind for row in self.venue.rows())
        counts = Counter({"orders": kinds["submit"], "fills": kinds["fill"]})
        return Outcome(tried, [*violations, *more], counts)


@contextmanager
def _world(seed: int) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as name:
        ledger = Path(name, "venue.jsonl")
        with VenueProcess(ledger, timeframe="100ms", speed=30.0, seed=seed) as venue:
            yield World(venue, Path(name, "run"), seed)


def kills(seed: int) -> Outcome:
    """Kill a session at any instant and take it up again, ten times; the unit is a kill."""
    with _world(seed) as world:
        for _ in range(KILLS):
            with Child(world.venue.port, world.run_dir) as child:
                child.wait_for("started")
                child.wait_for("bar", world.dice.randint(1, 9))
                time.sleep(world.dice.uniform(0.0, 0.05))  # not an instant that the session chose
        with Child(world.venue.port, world.run_dir) as child:
            child.wait_for("started")
            child.wait_for("bar", 4)
            child.stop()
        return world.outcome(KILLS)


def ambiguous(seed: int) -> Outcome:
    """Lose the answers to submits in six ways; the unit is an answer.

    No order may be there twice, none that the venue has may be given up, and each must end as it
    did at the venue.
    """
    with _world(seed) as world:
        first = world.dice.randint(2, 5)
        for nth, (fault, times) in enumerate(LOST.items(), first):
            every = 2 if fault == "no_reply" else 11
            world.venue.hand.fault(Fault("submit", fault, nth=nth, every=every, times=times))
        with Child(world.venue.port, world.run_dir, timeout_ms=40.0) as child:
            world.await_faults(AMBIGUOUS)
            child.wait_for("bar", 2)
            child.stop()
        return world.outcome(AMBIGUOUS)


def lost_fills(seed: int) -> Outcome:
    """Keep fills from a stream that is well otherwise; the unit is a fill.

    Each must be found by the second question for executions after it.
    """
    with _world(seed) as world:
        nth, every = world.dice.randint(1, 5), world.dice.randint(3, 7)
        world.venue.hand.fault(Fault("fill", "lose", nth=nth, every=every, times=LOST_FILLS))
        with Child(world.venue.port, world.run_dir) as child:
            world.await_faults(LOST_FILLS)
            child.wait_for("bar", 10)
            child.stop()
        asked = list(_comparisons_until_booked(world))
        late = (f"a lost fill took {n} comparisons" for n in asked if n > _COMPARISONS)
        outcome = world.outcome(len(asked), late)
        outcome.counts.update(f"found by comparison {n}" for n in asked)
        return outcome


def _comparisons_until_booked(world: World) -> Iterator[int]:
    """Yield, of every fill that was lost, how many questions for executions it took."""
    booked = {e.execution_id: e.seen for _, e, _ in events(world.run_dir) if isinstance(e, Fill)}
    rows = world.venue.rows()
    asked = [row.at for row in rows if row.kind == "bytes" and '"executions"' in row.detail["text"]]
    for place, row in enumerate(rows):
        if row.kind == "fault" and row.detail["on"] == "fill":
            # What is lost is told of before it is written down.
            lost = next(r for r in rows[place:] if r.kind == "fill" and r.order_id == row.order_id)
            # One that was never booked has seen all of them.
            seen = booked.get(lost.detail["execution_id"], asked[-1] + 1)
            yield sum(row.at < at < seen for at in asked)


def halts(seed: int) -> Outcome:
    """Halt by command and by kill file while orders wait to leave; the unit is a halt."""
    with _world(seed) as world:
        kill = world.run_dir / "kill"
        # Slow answers: what was decided just before the halt still waits to be sent, for longer
        # than what has left is under way.
        world.venue.hand.fault(Fault("submit", "delay", times=10_000, ms=2 * _CARRIED_MS))
        with Child(world.venue.port, world.run_dir) as child:
            for turn in range(HALTS):
                child.wait_for("bar", world.dice.randint(6, 12))
                time.sleep(world.dice.uniform(0.0, 0.03))
                if turn % 2:
                    kill.write_text("enough")
                else:
                    child.tell("halt enough")
                child.tell("await halted")
                kill.unlink(missing_ok=True)
                child.tell("resume")
                child.tell("await active")
            child.stop()
        return world.outcome(HALTS, grace_ms=_CARRIED_MS)
