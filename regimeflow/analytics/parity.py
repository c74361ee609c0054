"""The gap between a backtest and a live run in money, cause by cause.

Money after a run is a sum over its fills: what was paid, what is held at the last price, the fee.
So the difference of two runs is a sum as well, and splitting it depends on no order of events. Four
lists of fills stand one behind the other, and each step has a name:

==============  ===========================================================================
step            what it is
==============  ===========================================================================
now             the strategy deciding alone on history as it stands now, under the models
-> twin         the same on what the run saw: **data**
-> expected     the run's own requests filled by the models: **path and limits**
-> late         the same, each request arriving when the venue had it: **latency**
-> live         what the venue did: **missed fills, slippage, fee rate, fee base**, by order, and
                what it took or gave for what was held: **funding**, which no model knows
==============  ===========================================================================

For an order of sign ``s`` (buy 1, sell -1) and multiplier ``m``, with ``q`` units, mean price
``p``, value ``v = q p m`` and fee ``f`` in each of *late* and *live*, ``c`` the smaller ``q`` and
``M`` the last price:

- slippage = ``-s m c (p_live - p_late)``
- missed fills = ``-s m (q_late - c) (M - p_late) + s m (q_live - c) (M - p_live)``
- fee rate = ``f_late - g``, where ``g`` is live's fee schedule on the fills of *late*: `_owed`
- fee base = ``g - f_live``: the rest, for other quantities and prices
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from regimeflow.data.out import frame
from regimeflow.model.events import Fill, Start
from regimeflow.model.instrument import Instruments
from regimeflow.model.models import Costs
from regimeflow.model.order import Order
from regimeflow.model.text import escape

#: The causes, in the order in which they are shown; where there was some, `FUNDING` stands before
#: the last.
CAUSES = (
    "data", "path and limits", "latency", "missed fills", "slippage", "fee rate", "fee base",
    "residual",
)  # fmt: skip
FUNDING = "funding"
#: Of a term's size, what a handful of roundings can lose.
_ROUNDING = 16 * 2.0**-52


class Row(msgspec.Struct, frozen=True):
    """One cause.

    Attributes:
        cause: its name, one of `CAUSES` or `FUNDING`.
        money: what it made live better (positive) or worse than the backtest.
        bps: the same in basis points of the starting equity.
        note: what stands behind it, in words.
    """

    cause: str
    money: float
    bps: float
    note: str = ""


class OrderGap(msgspec.Struct, frozen=True):
    """One order of the run: what it brought, what the models expected, and the difference in parts.

    Attributes:
        time: when it was decided, UTC nanoseconds.
        order_id, symbol, side, qty, status: of the order.
        live_qty, live_price, live_fee: its executions; the price is their mean, NaN without any.
        expected_qty, expected_price, expected_fee: the same by the models.
        latency, missed, slippage, fee_rate, fee_base: the difference, money.
    """

    time: int
    order_id: str
    symbol: str
    side: str
    qty: float
    status: str
    live_qty: float
    live_price: float
    live_fee: float
    expected_qty: float
    expected_price: float
    expected_fee: float
    latency: float
    missed: float
    slippage: float
    fee_rate: float
    fee_base: float

    @property
    def gap(self) -> float:
        """What live brought more than expected, money."""
        return math.fsum((self.latency, self.missed, self.slippage, self.fee_rate, self.fee_base))


class Ledgers(msgspec.Struct, frozen=True):
    """What `split` compares: one session in its versions.

    Attributes:
        start: what all of them began with.
        live: executions as the venue told them, each once.
        expected: the run's own requests, filled by the models.
        late: the same, with each request arriving when the venue had it.
        twin: what the strategy, deciding alone, traded on the recorded market.
        marks: symbol -> last price.
        costs: the models' costs.
        orders: of the run, denied ones included.
        paid: what was paid to the run for what it held, money; negative was paid by it.
        now, marks_now: the twin and last prices on history as it stands now; None: not asked.
        data_note: what is different about that history, in words.
    """

    start: Start
    live: Sequence[Fill]
    expected: Sequence[Fill]
    late: Sequence[Fill]
    twin: Sequence[Fill]
    marks: Mapping[str, float]
    costs: Costs
    orders: Sequence[Order] = ()
    paid: Sequence[float] = ()
    now: Sequence[Fill] | None = None
    marks_now: Mapping[str, float] = {}
    data_note: str = ""


class Parity(msgspec.Struct, frozen=True):
    """The gap between a backtest and a live run, with a cause for every cent of it.

    Attributes:
        rows: one per cause, in the order of `CAUSES`, with `FUNDING` where something was paid for
            being held; they add up to `gap`.
        live, twin: profit of the run, and of the backtest on the same market, money.
        gap: ``live - twin``, money.
        equity: what both began with, money; basis points are of it.
        bound: what rounding alone can leave in the residual row, money: 16 times the float's
            precision, of all that was traded, held, paid and named.
        order_gaps: the run's orders, each with its part of the gap.
        lone_fills: fills that only the run's requests or only the twin had: who, and the fill.
        strategy, params, run: what was compared.
        differs: how the report's strategy differs from the run's, in words, or "".
        flavour, timezone: of the frames.
    """

    rows: tuple[Row, ...]
    live: float
    twin: float
    gap: float
    equity: float
    bound: float
    order_gaps: tuple[OrderGap, ...]
    lone_fills: tuple[tuple[str, Fill], ...] = ()
    strategy: str = ""
    params: Mapping[str, Any] = {}
    run: str = ""
    differs: str = ""
    flavour: str = "pandas"
    timezone: str | None = "UTC"

    def __getitem__(self, cause: str) -> float:
        """Return a cause's money."""
        nothing = 0.0 if cause == FUNDING else None
        money = next((row.money for row in self.rows if row.cause == cause), nothing)
        if money is None:
            raise KeyError(cause)
        return money

    @property
    def residual(self) -> float:
        """What no cause explains: nothing but rounding, at most `bound`, money."""
        return self["residual"]

    def frame(self) -> Any:
        """Return a frame of cause, money, bps, note."""
        names = ("cause", "note")
        columns = {n: [getattr(r, n) for r in self.rows] for n in ("cause", "money", "bps", "note")}
        return frame(columns, self.flavour, self.timezone, text_columns=names)

    @property
    def orders(self) -> Any:
        """Frame of the run's orders, the fields of `OrderGap` and their ``gap``."""
        names = (*OrderGap.__struct_fields__, "gap")
        text = ("order_id", "symbol", "side", "status")
        columns: dict[str, Any] = {n: [getattr(o, n) for o in self.order_gaps] for n in names}
        columns["time"] = np.array(columns["time"], dtype=np.int64)
        for name in names:
            if name != "time" and name not in text:
                columns[name] = np.array(columns[name], dtype=np.float64)
        return frame(columns, self.flavour, self.timezone, text_columns=text)

    @property
    def decisions(self) -> Any:
        """Frame of fills without a counterpart: ``who`` is "run" or "twin".

        The run's are those of its requests by the models: what the venue did to them is in
        `orders`. Columns time, who, symbol, side, qty, price, fee, order_id.
        """
        fills = self.lone_fills
        columns: dict[str, Any] = {
            "time": np.array([f.executed_at or f.ts for _, f in fills], dtype=np.int64),
            "who": [who for who, _ in fills],
        }
        for name in ("symbol", "side", "qty", "price", "fee", "order_id"):
            values = [getattr(f, name) for _, f in fills]
            text = name in ("symbol", "side", "order_id")
            columns[name] = values if text else np.array(values, dtype=np.float64)
        text_columns = ("who", "symbol", "side", "order_id")
        return frame(columns, self.flavour, self.timezone, text_columns=text_columns)

    @property
    def title(self) -> str:
        """What was compared, in a line; a difference in strategy or parameters comes first."""
        params = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        head = f"{self.strategy}({params}), run {self.run}: live and backtest on the same market"
        return f"NOT THE SAME STRATEGY: {self.differs}. {head}" if self.differs else head

    def __str__(self) -> str:
        lines = [self.title, f"{'':18}{'money':>16}{'bp':>11}"]
        for name, money in (("backtest", self.twin), ("live", self.live), ("gap", self.gap)):
            lines.append(f"{name:18}{_money(money):>16}{_money(self._bps(money)):>11}")
        for row in self.rows:
            line = f"  {row.cause:16}{_money(row.money):>16}{_money(row.bps):>11}  {row.note}"
            lines.append(line.rstrip())
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Parity {self.strategy}: gap {_money(self.gap)}, {self._largest()}>"

    def _largest(self) -> str:
        row = max(self.rows, key=lambda row: abs(row.money))
        return f"most of it {row.cause} {_money(row.money)}" if row.money else "nothing to explain"

    def _bps(self, money: float) -> float:
        return _bps(money, self.equity)

    def _repr_html_(self) -> str:
        totals = (("backtest", self.twin), ("live", self.live), ("gap", self.gap))
        cells = [(name, money, self._bps(money), "") for name, money in totals]
        body = "".join(_html_row(*cell, bold=True) for cell in cells)
        body += "".join(_html_row(r.cause, r.money, r.bps, r.note) for r in self.rows)
        heads = "".join(f"<th style='text-align:right'>{name}</th>" for name in ("money", "bp"))
        style = _WRONG if self.differs else "font-weight:600"
        return (
            f"<div><div style='{style}'>{escape(self.title)}</div>"
            f"<table style='margin:.4em 0'><thead><tr><th></th>{heads}<th></th></tr></thead>"
            f"<tbody>{body}</tbody></table>"
            f"<div style='{_DIM}'>rounding can leave at most {self.bound:.1e} in the residual; "
            f"basis points are of {_money(self.equity)}</div></div>"
        )


_DIM = "opacity:.7"
_WRONG = "font-weight:600;color:rgb(225,105,15)"


def _html_row(name: str, money: float, bps: float, note: str, *, bold: bool = False) -> str:
    weight = "600" if bold else "400"
    cells = "".join(
        f"<td style='text-align:right;font-weight:{weight}'>{_money(value)}</td>"
        for value in (money, bps)
    )
    return (
        f"<tr><th style='text-align:left;font-weight:{weight}'>{escape(name)}</th>{cells}"
        f"<td style='text-align:left;{_DIM}'>{escape(note)}</td></tr>"
    )


def _money(value: float) -> str:
    return f"{round(value, 2) + 0.0:,.2f}"  # adding zero takes the sign off a -0.0


def _bps(money: float, equity: float) -> float:
    return money / equity * 1e4 if equity > 0 else math.nan


# ---------------------------------------------------------------- the split


def split(ledgers: Ledgers) -> Parity:
    """Return the gap between the twin and live, split by cause."""
    start, marks = ledgers.start, ledgers.marks
    instruments = Instruments((i.symbol, i) for i in start.instruments)
    orders = order_gaps(ledgers, instruments)
    money = {
        name: math.fsum(getattr(order, name) for order in orders)
        for name in ("latency", "missed", "slippage", "fee_rate", "fee_base")
    }
    held = _held(start, marks, instruments)
    live = [*held, *_terms(ledgers.live, marks, instruments), *ledgers.paid]
    expected = [*held, *_terms(ledgers.expected, marks, instruments)]
    twin = [*held, *_terms(ledgers.twin, marks, instruments)]
    now = twin
    if ledgers.now is not None:
        now = _held(start, ledgers.marks_now, instruments)
        now += _terms(ledgers.now, ledgers.marks_now, instruments)
    parts = {
        "data": _difference(twin, now),
        "path and limits": _difference(expected, twin),
        "latency": money["latency"],
        "missed fills": money["missed"],
        "slippage": money["slippage"],
        "fee rate": money["fee_rate"],
        "fee base": money["fee_base"],
    }
    if ledgers.paid:
        parts[FUNDING] = math.fsum(ledgers.paid)
    gap = _difference(live, now)
    parts["residual"] = math.fsum((gap, *(-part for part in parts.values())))
    equity = math.fsum((start.cash, *_held_at_cost(start, instruments)))
    lone = _lone(ledgers.expected, ledgers.twin)
    notes = _notes(ledgers, orders, lone)
    return Parity(
        rows=tuple(
            Row(cause, parts[cause], _bps(parts[cause], equity), notes.get(cause, ""))
            for cause in parts
        ),
        live=math.fsum((start.cash, -equity, *live)),
        twin=math.fsum((start.cash, -equity, *now)),
        gap=gap,
        equity=equity,
        bound=_ROUNDING * math.fsum(map(abs, (*live, *expected, *twin, *now, *parts.values()))),
        order_gaps=tuple(orders),
        lone_fills=lone,
        flavour=start.flavour,
        timezone=start.timezone or None,
    )


def order_gaps(ledgers: Ledgers, instruments: Instruments) -> list[OrderGap]:
    """Return each order of the run with what it brought, what was expected, and why they differ."""
    live, expected = _by_order(ledgers.live), _by_order(ledgers.expected)
    late = _by_order(ledgers.late)
    known = {order.id: order for order in ledgers.orders}
    gaps = []
    for order_id in dict.fromkeys((*known, *live, *expected, *late)):
        fills = (live.get(order_id, ()), expected.get(order_id, ()), late.get(order_id, ()))
        order = known.get(order_id)
        if order is None and not any(fills):
            continue
        gaps.append(_gap_of(order_id, order, fills, ledgers, instruments))
    return gaps


def _gap_of(
    order_id: str,
    order: Order | None,
    fills: tuple[Sequence[Fill], Sequence[Fill], Sequence[Fill]],
    ledgers: Ledgers,
    instruments: Instruments,
) -> OrderGap:
    first = order if order is not None else next(f for group in fills for f in group)
    symbol, side = first.symbol, first.side
    sign, size = 1.0 if side == "buy" else -1.0, instruments[symbol].multiplier
    mark = ledgers.marks.get(symbol, 0.0)
    live, expected, late = (_Leg.of(group, size) for group in fills)
    common = min(live.qty, late.qty)
    slippage = missed = 0.0
    if common:
        slippage = -sign * size * common * (live.price - late.price)
    if late.qty > common:
        missed = -sign * size * (late.qty - common) * (mark - late.price)
    elif live.qty > common:
        missed = sign * size * (live.qty - common) * (mark - live.price)
    owed = _owed(live, late, ledgers.costs, size)
    arrived, before = (_terms(group, ledgers.marks, instruments) for group in (fills[2], fills[1]))
    return OrderGap(
        order.created if order is not None else fills[0][0].ts if fills[0] else 0,
        order_id,
        symbol,
        side,
        order.qty if order is not None else live.qty,
        order.status if order is not None else "",
        live.qty,
        live.price,
        live.fee,
        expected.qty,
        expected.price,
        expected.fee,
        _difference(arrived, before),
        missed,
        slippage,
        late.fee - owed,
        owed - live.fee,
    )


class _Leg(msgspec.Struct, frozen=True):
    """Fills of one order together; ``price`` is their mean, NaN without any."""

    qty: float
    price: float
    value: float
    fee: float
    liquidity: str

    @classmethod
    def of(cls, fills: Sequence[Fill], size: float) -> _Leg:
        qty = math.fsum(f.qty for f in fills)
        if len(fills) == 1:
            price = fills[0].price  # not through a product and back
        else:
            price = math.fsum(f.qty * f.price for f in fills) / qty if qty else math.nan
        value = qty * price * size if qty else 0.0
        fee = math.fsum(f.fee for f in fills)
        return cls(qty, price, value, fee, fills[0].liquidity if fills else "taker")


def _owed(live: _Leg, late: _Leg, costs: Costs, size: float) -> float:
    """Return what live's fee schedule would have charged for the fills that were expected.

    Live's schedule is taken to be a multiple of the models', asked with the liquidity that was
    expected and scaled to what it charged there: an order that filled in pieces is one order. So a
    fee per unit does not turn a worse price into a lower rate, and a fill that made liquidity where
    taking was expected is a matter of rate. Where the models charge nothing, it is a fraction of
    the value traded.
    """
    if not live.qty or not late.qty:
        return late.fee
    if (live.qty, live.price) == (late.qty, late.price):
        return live.fee
    there = costs.fee(late.qty, late.price, late.liquidity, multiplier=size)
    here = costs.fee(live.qty, live.price, late.liquidity, multiplier=size)
    if there * late.fee > 0.0 and here * late.fee > 0.0:
        return live.fee * (there / here)
    return live.fee / live.value * late.value


# ---------------------------------------------------------------- sums


def _terms(
    fills: Iterable[Fill], marks: Mapping[str, float], instruments: Instruments
) -> list[float]:
    """Return what fills add to the final equity, as terms for an exact sum."""
    terms: list[float] = []
    for fill in fills:
        units = (fill.qty if fill.side == "buy" else -fill.qty) * instruments[
            fill.symbol
        ].multiplier
        terms += (-units * fill.price, units * marks.get(fill.symbol, 0.0), -fill.fee)
    return terms


def _held(start: Start, marks: Mapping[str, float], instruments: Instruments) -> list[float]:
    return [
        units * marks.get(symbol, average) * instruments[symbol].multiplier
        for symbol, (units, average) in start.positions.items()
    ]


def _held_at_cost(start: Start, instruments: Instruments) -> list[float]:
    return [
        units * average * instruments[symbol].multiplier
        for symbol, (units, average) in start.positions.items()
    ]


def _difference(after: Iterable[float], before: Iterable[float]) -> float:
    """Return the difference of two sums, rounded once: equal terms leave nothing."""
    return math.fsum((*after, *(-term for term in before)))


def _by_order(fills: Iterable[Fill]) -> dict[str, list[Fill]]:
    orders: dict[str, list[Fill]] = {}
    for fill in fills:
        orders.setdefault(fill.order_id, []).append(fill)
    return orders


def _lone(run: Sequence[Fill], twin: Sequence[Fill]) -> tuple[tuple[str, Fill], ...]:
    """Return the fills that only one of the two had, in order of time."""

    def alike(fill: Fill) -> tuple[Any, ...]:
        return fill.ts, fill.symbol, fill.side, fill.qty, fill.price, fill.fee

    lone: list[tuple[str, Fill]] = []
    for who, own, others in (("run", run, twin), ("twin", twin, run)):
        left = Counter(map(alike, others))
        for fill in own:
            key = alike(fill)
            if left[key]:
                left[key] -= 1
            else:
                lone.append((who, fill))
    lone.sort(key=lambda pair: pair[1].ts)
    return tuple(lone)


def _notes(
    ledgers: Ledgers, orders: Sequence[OrderGap], lone: Sequence[tuple[str, Fill]]
) -> dict[str, str]:
    """Return what stands behind a cause, in words."""
    notes = {"data": ledgers.data_note or "not asked: pass history= to compare"}
    if lone:
        run = sum(who == "run" for who, _ in lone)
        notes["path and limits"] = (
            f"{run:,} fills of the run's requests and {len(lone) - run:,} of the backtest have no "
            "counterpart"
        )
    denied = sum(order.status == "denied" for order in orders)
    if denied:
        before = f"{notes['path and limits']}; " if "path and limits" in notes else ""
        notes["path and limits"] = f"{before}{_counted(denied, 'order')} denied"
    for cause, name in (("missed fills", "missed"), ("slippage", "slippage")):
        count = sum(getattr(order, name) != 0.0 for order in orders)
        if count:
            notes[cause] = _counted(count, "order")
    late = sum(order.latency != 0.0 for order in orders)
    if late:
        notes["latency"] = _counted(late, "order")
    if ledgers.paid:
        notes[FUNDING] = _counted(len(ledgers.paid), "payment")
    return notes


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
