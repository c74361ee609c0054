"""Live market data of one venue, filled by the simulator: nothing is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from regimeflow.errors import ConfigError
from regimeflow.model.events import Input, Output, Resumed, Upgraded
from regimeflow.model.instrument import Instrument
from regimeflow.model.models import Costs, FillModel, Latency, Model
from regimeflow.venues.gateway import Gateway
from regimeflow.venues.matching import Matched, Matcher
from regimeflow.venues.port import Adapter
from regimeflow.venues.recalling import Recalling


class Paper:
    """A venue's live market data with simulated fills.

    Orders fill from quotes where the session has quotes, from trades where it has those, else from
    the bars that follow. The report says which.

    Args:
        feed: the venue whose data are used, such as ``rf.venues.Loopback(...)``. No order is ever
            sent to it.
        fills, costs, latency: assumptions, as in `regimeflow.backtest`.
        cash: money on the account.
        instruments: trading rules, where the venue's own are not to be used.
    """

    def __init__(
        self,
        feed: Adapter,
        *,
        fills: FillModel | None = None,
        costs: Costs | None = None,
        latency: Latency | None = None,
        cash: float = 100_000.0,
        instruments: Mapping[str, Instrument] | Iterable[Instrument] | None = None,
    ) -> None:
        if not hasattr(feed, "capabilities"):
            raise ConfigError(f"feed must be a venue with live market data, not {feed!r}")
        self.feed = feed
        self.name = f"paper on {feed.name}"
        self.cash = cash
        self.model = Model(
            fills=fills or FillModel(), costs=costs or Costs(), latency=latency or Latency()
        )
        given = instruments.values() if isinstance(instruments, Mapping) else instruments or ()
        self.instruments = {rules.symbol: rules for rules in given}

    def __repr__(self) -> str:
        return f"<Paper venue, data of {self.feed.name}>"


class PaperLink:
    """One session's connection to a paper venue: a gateway's events with a matcher before them."""

    def __init__(self, gateway: Gateway, matcher: Matcher) -> None:
        self._gateway = gateway
        self._feed = gateway.events()
        self._matched = Matched(lambda: [self._feed], matcher)
        self._recalling = Recalling(matcher)
        self._resumed = False

    def events(self) -> Iterator[Input]:
        """Yield events as they come; blocks."""
        if self._resumed:
            # Before anything that fell due while nobody was there: it belongs to the life to come.
            first = next(self._feed)
            self._matched.matcher.catch_up(first.seen)
            yield first
        yield from self._recalling.rest_of(self._matched.events())

    def send(self, outputs: Sequence[Output]) -> None:
        """Give orders to the simulator."""
        self._matched.send(outputs)

    @property
    def skew_ms(self) -> float | None:
        """How far the venue's clock was ahead of ours when it was last asked; None: never."""
        return self._gateway.skew_ms

    def recall(self, event: Input, outputs: Sequence[Output]) -> None:
        """Live through an event of the run's earlier life."""
        if isinstance(event, Resumed):
            self._matched.matcher.catch_up(event.seen)
        else:
            self._recalling.take(event, outputs)

    def saved(self, event: Input) -> object | None:
        """Return what `restore` needs after ``event``; None between two answers."""
        gateway = self._gateway.saved(event)
        if gateway is None or not self._recalling.at_rest(event):
            return None
        return self._matched.matcher, gateway

    def restore(self, state: Any) -> None:
        """Be where the run's earlier life was when this was saved."""
        matcher, gateway = state
        self._gateway.restore(gateway)
        self._matched.matcher, self._recalling = matcher, Recalling(matcher)

    def resume(self, resumed: Resumed) -> None:
        """Begin where the run's earlier life ended."""
        self._resumed = True
        self._gateway.resume(resumed)

    def command(self, name: str, why: str, who: str) -> None:
        """Pass a command to the engine, from any thread."""
        self._gateway.command(name, why, who)

    def pressing(self) -> bool:
        """What is simulated comes before a halt: nothing that follows can change places with it."""
        return False

    def upgrade(self, event: Upgraded) -> None:
        """Pass an upgrade to the engine, from any thread."""
        self._gateway.upgrade(event)

    def take_back(self, order_ids: Sequence[str], timeout_ns: int) -> list[str]:
        """Nothing of a paper session works anywhere else."""
        return []

    def close(self) -> None:
        """Give up the connection and its threads."""
        self._gateway.close()
