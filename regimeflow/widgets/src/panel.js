// The panel as an anywidget: of sessions one board each, side by side, or of a report.
import { Board } from "./board.js";
import { h } from "./dom.js";
import { Link } from "./link.js";
import { Report } from "./report.js";

function render({ model, el }) {
  let boards = [];
  let report = null;
  const grid = h("div", { class: "rf-grid" }, h("p", { class: "rf-empty", role: "status" }, "asking the kernel …"));
  el.classList.add("rf-panel");
  el.replaceChildren(grid);
  const link = new Link(model, {
    onSnapshot(said) {
      if (said.report) {
        if (report) return; // it does not change, and the reader may be deep in it
        report = new Report(said.report, (content) => link.send(content));
        grid.replaceChildren(report.element);
        report.draw();
        return;
      }
      const hidden = boards.map(({ element }) => element.contains(document.activeElement));
      boards.forEach((board) => board.destroy());
      boards = said.map((board, place) => new Board(board, (content) => link.send({ board: place, ...content })));
      grid.replaceChildren(...boards.map(({ element }) => element));
      boards.forEach((board) => board.draw());
      if (hidden.some(Boolean)) boards[hidden.indexOf(true)]?.element.querySelector("button:enabled")?.focus();
    },
    onChange: (place, parts) => boards[place]?.change(parts),
    onSaid: (kind, body) => (report ? report.heard(kind, body) : boards[body.board]?.said(kind, body)),
    onPulse: (silentMs) => boards.forEach((board) => board.state.pulse(silentMs)),
  });
  return () => {
    link.close();
    boards.forEach((board) => board.destroy());
    report?.destroy();
  };
}

export default { render };
