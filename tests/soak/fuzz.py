"""Whatever comes from outside: refused with our own error or taken, in no time, no order of it."""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import regimeflow as rf
from regimeflow.environment import read_dotenv
from regimeflow.errors import RegimeflowError
from regimeflow.model.events import Fill, OrderUpdate
from regimeflow.model.instrument import Instrument
from regimeflow.model.market import Bar, Book, Quote, Trade
from regimeflow.session.settings import load_settings
from regimeflow.venues.port import Disconnected, Garbled, Refreshed
from tests.soak.bourse import BEGIN, MINUTE, SYMBOL, Bourse, Crash, Door, Fuse
from tests.soak.crashes import INTERVALS
from tests.soak.journals import fuzzed
from tests.soak.outcome import Outcome

#: An input that takes longer than this is a hang, seconds.
PATIENCE_S = 5.0
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
DOTENV = b"""# keys
ALPACA_API_KEY=abcdefgh12345678
export ALPACA_API_SECRET="quoted $HOME ${X} \\n text"
REGIMEFLOW_LOG_LEVEL=info # and why
EMPTY=
BINANCE_API_SECRET_FILE=/run/secrets/key
"""


@contextlib.contextmanager
def _watched(what: str, violations: list[str]) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    except RegimeflowError:
        pass
    except Exception as error:
        violations.append(f"{what:.200} raised {type(error).__name__}: {error!s:.200}")
    if time.monotonic() - began > PATIENCE_S:
        violations.append(f"{what:.200} took {time.monotonic() - began:.0f} s")


def configs(seed: int) -> Outcome:
    """Read configurations and ``.env`` files that were tampered with; the unit is a file."""
    chance = random.Random(seed)
    violations, counts = [], Counter[str]()
    texts = [p.read_bytes() for p in sorted(EXAMPLES.glob("*.yaml"))]
    with tempfile.TemporaryDirectory() as name:
        path, env = Path(name, "live.yaml"), Path(name, ".env")
        for file in (path, env):
            file.touch(0o600)
        for _ in range(100):
            text = fuzzed(chance.choice(texts), chance)
            path.write_bytes(text)
            before = dict(os.environ)
            counts["refused"] += 1
            with _watched(repr(text), violations):
                load_settings(path)
                counts["refused"] -= 1
                counts["taken"] += 1
            text = fuzzed(DOTENV, chance)
            env.write_bytes(text)
            counts["refused"] += 1
            with _watched(repr(text), violations):
                read_dotenv(env.parent)
                counts["refused"] -= 1
                counts["taken"] += 1
            if dict(os.environ) != before:
                violations.append(f"{text!r:.200} changed the environment")
    return Outcome(200, violations, counts)


# ---------------------------------------------------------------- what a venue says


NUMBERS: list[Any] = [
    float("nan"), float("inf"), -float("inf"), 0.0, -0.0, -1.0, 1e308, 5e-324, 1e12, 100.0, 100,
    None, "100", b"1", True, 10**400, [], {}, 2**63, -(2**63),
]  # fmt: skip
TEXTS: list[Any] = [
    SYMBOL, SYMBOL, SYMBOL, "", "OTHER", None, 7, "<script>alert(1)</script>", "=cmd|' /C calc'!A0",
    "../../etc/passwd", "\x00", "\ud800", "a" * 100_000, "buy", "sell", "canceled", "accepted",
    "filled", "lost", "never_sent", "rejected", "run-0-1",
]  # fmt: skip


class Quiet(rf.Strategy):
    """Looks at everything and never trades: an order can only be somebody else's doing."""

    def on_bar(self, ctx: Any, bar: Any) -> None:
        assert isinstance(bar.close, float)
        assert 0.0 < bar.close < 1e12, bar
        ctx.record(close=bar.close, equity=ctx.equity)


class Hostile(Door):
    """A venue that says anything at all between its bars."""

    def __init__(self, bourse: Bourse, seed: int, count: int) -> None:
        super().__init__(bourse, Fuse(), seed, 12)
        self.chance = random.Random(seed)
        self.count = count
        self.said: Any = None

    def runtime(self) -> Any:
        made = super().runtime()
        for n in range(self.count):
            made.later(MINUTE + n * 10 * MINUTE // self.count, self.say_something)
        return made

    def say_something(self) -> None:
        if self._emit is not None:
            self.said = something(self.chance, self._now)
            self._emit(self.said)


def something(chance: random.Random, now: int) -> Any:
    """Return news of some kind, with some of its fields replaced by what cannot be."""
    said = chance.choice([
        Bar(now, 0, SYMBOL, 100.0, 101.0, 99.0, 100.0, 1.0, MINUTE),
        Trade(now, 0, SYMBOL, 100.0, 1.0, "buy", "t1"),
        Quote(now, 0, SYMBOL, 100.0, 100.1, 1.0, 1.0),
        Book(now, 0, SYMBOL, ((100.0, 1.0),), ((100.1, 1.0),)),
        OrderUpdate(now, 0, "run-0-1", "canceled"),
        Fill(now, 0, f"e{chance.random()}", "run-0-1", "OTHER", "buy", 1.0, 100.0),
        Garbled("what?", SYMBOL, about_orders=chance.random() < 0.5),
        Refreshed(Instrument(SYMBOL, tick=0.05), chance.random() < 0.9),
        Disconnected("gone") if chance.random() < 0.05 else Garbled("?"),
    ])  # fmt: skip
    if isinstance(said, Refreshed | Disconnected):
        return said
    changes: dict[str, Any] = {}
    for name in chance.sample(said.__struct_fields__, chance.randint(0, 2)):
        kind = type(getattr(said, name))
        if name == "ts":
            changes[name] = chance.choice([now, now + 10**12, 0, -1, BEGIN, 2**63 - 1])
        elif kind is float:
            changes[name] = chance.choice(NUMBERS)
        elif kind is str:
            changes[name] = chance.choice(TEXTS)
        elif kind is tuple:
            changes[name] = chance.choice([(), ((float("nan"), 1.0),), ((1.0, -1.0),)])
    return msgspec.structs.replace(said, **changes)


def frames(seed: int) -> Outcome:
    """Let a venue say anything to a session that never trades; the unit is a message.

    The session lives to its stop, no order leaves, and the strategy sees no number that is none.
    What the venue's books show in the end is what was booked.
    """
    count = 200
    violations, counts = [], Counter[str]()
    bourse = Bourse(seed, 40)
    door = Hostile(bourse, seed, count)
    with tempfile.TemporaryDirectory() as name:
        session = rf.LiveSession(
            Quiet(), door, symbols=SYMBOL, timeframe="1min", run_dir=Path(name, "run"), warmup=3,
            cash=1e5, seed=seed, intervals=INTERVALS,
        )  # fmt: skip
        began = time.monotonic()
        try:
            session.run(progress=False)
        except (rf.SessionError, Crash) as error:
            violations.append(f"the session broke: {error!s:.200} after {door.said!s:.200}")
        if session.failure is not None:
            violations.append(f"the strategy failed: {session.failure!s:.200}")
        if time.monotonic() - began > 20 * PATIENCE_S:
            violations.append("it took for ever")
        if bourse.submits:
            violations.append(f"orders were caused: {bourse.submits}")
        if not violations and not rf.certify(Path(name, "run"), progress=False).identical:
            violations.append("the run is not certified")
        gateway: Any = session._worker.link
        counts["refused"] = sum(gateway.intake.refused.values())
        counts["bars"] = session.status.done
    return Outcome(count, violations, counts)
