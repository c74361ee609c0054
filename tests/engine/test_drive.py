"""Who hears of an event when: the venue first, and those without a say after a halt that waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from regimeflow.engine.drive import drive


class Run:
    """An engine, a venue and a companion that write down who was asked what.

    Args:
        events: in order.
        pressed: after which of them a halt waits.
    """

    def __init__(self, events: str, pressed: str) -> None:
        self.said: list[str] = []
        self._events, self._pressed, self._now = events, pressed, ""
        drive(self, self, None, (self, self), self.pressing)  # type: ignore[arg-type]

    def events(self) -> Iterator[Any]:
        yield from self._events

    def step(self, event: str) -> Sequence[Any]:
        self._now = event
        self.said.append(f"step {event}")
        return (f"of {event}",)

    def send(self, outputs: Sequence[Any]) -> None:
        self.said.append(f"send {outputs[0]}")

    def follow(self, event: str, outputs: Sequence[Any]) -> None:
        assert outputs == (f"of {event}",)
        self.said.append(f"follow {event}")

    def pressing(self) -> bool:
        return self._now in self._pressed


def steps(event: str) -> list[str]:
    return [f"step {event}", f"send of {event}"]


def follows(event: str) -> list[str]:
    return [f"follow {event}"] * 2


@pytest.mark.parametrize(
    ("pressed", "expected"),
    [
        ("", [*steps("a"), *follows("a"), *steps("b"), *follows("b"), *steps("c"), *follows("c")]),
        ("a", [*steps("a"), *steps("b"), *follows("a"), *follows("b"), *steps("c"), *follows("c")]),
        (
            "ab",
            [*steps("a"), *steps("b"), *steps("c"), *follows("a"), *follows("b"), *follows("c")],
        ),
        ("c", [*steps("a"), *follows("a"), *steps("b"), *follows("b"), *steps("c"), *follows("c")]),
    ],
)
def test_companions_follow_each_event_once_and_in_order(pressed, expected):
    assert Run("abc", pressed).said == expected
