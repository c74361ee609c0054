"""A venue made of historical data: played at a scaled pace, matched as in a backtest."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from regimeflow.data.frames import Dataset, load
from regimeflow.errors import ConfigError, SessionError
from regimeflow.model.events import (
    EndOfDay,
    Finish,
    Health,
    Input,
    Output,
    Resumed,
    Start,
    Upgraded,
)
from regimeflow.model.instrument import Instrument, Instruments
from regimeflow.model.market import Bar, Bars, Quote, Trade
from regimeflow.model.models import Costs, FillModel, Latency, Model
from regimeflow.venues.inbox import Inbox
from regimeflow.venues.matching import Matched, Matcher, matched_on
from regimeflow.venues.recalling import Recalling
from regimeflow.venues.tape import Tape

#: A feed that is ahead of its pace by less does not bother to sleep.
_PATIENCE_S = 0.001
#: How often a waiting feed looks for the kill file.
_KILL_S = 0.25
#: How often a feed that has a pace tells how the process is doing.
_HEALTH_S = 10.0


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

    def connect(
        self,
        tape: Tape,
        instruments: Instruments,
        start: Start,
        killed: Callable[[], str] = lambda: "",
        probe: Callable[[], Health] | None = None,
    ) -> SimulatedLink:
        """Return a connection that plays a tape, from ``start`` on."""
        matcher = Matcher(self.model, instruments, matched_on(tape.data), self.name)
        return SimulatedLink(tape, matcher, self.speed, start, killed, probe)


class SimulatedLink:
    """One session's connection to a simulated venue.

    Args:
        tape: what is played.
        matcher: fills what is sent.
        speed: pace of the feed.
        start: the session's first event.
        killed: returns why everything must halt, or ""; asked between events.
        probe: returns the health of the process, asked for while the feed waits for its pace;
            None leaves it out.

    Attributes:
        skew_ms: None: it has no clock but the session's.
    """

    skew_ms: float | None = None

    def __init__(
        self,
        tape: Tape,
        matcher: Matcher,
        speed: float | None,
        start: Start,
        killed: Callable[[], str],
        probe: Callable[[], Health] | None = None,
    ) -> None:
        self.inbox = Inbox()
        self._tape = tape
        self._speed = speed
        self._start = start
        self._killed = killed
        self._told = ""
        self._probe = probe
        self._health_at = time.monotonic() + _HEALTH_S
        self._matched = Matched(self._segments, matcher)
        self._recalling = Recalling(matcher)
        self._recalled = 0
        self._last = 0
        self._resumed: Resumed | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="regimeflow-feed", daemon=True)
        latency = matcher.model.latency
        self._answer_ns = latency.order_ns + latency.data_ns

    def events(self) -> Iterator[Input]:
        """Begin, and yield events as they come; blocks."""
        if self._resumed is not None:
            yield self._resumed
        self._thread.start()
        yield from self._recalling.rest_of(self._matched.events())

    def send(self, outputs: Sequence[Output]) -> None:
        """Take requests."""
        self._matched.send(outputs)

    def recall(self, event: Input, outputs: Sequence[Output]) -> None:
        """Live through an event of the run's earlier life."""
        self._last = event.seen
        if isinstance(event, Resumed):  # it came past the matcher, which owes no answer before it
            self._matched.send(outputs)
            return
        self._recalled += isinstance(event, Bar | Bars | Trade | Quote | EndOfDay)
        self._recalling.take(event, outputs)

    def saved(self, event: Input) -> object | None:
        """Return what `restore` needs after ``event``; None between two answers."""
        if not self._recalling.at_rest(event):
            return None
        return self._matched.matcher, self._recalled + self.inbox.taken, event.seen

    def restore(self, state: Any) -> None:
        """Be where the run's earlier life was when this was saved."""
        matcher, self._recalled, self._last = state
        self._matched.matcher, self._recalling = matcher, Recalling(matcher)

    def resume(self, resumed: Resumed) -> None:
        """Begin where the run's earlier life ended; the tape goes on from there.

        Raises:
            SessionError: it was played to its end.
        """
        if self._recalled >= self._tape.length:
            raise SessionError(
                "this run has ended, its data were played to their end: to run it again, choose "
                "another run_dir, or remove this one"
            )
        self._resumed = msgspec.structs.replace(resumed, ts=self._last, seen=self._last)

    def command(self, name: str, why: str, who: str) -> None:
        """Pass a command to the engine; a stop ends the run once what was asked is answered."""
        self.inbox.command(name, why, who)
        if name == "stop":
            self._stop.set()
            self.inbox.close(why, self._answer_ns)

    def pressing(self) -> bool:
        """What is simulated comes before a halt: nothing that follows can change places with it."""
        return False

    def upgrade(self, event: Upgraded) -> None:
        """Pass an upgrade to the engine, from any thread."""
        self.inbox.urgent(event)

    def take_back(self, order_ids: Sequence[str], timeout_ns: int) -> list[str]:
        """Nothing of a simulated session works anywhere else."""
        return []

    def close(self) -> None:
        """Give up the feed and its thread."""
        self._stop.set()
        self.inbox.close("closed")
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    def _segments(self) -> Iterator[Iterable[Input]]:
        if self._resumed is None:
            yield self._tape.head(self._start)
        yield self.inbox.events(self._last or self._start.seen)

    def _feed(self) -> None:
        """Put the tape's events into the inbox at their pace."""
        put, stop = self.inbox.put, self._stop
        pace_ns = None if self._speed is None else 1e9 * self._speed
        began = time.monotonic()
        first_ts = self._last or self._tape.begins
        tape = (event for segment in self._tape.segments() for event in segment)
        for event in itertools.islice(tape, self._recalled, None):
            if pace_ns is not None:
                ahead_s = began + (event.ts - first_ts) / pace_ns - time.monotonic()
                while ahead_s > _PATIENCE_S:
                    if stop.wait(min(ahead_s, _KILL_S)):
                        return
                    self._look_around()
                    ahead_s = began + (event.ts - first_ts) / pace_ns - time.monotonic()
            if stop.is_set() or not put(event):
                return
            if event.__class__ is Finish:
                return

    def _look_around(self) -> None:
        """Look for the kill file, and now and then at the process."""
        why = self._killed()
        if why and why != self._told:
            self.inbox.command("halt", why, "kill file")
        self._told = why
        if self._probe is not None and time.monotonic() >= self._health_at:
            self._health_at = time.monotonic() + _HEALTH_S
            health = self._probe()
            self.inbox.urgent(msgspec.structs.replace(health, queue=len(self.inbox)))
