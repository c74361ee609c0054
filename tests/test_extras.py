"""Everything but the brokers works without their packages, and nothing loads them unasked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import regimeflow as rf

HERE = Path(__file__).parent
EXTRAS = {"Alpaca": "alpaca", "Ccxt": "ccxt", "InteractiveBrokers": "ib"}


def child(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=HERE.parent,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def bare() -> list[str]:
    return child(str(HERE / "bare.py"))


def test_the_package_is_imported_backtests_and_certifies(bare):
    assert "certified" in bare
    assert bare[-1] == "loaded []"


def test_a_missing_package_is_one_sentence_with_the_command_that_installs_it(bare):
    said = dict(line[8:].split(": ", 1) for line in bare if line.startswith("missing "))
    assert set(said) == {name for name in EXTRAS if name in rf.venues.__all__}
    for name, sentence in said.items():
        assert sentence.endswith(f'pip install "regimeflow-jupyter[{EXTRAS[name]}]"')
        assert "\n" not in sentence


def test_only_servers_of_other_protocols_are_left_out(bare):
    for line in bare:
        if line.startswith("left out "):
            assert line.startswith("left out regimeflow.sandbox.")


def test_a_recorded_run_certifies_there(tmp_path):
    frame = rf.datasets.synthetic(n=100)
    session = rf.LiveSession(
        Hold(), rf.venues.Simulated(frame, speed=None), run_dir=tmp_path / "run"
    )
    session.run(progress=False)
    said = child(str(HERE / "bare.py"), str(tmp_path / "run"))
    assert said == [f"identical {tmp_path / 'run'}", "loaded []"]


class Hold(rf.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=10)


def test_where_they_are_installed_nothing_loads_them_unasked():
    code = (
        "import sys; sys.path.insert(0, 'tests'); import bare\n"
        "bare.import_everything()\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & set(bare.CLIENTS)))"
    )
    assert child("-c", code)[-1] == "[]"
