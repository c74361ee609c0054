// Steering, each step confirmed here: what will happen, why, and then what was answered.
import { h, say } from "./dom.js";

const STEPS = [
  ["pause", "Pause entries", "Only exits leave until you resume; working orders stay."],
  ["resume", "Resume", "Entries may leave again."],
  ["flatten", "Flatten", "Cancels every working order, leaves every position at the market, then halts."],
  ["halt", "Halt", "Cancels every working order and sends nothing more until you resume."],
  ["stop", "Stop", "Cancels the working orders and ends the session; positions stay."],
];

export class Controls {
  constructor(steer) {
    this.steer = steer;
    this.buttons = STEPS.map(([name, title, what]) =>
      h("button", { type: "button", class: "rf-button", "data-name": name, title: what, on: { click: (event) => this.#ask(name, title, what, event.currentTarget) } }, title),
    );
    this.question = h("div", { class: "rf-confirm", role: "alertdialog", "aria-label": "confirm", hidden: true });
    this.over = h("p", { class: "rf-dim", hidden: true }, "The session has ended. To keep this panel in the saved notebook, add .freeze() to its cell and run it.");
    this.answer = h("p", { class: "rf-answer", role: "status", "aria-live": "polite" });
    this.element = h(
      "section",
      { class: "rf-controls", "aria-label": "controls" },
      h("div", { class: "rf-buttons", role: "group", "aria-label": "steer the session" }, ...this.buttons),
      this.question,
      this.over,
      this.answer,
    );
  }

  set(head, state) {
    const can = state.phase === "running" && head.steerable;
    for (const button of this.buttons) button.disabled = !can;
    this.subject = head.title;
    if (!can && !this.question.hidden) this.#close();
    this.over.hidden = state.phase !== "stopped" && state.phase !== "failed";
    this.buttons[0].parentElement.hidden = !this.over.hidden;
  }

  said({ error, text }) {
    say(this.answer, text);
    this.answer.dataset.kind = error ? "bad" : "good";
  }

  #ask(name, title, what, opener) {
    const id = `rf-why-${Math.random().toString(36).slice(2)}`;
    const why = h("input", { id, type: "text", maxlength: "200", class: "rf-input", autocomplete: "off", placeholder: "goes into the journal" });
    const send = () => {
      this.steer(name, why.value.trim());
      say(this.answer, `${title}: sent …`);
      this.#close(opener);
    };
    const yes = h("button", { type: "button", class: "rf-button rf-sure", "data-name": name, on: { click: send } }, `${title} ${this.subject}`);
    const no = h("button", { type: "button", class: "rf-button", on: { click: () => this.#close(opener) } }, "Back");
    this.question.replaceChildren(
      h("p", {}, h("b", {}, `${title}? `), what),
      h("div", { class: "rf-buttons" }, h("label", { for: id }, "Why"), why, yes, no),
    );
    this.question.onkeydown = (event) => {
      event.stopPropagation(); // the notebook has keys of its own
      if (event.key === "Escape") this.#close(opener);
      if (event.key === "Enter" && event.target === why) send();
    };
    this.question.hidden = false;
    why.focus();
  }

  #close(opener) {
    this.question.hidden = true;
    this.question.replaceChildren();
    opener?.focus();
  }
}
