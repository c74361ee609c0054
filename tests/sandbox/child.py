"""A session over sockets in a process of its own: told what to do a line at a time."""

import os
import sys
import time

import regimeflow as rf


class Busy(rf.Strategy):
    """Many orders of every kind, changed and taken back."""

    def on_bar(self, ctx, bar):
        if "REGIMEFLOW_CHILD" in os.environ:  # not where the run is looked at afterwards
            os.write(1, b"bar\n")
        held = ctx.position(bar.symbol)
        for k in range(4):
            side = ctx.sell if (held > 0) == (k % 2 == 0) else ctx.buy
            away = 1.0 if k < 3 else 0.99 if side == ctx.buy else 1.01
            limit = None if k < 2 else ctx.instrument(bar.symbol).round_price(bar.close * away)
            side(bar.symbol, float(ctx.rng.integers(1, 40)), limit=limit)
        for order in ctx.orders(bar.symbol)[:3]:
            ctx.cancel(order)


def settings():
    return rf.venues.Intervals(
        clock_ms=20, grace_ms=60, order_poll_ms=200, position_poll_ms=300, account_ms=300,
        unknown_poll_ms=60, call_timeout_ms=400, reconnect_initial_ms=20,
        reconnect_max_ms=200, stop_ms=8_000, heartbeat_ms=2_000,
    )  # fmt: skip


def follow(session):
    for line in sys.stdin:
        word, _, why = line.strip().partition(" ")
        if word == "await":
            while session.state != why:
                time.sleep(0.005)  # seen by others only when it is looked at
        else:
            getattr(session, word)(why or word)
        os.write(1, f"done {word}\n".encode())
        if word == "stop":
            return


def main(port, run_dir, timeout_ms="400"):
    session = rf.LiveSession(
        Busy,
        rf.venues.Loopback(port=int(port), timeout_ms=float(timeout_ms), settle_ms=250.0),
        symbols=["AAA", "BBB"],
        timeframe="100ms",
        run_dir=run_dir,
        warmup=5,
        limits=rf.Limits(max_position=500, max_open_orders=40),
        intervals=settings(),
    )
    session.start()
    os.write(1, b"started\n")
    follow(session)


if __name__ == "__main__":
    main(*sys.argv[1:])
