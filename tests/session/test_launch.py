"""What a configuration means in terms of our own objects, and what this version refuses."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

import regimeflow as rf
from regimeflow.journal import events
from regimeflow.model.events import Start
from regimeflow.redaction import Secret
from regimeflow.session.brokers import BROKERS, Broker, SimulatedKeys, keys_of, venue_of
from regimeflow.session.launch import (
    check,
    intervals_of,
    limits_of,
    model_of,
    output_dir_of,
    real_money_obstacles,
    run_dir_of,
    session_of,
    strategy_of,
)
from regimeflow.session.settings import load_settings
from regimeflow.venues.intervals import Intervals
from regimeflow.venues.port import Capabilities

CODE = """
import regimeflow as rf

class Hold(rf.Strategy):
    qty: float = 10.0

    def on_bar(self, ctx, bar):
        ctx.target(bar.symbol, qty=self.qty)

def hold(ctx, bar):
    ctx.target(bar.symbol, qty=10)
"""

FILE = """
live:
  broker: {broker}
  symbols: [{symbols}]
  broker_config: {{{keys}}}
  LIVE
strategy: {{name: "mine.py:Hold", params: {{PARAMS}}}}
execution: {{EXECUTION}}
METRICS
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(CODE)
    yield tmp_path
    sys.modules.pop("mine", None)


def load(
    live="", execution="", *, params="", metrics="", symbols="SYN",
    keys="data: synthetic, rows: 300, speed: null", broker="simulated",
):  # fmt: skip
    text = FILE.format(broker=broker, symbols=symbols, keys=keys).replace("METRICS", metrics)
    text = text.replace("LIVE", live.replace("\n", "\n  ")).replace("PARAMS", params)
    Path("c.yaml").write_text(text.replace("EXECUTION", execution))
    return load_settings("c.yaml")


# ---------------------------------------------------------------- limits


DEFAULT = rf.Limits(
    max_notional=100_000.0, max_orders_per_minute=60, duplicate_window_ms=250.0, symbols=("SYN",)
)


@pytest.mark.parametrize(
    ("live", "changes"),
    [
        ("", {}),
        ("max_order_value: 5000", {"max_notional": 5_000.0}),
        ("max_order_value: 0", {"max_notional": None}),
        # The integer that the C++ version ignored.
        ("risk: {limits: {max_notional: 50000}}", {"max_notional": 50_000.0}),
        ("risk: {limits: {max_notional: 500000.5}}", {"max_notional": 500_000.5}),
        ("max_orders_per_minute: 0", {"max_orders_per_minute": None}),
        ("max_orders_per_second: 5", {"max_orders_per_second": 5}),
        ("duplicate_order_window_ms: 0", {"duplicate_window_ms": 0.0}),
        ("daily_loss_limit: 500", {"daily_loss": 500.0}),
        ("daily_loss_limit_pct: 0.02", {"daily_loss_pct": 0.02}),
        ("risk: {limits: {max_position: 100}}", {"max_position": 100.0}),
        ("risk: {limits: {max_position_pct: 1}}", {"max_position_pct": 1.0}),
        ("risk: {limits: {max_drawdown: 0.1}}", {"max_drawdown": 0.1}),
        ("risk: {limits: {max_gross_exposure: 2}}", {"max_gross_exposure": 2.0}),
        ("risk: {limits: {max_net_exposure: 1}}", {"max_net_exposure": 1.0}),
        ("risk: {limits: {max_leverage: 3}}", {"max_leverage": 3.0}),
        ("risk: {limits: {price_collar_bps: 50}}", {"price_collar_bps": 50.0}),
        ("risk: {limits: {max_open_orders: 4}}", {"max_open_orders": 4}),
        ("risk: {limits: {max_data_age_ms: 900}}", {"max_data_age_ms": 900.0}),
    ],
)
def test_limits(live, changes):
    expected = {name: getattr(DEFAULT, name) for name in DEFAULT.__struct_fields__} | changes
    assert limits_of(load(live).config) == rf.Limits(**expected)


@pytest.mark.parametrize(
    ("live", "most", "expected"),
    [
        ("", 0.0, None),
        ("max_orders_per_second: 0", 12.0, 12),
        ("max_orders_per_second: 0", 200 / 60, 3),  # whole orders, and none too many
        ("max_orders_per_second: 0", 0.5, 1),
        ("max_orders_per_second: 5", 12.0, 5),
        ("max_orders_per_second: 50", 12.0, 50),  # said so; `regimeflow doctor` objects
    ],
)
def test_orders_a_second_are_the_brokers_own_where_the_file_leaves_them_open(live, most, expected):
    venue = SimpleNamespace(capabilities=Capabilities(orders_per_second=most))
    assert limits_of(load(live).config, venue).max_orders_per_second == expected


@pytest.mark.parametrize(
    ("live", "timeframe", "age_ms"),
    [
        ("", "1min", 125_000.0),
        ("", "5min", 605_000.0),
        ("heartbeat: {interval_ms: 200000}", "1min", 200_000.0),
        ("heartbeat: {interval_ms: 1000}", "1min", 125_000.0),
        ("heartbeat: {enabled: false}", "1min", None),
        ("heartbeat: {disable_trading_on_timeout: false}", "1min", None),
        ("heartbeat: {enabled: false}\nrisk: {limits: {max_data_age_ms: 900}}", "1min", 900.0),
        ("risk: {limits: {max_data_age_ms: 900}}", "1min", 900.0),
    ],
)
def test_the_heartbeat_is_the_age_that_prices_may_have(live, timeframe, age_ms):
    session = session_of(load(f"{live}\ntimeframe: {timeframe}\nrun: a"))
    session.run(progress=False)
    (start,) = [e for _, e, _ in events(session.run_dir) if isinstance(e, Start)]
    assert start.limits.max_data_age_ms == age_ms


def test_intervals():
    assert intervals_of(load().config) == Intervals(
        heartbeat_ms=30_000,
        reconnect_initial_ms=1_000,
        reconnect_max_ms=30_000,
        order_poll_ms=30_000,
        position_poll_ms=60_000,
        account_ms=30_000,
    )
    assert intervals_of(
        load(
            "heartbeat: {interval_ms: 5, disable_trading_on_timeout: false, "
            "cancel_orders_on_timeout: false}\n"
            "reconnect: {enabled: false, initial_ms: 6, max_ms: 7}\n"
            "reconciliation: {disable_trading_on_error: false}\n"
            "order_reconcile_interval_ms: 1\nposition_reconcile_interval_ms: 2\n"
            "account_refresh_interval_ms: 3"
        ).config
    ) == Intervals(
        heartbeat_ms=5,
        hold_when_stale=False,
        cancel_when_stale=False,
        reconnect=False,
        reconnect_initial_ms=6,
        reconnect_max_ms=7,
        hold_when_unreconciled=False,
        order_poll_ms=1,
        position_poll_ms=2,
        account_ms=3,
    )


# ---------------------------------------------------------------- fills, costs, latency


@pytest.mark.parametrize(
    ("execution", "costs"),
    [
        ("", {}),
        ("slippage: {type: zero}", {}),
        ("slippage: {type: fixed_bps, bps: 2}", {"slippage_bps": 2.0}),
        ("commission: {type: fixed, amount: 1}", {"per_order": 1.0}),
        ("transaction_cost: {type: fixed_bps, bps: 5}", {"commission_bps": 5.0}),
        ("transaction_cost: {type: per_share, per_share: 0.005}", {"per_share": 0.005}),
        ("transaction_cost: {type: per_order, per_order: 2}", {"per_order": 2.0}),
        (
            "transaction_cost: {type: maker_taker, maker_rebate_bps: 0.2, taker_fee_bps: 1.5}",
            {"maker_bps": -0.2, "taker_bps": 1.5},
        ),
        (
            (
                "commission: {type: fixed, amount: 1}, "
                "transaction_cost: {type: per_order, per_order: 2}"
            ),
            {"per_order": 3.0},
        ),
        (
            (
                "slippage: {type: fixed_bps, bps: 1}, commission: {type: fixed, amount: 1}, "
                "transaction_cost: {type: fixed_bps, bps: 5}"
            ),
            {"slippage_bps": 1.0, "per_order": 1.0, "commission_bps": 5.0},
        ),
    ],
)
def test_costs(execution, costs):
    assert model_of(load(execution=execution).config).costs == rf.Costs(**costs)


@pytest.mark.parametrize(
    ("execution", "fills", "latency"),
    [
        ("", "next_open", 0.0),
        ("simulation: {bar_mode: open_only}", "next_open", 0.0),
        ("simulation: {bar_mode: close_only}", "close", 0.0),
        ("latency: {ms: 15}", "next_open", 15.0),
    ],
)
def test_fills_and_latency(execution, fills, latency):
    model = model_of(load(execution=execution).config)
    assert model.fills == rf.FillModel(market=fills)
    assert model.latency == rf.Latency(order_ms=latency)


@pytest.mark.parametrize(
    ("execution", "sentence"),
    [
        ("simulation: {bar_mode: intrabar_ohlc}", "bar_mode: .* use open_only"),
        ("slippage: {type: regime_bps, default_bps: 1}", "slippage.type: .* use fixed_bps"),
        ("transaction_cost: {type: tiered, tiers: []}", "cost.type: .* use fixed_bps"),
        ("slippage: {type: fixed_bps}", "slippage: type fixed_bps needs bps"),
        ("slippage: {bps: 1}", "slippage.bps has no effect with type zero"),
        ("slippage: {type: fixed_bps, bps: 1, default_bps: 1}", "default_bps has no effect"),
        ("slippage: {regime_bps: {bear: 1}}", "regime_bps has no effect"),
        ("commission: {type: fixed}", "commission: type fixed needs amount"),
        ("commission: {amount: 1}", "commission.amount has no effect with type zero"),
        ("transaction_cost: {type: per_share, bps: 1}", "bps has no effect with type per_share"),
        ("transaction_cost: {type: per_share}", "type per_share needs per_share"),
        ("transaction_cost: {type: maker_taker, taker_fee_bps: 1}", "needs maker_rebate_bps and"),
        (
            "transaction_cost: {type: maker_taker, taker_fee_bps: 1, maker_rebate_bps: 0, bps: 1}",
            "bps has no effect with type maker_taker",
        ),
        ("transaction_cost: {tiers: [{bps: 1}]}", "tiers has no effect with type zero"),
    ],
)
def test_what_the_simulator_cannot_do_is_refused(execution, sentence):
    with pytest.raises(rf.ConfigError, match=f"^execution.*{sentence}"):
        check(load(execution=execution))


# ---------------------------------------------------------------- brokers


def test_a_typing_error_in_the_broker():
    with pytest.raises(rf.ConfigError, match="Did you mean 'simulated'"):
        check(load(broker="simulate"))


def test_the_simulated_broker_has_no_real_money():
    with pytest.raises(rf.ConfigError, match=r"c\.yaml:6: the broker 'simulated' has no real"):
        check(load("paper: false"))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ("", "live.broker_config.data is required and missing"),
        ("data: synthetic, sped: 5", "there is no key live.broker_config.sped. Did you mean"),
        ("data: synthetic, speed: fast", "live.broker_config.speed must be a number above 0"),
        ("data: 5", "live.broker_config.data must be text that is not empty or a mapping"),
        ("data: {SYN: 5}", "live.broker_config.data"),
        ("data: synthetic, frames: dask", "must be one of pandas, polars"),
    ],
)
def test_keys_of_the_simulated_broker_are_decoded_too(keys, sentence):
    with pytest.raises(rf.ConfigError, match=sentence):
        check(load(keys=keys))


def test_defaults_of_the_simulated_broker():
    assert keys_of(load(keys="data: sp500")) == SimulatedKeys(data="sp500")
    venue = venue_of(load(keys="data: synthetic, rows: 10"), model_of(load().config))
    assert (venue.speed, venue.cash, venue.start, venue.timezone) == (1.0, 100_000.0, None, "UTC")


@pytest.mark.parametrize(
    ("keys", "symbols", "rows"),
    [
        ("data: synthetic, rows: 50", ["A", "B"], 50),
        ("data: synthetic, rows: 50, frames: polars", ["A"], 50),
        ("data: bars.csv", ["A"], 300),
        ("data: bars.csv, frames: polars", ["A"], 300),
        ("data: {A: bars.csv, B: bars.parquet, C: nowhere.csv}", ["A", "B"], 300),
        ("data: sp500, start: 2017-01-03, calendar: XNYS", ["SP500"], 5_031),
        ("data: nasdaq", ["COMP"], 5_031),
    ],
)
def test_data_of_the_simulated_broker(keys, symbols, rows):
    bars = rf.datasets.synthetic(n=300, flavour="polars")
    bars.write_csv("bars.csv")
    bars.write_parquet("bars.parquet")
    settings = load(keys=keys, symbols=", ".join(symbols))
    data = venue_of(settings, model_of(settings.config)).dataset(symbols)
    assert [(b.symbol, len(b.ts)) for b in data.bars] == [(s, rows) for s in symbols]


def test_a_symbol_without_a_file():
    with pytest.raises(rf.ConfigError, match=r"has no file for 'SYN'\. Did you mean 'SYM'"):
        session_of(load(keys="data: {SYM: bars.csv}"))


# ---------------------------------------------------------------- what a session keeps


def test_the_journal_is_not_parted_from_its_run():
    with pytest.raises(rf.ConfigError, match=r"c\.yaml:6: .*choose another place for both with"):
        check(load("replay_journal_path: j.jsonl"))


def test_a_dry_run_sends_nothing():
    live = session_of(load("dry_run: true\nrun: dry\nwarmup: 290")).run(progress=False)
    assert len(live.fills) == 0
    assert set(live.orders["status"]) == {"canceled"}
    assert set(live.orders["reason"]) == {"dry run: not sent"}
    assert live.shadow.fills > 0


@pytest.mark.parametrize(("format", "begins"), [("csv", "timestamp_us,"), ("jsonl", "{")])
def test_the_audit_log_has_the_format_of_the_file(format, begins):
    live = session_of(load(f"audit: {{format: {format}}}\nrun: a")).run(progress=False)
    assert (live.run_dir / "audit.log").read_text().startswith(begins)


def test_drift_and_performance_go_where_the_file_says(here):
    metrics = "metrics: {live: {enable: true, output_dir: out/x}}"
    live = session_of(load("run: a", metrics=metrics)).run(progress=False)
    names = {"live_drift.csv", "live_performance.json"}
    assert names == {path.name for path in (here / "out" / "x").iterdir()}
    assert not names & {path.name for path in live.run_dir.iterdir()}
    again = session_of(load("run: b", metrics=metrics))
    with pytest.raises(rf.SessionError, match=r"choose another output_dir"):
        again.run(progress=False)


SAYING = """
import regimeflow as rf

class Hold(rf.Strategy):
    qty: float = 10.0

    def on_bar(self, ctx, bar):
        if bar.ts % 600_000_000_000 == 0:
            ctx.buy(bar.symbol, qty=1, tag="canary-five-5555")
"""


def test_secrets_stay_out_of_the_audit_log(here, monkeypatch):
    monkeypatch.setitem(
        BROKERS, "keyed", Broker(KeyedKeys, BROKERS["simulated"].venue, paper_only=False)
    )
    monkeypatch.setenv("KEYED_API_KEY", "canary-five-5555")
    monkeypatch.setenv("KEYED_SECRET_KEY", "another-5555")
    (here / "mine.py").write_text(SAYING)
    live = session_of(load("run: a", broker="keyed")).run(progress=False)
    assert len(live.fills) > 0
    log = (live.run_dir / "audit.log").read_text()
    assert "canary" not in log
    assert "(hidden)" in log


# ---------------------------------------------------------------- real money


def test_real_money_needs_limits_and_private_secrets(here):
    settings = load()
    assert real_money_obstacles(settings) == [
        "the limit max_position is missing",
        "the limit daily_loss is missing",
        "live.account is missing: whose money it is",
    ]
    complete = "account: U-1234\ndaily_loss_limit: 100\nrisk: {limits: {max_position: 10}}"
    assert real_money_obstacles(load(complete)) == []
    (here / ".env").write_text("ALPACA_API_KEY=x\n")
    (here / ".env").chmod(0o644)
    (obstacle,) = real_money_obstacles(load(complete))
    assert obstacle.startswith(".env can be read")


# ---------------------------------------------------------------- places


AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_run_directories():
    assert run_dir_of(load().config, "SmaCross", AT) == Path("logs/smacross-20260102T030405Z")
    assert run_dir_of(load().config, "../x", AT) == Path("logs/x-20260102T030405Z")
    assert run_dir_of(load().config, "<lambda>", AT) == Path("logs/lambda-20260102T030405Z")
    assert run_dir_of(load("run: first\nlog_dir: /var/runs").config, "X") == Path("/var/runs/first")
    assert output_dir_of(load().config, Path("r")) == Path("r")
    for live, place in (
        ("{enable: true}", "r"),
        ("{output_dir: ./out/x}", "r"),
        ("{enable: true, output_dir: ./out/x}", "out/x"),
        ("{enable: true, output_dir: ./out/x, sinks: []}", "r"),
    ):
        config = load(metrics=f"metrics: {{live: {live}}}").config
        assert output_dir_of(config, Path("r")) == Path(place)


ESCAPES = [
    "../x", "a/../../x", "/etc/x", "~/x", "C:/x", "\\\\host\\x", "..\\x", '"a\\tb"', "CON",
    "nul.txt", "a/aux", "com1", '"x "', "x.", "link", "link/x",
]  # fmt: skip


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("key", ["live.run", "metrics.live.output_dir"])
def test_names_stay_under_their_root(here, name, key):
    (here / "elsewhere").mkdir()
    for folder in (here, here / "logs"):
        folder.mkdir(exist_ok=True)
        (folder / "link").symlink_to(here / "elsewhere")
    if key == "live.run":
        settings = load(f"run: {name}")
    else:
        settings = load(metrics=f"metrics: {{live: {{output_dir: {name}}}}}")
    with pytest.raises(rf.ConfigError, match=f"^{key}"):
        check(settings)


# ---------------------------------------------------------------- strategy and session


def test_parameters_have_the_types_of_the_class(here):
    strategy = strategy_of(load(params="qty: 5"))
    assert (strategy.qty, type(strategy.qty)) == (5.0, float)
    with pytest.raises(rf.ConfigError, match="Did you mean 'qty'"):
        strategy_of(load(params="qtty: 5"))
    settings = load(params="qty: 5")
    text = Path("c.yaml").read_text().replace("mine.py:Hold", "mine.py:hold")
    Path("c.yaml").write_text(text)
    settings = load_settings("c.yaml")
    with pytest.raises(rf.ConfigError, match=r"strategy.params are for a strategy class"):
        strategy_of(settings)
    Path("c.yaml").write_text(text.replace("qty: 5", ""))
    assert repr(strategy_of(load_settings("c.yaml"))) == "hold"


def test_a_session_is_the_same_as_one_made_by_hand(here):
    settings = load(
        "run: first\ncash: 5000\nseed: 3\nwarmup: 20\nmax_order_value: 900\ntimeframe: 1min",
        "transaction_cost: {type: fixed_bps, bps: 5}, latency: {ms: 5}",
        params="qty: 8",
        keys="data: synthetic, rows: 300, speed: null, start: '2024-01-02 02:00', data_seed: 4",
    )
    live = session_of(settings).run(progress=False)
    assert live.run_dir == Path("logs/first")
    sys.path.insert(0, str(here))
    import mine

    report = rf.backtest(
        mine.Hold(qty=8),
        rf.datasets.synthetic(n=300, seed=4),
        symbols="SYN",
        cash=5_000,
        start="2024-01-02 02:00",
        costs=rf.Costs(commission_bps=5),
        latency=rf.Latency(order_ms=5),
        limits=limits_of(settings.config),
    )
    assert len(report.fills) == 1
    assert live.fills["price"].tolist() == report.fills["price"].tolist()
    assert live.account.cash == report.equity["cash"].iloc[-1]
    assert rf.certify(live.run_dir).identical
    (start,) = [e for _, e, _ in events(live.run_dir) if isinstance(e, Start)]
    assert (start.seed, start.cash, start.warmup) == (3, 5_000.0, 20)


def test_the_limits_of_the_file_hold_in_the_session():
    live = session_of(load("max_order_value: 500", params="qty: 10")).run(progress=False)
    assert len(live.fills) == 0
    assert set(live.orders["status"]) == {"denied"}


def test_a_baseline_is_compared_with():
    rf.backtest(lambda ctx, bar: None, rf.datasets.synthetic(n=50), symbols="SYN",
                costs=rf.Costs(commission_bps=9)).save("base.json")  # fmt: skip
    settings = load(metrics="metrics: {live: {baseline_report: base.json}}")
    live = session_of(settings).run(progress=False)
    assert live.account.fees == 0.0
    assert live.shadow.fees > 0.0


# ---------------------------------------------------------------- another broker


class KeyedKeys(SimulatedKeys, frozen=True, kw_only=True):
    """A broker with credentials, played by the simulator."""

    api_key: Secret
    secret_key: Secret
    host: str = ""


def test_another_broker_is_one_row(here, monkeypatch):
    opened = []

    def keyed(config, keys, model):
        opened.append((keys.api_key.reveal(), keys.secret_key.reveal(), keys.host))
        return BROKERS["simulated"].venue(config, keys, model)

    monkeypatch.setitem(BROKERS, "keyed", Broker(KeyedKeys, keyed, paper_only=False))
    monkeypatch.setenv("KEYED_API_KEY", "canary-one-1111")
    (here / ".env").write_text("KEYED_SECRET_KEY=canary-two-2222")
    (here / ".env").chmod(0o644)
    settings = load("run: first", broker="keyed")
    check(settings)
    session_of(settings).run(progress=False)
    assert opened == [("canary-one-1111", "canary-two-2222", "")]
    for path in Path("logs/first").iterdir():
        assert b"canary" not in path.read_bytes()
    monkeypatch.delenv("KEYED_API_KEY")
    with pytest.raises(rf.ConfigError, match=r"broker_config\.api_key is required"):
        check(load(broker="keyed"))
    monkeypatch.setenv("KEYED_API_KEY", "canary-one-1111")
    with pytest.raises(rf.ConfigError, match=r"real money is refused: .*max_position.*chmod 600"):
        check(load("paper: false", broker="keyed"))
