"""The tear sheet: a report as one HTML file of its own, for light, dark and paper.

No script, nothing from the network, no ids, no clock: the same report is the same text. Everything
that a user, a venue or a file could have written is escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from regimeflow.analytics import svg
from regimeflow.analytics.fold import priced, rows_by_symbol, step
from regimeflow.analytics.gaps import find_gaps
from regimeflow.analytics.metrics import SPECS, Metrics, by_regime, show, spec_of
from regimeflow.analytics.months import local, monthly_returns, percent, yearly_returns, zone_of
from regimeflow.analytics.trips import Trips
from regimeflow.analytics.windows import worst_drawdowns
from regimeflow.model.market import FloatArray
from regimeflow.model.text import escape
from regimeflow.model.timeframe import NS_PER_DAY

if TYPE_CHECKING:
    from regimeflow.analytics.report import Report

_TILES = (
    "total_return", "cagr", "sharpe", "sortino", "volatility", "max_drawdown",
    "total_trades", "win_rate", "profit_factor", "exposure_time", "total_fees", "final_equity",
)  # fmt: skip
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SYMBOLS_DRAWN = 3
_TRADES_SHOWN = 8
_DRAWDOWNS = 5

# Light or dark is the reader's preference. Blue and orange (Okabe and Ito) stay apart for
# colour-blind readers.
_STYLE = """<style>
.rf{--fg:#1c2430;--dim:#5b6675;--bg:#fff;--rule:#dfe3e8;
--gain:#0072b2;--loss:#c75000;--gain-rgb:0,114,178;--loss-rgb:213,94,0;
color:var(--fg);background:var(--bg);font:13px/1.45 system-ui,-apple-system,"Segoe UI",sans-serif;
max-width:980px;padding:10px 12px;text-align:left;
container-type:inline-size}
@media (prefers-color-scheme:dark){.rf{--fg:#e4e8ee;--dim:#9aa5b3;--bg:#12161c;--rule:#2c343f;
--gain:#56b4e9;--loss:#f0913a;--gain-rgb:86,180,233;--loss-rgb:240,145,58}}
.rf-head{display:flex;flex-wrap:wrap;gap:2px 14px;align-items:baseline}
.rf-head b{font-size:17px;font-weight:650;overflow-wrap:anywhere}
.rf-dim{color:var(--dim);overflow-wrap:anywhere}.rf-small{font-size:11.5px}.rf-gap{margin-top:7px}
.rf-note{border-left:3px solid var(--loss);padding:1px 9px;margin:6px 0;overflow-wrap:anywhere}
.rf-tiles{display:grid;grid-template-columns:repeat(6,1fr);gap:1px;margin:9px 0 11px;
background:var(--rule);border:1px solid var(--rule)}
@container (max-width:760px){.rf .rf-tiles{grid-template-columns:repeat(4,1fr)}}
@container (max-width:520px){.rf .rf-tiles{grid-template-columns:repeat(2,1fr)}}
.rf-tile{background:var(--bg);padding:5px 9px 6px}
.rf-tile span{display:block;color:var(--dim);font-size:11.5px}
.rf-tile strong{font-size:17px;font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap}
.rf svg{display:block;width:100%;height:auto;overflow:hidden}
.rf svg text{fill:var(--dim);font-size:11px;font-variant-numeric:tabular-nums}
.rf svg path{fill:none;stroke-linejoin:round;vector-effect:non-scaling-stroke}
.rf-rule{stroke:var(--rule);stroke-width:1;opacity:.65}
.rf-start{stroke:var(--dim);stroke-dasharray:3 4}
.rf-line{stroke:var(--gain);stroke-width:1.6}.rf-bench{stroke:var(--dim);stroke-width:1.1}
.rf-price{stroke:var(--dim);stroke-width:1.1}
.rf svg .rf-down{fill:rgba(var(--loss-rgb),.3);stroke:var(--loss);stroke-width:1}
.rf svg .rf-buy{fill:var(--gain)}.rf svg .rf-sell{fill:var(--loss)}
.rf table.rf-table{border-collapse:collapse;border:0;margin:3px 0 8px;font-size:12px;color:inherit;
background:none;font-variant-numeric:tabular-nums;width:auto}
.rf .rf-table :is(td,th){padding:2px 8px;text-align:right;border:0;background:none;color:inherit;
white-space:nowrap;font-weight:400}
.rf .rf-table th{color:var(--dim)}.rf .rf-table tr{background:none}
.rf .rf-table .rf-l{text-align:left}.rf .rf-table .rf-w{white-space:normal;overflow-wrap:anywhere}
.rf table.rf-heat{width:100%}.rf .rf-heat td{min-width:34px;padding:2px 5px}
.rf .rf-heat td.rf-y{font-weight:600}
.rf .rf-heat td.g{background:rgba(var(--gain-rgb),var(--a))}
.rf .rf-heat td.l{background:rgba(var(--loss-rgb),var(--a))}
.rf-scroll{overflow-x:auto}.rf .rf-lines tr+tr :is(td,th){border-top:1px solid var(--rule)}
.rf h2{font-size:14px;font-weight:650;margin:20px 0 5px;color:inherit}
</style>"""

_PAGE_STYLE = """<style>
:root{color-scheme:light dark}body{margin:0;background:#fff}
@media (prefers-color-scheme:dark){body{background:#12161c}}
.rf{margin:0 auto;padding:26px 22px 40px}.rf-head b{font-size:22px}
@media print{.rf{padding:0}.rf-keep{break-inside:avoid}}
</style>"""


def tearsheet(report: Report) -> str:
    """Return the report as a self-contained HTML page."""
    title = escape(f"{report.strategy or 'Report'}: tear sheet")
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{title}</title>{_STYLE}{_PAGE_STYLE}</head><body><div class='rf'>",
        *_head(report),
        _tiles(report.metrics),
    ]
    if report.has_run and len(report.curve.ts):
        months = monthly_returns(report.curve, report.timezone)
        parts += ["<h2>Equity and drawdown</h2>", _equity(report)]
        parts += ["<h2>Returns by month</h2>", _heatmap(months), *_worst(report)]
        parts += _trade_pictures(report)
    parts += ["<h2>Metrics</h2>", _metric_table(report.metrics)]
    if report.has_run:
        parts += [*_trade_tables(report), *_regimes(report)]
        parts += [*_orders(report), *_assumptions(report)]
    parts.append(
        f'<h2>Conventions</h2><div class="rf-dim rf-small">{conventions(report.metrics)}</div>'
    )
    parts.append("</div></body></html>\n")
    return "".join(parts)


# ---------------------------------------------------------------- its head


def _head(report: Report) -> list[str]:
    name = escape(report.strategy or "Report")
    params = f'<span class="rf-dim">{escape(params_line(report))}</span>'
    out = [f'<div class="rf-head"><b>{name}</b>{params}</div>']
    if report.has_run:
        what = " &middot; ".join(escape(part) for part in report.facts())
        out.append(f"<div>{what}</div>")
        out.append(f'<div class="rf-dim rf-small">{escape(model_line(report))}</div>')
    if report.error:
        out.append(
            f'<div class="rf-note"><b>Ended early.</b> {escape(cut(report.error, 600))}</div>'
        )
    return out + [f'<div class="rf-note">{escape(note)}</div>' for note in remarks(report)]


def _tiles(metrics: Metrics) -> str:
    tiles = (
        f'<div class="rf-tile" title="{escape(metrics.why(name) or spec_of(name).meaning)}">'
        f"<span>{escape(spec_of(name).label)}</span>"
        f"<strong>{escape(show(name, metrics[name]))}</strong></div>"
        for name in tile_names(metrics)
    )
    return f'<div class="rf-tiles">{"".join(tiles)}</div>'


def _equity(report: Report) -> str:
    return (
        f'<div class="rf-keep"><div class="rf-dim rf-small">{chart_caption(report)}</div>'
        f"{equity_svg(report)}</div>"
    )


def _heatmap(months: dict[tuple[int, int], float]) -> str:
    shown, scale, title = heat(months)
    rows = []
    for year, total in shown:
        cells = "".join(_heat_cell(months.get((year, m)), scale) for m in range(1, 13))
        rows.append(f'<tr><th>{year}</th>{cells}<td class="rf-y">{percent(total)}</td></tr>')
    names = "".join(f"<th>{name}</th>" for name in MONTHS)
    return (
        f'<div class="rf-keep"><div class="rf-dim rf-small rf-gap">{title}</div>'
        f'<div class="rf-scroll"><table class="rf-table rf-heat"><thead><tr><th></th>{names}'
        f"<th>Year</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div></div>"
    )


def _heat_cell(value: float | None, scale: float) -> str:
    if value is None or value != value:
        return "<td></td>"
    strength = min(abs(value) / scale, 1.0) * 0.55
    kind = "g" if value > 0 else "l"
    return f'<td class="{kind}" style="--a:{strength:.2f}">{percent(value)}</td>'


# ---------------------------------------------------------------- what the notebook shows as well


def params_line(report: Report) -> str:
    """Return the parameters as ``name=value``, long values cut."""
    return ", ".join(f"{name}={cut(repr(value), 40)}" for name, value in report.params.items())


def model_line(report: Report) -> str:
    """Return the models, and what was inferred from the data, as one sentence."""
    line = "; ".join([*report.assumptions(), *report.assumed])
    return cut(f"{line[:1].upper()}{line[1:]}.", 600)


def remarks(report: Report) -> list[str]:
    """Return what the reader must see; of many the first twelve and how many more there are."""
    shown = [cut(note, 400) for note in report.notes[:12]]
    more = len(report.notes) - len(shown)
    return [*shown, f"and {more} more remarks"] if more else shown


def tile_names(metrics: Metrics) -> list[str]:
    """Return the metrics that stand at the top: at most twelve."""
    return [name for name in _TILES if name in metrics] or list(metrics)[:12]


def equity_svg(report: Report) -> str:
    """Return the chart of equity and drawdown of a report that has prices."""
    curve = report.curve
    return svg.equity_chart(
        curve.ts,
        curve.equity,
        report.drawdown,
        (curve.start_ts, curve.start),
        zone_of(report.timezone),
        _benchmark(report),
        find_gaps(curve.ts, report.data.timeframe),
    )


def chart_caption(report: Report) -> str:
    """Return what is to be seen on :func:`equity_svg`, as HTML."""
    against = ""
    if report.data.benchmark is not None:
        name = report.data.benchmark.symbol
        against = f"; thin line: {escape(name)}, scaled to the starting capital"
    return f"Equity, with the starting capital dashed{against}; below it the drawdown"


def heat(
    months: dict[tuple[int, int], float], last: int | None = None
) -> tuple[list[tuple[int, float]], float, str]:
    """Return years with their returns, the newest first, the full-colour return, and a title."""
    years = yearly_returns(months)
    shown = sorted(years)[-last:] if last else sorted(years)
    known = [abs(v) for (y, _), v in months.items() if y in shown and v == v]
    scale = max(sorted(known)[int(len(known) * 0.95)] if known else 0.0, 1e-6)
    few = f", the last {len(shown)} of {len(years)} years" if len(shown) < len(years) else ""
    return [(year, years[year]) for year in reversed(shown)], scale, f"Monthly returns, %{few}"


def conventions(metrics: Metrics) -> str:
    """Return how the metrics are computed, as HTML."""
    periods = metrics.get("periods_per_year")
    year = f"{periods:,.6g} periods a year" if periods == periods and periods else "the file's own"
    return (
        "Conventions: simple returns, the first over the starting "
        f"capital; standard deviations with ddof 1; {year}, from the calendar and the bar length; "
        "risk-free rate geometric; CAGR by calendar time; drawdown includes the starting capital; "
        "VaR historical; profit factor in money after fees. "
        f"{_why(metrics)}."
    )


def _why(metrics: Metrics) -> str:
    """Return why what stands at the top is a dash, as HTML, or how one can ask."""
    reasons: dict[str, list[str]] = {}
    for name in tile_names(metrics):
        if reason := metrics.why(name):
            reasons.setdefault(reason, []).append(spec_of(name).label)
    if not reasons:
        return "What is undefined is a dash; <code>metrics.why(name)</code> says why"
    told = (f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
    return f"A dash is undefined. {escape('. '.join(told))}"


def cut(text: str, length: int) -> str:
    """Return a text, or its beginning and three dots."""
    return text if len(text) <= length else text[: length - 3] + "..."


def _benchmark(report: Report) -> FloatArray | None:
    if (benchmark := report.data.benchmark) is None or not len(benchmark.ts):
        return None
    curve = report.curve
    levels = step(curve.ts, benchmark.ts, benchmark.close, np.nan)
    before = step(np.array([curve.start_ts]), benchmark.ts, benchmark.close, np.nan)
    base = np.append(before, levels)
    known = base[~np.isnan(base)]
    scaled: FloatArray = levels * (curve.start / known[0]) if len(known) else levels
    return scaled


# ---------------------------------------------------------------- its sections


def _trade_pictures(report: Report) -> list[str]:
    fills, prices = report.fill_columns, priced(report.data)
    rows = {s: r for s, r in rows_by_symbol(fills.symbols).items() if s in prices}
    if not rows:
        return []
    most = sorted(rows, key=lambda s: (-len(rows[s]), s))[:_SYMBOLS_DRAWN]
    out = ["<h2>Trades on price</h2>"]
    for symbol in most:
        at = rows[symbol]
        order = at[np.argsort(fills.time[at], kind="stable")]
        marks = (fills.time[order], fills.price[order], fills.signed[order] > 0)
        label = f"{symbol}: close and {len(at)} fills"
        if len(at) > svg.MARKERS:
            label += f", every {len(at) / svg.MARKERS:.1f}th drawn"
        series = prices[symbol]
        chart = svg.trades_chart(
            series.ts, series.close, marks, zone_of(report.timezone), label,
            find_gaps(series.ts, report.data.timeframe),
        )  # fmt: skip
        out.append(
            f'<div class="rf-keep"><div class="rf-dim rf-small">{escape(label)} (buys point up, '
            f"sells down)</div>{chart}</div>"
        )
    if len(rows) > len(most):
        rest = f"The {len(most)} most traded of {len(rows)} symbols."
        out.append(f'<div class="rf-dim rf-small">{rest}</div>')
    return out


def _worst(report: Report) -> list[str]:
    curve = report.curve
    worst = worst_drawdowns(curve.ts, report.drawdown, curve.start_ts, _DRAWDOWNS)
    if not len(worst):
        return []
    # Points of the curve are closes: those of daily bars belong to the day that they end.
    daily = bool(report.data.timeframe) and report.data.timeframe % NS_PER_DAY == 0
    rows = [
        (
            f"{worst.depth[i] * 100:,.2f} %",
            _when(report, int(worst.peak[i]) - daily),
            _when(report, int(worst.trough[i]) - daily),
            _when(report, int(worst.end[i]) - daily) if worst.end[i] else "not yet",
            f"{worst.bars[i]:,}",
        )
        for i in range(len(worst))
    ]
    head = ("Depth", "Peak", "Trough", "Recovered", "Bars")
    return ["<h2>Worst drawdowns</h2>", _table(head, rows, left=(1, 2, 3))]


def _metric_table(metrics: Metrics) -> str:
    rows = [
        (spec_of(name).label, show(name, value), metrics.why(name) or spec_of(name).meaning)
        for name, value in sorted(metrics.items(), key=lambda item: _place(item[0]))
    ]
    return _table(("", "Value", "Meaning, or why there is none"), rows, left=(0, 2))


def _place(name: str) -> int:
    return list(SPECS).index(name) if name in SPECS else len(SPECS)


def _trade_tables(report: Report) -> list[str]:
    closed, still_open = report.trips
    head = ("Symbol", "Side", "Units", "Entry", "at", "Exit", "at", "Profit", "Return", "Bars")
    out = []
    if len(closed):
        n, k = len(closed), _TRADES_SHOWN
        rows = _trip_rows(report, closed, range(min(k, n)))
        if n > 2 * k:
            rows.append(("...", f"{n - 2 * k:,} more", *([""] * 8)))
        rows += _trip_rows(report, closed, range(max(n - k, k), n))
        out += [f"<h2>Round trips ({n:,})</h2>", _table(head, rows, left=(0, 1))]
    if len(still_open):
        shown = range(min(len(still_open), 25))
        out.append(f"<h2>Open positions ({len(still_open):,}), at last prices</h2>")
        out.append(
            _table(head, _trip_rows(report, still_open, shown, still_open=True), left=(0, 1))
        )
    return out


def _trip_rows(
    report: Report, trips: Trips, places: Iterable[int], *, still_open: bool = False
) -> list[tuple[str, ...]]:
    return [
        (
            trips.symbols[i],
            "long" if trips.sides[i] == "buy" else "short",
            f"{trips.qty[i]:,.8g}",
            _when(report, int(trips.entry_time[i])),
            f"{trips.entry_price[i]:,.8g}",
            _when(report, int(trips.exit_time[i]) - still_open),
            f"{trips.exit_price[i]:,.8g}",
            f"{trips.pnl[i]:,.2f}",
            "–" if np.isnan(trips.returns[i]) else f"{trips.returns[i] * 100:,.2f} %",
            f"{trips.bars[i]:,}",
        )
        for i in places
    ]


def _when(report: Report, ns: int) -> str:
    # Fills of daily bars happen at midnight for all the data knows: the date says it all. What is
    # still open was marked at a close, which belongs to the day that it ends.
    whole_days = report.data.timeframe and report.data.timeframe % NS_PER_DAY == 0
    style = "%Y-%m-%d" if whole_days else "%Y-%m-%d %H:%M"
    return local(ns, zone_of(report.timezone)).strftime(style)


def _regimes(report: Report) -> list[str]:
    found = by_regime(report.data, report.curve, report.metrics["periods_per_year"])
    if not found:
        return []
    rows = [
        (
            name,
            f"{values['share'] * 100:.1f} %",
            show("total_return", values["total_return"]),
            show("volatility", values["volatility"]),
            show("sharpe", values["sharpe"]),
        )
        for name, values in found.items()
    ]
    head = ("Regime", "Share of time", "Total return", "Volatility", "Sharpe")
    return ["<h2>By regime</h2>", _table(head, rows, left=(0,))]


def _orders(report: Report) -> list[str]:
    if not report.data.orders:
        return []
    states = Counter(str(order.status) for order in report.data.orders)
    words = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
    reasons = Counter(
        (str(order.status), order.reason) for order in report.data.orders if order.reason
    )
    rows = [
        (f"{count:,}", state, cut(reason, 160)) for (state, reason), count in reasons.most_common(8)
    ]
    out = [f"<h2>Orders ({len(report.data.orders):,})</h2><div>{escape(words)}</div>"]
    if rows:
        out.append(_table(("Count", "Outcome", "Reason"), rows, left=(1, 2)))
    return out


def _assumptions(report: Report) -> list[str]:
    data, start = report.data, report.data.start
    limits = {
        name: value
        for name in start.limits.__struct_fields__
        if (value := getattr(start.limits, name)) is not None
    }
    rows = [("Model", "; ".join(report.assumptions()))]
    rows += [("Inferred from the data", cut("; ".join(report.assumed), 600))] * bool(report.assumed)
    rows.append(("Limits", ", ".join(f"{k} {v}" for k, v in limits.items()) or "none"))
    rows.append(("Starting cash", f"{start.cash:,.2f}"))
    if start.positions:
        held = (f"{q:,.8g} {s} at {p:,.8g}" for s, (q, p) in start.positions.items())
        rows.append(("Starting positions", cut(", ".join(held), 600)))
    rows.append(("Symbols", cut(", ".join(start.symbols), 600)))
    rows.append(("Parameters", cut(", ".join(f"{k}={v!r}" for k, v in report.params.items()), 600)))
    rows.append(("Seed", str(start.seed)))
    rows += [("Strategy source", data.source_hash)] if data.source_hash else []
    rows += [("Data fingerprint", report.fingerprint)] if report.fingerprint else []
    return ["<h2>Assumptions</h2>", _table(("", ""), rows, left=(0, 1), wrap=1)]


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], left: tuple[int, ...], wrap: int = -1
) -> str:
    def kind(i: int) -> str:
        names = ["rf-l"] * (i in left) + ["rf-w"] * (
            i == wrap or (i in left and i == len(head) - 1)
        )
        return f' class="{" ".join(names)}"' if names else ""

    top = "".join(f"<th{kind(i)}>{escape(name)}</th>" for i, name in enumerate(head))
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind(i)}>{escape(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    top = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    return (
        '<div class="rf-scroll"><table class="rf-table rf-lines">'
        f"{top}<tbody>{body}</tbody></table></div>"
    )
