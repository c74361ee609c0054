"""Progress of long work: a bar that shows itself only where the work takes long."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

#: Work that is over sooner shows no bar.
_DELAY_S = 2.0


class Progress:
    """A progress bar, a callable told the fraction done, or nothing.

    Args:
        wanted: True or False, None for "where it takes long", or a callable.
        total: how many steps there are.
        what: stands before the bar.
    """

    def __init__(
        self, wanted: bool | Callable[[float], None] | None, total: int, what: str
    ) -> None:
        self._wanted = wanted
        self._total = total
        self._what = what
        self._bar: Any = None

    def __enter__(self) -> Self:
        if self._wanted is None or self._wanted is True:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                total=self._total,
                desc=self._what,
                unit=" events",
                unit_scale=True,
                mininterval=0.1,
                leave=False,
                delay=0.0 if self._wanted else _DELAY_S,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def to(self, done: int) -> None:
        """Say that so many steps are done."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif callable(self._wanted):
            self._wanted(done / self._total if self._total else 1.0)
