"""What must hold after any fault, tested from outside: the venue's record against the journal.

The checker shares no books with either side. It reads what the venue wrote down in its own
process, every line it received included, and what the session wrote down, and counts anew.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from regimeflow.engine.reconcile import Books, Snapshot, reconcile
from regimeflow.errors import RegimeflowError
from regimeflow.journal import events
from regimeflow.model.events import (
    Adjusted,
    Denied,
    Fill,
    Input,
    OrderUpdate,
    Output,
    Replace,
    Resumed,
    Start,
    StateChanged,
    Submit,
    exits_of,
)
from regimeflow.model.models import Limits
from regimeflow.model.timeframe import NS_PER_MS, NS_PER_SECOND
from regimeflow.model.venue import Holding, Payment, VenueOrder
from regimeflow.sandbox.books import Row, read_books
from regimeflow.session.certify import certify, replay
from regimeflow.venues import loopback_wire as wire

_ZERO = Decimal(0)
_ENDS = frozenset({"canceled", "expired", "rejected"})
#: How long a line may be under way between two processes of one machine.
_UNDER_WAY_NS = 20 * NS_PER_MS
#: How far two clocks of one machine can be apart: nothing arrives before it leaves.
_APART_NS = NS_PER_MS


class Violation(NamedTuple):
    """Something that must not be.

    Attributes:
        invariant: name of what was broken.
        text: one sentence.
    """

    invariant: str
    text: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}"


def check(
    ledger_file: Path | str,
    run_dir: Path | str,
    limits: Limits | None = None,
    canaries: Sequence[str] = (),
    *,
    writes: bool = True,
    grace_ms: float = _UNDER_WAY_NS / NS_PER_MS,
) -> list[Violation]:
    """Return everything that must not be; an empty list is a pass.

    The session should have been stopped, or the venue quiet for two poll intervals: what it has not
    been told yet counts as a difference.

    Args:
        ledger_file: the venue's own record.
        run_dir: of the session.
        limits: what no order may break; those of the run without it.
        canaries: secrets that must be in no file of the run, in any spelling.
        writes: whether the session may write to the venue at all; False for paper and dry runs.
        grace_ms: how long a request that was decided before a halt may be under way after it.
    """
    try:
        case = _Case(Path(ledger_file), Path(run_dir), limits, tuple(canaries), writes, grace_ms)
    except RegimeflowError as error:
        return [Violation("the journal is whole", f"it cannot be read: {error}")]
    return [Violation(name, text) for name, look in INVARIANTS.items() for text in look(case)]


class Sent(NamedTuple):
    """An order as it came over the wire."""

    at: int
    order: Submit


class _Case:
    """Both sides' records, read once."""

    def __init__(
        self,
        ledger: Path,
        run_dir: Path,
        limits: Limits | None,
        canaries: tuple[str, ...],
        writes: bool,
        grace_ms: float,
    ) -> None:
        self.run_dir = run_dir
        self.canaries = canaries
        self.writes = writes
        self.grace_ns = int(grace_ms * NS_PER_MS)
        self.rows: list[Row] = read_books(ledger)
        self.recorded: list[tuple[int, Input, list[Output]]] = list(events(run_dir))
        start = self.recorded[0][1] if self.recorded else None
        self.start = start if isinstance(start, Start) else None
        self.run = self.start.run if self.start else ""
        self.limits = limits or (self.start.limits if self.start else Limits())
        self.submits: dict[str, Submit] = {}
        self.submit_ids: list[str] = []
        self.fills: dict[str, Fill] = {}
        #: Execution -> what was booked of it later: a commission that came late, or a correction.
        self.later: dict[str, list[Adjusted]] = {}
        self.told: dict[str, list[str]] = {}
        self._read_journal()
        self.wire: list[tuple[int, wire.Question]] = list(_questions(self.rows))
        self.sent = list(_sent(self.wire, self.rows))
        self.executions = _executions(self.rows)
        self.theirs = {f.execution_id: f for f in self.executions if f.order_id in self.submits}
        self.life = self._read_lives()
        self.overfilled = any(
            r.kind == "by_hand" and r.detail["what"] == "overfill" for r in self.rows
        )

    def _read_journal(self) -> None:
        for _, event, outputs in self.recorded:
            if isinstance(event, Fill):
                self.fills.setdefault(event.execution_id, event)
            elif isinstance(event, Adjusted) and event.execution_id:
                self.later.setdefault(event.execution_id, []).append(event)
            elif isinstance(event, OrderUpdate):
                self.told.setdefault(event.order_id, []).append(event.what)
            for output in outputs:
                if isinstance(output, Submit):
                    for request in (output, *exits_of(output)):
                        self.submit_ids.append(request.order_id)
                        self.submits[request.order_id] = request

    def _read_lives(self) -> dict[str, list[str]]:
        """Return what became of each order at the venue, in order."""
        lives: dict[str, list[str]] = {}
        for row in self.rows:
            if row.order_id and row.kind in _ENDS | {"accepted", "refused", "replaced"}:
                lives.setdefault(row.order_id, []).append(row.kind)
        return lives

    def filled(self, fills: Sequence[Fill]) -> dict[str, Decimal]:
        """Return units filled of each order."""
        sums: dict[str, Decimal] = {}
        for fill in fills:
            sums[fill.order_id] = sums.get(fill.order_id, _ZERO) + _exact(fill.executed)
        return sums

    def held(self) -> dict[str, Decimal]:
        """Return what the venue says is held at the end."""
        for row in reversed(self.rows):
            if row.kind == "books":
                return {symbol: Decimal(qty) for symbol, qty in row.detail["held"].items()}
        return {}


# ---------------------------------------------------------------- orders


def _once(case: _Case) -> Iterator[str]:
    """No order is requested or accepted twice."""
    for order_id, count in Counter(sent.order.order_id for sent in case.sent).items():
        if count > 1:
            yield f"order {order_id} was sent {count} times"
    for order_id, life in case.life.items():
        if life.count("accepted") > 1:
            yield f"order {order_id} was accepted {life.count('accepted')} times"


def _tracked(case: _Case) -> Iterator[str]:
    """Whatever reached the venue was in the journal before, and is what was decided."""
    for at, order in case.sent:
        written = case.submits.get(order.order_id)
        if written is None:
            yield f"order {order.order_id} reached the venue and is in no journal"
        elif written != order and not (order.seq == 0 and _terms(written) == _terms(order)):
            yield f"order {order.order_id} reached the venue otherwise than it was decided"
        elif written.seen > at + _APART_NS:
            yield f"order {order.order_id} reached the venue before it was decided"


def _nothing_invented(case: _Case) -> Iterator[str]:
    """Every execution that we booked took place, as it is written."""
    theirs = {fill.execution_id: fill for fill in case.executions}
    for name, ours in case.fills.items():
        there = theirs.get(name)
        if there is None:
            yield f"execution {name} was booked and never took place"
        elif name in case.later:
            if _moved(there) != _moved(ours, case.later[name]):
                yield f"execution {name} was booked otherwise than it took place, corrections too"
        elif any(getattr(there, field) != getattr(ours, field) for field in (*_FACTS, "kept")):
            yield f"execution {name} was booked otherwise than it took place"
    for order_id, whats in case.told.items():
        if "accepted" in whats and "accepted" not in case.life.get(order_id, ()):
            yield f"order {order_id} counts as accepted and never was"


def _moved(fill: Fill, later: Sequence[Adjusted] = ()) -> tuple[str, str, float, float]:
    """Return order, symbol, units and money that an execution moved in all."""
    signed = fill.qty if fill.side == "buy" else -fill.qty
    cash = -signed * fill.price - fill.fee + sum(event.cash for event in later)
    qty = signed + sum(event.qty for event in later)
    return fill.order_id, fill.symbol, round(qty, 9), round(cash, 6)


def _fills_exact(case: _Case) -> Iterator[str]:
    """Every execution of our orders is booked, and none fills more than was asked."""
    for name in case.theirs.keys() - case.fills.keys():
        yield f"execution {name} of order {case.theirs[name].order_id} was never booked"
    if case.overfilled:
        return
    for order_id, qty in case.filled(list(case.fills.values())).items():
        asked = case.submits.get(order_id)
        changed = "replaced" in case.life.get(order_id, ())
        if asked is not None and not changed and qty > _exact(asked.qty):
            yield f"order {order_id} has {qty} filled of {asked.qty:g}"


def _ends_agree(case: _Case) -> Iterator[str]:
    """No end is inferred: what we hold to be over is over at the venue, in the same way."""
    for order_id, whats in case.told.items():
        life = case.life.get(order_id, [])
        for what in _ENDS & set(whats):
            if what == "rejected" and "accepted" in life and "rejected" not in life:
                yield f"order {order_id} counts as rejected, and the venue had accepted it"
            elif what in ("canceled", "expired") and what not in life:
                yield f"order {order_id} counts as {what}, and the venue never said so"


def _none_open(case: _Case) -> Iterator[str]:
    """What is over at the venue is over here, and the other way round."""
    theirs = case.filled(list(case.theirs.values()))
    mine, never_sent = case.filled(list(case.fills.values())), _never_sent(case)
    for order_id, asked in case.submits.items():
        life = case.life.get(order_id, [])
        over_there = bool(_ENDS & set(life)) or "refused" in life or "accepted" not in life
        over_there = over_there or theirs.get(order_id, _ZERO) >= _exact(asked.qty)
        ours = case.told.get(order_id, [])
        over_here = bool((_ENDS | {"never_sent"}) & set(ours)) or order_id in never_sent
        over_here = over_here or mine.get(order_id, _ZERO) >= _exact(asked.qty)
        if "replaced" in life:
            continue
        if over_there and not over_here:
            yield f"order {order_id} is over at the venue and open here (told: {ours})"
        elif over_here and not over_there:
            yield f"order {order_id} is open at the venue and over here (told: {ours})"


def _never_sent(case: _Case) -> set[str]:
    return {
        name for _, event, _ in case.recorded if isinstance(event, Resumed)
        for name in event.never_sent
    }  # fmt: skip


# ---------------------------------------------------------------- units and money


def _positions(case: _Case) -> Iterator[str]:
    """Positions come from fills alone, and are the venue's once all is told."""
    sums: dict[str, Decimal] = {}
    for fill in case.fills.values():
        signed = _exact(fill.qty) if fill.side == "buy" else -_exact(fill.qty)
        sums[fill.symbol] = sums.get(fill.symbol, _ZERO) + signed
    for _, event, _ in case.recorded:
        if isinstance(event, Adjusted):
            sums[event.symbol] = sums.get(event.symbol, _ZERO) + _exact(event.qty)
    adjusted = any(
        isinstance(event, Adjusted) and not event.is_cost and not event.execution_id
        for _, event, _ in case.recorded
    )
    foreign: dict[str, Decimal] = {}
    for fill in case.executions:
        if fill.order_id not in case.submits and not adjusted:
            signed = _exact(fill.qty) if fill.side == "buy" else -_exact(fill.qty)
            foreign[fill.symbol] = foreign.get(fill.symbol, _ZERO) + signed
    held = case.held()
    for symbol in sorted({*sums, *held}):
        ours = sums.get(symbol, _ZERO) + foreign.get(symbol, _ZERO)
        if ours != held.get(symbol, _ZERO):
            yield f"{ours} {symbol} by our fills, {held.get(symbol, _ZERO)} on the account"


def _money(case: _Case) -> Iterator[str]:
    """Money is what it was, less what was bought, plus what was sold, less the fees."""
    cash = opened = None
    spent: dict[str, Decimal] = {}
    sizes: dict[str, Decimal] = {}
    for row in case.rows:
        if row.kind == "opened":
            cash = opened = Decimal(row.detail["cash"])
            sizes = {r["symbol"]: _exact(r.get("multiplier", 1)) for r in row.detail["rules"]}
        elif cash is not None and row.kind in ("fill", "corrected"):
            fill = _fill(row)
            cash += spent.get(fill.execution_id, _ZERO)
            sign = 1 if fill.side == "buy" else -1
            units = sign * _exact(fill.qty) * sizes.get(fill.symbol, Decimal(1))
            spent[fill.execution_id] = units * _exact(fill.price) + _exact(fill.fee)
            cash -= spent[fill.execution_id]
        elif cash is not None and row.kind == "payment":
            cash += _exact(_payment(row).cash)
        elif cash is not None and row.kind == "transfer":
            cash += _exact(row.detail)
        elif cash is not None and row.kind == "books" and cash != Decimal(row.detail["cash"]):
            yield f"the venue has {row.detail['cash']} of cash where {cash} should be"
            return
    if opened is None:
        yield "the venue's record does not say what it began with"


def _payments_exact(case: _Case) -> Iterator[str]:
    """What was paid for being held since the run began is booked once, as it was paid."""
    theirs = {p.payment_id: p for p in map(_payment, _rows_of(case, "payment"))}
    by_hand = any(fill.order_id not in case.submits for fill in case.executions)
    booked: set[str] = set()
    for _, event, _ in case.recorded:
        if not isinstance(event, Adjusted) or not event.payment_id:
            continue
        there = theirs.get(event.payment_id)
        if event.payment_id in booked:
            yield f"payment {event.payment_id} was booked twice"
        elif there is None:
            yield f"payment {event.payment_id} was booked and never made"
        elif (there.symbol, there.ts // NS_PER_MS) != (event.symbol, event.ts // NS_PER_MS):
            yield f"payment {event.payment_id} was booked otherwise than it was made"
        elif there.cash != event.cash and not by_hand:  # else a part of it is not ours
            yield f"payment {event.payment_id} of {there.cash} was booked as {event.cash}"
        booked.add(event.payment_id)
    began = case.start.seen if case.start else 0
    ours = case.start.symbols if case.start else ()
    for name in theirs.keys() - booked:
        if theirs[name].ts >= began and theirs[name].symbol in ours:
            yield f"payment {name} was never booked"


def _rows_of(case: _Case, kind: str) -> list[Row]:
    return [row for row in case.rows if row.kind == kind]


# ---------------------------------------------------------------- limits, rate, kill


def _limits(case: _Case) -> Iterator[str]:
    """With the worst that could come of all open orders, every order is within the limits."""
    limits = case.limits
    held: dict[str, float] = {}
    open_: dict[str, tuple[str, float, float]] = {}  # order -> symbol, sign, units left
    for row in case.rows:
        if row.kind == "fill":
            fill = _fill(row)
            sign = 1.0 if fill.side == "buy" else -1.0
            if fill.order_id not in case.submits:
                continue
            held[fill.symbol] = held.get(fill.symbol, 0.0) + sign * fill.qty
            if row.order_id in open_:
                symbol, sign, left = open_[row.order_id]
                open_[row.order_id] = (symbol, sign, left - fill.executed)
        elif row.kind in _ENDS or row.kind == "refused":
            open_.pop(row.order_id, None)
        elif row.kind == "submit":
            order = msgspec.convert(row.detail, Submit)
            before = dict(held)
            sign = 1.0 if order.side == "buy" else -1.0
            open_[order.order_id] = (order.symbol, sign, order.qty)
            yield from _worst(order, sign, before, open_, limits)


def _worst(
    order: Submit,
    sign: float,
    held: dict[str, float],
    open_: dict[str, tuple[str, float, float]],
    limits: Limits,
) -> Iterator[str]:
    alike = sum(q for s, way, q in open_.values() if s == order.symbol and way == sign)
    worst = sign * held.get(order.symbol, 0.0) + alike
    if limits.max_position is not None and worst > limits.max_position + 1e-9:
        yield f"with order {order.order_id} the position of {order.symbol} could become {worst:g}"
    price = order.limit or order.stop
    if limits.max_notional is not None and price and order.qty * price > limits.max_notional + 0.01:
        yield f"order {order.order_id} is worth {order.qty * price:.2f}"
    count = sum(left > 0.0 for _, _, left in open_.values())
    reduces = sign * held.get(order.symbol, 0.0) < 0.0
    if limits.max_open_orders is not None and count > limits.max_open_orders and not reduces:
        yield f"with order {order.order_id} there were {count} working orders"
    if limits.symbols is not None and order.symbol not in limits.symbols:
        yield f"order {order.order_id} is of {order.symbol}, which may not be traded"


def _rate(case: _Case) -> Iterator[str]:
    """In no window of a second or a minute more orders are decided or arrive than may leave.

    What arrives may have been held up on its way, and meet there what left after it: so windows at
    the venue are shorter by the time that a line may be under way, and say nothing where nothing
    is left of them.
    """
    arrived = list(_arrived(case))
    for name, length_ns, most in (
        ("second", NS_PER_SECOND, case.limits.max_orders_per_second),
        ("minute", 60 * NS_PER_SECOND, case.limits.max_orders_per_minute),
    ):
        if most is not None:
            for order_id in _too_fast(_decided(case), length_ns, most):
                yield f"order {order_id} was decided as one too many within a {name}"
            at_venue_ns = length_ns - case.grace_ns
            for order_id in _too_fast(arrived, at_venue_ns, most) if at_venue_ns > 0 else ():
                yield f"order {order_id} arrived as one too many within a {name}"


def _decided(case: _Case) -> Iterator[tuple[int, str]]:
    for _, _, outputs in case.recorded:
        for output in outputs:
            if isinstance(output, Submit | Replace):
                yield output.seen, output.order_id


def _arrived(case: _Case) -> Iterator[tuple[int, str]]:
    for at, order in case.sent:
        yield at, order.order_id
    for at, question in case.wire:
        if isinstance(question, wire.ReplaceOrder):
            yield at, question.request.order_id


def _too_fast(times: Iterable[tuple[int, str]], length_ns: int, most: int) -> Iterator[str]:
    window: deque[int] = deque()
    for at, order_id in sorted(times):
        window.append(at)
        while window[0] <= at - length_ns:
            window.popleft()
        # Entries and exits have a lane each.
        if len(window) > 2 * most:
            yield order_id


def _killed(case: _Case) -> Iterator[str]:
    """After a halt no order is decided, none leaves, and what worked is canceled or stated."""
    spans: list[tuple[int, int]] = []
    halted_at = 0
    for seq, event, outputs in case.recorded:
        for output in outputs:
            if isinstance(output, StateChanged) and not output.symbol:
                if output.after == "halted":
                    halted_at = halted_at or event.seen
                elif halted_at:
                    spans.append((halted_at, event.seen))
                    halted_at = 0
            elif halted_at and isinstance(output, Submit | Replace):
                yield f"event {seq}: order {output.order_id} was decided while halted"
    if halted_at:
        spans.append((halted_at, 2**63))
    for at, order in case.sent:
        for since, until in spans:
            if since + case.grace_ns < at < until:
                late_ms = (at - since) / NS_PER_MS
                yield f"order {order.order_id} left {late_ms:.0f} ms after the halt"


def _mode(case: _Case) -> Iterator[str]:
    """A session that may not write does not."""
    for _, question in case.wire if not case.writes else ():
        if isinstance(question, wire.SubmitOrder | wire.CancelOrder | wire.ReplaceOrder):
            yield f"a session that may not write sent a {type(question).__name__}"


def _names(case: _Case) -> Iterator[str]:
    """Client order ids are never used twice, and every venue can take them."""
    for order_id, count in Counter(case.submit_ids).items():
        if count > 1:
            yield f"order id {order_id} was given {count} times"
        if len(order_id) > 36 or not order_id.isascii() or not order_id.startswith(case.run):
            yield f"order id {order_id!r} is one that not every venue takes"


# ---------------------------------------------------------------- replay, fix-point, files


def _comes_out_again(case: _Case) -> Iterator[str]:
    """The journal alone leads to the same decisions."""
    certificate = certify(case.run_dir)
    if not certificate.identical:
        yield f"{certificate.divergence}"


def _fix_point(case: _Case) -> Iterator[str]:
    """One more comparison of the books says nothing new."""
    desk = replay(case.run_dir).desk
    theirs = case.filled(list(case.theirs.values()))
    shown = [
        _shown(case, name, theirs) for name, life in case.life.items()
        if "accepted" in life and name in case.submits and "replaced" not in life
    ]  # fmt: skip
    working = [o for group in desk.working.values() for o in group.values()]
    books = Books(
        run=case.run,
        orders=desk.orders,
        working=working,
        venue_ids=desk.venue_ids,
        executions=desk.executions,
        held=desk.ledger.snapshot(),
        foreign=None,
        heard={},
        lots={symbol: rules.lot for symbol, rules in desk.instruments.items()},
    )
    snapshot = Snapshot(
        asked_at=2**62,
        working=[row for row in shown if row.status == "open"],
        looked_up=shown,
        fills=[fill for fill in case.executions if fill.order_id in case.submits],
        positions=[Holding(symbol, float(qty)) for symbol, qty in case.held().items()],
    )
    found = reconcile(books, snapshot)
    for event in found.events:
        yield f"one more look tells something new: {event}"
    for name in (*found.look_up, *found.incomplete):
        yield f"one more look leaves a question about order {name}"


def _shown(case: _Case, name: str, theirs: dict[str, Decimal]) -> VenueOrder:
    order, life = case.submits[name], case.life[name]
    filled = float(theirs.get(name, _ZERO))
    ends = [what for what in life if what in _ENDS]
    status = ends[-1] if ends else "filled" if filled >= order.qty else "open"
    return VenueOrder(
        name, "", order.symbol, order.side, order.qty, filled, status,
        2**61, order.limit, order.stop,
    )  # fmt: skip


def _audit(case: _Case) -> Iterator[str]:
    """Every order and every denial is in the audit log, where there is one."""
    path = case.run_dir / "audit.log"
    if not path.exists():
        return
    text = path.read_text()
    for _, _, outputs in case.recorded:
        for output in outputs:
            if isinstance(output, Submit | Denied) and output.order_id not in text:
                yield f"order {output.order_id} is not in the audit log"


def _secrets(case: _Case) -> Iterator[str]:
    """No secret is in any file, however it is spelled."""
    spelled = {canary: _spellings(canary) for canary in case.canaries}
    for path in sorted(case.run_dir.rglob("*")) if spelled else ():
        content = path.read_bytes() if path.is_file() else b""
        for canary, forms in spelled.items():
            if any(form in content for form in forms):
                yield f"a secret of {len(canary)} characters is in {path.name}"


def _spellings(secret: str) -> set[bytes]:
    raw = secret.encode()
    coded = base64.b64encode(raw).rstrip(b"=")
    texts = (urllib.parse.quote(secret, safe=""), json.dumps(secret)[1:-1], raw.hex())
    return {raw, coded, base64.urlsafe_b64encode(raw).rstrip(b"="), *(t.encode() for t in texts)}


# ---------------------------------------------------------------- reading


def _sent(asked: Sequence[tuple[int, wire.Question]], rows: Sequence[Row]) -> Iterator[Sent]:
    """Yield the orders that came over the wire, in whatever language it speaks."""
    if asked:
        for at, question in asked:
            if isinstance(question, wire.SubmitOrder):
                yield Sent(at, question.order)
        return
    for row in rows:
        if row.kind == "submit":
            yield Sent(row.at, msgspec.convert(row.detail, Submit))


def _questions(rows: Sequence[Row]) -> Iterator[tuple[int, wire.Question]]:
    for row in rows:
        if row.kind == "bytes" and row.detail["role"] == wire.REQUESTS:
            try:
                text = row.detail.get("means") or row.detail["text"]
                yield row.at, wire.decode_ask(text.encode()).question
            except msgspec.MsgspecError:
                continue  # cut off on its way: the venue could not read it either


def _terms(order: Submit) -> tuple[Any, ...]:
    """Return what every protocol carries of an order; most know nothing of our events."""
    return tuple(getattr(order, name) for name in _CARRIED)


def _executions(rows: Sequence[Row]) -> list[Fill]:
    """Return the executions as they came out, corrections too."""
    found: dict[str, Fill] = {}
    for row in rows:
        if row.kind in ("fill", "corrected"):
            fill = _fill(row)
            found[fill.execution_id] = fill
    return list(found.values())


def _fill(row: Row) -> Fill:
    return msgspec.convert(row.detail, Fill)


def _payment(row: Row) -> Payment:
    return msgspec.convert(row.detail, Payment)


def _exact(number: Any) -> Decimal:
    return Decimal(str(number))


_CARRIED = (
    "order_id", "symbol", "side", "qty", "type", "limit", "stop", "tif", "take_profit", "stop_loss"
)  # fmt: skip
_FACTS = ("order_id", "symbol", "side", "qty", "price", "fee")
#: What must hold -> what looks for a breach of it.
INVARIANTS: dict[str, Callable[[_Case], Iterator[str]]] = {
    "at most once": _once,
    "nothing untracked": _tracked,
    "nothing invented": _nothing_invented,
    "fills exact": _fills_exact,
    "no end inferred": _ends_agree,
    "nothing left open": _none_open,
    "positions are the venue's": _positions,
    "money is conserved": _money,
    "payments exact": _payments_exact,
    "limits held": _limits,
    "rate held": _rate,
    "a halt holds": _killed,
    "mode held": _mode,
    "names are unique": _names,
    "the journal replays": _comes_out_again,
    "comparing is a fix-point": _fix_point,
    "the audit is complete": _audit,
    "no secret leaks": _secrets,
}
