"""The same pictures for plotly, where it is installed: to zoom into, or to build on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from regimeflow.analytics.plots import GAIN, LOSS, QUIET
from regimeflow.analytics.slippage_plot import measured
from regimeflow.errors import DataError, MissingExtra

if TYPE_CHECKING:
    from regimeflow.analytics.drift import Drift
    from regimeflow.analytics.execution_quality import ExecutionQuality
    from regimeflow.model.market import FloatArray

_SHADOW = "#00805f"


def _plotly() -> Any:
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise MissingExtra("to_plotly needs plotly: pip install plotly") from None
    return go


def drift_figure(drift: Drift) -> Any:
    """Return a ``plotly.graph_objects.Figure``: equity within the cone, in money."""
    go = _plotly()
    if not drift.rows:
        raise DataError("there is nothing to draw: no bar has closed yet")
    times = np.array([row.time for row in drift.rows], dtype=np.int64).astype("datetime64[ns]")
    figure = go.Figure()
    low, _, high = drift.cone_columns()

    def line(name: str, values: FloatArray, **more: Any) -> None:
        figure.add_trace(go.Scatter(x=times, y=values, name=name, mode="lines", **more))

    if not np.isnan(low).all():
        hidden = {"width": 0}
        line("cone, low", drift.start * (1.0 + low), line=hidden, showlegend=False)
        grey = "rgba(107,116,128,.15)"
        line("cone", drift.start * (1.0 + high), line=hidden, fill="tonexty", fillcolor=grey)
        line("baseline", drift.start * (1.0 + drift.column("baseline")), line={"color": QUIET})
    for name, colour, dash in (
        ("twin", LOSS, "dot"),
        ("shadow", _SHADOW, "dash"),
        ("live", GAIN, "solid"),
    ):
        line(name, drift.column(name), line={"color": colour, "dash": dash})
    figure.update_layout(title={"text": f"{drift.name}: drift"}, yaxis={"title": "equity"})
    return figure


def slippage_figure(quality: ExecutionQuality) -> Any:
    """Return a ``plotly.graph_objects.Figure``: units by slippage in bp."""
    go = _plotly()
    slips, units = measured(quality)
    figure = go.Figure(go.Histogram(x=slips, y=units, histfunc="sum", marker={"color": GAIN}))
    figure.update_layout(
        title={"text": f"Slippage of {len(slips):,} fills, by quantity"},
        xaxis={"title": "slippage, bp; positive is a cost"},
        yaxis={"title": "units"},
    )
    return figure
