"""The former name of `regimeflow.venues.intervals`."""

from regimeflow.venues.intervals import Intervals as Settings

__all__ = ["Settings"]
