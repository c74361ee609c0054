"""Cash and positions, moved by fills alone.

Invariants, each a property test against a ``Decimal`` oracle:

1. cash = starting cash - sum(signed quantity x price x multiplier) - sum(fees);
2. a position = starting position + sum(signed quantities), exactly on the instrument's grid;
3. realised profit + unrealised profit = change in equity + fees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from regimeflow.model.events import Start
from regimeflow.model.instrument import Instrument, Instruments


class Position:
    """Holding of one symbol.

    Attributes:
        qty: units, negative when short.
        average_price: mean entry price of what is held.
        realized: profit of what was closed, before fees, money.
        fees: paid, money.
    """

    __slots__ = (
        "average_price", "fees", "instrument", "lot", "multiplier", "qty", "realized", "symbol",
    )  # fmt: skip

    def __init__(
        self, instrument: Instrument, qty: float = 0.0, average_price: float = 0.0
    ) -> None:
        self.symbol = instrument.symbol
        self.instrument = instrument
        self.lot = instrument.lot
        self.multiplier = instrument.multiplier
        self.qty = qty
        self.average_price = average_price
        self.realized = 0.0
        self.fees = 0.0

    def follow(self, instrument: Instrument) -> None:
        """Go by changed trading rules from now on."""
        self.instrument = instrument
        self.lot = instrument.lot
        self.multiplier = instrument.multiplier

    def __repr__(self) -> str:
        return f"<{self.symbol} {self.qty:g} @ {self.average_price:g}>"


class Ledger:
    """Cash and positions of one run, in one currency.

    Args:
        cash: what it begins with.
        instruments: the rules of every symbol.
    """

    __slots__ = ("_carry", "_cash", "_instruments", "cash", "fees", "held", "levered", "positions")

    def __init__(self, cash: float, instruments: Instruments) -> None:
        #: Money on the account; negative is a debit.
        self.cash = cash
        self._cash = cash
        self._carry = 0.0
        self._instruments = instruments
        self.fees = 0.0
        self.positions: dict[str, Position] = {}
        # Only what is held now, so that valuing costs nothing for what was ever traded.
        self.held: dict[str, Position] = {}
        # Positions whose value counts for or against buying power: short, or bought on margin.
        self.levered: dict[str, Position] = {}

    @classmethod
    def of(cls, start: Start, instruments: Instruments | None = None) -> Ledger:
        """Return the ledger that a run begins with: its cash, and the positions it found.

        Args:
            start: the run's first event.
            instruments: the rules of every symbol; those of the start without it.
        """
        if instruments is None:
            instruments = Instruments((rules.symbol, rules) for rules in start.instruments)
        ledger = cls(start.cash, instruments)
        for symbol, (qty, average_price) in start.positions.items():
            ledger.open(symbol, qty, average_price)
        return ledger

    def position(self, symbol: str) -> Position:
        """Return the position of a symbol, flat if it was never traded."""
        position = self.positions.get(symbol)
        if position is None:
            position = self.positions[symbol] = Position(self._instruments[symbol])
        return position

    def open(self, symbol: str, qty: float, average_price: float) -> None:
        """Put in a position that was there before the run; no cash moves."""
        position = self.position(symbol)
        position.qty = position.instrument.snap_qty(qty)
        position.average_price = average_price
        self._file(position)

    def become(self, other: Ledger) -> None:
        """Hold from now on what another ledger holds, to the last bit; fees stay its own."""
        for position in self.held.values():
            position.qty = position.average_price = 0.0
        self.held.clear()
        self.levered.clear()
        for symbol, position in other.held.items():
            self.open(symbol, position.qty, position.average_price)
        self.cash, self._cash, self._carry = other.cash, other._cash, other._carry

    def adjust(self, symbol: str, signed_qty: float, price: float, cash: float) -> Position:
        """Take in a change that no fill explains: units at a price, and money as it was told."""
        if not signed_qty:
            self._pay(cash)
            return self.position(symbol)
        position = self.book(symbol, signed_qty, price, 0.0)
        self._pay(cash + signed_qty * price * position.multiplier)
        return position

    def book(self, symbol: str, signed_qty: float, price: float, fee: float) -> Position:
        """Book one execution and return the position after it."""
        position = self.positions.get(symbol)
        if position is None:
            position = self.position(symbol)
        self._pay(-signed_qty * price * position.multiplier)
        if fee:
            self._pay(-fee)
            self.fees += fee
            position.fees += fee
        before = position.qty
        after = position.instrument.snap_qty(before + signed_qty)
        if before == 0.0:  # opens
            position.average_price = price
        elif (before > 0.0) is (signed_qty > 0.0):  # adds
            share = signed_qty / (before + signed_qty)
            position.average_price += (price - position.average_price) * share
        else:  # closes; what goes beyond opens the other side
            closed = before if abs(before) <= abs(signed_qty) else -signed_qty
            gain = price - position.average_price
            position.realized += closed * gain * position.multiplier
            if after == 0.0:
                position.average_price = 0.0
            elif before * after < 0.0:  # went through zero: what is left was entered here
                position.average_price = price
        position.qty = after
        self._file(position)
        return position

    def equity(self, price_of: Callable[[str], float]) -> float:
        """Return cash plus positions at the given prices, money."""
        total = self.cash
        for symbol, position in self.held.items():
            total += position.qty * price_of(symbol) * position.multiplier
        return total

    def snapshot(self) -> Mapping[str, float]:
        """Return symbol -> units of what is held."""
        return {symbol: position.qty for symbol, position in self.held.items()}

    def _pay(self, amount: float) -> None:
        # A compensated sum: a million fills lose nothing to rounding. What one addition loses is
        # exactly this, whichever of the two is larger (Knuth's two-sum).
        cash = self._cash
        self._cash = total = cash + amount
        came = total - cash
        self._carry = carry = self._carry + ((cash - (total - came)) + (amount - came))
        self.cash = total + carry

    def _file(self, position: Position) -> None:
        symbol, qty = position.symbol, position.qty
        if qty == 0.0:
            self.held.pop(symbol, None)
        else:
            self.held[symbol] = position
            if qty < 0.0 or position.instrument.margin < 1.0:
                self.levered[symbol] = position
                return
        if self.levered:
            self.levered.pop(symbol, None)
