"""Snapshots: what a run has become, so that taking it up need not begin at its beginning.

A snapshot is written now and then while a session runs. It holds everything that living through the
journal up to one event would bring about: engine, strategy, the simulator's book, shadow, twin and
what is folded from the run. A run that is taken up begins from the newest one that is to be trusted
and lives through the rest of its journal. Without one it lives through all of it, as ever.

Invariants:

1. a snapshot changes nothing but the time it takes: a run taken up from it is, to the last bit, the
   one that lived through its whole journal;
2. it is code, so it is loaded only if the user alone can have written it and the verified journal
   names its sha256;
3. it is of this very code, this strategy and this journal, every byte of which up to its place is
   what was written; else it is as if it were not there.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import io
import math
import pickle
import platform
import re
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

import cloudpickle
import msgspec
import numpy as np
from cloudpickle.cloudpickle import dynamic_subimport

import regimeflow
from regimeflow.engine.engine import Engine
from regimeflow.errors import SessionError
from regimeflow.journal import Mark, Place, records_after, verified
from regimeflow.model.events import Command, Finish, Input, Output, Resumed, Saved, Start
from regimeflow.model.order import Order
from regimeflow.session import freeze
from regimeflow.session.audit import AuditLog
from regimeflow.session.collector import no_collections
from regimeflow.session.drift import DriftFiles
from regimeflow.session.run_dir import write_private
from regimeflow.session.shelf import (
    SLICE,
    Rest,
    Rests,
    Shelf,
    Shelved,
    Standing,
    clear_away,
    flat,
)

#: So many events are lived through again at most, where there is time to write in between.
EVERY_EVENTS = 10_000
#: A stop is worth a snapshot after so many: fewer are lived through in no time.
LEAST_EVENTS = 2_000
#: Of the engine's time, at most one part in so many goes into snapshots.
_SHARE = 50
#: A session holds still for no longer than that; one that would have to, writes at its stop only.
_STILL_S = 0.2
#: How long the end of a run waits for the one that is being written.
_PATIENCE_S = 10.0
#: How often a slice of what has settled is put on the shelf, in events.
_PUT_EVERY = 64
#: What of it waits to be written, in bytes, and how many entries may have no place on it yet.
_MOST_HELD, _MOST_WAITING = 4 << 20, 2_000
#: Two are kept: the newest is worth nothing until the journal names it.
_KEPT = 2
_SCHEMA: Final = "regimeflow.snapshot.v2"
_LONGEST_HEAD = 4 << 20
_NAME = re.compile(r"snapshot-([0-9]{12,19})\.pkl")


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be read of a snapshot without loading it.

    Attributes:
        mark: the place in the journal that it stands for.
        shelf: what it stands on besides.
        epoch: how often the run had been started before.
        frozen_sha256: of the strategy that the run began with.
        code: of the program that wrote it, and of what that was built on.
    """

    schema: Literal["regimeflow.snapshot.v2"]
    mark: Mark
    shelf: Standing
    epoch: int
    frozen_sha256: str
    code: str


class Untrusted(SessionError):
    """A snapshot is not to be begun from; the journal is lived through instead."""


# ---------------------------------------------------------------- what is in one

#: The parts of a session: objects that its construction makes and ties together. A snapshot holds
#: what they have become, and refers to them by name.
Parts = Mapping[str, object]

#: Attributes that tie a part to this process, made anew with it: callables, locks, files, clocks.
_TIES: dict[str, frozenset[str]] = {
    "Engine": frozenset({"_heir_of"}),
    "Twin": frozenset({"_anchor", "engine", "told"}),
    "Shadow": frozenset({"_engine"}),
    "Keeper": frozenset({"snapshot_due"}),
    "QualityFold": frozenset({"_lock", "_handlers"}),
    "DriftFold": frozenset({"_engine", "_report", "purses", "_beside", "total"}),
    "_Purse": frozenset({"_account", "_worth", "_engine"}),
    "Meter": frozenset(
        {"_status", "_now", "_quality", "_run_dir", "_skew_ms", "_clock", "_due", "_made"}
    ),
    "AuditLog": frozenset({"path", "failure", "_fd", "_render", "_last", "_already"}),
    "DriftFiles": frozenset({"error", "_fold", "_csv", "_json", "_due", "_last"}),
    "Alerts": frozenset(
        {"failure", "told", "_alert", "_patience_s", "_queue", "_redact", "_thread"}
    ),
}


def _state_of(part: object) -> dict[str, Any]:
    ties = _TIES[type(part).__name__]
    slots: Iterable[str] = getattr(part, "__slots__", ())
    own = {n: getattr(part, n) for n in slots if hasattr(part, n)} if slots else vars(part)
    return {name: value for name, value in own.items() if name not in ties}


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Copies strategies with their code, parts by name, and of what grows only the rest."""

    def __init__(self, file: io.BytesIO, parts: Parts, rests: Rests) -> None:
        super().__init__(file, protocol=5)
        self._names = {id(part): name for name, part in parts.items()}
        self._rests = rests

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is Order:
            place = self._rests.place(obj)
            return flat(obj) if place is None else (_shelved, place)
        if kind is Rest:
            return _whole, (obj.name, obj.listed, obj.entries)
        name = self._names.get(id(obj))
        if name is not None:
            return _part, (name,)
        if self._rests.owns(obj):
            return copyreg.__newobj__, (kind,), self._rests.state(obj, vars(obj))  # type: ignore[attr-defined]
        if kind is types.ModuleType and sys.modules.get(obj.__name__) is not obj:
            # Frozen with the strategy: by its name another one would be found, or none.
            state = {n: v for n, v in vars(obj).items() if n != "__builtins__"}
            return dynamic_subimport, (obj.__name__, state)
        return super().reducer_override(obj)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, parts: Parts, shelved: Shelved) -> None:
        super().__init__(file)
        self._known: dict[str, Callable[..., object]] = {
            "_part": parts.__getitem__,
            "_shelved": shelved.order,
            "_whole": shelved.whole,
        }

    def find_class(self, module: str, name: str) -> Any:
        if module == __name__ and name in self._known:
            return self._known[name]
        return super().find_class(module, name)


# What these return is another thing in each session: resolved by `_Unpickler`.


def _part(name: str) -> object:
    raise SessionError(f"the part {name!r} belongs to a session")


def _shelved(name: str, order_id: str) -> Order:
    raise SessionError(f"the order {order_id} lies on a shelf")


def _whole(name: str, listed: bool, entries: object) -> object:
    raise SessionError(f"the rest of {name!r} lies on a shelf")


def dump(parts: Parts, link: object, rests: Rests) -> bytes:
    """Return what the parts have become, but for what lies on a shelf.

    Raises:
        SessionError: the strategy holds something that would not come back as it was.
    """
    for part in parts.values():
        if isinstance(part, Engine):
            _check(part.strategy)
    file = io.BytesIO()
    state = {name: rests.state(part, _state_of(part)) for name, part in parts.items()}
    try:
        _Pickler(file, parts, rests).dump((state, link))
    except Exception as error:
        raise SessionError(f"it cannot be copied ({_short(error)})") from error
    return file.getvalue()


def load(payload: bytes, parts: Parts, shelved: Shelved) -> tuple[dict[str, dict[str, Any]], Any]:
    """Return what the parts had become, and the link's state; nothing is changed yet."""
    with freeze.untracked():
        state, link = _Unpickler(io.BytesIO(payload), parts, shelved).load()
    return state, link


def restore(parts: Parts, state: dict[str, dict[str, Any]]) -> None:
    """Let the parts be what they had become."""
    for name, part in parts.items():
        for attribute, value in state[name].items():
            setattr(part, attribute, value)


def _check(strategy: object) -> None:
    """Refuse what a copy may hold in another order, or no longer shares.

    A set is walked through in an order that depends on its past, and an array that is a view of
    another one changes with it: a copy of either could decide differently. Looked at is what is
    the user's own: attributes, classes, and the variables that their code reads.
    """
    waiting: list[Any] = [strategy]
    known: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in known:
            continue
        known.add(id(value))
        if isinstance(value, set | frozenset) and len(value) > 1:
            raise SessionError("it holds a set, whose order a copy need not keep")
        if isinstance(value, np.ndarray) and value.base is not None and value.flags.writeable:
            raise SessionError("it holds an array that is a view of another one")
        waiting += [part for part in _within(value) if not isinstance(part, _PLAIN)]


def _within(value: Any) -> Iterable[Any]:
    """Return what a value of the user's own refers to."""
    if isinstance(value, Mapping):
        return [*value.values(), *(key for key in value if isinstance(key, tuple))]
    if isinstance(value, list | tuple | deque):
        return value
    if isinstance(value, types.MethodType):
        return value.__self__, value.__func__
    if isinstance(value, types.FunctionType) and not _of_a_module(value):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        return [*cells, *(v for n, v in value.__globals__.items() if n != "__builtins__")]
    if isinstance(value, types.ModuleType):
        return vars(value).values() if sys.modules.get(value.__name__) is not value else ()
    if isinstance(value, type) and not _importable(value):
        return [*vars(value).values(), *value.__bases__]
    if hasattr(value, "__dict__") and not _importable(type(value)):
        return [type(value), *vars(value).values()]
    return ()


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _of_a_module(function: types.FunctionType) -> bool:
    """Whether a function's variables are those of a module, and so not its own."""
    module = sys.modules.get(str(function.__module__))
    return module is not None and function.__globals__ is vars(module)


def _importable(kind: type) -> bool:
    """Whether a class is found by its name, and so is not copied with the strategy."""
    found: Any = sys.modules.get(str(kind.__module__))
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


#: What holds nothing, as nearly everything in long lists.
_PLAIN = (float, int, str, bytes, type(None))


def _short(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}…"


# ---------------------------------------------------------------- writing


class Snapshots:
    """A companion that writes a snapshot now and then; it must follow after all others.

    The engine's thread copies what there is into memory, for which it may spend one part in fifty
    of its time; a thread of its own does the rest. A snapshot that cannot be made costs nothing but
    time later: `told` hears why, once.

    Args:
        run_dir: where they go.
        parts: of the session.
        shelf: for what is settled.
        link: returns the state of the link after an event, None where it is between two answers.
        mark: returns the place after the last event in the journal.
        tell: hears what a human should know.

    """

    def __init__(
        self,
        run_dir: Path,
        parts: Parts,
        shelf: Shelf,
        link: Callable[[Input], object | None],
        mark: Callable[[], Mark],
        tell: Callable[[str], None],
    ) -> None:
        self._every = EVERY_EVENTS
        self._epoch = self._since = 0
        self._frozen_sha256 = ""
        self._dir = run_dir
        self._parts = parts
        self._engine: Any = parts["engine"]
        self._shelf = shelf
        self._link = link
        self._mark = mark
        self._tell = tell
        self._due = 0.0
        self._wanted = self._failed = False
        self._count = 0
        self._told = self._trouble = ""
        self._thread: threading.Thread | None = None
        self._written: tuple[int, str, str] | None = None

    def begin(
        self, epoch: int, frozen_sha256: str, since: int, every: int, event: Input | None
    ) -> None:
        """The run goes on from here.

        Args:
            epoch: how often it was started before.
            frozen_sha256: of the strategy that it began with.
            since: how many events there were since the last snapshot.
            every: how many events lie between two, where time allows.
            event: the last one of its earlier life, None where there was none.
        """
        code()  # of what runs: the files may be changed under a session
        self._epoch, self._frozen_sha256 = epoch, frozen_sha256
        self._since, self._every = since, every
        self._shelf.begin(epoch)
        if event is not None and self._bound(event):
            self._shelf.put(sys.maxsize)  # of a long earlier life, while nobody waits for it yet

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Write one, if it is time."""
        self._since += 1
        self._shelf.follow(event, outputs)
        if event.__class__ is Command and event.name == "stop":
            self._wanted = self._since >= LEAST_EVENTS
        if event is not self._engine.event:
            return  # the engine is further by now: a halt could not wait
        if not self._wanted and not self._since % _PUT_EVERY and not self._failed:
            self._put(event)
        if not self._wanted and (self._since < self._every or time.monotonic() < self._due):
            return
        if event.__class__ in _BORDERS:
            return
        if self._thread is None or not self._thread.is_alive():
            self._take(event)

    def _bound(self, event: Input) -> bool:
        link = self._link(event)
        return link is not None and self._shelf.bind(self._parts, link)

    def _put(self, event: Input) -> None:
        """Put a slice on the shelf; what piles up is written beside."""
        if not self._bound(event):
            return
        with no_collections():
            self._shelf.put()
        idle = self._thread is None or not self._thread.is_alive()
        if idle and self._shelf.held_bytes > _MOST_HELD:
            self._start(self._write_shelf, self._shelf.pages())

    def saved(self, seq: int, event: Input) -> Saved | None:
        """Return the note that names what has been written, for the journal; each one once.

        Args:
            seq: number of the event whose outputs it is to stand among.
            event: that event; the last one of a run waits for what is being written.
        """
        if event.__class__ is Finish and self._thread is not None:
            self._thread.join(_PATIENCE_S)
        written, self._written = self._written, None
        return None if written is None else Saved(seq, event.seen, *written)

    def _take(self, event: Input) -> None:
        begun = time.monotonic()
        if self._trouble:
            self._give_up(self._trouble)
            self._trouble = ""
        link = self._link(event)
        if link is None or not self._shelf.bind(self._parts, link):
            return  # the next event will do
        if self._shelf.waiting > _MOST_WAITING and not (self._wanted or self._failed):
            return  # slice by slice: all of it at once would take its time
        self._wanted, self._since = False, 0
        try:
            with no_collections():
                # Nothing piles up there for a session that cannot be copied.
                self._shelf.put(0 if self._failed else SLICE)
                payload = dump(self._parts, link, self._shelf.rests())
        except SessionError as error:
            self._failed = True
            self._give_up(str(error))
        else:
            self._failed = False
            self._start(self._write, self._mark(), self._shelf.pages(), payload)
        now = time.monotonic()
        self._due = now + _SHARE * (now - begun)
        if now - begun > _STILL_S:
            self._due = math.inf
            self._give_up(f"copying it takes {now - begun:.1f} s by now, so that waits for a stop")

    def _start(self, work: Callable[..., object], *args: object) -> None:
        self._thread = threading.Thread(
            target=work, args=args, name="regimeflow-snapshot", daemon=True
        )
        self._thread.start()

    def _write(self, mark: Mark, pages: list[bytes], payload: bytes) -> None:
        standing = self._write_shelf(pages)
        if standing is None:
            return
        head = Head(_SCHEMA, mark, standing, self._epoch, self._frozen_sha256, code())
        content = b"\n".join((_SCHEMA.encode(), msgspec.json.encode(head), payload))
        try:
            write_private(self._dir / f"snapshot-{mark.seq:012d}.pkl", content)
            for _, path in found(self._dir)[_KEPT:]:
                path.unlink(missing_ok=True)
            self._count += 1
            if self._count >= _KEPT:
                clear_away(self._dir, self._shelf.file.path)
        except OSError as error:
            self._trouble = f"{self._dir} cannot be written ({error.strerror})"
            return
        self._written = mark.seq, mark.sum, hashlib.sha256(content).hexdigest()

    def _write_shelf(self, pages: list[bytes]) -> Standing | None:
        try:
            return self._shelf.file.write(pages)
        except OSError as error:
            self._trouble = f"{self._shelf.file.path} cannot be written ({error.strerror})"
            return None

    def _give_up(self, why: str) -> None:
        if why != self._told:
            self._told = why
            self._tell(
                f"no snapshot could be made of the session: {why}; to take it up after a crash, "
                "its whole journal is lived through"
            )


#: At the borders of a run's lives there is nothing worth keeping.
_BORDERS: frozenset[type] = frozenset({Start, Resumed, Finish})


@functools.cache
def code() -> str:
    """Return what tells this program from every other: its source, Python, and what it pickles."""
    made = hashlib.sha256(platform.python_version().encode())
    for name in ("numpy", "msgspec", "cloudpickle", "pandas", "polars"):
        made.update(f"{name} {metadata.version(name)}".encode())
    root = Path(regimeflow.__file__).parent
    for path in sorted(root.rglob("*.py")):
        made.update(path.relative_to(root).as_posix().encode())
        made.update(path.read_bytes())
    return made.hexdigest()


# ---------------------------------------------------------------- reading


def found(run_dir: Path) -> list[tuple[int, Path]]:
    """Return the snapshots in a run directory by the number of their event, the newest first."""
    names = ((_NAME.fullmatch(path.name), path) for path in run_dir.iterdir())
    return sorted(((int(match[1]), path) for match, path in names if match), reverse=True)


def begin(run_dir: Path, start: Start, parts: Parts, shelf: Shelf) -> tuple[Head, Place, Any]:
    """Let the parts be what they had become, by the newest snapshot that is to be trusted.

    Args:
        run_dir: the run's directory.
        start: what the run began with.
        parts: newly made.
        shelf: goes on where that of the snapshot ended.

    Returns:
        What the snapshot says of itself, the place it stands for, and the state of the link.

    Raises:
        Untrusted: there is none; with what is wrong with those that are there.
    """
    doubts = []
    for seq, path in found(run_dir):
        try:
            head, place, payload = _trusted(path, run_dir, start.run, start.frozen_sha256)
            if head.mark.seq != seq:
                raise Untrusted("its name says another event")
            shelved = Shelved(run_dir, head.shelf)
            state, link = load(payload, parts, shelved)
            _fit(parts, state)
        except Exception as error:  # whatever it is, the journal is there
            doubts.append(f"{path.name}: {_short(error)}")
        else:
            restore(parts, state)
            shelf.take_over(shelved)
            return head, place, link
    raise Untrusted("; ".join(doubts))


def _fit(parts: Parts, state: dict[str, dict[str, Any]]) -> None:
    """Refuse a state of other parts, or one that is ahead of the files beside it."""
    if state.keys() != parts.keys():
        raise Untrusted("the session keeps other records now")
    for name, part in parts.items():
        if isinstance(part, AuditLog | DriftFiles) and not part.holds(state[name]["_newest"]):
            raise Untrusted(f"the {name} ends before it")


def _trusted(path: Path, run_dir: Path, run: str, frozen: str) -> tuple[Head, Place, bytes]:
    content = freeze.read_private(path)
    schema, _, rest = content.partition(b"\n")
    end = rest.find(b"\n", 0, _LONGEST_HEAD)
    if schema != _SCHEMA.encode() or end < 0:
        raise Untrusted("it is not a snapshot")
    head = msgspec.json.decode(rest[:end], type=Head)
    if head.mark.run != run or head.frozen_sha256 != frozen:
        raise Untrusted("it is of another run")
    if head.code != code():
        raise Untrusted("it was written by another version of the program")
    place = verified(run_dir, head.mark)
    if not _named(run_dir, place, hashlib.sha256(content).hexdigest()):
        raise Untrusted("the journal does not name it")
    return head, place, rest[end + 1 :]


def _named(run_dir: Path, place: Place, sha256: str) -> bool:
    """Whether what follows in the journal names a snapshot; every line up to there is verified."""
    mark = place.mark
    for record in records_after(run_dir, place):
        said = record.body
        if isinstance(said, Saved) and (said.at, said.sum, said.sha256) == (
            mark.seq,
            mark.sum,
            sha256,
        ):
            return True
    return False
