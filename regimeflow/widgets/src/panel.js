// The dashboard as an anywidget: one board a session, side by side.
import { Board } from "./board.js";
import { h } from "./dom.js";
import { Link } from "./link.js";

function render({ model, el }) {
  let boards = [];
  const grid = h("div", { class: "rf-grid" }, h("p", { class: "rf-empty", role: "status" }, "asking the kernel for the session …"));
  el.classList.add("rf-panel");
  el.replaceChildren(grid);
  const link = new Link(model, {
    onSnapshot(said) {
      const hidden = boards.map(({ element }) => element.contains(document.activeElement));
      boards.forEach((board) => board.destroy());
      boards = said.map((board, place) => new Board(board, (content) => link.send({ board: place, ...content })));
      grid.replaceChildren(...boards.map(({ element }) => element));
      boards.forEach((board) => board.draw());
      if (hidden.some(Boolean)) boards[hidden.indexOf(true)]?.element.querySelector("button:enabled")?.focus();
    },
    onChange: (place, parts) => boards[place]?.change(parts),
    onSaid: (kind, body) => boards[body.board]?.said(kind, body),
    onPulse: (silentMs) => boards.forEach((board) => board.state.pulse(silentMs)),
  });
  return () => {
    link.close();
    boards.forEach((board) => board.destroy());
  };
}

export default { render };
