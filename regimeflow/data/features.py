"""The bridge to ``Strategy.features``: columns computed in the user's own pandas or polars.

A backtest computes them once over everything, a live session on the last few bars only. The two
agree only if no row looks ahead and none remembers longer than the warm-up: `check_causal` tries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import narwhals as nw
import numpy as np

from regimeflow.data.out import frame, pandas_index
from regimeflow.data.read import to_float
from regimeflow.data.times import describe, is_time, read_times
from regimeflow.errors import DataError
from regimeflow.model.market import BAR_FIELDS, BarColumns, FloatArray, IntArray
from regimeflow.model.timeframe import iso

Compute = Callable[[Any], Any]


def user_frame(bars: BarColumns, flavour: str, timezone: str | None) -> Any:
    """Return bars as a frame that a user may work on: a copy, with close times.

    pandas: a ``DatetimeIndex`` called "time"; polars: a ``time`` column. Then open, high, low,
    close, volume and the carried features.

    Args:
        bars: the series.
        flavour: "pandas" or "polars".
        timezone: zone of the times; ``None`` for naive UTC.
    """
    columns = {**{name: getattr(bars, name) for name in BAR_FIELDS}, **bars.features}
    if flavour == "pandas":
        built = frame(columns, flavour, timezone, ())
        built.index = pandas_index(bars.ts, timezone)
        return built
    times = {"time": bars.ts}
    return frame({**times, **columns}, flavour, timezone, ("time",))


def feature_columns(
    result: Any,
    expected_len: int,
    given_columns: Collection[str] | Mapping[str, FloatArray],
    *,
    times: IntArray | None = None,
) -> dict[str, FloatArray]:
    """Return the columns that ``Strategy.features`` added.

    Args:
        result: what it returned: a pandas or polars frame.
        expected_len: rows that it was given.
        given_columns: columns that it was given; with their values, overwritten ones are returned
            too.
        times: close times that it was given, UTC nanoseconds, to check that they are still there.

    Raises:
        DataError: another length, other times, or a column that is not numeric.
    """
    polars = nw.dependencies.is_polars_dataframe(result)
    if not polars and not nw.dependencies.is_pandas_dataframe(result):
        raise DataError(
            f"features() returned {type(result).__name__}: return the frame, with its new columns"
        )
    if len(result) != expected_len:
        raise DataError(
            f"features() returned {len(result)} rows for {expected_len} bars: keep every row, and"
            " leave what is not known yet as NaN (no dropna or filter)"
        )
    if times is not None:
        _check_times(result, times, polars=polars)
    found: dict[str, FloatArray] = {}
    for name in result.columns:
        if str(name) == "time":
            continue
        values = to_float(result[name])
        if values is None:
            raise DataError(
                f"features(): the column {name!r} is {result[name].dtype}, not numeric: make it a"
                " number or leave it out"
            )
        if str(name) not in given_columns or _overwritten(values, str(name), given_columns):
            found[str(name)] = values
    return found


def check_causal(
    compute: Compute,
    bars: BarColumns,
    flavour: str,
    timezone: str | None,
    *,
    warmup: int | None = None,
    cuts: int = 16,
    seed: int = 0,
    tolerance: float = 1e-9,
) -> dict[str, FloatArray]:
    """Refuse features that look ahead or need more bars than a live session gives them.

    The frame is cut at seeded places; the last row of what is left must be as in the whole. Then
    the last ``warmup`` bars before each cut must give that row too.

    Args:
        compute: frame -> frame, e.g. ``strategy.features``.
        bars: the series.
        flavour, timezone: of the frames that it is given.
        warmup: bars that a live session computes on; ``None``: all of them.
        cuts: how many places to try.
        seed: chooses the places.
        tolerance: allowed difference, relative to the larger value or, near zero, to the column's
            mean size.

    Returns:
        The columns of the whole computation.

    Raises:
        DataError: naming the column, and the first time of a look-ahead or the warm-up that would
            suffice.
    """
    probe = _Probe(compute, bars, flavour, timezone, tolerance)
    places = _places(len(bars), warmup, cuts, seed)
    for cut in places:
        if name := probe.differs(0, cut):
            raise DataError(
                f"features(): the column {name!r} looks ahead: at {iso(int(bars.ts[cut - 1]))} it"
                f" is {probe.whole[name][cut - 1]:.10g} with later bars and {probe.last[name]:.10g}"
                " without them (a negative shift, a centred window, or a statistic of the whole"
                " column?)"
            )
    if warmup is None:
        return probe.whole
    for cut in places:
        if name := probe.differs(max(0, cut - warmup), cut):
            enough = _sufficient(probe, places, warmup)
            hint = (
                f"warmup={enough} would do"
                if enough
                else "no warm-up suffices, as it depends on all bars"
            )
            raise DataError(
                f"features(): the column {name!r} needs more than the warm-up of {warmup} bars: at"
                f" {iso(int(bars.ts[cut - 1]))} it is {probe.last[name]:.10g} on those and"
                f" {probe.whole[name][cut - 1]:.10g} on all; {hint}"
            )
    return probe.whole


def sufficient_warmup(
    compute: Compute,
    bars: BarColumns,
    flavour: str,
    timezone: str | None,
    *,
    cuts: int = 16,
    seed: int = 0,
    tolerance: float = 1e-9,
) -> int:
    """Return how many trailing bars give the last row of every cut as the whole does.

    Arguments as in `check_causal`. All bars, where no smaller number was found to suffice.
    """
    probe = _Probe(compute, bars, flavour, timezone, tolerance)
    places = _places(len(bars), None, cuts, seed)
    if not places:
        return len(bars)
    return _sufficient(probe, places, 1) or len(bars)


class _Probe:
    """Compares one row computed on part of the bars with the same row computed on all."""

    def __init__(
        self,
        compute: Compute,
        bars: BarColumns,
        flavour: str,
        timezone: str | None,
        tolerance: float,
    ) -> None:
        self._compute = compute
        self._bars = bars
        self._flavour = flavour
        self._timezone = timezone
        self._tolerance = tolerance
        self.whole = self._run(bars)
        self._scale = {name: _mean_size(column) for name, column in self.whole.items()}
        self.last: dict[str, float] = {}

    def differs(self, start: int, stop: int) -> str:
        """Return the first column whose row ``stop - 1`` is another on rows ``start:stop``."""
        part = self._run(self._bars.slice(start, stop))
        self.last = {name: float(column[-1]) for name, column in part.items()}
        for name, column in self.whole.items():
            if name not in part:
                raise DataError(
                    f"features(): the column {name!r} is missing when only {stop - start} bars are"
                    " given: return the same columns for any number of bars"
                )
            if not self._agree(float(column[stop - 1]), self.last[name], self._scale[name]):
                return name
        return ""

    def _agree(self, one: float, other: float, scale: float) -> bool:
        if one == other or (one != one and other != other):
            return True
        return abs(one - other) <= self._tolerance * max(abs(one), abs(other), scale)

    def _run(self, bars: BarColumns) -> dict[str, FloatArray]:
        result = self._compute(user_frame(bars, self._flavour, self._timezone))
        given = {**{name: getattr(bars, name) for name in BAR_FIELDS}, **bars.features}
        return feature_columns(result, len(bars), given, times=bars.ts)


def _places(size: int, warmup: int | None, cuts: int, seed: int) -> list[int]:
    """Return where to cut, in order; past the warm-up, as before it there is nothing to compare."""
    low = min(max(2, size // 20, warmup or 0), size - 1)
    if low < 1:
        return []
    choice = np.arange(low, size)
    if len(choice) <= cuts:
        return [int(cut) for cut in choice]
    picked = np.random.default_rng(seed).choice(choice, cuts, replace=False)
    return sorted(int(cut) for cut in picked)


def _sufficient(probe: _Probe, places: list[int], warmup: int) -> int:
    """Return the smallest warm-up with which all cuts agree, 0 if only all bars do."""

    def enough(bars: int) -> bool:
        return not any(probe.differs(max(0, cut - bars), cut) for cut in places)

    low, high = warmup, 2 * warmup
    while high < places[-1] and not enough(high):
        low, high = high, 2 * high
    if high >= places[-1]:
        # From here on the last cut would be computed on all there is, which proves nothing.
        high = places[-1] - 1
        if high <= low or not enough(high):
            return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _mean_size(column: FloatArray) -> float:
    finite = column[np.isfinite(column)]
    return float(np.abs(finite).mean()) if len(finite) else 0.0


def _overwritten(
    values: FloatArray, name: str, given: Collection[str] | Mapping[str, FloatArray]
) -> bool:
    return isinstance(given, Mapping) and not np.array_equal(values, given[name], equal_nan=True)


def _check_times(result: Any, times: IntArray, *, polars: bool) -> None:
    if "time" in result.columns:
        values = result["time"]
    elif polars:
        return  # only new columns came back; their number of rows has been checked
    elif is_time(result.index):
        values = result.index
    else:
        raise DataError("features(): the row index no longer holds the bars' times: keep it")
    got = read_times(values, "UTC", "features()").ts
    wrong = np.flatnonzero(got != times)
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"features(): the time in row {row} is {describe(int(got[row]))}, it was"
            f" {iso(int(times[row]))}: keep the order and the times of the rows"
        )
