"""Bars and orders as text a trader can read, run through a backtest.

Bars: one per line, ``open high low close``; bar ``n`` (from 0) closes ``n + 1`` minutes after
`BEGIN`. Orders: ``"0 buy 10 limit 99 ioc"`` is sent while bar 0 is handled; ``"2 cancel 1"`` and
``"2 replace 1 limit 98"`` speak of the first order. What comes back are lines too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import regimeflow as rf

MINUTE = 60_000_000_000
BEGIN = 1_704_153_600_000_000_000  # 2024-01-02 00:00 UTC


def bars_frame(text: str, step_ns: int = MINUTE, begin: int = BEGIN) -> pd.DataFrame:
    """Return a frame of open-labelled bars."""
    rows = [[float(word) for word in line.split()] for line in text.split("\n") if line.strip()]
    columns = dict(zip(["open", "high", "low", "close"], np.array(rows).T, strict=True))
    times = pd.to_datetime(begin + step_ns * np.arange(len(rows)), utc=True)
    return pd.DataFrame({**columns, "volume": 1e6}, index=times)


class Scripted(rf.Strategy):
    """Sends the orders of a script and notes what it is told."""

    script: str = ""

    def initialize(self, ctx: Any) -> None:
        self.lines: dict[int, list[list[str]]] = {}
        for line in self.script.split("\n"):
            words = line.split()
            if words:
                self.lines.setdefault(int(words[0]), []).append(words[1:])
        self.sent: list[Any] = []
        self.place = -1
        self.started = 0

    def on_start(self, ctx: Any) -> None:
        self.started = ctx.now

    def on_bar(self, ctx: Any, bar: Any) -> None:
        self.place += 1
        self.act(ctx, bar.symbol)

    def on_tick(self, ctx: Any, trade: Any) -> None:
        self.on_bar(ctx, trade)

    def on_quote(self, ctx: Any, quote: Any) -> None:
        self.on_bar(ctx, quote)

    def act(self, ctx: Any, symbol: str) -> None:
        for words in self.lines.get(self.place, []):
            verb, *rest = words
            if verb == "cancel":
                ctx.cancel(self.sent[int(rest[0]) - 1])
            elif verb == "replace":
                ctx.replace(self.sent[int(rest[0]) - 1], **pairs(rest[1:], BEGIN))
            else:
                self.sent.append(
                    getattr(ctx, verb)(symbol, float(rest[0]), **pairs(rest[1:], BEGIN))
                )


def pairs(words: list[str], begin: int) -> dict[str, Any]:
    """Return the keyword arguments that the words stand for."""
    kwargs: dict[str, Any] = {}
    left = iter(words)
    for word in left:
        if word in ("ioc", "fok", "day", "gtc"):
            kwargs["tif"] = word
        elif word == "gtd":  # minutes after the beginning
            kwargs["expire_at"] = begin + round(float(next(left)) * MINUTE)
        else:
            kwargs[word] = float(next(left))
    return kwargs


def run(script: str, data: Any, **options: Any) -> rf.Report:
    """Run a script."""
    options.setdefault("cash", 1e6)
    return rf.backtest(Scripted(script=script), data, **options)


def told(report: rf.Report) -> list[str]:
    """Return one line an order: how it ended, and its fill as minute of execution and price."""
    fills = {fill.order_id: fill for fill in report.data.fills}
    lines = []
    for order in report.data.orders:
        fill = fills.get(order.id)
        if fill is None:
            lines.append(f"{order.status}")
        else:
            at = (fill.executed_at - BEGIN) / MINUTE
            lines.append(f"{order.status} {fill.price:.10g} at {at:g} {fill.liquidity}")
    return lines
