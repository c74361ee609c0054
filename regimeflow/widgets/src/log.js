// The session's log, the newest first, with a search.
import { h } from "./dom.js";

export class Log {
  constructor(clock) {
    this.clock = clock;
    this.lines = [];
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
    const some = this.lines.filter((line) => !wanted || line[2].toLowerCase().includes(wanted) || line[1].includes(wanted));
    this.list.replaceChildren(
      ...some
        .slice(-100)
        .reverse()
        .map(([ms, level, text]) => h("li", { "data-kind": level }, h("time", {}, this.clock.full(ms)), h("b", {}, level), h("span", {}, text))),
    );
    if (!some.length) this.list.append(h("li", { class: "rf-empty" }, wanted ? "nothing found" : "nothing was logged"));
  }
}
