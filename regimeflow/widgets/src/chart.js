// Charts with panes on one time axis: lines, bands, candles, markers that can be pointed at.
//
//   const chart = new Chart(host, { zone: "UTC", panes: [{ height: 200 }, { height: 240 }], label: "…" });
//   chart.candles("price", { pane: 1 });
//   chart.set("price", [[t, open, high, low, close], …]);  // t in seconds; rows in order of time
//   chart.add("price", row);                                // the newest row again, or a new one
//   chart.marks("price", [{ time, buy: true, id, text }]);
//   chart.onHover((hit) => …); chart.onPick((id) => …); chart.onRange(() => chart.range()); chart.follow(other);
import {
  CandlestickSeries,
  ColorType,
  CrosshairMode,
  LineSeries,
  LineStyle,
  createChart,
} from "lightweight-charts";
import { Band } from "./band.js";
import { Clock } from "./format.js";
import { Marks } from "./marks.js";
import { onTheme, palette } from "./theme.js";

const STYLES = { solid: LineStyle.Solid, dashed: LineStyle.Dashed, dotted: LineStyle.Dotted };

const SHAPES = {
  line: (row) => (row[1] === null || row[1] === undefined ? { time: row[0] } : { time: row[0], value: row[1] }),
  band: (row) => (row[1] === null || row[1] === undefined ? { time: row[0] } : { time: row[0], low: row[1], high: row[2] }),
  candles: (row) => ({ time: row[0], open: row[1], high: row[2], low: row[3], close: row[4] }),
};

export class Chart {
  constructor(host, { zone = "UTC", panes = [{ height: 260 }], label = "", seconds = true, dense = false } = {}) {
    this.host = host;
    this.series = new Map();
    this.clock = new Clock(zone);
    host.setAttribute("role", "img");
    if (label) host.setAttribute("aria-label", label);
    this.chart = createChart(host, {
      autoSize: true,
      height: panes.reduce((sum, pane) => sum + pane.height, 28),
      layout: { attributionLogo: true, fontSize: 11, panes: { enableResize: true } },
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: {
        timeVisible: true,
        secondsVisible: seconds,
        rightOffset: 3,
        ...(dense ? { minBarSpacing: 0.05 } : {}), // more rows than pixels
        tickMarkFormatter: (time, kind) => this.clock.tick(time * 1000, kind),
      },
      localization: {
        timeFormatter: (time) => this.clock.full(time * 1000),
      },
      handleScale: { axisPressedMouseMove: { time: true, price: true } },
    });
    this.heights = panes.map((pane) => pane.height);
    this.untheme = onTheme(() => this.paint());
    this.paint();
  }

  line(name, { pane = 0, ink, style = "solid", width = 2, title = "", format } = {}) {
    const options = {
      lineWidth: width,
      lineStyle: STYLES[style],
      title,
      priceLineVisible: false,
      lastValueVisible: Boolean(title),
      crosshairMarkerRadius: 3,
      ...(format ? { priceFormat: { type: "custom", formatter: format, minMove: 0.01 } } : {}),
    };
    return this.#keep(name, "line", ink, this.chart.addSeries(LineSeries, options, pane), pane);
  }

  band(name, { pane = 0, format } = {}) {
    // The first series of a pane says how its axis is written.
    const options = format ? { priceFormat: { type: "custom", formatter: format, minMove: 0.01 } } : {};
    return this.#keep(name, "band", "band", this.chart.addCustomSeries(new Band(), options, pane), pane);
  }

  candles(name, { pane = 0, format } = {}) {
    const options = {
      priceLineVisible: false,
      lastValueVisible: false, // its label would have the colour of a hollow candle
      ...(format ? { priceFormat: { type: "custom", formatter: format, minMove: 1e-6 } } : {}),
    };
    return this.#keep(name, "candles", "candle", this.chart.addSeries(CandlestickSeries, options, pane), pane);
  }

  #keep(name, kind, ink, series, pane) {
    this.series.set(name, { kind, ink, series, pane, marks: null, last: -Infinity });
    const made = this.chart.panes();
    this.heights.forEach((height, place) => made[place]?.setStretchFactor(height));
    this.paint();
    return series;
  }

  set(name, rows) {
    const one = this.series.get(name);
    one.series.setData(rows.map(SHAPES[one.kind]));
    one.last = rows.length ? rows[rows.length - 1][0] : -Infinity;
  }

  // Several series anew, all with rows at the same times.
  setAll(rows) {
    for (const [name, some] of Object.entries(rows)) this.set(name, some);
    this.times = Object.values(rows).find((some) => some.length)?.map((row) => row[0]) ?? [];
  }

  title(name, title) {
    this.series.get(name).series.applyOptions({ title });
  }

  // A level that a line is held against.
  level(name, value) {
    const one = this.series.get(name);
    one.level = one.series.createPriceLine({ price: value, lineWidth: 1, lineStyle: LineStyle.Dashed, axisLabelVisible: false });
    this.paint();
  }

  // What is to be seen: {from, to, rows}, beyond the rows that are there by their mean distance.
  range() {
    const seen = this.chart.timeScale().getVisibleLogicalRange();
    const { times } = this;
    if (!seen || !times?.length) return null;
    const last = times.length - 1;
    const each = last ? (times[last] - times[0]) / last : 60;
    const at = (place) => {
      if (place < 0) return times[0] + place * each;
      if (place > last) return times[last] + (place - last) * each;
      return times[Math.round(place)];
    };
    return { from: at(seen.from), to: at(seen.to), rows: Math.min(seen.to, last) - Math.max(seen.from, 0) };
  }

  onRange(callback) {
    this.chart.timeScale().subscribeVisibleLogicalRangeChange(callback);
  }

  add(name, row) {
    const one = this.series.get(name);
    if (row[0] < one.last) return; // a series can only be changed at its end
    one.series.update(SHAPES[one.kind](row));
    one.last = row[0];
  }

  marks(name, marks) {
    const one = this.series.get(name);
    one.said = marks;
    if (!one.marks) {
      one.marks = new Marks();
      one.series.attachPrimitive(one.marks);
    }
    const { ink } = this; // asking the page for its colours lays it out anew: only with its theme
    one.marks.set(marks.map((mark) => ({ ...mark, color: mark.buy ? ink.buy : ink.sell })));
  }

  // Says what the pointer is on: {time, id, values: {name: row}, point}, or null.
  onHover(callback) {
    this.chart.subscribeCrosshairMove((event) => {
      if (event.time === undefined || !event.point) return callback(null);
      const values = {};
      for (const [name, one] of this.series) values[name] = event.seriesData.get(one.series);
      return callback({ time: event.time, id: event.hoveredObjectId, values, point: event.point });
    });
  }

  // Says the id of the marker that was clicked on.
  onPick(callback) {
    this.chart.subscribeClick((event) => {
      if (event.hoveredObjectId !== undefined) callback(event.hoveredObjectId);
    });
  }

  // Shows what the other chart shows, and the other what this one does: range and crosshair.
  follow(other) {
    for (const [from, to] of [[this, other], [other, this]]) {
      from.chart.timeScale().subscribeVisibleTimeRangeChange((range) => {
        if (range && !to.busy) {
          from.busy = true;
          to.chart.timeScale().setVisibleRange(range);
          from.busy = false;
        }
      });
      from.chart.subscribeCrosshairMove((event) => {
        const [first] = to.series.values();
        if (event.time === undefined || !first) to.chart.clearCrosshairPosition();
        else to.chart.setCrosshairPosition(NaN, event.time, first.series);
      });
    }
  }

  show(from, to) {
    this.chart.timeScale().setVisibleRange({ from, to });
  }

  // Shows the last so many rows, at the right; where there are fewer, room for them is left.
  showLast(rows, of) {
    this.chart.timeScale().setVisibleLogicalRange({ from: of - rows, to: of + 4 });
  }

  fit() {
    this.chart.timeScale().fitContent();
  }

  paint() {
    this.ink = palette(this.host);
    const { ink } = this;
    this.chart.applyOptions({
      layout: {
        background: { type: ColorType.Solid, color: "transparent" },
        textColor: ink.faint,
        fontFamily: ink.font, // a canvas inherits none
        panes: { separatorColor: ink.rule, separatorHoverColor: ink.band },
      },
      grid: { vertLines: { color: ink.rule }, horzLines: { color: ink.rule } },
      rightPriceScale: { borderColor: ink.rule },
      timeScale: { borderColor: ink.rule },
    });
    for (const [name, one] of this.series) {
      const color = ink[one.ink] || ink.live;
      if (one.kind === "candles") {
        one.series.applyOptions({
          upColor: ink.paper, // hollow up, filled down: told apart without colour
          downColor: color,
          borderUpColor: color,
          borderDownColor: color,
          wickUpColor: color,
          wickDownColor: color,
        });
      } else one.series.applyOptions({ color });
      one.level?.applyOptions({ color: ink.baseline });
      if (one.said) this.marks(name, one.said);
    }
  }

  destroy() {
    this.untheme();
    this.chart.remove();
  }
}
