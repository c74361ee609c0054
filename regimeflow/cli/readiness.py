"""``regimeflow doctor`` and ``regimeflow validate``: is it ready, and does it work?

Both exit with 0 where nothing was found, with 2 where something was, and with 1 where the command
or the configuration is wrong.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from regimeflow.cli import config_file
from regimeflow.cli.codes import DIFFERENT, OK

if TYPE_CHECKING:
    from regimeflow.session.check import Checkup
    from regimeflow.session.settings import Settings


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser(
        "doctor",
        help="say what stands between a configuration and trading",
        description="Look at a configuration, this machine and the venue, and print one line for "
        "each thing. Sends nothing that changes anything. Exits with 2 if something stands in the "
        "way.",
    )
    parser.set_defaults(command=_doctor)
    config_file.add(parser)
    parser.add_argument("--offline", action="store_true", help="do not ask the venue")
    _add_validate(commands)


def _add_validate(commands: Any) -> None:
    parser = commands.add_parser(
        "validate",
        help="send one small order on the configured venue, and compare the books",
        description="Run a session that sends one small order on the first of live.symbols: it is "
        "canceled, or bought and sold again. Exits with 2 if something did not go as it should.",
    )
    parser.set_defaults(command=_validate)
    add = parser.add_argument
    add("--config", required=True, metavar="FILE", help="YAML")
    add(
        "--mode",
        required=True,
        choices=("submit_cancel_reconcile", "fill_reconcile"),
        help="rest an order below the market and cancel it, or buy at the market and sell again",
    )
    add("--quantity", type=float, metavar="Q", help="units (default: the least the venue takes)")
    add(
        "--limit-price",
        type=float,
        metavar="P",
        help="of the order that is canceled (default: a tenth below the market)",
    )
    add("--timeout-seconds", type=float, default=60.0, metavar="S", help="for each step")
    add("--live", action="store_true", help="with real money: needed where live.paper is false")


def _doctor(arguments: argparse.Namespace) -> int:
    from regimeflow.session.doctor import examine

    settings = _settings(arguments)
    return _told(examine(settings, ask=not arguments.offline), arguments)


def _validate(arguments: argparse.Namespace) -> int:
    from regimeflow.session.validation import validate

    found = validate(
        _settings(arguments),
        arguments.mode,
        quantity=arguments.quantity,
        limit_price=arguments.limit_price,
        timeout_s=arguments.timeout_seconds,
        live_money=arguments.live,
    )
    code = _told(found, arguments)
    print("passed" if code == OK else "failed")
    return code


def _told(found: Checkup, arguments: argparse.Namespace) -> int:
    print(arguments.redactor.text(repr(found)))
    return OK if found else DIFFERENT


def _settings(arguments: argparse.Namespace) -> Settings:
    settings = config_file.load(arguments)
    settings.redactor.guard()
    return settings
