"""A venue made of historical data: played at a scaled pace, matched as in a backtest."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from regimeflow.data.frames import Dataset, load
from regimeflow.errors import ConfigError
from regimeflow.model.events import Finish, Input, Output
from regimeflow.model.instrument import Instrument, Instruments
from regimeflow.model.models import Costs, FillModel, Latency, Model
from regimeflow.venues.inbox import Inbox
from regimeflow.venues.matching import Matched, Matcher, matched_on
from regimeflow.venues.tape import Tape

#: A feed that is ahead of its pace by less does not bother to sleep.
_PATIENCE_S = 0.001


class Simulated:
    """Historical data as a live venue.

    A session on it differs from a backtest only in that a feed thread paces the market events;
    ``speed`` changes sleeping, nothing else.

    Args:
        data: as in `regimeflow.backtest`.
        speed: seconds of the data per second of the clock; None plays as fast as it goes.
        start: when the session begins; earlier bars are its warm-up.
        end: when the data ends.
        fills, costs, latency: assumptions, as in `regimeflow.backtest`.
        cash: money on the account.
        label, timezone, calendar, timeframe, instruments, on_bad: as in `regimeflow.backtest`.
    """

    name = "simulated"

    def __init__(
        self,
        data: Any,
        *,
        speed: float | None = 1.0,
        start: Any = None,
        end: Any = None,
        fills: FillModel | None = None,
        costs: Costs | None = None,
        latency: Latency | None = None,
        cash: float = 100_000.0,
        label: str = "open",
        timezone: str = "UTC",
        calendar: str | None = None,
        timeframe: str | int | None = None,
        instruments: Mapping[str, Instrument] | Iterable[Instrument] | None = None,
        on_bad: str = "raise",
    ) -> None:
        if speed is not None and not speed > 0.0:
            raise ConfigError(
                f"speed must be positive, or None for as fast as it goes, not {speed}"
            )
        self.speed = speed
        self.start = start
        self.end = end
        self.timezone = timezone
        self.cash = cash
        self.instruments = instruments
        self.model = Model(
            fills=fills or FillModel(), costs=costs or Costs(), latency=latency or Latency()
        )
        self._data = data
        self._options: dict[str, Any] = {
            "label": label,
            "timezone": timezone,
            "calendar": calendar,
            "timeframe": timeframe,
            "on_bad": on_bad,
        }

    def __repr__(self) -> str:
        pace = "as fast as it goes" if self.speed is None else f"{self.speed:g} times real time"
        return f"<Simulated venue, {pace}>"

    def dataset(
        self, symbols: Sequence[str] | None = None, timeframe: str | int | None = None
    ) -> Dataset:
        """Return the data of the given symbols, checked."""
        options = dict(self._options)
        if timeframe is not None:
            options["timeframe"] = timeframe
        return load(self._data, symbols=symbols, **options)

    def connect(self, tape: Tape, instruments: Instruments) -> SimulatedLink:
        """Return a connection that plays a tape."""
        matcher = Matcher(self.model, instruments, matched_on(tape.data), self.name)
        return SimulatedLink(tape, matcher, self.speed)


class SimulatedLink:
    """One session's connection to a simulated venue.

    Args:
        tape: what is played.
        matcher: fills what is sent.
        speed: pace of the feed.
    """

    def __init__(self, tape: Tape, matcher: Matcher, speed: float | None) -> None:
        self.inbox = Inbox()
        self.total = tape.count
        self._tape = tape
        self._speed = speed
        self._matched = Matched(self._segments, matcher)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="regimeflow-feed", daemon=True)
        latency = matcher.model.latency
        self._answer_ns = latency.order_ns + latency.data_ns

    def events(self) -> Iterator[Input]:
        """Yield events as they come; blocks."""
        return self._matched.events()

    def send(self, outputs: Sequence[Output]) -> None:
        """Take requests."""
        self._matched.send(outputs)

    def open(self, head: Sequence[Input]) -> None:
        """Start the feed; ``head`` comes before its first event."""
        for event in head:
            self.inbox.put(event)
        self._thread.start()

    def command(self, name: str, why: str, who: str) -> None:
        """Pass a command to the engine."""
        self.inbox.command(name, why, who)

    def close(self, why: str) -> None:
        """Stop the feed; the run ends once what was asked before is answered."""
        self._stop.set()
        self.inbox.close(why, self._answer_ns)

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the feed thread is gone."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _segments(self) -> Iterator[Iterable[Input]]:
        yield self.inbox.events()

    def _feed(self) -> None:
        """Put the tape's events into the inbox at their pace."""
        put, stop = self.inbox.put, self._stop
        pace_ns = None if self._speed is None else 1e9 * self._speed
        began = time.monotonic()
        first_ts = self._tape.begins
        for segment in self._tape.segments():
            for event in segment:
                if pace_ns is not None:
                    ahead_s = began + (event.ts - first_ts) / pace_ns - time.monotonic()
                    if ahead_s > _PATIENCE_S and stop.wait(ahead_s):
                        return
                if stop.is_set() or not put(event):
                    return
                if event.__class__ is Finish:
                    return
