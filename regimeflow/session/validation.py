"""``regimeflow validate``: one small order through the whole of a session, on the configured venue.

It is a session like any other, with the limits of the configuration, a journal and a certificate;
only its strategy is a fixed one that sends the least that proves something.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from regimeflow.engine.context import Context
from regimeflow.engine.strategy import Strategy
from regimeflow.errors import ConfigError, RegimeflowError, did_you_mean
from regimeflow.journal import events
from regimeflow.model.events import Account, Fill, OrderUpdate, Reconciled, Start
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.model.order import OrderHandle, Status
from regimeflow.session import launch
from regimeflow.session.brokers import venue_of
from regimeflow.session.certify import certify
from regimeflow.session.check import Checkup
from regimeflow.session.doctor import ask_venue
from regimeflow.session.live import LiveSession
from regimeflow.session.real_money import Finding, is_real_money
from regimeflow.session.settings import Settings

CANCEL, FILL = "submit_cancel_reconcile", "fill_reconcile"
MODES = (CANCEL, FILL)
#: How far below the market an order that shall not fill is placed, as a share of the price.
_BELOW = 0.10
#: Room above the venue's smallest order: the price may fall before it is checked there.
_ROOM = 1.2
_POLL_S = 0.05
_OVER = frozenset({Status.DENIED, Status.FILLED, Status.CANCELED, Status.REJECTED, Status.EXPIRED})


class SmallOrder(Strategy):
    """Sends one order that cannot fill and cancels it, or buys a little and sells it again.

    Attributes:
        mode: of `MODES`.
        quantity: units; 0 for the smallest order that the venue takes.
        limit_price: of the order that is canceled; 0 for a tenth below the market.
    """

    history_depth = 1
    mode: str = CANCEL
    quantity: float = 0.0
    limit_price: float = 0.0

    def initialize(self, ctx: Context) -> None:
        """Nothing is sent yet."""
        self.sent = ""
        self.sold = False
        self.asked = False

    def on_quote(self, ctx: Context, quote: Quote) -> None:
        """Begin with the first price that is there."""
        self._begin(ctx, quote.symbol, (quote.bid + quote.ask) / 2)

    def on_tick(self, ctx: Context, trade: Trade) -> None:
        """Begin with the first price that is there."""
        self._begin(ctx, trade.symbol, trade.price)

    def on_bar(self, ctx: Context, bar: Bar) -> None:
        """Begin with the first price that is there."""
        self._begin(ctx, bar.symbol, bar.close)

    def _begin(self, ctx: Context, symbol: str, price: float) -> None:
        if self.sent:
            return
        rules = ctx.instrument(symbol)
        if self.mode == FILL:
            qty = self.quantity or least(rules, price)
            self.sent = str(ctx.buy(symbol, qty).id)
            return
        limit = self.limit_price or rules.round_price(price * (1.0 - _BELOW), "buy")
        qty = self.quantity or least(rules, limit)
        self.sent = str(ctx.buy(symbol, qty, limit=limit).id)

    def on_order_update(self, ctx: Context, order: OrderHandle) -> None:
        """Cancel what rests; sell what was bought."""
        if order.id != self.sent:
            return
        if self.mode == CANCEL and order.status == Status.OPEN and not self.asked:
            self.asked = True
            ctx.cancel(order)
        self._sell(ctx, order)

    def on_fill(self, ctx: Context, fill: Fill) -> None:
        """Sell what was bought, once all of it is there."""
        if fill.order_id == self.sent and self.mode == FILL and not ctx.orders(fill.symbol):
            self._leave(ctx, fill.symbol)

    def _sell(self, ctx: Context, order: OrderHandle) -> None:
        if self.mode == FILL and order.status == Status.FILLED:
            self._leave(ctx, str(order.symbol))

    def _leave(self, ctx: Context, symbol: str) -> None:
        held = ctx.position(symbol)
        if held > 0 and not self.sold:
            self.sold = True
            ctx.sell(symbol, held, reduce_only=True)


def least(rules: Instrument, price: float) -> float:
    """Return the smallest quantity that a venue takes at a price, with some room.

    >>> least(Instrument("BTC/USDT", lot=0.001, min_notional=10.0), 50_000.0)
    0.001
    >>> least(Instrument("DOGE/USDT", lot=1.0, min_notional=10.0), 0.1)
    120.0
    """
    wanted = max(rules.min_qty, rules.lot, _ROOM * rules.min_notional / price / rules.multiplier)
    return rules.round_qty(math.ceil(wanted / rules.lot - 1e-9) * rules.lot)


def validate(
    settings: Settings,
    mode: str,
    *,
    quantity: float | None = None,
    limit_price: float | None = None,
    timeout_s: float = 60.0,
    live_money: bool = False,
) -> Checkup:
    """Send one small order on the configured venue, and return what was found.

    The first of ``live.symbols`` is traded. ``submit_cancel_reconcile`` rests an order below the
    market and cancels it; ``fill_reconcile`` buys at the market and sells again. Both then compare
    the books with the venue's, and certify the run.

    Args:
        settings: the configuration.
        mode: one of `MODES`.
        quantity: units; the smallest order that the venue takes without it.
        limit_price: of the order that is canceled; a tenth below the market without it.
        timeout_s: how long every step may take.
        live_money: whether somebody has said in so many words that it may be real money.

    Raises:
        ConfigError: an argument makes no sense, or the configuration does not.
    """
    _check(mode, quantity, limit_price, timeout_s)
    launch.check_consent(settings, live_money)
    launch.check(settings, consent=live_money or settings.config.live.dry_run)
    venue = venue_of(settings, launch.model_of(settings.config))
    if not hasattr(venue, "capabilities"):
        raise ConfigError(f"{venue!r} plays data: there is no venue to be validated")
    asked = ask_venue(settings, venue)
    if not all(finding.ok for finding in asked):
        return Checkup(asked)
    strategy = SmallOrder(mode=mode, quantity=quantity or 0.0, limit_price=limit_price or 0.0)
    session = _session(settings, venue, strategy)
    return Checkup([*asked, *_run(session, mode, timeout_s)])


def _check(mode: str, quantity: float | None, limit: float | None, timeout_s: float) -> None:
    if mode not in MODES:
        raise ConfigError(
            f"mode must be one of {', '.join(MODES)}, not {mode!r}.{did_you_mean(mode, MODES)}"
        )
    if limit is not None and mode == FILL:
        raise ConfigError(f"a limit price is for {CANCEL}: {FILL} buys at the market")
    for name, value in (("quantity", quantity), ("limit price", limit), ("timeout", timeout_s)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ConfigError(f"the {name} must be a positive number, got {value!r}")


def _session(settings: Settings, venue: Any, strategy: SmallOrder) -> LiveSession:
    config = settings.config
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    named = msgspec.structs.replace(config.live, run=f"validate-{strategy.mode}-{now}")
    ticks = {"quote", "trade"} & venue.capabilities.market_data
    session = LiveSession(
        strategy,
        venue,
        symbols=config.live.symbols[:1],
        timeframe=None if ticks else config.live.timeframe,
        limits=launch.limits_of(config, venue),
        run_dir=launch.run_dir_of(msgspec.structs.replace(config, live=named), ""),
        cash=config.live.cash,
        warmup=0,
        intervals=launch.intervals_of(config),
        redact=settings.redactor.text,
    )
    if is_real_money(venue) and config.live.account is not None:
        session.arm(config.live.account)
    return session


def _run(session: LiveSession, mode: str, timeout_s: float) -> Iterator[Finding]:
    wanted = 1 if mode == CANCEL else 2
    try:
        session.start()
        until = time.monotonic() + timeout_s
        while not _is_through(session, wanted) and time.monotonic() < until:
            session.wait(timeout_s=_POLL_S, progress=False)
        if session.status.phase == "running":
            session.stop(timeout_s=timeout_s)
    except RegimeflowError as error:
        yield Finding("session", False, str(error))
    if session.failure is not None:
        yield Finding("session", False, str(session.failure))
    yield from _orders(session, mode, wanted, timeout_s)
    yield from _recorded(session)


def _is_through(session: LiveSession, wanted: int) -> bool:
    if session.status.phase != "running" or session.failure is not None:
        return True
    statuses = _rows(session, "status")
    over = [status for status in statuses if status in _OVER]
    return len(over) >= wanted or bool(set(over) & {Status.DENIED, Status.REJECTED})


def _rows(session: LiveSession, name: str) -> list[Any]:
    column: list[Any] = session.orders[name].tolist()
    return column


def _orders(session: LiveSession, mode: str, wanted: int, timeout_s: float) -> Iterator[Finding]:
    frame = session.orders
    expected = Status.CANCELED if mode == CANCEL else Status.FILLED
    for row in frame.to_dict("records"):
        reason = f" ({row['reason']})" if row["reason"] else ""
        at = f" at {row['limit']:g}" if row["limit"] == row["limit"] else ""
        text = f"{row['side']} {row['qty']:g} {row['symbol']}{at}: {row['status']}{reason}"
        if row["filled"]:
            text += f", {row['filled']:g} at {row['average_price']:g}, fees {row['fees']:g}"
        yield Finding("order", row["status"] == expected, text)
    if len(frame) < wanted:
        what = "no price came, or the books did not agree" if not len(frame) else "it did not fill"
        yield Finding("order", False, f"{len(frame)} of {wanted} sent in {timeout_s:g} s: {what}")


def _recorded(session: LiveSession) -> Iterator[Finding]:
    """Yield what the journal says: the last comparison, and whether the run can be repeated."""
    if not session.run_dir.exists():
        return
    lots: dict[str, float] = {}
    verdict: Reconciled | None = None
    asked = False  # whether the books were asked for after the last that happened to an order
    for _, event, _ in events(session.run_dir):
        if isinstance(event, Start):
            lots = {rules.symbol: rules.lot for rules in event.instruments}
        if isinstance(event, Reconciled):
            verdict = event  # told again only where it is another
        if isinstance(event, OrderUpdate | Fill):
            asked = False
        elif isinstance(event, Account | Reconciled):
            asked = True
    yield _position(session.positions, lots)
    why = "" if asked and verdict is not None else "the books were not compared"
    if verdict is not None and not (verdict.ok and not verdict.unmatched):
        why = verdict.why or f"{', '.join(verdict.unmatched)} is not explained"
    yield Finding("reconcile", not why, why or "the venue's books and ours agree")
    certificate = certify(session.run_dir)
    yield Finding(
        "certificate",
        certificate.identical,
        f"{certificate.events:,} events, {'identical' if certificate.identical else 'different'}: "
        f"{session.run_dir}",
    )


def _position(held: dict[str, float], lots: dict[str, float]) -> Finding:
    """Return whether anything is left that could be sold; a fee can leave less than a lot."""
    left = {symbol: qty for symbol, qty in held.items() if abs(qty) >= lots.get(symbol, 0.0)}
    dust = {symbol: qty for symbol, qty in held.items() if qty and symbol not in left}
    if any(left.values()):
        text = ", ".join(f"{qty:g} {symbol}" for symbol, qty in left.items())
        return Finding("position", False, f"{text} is left")
    text = ", ".join(f"{qty:g} {symbol}" for symbol, qty in dust.items())
    return Finding("position", True, f"{text} is left, less than a lot" if dust else "none is left")
