"""As ``child``, at the sandbox that speaks Alpaca's protocols."""

import os
import sys

from child import Busy, follow, settings

import regimeflow as rf


def main(port, run_dir, timeout_ms):
    here = f"127.0.0.1:{port}"
    venue = rf.venues.Alpaca(
        api_key="PKSANDBOXSANDBOX",
        secret_key="made-up-for-the-sandbox",
        base_url=f"http://{here}",
        data_url=f"http://{here}",
        stream_url=f"ws://{here}/stream",
        data_stream_url=f"ws://{here}/v2/iex",
        calendar="",
        timeout_ms=float(timeout_ms),
        settle_ms=250.0,
    )
    session = rf.LiveSession(
        Busy,
        venue,
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
