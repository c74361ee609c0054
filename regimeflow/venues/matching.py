"""Matches orders against market events, on the engine's own thread.

Invariants, each a property test:

1. no fill uses market data from before its order existed at the venue, or after it expired;
2. a limit order never fills beyond its limit, slippage included;
3. given the same events and requests it answers the same, whatever clock paces them;
4. exits begin to work when their entry has filled, in the same bar only if that was at its open;
   of those of one entry one fills, and the other is canceled with it.

A bar can fill an order only if its *interval* begins once the order is there. Times of the market
(``ts``) rule what can fill; what the engine is told is delayed by the data latency (``seen``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from regimeflow.data.calendars import session_of
from regimeflow.data.frames import Dataset
from regimeflow.model.events import (
    Cancel,
    Clock,
    EndOfDay,
    Fill,
    Finish,
    Input,
    OrderUpdate,
    Output,
    Replace,
    SetTimer,
    Submit,
    Timer,
    entry_of,
    exits_of,
)
from regimeflow.model.instrument import Instruments
from regimeflow.model.market import Bar, Bars, Book, Quote, Trade
from regimeflow.model.models import Model
from regimeflow.model.timeframe import NS_PER_DAY
from regimeflow.venues.timers import Timers
from regimeflow.venues.working import (
    Working,
    bar_of,
    has_bar,
    open_of,
    price_in_bar,
    touch_of,
    worse_first,
)

_ORDERS: frozenset[type] = frozenset({Submit, Cancel, Replace})
_AFTER_CLOCK = (EndOfDay, Finish)
_FAR = 2**63 - 1


class Matcher:
    """Working orders of a simulated venue, and what market events do to them.

    Args:
        model: fill, cost and latency assumptions.
        instruments: the rules of every symbol.
        matched_on: symbol -> what its orders match against: "quote", "trade", or the timeframe of
            its finest bars in nanoseconds.
        venue: name written into fills.
    """

    def __init__(
        self,
        model: Model,
        instruments: Instruments,
        matched_on: dict[str, str | int],
        venue: str = "simulated",
    ) -> None:
        self.model = model
        self.venue = venue
        #: Whether anything could come of the next event; while false, `due` need not be asked.
        self.busy = False
        #: The market event that orders sent now have been decided on.
        self.current: Input = Clock(0, 0)
        self.fills: list[Fill] = []
        self._instruments = instruments
        self._matched_on = matched_on
        self._book: dict[str, dict[str, Working]] = {}
        self._arrivals: deque[tuple[int, Submit | Cancel | Replace, Input]] = deque()
        # Symbol -> market order decided on at its bar's close, where nothing else is under way: the
        # next bar fills it at its open, and it needs no place in the book. The short way.
        self._fresh: dict[str, Submit] = {}
        # Entry -> its exits, until it has filled; and those that its fill has just let work.
        self._waiting: dict[str, dict[str, Working]] = {}
        self._born: list[Working] = []
        # What follows from what is being told: of exits.
        self._more: list[Input] = []
        self._fresh_cause: Input = self.current
        self._fresh_at = 0
        self._fresh_told = False
        self._timers = Timers()
        self._seen = -_FAR
        self._matched: Input | None = None
        self._day: dict[str, tuple[int, int, int]] = {}
        self._order_ns = model.latency.order_ns
        self._data_ns = model.latency.data_ns
        self._shift = model.costs.taker_shift_bps() * 1e-4
        self._slip = model.costs.slippage_bps * 1e-4
        self._charges = model.costs.charges
        self._at_close = model.fills.market == "close"
        self._prompt = not (self._order_ns or self._data_ns or self._at_close)

    def send(self, outputs: Sequence[Output]) -> None:
        """Take requests; each arrives the order latency after its cause."""
        cause = self.current
        prompt = self._prompt and not self.busy
        for output in outputs:
            kind = output.__class__
            if kind is Submit and prompt and self._is_fresh(output, cause):  # type: ignore[arg-type]
                self._fresh[output.symbol] = output  # type: ignore[assignment, union-attr]
                self._fresh_at, self._fresh_cause = output.seen, cause
                self._fresh_told = False
                self.busy = True
            elif kind in _ORDERS or kind is SetTimer:
                prompt = False
                if self._fresh:
                    self._file_fresh()
                if kind is SetTimer:
                    self._timers.set(output)  # type: ignore[arg-type]
                    self.busy = True
                else:
                    self._arrivals.append((output.seen + self._order_ns, output, cause))  # type: ignore[arg-type]
                    self.busy = True

    def _is_fresh(self, request: Submit, cause: Input) -> bool:
        """Whether the next bar is all ahead of a market order, the only one of its symbol."""
        symbol = request.symbol
        if request.type != "market" or request.expire_at or symbol in self._fresh:
            return False
        if request.take_profit or request.stop_loss or entry_of(request.order_id):
            return False
        return cause.ts >= request.seen and has_bar(cause, symbol, self._matched_on.get(symbol))

    def keep(self, remaining: Callable[[str, str], float | None]) -> set[str]:
        """Set working orders, and those under way, to what others still have of them.

        Args:
            remaining: (symbol, order id) -> units; the order is dropped where there are none, and
                stays as it is where that is None.

        Returns:
            Ids of the orders that were dropped.
        """
        dropped: set[str] = set()
        for symbol, orders in list(self._book.items()):
            for order_id, working in list(orders.items()):
                qty = remaining(symbol, order_id)
                if qty == 0.0:
                    dropped.add(order_id)
                    self._remove(working)
                elif qty is not None:
                    working.qty = qty
        for order_id in dropped & self._waiting.keys():
            dropped.update(self._waiting.pop(order_id))
        arrivals = list(self._arrivals)
        dropped.update(
            request.order_id
            for _, request, _ in arrivals
            if isinstance(request, Submit) and remaining(request.symbol, request.order_id) == 0.0
        )
        self._arrivals.clear()
        self._arrivals.extend(a for a in arrivals if a[1].order_id not in dropped)
        return dropped

    def has(self, order_id: str) -> bool:
        """Whether an order works here, or is under way."""
        return self._find(order_id) is not None or any(
            isinstance(request, Submit) and request.order_id == order_id
            for _, request, _ in self._arrivals
        )

    def due(self, event: Input) -> Sequence[Input]:
        """Return what comes next before the engine sees ``event``; nothing when all is told.

        Asked again and again, since the engine may send more after each: timers and answers in the
        order of time, then what the event fills.
        """
        if self._fresh:
            told = self._fill_fresh(event) if self._fresh_told else self._answer_fresh(event)
            if told is not None:
                return told
        if self._arrivals or self._timers.heap:
            told = self._by_the_clock(event)
            if told:
                return told
        if self._matched is not event:
            self._matched = event
            self.current = event
            self._seen = event.seen
            filled = self._match(event) if self._book else ()
            self.busy = bool(self._book or self._arrivals or self._timers.heap)
            return filled
        self.busy = bool(self._book or self._arrivals or self._timers.heap)
        return ()

    def around(self, event: Input) -> Iterator[Input]:
        """Yield an event of the market with all that it brings about."""
        while self.busy and (told := self.due(event)):
            yield from told
        self.current = event
        yield event
        if self._at_close and self.busy:
            yield from self.at_once(event)

    def at_once(self, event: Input) -> Iterator[Input]:
        """Yield fills at the close of ``event`` itself: only where the model opted into them."""
        while self._arrivals and self._arrivals[0][0] <= event.ts:
            _, request, cause = self._arrivals.popleft()
            yield self._arrive(request, cause)
            yield from self._told_more()
            if isinstance(request, Submit) and request.type == "market":
                bar = bar_of(event, request.symbol, self._matched_on.get(request.symbol))
                working = self._book.get(request.symbol, {}).get(request.order_id)
                if bar is not None and working is not None:
                    yield self._fill(working, bar.close, bar.ts, bar.seen, bar.ts, "taker")
                    yield from self._told_more()

    @property
    def fills_at_close(self) -> bool:
        """Whether `at_once` must be asked after every event."""
        return self._at_close

    @property
    def answers_at_close(self) -> bool:
        """Whether `at_once` may still have something to say of the current event."""
        return self._at_close and bool(self._arrivals)

    # ------------------------------------------------------------ the short way

    def _fill_fresh(self, event: Input) -> Sequence[Input] | None:
        """Fill fresh orders; None where it takes the book to say what happens."""
        if self._matched is event:
            return ()
        fills: list[Fill] = []
        if event.__class__ is EndOfDay:  # no order ends with a day before which it could not trade
            self._matched = self.current = event
            self._seen = event.seen
            return fills
        kinds, first, instruments = self._matched_on, self._fresh_at, self._instruments
        for symbol, request in self._fresh.items():
            opened = open_of(event, symbol, kinds[symbol])
            if opened is None:
                self._file_fresh()
                return None
            price, ts, seen, timeframe = opened
            at = self._begins(symbol, ts, timeframe)
            if at < first:
                at = first
            if self._shift:
                price *= 1.0 + (self._shift if request.side == "buy" else -self._shift)
            fills.append(
                self._made(request, price, ts, seen, at, "taker", instruments[symbol].multiplier)
            )
        self._fresh.clear()
        self.busy = False
        self._matched = self.current = event
        self._seen = event.seen
        self.fills += fills
        return fills

    def _answer_fresh(self, event: Input) -> Sequence[Input] | None:
        """Accept fresh orders; None where it takes the book to say what happens."""
        at, seen = self._fresh_at, self._seen
        if event.ts < at:
            self._file_fresh()
            return None
        self._fresh_told = True
        if seen < at:
            self._seen = seen = at
        answers = []
        for request in self._fresh.values():
            answers.append(OrderUpdate(at, seen, request.order_id, "accepted"))  # noqa: PERF401  (a call per order)
        return answers

    def _file_fresh(self) -> None:
        """Let fresh orders go the long way: something else has come between."""
        cause = self._fresh_cause
        for request in self._fresh.values():
            if self._fresh_told:
                self._admit(request, self._fresh_at, eligible=True)
            else:
                self._arrivals.append((self._fresh_at, request, cause))
        self._fresh.clear()

    # ------------------------------------------------------------ what is due by the clock

    def _by_the_clock(self, event: Input) -> Sequence[Input]:
        """Return the next timer, or the answers to all requests that arrived before it."""
        timer = self._timers.heap[0][0] if self._timers.heap else _FAR
        told: list[Input] = []
        arrivals = self._arrivals
        while arrivals:
            at, request, cause = arrivals[0]
            if at > event.ts or at + self._data_ns > timer:
                break
            if request.__class__ is not Submit and self._must_wait(event, at, request):
                break
            arrivals.popleft()
            told.append(self._arrive(request, cause))
            told += self._told_more()
        if self._timers.heap and not told:
            # At one time the market speaks before the clock, but the clock before the day's end.
            last_timer = event.seen if event.__class__ in _AFTER_CLOCK else event.seen - 1
            if timer <= last_timer:
                told.append(self._fire())
        return told

    def _must_wait(self, event: Input, at: int, request: Submit | Cancel | Replace) -> bool:
        """Whether a cancel or change comes too late to keep this bar from filling the order."""
        if self._matched is event:
            return False
        working = self._find(request.order_id)
        if working is None:
            return False
        bar = bar_of(event, working.symbol, self._matched_on.get(working.symbol))
        return (
            bar is not None
            and working.eligible
            and self._begins(bar.symbol, bar.ts, bar.timeframe) < at < bar.ts
        )

    def _find(self, order_id: str) -> Working | None:
        for orders in self._book.values():
            working = orders.get(order_id)
            if working is not None:
                return working
        return self._waiting.get(entry_of(order_id), {}).get(order_id)

    def catch_up(self, now: int) -> None:
        """Go on after a standstill: a beat that was missed several times is made up for once."""
        self._timers.catch_up(now)
        self._seen = max(self._seen, now)

    def _fire(self) -> Timer:
        at, name = self._timers.fire()
        self._seen = max(self._seen, at)
        return Timer(at, self._seen, name)

    def _arrive(self, request: Submit | Cancel | Replace, cause: Input) -> OrderUpdate:
        """Take a request in, and return the answer."""
        at = request.seen + self._order_ns
        # What the engine is told never steps back in time, even where an answer had to wait.
        seen = at + self._data_ns
        if seen < self._seen:
            seen = self._seen
        self._seen = seen
        order_id = request.order_id
        if request.__class__ is Submit:
            symbol = request.symbol
            bar = bar_of(cause, symbol, self._matched_on.get(symbol))
            # Decided on a bar's close and here at that very moment: the next bar is all ahead.
            self._admit(request, at, eligible=bar is not None and bar.ts >= at)
            exits = exits_of(request)
            if exits:
                self._waiting[order_id] = {e.order_id: self._made_ready(e, at) for e in exits}
                self._more += [OrderUpdate(at, seen, e.order_id, "accepted") for e in exits]
            return OrderUpdate(at, seen, order_id, "accepted")
        found = self._find(order_id)
        if isinstance(request, Replace):
            if found is None:
                return OrderUpdate(at, seen, order_id, "replace_rejected", "the order is over")
            found.change(request)
            qty, limit, stop = request.qty, request.limit, request.stop
            return OrderUpdate(at, seen, order_id, "replaced", "", "", qty, limit, stop)
        if found is None:
            return OrderUpdate(at, seen, order_id, "cancel_rejected", "the order is over")
        return self._end(found, at, seen, "canceled", "")

    def _admit(self, request: Submit, at: int, *, eligible: bool) -> None:
        working = self._made_ready(request, at, eligible=eligible)
        self._book.setdefault(request.symbol, {})[request.order_id] = working

    def _made_ready(self, request: Submit, at: int, *, eligible: bool = True) -> Working:
        symbol, side = request.symbol, request.side
        return Working(
            request.order_id,
            symbol,
            side,
            1.0 if side == "buy" else -1.0,
            request.qty,
            request.type,
            request.limit,
            request.stop,
            request.tif,
            request.expire_at,
            at,
            self._instruments[symbol].multiplier,
            eligible,
            entry=entry_of(request.order_id),
        )

    # ------------------------------------------------------------ bars

    def _match(self, event: Input) -> Sequence[Input]:
        """Return what an event of the market does to working orders."""
        told: list[Input] = []
        if event.__class__ is Bar:
            orders = self._book.get(event.symbol)
            if orders:
                self._match_bar(orders, event, told)
        elif isinstance(event, Bars):
            for symbol in list(self._book):
                bar = bar_of(event, symbol, self._matched_on.get(symbol))
                if bar is not None:
                    self._match_bar(self._book[symbol], bar, told)
        elif isinstance(event, Trade | Quote | Book):
            orders = self._book.get(event.symbol)
            if orders:
                told.extend(self._match_tick(orders, event))
        elif isinstance(event, EndOfDay):
            told.extend(self._end_day(event))
        return told

    def _match_bar(self, orders: dict[str, Working], bar: Bar, told: list[Input]) -> None:
        if self._matched_on.get(bar.symbol) != bar.timeframe or bar.late:
            return
        begins = self._begins(bar.symbol, bar.ts, bar.timeframe)
        self._born.clear()  # of the close before: among the others by now
        ready: list[Working] = []
        for working in orders.values():
            if not working.eligible:
                if bar.ts < working.at:
                    continue
                working.eligible = True
                if begins < working.at:
                    continue  # for the next bar: it begins where this one closed
            ready.append(working)
        if len(ready) > 1:
            # Within one bar nobody knows the path; the worse for the trader comes first.
            ready.sort(key=worse_first)
        self._match_each(ready, bar, begins, told)
        if self._born:
            born, self._born = self._born, []
            # Filled at the bar's open, an entry leaves the rest of the bar to its exits.
            born = sorted((w for w in born if w.at <= begins), key=worse_first)
            self._match_each(born, bar, begins, told)

    def _match_each(
        self, ready: Sequence[Working], bar: Bar, begins: int, told: list[Input]
    ) -> None:
        for working in ready:
            if working.entry and self._is_over(working):
                continue  # the other exit has filled
            happened = self._match_one(working, bar, begins)
            if happened is not None:
                told.append(happened)
                if self._more:
                    told += self._told_more()

    def _begins(self, symbol: str, ts: int, timeframe: int) -> int:
        """Return when a bar's interval begins: on an exchange not before its session opens."""
        begins = ts - timeframe
        calendar = self._instruments[symbol].calendar
        if not calendar or timeframe > NS_PER_DAY:
            return begins
        day = self._day.get(calendar)
        if day is None or not day[0] < ts <= day[1]:
            found, places = session_of(calendar, np.array([ts]))
            place = int(places[0])
            day = self._day[calendar] = (
                int(found.day_start_ns[place]),
                int(found.day_end_ns[place]),
                int(found.open_ns[place]),
            )
        return day[2] if begins < day[2] < ts else begins

    def _match_one(self, working: Working, bar: Bar, begins: int) -> Input | None:
        working.could_trade = True
        expire_at = working.expire_at
        if expire_at and begins >= expire_at:
            return self._end(working, expire_at, bar.seen, "expired", "gtd")
        # A bar that outlives the order proves a price only at its open.
        whole = not expire_at or bar.ts <= expire_at
        if working.type == "market":
            at = working.at
            if at < begins:
                at = begins
            return self._fill(working, bar.open, bar.ts, bar.seen, at, "taker")
        hit = price_in_bar(working, bar, whole)
        if hit is not None:
            price, liquidity, at_open = hit
            executed_at = max(begins, working.at) if at_open else bar.ts
            return self._fill(working, price, bar.ts, bar.seen, executed_at, liquidity)
        if working.tif == "ioc" or working.tif == "fok":
            return self._end(working, bar.ts, bar.seen, "canceled", working.tif)
        if not whole:
            return self._end(working, expire_at, bar.seen, "expired", "gtd")
        return None

    # ------------------------------------------------------------ trades, quotes, books

    def _match_tick(
        self, orders: dict[str, Working], event: Trade | Quote | Book
    ) -> Iterator[Input]:
        kind = self._matched_on.get(event.symbol)
        if event.__class__ is Trade:
            if kind != "trade":
                return
            bid = ask = event.price
            shift = self._shift
        else:
            if kind != "quote":
                return
            bid, ask = touch_of(event)  # type: ignore[arg-type]
            shift = self._slip  # the quote has its own spread
        for working in list(orders.values()):
            if event.ts < working.at or (working.entry and self._is_over(working)):
                continue
            if working.expire_at and event.ts >= working.expire_at:
                yield self._end(working, working.expire_at, event.seen, "expired", "gtd")
                continue
            touch = ask if working.sign > 0 else bid
            if not touch > 0.0:
                continue  # an empty side of the book fills nobody
            working.could_trade = True
            if working.stop is not None and not working.triggered:
                if (touch - working.stop) * working.sign < 0.0:
                    continue
                working.triggered = True
            limit = working.limit
            if limit is not None and (touch - limit) * working.sign > 0.0:
                if working.tif in ("ioc", "fok"):
                    yield self._end(working, event.ts, event.seen, "canceled", working.tif)
                working.resting = True
                continue
            if limit is not None and working.resting:
                price, liquidity = limit, "maker"
            else:
                price, liquidity = touch * (1.0 + working.sign * shift), "taker"
                if limit is not None and (price - limit) * working.sign > 0.0:
                    price = limit
            yield self._fill_at(working, price, event.ts, event.seen, event.ts, liquidity)
            yield from self._told_more()

    # ------------------------------------------------------------ ends

    def _end_day(self, event: EndOfDay) -> Iterator[Input]:
        for orders in list(self._book.values()):
            for working in list(orders.values()):
                if working.tif == "day" and working.could_trade:
                    yield self._end(working, event.ts, event.seen, "expired", "end of day")
                    yield from self._told_more()

    def _end(self, working: Working, ts: int, seen: int, what: str, why: str) -> OrderUpdate:
        self._remove(working)
        for exit_ in self._waiting.pop(working.order_id, ()):
            over = "its entry has ended"
            self._more.append(OrderUpdate(ts, seen, exit_, "canceled", over))
        return OrderUpdate(ts, seen, working.order_id, what, why)

    def _is_over(self, working: Working) -> bool:
        return working.order_id not in self._book.get(working.symbol, ())

    def _told_more(self) -> list[Input]:
        """Return what follows from what was just told."""
        more, self._more = self._more, []
        return more

    def _remove(self, working: Working) -> None:
        waiting = self._waiting.get(working.entry)
        if waiting is not None and waiting.pop(working.order_id, None) is not None:
            return
        symbol = working.symbol
        orders = self._book[symbol]
        del orders[working.order_id]
        if not orders:
            del self._book[symbol]

    def _fill(
        self, working: Working, price: float, ts: int, seen: int, executed_at: int, liquidity: str
    ) -> Fill:
        if self._shift and liquidity == "taker":
            price *= 1.0 + working.sign * self._shift
            limit = working.limit
            if limit is not None and (price - limit) * working.sign > 0.0:
                price = limit
        return self._fill_at(working, price, ts, seen, executed_at, liquidity)

    def _fill_at(
        self, working: Working, price: float, ts: int, seen: int, executed_at: int, liquidity: str
    ) -> Fill:
        self._remove(working)
        fill = self._made(working, price, ts, seen, executed_at, liquidity, working.multiplier)
        self.fills.append(fill)
        if self._waiting or working.entry:
            self._meet_exits(working, fill)
        return fill

    def _meet_exits(self, working: Working, fill: Fill) -> None:
        """Let the exits of a filled entry work, or end the other exit of the same entry."""
        orders = self._book.get(working.symbol, {})
        for exit_ in self._waiting.pop(working.order_id, {}).values():
            exit_.at = fill.executed_at
            self._book.setdefault(working.symbol, {})[exit_.order_id] = exit_
            self._born.append(exit_)
        for other in list(orders.values()) if working.entry else ():
            if other.entry == working.entry:
                why = "the other exit has filled"
                self._more.append(self._end(other, fill.ts, fill.seen, "canceled", why))

    def _made(
        self,
        order: Working | Submit,
        price: float,
        ts: int,
        seen: int,
        executed_at: int,
        liquidity: str,
        multiplier: float,
    ) -> Fill:
        qty, order_id, fee = order.qty, order.order_id, 0.0
        if self._charges:
            fee = self.model.costs.fee(qty, price, liquidity, multiplier=multiplier)
        return Fill(
            ts, seen, order_id + ".1", order_id, order.symbol, order.side,
            qty, price, fee, liquidity, self.venue, executed_at,
        )  # fmt: skip


class Matched:
    """A venue: a stream of market events with a matcher in front of the engine.

    Args:
        segments: makes the runs of events, in order; a live inbox is one endless segment.
        matcher: matches what `send` takes.
    """

    def __init__(self, segments: Callable[[], Iterable[Iterable[Input]]], matcher: Matcher) -> None:
        self.matcher = matcher
        #: The rest of a segment, once nothing of the matcher's can come before its next event.
        self.ahead: Iterator[Input] | None = None
        self._segments = segments

    def events(self) -> Iterator[Input]:
        """Yield market events, and before each what it does to working orders."""
        matcher = self.matcher
        at_close = matcher.fills_at_close
        for segment in self._segments():
            market = iter(segment)
            for event in market:
                while matcher.busy and (told := matcher.due(event)):
                    yield from told
                matcher.current = event
                if not matcher.busy:
                    self.ahead = market
                yield event
                if at_close and matcher.busy:
                    yield from matcher.at_once(matcher.current)

    def taken(self, event: Input) -> None:
        """Take note of the last event that was taken from ``ahead``."""
        self.matcher.current = event

    def send(self, outputs: Sequence[Output]) -> None:
        """Take requests; notes are for others."""
        self.matcher.send(outputs)
        if self.matcher.busy:
            self.ahead = None


def matched_on(dataset: Dataset) -> dict[str, str | int]:
    """Return what each symbol's orders match against: quotes, else trades, else its finest bars."""
    kinds: dict[str, str | int] = {}
    for bars in dataset.bars:
        known = kinds.get(bars.symbol)
        kinds[bars.symbol] = bars.timeframe if known is None else min(int(known), bars.timeframe)
    kinds |= {t.symbol: "trade" for t in dataset.trades}
    kinds |= {q.symbol: "quote" for q in dataset.quotes}
    return kinds
