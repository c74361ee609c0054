"""The process of a detached session: ``python -m regimeflow.session.host``.

`detached.launch` starts it with a pipe on its standard input, which carries what the session is
made of, and another one, into which it says whether it runs.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from regimeflow.redaction import Redactor
from regimeflow.session.detached import Started
from regimeflow.session.in_process import InProcess
from regimeflow.session.serve import served
from regimeflow.session.spec import unpack

if TYPE_CHECKING:
    from regimeflow.session.live import LiveSession

#: How long the main thread waits at a time; signals are answered in between at once.
_SLICE_S = 1.0
STOPPED_AT_ONCE = 130


class Signals:
    """What signals mean to a session that a process lives for.

    The first to terminate or interrupt stops it cleanly, the second at once: the journal holds
    everything that was sent. SIGUSR1 is the kill switch.

    Args:
        worker: the session's work.
    """

    def __init__(self, worker: InProcess) -> None:
        self._worker = worker
        self._asked = False

    def listen(self) -> None:
        """Obey from now on; from the main thread."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGUSR1, self._halt)

    @contextlib.contextmanager
    def kill_switch(self) -> Iterator[None]:
        """Obey SIGUSR1 for a while, and leave the other signals to whoever has them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGUSR1, self._halt)
        try:
            yield
        finally:
            signal.signal(signal.SIGUSR1, before)

    def _stop(self, number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        if self._asked:
            try:
                self._worker.flush()
            finally:
                os._exit(STOPPED_AT_ONCE)
        self._asked = True
        self._worker.command("stop", name, "signal")

    def _halt(self, number: int, frame: Any) -> None:
        self._worker.command("halt", signal.Signals(number).name, "signal")


def main(tell: int) -> int:
    """Run a session to its end; return the exit code.

    Args:
        tell: descriptor of the pipe to whoever started this process.
    """
    redactor = Redactor()
    with os.fdopen(tell, "wb") as told, contextlib.ExitStack() as held:
        try:
            worker = _begun(redactor, held)
        except BaseException as error:
            said = Started(type(error).__name__, redactor.text(str(error)))
            told.write(msgspec.json.encode(said))
            traceback.print_exc()
            return 1
        told.write(msgspec.json.encode(Started()))
        told.close()
        while not worker.ended(_SLICE_S):
            pass
    return 0 if worker.broken_by() is None else 1


def _begun(redactor: Redactor, held: contextlib.ExitStack) -> InProcess:
    """Return the work, running and answering; ``held`` closes what that takes."""
    spec = unpack(_given(), redactor)
    redactor.guard()
    worker = InProcess(spec)
    # What was loaded so far stays: the collector need not walk over it while a request waits.
    gc.collect()
    gc.freeze()
    worker.start()
    gc.freeze()  # and what an earlier life has left
    Signals(worker).listen()
    try:
        held.enter_context(served(worker, spec.run_dir, spec.on_kernel_loss))
    except BaseException:
        # What cannot be steered does not trade.
        worker.command("stop", "its socket cannot be opened", "host")
        worker.ended(spec.wish.intervals.stop_ms / 1e3 + 1.0)
        raise
    return worker


@contextlib.contextmanager
def open_to_others(session: LiveSession) -> Iterator[None]:
    """Let other processes look at a session of this one and steer it, while it runs.

    The process that calls this is the session's controller: nobody else's end is a loss. SIGUSR1
    halts the session meanwhile, where this is the main thread.
    """
    worker = session._worker
    if sys.platform == "win32" or not isinstance(worker, InProcess):
        yield
        return
    with served(worker, session.run_dir), Signals(worker).kill_switch():
        yield


def _given() -> bytes:
    """Return all of standard input, and leave nothing there to be read by a strategy."""
    packed = sys.stdin.buffer.read()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return packed


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
