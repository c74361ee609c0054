"""Whole sessions against a venue on this machine, and what goes wrong on their way."""

from __future__ import annotations

import contextlib
from collections import Counter

from child import settings
from sockets import await_

import regimeflow as rf
from regimeflow.journal import events
from regimeflow.model.events import Connection, Gap
from regimeflow.sandbox.script import Fault

#: How long a request that was decided may be under way: the client library makes it in Python, on
#: a thread of its own, on a machine that does other things.
UNDER_WAY_MS = 1_000.0
#: What can become of a request without an answer that settles it.
LOST = ("drop_before", "drop_after", "no_reply", "ignore", "html", "html_before", "garbage", "cut")
#: What an answer can say instead of what was asked.
STATUSES = ("http_429", "http_500", "http_503", "http_504", "http_504_after", "http_403", "refuse")
#: What can become of news.
NEWS = (
    Fault("fill", "duplicate", nth=2, every=7, times=5),
    Fault("fill", "reorder", nth=3, every=7, times=5),
    Fault("fill", "lose", nth=4, every=7, times=5),
    Fault("order_update", "lose", nth=2, every=5, times=8),
)
NOISE = (Fault("fill", "garbage", nth=2, every=6, times=3),)
#: How a question can fail.
UNANSWERED = ("http_500", "html", "cut", "http_429", "garbage")


@contextlib.contextmanager
def judged(sandbox, run_dir, strategy, venue, **how):
    """A session that is stopped at the end, and then held against the venue's own record."""
    how.setdefault("limits", rf.Limits(max_position=500, max_open_orders=60))
    how.setdefault("intervals", settings())
    session = rf.LiveSession(strategy, venue, run_dir=run_dir, **how)
    session.start()
    try:
        await_(lambda: len(session.orders) > 0, "the first order")
        yield session
    finally:
        session.stop()
    assert violations(sandbox, run_dir) == []


def violations(sandbox, run_dir, **how):
    """Return what must not be, held against the venue's own record, one sentence each."""
    found = rf.sandbox.check(sandbox.ledger, run_dir, grace_ms=UNDER_WAY_MS, **how)
    return [str(violation) for violation in found]


def fired(sandbox):
    """Return how often each fault has happened."""
    return Counter(sandbox.hand.books()["fired"])


def settled(session, more=12):
    """Wait until the session has gone on for some orders."""
    count = len(session.orders)
    await_(lambda: len(session.orders) >= count + more, "further orders")


def happened(run_dir, kind):
    """Return the events of a kind that a run had."""
    return [event for _, event, _ in events(run_dir) if isinstance(event, kind)]


def cut_off(sandbox, run_dir, times):
    """Break the streams so many times, each time once they are there; wait for each gap."""
    for count in range(times):
        await_(lambda: happened(run_dir, Connection)[-1].up, "the connection")
        sandbox.hand.disconnect()
        await_(lambda least=count: len(happened(run_dir, Gap)) > least, "the gap")


def sent(sandbox, begins, name):
    """Return client order id -> how many requests to place it came over the wire.

    Args:
        begins: of the request's text.
        name: takes the id out of what follows.
    """
    texts = [row.detail["text"] for row in sandbox.rows() if row.kind == "bytes"]
    return Counter(name(text.split(" ", 2)[2]) for text in texts if text.startswith(begins))
