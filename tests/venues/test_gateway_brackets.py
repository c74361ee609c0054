"""Entries that bring their exits, between a session and its venue, on virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from rig import BEGIN, SECOND, Rig

from regimeflow.model.events import OrderUpdate, Reconciled, Submit

FAR = 50.0


def bracket(ctx: Any) -> None:
    ctx.buy("AAA", 10, take_profit=105.0, stop_loss=95.0)


def waits(ctx: Any) -> None:
    ctx.buy("AAA", 10, limit=FAR, take_profit=105.0, stop_loss=45.0)


def ticks(*prices: float) -> dict[float, Any]:
    """Let somebody trade at these prices, from the second second on."""
    return {
        2.0 + n: lambda rig, price=price: rig.exchange.tick("AAA", price)
        for n, price in enumerate(prices)
    }


def lives(rig: Rig) -> list[str]:
    return [rig.life(name) for name in (1, "1t", "1s")]


def held(rig: Rig) -> float:
    return rig.engine.desk.ledger.position("AAA").qty


def test_one_request_carries_all_three() -> None:
    rig = Rig({1.0: bracket}, ticks(101.0), until_s=6.0)
    assert lives(rig) == ["sent, accepted, filled, accepted", "sent, accepted", "sent, accepted"]
    assert rig.exchange.asked["submit"] == 1
    (submit,) = [o for _, out in rig.told for o in out if isinstance(o, Submit)]
    assert (submit.take_profit, submit.stop_loss) == (105.0, 95.0)


@pytest.mark.parametrize(
    ("price", "profit", "loss"), [(106.0, "filled", "canceled"), (94.0, "canceled", "filled")]
)
def test_one_exit_fills_and_the_other_is_canceled(price: float, profit: str, loss: str) -> None:
    rig = Rig({1.0: bracket}, ticks(101.0, price), until_s=6.0)
    assert (rig.order("1t").status, rig.order("1s").status) == (profit, loss)
    assert held(rig) == 0.0
    assert rig.gateway.comparing.clean


def test_exits_stay_after_a_stop_and_do_not_hold_it_up() -> None:
    rig = Rig({1.0: bracket}, ticks(101.0), until_s=4.0)
    assert (rig.order("1t").status, rig.order("1s").status) == ("open", "open")
    assert held(rig) == 10.0
    assert (rig.runtime.now() - BEGIN) / SECOND < 8.0
    assert [order.id for order in rig.exchange.working()] == ["r-0-1t", "r-0-1s"]


def test_an_entry_that_is_stopped_before_its_fill_takes_its_exits_with_it() -> None:
    rig = Rig({1.0: waits}, until_s=4.0)
    assert lives(rig) == [
        "sent, accepted, cancel asked, canceled",
        "sent, accepted, canceled",
        "sent, accepted, canceled",
    ]


def test_a_lost_answer_makes_all_three_unknown_and_finds_them_again() -> None:
    def deaf(rig: Rig) -> None:
        rig.exchange.silent.add("accepted")

    rig = Rig({1.0: waits}, {0.9: deaf}, first={"submit": ["unanswered"]}, until_s=10.0)
    assert [life.split(", cancel asked")[0] for life in lives(rig)] == [
        "sent, lost, accepted",
        "sent, lost, accepted, canceled",
        "sent, lost, accepted, canceled",
    ]
    assert rig.exchange.asked["submit"] == 1


def test_a_lost_answer_and_a_fill_meanwhile() -> None:
    def deaf(rig: Rig) -> None:
        rig.exchange.silent |= {"accepted", "fill", "canceled"}

    rig = Rig(
        {1.0: bracket}, {0.9: deaf, **ticks(106.0)}, first={"submit": ["unanswered"]}, until_s=20.0
    )
    assert [rig.order(n).status for n in (1, "1t", "1s")] == ["filled", "filled", "canceled"]
    assert held(rig) == 0.0


def test_a_bracket_that_never_arrived_ends_for_all_three() -> None:
    rig = Rig({1.0: waits}, first={"submit": ["lost"]}, until_s=30.0)
    assert lives(rig) == ["sent, lost, rejected"] * 3


def test_a_refusal_is_one_of_all_three() -> None:
    rig = Rig({1.0: waits}, first={"submit": ["refused"]}, until_s=5.0)
    assert lives(rig) == ["sent, rejected"] * 3


def test_without_a_connection_none_of_the_three_leaves() -> None:
    from regimeflow.venues.port import Disconnected

    rig = Rig(
        {2.5: waits},
        {2.4: lambda rig: (setattr(rig.exchange, "down", True),
                           rig.runtime.say(Disconnected("reset")))},
        until_s=5.0,
    )  # fmt: skip
    assert [rig.order(1).status] == ["denied"]
    assert rig.exchange.asked["submit"] == 0


def test_a_close_waits_for_the_exits_to_be_over() -> None:
    rig = Rig({1.0: bracket, 4.0: lambda ctx: ctx.close("AAA")}, ticks(101.0), until_s=8.0)
    assert (rig.order("1t").status, rig.order("1s").status) == ("canceled", "canceled")
    (over,) = rig.at(OrderUpdate, what="canceled", order_id="r-0-1t")
    (sent,) = rig.at(Submit, order_id="r-0-2")
    assert sent >= over
    assert held(rig) == 0.0


def test_a_close_whose_exit_fills_meanwhile_sells_nothing_twice() -> None:
    def fills(rig: Rig) -> None:
        rig.exchange.tick("AAA", 94.0)

    rig = Rig(
        {1.0: bracket, 4.0: lambda ctx: ctx.close("AAA")}, {2.0: lambda rig: None, 4.002: fills},
        until_s=8.0,
    )  # fmt: skip
    assert rig.order("1s").status == "filled"
    assert rig.at(Submit) == [1.0]
    assert held(rig) == 0.0


def test_a_flatten_cancels_the_exits_and_a_halt_does_not() -> None:
    def say(what: str) -> Any:
        return lambda rig: rig.gateway.command(what, "a human says so", "test")

    rig = Rig({1.0: bracket}, {3.0: say("flatten")}, until_s=8.0)
    assert (rig.order("1t").status, rig.order("1s").status) == ("canceled", "canceled")
    assert held(rig) == 0.0
    for word in ("halt", "cancel_all"):
        rig = Rig({1.0: bracket}, {3.0: say(word)}, until_s=8.0)
        assert (rig.order("1t").status, rig.order("1s").status) == ("open", "open")
        assert held(rig) == 10.0


def test_a_stop_is_moved_and_an_exit_is_canceled() -> None:
    acts = {
        1.0: bracket,
        3.0: lambda ctx: ctx.replace("r-0-1s", stop=98.0),
        5.0: lambda ctx: ctx.cancel("r-0-1t"),
    }
    rig = Rig(acts, {7.0: lambda rig: rig.exchange.tick("AAA", 97.5)}, until_s=10.0)
    assert rig.life("1s") == "sent, accepted, replace asked, replaced, filled"
    assert rig.life("1t") == "sent, accepted, cancel asked, canceled"
    assert held(rig) == 0.0


def test_a_venue_whose_exits_end_together_is_believed() -> None:
    def together(rig: Rig) -> None:
        rig.exchange.exits_together = True

    rig = Rig({1.0: bracket, 3.0: lambda ctx: ctx.cancel("r-0-1t")}, {0.5: together}, until_s=6.0)
    assert (rig.order("1t").status, rig.order("1s").status) == ("canceled", "canceled")
    assert "cancel asked" not in rig.life("1s")
    assert held(rig) == 10.0


def test_exits_that_fill_in_pieces_take_off_no_more_than_was_brought() -> None:
    def part(rig: Rig) -> None:
        rig.exchange.fill("r-0-1t", 4.0)

    rig = Rig({1.0: bracket}, {3.0: part, 5.0: lambda rig: rig.exchange.tick("AAA", 94.0)})
    assert (rig.order("1t").filled, rig.order("1s").filled) == (4.0, 6.0)
    assert (rig.order("1t").status, rig.order("1s").status) == ("canceled", "filled")
    assert held(rig) == 0.0


def test_nothing_is_held_back_for_what_waits_at_the_venue() -> None:
    rig = Rig({1.0: waits}, until_s=10.0)
    assert all(e.ok and not e.unmatched for e, _ in rig.told if isinstance(e, Reconciled))
    assert not rig.engine.desk.exits
