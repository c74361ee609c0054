"""A process that ends anywhere, and another that takes its run up: nothing lost or doubled."""

from __future__ import annotations

import errno
import functools
import random
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import regimeflow as rf
from regimeflow.journal import Disk, events
from regimeflow.model.events import Command, Submit
from regimeflow.venues.intervals import Intervals
from tests.soak.bourse import SYMBOL, Bourse, Crash, Door, Fuse, MortalDisk
from tests.soak.outcome import Outcome

MINUTES = 24
INTERVALS = Intervals(clock_ms=5_000.0, order_poll_ms=10_000.0, health_ms=600_000.0)
OVER = {"filled", "canceled", "rejected", "expired", "denied"}


class Busy(rf.Strategy):
    """Sends, changes and cancels orders of most kinds."""

    def on_bar(self, ctx: Any, bar: Any) -> None:
        dice = ctx.rng.random()
        working = ctx.orders(bar.symbol)
        if working and dice < 0.3:
            ctx.cancel(working[0])
        elif working and dice < 0.6 and working[0].limit:
            ctx.replace(working[0], limit=round(working[0].limit + 0.01, 2))
        elif dice < 0.75:
            ctx.buy(bar.symbol, 10, limit=round(bar.close - 0.04, 2))
        elif dice < 0.85:
            ctx.sell(bar.symbol, 7)
        else:
            ctx.target(bar.symbol, qty=float(ctx.rng.integers(-20, 20)))


class World:
    """One run through several processes.

    Attributes:
        violations: what must not be.
        session: the newest.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.bourse = Bourse(seed, 10 * MINUTES)
        self.violations: list[str] = []
        self.reached: Counter[str] = Counter()
        self.session: rf.LiveSession | None = None

    def live(self, fuse: Fuse, minutes: int, disk: Any = None, *, power: bool = False) -> bool:
        """Run one process; return whether it ended by the fuse."""
        disk = disk or MortalDisk(fuse)

        def sees(request: Any) -> None:
            if isinstance(request, Submit) and request.order_id.encode() not in disk.durable:
                self.violations.append(f"{request.order_id} left before it was durable")

        door = Door(self.bourse, fuse, self.seed, minutes, sees)
        try:
            self.session = rf.LiveSession(
                Busy(), door, symbols=SYMBOL, timeframe="1min", run_dir=self.folder, warmup=3,
                cash=1e5, seed=self.seed, intervals=INTERVALS, disk=disk,
            )  # fmt: skip
            self.session.run(progress=False)
        except Crash:
            pass
        except rf.SessionError as error:
            if not isinstance(error.__cause__, Crash):
                self.error = error
                if not getattr(disk, "faulty", False):
                    self.violations.append(f"{error}")
        self.reached += fuse.reached
        if fuse.dead and power:
            disk.power_fails()
        self.bourse.advance(self.bourse.now + self.seed % 3 * 60 * 10**9)  # nobody is there
        return fuse.dead

    error: BaseException | None = None

    def ended_in_the_reserve(self) -> bool:
        """Whether the journal ends with the halt that a full disk brings."""
        *_, (_, event, _) = events(self.folder)
        return isinstance(event, Command) and event.who == "journal"

    def check(self) -> None:
        """Hold the books of the session to those of the exchange, once all is quiet."""
        bourse, say = self.bourse, self.violations.append
        assert self.session is not None
        if self.session._worker.engine.start is None:
            say("the last life never began")
            return
        desk = self.session._worker.engine.desk
        recorded = {
            o.order_id for _, _, out in events(self.folder) for o in out if isinstance(o, Submit)
        }
        for id_, count in bourse.submits.items():
            if count != 1:
                say(f"{id_} was sent {count} times")
            if id_ not in recorded:
                say(f"{id_} is at the exchange and not in the journal")
        for id_, order in desk.orders.items():
            held = bourse.book.get(id_)
            if order.status not in OVER:
                say(f"{id_} is {order.status} at the end")
            if held is None:
                if order.status not in ("denied", "rejected") or order.filled:
                    say(f"{id_} is {order.status} and was never at the exchange")
            elif (order.status, order.filled) != (held.status, held.filled):
                say(f"{id_} is {order.status} {order.filled} for {held.status} {held.filled}")
        if lost := set(bourse.book) - set(desk.orders):
            say(f"lost orders: {sorted(lost)}")
        booked, happened = desk.executions.keys(), {f.execution_id for f in bourse.fills}
        if booked != happened:
            say(f"executions differ: {booked ^ happened}")
        if desk.ledger.position(SYMBOL).qty != bourse.position:
            say(f"{desk.ledger.position(SYMBOL).qty} held for {bourse.position}")
        if bourse.working:
            say(f"{len(bourse.working)} orders still work")
        certificate = rf.certify(self.folder, progress=False)
        if not certificate.identical:
            say(f"not certified: {certificate}")


@functools.cache
def labels() -> tuple[tuple[str, bool], ...]:
    """Return every place at which a process can end, and whether it is one of taking up."""
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name, "run"), 1)
        world.live(Fuse("write torn", 3), MINUTES)
        first = set(world.reached)
        world.live(Fuse(), MINUTES)
        found = sorted({*world.reached})
    # Compressing is beside the trading, and may not have come to its end in a short life.
    return tuple((label, label not in first and "compress" not in label) for label in found)


def crash(seed: int) -> Outcome:
    """End a process at one label, its successor at another, then let a third end in peace.

    The label is chosen by the seed, one after the other: first when it is first reached, then
    later. On odd rounds the power fails too.
    """
    chance = random.Random(seed)
    places, counts = labels(), Counter[str]()
    turn, place = divmod(seed, len(places))
    label, later = places[place]
    count = chance.choice([0, 1, 2, 5]) if turn else 0
    first = Fuse("write torn", chance.randint(1, 4)) if later else Fuse(label, count)
    second = Fuse(label if later else chance.choice(places)[0], chance.choice([0, 1]) * (not later))
    power = turn % 2 == 1
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name, "run"), seed)
        ended = world.live(first, MINUTES, power=power)
        again = world.live(second, MINUTES // 3, power=power)
        counts[f"ended at {label}"] += again if later else ended
        counts["ended while taking up"] += again
        world.live(Fuse(), MINUTES // 3)
        world.check()
        counts["orders"] += len(world.bourse.book)
        counts["fills"] += len(world.bourse.fills)
    return Outcome(1, [f"{v} (ended at {label})" for v in world.violations], counts)


# ---------------------------------------------------------------- a disk that fails


class FaultyDisk(MortalDisk):
    """A disk of which one call fails, and all that come after it unless it was only full."""

    faulty = True

    def __init__(self, fault: str, at: int) -> None:
        super().__init__(Fuse())
        self.fault, self.left, self.failed = fault, at, False

    def _strikes(self) -> bool:
        if threading.current_thread().name.startswith("compress") or self.failed:
            return False
        self.left -= 1
        self.failed = self.left < 0
        return self.failed

    def write(self, fd: int, data: bytes) -> int:
        if not self._strikes():
            return super().write(fd, data)
        if self.fault == "short":
            return Disk.write(self, fd, data[: len(data) // 2])
        if self.fault == "EIO":
            Disk.write(self, fd, data)  # it may well have arrived
        raise OSError(getattr(errno, self.fault), self.fault)

    def sync(self, fd: int) -> None:
        if self._strikes():
            raise OSError(errno.EIO, "sync failed")
        super().sync(fd)

    def open(self, path: Path) -> int:
        if self._strikes():
            raise OSError(errno.ENOSPC if self.fault == "short" else getattr(errno, self.fault), "")
        return super().open(path)


def disk_fault(seed: int) -> Outcome:
    """Let one call of the disk fail in a session with working orders; the unit is a session.

    Nothing leaves that is not durable, and after the fault nothing but cancels. Every working
    order is canceled, the session says what happened, and another takes the run up. Where the disk
    was only full, halt and cancels are in the journal.
    """
    fault = ("ENOSPC", "EIO", "short")[seed % 3]
    disk = FaultyDisk(fault, seed // 3 % 45)
    counts = Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name, "run"), seed)
        say = world.violations.append
        try:
            world.live(disk.fuse, MINUTES, disk)
        except rf.JournalError as error:
            counts["refused to begin"] += 1
            world.error = error
        if disk.failed:
            counts[f"{fault} struck"] += 1
            if world.error is None:
                say("a fault of the disk was not told")
            elif "journal" not in str(world.error):
                say(f"it does not say what failed: {world.error}")
            if world.bourse.working:
                say(f"{len(world.bourse.working)} orders still work after the fault")
            counts["orders canceled"] += len(world.bourse.cancels)
            if fault != "EIO" and world.bourse.cancels and world.session is not None:
                counts["halts in the reserve"] += world.ended_in_the_reserve()
        world.live(Fuse(), MINUTES // 3)
        world.check()
    return Outcome(1, [f"{v} ({fault} at call {seed // 3 % 45})" for v in world.violations], counts)
