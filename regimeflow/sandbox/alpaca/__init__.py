"""A venue on this machine that speaks Alpaca's protocols, for its own client library.

``python -m regimeflow.sandbox.alpaca`` prints its ports when it listens. On the first of them are
the REST interface of trading (``/v2``) and of historical bars (``/v2/stocks``,
``/v1beta3/crypto/us``), the stream of orders (``/stream``, JSON in binary frames) and that of
market data (``/v2/iex``, ``/v1beta3/crypto/us``, msgpack). A symbol with a slash is crypto.

What Alpaca does and a simple exchange does not: a changed order is a new one with an id of its own;
an execution has one id in the stream and another in the list of activities; crypto positions come
without the slash; the current bar is in the history though it is not over; one connection for
market data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from regimeflow.model.instrument import Instrument
from regimeflow.sandbox.process import VenueProcess

#: The account's keys, the same in every sandbox: any other are refused, as Alpaca refuses them.
API_KEY, SECRET_KEY = "PKSANDBOXSANDBOX", "made-up-for-the-sandbox"


def rules(symbol: str) -> Instrument:
    """Return the trading rules of a symbol: whole shares and cents, or crypto's parts."""
    if "/" in symbol:
        return Instrument(symbol, tick=0.01, lot=0.0001, shortable=False)
    return Instrument(symbol)


class Alpaca(VenueProcess):
    """Alpaca on this machine, to practise and to test on; symbols with a slash are crypto.

    A client of one's own needs the port and the keys, `API_KEY` and `SECRET_KEY` of this module.

    Args:
        as of `VenueProcess`.

    Example:
        >>> with Alpaca(symbols=["SPY", "QQQ"]) as sandbox:
        ...     sandbox.venue().name
        'alpaca'
    """

    kind = "alpaca"
    symbols = ("SPY", "QQQ")

    def venue(self, **how: Any) -> Any:
        """Return `regimeflow.venues.Alpaca` that points at it, with the sandbox's keys.

        The sandbox never closes, so its sessions are UTC days; and it has bars of any length.

        Args:
            **how: further arguments of that venue.
        """
        from regimeflow.venues.alpaca import Alpaca as Venue

        crypto = "/" in self.symbols[0]
        feed = "/v1beta3/crypto/us" if crypto else "/v2/iex"
        here = f"127.0.0.1:{self.port}"
        return Venue(
            **{
                "api_key": API_KEY,
                "secret_key": SECRET_KEY,
                "asset_class": "crypto" if crypto else "equity",
                "base_url": f"http://{here}",
                "data_url": f"http://{here}",
                "stream_url": f"ws://{here}/stream",
                "data_stream_url": f"ws://{here}{feed}",
                "calendar": "",
                "stream_bars": self.timeframe,
                **how,
            }
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end by SIGTERM, SIGINT or, where attended, the end of the input."""
    # Whoever only starts a sandbox needs no server.
    from regimeflow.sandbox import house
    from regimeflow.sandbox.alpaca.server import Server

    return house.main(
        argv,
        prog="regimeflow sandbox alpaca",
        make_wire=Server,
        rules=rules,
        defaults={"fee_bps": 0.0},
    )


__all__ = ["API_KEY", "SECRET_KEY", "Alpaca", "main"]
