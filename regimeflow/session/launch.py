"""From a configuration to a session: what each key means in terms of our own objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from regimeflow.analytics.report import Report
from regimeflow.engine.strategy import Strategy, as_strategy, parameter
from regimeflow.errors import ConfigError
from regimeflow.model.models import Costs, FillModel, Latency, Limits, Model
from regimeflow.session.brokers import broker_of, keys_of, venue_of
from regimeflow.session.config import Config, Execution, TransactionCost
from regimeflow.session.decode import dotted, where
from regimeflow.session.live import LiveSession
from regimeflow.session.load_strategy import load_strategy
from regimeflow.session.paths import root_of, under
from regimeflow.session.real_money import NEEDED_LIMITS, conditions_of, packages
from regimeflow.session.settings import Settings
from regimeflow.session.source import name_of
from regimeflow.session.yaml_tree import Place
from regimeflow.venues.intervals import Intervals

#: An age that no price reaches: a session without a heartbeat.
_NO_AGE_MS = 1e15
_PARAMS: Place = ("strategy", "params")
_ONE_PLACE = (
    "the journal stays in the run directory, beside what proves it: choose another place for both "
    "with live.log_dir and live.run"
)


def session_of(settings: Settings, *, live_money: bool = False) -> LiveSession:
    """Return the session that a configuration describes, not yet started.

    Args:
        live_money: whether somebody has said in so many words that it may trade real money.

    Raises:
        ConfigError: it asks for something that this version does not have, or for real money while
            a condition for that is missing.
    """
    live = settings.config.live
    check_consent(settings, live_money)
    check(settings, consent=live_money or live.dry_run)
    strategy = strategy_of(settings)
    venue = venue_of(settings, model_of(settings.config))
    run_dir = run_dir_of(settings.config, name_of(strategy))
    session = LiveSession(
        strategy,
        venue,
        symbols=live.symbols,
        timeframe=live.timeframe,
        baseline=baseline_of(settings.config),
        limits=limits_of(settings.config, venue),
        run_dir=run_dir,
        cash=live.cash,
        warmup=live.warmup,
        seed=live.seed,
        dry_run=live.dry_run,
        intervals=intervals_of(settings.config),
        audit_format=live.audit.format,
        redact=settings.redactor.text,
        output_dir=output_dir_of(settings.config, run_dir),
    )
    if not live.paper and live.account is not None:
        session.arm(live.account)
    return session


def check_consent(settings: Settings, live_money: bool) -> None:
    """Refuse a command that asks for real money where the configuration does not.

    Raises:
        ConfigError: it does.
    """
    live = settings.config.live
    if live_money and live.paper:
        raise ConfigError(
            f"{settings.origin(('live', 'paper'))}: --live is for real money, and live.paper is "
            "true: set live.paper to false, or leave --live out"
        )


def check(settings: Settings, *, consent: bool = True) -> None:
    """Refuse what cannot be done, without starting or fetching anything.

    Args:
        consent: whether somebody has said in so many words that it may trade real money.

    Raises:
        ConfigError: with the key and what to do instead.
    """
    config = settings.config
    check_keys(settings)
    if not config.live.paper:
        unsaid = [] if consent else ["--live is missing on the command line"]
        obstacles = unsaid + real_money_obstacles(settings)
        if obstacles:
            raise ConfigError(f"real money is refused: {'; '.join(obstacles)}")


def check_keys(settings: Settings) -> None:
    """Refuse what this version cannot do, whatever money it is about.

    Raises:
        ConfigError: with the key and what to do instead.
    """
    config = settings.config
    if config.live.replay_journal_path is not None:
        origin = settings.origin(("live", "replay_journal_path"))
        raise ConfigError(f"{origin}: live.replay_journal_path: {_ONE_PLACE}")
    broker_of(settings)
    keys_of(settings)
    model_of(config)
    limits_of(config)
    output_dir_of(config, run_dir_of(config, "run"))


def real_money_obstacles(settings: Settings) -> list[str]:
    """Return why a configuration must not trade real money; empty if nothing speaks against it."""
    limits = limits_of(settings.config)
    missing = [name for name in NEEDED_LIMITS if getattr(limits, name) is None]
    reasons = [f"the limit {name} is missing" for name in missing]
    if settings.config.live.account is None:
        reasons.append("live.account is missing: whose money it is")
    looked_at = (*conditions_of(intervals_of(settings.config)), *packages())
    reasons += [finding.text for finding in looked_at if not finding.ok]
    return reasons + list(settings.findings)


# ---------------------------------------------------------------- strategy and places


def strategy_of(settings: Settings) -> Strategy:
    """Return the strategy with its parameters.

    Raises:
        ConfigError: it cannot be loaded, or has no such parameter; the message names the key.
        StrategyError: the code around it raised.
    """
    name, params = settings.config.strategy.name, settings.config.strategy.params
    found = load_strategy(name)
    a_class = isinstance(found, type) and issubclass(found, Strategy)
    if params and not a_class:
        raise ConfigError(f"strategy.params are for a strategy class, which {name} is not")
    if not a_class:
        return as_strategy(found)
    if found.__init__ is Strategy.__init__:  # else the class says itself what it takes
        for key, value in params.items():
            with _about(settings, (*_PARAMS, key)):
                parameter(found, key, value)
    with _about(settings, _PARAMS):
        strategy: Strategy = found(**params)
        return strategy


@contextmanager
def _about(settings: Settings, place: Place) -> Iterator[None]:
    """Let a complaint say which key it is about, and where that stands."""
    try:
        yield
    except (ConfigError, TypeError) as error:
        stands = where(settings.file, settings.lines, place)
        raise ConfigError(f"{stands}: {dotted(place)}: {error}") from error


def baseline_of(config: Config) -> Report | None:
    """Return the report that ``metrics.live.baseline_report`` names."""
    path = config.metrics.live.baseline_report
    return None if path is None else Report.load(path)


def run_dir_of(config: Config, strategy: str, at: datetime | None = None) -> Path:
    """Return the run directory: ``live.log_dir`` / ``live.run``, or the strategy and the time.

    Args:
        config: the configuration.
        strategy: the strategy's name.
        at: now, without it.
    """
    live = config.live
    root = root_of(live.log_dir, "live.log_dir")
    if live.run is not None:
        return under(root, live.run, "live.run")
    plain = "".join(c if c.isalnum() and c.isascii() else "-" for c in strategy).strip("-").lower()
    stamp = (at or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    return under(root, f"{plain or 'run'}-{stamp}", "live.run")


def output_dir_of(config: Config, run_dir: Path) -> Path:
    """Return where drift and performance files go: the run directory unless another is given."""
    live = config.metrics.live
    if live.output_dir is None:
        return run_dir
    place = under(Path(), live.output_dir, "metrics.live.output_dir")
    return place if live.enable and "file" in live.sinks else run_dir


# ---------------------------------------------------------------- limits and intervals


def limits_of(config: Config, venue: object = None) -> Limits:
    """Return the risk limits, with the defaults that a configuration file has.

    Args:
        venue: the one they are for, where it is known: its own rate of orders holds where the file
            leaves that open.
    """
    live = config.live
    given = live.risk.limits
    return Limits(
        max_notional=_off(live.max_order_value)
        if given.max_notional is None
        else given.max_notional,
        max_position=given.max_position,
        max_position_pct=given.max_position_pct,
        max_gross_exposure=given.max_gross_exposure,
        max_net_exposure=given.max_net_exposure,
        max_leverage=given.max_leverage,
        max_drawdown=given.max_drawdown,
        daily_loss=_off(live.daily_loss_limit),
        daily_loss_pct=_off(live.daily_loss_limit_pct),
        price_collar_bps=given.price_collar_bps,
        max_orders_per_second=live.max_orders_per_second or _own_rate(venue),
        max_orders_per_minute=live.max_orders_per_minute or None,
        # Zero and not None, for which a live session has a window of its own.
        duplicate_window_ms=live.duplicate_order_window_ms,
        max_open_orders=given.max_open_orders,
        # Left open, it is the session's: by the heartbeat and the length of the bars.
        max_data_age_ms=given.max_data_age_ms,
        symbols=live.symbols,
    )


def _own_rate(venue: object) -> int | None:
    """Return how many orders a second a venue takes, in whole ones; None where it states none."""
    able = getattr(venue, "capabilities", None)
    most = able.orders_per_second if able is not None else 0.0
    return max(1, int(most)) if most else None


def _off(value: float) -> float | None:
    """Return a limit, None where zero switches it off."""
    return value or None


def intervals_of(config: Config) -> Intervals:
    """Return how patient the session is with its venue."""
    live = config.live
    heartbeat, reconnect = live.heartbeat, live.reconnect
    return Intervals(
        heartbeat_ms=heartbeat.interval_ms if heartbeat.enabled else _NO_AGE_MS,
        hold_when_stale=heartbeat.enabled and heartbeat.disable_trading_on_timeout,
        cancel_when_stale=heartbeat.cancel_orders_on_timeout,
        reconnect=reconnect.enabled,
        reconnect_initial_ms=reconnect.initial_ms,
        reconnect_max_ms=reconnect.max_ms,
        order_poll_ms=live.order_reconcile_interval_ms,
        position_poll_ms=live.position_reconcile_interval_ms,
        account_ms=live.account_refresh_interval_ms,
        hold_when_unreconciled=live.reconciliation.disable_trading_on_error,
    )


# ---------------------------------------------------------------- fills, costs, latency


def model_of(config: Config) -> Model:
    """Return the assumptions of the simulator.

    Raises:
        ConfigError: a model that this version does not have, or a number that its type has no use
            for or lacks.
    """
    execution = config.execution
    return Model(
        fills=_fills(execution),
        costs=Costs(slippage_bps=_slippage_bps(execution), **_fees(execution)),
        latency=Latency(order_ms=execution.latency.ms),
    )


def _fills(execution: Execution) -> FillModel:
    mode = execution.simulation.bar_mode
    if mode == "intrabar_ohlc":
        raise ConfigError(
            "execution.simulation.bar_mode: this version does not walk through a bar "
            "(intrabar_ohlc): use open_only, which takes the worse of two exits in one bar"
        )
    return FillModel(market="close" if mode == "close_only" else "next_open")


def _slippage_bps(execution: Execution) -> float:
    slippage = execution.slippage
    if slippage.type == "regime_bps":
        raise ConfigError(
            "execution.slippage.type: this version has no slippage by regime (regime_bps): use "
            "fixed_bps with the bps of the worst regime"
        )
    used = _number("execution.slippage", slippage, {"fixed_bps": "bps"})
    return used or 0.0


def _fees(execution: Execution) -> dict[str, Any]:
    """Return commission and transaction cost as fields of `Costs`."""
    cost = execution.transaction_cost
    if cost.type == "tiered":
        raise ConfigError(
            "execution.transaction_cost.type: this version has no tiers (tiered): use fixed_bps "
            "with the bps of your own tier"
        )
    per_order = _number("execution.commission", execution.commission, {"fixed": "amount"}) or 0.0
    fees: dict[str, Any] = {}
    if cost.type == "maker_taker":
        fees = _maker_taker(cost)
    else:
        number = _number("execution.transaction_cost", cost, _COST_NUMBERS)
        if number is not None:
            fees = {_COST_FIELDS[cost.type]: number}
    fees["per_order"] = per_order + fees.get("per_order", 0.0)
    return fees


_COST_NUMBERS = {"fixed_bps": "bps", "per_share": "per_share", "per_order": "per_order"}
_COST_FIELDS = {
    "fixed_bps": "commission_bps",
    "per_share": "per_share",
    "per_order": "per_order",
}


def _maker_taker(cost: TransactionCost) -> dict[str, Any]:
    where = "execution.transaction_cost"
    _no_others(where, cost, {"maker_rebate_bps", "taker_fee_bps"})
    if cost.maker_rebate_bps is None or cost.taker_fee_bps is None:
        raise ConfigError(f"{where}: type maker_taker needs maker_rebate_bps and taker_fee_bps")
    # A rebate is a negative fee; without one the difference 0.0 - 0.0 must not be -0.0.
    return {"maker_bps": 0.0 - cost.maker_rebate_bps, "taker_bps": cost.taker_fee_bps}


def _number(where: str, section: Any, numbers: dict[str, str]) -> float | None:
    """Return the one number that the section's type uses; refuse any other."""
    wanted = numbers.get(section.type)
    _no_others(where, section, {wanted} if wanted else set())
    if wanted is None:
        return None
    value: float | None = getattr(section, wanted)
    if value is None:
        raise ConfigError(f"{where}: type {section.type} needs {wanted}")
    return value


def _no_others(where: str, section: Any, used: set[str]) -> None:
    for name in section.__struct_fields__:
        if name != "type" and name not in used and getattr(section, name) is not None:
            raise ConfigError(f"{where}.{name} has no effect with type {section.type}: remove it")
