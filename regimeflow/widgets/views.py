"""A report as an explorer's page is told it: its head once, then stretches of it as they are asked.

Everything is cut to what a screen holds, whatever the length of the run: at most `ROWS` points and
`MARKS` marks a stretch. A page gets numbers, and texts that it shows as texts.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from regimeflow.analytics.fold import priced, rows_by_symbol
from regimeflow.analytics.html import cut, model_line, params_line, remarks, tile_names
from regimeflow.analytics.metrics import show, spec_of
from regimeflow.analytics.report import Report
from regimeflow.analytics.trips import Trips
from regimeflow.analytics.windows import Window, spans, window, worst_drawdowns
from regimeflow.errors import DataError
from regimeflow.model.market import FloatArray, IntArray
from regimeflow.model.order import Order
from regimeflow.model.timeframe import NS_PER_MS

Parts = dict[str, Any]

ROWS = 1_200
MARKS = 160
#: The longest name that can be asked for, characters.
NAME = 300
_GROUPS = 40
_OVERVIEW = 300
_TRIPS = 40
_DRAWDOWNS = 10
_TEXT = 400
_SYMBOLS = 500
_RECORDS = 200
_AROUND = 30
#: What the lowest pane can show of every run; names of records follow.
_ALWAYS = ("exposure", "cash")


class Views:
    """What can be asked of a report; nothing here changes, so any thread may ask.

    Raises:
        DataError: the report has no prices.
    """

    def __init__(self, report: Report) -> None:
        if not report.has_run or not len(report.curve.ts):
            raise DataError("there is nothing to explore: the report has no prices")
        self.report = report
        self.prices = priced(report.data)
        fills = report.fill_columns
        self._rows = rows_by_symbol(fills.symbols)
        by_count = sorted(self._rows, key=lambda s: (-len(self._rows[s]), s))
        known = dict.fromkeys([*by_count, *self.prices, *report.symbols])
        self.symbols = [name for name in known if len(name) <= NAME][:_SYMBOLS]
        # The columns are in order of time, and so are these.
        booked = np.fromiter((f.ts for f in report.data.fills), np.int64, len(fills.ts))
        self._fills = np.argsort(booked, kind="stable")
        self._extras: dict[str, tuple[IntArray, FloatArray]] = {
            "exposure": (report.curve.ts, report.curve.exposure()),
            "cash": (report.curve.ts, report.curve.cash),
        }

    # ------------------------------------------------------------ at first

    def snapshot(self) -> Parts:
        """Return the head, the whole run, and what can be looked at more closely."""
        ts = self.report.curve.ts
        symbol = self.symbols[0] if self.symbols else ""
        return {
            "head": self._head(),
            "overview": self._overview(),
            "trips": self._trips(),
            "drawdowns": self._drawdowns(),
            "window": self.stretch(symbol, _ALWAYS[0], int(ts[0]), int(ts[-1])),
        }

    def _head(self) -> Parts:
        report, metrics = self.report, self.report.metrics
        return {
            "title": cut(report.strategy or "Report", _TEXT),
            "params": cut(params_line(report), _TEXT),
            "facts": [cut(fact, _TEXT) for fact in report.facts()],
            "model": model_line(report),
            "error": cut(report.error, _TEXT),
            "remarks": remarks(report),
            "tiles": [
                (spec_of(name).label, show(name, metrics[name]), spec_of(name).meaning)
                for name in tile_names(metrics)
            ],
            "zone": report.timezone or "UTC",
            "symbols": self.symbols,
            "extras": list(dict.fromkeys([*_ALWAYS, *self.records])),
            "start": report.curve.start,
            "bars": len(report.curve.ts),
            "fills": len(report.data.fills),
            "seconds": 0 < report.data.timeframe < 60_000 * NS_PER_MS or not report.data.timeframe,
        }

    def _overview(self) -> Parts:
        curve = self.report.curve
        whole = window(curve.ts, int(curve.ts[0]), int(curve.ts[-1]), _OVERVIEW)
        low, high, _ = spans(curve.equity, whole.starts, whole.stops)
        return {"t": _seconds(whole.ends), "low": _plain(low), "high": _plain(high)}

    def _trips(self) -> Parts:
        trips = self.report.trips[0]
        order = np.argsort(trips.pnl, kind="stable")
        losses = order[trips.pnl[order] < 0][:_TRIPS]
        gains = order[::-1][trips.pnl[order[::-1]] > 0][:_TRIPS]
        newest = np.arange(len(trips))[::-1][:_TRIPS]
        chosen = {"losses": losses, "gains": gains, "newest": newest}
        rows = {name: [_trip(trips, int(i)) for i in at] for name, at in chosen.items()}
        return {"count": len(trips), **rows}

    def _drawdowns(self) -> list[Any]:
        report, curve = self.report, self.report.curve
        worst = worst_drawdowns(curve.ts, report.drawdown, curve.start_ts, _DRAWDOWNS)
        return [
            (_ms(p), _ms(t), _ms(e) if e else None, _known(depth), bars)
            for p, t, e, depth, bars in zip(
                worst.peak.tolist(), worst.trough.tolist(), worst.end.tolist(),
                worst.depth.tolist(), worst.bars.tolist(), strict=True,
            )
        ]  # fmt: skip

    # ------------------------------------------------------------ a stretch

    def stretch(self, symbol: str, extra: str, first: int, last: int) -> Parts:
        """Return what lies between two times, and half as many rows on either side.

        Args:
            symbol: of the price and the fills; where there is no price, that pane is empty.
            extra: what the lowest pane shows: exposure, cash, or the name of a record.
            first, last: UTC nanoseconds.
        """
        curve, ts = self.report.curve, self.report.curve.ts
        found, (first, last) = self._around(first, last)
        low, high, equity = spans(curve.equity, found.starts, found.stops)
        depth, _, _ = spans(self.report.drawdown, found.starts, found.stops)
        prices = self.prices.get(symbol)
        series = (prices.ts, prices.close) if prices is not None else None
        return {
            "symbol": symbol,
            "extra": extra,
            "from": first // NS_PER_MS / 1e3,
            "to": last // NS_PER_MS / 1e3,
            "begins": bool(found.starts[0] == 0),
            "ends": bool(found.stops[-1] == len(ts)),
            "exact": found.exact,
            "bars": found.rows,
            "t": _seconds(found.ends),
            "price": self._columns(series, found),
            "equity": [_plain(low), _plain(high), _plain(equity)],
            "drawdown": _plain(depth),
            "below": self._columns(self.series(extra), found),
            **self._marks(symbol, found),
        }

    def _around(self, first: int, last: int) -> tuple[Window, tuple[int, int]]:
        ts = self.report.curve.ts
        first, last = (min(max(t, int(ts[0])), int(ts[-1])) for t in sorted((first, last)))
        a, b = int(ts.searchsorted(first)), int(ts.searchsorted(last, "right")) - 1
        room = max((b - a) // 2, _AROUND)
        begin, end = max(min(a, b) - room, 0), min(max(a, b) + room, len(ts) - 1)
        return window(ts, int(ts[begin]), int(ts[end]), ROWS), (first, last)

    def _columns(self, series: tuple[IntArray, FloatArray] | None, found: Window) -> list[Any]:
        if series is None:
            return []
        at, values = series
        return [_plain(column) for column in spans(values, *found.of(at))]

    def _marks(self, symbol: str, found: Window) -> Parts:
        """Return the fills one by one, or, of many, how many lie where."""
        fills = self.report.fill_columns
        rows = self._rows.get(symbol, np.empty(0, dtype=np.intp))
        at = fills.ts[rows]
        a = int(at.searchsorted(found.begins[0]))
        b = len(at) if found.stops[-1] == len(self.report.curve.ts) else int(
            at.searchsorted(found.ends[-1], "right")
        )  # fmt: skip
        places = found.place(at[a:b])
        if b - a > MARKS:
            return {"fills": [], "groups": self._groups(rows[a:b], places, found)}
        return {"groups": [], "fills": [
            self._fill(place, int(rows[place]), float(_seconds(found.ends[[bucket]])[0]))
            for place, bucket in zip(range(a, b), places.tolist(), strict=True)
        ]}  # fmt: skip

    def _fill(self, place: int, row: int, shown_s: float) -> list[Any]:
        fill = self.report.data.fills[int(self._fills[row])]
        return [
            place, shown_s, _ms(fill.executed_at or fill.ts), fill.side, fill.qty, fill.price,
            fill.fee, fill.order_id,
        ]  # fmt: skip

    def _groups(self, rows: Any, places: IntArray, found: Window) -> list[Any]:
        fills = self.report.fill_columns
        signed, price = fills.signed[rows], fills.price[rows]
        coarse = places * _GROUPS // len(found)
        groups = []
        for buy in (True, False):
            mine = np.flatnonzero((signed > 0) == buy)
            names, first, counts = np.unique(coarse[mine], return_index=True, return_counts=True)
            units = np.bincount(coarse[mine], np.abs(signed[mine]))[names]
            money = np.bincount(coarse[mine], np.abs(signed[mine]) * price[mine])[names]
            shown = _seconds(found.ends[places[mine][first]])
            groups += [
                [at, "buy" if buy else "sell", count, _known(size), _known(paid / size)]
                for at, count, size, paid in zip(
                    shown, counts.tolist(), units.tolist(), money.tolist(), strict=True
                )
            ]
        return sorted(groups, key=lambda group: group[0])

    def fill(self, symbol: str, extra: str, at: int, place: int | None, step: int) -> Parts:
        """Return the stretch around one fill.

        Args:
            at: where the page looks, UTC nanoseconds.
            place: number of the fill that it showed before, if it did.
            step: 1 for the next one, -1 for the one before.
        """
        rows = self._rows.get(symbol)
        if rows is None:
            return self.stretch(symbol, extra, at, at)
        times = self.report.fill_columns.ts[rows]
        if place is None:
            place = int(times.searchsorted(at)) - (1 if step < 0 else 0)
        else:
            place += step
        place = min(max(place, 0), len(rows) - 1)
        ts = self.report.curve.ts
        row = min(int(ts.searchsorted(times[place])), len(ts) - 1)
        a, b = max(row - _AROUND, 0), min(row + _AROUND, len(ts) - 1)
        shown = self.stretch(symbol, extra, int(ts[a]), int(ts[b]))
        return shown | {"focus": place, "of": len(rows)}

    # ------------------------------------------------------------ records and stories

    @cached_property
    def records(self) -> list[str]:
        """Names that were given to ``ctx.record``, as many and as long as a list can show."""
        names = dict.fromkeys(name for r in self.report.data.records for name in r.values)
        return [name for name in names if len(name) <= NAME][:_RECORDS]

    def series(self, name: str) -> tuple[IntArray, FloatArray] | None:
        """Return times and values of exposure, cash or a record."""
        if name not in self._extras and name in self.records:
            records = self.report.data.records
            ts = np.fromiter((r.seen for r in records), np.int64, len(records))
            nan = math.nan
            values = np.fromiter((r.values.get(name, nan) for r in records), float, len(records))
            known = ~np.isnan(values)
            self._extras[name] = (ts[known], values[known])
        return self._extras.get(name)

    @cached_property
    def _orders(self) -> dict[str, Order]:
        return {order.id: order for order in self.report.data.orders}

    def story(self, order_id: str) -> Parts:
        """Return an order's whole story: what happened to it, and each of its fills."""
        fills = [fill for fill in self.report.data.fills if fill.order_id == order_id]
        order = self._orders.get(order_id)
        lines = []
        for fill in fills:
            words = f"{fill.qty:g} at {fill.price:g}, fee {fill.fee:,.2f}, {fill.liquidity}"
            if order is not None and order.decision_price > 0:
                sign = 1.0 if fill.side == "buy" else -1.0
                paid = sign * (fill.price / order.decision_price - 1.0) * 1e4
                words += (
                    f"; slippage {round(paid, 2) + 0.0:+.2f} bp against the price it was decided at"
                )
            lines.append((fill.executed_at or fill.ts, "execution", words))
        if order is None:
            what = "the report has its fills only" if fills else "it is not of this report"
            title = f"order {order_id}: {what}"
        else:
            title = _titled(order)
            price = f"last price {order.decision_price:g}" if order.decision_price > 0 else ""
            # A report that was loaded from a file has what an order came to, not its way there.
            told = order.log or ((order.updated, order.status, order.reason),)
            lines += [(at, what.replace("_", " "), detail) for at, what, detail in told]
            lines.append((order.created, "decided", price))
        order_of = {"decided": 0, "sent": 1, "execution": 3}
        lines.sort(key=lambda line: (line[0], order_of.get(line[1], 2)))
        return {
            "order": order_id,
            "title": cut(title, _TEXT),
            "lines": [(_ms(at), what, cut(detail, _TEXT)) for at, what, detail in lines[:100]],
        }


def _titled(order: Order) -> str:
    at = "".join(f" {name} {v:g}" for name in ("limit", "stop") if (v := getattr(order, name)))
    tag = f", tag {order.tag}" if order.tag else ""
    return (
        f"{order.side} {order.qty:g} {order.symbol}{at}: {order.status}, filled {order.filled:g}, "
        f"{order.type.replace('_', ' ')}{tag} (order {order.id})"
    )


def _trip(trips: Trips, i: int) -> list[Any]:
    return [
        i,
        trips.symbols[i],
        "long" if trips.sides[i] == "buy" else "short",
        _known(float(trips.qty[i])),
        _ms(int(trips.entry_time[i])),
        _ms(int(trips.exit_time[i])),
        _known(float(trips.entry_price[i])),
        _known(float(trips.exit_price[i])),
        _known(float(trips.pnl[i])),
        _known(float(trips.returns[i])),
        int(trips.bars[i]),
    ]


def _ms(ns: int) -> int:
    return ns // NS_PER_MS


def _seconds(ts: IntArray) -> list[float]:
    seconds: list[float] = ((ts // NS_PER_MS) / 1e3).tolist()
    return seconds


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(values: FloatArray) -> list[float | None]:
    """Return values with nine digits, enough for a picture; what is unknown is None."""
    known = np.isfinite(values)
    if not known.any():
        return [None] * len(values)
    most = float(np.abs(values[known]).max())
    digits = 9 - math.ceil(math.log10(most)) if most > 0 else 0
    rounded = np.round(values, min(max(digits, 0), 15)).tolist()
    if known.all():
        return rounded  # type: ignore[no-any-return]
    return [v if good else None for v, good in zip(rounded, known.tolist(), strict=True)]
