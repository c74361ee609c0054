"""``regimeflow watch``: a session's board in a terminal."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from regimeflow.cli.codes import DIFFERENT, OK
from regimeflow.errors import ConfigError

#: Into the other screen that terminals have, and back; the cursor home, and what is below it gone.
_IN, _OUT, _HOME, _REST = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l", "\x1b[H", "\x1b[J"
_END = "\x1b[K\n"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "watch",
        help="show a session's board in the terminal: state, drift, fills, slippage, log",
        description="Show what the dashboard of a notebook shows, renewed until the session ends. "
        "Ctrl-C only ends the watching. Where the output is no terminal it is shown once.",
    )
    parser.set_defaults(command=_watch)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="directory of the run")
    parser.add_argument("--every", type=float, default=1.0, metavar="S", help="seconds between two")
    parser.add_argument("--once", action="store_true", help="show it once")


def _watch(arguments: argparse.Namespace) -> int:
    from regimeflow.session.live import look
    from regimeflow.widgets.board import Board

    if not 0.1 <= arguments.every <= 3600:
        raise ConfigError(f"--every takes 0.1 to 3600 seconds, not {arguments.every:g}")
    board = Board(look(Path(arguments.run_dir)))
    while board.follow():
        pass
    if sys.stdout.isatty() and not arguments.once and not board.over:
        _renew(board, arguments)
    print(_shown(board, arguments, sys.stdout.isatty(), 0))
    return DIFFERENT if board.status.error else OK


def _renew(board: Any, arguments: argparse.Namespace) -> None:
    """Draw the board anew until its session is over, or until Ctrl-C."""
    import shutil

    sys.stdout.write(_IN)
    try:
        while not board.over:
            lines = shutil.get_terminal_size().lines - 1
            shown = _shown(board, arguments, True, lines).replace("\n", _END)
            sys.stdout.write(f"{_HOME}{shown}{_REST}")
            sys.stdout.flush()
            time.sleep(arguments.every)
            while board.follow():
                pass
    except KeyboardInterrupt:
        pass
    finally:
        sys.stdout.write(_OUT)
        sys.stdout.flush()


def _shown(board: Any, arguments: argparse.Namespace, colour: bool, lines: int) -> str:
    import shutil

    from regimeflow.widgets import terminal

    width = shutil.get_terminal_size((120, 40)).columns
    text = terminal.text(board, width=width, height=lines, colour=colour)
    shown: str = arguments.redactor.text(text)
    return shown
