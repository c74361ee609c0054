"""Under which names orders are known: ours, and the exchange's own."""

from __future__ import annotations

from collections import OrderedDict

#: Names of orders that are kept, so that their exchange ids and symbols are known.
_REMEMBERED = 20_000


class Names:
    """What was learned of orders' names; the oldest are forgotten."""

    def __init__(self) -> None:
        self._places: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._ours: OrderedDict[str, str] = OrderedDict()

    def learn(self, order_id: str, venue_id: str, symbol: str) -> None:
        """Remember under which id and symbol the exchange keeps an order."""
        if not order_id:
            return
        _, known = self._places.get(order_id, ("", ""))
        self._places[order_id] = (symbol, venue_id or known)
        if len(self._places) > _REMEMBERED:
            self._places.popitem(last=False)
        if venue_id:
            self._ours[venue_id] = order_id
            if len(self._ours) > _REMEMBERED:
                self._ours.popitem(last=False)

    def place(self, order_id: str, venue_id: str) -> tuple[str, str]:
        """Return the symbol and the exchange's id of an order, "" for what was never told."""
        symbol, known = self._places.get(order_id or self._ours.get(venue_id, ""), ("", ""))
        return symbol, venue_id or known

    def ours(self, venue_id: str) -> str:
        """Return our name of an order, or the exchange's where there is none."""
        return self._ours.get(venue_id, venue_id)
