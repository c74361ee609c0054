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
from collections.abc import Callable, Iterator
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
#: A process that a signal ends exits with this and the signal's number, as shells say it.
_ENDED_BY = 128


class Signals:
    """What signals mean to a session that a process lives for.

    The first to terminate, interrupt or hang up stops it cleanly, the second at once: the journal
    holds everything that was sent, and the exit code names the signal. SIGUSR1 is the kill switch.

    Args:
        worker: the session's work.
        attended: whether somebody sits at the process's terminal: an interrupt is his, and the
            terminal's end is the session's. Else there is none, and nothing to hang up.
        last_words: called before it ends at once.
    """

    def __init__(
        self,
        worker: InProcess,
        *,
        attended: bool = False,
        last_words: Callable[[], object] = bool,
    ) -> None:
        self._worker = worker
        self._attended = attended
        self._last_words = last_words
        self._asked = 0
        #: Where a strategy's own output goes, while the terminal is there.
        self._terminals = [fd for fd in (1, 2) if attended and os.isatty(fd)]

    def listen(self) -> dict[int, Any]:
        """Obey from now on; from the main thread. Return what was done before, by signal."""
        before: dict[int, Any] = {}
        for name, handler in (
            ("SIGTERM", self._stop),
            ("SIGINT", self._stop),
            ("SIGHUP", self._hang_up if self._attended else signal.SIG_IGN),
            ("SIGUSR1", self._halt),
        ):
            number = getattr(signal, name, None)  # Windows has two of them
            # Whoever began us with `nohup` wants the end of the terminal to mean nothing.
            if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                continue
            before[number] = signal.signal(number, handler)
        return before

    @contextlib.contextmanager
    def obeyed(self) -> Iterator[None]:
        """Obey for a while, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = self.listen()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hang_up(self, number: int, frame: Any) -> None:
        """Stop; printing from now on must not fail, as it does where the terminal is gone."""
        nothing = os.open(os.devnull, os.O_WRONLY)
        for fd in self._terminals:
            os.dup2(nothing, fd)
        os.close(nothing)
        self._stop(number, frame)

    def _stop(self, number: int, frame: Any) -> None:
        self._asked += 1
        if self._asked > 1:
            try:
                if self._asked == 2:  # a third one waits for no disk
                    self._worker.flush()
                    self._last_words()
            finally:
                os._exit(_ENDED_BY + number)
        if self._attended and number == signal.SIGINT:
            self._worker.command("stop", "interrupted", "user")
        else:
            self._worker.command("stop", signal.Signals(number).name, "signal")

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

    The process that calls this is the session's controller: nobody else's end is a loss.
    """
    worker = session._worker
    if sys.platform == "win32" or not isinstance(worker, InProcess):
        yield
        return
    with served(worker, session.run_dir):
        yield


@contextlib.contextmanager
def steered_by_signals(session: LiveSession, last_words: Callable[[], object]) -> Iterator[None]:
    """Obey signals for a session of this process, which somebody watches; begun or about to be.

    Args:
        last_words: called where a second signal ends the process at once.
    """
    worker = session._worker
    if isinstance(worker, InProcess):
        with Signals(worker, attended=True, last_words=last_words).obeyed():
            yield
    else:
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
