"""A TWS in this process, so that a test can make it do what only TWS does."""

from __future__ import annotations

import asyncio
import threading
import time

from regimeflow.model.events import Cancel, Submit
from regimeflow.sandbox import house
from regimeflow.sandbox.books import BookFile, read_books
from regimeflow.sandbox.exchange import Exchange
from regimeflow.sandbox.house import House
from regimeflow.sandbox.script import Script
from regimeflow.sandbox.tws import Server
from regimeflow.sandbox.tws_messages import rules
from regimeflow.venues.ib import InteractiveBrokers

PATIENCE_S = 10.0
SECOND = 10**9
QUICK = {"timeout_ms": 400.0, "fee_wait_ms": 100.0, "heartbeat_ms": 200.0, "calendar": ""}


class Tws:
    """TWS on a thread of its own; what is called through `do` runs there."""

    def __init__(self, ledger, symbols=("AAA", "BBB"), timeframe=SECOND, version=178, ahead_ns=0):
        self.ledger = ledger
        self._symbols, self._timeframe, self._version = symbols, timeframe, version
        self._ahead_ns = ahead_ns
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        assert self._listens.wait(PATIENCE_S)

    def _work(self):
        asyncio.run(self._serve())

    async def _serve(self):
        self._loop = asyncio.get_running_loop()
        made = [rules(symbol) for symbol in self._symbols]
        self.exchange = Exchange(self._now, made, whole=1.0, cash=1e6, timeframe=self._timeframe)
        self.house = House(
            self.exchange, BookFile(self.ledger), Script(), house.walk(self.exchange), 50.0
        )
        self.house._held = True
        self.server = Server(self.house)
        self.server.version = self._version
        await self.house.serve(self.server, 0, self._ready)

    def _now(self):
        return time.time_ns() + self._ahead_ns

    def _ready(self, port, control):
        self.port = port
        self._listens.set()

    def do(self, what, *terms, **more):
        """Let something happen in its thread, and return what came of it."""

        async def call():
            found = what(*terms, **more)
            self.house.wrote()
            return found

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(PATIENCE_S)

    def fault(self, fault):
        self.do(self.house.script.add, fault)

    def venue(self, **how):
        return InteractiveBrokers(port=self.port, **{**QUICK, **how})

    def rows(self, kind):
        return [row for row in read_books(self.ledger) if row.kind == kind]

    def written(self, number):
        """Return the messages of a kind that it received."""
        texts = [row.detail["text"] for row in self.rows("bytes")]
        return [text for text in texts if text.split(",")[0] == str(number)]

    def close(self):
        self._loop.call_soon_threadsafe(self.house.over.set)
        self._thread.join(PATIENCE_S)


class Ear:
    """Hears what an adapter says."""

    def __init__(self):
        self.said = []
        self._changed = threading.Condition()

    def __call__(self, said):
        with self._changed:
            self.said.append(said)
            self._changed.notify_all()

    def of(self, kind):
        return [said for said in self.said if isinstance(said, kind)]

    def wait(self, kind, fits=lambda said: True, count=1):
        """Wait until something of a kind has been said so often; return the last of it."""

        def found():
            return [said for said in self.of(kind) if fits(said)]

        with self._changed:
            heard = self._changed.wait_for(lambda: len(found()) >= count, PATIENCE_S)
        assert heard, f"{count} {kind.__name__} did not come; said: {self.said}"
        return found()[-1]


def order(name="run-1", qty=10.0, kind="limit", limit=50.0, symbol="AAA", **terms):
    limit = None if kind in ("market", "stop") else limit
    given = {"side": "buy", "qty": qty, "type": kind, "limit": limit, **terms}
    return Submit(1, 1, name, symbol, **given)


def cancel(name="run-1"):
    return Cancel(1, 1, name)
