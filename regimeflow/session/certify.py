"""Proof that a recorded run decided as its strategy does.

The strategy is run again on the recorded inputs, and each decision compared with the recorded one:
requests, denials and changes of the trading state.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from regimeflow.data.progress import Progress
from regimeflow.engine.engine import Engine
from regimeflow.engine.strategy import Strategy, as_strategy
from regimeflow.errors import JournalError
from regimeflow.journal import events
from regimeflow.model.events import (
    Cancel,
    Denied,
    Input,
    Output,
    Replace,
    Resumed,
    SetTimer,
    Start,
    StateChanged,
    StrategyChanged,
    Submit,
)
from regimeflow.model.text import escape
from regimeflow.model.timeframe import iso
from regimeflow.session import freeze
from regimeflow.session.backtest import plain_params
from regimeflow.session.companions import engine_of
from regimeflow.session.replayed import decisions
from regimeflow.session.source import source_hash, source_of


class Divergence(msgspec.Struct, frozen=True):
    """The first event at which live and replay part.

    Attributes:
        seq, time: of the event; time in UTC nanoseconds.
        event: what it was, in words.
        live, replayed: the decision then and now, in words; "nothing" where there was none.
        cause: why, where it can be named.
    """

    seq: int
    time: int
    event: str
    live: str
    replayed: str
    cause: str


class Certificate(msgspec.Struct, frozen=True):
    """The verdict on a recorded run.

    Attributes:
        identical: whether every decision is the recorded one.
        events: how many events were replayed.
        digest: sha256 over orders, positions, cash and trading state after the last of them.
        divergence: the first difference, or None.
        run, strategy: what was certified.
        decisions: how many decisions were compared.
    """

    identical: bool
    events: int
    digest: str
    divergence: Divergence | None
    run: str
    strategy: str
    decisions: int

    def __str__(self) -> str:
        if self.identical:
            return (
                f"IDENTICAL ({self.events:,} events, {self.decisions:,} decisions, "
                f"state {self.digest[:16]})"
            )
        d = self.divergence
        assert d is not None
        return (
            f"DIFFERENT at event {d.seq:,} ({iso(d.time)}, {d.event})\n"
            f"  live:     {d.live}\n"
            f"  replayed: {d.replayed}\n"
            f"  cause:    {d.cause}"
        )

    def __repr__(self) -> str:
        return f"<Certificate {self.strategy} {str(self).splitlines()[0]}>"

    def _repr_html_(self) -> str:
        head = f"<b>{escape(self.strategy)}</b>, run {escape(self.run)}"
        style = (
            "border:1px solid rgba(128,128,128,.35);"
            "border-radius:4px;padding:.6em 1em;display:inline-block;max-width:60em"
        )
        if self.identical:
            body = (
                "<div style='font-size:1.4em;color:rgb(0,130,200)'>"
                "✔ IDENTICAL</div>"
                f"<div>{self.events:,} events, {self.decisions:,} decisions, each as recorded</div>"
                f"<div>state digest <code>{self.digest[:32]}</code></div>"
            )
        else:
            d = self.divergence
            assert d is not None
            rows = "".join(
                f"<tr><th style='text-align:left;vertical-align:top;padding-right:1em'>{name}</th>"
                f"<td style='text-align:left'>{escape(text)}</td></tr>"
                for name, text in (
                    ("event", f"{d.seq:,}, {d.event}, {iso(d.time)}"),
                    ("live", d.live),
                    ("replayed", d.replayed),
                    ("cause", d.cause),
                )
            )
            body = (
                "<div style='font-size:1.4em;color:rgb(225,105,15)'>✘ DIFFERENT</div>"
                f"<table style='margin:.3em 0 0'><tbody>{rows}</tbody></table>"
            )
        return f"<div style='{style}'>{head}{body}</div>"


def certify(
    run_dir: str | Path, *, strategy: Any = None, progress: bool | None = None
) -> Certificate:
    """Replay a recorded run and return whether each decision is the recorded one.

    Args:
        run_dir: the run's directory.
        strategy: what to replay, up to the first upgrade of the run; the one frozen with the run
            without it. From each upgrade on, the one frozen then. That is code, so it is loaded
            only from your own files, and only if it is the one the verified journal names.
        progress: shows a bar or not; None where it takes long.

    Raises:
        JournalCorrupt: a line of the journal was altered, swapped or removed.
        SessionError: the frozen strategy is missing or not to be trusted.
    """
    replayed = _Replay(Path(run_dir), strategy)
    replayed.go(progress)
    return replayed.certificate()


def replay(run_dir: str | Path, *, strategy: Any = None, progress: bool | None = None) -> Engine:
    """Run a strategy on recorded inputs and return the engine as it stood at the end.

    For looking around: positions, orders and the strategy's own attributes, as they were. What the
    strategy decides differently does not change what it is told; see `certify` for the comparison.
    """
    replayed = _Replay(Path(run_dir), strategy)
    replayed.go(progress, to_the_end=True)
    return replayed.engine


class _Replay:
    """A second engine on recorded inputs."""

    def __init__(self, run_dir: Path, strategy: Any) -> None:
        self._run_dir = run_dir
        self._given = strategy
        self._stream = events(run_dir)
        first = next(self._stream, None)
        if first is None or not isinstance(first[1], Start):
            raise JournalError(
                f"{run_dir} does not begin with a start event: it cannot be replayed"
            )
        self._first = first
        self.start: Start = first[1]
        self.strategy = self._load()
        load = functools.partial(freeze.load_upgrade, run_dir)
        self.engine = engine_of(self.strategy, self.start, load)
        self._params = plain_params(self.strategy)
        self._divergence: Divergence | None = None
        self._decisions = 0
        self._count = 0
        self._cut_short: tuple[int, Input, list[Output], list[Output]] | None = None

    def _load(self) -> Strategy:
        if self._given is None:
            return freeze.load_frozen(self._run_dir, self.start.frozen_sha256)
        # A copy of its own, as for every engine: what is replayed must not change what is shown.
        return freeze.thaw(freeze.freeze(as_strategy(self._given)))

    def go(self, progress: bool | None, *, to_the_end: bool = False) -> None:
        """Step through the recorded events, to the first difference or to the end."""
        with Progress(progress, 0, "certify") as shown:
            self._take(*self._first)
            for seq, event, recorded in self._stream:
                self._take(seq, event, recorded)
                if self._divergence is not None and not to_the_end:
                    return
                if not self._count % 10_000:
                    shown.to(self._count)
            if self._cut_short is not None and not to_the_end:
                self._differs(*self._cut_short)

    def _take(self, seq: int, event: Input, recorded: Sequence[Output]) -> None:
        if self._cut_short is not None:
            if not isinstance(event, Resumed):
                self._differs(*self._cut_short)
            self._cut_short = None
        outputs = self.engine.step(event)
        self._count += 1
        if not recorded and not outputs:
            return
        live, now = decisions(recorded), decisions(outputs)
        self._decisions += len(live)
        if live == now:
            return
        if now[: len(live)] == live:
            # The process may have ended here, before the rest was written down: a resume follows.
            self._cut_short = (seq, event, live, now)
        else:
            self._differs(seq, event, live, now)

    def _differs(self, seq: int, event: Input, live: list[Output], now: list[Output]) -> None:
        if self._divergence is None:
            self._divergence = self._difference(seq, event, live, now)

    def _difference(
        self, seq: int, event: Input, live: list[Output], now: list[Output]
    ) -> Divergence:
        for place in range(max(len(live), len(now))):
            then = live[place] if place < len(live) else None
            again = now[place] if place < len(now) else None
            if then != again:
                break
        return Divergence(seq, event.ts, _called(event), _told(then), _told(again), self._cause())

    def _cause(self) -> str:
        """Name why the decisions differ: the first of the known causes that applies."""
        if self.engine.strategy is not self.strategy:
            return self._cause_in(self.engine.strategy)  # frozen, so it is the recorded one
        params = [
            f"{name} was {self.start.params.get(name)!r} and is {self._params.get(name)!r}"
            for name in sorted({*self.start.params, *self._params})
            if self.start.params.get(name) != self._params.get(name)
        ]
        if params:
            return f"parameter {', '.join(params)}"
        manifest = self._manifest()
        if (
            self._given is not None
            and source_hash(as_strategy(self._given)) != self.start.source_sha256
        ):
            return (
                f"source: the strategy's code is not the recorded one{self._first_change(manifest)}"
            )
        if manifest is not None and self._given is not None:
            then, here = manifest.globals, freeze.globals_read(as_strategy(self._given))
            changed = [
                f"{name} was {then.get(name, 'absent')} and is {here.get(name, 'absent')}"
                for name in sorted({*then, *here})
                if then.get(name) != here.get(name)
            ]
            if changed:
                return f"a notebook variable that changed: {'; '.join(changed)}"
        return self._cause_in(self.strategy if self._given is None else as_strategy(self._given))

    def _cause_in(self, strategy: Strategy) -> str:
        found = freeze.suspects(strategy)
        if found:
            return f"{' and '.join(found)}: use ctx.now and ctx.rng, which repeat"
        if self.engine.failure is not None:
            return f"the replayed strategy failed: {self.engine.failure}"
        return (
            "none of parameter, source, notebook variable, wall clock or unseeded randomness: "
            "altered data, or a library that computes differently"
        )

    def _manifest(self) -> freeze.Manifest | None:
        try:
            raw = (self._run_dir / freeze.MANIFEST_NAME).read_bytes()
            return msgspec.json.decode(raw, type=freeze.Manifest)
        except (OSError, msgspec.MsgspecError):
            return None

    def _first_change(self, manifest: freeze.Manifest | None) -> str:
        if manifest is None or not manifest.source:
            return ""
        now = source_of(as_strategy(self._given)).splitlines()
        lines = difflib.unified_diff(manifest.source.splitlines(), now, n=0, lineterm="")
        changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        return f": {' / '.join(line.strip() for line in changed[:4])}" if changed else ""

    def certificate(self) -> Certificate:
        """Return the verdict."""
        return Certificate(
            self._divergence is None,
            self._count,
            state_digest(self.engine),
            self._divergence,
            self.start.run,
            self.start.strategy,
            self._decisions,
        )


def state_digest(engine: Engine) -> str:
    """Return sha256 over an engine's orders, positions, cash and trading state."""
    desk = engine.desk
    orders = [
        (o.id, o.status, o.filled, o.average_price, o.fees, o.limit, o.stop, o.qty)
        for o in desk.orders.values()
    ]
    positions = sorted(
        (p.symbol, p.qty, p.average_price, p.realized) for p in desk.ledger.positions.values()
    )
    state = (orders, positions, desk.ledger.cash, desk.ledger.fees, desk.state, engine.seq)
    return hashlib.sha256(msgspec.json.encode(state)).hexdigest()


def _called(event: Input) -> str:
    name = str(event.__struct_config__.tag).replace("_", " ")
    symbol = getattr(event, "symbol", "")
    return f"{name} of {symbol}" if symbol else name


def _told(output: Output | None) -> str:
    """Return a decision in words of the trade."""
    if output is None:
        return "nothing"
    if isinstance(output, Submit):
        prices = "".join(
            f" {name} {value:g}"
            for name, value in (
                ("limit", output.limit),
                ("stop", output.stop),
                ("take profit", output.take_profit or None),
                ("stop loss", output.stop_loss or None),
            )
            if value is not None
        )
        return (
            f"{output.side} {output.qty:g} {output.symbol} at {output.type}{prices} ({output.tif})"
        )
    if isinstance(output, Denied):
        return f"{output.side} {output.qty or 0:g} {output.symbol} denied: {output.reason}"
    if isinstance(output, Cancel):
        return f"cancel {output.order_id}"
    if isinstance(output, Replace):
        return f"replace {output.order_id}: quantity {output.qty:g}, limit {output.limit}"
    if isinstance(output, SetTimer):
        return f"timer {output.name} at {iso(output.at)}"
    if isinstance(output, StrategyChanged):
        return f"{output.strategy} takes over"
    if isinstance(output, StateChanged):
        return f"trading {output.before} -> {output.after}: {output.why}"
    return str(output)
