// Every fill beside what was expected of it when its order left, and the story of an order.
import { h, say } from "./dom.js";
import { bp, lasted, money, price, signed, units, whole } from "./format.js";
import { Table } from "./table.js";

const cost = (value) => (value > 0 ? "loss" : value < 0 ? "gain" : "");
const arrow = (side) => (side === "buy" ? "▲ buy" : "▼ sell");

export class Fills {
  constructor(clock, { pick, percentiles }) {
    this.clock = clock;
    // In two lines where dashboards stand side by side: expected above realised, and so on.
    const columns = [
      { title: "time", at: "a1", left: true, show: (f) => clock.full(f[2]) },
      { title: "side", at: "b1", left: true, show: (f) => arrow(f[3]), kind: (f) => f[3] },
      { title: "symbol", at: "a2", left: true, show: (f) => f[4] },
      { title: "qty", unit: "units", at: "b2", show: (f) => units(f[5]) },
      { title: "expected", unit: "price", at: "c1", show: (f) => price(f[6]) },
      { title: "realised", unit: "price", at: "c2", show: (f) => price(f[7]) },
      { title: "slippage", unit: "bp", at: "d1", show: (f) => signed(bp(f[8])), kind: (f) => cost(f[8]) },
      { title: "slippage", unit: "money", at: "d2", show: (f) => signed(money(f[9])), kind: (f) => cost(f[9]) },
      { title: "model", unit: "bp", at: "e1", show: (f) => signed(bp(f[10])) },
      { title: "latency", at: "f1", show: (f) => lasted(f[12]) },
      { title: "fee", unit: "money", at: "f2", show: (f) => money(f[13]) },
    ];
    if (percentiles) columns.splice(9, 0, { title: "percentile", at: "e2", show: (f) => (f[11] === null ? "–" : whole(f[11])) });
    this.table = new Table({
      label: "fills, the newest first",
      columns,
      key: (f) => f[0],
      newest: true,
      pick: (f, row) => pick(f[1], row),
      pickLabel: (f) => `${f[3]} ${units(f[5])} ${f[4]} at ${price(f[7])}: show the order's story`,
      empty: "no fills yet",
    });
    this.story = new Story(clock);
    this.element = h(
      "section",
      { "aria-label": "fills" },
      h("h4", {}, "Fills", h("span", { class: "rf-unit" }, " expected: frozen when the order left; positive slippage is a cost; click a row for the order's story")),
      this.story.element,
      this.table.element,
    );
  }

  set(board) {
    this.table.set(board.fills);
  }
}

export class Story {
  constructor(clock) {
    this.clock = clock;
    this.title = h("b");
    this.lines = h("ol", { class: "rf-lines" });
    const close = h("button", { type: "button", class: "rf-button", on: { click: () => this.close() } }, "Close");
    this.element = h(
      "div",
      { class: "rf-story", role: "dialog", "aria-label": "an order's story", tabindex: "-1", hidden: true, on: { keydown: (event) => event.key === "Escape" && this.close() } },
      h("div", { class: "rf-buttons" }, this.title, close),
      this.lines,
    );
  }

  wait(opener) {
    this.opener = opener;
  }

  show({ title, lines }) {
    say(this.title, title);
    this.lines.replaceChildren(
      ...lines.map(([ms, what, detail]) => h("li", {}, h("time", {}, this.clock.full(ms)), h("b", {}, what), h("span", {}, detail))),
    );
    this.element.hidden = false;
    this.element.focus();
  }

  close() {
    this.element.hidden = true;
    this.opener?.focus?.();
  }
}
