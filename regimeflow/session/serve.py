"""The answering side of a session that others may look at and steer: `control` from within."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from regimeflow.errors import SessionError
from regimeflow.session import control
from regimeflow.session.control import (
    MAX_REQUEST_BYTES,
    PAGE,
    Answer,
    AskFills,
    AskManifest,
    AskStatus,
    AskUpgrade,
    Goodbye,
    Hello,
    Lease,
    Look,
    Ping,
    Request,
    Seen,
    Steer,
    Wait,
    encode,
)
from regimeflow.session.decisions import KERNEL_LOSS
from regimeflow.session.in_process import InProcess
from regimeflow.session.spec import OnKernelLoss

#: How long a new session waits for the one who started it to take its lease.
_CLAIM_S = 30.0
_MAX_CONNECTIONS = 64
_TOO_MANY = (
    f"too many connections: {_MAX_CONNECTIONS} are open to this session. Close handles on it that "
    "are not needed"
)
_LAST_WORDS_S = 2.0


class Server:
    """Answers on a session's socket, on a thread of its own.

    Invariants: the policy for a lost controller is obeyed once for each loss, and only when the
    last lease has ended without a goodbye; what it holds back, a new lease lifts, but nothing that
    a human has ordered.

    Args:
        worker: the session's work, running.
        run_dir: of the session.
        on_loss: what to do without a controller; None where this process controls itself.
    """

    def __init__(self, worker: InProcess, run_dir: Path, on_loss: OnKernelLoss | None) -> None:
        self._worker = worker
        self._run_dir = run_dir
        self._on_loss = on_loss
        self._path = control.socket_path(run_dir)
        self._leases = 0
        # A run that is taken up may have lost its controller in its earlier life.
        self._lost = worker.taken_up
        self._claimed = on_loss is None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        #: Those who tell others of the end.
        self.telling: set[asyncio.Task[None]] = set()
        self._fds: set[int] = set()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="regimeflow-control", daemon=True)

    def open(self) -> None:
        """Answer from now on.

        Raises:
            SessionError: the socket cannot be made.
        """
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise SessionError(f"cannot open the session's socket: {self._error}")

    def close(self) -> None:
        """Answer no more; who waits for the end has been told."""
        with contextlib.suppress(RuntimeError):  # its loop is closed already
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    # ------------------------------------------------------------ the loop

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing, self._over = asyncio.Event(), asyncio.Event()
        listener = self._listen()
        self._fds.add(listener.fileno())
        server = await asyncio.start_unix_server(
            self._visit, sock=listener, limit=MAX_REQUEST_BYTES
        )
        _servers[id(self)] = self
        try:
            control.write_whereabouts(self._run_dir, self._path)
            self._worker.when_over(self._tell_over)
            if self._worker.ended(0.0):
                self._over.set()
            if not self._claimed:
                self._loop.call_later(_CLAIM_S, self._unclaimed)
            self._ready.set()
            await self._closing.wait()
        finally:
            server.close()
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            if self.telling:
                await asyncio.wait(self.telling, timeout=_LAST_WORDS_S)
            # Closed and not canceled: asyncio of Python 3.11 complains of a visit that was.
            for writer in list(self._writers):
                writer.close()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_LAST_WORDS_S)
            _servers.pop(id(self), None)

    def _listen(self) -> socket.socket:
        # Whoever owns the run directory owns its socket: one that is there was left by the dead.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(self._path)
            os.chmod(self._path, 0o600)
        except OSError:
            listener.close()
            raise
        return listener

    def _tell_over(self) -> None:
        with contextlib.suppress(RuntimeError):  # its loop is closed already
            self._loop.call_soon_threadsafe(self._over.set)

    def forget(self) -> None:
        """Close the sockets after a fork: a child that keeps one would hide our end."""
        for fd in self._fds:
            with contextlib.suppress(OSError):
                os.close(fd)

    # ------------------------------------------------------------ one connection

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        uid = control.peer_uid(writer.get_extra_info("socket"))
        if uid not in (None, os.getuid()):
            writer.close()
            return
        if len(self._tasks) >= _MAX_CONNECTIONS:
            writer.write(encode(Answer(_TOO_MANY)) + b"\n")
            writer.close()
            return
        fd = writer.get_extra_info("socket").fileno()
        self._tasks.add(task)
        self._fds.add(fd)
        self._writers.add(writer)
        visit = _Visit(self, writer)
        try:
            await visit.answer_all(reader)
        except (ConnectionError, OSError):
            pass  # gone in the middle of a word
        finally:
            self._tasks.discard(task)
            self._fds.discard(fd)
            self._writers.discard(writer)
            visit.end()
            writer.close()

    def leased(self) -> None:
        """Somebody controls the session; what a loss held back is free again."""
        self._leases += 1
        self._claimed = True
        if self._lost:
            self._lost = False
            self._worker.command("unpause", "a controller is there again", KERNEL_LOSS)

    def unleased(self, on_purpose: bool) -> None:
        """A lease has ended; with the last one the policy is obeyed, unless it was on purpose."""
        self._leases -= 1
        if not self._leases and not on_purpose and not self._worker.ended(0.0):
            self._obey()

    def _unclaimed(self) -> None:
        if not self._claimed and not self._worker.ended(0.0):
            self._obey()

    def _obey(self) -> None:
        policy = self._on_loss
        if policy is None:
            return
        why = f"the controlling process is gone: on_kernel_loss is {policy!r}"
        for name in _POLICIES[policy]:
            self._lost = True
            self._worker.command(name, why, KERNEL_LOSS)

    async def over(self) -> None:
        """Wait for the session's end."""
        await self._over.wait()

    def answer(self, request: Request) -> Any:
        """Return the answer to what is answered at once."""
        worker = self._worker
        if isinstance(request, Hello):
            return worker.asked()
        if isinstance(request, AskManifest):
            return worker.manifest()
        if isinstance(request, AskStatus):
            return worker.status()
        if isinstance(request, Look):
            return Seen(*worker.look())
        if isinstance(request, AskFills):
            return worker.companion_fills(request.of)[request.since :][:PAGE]
        if isinstance(request, AskUpgrade):
            if worker.ended(0.0):
                raise SessionError("the session has ended: there is nothing to upgrade")
            worker.upgrade(request.wish)
        if isinstance(request, Steer):
            if request.who == KERNEL_LOSS:
                raise SessionError(f"{KERNEL_LOSS!r} is not somebody who gives commands")
            if worker.ended(0.0):
                raise SessionError(f"the session has ended: there is nothing to {request.name}")
            worker.command(request.name, request.why, request.who)
        return None


class _Visit:
    """One connection: its requests in order, and what it holds."""

    def __init__(self, server: Server, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._writer = writer
        self._leased = False
        self._waiting: asyncio.Task[None] | None = None

    async def answer_all(self, reader: asyncio.StreamReader) -> None:
        """Answer line after line, until the other side has gone."""
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                await self._write(Answer("the request is too long"))
                return
            if not line.endswith(b"\n"):
                return
            try:
                request = control.read_request(line)
                answer = self._take(request)
            except Exception as error:
                await self._write(Answer(str(error) or type(error).__name__))
                continue
            if answer is not None:
                await self._write(answer)

    def _take(self, request: Request) -> Answer | None:
        if isinstance(request, Wait):
            if self._waiting is None:
                self._waiting = asyncio.create_task(self._tell_end())
                self._server.telling.add(self._waiting)
                self._waiting.add_done_callback(self._server.telling.discard)
            return None
        if isinstance(request, Lease):
            if not self._leased:
                self._leased = True
                self._server.leased()
            return Answer()
        if isinstance(request, Goodbye) and self._leased:
            self._leased = False
            self._server.unleased(on_purpose=True)
        if isinstance(request, Ping | Goodbye):
            return Answer()
        return Answer(body=_raw(self._server.answer(request)))

    async def _tell_end(self) -> None:
        await self._server.over()
        with contextlib.suppress(ConnectionError, OSError):
            await self._write(Answer(body=_raw(self._server.answer(AskStatus()))))
            self._writer.close()

    async def _write(self, answer: Answer) -> None:
        self._writer.write(encode(answer) + b"\n")
        async with asyncio.timeout(control.PATIENCE_S):
            await self._writer.drain()

    def end(self) -> None:
        """The connection is over."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._leased:
            self._leased = False
            self._server.unleased(on_purpose=False)


@contextlib.contextmanager
def served(
    worker: InProcess, run_dir: Path, on_loss: OnKernelLoss | None = None
) -> Iterator[Server]:
    """Let others look at a running session and steer it."""
    server = Server(worker, run_dir, on_loss)
    server.open()
    try:
        yield server
    finally:
        server.close()


#: What a lost controller leads to; "cancel" lets no entry leave until there is one again.
_POLICIES: dict[OnKernelLoss, tuple[str, ...]] = {
    "continue": (),
    "pause": ("pause",),
    "cancel": ("pause", "cancel_all"),
    "flatten": ("flatten",),
}
_servers: dict[int, Server] = {}


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(encode(value))


def _forget_after_fork() -> None:
    for server in list(_servers.values()):
        server.forget()
    _servers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
