"""A board without a kernel: tables and pictures that stay in a saved notebook."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from regimeflow.analytics import svg
from regimeflow.analytics.gaps import find_gaps
from regimeflow.analytics.months import local, zone_of
from regimeflow.model.text import escape
from regimeflow.model.timeframe import lasted
from regimeflow.widgets.board import Board, Parts
from regimeflow.widgets.slippage import DRAWN, GROUPS
from regimeflow.widgets.words import (
    NONE,
    books_line,
    bp,
    data_line,
    link_line,
    money,
    number,
    percent,
    price,
    signed,
    state_line,
)

_FILLS, _LOG, _GROUP, _HELD = 20, 12, 6, 20
_DIM = "opacity:.7;font-size:12px"
_RULE = "1px solid rgba(128,138,150,.35)"
_WRONG = "border-left:3px solid rgb(200,90,0);padding:2px 9px;margin:4px 0"
# The pictures are documents of their own: neither the page's theme nor its fonts reach into them.
_STYLE = """
text{fill:#7d8894;font:11px system-ui,-apple-system,"Segoe UI",sans-serif}
path{fill:none;stroke-linejoin:round}
.rf-rule{stroke:#808a96;stroke-opacity:.22}
.rf-band{fill:#808a96;fill-opacity:.18}
.rf-live{stroke:#1f8ace;stroke-width:1.8}
.rf-shadow{stroke:#12a07c;stroke-width:1.3;stroke-dasharray:6 4}
.rf-twin{stroke:#dd7a1a;stroke-width:1.3;stroke-dasharray:2 3}
.rf-price{stroke:#8a94a0;stroke-width:1.2}
.rf-buy{fill:#1f8ace}
.rf-sell{fill:#dd7a1a}
.rf-bar{fill:#1f8ace;fill-opacity:.65}
.rf-mean{stroke:#dd7a1a;stroke-width:1.6}
.rf-model{stroke:#808a96;stroke-width:1.4;stroke-dasharray:4 3}
"""


class Clock:
    """Times of a run in its own zone, like the panel's.

    >>> clock = Clock("America/New_York")
    >>> clock.title, clock(1_704_205_800_000)
    ('time, New York', '2024-01-02 09:30:00')
    """

    def __init__(self, zone: str) -> None:
        self._zone = zone_of(zone)
        self.title = f"time, {zone.rpartition('/')[2].replace('_', ' ')}"

    def __call__(self, ms: int) -> str:
        return f"{local(ms * 1_000_000, self._zone):%Y-%m-%d %H:%M:%S}"


def html(boards: Sequence[Board]) -> str:
    """Return boards as an HTML fragment, about 30 kB each, without a script."""
    return "".join(_board(board.view()) for board in boards)


def picture(boards: Sequence[Board]) -> bytes:
    """Return boards as a PNG picture: equity within the cone above, price and fills below."""
    from regimeflow.widgets import frozen_picture  # matplotlib is loaded with the first picture

    return frozen_picture.draw([board.view() for board in boards])


def _board(parts: Parts) -> str:
    head, state = parts["head"], parts["state"]
    params = ", ".join(f"{name}={value}" for name, value in head["params"])
    wrong = [text for text in (head["differs"], state["error"]) if text]
    box = f"border:{_RULE};border-radius:6px;padding:10px 12px;margin:2px 0;font-size:13px"
    place = " &middot; ".join(
        escape(text)
        for text in (f"on {head['venue']}", head["baseline"], head["place"], f"run {head['run']}")
    )
    clock = Clock(head["zone"])
    title, stands = escape(head["title"]), escape(state_line(state))
    return "".join(
        [
            f'<div style="{box}">',
            *(f'<div style="{_WRONG}">{escape(text)}</div>' for text in wrong),
            f'<div><b style="font-size:16px">{title}</b> ',
            f'<span style="{_DIM}">{escape(params)}</span></div>',
            f"<div><b>{escape(state['mode_words'])}</b> &middot; {stands}</div>",
            f'<div style="{_DIM}">{place}</div>',
            _tiles(state),
            _facts(state, clock),
            _drift(parts),
            _fills(parts, clock),
            _slippage(parts["slippage"]),
            _holdings(parts, clock),
            _log(parts["log"], state["lines"], clock),
            "</div>",
        ]
    )


def _tiles(state: Parts) -> str:
    cells = [
        ("equity", money(state["equity"])),
        ("today", signed(money(state["pnl"]))),
        ("return", signed(percent(state["ret"]))),
        ("drawdown", percent(state["dd"])),
        ("cash", money(state["cash"])),
        ("fees", money(state["fees"])),
        ("fills", number(state["fills"])),
        ("working", number(state["working"])),
    ]
    labels = "".join(f'<td align="left" style="{_SMALL}">{name}</td>' for name, _ in cells)
    values = "".join(f'<td align="left" style="{_LARGE}"><b>{v}</b></td>' for _, v in cells)
    return _scroll(f"<tbody><tr>{labels}</tr><tr>{values}</tr></tbody>")


def _facts(state: Parts, clock: Clock) -> str:
    unknown = number(state["unknown"])
    if state["unknown"]:
        unknown += f", the oldest for {lasted(state['unknown_ms'])}"
    memory, lag = state["memory_mb"], lasted(state["lag_ms"])
    rows = [
        ("session time", clock(state["at"]) if state["at"] else NONE),
        ("data age", data_line(state)),
        ("venue link", link_line(state)),
        ("books", books_line(state, clock)),
        ("unknown orders", unknown),
        ("process", NONE if memory is None else f"{number(memory)} MB, lag {lag}"),
    ]
    return _table(("", ""), rows, left=(0, 1))


def _drift(parts: Parts) -> str:
    rows, drift = parts["equity"], parts["drift"]
    pictures = _equity(rows, parts["head"]) + _price(parts)
    table = _table(
        ("", "live is better by", "bp of start", ""),
        [(name, signed(money(gap)), signed(bp(of)), why) for name, gap, of, why in drift["causes"]],
        left=(0, 3),
    )
    held = f"live {signed(percent(drift['ret']))}"
    if drift["expected"] is not None:
        held += f", baseline over as long {signed(percent(drift['expected']))}"
    notes = " &middot; ".join(escape(text) for text in (held, *drift["notes"]))
    return f"{_title('Drift')}{pictures}<div style='{_DIM}'>{notes}</div>{table}"


def _equity(rows: Sequence[Any], head: Parts) -> str:
    if len(rows) < 2:
        return ""
    columns = np.array([[np.nan if v is None else v for v in row] for row in rows])
    ts = (columns[:, 0] * 1e9).astype(np.int64)
    chart = svg.lines_chart(
        ts,
        [("rf-twin", columns[:, 3]), ("rf-shadow", columns[:, 2]), ("rf-live", columns[:, 1])],
        zone_of(head["zone"]),
        "equity of live, shadow and twin",
        (columns[:, 4], columns[:, 5]),
        find_gaps(ts, round(head["step_s"] * 1e9)),
    )
    cone = ", within the baseline's 95 % cone" if head["cone"] else ""
    return _picture(chart, f"equity: live solid, shadow dashed, twin dotted{cone}")


def _price(parts: Parts) -> str:
    bars, head = parts["bars"], parts["head"]
    if len(bars) < 2:
        return ""
    ts = np.array([round(bar[0] * 1e9) for bar in bars], dtype=np.int64)
    close = np.array([bar[4] for bar in bars])
    mine = [f for f in parts["fills"] if f[4] == head["symbol"] and f[2] * 1_000_000 >= ts[0]]
    fills = (
        np.array([fill[2] * 1_000_000 for fill in mine], dtype=np.int64),
        np.array([fill[7] for fill in mine], dtype=np.float64),
        np.array([fill[3] == "buy" for fill in mine], dtype=np.bool_),
    )
    label = f"price of {head['symbol']} with the last {len(mine)} fills"
    gaps = find_gaps(ts, round(head["step_s"] * 1e9))
    return _picture(svg.trades_chart(ts, close, fills, zone_of(head["zone"]), label, gaps), label)


def _picture(chart: str, label: str) -> str:
    source = base64.b64encode(svg.document(chart, _STYLE).encode()).decode()
    return (
        f'<div style="{_DIM}">{escape(label)}</div><img alt="{escape(label)}" '
        f'src="data:image/svg+xml;base64,{source}" '
        'style="display:block;width:100%;max-width:980px;height:auto;margin:0;background:none">'
    )


def _fills(parts: Parts, clock: Clock) -> str:
    fills = parts["fills"]
    percentiles = parts["head"]["percentiles"]
    rows = [
        (
            clock(f[2]), f[3], f[4], number(f[5]), price(f[6]), price(f[7]), signed(bp(f[8])),
            signed(money(f[9])), signed(bp(f[10])), *((number(f[11]),) if percentiles else ()),
            lasted(f[12]), money(f[13]),
        )
        for f in reversed(fills[-_FILLS:])
    ]  # fmt: skip
    heads = (
        clock.title, "side", "symbol", "qty", "expected", "realised", "slip, bp", "slip, money",
        "model, bp", *(("percentile",) if percentiles else ()), "latency", "fee",
    )  # fmt: skip
    count = parts["state"]["fills"]
    title = f"Fills: {_last(len(rows), count)}" if rows else "Fills: none"
    return _title(title) + _table(heads, rows, left=(0, 1, 2))


def _slippage(slippage: Parts) -> str:
    facts = [f"{slippage['fills']:,} fills", f"mean {signed(bp(slippage['mean']))} bp"]
    facts.append(f"absolute {bp(slippage['absolute'])} bp")
    if slippage["model"] is not None:
        facts.append(f"the model assumes {signed(bp(slippage['model']))} bp")
    if slippage["baseline"] is not None:
        facts.append(f"the baseline had {signed(bp(slippage['baseline']))} bp")
    words = f"<div style='{_DIM}'>{' &middot; '.join(facts)}; positive is a cost</div>"
    out = _title("Slippage") + words
    if slippage["bins"]:
        marks = (
            ("rf-model", "model", slippage["model"]),
            ("rf-mean", "mean", slippage["mean"]),
        )
        label = f"units by slippage, {_of(min(slippage['fills'], DRAWN), slippage['fills'])} fills"
        out += _picture(svg.bars_chart(slippage["bins"], marks, "bp", label), label)
    groups = "".join(f"<div>{_group(slippage, *one)}</div>" for one in GROUPS)
    return f'{out}<div style="display:flex;flex-wrap:wrap;gap:0 22px">{groups}</div>'


def _group(slippage: Parts, name: str, title: str) -> str:
    groups, of = slippage["groups"][name], slippage["of"][name]
    shown = groups if name == "hour" else groups[:_GROUP]
    rows = [
        (key, number(n), number(qty), signed(bp(slip)), signed(money(cost)))
        for key, n, qty, slip, cost in shown
    ]
    few = "" if len(rows) == of else f", {_of(len(rows), of)}"
    return _table((f"{title}{few}", "fills", "qty", "slippage bp", "money"), rows, left=(0,))


def _last(shown: int, all_of_them: int) -> str:
    return f"{'the last ' * (shown < all_of_them)}{_of(shown, all_of_them)}"


def _of(shown: int, all_of_them: int) -> str:
    return f"{shown:,}" if shown == all_of_them else f"{shown:,} of {all_of_them:,}"


def _holdings(parts: Parts, clock: Clock) -> str:
    positions = [
        (symbol, number(qty), price(average), price(last), money(value), signed(money(profit)))
        for symbol, qty, average, last, value, profit in parts["positions"][:_HELD]
    ]
    orders = [
        (clock(o[1]), o[2], o[3], o[4], number(o[5]), number(o[6]), o[9])
        for o in parts["orders"][:_HELD]
    ]
    limits = [
        (name, text if used is None else f"{percent(used)} of {text}")
        for name, text, used in parts["limits"]
    ]
    held, working = parts["state"]["held"], parts["state"]["working"]
    out = _title(f"Positions: {_of(len(positions), held)}" if positions else "Positions: flat")
    out += _table(
        ("symbol", "held", "average", "last", "value", "open profit"), positions, left=(0,)
    )
    if orders:
        heads = (clock.title, "side", "symbol", "type", "qty", "filled", "status")
        out += _title(f"Working orders: {_of(len(orders), working)}") + _table(
            heads, orders, left=(0, 1, 2, 3, 6)
        )
    if limits:
        out += _title("Limits, used") + _table(("", ""), limits, left=(0,))
    return out


def _log(lines: Sequence[Any], count: int, clock: Clock) -> str:
    rows = [(clock(at), level, text[:400]) for at, level, text in reversed(lines[-_LOG:])]
    if not rows:
        return ""
    title = _title(f"Log: {_last(len(rows), count)}")
    return title + _table((clock.title, "level", "text"), rows, left=(0, 1, 2))


# ---------------------------------------------------------------- pieces

_SMALL = f"text-align:left;padding:4px 9px 0;border:none;border-left:{_RULE};{_DIM}"
_LARGE = f"text-align:left;padding:0 9px 4px;border:none;border-left:{_RULE};white-space:nowrap"


def _title(text: str) -> str:
    return f'<div style="margin-top:8px"><b>{escape(text)}</b></div>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    if not rows:
        return ""

    # Tables of notebooks stand to the right by themselves; the attribute is for all others.
    def cell(tag: str, text: str, place: int, style: str = "") -> str:
        style += "padding:2px 5px"
        if " " in text and len(text) <= 60:
            style += ";white-space:nowrap"
        if place in left:
            return f'<{tag} style="text-align:left;{style}">{escape(text)}</{tag}>'
        return f'<{tag} align="right" style="{style}">{escape(text)}</{tag}>'

    top = "".join(
        cell("th", text, i, f"font-weight:normal;{_DIM};") for i, text in enumerate(heads)
    )
    lines = "".join(
        f"<tr>{''.join(cell('td', text, i) for i, text in enumerate(row))}</tr>" for row in rows
    )
    return _scroll(f"<thead><tr>{top}</tr></thead><tbody>{lines}</tbody>")


def _scroll(content: str) -> str:
    style = "border-collapse:collapse;margin:2px 0;font-size:12.5px"
    return f'<div style="overflow-x:auto"><table style="{style}">{content}</table></div>'
