"""Floor 3: sources of events and sinks of requests."""

from regimeflow.venues.simulated import Simulated

__all__ = ["Simulated"]
