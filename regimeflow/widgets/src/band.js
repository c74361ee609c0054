// The area between two lines, as a series of lightweight-charts. Rows: {time, low, high}.

class Renderer {
  draw(target, priceToCoordinate) {
    const data = this.data;
    if (!data || !data.visibleRange) return;
    target.useBitmapCoordinateSpace(({ context, horizontalPixelRatio: rx, verticalPixelRatio: ry }) => {
      const { from, to } = data.visibleRange;
      const up = [];
      const down = [];
      for (let i = Math.max(0, from); i < Math.min(to, data.bars.length); i += 1) {
        const { x, originalData } = data.bars[i];
        const high = priceToCoordinate(originalData.high);
        const low = priceToCoordinate(originalData.low);
        if (high === null || low === null) continue;
        up.push([x * rx, high * ry]);
        down.push([x * rx, low * ry]);
      }
      if (up.length < 2) return;
      context.fillStyle = this.options.color;
      context.beginPath();
      for (const [x, y] of [...up, ...down.reverse()]) context.lineTo(x, y);
      context.closePath();
      context.fill();
    });
  }
}

export class Band {
  constructor() {
    this.made = new Renderer();
  }
  renderer() {
    return this.made;
  }
  update(data, options) {
    this.made.data = data;
    this.made.options = options;
  }
  priceValueBuilder(row) {
    return [row.low, row.high, (row.low + row.high) / 2];
  }
  isWhitespace(row) {
    return row.low === undefined || row.low === null;
  }
  defaultOptions() {
    return { color: "rgba(128,128,128,.15)", priceLineVisible: false, lastValueVisible: false };
  }
}
