"""A trend follower: all in while the quick average is above the slow one, else out."""

import regimeflow as rf


class SmaCross(rf.Strategy):
    fast: int = 50  # bars
    slow: int = 200
    weight: float = 0.95  # of equity

    def initialize(self, ctx):
        self.quick = ctx.indicator(rf.SMA(self.fast))
        self.calm = ctx.indicator(rf.SMA(self.slow))

    def on_bar(self, ctx, bar):
        if self.calm.ready:
            up = self.quick.value > self.calm.value
            ctx.target(bar.symbol, weight=self.weight if up else 0.0)
