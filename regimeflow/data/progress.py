"""Progress of long work: a bar that shows itself only where the work takes long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

#: Work that is over sooner shows no bar.
_DELAY_S = 2.0


class Progress:
    """A progress bar, a callable told the fraction done, or nothing.

    Args:
        wanted: True or False, None for "where it takes long", or a callable. None is False where
            the environment has ``TQDM_DISABLE``, tqdm's own switch, which its bar for notebooks
            heeds too late: an empty one would be left.
        total: how many steps there are.
        what: stands before the bar.
        unit: what a step is called.
    """

    def __init__(
        self,
        wanted: bool | Callable[[float], None] | None,
        total: int,
        what: str,
        unit: str = " events",
    ) -> None:
        if wanted is None and os.environ.get("TQDM_DISABLE"):
            wanted = False
        self._wanted = wanted
        self._total = total
        self._what = what
        self._unit = unit
        self._bar: Any = None
        self._shows_from = 0.0

    def __enter__(self) -> Self:
        self._shows_from = time.monotonic() + (0.0 if self._wanted else _DELAY_S)
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
        if callable(self._wanted):
            self._wanted(done / self._total if self._total else 1.0)
        elif self._wanted is not False and time.monotonic() >= self._shows_from:
            if self._bar is None:
                self._bar = self._made()
            self._bar.update(done - self._bar.n)

    def _made(self) -> Any:
        # Not before it is to be seen: in a notebook even a bar that is never shown leaves a widget.
        from tqdm.auto import tqdm

        return tqdm(
            total=self._total or None,
            desc=self._what,
            unit=self._unit,
            unit_scale=True,
            mininterval=0.1,
            leave=False,
        )
