"""Between the engine and a venue that lives elsewhere: everything that adapters need not know.

The gateway is a source of events and a sink of requests like any venue, and it runs on the engine's
thread. It knows no thread, socket or clock: its runtime waits and does the work that blocks, so the
same gateway trades live and runs through a simulation of faults.

Invariants:

1. no entry leaves before our books were compared with the venue's and nothing was left to do: at
   the start, after every lost connection, and after a restart;
2. ``seen`` grows strictly, and is the only time that the engine knows;
3. a connection that is there is not a feed that is fresh: each symbol has an age of its own;
4. once a halt, a flatten or a stop has arrived, nothing new leaves, whatever the engine is busy
   with; and it is the next event that the engine is given.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from regimeflow.engine.desk import ACTIVE
from regimeflow.engine.engine import Engine
from regimeflow.errors import ConfigError, MissingExtra, Refused
from regimeflow.model.events import (
    Adjusted,
    Cancel,
    Clock,
    Command,
    Connection,
    Fill,
    Finish,
    Gap,
    Health,
    Input,
    OrderUpdate,
    Output,
    Reconciled,
    Replace,
    Resumed,
    Rules,
    SetTimer,
    Start,
    StateChanged,
    Submit,
    Timer,
    Upgraded,
    exits_of,
)
from regimeflow.model.market import Bar, Bars, Book, History, Quote, Trade
from regimeflow.model.order import Status
from regimeflow.model.timeframe import NS_PER_DAY
from regimeflow.venues.booked import Booked
from regimeflow.venues.comparing import Comparing
from regimeflow.venues.intake import FeedWatch, Gather, Hours, Intake, impossible_news, writable
from regimeflow.venues.intervals import Intervals
from regimeflow.venues.line import Line
from regimeflow.venues.outbox import Outbox
from regimeflow.venues.port import (
    Adapter,
    Corrected,
    Disconnected,
    Garbled,
    Refreshed,
    Said,
    VenueOrder,
)
from regimeflow.venues.runtime import Answer, Message, Overflow, Runtime
from regimeflow.venues.splice import Splice
from regimeflow.venues.timers import Timers

_NEVER = 2**63 - 1
#: Messages that cannot be read, in a row, after which the connection is made anew.
_GARBLED = 20


class Gateway:
    """One session's connection to a venue.

    Args:
        adapter: the venue.
        runtime: time, waiting and work beside.
        intervals: how patient to be.
        engine: whose orders are followed; only read.
        draft: the start event, as far as it is known before the venue has been asked.
        symbols, timeframe: of the market data; timeframe in nanoseconds, 0 for trades and quotes.
        calendar: exchange calendar, "" for always.
        warmup: how many bars from before are asked for.
        cash: what the run begins with, money; None for what is on the account.
        run: name of the run.
        trades: whether orders go to the venue; else it gives market data only.
        account: the number of the account that it must be, or the end of it; "" for any.
        probe: returns the health of the process; None leaves it out.
        killed: returns why everything must halt, or "".
        connecting: told that the run cannot begin yet, and why: "" at the first try, then each
            new reason.
    """

    def __init__(
        self,
        adapter: Adapter,
        runtime: Runtime,
        intervals: Intervals,
        engine: Engine,
        draft: Start,
        *,
        symbols: Sequence[str],
        timeframe: int,
        calendar: str = "",
        warmup: int = 0,
        cash: float | None = None,
        run: str,
        trades: bool = True,
        account: str = "",
        probe: Callable[[], Health] | None = None,
        killed: Callable[[], str] = lambda: "",
        connecting: Callable[[str], object] = lambda why: None,
    ) -> None:
        self.adapter = adapter
        self.runtime = runtime
        self.intervals = intervals
        self._engine = engine
        self._draft = draft
        self._symbols = tuple(symbols)
        self._timeframe = timeframe
        self._warmup = warmup
        self._cash = cash
        self._trades = trades
        self._account = account
        self._probe = probe
        self._killed = killed
        self._connecting = connecting
        self.hours = Hours(calendar)
        self.intake = Intake(symbols, timeframe)
        self.watch = FeedWatch(symbols, timeframe, intervals.ns("heartbeat_ms"), self.hours)
        self._gather = Gather(self._symbols, intervals.ns("grace_ms"))
        self._splice = Splice(symbols, timeframe, self.hours)
        self.outbox = Outbox(
            adapter, runtime, intervals, lambda: engine.desk.orders, lambda: engine.desk.limits
        )
        self.comparing = Comparing(
            adapter,
            runtime,
            intervals,
            lambda: engine.desk,
            run,
            lambda: self.outbox.in_flight,
        )
        self._booked = Booked(lambda symbol: engine.desk.instruments[symbol].multiplier)
        self._line = Line(intervals, runtime)
        self._halting = self.outbox.halting
        self._seen = engine.event.seen
        self._timers = Timers()
        self._untold = 0  # timers that came due and were not told yet
        self._soon: list[Input] = []
        self._clock_at = self._health_at = self._skew_at = _NEVER
        #: How far the venue's clock was ahead of ours when it was last asked.
        self.skew_ms: float | None = None
        self._kill_told = ""
        self._handling: Command | None = None  # what the engine is given just now
        self._given = False  # whether it was given anything in this life
        self._garbled = 0
        self._closing: tuple[int, str] | None = None
        self._backfill: set[str] = set()
        self._begun = False
        self._early: list[Input] = []
        self._resumed: Resumed | None = None

    # ------------------------------------------------------------ the venue's two sides

    def events(self) -> Iterator[Input]:
        """Yield events as they come; blocks."""
        if self._resumed is not None:
            yield from self._stamped(self._take_up(self._resumed))
        self._line.wanted_at = self.runtime.now()
        if not self._begun:
            self._connecting("")
        while True:
            yield from self._stamped(self._by_the_clock())
            if self._closing is not None and self._may_end():
                if self._begun:
                    yield from self._stamped(self._end(self._closing[1]))
                return
            message = self.runtime.wait(self._next_due())
            if message is not None:
                yield from self._stamped(self._take(message))

    def send(self, outputs: Sequence[Output]) -> None:
        """Carry out the requests among ``outputs``."""
        self._is_handled()  # before the exits of a flatten, which must not wait for themselves
        for output in outputs:
            if isinstance(output, Submit | Cancel | Replace):
                for name in _names_in(output):
                    self.comparing.heard[name] = self.runtime.now()
                self._soon += self.outbox.send(output)
            elif isinstance(output, SetTimer):
                self._timers.set(output)
            elif isinstance(output, StateChanged) and _halts(output):
                self._soon += self.outbox.withdraw(f"trading is {output.after}: {output.why}")

    def recall(self, event: Input, outputs: Sequence[Output]) -> None:
        """Live through an event of the run's earlier life: of it timers are left, and what is
        booked."""
        self._seen = event.seen
        self._booked.take(event)
        if isinstance(event, Timer):
            self._due_timers(event.ts)
        for output in outputs:
            if isinstance(output, SetTimer):
                self._timers.set(output)

    def saved(self, event: Input) -> object | None:
        """Return what `restore` needs after ``event``; None while timers that came due wait."""
        if self._untold:
            return None
        return event.seen, self._timers, self._booked.terms

    def restore(self, state: Any) -> None:
        """Be where the run's earlier life was when this was saved."""
        self._seen, self._timers, self._booked.terms = state

    def resume(self, resumed: Resumed) -> None:
        """Begin where the run's earlier life ended, with this event."""
        self._seen = max(self._seen, self._engine.event.seen)
        self._resumed = resumed

    def command(self, name: str, why: str, who: str) -> None:
        """Pass a command to the engine, from any thread."""
        command = Command(0, 0, name, why, who)
        self._halting.arrived(command)  # from here on nothing new leaves
        self.runtime.command(command)

    def pressing(self) -> bool:
        """Whether a halt has arrived, and what comes next is that or what was asked before it."""
        return bool(self._halting) and self._given and self.runtime.pressing()

    def upgrade(self, event: Upgraded) -> None:
        """Pass an upgrade to the engine, from any thread."""
        self.runtime.command(event)

    def take_back(self, order_ids: Iterable[str], timeout_ns: int) -> list[str]:
        """Cancel orders when the engine can no longer: return those that may still work.

        For the moment after the journal has failed: cancels are all that may leave then.
        """
        left = set(order_ids)
        until = self.runtime.now() + timeout_ns
        again_at = 0
        while left and self.runtime.now() < until:
            if self.runtime.now() >= again_at:
                again_at = self.runtime.now() + self.intervals.unknown_poll_ns
                for order_id in sorted(left):
                    self.outbox.insist(order_id)
            left.discard(_over(self.runtime.wait(min(until, again_at))))
        return sorted(left)

    def close(self) -> None:
        """Give everything up: threads end, nothing more is said."""
        self._line.up = False
        self.runtime.close()
        self.adapter.close()

    # ------------------------------------------------------------ stamping

    def _stamped(self, events: Iterable[Input]) -> Iterator[Input]:
        """Yield events with the time at which they are let in, and what follows of each at once."""
        waiting = list(events)
        while True:
            if self._halting and self._given and not any(type(e) in _ASKED for e in waiting):
                waiting[:0] = self._asked_next()
            if not waiting:
                return
            event = waiting.pop(0)
            if type(event) is Command:
                self._handling = event
            if type(event) in _WORDY:
                event = writable(event)
            seen = self._seen = max(self.runtime.now(), self._seen + 1)
            self._untold -= type(event) is Timer
            if type(event) is Bars:
                replaced = tuple(msgspec.structs.replace(b, seen=seen) for b in event.bars)
                yield Bars(event.ts, seen, replaced)
            elif type(event) in (Command, Clock, Upgraded):
                yield msgspec.structs.replace(event, ts=seen, seen=seen)
            else:
                yield msgspec.structs.replace(event, seen=seen)
            if type(event) is Finish:
                return  # what is asked for now comes too late
            self._given = True
            self._is_handled()
            if isinstance(event, Fill | Adjusted):
                self._booked.take(event)
                waiting[:0] = self._booked.owed(event.execution_id)
            # What the engine sent on this event may have been answered at once.
            waiting[:0] = self._soon
            self._soon = []

    def _asked_next(self) -> list[Input]:
        """Return what is asked for next: up to a halt it overtakes what was let in already, too."""
        message = self.runtime.urgent()
        return [] if message is None else self._take(message)

    def _is_handled(self) -> None:
        """The engine has handled a command: what may leave is by the trading state again."""
        if self._handling is not None:
            self._halting.handled(self._handling)
            self._handling = None

    # ------------------------------------------------------------ messages

    def _take(self, message: Message) -> list[Input]:
        """Return what a message means for the engine."""
        if isinstance(message, Command):
            return self._command(message)
        if isinstance(message, Upgraded):
            if self._begun:
                return [message]
            self._soon.append(message)  # right after the run has begun
            return []
        if isinstance(message, Answer):
            return self._answer(message)
        if isinstance(message, Overflow):
            now = self.runtime.now()
            lost = f"{message.lost} market data events were lost: they came too fast"
            return [Command(now, 0, "halt", lost, "gateway"), *self._lose_line(lost)]
        return self._said(message)

    def _command(self, command: Command) -> list[Input]:
        if command.name == "stop" and self._closing is None:
            until = self.runtime.now() + self.intervals.ns("stop_ms")
            self._closing = (until, command.why)
            self.comparing.clean = False
            self.comparing.soon()
            if not self._begun:
                return []  # nothing is there to be stopped
        if command.name == "adopt":
            self.comparing.adopting = True
            self.comparing.soon()
        if not self._begun:
            self._early.append(command)  # it holds from the first moment on
            return []
        return [command]

    def _said(self, said: Said) -> list[Input]:
        now = self.runtime.now()
        if not isinstance(said, Garbled):
            self._garbled = 0
        if isinstance(said, Bar | Trade | Quote | Book):
            if not self._begun or not self.intake.accepts(said, now):
                return []
            self.watch.heard(said.symbol, said.ts)
            told = self._feeds(now) if self.watch.stale else []
            return [*told, *(self._bar(said, now) if isinstance(said, Bar) else [said])]
        if isinstance(said, OrderUpdate | Fill):
            return self._order_news(said)
        if isinstance(said, Corrected):
            return self._corrected(said)
        if isinstance(said, Disconnected):
            return self._lose_line(said.why)
        if isinstance(said, Refreshed):
            return [Rules(now, 0, said.instrument, said.tradable)] if self._begun else []
        return self._cannot_read(said)

    def _bar(self, bar: Bar, now: int) -> list[Input]:
        """Return what is complete with a bar; the first of a subscription may have to wait."""
        if self._splice.holds(bar):
            return []
        latest = self._engine.history.latest(bar.symbol, _NEVER)
        missing = self._splice.missing_before(bar, latest.ts if latest else None)
        if missing is None:
            return list(self._gather.add(bar, now))
        work = functools.partial(self.adapter.past, bar.symbol, self._timeframe, *missing)
        self.runtime.call("control", ("splice", bar.symbol), work)
        return []

    def _spliced(self, answer: Answer) -> list[Input]:
        """Return what was missing before the first live bars of a symbol, and those bars."""
        waited = self._splice.release(answer.key[1])
        if not waited:
            return []  # the connection was lost meanwhile
        now = self.runtime.now()
        told = self._past(answer)
        for bar in waited:
            told += self._gather.add(bar, now)
        return told

    def _order_news(self, said: OrderUpdate | Fill) -> list[Input]:
        """Return news of an order under our own name for it; of others' orders there is none."""
        if not self._begun:
            return []
        wrong = impossible_news(said)
        if wrong:
            return self._cannot_read(Garbled(wrong, about_orders=True))
        desk = self._engine.desk
        order_id = said.order_id
        if order_id not in desk.orders:
            venue_id = said.venue_order_id if isinstance(said, OrderUpdate) else order_id
            order_id = desk.venue_ids.get(venue_id or order_id, "")
            if not order_id:
                # It may be ours and its name not known yet: the books will tell.
                self.comparing.soon()
                return []
            said = msgspec.structs.replace(said, order_id=order_id)
        doubt: list[Input] = []
        if isinstance(said, OrderUpdate) and said.what not in _TOLD:
            why = f"the venue said {said.what!r} of order {order_id}"
            doubt += self.comparing.doubt(why)
            said = msgspec.structs.replace(said, what="lost", reason=why)
            self.outbox.ask(order_id)
        if isinstance(said, OrderUpdate) and said.what == "replaced":
            if said.ts <= self.comparing.changed.get(order_id, 0):
                return []  # told before, or overtaken by a later change
            self.comparing.changed[order_id] = said.ts
        self.comparing.touched(said)
        return [said, *doubt]

    def _corrected(self, said: Corrected) -> list[Input]:
        """Return the difference that an execution of an order of ours makes to what is booked."""
        if not self._begun:
            return []  # of nothing that was told yet
        desk, fill = self._engine.desk, said.fill
        if fill.order_id not in desk.orders and fill.order_id not in desk.venue_ids:
            return []
        wrong = impossible_news(fill)
        if wrong:
            return self._cannot_read(Garbled(wrong, about_orders=True))
        owed = self._booked.came_to(said)
        if owed:
            self.comparing.heard[fill.symbol] = self.runtime.now()
            self.comparing.soon()
        return list(owed)

    def _cannot_read(self, said: Garbled) -> list[Input]:
        self._garbled += 1
        self.intake.refused[said.why] = self.intake.refused.get(said.why, 0) + 1
        told: list[Input] = []
        if said.about_orders and self._begun:
            told += self.comparing.doubt(f"news of orders could not be read: {said.why}")
        if self._garbled >= _GARBLED:
            self._garbled = 0
            told += self._lose_line("too many messages could not be read")
        return told

    def _answer(self, answer: Answer) -> list[Input]:
        what = answer.key[0]
        if what in ("submit", "cancel", "replace", "order"):
            told, row = self.outbox.answered(answer)
            if what == "replace":  # what the venue showed before that says nothing of the change
                self.comparing.heard[answer.key[1]] = self.runtime.now()
            for event in told:
                self.comparing.touched(event)
            return [*told, *(self._looked_up(*row) if row is not None else [])]
        if what == "compare":
            return self._compared(answer)
        if what == "connect":
            return self._connected(answer)
        if what == "time":
            return self._timed(answer)
        if what == "history":
            return self._history(answer)
        if what == "splice":
            return self._spliced(answer)
        if what == "subscribe" and answer.error is not None:
            return self._lose_line(f"market data cannot be subscribed to: {answer.error}")
        return []

    def _looked_up(self, row: VenueOrder, asked_at: int) -> list[Input]:
        found = self._news(self.comparing.looked_up(row, asked_at))
        order = self._engine.desk.orders.get(row.order_id)
        if not found and order is not None and order.status == Status.UNKNOWN:
            self.outbox.ask_later(order.id)  # the answer was older than what is known
        return found

    def _news(self, found: Sequence[Input]) -> list[Input]:
        """Return what was found, and remember how new it is."""
        for event in found:
            if isinstance(event, OrderUpdate) and event.what == "replaced":
                self.comparing.changed[event.order_id] = event.ts
        return list(found)

    # ------------------------------------------------------------ connection

    def _take_up(self, resumed: Resumed) -> list[Input]:
        """Go on with a run: nothing new is risked until the books were compared."""
        self._begun = True
        self._clock_at = now = self.runtime.now()
        self._health_at = now + self.intervals.ns("health_ms")
        # What had closed for long enough before the last event was told then.
        self.hours.follow(max(self._known_since(), self._seen - self._after_close_ns))
        # What was stale then is held back until it is said to be fresh.
        self.watch.stale |= {symbol for source, symbol in self._engine.holds if source == "feed"}
        if self._timeframe:
            self._backfill = set(self._symbols)
        for symbol in self._symbols:
            latest = self._engine.history.latest(symbol, _NEVER)
            if latest is not None:
                self.intake.knows(symbol, latest.ts)
        lost = Connection(resumed.ts, 0, False, "the run is taken up again")
        return [resumed, lost, *self.hours.ended(now, self._after_close_ns)]

    def _connect(self) -> None:
        adapter, runtime, symbols = self.adapter, self.runtime, self._symbols
        begun, trades, asked = self._begun, self._trades, self._cash is None
        named = self._account

        def work() -> dict[str, Any]:
            adapter.close()
            adapter.connect(runtime.say)
            if begun:
                _remind(adapter, symbols)
            facts: dict[str, Any] = {"skew_ms": _skew_ms(adapter, runtime)}
            if named or (not begun and trades and asked):
                money = adapter.balances()
                facts["cash"], facts["account"] = money.cash, money.account
            if not begun:
                facts["rules"] = adapter.instruments(symbols)
            return facts

        self._line.connecting(runtime.now())
        runtime.call("control", ("connect", str(self._line.attempt)), work)

    def _connected(self, answer: Answer) -> list[Input]:
        now = self.runtime.now()
        if answer.key[1] != str(self._line.attempt):
            return []  # another attempt was begun since, and closes what this one has made
        if answer.error is not None:
            return self._not_connected(f"cannot connect: {answer.error}", answer.error)
        self._skew_at = now + self.intervals.ns("skew_poll_ms")
        self.skew_ms = answer.value["skew_ms"]
        if why := self._off(answer.value["skew_ms"]):
            return self._not_connected(why)
        if self._account and not same_account(self._account, answer.value["account"]):
            why = (
                f"the venue's account ends in {answer.value['account'][-_END_OF_ACCOUNT:]!r}, and "
                f"the session is for the one that ends in {self._account[-_END_OF_ACCOUNT:]!r}"
            )
            return self._not_connected(why, Refused(why, code="account"))
        self._line.connected()
        told: list[Input] = []
        if not self._begun:
            told += self._start(answer.value)
            self._backfill = set(self._symbols) if self._timeframe and self._warmup else set()
        self.outbox.connected = self._trades
        if self._trades:
            if self._engine.start is not None:  # else the engine begins with this very event
                self.outbox.take_up()
            self.comparing.begin(self._known_since(), self._engine.foreign)
        told += self._ask_for_history(now)
        return told

    def _off(self, skew_ms: float) -> str:
        """Return what is wrong with our clock, or an empty text."""
        off = abs(skew_ms) > self.intervals.max_skew_ms
        return f"our clock is {abs(skew_ms) / 1e3:.1f} s off the venue's" if off else ""

    def _ask_the_time(self, now: int) -> None:
        """Look at the venue's clock again, now and then: ours may drift, or be set."""
        if now >= self._skew_at:
            self._skew_at = now + self.intervals.ns("skew_poll_ms")
            work = functools.partial(_skew_ms, self.adapter, self.runtime)
            self.runtime.call("polls", ("time", ""), work)

    def _timed(self, answer: Answer) -> list[Input]:
        """Connect anew where our clock is off: nothing is risked until it is right."""
        if answer.error is not None:
            return []  # the next comparison of the books tells whether it can be reached
        self.skew_ms = answer.value
        why = self._off(answer.value) if self._line.up else ""
        return self._lose_line(why) if why else []

    def _start(self, facts: dict[str, Any]) -> list[Input]:
        """Return the start event, completed by what the venue said."""
        now = self.runtime.now()
        draft = self._draft
        self._begun = True
        self._clock_at, self._health_at = _NEVER, now + self.intervals.ns("health_ms")
        self.hours.follow(now)
        rules = {rule.symbol: rule for rule in facts["rules"]}
        rules |= {rule.symbol: rule for rule in draft.instruments}
        cash = self._cash if self._cash is not None else facts["cash"]
        start = msgspec.structs.replace(
            draft, ts=now, cash=cash, instruments=tuple(rules[s] for s in self._symbols)
        )
        early, self._early = self._early, []
        return [start, Connection(now, 0, False, "the books are not compared yet"), *early]

    def _not_connected(self, why: str, error: Exception | None = None) -> list[Input]:
        """Try again later; a run that has not begun ends where waiting changes nothing."""
        self._line.failed(why)
        news = self._line.news(why)
        if self._begun:
            return [Connection(self.runtime.now(), 0, False, why)] if news else []
        if news:
            self._connecting(why)
        if error is not None and _is_hopeless(error):
            raise error
        return []

    def _lose_line(self, why: str) -> list[Input]:
        """The connection is gone, or must be made anew."""
        now = self.runtime.now()
        since = self._line.up_since
        if not self._line.lost(why):
            return []  # known already
        self.outbox.connected = False
        self._splice.forget()
        never_sent = self.outbox.withdraw(f"the connection was lost: {why}")
        if self._timeframe:
            self._backfill = set(self._symbols)
        if not self._begun:
            return []
        # Bars that wait for others are told now: missed history would bring them again.
        waiting = self._gather.due(_NEVER)
        return [*waiting, Connection(now, 0, False, why), *never_sent, Gap(now, 0, why, (), since)]

    def _ask_for_history(self, now: int) -> list[Input]:
        """Ask for the bars from before, or for those that were missed."""
        if not self.adapter.capabilities.history:
            self._backfill.clear()
        for symbol in sorted(self._backfill):
            latest = self._engine.history.latest(symbol, _NEVER)
            since = latest.ts if latest else now - self._look_back_ns()
            work = functools.partial(self.adapter.past, symbol, self._timeframe, since, now)
            self.runtime.call("control", ("history", symbol), work)
        return self._open_when_ready()

    def _history(self, answer: Answer) -> list[Input]:
        self._backfill.discard(answer.key[1])
        return [*self._past(answer), *self._open_when_ready()]

    def _past(self, answer: Answer) -> list[Input]:
        """Return the bars of an answer that are not known yet, or that there is none."""
        symbol = answer.key[1]
        if answer.error is not None:
            return [Gap(self.runtime.now(), 0, f"no history: {answer.error}", (symbol,))]
        if not answer.value.times:
            return []
        self.intake.knows(symbol, answer.value.times[-1])
        return _new_bars(answer.value, self._engine, self._warmup)

    def _compared(self, answer: Answer) -> list[Input]:
        told = self._news(self.comparing.answered(answer))
        for order_id in self.comparing.look_up:
            self.outbox.ask(order_id)
        for event in told:
            if isinstance(event, OrderUpdate | Fill):
                self.comparing.heard.setdefault(event.order_id, 0)
        return [*told, *self._open_when_ready()]

    def _open_when_ready(self) -> list[Input]:
        """Open the session for trading once nothing is left to be asked."""
        line = self._line
        if not line.waiting or self._backfill or (self._trades and not self.comparing.clean):
            return []
        now = self.runtime.now()
        line.opened(now)
        self._garbled = 0
        self.watch.begin(now)
        self._subscribe()
        self._clock_at = now
        return [Connection(now, 0, True, "")]

    def _subscribe(self) -> None:
        adapter, symbols, timeframe = self.adapter, self._symbols, self._timeframe
        if timeframe and adapter.capabilities.history:
            self._splice.begin()
        self.runtime.call(
            "control", ("subscribe", ""), lambda: adapter.subscribe(symbols, timeframe)
        )

    def _look_back_ns(self) -> int:
        """Return a span that holds the warm-up, nights and weekends included."""
        return (6 * self._warmup + 1) * self._timeframe + 4 * NS_PER_DAY

    def _known_since(self) -> int:
        start = self._engine.start
        return start.seen if start is not None else self.runtime.now()

    # ------------------------------------------------------------ the clock

    def _by_the_clock(self) -> list[Input]:
        """Return what time brings: timers, the clock, late groups of bars, stale feeds, news of
        orders nobody answered for."""
        now = self.runtime.now()
        told: list[Input] = []
        if self._line.due(now):
            self._connect()
        elif self._line.overdue(now):
            told += self._lose_line("the venue does not answer") or self._not_connected(
                "the venue does not answer"
            )
        if not self._begun:
            return told
        for update in self.outbox.due():
            self.comparing.touched(update)
            told.append(update)
        if self.outbox.connected:
            self.comparing.due()
        told += self._gather.due(now)
        timers = self._due_timers(now)
        self._untold += len(timers)
        told += timers
        if now >= self._clock_at:
            told += self._tick(now)
        return told

    @property
    def _after_close_ns(self) -> int:
        """How long after a session's close its end is told: its last bars come first."""
        return self.intervals.ns("grace_ms") + self.intervals.ns("clock_ms")

    def _tick(self, now: int) -> list[Input]:
        self._clock_at = now + self.intervals.ns("clock_ms")
        told: list[Input] = [Clock(now, 0)]
        why = self._killed()
        if why and why != self._kill_told:
            self.command("halt", why, "kill file")
        self._kill_told = why
        told += self.hours.ended(now, self._after_close_ns)
        if self._line.up:
            told += self._stale(now)
            self._ask_the_time(now)
        if self._probe is not None and now >= self._health_at:
            self._health_at = now + self.intervals.ns("health_ms")
            waiting, lag_ms = self.runtime.waiting()
            health = self._probe()
            told.append(msgspec.structs.replace(health, ts=now, queue=waiting, loop_lag_ms=lag_ms))
        return told

    def _stale(self, now: int) -> list[Input]:
        """Return what has become stale or fresh; subscribe again, and connect again if that does
        not help and nothing at all is heard.

        One symbol alone may just not trade: it is held back, and takes the others nothing away.
        """
        told = self._feeds(now)
        if self._line.resubscribe(now, self.watch.stale):
            self._subscribe()
        elif self.watch.silent and self._line.mute(now, self.watch.limit_ns):
            told += self._lose_line("no market data, though subscribed again")
        return told

    def _feeds(self, now: int) -> list[Input]:
        """Return what has become stale or fresh, and what that is to do to entries."""
        hold, cancel = self.intervals.hold_when_stale, self.intervals.cancel_when_stale
        changed = self.watch.look(now)
        return [msgspec.structs.replace(feed, hold=hold, cancel=cancel) for feed in changed]

    def _due_timers(self, now: int) -> list[Input]:
        """Return the timers that came due; one that was missed several times fires once."""
        told: list[Input] = []
        if self._timers.due(now):
            self._timers.catch_up(now)
        while self._timers.due(now):
            at, name = self._timers.fire()
            told.append(Timer(at, 0, name))
        return told

    def _next_due(self) -> int:
        times = [self._clock_at, self._line.next_due, self._gather.next_due]
        if self._begun:
            times.append(self.outbox.next_due)
            if self.outbox.connected:
                times.append(self.comparing.next_due)
        if self._timers.heap:
            times.append(self._timers.heap[0][0])
        if self._closing is not None:
            times.append(self.runtime.now() + self.intervals.ns("clock_ms"))
        return min(times)

    def _may_end(self) -> bool:
        """Whether a stop is through: all is confirmed and compared, or was waited for long enough.

        A connection that is just being made again is waited for: what was filled meanwhile is
        found by the look at the books that follows it.
        """
        assert self._closing is not None
        if not self._begun or self.runtime.now() >= self._closing[0] or self._line.given_up:
            return True
        return self._through()

    def _through(self) -> bool:
        """Whether no order of ours is left, but for exits that protect a position, and the books
        were compared after the last news."""
        if not self._engine.desk.settled or self.outbox.busy:
            return False
        return not self._trades or self.comparing.settled()

    def _end(self, why: str) -> list[Input]:
        """Return the last words of the run; what a stop did not wait for is said."""
        now = self.runtime.now()
        left = (
            []
            if self._through()
            else self.comparing.doubt(
                "the session ended before its orders and the venue's books were settled"
            )
        )
        return [*left, Finish(now, 0, why)]


def _new_bars(told: History, engine: Engine, warmup: int) -> list[Input]:
    """Return all bars since the last one that is known; where none is, as many as are wanted."""
    latest = engine.history.latest(told.symbol, _NEVER)
    if latest is None:
        first = max(0, len(told.times) - warmup)
    else:
        first = next((i for i, ts in enumerate(told.times) if ts > latest.ts), len(told.times))
    if first >= len(told.times):
        return []
    cut = {name: getattr(told, name)[first:] for name in _COLUMNS}
    features = {name: column[first:] for name, column in told.features.items()}
    return [msgspec.structs.replace(told, ts=cut["times"][-1], features=features, **cut)]


def same_account(named: str, told: str) -> bool:
    """Return whether the account that a venue tells is the one that was named.

    Either may be no more than the end of the number, the venue's with the rest hidden.

    >>> same_account("4321", "PA-987654321"), same_account("111111114321", "PA-987654321")
    (True, False)
    >>> same_account("PA-987654321", "•••4321"), same_account("4321", "")
    (True, False)
    """
    if len(named) <= _END_OF_ACCOUNT or len(told) <= _END_OF_ACCOUNT or not _is_plain(told):
        return len(told) >= _END_OF_ACCOUNT and told[-_END_OF_ACCOUNT:] == named[-_END_OF_ACCOUNT:]
    return told == named


def _is_hopeless(error: Exception) -> bool:
    """Return whether no later try to connect can go better."""
    if isinstance(error, Refused):
        return error.code in _HOPELESS
    return isinstance(error, ConfigError | MissingExtra)


def _is_plain(account: str) -> bool:
    """Return whether an account is told whole: nothing in it stands for what is hidden."""
    return account.replace("-", "").replace("_", "").isalnum()


def _remind(adapter: Adapter, symbols: Sequence[str]) -> None:
    """Name the symbols to an adapter that may be new to the run: some venues list by symbol."""
    try:
        adapter.instruments(symbols)
    except Refused:
        return  # what is not traded any more must not keep the rest from being looked after


def _names_in(request: Submit | Cancel | Replace) -> list[str]:
    """Return the orders that a request is about."""
    exits = exits_of(request) if isinstance(request, Submit) else ()
    return [request.order_id, *(exit_.order_id for exit_ in exits)]


def _halts(changed: StateChanged) -> bool:
    """Return whether all that works is taken back: by a halt, or before everything is left."""
    return changed.after != ACTIVE and not changed.symbol


def _skew_ms(adapter: Adapter, runtime: Runtime) -> float:
    """Return how far a venue's clock is ahead of ours, milliseconds."""
    before = runtime.now()
    return (adapter.time() - (before + runtime.now()) // 2) / 1e6


def _over(message: Message | None) -> str:
    """Return the order that a message says is over, or an empty text."""
    if isinstance(message, OrderUpdate) and message.what in _ENDS:
        return message.order_id
    if isinstance(message, Answer) and message.key[0] == "order" and message.value is not None:
        return message.key[1] if message.value.status != "open" else ""
    return ""


#: What humans ask for, in the order in which they do.
_ASKED = frozenset({Command, Upgraded})
#: Events that carry a venue's own words.
_WORDY = frozenset({Trade, OrderUpdate, Fill, Connection, Gap, Reconciled, Adjusted, Command})
_COLUMNS = ("times", "open", "high", "low", "close", "volume")
#: So many of an account's last characters tell it.
_END_OF_ACCOUNT = 4
#: Refusals of a connection that stay what they are: keys, accounts and symbols do not mend.
_HOPELESS = frozenset(
    {
        "account",
        "ambiguous_symbol",
        "forbidden",
        "no_keys",
        "two_currencies",
        "unauthorized",
        "unknown_symbol",
    }
)
_ENDS = frozenset({"canceled", "rejected", "expired"})
_TOLD = _ENDS | {
    "accepted",
    "lost",
    "never_sent",
    "replaced",
    "cancel_rejected",
    "replace_rejected",
}
