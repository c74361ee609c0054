"""What each execution is booked as, and what is still to be booked of it.

A venue may tell later that an execution cost more, or was other than it first said: while we
listen, while the connection is made anew, or while no process of ours runs. It says what an
execution has come to; what is booked of it follows from the events that the engine was given, those
of the run's earlier life included. So the difference is booked once, however often it is told.
"""

from __future__ import annotations

from collections.abc import Callable

from regimeflow.model.events import Adjusted, Fill, Input
from regimeflow.venues.port import Corrected

#: Units and sums of money that differ by a smaller share of what changed hands are the same.
_SAME = 1e-9

#: Signed units, price and fee.
_Terms = tuple[float, float, float]


class Booked:
    """Executions as they are booked.

    Args:
        multiplier: symbol -> money that a price of one stands for.
    """

    def __init__(self, multiplier: Callable[[str], float]) -> None:
        self._multiplier = multiplier
        self._told: dict[str, Corrected] = {}
        #: Execution -> what it is booked as.
        self.terms: dict[str, _Terms] = {}

    def take(self, event: Input) -> None:
        """Take an event that the engine was given."""
        if isinstance(event, Fill):
            self.terms.setdefault(event.execution_id, _terms(event))
        elif isinstance(event, Adjusted) and event.execution_id in self.terms:
            qty, price, fee = self.terms[event.execution_id]
            after = qty + event.qty
            spent = (after * event.price - qty * price) * self._multiplier(event.symbol)
            self.terms[event.execution_id] = after, event.price, fee - event.cash - spent

    def came_to(self, said: Corrected) -> list[Adjusted]:
        """Return what is to be booked of an execution; of one that is not booked yet, later."""
        self._told[said.fill.execution_id] = said
        return self.owed(said.fill.execution_id)

    def owed(self, execution_id: str) -> list[Adjusted]:
        """Return what is to be booked of an execution, by what was last said of it."""
        said, terms = self._told.get(execution_id), self.terms.get(execution_id)
        if said is None or terms is None:
            return []
        qty, price, fee = terms
        fill = said.fill
        after, at, costs = _terms(fill)
        units = self._multiplier(fill.symbol)
        spent = (after * at - qty * price) * units
        cash = -spent - ((costs - fee) if said.fee_known else 0.0)
        moved = after - qty if abs(after - qty) > _SAME * abs(after) else 0.0
        if not moved and abs(cash) <= _SAME * (1.0 + abs(after * at * units)):
            return []
        why = f"execution {execution_id} came to something else: {said.why}"
        return [Adjusted(fill.ts, 0, fill.symbol, moved, at, cash, why, execution_id)]


def _terms(fill: Fill) -> _Terms:
    return fill.qty if fill.side == "buy" else -fill.qty, fill.price, fill.fee
