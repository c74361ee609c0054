"""What a configuration says of a broker, as the venue's arguments; no client library is loaded."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import regimeflow as rf
from regimeflow.redaction import Secret
from regimeflow.session import brokers
from regimeflow.session.brokers import (
    BROKERS,
    AlpacaKeys,
    BinanceKeys,
    ContractKeys,
    ExchangeKeys,
    IbKeys,
    LoopbackKeys,
    exchanges,
    venue_of,
)
from regimeflow.session.launch import check, model_of
from regimeflow.session.settings import load_settings
from regimeflow.venues.ib.contracts import ContractFields

ROOT = Path(__file__).resolve().parents[2]
KEYS = "api_key: PKCANARY0001, secret_key: canary-two"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ALPACA_API_KEY", "BINANCE_API_KEY", "KRAKEN_API_KEY", "IB_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def made(monkeypatch):
    """Return what a venue was made of: its class by name, and the arguments."""
    found: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def make(name: str, *given: Any, **named: Any) -> str:
        found.append((name, given, {k: _plain(v) for k, v in named.items()}))
        return "a venue"

    monkeypatch.setattr(brokers, "_made", make)
    return found


def _plain(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value


def load(broker: str, keys: str, more: str = "", symbols: str = "AAA"):
    Path("c.yaml").write_text(
        f"live:\n  broker: {broker}\n  symbols: [{symbols}]\n"
        f"  broker_config: {{{keys}}}\n  {more}\n"
        "strategy: {name: 'mine.py:Hold'}\n"
    )
    return load_settings("c.yaml")


def arguments(made, settings) -> dict[str, Any]:
    venue_of(settings, model_of(settings.config))
    ((_, _, named),) = made
    return named


# ---------------------------------------------------------------- which broker


def test_every_name_of_the_reference_is_a_broker():
    assert set(BROKERS) == {"simulated", "loopback", "alpaca", "binance", "ib"}
    assert {"kraken", "bybit", "coinbase"} <= set(exchanges())
    assert not {"base", "pro", "abstract", "__init__"} & set(exchanges())


def test_any_exchange_of_ccxt_is_one(made):
    named = arguments(made, load("kraken", "api_key: a, secret_key: b, password: c"))
    assert made[0][:2] == ("Ccxt", ("kraken",))
    assert named == {
        "paper": True, "api_key": "a", "secret_key": "b", "password": "c", "config": {},
        "market": "spot", "timeout_ms": 10_000.0, "settle_ms": 5_000.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "near"), [("krakn", "kraken"), ("alpac", "alpaca"), ("simulate", "simulated")]
)
def test_a_typing_error_is_answered_by_the_nearest(name, near):
    with pytest.raises(rf.ConfigError, match=rf"no broker {name!r}; .* Did you mean '{near}'"):
        check(load(name, ""))


def test_without_ccxt_the_message_tells_how_to_have_it(monkeypatch):
    monkeypatch.setattr(brokers, "exchanges", list)
    with pytest.raises(rf.ConfigError, match=r'pip install "regimeflow-jupyter\[ccxt\]"'):
        check(load("kraken", KEYS))


def test_no_client_library_is_loaded_to_read_a_configuration(tmp_path):
    code = (
        "import sys\n"
        "from regimeflow.session.launch import check\n"
        "from regimeflow.session.settings import load_settings\n"
        "check(load_settings('c.yaml'))\n"
        "print(sorted({'alpaca', 'ccxt', 'ib_async', 'ib_insync'} & set(sys.modules)))\n"
    )
    for broker, keys in (("alpaca", KEYS), ("kraken", KEYS), ("ib", ""), ("binance", KEYS)):
        load(broker, keys)
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": ""},
        )
        assert done.stdout == "[]\n"


# ---------------------------------------------------------------- each broker's keys


def test_alpaca(made):
    named = arguments(
        made,
        load("alpaca", f"{KEYS}, data_url: 'http://127.0.0.1:9'", "broker_asset_class: crypto"),
    )
    assert made[0][0] == "Alpaca"
    assert named == {
        "paper": True, "asset_class": "crypto", "api_key": "PKCANARY0001",
        "secret_key": "canary-two", "base_url": "", "data_url": "http://127.0.0.1:9",
        "stream_url": "", "data_stream_url": "", "fractional": False, "calendar": None,
        "timeout_ms": 10_000.0, "settle_ms": 5_000.0,
    }  # fmt: skip


def test_keys_come_from_the_environment(made, monkeypatch):
    monkeypatch.setenv("ALPACA_API_KEY", "PKENV")
    Path("secret").write_text("from-a-file\n")
    monkeypatch.setenv("ALPACA_API_SECRET_FILE", "secret")
    monkeypatch.setenv("ALPACA_PAPER_BASE_URL", "http://127.0.0.1:8")
    named = arguments(made, load("alpaca", ""))
    assert (named["api_key"], named["secret_key"]) == ("PKENV", "from-a-file")
    assert named["base_url"] == "http://127.0.0.1:8"


def test_an_address_for_paper_is_not_taken_for_real_money(made, monkeypatch):
    monkeypatch.setenv("ALPACA_PAPER_BASE_URL", "http://127.0.0.1:8")
    assert arguments(made, load("alpaca", KEYS, "paper: false"))["base_url"] == ""
    made.clear()
    given = load("alpaca", f"{KEYS}, base_url: 'http://x'", "paper: false")
    assert arguments(made, given)["base_url"] == "http://x"


@pytest.mark.parametrize(
    ("broker", "keys", "words"),
    [
        ("alpaca", "", "live.broker_config.api_key is required"),
        ("alpaca", f"{KEYS}, api_kee: x", "Did you mean 'api_key'"),
        ("alpaca", f"{KEYS}, port: 1", "there is no key live.broker_config.port"),
        ("kraken", "api_key: a", "live.broker_config.secret_key is required"),
        ("binance", f"{KEYS}, recv_window_ms: soon", "live.broker_config.recv_window_ms"),
        ("ib", "port: 70000", "live.broker_config.port"),
        ("ib", "client_id: -1", "live.broker_config.client_id"),
        ("ib", "contracts: {AAA: {security_typ: FUT}}", "Did you mean 'security_type'"),
        ("ib", "contracts: {AAA: {security_type: CAR}}", "security_type"),
        ("ib", "defaults: {strike: low}", "live.broker_config.defaults.strike"),
        ("loopback", "", "live.broker_config.port is required"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(broker, keys, words):
    with pytest.raises(rf.ConfigError, match=re.escape(words)):
        check(load(broker, keys))


def test_secrets_are_shown_nowhere():
    settings = load("alpaca", KEYS)
    assert "canary" not in repr(settings).lower().replace("c.yaml", "")
    assert "canary" not in repr(brokers.keys_of(settings)).lower()


def test_binance_in_the_words_of_ccxt(made):
    keys = (
        f"{KEYS}, base_url: 'http://127.0.0.1:8/', stream_url: 'ws://127.0.0.1:8/stream/ws', "
        "recv_window_ms: 3000, config: {options: {defaultType: spot}, timeout: 5}"
    )
    named = arguments(made, load("binance", keys))
    assert made[0][:2] == ("Ccxt", ("binance",))
    assert named["config"] == {
        "urls": {
            "api": {
                "public": "http://127.0.0.1:8/api/v3",
                "private": "http://127.0.0.1:8/api/v3",
                "ws": {"spot": "ws://127.0.0.1:8/stream/ws"},
            }
        },
        "options": {"recvWindow": 3_000, "defaultType": "spot"},
        "timeout": 5,
    }
    made.clear()
    assert arguments(made, load("binance", KEYS))["config"] == {}


def test_interactive_brokers(made, monkeypatch):
    monkeypatch.setenv("IB_PORT", "4002")
    named = arguments(
        made,
        load(
            "ib",
            "client_id: 7, account: DU1234567, defaults: {exchange: NASDAQ, currency: USD}, "
            "contracts: {ES: {security_type: FUT, exchange: CME, right: PUT, "
            "last_trade_date_or_contract_month: 202612, multiplier: 50, margin: 0.05}}, "
            "extended_hours: true, settle_ms: 3000, fee_wait_ms: 0, heartbeat_ms: 2000",
            symbols="AAPL, ES",
        ),
    )
    assert made[0][0] == "InteractiveBrokers"
    assert named == {
        "paper": True, "host": "127.0.0.1", "port": 4002, "client_id": 7, "account": "DU1234567",
        "contracts": {
            "AAPL": {"exchange": "NASDAQ", "currency": "USD"},
            "ES": {
                "exchange": "CME", "currency": "USD", "security_type": "FUT", "right": "P",
                "last_trade_date_or_contract_month": 202612, "multiplier": 50.0, "margin": 0.05,
            },
        },
        "calendar": "XNYS", "extended_hours": True, "timeout_ms": 5_000.0,
        "fee_wait_ms": 0.0, "heartbeat_ms": 2_000.0, "settle_ms": 3_000.0,
    }  # fmt: skip
    made.clear()
    assert arguments(made, load("ib", ""))["contracts"] == {}


def test_everything_the_adapter_takes_can_be_said_in_a_file():
    known = set(brokers.ContractKeys.__struct_fields__)
    assert known == set(ContractFields.__struct_fields__)
    taken = set(inspect.signature(rf.venues.InteractiveBrokers).parameters)
    assert taken - {"paper"} == set(brokers.IbKeys.__struct_fields__) - {"defaults"}


@pytest.mark.parametrize(
    ("broker", "keys", "name", "variable"),
    [
        ("alpaca", "", "api_key", "ALPACA_API_KEY"),
        ("alpaca", "api_key: PK1", "secret_key", "ALPACA_API_SECRET"),
        ("binance", "", "api_key", "BINANCE_API_KEY"),
        ("kraken", "", "api_key", "KRAKEN_API_KEY"),
    ],
)
def test_a_missing_key_is_told_with_its_variable(broker, keys, name, variable):
    told = rf"live\.broker_config\.{name} is required and missing: .* or set {variable} in"
    with pytest.raises(rf.ConfigError, match=told):
        check(load(broker, keys))


def test_a_contract_of_no_symbol_is_a_mistake(made):
    settings = load("ib", "contracts: {ESZ: {exchange: CME}}", symbols="ESZ6")
    with pytest.raises(rf.ConfigError, match=r"contracts names 'ESZ', .*Did you mean 'ESZ6'"):
        venue_of(settings, model_of(settings.config))


def test_loopback():
    settings = load("loopback", "port: 7001, settle_ms: 5")
    venue = venue_of(settings, model_of(settings.config))
    assert (venue.port, venue.paper, venue.capabilities.settle_ms) == (7001, True, 5.0)
    settings = load("loopback", "port: 7001", "paper: false")
    assert venue_of(settings, model_of(settings.config)).paper is False


# ---------------------------------------------------------------- the page


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("Keys of `loopback`", LoopbackKeys),
        ("Keys of `alpaca`", AlpacaKeys),
        ("Keys of `binance`", BinanceKeys),
        ("Keys of any other exchange", ExchangeKeys),
        ("Keys of `ib`", IbKeys),
        ("Fields of a contract", ContractKeys),
    ],
)
def test_the_reference_has_every_key_of_every_broker(heading, kind):
    page = (ROOT / "docs" / "configuration.md").read_text()
    _, _, after = page.partition(f"\n{heading}")
    table = re.search(r"(?:^\|.*\n)+", after, re.MULTILINE)
    told = dict(re.findall(r"^\| `([a-z_]+)` \|([^|]*)\|", table[0], re.MULTILINE))
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    assert set(told) == set(fields)
    for name, field in fields.items():
        if field.required:
            assert told[name].strip() == "required"
        elif isinstance(field.default, int | float) and field.default not in (None, False):
            assert told[name].strip() == f"`{field.default:g}`"
