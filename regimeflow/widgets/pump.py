"""The thread that brings sessions to the pages that show them.

Deltas are numbered and collected: at most `PER_SECOND` a second, and no more bytes than
`BYTES_PER_SECOND`; what does not fit waits and grows together. A page that has no snapshot, or
finds a hole in the numbers, says hello and gets one.
"""

from __future__ import annotations

import contextlib
import getpass
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Protocol

import msgspec

from regimeflow.errors import RegimeflowError
from regimeflow.widgets.board import Board, Parts
from regimeflow.widgets.comms import own_comms

PER_SECOND = 5.0
BYTES_PER_SECOND = 20_000
#: After so long without news a page is told that we are there.
_HEARTBEAT_S = 2.0
#: How long between two slices of a journal that is being caught up with.
_BEHIND_S = 0.02

Why = Annotated[str, msgspec.Meta(max_length=200)]
Name = Annotated[str, msgspec.Meta(max_length=300)]


class Hello(msgspec.Struct, frozen=True, tag="hello", tag_field="kind"):
    """A page has nothing yet."""


class AskStory(msgspec.Struct, frozen=True, tag="story", tag_field="kind"):
    """What became of an order?"""

    board: int
    order: Name


class Choose(msgspec.Struct, frozen=True, tag="symbol", tag_field="kind"):
    """Draw another symbol's price."""

    board: int
    symbol: Name


class Steer(msgspec.Struct, frozen=True, tag="command", tag_field="kind"):
    """Steer the session, as the methods of the same names do."""

    board: int
    name: Literal["pause", "resume", "flatten", "halt", "stop"]
    why: Why = ""


Said = Hello | AskStory | Choose | Steer
#: Nothing that a page can say.
_STOP = object()
_encode = msgspec.json.Encoder().encode


class Page(Protocol):
    """Where messages go: a widget, or whatever else shows boards."""

    def tell(self, kind: str, seq: int, body: bytes) -> None:
        """Take a message; its body is JSON."""


class Pump:
    """Follows sessions and keeps a page up to date.

    Args:
        boards: what is shown, side by side.
        page: where it is shown.
        over: is called once, on the pump's thread, when every session has ended.

    Attributes:
        updates, sent_bytes, cpu_s: what was sent so far, and this thread's CPU seconds for it.
        failure: why it does not follow any more, or None.
    """

    def __init__(self, boards: Sequence[Board], page: Page, over: Callable[[], None]) -> None:
        self.boards = boards
        self.page = page
        self._over = over
        self._said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._seq = 0
        self._wanted = False
        self._allowance = float(BYTES_PER_SECOND)
        self._paid = self._told = time.monotonic()
        self.updates = self.sent_bytes = 0
        self.cpu_s = 0.0
        self.failure: Exception | None = None
        self.lock = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="regimeflow-panel", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for that."""
        self._said.put(_STOP)
        if self._thread is not threading.current_thread():
            self._thread.join(5.0)

    def hear(self, content: Any) -> None:
        """Take what a page says; from any thread."""
        self._said.put(content)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        own_comms()
        behind = False
        while True:
            if not self._ended:
                try:
                    behind = self._update(behind)
                except Exception as error:  # it must not be printed under whatever cell runs
                    behind = False
                    self._fail(error)
            wait = None if self._ended else _BEHIND_S if behind else 1.0 / PER_SECOND
            try:
                said = self._said.get(timeout=wait)
            except queue.Empty:
                continue
            if said is _STOP:
                return
            self._take(said)

    def _update(self, was_behind: bool) -> bool:
        behind = self.update()
        if was_behind and not behind and self._wanted:
            self.snapshot()  # in its full length, after what was caught up with
        return behind

    def _fail(self, error: Exception) -> None:
        self.failure, self._ended = error, True
        text = f"this panel does not follow any more: {str(error) or type(error).__name__}"
        self._answer("failed", {"board": 0, "text": text})
        self._over()

    def update(self) -> bool:
        """Follow the sessions and tell what is new; return whether there is more to take in."""
        before = time.thread_time()
        behind = self.follow()
        with self.lock:
            if self._wanted:
                self._tell_changes()
            self._ended = all(board.over for board in self.boards)
        self.cpu_s += time.thread_time() - before
        if self._ended:
            self._over()
        return behind

    def follow(self) -> bool:
        """Take in what has happened; return whether there is more."""
        with self.lock:
            behind = [board.follow() for board in self.boards]
        return any(behind)

    # ------------------------------------------------------------ out

    def _tell_changes(self) -> None:
        now = time.monotonic()
        full = float(BYTES_PER_SECOND)
        self._allowance = min(full, self._allowance + full * (now - self._paid))
        self._paid = now
        if self._allowance <= 0.0 or now < self._told + 0.9 / PER_SECOND:
            return
        found = {place: board.changes() for place, board in enumerate(self.boards)}
        body: dict[int, Parts] = {place: parts for place, (parts, _) in found.items() if parts}
        if not body and now < self._told + _HEARTBEAT_S:
            return
        data = _encode(body)
        if len(data) <= self._allowance or self._allowance >= full:
            for _, sent in found.values():
                sent()
        else:  # what is long waits until it fits; how the session stands does not
            data = _encode(
                {place: board.state_changes() for place, board in enumerate(self.boards)}
            )
        self._allowance -= len(data)
        self._told = now
        self._seq += 1
        self.updates += 1
        self.sent_bytes += len(data)
        self.page.tell("delta", self._seq, data)

    def snapshot(self) -> None:
        """Tell everything."""
        with self.lock:
            self._wanted = True
            self._seq += 1
            self._told = time.monotonic()
            data = _encode([board.snapshot() for board in self.boards])
            self.page.tell("snapshot", self._seq, data)

    def _answer(self, kind: str, body: Parts) -> None:
        self.page.tell(kind, self._seq, _encode(body))

    # ------------------------------------------------------------ in

    def _take(self, content: Any) -> None:
        """Do what a page asks; what is not one of its messages is not answered."""
        if isinstance(content, _Answered):
            self._answer("answer", content.body)
            return
        try:
            said = msgspec.convert(content, Said)
        except msgspec.ValidationError:
            return
        if isinstance(said, Hello):
            self.snapshot()
            return
        if not 0 <= said.board < len(self.boards):
            return
        board = self.boards[said.board]
        if isinstance(said, AskStory):
            self._answer("story", {"board": said.board, **board.story(said.order)})
        elif isinstance(said, Choose):
            if said.symbol in board.session.worker.begin.symbols:
                board.symbol = said.symbol
                self.snapshot()
        else:
            # The way to a session elsewhere may be slow, and a stop takes its time.
            threading.Thread(
                target=self._steer, args=(said,), name="regimeflow-hand", daemon=True
            ).start()

    def _steer(self, said: Steer) -> None:
        session, who = self.boards[said.board].session, f"{_login()} at the panel"
        try:
            getattr(session, said.name)(said.why or f"{said.name} at the panel", who=who)
        except RegimeflowError as error:
            body = {"error": True, "text": f"{said.name}: {error}"}
        else:
            body = {"error": False, "text": f"{said.name}: done, and in the journal as by {who}"}
        self._said.put(_Answered({"board": said.board, **body}))


class _Answered:
    """What a hand has brought about, on its way to the page."""

    def __init__(self, body: Parts) -> None:
        self.body = body


def _login() -> str:
    with contextlib.suppress(OSError, KeyError, ImportError):
        return getpass.getuser()[:60]
    return "somebody"
