"""Where a broker's values come from, strongest first, and who else could read or change them."""

from __future__ import annotations

import os
import subprocess
import traceback
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regimeflow as rf
from regimeflow.environment import names_of, read_dotenv
from regimeflow.redaction import HIDDEN, Secret
from regimeflow.session.explain import explain, rows
from regimeflow.session.settings import load_settings


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """Work in a folder of its own, with no broker in the environment."""
    for name in list(os.environ):
        if name.startswith(("ALPACA_", "BINANCE_", "IB_", "KRAKEN_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def dotenv(folder: Path, text: str) -> Path:
    path = folder / ".env"
    path.write_text(text)
    path.chmod(0o600)
    return path


def load(broker: str = "alpaca", broker_config: str = "{}"):
    path = Path("c.yaml")
    path.write_text(
        f"live:\n  broker: {broker}\n  symbols: [A]\n  broker_config: {broker_config}\n"
        "strategy: {name: 'm:C'}\n"
    )
    path.chmod(0o600)
    return load_settings(path)


#: What is given in the four places, and which of them wins. None: not given.
PRECEDENCE = [
    # file     NAME     NAME_FILE  .env     value    origin
    ("config", "environ", "mounted", "dotenv", "config", "c.yaml:4"),
    (None, "environ", "mounted", "dotenv", "environ", "environment ALPACA_API_KEY"),
    (None, None, "mounted", "dotenv", "mounted", "file of ALPACA_API_KEY_FILE"),
    (None, None, None, "dotenv", "dotenv", ".env:2"),
    (None, None, None, None, None, None),
    # What is empty counts as not given.
    ("''", "environ", "mounted", "dotenv", "environ", "environment ALPACA_API_KEY"),
    ("null", "", "mounted", "dotenv", "mounted", "file of ALPACA_API_KEY_FILE"),
    ("'  '", "  ", "\n", "dotenv", "dotenv", ".env:2"),
    ("''", "", "", "", None, None),
    ("config", None, None, None, "config", "c.yaml:4"),
    (None, "environ", None, None, "environ", "environment ALPACA_API_KEY"),
    (None, None, "mounted", None, "mounted", "file of ALPACA_API_KEY_FILE"),
    ("config", None, None, "dotenv", "config", "c.yaml:4"),
    (None, "environ", None, "dotenv", "environ", "environment ALPACA_API_KEY"),
]


@pytest.mark.parametrize(("config", "name", "file", "env", "value", "origin"), PRECEDENCE)
def test_precedence(here, tmp_path, monkeypatch, config, name, file, env, value, origin):
    if name is not None:
        monkeypatch.setenv("ALPACA_API_KEY", name)
    if file is not None:
        (tmp_path / "mounted").write_text(f"{file}\n")
        monkeypatch.setenv("ALPACA_API_KEY_FILE", str(tmp_path / "mounted"))
    if env is not None:
        dotenv(here, f"# keys\nALPACA_API_KEY={env}\n")
    found = load(broker_config="{}" if config is None else f"{{api_key: {config}}}").broker
    if value is None:
        assert "api_key" not in found
    else:
        assert found["api_key"] == (Secret(value), origin)


@pytest.mark.parametrize(
    ("broker", "names"),
    [
        ("alpaca", "ALPACA_API_KEY ALPACA_API_SECRET ALPACA_PAPER_BASE_URL ALPACA_STREAM_URL"),
        (
            "binance",
            (
                "BINANCE_API_KEY BINANCE_SECRET_KEY BINANCE_BASE_URL BINANCE_STREAM_URL "
                "BINANCE_RECV_WINDOW_MS"
            ),
        ),
        ("ib", "IB_HOST IB_PORT IB_CLIENT_ID"),
        ("kraken", "KRAKEN_API_KEY KRAKEN_SECRET_KEY KRAKEN_PASSWORD"),
        ("simulated", ""),
    ],
)
def test_variables_of_each_broker(monkeypatch, broker, names):
    assert list(names_of(broker).values()) == names.split()
    for number, name in enumerate(names.split()):
        monkeypatch.setenv(name, str(number))
    found = load(broker).broker
    assert [v.origin for v in found.values()] == [f"environment {name}" for name in names.split()]


def test_numbers_from_the_environment(monkeypatch):
    monkeypatch.setenv("IB_PORT", "7497")
    assert load("ib").broker["port"].value == 7497
    for wrong in ("74x", "-1", "1.5", "9" * 20):
        monkeypatch.setenv("IB_PORT", wrong)
        with pytest.raises(
            rf.ConfigError, match=r"IB_PORT \(environment IB_PORT\) must be a whole"
        ):
            load("ib")


@pytest.mark.parametrize("place", ["missing", "folder", "binary", "huge", "latin"])
def test_a_file_that_a_variable_names_and_that_is_not_one(tmp_path, monkeypatch, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"a\0b")
    (tmp_path / "huge").write_bytes(b"a" * 100_000)
    (tmp_path / "latin").write_bytes(b"\xe9")
    monkeypatch.setenv("ALPACA_API_KEY_FILE", str(tmp_path / place))
    with pytest.raises(rf.ConfigError, match="ALPACA_API_KEY_FILE names a file that"):
        load()


# ---------------------------------------------------------------- .env


def test_dotenv_is_read_as_it_stands_and_stays_out_of_the_environment(here):
    dotenv(
        here,
        "A=1\n\nexport B='two words'\nC=\"x\\ny\"\nD=${HOME}$B # note\nE=\nF= padded \n",
    )
    before = dict(os.environ)
    found = read_dotenv(here).values
    assert {name: (v.value.reveal(), v.origin) for name, v in found.items()} == {
        "A": ("1", ".env:1"),
        "B": ("two words", ".env:3"),
        "C": ("x\ny", ".env:4"),
        "D": ("${HOME}$B", ".env:5"),
        "F": ("padded", ".env:7"),
    }
    assert dict(os.environ) == before


def test_dotenv_of_a_parent_is_not_read(here):
    dotenv(here.parent, "ALPACA_API_KEY=parent\n")
    assert load().broker == {}


def test_a_file_named_in_dotenv_is_the_weakest(here, tmp_path):
    (tmp_path / "mounted").write_text("mounted")
    dotenv(here, f"ALPACA_API_KEY_FILE={tmp_path / 'mounted'}\n")
    value = load().broker["api_key"]
    assert value == (Secret("mounted"), "file of ALPACA_API_KEY_FILE in .env:1")
    dotenv(here, f"ALPACA_API_KEY_FILE={tmp_path / 'mounted'}\nALPACA_API_KEY=own\n")
    assert load().broker["api_key"] == (Secret("own"), ".env:2")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A=1\nA=2\n", ".env:2: A is given twice, first in .env:1"),
        ("A=1\nB\n", ".env:2 is not of the form NAME=value"),
        ("A='open\n", ".env:1 is not of the form"),
        ("A=1\0\n", ".env holds no short text"),
        ("#" * 100_000, ".env holds no short text"),
    ],
)
def test_a_dotenv_that_cannot_be_read_is_refused(here, text, sentence):
    dotenv(here, text)
    with pytest.raises(rf.ConfigError) as refused:
        read_dotenv(here)
    assert str(refused.value).startswith(sentence)


@given(st.text(st.sampled_from("AB=#'\"\\\n ${}x\t\r\0é"), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_dotenv_is_read_or_refused(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    (folder / ".env").write_bytes(text.encode())
    try:
        found = read_dotenv(folder).values
    except rf.ConfigError:
        return
    assert all(value.value for value in found.values())


# ---------------------------------------------------------------- who else


@pytest.mark.skipif(os.name != "posix", reason="Windows has no modes")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602])
def test_a_dotenv_that_others_can_read_is_a_finding(here, mode):
    path = dotenv(here, "A=1\n")
    assert read_dotenv(here).findings == ()
    path.chmod(mode)
    (finding,) = read_dotenv(here).findings
    assert finding.startswith(".env can be read or changed by other users: chmod 600")


def test_a_dotenv_that_git_tracks_is_a_finding(here):
    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=here, check=True, capture_output=True)

    dotenv(here, "A=1\n")
    git("init", "-q")
    assert read_dotenv(here).findings == ()
    git("add", "-f", ".env")
    (finding,) = read_dotenv(here).findings
    assert finding.startswith(".env is tracked by git: git rm --cached")


def test_a_dotenv_that_sets_an_endpoint_is_a_finding(here):
    dotenv(here, "ALPACA_API_KEY=x\nALPACA_STREAM_URL=wss://evil.example\nIB_HOST=10.0.0.1\n")
    first, second = read_dotenv(here).findings
    assert first.startswith(".env:2 sets ALPACA_STREAM_URL: an endpoint belongs into")
    assert second.startswith(".env:3 sets IB_HOST")
    assert "evil" not in first


@pytest.mark.skipif(os.name != "posix", reason="Windows has no modes")
def test_a_configuration_with_a_secret_is_held_to_the_same(here):
    load(broker_config="{api_key: hunter2hunter2}")
    Path("c.yaml").chmod(0o644)
    assert load_settings("c.yaml").findings[0].startswith("c.yaml can be read or changed")
    load(broker_config="{api_key: vault://kv/alpaca#key, base_url: 'https://x.example'}")
    Path("c.yaml").chmod(0o644)
    assert load_settings("c.yaml").findings == ()


# ---------------------------------------------------------------- what is shown


def test_no_secret_is_shown_wherever_it_came_from(here, tmp_path, monkeypatch):
    monkeypatch.setenv("ALPACA_API_KEY", "canary-one-111")
    dotenv(here, "ALPACA_API_SECRET=canary-two-222\nALPACA_STREAM_URL=wss://me:canary-three@x\n")
    found = load(broker_config="{other: {token: canary-four-444, list: [canary-one-111]}}")
    table = explain(found)
    for shown in (table, repr(found), str(found.broker), repr(found.config)):
        assert "canary-two" not in shown
        assert "canary-four" not in shown
    assert "canary" not in table
    assert rows(found)
    lines = {line.split("  ")[0]: line.split() for line in table.splitlines() if line}
    assert lines["live.broker_config.api_key"][1:] == [HIDDEN, "environment", "ALPACA_API_KEY"]
    assert lines["live.broker_config.secret_key"][1:] == [HIDDEN, ".env:1"]
    assert lines["live.broker_config.stream_url"][1:] == [f"wss://{HIDDEN}@x", ".env:2"]
    assert lines["live.broker_config.other.token"][1:] == [HIDDEN, "c.yaml:4"]
    assert lines["live.paper"][1:] == ["true", "default"]
    assert "note: .env:2 sets ALPACA_STREAM_URL" in table


@pytest.mark.parametrize("text", ["ALPACA_API_SECRET=canary-222\nbroken\n", "A='canary-222\n"])
def test_a_traceback_with_variables_shows_nothing_of_dotenv_or_the_environment(
    here, monkeypatch, text
):
    monkeypatch.setenv("ALPACA_API_KEY", "canary-111")
    dotenv(here, text)
    with pytest.raises(rf.ConfigError) as refused:
        load(broker_config="{token: canary-333}")
    told = traceback.TracebackException.from_exception(refused.value, capture_locals=True)
    ours = [f for f in told.stack if "/regimeflow/" in f.filename and "/tests/" not in f.filename]
    assert ours
    assert "canary" not in repr([f.locals for f in ours])
