"""A venue with faults: each is what it says, by its seed, and ends when it is healed."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest

import regimeflow as rf
from regimeflow.errors import ConfigError, Refused, VenueError
from regimeflow.model.events import Cancel, Fill, OrderUpdate, Submit
from regimeflow.model.market import Bar, Quote, Trade
from regimeflow.sandbox.exchange import Exchange
from regimeflow.venues.faulty import FAULTS, USUAL_RATES, Faulty
from regimeflow.venues.port import Disconnected, Garbled
from regimeflow.venues.runtime import Virtual

BEGIN = 1_704_205_800_000_000_000
SECOND = 1_000_000_000


class World:
    """An exchange, the faults in front of it, and what is heard through them."""

    def __init__(self, seed: int = 1, **rates: float) -> None:
        self.runtime = Virtual(seed, BEGIN)
        self.exchange = Exchange(self.runtime.now, whole=1.0, seed=seed)
        self.faulty = Faulty(self.exchange, seed, rates=rates, later=self.runtime.later)
        self.heard: list[Any] = []
        with contextlib.suppress(VenueError):
            self.faulty.connect(self.heard.append)
        self.count = 0

    def send(self, limit: float | None = None) -> str:
        self.count += 1
        name, kind = f"o{self.count}", "market" if limit is None else "limit"
        self.faulty.submit(
            Submit(1, self.runtime.now(), name, "AAA", "buy", 1.0, kind, limit, tif="gtc")
        )
        return name

    def pass_time(self, for_s: int = 60) -> None:
        until = self.runtime.now() + for_s * SECOND
        while self.runtime.wait(until) is not None:
            pass

    def trade(self, count: int = 20) -> None:
        self.faulty.subscribe(["AAA"], 0)
        for _ in range(count):
            self.exchange.tick("AAA", 101.0)


def test_without_rates_nothing_goes_wrong() -> None:
    world = World()
    assert world.send() in world.exchange.orders
    world.trade()
    assert [type(said) for said in world.heard[:4]] == [OrderUpdate, Fill, Trade, Quote]
    assert not world.faulty.fired


@pytest.mark.parametrize(
    ("fault", "error", "arrives"),
    [
        ("request_lost", VenueError, False),
        ("response_lost", VenueError, True),
        ("refused", Refused, False),
        ("duplicate_id", Refused, True),
    ],
)
def test_requests(fault: str, error: type[VenueError], arrives: bool) -> None:
    world = World(**{fault: 1.0})
    with pytest.raises(VenueError) as raised:
        world.send(limit=1.0)
    assert type(raised.value) is error
    assert ("o1" in world.exchange.orders) is arrives
    assert world.faulty.fired == {fault: 1}
    if fault == "refused":
        assert raised.value.retry_after_ms > 0.0
    if fault == "duplicate_id":
        assert raised.value.code == "duplicate_order_id"


def test_questions_fail_and_are_never_answered_in_part() -> None:
    world = World(query_failed=0.5)
    world.send(limit=1.0)
    answers = []
    for _ in range(50):
        try:
            answers.append(len(world.faulty.open_orders()))
        except VenueError:
            answers.append(-1)
    assert set(answers) == {1, -1}
    deaf = World(query_failed=1.0)
    for question in (deaf.faulty.positions, deaf.faulty.balances, deaf.faulty.open_orders):
        with pytest.raises(VenueError):
            question()
    assert deaf.faulty.fired == {"query_failed": 3}


def test_a_connection_that_cannot_be_made() -> None:
    world = World(connect_failed=1.0)
    assert world.faulty.fired == {"connect_failed": 1}


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        ("dropped", []),
        ("disconnected", [Disconnected]),
        ("mute", []),
        ("unknown_status", [OrderUpdate, OrderUpdate]),
        ("garbled", [Garbled, Garbled]),
        ("nameless", [OrderUpdate, Fill]),
        ("fill_first", [Fill, OrderUpdate]),
    ],
)
def test_news_of_an_order(fault: str, kinds: list[type]) -> None:
    world = World(**{fault: 1.0})
    world.send()
    world.pass_time(1)
    assert [type(said) for said in world.heard] == kinds
    assert world.faulty.fired[fault] >= 1
    first = world.heard[0] if world.heard else None
    if fault == "unknown_status":
        assert first.what not in ("accepted", "filled")
    if fault == "nameless":
        assert (first.order_id, first.venue_order_id) == ("", "V1")
    if fault == "garbled":
        assert first.about_orders


def test_news_come_twice_and_late_but_come() -> None:
    world = World(doubled=1.0)
    world.send()
    world.pass_time()
    assert 4 <= len(world.heard) <= 10
    assert len({said.execution_id for said in world.heard if isinstance(said, Fill)}) == 1
    world = World(delayed=0.5, seed=4)
    for _ in range(30):
        world.send()
    world.pass_time()
    told = [said.order_id for said in world.heard if isinstance(said, Fill)]
    assert sorted(told) == sorted(world.exchange.orders)
    assert told != sorted(told, key=lambda name: int(name[1:]))


def test_numbers_that_are_none() -> None:
    world = World(bad_number=1.0)
    for _ in range(40):
        world.send()
    fills = [said for said in world.heard if isinstance(said, Fill)]

    def sound(number: Any) -> bool:
        return type(number) is float and math.isfinite(number) and 0.0 < number < 1e12

    assert all(not (sound(f.qty) and sound(f.price) and sound(f.fee)) for f in fills)
    world.trade()
    market = [said for said in world.heard if isinstance(said, Trade)]
    assert all(not (sound(t.price) and sound(t.size)) for t in market)
    assert world.faulty.fired["bad_number"] == 40 + 40


def test_a_mute_stream_speaks_again_in_time_or_when_connected_anew() -> None:
    world = World(mute=1.0)
    world.trade(2)
    assert world.heard == []
    world.faulty.heal()
    world.trade(2)
    assert len(world.heard) == 4
    world = World(mute=1.0)
    world.trade(1)
    world.faulty._rates.clear()
    world.trade(1)
    assert world.heard == []
    world.pass_time(120)
    world.trade(1)
    assert len(world.heard) == 2


def test_what_was_said_before_a_connection_is_not_told_after_it() -> None:
    world = World(delayed=1.0)
    world.send()
    world.faulty.close()
    world.faulty.connect(world.heard.append)
    world.pass_time()
    assert world.heard == []
    world.faulty.close()
    world.faulty.close()


def test_a_stream_of_bars_is_garbled_too() -> None:
    world = World(garbled=1.0)
    world.faulty.subscribe(["AAA"], world.exchange.timeframe)
    world.exchange.tick("AAA", 100.0)
    world.pass_time(61)
    world.exchange.tick("AAA", 100.0)
    assert [type(said) for said in world.heard] == [Garbled]
    assert not any(isinstance(said, Bar) for said in world.heard)


def test_one_seed_is_one_misfortune() -> None:
    def misfortune(seed: int) -> tuple[Any, ...]:
        world = World(seed, **dict.fromkeys(FAULTS, 0.2))
        for _ in range(30):
            try:
                world.faulty.cancel(Cancel(1, 0, world.send(limit=1.0)), "")
            except VenueError:
                pass
        world.pass_time()
        return tuple(map(repr, world.heard)), tuple(world.faulty.fired.items())

    assert misfortune(5) == misfortune(5)
    assert misfortune(5) != misfortune(6)


def test_rates_are_checked() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'dropped'"):
        World(droped=0.1)
    with pytest.raises(ConfigError, match=r"must lie in 0\.\.1"):
        World(dropped=2.0)


def test_without_rates_everything_happens_as_often_as_is_usual() -> None:
    assert list(USUAL_RATES) == list(FAULTS)
    assert all(0.0 < rate <= 0.5 for rate in USUAL_RATES.values())
    exchange = Exchange(lambda: BEGIN, whole=1.0, seed=1)
    assert Faulty(exchange, 1)._rates == USUAL_RATES
    assert Faulty(exchange, 1, rates={})._rates == {}
    assert Faulty(exchange, 1)._rates is not USUAL_RATES
    Faulty(exchange, 1).heal()
    assert len(USUAL_RATES) == len(FAULTS)  # the next one has them all again


def test_what_is_no_adapter_is_refused() -> None:
    frame = rf.datasets.sp500()
    feed = rf.venues.Paper(Exchange(lambda: BEGIN))
    for venue in (rf.venues.Simulated(frame), feed, None):
        with pytest.raises(ConfigError, match="wraps an adapter"):
            Faulty(venue, 1)  # type: ignore[arg-type]


def test_it_is_part_of_the_rig() -> None:
    assert rf.sandbox.Faulty is rf.venues.Faulty is Faulty
