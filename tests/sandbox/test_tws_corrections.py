"""Commissions and corrections that TWS tells while nobody listens are booked, and booked once."""

from __future__ import annotations

import math

import pytest
from sessions import violations
from sockets import Child, await_
from test_tws_sessions import TWS_CHILD, session
from tws_in_process import Tws

import regimeflow as rf
from regimeflow.journal import events
from regimeflow.model.events import Adjusted, Fill


@pytest.fixture
def tws(tmp_path):
    made = Tws(tmp_path / "tws.jsonl")
    made.house._held = False
    made.server.commission_ms = math.inf
    yield made
    made.close()


def booked(run_dir, kind=Fill):
    """Return what of a kind is in the journal, by the execution's name."""
    if not list(run_dir.glob("journal-*.jsonl")):
        return {}
    found = {}
    for _, event, _ in events(run_dir):
        if isinstance(event, kind) and event.execution_id:
            found.setdefault(event.execution_id, []).append(event)
    return found


def costs(run_dir):
    """Return what each execution is booked to have cost, later news too."""
    later = booked(run_dir, Adjusted)
    return {
        name: fill.fee - sum(a.cash for a in later.get(name, ()))
        for name, (fill, *_) in booked(run_dir).items()
    }


def correct_one(tws, fills):
    """Correct an execution to another price and tell all commissions; return its name."""
    name, (fill, *_) = next(iter(fills.items()))
    tws.do(tws.server.correct, fill, fill.qty, round(fill.price + 0.5, 2))
    tws.server.commission_ms = 5.0
    return name


def all_well(tws, run_dir):
    assert violations(tws, run_dir) == []
    assert rf.certify(run_dir).identical
    fees = {fill.execution_id: fill.fee for fill in tws.exchange.fills}
    moved = {name for name, (fill, *_) in booked(run_dir).items() if fill.price != price(tws, name)}
    paid = costs(run_dir)
    assert {name: paid[name] for name in paid.keys() - moved} == {
        name: pytest.approx(fees[name]) for name in paid.keys() - moved
    }
    assert len(moved) == 1


def price(tws, name):
    return next(f.price for f in tws.exchange.fills if f.execution_id == name)


def test_what_was_told_between_two_processes_is_booked_once(tws, tmp_path):
    run_dir = tmp_path / "run"
    with Child(tws.port, run_dir, script=TWS_CHILD) as child:
        child.wait_for("started")
        await_(lambda: len(booked(run_dir)) > 2, "fills")
    before = booked(run_dir)
    assert all(fill.fee == 0.0 for fill, *_ in before.values())
    corrected = correct_one(tws, before)
    for last in (False, True):  # the second time there is nothing left to be booked
        with Child(tws.port, run_dir, script=TWS_CHILD) as child:
            child.wait_for("started")
            await_(lambda: before.keys() <= booked(run_dir, Adjusted).keys(), "what they cost")
            sent = len(tws.written(3))
            await_(lambda n=sent: len(tws.written(3)) > n, "an order")
            if last:
                child.stop()
    later = booked(run_dir, Adjusted)
    assert {name: len(later[name]) for name in before} == dict.fromkeys(before, 1)
    assert later[corrected][0].cash != pytest.approx(-next(iter(before.values()))[0].fee)
    all_well(tws, run_dir)


def test_what_was_told_while_brokers_were_lost_is_booked_once(tws, tmp_path):
    run_dir = tmp_path / "run"
    running = session(tws, run_dir)
    running.start()
    try:
        await_(lambda: len(running.fills) > 2, "fills")
        tws.do(tws.server.lose)
        came = len(tws.rows("hello"))
        await_(lambda: len(tws.rows("hello")) > came + 1, "two connections in vain")
        before = booked(run_dir)
        correct_one(tws, before)
        tws.do(tws.server.find, with_data=True)
        await_(lambda: before.keys() <= booked(run_dir, Adjusted).keys(), "what they cost")
        await_(lambda: running.status.state == "active", "a session that trades")
    finally:
        running.stop()
    later = booked(run_dir, Adjusted)
    assert {name: len(later[name]) for name in before} == dict.fromkeys(before, 1)
    all_well(tws, run_dir)
