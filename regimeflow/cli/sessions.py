"""``regimeflow live`` and ``regimeflow config``: sessions from configuration files."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from regimeflow.cli import config_file
from regimeflow.cli.codes import OK
from regimeflow.cli.control import StatusLine, line
from regimeflow.errors import SessionError

if TYPE_CHECKING:
    from regimeflow.redaction import Redactor
    from regimeflow.session.live import LiveSession
    from regimeflow.session.settings import Settings
    from regimeflow.session.status import Status


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    _add_live(commands)
    _add_config(commands)


def _add_live(commands: Any) -> None:
    parser = commands.add_parser(
        "live",
        help="run a live session from a configuration file",
        description="Run a live session in the foreground. Ctrl-C stops it cleanly, a second one "
        "at once; so do SIGTERM and the end of the terminal. A run that died is taken up again "
        "where its directory is the same: with live.run in the file, or --run.",
    )
    parser.set_defaults(command=_live)
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML")
    parser.add_argument(
        "--run",
        metavar="NAME",
        help="name of the run directory in live.log_dir, in place of live.run",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="trade real money: needed where live.paper is false, refused where it is true",
    )


def _add_config(commands: Any) -> None:
    parser = commands.add_parser(
        "config",
        help="check a configuration file, or show what takes effect and why",
        description="Check a configuration file and load its strategy, without starting anything "
        "or fetching a secret.",
    )
    parser.set_defaults(command=_config)
    config_file.add(parser)
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--check", action="store_true", help="only say whether it is valid")
    either.add_argument(
        "--explain",
        action="store_true",
        help="show every key in effect and where its value came from, secrets hidden",
    )


def _config(arguments: argparse.Namespace) -> int:
    from regimeflow.session.explain import explain
    from regimeflow.session.launch import check, strategy_of

    settings = config_file.load(arguments)
    settings.redactor.guard()  # the strategy's code may say something
    if arguments.explain:
        print(explain(settings))
        sys.stdout.flush()  # before a complaint
    check(settings)
    strategy_of(settings)
    if not arguments.explain:
        print(f"{settings.file} is valid")
        _tell(settings)
    return OK


def _live(arguments: argparse.Namespace) -> int:
    from regimeflow.session.launch import session_of

    settings = config_file.load(arguments)
    if arguments.run is not None:
        settings = settings.with_run(arguments.run)
    settings.redactor.guard()
    _tell(settings)
    session = session_of(settings, live_money=arguments.live)
    with ExitStack() as held:
        _introduce(session, _metrics_url(session, settings, held))
        _follow(session, settings.redactor)
    print(f"\n{settings.redactor.text(line(session.status))}")
    print(f"certify        regimeflow certify {shlex.quote(str(session.run_dir))}")
    if session.failure is not None:
        raise session.failure
    _refuse_not_begun(session.status)
    return OK


def _refuse_not_begun(status: Status) -> None:
    """Say so where a run ended before its venue had let it begin."""
    from regimeflow.session.status import CONNECTING

    if status.state == CONNECTING:
        raise SessionError(f"the run never began: {status.why or 'it was stopped before that'}")


def _metrics_url(session: LiveSession, settings: Settings, held: ExitStack) -> str:
    """Return where the session's metrics are, "" nowhere; ``held`` ends that."""
    prometheus = settings.config.metrics.prometheus
    if not prometheus.enabled:
        return ""
    from regimeflow.prometheus import Exporter

    exporter = Exporter(
        lambda: session.metrics, prometheus.host, prometheus.port, prometheus.path
    ).start()
    held.callback(exporter.stop)
    return exporter.url


def _introduce(session: LiveSession, metrics_url: str) -> None:
    """Say where the session is and how others get there."""
    place = shlex.quote(str(session.run_dir))
    print(f"run directory  {session.run_dir}")
    if metrics_url:
        print(f"metrics        {metrics_url}")
    if sys.platform != "win32":
        others = "status, watch, halt, flatten, resume, stop"
        print(f"second window  regimeflow attach {place}   (or {others})")
    sys.stdout.flush()


def _tell(settings: Settings) -> None:
    for finding in settings.findings:
        print(f"note: {finding}", file=sys.stderr)


def _follow(session: LiveSession, redactor: Redactor) -> None:
    """Run a session to its end with a status line; signals stop it."""
    from regimeflow.session.host import open_to_others, steered_by_signals

    show = StatusLine(redactor)
    # Before it begins: a signal that came in between would leave its orders to themselves.
    with steered_by_signals(session, _at_once), open_to_others(session.start()):
        while session.status.phase not in ("stopped", "failed"):
            try:
                show(session.status)
            except OSError:  # the terminal is gone, and the orders are not
                _into_nothing()
            session.wait(timeout_s=show.every_s, progress=False)


def _into_nothing() -> None:
    """Let whatever is said from now on be read by nobody."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nothing, stream.fileno())
    os.close(nothing)


def _at_once() -> None:
    """Say so, from a signal's handler: not through what it may have interrupted."""
    with suppress(OSError):
        os.write(1, b"\nstopped at once; the journal holds everything that was sent\n")
