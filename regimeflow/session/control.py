"""How a session in another process is spoken to: a Unix socket, one JSON object a line.

The socket lies in a directory that only its owner can enter, and both sides look at whose process
the other is. Where it is stands in ``host.json`` in the run directory. A request that is not
decoded by its type, or is too long, is refused; nothing that arrives is ever executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import stat
import struct
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from regimeflow.errors import SessionError
from regimeflow.journal import Position
from regimeflow.model.events import Fill
from regimeflow.session.run_dir import write_private
from regimeflow.session.status import Status
from regimeflow.session.upgrade import UpgradeWish

HOST_NAME = "host.json"
#: Longer requests and answers are refused.
MAX_REQUEST_BYTES = 64 << 10
MAX_ANSWER_BYTES = 64 << 20
#: Executions in one answer.
PAGE = 1_000
#: How long the other side may take for what takes it a moment.
PATIENCE_S = 30.0
#: Systems cut longer socket paths off, or refuse them: 104 bytes on macOS, 108 on Linux.
_MAX_PATH_BYTES = 100

Steering = Literal["halt", "pause", "resume", "flatten", "stop", "cancel_all", "adopt"]


class Ping(msgspec.Struct, frozen=True, tag="ping", forbid_unknown_fields=True):
    """Are you there?"""


class Hello(msgspec.Struct, frozen=True, tag="hello", forbid_unknown_fields=True):
    """What runs here? Answered by the `Start` of the session, with the strategy last asked for."""


class AskStatus(msgspec.Struct, frozen=True, tag="status", forbid_unknown_fields=True):
    """What does the session look like? Answered by `Status`."""


class Steer(msgspec.Struct, frozen=True, tag="command", forbid_unknown_fields=True):
    """Pass a command to the engine."""

    name: Steering
    why: str = ""
    who: str = "user"


class AskManifest(msgspec.Struct, frozen=True, tag="manifest", forbid_unknown_fields=True):
    """What was last asked to run? Answered by a `Manifest`."""


class AskUpgrade(msgspec.Struct, frozen=True, tag="upgrade", forbid_unknown_fields=True):
    """Let a strategy that lies in the run directory take over."""

    wish: UpgradeWish


class Look(msgspec.Struct, frozen=True, tag="look", forbid_unknown_fields=True):
    """Have everything in the journal's files. Answered by `Seen`."""


class AskFills(msgspec.Struct, frozen=True, tag="fills", forbid_unknown_fields=True):
    """What have shadow or twin executed? Answered by at most `PAGE` of them."""

    of: Literal["shadow", "twin"]
    since: int = 0


class Lease(msgspec.Struct, frozen=True, tag="lease", forbid_unknown_fields=True):
    """I control the session for as long as this connection lasts."""


class Wait(msgspec.Struct, frozen=True, tag="wait", forbid_unknown_fields=True):
    """Tell me when it is over. Answered by the last `Status`, then."""


class Goodbye(msgspec.Struct, frozen=True, tag="goodbye", forbid_unknown_fields=True):
    """I give up my lease on purpose: the session goes on without me."""


Request = (
    Ping
    | Hello
    | AskStatus
    | AskManifest
    | AskUpgrade
    | Steer
    | Look
    | AskFills
    | Lease
    | Wait
    | Goodbye
)


class Answer(msgspec.Struct, frozen=True):
    """What a request is answered by.

    Attributes:
        error: why it was refused, or "".
        body: of the type that the request's kind says.
    """

    error: str = ""
    body: msgspec.Raw = msgspec.Raw(b"null")


class Seen(msgspec.Struct, frozen=True):
    """What there is to see: both at once, since each question costs the session time to trade in.

    Attributes:
        status: what the session looks like.
        until: up to where the journal is in its files, None after the end.
    """

    status: Status
    until: Position | None


class Whereabouts(msgspec.Struct, frozen=True):
    """Where a session's process can be reached.

    Attributes:
        pid: of the process.
        started: when, UTC nanoseconds.
        socket: path of its socket.
    """

    pid: int
    started: int
    socket: str


_decode_request: Callable[[bytes], Request] = msgspec.json.Decoder(Request).decode
_decode_answer: Callable[[bytes], Answer] = msgspec.json.Decoder(Answer).decode
encode = msgspec.json.Encoder().encode


def read_request(line: bytes) -> Request:
    """Return a request.

    Raises:
        SessionError: it is none.
    """
    try:
        return _decode_request(line)
    except msgspec.MsgspecError as error:
        raise SessionError(f"not a request: {error}") from error


# ---------------------------------------------------------------- places


def socket_path(run_dir: Path) -> str:
    """Return where the socket of a run is, in a directory of the user's own.

    Raises:
        SessionError: somebody else owns what should be that directory, or may enter it.
    """
    name = hashlib.sha256(os.fsencode(run_dir.resolve())).hexdigest()[:16]
    for root in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        if root and os.path.isdir(root) and os.access(root, os.W_OK | os.X_OK):
            path = os.path.join(root, f"regimeflow-{os.getuid()}", f"{name}.sock")
            if len(os.fsencode(path)) <= _MAX_PATH_BYTES:
                _own_directory(os.path.dirname(path))
                return path
    raise SessionError("there is no directory for a socket: set TMPDIR to a short path")


def _own_directory(path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise SessionError(
            f"{path} must be a directory that only you can enter: remove it, or set TMPDIR"
        )


def write_whereabouts(run_dir: Path, path: str) -> None:
    """Note in the run directory where this process can be reached."""
    here = Whereabouts(os.getpid(), time.time_ns(), path)
    write_private(run_dir / HOST_NAME, encode(here))


def read_whereabouts(run_dir: Path) -> Whereabouts | None:
    """Return what the run directory says, or None.

    Raises:
        SessionError: it cannot be trusted, or is not what we write.
    """
    path = run_dir / HOST_NAME
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SessionError(f"cannot read {path}: {error.strerror}") from error
    with os.fdopen(fd, "rb") as file:
        info = os.fstat(file.fileno())
        text = file.read(MAX_REQUEST_BYTES)
    if info.st_uid != os.getuid() or info.st_mode & 0o022:
        raise SessionError(f"{path} can be written by others: it is not believed")
    try:
        return msgspec.json.decode(text, type=Whereabouts)
    except msgspec.MsgspecError as error:
        raise SessionError(f"{path} does not say where the session is: {error}") from error


def peer_uid(connection: Any) -> int | None:
    """Return whose process the other side is, None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None  # the directory keeps others out
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, size))
    return int(uid)


# ---------------------------------------------------------------- the asking side


class Gone(SessionError):
    """Nobody is at the other end (any more)."""


class Declined(SessionError):
    """The session has answered, and said no."""


class Channel:
    """A connection to a session's process.

    Raises:
        Gone: there is no such process.
    """

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._rest = b""
        _channels.add(self)
        try:
            self._socket.settimeout(PATIENCE_S)
            self._socket.connect(path)
            # select() takes no descriptor beyond 1023.
            self._arrivals = select.poll()
            self._arrivals.register(self._socket, select.POLLIN)
            uid = peer_uid(self._socket)
        except OSError as error:
            self.close()
            raise Gone(f"no session answers at {path}: {error.strerror or error}") from error
        if uid is not None and uid != os.getuid():
            self.close()
            raise SessionError(f"{path} belongs to another user's process")

    def close(self) -> None:
        """Give it up; the other side notices."""
        self._socket.close()

    def __del__(self) -> None:
        self.close()

    def ask(self, request: Request, kind: Any) -> Any:
        """Return the answer to a request, decoded as ``kind``.

        Raises:
            Gone: the process is no more.
            Declined: it refused.
            SessionError: it did not answer in time, or not as agreed. The connection is of no use
                then: what comes next may be the answer to this request.
        """
        try:
            self.send(request)
        except Gone:
            self.receive(0.0, kind)  # it may have said why it hung up
            raise
        answer = self.receive(PATIENCE_S, kind)
        if answer is None:
            raise SessionError(f"the session did not answer within {PATIENCE_S:g} s")
        return answer[0]

    def send(self, request: Request) -> None:
        """Send a request."""
        try:
            self._socket.sendall(encode(request) + b"\n")
        except OSError as error:
            raise Gone(f"the session's process is gone: {error.strerror or error}") from error

    def receive(self, timeout_s: float, kind: Any) -> tuple[Any] | None:
        """Return the next answer, or None if it does not come in time."""
        until = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            left_s = max(0.0, until - time.monotonic())
            if not self._arrivals.poll(left_s * 1_000.0):
                return None
            try:
                data = self._socket.recv(1 << 20)
            except OSError as error:
                raise Gone(f"the session's process is gone: {error.strerror or error}") from error
            if not data:
                raise Gone("the session's process is gone")
            self._rest += data
            if len(self._rest) > MAX_ANSWER_BYTES:
                raise SessionError("the session's answer is too long")
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            answer = _decode_answer(line)
            if answer.error:
                raise Declined(answer.error)
            return (msgspec.json.decode(answer.body, type=kind),)
        except msgspec.MsgspecError as error:
            raise SessionError(f"the session's answer cannot be read: {error}") from error


#: What an answer is, by the request.
NOTHING = type(None)
FILLS = tuple[Fill, ...]

_channels: weakref.WeakSet[Channel] = weakref.WeakSet()


def _close_after_fork() -> None:
    """Close the parent's connections: a child that keeps a lease open would hide its death."""
    for channel in list(_channels):
        channel.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_after_fork)
