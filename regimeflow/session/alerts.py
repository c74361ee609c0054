"""Telling somebody that a session is not as it should be."""

from __future__ import annotations

import inspect
import json
import queue
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from regimeflow.errors import ConfigError
from regimeflow.model.events import Input, Output
from regimeflow.model.timeframe import iso
from regimeflow.session.decisions import Decision, Decisions, not_begun

#: Called with a machine's reason, such as "feed", and a sentence for a human.
Alert = Callable[[str, str], object]

_BAD = frozenset({"Error", "RiskLimitBreached"})
#: A denied order is the limits at work, not a fault; a trading state says so when it is one.
_QUIET = frozenset({"denied", "dry_run"})
_WAITING = 1_000
_TIMEOUT_S = 10.0
_SLOW = "alerts were left out: they came faster than they were taken"


def _takes_both(alert: Alert) -> bool:
    try:
        inspect.signature(alert).bind("reason", "sentence")
    except TypeError:
        return False
    except ValueError:  # it does not say
        return True
    return True


class Alerts:
    """A companion that passes on every degraded state, from a thread of its own.

    Whoever is told may be slow or fail: the session does not wait for them, and what they raise is
    kept in `failure` and told nobody else.

    Args:
        alert: called with reason and sentence, or the address of a webhook, which is sent both as
            JSON with the name of the run and the time.
        redact: takes secrets out of text.
        patience_s: how long the end waits for alerts that were not taken yet.

    Raises:
        ConfigError: it is neither, or takes something else.
    """

    def __init__(
        self,
        alert: Alert | str,
        redact: Callable[[str], str] | None = None,
        patience_s: float = _TIMEOUT_S,
    ) -> None:
        if isinstance(alert, str):
            if urlsplit(alert).scheme not in ("http", "https"):
                raise ConfigError("alert= must be a callable, or an http or https address")
        elif not callable(alert):
            raise ConfigError(f"alert= must be a callable or an address, not {alert!r}")
        elif not _takes_both(alert):
            raise ConfigError("alert= is called with two texts, a reason and a sentence")
        self._alert = alert
        self._patience_s = patience_s
        self._redact = redact or (lambda text: text)
        self._decisions = Decisions()
        self._queue: queue.Queue[Decision | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self.failure = ""
        self.told = 0

    def begin(self) -> None:
        """Tell from now on: what a resumed run lived through before was told then."""
        self._thread = threading.Thread(target=self._go, name="regimeflow-alerts", daemon=True)
        self._thread.start()

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Look at what an event decided; on the engine's thread."""
        for entry in self._decisions.take(event, outputs):
            if self._thread is None or entry.type not in _BAD or entry.what in _QUIET:
                continue
            try:
                self._queue.put_nowait(entry)
            except queue.Full:
                self.failure = _SLOW

    def not_begun(self, run: str, why: str) -> None:
        """Tell why a run has not begun."""
        self._decisions.run = run
        self._put(not_begun(time.time_ns(), why))

    def say(self, reason: str, text: str) -> None:
        """Pass on what no event tells, from any thread."""
        self._put(Decision(time.time_ns(), 0, 0, "Error", reason, text, {}))

    def _put(self, entry: Decision) -> None:
        if self._thread is None:
            return
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self.failure = _SLOW

    def close(self) -> None:
        """Tell what still waits, and end; whoever takes too long is not waited for."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            self._queue.put(None, timeout=self._patience_s)
        except queue.Full:
            self.failure = _SLOW
            return
        thread.join(self._patience_s)
        if thread.is_alive():
            self.failure = _SLOW

    def _go(self) -> None:
        while (entry := self._queue.get()) is not None:
            try:
                self._tell(entry)
                self.told += 1
            except Exception as error:
                self.failure = f"an alert failed: {type(error).__name__}"

    def _tell(self, entry: Decision) -> None:
        text = self._redact(entry.details)
        if not isinstance(self._alert, str):
            self._alert(entry.what, text)
            return
        told = {
            "run": self._decisions.run,
            "time": iso(entry.at),
            "reason": entry.what,
            "text": text,
        }
        request = urllib.request.Request(
            self._alert,
            json.dumps(told).encode(),
            {"Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
            pass
