"""Any exchange of ccxt, through ccxt's own client: requests over REST, news by its streams.

Inside this package ``ccxt`` always means the library, which is imported when a venue is made.
"""

from __future__ import annotations

from regimeflow.venues.ccxt.adapter import Ccxt

__all__ = ["Ccxt"]
