// The session's log, the newest first, with a search.
import { arrange, h } from "./dom.js";

const SHOWN = 100;

export class Log {
  constructor(clock) {
    this.clock = clock;
    this.lines = [];
    this.made = new Map();
    this.search = h("input", {
      type: "search",
      class: "rf-input",
      placeholder: "search",
      "aria-label": "search the log",
      on: { input: () => this.#draw(), keydown: (event) => event.stopPropagation() },
    });
    this.list = h("ol", { class: "rf-lines rf-log", tabindex: "0", "aria-label": "log, the newest first" });
    this.element = h("section", { "aria-label": "log" }, h("h4", {}, "Log", h("span", { class: "rf-right" }, this.search)), this.list);
  }

  set(lines) {
    this.lines = lines;
    this.#draw();
  }

  #draw() {
    const wanted = this.search.value.trim().toLowerCase();
    const some = this.lines.filter((line) => !wanted || line[2].toLowerCase().includes(wanted) || line[1].includes(wanted)).slice(-SHOWN);
    const before = this.made;
    this.made = new Map(some.map((line) => [line, before.get(line) ?? this.#line(line)]));
    const none = h("li", { class: "rf-empty" }, wanted ? "nothing found" : "nothing was logged");
    arrange(this.list, some.length ? [...this.made.values()].reverse() : [none]);
  }

  #line([ms, level, text]) {
    return h("li", { "data-kind": level }, h("time", {}, this.clock.full(ms)), h("b", {}, level), h("span", {}, text));
  }
}
