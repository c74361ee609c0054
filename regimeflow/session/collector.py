"""Python's garbage collector during a long run."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_THRESHOLDS = (50_000, 20, 50)


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Let the collector look less often while a run makes and keeps millions of small objects.

    At its usual thresholds it walks over all orders and fills again and again, for a fifth of a
    run's time. Events and orders cannot form cycles; what the user's code makes is still collected.
    """
    before = gc.get_threshold()
    if not gc.isenabled() or before[0] == 0 or before[0] >= _THRESHOLDS[0]:
        yield  # somebody else has decided already
        return
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Let the collector not look at all for a moment in which only things to keep are made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
