"""Live bars of more than a minute, made of the minutes that Alpaca streams.

They are those that its history has: the same intervals, labelled by when they close, and nothing
from before the exchange let anybody trade. An interval is over when its last minute is told, when
one of a later interval is, or when it has been over for a while: minutes without a trade are never
told. A minute that Alpaca corrects while its interval still forms is taken as corrected; what it
revises afterwards is a matter for the parity report, as with any other bar.
"""

from __future__ import annotations

import numpy as np

from regimeflow.data.aggregate import resample
from regimeflow.model.market import BAR_FIELDS, Bar, BarColumns
from regimeflow.model.timeframe import NS_PER_SECOND, format_timeframe

_NS_PER_HOUR = 3_600 * NS_PER_SECOND
#: How long after its end an interval waits for its last minute, and how far clocks may differ.
_LATE_NS = 2 * NS_PER_SECOND


def makes_up(timeframe: int, unit: int) -> bool:
    """Whether streamed bars make up longer ones whose beginnings are known.

    Those that divide an hour begin with it in any time zone. Where others begin, four hours for
    one, only Alpaca knows.
    """
    divides = timeframe % unit == 0 and _NS_PER_HOUR % timeframe == 0
    return divides or timeframe == unit


def no_live_bars(timeframe: int) -> str:
    """Return the sentence for a bar length that cannot be streamed."""
    return (
        f"Alpaca streams bars of one minute, and bars of {format_timeframe(timeframe)} cannot be "
        "made of them: take a whole number of minutes that divides an hour, or one hour"
    )


class Coarse:
    """Makes bars of finer ones, as these are told.

    Args:
        timeframe: of the bars that are made; unit: of those that are told, nanoseconds.
        begun: since when all of them are told, UTC nanoseconds.

    Attributes:
        late_ns: how long after its end an interval waits.
        partial: end of the interval that had begun before, of which a part was not told; 0 where
            there is none.
    """

    def __init__(self, timeframe: int, unit: int, begun: int) -> None:
        self.timeframe, self.unit = timeframe, unit
        self.late_ns = min(_LATE_NS, unit)
        # The unit that is forming now is told whole at its end.
        first = (begun + self.late_ns) // unit * unit
        whole = -(-first // timeframe) * timeframe
        self.partial = whole if first < whole else 0
        self._from = whole
        self._forming: dict[str, dict[int, Bar]] = {}
        self._told: dict[str, int] = {}

    def take(self, bar: Bar) -> list[Bar]:
        """Take a bar in, or what it was corrected to; return the longer ones that are over now."""
        end = self._end_of(bar.ts)
        if end - self.timeframe < self._from or end <= self._told.get(bar.symbol, 0):
            return []
        over = [] if end == bar.ts else self._over(bar.symbol, end - self.timeframe)
        self._forming.setdefault(bar.symbol, {})[bar.ts] = bar
        return over if end != bar.ts else self._over(bar.symbol, end)

    def due(self, now: int) -> list[Bar]:
        """Return the bars whose time has been over for long enough."""
        until = (now - self.late_ns) // self.timeframe * self.timeframe
        return [bar for symbol in list(self._forming) for bar in self._over(symbol, until)]

    def next_due(self, now: int) -> int:
        """Return when `due` should be asked next, UTC nanoseconds."""
        return ((now - self.late_ns) // self.timeframe + 1) * self.timeframe + self.late_ns

    def _end_of(self, ts: int) -> int:
        return -(-ts // self.timeframe) * self.timeframe

    def _over(self, symbol: str, until: int) -> list[Bar]:
        """Return the bars of a symbol that end up to a time, and forget what made them."""
        forming = self._forming.get(symbol, {})
        rows = [forming.pop(ts) for ts in sorted(forming) if self._end_of(ts) <= until]
        if not rows:
            return []
        o, h, l, c, v = (  # noqa: E741
            np.array([getattr(row, name) for row in rows]) for name in BAR_FIELDS
        )
        times = np.array([row.ts for row in rows], dtype=np.int64)
        made = resample(BarColumns(symbol, self.unit, times, o, h, l, c, v), self.timeframe)
        self._told[symbol] = int(made.ts[-1])
        columns = (made.ts, *(made.column(name) for name in BAR_FIELDS))
        return [
            Bar(ts, 0, symbol, o, h, l, c, v, self.timeframe)
            for ts, o, h, l, c, v in zip(*(x.tolist() for x in columns), strict=True)  # noqa: E741
        ]
