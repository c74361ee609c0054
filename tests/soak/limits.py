"""Orders against a judge that shares no code with the gate: brute force over every case."""

from __future__ import annotations

import math
import random
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

import regimeflow as rf
from regimeflow.engine.desk import Desk
from regimeflow.errors import ConfigError
from regimeflow.model.events import Clock, Denied, Fill, OrderUpdate, Submit
from regimeflow.model.instrument import Instrument, Instruments
from regimeflow.model.ledger import Ledger
from tests.soak.outcome import Outcome

MS = 1_000_000
SECOND, MINUTE = 1_000 * MS, 60_000 * MS
INTENTS = 250
#: Prices and sums of money closer to a limit than this share of it are on neither side of it.
_SAME = Fraction(1, 10**9)


class Raises:
    """Claims to be a number until it is asked for it."""

    def __float__(self) -> float:
        raise RuntimeError("not today")

    def __repr__(self) -> str:
        return "<raises>"


HOSTILE: list[Any] = [
    float("nan"), float("inf"), -float("inf"), None, "1", b"1", "many", "", -5, 0, 0.0, -0.0,
    1e308, -1e308, 5e-324, 1e200, True, False, [], {}, (1.0,), object(), Raises(), 10**400, 1j,
    np.float64("nan"), np.float64("inf"), np.float32(-1), np.bool_(True), np.str_("5"), pd.NA,
    pd.NaT, lambda: 5,
]  # fmt: skip
#: Ways to say a number that are none the worse for it.
WAYS: list[Any] = [float, float, float, np.float64, Fraction, lambda x: int(x) if x % 1 == 0 else x]


class Market:
    """A market that stands still unless it is told to move."""

    def __init__(self, prices: dict[str, float]) -> None:
        self.prices = prices
        self.priced_at = dict.fromkeys(prices, 0)
        self.now = 0
        self.seq = 1
        self.out: list[Any] = []
        self.held_back: frozenset[str] = frozenset()

    def price(self, symbol: str) -> float:
        return self.prices.get(symbol, 0.0)

    def price_ts(self, symbol: str) -> int:
        return self.priced_at.get(symbol, 0)

    @property
    def event(self) -> Clock:
        return Clock(self.now, self.now)


class Known:
    """An order as the judge keeps it."""

    def __init__(self, wire: Submit) -> None:
        self.symbol, self.sign = wire.symbol, 1 if wire.side == "buy" else -1
        self.limit, self.stop = wire.limit, wire.stop
        self.qty, self.filled = exact(wire.qty), Fraction(0)
        self.asked: Fraction | None = None
        self.canceling = self.unknown = self.open = False

    @property
    def left(self) -> Fraction:
        return max(self.qty, self.asked or self.qty) - self.filled


class Judge:
    """Says from first principles what may leave."""

    def __init__(self, limits: rf.Limits, rules: dict[str, Instrument], market: Market) -> None:
        self.limits, self.rules, self.market = limits, rules, market
        self.held = dict.fromkeys(rules, Fraction(0))
        self.orders: dict[str, Known] = {}
        self.sent: list[tuple[int, Any]] = []  # entries: when, and what
        self.exits: list[tuple[int, Any]] = []
        self.signatures: list[tuple[int, Any]] = []
        self.close = False  # whether a verdict was within a hair of a limit

    def over(self, value: Fraction, limit: float | None) -> bool:
        if limit is None:
            return False
        most = Fraction(limit)
        if abs(value - most) <= _SAME * max(abs(most), 1):
            self.close = True
        return value > most

    def reach(self, extra: tuple[str, int, Fraction]) -> dict[str, tuple[Fraction, Fraction]]:
        """Return how far each position could get, down and up, with one more order."""
        ends = {}
        for symbol, held in self.held.items():
            low = high = held
            lots = [(k.symbol, k.sign, k.left) for k in self.orders.values()]
            for name, sign, qty in [*lots, extra]:
                if name == symbol and sign > 0:
                    high += qty
                elif name == symbol:
                    low -= qty
            ends[symbol] = (low, high)
        return ends

    def broken(self, symbol: str, sign: int, qty: Fraction, limit: Any, stop: Any) -> str:
        """Return the limit that an order of whole lots would break, or an empty text."""
        limits, now = self.limits, self.market.now
        last = Fraction(self.market.prices[symbol])
        price = Fraction(limit or stop or last)
        unit = price * Fraction(self.rules[symbol].multiplier)
        low, high = self.reach((symbol, sign, qty))[symbol]
        worst, held = (high, self.held[symbol]) if sign > 0 else (low, self.held[symbol])
        exits = held * sign < 0 and worst * held >= 0
        equity = self.equity()
        if limits.symbols is not None and symbol not in limits.symbols:
            return "symbols"
        age_ms = Fraction(now - self.market.priced_at[symbol], MS)
        if self.over(age_ms, limits.max_data_age_ms):
            return "max_data_age_ms"
        if limit is not None and self.over(
            (Fraction(limit) / last - 1) * sign * 10_000, limits.price_collar_bps
        ):
            return "price_collar_bps"
        if stop is not None and self.over(
            abs(Fraction(stop) / last - 1) * 10_000, limits.price_collar_bps
        ):
            return "price_collar_bps"
        if self.over(qty * unit, limits.max_notional):
            return "max_notional"
        if self.over(worst * sign, limits.max_position):
            return "max_position"
        if not exits:
            found = self.too_much(symbol, sign, worst, price, equity, (symbol, sign, qty))
            if found:
                return found
        if limits.duplicate_window_ms:
            window = limits.duplicate_window_ms * MS
            signature = (symbol, sign, qty, limit, stop)
            if any(s == signature and now - at < window for at, s in self.signatures):
                return "duplicate"
        return self.too_fast(exits=exits, now=now)

    def too_much(
        self,
        symbol: str,
        sign: int,
        worst: Fraction,
        price: Fraction,
        equity: Fraction,
        extra: tuple[str, int, Fraction],
    ) -> str:
        limits = self.limits
        share = abs(worst) * price * Fraction(self.rules[symbol].multiplier)
        if worst * sign > 0 and limits.max_position_pct is not None:
            allowed = Fraction(limits.max_position_pct) * equity
            if equity <= 0 or self.over(share, float(allowed)):
                return "max_position_pct"
        gross = net = Fraction(0)
        for name, (low, high) in self.reach(extra).items():
            at = Fraction(self.market.prices[name])
            at = max(at, price) if name == symbol else at
            at *= Fraction(self.rules[name].multiplier)
            gross += max(abs(low), abs(high)) * at
            net += (high if sign > 0 else -low) * at
        for name, value in (
            ("max_gross_exposure", gross),
            ("max_leverage", gross),
            ("max_net_exposure", net),
        ):
            most = getattr(limits, name)
            if most is not None and (
                equity <= 0 or self.over(value, float(Fraction(most) * equity))
            ):
                return name
        if limits.max_open_orders is not None and len(self.orders) >= limits.max_open_orders:
            return "max_open_orders"
        return ""

    def too_fast(self, *, exits: bool, now: int) -> str:
        sent = self.exits if exits else self.sent
        for name, length in (("second", SECOND), ("minute", MINUTE)):
            most = getattr(self.limits, f"max_orders_per_{name}")
            if most is None:
                continue
            most = max(1, most) if exits else most
            if sum(1 for at, _ in sent if now - length < at) >= most:
                return f"max_orders_per_{name}"
        return ""

    def equity(self) -> Fraction:
        worth = Fraction(self.cash)
        for symbol, qty in self.held.items():
            unit = Fraction(self.market.prices[symbol]) * Fraction(self.rules[symbol].multiplier)
            worth += qty * unit
        return worth

    cash = Fraction(0)

    def is_exit(self, known: Known, qty: Fraction) -> bool:
        """Whether an order, with all others on its side, only takes off what is held."""
        held = self.held[known.symbol]
        low, high = self.reach((known.symbol, known.sign, qty))[known.symbol]
        worst = high if known.sign > 0 else low
        return held * known.sign < 0 and worst * held >= 0

    def fast_windows(self) -> list[str]:
        """Return the windows, wherever they begin, that hold more than may leave in them."""
        found = []
        for lane, exits in ((self.sent, False), (self.exits, True)):
            times = [at for at, _ in lane]
            for name, length in (("second", SECOND), ("minute", MINUTE)):
                most = getattr(self.limits, f"max_orders_per_{name}")
                if most is None:
                    continue
                most = max(1, most) if exits else most
                for first, begin in enumerate(times):
                    inside = sum(1 for at in times[first:] if at < begin + length)
                    if inside > most:
                        found.append(f"{inside} left within a {name} from {begin}, {most} may")
        return found


def exact(value: float) -> Fraction:
    """Return the decimal number that a float was meant to be."""
    return Fraction(repr(float(value)))


def number(value: Any) -> float | None:
    """Return a positive finite number, None for whatever else it is."""
    if isinstance(value, bool | np.bool_ | str | bytes):
        return None
    try:
        made = float(value)
    except Exception:
        return None
    return made if math.isfinite(made) and 0 < made < 1e200 else None


def some_limits(chance: random.Random) -> rf.Limits:
    """Return limits of which some are set, near to what the run will come to."""
    choices: dict[str, Any] = {
        "max_notional": chance.choice([500, 3_000, 20_000, 0]),
        "max_position": chance.choice([10, 60, 200.5, 0]),
        "max_position_pct": chance.choice([0.05, 0.35, 1.2]),
        "max_gross_exposure": chance.choice([0.2, 0.9, 3.0]),
        "max_net_exposure": chance.choice([0.1, 0.6]),
        "max_leverage": chance.choice([0.5, 2.0]),
        "price_collar_bps": chance.choice([0, 50, 2_000]),
        "max_orders_per_second": chance.choice([0, 1, 3]),
        "max_orders_per_minute": chance.choice([1, 10, 40]),
        "duplicate_window_ms": chance.choice([0, 300, 5_000]),
        "max_open_orders": chance.choice([0, 3, 8]),
        "max_data_age_ms": chance.choice([0, 1_000, 10_000]),
        "symbols": chance.choice([("A", "D"), ("A", "B/C"), ("D", "A", "B/C")]),
    }
    share = chance.choice([0.15, 0.4, 0.8])
    return rf.Limits(**{k: v for k, v in choices.items() if chance.random() < share})


class Trial:
    """One seed: a desk, its judge, and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.market = Market({"A": 100.0, "B/C": 50.0, "D": 12.5})
        self.rules = {
            "A": Instrument("A", margin=0.2),
            "B/C": Instrument("B/C", tick=0.05, lot=0.001, margin=0.2, min_notional=5.0),
            "D": Instrument("D", tick=0.25, lot=2.0, multiplier=5.0, margin=0.1, min_qty=4.0),
        }
        self.limits = some_limits(chance)
        cash = chance.choice([5_000.0, 50_000.0, 1e7])
        ledger = Ledger(cash, Instruments(self.rules))
        self.judge = Judge(self.limits, self.rules, self.market)
        self.judge.cash = Fraction(cash)
        if chance.random() < 0.5:
            for symbol in self.rules:
                held = float(chance.randint(-20, 20) * 2)
                ledger.open(symbol, held, self.market.price(symbol))
                self.judge.held[symbol] = Fraction(held)
        self.desk = Desk(
            prefix="t-0-",
            ledger=ledger,
            instruments=Instruments(self.rules),
            costs=rf.Costs(),
            limits=self.limits,
            market=self.market,
            default_tif=lambda symbol: "gtc",
        )
        self.desk.day_equity = self.desk.peak_equity = self.desk.equity()
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.fills = 0
        self.last: tuple[str, int, Any, Any, Any] = ("A", 1, 1.0, None, None)

    def run(self) -> Outcome:
        for _ in range(INTENTS):
            self.pass_time()
            if self.judge.orders and self.chance.random() < 0.15:
                self.change()
            else:
                self.intend()
            self.news()
        self.violations += self.judge.fast_windows()
        held = {s: Fraction(self.desk.ledger.position(s).qty) for s in self.rules}
        if any(abs(held[s] - self.judge.held[s]) > Fraction(1, 10**6) for s in held):
            self.violations.append("the books of desk and judge differ")
        working = [o for group in self.desk.working.values() for o in group.values()]
        if not any(o.replace_pending for o in working):
            held_back = sum(o.reserve * o.remaining for o in working)
            if abs(self.desk.reserved - held_back) > 1e-6 * max(1.0, abs(held_back)):
                self.violations.append(f"{self.desk.reserved} is reserved instead of {held_back}")
        return Outcome(INTENTS, self.violations, self.counts)

    # ------------------------------------------------------------ what happens

    def pass_time(self) -> None:
        chance, market = self.chance, self.market
        market.now += chance.choice([0, 1, 50, 200, 999, 1_000, 1_500, 4_000, 60_000]) * MS
        for symbol in market.prices:
            if chance.random() < 0.8:
                market.priced_at[symbol] = market.now - chance.choice([0, 0, 0, 500, 1_000]) * MS
        if chance.random() < 0.1:
            symbol = chance.choice(list(market.prices))
            tick = self.rules[symbol].tick
            move = chance.uniform(0.9, 1.1)
            market.prices[symbol] = max(tick, round(market.prices[symbol] * move / tick) * tick)

    def numbers(self, symbol: str) -> tuple[Any, Any, Any]:
        chance = self.chance
        last, tick, lot = (
            self.market.prices[symbol],
            self.rules[symbol].tick,
            self.rules[symbol].lot,
        )
        scale = 1 if lot >= 1 else 1_000
        qty: Any = chance.choice([chance.randint(1, 40), chance.randint(1, 400)]) * lot * scale / 4
        limit: Any = round(last * chance.uniform(0.7, 1.3) / tick) * tick
        stop: Any = round(last * chance.uniform(0.9, 1.1) / tick) * tick
        limit = limit if chance.random() < 0.4 else None
        stop = stop if chance.random() < 0.15 else None
        if chance.random() < 0.1:  # an exit to the lot
            qty = abs(float(self.judge.held[symbol])) or qty
        kind = chance.random()
        way = chance.choice(WAYS)
        if kind < 0.08:
            return chance.choice(HOSTILE), limit, stop
        if kind < 0.14:
            return way(qty), chance.choice(HOSTILE), stop
        if kind < 0.18:
            return way(qty), limit, chance.choice(HOSTILE)
        return way(qty), None if limit is None else way(limit), stop

    def intend(self) -> None:
        chance, market = self.chance, self.market
        if chance.random() > 0.15:  # else the same again
            symbol, sign = chance.choice(list(self.rules)), chance.choice([1, -1])
            self.last = (symbol, sign, *self.numbers(symbol))
        symbol, sign, qty, limit, stop = self.last
        exit_ = chance.random() < 0.05
        before = len(market.out)
        try:
            order = self.desk.submit(symbol, float(sign), qty, limit, stop, exit_=exit_)
        except Exception as error:
            self.violations.append(f"an order of {qty!r} at {limit!r}, {stop!r} raised {error!r}")
            return
        self.weigh(order, symbol, sign, (qty, limit, stop), market.out[before:], exit_)

    def change(self) -> None:
        """Ask for a change, and weigh it as if the old order were gone."""
        chance, market, judge = self.chance, self.market, self.judge
        id_ = chance.choice(list(judge.orders))
        known, order = judge.orders[id_], self.desk.orders[id_]
        qty, limit, _ = self.numbers(known.symbol)
        limit = limit if known.limit is not None else None
        before = len(market.out)
        try:
            left = self.desk.replace(order, qty, limit)
        except Exception as error:
            self.violations.append(f"a change to {qty!r} at {limit!r} raised {error!r}")
            return
        outputs = market.out[before:]
        if known.canceling or known.unknown or known.asked is not None:
            if left or outputs:
                self.violations.append("an order was changed while its fate was open")
            return
        del judge.orders[id_]
        asked = Fraction(number(qty) or 0) if qty is not None else known.qty
        price = known.limit if limit is None else limit
        self.weigh_change(known, order, (asked, price, known.stop), outputs)
        judge.orders[id_] = known

    def weigh_change(self, known: Known, order: Any, asked: Any, outputs: list[Any]) -> None:
        if len(outputs) != 1:
            self.violations.append(f"{len(outputs)} outputs of a change of {order}")
            return
        judge, (output,) = self.judge, outputs
        self.counts["changes"] += 1
        if isinstance(output, Denied):
            self.denied(output, known.symbol, known.sign, asked, known.filled)
            return
        left = exact(output.qty) - known.filled
        broken = self.judged(known.symbol, known.sign, left, output.limit, output.stop)
        if broken:
            self.violations.append(f"a change over {broken} left: {output}")
        if exact(output.qty) > asked[0] * (1 + _SAME):
            self.violations.append(f"{output.qty} was asked for instead of {asked[0]}")
        lane = judge.exits if judge.is_exit(known, left) else judge.sent
        lane.append((self.market.now, order.id))
        known.asked = exact(output.qty)
        known.limit = output.limit

    # ------------------------------------------------------------ what it must come to

    def judged(self, symbol: str, sign: int, qty: Fraction, limit: Any, stop: Any) -> str:
        self.judge.close = False
        broken = self.judge.broken(symbol, sign, qty, limit, stop)
        return "" if self.judge.close else broken

    def weigh(
        self, order: Any, symbol: str, sign: int, asked: Any, outputs: list[Any], exit_: bool
    ) -> None:
        if len(outputs) != 1:
            self.violations.append(f"{len(outputs)} outputs of one intent")
            return
        (output,) = outputs
        if isinstance(output, Denied):
            self.denied(output, symbol, sign, asked, Fraction(0), exit_)
            return
        assert isinstance(output, Submit)
        self.counts["left"] += 1
        self.on_the_wire(output, asked, sign)
        judge, now, qty = self.judge, self.market.now, exact(output.qty)
        known = Known(output)
        lane = judge.exits if exit_ or judge.is_exit(known, qty) else judge.sent
        if exit_:
            broken = judge.too_fast(exits=True, now=now)
        else:
            broken = self.judged(symbol, sign, qty, output.limit, output.stop)
        if broken:
            self.violations.append(f"an order over {broken} left: {output}")
        judge.signatures.append((now, (symbol, sign, qty, output.limit, output.stop)))
        lane.append((now, output.order_id))
        judge.orders[output.order_id] = known

    def on_the_wire(self, wire: Submit, asked: Any, sign: int) -> None:
        """Hold the wire's numbers to the asked ones: on the grid, never more, never worse."""
        rules = self.rules[wire.symbol]
        qty, limit, stop = asked
        wrong = number(qty) is None
        wrong |= limit is not None and number(limit) is None
        wrong |= stop is not None and number(stop) is None
        if wrong:
            self.violations.append(f"no number, and it left: {asked}")
            return
        fields = [(wire.qty, qty, rules.lot, -1)]
        if limit is not None:
            fields.append((wire.limit, limit, rules.tick, -sign))
        for value, wanted, step, side in fields:
            steps = Fraction(value) / Fraction(repr(step))
            if type(value) is not float or abs(steps - round(steps)) > Fraction(1, 10**6):
                self.violations.append(f"{value!r} is not on the grid of {step}")
            if (Fraction(value) - Fraction(float(wanted))) * side < -_SAME * Fraction(value):
                self.violations.append(f"{value!r} is worse than {wanted!r}")

    def denied(
        self,
        note: Denied,
        symbol: str,
        sign: int,
        asked: Any,
        filled: Fraction,
        exit_: bool = False,
    ) -> None:
        self.counts[f"denied: {note.check}"] += 1
        numbers = [number(asked[0])] + [number(n) for n in asked[1:] if n is not None]
        if note.check == "finite":
            if filled == 0 and all(n is not None for n in numbers):
                self.violations.append(f"{asked} was denied as no number")
            return
        if note.check in ("buying_power", "borrow"):
            return  # not a limit; test_limits has the table of what can be afforded
        if any(n is None for n in numbers):
            return  # rightly stopped, if under another name
        rules = self.rules[symbol]
        step = Fraction(repr(rules.lot))
        qty = ((Fraction(asked[0]) - filled) / step + _SAME).__floor__() * step
        limit = None if asked[1] is None else rules.round_price(float(asked[1]), note.side)
        stop = None if asked[2] is None else rules.round_price(float(asked[2]))
        price = Fraction(limit or stop or self.market.prices[symbol])
        small = qty <= 0 or qty < rules.min_qty or limit == 0.0 or stop == 0.0
        small |= qty * price * Fraction(rules.multiplier) < Fraction(rules.min_notional)
        if note.check == "grid":
            if not small:
                self.violations.append(f"{asked} of {symbol} was denied as too small")
        elif exit_:
            if not self.judge.too_fast(exits=True, now=self.market.now):
                self.violations.append(f"an exit was denied: {note}")
        elif not small:
            self.judge.close = False
            if not self.judge.broken(symbol, sign, qty, limit, stop) and not self.judge.close:
                self.violations.append(f"{asked} breaks nothing and was denied: {note}")

    # ------------------------------------------------------------ the venue

    def news(self) -> None:
        for id_ in list(self.judge.orders):
            known, fate = self.judge.orders[id_], self.chance.random()
            if fate < 0.03:
                self.desk.cancel(self.desk.orders[id_])
                known.canceling = True
            elif fate < 0.15:
                self.fill(id_, known)
            elif fate < 0.20:
                self.end(id_, self.chance.choice(["canceled", "expired", "canceled"]))
            elif fate < 0.24:
                self.tell(id_, "lost")
                known.unknown = True
            elif fate < 0.32:
                self.tell(id_, "accepted")
                known.unknown = False
            elif known.asked is not None and fate < 0.6:
                self.answer_change(id_, known)

    def tell(self, id_: str, what: str, **more: Any) -> None:
        now = self.market.now
        self.counts[what] += 1
        self.desk.update(OrderUpdate(now, now, id_, what, **more))

    def end(self, id_: str, what: str) -> None:
        self.tell(id_, what)
        del self.judge.orders[id_]

    def answer_change(self, id_: str, known: Known) -> None:
        if self.chance.random() < 0.5:
            assert known.asked is not None
            if known.asked <= known.filled:
                self.end(id_, "canceled")
                return
            self.tell(id_, "replaced", qty=float(known.asked), limit=known.limit)
            known.qty = known.asked
        else:
            self.tell(id_, "replace_rejected")
            known.limit = self.desk.orders[id_].limit
        known.asked = None
        if not self.desk.orders[id_].working:  # it is whole, and will not become larger
            del self.judge.orders[id_]

    def fill(self, id_: str, known: Known) -> None:
        step = Fraction(repr(self.rules[known.symbol].lot))
        lots = ((known.qty - known.filled) / step + _SAME).__floor__()
        if lots < 1:
            return
        qty = self.chance.choice([lots, self.chance.randint(1, lots)]) * step
        self.fills += 1
        now, price = self.market.now, self.market.prices[known.symbol]
        side = "buy" if known.sign > 0 else "sell"
        fill = Fill(now, now, f"x{self.fills}", id_, known.symbol, side, float(qty), price)
        for _ in range(self.chance.choice([1, 1, 2])):  # told twice now and then
            self.desk.fill(fill)
        self.counts["fills"] += 1
        known.filled += qty
        known.unknown = False
        self.judge.held[known.symbol] += qty * known.sign
        money = qty * Fraction(price) * Fraction(self.rules[known.symbol].multiplier)
        self.judge.cash -= money * known.sign
        if not self.desk.orders[id_].working:
            del self.judge.orders[id_]


def judged_orders(seed: int) -> Outcome:
    """Try some hundred intents and changes against the judge; the unit is an intent."""
    return Trial(seed).run()


def hostile_limits(seed: int) -> Outcome:
    """Try hostile values as limits: refused by name, or a number that compares as one."""
    chance = random.Random(seed)
    names = [n for n in rf.Limits.__struct_fields__ if n != "symbols"]
    violations, counts = [], Counter[str]()
    for _ in range(200):
        name, value = chance.choice(names), chance.choice([*HOSTILE, 1, 0.5, np.float64(2)])
        good = value is None or (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(_float(value))
            and value >= 0
        )
        try:
            rf.Limits(**{name: value})
        except ConfigError as error:
            counts["refused"] += 1
            if good:
                violations.append(f"{name}={value!r:.40} was refused")
            elif name not in str(error):
                violations.append(f"{name}={value!r:.40} was refused without its name")
        except Exception as error:
            violations.append(f"{name}={value!r:.40} raised {error!r}")
        else:
            counts["taken"] += 1
            if not good:
                violations.append(f"{name}={value!r:.40} was taken for a limit")
    return Outcome(200, violations, counts)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
