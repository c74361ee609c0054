"""Secrets fetched by the stores' own tools, each played by a small program on the path."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import regimeflow as rf
from regimeflow.redaction import Secret
from regimeflow.session import secret_stores
from regimeflow.session.secret_stores import fetch, is_reference
from regimeflow.session.settings import load_settings

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the tools here are scripts with #!")

CANARY = "canary-b64/+=="


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Put a tool on the path, which notes its arguments and runs a piece of Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def tool(name: str, code: str) -> Path:
        path = folder / name
        path.write_text(
            f"#!{sys.executable} -I\nimport json, sys, time\n"
            f"json.dump(sys.argv[1:], open({str(tmp_path / 'asked')!r}, 'w'))\n{code}\n"
        )
        path.chmod(0o700)
        return tmp_path / "asked"

    return tool


def says(text: str) -> str:
    return f"print({text!r})"


FIELDS = json.dumps({"key": CANARY, "port": 7497, "none": None})


@pytest.mark.parametrize(
    ("reference", "name", "answer", "asked"),
    [
        ("vault://kv/prod/alpaca#key", "vault", CANARY, "kv get -field=key kv/prod/alpaca"),
        (
            "aws-sm://prod/alpaca#key", "aws", FIELDS,
            ("secretsmanager get-secret-value --secret-id prod/alpaca --query SecretString "
            "--output text"),
        ),
        (
            "aws-sm://arn:aws:secretsmanager:eu-west-1:123:secret:a-B1", "aws", CANARY,
            ("secretsmanager get-secret-value --secret-id "
            "arn:aws:secretsmanager:eu-west-1:123:secret:a-B1 --query SecretString --output text"),
        ),
        (
            "gcp-sm://quant-prod/alpaca#key", "gcloud", FIELDS,
            "secrets versions access latest --secret=alpaca --project=quant-prod",
        ),
        (
            "azure-kv://ops/alpaca#key", "az", FIELDS,
            "keyvault secret show --vault-name ops --name alpaca --query value --output tsv",
        ),
        (
            "azure-kv://ops/alpaca", "az", CANARY,
            "keyvault secret show --vault-name ops --name alpaca --query value --output tsv",
        ),
    ],
)  # fmt: skip
def test_each_store(tool, reference, name, answer, asked):
    noted = tool(name, says(answer))
    assert fetch(reference) == Secret(CANARY)
    assert " ".join(json.loads(noted.read_text())) == asked


def test_a_field_that_is_a_number(tool):
    tool("aws", says(FIELDS))
    assert fetch("aws-sm://x#port") == Secret("7497")


@pytest.mark.parametrize(
    "reference",
    [
        "vault://kv/alpaca", "vault://kv#key", "vault://#key", "vault://kv/../x#key",
        "vault://kv/a b#key", "vault://-kv/a#key", "vault://kv/-address=x#key", "vault://kv/a#-key",
        "vault://kv/a#", "vault://kv/a;id#key", "vault://kv/$(id)#k", "gcp-sm://secret",
        "gcp-sm://a/b/c", "azure-kv://vault", "aws-sm://", "aws-sm://--x", "vault://kv/a\n#key",
    ],
)  # fmt: skip
def test_a_reference_that_is_none_is_refused_and_runs_nothing(tool, reference):
    for name in ("vault", "aws", "gcloud", "az"):
        noted = tool(name, says(CANARY))
    with pytest.raises(rf.ConfigError, match="a reference to a secret looks like"):
        fetch(reference)
    assert not noted.exists()


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (f"print({CANARY!r}, file=sys.stderr); print({CANARY!r}); sys.exit(3)", "exit code 3"),
        ("time.sleep(60)", "did not answer within 0.5 s"),
        (f"print({CANARY!r} * 1_000_000)", "gave more than a secret"),
        (says(""), "has no value"),
        (says("{"), "has no value"),
        (says("[1]"), "has no value"),
        (says(json.dumps({"other": CANARY})), "has no value"),
        (says(json.dumps({"key": None, "other": CANARY})), "has no value"),
    ],
)
def test_a_store_that_fails_is_named_and_nothing_it_said(tool, monkeypatch, code, problem):
    monkeypatch.setattr(secret_stores, "TIMEOUT_S", 0.5 if "sleep" in code else 60.0)
    tool("aws", code)
    with pytest.raises(rf.ConfigError) as refused:
        fetch("aws-sm://prod/x#key")
    assert problem in str(refused.value)
    assert "aws-sm://prod/x#key" in str(refused.value)
    assert "canary" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_tool_that_is_not_installed(tool):
    with pytest.raises(rf.ConfigError, match="needs the command 'vault', which is not installed"):
        fetch("vault://kv/a#key")


@pytest.mark.parametrize(
    ("text", "reference"),
    [("vault://x", True), ("aws-sm://", True), ("vault:x", False), ("s3://x", False), ("", False)],
)
def test_what_is_a_reference(text, reference):
    assert is_reference(text) is reference


def test_a_configuration_fetches_only_when_its_values_are_needed(tool, tmp_path, monkeypatch):
    monkeypatch.delenv("ALPACA_API_KEY", raising=False)
    monkeypatch.setenv("ALPACA_API_SECRET", "vault://kv/alpaca#secret")
    noted = tool("vault", says(CANARY))
    path = tmp_path / "c.yaml"
    path.write_text(
        "live:\n  broker: alpaca\n  symbols: [A]\n  broker_config:\n"
        "    api_key: vault://kv/alpaca#key\n    base_url: vault://kv/alpaca#url\n"
        "strategy: {name: 'm:C'}\n"
    )
    found = load_settings(path, folder=tmp_path)
    assert not noted.exists()
    values = found.broker_values()
    assert values == {
        "api_key": Secret(CANARY),
        "base_url": CANARY,
        "secret_key": Secret(CANARY),
    }
    assert "canary" not in found.redactor.text(f"GET {CANARY}")
