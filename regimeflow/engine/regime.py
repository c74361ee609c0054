"""Which kind of market it is: the port, and one detector that looks only back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections import deque

from regimeflow.engine.indicators.base import Parametric, positive, whole
from regimeflow.engine.indicators.rolling import SMA
from regimeflow.errors import ConfigError
from regimeflow.model.market import Bar

#: The usual labels; a detector of one's own may give others.
REGIMES = ("bull", "neutral", "bear", "crisis")


class Regime(Parametric, ABC):
    """Tells the kind of market from closed bars, one after the other.

    A detector holds the state of one series. It must follow from the bars it was given alone, or a
    replay would decide differently.
    """

    @abstractmethod
    def update(self, bar: Bar) -> tuple[str, float]:
        """Take in a closed bar; return the label, and how sure it is from 0 to 1."""


class VolatilityRegime(Regime):
    """Crisis when volatility is far above its usual level, else bull or bear by the trend.

    Volatility is the root mean square of the last ``window`` log returns, close to close; its usual
    level is the median over the last ``memory`` bars, measured every ``window // 10`` of them: a
    crisis shorter than half of that does not move it. The trend is the return over ``trend_window``
    bars in units of what a driftless market of that volatility would show in one standard
    deviation.

    Each regime is entered at one threshold and left at a lower one, so that it does not flicker.
    The confidence is a probability under independent normal returns: of a crisis, that volatility
    truly lies above the threshold that now separates crisis from the rest; of a bull or bear
    market, that it does not and that the drift truly has that sign; of a neutral one, that it does
    not and that the drift is truly below the threshold.

    The label is "neutral" with confidence 0.0 until ``2 * window`` and ``trend_window`` returns are
    in, and while the usual volatility is 0 (a series that mostly does not move).

    It watches one series: the one named, or else that of its first bar. Bars of others, bars that
    come out of order and bars whose close is not positive, and so has no logarithm, change nothing.

    Args:
        window: of volatility, returns.
        calm: a crisis is over when volatility is below ``calm`` times its usual level.
        crisis: it begins at ``crisis`` times the usual level.
        trend: what counts as a trend, standard deviations; one that holds is left at half of it.
        trend_window: of the trend, returns; ``window`` if None.
        memory: of the usual level, bars; ``20 * window`` if None.
        symbol: the series to watch; that of the first bar if None.
        timeframe: likewise, nanoseconds.

    Raises:
        ConfigError: for a parameter that makes no sense.
    """

    def __init__(
        self,
        window: int = 60,
        *,
        calm: float = 1.5,
        crisis: float = 2.0,
        trend: float = 1.0,
        trend_window: int | None = None,
        memory: int | None = None,
        symbol: str | None = None,
        timeframe: int | None = None,
    ) -> None:
        self.window = whole(self, "window", window, 2)
        self.calm = positive(self, "calm", calm)
        self.crisis = positive(self, "crisis", crisis)
        self.trend = positive(self, "trend", trend)
        self.trend_window = whole(
            self, "trend_window", self.window if trend_window is None else trend_window, 1
        )
        self.memory = whole(
            self, "memory", 20 * self.window if memory is None else memory, self.window
        )
        self.symbol = symbol
        self.timeframe = timeframe
        if not 1.0 <= self.calm <= self.crisis:
            raise ConfigError(
                f"VolatilityRegime: need 1 <= calm <= crisis, got calm={calm!r}, crisis={crisis!r}"
            )
        self.label = "neutral"
        self.confidence = 0.0
        self._ts = -1
        self._logs: deque[float] = deque(maxlen=self.trend_window + 1)
        self._variance = SMA(self.window)
        self._changes = 0
        self._warm = max(2 * self.window, self.trend_window)
        self._every = max(1, self.window // 10)
        self._levels = _RunningMedian(self.memory // self._every)
        self._usual = 0.0
        self._error = 1.0 / math.sqrt(2.0 * self.window)
        self._drift_error = math.sqrt(self.trend_window)

    def update(self, bar: Bar) -> tuple[str, float]:
        """Take in a closed bar; return the label and its confidence."""
        watched = bar.symbol == self.symbol and bar.timeframe == self.timeframe
        if (watched or self._adopts(bar)) and bar.ts > self._ts:
            self._ts = bar.ts
            if 0.0 < bar.close < math.inf:
                self._judge(math.log(bar.close))
        return self.label, self.confidence

    def _adopts(self, bar: Bar) -> bool:
        """Whether the bar is of the watched series, once what was left open is settled by it."""
        if self.symbol not in (None, bar.symbol) or self.timeframe not in (None, bar.timeframe):
            return False
        self.symbol, self.timeframe = bar.symbol, bar.timeframe
        return True

    def _judge(self, log: float) -> None:
        logs = self._logs
        logs.append(log)
        if len(logs) == 1:
            return
        change = log - logs[-2]
        volatility = math.sqrt(self._variance.update(change * change))
        self._changes = count = self._changes + 1
        if count >= self.window and count % self._every == 0:
            self._usual = self._levels.update(volatility)
        if count < self._warm or self._usual == 0.0:
            self.label, self.confidence = "neutral", 0.0
            return
        ratio = volatility / self._usual
        threshold = self.calm if self.label == "crisis" else self.crisis
        # The logarithm of a volatility measured on n normal returns has a standard error of about
        # 1 / sqrt(2 n).
        turmoil = _normal(math.log(ratio / threshold) / self._error) if ratio else 0.0
        if ratio >= threshold:
            self.label, self.confidence = "crisis", turmoil
            return
        spread = volatility * self._drift_error
        self.label, chance = self._direction((log - logs[0]) / spread if spread else 0.0)
        self.confidence = (1.0 - turmoil) * chance

    def _direction(self, strength: float) -> tuple[str, float]:
        """Return bull, bear or neutral, and the probability of it."""
        leave = self.trend / 2.0
        if strength >= (leave if self.label == "bull" else self.trend):
            return "bull", _normal(strength)
        if -strength >= (leave if self.label == "bear" else self.trend):
            return "bear", _normal(-strength)
        return "neutral", _normal(self.trend - strength) - _normal(-self.trend - strength)


class _RunningMedian:
    """Median of the last ``memory`` values; the lower of the two middle ones."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.count = 0
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def update(self, value: float) -> float:
        self._order.append(value)
        insort(self._sorted, value)
        self.count += 1
        if self.count > self.memory:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]
        return self._sorted[(len(self._sorted) - 1) // 2]


def _normal(z: float) -> float:
    """Return the standard normal distribution function."""
    return 0.5 * math.erfc(-z * math.sqrt(0.5))
