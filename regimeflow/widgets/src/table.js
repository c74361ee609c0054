// A small table: rows by key, changed where they changed, one tab stop, arrows to move, Enter to pick.
import { h } from "./dom.js";

export class Table {
  // columns: {title, unit?, left?, wrap?, show(row) -> text, kind?(row) -> name of a look}
  constructor({ label, columns, key, pick, pickLabel, empty = "none", newest = false }) {
    Object.assign(this, { columns, key, pick, pickLabel, newest });
    this.rows = new Map();
    this.body = h("tbody");
    this.empty = h("p", { class: "rf-empty" }, empty);
    const heads = columns.map(({ title, unit, left }) =>
      h("th", { scope: "col", class: left ? "rf-left" : null }, title, unit ? h("span", { class: "rf-unit" }, unit) : ""),
    );
    this.table = h("table", { class: "rf-table", "aria-label": label }, h("thead", {}, h("tr", {}, ...heads)), this.body);
    this.element = h("div", { class: "rf-scroll", tabindex: "0", role: "region", "aria-label": label }, this.table, this.empty);
    if (pick) this.body.addEventListener("keydown", (event) => this.#keys(event));
  }

  // Shows exactly these rows, in this order; `newest` turns the order round.
  set(rows) {
    const ordered = this.newest ? [...rows].reverse() : rows;
    const seen = new Set();
    let place = this.body.firstChild;
    for (const row of ordered) {
      const key = this.key(row);
      seen.add(key);
      const element = this.#row(key, row);
      if (element === place) place = place.nextSibling;
      else this.body.insertBefore(element, place);
    }
    for (const [key, one] of this.rows) {
      if (!seen.has(key)) {
        one.element.remove();
        this.rows.delete(key);
      }
    }
    const first = this.body.querySelector("tr[data-key]");
    if (this.pick && first && !this.body.querySelector("tr[tabindex='0']")) first.tabIndex = 0;
    this.empty.hidden = rows.length > 0;
    this.table.hidden = rows.length === 0;
  }

  #row(key, row) {
    const said = JSON.stringify(row);
    const before = this.rows.get(key);
    if (before?.said === said) return before.element;
    const element = before?.element ?? this.#make(key);
    this.columns.forEach((column, place) => {
      const cell = element.cells[place];
      const text = column.show(row);
      if (cell.textContent !== text) cell.textContent = text;
      const kind = column.kind?.(row) ?? "";
      if ((cell.dataset.kind ?? "") !== kind) cell.dataset.kind = kind;
    });
    if (this.pickLabel) element.setAttribute("aria-label", this.pickLabel(row));
    this.rows.set(key, { element, said, row });
    return element;
  }

  #make(key) {
    const element = h("tr", { "data-key": key });
    for (const { left, wrap } of this.columns) element.append(h("td", { class: wrap ? "rf-left rf-wrap" : left ? "rf-left" : null }));
    if (this.pick) {
      element.tabIndex = -1;
      element.classList.add("rf-pick");
      element.addEventListener("click", () => this.pick(this.rows.get(key).row, element));
    }
    return element;
  }

  #keys(event) {
    const row = event.target.closest("tr");
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
