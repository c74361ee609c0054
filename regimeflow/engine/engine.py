"""One deterministic machine: an event in, requests and notes out.

The engine reads no clock, file or random source. Fed the same events it makes the same requests:
that is what a replay checks, and why a live run can be one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from regimeflow.engine.context import Context
from regimeflow.engine.cursor import Cursor
from regimeflow.engine.desk import Desk
from regimeflow.engine.failure import FAILURES, failure_of, text_of
from regimeflow.engine.history import HistoryPort
from regimeflow.engine.regime import Regime
from regimeflow.engine.strategy import CALLBACKS, Strategy, overridden
from regimeflow.engine.trading import HALTED, Trading
from regimeflow.errors import ConfigError, StrategyError
from regimeflow.model.events import (
    Account,
    Adjusted,
    Clock,
    Command,
    Connection,
    EndOfDay,
    Failed,
    Feed,
    Fill,
    Finish,
    Gap,
    Health,
    Input,
    Logged,
    OrderUpdate,
    Output,
    Reconciled,
    RegimeChanged,
    Resumed,
    Rules,
    Start,
    StrategyChanged,
    Timer,
    Upgraded,
)
from regimeflow.model.instrument import Instruments
from regimeflow.model.ledger import Ledger
from regimeflow.model.market import Bar, Bars, Book, History, Quote, Trade, by_symbol
from regimeflow.model.order import TERMINAL, Happening, IllegalMove, Order, OrderHandle

_NOTHING: tuple[Output, ...] = ()

#: A strategy that is to take over, and what makes the history its own.
Heir = tuple[Strategy, Callable[[], None]]


def no_heir(event: Upgraded) -> Heir:
    """Refuse: nobody has said where another strategy could come from."""
    raise ConfigError("the strategy of this run cannot be changed: it is not a live session")


class Engine:
    """Runs one strategy over events.

    Args:
        strategy: a strategy of its own, not shared with another engine.
        history: where closed bars are looked up.
        heir: returns a strategy of its own for this engine, where another one is to take over.

    Everything else that decides the run comes with the `Start` event.
    """

    # More attributes than Python keeps at their fastest in an object without slots.
    __slots__ = (
        "_changes",
        "_cursor",
        "_detectors",
        "_handlers",
        "_heir",
        "_heir_of",
        "_on_bar",
        "_on_bars",
        "_on_fill",
        "_on_order_update",
        "_on_tick",
        "_own",
        "_short_on_bar",
        "_short_on_tick",
        "_started",
        "_watching_losses",
        "account",
        "bar_ts",
        "books",
        "ctx",
        "desk",
        "event",
        "failure",
        "finest",
        "finished",
        "foreign",
        "history",
        "initializing",
        "instruments",
        "out",
        "quotes",
        "regime",
        "seed",
        "seq",
        "start",
        "strategy",
        "symbol_set",
        "symbols",
        "target_orders",
        "timer_prefix",
        "tracking",
        "trades",
        "trading",
    )

    def __init__(
        self,
        strategy: Strategy,
        history: HistoryPort,
        heir: Callable[[Upgraded], Heir] = no_heir,
    ) -> None:
        self.strategy = strategy
        self.history = history
        self.seq = 0
        self.out: list[Output] = []
        self.event: Input = _BEFORE_START
        self.bar_ts = -(2**63)
        self.symbols: tuple[str, ...] = ()
        self.symbol_set: frozenset[str] = frozenset()
        self.finest: dict[str, int] = {}
        self.quotes: dict[str, Quote] = {}
        self.trades: dict[str, Trade] = {}
        self.books: dict[str, Book] = {}
        self.target_orders: dict[str, Order] = {}
        self.regime = "neutral"
        self.seed = 0
        self.start: Start | None = None
        self.initializing = False
        self.trading = Trading(self)
        #: Symbol -> units on the account that are not this session's.
        self.foreign: dict[str, float] | None = None
        self.account: Account | None = None
        self.tracking = True
        self._cursor: Cursor | None = None
        self.failure: StrategyError | None = None
        self.finished = False
        self.instruments = Instruments()
        #: Before the names of timers, so that those of an earlier strategy are told apart.
        self.timer_prefix = ""
        self._heir_of = heir
        self._heir: tuple[Upgraded, Heir] | None = None
        self._changes = 0
        self._own: dict[str, Callable[..., None] | None] = {}
        self._detectors: dict[str, Regime] = {}
        self._watching_losses = False
        self._started = False
        self._on_bar: Callable[..., None] | None = None
        self._on_bars: Callable[..., None] | None = None
        self._on_tick: Callable[..., None] | None = None
        self._on_fill: Callable[..., None] | None = None
        self._on_order_update: Callable[..., None] | None = None
        self._short_on_bar: Callable[..., None] | None = None
        self._short_on_tick: Callable[..., None] | None = None
        self._handlers: dict[type, Callable[[Any], None]] = {
            Start: self._begin,
            History: self._warm,
            Bar: self._bar,
            Bars: self._bars,
            Trade: self._trade,
            Quote: self._quote,
            Book: self._book,
            OrderUpdate: self._order_update,
            Fill: self._fill,
            Timer: self._timer,
            EndOfDay: self._end_of_day,
            Clock: self._clock,
            Command: self.trading.command,
            Account: self._account,
            Connection: self.trading.connection,
            Feed: self.trading.feed,
            Reconciled: self._reconciled,
            Adjusted: self._adjusted,
            Rules: self._rules,
            Gap: self._nothing,
            Health: self._nothing,
            Resumed: self._resumed,
            Upgraded: self._upgraded,
            Finish: self._finish,
        }

    def step(self, event: Input) -> Sequence[Output]:
        """Handle one event and return what it caused, in order."""
        self.event = event
        self.seq += 1
        self._handlers[event.__class__](event)
        out = self.out
        if out:
            self.out = []
            return out
        return _NOTHING

    def run(self, events: Iterator[Input], *, bars_alone: bool) -> Sequence[Output]:
        """Handle events up to the first of which something comes, and return that.

        The same as `step` on each of them, without a call for each: a million bars go through here.

        Args:
            bars_alone: whether they are bars of one series and nothing else.
        """
        cursor = self._cursor
        on_bar = self._short_on_bar if cursor is not None or not self.tracking else None
        if not bars_alone or on_bar is None:
            return self._run_any(events)
        while True:
            outputs = self._run_bars(events if cursor is None else cursor.along(events), on_bar)
            # Without outputs the events are over, or the next one makes an indicator ready.
            if outputs or (event := next(events, None)) is None or (outputs := self.step(event)):
                return outputs

    def _run_bars(self, bars: Iterator[Input], on_bar: Callable[..., None]) -> Sequence[Output]:
        ctx, out = self.ctx, self.out
        following = self.seq + 1
        for self.seq, bar in enumerate(bars, following):
            self.event = bar
            self.bar_ts = bar.ts
            try:
                on_bar(ctx, bar)
            except FAILURES as error:
                self._fail("on_bar", error, bar.symbol)  # type: ignore[union-attr]
            if out:
                self.out = []
                return out
        return _NOTHING

    def _run_any(self, events: Iterator[Input]) -> Sequence[Output]:
        ctx, out = self.ctx, self.out
        on_bar = self._short_on_bar if self._cursor is None else None
        on_tick = self._short_on_tick
        store = self.history.store if self.tracking else None
        following = self.seq + 1
        for self.seq, event in enumerate(events, following):
            self.event = event
            if event.__class__ is Bar and on_bar is not None:
                self.bar_ts = event.ts
                if store is not None:
                    store(event)
                try:
                    on_bar(ctx, event)
                except FAILURES as error:
                    self._fail("on_bar", error, event.symbol)
            elif event.__class__ is Trade and on_tick is not None:
                self.trades[event.symbol] = event
                try:
                    on_tick(ctx, event)
                except FAILURES as error:
                    self._fail("on_tick", error, event.symbol)
            else:
                self._handlers[event.__class__](event)
            if out:
                self.out = []
                return out
        return _NOTHING

    # ------------------------------------------------------------ what desk and context ask

    @property
    def now(self) -> int:
        """When the current event was let in, UTC nanoseconds."""
        return self.event.seen

    @property
    def held_back(self) -> frozenset[str]:
        """Symbols for which only exits may leave."""
        return self.trading.held_back

    @property
    def holds(self) -> dict[tuple[str, str], str]:
        """Why only exits may leave: (source, symbol, "" for all) -> reason."""
        return self.trading.holds

    def price(self, symbol: str) -> float:
        """Return a symbol's last price: trade, middle of the quote or close; 0.0 without any."""
        event = self.event
        if event.__class__ is Bar and event.symbol == symbol:
            return event.close
        if self.quotes or self.trades:
            return self._last(symbol)[0]
        return self.history.last_close(symbol, self.bar_ts)[0]

    def price_ts(self, symbol: str) -> int:
        """Return when a symbol's last price was made, UTC nanoseconds; long ago without any."""
        return self._last(symbol)[1]

    def _last(self, symbol: str) -> tuple[float, int]:
        price, ts = self.history.last_close(symbol, self.bar_ts)
        quote = self.quotes.get(symbol)
        if quote is not None and quote.ts >= ts:
            price, ts = quote.mid, quote.ts
        trade = self.trades.get(symbol)
        if trade is not None and trade.ts >= ts:
            price, ts = trade.price, trade.ts
        return price, ts

    def watch_regime(self, detector: Regime, symbol: str) -> None:
        """Let a detector judge every bar of the finest series of ``symbol``."""
        self._detectors[symbol] = detector

    # ------------------------------------------------------------ beginning and end

    def _begin(self, start: Start) -> None:
        self.start = start
        # The same symbol stands there once for each of its timeframes.
        self.symbols = tuple(dict.fromkeys(start.symbols))
        self.symbol_set = frozenset(self.symbols)
        for symbol, timeframe in zip(start.symbols, start.timeframes, strict=True):
            if timeframe:
                self.finest[symbol] = min(timeframe, self.finest.get(symbol, timeframe))
        self.seed = start.seed
        self.instruments.update((i.symbol, i) for i in start.instruments)
        ledger = Ledger(start.cash, self.instruments)
        for symbol, (qty, average_price) in start.positions.items():
            ledger.open(symbol, qty, average_price)
        limits = start.limits
        self.desk = Desk(
            prefix=f"{start.run}-{start.epoch}-",
            ledger=ledger,
            instruments=self.instruments,
            costs=start.model.costs,
            limits=limits,
            market=self,
            default_tif=self._default_tif,
        )
        self._watch_or_not()
        self.ctx = Context(self)
        self.desk.day_equity = self.desk.peak_equity = ledger.equity(
            lambda symbol: ledger.position(symbol).average_price
        )
        self._initialize()
        self._cursor = self.history.cursor
        if self._cursor is not None:
            self.history.follow()

    def _initialize(self) -> None:
        self._own = {name: overridden(self.strategy, name) for name in CALLBACKS}
        self._on_bar = self._own["on_bar"]
        self._on_bars = self._own["on_bars"]
        self._on_tick = self._own["on_tick"]
        self._on_fill = self._own["on_fill"]
        self._on_order_update = self._own["on_order_update"]
        self._short_on_bar = self._short_on_tick = None
        self.initializing = True
        self.tracking = self.history.tracking
        self._call("initialize", self.ctx)
        self.initializing = False

    def _watch_or_not(self) -> None:
        before, self._watching_losses = self._watching_losses, self.desk.limits.on_losses
        if self._watching_losses and not before:
            # Nobody has kept the high and the day's first equity until now.
            self.desk.day_equity = self.desk.peak_equity = self.desk.equity()

    def _default_tif(self, symbol: str) -> str:
        return "day" if self.instruments[symbol].calendar else "gtc"

    def _warm(self, event: History) -> None:
        self.history.warm(event)
        if event.times:
            self.bar_ts = max(self.bar_ts, event.times[-1])

    def _go(self) -> None:
        """Warm-up is over: tell the strategy, and choose the path that bars take from now on.

        Called by the clock event that ends a warm-up, or by the first of the market without one.
        """
        self._started = True
        self._call("on_start", self.ctx)
        self._choose_path()

    def _choose_path(self) -> None:
        """Let bars and trades take the short way where one callback is all there is to do."""
        short = (
            self._started
            and not self._watching_losses
            and self.failure is None
            and not self.finished
            and self._heir is None
        )
        alone = not self._detectors and self._on_bars is None
        self._short_on_bar = self._on_bar if short and alone else None
        self._short_on_tick = self._on_tick if short else None
        self._handlers[Bar] = self._bar if self._short_on_bar is None else self._bar_alone
        self._handlers[Trade] = self._trade if self._short_on_tick is None else self._trade_alone

    def _finish(self, event: Finish) -> None:
        if not self._started and self.start is not None:
            self._go()
        self.finished = True
        self._choose_path()
        # What a strategy asks for in on_stop comes too late, but for cancels.
        self.desk.state = HALTED
        if self.failure is None:
            self._call("on_stop", self.ctx)

    # ------------------------------------------------------------ another strategy

    def _upgraded(self, event: Upgraded) -> None:
        self._heir = event, self._heir_of(event)
        self._choose_path()
        when = "once flat" if event.when == "flat" else "with the next bar or tick"
        why = f": {event.why}" if event.why else ""
        text = f"{event.strategy} takes over {when}{why}"
        self.out.append(Logged(self.seq, self.now, text, "warning"))

    def _hand_over(self, event: Upgraded, heir: Heir) -> None:
        """Let the heir decide, unless it waits until flat.

        Called with an event of the market, once history knows it and before any callback does: the
        simulator and whoever follows the run are then as far as the engine is.
        """
        desk = self.desk
        if event.when == "flat" and not desk.flat:
            return
        self.strategy, take_history = heir
        self._heir = None
        self._changes += 1
        self.timer_prefix = f"{event.frozen_sha256[:8]}.{self._changes}:"
        self.out.append(StrategyChanged(self.seq, self.now, event.strategy, event.frozen_sha256))
        # Orders, positions, limits and the trading state stay: after a failure a human resumes.
        self.failure = None
        self._detectors = {}
        self.regime = "neutral"
        self.ctx = Context(self)
        try:
            take_history()
        except FAILURES as error:
            self._fail("features", error, "")
        self._initialize()
        if self._started:
            self._call("on_start", self.ctx)
        self._choose_path()

    # ------------------------------------------------------------ market data

    def _bar(self, bar: Bar) -> None:
        """Handle a lone bar where there is more to do, or less, than to call ``on_bar``."""
        self._take_in(bar)
        if self._detectors:
            self._judge(bar)
        if self._watching_losses:
            self.trading.watch_losses()
        if self.failure is not None or self.finished:
            return
        if self._on_bar is not None:
            self._guard("on_bar", self._on_bar, bar, bar.symbol)
        if self._on_bars is not None and not bar.late and self.failure is None:
            self._guard("on_bars", self._on_bars, {bar.symbol: bar}, bar.symbol)

    def _bar_alone(self, bar: Bar) -> None:
        """Handle a lone bar where calling ``on_bar`` is all there is to do."""
        self.bar_ts = bar.ts
        if self._cursor is not None:
            self._cursor.step()
        elif self.tracking:
            self.history.store(bar)
        try:
            self._short_on_bar(self.ctx, bar)  # type: ignore[misc]
        except FAILURES as error:
            self._fail("on_bar", error, bar.symbol)

    def _bars(self, event: Bars) -> None:
        self._take_in(event)
        if self._detectors:
            for bar in event.bars:
                self._judge(bar)
        if self._watching_losses:
            self.trading.watch_losses()
        if self.failure is not None or self.finished:
            return
        if self._on_bar is not None:
            on_bar, ctx, symbol = self._on_bar, self.ctx, ""
            try:
                for bar in event.bars:
                    symbol = bar.symbol
                    on_bar(ctx, bar)
            except FAILURES as error:
                self._fail("on_bar", error, symbol)
                return
        if self._on_bars is not None:
            self._guard("on_bars", self._on_bars, by_symbol(event.bars), "")

    def _take_in(self, event: Bar | Bars) -> None:
        """Bring history and indicators up to an event's bars, before any callback sees them."""
        if not self._started:
            self._go()
        self.bar_ts = event.ts
        if self._cursor is not None:
            self._cursor.step()
        elif self.tracking:
            self.history.store(event)
        if self._heir is not None:
            self._hand_over(*self._heir)

    def _trade(self, trade: Trade) -> None:
        if not self._started:
            self._go()
        self.trades[trade.symbol] = trade
        if self._heir is not None:
            self._hand_over(*self._heir)
        if self._watching_losses:
            self.trading.watch_losses()
        if self._on_tick is not None and self.failure is None and not self.finished:
            try:
                self._on_tick(self.ctx, trade)
            except FAILURES as error:
                self._fail("on_tick", error, trade.symbol)

    def _trade_alone(self, trade: Trade) -> None:
        """Handle a trade where calling ``on_tick`` is all there is to do."""
        self.trades[trade.symbol] = trade
        try:
            self._short_on_tick(self.ctx, trade)  # type: ignore[misc]
        except FAILURES as error:
            self._fail("on_tick", error, trade.symbol)

    def _quote(self, quote: Quote) -> None:
        if not self._started:
            self._go()
        self.quotes[quote.symbol] = quote
        if self._heir is not None:
            self._hand_over(*self._heir)
        if self._watching_losses:
            self.trading.watch_losses()
        self._call("on_quote", self.ctx, quote)

    def _book(self, book: Book) -> None:
        if not self._started:
            self._go()
        self.books[book.symbol] = book
        if self._heir is not None:
            self._hand_over(*self._heir)
        self._call("on_order_book", self.ctx, book)

    def _judge(self, bar: Bar) -> None:
        detector = self._detectors.get(bar.symbol)
        if detector is None or bar.timeframe != self.finest.get(bar.symbol):
            return
        label, confidence = detector.update(bar)
        if label == self.regime:
            return
        change = RegimeChanged(self.seq, self.now, self.regime, label, confidence)
        self.regime = label
        self.out.append(change)
        self._call("on_regime_change", self.ctx, change)

    # ------------------------------------------------------------ orders

    def _order_update(self, event: OrderUpdate) -> None:
        try:
            order = self.desk.update(event)
        except IllegalMove as error:
            # A message that we misread, or a venue that contradicts itself: nothing new is risked
            # until a human has looked.
            symbol = self.desk.orders[event.order_id].symbol
            self.trading.hold("contradiction", symbol, str(error))
            return
        if order is None:
            return
        if self.target_orders and order.status in TERMINAL:
            self._forget_target(order)
        if self.trading.flattening:
            self.trading.answered(event.what)
        elif self.trading.closing:
            self.trading.move_on()
        if self._on_order_update is not None:
            self._call("on_order_update", self.ctx, OrderHandle(order))

    def _fill(self, fill: Fill) -> None:
        desk = self.desk
        if fill.execution_id in desk.executions:
            return  # told before
        order = desk.fill(fill)
        # A fill may be told before the change that it is of.
        most = 0.0 if order is None else max(order.qty, order.asked_qty)
        if order is None or order.filled > most + 1e-12 or fill.side != order.side:
            self.trading.halt(f"execution {fill.execution_id} is not what was ordered")
        if order is not None and self.target_orders and order.status in TERMINAL:
            self._forget_target(order)
        if self.trading.flattening:
            self.trading.exit()
        elif self.trading.closing:
            self.trading.move_on()
        if self._on_fill is not None:
            self._call("on_fill", self.ctx, fill)
        if order is not None and self._on_order_update is not None:
            self._call("on_order_update", self.ctx, OrderHandle(order))

    def _forget_target(self, order: Order) -> None:
        """An order that is over aims at nothing any more."""
        symbol = order.symbol
        if self.target_orders.get(symbol) is order and symbol not in self.trading.closing:
            del self.target_orders[symbol]

    # ------------------------------------------------------------ what is known of the venue

    def _nothing(self, event: Input) -> None:
        """Take note of what decides nothing."""

    def _account(self, event: Account) -> None:
        self.account = event

    def _reconciled(self, event: Reconciled) -> None:
        if event.ok:
            self.foreign = dict(event.foreign)
        self.trading.reconciled(event)

    def _adjusted(self, event: Adjusted) -> None:
        if event.payment_id:
            self.desk.executions[event.payment_id] = None
        self.desk.ledger.adjust(event.symbol, event.qty, event.price, event.cash)

    def _rules(self, event: Rules) -> None:
        symbol = event.instrument.symbol
        self.instruments[symbol] = event.instrument
        self.desk.ledger.position(symbol).follow(event.instrument)
        if event.tradable:
            self.trading.release("rules", symbol)
        else:
            self.trading.hold("rules", symbol, f"{symbol} does not trade")

    def _resumed(self, event: Resumed) -> None:
        start = self.start
        assert start is not None  # the journal begins with it
        prefix = f"{start.run}-{event.epoch}-"
        self.finished = False
        for order in self.desk.go_on(prefix, event.never_sent, event.limits):
            order.move(Happening.LOST, event.seen, "the process ended before the venue answered")
        self.trading.go_on(event.why)
        self._watch_or_not()
        self._choose_path()

    # ------------------------------------------------------------ time

    def _timer(self, event: Timer) -> None:
        if not self._started:
            self._go()
        prefix = self.timer_prefix
        if prefix:
            if not event.name.startswith(prefix):
                return  # set by an earlier strategy
            event = msgspec.structs.replace(event, name=event.name[len(prefix) :])
        self._call("on_timer", self.ctx, event)

    def _end_of_day(self, event: EndOfDay) -> None:
        if self._started:
            self._call("on_end_of_day", self.ctx, event)
        if self._watching_losses:
            self.desk.day_equity = self.desk.equity()

    def _clock(self, event: Clock) -> None:
        if not self._started:
            self._go()
        self.trading.tick()

    # ------------------------------------------------------------ the strategy's own code

    def _call(self, callback: str, *args: Any) -> None:
        own = self._own[callback]
        if own is None or self.failure is not None:
            return
        if self.finished and callback != "on_stop":
            return
        try:
            own(*args)
        except FAILURES as error:
            self._fail(callback, error, getattr(args[-1], "symbol", ""))

    def _guard(self, callback: str, own: Callable[..., None], thing: Any, symbol: str) -> None:
        try:
            own(self.ctx, thing)
        except FAILURES as error:
            self._fail(callback, error, symbol)

    def _fail(self, callback: str, error: BaseException, symbol: str) -> None:
        """The strategy raised: halt, cancel, and keep what it said for whoever asks."""
        text = text_of(error)
        self.failure = failure_of(self.strategy, callback, error, symbol, self.event.ts)
        self._choose_path()
        self.out.append(Failed(self.seq, self.now, callback, symbol, text, self.failure.trace))
        self.trading.halt(f"strategy error in {callback}: {text}")


_BEFORE_START = Clock(0, 0)
