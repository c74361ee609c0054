"""A report as a notebook shows it: one screen that survives being distrusted.

A notebook that was not run on this machine is untrusted: JupyterLab then takes ``<style>``, inline
``<svg>`` and ``var()`` out of what it shows, and GitHub takes every style. So the structure is real
tables, colours are inline and half transparent over whatever the page has, text has the page's own
colour, and the chart is an ``<img>`` that carries its picture, in tones that are readable on white
and on black. The one style element only sharpens that picture where it is known which it is.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import TYPE_CHECKING

from regimeflow.analytics import svg
from regimeflow.analytics.html import (
    MONTHS,
    chart_caption,
    conventions,
    cut,
    equity_svg,
    heat,
    model_line,
    params_line,
    remarks,
    tile_names,
)
from regimeflow.analytics.metrics import Metrics, show, spec_of
from regimeflow.analytics.months import monthly_returns, percent
from regimeflow.model.text import escape

if TYPE_CHECKING:
    from regimeflow.analytics.report import Report

_YEARS = 6
_TILES_IN_ROW = 6

_DIM = "opacity:.7"
_SMALL = "font-size:11.5px;opacity:.7"
_RULE = "1px solid rgba(128,128,128,.35)"
_TABLE = "border-collapse:collapse;width:100%;margin:3px 0 8px;font-size:12px"
# Notebooks stripe the rows of tables; a row of a heat map has its own colours.
_ROW = '<tr style="background:none">'
_GAIN, _LOSS = "0,130,200", "225,105,15"

_PAGE = (
    '<div class="rf-face" style="max-width:980px;font-size:13px;line-height:1.45;'
    'font-variant-numeric:tabular-nums;text-align:left;padding:6px 2px">'
)
_STYLE = (
    "<style>"
    '[data-jp-theme-light="true"] .rf-face img,.vscode-light .rf-face img'
    "{filter:brightness(.8) saturate(1.15)}"
    '[data-jp-theme-light="false"] .rf-face img,.vscode-dark .rf-face img'
    "{filter:brightness(1.22)}"
    "</style>"
)

# The picture is a document of its own: neither the page's theme nor its fonts reach into it.
_PICTURE_STYLE = """
text{fill:#7d8894;font:11px system-ui,-apple-system,"Segoe UI",sans-serif}
path{fill:none;stroke-linejoin:round}
.rf-rule{stroke:#808a96;stroke-opacity:.22}
.rf-start{stroke:#7d8894;stroke-dasharray:3 4}
.rf-line{stroke:#1f8ace;stroke-width:1.6}
.rf-bench{stroke:#8a94a0;stroke-width:1.1}
.rf-down{fill:#dd6b1a;fill-opacity:.28;stroke:#dd6b1a}
"""


def face(report: Report) -> str:
    """Return the report as one screen for a notebook, under 60 kB."""
    months = monthly_returns(report.curve, report.timezone) if report.has_run else {}
    parts = [
        _STYLE,
        _PAGE,
        *_head(report),
        _tiles(report.metrics),
    ]
    if report.has_run and len(report.curve.ts):
        parts.append(_chart(report))
    if len(months) > 1:
        parts.append(_heatmap(months))
    parts += [f'<div style="{_SMALL}">{conventions(report.metrics)}</div>', "</div>"]
    return "".join(parts)


def metrics_face(metrics: Metrics) -> str:
    """Return metrics as a table of name, value and meaning."""
    rows = (
        f"{_ROW}{_cell(spec_of(name).label, 'left')}"
        f"{_cell(show(name, value), 'right', 'font-weight:600;white-space:nowrap')}"
        f"{_cell(metrics.why(name) or spec_of(name).meaning, 'left', _DIM)}</tr>"
        for name, value in metrics.items()
    )
    table = 'style="border-collapse:collapse;font-size:13px;margin:3px 0"'
    return f"<table {table}><tbody>{''.join(rows)}</tbody></table>"


# ---------------------------------------------------------------- parts


def _head(report: Report) -> Iterable[str]:
    params = escape(params_line(report))
    yield f'<div><b style="font-size:17px">{escape(report.strategy or "Report")}</b>'
    yield f' &nbsp;<span style="{_DIM}">{params}</span></div>' if params else "</div>"
    if report.has_run:
        yield f"<div>{' &middot; '.join(escape(fact) for fact in report.facts())}</div>"
        yield f'<div style="{_SMALL}">{escape(model_line(report))}</div>'
    note = f'<div style="border-left:3px solid rgb({_LOSS});padding:1px 9px;margin:6px 0">'
    if report.error:
        yield f"{note}<b>Ended early.</b> {escape(cut(report.error, 600))}</div>"
    for remark in remarks(report):
        yield f"{note}{escape(remark)}</div>"


def _tiles(metrics: Metrics) -> str:
    names = tile_names(metrics)
    rows = []
    for i in range(0, len(names), _TILES_IN_ROW):
        some = names[i : i + _TILES_IN_ROW]
        labels = "".join(
            f'<td align="left" width="16%" title="{escape(metrics.why(n) or spec_of(n).meaning)}" '
            f'style="text-align:left;padding:5px 9px 0;border:none;border-left:{_RULE};'
            f'border-top:{_RULE};{_SMALL}">{escape(spec_of(n).label)}</td>'
            for n in some
        )
        values = "".join(
            f'<td align="left" style="text-align:left;padding:0 9px 5px;border:none;'
            f'border-left:{_RULE};font-size:16px;white-space:nowrap">'
            f"<b>{escape(show(n, metrics[n]))}</b></td>"
            for n in some
        )
        rows.append(f"{_ROW}{labels}</tr>{_ROW}{values}</tr>")
    return (
        '<div style="overflow-x:auto;margin:9px 0 11px">'
        f'<table style="border-collapse:collapse;width:100%;margin:0;border:{_RULE}">'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _chart(report: Report) -> str:
    curve = report.curve
    label = svg.equity_label(curve.start, float(curve.equity[-1]))
    picture = svg.document(equity_svg(report), _PICTURE_STYLE)
    source = b64encode(picture.encode()).decode()
    return (
        f'<div style="{_SMALL}">{chart_caption(report)}</div>'
        f'<img alt="{escape(label)}" src="data:image/svg+xml;base64,{source}" '
        'style="display:block;width:100%;max-width:980px;height:auto;margin:0;background:none">'
    )


def _heatmap(months: dict[tuple[int, int], float]) -> str:
    shown, scale, title = heat(months, _YEARS)
    cell = "padding:2px 5px;border:none;text-align:right;white-space:nowrap"
    top = "".join(
        f'<th align="right" style="{cell};font-weight:normal;{_DIM}">{name}</th>'
        for name in ("", *MONTHS, "Year")
    )
    rows = []
    for year, total in shown:
        cells = "".join(_heat_cell(months.get((year, m)), scale, cell) for m in range(1, 13))
        rows.append(
            f'{_ROW}<th style="{cell};font-weight:normal;{_DIM}">{year}</th>{cells}'
            f'<td align="right" style="{cell}"><b>{percent(total)}</b></td></tr>'
        )
    return (
        f'<div style="{_SMALL};margin-top:7px">{title}</div><div style="overflow-x:auto">'
        f'<table style="{_TABLE}"><thead>{_ROW}{top}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _heat_cell(value: float | None, scale: float, style: str) -> str:
    if value is None or value != value:
        return "<td></td>"
    text = percent(value)
    if text == "0.0":
        return f'<td align="right" style="{style}">{text}</td>'
    hue = _GAIN if value > 0 else _LOSS
    strength = min(abs(value) / scale, 1.0) * 0.55
    return (
        f'<td align="right" style="{style};background-color:rgba({hue},{strength:.2f})">{text}</td>'
    )


def _cell(text: str, side: str, more: str = "") -> str:
    style = f"text-align:{side};padding:2px 9px;border:none;{more}"
    return f'<td align="{side}" style="{style}">{escape(text)}</td>'
