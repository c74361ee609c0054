"""A few fixed seeds of the long property run, `python -m tests.soak`."""

from __future__ import annotations

import pytest

from tests.soak import run_seed


@pytest.mark.parametrize("seed", [1, 2, 5, 8, 11, 19])
def test_seed(seed):
    assert run_seed(seed) >= 0
