// A small table: rows by key, changed where they changed, one tab stop, arrows to move, Enter to pick.
// Only as many rows as were scrolled to are on the page: all of them would be laid out anew with each.
import { arrange, h } from "./dom.js";

const FIRST = 30;
const MORE = 50;
const NEAR = 100; // pixels before the end at which more rows are made

export class Table {
  // columns: {title, unit?, left?, wrap?, at?, show(row) -> text, kind?(row) -> name of a look}; `at` names
  // the place that a cell takes where there is no room for one line.
  constructor({ label, columns, key, pick, pickLabel, empty = "none", newest = false }) {
    Object.assign(this, { columns, key, pick, pickLabel, newest });
    this.rows = new Map();
    this.shown = FIRST;
    // The roles of a table are lost in some browsers where it is laid out as a grid.
    this.body = h("tbody", { role: "rowgroup" });
    this.empty = h("p", { class: "rf-empty" }, empty);
    const heads = columns.map(({ title, unit, left, at }) =>
      h("th", { scope: "col", role: "columnheader", "data-at": at, class: left ? "rf-left" : null }, title, unit ? h("span", { class: "rf-unit" }, unit) : ""),
    );
    this.table = h(
      "table",
      { class: "rf-table", role: "table", "aria-label": label, "data-folds": columns.some(({ at }) => at) },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads)),
      this.body,
    );
    this.element = h("div", { class: "rf-scroll", tabindex: "0", role: "region", "aria-label": label, on: { scroll: () => this.#scrolled() } }, this.table, this.empty);
    if (pick) this.body.addEventListener("keydown", (event) => this.#keys(event));
  }

  // Shows exactly these rows, in this order; `newest` turns the order round.
  set(rows) {
    this.all = rows;
    const ordered = this.newest ? rows.slice(-this.shown).reverse() : rows.slice(0, this.shown);
    const before = this.rows;
    this.rows = new Map(ordered.map((row) => [this.key(row), this.#row(before.get(this.key(row)), row)]));
    arrange(this.body, [...this.rows.values()].map(({ element }) => element));
    const first = this.body.querySelector("tr[data-key]");
    if (this.pick && first && !this.body.querySelector("tr[tabindex='0']")) first.tabIndex = 0;
    this.empty.hidden = rows.length > 0;
    this.table.hidden = rows.length === 0;
    this.table.setAttribute("aria-rowcount", rows.length + 1);
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    if (scrollTop + clientHeight > scrollHeight - NEAR) this.#more();
  }

  #more() {
    if (this.shown >= this.all.length) return;
    this.shown += MORE;
    this.set(this.all);
  }

  #row(before, row) {
    const said = JSON.stringify(row);
    if (before?.said === said) return before;
    const element = before?.element ?? this.#make(this.key(row));
    this.columns.forEach((column, place) => {
      const cell = element.cells[place];
      const text = column.show(row);
      if (cell.textContent !== text) cell.textContent = text;
      const kind = column.kind?.(row) ?? "";
      if ((cell.dataset.kind ?? "") !== kind) cell.dataset.kind = kind;
    });
    if (this.pickLabel) element.setAttribute("aria-label", this.pickLabel(row));
    return { element, said, row };
  }

  #make(key) {
    const element = h("tr", { role: "row", "data-key": key });
    for (const { left, wrap, at } of this.columns) element.append(h("td", { role: "cell", "data-at": at, class: wrap ? "rf-left rf-wrap" : left ? "rf-left" : null }));
    if (this.pick) {
      element.tabIndex = -1;
      element.classList.add("rf-pick");
      element.addEventListener("click", () => this.pick(this.rows.get(key).row, element));
    }
    return element;
  }

  #keys(event) {
    const row = event.target.closest("tr");
    if (event.key === "ArrowDown" && !row.nextElementSibling) this.#more();
    const to = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
    if (to) {
      row.tabIndex = -1;
      to.tabIndex = 0;
      to.focus();
    } else if (event.key === "Enter" || event.key === " ") row.click();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
