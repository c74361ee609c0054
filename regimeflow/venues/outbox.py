"""Requests on their way out, and what their answers mean for an order.

Invariants:

1. one intent makes one write request: nothing is sent a second time, but for cancels, which say the
   same however often they are said;
2. only a definite refusal ends an order here. Whatever else goes wrong makes it unknown, and an
   unknown order is asked for until the venue tells, or says often and late enough that it has none;
3. a cancel or change waits until the venue has answered for the order itself;
4. what waits to be sent can be withdrawn, and is then never sent: by a halt, with the connection,
   or when its time is over. So nothing that was given up leaves later. A halt that has arrived
   holds it from that moment on, though the engine is still busy: `halting`;
5. requests leave no faster than the limits allow, however many waited: `wire_rate`;
6. an exit waits for no entry, and a cancel for neither: each kind has a lane of its own;
7. an entry and its exits are one request: what becomes of that is told of each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from regimeflow.errors import NotThere, Refused, VenueError
from regimeflow.model.events import (
    STOP_LOSS,
    TAKE_PROFIT,
    Cancel,
    OrderUpdate,
    Replace,
    Submit,
    entry_of,
)
from regimeflow.model.models import Limits
from regimeflow.model.order import Order, Status
from regimeflow.model.timeframe import NS_PER_MS, NS_PER_SECOND
from regimeflow.venues.halting import Halting
from regimeflow.venues.intervals import Intervals
from regimeflow.venues.port import Ack, Adapter, VenueOrder
from regimeflow.venues.runtime import Answer, Runtime
from regimeflow.venues.wire_rate import Passage, WireRate

_NO_CONNECTION = "there is no connection to the venue"
#: An id that the venue has seen before is a sign that the order is there.
DUPLICATE = "duplicate_order_id"
#: Code of a refusal by the adapter itself: the request certainly did not leave.
NOT_SENT = "not_sent"
#: What is said of a request that was given up before it left.
_GIVEN_UP = {"submit": "never_sent", "replace": "replace_rejected"}
_LONGEST_WINDOW_NS = 60 * NS_PER_SECOND


class Outbox:
    """Sends requests, and follows those whose fate is not known.

    Args:
        adapter, runtime, intervals: of the gateway.
        orders: the engine's orders by id; only read.
        limits: of the engine, for the rate; only read.

    Attributes:
        halting: the halts that the engine has not handled yet.
    """

    def __init__(
        self,
        adapter: Adapter,
        runtime: Runtime,
        intervals: Intervals,
        orders: Callable[[], Mapping[str, Order]],
        limits: Callable[[], Limits],
    ) -> None:
        self._adapter = adapter
        self._runtime = runtime
        self._intervals = intervals
        self._orders = orders
        #: Order id -> until when an answer to its submit is waited for.
        self._submitting: dict[str, int] = {}
        self._leaving: dict[tuple[str, str], Passage] = {}
        #: Orders that were withdrawn: there is nothing to cancel.
        self._never_left: set[str] = set()
        self._rate = WireRate(limits, runtime.now)
        self.halting = Halting()
        self._remembered = False
        self._held: dict[str, list[Cancel | Replace]] = {}
        self._changing: dict[str, int] = {}
        self._canceling: dict[str, Cancel] = {}
        #: Order id -> when a cancel of it may be sent again.
        self._cancel_at: dict[str, int] = {}
        self._unknown: dict[str, _Unknown] = {}
        self._asked_at: dict[str, int] = {}
        #: Orders whose id the venue said it had already.
        self._there: set[str] = set()
        self.connected = False

    # ------------------------------------------------------------ out

    def send(self, request: Submit | Cancel | Replace) -> list[OrderUpdate]:
        """Send a request; return what is known of it at once."""
        now = self._runtime.now()
        if isinstance(request, Submit):
            if not self.connected:
                return self._each(request.order_id, "never_sent", _NO_CONNECTION)
            self._submitting[request.order_id] = now + self._timeout_ns
            adapter = self._adapter
            self._leave("submit", request.order_id, lambda: adapter.submit(request))
            return []
        told = self._overtaken(request.order_id) if isinstance(request, Cancel) else []
        if any(update.what == "never_sent" for update in told):
            return told
        sent_with = entry_of(request.order_id) or request.order_id
        if sent_with in self._submitting:
            self._held.setdefault(sent_with, []).append(request)
            return []
        if isinstance(request, Cancel):
            if sent_with in self._never_left:
                return told
            self._canceling[request.order_id] = request
            self._cancel_due(now)
            return told
        return self._replace(request, now)

    def _overtaken(self, order_id: str) -> list[OrderUpdate]:
        """Withdraw what a cancel would wait for, where that waits for nothing but the rate."""
        told: list[OrderUpdate] = []
        for what, word in _GIVEN_UP.items():
            passage = self._leaving.get((what, order_id))
            if passage is not None and passage.waiting and self._withdrawn(what, order_id):
                told += self._each(order_id, word, "it was canceled before it could leave")
        return told

    def _replace(self, request: Replace, now: int) -> list[OrderUpdate]:
        why = ""
        if not self.connected:
            why = _NO_CONNECTION
        elif not self._adapter.capabilities.replace:
            why = "the venue changes no orders: cancel it and send another"
        if why:
            return [OrderUpdate(now, 0, request.order_id, "replace_rejected", why)]
        venue_id, adapter = self._venue_id(request.order_id), self._adapter
        self._changing[request.order_id] = now + self._timeout_ns
        self._leave("replace", request.order_id, lambda: adapter.replace(request, venue_id))
        return []

    def _leave(self, what: str, order_id: str, request: Callable[[], Ack]) -> None:
        """Have a request sent, unless it is withdrawn before its turn comes."""
        passage = self._leaving[what, order_id] = Passage()
        runtime, times = self._runtime, self._submitting if what == "submit" else self._changing
        order = self._orders().get(order_id)
        exit_ = order is not None and order.as_exit
        halting = self.halting

        def work() -> Ack:
            # What a halt holds here is withdrawn as soon as the engine has handled that.
            if halting.holds(exit_=exit_) or not passage.leave(runtime.now()):
                raise _Withdrawn
            return request()

        def go() -> None:
            times[order_id] = runtime.now() + self._timeout_ns
            runtime.call(lane, (what, order_id), work)

        passage.go = go
        self._remembered = True  # what is there from now on is this life's own
        lane = "exits" if exit_ else "orders"
        self._rate.hand(passage, exit_=exit_)

    def withdraw(self, why: str) -> list[OrderUpdate]:
        """Let nothing that still waits leave; return what is certain of it now."""
        told: list[OrderUpdate] = []
        for what, order_id in list(self._leaving):
            if self._withdrawn(what, order_id):
                told += self._each(order_id, _GIVEN_UP[what], why)
        return told

    def _withdrawn(self, what: str, order_id: str) -> bool:
        """Withdraw one request; return whether it had not left yet."""
        passage = self._leaving.pop((what, order_id), None)
        if passage is None or not passage.withdraw():
            return False
        self._rate.forget(passage)
        if what == "submit":
            self._submitting.pop(order_id, None)
            self._held.pop(order_id, None)
            self._never_left.add(order_id)
        else:
            self._changing.pop(order_id, None)
        return True

    def _cancel_due(self, now: int) -> None:
        """Send cancels, and send them again, until their order is over.

        However often one is asked for, and though it was refused, it is sent at the pace of one:
        the questions need room in the venue's rate, too, and only they can tell what is wrong.
        """
        for order_id, request in list(self._canceling.items()):
            order = self._orders().get(order_id)
            if order is not None and not order.working:
                del self._canceling[order_id]
                self._cancel_at.pop(order_id, None)
            elif self.connected and not self._is_submitting(order_id):
                if now < self._cancel_at.get(order_id, 0):
                    continue
                self._cancel_at[order_id] = now + self._intervals.unknown_poll_ns
                self._runtime.call("cancels", ("cancel", order_id), self._cancel_work(request))

    def _cancel_work(self, request: Cancel) -> Callable[[], None]:
        adapter, venue_id = self._adapter, self._venue_id(request.order_id)
        return lambda: adapter.cancel(request, venue_id)

    def _venue_id(self, order_id: str) -> str:
        order = self._orders().get(order_id)
        return order.venue_order_id if order is not None else ""

    # ------------------------------------------------------------ back

    def answered(self, answer: Answer) -> tuple[list[OrderUpdate], tuple[VenueOrder, int] | None]:
        """Return what an answer says of its order; of one that was looked up, when it was asked."""
        what, order_id = answer.key
        if isinstance(answer.error, _Withdrawn):
            return [], None  # told when it is withdrawn
        self._leaving.pop((what, order_id), None)
        if what == "submit":
            return self._submitted(order_id, answer.value, answer.error), None
        if what == "cancel":
            return self._cancel_told(order_id, answer.error), None
        if what == "replace":
            return self._replaced(order_id, answer.error), None
        return self._looked_up(order_id, answer.value, answer.error)

    def _submitted(
        self, order_id: str, ack: Ack | None, error: Exception | None
    ) -> list[OrderUpdate]:
        self._submitting.pop(order_id, None)
        if error is None and ack is not None:
            told = self._each(order_id, "accepted", "", ack.ts)
            told[0] = msgspec.structs.replace(told[0], venue_order_id=ack.venue_order_id)
            for update in told:
                self._unknown.pop(update.order_id, None)
        elif isinstance(error, Refused) and error.code != DUPLICATE:
            # What did not leave was refused by nobody: it says nothing of orders like it.
            word = "never_sent" if error.code == NOT_SENT else "rejected"
            told = self._each(order_id, word, _text(error))
            for update in told:
                self._unknown.pop(update.order_id, None)
        else:
            told = self._lose_each(order_id, _text(error), there=isinstance(error, Refused))
        return [*told, *self._let_go(order_id)]

    def _lose_each(self, order_id: str, why: str, *, there: bool = False) -> list[OrderUpdate]:
        """Lose an order and its exits, as far as the stream has not told of them already."""
        told = []
        for name in self._with_exits(order_id):
            if there:
                self._there.add(name)
            order = self._orders().get(name)
            if order is None or order.status in (Status.SENT, Status.UNKNOWN):
                told.append(self._lose(name, why))
        return told

    def _each(self, order_id: str, what: str, why: str, ts: int = 0) -> list[OrderUpdate]:
        """Return the same news of an order and, where it was sent with exits, of these."""
        now = self._runtime.now()
        sent = [order_id] if what == "replace_rejected" else self._with_exits(order_id)
        return [OrderUpdate(ts or now, 0, name, what, why) for name in sent]

    def _with_exits(self, order_id: str) -> list[str]:
        orders = self._orders()
        exits = (order_id + TAKE_PROFIT, order_id + STOP_LOSS)
        return [order_id, *(name for name in exits if name in orders)]

    def _is_submitting(self, order_id: str) -> bool:
        return order_id in self._submitting or entry_of(order_id) in self._submitting

    def _lose(self, order_id: str, why: str) -> OrderUpdate:
        now = self._runtime.now()
        self._unknown.setdefault(order_id, _Unknown(now, now + self._intervals.unknown_poll_ns))
        return OrderUpdate(now, 0, order_id, "lost", why)

    def _let_go(self, order_id: str) -> list[OrderUpdate]:
        """Send the cancels and changes that waited for the order's own answer."""
        told: list[OrderUpdate] = []
        for request in self._held.pop(order_id, ()):
            told += self.send(request)
        return told

    def _cancel_told(self, order_id: str, error: Exception | None) -> list[OrderUpdate]:
        """A refused cancel says only that; whether the order is over, the venue is asked."""
        if not isinstance(error, Refused):
            return []  # confirmed by the stream or a poll, or asked again
        if isinstance(error, NotThere) and order_id in self._unknown:
            return []  # its request may still be under way: asked again until that is settled
        if error.retry_after_ms is not None:
            self._cancel_at[order_id] = self._runtime.now() + int(error.retry_after_ms * NS_PER_MS)
            return []  # not now: asked again
        self._canceling.pop(order_id, None)
        now = self._runtime.now()
        self.ask(order_id)
        return [OrderUpdate(now, 0, order_id, "cancel_rejected", _text(error))]

    def _replaced(self, order_id: str, error: Exception | None) -> list[OrderUpdate]:
        self._changing.pop(order_id, None)
        if error is None:
            return []  # the stream tells what it became
        now = self._runtime.now()
        if isinstance(error, Refused):
            return [OrderUpdate(now, 0, order_id, "replace_rejected", _text(error))]
        return [self._lose(order_id, f"its change was not answered: {_text(error)}")]

    def _looked_up(
        self, order_id: str, row: VenueOrder | None, error: Exception | None
    ) -> tuple[list[OrderUpdate], tuple[VenueOrder, int] | None]:
        unknown = self._unknown.get(order_id)
        if row is not None:
            asked_at = self._asked_at.pop(order_id, 0)
            self._unknown.pop(order_id, None)
            return [], (row, asked_at)
        if unknown is None or not isinstance(error, NotThere):
            return [], None  # a question that failed says nothing
        now = self._runtime.now()
        if order_id in self._there:
            return [], None  # its id was known: the venue has it, and only does not show it yet
        if now - unknown.since >= self._adapter.capabilities.settle_ms * NS_PER_MS:
            unknown.denials += 1
        if unknown.denials < self._intervals.unknown_denials:
            return [], None
        del self._unknown[order_id]
        why = f"not at the venue: it said so {unknown.denials} times"
        return [OrderUpdate(now, 0, order_id, "rejected", why)], None

    # ------------------------------------------------------------ by the clock

    def ask(self, order_id: str) -> None:
        """Ask what has become of an order, now or when it is asked for anyway."""
        now = self._runtime.now()
        self._unknown.setdefault(order_id, _Unknown(now, now))

    def ask_later(self, order_id: str) -> None:
        """Ask what has become of an order, though not at once."""
        now = self._runtime.now()
        at = now + self._intervals.unknown_poll_ns
        self._unknown.setdefault(order_id, _Unknown(now, at))

    def due(self) -> list[OrderUpdate]:
        """Do what the clock asks for; return orders that nobody answered for in time."""
        now = self._runtime.now()
        told: list[OrderUpdate] = []
        for order_id, until in list(self._submitting.items()):
            if now >= until:
                why = self._too_long("submit", order_id)
                if self._withdrawn("submit", order_id):
                    told += self._each(order_id, "never_sent", why)
                    continue
                del self._submitting[order_id]
                told += self._lose_each(order_id, "no answer in time")
                told += self._let_go(order_id)
        for order_id, until in list(self._changing.items()):
            if now >= until:
                why = self._too_long("replace", order_id)
                if self._withdrawn("replace", order_id):
                    told.append(OrderUpdate(now, 0, order_id, "replace_rejected", why))
                    continue
                del self._changing[order_id]
                told.append(self._lose(order_id, "its change was not answered in time"))
        self._rate.due()
        if self.connected:
            self._cancel_due(now)
            for order_id, unknown in list(self._unknown.items()):
                if now >= unknown.next_at:
                    self._look_up(order_id, unknown, now)
        return told

    def _too_long(self, what: str, order_id: str) -> str:
        passage = self._leaving.get((what, order_id))
        limited = passage is not None and passage.waiting
        return f"it waited too long to be sent{', for the rate of orders' if limited else ''}"

    def _look_up(self, order_id: str, unknown: _Unknown, now: int) -> None:
        order = self._orders().get(order_id)
        if order is not None and not order.working:
            del self._unknown[order_id]
            self._cancel_at.pop(order_id, None)
            return
        unknown.next_at = now + self._intervals.unknown_poll_ns
        adapter, runtime, venue_id = self._adapter, self._runtime, self._venue_id(order_id)

        def work() -> VenueOrder:
            self._asked_at[order_id] = runtime.now()
            return adapter.order(order_id, venue_id)

        runtime.call("polls", ("order", order_id), work)

    def insist(self, order_id: str) -> None:
        """Cancel, and ask what has become of the order, whatever was asked before."""
        cancel = Cancel(0, self._runtime.now(), order_id)
        self._runtime.call("cancels", ("cancel", order_id), self._cancel_work(cancel))
        adapter, venue_id = self._adapter, self._venue_id(order_id)
        self._runtime.call("polls", ("order", order_id), lambda: adapter.order(order_id, venue_id))

    def take_up(self) -> None:
        """After a restart or a lost connection: ask and cancel again what was not answered."""
        if not self._remembered:
            self._remembered = True
            self._remember()
        for order in self._orders().values():
            if order.status == Status.UNKNOWN:
                self.ask(order.id)
            if order.working and order.cancel_pending:
                self._canceling[order.id] = Cancel(order.seq, order.updated, order.id)
                self._cancel_at.pop(order.id, None)

    def _remember(self) -> None:
        """Count what an earlier life has sent, as late as it can have left."""
        now, longest = self._runtime.now(), 2 * self._timeout_ns
        for exit_ in (False, True):
            asked = [
                min(now, at + longest)
                for order in self._orders().values()
                if order.as_exit is exit_
                and not order.parent
                and order.updated > now - longest - _LONGEST_WINDOW_NS
                for at, what, _ in order.log
                if what in ("sent", "replace asked")
            ]
            self._rate.remember(asked, exit_=exit_)

    @property
    def in_flight(self) -> set[str]:
        """Orders of which a request is on its way: what the venue shows of them may be older."""
        sent = {name for order_id in self._submitting for name in self._with_exits(order_id)}
        return {*sent, *self._held, *self._changing}

    @property
    def unknown(self) -> int:
        """How many orders' fate is not known."""
        return len(self._unknown)

    @property
    def busy(self) -> bool:
        """Whether an answer is still waited for."""
        return bool(self.in_flight or self._canceling or self._unknown)

    @property
    def next_due(self) -> int:
        """When the clock next asks for something, UTC nanoseconds."""
        times = [*self._submitting.values(), *self._changing.values(), self._rate.next_due]
        if self.connected:  # else nothing can be asked, and to be called for it would be a spin
            times += [
                self._cancel_at.get(name, 0)
                for name in self._canceling
                if not self._is_submitting(name)
            ]
            times += [unknown.next_at for unknown in self._unknown.values()]
        return min(times, default=2**63 - 1)

    @property
    def _timeout_ns(self) -> int:
        return int(self._intervals.call_timeout_ms * NS_PER_MS)


class _Withdrawn(Exception):
    """A request was given up before its turn to be sent came."""


class _Unknown:
    """An order whose fate the venue has not told."""

    __slots__ = ("denials", "next_at", "since")

    def __init__(self, since: int, next_at: int) -> None:
        self.since = since
        self.next_at = next_at
        self.denials = 0


def _text(error: Exception | None) -> str:
    if error is None:
        return "no answer"
    return str(error) if isinstance(error, VenueError) else f"{type(error).__name__}: {error}"
