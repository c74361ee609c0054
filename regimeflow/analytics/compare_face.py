"""A comparison as a notebook shows it; see :mod:`regimeflow.analytics.face` for why it is so plain.

Differences stand first. Lines are told apart by colour and by dashes, and named beside the picture
as well as in it.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING

from regimeflow.analytics import svg
from regimeflow.analytics.html import cut, tile_names
from regimeflow.analytics.metrics import show, spec_of
from regimeflow.analytics.months import zone_of
from regimeflow.model.text import escape

if TYPE_CHECKING:
    from regimeflow.analytics.compare import Comparison, Setting

#: Colours of Okabe and Ito that are read on white and on black, and the dashes that go with them.
INKS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("#1f8ace", ()), ("#dd6b1a", (7, 3)), ("#0f9d74", (2, 2)), ("#b566a0", (9, 3, 2, 3)),
    ("#8a94a0", ()), ("#b3892b", (7, 3)),
)  # fmt: skip
_LEGEND_CHARS = 46
_SETTINGS = 60

_SMALL = "font-size:11.5px;opacity:.7"
_RULE = "1px solid rgba(128,128,128,.35)"
_PAGE = (
    '<div class="rf-face" style="max-width:980px;font-size:13px;line-height:1.45;'
    'font-variant-numeric:tabular-nums;text-align:left;padding:6px 2px">'
)
_PICTURE_STYLE = """
text{fill:#7d8894;font:11px system-ui,-apple-system,"Segoe UI",sans-serif}
path{fill:none;stroke-linejoin:round}
.rf-rule{stroke:#808a96;stroke-opacity:.22}
.rf-start{stroke:#7d8894;stroke-dasharray:3 4}
"""


def face(comparison: Comparison) -> str:
    """Return the comparison as one screen for a notebook, under 100 kB."""
    return "".join(
        (_PAGE, *_differences(comparison), _chart(comparison), _metrics(comparison), "</div>")
    )


def _differences(comparison: Comparison) -> list[str]:
    differ = [setting for setting in comparison.settings if setting.differs]
    same = [setting for setting in comparison.settings if not setting.differs]
    heads = ("", *(cut(name, 60) for name in comparison.names))
    if differ:
        more = len(differ) - _SETTINGS
        title = f"What differs{f', {more} more are in .parameters' if more > 0 else ''}"
        out = [_title(title), _table(heads, [_row(s) for s in differ[:_SETTINGS]], left=True)]
    else:
        out = [_title("The runs were made alike: nothing differs"), _table(heads, [], left=True)]
    words = ", ".join(
        cut(f"{setting.name} {setting.values[0]}", 60) for setting in same[:_SETTINGS]
    )
    if words:
        out.append(f'<div style="{_SMALL}">The same in all: {escape(words)}</div>')
    return out


def _row(setting: Setting) -> tuple[str, ...]:
    return (cut(setting.name, 60), *(cut(value, 120) for value in setting.values))


def _chart(comparison: Comparison) -> str:
    lines = comparison.growth()
    if not lines:
        return ""
    drawn, gaps = [], comparison.gaps()
    for place, name in enumerate(comparison.names):
        if name in lines:
            colour, dashes = INKS[place % len(INKS)]
            drawn.append((cut(name, _LEGEND_CHARS), colour, dashes, *lines[name], gaps[name]))
    label = "Return since the start: " + ", ".join(
        f"{cut(name, _LEGEND_CHARS)} {100 * values[-1]:,.2f} %"
        for name, _, _, _, values, _ in drawn
    )
    picture = svg.document(svg.overlaid(drawn, zone_of(comparison.timezone), label), _PICTURE_STYLE)
    source = b64encode(picture.encode()).decode()
    return (
        f'<div style="{_SMALL};margin-top:8px">{escape(label)}</div>'
        f'<img alt="{escape(label)}" src="data:image/svg+xml;base64,{source}" '
        'style="display:block;width:100%;max-width:980px;height:auto;margin:0;background:none">'
    )


def _metrics(comparison: Comparison) -> str:
    reports = list(comparison.reports.values())
    top = dict.fromkeys(name for report in reports for name in tile_names(report.metrics))
    names = [*top, *(name for name in comparison.metric_names if name not in top)]
    rows = []
    for name in names:
        values = [report.metrics.get(name, math.nan) for report in reports]
        rows.append((spec_of(name).label, *(show(name, value) for value in values)))
    heads = ("", *(cut(name, 60) for name in comparison.names))
    return _title("What came of it") + _table(heads, rows, left=False)


def _title(text: str) -> str:
    return f'<div style="margin-top:8px"><b>{escape(text)}</b></div>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: bool) -> str:
    def cell(tag: str, text: str, place: int) -> str:
        side = "left" if left or not place else "right"
        style = f"text-align:{side};padding:2px 9px;border:none;overflow-wrap:anywhere"
        weight = ";font-weight:600" if tag == "th" else ";opacity:.75" if not place else ""
        return f'<{tag} align="{side}" style="{style}{weight}">{escape(text)}</{tag}>'

    top = "".join(cell("th", text, place) for place, text in enumerate(heads))
    body = "".join(
        f'<tr style="border-top:{_RULE}">'
        f"{''.join(cell('td', text, place) for place, text in enumerate(row))}</tr>"
        for row in rows
    )
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;margin:3px 0 8px;'
        f'font-size:12.5px;color:inherit"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )
