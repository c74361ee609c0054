// One session, in the order in which a trader asks: state, drift, fills, slippage, holdings, log.
import { Controls } from "./controls.js";
import { h } from "./dom.js";
import { Drift } from "./drift.js";
import { Fills } from "./fills.js";
import { Clock } from "./format.js";
import { Holdings } from "./holdings.js";
import { Log } from "./log.js";
import { Slippage } from "./slippage.js";
import { State } from "./state.js";

export class Board {
  constructor(board, ask) {
    this.board = board;
    const { head } = board;
    const clock = new Clock(head.zone);
    const pick = (order, opener) => {
      this.fills.story.wait(opener);
      ask({ kind: "story", order });
    };
    this.state = new State(clock);
    this.controls = new Controls((name, why) => ask({ kind: "command", name, why }));
    this.drift = new Drift(head, { pick, choose: (symbol) => ask({ kind: "symbol", symbol }) });
    this.fills = new Fills(clock, { pick, percentiles: head.percentiles });
    this.slippage = new Slippage();
    this.holdings = new Holdings(clock, { pick });
    this.log = new Log(clock);
    const params = head.params.map(([name, value]) => `${name}=${value}`).join(", ");
    this.element = h(
      "article",
      { class: "rf-board", "aria-label": `session ${head.title}` },
      head.differs ? h("p", { class: "rf-alarm", role: "alert" }, head.differs) : "",
      h(
        "header",
        {},
        h("div", {}, h("h3", {}, head.title, h("span", { class: "rf-dim" }, params ? ` ${params}` : "")), h("p", { class: "rf-dim" }, `on ${head.venue} · ${head.baseline} · ${head.place}`)),
        this.state.chips,
      ),
      this.controls.element,
      this.state.element,
      this.drift.element,
      this.fills.element,
      this.slippage.element,
      this.holdings.element,
      this.log.element,
    );
  }

  // Draws everything, once it is on the page.
  draw() {
    const { board } = this;
    this.#numbers(board, board);
    this.drift.all(board);
  }

  change(parts) {
    this.#numbers(this.board, parts);
    if (parts.bars || parts.equity || parts.fills || parts.drift) this.drift.change(this.board, parts);
  }

  #numbers(board, parts) {
    if (parts.state) {
      this.state.set(board.state);
      this.controls.set(board.head, board.state);
    }
    if (parts.fills) this.fills.set(board);
    if (parts.slippage) this.slippage.set(board.slippage);
    this.holdings.set(parts);
    if (parts.log) this.log.set(board.log);
  }

  said(kind, body) {
    if (kind === "story") this.fills.story.show(body);
    else if (kind === "answer") this.controls.said(body);
    else if (kind === "failed") this.controls.said({ error: true, text: body.text });
  }

  destroy() {
    this.drift.destroy();
  }
}
