// A report: price with fills, equity, drawdown and what else was recorded, on one time axis. The
// kernel sends stretches of it at the resolution of the screen; zooming in asks for a finer one.
import { Chart } from "./chart.js";
import { h, mark, say } from "./dom.js";
import { Story } from "./fills.js";
import { Clock, money, percent, price, signed, units, whole } from "./format.js";
import { Overview } from "./overview.js";
import { Table } from "./table.js";

const SETTLED_MS = 140; // after the last move of a wheel or a finger
const LATE_MS = 5000;
const FINE_ROWS = 400; // fewer rows on the screen than that: a finer stretch is worth asking for
const DAY = 86_400;
const SPANS = [["1 day", DAY], ["1 week", 7 * DAY], ["1 month", 30.5 * DAY], ["1 year", 365.25 * DAY]];

let made = 0;

export class Report {
  constructor(said, ask) {
    this.said = said;
    this.send = ask;
    this.view = `${Date.now().toString(36)}-${(made += 1)}`;
    this.asks = 0;
    this.stories = new Map();
    this.fills = new Map();
    this.groups = new Map();
    this.place = null; // the fill that the buttons went to
    const { head } = said;
    this.clock = new Clock(head.zone);
    this.whole = [said.overview.t[0], said.overview.t[said.overview.t.length - 1]];
    this.element = h(
      "article",
      { class: "rf-board rf-report", "aria-label": `report ${head.title}` },
      head.error ? h("p", { class: "rf-alarm", role: "alert" }, `Ended early. ${head.error}`) : "",
      ...head.remarks.map((text) => h("p", { class: "rf-alarm" }, text)),
      h(
        "header",
        {},
        h("div", {}, h("h3", {}, head.title, h("span", { class: "rf-dim" }, head.params ? ` ${head.params}` : "")), h("p", { class: "rf-dim" }, head.facts.join(" · ")), h("p", { class: "rf-dim" }, head.model)),
      ),
      h("dl", { class: "rf-tiles" }, ...head.tiles.map(([label, value, meaning]) => h("div", { class: "rf-tile", title: meaning }, h("dt", {}, label), h("dd", {}, value)))),
      this.#plot(),
      this.#trips(),
      this.#drawdowns(),
    );
  }

  // ------------------------------------------------------------ what is on the page

  #plot() {
    const { head } = this.said;
    const select = (label, names, change) => {
      const element = h("select", { class: "rf-input", "aria-label": label, on: { change } });
      for (const name of names) element.append(h("option", { value: name }, name));
      element.hidden = names.length < 2;
      return element;
    };
    const button = (text, click, label) => h("button", { type: "button", class: "rf-tab", "aria-label": label, on: { click } }, text);
    this.symbol = select("symbol of the price", head.symbols, () => {
      this.place = null;
      this.#again();
    });
    this.extra = select("lowest pane", head.extras, () => this.#again());
    const long = this.whole[1] - this.whole[0];
    const spans = SPANS.filter(([, seconds]) => seconds < long);
    this.where = h("span", { class: "rf-dim rf-where", role: "status" });
    this.which = h("p", { class: "rf-answer rf-which", role: "status" });
    this.trouble = h("p", { class: "rf-answer", role: "alert", "data-kind": "bad" });
    this.overview = new Overview(this.said.overview, (from, to) => this.ask(from, to));
    this.host = h("div", { class: "rf-chart rf-deep" });
    this.hover = h("div", { class: "rf-hover", hidden: true });
    this.story = new Story(this.clock);
    return h(
      "section",
      { "aria-label": "price, equity, drawdown" },
      h(
        "div",
        { class: "rf-buttons" },
        button("all", () => this.ask(...this.whole), "show the whole run"),
        ...spans.map(([name, seconds]) => button(name, () => this.#span(seconds), `show ${name}`)),
        button("−", () => this.#scale(2), "zoom out"),
        button("+", () => this.#scale(0.5), "zoom in"),
        button("◀ fill", () => this.#step(-1), "the fill before"),
        button("fill ▶", () => this.#step(1), "the next fill"),
        this.where,
        h("span", { class: "rf-right rf-buttons" }, this.symbol, this.extra),
      ),
      this.trouble,
      this.which,
      this.overview.element,
      h("div", { class: "rf-plot" }, this.host, this.hover),
      h(
        "p",
        { class: "rf-legend" },
        h("span", { class: "rf-key", "data-ink": "buy" }, "▲ buy"),
        h("span", { class: "rf-key", "data-ink": "sell" }, "▼ sell, a number: so many together"),
        h("span", { class: "rf-key", "data-ink": "band" }, "lowest to highest of the bars that share a point"),
        "wheel: zoom · drag: move · click on a fill: its order's story",
      ),
      this.story.element,
    );
  }

  #trips() {
    const { trips } = this.said;
    const time = (ms) => this.clock.full(ms);
    const kind = (row) => (row[8] > 0 ? "gain" : row[8] < 0 ? "loss" : "");
    this.table = new Table({
      label: "round trips",
      columns: [
        { title: "symbol", left: true, show: (r) => r[1] },
        { title: "side", left: true, show: (r) => r[2] },
        { title: "qty", unit: "units", show: (r) => units(r[3]) },
        { title: "entry", left: true, show: (r) => time(r[4]) },
        { title: "at", unit: "price", show: (r) => price(r[6]) },
        { title: "exit", left: true, show: (r) => time(r[5]) },
        { title: "at", unit: "price", show: (r) => price(r[7]) },
        { title: "profit", unit: "money", show: (r) => signed(money(r[8])), kind },
        { title: "return", show: (r) => signed(percent(r[9])), kind },
        { title: "bars", show: (r) => whole(r[10]) },
      ],
      key: (r) => String(r[0]),
      pick: (r) => this.#visit(r[4] / 1000, r[5] / 1000, r[1]),
      pickLabel: (r) => `${r[2]} ${r[1]}, ${signed(money(r[8]))}: show it on the chart`,
      empty: "none",
    });
    this.tabs = ["losses", "gains", "newest"].map((name) =>
      h("button", { type: "button", class: "rf-tab", "data-name": name, on: { click: () => this.#list(name) } }, name === "newest" ? name : `largest ${name}`),
    );
    this.#list("losses");
    return h(
      "section",
      { "aria-label": "round trips" },
      h("h4", {}, `Round trips: ${whole(trips.count)}`, h("span", { class: "rf-unit" }, "after fees; click one to see it"), h("span", { class: "rf-right rf-buttons" }, ...this.tabs)),
      this.table.element,
    );
  }

  #list(name) {
    this.tabs.forEach((tab) => tab.setAttribute("aria-pressed", String(tab.dataset.name === name)));
    this.table.set(this.said.trips[name]);
  }

  #drawdowns() {
    const time = (ms) => (ms === null ? "not yet" : this.clock.full(ms));
    const table = new Table({
      label: "worst drawdowns",
      columns: [
        { title: "depth", show: (r) => percent(r[3]), kind: () => "loss" },
        { title: "peak", left: true, show: (r) => time(r[0]) },
        { title: "trough", left: true, show: (r) => time(r[1]) },
        { title: "recovered", left: true, show: (r) => time(r[2]) },
        { title: "bars", show: (r) => whole(r[4]) },
      ],
      key: (r) => String(r[0]),
      pick: (r) => this.#visit(r[0] / 1000, r[2] === null ? this.whole[1] : r[2] / 1000),
      pickLabel: (r) => `drawdown of ${percent(r[3])}: show it on the chart`,
    });
    table.set(this.said.drawdowns);
    return h("section", { "aria-label": "worst drawdowns" }, h("h4", {}, "Worst drawdowns"), table.element);
  }

  // ------------------------------------------------------------ the chart

  // The chart measures its host, so it is made once that is on the page.
  draw() {
    const { head, window } = this.said;
    this.chart = new Chart(this.host, {
      zone: head.zone,
      seconds: head.seconds,
      panes: [{ height: 210 }, { height: 150 }, { height: 80 }, { height: 90 }],
      dense: true,
    });
    const { chart } = this;
    chart.band("prices", { pane: 0, format: price });
    chart.line("price", { pane: 0, ink: "baseline", width: 1.4, format: price, title: "price" });
    chart.band("equities", { pane: 1, format: money });
    chart.line("equity", { pane: 1, ink: "live", width: 1.8, format: money, title: "equity" });
    chart.level("equity", head.start);
    chart.line("drawdown", { pane: 2, ink: "twin", width: 1.2, format: (v) => percent(v), title: "drawdown" });
    chart.band("belows", { pane: 3, format: (v) => this.#below(v) });
    chart.line("below", { pane: 3, ink: "shadow", width: 1.2, format: (v) => this.#below(v), title: "exposure" });
    chart.onHover((hit) => this.#hover(hit));
    chart.onPick((id) => this.fills.has(id) && this.#tell(this.fills.get(id)[7]));
    chart.onRange(() => {
      clearTimeout(this.settling);
      this.settling = setTimeout(() => this.#settled(), SETTLED_MS);
    });
    this.#show(window);
  }

  #below(value) {
    const name = this.shown?.extra;
    if (name === "exposure") return percent(value, 1);
    return name === "cash" ? money(value) : price(value);
  }

  #show(window) {
    this.shown = window;
    const { t } = window;
    const rows = (columns, one) => t.map((at, i) => (columns.length ? one(at, columns, i) : [at]));
    const last = (at, columns, i) => [at, columns[2][i]];
    const band = (at, columns, i) => [at, columns[0][i], columns[1][i]];
    const wide = window.exact ? () => [] : rows;
    this.chart.setAll({
      prices: wide(window.price, band),
      price: rows(window.price, last),
      equities: wide(window.equity, band),
      equity: rows(window.equity, last),
      drawdown: t.map((at, i) => [at, window.drawdown[i]]),
      belows: wide(window.below, band),
      below: rows(window.below, last),
    });
    this.chart.title("price", window.symbol.slice(0, 24) || "price");
    this.chart.title("below", window.extra.slice(0, 24));
    this.#marks(window);
    this.chart.show(window.from, window.to);
    this.#say(window.from, window.to);
    const count = `${window.fills.length || window.groups.reduce((sum, group) => sum + group[2], 0)} fills`;
    this.host.setAttribute("aria-label", `price of ${window.symbol}, equity, drawdown and ${window.extra}, ${this.clock.full(window.from * 1000)} to ${this.clock.full(window.to * 1000)}: ${window.bars} bars, ${count}`);
  }

  #marks(window) {
    this.fills = new Map(window.fills.map((fill) => [`f${fill[0]}`, fill]));
    this.groups = new Map(window.groups.map((group, i) => [`g${i}`, group]));
    const few = window.fills.length <= 40;
    const marks = window.fills.map((fill) => ({
      time: fill[1],
      id: `f${fill[0]}`,
      buy: fill[3] === "buy",
      price: window.exact ? fill[5] : undefined,
      text: few ? units(fill[4]) : "",
      size: fill[0] === window.focus ? 2 : 1,
    }));
    this.groups.forEach((group, id) => marks.push({ time: group[0], id, buy: group[1] === "buy", text: String(group[2]) }));
    this.chart.marks("price", marks.sort((a, b) => a.time - b.time));
  }

  // ------------------------------------------------------------ asking for stretches

  ask(since, to, content = {}) {
    const ask = `${this.view}-${(this.asks += 1)}`;
    this.wanted = ask;
    clearTimeout(this.late);
    this.late = setTimeout(() => say(this.trouble, "the kernel does not answer: what is shown stays as it is"), LATE_MS);
    this.send({ kind: "stretch", ask, symbol: this.symbol.value, extra: this.extra.value, since, to, ...content });
  }

  // Takes what the kernel said.
  heard(kind, body) {
    if (kind === "story") {
      this.stories.set(body.order, body);
      if (this.opening === body.order) this.story.show(body);
      if (this.pointed?.[7] === body.order) this.#point(this.pointed);
      return;
    }
    if (kind === "failed") {
      clearTimeout(this.late);
      say(this.trouble, body.text);
      return;
    }
    if (body.ask !== this.wanted) return; // another page asked, or this one has moved on
    this.wanted = null;
    clearTimeout(this.late);
    say(this.trouble, "");
    say(this.which, "");
    this.#show(body);
    if (body.focus !== undefined) this.#focus(body);
  }

  #settled() {
    const range = this.chart.range();
    if (!range) return;
    const { begins, ends, exact, t } = this.shown;
    const first = Math.max(range.from, this.whole[0]);
    const last = Math.min(range.to, this.whole[1]);
    if (!(last > first)) return;
    this.#say(first, last);
    const outside = (range.from < t[0] && !begins) || (range.to > t[t.length - 1] && !ends);
    const coarse = !exact && range.rows < FINE_ROWS;
    if (outside || coarse) this.ask(first, last);
  }

  #range() {
    const range = this.chart.range() ?? { from: this.shown.from, to: this.shown.to };
    return [Math.max(range.from, this.whole[0]), Math.min(range.to, this.whole[1])];
  }

  #again() {
    this.ask(...this.#range());
  }

  #scale(by) {
    const [from, to] = this.#range();
    const middle = (from + to) / 2;
    const half = ((to - from) * by) / 2;
    this.ask(Math.max(middle - half, this.whole[0]), Math.min(middle + half, this.whole[1]));
  }

  #span(seconds) {
    const [, to] = this.#range();
    const end = Math.max(Math.min(to, this.whole[1]), this.whole[0] + seconds);
    this.ask(end - seconds, end);
  }

  #visit(from, to, symbol) {
    if (symbol !== undefined && symbol !== this.symbol.value && this.said.head.symbols.includes(symbol)) {
      this.symbol.value = symbol;
      this.place = null;
    }
    const room = (to - from) * 0.2;
    this.ask(Math.max(from - room, this.whole[0]), Math.min(to + room, this.whole[1]));
    this.element.querySelector(".rf-where").scrollIntoView({ block: "nearest" });
  }

  #step(step) {
    const [from, to] = this.#range();
    this.ask(0, 0, { kind: "fill", at: (from + to) / 2, step, place: this.place });
  }

  #focus({ focus, of }) {
    this.place = focus;
    const fill = this.fills.get(`f${focus}`);
    if (!fill) return;
    say(this.which, `fill ${focus + 1} of ${whole(of)}: ${this.#words(fill)}`);
    this.#tell(fill[7], this.element.ownerDocument.activeElement);
  }

  #say(from, to) {
    say(this.where, `${this.clock.full(from * 1000)} – ${this.clock.full(to * 1000)}`);
    this.overview.mark(from, to);
  }

  // ------------------------------------------------------------ an order's story

  #tell(order, opener = this.host) {
    this.story.wait(opener);
    this.opening = order;
    const known = this.stories.get(order);
    if (known) this.story.show(known);
    else this.send({ kind: "story", order });
  }

  #words(fill) {
    return `${fill[3]} ${units(fill[4])} ${this.shown.symbol} at ${price(fill[5])}, ${this.clock.full(fill[2])}`;
  }

  #hover(hit) {
    const fill = hit && this.fills.get(hit.id);
    const group = hit && this.groups.get(hit.id);
    this.pointed = fill || null;
    if (!hit) {
      this.hover.hidden = true;
      return;
    }
    const right = hit.point.x > this.host.clientWidth / 2;
    this.hover.style.left = right ? "8px" : "";
    this.hover.style.right = right ? "" : "96px";
    if (fill) this.#point(fill);
    else if (group) {
      this.#lines([`${whole(group[2])} fills: ${group[1]} ${units(group[3])} ${this.shown.symbol}`, `at ${price(group[4])} on average`, "zoom in to see each"]);
    } else {
      const { price: at, equity, drawdown, below } = hit.values;
      const lines = [this.clock.full(hit.time * 1000)];
      if (at?.value !== undefined) lines.push(`${this.shown.symbol.slice(0, 40)} ${price(at.value)}`);
      if (equity?.value !== undefined) lines.push(`equity ${money(equity.value)}`);
      if (drawdown?.value !== undefined) lines.push(`drawdown ${percent(drawdown.value)}`);
      if (below?.value !== undefined) lines.push(`${this.shown.extra} ${this.#below(below.value)}`);
      this.#lines(lines);
    }
  }

  // Tells the story of the order whose fill is pointed at, as soon as it is known.
  #point(fill) {
    const story = this.stories.get(fill[7]);
    const lines = [this.#words(fill), `fee ${money(fill[6])}`];
    if (story) lines.push(story.title, ...story.lines.slice(0, 8).map(([ms, what, detail]) => `${this.clock.full(ms)}  ${what}${detail ? `: ${detail}` : ""}`));
    else if (!this.stories.has(fill[7])) {
      this.stories.set(fill[7], null); // asked for once
      this.send({ kind: "story", order: fill[7] });
    }
    this.#lines(lines);
  }

  #lines(lines) {
    this.hover.replaceChildren(...lines.map((line) => h("div", {}, line)));
    mark(this.hover, this.pointed ? "story" : "");
    this.hover.hidden = false;
  }

  destroy() {
    clearTimeout(this.settling);
    clearTimeout(this.late);
    this.chart?.destroy();
  }
}
