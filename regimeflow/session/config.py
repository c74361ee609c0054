"""What a configuration file may say: every key, its type and its default.

A key that is not in here, a value of another type and a missing required key are refused, with the
key's whole path and its line. `regimeflow.session.settings` reads the file, and
`regimeflow.session.launch` makes a session of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

#: A number from zero on, a number above zero, and a fraction above zero.
NotNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Fraction = Annotated[float, Meta(gt=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One level of keys."""


class Reconnect(Section, frozen=True, kw_only=True):
    """How a lost connection is taken up again.

    Attributes:
        enabled: whether it is.
        initial_ms, max_ms: the first and the longest wait between two attempts.
    """

    enabled: bool = True
    initial_ms: Positive = 1_000.0
    max_ms: Positive = 30_000.0


class Heartbeat(Section, frozen=True, kw_only=True):
    """When a feed is taken for dead.

    Attributes:
        enabled: whether prices have a greatest age at all.
        interval_ms: that age; of bars the larger of this and two bar lengths and five seconds.
        disable_trading_on_timeout: no new exposure then.
        cancel_orders_on_timeout: working orders are cancelled then.
    """

    enabled: bool = True
    interval_ms: Positive = 30_000.0
    disable_trading_on_timeout: bool = True
    cancel_orders_on_timeout: bool = True


class Reconciliation(Section, frozen=True, kw_only=True):
    """What happens when our books and the broker's cannot be compared."""

    disable_trading_on_error: bool = True


class RiskLimits(Section, frozen=True, kw_only=True):
    """Limits that are off unless they are given; meanings as in `regimeflow.Limits`."""

    max_notional: Positive | None = None
    max_position: Positive | None = None
    max_position_pct: Positive | None = None
    max_drawdown: Fraction | None = None
    max_gross_exposure: Positive | None = None
    max_net_exposure: Positive | None = None
    max_leverage: Positive | None = None
    price_collar_bps: Positive | None = None
    max_open_orders: Annotated[int, Meta(gt=0)] | None = None
    max_data_age_ms: Positive | None = None


class Risk(Section, frozen=True, kw_only=True):
    """The risk block."""

    limits: RiskLimits = RiskLimits()


class Audit(Section, frozen=True, kw_only=True):
    """The audit log's format."""

    format: Literal["csv", "jsonl"] = "csv"


class Live(Section, frozen=True, kw_only=True):
    """Where and what is traded.

    Attributes:
        broker: its name; see `regimeflow.session.brokers`.
        symbols: what is traded.
        broker_config: the broker's own keys.
        broker_asset_class: decides which orders the broker takes.
        paper: no real money.
        account: whose real money it is: its number at the broker, or the last four characters.
        dry_run: decide everything and send nothing.
        log_dir: run directories are made in it.
        run: name of the run directory; the strategy's name and the time without it.
        timeframe: of the bars; inferred without it.
        cash: money the session may use; all of the account's without it.
        warmup: bars of each series that the strategy is given from before the session.
        seed: of ``ctx.rng``.
        replay_journal_path: refused: the journal stays in the run directory.
        duplicate_order_window_ms: equal orders within it are denied; 0 is off.
        max_order_value: money per order; 0 is off.
        max_orders_per_minute, max_orders_per_second: 0 is off, and the broker's own for the second.
        daily_loss_limit: money lost in a session day; 0 is off.
        daily_loss_limit_pct: the same as a fraction of the day's first equity; 0 is off.
        order_reconcile_interval_ms, position_reconcile_interval_ms, account_refresh_interval_ms:
            how often the broker is asked.
    """

    broker: Text
    symbols: Annotated[tuple[Text, ...], Meta(min_length=1)]
    broker_config: dict[str, Any] = {}
    broker_asset_class: Literal["equity", "crypto"] = "equity"
    paper: bool = True
    account: Annotated[str, Meta(min_length=4)] | None = None
    dry_run: bool = False
    log_dir: Text = "./logs"
    run: Text | None = None
    timeframe: Text | None = None
    cash: Positive | None = None
    warmup: Count | None = None
    seed: Count = 0
    replay_journal_path: Text | None = None
    duplicate_order_window_ms: NotNegative = 250.0
    max_order_value: NotNegative = 100_000.0
    max_orders_per_minute: Count = 60
    max_orders_per_second: Count = 0
    daily_loss_limit: NotNegative = 0.0
    daily_loss_limit_pct: Annotated[float, Meta(ge=0, le=1)] = 0.0
    order_reconcile_interval_ms: Positive = 30_000.0
    position_reconcile_interval_ms: Positive = 60_000.0
    account_refresh_interval_ms: Positive = 30_000.0
    reconnect: Reconnect = Reconnect()
    heartbeat: Heartbeat = Heartbeat()
    reconciliation: Reconciliation = Reconciliation()
    risk: Risk = Risk()
    audit: Audit = Audit()


class StrategyConfig(Section, frozen=True, kw_only=True):
    """What decides.

    Attributes:
        name: ``module:Class``, ``path/file.py:Class`` or ``notebook.ipynb:Class``.
        params: its parameters.
    """

    name: Text
    params: dict[str, Any] = {}


class LiveMetrics(Section, frozen=True, kw_only=True):
    """Drift and performance files of a session.

    Attributes:
        enable: whether they go to ``output_dir``; otherwise they go to the run directory.
        baseline_report: a saved backtest to compare with.
        output_dir: where they go; the run directory without it.
        sinks: how they are written.
    """

    enable: bool = False
    baseline_report: Text | None = None
    output_dir: Text | None = None
    sinks: tuple[Literal["file"], ...] = ("file",)


class Prometheus(Section, frozen=True, kw_only=True):
    """The metrics endpoint."""

    enabled: bool = False
    host: Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 9_090
    path: Annotated[str, Meta(pattern=r"^/[\w./-]*$")] = "/metrics"


class Metrics(Section, frozen=True, kw_only=True):
    """What is measured and where it can be read."""

    live: LiveMetrics = LiveMetrics()
    prometheus: Prometheus = Prometheus()


class Slippage(Section, frozen=True, kw_only=True):
    """Price paid beyond the market's, for fills that take liquidity."""

    type: Literal["zero", "fixed_bps", "regime_bps"] = "zero"
    bps: NotNegative | None = None
    default_bps: NotNegative | None = None
    regime_bps: dict[str, NotNegative] | None = None


class Commission(Section, frozen=True, kw_only=True):
    """A fee of the same size for every order, money."""

    type: Literal["zero", "fixed"] = "zero"
    amount: NotNegative | None = None


class Tier(Section, frozen=True, kw_only=True):
    """One step of a tiered fee."""

    bps: NotNegative
    max_notional: Positive | None = None


class TransactionCost(Section, frozen=True, kw_only=True):
    """A fee that depends on the fill; a maker's rebate is positive."""

    type: Literal["zero", "fixed_bps", "per_share", "per_order", "maker_taker", "tiered"] = "zero"
    bps: NotNegative | None = None
    per_share: NotNegative | None = None
    per_order: NotNegative | None = None
    maker_rebate_bps: float | None = None
    taker_fee_bps: NotNegative | None = None
    tiers: tuple[Tier, ...] | None = None


class LatencyConfig(Section, frozen=True, kw_only=True):
    """From the decision until the venue has the request."""

    ms: NotNegative = 0.0


class Simulation(Section, frozen=True, kw_only=True):
    """When an order on bars fills.

    Attributes:
        bar_mode: ``open_only`` at the next bar's open, ``close_only`` at the close of the very bar
            it was decided on.
    """

    bar_mode: Literal["close_only", "open_only", "intrabar_ohlc"] = "open_only"


class Execution(Section, frozen=True, kw_only=True):
    """Fills, costs and delays of the simulator."""

    slippage: Slippage = Slippage()
    commission: Commission = Commission()
    transaction_cost: TransactionCost = TransactionCost()
    latency: LatencyConfig = LatencyConfig()
    simulation: Simulation = Simulation()


class Config(Section, frozen=True, kw_only=True):
    """A whole configuration file."""

    live: Live
    strategy: StrategyConfig
    metrics: Metrics = Metrics()
    execution: Execution = Execution()
