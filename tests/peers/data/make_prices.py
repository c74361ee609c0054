"""Writes prices.csv: `python tests/peers/data/make_prices.py`.

Hourly made-up bars around the clock, of which only the hours from 14 to 21 of weekdays are kept and
joined to days: so a day opens away from the close before it, and a fill at the next open cannot be
mistaken for one at the close that it was decided on.
"""

from __future__ import annotations

from pathlib import Path

import regimeflow as rf

#: Chosen so that the quick average lies above the calm one on the first day that both are known.
SEED = 3


def main() -> None:
    """Write the file beside this script."""
    hours = rf.datasets.synthetic(n=24 * 1_400, timeframe="1h", start="2020-01-06", seed=SEED)
    when = hours.index
    hours = hours[(when.hour >= 14) & (when.hour < 21) & (when.day_of_week < 5)]
    days = hours.groupby(hours.index.normalize()).agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    )
    days.index.name = "date"
    days["volume"] = days["volume"].astype(int)
    days.to_csv(Path(__file__).with_name("prices.csv"), float_format="%.2f")


if __name__ == "__main__":
    main()
