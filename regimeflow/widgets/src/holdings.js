// What is held, what works, and how much of each limit is used.
import { h, mark, say } from "./dom.js";
import { money, percent, price, signed, units } from "./format.js";
import { Table } from "./table.js";

const side = (value) => (value > 0 ? "gain" : value < 0 ? "loss" : "");

export class Holdings {
  constructor(clock, { pick }) {
    this.positions = new Table({
      label: "positions",
      columns: [
        { title: "symbol", left: true, show: (row) => row[0] },
        { title: "held", unit: "units", show: (row) => units(row[1]) },
        { title: "average", unit: "price", show: (row) => price(row[2]) },
        { title: "last", unit: "price", show: (row) => price(row[3]) },
        { title: "value", unit: "money", show: (row) => money(row[4]) },
        { title: "open profit", unit: "money", show: (row) => signed(money(row[5])), kind: (row) => side(row[5]) },
      ],
      key: (row) => row[0],
      empty: "flat",
    });
    this.orders = new Table({
      label: "working orders",
      columns: [
        { title: "since", at: "a1", left: true, show: (row) => clock.full(row[1]) },
        { title: "side", at: "b1", left: true, show: (row) => (row[2] === "buy" ? "▲ buy" : "▼ sell"), kind: (row) => row[2] },
        { title: "symbol", at: "a2", left: true, show: (row) => row[3] },
        { title: "type", at: "b2", left: true, show: (row) => row[4] },
        { title: "qty", unit: "units", at: "c1", show: (row) => units(row[5]) },
        { title: "filled", unit: "units", at: "c2", show: (row) => units(row[6]) },
        { title: "limit", unit: "price", at: "d1", show: (row) => price(row[7]) },
        { title: "stop", unit: "price", at: "d2", show: (row) => price(row[8]) },
        { title: "status", at: "e1", left: true, show: (row) => row[9], kind: (row) => (row[9] === "unknown" ? "bad" : "") },
      ],
      key: (row) => row[0],
      pick: (row, element) => pick(row[0], element),
      pickLabel: (row) => `${row[2]} ${units(row[5])} ${row[3]}, ${row[9]}: show the order's story`,
      empty: "no working orders",
    });
    this.limits = h("dl", { class: "rf-limits" });
    this.meters = new Map();
    this.element = h(
      "div",
      { class: "rf-three" },
      h("section", { "aria-label": "positions" }, h("h4", {}, "Positions"), this.positions.element),
      h("section", { "aria-label": "working orders" }, h("h4", {}, "Working orders"), this.orders.element),
      h("section", { "aria-label": "limits" }, h("h4", {}, "Limits", h("span", { class: "rf-unit" }, " used")), this.limits),
    );
  }

  set(parts) {
    if (parts.positions) this.positions.set(parts.positions);
    if (parts.orders) this.orders.set(parts.orders);
    if (parts.limits) this.#limits(parts.limits);
  }

  #limits(rows) {
    if (!rows.length) this.limits.replaceChildren(h("p", { class: "rf-empty" }, "no limit is set"));
    for (const [name, text, used] of rows) {
      let meter = this.meters.get(name);
      if (!meter) {
        const bar = h("span", { class: "rf-meter", role: "meter", "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": name }, h("span"));
        const value = h("dd");
        meter = { bar, value };
        this.meters.set(name, meter);
        this.limits.append(h("div", { class: "rf-limit" }, h("dt", {}, name), bar, value));
      }
      meter.bar.style.visibility = used === null ? "hidden" : "";
      const share = used === null ? 0 : Math.min(1, used);
      meter.bar.firstChild.style.width = `${100 * share}%`;
      meter.bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
      mark(meter.bar, used === null ? "" : used >= 1 ? "full" : used >= 0.8 ? "near" : "");
      say(meter.value, used === null ? text : `${percent(used, 1)} of ${text}`);
    }
  }
}
