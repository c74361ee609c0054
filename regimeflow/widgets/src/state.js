// How the session stands: mode, trading state, data, venue, books, kernel.
import { h, mark, say } from "./dom.js";
import { lasted, money, percent, signed, units, whole } from "./format.js";

const GLYPHS = { active: "●", reducing: "◐", halted: "■", stopped: "□", failed: "✕", new: "○" };
const IDLE = { stopped: "stop", halted: "halt", reducing: "pause" }; // reasons that say no more than the state
const STATE_WORDS = { active: "trading", reducing: "exits only", halted: "halted" };

export class State {
  constructor(clock) {
    this.clock = clock;
    this.mode = h("span", { class: "rf-chip" });
    this.trading = h("span", { class: "rf-chip", role: "status", "aria-live": "polite" });
    this.kernel = h("span", { class: "rf-chip", "data-kind": "quiet" }, "kernel …");
    this.chips = h("div", { class: "rf-chips" }, this.mode, this.trading, this.kernel);
    this.tiles = new Map();
    const tile = (name, title, unit) => {
      const value = h("dd");
      this.tiles.set(name, value);
      return h("div", { class: "rf-tile" }, h("dt", {}, title, unit ? h("span", { class: "rf-unit" }, `, ${unit}`) : ""), value);
    };
    this.numbers = h(
      "dl",
      { class: "rf-tiles" },
      tile("equity", "equity", "money"),
      tile("pnl", "today", "money"),
      tile("ret", "return"),
      tile("dd", "drawdown"),
      tile("cash", "cash", "money"),
      tile("fees", "fees paid", "money"),
      tile("fills", "fills"),
      tile("working", "working orders"),
    );
    this.facts = new Map();
    const fact = (name, title) => {
      const value = h("dd");
      this.facts.set(name, value);
      return h("div", { class: "rf-fact" }, h("dt", {}, title), value);
    };
    this.health = h(
      "dl",
      { class: "rf-facts" },
      fact("at", "session time"),
      fact("data", "data age"),
      fact("venue", "venue link"),
      fact("books", "books compared"),
      fact("unknown", "unknown orders"),
      fact("process", "process"),
    );
    this.error = h("p", { class: "rf-alarm", role: "alert", hidden: true });
    this.element = h("section", { class: "rf-state", "aria-label": "state" }, this.error, this.numbers, this.health);
  }

  set(state) {
    say(this.mode, state.mode_words);
    mark(this.mode, state.mode);
    const over = state.phase === "stopped" || state.phase === "failed";
    const shown = over ? state.phase : state.phase === "new" ? "new" : state.state;
    const words = over || state.phase === "new" ? (over ? state.phase : "not started") : STATE_WORDS[state.state] || state.state;
    const why = state.why && state.why !== IDLE[shown] && shown !== "new" ? `: ${state.why}` : "";
    say(this.trading, `${GLYPHS[shown] || ""} ${words}${why}`);
    mark(this.trading, shown);
    const tile = (name, text, kind = "") => {
      say(this.tiles.get(name), text);
      mark(this.tiles.get(name), kind);
    };
    const side = (text) => (text.startsWith("+") ? "gain" : text.startsWith("−") ? "loss" : ""); // what is shown as 0 is neither
    const result = (name, text) => tile(name, text, side(text));
    tile("equity", money(state.equity));
    result("pnl", signed(money(state.pnl)));
    result("ret", signed(percent(state.ret)));
    tile("dd", percent(state.dd));
    tile("cash", money(state.cash));
    tile("fees", money(state.fees));
    tile("fills", whole(state.fills));
    tile("working", whole(state.working));
    this.#facts(state);
    this.error.hidden = !state.error;
    say(this.error, state.error || "");
  }

  #facts(state) {
    const fact = (name, text, kind = "") => {
      say(this.facts.get(name), text);
      mark(this.facts.get(name), kind);
    };
    const done = state.total ? `${whole(state.done)} of ${whole(state.total)} events` : `${whole(state.done)} events`;
    fact("at", `${this.clock.full(state.at)} ${this.clock.zone} · ${done}`);
    const worst = state.ages.filter(([, age]) => age !== null);
    const stale = state.ages.filter(([, , , old, held]) => old || held);
    const some = (stale.length ? stale : worst.sort((a, b) => b[1] - a[1])).slice(0, 3);
    const ages = some.map(([symbol, age, limit, old, held]) => {
      const most = limit === null ? "" : ` of ${lasted(limit)}`;
      return `${symbol} ${lasted(age)}${most}${old ? " STALE" : ""}${held ? ", exits only" : ""}`;
    });
    const more = state.ages.length - some.length;
    const over = state.phase === "stopped" || state.phase === "failed";
    const end = over ? "at its end " : "";
    const told = some.length ? end + ages.join(" · ") + (more > 0 ? ` · ${more} more` : "") : over || state.phase === "new" ? "–" : "none yet";
    fact("data", told, stale.length ? "bad" : some.length && !over ? "good" : "");
    if (state.connected === null) fact("venue", "–");
    else fact("venue", `${state.connected ? "up" : "DOWN"}${over ? " at its end" : ""}`, state.connected ? (over ? "" : "good") : "bad");
    if (!state.reconciled_at) fact("books", state.mode_words === "SIMULATED" ? "the simulator's own" : "never compared");
    else {
      const foreign = state.foreign ? ` · ${state.foreign} foreign orders` : "";
      const text = state.reconciled_ok ? "agree" : "DO NOT AGREE";
      fact("books", `${text}, ${this.clock.full(state.reconciled_at)}${foreign}`, state.reconciled_ok ? "good" : "bad");
    }
    const oldest = state.unknown ? `, the oldest for ${lasted(state.unknown_ms)}` : "";
    fact("unknown", `${units(state.unknown)}${oldest}`, state.unknown ? "bad" : state.unknown === null ? "" : "good");
    fact("process", state.memory_mb === null ? "not looked at" : `${whole(state.memory_mb)} MB · lag ${lasted(state.lag_ms)}`);
  }

  pulse(silentMs) {
    const silent = silentMs === null || silentMs > 5000;
    say(this.kernel, silentMs === null ? "kernel: no word yet" : silent ? `kernel: silent for ${lasted(silentMs)}` : "kernel: connected");
    mark(this.kernel, silent ? "silent" : "linked");
  }
}
