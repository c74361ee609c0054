"""What is traded at Alpaca, and by which rules."""

from __future__ import annotations

from urllib.parse import quote

from regimeflow.errors import NotThere, Refused
from regimeflow.model.instrument import Instrument
from regimeflow.venues.alpaca import wire
from regimeflow.venues.alpaca.asking import Asking, sound


class Assets:
    """The trading rules of symbols, each asked for once where that is enough.

    Args:
        asking: asks.
        crypto: whether it is crypto; stocks else.
        fractional: whether stocks may be bought in fractions of a share.
        calendar: exchange calendar.

    Attributes:
        rules: those that are known.
    """

    def __init__(self, asking: Asking, *, crypto: bool, fractional: bool, calendar: str) -> None:
        self._asking = asking
        self._crypto, self._fractional, self._calendar = crypto, fractional, calendar
        self.rules: dict[str, Instrument] = {}

    def ask(self, symbol: str) -> Instrument:
        """Return a symbol's rules as they are now.

        Raises:
            Refused: it is not traded.
        """
        no = f"{symbol} is not traded at Alpaca"
        try:
            asset = self._asking.trading(f"/assets/{quote(symbol, safe='')}", wire.Asset)
        except NotThere:
            raise Refused(no, code="unknown_symbol") from None
        if not asset.tradable:
            raise Refused(no, code="unknown_symbol")
        rules = sound(
            lambda row: wire.instrument(
                row, crypto=self._crypto, fractional=self._fractional, calendar=self._calendar
            ),
            asset,
        )
        self.rules[symbol] = rules
        return rules

    def of(self, symbol: str) -> Instrument:
        """Return a symbol's rules, asked for where they are not known."""
        return self.rules.get(symbol) or self.ask(symbol)
