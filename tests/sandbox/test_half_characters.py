"""JSON can say half a character; a venue that does so ends no session."""

from __future__ import annotations

import msgspec
import pytest
from child import settings
from sessions import judged
from sockets import await_

import regimeflow as rf
from regimeflow.errors import Refused
from regimeflow.model.events import OrderUpdate, Submit
from regimeflow.sandbox.process import VenueProcess
from regimeflow.venues.port import Ack


class Spelling(rf.venues.Faulty):
    """Refuses all but the first orders, in words that end in half a character."""

    def submit(self, order: Submit) -> Ack:
        if int(order.order_id.rpartition("-")[2]) > 3:
            raise Refused("too dear \ud800", code="\udfff")
        return super().submit(order)

    def _order_news(self, said, connection):
        if isinstance(said, OrderUpdate):
            said = msgspec.structs.replace(said, metadata={"ahead \ud800": 1.0})
        else:
            said = msgspec.structs.replace(said, venue="\udfff")
        super()._order_news(said, connection)


class Listening(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=1 + len(ctx.orders(bar.symbol)) % 2)
        ctx.buy(bar.symbol, 1)

    def on_order_update(self, ctx, order):
        if order.reason:
            ctx.log(order.reason)


@pytest.fixture
def venue(tmp_path):
    with VenueProcess(tmp_path / "venue.jsonl", timeframe="100ms", speed=30.0) as running:
        yield running


def test_words_of_a_venue_that_no_file_takes_end_no_session(venue, tmp_path):
    spelling = Spelling(venue.venue(settle_ms=250.0), seed=1, rates={})
    how = {"symbols": ["AAA"], "timeframe": "100ms", "intervals": settings()}
    with judged(venue, tmp_path / "run", Listening(), spelling, **how) as session:
        await_(lambda: "rejected" in set(session.orders["status"]), "a refusal")
        await_(lambda: len(session.fills) > 0, "a fill")
    assert session.status.phase == "stopped"
    refused = session.orders[session.orders["status"] == "rejected"]
    assert refused["reason"].str.contains("too dear ?", regex=False).all()
    assert any("too dear ?" in text for text in session.log["text"])
    assert rf.certify(tmp_path / "run").identical
