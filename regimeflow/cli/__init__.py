"""The command line: ``regimeflow backtest | live | config | doctor | validate | certify | replay |
sandbox``, and the commands to running sessions: ``status | attach | watch | halt | flatten |
resume | stop``.

Exit codes: 0 for a result, 1 for something wrong with the command, the data or a file, 2 where the
strategy failed, a recorded run is not what its strategy decides, or doctor or validate found
something; after a second signal 128 and its number, 130 for Ctrl-C and 143 for SIGTERM.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from regimeflow.cli import control, readiness, sandbox, sessions, watch
from regimeflow.cli.codes import DIFFERENT, OK, WRONG
from regimeflow.errors import ConfigError, RegimeflowError, StrategyError
from regimeflow.redaction import Redactor

if TYPE_CHECKING:
    from regimeflow.analytics.report import Report
    from regimeflow.session.certify import Certificate


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args(argv)
    arguments.redactor = Redactor()
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        code = command(arguments)
        sys.stdout.flush()
        return code
    except StrategyError as error:
        print(arguments.redactor.text(error.trace.rstrip()), file=sys.stderr)
        return _complain(error, DIFFERENT, arguments.redactor)
    except RegimeflowError as error:
        return _complain(error, WRONG, arguments.redactor)
    except BrokenPipeError:
        # Whoever read our output has enough; Python would complain once more when it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WRONG
    except OSError as error:
        return _complain(error, WRONG, arguments.redactor)


def live() -> int:
    """Run ``regimeflow live`` under its name of old, ``regimeflow_live``."""
    return main(["live", *sys.argv[1:]])


def _complain(error: Exception, code: int, redactor: Redactor) -> int:
    print(f"regimeflow: {redactor.text(str(error))}", file=sys.stderr)
    return code


# ---------------------------------------------------------------- commands


def _backtest(arguments: argparse.Namespace) -> int:
    from regimeflow.model.models import Costs
    from regimeflow.session.backtest import backtest

    strategy = _strategy(arguments.strategy, arguments.param)
    try:
        report = backtest(
            strategy,
            _data(arguments.data, arguments.frames),
            symbols=_symbols(arguments),
            timeframe=arguments.timeframe,
            label=arguments.label,
            timezone=arguments.timezone,
            cash=arguments.cash,
            costs=Costs(commission_bps=arguments.commission_bps),
            calendar=arguments.calendar,
            start=arguments.start,
            end=arguments.end,
            seed=arguments.seed,
            journal=arguments.journal,
        )
    except StrategyError as error:
        if error.report is not None:  # the report up to the failure is what one wants to look at
            _keep(error.report, arguments)
        raise
    print("\n".join(_summary(report)))
    _keep(report, arguments)
    return OK


def _keep(report: Report, arguments: argparse.Namespace) -> None:
    """Write the files that were asked for."""
    if arguments.out:
        report.save(arguments.out)
        print(f"report      {arguments.out}")
    if arguments.tearsheet:
        report.tearsheet(arguments.tearsheet)
        print(f"tear sheet  {arguments.tearsheet}")
    if arguments.journal:
        print(f"journal     {arguments.journal}")


def _certify(arguments: argparse.Namespace) -> int:
    return _verdict(_certificate(arguments))


def _replay(arguments: argparse.Namespace) -> int:
    from regimeflow.session.certify import replay

    code = _verdict(_certificate(arguments))
    desk = replay(arguments.run_dir, strategy=_given(arguments)).desk
    print(f"\n{'cash':<12}{desk.ledger.cash:>16,.2f}\n{'equity':<12}{desk.equity():>16,.2f}")
    for symbol, qty in sorted(desk.ledger.snapshot().items()):
        print(f"{symbol:<12}{qty:>16,g}")
    states: dict[str, int] = {}
    for order in desk.orders.values():
        states[str(order.status)] = states.get(str(order.status), 0) + 1
    counted = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items())) or "none"
    print(f"orders      {counted}")
    return code


def _certificate(arguments: argparse.Namespace) -> Certificate:
    from regimeflow.session.certify import certify

    return certify(arguments.run_dir, strategy=_given(arguments))


def _verdict(certificate: Certificate) -> int:
    print(certificate)
    return OK if certificate.identical else DIFFERENT


def _given(arguments: argparse.Namespace) -> Any:
    """Return the strategy to replay; None for the one frozen with the run."""
    if arguments.strategy is None:
        if arguments.param:
            raise ConfigError("--param needs --strategy: the frozen one has its own parameters")
        return None
    return _strategy(arguments.strategy, arguments.param)


# ---------------------------------------------------------------- what the arguments mean


def _strategy(place: str, given: Sequence[str]) -> Any:
    """Return the strategy at a place, with its parameters."""
    from regimeflow.engine.strategy import Strategy
    from regimeflow.session.load_strategy import load_strategy

    found = load_strategy(place)
    if not isinstance(found, type) or not issubclass(found, Strategy):
        if given:
            raise ConfigError(f"--param is for a strategy class, which {place} is not")
        return found
    return found(**_parameters(found, given))


def _parameters(strategy: type, given: Sequence[str]) -> dict[str, Any]:
    """Return ``name=value`` arguments as values of the types that the class wants."""
    try:
        types = typing.get_type_hints(strategy)
    except Exception:  # an annotation that only a type checker understands
        types = {}
    values: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or not name:
            raise ConfigError(f"--param takes name=value, not {one!r}")
        values[name] = _value(text, types.get(name))
    return values


def _value(text: str, wanted: Any) -> Any:
    if wanted is str:
        return text
    if wanted is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _data(places: Sequence[str], flavour: str) -> Any:
    """Return one frame, or a dict symbol -> frame where symbols are named or files are several."""
    from regimeflow.data.files import read_file

    named = [_place(place) for place in places]
    if len(named) == 1 and named[0][0] is None:
        return read_file(named[0][1], flavour)
    frames: dict[str, Any] = {}
    for symbol, path in named:
        key = symbol or path.stem
        if key in frames:
            raise ConfigError(f"two files of {key!r}: name them, as in SPY=a.csv QQQ=b.csv")
        frames[key] = read_file(path, flavour)
    return frames


def _place(place: str) -> tuple[str | None, Path]:
    if not Path(place).exists() and "=" in place:
        symbol, _, path = place.partition("=")
        return symbol, Path(path).expanduser()
    return None, Path(place).expanduser()


def _symbols(arguments: argparse.Namespace) -> list[str] | None:
    from regimeflow.data.files import header

    if arguments.symbol:
        return list(arguments.symbol)
    only, path = _place(arguments.data[0])
    if len(arguments.data) == 1 and only is None and "symbol" not in header(path):
        return [path.stem]  # a better name than none
    return None


# ---------------------------------------------------------------- what is shown


def _summary(report: Report) -> list[str]:
    """Return the report in lines for a terminal."""
    from regimeflow.analytics.metrics import show, spec_of

    params = ", ".join(f"{name}={value!r}" for name, value in report.params.items())
    lines = [f"{report.strategy}({params})", " · ".join(report.facts())]
    lines += report.assumptions()
    lines += [f"note: {note}" for note in report.notes]
    lines.append("")
    rows = [(spec_of(name).label, show(name, value)) for name, value in report.metrics.items()]
    left = max(len(label) for label, _ in rows)
    right = max(len(text) for _, text in rows)
    lines += [f"{label:<{left}}  {text:>{right}}" for label, text in rows]
    lines.append("")
    return lines


# ---------------------------------------------------------------- the parser


class _Parser(argparse.ArgumentParser):
    """Exits with 1 where argparse would with 2, which here means that a strategy failed."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    from regimeflow import __version__

    parser = _Parser(
        prog="regimeflow",
        description="Backtest a strategy, and prove that a recorded run decided as it does.",
    )
    parser.add_argument("--version", action="version", version=f"regimeflow {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_backtest(commands)
    sessions.add(commands)
    readiness.add(commands)
    control.add(commands)
    watch.add(commands)
    sandbox.add(commands)
    _add_recorded(
        commands,
        "certify",
        _certify,
        "replay a recorded run and compare every decision",
    )
    _add_recorded(
        commands,
        "replay",
        _replay,
        "replay a recorded run and show the account at its end",
    )
    return parser


_PLACE = (
    "module:Class, path/file.py:Class or notebook.ipynb:Class; a function f(ctx, bar) works too"
)


def _add_backtest(commands: Any) -> None:
    parser = commands.add_parser(
        "backtest",
        help="run a strategy over Parquet or CSV files",
        description="Run a strategy over historical data and print its report. Of a notebook only "
        "the statements that the strategy needs are run.",
    )
    parser.set_defaults(command=_backtest)
    add = parser.add_argument
    add("strategy", metavar="STRATEGY", help=_PLACE)
    add(
        "data",
        metavar="DATA",
        nargs="+",
        help="Parquet or CSV with bars, trades or quotes: path, or SYMBOL=path for several; "
        "without a name or a column 'symbol' the file's own name is the symbol",
    )
    add("--symbol", action="append", metavar="S", help="use only this one; may be repeated")
    add("--timeframe", metavar="T", help="length of the bars, such as 1min (default: inferred)")
    add("--label", choices=("open", "close"), default="open", help="what the bars' times mark")
    add("--timezone", metavar="Z", default="UTC", help="what times without a zone mean")
    add("--calendar", metavar="C", help="exchange calendar such as XNYS (default: UTC days)")
    add("--cash", type=float, default=100_000.0, metavar="X", help="money at the start")
    add("--commission-bps", type=float, default=0.0, metavar="B", help="of a fill's value")
    _add_param(parser)
    add("--start", metavar="WHEN", help="when trading begins; earlier bars are history")
    add("--end", metavar="WHEN", help="when it ends")
    add("--seed", type=int, default=0, metavar="N", help="of ctx.rng")
    add(
        "--frames",
        choices=("polars", "pandas"),
        default="polars",
        help="what Strategy.features is given (default: polars)",
    )
    add("--out", metavar="REPORT.json", help="save the report, for Report.load")
    add("--tearsheet", metavar="REPORT.html", help="write the tear sheet")
    add("--journal", metavar="DIR", help="record the run, for certify and replay")


def _add_recorded(
    commands: Any, name: str, command: Callable[[argparse.Namespace], int], text: str
) -> None:
    parser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}. Exits with 2 if one differs."
    )
    parser.set_defaults(command=command)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="directory of the run")
    parser.add_argument(
        "--strategy", metavar="STRATEGY", help=f"instead of the one frozen with the run: {_PLACE}"
    )
    _add_param(parser)


def _add_param(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the strategy; may be repeated",
    )
