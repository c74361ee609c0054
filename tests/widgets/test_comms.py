"""Comms of one's own, wherever the kernel keeps the request that it answers."""

from __future__ import annotations

import contextvars
from types import SimpleNamespace

import pytest

from regimeflow.widgets.comms import apart, own_comms

PARENT: contextvars.ContextVar[dict[str, int]] = contextvars.ContextVar("parent")


@pytest.fixture
def kernel(monkeypatch):
    """A kernel as ipykernel 7 is one; its attributes can be changed."""
    kernel = SimpleNamespace(_shell_parent=PARENT)
    shell = SimpleNamespace(kernel=kernel)
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
    return kernel


def test_what_is_made_apart_answers_no_cell_and_the_cell_stays_what_it_was(kernel):
    token = PARENT.set({"cell": 1})
    try:
        assert apart(PARENT.get) == {}
        assert PARENT.get() == {"cell": 1}
    finally:
        PARENT.reset(token)


def test_a_thread_without_a_request_gets_one(kernel):
    def first_line():
        own_comms()
        return PARENT.get()

    assert contextvars.Context().run(first_line) == {}


@pytest.mark.parametrize("other", [None, {"cell": 1}, "text"])
def test_another_kind_of_kernel_is_left_alone(kernel, other):
    kernel._shell_parent = other
    own_comms()
    assert kernel._shell_parent == other


def test_without_a_kernel_nothing_happens():
    assert apart(lambda: 7) == 7
