"""A configuration: every key with its default and its type, and every way to get it wrong."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import regimeflow as rf
from regimeflow.session.brokers import SimulatedKeys
from regimeflow.session.config import Config
from regimeflow.session.decode import dotted, leaves
from regimeflow.session.explain import _text, explain
from regimeflow.session.launch import check
from regimeflow.session.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = object()

#: Key, default, another value as one writes it, the same as it is read, a value it does not take.
KEYS = [
    ("live.broker", REQUIRED, "alpaca", "alpaca", "5"),
    ("live.symbols", REQUIRED, '["A", B]  # note', ("A", "B"), "[]"),
    ("live.broker_config", {}, "{host: x}", {"host": "x"}, "[a]"),
    ("live.broker_asset_class", "equity", "crypto", "crypto", "bonds"),
    ("live.paper", True, "false", False, "no"),
    ("live.account", None, "'4321'", "4321", "123"),
    ("live.dry_run", False, "true", True, "1"),
    ("live.log_dir", "./logs", "elsewhere", "elsewhere", "5"),
    ("live.run", None, "first", "first", "[]"),
    ("live.timeframe", None, "1min", "1min", "60"),
    ("live.cash", None, "5000", 5000.0, "0"),
    ("live.warmup", None, "100", 100, "-1"),
    ("live.seed", 0, "7", 7, "7.5"),
    ("live.replay_journal_path", None, "j.jsonl", "j.jsonl", "5"),
    ("live.duplicate_order_window_ms", 250.0, "0", 0.0, "-1"),
    ("live.max_order_value", 100_000.0, "50000", 50_000.0, "50k"),
    ("live.max_orders_per_minute", 60, "0", 0, "1.5"),
    ("live.max_orders_per_second", 0, "5", 5, "true"),
    ("live.daily_loss_limit", 0.0, "500", 500.0, "-500"),
    ("live.daily_loss_limit_pct", 0.0, "0.02", 0.02, "2"),
    ("live.order_reconcile_interval_ms", 30_000.0, "5000", 5_000.0, "0"),
    ("live.position_reconcile_interval_ms", 60_000.0, "5000", 5_000.0, "0"),
    ("live.account_refresh_interval_ms", 30_000.0, "5000", 5_000.0, "0"),
    ("live.reconnect.enabled", True, "false", False, "off"),
    ("live.reconnect.initial_ms", 1_000.0, "500", 500.0, "0"),
    ("live.reconnect.max_ms", 30_000.0, "10000", 10_000.0, "ten"),
    ("live.heartbeat.enabled", True, "false", False, "null"),
    ("live.heartbeat.interval_ms", 30_000.0, "10000", 10_000.0, "-1"),
    ("live.heartbeat.disable_trading_on_timeout", True, "false", False, "5"),
    ("live.heartbeat.cancel_orders_on_timeout", True, "false", False, "5"),
    ("live.reconciliation.disable_trading_on_error", True, "false", False, "5"),
    ("live.risk.limits.max_notional", None, "50000", 50_000.0, "0"),
    ("live.risk.limits.max_position", None, "100", 100.0, "'100'"),
    ("live.risk.limits.max_position_pct", None, "1", 1.0, "-0.1"),
    ("live.risk.limits.max_drawdown", None, "0.05", 0.05, "5"),
    ("live.risk.limits.max_gross_exposure", None, "2", 2.0, "a"),
    ("live.risk.limits.max_net_exposure", None, "1", 1.0, "a"),
    ("live.risk.limits.max_leverage", None, "2", 2.0, "0"),
    ("live.risk.limits.price_collar_bps", None, "100", 100.0, "a"),
    ("live.risk.limits.max_open_orders", None, "10", 10, "0"),
    ("live.risk.limits.max_data_age_ms", None, "5000", 5_000.0, "a"),
    ("live.audit.format", "csv", "jsonl", "jsonl", "json"),
    ("strategy.name", REQUIRED, "mine:Other", "mine:Other", "''"),
    ("strategy.params", {}, "{fast: 5, calm: 2.5, name: a}",
     {"fast": 5, "calm": 2.5, "name": "a"}, "[5]"),
    ("metrics.live.enable", False, "true", True, "yes"),
    ("metrics.live.baseline_report", None, "b.json", "b.json", "5"),
    ("metrics.live.output_dir", None, "out", "out", "5"),
    ("metrics.live.sinks", ("file",), "[]", (), "[kafka]"),
    ("metrics.prometheus.enabled", False, "true", True, "yes"),
    ("metrics.prometheus.host", "127.0.0.1", "'::1'", "::1", "5"),
    ("metrics.prometheus.port", 9_090, "0", 0, "70000"),
    ("metrics.prometheus.path", "/metrics", "/m", "/m", "m"),
    ("execution.slippage.type", "zero", "fixed_bps", "fixed_bps", "fixed"),
    ("execution.slippage.bps", None, "1", 1.0, "-1"),
    ("execution.slippage.default_bps", None, "1", 1.0, "-1"),
    ("execution.slippage.regime_bps", None, "{bear: 5}", {"bear": 5.0}, "5"),
    ("execution.commission.type", "zero", "fixed", "fixed", "percent"),
    ("execution.commission.amount", None, "1", 1.0, "-1"),
    ("execution.transaction_cost.type", "zero", "per_share", "per_share", "per_shares"),
    ("execution.transaction_cost.bps", None, "1", 1.0, "-1"),
    ("execution.transaction_cost.per_share", None, "0.005", 0.005, "-1"),
    ("execution.transaction_cost.per_order", None, "1", 1.0, "-1"),
    ("execution.transaction_cost.maker_rebate_bps", None, "-1", -1.0, "a"),
    ("execution.transaction_cost.taker_fee_bps", None, "1.5", 1.5, "-1"),
    ("execution.latency.ms", 0.0, "15", 15.0, "-1"),
    ("execution.simulation.bar_mode", "open_only", "close_only", "close_only", "close"),
]  # fmt: skip

#: A list of mappings, which the table above has no form for.
TIERS = "execution.transaction_cost.tiers"

LEAST = """
live: {broker: simulated, symbols: [SYN], broker_config: {data: synthetic}}
strategy: {name: "mine:Mine"}
"""


@pytest.fixture
def load(tmp_path):
    def load(text: str):
        path = tmp_path / "c.yaml"
        path.write_text(text)
        return load_settings(path, folder=tmp_path)

    return load


def with_key(key: str, value: str) -> str:
    """Return the least configuration with one key set, in a line of its own."""
    tree = yaml.load(LEAST, yaml.SafeLoader)
    here = tree
    *above, last = key.split(".")
    for name in above:
        here = here.setdefault(name, {})
    here[last] = "GIVEN"
    return yaml.safe_dump(tree, default_flow_style=False).replace("GIVEN", value)


def at(config, key: str):
    for name in key.split("."):
        config = getattr(config, name)
    return config


def test_the_table_has_every_key():
    assert {key for key, *_ in KEYS} | {TIERS} == {dotted(place) for place in leaves(Config)}


def test_the_reference_has_every_key_with_its_default():
    page = (ROOT / "docs" / "configuration.md").read_text()
    told = dict(re.findall(r"^\| `([a-z_.]+)` \|([^|]*)\|", page, re.MULTILINE))
    expected = {key: default for key, default, *_ in KEYS} | {TIERS: None}
    expected |= {
        f"live.broker_config.{f.name}": REQUIRED if f.required else f.default
        for f in msgspec.structs.fields(SimulatedKeys)
    }
    assert {key for key in told if "." in key} == set(expected)
    for key, default in expected.items():
        if default is REQUIRED:
            assert told[key].strip() == "required"
        elif default is not None and default != {}:
            assert told[key].strip() == f"`{_text(key, default)}`"


@pytest.mark.parametrize(("key", "default"), [(k, d) for k, d, *_ in KEYS if d is not REQUIRED])
def test_defaults(load, key, default):
    found = at(load(LEAST.replace(", broker_config: {data: synthetic}", "")).config, key)
    assert found == default
    assert type(found) is type(default)


@pytest.mark.parametrize(("key", "given", "value"), [(k, g, v) for k, _, g, v, _ in KEYS])
def test_every_key_is_read_as_its_type(load, key, given, value):
    config = load(with_key(key, given)).config
    assert at(config, key) == value
    assert type(at(config, key)) is type(value)


@pytest.mark.parametrize(("key", "wrong"), [(k, w) for k, *_, w in KEYS])
def test_every_key_refuses_another_type(load, key, wrong):
    text = with_key(key, wrong)
    line = next(
        n
        for n, t in enumerate(text.splitlines(), 1)
        if t.strip() == f"{key.rsplit('.')[-1]}: {wrong}"
    )
    with pytest.raises(rf.ConfigError) as refused:
        load(text)
    assert f"c.yaml:{line}: {key}" in str(refused.value)
    assert " must " in str(refused.value)


@pytest.mark.parametrize("key", [k for k, d, *_ in KEYS if d is REQUIRED])
def test_what_is_required(load, key):
    tree = yaml.load(LEAST, yaml.SafeLoader)
    section, name = key.split(".")
    del tree[section][name]
    tree[section]["log_dir" if section == "live" else "params"] = "x" if section == "live" else {}
    with pytest.raises(rf.ConfigError, match=f"{key} is required and missing"):
        load(yaml.safe_dump(tree))


def test_tiers(load):
    text = with_key(TIERS, "[{bps: 1, max_notional: 1000}, {bps: 0.5}]")
    first, second = at(load(text).config, TIERS)
    assert (first.bps, first.max_notional, second.bps, second.max_notional) == (1, 1000, 0.5, None)
    with pytest.raises(rf.ConfigError, match=r"tiers\[0\].bps is required and missing"):
        load(with_key(TIERS, "[{max_notional: 1000}]"))


# ---------------------------------------------------------------- sentences


@pytest.mark.parametrize(
    ("key", "given", "sentence"),
    [
        ("live.risk.limits.max_notionl", "5",
         "no key live.risk.limits.max_notionl. Did you mean 'max_notional'?"),
        ("live.max_drawdown", "5", "Did you mean 'live.risk.limits.max_drawdown'?"),
        ("lvie.broker", "x", "there is no key lvie. Did you mean 'live'?"),
        ("engine.capital", "5", "no key engine. Known here: live, strategy, metrics, execution."),
        ("metrics.live.enabled", "true", "Did you mean 'enable'?"),
        ("metrics.prometheus.enable", "true", "Did you mean 'enabled'?"),
        ("live.symbols", "SPY",
         "must be a list of text that is not empty, not the text 'SPY': write [SPY]"),
        ("live.symbols", "[]", "live.symbols must name at least one symbol, and is empty"),
        ("live.symbols", "[700]",
         "live.symbols[0] must be text that is not empty, not 700: put it in quotes"),
        ("live.symbols", "[A, true]", "live.symbols[1] must be text that is not empty, not true"),
        ("live.symbols", "[A, B, A]", "live.symbols[2] names 'A' a second time"),
        ("live.paper", "yes", "must be true or false, not the text 'yes': write true"),
        ("live.heartbeat", "5", "live.heartbeat must be a mapping of keys to values, not 5"),
        ("live.max_order_value", "lots", "must be a number of at least 0, not the text 'lots'"),
        ("live.broker_asset_class", "equities",
         "must be one of equity, crypto, not the text 'equities'. Did you mean 'equity'?"),
        ("live.broker_asset_class", "futures",
         "must be one of equity, crypto, not the text 'futures'"),
        ("live.daily_loss_limit_pct", "2", "a number of at least 0 and of at most 1, not 2"),
        ("live.reconnect.max_ms", "10", "live.reconnect.max_ms must not be below initial_ms"),
    ],
)  # fmt: skip
def test_sentences(load, key, given, sentence):
    with pytest.raises(rf.ConfigError) as refused:
        load(with_key(key, given))
    assert sentence in str(refused.value)


def test_a_section_whose_keys_are_all_commented_out_is_not_given(load):
    text = LEAST.replace("broker_config", "risk: , heartbeat: {}, broker_config")
    assert load(text).config.live.heartbeat.interval_ms == 30_000


def test_both_names_of_the_money_of_an_order(load):
    text = with_key("live.risk.limits.max_notional", "5000")
    load(text)
    with pytest.raises(rf.ConfigError, match="both limit the money of one order: give one"):
        load(text.replace("  broker: simulated", "  max_order_value: 1\n  broker: simulated"))


def test_a_secret_among_the_parameters_is_refused_and_not_shown(load):
    with pytest.raises(rf.ConfigError) as refused:
        load(with_key("strategy.params", "{a: {api_key: hunter2hunter2}}"))
    assert "strategy.params.a.api_key looks like a secret" in str(refused.value)
    assert "hunter2" not in str(refused.value)


# ---------------------------------------------------------------- what anybody may write


_KEYS = st.sampled_from(sorted({name for key, *_ in KEYS for name in key.split(".")}))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["simulated", "synthetic", "A", "mine:Mine", "fixed_bps"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


_SECTIONS = dict.fromkeys(("live", "strategy", "execution"), _VALUES)


@given(st.fixed_dictionaries({}, optional=_SECTIONS))
@settings(max_examples=200, deadline=None)
def test_any_tree_is_decoded_or_refused(tmp_path_factory, tree):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "fuzz.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True))
    _held_to(path, folder)


@given(
    st.lists(
        st.tuples(st.sampled_from(KEYS), st.sampled_from([2, 4]) | _VALUES), min_size=1, max_size=6
    )
)
@settings(max_examples=200, deadline=None)
def test_any_choice_of_keys_is_decoded_or_refused(tmp_path_factory, chosen):
    tree = yaml.load(LEAST, yaml.SafeLoader)
    for row, value in chosen:
        here = tree
        *above, last = row[0].split(".")
        for name in above:
            here = here.setdefault(name, {})
        here[last] = value if not isinstance(value, int) else yaml.load(row[2], yaml.SafeLoader)
    folder = tmp_path_factory.getbasetemp()
    path = folder / "fuzz.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True))
    _held_to(path, folder)


def _held_to(path, folder):
    """Only our own errors leave; what is taken can be explained, and is made of the right types."""
    problem = ""
    try:
        found = load_settings(path, folder=folder)
        explain(found)
        check(found)
    except rf.ConfigError as error:
        problem = str(error)
    assert "\n" not in problem
    if not problem:
        live = msgspec.structs.replace(found.config.live, broker_config={})
        assert msgspec.convert(msgspec.to_builtins(live), type(live)) == live
