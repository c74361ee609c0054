"""Which outputs are decisions: what a replay must make again."""

from __future__ import annotations

from collections.abc import Sequence

from regimeflow.model.events import (
    Cancel,
    Denied,
    Output,
    Replace,
    SetTimer,
    StateChanged,
    StrategyChanged,
    Submit,
)

_DECISIONS = (Submit, Cancel, Replace, SetTimer, Denied, StateChanged, StrategyChanged)


def decisions(outputs: Sequence[Output]) -> list[Output]:
    """Return the decisions among outputs, in order."""
    return [output for output in outputs if isinstance(output, _DECISIONS)]
