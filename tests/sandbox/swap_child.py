"""A session on swaps in a process of its own, to be killed and taken up again."""

import os
import sys

from child import follow, settings

import regimeflow as rf
from regimeflow.venues.ccxt import Ccxt

SYMBOLS = ("AAA/USDT:USDT", "BBB/USDT:USDT")


class Longs(rf.Strategy):
    """Holds some of the first symbol, and of the second the other way."""

    def on_tick(self, ctx, tick):
        if "REGIMEFLOW_CHILD" in os.environ:  # not where the run is looked at afterwards
            os.write(1, b"tick\n")
        wanted = 5.0 if tick.symbol == SYMBOLS[0] else -5.0
        if ctx.position(tick.symbol) != wanted and not ctx.orders(tick.symbol):
            ctx.target(tick.symbol, qty=wanted)


def main(port, run_dir, timeout_ms="400"):
    http, ws = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"
    streams = {
        "public": {"linear": f"{ws}/v5/public/linear"},
        "private": {"contract": f"{ws}/v5/private"},
    }
    session = rf.LiveSession(
        Longs,
        Ccxt(
            "bybit",
            market="swap",
            api_key="sandbox-api-key",
            secret_key="sandbox-secret-key",
            config={
                "urls": {"api": {"public": http, "private": http, "ws": streams}},
                "enableRateLimit": False,
            },
            timeout_ms=float(timeout_ms),
            settle_ms=250.0,
        ),
        symbols=SYMBOLS,
        run_dir=run_dir,
        limits=rf.Limits(max_position=500, max_open_orders=40),
        intervals=settings(),
    )
    session.start()
    os.write(1, b"started\n")
    follow(session)


if __name__ == "__main__":
    main(*sys.argv[1:])
