// The whole run in a strip, and on it the stretch that is shown: dragged, it moves.
import { svg } from "./dom.js";

const WIDTH = 1000;
const HEIGHT = 44;
const NARROW = 5; // so that a single day of many years can still be seen

export class Overview {
  constructor({ t, low, high }, move) {
    this.t = t;
    this.move = move;
    this.shown = [t[0], t[t.length - 1]];
    const least = Math.min(...low);
    const most = Math.max(...high);
    const y = (value) => (most > least ? 3 + ((HEIGHT - 6) * (most - value)) / (most - least) : HEIGHT / 2);
    const up = t.map((at, i) => `${this.#x(at).toFixed(1)} ${y(high[i]).toFixed(1)}`);
    const down = t.map((at, i) => `${this.#x(at).toFixed(1)} ${(y(low[i]) + 0.8).toFixed(1)}`).reverse();
    this.window = svg("rect", { class: "rf-window", y: 0, height: HEIGHT, x: 0, width: WIDTH });
    this.element = svg(
      "svg",
      { class: "rf-overview", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("path", { class: "rf-bar", d: `M${[...up, ...down].join("L")}Z` }),
      this.window,
    );
    this.element.addEventListener("pointerdown", (event) => {
      this.element.setPointerCapture(event.pointerId);
      this.#to(event);
    });
    this.element.addEventListener("pointermove", (event) => event.buttons && this.#to(event));
  }

  #x(at) {
    const [first, last] = [this.t[0], this.t[this.t.length - 1]];
    return last > first ? (WIDTH * (at - first)) / (last - first) : 0;
  }

  #to(event) {
    const box = this.element.getBoundingClientRect();
    const [first, last] = [this.t[0], this.t[this.t.length - 1]];
    const half = (this.shown[1] - this.shown[0]) / 2;
    const at = first + ((last - first) * (event.clientX - box.left)) / box.width;
    const middle = Math.min(Math.max(at, first + half), last - half);
    clearTimeout(this.timer);
    this.mark(middle - half, middle + half);
    this.timer = setTimeout(() => this.move(middle - half, middle + half), 60);
  }

  mark(from, to) {
    this.shown = [from, to];
    const width = Math.max(this.#x(to) - this.#x(from), NARROW);
    this.window.setAttribute("x", Math.min(this.#x(from), WIDTH - width).toFixed(1));
    this.window.setAttribute("width", width.toFixed(1));
  }
}
