"""One session as it is shown: a snapshot, then what has changed since.

The pages that draw it know nothing of sessions; what they get are plain lists and numbers, in the
shapes that ``src/board.js`` takes apart. Times are milliseconds, of charts seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from regimeflow.analytics.drift import DriftRow
from regimeflow.analytics.execution_quality import FillQuality
from regimeflow.errors import SessionError
from regimeflow.journal import Tail
from regimeflow.model.events import Input, Output
from regimeflow.model.order import Order
from regimeflow.model.timeframe import lasted
from regimeflow.session.live import LiveSession
from regimeflow.session.metrics import LiveMetrics
from regimeflow.session.status import Status
from regimeflow.widgets.expected import Expected, differs
from regimeflow.widgets.fold import Candle, RunFold
from regimeflow.widgets.modes import mode_of
from regimeflow.widgets.rows import Rows, rows_of
from regimeflow.widgets.slippage import SlippageFold
from regimeflow.widgets.words import ENDED

#: What a snapshot holds at most.
BARS, FILLS, LOG = 2_000, 200, 300
#: Foreign text is cut at so many characters.
TEXT = 2_000
#: What fills of a venue that is simulated call it.
SIMULATED = "simulated"
#: Events after which other threads are let through: so long one that trades waits at most.
_POLITE = 16
#: What takes its time is measured so often.
_MEASURE_S = 0.5

Parts = dict[str, Any]


class Board:
    """What is shown of one session.

    It belongs to one thread, which calls `follow` now and then, and takes `snapshot` and `changes`.

    Args:
        session: running, detached or ended.

    Attributes:
        symbol: whose price is drawn.
    """

    def __init__(self, session: LiveSession) -> None:
        self.session = session
        self.symbol = ""
        self._fold = RunFold()
        self._tail: Tail | None = None
        self._reading: Iterator[tuple[int, Input, list[Output]]] | None = None
        self._rows: Rows | None = None
        self._drift: list[DriftRow] = []
        self._expected: Expected | None = None
        self._slippage = SlippageFold(None)
        self._fills: list[FillQuality] = []
        self._status: Status = session.status
        self._metrics = LiveMetrics()
        self._measured = -math.inf
        self._known_mode: tuple[bool, tuple[str, str]] | None = None
        self._known_venue = ""
        self._choose(self._status)
        self._told: Parts = {}
        self._candle = self._row = self._line = self._fill = 0
        self._summed = -1

    @property
    def status(self) -> Status:
        """How the session stood when it was last followed."""
        return self._status

    @property
    def over(self) -> bool:
        """Whether nothing more comes, and all of it was taken in."""
        return self._status.phase in ENDED and self._reading is None

    @property
    def _mode(self) -> tuple[str, str]:
        dry = self._fold.dry
        if self._known_mode is None or self._known_mode[0] != dry:
            self._known_mode = (dry, mode_of(self.session, dry=dry))
        return self._known_mode[1]

    @property
    def _venue(self) -> str:
        """What it is on, in the same words whoever looks."""
        if not self._known_venue:
            try:
                self._known_venue = self.session.worker.manifest().venue.strip("<>")
            except SessionError:  # it was never started
                return self._status.venue
        return self._known_venue

    @property
    def _why(self) -> str:
        """Why it stands as it stands; what an earlier state was due to says nothing of this one."""
        status, metrics = self._status, self._metrics
        state = metrics.state if status.phase in ENDED else status.state
        held = any(one.held_back for one in metrics.symbols)
        return status.why if state != "active" or held else ""

    def _choose(self, status: Status) -> None:
        symbols = dict.fromkeys(self.session.worker.begin.symbols)
        if self.symbol not in symbols:
            self.symbol = next(iter(symbols), "")

    # ------------------------------------------------------------ follow

    def follow(self, most: int = 4_000) -> bool:
        """Take in what has happened; return whether there is more than ``most`` events of it."""
        if self._status.phase == "new" or self._reading is not None:
            self._status = self.session.status
        if self._status.phase == "new":
            return False
        behind = self._read(most)
        self._take_fills()
        now = time.monotonic()
        if now >= self._measured + _MEASURE_S or self.over:
            self._measured = now
            self._metrics = self._fold.metrics.snapshot(self._status)
        if not behind:
            self._take_rows()
        return behind

    def _read(self, most: int) -> bool:
        if self._tail is None:
            self._tail = Tail(self.session.run_dir)
        if self._reading is None:
            self._status, until = self.session.worker.look()
            self._reading = self._tail.events(until)
        take, sleep = self._fold.take, time.sleep
        for count, (_, event, outputs) in enumerate(self._reading, 1):
            take(event, outputs)
            if count % _POLITE == 0:
                sleep(0.0)
            if count >= most:
                return True
        self._reading = None
        return False

    def _take_fills(self) -> None:
        if self._expected is None and self._fold.start is not None:
            start = self._fold.start
            self._expected = Expected(start, self.session.baseline)
            self._slippage = SlippageFold(start.timezone or None)
        orders = self._fold.keeper.fold.orders
        for fill in self._fold.quality.since(len(self._fills)):
            self._fills.append(fill)
            self._slippage.add(fill, orders.get(fill.order_id))

    def _take_rows(self) -> None:
        if self._rows is None:
            self._rows = rows_of(self.session)
        self._drift += self._rows.fresh()

    # ------------------------------------------------------------ what is shown

    def view(self) -> Parts:
        """Return everything, for those who will not ask for changes."""
        running = self._status.phase == "running"
        candles = list(self._fold.candles.kept.get(self.symbol, ()))
        rows = self._drift
        if running:
            candles, rows = candles[-BARS:], rows[-BARS:]
        else:
            candles, rows = _merged(candles), _thinned(rows)
        return {
            "head": self.head(),
            "bars": [_bar(candle) for candle in candles],
            "equity": self._equity(rows),
            "fills": [self._fill_row(fill) for fill in self._fills[-FILLS:]],
            "log": [_line(row) for row in self._fold.keeper.log[-LOG:]],
            **self._small(),
            "slippage": self._slip(),
        }

    def snapshot(self) -> Parts:
        """Return everything; what `changes` returns from now on is what comes after it."""
        parts = self.view()
        self._told = {name: parts[name] for name in _SMALL}
        kept = self._fold.candles.kept.get(self.symbol)
        self._candle = kept[-1][0] if kept else 0
        self._told["candle"] = kept[-1] if kept else None
        self._row, self._fill = len(self._drift), len(self._fills)
        self._line, self._summed = self._fold.keeper.lines, len(self._fills)
        return parts

    def state_changes(self) -> Parts:
        """Return what of the state has changed, and nothing that can be long."""
        fresh = self._state()
        before = self._told.get("state", {})
        changed = {name: value for name, value in fresh.items() if before.get(name) != value}
        self._told["state"] = fresh
        return {"state": changed} if changed else {}

    def changes(self) -> tuple[Parts, Callable[[], None]]:
        """Return what has changed, and what to call once that was sent."""
        parts: Parts = {}
        small = self._small()
        for name in _SMALL:
            before = self._told.get(name)
            if small[name] == before:
                continue
            if name in _BY_KEY and before:
                fresh = small[name].items()
                parts[name] = {key: value for key, value in fresh if before.get(key) != value}
            else:
                parts[name] = small[name]
        candles = self._fold.candles.since(self.symbol, self._candle)[-BARS:]
        if candles and (len(candles) > 1 or candles[0] != self._told.get("candle")):
            parts["bars"] = [_bar(candle) for candle in candles]
        rows = self._drift[self._row :][-BARS:]
        if rows:
            parts["equity"] = self._equity(rows)
        fills = self._fills[self._fill :][-FILLS:]
        if fills:
            parts["fills"] = [self._fill_row(fill) for fill in fills]
        keeper = self._fold.keeper
        fresh = min(keeper.lines - self._line, LOG)  # of a long log the beginning is not kept
        if fresh:
            parts["log"] = [_line(row) for row in keeper.log[-fresh:]]
        at = (len(self._drift), len(self._fills), keeper.lines)
        if self._summed < len(self._fills):
            parts["slippage"] = self._slip()

        def sent() -> None:
            self._told = small
            if candles:
                self._candle, self._told["candle"] = candles[-1][0], candles[-1]
            self._row, self._fill, self._line = at
            self._summed = at[1]

        return parts, sent

    def head(self) -> Parts:
        """Return what does not change while the session runs."""
        session, begin = self.session, self.session.worker.begin
        symbols = list(dict.fromkeys(begin.symbols))
        baseline = session.baseline
        named = "no baseline" if baseline is None else f"baseline {baseline.strategy or 'report'}"
        return {
            "title": _text(self._status.strategy),
            "params": [(_text(name), _text(repr(value))) for name, value in begin.params.items()],
            "venue": _text(self._venue),
            "run": _text(begin.run),
            "place": _text(_place(session.run_dir)),
            "baseline": _text(named),
            "differs": _text(differs(begin, baseline)),
            "zone": begin.timezone or "UTC",
            "seconds": begin.finest < 60_000_000_000,
            "step_s": begin.finest / 1e9,
            "symbols": [_text(symbol) for symbol in symbols[:500]],
            "symbol": _text(self.symbol),
            "cone": self._rows is not None and self._rows.expectation is not None,
            "percentiles": bool(self._expected and self._expected.spread),
            "steerable": self._status.phase in ("new", "running"),
        }

    def story(self, order_id: str) -> Parts:
        """Return an order's whole story: what happened to it, and each of its fills."""
        order = self._fold.keeper.fold.orders.get(order_id)
        if order is None:
            return {"title": f"order {_text(order_id)} is not of this run", "lines": []}
        lines = [(at, what.replace("_", " "), detail) for at, what, detail in order.log]
        lines += [
            (fill.time, "execution", self._told_of(fill))
            for fill in self._fills
            if fill.order_id == order_id
        ]
        lines.sort(key=lambda line: line[0])
        return {
            "title": _text(_titled(order)),
            "lines": [(_ms(at), what, _text(detail)) for at, what, detail in lines],
        }

    def _told_of(self, fill: FillQuality) -> str:
        """Return an execution in words."""
        words = f"{fill.qty:g} at {fill.price:g}, fee {fill.fee:,.2f}, {fill.liquidity}"
        if fill.slippage_bps is None or fill.reference is None:
            return words
        words += f"; expected {fill.reference:g}, slippage {fill.slippage_bps:+.2f} bp"
        if self._expected and (beside := self._expected.told(fill.slippage_bps)):
            words += f"; {beside}"
        latency = self._latency(fill)
        if latency is None:
            return words
        what = "executed" if fill.venue == SIMULATED else "told"
        return f"{words}; {what} {lasted(latency)} after the request left"

    def _latency(self, fill: FillQuality) -> float | None:
        """Return what a fill took, ms; None where nobody knows.

        A simulated venue tells of a fill when the bar closes in which it was. That says nothing of
        the fill, so its own time counts, and there is none of what happened somewhere in a bar.
        """
        told, executed = fill.fill_latency_ms, fill.execution_latency_ms
        if fill.venue != SIMULATED:
            return told
        in_bar = self.session.worker.begin.finest > 0 and executed == told
        return None if in_bar and executed else executed

    # ------------------------------------------------------------ parts

    def _small(self) -> Parts:
        """Return the parts that are sent whole, or by what has changed of them."""
        return {
            "state": self._state(),
            "drift": self._gap(),
            "positions": self._positions(),
            "orders": self._working(),
            "limits": self._limits(),
        }

    def _state(self) -> Parts:
        status, metrics = self._status, self._metrics
        health = metrics.health
        live, measured = status.live, metrics.time > 0
        mode, words = self._mode
        return {
            "mode": mode,
            "mode_words": words,
            "phase": status.phase,
            "state": status.state,
            "why": _text(self._why),
            "error": _text(status.error),
            "at": _ms(live.time),
            "done": status.done,
            "total": status.total,
            # Of one moment with the day's and the run's change; the status may be a bar ahead.
            "equity": _money(metrics.equity if measured else live.equity),
            "cash": _money(metrics.cash if measured else live.cash),
            "fees": _money(live.fees),
            "fills": live.fills,
            "working": status.working,
            "held": len(self._fold.metrics.decisions.ledger.held),
            "lines": self._fold.keeper.lines,
            "pnl": _money(metrics.daily_pnl) if measured else None,
            "ret": _known(metrics.total_return, 6) if measured else None,
            "dd": _known(metrics.drawdown, 6) if measured else None,
            "unknown": metrics.unknown_orders if measured else None,
            "unknown_ms": _known(metrics.unknown_age_ms, 0),
            "connected": metrics.connected if measured else None,
            "reconciled_at": _ms(metrics.reconciled_at),
            "reconciled_ok": metrics.reconciled_ok,
            "foreign": metrics.foreign_orders,
            "lag_ms": None if health is None else _known(health.loop_lag_ms, 2),
            "memory_mb": None if health is None else _known(health.memory_mb, 0),
            "ages": [
                (
                    _text(one.symbol),
                    _known(one.data_age_ms, 0),
                    _known(one.data_limit_ms, 0),
                    one.stale,
                    one.held_back,
                )
                for one in metrics.symbols[:50]
            ],
        }

    def _gap(self) -> Parts:
        """Return the gap to the twin by its causes, which add up to it, and to the baseline."""
        live, shadow, twin = self._status.live, self._status.shadow, self._status.twin
        values = (live.equity, shadow.equity, twin.equity, shadow.fees)
        if any(map(math.isnan, values)):  # an ended session's are in its rows
            return self._gap_of_rows()
        fees = shadow.fees - live.fees
        causes = [
            ("fees", fees, "what the venue took beside the model"),
            ("prices", live.equity - shadow.equity - fees, "slippage, latency and missed fills"),
            ("decisions", shadow.equity - twin.equity, "what a backtest would not have decided"),
        ]
        return self._causes(causes, live.equity - twin.equity)

    def _gap_of_rows(self) -> Parts:
        if not self._drift:
            return self._causes([], 0.0)
        last = self._drift[-1]
        causes = [
            ("execution", last.live - last.shadow, "prices, fees, latency and missed fills"),
            ("decisions", last.shadow - last.twin, "what a backtest would not have decided"),
        ]
        return self._causes(causes, last.live - last.twin)

    def _causes(self, causes: list[tuple[str, float, str]], gap: float) -> Parts:
        rows, last = self._rows, self._drift[-1] if self._drift else None
        start = rows.start if rows is not None else math.nan
        known = start > 0.0
        told = [*causes, ("live − twin", gap, "the whole gap")]
        expected = math.nan if last is None else last.baseline
        ret = last.live / start - 1.0 if known and last is not None else math.nan
        notes = []
        if rows is not None and rows.expectation is None:
            notes.append("no baseline: shadow and twin use the models of the run")
        elif rows is not None and rows.expectation is not None and rows.expectation.note:
            notes.append(_text(rows.expectation.note))
        return {
            "causes": [
                (name, _money(money), _known(1e4 * money / start, 3) if known else None, why)
                for name, money, why in told
            ],
            "ret": _known(ret, 6),
            "expected": _known(expected, 6),
            "shortfall": _known(ret - expected, 6),
            "notes": notes,
        }

    def _positions(self) -> list[Any]:
        prices = self._fold.candles.prices
        rows = []
        for symbol, held in self._fold.metrics.decisions.ledger.held.items():
            last = prices.get(symbol, held.average_price)
            value = held.qty * last * held.multiplier
            profit = held.qty * (last - held.average_price) * held.multiplier
            rows.append(
                (
                    _text(symbol), _digits(held.qty), _digits(held.average_price), _digits(last),
                    _money(value), _money(profit),
                )
            )  # fmt: skip
        return sorted(rows, key=lambda row: -abs(row[4] or 0.0))[:100]

    def _working(self) -> list[Any]:
        orders = self._fold.keeper.fold.orders
        ids = sorted(self._fold.metrics.decisions.working)[:100]
        working = (orders[order_id] for order_id in ids if order_id in orders)
        return [
            (
                order.id, _ms(order.created), order.side, _text(order.symbol),
                order.type.replace("_", " "), _digits(order.qty), _digits(order.filled),
                _digits(order.limit), _digits(order.stop), order.status,
            )
            for order in working
        ]  # fmt: skip

    def _limits(self) -> list[Any]:
        used, limits = self._metrics.limits_used, self._fold.limits
        rows = []
        for name, show in _LIMITS:
            most = getattr(limits, name)
            if most is not None:
                rows.append(
                    (
                        name.removesuffix("_ms").replace("_", " "),
                        show(most),
                        _known(used.get(name), 4),
                    )
                )
        return rows

    def _slip(self) -> Parts:
        expected = self._expected
        if expected is None:
            return self._slippage.view(None, None)
        return self._slippage.view(expected.taker_bps, expected.mean)

    def _fill_row(self, fill: FillQuality) -> list[Any]:
        order, expected = self._fold.keeper.fold.orders.get(fill.order_id), self._expected
        slip = fill.slippage_bps
        return [
            fill.execution_id,
            fill.order_id,
            _ms(fill.time),
            fill.side,
            _text(fill.symbol),
            _digits(fill.qty),
            _digits(fill.reference),
            _digits(fill.price),
            _known(slip, 3),
            _money(fill.slippage_money),
            _known(expected.model_bps(order), 3) if expected is not None else None,
            _known(expected.percentile(slip), 1) if expected is not None else None,
            _known(self._latency(fill), 3),
            _known(fill.fee, 4),
        ]

    def _equity(self, rows: list[DriftRow]) -> list[Any]:
        """Return rows of time, live, shadow, twin, and the baseline's cone and curve in money."""
        start = self._rows.start if self._rows is not None else math.nan
        expectation = self._rows.expectation if self._rows is not None else None
        nothing = np.full(len(rows), np.nan)
        low = high = nothing
        if expectation is not None and rows and not math.isnan(expectation.deviation):
            begun = self.session.worker.begin.ts or rows[0].time
            bars = np.array([row.bar for row in rows], dtype=np.float64)
            elapsed = np.array([max(0, row.time - begun) for row in rows], dtype=np.float64)
            low, _, high = expectation.cone(bars, elapsed)
        return [
            (
                row.time / 1e9, _money(row.live), _money(row.shadow), _money(row.twin),
                _money(start * (1.0 + float(under))), _money(start * (1.0 + float(over))),
                _money(start * (1.0 + row.baseline)),
            )
            for row, under, over in zip(rows, low, high, strict=True)
        ]  # fmt: skip


#: Parts that are compared with what was told last; those of which only changes are sent.
_SMALL = ("state", "drift", "positions", "orders", "limits")
_BY_KEY = frozenset({"state", "drift"})

_MONEY: Callable[[float], str] = "{:,.0f}".format
_SHARE: Callable[[float], str] = "{:.4g} of equity".format


def _percent(of_what: str) -> Callable[[float], str]:
    return lambda share: f"{100.0 * share:.4g} % {of_what}"


#: In the order in which they are shown.
_LIMITS: tuple[tuple[str, Callable[[Any], str]], ...] = (
    ("daily_loss", _MONEY),
    ("daily_loss_pct", _percent("of the day's first equity")),
    ("max_drawdown", _percent("from the high")),
    ("max_position", "{:g} units".format),
    ("max_position_pct", _SHARE),
    ("max_gross_exposure", _SHARE),
    ("max_net_exposure", _SHARE),
    ("max_leverage", _SHARE),
    ("max_open_orders", "{:,d}".format),
    ("max_orders_per_second", "{:,d}".format),
    ("max_orders_per_minute", "{:,d}".format),
    ("max_notional", "{:,.0f} an order".format),
    ("price_collar_bps", "{:g} bp from the last price".format),
    ("max_data_age_ms", lasted),
    ("duplicate_window_ms", lasted),
)


def _merged(candles: list[Candle]) -> list[Candle]:
    """Return at most `BARS` candles, neighbours joined."""
    step = -(-len(candles) // BARS)
    if step < 2:
        return candles
    joined = []
    for place in range(0, len(candles), step):
        some = candles[place : place + step]
        high, low = max(one[2] for one in some), min(one[3] for one in some)
        joined.append((some[-1][0], some[0][1], high, low, some[-1][4]))
    return joined


def _thinned(rows: list[DriftRow]) -> list[DriftRow]:
    """Return at most `BARS` rows, the last among them."""
    step = -(-len(rows) // BARS)
    return rows if step < 2 else rows[(len(rows) - 1) % step :: step]


def _bar(candle: Candle) -> list[float | None]:
    return [candle[0] / 1e9, *map(_digits, candle[1:])]


def _line(row: tuple[int, str, str]) -> tuple[int, str, str]:
    return _ms(row[0]), row[1], _text(row[2])


def _titled(order: Order) -> str:
    at = "".join(f" {name} {v:g}" for name in ("limit", "stop") if (v := getattr(order, name)))
    tag = f", tag {order.tag}" if order.tag else ""
    venue = f", the venue's {order.venue_order_id}" if order.venue_order_id else ""
    kind = f", {order.type.replace('_', ' ')}" if order.type else ""
    return (
        f"{order.side} {order.qty:g} {order.symbol}{at}: {order.status}, filled {order.filled:g}"
        f"{kind}{tag} (order {order.id}{venue})"
    )


def _place(run_dir: Path) -> str:
    """Return a run directory as it may stand in a notebook that is given away."""
    if not run_dir.is_absolute():
        return str(run_dir)
    here = Path.cwd()
    return str(run_dir.relative_to(here)) if run_dir.is_relative_to(here) else run_dir.name


def _ms(ns: int) -> int:
    return ns // 1_000_000


def _text(text: str) -> str:
    return text if len(text) <= TEXT else text[: TEXT - 1] + "…"


def _known(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def _money(value: float | None) -> float | None:
    return _known(value, 2)


def _digits(value: float | None) -> float | None:
    """Return a number with ten significant digits: what arithmetic adds behind them is noise."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.10g}")
