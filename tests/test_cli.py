"""The command line, from arguments to exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import regimeflow as rf
from regimeflow import cli

CODE = """
import regimeflow as rf


class Hold(rf.Strategy):
    qty: float = 10.0
    name: str = "a"
    loud: bool = False

    def on_bar(self, ctx, bar):
        if self.loud:
            raise ValueError("as asked")
        ctx.target(bar.symbol, qty=self.qty)


class Feature(rf.Strategy):
    def features(self, frame):
        assert type(frame).__module__.split(".")[0] == "FLAVOUR"
        return frame

    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=1)


def hold(ctx, bar):
    ctx.target(bar.symbol, qty=10)
"""

#: Bought at 100, the second open; the last close is 120.
BARS = """\
time,open,high,low,close,volume
2024-01-02,90,101,90,99,5
2024-01-03,100,111,99,110,5
2024-01-04,110,121.5,109,120,5
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """Work in a directory with a strategy file, a notebook and data in both formats."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(CODE)
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "source": CODE + "\n1 / 0\n"}
    (tmp_path / "book.ipynb").write_text(json.dumps({"cells": [cell], "nbformat": 4}))
    (tmp_path / "bars.csv").write_text(BARS)
    frame = pl.read_csv("bars.csv", try_parse_dates=True)
    frame.write_parquet("bars.parquet")
    frame.rename({"time": "__index_level_0__"}).write_parquet("from_pandas.parquet")
    (tmp_path / "from_pandas.csv").write_text(BARS.replace("time,", ",", 1))
    parts = [frame.with_columns(symbol=pl.lit(symbol)) for symbol in ("AA", "BB")]
    pl.concat(parts).write_csv("long.csv")
    yield tmp_path
    sys.modules.pop("mine", None)
    sys.modules.pop("book", None)


def shown(text: str) -> dict[str, str]:
    """Return the metrics table of an output, label -> value."""
    lines = [line.rsplit("  ", 1) for line in text.splitlines() if "  " in line]
    return {label.strip(): value.strip() for label, value in lines}


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    """Run a command and return its exit code, output and complaints."""
    code = cli.main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


# ---------------------------------------------------------------- backtest


@pytest.mark.parametrize(
    "strategy", ["mine.py:Hold", "mine:Hold", "book.ipynb:Hold", "mine.py:hold", "book.ipynb:hold"]
)
@pytest.mark.parametrize("data", ["bars.csv", "bars.parquet"])
def test_a_strategy_from_any_place_on_a_file_of_either_format(capsys, strategy, data):
    code, out, err = run(capsys, "backtest", strategy, data, "--cash", "1000")
    assert (code, err) == (0, "")
    table = shown(out)
    assert table["Total return"] == "20.00 %"
    assert table["Final equity"] == "1,200.00"
    assert "bars · 2024-01-02 to 2024-01-04 · 3 bars of 1d · cash 1,000.00" in out


@pytest.mark.parametrize("data", ["from_pandas.parquet", "from_pandas.csv"])
def test_an_index_that_pandas_wrote_without_a_name_is_the_time(capsys, data):
    code, out, _ = run(capsys, "backtest", "mine.py:Hold", data, "--cash", "1000")
    assert code == 0
    assert shown(out)["Final equity"] == "1,200.00"


@pytest.mark.parametrize(
    ("options", "label", "value"),
    [
        ("--commission-bps 10", "Fees", "1.00"),
        ("--param qty=5", "Final equity", "1,100.00"),
        ("--param qty=5 --param name=7 --param loud=false", "Final equity", "1,100.00"),
        # Decided at the close of the second day, bought at 110.
        ("--start 2024-01-03 --param qty=5", "Final equity", "1,050.00"),
        ("--end 2024-01-04", "Final equity", "1,100.00"),
        ("--symbol SPY", "Final equity", "1,200.00"),
        ("--label close --timezone America/New_York", "Final equity", "1,200.00"),
        ("--calendar XNYS --timeframe 1D", "Final equity", "1,200.00"),
        ("--frames pandas", "Final equity", "1,200.00"),
    ],
)
def test_options_reach_the_backtest(capsys, options, label, value):
    arguments = ["backtest", "mine.py:Hold", "bars.csv", "--cash", "1000", *options.split()]
    code, out, err = run(capsys, *arguments)
    assert (code, err) == (0, "")
    assert shown(out)[label] == value


@pytest.mark.parametrize(
    ("data", "symbols"),
    [
        ("bars.csv", ("bars",)),
        ("SPY=bars.csv", ("SPY",)),
        ("bars.csv --symbol SPY", ("SPY",)),
        ("SPY=bars.csv QQQ=bars.parquet", ("SPY", "QQQ")),
        ("bars.csv from_pandas.csv", ("bars", "from_pandas")),
        ("long.csv", ("AA", "BB")),
        ("long.csv --symbol BB", ("BB",)),
        ("long.csv --symbol BB --symbol AA", ("BB", "AA")),
    ],
)
def test_symbols(capsys, data, symbols):
    code, _, _ = run(capsys, "backtest", "mine.py:Hold", *data.split(), "--out", "r.json")
    assert code == 0
    assert rf.Report.load("r.json").symbols == symbols


@pytest.mark.parametrize("flavour", ["polars", "pandas"])
def test_features_are_given_the_frames_asked_for(capsys, here, flavour):
    (here / "mine.py").write_text(CODE.replace("FLAVOUR", flavour))
    code, _, err = run(capsys, "backtest", "mine.py:Feature", "bars.parquet", "--frames", flavour)
    assert (code, err) == (0, "")


def test_times_with_a_zone_mean_the_same_in_either_library(capsys, here):
    zoned = pl.read_csv("bars.csv", try_parse_dates=True).with_columns(
        pl.col("time").cast(pl.Datetime).dt.replace_time_zone("America/New_York")
    )
    zoned.write_parquet("zoned.parquet")
    times = []
    for flavour in ("polars", "pandas"):
        arguments = ("zoned.parquet", "--frames", flavour, "--out", "r.json")
        assert run(capsys, "backtest", "mine.py:Hold", *arguments)[0] == 0
        times.append([fill.executed_at for fill in rf.Report.load("r.json").data.fills])
    # The second day begins at 05:00 UTC.
    assert times == [[1_704_258_000_000_000_000]] * 2


def test_files_are_written_and_named(capsys, here):
    files = ("--out", "r.json", "--tearsheet", "r.html", "--journal", "run")
    code, out, _ = run(capsys, "backtest", "mine.py:Hold", "bars.csv", *files)
    assert code == 0
    assert all(name in out for name in ("r.json", "r.html", "run"))
    assert len(rf.Report.load("r.json").fills) == 1
    assert "<html" in (here / "r.html").read_text()
    assert any(here.joinpath("run").glob("journal-*.jsonl"))


def test_a_failing_strategy_shows_its_traceback_and_leaves_the_report_so_far(capsys):
    failing = ("mine.py:Hold", "bars.csv", "--param", "loud=True", "--out", "r.json")
    code, _, err = run(capsys, "backtest", *failing)
    assert code == 2
    assert 'raise ValueError("as asked")' in err
    assert err.splitlines()[-1].startswith("regimeflow: Hold(")
    assert "ValueError: as asked" in rf.Report.load("r.json").error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("mine.py:Holt bars.csv", "mine.py has no 'Holt'"),
        ("mine.py bars.csv", "use module:Class"),
        ("mine.py:Hold bars.csv --param qtty=1", "Did you mean 'qty'?"),
        ("mine.py:Hold bars.csv --param qty", "--param takes name=value, not 'qty'"),
        ("mine.py:Hold bars.csv --param qty=many", "qty must be float, got 'many'"),
        ("mine.py:hold bars.csv --param qty=1", "--param is for a strategy class"),
        ("mine.py:Hold nowhere.csv", "there is no file nowhere.csv"),
        ("mine.py:Hold SPY=nowhere.csv", "there is no file nowhere.csv"),
        ("mine.py:Hold mine.py", "mine.py is neither Parquet (.parquet) nor CSV (.csv)"),
        ("mine.py:Hold torn.parquet", "torn.parquet cannot be read"),
        ("mine.py:Hold bars.csv bars.parquet", "two files of 'bars'"),
        ("mine.py:Hold long.csv --symbol CC", "CC"),
        ("mine.py:Hold bars.csv --start 2030-01-01", "there is no data between start and end"),
        ("mine.py:Hold bars.csv --cash inf --commission-bps -1", "commission_bps must be"),
        ("mine.py:Hold bars.csv --out mine.py/r.json", "mine.py"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_1(capsys, here, arguments, sentence):
    (here / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    code, _, err = run(capsys, "backtest", *arguments.split())
    assert code == 1
    assert sentence in err
    assert err.startswith("regimeflow: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    ["", "backtset", "backtest", "backtest mine.py:Hold", "backtest a:B c.csv --label middle"],
)
def test_a_wrong_command_line_exits_with_1_too(capsys, arguments):
    with pytest.raises(SystemExit) as left:
        cli.main(arguments.split())
    assert left.value.code == 1
    assert "--help" in capsys.readouterr().err


# ---------------------------------------------------------------- certify and replay


@pytest.fixture
def recorded(capsys) -> str:
    """Return the directory of a recorded run of Hold."""
    assert run(capsys, "backtest", "mine.py:Hold", "bars.csv", "--journal", "run")[0] == 0
    return "run"


def test_a_run_certified_with_its_own_strategy_is_identical(capsys, recorded):
    code, out, err = run(capsys, "certify", recorded, "--strategy", "mine.py:Hold")
    assert (code, err) == (0, "")
    assert out.startswith("IDENTICAL (")


@pytest.mark.parametrize("command", ["certify", "replay"])
def test_another_parameter_is_named_and_exits_with_2(capsys, recorded, command):
    other = ("--strategy", "mine.py:Hold", "--param", "qty=11")
    code, out, _ = run(capsys, command, recorded, *other)
    assert code == 2
    assert out.startswith("DIFFERENT at event ")
    assert "parameter qty was 10.0 and is 11.0" in out


def test_replay_shows_the_account_at_the_end(capsys, recorded):
    code, out, _ = run(capsys, "replay", recorded, "--strategy", "mine.py:Hold")
    assert code == 0
    rows = dict(line.split(maxsplit=1) for line in out.splitlines()[2:])
    assert rows["cash"].strip() == "99,000.00"
    assert rows["equity"].strip() == "100,200.00"
    assert rows["bars"].strip() == "10"
    assert rows["orders"] == "1 filled"


def test_an_altered_journal_is_refused(capsys, here, recorded):
    segment = next(here.joinpath(recorded).glob("journal-*.jsonl"))
    segment.write_text(segment.read_text().replace('"qty":10.0', '"qty":12.0'))
    code, _, err = run(capsys, "certify", recorded, "--strategy", "mine.py:Hold")
    assert code == 1
    assert err.startswith("regimeflow: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [("nowhere", "nowhere"), ("run --param qty=1", "--param needs --strategy")],
)
def test_what_cannot_be_certified_exits_with_1(capsys, recorded, arguments, words):
    code, _, err = run(capsys, "certify", *arguments.split())
    assert code == 1
    assert words in err


# ---------------------------------------------------------------- as a program


def test_as_a_program_it_tells_its_version_and_loads_none_of_the_libraries_for_that():
    heavy = ["pandas", "polars", "matplotlib", "ipywidgets", "tqdm"]
    code = (
        "import sys; from regimeflow import cli\n"
        "try: cli.main(['--version'])\n"
        f"finally: print(sorted(set({heavy}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:2] == [f"regimeflow {rf.__version__}", "[]"]
    assert done.returncode == 0
