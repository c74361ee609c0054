// Equity of live, shadow and twin inside the baseline's cone, above the price and its fills.
import { Chart } from "./chart.js";
import { h, say } from "./dom.js";
import { bp, money, percent, price, signed, units } from "./format.js";
import { Table } from "./table.js";

const LINES = [
  ["live", "live", "solid", 2.4, 1],
  ["shadow", "shadow", "dashed", 1.4, 2],
  ["twin", "twin", "dotted", 1.6, 3],
];
const [FEWEST, SHOWN] = [40, 160]; // rows of a running session that are seen at first

export class Drift {
  constructor(head, { pick, choose }) {
    this.head = head;
    this.fills = new Map();
    this.host = h("div", { class: "rf-chart" });
    this.hover = h("div", { class: "rf-hover", hidden: true });
    this.legend = h(
      "p",
      { class: "rf-legend" },
      ...LINES.map(([name, , style]) => h("span", { class: "rf-key", "data-ink": name, "data-style": style }, name)),
      head.cone ? h("span", { class: "rf-key", "data-ink": "band" }, "baseline, 95 % cone") : "",
      h("span", { class: "rf-key", "data-ink": "buy" }, "▲ buy"),
      h("span", { class: "rf-key", "data-ink": "sell" }, "▼ sell"),
    );
    this.symbol = h("select", { class: "rf-input", "aria-label": "symbol of the price", on: { change: () => choose(this.symbol.value) } });
    for (const symbol of head.symbols) this.symbol.append(h("option", { value: symbol, selected: symbol === head.symbol }, symbol));
    this.causes = new Table({
      label: "the gap and its causes",
      columns: [
        { title: "cause", left: true, show: (row) => row[0] },
        { title: "live is better by", unit: "money", show: (row) => signed(money(row[1])), kind: (row) => (row[1] > 0 ? "gain" : row[1] < 0 ? "loss" : "") },
        { title: "of start", unit: "bp", show: (row) => signed(bp(row[2])) },
        { title: "", left: true, wrap: true, show: (row) => row[3] },
      ],
      key: (row) => row[0],
    });
    this.words = h("p", { class: "rf-dim" });
    this.element = h(
      "section",
      { "aria-label": "drift" },
      h("h4", {}, "Drift", h("span", { class: "rf-unit" }, " equity, money; price below"), h("span", { class: "rf-right" }, this.symbol)),
      this.legend,
      h("div", { class: "rf-plot" }, this.host, this.hover),
      this.words,
      this.causes.element,
    );
    this.symbol.hidden = head.symbols.length < 2;
    this.pick = pick;
  }

  // The chart measures its host, so it is made once that is on the page.
  begin() {
    if (this.chart) return;
    this.chart = new Chart(this.host, {
      zone: this.head.zone,
      seconds: this.head.seconds,
      panes: [{ height: 190 }, { height: 210 }],
    });
    const chart = this.chart;
    chart.band("cone", { pane: 0, format: money });
    chart.line("baseline", { pane: 0, ink: "baseline", style: "dashed", width: 1, format: money });
    for (const [name, , style, width] of [...LINES].reverse()) {
      chart.line(name, { pane: 0, ink: name, style, width, title: name, format: money });
    }
    chart.candles("price", { pane: 1, format: price });
    chart.onHover((hit) => this.#hover(hit));
    chart.onPick((id) => this.fills.has(id) && this.pick(this.fills.get(id)[1]));
    for (const touch of ["wheel", "pointerdown"]) this.host.addEventListener(touch, () => (this.moved = true), { passive: true });
  }

  all(board) {
    this.begin();
    this.chart.set("price", board.bars);
    for (const [name, , , , place] of LINES) this.chart.set(name, board.equity.map((row) => [row[0], row[place]]));
    this.chart.set("cone", board.equity.map((row) => [row[0], row[4], row[5]]));
    this.chart.set("baseline", board.equity.map((row) => [row[0], row[6]]));
    this.marks(board);
    this.numbers(board.drift);
    this.describe(board);
    if (board.state.phase === "running") this.newest(board);
    else this.chart.fit();
  }

  // The first rows fill the picture; from some number on it keeps its scale and moves along.
  newest(board) {
    const count = Math.max(board.bars.length, board.equity.length);
    this.chart.showLast(Math.min(Math.max(count, FEWEST), SHOWN), count);
    this.growing = count < SHOWN;
  }

  change(board, parts) {
    for (const row of parts.bars || []) this.chart.add("price", row);
    for (const row of parts.equity || []) {
      for (const [name, , , , place] of LINES) this.chart.add(name, [row[0], row[place]]);
      this.chart.add("cone", [row[0], row[4], row[5]]);
      this.chart.add("baseline", [row[0], row[6]]);
    }
    if (this.growing && !this.moved && (parts.bars || parts.equity)) this.newest(board);
    if (parts.fills) this.marks(board);
    if (parts.drift) this.numbers(board.drift);
    if (parts.bars || parts.equity) this.describe(board);
  }

  // What the picture shows, for those who do not see it.
  describe({ bars, equity, fills }) {
    const last = equity.length ? ` live ${money(equity[equity.length - 1][1])};` : "";
    const until = bars.length ? ` up to ${this.chart.clock.full(bars[bars.length - 1][0] * 1000)}` : "";
    const text = `equity of live, shadow and twin, ${equity.length} points;${last} price of ${this.head.symbol}, ${bars.length} bars${until}, ${fills.length} fills`;
    this.host.setAttribute("aria-label", text);
  }

  marks(board) {
    this.fills.clear();
    const first = board.bars.length ? board.bars[0][0] : Infinity;
    const marks = [];
    for (const fill of board.fills) {
      if (fill[4] !== board.head.symbol) continue;
      this.fills.set(fill[0], fill);
      if (fill[2] / 1000 >= first) marks.push({ time: fill[2] / 1000, buy: fill[3] === "buy", id: fill[0] });
    }
    marks.sort((a, b) => a.time - b.time);
    this.chart.marks("price", marks);
  }

  numbers(drift) {
    this.causes.set(drift.causes);
    const known = drift.expected !== null;
    const held = known ? `, baseline over as long ${signed(percent(drift.expected))}, a difference of ${signed(percent(drift.shortfall))}` : "";
    say(this.words, [`live ${signed(percent(drift.ret))}${held}`, ...drift.notes].join(" · "));
  }

  #hover(hit) {
    if (!hit) {
      this.hover.hidden = true;
      return;
    }
    const lines = [this.chart.clock.full(hit.time * 1000)];
    const fill = this.fills.get(hit.id);
    if (fill) {
      const [, , , side, symbol, qty, expected, paid, slip] = fill;
      lines.push(`${side} ${units(qty)} ${symbol} at ${price(paid)}`, `expected ${price(expected)}, slippage ${signed(bp(slip))} bp`, "click: the order's story");
    } else {
      const { live, shadow, twin, price: candle } = hit.values;
      if (live?.value !== undefined) lines.push(`live ${money(live.value)}`);
      if (shadow?.value !== undefined) lines.push(`shadow ${money(shadow.value)}`);
      if (twin?.value !== undefined) lines.push(`twin ${money(twin.value)}`);
      if (candle?.close !== undefined) lines.push(`${this.head.symbol} ${price(candle.close)}`);
    }
    this.hover.replaceChildren(...lines.map((line) => h("div", {}, line)));
    this.hover.hidden = false;
    const right = hit.point.x > this.host.clientWidth / 2;
    this.hover.style.left = right ? "8px" : "";
    this.hover.style.right = right ? "" : "90px";
  }

  destroy() {
    this.chart?.destroy();
  }
}
