"""A session on TWS in a process of its own: told what to do a line at a time."""

import os
import sys
from types import SimpleNamespace

from child import follow
from test_tws_sessions import session

import regimeflow as rf


def main(port, run_dir, _timeout_ms):
    quick = SimpleNamespace(
        venue=lambda **how: rf.venues.InteractiveBrokers(port=int(port), calendar="", **how)
    )
    running = session(quick, run_dir)
    running.start()
    os.write(1, b"started\n")
    follow(running)


if __name__ == "__main__":
    main(*sys.argv[1:])
