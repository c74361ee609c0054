"""A board in a terminal: the same snapshot, for a server without a browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from regimeflow.model.text import line
from regimeflow.model.timeframe import iso, lasted
from regimeflow.widgets.board import Board, Parts
from regimeflow.widgets.slippage import GROUPS
from regimeflow.widgets.words import (
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

_BOLD, _DIM, _BLUE, _ORANGE, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[94m", "\x1b[33m", "\x1b[0m"
#: Groups of slippage that are shown of each kind.
_GROUPED = 3
_SPARK = "▁▂▃▄▅▆▇█"

Paint = Callable[[str, str], str]


def text(board: Board, *, width: int, height: int = 0, colour: bool = False) -> str:
    """Return a board as lines of text.

    Args:
        width: characters in a line.
        height: lines at most; 0 for as many as it takes.
        colour: whether to use ANSI colours.
    """
    parts = board.view()
    paint: Paint = (lambda s, code: f"{code}{s}{_PLAIN}") if colour else (lambda s, _: s)
    state = parts["state"]
    above = [
        *_head(parts, width, paint),
        "",
        *_drift(parts, width, paint),
        "",
        *_table("FILLS", _FILLS, _fills(parts), width, paint, state["fills"]),
        "",
        *_wrapped(_slippage(parts["slippage"]), width),
    ]
    groups = _table("SLIPPAGE", _GROUPS, _groups(parts["slippage"]), width, paint)
    below = [
        *_table("POSITIONS", _POSITIONS, _positions(parts), width, paint, state["held"]),
        *_table("ORDERS", _ORDERS, _orders(parts), width, paint, state["working"]),
        *_limits(parts, width),
        "",
        *(
            _cut(f"{iso(at * 1_000_000)} {level:<8}{line(said)}", width)
            for at, level, said in reversed(parts["log"][-8:])
        ),
    ]
    if height and len(above) + len(groups) + len(below) > height:
        groups = []  # what is held and what was said come first
    lines = [*above, *groups, *below]
    return "\n".join(lines[:height] if height else lines)


def _head(parts: Parts, width: int, paint: Paint) -> list[str]:
    head, state = parts["head"], parts["state"]
    params = ", ".join(f"{name}={value}" for name, value in head["params"])
    stands = state_line(state)
    colour = _BLUE if stands.startswith("trading") else _ORANGE
    wrong = [said for said in (head["differs"], state["error"]) if said]
    facts = [
        f"unknown orders {number(state['unknown'])}", f"venue {link_line(state)}",
        f"data {line(data_line(state, 3))}",
        f"books {books_line(state, lambda ms: iso(ms * 1_000_000))}",
    ]  # fmt: skip
    numbers = [
        f"equity {money(state['equity'])}", f"today {signed(money(state['pnl']))}",
        f"return {signed(percent(state['ret']))}", f"drawdown {percent(state['dd'])}",
        f"fees {money(state['fees'])}", f"fills {state['fills']:,}",
    ]  # fmt: skip
    done = f"{state['done']:,} of {state['total']:,}" if state["total"] else f"{state['done']:,}"
    at = iso(state["at"] * 1_000_000) if state["at"] else "not begun"
    return [
        *(paint(_cut(line(said), width), _ORANGE) for said in wrong),
        paint(_cut(line(f"{head['title']} {params}"), width), _BOLD),
        paint(_cut(f"{state['mode_words']} · {line(stands)}", width), colour),
        *_wrapped([at, f"{done} events", line(f"on {head['venue']}"), line(head["place"])], width),
        *_wrapped(facts, width),
        *(paint(one, _BOLD) for one in _wrapped(numbers, width, "  ")),
    ]


def _drift(parts: Parts, width: int, paint: Paint) -> list[str]:
    rows, drift = parts["equity"], parts["drift"]
    lines = [paint("DRIFT", _BOLD)]
    if len(rows) > 1:
        values = [row[1] for row in rows if row[1] is not None]
        lines.append(f"live  {paint(_spark(values, width - 8), _BLUE)}")
    lines += [
        _cut(f"{name:<14}{signed(money(gap)):>16}{signed(bp(of)):>12} bp  {why}", width)
        for name, gap, of, why in drift["causes"]
    ]
    if drift["expected"] is not None:
        lines.append(
            f"live {signed(percent(drift['ret']))}, baseline over as long "
            f"{signed(percent(drift['expected']))}"
        )
    return lines


def _spark(values: Sequence[float], width: int) -> str:
    step = max(1, -(-len(values) // max(8, width)))
    some = values[::step]
    low, high = min(some), max(some)
    scale = (len(_SPARK) - 1) / (high - low) if high > low else 0.0
    return "".join(_SPARK[round((value - low) * scale)] for value in some)


_FILLS = ("time", "side", "symbol", "qty", "expected", "realised", "bp", "money", "latency", "fee")
_POSITIONS = ("symbol", "held", "average", "last", "value", "open profit")
_ORDERS = ("since", "side", "symbol", "type", "qty", "filled", "status")
_GROUPS = ("", "fills", "qty", "bp", "money")
#: Which columns stand above which where there is no room for one line.
_FOLDS = {
    _FILLS: (("time", "symbol"), ("side", "qty"), ("expected", "realised"), ("bp", "money"),
             ("latency", "fee")),
    _ORDERS: (("since", "symbol"), ("side", "type"), ("qty", "filled"), ("status", "")),
    _POSITIONS: (("symbol", ""), ("held", "average"), ("last", "value"), ("open profit", "")),
}  # fmt: skip


def _fills(parts: Parts) -> list[tuple[str, ...]]:
    return [
        (
            iso(f[2] * 1_000_000), f[3], f[4], number(f[5]), price(f[6]), price(f[7]),
            signed(bp(f[8])), signed(money(f[9])), lasted(f[12]), money(f[13]),
        )
        for f in reversed(parts["fills"][-8:])
    ]  # fmt: skip


def _positions(parts: Parts) -> list[tuple[str, ...]]:
    return [
        (s, number(qty), price(average), price(last), money(value), signed(money(profit)))
        for s, qty, average, last, value, profit in parts["positions"][:8]
    ]


def _orders(parts: Parts) -> list[tuple[str, ...]]:
    return [
        (iso(o[1] * 1_000_000), o[2], o[3], o[4], number(o[5]), number(o[6]), o[9])
        for o in parts["orders"][:8]
    ]


def _slippage(slippage: Parts) -> list[str]:
    said = [f"slippage: mean {signed(bp(slippage['mean']))} bp"]
    said.append(f"absolute {bp(slippage['absolute'])} bp")
    if slippage["model"] is not None:
        said.append(f"the model assumes {signed(bp(slippage['model']))} bp")
    if slippage["baseline"] is not None:
        said.append(f"the baseline had {signed(bp(slippage['baseline']))} bp")
    return said


def _groups(slippage: Parts) -> list[tuple[str, ...]]:
    """Return the groups with the most units of each kind, and how many more there are."""
    rows: list[tuple[str, ...]] = []
    for name, title in GROUPS:
        groups = sorted(slippage["groups"][name], key=lambda row: -row[2])[:_GROUPED]
        rows += [
            (f"{title} {key}", number(n), number(qty), signed(bp(slip)), signed(money(cost)))
            for key, n, qty, slip, cost in groups
        ]
        more = slippage["of"][name] - len(groups)
        if more:
            rows.append((f"{title}, {more:,} more", "", "", "", ""))
    return rows


def _limits(parts: Parts, width: int) -> list[str]:
    used = [
        f"{name} {percent(share)} of {most}"
        for name, most, share in parts["limits"]
        if share is not None
    ]
    return _wrapped([f"limits used: {used[0]}", *used[1:]], width) if used else []


def _table(
    title: str,
    heads: tuple[str, ...],
    rows: Sequence[Sequence[str]],
    width: int,
    paint: Paint,
    count: int = 0,
) -> list[str]:
    """Return a table whose columns are as wide as they must be, folded where that is too wide.

    Args:
        count: how many rows there are in all; those that are not shown are counted.
    """
    if not rows:
        return [f"{paint(title, _BOLD)}  none"]
    cells = [[line(cell) for cell in row] for row in rows]
    sizes = [max(len(head), *(len(row[i]) for row in cells)) for i, head in enumerate(heads)]
    if heads in _FOLDS and sum(sizes) + 2 * len(sizes) - 2 > width:
        found = [dict(zip(heads, row, strict=True)) | {"": ""} for row in (heads, *cells)]
        stacked = [[row[pair[half]] for pair in _FOLDS[heads]] for row in found for half in (0, 1)]
        top, cells = stacked[:2], stacked[2:]
        sizes = [max(len(row[i]) for row in stacked) for i in range(len(stacked[0]))]
    else:
        top = [list(heads)]

    def laid(row: Sequence[str]) -> str:
        cells = (f"{cell:>{size}}" for cell, size in zip(row, sizes, strict=True))
        return _cut("  ".join(cells).rstrip(), width)

    few = f"  {len(rows):,} of {count:,}" if count > len(rows) else ""
    return [paint(title, _BOLD) + few, *(paint(laid(row), _DIM) for row in top), *map(laid, cells)]


def _wrapped(parts: Sequence[str], width: int, between: str = " · ") -> list[str]:
    """Return parts in as many lines as they take; one that is too long by itself is cut."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(between) + len(part) <= width:
            lines[-1] += between + part
        else:
            lines.append(part)
    return [_cut(one, width) for one in lines]


def _cut(said: str, width: int) -> str:
    return said if len(said) <= width else said[: width - 1] + "…"
