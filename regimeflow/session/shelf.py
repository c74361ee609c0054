"""What of a session is settled, copied once: orders that are over, fills, rows.

Most of what a long session holds can hardly change any more. Copied with each snapshot it would
make the engine wait longer each time, so it is copied once, in slices while the session runs, and
lies in a file beside the snapshots: the shelf. A snapshot holds the rest, and says how much of the
shelf it stands on, with the sha256 of that.

Invariants:

1. the shelf only grows; what a snapshot stands on is never written over while it may be begun from;
2. an entry that changes after all is *loose* from the moment at which an event or an output names
   its order, or a price that it waited for arrives: until it is put on the shelf again, each
   snapshot holds it as it is;
3. shelf and rest together are, entry for entry and in the same order, what was copied.
"""

from __future__ import annotations

import copyreg
import hashlib
import io
import os
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from regimeflow.engine.engine import Engine
from regimeflow.errors import SessionError
from regimeflow.model.events import Input, Output
from regimeflow.model.order import TERMINAL, Order, Status
from regimeflow.session import freeze
from regimeflow.session.collector import no_collections
from regimeflow.session.companions import Twin
from regimeflow.session.drift import MOST_ROWS
from regimeflow.venues.matching import Matcher

if TYPE_CHECKING:
    from hashlib import _Hash

#: So many entries of each record are put away in one go at most: more than come in meanwhile.
SLICE = 256
_NAME = re.compile(r"shelf-[0-9]{4,9}\.pkl")


class Standing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of which shelf a snapshot stands on; a name of "" is none.

    Attributes:
        name: of the file.
        size_bytes, sha256: its first so many bytes, and what they hash to.
    """

    name: str = ""
    size_bytes: int = 0
    sha256: str = ""


# ---------------------------------------------------------------- what grows

#: Part -> where in it something grows with every order: path to its owner, and its attributes.
_GROWING: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "engine": (("desk", ("orders", "executions", "venue_ids")),),
    "twin's engine": (("desk", ("orders", "executions", "venue_ids")),),
    "shadow": (("_matcher", ("fills",)),),
    "twin": (("_matcher", ("fills",)),),
    "keeper": (("fold", ("orders", "fills", "_booked")),),
    "quality": (("", ("_orders", "_fills", "_booked", "_denied")),),
    "drift": (("", ("rows",)),),
    "meter": (("fold.decisions", ("orders", "_executions")),),
    "audit log": (("_decisions", ("orders", "_executions")),),
    "link": (("", ("fills",)),),
}

#: Records whose orders others refer to: what works, a strategy with its handles.
_HELD = frozenset({"engine.orders", "twin's engine.orders"})


def _order_over(_: Any, order: Any) -> bool:
    return order.status in TERMINAL


def _until_named(key: Any, value: Any) -> bool:
    return True


def _always(key: Any, value: Any) -> bool:
    """Not even an event that names it changes it."""
    return True


class Column:
    """One record that only grows: a mapping by id, or a list.

    Args:
        owner, attribute: where it is.
        settled: whether an entry can change only by an event that names it, by key and value.
        dropped: how many entries of a list were dropped so far.
        halves: that was done by keeping every other one of so many, the oldest.

    Attributes:
        count: how many entries have a place on the shelf.
        loose: keys of those that are not, or no longer, there as they are.
    """

    def __init__(
        self,
        owner: object,
        attribute: str,
        settled: Callable[[Any, Any], bool],
        dropped: Callable[[], int] = int,
        halves: int = 0,
    ) -> None:
        self.owner = owner
        self.attribute = attribute
        self.count = 0
        self.loose: dict[Any, None] = {}
        self._settled = settled
        self._dropped = dropped
        self._known_dropped = dropped()
        self._halves = halves

    @property
    def items(self) -> Any:
        """The record itself."""
        return getattr(self.owner, self.attribute)

    @property
    def listed(self) -> bool:
        """Whether it is a list."""
        return isinstance(self.items, list)

    @property
    def waiting(self) -> int:
        """How many entries have no place on the shelf yet."""
        return len(self.items) - self.count

    def fresh(self) -> Sequence[Any]:
        """Return the keys of those."""
        items, more = self.items, self.waiting
        if isinstance(items, list):
            return range(self.count, len(items))
        keys = list(islice(reversed(items), more)) if more > 0 else []
        keys.reverse()
        return keys

    def loosen(self, names: set[str]) -> None:
        """Take it that the entries of these ids have changed."""
        items = self.items
        if isinstance(items, dict) and self._settled is not _always:
            named = [name for name in names if name in items]
            if named:
                fresh = set(self.fresh())
                self.loose.update((name, None) for name in named if name not in fresh)

    def settle(self, most: int) -> tuple[int, list[tuple[Any, Any]]]:
        """Return what goes on the shelf now: of how many of the oldest entries every other one is
        void, -1 for all that is there; and entries.

        An entry that is not settled gets its place with None.
        """
        void = self._void()
        items, settled = self.items, self._settled
        rows = [(k, items[k]) for k in self.loose if settled(k, items[k])][:most]
        for key, _ in rows:
            del self.loose[key]
        fresh = self.fresh()[:most]
        for key in fresh:
            value = items[key]
            if not settled(key, value):
                self.loose[key] = value = None
            rows.append((key, value))
        self.count += len(fresh)
        return void, rows

    def _void(self) -> int:
        before, self._known_dropped = self._known_dropped, self._dropped()
        dropped = self._known_dropped - before
        if dropped and dropped == self._halves // 2 and self.count >= self._halves:
            self.count -= dropped
            return self._halves
        if dropped:
            self.count = 0
            self.loose.clear()
        return -1 if dropped else 0

    def rest(self) -> list[tuple[Any, Any]]:
        """Return what is not on the shelf as it is."""
        items = self.items
        return [(key, items[key]) for key in (*self.loose, *self.fresh())]


def _columns(parts: Mapping[str, object]) -> dict[str, Column]:
    made = {}
    for part, places in _GROWING.items():
        for path, attributes in places:
            owner: Any = parts.get(part)
            for name in path.split(".") if path and owner is not None else ():
                owner = getattr(owner, name)
            for attribute in attributes if owner is not None else ():
                made[f"{part}.{attribute}"] = _column(part, owner, attribute)
    return made


def _column(part: str, owner: Any, attribute: str) -> Column:
    if attribute == "rows":
        return Column(
            owner, attribute, _always, lambda: owner.count - len(owner.rows), MOST_ROWS // 2
        )
    if attribute == "_fills":
        return Column(owner, attribute, lambda place, _: place not in owner._open)
    if attribute == "_orders":
        return Column(owner, attribute, lambda _, order: order.settled)
    settled = {"orders": _order_over, "venue_ids": _until_named}.get(attribute, _always)
    return Column(owner, attribute, settled)


class Shelf:
    """Puts away what is settled, and knows what is not.

    Args:
        run_dir: where its file goes.
    """

    def __init__(self, run_dir: Path) -> None:
        self._dir = run_dir
        self._columns: dict[str, Column] = {}
        self._named: set[str] = set()
        self._pages: list[bytes] = []
        self._earlier: Shelved | None = None
        self._twin: Twin | None = None
        self.file = File(run_dir / "shelf-0000.pkl")

    def begin(self, epoch: int) -> None:
        """The run goes on from here; a shelf that it was not begun from is left alone."""
        if self._earlier is None:
            self.file = File(self._dir / f"shelf-{epoch:04d}.pkl")

    def take_over(self, shelved: Shelved) -> None:
        """Go on with a shelf that the parts were restored from."""
        self._earlier = shelved
        self.file = shelved.file

    def follow(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take note of which orders an event and its outputs name."""
        named = getattr(event, "order_id", None)
        if named is not None:
            self._named.add(named)
            venue = getattr(event, "venue_order_id", "")
            if venue:
                self._named.add(venue)
        for output in outputs:
            named = getattr(output, "order_id", None)
            if named is not None:
                self._named.add(named)

    def bind(self, parts: Mapping[str, object], link: object) -> bool:
        """Find what grows, once all of it is there; return whether it is."""
        engine, other, twin = parts["engine"], parts["twin's engine"], parts["twin"]
        assert isinstance(engine, Engine)
        assert isinstance(other, Engine)
        assert isinstance(twin, Twin)
        if engine.start is None or other.start is None:
            return False
        if self._columns:
            return True
        matchers = [p for p in link if isinstance(p, Matcher)] if isinstance(link, tuple) else []
        self._twin = twin
        self._columns = _columns({**parts, "link": matchers[0]} if matchers else parts)
        self._go_on()
        return True

    def _go_on(self) -> None:
        """Let the columns be as far as the shelf that was taken over."""
        earlier, self._earlier = self._earlier, None
        if earlier is not None:
            for name, column in self._columns.items():
                column.count = earlier.counts.get(name, 0)
                column.loose.update(earlier.loose.get(name, {}))

    def put(self, most: int = SLICE) -> None:
        """Put away what has settled; of each record so many entries at most."""
        if self._twin is not None:
            self._named |= self._twin.told
            self._twin.told.clear()
        page = {}
        for name, column in self._columns.items():
            if self._named:
                column.loosen(self._named)
            void, rows = column.settle(most)
            if void or rows:
                page[name] = column.listed, void, rows
        self._named.clear()
        if page:
            self._pages.append(_page(page))

    @property
    def waiting(self) -> int:
        """How many entries of the longest record have no place on the shelf yet."""
        return max((column.waiting for column in self._columns.values()), default=0)

    @property
    def held_bytes(self) -> int:
        """What waits to be written, in bytes."""
        return sum(map(len, self._pages))

    def pages(self) -> list[bytes]:
        """Return what is to be written, each time only what is new."""
        pages, self._pages = self._pages, []
        return pages

    def rests(self) -> Rests:
        """Return what a snapshot holds besides."""
        return Rests(self._columns)


class Rests:
    """What is not on the shelf at one moment, for a snapshot's pickler.

    Args:
        columns: of the shelf.
    """

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._of: dict[int, dict[str, Rest]] = {}
        self._orders: list[tuple[str, dict[str, Any], set[Any]]] = []
        for name, column in columns.items():
            rest = Rest(name, column.listed, column.rest())
            self._of.setdefault(id(column.owner), {})[column.attribute] = rest
            if name in _HELD:
                self._orders.append((name, column.items, {key for key, _ in rest.entries}))

    def state(self, owner: object, state: dict[str, Any]) -> dict[str, Any]:
        """Return the state of an object with only the rest of what grows in it."""
        return {**state, **self._of.get(id(owner), {})}

    def owns(self, thing: object) -> bool:
        """Whether something grows in an object."""
        return id(thing) in self._of

    def place(self, order: Order) -> tuple[str, str] | None:
        """Return where on the shelf an order lies, None where it does not."""
        for name, orders, loose in self._orders:
            if orders.get(order.id) is order and order.id not in loose:
                return name, order.id
        return None


class Rest:
    """Stands for a record, in a snapshot: what of it is not on the shelf."""

    def __init__(self, name: str, listed: bool, entries: list[tuple[Any, Any]]) -> None:
        self.name = name
        self.listed = listed
        self.entries = entries


# ---------------------------------------------------------------- the file


def flat(order: Order) -> tuple[Callable[..., Order], tuple[Any, ...]]:
    """Return an order as pickle takes it."""
    return order_of, msgspec.structs.astuple(order)


def order_of(*fields: Any) -> Order:
    """Return an order whose status is the very object that the desk compares with."""
    order = Order(*fields)
    order.status = _STATUSES[order.status]
    return order


_STATUSES = {
    value: value
    for name, value in vars(Status).items()
    if not name.startswith("_") and isinstance(value, str)
}
_REDUCERS: dict[type, Any] = {**copyreg.dispatch_table, Order: flat}


def _page(page: object) -> bytes:
    file = io.BytesIO()
    pickler = pickle.Pickler(file, protocol=5)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(page)
    return file.getvalue()


class File:
    """The shelf on the disk; written by one thread at a time.

    Args:
        path: of the file.
        size: how much of it counts; what follows is cut off with the next page.
        digest: of that.
    """

    def __init__(self, path: Path, size: int = 0, digest: _Hash | None = None) -> None:
        self.path = path
        self._size = size
        self._digest = digest or hashlib.sha256()
        self._queue: list[bytes] = []

    def write(self, pages: Sequence[bytes]) -> Standing:
        """Have these pages on the disk, and those that could not be written before.

        Raises:
            OSError: the file cannot be written; the pages are kept for the next time.
        """
        self._queue += pages
        data = b"".join(self._queue)
        if data:
            if not self._size:
                self.path.unlink(missing_ok=True)  # of a life that ended before it had begun
            flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
            with os.fdopen(os.open(self.path, flags, 0o600), "wb") as file:
                file.truncate(self._size)
                file.seek(self._size)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._digest.update(data)
            self._size += len(data)
            self._queue.clear()
        return self.standing

    @property
    def standing(self) -> Standing:
        """How much of it counts."""
        if not self._size:
            return Standing()
        return Standing(self.path.name, self._size, self._digest.hexdigest())


class Shelved:
    """What a shelf holds, as far as a snapshot stands on it.

    Args:
        run_dir: where it lies.
        standing: how much of which.

    Raises:
        SessionError: it is not what was written, or others can have written it.
    """

    def __init__(self, run_dir: Path, standing: Standing) -> None:
        self._records: dict[str, Any] = {}
        self.counts: dict[str, int] = {}
        self.loose: dict[str, dict[Any, None]] = {}
        content, digest = b"", hashlib.sha256()
        if standing.name:
            if _NAME.fullmatch(standing.name) is None:
                raise SessionError("its shelf has another name")
            content = freeze.read_private(run_dir / standing.name)[: standing.size_bytes]
            digest.update(content)
            if digest.hexdigest() != standing.sha256:
                raise SessionError("its shelf is not what was written")
        self.file = File(run_dir / (standing.name or "shelf-0000.pkl"), len(content), digest)
        with no_collections():
            for page in _pages(content):
                for name, (listed, void, rows) in page.items():
                    if void < 0 or name not in self._records:
                        self._records[name] = [] if listed else {}
                    record = self._records[name]
                    if void > 0:
                        record[:void] = record[:void:2]
                    _enter(record, rows)

    def order(self, name: str, order_id: str) -> Order:
        """Return an order that lies on the shelf."""
        order = self._records[name][order_id]
        assert isinstance(order, Order)
        return order

    def whole(self, name: str, listed: bool, entries: list[tuple[Any, Any]]) -> Any:
        """Return a record as it was: what lies on the shelf, and the rest."""
        record = self._records.setdefault(name, [] if listed else {})
        count = self.counts[name] = len(record)
        old = [key for key, _ in entries if (key < count if listed else key in record)]
        self.loose[name] = dict.fromkeys(old)
        _enter(record, entries)
        return record


def _enter(record: Any, entries: list[tuple[Any, Any]]) -> None:
    if isinstance(record, dict):
        record.update(entries)
        return
    for place, value in entries:
        if place < len(record):
            record[place] = value
        else:
            record.append(value)


def _pages(content: bytes) -> Iterator[dict[str, tuple[bool, int, list[tuple[Any, Any]]]]]:
    file = io.BytesIO(content)
    while file.tell() < len(content):
        yield pickle.Unpickler(file).load()


def clear_away(run_dir: Path, kept: Path) -> None:
    """Remove the shelves of earlier lives, on which no snapshot stands any more."""
    for path in run_dir.iterdir():
        if _NAME.fullmatch(path.name) and path != kept:
            path.unlink(missing_ok=True)
