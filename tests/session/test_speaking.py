"""What a handle on a session elsewhere does when its process is slow, hangs up, or says much."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator

import msgspec
import pytest

import regimeflow as rf
from regimeflow.journal import JournalWriter
from regimeflow.model.events import Fill, Start
from regimeflow.session import control
from regimeflow.session.companions import Account
from regimeflow.session.detached import Detached
from regimeflow.session.freeze import Manifest
from regimeflow.session.serve import served
from regimeflow.session.status import Status

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="detached sessions need Unix")

START = Start(1, 1, "r", 0, ("A",), (0,), 1e6)
NOBODY = Account(0, 1e6, 1e6, 0.0, {}, 0)
STATUS = Status("r", "S", "v", "running", "active", "", 7, 9, NOBODY, NOBODY, NOBODY, 0, "")


class Host:
    """Answers as a session's process does; of what is put into `late`, only when it is told to.

    Attributes:
        late: kinds of request whose answers wait for `go`.
        commands: what was ordered.
    """

    def __init__(self, run_dir, path):
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        control.write_whereabouts(run_dir, path)
        self.late: set[type] = set()
        self.go = threading.Event()
        self.commands: queue.Queue[str] = queue.Queue()
        self.connections: list[socket.socket] = []
        self.waiting: list[socket.socket] = []
        self.journal = JournalWriter(run_dir, "r", sync=False)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        try:
            while True:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._visit, args=(connection,), daemon=True).start()
        except OSError:
            pass  # closed

    def _visit(self, connection):
        try:
            for line in connection.makefile("rb"):
                request = control.read_request(line)
                if type(request) in self.late:
                    self.go.wait()
                if isinstance(request, control.Wait):
                    self.waiting.append(connection)
                else:
                    connection.sendall(said(self.answer(request)))
        except OSError:
            pass  # the other side has gone

    def answer(self, request):
        if isinstance(request, control.Hello):
            return START
        if isinstance(request, control.AskStatus):
            return STATUS
        if isinstance(request, control.AskManifest):
            return Manifest(run="late")
        if isinstance(request, control.Look):
            self.journal.flush(sync=False)
            return control.Seen(STATUS, self.journal.position)
        if isinstance(request, control.AskFills):
            return [fill(3)]
        if isinstance(request, control.Steer):
            self.commands.put(request.name)
        return None

    def end(self):
        """Say to all who wait that it is over."""
        for connection in self.waiting:
            connection.sendall(said(msgspec.structs.replace(STATUS, phase="stopped")))

    def write(self, event):
        self.journal.record(event, ())

    def drop(self, waiting=False):
        """Hang up on those who ask; also on those who wait for the end."""
        for connection in self.connections:
            if waiting or connection not in self.waiting:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.close()
        self.journal.close()


def fill(number) -> Fill:
    return Fill(number + 1, number + 1, f"f{number}", "x", "A", "buy", 1.0, 9.0, 0.0)


def said(body) -> bytes:
    return control.encode(control.Answer(body=msgspec.Raw(control.encode(body)))) + b"\n"


@pytest.fixture
def host(tmp_path) -> Iterator[Host]:
    with tempfile.TemporaryDirectory() as place:  # a socket's path is short
        host = Host(tmp_path, f"{place}/s")
        yield host
        host.go.set()
        host.drop(waiting=True)
        host.close()


@pytest.fixture
def handle(host, tmp_path) -> Iterator[Detached]:
    handle = Detached(tmp_path)
    yield handle
    handle.forget()


def test_an_answer_that_comes_too_late_is_not_taken_for_that_of_the_next_question(
    host, handle, monkeypatch
):
    host.late.add(control.AskManifest)
    with monkeypatch.context() as impatient:
        impatient.setattr(control, "PATIENCE_S", 0.02)
        with pytest.raises(rf.SessionError, match="did not answer within"):
            handle.manifest()
    host.go.set()
    assert handle.asked() == START
    assert handle.manifest().run == "late"


def test_a_connection_that_is_dropped_is_made_anew(host, handle, tmp_path):
    host.write(START)
    host.write(fill(1))
    assert len(handle.history().fold.fills) == 1
    host.drop()
    assert len(handle.history().fold.fills) == 1
    host.write(fill(2))
    assert len(handle.history().fold.fills) == 2
    host.drop()
    assert handle.status() == STATUS
    host.drop()
    assert handle.companion_fills("twin") == [fill(3)]


def test_a_process_that_is_gone_is_no_session_that_has_hung_up(host, handle, tmp_path):
    host.write(START)
    host.write(fill(1))
    host.journal.close()
    host.close()
    host.drop(waiting=True)
    assert handle.status().phase == "failed"
    assert len(handle.history().fold.fills) == 1
    assert handle.look()[1] is None


def test_a_command_does_not_queue_behind_somebody_who_waits_for_the_end(host, handle):
    waits, over = threading.Event(), []

    def wait():
        waits.set()
        over.append(handle.ended(30.0))

    waiting = threading.Thread(target=wait)
    waiting.start()
    waits.wait()
    while not handle._hearing.locked():
        waiting.join(0.001)
    handle.command("halt", "now", "test")
    assert handle.status() == STATUS
    assert not handle.ended(0.0)
    assert host.commands.get_nowait() == "halt"
    assert waiting.is_alive()
    host.end()
    waiting.join()
    assert over == [True]
    assert handle.status().phase == "stopped"


def test_a_process_with_many_open_files_is_answered(host, handle, tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2_048, before[1]))
    opened = []
    try:
        while not opened or opened[-1] < 1_024:
            opened.append(os.open(os.devnull, os.O_RDONLY))
        other = Detached(tmp_path)
        assert other.status() == STATUS
        assert not other.ended(0.0)
        other.forget()
    finally:
        for fd in opened:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_one_connection_too_many_is_told_so(tmp_path):
    venue = rf.venues.Simulated(rf.datasets.synthetic(n=50))
    worker = rf.LiveSession(lambda ctx, bar: None, venue, run_dir=tmp_path).worker
    with served(worker, tmp_path), contextlib.ExitStack() as opened:
        path = control.read_whereabouts(tmp_path).socket
        for _ in range(64):
            channel = opened.enter_context(contextlib.closing(control.Channel(path)))
            channel.ask(control.Ping(), control.NOTHING)
        late = opened.enter_context(contextlib.closing(control.Channel(path)))
        with pytest.raises(control.Declined, match="too many connections"):
            late.ask(control.Ping(), control.NOTHING)
        slow = opened.enter_context(contextlib.closing(control.Channel(path)))
        while slow._arrivals.poll(100) == []:
            pass  # it hangs up before it is asked
        with pytest.raises(control.Declined, match="too many connections"):
            slow.ask(control.Ping(), control.NOTHING)
