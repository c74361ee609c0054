"""``regimeflow sandbox``: what one practises and tests on."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import Any

#: What can be run -> what its help says.
_KINDS = {
    "loopback": "a venue that speaks lines of JSON over sockets",
}


class _Rest(argparse.ArgumentParser):
    """Leaves all arguments to the venue's own parser."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        kind = self.prog.rpartition(" ")[2]
        return argparse.Namespace(command=_run, kind=kind, rest=list(args or ())), []


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser(
        "sandbox",
        help="run a venue on this machine to practise and test on",
        description="Run a venue on this machine to practise and test on.",
    )
    kinds = parser.add_subparsers(metavar="WHAT", required=True, parser_class=_Rest)
    for kind, what in _KINDS.items():
        kinds.add_parser(kind, help=what)


def _run(arguments: argparse.Namespace) -> int:
    # By name: the sandbox stands beside the command line, and neither needs the other to be there.
    server: Any = importlib.import_module(f"regimeflow.sandbox.{arguments.kind}")
    code: int = server.main(arguments.rest)
    return code
