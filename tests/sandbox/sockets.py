"""A venue, a session in a process of its own, and what is found when both have ended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from regimeflow.sandbox.checker import Violation, check
from regimeflow.sandbox.process import VenueProcess

CHILD = Path(__file__).with_name("child.py")
PATIENCE_S = 90.0
#: A session that hangs is ended, so that whoever reads what it says sees its end.
LONGEST_S = 280.0


class Child:
    """A session's process."""

    def __init__(
        self, port: int, run_dir: Path, timeout_ms: float = 400.0, script: Path = CHILD
    ) -> None:
        self.run_dir = run_dir
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(port), str(run_dir), str(timeout_ms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "REGIMEFLOW_CHILD": "1"},
        )
        self._watch = threading.Timer(LONGEST_S, self.process.kill)
        self._watch.daemon = True
        self._watch.start()

    def wait_for(self, word: str, count: int = 1) -> None:
        """Read until a line has come so many times."""
        assert self.process.stdout is not None
        while count:
            line = self.process.stdout.readline()
            assert line, f"the session ended before it said {word!r} (code {self.process.wait()})"
            count -= line.startswith(word.encode())

    def tell(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(words.encode() + b"\n")
        self.process.stdin.flush()
        self.wait_for(f"done {words.split(maxsplit=1)[0]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    def kill(self) -> None:
        self.process.kill()
        self._reap()

    def stop(self) -> None:
        self.tell("stop")
        assert self._reap() == 0

    def _reap(self) -> int:
        code = self.process.wait(PATIENCE_S)
        self._watch.cancel()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return code


def await_(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until a file of another process shows something."""
    until = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < until, f"{what} did not come"
        time.sleep(0.01)  # a file cannot be waited for


def found(venue: VenueProcess, run_dir: Path, **how: Any) -> list[Violation]:
    return check(venue.ledger, run_dir, **how)
