"""Whether orders may leave: active, reducing, halted, and the symbols that are held back.

Only a human's word makes a halted session trade again. What is held back for a reason of its own,
such as a stale feed, is released when the reason is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from regimeflow.engine.sizing import move_to
from regimeflow.errors import ConfigError, did_you_mean
from regimeflow.model.events import Command, Connection, Feed, Reconciled, StateChanged
from regimeflow.model.timeframe import NS_PER_SECOND

if TYPE_CHECKING:
    from regimeflow.engine.engine import Engine
    from regimeflow.model.order import Order

ACTIVE, REDUCING, HALTED = "active", "reducing", "halted"
#: How long after a refusal an exit, or a cancel after a halt, is tried again.
_EXIT_AGAIN_NS = NS_PER_SECOND


class Trading:
    """The trading state of one engine, and the exits that the engine sends by itself.

    Attributes:
        flattening: why everything held is being closed; "" while it is not.
        closing: symbol -> units to move its position to, once the exits that hold it are over.
        leaving: those of them whose other working orders have to be over as well.
        held_back: symbols for which only exits may leave.
        holds: why: (source, symbol, "" for all) -> reason.
    """

    __slots__ = (
        "_engine", "_exit_at", "_stopped", "closing", "flattening", "held_back", "holds", "leaving",
    )  # fmt: skip

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.flattening = ""
        self.closing: dict[str, float] = {}
        self.leaving: set[str] = set()
        self.held_back: frozenset[str] = frozenset()
        self.holds: dict[tuple[str, str], str] = {}
        self._exit_at = 0
        self._stopped = False

    # ------------------------------------------------------------ states

    def halt(self, why: str) -> None:
        """Let nothing leave but cancels, and cancel all but the exits that protect a position."""
        self._set_state(HALTED, why)
        self._stay()
        self._cancel_all()

    def _cancel_all(self) -> None:
        self._engine.desk.cancel_all(protection=False)

    def command(self, command: Command) -> None:
        """Do what a human, or a program in his place, asks for."""
        name, why = command.name, command.why or command.name
        if name == "halt":
            self.flattening = ""
            self._stopped = False
            self.halt(why)
        elif name == "flatten":
            self._flatten(why)
        elif name == "resume":
            self._resume(why)
        elif name == "stop":
            self._stopped = self._engine.desk.state == ACTIVE
            self.flattening = ""
            self.halt(why)
        elif name == "pause":
            self.hold(f"pause by {command.who}", "", why)
        elif name == "unpause":  # of the same one only: a human's pause is a human's to lift
            self.release(f"pause by {command.who}", "", why)
        elif name == "cancel_all":
            self._cancel_all()
        elif name != "adopt":  # which is for whoever compares the books
            names = ("halt", "pause", "unpause", "flatten", "resume", "stop", "cancel_all", "adopt")
            raise ConfigError(f"there is no command {name!r}.{did_you_mean(name, names)}")

    def go_on(self, why: str) -> None:
        """Trade again where the run had only been stopped, now that its process is back."""
        if self._stopped:
            self._stopped = False
            self._set_state(ACTIVE, why or "resumed")

    def _resume(self, why: str) -> None:
        """Trade again, by a human's word; a strategy that failed does not come back."""
        if self._engine.failure is not None:
            return
        desk = self._engine.desk
        desk.gate.forgive()
        self.flattening = ""
        desk.day_equity = min(desk.day_equity, desk.equity())
        desk.peak_equity = desk.equity()
        for source, symbol in list(self.holds):
            if source == "contradiction" or source.startswith("pause by "):
                self.release(source, symbol, why)
        self._set_state(ACTIVE, why)

    def _set_state(self, state: str, why: str) -> None:
        engine = self._engine
        before = engine.desk.state
        if before != state:
            engine.desk.state = state
            engine.out.append(StateChanged(engine.seq, engine.now, before, state, why))

    # ------------------------------------------------------------ exits

    def watch_losses(self) -> None:
        """Flatten where a loss limit is broken."""
        desk = self._engine.desk
        equity = desk.equity()
        desk.peak_equity = max(desk.peak_equity, equity)
        if desk.state == ACTIVE:
            breach = desk.loss_breach()
            if breach is not None:
                self._flatten(f"{breach[0]}: {breach[1]}")

    def _flatten(self, why: str) -> None:
        self._set_state(REDUCING, why)
        self.flattening = why
        self._stay()
        self._engine.desk.cancel_all(protection=True)
        self.exit()

    def exit(self) -> None:
        """Send an exit for everything held whose working orders are gone; halt when flat.

        An exit waits until cancels are confirmed: an order that fills while its cancel is on the
        way would otherwise be closed twice.
        """
        engine = self._engine
        desk = engine.desk
        # An exit that cannot leave, or was refused, is tried again by the clock and not at once:
        # the answer may be the same, and there would be no end to it.
        waits = ("connection", "") in self.holds or engine.now < self._exit_at
        for symbol, position in list(desk.ledger.held.items()):
            if symbol not in desk.working and not waits and not desk.dust(symbol):
                if desk.gate.check_exit() is not None:
                    break  # asked again with the next news and the next tick of the clock
                sign = -1.0 if position.qty > 0 else 1.0
                order = desk.submit(
                    symbol, sign, abs(position.qty), reduce_only=True, tag="flatten", exit_=True
                )
                if order.working:
                    engine.target_orders[symbol] = order
        if desk.flat:
            self._set_state(HALTED, f"flat after: {self.flattening}")
            self.flattening = ""

    def move(self, symbol: str, qty: float) -> None:
        """Move a position to ``qty`` units, once the exits that hold it are over.

        An exit that fills while its cancel is on the way would otherwise do the same work twice.
        """
        desk = self._engine.desk
        self._aim(symbol, qty, desk.exits)
        for order in list(desk.exits.get(symbol, {}).values()):
            entry = desk.orders[order.parent]
            desk.cancel(entry)
            desk.cancel(order)

    def leave(self, symbol: str) -> None:
        """Leave a position once everything that works there is over."""
        desk = self._engine.desk
        self._aim(symbol, 0.0, desk.working)
        self.leaving.add(symbol)
        desk.cancel_all(symbol, protection=True)

    def _aim(self, symbol: str, qty: float, waits_for: Mapping[str, dict[str, Order]]) -> None:
        """Say where a position is to go, and for a target that there is an aim already."""
        self.closing[symbol] = qty
        for order in waits_for.get(symbol, {}).values():
            self._engine.target_orders.setdefault(symbol, order)

    def move_on(self) -> None:
        """Move the positions whose exits are over."""
        engine, desk = self._engine, self._engine.desk
        for symbol, qty in list(self.closing.items()):
            if symbol in desk.exits or (symbol in self.leaving and symbol in desk.working):
                continue
            self._reached(symbol)
            move_to(desk, symbol, qty, engine.target_orders)

    def _stay(self) -> None:
        """Move no position any more for what was asked before."""
        for symbol in list(self.closing):
            self._reached(symbol)

    def _reached(self, symbol: str) -> None:
        del self.closing[symbol]
        self.leaving.discard(symbol)
        order = self._engine.target_orders.get(symbol)
        if order is not None and not order.working:
            del self._engine.target_orders[symbol]

    def answered(self, what: str) -> None:
        """Go on with the exits after what the venue said of an order."""
        if what in ("rejected", "never_sent"):
            self._exit_at = self._engine.now + _EXIT_AGAIN_NS
        self.exit()

    def tick(self) -> None:
        """Try again, by the clock, what could not leave or was refused."""
        engine = self._engine
        if self.flattening:
            self.exit()
        elif engine.now < self._exit_at:
            return
        elif self.closing:
            self._exit_at = engine.now + _EXIT_AGAIN_NS
            for symbol, qty in list(self.closing.items()):  # those whose cancel was refused
                if symbol in self.leaving:
                    engine.desk.cancel_all(symbol, protection=True)
                else:
                    self.move(symbol, qty)
        elif engine.desk.state == HALTED and engine.desk.working:
            self._exit_at = engine.now + _EXIT_AGAIN_NS
            self._cancel_all()  # those whose cancel was refused

    # ------------------------------------------------------------ what is held back

    def connection(self, event: Connection) -> None:
        """Hold everything back while the venue cannot be reached."""
        if event.up:
            self.release("connection", "")
        else:
            self.hold("connection", "", event.why or "the venue cannot be reached")

    def feed(self, event: Feed) -> None:
        """Hold a symbol back, and cancel its entries, while its data are too old."""
        if not event.stale:
            self.release("feed", event.symbol)
            return
        if event.hold:
            self.hold("feed", event.symbol, f"no data for {event.age_ms / 1e3:.0f} s")
        if event.cancel:
            self._engine.desk.cancel_entries(event.symbol)

    def reconciled(self, event: Reconciled) -> None:
        """Hold back what the venue's books and ours do not agree on."""
        if not event.ok:
            if event.hold:
                self.hold("reconciliation", "", event.why or "the venue did not answer")
            return
        for symbol in event.unmatched:
            self.hold("reconciliation", symbol, event.why or "the books do not match")
        for source, symbol in list(self.holds):
            if source == "reconciliation" and symbol not in event.unmatched:
                self.release(source, symbol)

    def hold(self, source: str, symbol: str, why: str) -> None:
        """Let only exits leave, for a symbol or for all ("")."""
        news = (source, symbol) not in self.holds
        self.holds[source, symbol] = why
        self._weigh(symbol, why if news else "")

    def release(self, source: str, symbol: str, why: str = "") -> None:
        """Take one reason away; others may remain."""
        if self.holds.pop((source, symbol), None) is not None:
            self._weigh(symbol, why or f"{source} is well again")

    def _weigh(self, symbol: str, why: str) -> None:
        """Work out what is held back, and say so where it has changed."""
        engine, before = self._engine, self.held_back
        everything = any(not name for _, name in self.holds)
        symbols = {name for _, name in self.holds}
        self.held_back = engine.symbol_set if everything else frozenset(symbols)
        if why and before != self.held_back:
            states = ("reducing", "active") if before > self.held_back else ("active", "reducing")
            engine.out.append(StateChanged(engine.seq, engine.now, *states, why, symbol or "*"))
