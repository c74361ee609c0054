"""``regimeflow status | attach | halt | flatten | resume | stop``: sessions in other processes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regimeflow.cli.codes import DIFFERENT, OK
from regimeflow.errors import SessionError
from regimeflow.redaction import Redactor

if TYPE_CHECKING:
    from regimeflow.session.status import Status
    from regimeflow.session.worker import Worker

#: How often a status line is renewed: on a terminal, and in a file.
TERMINAL_S, FILE_S = 0.5, 60.0
_STOP_S = 60.0
_HELP = {
    "status": "show what a session looks like",
    "attach": "follow a session to its end; Ctrl-C only ends the following",
    "halt": "cancel a session's working orders and send nothing more until it is resumed",
    "flatten": "cancel a session's working orders, leave every position, then halt",
    "resume": "let a session trade again that was halted or flattened, once its books agree",
    "stop": "cancel a session's working orders and end it; positions stay",
}


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    for name, text in _HELP.items():
        parser = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}. Of detached sessions, and of those that "
            "regimeflow live runs.",
        )
        parser.set_defaults(command=_COMMANDS[name], name=name)
        parser.add_argument("run_dir", metavar="RUN_DIR", help="directory of the run")
        if name in ("halt", "flatten", "resume", "stop"):
            parser.add_argument("--why", default=name, metavar="TEXT", help="goes into the journal")


def _status(arguments: argparse.Namespace) -> int:
    return _told(_worker(arguments).status())


def _attach(arguments: argparse.Namespace) -> int:
    worker = _worker(arguments)
    show = StatusLine(arguments.redactor)
    try:
        while not worker.ended(show.every_s):
            show(worker.status())
    except KeyboardInterrupt:
        show.end()
        return OK
    show.end()
    return _told(worker.status())


def _steer(arguments: argparse.Namespace) -> int:
    worker = _worker(arguments)
    worker.command(arguments.name, arguments.why, "terminal")
    if arguments.name == "stop":
        if not worker.ended(_STOP_S):
            raise SessionError(f"the session did not end within {_STOP_S:g} s")
        return _told(worker.status())
    print(f"{arguments.name} sent to {arguments.run_dir}")
    return OK


_COMMANDS = {
    "status": _status,
    "attach": _attach,
    "halt": _steer,
    "flatten": _steer,
    "resume": _steer,
    "stop": _steer,
}


def _worker(arguments: argparse.Namespace) -> Worker:
    from regimeflow.session.detached import worker_of

    # No lease: a session that nobody else controls does not become this terminal's.
    return worker_of(Path(arguments.run_dir), lease=False)


def _told(status: Status) -> int:
    print(line(status))
    return DIFFERENT if status.error else OK


class StatusLine:
    """A line that renews itself on a terminal, and is written now and then into a file."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._terminal = sys.stdout.isatty()
        self.every_s = TERMINAL_S if self._terminal else FILE_S

    def __call__(self, status: Status) -> None:
        text = self._redactor.text(line(status))
        if self._terminal:
            import shutil

            width = shutil.get_terminal_size().columns - 1
            print(f"\r{text[:width]:<{width}}", end="", flush=True)
        else:
            print(text, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self._terminal:
            print(flush=True)


def line(status: Status) -> str:
    """Return a session's state in one line."""
    from regimeflow.model.timeframe import iso

    account = status.live
    at = iso(account.time) if account.time else "not begun"
    held = ", ".join(f"{qty:g} {symbol}" for symbol, qty in account.positions.items()) or "flat"
    error = f" · {status.error}" if status.error else ""
    return (
        f"{status.phase}, {status.trading} · {at} · {status.progress} "
        f"· equity {account.equity:,.2f} · {account.fills} fills · {held}{error}"
    )
