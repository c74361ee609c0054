"""``rf.explore``: a report that can be walked through, from all its years to a single fill."""

from __future__ import annotations

import threading
import uuid
from typing import Annotated, Any, Literal
from weakref import WeakValueDictionary

import msgspec

from regimeflow.analytics.report import Report
from regimeflow.errors import ConfigError
from regimeflow.widgets.comms import apart, own_comms
from regimeflow.widgets.views import NAME, Parts, Views

Name = Annotated[str, msgspec.Meta(max_length=NAME)]
Token = Annotated[str, msgspec.Meta(max_length=40)]
#: Seconds since 1970, before the year 2262.
Seconds = Annotated[float, msgspec.Meta(ge=-9.2e9, le=9.2e9)]


class Hello(msgspec.Struct, frozen=True, tag="hello", tag_field="kind"):
    """A page has nothing yet."""


class AskStretch(msgspec.Struct, frozen=True, tag="stretch", tag_field="kind"):
    """Show what lies between two times."""

    ask: Token
    symbol: Name
    extra: Name
    since: Seconds
    to: Seconds


class AskFill(msgspec.Struct, frozen=True, tag="fill", tag_field="kind"):
    """Show the next fill, or the one before."""

    ask: Token
    symbol: Name
    extra: Name
    at: Seconds
    step: Literal[-1, 1]
    place: int | None = None


class AskStory(msgspec.Struct, frozen=True, tag="story", tag_field="kind"):
    """What became of an order?"""

    order: Name


Asked = Hello | AskStretch | AskFill | AskStory


class Explorer:
    """A report as a panel: price with fills, equity, drawdown and exposure on one time axis.

    Zooming in loads what is finer; pointing at a fill tells its order's story. The cell holds the
    report's static face beside the panel, for those who cannot show panels. The report itself is
    only read.

    Args:
        report: of a backtest, a session or a file.

    Raises:
        ConfigError: it is no report.
        DataError: the report has no prices.
    """

    def __init__(self, report: Report) -> None:
        from regimeflow.widgets.panel import Panel

        if not isinstance(report, Report):
            raise ConfigError(f"explore takes a report, not {type(report).__name__}")
        self.report = report
        self.failure: Exception | None = None
        self._views = Views(report)
        self._snapshot = msgspec.json.encode({"report": self._views.snapshot()})
        self._lock = threading.Lock()
        self._open = True
        self._handle: Any = None
        self._display_id = f"regimeflow-{uuid.uuid4().hex}"
        self.panel = apart(lambda: Panel(self._hear))

    # ------------------------------------------------------------ what a page asks

    def _hear(self, content: Any) -> None:
        """Answer a page; on whatever thread that arrives."""
        own_comms()
        try:
            asked = msgspec.convert(content, Asked)
        except msgspec.ValidationError:
            return  # nothing that our page says
        with self._lock:
            try:
                self._answer(asked)
            except Exception as error:  # it must not be printed under whatever cell runs
                self.failure = error
                text = f"this panel cannot show that: {str(error) or type(error).__name__}"
                self.panel.tell("failed", 0, msgspec.json.encode({"text": text}))

    def _answer(self, asked: Asked) -> None:
        if isinstance(asked, Hello):
            self.panel.tell("snapshot", 0, self._snapshot)
        elif isinstance(asked, AskStory):
            self._tell("story", self._views.story(asked.order))
        elif isinstance(asked, AskFill):
            found = self._views.fill(
                asked.symbol, asked.extra, _ns(asked.at), asked.place, asked.step
            )
            self._tell("stretch", {"ask": asked.ask, **found})
        else:
            found = self._views.stretch(
                asked.symbol, asked.extra, _ns(asked.since), _ns(asked.to) + 999_999
            )
            self._tell("stretch", {"ask": asked.ask, **found})

    def _tell(self, kind: str, parts: Parts) -> None:
        self.panel.tell(kind, 0, msgspec.json.encode(parts))

    # ------------------------------------------------------------ faces

    def _ipython_display_(self) -> None:
        from IPython.display import display

        bundle: Any = self.panel._repr_mimebundle_()
        data = dict(bundle[0] if isinstance(bundle, tuple) else bundle)
        # Whoever cannot show the widget, such as nbconvert and GitHub, shows these.
        data |= self._face()
        self._handle = display(data, raw=True, display_id=self._display_id)  # type: ignore[no-untyped-call]

    def freeze(self) -> Explorer:
        """Put the report's static face in the panel's place, here and in the saved notebook.

        JupyterLab shows no panel without a kernel, and not the face beside it either; this is how
        a notebook that is opened later shows something. Run the cell again for the panel.
        """
        from IPython.core.getipython import get_ipython
        from IPython.display import update_display

        if get_ipython() is not None and self._handle is not None:
            update_display(self._face(), raw=True, display_id=self._display_id)  # type: ignore[no-untyped-call]
        return self

    def _face(self) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.report._repr_html_()}

    def __repr__(self) -> str:
        return f"<Explorer of {self.report!r}>"

    def close(self) -> None:
        """Stop answering; the panel is closed on every page."""
        if self._open:
            self._open = False
            self.panel.close()


_OPEN: WeakValueDictionary[int, Explorer] = WeakValueDictionary()


def explore(report: Report) -> Explorer:
    """Return a report as a panel to walk through, from all its years to a single fill.

    The same report gives the same panel, so a cell that is run again makes no second one.

    Raises:
        ConfigError: it is no report.
        DataError: the report has no prices.

    Example:
        >>> import regimeflow as rf
        >>> prices = rf.datasets.synthetic(n=100)
        >>> report = rf.backtest(lambda ctx, bar: ctx.target(bar.symbol, qty=1), prices)
        >>> explorer = rf.explore(report)
        >>> type(explorer).__name__
        'Explorer'
        >>> explorer.close()
    """
    known = _OPEN.get(id(report))
    if known is not None and known.report is report and known._open:
        return known
    made = _OPEN[id(report)] = Explorer(report)
    return made


def _ns(seconds: float) -> int:
    return round(seconds * 1e3) * 1_000_000
