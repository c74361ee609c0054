"""A process in which somebody has patched asyncio, as some notebooks do."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import sys, warnings
import nest_asyncio
nest_asyncio.apply()
import regimeflow as rf
kind, symbol = sys.argv[1:]
made = getattr(rf.sandbox, kind)(symbols=[symbol])
with made as sandbox, warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always", RuntimeWarning)
    venue = sandbox.venue()
    venue.connect(lambda said: None)
    venue.subscribe([symbol], 0)
    venue.balances()
    venue.close()
assert any("nest_asyncio" in str(one.message) for one in told), told
print("went on")
"""


def says_so_and_goes_on(kind, symbol):
    """Whether a broker's venue connects there, says what it has found, and leaves it alone.

    Args:
        kind: name of its sandbox in `regimeflow.sandbox`.
        symbol: what that trades.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SCRIPT, kind, symbol],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "went on\n", done.stderr
    return True
