"""The strategies of the benchmarks, written as a user would write them."""

from __future__ import annotations

from datetime import UTC, datetime

import regimeflow as rf


class Crossings(rf.Strategy):
    """A moving-average cross that sends an order when the averages cross, and else none."""

    def initialize(self, ctx):
        self.quick = ctx.indicator(rf.SMA(20))
        self.calm = ctx.indicator(rf.SMA(50))
        self.above = False

    def on_bar(self, ctx, bar):
        if not self.calm.ready:
            return
        above = self.quick.value > self.calm.value
        if above != self.above:
            self.above = above
            if above:
                ctx.buy(bar.symbol, 100)
            else:
                ctx.sell(bar.symbol, 100)


class SmaCross(rf.Strategy):
    """The same cross as a target on every bar."""

    fast: int = 20
    slow: int = 50

    def initialize(self, ctx):
        self.quick = ctx.indicator(rf.SMA(self.fast))
        self.calm = ctx.indicator(rf.SMA(self.slow))

    def on_bar(self, ctx, bar):
        if not self.calm.ready:
            return
        ctx.target(bar.symbol, weight=1.0 if self.quick.value > self.calm.value else 0.0)


class Nothing(rf.Strategy):
    """Looks at every bar and does nothing."""

    def on_bar(self, ctx, bar):
        pass


class Momentum(rf.Strategy):
    """Holds the fifty symbols that rose most in sixty days, chosen anew every month."""

    def initialize(self, ctx):
        self.month = 0

    def on_bars(self, ctx, bars):
        month = datetime.fromtimestamp(ctx.now / 1e9, UTC).month
        if month != self.month:
            self.month = month
            hold_the_strongest(ctx)


class MomentumByBar(rf.Strategy):
    """The same, from a callback for every single bar."""

    def initialize(self, ctx):
        self.day = 0
        self.month = 0

    def on_bar(self, ctx, bar):
        if bar.ts == self.day:
            return
        self.day = bar.ts
        month = datetime.fromtimestamp(ctx.now / 1e9, UTC).month
        if month != self.month:
            self.month = month
            hold_the_strongest(ctx)


def hold_the_strongest(ctx):
    """Target equal weights of the fifty symbols with the highest 60-day return."""
    risen = []
    for symbol in ctx.symbols:
        close = ctx.bars(symbol, 61).close
        if len(close) == 61:
            risen.append((close[-1] / close[0], symbol))
    risen.sort(reverse=True)
    ctx.targets({symbol: 1 / 50 for _, symbol in risen[:50]})


class Ewma(rf.Strategy):
    """Follows trades with an exponential average and seldom trades."""

    def initialize(self, ctx):
        self.mean = 0.0
        self.long = False

    def on_tick(self, ctx, trade):
        price = trade.price
        self.mean = mean = self.mean + 0.001 * (price - self.mean) if self.mean else price
        if self.long:
            if price < mean * 0.995:
                self.long = False
                ctx.sell(trade.symbol, 100)
        elif price > mean * 1.005:
            self.long = True
            ctx.buy(trade.symbol, 100)


class EveryFourth(rf.Strategy):
    """Buys and sells in turn on every fourth tick, and says which tick it was."""

    def initialize(self, ctx):
        self.count = 0

    def on_tick(self, ctx, trade):
        self.count += 1
        if self.count % 4 == 0:
            act = ctx.buy if self.count % 8 else ctx.sell
            act(trade.symbol, 1, tag=str(trade.ts))
