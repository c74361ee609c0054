"""``rf.Dashboard``: the panel of a session in a notebook."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from regimeflow.errors import ConfigError
from regimeflow.model.text import line
from regimeflow.session.live import LiveSession, look
from regimeflow.widgets import frozen, terminal
from regimeflow.widgets.board import Board
from regimeflow.widgets.comms import apart
from regimeflow.widgets.pump import Pump
from regimeflow.widgets.words import ENDED

#: What a dashboard can be made of.
Source = LiveSession | str | Path


class Dashboard:
    """Sessions as they are: state, drift, fills, slippage, positions, orders, limits and log.

    Shown in a notebook it is a panel that moves, and whose buttons answer, while cells run. When
    its sessions stop it freezes into a picture and tables, which stay in the saved notebook and
    need no kernel; shown again after that, it is the panel once more. The same sources give the
    same dashboard, so a cell that is run again shows the panel that is there already.

    Args:
        sources: sessions, running, attached or ended, or run directories; several stand side by
            side, each run once. Looking into a run directory takes no lease on its session:
            whoever controls it goes on doing so.

    Raises:
        ConfigError: there is no source, or something that is none.
        SessionError: there is no run in a directory.

    Example:
        >>> import tempfile
        >>> import regimeflow as rf
        >>> venue = rf.venues.Simulated(rf.datasets.synthetic(n=100), speed=None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     session = rf.LiveSession(lambda ctx, bar: None, venue, run_dir=folder).run()
        ...     dashboard = rf.Dashboard(session)
        ...     dashboard.close()
        >>> dashboard
        <Dashboard of <lambda>: stopped>
    """

    _pump: Pump
    _display_id: str

    def __new__(cls, *sources: Source | Iterable[Source]) -> Self:
        by_place: dict[Path, LiveSession] = {}
        for session in _sessions(sources):
            by_place.setdefault(session.run_dir.resolve(), session)
        places, sessions = tuple(by_place), list(by_place.values())
        shown = _shown()
        before = shown.get(places)
        if before is not None:
            known = [board.session for board in before._pump.boards]
            if all(a is b for a, b in zip(known, sessions, strict=True)) and before._open:
                return before  # type: ignore[no-any-return]
            before.close()
        self = super().__new__(cls)
        self._begin(sessions)
        shown[places] = self
        return self

    def _begin(self, sessions: list[LiveSession]) -> None:
        from regimeflow.widgets.panel import Panel

        self._open = True
        self._handle: Any = None
        self._display_id = f"regimeflow-{uuid.uuid4().hex}"
        self._moving = any(s.status.phase in ("new", "running") for s in sessions)
        self.panel = apart(lambda: Panel(self._hear))
        self._pump = Pump([Board(session) for session in sessions], self.panel, self._stopped)
        self._pump.start()

    def _hear(self, content: Any) -> None:
        self._pump.hear(content)

    @property
    def sessions(self) -> tuple[LiveSession, ...]:
        """The sessions that are shown."""
        return tuple(board.session for board in self._pump.boards)

    @property
    def failure(self) -> Exception | None:
        """Why the panel does not follow its sessions any more, or None."""
        return self._pump.failure

    # ------------------------------------------------------------ faces

    def _ipython_display_(self) -> None:
        from IPython.display import display

        bundle: Any = self.panel._repr_mimebundle_()
        data = dict(bundle[0] if isinstance(bundle, tuple) else bundle)
        # Whoever cannot show the widget, such as nbconvert, shows these.
        data |= {"text/plain": repr(self), "text/html": self.html}
        self._handle = display(data, raw=True, display_id=self._display_id)  # type: ignore[no-untyped-call]

    def freeze(self) -> Self:
        """Put tables and a picture in the panel's place, here and in the saved notebook.

        It happens by itself when a session that was shown running stops. For one that had ended
        before, this is how its panel is kept; shown again, it is the panel once more.
        """
        from IPython.core.getipython import get_ipython
        from IPython.display import display, update_display

        if get_ipython() is None:
            return self
        while self._open and self._pump.failure is None and self._pump.follow():
            pass  # what is kept is not older than this call
        data = self._bundle()
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=self._display_id)  # type: ignore[no-untyped-call]
        else:
            update_display(data, raw=True, display_id=self._display_id)  # type: ignore[no-untyped-call]
        return self

    def _bundle(self) -> dict[str, Any]:
        with self._pump.lock:
            boards = self._pump.boards
            return {
                "text/plain": self._line(),
                "text/html": frozen.html(boards),
                "image/png": frozen.picture(boards),
            }

    @property
    def html(self) -> str:
        """What is known now, as an HTML fragment that needs nothing else."""
        self._settle()
        with self._pump.lock:
            return frozen.html(self._pump.boards)

    def _settle(self) -> None:
        """Catch up with sessions that have begun or ended: who asks now will not ask again."""
        while self._open and self._pump.failure is None and self._late() and self._pump.follow():
            pass

    def _late(self) -> bool:
        if not self._moving:
            return True
        phases = [(board, board.session.status.phase) for board in self._pump.boards]
        return any(
            phase != board.status.phase or (phase in ENDED and not board.over)
            for board, phase in phases
        )

    def __str__(self) -> str:
        self._settle()
        with self._pump.lock:
            return "\n\n".join(terminal.text(board, width=100) for board in self._pump.boards)

    def __repr__(self) -> str:
        self._settle()
        return self._line()

    def _line(self) -> str:
        statuses = [board.status for board in self._pump.boards]
        return f"<Dashboard of {', '.join(f'{line(s.strategy)}: {s.phase}' for s in statuses)}>"

    # ------------------------------------------------------------ its end

    def _stopped(self) -> None:
        """On the pump's thread: nothing will change any more."""
        if self._moving:
            self._moving = False
            if self._handle is not None:
                self.freeze()

    def close(self) -> None:
        """Stop following; the sessions go on as they are."""
        if self._open:
            self._open = False
            self._pump.stop()
            self.panel.close()


def _sessions(sources: Iterable[Source | Iterable[Source]]) -> list[LiveSession]:
    sessions: list[LiveSession] = []
    for source in sources:
        if isinstance(source, LiveSession):
            sessions.append(source)
        elif isinstance(source, str | Path):
            sessions.append(look(source))
        elif isinstance(source, Iterable):
            sessions += _sessions(source)
        else:
            raise ConfigError(
                f"a dashboard shows sessions and run directories, not {type(source).__name__}"
            )
    if not sessions:
        raise ConfigError("a dashboard needs a session or a run directory")
    return sessions


_elsewhere: dict[tuple[Path, ...], Any] = {}


def _shown() -> dict[tuple[Path, ...], Any]:
    """Return the dashboards of this kernel; kept with the shell, so that a reload loses none."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    if shell is None:
        return _elsewhere
    if not hasattr(shell, "_regimeflow_dashboards"):
        shell._regimeflow_dashboards = {}
    shown: dict[tuple[Path, ...], Any] = shell._regimeflow_dashboards
    return shown
