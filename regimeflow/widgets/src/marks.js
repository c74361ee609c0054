// Arrows where something was filled, above or below its bar or at its own price. Drawn whenever the
// chart is: the library's own markers have all of it laid out anew for each row that is added.

const MARGIN = 3;

export class Marks {
  constructor() {
    this.marks = [];
    this.placed = [];
    const renderer = { draw: (target) => target.useMediaCoordinateSpace(({ context }) => this.#draw(context)) };
    this.views = [{ renderer: () => renderer }];
  }

  attached({ chart, series }) {
    Object.assign(this, { chart, series });
  }

  detached() {
    this.chart = this.series = null;
  }

  paneViews() {
    return this.views;
  }

  // Takes [{time, buy, id, text, size, color, price?}, …] in order of time.
  set(marks) {
    this.marks = marks;
    this.series.applyOptions({}); // draw, and lay out nothing
  }

  // Leaves room for arrows at the highest and the lowest bar.
  autoscaleInfo() {
    const beside = (buy) => this.marks.some((mark) => mark.buy === buy && mark.price === undefined);
    const room = 1.5 * this.#size() + 2 * MARGIN;
    return { priceRange: null, margins: { above: beside(false) ? room : 0, below: beside(true) ? room : 0 } };
  }

  hitTest(x, y) {
    const hit = this.placed.findLast((one) => Math.abs(x - one.x) <= one.size / 2 + MARGIN && Math.abs(y - one.y) <= one.size / 2 + MARGIN);
    return hit ? { externalId: hit.id, zOrder: "normal", cursorStyle: "pointer" } : null;
  }

  #size() {
    return Math.min(Math.max(this.chart.timeScale().options().barSpacing, 12), 30);
  }

  #draw(context) {
    const { fontSize, fontFamily } = this.chart.options().layout;
    this.#place(fontSize);
    if (this.placed.some((one) => one.text)) {
      context.font = `${fontSize}px ${fontFamily}`;
      context.textAlign = "center";
      context.textBaseline = "middle";
    }
    for (const { x, y, size, buy, color, text } of this.placed) {
      context.fillStyle = color;
      const way = buy ? 1 : -1; // down from the tip, or up from it
      arrow(context, x, y, size / 2, way);
      if (text) context.fillText(text, x, y + way * (size / 2 + MARGIN + 0.6 * fontSize));
    }
  }

  #place(fontSize) {
    this.placed = [];
    const scale = this.chart.timeScale();
    const seen = scale.getVisibleLogicalRange();
    if (!seen) return;
    const taken = new Map(); // of each bar, how far it is stacked: [above, below]
    for (const mark of this.marks) {
      const near = scale.timeToIndex(mark.time, true);
      if (near === null || near < seen.from - 2 || near > seen.to + 2) continue;
      const row = this.series.dataByIndex(near, -1) ?? this.series.dataByIndex(near, 1);
      const index = row && scale.timeToIndex(row.time);
      const level = row && (mark.price ?? row.value ?? (mark.buy ? row.low : row.high));
      const at = level === undefined || level === null ? null : this.series.priceToCoordinate(level);
      const x = index === null ? null : scale.logicalToCoordinate(index);
      if (at === null || x === null) continue;
      const size = this.#size() * (mark.size ?? 1);
      let away = size / 2;
      if (mark.price === undefined) {
        const stacked = taken.get(index) ?? [MARGIN, MARGIN];
        const side = mark.buy ? 1 : 0;
        away += stacked[side];
        stacked[side] += size + MARGIN + (mark.text ? 1.2 * fontSize : 0);
        taken.set(index, stacked);
      }
      this.placed.push({ ...mark, x, y: mark.buy ? at + away : at - away, size });
    }
  }
}

// An arrow of twice the half around a middle; it points up for a way of 1, down for one of -1.
function arrow(context, x, y, half, way) {
  const shaft = half / 2;
  context.beginPath();
  context.moveTo(x - half, y);
  context.lineTo(x, y - way * half);
  context.lineTo(x + half, y);
  context.lineTo(x + shaft, y);
  context.lineTo(x + shaft, y + way * half);
  context.lineTo(x - shaft, y + way * half);
  context.lineTo(x - shaft, y);
  context.fill();
}
