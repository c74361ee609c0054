// How slippage is distributed, weighted by quantity, against the model; and by what it differs.
import { h, say, svg } from "./dom.js";
import { bp, money, signed, units, whole } from "./format.js";
import { Table } from "./table.js";

const WIDTH = 420;
const HEIGHT = 150;
const GROUPS = [["symbol", "by symbol"], ["hour", "by hour"], ["size", "by size"], ["type", "by order type"]];

export class Slippage {
  constructor() {
    this.words = h("p", { class: "rf-dim" });
    this.plot = svg("svg", { class: "rf-bars", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "distribution of slippage" });
    this.group = "symbol";
    this.tabs = GROUPS.map(([name, title]) =>
      h("button", { type: "button", class: "rf-tab", "data-name": name, "aria-pressed": String(name === this.group), on: { click: () => this.#choose(name) } }, title),
    );
    this.table = new Table({
      label: "slippage by group",
      columns: [
        { title: "", left: true, show: (row) => row[0] },
        { title: "fills", show: (row) => whole(row[1]) },
        { title: "qty", unit: "units", show: (row) => units(row[2]) },
        { title: "slippage", unit: "bp", show: (row) => signed(bp(row[3])) },
        { title: "slippage", unit: "money", show: (row) => signed(money(row[4])) },
      ],
      key: (row) => row[0],
      empty: "no fills yet",
    });
    this.element = h(
      "section",
      { "aria-label": "slippage" },
      h("h4", {}, "Slippage", h("span", { class: "rf-unit" }, " bp of the expected price, weighted by quantity; positive is a cost")),
      this.words,
      h("div", { class: "rf-two" }, h("div", { class: "rf-plot" }, this.plot), h("div", {}, h("div", { class: "rf-buttons", role: "group", "aria-label": "group by" }, ...this.tabs), this.table.element)),
    );
  }

  #choose(name) {
    this.group = name;
    for (const tab of this.tabs) tab.setAttribute("aria-pressed", tab.dataset.name === name);
    if (this.last) this.table.set(this.last.groups[name]);
  }

  set(slippage) {
    this.last = slippage;
    const { fills, mean, absolute, model, baseline } = slippage;
    const parts = [`${whole(fills)} fills`, `mean ${signed(bp(mean))} bp`, `absolute ${bp(absolute)} bp`];
    if (model !== null) parts.push(`the model assumes ${signed(bp(model))} bp`);
    if (baseline !== null) parts.push(`the baseline had ${signed(bp(baseline))} bp`);
    say(this.words, parts.join(" · "));
    this.table.set(slippage.groups[this.group]);
    this.#draw(slippage);
  }

  #draw({ bins, mean, model }) {
    if (!bins.length) {
      this.plot.replaceChildren();
      return;
    }
    const low = bins[0][0];
    const high = bins[bins.length - 1][1];
    const most = Math.max(...bins.map((bin) => bin[2])) || 1;
    const x = (value) => 8 + ((WIDTH - 16) * (value - low)) / (high - low || 1);
    const bars = bins.map(([from, to, qty]) => {
      const tall = (100 * qty) / most;
      const bar = svg("rect", { class: "rf-bar", x: x(from) + 0.5, y: 116 - tall, width: Math.max(0.5, x(to) - x(from) - 1), height: tall });
      bar.append(svg("title", {}, `${bp(from)} to ${bp(to)} bp: ${units(qty)} units`));
      return bar;
    });
    const rule = (value, kind, text, y) =>
      value === null || value < low || value > high
        ? []
        : [
            svg("line", { class: `rf-rule rf-${kind}`, x1: x(value), x2: x(value), y1: 12, y2: 116 }),
            svg("text", { class: `rf-mark rf-${kind}`, x: Math.min(x(value) + 3, WIDTH - 60), y }, text),
          ];
    const ticks = [low, (low + high) / 2, high].map((value, place) =>
      svg("text", { class: "rf-tick", x: x(value), y: 132, "text-anchor": ["start", "middle", "end"][place] }, `${bp(value)} bp`),
    );
    this.plot.replaceChildren(
      ...bars,
      svg("line", { class: "rf-axis", x1: 8, x2: WIDTH - 8, y1: 116, y2: 116 }),
      ...rule(model, "model", "model", 20),
      ...rule(mean, "mean", "mean", 32),
      ...ticks,
    );
  }
}
