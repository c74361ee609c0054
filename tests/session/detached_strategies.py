"""Strategies, and a program that starts them, for tests of sessions in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import regimeflow as rf

LOT = 10
FRAME = rf.datasets.synthetic(n=60_000, seed=3)


class Grows(rf.Strategy):
    """Buys a unit every ten bars, and keeps an order far below the market working."""

    def initialize(self, ctx):
        self.seen = 0
        self.resting = None

    def on_bar(self, ctx, bar):
        self.seen += 1
        if self.seen % 10 == 1:
            ctx.buy(bar.symbol, 1)
        if self.resting is None or not self.resting.working:
            self.resting = ctx.buy(bar.symbol, 1, limit=bar.close * 0.5, tif="gtc")


class Reads(rf.Strategy):
    """Reads a class attribute and a global on every bar."""

    boost = 1

    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=LOT * self.boost)
        ctx.record(lot=LOT, boost=self.boost)


class Stuck(rf.Strategy):
    """Never comes back from its third bar, and leaves a file there to say so."""

    marker: str

    def initialize(self, ctx):
        self.seen = 0

    def on_bar(self, ctx, bar):
        self.seen += 1
        ctx.target(bar.symbol, qty=self.seen)
        if self.seen == 3:
            Path(self.marker).touch()
            threading.Event().wait()


def venue(speed: float | None = 60_000.0):
    """A thousand bars a second: a minute of time to act in."""
    return rf.venues.Simulated(FRAME, speed=speed)


def control(run_dir: str, policy: str, how: str) -> None:
    """Start or join a detached session, say so, and wait for whatever comes."""
    if how == "attach":
        session = rf.attach(run_dir)
    else:
        session = rf.LiveSession(Grows(), venue(), run_dir=run_dir, on_kernel_loss=policy)
        session.start(detached=how != "here")
    if how == "fork":
        child = os.fork()
        if not child:
            signal.pause()
        print(f"child {child}", flush=True)
    if how == "release":
        session.release()
    print("there", flush=True)
    if how != "release":
        signal.pause()


if __name__ == "__main__":
    control(*sys.argv[1:])
