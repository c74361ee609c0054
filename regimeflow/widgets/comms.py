"""Comms that belong to whoever uses them, not to the cell that happened to run.

ipykernel 7 keeps "which request am I answering" in a context variable. Up to 7.0.2 a thread without
one cannot touch a widget at all; later, a comm that was last used under a cell's request has its
answers queued behind that cell, so that a click waits until it is done. An empty parent cures both.
The name is private, so it is looked for and never relied on: without it the panel works, minus the
click while a cell runs.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def own_comms() -> None:
    """Let what this context sends belong to no cell; outside of ipykernel 7 it does nothing."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    parent = getattr(getattr(shell, "kernel", None), "_shell_parent", None)
    if isinstance(parent, contextvars.ContextVar):
        parent.set({})
    shown_by = getattr(getattr(shell, "display_pub", None), "_parent_header", None)
    if isinstance(shown_by, contextvars.ContextVar) and shown_by.get(None) is None:
        shown_by.set({})


def apart(make: Callable[[], T]) -> T:
    """Return what ``make`` returns, called in a context whose comms are its own."""
    context = contextvars.copy_context()
    context.run(own_comms)
    return context.run(make)
