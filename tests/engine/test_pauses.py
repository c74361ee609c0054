"""A pause lets only exits leave; it is lifted by whoever made it, or by a human's resume."""

from __future__ import annotations

import pytest

import regimeflow as rf
from regimeflow.engine.engine import Engine
from regimeflow.engine.rolling_history import RollingHistory
from regimeflow.model.events import Command, Start


def engine() -> Engine:
    made = Engine(rf.Strategy(), RollingHistory([("S", 0)], 10, None, 0))
    made.step(Start(0, 0, "run", 0, ("S",), (0,), 1000.0))
    return made


def steer(made: Engine, *commands: tuple[str, str]) -> bool:
    """Give commands as (name, who); return whether entries may leave after them."""
    for name, who in commands:
        made.step(Command(1, 1, name, "", who))
    return made.desk.state == "active" and not made.held_back


@pytest.mark.parametrize(
    ("commands", "trades"),
    [
        ([("pause", "user")], False),
        ([("pause", "user"), ("resume", "user")], True),
        ([("pause", "user"), ("unpause", "user")], True),
        ([("pause", "kernel loss"), ("unpause", "kernel loss")], True),
        ([("pause", "kernel loss"), ("resume", "user")], True),
        ([("pause", "user"), ("unpause", "kernel loss")], False),
        ([("pause", "user"), ("pause", "kernel loss"), ("unpause", "kernel loss")], False),
        ([("halt", "user"), ("pause", "kernel loss"), ("unpause", "kernel loss")], False),
        ([("unpause", "kernel loss")], True),
    ],
)
def test_who_lifts_what(commands, trades):
    assert steer(engine(), *commands) is trades
