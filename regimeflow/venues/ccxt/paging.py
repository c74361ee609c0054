"""Lists that come in pages: a part of one is never taken for the whole.

Where an exchange's ways are known, a page that is not full is the last. Of all others nothing is
taken for granted: a list is followed forwards and backwards in time until nothing new comes, and
one that may have been cut all the same is no answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from regimeflow.errors import VenueError

Row = dict[str, Any]
#: From a time on, so many rows (None: as many as the exchange likes), further terms -> rows.
Ask = Callable[[int, int | None, dict[str, Any]], Awaitable[Sequence[Row]]]

#: No exchange cuts an answer that is shorter than this.
SHORTEST = 20
#: Answers that are put together for one list at most.
_MOST_PAGES = 1_000
#: Spans of time that are gone back at most: nothing older is kept, and no session looks so far.
_MOST_WINDOWS = 100


class Pages(NamedTuple):
    """How an exchange gives out a list.

    Attributes:
        size: rows of one answer, 0 where that is the exchange's to say.
        window_ms: longest span that one question may have, 0 for any.
        newest_first: whether the rows that a full page leaves out are the older ones.
        known: whether the above is sure, so that a page that is not full is the last.
    """

    size: int = 0
    window_ms: int = 0
    newest_first: bool = False
    known: bool = False


async def since(ask: Ask, pages: Pages, first_ms: int, now_ms: int, what: str) -> list[Row]:
    """Return all rows from a time on, each once.

    Args:
        ask: asks once.
        first_ms, now_ms: from when on, and by the exchange's clock at most until when.
        what: whose rows of what, for errors.

    Raises:
        VenueError: there may be more than can be read.
    """
    window = pages.window_ms
    if window:
        first_ms = max(first_ms, now_ms - _MOST_WINDOWS * window)
    read = _known if pages.known else _unknown
    found: dict[str, Row] = {}
    for _ in range(_MOST_WINDOWS + 1):
        over = not window or first_ms + window >= now_ms
        until = None if not window else min(now_ms, first_ms + window)
        await read(ask, pages, first_ms, until, found, what)
        if over:
            break
        first_ms += window
    return list(found.values())


async def _known(
    ask: Ask, pages: Pages, first: int, until: int | None, found: dict[str, Row], what: str
) -> None:
    """Read a span page by page, until one is not full."""
    for _ in range(_MOST_PAGES):
        told = await ask(first, pages.size or None, {} if until is None else {"until": until})
        fresh = _take(found, told)
        if len(told) < pages.size or not pages.size:
            return
        if not fresh:
            raise VenueError(f"{what} of one moment are more than a page")
        if pages.newest_first:
            until = min(map(_time, told))
        else:
            first = max(map(_time, told))
    raise _too_many(what)


async def _unknown(
    ask: Ask, pages: Pages, first: int, until: int | None, found: dict[str, Row], what: str
) -> None:
    """Read a span in both directions, until neither brings anything new."""
    bound = {} if until is None else {"until": until}
    told = await ask(first, pages.size or None, bound)
    _take(found, told)
    if len(told) < SHORTEST:
        return
    earliest = min(map(_time, told))
    ahead = await _forwards(ask, pages, bound, told, found, what)
    # What comes before the first page is missing where an exchange begins with the newest.
    for _ in range(_MOST_PAGES):
        told = await ask(first, pages.size or None, {"until": earliest})
        if any(_time(row) > earliest for row in told):
            if ahead >= SHORTEST:
                return  # it does not go back, and has nothing there: it begins with the oldest
            raise VenueError(
                f"{what}: nobody can tell whether these are all, so they are no answer"
            )
        fresh = _take(found, told)
        if len(told) < SHORTEST or not fresh:
            return
        earliest = _moved(earliest, min(map(_time, told)), what)
    raise _too_many(what)


async def _forwards(
    ask: Ask,
    pages: Pages,
    bound: dict[str, Any],
    told: Sequence[Row],
    found: dict[str, Row],
    what: str,
) -> int:
    """Read on after the first page; return how many rows that has brought."""
    ahead, latest = 0, max(map(_time, told))
    for _ in range(_MOST_PAGES):
        told = await ask(latest, pages.size or None, bound)
        ahead += _take(found, told)
        if len(told) < SHORTEST:
            return ahead
        newest = max(map(_time, told))
        if newest == min(map(_time, told)):
            raise VenueError(f"{what} of one moment are more than a page")
        if newest == latest:
            return ahead
        latest = newest
    raise _too_many(what)


def _moved(before: int, after: int, what: str) -> int:
    if before == after:
        raise VenueError(f"{what} of one moment are more than a page")
    return after


def _take(found: dict[str, Row], told: Sequence[Row]) -> int:
    """Add rows to those that were found; return how many are new."""
    before = len(found)
    for row in told:
        found.setdefault(_name(row), row)
    return len(found) - before


def _name(row: Row) -> str:
    # Some have no id for what happens once at a time.
    return str(row.get("id") or f"{row.get('symbol')} {row.get('timestamp')}")


def _time(row: Row) -> int:
    return int(row["timestamp"])


def _too_many(what: str) -> VenueError:
    return VenueError(f"{what} are more than can be read")


async def by_cursor(
    ask: Callable[[dict[str, Any]], Awaitable[Sequence[Row]]], field: str, size: int, what: str
) -> list[Row]:
    """Return all rows of a list whose pages are told apart by a mark.

    Args:
        ask: asks once, with further terms.
        field: of a raw row, which holds the mark of the next page; "" where there is none.
        size: rows of a full page.

    Raises:
        VenueError: there are more than can be read.
    """
    rows = list(await ask({}))
    found, page = list(rows), rows
    for _ in range(_MOST_PAGES):
        raw = [row.get("info") or {} for row in page]
        mark = next((r[field] for r in raw if r.get(field)), None) if field else None
        if mark is None or len(page) < size:
            return found
        page = list(await ask({"cursor": mark}))
        found += page
    raise _too_many(what)


def whole(rows: Sequence[Row], size: int | None, what: str) -> Sequence[Row]:
    """Return a list that came in one answer, unless it may have been cut.

    Args:
        size: rows of a full answer, 0 where one gives all; None: nobody knows.

    Raises:
        VenueError: it may have been cut.
    """
    if size == 0 or len(rows) < (size or SHORTEST):
        return rows
    raise VenueError(f"{what}: nobody can tell whether these are all, so they are no answer")


__all__ = ["SHORTEST", "Pages", "by_cursor", "since", "whole"]
