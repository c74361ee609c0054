"""What every adapter must do, one small case after the other.

A case is a name and a function that raises AssertionError where the adapter breaks a promise of
the port (`regimeflow.venues.port`). They come one by one, so that pytest can show each:

    @pytest.mark.parametrize("case", check_venue(make_adapter, control), ids=str)
    def test_adapter(case):
        case.run()

Without a control only what needs no hand on the venue is tried; `needs_control` names the rest.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, cast

from regimeflow.errors import ConfigError, NotThere, Refused, VenueError
from regimeflow.model.events import Cancel, Fill, OrderUpdate, Replace, Submit, exits_of
from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.model.timeframe import NS_PER_SECOND
from regimeflow.venues.port import Ack, Adapter, Capabilities, Disconnected, Pays, Said

#: How long the venue may take to say something, seconds.
_PATIENCE_S = 10.0
_PRICE = 100.0
#: Far enough from the price that nothing trades there.
_LOW, _HIGH = 50.0, 150.0


class Control(Protocol):
    """Makes the venue do what a test needs.

    Attributes:
        symbols: two that it trades, at prices of around 100.
        timeframe: of the bars that it streams, nanoseconds.
    """

    symbols: tuple[str, str]
    timeframe: int

    def tick(self, symbol: str, price: float) -> None:
        """Let the market trade at a price."""

    def fill(self, order_id: str, qty: float) -> Any:
        """Let a working order trade some units."""

    def end(self, order_id: str, what: str) -> None:
        """Let the venue end a working order unasked: "canceled" or "expired"."""

    def trade(self, symbol: str, side: str, qty: float) -> Any:
        """Trade on the account by hand."""

    def order(self, symbol: str, side: str, qty: float, limit: float) -> str:
        """Place a working order that is not ours; return its venue id."""

    def disconnect(self) -> None:
        """Break the stream."""

    def fund(self, symbol: str, rate: float) -> None:
        """Let what is held pay a fraction of its value; asked where positions pay anything."""


class Case(NamedTuple):
    """One promise of the port.

    Attributes:
        name: what is promised.
        run: raises AssertionError where it is not kept.
    """

    name: str
    run: Callable[[], None]

    def __str__(self) -> str:
        return self.name


def check_venue(
    adapter: Adapter | Callable[[], Adapter],
    control: Control | Callable[[], Control] | None = None,
) -> Iterator[Case]:
    """Yield the cases that an adapter must pass.

    Args:
        adapter: to the venue, not connected; or what returns a new one for each case.
        control: moves that venue, or returns what does; prices should stand still but for it.
            Without it the cases that `needs_control` names are left out, and what is left places
            no order that could be filled.

    Raises:
        ConfigError: it is no adapter.
    """
    make_adapter = _maker(adapter)
    make_control: Callable[[], Control] = (
        cast(Any, _Nobody) if control is None else _maker_of(control)
    )
    for name, promise in _PROMISES.items():
        if control is not None or name in _ALONE:
            yield Case(_words(name), _Bound(promise, make_adapter, make_control))


def needs_control() -> tuple[str, ...]:
    """Return the names of the cases that `check_venue` leaves out where it is given no control."""
    return tuple(_words(name) for name in _PROMISES if name not in _ALONE)


def _maker(adapter: Any) -> Callable[[], Adapter]:
    if not isinstance(adapter, type) and hasattr(adapter, "submit"):
        return lambda: cast(Adapter, adapter)
    if not callable(adapter):
        raise ConfigError(f"check_venue takes an adapter, or what makes one, and not {adapter!r}")
    return cast(Callable[[], Adapter], adapter)


def _maker_of(control: Control | Callable[[], Control]) -> Callable[[], Control]:
    return control if callable(control) else lambda: control


def _words(name: str) -> str:
    return name.replace("_", " ")


class _Nobody:
    """Stands where nobody moves the venue: what is asked of it then needs no symbol of the venue's,
    and no price."""

    symbols = ("", "")
    timeframe = 60 * NS_PER_SECOND

    def tick(self, symbol: str, price: float) -> None:
        """Leave the market as it is."""


class _Bound:
    """A promise with its venue."""

    def __init__(
        self,
        promise: Callable[[Bench], None],
        make_adapter: Callable[[], Adapter],
        control: Callable[[], Control],
    ) -> None:
        self._promise = promise
        self._make_adapter = make_adapter
        self._control = control

    def __call__(self) -> None:
        bench = Bench(self._make_adapter(), self._control())
        try:
            self._promise(bench)
        finally:
            bench.adapter.close()


class Bench:
    """An adapter under test, and what its venue has said."""

    def __init__(self, adapter: Adapter, control: Control) -> None:
        self.adapter = adapter
        self.control = control
        self.symbol, self.other = control.symbols
        self.said: list[Said] = []
        self._changed = threading.Condition()

    def emit(self, said: Said) -> None:
        with self._changed:
            self.said.append(said)
            self._changed.notify_all()

    def connect(self) -> Bench:
        self.adapter.connect(self.emit)
        self.control.tick(self.symbol, _PRICE)
        return self

    def hear(self, what: Callable[[Said], bool], words: str) -> Said:
        """Wait until something was said, and return it."""
        with self._changed:
            heard = self._changed.wait_for(lambda: any(map(what, self.said)), _PATIENCE_S)
            assert heard, f"the venue did not tell of {words}; it said {self.said[-5:]}"
            return next(said for said in self.said if what(said))

    def update(self, order_id: str, what: str) -> OrderUpdate:
        said = self.hear(
            lambda s: isinstance(s, OrderUpdate) and s.order_id == order_id and s.what == what,
            f"{order_id} being {what}",
        )
        assert isinstance(said, OrderUpdate)
        return said

    def filled(self, order_id: str) -> Fill:
        said = self.hear(lambda s: isinstance(s, Fill) and s.order_id == order_id, "a fill")
        assert isinstance(said, Fill)
        return said

    def new(
        self, side: str = "buy", type: str = "limit", qty: float = 10.0, **terms: Any
    ) -> Submit:
        """Return an order that rests, unless its terms say otherwise."""
        away = {"buy": (_LOW, _HIGH), "sell": (_HIGH, _LOW)}[side]
        limit = away[0] if type == "limit" else away[1] if type == "stop_limit" else None
        stop = away[1] if type in ("stop", "stop_limit") else None
        given = {"symbol": self.symbol, "limit": limit, "stop": stop, **terms}
        order_id = f"check-{uuid.uuid4().hex[:12]}-1"
        return Submit(1, 1, order_id, side=side, qty=qty, type=type, **given)

    def send(self, *args: Any, **terms: Any) -> tuple[Submit, Ack]:
        order = self.new(*args, **terms)
        return order, self.adapter.submit(order)

    def cancel(self, order: Submit, ack: Ack) -> None:
        self.adapter.cancel(Cancel(1, 1, order.order_id), ack.venue_order_id)

    def send_with_exits(self, **terms: Any) -> tuple[Submit, Submit, Submit] | None:
        """Return an entry that was sent with both its exits; None where the venue has none."""
        terms = {"tif": "gtc", "take_profit": 140.0, "stop_loss": 40.0, **terms}
        order = self.new(**terms)
        if not self.adapter.capabilities.brackets:
            self.refused(lambda: self.adapter.submit(order))
            return None
        self.adapter.submit(order)
        profit, loss = exits_of(order)
        return order, profit, loss

    def refused(self, what: Callable[[], Any]) -> Refused:
        try:
            what()
        except Refused as refusal:
            return refusal
        except VenueError as error:
            raise AssertionError(f"a definite no must be Refused, not {error!r}") from error
        raise AssertionError("nothing was refused")


_PROMISES: dict[str, Callable[[Bench], None]] = {}
#: Those that need no hand on the venue, no symbol that it trades and no price.
_ALONE: set[str] = set()


def _promise(function: Callable[[Bench], None]) -> Callable[[Bench], None]:
    _PROMISES[function.__name__.strip("_")] = function
    return function


def _alone(function: Callable[[Bench], None]) -> Callable[[Bench], None]:
    _ALONE.add(function.__name__.strip("_"))
    return function


# ---------------------------------------------------------------- before and around a connection


@_alone
@_promise
def _it_has_a_name(bench: Bench) -> None:
    assert bench.adapter.name


@_alone
@_promise
def _its_capabilities_are_stated(bench: Bench) -> None:
    able = bench.adapter.capabilities
    assert isinstance(able, Capabilities)
    assert "market" in able.order_types
    assert able.tifs
    assert able.order_id_length >= 20
    assert able.settle_ms > 0


@_alone
@_promise
def _it_can_be_closed_before_it_was_connected(bench: Bench) -> None:
    bench.adapter.close()


@_alone
@_promise
def _it_can_be_closed_twice(bench: Bench) -> None:
    bench.connect().adapter.close()
    bench.adapter.close()


@_promise
def _nothing_is_said_after_it_was_closed(bench: Bench) -> None:
    order, _ = bench.connect().send()
    bench.update(order.order_id, "accepted")
    bench.adapter.close()
    before = len(bench.said)
    bench.control.end(order.order_id, "canceled")
    assert len(bench.said) == before


@_promise
def _it_connects_again_after_it_was_closed(bench: Bench) -> None:
    bench.connect().adapter.close()
    order, _ = bench.connect().send()
    bench.update(order.order_id, "accepted")


@_promise
def _a_broken_stream_is_told(bench: Bench) -> None:
    bench.connect().control.disconnect()
    bench.hear(lambda said: isinstance(said, Disconnected), "the broken stream")


@_promise
def _it_connects_again_after_a_broken_stream(bench: Bench) -> None:
    bench.connect().control.disconnect()
    bench.hear(lambda said: isinstance(said, Disconnected), "the broken stream")
    bench.adapter.close()
    order, _ = bench.connect().send()
    bench.update(order.order_id, "accepted")


@_promise
def _orders_outlive_the_connection(bench: Bench) -> None:
    order, _ = bench.connect().send()
    bench.adapter.close()
    assert bench.connect().adapter.order(order.order_id).status == "open"


@_alone
@_promise
def _its_clock_goes_forward(bench: Bench) -> None:
    first = bench.connect().adapter.time()
    assert first > 0
    assert bench.adapter.time() >= first


# ---------------------------------------------------------------- orders


def _rests(side: str, type: str) -> Callable[[Bench], None]:
    def promise(bench: Bench) -> None:
        if type not in bench.connect().adapter.capabilities.order_types:
            return
        order, ack = bench.send(side, type)
        told = bench.update(order.order_id, "accepted")
        assert ack.venue_order_id in ("", told.venue_order_id)
        row = bench.adapter.order(order.order_id, ack.venue_order_id)
        assert (row.order_id, row.symbol, row.side) == (order.order_id, order.symbol, side)
        assert (row.qty, row.filled, row.status) == (order.qty, 0.0, "open")
        assert (row.limit, row.stop) == (order.limit, order.stop)

    return promise


def _fills(side: str, type: str) -> Callable[[Bench], None]:
    def promise(bench: Bench) -> None:
        at = {"buy": _HIGH, "sell": _LOW}[side]
        terms = {"limit": at} if type == "limit" else {}
        order, _ = bench.connect().send(side, type, 1.0, **terms)
        fill = bench.filled(order.order_id)
        assert (fill.symbol, fill.side, fill.executed) == (order.symbol, side, 1.0)
        assert fill.price > 0
        assert fill.execution_id
        assert fill.ts > 0
        assert bench.adapter.order(order.order_id).status == "filled"

    return promise


def _lasts(tif: str) -> Callable[[Bench], None]:
    def promise(bench: Bench) -> None:
        if tif not in bench.connect().adapter.capabilities.tifs:
            return
        order, _ = bench.send(tif=tif)
        if tif in ("ioc", "fok"):
            bench.hear(
                lambda s: isinstance(s, OrderUpdate) and s.what in ("canceled", "expired"), "an end"
            )
        row = bench.adapter.order(order.order_id)
        assert (row.status == "open") == (tif not in ("ioc", "fok"))

    return promise


for _side in ("buy", "sell"):
    for _type in ("limit", "stop", "stop_limit"):
        _PROMISES[f"a_{_side}_{_type}_order_rests_as_it_was_sent"] = _rests(_side, _type)
    for _type in ("market", "limit"):
        _PROMISES[f"a_{_side}_{_type}_order_fills"] = _fills(_side, _type)
for _tif in ("day", "gtc", "ioc", "fok"):
    _PROMISES[f"a_{_tif}_order_lasts_as_long_as_it_should"] = _lasts(_tif)


def _refuses(**terms: Any) -> Callable[[Bench], None]:
    def promise(bench: Bench) -> None:
        order = bench.connect().new(**terms)
        assert str(bench.refused(lambda: bench.adapter.submit(order)))
        try:
            bench.adapter.order(order.order_id)
        except NotThere:
            return
        raise AssertionError("an order that was refused is there")

    return promise


_BAD: dict[str, dict[str, Any]] = {
    "of_an_unknown_symbol": {"symbol": "NO-SUCH-SYMBOL"},
    "of_no_units": {"qty": 0.0},
    "of_negative_units": {"qty": -5.0},
    "off_the_lot": {"qty": 1.23456789},
    "with_a_negative_price": {"limit": -1.0},
    "of_an_unknown_type": {"type": "hope"},
    "of_an_unknown_time_in_force": {"tif": "forever"},
}
for _name, _terms in _BAD.items():
    _PROMISES[f"an_order_{_name}_is_refused"] = _refuses(**_terms)
_ALONE.add("an_order_of_an_unknown_symbol_is_refused")


@_promise
def _an_order_id_is_taken_once(bench: Bench) -> None:
    order, _ = bench.connect().send()
    refusal = bench.refused(lambda: bench.adapter.submit(order))
    assert refusal.code == "duplicate_order_id"
    assert [row.order_id for row in bench.adapter.open_orders()].count(order.order_id) == 1


@_promise
def _the_longest_order_id_is_kept_whole(bench: Bench) -> None:
    length = bench.connect().adapter.capabilities.order_id_length
    order_id = f"check-{uuid.uuid4().hex}{'x' * length}"[:length]
    order = bench.new()
    bench.adapter.submit(Submit(1, 1, order_id, order.symbol, "buy", 1.0, "limit", order.limit))
    assert bench.adapter.order(order_id).order_id == order_id


@_promise
def _a_part_that_fills_is_told_and_counted(bench: Bench) -> None:
    order, _ = bench.connect().send()
    bench.control.fill(order.order_id, 4.0)
    assert bench.filled(order.order_id).executed == 4.0
    row = bench.adapter.order(order.order_id)
    assert (row.filled, row.status) == (4.0, "open")


@_promise
def _parts_have_ids_of_their_own(bench: Bench) -> None:
    order, _ = bench.connect().send()
    for _ in range(3):
        bench.control.fill(order.order_id, 2.0)
    fills = [f for f in bench.adapter.executions(0) if f.order_id == order.order_id]
    assert [f.executed for f in fills] == [2.0] * 3
    assert len({f.execution_id for f in fills}) == 3


@_promise
def _a_stop_trades_when_it_is_reached(bench: Bench) -> None:
    if "stop" not in bench.connect().adapter.capabilities.order_types:
        return
    order, _ = bench.send("buy", "stop", 1.0, stop=110.0)
    bench.control.tick(bench.symbol, 111.0)
    assert bench.filled(order.order_id).executed == 1.0


@_promise
def _the_venue_may_end_an_order_unasked(bench: Bench) -> None:
    order, _ = bench.connect().send()
    bench.control.end(order.order_id, "expired")
    # Some venues have one word for both.
    said = bench.hear(
        lambda s: isinstance(s, OrderUpdate) and s.what in ("expired", "canceled"), "its end"
    )
    assert isinstance(said, OrderUpdate)
    assert said.order_id == order.order_id
    assert bench.adapter.order(order.order_id).status == said.what


# ---------------------------------------------------------------- entries with exits


@_promise
def _exits_are_there_from_the_answer_on_or_the_order_is_refused(bench: Bench) -> None:
    sent = bench.connect().send_with_exits()
    if sent is None:
        return
    rows = {row.order_id: row for row in bench.adapter.open_orders()}
    for order in sent:
        row = rows[order.order_id]
        assert row == bench.adapter.order(order.order_id)
        assert (row.side, row.qty, row.status) == (order.side, 10.0, "open")
        assert (row.limit, row.stop) == (order.limit, order.stop)


@_promise
def _exits_wait_for_the_whole_of_their_entry(bench: Bench) -> None:
    sent = bench.connect().send_with_exits(stop_loss=99.0, limit=99.5)
    if sent is None:
        return
    entry, _, loss = sent
    bench.control.fill(entry.order_id, 4.0)
    bench.filled(entry.order_id)
    bench.control.tick(bench.symbol, 100.0)
    assert bench.adapter.order(loss.order_id).filled == 0.0


@_promise
def _one_exit_fills_and_the_other_is_canceled(bench: Bench) -> None:
    for price, place in ((141.0, 1), (39.0, 2)):
        sent = bench.connect().send_with_exits()
        if sent is None:
            return
        entry, fills, ends = sent[0], sent[place], sent[3 - place]
        bench.control.fill(entry.order_id, 10.0)
        bench.control.tick(bench.symbol, price)
        bench.control.tick(bench.symbol, _PRICE)
        assert bench.filled(fills.order_id).executed == 10.0
        bench.update(ends.order_id, "canceled")
        assert bench.adapter.order(fills.order_id).status == "filled"
        assert bench.adapter.order(ends.order_id).status == "canceled"
        names = [f.order_id for f in bench.adapter.executions(0)]
        assert fills.order_id in names
        assert ends.order_id not in names
        bench.adapter.close()


@_promise
def _an_entry_that_ends_takes_its_exits_with_it(bench: Bench) -> None:
    sent = bench.connect().send_with_exits()
    if sent is None:
        return
    bench.cancel(sent[0], Ack(""))
    for order in sent:
        bench.update(order.order_id, "canceled")
        assert bench.adapter.order(order.order_id).status == "canceled"


@_promise
def _an_exit_is_moved_and_canceled_by_its_name(bench: Bench) -> None:
    sent = bench.connect().send_with_exits()
    if sent is None:
        return
    entry, profit, loss = sent
    bench.control.fill(entry.order_id, 10.0)
    bench.filled(entry.order_id)
    if bench.adapter.capabilities.replace:
        bench.adapter.replace(Replace(1, 5, loss.order_id, 10.0, stop=45.0), "")
        assert bench.update(loss.order_id, "replaced").stop == 45.0
        assert bench.adapter.order(loss.order_id).stop == 45.0
        assert loss.order_id in [row.order_id for row in bench.adapter.open_orders()]
    bench.adapter.cancel(Cancel(1, 1, loss.order_id), "")
    bench.update(loss.order_id, "canceled")
    assert bench.adapter.order(loss.order_id).status == "canceled"
    if bench.adapter.order(profit.order_id).status == "open":  # some take it along
        bench.adapter.cancel(Cancel(1, 1, profit.order_id), "")
        bench.update(profit.order_id, "canceled")


# ---------------------------------------------------------------- cancel and replace


@_promise
def _a_cancel_is_told_by_the_stream(bench: Bench) -> None:
    order, ack = bench.connect().send()
    bench.cancel(order, ack)
    bench.update(order.order_id, "canceled")
    assert bench.adapter.order(order.order_id).status == "canceled"


@_promise
def _a_cancel_needs_no_venue_id(bench: Bench) -> None:
    order, _ = bench.connect().send()
    bench.cancel(order, Ack(""))
    bench.update(order.order_id, "canceled")


@_promise
def _a_second_cancel_does_no_harm(bench: Bench) -> None:
    order, ack = bench.connect().send()
    bench.cancel(order, ack)
    bench.update(order.order_id, "canceled")
    bench.refused(lambda: bench.cancel(order, ack))
    assert bench.adapter.order(order.order_id).status == "canceled"


@_alone
@_promise
def _a_cancel_of_nothing_is_refused(bench: Bench) -> None:
    bench.connect()
    bench.refused(lambda: bench.cancel(bench.new(), Ack("")))


@_promise
def _a_cancel_after_a_fill_is_refused(bench: Bench) -> None:
    order, ack = bench.connect().send()
    bench.control.fill(order.order_id, 10.0)
    bench.filled(order.order_id)
    bench.refused(lambda: bench.cancel(order, ack))


@_promise
def _a_cancel_keeps_what_is_filled(bench: Bench) -> None:
    order, ack = bench.connect().send()
    bench.control.fill(order.order_id, 3.0)
    bench.cancel(order, ack)
    bench.update(order.order_id, "canceled")
    assert bench.adapter.order(order.order_id).filled == 3.0


@_promise
def _a_change_is_told_with_its_new_terms(bench: Bench) -> None:
    if not bench.connect().adapter.capabilities.replace:
        return
    order, ack = bench.send()
    bench.adapter.replace(Replace(1, 1, order.order_id, 20.0, limit=60.0), ack.venue_order_id)
    told = bench.update(order.order_id, "replaced")
    assert (told.qty, told.limit) == (20.0, 60.0)
    row = bench.adapter.order(order.order_id)
    assert (row.qty, row.limit) == (20.0, 60.0)


@_alone
@_promise
def _a_change_of_nothing_is_refused(bench: Bench) -> None:
    if bench.connect().adapter.capabilities.replace:
        change = Replace(1, 1, bench.new().order_id, 5.0, limit=60.0)
        bench.refused(lambda: bench.adapter.replace(change, ""))


@_promise
def _a_change_below_what_is_filled_is_refused(bench: Bench) -> None:
    if not bench.connect().adapter.capabilities.replace:
        return
    order, ack = bench.send()
    bench.control.fill(order.order_id, 6.0)
    change = Replace(1, 1, order.order_id, 5.0, limit=60.0)
    bench.refused(lambda: bench.adapter.replace(change, ack.venue_order_id))


# ---------------------------------------------------------------- questions


@_alone
@_promise
def _an_unknown_order_is_not_there(bench: Bench) -> None:
    bench.connect()
    assert isinstance(bench.refused(lambda: bench.adapter.order("check-none")), NotThere)


@_promise
def _an_order_is_found_by_its_venue_id(bench: Bench) -> None:
    order, ack = bench.connect().send()
    venue_id = ack.venue_order_id or bench.adapter.order(order.order_id).venue_order_id
    assert bench.adapter.order("", venue_id).order_id == order.order_id


@_promise
def _working_orders_are_listed_and_no_others(bench: Bench) -> None:
    one, ack = bench.connect().send()
    two, _ = bench.send("sell")
    bench.cancel(one, ack)
    bench.update(one.order_id, "canceled")
    names = [row.order_id for row in bench.adapter.open_orders()]
    assert two.order_id in names
    assert one.order_id not in names


@_promise
def _foreign_orders_are_listed_without_a_name_of_ours(bench: Bench) -> None:
    venue_id = bench.connect().control.order(bench.symbol, "buy", 3.0, _LOW)
    rows = {row.venue_order_id: row for row in bench.adapter.open_orders()}
    assert rows[venue_id].order_id == ""
    assert rows[venue_id].qty == 3.0


@_promise
def _executions_are_what_the_stream_told(bench: Bench) -> None:
    order, _ = bench.connect().send("buy", "market", 1.0)
    told = bench.filled(order.order_id)
    (listed,) = [f for f in bench.adapter.executions(0) if f.order_id == order.order_id]
    for name in ("execution_id", "symbol", "side", "qty", "price", "fee"):
        assert getattr(listed, name) == getattr(told, name)


@_promise
def _executions_come_oldest_first(bench: Bench) -> None:
    bench.connect()
    for _ in range(3):
        bench.filled(bench.send("buy", "market", 1.0)[0].order_id)
    times = [fill.ts for fill in bench.adapter.executions(0)]
    assert times == sorted(times)


@_promise
def _executions_can_be_asked_for_from_a_time_on(bench: Bench) -> None:
    order, _ = bench.connect().send("buy", "market", 1.0)
    ts = bench.filled(order.order_id).ts
    assert order.order_id in [fill.order_id for fill in bench.adapter.executions(ts)]
    assert order.order_id not in [fill.order_id for fill in bench.adapter.executions(ts + 1)]


@_promise
def _positions_follow_the_fills(bench: Bench) -> None:
    before = _held(bench.connect())
    moved = 0.0
    for side in ("buy", "sell", "buy"):
        fill = bench.filled(bench.send(side, "market", 1.0)[0].order_id)
        moved += fill.qty if side == "buy" else -fill.qty
    assert abs(_held(bench) - before - moved) < 1e-9


@_promise
def _positions_can_be_short(bench: Bench) -> None:
    if not bench.connect().adapter.capabilities.short:
        return
    before = _held(bench)
    bench.control.trade(bench.symbol, "sell", abs(before) + 5.0)
    assert _held(bench) == before - abs(before) - 5.0


@_promise
def _trades_by_hand_are_in_the_positions(bench: Bench) -> None:
    before = _held(bench.connect())
    bench.control.trade(bench.symbol, "buy", 7.0)
    # A venue that keeps its fee in units keeps a small part of them.
    assert 6.9 < _held(bench) - before <= 7.0


def _held(bench: Bench) -> float:
    return sum(h.qty for h in bench.adapter.positions() if h.symbol == bench.symbol)


@_alone
@_promise
def _money_is_finite_and_named(bench: Bench) -> None:
    money = bench.connect().adapter.balances()
    assert money.currency
    assert abs(money.cash) < 1e15
    assert abs(money.equity) < 1e15


@_promise
def _a_purchase_costs_its_price_and_fee(bench: Bench) -> None:
    before = bench.connect().adapter.balances()
    fill = bench.filled(bench.send("buy", "market", 1.0)[0].order_id)
    after = bench.adapter.balances()
    if bench.adapter.capabilities.margined:
        # Nothing was bought: until the price moves only the fee is gone.
        assert abs(before.equity - after.equity - fill.fee) < 0.01
        return
    assert abs(before.cash - after.cash - fill.qty * fill.price - fill.fee) < 0.01


@_promise
def _payments_for_what_is_held_are_told_each_under_its_own_id(bench: Bench) -> None:
    if not bench.connect().adapter.capabilities.payments:
        return
    adapter = cast(Pays, bench.adapter)
    bench.control.trade(bench.symbol, "buy", 100.0 + abs(_held(bench)))
    known = {payment.payment_id for payment in adapter.payments(0)}
    before = bench.adapter.balances().equity
    for rate in (0.001, -0.002):
        bench.control.fund(bench.symbol, rate)
    told = [payment for payment in adapter.payments(0) if payment.payment_id not in known]
    assert len({payment.payment_id for payment in told}) == 2
    assert [payment.cash < 0.0 for payment in told] == [True, False]
    assert {payment.symbol for payment in told} == {bench.symbol}
    assert abs(sum(p.cash for p in told) - (bench.adapter.balances().equity - before)) < 1e-6
    assert [p.payment_id for p in adapter.payments(told[0].ts)][-2:] == [
        payment.payment_id for payment in told
    ]
    assert not adapter.payments(told[-1].ts + 1)


@_promise
def _rules_are_given_for_each_symbol(bench: Bench) -> None:
    rules = bench.connect().adapter.instruments([bench.symbol, bench.other])
    assert [one.symbol for one in rules] == [bench.symbol, bench.other]


@_alone
@_promise
def _rules_of_an_unknown_symbol_are_refused_by_name(bench: Bench) -> None:
    refusal = bench.connect().refused(lambda: bench.adapter.instruments(["NO-SUCH-SYMBOL"]))
    assert "NO-SUCH-SYMBOL" in str(refusal)


# ---------------------------------------------------------------- market data


@_alone
@_promise
def _an_unknown_symbol_cannot_be_subscribed_to(bench: Bench) -> None:
    bench.connect()
    bench.refused(lambda: bench.adapter.subscribe(["NO-SUCH-SYMBOL"], 0))


@_promise
def _trades_and_quotes_are_streamed(bench: Bench) -> None:
    bench.connect().adapter.subscribe([bench.symbol], 0)
    bench.control.tick(bench.symbol, 101.0)
    kinds = bench.adapter.capabilities.market_data
    if "trade" in kinds:
        bench.hear(lambda s: isinstance(s, Trade) and s.price == 101.0, "a trade")
    if "quote" in kinds:
        said = bench.hear(lambda s: isinstance(s, Quote) and s.symbol == bench.symbol, "a quote")
        assert isinstance(said, Quote)
        assert said.bid <= said.ask


@_promise
def _what_was_not_subscribed_to_is_not_streamed(bench: Bench) -> None:
    bench.connect().adapter.subscribe([bench.symbol], 0)
    bench.control.tick(bench.other, 101.0)
    bench.control.tick(bench.symbol, 102.0)
    bench.hear(lambda s: isinstance(s, Trade | Quote) and s.symbol == bench.symbol, "the market")
    assert not [s for s in bench.said if isinstance(s, Trade | Quote) and s.symbol == bench.other]


@_promise
def _subscribing_again_doubles_nothing(bench: Bench) -> None:
    bench.connect()
    for _ in range(2):
        bench.adapter.subscribe([bench.symbol], 0)
    bench.control.tick(bench.symbol, 103.0)
    bench.control.tick(bench.symbol, 104.0)
    bench.hear(lambda s: isinstance(s, Trade) and s.price == 104.0, "a trade")
    assert len([s for s in bench.said if isinstance(s, Trade) and s.price == 103.0]) == 1


@_promise
def _history_lies_within_its_bounds_in_order(bench: Bench) -> None:
    if not bench.connect().adapter.capabilities.history:
        return
    end = bench.adapter.time()
    start = end - 100 * bench.control.timeframe
    told = bench.adapter.past(bench.symbol, bench.control.timeframe, start, end)
    assert told.times == sorted(set(told.times))
    assert all(start < ts <= end for ts in told.times)
    assert len(told.times) == len(told.open) == len(told.close) == len(told.volume)
    assert all(low <= high for low, high in zip(told.low, told.high, strict=True))


@_alone
@_promise
def _history_of_an_unknown_symbol_is_refused(bench: Bench) -> None:
    bench.connect()
    ask = bench.adapter.past
    bench.refused(lambda: ask("NO-SUCH-SYMBOL", bench.control.timeframe, 0, bench.adapter.time()))


@_promise
def _no_bar_is_told_before_it_is_over(bench: Bench) -> None:
    bench.connect().adapter.subscribe([bench.symbol], bench.control.timeframe)
    bench.control.tick(bench.symbol, 100.0)
    now = bench.adapter.time()
    assert all(said.ts <= now for said in bench.said if isinstance(said, Bar))
