"""A loop in a thread of its own: results, time limits, and an end without leftovers."""

from __future__ import annotations

import asyncio
import threading

import pytest

from regimeflow.errors import ConfigError, MissingExtra, VenueError
from regimeflow.redaction import Secret
from regimeflow.venues.extras import require
from regimeflow.venues.keys import needed, secrets_of
from regimeflow.venues.loop_thread import LoopThread


async def _thread_name() -> str:
    return threading.current_thread().name


async def _for_ever(began: threading.Event, ended: threading.Event) -> None:
    began.set()
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()


def test_work_is_done_on_its_own_thread_also_inside_a_running_loop() -> None:
    async def cell() -> str:
        thread = LoopThread("venue")
        try:
            return thread.run(_thread_name(), timeout_s=5.0)
        finally:
            thread.stop()

    assert asyncio.run(cell()) == "venue"


def test_what_takes_too_long_is_canceled_and_nothing_is_known() -> None:
    thread, began, ended = LoopThread("venue"), threading.Event(), threading.Event()
    with pytest.raises(VenueError, match=r"no answer in 0\.05 s"):
        thread.run(_for_ever(began, ended), timeout_s=0.05)
    assert ended.wait(5.0)
    thread.stop()


def test_its_own_errors_come_through_even_a_timeout_of_the_work() -> None:
    async def fails() -> None:
        raise TimeoutError("mine")

    thread = LoopThread("venue")
    with pytest.raises(TimeoutError, match="mine"):
        thread.run(fails(), timeout_s=5.0)
    thread.stop()


def test_stop_cancels_what_runs_and_later_work_is_refused() -> None:
    thread, began, ended = LoopThread("venue"), threading.Event(), threading.Event()
    asyncio.run_coroutine_threadsafe(_for_ever(began, ended), thread.loop)
    assert began.wait(5.0)
    thread.stop()
    assert ended.is_set()
    assert thread.loop.is_closed()
    with pytest.raises(VenueError, match="closed"):
        thread.run(_thread_name(), timeout_s=1.0)
    thread.soon(print)
    thread.stop()


def test_its_own_thread_does_not_wait_for_itself() -> None:
    thread = LoopThread("venue")

    async def waits() -> None:
        thread.run(_thread_name(), timeout_s=1.0)

    with pytest.raises(RuntimeError, match="wait for itself"):
        thread.run(waits(), timeout_s=5.0)
    thread.stop()


def test_a_patched_asyncio_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "_nest_patched", True, raising=False)
    with pytest.warns(RuntimeWarning, match="nest_asyncio"):
        thread = LoopThread("venue")
    assert thread.run(_thread_name(), timeout_s=5.0) == "venue"
    thread.stop()


def test_a_missing_client_names_the_command() -> None:
    with pytest.raises(MissingExtra, match=r'pip install "regimeflow-jupyter\[moon\]"'):
        require("moonshot_client", extra="moon", venue="Moonshot")


def test_keys_come_from_the_argument_then_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setenv("ALPACA_API_KEY", "PKENV")
    monkeypatch.delenv("ALPACA_API_SECRET", raising=False)
    assert secrets_of("alpaca", api_key="PKARG") == {"api_key": Secret("PKARG")}
    assert secrets_of("alpaca", api_key=None) == {"api_key": Secret("PKENV")}
    with pytest.raises(ConfigError, match="ALPACA_API_SECRET"):
        needed("alpaca", api_key=None, secret_key=None)
