"""The gate every intent passes before it can leave.

Invariants, held by a property test against a brute-force oracle:

1. an intent that passes breaks no limit even if every working and unknown order fills in full and
   none of those on the other side does;
2. an intent that only reduces what is held is never stopped by a limit on position or exposure
   (money per order is a limit on typing errors and holds for every order);
3. numbers that are not finite never reach a comparison, and a check that raises denies;
4. no window of a second or a minute, wherever it begins, holds more entries than may leave in it,
   nor more exits. Exits have a lane of their own, as wide as the other, that entries never fill;
   it always lets one through. Cancels are never counted and never wait.

Checks stand in the order in which they are asked; only those whose limit is set are asked at all.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regimeflow.model.models import Limits
from regimeflow.model.order import Order
from regimeflow.model.timeframe import NS_PER_MS, NS_PER_SECOND

if TYPE_CHECKING:
    from regimeflow.engine.desk import Desk


class Denial(NamedTuple):
    """Why an intent was stopped: the check's name, a sentence, and when to try again."""

    check: str
    reason: str
    retry_after_ms: float | None = None


#: Looks at an intent, the position it meets and the price it would trade at.
Check = Callable[["Gate", Order, float], Denial | None]

#: So many equal refusals in a row are a loop that needs a human.
REPEATS = 3


class Gate:
    """Asks every check that is switched on.

    Args:
        limits: which limits are set.
        desk: whose positions and orders are looked at.
    """

    def __init__(self, limits: Limits, desk: Desk) -> None:
        self.limits = limits
        self.desk = desk
        self.refusals: dict[tuple[str, str], tuple[str, int]] = {}
        self._recent: dict[tuple[str, str, float, float | None, float | None], int] = {}
        self._lanes = (_Lane(), _Lane())
        self._lane = self._lanes[0]  # of the order that was checked last
        self.choose()

    def choose(self) -> None:
        """Choose the checks that the limits switch on."""
        limits = self.limits
        self._before = [check for name, check in _BEFORE_RATE if _is_on(limits, name)]
        self._rate = limits.max_orders_per_second is not None or (
            limits.max_orders_per_minute is not None
        )
        self._asks = bool(self._before) or self._rate
        #: Whether anything is to be asked at all; while false, nothing of the gate need be called.
        self.active = self._asks or bool(self.refusals)

    def check(self, order: Order, price: float) -> Denial | None:
        """Return why the intent must not leave, or None.

        Args:
            order: on the instrument's grid already, and finite.
            price: what one unit would trade at, from the order's own limit or the last price.
        """
        for check in self._before:
            try:
                denial = check(self, order, price)
            except Exception as error:
                return Denial(check.__name__.strip("_"), f"the check failed: {error!r}")
            if denial is not None:
                return denial
        if self.refusals:
            denial = _repeat(self, order)
            if denial is not None:
                return denial
        self._lane = self._lanes[_reduces(self, order)]
        return self._check_rate() if self._rate else None

    def check_exit(self) -> Denial | None:
        """Return why one of the engine's own exits must wait, or None; it passes nothing else."""
        self._lane = self._lanes[True]
        return self._check_rate() if self._rate else None

    def sent(self, order: Order) -> None:
        """Remember that an intent left."""
        if self.limits.duplicate_window_ms:
            now = self.desk.now
            self._recent[_signature(order)] = now
            if len(self._recent) > 1024:
                horizon = now - self.limits.duplicate_window_ms * NS_PER_MS
                self._recent = {k: at for k, at in self._recent.items() if at > horizon}
        self.counted(order)

    def counted(self, order: Order) -> None:
        """Count a message that left: new orders and changes share the rate."""
        now = self.desk.now
        order.as_exit = self._lane is self._lanes[True]
        if self.limits.max_orders_per_second is not None:
            self._lane.second.append(now)
        if self.limits.max_orders_per_minute is not None:
            self._lane.minute.append(now)

    def refused(self, order: Order, reason: str) -> None:
        """Count an equal refusal by the venue."""
        key = (order.symbol, order.side)
        before, count = self.refusals.get(key, ("", 0))
        self.refusals[key] = (reason, count + 1 if before == reason else 1)
        self.active = True

    def accepted(self, order: Order) -> None:
        """Forget refusals: the venue takes such orders again."""
        self.refusals.pop((order.symbol, order.side), None)
        self.active = self._asks or bool(self.refusals)

    def forgive(self) -> None:
        """Forget all refusals: a human says that they may be tried again."""
        self.refusals.clear()
        self.active = self._asks

    def _check_rate(self) -> Denial | None:
        limits, now, lane = self.limits, self.desk.now, self._lane
        exit_ = lane is self._lanes[True]
        what = "exits" if exit_ else "orders"
        for most, sent, length_ns, name in (
            (limits.max_orders_per_second, lane.second, NS_PER_SECOND, "second"),
            (limits.max_orders_per_minute, lane.minute, 60 * NS_PER_SECOND, "minute"),
        ):
            if most is None:
                continue
            if exit_:
                most = max(1, most)  # what is held can always be left
            while sent and sent[0] <= now - length_ns:
                sent.popleft()
            if len(sent) >= most:
                wait_ns = sent[len(sent) - most] + length_ns - now if most else length_ns
                return Denial(
                    f"max_orders_per_{name}",
                    f"{len(sent)} {what} left within the last {name}, {most} may",
                    retry_after_ms=wait_ns / NS_PER_MS,
                )
        return None


class _Lane:
    """When messages of one lane left, as far as its windows reach back."""

    __slots__ = ("minute", "second")

    def __init__(self) -> None:
        self.minute: deque[int] = deque()
        self.second: deque[int] = deque()


def _is_on(limits: Limits, names: str) -> bool:
    return any(getattr(limits, name) is not None for name in names.split())


def _signature(order: Order) -> tuple[str, str, float, float | None, float | None]:
    return (order.symbol, order.side, order.qty, order.limit, order.stop)


def _reduces(gate: Gate, order: Order) -> bool:
    """Whether the order, with all others on its side, only takes off what is held."""
    desk = gate.desk
    held = desk.ledger.position(order.symbol).qty
    buys, sells = desk.working_qty(order.symbol)
    if order.sign > 0:
        return held < 0.0 and held + buys + order.qty <= 1e-12
    return held > 0.0 and held - sells - order.qty >= -1e-12


def _worst(gate: Gate, order: Order) -> float:
    """Return the signed position if this and all others on its side fill and nothing else does."""
    held = gate.desk.ledger.position(order.symbol).qty
    buys, sells = gate.desk.working_qty(order.symbol)
    return held + buys + order.qty if order.sign > 0 else held - sells - order.qty


# ---------------------------------------------------------------- the checks, in order


def _symbols(gate: Gate, order: Order, price: float) -> Denial | None:
    allowed = gate.limits.symbols or ()
    if order.symbol not in allowed:
        return Denial("symbols", f"{order.symbol} is not among the symbols that may be traded")
    return None


def _max_data_age_ms(gate: Gate, order: Order, price: float) -> Denial | None:
    most = gate.limits.max_data_age_ms or 0.0
    age_ms = gate.desk.data_age_ns(order.symbol) / NS_PER_MS
    if age_ms > most:
        return Denial(
            "max_data_age_ms",
            f"the last price of {order.symbol} is {age_ms:.0f} ms old, {most:.0f} ms are allowed",
        )
    return None


def _price_collar_bps(gate: Gate, order: Order, price: float) -> Denial | None:
    most = gate.limits.price_collar_bps or 0.0
    last = order.decision_price
    for name in ("limit", "stop"):
        asked = getattr(order, name)
        if asked is None:
            continue
        # A limit on the safe side of the market cannot trade badly: only the bad side is collared.
        distance_bps = (asked - last) / last * 1e4 * (order.sign if name == "limit" else 1.0)
        if (distance_bps if name == "limit" else abs(distance_bps)) > most:
            return Denial(
                "price_collar_bps",
                f"{name} {asked:g} is {abs(distance_bps):.1f} bps from the last price {last:g}, "
                f"{most:g} are allowed",
            )
    return None


def _max_notional(gate: Gate, order: Order, price: float) -> Denial | None:
    most = gate.limits.max_notional or 0.0
    notional = order.qty * price * gate.desk.instruments[order.symbol].multiplier
    if notional > most:
        return Denial("max_notional", f"the order is worth {notional:.2f}, {most:.2f} is allowed")
    return None


def _max_position(gate: Gate, order: Order, price: float) -> Denial | None:
    most = gate.limits.max_position or 0.0
    worst = _worst(gate, order)
    if worst * order.sign > most:
        return Denial(
            "max_position",
            f"the position of {order.symbol} could become {worst:g}, {most:g} is allowed",
        )
    return None


def _max_position_pct(gate: Gate, order: Order, price: float) -> Denial | None:
    most = gate.limits.max_position_pct or 0.0
    worst = _worst(gate, order)
    if worst * order.sign <= 0.0 or _reduces(gate, order):
        return None
    equity = gate.desk.equity()
    share = abs(worst) * price * gate.desk.instruments[order.symbol].multiplier
    if equity <= 0.0 or share > most * equity:
        return Denial(
            "max_position_pct",
            f"the position of {order.symbol} could be worth {share:.2f}, "
            f"{most:g} of equity {equity:.2f} is allowed",
        )
    return None


def _exposure(gate: Gate, order: Order, price: float) -> Denial | None:
    if _reduces(gate, order):
        return None
    limits, desk = gate.limits, gate.desk
    equity = desk.equity()
    gross, longest, shortest = desk.worst_exposure(order, price)
    net = longest if order.sign > 0 else -shortest
    for name, most, value in (
        ("max_gross_exposure", limits.max_gross_exposure, gross),
        ("max_leverage", limits.max_leverage, gross),
        ("max_net_exposure", limits.max_net_exposure, net),
    ):
        if most is not None and (equity <= 0.0 or value > most * equity):
            return Denial(
                name,
                f"exposure could become {value:.2f}, {most:g} of equity {equity:.2f} is allowed",
            )
    return None


def _max_open_orders(gate: Gate, order: Order, price: float) -> Denial | None:
    most = gate.limits.max_open_orders or 0
    desk = gate.desk
    there = sum(map(len, desk.working.values())) - sum(map(len, desk.exits.values()))
    if there >= most and not _reduces(gate, order):
        return Denial("max_open_orders", f"{there} orders are working, {most:g} may")
    return None


def _losses(gate: Gate, order: Order, price: float) -> Denial | None:
    breach = gate.desk.loss_breach()
    if breach is not None and not _reduces(gate, order):
        return Denial(*breach)
    return None


def _duplicate(gate: Gate, order: Order, price: float) -> Denial | None:
    window_ms = gate.limits.duplicate_window_ms or 0.0
    before = gate._recent.get(_signature(order))
    if window_ms and before is not None and gate.desk.now - before < window_ms * NS_PER_MS:
        age_ms = (gate.desk.now - before) / NS_PER_MS
        return Denial("duplicate", f"an equal order left {age_ms:.0f} ms ago")
    return None


def _repeat(gate: Gate, order: Order) -> Denial | None:
    reason, count = gate.refusals.get((order.symbol, order.side), ("", 0))
    if count >= REPEATS:
        return Denial(
            "repeat",
            f"the venue refused {count} such orders in a row ({reason}); resume to try again",
        )
    return None


_BEFORE_RATE: tuple[tuple[str, Check], ...] = (
    ("symbols", _symbols),
    ("max_data_age_ms", _max_data_age_ms),
    ("price_collar_bps", _price_collar_bps),
    ("max_notional", _max_notional),
    ("max_position", _max_position),
    ("max_position_pct", _max_position_pct),
    ("max_gross_exposure max_net_exposure max_leverage", _exposure),
    ("max_open_orders", _max_open_orders),
    ("daily_loss daily_loss_pct max_drawdown", _losses),
    ("duplicate_window_ms", _duplicate),
)


def finite(value: object) -> float | None:
    """Return the number as a plain float; None for anything else, infinities and NaN too."""
    if isinstance(value, bool | np.bool | str | bytes):
        return None  # float("1") is 1.0, but text where a number belongs is a mistake
    try:
        number = float(value)  # type: ignore[arg-type]
    except Exception:  # whatever an object's own __float__ raises
        return None
    return number if math.isfinite(number) else None
