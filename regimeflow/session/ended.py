"""A session that has ended, read from its directory: everything can be looked at, nothing moves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from regimeflow.engine.desk import ACTIVE
from regimeflow.errors import SessionError, StrategyError
from regimeflow.journal import Position, Tail
from regimeflow.model.events import Adjusted, Fill, Input, Start
from regimeflow.model.ledger import Ledger
from regimeflow.model.market import Bar, Bars, Quote, Trade
from regimeflow.model.timeframe import iso
from regimeflow.session.companions import Account
from regimeflow.session.freeze import MANIFEST_NAME, Manifest, read_manifest, upgrade_name
from regimeflow.session.from_journal import FromJournal
from regimeflow.session.keeper import Keeper
from regimeflow.session.run_dir import accounts_of
from regimeflow.session.status import Status
from regimeflow.session.upgrade import UpgradeWish, as_begun, last_upgrade

_NAN = float("nan")


class Ended(FromJournal):
    """The work of a session that is over.

    Its account is folded from the journal; what shadow and twin had it left when it ended. Of one
    that died `regimeflow.drift` knows, which lives through the run again.

    Raises:
        SessionError: there is no run in the directory.
        JournalCorrupt: its journal was changed.
    """

    unharmed = True
    remark = ""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._keeper = Keeper()
        account = AccountFold()
        start: Start | None = None
        for _, event, outputs in Tail(run_dir).events():
            if isinstance(event, Start):
                start = event
            self._keeper.take(event, outputs)
            account.take(event)
        if start is None:
            raise SessionError(f"there is no run in {run_dir}")
        self.begin = start
        self._status = self._made(account, _venue_of(run_dir))

    def _made(self, account: AccountFold, venue: str) -> Status:
        keeper, begin = self._keeper, self.begin
        live = account.account(len(keeper.fold.fills))
        left = accounts_of(self._run_dir)
        if left is not None and (left.run, left.live) == (begin.run, live):
            shadow, twin = left.shadow, left.twin
        else:
            shadow = twin = Account(live.time, _NAN, _NAN, _NAN, {}, 0)
        failure = failure_of(keeper, begin)
        failed = "" if failure is None else str(failure)
        lost = "" if keeper.finished else "it ended without a word: start it again to take it up"
        return Status(
            begin.run,
            keeper.strategy or begin.strategy,
            venue,
            "stopped" if keeper.finished else "failed",
            keeper.state.state,
            keeper.why if keeper.state.state == ACTIVE else keeper.state.why,
            keeper.done,
            keeper.done,
            live,
            shadow,
            twin,
            sum(order.working for order in keeper.fold.orders.values()),
            failed or lost,
        )

    def status(self) -> Status:
        """Return what the session looked like at its end."""
        return self._status

    def failure(self) -> StrategyError | None:
        """Return what the strategy raised, or None."""
        return failure_of(self._keeper, self.begin)

    def broken_by(self) -> BaseException | None:
        """Return what broke the session, or None."""
        return None if self._keeper.finished else SessionError(self._status.error)

    def history(self) -> Keeper:
        """Return orders, fills and log."""
        return self._keeper

    def companion_fills(self, who: str) -> Sequence[Fill]:
        """Refuse: they are not written down."""
        raise SessionError(f"the {who} of an ended session is not kept: see regimeflow.drift")

    def command(self, name: str, why: str, who: str) -> None:
        """Refuse: nobody is there to obey."""
        if not self._keeper.finished:
            raise SessionError(
                f"nobody is there to {name}: the session died without a word, and orders of its "
                "own may still work; start it again to take it up"
            )
        raise SessionError(f"the session has ended: there is nothing to {name}")

    def asked(self) -> Start:
        """Return what the run would begin with now."""
        upgraded = last_upgrade(self._run_dir)
        return self.begin if upgraded is None else as_begun(self.begin, upgraded)

    def manifest(self) -> Manifest:
        """Return the manifest of what was last asked to run."""
        upgraded = last_upgrade(self._run_dir)
        name = MANIFEST_NAME if upgraded is None else upgrade_name(upgraded.frozen_sha256, ".json")
        return read_manifest(self._run_dir / name)

    def upgrade(self, wish: UpgradeWish) -> None:
        """Refuse: nobody is there to obey."""
        raise SessionError("the session has ended: there is nothing to upgrade")

    def ended(self, timeout_s: float) -> bool:
        """Return that it is over."""
        return True

    def flush(self) -> Position | None:
        """Everything is in the files."""
        return None

    def look(self) -> tuple[Status, Position | None]:
        """Return what the session looked like at its end; everything is in the files."""
        return self._status, None

    def release(self) -> None:
        """Nothing is held."""

    def forget(self) -> None:
        """Nothing is open."""


class AccountFold:
    """Money and holdings as a journal tells them."""

    def __init__(self) -> None:
        self._ledger: Ledger | None = None
        self._prices: dict[str, float] = {}
        self._booked: set[str] = set()
        self._seen = 0

    def take(self, event: Input) -> None:
        """Take in an event."""
        self._seen = event.seen
        if isinstance(event, Bars):
            self._prices.update((bar.symbol, bar.close) for bar in event.bars)
        elif isinstance(event, Bar):
            self._prices[event.symbol] = event.close
        elif isinstance(event, Trade):
            self._prices[event.symbol] = event.price
        elif isinstance(event, Quote):
            self._prices[event.symbol] = event.mid
        elif isinstance(event, Start):
            self._ledger = Ledger.of(event)
        elif isinstance(event, Fill | Adjusted) and self._ledger is not None:
            self._book(self._ledger, event)

    def _book(self, ledger: Ledger, event: Fill | Adjusted) -> None:
        if isinstance(event, Adjusted):
            ledger.adjust(event.symbol, event.qty, event.price, event.cash)
        elif event.execution_id not in self._booked:
            self._booked.add(event.execution_id)
            sign = 1.0 if event.side == "buy" else -1.0
            ledger.book(event.symbol, sign * event.qty, event.price, event.fee)

    def account(self, fills: int) -> Account:
        """Return money and holdings at the last prices."""
        ledger = self._ledger
        if ledger is None:
            raise SessionError("the journal does not begin with a start event")
        equity = ledger.equity(lambda symbol: self._prices.get(symbol, 0.0))
        held = dict(ledger.snapshot())
        return Account(self._seen, ledger.cash, equity, ledger.fees, held, fills)


def _venue_of(run_dir: Path) -> str:
    """Return what the run was on, in the manifest's words."""
    try:
        return msgspec.json.decode((run_dir / MANIFEST_NAME).read_bytes(), type=Manifest).venue
    except (OSError, msgspec.MsgspecError):
        return "a venue that its manifest does not name"


def failure_of(keeper: Keeper, begin: Start) -> StrategyError | None:
    """Return what the strategy raised, as the journal has it."""
    failed = keeper.failed
    if failed is None:
        return None
    where = f" of {failed.symbol}" if failed.symbol else ""
    return StrategyError(
        f"{keeper.strategy or begin.strategy} failed in {failed.callback}{where} at "
        f"{iso(failed.seen)}: {failed.error}",
        callback=failed.callback,
        symbol=failed.symbol or None,
        ts=failed.seen,
        trace=failed.trace,
    )
