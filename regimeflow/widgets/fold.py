"""A run as a dashboard keeps it: orders, fills, prices, limits and a log, from its journal alone.

It is the same for a session of this process, one elsewhere and one that ended long ago, and asks
nothing of the thread that trades.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from regimeflow.analytics.quality_fold import QualityFold
from regimeflow.model.events import Command, Input, OrderUpdate, Output, Resumed, Start
from regimeflow.model.market import Bar, Bars, Quote, Trade
from regimeflow.model.models import Limits
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.session.dry_run import WHY as NOT_SENT
from regimeflow.session.keeper import Keeper
from regimeflow.session.metrics import MetricsFold

#: Candles that are kept of all symbols together, and of each at least and at most.
_CANDLES, _FEWEST, _MOST = 40_000, 400, 20_000

#: Time of the close in nanoseconds, open, high, low, close.
Candle = tuple[int, float, float, float, float]


class Candles:
    """Prices of every symbol: its finest bars, or one candle a second where it has only ticks."""

    def __init__(self) -> None:
        self.kept: dict[str, deque[Candle]] = {}
        self.prices: dict[str, float] = {}
        self._finest: dict[str, int] = {}
        self._most = _MOST
        self._traded: set[str] = set()

    def begin(self, start: Start) -> None:
        """Take note of the series of a run."""
        for symbol, timeframe in zip(start.symbols, start.timeframes, strict=True):
            if timeframe:
                self._finest[symbol] = min(timeframe, self._finest.get(symbol, timeframe))
        count = max(1, len(set(start.symbols)))
        self._most = min(_MOST, max(_FEWEST, _CANDLES // count))

    def take(self, event: Bar | Bars | Trade | Quote) -> None:
        """Take in prices."""
        if isinstance(event, Bar):
            self._bar(event)
        elif isinstance(event, Bars):
            for bar in event.bars:
                self._bar(bar)
        elif isinstance(event, Trade):
            if event.symbol not in self._traded:
                self._traded.add(event.symbol)
                self.kept.pop(event.symbol, None)
            self._tick(event.symbol, event.ts, event.price)
        elif event.symbol not in self._traded:
            self._tick(event.symbol, event.ts, event.mid)

    def _bar(self, bar: Bar) -> None:
        if self._finest.get(bar.symbol, bar.timeframe) == bar.timeframe:
            self._keep(bar.symbol, (bar.ts, bar.open, bar.high, bar.low, bar.close))

    def _tick(self, symbol: str, ts: int, price: float) -> None:
        if symbol in self._finest:
            self.prices[symbol] = price
            return
        second = ts - ts % NS_PER_SECOND
        last = self.kept[symbol][-1] if symbol in self.kept else None
        if last is None or last[0] < second:
            self._keep(symbol, (second, price, price, price, price))
        elif last[0] == second:
            self._keep(symbol, (second, last[1], max(last[2], price), min(last[3], price), price))

    def _keep(self, symbol: str, candle: Candle) -> None:
        kept = self.kept.get(symbol)
        if kept is None:
            kept = self.kept[symbol] = deque(maxlen=self._most)
        if kept and kept[-1][0] >= candle[0]:
            if kept[-1][0] > candle[0]:
                return  # it came too late to be drawn
            kept.pop()
        kept.append(candle)
        self.prices[symbol] = candle[4]

    def since(self, symbol: str, ts: int) -> list[Candle]:
        """Return the candles of a symbol from a time on, in order."""
        fresh: list[Candle] = []
        for candle in reversed(self.kept.get(symbol, ())):
            if candle[0] < ts:
                break
            fresh.append(candle)
        fresh.reverse()
        return fresh


class CountingKeeper(Keeper):
    """Counts the lines of its log, those included that are not kept any more.

    Attributes:
        lines: how many there ever were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0

    def note(self, at: int, level: str, text: str) -> None:
        super().note(at, level, text)
        self.lines += 1


class RunFold:
    """Everything a board shows that a journal tells.

    Attributes:
        keeper: orders, fills, log.
        metrics: measures, limits and books.
        quality: what each execution cost.
        candles: prices.
        start, limits: what the run began with, and the limits that hold now.
        dry: whether orders were written down and not sent.
        events: how many were taken in.
    """

    def __init__(self) -> None:
        self.keeper = CountingKeeper()
        self.metrics = MetricsFold()
        self.quality = QualityFold(seconds=(), bars=())
        self.candles = Candles()
        self.start: Start | None = None
        self.limits = Limits()
        self.dry = False
        self.events = 0

    def take(self, event: Input, outputs: Sequence[Output]) -> None:
        """Take in an event and what it caused."""
        self.events += 1
        if isinstance(event, Bar | Bars | Trade | Quote):
            self.candles.take(event)
        elif isinstance(event, Command):
            self.keeper.note(event.seen, "command", f"{event.name} by {event.who}: {event.why}")
        elif isinstance(event, Start) and self.start is None:
            self.start, self.limits = event, event.limits
            self.candles.begin(event)
        elif isinstance(event, Resumed) and event.limits is not None:
            self.limits = event.limits
        elif isinstance(event, OrderUpdate) and event.reason == NOT_SENT:
            self.dry = True
        self.keeper.take(event, outputs)
        self.metrics.follow(event, outputs)
        self.quality.take(event, outputs)
