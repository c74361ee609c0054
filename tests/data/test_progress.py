"""A bar of progress is shown where it is wanted, and nowhere else."""

import pytest

from regimeflow.data import progress
from regimeflow.data.progress import Progress


@pytest.mark.parametrize(
    ("wanted", "switch", "shown"),
    [
        (None, "", True),
        (None, "1", False),
        (True, "1", True),
        (False, "", False),
    ],
)
def test_the_environment_decides_where_nobody_asked(
    monkeypatch: pytest.MonkeyPatch,
    wanted: bool | None,
    switch: str,
    shown: bool,
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", switch)
    monkeypatch.setattr(progress, "_DELAY_S", 0.0)
    with Progress(wanted, 10, "work") as bar:
        made = []
        monkeypatch.setattr(bar, "_made", lambda: made.append(1) or _Bar())
        bar.to(5)
    assert bool(made) == shown


class _Bar:
    n = 0

    def update(self, by: int) -> None:
        self.n += by

    def close(self) -> None:
        pass


def test_a_callable_hears_the_fraction() -> None:
    told: list[float] = []
    with Progress(told.append, 4, "work") as bar:
        bar.to(1)
        bar.to(4)
    assert told == [0.25, 1.0]
